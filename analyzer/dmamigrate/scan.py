# SPDX-License-Identifier: GPL-2.0-only
"""A scan: which files, in which processes, and the report of what was found."""

from __future__ import annotations

import os
import re
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from dmamigrate import match, processes
from dmamigrate.errors import UsageError
from dmamigrate.findings import Finding, Level, Origin, Progress, Report, Skipped
from dmamigrate.judge import Result, Work
from dmamigrate.lives import pair as lifecycle
from dmamigrate.lives.detect import p2p, page_api
from dmamigrate.program.questions import Budget
from dmamigrate.program.tree import Tree
from dmamigrate.rules import Rule
from dmamigrate.syntax import prefilter
from dmamigrate.syntax.unit import Unit
from dmamigrate.values.knowledge import Knowledge
from dmamigrate.values.origins import Tracer

# What a file must name for an analysis to have anything to look at.
_WORDS: dict[str, tuple[str, ...]] = {
    "lives": (*lifecycle.MAPS, *lifecycle.UNMAPS),
    "p2p": p2p.WORDS,
    "page-api": page_api.WORDS,
    "dma-address-stores": ("sg_dma_address", "dma_address"),
}
# With which environment variable tracebacks are shown; a process that judges inherits it.
DEBUG = "DMAMIGRATE_DEBUG"
# Nesting that is judged: long else-if chains and sums nest as deep as they are long.
_DEPTH = 20_000
_ORDER = {Level.NOTE: 0, Level.WARNING: 1, Level.ERROR: 2}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one module may cost: CPU seconds, and megabytes beside what is in use when it begins."""

    seconds: float = 10.0
    megabytes: int = 220


@dataclass(frozen=True)
class Options:
    """What a scan is asked to do."""

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


def find_tree(paths: Iterable[Path]) -> Path:
    """The kernel root above the first path; where there is none, the working folder if it holds all paths, else their own."""
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


def tree_version(root: Path) -> str | None:
    """The version that the kernel's Makefile states, such as "7.3"; None if there is none."""
    try:
        text = (root / "Makefile").read_text("utf-8", "replace")[:2000]
    except OSError:
        return None
    found = [re.search(rf"^{name}\s*=\s*(\d+)", text, re.MULTILINE) for name in ("VERSION", "PATCHLEVEL")]
    return ".".join(m.group(1) for m in found if m) if all(found) else None


def default_target(root: Path, version: str | None) -> str:
    """The tree's own version if it has dma_map_phys(), else the first that does."""
    header = root / "include/linux/dma-mapping.h"
    try:
        has_phys = "dma_map_phys" in header.read_text("utf-8", "replace")
    except OSError:
        has_phys = False
    return version if has_phys and version else "6.18"


def words(rules: Iterable[Rule], pages: bool = False) -> tuple[str, ...]:
    """The identifiers without which no rule can find anything in a file."""
    result: set[str] = {*lifecycle.PAGE_MAPS, *lifecycle.PAGE_UNMAPS} if pages else set()
    for rule in rules:
        result |= {*rule.callee, *_WORDS.get(rule.analysis or "", ())}
    return tuple(sorted(result))


def scan(options: Options, progress: Progress | None = None) -> Report:
    """Run a scan. Raises UsageError for a path that does not exist or a folder without C files."""
    started = time.monotonic()
    root = (options.tree or find_tree(options.paths)).resolve()
    version = tree_version(root)
    target = options.target or default_target(root, version)
    files, left_out = prefilter.c_files(options.paths, root)
    if not files and not left_out:
        raise UsageError(f"{', '.join(map(str, options.paths))}: holds no C files; name a driver's folder or file")
    found, unreadable = prefilter.holding(files, words(options.rules, options.pages), options.jobs)
    relative = list(dict.fromkeys(relative_to(path, root) for path in found))
    unread = [*left_out, *unreadable]
    skipped = [Skipped(relative_to(one.path, root), one.reason) for one in unread]
    unjudged = any(one.missed for one in unread)
    findings: list[Finding] = []
    groups = modules(Tree(root), relative)
    for done, result in enumerate(_run(Judge(work(options, root, target), options.limits), groups, options.jobs), 1):
        findings += result.findings
        skipped += result.skipped
        unjudged = unjudged or bool(result.skipped)
        if progress is not None:
            progress(done, len(groups))
    # the other half of a life may stand in a file that names no call of a rule's
    asked = [path.resolve() for path in options.paths]
    elsewhere = {f.span.path for f in findings} - set(relative)
    inside = [path for path in elsewhere if any((root / path).is_relative_to(one) for one in asked)]
    ordered = ordered_findings(findings, (*relative, *inside), options.level)
    return Report(
        options.version, str(root), version, target, ordered, tuple(sorted(set(skipped), key=lambda s: (s.path, s.reason))),
        len(files), len(relative), time.monotonic() - started, lines(Tree(root), ordered), unjudged=unjudged,
    )  # fmt: skip


def ordered_findings(findings: Iterable[Finding], paths: Iterable[str], level: Level) -> tuple[Finding, ...]:
    """The findings on `paths`, from `level` on, in the order of a report."""
    wanted = set(paths)
    kept = [f for f in findings if f.span.path in wanted and _ORDER[f.level] >= _ORDER[level]]
    return tuple(sorted(_numbered(kept), key=lambda f: (f.span.path, f.span.line, f.span.column, f.rule)))


def work(options: Options, root: Path, target: str) -> Work:
    """What judges the modules of one tree."""
    return Work(root, options.rules, options.knowledge, options.budget, target, options.pages)


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
    root = (tree or find_tree((file,))).resolve()
    tracer = Tracer(Tree(root), knowledge, budget)
    unit = tracer.tree.unit(relative_to(str(file), root))
    if unit is None:
        raise UsageError(f"{file}: cannot be read as C source; name a .c or .h file")
    sys.setrecursionlimit(max(sys.getrecursionlimit(), _DEPTH))
    fn, node, expr = match.at(unit, int(found[2]), int(found[3]) if found[3] else None, argument)
    return tracer.origin(fn, node, expr)


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


@cache
def _kernel_headers(root: Path) -> dict[str, Unit | None]:
    """The headers below include/ that this process has read: every module asks for the same ones."""
    del root
    return {}


@dataclass(frozen=True)
class Judge:
    """Judges one module after the other, each within `limits`; a process of its own may do so."""

    work: Work
    limits: Limits

    def __call__(self, files: tuple[str, ...]) -> Result:
        """What is found in a module. Where that goes wrong its files are judged one by one: one of them costs no other its findings."""
        try:
            return self._within(files, self.limits.seconds)
        except (Exception, processes.OverBudget) as error:
            if len(files) == 1:
                return Result([], [Skipped(files[0], reason(error))])
        left = self.limits.seconds
        result = Result([], [])
        for file in files:
            started = time.process_time()
            try:
                if left <= 0:
                    raise processes.OverBudget(f"its module takes more than {self.limits.seconds:g} s of CPU time")
                alone = self._within((file,), min(left, self.limits.seconds / 4))
            except (Exception, processes.OverBudget) as error:
                alone = Result([], [Skipped(file, reason(error))])
            left -= time.process_time() - started
            result = Result([*result.findings, *alone.findings], [*result.skipped, *alone.skipped])
        return result

    def _within(self, files: tuple[str, ...], seconds: float) -> Result:
        """One module, begun anew, so that its budgets and answers depend on nothing before it. Raises whatever goes wrong."""
        sys.setrecursionlimit(max(sys.getrecursionlimit(), _DEPTH))
        with processes.limited(seconds, self.limits.megabytes):
            tree = Tree(self.work.root, shared=_kernel_headers(self.work.root))
            return self.work.module(Tracer(tree, self.work.knowledge, self.work.budget), files)

    @staticmethod
    def lost(files: tuple[str, ...]) -> Result:
        """What is said of a module that the process judging it did not survive."""
        return Result([], [Skipped(path, "the process that judged it died") for path in files])


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


def _run(judge: Judge, groups: list[tuple[str, ...]], jobs: int) -> Iterator[Result]:
    def size(files: tuple[str, ...]) -> int:
        return sum(_size(judge.work.root / path) for path in files)

    # what has most to read first, so that no process is left with it at the end
    yield from processes.each(judge, sorted(groups, key=size, reverse=True), jobs, judge.lost)


def _size(file: Path) -> int:
    """How many bytes a file has; none if it is gone meanwhile."""
    try:
        return file.stat().st_size
    except OSError:
        return 0
