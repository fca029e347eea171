# SPDX-License-Identifier: GPL-2.0-only
"""Who calls a function, by name or through the ops member that it is stored to, and what callees may store."""

from __future__ import annotations

import re
from functools import cache

from dmamigrate.program.members import Members
from dmamigrate.program.reach import root_of
from dmamigrate.program.records import CallSite
from dmamigrate.program.tree import Tree
from dmamigrate.syntax.expr import Assign, Call, Member, Name, strip, walk
from dmamigrate.syntax.functions import Function
from dmamigrate.syntax.items import Item
from dmamigrate.syntax.unit import Unit


class Callers:
    """Answers for one tree."""

    def __init__(self, tree: Tree, members: Members) -> None:
        self._tree = tree
        self._members = members
        self.of = cache(self._callers)

    def set_by_macro(self, unit: Unit, call: Call, position: int) -> bool:
        """Whether a macro of the driver's own assigns to its parameter at `position`."""
        own = (unit, *(header for header in self._tree.headers(unit) if not header.source.path.startswith("include/")))
        macros = [macro for one in own for macro in one.macros(call.name)] if call.name else []
        return any(
            isinstance(expr, Assign) and (root := root_of(expr.parts[0])) is not None and root.variable == position
            for macro in macros
            for node in macro.nodes
            if node.expr is not None
            for expr in walk(node.expr)
        )

    def may_store(self, call: Call, field: str, unit: Unit, inert: set[str], levels: int = 3) -> bool:
        """Whether the callee, or what it hands its own parameters to, has a store to a member of this name in its text."""
        if not call.name:
            return False
        pattern = re.compile(rb"(?:->|\.)\s*" + re.escape(field.encode()) + rb"\s*=[^=]")
        for one in self._tree.functions(call.name, unit):
            if pattern.search(one.source.blanked, one.start, one.end) is not None:
                return True
            inner = (
                [c for _, c in one.calls if any(isinstance(a, Name) and a.variable >= 0 for a in c.args)]
                if levels > 1
                else []
            )
            home = self._tree.unit(one.source.path) or unit
            if any(
                c.name not in inert and c.name != call.name and self.may_store(c, field, home, inert, levels - 1)
                for c in inner
            ):
                return True
        return False

    # callers

    def _callers(self, fn: Function) -> tuple[tuple[CallSite, ...], bool, str]:
        """The calls of `fn`, whether those are all, and if not, why."""
        word = fn.name.encode()
        header = fn.source.path.endswith(".h")
        complete, why = True, ""
        if fn.static and not header:
            paths: tuple[str, ...] = (fn.source.path,)
        else:
            paths, complete = self._users(fn)
            if not complete:
                why = f"{fn.name}() may be called from outside of this driver"
        sites: list[CallSite] = []
        mentions = re.compile(rb"\b" + re.escape(word) + rb"\b(\s*\()?")
        for path in paths:
            unit = self._tree.unit(path)
            if unit is None:
                continue
            seen: set[int] = set()
            for match in mentions.finditer(unit.source.blanked):
                item = unit.item_at(match.start())
                if match.group(1):
                    found = self._calls_in(unit, item, match.start(), fn.name, seen)
                    sites += found
                    continue
                through, whole, reason = self._through_pointer(unit, item, fn.name, match.start())
                sites += through
                if not whole:
                    complete, why = False, reason
        unique = {(s.fn.source.path, s.fn.start, s.call.start): s for s in sites}
        return tuple(unique.values()), complete, why

    def _users(self, fn: Function) -> tuple[tuple[str, ...], bool]:
        folder = self._tree.module(fn.source.path)
        exported = (
            re.search(rb"EXPORT_SYMBOL\w*\s*\(\s*" + re.escape(fn.name.encode()) + rb"\b", fn.source.data) is not None
        )
        paths = self._tree.search(fn.name, folder) if self._tree.is_driver_folder(folder) else (fn.source.path,)
        # a driver spread over sibling folders: look there while nobody near by calls it
        while len(paths) <= 2 and "/" in folder and self._tree.is_driver_folder(folder.rpartition("/")[0]):
            folder = folder.rpartition("/")[0]
            if folder.count("/") < 2:
                break
            paths = self._tree.search(fn.name, folder)
        return paths, not exported and self._tree.is_driver_folder(folder)

    def _calls_in(self, unit: Unit, item: Item | None, at: int, name: str, seen: set[int]) -> list[CallSite]:
        if item is not None and (item.kind != "function" or item.head in seen):
            return []
        if item is not None and item.params >= 0 and at < item.params:
            return []
        fn = unit.function(item) if item is not None else unit.function_at(at)
        if fn is None or (item is None and not fn.macro):
            return []
        if item is not None:
            seen.add(item.head)
        return [CallSite(fn, index, call) for index, call in fn.calls if call.name == name]

    def _through_pointer(self, unit: Unit, item: Item | None, name: str, at: int) -> tuple[list[CallSite], bool, str]:
        """The calls through the ops member that `name`, mentioned at `at`, is stored to."""
        before = unit.source.blanked[max(0, at - 120) : at]
        if re.search(rb"(?:EXPORT_SYMBOL\w*|ALLOW_ERROR_INJECTION|NOKPROBE_SYMBOL)\s*\(\s*\Z", before):
            return [], True, ""
        if item is None:
            return [], True, ""
        stored = re.search(rb"(?:\.|->)\s*(\w+)\s*=\s*&?\s*\Z", before)
        reason = f"{name}() is called through a pointer"
        if stored is None:
            return [], False, reason
        member = stored.group(1).decode()
        owner = self._members.only_struct_with(member, unit)
        if owner is None:
            return [], False, f"{reason}, {member}, by code outside of this driver"
        sites: list[CallSite] = []
        calls = re.compile(rb"(?:->|\.)\s*" + re.escape(member.encode()) + rb"\s*\)?\s*\(")
        for path in self._tree.search(member, self._tree.module(unit.source.path)):
            other = self._tree.unit(path)
            if other is None:
                continue
            for holder, where in self._tree.items_with(other, calls):
                if holder is None or holder.kind != "function":
                    continue
                fn = other.function(holder)
                for index, call in fn.calls:
                    callee = strip(call.parts[0])
                    if isinstance(callee, Member) and callee.field == member and call.start <= where < call.end:
                        sites.append(CallSite(fn, index, call))
        return sites, bool(sites), reason
