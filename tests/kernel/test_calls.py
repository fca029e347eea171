# SPDX-License-Identifier: GPL-2.0-only
"""Every call in a real tree is found, and nothing else: against calls that were listed by reading the source."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from dmamigrate import rules
from dmamigrate.lives import sites
from dmamigrate.program.tree import Tree
from dmamigrate.syntax.grammar import error_places, parse

pytestmark = pytest.mark.kernel
LIVES = tomllib.loads((Path(__file__).parent / "labels/lives.toml").read_text())["life"]
FAMILY = ("dma_map_resource", "dma_unmap_resource")
Call = tuple[str, str, str, int]


def labelled(version: str) -> set[Call]:
    """The calls of the family that a reader found: file, function, callee, and which of them in the function."""
    found: set[Call] = set()
    for life in LIVES:
        if version not in life["trees"]:
            continue
        for site in (life, *(u for u in life["unmaps"] if version in u.get("trees", life["trees"]))):
            if site["callee"] in FAMILY:
                found.add((site["path"], site["function"], site["callee"], site["index"]))
    return found


def found_in(root: Path) -> tuple[set[Call], list[str], list[str]]:
    """The calls that the tool finds, those in functions with a parse error, and what it lists as not analysable."""
    tree, api = Tree(root), rules.tables().api
    calls: set[Call] = set()
    unclean: list[str] = []
    skipped: list[str] = []
    for folder in ("drivers", "sound"):
        for file in sorted((root / folder).rglob("*.[ch]")):
            if b"map_resource" not in file.read_bytes():
                continue
            path = str(file.relative_to(root))
            unit = tree.unit(path)
            assert unit is not None
            inside, missed = sites.in_file(unit, api, FAMILY)
            skipped += [one.path for one in missed]
            count: Counter[tuple[str, str]] = Counter()
            for site in inside:
                key = (site.fn.name, site.call.name)
                calls.add((path, *key, count[key]))
                count[key] += 1
                if not site.fn.clean:
                    unclean.append(f"{path}: {site.fn.name}()")
    return calls, unclean, skipped


@pytest.mark.parametrize(("version", "maps", "unmaps"), [("7.3", 27, 33), ("6.12", 16, None)])
def test_every_call_and_nothing_else(
    kernel: Callable[[str], Path], version: str, maps: int, unmaps: int | None
) -> None:
    calls, unclean, skipped = found_in(kernel(version))
    assert calls == labelled(version)
    assert (unclean, skipped) == ([], [])
    counts = Counter(callee for _, _, callee, _ in calls)
    assert counts["dma_map_resource"] == maps
    assert unmaps is None or counts["dma_unmap_resource"] == unmaps


def test_the_dialect_leaves_few_error_places(kernel: Callable[[str], Path]) -> None:
    root = kernel("7.3")
    tree = Tree(root)
    words = re.compile(rb"dma_(?:un)?map_(?:resource|phys)|DMA_ATTR_MMIO|p2pdma|dma_iova_")
    before = after = 0
    for folder in ("drivers", "sound", "block", "mm"):
        for file in sorted((root / folder).rglob("*.c")):
            data = file.read_bytes()
            if words.search(data) is None:
                continue
            unit = tree.unit(str(file.relative_to(root)))
            assert unit is not None
            before += len(error_places(parse(data)))
            after += sum(not unit.function(item).clean for item in unit.items if item.kind == "function")
    assert before > 800
    assert after < 20
