# SPDX-License-Identifier: GPL-2.0-only
"""Scatterlists that are unmapped with other attributes, or with another number of entries, than they were mapped with.

A list has no handle: a map and its unmap belong together if the list may be kept in the same place.
"""

from __future__ import annotations

from collections.abc import Iterator

from dmamigrate.lives.module import Defect, Module
from dmamigrate.lives.sites import Site, in_file
from dmamigrate.values.holders import Places

RULES = ("unmap-attrs-mismatch", "unmap-nents-mismatch")
# What is looked at without --pages: drivers whose lists may hold P2P pages.
WORDS = ("p2pdma",)


def find(module: Module) -> Iterator[Defect]:
    """The unmaps of one module's scatterlists that do not fit their maps."""
    tree, api = module.engine.tree, module.engine.api
    maps: list[tuple[Site, Places]] = []
    unmaps: list[tuple[Site, Places]] = []
    for path in module.files:
        unit = tree.unit(path)
        if unit is None or not (module.pages or any(word.encode() in unit.source.data for word in WORDS)):
            continue
        maps += [(site, _list(module, site)) for site in in_file(unit, api, api.named("map_sg"))[0]]
        unmaps += [(site, _list(module, site)) for site in in_file(unit, api, api.named("unmap_sg"))[0]]
    for site, places in unmaps:
        nents = site.argument("nents")
        counted = module.engine.calls.of(site.use(nents)) if nents is not None else frozenset()
        if counted and counted <= {*api.named("map_sg")}:
            yield Defect("unmap-nents-mismatch", site, {"what": f"what {min(counted)}() returned"})
        mine = [one for one, other in maps if places & other]
        rest = [one for one, other in unmaps if places & other]
        yield from _attributes(module, site, mine, rest)


def _list(module: Module, site: Site) -> Places:
    argument = site.argument("sgt") or site.argument("sg")
    return module.engine.holders.of(site.use(argument)) if argument is not None else frozenset()


def _attributes(module: Module, unmap: Site, maps: list[Site], unmaps: list[Site]) -> Iterator[Defect]:
    """Where this list is never mapped with what it is unmapped with, or mapped with what no unmap gives."""
    taken = module.given(unmap).kept
    given, all_taken = [module.given(one).kept for one in maps], [module.given(one).kept for one in unmaps]
    if not maps or not taken or not all(given) or not all(all_taken):
        return
    mapped = frozenset(one for known in given for one in known.values)
    lost = mapped - frozenset(one for known in all_taken for one in known.values)
    foreign = taken.values - mapped
    if lost or foreign:
        some, other = sorted(lost or mapped, key=sorted)[0], sorted(foreign or taken.values, key=sorted)[0]
        facts = {"differ": ", ".join(sorted(some ^ other)) or "an attribute", "map": maps[0].where}
        yield Defect("unmap-attrs-mismatch", unmap, facts)
