# SPDX-License-Identifier: GPL-2.0-only
"""Real P2P code with one token changed: each mutant that changes what is mapped how must be caught, at the right call.

The places, and where a careful reader would report each, were labelled by reading (labels/mutants.toml); the mutants
are made here, in memory. `python -m tests.kernel.test_mutants` prints each one's fate.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dmamigrate import rules
from dmamigrate import scan as scans
from dmamigrate.program.tree import Tree
from dmamigrate.syntax.unit import Unit
from dmamigrate.values.engine import Engine
from tests.kernel.trees import tree as kernel_tree

pytestmark = pytest.mark.kernel
VERSION = "7.3"
TABLE = tomllib.loads((Path(__file__).parent / "labels/mutants.toml").read_text())
# how often a flag that carries the type from map to unmap may be forgotten unseen is another question
MUTANTS = TABLE["mutant"]
CARRIERS = TABLE["carrier"]
FILES = (
    "mm/hmm.c",
    "block/blk-mq-dma.c",
    "include/linux/blk-mq-dma.h",
    "drivers/nvme/host/pci.c",
    "drivers/dma-buf/dma-buf-mapping.c",
)
Place = tuple[str, str, str, int]


def mutated(unit: Unit, label: dict[str, Any]) -> bytes:
    """The file with the labelled token changed."""
    fn = unit.functions(label["function"])[0]
    data, text = unit.source.data, unit.source.blanked
    body = text.index(b"{", fn.start)
    places = list(re.finditer(rb"\b" + label["word"].encode() + rb"\b", text[body : fn.end]))
    start, end = (body + at for at in places[label["index"]].span())
    change = label["change"]
    if change == "argument-to-zero":
        return data[:start] + b"0" + data[end:]
    if change.startswith("replace:"):
        return data[:start] + change.partition(":")[2].encode() + data[end:]
    if change == "drop-flag":
        near = re.compile(rb"\s*\|\s*")
        after = near.match(data, end)
        return data[:start] + data[after.end() :] if after else re.sub(rb"\s*\|\s*\Z", b"", data[:start]) + data[end:]
    if change == "negate":
        at = max(data.rfind(b"==", body, start), data.rfind(b"!=", body, start))
        return data[:at] + (b"!=" if data[at : at + 2] == b"==" else b"==") + data[at + 2 :]
    assert change == "drop-statement"
    label_before = re.search(rb"\bcase\s*\Z", text[:start])
    if label_before is not None:
        return data[: label_before.start()] + data[text.index(b":", end) + 1 :]
    begin = max(text.rfind(mark, body, start) for mark in (b";", b"{", b"}", b":")) + 1
    return data[:begin] + data[text.index(b";", end) + 1 :]


def found(root: Path, overlay: dict[str, bytes], seen_by: str = "") -> set[tuple[str, Place]]:
    """What is reported on the files that know of map types: the rule and the call; only those that see the file
    `seen_by`.
    """
    known = rules.tables()
    options = scans.Options((root,), rules.select(rules.load(known=known.api), (), ()), known, tree=root)
    tree = Tree(root, overlay)
    result: set[tuple[str, Place]] = set()
    alone = seen_by.startswith(("mm/", "drivers/"))
    for group in scans.modules(tree, FILES):
        if alone and seen_by not in group:
            continue
        tracer = Engine(Tree(root, overlay), known, options.budget)
        for finding in scans.work(options, root, VERSION).module(tracer, group).findings:
            unit = tracer.tree.unit(finding.span.path)
            fn = unit.function_at(finding.span.start) if unit is not None else None
            calls = [call.start for _, call in fn.calls if call.name == finding.callee] if fn is not None else []
            index = calls.index(finding.span.start) if finding.span.start in calls else 0
            result.add((finding.rule, (finding.span.path, finding.function, finding.callee, index)))
    return result


def fates(root: Path, mutants: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], str, set[tuple[str, Place]]]]:
    """For each mutant whether it was caught, caught elsewhere, missed, or (one that maps nothing wrongly) left
    alone.
    """
    before = found(root, {})
    tree = Tree(root)
    for label in mutants:
        unit = tree.unit(label["path"])
        assert unit is not None
        new = found(root, {label["path"]: mutated(unit, label)}, label["path"]) - before
        places = {(at["path"], at["function"], at["callee"], at["index"]) for at in label["caught_at"]}
        right = {one for one in new if one[0] in label["rule"] and one[1] in places}
        if not places:
            yield label, "alarmed" if new else "left alone", new
        else:
            yield label, "caught" if right else "elsewhere" if new else "missed", new


def test_mutants_are_caught_at_the_right_call(kernel: Callable[[str], Path]) -> None:
    told = [fate for _, fate, _ in fates(kernel(VERSION), MUTANTS)]
    caught, elsewhere, missed = (told.count(fate) for fate in ("caught", "elsewhere", "missed"))
    assert caught + elsewhere + missed == sum(bool(label["caught_at"]) for label in MUTANTS)
    assert caught >= 0.95 * (caught + elsewhere + missed)


def test_the_code_as_it_is_raises_no_alarm(kernel: Callable[[str], Path]) -> None:
    assert found(kernel(VERSION), {}) == set()


if __name__ == "__main__":
    for name, several in (("mutants", MUTANTS), ("carriers", CARRIERS)):
        kept: dict[str, int] = {}
        for one, what, said in fates(kernel_tree(VERSION), several):
            kept[what] = kept.get(what, 0) + 1
            if what not in ("caught", "left alone"):
                print(
                    f"{what}: {one['path']} {one['function']}() {one['word']}[{one['index']}] {one['change']}: "
                    f"{sorted(said)}"
                )
        print(name, kept)
