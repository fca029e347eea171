# SPDX-License-Identifier: GPL-2.0-only
"""One point of one path: what is known there, how it was reached, and who is told."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from dmamigrate.paths.places import Frame, behind, below
from dmamigrate.paths.values import UNKNOWN, ZERO, Choice, Env, Flags, Same, Value
from dmamigrate.syntax.expr import Assign, Call, Expr, Index, Member, Name, Unary, strip, walk
from dmamigrate.syntax.functions import Function

_INSIDE = re.compile(r"->|\.|\[\]")


@dataclass(frozen=True, slots=True)
class Trail:
    """A decision on the way: `expr` of `fn` was as `note` says."""

    fn: Function
    expr: Expr
    note: str
    before: Trail | None

    def __iter__(self) -> Iterator[Trail]:
        if self.before is not None:
            yield from self.before
        yield self


@dataclass(frozen=True, slots=True)
class State:
    """What is known at one point of one path; `env` is never changed in place."""

    env: Env
    trail: Trail | None = None

    def get(self, place: str) -> Value | None:
        """What is known of a place, None if nothing; a copy is followed to what it copies."""
        for _ in range(4):
            value = self.env.get(place)
            if not isinstance(value, Same):
                break
            place = value.place
        return ZERO if value is None and self._zeroed(place) else value

    def _zeroed(self, place: str) -> bool:
        """Whether `place` is inside of what was made all zero."""
        return any(place[: m.end()] in self.env for m in _INSIDE.finditer(place))

    def home(self, place: str) -> str:
        """The place that `place` is a copy of, or itself."""
        for _ in range(4):
            value = self.env.get(place)
            if not isinstance(value, Same):
                break
            place = value.place
        return place

    def put(self, place: str, value: Value) -> State:
        """`place` becomes `value`, and nothing is known of its parts any more."""
        if isinstance(value, Same):
            value = Same(self.home(value.place))
            if value.place == place:
                return self
            if below(value.place, place) or behind(value.place, place):
                value = worth(self, value)  # a part of what it replaces: p = p->next
        after = self.forget(lambda key, _: below(key, place) or behind(key, place))
        known = value != UNKNOWN or after._zeroed(place)
        return State({**after.env, place: value}, self.trail) if known else after

    def refine(self, place: str, value: Value) -> State:
        """What a test told of `place`."""
        home = self.home(place)
        if self.env.get(home) == value:
            return self
        return State({**self.env, home: value}, self.trail)

    def forget(self, gone: Callable[[str, Value], bool]) -> State:
        """Nothing is known any more of the places that `gone` chooses; a copy of such a place keeps what was known of
        it.
        """
        env: Env = {}
        for key, value in self.env.items():
            if gone(key, value):
                continue
            held = worth(self, value)
            if not (isinstance(value, Same) and gone(value.place, held)):
                env[key] = value
            elif held != UNKNOWN or self._zeroed(key):
                env[key] = held
        return State(env, self.trail) if env != self.env else self


def worth(state: State, value: Value) -> Value:
    """What a value is worth in `state`: a copy is what it copies."""
    return (state.get(value.place) or UNKNOWN) if isinstance(value, Same) else value


def noted(frame: Frame, condition: Expr, truth: bool, before: State, after: State) -> State:
    """`after`, with the decision that led there if it told anything."""
    if after.env == before.env:
        return after
    return State(
        after.env, Trail(frame.fn, condition, f"taken when this is {'true' if truth else 'false'}", after.trail)
    )


def outside(state: State, prefix: str) -> State:
    """What is known once the function whose locals start with `prefix` is left."""
    env: Env = {}
    for key, value in state.env.items():
        if not key.startswith(prefix):
            env[key] = worth(state, value) if isinstance(value, Same) and value.place.startswith(prefix) else value
    return State(env, state.trail)


def pruned(state: State, prefix: str, live: int, watched: str) -> State:
    """Without the words in locals of the function with this prefix that have no bit in `live`.

    What is known of `watched` stays, and what is a copy of such a local keeps what was known of that.
    """
    pattern = re.compile(re.escape(prefix) + r"#(\d+)")

    def dead(key: str, value: Value) -> bool:
        root = pattern.match(key) if isinstance(value, Flags | Same) else None
        return root is not None and key != watched and not live >> int(root[1]) & 1

    gone = {key for key, value in state.env.items() if dead(key, value)}
    if not gone:
        return state
    env: Env = {}
    for key, value in state.env.items():
        if key not in gone:
            home = state.home(key)
            env[key] = state.env[home] if home in gone else Same(home) if home != key else value
    return State(env, state.trail)


def stepped(frame: Frame, arguments: Expr, state: State) -> State:
    """After the head of a loop macro: the variables that it is handed may be others in each round."""
    names = [
        place
        for part in walk(arguments)
        if isinstance(part, Name) and part.variable >= 0 and (place := frame.place(part))
    ]
    return state.forget(lambda key, _: any(below(key, place) or behind(key, place) for place in names))


def tested(frame: Frame, expr: Expr, value: Value) -> str | None:
    """The place whose value a condition on `expr` tells about."""
    if isinstance(value, Same):
        return value.place
    while isinstance(expr, Assign):
        expr = strip(expr.parts[0])
    if isinstance(expr, Name) and expr.variable < 0:
        return None
    return (
        frame.place(expr)
        if isinstance(expr, Name | Member | Index) or (isinstance(expr, Unary) and expr.op == "*")
        else None
    )


def handed_out(frame: Frame, call: Call, state: State) -> State:
    """After a callee that is not followed: it may have set what it was handed the address of."""
    places = [place for argument in call.args if (place := frame.place(argument)) is not None]
    pointers = [place for place in places if not place.startswith("&")]
    after = state.forget(
        lambda key, value: isinstance(value, Flags) and any(behind(key, pointer) for pointer in pointers)
    )
    for place in places:
        if place.startswith("&"):
            after = after.put(place[1:], UNKNOWN)
    return after


class Client:
    """Who is told what happens on the paths, and what only the client can say of its own words."""

    # a callee whose text, or whose callees' text, holds none of these cannot change what is asked for
    words: re.Pattern[bytes] = re.compile(rb"(?!)")
    # the calls whose two answers are two paths, whatever is done with the answer
    splits: frozenset[str] = frozenset()
    # a place that matters to the end, though no code names it any more
    watched: str = ""

    def reached(self, frame: Frame, node: int, state: State) -> bool:
        """A path comes to a node with what `state` says; False if nothing matters that comes after it."""
        del frame, node, state
        return True

    def called(self, frame: Frame, node: int, call: Call, state: State, values: tuple[Value, ...]) -> State:
        """A call happens, with the values of its arguments."""
        del frame, node, call, values
        return state

    def answers(self, frame: Frame, call: Call, state: State) -> list[tuple[State, Value]]:
        """The states after a call that the client knows, each with what is returned; none for any other call."""
        del frame, call, state
        return []

    def stored(self, frame: Frame, node: int, store: Assign, state: State) -> State:
        """An assignment happened."""
        del frame, node, store
        return state

    def assumed(self, frame: Frame, call: Call, truth: bool, state: State) -> State | None:
        """One of `splits` is found true or false; None if that cannot be."""
        del frame, call, truth
        return state

    def undecided(self, frame: Frame, node: int, to: int, before: State, after: State) -> State:
        """A branch goes on at node `to` and, for all that was known before it, might as well go elsewhere."""
        del frame, node, to, before
        return after

    def told(self, flag: str, truth: bool, state: State) -> State | None:
        """A test said that one flag is set, or is not; None if that cannot be."""
        del flag, truth
        return state

    def left(self, frame: Frame, state: State, value: Value) -> None:
        """The outermost function is left."""

    def choice(self, name: str) -> Choice | None:
        """The choice that a named constant is, None for what the client does not tell apart."""
        del name
        return None

    def unasked(self, frame: Frame, expr: Expr, among: Choice) -> Choice:
        """What a place that is compared with one of these may be, if nothing is known of it."""
        del frame, expr
        return replace(among, may=among.all, asked=False)
