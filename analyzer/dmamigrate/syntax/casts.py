# SPDX-License-Identifier: GPL-2.0-only
"""Casts to a type that the grammar does not know: `(u64)(a + b)` looks like a call, `(u64)*p` like a product."""

from __future__ import annotations

import re
from typing import Protocol

import tree_sitter

from dmamigrate.syntax.expr import Binary, Cast, Expr, Name, Unary
from dmamigrate.syntax.grammar import text_of

# Operators with one operand that look like those with two behind what may be a variable.
_UNARY = frozenset({"*", "&", "-", "+"})
_TYPE = re.compile(r"\w+_t|(?:__)?[us](?:8|16|32|64|128)|(?:__)?[lb]e(?:16|32|64)|u(?:int|long|short|char)|bool")


class Reader(Protocol):
    """What reads the rest of the function; `shift` is where its text begins, in bytes."""

    shift: int

    def expr(self, node: tree_sitter.Node) -> Expr:
        """The expression that a tree node is."""

    def lookup(self, name: str) -> int:
        """The variable of this name that is in scope, -1 if none is."""


def of_call(reader: Reader, node: tree_sitter.Node, arguments: tree_sitter.Node | None) -> Expr | None:
    """`(u64)(a + b)`, which the grammar takes for a call; None for what is one."""
    callee = node.child_by_field_name("function")
    if callee is None or arguments is None or len(arguments.named_children) != 1:
        return None
    start, end = node.start_byte + reader.shift, node.end_byte + reader.shift
    if callee.type == "call_expression":  # (u64)(u32)(a + b)
        outer = of_call(reader, callee, callee.child_by_field_name("arguments"))
        if not isinstance(outer, Cast) or not isinstance(outer.parts[0], Name) or outer.parts[0].variable >= 0:
            return None
        return Cast(outer.start, end, (reader.expr(arguments.named_children[0]),), outer.type, 0)
    if callee.type != "parenthesized_expression":
        return None
    inner = callee.named_children[0] if callee.named_children else None
    if inner is None or inner.type != "identifier" or reader.lookup(text_of(inner)) >= 0:
        return None
    return Cast(start, end, (reader.expr(arguments.named_children[0]),), text_of(inner), 0)


def behind(
    reader: Reader, left: tree_sitter.Node | None, operator: tree_sitter.Node, right: tree_sitter.Node
) -> Expr | None:
    """What `left operator right` is if `left` is a type in parentheses, or ends in one; None if neither."""
    if left is None or operator.type not in _UNARY:
        return None
    start = left.start_byte + reader.shift
    if types := _types(reader, left):
        return _cast(reader, types, operator, right, start)
    first, between = left.child_by_field_name("left"), left.child_by_field_name("operator")
    if left.type != "binary_expression" or first is None or between is None:
        return None
    last = behind(reader, left.child_by_field_name("right"), operator, right)
    return Binary(start, right.end_byte + reader.shift, (reader.expr(first), last), between.type) if last else None


def _types(reader: Reader, node: tree_sitter.Node | None) -> tuple[str, ...]:
    """The types in parentheses that `node` consists of; none if it is anything else."""
    if node is None or not node.named_children:
        return ()
    if node.type == "call_expression":  # (u64)(u32)
        outer = _types(reader, node.child_by_field_name("function"))
        inner = _types(reader, node.child_by_field_name("arguments"))
        return outer + inner if outer and inner else ()
    name = text_of(node.named_children[0])
    alone = node.type in ("parenthesized_expression", "argument_list") and len(node.named_children) == 1
    return (name,) if alone and _TYPE.fullmatch(name) and reader.lookup(name) < 0 else ()


def _cast(
    reader: Reader, types: tuple[str, ...], operator: tree_sitter.Node, right: tree_sitter.Node, start: int
) -> Expr:
    """`(u64)*p` or `(u64)&x + y`, which the grammar takes for a product, and for `&` of u64 and a sum."""
    end = right.end_byte + reader.shift
    first, rest = right.child_by_field_name("left"), right.child_by_field_name("right")
    if right.type == "binary_expression" and first is not None and rest is not None:
        between = right.child_by_field_name("operator")
        parts = (_cast(reader, types, operator, first, start), reader.expr(rest))
        return Binary(start, end, parts, between.type if between is not None else "")
    value: Expr = Unary(operator.start_byte + reader.shift, end, (reader.expr(right),), operator.type)
    for name in reversed(types):
        value = Cast(start, end, (value,), name, 0)
    return value
