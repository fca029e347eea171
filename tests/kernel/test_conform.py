# SPDX-License-Identifier: GPL-2.0-only
"""The model against the kernel's own functions, and that a model broken on purpose is noticed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

from dmamigrate import scan as scans
from dmamigrate.model.conform import conform
from tests.test_model import mutated

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("version", ["6.1", "6.12", "7.2", "newest"])
def test_no_disagreement(kernel: Callable[[str], Path], version: str) -> None:
    root = kernel(version)
    result = conform(root, scans.tree_version(root) or "")
    assert result.states >= 100_000
    assert (result.disagreements, result.first) == (0, ())


MUTATIONS = [
    (
        "dmamigrate.model.direct",
        'if state.swiotlb == "forced":\n        if MMIO',
        "if False:\n        if MMIO",
        "7.3",
        "swiotlb=force is not looked at",
    ),
    (
        "dmamigrate.model.machine",
        'return base if "+range" in address else "-1"',
        "return base",
        "7.3",
        "an address that no range covers",
    ),
    (
        "dmamigrate.model.machine",
        'if m.version >= (7, 3) and CC_SHARED not in attrs and m.state.cc == "guest":',
        "if False:",
        "7.3",
        "capable in a guest",
    ),
    (
        "dmamigrate.model.dma_api",
        "if not mmio:\n        _kmsan(m)",
        "if True:\n        _kmsan(m)",
        "7.3",
        "kmsan told of MMIO",
    ),
    ("dmamigrate.model.iommu", "elif coherent:", "elif True:", "7.3", "always cacheable"),
    ("dmamigrate.model.iommu", 'm.did("iommu_unmap")\n    swiotlb', "swiotlb", "6.12", "the IOMMU keeps the mapping"),
    (
        "dmamigrate.model.direct",
        "return ERROR if p2p else swiotlb_map(m, attrs)",
        "return swiotlb_map(m, attrs)",
        "6.12",
        "P2P pages bounce",
    ),
    (
        "dmamigrate.model.machine",
        "m.version >= (6, 12) and state.kmalloc_bounce",
        "state.kmalloc_bounce",
        "6.1",
        "kmalloc bounce in 6.1",
    ),
    (
        "dmamigrate.model.direct",
        "if SKIP_CPU_SYNC not in attrs:\n        dma_direct_sync",
        "if True:\n        dma_direct_sync",
        "6.12",
        "skip at unmap",
    ),
    (
        "dmamigrate.model.dma_api",
        "if m.version >= (7, 0) and not state.coherent and REQUIRE_COHERENT in attrs:",
        "if False:",
        "7.3",
        "coherence required",
    ),
]


@pytest.mark.parametrize(
    ("module", "old", "new", "version"), [pytest.param(*m[:4], id=m[4].replace(" ", "-")) for m in MUTATIONS]
)
def test_a_broken_model_is_noticed(
    kernel: Callable[[str], Path], module: str, old: str, new: str, version: str
) -> None:
    root = kernel(version)
    with mutated(module, old, new):
        broken = importlib.import_module("dmamigrate.model.conform")
        assert broken.conform(root, version, every=11).disagreements > 0
