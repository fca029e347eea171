# SPDX-License-Identifier: GPL-2.0-only
"""Patches as a maintainer takes them: they apply, they undo, they say whose driver it is, and no file is ever half written."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dmamigrate import rules
from dmamigrate.errors import UsageError
from dmamigrate.findings import Report
from dmamigrate.patch import build, drivers, files, produce, series
from dmamigrate.rewrite import compat
from tests.conftest import ROOT
from tests.test_cli import run

DRIVER = """\
// SPDX-License-Identifier: GPL-2.0-only
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
MAPS = b"dma_map_phys(w->dev, pci_resource_start(w->pdev, 2), SZ_4K,"
VARIANTS = [
    pytest.param(DRIVER.encode(), id="plain"),
    pytest.param(DRIVER.replace("\n", "\r\n").encode(), id="CRLF"),
    pytest.param(DRIVER.replace("int win_start", "/* gro\u00df */\nint win_start").encode("latin-1"), id="Latin-1"),
    pytest.param(DRIVER.rstrip("\n").encode(), id="no newline at the end"),
    pytest.param(
        DRIVER.replace("int win_start", "/*\nFrom here on\n*/\nint win_start").encode(),
        id="a line that begins like a mail",
    ),
    pytest.param(b"\xef\xbb\xbf" + DRIVER.encode(), id="byte order mark"),
]


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=A. Uthor", "-c", "user.email=author@example.com", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Callable[..., Path]:
    def make(contents: dict[str, bytes], subject: str = "win: Add driver") -> Path:
        folder = tmp_path / "tree"
        folder.mkdir(exist_ok=True)
        git(folder, "init", "-q")
        git(folder, "config", "user.name", "A. Uthor")
        git(folder, "config", "user.email", "author@example.com")
        git(folder, "config", "core.autocrlf", "false")
        for path, data in contents.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        git(folder, "add", ".")
        git(folder, "commit", "-qm", subject)
        return folder

    return make


@pytest.mark.parametrize("data", VARIANTS)
def test_a_series_applies_and_undoes_without_a_trace(
    repository: Callable[..., Path], data: bytes, tmp_path: Path
) -> None:
    folder = repository({"win.c": data})
    done = run("patch", ".", "-o", tmp_path / "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    patch = tmp_path / "out" / "0001-win-Use-dma_map_phys-instead-of-dma_map_resource.patch"
    git(folder, "am", "-q", "--keep-cr", str(patch)) if b"\r" in data else git(folder, "am", "-q", str(patch))
    assert MAPS in (folder / "win.c").read_bytes()
    assert run("scan", ".", "--level", "error", cwd=folder).returncode == 0
    git(folder, "revert", "--no-edit", "HEAD")
    assert (folder / "win.c").read_bytes() == data


def test_in_place_makes_what_the_series_makes(repository: Callable[..., Path], tmp_path: Path) -> None:
    folder = repository({"win.c": DRIVER.encode()})
    run("patch", ".", "-o", tmp_path / "out", cwd=folder)
    os.chmod(folder / "win.c", 0o755)
    done = run("patch", ".", "--in-place", "--force", cwd=folder)
    assert done.stdout == "win.c\n"
    changed = (folder / "win.c").read_bytes()
    assert (folder / "win.c").stat().st_mode & 0o777 == 0o755
    git(folder, "checkout", "-f", ".")
    git(folder, "am", "-q", *map(str, (tmp_path / "out").iterdir()))
    assert (folder / "win.c").read_bytes() == changed


def test_a_dirty_file_is_refused(repository: Callable[..., Path]) -> None:
    folder = repository({"win.c": DRIVER.encode()})
    (folder / "win.c").write_text(DRIVER + "/* not committed */\n")
    done = run("patch", ".", "--in-place", cwd=folder)
    assert done.returncode == 2
    assert "not committed; commit them" in done.stderr
    assert "dma_map_resource" in (folder / "win.c").read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param([], "where to?", id="no destination"),
        pytest.param(["-o", "x", "--stdout"], "where to?", id="two destinations"),
        pytest.param(["--stdout", "--check-build", "no/tree"], "no such folder", id="no tree to build in"),
    ],
)
def test_what_cannot_be_done_is_one_line(words: list[str], says: str) -> None:
    done = run("patch", ROOT / "fixtures/alias/before", *words)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_nobody_signs_off_unasked(repository: Callable[..., Path]) -> None:
    folder = repository({"win.c": DRIVER.encode()})
    assert "Signed-off-by" not in run("patch", ".", "--stdout", cwd=folder).stdout
    assert (
        "\nSigned-off-by: A. Uthor <author@example.com>\n---\n"
        in run("patch", ".", "--stdout", "--signoff", cwd=folder).stdout
    )


def test_signing_off_needs_an_identity(tmp_path: Path) -> None:
    (tmp_path / "win.c").write_text(DRIVER)
    done = run(
        "patch",
        ".",
        "--stdout",
        "--signoff",
        cwd=tmp_path,
        HOME=str(tmp_path),
        GIT_CONFIG_NOSYSTEM="1",
        XDG_CONFIG_HOME="",
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "user.name" in done.stderr


# ---- writing


def test_a_full_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.c", "b.c"):
        (tmp_path / name).write_text("old")
    calls: list[int] = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left on device; nothing was changed"):
        files.stage_all([(tmp_path / "a.c", b"new"), (tmp_path / "b.c", b"new")])
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"a.c": "old", "b.c": "old"}


def test_a_failure_between_two_files_leaves_each_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.c", "b.c"):
        (tmp_path / name).write_text("old")
    staged = files.stage_all([(tmp_path / "a.c", b"new"), (tmp_path / "b.c", b"new")])
    move = os.replace

    def once(source: Path, target: Path) -> None:
        if target.name == "b.c":
            raise OSError(errno.EROFS, "Read-only file system")
        move(source, target)

    monkeypatch.setattr(os, "replace", once)
    with pytest.raises(UsageError, match=r"b\.c: Read-only file system"):
        files.commit(staged)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"a.c": "new", "b.c": "old"}


# ---- whose driver, and how its subsystem writes

MAINTAINERS = """\
List of maintainers

ACME WINDOW DRIVERS
M:	A. Uthor <author@example.com>
F:	drivers/misc/acme-*.c
F:	sound/acme/

DMA GENERIC OFFLOAD ENGINE SUBSYSTEM
F:	drivers/dma/

THE REST
F:	*
F:	*/
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    def put(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    put("MAINTAINERS", MAINTAINERS)
    put(
        "drivers/dma/Makefile",
        "".join(f"obj-$(CONFIG_{n}) += {n}.o\n" for n in "abcdefghij") + "k-y := k-core.o \\\n\tk-hw.o\nobj-m += k.o\n",
    )
    put("drivers/misc/Makefile", "obj-m += acme-a.o acme-b.o other.o\n")
    return tmp_path


@pytest.mark.parametrize(
    ("by", "paths", "together"),
    [
        pytest.param("driver", ["drivers/misc/acme-a.c", "drivers/misc/acme-b.c"], 1, id="one section of MAINTAINERS"),
        pytest.param("driver", ["drivers/misc/acme-a.c", "sound/acme/x.c"], 2, id="one section, two subsystems"),
        pytest.param("driver", ["drivers/dma/a.c", "drivers/dma/b.c"], 2, id="a subsystem's section is no driver"),
        pytest.param("driver", ["drivers/dma/k-core.c", "drivers/dma/k-hw.c"], 1, id="one object of two files"),
        pytest.param("subsystem", ["drivers/dma/a.c", "drivers/dma/b.c"], 1, id="by subsystem"),
        pytest.param("file", ["drivers/dma/k-core.c", "drivers/dma/k-hw.c"], 2, id="by file"),
    ],
)
def test_files_of_one_driver_are_one_patch(tree: Path, by: str, paths: list[str], together: int) -> None:
    assert len(drivers.groups(tree, by, [frozenset({path}) for path in paths])) == together


def test_what_one_rewrite_changes_is_never_split(tree: Path) -> None:
    both = frozenset({"drivers/dma/a.c", "drivers/dma/b.c"})
    assert drivers.groups(tree, "file", [both]) == [both]


@pytest.mark.parametrize(
    ("history", "path", "prefix"),
    [
        pytest.param(
            ["dmaengine: a: Fix it", "dmaengine: a: Add it", "treewide: Rename"],
            "drivers/dma/a.c",
            "dmaengine: a",
            id="history",
        ),
        pytest.param(["Linux 7.3"], "drivers/dma/a.c", "dmaengine: a", id="path, for want of history"),
        pytest.param([], "drivers/dma/k-hw.c", "dmaengine: k", id="the object that the file is part of"),
        pytest.param([], "drivers/misc/acme-a.c", "misc: acme-a", id="subsystem by path"),
        pytest.param([], "drivers/foo/bar.c", "foo: bar", id="a subsystem that no table has"),
        pytest.param([], "bar.c", "bar", id="an out-of-tree driver"),
    ],
)
def test_subjects_begin_as_the_subsystem_writes_them(tree: Path, history: list[str], path: str, prefix: str) -> None:
    assert drivers.prefix(tree, rules.folder(), [path], lambda _: history) == prefix


def test_a_series_has_cover_numbers_and_base(
    repository: Callable[..., Path], scan_folder: Callable[[Path], Report]
) -> None:
    folder = repository({"a/win.c": DRIVER.encode(), "b/win.c": DRIVER.replace("win", "pane").encode()}, "Linux 7.3")
    report = scan_folder(folder)
    wishes = produce.Wishes(rules.folder(), by="file", cover=True)
    made = series.mails(produce.series(report, produce.changes(report, wishes), wishes))
    heads = [data.decode().split("\n\n")[0] for _, data in made]
    assert [head.split("Subject: [PATCH ")[1][:3] for head in heads] == ["0/2", "1/2", "2/2"]
    assert f"base-commit: {git(folder, 'rev-parse', 'HEAD').strip()}".encode() in made[1][1]
    cover = heads[0].split("Message-ID: ")[1].split("\n")[0]
    assert all(f"In-Reply-To: {cover}" in head for head in heads[1:])


# ---- out of tree


def _helped(contents: dict[str, bytes]) -> dict[str, bytes]:
    return compat.add(contents, (rules.folder() / "dma_map_phys_compat.h").read_text())


MIGRATED = DRIVER.replace("map_resource", "map_phys").encode()


def test_one_file_gets_the_helpers_behind_its_includes() -> None:
    text = _helped({"win.c": MIGRATED})["win.c"].decode()
    assert text.index("#include <linux/pci.h>") < text.index("#ifndef DMA_ATTR_MMIO\n") < text.index("struct win {")
    assert text.count("#endif") == 1


def test_several_files_share_a_header() -> None:
    made = _helped({"src/a.c": MIGRATED, "src/hw/b.c": MIGRATED, "src/c.c": b"#include <linux/pci.h>\n"})
    assert sorted(made) == ["src/a.c", "src/c.c", "src/dma_map_phys_compat.h", "src/hw/b.c"]
    assert b'#include "dma_map_phys_compat.h"\n' in made["src/a.c"]
    assert b'#include "../dma_map_phys_compat.h"\n' in made["src/hw/b.c"]
    assert made["src/c.c"] == b"#include <linux/pci.h>\n"


def test_a_driver_that_asks_for_versions_goes_on_so() -> None:
    asking = b"#include <linux/version.h>\n#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 1, 0)\n#endif\n" + MIGRATED
    assert (
        b"#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 18, 0)\n#define DMA_ATTR_MMIO"
        in _helped({"win.c": asking})["win.c"]
    )


def test_helpers_do_not_come_twice() -> None:
    once = _helped({"win.c": MIGRATED})
    assert _helped(once) == once


@pytest.mark.parametrize(
    ("licence", "status"),
    [
        pytest.param("GPL", "proposed", id="GPL"),
        pytest.param("Dual MIT/GPL", "proposed", id="a dual licence"),
        pytest.param("Proprietary", "withheld", id="proprietary"),
        pytest.param("MIT", "withheld", id="compatible with the GPL by law, not by the module loader"),
    ],
)
def test_the_symbol_is_for_modules_that_may_use_it(
    scan_text: Callable[[str], Report], licence: str, status: str
) -> None:
    report = scan_text(f'{DRIVER}MODULE_LICENSE("{licence}");\n')
    assert [finding.rewrite.status for finding in report.findings] == [status]


def test_what_compat_leaves_is_not_found_again(repository: Callable[..., Path]) -> None:
    folder = repository({"win.c": DRIVER.encode()})
    run("patch", ".", "--in-place", "--compat", cwd=folder)
    assert b"#ifndef DMA_ATTR_MMIO" in (folder / "win.c").read_bytes()
    assert run("scan", ".", cwd=folder).returncode == 0


def test_a_header_that_is_there_is_not_overwritten(repository: Callable[..., Path]) -> None:
    other = DRIVER.replace("win", "pane")
    makefile = b"obj-m += win.o\nwin-y := a.o b.o\n"
    folder = repository(
        {"a.c": DRIVER.encode(), "b.c": other.encode(), "Makefile": makefile, "dma_map_phys_compat.h": b"int ours;\n"}
    )
    done = run("patch", ".", "--in-place", "--compat", "--split", "subsystem", cwd=folder)
    assert done.returncode == 2
    assert "is there already" in done.stderr
    assert (folder / "dma_map_phys_compat.h").read_text() == "int ours;\n"
    assert (folder / "a.c").read_text() == DRIVER


@pytest.mark.parametrize(
    "more",
    [
        pytest.param("/*\n#include <linux/late.h>\n*/\n", id="an include in a comment"),
        pytest.param("#include <trace/late.h>\n", id="an include behind the calls"),
    ],
)
def test_helpers_stand_before_the_calls(more: str) -> None:
    text = _helped({"win.c": MIGRATED + more.encode()})["win.c"].decode()
    assert text.index("#include <linux/pci.h>") < text.index("#ifndef DMA_ATTR_MMIO\n") < text.index("struct win {")


def test_a_driver_below_the_top_of_its_repository_gets_paths_from_there(
    repository: Callable[..., Path], tmp_path: Path
) -> None:
    folder = repository({"drivers/win/win.c": DRIVER.encode()})
    done = run("patch", ".", "-o", tmp_path / "out", cwd=folder / "drivers/win")
    assert done.returncode == 0
    git(folder, "am", "-q", *map(str, (tmp_path / "out").iterdir()))
    assert MAPS in (folder / "drivers/win/win.c").read_bytes()


def test_what_is_not_committed_is_told(repository: Callable[..., Path], tmp_path: Path) -> None:
    folder = repository({"win.c": DRIVER.encode()})
    (folder / "win.c").write_text(DRIVER + "/* later */\n")
    assert "win.c: has changes that are not committed" in run("patch", ".", "-o", tmp_path / "out", cwd=folder).stderr


def test_a_stand_in_of_the_driver_s_own_is_left_alone(scan_text: Callable[[str], Report]) -> None:
    own = "#define dma_map_resource(d, p, s, r, a) win_map(d, p, s, r, a)\n"
    report = scan_text(DRIVER.replace("struct win {", f"{own}struct win {{"))
    assert {finding.rewrite.status for finding in report.findings} <= {"withheld", "none"}


def test_a_scratch_copy_leaves_out_what_make_made_and_never_writes_to_the_tree(tmp_path: Path) -> None:
    tree, scratch = tmp_path / "tree", tmp_path / "scratch"
    made = [".config", "include/config/auto.conf", "include/generated/autoconf.h", "arch/x86/include/generated/asm/g.h"]
    kept = ["include/linux/a.h", "arch/x86/include/asm/b.h", "drivers/a/c.c", "drivers/a/d.c"]
    for path in (*made, *kept):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(path)
    scratch.mkdir()
    copy = build.Scratch(tree, scratch)
    copy.put("drivers/a/c.c", b"changed")
    copy.put("drivers/new/e.c", b"new")
    assert [path for path in made if (scratch / "source" / path).exists()] == []
    said = {path: (scratch / "source" / path).read_text() for path in kept}
    assert said == {path: "changed" if path == "drivers/a/c.c" else path for path in kept}
    assert sorted(str(file.relative_to(tree)) for file in tree.rglob("*") if file.is_file()) == sorted(made + kept)
    assert (tree / "drivers/a/c.c").read_text() == "drivers/a/c.c"
