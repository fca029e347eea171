# SPDX-License-Identifier: GPL-2.0-only
"""Origins in real trees against labels that were written by reading the source, before any comparison.

`labels/origins.toml` has every dma_map_resource() and dma_map_phys() argument; `labels/other-calls.toml` and
`labels/unseen.toml` addresses of other calls in other drivers: the first pointed to faults of the mechanism, the second
came after those were mended. `python -m tests.kernel.test_origins` prints the figures.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dmamigrate import rules
from dmamigrate.findings import Kind, Origin
from dmamigrate.program.tree import Tree
from dmamigrate.syntax.expr import Assign, Expr, Initializer, Member, walk
from dmamigrate.syntax.functions import Function
from dmamigrate.values.engine import Engine
from tests.kernel.trees import tree

pytestmark = pytest.mark.kernel
LABELS = Path(__file__).parent / "labels"
Label = dict[str, Any]


def origins() -> list[tuple[str, Label]]:
    """The labels of the mapping calls, by tree."""
    labels = tomllib.loads((LABELS / "origins.toml").read_text())["call"]
    return [(version, label) for label in labels for version in label["trees"]]


def other_calls(name: str = "other-calls.toml") -> list[tuple[str, Label]]:
    """The labels of calls that are no mapping calls, by tree."""
    return [(label["tree"], label) for label in tomllib.loads((LABELS / name).read_text())["call"]]


def _place(tree: Tree, label: Label) -> tuple[Function, int, Expr]:
    unit = tree.unit(label["path"])
    assert unit is not None, label["path"]
    fns = unit.functions(label["function"])
    if label["callee"] == "=":
        stores = [
            (fn, index, value)
            for fn in fns
            for index, node in enumerate(fn.nodes)
            for expr in (walk(node.expr) if node.expr is not None else ())
            for field, value in _stores(expr)
            if _labelled(label, field)
        ]
        return min(stores, key=lambda one: abs(one[0].source.line(one[2].start) - label["line"]))
    calls = [(fn, index, call) for fn in fns for index, call in fn.calls if call.name == label["callee"]]
    if "line" in label:  # which moves from one stable release to the next
        fn, index, call = min(calls, key=lambda one: abs(one[0].source.line(one[2].start) - label["line"]))
        return fn, index, call.args[label["arg"]]
    fn, index, call = calls[label["index"]]
    return fn, index, call.args[1]


def _stores(expr: Expr) -> Iterator[tuple[str, Expr]]:
    """Yield the members that `expr` itself sets, with their values."""
    if isinstance(expr, Assign) and isinstance(expr.parts[0], Member):
        yield expr.parts[0].field, expr.parts[1]
    if isinstance(expr, Initializer):
        yield from zip(expr.fields, expr.parts, strict=True)


def _labelled(label: Label, field: str) -> bool:
    return field == label["field"].rpartition(".")[2] if "field" in label else field.endswith("_addr")


def judge(origin: Origin, label: Label) -> str:
    """right; unsure (nothing but right kinds, and something not followed); unknown; wrong; or wrong but certain."""
    said, wanted = set(map(str, origin.kinds)), set(label["kinds"])
    if said == wanted:
        return "right"
    if origin.certain:
        return "wrong but certain"
    unknown = {str(Kind.UNKNOWN)}
    if said == unknown:
        return "unknown"
    return "unsure" if unknown <= said and said - unknown <= wanted else "wrong"


def compare(labels: list[tuple[str, Label]], kernel: Callable[[str], Path]) -> list[tuple[str, str, Label, Origin]]:
    """Each label with its tree, the judgement and the tool's answer."""
    known = rules.tables()
    result = []
    for version in sorted({version for version, _ in labels}):
        tracer = Engine(Tree(kernel(version)), known)
        for label in (label for of, label in labels if of == version):
            origin = tracer.origin(*_place(tracer.tree, label))
            result.append((judge(origin, label), version, label, origin))
    return result


def _certain_and_wrong(results: list[tuple[str, str, Label, Origin]]) -> list[str]:
    """What is wrong but certain; where the reader could not decide either, the label is no judge of that."""
    return [
        f"{version} {label['path']} {label['function']}"
        for judged, version, label, _ in results
        if judged == "wrong but certain" and label.get("decidable", True)
    ]


def test_origins_of_mapping_calls(kernel: Callable[[str], Path]) -> None:
    results = compare(origins(), kernel)
    counts = Counter(judged for judged, *_ in results)
    assert _certain_and_wrong(results) == []
    assert counts["right"] + counts["unsure"] >= 0.85 * len(results)


@pytest.mark.parametrize("name", ["other-calls.toml", "unseen.toml", "drawn.toml"])
def test_origins_of_other_calls(kernel: Callable[[str], Path], name: str) -> None:
    results = compare(other_calls(name), kernel)
    counts = Counter(judged for judged, *_ in results)
    assert _certain_and_wrong(results) == []
    assert counts["right"] + counts["unsure"] >= 0.6 * len(results)


def main() -> None:
    """Print the figures, and what is not right."""
    names = [("mapping calls", origins()), ("other calls", other_calls()), ("unseen calls", other_calls("unseen.toml"))]
    names.append(("drawn calls", other_calls("drawn.toml")))
    for title, labels in names:
        results = compare(labels, tree)
        counts = Counter(judged for judged, *_ in results)
        print(f"{title}: {len(results)} labels: {dict(sorted(counts.items()))}")
        for judged, version, label, origin in results:
            if judged != "right":
                where = f"{version} {label['path']} {label['function']}()"
                kinds = ", ".join(origin.kinds)
                print(f"  {judged}: {where}: labelled {', '.join(label['kinds'])}, said {kinds}; {origin.gave_up}")


if __name__ == "__main__":
    main()
