# SPDX-License-Identifier: GPL-2.0-only
"""The life of a mapping: which checks, syncs and unmaps act on the address that a map call returned."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from analyzer.dma_calls import DMA_CALLS, DmaCall
from analyzer.findings import Origin, Skipped, Span
from analyzer.syntax.expr import Call, Expr, path_of
from analyzer.syntax.functions import Function
from analyzer.syntax.source import Source
from analyzer.syntax.unit import Unit
from analyzer.trace.reach import reaching
from analyzer.trace.tree import Tree
from analyzer.trace.walk import Tracer

# The family that the migration is about; a driver's checks and syncs matter only beside one of these.
MAPS = ("dma_map_resource", "dma_map_phys")
UNMAPS = ("dma_unmap_resource", "dma_unmap_phys")
OTHERS = ("dma_mapping_error", "dma_sync_single_for_cpu", "dma_sync_single_for_device")


@dataclass(frozen=True)
class Site:
    """A call of the DMA API in its function."""

    fn: Function
    node: int
    call: Call
    api: DmaCall

    @property
    def key(self) -> tuple[str, int]:
        """The file and the byte offset of the call."""
        return self.fn.source.path, self.call.start

    def argument(self, role: str) -> Expr | None:
        """The argument in this role, None if the call has no such argument."""
        position = self.api.position(role)
        return self.call.args[position] if 0 <= position < len(self.call.args) else None

    def text(self, role: str) -> str:
        """The source text of the argument in this role."""
        argument = self.argument(role)
        return self.fn.source.text(argument.start, argument.end) if argument is not None else ""


@dataclass(frozen=True)
class Life:
    """One map call and what acts on its address; `mistaken` are unmaps that are given the address that was mapped instead."""

    map: Site
    unmaps: tuple[Site, ...]
    checks: tuple[Site, ...]
    syncs: tuple[Site, ...]
    mistaken: tuple[Site, ...] = ()

    @property
    def ends(self) -> tuple[Site, ...]:
        """Every call that is meant to end this mapping."""
        return (*self.unmaps, *self.mistaken)


@dataclass(frozen=True)
class Lives:
    """All lives of one module, the unmaps without a map (with what their handle traces to), and what was not analysable."""

    lives: tuple[Life, ...]
    orphans: tuple[tuple[Site, Origin], ...]
    skipped: tuple[Skipped, ...]


def span(source: Source, start: int, end: int) -> Span:
    """The place from byte `start` to byte `end`, exclusive."""
    return Span(source.path, start, end, source.line(start), source.column(start), source.line(end), source.column(end))


def sites_in(unit: Unit, names: Iterable[str]) -> tuple[list[Site], list[Skipped]]:
    """The calls of `names` in real code of one file, and the places that look like one but could not be parsed."""
    pattern = re.compile(rb"\b(" + b"|".join(name.encode() for name in names) + rb")\s*\(")
    found: dict[int, Site] = {}
    skipped: list[Skipped] = []
    source = unit.source
    for match in pattern.finditer(source.blanked):
        name = match.group(1).decode()
        at = match.start()
        item = unit.item_at(at)
        if item is not None and item.kind == "function" and at < item.body:
            continue  # the definition itself
        fn = unit.function_at(at)
        if fn is not None and fn.macro and fn.name == name:
            continue
        if fn is None:
            if not _declares(source.blanked, at):
                skipped.append(_not_analysable(source, at, name))
            continue
        sites = [(i, c) for i, c in fn.calls if c.name == name and c.parts[0].start == at]
        if sites:
            found[at] = Site(fn, sites[0][0], sites[0][1], DMA_CALLS[name])
        elif not _declares(source.blanked, at):
            skipped.append(_not_analysable(source, at, name))
    return [found[at] for at in sorted(found)], skipped


def _declares(text: bytes, at: int) -> bool:
    """Whether a type stands before the name at `at`, as in a prototype."""
    before = text[max(0, at - 200) : at]
    line = before.rpartition(b"\n")[2]
    return re.search(rb"(?:\bextern\b|\bstatic\b|\b\w+_t\b|\bvoid\b|\bint\b)[\w\s*]*\Z", line) is not None or (
        not line.strip() and re.search(rb"(?:dma_addr_t|void)\s*\Z", before) is not None
    )


def _not_analysable(source: Source, at: int, name: str) -> Skipped:
    return Skipped(f"{source.path}:{source.line(at)}", f"{name}() stands where no call could be parsed")


def lives(tree: Tree, tracer: Tracer, paths: Iterable[str]) -> Lives:
    """Pair the maps and unmaps of the files `paths`, which are those of one module."""
    maps: dict[tuple[str, int], Site] = {}
    ends: list[Site] = []
    skipped: list[Skipped] = []
    others: list[Site] = []
    for path in paths:
        unit = tree.unit(path)
        if unit is None:
            continue
        here, missed = sites_in(unit, (*MAPS, *UNMAPS))
        skipped += missed
        maps |= {site.key: site for site in here if site.api.role == "map"}
        ends += [site for site in here if site.api.role == "unmap"]
        others += sites_in(unit, OTHERS)[0]
    acts: dict[tuple[str, int], list[Site]] = {key: [] for key in maps}
    orphans: list[tuple[Site, Origin]] = []
    for site in (*ends, *(others if maps else ())):
        handle = site.argument("addr")
        if handle is None:
            continue
        origin, makers = tracer.sites(site.fn, site.node, handle)
        known = [key for key in makers if key in acts]
        for key in known:
            acts[key].append(site)
        if not known and site.api.role == "unmap":
            orphans.append((site, origin))
    by_mistake = {site.key: _mapped_instead(site, maps) for site, _ in orphans}
    result = [
        Life(
            site,
            tuple(s for s in acts[key] if s.api.role == "unmap"),
            tuple(s for s in acts[key] if s.api.role == "check"),
            tuple(s for s in acts[key] if s.api.role == "sync"),
            tuple(s for s, _ in orphans if by_mistake.get(s.key) == key),
        )
        for key, site in sorted(maps.items())
    ]
    return Lives(tuple(result), tuple(o for o in orphans if by_mistake[o[0].key] is None), tuple(skipped))


def _mapped_instead(site: Site, maps: dict[tuple[str, int], Site]) -> tuple[str, int] | None:
    """The map in the same function whose physical address, not whose handle, the unmap is given."""
    handle = site.argument("addr")
    for key, mapped in maps.items():
        phys = mapped.argument("phys")
        if handle is None or phys is None or mapped.fn is not site.fn or path_of(handle) is None:
            continue
        if path_of(handle) == path_of(phys) and _same_value(site, handle, mapped, phys):
            return key
    return None


def _same_value(first: Site, one: Expr, second: Site, other: Expr) -> bool:
    here, there = _set_at(first, one), _set_at(second, other)
    return bool(here) and here <= there


def _set_at(site: Site, place: Expr) -> set[tuple[int, int]]:
    """Where `place` may have been set: assigned, or filled in by a call that was handed its address."""
    return {
        (found.node, found.at.start)
        for found in reaching(site.fn, site.node, place).definitions
        if found.call is None or (path_of(found.call.args[found.argument]) or "").startswith("&")
    }
