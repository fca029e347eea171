# SPDX-License-Identifier: GPL-2.0-only
"""The door to tree-sitter: parsing, and what its nodes say of types and declarators."""

from __future__ import annotations

import re
from functools import cache

import tree_sitter
import tree_sitter_c


@cache
def _parser() -> tree_sitter.Parser:
    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_c.language()))


# Operators in a row, of which each may be one or a half: how many ways there are to read them has no end for the
# grammar.
_NESTED = re.compile(rb"(?:[-+!~*&]\s*){100,}")


def parse(text: bytes) -> tree_sitter.Node:
    """The root of the tree of `text`, with an error in the place of operators in a row that nobody could have meant."""
    return _parser().parse(_NESTED.sub(lambda run: b"@" * len(run[0]), text)).root_node


def error_places(node: tree_sitter.Node) -> list[int]:
    """Where, in bytes, the outermost errors and missing tokens below `node` begin."""
    if not node.has_error:
        return []
    if node.type == "ERROR" or node.is_missing:
        return [node.start_byte]
    return [place for child in node.children for place in error_places(child)]


def type_text(node: tree_sitter.Node | None) -> str:
    """`struct foo`, `unsigned int`, `u32`: a type specifier's name, for an inline struct the word alone."""
    if node is None:
        return "int"
    if node.type in ("struct_specifier", "union_specifier", "enum_specifier"):
        name = node.child_by_field_name("name")
        return f"{node.type[:-10]} {text_of(name) if name is not None else ''}".strip()
    return " ".join(text_of(node).split())


def text_of(node: tree_sitter.Node) -> str:
    """The source text of a node."""
    return (node.text or b"").decode("utf-8", "replace")


def declarator(node: tree_sitter.Node) -> tuple[tree_sitter.Node | None, int, bool]:
    """The identifier inside a declarator, its stars and brackets, and whether it declares a function or pointer to
    one.
    """
    pointers = 0
    function = False
    current: tree_sitter.Node | None = node
    while current is not None:
        match current.type:
            case "identifier" | "field_identifier" | "type_identifier":
                return current, pointers, function
            case (
                "pointer_declarator" | "array_declarator" | "abstract_pointer_declarator" | "abstract_array_declarator"
            ):
                pointers += 1
            case "function_declarator" | "abstract_function_declarator":
                function = True
        inner = current.child_by_field_name("declarator")
        if inner is None and current.type in ("parenthesized_declarator", "attributed_declarator", "bitfield_clause"):
            inner = next((c for c in current.named_children if c.type != "comment"), None)
        current = inner
    return None, pointers, function


def descend(node: tree_sitter.Node, kind: str) -> list[tree_sitter.Node]:
    """The outermost nodes of this kind below `node`, itself included."""
    if node.type == kind:
        return [node]
    return [found for child in node.named_children for found in descend(child, kind)]
