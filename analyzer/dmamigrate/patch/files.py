# SPDX-License-Identifier: GPL-2.0-only
"""Writing files so that a reader sees the old one or the new one, whatever happens in between."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dmamigrate.errors import UsageError

_PREFIX, _SUFFIX = ".dmamigrate-", ".part"


@dataclass(frozen=True, slots=True)
class Staged:
    """What will stand at `target`, written to `part` beside it; `lock` is held open, so that no other run takes it for
    left over.
    """

    part: Path
    target: Path
    lock: int


def replace(file: Path, data: bytes) -> None:
    """Put `data` in the place of `file`, whole or not at all; mode and links are kept.

    A pipe, a terminal or another device is written to and stays what it is. Raises UsageError if that fails.
    """
    if _is_stream(file):
        _write_to(file, data)
    else:
        commit([stage(file, data)])


def _is_stream(file: Path) -> bool:
    """Whether something is there that is to be written to, not replaced; /dev/stdout is, even if it leads to a file."""
    try:
        return not stat.S_ISREG(file.stat().st_mode) or os.path.abspath(file).startswith(("/dev/", "/proc/"))
    except OSError:
        return False  # staging says what is wrong with it


def _write_to(file: Path, data: bytes) -> None:
    try:
        mode = file.stat().st_mode
        if stat.S_ISBLK(mode):
            raise UsageError(f"{file}: is a disk; name a file")
        with open(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY), "wb") as output:
            output.write(data)
    except OSError as error:
        raise UsageError(
            f"{file}: {error.strerror or error}; name a file or something that can be written to"
        ) from error


def stage(file: Path, data: bytes) -> Staged:
    """Write `data` beside `file`, for `commit`. Raises UsageError, and leaves nothing, if that fails."""
    target = file.resolve()
    part: Path | None = None
    descriptor = -1
    try:
        _clean(target.parent)
        part, descriptor = _create(target.parent)
        with open(descriptor, "wb", closefd=False) as output:
            output.write(data)
            output.flush()
            os.fsync(descriptor)
        if target.exists():
            if not target.is_file():
                raise PermissionError(1, "is no regular file")
            if not os.access(target, os.W_OK):
                raise PermissionError(13, "not writable")
            os.chmod(part, target.stat().st_mode & 0o7777)
        else:
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(part, 0o666 & ~mask)
    except BaseException as error:
        if part is not None:
            part.unlink(missing_ok=True)
        if descriptor >= 0:
            os.close(descriptor)
        if isinstance(error, OSError):
            raise UsageError(f"{file}: {error.strerror or error}; nothing was changed") from error
        raise
    return Staged(part, target, descriptor)


def _create(folder: Path) -> tuple[Path, int]:
    """A new file to write to, locked. Its name is short, since the one that it will take may be as long as names can
    be.
    """
    while True:
        descriptor, name = tempfile.mkstemp(prefix=_PREFIX, suffix=_SUFFIX, dir=folder)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return Path(name), descriptor
        os.close(descriptor)  # somebody cleaned up before the lock was ours


def _clean(folder: Path) -> None:
    """Remove what a run that was killed left in `folder`: nobody holds the lock of it any more."""
    for left in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        try:
            descriptor = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink(missing_ok=True)
        except OSError:
            pass  # of a run that goes on, or not ours to remove
        finally:
            os.close(descriptor)


def stage_all(files: Iterable[tuple[Path, bytes]]) -> list[Staged]:
    """Stage several files; if one cannot be, none is."""
    staged: list[Staged] = []
    try:
        for file, data in files:
            staged.append(stage(file, data))
    except BaseException:
        discard(staged)
        raise
    return staged


def discard(staged: Iterable[Staged]) -> None:
    """Drop what was staged and not committed."""
    for one in staged:
        one.part.unlink(missing_ok=True)
        os.close(one.lock)


def commit(staged: list[Staged]) -> None:
    """Move what was staged into place, file by file, each at once."""
    try:
        while staged:
            os.replace(staged[0].part, staged[0].target)
            os.close(staged.pop(0).lock)
    except OSError as error:
        raise UsageError(
            f"{staged[0].target}: {error.strerror}; the files before it are done, the others as they were"
        ) from error
    finally:
        discard(staged)


def place(series: str, name: str) -> str:
    """Where a mail goes below the folder that a run writes to: one of several series has a folder of its own."""
    return f"{series}/{name}" if series else name


def into(folder: Path, files: Iterable[tuple[str, bytes]]) -> list[str]:
    """Write files by name into `folder` and those below it, which are made if need be; returns their paths.

    Raises UsageError if that fails, or if patches of another series are there.
    """
    held = list(files)
    names = {name for name, _ in held}
    try:
        for below in sorted({(folder / name).parent for name in names}):
            below.mkdir(parents=True, exist_ok=True)
        old = sorted(file for file in folder.rglob("*.patch") if file.relative_to(folder).as_posix() not in names)
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}; name a folder that can be written") from error
    if old:
        raise UsageError(f"{folder}: holds {old[0].name} of another series; name an empty folder")
    commit(stage_all((folder / name, data) for name, data in held))
    return [str(folder / name) for name, _ in held]
