# SPDX-License-Identifier: GPL-2.0-only
"""Somebody else's change, judged: each life that it changed by the model, and what is wrong or missed in the files it touches."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, replace
from pathlib import Path

from dmamigrate import match, processes
from dmamigrate import scan as scans
from dmamigrate.changes import Files
from dmamigrate.findings import Finding, Judged, Kind, Level, Progress, Report, Skipped, Verdict
from dmamigrate.judge import Result, Work
from dmamigrate.lives import pair as lifecycle
from dmamigrate.lives.api import DMA_CALLS, MMIO
from dmamigrate.lives.attributes import Attributes
from dmamigrate.lives.detect.defects import Defect
from dmamigrate.lives.meaning import meaning
from dmamigrate.lives.pair import Life, Site, span
from dmamigrate.model import dma_api
from dmamigrate.model.refine import LifeCalls, compare, memory_of
from dmamigrate.model.states import relevant
from dmamigrate.program.tree import Tree
from dmamigrate.rules import Rule
from dmamigrate.scan import Options
from dmamigrate.syntax.prefilter import stems
from dmamigrate.values.origins import Tracer

RULE = "rewrite-refuted"
# What a change of the API's calls may leave in a file without having touched it.
_MISSED = "map-resource-"
_MIGRATING = frozenset({"resource", "phys"})


Call = tuple[str, str, int]


def review(options: Options, files: Files, progress: Progress | None = None) -> Report:
    """What a change does to the lives in its files, and what it leaves or brings of the rules' findings."""
    started = time.monotonic()
    root = (options.tree or scans.find_tree(options.paths)).resolve()
    version = scans.tree_version(root)
    target = options.target or scans.default_target(root, version)
    code = {path: pair for path, pair in files.items() if path.endswith((".c", ".h"))}
    needles = stems(scans.words(options.rules, pages=True))
    touched = [
        path
        for path, pair in sorted(code.items())
        if any(needle in (data or b"") for data in pair for needle in needles)
    ]
    rules = {rule.id: rule for rule in options.rules}
    work = scans.work(options, root, target)
    sides = [_Side(work, root, {path: pair[side] or b"" for path, pair in code.items()}) for side in (0, 1)]
    findings: list[Finding] = []
    judged: list[Judged] = []
    skipped = []
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 20_000))
    groups = scans.modules(Tree(root, overlay=sides[1].files), touched)
    for done, group in enumerate(groups):
        if progress is not None:
            progress(done, len(groups), group[0])
        try:
            with processes.limited(options.limits.seconds, options.limits.megabytes):
                before, after = (side.judge(group) for side in sides)
                changed = list(_changed_lives(before, after, set(group), target, rules.get(RULE)))
        except (Exception, processes.OverBudget) as error:
            skipped += [Skipped(path, scans.reason(error)) for path in group]
            continue
        findings += _new(before.result.findings, after.result.findings)
        skipped += after.result.skipped
        for one, wrong in changed:
            judged.append(one)
            findings += wrong
    tree = Tree(root, overlay=sides[1].files)
    ordered = scans.ordered_findings(findings, touched, options.level)
    return Report(
        options.version, str(root), version, target, ordered, tuple(sorted(set(skipped), key=lambda s: (s.path, s.reason))),
        len(files), len(touched), time.monotonic() - started, scans.lines(tree, ordered),
        tuple(sorted(judged, key=lambda one: (one.span.path, one.span.start))), bool(skipped),
    )  # fmt: skip


@dataclass(frozen=True)
class _State:
    """One module on one side of the change."""

    result: Result
    lives: lifecycle.Lives
    tracer: Tracer
    attributes: Attributes


@dataclass(frozen=True)
class _Side:
    """The tree before the change, or after it. Lives are paired with the page API's calls, findings are the usual ones."""

    work: Work
    root: Path
    files: dict[str, bytes]

    def judge(self, group: tuple[str, ...]) -> _State:
        present = tuple(path for path in group if self.files.get(path))
        tracer = Tracer(Tree(self.root, overlay=self.files), self.work.knowledge, self.work.budget)
        result = self.work.module(tracer, present) if present else Result([], [])
        again = Tracer(Tree(self.root, overlay=self.files), self.work.knowledge, self.work.budget)
        paths = self.work.with_mappings(again.tree, present) if present else []
        return _State(
            result, lifecycle.lives(again.tree, again, sorted({*present, *paths}), pages=True), again, Attributes(again)
        )


def _new(before: Iterable[Finding], after: Iterable[Finding]) -> Iterator[Finding]:
    """The findings that the change brought, or should have taken away; a rewritten call is not found again by its text."""
    held = Counter((f.rule, f.span.path, f.function) for f in before)
    for finding in after:
        key = finding.rule, finding.span.path, finding.function
        held[key] -= 1
        if held[key] < 0 or finding.rule.startswith(_MISSED):
            yield finding


def _ordinal(site: Site, families: Set[str] = frozenset()) -> Call:
    """A call by its file, its function, and which of those in its role, and of `families` if given, it is there, from 0."""
    apis = [(call.start, DMA_CALLS[call.name]) for _, call in site.fn.calls if call.name in DMA_CALLS]
    order = [start for start, api in apis if api.role == site.api.role and (not families or api.family in families)]
    return site.fn.source.path, site.fn.name, order.index(site.call.start)


def _partners(before: Iterable[Life], after: Iterable[Life]) -> Iterator[tuple[Life, Life]]:
    """Each old life with the one that stands in its place: where as many device mappings are made, those are counted alone."""
    old, new = list(before), list(after)
    anywhere = {_ordinal(life.map): life for life in new}
    alone = {_ordinal(life.map, _MIGRATING): life for life in new if life.map.api.family in _MIGRATING}

    def count(lives: list[Life], of: Life) -> int:
        place = of.map.fn.source.path, of.map.fn.name
        return sum(
            (one.map.fn.source.path, one.map.fn.name) == place and one.map.api.family in _MIGRATING for one in lives
        )

    for life in old:
        own = life.map.api.family in _MIGRATING and count(old, life) == count(new, life)
        found = alone.get(_ordinal(life.map, _MIGRATING)) if own else anywhere.get(_ordinal(life.map))
        if found is not None:
            yield life, found


def _text(site: Site) -> str:
    return site.fn.source.text(site.call.start, site.call.end)


def _changed_lives(
    before: _State, after: _State, files: set[str], target: str, rule: Rule | None
) -> Iterator[tuple[Judged, list[Finding]]]:
    """The lives that are not the same calls any more, and what is wrong with what they became."""
    for old, new in _partners(before.lives.lives, after.lives.lives):
        if not {site.fn.source.path for site in (old.map, *old.ends)} & files:
            continue
        if _text(old.map) == _text(new.map) and sorted(map(_text, old.ends)) == sorted(map(_text, new.ends)):
            continue
        if old.map.api.family not in _MIGRATING and new.map.api.family not in _MIGRATING:
            continue
        verdict, at = _verdict(before, old, after, new, target)
        place = span(new.map.fn.source, new.map.call.parts[0].start, new.map.call.parts[0].end)
        one = Judged(place, new.map.fn.name, old.map.call.name, new.map.call.name, verdict)
        yield one, [_doubted(rule, verdict, at, new)] if verdict.status != "proved" and rule is not None else []


def _doubted(rule: Rule, verdict: Verdict, site: Site, life: Life) -> Finding:
    """A change that is refuted, or one that nobody but a person can judge."""
    sure = verdict.status == "refuted"
    why = (
        f"this change is no migration: {verdict.reason}"
        if sure
        else f"whether this change is a migration is not told: {verdict.reason}"
    )
    found = match.defect(rule, Defect(RULE, site, {"why": why}, life))
    return replace(found, verdict=verdict, level=rule.level if sure else Level.WARNING)


def _verdict(before: _State, old: Life, after: _State, new: Life, target: str) -> tuple[Verdict, Site]:
    """What the model says of `new` in the place of `old`, and the call that decides it."""
    gone = _gone(after, old, new)
    if gone:
        return Verdict("refuted", reason=gone), new.map
    for was, now in _twins(old, new):
        for name, first, second in _arguments(was, now):
            if first != second:
                sure = (
                    name in ("size", "direction") and first.lstrip("DMA_").isalnum() and second.lstrip("DMA_").isalnum()
                )
                status = (
                    "refuted"
                    if sure and "parameter" not in first + second and "local" not in first + second
                    else "unknown"
                )
                return Verdict(status, reason=f"the {name} was {first} and is {second}"), now
    argument = old.map.argument("phys") or old.map.argument("ptr") or old.map.argument("page")
    origin = before.tracer.origin(old.map.fn, old.map.node, argument) if argument is not None else None
    kinds = tuple(kind for kind in origin.kinds if kind is not Kind.DMA_ADDR) if origin is not None else ()
    states = relevant(memory_of(kinds or (Kind.UNKNOWN,)))
    total = equal = refined = 0
    for end in new.ends or (None,):
        calls = _calls(before, old, old.ends[0] if old.ends else None), _calls(after, new, end)
        if calls[0] is None or calls[1] is None:
            return Verdict("unknown", reason="the attributes of a call could not be followed"), new.map
        result = compare(calls[0], calls[1], states, target)
        total, equal, refined = total + result.states, equal + result.equal, refined + result.refined
        if result.reasons:
            return Verdict(
                "refuted", 1, total, equal, refined, result.counterexample, result.reasons[0]
            ), end or new.map
    fewer = _fewer(old, new)
    if fewer:
        return Verdict("unknown", 1, total, equal, refined, None, fewer), new.map
    return Verdict("proved", 1, total, equal, refined), new.map


def _gone(after: _State, old: Life, new: Life) -> str:
    """Which unmap of the old life the new one has no more, "" if none: it may have moved into a function that is called there."""
    held = {(site.fn.source.path, site.fn.name) for site in new.ends}
    names = {site.fn.name for site in new.ends}
    for site in old.ends:
        place = site.fn.source.path, site.fn.name
        if place not in held and not _calls_any(after, place, names, 3):
            return f"{site.call.name}() in {site.fn.name}() ended this mapping, and nothing does there any more"
    return ""


def _calls_any(state: _State, place: tuple[str, str], names: set[str], levels: int) -> bool:
    unit = state.tracer.tree.unit(place[0])
    for fn in unit.functions(place[1]) if unit is not None and levels else ():
        called = {call.name for _, call in fn.calls if call.name}
        if called & names or any(_calls_any(state, (place[0], name), names, levels - 1) for name in sorted(called)):
            return True
    return False


def _fewer(old: Life, new: Life) -> str:
    """Which function unmaps less often than it did, "" if none does; two exits may have become one."""
    count = Counter((site.fn.source.path, site.fn.name) for site in new.ends)
    for place, before in Counter((site.fn.source.path, site.fn.name) for site in old.ends).items():
        if 0 < count[place] < before:
            return (
                f"{place[1]}() unmapped in {before} places and does so in {count[place]};"
                " no path is told to be without one, or to be with"
            )
    return ""


def _arguments(was: Site, now: Site) -> Iterator[tuple[str, str, str]]:
    """What two calls in the same place are given, by name, as values that can be compared."""

    def of(site: Site, role: str) -> str | None:
        argument = site.argument(role)
        return meaning(site.fn, site.node, argument) if argument is not None else None

    for name, role in (("device", "dev"), ("size", "size"), ("direction", "dir")):
        first, second = of(was, role), of(now, role)
        if first is not None and second is not None:
            yield name, first, second
    address = of(now, "phys")
    if address is None:
        return
    pointer, page, offset = of(was, "ptr"), of(was, "page"), of(was, "offset") or "0"
    if pointer is not None and address not in (f"virt_to_phys({pointer})", f"__pa({pointer})"):
        yield "address", f"virt_to_phys({pointer})", address
    elif page is not None:
        start = f"page_to_phys({page})"
        yield "address", start if offset == "0" else f"({' + '.join(sorted((start, offset)))})", address
    elif (first := of(was, "phys")) is not None:
        yield "address", first, address


def _twins(old: Life, new: Life) -> Iterable[tuple[Site, Site]]:
    """The calls of both lives that stand in the same place."""
    now = {_ordinal(site): site for site in new.ends}
    return [(old.map, new.map), *((site, now[at]) for site in old.ends if (at := _ordinal(site)) in now)]


def _calls(state: _State, life: Life, end: Site | None) -> LifeCalls | None:
    """A life as the model knows it: one map and one unmap; None if attributes are not known, or differ from path to path."""
    given = state.attributes.at(life.map)
    taken = state.attributes.at(end) if end is not None else frozenset({frozenset()})
    if given is None or taken is None or len(given) != 1 or len(taken) != 1:
        return None
    names = [_modelled(life.map.call.name), _modelled(end.call.name) if end is not None else None]
    if names[0] not in dma_api.MAPS or (names[1] is not None and names[1] not in dma_api.UNMAPS):
        return None
    attrs = [set(next(iter(held))) for held in (given, taken)]
    for held, site in zip(attrs, (life.map, end), strict=True):
        if site is not None and site.api.family == "resource":
            held.discard(MMIO)  # what the call implies, it adds itself
    return LifeCalls(str(names[0]), frozenset(attrs[0]), names[1], frozenset(attrs[1]))


def _modelled(name: str) -> str:
    """The function that a macro without attributes stands for."""
    return f"{name}_attrs" if name in ("dma_map_page", "dma_map_single", "dma_unmap_page", "dma_unmap_single") else name
