# SPDX-License-Identifier: GPL-2.0-only
"""The lives of mappings in real trees against labels that were written by reading the source: partners and defects."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from dmamigrate import rules
from dmamigrate.judge import Judged, Work
from dmamigrate.lives.sites import Site
from dmamigrate.program.queries import Budget
from dmamigrate.program.tree import Tree
from dmamigrate.values.engine import Engine

pytestmark = pytest.mark.kernel
LIVES = tomllib.loads((Path(__file__).parent / "labels/lives.toml").read_text())["life"]
Place = tuple[str, str, str, int]
TABLES = rules.tables()
MAPS, UNMAPS = TABLES.api.named("map", True), TABLES.api.named("unmap", True)
# What a rule about a path or an origin says is no defect of a life.
OF_LIVES = {"unmap-wrong-handle", "mapping-leaked", "mapping-not-checked", "sync-on-mmio"}


def place(site: Site) -> Place:
    """File, function, callee, and which of its calls in the function."""
    order = [call.start for _, call in site.fn.calls if call.name == site.call.name]
    return site.fn.source.path, site.fn.name, site.call.name, order.index(site.call.start)


def labelled(version: str) -> list[dict[str, Any]]:
    """The lives of one tree that begin with a map call that returns an address."""
    return [life for life in LIVES if version in life["trees"] and life["callee"] in MAPS]


def _at(label: dict[str, Any]) -> Place:
    return label["path"], label["function"], label["callee"], label["index"]


@cache
def judged(root: Path, version: str) -> list[Judged]:
    """Every module that has a labelled life, judged."""
    work = Work(root, rules.select(rules.load(known=TABLES.api), (), ()), TABLES, Budget(), version)
    result = []
    for module in sorted({Tree(root).module(life["path"]) for life in labelled(version)}):
        tree = Tree(root)
        near = {path for name in (*MAPS, *UNMAPS) for path in tree.search(name, module)}
        paths = sorted(near | {life["path"] for life in labelled(version) if tree.module(life["path"]) == module})
        result.append(work.module(Engine(tree, TABLES), tuple(paths)))
    return result


@pytest.mark.parametrize(("version", "right"), [("6.12", 16), ("7.3", 34)])
def test_unmaps_belong_to_the_maps_that_a_reader_paired(
    kernel: Callable[[str], Path], version: str, right: int
) -> None:
    lives = {
        place(life.map): {place(end) for end in life.ends}
        for one in judged(kernel(version), version)
        for life in one.module.pairs.lives
    }
    wanted = {
        _at(life): {
            _at(u) for u in life["unmaps"] if version in u.get("trees", life["trees"]) and u["callee"] in UNMAPS
        }
        for life in labelled(version)
    }
    assert [at for at, ends in lives.items() if at in wanted and not ends <= wanted[at]] == []
    assert sum(lives[at] == ends for at, ends in wanted.items()) >= right


@pytest.mark.parametrize(("version", "found"), [("6.12", 2), ("7.3", 8)])
def test_every_defect_that_is_reported_is_one(kernel: Callable[[str], Path], version: str, found: int) -> None:
    real = {
        (defect["rule"], _at(defect["at"]))
        for life in labelled(version)
        for defect in life.get("defects", [])
        if version in defect.get("trees", life["trees"])
    }
    reported = {
        (one.rule, place(one.site))
        for module in judged(kernel(version), version)
        for one in module.defects
        if one.rule in OF_LIVES or (one.rule.startswith("unmap-") and one.rule != "unmap-orphan")
    }
    assert reported - real == set()
    assert len(reported) >= found
