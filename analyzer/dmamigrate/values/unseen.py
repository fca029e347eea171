# SPDX-License-Identifier: GPL-2.0-only
"""What may be set, or returned, where no store is to be seen: by macros, through shared memory, by code that is not at
hand.
"""

from __future__ import annotations

from dmamigrate.program.queries import Queries, Stop
from dmamigrate.program.reach import Definition, set_unseen
from dmamigrate.syntax.expr import Call, Member, Name, strip
from dmamigrate.syntax.functions import Function
from dmamigrate.values.between import Answering
from dmamigrate.values.questions import Use
from dmamigrate.values.shapes import others_set, through_pointer
from dmamigrate.values.tables import Tables


class Unseen:
    """Answers for one tree."""

    def __init__(self, flow: Answering, tables: Tables, queries: Queries) -> None:
        self._flow = flow
        self._tables = tables
        self._queries = queries

    def of(self, fn: Function) -> frozenset[int]:
        """The locals that may be set where no store to them is seen."""
        return self._queries.fact(("unseen", fn), lambda: set_unseen(fn) | self._named_by_macros(fn))

    def _named_by_macros(self, fn: Function) -> frozenset[int]:
        """The locals that a macro sets by their names."""
        used = any(isinstance(node.expr, Name) and node.kind == "eval" for node in fn.nodes)
        used = used or any(call.name.isupper() for _, call in fn.calls)
        setting = self._flow.stores.setters.of(fn.source.path).words if used else {}
        words = {word for macro, held in setting.items() if fn.naming(macro) for word in held} if setting else set()
        return frozenset(number for number, variable in enumerate(fn.variables) if variable.name in words)

    def sharing(self, use: Use, root: Name | None) -> list[str]:
        """The members of a local that are set in its function and share their memory with the one that is used."""
        place, fn = use.expr, use.fn
        if root is None or root.variable < 0 or not isinstance(place, Member) or through_pointer(place):
            return []
        unit = self._flow.unit(fn)
        union = fn.variables[root.variable].type.base.startswith("union")
        owner = self._flow.types.member(place, fn, unit) if not union else None
        shared = self._flow.tree.sharing(owner[0], place.field, unit) if owner is not None else frozenset()
        return sorted(other for other in others_set(fn, root, place) if union or other in shared)

    def by_macro(self, use: Use, definition: Definition) -> str | None:
        """Why a statement that looks like the use of a macro may set what it is handed: its #define is nowhere."""
        call = definition.call
        node = use.fn.nodes[definition.node]
        if call is None or not call.name.isupper() or node.expr is None or strip(node.expr) is not call:
            return None
        unit = self._flow.unit(use.fn)
        if self._tables.knows(call.name) or self._flow.tree.functions(call.name, unit):
            return None
        return f"{call.name}() is not in the files that were read, and may be a macro that sets what it is handed"

    def by_stranger(self, use: Use, root: Name | None, call: Call) -> str | None:
        """Why a call that is handed the object of a member may set it: its body is nowhere, and the driver declares
        it.
        """
        unit = self._flow.unit(use.fn)
        if not call.name or root is None or self._tables.knows(call.name) or self._flow.tree.functions(call.name, unit):
            return None
        near = (
            unit,
            *(one for one in self._flow.tree.headers(unit) if not self._flow.tree.is_kernels(one.source.path)),
        )
        if any(one.declares(call.name) for one in near):
            return f"{call.name}() is handed the object and is not in the files that were read"
        return None

    def leaving(self, callee: Function) -> list[Stop]:
        """The macros that may return from a function: what they return is not seen there."""
        macros = self._flow.stores.setters.of(callee.source.path).returning if not callee.macro else ()
        used = {call.name for _, call in callee.calls if call.name in macros} if macros else set()
        return [Stop(f"{name}, a macro, may return from {callee.name}()") for name in sorted(used)]
