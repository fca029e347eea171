# SPDX-License-Identifier: GPL-2.0-only
"""A scan: which files, in which processes, and the report of what was found."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from dmamigrate import place as place_of
from dmamigrate import probes, processes, renamed
from dmamigrate.answers import Answers, Keeping
from dmamigrate.errors import UsageError
from dmamigrate.findings import Finding, Level, Origin, Progress, Report, Skipped
from dmamigrate.judge import Result, Work
from dmamigrate.lives.detect import page_calls, stored
from dmamigrate.lives.detect.registry import DETECTORS, WORDS
from dmamigrate.model.versions import release
from dmamigrate.program.queries import Budget
from dmamigrate.program.reads import Reads, Taken
from dmamigrate.program.tree import Shared, Tree
from dmamigrate.rules import Rule
from dmamigrate.syntax import prefilter
from dmamigrate.syntax.source import SUFFIXES
from dmamigrate.values.engine import Engine
from dmamigrate.values.knowledge import Knowledge

# With which environment variable tracebacks are shown; a process that judges inherits it.
DEBUG = "DMAMIGRATE_DEBUG"
# Nesting that is judged: long else-if chains and sums nest as deep as they are long.
_DEPTH = 20_000
FIRST = (6, 18)  # the first version with dma_map_phys()
_API = ("DMA_ATTR_MMIO", "dma_map_phys", "dma_unmap_phys")
_ORDER = {Level.NOTE: 0, Level.WARNING: 1, Level.ERROR: 2}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one module may cost: CPU seconds, and megabytes beside what is in use when it begins."""

    seconds: float = 40.0
    megabytes: int = 220


@dataclass(frozen=True)
class Options:
    """What a scan is asked to do.

    `overlay` has the content of files, by their path in the tree, that is taken instead of what is on disk; an empty
    one stands for no file. `only` are the files to judge, instead of all below `paths`. `keeping` says where answers
    are kept, None for nowhere.
    """

    paths: tuple[Path, ...]
    rules: tuple[Rule, ...]
    knowledge: Knowledge
    tree: Path | None = None
    target: str | None = None
    level: Level = Level.NOTE
    jobs: int = 1
    budget: Budget = field(default_factory=Budget)
    pages: bool = False
    version: str = "0"
    limits: Limits = field(default_factory=Limits)
    overlay: Mapping[str, bytes] = field(default_factory=dict)
    only: tuple[str, ...] | None = None
    keeping: Keeping | None = None


def find_tree(paths: Iterable[Path]) -> Path:
    """The kernel root above the first path; where there is none, the working folder if it holds all paths, else their
    own.
    """
    absolute = [path.resolve() for path in paths] or [Path.cwd()]
    start = absolute[0] if absolute[0].is_dir() else absolute[0].parent
    for folder in (start, *start.parents):
        if (folder / "MAINTAINERS").is_file() and (folder / "Kbuild").is_file():
            return folder
    here = Path.cwd()
    if all(path.is_relative_to(here) for path in absolute):
        return here
    common = Path(os.path.commonpath(absolute))
    return common if common.is_dir() else common.parent


def roots(tree: Path | None, paths: Iterable[Path]) -> tuple[Path, Path | None]:
    """What paths in reports are relative to, and the kernel that is asked for facts if the paths are not below it."""
    asked = [path.resolve() for path in paths] or [Path.cwd()]
    if tree is None or all(path.is_relative_to(tree.resolve()) for path in asked):
        return (tree or find_tree(asked)).resolve(), None
    return find_tree(asked).resolve(), tree.resolve()


def tree_version(root: Path) -> str | None:
    """The version that the kernel's Makefile states, such as "7.3"; None if there is none."""
    try:
        text = (root / "Makefile").read_text("utf-8", "replace")[:2000]
    except OSError:
        return None
    found = [re.search(rf"^{name}\s*=\s*(\d+)", text, re.MULTILINE) for name in ("VERSION", "PATCHLEVEL")]
    return ".".join(m.group(1) for m in found if m) if all(found) else None


def default_target(root: Path, version: str | None) -> str:
    """The tree's own version if that and its headers have dma_map_phys(), else the first that does."""
    lacks = lacking(root)
    own = version is not None and lacks == () and release(version) >= FIRST
    return version if own and version is not None else ".".join(map(str, FIRST))


def lacking(root: Path) -> tuple[str, ...] | None:
    """What the kernel's header has not of the API that rewrites use, in the order of a backport; None without a
    header.
    """
    try:
        text = (root / "include/linux/dma-mapping.h").read_text("utf-8", "replace")
    except OSError:
        return None
    return tuple(name for name in _API if re.search(rf"\b{name}\b", text) is None)


def about_target(root: Path, target: str, given: bool) -> str:
    """Why rewrites are for `target`, and what the tree needs for them; "" where that goes without saying, or nothing is
    known of it.
    """
    lacks, version = lacking(root), tree_version(root)
    which = f"this is {version}, and it" if version else "this tree"
    if lacks:
        return (
            f"{root}: {which} has no {', '.join(lacks)}: rewrites are for {target}, and build only where that is "
            f"backported,"
            " in this order; patch --compat writes them for both"
        )
    if lacks == () and version is not None and release(version) < FIRST and not given:
        return f"{root}: {which} has dma_map_phys() as a backport: rewrites are proved with the model of {target}"
    return ""


def wanted(rules: Iterable[Rule], knowledge: Knowledge, pages: bool = False) -> prefilter.Wanted:
    """The identifiers without which no rule can find anything in a file."""
    api = knowledge.api
    ours = None if pages else True
    lives = {*api.named("map", ours), *api.named("unmap", ours)}
    asked = {rule.id for rule in rules}
    result: set[str] = {name for rule in rules for name in rule.callee}
    for found, _ in DETECTORS:
        if asked & {*found}:
            result |= WORDS.get(found, lives)
    if "renamed-dma-internal" in asked:
        result |= {other for name in api.renamed for other in renamed.spellings(name)}
    result |= {renamed.OPS} if "legacy-dma-ops" in asked else set()
    given = asked & {*stored.RULES}
    result |= {*stored.WORDS, *(name for name, sink in api.sinks.items() if sink.typed)} if given else set()
    result |= {*lives, *api.named("map_sg"), *api.named("unmap_sg")} if pages else set()
    sinks = tuple(name for name, sink in api.sinks.items() if not sink.typed)
    pairs: list[tuple[tuple[str, ...], tuple[str, ...]]] = [(stored.SOURCES, sinks)] if given else []
    pairs += [(page_calls.callees(api), knowledge.io_calls)] if "page-api-on-mmio" in asked else []
    return prefilter.Wanted(tuple(sorted(result)), tuple(pairs))


def scan(options: Options, progress: Progress | None = None) -> Report:
    """Run a scan. Raises UsageError for a path that does not exist or a folder without C files."""
    started = time.monotonic()
    root, facts = roots(options.tree, options.paths)
    version = tree_version(facts or root)
    target = options.target or default_target(facts or root, version)
    files, scripts, left_out = _files(options, root)
    needed = wanted(options.rules, options.knowledge, options.pages)
    if progress is not None:
        progress(0, 0, f"looking into {len(files):,} files")
    on_disk = [path for path in files if not options.overlay or relative_to(path, root) not in options.overlay]
    kept = _kept(options, root, target) if facts is None else None  # what was read of two trees is not told apart
    found, unreadable = (prefilter.holding if kept is None else kept.holding)(on_disk, needed, options.jobs)
    relative = list(dict.fromkeys(relative_to(path, root) for path in found))
    if options.overlay:
        asked_for = {relative_to(path, root) for path in files}
        relative += [path for path in holding(options.overlay, needed) if path in asked_for]
    unread = [*left_out, *unreadable]
    skipped = [Skipped(relative_to(one.path, root), one.reason) for one in unread]
    unjudged = any(one.missed for one in unread)
    findings: list[Finding] = []
    overlay = dict(options.overlay)
    # what has most to read first, so that no process is left with it at the end
    groups = sorted(modules(Tree(root, overlay=overlay), relative), key=lambda files: -_size(root, files))
    judge = Judge(work(options, root, target), options.limits, overlay, kept is not None, time.time_ns())
    for result in _results(judge, groups, options.jobs, kept, progress):
        findings += result.findings
        skipped += result.skipped
        unjudged = unjudged or bool(result.skipped)
    named = [relative_to(path, root) for path in scripts]
    findings += _in_scripts(options, root, named, target)
    # the other half of a life may stand in a file that names no call of a rule's
    asked = [path.resolve() for path in options.paths] if options.only is None else []
    elsewhere = {f.span.path for f in findings} - set(relative)
    inside = [path for path in elsewhere if any((root / path).is_relative_to(one) for one in asked)]
    ordered = ordered_findings(findings, (*relative, *inside, *named), options.level)
    return Report(
        options.version, str(root), version, target, ordered, tuple(sorted(set(skipped), key=lambda s: (s.path,
        s.reason))),
        len(files), len(relative), time.monotonic() - started, lines(Tree(root, overlay=overlay), ordered),
        unjudged=unjudged,
    )  # fmt: skip


def _kept(options: Options, root: Path, target: str) -> Answers | None:
    """What is kept of this tree for what is asked; None where nothing is to be, or not all is asked of what is on
    disk.
    """
    if options.keeping is None or options.overlay or options.only is not None:
        return None
    asked = (options.version, options.rules, options.knowledge, options.budget, target, options.pages)
    return Answers(options.keeping, root, asked)


def _results(
    judge: Judge, groups: list[tuple[str, ...]], jobs: int, kept: Answers | None, progress: Progress | None
) -> Iterator[Result]:
    """What is found in each module: what is kept of it, else what judging it says, which is kept then."""
    held = {files: kept.get(files) for files in groups} if kept is not None else {}
    known = [result for result in held.values() if result is not None]
    left = [files for files in groups if held.get(files) is None]
    yield from known
    if progress is not None:
        progress(len(known), len(groups), left[0][0] if left else "")
    try:
        for number, answer in enumerate(processes.each(judge, left, jobs, judge.lost, outside=True)):
            if kept is not None and answer.taken is not None:
                kept.put(left[number], answer.result, answer.taken)
            if progress is not None:
                progress(len(known) + number + 1, len(groups), left[number + 1][0] if number + 1 < len(left) else "")
            yield answer.result
    finally:
        if kept is not None:
            kept.end()


def _files(options: Options, root: Path) -> tuple[list[str], list[str], list[prefilter.Unread]]:
    """The C files to look into, the scripts if a rule is about them, and what is left out. Raises UsageError for a path
    that does not exist or holds neither.
    """
    if options.only is not None:
        return [str(root / path) for path in options.only], [], []
    scripts = probes.SUFFIXES if any(rule.id == probes.RULE for rule in options.rules) else ()
    for path in options.paths:
        if path.is_file() and not path.name.endswith((*SUFFIXES, *scripts)):
            raise UsageError(f"{path}: no C file; name .c or .h files, or folders (Rust drivers are not judged)")
    files, left_out = prefilter.c_files(options.paths, root, (*SUFFIXES, *scripts))
    sources = [path for path in files if path.endswith(SUFFIXES)]
    left_out = [one for one in left_out if not one.path.endswith(scripts)] if scripts else left_out
    if not sources and not left_out and not (files and all(path.is_file() for path in options.paths)):
        raise UsageError(f"{', '.join(map(str, options.paths))}: holds no C files; name a driver's folder or file")
    return sources, [path for path in files if not path.endswith(SUFFIXES)], left_out


def _in_scripts(options: Options, root: Path, scripts: list[str], target: str) -> Iterator[Finding]:
    rule = next((rule for rule in options.rules if rule.id == probes.RULE), None)
    for found in probes.find(root, scripts, options.knowledge.api.renamed.values(), target) if rule is not None else ():
        if rule is not None:
            yield renamed.finding(rule, found)


def holding(overlay: Mapping[str, bytes], needed: prefilter.Wanted) -> list[str]:
    """The files of an overlay that hold what is wanted."""
    told = needed.told()
    return [path for path, data in sorted(overlay.items()) if told(data)]


def ordered_findings(findings: Iterable[Finding], paths: Iterable[str], level: Level) -> tuple[Finding, ...]:
    """The findings on `paths`, from `level` on, in the order of a report."""
    wanted = set(paths)
    kept = [f for f in findings if f.span.path in wanted and _ORDER[f.level] >= _ORDER[level]]
    return tuple(sorted(_numbered(kept), key=lambda f: (f.span.path, f.span.line, f.span.column, f.rule)))


def work(options: Options, root: Path, target: str) -> Work:
    """What judges the modules of one tree."""
    facts = roots(options.tree, options.paths)[1]
    return Work(root, options.rules, options.knowledge, options.budget, target, options.pages, facts)


def trace(place: str, argument: int | None, tree: Path | None, knowledge: Knowledge, budget: Budget) -> Origin:
    """Where the value at `place`, FILE:LINE or FILE:LINE:COLUMN (both from 1), comes from.

    Raises UsageError for a place that does not exist or holds nothing to trace.
    """
    found = re.fullmatch(r"(.+?):(\d+)(?::(\d+))?", place, re.DOTALL)
    if found is None:
        raise UsageError(f"{place}: not a place; write it as FILE:LINE or FILE:LINE:COLUMN")
    file = Path(found[1])
    if not file.is_file():
        raise UsageError(f"{file}: no such file; name one that exists")
    root, facts = roots(tree, (file,))
    line = int(found[2]), int(found[3]) if found[3] else None
    return processes.apart(_Tracer(root, knowledge, budget, line, argument, facts), file, _lost_trace)


@dataclass(frozen=True)
class _Tracer:
    """Traces what is at one place: line and column, from 1, of which call the argument, from 0."""

    root: Path
    knowledge: Knowledge
    budget: Budget
    line: tuple[int, int | None]
    argument: int | None
    facts: Path | None

    def __call__(self, file: Path) -> Origin:
        """Where the value in this file comes from."""
        sys.setrecursionlimit(max(sys.getrecursionlimit(), _DEPTH))
        engine = Engine(Tree(self.root, facts=self.facts), self.knowledge, self.budget)
        unit = engine.tree.unit(relative_to(str(file), self.root))
        if unit is None:
            raise UsageError(f"{file}: cannot be read as C source; name a .c or .h file")
        limits = Limits()
        try:
            with processes.limited(limits.seconds, limits.megabytes):
                return engine.origins.of(place_of.at(engine.api, unit, self.line, self.argument))
        except (processes.OverBudget, RecursionError) as error:
            raise UsageError(f"{file}: {reason(error)}") from None


def _lost_trace(file: Path, why: str) -> Origin:
    raise UsageError(f"{file}: {why}")


def relative_to(path: str, root: Path) -> str:
    """`path` as reports name it: relative to the tree, with forward slashes."""
    absolute = os.path.realpath(path)
    inside = os.path.relpath(absolute, root)
    return absolute if inside.startswith("..") else inside.replace(os.sep, "/")


def modules(tree: Tree, files: Iterable[str]) -> list[tuple[str, ...]]:
    """The files in groups that are judged together: by module."""
    groups: dict[str, list[str]] = {}
    for path in files:
        groups.setdefault(tree.module(path), []).append(path)
    return [tuple(group) for _, group in sorted(groups.items())]


def _numbered(findings: Iterable[Finding]) -> list[Finding]:
    """Tell findings with one fingerprint apart by their order."""
    seen: dict[str, int] = {}
    result: list[Finding] = []
    for finding in sorted(findings, key=lambda f: (f.span.path, f.span.start, f.rule)):
        count = seen[finding.fingerprint] = seen.get(finding.fingerprint, 0) + 1
        result.append(finding if count == 1 else replace(finding, fingerprint=f"{finding.fingerprint}-{count}"))
    return result


def lines(tree: Tree, findings: Iterable[Finding]) -> dict[tuple[str, int], str]:
    """The source lines that the findings stand on."""
    result: dict[tuple[str, int], str] = {}
    for finding in findings:
        unit = tree.unit(finding.span.path)
        if unit is not None:
            result[finding.span.path, finding.span.line] = unit.source.line_text(finding.span.line)
    return result


@lru_cache(maxsize=1)
def _shared(root: Path, begun: int) -> Shared:
    """What this process has read of the kernel at `root` for the scan that was begun then."""
    del root, begun
    return Shared()


@dataclass(frozen=True)
class Answer:
    """What is found in a module, and what was read for it; None where it would not be found again for certain."""

    result: Result
    taken: Taken | None = None


@dataclass(frozen=True)
class Judge:
    """Judges one module after the other, each within `limits`; a process of its own may do so.

    `keeps` asks for what was read; `begun` tells one scan from the next.
    """

    work: Work
    limits: Limits
    overlay: dict[str, bytes] = field(default_factory=dict)
    keeps: bool = False
    begun: int = 0

    def __call__(self, files: tuple[str, ...]) -> Answer:
        """What is found in a module. Where that goes wrong its files are judged one by one: one of them costs no other
        its findings.
        """
        reads = Reads()
        try:
            result = self._within(files, self.limits.seconds, reads)
            return Answer(result, reads.taken(_shared(self.work.root, self.begun).told) if self.keeps else None)
        except (Exception, processes.OverBudget) as error:
            if len(files) == 1:
                return Answer(Result([], [Skipped(files[0], reason(error))]))
        left = self.limits.seconds
        alone: list[Result] = []
        for file in files:
            started = time.process_time()
            try:
                if left <= 0:
                    raise processes.OverBudget(f"its module takes more than {self.limits.seconds:g} s of CPU time")
                alone.append(self._within((file,), min(left, self.limits.seconds / 4), Reads()))
            except (Exception, processes.OverBudget) as error:
                alone.append(Result([], [Skipped(file, reason(error))]))
            left -= time.process_time() - started
        return Answer(_together(alone))

    def _within(self, files: tuple[str, ...], seconds: float, reads: Reads) -> Result:
        """One module, begun anew, so that its budgets and answers depend on nothing before it. Raises whatever goes
        wrong.
        """
        sys.setrecursionlimit(max(sys.getrecursionlimit(), _DEPTH))
        with processes.limited(seconds, self.limits.megabytes):
            shared = None if self.overlay else _shared(self.work.root, self.begun)
            tree = Tree(self.work.root, self.overlay, shared, reads, self.work.facts)
            return self.work.module(Engine(tree, self.work.knowledge, self.work.budget), files).result

    def lost(self, files: tuple[str, ...], why: str) -> Answer:
        """What is said of a module that the process judging it did not survive: its files are judged one by one."""
        if len(files) == 1:
            return Answer(Result([], [Skipped(files[0], why)]))
        return Answer(_together([processes.apart(self, (file,), self.lost).result for file in files]))


def _together(results: list[Result]) -> Result:
    return Result([f for one in results for f in one.findings], [s for one in results for s in one.skipped])


def reason(error: BaseException) -> str:
    """Why a file could not be judged, in one line."""
    if os.environ.get(DEBUG):
        sys.stderr.write("".join(traceback.format_exception(error)))
    match error:
        case processes.OverBudget():
            return f"could not be judged: {error}"
        case RecursionError():
            return "nested too deeply to be judged"
        case MemoryError():
            return "could not be judged: there is not enough memory"
    said = " ".join(str(error).split())
    return f"could not be judged: {type(error).__name__}: {said[:200]}; please report it"


def _size(root: Path, files: tuple[str, ...]) -> int:
    """How many bytes there are to read; a file that is gone meanwhile, or only in an overlay, counts for none."""
    total = 0
    for path in files:
        with contextlib.suppress(OSError):
            total += (root / path).stat().st_size
    return total
