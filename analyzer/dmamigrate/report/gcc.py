# SPDX-License-Identifier: GPL-2.0-only
"""One line for a finding, as gcc writes its own: what editors and problem matchers read."""

from __future__ import annotations

from dmamigrate.findings import Report
from dmamigrate.report.places import here
from dmamigrate.report.visible import visible


def render(report: Report, folder: str) -> str:
    """FILE:LINE:COLUMN: LEVEL: MESSAGE [RULE], paths relative to `folder`; what could not be judged is a warning."""
    said = [
        f"{here(report, f.span.path, folder)}:{f.span.line}:{f.span.column}: {f.level}: {f.message} [{f.rule}]"
        for f in report.findings
    ]
    said += [
        f"{here(report, one.path, folder)}{'' if line else ':1'}:1: warning: skipped: {one.reason} [skipped]"
        for one in report.skipped
        for line in (one.path.rpartition(":")[2].isdecimal(),)
    ]
    return "".join(f"{visible(line)}\n" for line in said)
