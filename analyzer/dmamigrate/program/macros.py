# SPDX-License-Identifier: GPL-2.0-only
"""Macros of a driver's own that set what they are handed: where they are used no store is to be seen."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from dmamigrate.program.tree import Tree

_DEFINE = re.compile(rb"^[ \t]*#[ \t]*define[ \t]+(\w+)\(([^()\n]*)\)((?:[^\n\\]|\\[\s\S])*)", re.MULTILINE)
_WRITTEN = rb"WRITE_ONCE|smp_store_release|rcu_assign_pointer|xchg|swap"
# what a macro sets, with what stands before it if it is a member
_SET = re.compile(rb"((?:->|\.)\s*)?(?<!\w)(\w+)(?:\[[^\]]*\]|[\s)])*(?:=(?!=)|[-+|&^]=|\+\+|--)")
_STANDS = re.compile(rb"^[ \t]*#[ \t]*define[ \t]+(\w+)[ \t]+(?:\w+\.)*(\w+)[ \t]*\r?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Setting:
    """What sets without an assignment, as one module sees it.

    By the name of a macro `arguments` has the parameters, from 0, that it assigns to, `members` those that name a member
    to which it assigns. `handed` matches up to an argument of a call that may set it, `named` up to a member's name.
    """

    arguments: dict[str, frozenset[int]]
    members: dict[str, frozenset[int]]
    handed: re.Pattern[bytes]
    named: re.Pattern[bytes] | None


class Setters:
    """What sets without an assignment: calls of the tables, and macros of each module's own."""

    def __init__(self, tree: Tree, outs: frozenset[tuple[str, int]]) -> None:
        """`outs` are the calls, each with the number of an argument, that put something there."""
        self._tree = tree
        self.outs = outs
        self._known: dict[str, Setting] = {}
        self._standing: dict[str, dict[str, frozenset[str]]] = {}

    def of(self, path: str) -> Setting:
        """What sets in the module of a file."""
        folder = self._tree.module(path)
        if folder not in self._known:
            near = self._tree.texts(folder) if self._tree.is_driver_folder(folder) else ()
            arguments, members = _setting(data for _, data in near)
            names = sorted({name for name, _ in self.outs} | arguments.keys())
            handed = _before((_WRITTEN, *(re.escape(name.encode()) for name in names)))
            named = tuple(re.escape(name.encode()) for name in sorted(members))
            self._known[folder] = Setting(arguments, members, handed, _before(named) if named else None)
        return self._known[folder]

    def standing_for(self, member: str, path: str) -> frozenset[str]:
        """The words that macros of a file put in the place of a member of this name."""
        if path not in self._standing:
            found: dict[str, set[str]] = {}
            text = self._tree.contents(path)
            for word, stood in _STANDS.findall(text) if b"define" in text else ():
                found.setdefault(stood.decode(), set()).add(word.decode())
            self._standing[path] = {stood: frozenset(words) for stood, words in found.items()}
        return self._standing[path].get(member, frozenset())


@cache
def _before(names: tuple[bytes, ...]) -> re.Pattern[bytes]:
    return re.compile(rb"\b(?:" + b"|".join(names) + rb")\s*\([^;{}]*\Z")


def _setting(texts: Iterable[bytes]) -> tuple[dict[str, frozenset[int]], dict[str, frozenset[int]]]:
    """The macros in some files that set what they are handed, and those that set the member whose name they are handed."""
    arguments: dict[str, frozenset[int]] = {}
    members: dict[str, frozenset[int]] = {}
    for text in texts:
        for define in _DEFINE.finditer(text) if b"define" in text else ():
            name, body = define[1].decode(), define[3]
            if b"=" not in body and b"++" not in body and b"--" not in body:
                continue
            of_members, plain = set[bytes](), set[bytes]()
            for member, word in _SET.findall(body):
                (of_members if member else plain).add(word)
            for position, parameter in enumerate(word.strip() for word in define[2].split(b",")):
                if parameter in of_members:
                    members[name] = members.get(name, frozenset()) | {position}
                elif parameter in plain:
                    arguments[name] = arguments.get(name, frozenset()) | {position}
    return arguments, members
