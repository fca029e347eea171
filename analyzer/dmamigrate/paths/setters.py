# SPDX-License-Identifier: GPL-2.0-only
"""Which callees may set a member, told by their text: what no text sets is what it was before the call."""

from __future__ import annotations

import re
from collections.abc import Callable

from dmamigrate.syntax.functions import Function

_FIELD = re.compile(r"(?:->|\.)(\w+)(?:\[\])?\Z")
_LEVELS = 3


class Setters:
    """Answers for one exploration, each question asked once."""

    def __init__(self, reaches: Callable[[Function, re.Pattern[bytes], int], bool]) -> None:
        """`reaches` says whether a function, or what it calls so many levels deep, holds a pattern."""
        self._reaches = reaches
        self._known: dict[tuple[str, str], bool] = {}

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
            self._known[key] = any(self._reaches(one, stored, _LEVELS) for one in found)
        return self._known[key]
