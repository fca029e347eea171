# SPDX-License-Identifier: GPL-2.0-only
"""The house rules that a reader relies on: one-way imports, one door per dependency, small modules, licence tags."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

# A module imports only from lower floors; on one floor only from those listed above it.
FLOORS = (
    ("analyzer", "analyzer.errors", "analyzer.findings", "analyzer.dma_calls", "analyzer.git"),
    ("analyzer.syntax.source", "analyzer.syntax.prefilter", "analyzer.syntax.expr", "analyzer.syntax.functions",
     "analyzer.syntax.dialect", "analyzer.syntax.items", "analyzer.syntax.grammar", "analyzer.syntax.lower",
     "analyzer.syntax.parts", "analyzer.syntax.unit"),
    ("analyzer.rules",),
    ("analyzer.trace.knowledge", "analyzer.trace.tree", "analyzer.trace.types", "analyzer.trace.reach", "analyzer.trace.leaves",
     "analyzer.trace.arithmetic", "analyzer.trace.questions", "analyzer.trace.tables", "analyzer.trace.stores", "analyzer.trace.walk"),
    ("analyzer.paths.values", "analyzer.paths.places", "analyzer.paths.constants", "analyzer.paths.state",
     "analyzer.paths.maptype", "analyzer.paths.explore", "analyzer.paths.steps"),
    ("analyzer.meaning", "analyzer.lifecycle", "analyzer.attributes", "analyzer.sizes", "analyzer.defects", "analyzer.exits",
     "analyzer.p2p", "analyzer.page_api", "analyzer.exported", "analyzer.match"),
    ("analyzer.rewrite.layout", "analyzer.rewrite.propose", "analyzer.rewrite.licence", "analyzer.rewrite.compat"),
    ("analyzer.model.versions", "analyzer.model.states", "analyzer.model.machine", "analyzer.model.direct", "analyzer.model.iommu",
     "analyzer.model.dma_api", "analyzer.model.refine", "analyzer.model.prove", "analyzer.model.show", "analyzer.model.conform"),
    ("analyzer.report.json", "analyzer.report.text", "analyzer.report.path", "analyzer.report.explain", "analyzer.report.terminal"),
    ("analyzer.patch.files", "analyzer.patch.drivers", "analyzer.patch.change", "analyzer.patch.message", "analyzer.patch.series",
     "analyzer.patch.build", "analyzer.patch.produce"),
    ("analyzer.pipeline", "analyzer.review"),
    ("analyzer.cli",),
    ("analyzer.__main__",),
)  # fmt: skip
DOORS = {
    "tree_sitter": "analyzer.syntax",
    "tree_sitter_c": "analyzer.syntax.grammar",
    "typer": "analyzer.cli",
    "rich": "analyzer.report.terminal",
}
ORDER = {name: place for place, name in enumerate(name for floor in FLOORS for name in floor)}

FILES = sorted((ROOT / "analyzer").rglob("*.py"))


def _name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(file: Path) -> list[str]:
    found: list[str] = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [one if one in ORDER else node.module for one in inner]
    return found


@pytest.mark.parametrize("file", [pytest.param(f, id=_name(f)) for f in FILES])
def test_imports_go_one_way_and_through_the_doors(file: Path) -> None:
    name = _name(file)
    if file.name == "__init__.py" and name != "analyzer":
        assert _imports(file) in ([], ["__future__"])
        return
    assert name in ORDER, "a new module needs its place in FLOORS"
    for imported in _imports(file):
        if imported.startswith("analyzer"):
            assert ORDER[imported] < ORDER[name]
        door = DOORS.get(imported.split(".")[0])
        assert door is None or name.startswith(door)


@pytest.mark.parametrize("file", [pytest.param(f, id=_name(f)) for f in FILES])
def test_modules_stay_small(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 600


def test_every_file_of_ours_names_its_licence() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    tagged = (".py", ".toml", ".c", ".h", ".yaml", ".sh")
    missing = [
        name for name in listed if (name.endswith(tagged) or name == ".ci/run")
        and b"SPDX-License-Identifier: GPL-2.0-only" not in (ROOT / name).read_bytes()[:300]
    ]  # fmt: skip
    assert missing == []
