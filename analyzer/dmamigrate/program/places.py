# SPDX-License-Identifier: GPL-2.0-only
"""Where the text of a file may store to a member of some name: what tells needs no look at the file's structure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dmamigrate.program.macros import Setting
from dmamigrate.syntax.unit import occurrences

# Comments may stand between: what is looked at first is the file as it is.
_STORED = re.compile(rb"(?:[\s)]|\\\n|/\*.*?\*/|\[[^\]]*\])*(?:=(?!=)|[-+|&^*/%]=|<<=|>>=|\+\+|--)", re.DOTALL)
_GROUP = rb"[(\[](?:[^()\[\]]|[(\[][^()\[\]]*[)\]])*[)\]]"
_HANDED = re.compile(rb"&[\s(]*(?:[\w\s>.\-]|" + _GROUP + rb")*\Z")
_KEPT = re.compile(rb"\bdma_unmap_(?:addr|len)_set\s*\([^;{}]*,\Z")
_ALONE = re.compile(rb"\s*[),;]")
_SIMPLE_BASE = re.compile(rb"(?<![\w.>\])])\s*(\w+)\s*(?:->|\.)\Z")
# A member that is reached by adding its offset.
_BY_OFFSET = re.compile(rb"\+\s*offsetof\s*\([^()]*?(\w+)\s*\)")


def store_places(text: bytes, field: bytes, by: Setting, behind: bool = False) -> Iterator[tuple[int, bytes]]:
    """Where a member of this name is stored to, or handed on by address, and the variable before it if that is all.

    With `behind` also where it is kept or handed on itself, an array or a pointer through which others may store.
    """
    for at in occurrences(text, field):
        end = at + len(field)
        before = _before(text, at)
        if before.endswith((b"->", b".")):
            found = _STORED.match(text, end) or _HANDED.search(before) or by.handed.search(before)
            found = found or (_ALONE.match(text, end) if behind else None)
        else:
            found = by.named.search(before) if by.named is not None else None
        if found or (before.endswith(b",") and _KEPT.search(before)):
            base = _SIMPLE_BASE.search(before)
            yield at, base.group(1) if base else b""


def _before(text: bytes, at: int) -> bytes:
    """The last bytes before a place that are no blanks, comments or continued lines."""
    while True:
        window = 200
        while not (kept := text[max(0, at - window) : at].rstrip()) and window < at:
            window *= 8
        end = at - window + len(kept) if window < at else len(kept)
        if kept.endswith(b"*/") and (start := text.rfind(b"/*", 0, end)) >= 0:
            at = start
        elif kept.endswith(b"\\"):
            at = end - 1
        else:
            return kept


def by_offset(text: bytes, field: str) -> Iterator[int]:
    """Where a member of this name is reached by adding its offset."""
    name = field.encode()
    return (
        (found.start() for found in _BY_OFFSET.finditer(text) if found[1] == name) if b"offsetof" in text else iter(())
    )
