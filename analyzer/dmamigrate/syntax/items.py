# SPDX-License-Identifier: GPL-2.0-only
"""What stands at the top level of a file, found without parsing it: only what a question needs is parsed later."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dmamigrate.syntax.dialect import blank_head, opening
from dmamigrate.syntax.source import Source

# What code has no other use for than a directive is not looked for at the beginning of lines only: that is slow.
_TOKEN = re.compile(rb"[{}]|#[ \t]*(?:if|el|endif)[^\n]*")
_TAG = re.compile(rb"\b(struct|union|enum)(?:\s+(\w+))?\s*\Z")
_VARIABLE = re.compile(rb"\b(\w+)\s*(?:\[[^;{}]*\]\s*)*=\s*\Z")
# A function in the old style: the names of its parameters, then what they are.
_OLD_STYLE = re.compile(rb"\b(\w+)\s*(\()\s*\w+(?:\s*,\s*\w+)*\s*\)\s*(?:[A-Za-z_][\w\s*,\[\]]*;\s*)+\Z")
_NAME_BEFORE = re.compile(rb"\b(\w+)\s*\Z")


@dataclass(frozen=True, slots=True)
class Item:
    """A top-level piece of a file with braces.

    `kind` is "function", "type" (struct, union, enum) or "variable". Offsets are bytes: `head` where it begins,
    `body` its opening brace, `end` behind its closing brace; for a function `params` is its opening parenthesis.
    """

    kind: str
    name: str
    head: int
    params: int
    body: int
    end: int


def _classify(source: Source, head: int, body: int, end: int) -> Item | None:
    if (old := _old_style(source.code, head, body)) is not None:
        start = head + len(source.code[head:body]) - len(source.code[head:body].lstrip())
        return Item("function", old[1].decode(), start, old.start(2), body, end)
    text = blank_head(source.code[head:body])
    stripped = text.rstrip()
    start = head + len(text) - len(text.lstrip())
    if stripped.endswith(b")"):
        params = opening(stripped, len(stripped) - 1)
        name = _NAME_BEFORE.search(stripped, 0, params) if params > 0 else None
        if name is not None:
            return Item("function", name.group(1).decode(), start, head + params, body, end)
    elif variable := _VARIABLE.search(stripped):
        return Item("variable", variable.group(1).decode(), start, -1, body, end)
    elif tag := _TAG.search(stripped):
        return Item("type", (tag.group(2) or b"").decode(), start, -1, body, end)
    return None


def _old_style(text: bytes, head: int, body: int) -> re.Match[bytes] | None:
    """The declarator of a function in the old style: no other body follows a semicolon."""
    return _OLD_STYLE.search(text, head, body) if text[head:body].rstrip().endswith(b";") else None


def items(source: Source) -> Iterator[Item]:
    """Yield the functions, types and initialised variables of `source`, in order.

    Braces that do not match end at the next opening brace in column 1, as an unterminated function does.
    """
    text = source.code
    depth = 0
    body = -1
    head = 0
    saved: list[int] = []
    for match in _TOKEN.finditer(text):
        token = match.group()
        at = match.start()
        if token == b"{":
            if depth > 0 and (at == 0 or text[at - 1] == 0x0A):
                if item := _classify(source, head, body, at):
                    yield item
                head = text.rfind(b"\n", 0, text.rfind(b"(", body, at)) + 1 if text.rfind(b"(", body, at) > 0 else at
                depth = 0
            if depth == 0:
                body = at
            depth += 1
        elif token == b"}":
            depth = max(0, depth - 1)
            if depth == 0 and body >= 0:
                old = _old_style(text, head, body)
                start = max(head, text.rfind(b";", head, body if old is None else old.start()) + 1)
                if item := _classify(source, start, body, at + 1):
                    yield item
                head, body = at + 1, -1
        else:
            word = token.lstrip(b" \t#")
            if word.startswith(b"if"):
                saved.append(depth)
            elif word.startswith(b"el") and saved:
                depth = saved[-1]
            elif word.startswith(b"endif") and saved:
                saved.pop()
    if body >= 0 and (item := _classify(source, head, body, len(text))):
        yield item
