# SPDX-License-Identifier: GPL-2.0-only
"""Text of sources and paths as a reader may see it: what a terminal or a log would act on is shown, not sent."""

from __future__ import annotations


def visible(text: str) -> str:
    """`text` with control characters, and bytes that are no UTF-8, written as escapes; tabs stay."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one == "\t" else _escaped(one) for one in text)


def _escaped(one: str) -> str:
    code = ord(one)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00  # a byte that is no UTF-8, as Python reads it
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
