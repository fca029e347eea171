# SPDX-License-Identifier: GPL-2.0-only
"""What a report shows together: the findings of one place, the places of one driver, and what is to be done with
each.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from dmamigrate.findings import MEANING, Category, Finding, Level, Report, Verdict
from dmamigrate.rules import Rule

_WEIGHT = {Level.ERROR: 0, Level.WARNING: 1, Level.NOTE: 2}
LEVELS = (Level.ERROR, Level.WARNING, Level.NOTE)


class Todo(StrEnum):
    """What is to be done with a finding."""

    READY = "ready"
    CHECK = "to check"
    HELD = "held back"
    HAND = "by hand"


@dataclass(frozen=True)
class View:
    """How a report is shown.

    `folder` is what paths in text are relative to, `rules` are the known ones by name, `drivers` and `areas` name the
    driver and the subsystem of a file by its path. `evidence` adds where each address comes from, `diff` the rewrites;
    `quiet` leaves the summary. `asked` are the words of the command line that say what was looked at, for the next
    command.
    """

    folder: str = field(default_factory=os.getcwd)
    rules: Mapping[str, Rule] = field(default_factory=dict)
    drivers: Mapping[str, str] = field(default_factory=dict)
    areas: Mapping[str, str] = field(default_factory=dict)
    evidence: bool = False
    diff: bool = False
    quiet: bool = False
    asked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """The findings that stand at one line and column; the first one leads."""

    findings: tuple[Finding, ...]

    @property
    def lead(self) -> Finding:
        """The finding that says what the place is about: a defect if there is one, the gravest of them."""
        return self.findings[0]

    @property
    def same(self) -> tuple[Finding, ...]:
        """The lead, and what asks for the very same edits under another name."""
        edits = self.lead.rewrite.edits
        return tuple(f for f in self.findings if f is self.lead or (edits and f.rewrite.edits == edits))

    @property
    def others(self) -> tuple[Finding, ...]:
        """What else stands here."""
        return tuple(f for f in self.findings if f not in self.same)


@dataclass(frozen=True, slots=True)
class Block:
    """The places of one driver."""

    driver: str
    places: tuple[Place, ...]


def places(findings: Iterable[Finding]) -> list[Place]:
    """The findings by place, in the order of the report."""
    held: dict[tuple[str, int, int], list[Finding]] = {}
    for finding in findings:
        held.setdefault((finding.span.path, finding.span.line, finding.span.column), []).append(finding)
    return [Place(tuple(sorted(group, key=rank))) for group in held.values()]


def rank(finding: Finding) -> tuple[bool, int, str]:
    """What orders findings by how much they matter: defects first, then by level."""
    return finding.category is not Category.DEFECT, _WEIGHT[finding.level], finding.rule


def blocks(found: Iterable[Place], drivers: Mapping[str, str]) -> list[Block]:
    """The places by driver; the driver with the gravest place first."""
    held: dict[str, list[Place]] = {}
    for place in found:
        path = place.lead.span.path
        held.setdefault(drivers.get(path, path.rpartition("/")[0]), []).append(place)
    made = [
        Block(driver, tuple(sorted(group, key=lambda place: rank(place.lead)[:2]))) for driver, group in held.items()
    ]
    return sorted(made, key=lambda block: min(_WEIGHT[place.lead.level] for place in block.places))


def todo(finding: Finding) -> Todo:
    """What is to be done with a finding."""
    match finding.rewrite.status, finding.verdict.status:
        case "proposed", "proved":
            return Todo.READY if finding.origin is None or finding.origin.certain else Todo.CHECK
        case "none", _:
            return Todo.HAND
        case "withheld", _ if finding.category is Category.DEFECT:
            return Todo.HAND
    return Todo.HELD


def advice(finding: Finding, report: Report, rules: Mapping[str, Rule]) -> str:
    """What to do next, in a sentence that needs no other."""
    what = todo(finding)
    origin = finding.origin
    match what:
        case Todo.READY:
            return f"ready: {effect(finding.verdict, report.target)}"
        case Todo.CHECK:
            some = " on some paths, ".join(MEANING[kind] for kind in origin.kinds) if origin is not None else ""
            why = (origin.gave_up if origin is not None else None) or f"the address is {some} on others"
            return f"to check: {effect(finding.verdict, report.target)}, but {why}"
        case Todo.HELD if finding.category is Category.MIGRATION:
            return f"held back: {finding.rewrite.reason or _doubt(finding.verdict)}"
    rule = rules.get(finding.rule)
    known = (rule.advice if rule is not None else None) or finding.rewrite.reason
    return f"by hand: {known}" if known else f"see: dmamigrate rules {finding.rule}"


def _doubt(verdict: Verdict) -> str:
    if verdict.status == "refuted":
        return f"the rewrite would break something: {verdict.reason}"
    return f"not proved: {verdict.reason or 'no rewrite is known'}"


def effect(verdict: Verdict, target: str) -> str:
    """What a proved rewrite does to the driver, in words."""
    if verdict.refined:
        return f"same behaviour on {target}, safer in {verdict.refined:,} of {verdict.states:,} machine setups"
    return f"same behaviour on {target}"


def here(report: Report, path: str, folder: str) -> str:
    """`path` of the report as it is written in `folder`, so that it can be pasted back."""
    if not Path(report.root).is_absolute():
        return path
    absolute = os.path.normpath(os.path.join(report.root, path))
    relative = os.path.relpath(absolute, folder)
    return absolute if relative.startswith("..") and len(absolute) < len(relative) else relative


def plural(count: int, what: str) -> str:
    """A count with its noun."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def defects_first(found: Iterable[Place]) -> tuple[list[Place], list[Place]]:
    """The places that are wrong today, and those that are only to be moved."""
    held = list(found)
    wrong = [place for place in held if place.lead.category is Category.DEFECT]
    return wrong, [place for place in held if place.lead.category is not Category.DEFECT]
