# SPDX-License-Identifier: GPL-2.0-only
"""Whether a struct pci_dev, or another bus's device, is the one that the driver's own probe() was given."""

from __future__ import annotations

import re

from dmamigrate.syntax.expr import Unary, strip
from dmamigrate.syntax.functions import Function
from dmamigrate.values.names import UNKNOWN, Ask, NameDomain, Names
from dmamigrate.values.questions import Param, Question, Use

_OWN: Names = frozenset({"own"})


class Probed(NameDomain):
    """Whether ways lead from a pointer to the device that probe() was given."""

    name = "probed"

    def is_own(self, use: Use) -> bool:
        """Whether some way does."""
        return self.all_of(use) >= _OWN

    def leaf(self, question: Question, ask: Ask) -> Names | None:
        """The first parameter of a probe() is the driver's own device."""
        del ask
        return _OWN if isinstance(question, Param) and question.position == 0 and is_probe(question.fn) else None

    def apply(self, use: Use, ask: Ask) -> Names:
        """The address of a member is the member's."""
        expr = strip(use.expr)
        return ask(use.of(expr.parts[0])) if isinstance(expr, Unary) and expr.op == "&" else UNKNOWN


def is_probe(fn: Function) -> bool:
    """Whether this is a driver's probe(): if it fails, drivers/base/dd.c calls no remove()."""
    return re.search(rb"\.probe\w*\s*=\s*" + re.escape(fn.name.encode()) + rb"\b", fn.source.blanked) is not None
