# SPDX-License-Identifier: GPL-2.0-only
"""Which file an #include names: -I flags are not read, so that what they lead to is found by where headers lie."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from dmamigrate.program.reads import Group, Listing, Reads

# What a call may resolve to when it is not a driver's own: never searched, the tables speak for it.
HEADER_ROOTS = ("include", "arch/x86/include")


def common(first: str, second: str) -> str:
    """The deepest folder that holds both folders."""
    parts: list[str] = []
    for a, b in zip(first.split("/"), second.split("/"), strict=False):
        if a != b:
            break
        parts.append(a)
    return "/".join(parts)


class Includes:
    """Answers for one tree."""

    def __init__(
        self, listing: Callable[[str], Listing], everything: Callable[[], Iterable[str]] | None, reads: Reads
    ) -> None:
        """`everything` lists the C files of a driver's own checkout, None in a kernel's tree."""
        self._listing = listing
        self._everything = everything
        self._reads = reads
        self._known: dict[tuple[str, str, bool], tuple[str | None, tuple[str, ...]]] = {}
        self._named: tuple[dict[str, list[str]], Group] | None = None

    def resolve(self, includer: str, name: str, quoted: bool) -> str | None:
        """The path of an included header, None if it is not in the tree."""
        key = (includer.rpartition("/")[0], name, quoted)
        if key not in self._known:
            self._known[key] = self._find(*key)
        found, looked_into = self._known[key]
        for folder in looked_into:
            self._listing(folder)
        if found is None and self._everything is not None:
            return self._nearest(key[0], name)
        return found

    def _find(self, folder: str, name: str, quoted: bool) -> tuple[str | None, tuple[str, ...]]:
        """The path of an included header, and the folders that were looked into for it."""
        candidates: list[str] = []
        if quoted:
            # -I $(src)/.. and the like
            parent = folder.rpartition("/")[0]
            candidates = [
                f"{folder}/{name}",
                f"{parent}/{name}",
                f"{folder}/include/{name}",
                f"{parent}/include/{name}",
            ]
            candidates = [os.path.normpath(c.lstrip("/")) for c in candidates]
        candidates += [f"{root}/{name}" for root in (*HEADER_ROOTS, "include/uapi")]
        looked_into: list[str] = []
        for candidate in candidates:
            looked_into.append(candidate.rpartition("/")[0])
            if candidate in self._listing(looked_into[-1]).names:
                return candidate, tuple(looked_into)
        return None, tuple(looked_into)

    def _nearest(self, folder: str, name: str) -> str | None:
        """The header of this name that lies nearest to `folder`, None if two are as near."""
        if self._named is None:
            assert self._everything is not None, "told by the caller"
            with self._reads.together() as group:
                paths = [path for path in self._everything() if path.endswith(".h")]
            by_name: dict[str, list[str]] = {}
            for path in paths:
                by_name.setdefault(path.rpartition("/")[2], []).append(path)
            self._named = by_name, group[0]
        held, read = self._named
        self._reads.group(read)
        near: dict[int, list[str]] = {}
        for path in held.get(name.rpartition("/")[2], ()):
            if f"/{path}".endswith(f"/{name}"):
                near.setdefault(len(common(folder, path.rpartition("/")[0]).split("/")), []).append(path)
        nearest = near[max(near)] if near else []
        return nearest[0] if len(nearest) == 1 else None
