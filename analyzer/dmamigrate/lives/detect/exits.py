# SPDX-License-Identifier: GPL-2.0-only
"""One mapping along the paths of the function that makes it: exits that skip its unmap, and unmaps that come twice there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from dmamigrate.findings import Skipped, Step
from dmamigrate.lives.detect.maptype import MapTypes
from dmamigrate.lives.module import Defect, Module
from dmamigrate.lives.pair import Life
from dmamigrate.lives.sites import Site
from dmamigrate.paths.explore import Explorer
from dmamigrate.paths.guards import bypasses, is_known
from dmamigrate.paths.places import Frame, below
from dmamigrate.paths.state import State, Trail
from dmamigrate.paths.steps import step
from dmamigrate.paths.values import NONZERO, ZERO, Flags, Value, constant
from dmamigrate.syntax.expr import Assign, Call, Expr, Member, Name, Unary, strip, walk
from dmamigrate.syntax.functions import Function
from dmamigrate.values.engine import Engine
from dmamigrate.values.probed import is_probe

RULES = ("mapping-leaked", "unmap-wrong-handle")
_LIVE, _ENDED, _HANDED = constant("mapped"), constant("unmapped"), constant("handed on")
_FAILED = constant("not mapped")
_CHECKED = constant("checked")
_KEY = "@mapping"
_TOLD = "@checked"
# The work goes on, and whoever ends it unmaps.
_UNDER_WAY = frozenset({"-EINPROGRESS", "-EIOCBQUEUED"})
# crypto/algapi.c: crypto_enqueue_request() says -EBUSY of what it queued, if the request allows that
_QUEUED, _MAY_QUEUE = "-EBUSY", b"CRYPTO_TFM_REQ_MAY_BACKLOG"
_ACTIONS = frozenset({"devm_add_action", "devm_add_action_or_reset", "drmm_add_action", "drmm_add_action_or_reset"})
# What puts an object where others find it, and what may be the last to let go of one.
_KEEPING = re.compile(
    r"(?:h?list|llist|rb|xa|idr|ida|radix_tree|rhashtable|hash|kfifo|skb|ptr_ring)_\w*(?:add|insert|store|alloc|link|put|in|queue)\w*"
)
_LETTING_GO = frozenset({"put_device", "kobject_put", "device_unregister", "kref_put", "drm_dev_put"})
# What is told the address and keeps none.
_TOLD_ONLY = re.compile(
    r"(?:write[bwlq]|iowrite(?:8|16|32|64)|__raw_write[bwlq])\w*|(?:upper|lower)_32_bits|cpu_to_[bl]e\d+|regmap_\w*write\w*"
)
# How many explorations' worth of nodes are walked for all mappings of one function.
_EXPLORATIONS = 6
_IF = re.compile(rb"^[ \t]*#[ \t]*if", re.MULTILINE)


@dataclass(frozen=True)
class _Exit:
    error: bool
    trail: Trail | None


@dataclass(frozen=True)
class _Walk:
    """What is followed: the mapping of a life, kept in `place`, past the functions that clean up.

    `probe` says that nobody cleans up after a failure; `through` are the functions between the one that is walked and the
    one that maps, both included. `past` has the branches that pass an unmap by, each with where it then goes on.
    """

    life: Life
    place: str
    cleaning: frozenset[str]
    probe: bool
    through: tuple[str, ...] = ()
    past: Mapping[int, frozenset[int]] = field(default_factory=dict)


class _Mappings(MapTypes):
    """Tells the paths apart on which a mapping failed."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._checks = frozenset(engine.api.named("check"))
        self.splits = MapTypes.splits | _ACTIONS | self._checks


class _Before(_Mappings):
    """Keeps what is known where a function maps, before it does."""

    def __init__(self, engine: Engine, nodes: Iterable[int]) -> None:
        super().__init__(engine)
        self.known: dict[int, list[State]] = {node: [] for node in nodes}

    def reached(self, frame: Frame, node: int, state: State) -> bool:
        if frame.parent is None and node in self.known:
            self.known[node].append(State(state.env))
        return True


class _Along(_Mappings):
    """Follows the mapping that one call makes and one place keeps."""

    def __init__(self, engine: Engine, walk: _Walk) -> None:
        super().__init__(engine)
        life, place, cleaning, probe, through = walk.life, walk.place, walk.cleaning, walk.probe, walk.through
        self._calls = engine.api.calls
        self.cleaning, self._probe = cleaning, probe
        if through:
            names = sorted({re.escape(name).encode() for name in (*through, *cleaning)})
            self.words = re.compile(rb"\b(?:" + b"|".join(names) + rb")\s*\(")
        self.leaks: list[_Exit] = []
        self.unmapped_on_error = False
        self.twice: list[tuple[Site, Trail | None]] = []
        self.never: list[tuple[Site, Trail | None]] = []
        self._site, self._place = life.map, place
        self._lent = place.startswith("*")
        self._mistaken = frozenset(site.key for site in life.mistaken)
        self.watched = place
        self._from_map = not through
        self._past = walk.past
        self._object = re.split(r"->|\.", place)[0] if "->" in place else ""
        self._released = _called_back(cleaning, life)
        self._by_helper: dict[str, bool] = {}

    def reached(self, frame: Frame, node: int, state: State) -> bool:
        """Nothing matters of a path that has lost the mapping; what leads to the map was walked before, for all maps at once."""
        maps = frame.parent is None and node == self._site.node
        return not self._from_map or maps or state.get(_KEY) is not None

    def called(self, frame: Frame, node: int, call: Call, state: State, values: tuple[Value, ...]) -> State:
        del values
        if call.start == self._site.call.start and frame.fn.source.path == self._site.fn.source.path:
            after = state.forget(lambda key, _: key == _TOLD).refine(_KEY, _LIVE)
            return State(after.env, Trail(frame.fn, call, "mapped here", None))
        api = self._calls.get(call.name)
        if api is not None and api.role == "unmap" and state.get(_KEY) is not None:
            site = Site(frame.fn, node, call, api)
            handle = site.argument("addr")
            if site.key in self._mistaken:
                return state.refine(_KEY, _ENDED)  # meant to, and reported for what it is
            if handle is not None and frame.place(handle) == self._place:
                if state.get(_KEY) == _FAILED:
                    if not self._asked_beside(state.trail):
                        self.never.append((site, state.trail))
                    return state.forget(lambda key, _: key == _KEY)
                if state.get(_KEY) == _ENDED:
                    self.twice.append((site, state.trail))
                after = state.refine(_KEY, _ENDED)
                return State(after.env, Trail(frame.fn, call, "unmapped here", after.trail))
        elif call.name in self.cleaning and state.get(_KEY) is not None:
            if state.get(_KEY) == _FAILED:
                return state.forget(lambda key, _: key == _KEY)  # how that decides is its own affair
            return state.refine(_KEY, _HANDED)
        elif state.get(_KEY) is not None:
            return self._kept_or_asked(frame, call, state)
        return state

    def undecided(self, frame: Frame, node: int, to: int, before: State, after: State) -> State:
        """Whether there is something to unmap is asked here, of what nothing is known any more: this path tells no answer."""
        passing = self._past.get(node) if frame.parent is None else None
        held = after.get(_KEY)
        if passing is None or held is None or (held == _LIVE) is not (to in passing):
            return after
        if is_known(frame, node, before, self._place):
            return after
        return after.forget(lambda key, _: key == _KEY)

    def _kept_or_asked(self, frame: Frame, call: Call, state: State) -> State:
        """What a call that neither maps nor unmaps means for the mapping: it may be somebody else's affair from here on."""
        lost = state.forget(lambda key, _: key == _KEY)
        if not call.name:
            return lost if self._hands_on(frame, call) else state
        if _names(call, self.cleaning):
            return lost  # called back, whenever that is
        if (call.name in _LETTING_GO and self._released) or self._helps(frame, call):
            return lost
        places = [frame.place(part) or "" for part in call.args]
        found = any(place == self._object or place.startswith(f"&{self._object}->") for place in places)
        kept = bool(self._object) and not self._probe and _KEEPING.fullmatch(call.name) is not None and found
        local = self._place[1:].isdigit() and call.name not in self._calls and _TOLD_ONLY.fullmatch(call.name) is None
        handed = local and any(self._is_named(frame, part) for part in call.args)
        return state.refine(_KEY, _HANDED) if kept or handed else state

    def _helps(self, frame: Frame, call: Call) -> bool:
        """Whether a function of the driver's own sees to the unmap later on, or asks whether the mapping failed."""
        if call.name not in self._by_helper:
            unit = self._engine.flow.unit(frame.fn)
            texts = [one.source.blanked[one.start : one.end] for one in self._engine.tree.functions(call.name, unit)]
            later = any(
                any(word.encode() in text for word in _ACTIONS) and any(name.encode() in text for name in self.cleaning)
                for text in texts
            )
            asks = any(name.encode() in text for text in texts for name in self._checks)
            self._by_helper[call.name] = later or (asks and self._place in map(frame.place, call.args))
        return self._by_helper[call.name]

    def _is_named(self, frame: Frame, expr: Expr) -> bool:
        """Whether a local handle stands in an expression."""
        return any(isinstance(part, Name) and frame.place(part) == self._place for part in walk(expr))

    def _asked_beside(self, trail: Trail | None) -> bool:
        """Whether a condition on the way asks a member beside the handle, which may tell what was mapped from what was not."""
        frame = Frame(self._site.fn)
        beside = self._place[: -len(re.split(r"->|\.", self._place)[-1])]
        return any(
            isinstance(part, Member)
            and (place := frame.place(part)) not in (None, self._place)
            and place.startswith(beside)
            for step in (trail if beside else None) or ()
            if step.fn is frame.fn
            for part in _outside_calls(step.expr)
        )

    def _hands_on(self, frame: Frame, call: Call) -> bool:
        """Whether an indirect call is handed what the handle is kept in."""
        places = [place.lstrip("&*") for argument in call.args if (place := frame.place(argument)) is not None]
        return any(self._place.startswith(place) for place in places)

    def stored(self, frame: Frame, node: int, store: Assign, state: State) -> State:
        del node
        makes = any(part is self._site.call for part in walk(store.parts[1]))
        if makes and frame.parent is not None:
            self._place = self.watched = frame.place(store.parts[0]) or self._place
        place = frame.place(store.parts[0])
        if not makes and place is not None and below(self._place, place) and state.get(_KEY) is not None:
            return state.forget(lambda key, _: key == _KEY)  # another handle, or another object that one is kept in
        if makes or state.get(_KEY) != _LIVE:
            return state
        kept = frame.place(store.parts[1])
        if self._lent and kept == self._place:
            return state.refine(_KEY, _HANDED)  # kept where others find it
        local = self._place[1:].isdigit()
        if local and place != self._place and self._is_named(frame, store.parts[1]):
            return state.refine(_KEY, _HANDED)
        if self._object and kept == self._object and place is not None and not self._probe and "->" in place:
            return state.refine(_KEY, _HANDED)  # the object is where others find it
        return state

    def assumed(self, frame: Frame, call: Call, truth: bool, state: State) -> State | None:
        if call.name in _ACTIONS and state.get(_KEY) is not None:
            action = _plain(call.args[1]) if len(call.args) > 1 else None
            if not truth:
                return state.forget(lambda key, _: key == _KEY)  # whatever is done with it is the action's affair
            if not isinstance(action, Name) or action.text not in self.cleaning:
                return state
            return state.refine(_KEY, _ENDED if call.name.endswith("_or_reset") else _LIVE)
        if call.name in self._checks and len(call.args) == 2 and frame.place(call.args[1]) == self._place:
            held = state.get(_KEY)
            if held == _FAILED:
                return state if truth else None
            if not truth:
                return state.refine(self._place, NONZERO).refine(_TOLD, _CHECKED)
            if held == _LIVE and state.get(_TOLD) == _CHECKED:
                return None  # it was asked before, and had not failed
            failed = state.refine(_KEY, _FAILED) if held == _LIVE else state.forget(lambda key, _: key == _KEY)
            return State(failed.env, Trail(frame.fn, call, "the mapping failed", failed.trail))
        return super().assumed(frame, call, truth, state)

    def left(self, frame: Frame, state: State, value: Value) -> None:
        error = is_error(frame, value)
        if state.get(_KEY) == _LIVE and state.get(self._place) != ZERO:  # no address is 0 by the driver's own book
            self.leaks.append(_Exit(error, state.trail))
        elif state.get(_KEY) in (_ENDED, _HANDED) and error:
            self.unmapped_on_error = True

    @property
    def answers_for_errors(self) -> bool:
        """Whether an error exit has to unmap: another one does, or nobody will after a probe that failed."""
        return self.unmapped_on_error or self._probe


def _plain(expr: Expr) -> Expr:
    """A function's name, which `&` in front of it is, too."""
    inner = strip(expr)
    return strip(inner.parts[0]) if isinstance(inner, Unary) and inner.op == "&" else inner


def _outside_calls(expr: Expr) -> Iterator[Expr]:
    """An expression and what is in it, but for calls, which ask something of their own."""
    if not isinstance(expr, Call):
        yield expr
        for part in expr.parts:
            yield from _outside_calls(part)


def is_error(frame: Frame, value: Value) -> bool:
    """Whether a function that returns this says that it failed."""
    kind = frame.fn.returns
    if not isinstance(value, Flags) or (kind.base == "void" and not kind.pointers):
        return False
    if value.on & _UNDER_WAY:
        return False
    if any(name.startswith("BLK_STS_") and name != "BLK_STS_OK" for name in value.on) or "NETDEV_TX_BUSY" in value.on:
        return True
    if _QUEUED in value.on and frame.fn.source.blanked.find(_MAY_QUEUE, frame.fn.start, frame.fn.end) >= 0:
        return False
    if value.negative:
        return True
    if kind.pointers or kind.base == "bool":
        return value.exact and not value.on
    return value.nonzero and not any(name.isdigit() for name in value.on)


def find(module: Module) -> Iterator[Defect | Skipped]:
    """The exits that skip an unmap, the probes that leave a mapping behind, and what is unmapped twice."""
    ways = _Ways(module)
    for life in module.pairs.lives:
        yield from _along(module, life, ways)
    for life in module.pairs.lives:
        yield from _probes(module, life)


class _Ways:
    """What leads to the maps of a function, walked once for all of them."""

    def __init__(self, module: Module) -> None:
        self._engine = module.engine
        self._maps: dict[Function, list[int]] = {}
        for life in module.pairs.lives:
            self._maps.setdefault(life.map.fn, []).append(life.map.node)
        self._known: dict[Function, dict[int, list[State]] | None] = {}
        self._left: dict[Function, int] = {}

    def to(self, site: Site) -> list[State] | None:
        """What may be known where `site` maps; None if the ways there are too many."""
        fn = site.fn
        if fn not in self._known:
            before = _Before(self._engine, self._maps[fn])
            explorer = Explorer(self._engine, before)
            explorer.explore(fn)
            self._known[fn] = before.known if explorer.complete else None
        known = self._known[fn]
        return None if known is None else known[site.node]

    def walk(self, client: _Along, site: Site) -> Skipped | None:
        """Follow the mapping that `site` makes on all paths behind it; what is said if there are too many."""
        fn, known = site.fn, self.to(site)
        left = self._left.setdefault(fn, self._engine.budget.steps * _EXPLORATIONS)
        many = "are too many to look for leaks on all; raise --effort"
        if left <= 0:
            where = f"{fn.source.path}:{fn.source.line(fn.start)}"
            return Skipped(where, f"the paths behind the {len(self._maps[fn])} mappings of {fn.name}() {many}")
        explorer = Explorer(self._engine, client, min(left, self._engine.budget.steps))
        if known is not None:
            explorer.explore(fn, site.node, known)
            self._left[fn] -= explorer.walked
        if known is not None and explorer.complete:
            return None
        return Skipped(site.where, f"the paths behind {site.call.name}() {many}")


def _along(module: Module, life: Life, ways: _Ways) -> Iterator[Defect | Skipped]:
    """The exits after a successful map that skip its unmap, and the unmaps of what is unmapped already."""
    fn = life.map.fn
    target = _kept_in(life.map)
    place = Frame(fn).place(target) if target is not None else None
    if target is None or place is None or "[" in place or not life.unmaps or fn.macro:
        return
    if _IF.search(fn.source.blanked, fn.start, fn.end):
        return  # which arms of two #if go together is not known
    cleaning = _cleaning(module, life)
    if _action_before(life, cleaning):
        return  # an error exit has it unmapped, whatever comes first
    ends = _ending(fn, life, cleaning)
    client = _Along(module.engine, _Walk(life, place, cleaning, is_probe(fn), (), bypasses(fn, ends)))
    if (many := ways.walk(client, life.map)) is not None:
        yield many
        return
    for site, trail in client.never:
        facts = {"what": f"DMA_MAPPING_ERROR: it is also reached where the mapping at {life.map.where} failed"}
        yield Defect(
            "unmap-wrong-handle", site, facts, life, trail=steps_of(trail, Trail(site.fn, site.call, "unmapped", None))
        )
    for site, trail in client.twice:
        facts = {"what": f"the address that was unmapped before; mapped at {life.map.where}"}
        steps = steps_of(trail, Trail(site.fn, site.call, "unmapped again", None))
        yield Defect("unmap-wrong-handle", site, facts, life, trail=steps)
    leak = _leak(module, client, target, life)
    if leak is not None and not _unmaps_in_loop(life, client.cleaning):
        facts = {"what": "an exit after this map skips its unmap"}
        yield Defect("mapping-leaked", life.map, facts, life, trail=steps_of(leak.trail, None))


def _ending(fn: Function, life: Life, cleaning: frozenset[str]) -> frozenset[int]:
    """The nodes of a function that unmap, or call what does."""
    ended = {end.key for end in life.ends}
    return frozenset(node for node, call in fn.calls if call.name in cleaning or (fn.source.path, call.start) in ended)


def _action_before(life: Life, cleaning: frozenset[str]) -> bool:
    """Whether an action that unmaps was added before there was a mapping."""
    fn = life.map.fn
    added = [node for node, call in fn.calls if call.name in _ACTIONS and _names(call, cleaning)]
    return any(life.map.node in _after(fn, node) for node in added)


def _names(call: Call, names: frozenset[str]) -> bool:
    return any(isinstance(one := _plain(part), Name) and one.text in names for part in call.args)


def _after(fn: Function, node: int) -> set[int]:
    """The nodes that control may reach from one."""
    seen: set[int] = set()
    queue = [edge.to for edge in fn.nodes[node].edges]
    while queue:
        at = queue.pop()
        if at not in seen:
            seen.add(at)
            queue += [edge.to for edge in fn.nodes[at].edges]
    return seen


def _unmaps_in_loop(life: Life, cleaning: frozenset[str]) -> bool:
    """Whether the function that maps unmaps in a loop: that the loop runs at all, no path tells."""
    fn, ended = life.map.fn, {end.key for end in life.ends}
    return any(
        (call.name in cleaning or (fn.source.path, call.start) in ended) and _in_loop(fn, node)
        for node, call in fn.calls
    )


def _probes(module: Module, life: Life) -> Iterator[Defect]:
    """The mappings that a probe() leaves behind when it fails later on: then nothing calls what unmaps them."""
    target = _kept_in(life.map)
    place = Frame(life.map.fn).place(target) if target is not None else None
    if place is None or "[" in place or not life.unmaps or not life.checks or life.map.fn.macro:
        return
    for chain in _chains(module, life.map.fn):
        fns = (*chain, life.map.fn)
        cleaning = _cleaning(module, life) - {fn.name for fn in fns}
        if any(_IF.search(fn.source.blanked, fn.start, fn.end) for fn in fns) or _called_back(cleaning, life):
            continue
        if any(call.name in cleaning and _in_loop(fn, node) for fn in fns for node, call in fn.calls):
            continue  # that the loop runs at all, no path tells
        past = bypasses(chain[0], _ending(chain[0], life, cleaning))
        client = _Along(module.engine, _Walk(life, place, cleaning, True, tuple(fn.name for fn in fns), past))
        Explorer(module.engine, client).explore(chain[0])
        leaks = [one for one in client.leaks if one.error]
        leak = min(leaks, key=lambda one: len(list(one.trail or ())), default=None)
        if leak is not None:
            what = f"where {chain[0].name}() fails after this map, nothing unmaps it"
            yield Defect("mapping-leaked", life.map, {"what": what}, life, trail=steps_of(leak.trail, None))
            return


def _in_loop(fn: Function, node: int) -> bool:
    """Whether what stands at `node` may be run again."""
    return node in _after(fn, node)


def _chains(module: Module, fn: Function, levels: int = 3) -> Iterator[tuple[Function, ...]]:
    """The ways from a probe() down to `fn`, which is not part of them, where each function on the way has one caller."""
    callers = {(one.fn.source.path, one.fn.start): one.fn for one in module.engine.stores.callers(fn)[0]}
    if len(callers) != 1 or not levels:
        return
    above = next(iter(callers.values()))
    if above is fn or above.macro:
        return
    if is_probe(above):
        yield (above,)
    else:
        yield from ((*chain, above) for chain in _chains(module, above, levels - 1))


def _called_back(names: Iterable[str], life: Life) -> bool:
    """Whether one of these functions is handed to somebody who calls it when an object dies, whatever probe() returned."""
    pattern = re.compile(
        rb"(?:\.\s*release\s*=\s*&?|[(,]\s*&?)(?:"
        + b"|".join(re.escape(name.encode()) for name in names)
        + rb")\s*[,)}]"
    )
    sources = {site.fn.source.path: site.fn.source for site in (life.map, *life.ends)}
    return bool(list(names)) and any(pattern.search(source.blanked) for source in sources.values())


def _leak(module: Module, client: _Along, target: Expr, life: Life) -> _Exit | None:
    """The shortest exit that leaks; for what outlives the function, one with an error beside another that does unmap."""
    if isinstance(target, Name):
        if target.variable < 0 or _is_returned(life.map.fn, target):
            return None
        exits = client.leaks
    elif client.answers_for_errors or (isinstance(target, Unary) and not _caller_ends(module, life)):
        exits = [one for one in client.leaks if one.error]
    else:
        return None
    return min(exits, key=lambda one: len(list(one.trail or ())), default=None)


def _caller_ends(module: Module, life: Life) -> bool:
    """Whether some caller of the function that maps, which is left the handle, unmaps it or calls what does."""
    ending = {end.fn.name for end in life.ends} | _cleaning(module, life)
    return any(caller.fn.name in ending for caller in module.engine.stores.callers(life.map.fn)[0])


def _cleaning(module: Module, life: Life) -> frozenset[str]:
    """The functions that unmap this mapping, and who calls those: how they decide is their own affair."""
    enders = [end.fn for end in life.ends if end.fn is not life.map.fn]
    names = {fn.name for fn in enders}
    for _ in range(2):
        enders = [
            caller.fn for fn in enders for caller in module.engine.stores.callers(fn)[0] if caller.fn.name not in names
        ]
        names |= {fn.name for fn in enders}
    return frozenset(names - {life.map.fn.name})


def _is_returned(fn: Function, variable: Name) -> bool:
    """Whether a function returns what stands in a local."""
    return any(
        isinstance(part, Name) and part.variable == variable.variable
        for node in fn.nodes
        if node.kind == "return" and node.expr is not None
        for part in walk(node.expr)
    )


def _kept_in(site: Site) -> Expr | None:
    """The one place that the handle is put into; None where it is put into two at once, of which either may be unmapped."""
    expr = site.fn.nodes[site.node].expr
    if isinstance(expr, Assign) and isinstance(strip(expr.parts[1]), Assign):
        return None
    for part in walk(expr) if expr is not None else ():
        if isinstance(part, Assign) and part.op == "=" and strip(part.parts[1]) == site.call:
            target = strip(part.parts[0])
            lent = isinstance(target, Unary) and target.op == "*" and isinstance(strip(target.parts[0]), Name)
            return target if isinstance(target, Name | Member) or lent else None
    return None


def steps_of(trail: Trail | None, last: Trail | None) -> tuple[Step, ...]:
    """The decisions on a way, and the call that ends it, as steps of a report."""
    return tuple(step(one) for one in (*(trail or ()), *((last,) if last else ())))
