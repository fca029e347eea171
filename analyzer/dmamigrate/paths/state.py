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
        if value is None and any(place[: m.end()] in self.env for m in re.finditer(r"->|\.|\[\]", place)):
            return ZERO  # inside of what was made all zero
        return value

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
        if isinstance(value, Same) and self.home(value.place) == place:
            return self
        held = self.env.get(place)
        env = {
            key: (held if isinstance(one, Same) and one.place == place and held is not None else one)
            for key, one in self.env.items()
            if not (below(key, place) or behind(key, place))
        }
        env[place] = value
        return State(env, self.trail)

    def refine(self, place: str, value: Value) -> State:
        """What a test told of `place`."""
        home = self.home(place)
        if self.env.get(home) == value:
            return self
        return State({**self.env, home: value}, self.trail)

    def forget(self, gone: Callable[[str, Value], bool]) -> State:
        """Nothing is known any more of the places that `gone` chooses."""
        if not any(gone(key, value) for key, value in self.env.items()):
            return self
        return State({key: value for key, value in self.env.items() if not gone(key, value)}, self.trail)


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
        root = pattern.match(key) if isinstance(value, Flags) else None
        return root is not None and key != watched and not live >> int(root[1]) & 1

    gone = {key for key, value in state.env.items() if dead(key, value)}
    if not gone:
        return state
    env: Env = {}
    for key, value in state.env.items():
        if key not in gone:
            home = state.home(key)
            env[key] = state.env[home] if home in gone else value
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

    def gone(key: str, value: Value) -> bool:
        for place in places:
            if place.startswith("&"):
                if below(key, place[1:]):
                    return True
            elif isinstance(value, Flags) and behind(key, place):
                return True
        return False

    return state.forget(gone)


class Client:
    """Who is told what happens on the paths, and what only the client can say of its own words."""

    # a callee whose text, or whose callees' text, holds none of these cannot change what is asked for
    words: re.Pattern[bytes] = re.compile(rb"(?!)")
    # the calls whose two answers are two paths, whatever is done with the answer
    splits: frozenset[str] = frozenset()
    # a place that matters to the end, though no code names it any more
    watched: str = ""

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
