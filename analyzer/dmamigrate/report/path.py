# SPDX-License-Identifier: GPL-2.0-only
"""One traced address as a path, for people and for machines."""

from __future__ import annotations

import json as json_text

from dmamigrate.findings import Origin
from dmamigrate.report import json
from dmamigrate.report.visible import encodable, shown


def as_json(origin: Origin) -> str:
    """The origin as in the findings of `--format json`."""
    return json_text.dumps(encodable(json.origin(origin)), indent=2) + "\n"


def as_text(origin: Origin) -> str:
    """The steps from the call back to the source, then what was concluded."""
    lines: list[str] = []
    origin = shown(origin)
    for branch in origin.branches:
        lines += [f"{branch.kind}:"] if len(origin.branches) > 1 else []
        for number, step in enumerate(branch.steps):
            lines += [f"{number:3}. {step.path}:{step.line}:{step.column}: {step.note}", f"       {step.text}"]
    shares = ", ".join(f"{kind} ({count} path{'s' if count != 1 else ''})" for kind, count in origin.shares)
    lines.append(f"\norigin: {shares}{', certain' if origin.certain else ', not certain'}")
    if origin.gave_up:
        lines.append(f"not followed: {origin.gave_up}")
    return "\n".join(lines) + "\n"
