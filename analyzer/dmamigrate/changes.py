# SPDX-License-Identifier: GPL-2.0-only
"""What somebody else's change makes of the files it names: patches, mails, a folder of them, a commit or a range of
commits.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dmamigrate import git
from dmamigrate.errors import UsageError
from dmamigrate.syntax.source import contents

# Before and after by path, None where there is no file.
Files = dict[str, tuple[bytes | None, bytes | None]]
# Ranges of lines, first and last, from 1.
Lines = tuple[tuple[int, int], ...]

_PATCHES = (".patch", ".diff", ".mbox", ".mbx", ".eml")
_SOURCES = ("*.c", "*.h")


@dataclass(frozen=True)
class Change:
    """A change as a whole, however many mails or commits it comes in.

    `files` are the files before and after, a renamed one under both names; `renames` has the old name by the new one,
    of copies too; `lines` the lines of each new file that the change touched. `applied` tells that the tree holds the
    change already: `before` is what the tree was without it.
    """

    files: Files
    renames: dict[str, str] = field(default_factory=dict)
    lines: dict[str, Lines] = field(default_factory=dict)
    applied: bool = False


@dataclass(frozen=True, slots=True)
class _Patch:
    """One patch, and what it is called in messages."""

    name: str
    text: bytes


def changed_files(what: str, root: Path, stdin: Callable[[], bytes]) -> Files:
    """The files of `change`, before and after."""
    return change(what, root, stdin).files


def change(what: str, root: Path, stdin: Callable[[], bytes]) -> Change:
    """What `what` changes in the tree at `root`.

    That is a patch, a mail or a mailbox, - for one on standard input, a folder of such files, a commit, REV..REV or
    REV...REV; of commits only the C files. Raises UsageError for what is none of these, for a patch that does not
    apply, and for one that names a file outside of the tree.
    """
    file = Path(what)
    if what == "-" or file.exists():
        return _applied(what, root, stdin)
    if git.root(root) is None:
        raise UsageError(f"{what}: no such file; name a patch, or a commit of a tree that is under git")
    before, after = git.commits(root, what)
    return _made(git.changed(root, before, after, _SOURCES))


def _made(pairs: list[git.Pair], applied: bool = False) -> Change:
    files: Files = {pair.path: (None if pair.old_path else pair.before, pair.after) for pair in pairs}
    for pair in pairs:
        if pair.moved and pair.old_path is not None:
            files.setdefault(pair.old_path, (pair.before, None))
    renames = {pair.path: pair.old_path for pair in pairs if pair.old_path is not None}
    return Change(files, renames, {pair.path: pair.lines for pair in pairs if pair.after is not None}, applied)


def _applied(what: str, root: Path, stdin: Callable[[], bytes]) -> Change:
    """What patches change: applied in a repository of our own, to what they name of the tree; nothing else is read or
    written.
    """
    with git.scratch(root if git.root(root) is not None else None) as repository:
        patches = [one for name, text in _texts(what, stdin) for one in _patches(repository, name, text)]
        if not patches:
            raise UsageError(f"{what}: changes no file; give a patch as git format-patch writes it")
        named = [(patch, repository.named(patch.text)) for patch in patches]
        for patch, paths in named:
            for path in paths:
                refuse_outside(root, path, patch.name)
        here = {path: _read(root, path) for path in dict.fromkeys(path for _, paths in named for path in paths)}
        base = repository.commit([git.Commit("base", {path: data for path, data in here.items() if data is not None})])[
            0
        ]
        if _apply(repository, patches, base):
            return _made(repository.pairs(base, repository.tree()))
        if _undone(repository, patches, base):
            return _made(repository.pairs(repository.tree(), base), applied=True)
        _merge(repository, patches, base)
        pairs = repository.pairs(base, repository.tree())
        if not pairs:
            raise UsageError(f"{what}: the tree has all of it already; name the commit that it became")
        return _made(pairs)


def _texts(what: str, stdin: Callable[[], bytes]) -> list[tuple[str, bytes]]:
    """The files that `what` is, and what they hold."""
    if what == "-":
        return [("standard input", stdin())]
    file = Path(what)
    if not file.is_dir():
        return [(what, _held(file))]
    found = sorted(one for one in file.rglob("*") if one.suffix in _PATCHES and one.is_file())
    if not found:
        raise UsageError(
            f"{what}: holds no patches; name a folder of files as git format-patch writes them, or one of them"
        )
    return [(str(one), _held(one)) for one in found]


def _held(file: Path) -> bytes:
    try:
        # a pipe is as good as a file, if it is named
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}; name a patch that can be read") from error


def _patches(repository: git.Scratch, name: str, text: bytes) -> list[_Patch]:
    if text.startswith((b"diff --git", b"--- ")):
        return [_Patch(name, text)]
    if not text.strip():
        return []
    mails = repository.mails(text)
    return [
        _Patch(f"{name}, mail {number} of {len(mails)} ({subject})" if len(mails) > 1 else name, patch)
        for number, (subject, patch) in enumerate(mails, 1)
    ]


def refuse_outside(root: Path, path: str, patch: str = "the patch") -> None:
    """Raise UsageError unless `path`, as a patch names it, is a place in the tree at `root` and no way out of it."""
    parts = path.split("/")
    if path.startswith("/") or ".." in parts or "." in parts or "" in parts:
        raise UsageError(f"{patch}: names {path}, which is outside of the tree; nothing was read")
    if any(part.lower() in (".git", "git~1") for part in parts):
        raise UsageError(f"{patch}: names {path}, a file of git's own; nothing was read")
    real = os.path.realpath(root)
    for count in range(1, len(parts) + 1):
        if os.path.islink(os.path.join(real, *parts[:count])):
            raise UsageError(f"{patch}: names {path}, which is or goes through a symbolic link; nothing was read")


def _read(root: Path, path: str) -> bytes | None:
    """What the tree has at `path`, None if nothing. Raises UsageError for what is no file that can be read."""
    try:
        return contents(root / path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}; the patch changes it, and it cannot be read") from error


def _apply(repository: git.Scratch, patches: list[_Patch], base: str) -> bool:
    """Apply patches as they are, or with the mail's line ends taken off; whether they all do."""
    repository.take(base)
    try:
        for patch in patches:
            try:
                repository.apply(patch.text)
            except git.GitError:
                if b"\r\n" not in patch.text:
                    raise
                repository.apply(patch.text.replace(b"\r\n", b"\n"))
    except git.GitError:
        return False
    return True


def _undone(repository: git.Scratch, patches: list[_Patch], base: str) -> bool:
    """Whether the tree holds all the patches already: they can be taken off it, last one first, which is done."""
    repository.take(base)
    try:
        for patch in reversed(patches):
            repository.apply(patch.text, "-R")
    except git.GitError:
        return False
    return True


def _merge(repository: git.Scratch, patches: list[_Patch], base: str) -> None:
    """Apply patches, where need be by what they were made upon. Raises UsageError that names the first one that does
    not apply.
    """
    repository.take(base)
    for patch in patches:
        try:
            repository.apply(patch.text)
        except git.GitError as error:
            try:
                repository.apply(patch.text, "--3way")
            except git.GitError:
                raise UsageError(
                    f"{patch.name}: {error}; name the tree that it is for with --tree, or the commit that it became"
                ) from error
