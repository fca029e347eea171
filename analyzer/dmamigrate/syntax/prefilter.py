# SPDX-License-Identifier: GPL-2.0-only
"""Which files are worth opening: those that hold one of a few identifiers. Reading is all this costs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from dmamigrate.errors import UsageError

_SKIPPED_FOLDERS = frozenset({".git", ".venv", "node_modules", "__pycache__"})
_CHUNK = 400


def c_files(paths: Iterable[Path], suffixes: tuple[str, ...] = (".c", ".h")) -> Iterator[str]:
    """The C files below `paths`, each path itself if it is a file; as given, sorted folder by folder.

    Raises UsageError for a path that does not exist.
    """
    for path in paths:
        try:
            if path.is_file():
                yield str(path)
                continue
            if path.is_dir():
                yield from _below(str(path), suffixes)
                continue
        except OSError as error:
            raise UsageError(f"{error.filename}: {error.strerror}; name what can be read") from error
        raise UsageError(f"{path}: no such file or folder; name one that exists")


def _below(folder: str, suffixes: tuple[str, ...]) -> Iterator[str]:
    queue = [folder]
    while queue:
        current = queue.pop()
        folders: list[str] = []
        files: list[str] = []
        with os.scandir(current) as entries:
            for entry in entries:
                if entry.name.endswith(suffixes):
                    if entry.is_file():
                        files.append(entry.path)
                elif entry.is_dir(follow_symlinks=False) and entry.name not in _SKIPPED_FOLDERS:
                    folders.append(entry.path)
        yield from sorted(files)
        queue += sorted(folders, reverse=True)


def stems(words: Iterable[str]) -> tuple[bytes, ...]:
    """The fewest substrings such that each word holds one: looking for those first is what makes it quick."""
    remaining = sorted(set(words), key=lambda word: (len(word), word))
    chosen: list[str] = []
    for word in remaining:
        if not any(stem in word for stem in chosen):
            chosen.append(word)
    return tuple(stem.encode() for stem in chosen)


def _search(files: list[str], words: tuple[str, ...]) -> list[tuple[str, str | None]]:
    """The files that hold a word, with None, and those that could not be read, with the reason."""
    needles = stems(words)
    whole = re.compile(rb"\b(?:" + b"|".join(re.escape(word.encode()) for word in words) + rb")\b")
    found: list[tuple[str, str | None]] = []
    for path in files:
        try:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                data = os.read(descriptor, os.fstat(descriptor).st_size + 1)
            finally:
                os.close(descriptor)
        except OSError as error:
            found.append((path, error.strerror or str(error)))
            continue
        holds = any(needle in data for needle in needles) and whole.search(data) is not None
        if b"\0" in (data if holds else data[:4096]):
            found.append((path, "holds NUL bytes, so it is not C source"))
        elif holds:
            found.append((path, None))
    return found


def holding(files: list[str], words: Iterable[str], jobs: int) -> tuple[list[str], list[tuple[str, str]]]:
    """The files that hold one of `words` as an identifier, and those that cannot be read with the reason; in order."""
    wanted = tuple(sorted(set(words)))
    chunks = [files[i : i + _CHUNK] for i in range(0, len(files), _CHUNK)]
    if jobs > 1 and len(chunks) > 1:
        with ProcessPoolExecutor(jobs) as pool:
            results = list(pool.map(_search, chunks, [wanted] * len(chunks)))
    else:
        results = [_search(chunk, wanted) for chunk in chunks]
    found = [item for result in results for item in result]
    return [path for path, reason in found if reason is None], [(path, reason) for path, reason in found if reason]
