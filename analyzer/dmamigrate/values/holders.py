# SPDX-License-Identifier: GPL-2.0-only
"""Holders, the fourth domain: the places that an object or a value may be kept in.

A place is a member, as (struct, member), or a local, as (file and offset of the function, #variable). It serves where
it matters which object a pointer is, not what is in it: the IOVA state of a range, the importer that a device belongs
to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dmamigrate.program.queries import Stop
from dmamigrate.syntax.expr import Index, Member, Name, Unary, strip
from dmamigrate.values.fold import Values
from dmamigrate.values.questions import Fill, Held, Inflow, Question, Use

Place = tuple[str, str]
Places = frozenset[Place]
Ask = Callable[[Question], Places]


class Holders:
    """Answers for one tree."""

    name = "holder"
    nothing: Places = frozenset()

    def __init__(self, values: Values) -> None:
        self._values = values

    def of(self, use: Use) -> Places:
        """The places that the object behind a pointer, or a value, may be kept in."""
        return self._values.of(self, use)

    @staticmethod
    def unknown(stop: Stop) -> Places:
        """No place."""
        del stop
        return frozenset()

    @staticmethod
    def dead_end(answer: Places) -> bool:
        """Whether no place was found."""
        return not answer

    @staticmethod
    def join(question: Question, found: Iterable[tuple[Inflow, Places]], stops: tuple[Stop, ...]) -> Places:
        """All places, the local that is asked about among them."""
        del stops
        places = frozenset(place for _, several in found for place in several)
        if isinstance(question, Use):
            expr = strip(question.expr)
            if isinstance(expr, Name) and expr.variable >= 0:
                places |= {(f"{question.fn.source.path}:{question.fn.start}", f"#{expr.variable}")}
        return places

    def leaf(self, question: Question, ask: Ask) -> Places | None:
        """A member is a place of its own; what a callee fills in is not followed."""
        match question:
            case Held(use=use):
                member = use.expr
                assert isinstance(member, Member), "only members are held"
                owner = self._values.flow.owner(use)
                return frozenset({(owner[0] if owner is not None else "", member.field)})
            case Fill():
                return frozenset()
            case Use():
                expr = strip(question.expr)
                if isinstance(expr, Member):
                    return ask(Held(question.of(expr)))
                if isinstance(expr, Index):
                    return ask(question.of(expr.parts[0]))
        return None

    def apply(self, use: Use, ask: Ask) -> Places:
        """The address of a place is that place."""
        expr = strip(use.expr)
        return ask(use.of(expr.parts[0])) if isinstance(expr, Unary) and expr.op == "&" else frozenset()
