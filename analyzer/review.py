# SPDX-License-Identifier: GPL-2.0-only
"""Somebody else's change, judged: each life that it changed by the model, and what is wrong or missed in the files it touches."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from analyzer import git, lifecycle, match, pipeline
from analyzer.attributes import Attributes
from analyzer.defects import Defect
from analyzer.dma_calls import DMA_CALLS, MMIO
from analyzer.errors import UsageError
from analyzer.findings import Finding, Judged, Kind, Origin, Report, Verdict
from analyzer.lifecycle import Life, Site, span
from analyzer.model import dma_api
from analyzer.model.refine import LifeCalls, compare, memory_of
from analyzer.model.states import relevant
from analyzer.pipeline import Options, Work
from analyzer.rules import Rule
from analyzer.syntax.prefilter import stems
from analyzer.trace.tree import Tree
from analyzer.trace.walk import Tracer

RULE = "rewrite-refuted"
# What a change of the API's calls may leave in a file without having touched it.
_MISSED = "map-resource-"

_NOTHING = Origin((Kind.DMA_ADDR,), False, (), None)

Files = dict[str, tuple[bytes | None, bytes | None]]
Call = tuple[str, str, int]


def changed_files(what: str, root: Path, stdin: Callable[[], bytes]) -> Files:
    """Each file that `what` (a patch, a mailbox, - for standard input, a commit, or REV..REV) changes: before and after.

    Raises UsageError for what is none of these, and for a patch that does not apply to the tree.
    """
    file = Path(what)
    if what == "-" or file.is_file():
        text = stdin() if what == "-" else file.read_bytes()
        found = git.apply(git.patches(text), lambda path: (root / path).read_bytes() if (root / path).is_file() else None)
    elif git.root(root) is None:
        raise UsageError(f"{what}: no such file; name a patch, or a commit of a tree that is under git")
    else:
        before, after = git.commits(root, what)
        found = {path: (git.content(root, before, path), git.content(root, after, path)) for path in git.changed(root, before, after)}
    if not found:
        raise UsageError(f"{what}: changes no file; give a patch as git format-patch writes it")
    return found


def review(options: Options, files: Files) -> Report:
    """What a change does to the lives in its files, and what it leaves or brings of the rules' findings."""
    started = time.monotonic()
    root = (options.tree or pipeline.find_tree(options.paths)).resolve()
    version = pipeline.tree_version(root)
    target = options.target or pipeline.default_target(root, version)
    code = {path: pair for path, pair in files.items() if path.endswith((".c", ".h"))}
    needles = stems(pipeline.words(options.rules, pages=True))
    touched = [path for path, pair in sorted(code.items()) if any(needle in (data or b"") for data in pair for needle in needles)]
    rules = {rule.id: rule for rule in options.rules}
    work = pipeline.work(options, root, target)
    sides = [_Side(work, root, {path: pair[side] or b"" for path, pair in code.items()}) for side in (0, 1)]
    findings: list[Finding] = []
    judged: list[Judged] = []
    skipped = []
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 20_000))
    for group in pipeline.modules(Tree(root, overlay=sides[1].files), touched):
        before, after = (side.judge(group) for side in sides)
        findings += _new(before.result.findings, after.result.findings)
        skipped += after.result.skipped
        for one, wrong in _changed_lives(before, after, set(group), target, rules.get(RULE)):
            judged.append(one)
            findings += wrong
    tree = Tree(root, overlay=sides[1].files)
    ordered = pipeline.ordered_findings(findings, touched, options.level)
    return Report(
        options.version, str(root), version, target, ordered, tuple(sorted(set(skipped), key=lambda s: (s.path, s.reason))),
        len(files), len(touched), time.monotonic() - started, pipeline.lines(tree, ordered),
        tuple(sorted(judged, key=lambda one: (one.span.path, one.span.start))),
    )  # fmt: skip


@dataclass(frozen=True)
class _State:
    """One module on one side of the change."""

    result: pipeline.Result
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
        result = self.work.module(tracer, present) if present else pipeline.Result([], [])
        again = Tracer(Tree(self.root, overlay=self.files), self.work.knowledge, self.work.budget)
        paths = self.work.with_mappings(again.tree, present) if present else []
        return _State(result, lifecycle.lives(again.tree, again, sorted({*present, *paths}), pages=True), again, Attributes(again))


def _new(before: Iterable[Finding], after: Iterable[Finding]) -> Iterator[Finding]:
    """The findings that the change brought, or should have taken away; a rewritten call is not found again by its text."""
    held = Counter((f.rule, f.span.path, f.function) for f in before)
    for finding in after:
        key = finding.rule, finding.span.path, finding.function
        held[key] -= 1
        if held[key] < 0 or finding.rule.startswith(_MISSED):
            yield finding


def _ordinal(site: Site, role: str) -> Call:
    """A call by its file, its function, and which of those in this role it is there, from 0."""
    order = [call.start for _, call in site.fn.calls if (api := DMA_CALLS.get(call.name)) is not None and api.role == role]
    return site.fn.source.path, site.fn.name, order.index(site.call.start)


def _text(site: Site) -> str:
    return site.fn.source.text(site.call.start, site.call.end)


def _changed_lives(
    before: _State, after: _State, files: set[str], target: str, rule: Rule | None
) -> Iterator[tuple[Judged, list[Finding]]]:
    """The lives that are not the same calls any more, and what is wrong with what they became."""
    now = {_ordinal(life.map, "map"): life for life in after.lives.lives}
    for old in before.lives.lives:
        new = now.get(_ordinal(old.map, "map"))
        if new is None or not {site.fn.source.path for site in (old.map, *old.ends)} & files:
            continue
        if _text(old.map) == _text(new.map) and sorted(map(_text, old.ends)) == sorted(map(_text, new.ends)):
            continue
        if old.map.api.family not in ("resource", "phys") and new.map.api.family not in ("resource", "phys"):
            continue
        verdict, at = _verdict(before, old, after, new, target)
        place = span(new.map.fn.source, new.map.call.parts[0].start, new.map.call.parts[0].end)
        one = Judged(place, new.map.fn.name, old.map.call.name, new.map.call.name, verdict)
        yield one, [_refuted(rule, verdict, at, new)] if verdict.status == "refuted" and rule is not None else []


def _refuted(rule: Rule, verdict: Verdict, site: Site, life: Life) -> Finding:
    found = match.defect(rule, Defect(RULE, site, _NOTHING, {"why": verdict.reason or ""}, life))
    return replace(found, verdict=verdict)


def _verdict(before: _State, old: Life, after: _State, new: Life, target: str) -> tuple[Verdict, Site]:
    """What the model says of `new` in the place of `old`, and the call that decides it."""
    gone = _gone(old, new)
    if gone:
        return Verdict("refuted", reason=gone), new.map
    for was, now in _twins(old, new):
        for role, name in (("size", "size"), ("dir", "direction")):
            texts = was.text(role), now.text(role)
            if was.call.name != now.call.name and texts[0] != texts[1]:
                return Verdict("refuted", reason=f"the {name} was {texts[0]} and is {texts[1]}"), now
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
            return Verdict("refuted", total, equal, refined, result.counterexample, result.reasons[0]), end or new.map
    return Verdict("proved", total, equal, refined), new.map


def _gone(old: Life, new: Life) -> str:
    """Which unmap of the old life the new one has no more, "" if none."""
    held = {(site.fn.source.path, site.fn.name) for site in new.ends}
    for site in old.ends:
        if (site.fn.source.path, site.fn.name) not in held:
            return f"{site.call.name}() in {site.fn.name}() ended this mapping, and nothing does there any more"
    return ""


def _twins(old: Life, new: Life) -> Iterable[tuple[Site, Site]]:
    """The calls of both lives that stand in the same place."""
    now = {_ordinal(site, "unmap"): site for site in new.ends}
    return [(old.map, new.map), *((site, now[at]) for site in old.ends if (at := _ordinal(site, "unmap")) in now)]


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
