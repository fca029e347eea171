# SPDX-License-Identifier: GPL-2.0-only
"""What strangers send: no input loses a report, and nothing is written where it does not belong."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dmamigrate import processes, rules
from dmamigrate import scan as scans
from dmamigrate.errors import UsageError
from dmamigrate.findings import Edit, Report
from dmamigrate.judge import Result, Work
from dmamigrate.patch import files
from dmamigrate.program.queries import Budget
from dmamigrate.program.tree import Tree
from dmamigrate.report.visible import visible
from dmamigrate.rewrite import check
from dmamigrate.rewrite.layout import NewCall
from dmamigrate.syntax import prefilter
from dmamigrate.syntax.expr import Call, Name
from dmamigrate.syntax.source import Source
from dmamigrate.syntax.unit import Unit
from dmamigrate.values.engine import Engine
from dmamigrate.values.knowledge import Knowledge
from tests.test_cli import run, run_apart

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
            'diff --git "a/\\056./secret.c" b/new.c\nsimilarity index 100%\ncopy from "\\056./secret.c"\n'
            'copy to new.c\n',
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
        json.loads(run_apart("scan", tmp_path, "--tree", tmp_path, "--format", "json", *words).stdout)
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


# ---- the net around each module

GOOD = SOURCE.replace("win", "good")


@pytest.fixture
def scanned(known: Knowledge, all_rules: tuple[rules.Rule, ...]) -> Callable[..., Report]:
    def scan(folder: Path, *paths: Path, **more: Any) -> Report:
        return scans.scan(scans.Options(paths or (folder,), all_rules, known, tree=folder, **more))

    return scan


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    ("error", "says"),
    [
        pytest.param(
            ValueError("one\ntwo"), "could not be judged: ValueError: one two; please report it", id="a fault of ours"
        ),
        pytest.param(RecursionError(), "nested too deeply", id="too deep"),
        pytest.param(MemoryError(), "not enough memory", id="too large"),
        pytest.param(processes.OverBudget("takes more than 10 s"), "takes more than 10 s", id="too long"),
    ],
)
def test_what_goes_wrong_in_a_module_costs_no_other_its_findings(
    tmp_path: Path,
    scanned: Callable[..., Report],
    monkeypatch: pytest.MonkeyPatch,
    jobs: int,
    error: BaseException,
    says: str,
) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "win.c").write_text(SOURCE)
        (tmp_path / name / "Makefile").write_text("obj-m += win.o\n")
    (tmp_path / "b/also.c").write_text(GOOD)
    judged = Work.module

    def failing(self: Work, tracer: Engine, files: tuple[str, ...]) -> Result:
        if "b/win.c" in files:
            raise error
        return judged(self, tracer, files)

    monkeypatch.setattr(Work, "module", failing)
    report = scanned(tmp_path, jobs=jobs)
    assert [found.span.path for found in report.findings] == ["a/win.c", "b/also.c", "c/win.c"]
    assert [one.path for one in report.skipped] == ["b/win.c"]
    assert says in report.skipped[0].reason
    assert "\n" not in report.skipped[0].reason


def test_a_process_that_dies_costs_its_own_module_only(
    tmp_path: Path, scanned: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "win.c").write_text(SOURCE)
        (tmp_path / name / "Makefile").write_text("obj-m += win.o\n")
    judged = Work.module

    def dying(self: Work, tracer: Engine, files: tuple[str, ...]) -> Result:
        if "b/win.c" in files:
            os.kill(os.getpid(), signal.SIGKILL)
        return judged(self, tracer, files)

    monkeypatch.setattr(Work, "module", dying)
    report = scanned(tmp_path, jobs=2)
    assert [found.span.path for found in report.findings] == ["a/win.c", "c/win.c", "d/win.c"]
    assert [(one.path, one.reason) for one in report.skipped] == [
        ("b/win.c", "the process that judged it died of SIGKILL")
    ]


def _doubled(number: int) -> int:
    """Twice the number; 3 kills its process, 5 raises."""
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 5:
        raise UsageError("five")
    time.sleep(0.01 * (number % 2))
    return 2 * number


def _minus(number: int, why: str) -> int:
    return -number if why.endswith("died of SIGKILL") else 0


@pytest.mark.parametrize("jobs", [1, 2, 3])
@pytest.mark.parametrize("items", [[3], [1, 2, 3, 4], [3, 3, 1], [1, 2, 4, 6, 3]])
def test_answers_keep_their_order_whichever_process_dies(items: list[int], jobs: int) -> None:
    assert list(processes.each(_doubled, items, jobs, _minus, outside=True)) == [
        -3 if item == 3 else 2 * item for item in items
    ]


@pytest.mark.parametrize("items", [[5], [1, 5, 2]])
def test_what_is_raised_in_another_process_is_raised_here(items: list[int]) -> None:
    with pytest.raises(UsageError, match="five"):
        list(processes.each(_doubled, items, 2, _minus, outside=True))


@pytest.mark.parametrize(
    ("parent", "status"),
    [pytest.param(os.getppid, 0, id="it lives"), pytest.param(lambda: 1 << 22, 1, id="it is gone")],
)
def test_a_child_whose_parent_is_gone_ends(parent: Callable[[], int], status: int) -> None:
    """The parent may be killed between the fork and the child's asking to end with it."""
    child = os.fork()
    if child == 0:
        processes._begin(parent())
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == status


def _forever() -> None:
    held: list[int] = []
    while True:
        held[:] = [len(held)]


def _more_and_more() -> None:
    held: list[bytearray] = []
    while True:
        held.append(bytearray(1 << 20))


@pytest.mark.parametrize(
    ("work", "seconds", "megabytes", "says"),
    [
        pytest.param(_forever, 0.1, 1000, "takes more than 0.1 s of CPU time", id="time"),
        pytest.param(_more_and_more, 60, 20, "needs more than 20 MB of memory", id="memory"),
    ],
)
def test_what_takes_too_much_is_stopped(work: Callable[[], None], seconds: float, megabytes: int, says: str) -> None:
    def limited() -> None:
        with processes.limited(seconds, megabytes):
            work()

    with pytest.raises(processes.OverBudget, match=re.escape(says)):
        limited()
    with processes.limited(60, 1000):
        sum(range(1000))


@pytest.mark.parametrize(
    ("name", "data", "words", "status"),
    [
        pytest.param("a.c", b"int x;\0 dma_map_resource(a, b, c, d, 0);", [], 2, id="a call beside NUL bytes"),
        pytest.param("a.c", b"W(dma_map_resource(a, b, c, d, 0))\n", [], 2, id="a call that could not be parsed"),
        pytest.param("a.c", b"W(dma_map_resource(a, b, c, d, 0))\n", ["--exit-zero"], 2, id="that, whatever is found"),
        pytest.param("a.c", b"int x;\0", [], 0, id="NUL bytes, and no call"),
        pytest.param("a.c", b"int x;\n", [], 0, id="no call"),
    ],
)
def test_what_could_not_be_judged_is_not_clean(
    tmp_path: Path, name: str, data: bytes, words: list[str], status: int
) -> None:
    (tmp_path / name).write_bytes(data)
    assert run("scan", tmp_path, "--tree", tmp_path, *words).returncode == status
    (tmp_path / "win.c").write_text(SOURCE)
    assert run("scan", tmp_path, "--tree", tmp_path).returncode == 1


def test_debug_shows_the_traceback_and_only_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "win.c").write_text(SOURCE)
    broken = (
        "import dmamigrate.judge as j; j.Work.module = lambda *_: 1 / 0; from dmamigrate.__main__ import main; main()"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", broken, "scan", "win.c", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        for words in ([], ["--debug"])
    ]
    assert [one.returncode for one in said] == [2, 2]
    assert said[0].stderr.count("\n") == 1
    assert "ZeroDivisionError: division by zero; please report it" in said[0].stdout
    assert "Traceback" in said[1].stderr


# ---- files that are no files, or not any more


def test_a_name_that_is_no_utf8_is_scanned(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"w\xfcn.c")).write_text(SOURCE)
    done = run("scan", tmp_path, "--tree", tmp_path, "--format", "json")
    assert done.returncode == 1


def _loop(folder: Path) -> None:
    (folder / "x.c").symlink_to("x.c")


def _kmsg(folder: Path) -> None:
    (folder / "x.c").symlink_to("/proc/kmsg")


def _outside(folder: Path) -> None:
    (folder.parent / "outside.c").write_text(SOURCE)
    (folder / "x.c").symlink_to("../outside.c")


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "x.c")


def _socket(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as held:
        held.bind(str(folder / "x.c"))


def _link_to_a_folder(folder: Path) -> None:
    (folder / "x.c").symlink_to(".")


@pytest.mark.parametrize("make", [_loop, _kmsg, _outside, _pipe, _socket, _link_to_a_folder])
def test_what_is_no_file_is_skipped_with_a_reason(
    tmp_path: Path, scanned: Callable[..., Report], make: Callable[[Path], None]
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "win.c").write_text(SOURCE)
    make(tree)
    report = scanned(tree)
    assert [found.span.path for found in report.findings] == ["win.c"]
    assert len(report.skipped) == 1
    assert not report.unjudged


def test_what_is_put_in_place_after_the_search_does_not_block(
    tmp_path: Path, scanned: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "win.c").write_text(SOURCE)
    (tmp_path / "x.c").write_text(GOOD)
    looked = prefilter.holding

    def then_a_pipe(files: list[str], *rest: Any) -> tuple[list[str], list[prefilter.Unread]]:
        result = looked(files, *rest)
        os.unlink(tmp_path / "x.c")
        os.mkfifo(tmp_path / "x.c")
        return result

    monkeypatch.setattr(prefilter, "holding", then_a_pipe)
    report = scanned(tmp_path)
    assert [found.span.path for found in report.findings] == ["win.c"]
    assert report.unjudged


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_file_that_vanishes_is_skipped(
    tmp_path: Path, scanned: Callable[..., Report], monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "win.c").write_text(SOURCE)
        (tmp_path / name / "Makefile").write_text("obj-m += win.o\n")
    looked = prefilter.holding

    def then_gone(files: list[str], *rest: Any) -> tuple[list[str], list[prefilter.Unread]]:
        result = looked(files, *rest)
        os.unlink(tmp_path / "b/win.c")
        return result

    monkeypatch.setattr(prefilter, "holding", then_gone)
    report = scanned(tmp_path, jobs=jobs)
    assert [found.span.path for found in report.findings] == ["a/win.c"]
    assert [one.path for one in report.skipped] == ["b/win.c"]


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_skipped(tmp_path: Path, scanned: Callable[..., Report]) -> None:
    (tmp_path / "win.c").write_text(SOURCE)
    (tmp_path / "closed").mkdir(mode=0)
    report = scanned(tmp_path)
    assert [found.span.path for found in report.findings] == ["win.c"]
    assert [one.path for one in report.skipped] == ["closed"]


@pytest.mark.parametrize(
    "make", [pytest.param(_pipe, id="pipe"), pytest.param(_loop, id="loop"), pytest.param(_socket, id="socket")]
)
def test_what_is_named_and_is_no_file_is_one_line(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path)
    done = run("scan", tmp_path / "x.c")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "no such file" not in done.stderr


def test_a_file_that_is_named_twice_counts_once(tmp_path: Path, scanned: Callable[..., Report]) -> None:
    (tmp_path / "win.c").write_text(SOURCE)
    report = scanned(tmp_path, tmp_path, tmp_path / "win.c", tmp_path)
    assert (report.files, report.parsed, len(report.findings)) == (1, 1, 1)


@pytest.mark.parametrize(
    ("asked", "work", "most"), [(0, 5, 1), (3, 5, 3), (1000, 2, 2), (10**12, 10**6, 4 * (os.cpu_count() or 1) + 8)]
)
def test_no_more_processes_than_help(asked: int, work: int, most: int) -> None:
    assert 1 <= processes.sensible(asked, work) <= most


# ---- calls that are not whole

MAP = "dma_map_resource(w->dev, pci_resource_start(w->pdev, 2), SZ_4K, DMA_TO_DEVICE, 0)"
LONG = "dma_map_resource(w->dev_of_the_window, pci_resource_start(w->pdev_of_the_window, 2), SZ_4K DMA_TO_DEVICE, 0)"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(SOURCE.replace(MAP, MAP.replace("DEVICE, 0", "DEVICE 0")), id="a comma is missing"),
        pytest.param(SOURCE.replace(MAP, LONG), id="a comma is missing in a long call"),
        pytest.param(SOURCE.replace(MAP, MAP.replace(", 0)", ', " 0)')), id="a quotation mark too many"),
        pytest.param(SOURCE.replace(MAP, MAP.replace(", 0)", ', " 0); pr_info("x")')),
        id="a quotation mark that finds another"),
        pytest.param(SOURCE.replace(MAP, MAP.replace(", 0)", ", ' 0)")), id="an apostrophe too many"),
        pytest.param(SOURCE.replace(MAP, MAP[:-1]), id="a parenthesis is missing"),
        pytest.param(SOURCE.replace(MAP, MAP.replace("SZ_4K", "SZ_4K +")), id="an operand is missing"),
        pytest.param(SOURCE.replace(MAP, MAP.replace("SZ_4K", "({ SZ_4K; })")), id="a statement within the call"),
        pytest.param(SOURCE.replace(MAP, MAP.replace("SZ_4K,", "/* SZ_4K,")), id="a comment that does not end"),
        pytest.param(
            SOURCE.replace("dma_unmap_resource(w->dev, w->dma,", "dma_unmap_resource(w->dev w->dma,"),
            id="the unmap is broken"
        ),
    ],
)  # fmt: skip
def test_a_call_that_is_not_whole_is_not_rewritten(tmp_path: Path, scanned: Callable[..., Report], text: str) -> None:
    (tmp_path / "win.c").write_text(text)
    report = scanned(tmp_path)
    assert [found.rule for found in report.findings if found.rewrite.status == "proposed"] == []
    assert not any("please report it" in one.reason for one in report.skipped)


@pytest.mark.parametrize("jobs", [1, 2])
def test_where_no_call_can_be_read_is_listed_with_its_line(
    tmp_path: Path, scanned: Callable[..., Report], jobs: int
) -> None:
    (tmp_path / "win.c").write_text(SOURCE.replace(f"w->dma = {MAP}", f"goto {MAP}"))
    (tmp_path / "other.c").write_text(SOURCE.replace("win_", "other_"))
    report = scanned(tmp_path, jobs=jobs)
    assert [(one.path, one.reason) for one in report.skipped] == [
        ("win.c:12", "dma_map_resource() stands where no call could be parsed")
    ]


def test_a_macro_of_a_call_s_name_is_no_call(tmp_path: Path, scanned: Callable[..., Report]) -> None:
    macro = (
        "#ifdef dma_map_resource\n#undef dma_map_resource\n"
        "#define dma_map_resource(d, p, s, r, a) fx(d, p, s)\n#endif\n"
    )
    (tmp_path / "win.c").write_text(macro + SOURCE)
    assert scanned(tmp_path).skipped == ()


def test_what_is_too_much_to_look_at_is_said_once_with_its_place(
    tmp_path: Path, scanned: Callable[..., Report]
) -> None:
    ifs = "".join(f"\tif (w->pdev->n{i})\n\t\tw->dev = win_{i}(w);\n" for i in range(40))
    (tmp_path / "win.c").write_text(SOURCE.replace("\treturn dma", f"{ifs}\treturn dma"))
    report = scanned(tmp_path, budget=Budget(steps=30))
    assert [(one.path, one.reason) for one in report.skipped] == [
        ("win.c:12", "the paths behind dma_map_resource() are too many to look for leaks on all; raise --effort")
    ]
    assert {one.rewrite.status for one in report.findings} == {"proposed"}


def test_the_twin_that_is_whole_is_rewritten(tmp_path: Path, scanned: Callable[..., Report]) -> None:
    (tmp_path / "win.c").write_text(SOURCE)
    assert [found.rewrite.status for found in scanned(tmp_path).findings] == ["proposed"]


@pytest.mark.parametrize(
    ("written", "says"),
    [
        pytest.param('g(a, "b", c)', None, id="a whole string"),
        pytest.param("g(a, 'b', c)", None, id="a whole character"),
        pytest.param('g(a, "b, c)', "a quotation mark in it is never closed", id="a string that does not end"),
        pytest.param("g(a, 'b, c)", "a quotation mark in it is never closed", id="a character that does not end"),
        pytest.param("g(a, b; c)", "a semicolon stands in it", id="a statement that ends in it"),
        pytest.param("g(a, b, c", "its closing parenthesis is missing", id="no end"),
        pytest.param("g(a, b c, d)", "it cannot be parsed", id="no comma"),
        pytest.param("g(a, b)", "it cannot be parsed", id="another number of arguments than was seen"),
    ],
)
def test_what_is_wrong_with_a_call_is_said(written: str, says: str | None) -> None:
    name = Name(0, 1, (), "g", -1)
    call = Call(0, len(written), (name, name, name, name))
    assert check.broken(Source("win.c", written.encode()), call) == says


def test_an_edit_that_begins_a_comment_is_refused() -> None:
    plain = Source("win.c", b"void f(int a)\n{\n\tg(a); h(a); /* as before */ i(a);\n}\n")
    (fn,) = Unit(plain).functions("f")
    ((_, call), _, _) = fn.calls
    edit = Edit("win.c", call.start, call.end, "k(a); h(a); /*")
    said = check.unlike(plain, (edit,), {(call.start, call.end): NewCall("k", (0,))}, {fn})
    assert said == "its function is not parsed as before"


@pytest.mark.parametrize(
    ("edits", "says"),
    [
        pytest.param([(4, 16, "dma_map_phys"), (10, 20, "x")], "two edits change the same place", id="overlapping"),
        pytest.param([(4, 16, "dma_map_phys"), (30, 30, "x")], "an edit reaches beyond its call", id="out of bounds"),
        pytest.param([(0, 1, "dma_map_phys")], "an edit reaches beyond its call", id="before the call"),
        pytest.param(
            [(4, 20, "dma_map_phys"), (22, 23, "f(b")], "its function is not parsed as before", id="unbalanced"
        ),
        pytest.param(
            [(4, 20, "dma_map_phys"), (22, 23, "x")], "its function is not parsed as before", id="another argument"
        ),
        pytest.param([(4, 20, "dma_map_page")], "its function is not parsed as before", id="another name"),
        pytest.param([(4, 20, "dma_map_phys"), (22, 23, "b }")], "the file is not taken apart as before", id="a brace"),
    ],
)
def test_edits_that_do_more_than_they_are_for_are_refused(edits: list[tuple[int, int, str]], says: str) -> None:
    plain = Source("win.c", b"int f(int a, int b)\n{\n\treturn dma_map_resource(a, b);\n}\n")
    (fn,) = Unit(plain).functions("f")
    ((_, call),) = fn.calls
    at = call.start - 4
    made = tuple(Edit("win.c", at + start, at + end, text) for start, end, text in edits)
    calls = {(call.start, call.end): NewCall("dma_map_phys", (0, 1))}
    assert check.unlike(plain, made, calls, {fn}) == says
    right = (Edit("win.c", call.start, call.start + len("dma_map_resource"), "dma_map_phys"),)
    assert check.unlike(plain, right, calls, {fn}) is None


# ---- what is shown

HOSTILE = "\x1b]0;title\x07\x1b[2J\x9b31m\u202eevil\u2066\u200b\r\x08"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        pytest.param("\x1b[31m", "\\x1b[31m", id="escape"),
        pytest.param("\x9b", "\\x9b", id="C1"),
        pytest.param("a\nb\rc\td", "a\\nb\\rc\\td", id="line ends and tab"),
        pytest.param("\u202e\u2066\u200f", "\\u202e\\u2066\\u200f", id="direction"),
        pytest.param("\u200b\ufeff\u00ad", "\\u200b\\ufeff\\xad", id="no width"),
        pytest.param("\U000e0041", "\\U000e0041", id="tag"),
        pytest.param("\udcff\udc1b\ud800", "\\xff\\udc1b\\ud800", id="no UTF-8"),
        pytest.param("Grüße, 世界 [bold]<b>&", "Grüße, 世界 [bold]<b>&", id="what can be seen"),
    ],
)
def test_what_cannot_be_seen_is_escaped(text: str, seen: str) -> None:
    assert visible(text) == seen


FORGED = ("a\nwin.c:1:1: error: [forged].c", os.fsdecode(b"w\xfc\x1b[2J.c"), "\u202e.c", "\x1b]52;c;x\x07.c")


@pytest.mark.parametrize(
    "command",
    ["scan", "scan --diff", "patch --in-place", "scan --debug", *(f"trace {number}" for number in range(len(FORGED)))],
)
def test_nothing_of_a_stranger_steers_the_terminal(tmp_path: Path, command: str) -> None:
    text = SOURCE.replace("\tw->dma = dma", f"\t/* {HOSTILE} */ w->dma = /* {HOSTILE} */ dma")
    data = text.encode("utf-8", "surrogatepass")
    for name in FORGED:
        (tmp_path / name).write_bytes(data)
    line = next(number for number, text in enumerate(data.split(b"\n"), 1) if b"dma_map" in text)
    first, *options = command.split()
    place = f"{tmp_path / FORGED[int(options.pop())]}:{line}" if first == "trace" else str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "dmamigrate", first, place, *options], cwd=tmp_path, capture_output=True, check=False,
        env={**os.environ, "FORCE_COLOR": "", "NO_COLOR": "1"},
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    said = (done.stdout + done.stderr).decode("utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]", said)
    assert not any(line.startswith("win.c:1:1: error") for line in said.splitlines())


def test_json_is_utf8_whatever_the_source_is(tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(b"w\xfcn.c")
    file.write_bytes(SOURCE.encode().replace(b"\tw->dma = dma", b"\t/* \xff\x1b */ w->dma = /* \xff */ dma"))
    done = subprocess.run(
        [sys.executable, "-m", "dmamigrate", "scan", ".", "--format", "json"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    document = json.loads(done.stdout)
    json.dumps(document, ensure_ascii=False).encode("utf-8")
    assert document["findings"][0]["path"] == "w\\xfcn.c"


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(b"x = " + b"[" * 100_000, id="nested"),
        pytest.param(b"\xff\xfe", id="no UTF-8"),
        pytest.param(b"header = 1\n[[source]]\ncall = 3\n", id="other types"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x00", id="NUL"),
    ],
)
def test_a_table_of_any_content_gives_one_line(tmp_path: Path, table: bytes) -> None:
    (tmp_path / "own.toml").write_bytes(table)
    (tmp_path / "win.c").write_text("int x;\n")
    done = run("scan", tmp_path, "--sources", tmp_path / "own.toml")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "internal" not in done.stderr


# ---- signals


def _ended(tmp_path: Path, sent: signal.Signals, modules: str = "ab") -> tuple[int, str]:
    """A run that is in the midst of judging, ended by a signal: its status, and what it said."""
    for name in modules:
        (tmp_path / name).mkdir()
        (tmp_path / name / "win.c").write_text(SOURCE)
        (tmp_path / name / "Makefile").write_text("obj-m += win.o\n")
    slow = (
        "import os, time, dmamigrate.judge as j\n"
        "def module(*_): open(f'begun{os.getpid()}', 'w').close(); time.sleep(60)\n"
        "j.Work.module = module\n"
        "from dmamigrate.__main__ import main\n"
        "main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", slow, "scan", ".", "-j2"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell starts what it puts into the background with SIGINT ignored, and that is inherited
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    while len(begun := list(tmp_path.glob("begun*"))) < len(modules) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(sent)
    said = process.communicate(timeout=50)[1]
    for _ in range(500):
        if not any(Path(f"/proc/{file.name.removeprefix('begun')}").exists() for file in begun):
            return process.returncode, said
        time.sleep(0.02)
    raise AssertionError("a child is left")


@pytest.mark.parametrize("modules", [pytest.param("ab", id="two modules"), pytest.param("a", id="one module")])
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_and_its_children(tmp_path: Path, sent: signal.Signals, modules: str) -> None:
    assert _ended(tmp_path, sent, modules) == (128 + sent, "dmamigrate: interrupted\n")


@pytest.mark.parametrize("modules", ["ab", "a"])
def test_children_end_with_a_run_that_is_killed(tmp_path: Path, modules: str) -> None:
    assert _ended(tmp_path, signal.SIGKILL, modules) == (-signal.SIGKILL, "")


def test_what_the_grammar_takes_for_ever_costs_its_own_module(
    tmp_path: Path, scanned: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_GRACE", 0)
    endless = "if(a)else " * 9000
    for name, text in (("a", SOURCE.replace("\tw->dma = ", f"\t{endless};\n\tw->dma = ")), ("b", SOURCE)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Makefile").write_text("obj-m += win.o\n")
        (tmp_path / name / "win.c").write_text(text)
    report = scanned(tmp_path, limits=scans.Limits(seconds=1))
    assert [(one.path, one.reason) for one in report.skipped] == [
        ("a/win.c", "could not be judged: one step of it takes more CPU time than is allowed in all")
    ]
    assert {one.span.path for one in report.findings} == {"b/win.c"}


@pytest.mark.parametrize("run", ["-" * 20_000, "- " * 5_000, "+&" * 9_000, "!" * 3_000])
def test_operators_in_a_row_without_end_cost_the_call_that_they_stand_in(
    run: str, tmp_path: Path, scanned: Callable[..., Report]
) -> None:
    (tmp_path / "win.c").write_text(SOURCE.replace("dma_map_resource(", f"dma_map_resource({run}"))
    (tmp_path / "other.c").write_text(SOURCE.replace("win_", "other_"))
    found = {one.span.path: one.rewrite for one in scanned(tmp_path).findings}
    assert found["other.c"].status == "proposed"
    assert found["win.c"].status == "withheld"
    assert (found["win.c"].reason or "").startswith("win.c:12: dma_map_resource()")


def test_banners_are_no_operators(tmp_path: Path, scanned: Callable[..., Report]) -> None:
    banner = f"/*{'*' * 76}\n{'*' * 76}\n{'*' * 76}/\n"
    (tmp_path / "win.c").write_text(banner + SOURCE.replace("return", f"{banner}\treturn"))
    report = scanned(tmp_path)
    assert not report.skipped
    assert {one.rewrite.status for one in report.findings} == {"proposed"}


def test_a_long_chain_of_locals_takes_memory_for_its_length_only(tmp_path: Path) -> None:
    length = 3000
    body = "".join(f"\tphys_addr_t v{i} = v{i - 1};\n" for i in range(1, length))
    (tmp_path / "win.c").write_text(f"void f(phys_addr_t v0)\n{{\n{body}}}\n")
    unit = Tree(tmp_path).unit("win.c")
    assert unit is not None
    live = unit.functions("f")[0].live
    assert len(live) > length
    assert sum(map(sys.getsizeof, live)) < 2 << 20  # bytes; a set of names for each place takes 300 MB
