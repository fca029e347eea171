# SPDX-License-Identifier: GPL-2.0-only
"""What the domains have in common whose answer is a few names, and nothing where not every way was followed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dmamigrate.program.queries import Stop
from dmamigrate.values.fold import Values
from dmamigrate.values.questions import Inflow, Question, Use

Names = frozenset[str]
Ask = Callable[[Question], Names]
UNKNOWN: Names = frozenset({"?"})


class NameDomain:
    """Answers for one tree; what is a leaf and what operators make of it is the domain's own."""

    name = ""
    nothing: Names = frozenset()

    def __init__(self, values: Values) -> None:
        self._values = values

    def of(self, use: Use) -> Names:
        """The names that are possible; empty if others may be."""
        found = self.all_of(use)
        return frozenset() if "?" in found else found

    def all_of(self, use: Use) -> Names:
        """The names that are possible, "?" among them if others may be."""
        return self._values.of(self, use)

    @staticmethod
    def unknown(stop: Stop) -> Names:
        """Anything."""
        del stop
        return UNKNOWN

    @staticmethod
    def dead_end(answer: Names) -> bool:
        """Whether nothing was found."""
        return answer == UNKNOWN

    @staticmethod
    def join(question: Question, found: Iterable[tuple[Inflow, Names]], stops: tuple[Stop, ...]) -> Names:
        """All names, and anything where a way was not followed."""
        del question
        names = frozenset(name for _, several in found for name in several)
        return names | UNKNOWN if stops else names

    def leaf(self, question: Question, ask: Ask) -> Names | None:
        """The answer where no flow is needed to give it."""
        raise NotImplementedError

    def apply(self, use: Use, ask: Ask) -> Names:
        """The answer for a constant or an operator."""
        raise NotImplementedError
