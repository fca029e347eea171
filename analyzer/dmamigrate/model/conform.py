# SPDX-License-Identifier: GPL-2.0-only
"""The model against the kernel: a tree's own functions, compiled with recording stubs, run in the same states.

The functions are found by name with the project's own syntax layer, so that a point release does not matter.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path

from dmamigrate.errors import ModelError
from dmamigrate.model.dma_api import run_map, run_unmap
from dmamigrate.model.machine import ERROR
from dmamigrate.model.states import (
    BACKENDS,
    CC_SHARED,
    DIRECTIONS,
    MMIO,
    PRIVILEGED,
    REQUIRE_COHERENT,
    SKIP_CPU_SYNC,
    State,
    everything,
)
from dmamigrate.model.versions import KNOWN, release
from dmamigrate.syntax.source import read
from dmamigrate.syntax.unit import Unit

_HARNESS = Path(__file__).parent / "harness"
_CALLS = ("dma_map_resource", "dma_map_phys", "dma_map_page_attrs")
_UNMAPS = ("dma_unmap_resource", "dma_unmap_phys", "dma_unmap_page_attrs")
_BITS = {PRIVILEGED: 1 << 9, SKIP_CPU_SYNC: 1 << 5, MMIO: 1 << 10, REQUIRE_COHERENT: 1 << 12, CC_SHARED: 1 << 13}
_DIRS = {"DMA_BIDIRECTIONAL": 0, "DMA_TO_DEVICE": 1, "DMA_FROM_DEVICE": 2}

_IOVA_H = "include/linux/iova.h"
_IOVA = (_IOVA_H, ("iova_mask", "iova_offset", "iova_align", "iova_align_down"))
_DMA_DIRECT = "include/linux/dma-direct.h"
_OPS = "include/linux/dma-map-ops.h"
_MAPPING, _DIRECT_C, _DIRECT_H = "kernel/dma/mapping.c", "kernel/dma/direct.c", "kernel/dma/direct.h"
_SWIOTLB, _IOMMU = "kernel/dma/swiotlb.c", "drivers/iommu/dma-iommu.c"
_KMALLOC = (_OPS, ("dma_kmalloc_safe", "dma_kmalloc_needs_bounce"))
_TRANSLATE = ("translate_phys_to_dma", "translate_dma_to_phys")

Plan = tuple[tuple[str, tuple[str, ...]], ...]
_PAGE_IOMMU = (
    "dma_info_to_prot", "dev_use_swiotlb", "__iommu_dma_map", "__iommu_dma_unmap", "iommu_dma_map_page",
    "iommu_dma_unmap_page", "iommu_dma_map_resource", "iommu_dma_unmap_resource",
)  # fmt: skip
_PAGE_MAPPING = (
    "dma_go_direct", "dma_map_direct", "dma_map_page_attrs", "dma_unmap_page_attrs", "dma_map_resource", "dma_unmap_resource",
)  # fmt: skip
_PAGE_DIRECT = ("dma_direct_sync_single_for_cpu", "dma_direct_map_page", "dma_direct_unmap_page")
_PHYS_IOMMU = (
    "dma_info_to_prot", "dev_use_swiotlb", "iova_unaligned", "iommu_dma_map_swiotlb", "__iommu_dma_map", "__iommu_dma_unmap",
    "iommu_dma_map_phys", "iommu_dma_unmap_phys",
)  # fmt: skip
_PHYS_MAPPING = (
    "dma_go_direct", "dma_map_direct", "dma_map_phys", "dma_map_page_attrs", "dma_unmap_phys", "dma_unmap_page_attrs",
    "dma_map_resource", "dma_unmap_resource",
)  # fmt: skip

# What each version is made of, in the order in which C needs it.
_PLANS: dict[str, Plan] = {
    "6.1": (
        (_IOVA_H, ("iova_mask", "iova_offset", "iova_align")),
        (_DMA_DIRECT, (*_TRANSLATE, "phys_to_dma_unencrypted", "phys_to_dma", "dma_to_phys", "dma_capable")),
        (_SWIOTLB, ("swiotlb_map",)), (_DIRECT_H, _PAGE_DIRECT), (_DIRECT_C, ("dma_direct_map_resource",)),
        (_IOMMU, _PAGE_IOMMU), (_MAPPING, _PAGE_MAPPING),
    ),
    "6.12": (
        _IOVA, (_DMA_DIRECT, (*_TRANSLATE, "phys_to_dma_unencrypted", "phys_to_dma", "dma_to_phys", "dma_capable")),
        _KMALLOC, (_SWIOTLB, ("swiotlb_map",)), (_DIRECT_H, _PAGE_DIRECT), (_DIRECT_C, ("dma_direct_map_resource",)),
        (_IOMMU, _PAGE_IOMMU), (_MAPPING, _PAGE_MAPPING),
    ),
    "7.2": (
        _IOVA,
        (_DMA_DIRECT, (*_TRANSLATE, "__phys_to_dma", "phys_to_dma_unencrypted", "phys_to_dma", "dma_to_phys", "dma_capable")),
        _KMALLOC, (_SWIOTLB, ("swiotlb_map",)),
        (_DIRECT_H, ("dma_direct_sync_single_for_cpu", "dma_direct_map_phys", "dma_direct_unmap_phys")),
        (_IOMMU, _PHYS_IOMMU), (_MAPPING, _PHYS_MAPPING),
    ),
    "7.3": (
        _IOVA,
        (_DMA_DIRECT, (*_TRANSLATE, "__phys_to_dma", "phys_to_dma_unencrypted", "phys_to_dma_encrypted", "phys_to_dma",
                       "dma_to_phys", "dma_capable")),
        _KMALLOC, (_SWIOTLB, ("swiotlb_map",)), (_DIRECT_C, ("dma_direct_map_phys",)),
        (_DIRECT_H, ("dma_direct_sync_single_for_cpu", "dma_direct_unmap_phys")),
        (_IOMMU, _PHYS_IOMMU), (_MAPPING, _PHYS_MAPPING),
    ),
}  # fmt: skip
_SHAPES = {"6.1": 7, "6.12": 6, "7.2": 6, "7.3": 0}


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One state in which the kernel and the model differ."""

    call: str
    state: State
    attrs: frozenset[str]
    kernel: str
    model: str


@dataclass(frozen=True, slots=True)
class Conformance:
    """What a run found: how many of the tree's functions ran in how many states, and where the model differs."""

    version: str
    functions: int
    states: int
    disagreements: int
    first: tuple[Disagreement, ...]


@dataclass(frozen=True, slots=True)
class _Question:
    call: int
    unmap: int
    state: State
    attrs: frozenset[str]
    unmap_attrs: frozenset[str]

    def line(self) -> str:
        """The question as the harness reads it."""
        s = self.state
        numbers = (
            self.call, self.unmap, _mask(self.attrs), _mask(self.unmap_attrs), BACKENDS.index(s.backend), s.memory == "p2p-page",
            _DIRS[s.dir], s.coherent, ("off", "active", "forced").index(s.swiotlb), s.reachable,
            ("none", "host", "guest").index(s.cc), s.range_map, s.debug, s.untrusted, s.kmalloc_bounce, s.aligned,
        )  # fmt: skip
        return " ".join(str(int(number)) for number in numbers)

    def model(self, version: str) -> str:
        """What the model answers, in the harness's words."""
        mapped = run_map(_CALLS[self.call], self.state, version, self.attrs)
        assert mapped.address is not None, "a map returns an address"
        undone = ""
        if mapped.address != ERROR:
            undone = ";".join(
                run_unmap(_UNMAPS[self.unmap], self.state, version, mapped.address, self.unmap_attrs).effects
            )
        return f"{mapped.address}|{';'.join(mapped.effects)}|{undone}"


def _mask(attrs: frozenset[str]) -> int:
    return sum(_BITS[name] for name in attrs)


def plan_for(version: str) -> str:
    """The version whose functions a tree of `version` should have. Raises ModelError for one that nobody has read."""
    read_versions = [v for v in _PLANS if release(v) <= release(version)]
    if not read_versions or (release(version) > (6, 12) and release(version) < (7, 2)):
        raise ModelError(f"{version}: no tree of this version was read; conform knows {', '.join(_PLANS)} and newer")
    return max(read_versions, key=release)


def extract(root: Path, plan: Plan) -> tuple[list[str], list[str]]:
    """The text of each planned function, and the names of those that no planned file has any more.

    A function is looked for in its own file first, then in the others: between releases they move.
    """
    units = {path: Unit(read(root / path, path)) for path, _ in plan}
    found: list[str] = []
    missing: list[str] = []
    for path, names in plan:
        for name in names:
            homes = [units[path], *(unit for other, unit in units.items() if other != path)]
            items = next(((unit, here) for unit in homes if (here := unit.named("function", name))), None)
            if items is None:
                missing.append(f"{name}() of {path}")
                continue
            unit, definitions = items
            # an empty inline for a configuration without the feature stands beside the real one
            best = max(definitions, key=lambda item: item.end - item.body)
            found.append(unit.source.data[best.head : best.end].decode("utf-8", "replace"))
    return found, missing


def questions(version: str) -> Iterator[_Question]:
    """The states, calls and attributes to ask: matching unmaps, and unmaps that differ in one attribute."""
    phys = release(version) >= (6, 18)
    calls = (0, 1, 2) if phys else (0, 2)
    attrs: list[tuple[frozenset[str], frozenset[str]]] = []
    for names in ((), (SKIP_CPU_SYNC,), (PRIVILEGED,), (SKIP_CPU_SYNC, PRIVILEGED)):
        attrs.append((frozenset(names), frozenset(names)))
    attrs += [(frozenset(), frozenset({SKIP_CPU_SYNC})), (frozenset({SKIP_CPU_SYNC}), frozenset())]
    if phys:
        for names in (
            (MMIO,),
            (MMIO, SKIP_CPU_SYNC),
            (REQUIRE_COHERENT,),
            (CC_SHARED,),
            (MMIO, CC_SHARED),
            (MMIO, REQUIRE_COHERENT),
        ):
            attrs.append((frozenset(names), frozenset(names)))
        attrs += [(frozenset({MMIO}), frozenset()), (frozenset(), frozenset({MMIO}))]
    for state in everything(("ram", "p2p-page"), DIRECTIONS):
        if state.backend != "dma-iommu" and (state.untrusted or not state.aligned):
            continue
        for call, (held, at_unmap) in product(calls, attrs):
            yield _Question(call, call, state, held, at_unmap)


def build(root: Path, version: str, folder: Path) -> tuple[Path, int]:
    """Compile the harness for the tree at `root`; the program, and how many functions of the tree it has.

    Raises ModelError if there is no compiler, and naming the functions if the tree lacks some or they no longer fit.
    """
    compiler = shutil.which("gcc")
    if compiler is None:
        raise ModelError("gcc is needed to compile the kernel's functions; install it")
    known = plan_for(version)
    functions, missing = extract(root, _PLANS[known])
    if missing:
        raise ModelError(f"{root}: not found: {', '.join(missing)}; the model does not state this tree")
    parts = [(_HARNESS / "stubs.h").read_text("utf-8"), *functions, (_HARNESS / "run.c").read_text("utf-8")]
    source = folder / "harness.c"
    source.write_text("\n\n".join(parts), "utf-8")
    flags = [f"-DSWIOTLB_MAP_SHAPE={_SHAPES[known]}"]
    flags += ["-DHAS_MAP_PHYS"] if release(known) >= (6, 18) else []
    flags += ["-DIOMMU_IS_OPS"] if known == "6.1" else []
    done = subprocess.run(
        [compiler, "-std=gnu11", "-O1", "-w", "-Werror=implicit-function-declaration", *flags, "-o", str(folder / "harness"), str(source)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        first = next(
            (line for line in done.stderr.splitlines() if "error:" in line or "undefined" in line), done.stderr.strip()
        )
        raise ModelError(f"{root}: its functions do not fit the stubs for {known}: {first.rpartition('error: ')[2]}")
    return folder / "harness", len(functions)


def conform(root: Path, version: str, show: int = 3, every: int = 1) -> Conformance:
    """Run the questions, all or one in `every`, through the kernel's functions and through the model.

    Raises ModelError if the tree cannot be asked.
    """
    with tempfile.TemporaryDirectory() as folder:
        program, functions = build(root, version, Path(folder))
        asked = list(islice(questions(version), 0, None, every))
        done = subprocess.run(
            [str(program)], input="\n".join(q.line() for q in asked), capture_output=True, text=True, check=False
        )
    answers = done.stdout.splitlines()
    if done.returncode != 0 or len(answers) != len(asked):
        raise ModelError(f"{root}: the harness stopped after {len(answers)} of {len(asked)} states")
    first: list[Disagreement] = []
    count = 0
    for question, kernel in zip(asked, answers, strict=True):
        model = question.model(version)
        if model != kernel:
            count += 1
            if len(first) < show:
                first.append(Disagreement(_CALLS[question.call], question.state, question.attrs, kernel, model))
    return Conformance(version, functions, len(asked), count, tuple(first))


def report(result: Conformance) -> str:
    """What a run found, as text."""
    lines = [
        f"{result.version}: {result.functions} functions, {result.states} states, {result.disagreements} disagreements"
    ]
    for one in result.first:
        lines += [
            f"  {one.call}({', '.join(sorted(one.attrs)) or '0'}): {one.state.describe()}",
            f"    kernel: {one.kernel}",
            f"    model:  {one.model}",
        ]
    if release(result.version) > max(map(release, KNOWN)):
        lines.append(f"  newer than {KNOWN[-1]}: judged by the model of {KNOWN[-1]}")
    return "\n".join(lines) + "\n"
