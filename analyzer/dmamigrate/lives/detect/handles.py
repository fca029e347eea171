# SPDX-License-Identifier: GPL-2.0-only
"""Unmaps that are given something other than what a map returned, or whose map cannot be found."""

from __future__ import annotations

from collections.abc import Iterator

from dmamigrate.findings import Kind
from dmamigrate.lives.module import Defect, Module
from dmamigrate.lives.sites import Site
from dmamigrate.syntax.expr import Member, strip
from dmamigrate.values.engine import Engine

RULES = ("unmap-wrong-handle", "unmap-orphan")
_ADDRESSES = frozenset({Kind.PCI_BAR, Kind.P2P, Kind.MMIO, Kind.RAM, Kind.PFNMAP})


def find(module: Module) -> Iterator[Defect]:
    """The unmaps that are given an address that was never a handle, and those without a map.

    An unmap of a call that needs no migration any more counts only where its handle was followed to the end, or is a
    member of the driver's own that nothing sets: core code unmaps what other code mapped. Where code that is not in sight
    has a part of the answer, an exported function's caller say, the map is not followed, and nothing is said.
    """
    for life in module.pairs.lives:
        for site in life.mistaken:
            yield Defect("unmap-wrong-handle", site, {"what": "the address that was mapped"}, life)
    for site, origin in module.pairs.orphans:
        if origin.certain and origin.kinds[0] in _ADDRESSES:
            yield Defect("unmap-wrong-handle", site, {"what": f"a {origin.kinds[0]} address"}, origin=origin)
        elif _never_set(site, module.engine) or (
            not origin.outside and (site.api.family == "resource" or origin.gave_up is None)
        ):
            yield Defect("unmap-orphan", site, {}, origin=origin)


def _never_set(site: Site, engine: Engine) -> bool:
    handle = site.argument("addr")
    member = strip(handle) if handle is not None else None
    if not isinstance(member, Member):
        return False
    unit = engine.flow.unit(site.fn)
    owner = engine.types.member(member, site.fn, unit)
    if owner is None:
        return False
    stores, complete = engine.stores.of_field(owner[0], member.field, unit)
    return complete and not stores
