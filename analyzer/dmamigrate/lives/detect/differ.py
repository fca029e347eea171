# SPDX-License-Identifier: GPL-2.0-only
"""Maps and unmaps that disagree: on attributes, direction, size or family."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dmamigrate.lives.given import Attributes, Known, of_all, rounded_apart, same_place
from dmamigrate.lives.module import Defect, Module
from dmamigrate.lives.pair import Life, kept_in
from dmamigrate.lives.sites import Site
from dmamigrate.syntax.expr import Member, strip
from dmamigrate.values.constants import Word

RULES = (
    "unmap-attrs-mismatch",
    "unmap-dir-mismatch",
    "unmap-size-mismatch",
    "unmap-family-mismatch",
    "unmap-device-mismatch",
    "sync-dir-mismatch",
)
_BOTH_WAYS = "DMA_BIDIRECTIONAL"


def find(module: Module) -> Iterator[Defect]:
    """The unmaps whose attributes, direction, size or family are not those of their map."""
    mapped: dict[tuple[str, int], list[Life]] = {}
    for life in module.pairs.lives:
        for unmap in life.unmaps:
            mapped.setdefault(unmap.key, []).append(life)
    yield from _attributes(module, mapped)
    for life in module.pairs.lives:
        for unmap in life.foreign:
            facts = {"mapped": life.map.call.name, "map": life.map.where}
            yield Defect("unmap-family-mismatch", unmap, facts, life)
    for key in sorted(mapped):
        lives = mapped[key]
        unmap = next(site for site in lives[0].unmaps if site.key == key)
        # where several maps lead to one unmap, it is right if it fits any of them: a branch may tell which
        sizes = [_sizes_differ(module, life.map, unmap) for life in lives if life.map.api.family != "iova"]
        if sizes and all(sizes):
            facts = {"mapped": sizes[0], "map": lives[0].map.where}
            yield Defect("unmap-size-mismatch", unmap, facts, lives[0])
    yield from _directions(module, mapped)
    yield from _devices(module)
    yield from _synced(module)


def other_device(module: Module, mapped: Site, other: Site) -> str:
    """Whose device the other call is for, if that is known and surely not the one that the map is for; else ""."""
    one, two = mapped.argument("dev"), other.argument("dev")
    if one is None or two is None or same_place(module.engine, mapped, other, "dev"):
        return ""
    owners, others = module.engine.devices.of(mapped.use(one)), module.engine.devices.of(other.use(two))
    return " or ".join(sorted(others)) if owners and others and not owners & others else ""


def _devices(module: Module) -> Iterator[Defect]:
    """The unmaps and syncs for a device that none of their maps is for."""
    ended: dict[tuple[str, int], list[tuple[Site, Life]]] = {}
    for life in module.pairs.lives:
        for site in (*life.unmaps, *life.syncs):
            ended.setdefault(site.key, []).append((site, life))
    for held in ended.values():
        taken = [other_device(module, life.map, site) for site, life in held]
        if all(taken):
            site, life = held[0]
            dev = life.map.argument("dev")
            owners = module.engine.devices.of(life.map.use(dev)) if dev is not None else frozenset()
            facts = {"mapped": " or ".join(sorted(owners)), "taken": taken[0], "map": life.map.where}
            yield Defect("unmap-device-mismatch", site, facts, life)


def _synced(module: Module) -> Iterator[Defect]:
    """kernel/dma/debug.c: check_sync() complains of another direction, but for what is mapped both ways."""
    synced: dict[tuple[str, int], list[tuple[Site, Life]]] = {}
    for life in module.pairs.lives:
        for site in life.syncs:
            synced.setdefault(site.key, []).append((site, life))
    for held in synced.values():
        site, life = held[0]
        taken, given = module.given(site).directions, of_all(module.given(one.map).directions for _, one in held)
        if site.key in module.pairs.shared or not taken or not given or _BOTH_WAYS in given.values:
            continue
        if not taken.values & given.values:
            facts = {"mapped": " or ".join(sorted(given.values)), "taken": " or ".join(sorted(taken.values))}
            yield Defect("sync-dir-mismatch", site, {**facts, "map": life.map.where}, life)


def _sizes_differ(module: Module, mapped: Site, unmapped: Site) -> str:
    """The map's size if the unmap's cannot be the same on any path, else "": what is not a constant may be equal."""
    if same_place(module.engine, mapped, unmapped, "size"):
        return ""
    if rounded_apart(module.engine, mapped, unmapped, "size"):
        return mapped.text("size")
    one, other = module.given(mapped).sizes, module.given(unmapped).sizes
    if not one or not other or one.values & other.values:
        return ""
    # of PAGE_SIZE and a number nobody knows which is larger
    return mapped.text("size") if _units(one) == _units(other) else ""


def _units(sizes: Known[Word]) -> set[tuple[str, frozenset[str]]]:
    return {(word.unit, word.names) for word in sizes.values}


def _directions(module: Module, mapped: dict[tuple[str, int], list[Life]]) -> Iterator[Defect]:
    """Each unmap that fits no map which reaches it; where each fits some map but none fits this one, its first."""
    said: set[tuple[str, int]] = set()
    for key in sorted(mapped):
        unmap = next(site for site in mapped[key][0].unmaps if site.key == key)
        taken = module.given(unmap).directions
        given = of_all(module.given(life.map).directions for life in mapped[key])
        if key not in module.pairs.shared and taken and given and not taken.values & given.values:
            said.add(key)
            yield _of_another(module, unmap, mapped[key][0])
    for life in module.pairs.lives:
        given = module.given(life.map).directions
        if any(_of_other_part(life.map, unmap) for unmap in life.unmaps):
            continue
        taken = of_all(module.given(unmap).directions for unmap in life.unmaps)
        # an unmap of which nobody knows what it ends may be this mapping's own
        lost = any(module.engine.api.fits(life.map.api, site.api) for site, _ in module.pairs.orphans)
        if lost or not given or not taken or given.values & taken.values:
            continue
        if not said & {unmap.key for unmap in life.unmaps}:
            yield _of_another(module, life.unmaps[0], life)


def _of_other_part(mapped: Site, unmapped: Site) -> bool:
    """Whether a handle is kept in one part of an object and taken from another one, as those for sending and receiving
    are, which are of one struct.
    """
    kept, taken = kept_in(mapped), unmapped.argument("addr")
    owners = [
        inner.field
        if isinstance(place := strip(one), Member) and isinstance(inner := strip(place.parts[0]), Member)
        else ""
        for one in (kept, taken)
        if one is not None
    ]
    return len(owners) == 2 and all(owners) and owners[0] != owners[1]


def _of_another(module: Module, unmap: Site, life: Life) -> Defect:
    given = " or ".join(sorted(module.given(life.map).directions.values))
    taken = " or ".join(sorted(module.given(unmap).directions.values))
    return Defect("unmap-dir-mismatch", unmap, {"mapped": given, "taken": taken, "map": life.map.where}, life)


def _attributes(module: Module, mapped: dict[tuple[str, int], list[Life]]) -> Iterator[Defect]:
    """Where the paths to a map give attributes that no path to its unmaps gives, or the other way round."""
    reported: set[tuple[str, int]] = set()
    ends = {unmap.key: unmap for life in module.pairs.lives for unmap in life.unmaps}
    ended = {
        key: (_sets(module, [unmap]), _sets(module, [one.map for one in mapped[key]])) for key, unmap in ends.items()
    }
    for life in module.pairs.lives:
        given = _sets(module, [life.map])
        others = any(module.engine.api.fits(life.map.api, site.api) for site, _ in module.pairs.orphans)
        missing, among = _unanswered(module, life, given, others)
        for unmap in life.unmaps:
            taken, known = ended[unmap.key]
            if not given or not taken or not known or unmap.key in reported:
                continue
            foreign = frozenset() if unmap.key in module.pairs.shared else taken - known
            lost = missing if unmap in among else frozenset()
            if foreign or lost:
                some, other = sorted(lost or known, key=sorted)[0], sorted(foreign or taken, key=sorted)[0]
                reported.add(unmap.key)
                facts = {"differ": ", ".join(sorted(some ^ other)) or "an attribute", "map": life.map.where}
                yield Defect("unmap-attrs-mismatch", unmap, facts, life)


def _sets(module: Module, sites: Iterable[Site]) -> frozenset[Attributes]:
    """The sets of attributes that matter which these calls may be given; empty if not all of them are known."""
    known = of_all(module.given(site).kept for site in sites)
    return known.values if known else frozenset()


def _unanswered(
    module: Module, life: Life, given: frozenset[Attributes], others: bool
) -> tuple[frozenset[Attributes], tuple[Site, ...]]:
    """The attributes of a map that its unmaps never give, and those unmaps.

    An unmap beside the map is there for errors: where one other function ends the mapping, that has to know all of
    them. With `others`, unmaps that may be this life's, nothing is told.
    """
    outside = tuple(unmap for unmap in life.unmaps if unmap.fn is not life.map.fn)
    among = outside if outside and len({unmap.fn for unmap in outside}) == 1 else life.unmaps
    taken = _sets(module, among)
    return (given - taken if taken and not others else frozenset()), among
