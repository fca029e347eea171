# SPDX-License-Identifier: GPL-2.0-only
"""The model: its states, its proofs, and that breaking it on purpose is noticed."""

from __future__ import annotations

import importlib
import inspect
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dmamigrate import rules
from dmamigrate.errors import ModelError, UsageError
from dmamigrate.findings import Kind
from dmamigrate.model import refine
from dmamigrate.model.dma_api import run_map
from dmamigrate.model.prove import TARGETS, prove
from dmamigrate.model.refine import LifeCalls, compare, run, verify
from dmamigrate.model.show import changes, decision_table
from dmamigrate.model.states import MMIO, State, everything, relevant
from dmamigrate.model.versions import KNOWN, behaviour

RULES = rules.load()


def test_every_claim_of_every_rule_holds() -> None:
    claims = list(prove(RULES))
    assert [claim for claim in claims if not claim.holds] == []
    assert len(claims) > 20


def test_no_state_is_an_error_and_no_proof() -> None:
    life = LifeCalls("dma_map_phys", frozenset(), None, frozenset())
    with pytest.raises(ModelError, match="proves nothing"):
        compare(life, life, (), "7.3")


@pytest.mark.parametrize("version", KNOWN)
def test_the_relevant_states_lose_no_outcome(version: str) -> None:
    calls = [
        name
        for name in ("dma_map_resource", "dma_map_page_attrs", "dma_map_phys")
        if name != "dma_map_phys" or version in TARGETS
    ]
    for call in calls:
        life = LifeCalls(call, frozenset(), call.replace("map", "unmap"), frozenset())
        memory = ("ram", "p2p-page", "mmio")
        few = {run(life, state, version) for state in relevant(memory, ("DMA_FROM_DEVICE",))}
        all_of_them = {run(life, state, version) for state in everything(memory, ("DMA_FROM_DEVICE",))}
        assert few == all_of_them


@pytest.mark.parametrize(
    ("origin", "attrs", "status"),
    [
        pytest.param(Kind.PCI_BAR, "0", "proved", id="BAR"),
        pytest.param(Kind.PCI_BAR, "DMA_ATTR_SKIP_CPU_SYNC", "proved", id="BAR with another attribute"),
        pytest.param(Kind.PCI_BAR, "attrs", "proved", id="BAR with attributes in a variable"),
        pytest.param(Kind.DMA_ADDR, "0", "unknown", id="a DMA address is no memory"),
    ],
)
def test_the_mechanical_rewrite(origin: Kind, attrs: str, status: str) -> None:
    (rule,) = [rule for rule in RULES if rule.id == "map-resource-bar"]
    assert (
        verify(rule.templates, (origin,), "dma_map_resource", attrs, attrs, "DMA_BIDIRECTIONAL", "7.3").status == status
    )


def test_before_6_18_there_is_nothing_to_move_to() -> None:
    (rule,) = [rule for rule in RULES if rule.id == "map-resource-bar"]
    assert verify(rule.templates, (Kind.PCI_BAR,), "dma_map_resource", "0", "0", "dir", "6.12").status == "unknown"
    with pytest.raises(ModelError, match=r"new in 6\.18"):
        run_map("dma_map_phys", State(), "6.12", frozenset())


def test_a_counterexample_names_the_plainest_state() -> None:
    (rule,) = [rule for rule in RULES if rule.id == "map-resource-bar"]
    wrong = rules.templates(rule.refuted[0].rewrite)
    verdict = verify(wrong, (Kind.MMIO,), "dma_map_resource", "0", "0", "DMA_TO_DEVICE", "7.3")
    assert verdict.status == "refuted"
    assert verdict.counterexample is not None
    assert verdict.counterexample.startswith("in 7.3: direct backend, mmio, DMA_TO_DEVICE, coherent:")


@pytest.mark.parametrize(
    ("asked", "answer"), [("7.3.4", "7.3"), ("6.1.192", "6.1"), ("6.15", "6.12"), ("6.18", "6.18"), ("9.0", "7.3")]
)
def test_a_version_behaves_as_the_newest_known_before_it(asked: str, answer: str) -> None:
    assert behaviour(asked) == answer


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        pytest.param("6.6", "6.12", id="bouncing of small buffers came with 6.5"),
        pytest.param("6.4", "6.1", id="before that"),
        pytest.param("5.4", "6.1", id="older than what was read"),
    ],
)
def test_a_version_that_nobody_read_is_refused_and_the_nearest_named(asked: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=rf"nobody read .* nearest .* {nearest}$"):
        behaviour(asked)


@pytest.mark.parametrize("text", ["seven", "7", "7.x"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a kernel version"):
        behaviour(text)


def test_the_decision_table_shows_what_decides() -> None:
    text = decision_table("dma_map_phys", "7.3", frozenset({MMIO}))
    assert "swiotlb forced:\n" in text
    assert "iommu_map P MMIO|READ|WRITE" in text


def test_what_changed_between_versions() -> None:
    assert changes("dma_map_resource", "7.2", "7.2", frozenset()).startswith("dma_map_resource() with 0: 0 of ")
    assert "7.3: returns P+range" in changes("dma_map_resource", "6.12", "7.3", frozenset())


# Each breaks the model in one place; a check that cannot notice it checks nothing.
MUTATIONS = [
    (
        "dmamigrate.model.refine",
        'effect in ("cache for device P", "cache for CPU P")',
        'effect in ("cache for device Q",)',
        "the cache property",
    ),
    ("dmamigrate.model.refine", "if now < was:", "if now <= was or True:", "anything counts as better"),
    (
        "dmamigrate.model.dma_api",
        "return dma_map_phys(m, attrs | {MMIO})",
        "return dma_map_phys(m, attrs)",
        "resource loses MMIO",
    ),
    (
        "dmamigrate.model.dma_api",
        "dma_unmap_phys(m, address, attrs | {MMIO})",
        "dma_unmap_phys(m, address, attrs)",
        "unmap loses MMIO",
    ),
    (
        "dmamigrate.model.direct",
        "SKIP_CPU_SYNC not in attrs and MMIO not in attrs:",
        "SKIP_CPU_SYNC not in attrs:",
        "cache work on MMIO",
    ),
    (
        "dmamigrate.model.iommu",
        "SKIP_CPU_SYNC not in attrs and not mmio:\n        cache_for_device",
        "SKIP_CPU_SYNC not in attrs:\n        cache_for_device",
        "IOMMU cache work",
    ),
    (
        "dmamigrate.model.dma_api",
        "        if MMIO in attrs:\n            return ERROR",
        "        if False:\n            return ERROR",
        "page API takes MMIO",
    ),
    ("dmamigrate.model.iommu", 'words.append("MMIO")', 'words.append("CACHE")', "MMIO mapped cacheable"),
    ("dmamigrate.model.dma_api", "if not mmio:\n        _kmsan(m)", "if True:\n        _kmsan(m)", "kmsan on MMIO"),
    (
        "dmamigrate.model.refine",
        "if old.unmap is not None and new.unmap is not None and FAMILY",
        "if False and FAMILY",
        "unpaired unmap",
    ),
]


@contextmanager
def mutated(module: str, old: str, new: str) -> Iterator[types.ModuleType]:
    """The model's modules loaded anew with one of them changed."""
    kept = {name: sys.modules[name] for name in list(sys.modules) if name.startswith("dmamigrate.model")}
    source = inspect.getsource(sys.modules[module])
    assert source.count(old) >= 1, "the mutation must still find its place"
    for name in kept:
        del sys.modules[name]
    try:
        broken = types.ModuleType(module)
        broken.__file__ = kept[module].__file__
        sys.modules[module] = broken
        exec(compile(source.replace(old, new), module, "exec"), broken.__dict__)
        yield importlib.import_module("dmamigrate.model.prove")
    finally:
        for name in [name for name in sys.modules if name.startswith("dmamigrate.model")]:
            del sys.modules[name]
        sys.modules.update(kept)


@pytest.mark.parametrize(("module", "old", "new"), [pytest.param(*m[:3], id=m[3].replace(" ", "-")) for m in MUTATIONS])
def test_a_broken_model_is_noticed_by_its_proofs(module: str, old: str, new: str) -> None:
    with mutated(module, old, new) as proofs:
        assert not all(proof.holds for proof in proofs.prove(RULES))
    assert refine is sys.modules["dmamigrate.model.refine"]
