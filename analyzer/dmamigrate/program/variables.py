# SPDX-License-Identifier: GPL-2.0-only
"""Who stores to a variable outside of functions."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dmamigrate.program.macros import Setters
from dmamigrate.program.records import Store, file_scope
from dmamigrate.program.tree import Tree
from dmamigrate.syntax import parts
from dmamigrate.syntax.expr import Assign, Call, Expr, Index, Name, Unary, pointee, strip, walk
from dmamigrate.syntax.functions import Function
from dmamigrate.syntax.unit import Unit, occurrences

# A variable that is assigned to, or whose address is handed on; one that is an array also where it is kept or handed on
# itself.
_SET = rb"&\s*%s\b\s*(?:\[[^\]]*\]\s*)*[,)]|\b%s\b(?:\[[^\]]*\]|[\s)])*(?:=(?!=)|(?:[-+|&^*/%%]|<<|>>)=|\+\+|--)"
# Where an address is kept or a variable exported; in group 1 what is so only outside of functions.
_KEEPS = (
    rb"(?:=|\breturn|\{|\?|:)\s*&\s*%s\b(?!\s*(?:->|\.|\[))|\bEXPORT_SYMBOL\w*\s*\(\s*%s\b"
    rb"|([(,]\s*&?\s*%s\s*[,)}])"
)
_KEPT = rb"|(?:[=(,]|\breturn)\s*%s\s*[,);]"


class Variables:
    """Answers for one tree."""

    def __init__(self, tree: Tree, setters: Setters) -> None:
        self._tree = tree
        self._setters = setters

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
        array = re.search(rb"\b" + word + rb"\s*\[", unit.source.code) is not None
        may_set = re.compile(_SET % (word, word) + (_KEPT % word if array else b""))
        for path in paths:
            text = self._tree.contents(path)
            handed = any(self._handed(path, text, at) for at in occurrences(text, name.encode()))
            other = self._tree.unit(path) if handed or may_set.search(text) else None
            if other is not None:
                result += self._global_in(other, name, may_set, array)
        result += self._by_macros(name, unit, paths)
        if any(self._keeps(path, name) for path in paths):
            return tuple(result), False  # set through a pointer, or by another module
        return tuple(result), bool(declared) or (bool(result) and self._tree.is_driver_folder(folder))

    def _by_macros(self, name: str, unit: Unit, paths: tuple[str, ...]) -> Iterator[Store]:
        """The doubts that macros are which set the variable by its name, or stand for it where they are set."""
        nowhere = Expr(0, 0)
        for path in paths:
            setting = sorted(macro for macro, held in self._setters.of(path).words.items() if name in held)
            for macro in setting:
                why = f"{macro}, a macro, sets {name}"
                yield Store(file_scope(unit, name, 0, 0, nowhere), 2, nowhere, None, doubt=why)
            for macro in sorted(self._setters.standing_for(name, path)):
                word = re.escape(macro.encode())
                if any(re.search(_SET % (word, word), self._tree.contents(other)) for other in paths):
                    why = f"{macro}, which is set, stands for {name}"
                    yield Store(file_scope(unit, name, 0, 0, nowhere), 2, nowhere, None, doubt=why)
            if setting:
                return  # one module, one set of macros

    def _keeps(self, path: str, name: str) -> bool:
        """Whether a file keeps the variable's address, hands it to another module, or has a macro make something of
        it.
        """
        word = re.escape(name.encode())
        kept = re.compile(_KEEPS % (word, word, word))
        unit = self._tree.unit(path) if kept.search(self._tree.contents(path)) else None
        for found in kept.finditer(unit.source.blanked) if unit is not None else ():
            item = unit.item_at(found.start()) if unit is not None else None
            if found[1] is None or item is None or item.kind == "variable":
                return True
        return False

    def _handed(self, path: str, text: bytes, at: int) -> bool:
        """Whether what stands at `at` is handed to what may set it."""
        return self._setters.of(path).handed.search(text[max(0, at - 100) : at]) is not None

    def _global_in(self, unit: Unit, name: str, may_set: re.Pattern[bytes], array: bool) -> Iterator[Store]:
        for item in unit.named("variable", name):
            value = unit.initial_value(item)
            yield Store(file_scope(unit, name, item.head, item.end, value), 2, value, value)
        seen: set[int] = set()
        text = unit.source.blanked
        handed = (at for at in occurrences(text, name.encode()) if self._handed(unit.source.path, text, at))
        places = [*self._tree.items_with(unit, may_set), *((unit.item_at(at), at) for at in handed)]
        for holder, at in places:
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
            yield from self._in_function(fn, name, unit, array)

    def _in_function(self, fn: Function, name: str, unit: Unit, array: bool) -> Iterator[Store]:
        macros = self._setters.of(unit.source.path)
        for index, node in enumerate(fn.nodes):
            kept = node.expr if node.kind == "return" else None
            for expr in walk(node.expr) if node.expr is not None else ():
                if isinstance(expr, Assign):
                    if self._is_global(expr.parts[0], name):
                        yield Store(fn, index, expr.parts[0], expr.parts[1] if expr.op == "=" else expr)
                    kept = expr.parts[1]
                elif isinstance(expr, Call):
                    for position, argument in enumerate(expr.args):
                        inner = strip(argument)
                        if isinstance(inner, Unary) and inner.op == "&" and self._is_global(inner.parts[0], name):
                            yield Store(fn, index, inner.parts[0], argument, expr, position)
                        elif not self._is_global(inner, name):
                            continue
                        elif array and isinstance(inner, Name):
                            yield Store(fn, index, pointee(inner), argument, expr, position)
                        elif (expr.name, position) in self._setters.outs:
                            yield Store(fn, index, inner, argument, expr, position)
                        elif macros.sets(expr.name, position):
                            yield Store(
                                fn, index, inner, None, doubt=f"{expr.name}() sets what it is handed in {fn.name}()"
                            )
            if array and kept is not None and isinstance(strip(kept), Name) and self._is_global(kept, name):
                why = f"{fn.name}() keeps {name} in a pointer, and what is stored through that is not seen"
                yield Store(fn, index, kept, None, doubt=why)

    @staticmethod
    def _is_global(place: Expr, name: str) -> bool:
        place = strip(place)
        while isinstance(place, Index):
            place = strip(place.parts[0])
        return isinstance(place, Name) and place.text == name and place.variable < 0
