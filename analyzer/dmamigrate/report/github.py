# SPDX-License-Identifier: GPL-2.0-only
"""The report as workflow commands, which GitHub shows beside the lines of a pull request."""

from __future__ import annotations

from dmamigrate.findings import Level, Report
from dmamigrate.report.places import here
from dmamigrate.report.visible import visible

_NAMES = {Level.ERROR: "error", Level.WARNING: "warning", Level.NOTE: "notice"}


def render(report: Report, folder: str) -> str:
    """One command for a finding, and for each place that could not be judged; paths relative to `folder`."""
    said = []
    for f in report.findings:
        span = f.span
        place: dict[str, str | int] = {
            "file": here(report, span.path, folder),
            "line": span.line,
            "endLine": span.end_line,
        }
        # GitHub wants columns only within one line
        columns = {"col": span.column, "endColumn": span.end_column} if span.line == span.end_line else {}
        said.append(_command(_NAMES[f.level], {**place, **columns, "title": f.rule}, f.message))
    for one in report.skipped:
        path, _, line = one.path.rpartition(":")
        place = {"file": here(report, one.path, folder)}
        if path and line.isdecimal():
            place = {"file": here(report, path, folder), "line": int(line)}
        said.append(_command("warning", {**place, "title": "could not be judged"}, one.reason))
    return "".join(f"{line}\n" for line in said)


def _command(name: str, properties: dict[str, str | int], message: str) -> str:
    given = ",".join(f"{key}={_escaped(str(value), ':,')}" for key, value in properties.items())
    return f"::{name} {given}::{_escaped(message, '')}"


def _escaped(text: str, also: str) -> str:
    """Text that cannot end a command, or begin another one."""
    for one in f"%\r\n{also}":
        text = text.replace(one, f"%{ord(one):02X}")
    return visible(text)
