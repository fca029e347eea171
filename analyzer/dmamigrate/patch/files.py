# SPDX-License-Identifier: GPL-2.0-only
"""Writing files so that a reader sees the old one or the new one, whatever happens in between."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from dmamigrate.errors import UsageError


def replace(file: Path, data: bytes) -> None:
    """Put `data` in the place of `file`, whole or not at all; mode and links are kept. Raises UsageError if that fails."""
    commit([stage(file, data)])


def stage(file: Path, data: bytes) -> tuple[Path, Path]:
    """Write `data` beside `file`; the pair is for `commit`. Raises UsageError, and leaves nothing, if that fails."""
    target = file.resolve()
    part: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        part = Path(name)
        with os.fdopen(descriptor, "wb") as output:
            output.write(data)
            output.flush()
            os.fsync(output.fileno())
        if target.exists():
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
        if isinstance(error, OSError):
            raise UsageError(f"{file}: {error.strerror or error}; nothing was changed") from error
        raise
    return part, target


def stage_all(files: Iterable[tuple[Path, bytes]]) -> list[tuple[Path, Path]]:
    """Stage several files; if one cannot be, none is."""
    staged: list[tuple[Path, Path]] = []
    try:
        for file, data in files:
            staged.append(stage(file, data))
    except BaseException:
        discard(staged)
        raise
    return staged


def discard(staged: Iterable[tuple[Path, Path]]) -> None:
    """Drop what was staged and not committed."""
    for part, _ in staged:
        part.unlink(missing_ok=True)


def commit(staged: list[tuple[Path, Path]]) -> None:
    """Move what was staged into place, file by file, each at once."""
    try:
        while staged:
            part, target = staged[0]
            os.replace(part, target)
            staged.pop(0)
    except OSError as error:
        raise UsageError(
            f"{staged[0][1]}: {error.strerror}; the files before it are done, the others as they were"
        ) from error
    finally:
        discard(staged)


def into(folder: Path, files: Iterable[tuple[str, bytes]]) -> list[str]:
    """Write files by name into `folder`, which is made if need be; returns their paths. Raises UsageError if that fails."""
    held = list(files)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        old = [file for file in folder.iterdir() if file.suffix == ".patch" and file.name not in dict(held)]
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}; name a folder that can be written") from error
    if old:
        raise UsageError(f"{folder}: holds {old[0].name} of another series; name an empty folder")
    commit(stage_all((folder / name, data) for name, data in held))
    return [str(folder / name) for name, _ in held]
