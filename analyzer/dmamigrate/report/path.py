# SPDX-License-Identifier: GPL-2.0-only
"""One traced address as a path, for people and for machines."""

from __future__ import annotations

import json as json_text
import os

from dmamigrate.findings import MEANING, Origin
from dmamigrate.report import json
from dmamigrate.report.visible import encodable, shown


def as_json(origin: Origin) -> str:
    """The origin as in the findings of `--format json`."""
    return json_text.dumps(encodable(json.origin(origin)), indent=2) + "\n"


def as_text(origin: Origin, root: str, folder: str) -> str:
    """The steps from the call back to the source, then what was concluded; paths are below `root`, written as in
    `folder`.
    """
    lines: list[str] = []
    origin = shown(origin)
    for branch in origin.branches:
        lines += [f"{branch.kind}, {MEANING[branch.kind]}:"] if len(origin.branches) > 1 else []
        for number, step in enumerate(branch.steps):
            place = f"{os.path.relpath(os.path.join(root, step.path), folder)}:{step.line}:{step.column}"
            lines += [f"{number:3}. {place}: {step.note}", f"       {step.text}"]
    shares = ", ".join(f"{kind} on {count} path{'s' if count != 1 else ''}" for kind, count in origin.shares)
    sure = "certain: every way to set it was followed" if origin.certain else "not certain"
    lines.append(f"\norigin: {shares}; {sure}")
    if origin.gave_up:
        lines.append(f"not followed: {origin.gave_up}")
    lines += [f"{kind} means {MEANING[kind]}" for kind in origin.kinds]
    return "\n".join(lines) + "\n"
