# SPDX-License-Identifier: GPL-2.0-only
"""Whether a rewrite is proposed. The refusals are asked in order, and the first that answers withholds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps

from dmamigrate.findings import Finding, Kind, Rewrite, Verdict
from dmamigrate.lives.mentions import unfollowed
from dmamigrate.lives.pair import Key, Life, kept_in
from dmamigrate.rewrite import licence
from dmamigrate.rewrite.case import Case, once
from dmamigrate.rewrite.propose import propose
from dmamigrate.rewrite.verdict import verdict
from dmamigrate.syntax.arms import only_for_older_kernels
from dmamigrate.syntax.expr import Member
from dmamigrate.syntax.prefilter import Words

Refusal = Callable[[Case], str | None]

# The mapping API as the kernel itself has it.
_KERNELS = ("include/linux/dma-mapping.h", "kernel/dma/")
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


def _for_all(refusal: Refusal) -> Refusal:
    """A refusal that says the same for all lives of a group, asked once."""

    @wraps(refusal)
    def asked(case: Case) -> str | None:
        return once(case, refusal.__name__, lambda: refusal(case))

    return asked


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


@_for_all
def _by_licence(case: Case) -> str | None:
    paths = dict.fromkeys(site.key[0] for life in case.group for site in life.sites)
    return next((why for path in paths if (why := licence.refusal(case.module.engine.tree, path)) is not None), None)


@_for_all
def _by_own_function(case: Case) -> str | None:
    tree = case.module.engine.tree
    new = {template.before: template.after for template in case.rule.templates}
    asked = {(site.fn.source.path, site.call.name): site.fn for life in case.group for site in life.sites}
    for (_, old), fn in asked.items():
        for name in (old, new.get(old, old)):
            found = tree.functions(name, case.module.engine.flow.unit(fn))
            own = (one for one in found if not one.source.path.startswith(_KERNELS))
            if any(name == old or not only_for_older_kernels(one.source, one.start) for one in own):
                return f"the driver has a {name}() of its own"
    return None


@_for_all
def _by_other_memory(case: Case) -> str | None:
    if case.rule.moves_memory:
        return None
    for life in case.group:
        if _no_device(case, life):
            origin = case.module.given(life.map).address
            kinds = ", ".join(origin.kinds) if origin is not None else ""
            return f"{life.map.call.name}() at {life.map.where} shares an unmap with this map, and maps {kinds}"
    return None


def _by_missing_end(case: Case) -> str | None:
    own = case.life if not case.life.ends else None
    life = own or once(case, "without an end", lambda: next((one for one in case.group if not one.ends), None))
    if life is None:
        return None
    looked = case.module.engine.tree.module(life.map.key[0]) or "the files at hand"
    whose = "this mapping" if life is own else f"the mapping at {life.map.where}"
    return f"no unmap of {whose} was found in {looked}: map and unmap have to change together"


@_for_all
def _by_virtual_address(case: Case) -> str | None:
    """include/linux/dma-mapping.h: dma_map_single() rejects vmalloc memory, and virt_to_phys() does not."""
    for site in (life.map for life in case.group):
        pointer = site.argument("ptr") if site.api.family == "single" and case.rule.moves_memory else None
        if pointer is not None and not case.module.engine.origins.in_direct_map(site.use(pointer)):
            return f"{site.text('ptr')} at {site.where} may be vmalloc memory or on a stack, not in the direct map"
    return None


@_for_all
def _by_defect(case: Case) -> str | None:
    sites: set[Key] = {site.key for life in case.group for site in life.sites}
    for found in case.defects:
        if found.rule in _WRONG and found.site.key in sites:
            return f"{found.site.where}: {found.site.call.name}() is wrong as it stands ({found.rule}); mend that first"
    return None


@_for_all
def _by_mention(case: Case) -> str | None:
    """What is named and not seen to be called may map what these unmaps end, or end what these maps made."""
    engine, path = case.module.engine, case.life.map.key[0]
    calls = engine.api.calls.values()
    maps = [one for one in calls if one.role == "map" and engine.api.fits(one, case.life.map.api)]
    ends = [one for one in calls if one.role == "unmap" and engine.api.fits(case.life.map.api, one)]
    names = frozenset(one.name for one in (case.life.map.api, *maps, *ends))
    seen = frozenset(site.written for life in case.group for site in life.sites)
    folder = engine.tree.module(path)
    near = engine.tree.search_any(names, folder) if engine.tree.is_driver_folder(folder) else ()
    paths = tuple(sorted({path, *near}))
    key = ("unfollowed", paths, names)
    mentions = engine.values.queries.fact(key, lambda: tuple(unfollowed(engine, paths, names)))
    for mention, where in mentions:
        if mention.written not in seen:
            what = f"{mention.name}() is named at {where} where no call of it is seen"
            return f"{what}: that may be an end of this mapping, too"
    return None


@_for_all
def _by_other_module(case: Case) -> str | None:
    """A struct that other modules see, too: one of them may unmap what is kept in it."""
    engine = case.module.engine
    ends = Words(engine.api.named("unmap"))
    for site in (life.map for life in case.group):
        place = kept_in(site)
        fn = site.user[0]
        unit = engine.flow.unit(fn)
        found = engine.types.member(place, fn, unit) if isinstance(place, Member) else None
        home = engine.tree.struct_home(found[0], unit) if found is not None else ""
        scope = engine.tree.scope(home, fn.source.path) if home else None
        if scope is None or not isinstance(place, Member):
            continue
        if not engine.tree.leaves_out(scope, fn.source.path, home, place.field):
            continue
        for folder in sorted(engine.tree.apart(scope, fn.source.path)):
            for path in engine.tree.search(place.field, folder):
                if ends.in_(engine.tree.contents(path)):
                    return f"{path}, which is another module's, may unmap what is kept in {place.field}"
    return None


def _by_orphan(case: Case) -> str | None:
    for site, origin in case.module.pairs.orphans:
        near = site.key[0] == case.life.map.key[0]
        if near and not origin.outside and case.module.engine.api.fits(case.life.map.api, site.api):
            return f"{site.call.name}() at {site.where} may end this mapping too, and its own map was not found"
    return None


REFUSALS: tuple[Refusal, ...] = (
    _by_rule,
    _by_own_memory,
    _by_licence,
    _by_own_function,
    _by_other_memory,
    _by_virtual_address,
    _by_defect,
    _by_missing_end,
    _by_orphan,
    _by_mention,
    _by_other_module,
)


def decide(case: Case, finding: Finding) -> Finding:
    """The finding with the rewrite of its life and the verdict on it, or with the reason why there is none."""
    for refusal in REFUSALS:
        if (why := refusal(case)) is not None:
            return replace(finding, rewrite=Rewrite("withheld", why))
    rewrite = once(case, "rewrite", lambda: propose(case))
    if rewrite.status != "proposed":
        return replace(finding, rewrite=rewrite, verdict=Verdict("unknown", reason="no rewrite is proposed"))
    return replace(finding, rewrite=rewrite, verdict=verdict(case))
