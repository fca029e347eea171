# SPDX-License-Identifier: GPL-2.0-only
"""One file taken apart on demand: its functions, macros, types and variables, each parsed only when asked for."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property

from dmamigrate.syntax import parts
from dmamigrate.syntax.expr import Expr
from dmamigrate.syntax.functions import CType, Function
from dmamigrate.syntax.items import Item, items
from dmamigrate.syntax.source import Source

_INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.MULTILINE)

_OPENS = re.compile(rb"\s*(?:__\w+\s*)*\{")


_UNINDENTED = re.compile(rb"^[^ \t\n#/*][^\n(]*\([^\n]*", re.MULTILINE)
_BEFORE_PARENTHESIS = re.compile(rb"\b(\w+)\s*\(")


def may_define_struct(data: bytes, tag: bytes) -> bool:
    """Whether `struct tag {` or `union tag {` stands in `data`: what most files that mention a struct have not."""
    for word in (b"struct ", b"union "):
        at = data.find(word + tag)
        while at >= 0:
            if _OPENS.match(data, at + len(word) + len(tag)):
                return True
            at = data.find(word + tag, at + 1)
    return False


def may_define_functions(data: bytes) -> set[bytes]:
    """The names before an opening parenthesis on lines that are not indented, as in a definition and never in a call."""
    return {name for line in _UNINDENTED.findall(data) for name in _BEFORE_PARENTHESIS.findall(line)}


class Unit:
    """A source file and what has been parsed of it so far."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._functions: dict[int, Function] = {}
        self._macros: dict[str, tuple[Function, ...]] = {}
        self._fields: dict[str, dict[str, CType] | None] = {}

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """The top-level items, in order."""
        return tuple(items(self.source))

    @cached_property
    def _heads(self) -> list[int]:
        return [item.head for item in self.items]

    @cached_property
    def _by_name(self) -> dict[tuple[str, str], list[Item]]:
        result: dict[tuple[str, str], list[Item]] = {}
        for item in self.items:
            result.setdefault((item.kind, item.name), []).append(item)
        return result

    @cached_property
    def includes(self) -> tuple[tuple[str, bool], ...]:
        """Each #include as (name, whether in quotes)."""
        return tuple((m.group(2).decode("latin-1"), m.group(1) == b'"') for m in _INCLUDE.finditer(self.source.data))

    def named(self, kind: str, name: str) -> list[Item]:
        """The items of this kind and name; more than one where #if chooses."""
        return self._by_name.get((kind, name), [])

    def item_at(self, offset: int) -> Item | None:
        """The item that holds the byte at `offset`."""
        index = bisect_right(self._heads, offset) - 1
        if index >= 0 and offset < self.items[index].end:
            return self.items[index]
        return None

    def function(self, item: Item) -> Function:
        """The function that `item` is, parsed once."""
        if item.head not in self._functions:
            self._functions[item.head] = parts.function(self.source, item)
        return self._functions[item.head]

    def functions(self, name: str) -> list[Function]:
        """The definitions of `name` here; more than one where #if chooses."""
        if name.encode() not in self.source.data:
            return []
        return [self.function(item) for item in self.named("function", name)]

    def function_at(self, offset: int) -> Function | None:
        """The function, or the macro, that holds the byte at `offset`."""
        item = self.item_at(offset)
        if item is not None and item.kind == "function":
            return self.function(item)
        line = self.source.blanked.rfind(b"\n", 0, offset) + 1
        while line > 0 and self.source.blanked[: line - 1].rstrip(b" ").endswith(b"\\"):
            line = self.source.blanked.rfind(b"\n", 0, line - 1) + 1
        define = re.compile(rb"[ \t]*#[ \t]*define[ \t]+(\w+)").match(self.source.blanked, line)
        macros = self.macros(define.group(1).decode()) if define else ()
        return next((one for one in macros if one.start <= offset < one.end), None)

    def macros(self, name: str) -> tuple[Function, ...]:
        """The #defines of `name` here, as functions; more than one where #if chooses."""
        if name not in self._macros:
            self._macros[name] = tuple(self._find_macros(name))
        return self._macros[name]

    def _find_macros(self, name: str) -> Iterator[Function]:
        word = name.encode()
        if word not in self.source.data:
            return
        define = re.compile(
            rb"^[ \t]*#[ \t]*define[ \t]+" + re.escape(word) + rb"(\(([^()]*)\))?(?=\s)((?:[^\n\\]|\\.)*)",
            re.MULTILINE | re.DOTALL,
        )
        for found in define.finditer(self.source.blanked):
            if found.group(3).strip():
                params = tuple(p.strip().decode("latin-1") for p in (found.group(2) or b"").split(b",") if p.strip())
                yield parts.macro(self.source, name, params, found.start(3), found.end(3))

    def fields(self, tag: str) -> dict[str, CType] | None:
        """The members of struct or union `tag` if it is defined here."""
        if tag not in self._fields:
            found = may_define_struct(self.source.data, tag.encode()) and self.named("type", tag)
            item = found[0] if found else None
            self._fields[tag] = parts.fields(self.source.code[item.body : item.end]) if item is not None else None
        return self._fields[tag]

    def typedef(self, name: str) -> str | None:
        """What `typedef struct x name` or `typedef x name` stands for, as a type's base name; None if not here."""
        if name.encode() not in self.source.data:
            return None
        pattern = rb"\btypedef\s+((?:struct|union|enum)\s+\w+|\w+)\s+" + re.escape(name.encode()) + rb"\s*;"
        if plain := re.search(pattern, self.source.code):
            return " ".join(plain.group(1).decode().split())
        return None

    def initial_value(self, item: Item) -> Expr:
        """The initialiser of a top-level variable."""
        return parts.initial_value(self.source, item)
