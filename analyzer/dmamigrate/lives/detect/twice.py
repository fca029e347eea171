# SPDX-License-Identifier: GPL-2.0-only
"""What is unmapped twice on the paths of functions that map nothing themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dmamigrate.lives.detect.exits import steps_of
from dmamigrate.lives.module import Defect, Module
from dmamigrate.lives.sites import Site
from dmamigrate.paths.explore import Explorer
from dmamigrate.paths.guards import bypasses, is_known
from dmamigrate.paths.places import Frame
from dmamigrate.paths.state import Client, State, Trail
from dmamigrate.paths.values import Value, constant
from dmamigrate.syntax.expr import Call
from dmamigrate.syntax.functions import Function
from dmamigrate.values.engine import Engine

RULES = ("unmap-wrong-handle",)
_ENDED = constant("unmapped")
_CALLERS = 8  # of one unmapping function that are looked at
_STEPS = 2000  # that one exploration may take: there are many roots
_IF = re.compile(rb"^[ \t]*#[ \t]*if", re.MULTILINE)


class _Ends(Client):
    """Follows what is unmapped on the paths of a function that maps nothing itself."""

    def __init__(self, engine: Engine, fn: Function) -> None:
        ends = frozenset(node for node, call in fn.calls if call.name in engine.api.named("unmap"))
        self._past = bypasses(fn, ends)
        names = b"|".join(name.encode() for name in engine.api.named("unmap"))
        self.words = re.compile(rb"\b(?:" + names + rb")\s*\(")
        self._calls = engine.api.calls
        self.twice: list[tuple[Site, Trail | None]] = []

    def called(self, frame: Frame, node: int, call: Call, state: State, values: tuple[Value, ...]) -> State:
        del values
        api = self._calls.get(call.name)
        site = Site(frame.fn, node, call, api) if api is not None and api.role == "unmap" else None
        handle = site.argument("addr") if site is not None else None
        place = frame.place(handle) if handle is not None else None
        if site is None or place is None or "[" in place:
            return state
        key = f"{place}@ended"  # whatever changes the place, or what it is reached by, drops this
        if state.get(key) == _ENDED:
            self.twice.append((site, state.trail))
        after = state.refine(key, _ENDED)
        return State(after.env, Trail(frame.fn, call, "unmapped here", after.trail))

    def undecided(self, frame: Frame, node: int, to: int, before: State, after: State) -> State:
        """Whether there is something to unmap is asked here, of what nothing is known: it may not be what is
        unmapped. In a helper, which is called for more than one, any question may be that one.
        """
        passing = self._past.get(node) if frame.parent is None else frozenset[int]()
        if passing is None or to in passing or is_known(frame, node, before):
            return after
        return after.forget(lambda key, _: key.endswith("@ended"))


def find(module: Module) -> Iterator[Defect]:
    """The unmaps of what the same function, or one that it called, has unmapped already."""
    engine, pairs = module.engine, module.pairs
    ends = {site.key: life for life in pairs.lives for site in life.ends}
    maps = {(life.map.fn.source.path, life.map.fn.start) for life in pairs.lives}
    roots = {(s.fn.source.path, s.fn.start): s.fn for life in pairs.lives for s in life.ends}
    for fn in list(roots.values()):
        callers = engine.stores.callers(fn)[0][:_CALLERS]
        roots |= {(caller.fn.source.path, caller.fn.start): caller.fn for caller in callers}
    seen: set[tuple[str, int]] = set()
    for key, fn in sorted(roots.items()):
        if key in maps or fn.macro or _IF.search(fn.source.blanked, fn.start, fn.end):
            continue
        client = _Ends(engine, fn)
        Explorer(engine, client, _STEPS).explore(fn)
        for site, trail in client.twice:
            if site.key in ends and site.key not in seen:
                seen.add(site.key)
                facts = {"what": "the address that was unmapped before on this path"}
                steps = steps_of(trail, Trail(site.fn, site.call, "unmapped again", None))
                yield Defect("unmap-wrong-handle", site, facts, ends[site.key], trail=steps)
