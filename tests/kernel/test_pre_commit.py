# SPDX-License-Identifier: GPL-2.0-only
"""The hook with the real pre-commit program, as in a user's repository."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_touched import BAD, GOOD, HEADER, OLD

pytestmark = pytest.mark.kernel


def _git(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@localhost", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of pre-commit that has the hook's environment, which is made once."""
    if shutil.which("pre-commit") is None:
        pytest.skip("NO PRE-COMMIT: install the test extra")
    return tmp_path_factory.mktemp("home")


def _repository(folder: Path, home: Path, hook: str) -> None:
    head = _git(ROOT, "rev-parse", "HEAD").stdout.strip()
    _git(folder, "init", "-q")
    config = f"repos:\n- repo: file://{ROOT}\n  rev: {head}\n  hooks:\n  - id: {hook}\n"
    (folder / ".pre-commit-config.yaml").write_text(config)
    environment = os.environ | {"PRE_COMMIT_HOME": str(home)}
    subprocess.run(["pre-commit", "install"], cwd=folder, check=True, capture_output=True, env=environment)


def _commit(folder: Path, home: Path) -> subprocess.CompletedProcess[str]:
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@localhost", "commit", "-m", "change"]
    environment = os.environ | {"PRE_COMMIT_HOME": str(home)}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)


ZERO = "#define WIN_ATTRS 0\n"


@pytest.mark.parametrize(
    ("before", "staged", "unstaged", "stopped"),
    [
        pytest.param({}, {"win.c": OLD}, {}, "map-resource-bar", id="a BAR is stopped"),
        pytest.param({}, {"win.c": GOOD, "win.h": HEADER}, {}, "", id="a migrated one passes"),
        pytest.param({}, {"win.c": BAD}, {"win.c": GOOD}, "phys-missing-mmio", id="bad staged, good unstaged"),
        pytest.param({}, {"win.c": GOOD, "win.h": HEADER}, {"win.c": BAD}, "", id="good staged, bad unstaged"),
        pytest.param({"win.c": GOOD, "win.h": HEADER}, {"win.h": ZERO}, {}, "phys-missing-mmio",
        id="a header breaks a driver"),
        pytest.param({"win.c": OLD}, {"win.c": f"/* more */\n{OLD}"}, {}, "", id="old findings are left alone"),
        pytest.param({}, {f"win{n}.c": OLD for n in range(200)}, {}, "map-resource-bar", id="a big commit"),
    ],
)  # fmt: skip
def test_commit(
    tmp_path: Path, installed: Path, before: dict[str, str], staged: dict[str, str], unstaged: dict[str, str],
    stopped: str
) -> None:  # fmt: skip
    _repository(tmp_path, installed, "dmamigrate")
    _write(tmp_path, before)
    _git(tmp_path, "add", "-A")
    _git(tmp_path, "commit", "--no-verify", "-m", "begin")
    _write(tmp_path, staged)
    _git(tmp_path, "add", "-A")
    _write(tmp_path, unstaged)
    done = _commit(tmp_path, installed)
    assert (done.returncode != 0) == bool(stopped), done.stdout + done.stderr
    assert stopped in done.stdout + done.stderr
    assert {name: (tmp_path / name).read_text() for name in unstaged} == unstaged


def test_the_second_hook_writes_the_fix(tmp_path: Path, installed: Path) -> None:
    _repository(tmp_path, installed, "dmamigrate-fix")
    _write(tmp_path, {"win.c": OLD})
    _git(tmp_path, "add", "-A")
    assert _commit(tmp_path, installed).returncode != 0
    assert "DMA_ATTR_MMIO" in (tmp_path / "win.c").read_text()
    _git(tmp_path, "add", "-A")
    assert _commit(tmp_path, installed).returncode == 0
