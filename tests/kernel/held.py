# SPDX-License-Identifier: GPL-2.0-only
"""Kernels' answers kept, so that a model can be held against them without compiling and booting again.

`python -m tests.kernel.held record FILE [LOG...]` keeps what the trees that are there answer to `model conform`, and
the consoles of boots, as `model boot --keep` leaves them. `python -m tests.kernel.held conform|boot FILE` compares the
model, with exit status 1 if it differs.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from dmamigrate.model import boot, booted, conform, extract
from dmamigrate.model.questions import questions
from tests.kernel.trees import folder

_MACHINES = {one.name: one for arch in boot.ARCHES.values() for one in arch.configurations}


def record(file: Path, logs: list[Path]) -> None:
    """Keep the answers; a log is named by its machine, as its suffix."""
    kept: dict[str, dict[str, object]] = {"conform": {}, "boot": {log.suffix[1:]: log.read_text() for log in logs}}
    for version in ("7.3", "7.2", "6.12", "6.1"):
        root = folder() / f"linux-{version}"
        if root.is_dir():
            with tempfile.TemporaryDirectory() as work:
                harness = conform.build(root, extract.plan_for(version), conform.Wish(), Path(work))
                kept["conform"][version] = conform.answers(harness, harness.asks())
    file.write_text(json.dumps(kept))


def differs(file: Path, what: str) -> bool:
    """Whether the model differs from what was kept."""
    kept = json.loads(file.read_text())[what]
    if what == "boot":
        logs = (boot.Log(_MACHINES[name], text, 0) for name, text in kept.items())
        return not all(booted.compare(log, "7.3").agrees for log in logs)
    return any(_differs(extract.plan_for(version), answers) for version, answers in kept.items())


def _differs(plan: str, given: list[str]) -> bool:
    defined, *answers = given
    if conform.bits(defined, plan):
        return True
    asked = questions(plan, extract.groups_of(plan))
    return any(question.model(plan) != answer for question, answer in zip(asked, answers, strict=True))


if __name__ == "__main__":
    if sys.argv[1] == "record":
        record(Path(sys.argv[2]), [Path(log) for log in sys.argv[3:]])
    else:
        sys.exit(differs(Path(sys.argv[2]), sys.argv[1]))
