# SPDX-License-Identifier: GPL-2.0-only
"""What the model says of a rewrite: of every life that its edits touch, with what each is given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from dmamigrate.findings import Kind, Verdict
from dmamigrate.lives.given import Attributes, Known, same_place
from dmamigrate.lives.pair import Life
from dmamigrate.lives.sites import Site
from dmamigrate.model.calls import MAPS, UNMAPS
from dmamigrate.model.refine import (
    UNPAIRED,
    Comparison,
    LifeCalls,
    after_template,
    compare,
    every_set,
    memory_of,
    same_function,
    severity,
    unpaired,
)
from dmamigrate.model.states import DIRECTIONS, READ_ATTRS, relevant
from dmamigrate.model.versions import release, standing
from dmamigrate.rewrite.case import Case, once, which

_MMIO = "DMA_ATTR_MMIO"
# Pairs of sets of attributes beyond which it is asked first whether old and new calls are the same function.
_MANY = 8


def verdict(case: Case) -> Verdict:
    """What the model says of the rewrite, over all lives that it touches."""
    if release(case.target) < (6, 18):
        return Verdict("unknown", reason=f"{case.target} has no dma_map_phys()")
    missing = once(case, "not in the model", lambda: _not_in_model(case))
    if missing:
        return Verdict("unknown", len(case.group), reason=f"the model has no {missing}()")
    own = _compared(case, case.life)
    if own.wrong is not None:
        return _as_wrong(case, own)
    return once(case, "verdict", lambda: _of_all(case))


@dataclass(frozen=True, slots=True)
class _Compared:
    """A life's comparison: states in all, equal and refined, and those in which its map fails now; `wrong` if it is no
    proof.

    `known` tells whether all is known of where its memory comes from.
    """

    total: int = 0
    equal: int = 0
    refined: int = 0
    fails: int = 0
    known: bool = True
    wrong: tuple[str, str, str | None] | None = None

    def and_then(self, other: _Compared) -> _Compared:
        """Both together; what is wrong is the first's."""
        return _Compared(
            self.total + other.total, self.equal + other.equal, self.refined + other.refined, self.fails + other.fails,
            self.known and other.known, self.wrong or other.wrong,
        )  # fmt: skip


def _of_all(case: Case) -> Verdict:
    """The verdict on all lives of a group, up to the first that is no proof."""
    whole = _Compared()
    for life in case.group:
        whole = whole.and_then(_compared(case, life))
        if whole.wrong is not None:
            return _as_wrong(case, whole)
    return Verdict("proved", len(case.group), whole.total, whole.equal, whole.refined, None, _said(case, whole))


def _as_wrong(case: Case, told: _Compared) -> Verdict:
    assert told.wrong is not None
    status, what, example = told.wrong
    return Verdict(status, len(case.group), told.total, told.equal, told.refined, example, what)


def _compared(case: Case, life: Life) -> _Compared:
    """One life before and after, asked once: each life of its group asks for it."""
    key = ("compared", case.rule.id, case.target, which(life))
    return case.module.engine.values.queries.fact(key, lambda: _compare(case, life))


def _compare(case: Case, life: Life) -> _Compared:
    origin = case.module.given(life.map).address
    kinds = origin.kinds if origin is not None else (Kind.UNKNOWN,)
    memory = memory_of(kinds)
    if not memory:
        return _Compared(wrong=("unknown", f"the model has no memory for {', '.join(kinds)}", None))
    whole = _Compared(known=Kind.UNKNOWN not in kinds)
    directions = _directions(case, life)
    states = relevant(memory, directions)
    facts = case.module.engine.values.queries
    for end in life.ends:
        pairs = _pairs(case, life, end)
        if len(pairs) > _MANY and _one_function(case, life, end):
            whole = whole.and_then(_Compared(len(states) * len(pairs), len(states) * len(pairs)))
            continue
        for old, new in pairs:
            key = ("compare", old, new, memory, directions, case.target)
            result = facts.fact(key, partial(compare, old, new, states, case.target))
            wrong = _wrong(case, (life, end), (old, new), result)
            whole = whole.and_then(_Compared(result.states, result.equal, result.refined, result.fails, wrong=wrong))
            if wrong is not None:
                return whole
    return whole


def _one_function(case: Case, life: Life, end: Site) -> bool:
    """Whether the rewrite replaces calls by what they are made of, whatever attributes they are given."""
    empty = (frozenset[str](), frozenset[str]())
    old, new = (_calls(case, life.map, end, empty, after) for after in (False, True))
    added = new.map_attrs == new.unmap_attrs == frozenset({_MMIO}) and old.map_attrs == old.unmap_attrs == frozenset()
    return added and same_function((old.map, old.unmap or ""), (new.map, new.unmap or ""), case.target)


def _said(case: Case, told: _Compared) -> str | None:
    """What a reader of a proof has to know beside it."""
    said = [standing(case.target)]
    if told.total == told.equal:
        whatever = "" if told.known else ", for any memory"
        said.append(f"old and new calls are the same function in {case.target}{whatever}")
    if told.fails:
        said.append(
            f"in {told.fails} states the map fails where it copied device memory through a bounce buffer or "
            f"maintained caches"
        )
    return "; ".join(filter(None, said)) or None


def _wrong(
    case: Case, calls: tuple[Life, Site], lives: tuple[LifeCalls, LifeCalls], result: Comparison
) -> tuple[str, str, str | None] | None:
    """Why a comparison is no proof: the status, what is broken, and a counterexample."""
    (life, end), (old, new) = calls, lives
    if unpaired(new) and not unpaired(old):
        return "refuted", UNPAIRED, f"{new.map}() at {life.map.where} would be ended by {new.unmap}() at {end.where}"
    if result.worse:
        worst = result.worse[0]
        memory = {one.state.memory for one in result.worse}
        example = (
            f"{worst.what}: {new.map}() at {life.map.where} and {new.unmap}() at {end.where}"
            f" in {case.target}, {worst.describe()}"
        )
        origin = case.module.given(life.map).address
        unknown = origin is None or Kind.UNKNOWN in origin.kinds
        if unknown and all(one.startswith("ram") for one in memory):
            return "unknown", f"where the address is system memory, which could not be excluded, {worst.what}", example
        return "refuted", worst.what, example
    if result.unsafe and not case.rule.moves_memory and _MMIO not in old.map_attrs and old.map != "dma_map_resource":
        left = ", ".join(sorted(result.unsafe, key=lambda what: (severity(what), what)))
        if _MMIO not in new.map_attrs:
            return "unknown", f"the same as before, but {left}", None
    return None


def _not_in_model(case: Case) -> str:
    calls = case.module.engine.api.calls
    for site in (site for life in case.group for site in life.sites):
        known: Iterable[str] = MAPS if site.api.role == "map" else UNMAPS
        after = after_template(case.rule.templates, site.call.name, frozenset())[0]
        for name in (site.call.name, after):
            modelled = calls[name].model if name in calls else name
            if modelled not in known:
                return name
    return ""


def _directions(case: Case, life: Life) -> tuple[str, ...]:
    """The directions that the calls of a life can have, all where one is not known."""
    given = [case.module.given(site).directions for site in life.sites]
    if not all(given):
        return DIRECTIONS
    return tuple(name for name in DIRECTIONS if any(name in one.values for one in given))


def _pairs(case: Case, life: Life, end: Site) -> list[tuple[LifeCalls, LifeCalls]]:
    """The life before and after, for every set of attributes that its map and this end can be given together."""
    mapped, taken = case.module.given(life.map), case.module.given(end)
    held = _read(mapped.attributes, life.map)
    ends = _read(taken.attributes, end)
    term = mapped.term("attrs")
    alike = (term and term == taken.term("attrs")) or same_place(case.module.engine, life.map, end, "attrs")
    if alike and not _differ(mapped.attributes, taken.attributes):
        pairs = [(one, one) for one in held]  # the same value at both ends
    else:
        pairs = [(one, other) for one in held for other in ends]
    return [(_calls(case, life.map, end, pair, False), _calls(case, life.map, end, pair, True)) for pair in pairs]


def _differ(one: Known[Attributes], other: Known[Attributes]) -> bool:
    return bool(one) != bool(other) or one.values != other.values


def _read(known: Known[Attributes], site: Site) -> list[frozenset[str]]:
    """The sets that the model tells apart, without what the call adds itself; all of them where not all are known."""
    if not known:
        return list(every_set())
    return sorted({frozenset(one & frozenset(READ_ATTRS)) - site.api.implies for one in known.values}, key=sorted)


def _calls(case: Case, mapped: Site, end: Site, given: tuple[frozenset[str], frozenset[str]], after: bool) -> LifeCalls:
    made = case.rule.templates if after else ()
    calls = case.module.engine.api.calls
    names, sets = [], []
    for site, attrs in zip((mapped, end), given, strict=True):
        name, held = after_template(made, site.call.name, attrs)
        names.append(calls[name].model if name in calls else name)
        sets.append(held)
    return LifeCalls(names[0], sets[0], names[1], sets[1])
