# SPDX-License-Identifier: GPL-2.0-only
"""What a review says, for people and for machines."""

from __future__ import annotations

import json
from pathlib import Path

from tests.diffs import diff
from tests.test_cli import run
from tests.test_review import BEFORE, RIGHT, STOP


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
