# SPDX-License-Identifier: GPL-2.0-only
"""From what the user asks for, and what is set for the project, to a report: selection, change, baseline, ignores."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dmamigrate import answers, baseline, config, rules, touched
from dmamigrate import scan as scans
from dmamigrate.errors import UsageError
from dmamigrate.findings import Level, Progress, Report, Silenced
from dmamigrate.model.versions import release
from dmamigrate.program.queries import Budget
from dmamigrate.rules import Rule
from dmamigrate.values.knowledge import Knowledge

# How much of the usual budget a trace may spend.
_EFFORTS = {"low": 0.25, "normal": 1.0, "high": 4.0}


@dataclass(frozen=True)
class Request:
    """What the command line gave; None, or nothing, is for the configuration to say."""

    paths: tuple[Path, ...] = ()
    tree: Path | None = None
    target: str | None = None
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    level: str | None = None
    pages: bool | None = None
    effort: str | None = None
    jobs: int | None = None
    sources: tuple[Path, ...] = ()
    rules: Path | None = None
    staged: bool = False
    since: str | None = None
    everything: bool = False
    baseline: Path | None = None
    stdin_name: Path | None = None
    cache: bool | None = None
    verify_cache: bool = False

    def words(self) -> tuple[str, ...]:
        """The words of a command line that asks about the same findings."""
        given: list[tuple[str, object]] = [
            ("--since", self.since), ("--baseline", self.baseline), ("--level", self.level), ("--tree", self.tree),
            ("--target", self.target), ("--rules", self.rules), ("--effort", self.effort),
        ]  # fmt: skip
        several = (("--select", self.select), ("--ignore", self.ignore), ("--sources", self.sources))
        given += [(option, one) for option, values in several for one in values]
        flags = [word for word, on in (("--staged", self.staged), ("--pages", self.pages)) if on]
        options = [word for option, value in given if value is not None for word in (option, str(value))]
        return (*map(str, self.paths), *flags, *options)


@dataclass(frozen=True)
class Outcome:
    """A report, and what is to be said beside it, a line each."""

    report: Report
    said: tuple[str, ...] = ()


def settings(paths: tuple[Path, ...]) -> config.Settings:
    """What is set for the first path."""
    return config.load(paths[0] if paths else Path(), os.environ)


def budget(effort: str) -> Budget:
    """What a trace may spend."""
    usual = Budget()
    spent = {f.name: max(1, int(getattr(usual, f.name) * _EFFORTS[effort])) for f in dataclasses.fields(usual)}
    return Budget(**spent)


def known_rules(folder: Path | None) -> tuple[Rule, ...]:
    """The rules that come with the tool, and those of a folder, which stand in for one of the same name."""
    found = {rule.id: rule for rule in rules.load()}
    if folder is not None:
        inner = folder / "migrate" if (folder / "migrate").is_dir() else folder
        files = sorted(inner.glob("*.toml"))
        if not files:
            raise UsageError(
                f"{folder}: holds no rules; --rules takes a folder of .toml files as rules/migrate has them"
            )
        found |= {rule.id: rule for rule in map(rules.read, files)}
    return tuple(found[name] for name in sorted(found))


def table(sources: tuple[Path, ...], folder: Path | None = None) -> Knowledge:
    """What calls and kernel interfaces mean, with the tables of the user's own."""
    try:
        return rules.tables((folder,) if folder is not None else (), sources)
    except RecursionError as error:
        raise UsageError("--sources: a table is nested too deeply; rules/sources has the format") from error


def folder_of(tree: Path | None) -> Path | None:
    """A kernel root that is there. Raises UsageError for one that is not."""
    if tree is not None and not tree.is_dir():
        raise UsageError(f"{tree}: no such folder; --tree takes the root of a kernel tree")
    return tree


def target_of(target: str | None) -> str | None:
    """A version that has the API. Raises UsageError for one that has not."""
    if target is not None and release(target) < (6, 18):
        raise UsageError(f"{target}: dma_map_phys() is new in 6.18; give --target 6.18 or newer")
    return target


def options(asked: Request, held: config.Settings, version: str) -> scans.Options:
    """The scan that is asked for."""

    def value(name: str, given: Any = None) -> Any:
        return held.value(name, given)

    tables = table(value("sources", asked.sources) or (), value("rules", asked.rules))
    known = rules.checked(known_rules(value("rules", asked.rules)), tables.api)
    return scans.Options(
        paths=asked.paths or (Path(),),
        rules=rules.select(known, value("select", asked.select) or (), value("ignore", asked.ignore) or ()),
        knowledge=tables,
        tree=folder_of(value("tree", asked.tree)),
        target=target_of(value("target", asked.target)),
        level=Level(value("level", asked.level)),
        jobs=value("jobs", asked.jobs) or os.cpu_count() or 1,
        budget=budget(value("effort", asked.effort)),
        pages=value("pages", asked.pages),
        version=version,
        keeping=answers.Keeping(answers.folder(), asked.verify_cache) if value("cache", asked.cache) else None,
    )


def run(
    asked: Request, held: config.Settings, version: str, stdin: Callable[[], bytes], progress: Progress | None
) -> Outcome:
    """Do what is asked. Raises UsageError for what makes no sense."""
    if asked.staged and asked.since:
        raise UsageError("--staged and --since do not go together; give one of them")
    scan = options(asked, held, version)
    root, facts = scans.roots(scan.tree, scan.paths)
    said: list[str] = []
    changed: set[str] | None = None
    if asked.stdin_name is not None or [str(path) for path in asked.paths] == ["-"]:
        report = _standard_input(asked, scan, stdin(), progress)
    elif asked.staged or asked.since:
        change = touched.staged(root) if asked.staged else touched.since(root, asked.since or "")
        changed = set(change.files)
        said += [
            f"{path}: may be included by other drivers, which are not judged; scan the tree"
            for path in touched.beyond(root, change)
        ]
        report = touched.scan(scan, change, asked.everything, progress)
    else:
        report = scans.scan(scan, progress)
    if any(f.rewrite.status == "proposed" for f in report.findings):
        said += [text for text in (scans.about_target(facts or root, report.target, scan.target is not None),) if text]
    if (
        any(f.origin is not None and not f.origin.certain for f in report.findings)
        and not ((facts or root) / "include/linux").is_dir()
    ):
        said.append(
            f"{root}: has no kernel headers, so what they define is not known, and rewrites are for {report.target};"
            " --tree names a kernel tree"
        )
    report = _without_ignored(report, held.ignores, scan.rules)
    file = held.value("baseline", asked.baseline)
    if file is not None:
        within = [path.resolve() for path in scan.paths]

        def covered(path: str) -> bool:
            if changed is not None:
                return path in changed
            return any((root / path).is_relative_to(one) for one in within)

        report, gone = baseline.apply(report, baseline.read(file), covered)
        if gone:
            said.append(f"{file}: {len(gone)} of its findings are mended or gone; --write-baseline takes them out:")
            said += [f"  {entry.path}: {entry.function}(): {entry.rule}" for entry in gone]
    return Outcome(report, tuple(said))


def _standard_input(asked: Request, scan: scans.Options, data: bytes, progress: Progress | None) -> Report:
    """Judge one file as an editor holds it, in the place of the one of that name."""
    if [str(path) for path in asked.paths] != ["-"] or asked.stdin_name is None:
        raise UsageError("- reads one file from standard input; name it: scan - --stdin-filename drivers/foo/foo.c")
    if asked.staged or asked.since:
        raise UsageError("- goes neither with --staged nor with --since; leave one out")
    if b"\0" in data:
        raise UsageError(f"{asked.stdin_name}: standard input holds NUL bytes, so it is not C source")
    name = asked.stdin_name
    root = scans.roots(scan.tree, (name.parent,))[0]
    path = scans.relative_to(str(name), root)
    only = replace(scan, paths=(name.parent,), overlay={path: data}, only=(path,))
    return scans.scan(only, progress)


def _without_ignored(report: Report, ignores: tuple[config.Ignore, ...], known: tuple[Rule, ...]) -> Report:
    """The report without what the configuration says, with a reason, is not to be shown."""
    if not ignores:
        return report
    everything = known_rules(None)
    meant = [
        (one, {name for rule in one.rules for name in rules.named((*everything, *known), rule)}) for one in ignores
    ]
    root = Path(report.root)
    kept, silenced = [], []
    for finding in report.findings:
        file = root / finding.span.path
        why = next(
            (one.reason for one, names in meant if one.covers(file) and (not names or finding.rule in names)), None
        )
        if why is None:
            kept.append(finding)
        else:
            silenced.append(Silenced(finding, f"ignored: {why}"))
    return replace(report, findings=tuple(kept), silenced=(*report.silenced, *silenced))
