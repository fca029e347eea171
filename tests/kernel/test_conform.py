# SPDX-License-Identifier: GPL-2.0-only
"""The model against the kernel's own functions: no tree disagrees, and what drifts in either is noticed."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dmamigrate import rules
from dmamigrate import scan as scans
from dmamigrate.errors import ModelError
from dmamigrate.model import extract
from dmamigrate.model.conform import Wish, conform
from dmamigrate.model.prove import prove
from tests.kernel.drifts import Judge
from tests.test_model import mutated

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize(
    ("version", "groups"),
    [
        pytest.param("6.1", {"core", "sg"}, id="dma-iommu is a table"),
        pytest.param("6.12", {"core", "sg"}, id="before dma_map_phys"),
        pytest.param("7.2", {"core", "sg", "iova", "users"}, id="7.2"),
        pytest.param("7.3", {"core", "sg", "iova", "users"}, id="7.3"),
        pytest.param("newest", {"core", "sg", "iova", "users"}, id="the newest that can be had"),
    ],
)
def test_no_disagreement(kernel: Callable[[str], Path], version: str, groups: set[str]) -> None:
    root = kernel(version)
    found = scans.tree_version(root) or ""
    assert set(extract.groups_of(extract.plan_for(found))) == groups
    result = conform(root, found)
    assert (result.disagreements, result.first, result.drifted) == (0, (), ())
    assert result.states >= 30_000
    assert all(states for states, _ in result.by_call.values())


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
        "7.2",
        "an address that no range covers",
    ),
    (
        "dmamigrate.model.machine",
        "if m.version >= (7, 3) and CC_SHARED not in attrs and force_dma_unencrypted(m):",
        "if False:",
        "7.3",
        "capable in a guest",
    ),
    ("dmamigrate.model.dma_api", "if not mmio:\n        _kmsan(m)", "if True:\n        _kmsan(m)", "7.3", "kmsan told"),
    ("dmamigrate.model.iommu", "elif coherent:", "elif True:", "7.3", "always cacheable"),
    ("dmamigrate.model.iommu", 'm.noted("sync IOTLB")', "pass", "6.12", "the IOTLB keeps the mapping"),
    (
        "dmamigrate.model.direct",
        "return ERROR if buffer.p2p else swiotlb_map(m, attrs, buffer)",
        "return swiotlb_map(m, attrs, buffer)",
        "6.12",
        "P2P pages bounce",
    ),
    ("dmamigrate.model.machine", "m.version < (6, 5) or", "False or", "6.1", "kmalloc bounce in 6.1"),
    (
        "dmamigrate.model.direct",
        "if SKIP_CPU_SYNC not in attrs:\n        dma_direct_sync",
        "if True:\n        dma_direct_sync",
        "6.12",
        "skip at unmap",
    ),
    ("dmamigrate.model.iova", "if pad and offset:", "if False:", "7.2", "a second buffer that is not aligned"),
    ("dmamigrate.model.sg", 'if a != "BUS"]', "]", "7.3", "a bus address is unmapped"),
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
        assert broken.conform(root, version, broken.Wish(every=7)).disagreements > 0


def test_single_changes_of_the_kernel_are_noticed(kernel: Callable[[str], Path]) -> None:
    kernel("7.3")
    judge = Judge("7.3", every=4)
    fates = [judge.fate(drift) for drift in judge.some(44, 11)]
    told = [fate for fate in fates if fate in ("noticed", "missed")]
    assert len(told) >= 35
    assert told.count("noticed") >= 0.9 * len(told)


def test_a_function_that_does_not_fit_is_named_with_the_reason(kernel: Callable[[str], Path]) -> None:
    root = kernel("7.3")
    (old,) = [one for one in extract.extract(root, "7.3") if one.name == "dma_map_resource"]
    asks = old.text.replace("return", "if (pfn_is_odd(phys_addr)) return 0;\n\treturn")
    with pytest.raises(ModelError, match=r"dma_map_resource\(\) calls pfn_is_odd\(\), .* no stand-in"):
        conform(root, "7.3", Wish(changed={"dma_map_resource": asks}))


def test_what_is_gone_is_reported_and_the_rest_is_run(kernel: Callable[[str], Path]) -> None:
    root = kernel("7.3")
    result = conform(root, "7.3", Wish(every=50, nearest=True, changed={"hmm_dma_map_pfn": ""}))
    assert any("hmm_dma_map_pfn()" in one for one in result.drifted)
    assert "dma_iova_link" in result.by_call
    assert "hmm_dma_map_pfn" not in result.by_call


def test_functions_that_never_return_are_stopped(kernel: Callable[[str], Path]) -> None:
    root = kernel("7.3")
    (old,) = [one for one in extract.extract(root, "7.3") if one.name == "dma_capable"]
    hangs = old.text.replace("{", "{\n\tfor (;;)\n\t\t;\n", 1)
    before = set(Path(tempfile.gettempdir()).glob("dmamigrate-conform-*"))
    with pytest.raises(ModelError, match="stopped after 0 of"):
        conform(root, "7.3", Wish(every=500, seconds=1, changed={"dma_capable": hangs}))
    assert set(Path(tempfile.gettempdir()).glob("dmamigrate-conform-*")) <= before


def test_functions_that_would_open_a_file_are_stopped(kernel: Callable[[str], Path], tmp_path: Path) -> None:
    root = kernel("7.3")
    (old,) = [one for one in extract.extract(root, "7.3") if one.name == "dma_capable"]
    there = tmp_path / "written"
    opens = old.text.replace("{", f'{{\n\tfclose(fopen("{there}", "w"));\n', 1)
    with pytest.raises(ModelError, match="stopped after"):
        conform(root, "7.3", Wish(every=500, changed={"dma_capable": opens}))
    assert not there.exists()


def test_every_claim_of_every_rule_holds_for_every_version() -> None:
    known = rules.tables().api
    claims = list(prove(rules.load(known=known), known))
    assert len(claims) > 60
    assert [claim for claim in claims if not claim.holds] == []
