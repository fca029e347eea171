# SPDX-License-Identifier: GPL-2.0-only
"""The repair of a defect where the right value is certain: an unmap that is given the physical address that was
mapped.
"""

from __future__ import annotations

from dmamigrate.findings import Edit, Kind, Rewrite, Verdict
from dmamigrate.lives.module import Defect, Module
from dmamigrate.lives.pair import Life, kept_in
from dmamigrate.lives.sites import Site
from dmamigrate.model.calls import MAPS, UNMAPS
from dmamigrate.model.refine import LifeCalls, compare, memory_of
from dmamigrate.model.states import READ_ATTRS, relevant
from dmamigrate.model.versions import release, standing
from dmamigrate.program.reach import reaching
from dmamigrate.rewrite import check, licence
from dmamigrate.rewrite.diff import diff
from dmamigrate.syntax.expr import Expr, Member, Name, strip
from dmamigrate.values.questions import Use


def mend(module: Module, found: Defect, target: str) -> tuple[Rewrite, Verdict] | None:
    """The edit that gives an unmap the address that its map returned, and what the model says; None if it is not
    certain.
    """
    life, site = found.life, found.site
    if life is None or all(site.key != one.key for one in life.mistaken) or site.fn.macro:
        return None
    kept, handle = kept_in(life.map), site.argument("addr")
    if handle is None or not _holds(module, life, site, kept) or check.broken(site.fn.source, site.call) is not None:
        return None
    if licence.refusal(module.engine.tree, site.key[0]) is not None:
        return None
    assert kept is not None, "it holds the handle"
    source = site.fn.source
    text = source.data[kept.start : kept.end].decode("utf-8", "surrogateescape")
    edit = Edit(source.path, handle.start, handle.end, text)
    rewrite = Rewrite("proposed", None, (edit,), diff(source, (edit,)))
    return rewrite, _verdict(module, life, site, target)


def _holds(module: Module, life: Life, site: Site, kept: Expr | None) -> bool:
    """Whether what the map's address was put into still holds it at the unmap, and nothing else can stand there."""
    place = strip(kept) if kept is not None else None
    if not isinstance(place, Name | Member) or site.fn is not life.map.fn:
        return False
    between = module.engine.flow.between
    seen = reaching(site.fn, site.node, place)
    for definition in seen.definitions:
        if definition.call is None:
            if definition.node != life.map.node:
                return False
        elif not isinstance(place, Member):
            return False
    if isinstance(place, Member) and between.may_change(Use(site.fn, site.node, place), seen.passed):
        return False
    return any(definition.node == life.map.node for definition in seen.definitions)


def _verdict(module: Module, life: Life, site: Site, target: str) -> Verdict:
    """The life with the wrong address at this unmap, against the one with the right one."""
    mapped, taken = module.given(life.map), module.given(site)
    calls = life.map.api.model, site.api.model
    if calls[0] not in MAPS or calls[1] not in UNMAPS or not mapped.attributes or not taken.attributes:
        return Verdict("unknown", 1, reason="the model has no such call, or its attributes could not be followed")
    if release(target) < (6, 18) and "dma_map_phys" in calls:
        return Verdict("unknown", 1, reason=f"{target} has no dma_map_phys()")
    origin = mapped.address
    states = relevant(memory_of(origin.kinds if origin is not None else (Kind.UNKNOWN,)))
    total = equal = refined = 0
    for one in mapped.attributes.values:
        for other in taken.attributes.values:
            held, end = (frozenset(given & frozenset(READ_ATTRS)) for given in (one, other))
            sets = held - life.map.api.implies, end - site.api.implies
            lives = [LifeCalls(calls[0], sets[0], calls[1], sets[1], astray) for astray in (True, False)]
            result = compare(lives[0], lives[1], states, target)
            total, equal, refined = total + result.states, equal + result.equal, refined + result.refined
            if result.worse:
                worst = result.worse[0]
                return Verdict("refuted", 1, total, equal, refined, worst.describe(), worst.what)
    return Verdict("proved", 1, total, equal, refined, None, standing(target) or None)
