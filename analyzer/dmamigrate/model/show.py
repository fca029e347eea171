# SPDX-License-Identifier: GPL-2.0-only
"""Decision tables of the model, for people: what a call does in which states, and what changed between versions."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import fields
from math import log2

from dmamigrate.errors import ModelError
from dmamigrate.model.calls import MAPS, UNMAPS, run_map
from dmamigrate.model.refine import LifeCalls, LifeOutcome, run
from dmamigrate.model.states import IMPOSSIBLE, MMIO, State, left_out, relevant
from dmamigrate.model.versions import behaviour

_MEMORY = ("ram", "mmio", "p2p-page")
_UNMAP_OF = {
    "dma_map_resource": "dma_unmap_resource", "dma_map_phys": "dma_unmap_phys",
    "dma_map_page_attrs": "dma_unmap_page_attrs",
    "dma_map_single_attrs": "dma_unmap_single_attrs", "dma_iova_link": "dma_iova_destroy",
    "dma_map_sg_attrs": "dma_unmap_sg_attrs",
    "blk_dma_map_iter_start": "blk_rq_dma_unmap", "hmm_dma_map_pfn": "hmm_dma_unmap_pfn",
}  # fmt: skip
_PLAIN = State()
_LEGEND = """
Addresses: P the physical address that was passed, B its bounce buffer, IOVA, OPS what a dma_map_ops table returned,
  BUS a PCI bus address, ERROR DMA_MAPPING_ERROR; +range translated by dma-ranges, +enc with the encryption bit,
  +shared with a realm's shared bit, "IOVA of B" an IOVA that leads to the bounce buffer.
Effects, in order: bounce P (the CPU copies it), release bounce with or without copying back, cache for device/CPU P
  (cache maintenance by its kernel address), iommu_map P PROT, iommu_unmap, ops NAME [MMIO] (the table's callback),
  "table maps it as memory", kmsan (the contents are looked at), warn (a WARN or a message), Oops, BUG.
Backends: "ops" maps MMIO (arm, xen-swiotlb), "ops refusing MMIO" returns an error (vio, sparc, alpha, gart, ...),
  "ops ignoring MMIO" maps it as memory (powerpc's TCE, sparc's io-unit), "ops with arch direct hook" and "ops
  bypassed" are powerpc's.
"""


def _known(call: str) -> None:
    if call in UNMAPS:
        raise ModelError(f"{call}() depends on its map; ask for the map, whose table shows the unmap too")
    if call not in MAPS:
        raise ModelError(f"the model has no {call}(); it has {', '.join(sorted(MAPS))}")


def _life(call: str, attrs: frozenset[str]) -> LifeCalls:
    return LifeCalls(call, attrs, _UNMAP_OF[call], attrs)


def _decide(states: list[State], outcomes: dict[State, str], indent: int) -> Iterator[str]:
    """The states as nested questions, each about the field that tells the most apart."""
    found = {outcomes[state] for state in states}
    if len(found) == 1:
        yield from textwrap.wrap(found.pop(), 100, initial_indent=" " * indent, subsequent_indent=" " * (indent + 4))
        return
    asked = min((one.name for one in fields(State)), key=lambda name: _mixed(states, outcomes, name))
    answers: dict[tuple[str, ...], list[str]] = {}
    for value in dict.fromkeys(getattr(state, asked) for state in states):
        below = _decide([state for state in states if getattr(state, asked) == value], outcomes, indent + 2)
        answers.setdefault(tuple(below), []).append(str(value))
    for lines, values in answers.items():
        yield f"{' ' * indent}{asked} {' or '.join(values)}:"
        yield from lines


def _mixed(states: list[State], outcomes: dict[State, str], name: str) -> tuple[int, float]:
    """How much stays undecided once the field is known, in bits; a field with one value decides nothing."""
    groups: dict[object, Counter[str]] = {}
    for state in states:
        groups.setdefault(getattr(state, name), Counter())[outcomes[state]] += 1
    undecided = sum(count * log2(found.total() / count) for found in groups.values() for count in found.values())
    return (1, 0.0) if len(groups) < 2 else (0, round(undecided, 6))


def decision_table(call: str, version: str, attrs: frozenset[str]) -> str:
    """What `call` and its unmap do, backend by backend. Raises ModelError for a call that the version does not have."""
    _known(call)
    run_map(call, _PLAIN, version, attrs)
    lines = [f"{call}() with {' | '.join(sorted(attrs)) or '0'} in {behaviour(version)}: what decides, and the outcome"]
    states = relevant(_MEMORY)
    outcomes = {state: run(_life(call, attrs), state, version).describe() for state in states}
    for backend in dict.fromkeys(state.backend for state in states):
        lines += [f"\n{backend}:", *_decide([state for state in states if state.backend == backend], outcomes, 2)]
    return "\n".join([*lines, _LEGEND.rstrip("\n"), *_stated(call), *_unasked()]) + "\n"


def _stated(call: str) -> Iterator[str]:
    """Which functions of the kernel the table states; what they call is cited where the model states it."""
    yield "Stated:"
    for function in (MAPS[call], UNMAPS[_UNMAP_OF[call]]):
        first = (function.__doc__ or "").strip().splitlines()[0]
        yield textwrap.fill(first.rstrip("."), 116, initial_indent="  ", subsequent_indent="    ")


def _unasked() -> Iterator[str]:
    """How many states were left out, and why they cannot occur."""
    count = left_out(_MEMORY)
    yield f"{count} states are left out, which cannot occur:"
    yield from (f"  {reason}" for reason, _ in IMPOSSIBLE)


# One callback under three names: page and resource became phys.
_RENAMED = (("map_resource", "map_phys MMIO"), ("map_page", "map_phys"))


def _plain(life: LifeOutcome) -> str:
    """The outcome without the names that only changed."""
    text = life.describe()
    for old, new in _RENAMED:
        text = text.replace(f"ops {old}", f"ops {new}").replace(f"ops un{old}", f"ops un{new}")
    return text


def changes(call: str, old: str, new: str, attrs: frozenset[str]) -> str:
    """What an unchanged driver gains or loses between two versions. Raises ModelError as `decision_table` does."""
    _known(call)
    states = relevant(_MEMORY)
    groups: dict[tuple[str, str], list[State]] = {}
    differ = 0
    for state in states:
        before, after = _plain(run(_life(call, attrs), state, old)), _plain(run(_life(call, attrs), state, new))
        if before != after:
            differ += 1
            groups.setdefault((before, after), []).append(state)
    lines = [
        f"{call}() with {' | '.join(sorted(attrs)) or '0'}: {differ} of {len(states)} states differ from {old} to {new}"
    ]
    for (before, after), found in sorted(groups.items(), key=lambda item: -len(item[1])):
        lines.append(f"\n{len(found)} states, the plainest: {found[0].describe()}")
        lines += [f"  with {cause}" for cause in _causes(found)]
        lines.append(f"  {old}: {before}")
        lines.append(f"  {new}: {after}")
    return "\n".join(lines) + "\n"


def _causes(states: list[State]) -> list[str]:
    """What is not plain about these states, each as small as it gets: what the change needs to show."""
    given = {frozenset(state.describe().split(", ")[4:]) for state in states}
    least = [one for one in given if not any(other < one for other in given)]
    return sorted(" and ".join(sorted(one)) for one in least if one)


def attributes(words: Iterable[str]) -> frozenset[str]:
    """DMA_ATTR_ names as given, MMIO short for DMA_ATTR_MMIO."""
    names = {word if word.startswith("DMA_ATTR_") else f"DMA_ATTR_{word}" for word in words if word and word != "0"}
    unknown = names - {
        MMIO,
        "DMA_ATTR_SKIP_CPU_SYNC",
        "DMA_ATTR_REQUIRE_COHERENT",
        "DMA_ATTR_CC_SHARED",
        "DMA_ATTR_PRIVILEGED",
    }
    if unknown:
        raise ModelError(f"{', '.join(sorted(unknown))}: the streaming paths read no such attribute")
    return frozenset(names)
