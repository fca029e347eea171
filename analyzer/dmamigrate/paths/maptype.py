# SPDX-License-Identifier: GPL-2.0-only
"""The question how a P2P transfer is routed, and what may be answered: drivers/pci/p2pdma.c."""

from __future__ import annotations

from dmamigrate.paths.places import Frame, sources
from dmamigrate.paths.state import State, Trail
from dmamigrate.paths.values import BUS, NONE, NOT_SUPPORTED, THRU, MapType, Same, Value
from dmamigrate.syntax.expr import Call, Expr

# For a page anything may be answered, for a provider never "no P2P at all".
_ASKS_OF_PAGE = ("pci_p2pdma_state", "pci_p2pdma_map_segment")
_ASKS_OF_PROVIDER = "pci_p2pdma_map_type"
_TESTS_PAGE = "is_pci_p2pdma_page"
# Where the map type is kept that a flag tells of.
CARRIED = "@carried"
_OF_PAGE = frozenset({THRU, BUS, NONE, NOT_SUPPORTED})
_P2P = frozenset({THRU, BUS, NOT_SUPPORTED})


def asked(frame: Frame, call: Call, state: State) -> list[tuple[State, Value]]:
    """The states after a call that asks for the map type, and the type, kept under the place that holds it; none for other calls.

    pci_p2pdma_state() writes nothing for a page that is no P2P memory: what was there before stays.
    """
    if call.name in _ASKS_OF_PAGE and len(call.args) == 3:
        holder = frame.place(call.args[0])
        if holder is None:
            return []
        place = f"{holder[1:]}.map" if holder.startswith("&") else f"{holder}->map"
        page = state.get(f"{frame.place(call.args[2])}@type")
        kind = MapType(page.may if isinstance(page, MapType) else _OF_PAGE, subject=sources(frame, call.args[2]))
    elif call.name == _ASKS_OF_PROVIDER:
        place, kind = f"{frame.prefix}@{call.start}", MapType(_P2P)
    else:
        return []
    note = Trail(frame.fn, call, "the map type is asked for", state.trail)
    before, none = state.get(place), kind.only(frozenset({NONE}))
    written = kind.only(_P2P)
    if (
        call.name != _ASKS_OF_PAGE[0]
        or not isinstance(before, MapType)
        or before.may == {NONE}
        or none is None
        or written is None
    ):
        return [(State(state.put(place, kind).env, note), Same(place))]
    answer = f"{frame.prefix}@{call.start}"
    return [
        (State(state.put(place, written).env, note), Same(place)),
        (State(state.put(answer, none).env, note), Same(answer)),
    ]


def tests_page(expr: Expr) -> bool:
    """Whether `expr` asks if a page is P2P memory."""
    return isinstance(expr, Call) and expr.name == _TESTS_PAGE and bool(expr.args)


def page_is(frame: Frame, call: Call, p2p: bool, state: State) -> State | None:
    """The state in which the page that `call` tests is P2P memory, or is not; None if that cannot be."""
    place = f"{frame.place(call.args[0]) or frame.prefix}@type"
    held = state.get(place)
    kind = held if isinstance(held, MapType) else MapType(_OF_PAGE, subject=sources(frame, call.args[0]))
    left = kind.only(_P2P if p2p else frozenset({NONE}))
    return state.refine(place, left) if left is not None else None


def carried(kind: str, truth: bool, state: State) -> State | None:
    """The state in which a flag that stands for the map type `kind` is set, or is not; None if that cannot be."""
    held = state.get(CARRIED)
    before = held if isinstance(held, MapType) else MapType(_OF_PAGE)
    left = before.only(frozenset({kind}) if truth else _OF_PAGE - {kind})
    return state.refine(CARRIED, left) if left is not None else None
