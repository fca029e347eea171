# SPDX-License-Identifier: GPL-2.0-only
"""Where a call of the API is named and not seen to be called: what goes through a pointer, an alias or a macro's
argument.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dmamigrate.lives.sites import declares, in_file
from dmamigrate.syntax.unit import Unit
from dmamigrate.values.engine import Engine

# What names a function and neither calls it nor keeps it.
_NEUTRAL = re.compile(rb"\b(?:EXPORT_SYMBOL\w*|NOKPROBE_SYMBOL|ALLOW_ERROR_INJECTION|defined)\s*\(?\s*\Z")
_MEMBER = re.compile(rb"(?:->|(?<![.\s(,{])\s*\.)\s*\Z")
_CONDITION = re.compile(rb"[ \t]*#[ \t]*(?:if|ifdef|ifndef|elif|undef|define[ \t]+\w+\Z)")
_PASTED = re.compile(rb"\b(\w{4,})\s*##")


@dataclass(frozen=True, slots=True)
class Mention:
    """A name of the API at a byte of a file, for a call that lacks arguments with the key under which that is
    written.
    """

    at: int
    name: str
    written: tuple[str, int] | None = None


def unfollowed(engine: Engine, paths: Iterable[str], names: frozenset[str]) -> Iterator[tuple[Mention, str]]:
    """Where `names` stand and are no whole calls that are seen, each with the place as path and line."""
    for path in paths:
        unit = engine.tree.unit(path)
        if unit is None:
            continue
        for mention in sorted(_in_unit(engine, unit, names), key=lambda one: one.at):
            yield mention, f"{path}:{unit.source.line(mention.at)}"


def _in_unit(engine: Engine, unit: Unit, names: frozenset[str]) -> Iterator[Mention]:
    text = unit.source.blanked
    present = sorted(name for name in names if name.encode() in text)
    if present:
        calls: set[int] = set()
        for site in in_file(unit, engine.api, present)[0]:
            calls.add(site.call.parts[0].start)
            if len(site.call.args) < len(site.api.roles):
                yield Mention(site.call.start, site.call.name, site.written)
        for found in re.finditer(rb"\b(?:" + b"|".join(name.encode() for name in present) + rb")\b", text):
            if found.start() not in calls and not _is_neutral(engine, unit, found.start(), found.end()):
                yield Mention(found.start(), found[0].decode())
    for found in _PASTED.finditer(text) if b"##" in text else ():
        for name in sorted(names):
            if name.startswith(found[1].decode()):
                yield Mention(found.start(), name)


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
