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
from dmamigrate.lives import pair as lifecycle
from dmamigrate.lives.attributes import Attributes
from dmamigrate.lives.detect import defects, exits
from dmamigrate.lives.pair import Lives, Site
from dmamigrate.lives.sizes import Sizes
from dmamigrate.program.tree import Tree
from dmamigrate.values.engine import Engine

pytestmark = pytest.mark.kernel
LIVES = tomllib.loads((Path(__file__).parent / "labels/lives.toml").read_text())["life"]
Place = tuple[str, str, str, int]


def place(site: Site) -> Place:
    """File, function, callee, and which of its calls in the function."""
    order = [call.start for _, call in site.fn.calls if call.name == site.call.name]
    return site.fn.source.path, site.fn.name, site.call.name, order.index(site.call.start)


def labelled(version: str) -> list[dict[str, Any]]:
    """The lives of one tree that begin with a map call that returns an address."""
    return [life for life in LIVES if version in life["trees"] and life["callee"] in lifecycle.MAPS]


def _at(label: dict[str, Any]) -> Place:
    return label["path"], label["function"], label["callee"], label["index"]


@cache
def judged(root: Path, version: str) -> list[tuple[Lives, list[defects.Defect]]]:
    """The lives and defects of every module that has a labelled life."""
    known = rules.tables()
    result = []
    for module in sorted({Tree(root).module(life["path"]) for life in labelled(version)}):
        tree = Tree(root)
        tracer = Engine(tree, known)
        near = {path for name in (*lifecycle.MAPS, *lifecycle.UNMAPS) for path in tree.search(name, module)}
        paths = sorted(near | {life["path"] for life in labelled(version) if tree.module(life["path"]) == module})
        pairs = lifecycle.lives(tree, tracer, paths)
        attributes = Attributes(tracer)
        found = [
            *defects.wrong_handles(pairs),
            *defects.mismatches(pairs, attributes, Sizes(tracer)),
            *defects.unchecked(pairs),
        ]
        found += [*defects.leaked(pairs, tree, tracer.types), *defects.synced(pairs, attributes)]
        result.append(
            (pairs, [*found, *exits.along(tracer, pairs), *exits.probes(tracer, pairs), *exits.twice(tracer, pairs)])
        )
    return result


@pytest.mark.parametrize(("version", "right"), [("6.12", 16), ("7.3", 34)])
def test_unmaps_belong_to_the_maps_that_a_reader_paired(
    kernel: Callable[[str], Path], version: str, right: int
) -> None:
    lives = {
        place(life.map): {place(end) for end in life.ends}
        for pairs, _ in judged(kernel(version), version)
        for life in pairs.lives
    }
    wanted = {
        _at(life): {
            _at(u)
            for u in life["unmaps"]
            if version in u.get("trees", life["trees"]) and u["callee"] in lifecycle.UNMAPS
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
    reported = {(one.rule, place(one.site)) for _, several in judged(kernel(version), version) for one in several}
    assert reported - real == set()
    assert len(reported) >= found
