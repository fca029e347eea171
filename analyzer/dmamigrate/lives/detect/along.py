# SPDX-License-Identifier: GPL-2.0-only
"""One mapping along one path: when it is live, when it has ended, and when it is somebody else's affair."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from dmamigrate.lives.detect.maptype import MapTypes
from dmamigrate.lives.pair import Life
from dmamigrate.lives.sites import Site
from dmamigrate.paths.guards import is_known
from dmamigrate.paths.places import Frame, below, enter
from dmamigrate.paths.state import State, Trail
from dmamigrate.paths.values import NONZERO, ZERO, Flags, Value, constant
from dmamigrate.syntax.expr import Assign, Call, Expr, Member, Name, Unary, strip, walk
from dmamigrate.values.engine import Engine

_LIVE, _ENDED, _HANDED = constant("mapped"), constant("unmapped"), constant("handed on")
_FAILED = constant("not mapped")
_CHECKED = constant("checked")
# include/linux/dma-mapping.h: what a map returns that failed, and no other does
_NO_ADDRESS = constant("DMA_MAPPING_ERROR", nonzero=True)
_ADDRESS = replace(NONZERO, never=_NO_ADDRESS.on)
_KEY = "@mapping"
_UNWOUND, _COPIED = "@unwound", "@copied"
_TOLD = "@checked"
# The work goes on, and whoever ends it unmaps.
_UNDER_WAY = frozenset({"-EINPROGRESS", "-EIOCBQUEUED"})
# crypto/algapi.c: crypto_enqueue_request() says -EBUSY of what it queued, if the request allows that
_QUEUED, _MAY_QUEUE = "-EBUSY", b"CRYPTO_TFM_REQ_MAY_BACKLOG"
ACTIONS = frozenset({"devm_add_action", "devm_add_action_or_reset", "drmm_add_action", "drmm_add_action_or_reset"})
# What puts an object where others find it, and what may be the last to let go of one.
_KEEPING = re.compile(
    r"(?:h?list|llist|rb|xa|idr|ida|radix_tree|rhashtable|hash|kfifo|skb|ptr_ring)_\w*(?:add|insert|store|alloc|link"
    r"|put|in|queue)\w*"
)
_FREEING = frozenset({"kfree", "kvfree", "kfree_sensitive", "devm_kfree", "kmem_cache_free"})
_LETTING_GO = frozenset({"put_device", "kobject_put", "device_unregister", "kref_put", "drm_dev_put"})
# What is told the address and keeps none.
TOLD_ONLY = re.compile(
    r"(?:write[bwlq]|iowrite(?:8|16|32|64)|__raw_write[bwlq])\w*|(?:upper|lower)_32_bits|cpu_to_[bl]e\d+"
    r"|regmap_\w*write\w*"
)


@dataclass(frozen=True)
class Exit:
    """A way out of the function with the mapping still live, and whether it says that it failed.

    `unwound` tells that it unmaps what was mapped before, or loses the only copy of the handle: it is meant to clean
    up.
    """

    error: bool
    trail: Trail | None
    unwound: bool


@dataclass(frozen=True)
class Walk:
    """What is followed: the mapping of a life, kept in `place`, past the functions that clean up.

    `probe` says that nobody cleans up after a failure; `through` are the functions between the one that is walked and
    the one that maps, both included. `past` has the branches that pass an unmap by, each with where it then goes on,
    `siblings` the places of the other handles that the function makes.
    """

    life: Life
    place: str
    cleaning: frozenset[str]
    probe: bool
    through: tuple[str, ...] = ()
    past: Mapping[int, frozenset[int]] = field(default_factory=dict)
    siblings: frozenset[str] = frozenset()


class _Mappings(MapTypes):
    """Tells the paths apart on which a mapping failed."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._checks = frozenset(engine.api.named("check"))
        self.splits = MapTypes.splits | ACTIONS | self._checks


class Before(_Mappings):
    """Keeps what is known where a function maps, before it does."""

    def __init__(self, engine: Engine, nodes: Iterable[int]) -> None:
        super().__init__(engine)
        self.known: dict[int, list[State]] = {node: [] for node in nodes}

    def reached(self, frame: Frame, node: int, state: State) -> bool:
        """Keeps what is known at a node with a map."""
        if frame.parent is None and node in self.known:
            self.known[node].append(State(state.env))
        return True


class Along(_Mappings):
    """Follows the mapping that one call makes and one place keeps."""

    def __init__(self, engine: Engine, walk: Walk) -> None:
        super().__init__(engine)
        life, place, cleaning, probe, through = walk.life, walk.place, walk.cleaning, walk.probe, walk.through
        self._calls = engine.api.calls
        self.cleaning, self._probe = cleaning, probe
        if through:
            names = sorted({re.escape(name).encode() for name in (*through, *cleaning)})
            self.words = re.compile(rb"\b(?:" + b"|".join(names) + rb")\s*\(")
        self.leaks: list[Exit] = []
        self.unmapped_on_error = False
        # a mapping that failed is answered with what is no error elsewhere: NULL, or false, may be the good answer then
        self.answers_otherwise = False
        self.twice: list[tuple[Site, Trail | None]] = []
        self.never: list[tuple[Site, Trail | None]] = []
        self._site, self._place = life.map, place
        self._lent = place.startswith("*")
        self._mistaken = frozenset(site.key for site in life.mistaken)
        self.watched = place
        self._from_map, self._through = not through, through
        self._past, self._siblings = walk.past, walk.siblings
        self._object = re.split(r"->|\.", place)[0] if "->" in place else ""
        self._life = life
        self._by_helper: dict[str, tuple[bool, bool]] = {}

    def reached(self, frame: Frame, node: int, state: State) -> bool:
        """Nothing matters of a path that has lost the mapping; what leads to the map was walked before, for all maps at
        once.
        """
        maps = frame.parent is None and node == self._site.node
        return not self._from_map or maps or state.get(_KEY) is not None

    def called(self, frame: Frame, node: int, call: Call, state: State, values: tuple[Value, ...]) -> State:
        """What a call does to the mapping."""
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
                return self._ended(site, Trail(frame.fn, call, "unmapped here", state.trail), state)
            if handle is not None and frame.place(handle) in self._siblings:
                return state.refine(_UNWOUND, _ENDED)
        elif call.name in self.cleaning and state.get(_KEY) is not None:
            if (by := self._ended_by(frame, node, call)) is not None:
                return self._ended(by, Trail(frame.fn, call, "unmapped by this", state.trail), state)
            if state.get(_KEY) == _FAILED:
                return state.forget(lambda key, _: key == _KEY)  # how that decides is its own affair
            return state.refine(_KEY, _HANDED)
        elif state.get(_KEY) is not None:
            return self._kept_or_asked(frame, call, state)
        return state

    def _ended(self, site: Site, trail: Trail, state: State) -> State:
        """The mapping is unmapped by `site`, which is wrong if it failed, or was before."""
        if state.get(_KEY) == _FAILED:
            if not self._asked_beside(state.trail):
                self.never.append((site, state.trail))
            return state.forget(lambda key, _: key == _KEY)
        if state.get(_KEY) == _ENDED:
            self.twice.append((site, state.trail))
        return State(state.refine(_KEY, _ENDED).env, trail)

    def _ended_by(self, frame: Frame, node: int, call: Call) -> Site | None:
        """The unmap of this mapping in a callee that comes to it whatever happens; None for any other callee."""
        found = self._engine.tree.functions(call.name, self._engine.flow.unit(frame.fn))
        if len(found) != 1 or found[0].macro or any(one.kind == "branch" for one in found[0].nodes):
            return None
        inner = enter(found[0], frame, node, call)
        for index, one in found[0].calls:
            api = self._calls.get(one.name)
            site = Site(found[0], index, one, api) if api is not None and api.role == "unmap" else None
            handle = site.argument("addr") if site is not None else None
            if handle is not None and inner.place(handle) == self._place:
                return site
        return None

    def undecided(self, frame: Frame, node: int, to: int, before: State, after: State) -> State:
        """Whether there is something to unmap is asked here, of what nothing is known any more: this path tells no
        answer.
        """
        passing = self._past.get(node) if frame.parent is None else None
        held = after.get(_KEY)
        if passing is None or held is None or (held == _LIVE) is not (to in passing):
            return after
        if is_known(frame, node, before, self._place):
            return after
        return after.forget(lambda key, _: key == _KEY)

    def _kept_or_asked(self, frame: Frame, call: Call, state: State) -> State:
        """What a call that neither maps nor unmaps means for the mapping: it may be somebody else's affair from here
        on.
        """
        lost = state.forget(lambda key, _: key == _KEY)
        if not call.name:
            return lost if self._hands_on(frame, call) else state
        if names(call, self.cleaning):
            return lost  # called back, whenever that is
        if (call.name in _LETTING_GO and called_back(self.cleaning, self._life)) or self._helps(frame, call):
            return lost
        places = [frame.place(part) or "" for part in call.args]
        if call.name in _FREEING and self._object in places and state.get(_KEY) == _LIVE:
            if state.get(_COPIED) is None:
                freed = Trail(frame.fn, call, "the only copy of the handle is freed", state.trail)
                self.leaks.append(Exit(True, freed, True))
            return lost
        found = any(place == self._object or place.startswith(f"&{self._object}->") for place in places)
        kept = bool(self._object) and not self._probe and _KEEPING.fullmatch(call.name) is not None and found
        told = call.name not in self._calls and TOLD_ONLY.fullmatch(call.name) is None
        named = told and any(self._is_named(frame, part) for part in call.args)
        if kept or (named and self._is_local):
            return state.refine(_KEY, _HANDED)
        return state.refine(_COPIED, _HANDED) if named else state

    def _helps(self, frame: Frame, call: Call) -> bool:
        """Whether a function of the driver's own sees to the unmap later on, or asks whether the mapping failed."""
        if call.name not in self._by_helper:
            unit = self._engine.flow.unit(frame.fn)
            texts = [one.source.blanked[one.start : one.end] for one in self._engine.tree.functions(call.name, unit)]
            later = any(
                any(word.encode() in text for word in ACTIONS) and any(name.encode() in text for name in self.cleaning)
                for text in texts
            )
            asks = any(name.encode() in text for text in texts for name in self._checks)
            self._by_helper[call.name] = later, asks
        later, asks = self._by_helper[call.name]
        return later or (asks and self._place in map(frame.place, call.args))

    @property
    def _is_local(self) -> bool:
        return self._place[1:].isdigit()

    def _is_named(self, frame: Frame, expr: Expr) -> bool:
        """Whether the handle stands in an expression."""
        return any(isinstance(part, Name | Member) and frame.place(part) == self._place for part in walk(expr))

    def _asked_beside(self, trail: Trail | None) -> bool:
        """Whether a condition on the way asks a member beside the handle, which may tell what was mapped from what was
        not.
        """
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
        """What a store does to where the handle is kept."""
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
        given = strip(store.parts[1])
        if isinstance(given, Call) and given.name in self._through:
            return state  # what maps is asked for it, and left it behind the pointer that it was handed
        if place != self._place and self._is_named(frame, store.parts[1]):
            return state.refine(_KEY if self._is_local else _COPIED, _HANDED)
        if self._object and kept == self._object and place is not None and not self._probe and "->" in place:
            return state.refine(_KEY, _HANDED)  # the object is where others find it
        return state

    def assumed(self, frame: Frame, call: Call, truth: bool, state: State) -> State | None:
        """What a check, or the answer of what adds an action, says of the mapping."""
        if call.name in ACTIONS and state.get(_KEY) is not None:
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
                return state.refine(self._place, _ADDRESS).refine(_TOLD, _CHECKED)
            if held == _LIVE and state.get(_TOLD) == _CHECKED:
                return None  # it was asked before, and had not failed
            failed = state.forget(lambda key, _: key == _KEY)
            if held == _LIVE:
                failed = state.refine(_KEY, _FAILED).refine(self._place, _NO_ADDRESS)
            return State(failed.env, Trail(frame.fn, call, "the mapping failed", failed.trail))
        return super().assumed(frame, call, truth, state)

    def left(self, frame: Frame, state: State, value: Value) -> None:
        """Whether the mapping is still live where the function ends."""
        error = is_error(frame, value)
        if state.get(_KEY) == _FAILED and not error and (frame.fn.returns.pointers or frame.fn.returns.base == "bool"):
            self.answers_otherwise = True
        if state.get(_KEY) == _LIVE and state.get(self._place) != ZERO:  # no address is 0 by the driver's own book
            self.leaks.append(Exit(error, state.trail, state.get(_UNWOUND) is not None))
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


def names(call: Call, functions: frozenset[str]) -> bool:
    """Whether a call is handed one of some functions by its name."""
    return any(isinstance(one := _plain(part), Name) and one.text in functions for part in call.args)


def called_back(names: Iterable[str], life: Life) -> bool:
    """Whether one of these functions is handed to somebody who calls it when an object dies, whatever probe()
    returned.
    """
    pattern = re.compile(
        rb"(?:\.\s*release\s*=\s*&?|[(,]\s*&?)(?:"
        + b"|".join(re.escape(name.encode()) for name in names)
        + rb")\s*[,)}]"
    )
    sources = {site.fn.source.path: site.fn.source for site in (life.map, *life.ends)}
    return bool(list(names)) and any(pattern.search(source.blanked) for source in sources.values())
