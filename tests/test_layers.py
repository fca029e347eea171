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
    ("dmamigrate", "dmamigrate.errors", "dmamigrate.findings", "dmamigrate.processes", "dmamigrate.git",
    "dmamigrate.api"),
    ("dmamigrate.syntax.source",
     "dmamigrate.syntax.arms", "dmamigrate.syntax.prefilter", "dmamigrate.syntax.expr", "dmamigrate.syntax.places",
     "dmamigrate.syntax.functions",
     "dmamigrate.syntax.dialect", "dmamigrate.syntax.items", "dmamigrate.syntax.grammar", "dmamigrate.syntax.macros",
     "dmamigrate.syntax.casts", "dmamigrate.syntax.lower",
     "dmamigrate.syntax.parts", "dmamigrate.syntax.unit"),
    ("dmamigrate.program.queries", "dmamigrate.program.reads",
     "dmamigrate.program.includes", "dmamigrate.program.modules", "dmamigrate.program.tree",
     "dmamigrate.program.macros", "dmamigrate.program.places", "dmamigrate.program.types",
     "dmamigrate.program.reach", "dmamigrate.program.records", "dmamigrate.program.objects",
     "dmamigrate.program.literals", "dmamigrate.program.members",
     "dmamigrate.program.variables", "dmamigrate.program.callers", "dmamigrate.program.stores"),
    ("dmamigrate.values.leaves", "dmamigrate.values.knowledge", "dmamigrate.values.arithmetic",
     "dmamigrate.values.tables", "dmamigrate.values.questions", "dmamigrate.values.shapes", "dmamigrate.values.fills",
     "dmamigrate.values.targets", "dmamigrate.values.between", "dmamigrate.values.unseen",
     "dmamigrate.values.flow", "dmamigrate.values.fold",
     "dmamigrate.values.origins", "dmamigrate.values.constants", "dmamigrate.values.terms", "dmamigrate.values.holders",
     "dmamigrate.values.names", "dmamigrate.values.calls", "dmamigrate.values.devices", "dmamigrate.values.probed",
     "dmamigrate.values.engine"),
    ("dmamigrate.paths.values", "dmamigrate.paths.places", "dmamigrate.paths.state", "dmamigrate.paths.guards",
    "dmamigrate.paths.callees",
     "dmamigrate.paths.words", "dmamigrate.paths.told", "dmamigrate.paths.unions", "dmamigrate.paths.explore",
     "dmamigrate.paths.steps"),
    ("dmamigrate.rules",),
    ("dmamigrate.lives.sites", "dmamigrate.lives.mentions", "dmamigrate.lives.given", "dmamigrate.lives.pair",
    "dmamigrate.lives.module",
     "dmamigrate.lives.detect.maptype", "dmamigrate.lives.detect.guards", "dmamigrate.lives.detect.handles",
     "dmamigrate.lives.detect.differ", "dmamigrate.lives.detect.kept", "dmamigrate.lives.detect.along",
     "dmamigrate.lives.detect.exits",
     "dmamigrate.lives.detect.ranges", "dmamigrate.lives.detect.tables", "dmamigrate.lives.detect.twice",
     "dmamigrate.lives.detect.p2p", "dmamigrate.lives.detect.stored", "dmamigrate.lives.detect.page_calls",
     "dmamigrate.lives.detect.registry", "dmamigrate.match", "dmamigrate.place"),
    ("dmamigrate.model.versions", "dmamigrate.model.states", "dmamigrate.model.machine", "dmamigrate.model.direct",
     "dmamigrate.model.iommu", "dmamigrate.model.iova", "dmamigrate.model.sg", "dmamigrate.model.dma_api",
     "dmamigrate.model.mappers", "dmamigrate.model.calls",
     "dmamigrate.model.refine", "dmamigrate.model.prove", "dmamigrate.model.show", "dmamigrate.model.extract",
     "dmamigrate.model.questions", "dmamigrate.model.conform", "dmamigrate.model.claims", "dmamigrate.model.debug",
     "dmamigrate.model.boot", "dmamigrate.model.booted"),
    ("dmamigrate.rewrite.layout", "dmamigrate.rewrite.physical", "dmamigrate.rewrite.diff",
     "dmamigrate.rewrite.check", "dmamigrate.rewrite.case",
     "dmamigrate.rewrite.propose", "dmamigrate.rewrite.licence",
     "dmamigrate.rewrite.compat", "dmamigrate.rewrite.rename",
     "dmamigrate.rewrite.backend", "dmamigrate.rewrite.mend",
     "dmamigrate.rewrite.p2p_forms",
     "dmamigrate.rewrite.p2p", "dmamigrate.rewrite.verdict", "dmamigrate.rewrite.decide"),
    ("dmamigrate.report.visible", "dmamigrate.report.places", "dmamigrate.report.json", "dmamigrate.report.text",
     "dmamigrate.report.gcc", "dmamigrate.report.github", "dmamigrate.report.sarif", "dmamigrate.report.html",
     "dmamigrate.report.path", "dmamigrate.report.legend", "dmamigrate.report.explain", "dmamigrate.report.terminal"),
    ("dmamigrate.patch.files", "dmamigrate.patch.drivers", "dmamigrate.patch.change", "dmamigrate.patch.message",
     "dmamigrate.patch.series", "dmamigrate.patch.build", "dmamigrate.patch.produce"),
    ("dmamigrate.renamed", "dmamigrate.probes", "dmamigrate.judge", "dmamigrate.answers"),
    ("dmamigrate.changes", "dmamigrate.migrated", "dmamigrate.scan", "dmamigrate.review"),
    ("dmamigrate.config", "dmamigrate.baseline", "dmamigrate.touched", "dmamigrate.request", "dmamigrate.output",
     "dmamigrate.hook"),
    ("dmamigrate.cli_options", "dmamigrate.cli_model", "dmamigrate.cli"),
    ("dmamigrate.__main__",),
)  # fmt: skip
DOORS = {
    "tree_sitter": "dmamigrate.syntax",
    "tree_sitter_c": "dmamigrate.syntax.grammar",
    "typer": "dmamigrate.cli",
    "rich": "dmamigrate.report.terminal",
    "jinja2": "dmamigrate.report.html",
}
ORDER = {name: place for place, name in enumerate(name for floor in FLOORS for name in floor)}

FILES = sorted((ROOT / "analyzer").rglob("*.py"))


def _name(file: Path) -> str:
    parts = file.relative_to(ROOT / "analyzer").with_suffix("").parts
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
    if file.name == "__init__.py" and name != "dmamigrate":
        assert _imports(file) in ([], ["__future__"])
        return
    assert name in ORDER, "a new module needs its place in FLOORS"
    for imported in _imports(file):
        if imported.startswith("dmamigrate"):
            assert ORDER[imported] < ORDER[name]
        door = DOORS.get(imported.split(".")[0])
        assert door is None or name.startswith(door)


@pytest.mark.parametrize("file", [pytest.param(f, id=_name(f)) for f in FILES])
def test_modules_stay_small(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 700


def test_every_file_of_ours_names_its_licence() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    tagged = (".py", ".toml", ".c", ".h", ".yaml", ".sh")
    missing = [
        name for name in listed if (name.endswith(tagged) or name == ".ci/run")
        and b"SPDX-License-Identifier: GPL-2.0-only" not in (ROOT / name).read_bytes()[:300]
    ]  # fmt: skip
    assert missing == []
