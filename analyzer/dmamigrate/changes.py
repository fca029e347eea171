# SPDX-License-Identifier: GPL-2.0-only
"""What somebody else's change makes of the files it names: a patch, a mailbox, a commit or a range of commits."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from dmamigrate import git
from dmamigrate.errors import UsageError

Files = dict[str, tuple[bytes | None, bytes | None]]


def changed_files(what: str, root: Path, stdin: Callable[[], bytes]) -> Files:
    """Each file that `what` (a patch, a mailbox, - for standard input, a commit, or REV..REV) changes: before and after.

    Raises UsageError for what is none of these, and for a patch that does not apply to the tree or names a file outside of it.
    """
    file = Path(what)
    if what == "-" or (file.exists() and not file.is_dir()):
        found = _applied(stdin() if what == "-" else file.read_bytes(), root)
        if not found:
            raise UsageError(f"{what}: changes no file; give a patch as git format-patch writes it")
    elif git.root(root) is None:
        raise UsageError(f"{what}: no such file; name a patch, or a commit of a tree that is under git")
    else:
        before, after = git.commits(root, what)
        found = {
            path: (git.content(root, before, path), git.content(root, after, path))
            for path in git.changed(root, before, after)
        }
    return found


def _applied(text: bytes, root: Path) -> Files:
    def read(path: str) -> bytes | None:
        return (root / path).read_bytes() if (root / path).is_file() else None

    def check(path: str) -> None:
        refuse_outside(root, path)

    try:
        return git.apply(git.patches(text), read, check)
    except UsageError:
        if b"\r\n" not in text:
            raise
        # the mail's line ends, not the files'
        return git.apply(git.patches(text.replace(b"\r\n", b"\n")), read, check)


def refuse_outside(root: Path, path: str) -> None:
    """Raise UsageError unless `path`, as a patch names it, is a place in the tree at `root` and no way out of it."""
    parts = path.split("/")
    if path.startswith("/") or ".." in parts or "" in parts:
        raise UsageError(f"{path}: the patch names a file outside of the tree; it is not read")
    if any(part.lower() in (".git", "git~1") for part in parts):
        raise UsageError(f"{path}: the patch names a file of git's own; it is not read")
    real = os.path.realpath(root)
    for count in range(1, len(parts) + 1):
        if os.path.islink(os.path.join(real, *parts[:count])):
            raise UsageError(f"{path}: the patch goes through a symbolic link; it is not read")
