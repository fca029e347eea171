# SPDX-License-Identifier: GPL-2.0-only
"""The type of an expression, as far as telling one struct's member from another's needs it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dmamigrate.program.tree import Tree
from dmamigrate.syntax.expr import (
    Assign,
    Binary,
    Call,
    Cast,
    Conditional,
    Expr,
    Index,
    Member,
    Name,
    Statements,
    Unary,
)
from dmamigrate.syntax.functions import CType, Function
from dmamigrate.syntax.unit import Unit

_CONTAINER_OF = frozenset(
    {"container_of", "container_of_const", "list_entry", "list_first_entry", "list_first_entry_or_null",
    "list_last_entry",
     "rb_entry", "rb_entry_safe", "hlist_entry", "llist_entry", "hlist_entry_safe"}
)  # fmt: skip

# Types that no typedef of interest hides behind.
_PLAIN = frozenset(
    {"void", "int", "char", "long", "short", "unsigned", "signed", "bool", "float", "double", "fn", "struct", "union",
    "enum",
     "u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64", "size_t", "ssize_t", "dma_addr_t", "phys_addr_t",
     "resource_size_t",
     "__le16", "__le32", "__le64", "__be16", "__be32", "__be64", "__u8", "__u16", "__u32", "__u64", "irqreturn_t",
     "gfp_t",
     "uint8_t", "uint16_t", "uint32_t", "uint64_t", "int32_t", "loff_t", "netdev_tx_t", "spinlock_t",
     "wait_queue_head_t"}
)  # fmt: skip
_LAYERS = 4  # of typedefs behind typedefs
_STANDS_FOR = re.compile(r"((?:struct|union) \w+) ?(\**)")
# What stands before a function's name where it is declared: a type, stars, annotations.
_RETURNS = re.compile(rb"(?:\b(struct|union)\s+)?\b(?!return\b|else\b)(\w+)\s+(\**)\s*(?:__\w+\s+)*\Z")


def struct_tag(kind: CType) -> str:
    """`foo` for `struct foo` and `union foo`, "" for what is no struct."""
    word, _, tag = kind.base.partition(" ")
    return tag if word in ("struct", "union") else ""


class Types:
    """Answers for one tree."""

    def __init__(self, tree: Tree, layouts: Mapping[str, CType]) -> None:
        """`layouts` has the types of "struct.member" for structs whose header is not in the tree."""
        self._tree = tree
        self._layouts = layouts
        self._typedefs: dict[tuple[str, str], CType | None] = {}

    def resolve(self, kind: CType, unit: Unit) -> CType:
        """`kind` with a typedef, or a macro that stands for a type, replaced by what it stands for."""
        for _ in range(_LAYERS):
            if not kind.base or " " in kind.base or kind.base in _PLAIN:
                return kind
            key = (kind.base, unit.source.path)
            if key not in self._typedefs:
                self._typedefs[key] = self._typedef(kind.base, unit)
            found = self._typedefs[key]
            if found is None or found.base == kind.base:
                return kind
            kind = CType(found.base, kind.pointers + found.pointers)
        return kind

    def _typedef(self, name: str, unit: Unit) -> CType | None:
        for one in (unit, *self._tree.headers(unit)):
            found = one.typedef(name)
            if found is not None:
                return found
        for one in (unit, *self._tree.headers(unit)) if not name.endswith("_t") else ():
            for macro in one.macros(name):
                text = " ".join(macro.source.blanked[macro.start : macro.end].decode("latin-1").split())
                if not macro.params and (words := _STANDS_FOR.fullmatch(text)) is not None:
                    return CType(words[1], words[2].count("*"))
        return None

    def of(self, expr: Expr, fn: Function, unit: Unit) -> CType | None:
        """The type of `expr` inside `fn`, None if it cannot be told."""
        match expr:
            case Name(text=text, variable=variable):
                if variable >= 0:
                    kind = fn.variables[variable].type
                    return self.resolve(kind, unit) if kind.base else None
                return self._global(text, unit)
            case Member():
                found = self.member(expr, fn, unit)
                return found[1] if found else None
            case Index():
                base = self.of(expr.parts[0], fn, unit)
                return base.pointee if base else None
            case Unary(op=op):
                inner = self.of(expr.parts[0], fn, unit)
                if inner is None:
                    return None
                if op == "*":
                    return inner.pointee
                return CType(inner.base, inner.pointers + 1) if op == "&" else inner
            case Cast(type=base, pointers=pointers):
                return self.resolve(CType(base, pointers), unit)
            case Assign() | Conditional():
                return self.of(expr.parts[0 if isinstance(expr, Assign) else 1], fn, unit)
            case Binary(op=op):
                return self.of(expr.parts[1 if op == "," else 0], fn, unit)
            case Statements() if expr.parts:
                return self.of(expr.parts[-1], fn, unit)
            case Call():
                return self._call(expr, fn, unit)
        return None

    def _call(self, call: Call, fn: Function, unit: Unit) -> CType | None:
        name = call.name
        if name in _CONTAINER_OF and len(call.args) >= 2:
            written = fn.source.text(call.args[1].start, call.args[1].end)
            return CType(self.resolve(CType(written.rstrip("* ").strip()), unit).base, 1) if written else None
        if not name:
            return None
        for one in self._tree.functions(name, unit):
            if not one.macro:
                return self.resolve(one.returns, self._tree.unit(one.source.path) or unit)
            last = next((n.expr for n in reversed(one.nodes) if n.expr is not None), None)
            if last is not None:
                home = self._tree.unit(one.source.path) or unit
                found = self.of(last, one, home)
                if found is not None and found.base:
                    return found
        return self._prototype(name, unit)

    def _prototype(self, name: str, unit: Unit) -> CType | None:
        """The return type of a function that is only declared."""
        word = name.encode()
        for header in self._tree.headers(unit):
            at = header.source.data.find(word)
            while at >= 0:
                before = header.source.code[max(0, at - 120) : at]
                if header.source.code[at + len(word) : at + len(word) + 2].lstrip().startswith(b"(") and (
                    found := _RETURNS.search(before)
                ):
                    base = b" ".join(part for part in (found.group(1), found.group(2)) if part).decode()
                    return self.resolve(CType(base, len(found.group(3))), header)
                at = header.source.data.find(word, at + len(word))
        return None

    def _global(self, name: str, unit: Unit) -> CType | None:
        kind = unit.variable(name)
        for header in self._tree.headers(unit) if kind is None else ():
            if not self._tree.is_kernels(header.source.path) and (kind := header.variable(name)) is not None:
                break
        return self.resolve(kind, unit) if kind is not None else None

    def member(self, expr: Member, fn: Function, unit: Unit) -> tuple[str, CType] | None:
        """For `base.field`: the tag of the struct that holds the field, and the field's type."""
        base = self.of(expr.parts[0], fn, unit)
        if base is None:
            return None
        tag = struct_tag(base)
        if not tag:
            return None
        return self.field(tag, expr.field, unit)

    def field(self, tag: str, field: str, unit: Unit) -> tuple[str, CType] | None:
        """The struct that holds `field` of struct `tag`, and the field's type."""
        outer, _, inner = tag.partition("::")
        found = self._tree.struct(outer, unit)
        if found is None:
            return (tag, self._layouts.get(f"{tag}.{field}", CType(""))) if not inner else None
        path = f"{inner}.{field}" if inner else field
        kind = found[0].get(path)
        if kind is None:
            return None
        if kind.base in ("struct", "union"):
            return tag, CType(f"struct {outer}::{path}", kind.pointers)
        home = self._tree.unit(found[1])
        return tag, self.resolve(kind, home or unit)
