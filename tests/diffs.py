# SPDX-License-Identifier: GPL-2.0-only
"""Unified diffs for tests that write patches."""

from __future__ import annotations

from difflib import unified_diff


def diff(path: str, before: bytes, after: bytes) -> str:
    """What turns one text of a file into the other."""

    def lines(data: bytes) -> list[str]:
        text = data.decode("utf-8", "surrogateescape").split("\n")
        return [line + "\n" for line in text[:-1]] + ([text[-1]] if text[-1] else [])

    found = unified_diff(lines(before), lines(after), f"a/{path}", f"b/{path}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in found)
