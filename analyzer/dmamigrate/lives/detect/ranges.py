# SPDX-License-Identifier: GPL-2.0-only
"""IOVA ranges that an error path keeps, or gives back while something is linked in them.

dma_iova_try_alloc() needs a dma_iova_free() or dma_iova_destroy(), and only the latter unlinks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from dmamigrate.api import ApiCall
from dmamigrate.findings import Skipped
from dmamigrate.lives.detect.along import is_error
from dmamigrate.lives.detect.exits import steps_of
from dmamigrate.lives.detect.maptype import MapTypes
from dmamigrate.lives.module import Defect, Module
from dmamigrate.lives.sites import Site, in_file
from dmamigrate.paths.explore import Explorer
from dmamigrate.paths.places import Frame
from dmamigrate.paths.state import State, Trail
from dmamigrate.paths.values import NEGATIVE, ZERO, Value, constant
from dmamigrate.syntax.expr import Call
from dmamigrate.values.engine import Engine

RULES = ("mapping-leaked",)
_HELD, _GIVEN_BACK = constant("allocated"), constant("given back")
_LINKED = constant("linked")
# drivers/iommu/dma-iommu.c, include/linux/dma-mapping.h: what is handed a range and leaves it as it is
_LEAVES = frozenset({"dma_iova_sync", "dma_use_iova", "dma_iova_size"})
_KEY, _INSIDE = "@range", "@linked"


class _Range(MapTypes):
    """Follows the range that one call allocates."""

    def __init__(self, engine: Engine, site: Site, place: str) -> None:
        super().__init__(engine)
        self._site, self._place = site, place
        self._ends = {name: engine.api.calls[name] for name in (*engine.api.named("free"), *engine.api.named("unmap"))}
        self.splits = MapTypes.splits | {site.call.name}
        names = b"|".join(re.escape(name.encode()) for name in self._ends)
        self.words = re.compile(rb"\b(?:" + names + rb")\s*\(")
        self.watched = place
        self.kept: list[Trail | None] = []
        self.given_back_on_error = False
        self.early: list[tuple[Site, Trail | None]] = []

    def answers(self, frame: Frame, call: Call, state: State) -> list[tuple[State, Value]]:
        """A link into the range succeeds, or it fails and links nothing."""
        api = self._engine.api.calls.get(call.name)
        links = api is not None and api.role == "map" and api.family == self._site.api.family
        if not links or api is None or state.get(_KEY) != _HELD or not self._is_range(frame, call, api):
            return super().answers(frame, call, state)
        linked = state.refine(_INSIDE, _LINKED)
        return [
            (State(linked.env, Trail(frame.fn, call, "linked here", linked.trail)), ZERO),
            (State(state.env, Trail(frame.fn, call, "nothing is linked here", state.trail)), NEGATIVE),
        ]

    def _is_range(self, frame: Frame, call: Call, api: ApiCall) -> bool:
        position = api.position("state")
        return position < len(call.args) and frame.place(call.args[position]) == self._place

    def assumed(self, frame: Frame, call: Call, truth: bool, state: State) -> State | None:
        if call.start == self._site.call.start and frame.fn is self._site.fn:
            if not truth:
                return state.forget(lambda key, _: key == _KEY)
            held = state.refine(_KEY, _HELD)
            return State(held.env, Trail(frame.fn, call, "allocated here", None))
        return super().assumed(frame, call, truth, state)

    def called(self, frame: Frame, node: int, call: Call, state: State, values: tuple[Value, ...]) -> State:
        del values
        if state.get(_KEY) != _HELD:
            return state
        api = self._ends.get(call.name)
        if api is not None and api.family == self._site.api.family:
            if not self._is_range(frame, call, api):
                return state
            if "offset" in api.roles:
                return state.forget(lambda key, _: key == _INSIDE)  # what is unlinked is taken for all
            if api.role == "free" and state.get(_INSIDE) == _LINKED:
                self.early.append((Site(frame.fn, node, call, api), state.trail))
            return state.refine(_KEY, _GIVEN_BACK)
        if call.name in _LEAVES or call.name in self._engine.api.calls:
            return state
        if any(self._is_mine(frame.place(one)) for one in call.args):
            return state.refine(_KEY, _GIVEN_BACK)  # whoever is handed the range may give it back
        return state

    def _is_mine(self, place: str | None) -> bool:
        return place is not None and self._place.lstrip("&").startswith(place.lstrip("&*"))

    def left(self, frame: Frame, state: State, value: Value) -> None:
        if is_error(frame, value):
            if state.get(_KEY) == _HELD:
                self.kept.append(state.trail)
            self.given_back_on_error |= state.get(_KEY) == _GIVEN_BACK


def find(module: Module) -> Iterator[Defect | Skipped]:
    """The ranges that some error path gives back and another one does not."""
    engine = module.engine
    for path in module.files:
        unit = engine.tree.unit(path)
        if unit is None or not any(name.encode() in unit.source.data for name in engine.api.named("alloc")):
            continue
        for site in in_file(unit, engine.api, engine.api.named("alloc"))[0]:
            state = site.argument("state")
            place = Frame(site.fn).place(state) if state is not None else None
            if place is None or "[" in place or site.fn.macro:
                continue
            client = _Range(engine, site, place)
            explorer = Explorer(engine, client)
            explorer.explore(site.fn)
            if not explorer.complete:
                reason = f"the paths behind {site.call.name}() are too many to look for leaks on all; raise --effort"
                yield Skipped(site.where, reason)
                continue
            for freed, trail in client.early[:1]:
                facts = {
                    "what": "this gives back an IOVA range in which something is linked; dma_iova_destroy() unlinks it"
                }
                steps = steps_of(trail, Trail(freed.fn, freed.call, "freed here", None))
                yield Defect("mapping-leaked", freed, facts, trail=steps)
            if client.kept and client.given_back_on_error:
                trail = min(client.kept, key=lambda one: len(list(one or ())))
                facts = {"what": "an exit after this allocation keeps its IOVA range"}
                yield Defect("mapping-leaked", site, facts, trail=steps_of(trail, None))
