# SPDX-License-Identifier: GPL-2.0-only
"""What strangers send: no input loses a report, and nothing is written where it does not belong."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dmamigrate.errors import UsageError
from dmamigrate.patch import files
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


# ---- what is written to

SOURCE = """\
#include <linux/dma-mapping.h>
#include <linux/pci.h>

struct win {
	struct device *dev;
	struct pci_dev *pdev;
	dma_addr_t dma;
};

int win_start(struct win *w)
{
	w->dma = dma_map_resource(w->dev, pci_resource_start(w->pdev, 2), SZ_4K, DMA_TO_DEVICE, 0);
	return dma_mapping_error(w->dev, w->dma);
}

void win_stop(struct win *w)
{
	dma_unmap_resource(w->dev, w->dma, SZ_4K, DMA_TO_DEVICE, 0);
}
"""


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        files.replace(tmp_path / "pipe", b"report\n")
        assert os.read(reader, 100) == b"report\n"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes devices")
def test_a_device_is_written_to_and_stays_one(tmp_path: Path) -> None:
    os.mknod(tmp_path / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    files.replace(tmp_path / "null", b"report\n")
    assert stat.S_ISCHR((tmp_path / "null").stat().st_mode)
    os.mknod(tmp_path / "disk", 0o666 | stat.S_IFBLK, os.makedev(240, 0))
    with pytest.raises(UsageError, match="is a disk"):
        files.replace(tmp_path / "disk", b"report\n")


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_by_name_is_standard_output(tmp_path: Path, name: str) -> None:
    (tmp_path / "win.c").write_text(SOURCE)
    said = [
        json.loads(run("scan", tmp_path, "--tree", tmp_path, "--format", "json", *words).stdout)
        for words in ([], ["-o", name])
    ]
    assert said[0]["findings"] == said[1]["findings"] != []
    with open(tmp_path / "log", "w") as log:
        log.write("before\n")
        log.flush()
        subprocess.run(
            [sys.executable, "-m", "dmamigrate", "scan", "win.c", "-o", name], cwd=tmp_path, stdout=log, check=False
        )
    assert (tmp_path / "log").read_text().startswith("before\n")
    assert len((tmp_path / "log").read_text()) > 100


def test_a_socket_and_a_folder_are_refused_in_one_line(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as held:
        held.bind(str(tmp_path / "sock"))
        for target in (tmp_path / "sock", tmp_path):
            with pytest.raises(UsageError) as error:
                files.replace(target, b"report\n")
            assert "\n" not in str(error.value)


def test_the_longest_name_can_be_replaced(tmp_path: Path) -> None:
    name = tmp_path / ("x" * 253 + ".c")
    name.write_text("old")
    files.replace(name, b"new")
    assert name.read_text() == "new"


def test_what_a_killed_run_left_goes_and_what_a_living_one_holds_stays(tmp_path: Path) -> None:
    (tmp_path / ".dmamigrate-dead.part").write_text("half")
    held = files.stage(tmp_path / "a.c", b"mine")
    files.replace(tmp_path / "b.c", b"other")
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([held.part.name, "b.c"])
    files.commit([held])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.c", "b.c"]
