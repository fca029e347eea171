# SPDX-License-Identifier: GPL-2.0-only
"""What strangers send: no input loses a report, and nothing is written where it does not belong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.test_cli import run

# ---- paths of patches


def _patch(path: str, old: str = "secret\n") -> str:
    return f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-{old}+changed\n"


def _listing(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(file.relative_to(folder)): (file.lstat().st_mtime_ns, file.read_bytes())
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A tree with a file beside it that is nobody's business, and links out of the tree."""
    tree = tmp_path / "tree"
    (tree / ".git").mkdir(parents=True)
    (tree / ".git/config").write_text("secret\n")
    (tree / "in.c").write_text("secret\n")
    (tmp_path / "secret.c").write_text("secret\n")
    (tmp_path / "secret.c").chmod(0o600)
    (tmp_path / "scratch").mkdir()
    (tree / "link.c").symlink_to("../secret.c")
    (tree / "up").symlink_to("..")
    (tree / "here").symlink_to(".")
    return tmp_path


@pytest.mark.parametrize(
    ("patch", "says"),
    [
        pytest.param(_patch("../secret.c"), "outside of the tree", id="above the tree"),
        pytest.param(_patch("x/../../secret.c"), "outside of the tree", id="above the tree, later on"),
        pytest.param(_patch("{beside}/secret.c"), "outside of the tree", id="absolute"),
        pytest.param(_patch("in//../../secret.c"), "outside of the tree", id="empty part"),
        pytest.param(_patch(".git/config"), "git's own", id="git's folder"),
        pytest.param(_patch("sub/.GIT/config"), "git's own", id="git's folder in capitals"),
        pytest.param(_patch("link.c"), "symbolic link", id="a link out of the tree"),
        pytest.param(_patch("up/secret.c"), "symbolic link", id="a folder that is a link out of the tree"),
        pytest.param(_patch("here/in.c"), "symbolic link", id="a folder that is a link within the tree"),
        pytest.param(
            "diff --git a/../secret.c b/new.c\nsimilarity index 100%\nrename from ../secret.c\nrename to new.c\n",
            "outside of the tree", id="renamed into the tree",
        ),
        pytest.param(
            'diff --git "a/\\056./secret.c" b/new.c\nsimilarity index 100%\ncopy from "\\056./secret.c"\ncopy to new.c\n',
            "", id="copied into the tree, in quotes",
        ),
        pytest.param(_patch("in.c") + _patch("../secret.c"), "outside of the tree", id="the second of two files"),
    ],
)  # fmt: skip
def test_a_patch_reaches_no_file_outside_of_the_tree(beside: Path, patch: str, says: str) -> None:
    before = _listing(beside)
    (beside / "p.diff").write_text(patch.replace("{beside}", str(beside)))
    done = run("review", "../p.diff", cwd=beside / "tree", TMPDIR=str(beside / "scratch"))
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    os.unlink(beside / "p.diff")
    assert _listing(beside) == before
