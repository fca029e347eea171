# SPDX-License-Identifier: GPL-2.0-only
"""What a review says, for people and for machines."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from tests.conftest import ROOT
from tests.diffs import diff
from tests.test_cli import run
from tests.test_review import BEFORE, RIGHT, STOP
from tests.test_touched import git


def _reviewed(folder: Path, after: str, *words: str) -> tuple[int, str]:
    (folder / "win.c").write_text(BEFORE)
    (folder / "change.patch").write_text(diff("win.c", BEFORE.encode(), after.encode()))
    done = run("review", "change.patch", *words, cwd=folder)
    return done.returncode, done.stdout


def test_a_proved_change_is_said_to_be_one(tmp_path: Path) -> None:
    status, text = _reviewed(tmp_path, RIGHT)
    assert status == 0
    assert "dma_map_resource() is now dma_map_phys() in win_start()" in " ".join(text.split())
    assert "OK: win.c: 2 mappings moved with all unmaps" in text


def test_a_wrong_change_ends_with_status_one_and_its_counterexample(tmp_path: Path) -> None:
    status, text = _reviewed(tmp_path, RIGHT.replace(STOP, STOP.replace("DMA_ATTR_MMIO", "0")))
    assert status == 1
    assert "NOT OK" in text
    assert "before:" in text


def test_machines_get_the_verdict_on_each_life(tmp_path: Path) -> None:
    status, text = _reviewed(tmp_path, RIGHT, "--format", "json")
    said = json.loads(text)
    assert status == 0
    assert [(one["function"], one["before"], one["after"], one["verdict"]["status"]) for one in said["reviewed"]] == [
        ("win_start", "dma_map_resource", "dma_map_phys", "proved"),
        ("win_ring", "dma_map_resource", "dma_map_phys", "proved"),
    ]


def test_the_page_shows_what_was_judged(tmp_path: Path) -> None:
    _, text = _reviewed(tmp_path, RIGHT, "--format", "html")
    assert "Mappings that the change touches" in text
    assert "win_ring" in text
    assert "Nothing to report" not in text


def test_a_wrong_change_ends_in_a_sentence_that_says_so(tmp_path: Path) -> None:
    _, text = _reviewed(tmp_path, RIGHT.replace(STOP, STOP.replace("DMA_ATTR_MMIO", "0")))
    assert text.rstrip().endswith("NOT OK: win.c: of 2 mappings that change, 1 not what it was on 6.18")


def test_the_next_command_asks_about_the_same_places() -> None:
    words = ["fixtures/origin/field-in-another-file/before", "--level", "error", "--select", "map-resource-bar"]
    text = run("scan", *words, cwd=ROOT).stdout
    assert f"next: dmamigrate patch {shlex.join(words)} -o series/ writes what is ready" in text


def test_the_counts_of_the_last_line_are_counts_of_places() -> None:
    text = run("scan", "fixtures/origin", "fixtures/unmap", cwd=ROOT).stdout
    levels, todo = re.findall(r"^(\d.*?) \((.*)\) in ", text, re.MULTILINE)[-1]
    sums = [sum(int(count) for count in re.findall(r"\d+", said)) for said in (levels, todo)]
    assert sums[0] == sums[1]
    assert sums[0] == len(re.findall(r"^\S+:\d+:\d+: ", text, re.MULTILINE))


def test_a_branch_ends_in_the_table_that_says_so() -> None:
    text = run("trace", "fixtures/origin/out-pointer/before/fx.c:36", cwd=ROOT).stdout
    evidence = re.findall(r"platform_get_resource\(\) yields mmio \((\S.+)\)$", text, re.MULTILINE)
    assert len(evidence) == 1
    assert any(evidence[0] in table.read_text() for table in (ROOT / "rules/sources").glob("*.toml"))


def test_a_change_of_a_driver_outside_of_the_kernel_that_is_asked_for_facts(tmp_path: Path) -> None:
    kernel, driver = tmp_path / "linux", tmp_path / "driver"
    for name, text in {"MAINTAINERS": "", "Kbuild": "", "Makefile": "VERSION = 7\nPATCHLEVEL = 3\n"}.items():
        (kernel / name).parent.mkdir(exist_ok=True)
        (kernel / name).write_text(text)
    header = kernel / "include/linux/dma-mapping.h"
    header.parent.mkdir(parents=True)
    header.write_text("void dma_map_phys(void);\nvoid dma_unmap_phys(void);\n#define DMA_ATTR_MMIO 1\n")
    (driver / "sub").mkdir(parents=True)
    git(driver, "init", "-q")
    (driver / "win.c").write_text(BEFORE)
    change = diff("win.c", BEFORE.encode(), RIGHT.encode())
    for folder, place in ((driver, "win.c"), (driver / "sub", "../win.c")):
        done = run("review", "-", "--tree", kernel, "--format", "json", cwd=folder, stdin=change.encode())
        document = json.loads(done.stdout)
        assert [one["verdict"]["status"] for one in document["reviewed"]] == ["proved", "proved"]
        assert (document["tree"]["version"], document["reviewed"][0]["path"]) == ("7.3", "win.c"), place
