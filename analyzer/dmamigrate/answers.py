# SPDX-License-Identifier: GPL-2.0-only
"""Answers that are kept from run to run.

What is found in a module is kept with a digest of all that was read for it: files, folders, and what was not there. It
is given again only if all of that is the same, for the same tool, rules, tables and options. As in git's index, what
stat says of a file stands for its content if that is older than the run that read it by more than any clock's step;
what may have changed in the meantime is read. Which files hold a word is kept by their inodes in the same way.

Whatever is wrong with what is kept, a lock, a full disk, a damaged file, costs time and never an answer.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import hashlib
import os
import re
import sqlite3
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import platformdirs

from dmamigrate.errors import UsageError
from dmamigrate.judge import Result
from dmamigrate.program.reads import NOTHING, Group, Seen, Stamp, Taken, digest_of, listed, stamp_of
from dmamigrate.syntax import prefilter
from dmamigrate.syntax.source import contents

_STEP = 2_000_000_000  # ns that are more than any file system's clock takes to tell two changes apart
_LARGEST = 128 << 20  # bytes for one tree
_LARGEST_ALL = 512 << 20  # bytes for all trees
_FORGOTTEN = 200_000  # files whose words are remembered

_CHECK = 8  # bytes
_PARSERS = ("tree-sitter", "tree-sitter-c")  # the distributions that decide what a file means

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where answers are kept; `verify` reads every file that one rests on, whatever stat says."""

    folder: Path
    verify: bool = False


class _Held(msgspec.Struct, frozen=True):
    """Which files hold what was looked for: by inode the rest of the stamp and the answer."""

    files: dict[int, tuple[int, int, int, int, bool]]


class _Stamps(msgspec.Struct, frozen=True):
    """What the content of a path was when it had a stamp; a folder's path ends in "/"."""

    paths: dict[str, tuple[Stamp, bytes]]


class _Group(msgspec.Struct, frozen=True):
    files: dict[str, bytes]
    folders: dict[str, bytes]


class _Kept(msgspec.Struct, frozen=True):
    files: dict[str, bytes]
    folders: dict[str, bytes]
    groups: tuple[bytes, ...]
    result: msgspec.Raw


def folder() -> Path:
    """Where answers are kept for this user."""
    return platformdirs.user_cache_path("dmamigrate") / "answers"


def size(where: Path) -> int:
    """How many bytes are kept; 0 where nothing is."""
    return sum(file.stat().st_size for file in _databases(where))


def _databases(where: Path) -> list[Path]:
    """The files that hold answers, the one used last first."""
    with contextlib.suppress(OSError):
        return sorted(where.glob("*.sqlite"), key=lambda file: -file.stat().st_mtime)
    return []


class _Store:
    """Bytes by name, in one file. What goes wrong with it ends its use, and no more."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._day = int(time.time()) // 86400
        self._used: list[str] = []
        self._new: dict[str, bytes] = {}
        self._connection: sqlite3.Connection | None = None
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._connection = sqlite3.connect(file, timeout=2)
            self._connection.execute("CREATE TABLE IF NOT EXISTS kept (name TEXT PRIMARY KEY, value BLOB, day INTEGER)")
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
        if damaged:
            with contextlib.suppress(OSError):
                self._file.unlink()

    def get(self, name: str, kind: type[T]) -> T | None:
        """What is kept by a name, None without or if it cannot be understood."""
        if self._connection is None:
            return None
        try:
            row = self._connection.execute("SELECT value, day FROM kept WHERE name = ?", (name,)).fetchone()
            if row is None:
                return None
            if row[1] != self._day:
                self._used.append(name)
            told, value = row[0][:_CHECK], row[0][_CHECK:]
            if told != _check(name, value):
                return None
            return msgspec.msgpack.decode(zlib.decompress(value), type=kind)
        except sqlite3.Error as error:
            self._give_up(error)
        except (zlib.error, msgspec.MsgspecError, TypeError):
            pass
        return None

    def put(self, name: str, value: Any) -> None:
        """Keep something, once `end` is called; what cannot be written down, as names that are no Unicode, is not
        kept.
        """
        with contextlib.suppress(UnicodeEncodeError):
            data = zlib.compress(msgspec.msgpack.encode(value), 1)
            self._new[name] = _check(name, data) + data

    def end(self) -> None:
        """Write down what is new, all of it or nothing, and see that it does not grow for ever."""
        if self._connection is None:
            return
        try:
            with self._connection as connection:
                connection.executemany("UPDATE kept SET day = ? WHERE name = ?", ((self._day, n) for n in self._used))
                connection.executemany(
                    "INSERT OR REPLACE INTO kept VALUES (?, ?, ?)",
                    ((name, value, self._day) for name, value in self._new.items()),
                )
            if self._new:
                self._bound()
            self._connection.close()
            self._connection = None
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    def _bound(self) -> None:
        assert self._connection is not None
        if self._file.stat().st_size > _LARGEST:
            with self._connection as connection:
                connection.execute("DELETE FROM kept WHERE day < ?", (self._day,))
                left = connection.execute("SELECT total(length(value)) FROM kept").fetchone()[0]
                if left > _LARGEST / 2:
                    connection.execute("DELETE FROM kept")
            self._connection.execute("VACUUM")
        left = _LARGEST_ALL
        for file in _databases(self._file.parent):
            left -= file.stat().st_size
            if left < 0 and file != self._file:
                file.unlink(missing_ok=True)


class _Disk:
    """What stands at the paths of a tree now, read only where stat cannot tell."""

    def __init__(self, root: Path, known: Mapping[str, tuple[Stamp, bytes]], verify: bool) -> None:
        self.known = dict(known)
        self.learned = False
        self._root = root
        self._verify = verify
        self._started = time.time_ns()
        self._now: dict[str, bytes] = {}

    def is_calm(self, stamp: Stamp) -> bool:
        """Whether a change after this run began would show in the stamp."""
        return max(stamp[3:]) < self._started - _STEP

    def learn(self, path: str, seen: Seen) -> None:
        """What was read of a path."""
        if seen.stamp is not None and self.is_calm(seen.stamp) and self.known.get(path) != (seen.stamp, seen.digest):
            self.known[path] = (seen.stamp, seen.digest)
            self.learned = True

    def file(self, path: str) -> bytes:
        """The digest of what a file holds."""
        if path not in self._now:
            self._now[path] = self._look(path, self._read)
        return self._now[path]

    def folder(self, path: str) -> bytes:
        """The digest of what is in a folder."""
        name = f"{path}/"
        if name not in self._now:
            self._now[name] = self._look(name, lambda _: listed(self._root, path).seen)
        return self._now[name]

    def _look(self, path: str, read: Callable[[str], Seen]) -> bytes:
        try:
            stamp = stamp_of(os.stat(self._root / path))
        except OSError:
            stamp = None
        held = self.known.get(path)
        if held is not None and held[0] == stamp and not self._verify:
            return held[1]
        seen = read(path)
        self.learn(path, seen)
        return seen.digest

    def _read(self, path: str) -> Seen:
        try:
            stamp = stamp_of(os.stat(self._root / path))
            return Seen(digest_of(contents(self._root / path)), stamp)
        except OSError:
            return Seen(NOTHING, None)


class Answers:
    """What is kept of one tree, for one way of asking."""

    def __init__(self, keeping: Keeping, root: Path, asked: Iterable[object]) -> None:
        """`asked` is all that an answer depends on beside the files of the tree."""
        self._store = _Store(keeping.folder / f"{_hashed(os.fsencode(root))}.sqlite")
        self._asked = _hashed(
            repr(canonical((_code(), (root / "MAINTAINERS").exists(), *asked))).encode("utf-8", "replace")
        )
        held = self._store.get("stamps", _Stamps)
        self._disk = _Disk(root, held.paths if held is not None else {}, keeping.verify)
        self._verify = keeping.verify
        self._good: dict[bytes, bool] = {}

    def holding(
        self, files: list[str], wanted: prefilter.Wanted, jobs: int
    ) -> tuple[list[str], list[prefilter.Unread]]:
        """The files that hold what is wanted, and those that cannot be read, as prefilter.holding() tells them; in
        order.
        """
        name = f"held:{_hashed(repr((_code(), wanted)).encode())}"
        kept = self._store.get(name, _Held)
        known = dict(kept.files) if kept is not None else {}
        stamps: dict[str, Stamp] = {}
        for path in files:
            with contextlib.suppress(OSError):
                stamps[path] = stamp_of(os.stat(path))
        told: dict[str, bool] = {}
        if not self._verify:
            for path, (device, inode, *rest) in stamps.items():
                one = known.get(inode)
                if one is not None and one[:4] == (device, *rest):
                    told[path] = one[4]
        found, unread = prefilter.holding([path for path in files if path not in told], wanted, jobs)
        holds, silent = {*found}, {one.path for one in unread}
        new = {path: path in holds for path in files if path not in told and path not in silent}
        learned = {
            stamps[path][1]: (stamps[path][0], *stamps[path][2:], one)
            for path, one in new.items()
            if path in stamps and self._disk.is_calm(stamps[path])
        }
        if learned and any(known.get(inode) != one for inode, one in learned.items()):
            self._store.put(name, _Held((known if len(known) < _FORGOTTEN else {}) | learned))
        told |= new
        return [path for path in files if told.get(path)], unread

    def get(self, files: tuple[str, ...]) -> Result | None:
        """What was found in a module that holds `files`, if nothing that this rests on has changed since."""
        kept = self._store.get(self._name(files), _Kept)
        if kept is None or not (self._is_same(kept.files, kept.folders) and all(map(self._is_good, kept.groups))):
            return None
        try:
            return msgspec.msgpack.decode(kept.result, type=Result)
        except msgspec.MsgspecError:
            return None

    def put(self, files: tuple[str, ...], result: Result, taken: Taken) -> None:
        """Keep what was found, and what was read for it."""
        for group in taken.new:
            self._store.put(_group_name(group.digest), _Group(*self._learned(group)))
        encoded = _encoded(result)
        if encoded is not None:
            self._store.put(self._name(files), _Kept(*self._learned(taken), taken.groups, msgspec.Raw(encoded)))

    def end(self) -> None:
        """Write down what was learned."""
        if self._disk.learned:
            self._store.put("stamps", _Stamps(self._disk.known))
        self._store.end()

    def _learned(self, read: Taken | Group) -> tuple[dict[str, bytes], dict[str, bytes]]:
        for path, seen in read.files.items():
            self._disk.learn(path, seen)
        for path, seen in read.folders.items():
            self._disk.learn(f"{path}/", seen)
        return (
            {path: seen.digest for path, seen in read.files.items()},
            {path: seen.digest for path, seen in read.folders.items()},
        )

    def _name(self, files: tuple[str, ...]) -> str:
        return f"answer:{self._asked}:{_hashed(os.fsencode(chr(0).join(files)))}"

    def _is_same(self, files: Mapping[str, bytes], folders: Mapping[str, bytes]) -> bool:
        disk = self._disk
        return all(disk.file(path) == digest for path, digest in files.items()) and all(
            disk.folder(path) == digest for path, digest in folders.items()
        )

    def _is_good(self, digest: bytes) -> bool:
        if digest not in self._good:
            group = self._store.get(_group_name(digest), _Group)
            self._good[digest] = group is not None and self._is_same(group.files, group.folders)
        return self._good[digest]


def _check(name: str, value: bytes) -> bytes:
    """What tells that bytes are those that were kept by a name."""
    return hashlib.sha256(name.encode() + value).digest()[:_CHECK]


def _group_name(digest: bytes) -> str:
    return f"group:{digest.hex()}"


def _encoded(result: Result) -> bytes | None:
    """A result as bytes, None if it holds text that is no Unicode."""
    try:
        return msgspec.msgpack.encode(result)
    except UnicodeEncodeError:
        return None


def _hashed(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _code() -> tuple[object, ...]:
    """What tells one state of this program, and of the parser under it, from another, whatever its version says."""
    found = sorted(Path(__file__).parent.rglob("*.py"))
    stats = tuple((file.name, status.st_size, status.st_mtime_ns) for file in found for status in (file.stat(),))
    return (sys.version, *(version(name) for name in _PARSERS), *stats)


def canonical(value: object) -> object:
    """A value as plain data that is written alike in every process. Raises UsageError for what cannot be."""
    match value:
        case None | bool() | int() | float() | str() | bytes() if not isinstance(value, enum.Enum):
            return value
        case enum.Enum():
            return (type(value).__name__, value.name)
        case Path():
            return ("Path", str(value))
        case re.Pattern():
            return ("Pattern", value.pattern, value.flags)
        case Mapping():
            return ("map", *((canonical(key), canonical(held)) for key, held in value.items()))
        case set() | frozenset():
            return ("set", *sorted((canonical(one) for one in value), key=repr))
        case tuple() | list():
            return tuple(canonical(one) for one in value)
        case msgspec.Struct():
            return (type(value).__name__, *(canonical(getattr(value, name)) for name in value.__struct_fields__))
    if dataclasses.is_dataclass(value):
        return (type(value).__name__, *(canonical(getattr(value, f.name)) for f in dataclasses.fields(value)))
    raise UsageError(f"{type(value).__name__}: cannot be part of what an answer is kept under")
