# SPDX-License-Identifier: GPL-2.0-only
"""Which calls of the mapping API a value is the plain result of."""

from __future__ import annotations

from dmamigrate.syntax.expr import Call, Constant, strip
from dmamigrate.values.names import UNKNOWN, Ask, NameDomain, Names
from dmamigrate.values.questions import Question, Use


class Calls(NameDomain):
    """The calls that may have returned a value, constants aside."""

    name = "call"

    def leaf(self, question: Question, ask: Ask) -> Names | None:
        """A call of the API is the answer."""
        del ask
        expr = strip(question.expr) if isinstance(question, Use) else None
        if isinstance(expr, Call) and expr.name in self._values.tables.knowledge.api.calls:
            return frozenset({expr.name})
        return None

    def apply(self, use: Use, ask: Ask) -> Names:
        """A constant adds nothing, what is computed is not what was returned."""
        del ask
        return frozenset() if isinstance(strip(use.expr), Constant) else UNKNOWN
