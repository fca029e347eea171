# SPDX-License-Identifier: GPL-2.0-only
"""A decision on a path as a step of a report."""

from __future__ import annotations

from dmamigrate.findings import Step
from dmamigrate.paths.state import Trail


def step(one: Trail) -> Step:
    """The place, text and note of one decision; a long text is cut."""
    source, expr = one.fn.source, one.expr
    start, end = max(expr.start, 0), max(expr.end, 0)
    text = " ".join(source.text(start, end).split())
    return Step(
        source.path, source.line(start), source.column(start), text if len(text) < 160 else text[:157] + "...", one.note
    )
