# SPDX-License-Identifier: GPL-2.0-only
"""The fixtures: for each small driver what must and what must not be concluded, and what it must become."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from dmamigrate import scan as scans
from dmamigrate.findings import Report
from dmamigrate.program.tree import Tree
from dmamigrate.report.json import render
from dmamigrate.rules import Rule
from dmamigrate.values.knowledge import Knowledge
from tests.conftest import ROOT, rewritten

CONTRACT = jsonschema.Draft202012Validator(
    json.loads((ROOT / "analyzer/dmamigrate/report/report.schema.json").read_text())
)
CASES = sorted(path.parent for path in (ROOT / "fixtures").glob("*/*/expect.json"))


@pytest.fixture(scope="session")
def scanned(known: Knowledge, all_rules: tuple[Rule, ...]) -> Callable[[Path], Report]:
    """Scans each folder of a fixture once, whatever is asked of it."""

    def scan(folder: Path) -> Report:
        return scans.scan(scans.Options((folder,), all_rules, known, tree=folder, target="7.3"))

    return cache(scan)


def _said(report: Report) -> list[dict[str, Any]]:
    """One entry a call: which of its callee's calls in the function it is, counted from 0, and what was concluded of
    it.
    """
    tree = Tree(Path(report.root))
    calls: dict[tuple[str, int], dict[str, Any]] = {}
    for finding in report.findings:
        unit = tree.unit(finding.span.path)
        fn = unit.function_at(finding.span.start) if unit is not None else None
        same = [call.start for _, call in fn.calls if call.name == finding.callee] if fn is not None else []
        entry = calls.setdefault(
            (finding.span.path, finding.span.start),
            {
                "function": finding.function,
                "callee": finding.callee,
                "index": same.index(finding.span.start) if finding.span.start in same else 0,
                "kinds": sorted(map(str, finding.origin.kinds)) if finding.origin is not None else [],
                "certain": finding.origin is not None and finding.origin.certain,
                "rules": [],
            },
        )
        entry["rules"].append(finding.rule)
    return sorted(calls.values(), key=_key)


def _key(entry: dict[str, Any]) -> tuple[str, str, int]:
    return entry["function"], entry["callee"], entry.get("index", 0)


def _case(case: Path) -> Any:
    """A case, as one that is to fail if what a reader sees there is known to be missed."""
    missed = json.loads((case / "expect.json").read_text()).get("missed")
    return pytest.param(case, id=case.name, marks=[pytest.mark.xfail(reason=missed, strict=True)] if missed else [])


@pytest.mark.parametrize("case", [_case(case) for case in CASES])
def test_concludes_what_is_expected_and_nothing_else(case: Path, scanned: Callable[[Path], Report]) -> None:
    expected = json.loads((case / "expect.json").read_text())["findings"]
    wanted = sorted(({key: value for key, value in one.items() if key != "rewrite"} for one in expected), key=_key)
    said = _said(scanned(case / "before"))
    # an expectation may leave open what is not its subject
    asked = [set(one) for one in wanted] if len(wanted) == len(said) else [{"function", "callee", "rules"}] * len(said)
    assert [{key: one[key] for key in keys} for one, keys in zip(said, asked, strict=True)] == wanted


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_what_is_said_keeps_the_contract(case: Path, scanned: Callable[[Path], Report]) -> None:
    CONTRACT.validate(json.loads(render(scanned(case / "before"))))


def _about_rewrites(case: Path) -> bool:
    return (case / "after").is_dir() or '"rewrite"' in (case / "expect.json").read_text()


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES if _about_rewrites(case)])
def test_becomes_what_is_expected(case: Path, scanned: Callable[[Path], Report]) -> None:
    report = scanned(case / "before")
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
def test_nothing_is_left_to_migrate_afterwards(case: Path, scanned: Callable[[Path], Report]) -> None:
    assert [f.rule for f in scanned(case / "after").findings if f.rule.startswith("map-resource")] == []


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES if (case / "after").is_dir()])
def test_every_proposed_rewrite_is_proved(case: Path, scanned: Callable[[Path], Report]) -> None:
    verdicts = {f.verdict.status for f in scanned(case / "before").findings if f.rewrite.status == "proposed"}
    assert verdicts == {"proved"}
