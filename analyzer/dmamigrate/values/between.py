# SPDX-License-Identifier: GPL-2.0-only
"""Whether what a member was set to is still there: a call between the store and the use may run what stores to it.

All functions with a store to the member are known (program/members.py). A call may change it if one of them can be
reached from it: by name, through an ops member, or as a function that is handed on to be called back. What is
asynchronous, an interrupt or another thread, is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from dmamigrate.program.reach import root_of
from dmamigrate.program.records import Store
from dmamigrate.program.stores import Stores
from dmamigrate.program.tree import Tree
from dmamigrate.program.types import Types
from dmamigrate.syntax.expr import Call, Member, Name, strip, walk
from dmamigrate.syntax.functions import Function
from dmamigrate.syntax.unit import Unit
from dmamigrate.values.questions import Use
from dmamigrate.values.shapes import through_pointer
from dmamigrate.values.tables import Tables

# Functions that are walked from one call; whoever reaches more may reach any.
_MOST = 250
# A function that is called, or handed on to be called back.
_NAMED = re.compile(rb"\b([A-Za-z_]\w*)\s*[(,)]")
_MEMBER = re.compile(rb"(?:->|\.)\s*(\w+)")
# A store to an object as a whole.
_OBJECT = re.compile(rb"\*\s*\(?\w+\)?\s*=\s*(?:\*|\([\w\s]+\)\s*\{)|\b\w*(?:mem|copy)\w*\s*\(\s*\w+\s*,")
_Key = tuple[str, int]


@dataclass(frozen=True)
class _Ways:
    """What may run: functions, the members that they name, and whether they store to whole objects; not `whole` if too
    many.
    """

    functions: frozenset[_Key]
    members: frozenset[bytes]
    objects: bool
    whole: bool

    def may_store(self, members: frozenset[bytes]) -> bool:
        """Whether one of some members, or an object as a whole, may be stored to."""
        return not self.whole or self.objects or not self.members.isdisjoint(members)


class Answering(Protocol):
    """What resolves calls: values/flow.py."""

    tree: Tree
    types: Types
    stores: Stores

    def unit(self, fn: Function) -> Unit:
        """The file of a function."""

    def targets(self, fn: Function, call: Call) -> tuple[Function, ...]:
        """The functions that a call may run."""


class Between:
    """Answers for one tree."""

    def __init__(self, flow: Answering, tables: Tables) -> None:
        self._flow = flow
        self._tables = tables
        self._ways: dict[_Key, _Ways] = {}

    def may_change(self, use: Use, calls: Iterable[Call]) -> bool:
        """Whether one of some calls of `use.fn` may store to the member that is used, through whatever pointer."""
        place = use.expr
        assert isinstance(place, Member), "only members are asked about"
        root = root_of(place)
        if root is not None and root.variable >= 0 and not through_pointer(place):
            return False  # a local object: who is handed its address is asked what it leaves there
        if self._macro_sets(use.fn, place.field):
            return True
        passed = [call for call in calls if not self._tables.knows(call.name)]
        unit = self._flow.unit(use.fn)
        found = self._flow.types.member(place, use.fn, unit) if passed else None
        if found is None:
            return False
        # the stores that are known are the module's own, and nothing outside of it calls those by name
        module, tree = self._flow.tree.module(use.fn.source.path), self._flow.tree
        targets = (target for call in passed for target in self._run_by(use.fn, call))
        ways = [self._from(target) for target in targets if tree.module(target.source.path) == module]
        members = frozenset(one.field.encode() for one in walk(place) if isinstance(one, Member))
        if not any(way.may_store(members) for way in ways):
            return False
        stores, _ = self._flow.stores.of_elements(found[0], place.field, unit)
        storing = frozenset(_key(_function(store)) for store in stores) - {_key(use.fn)}
        return bool(storing) and any(not way.whole or not way.functions.isdisjoint(storing) for way in ways)

    def _macro_sets(self, fn: Function, field: str) -> bool:
        """Whether a function uses a macro that sets a member of this name by itself."""
        words = self._flow.stores.setters.of(fn.source.path).words
        return any(f".{field}" in held and fn.naming(macro) for macro, held in words.items())

    def _from(self, start: Function) -> _Ways:
        """What may run, by name, once a function is called."""
        key = _key(start)
        if key not in self._ways:
            words = self._flow.stores.setters.of(start.source.path).words
            found, members, objects = {key}, set[bytes](), False
            queue = [(self._flow.unit(start), start.start, start.end)]
            while queue and len(found) <= _MOST:
                here, first, last = queue.pop()
                text = here.source.blanked
                members.update(match[1] for match in _MEMBER.finditer(text, first, last))
                objects = objects or _OBJECT.search(text, first, last) is not None
                for name in {match[1].decode() for match in _NAMED.finditer(text, first, last)}:
                    members.update(word[1:].encode() for word in words.get(name, ()) if word.startswith("."))
                    for other, item in () if self._tables.knows(name) else self._flow.tree.bodies(name, here):
                        if (other.source.path, item.head) not in found:
                            found.add((other.source.path, item.head))
                            queue.append((other, item.head, item.end))
            self._ways[key] = _Ways(frozenset(found), frozenset(members), objects, len(found) <= _MOST)
        return self._ways[key]

    def _run_by(self, fn: Function, call: Call) -> list[Function]:
        """What a call runs: its targets, and the functions whose names it is handed."""
        unit = self._flow.unit(fn)
        handed = [one.text for part in call.args if isinstance(one := strip(part), Name) and one.variable < 0]
        named = [one for name in handed if not name.isupper() for one in self._flow.tree.functions(name, unit)]
        return [*self._flow.targets(fn, call), *(one for one in named if not one.macro)]


def _function(store: Store) -> Function:
    return store.user.fn if store.user is not None else store.fn


def _key(fn: Function) -> _Key:
    return fn.source.path, fn.start
