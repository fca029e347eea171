# SPDX-License-Identifier: GPL-2.0-only
"""The life of a mapping: which checks, syncs and unmaps act on the address that a map call returned."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from dmamigrate.findings import Origin, Skipped, Span
from dmamigrate.lives.api import DMA_CALLS, DmaCall
from dmamigrate.program.reach import reaching
from dmamigrate.program.tree import Tree
from dmamigrate.syntax.expr import Assign, Call, Expr, Index, Member, Name, Unary, path_of, strip, walk
from dmamigrate.syntax.functions import Function
from dmamigrate.syntax.source import Source
from dmamigrate.syntax.unit import Unit
from dmamigrate.values.engine import Engine

# The family that the migration is about; a driver's checks and syncs matter only beside one of these.
MAPS = ("dma_map_resource", "dma_map_phys", "dma_iova_link")
UNMAPS = ("dma_unmap_resource", "dma_unmap_phys", "dma_iova_unlink", "dma_iova_destroy")
OTHERS = tuple(name for name, api in DMA_CALLS.items() if api.role in ("check", "sync"))
# Ordinary memory: judged only if asked for, but an unmap of theirs may be given what another family mapped.
PAGE_MAPS = tuple(name for name, api in DMA_CALLS.items() if api.role == "map" and api.family in ("page", "single"))
PAGE_UNMAPS = tuple(name for name, api in DMA_CALLS.items() if api.role == "unmap" and api.family in ("page", "single"))


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
    # unmaps of another family that are given this mapping's address, and no other
    foreign: tuple[Site, ...] = ()

    @property
    def ends(self) -> tuple[Site, ...]:
        """Every call that is meant to end this mapping."""
        return (*self.unmaps, *self.mistaken, *self.foreign)


@dataclass(frozen=True)
class Lives:
    """All lives of one module, the unmaps without a map (with what their handle traces to), and what was not analysable."""

    lives: tuple[Life, ...]
    orphans: tuple[tuple[Site, Origin], ...]
    skipped: tuple[Skipped, ...]
    # the calls whose handle may also be one that no map of these made
    shared: frozenset[tuple[str, int]] = frozenset()


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
        if fn.name in DMA_CALLS:
            continue  # the API's own functions, or a driver's stand-ins for kernels that lack one
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


def lives(tree: Tree, tracer: Engine, paths: Collection[str], pages: bool = False) -> Lives:
    """Pair the maps and unmaps of the files `paths`, which are those of one module; with `pages`, ordinary memory's too."""
    maps: dict[tuple[str, int], Site] = {}
    ends: list[Site] = []
    skipped: list[Skipped] = []
    others: list[Site] = []
    paged: list[Site] = []
    names = (*MAPS, *UNMAPS, *(PAGE_MAPS if pages else ()))
    for path in paths:
        unit = tree.unit(path)
        if unit is None:
            continue
        here, missed = sites_in(unit, names)
        skipped += missed
        maps |= {site.key: site for site in here if site.api.role == "map"}
        ends += [site for site in here if site.api.role == "unmap"]
        others += sites_in(unit, OTHERS)[0]
        paged += sites_in(unit, PAGE_UNMAPS)[0]
    acts: dict[tuple[str, int], list[Site]] = {key: [] for key in maps}
    shared: set[tuple[str, int]] = set()
    orphans: list[tuple[Site, Origin]] = []
    kept = {_last_name(site) for site in maps.values()} - {""}
    if not pages:
        paged += _paged_elsewhere(tree, frozenset(paths), kept)
    # without a map of ours nothing can be told of what else the module checks, syncs or unmaps
    for site in (*ends, *((*others, *paged) if maps else ())):
        handle = site.argument("addr")
        if handle is None or (site in paged and not pages and not _names(handle) & kept):
            continue
        origin, makers = tracer.makers(site.fn, site.node, handle)
        known = [key for key in makers if key in acts]
        if len(known) < len(makers) or not makers or origin.gave_up is not None:
            shared.add(site.key)
        if site in paged and not pages and (site.key in shared or any(fits(maps[key], site) for key in known)):
            continue
        for key in known:
            acts[key].append(site)
        # what another interface mapped, skb_frag_dma_map() say, is for the page API's unmaps to end
        if not known and site.api.role == "unmap" and not (makers and site in paged):
            orphans.append((site, origin))
    for key, linked in _by_state(tracer, maps.values(), ends).items():
        acts[key] += linked
    by_mistake = {site.key: _mapped_instead(site, maps) for site, _ in orphans}
    result = []
    for key, site in sorted(maps.items()):
        unmaps = [s for s in acts[key] if s.api.role == "unmap"]
        result.append(
            Life(
                site,
                tuple(s for s in unmaps if fits(site, s)),
                tuple(s for s in acts[key] if s.api.role == "check"),
                tuple(s for s in acts[key] if s.api.role == "sync"),
                tuple(s for s, _ in orphans if by_mistake.get(s.key) == key),
                tuple(s for s in unmaps if not fits(site, s)),
            )
        )
    return Lives(
        tuple(result), tuple(o for o in orphans if by_mistake[o[0].key] is None), tuple(skipped), frozenset(shared)
    )


def _paged_elsewhere(tree: Tree, paths: frozenset[str], kept: set[str]) -> list[Site]:
    """The page API's unmaps in other files of the module that name what a mapping is kept in."""
    folder = tree.module(min(paths)) if paths else ""
    if not kept or not tree.is_driver_folder(folder):
        return []
    near = {path for name in kept for path in tree.search(name, folder)} - paths
    units = [
        unit
        for path in sorted(near & {path for name in PAGE_UNMAPS for path in tree.search(name, folder)})
        if (unit := tree.unit(path))
    ]
    return [site for unit in units for site in sites_in(unit, PAGE_UNMAPS)[0]]


def _names(expr: Expr) -> set[str]:
    """The names of members and variables in an expression."""
    return {e.field if isinstance(e, Member) else e.text for e in walk(expr) if isinstance(e, Member | Name)}


def _last_name(site: Site) -> str:
    """The name under which the map's address is first kept, "" if it is kept nowhere."""
    expr = site.fn.nodes[site.node].expr
    for part in walk(expr) if expr is not None else ():
        if isinstance(part, Assign) and any(inner is site.call for inner in walk(part.parts[1])):
            target = strip(part.parts[0])
            while isinstance(target, Index):
                target = strip(target.parts[0])
            return target.field if isinstance(target, Member) else target.text if isinstance(target, Name) else ""
    return ""


# Families whose unmaps undo one another's maps if the attributes agree, kernel/dma/mapping.c.
_ALIKE = (frozenset({"resource", "phys"}), frozenset({"page", "single"}), frozenset({"iova"}))


def fits(mapped: Site, unmapped: Site) -> bool:
    """Whether the unmap is of the map's family."""
    return any({mapped.api.family, unmapped.api.family} <= family for family in _ALIKE)


def _by_state(tracer: Engine, maps: Iterable[Site], ends: Iterable[Site]) -> dict[tuple[str, int], list[Site]]:
    """What unlinks or destroys an IOVA range, by the link whose struct dma_iova_state it shares."""
    links = [(site, _state(tracer, site)) for site in maps if site.api.family == "iova"]
    found: dict[tuple[str, int], list[Site]] = {site.key: [] for site, _ in links}
    for end in ends:
        state = _state(tracer, end) if end.api.family == "iova" and links else None
        for site, other in links:
            if state is not None and state & other:
                found[site.key].append(end)
    return found


def _state(tracer: Engine, site: Site) -> frozenset[tuple[str, str]]:
    """The members, as struct and field, or the locals, as function and variable, that a call's IOVA state may be."""
    argument = site.argument("state")
    return frozenset(_places(tracer, site.fn, site.node, argument, 4)) if argument is not None else frozenset()


def _places(tracer: Engine, fn: Function, node: int, expr: Expr, levels: int) -> Iterator[tuple[str, str]]:
    expr = strip(expr)
    if isinstance(expr, Unary) and expr.op == "&":
        expr = strip(expr.parts[0])
    unit = tracer.tree.unit(fn.source.path)
    while isinstance(expr, Index):
        expr = strip(expr.parts[0])
    if isinstance(expr, Member) and unit is not None:
        found = tracer.types.member(expr, fn, unit)
        yield (found[0], expr.field) if found is not None else ("", expr.field)
    elif isinstance(expr, Name) and expr.variable >= 0:
        variable = fn.variables[expr.variable]
        yield f"{fn.source.path}:{fn.start}", f"#{expr.variable}"
        seen = reaching(fn, node, expr)
        for definition in seen.definitions if levels else ():
            if definition.value is not None:
                yield from _places(tracer, fn, definition.node, definition.value, levels - 1)
        if seen.entry and variable.position >= 0 and levels:
            for caller in tracer.stores.callers(fn)[0][:20]:
                if variable.position < len(caller.call.args):
                    yield from _places(tracer, caller.fn, caller.node, caller.call.args[variable.position], levels - 1)


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
