# SPDX-License-Identifier: GPL-2.0-only
"""What a change touches: staged content and not the work tree, old findings left alone, headers and what includes
them.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.test_cli import Done, run

GOOD = """\
#include <linux/dma-mapping.h>
#include <linux/pci.h>
#include "win.h"

struct win {
	struct device *dev;
	struct pci_dev *pdev;
	dma_addr_t dma;
};

int win_start(struct win *w)
{
	phys_addr_t base = pci_resource_start(w->pdev, 2);

	w->dma = dma_map_phys(w->dev, base, 4096, DMA_TO_DEVICE, WIN_ATTRS);
	return dma_mapping_error(w->dev, w->dma);
}

void win_stop(struct win *w)
{
	dma_unmap_phys(w->dev, w->dma, 4096, DMA_TO_DEVICE, WIN_ATTRS);
}
"""
HEADER = "#define WIN_ATTRS DMA_ATTR_MMIO\n"
BAD = GOOD.replace("WIN_ATTRS", "0")
OLD = (
    GOOD.replace("dma_map_phys", "dma_map_resource")
    .replace("dma_unmap_phys", "dma_unmap_resource")
    .replace("WIN_ATTRS", "0")
)


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@localhost", "-c", "core.autocrlf=false", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository whose one driver is right and committed."""
    git(tmp_path, "init", "-q")
    _write(tmp_path, {"win.c": GOOD, "win.h": HEADER})
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "begin")
    return tmp_path


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def _rules(done: Done) -> list[str]:
    assert done.returncode in (0, 1), done.stderr
    return [one["rule"] for one in json.loads(done.stdout)["findings"]]


def _staged(folder: Path, *words: str) -> list[str]:
    return _rules(run("scan", "--staged", "--format", "json", *words, cwd=folder))


@pytest.mark.parametrize(
    ("staged", "unstaged", "found"),
    [
        pytest.param({"win.c": BAD}, {}, ["phys-missing-mmio"], id="what is staged is bad"),
        pytest.param({"win.c": BAD}, {"win.c": GOOD}, ["phys-missing-mmio"], id="bad is staged, the work tree is good"),
        pytest.param({"win.c": GOOD + "\n"}, {"win.c": BAD}, [], id="good is staged, the work tree is bad"),
        pytest.param({}, {"win.c": BAD}, [], id="nothing is staged"),
        pytest.param({"win.h": "#define WIN_ATTRS 0\n"}, {}, ["phys-missing-mmio"],
        id="a header breaks what includes it"),
        pytest.param(
            {"win.h": "#define WIN_ATTRS 0\n"}, {"win.h": HEADER}, ["phys-missing-mmio"],
            id="the header's staged content counts"
        ),
        pytest.param({"new.c": BAD}, {}, ["phys-missing-mmio"], id="a new file"),
        pytest.param({"win.c": OLD}, {}, ["map-resource-bar"], id="a new call of the old form"),
        pytest.param(
            {"use.c": "int win_start(void *w);\nint use(void *w)\n{\n\treturn win_start(w);\n}\n"}, {}, [],
            id="a harmless neighbour"
        ),
    ],
)  # fmt: skip
def test_staged(tree: Path, staged: dict[str, str], unstaged: dict[str, str], found: list[str]) -> None:
    _write(tree, staged)
    git(tree, "add", "-A")
    _write(tree, unstaged)
    assert _staged(tree) == found


OTHER = "\nint win_count(struct win *w)\n{\n\treturn w->dma != 0;\n}\n"


_MAP = "4096, DMA_TO_DEVICE, 0);\n\treturn"
_UNMAP = "w->dma, 4096, DMA_TO_DEVICE"


@pytest.mark.parametrize(
    ("after", "found"),
    [
        pytest.param(OLD + OTHER, [], id="another function is added"),
        pytest.param("/* a comment */\n" + OLD, [], id="a comment moves everything down"),
        pytest.param(OLD.replace("\treturn dma", "\n\treturn dma"), [], id="a blank line in the same function"),
        pytest.param(OLD.replace("\tphys_addr_t base", "        phys_addr_t base"), [], id="a line is indented again"),
        pytest.param(
            OLD.replace(_MAP, _MAP.replace("4096, ", "4096,\n\t\t\t")),
            ["map-resource-bar"],
            id="the map call is edited",
        ),
        pytest.param(OLD.replace("2);", "3);"), ["map-resource-bar"], id="where the address comes from is edited"),
        pytest.param(
            OLD.replace(_UNMAP, "w->dma, 4096, DMA_BIDIRECTIONAL"),
            ["map-resource-bar", "unmap-dir-mismatch"],
            id="the unmap is edited",
        ),
    ],
)
def test_old_findings_are_shown_only_where_their_mapping_is_touched(tree: Path, after: str, found: list[str]) -> None:
    _write(tree, {"win.c": OLD})
    git(tree, "commit", "-qam", "old")
    _write(tree, {"win.c": after})
    git(tree, "add", "-A")
    assert _staged(tree) == found
    assert "map-resource-bar" in _staged(tree, "--all")


def test_a_file_that_is_only_renamed_has_nothing_new(tree: Path) -> None:
    _write(tree, {"win.c": OLD})
    git(tree, "commit", "-qam", "old")
    git(tree, "mv", "win.c", "window.c")
    assert _staged(tree) == []


WRONG = GOOD.replace("w->dma, 4096, DMA_TO", "w->dma, 2048, DMA_TO")


@pytest.mark.parametrize(
    ("name", "after"),
    [
        pytest.param("win.c", "/* a comment */\n" + WRONG, id="the line that a message names has moved"),
        pytest.param("sub/window.c", WRONG.replace('"win.h"', '"../win.h"'), id="the file that it names has moved"),
    ],
)
def test_what_a_message_names_may_move(tree: Path, name: str, after: str) -> None:
    _write(tree, {"win.c": WRONG})
    git(tree, "commit", "-qam", "wrong, and the message names the line of the map")
    assert run("scan", "--write-baseline", "known.json", ".", cwd=tree).returncode == 0
    (tree / "win.c").unlink()
    _write(tree, {name: after})
    git(tree, "add", "-A")
    assert _staged(tree) == []
    assert _rules(run("scan", ".", "--format", "json", cwd=tree)) == ["unmap-size-mismatch"]
    known = run("scan", ".", "--baseline", "known.json", "--format", "json", cwd=tree)
    assert (_rules(known), known.stderr) == ([], "")


def test_since_compares_with_where_the_branch_left(tree: Path) -> None:
    git(tree, "branch", "upstream")
    _write(tree, {"win.c": BAD})
    git(tree, "commit", "-qam", "bad")
    _write(tree, {"loose.c": BAD})
    found = json.loads(run("scan", "--since", "upstream", "--format", "json", cwd=tree).stdout)["findings"]
    assert [(one["path"], one["rule"]) for one in found] == [
        ("loose.c", "phys-missing-mmio"),
        ("win.c", "phys-missing-mmio"),
    ]


def test_paths_narrow_what_is_judged(tree: Path) -> None:
    _write(tree, {"win.c": BAD, "a/new.c": BAD})
    git(tree, "add", "-A")
    assert _staged(tree, "a") == ["phys-missing-mmio"]


def test_the_first_commit_of_a_repository_is_judged(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    _write(tmp_path, {"win.c": BAD})
    git(tmp_path, "add", "-A")
    assert _staged(tmp_path) == ["phys-missing-mmio"]


def test_a_tree_below_the_top_of_its_repository(tree: Path) -> None:
    _write(tree, {"sub/win.c": BAD})
    git(tree, "add", "-A")
    done = run("scan", ".", "--tree", ".", "--staged", "--format", "json", cwd=tree / "sub")
    assert [one["path"] for one in json.loads(done.stdout)["findings"]] == ["win.c"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(["--since", "nowhere"], "nowhere", id="a revision that is none"),
        pytest.param(["--staged", "--since", "HEAD"], "do not go together", id="both at once"),
    ],
)
def test_what_makes_no_sense(tree: Path, words: list[str], says: str) -> None:
    done = run("scan", *words, cwd=tree)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert says in done.stderr


def test_outside_of_git(tmp_path: Path) -> None:
    done = run("scan", "--staged", cwd=tmp_path, GIT_CEILING_DIRECTORIES=str(tmp_path.parent))
    assert done.returncode == 2
    assert "not under git" in done.stderr


def test_an_editor_gives_the_file_on_standard_input(tree: Path) -> None:
    done = run("scan", "-", "--stdin-filename", "win.c", "--format", "gcc", cwd=tree, stdin=BAD.encode())
    assert done.returncode == 1
    assert done.stdout.startswith("win.c:15:11: error: base is device memory")
    assert run("scan", "win.c", cwd=tree).returncode == 0


@pytest.mark.parametrize(
    ("words", "stdin", "says"),
    [
        pytest.param(["-"], b"", "--stdin-filename", id="a file without a name"),
        pytest.param(["win.c", "--stdin-filename", "win.c"], b"", "scan -", id="a name without a file"),
        pytest.param(["-", "--stdin-filename", "win.c"], b"\0", "NUL", id="no C"),
    ],
)
def test_standard_input_that_makes_no_sense(tree: Path, words: list[str], stdin: bytes, says: str) -> None:
    done = run("scan", *words, cwd=tree, stdin=stdin)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr


def test_the_fix_of_what_is_staged_is_written_into_the_files(tree: Path) -> None:
    _write(tree, {"win.c": OLD, "beside.c": "int x;\n"})
    git(tree, "add", "-A")
    done = run("patch", "--staged", "--in-place", "--force", cwd=tree)
    assert done.stdout == "win.c\n"
    assert "dma_map_phys(w->dev, base, 4096, DMA_TO_DEVICE, DMA_ATTR_MMIO)" in (tree / "win.c").read_text()


def test_a_fix_is_not_written_over_a_file_that_differs_from_what_is_staged(tree: Path) -> None:
    _write(tree, {"win.c": OLD})
    git(tree, "add", "-A")
    _write(tree, {"win.c": "/* more */\n" + OLD})
    done = run("patch", "--staged", "--in-place", "--force", cwd=tree)
    assert done.returncode == 2
    assert "win.c" in done.stderr
    assert (tree / "win.c").read_text() == "/* more */\n" + OLD
