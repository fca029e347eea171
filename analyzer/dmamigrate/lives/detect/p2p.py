# SPDX-License-Identifier: GPL-2.0-only
"""P2P transfers: whether each path maps, links and unmaps as the map type that the P2P code answered demands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from dmamigrate.api import ApiCall
from dmamigrate.findings import Kind, Step
from dmamigrate.lives.detect.maptype import ASKS, BUS, CARRIED, NONE, THRU, WORDS, MapTypes
from dmamigrate.lives.module import Defect, Module
from dmamigrate.lives.sites import Site
from dmamigrate.paths.explore import Explorer
from dmamigrate.paths.places import Frame, assigned, below, sources
from dmamigrate.paths.state import Client, State, Trail
from dmamigrate.paths.steps import step
from dmamigrate.paths.values import ZERO, Choice, Flags, Same, Value, constant
from dmamigrate.syntax.expr import Assign, Call, Name, path_of, strip, walk
from dmamigrate.syntax.functions import Function
from dmamigrate.syntax.unit import Unit
from dmamigrate.values.engine import Engine

RULES = ("p2p-missing-mmio", "p2p-bus-address-mapped", "mmio-on-ram")
_MMIO = "DMA_ATTR_MMIO"
_KNOWS = re.compile(rb"\b(?:" + b"|".join(word.encode() for word in WORDS) + rb")\b")
_ASKS = re.compile(rb"\b(?:" + b"|".join(word.encode() for word in ASKS) + rb")\s*\(")
_FLAG = re.compile(r"(?!DMA_ATTR_)[A-Z][A-Z0-9_]+")
_WHOLE = re.compile(r"(?:\d+:)?#?\w+")


@dataclass(frozen=True)
class Seen:
    """A mapping call as one path reaches it: its attributes, and the map types possible there by the place they are
    kept in.
    """

    frame: Frame
    node: int
    call: Call
    api: ApiCall
    attrs: Value
    kinds: tuple[tuple[str, Choice], ...]
    trail: Trail | None


class _Watch(MapTypes):
    """Collects what reaches the mapping calls."""

    def __init__(self, engine: Engine, sinks: frozenset[str], carriers: Mapping[str, str] | None = None) -> None:
        super().__init__(engine, carriers)
        named = b"|".join(re.escape(name.encode()) for name in sorted({*sinks, *WORDS, _MMIO}))
        self.words = re.compile(rb"\b(?:" + named + rb"|p2pdma\s*(?:\.|->)\s*map|enum pci_p2pdma_map_type)\b")
        self.seen: list[Seen] = []
        self._sinks = sinks
        self._calls = engine.api.calls
        # the map types that are known where a flag is set in what is kept
        self.set_under: dict[str, set[str]] = {}

    def stored(self, frame: Frame, node: int, store: Assign, state: State) -> State:
        del node
        if store.op == "|=" and not isinstance(strip(store.parts[0]), Name):
            kinds = [value.may for value in state.env.values() if isinstance(value, Choice)]
            decided = {kind for may in kinds if len(may) == 1 for kind in may}
            for part in walk(store.parts[1]):
                if isinstance(part, Name) and part.variable < 0 and _FLAG.fullmatch(part.text):
                    self.set_under.setdefault(part.text, set()).update(decided if len(decided) == 1 else {""})
        return state

    def called(self, frame: Frame, node: int, call: Call, state: State, values: tuple[Value, ...]) -> State:
        if call.name not in self._sinks:
            return state
        api = self._calls[call.name]
        position = api.position("attrs")
        attrs: Value = values[position] if 0 <= position < len(values) else ZERO
        if isinstance(attrs, Same):
            attrs = state.get(attrs.place) or attrs
        if isinstance(attrs, Flags):
            for implied in sorted(api.implies):
                attrs = attrs.union(constant(implied, True))
        kinds = tuple(sorted((key, value) for key, value in state.env.items() if isinstance(value, Choice)))
        self.seen.append(Seen(frame, node, call, api, attrs, kinds, state.trail))
        return state


def _functions_with(unit: Unit, pattern: re.Pattern[bytes]) -> dict[int, Function]:
    return {fn.start: fn for fn in unit.functions_with(pattern)}


def _roots(explorer: Explorer, unit: Unit, maps: re.Pattern[bytes]) -> list[Function]:
    """The functions of one file that know of map types and map; of one that knows only, those that ask it."""
    knowing = _functions_with(unit, _KNOWS)
    roots = {at: fn for at, fn in knowing.items() if explorer.callees.reaches(fn, maps)}
    helpers = [re.escape(fn.name.encode()) for at, fn in knowing.items() if at not in roots]
    if helpers:
        asking = _functions_with(unit, re.compile(rb"\b(?:" + b"|".join(helpers) + rb")\s*\("))
        roots |= {at: fn for at, fn in asking.items() if explorer.callees.reaches(fn, maps)}
    # a static function is walked where it is called: there more is known
    called = {call.name for fn in roots.values() for _, call in fn.calls}
    inner = {at: fn for at, fn in roots.items() if fn.static and fn.name in called}
    if inner:
        names = b"|".join(sorted(re.escape(fn.name.encode()) for fn in inner.values()))
        roots |= _functions_with(unit, re.compile(rb"\b(?:" + names + rb")\s*\("))
    return [roots[at] for at in sorted(roots.keys() - inner.keys())]


def find(module: Module) -> Iterator[Defect]:
    """The faults of the module's files, each once, by the shortest path that shows it."""
    engine, files = module.engine, frozenset(module.files)
    units = [unit for path in sorted(files) if (unit := engine.tree.unit(path)) is not None]
    knowing = [unit for unit in units if any(word.encode() in unit.source.data for word in WORDS)]
    if not knowing:
        return
    sinks = frozenset((*engine.api.named("map"), *engine.api.named("unmap")))
    maps = re.compile(rb"\b(?:" + b"|".join(name.encode() for name in sorted(sinks)) + rb")\s*\(")
    explorer = Explorer(engine, Client())
    roots = [fn for unit in knowing for fn in _roots(explorer, unit, maps)]
    watches = [_walked(engine, _Watch(engine, sinks), fn) for fn in roots]
    carriers = _carriers(watches)
    if carriers:
        flags = re.compile(rb"\b(?:" + b"|".join(sorted(flag.encode() for flag in carriers)) + rb")\b")
        found = [
            fn for unit in knowing for fn in _functions_with(unit, flags).values() if explorer.callees.reaches(fn, maps)
        ]
        # who asks knows better than what an earlier call left in the flags
        testing = [fn for fn in found if _ASKS.search(fn.source.blanked, fn.start, fn.end) is None]
        watches += [_walked(engine, _Watch(engine, sinks, carriers), fn) for fn in testing]
    best: dict[tuple[str, str, int], Defect] = {}
    for seen in (seen for watch in watches for seen in watch.seen):
        for fault in _judged(engine, seen, files):
            key = (fault.rule, *fault.site.key)
            if key not in best or len(fault.trail) < len(best[key].trail):
                best[key] = fault
    through = _only_through(engine, [seen for watch in watches for seen in watch.seen], files)
    for key in sorted(best):
        one = best[key]
        yield replace(one, facts=one.facts | {"only": THRU}) if one.site.key in through else one


def _only_through(engine: Engine, several: Iterable[Seen], files: frozenset[str]) -> set[tuple[str, int]]:
    """The calls that every path reaches with the one answer that the transfer goes through the host bridge.

    In a callee that has to be so for each of its callers, and all of them have to be in sight.
    """
    sure: dict[tuple[str, int], bool] = {}
    by: dict[tuple[str, int], tuple[Function, set[tuple[str, int]]]] = {}
    for seen in several:
        frame, _, call, _ = _at_fault(seen, files)
        key = frame.fn.source.path, call.start
        only = any(kind.may == {THRU} and kind.asked for _, kind in seen.kinds)
        if frame.parent is not None and frame.call is not None:
            by.setdefault(key, (frame.fn, set()))[1].add((frame.parent.fn.source.path, frame.call.start))
        sure[key] = sure.get(key, True) and only
    for key, (fn, seen_from) in by.items():
        callers, complete, _ = engine.stores.callers(fn)
        known = {(one.fn.source.path, one.call.start) for one in callers}
        sure[key] = sure[key] and fn.static and complete and known <= seen_from
    return {key for key, only in sure.items() if only}


def _walked(engine: Engine, watch: _Watch, fn: Function) -> _Watch:
    Explorer(engine, watch).explore(fn)
    return watch


def _carriers(watches: Iterable[_Watch]) -> dict[str, str]:
    """The flags that are set under one map type only: whoever finds one set later knows the type."""
    found: dict[str, set[str]] = {}
    for watch in watches:
        for flag, kinds in watch.set_under.items():
            found.setdefault(flag, set()).update(kinds)
    return {flag: min(kinds) for flag, kinds in sorted(found.items()) if len(kinds) == 1 and kinds != {""}}


def _judged(engine: Engine, seen: Seen, files: frozenset[str]) -> Iterator[Defect]:
    given = seen.attrs.has(_MMIO) if isinstance(seen.attrs, Flags) else None
    frame, node, call, position = _at_fault(seen, files)
    for place, kind in seen.kinds:
        # whoever maps by a type that was kept has to ask for each: nothing before this call did
        if kind.may == {BUS} or (kind.kept and seen.api.role == "map" and {BUS, NONE} <= kind.may and given is False):
            rule = "p2p-bus-address-mapped"
        elif THRU in kind.may and given is False:
            rule = "p2p-missing-mmio"
        elif kind.asked and NONE in kind.may and given is True:
            rule = "mmio-on-ram"
        else:
            continue
        if _concerns(engine, place, kind, (seen, frame.depth)):
            site = Site(frame.fn, node, call, seen.api)
            here = _named_here(place, frame)
            facts = {"callee": call.name, "attrs": str(position)} | ({"type": here} if here else {})
            yield Defect(rule, site, facts, trail=_path(seen, frame))


def _named_here(place: str, frame: Frame) -> str:
    """The place that the map type is kept in as the function itself can name it, "" if it cannot."""
    if "@" in place or "[" in place:
        return ""
    if re.match(rf"{frame.prefix}#\d", place) is not None:
        return place.removeprefix(frame.prefix)
    for variable, outer in sorted(frame.bound.items()):
        if outer.startswith("&") and place.startswith(f"{outer[1:]}."):
            return f"#{variable}->{place[len(outer) :]}"
        if place.startswith(f"{outer}->"):
            return f"#{variable}{place[len(outer) :]}"
    return ""


def _at_fault(seen: Seen, files: frozenset[str]) -> tuple[Frame, int, Call, int]:
    """The call to report, and which of its arguments (from 0, or -1) are the attributes.

    A wrapper that hands its attributes on is not at fault, who called it is.
    """
    frame: Frame = seen.frame
    node = seen.node
    call: Call = seen.call
    position = seen.api.position("attrs")
    while frame.parent is not None and frame.call is not None:
        argument = strip(call.args[position]) if 0 <= position < len(call.args) else None
        handed = isinstance(argument, Name) and argument.variable >= 0 and argument.variable not in assigned(frame.fn)
        variable = frame.fn.variables[argument.variable] if handed and isinstance(argument, Name) else None
        if frame.fn.source.path in files and not frame.fn.macro and (variable is None or variable.position < 0):
            break
        position = variable.position if variable is not None else -1
        node, call, frame = frame.node, frame.call, frame.parent
    return frame, node, call, position


def _concerns(engine: Engine, place: str, kind: Choice, at: tuple[Seen, int]) -> bool:
    """Whether the map type kept in `place` is that of what the call maps.

    `at` is what was seen and the depth of the frame that is reported. It is that if the address is computed from what
    was asked about. Where that is not known, the type counts in the function that holds it, and in callees that it was
    handed on to.
    """
    seen, reported = at
    if place == CARRIED:
        return seen.api.family in ("phys", "iova") and seen.api.role == "unmap"
    mapped = _mapped(engine, seen)
    if kind.subject and mapped:
        return bool(kind.subject & mapped)
    if _is_ram(engine, seen):
        return False
    owner = int(place.partition(":")[0]) if place[:1].isdigit() else 0
    chain: list[Frame] = [seen.frame]
    while chain[0].parent is not None:
        chain.insert(0, chain[0].parent)
    if reported > owner:
        root = _WHOLE.match(place)
        handed = [
            [b for b in one.bound.values() if root is not None and below(b.lstrip("&*"), root[0])]
            for one in chain[owner + 1 : reported + 1]
        ]
        return all(handed)
    return seen.api.family not in ("page", "single") or seen.api.role == "unmap"


def _is_ram(engine: Engine, seen: Seen) -> bool:
    """Whether a call surely maps system memory, whatever was asked of some page before."""
    site = Site(seen.frame.fn, seen.node, seen.call, seen.api)
    address = next((a for role in ("phys", "page", "ptr") if (a := site.argument(role)) is not None), None)
    origin = engine.origins.of(site.use(address)) if address is not None and not seen.frame.fn.macro else None
    return origin is not None and origin.certain and origin.kinds == (Kind.RAM,)


def _mapped(engine: Engine, seen: Seen) -> frozenset[str]:
    """The places that the mapped address is computed from; for an unmap, that of the map whose handle it is given, if
    it is near.
    """
    site = Site(seen.frame.fn, seen.node, seen.call, seen.api)
    for role in ("phys", "page", "ptr"):
        if (address := site.argument(role)) is not None:
            return sources(seen.frame, address)
    handle = site.argument("addr")
    path = path_of(handle) if handle is not None else None
    for node in seen.frame.fn.nodes if path is not None else ():
        for store in walk(node.expr) if node.expr is not None else ():
            made = strip(store.parts[1]) if isinstance(store, Assign) and path_of(store.parts[0]) == path else None
            api = engine.api.calls.get(made.name) if isinstance(made, Call) else None
            if isinstance(made, Call) and api is not None and api.role == "map":
                return _mapped(engine, Seen(seen.frame, seen.node, made, api, seen.attrs, (), None))
    return frozenset()


def _path(seen: Seen, reported: Frame) -> tuple[Step, ...]:
    """The decisions on the way, those of other functions left out unless they are about the map type."""
    shown = {reported.fn, seen.frame.fn}
    steps = [step(one) for one in seen.trail or () if one.fn in shown or "map type" in one.note]
    last = Trail(seen.frame.fn, seen.call, f"{seen.call.name}() is reached", None)
    return (*steps, step(last))
