# SPDX-License-Identifier: GPL-2.0-only
"""What only git can say; the one module that runs it."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from dmamigrate.errors import UsageError


def run(folder: Path, *words: str, data: bytes | None = None, alone: bool = False) -> bytes:
    """What `git WORDS` prints in `folder`; with `alone`, whatever repository is around it.

    Raises UsageError with git's own first line if it fails or is not there.
    """
    environment = os.environ | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    if alone:
        environment |= {
            "GIT_CEILING_DIRECTORIES": str(folder.parent),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
        }
    try:
        done = subprocess.run(
            ["git", *words], cwd=folder, input=data, capture_output=True, env=environment, check=False
        )
    except FileNotFoundError as error:
        raise UsageError("git: not found; install it, or leave out what needs it") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise UsageError(f"git {words[0]}: {said[0].removeprefix('error: ').removeprefix('fatal: ')}")
    return done.stdout


def _asked(folder: Path, *words: str) -> str | None:
    """The same as text, None if git has no answer."""
    try:
        return run(folder, *words).decode("utf-8", "replace").strip()
    except UsageError:
        return None


def root(folder: Path) -> Path | None:
    """The top of the work tree that holds `folder`, None outside of one."""
    found = _asked(folder, "rev-parse", "--show-toplevel")
    return Path(found) if found else None


def head(folder: Path) -> str | None:
    """The commit that is checked out, None without one."""
    return _asked(folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")


def identity(folder: Path) -> tuple[str, str]:
    """The user's name and address. Raises UsageError if git knows none."""
    name, address = _asked(folder, "config", "user.name"), _asked(folder, "config", "user.email")
    if not name or not address:
        raise UsageError("git knows no user.name and user.email; set them with `git config --global`")
    return name, address


def dirty(folder: Path, paths: Iterable[str]) -> list[str]:
    """Which of `paths`, relative to `folder`, differ from what is committed; none outside of a work tree."""
    if root(folder) is None:
        return []
    listed = run(folder, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=no", "--", *paths)
    return [entry[3:].decode("utf-8", "surrogateescape") for entry in listed.split(b"\0") if entry]


def subjects(folder: Path, paths: Iterable[str]) -> list[str]:
    """The subjects of the latest commits to `paths`, newest first, merges and reverts left out."""
    said = _asked(folder, "log", "-n", "40", "--no-merges", "--format=%s", "--", *paths)
    return [line for line in (said or "").splitlines() if not line.startswith("Revert")]


def content(folder: Path, commit: str, path: str) -> bytes | None:
    """The file at `path` as of `commit`, None if it has none."""
    try:
        return run(folder, "show", f"{commit}:./{path}")
    except UsageError:
        return None


def commits(folder: Path, revision: str) -> tuple[str, str]:
    """What `REV` or `REV..REV` compares: the commit before and the one after. Raises UsageError for an unknown one."""
    first, dots, last = revision.partition("..")
    before, after = (first or "HEAD", last or "HEAD") if dots else (f"{revision}^", revision)
    resolved = [_asked(folder, "rev-parse", "--verify", "--quiet", f"{one}^{{commit}}") for one in (before, after)]
    if not dots and resolved[1] and not resolved[0]:
        resolved[0] = _asked(folder, "hash-object", "-t", "tree", os.devnull)  # the first commit has nothing before it
    if not resolved[0] or not resolved[1]:
        raise UsageError(f"{revision}: no such file or commit; name a patch, a commit, or REV..REV")
    return resolved[0], resolved[1]


def changed(folder: Path, before: str, after: str) -> list[str]:
    """The files below `folder` that two commits do not share, by their paths in it."""
    listed = run(folder, "diff", "--name-only", "--no-renames", "-z", "--relative", before, after)
    return [name.decode("utf-8", "surrogateescape") for name in listed.split(b"\0") if name]


def patches(text: bytes) -> list[bytes]:
    """The patches in `text`, in order: one as it is, or those of the mails in a mailbox, decoded."""
    if text.startswith((b"diff --git", b"--- ")):
        return [text]
    with tempfile.TemporaryDirectory(prefix="dmamigrate-") as name:
        folder = Path(name).resolve()
        (folder / "mbox").write_bytes(text)
        (folder / "mails").mkdir()
        count = int(run(folder, "mailsplit", "-b", "--keep-cr", "-omails", "mbox", alone=True))
        result = []
        for mail in sorted((folder / "mails").iterdir())[:count]:
            run(folder, "mailinfo", "--quoted-cr=nowarn", "message", "patch", data=mail.read_bytes(), alone=True)
            result.append((folder / "patch").read_bytes())
    return [one for one in result if re.search(rb"^(?:@@ |diff --git )", one, re.MULTILINE)]


_FROM = re.compile(rb"^(?:rename|copy) from (.+)$", re.MULTILINE)


def _named(folder: Path, text: bytes) -> list[str]:
    """The files that a patch names, of a renamed or copied one both names."""
    listed = run(folder, "apply", "--numstat", "-z", "-p1", data=text, alone=True)
    # a rename has no name behind its counts, but two entries of their own
    names = [entry.split(b"\t", 2)[2] if entry.count(b"\t") >= 2 else entry for entry in listed.split(b"\0")]
    names += [_unquoted(found.rstrip(b"\r")) for found in _FROM.findall(text)]
    return list(dict.fromkeys(name.decode("utf-8", "surrogateescape") for name in names if name))


def _unquoted(name: bytes) -> bytes:
    """A file name as git means it that puts unusual ones in quotes, with the escapes of C."""
    if not (len(name) > 1 and name.startswith(b'"') and name.endswith(b'"')):
        return name
    known = {b"a": b"\a", b"b": b"\b", b"t": b"\t", b"n": b"\n", b"v": b"\v", b"f": b"\f", b"r": b"\r"}

    def meant(found: re.Match[bytes]) -> bytes:
        code = found.group(1)
        return bytes([int(code, 8) & 0xFF]) if code.isdigit() else known.get(code, code)

    return re.sub(rb"\\([0-7]{1,3}|.)", meant, name[1:-1])


def apply(
    texts: Iterable[bytes], read: Callable[[str], bytes | None], check: Callable[[str], None]
) -> dict[str, tuple[bytes | None, bytes | None]]:
    """What patches make of the files they name: before and after by path, None where there is no file.

    `read` gives the content of a file, None if there is none; `check` raises for a path that is not to be touched, and is asked
    of every path of all patches before anything is read. Nothing but a private scratch folder is written. Raises UsageError if
    a patch does not apply.
    """
    result: dict[str, tuple[bytes | None, bytes | None]] = {}
    held = list(texts)
    with tempfile.TemporaryDirectory(prefix="dmamigrate-") as name:
        folder = Path(name).resolve()
        named = [_named(folder, text) for text in held]
        for path in (path for several in named for path in several):
            check(path)
        for text, paths in zip(held, named, strict=True):
            for path in paths:
                if path not in result:
                    before = read(path)
                    result[path] = before, before
                    if before is not None:
                        (folder / path).parent.mkdir(parents=True, exist_ok=True)
                        (folder / path).write_bytes(before)
            run(folder, "apply", "--whitespace=nowarn", "-p1", data=text, alone=True)
        for path, (before, _) in list(result.items()):
            file = folder / path
            result[path] = before, file.read_bytes() if file.is_file() else None
    return result
