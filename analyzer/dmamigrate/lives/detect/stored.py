# SPDX-License-Identifier: GPL-2.0-only
"""Addresses of device memory that are stored where a DMA address belongs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dmamigrate.findings import Kind, Origin
from dmamigrate.lives.module import Module
from dmamigrate.syntax.expr import Assign, Call, Member, strip, walk
from dmamigrate.syntax.functions import Function
from dmamigrate.syntax.unit import Unit
from dmamigrate.values.questions import Use

RULES = ("bar-as-dma-addr",)
WORDS = ("sg_dma_address", "dma_address")
_STORE = re.compile(rb"dma_address(?:\s*\([^;{}]*\))?\s*=(?!=)")


@dataclass(frozen=True)
class Stored:
    """A value that is stored where a DMA address belongs, and where it comes from."""

    rule: str
    fn: Function
    store: Assign
    origin: Origin


def find(module: Module) -> Iterator[Stored]:
    """The stores of one module to the DMA address of a scatterlist entry that are no DMA addresses."""
    tree = module.engine.tree
    folder = tree.module(module.files[0])
    bars = module.engine.values.tables.knowledge.words_for(Kind.PCI_BAR)
    if tree.is_driver_folder(folder) and not tree.mentions(bars, folder):
        return
    for path in module.files:
        unit = tree.unit(path)
        for fn, node, store in _stores(module, unit) if unit is not None else ():
            origin = module.engine.origins.of(Use(fn, node, store.parts[1]))
            # where some path gives a DMA address, the others may be another device's
            if Kind.DMA_ADDR not in origin.kinds:
                yield Stored("bar-as-dma-addr", fn, store, origin)


def _stores(module: Module, unit: Unit) -> Iterator[tuple[Function, int, Assign]]:
    if _STORE.search(unit.source.data) is None:
        return
    seen: set[int] = set()
    for found in _STORE.finditer(unit.source.blanked):
        item = unit.item_at(found.start())
        if item is None or item.kind != "function" or item.head in seen:
            continue
        seen.add(item.head)
        fn = unit.function(item)
        for index, node in enumerate(fn.nodes):
            for expr in walk(node.expr) if node.expr is not None else ():
                if isinstance(expr, Assign) and expr.op == "=" and _is_dma_address(module, expr, fn, unit):
                    yield fn, index, expr


def _is_dma_address(module: Module, store: Assign, fn: Function, unit: Unit) -> bool:
    target = strip(store.parts[0])
    if isinstance(target, Call):
        return target.name == "sg_dma_address"
    if not isinstance(target, Member) or target.field != "dma_address":
        return False
    found = module.engine.types.member(target, fn, unit)
    return found is not None and found[0] == "scatterlist"
