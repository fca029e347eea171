# SPDX-License-Identifier: GPL-2.0-only
"""The question how a P2P transfer is routed, and what may be answered: drivers/pci/p2pdma.c."""

from __future__ import annotations

from collections.abc import Mapping

from dmamigrate.paths.places import Frame, sources
from dmamigrate.paths.state import Client, State, Trail
from dmamigrate.paths.values import Choice, Same, Value
from dmamigrate.syntax.expr import Call, Expr, Member, strip
from dmamigrate.values.engine import Engine

THRU = "PCI_P2PDMA_MAP_THRU_HOST_BRIDGE"
BUS = "PCI_P2PDMA_MAP_BUS_ADDR"
NONE = "PCI_P2PDMA_MAP_NONE"
NOT_SUPPORTED = "PCI_P2PDMA_MAP_NOT_SUPPORTED"
# enum pci_p2pdma_map_type, include/linux/pci-p2pdma.h
MAP_TYPES = frozenset({THRU, BUS, NONE, NOT_SUPPORTED, "PCI_P2PDMA_MAP_UNKNOWN"})
# Where the map type is kept that a flag tells of.
CARRIED = "@carried"
# For a page anything may be answered, for a provider never "no P2P at all".
_ASKS_OF_PAGE = ("pci_p2pdma_state", "pci_p2pdma_map_segment")
_ASKS_OF_PROVIDER = "pci_p2pdma_map_type"
_TESTS_PAGE = "is_pci_p2pdma_page"
_OF_PAGE = frozenset({THRU, BUS, NONE, NOT_SUPPORTED})
_P2P = frozenset({THRU, BUS, NOT_SUPPORTED})
# Who asks, and who only knows.
ASKS = (*_ASKS_OF_PAGE, _ASKS_OF_PROVIDER, _TESTS_PAGE)
WORDS = (*ASKS, THRU, BUS, NONE)


def _choice(may: frozenset[str], subject: frozenset[str] = frozenset()) -> Choice:
    return Choice(may, MAP_TYPES, "the map type", subject=subject)


class MapTypes(Client):
    """A client that tells paths apart by the map type that was answered."""

    splits = frozenset({_TESTS_PAGE})

    def __init__(self, engine: Engine, carriers: Mapping[str, str] | None = None) -> None:
        """`carriers` are the flags that say, once a map type is decided, which one it was."""
        self.carriers = carriers or {}
        self._engine = engine

    def choice(self, name: str) -> Choice | None:
        """A map type by its name."""
        return _choice(frozenset({name})) if name in MAP_TYPES else None

    def unasked(self, frame: Frame, expr: Expr, among: Choice) -> Choice:
        """A map type that this code only reads: in a struct pci_p2pdma_map_state an earlier call may have left it."""
        member = strip(expr)
        unit = self._engine.flow.unit(frame.fn)
        owner = self._engine.types.member(member, frame.fn, unit) if isinstance(member, Member) else None
        kept = owner is not None and owner[0] == "pci_p2pdma_map_state"
        return Choice(among.all, among.all, among.what, False, kept)

    def answers(self, frame: Frame, call: Call, state: State) -> list[tuple[State, Value]]:
        """The states after a call that asks for the map type, and the type, kept under the place that holds it.

        pci_p2pdma_state() writes nothing for a page that is no P2P memory: what was there before stays.
        """
        if call.name in _ASKS_OF_PAGE and len(call.args) == 3:
            holder = frame.place(call.args[0])
            if holder is None:
                return []
            place = f"{holder[1:]}.map" if holder.startswith("&") else f"{holder}->map"
            of_page = f"{frame.place(call.args[2]) or frame.prefix}@type"
            page = state.get(of_page)
            kind = _choice(page.may if isinstance(page, Choice) else _OF_PAGE, sources(frame, call.args[2]))
        elif call.name == _ASKS_OF_PROVIDER:
            place, kind, of_page = f"{frame.prefix}@{call.start}", _choice(_P2P), ""
        else:
            return []
        note = Trail(frame.fn, call, "the map type is asked for", state.trail)
        before, none = state.get(place), kind.only(frozenset({NONE}))
        written = kind.only(_P2P)
        stays = isinstance(before, Choice) and before.may != {NONE} and call.name == _ASKS_OF_PAGE[0]
        if not stays or none is None or written is None:
            return [(State(self._of_page(state.put(place, kind), of_page, place).env, note), Same(place))]
        answer = f"{frame.prefix}@{call.start}"
        return [
            (State(self._of_page(state.put(place, written), of_page, place).env, note), Same(place)),
            (State(self._of_page(state.put(answer, none), of_page, answer).env, note), Same(answer)),
        ]

    @staticmethod
    def _of_page(state: State, page: str, answer: str) -> State:
        """What is_pci_p2pdma_page() will say of the page goes with the answer that was given for it."""
        return state.put(page, Same(answer)) if page else state

    def assumed(self, frame: Frame, call: Call, truth: bool, state: State) -> State | None:
        """The state in which the page that is tested is P2P memory, or is not; None if that cannot be."""
        if call.name != _TESTS_PAGE or not call.args:
            return state
        place = f"{frame.place(call.args[0]) or frame.prefix}@type"
        held = state.get(place)
        kind = held if isinstance(held, Choice) else _choice(_OF_PAGE, sources(frame, call.args[0]))
        left = kind.only(_P2P if truth else frozenset({NONE}))
        return state.refine(place, left) if left is not None else None

    def told(self, flag: str, truth: bool, state: State) -> State | None:
        """The state in which a flag that stands for a map type is set, or is not; None if that cannot be."""
        kind = self.carriers.get(flag)
        if kind is None:
            return state
        held = state.get(CARRIED)
        before = held if isinstance(held, Choice) else _choice(_OF_PAGE)
        left = before.only(frozenset({kind}) if truth else _OF_PAGE - {kind})
        return state.refine(CARRIED, left) if left is not None else None
