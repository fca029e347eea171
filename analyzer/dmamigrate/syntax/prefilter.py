# SPDX-License-Identifier: GPL-2.0-only
"""Which files are worth opening: those that hold one of a few identifiers. Reading is all this costs."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dmamigrate import processes
from dmamigrate.errors import UsageError
from dmamigrate.syntax.source import SUFFIXES, contents

_SKIPPED_FOLDERS = frozenset({".git", ".venv", "node_modules", "__pycache__"})
_CHUNK = 400
_FEW = 3  # words that are looked for one by one
_LARGEST = 8 << 20  # bytes of C that can be taken apart in the memory that a scan may use


@dataclass(frozen=True, slots=True)
class Unread:
    """A file or folder that is not judged; `missed` tells that it may hold, or does hold, what was looked for."""

    path: str
    reason: str
    missed: bool = True


@dataclass(frozen=True, slots=True)
class _Holds:
    path: str


def c_files(paths: Iterable[Path], root: Path, suffixes: tuple[str, ...] = SUFFIXES) -> tuple[list[str], list[Unread]]:
    """The C files, or those of other `suffixes`, below `paths`, each path itself if it is a file, and what is left out;
    as given, sorted folder by folder.

    A link that leads out of `root` and of `paths` is left out, and so is what is no regular file. Raises UsageError for
    a path that does not exist, or that is neither file nor folder.
    """
    files: dict[str, None] = {}
    unread: dict[str, Unread] = {}
    held = list(paths)
    within = tuple(os.path.realpath(path) for path in (root, *held))
    for path in held:
        for one in _found(path, within, suffixes):
            if isinstance(one, str):
                files.setdefault(one)
            else:
                unread.setdefault(one.path, one)
    return list(files), list(unread.values())


def _found(path: Path, within: tuple[str, ...], suffixes: tuple[str, ...]) -> Iterator[str | Unread]:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file or folder; name one that exists") from error
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}; name what can be read") from error
    if stat.S_ISDIR(mode):
        yield from _below(str(path), within, suffixes)
    elif stat.S_ISREG(mode):
        yield str(path)
    else:
        raise UsageError(f"{path}: is neither a file nor a folder; name one that is")


def _below(folder: str, within: tuple[str, ...], suffixes: tuple[str, ...]) -> Iterator[str | Unread]:
    queue = [folder]
    while queue:
        current = queue.pop()
        folders: list[str] = []
        files: list[str | Unread] = []
        try:
            with os.scandir(current) as entries:
                for entry in entries:
                    if entry.name.endswith(suffixes) and not entry.is_dir(follow_symlinks=False):
                        files.append(_checked(entry, within))
                    elif entry.is_dir(follow_symlinks=False) and entry.name not in _SKIPPED_FOLDERS:
                        folders.append(entry.path)
        except OSError as error:
            if current == folder:
                raise UsageError(f"{folder}: {error.strerror or error}; name what can be read") from error
            yield Unread(current, error.strerror or str(error))
            continue
        yield from sorted(files, key=lambda one: one if isinstance(one, str) else one.path)
        queue += sorted(folders, reverse=True)


def _checked(entry: os.DirEntry[str], within: tuple[str, ...]) -> str | Unread:
    """The path of a regular file, or why it is none that is to be read."""
    try:
        if not entry.is_symlink():
            return entry.path if entry.is_file() else Unread(entry.path, "is no regular file", missed=False)
        real = os.path.realpath(entry.path, strict=True)
    except OSError as error:
        return Unread(entry.path, error.strerror or str(error), missed=False)
    if not any(real == one or real.startswith(f"{one.rstrip('/')}/") for one in within):
        return Unread(entry.path, "is a link that leads out of the tree; name the file itself", missed=False)
    return entry.path if os.path.isfile(real) else Unread(entry.path, "is no link to a regular file", missed=False)


def stems(words: Iterable[str]) -> tuple[bytes, ...]:
    """The fewest substrings such that each word holds one: looking for those first is what makes it quick."""
    remaining = sorted(set(words), key=lambda word: (len(word), word))
    chosen: list[str] = []
    for word in remaining:
        if not any(stem in word for stem in chosen):
            chosen.append(word)
    return tuple(stem.encode() for stem in chosen)


class Words:
    """Tells which texts hold one of some identifiers.

    What many of them have in common, a short piece, is looked for first, and those words only where it stands, many of
    them in the same way: most texts hold few pieces, and a search for one takes a pass over the text.
    """

    def __init__(self, words: Iterable[str]) -> None:
        chosen = sorted(set(words))
        self._ways = _ways(chosen, 3)
        self._whole = re.compile(rb"\b(?:" + b"|".join(re.escape(word.encode()) for word in chosen) + rb")\b")

    def in_(self, data: bytes) -> bool:
        """Whether `data` holds one of the words as a whole identifier."""
        return _leads(self._ways, data) and self._whole.search(data) is not None


@dataclass(frozen=True, slots=True)
class _Way:
    """A piece that words have in common, and the ways on from there; none where it is a word itself."""

    piece: bytes
    on: tuple[_Way, ...] = ()


def _ways(words: list[str], length: int) -> tuple[_Way, ...]:
    if len(words) <= _FEW:
        return tuple(_Way(stem) for stem in stems(words))
    return tuple(
        _Way(piece.encode(), _ways(held, len(piece) + 3) if piece not in held else ())
        for piece, held in by_piece(words, length).items()
    )


def _leads(ways: tuple[_Way, ...], data: bytes) -> bool:
    """Whether one of the ways leads to a word of `data`."""
    return any(way.piece in data and (not way.on or _leads(way.on, data)) for way in ways)


def by_piece(words: Iterable[str], length: int = 3) -> dict[str, list[str]]:
    """Each word under a piece that it holds, as long as all words under it have in common, of `length` characters at
    least or a whole word; few pieces in all, those that most words hold first.
    """
    left = sorted(set(words))
    chosen: dict[str, list[str]] = {}
    while left:
        pieces = Counter(
            piece for word in left for piece in {word[at : at + length] for at in range(max(1, len(word) - length + 1))}
        )
        best = max(sorted(pieces), key=lambda piece: pieces[piece])
        held = [word for word in left if best in word]
        # the longer a piece, the rarer it is, and the faster it is looked for
        chosen[_in_common(held)] = held
        left = [word for word in left if best not in word]
    return chosen


def _in_common(words: list[str]) -> str:
    """The longest text that all of some words hold, the first of several."""
    shortest = min(words, key=len)
    for size in range(len(shortest), 0, -1):
        for at in range(len(shortest) - size + 1):
            if all(shortest[at : at + size] in word for word in words):
                return shortest[at : at + size]
    return ""


@dataclass(frozen=True)
class Wanted:
    """What makes a file worth opening: one of `words`, or one of each of the two sets of a pair."""

    words: tuple[str, ...]
    pairs: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()

    def told(self) -> Callable[[bytes], bool]:
        """What tells it of the bytes of a file."""
        words = Words(self.words)
        pairs = [(Words(one), Words(other)) for one, other in self.pairs]
        return lambda data: words.in_(data) or any(one.in_(data) and other.in_(data) for one, other in pairs)


@dataclass(frozen=True)
class _Search:
    """Looks for what is wanted in files; a process of its own may do so."""

    wanted: Wanted

    def __call__(self, files: list[str]) -> list[_Holds | Unread]:
        """The files that hold a word, and those that could not be read."""
        wanted = self.wanted.told()
        found: list[_Holds | Unread] = []
        for path in files:
            try:
                data = contents(path)
            except OSError as error:
                found.append(Unread(path, error.strerror or str(error)))
                continue
            holds = wanted(data)
            if b"\0" in (data if holds else data[:4096]):
                found.append(Unread(path, "holds NUL bytes, so it is not C source", missed=holds))
            elif holds and len(data) > _LARGEST:
                found.append(Unread(path, f"is larger than {_LARGEST >> 20} MB"))
            elif holds:
                found.append(_Holds(path))
        return found

    @staticmethod
    def lost(files: list[str], why: str) -> list[_Holds | Unread]:
        """What is said of files in which the process that read them died."""
        return [Unread(path, why) for path in files]


def holding(files: list[str], wanted: Wanted, jobs: int) -> tuple[list[str], list[Unread]]:
    """The files that hold what is wanted, and those that cannot be read; in order."""
    search = _Search(wanted)
    chunks = [files[i : i + _CHUNK] for i in range(0, len(files), _CHUNK)]
    found = [one for result in processes.each(search, chunks, jobs, search.lost) for one in result]
    return [one.path for one in found if isinstance(one, _Holds)], [one for one in found if isinstance(one, Unread)]
