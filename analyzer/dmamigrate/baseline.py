# SPDX-License-Identifier: GPL-2.0-only
"""The findings of a tree that are known and not to be shown again, in a file that shrinks as they are mended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import msgspec

from dmamigrate.errors import UsageError
from dmamigrate.findings import Finding, Report, Silenced, unplaced

REASON = "in the baseline"


class Entry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A known finding; all but the fingerprint is for readers, and for a file that has moved."""

    fingerprint: str
    rule: str
    path: str
    function: str
    callee: str
    message: str


class _File(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    version: int
    findings: tuple[Entry, ...]


def read(file: Path) -> tuple[Entry, ...]:
    """The entries of a baseline. Raises UsageError if it cannot be read or is none."""
    try:
        found = msgspec.json.decode(file.read_bytes(), type=_File)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}; --write-baseline makes a baseline") from error
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"{file}: no baseline ({error}); --write-baseline makes one") from error
    if found.version != 1:
        raise UsageError(f"{file}: a baseline of version {found.version}, this dmamigrate reads 1; write it anew")
    return found.findings


def text(findings: Iterable[Finding]) -> str:
    """A baseline of `findings`, one entry a line so that a change of it can be read."""
    entries = [msgspec.to_builtins(_entry(finding)) for finding in findings]
    rows = ",\n".join(
        f"  {json.dumps(entry)}" for entry in sorted(entries, key=lambda e: (e["path"], e["fingerprint"]))
    )
    return (
        f'{{\n "version": 1,\n "findings": [\n{rows}\n ]\n}}\n' if rows else '{\n "version": 1,\n "findings": []\n}\n'
    )


def _entry(finding: Finding) -> Entry:
    return Entry(
        finding.fingerprint, finding.rule, finding.span.path, finding.function, finding.callee, finding.message
    )


def _substance(rule: str, function: str, callee: str, message: str) -> tuple[str, ...]:
    """What a finding is recognised by in whatever file."""
    return rule, function, callee, unplaced(message)


def apply(report: Report, entries: Iterable[Entry], covered: Callable[[str], bool]) -> tuple[Report, list[Entry]]:
    """The report without what the baseline knows, and the entries that are there no more in the files that are
    `covered`.

    A finding is known by its fingerprint, or, where its file moved, by its rule, function, callee and message.
    """
    left = {entry.fingerprint: entry for entry in entries}
    known = {id(f) for f in report.findings if left.pop(f.fingerprint, None) is not None}
    root = Path(report.root)
    moved: dict[tuple[str, ...], list[Entry]] = {}
    for entry in left.values():
        if not (root / entry.path).exists():
            moved.setdefault(_substance(entry.rule, entry.function, entry.callee, entry.message), []).append(entry)
    for finding in report.findings:
        waiting = moved.get(_substance(finding.rule, finding.function, finding.callee, finding.message))
        if id(finding) not in known and waiting:
            del left[waiting.pop(0).fingerprint]
            known.add(id(finding))
    silenced = tuple(Silenced(f, REASON) for f in report.findings if id(f) in known)
    kept = tuple(f for f in report.findings if id(f) not in known)
    gone = [entry for entry in left.values() if covered(entry.path) or not (root / entry.path).exists()]
    return replace(report, findings=kept, silenced=(*report.silenced, *silenced)), gone
