# SPDX-License-Identifier: GPL-2.0-only
"""Whether a mapping is made for somebody else's device: one that a dma-buf was exported to."""

from __future__ import annotations

from collections.abc import Iterator

from dmamigrate.lives.pair import Site
from dmamigrate.program.reach import reaching
from dmamigrate.syntax.expr import Expr, Member, Name, strip
from dmamigrate.syntax.functions import Function
from dmamigrate.values.engine import Engine

# include/linux/dma-buf.h: the importer, and its device
_ATTACHMENT = "dma_buf_attachment"


def to_importer(tracer: Engine, site: Site) -> bool:
    """Whether the device that a call maps for is a dma-buf's importer, as far as that can be seen."""
    device = site.argument("dev")
    return device is not None and any(_importers(tracer, site.fn, site.node, device, 4))


def _importers(tracer: Engine, fn: Function, node: int, expr: Expr, levels: int) -> Iterator[bool]:
    expr = strip(expr)
    unit = tracer.tree.unit(fn.source.path)
    if isinstance(expr, Member) and unit is not None:
        owner = tracer.types.member(expr, fn, unit)
        yield owner is not None and owner[0] == _ATTACHMENT
    elif isinstance(expr, Name) and expr.variable >= 0 and levels:
        seen = reaching(fn, node, expr)
        for definition in seen.definitions:
            if definition.value is not None:
                yield from _importers(tracer, fn, definition.node, definition.value, levels - 1)
        position = fn.variables[expr.variable].position
        if seen.entry and position >= 0:
            for caller in tracer.stores.callers(fn)[0][: tracer.budget.callers]:
                if position < len(caller.call.args):
                    yield from _importers(tracer, caller.fn, caller.node, caller.call.args[position], levels - 1)
