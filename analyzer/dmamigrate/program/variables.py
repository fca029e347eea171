# SPDX-License-Identifier: GPL-2.0-only
"""Who stores to a variable outside of functions."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dmamigrate.program.records import Store, file_scope
from dmamigrate.program.tree import Tree
from dmamigrate.syntax import parts
from dmamigrate.syntax.expr import Assign, Call, Expr, Index, Name, Unary, strip, walk
from dmamigrate.syntax.unit import Unit

# A variable that is assigned to, or whose address is handed on.
_SET = rb"&\s*%s\b\s*(?:\[[^\]]*\]\s*)*[,)]|\b%s\b\s*(?:\[[^\]]*\]\s*)*(?:=(?!=)|(?:[-+|&^*/%%]|<<|>>)=|\+\+|--)"


class Variables:
    """Answers for one tree."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def of_global(self, name: str, unit: Unit) -> tuple[tuple[Store, ...], bool]:
        """The stores to global `name`, and whether every file that sees it was read."""
        word = re.escape(name.encode())
        declared = re.search(rb"^[ \t]*static\b[^;{}()]*\b" + word + rb"\b", unit.source.code, re.MULTILINE)
        folder = self._tree.module(unit.source.path)
        paths = (
            (unit.source.path,)
            if declared
            else self._tree.search(name, folder)
            if self._tree.is_driver_folder(folder)
            else ()
        )
        result: list[Store] = []
        may_set = re.compile(_SET % (word, word))
        for path in paths:
            other = self._tree.unit(path) if may_set.search(self._tree.contents(path)) else None
            if other is not None:
                result += self._global_in(other, name, may_set)
        kept = re.compile(
            rb"(?:=|\breturn|\{)\s*&\s*" + word + rb"\b(?!\s*(?:->|\.|\[))|\bEXPORT_SYMBOL\w*\s*\(\s*" + word + rb"\b"
        )
        if any(self._holds(path, kept) for path in paths):
            return tuple(result), False  # set through a pointer, or by another module
        return tuple(result), bool(declared) or (bool(result) and self._tree.is_driver_folder(folder))

    def _holds(self, path: str, pattern: re.Pattern[bytes]) -> bool:
        unit = self._tree.unit(path) if pattern.search(self._tree.contents(path)) else None
        return unit is not None and pattern.search(unit.source.blanked) is not None

    def _global_in(self, unit: Unit, name: str, may_set: re.Pattern[bytes]) -> Iterator[Store]:
        for item in unit.named("variable", name):
            value = unit.initial_value(item)
            yield Store(file_scope(unit, name, item.head, item.end, value), 2, value, value)
        seen: set[int] = set()
        for holder, at in self._tree.items_with(unit, may_set):
            if holder is None:
                plain = re.compile(rb"\b" + re.escape(name.encode()) + rb"\s*=\s*([^;{]*);").match(unit.source.code, at)
                if plain:
                    value = parts.expression(plain.group(1), plain.start(1))
                    yield Store(file_scope(unit, name, at, plain.end(), value), 2, value, value)
                continue
            if holder.kind != "function" or holder.head in seen:
                continue
            seen.add(holder.head)
            fn = unit.function(holder)
            for index, node in enumerate(fn.nodes):
                for expr in walk(node.expr) if node.expr is not None else ():
                    if isinstance(expr, Assign) and self._is_global(expr.parts[0], name):
                        yield Store(fn, index, expr.parts[0], expr.parts[1] if expr.op == "=" else expr)
                    elif isinstance(expr, Call):
                        for position, argument in enumerate(expr.args):
                            inner = strip(argument)
                            if isinstance(inner, Unary) and inner.op == "&" and self._is_global(inner.parts[0], name):
                                yield Store(fn, index, inner.parts[0], argument, expr, position)

    @staticmethod
    def _is_global(place: Expr, name: str) -> bool:
        place = strip(place)
        while isinstance(place, Index):
            place = strip(place.parts[0])
        return isinstance(place, Name) and place.text == name and place.variable < 0
