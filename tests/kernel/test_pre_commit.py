# SPDX-License-Identifier: GPL-2.0-only
"""The hook with the real pre-commit program, as in a user's repository."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.kernel


def _git(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@localhost", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("pre-commit") is None:
        pytest.skip("NO PRE-COMMIT: install the test extra")
    folder = tmp_path_factory.mktemp("driver")
    head = _git(ROOT, "rev-parse", "HEAD").stdout.strip()
    _git(folder, "init", "-q")
    config = f"repos:\n- repo: file://{ROOT}\n  rev: {head}\n  hooks:\n  - id: dmamigrate\n"
    (folder / ".pre-commit-config.yaml").write_text(config)
    subprocess.run(["pre-commit", "install"], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize(
    ("case", "stopped"),
    [
        pytest.param("parameter/before", True, id="a BAR is stopped"),
        pytest.param("parameter/after", False, id="a migrated one passes"),
    ],
)
def test_commit(repository: Path, case: str, stopped: bool) -> None:
    shutil.copy(ROOT / "fixtures" / case / "fx.c", repository / "fx.c")
    _git(repository, "add", "-A")
    done = _git(repository, "commit", "-m", "add a driver")
    assert (done.returncode != 0) == stopped, done.stdout + done.stderr
    assert ("map-resource-bar" in done.stdout + done.stderr) == stopped
