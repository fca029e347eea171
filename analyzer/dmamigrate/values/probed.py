# SPDX-License-Identifier: GPL-2.0-only
"""Whether a struct pci_dev, or another bus's device, is the one that the driver's own probe() was given."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from dmamigrate.program.queries import Stop
from dmamigrate.syntax.expr import Unary, strip
from dmamigrate.syntax.functions import Function
from dmamigrate.values.fold import Values
from dmamigrate.values.questions import Inflow, Param, Question, Use

Ways = frozenset[str]
Ask = Callable[[Question], Ways]
_OWN: Ways = frozenset({"own"})
_OTHER: Ways = frozenset({"?"})


class Probed:
    """Answers for one tree."""

    name = "probed"
    nothing: Ways = frozenset()

    def __init__(self, values: Values) -> None:
        self._values = values

    def is_own(self, use: Use) -> bool:
        """Whether some way leads from this pointer to the device that probe() was given."""
        return "own" in self._values.of(self, use)

    @staticmethod
    def unknown(stop: Stop) -> Ways:
        """Somebody's."""
        del stop
        return _OTHER

    @staticmethod
    def dead_end(answer: Ways) -> bool:
        """Whether nothing was found."""
        return answer == _OTHER

    @staticmethod
    def join(question: Question, found: Iterable[tuple[Inflow, Ways]], stops: tuple[Stop, ...]) -> Ways:
        """All ways."""
        del question
        ways = frozenset(way for _, several in found for way in several)
        return ways | _OTHER if stops else ways

    @staticmethod
    def leaf(question: Question, ask: Ask) -> Ways | None:
        """The first parameter of a probe() is the driver's own device."""
        del ask
        return _OWN if isinstance(question, Param) and question.position == 0 and is_probe(question.fn) else None

    @staticmethod
    def apply(use: Use, ask: Ask) -> Ways:
        """The address of a member is the member's."""
        expr = strip(use.expr)
        return ask(use.of(expr.parts[0])) if isinstance(expr, Unary) and expr.op == "&" else _OTHER


def is_probe(fn: Function) -> bool:
    """Whether this is a driver's probe(): if it fails, drivers/base/dd.c calls no remove()."""
    return re.search(rb"\.probe\w*\s*=\s*" + re.escape(fn.name.encode()) + rb"\b", fn.source.blanked) is not None
