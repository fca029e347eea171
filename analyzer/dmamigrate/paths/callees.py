# SPDX-License-Identifier: GPL-2.0-only
"""Which callees matter to what is followed, and which may set a member, told by their text and that of what they
call.
"""

from __future__ import annotations

import re

from dmamigrate.program.tree import Tree
from dmamigrate.syntax.functions import Function

_FIELD = re.compile(r"(?:->|\.)(\w+)(?:\[\])?\Z")
_LEVELS = 3


class Callees:
    """Answers for one exploration, each question asked once."""

    def __init__(self, tree: Tree, words: re.Pattern[bytes]) -> None:
        """A callee matters if its text, or that of what it calls, holds one of `words`."""
        self._tree = tree
        self._words = words
        self._known: dict[tuple[str, str], bool] = {}
        self._matters: dict[Function, bool] = {}

    def reaches(self, fn: Function, words: re.Pattern[bytes], levels: int = 4) -> bool:
        """Whether `fn`, or what it calls, `levels` deep, holds one of `words`."""
        return self._holds(fn, words, levels, set())

    def _holds(self, fn: Function, words: re.Pattern[bytes], levels: int, seen: set[Function]) -> bool:
        seen.add(fn)
        if words.search(fn.source.blanked, fn.start, fn.end) is not None:
            return True
        unit = self._tree.unit(fn.source.path)
        if levels <= 1 or unit is None:
            return False
        names = {call.name for _, call in fn.calls if call.name}
        called = (one for name in sorted(names) for one in self._tree.functions(name, unit, words))
        return any(one not in seen and self._holds(one, words, levels - 1, seen) for one in called)

    def matter(self, fn: Function) -> bool:
        """Whether a callee, or what it calls, can change or use what is tracked."""
        if fn not in self._matters:
            self._matters[fn] = self.reaches(fn, self._words, _LEVELS)
        return self._matters[fn]

    def may_set(self, name: str, place: str, found: tuple[Function, ...]) -> bool:
        """Whether the callee of this name, whose definitions were found, may set the member that a place ends in."""
        field = _FIELD.search(place)
        if field is None or not found:
            return True
        key = (name, field[1])
        if key not in self._known:
            word = re.escape(field[1].encode())
            stored = re.compile(
                rb"(?:->|\.)\s*" + word + rb"\b\s*(?:\[[^\]]*\]\s*)?(?:[-+|&^*/]?=(?!=)|\+\+|--)"
                rb"|&[^;,]*\b" + word + rb"\b|\bmem(?:set|cpy)\b"
            )
            self._known[key] = any(self.reaches(one, stored, _LEVELS) for one in found)
        return self._known[key]
