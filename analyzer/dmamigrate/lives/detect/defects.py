# SPDX-License-Identifier: GPL-2.0-only
"""What is wrong with a life: handles, attributes and directions that disagree, checks and unmaps that are missing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dmamigrate.findings import Kind, Origin, Step
from dmamigrate.lives.api import ATTRIBUTES, DMA_CALLS, MMIO
from dmamigrate.lives.attributes import Attributes
from dmamigrate.lives.pair import Life, Lives, Site, fits
from dmamigrate.lives.sizes import Sizes
from dmamigrate.program.tree import Tree
from dmamigrate.program.types import Types
from dmamigrate.syntax.expr import Assign, Call, Member, Name, strip, walk
from dmamigrate.values.engine import Engine

_ADDRESSES = frozenset({Kind.PCI_BAR, Kind.P2P, Kind.MMIO, Kind.RAM, Kind.PFNMAP})


@dataclass(frozen=True)
class Defect:
    """Something wrong at `site`.

    `facts` are what the message names, `life` is the life that it belongs to, if known; `origin` is that of the address
    that it is about, `trail` the path that shows it.
    """

    rule: str
    site: Site
    facts: dict[str, str]
    life: Life | None = None
    origin: Origin | None = None
    trail: tuple[Step, ...] = ()


# enum dma_data_direction, include/linux/dma-direction.h
_DIRECTIONS = frozenset({"DMA_TO_DEVICE", "DMA_FROM_DEVICE", "DMA_BIDIRECTIONAL", "DMA_NONE"})
# What takes a number for what it is: registers, byte order, messages.
_USES = re.compile(
    r"\w*write\w*|\w*(?:wr|out)(?:8|16|32|64|b|w|l|q)|(?:__)?cpu_to_\w+|(?:lower|upper)_32_bits|FIELD_PREP|regmap_\w+"
    r"|\w*_(?:dbg|err|info|warn)\w*|pr_\w+|WARN\w*"
)


def wrong_handles(pairs: Lives) -> Iterator[Defect]:
    """The unmaps that are given something other than what a map returned: an address that was never a handle."""
    for life in pairs.lives:
        for site in life.mistaken:
            yield Defect("unmap-wrong-handle", site, {"what": "the address that was mapped"}, life)
    for site, origin in pairs.orphans:
        if origin.certain and origin.kinds[0] in _ADDRESSES:
            yield Defect("unmap-wrong-handle", site, {"what": f"a {origin.kinds[0]} address"}, origin=origin)


def orphans(pairs: Lives, tracer: Engine) -> Iterator[Defect]:
    """The unmaps whose map was not found.

    A call that needs no migration any more counts only where its handle was followed to the end, or is a member of the
    driver's own that nothing sets: core code unmaps what other code mapped.
    """
    for site, origin in pairs.orphans:
        wrong = origin.certain and origin.kinds[0] in _ADDRESSES
        if not wrong and (site.api.family == "resource" or origin.gave_up is None or _never_set(site, tracer)):
            yield Defect("unmap-orphan", site, {}, origin=origin)


def _never_set(site: Site, tracer: Engine) -> bool:
    handle, unit = site.argument("addr"), tracer.tree.unit(site.fn.source.path)
    member = strip(handle) if handle is not None else None
    owner = tracer.types.member(member, site.fn, unit) if isinstance(member, Member) and unit is not None else None
    if owner is None or unit is None or not isinstance(member, Member):
        return False
    stores, complete = tracer.stores.of_field(owner[0], member.field, unit)
    return complete and not stores


def mismatches(pairs: Lives, attributes: Attributes, sizes: Sizes) -> Iterator[Defect]:
    """The unmaps whose attributes, direction, size or family are not those of their map."""
    yield from _attributes_differ(pairs, attributes)
    reaching: dict[tuple[str, int], list[Life]] = {}
    for life in pairs.lives:
        for unmap in life.unmaps:
            reaching.setdefault(unmap.key, []).append(life)
    for life in pairs.lives:
        for unmap in life.foreign:
            yield Defect("unmap-family-mismatch", unmap, {"mapped": life.map.call.name, "map": where(life.map)}, life)
        for unmap in life.unmaps:
            # where several maps lead to one unmap, it is right if it fits any of them: a branch may tell which
            sizes_differ = [sizes.differ(one.map, unmap) for one in reaching[unmap.key] if one.map.api.family != "iova"]
            if sizes_differ and all(sizes_differ):
                yield Defect("unmap-size-mismatch", unmap, {"mapped": sizes_differ[0], "map": where(life.map)}, life)
        if (other := _of_another_direction(life, reaching)) is not None:
            yield Defect("unmap-dir-mismatch", other, {"mapped": life.map.text("dir"), "map": where(life.map)}, life)


def _of_another_direction(life: Life, reaching: dict[tuple[str, int], list[Life]]) -> Site | None:
    """An unmap that fits no map which reaches it, or where each fits some but none this map, one of those."""
    mine, ways = life.map.text("dir"), [unmap.text("dir") for unmap in life.unmaps]
    if not ways or not {mine, *ways} <= _DIRECTIONS:
        return None
    for unmap, way in zip(life.unmaps, ways, strict=True):
        if {one.map.text("dir") for one in reaching[unmap.key]} <= _DIRECTIONS - {way}:
            return unmap
    return life.unmaps[0] if mine not in ways else None


def _attributes_differ(pairs: Lives, attributes: Attributes) -> Iterator[Defect]:
    """Where the paths to a map give attributes that no path to its unmaps gives, or the other way round."""
    mapped: dict[tuple[str, int], list[Life]] = {}
    for life in pairs.lives:
        for unmap in life.unmaps:
            mapped.setdefault(unmap.key, []).append(life)
    reported: set[tuple[str, int]] = set()
    for life in pairs.lives:
        given = _sets(attributes, [life.map])
        others = any(fits(life.map, site) for site, _ in pairs.orphans)
        missing, among = _unanswered(life, given, attributes, others)
        for unmap in life.unmaps:
            taken, known = _sets(attributes, [unmap]), _sets(attributes, [one.map for one in mapped[unmap.key]])
            if not given or not taken or not known or unmap.key in reported:
                continue
            foreign = frozenset() if unmap.key in pairs.shared else taken - known
            lost = missing if unmap in among else frozenset()
            if not foreign and not lost:
                continue
            some, other = sorted(lost or known, key=sorted)[0], sorted(foreign or taken, key=sorted)[0]
            reported.add(unmap.key)
            facts = {"differ": ", ".join(sorted(some ^ other)) or MMIO, "map": where(life.map)}
            yield Defect("unmap-attrs-mismatch", unmap, facts, life)


def _sets(attributes: Attributes, sites: Iterable[Site]) -> frozenset[frozenset[str]]:
    """The sets of attributes that matter which these calls may be given; empty if not all of them are known."""
    held = [attributes.at(site) for site in sites]
    return frozenset() if None in held else frozenset(one & ATTRIBUTES for several in held for one in several or ())


def _unanswered(
    life: Life, given: frozenset[frozenset[str]], attributes: Attributes, others: bool
) -> tuple[frozenset[frozenset[str]], tuple[Site, ...]]:
    """The attributes of a map that its unmaps never give, and those unmaps.

    An unmap beside the map is there for errors: where one other function ends the mapping, that has to know all of them. With
    `others`, unmaps that may be this life's, nothing is told.
    """
    outside = tuple(unmap for unmap in life.unmaps if unmap.fn is not life.map.fn)
    among = outside if outside and len({unmap.fn for unmap in outside}) == 1 else life.unmaps
    taken = _sets(attributes, among)
    return (given - taken if taken and not others else frozenset()), among


def synced(pairs: Lives, attributes: Attributes) -> Iterator[Defect]:
    """The syncs of a mapping that is device memory: the sync knows no attributes and touches the caches."""
    mapped: dict[tuple[str, int], list[Life]] = {}
    for life in pairs.lives:
        for site in life.syncs:
            mapped.setdefault(site.key, []).append(life)
    for life in pairs.lives:
        for site in life.syncs:
            held = [attributes.always(one.map) for one in mapped[site.key]]
            if (
                life is mapped[site.key][0]
                and site.key not in pairs.shared
                and all(one is not None and MMIO in one for one in held)
            ):
                yield Defect("sync-on-mmio", site, {"map": where(life.map)}, life)


def unchecked(pairs: Lives) -> Iterator[Defect]:
    """The maps whose address no dma_mapping_error() looks at, though its unmaps show that its way is understood."""
    for life in pairs.lives:
        if not life.checks and life.unmaps and life.map.api.family != "iova":
            yield Defect("mapping-not-checked", life.map, {}, life)


def leaked(pairs: Lives, tree: Tree, types: Types) -> Iterator[Defect]:
    """The maps that nothing unmaps, kept where only this driver can see them."""
    if pairs.orphans:
        return  # an unmap whose map is not known may be the one
    for life in pairs.lives:
        if not life.ends and life.map.api.family != "iova" and _kept_inside(life.map, tree, types):
            yield Defect(
                "mapping-leaked",
                life.map,
                {"what": f"nothing in this driver unmaps {life.map.text('phys')}"},
                life,
            )


def _kept_inside(site: Site, tree: Tree, types: Types) -> bool:
    """Whether the address goes to a local or to a member of the driver's own struct, and not to code elsewhere."""
    expr = site.fn.nodes[site.node].expr
    stores = (
        [e for e in walk(expr) if isinstance(e, Assign) and strip(e.parts[1]) == site.call] if expr is not None else []
    )
    unit = tree.unit(site.fn.source.path)
    if not stores or unit is None:
        return False
    target = strip(stores[0].parts[0])
    if isinstance(target, Name):
        return target.variable >= 0 and not _leaves(site, target)
    if not isinstance(target, Member):
        return False
    found = types.member(target, site.fn, unit)
    return found is not None and tree.scope(tree.struct_home(found[0], unit), site.fn.source.path) is not None


def _leaves(site: Site, variable: Name) -> bool:
    """Whether the local is handed back to whoever called, or on to code that may keep it."""
    for node in site.fn.nodes:
        for part in walk(node.expr) if node.expr is not None else ():
            if isinstance(part, Name) and part.variable == variable.variable and node.kind == "return":
                return True
            handed = (
                part.args
                if isinstance(part, Call) and part.name not in DMA_CALLS and not _USES.fullmatch(part.name)
                else ()
            )
            if any(
                isinstance(e, Name) and e.variable == variable.variable for argument in handed for e in walk(argument)
            ):
                return True
    return False


def where(site: Site) -> str:
    """The place of a call, as path and line."""
    return f"{site.fn.source.path}:{site.fn.source.line(site.call.start)}"
