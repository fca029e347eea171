# SPDX-License-Identifier: GPL-2.0-only
"""Somebody else's change, judged: each life that it touches by the model, and what is wrong with what it touches.

What stands in the same files and was not touched is reported only if it is asked for: a change answers for its own
lives, whatever the age of what is wrong there.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from dmamigrate import match, migrated, processes
from dmamigrate import scan as scans
from dmamigrate.changes import Change, Lines
from dmamigrate.findings import Finding, Judged, Level, Progress, Report, Skipped
from dmamigrate.judge import Judged as Module
from dmamigrate.judge import Work
from dmamigrate.lives import pair
from dmamigrate.lives.module import Defect
from dmamigrate.lives.pair import Life, Lives
from dmamigrate.lives.sites import Site
from dmamigrate.migrated import INCOMPLETE, Side, ordinal, verdict
from dmamigrate.program.tree import Tree
from dmamigrate.rules import Rule
from dmamigrate.scan import Options
from dmamigrate.syntax.prefilter import stems
from dmamigrate.syntax.source import SUFFIXES
from dmamigrate.values.engine import Engine

REFUTED, HALF = "rewrite-refuted", "rewrite-incomplete"


@dataclass(frozen=True)
class _State:
    """One module on one side of the change; `lives` are paired with the page API's calls, too."""

    judged: Module
    lives: Lives


@dataclass(frozen=True)
class _Sides:
    """The tree before and after the change."""

    work: Work
    root: Path
    files: tuple[dict[str, bytes], dict[str, bytes]]

    def judge(self, group: tuple[str, ...], side: int) -> _State:
        """One module before (0) or after (1) the change."""
        held = self.files[side]
        present = tuple(path for path in group if held.get(path))
        engine = Engine(Tree(self.root, overlay=held, facts=self.work.facts), self.work.knowledge, self.work.budget)
        judged = self.work.module(engine, present)
        if self.work.pages or not present:
            return _State(judged, judged.module.pairs)
        paged = replace(self.work, pages=True)
        return _State(judged, pair.lives(engine, paged.with_mappings(engine, present), True))


@dataclass(frozen=True)
class _Said:
    """What is said of modules: what is found, what is found and not reported, and what was judged of what the change
    touches.
    """

    findings: tuple[Finding, ...] = ()
    older: tuple[str, ...] = ()  # the paths of findings that are not the change's
    judged: tuple[Judged, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    def and_then(self, other: _Said) -> _Said:
        """Both together."""
        return _Said(
            self.findings + other.findings, self.older + other.older,
            self.judged + other.judged, self.skipped + other.skipped,
        )  # fmt: skip


@dataclass(frozen=True)
class _Reviewer:
    """Reviews one module after the other, each within `limits`; a process of its own may do so."""

    sides: _Sides
    limits: scans.Limits
    lines: dict[str, Lines]
    target: str
    everything: bool

    def __call__(self, group: tuple[str, ...]) -> _Said:
        """What the change does to a module."""
        sys.setrecursionlimit(max(sys.getrecursionlimit(), 20_000))
        try:
            with processes.limited(self.limits.seconds, self.limits.megabytes):
                return self._said(group)
        except (Exception, processes.OverBudget) as error:
            return self.lost(group, scans.reason(error))

    def _said(self, group: tuple[str, ...]) -> _Said:
        rules = {rule.id: rule for rule in self.sides.work.rules}
        before, after = self.sides.judge(group, 0), self.sides.judge(group, 1)
        changed = list(_changed_lives(before, after, (frozenset(group), self.lines), self.target))
        new = list(_new(before.judged.findings, after.judged.findings))
        mine = [f for f in after.judged.findings if f in new or _touched(f, self.lines)]
        left = [f for f in after.judged.findings if f not in mine]
        doubted = [finding for one, site in changed for finding in _doubted(rules, one, site)]
        return _Said(
            (*mine, *(left if self.everything else ()), *doubted),
            tuple(f.span.path for f in left if not self.everything and f.span.path in group),
            tuple(one for one, _ in changed),
            tuple(after.judged.skipped),
        )

    @staticmethod
    def lost(group: tuple[str, ...], why: str) -> _Said:
        """What is said of a module that could not be judged."""
        return _Said(skipped=tuple(Skipped(path, why) for path in group))


def review(options: Options, change: Change, everything: bool = False, progress: Progress | None = None) -> Report:
    """What a change does to the lives that it touches; with `everything`, also what is wrong with others in its
    files.
    """
    started = time.monotonic()
    root, facts = scans.roots(options.tree, options.paths)
    version = scans.tree_version(facts or root)
    target = options.target or scans.default_target(facts or root, version)
    code = {path: pair for path, pair in change.files.items() if path.endswith(SUFFIXES)}
    # a half of a change may hold a part of a name
    needles = stems(scans.wanted(options.rules, options.knowledge, pages=True).words)
    named = [
        p for p, both in sorted(code.items()) if any(needle in (data or b"") for data in both for needle in needles)
    ]
    overlays = (
        {path: both[0] or b"" for path, both in code.items()},
        {path: both[1] or b"" for path, both in code.items()},
    )
    sides = _Sides(scans.work(options, root, target), root, overlays)
    reviewer = _Reviewer(sides, options.limits, change.lines, target, everything)
    said = _Said()
    groups = scans.modules(Tree(root, overlay=overlays[1]), named)
    if progress is not None:
        progress(0, len(groups), groups[0][0] if groups else "")
    for done, one in enumerate(processes.each(reviewer, groups, options.jobs, reviewer.lost, outside=True)):
        said = said.and_then(one)
        if progress is not None:
            progress(done + 1, len(groups), groups[done + 1][0] if done + 1 < len(groups) else "")
    older, skipped = Counter(said.older), said.skipped
    tree = Tree(root, overlay=overlays[1])
    ordered = scans.ordered_findings(said.findings, named, options.level)
    return Report(
        options.version,
        str(root),
        version,
        target,
        ordered,
        tuple(sorted(set(skipped), key=lambda s: (s.path, s.reason))),
        len(change.files),
        len(named),
        time.monotonic() - started,
        scans.lines(tree, ordered),
        tuple(sorted(said.judged, key=lambda one: (one.span.path, one.span.start))),
        bool(skipped),
        tuple(sorted(older.items())),
    )


def _in(lines: dict[str, Lines], path: str, first: int, last: int) -> bool:
    """Whether the change touched any line from `first` to `last`."""
    return any(start <= last and first <= end for start, end in lines.get(path, ()))


def _touched(finding: Finding, lines: dict[str, Lines]) -> bool:
    """Whether a change touched what a finding is about: its call, its partners, or the path that shows it."""
    spans = [finding.span, *(partner.span for partner in finding.partners)]
    if any(_in(lines, span.path, span.line, span.end_line) for span in spans):
        return True
    return any(_in(lines, step.path, step.line, step.line) for step in finding.trail)


def _new(before: Iterable[Finding], after: Iterable[Finding]) -> Iterator[Finding]:
    """The findings that the change brought; a rewritten call is not found again by its text."""
    held = Counter((f.rule, f.span.path, f.function) for f in before)
    for finding in after:
        key = finding.rule, finding.span.path, finding.function
        held[key] -= 1
        if held[key] < 0:
            yield finding


def _partners(before: _State, after: _State) -> Iterator[tuple[Life, Life]]:
    """Each old life with the one in its place: where as many device mappings are made, those are counted alone."""
    migrating = frozenset({"resource", "phys"})
    old, new = before.lives.lives, after.lives.lives
    module = after.judged.module
    anywhere = {ordinal(module, life.map): life for life in new}
    alone = {ordinal(module, life.map, migrating): life for life in new if life.map.api.family in migrating}

    def count(lives: Iterable[Life], of: Life) -> int:
        place = of.map.key[0], of.map.user[0].name
        return sum((one.map.key[0], one.map.user[0].name) == place and one.map.api.family in migrating for one in lives)

    for life in old:
        own = life.map.api.family in migrating and count(old, life) == count(new, life)
        at = ordinal(before.judged.module, life.map, migrating if own else frozenset())
        found = (alone if own else anywhere).get(at)
        if found is not None:
            yield life, found


def _text(site: Site) -> str:
    fn, _, call = site.user
    return fn.source.text(call.start, call.end)


def _changed_lives(
    before: _State, after: _State, touched: tuple[frozenset[str], dict[str, Lines]], target: str
) -> Iterator[tuple[Judged, Site]]:
    """The lives that the change touches or whose calls it rewrote, each judged, with the call that decides."""
    files, lines = touched
    migrating = before.judged.module.engine.api.migrating
    for old, new in _partners(before, after):
        same = _text(old.map) == _text(new.map) and sorted(map(_text, old.ends)) == sorted(map(_text, new.ends))
        near = any(_in(lines, s.span.path, s.span.line, s.span.end_line) for s in new.sites)
        if not files & {site.key[0] for site in old.sites} or (same and not near):
            continue
        if migrating.isdisjoint({old.map.api.family, new.map.api.family}):
            continue
        said, at = verdict(Side(before.judged.module, old), Side(after.judged.module, new), target)
        fn = new.map.user[0]
        yield Judged(new.map.span, fn.name, old.map.call.name, new.map.call.name, said), at


def _doubted(rules: dict[str, Rule], one: Judged, site: Site) -> Iterator[Finding]:
    """A change that is refuted, one that moves half a life, or one that nobody but a person can judge."""
    half = one.verdict.status == "proved" and (one.verdict.reason or "").startswith(migrated.INCOMPLETE)
    rule = rules.get(HALF if half else REFUTED)
    if rule is None or (one.verdict.status == "proved" and not half):
        return
    why = (one.verdict.reason or "").removeprefix(f"{INCOMPLETE}: ")
    what = {
        "refuted": "this change breaks a mapping",
        "unknown": "whether this is still the same mapping is not told",
    }
    text = f"{what[one.verdict.status]}: {why}" if not half else f"half of this mapping is moved: {why}"
    found = match.defect(rule, Defect(rule.id, site, {"why": text}))
    sure = one.verdict.status == "refuted"
    yield replace(found, verdict=one.verdict, level=rule.level if sure else Level.WARNING)
