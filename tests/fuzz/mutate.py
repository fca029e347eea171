# SPDX-License-Identifier: GPL-2.0-only
"""Small damage to texts: what editors, mailers, merges and attackers do."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

Mutator = Callable[[Random, bytes], bytes]

_TOKENS = (
    b"(", b")", b"{", b"}", b"[", b"]", b",", b";", b'"', b"'", b"/*", b"*/", b"//", b"\\\n", b"#if 0\n", b"#if X\n",
    b"#else\n",
    b"#endif\n", b"#define A(x) x\n", b"\n#include <a.h>\n", b" 0", b" | DMA_ATTR_MMIO", b"NULL", b"&", b"*", b"->",
    b"?", b":", b"=",
    b"goto out;", b"return 0;", b"out:", b"static ", b"typedef ", b"struct s { int a; }", b"({", b"})", b"##",
    b"dma_map_resource(",
    b"dma_unmap_resource(d, h, s, r, 0);", b"dma_map_phys(", b"\xef\xbb\xbf", b"\xff", b"\x80", b"\xc3", b"\x00",
    b"\x1b[2J", b"\r",
    b"\r\n", b"\x0c", b"\t", "\u202e".encode(), b"%s%n", b"\n", b"\n\n", b"@@ -1 +1 @@\n", b"diff --git a/x b/x\n",
    b"--- a/../x\n",
    b"+++ b/.git/config\n", b"rename from ../x\n", b"copy from /etc/passwd\n", b"\nFrom x Mon Sep 17 00:00:00 2001\n",
    b"\n-- \n",
    b"GIT binary patch\n", b"[", b"]]", b"= [", b'"""', b"'''", b"1e999", b"{a=1}", b"[[source]]\n",
)  # fmt: skip
_CALL = re.compile(rb"\bdma_(?:un)?map_\w+\s*\([^;]*;|\bdma_mapping_error\s*\([^;]*;")


def _place(chance: Random, data: bytes) -> int:
    """A place to do damage: often in or beside a mapping call."""
    calls = list(_CALL.finditer(data)) if chance.random() < 0.5 else []
    if calls:
        call = chance.choice(calls)
        return chance.randint(max(0, call.start() - 10), min(len(data), call.end() + 10))
    return chance.randint(0, len(data))


def _span(chance: Random, data: bytes, most: int) -> tuple[int, int]:
    start = _place(chance, data)
    return start, min(len(data), start + chance.randint(1, most))


def _delete(chance: Random, data: bytes) -> bytes:
    start, end = _span(chance, data, 12)
    return data[:start] + data[end:]


def _delete_more(chance: Random, data: bytes) -> bytes:
    start, end = _span(chance, data, 600)
    return data[:start] + data[end:]


def _insert(chance: Random, data: bytes) -> bytes:
    at = _place(chance, data)
    return data[:at] + chance.choice(_TOKENS) + data[at:]


def _replace(chance: Random, data: bytes) -> bytes:
    start, end = _span(chance, data, 3)
    return data[:start] + chance.choice(_TOKENS) + data[end:]


def _flip(chance: Random, data: bytes) -> bytes:
    if not data:
        return data
    at = min(_place(chance, data), len(data) - 1)
    return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]


def _twice(chance: Random, data: bytes) -> bytes:
    start, end = _span(chance, data, 400)
    return data[:end] + data[start:end] * chance.choice((1, 1, 2, 40)) + data[end:]


def _lines(chance: Random, data: bytes, change: Callable[[list[bytes], int, int], None]) -> bytes:
    lines = data.split(b"\n")
    change(lines, chance.randrange(len(lines)), chance.randrange(len(lines)))
    return b"\n".join(lines)


def _swap_lines(chance: Random, data: bytes) -> bytes:
    def swap(lines: list[bytes], one: int, other: int) -> None:
        lines[one], lines[other] = lines[other], lines[one]

    return _lines(chance, data, swap)


def _drop_line(chance: Random, data: bytes) -> bytes:
    return _lines(chance, data, lambda lines, one, _: lines.__delitem__(one))


def _join_lines(chance: Random, data: bytes) -> bytes:
    at = data.find(b"\n", _place(chance, data))
    return data if at < 0 else data[:at] + data[at + 1 :]


def _one_line(chance: Random, data: bytes) -> bytes:
    start, end = _span(chance, data, 3000)
    return data[:start] + data[start:end].replace(b"\n", b" ") + data[end:]


def _truncate(chance: Random, data: bytes) -> bytes:
    return data[: _place(chance, data)]


def _behead(chance: Random, data: bytes) -> bytes:
    return data[_place(chance, data) :]


def _rename_word(chance: Random, data: bytes) -> bytes:
    words = re.findall(rb"\b[A-Za-z_]\w{2,}\b", data[:20_000])
    if not words:
        return data
    old, new = chance.choice(words), chance.choice(words)
    return re.sub(rb"\b" + old + rb"\b", lambda _: new, data, count=chance.choice((0, 1)))


def _long_word(chance: Random, data: bytes) -> bytes:
    at = _place(chance, data)
    return (
        data[:at]
        + chance.choice((b"x", b"_", b"0", b"(", b"-", b"!", b'"')) * chance.choice((300, 3000, 20_000))
        + data[at:]
    )


def _nested(chance: Random, data: bytes) -> bytes:
    opens, closes = chance.choice(
        ((b"(", b")"), (b"{", b"}"), (b"f(", b")"), (b"if (a) ", b""), (b"a + ", b"1"), (b"else ", b""))
    )
    at, count = _place(chance, data), chance.choice((50, 500, 3000))
    return data[:at] + opens * count + closes * count + data[at:]


def _line_ends(chance: Random, data: bytes) -> bytes:
    return data.replace(b"\n", chance.choice((b"\r\n", b"\r", b"\n\n", b" \\\n")), chance.choice((1, 20, -1)))


def _latin(chance: Random, data: bytes) -> bytes:
    old, new = chance.choice((b"e", b"a", b"_", b" ")), chance.choice((b"\xe9", b"\xff", "\u202e".encode()))
    return data.replace(old, new, chance.choice((1, 9)))


def _unbalance(chance: Random, data: bytes) -> bytes:
    brackets = [at for at, byte in enumerate(data[:50_000]) if byte in b"(){}\"'"]
    if not brackets:
        return data
    at = chance.choice(brackets)
    return data[:at] + data[at + 1 :]


MUTATORS: tuple[Mutator, ...] = (
    _delete, _delete, _delete_more, _insert, _insert, _insert, _replace, _replace, _flip, _twice, _swap_lines,
    _drop_line, _join_lines,
    _one_line, _truncate, _behead, _rename_word, _long_word, _nested, _line_ends, _latin, _unbalance, _unbalance,
)  # fmt: skip


def mutated(chance: Random, seeds: Sequence[bytes]) -> bytes:
    """One of `seeds`, or two spliced together, damaged in one to five places; at most 400,000 bytes."""
    data = chance.choice(seeds)
    if chance.random() < 0.1:
        other = chance.choice(seeds)
        data = data[: _place(chance, data)] + other[_place(chance, other) :]
    for _ in range(chance.randint(1, 5)):
        data = chance.choice(MUTATORS)(chance, data)
    return data[:400_000]
