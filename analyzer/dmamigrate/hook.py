# SPDX-License-Identifier: GPL-2.0-only
"""The git hook for trees that do not use pre-commit: it judges what is staged, before each commit."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from dmamigrate import git
from dmamigrate.errors import UsageError
from dmamigrate.patch import files

_MARK = "# installed by dmamigrate"


def script() -> str:
    """The hook: the Python that installed it, or else the program that is found when it runs."""
    python = shlex.quote(os.path.abspath(sys.executable))
    return (
        f"#!/bin/sh\n{_MARK}; remove this file to be rid of it\n"
        "git diff --cached --quiet -- '*.c' '*.h' && exit 0\n"
        f"[ -x {python} ] && exec {python} -P -m dmamigrate hook run\n"
        "exec dmamigrate hook run\n"
    )


def _hooks(folder: Path) -> Path:
    """The folder that git looks for hooks in, whatever this program sets for its own calls of git."""
    top = git.root(folder) or folder
    try:
        listed = git.run(top, "config", "--show-scope", "--type=path", "--get-all", "core.hooksPath").decode()
    except UsageError:
        listed = ""  # it is not set
    named = [path for scope, _, path in (line.partition("\t") for line in listed.splitlines()) if scope != "command"]
    shared = git.run(top, "rev-parse", "--git-common-dir").decode().rstrip("\n")
    return (top / (named[-1] if named else f"{shared}/hooks")).resolve()


def install(folder: Path) -> Path:
    """Put the hook where git looks for it, and return its path.

    Raises UsageError outside of a repository, and if another hook is there.
    """
    if git.root(folder) is None:
        raise UsageError(f"{folder}: is not under git; run this in the tree whose commits are to be judged")
    file = _hooks(folder) / "pre-commit"
    if file.exists() and _MARK.encode() not in file.read_bytes():
        raise UsageError(f"{file}: another hook is there; add the line `dmamigrate hook run || exit 1` to it")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{file.parent}: {error.strerror}; nothing was installed") from error
    files.replace(file, script().encode())
    file.chmod(0o755)
    return file
