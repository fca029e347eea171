# SPDX-License-Identifier: GPL-2.0-only
"""What a call leaves in a place that it is handed: asked at the exits of the functions that it may run."""

from __future__ import annotations

from typing import Protocol

from dmamigrate.program.queries import Stop
from dmamigrate.program.reach import Definition, Effects, reaching, substitute
from dmamigrate.syntax.expr import Call, Index, Name, Unary, path_of, strip
from dmamigrate.syntax.functions import Function
from dmamigrate.values.questions import EXIT, Exit, Fill, Frame, Inflow, Inflows, Question, Use
from dmamigrate.values.shapes import hides
from dmamigrate.values.tables import Tables


class Answering(Protocol):
    """What answers of calls: values/flow.py."""

    def inflows(self, question: Question) -> Inflows:
        """What flows into what is asked about."""

    def targets(self, fn: Function, call: Call) -> tuple[Function, ...]:
        """The functions that a call may run."""

    def elsewhere(self, target: Function) -> tuple[Stop, ...]:
        """A doubt for a function whose real body is elsewhere."""


class Fills:
    """Answers for one tree."""

    def __init__(self, flow: Answering, tables: Tables) -> None:
        self._flow = flow
        self._tables = tables

    def overwrites(self, fill: Fill, levels: int = 4) -> bool:
        """Whether a call sets the place on every way through every function that it may run."""
        if self._tables.knowledge.call(fill.call.name, fill.position) or levels <= 0:
            return False
        exits = [edge.source for edge in self._flow.inflows(fill).edges if isinstance(edge.source, Exit)]
        targets = [one for one in self._flow.targets(fill.use.fn, fill.call) if not one.macro]
        if not exits or len(exits) != len(self._flow.targets(fill.use.fn, fill.call)) or not targets:
            return False
        return all(self._always_set(at, levels) for at in exits)

    def _always_set(self, at: Exit, levels: int) -> bool:
        def overwrites(call: Call, position: int) -> bool:
            return self.overwrites(Fill(Use(at.callee, EXIT, at.place, at.frame), call, position), levels - 1)

        found = reaching(at.callee, EXIT, at.place, Effects(overwrites, lambda place: False))
        return bool(found.definitions) and not found.entry

    def leaves_any(self, fill: Fill) -> bool:
        """Whether a call may leave anything in a place, as far as its callee's text tells."""
        flows = self._flow.inflows(fill)
        return bool(flows.open) or any(
            self._leaves_something(edge.source, 6) for edge in flows.edges if isinstance(edge.source, Exit)
        )

    def _leaves_something(self, at: Exit, levels: int) -> bool:
        found = reaching(at.callee, EXIT, at.place).definitions
        if any(definition.call is None for definition in found):
            return True
        for definition in found if levels else ():
            inner = self._flow.inflows(self._handed_on(at, definition))
            if inner.open or any(
                self._leaves_something(edge.source, levels - 1) for edge in inner.edges if isinstance(edge.source, Exit)
            ):
                return True
            if definition.call is not None and self._tables.knowledge.call(definition.call.name, definition.argument):
                return True
        return False

    @staticmethod
    def _handed_on(at: Exit, definition: Definition) -> Fill:
        assert definition.call is not None, "only what was handed on to a call is asked about"
        return Fill(Use(at.callee, definition.node, at.place, at.frame), definition.call, definition.argument)

    def into(self, fill: Fill) -> Inflows:
        """What the functions that a call may run leave in the place that it is handed."""
        use, call, position = fill.use, fill.call, fill.position
        place = use.expr
        argument = strip(call.args[position])
        inner = Frame(use.fn, use.node, call, use.frame)
        edges: list[Inflow] = []
        reasons: list[Stop] = []
        targets = self._flow.targets(use.fn, call)
        for target in targets:
            param = next((i for i, v in enumerate(target.variables) if v.position == position), None)
            if param is None:
                continue
            reasons += self._flow.elsewhere(target)
            pointer = Name(argument.start, argument.end, (), target.variables[param].name, param)
            if isinstance(argument, Unary) and argument.op == "&":
                seen = substitute(place, argument.parts[0], Unary(argument.start, argument.end, (pointer,), "*"))
            else:
                seen = substitute(place, argument, pointer)
            at = Exit(target, seen, inner)
            if target.macro and not self._leaves_something(at, 6):
                if not self._tables.knows(call.name) and hides(target, param):
                    reasons.append(Stop(f"{call.name}() is a macro, and what it stores was not followed"))
                continue
            if target.variables[param].type.base == "void" and not self._leaves_something(at, 6):
                reasons.append(Stop(f"{target.name}() takes a void pointer, and what it stores there was not followed"))
            else:
                edges.append(Inflow(at, target, seen))
        whole = isinstance(argument, Unary) and path_of(argument.parts[0]) == path_of(place)
        behind = isinstance(place, Index | Unary) and path_of(place.parts[0]) == path_of(argument)
        part = isinstance(argument, Unary) and argument.op == "&"
        if not targets and (whole or behind or part) and not self._tables.knows(call.name):
            why = f"{call.name}() is not in the files that were read" if call.name else "an indirect call fills it in"
            reasons.append(Stop(why))
        return Inflows(tuple(edges), tuple(reasons))

    def out_of(self, at: Exit) -> Inflows:
        """The stores of a callee that its exit sees."""
        callee, place = at.callee, at.place
        edges: list[Inflow] = []
        for definition in reaching(callee, EXIT, place).definitions:
            if definition.call is not None:
                edges.append(Inflow(self._handed_on(at, definition), callee, definition.call))
            elif definition.value is not None:
                source = Use(callee, definition.node, definition.value, at.frame)
                edges.append(Inflow(source, callee, definition.at, f"{callee.name}() stores it"))
            else:
                edges.append(Inflow(None, callee, definition.at))
        return Inflows(tuple(edges))
