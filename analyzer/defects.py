# SPDX-License-Identifier: GPL-2.0-only
"""What is wrong with a life: handles, attributes and directions that disagree, checks and unmaps that are missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from analyzer.findings import Kind, Origin
from analyzer.lifecycle import Life, Lives, Site
from analyzer.syntax.expr import Assign, Member, Name, strip, walk
from analyzer.trace.tree import Tree
from analyzer.trace.types import Types

_MMIO = "DMA_ATTR_MMIO"
# The attributes that dma-debug wants equal at map and unmap, kernel/dma/debug.c: check_unmap().
_MATTER = frozenset(
    {
        "DMA_ATTR_NO_KERNEL_MAPPING",
        "DMA_ATTR_FORCE_CONTIGUOUS",
        _MMIO,
        "DMA_ATTR_REQUIRE_COHERENT",
        "DMA_ATTR_PRIVILEGED",
        "DMA_ATTR_CC_SHARED",
    }
)
_ADDRESSES = frozenset({Kind.PCI_BAR, Kind.P2P, Kind.MMIO, Kind.RAM, Kind.PFNMAP})


@dataclass(frozen=True)
class Defect:
    """Something wrong at `site`; `life` is the life that it belongs to, if known, `facts` what the message names."""

    rule: str
    site: Site
    origin: Origin
    facts: dict[str, str]
    life: Life | None = None


_NOTHING = Origin((Kind.DMA_ADDR,), False, (), None)


def wrong_handles(pairs: Lives) -> Iterator[Defect]:
    """The unmaps that are given something other than what a map returned: an address that was never a handle."""
    for life in pairs.lives:
        for site in life.mistaken:
            yield Defect("unmap-wrong-handle", site, _NOTHING, {"what": "the address that was mapped"}, life)
    for site, origin in pairs.orphans:
        if origin.certain and origin.kinds[0] in _ADDRESSES:
            yield Defect("unmap-wrong-handle", site, origin, {"what": f"a {origin.kinds[0]} address"})


def orphans(pairs: Lives) -> Iterator[Defect]:
    """The unmaps whose map was not found.

    A call that needs no migration any more counts only where its handle was followed to the end: core code unmaps what
    other code mapped.
    """
    for site, origin in pairs.orphans:
        wrong = origin.certain and origin.kinds[0] in _ADDRESSES
        if not wrong and (site.api.family == "resource" or origin.gave_up is None):
            yield Defect("unmap-orphan", site, origin, {})


def mismatches(pairs: Lives) -> Iterator[Defect]:
    """The unmaps whose attributes or direction, both written as constants, are not those of their map."""
    for life in pairs.lives:
        for unmap in life.unmaps:
            at_map, at_unmap = attributes(life.map), attributes(unmap)
            if at_map is not None and at_unmap is not None and (at_map ^ at_unmap) & _MATTER:
                differ = ", ".join(sorted((at_map ^ at_unmap) & _MATTER))
                yield Defect("unmap-attrs-mismatch", unmap, _NOTHING, {"differ": differ, "map": _where(life.map)}, life)
            directions = life.map.text("dir"), unmap.text("dir")
            if all(one.startswith("DMA_") for one in directions) and directions[0] != directions[1]:
                yield Defect("unmap-dir-mismatch", unmap, _NOTHING, {"mapped": directions[0], "map": _where(life.map)}, life)


def attributes(site: Site) -> frozenset[str] | None:
    """The attributes that a call is given, what its family implies included; None if they are not constants."""
    argument = site.argument("attrs")
    implied = {_MMIO} if site.api.family == "resource" else set()
    if argument is None:
        return frozenset(implied)
    names = {part.text for part in walk(argument) if isinstance(part, Name)}
    if not all(name.startswith("DMA_ATTR_") for name in names):
        return None
    return frozenset(names | implied)


def unchecked(pairs: Lives) -> Iterator[Defect]:
    """The maps whose address no dma_mapping_error() looks at, though its unmaps show that its way is understood."""
    for life in pairs.lives:
        if not life.checks and life.unmaps:
            yield Defect("mapping-not-checked", life.map, _NOTHING, {}, life)


def leaked(pairs: Lives, tree: Tree, types: Types) -> Iterator[Defect]:
    """The maps that nothing unmaps, kept where only this driver can see them."""
    if pairs.orphans:
        return  # an unmap whose map is not known may be the one
    for life in pairs.lives:
        if not life.ends and _kept_inside(life.map, tree, types):
            yield Defect("mapping-leaked", life.map, _NOTHING, {}, life)


def _kept_inside(site: Site, tree: Tree, types: Types) -> bool:
    """Whether the address goes to a local or to a member of the driver's own struct, and not to code elsewhere."""
    expr = site.fn.nodes[site.node].expr
    stores = [e for e in walk(expr) if isinstance(e, Assign) and strip(e.parts[1]) == site.call] if expr is not None else []
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
    """Whether the local is handed back to whoever called."""
    return any(
        isinstance(part, Name) and part.variable == variable.variable
        for node in site.fn.nodes
        if node.kind == "return" and node.expr is not None
        for part in walk(node.expr)
    )


def _where(site: Site) -> str:
    return f"{site.fn.source.path}:{site.fn.source.line(site.call.start)}"
