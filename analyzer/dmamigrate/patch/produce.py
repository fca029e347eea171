# SPDX-License-Identifier: GPL-2.0-only
"""From a report to patches: grouped by driver, written as mails, built before they leave."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from dmamigrate import git
from dmamigrate.errors import UsageError
from dmamigrate.findings import Finding, Report
from dmamigrate.patch import build, drivers, files, message
from dmamigrate.patch.change import Change, FileChange, change, together, wanted
from dmamigrate.patch.series import Patch, Series
from dmamigrate.rewrite import compat


@dataclass(frozen=True, slots=True)
class Wishes:
    """How the patches are to be made; `rules` is the folder of the tables, `build` the tree to compile in."""

    rules: Path
    by: str = "driver"
    unproved: bool = False
    compat: bool = False
    signoff: bool = False
    cover: bool = False
    recipients: bool = True
    build: Path | None = None
    jobs: int = 1


@dataclass(frozen=True, slots=True)
class Made:
    """The changes to write, and what there is to say of them, a line each."""

    changes: tuple[Change, ...]
    said: tuple[str, ...]


def changes(report: Report, wishes: Wishes) -> Made:
    """One change for each driver. Raises UsageError if a file is not what was scanned, or cannot be built at all."""
    root = Path(report.root)
    found = wanted(report.findings, wishes.unproved)
    findings = [f for f in found if not any(edit.path.startswith("/") for edit in f.rewrite.edits)]

    def read(path: str) -> bytes:
        try:
            return (root / path).read_bytes()
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}; run it again") from error

    made = [change(findings, group, read) for group in drivers.groups(root, wishes.by, together(findings))]
    if wishes.compat:
        template = (wishes.rules / "dma_map_phys_compat.h").read_text("utf-8")
        made = [_with_helpers(root, one, template) for one in made]
    left = [f for f in report.findings if f.rewrite.status != "none" and f not in findings]
    said = [f"{f.span.path}:{f.span.line}: left alone: {_why(f)}" for f in left]
    dirty = git.dirty(root, sorted({file.path for one in made for file in one.files if file.before})) if made else []
    said += [f"{path}: has changes that are not committed; the patch is made on top of them" for path in dirty]
    if wishes.build is not None and made:
        made, built = _built(made, wishes.build, wishes.jobs)
        said += built
    return Made(tuple(made), tuple(dict.fromkeys(said)))


def _why(finding: Finding) -> str:
    """Why a finding's rewrite is not written."""
    return finding.rewrite.reason or finding.verdict.reason or "the file is not in the tree"


def _with_helpers(root: Path, one: Change, template: str) -> Change:
    before = {file.path: file.before for file in one.files}
    after = compat.add({file.path: file.after for file in one.files}, template)
    for path in sorted(after.keys() - before.keys()):
        if (root / path).exists():
            if (root / path).read_bytes() != after[path]:
                raise UsageError(f"{path}: is there already and says something else; move it, or leave out --compat")
            del after[path]
    return replace(one, files=tuple(FileChange(path, before.get(path, b""), after[path]) for path in sorted(after)))


def _built(made: list[Change], tree: Path, jobs: int) -> tuple[list[Change], list[str]]:
    """The changes that do not break the build, and what became of each file."""
    with tempfile.TemporaryDirectory(prefix="dmamigrate-build-") as name:
        scratch = build.Scratch(tree, Path(name).resolve())
        scratch.prepare(jobs)
        results = list(build.check(scratch, [one.files for one in made], jobs))
    said = [
        f"{one.path}: {one.status}{f': {one.reason}' if one.reason else ''}" for several in results for one in several
    ]
    good = [
        one for one, several in zip(made, results, strict=True) if all(result.status != "broken" for result in several)
    ]
    return good, said


def in_place(report: Report, made: Made, force: bool) -> list[str]:
    """Write the changes into the tree, and return the paths.

    Raises UsageError, and changes nothing, if a file has changes that are not committed (unless `force`) or cannot be written.
    """
    root = Path(report.root)
    held = [file for one in made.changes for file in one.files]
    dirty = [] if force else git.dirty(root, [file.path for file in held if file.before]) if held else []
    if dirty:
        raise UsageError(f"{dirty[0]}: has changes that are not committed; commit them, or give --force")
    staged = files.stage_all((root / file.path, file.after) for file in held)
    files.commit(staged)
    return [file.path for file in held]


def series(report: Report, made: Made, wishes: Wishes) -> Series:
    """The changes as a series of mails. Raises UsageError if there is no identity to sign off with."""
    root = Path(report.root)
    known = git.root(root) is not None
    try:
        author = git.identity(root)
    except UsageError:
        if wishes.signoff:
            raise
        author = ("Your Name", "you@example.com")
    top = git.root(root) if known else None
    within = (
        root.relative_to(top.resolve()).as_posix() if top is not None and root.is_relative_to(top.resolve()) else "."
    )
    patches = []
    for one in made.changes:
        paths = [file.path for file in one.files if file.before]
        prefix = drivers.prefix(root, wishes.rules, paths, lambda some: git.subjects(root, some) if known else [])
        to, cc = _recipients(root, paths) if wishes.recipients else ((), ())
        # git am takes paths from the top of the repository
        moved = (
            one
            if within == "."
            else replace(one, files=tuple(replace(f, path=f"{within}/{f.path}") for f in one.files))
        )
        patches.append(Patch(message.subject(prefix, one), message.body(one, report.target), moved, to, cc))
    return Series(
        tuple(_told_apart(patches)), author, datetime.now(UTC), f"dmamigrate {report.version}", git.head(root) if known else None,
        author if wishes.signoff else None, wishes.cover, f"Linux {report.tree_version}" if report.tree_version else "",
    )  # fmt: skip


def _told_apart(patches: list[Patch]) -> Iterable[Patch]:
    """Patches with one subject for different files get the file's name in it."""
    subjects = [patch.subject for patch in patches]
    for patch in patches:
        if subjects.count(patch.subject) == 1:
            yield patch
        else:
            before, _, rest = patch.subject.rpartition(": ")
            yield replace(patch, subject=f"{before}: {Path(patch.change.files[0].path).stem}: {rest}")


def _recipients(root: Path, paths: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Whom scripts/get_maintainer.pl names for the files: maintainers, and lists; nobody if the tree has no such script."""
    script = root / "scripts/get_maintainer.pl"
    if not script.is_file():
        return (), ()
    command = ["perl", str(script), "--no-git", "--no-git-fallback", "--no-rolestats", *_files(paths)]
    found = []
    for kind in (("--no-l",), ("--no-m", "--no-r")):
        try:
            done = subprocess.run(
                [*command, *kind], cwd=root, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
            )
        except FileNotFoundError:
            return (), ()
        found.append(tuple(dict.fromkeys(line.strip() for line in done.stdout.splitlines() if "@" in line)))
    return found[0], found[1]


def _files(paths: list[str]) -> list[str]:
    return [word for path in paths for word in ("-f", path)]
