# SPDX-License-Identifier: GPL-2.0-only
"""What the tests share: a scan of C text, and of folders."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dmamigrate import processes, rules
from dmamigrate import scan as scans
from dmamigrate.findings import Report
from dmamigrate.rewrite.layout import apply
from dmamigrate.values.knowledge import Knowledge

ROOT = Path(__file__).parent.parent

# No test uses, or leaves, answers in the folder of whoever runs it; those that are about them say so.
os.environ["DMAMIGRATE_CACHE"] = "false"


@pytest.fixture(autouse=True)
def judged_here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process judges, this one: what the model has worked out is kept from test to test, which halves their time.

    What other processes are for is the matter of tests/test_robustness.py, which has them, as have the tests of
    programs.
    """
    if not request.path.name.startswith("test_robustness"):
        real = processes.each
        monkeypatch.setattr(processes, "apart", lambda function, item, lost: function(item))
        monkeypatch.setattr(
            processes, "each", lambda function, items, jobs, lost, outside=False: real(function, items, jobs, lost)
        )


@pytest.fixture(scope="session")
def known() -> Knowledge:
    return rules.tables()


@pytest.fixture(scope="session")
def all_rules() -> tuple[rules.Rule, ...]:
    return rules.select(rules.load(known=rules.tables().api), (), ())


@pytest.fixture
def scan_folder(known: Knowledge, all_rules: tuple[rules.Rule, ...]) -> Callable[[Path], Report]:
    def run(folder: Path) -> Report:
        return scans.scan(scans.Options((folder,), all_rules, known, tree=folder, target="7.3"))

    return run


@pytest.fixture
def scan_with(tmp_path: Path, known: Knowledge, all_rules: tuple[rules.Rule, ...]) -> Callable[..., Report]:
    def run(code: str, *more: rules.Rule) -> Report:
        (tmp_path / "driver.c").write_bytes(code.encode())
        asked = tuple({rule.id: rule for rule in (*all_rules, *more)}.values())
        return scans.scan(scans.Options((tmp_path,), asked, known, tree=tmp_path, target="7.3"))

    return run


@pytest.fixture
def scan_text(tmp_path: Path, scan_folder: Callable[[Path], Report]) -> Callable[[str], Report]:
    def run(code: str) -> Report:
        (tmp_path / "driver.c").write_bytes(code.encode())
        return scan_folder(tmp_path)

    return run


def rewritten(report: Report, folder: Path) -> dict[str, bytes]:
    """Every file that the proposed rewrites change, as they leave it."""
    edits = {edit for finding in report.findings for edit in finding.rewrite.edits}
    paths = sorted({edit.path for edit in edits})
    return {path: apply((folder / path).read_bytes(), tuple(e for e in edits if e.path == path)) for path in paths}
