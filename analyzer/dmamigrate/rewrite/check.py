# SPDX-License-Identifier: GPL-2.0-only
"""Whether a call may be edited at all, and whether its edits changed nothing but the calls that they are for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import fields
from itertools import accumulate, pairwise

from dmamigrate.findings import Edit
from dmamigrate.rewrite.layout import NewCall, apply
from dmamigrate.syntax.expr import Call, Expr
from dmamigrate.syntax.functions import Function
from dmamigrate.syntax.parts import arguments_of_call
from dmamigrate.syntax.source import Source
from dmamigrate.syntax.unit import Unit

# Calls by where they begin and end: #if makes variants of one, which are edited together.
Calls = Mapping[tuple[int, int], NewCall]


def broken(source: Source, call: Call) -> str | None:
    """Why the text of `call` is not one whole call, so that an edit could change more than it; None if it is one."""
    text = source.blanked[call.start : call.end]
    if text.count(b'"') % 2 or text.count(b"'") % 2:
        return "a quotation mark in it is never closed"
    if b";" in text:
        return "a semicolon stands in it"
    if not text.endswith(b")"):
        return "its closing parenthesis is missing"
    if arguments_of_call(text) != len(call.args):
        return "it cannot be parsed"
    return None


def unlike(source: Source, edits: tuple[Edit, ...], calls: Calls, fns: set[Function]) -> str | None:
    """What `edits` would do to `source` beside turning `calls`, which stand in `fns`, into what they are for; None if
    nothing.
    """
    ordered = sorted(edits, key=lambda edit: (edit.start, edit.end))
    if any(other.start < one.end for one, other in pairwise(ordered)):
        return "two edits change the same place"
    if not all(any(start <= edit.start <= edit.end <= end for start, end in calls) for edit in ordered):
        return "an edit reaches beyond its call"
    after = _After(source, tuple(ordered), calls)
    if not after.same_items():
        return "the file is not taken apart as before"
    if not all(after.same_function(fn) for fn in fns):
        return "its function is not parsed as before"
    return None


class _After:
    """The file with the edits, compared to what it was."""

    def __init__(self, source: Source, edits: tuple[Edit, ...], calls: Calls) -> None:
        self._before = Unit(source)
        self._unit = Unit(Source(source.path, apply(source.data, edits)))
        self._ends = [edit.end for edit in edits]
        grown = (len(edit.text.encode("utf-8", "surrogateescape")) - (edit.end - edit.start) for edit in edits)
        self._shifts = [0, *accumulate(grown)]
        self._calls = calls

    def _moved(self, offset: int) -> int:
        """Where what stood at `offset`, outside of an edit, stands now."""
        return offset + self._shifts[bisect_right(self._ends, offset)]

    def same_items(self) -> bool:
        """Whether the same functions, types and variables stand in the same order and, but for the edits, places."""
        was = [
            (i.kind, i.name, self._moved(i.head), self._moved(i.body), self._moved(i.end)) for i in self._before.items
        ]
        return was == [(i.kind, i.name, i.head, i.body, i.end) for i in self._unit.items]

    def same_function(self, fn: Function) -> bool:
        """Whether a function, or a macro, is the same steps in the same order, the edited calls apart."""
        now = self._unit.function_at(self._moved(fn.start) if fn.macro else self._moved(fn.end) - 1)
        if now is None or now.name != fn.name or now.clean != fn.clean or len(now.nodes) != len(fn.nodes):
            return False
        return all(
            (was.kind, was.variable, [edge.to for edge in was.edges])
            == (new.kind, new.variable, [edge.to for edge in new.edges])
            and self._same(was.expr, new.expr, inside=False)
            for was, new in zip(fn.nodes, now.nodes, strict=True)
        )

    def _same(self, was: Expr | None, now: Expr | None, inside: bool) -> bool:
        """Whether two expressions are alike; `inside` of an edited call what is alike may stand elsewhere."""
        if was is None or now is None:
            return was is now
        if type(was) is not type(now):
            return False
        if not inside and was.start >= 0 and (self._moved(was.start), self._moved(was.end)) != (now.start, now.end):
            return False
        new = self._calls.get((was.start, was.end))
        if new is not None and isinstance(was, Call) and isinstance(now, Call):
            return (now.name, len(now.args)) == (new.name, len(new.arguments)) and all(
                isinstance(wanted, str) or self._same(was.args[wanted], given, inside=True)
                for wanted, given in zip(new.arguments, now.args, strict=True)
            )
        own = [field.name for field in fields(was) if field.name not in ("start", "end", "parts")]
        return (
            all(getattr(was, name) == getattr(now, name) for name in own)
            and len(was.parts) == len(now.parts)
            and all(self._same(one, other, inside) for one, other in zip(was.parts, now.parts, strict=True))
        )
