# SPDX-License-Identifier: GPL-2.0-only
"""The fixtures: for each small driver what must and what must not be concluded, and what it must become."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analyzer.findings import Report
from tests.conftest import ROOT, rewritten

CASES = sorted(path for path in (ROOT / "fixtures").iterdir() if path.is_dir())


def _said(report: Report) -> list[dict[str, Any]]:
    calls: dict[tuple[str, str, int], dict[str, Any]] = {}
    for finding in report.findings:
        entry = calls.setdefault(
            (finding.span.path, finding.function, finding.span.start),
            {
                "function": finding.function,
                "callee": finding.callee,
                "kinds": sorted(map(str, finding.origin.kinds)),
                "certain": finding.origin.certain,
                "rules": [],
            },
        )
        entry["rules"].append(finding.rule)
    return sorted(calls.values(), key=lambda entry: (entry["function"], entry["callee"]))


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_concludes_what_is_expected_and_nothing_else(case: Path, scan_folder: Callable[[Path], Report]) -> None:
    expected = json.loads((case / "expect.json").read_text())["findings"]
    wanted = sorted(
        ({key: value for key, value in one.items() if key != "rewrite"} for one in expected),
        key=lambda entry: (entry["function"], entry["callee"]),
    )
    assert _said(scan_folder(case / "before")) == wanted


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_becomes_what_is_expected(case: Path, scan_folder: Callable[[Path], Report]) -> None:
    report = scan_folder(case / "before")
    expected = json.loads((case / "expect.json").read_text())["findings"]
    statuses = {(f.function, f.callee): f.rewrite.status for f in report.findings}
    assert {k: v for k, v in statuses.items() if v != "none"} == {
        (one["function"], one["callee"]): one["rewrite"] for one in expected if "rewrite" in one
    }
    after = case / "after"
    changed = rewritten(report, case / "before")
    wanted = {file.name: file.read_bytes() for file in sorted(after.iterdir())} if after.is_dir() else {}
    unchanged = {name: (case / "before" / name).read_bytes() for name in wanted if name not in changed}
    assert changed | unchanged == wanted


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES if (case / "after").is_dir()])
def test_nothing_is_left_to_migrate_afterwards(case: Path, scan_folder: Callable[[Path], Report]) -> None:
    assert [f.rule for f in scan_folder(case / "after").findings if f.rule.startswith("map-resource")] == []


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES if (case / "after").is_dir()])
def test_every_proposed_rewrite_is_proved(case: Path, scan_folder: Callable[[Path], Report]) -> None:
    verdicts = {f.verdict.status for f in scan_folder(case / "before").findings if f.rewrite.status == "proposed"}
    assert verdicts == {"proved"}
