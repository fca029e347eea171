# SPDX-License-Identifier: GPL-2.0-only
"""The model: its states, its proofs, and that breaking it on purpose is noticed."""

from __future__ import annotations

import importlib
import inspect
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pytest

from dmamigrate import rules
from dmamigrate.errors import ModelError, UsageError
from dmamigrate.findings import Kind
from dmamigrate.model import refine
from dmamigrate.model.calls import run_map, run_sync, run_unmap
from dmamigrate.model.debug import DIFFERENT_ATTRIBUTES, RAM_AS_MMIO, reports
from dmamigrate.model.extract import plan_for
from dmamigrate.model.machine import Geometry
from dmamigrate.model.prove import TARGETS, prove
from dmamigrate.model.refine import FAILS, OOPS, LifeCalls, compare, memory_of, run
from dmamigrate.model.show import changes, decision_table
from dmamigrate.model.states import (
    BACKENDS,
    CC_SHARED,
    DIRECTIONS,
    ENCRYPTION,
    MEMORY,
    MEMORY_OF,
    MMIO,
    NO_WARN,
    PRIVILEGED,
    REQUIRE_COHERENT,
    SWIOTLB,
    State,
    everything,
    impossible,
    left_out,
    relevant,
)
from dmamigrate.model.versions import KNOWN, behaviour

RULES = rules.load()


CLAIMING = [rule for rule in RULES if rule.templates or rule.refuted]


@pytest.mark.parametrize("rule", CLAIMING, ids=lambda rule: rule.id)
def test_every_claim_of_every_rule_holds(rule: rules.Rule) -> None:
    # the versions between are for the kernel lane
    claims = list(prove((rule,), rules.tables().api, (TARGETS[0], TARGETS[-1])))
    assert claims
    assert [claim for claim in claims if not claim.holds] == []


def test_rules_make_claims() -> None:
    assert len(CLAIMING) > 5


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
        some_of_them = islice(everything(memory, ("DMA_FROM_DEVICE",)), 0, None, 37)
        these = {run(life, state, version) for state in some_of_them}
        assert few >= these


def test_before_6_18_there_is_nothing_to_move_to() -> None:
    with pytest.raises(ModelError, match=r"new in 6\.18"):
        run_map("dma_map_phys", State(), "6.12", frozenset())


def test_the_worst_counterexample_comes_first() -> None:
    held = LifeCalls("dma_map_resource", frozenset(), "dma_unmap_resource", frozenset())
    lost = LifeCalls("dma_map_phys", frozenset(), "dma_unmap_phys", frozenset())
    worse = compare(held, lost, relevant(memory_of((Kind.MMIO,))), "7.3").worse
    assert worse[0].what == OOPS
    assert [refine.severity(one.what) for one in worse] == sorted(refine.severity(one.what) for one in worse)


def test_a_map_that_newly_fails_is_no_better() -> None:
    # an attribute that the model refuses for every device of this state: the map worked, if badly, and fails now
    old = LifeCalls("dma_map_phys", frozenset(), "dma_unmap_phys", frozenset())
    new = LifeCalls("dma_map_page_attrs", frozenset({MMIO}), "dma_unmap_page_attrs", frozenset({MMIO}))
    assert FAILS in [one.what for one in compare(old, new, relevant(memory_of((Kind.MMIO,))), "7.3").worse]


@pytest.mark.parametrize(
    ("asked", "answer"), [("7.3.4", "7.3"), ("6.1.192", "6.1"), ("6.15", "6.12"), ("6.18", "6.18"), ("9.0", "7.3")]
)
def test_a_version_behaves_as_the_newest_known_before_it(asked: str, answer: str) -> None:
    assert behaviour(asked) == answer


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        pytest.param("6.6", "6.12", id="bouncing of small buffers came with 6.5"),
        pytest.param("6.5", "6.12", id="with that release"),
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
    assert "Addresses: P the physical address" in text
    assert "kernel/dma/mapping.c: dma_map_phys(), new in 6.18" in text
    assert "states are left out, which cannot occur:" in text


def test_what_changed_between_versions() -> None:
    assert changes("dma_map_resource", "7.2", "7.2", frozenset()).startswith("dma_map_resource() with 0: 0 of ")
    assert "7.3: returns P+range" in changes("dma_map_resource", "6.12", "7.3", frozenset())


NC = {"coherent": False, "dir": "DMA_FROM_DEVICE"}
UNTRUSTED = {"backend": "dma-iommu", "untrusted": True, "aligned": False, "swiotlb": "active"}
FACTS = [
    pytest.param("6.18", "dma_map_phys", {"backend": "ops without callback"}, (), "OPS", ("ops map_page", "kmsan"),
                 id="6.18 maps memory through ops->map_page"),
    pytest.param("6.18", "dma_map_phys", {"backend": "ops without callback"}, (MMIO,), "ERROR", (),
                 id="6.18 refuses MMIO without ops->map_resource"),
    pytest.param("7.3", "dma_map_phys", {"backend": "ops refusing MMIO", "memory": "mmio"}, (MMIO,), "ERROR",
                 ("ops map_phys MMIO",), id="most tables refuse MMIO"),
    pytest.param("7.3", "dma_map_phys", {"backend": "ops ignoring MMIO", "memory": "mmio"}, (MMIO,), "OPS",
                 ("ops map_phys MMIO", "table maps it as memory"), id="TCE maps MMIO as memory"),
    pytest.param("7.2", "dma_map_phys", {"range_map": True, "covered": False, "memory": "mmio"}, (MMIO,), "P", (),
                 id="7.2 does not ask dma-ranges for MMIO"),
    pytest.param("7.3", "dma_map_phys", {"range_map": True, "covered": False, "memory": "mmio"}, (MMIO,), "ERROR",
                 ("warn",), id="7.3 fails MMIO that dma-ranges do not cover"),
    pytest.param("7.2", "dma_map_phys", {"cc": "SEV"}, (), "P+enc", ("kmsan",), id="an SEV guest has the C-bit"),
    pytest.param("7.2", "dma_map_phys", {"cc": "TDX"}, (), "P", ("kmsan",), id="TDX has no bit"),
    pytest.param("7.3", "dma_map_phys", {"cc": "CCA"}, (CC_SHARED,), "P+shared", ("kmsan",),
    id="a realm has a shared bit"),
    pytest.param("7.3", "dma_map_phys", {"cc": "SME (short mask)", "swiotlb": "active"}, (), "B", ("bounce P", "kmsan"),
                 id="an SME host bounces for a device that cannot address the C-bit"),
    pytest.param("7.3", "dma_map_phys", {"swiotlb": "full", "reachable": False}, (), "ERROR",
                 ("warn of a full pool", "kmsan"), id="the pool can be full"),
    pytest.param("7.3", "dma_map_phys", {"swiotlb": "full", "reachable": False}, (NO_WARN,), "ERROR", ("kmsan",),
                 id="NO_WARN silences that"),
    pytest.param("7.3", "dma_map_phys", {"swiotlb": "active", "reachable": False, "memory": "bar"}, (), "ERROR",
                 ("bounce P", "Oops"), id="a bounce of what nothing maps is an Oops"),
    pytest.param("7.3", "dma_map_phys", {"swiotlb": "forced", "memory": "mmio"}, (), "ERROR", ("bounce P", "Oops"),
                 id="registers are not in the kernel's own mapping"),
    pytest.param("7.3", "dma_map_phys", {"swiotlb": "forced", "memory": "ram-no-page"}, (), "ERROR",
                 ("bounce P", "Oops"), id="nor is memory without a page"),
    pytest.param("7.3", "dma_map_phys", {"dir": "DMA_NONE"}, (), "ERROR", ("BUG",), id="no direction is a BUG"),
    pytest.param("7.3", "dma_map_phys", {"has_mask": False}, (), "ERROR", ("warn",), id="no mask"),
    pytest.param("7.3", "dma_iova_link", UNTRUSTED, (), "ERROR",
                 ("bounce P", "iommu_map of an unaligned address", "release bounce with copy"),
                 id="a link that bounces needs min_align_mask"),
    pytest.param("7.3", "dma_iova_link", UNTRUSTED | {"min_align": "granule"}, (), "IOVA of B",
                 ("bounce P", "iommu_map B CACHE|READ"), id="and maps with it"),
    pytest.param("7.3", "dma_iova_link", UNTRUSTED, (MMIO,), "ERROR", (), id="a link of unaligned MMIO is refused"),
    pytest.param("7.3", "dma_map_sg_attrs", {"memory": "p2p-page", "map_type": "bus address"}, (), "BUS", ("kmsan",),
                 id="a bus address needs no mapping"),
    pytest.param("7.3", "dma_map_sg_attrs",
                 {"memory": "p2p-page", "map_type": "not supported", "backend": "dma-iommu"} | NC, (), "ERROR",
                 ("cache for device P",), id="a list that fails was cleaned from the caches before"),
    pytest.param("7.3", "dma_map_sg_attrs",
                 {"memory": "p2p-page", "map_type": "bus address", "backend": "dma-iommu", "untrusted": True}, (),
                 "IOVA", ("iommu_map P CACHE|READ", "kmsan"), id="for an untrusted device the type is not asked"),
    pytest.param("7.3", "dma_map_sg_attrs", {"memory": "p2p-page", "backend": "dma-iommu"} | NC, (MMIO,), "IOVA",
                 ("cache for device P", "iommu_map P MMIO|WRITE", "kmsan"), id="MMIO stops no cache work of a list"),
    pytest.param("7.3", "dma_map_sg_attrs", NC, (REQUIRE_COHERENT,), "ERROR", (), id="a list that has to be coherent"),
    pytest.param("6.18", "dma_map_sg_attrs", {"memory": "p2p-page", "swiotlb": "forced"}, (), "B",
                 ("bounce P", "kmsan"), id="6.18 maps an entry by its address, which is not asked for P2P"),
    pytest.param("6.12", "dma_map_sg_attrs", {"memory": "p2p-page", "swiotlb": "forced"}, (), "ERROR", (),
                 id="6.12 by its page, which is"),
    pytest.param("6.18", "dma_map_page_attrs", {}, (MMIO,), "ERROR", (), id="6.18 refuses a page that is MMIO"),
    pytest.param("6.12", "dma_map_page_attrs", {}, (MMIO,), "P", ("kmsan",), id="6.12 knows no such attribute"),
    pytest.param("6.18", "dma_map_resource", {"memory": "ram-highmem", "debug": True}, (), "ERROR",
                 ("warn of its page",), id="6.18 refuses a resource that has a page"),
    pytest.param("6.18", "dma_map_resource", {"memory": "mmio", "debug": True}, (), "P", (), id="and no other"),
    pytest.param("6.18", "dma_map_phys", {"memory": "mmio", "swiotlb": "forced"}, (MMIO,), "ERROR", ("warn",),
                 id="inferred: 6.18 says that it does not bounce MMIO"),
    pytest.param("7.2", "dma_map_phys", {"memory": "mmio", "swiotlb": "forced"}, (MMIO,), "ERROR", (),
                 id="7.2 does not say so"),
    pytest.param("7.0", "dma_map_phys", UNTRUSTED, (REQUIRE_COHERENT,), "ERROR", ("kmsan",),
                 id="7.0 does not bounce what has to be coherent"),
    pytest.param("7.3", "dma_iova_link", {"backend": "dma-iommu", "dir": "DMA_NONE"}, (PRIVILEGED,), "IOVA",
                 ("iommu_map P ",), id="a link without a direction is no BUG, and allows nothing"),
    # no tree of these is there for conform or a boot: where the inferred versions begin to do what the read ones do
    pytest.param("7.0", "dma_map_phys", {"memory": "mmio", "swiotlb": "forced"}, (MMIO,), "ERROR", (),
                 id="nor does 7.0"),
    pytest.param("6.18", "dma_map_phys", {"backend": "dma-iommu", "memory": "mmio"} | NC, (MMIO,), "IOVA",
                 ("iommu_map P MMIO|WRITE",), id="MMIO behind an IOMMU since 6.18"),
    pytest.param("6.18", "dma_map_phys", {"memory": "mmio"} | UNTRUSTED, (MMIO,), "ERROR", (),
                 id="6.18 refuses MMIO that is not aligned"),
    pytest.param("7.0", "dma_map_phys", {"memory": "mmio"} | UNTRUSTED, (MMIO,), "IOVA", ("iommu_map P MMIO|READ",),
                 id="7.0 maps it"),
    pytest.param("6.18", "dma_map_phys", {"cc": "CCA", "swiotlb": "forced"}, (), "B+shared", ("bounce P", "kmsan"),
                 id="a realm's bit since 6.18"),
    pytest.param("6.19", "dma_map_phys", {"backend": "ops refusing MMIO"}, (), "OPS", ("ops map_phys", "kmsan"),
                 id="one callback since 6.19"),
    pytest.param("7.0", "dma_map_phys", NC, (REQUIRE_COHERENT,), "ERROR", (), id="coherent or not at all, since 7.0"),
    pytest.param("7.0", "dma_map_sg_attrs", NC, (REQUIRE_COHERENT,), "ERROR", (), id="a list, too"),
    pytest.param("7.0", "dma_iova_link", {"backend": "dma-iommu"} | NC, (REQUIRE_COHERENT,), "ERROR", (),
                 id="and a link"),
    pytest.param("7.0", "dma_map_resource", {"debug": True}, (), "ERROR", ("warn of its page",),
                 id="7.0 as released still refuses a resource that has a page"),
]  # fmt: skip


@pytest.mark.parametrize(("version", "call", "state", "attrs", "address", "effects"), FACTS)
def test_what_the_kernel_does(
    version: str, call: str, state: dict[str, Any], attrs: tuple[str, ...], address: str, effects: tuple[str, ...]
) -> None:
    done = run_map(call, State(**state), version, frozenset(attrs))
    assert (done.address, done.effects) == (address, effects)


@pytest.mark.parametrize(
    ("version", "call", "state", "attrs", "address", "effects"),
    [
        pytest.param("6.18", "dma_unmap_phys", {"backend": "ops"}, (), "OPS", ("ops unmap_page",),
                     id="6.18 unmaps memory through ops->unmap_page"),
        pytest.param("6.18", "dma_unmap_phys", {"backend": "ops"}, (MMIO,), "OPS", ("ops unmap_resource",),
                     id="and MMIO through ops->unmap_resource"),
        pytest.param("6.18", "dma_unmap_phys", {"backend": "ops refusing MMIO"}, (MMIO,), "OPS", (), id="if there is"),
        pytest.param("6.19", "dma_unmap_phys", {"backend": "ops"}, (), "OPS", ("ops unmap_phys",),
                     id="6.19 has one callback for both"),
        pytest.param("6.19", "dma_unmap_phys", {"backend": "ops"}, (MMIO,), "OPS", ("ops unmap_phys MMIO",),
                     id="which is told"),
        pytest.param("6.18", "dma_unmap_phys", NC, (MMIO,), "P", (), id="6.18 does no cache work for MMIO"),
        pytest.param("6.12", "dma_unmap_page_attrs", NC, (MMIO,), "P", ("cache for CPU P",),
                     id="6.12 knows no such attribute"),
        pytest.param("7.3", "dma_unmap_sg_attrs", {"backend": "ops"}, (), "OPS", ("ops unmap_sg",), id="a list"),
        pytest.param("7.3", "dma_unmap_single_attrs", NC, (), "P", ("cache for CPU P",), id="memory of the linear map"),
        pytest.param("6.18", "dma_unmap_phys", {"backend": "dma-iommu"} | NC, (MMIO,), "IOVA", ("iommu_unmap",),
                     id="inferred: 6.18 does none behind an IOMMU"),
        pytest.param("7.0", "dma_unmap_phys", {"backend": "dma-iommu"} | NC, (REQUIRE_COHERENT,), "IOVA",
                     ("iommu_unmap",), id="inferred: 7.0 does none for what is coherent"),
        pytest.param("7.0", "dma_unmap_phys", NC, (REQUIRE_COHERENT,), "P", (), id="inferred: nor without an IOMMU"),
        pytest.param("6.12", "dma_unmap_page_attrs", {"cc": "SME", "range_map": True} | NC, (), "P+range+enc",
                     ("cache for CPU -1",), id="6.x looks for an encrypted address in dma-ranges"),
        pytest.param("6.18", "dma_unmap_phys", {"cc": "SME", "range_map": True} | NC, (), "P+range+enc",
                     ("cache for CPU P",), id="inferred: 6.18 clears the bit first"),
        *(pytest.param(version, call, {"dir": "DMA_NONE"}, (), "P", ("BUG",), id=f"no direction, {call}, {version}")
          for version, calls in (("6.12", ("page_attrs", "resource", "sg_attrs")), ("7.3", ("phys", "sg_attrs")))
          for call in (f"dma_unmap_{name}" for name in calls)),
    ],
)  # fmt: skip
def test_what_an_unmap_does(
    version: str, call: str, state: dict[str, Any], attrs: tuple[str, ...], address: str, effects: tuple[str, ...]
) -> None:
    assert run_unmap(call, State(**state), version, address, frozenset(attrs)).effects == effects


@pytest.mark.parametrize(
    ("version", "call", "told"),
    [
        pytest.param("6.12", "dma_unmap_page_attrs", "mark clean P@0 1000 2", id="pages from the device are clean"),
        pytest.param("6.18", "dma_unmap_phys", "mark clean P@0 1000 2", id="inferred: still in 6.18"),
        pytest.param("6.19", "dma_unmap_phys", None, id="inferred: no longer in 6.19"),
        pytest.param("6.12", "dma_unmap_resource", "debug unmap_resource P@0 1000 2", id="dma-debug knows resources"),
        pytest.param("6.18", "dma_unmap_resource", "debug unmap_phys P@0 1000 2", id="which are MMIO since 6.18"),
        pytest.param(
            "7.0", "dma_unmap_phys", "debug unmap_phys P@0 1000 2 0", id="inferred: with attributes since 7.0"
        ),
        pytest.param("7.0", "dma_unmap_sg_attrs", "debug unmap_sg 1 2 0", id="inferred: a list, too"),
        pytest.param("7.0", "dma_unmap_phys", "flush", id="inferred: cache work is waited for once since 7.0"),
    ],
)
def test_what_is_told_of_an_unmap(version: str, call: str, told: str | None) -> None:
    exact = run_unmap(call, State(**NC), version, "P", frozenset()).exact
    assert told in exact if told else not any(one.startswith("mark clean") for one in exact)


@pytest.mark.parametrize(
    ("state", "effects"),
    [
        pytest.param({"backend": "ops"}, ("ops sync_single_for_cpu",), id="a table that has a callback"),
        pytest.param({"dir": "DMA_NONE"}, ("BUG",), id="no direction"),
        pytest.param({"backend": "ops ignoring MMIO"}, (), id="a table without"),
        pytest.param(NC, ("cache for CPU P",), id="MMIO is not exempt"),
        pytest.param({"backend": "dma-iommu"}, (), id="coherent behind an IOMMU"),
    ],
)
def test_a_sync_has_no_attributes(state: dict[str, Any], effects: tuple[str, ...]) -> None:
    address = {"ops": "OPS", "ops ignoring MMIO": "OPS", "dma-iommu": "IOVA"}.get(state.get("backend", ""), "P")
    assert run_sync("dma_sync_single_for_cpu", State(**state), "7.3", address).effects == effects


def test_a_range_of_three_pieces_bounces_its_ends() -> None:
    state = State(**(UNTRUSTED | {"min_align": "granule"}))
    mapped = run_map("dma_iova_link", state, "7.3", frozenset(), Geometry(0x40, 0x3000))
    assert mapped.effects.count("bounce P") == 2
    assert [e for e in mapped.exact if e.startswith("iommu_map")] == [
        "iommu_map IOVA@0 B@0 1000 CACHE|READ",
        "iommu_map IOVA@1000 P@1000 2000 CACHE|READ",
        "iommu_map IOVA@3000 B2@0 1000 CACHE|READ",
    ]
    undone = run_unmap("dma_iova_destroy", (state, Geometry(0x40, 0x3000)), "7.3", "IOVA of B", frozenset())
    assert [e for e in undone.exact if e.startswith("release")] == ["release B@40 fc0 1 0", "release B2@0 40 1 0"]


@pytest.mark.parametrize(
    ("life", "said"),
    [
        pytest.param(("dma_map_phys", (MMIO,), "dma_unmap_phys", (MMIO,)), (RAM_AS_MMIO,), id="RAM as MMIO"),
        pytest.param(("dma_map_phys", (), "dma_unmap_phys", (MMIO,)), (DIFFERENT_ATTRIBUTES,), id="attributes differ"),
        pytest.param(("dma_map_phys", (), "dma_unmap_phys", ("DMA_ATTR_SKIP_CPU_SYNC",)), (), id="this one may"),
        pytest.param(("dma_map_phys", (), "dma_unmap_page_attrs", (MMIO,)), (), id="an unmap that does nothing"),
        pytest.param(("dma_map_phys", (), "dma_unmap_phys", ()), (), id="right"),
    ],
)
def test_what_dma_debug_reports(life: tuple[str, tuple[str, ...], str, tuple[str, ...]], said: tuple[str, ...]) -> None:
    call, attrs, end, end_attrs = life
    assert reports((call, frozenset(attrs), end, frozenset(end_attrs)), State(debug=True), "7.3") == said


DOMAINS = {
    "backend": BACKENDS, "memory": MEMORY, "dir": DIRECTIONS, "swiotlb": SWIOTLB, "cc": ENCRYPTION,
    "min_align": ("none", "granule"),
}  # fmt: skip


@pytest.mark.parametrize("name", DOMAINS)
def test_the_relevant_states_have_every_value_of_a_field_and_no_other(name: str) -> None:
    assert {getattr(state, name) for state in relevant(MEMORY)} == {*DOMAINS[name]}


def test_behind_an_iommu_a_bounce_pool_may_be_missing_there_or_full() -> None:
    states = [state for state in relevant(("ram",)) if state.backend == "dma-iommu"]
    assert {state.swiotlb for state in states} == {"off", "active", "full"}
    kept = {(state.aligned, state.min_align) for state in states}
    assert kept == {(True, "none"), (False, "none"), (False, "granule")}, "whole granules keep their place anyhow"
    addresses = {run_map("dma_iova_link", state, "7.3", frozenset()).address for state in states}
    assert addresses == {"IOVA", "IOVA of B", "ERROR"}, "a link bounces what min_align_mask keeps in its place"


def test_translation_meets_every_encryption_but_those_that_no_such_machine_has() -> None:
    both = {state.cc for state in relevant(("ram",)) if state.range_map}
    assert both == {"none", "SME", "SEV", "CCA"}


def test_an_origin_is_of_memory_that_the_model_has() -> None:
    assert {memory for found in MEMORY_OF.values() for memory in found} == {*MEMORY}
    assert MEMORY_OF[Kind.RAM] == ("ram", "ram-highmem")
    assert MEMORY_OF[Kind.PCI_BAR] == ("bar", "p2p-page")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        pytest.param({}, "direct backend, ram, DMA_TO_DEVICE, coherent", id="plain"),
        pytest.param({"coherent": False, "swiotlb": "active", "reachable": False, "cc": "SEV", "debug": True},
                     "direct backend, ram, DMA_TO_DEVICE, not coherent, swiotlb active, address beyond the DMA mask, "
                     "SEV memory encryption, CONFIG_DMA_API_DEBUG", id="what the machine is"),
        pytest.param({"range_map": True}, "direct backend, ram, DMA_TO_DEVICE, coherent, dma-ranges translation",
                     id="translation"),
        pytest.param({"range_map": True, "covered": False, "has_mask": False, "pool_reachable": False},
                     "direct backend, ram, DMA_TO_DEVICE, coherent, dma-ranges that do not cover the address, "
                     "no dma_mask, bounce pool beyond the DMA mask", id="what cannot be reached"),
        pytest.param({"untrusted": True, "kmalloc_bounce": True, "aligned": False, "min_align": "granule",
                      "flush_queue": True, "iommu_fails": "map", "map_type": "bus address"},
                     "direct backend, ram, DMA_TO_DEVICE, coherent, untrusted device, kmalloc bounce, unaligned, "
                     "min_align_mask granule, flush queue, iommu_map fails, P2P type bus address", id="the buffer"),
        pytest.param({"iommu_fails": "no iova"}, "direct backend, ram, DMA_TO_DEVICE, coherent, no IOVA space left",
                     id="no space"),
    ],
)  # fmt: skip
def test_a_state_in_words_names_what_is_not_plain(state: dict[str, Any], words: str) -> None:
    assert State(**state).describe() == words


def test_states_that_cannot_occur_are_left_out_for_a_reason() -> None:
    assert left_out(("ram",)) > 0
    assert all(impossible(state) is None for state in relevant(("ram",)))
    assert "kmalloc() rounds up" in (impossible(State(kmalloc_bounce=True, **NC)) or "")


def test_what_changed_names_what_it_needs() -> None:
    text = changes("dma_map_resource", "7.2", "7.3", frozenset())
    assert "with dma-ranges that do not cover the address" in text


@pytest.mark.parametrize(
    ("version", "near", "plan"),
    [
        pytest.param("6.6", True, "6.12", id="bouncing of small buffers came with 6.5"),
        pytest.param("6.4", True, "6.1", id="before that"),
        pytest.param("6.18", True, "7.2", id="dma_map_phys came with 6.18"),
        pytest.param("7.3.9", False, "7.3", id="a point release"),
        pytest.param("7.4", False, "7.3", id="newer than the newest"),
    ],
)
def test_which_model_a_tree_is_held_against(version: str, near: bool, plan: str) -> None:
    assert plan_for(version, near) == plan
    if near:
        with pytest.raises(ModelError, match=rf"nobody read .*--nearest .* {plan} "):
            plan_for(version)


# Each breaks the model in one place; a check that cannot notice it checks nothing.
MUTATIONS = [
    (
        "dmamigrate.model.refine",
        'effect in ("cache for device P", "cache for CPU P")',
        'effect in ("cache for device Q",)',
        "the cache property",
    ),
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
        "return life.unmap is not None and FAMILY",
        "return False and FAMILY",
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
        ends = (proofs.TARGETS[0], proofs.TARGETS[-1])
        assert not all(proof.holds for proof in proofs.prove(RULES, rules.tables().api, ends))
    assert refine is sys.modules["dmamigrate.model.refine"]
