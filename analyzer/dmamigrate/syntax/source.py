# SPDX-License-Identifier: GPL-2.0-only
"""A source file as bytes, and the same bytes with comments, strings and directives blanked out.

Every text here has the length of the original, so an offset means the same place in all of them.
"""

from __future__ import annotations

import bisect
import errno
import os
import re
import stat
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dmamigrate.errors import SourceError

# One alternation, so that a quote inside a comment and a comment inside a string are both told apart.
_COMMENT_OR_LITERAL = re.compile(
    rb"//(?:[^\n\\]|\\.)*"
    rb"|/\*.*?(?:\*/|\Z)"
    rb'|"(?:[^"\\\n]|\\.)*"'
    rb"|'(?:[^'\\\n]|\\.)*'",
    re.DOTALL,
)
_CONDITIONAL = re.compile(rb"^[ \t]*#[ \t]*(if|ifdef|ifndef|elif|else|endif)\b([^\n]*)", re.MULTILINE)
_OTHER_DIRECTIVE = re.compile(
    rb"^[ \t]*#[ \t]*(?!if\b|ifdef\b|ifndef\b|elif\b|else\b|endif\b)(?:[^\n\\]|\\.)*", re.MULTILINE | re.DOTALL
)
# What holds C: sources and headers, and what is included as either.
SUFFIXES = (".c", ".h", ".inc", ".inl", ".c_shipped")
_BOM = b"\xef\xbb\xbf"
_BLANK = bytes(byte if byte == 0x0A else 0x20 for byte in range(256))


def _blank_literal(match: re.Match[bytes]) -> bytes:
    text = match.group()
    if text[0] == 0x22:
        return b'"' + b" " * (len(text) - 2) + b'"'
    if text[0] == 0x27:
        return b"'" + b"0" * (len(text) - 2) + b"'"
    return b" " * len(text)


def blank(data: bytes) -> bytes:
    """Replace comments by spaces and the insides of literals by filler, byte for byte."""
    text = _COMMENT_OR_LITERAL.sub(_blank_literal, data)
    if text.startswith(_BOM):
        text = b"   " + text[3:]
    if b"\r" in text:
        # a continuation stays one: its backslash moves next to the line feed
        text = text.replace(b"\\\r\n", b" \\\n").replace(b"\r", b" ")
    return text


def spaces(text: bytes) -> bytes:
    """White space in place of `text`, its line ends kept."""
    return text.translate(_BLANK)


def _without_dead_code(text: bytes) -> bytes:
    """Blank what stands under `#if 0`: no kernel ever compiles it."""
    pieces: list[bytes] = []
    done = 0
    depth = 0
    dead_from = -1
    dead_depth = 0
    for match in _CONDITIONAL.finditer(text):
        word = match.group(1)
        if word in (b"if", b"ifdef", b"ifndef"):
            depth += 1
            if dead_from < 0 and word == b"if" and match.group(2).strip() == b"0":
                dead_from, dead_depth = match.end(), depth
        elif dead_from >= 0 and depth == dead_depth:
            pieces += (text[done:dead_from], spaces(text[dead_from : match.start()]))
            done = match.start()
            dead_from = -1
        if word == b"endif":
            depth -= 1
    pieces.append(text[done:])
    return b"".join(pieces)


# What holds C: sources and headers, and what is included as either.
SUFFIXES = (".c", ".h", ".inc", ".inl", ".c_shipped")


@dataclass(frozen=True)
class Source:
    """One file. `path` is relative to the tree root with forward slashes; `data` is what the file holds."""

    path: str
    data: bytes

    @cached_property
    def blanked(self) -> bytes:
        """The file without comments, literals' contents and `#if 0` code."""
        text = blank(self.data)
        return _without_dead_code(text) if b"if 0" in text else text

    @cached_property
    def code(self) -> bytes:
        """`blanked` without #define, #include and the like; the #if family stays."""
        return _OTHER_DIRECTIVE.sub(lambda match: spaces(match.group()), self.blanked)

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer(rb"\n", self.data))]

    def line(self, offset: int) -> int:
        """The line, from 1, that holds the byte at `offset`."""
        return bisect.bisect_right(self._line_starts, offset)

    def column(self, offset: int) -> int:
        """The column, in bytes from 1, of the byte at `offset`."""
        return offset - self._line_starts[self.line(offset) - 1] + 1

    def offset(self, line: int) -> int:
        """Where the `line`, from 1, begins; the end of the file for a line past it."""
        return self._line_starts[line - 1] if line <= len(self._line_starts) else len(self.data)

    def line_text(self, line: int) -> str:
        """The text of `line`, from 1, without its line end."""
        text = self.data[self.offset(line) : self.offset(line + 1)]
        return text.rstrip(b"\r\n").decode("utf-8", "replace")

    def text(self, start: int, end: int) -> str:
        """The original text between two offsets, with runs of white space folded to one space."""
        return " ".join(self.data[start:end].decode("utf-8", "replace").replace("\\\n", " ").split())


def contents(file: str | Path, most: int = 1 << 26) -> bytes:
    """The bytes of a regular file.

    Raises OSError for any other, which may never end or never begin, whatever stood there when it was looked for; and
    for one of more than `most` bytes.
    """
    return opened(file, most)[0]


def opened(file: str | Path, most: int = 1 << 26) -> tuple[bytes, os.stat_result]:
    """The bytes of a regular file, and what it was before they were read. Raises OSError as `contents` does."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "is no regular file")
        if status.st_size > most:
            raise OSError(errno.EFBIG, f"is larger than {most >> 20} MB")
        return os.read(descriptor, status.st_size + 1), status
    finally:
        os.close(descriptor)


def read(file: Path, path: str) -> Source:
    """Read `file`, to be called `path` in reports.

    Raises SourceError if it cannot be read or is binary.
    """
    try:
        data = contents(file)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}") from error
    return of_bytes(path, data)


def of_bytes(path: str, data: bytes) -> Source:
    """What `path` holds, as C source. Raises SourceError if it is binary."""
    if b"\0" in data:
        raise SourceError("holds NUL bytes, so it is not C source")
    return Source(path, data)
