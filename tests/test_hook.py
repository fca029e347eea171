# SPDX-License-Identifier: GPL-2.0-only
"""The git hook without pre-commit, with real commits."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_cli import run
from tests.test_touched import BAD, GOOD, HEADER, OLD, git


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    return tmp_path


def _commit(folder: Path, files: dict[str, str], path: str = "") -> subprocess.CompletedProcess[str]:
    for name, text in files.items():
        (folder / name).write_text(text)
    git(folder, "add", "-A")
    path = path or f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@localhost", "commit", "-qm", "change"]
    return subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )


def test_a_commit_is_judged_by_what_it_brings(tree: Path) -> None:
    assert run("hook", "install", cwd=tree).returncode == 0
    stopped = _commit(tree, {"win.c": BAD, "win.h": HEADER})
    assert stopped.returncode == 1
    assert "win.c:15:11: error: [phys-missing-mmio]" in stopped.stdout + stopped.stderr
    assert _commit(tree, {"win.c": GOOD}).returncode == 0
    assert _commit(tree, {"win.h": "#define WIN_ATTRS 0\n"}).returncode == 1


def test_what_installed_it_is_found_though_it_is_on_no_path(tree: Path) -> None:
    command = [sys.executable, "-m", "dmamigrate", "hook", "install"]
    subprocess.run(command, cwd=tree, check=True, capture_output=True)
    git_only = str(Path(shutil.which("git") or "git").parent)
    assert shutil.which("dmamigrate", path=git_only) is None
    assert _commit(tree, {"win.c": GOOD, "win.h": HEADER}, git_only).returncode == 0
    assert "phys-missing-mmio" in _commit(tree, {"win.c": BAD}, git_only).stderr


def test_it_is_put_where_git_looks_for_it_and_can_be_put_again(tree: Path) -> None:
    git(tree, "config", "core.hooksPath", "my hooks")
    for _ in range(2):
        assert run("hook", "install", cwd=tree).returncode == 0
    assert os.access(tree / "my hooks/pre-commit", os.X_OK)


def test_another_hook_is_left_alone(tree: Path) -> None:
    hook = tree / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\n")
    done = run("hook", "install", cwd=tree)
    assert (done.returncode, hook.read_text()) == (2, "#!/bin/sh\n")
    assert "dmamigrate hook run" in done.stderr


def test_outside_of_git(tmp_path: Path) -> None:
    assert run("hook", "install", cwd=tmp_path, GIT_CEILING_DIRECTORIES=str(tmp_path.parent)).returncode == 2


def test_in_ci_pre_commit_says_what_to_compare(tree: Path) -> None:
    _commit(tree, {"win.c": GOOD, "win.h": HEADER})
    _commit(tree, {"win.c": OLD})
    assert run("hook", "run", cwd=tree).returncode == 0
    assert run("hook", "run", cwd=tree, PRE_COMMIT_FROM_REF="HEAD~1", PRE_COMMIT_TO_REF="HEAD").returncode == 1
