# SPDX-License-Identifier: GPL-2.0-only
"""The report as JSON; the keys are a contract."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict

from dmamigrate.findings import Finding, Json, Judged, Origin, Report, Span
from dmamigrate.report.visible import encodable


def render(report: Report) -> str:
    """The whole report as one JSON document."""
    return json.dumps(encodable(document(report)), indent=2) + "\n"


def document(report: Report) -> Json:
    """The report as plain data, from which every machine-read format is made."""
    reviewed = {"reviewed": [judged(one) for one in report.judged]} if report.judged else {}
    return {
        "tool": {"name": "dmamigrate", "version": report.version},
        "tree": {"root": report.root, "version": report.tree_version},
        "target": report.target,
        "findings": [finding(one) for one in report.findings],
        **reviewed,
        "skipped": [asdict(one) for one in report.skipped],
        "summary": {
            "files": report.files,
            "parsed": report.parsed,
            "by_rule": dict(sorted(Counter(f.rule for f in report.findings).items())),
            "by_level": dict(sorted(Counter(str(f.level) for f in report.findings).items())),
            "by_category": dict(sorted(Counter(str(f.category) for f in report.findings).items())),
            "seconds": round(report.seconds, 3),
        },
    }


def judged(one: Judged) -> Json:
    """A changed life as plain data."""
    return {
        **_place(one.span),
        "function": one.function,
        "before": one.before,
        "after": one.after,
        "verdict": asdict(one.verdict),
    }


def _place(span: Span) -> Json:
    return {"path": span.path, "line": span.line, "column": span.column}


def origin(value: Origin) -> Json:
    """An origin as plain data."""
    return {
        "kinds": [str(kind) for kind in value.kinds],
        "certain": value.certain,
        "branches": [{"kind": str(one.kind), "steps": [asdict(step) for step in one.steps]} for one in value.branches],
        "gave_up": value.gave_up,
    }


def finding(one: Finding) -> Json:
    """A finding as plain data."""
    return {
        "rule": one.rule,
        "level": str(one.level),
        "category": str(one.category),
        **_place(one.span),
        "end_line": one.span.end_line,
        "end_column": one.span.end_column,
        "function": one.function,
        "callee": one.callee,
        "message": one.message,
        "fingerprint": one.fingerprint,
        "origin": origin(one.origin) if one.origin is not None else None,
        "trail": [asdict(step) for step in one.trail],
        "partners": [
            {"role": p.role, **_place(p.span), "function": p.function, "callee": p.callee} for p in one.partners
        ],
        "rewrite": asdict(one.rewrite),
        "verdict": asdict(one.verdict),
    }
