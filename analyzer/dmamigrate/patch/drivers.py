# SPDX-License-Identifier: GPL-2.0-only
"""Which files belong to one driver, and how its subsystem writes subjects."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dmamigrate.errors import RuleError

_MANY = 8  # a Makefile that builds more objects than this is a subsystem's, not a driver's


@dataclass(frozen=True, slots=True)
class Entry:
    """A section of MAINTAINERS: its title and the patterns of its files."""

    title: str
    patterns: tuple[str, ...]
    excluded: tuple[str, ...]


@cache
def entries(root: Path) -> tuple[Entry, ...]:
    """The sections of the tree's MAINTAINERS; none without the file."""
    try:
        text = (root / "MAINTAINERS").read_text("utf-8", "replace")
    except OSError:
        return ()
    found: list[Entry] = []
    for block in re.split(r"\n\s*\n", text):
        files = re.findall(r"^F:\s*(\S+)", block, re.MULTILINE)
        title = block.strip().split("\n")[0]
        if files and not re.match(r"[A-Z]:\s", title):
            found.append(Entry(title, tuple(files), tuple(re.findall(r"^X:\s*(\S+)", block, re.MULTILINE))))
    return tuple(found)


def _matches(pattern: str, path: str) -> bool:
    """Whether a pattern of MAINTAINERS is about `path`: a folder's ends in a slash, and * does not cross one."""
    if pattern.endswith("/"):
        return path.startswith(pattern)
    expression = "".join(
        "[^/]*" if part == "*" else "[^/]" if part == "?" else re.escape(part) for part in re.split(r"([*?])", pattern)
    )
    return re.fullmatch(expression + r"(?:/.*)?", path) is not None


def sections(root: Path, path: str) -> list[tuple[str, str]]:
    """The sections that are about `path`, as title and the pattern that says so, the narrowest first."""
    found = []
    for entry in entries(root):
        if any(_matches(pattern, path) for pattern in entry.excluded):
            continue
        matching = [pattern for pattern in entry.patterns if pattern not in ("*", "*/") and _matches(pattern, path)]
        if matching:
            found.append((entry.title, max(matching, key=_depth)))
    return sorted(found, key=lambda one: _depth(one[1]), reverse=True)


def _depth(pattern: str) -> tuple[int, int]:
    return pattern.rstrip("/").count("/") + (not pattern.endswith("/")), len(pattern)


@cache
def _makefile(folder: Path) -> str:
    for name in ("Makefile", "Kbuild"):
        try:
            return (folder / name).read_text("utf-8", "replace").replace("\\\n", " ")
        except OSError:
            continue
    return ""


def _objects(folder: Path) -> list[str]:
    """What the folder's Makefile builds, by name without .o."""
    lines = re.findall(r"^\s*obj-\S+\s*[:+]?=(.*)$", _makefile(folder), re.MULTILINE)
    return [name for line in lines for name in re.findall(r"([\w-]+)\.o\b", line)]


def built_into(root: Path, path: str) -> str | None:
    """The module or built-in object that `path` is compiled into, by name; None if the Makefile does not say."""
    folder, stem = (root / path).parent, Path(path).stem
    if stem in _objects(folder):
        return stem
    for name, files in re.findall(
        r"^\s*([\w-]+?)-(?:y|m|objs|\$\([^)]*\))\s*[:+]?=(.*)$", _makefile(folder), re.MULTILINE
    ):
        if name not in ("obj", "subdir", "ccflags", "lib") and re.search(rf"(?<![\w-]){re.escape(stem)}\.o\b", files):
            return str(name)
    return None


def driver(root: Path, path: str) -> str:
    """What names the driver that `path` belongs to: a section of MAINTAINERS if it is one driver's, else what it is
    built into.
    """
    folder = path.rpartition("/")[0]
    for title, pattern in sections(root, path):
        whole = pattern.rstrip("/") if pattern.endswith("/") else None
        if whole is None or (whole.count("/") > 1 and len(_objects(root / whole)) <= _MANY):
            # one section may be about a whole family of chips, subsystem by subsystem
            return f"{whole or folder}: {title}"
    name = built_into(root, path) if len(_objects(root / folder)) > 1 else None
    return f"{folder}/{name}" if name else folder


def subsystem(root: Path, path: str) -> str:
    """The widest section of MAINTAINERS that is about `path` and not about everything, else its first two folders."""
    found = [title for title, pattern in sections(root, path) if pattern.endswith("/") and pattern.count("/") > 1]
    return found[-1] if found else "/".join(path.split("/")[:-1][:2])


GROUPING: dict[str, Callable[[Path, str], str]] = {
    "driver": driver,
    "subsystem": subsystem,
    "file": lambda _, path: path,
}


def groups(root: Path, by: str, together: Iterable[frozenset[str]]) -> list[frozenset[str]]:
    """The files in groups that become one patch each; what is in one set of `together` stays together."""
    merged: list[tuple[set[str], set[str]]] = []
    for files in together:
        names = {GROUPING[by](root, path) for path in files}
        held = set(files)
        apart = []
        for other_names, other_files in merged:
            if names & other_names or held & other_files:
                names |= other_names
                held |= other_files
            else:
                apart.append((other_names, other_files))
        merged = [*apart, (names, held)]
    return sorted((frozenset(files) for _, files in merged), key=min)


# ---- subjects


@cache
def _habits(folder: Path) -> tuple[tuple[str, str], ...]:
    file = folder / "subjects.toml"
    try:
        table = tomllib.loads(file.read_text("utf-8"))["subject"]
        return tuple(sorted(((one["path"], one["prefix"]) for one in table), key=lambda one: -len(one[0])))
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise RuleError(f"{file}: {error}; reinstall dmamigrate") from error


def prefix(root: Path, rules: Path, files: Sequence[str], history: Callable[[Sequence[str]], list[str]]) -> str:
    """What stands before a subject's last colon: as the latest commits to the files have it, else by the path."""
    used = Counter(found for line in history(files) if (found := line.rpartition(": ")[0]) and len(found) < 40)
    if used and (best := used.most_common(1)[0])[1] > 1:
        return best[0]
    first = min(files)
    parts = first.split("/")
    stem = built_into(root, first) or (
        Path(first).stem if len(files) == 1 else parts[-2] if len(parts) > 1 else Path(first).stem
    )
    for path, text in _habits(rules):
        if first.startswith(f"{path}/"):
            below = first[len(path) + 1 :].split("/")
            return text.format(driver=stem, folder=below[0] if len(below) > 1 else stem)
    named = parts[1:-1] if parts[0] in ("drivers", "sound") else parts[:-1]
    return ": ".join(dict.fromkeys([*named[:1], stem]))
