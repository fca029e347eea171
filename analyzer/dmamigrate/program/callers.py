# SPDX-License-Identifier: GPL-2.0-only
"""Who calls a function, by name or through the ops member that it is stored to, and what callees may store."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from dmamigrate.program.members import Members
from dmamigrate.program.records import CallSite
from dmamigrate.program.tree import Tree
from dmamigrate.syntax.expr import Assign, Binary, Call, Conditional, Expr, Member, Name, Unary, strip
from dmamigrate.syntax.functions import Function
from dmamigrate.syntax.items import Item
from dmamigrate.syntax.unit import Unit

_ACCESS = re.compile(rb"(?:->|\.)\s*\Z")
_EXPORTED = re.compile(rb"(?:EXPORT_SYMBOL\w*|ALLOW_ERROR_INJECTION|NOKPROBE_SYMBOL)\s*\(\s*\Z")
_PASTED = re.compile(rb"\b(\w+)\s*##\s*(\w+)\s*\(")
# What is asked of a pointer, and no more.
_ASKING = frozenset({"likely", "unlikely", "WARN_ON", "WARN_ON_ONCE", "BUG_ON", "IS_ERR_OR_NULL"})


class Callers:
    """Answers for one tree."""

    def __init__(self, tree: Tree, members: Members) -> None:
        self._tree = tree
        self._members = members
        self.of = cache(self._callers)

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
            if otherwise := _named_otherwise(unit, fn.name):
                complete, why = False, f"{fn.name}() may be called as {otherwise} in {path}"
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
        if _EXPORTED.search(before):
            return [], True, ""
        stored = re.search(rb"(?:\.|->)\s*(\w+)\s*=\s*&?\s*\Z", before)
        reason = f"{name}() is called through a pointer"
        if item is None and stored is None:
            return [], False, f"{name}() is named by a macro at {unit.source.path}:{unit.source.line(at)}"
        if stored is None:
            return [], False, reason
        member = stored.group(1).decode()
        owner = self._members.only_struct_with(member, unit)
        if owner is None:
            return [], False, f"{reason}, {member}, by code outside of this driver"
        sites: list[CallSite] = []
        for path in self._tree.search(member, self._tree.module(unit.source.path)):
            other = self._tree.unit(path)
            found, whole = self._called_through(other, member) if other is not None else ([], True)
            sites += found
            if not whole:
                return sites, False, f"{reason}, {member}, in a way that was not followed in {path}"
        return sites, bool(sites), reason

    def _called_through(self, unit: Unit, member: str) -> tuple[list[CallSite], bool]:
        """The calls through members of this name in one file, and whether nothing else is done with such a member
        there.
        """
        sites: list[CallSite] = []
        whole = True
        seen: set[int] = set()
        for holder, at in self._tree.items_with(unit, re.compile(rb"\b" + re.escape(member.encode()) + rb"\b")):
            if holder is None:
                macro = unit.function_at(at)
                accessed = _ACCESS.search(unit.source.blanked, max(0, at - 64), at) is not None
                whole = whole and not (accessed and macro is not None and macro.macro)
            elif holder.kind == "function" and holder.head not in seen:
                seen.add(holder.head)
                fn = unit.function(holder)
                for index in fn.naming(member):
                    expr = fn.nodes[index].expr
                    for use in _uses(expr, member) if expr is not None else ():
                        if isinstance(use, Call):
                            sites.append(CallSite(fn, index, use))
                        else:
                            whole = False
        return sites, whole


def _named_otherwise(unit: Unit, name: str) -> str:
    """How a file may call a function without its name: by an alias of the linker, or by a name that a macro pastes."""
    text = unit.source.blanked
    if b"alias" in text and re.search(rb'\balias\s*\(\s*"' + re.escape(name.encode()) + rb'"', unit.source.data):
        return "an alias"
    for found in _PASTED.finditer(text) if b"##" in text else ():
        first, last = found[1].decode(), found[2].decode()
        for rest in {name.removeprefix(first), name.removesuffix(last)} - {name, ""}:
            if re.search(rb"[(,]\s*" + re.escape(rest.encode()) + rb"\s*[,)]", text):
                return f"{first}##{last}"
    return ""


def _uses(expr: Expr, member: str, asked: bool = True) -> Iterator[Expr]:
    """The calls through a member of this name, and the places at which something else is done with it than to ask or
    set it.
    """
    expr = strip(expr)
    if isinstance(expr, Member) and expr.field == member:
        if not asked:
            yield expr
        yield from _uses(expr.parts[0], member)
        return
    if isinstance(expr, Name):
        if expr.text == member and expr.variable < 0 and not asked:
            yield expr  # as a macro takes it that puts it behind an arrow
        return
    parts = expr.parts
    if isinstance(expr, Call):
        callee = strip(parts[0])
        while isinstance(callee, Unary) and callee.op == "*":
            callee = strip(callee.parts[0])
        if isinstance(callee, Member) and callee.field == member:
            yield expr
            yield from _uses(callee.parts[0], member)
        else:
            yield from _uses(callee, member, isinstance(callee, Name))
        for part in parts[1:]:
            yield from _uses(part, member, expr.name in _ASKING)
        return
    if isinstance(expr, Assign) and expr.op == "=":
        yield from _uses(parts[0], member)
        yield from _uses(parts[1], member, False)
        return
    only = isinstance(expr, Binary) and expr.op in ("&&", "||", "==", "!=", ",")
    only = only or (isinstance(expr, Unary) and expr.op == "!")
    if isinstance(expr, Conditional):
        yield from _uses(parts[0], member)
        parts = parts[1:]
    for part in parts:
        yield from _uses(part, member, only)
