# SPDX-License-Identifier: GPL-2.0-only
"""The report as one page that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from dmamigrate.findings import MEANING, Finding, Report
from dmamigrate.report.places import LEVELS, View, advice, rank, todo
from dmamigrate.report.visible import visible

_CONTEXT = 4  # lines around the one that a finding stands on
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class _Count:
    """A bar of the overview: how many findings have a value in one of the columns."""

    column: str
    value: str
    count: int
    share: int


@dataclass(frozen=True, slots=True)
class _Hunk:
    """One hunk of a rewrite, as the lines before and those after it, each with whether it differs."""

    path: str
    head: str
    before: tuple[tuple[bool, str], ...]
    after: tuple[tuple[bool, str], ...]


@dataclass(frozen=True, slots=True)
class _Row:
    """A finding, with what the page says of it."""

    finding: Finding
    driver: str
    area: str
    todo: str
    advice: str
    source: tuple[tuple[int, str], ...]
    hunks: tuple[_Hunk, ...]


def _shown(value: object) -> object:
    """Text from a source or a path, safe to show; everything that the page prints passes here."""
    return "\t".join(map(visible, value.split("\t"))) if type(value) is str else value


def render(report: Report, view: View) -> str:
    """The whole page."""
    script = (_HERE / "page.js").read_text("utf-8")
    # no other script runs, whatever a source may hold
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rows = [_row(finding, report, view) for finding in sorted(report.findings, key=rank)]
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=_shown, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((_HERE / "page.html").read_text("utf-8"))
    return template.render(
        report=report,
        rows=rows,
        rules=view.rules,
        meaning=MEANING,
        levels=[str(level) for level in LEVELS],
        overview=_overview(rows),
        style=Markup((_HERE / "page.css").read_text("utf-8")),
        script=Markup(script),
        allowed=allowed,
    )


def _row(finding: Finding, report: Report, view: View) -> _Row:
    path = finding.span.path
    folder = path.rpartition("/")[0] or "."
    return _Row(
        finding,
        view.drivers.get(path, folder),
        view.areas.get(path, folder),
        str(todo(finding)),
        advice(finding, report, view.rules),
        tuple(_source(finding, report)),
        tuple(_hunks(finding.rewrite.diff)) if finding.rewrite.status == "proposed" else (),
    )


def _source(finding: Finding, report: Report) -> Iterator[tuple[int, str]]:
    """The lines around a finding; only its own where the file on disk is not the one that was judged."""
    span = finding.span
    own = report.lines.get((span.path, span.line), "")
    try:
        text = (Path(report.root) / span.path).read_text("utf-8", "replace").splitlines()
    except OSError:
        text = []
    if not 0 < span.line <= len(text) or text[span.line - 1] != own:
        yield span.line, own
        return
    for line in range(max(1, span.line - _CONTEXT), min(len(text), span.line + _CONTEXT) + 1):
        yield line, text[line - 1]


def _hunks(diff: str) -> Iterator[_Hunk]:
    path = head = ""
    before: list[tuple[bool, str]] = []
    after: list[tuple[bool, str]] = []
    for line in [*diff.splitlines(), "@@ end"]:
        if line.startswith(("--- ", "+++ ", "@@")):
            if before or after:
                yield _Hunk(path, head, tuple(before), tuple(after))
                before, after = [], []
            if line.startswith("+++ "):
                path = line[4:].removeprefix("b/")
            head = line
        elif line[:1] in ("-", " "):
            before.append((line[0] == "-", line[1:]))
            after += [(False, line[1:])] if line[0] == " " else []
        elif line[:1] == "+":
            after.append((True, line[1:]))


def _overview(rows: list[_Row]) -> list[tuple[str, list[_Count]]]:
    """The bars of the overview: what they count, and each of them."""
    columns: tuple[tuple[str, str, Callable[[_Row], str]], ...] = (
        ("what it is", "category", lambda row: str(row.finding.category)),
        ("what to do", "todo", lambda row: row.todo),
        ("rule", "rule", lambda row: row.finding.rule),
        ("subsystem", "area", lambda row: row.area),
        ("what the model says", "verdict", lambda row: row.finding.verdict.status),
    )
    return [(title, list(_counted(column, map(of, rows)))) for title, column, of in columns]


def _counted(column: str, values: Iterable[str]) -> Iterator[_Count]:
    counts = Counter(values)
    for value, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])):
        yield _Count(column, value, count, round(100 * count / max(counts.values())))
