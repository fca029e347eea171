# SPDX-License-Identifier: GPL-2.0-only
"""From a report to patches: grouped by driver, written as mails, built before they leave."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from dmamigrate import git, processes
from dmamigrate.errors import UsageError
from dmamigrate.findings import Finding, Report
from dmamigrate.patch import build, drivers, files, message
from dmamigrate.patch.change import Change, FileChange, change, together, wanted
from dmamigrate.patch.series import Base, Patch, Series
from dmamigrate.rewrite import compat
from dmamigrate.syntax.source import contents

_PATIENCE = 120  # seconds that the tree's script may take
_LISTED = 60  # lines of what was left out that a cover letter has room for


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
    reroll: int = 1


@dataclass(frozen=True, slots=True)
class Made:
    """The changes to write, what was found and is not in them, and what else there is to say, a line each.

    `broken` tells that a change was left out because it breaks the build.
    """

    changes: tuple[Change, ...]
    left: tuple[str, ...]
    said: tuple[str, ...]
    broken: bool = False


def changes(report: Report, wishes: Wishes) -> Made:
    """One change for each driver. Raises UsageError if a file is not what was scanned, or cannot be built at all."""
    root = Path(report.root)
    found = wanted(report.findings, wishes.unproved)
    findings = [f for f in found if not any(edit.path.startswith("/") for edit in f.rewrite.edits)]

    def read(path: str) -> FileChange:
        try:
            data = contents(root / path)
            return FileChange(
                path, data, data, os.access(root / path, os.X_OK) and bool((root / path).stat().st_mode & 0o100)
            )
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}; run it again") from error

    by = "file" if wishes.by == "file" else "driver"
    made = [change(findings, group, read) for group in drivers.groups(root, by, together(findings))]
    if wishes.compat:
        template = (wishes.rules / "dma_map_phys_compat.h").read_text("utf-8")
        made = [_with_helpers(root, one, template) for one in made]
    dirty = git.dirty(root, sorted({file.path for one in made for file in one.files if file.before})) if made else []
    said = [f"{one.path}: skipped: {one.reason}" for one in report.skipped]
    said += [f"{path}: has changes that are not committed; the patch is made on top of them" for path in dirty]
    kept = made
    if wishes.build is not None and made:
        kept, built = _built(root, made, wishes.build, wishes.jobs)
        said += built
    left = _left(report, {id(finding) for one in kept for finding in one.findings})
    return Made(tuple(kept), left, tuple(dict.fromkeys(said)), len(kept) < len(made))


def _left(report: Report, taken: set[int]) -> tuple[str, ...]:
    """What was found and is not in the series, a line for each place, with the reason; what never had a rewrite too."""
    moved = {(f.span.path, f.span.start) for f in report.findings if id(f) in taken}
    lines: dict[tuple[str, int], list[str]] = {}
    for finding in report.findings:
        place = finding.span.path, finding.span.start
        # of two rules that ask for one rewrite the other one is in the series too
        if id(finding) not in taken and not (place in moved and finding.rewrite.status == "proposed"):
            lines.setdefault((finding.span.path, finding.span.line), []).append(f"{finding.rule}: {_why(finding)}")
    return tuple(f"{path}:{line}: {'; '.join(dict.fromkeys(said))}" for (path, line), said in sorted(lines.items()))


def _why(finding: Finding) -> str:
    """Why a finding's rewrite is not written."""
    match finding.rewrite.status:
        case "withheld":
            return finding.rewrite.reason or "its rewrite is withheld"
        case "proposed" if finding.verdict.status == "proved":
            return "its file is not in the tree, or its driver does not compile with the change"
        case "proposed":
            return finding.verdict.reason or "its rewrite is not proved; --unproved writes it"
    return finding.message


def _with_helpers(root: Path, one: Change, template: str) -> Change:
    if any(finding.rule == message.CALLBACKS for finding in one.findings):
        files = (replace(f, after=compat.add_callbacks(f.path, f.before, f.after)) for f in one.files)
        one = replace(one, files=tuple(files))
    before = {file.path: file for file in one.files}
    after = compat.add({file.path: file.after for file in one.files}, template)
    for path in sorted(after.keys() - before.keys()):
        if (root / path).exists():
            if contents(root / path) != after[path]:
                raise UsageError(f"{path}: is there already and says something else; move it, or leave out --compat")
            del after[path]
    return replace(
        one,
        files=tuple(replace(before.get(path, FileChange(path, b"", b"")), after=after[path]) for path in sorted(after)),
    )


def _built(root: Path, made: list[Change], tree: Path, jobs: int) -> tuple[list[Change], list[str]]:
    """The changes that do not break the build, and what became of each file."""
    with processes.private_folder("build-") as folder:
        scratch = build.Scratch(tree, folder)
        own = [all(scratch.has(file.path) for file in one.files if file.before) for one in made]
        scratch.prepare(jobs)
        outside: Iterator[list[build.Built]] = iter(())
        inside = build.check(scratch, [one.files for one, here in zip(made, own, strict=True) if here], jobs)
        if not all(own):
            external = build.External(root, folder, scratch)
            outside = build.check(external, [one.files for one, here in zip(made, own, strict=True) if not here], jobs)
        results = [next(inside if here else outside) for here in own]
    said = [f"check-build: compiled in private copies by the Makefiles of {tree}, which run what they name"]
    said += [
        f"{one.path}: {one.status}{f': {one.reason}' if one.reason else ''}" for several in results for one in several
    ]
    good = [
        one for one, several in zip(made, results, strict=True) if all(result.status != "broken" for result in several)
    ]
    return good, said


def in_place(report: Report, made: Made, force: bool) -> list[str]:
    """Write the changes into the tree, and return the paths.

    Raises UsageError, and changes nothing, if a file has changes that are not committed (unless `force`) or cannot be
    written.
    """
    root = Path(report.root)
    held = [file for one in made.changes for file in one.files]
    dirty = [] if force else git.dirty(root, [file.path for file in held if file.before]) if held else []
    if dirty:
        raise UsageError(f"{dirty[0]}: has changes that are not committed; commit them, or give --force")
    staged = files.stage_all((root / file.path, file.after) for file in held)
    files.commit(staged)
    return [file.path for file in held]


def series(report: Report, made: Made, wishes: Wishes) -> tuple[list[Series], list[str]]:
    """The changes as series of mails, one, or one for each subsystem; and what there is to say of them.

    Raises UsageError if there is no identity to sign off with.
    """
    root = Path(report.root)
    author = _author(root, wishes.signoff)
    about = message.About(report.target, f"dmamigrate {report.version}", wishes.compat)
    said: list[str] = []
    top = git.root(root)
    within = (
        root.relative_to(top.resolve()).as_posix() if top is not None and root.is_relative_to(top.resolve()) else "."
    )
    base = _base(root, made, said) if top is not None else Base()
    patches: dict[str, list[Patch]] = {}
    for one in made.changes:
        paths = [file.path for file in one.files if file.before]
        prefix = drivers.prefix(
            root, wishes.rules, paths, lambda some: git.subjects(root, some) if top is not None else []
        )
        to, cc = _recipients(root, paths, said) if wishes.recipients else ((), ())
        # git am takes paths from the top of the repository
        moved = (
            one
            if within == "."
            else replace(one, files=tuple(replace(f, path=f"{within}/{f.path}") for f in one.files))
        )
        name = _slug(drivers.subsystem(root, min(paths))) if wishes.by == "subsystem" else ""
        notes = message.notes(one)
        patches.setdefault(name, []).append(
            Patch(message.subject(prefix, one), message.body(one, about), moved, notes, to, cc)
        )
    result = []
    for name, several in sorted(patches.items()):
        told = tuple(_told_apart(several))
        cover = _cover(told, made.left, about, wishes.reroll) if wishes.cover else None
        result.append(Series(told, author, about.tool, base, wishes.signoff, cover, wishes.reroll, name))
    return result, list(dict.fromkeys(said))


def _author(root: Path, signs: bool) -> tuple[str, str]:
    try:
        return git.identity(root)
    except UsageError:
        if signs:
            raise
        return "Your Name", "you@example.com"


def _base(root: Path, made: Made, said: list[str]) -> Base:
    """The commit that the changes are made upon, if the files are as it has them."""
    commit = git.head(root)
    if commit is None or git.dirty(root, sorted({file.path for one in made.changes for file in one.files})):
        return Base(root)
    public = git.public(root, commit)
    if not public:
        said.append("base-commit: left out, no remote branch or tag holds HEAD, so nobody else may have it")
    return Base(root, commit, public)


def _cover(patches: tuple[Patch, ...], left: tuple[str, ...], about: message.About, reroll: int) -> tuple[str, str]:
    shown = [*left[:_LISTED], *([f"... {len(left) - _LISTED} more"] if len(left) > _LISTED else [])]
    counts = [len(message.calls(patch.change.findings)) for patch in patches]
    subject, text = message.cover([patch.subject for patch in patches], counts, shown, about)
    return subject, f"Changes in v{reroll}:\n- \n\n{text}" if reroll > 1 else text


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower() or "other"


def _told_apart(patches: list[Patch]) -> Iterable[Patch]:
    """Patches with one subject for different files get the file's name in it."""
    subjects = [patch.subject for patch in patches]
    for patch in patches:
        if subjects.count(patch.subject) == 1:
            yield patch
        else:
            before, _, rest = patch.subject.rpartition(": ")
            yield replace(patch, subject=f"{before}: {Path(patch.change.files[0].path).stem}: {rest}")


def _recipients(root: Path, paths: list[str], said: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Whom the tree's scripts/get_maintainer.pl names for the files: maintainers, and lists; where it names nobody,
    `said` has why.
    """
    script = root / "scripts/get_maintainer.pl"
    if not script.is_file():
        said.append("recipients: none, the tree has no scripts/get_maintainer.pl")
        return (), ()
    said.append(
        "recipients: asked of the tree's own scripts/get_maintainer.pl; --no-recipients runs nothing of the tree"
    )
    command = ["perl", str(script), "--no-git", "--no-git-fallback", "--no-rolestats", *_files(paths)]
    found = []
    for kind in (("--no-l",), ("--no-m", "--no-r")):
        try:
            done = subprocess.run(
                [*command, *kind],
                cwd=root,
                capture_output=True,
                check=False,
                stdin=subprocess.DEVNULL,
                timeout=_PATIENCE,
            )
        except FileNotFoundError:
            said.append("recipients: none, perl is not there to run scripts/get_maintainer.pl")
            return (), ()
        except subprocess.TimeoutExpired:
            said.append(f"recipients: none, scripts/get_maintainer.pl takes more than {_PATIENCE} s")
            return (), ()
        lines = done.stdout.decode("utf-8", "replace").splitlines()
        found.append(tuple(dict.fromkeys(line.strip() for line in lines if "@" in line)))
        if done.returncode:
            why = (done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit status {done.returncode}"])[
                -1
            ]
            said.append(f"recipients: none for {paths[0]}: scripts/get_maintainer.pl: {why}")
            return (), ()
    if not any(found):
        said.append(f"recipients: none for {paths[0]}: scripts/get_maintainer.pl names nobody")
    return found[0], found[1]


def _files(paths: list[str]) -> list[str]:
    return [word for path in paths for word in ("-f", path)]
