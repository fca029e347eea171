# SPDX-License-Identifier: GPL-2.0-only
"""Whose device a `struct device *` is: the driver's own, the DMA controller's, the importer's, as rules/api tells.

Only what the tables name is told apart, and only as long as the driver puts no device of its own there: of two PCI
functions which is which is not asked.
"""

from __future__ import annotations

from dmamigrate.syntax.expr import Expr, Member, Unary, strip
from dmamigrate.values.names import UNKNOWN, Ask, NameDomain, Names
from dmamigrate.values.questions import Held, Question, Use


class Devices(NameDomain):
    """Whose device a pointer may be."""

    name = "device"

    def leaf(self, question: Question, ask: Ask) -> Names | None:
        """A member of a kernel struct is whose the tables say; one of the driver's own is what was put there."""
        if isinstance(question, Use) and isinstance(expr := strip(question.expr), Member):
            # the place as a whole is asked for before what was stored to it near by
            return self._of_table(Use(question.fn, question.node, expr, question.frame))
        if isinstance(question, Held):
            return self._of_table(question.use) or (UNKNOWN if self._is_kernel(question.use) else None)
        return None

    def apply(self, use: Use, ask: Ask) -> Names:
        """The address of an embedded struct device."""
        expr = strip(use.expr)
        return ask(use.of(expr.parts[0])) if isinstance(expr, Unary) and expr.op == "&" else UNKNOWN

    def _of_table(self, use: Use) -> Names | None:
        member = strip(use.expr)
        assert isinstance(member, Member), "only members are held"
        unit, flow = self._values.flow.unit(use.fn), self._values.flow
        table = self._values.tables.knowledge.api.devices
        found = flow.types.member(member, use.fn, unit)
        inner = strip(member.parts[0])
        if found is None and isinstance(inner, Member):  # without the kernel's headers
            outer = flow.types.member(inner, use.fn, unit)
            return self._told(table.get(f"{outer[0]}.{inner.field}->{member.field}")) if outer is not None else None
        owner = table.get(f"{found[0]}.{member.field}") if found is not None else None
        if owner is None or found is None:
            return None
        stores = flow.stores.of_field(found[0], member.field, unit)[0]
        # that its address is handed on or kept changes nothing
        stored = any(one.call is None and type(one.value) is not Expr for one in stores)
        return UNKNOWN if stored else self._told(owner)

    @staticmethod
    def _told(owner: str | None) -> Names | None:
        return frozenset({owner}) if owner is not None else None

    def _is_kernel(self, use: Use) -> bool:
        owner = self._values.flow.owner(use)
        return owner is None or owner[1].startswith("include/")
