# SPDX-License-Identifier: GPL-2.0-only
"""The functions that a call may run."""

from __future__ import annotations

import re

from dmamigrate.program.queries import Stop
from dmamigrate.program.stores import Stores
from dmamigrate.program.tree import Tree
from dmamigrate.program.types import Types
from dmamigrate.syntax.expr import Call, Member, Name, Unary, strip
from dmamigrate.syntax.functions import Function
from dmamigrate.syntax.unit import Unit

_WEAK = re.compile(rb"\b__weak\b")


class Targets:
    """Answers for one tree."""

    def __init__(self, tree: Tree, types: Types, stores: Stores) -> None:
        self._tree = tree
        self._types = types
        self._stores = stores

    def _unit(self, fn: Function) -> Unit:
        unit = self._tree.unit(fn.source.path)
        assert unit is not None, "a function's own file was read to find it"
        return unit

    def of(self, fn: Function, call: Call) -> tuple[Function, ...]:
        """The functions that a call may run: by name, or those stored to the ops member it goes through."""
        unit = self._unit(fn)
        callee = strip(call.parts[0])
        if isinstance(callee, Name) and callee.variable < 0:
            return self._tree.functions(callee.text, unit)
        if isinstance(callee, Unary) and callee.op == "*":
            callee = strip(callee.parts[0])
        if not isinstance(callee, Member):
            return ()
        found = self._types.member(callee, fn, unit) or self._stores.only_struct_with(callee.field, unit)
        if found is None:
            return ()
        stores, complete = self._stores.of_field(found[0], callee.field, unit)
        result: dict[tuple[str, int], Function] = {}
        for store in stores:
            value = strip(store.value) if store.value is not None else None
            if isinstance(value, Unary) and value.op == "&":
                value = strip(value.parts[0])
            if not isinstance(value, Name) or value.variable >= 0 or store.call is not None:
                return ()
            if value.text != "NULL":
                named = self._tree.functions(value.text, self._unit(store.fn))
                if not named:
                    return ()  # one of those that it may be is not at hand
                result |= {(one.source.path, one.start): one for one in named}
        return tuple(result.values()) if complete else ()

    def elsewhere(self, target: Function) -> tuple[Stop, ...]:
        """A doubt for a function of which there may be another: it is weak, or stands in a header for what is
        configured out.
        """
        if target.macro:
            return ()
        head = target.source.blanked[target.start : target.end].partition(b"{")[0]
        if _WEAK.search(head):
            return (Stop(f"{target.name}() is weak, and another may take its place"),)
        if not target.source.path.endswith(".h") or not self._unit(target).declares(target.name):
            return ()
        return (Stop(f"{target.name}() has a body for when it is configured out; the other was not read"),)
