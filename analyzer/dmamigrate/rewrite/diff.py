# SPDX-License-Identifier: GPL-2.0-only
"""Edits of one file as a unified diff: only the lines around them are looked at, so that a long file costs no more."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher

from dmamigrate.findings import Edit
from dmamigrate.rewrite.layout import apply
from dmamigrate.syntax.source import Source

_CONTEXT = 3
_ESCAPES = {"\t": "\\t", "\n": "\\n", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def diff(source: Source, edits: Iterable[Edit]) -> str:
    """The unified diff that the edits of `source` are, empty if they change nothing."""
    ordered = sorted(edits, key=lambda edit: (edit.start, edit.end))
    hunks, grown = [], 0
    for near in _near(source, ordered):
        first, last = source.line(near[0].start), source.line(near[-1].end)
        start, end = source.offset(first), source.offset(last + 1)
        old, new = _lines(source.data[start:end]), _lines(apply(source.data, near, start, end))
        if old == new:
            continue
        top, bottom = source.offset(max(first - _CONTEXT, 1)), source.offset(last + 1 + _CONTEXT)
        above, below = _lines(source.data[top:start]), _lines(source.data[end:bottom])
        around = len(above) + len(below)
        at = first - len(above)
        hunks.append(f"@@ -{_range(at, around + len(old))} +{_range(at + grown, around + len(new))} @@\n")
        hunks += [_line(" ", line) for line in above]
        hunks += _changed(old, new)
        hunks += [_line(" ", line) for line in below]
        grown += len(new) - len(old)
    return "".join([f"--- {_quoted(f'a/{source.path}')}\n+++ {_quoted(f'b/{source.path}')}\n", *hunks]) if hunks else ""


def _near(source: Source, edits: list[Edit]) -> Iterator[tuple[Edit, ...]]:
    """The edits, those together whose lines of context meet."""
    together: list[Edit] = []
    for edit in edits:
        if together and source.line(edit.start) - source.line(together[-1].end) > 2 * _CONTEXT:
            yield tuple(together)
            together = []
        together.append(edit)
    if together:
        yield tuple(together)


def _changed(old: list[str], new: list[str]) -> Iterator[str]:
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            yield from (_line(" ", line) for line in old[i1:i2])
        else:
            yield from (_line("-", line) for line in old[i1:i2])
            yield from (_line("+", line) for line in new[j1:j2])


def _lines(data: bytes) -> list[str]:
    """Lines with their ends; a form feed ends none, as git sees it."""
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    return [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def _line(sign: str, line: str) -> str:
    return sign + line if line.endswith("\n") else f"{sign}{line}\n\\ No newline at end of file\n"


def _range(line: int, count: int) -> str:
    return f"{line - (count == 0)}" + (f",{count}" if count != 1 else "")


def _quoted(name: str) -> str:
    """A file name as git has it in a diff: in quotes, with the escapes of C, if it holds anything unusual."""
    if re.fullmatch(r"[^\x00-\x1f\x7f-\U0010ffff\"\\]*", name):
        return name
    pieces = []
    for byte in name.encode("utf-8", "surrogateescape"):
        character = chr(byte)
        plain = 0x20 <= byte < 0x7F and character not in '"\\'
        pieces.append(character if plain else _ESCAPES.get(character, f"\\{byte:03o}"))
    return f'"{"".join(pieces)}"'
