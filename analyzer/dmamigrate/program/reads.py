# SPDX-License-Identifier: GPL-2.0-only
"""What was read for an answer: whoever reads the same again gets the same answer.

A file that is not there, or cannot be read, counts as read too: an answer may rest on that.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dmamigrate.syntax.source import SUFFIXES

# What stat says of a file or folder: device, inode, size in bytes, times of the last change and of the last status
# change in ns.
Stamp = tuple[int, int, int, int, int]
NOTHING = b""
# What a Makefile further up includes to build a folder's module.
PARTS = ".Kbuild"
_BYTES = 16


class Seen(NamedTuple):
    """What stood at a path: a digest, NOTHING for what cannot be read, and its stamp when it was opened, None
    without.
    """

    digest: bytes
    stamp: Stamp | None


UNREADABLE = Seen(NOTHING, None)


@dataclass(frozen=True)
class Group:
    """What was read together, by path from the root of the tree: files and folders."""

    files: Mapping[str, Seen]
    folders: Mapping[str, Seen]
    digest: bytes


def digest_of(data: bytes) -> bytes:
    """What stands for the content of a file."""
    return hashlib.sha256(data).digest()[:_BYTES]


def digest_of_names(files: Iterable[str], folders: Iterable[str]) -> bytes:
    """What stands for the listing of a folder: its C files, the parts of Makefiles, and its folders, each sorted."""
    return digest_of(b"\0".join(os.fsencode(name) for name in (*files, "//", *folders)))


def stamp_of(status: os.stat_result) -> Stamp:
    """What tells whether something was changed."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def group_of(files: Mapping[str, Seen], folders: Mapping[str, Seen]) -> Group:
    """What was read, with a digest of all of it."""
    told = hashlib.sha256()
    for kind, seen in (("f", files), ("d", folders)):
        for path in sorted(seen):
            told.update(kind.encode() + os.fsencode(path) + b"\0" + seen[path].digest + b"\0")
    return Group(files, folders, told.digest()[:_BYTES])


@dataclass(frozen=True, slots=True)
class Listing:
    """The C files and the subfolders of a folder, sorted, the files as a set, and the parts of Makefiles."""

    files: tuple[str, ...]
    folders: tuple[str, ...]
    names: frozenset[str]
    parts: tuple[str, ...]
    seen: Seen


def listed(root: Path, folder: str, more: Iterable[str] = ()) -> Listing:
    """The C files and the folders in a folder below `root`, and `more` that are to count as such files.

    A link may lead to what comes and goes without the folder being changed, so that a folder with one has no stamp.
    """
    files: list[str] = []
    folders: list[str] = []
    parts: list[str] = []
    prefix = f"{folder}/" if folder else ""
    links = False
    stamp = None
    try:
        stamp = stamp_of(os.stat(root / folder))
        with os.scandir(root / folder) as entries:
            for entry in entries:
                links = links or entry.is_symlink()
                if entry.name.endswith(SUFFIXES) and entry.is_file():
                    files.append(prefix + entry.name)
                elif entry.name.endswith(PARTS) and entry.is_file():
                    parts.append(prefix + entry.name)
                elif entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                    folders.append(prefix + entry.name)
    except OSError:
        stamp = None
    files += [path for path in more if path not in files]
    held, inner, built = tuple(sorted(files)), tuple(sorted(folders)), tuple(sorted(parts))
    seen = Seen(digest_of_names((*held, *built), inner), None if links else stamp)
    return Listing(held, inner, frozenset(files), built, seen)


@dataclass(frozen=True, slots=True)
class Taken:
    """All that was read for an answer; of its `groups` those that were not handed out before are in `new`."""

    files: Mapping[str, Seen]
    folders: Mapping[str, Seen]
    groups: tuple[bytes, ...]
    new: tuple[Group, ...]


@dataclass(slots=True)
class Reads:
    """What was read so far: single files and folders, and groups by their digests."""

    files: dict[str, Seen] = field(default_factory=dict)
    folders: dict[str, Seen] = field(default_factory=dict)
    groups: dict[bytes, Group] = field(default_factory=dict)
    _inner: list[tuple[dict[str, Seen], dict[str, Seen]]] = field(default_factory=list)

    def file(self, path: str, seen: Seen) -> None:
        """A file was read."""
        (self._inner[-1][0] if self._inner else self.files)[path] = seen

    def folder(self, path: str, seen: Seen) -> None:
        """A folder was listed."""
        (self._inner[-1][1] if self._inner else self.folders)[path] = seen

    def group(self, group: Group) -> None:
        """All of a group was read."""
        if self._inner:
            self._inner[-1][0].update(group.files)
            self._inner[-1][1].update(group.folders)
        else:
            self.groups[group.digest] = group

    @contextmanager
    def together(self) -> Iterator[list[Group]]:
        """What is read in the block is one group, which is in the list when the block has ended."""
        made: list[Group] = []
        self._inner.append(({}, {}))
        try:
            yield made
        finally:
            made.append(group_of(*self._inner.pop()))

    def taken(self, known: set[bytes]) -> Taken:
        """All that was read, without the groups in `known`, to which the others are added."""
        new = tuple(group for digest, group in self.groups.items() if digest not in known)
        known.update(self.groups)
        return Taken(self.files, self.folders, tuple(self.groups), new)
