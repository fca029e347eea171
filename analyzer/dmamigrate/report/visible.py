# SPDX-License-Identifier: GPL-2.0-only
"""Text of strangers made harmless to show: names, comments and code may hold what steers a terminal or forges a
line.
"""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any, TypeVar, cast

# Control characters of both sets, what changes the direction of text or has no width, other line ends, bytes that are
# no UTF-8.
_HIDDEN = (
    "\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff"
)
_IN_LINE = re.compile(f"[{_HIDDEN}]")
_IN_CODE = re.compile(f"(?!\t)[{_HIDDEN}]")
_IN_DIFF = re.compile(f"(?![\t\n])[{_HIDDEN}]")
_LONE = re.compile("[\ud800-\udfff]")
_NAMES = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
# Texts of several lines, all of them ours to break.
_DIFFS = frozenset({"diff"})

Value = TypeVar("Value")


def visible(text: str) -> str:
    """`text` on one line, with what cannot be seen written as an escape of C."""
    return _IN_LINE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    character = found.group()
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00  # a byte that is no UTF-8, as Python keeps it
    return _NAMES.get(character) or (
        f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )


def shown(value: Value) -> Value:
    """A record, such as a report, with all its texts made visible: lines of code keep their tabs, diffs their lines
    too.
    """
    return cast(Value, _mapped(value, ""))


def _mapped(value: Any, name: str) -> Any:
    match value:
        case Enum():
            return value
        case str():
            return (_IN_DIFF if name in _DIFFS else _IN_CODE).sub(_escape, value)
        case tuple():
            return tuple(_mapped(one, name) for one in value)
        case dict():
            return {_mapped(key, name): _mapped(one, name) for key, one in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: _mapped(getattr(value, one.name), one.name) for one in fields(value)})
    return value


def encodable(value: Any) -> Any:
    """Plain data, as JSON holds it, with the bytes that are no UTF-8 written as escapes; other text stays what it
    is.
    """
    match value:
        case str():
            return _LONE.sub(_escape, value)
        case list() | tuple():
            return [encodable(one) for one in value]
        case dict():
            return {encodable(key): encodable(one) for key, one in value.items()}
    return value
