# SPDX-License-Identifier: GPL-2.0-only
"""One change: the findings whose rewrites go together, and what they make of each file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from dmamigrate.errors import UsageError
from dmamigrate.findings import Edit, Finding
from dmamigrate.rewrite.diff import diff
from dmamigrate.rewrite.layout import apply
from dmamigrate.syntax.source import Source


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file before and after; `before` is empty for a new one."""

    path: str
    before: bytes
    after: bytes
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes one patch."""

    findings: tuple[Finding, ...]
    files: tuple[FileChange, ...]


def wanted(findings: Iterable[Finding], unproved: bool) -> list[Finding]:
    """The findings whose rewrite may be written: those that are proved, with `unproved` any that is proposed and not
    refuted.
    """
    statuses = ("proved", "unknown") if unproved else ("proved",)
    return [f for f in findings if f.rewrite.status == "proposed" and f.verdict.status in statuses]


def together(findings: Iterable[Finding]) -> list[frozenset[str]]:
    """The files that each rewrite changes at once."""
    return sorted({frozenset(edit.path for edit in finding.rewrite.edits) for finding in findings}, key=sorted)


def change(findings: Iterable[Finding], files: frozenset[str], read: Callable[[str], FileChange]) -> Change:
    """The change that the rewrites of `findings` make to `files`, which `read` gives as they are.

    Raises UsageError if a file is not any more what was scanned, or if two rewrites want different things of one place.
    """
    mine = tuple(f for f in findings if {edit.path for edit in f.rewrite.edits} <= files)
    done: list[FileChange] = []
    for path in sorted(files):
        file = read(path)
        before = file.before
        edits: set[Edit] = set()
        for finding in mine:
            own = tuple(edit for edit in finding.rewrite.edits if edit.path == path)
            if own and diff(Source(path, before), own) not in finding.rewrite.diff:
                raise UsageError(f"{path}: changed while it was read; run it again")
            edits |= set(own)
        ordered = sorted(edits, key=lambda edit: (edit.start, edit.end))
        for one, other in pairwise(ordered):
            if other.start < one.end:
                raise UsageError(f"{path}: two rewrites change the same place; use --select to take one of their rules")
        done.append(replace(file, after=apply(before, tuple(ordered))))
    return Change(mine, tuple(done))
