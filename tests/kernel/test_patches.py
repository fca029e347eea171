# SPDX-License-Identifier: GPL-2.0-only
"""The series for a real tree: it applies, leaves nothing to propose, keeps the kernel's style, and still compiles."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from dmamigrate import rules
from dmamigrate import scan as scans
from dmamigrate.patch import build, produce, series
from dmamigrate.patch.change import FileChange
from dmamigrate.program.tree import Tree
from dmamigrate.values.engine import Engine
from tests.conftest import ROOT
from tests.diffs import diff
from tests.test_patch import DRIVER

pytestmark = pytest.mark.kernel
VERSION = "7.3"
FOLDERS = ("drivers", "sound")


@pytest.fixture(scope="module")
def made(
    kernel: Callable[[str], Path], all_rules: tuple[rules.Rule, ...]
) -> tuple[Path, produce.Made, list[tuple[str, bytes]]]:
    root = kernel(VERSION)
    known = rules.tables()
    options = scans.Options(tuple(root / folder for folder in FOLDERS), all_rules, known, tree=root, jobs=2)
    report = scans.scan(options)
    wishes = produce.Wishes(rules.folder(), recipients=False)
    changes = produce.changes(report, wishes)
    (several,), _ = produce.series(report, changes, wishes)
    return root, changes, series.mails(several)


def _git(folder: Path, *words: str) -> None:
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "core.autocrlf=false", *words]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def test_applies_and_reverts_without_a_trace(
    made: tuple[Path, produce.Made, list[tuple[str, bytes]]], tmp_path: Path
) -> None:
    root, changes, mails = made
    touched = {file.path: file for one in changes.changes for file in one.files}
    assert len(touched) >= 18
    for path in touched:
        (tmp_path / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, tmp_path / "tree" / path)
    for name, data in mails:
        (tmp_path / name).write_bytes(data)
    _git(tmp_path / "tree", "init", "-q")
    _git(tmp_path / "tree", "add", ".")
    _git(tmp_path / "tree", "commit", "-qm", "base")
    _git(tmp_path / "tree", "am", "-q", *(str(tmp_path / name) for name, _ in mails))
    assert all((tmp_path / "tree" / path).read_bytes() == file.after for path, file in touched.items())
    for name, _ in reversed(mails):
        _git(tmp_path / "tree", "apply", "-R", str(tmp_path / name))
    assert all((tmp_path / "tree" / path).read_bytes() == file.before for path, file in touched.items())


def test_b4_takes_the_whole_series(made: tuple[Path, produce.Made, list[tuple[str, bytes]]], tmp_path: Path) -> None:
    _, _, mails = made
    box = tmp_path / "series.mbox"
    box.write_bytes(b"".join(data for _, data in mails))
    first = re.search(rb"(?im)^message-id:\s*<([^>]+)>", mails[0][1])
    assert first is not None
    _git(tmp_path, "init", "-q")
    said = subprocess.run(
        [Path(sys.executable).parent / "b4", "--offline-mode", "am", "-m", box, "-o", tmp_path, first[1].decode()],
        cwd=tmp_path, env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]}, capture_output=True, text=True,
        check=True,
    ).stderr  # fmt: skip
    assert f"Total patches: {len(mails)}" in said
    (taken,) = tmp_path.glob("*.mbx")
    assert taken.read_text("utf-8").count("\nSubject: [PATCH") == len(mails)


def test_a_second_scan_proposes_what_waited_for_a_mend_alone(
    made: tuple[Path, produce.Made, list[tuple[str, bytes]]], all_rules: tuple[rules.Rule, ...]
) -> None:
    root, changes, _ = made
    overlay = {file.path: file.after for one in changes.changes for file in one.files}
    known = rules.tables()
    options = scans.Options((root,), all_rules, known, tree=root)
    work = scans.work(options, root, VERSION)
    left = []
    for group in scans.modules(Tree(root), sorted(overlay)):
        tracer = Engine(Tree(root, overlay), known, options.budget)
        left += [f for f in work.module(tracer, group).findings if f.rewrite.status == "proposed"]
    # its unmap had the wrong handle: that is mended first, and the migration comes after
    assert [(f.rule, f.span.path) for f in left] == [("map-resource-mmio", "drivers/spi/spi-qpic-snand.c")]


def _complaints(root: Path, text: bytes, *words: str) -> Counter[str]:
    script = [
        "perl",
        str(root / "scripts/checkpatch.pl"),
        "--strict",
        "--no-tree",
        "--no-summary",
        "--terse",
        *words,
        "-",
    ]
    done = subprocess.run(script, cwd=root, input=text, capture_output=True, check=False)
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    return Counter(match[1] for line in lines if (match := re.search(r"((?:ERROR|WARNING|CHECK): .*)", line)))


def test_checkpatch_says_nothing_that_the_lines_did_not_have(
    made: tuple[Path, produce.Made, list[tuple[str, bytes]]],
) -> None:
    root, changes, mails = made
    if shutil.which("perl") is None:
        pytest.skip("NO PERL: checkpatch.pl needs it")
    for one, (name, data) in zip(changes.changes, mails, strict=True):
        said = _complaints(root, data)
        # the same lines as they were, as if they were new
        undone = "".join(diff(file.path, file.after, file.before) for file in one.files)
        before = _complaints(root, undone.encode("utf-8", "surrogateescape"), "--ignore", "COMMIT_MESSAGE")
        assert said - before == Counter({}) or said - before == Counter({"ERROR: Missing Signed-off-by: line(s)": 1}), (
            name
        )


def _can_build() -> bool:
    header = subprocess.run(
        ["gcc", "-E", "-include", "gelf.h", "-x", "c", "/dev/null"], capture_output=True, check=False
    )
    return all(shutil.which(tool) for tool in ("make", "flex", "bison", "bc")) and header.returncode == 0


def test_a_patched_driver_compiles_and_a_broken_one_is_told(kernel: Callable[[str], Path], tmp_path: Path,
                                                            made: tuple[Path, produce.Made, list[tuple[str,
                                                            bytes]]]) -> None:  # fmt: skip
    if not _can_build():
        pytest.skip("NO KERNEL BUILD: install make, flex, bison, bc, libelf-dev and libssl-dev")
    files = {file.path: file for one in made[1].changes for file in one.files}
    pl330 = files["drivers/dma/pl330.c"]
    ntb = files["drivers/ntb/ntb_transport.c"]
    broken = FileChange(ntb.path, ntb.before, ntb.after.replace(b"dma_map_phys(", b"dma_map_nothing("))
    scratch = build.Scratch(kernel(VERSION), tmp_path)
    scratch.prepare(2)
    good, bad = build.check(scratch, [(pl330,), (broken,)], 2)
    assert [one.status for one in good] == ["compiled"]
    assert [one.status for one in bad] == ["broken"]
    assert "dma_map_nothing" in bad[0].reason


def test_fixtures_compile_as_kernel_objects(kernel: Callable[[str], Path], tmp_path: Path) -> None:
    if not _can_build():
        pytest.skip("NO KERNEL BUILD: install make, flex, bison, bc, libelf-dev and libssl-dev")
    scratch = build.Scratch(kernel(VERSION), tmp_path)
    scratch.prepare(2)
    place = "drivers/misc/fixtures"
    cases: dict[str, bytes] = {}
    for folder in sorted((ROOT / "fixtures").glob("*/*/after")):
        cases |= {f"{place}/{folder.parent.name}/{file.name}": file.read_bytes() for file in sorted(folder.iterdir())}
    sources = [path for path in cases if path.endswith(".c")]
    names = sorted({path.split("/")[3] for path in sources})
    misc = (kernel(VERSION) / "drivers/misc/Makefile").read_bytes()
    scratch.put("drivers/misc/Makefile", misc + b"\nobj-m += fixtures/\n")
    scratch.put(f"{place}/Makefile", "".join(f"obj-m += {name}/\n" for name in names).encode())
    for name in names:
        objects = [Path(path).stem for path in sources if path.split("/")[3] == name]
        scratch.put(f"{place}/{name}/Makefile", "".join(f"obj-m += {stem}.o\n" for stem in objects).encode())
    for path, data in cases.items():
        scratch.put(path, data)
    assert len(sources) >= 20
    assert {path: reason for path, reason in scratch.compile(sources, 2).items() if reason is not None} == {}


def _running(session: int) -> list[int]:
    """The processes of a session that are still there and not merely waited for."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, its = file.read_text().rpartition(")")[2].split()[:4]
            found += [int(file.parent.name)] if int(its) == session and state != "Z" else []
    return found


def test_ended_by_a_signal_at_any_moment_nothing_is_half_written_or_left(tmp_path: Path) -> None:
    (tmp_path / "MAINTAINERS").write_text("")
    texts = {f"d{n}/win.c": DRIVER.replace("win", f"win{n}") for n in range(12)}
    command = [sys.executable, "-m", "dmamigrate", "patch", str(tmp_path), "--in-place", "--force", "-j"]
    chance = random.Random(7)
    whole = {path: {text} for path, text in texts.items()}
    changed = 0
    for turn in range(200):
        for path, text in texts.items():
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_text(text)
        process = subprocess.Popen(
            [*command, chance.choice("12")], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        if turn:
            time.sleep(chance.uniform(0.1, 0.9))
            process.send_signal(chance.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)))
        process.wait()
        ends = time.monotonic() + 5
        while _running(process.pid) and time.monotonic() < ends:
            time.sleep(0.01)
        assert _running(process.pid) == []
        for path, text in texts.items():
            said = (tmp_path / path).read_text()
            if turn == 0:
                whole[path].add(said)
            assert said in whole[path]
            changed += said != text
    assert changed >= len(texts)
    subprocess.run([*command, "1"], cwd=ROOT, capture_output=True, check=False)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".c") == [
        tmp_path / "MAINTAINERS"
    ]
