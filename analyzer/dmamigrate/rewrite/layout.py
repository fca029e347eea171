# SPDX-License-Identifier: GPL-2.0-only
"""One call rewritten in kernel style: names and arguments change, the author's line breaks stay where they can."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dmamigrate.findings import Edit
from dmamigrate.syntax.expr import Call
from dmamigrate.syntax.source import Source

_TAB = 8
_WIDE = 80
_WIDEST = 100


@dataclass(frozen=True, slots=True)
class NewCall:
    """What a call becomes: its name, and for each argument the index, from 0, of an old one or a new text."""

    name: str
    arguments: tuple[int | str, ...]


def moves(call: Call, new: NewCall) -> bool:
    """Whether an old argument stands in another place in the new call, or one is added or left out."""
    kept = [a == i for i, a in enumerate(new.arguments) if isinstance(a, int)]
    return len(new.arguments) != len(call.args) or not all(kept)


_DEFINE = re.compile(rb"[ \t]*#[ \t]*define\b")


def width(text: str, column: int = 0) -> int:
    """The column, from 0, behind `text` that begins at `column`, with tabs of eight."""
    for character in text:
        column = (column // _TAB + 1) * _TAB if character == "\t" else column + 1
    return column


def indent(column: int) -> str:
    """White space up to `column`: tabs, then spaces."""
    return "\t" * (column // _TAB) + " " * (column % _TAB)


def rewrite(source: Source, call: Call, new: NewCall) -> tuple[Edit, ...]:
    """The edits that turn `call` into `new`.

    Lines that were aligned with the opening parenthesis move with it. Only where a line becomes too long are the
    arguments broken anew: at 80 columns where the original kept to 80, else at 100.
    """
    if moves(call, new):
        line = source.data[source.offset(source.line(call.start)) : source.offset(source.line(call.end) + 1)]
        wide = _longest(line.decode("utf-8", "surrogateescape")) > _WIDE
        return _refilled(source, call, new, _WIDEST if wide else _WIDE)
    minimal = _minimal(source, call, new)
    first = source.offset(source.line(call.start))
    last = source.offset(source.line(call.end) + 1)
    before = source.data[first:last].decode("utf-8", "surrogateescape")
    after = apply(source.data, minimal, first, last).decode("utf-8", "surrogateescape")
    limit = _WIDE if _longest(before) <= _WIDE else _WIDEST
    if _longest(after) <= limit or _is_continued(source, call):
        return minimal
    return _refilled(source, call, new, limit)


def _longest(text: str) -> int:
    return max(width(line) for line in text.splitlines())


def _is_continued(source: Source, call: Call) -> bool:
    return b"\\\n" in source.data[call.start : call.end + 200].partition(b"\n")[0] + b"\n"


def apply(data: bytes, edits: tuple[Edit, ...], start: int = 0, end: int | None = None) -> bytes:
    """The bytes from `start` to `end` of `data`, both of the original, with the edits in them applied."""
    end = len(data) if end is None else end
    pieces: list[bytes] = []
    at = start
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        pieces += (data[at : edit.start], edit.text.encode("utf-8", "surrogateescape"))
        at = edit.end
    pieces.append(data[at:end])
    return b"".join(pieces)


def _minimal(source: Source, call: Call, new: NewCall) -> tuple[Edit, ...]:
    callee = call.parts[0]
    path = source.path
    edits = [Edit(path, callee.start, callee.end, new.name)]
    for position, argument in enumerate(new.arguments):
        if isinstance(argument, str):
            old = call.args[position]
            edits.append(Edit(path, old.start, old.end, argument))
    line_start = source.offset(source.line(callee.start))
    opening = source.blanked.index(b"(", callee.end)
    old_column = width(source.data[line_start : opening + 1].decode("utf-8", "replace"))
    shift = len(new.name) - (callee.end - callee.start)
    for line in range(source.line(callee.start) + 1, source.line(call.end - 1) + 1):
        start = source.offset(line)
        white = re.compile(rb"[ \t]*").match(source.data, start)
        assert white is not None, "an empty match is a match"
        column = width(white.group().decode())
        if column == old_column and shift and source.data[white.end() : white.end() + 1] not in (b"\n", b""):
            edits.append(Edit(path, start, white.end(), indent(column + shift)))
    return tuple(edits)


def _refilled(source: Source, call: Call, new: NewCall, limit: int) -> tuple[Edit, ...]:
    """Break the arguments anew behind the opening parenthesis."""
    callee = call.parts[0]
    opening = source.blanked.index(b"(", callee.end)
    raw = _raw_arguments(source, call, opening)
    if any("//" in text or "\n" in text for text in raw):
        return _appended(source, call, new, opening, limit)
    texts = [raw[a] if isinstance(a, int) else a for a in new.arguments]
    line_start = source.offset(source.line(callee.start))
    head = width(source.data[line_start : call.start].decode("utf-8", "replace"))
    column = head + len(new.name) + 1
    tail_end = source.data.find(b"\n", call.end)
    tail = (
        source.data[call.end : tail_end if tail_end >= 0 else len(source.data)].decode("utf-8", "replace").rstrip("\r")
    )
    text = _fill(texts, column, limit, len(tail) + 1)
    if (
        max(width(line, column if number == 0 else 0) for number, line in enumerate(text.split("\n"))) > limit
        and limit < _WIDEST
    ):
        text = _fill(texts, column, _WIDEST, len(tail) + 1)
    text = text.replace("\n", _line_end(source, call))
    return (Edit(source.path, call.start, call.end, f"{new.name}({text})"),)


def _line_end(source: Source, call: Call) -> str:
    """What ends a line where a call stands: in a #define with a backslash before it."""
    line = source.data[source.offset(source.line(call.start)) : call.start]
    continued = " \\" if _DEFINE.match(line) else ""
    return continued + ("\r\n" if b"\r\n" in source.data else "\n")


def _fill(texts: list[str], column: int, limit: int, tail: int) -> str:
    lines: list[str] = []
    current = ""
    for number, text in enumerate(texts):
        last = number == len(texts) - 1
        piece = text + ("" if last else ",")
        room = tail if last else 0
        if current and column + len(current) + 1 + len(piece) + room > limit:
            lines.append(current)
            current = piece
        else:
            current = f"{current} {piece}" if current else piece
    lines.append(current)
    return f"\n{indent(column)}".join(lines)


def _raw_arguments(source: Source, call: Call, opening: int) -> list[str]:
    """The arguments as written, comments between them included, without the commas and line breaks around them."""
    bounds = [opening + 1]
    for before, after in zip(call.args, call.args[1:], strict=False):
        comma = source.blanked.index(b",", before.end, after.start)
        bounds += (comma, comma + 1)
    bounds.append(call.end - 1)
    return [
        source.data[bounds[i] : bounds[i + 1]].decode("utf-8", "surrogateescape").strip()
        for i in range(0, len(bounds), 2)
    ]


def _appended(source: Source, call: Call, new: NewCall, opening: int, limit: int) -> tuple[Edit, ...]:
    """Keep every line as it is, and put what became too long on a line of its own."""
    edits = list(_minimal(source, call, new))
    last = call.args[-1]
    changed = next((e for e in edits if e.start == last.start and e.end == last.end), None)
    if changed is None:
        return tuple(edits)
    callee = call.parts[0]
    line_start = source.offset(source.line(callee.start))
    column = width(source.data[line_start : callee.start].decode("utf-8", "replace")) + len(new.name) + 1
    edits.remove(changed)
    gap = last.start
    while source.data[gap - 1 : gap] in (b" ", b"\t"):
        gap -= 1
    edits.append(Edit(source.path, gap, last.end, f"{_line_end(source, call)}{indent(column)}{changed.text}"))
    return tuple(sorted(edits, key=lambda edit: edit.start))
