# SPDX-License-Identifier: GPL-2.0-only
"""DMA_ATTR_MMIO where the map type says so, in the first of the forms (rewrite/p2p_forms.py) that does.

What is written is then read again: the edited module must have this fault no more and no other one instead, so that a
flag for the wrong type, for one end only, or one that sticks from one segment to the next is never proposed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from dmamigrate.findings import Kind, Rewrite, Verdict
from dmamigrate.lives.module import Defect, Module
from dmamigrate.lives.pair import Life
from dmamigrate.model.calls import MAPS, UNMAPS
from dmamigrate.model.refine import DIFFERS, LifeCalls, compare, memory_of
from dmamigrate.model.states import READ_ATTRS, relevant
from dmamigrate.model.versions import release, standing
from dmamigrate.rewrite import check, licence
from dmamigrate.rewrite.diff import diff
from dmamigrate.rewrite.layout import apply
from dmamigrate.rewrite.p2p_forms import forms, kept_forms, takes_none
from dmamigrate.syntax.functions import Function

RULE = "p2p-missing-mmio"
_MMIO = "DMA_ATTR_MMIO"


@dataclass(frozen=True)
class After:
    """A module with edits applied, and what is wrong with it."""

    module: Module
    defects: tuple[Defect, ...]


# judges a module with other content for some files; whether lives of ordinary memory are paired, too
Again = Callable[[dict[str, bytes], bool], After]


def mend(
    module: Module, found: Defect, defects: tuple[Defect, ...], again: Again, target: str
) -> tuple[Rewrite, Verdict]:
    """The flag at all calls of the function that lack it, or why it is withheld; `again` judges the module once
    edited.
    """
    fn = found.site.fn
    mine = [one for one in defects if one.rule == RULE and one.site.fn is fn]
    for why in (_refused(module, one) for one in mine):
        if why is not None:
            return Rewrite("withheld", why), Verdict("unknown", reason="no rewrite is proposed")
    wrong_arm = next((one for one in defects if one.rule == "mmio-on-ram" and one.site.fn is fn), None)
    if wrong_arm is not None:
        why = f"the flag stands on the wrong arm, {wrong_arm.site.where}: take it from there first"
        return Rewrite("withheld", why), Verdict("unknown", reason="no rewrite is proposed")
    reason = "the map type is not at hand where the call is made: which variable carries it is the driver's to say"
    paged = any(takes_none(one) for one in mine)
    # held against what all detectors say, whatever rules were chosen
    before = again({}, paged)
    for edits in (*forms(module, fn, mine), *kept_forms(before.module, fn, mine)):
        data = apply(fn.source.data, edits)
        after = again({fn.source.path: data}, paged)
        wrong = _wrong(before.defects, after, fn)
        if wrong is None:
            near = frozenset({fn.name, *(one.site.call.name for one in mine)})
            verdict = _verdict(after.module, _flagged(module), near, target)
            verdict = _of_memory(verdict, target) if paged else verdict
            named = _MMIO.encode() in fn.source.blanked[fn.start : fn.end]
            if verdict.status == "proved" or (verdict.status == "unknown" and not named):
                return Rewrite("proposed", None, edits, diff(fn.source, edits)), verdict
            wrong = f"the model refutes it: {verdict.reason}"
            if verdict.status == "unknown":
                wrong = f"the function sets {_MMIO} already, and not on the path that is shown: mend that place"
        reason = wrong
    return Rewrite("withheld", reason), Verdict("unknown", reason="no rewrite is proposed")


def _refused(module: Module, found: Defect) -> str | None:
    site = found.site
    if site.fn.macro:
        return "the call stands in a macro"
    if not 0 <= int(found.facts["attrs"]) < len(site.call.args):
        if site.call.name != site.api.name:
            return (
                f"{site.call.name}() decides the attributes of {site.api.name}() itself:"
                " it would have to be told the map type"
            )
        if site.api.family != "page":
            return f"{site.call.name}() takes no attributes: dma_map_phys() and its unmap would have to take its place"
    return check.broken(site.fn.source, site.call) or licence.refusal(module.engine.tree, site.key[0])


def _wrong(defects: Iterable[Defect], after: After, fn: Function) -> str | None:
    """What speaks against an edit: the fault that is left, or one that is new."""
    now = next((one for one in after.module.functions(fn.source.path) if one.name == fn.name), None)
    if now is None or not now.clean:
        return "the edited function could not be read again"
    before = Counter(_named(one) for one in defects)
    for one in after.defects:
        before[_named(one)] -= 1
        if one.rule == RULE and one.site.fn.name == fn.name:
            return "the flag would still be missing on some path"
        if before[_named(one)] < 0:
            if one.rule.startswith("unmap-"):
                return (
                    f"{one.site.call.name}() at {one.site.where} does not know the map type:"
                    " keep it, or the attributes, until then"
                )
            return f"the flag would reach {one.site.call.name}() at {one.site.where} on other paths, too ({one.rule})"
    return None


def _named(found: Defect) -> tuple[str, str, str]:
    return found.rule, found.site.fn.name, found.site.call.name


# ---- the verdict


def _of_memory(verdict: Verdict, target: str) -> Verdict:
    """A verdict on P2P memory, if the page API's calls and those of an address do the same for system memory, too."""
    plain = frozenset[str]()
    old = LifeCalls("dma_map_page_attrs", plain, "dma_unmap_page_attrs", plain)
    new = LifeCalls("dma_map_phys", plain, "dma_unmap_phys", plain)
    worse = compare(old, new, relevant(memory_of((Kind.RAM,))), target).worse if verdict.status == "proved" else ()
    return (
        Verdict("refuted", verdict.lives, counterexample=worse[0].describe(), reason=worse[0].what)
        if worse
        else verdict
    )


def _flagged(module: Module) -> frozenset[tuple[str, str]]:
    """The calls, by their function and name, that are given the flag on some path."""
    sites = [site for life in module.pairs.lives for site in (life.map, *life.ends)]
    return frozenset(
        (site.fn.name, site.call.name)
        for site in sites
        if any(_MMIO in one for one in module.given(site).attributes.values)
    )


def _verdict(module: Module, flagged: frozenset[tuple[str, str]], near: frozenset[str], target: str) -> Verdict:
    """The lives that have the flag now, through the host bridge before and after: for other types nothing changed.

    `flagged` are the calls that had it on some path before, `near` the edited function and what it calls.
    """
    if release(target) < (6, 18):
        return Verdict("unknown", reason=f"{target} has no dma_map_phys()")
    new = _flagged(module) - flagged
    lives = [
        life
        for life in module.pairs.lives
        if new & {(site.fn.name, site.call.name) for site in life.sites} or near & {site.fn.name for site in life.sites}
    ]
    states = relevant(memory_of((Kind.P2P,)))
    total = equal = refined = 0
    for life in lives:
        for one, other in _pairs(module, life, flagged):
            if one is None or other is None:
                return Verdict(
                    "unknown",
                    len(lives),
                    reason="the attributes at both ends could not be followed, or are no calls of the model",
                )
            result = compare(one, other, states, target)
            total, equal, refined = total + result.states, equal + result.equal, refined + result.refined
            if result.worse:
                worst = result.worse[0]
                if worst.what == DIFFERS and life.map.api.family == "iova":
                    why = "of IOVA ranges the model does not tell whether another kind of memory is better"
                    return Verdict("unknown", len(lives), reason=why)
                return Verdict("refuted", len(lives), total, equal, refined, worst.describe(), worst.what)
    if not total:
        return Verdict("unknown", len(lives), reason="no unmap of what is mapped here was found")
    return Verdict("proved", len(lives), total, equal, refined, None, standing(target) or None)


def _pairs(
    module: Module, life: Life, flagged: frozenset[tuple[str, str]]
) -> Iterator[tuple[LifeCalls | None, LifeCalls | None]]:
    """A life through the host bridge before and after, for each set of attributes that its ends agree on."""
    mapped = module.given(life.map).attributes
    for end in life.ends:
        taken = module.given(end).attributes
        names = life.map.api.model, end.api.model
        if not mapped or not taken or names[0] not in MAPS or names[1] not in UNMAPS:
            yield None, None
            continue
        for held in sorted(mapped.values, key=sorted):
            if _MMIO in held:
                kept = held & frozenset(READ_ATTRS)
                ends = kept if any(_MMIO in one for one in taken.values) else kept - {_MMIO}
                lacked = [(site.fn.name, site.call.name) not in flagged for site in (life.map, end)]
                was = [attrs - {_MMIO} if lack else attrs for attrs, lack in zip((kept, ends), lacked, strict=True)]
                before = LifeCalls(names[0], was[0], names[1], was[1])
                yield before, LifeCalls(names[0], kept, names[1], ends)
