# SPDX-License-Identifier: GPL-2.0-only
"""Whether a rewrite is proposed, and what the model says of it: of every life that its edits touch, with what each is given.

The refusals are asked in order, and the first that answers withholds. A life shares its edits with every life that shares an
unmap with it, directly or through others, and with every use of a macro that wraps one of its calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from dmamigrate.findings import Finding, Kind, Rewrite, Verdict
from dmamigrate.lives.given import Attributes, Known
from dmamigrate.lives.module import Defect, Module
from dmamigrate.lives.pair import Key, Life
from dmamigrate.lives.sites import Site
from dmamigrate.model.dma_api import MAPS, UNMAPS
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
from dmamigrate.rewrite import licence
from dmamigrate.rewrite.propose import propose
from dmamigrate.rules import Rule

_MMIO = "DMA_ATTR_MMIO"
# Pairs of sets of attributes beyond which it is asked first whether old and new calls are the same function.
_MANY = 8
_HEADER = "include/linux/dma-mapping.h"
# Rules whose findings say that a life is wrong as it stands: moved as it is, the mistake would look checked.
_WRONG = frozenset(
    {
        "unmap-wrong-handle",
        "unmap-attrs-mismatch",
        "unmap-dir-mismatch",
        "unmap-family-mismatch",
        "unmap-device-mismatch",
        "p2p-missing-mmio",
        "p2p-bus-address-mapped",
        "mmio-on-ram",
    }
)


@dataclass(frozen=True)
class Case:
    """A finding whose rule has a rewrite, with the lives that this rewrite touches and what is wrong with them."""

    module: Module
    rule: Rule
    life: Life
    group: tuple[Life, ...]
    defects: tuple[Defect, ...]
    target: str


def sharing(life: Life, lives: Iterable[Life]) -> tuple[Life, ...]:
    """`life`, then the lives that share an edit with it, directly or through another one."""
    others = [one for one in lives if one is not life]
    group, edited = [life], {site.written for site in life.sites}
    while joined := [one for one in others if edited & {site.written for site in one.sites}]:
        group += joined
        edited |= {site.written for one in joined for site in one.sites}
        others = [one for one in others if not any(one is other for other in joined)]
    return tuple(group)


# ---- refusals, each with the reason why nothing is proposed, None if it has none


def _by_rule(case: Case) -> str | None:
    return case.rule.withheld


def _by_own_memory(case: Case) -> str | None:
    if case.rule.moves_memory:
        return None
    return "on some paths the address is no device memory" if _no_device(case, case.life) else None


def _no_device(case: Case, life: Life) -> bool:
    origin = case.module.given(life.map).address
    return origin is not None and not {Kind.RAM, Kind.DMA_ADDR}.isdisjoint(origin.kinds)


def _by_licence(case: Case) -> str | None:
    paths = dict.fromkeys(site.key[0] for life in case.group for site in life.sites)
    return next((why for path in paths if (why := licence.refusal(case.module.engine.tree, path)) is not None), None)


def _by_own_macro(case: Case) -> str | None:
    tree = case.module.engine.tree
    for site in (site for life in case.group for site in life.sites):
        unit = case.module.engine.flow.unit(site.fn)
        if any(macro.source.path != _HEADER for macro in tree.macros(site.call.name, unit)):
            return f"the driver has a {site.call.name}() of its own"
    return None


def _by_other_memory(case: Case) -> str | None:
    if case.rule.moves_memory:
        return None
    for life in case.group[1:]:
        if _no_device(case, life):
            origin = case.module.given(life.map).address
            kinds = ", ".join(origin.kinds) if origin is not None else ""
            return f"{life.map.call.name}() at {life.map.where} shares an unmap with this map, and maps {kinds}"
    return None


def _by_missing_end(case: Case) -> str | None:
    for life in case.group:
        if not life.ends:
            looked = case.module.engine.tree.module(life.map.key[0]) or "the files at hand"
            whose = "this mapping" if life is case.life else f"the mapping at {life.map.where}"
            return f"no unmap of {whose} was found in {looked}: changing the map alone would leave half a life"
    return None


def _by_defect(case: Case) -> str | None:
    sites: set[Key] = {site.key for life in case.group for site in life.sites}
    for found in case.defects:
        if found.rule in _WRONG and found.site.key in sites:
            return f"{found.site.where}: {found.site.call.name}() is wrong as it stands ({found.rule}); mend that first"
    return None


def _by_orphan(case: Case) -> str | None:
    for site, origin in case.module.pairs.orphans:
        near = site.key[0] == case.life.map.key[0]
        if near and not origin.outside and case.module.engine.api.fits(case.life.map.api, site.api):
            return f"{site.call.name}() at {site.where} may end this mapping too, and its own map was not found"
    return None


REFUSALS: tuple[Callable[[Case], str | None], ...] = (
    _by_rule,
    _by_own_memory,
    _by_licence,
    _by_own_macro,
    _by_other_memory,
    _by_defect,
    _by_missing_end,
    _by_orphan,
)


def decide(case: Case, finding: Finding) -> Finding:
    """The finding with the rewrite of its life and the verdict on it, or with the reason why there is none."""
    for refusal in REFUSALS:
        if (why := refusal(case)) is not None:
            return replace(finding, rewrite=Rewrite("withheld", why))
    rewrite = propose(case.life, case.group, case.rule.templates)
    if rewrite.status != "proposed":
        return replace(finding, rewrite=rewrite, verdict=Verdict("unknown", reason="no rewrite is proposed"))
    return replace(finding, rewrite=rewrite, verdict=verdict(case))


# ---- the verdict


def verdict(case: Case) -> Verdict:
    """What the model says of the rewrite, over all lives that it touches."""
    if release(case.target) < (6, 18):
        return Verdict("unknown", reason=f"{case.target} has no dma_map_phys()")
    missing = _not_in_model(case)
    if missing:
        return Verdict("unknown", len(case.group), reason=f"the model has no {missing}()")
    total = equal = refined = fails = 0
    known = True
    for life in case.group:
        origin = case.module.given(life.map).address
        kinds = origin.kinds if origin is not None else (Kind.UNKNOWN,)
        known = known and Kind.UNKNOWN not in kinds
        memory = memory_of(kinds)
        if not memory:
            return Verdict("unknown", len(case.group), reason=f"the model has no memory for {', '.join(kinds)}")
        states = relevant(memory, _directions(case, life))
        for end in life.ends:
            pairs = _pairs(case, life, end)
            if len(pairs) > _MANY and _one_function(case, life, end):
                total, equal = total + len(states) * len(pairs), equal + len(states) * len(pairs)
                continue
            for old, new in pairs:
                result = compare(old, new, states, case.target)
                total, equal = total + result.states, equal + result.equal
                refined, fails = refined + result.refined, fails + result.fails
                counts = (len(case.group), total, equal, refined)
                wrong = _wrong(case, (life, end), (old, new), result)
                if wrong is not None:
                    status, what, example = wrong
                    return Verdict(status, *counts, example, what)
    return Verdict("proved", len(case.group), total, equal, refined, None, _said(case, (total, equal, fails), known))


def _one_function(case: Case, life: Life, end: Site) -> bool:
    """Whether the rewrite replaces calls by what they are made of, whatever attributes they are given."""
    empty = (frozenset[str](), frozenset[str]())
    old, new = (_calls(case, life.map, end, empty, after) for after in (False, True))
    added = new.map_attrs == new.unmap_attrs == frozenset({_MMIO}) and old.map_attrs == old.unmap_attrs == frozenset()
    return added and same_function((old.map, old.unmap or ""), (new.map, new.unmap or ""), case.target)


def _said(case: Case, counts: tuple[int, int, int], known: bool) -> str | None:
    """What a reader of a proof has to know beside it."""
    total, equal, fails = counts
    said = [standing(case.target)]
    if total == equal:
        said.append(f"old and new calls are the same function in {case.target}" + ("" if known else ", for any memory"))
    if fails:
        said.append(
            f"in {fails} states the map fails where it copied device memory through a bounce buffer or maintained caches"
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
    if term and term == taken.term("attrs") and not _differ(mapped.attributes, taken.attributes):
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
