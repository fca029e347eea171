# SPDX-License-Identifier: GPL-2.0-only
"""Decision tables of the model, for people: what a call does in which states, and what changed between versions."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import fields

from dmamigrate.errors import ModelError
from dmamigrate.model.dma_api import MAPS, UNMAPS, run_map
from dmamigrate.model.refine import LifeCalls, LifeOutcome, run
from dmamigrate.model.states import MMIO, State, relevant
from dmamigrate.model.versions import behaviour

_MEMORY = ("ram", "mmio", "p2p-page")
_UNMAP_OF = {
    "dma_map_resource": "dma_unmap_resource", "dma_map_phys": "dma_unmap_phys", "dma_map_page_attrs": "dma_unmap_page_attrs",
    "dma_map_single_attrs": "dma_unmap_single_attrs", "dma_iova_link": "dma_iova_destroy",
}  # fmt: skip
_PLAIN = State()


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


def _mixed(states: list[State], outcomes: dict[State, str], name: str) -> tuple[int, int]:
    """How much stays undecided once the field is known; a field with one value decides nothing."""
    groups: dict[object, set[str]] = {}
    for state in states:
        groups.setdefault(getattr(state, name), set()).add(outcomes[state])
    return (1, 0) if len(groups) < 2 else (0, sum(len(found) for found in groups.values()))


def decision_table(call: str, version: str, attrs: frozenset[str]) -> str:
    """What `call` and its unmap do, backend by backend. Raises ModelError for a call that the version does not have."""
    _known(call)
    run_map(call, _PLAIN, version, attrs)
    lines = [f"{call}() with {' | '.join(sorted(attrs)) or '0'} in {behaviour(version)}: what decides, and the outcome"]
    states = relevant(_MEMORY)
    outcomes = {state: run(_life(call, attrs), state, version).describe() for state in states}
    for backend in dict.fromkeys(state.backend for state in states):
        lines += [f"\n{backend}:", *_decide([state for state in states if state.backend == backend], outcomes, 2)]
    return "\n".join(lines) + "\n"


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
        lines.append(f"  {old}: {before}")
        lines.append(f"  {new}: {after}")
    return "\n".join(lines) + "\n"


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
