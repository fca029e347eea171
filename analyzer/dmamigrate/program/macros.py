# SPDX-License-Identifier: GPL-2.0-only
"""Macros of a driver's own that set what they are handed, or what they name: where they are used no store is to be
seen.

A macro sets an argument if its body assigns to it, takes its address, or hands it to what sets it, another macro too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

from dmamigrate.program.tree import Tree
from dmamigrate.syntax.macros import ASSIGNING

# a macro with parameters, or one that has an assignment in it; that it begins a line is asked where one is found
_DEFINE = re.compile(
    rb"#[ \t]*define[ \t]+(\w+)(?:\(([^()\n]*)\)|[ \t](?=(?:[^\n\\=]|\\[\s\S])*=))((?:[^\n\\]|\\[\s\S])*)"
)
# one without parameters that is nothing but calls
_LIST = re.compile(rb"#[ \t]*define[ \t]+(\w+)[ \t]+((?:\\?\s*\w+\s*\([^()\n]*\))+)[ \t\\]*$", re.MULTILINE)
# those that are read as assignments where they are seen
_WRITTEN = (*ASSIGNING, "swap")
# what a macro sets, with what stands before it if it is a member
_SET = re.compile(rb"((?:->|\.)\s*)?(?<!\w)(\w+)(?:\[[^\]]*\]|[\s)])*(?:=(?!=)|[-+|&^]=|\+\+|--)")
# a place whose address is taken
_ADDRESS = re.compile(rb"(?:[(,={?:;]|\breturn)\s*&(?!&)\s*((?:[\w\s.>\-]|\([\w\s.>\-]*\))+)")
# a member whose name is made of two words, one of which may be a parameter
_PASTED = re.compile(rb"(?:->|\.)\s*(\w*)\s*##\s*(\w*)(?:\[[^\]]*\]|[\s)])*(?:=(?!=)|[-+|&^]=|\+\+|--)")
_RETURNS = re.compile(rb"\breturn\b")
_LAST = re.compile(rb"((?:->|\.)\s*)?(\w+)[\s)]*\Z")
_CALLED = re.compile(rb"\b(\w+)\s*\(")
_STANDS = re.compile(rb"^[ \t]*#[ \t]*define[ \t]+(\w+)[ \t]+(?:\w+\.)*(\w+)[ \t]*\r?$", re.MULTILINE)
_ROUNDS = 4
# in place of a number: any argument
_ANY = -1


@dataclass(frozen=True, slots=True)
class Setting:
    """What sets without an assignment, as one module sees it.

    By the name of a macro `arguments` has the parameters, from 0, that it sets, `members` those that name a member
    which it sets, and `words` what it sets by a name of its own, a member's with a dot before it; `pasted` has how the
    members may be called whose names it makes. `returning` are the macros that may leave the function which uses them.
    `handed` matches up to an argument of a call that may set it, `named` up to a member's name.
    """

    arguments: dict[str, frozenset[int]]
    members: dict[str, frozenset[int]]
    words: dict[str, frozenset[str]]
    pasted: dict[str, re.Pattern[bytes]]
    returning: frozenset[str]
    handed: re.Pattern[bytes]
    named: re.Pattern[bytes] | None

    def sets(self, call: str, position: int) -> bool:
        """Whether a macro sets what it is handed by the argument at a position, from 0."""
        return not self.arguments.get(call, frozenset()).isdisjoint({position, _ANY})

    def sets_member(self, call: str, position: int) -> bool:
        """Whether a macro sets the member that the argument at a position names."""
        return position in self.members.get(call, ())


@dataclass(slots=True)
class _Macro:
    """A #define: what of its parameters, and what else, it sets so far; its calls, each with where its arguments
    begin.
    """

    params: tuple[bytes, ...]
    body: bytes
    calls: tuple[tuple[str, int], ...]
    arguments: set[int] = field(default_factory=set)
    members: set[int] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    pasted: set[bytes] = field(default_factory=set)
    _given: dict[int, tuple[bytes, ...]] = field(default_factory=dict)

    @property
    def rest(self) -> bytes:
        """What the arguments beyond the named ones are called, nothing if there are none."""
        last = self.params[-1]
        return last.removesuffix(b"...") or b"__VA_ARGS__" if last.endswith(b"...") else b""

    def given(self, at: int) -> tuple[bytes, ...]:
        """The arguments of the call whose parenthesis ends before `at`."""
        if at not in self._given:
            self._given[at] = _arguments(self.body, at)
        return self._given[at]

    def put(self, member: bool, word: bytes) -> None:
        """It sets what is called `word`."""
        if word in self.params:
            (self.members if member else self.arguments).add(self.params.index(word))
        elif word == self.rest:
            self.arguments.add(_ANY)
        else:
            self.words.add(f"{'.' if member else ''}{word.decode()}")


class Setters:
    """What sets without an assignment: calls of the tables, and macros of each module's own."""

    def __init__(self, tree: Tree, outs: frozenset[tuple[str, int]]) -> None:
        """`outs` are the calls, each with the number of an argument, that put something there."""
        self._tree = tree
        self.outs = outs
        self._written: dict[str, set[int]] = {name: {0} for name in _WRITTEN}
        for name, position in outs:
            self._written.setdefault(name, set()).add(position)
        self._known: dict[str, Setting] = {}
        self._standing: dict[str, dict[str, frozenset[str]]] = {}

    def of(self, path: str) -> Setting:
        """What sets in the module of a file."""
        folder = self._tree.module(path)
        if folder not in self._known:
            near = self._tree.texts(folder) if self._tree.is_driver_folder(folder) else ()
            macros, returning = self._setting(data for _, data in near)
            arguments = {name: frozenset(one.arguments) for name, one in macros.items() if one.arguments}
            members = {name: frozenset(one.members) for name, one in macros.items() if one.members}
            words = {name: frozenset(one.words) for name, one in macros.items() if one.words}
            pasted = {name: re.compile(b"|".join(sorted(one.pasted))) for name, one in macros.items() if one.pasted}
            names = sorted(self._written.keys() | arguments.keys())
            named = _before(tuple(sorted(members))) if members else None
            self._known[folder] = Setting(
                arguments, members, words, pasted, frozenset(returning), _before(tuple(names)), named
            )  # fmt: skip
        return self._known[folder]

    def standing_for(self, member: str, path: str) -> frozenset[str]:
        """The words that macros of a file put in the place of a member, or a variable, of this name."""
        if path not in self._standing:
            found: dict[str, set[str]] = {}
            text = self._tree.contents(path)
            for word, stood in _STANDS.findall(text) if b"define" in text else ():
                found.setdefault(stood.decode(), set()).add(word.decode())
            self._standing[path] = {stood: frozenset(words) for stood, words in found.items()}
        return self._standing[path].get(member, frozenset())

    def _setting(self, texts: Iterable[bytes]) -> tuple[dict[str, _Macro], set[str]]:
        """The macros in some files that set something, and those that return."""
        macros: dict[str, list[_Macro]] = {}
        lists: dict[str, list[_Macro]] = {}
        returning: set[str] = set()
        for text in texts:
            for define in _DEFINE.finditer(text) if b"define" in text else ():
                name, params, body = define[1].decode(), define[2], define[3]
                if b"return" in body and params is not None and _RETURNS.search(body):
                    returning.add(name)
                if b"=" not in body and b"(" not in body and b"++" not in body and b"--" not in body:
                    continue
                if text[text.rfind(b"\n", 0, define.start()) + 1 : define.start()].strip():
                    continue
                if params is None and b"=" not in body:
                    continue  # a constant, or a call of what sets by itself
                macros.setdefault(name, []).append(_taken_apart(params, body))
            for define in _LIST.finditer(text) if b"define" in text else ():
                lists.setdefault(define[1].decode(), []).append(_taken_apart(None, define[2]))
        known: dict[str, _Macro] = {name: _joined(all_of) for name, all_of in macros.items()}
        # lists of members, each handed to a macro that is told apart from others where it is used
        if any(one.members for one in known.values()):
            known = {name: _joined(all_of) for name, all_of in lists.items()} | known
        for _ in range(_ROUNDS):
            before = sum(len(one.arguments) + len(one.members) + len(one.words) for one in known.values())
            for one in known.values():
                for name, at in one.calls:
                    callee = known.get(name)
                    positions = self._written.get(name, set()) | (callee.arguments if callee is not None else set())
                    members = callee.members if callee is not None else set()
                    if positions or members:
                        self._called(one, one.given(at), positions, members)
            if sum(len(one.arguments) + len(one.members) + len(one.words) for one in known.values()) == before:
                break
        sets = {name: one for name, one in known.items() if one.arguments or one.members or one.words or one.pasted}
        return sets, returning

    @staticmethod
    def _called(one: _Macro, given: tuple[bytes, ...], positions: set[int], members: set[int]) -> None:
        """What a macro sets by handing it on, at some positions, or as the name of a member at others."""
        every = range(len(given))
        for position in every if _ANY in positions else sorted(positions & {*every}):
            if (last := _LAST.search(given[position])) is not None:
                one.put(last[1] is not None, last[2])
        for position in sorted(members & {*every}):
            if (last := _LAST.search(given[position])) is not None:
                one.put(True, last[2])
        if positions and one.rest and given and given[-1].strip() == one.rest:
            one.put(False, one.rest)


def _taken_apart(params: bytes | None, body: bytes) -> _Macro:
    words = tuple(word.strip() for word in (params or b"").split(b","))
    macro = _Macro(words, body, tuple((match[1].decode(), match.end()) for match in _CALLED.finditer(body)))
    for member, word in _SET.findall(body):
        macro.put(bool(member), word)
    for first, second in _PASTED.findall(body) if b"##" in body else ():
        either = (rb"\w*" if word in words else re.escape(word) for word in (first, second))
        macro.pasted.add(b"".join(either) + rb"\Z")
    for place in _ADDRESS.findall(body) if b"&" in body else ():
        last = _LAST.search(place)
        if last is not None:
            macro.put(last[1] is not None, last[2])
    return macro


def _joined(macros: list[_Macro]) -> _Macro:
    """Definitions of one name, of which #if chooses."""
    first = macros[0]
    for other in macros[1:]:
        first.arguments |= other.arguments
        first.members |= other.members
        first.words |= other.words
        first.pasted |= other.pasted
    return first


def _arguments(body: bytes, start: int) -> tuple[bytes, ...]:
    """The arguments of a call whose parenthesis ends before `start`."""
    end = body.find(b")", start)
    if end >= 0 and b"(" not in (flat := body[start:end]):
        return tuple(flat.split(b","))
    found: list[bytes] = []
    depth, begin = 0, start
    for at in range(start, len(body)):
        byte = body[at : at + 1]
        if byte in b"([{":
            depth += 1
        elif byte in b")]}":
            depth -= 1
        if depth < 0 or (byte == b"," and not depth):
            found.append(body[begin:at])
            begin = at + 1
        if depth < 0:
            break
    return tuple(found)


@cache
def _before(names: tuple[str, ...]) -> re.Pattern[bytes]:
    words = b"|".join(re.escape(name.encode()) for name in names)
    return re.compile(rb"\b(?:" + words + rb")\s*\([^;{}]*\Z")
