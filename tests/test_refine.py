# SPDX-License-Identifier: GPL-2.0-only
"""What counts as better: every rewrite of a BAR that was mapped as memory, one attribute at one end apart."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

from dmamigrate.findings import Kind
from dmamigrate.model.machine import ERROR
from dmamigrate.model.refine import FAILS, LifeCalls, compare, every_set, memory_of, run, severity, unpaired
from dmamigrate.model.states import MMIO, READ_ATTRS, SKIP_CPU_SYNC, relevant

PAIRS = (
    ("dma_map_phys", "dma_unmap_phys"),
    ("dma_map_resource", "dma_unmap_resource"),
    ("dma_map_page_attrs", "dma_unmap_page_attrs"),
)
OLD = LifeCalls("dma_map_phys", frozenset(), "dma_unmap_phys", frozenset())
# the direction decides nothing but whether a small buffer may bounce, which it may from the device
STATES = relevant(memory_of((Kind.PCI_BAR,)), ("DMA_FROM_DEVICE",))


def enumerated() -> Iterator[LifeCalls]:
    """Each pair with each set of attributes at both ends, and with one attribute more or less at the unmap."""
    for mapped, unmapped in PAIRS:
        for held in every_set():
            for changed in (frozenset[str](), *(frozenset({one}) for one in READ_ATTRS)):
                yield LifeCalls(mapped, held, unmapped, held ^ changed)


@cache
def proved_lives() -> tuple[LifeCalls, ...]:
    """Those that are proved."""
    return tuple(life for life in enumerated() if not compare(OLD, life, STATES, "7.3").worse)


@pytest.mark.kernel
def test_the_direction_decides_nothing() -> None:
    others = relevant(memory_of((Kind.PCI_BAR,)), ("DMA_TO_DEVICE", "DMA_BIDIRECTIONAL"))
    assert proved_lives() == tuple(life for life in enumerated() if not compare(OLD, life, others, "7.3").worse)


def test_what_is_better_than_a_bar_mapped_as_memory() -> None:
    assert len(list(enumerated())) == 576
    proved = proved_lives()
    # device memory has to be said at both ends, whatever call says it, or nothing may change; cache work is each end's own
    for life in proved:
        held, ended = (
            attrs | ({MMIO} if "resource" in life.map else set()) for attrs in (life.map_attrs, life.unmap_attrs)
        )
        assert "page" not in life.map, life
        assert held ^ ended <= {SKIP_CPU_SYNC}, life
        assert (MMIO in held and MMIO in ended) or life == OLD, life
    # unchanged; MMIO with any of three hints, cache work at either end; the same of resource, MMIO written or not
    assert len(proved) == 1 + 16 + 48
    assert LifeCalls("dma_map_phys", frozenset({MMIO}), "dma_unmap_phys", frozenset({MMIO})) in proved
    assert LifeCalls("dma_map_resource", frozenset(), "dma_unmap_resource", frozenset()) in proved


def test_no_proof_lets_a_map_fail_that_worked_and_did_no_harm() -> None:
    for life in proved_lives():
        for state in STATES:
            before, after = run(OLD, state, "7.3"), run(life, state, "7.3")
            if after.map.address == ERROR and before.map.address != ERROR:
                effects = (*before.map.effects, *(before.unmap.effects if before.unmap is not None else ()))
                harm = {"bounce P", "Oops", "table maps it as memory"} & {*effects}
                assert harm or any(effect.startswith("cache for") for effect in effects), state


@pytest.mark.parametrize(
    ("attrs", "why"),
    [
        pytest.param(frozenset({MMIO, "DMA_ATTR_CC_SHARED"}), FAILS, id="an attribute that most devices refuse"),
        pytest.param(frozenset({SKIP_CPU_SYNC}), None, id="no cache work, and still no word of device memory"),
    ],
)
def test_a_wrong_attribute_is_named_for_what_it_does(attrs: frozenset[str], why: str | None) -> None:
    result = compare(OLD, LifeCalls("dma_map_phys", attrs, "dma_unmap_phys", attrs), STATES, "7.3")
    whats = [one.what for one in result.worse]
    assert whats == sorted(whats, key=severity)
    assert why is None or why in whats


def test_half_a_life_is_of_two_families() -> None:
    assert unpaired(LifeCalls("dma_map_phys", frozenset({MMIO}), "dma_unmap_resource", frozenset()))
    assert not unpaired(OLD)
