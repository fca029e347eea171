# SPDX-License-Identifier: GPL-2.0-only
"""Which calls of the mapping API a value is the plain result of."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dmamigrate.program.queries import Stop
from dmamigrate.syntax.expr import Call, Constant, strip
from dmamigrate.values.fold import Values
from dmamigrate.values.questions import Inflow, Question, Use

Names = frozenset[str]
_UNKNOWN: Names = frozenset({"?"})


class Calls:
    """Answers for one tree."""

    name = "call"
    nothing: Names = frozenset()

    def __init__(self, values: Values) -> None:
        self._values = values

    def of(self, use: Use) -> Names:
        """The calls that may have returned the value; empty if it may be anything but that, a constant aside."""
        found = self._values.of(self, use)
        return frozenset() if "?" in found else found

    @staticmethod
    def unknown(stop: Stop) -> Names:
        """Anything."""
        del stop
        return _UNKNOWN

    @staticmethod
    def dead_end(answer: Names) -> bool:
        """Whether nothing was found."""
        return answer == _UNKNOWN

    @staticmethod
    def join(question: Question, found: Iterable[tuple[Inflow, Names]], stops: tuple[Stop, ...]) -> Names:
        """All calls, and anything where a way was not followed."""
        del question
        names = frozenset(name for _, several in found for name in several)
        return names | _UNKNOWN if stops else names

    def leaf(self, question: Question, ask: Callable[[Question], Names]) -> Names | None:
        """A call of the API is the answer."""
        del ask
        expr = strip(question.expr) if isinstance(question, Use) else None
        if isinstance(expr, Call) and expr.name in self._values.tables.knowledge.api.calls:
            return frozenset({expr.name})
        return None

    @staticmethod
    def apply(use: Use, ask: Callable[[Question], Names]) -> Names:
        """A constant adds nothing, what is computed is not what was returned."""
        del ask
        return frozenset() if isinstance(strip(use.expr), Constant) else _UNKNOWN
