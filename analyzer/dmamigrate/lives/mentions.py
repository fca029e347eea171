# SPDX-License-Identifier: GPL-2.0-only
"""Where a call of the API is named and not seen to be called: what goes through a pointer, an alias or a macro's argument."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from dmamigrate.lives.sites import declares, in_file
from dmamigrate.syntax.unit import Unit
from dmamigrate.values.engine import Engine

# What names a function and neither calls it nor keeps it.
_NEUTRAL = re.compile(rb"\b(?:EXPORT_SYMBOL\w*|NOKPROBE_SYMBOL|ALLOW_ERROR_INJECTION|defined)\s*\(?\s*\Z")
_MEMBER = re.compile(rb"(?:->|(?<![.\s(,{])\s*\.)\s*\Z")
_CONDITION = re.compile(rb"[ \t]*#[ \t]*(?:if|ifdef|ifndef|elif|undef|define[ \t]+\w+\Z)")
_PASTED = re.compile(rb"\b(\w{4,})\s*##")


def unfollowed(
    engine: Engine, paths: Iterable[str], names: frozenset[str], seen: frozenset[tuple[str, int]]
) -> Iterator[str]:
    """The places, as path and line with the name, at which `names` stand and are no whole calls, nor those that are `seen`."""
    for path in paths:
        unit = engine.tree.unit(path)
        if unit is not None:
            for at, name in sorted(_in_unit(engine, unit, names, seen)):
                yield f"{name}() is named at {path}:{unit.source.line(at)}"


def _in_unit(
    engine: Engine, unit: Unit, names: frozenset[str], seen: frozenset[tuple[str, int]]
) -> Iterator[tuple[int, str]]:
    text = unit.source.blanked
    present = sorted(name for name in names if name.encode() in text)
    if present:
        calls = {
            site.call.parts[0].start
            for site in in_file(unit, engine.api, present)[0]
            if len(site.call.args) >= len(site.api.roles) or site.written in seen
        }
        for found in re.finditer(rb"\b(?:" + b"|".join(name.encode() for name in present) + rb")\b", text):
            if found.start() not in calls and not _is_neutral(engine, unit, found.start(), found.end()):
                yield found.start(), found[0].decode()
    for found in _PASTED.finditer(text) if b"##" in text else ():
        for name in sorted(names):
            if name.startswith(found[1].decode()):
                yield found.start(), name


def _is_neutral(engine: Engine, unit: Unit, start: int, end: int) -> bool:
    """Whether a name stands in its own declaration or definition, in a condition, or where it is only exported."""
    text = unit.source.blanked
    line = text[text.rfind(b"\n", 0, start) + 1 : end]
    if _CONDITION.match(line) or _NEUTRAL.search(text, max(0, start - 64), start):
        return True
    if _MEMBER.search(text, max(0, start - 64), start):
        return True
    item = unit.item_at(start)
    if item is not None and item.kind == "function":
        # its head, or what the driver builds on kernels that lack it
        return start < item.body or item.name in engine.api.calls
    return declares(text, start)
