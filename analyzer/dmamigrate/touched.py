# SPDX-License-Identifier: GPL-2.0-only
"""What git says changed, and the findings that such a change touches: those it brought, and those whose calls it
edits.
"""

from __future__ import annotations

import contextlib
import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from dmamigrate import git
from dmamigrate import scan as scans
from dmamigrate.errors import UsageError
from dmamigrate.findings import Finding, Progress, Report, unplaced
from dmamigrate.program.tree import Tree

_C = ("*.c", "*.h")


@dataclass(frozen=True)
class Change:
    """A change of the files below a tree's root, by their paths in it.

    `files` gives each changed file that is still there the path that it had before, None for a new one. `before` and
    `after` are the contents to read instead of those on disk, on either side; an empty one stands for no file.
    """

    files: Mapping[str, str | None]
    before: Mapping[str, bytes]
    after: Mapping[str, bytes]


def staged(root: Path) -> Change:
    """What the index has over the last commit. Raises UsageError outside of a git work tree."""
    top = _inside(root, "--staged")
    base = git.head(root) or git.run(root, "hash-object", "-t", "tree", "/dev/null").decode().strip()
    files, gone = _named(git.run(root, *_DIFF, "--cached", base, "--", *_C))
    # the index is what will be committed: what else the work tree has is not looked at
    differing = _split(git.run(root, "diff", "--name-only", "-z", "--no-renames", "--relative", "--", *_C))
    folders = sorted({path.rpartition("/")[0] for path in files})
    loose = (
        _untracked(root, [f"{folder}/{kind}" if folder else kind for folder in folders for kind in _C]) if files else []
    )
    after = {**dict.fromkeys(loose, b""), **_contents(root, top, {path: f":{top}{path}" for path in differing})}
    return Change(
        files, _before(root, top, base, files, gone) | {p: d for p, d in after.items() if p not in files}, after
    )


def since(root: Path, revision: str) -> Change:
    """What the work tree has over the commit where it left `revision`. Raises UsageError for an unknown one."""
    top = _inside(root, "--since")
    try:
        commit = git.commits(root, f"{revision}..HEAD")[0]
    except UsageError as error:
        raise UsageError(
            f"{revision}: no such commit here; --since takes a commit or a branch that git knows"
        ) from error
    # histories without a common commit, or a shallow clone: the revision itself
    with contextlib.suppress(UsageError):
        commit = git.run(root, "merge-base", commit, "HEAD").decode().strip()
    files, gone = _named(git.run(root, *_DIFF, commit, "--", *_C))
    files |= dict.fromkeys(_untracked(root, _C))
    return Change(files, _before(root, top, commit, files, gone), {})


_DIFF = ("diff", "--name-status", "-z", "--find-renames", "--relative", "--no-ext-diff")


def _inside(root: Path, option: str) -> str:
    """The path of `root` in its repository, "" at the top, else with a slash behind it."""
    if git.root(root) is None:
        raise UsageError(f"{root}: is not under git, which {option} asks; leave it out, or use --baseline")
    return git.run(root, "rev-parse", "--show-prefix").decode("utf-8", "surrogateescape").rstrip("\n")


def _split(listed: bytes) -> list[str]:
    return [name.decode("utf-8", "surrogateescape") for name in listed.split(b"\0") if name]


def _untracked(root: Path, patterns: Iterable[str]) -> list[str]:
    return _split(git.run(root, "ls-files", "--others", "--exclude-standard", "-z", "--", *patterns))


def _named(listed: bytes) -> tuple[dict[str, str | None], list[str]]:
    """The files of `git diff --name-status -z`: each that is there with its path before, and those that are gone."""
    words = iter(_split(listed))
    files: dict[str, str | None] = {}
    gone: list[str] = []
    for status in words:
        path = next(words)
        match status[0]:
            case "R" | "C":
                files[next(words)] = path
            case "D":
                gone.append(path)
            case "A":
                files[path] = None
            case _:
                files[path] = path
    return files, gone


def _before(root: Path, top: str, commit: str, files: Mapping[str, str | None], gone: list[str]) -> dict[str, bytes]:
    old = {path for path in files.values() if path is not None} | set(gone)
    held = _contents(root, top, {path: f"{commit}:{top}{path}" for path in sorted(old)})
    return {**dict.fromkeys(files, b""), **held}


def _contents(root: Path, top: str, objects: Mapping[str, str]) -> dict[str, bytes]:
    """The content of objects by path, empty where git has none."""
    if not objects:
        return {}
    asked = [(path, name) for path, name in objects.items() if "\n" not in name]
    said = git.run(
        root, "cat-file", "--batch", data="".join(f"{n}\n" for _, n in asked).encode("utf-8", "surrogateescape")
    )
    result: dict[str, bytes] = {}
    at = 0
    for path, _ in asked:
        end = said.index(b"\n", at)
        head = said[at:end].rsplit(b" ", 2)
        at = end + 1
        result[path] = b""
        if len(head) == 3 and head[1] == b"blob":
            size = int(head[2])
            result[path] = said[at : at + size]
            at += size + 1
    return result


def scan(options: scans.Options, change: Change, everything: bool, progress: Progress | None = None) -> Report:
    """Judge the modules that a change is part of, and keep what it touches; with `everything`, all that is found
    there.
    """
    root = scans.roots(options.tree, options.paths)[0]
    asked = [path.resolve() for path in options.paths]
    files = {path for path in change.files if any((root / path).is_relative_to(one) for one in asked)}
    tree = Tree(root, overlay=dict(change.after))
    judged = _of_modules(tree, files)
    after = scans.scan(replace(options, overlay=change.after, only=judged), progress)
    if everything or not after.findings:
        return after
    # what was found before is shown only where its own calls, or what leads to them, were edited
    there = tuple(sorted({f.span.path for f in after.findings}))
    old = {new: was for new, was in change.files.items() if was is not None}
    sites = _of_modules(Tree(root, overlay=dict(change.before)), {old.get(path, path) for path in there})
    before = scans.scan(replace(options, overlay=change.before, only=sites))
    known = Counter(_key(f, {was: new for new, was in old.items()}) for f in before.findings)
    touched = _Touched(root, change)
    kept = []
    for finding in after.findings:
        key = _key(finding, {})
        known[key] -= 1
        if known[key] < 0 or touched.by(finding):
            kept.append(finding)
    return replace(after, findings=tuple(kept))


def beyond(root: Path, change: Change) -> list[str]:
    """The changed headers that more than one driver may include; who includes them is not looked for."""
    tree = Tree(root, overlay=dict(change.after))
    return [
        path for path in sorted(change.files) if path.endswith(".h") and not tree.is_driver_folder(tree.module(path))
    ]


def _of_modules(tree: Tree, files: Iterable[str]) -> tuple[str, ...]:
    """The files, and those that are built into one module with one of them: a life may be there that it takes part
    in.
    """
    found = set(files)
    for folder in {tree.module(path) for path in found}:
        if tree.is_driver_folder(folder):
            found.update(tree.below(folder, 4000))
    return tuple(sorted(found))


def _key(finding: Finding, renamed: Mapping[str, str]) -> tuple[str, ...]:
    """What a finding is recognised by on both sides of a change."""
    path = renamed.get(finding.span.path, finding.span.path)
    return finding.rule, path, finding.function, finding.callee, unplaced(finding.message)


class _Touched:
    """Which lines of which file a change wrote, asked for as they are needed."""

    def __init__(self, root: Path, change: Change) -> None:
        self._root = root
        self._change = change
        self._lines: Callable[[str], frozenset[int]] = cache(self._compared)

    def _content(self, path: str) -> bytes:
        if path in self._change.after:
            return self._change.after[path]
        try:
            return (self._root / path).read_bytes()
        except OSError:
            return b""

    def _compared(self, path: str) -> frozenset[int]:
        if path not in self._change.files:
            return frozenset()
        was = self._change.files[path]
        old = self._change.before.get(was, b"").splitlines() if was is not None else []
        new = self._content(path).splitlines()
        # an edit that only indents again, or moves a line end, is none
        pairs = difflib.SequenceMatcher(
            None, [b" ".join(x.split()) for x in old], [b" ".join(x.split()) for x in new], False
        )
        return frozenset(
            line + 1 for tag, _, _, low, high in pairs.get_opcodes() if tag != "equal" for line in range(low, high)
        )

    def by(self, finding: Finding) -> bool:
        """Whether a line was written that the finding stands on, or one of its calls, or of the steps to it."""
        return any(line in self._lines(path) for path, line in self._places(finding))

    def _places(self, finding: Finding) -> Iterator[tuple[str, int]]:
        spans = [finding.span, *(partner.span for partner in finding.partners)]
        for span in spans:
            if self._lines(span.path):
                yield from (
                    (span.path, line)
                    for line in range(span.line, _end(self._content(span.path), span.end, span.end_line) + 1)
                )
        branches = finding.origin.branches if finding.origin is not None else ()
        for step in (*finding.trail, *(step for branch in branches for step in branch.steps)):
            yield step.path, step.line


def _end(data: bytes, offset: int, line: int) -> int:
    """The line on which the call ends whose name ends at `offset`, on `line`."""
    depth = 0
    for found in re.finditer(rb"[()\n;{}]", data[offset : offset + 4000]):
        match found[0]:
            case b"(":
                depth += 1
            case b")":
                depth -= 1
                if depth <= 0:
                    return line
            case b"\n":
                line += 1
            case _:
                return line
    return line
