# SPDX-License-Identifier: GPL-2.0-only
"""The life of a mapping: which checks, syncs and unmaps act on the address that a map call returned.

Every call that is handed an address is asked which map calls made that address (values/origins.py keeps the maker of a
DMA address). A call is claimed by the maps that its address may come from; `shared` are those whose address may also
come from elsewhere, and `orphans` the unmaps that no map was found for. IOVA ranges have no handle: what links, unlinks
and destroys belongs together by the state that it is handed (values/holders.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from dmamigrate.findings import Origin, Skipped
from dmamigrate.lives.sites import Site, in_file, used
from dmamigrate.program.reach import reaching
from dmamigrate.syntax.expr import Assign, Expr, Index, Member, Name, path_of, strip, walk
from dmamigrate.syntax.functions import Function
from dmamigrate.values.engine import Engine
from dmamigrate.values.holders import Places

Key = tuple[str, int]


@dataclass(frozen=True)
class Life:
    """One map call and what acts on its address."""

    map: Site
    unmaps: tuple[Site, ...]
    checks: tuple[Site, ...]
    syncs: tuple[Site, ...]
    # unmaps that are given the address that was mapped instead of the one that the map returned
    mistaken: tuple[Site, ...] = ()
    # unmaps of another family that are given this mapping's address, and no other
    foreign: tuple[Site, ...] = ()

    @property
    def ends(self) -> tuple[Site, ...]:
        """Every call that is meant to end this mapping."""
        return (*self.unmaps, *self.mistaken, *self.foreign)

    @property
    def sites(self) -> tuple[Site, ...]:
        """The map and every call that is meant to end it."""
        return (self.map, *self.ends)


@dataclass(frozen=True)
class Lives:
    """All lives of one module, the unmaps without a map (with what their handle traces to), and what was not
    analysable.
    """

    lives: tuple[Life, ...]
    orphans: tuple[tuple[Site, Origin], ...]
    skipped: tuple[Skipped, ...]
    # the calls whose handle may also be one that no map of these made
    shared: frozenset[Key] = frozenset()

    def reaching(self, site: Site) -> tuple[Life, ...]:
        """The lives that a call may act on."""
        return tuple(life for life in self.lives if any(one.key == site.key for one in (*life.ends, *life.syncs)))


@dataclass(frozen=True)
class _Collected:
    """The calls of one module, by what they do."""

    maps: dict[Key, Site]
    ends: tuple[Site, ...]
    # checks and syncs, and unmaps of ordinary memory that may be given what another family mapped
    others: tuple[Site, ...]
    foreign: tuple[Site, ...]
    skipped: tuple[Skipped, ...]


def lives(engine: Engine, paths: Collection[str], pages: bool = False) -> Lives:
    """Pair the maps and unmaps of the files `paths`, which are those of one module; with `pages`, ordinary memory's
    too.
    """
    held = _collected(engine, paths, pages)
    acts: dict[Key, list[Site]] = {key: [] for key in held.maps}
    shared: set[Key] = set()
    orphans: list[tuple[Site, Origin]] = []
    for site in (*held.ends, *((*held.others, *held.foreign) if held.maps else ())):
        handle = site.argument("addr")
        if handle is None:
            continue
        origin, makers = engine.origins.makers(site.use(handle))
        known = [key for key in makers if key in acts]
        unsure = len(known) < len(makers) or not makers or origin.gave_up is not None
        if unsure:
            shared.add(site.key)
        if site in held.foreign:
            # ordinary memory's own business, unless it is surely another family's mapping that is ended
            if not unsure and not any(_fits(engine, held.maps[key], site) for key in known):
                for key in known:
                    acts[key].append(site)
            continue
        for key in known:
            acts[key].append(site)
        # what another interface mapped, skb_frag_dma_map() say, is for the page API's unmaps to end
        paged = site.api.family not in engine.api.migrating
        if not known and site.api.role == "unmap" and not (makers and paged):
            orphans.append((site, origin))
    for key, linked in _by_state(engine, held.maps.values(), held.ends).items():
        acts[key] += linked
    return _paired(engine, held, acts, orphans, frozenset(shared))


def _paired(
    engine: Engine,
    held: _Collected,
    acts: dict[Key, list[Site]],
    orphans: list[tuple[Site, Origin]],
    shared: frozenset[Key],
) -> Lives:
    by_mistake = {
        site.key: _mapped_instead(site, held.maps) or _kept_instead(engine, site, held.maps) for site, _ in orphans
    }
    result = []
    for key, site in sorted(held.maps.items()):
        unmaps = [s for s in acts[key] if s.api.role == "unmap"]
        result.append(
            Life(
                site,
                tuple(s for s in unmaps if _fits(engine, site, s)),
                tuple(s for s in acts[key] if s.api.role == "check"),
                tuple(s for s in acts[key] if s.api.role == "sync"),
                tuple(s for s, _ in orphans if by_mistake[s.key] == key),
                tuple(s for s in unmaps if not _fits(engine, site, s)),
            )
        )
    left = tuple(o for o in orphans if by_mistake[o[0].key] is None)
    return Lives(tuple(result), left, held.skipped, shared)


def _fits(engine: Engine, mapped: Site, unmapped: Site) -> bool:
    return engine.api.fits(mapped.api, unmapped.api)


def _collected(engine: Engine, paths: Collection[str], pages: bool) -> _Collected:
    api = engine.api
    ours = None if pages else True
    names = (*api.named("map", ours), *api.named("unmap", ours))
    acting = (*api.named("check"), *api.named("sync"))
    maps: dict[Key, Site] = {}
    ends: list[Site] = []
    others: list[Site] = []
    foreign: list[Site] = []
    skipped: list[Skipped] = []
    for path in sorted(paths):
        unit = engine.tree.unit(path)
        if unit is None:
            continue
        found, missed = in_file(unit, api, names)
        skipped += missed
        here = [site for one in found for site in used(engine, one)]
        maps |= {site.key: site for site in here if site.api.role == "map"}
        ends += [site for site in here if site.api.role == "unmap"]
        if not pages:
            foreign += in_file(unit, api, api.named("unmap", False))[0]
    # a macro may map in a file that names no mapping call, and the check may be another function's
    users = {site.key[0] for site in maps.values()}
    folder = engine.tree.module(min(paths)) if users else ""
    near = engine.tree.search_any(api.named("check"), folder) if users and engine.tree.is_driver_folder(folder) else ()
    for path in sorted({*paths, *users, *near}) if users else ():
        unit = engine.tree.unit(path)
        if unit is not None:
            others += [site for one in in_file(unit, api, acting)[0] for site in used(engine, one)]
    kept = {_last_name(site) for site in maps.values()} - {""}
    if not pages:
        foreign += _elsewhere(engine, frozenset(paths), kept)
        foreign = [s for s in foreign if (handle := s.argument("addr")) is not None and _names(handle) & kept]
    return _Collected(maps, tuple(ends), tuple(others), tuple(foreign), tuple(skipped))


def _elsewhere(engine: Engine, paths: frozenset[str], kept: set[str]) -> list[Site]:
    """The page API's unmaps in other files of the module that name what a mapping is kept in."""
    tree, names = engine.tree, engine.api.named("unmap", False)
    folder = tree.module(min(paths)) if paths else ""
    if not kept or not tree.is_driver_folder(folder):
        return []
    near = {path for name in kept for path in tree.search(name, folder)} - paths
    near &= {*tree.search_any(names, folder)}
    units = [unit for path in sorted(near) if (unit := tree.unit(path))]
    return [site for unit in units for site in in_file(unit, engine.api, names)[0]]


def _names(expr: Expr) -> set[str]:
    """The names of members and variables in an expression."""
    return {e.field if isinstance(e, Member) else e.text for e in walk(expr) if isinstance(e, Member | Name)}


def kept_in(site: Site) -> Expr | None:
    """The place that the map's address is first put into, None if it is put nowhere at once."""
    fn, node, call = site.user
    expr = fn.nodes[node].expr
    for part in walk(expr) if expr is not None else ():
        if isinstance(part, Assign) and any(inner is call for inner in walk(part.parts[1])):
            return strip(part.parts[0])
    return None


def _last_name(site: Site) -> str:
    """The name under which the map's address is first kept, "" if it is kept nowhere."""
    target = kept_in(site)
    while isinstance(target, Index):
        target = strip(target.parts[0])
    return target.field if isinstance(target, Member) else target.text if isinstance(target, Name) else ""


def _by_state(engine: Engine, maps: Iterable[Site], ends: Iterable[Site]) -> dict[Key, list[Site]]:
    """What unlinks or destroys an IOVA range, by the link whose state it shares."""

    def state(site: Site) -> Places:
        argument = site.argument("state")
        return engine.holders.of(site.use(argument)) if argument is not None else frozenset()

    links = [(site, places) for site in maps if (places := state(site))]
    found: dict[Key, list[Site]] = {site.key: [] for site, _ in links}
    for end in ends if links else ():
        places = state(end)
        for site, other in links:
            if places & other:
                found[site.key].append(end)
    return found


def _mapped_instead(site: Site, maps: dict[Key, Site]) -> Key | None:
    """The map in the same function whose physical address, not whose handle, the unmap is given."""
    handle = site.argument("addr")
    for key, mapped in maps.items():
        phys = mapped.argument("phys")
        if handle is None or phys is None or mapped.fn is not site.fn or path_of(handle) is None:
            continue
        if path_of(handle) == path_of(phys):
            here, there = _set_at(site.fn, site.node, handle), _set_at(site.fn, mapped.node, phys)
            if here and here <= there:
                return key
    return None


def _kept_instead(engine: Engine, site: Site, maps: dict[Key, Site]) -> Key | None:
    """The one map whose physical address, kept in a member, an unmap of its family in another function is given."""
    member = _member(engine, site, "addr")
    found = [
        key for key, mapped in maps.items() if _member(engine, mapped, "phys") == member and mapped.fn is not site.fn
    ]
    return found[0] if member is not None and len(found) == 1 and _fits(engine, maps[found[0]], site) else None


def _member(engine: Engine, site: Site, role: str) -> tuple[str, str] | None:
    """The struct and the member that an argument is, None for anything else."""
    argument = site.argument(role)
    place = strip(argument) if argument is not None else None
    if not isinstance(place, Member) or site.fn.macro:
        return None
    owner = engine.types.member(place, site.fn, engine.flow.unit(site.fn))
    return (owner[0], place.field) if owner is not None else None


def _set_at(fn: Function, node: int, place: Expr) -> set[tuple[int, int]]:
    """Where `place` may have been set: assigned, filled in by a call that was handed its address, or before the
    function began.
    """
    found = reaching(fn, node, place)
    before = {(0, 0)} if found.entry and isinstance(strip(place), Name) else set()
    return before | {
        (one.node, one.at.start)
        for one in found.definitions
        if one.call is None or (path_of(one.call.args[one.argument]) or "").startswith("&")
    }
