# SPDX-License-Identifier: GPL-2.0-only
"""One life before and after somebody's change: is it still the same mapping, and what does the model say of the
difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dmamigrate.findings import Kind, Verdict
from dmamigrate.lives.given import Attributes, Given, Known
from dmamigrate.lives.module import Module
from dmamigrate.lives.pair import Life
from dmamigrate.lives.sites import Site
from dmamigrate.model.calls import MAPS, UNMAPS
from dmamigrate.model.refine import LifeCalls, compare, memory_of, unpaired
from dmamigrate.model.states import DIRECTIONS, READ_ATTRS, relevant
from dmamigrate.model.versions import standing

# What a function's calls are told apart by: file, function, and which of those in its role it is, from 0.
Ordinal = tuple[str, str, int]
INCOMPLETE = "incomplete"


@dataclass(frozen=True)
class Side:
    """A life as it is on one side of a change."""

    module: Module
    life: Life

    def given(self, site: Site) -> Given:
        """What one of its calls is given."""
        return self.module.given(site)


def ordinal(module: Module, site: Site, families: frozenset[str] = frozenset()) -> Ordinal:
    """A call by its place among the calls of its function in the same role, and of `families` if given."""
    calls = module.engine.api.calls
    fn, _, mine = site.user
    apis = [(call.start, calls[call.name]) for _, call in fn.calls if call.name in calls]
    order = [start for start, api in apis if api.role == site.api.role and (not families or api.family in families)]
    return fn.source.path, fn.name, order.index(mine.start) if mine.start in order else -1


def verdict(old: Side, new: Side, target: str) -> tuple[Verdict, Site]:
    """What the model says of `new` in the place of `old`, and the call that decides it.

    `proved` with a reason that begins with INCOMPLETE is a change that moves half a life and still works.
    """
    gone = _gone(new, old.life)
    if gone:
        return Verdict("refuted", 1, reason=gone), new.life.map
    for was, now in _twins(old, new):
        for name, first, second, sure in _arguments((old, was), (new, now)):
            status = "refuted" if sure else "unknown"
            return Verdict(status, 1, reason=f"the {name} was {first} and is {second}"), now
    total = equal = refined = 0
    half: Site | None = None
    states = relevant(_memory(old, new), DIRECTIONS)
    for end in new.life.ends or (None,):
        pairs = _pairs(old, (new, end))
        if pairs is None:
            return Verdict("unknown", 1, reason="the attributes of a call could not be followed"), new.life.map
        for before, after in pairs:
            result = compare(before, after, states, target)
            total, equal, refined = total + result.states, equal + result.equal, refined + result.refined
            if result.worse:
                worst = result.worse[0]
                at = f"{after.map}() at {new.life.map.where}"
                ended = f", ended by {after.unmap}() at {end.where}" if end is not None else ""
                example = f"{at}{ended}: in {target}, {worst.describe()}"
                return Verdict("refuted", 1, total, equal, refined, example, worst.what), end or new.life.map
            if unpaired(after) and not unpaired(before):
                half = end
    counts = (1, total, equal, refined)
    fewer = _fewer(old.life, new.life)
    if fewer:
        return Verdict("unknown", *counts, None, fewer), new.life.map
    if half is not None:
        why = f"{INCOMPLETE}: {half.call.name}() at {half.where} still ends what {new.life.map.call.name}() maps now"
        return Verdict("proved", *counts, None, f"{why}; it works, the two are one function"), half
    return Verdict("proved", *counts, None, standing(target) or None), new.life.map


def _memory(old: Side, new: Side) -> tuple[str, ...]:
    """The memory that is mapped, as far as either side tells."""
    kinds: list[Kind] = []
    for side in (old, new):
        origin = side.given(side.life.map).address
        kinds += [kind for kind in (origin.kinds if origin is not None else ()) if kind is not Kind.DMA_ADDR]
    known = [kind for kind in kinds if kind is not Kind.UNKNOWN]
    return memory_of(kinds if Kind.UNKNOWN in kinds and not known else known or (Kind.UNKNOWN,))


def _gone(new: Side, old: Life) -> str:
    """Which unmap of the old life the new one has no more, "" if none: it may have moved into a function called
    there.
    """
    held = {(site.user[0].source.path, site.user[0].name) for site in new.life.ends}
    names = {site.user[0].name for site in new.life.ends}
    for site in old.ends:
        place = site.user[0].source.path, site.user[0].name
        if place not in held and not _calls_any(new.module, place, names, 3):
            return f"{site.call.name}() in {place[1]}() ended this mapping, and nothing does there any more"
    return ""


def _calls_any(module: Module, place: tuple[str, str], names: set[str], levels: int) -> bool:
    unit = module.engine.tree.unit(place[0])
    for fn in unit.functions(place[1]) if unit is not None and levels else ():
        called = {call.name for _, call in fn.calls if call.name}
        if called & names or any(_calls_any(module, (place[0], name), names, levels - 1) for name in sorted(called)):
            return True
    return False


def _fewer(old: Life, new: Life) -> str:
    """Which function unmaps less often than it did, "" if none does; two exits may have become one."""
    count = Counter((site.user[0].source.path, site.user[0].name) for site in new.ends)
    was = Counter((site.user[0].source.path, site.user[0].name) for site in old.ends)
    for place, before in was.items():
        if 0 < count[place] < before:
            return (
                f"{place[1]}() unmapped in {before} places and does so in {count[place]};"
                " no path is told to be without one, or to be with"
            )
    return ""


def _twins(old: Side, new: Side) -> Iterable[tuple[Site, Site]]:
    """The calls of both lives that stand in the same place."""
    now = {ordinal(new.module, site): site for site in new.life.ends}
    ends = [(site, now[at]) for site in old.life.ends if (at := ordinal(old.module, site)) in now]
    return [(old.life.map, new.life.map), *ends]


def _arguments(was: tuple[Side, Site], now: tuple[Side, Site]) -> Iterator[tuple[str, str, str, bool]]:
    """What differs between two calls in the same place: name, both values, and whether they surely are not the same."""
    (old, first), (new, second) = was, now
    one, other = old.given(first), new.given(second)
    for name, role in (("device", "dev"), ("size", "size"), ("direction", "dir")):
        terms = one.term(role), other.term(role)
        if not terms[0] or not terms[1] or terms[0] == terms[1]:
            continue
        known: tuple[frozenset[object], frozenset[object]] = (frozenset(), frozenset())
        if name == "size" and one.sizes and other.sizes:
            known = frozenset(one.sizes.values), frozenset(other.sizes.values)
        elif name == "direction" and one.directions and other.directions:
            known = frozenset(one.directions.values), frozenset(other.directions.values)
        if not known[0] or known[0] != known[1]:
            yield name, *terms, bool(known[0]) and not known[0] & known[1]
    address = other.term("phys")
    if address:
        wanted = _address(one)
        if wanted and address not in wanted:
            yield "address", wanted[0], address, False


def _address(given: Given) -> tuple[str, ...]:
    """The physical address that a call maps, in the ways in which it can be written; empty if it maps none."""
    if pointer := given.term("ptr"):
        return f"virt_to_phys({pointer})", f"__pa({pointer})"
    if page := given.term("page"):
        start, offset = f"page_to_phys({page})", given.term("offset") or "0"
        return (start if offset == "0" else f"({' + '.join(sorted((start, offset)))})",)
    phys = given.term("phys")
    return (phys,) if phys else ()


def _pairs(old: Side, at: tuple[Side, Site | None]) -> list[tuple[LifeCalls, LifeCalls]] | None:
    """The life before and after for the sets of attributes that can go together; None if they are not known."""
    new, end = at
    before = old.life.ends[0] if old.life.ends else None
    lives = [_lives(old, before), _lives(new, end)]
    if lives[0] is None or lives[1] is None:
        return None
    return [(one, other) for one in lives[0] for other in lives[1] if _go_together(one, other)] or [
        (one, other) for one in lives[0] for other in lives[1]
    ]


def _go_together(one: LifeCalls, other: LifeCalls) -> bool:
    mmio = {"DMA_ATTR_MMIO"}
    return one.map_attrs - mmio == other.map_attrs - mmio and one.unmap_attrs - mmio == other.unmap_attrs - mmio


def _lives(side: Side, end: Site | None) -> list[LifeCalls] | None:
    """A life as the model knows it, for each set of attributes of its map and of an unmap."""
    mapped, calls = side.life.map, side.module.engine.api.calls
    ended = calls[end.call.name].model if end is not None else None
    if calls[mapped.call.name].model not in MAPS or (ended is not None and ended not in UNMAPS):
        return None
    held = _read(side.given(mapped).attributes, mapped)
    taken = _read(side.given(end).attributes, end) if end is not None else [frozenset[str]()]
    if not held or not taken:
        return None
    pairs = zip(held, taken, strict=True) if held == taken else ((one, other) for one in held for other in taken)
    return [LifeCalls(calls[mapped.call.name].model, one, ended, other) for one, other in pairs]


def _read(known: Known[Attributes], site: Site) -> list[frozenset[str]]:
    if not known:
        return []
    return sorted({frozenset(one & frozenset(READ_ATTRS)) - site.api.implies for one in known.values}, key=sorted)
