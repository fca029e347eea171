# SPDX-License-Identifier: GPL-2.0-only
"""Every path through a function and the callees that matter, with what is known on each: flags, map types,
conditions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from dmamigrate.paths.callees import Callees
from dmamigrate.paths.places import Frame, behind, below, enter
from dmamigrate.paths.state import Client, State, Trail, handed_out, noted, outside, pruned, stepped, tested, worth
from dmamigrate.paths.told import ERROR_POINTERS, as_pointer, combined, if_true, in_order, other_than, updated
from dmamigrate.paths.unions import unshared
from dmamigrate.paths.values import NEGATIVE, NONZERO, UNKNOWN, ZERO, Choice, Flags, Same, Value
from dmamigrate.paths.words import Words
from dmamigrate.syntax.expr import (
    Assign,
    Binary,
    Call,
    Cast,
    Conditional,
    Expr,
    Index,
    Initializer,
    Member,
    Name,
    Statements,
    Unary,
    strip,
)
from dmamigrate.syntax.functions import Edge, Function, Guard, Node
from dmamigrate.values.engine import Engine

_EXIT = 1
_TRANSPARENT = frozenset(
    {"likely", "unlikely", "WARN_ON", "WARN_ON_ONCE", "READ_ONCE", "BUG_ON", "PTR_ERR", "ERR_PTR", "ERR_CAST"}
)
_ZEROING = re.compile(r"(?:devm_)?k[vc]?zalloc\w*|(?:devm_)?k[v]?calloc\w*|vzalloc\w*")

Outcomes = list[tuple[State, Value]]


class Explorer:
    """Walks the paths of one function for one client, within the engine's budget."""

    def __init__(self, engine: Engine, client: Client, steps: int = 0) -> None:
        """`steps` bounds this exploration if the budget is too much for it."""
        self._engine = engine
        self._tree = engine.tree
        self._client = client
        self._words = Words(engine, client)
        self._known = engine.api.calls
        self._bits = engine.api.attributes
        self._budget = engine.budget
        self._limit = steps or engine.budget.steps
        self._steps = 0
        self._cut = False
        self.callees = Callees(engine.tree, client.words)

    @property
    def complete(self) -> bool:
        """Whether every path was walked to its end."""
        return self._steps <= self._limit and not self._cut

    @property
    def walked(self) -> int:
        """How many nodes were walked so far."""
        return self._steps

    def explore(self, fn: Function, node: int = 0, states: Iterable[State] = (State({}),)) -> None:
        """Walk all paths through `fn`, or those that go on from a node where this is known."""
        frame = Frame(fn)
        for state, value in self._through(frame, [(node, state) for state in states]):
            self._client.left(frame, state, value)

    # control flow

    def _through(self, frame: Frame, starts: list[tuple[int, State]]) -> Outcomes:
        """The ways out of a function, each with what it returns."""
        fn = frame.fn
        live = fn.live
        queue = list(starts)
        seen: set[tuple[int, frozenset[tuple[str, Value]]]] = set()
        exits: dict[tuple[frozenset[tuple[str, Value]], Value], State] = {}
        at = 0
        while at < len(queue):
            index, state = queue[at]
            at += 1
            key = (index, frozenset(state.env.items()))
            if key in seen:
                continue
            seen.add(key)
            if not self._client.reached(frame, index, state):
                continue
            self._steps += 1
            if self._steps > self._limit:
                break
            node = fn.nodes[index]
            for after, value, edge in self._step(frame, index, node, state):
                if edge.to == _EXIT:
                    exits.setdefault((frozenset(after.env.items()), value), after)
                    continue
                kept = pruned(after, frame.prefix, live[edge.to], self._client.watched)
                queue.append((edge.to, kept))
        return [(state, value) for (_, value), state in exits.items()]

    def _step(self, frame: Frame, index: int, node: Node, state: State) -> Iterator[tuple[State, Value, Edge]]:
        if node.kind == "branch" and node.expr is not None:
            yield from self._branch(frame, index, node, state)
            return
        outcomes: Outcomes = [(state, UNKNOWN)]
        if node.expr is not None:
            outcomes = self._value(frame, index, node.expr, state)
        elif node.kind == "declare":
            place = f"{frame.prefix}#{node.variable}"
            outcomes = [(state.forget(lambda key, _: below(key, place) or behind(key, place)), UNKNOWN)]
        for after, value in outcomes:
            for edge in node.edges:
                yield after, value if node.kind == "return" or frame.fn.macro else UNKNOWN, edge

    def _branch(self, frame: Frame, index: int, node: Node, state: State) -> Iterator[tuple[State, Value, Edge]]:
        assert node.expr is not None
        if isinstance(node.expr, Binary) and node.expr.op == ",":
            state = stepped(frame, node.expr, state)
        switch = any(edge.guard is not None and edge.guard.cases for edge in node.edges)
        ways: list[tuple[State, Edge]] = []
        if switch or len({edge.guard.truth for edge in node.edges if edge.guard is not None}) < 1:
            for after, value in self._value(frame, index, node.expr, state):
                for edge in node.edges:
                    if edge.guard is None or not edge.guard.cases:
                        ways.append((after, edge))
                        continue
                    chosen = self._chosen(frame, node.expr, value, edge.guard, after)
                    ways += [(one, edge) for one in chosen]
        else:
            for truth in (True, False):
                edges = [edge for edge in node.edges if edge.guard is None or edge.guard.truth is truth]
                for after in self._assume(frame, index, node.expr, truth, state) if edges else ():
                    told = noted(frame, node.expr, truth, state, after)
                    ways += [(told, edge) for edge in edges]
        open_ended = len({edge.to for _, edge in ways}) > 1
        for after, edge in ways:
            told = self._client.undecided(frame, index, edge.to, state, after) if open_ended else after
            yield told, UNKNOWN, edge

    def _chosen(self, frame: Frame, subject: Expr, value: Value, guard: Guard, state: State) -> list[State]:
        """The states in which `subject` is one of the guard's cases, or none of them: one for each map type."""
        cases, truth = guard.cases, guard.truth
        place = value.place if isinstance(value, Same) else frame.place(subject)
        held = (state.get(place) if place is not None else None) or value
        chosen = [self._words.of(frame.fn, case) for case in cases]
        choices = [one for one in chosen if isinstance(one, Choice)]
        if choices and len(choices) == len(chosen) and (place is not None or isinstance(held, Choice)):
            kind = held if isinstance(held, Choice) else self._client.unasked(frame, subject, choices[0])
            names = frozenset(name for one in choices for name in one.may)
            left = kind.only(names if truth else kind.all - names)
            ones = [left.only(frozenset({name})) for name in sorted(left.may)] if left else []
            return [self._typed(frame, subject, place, one, state) for one in ones if one is not None]
        if isinstance(held, Flags) and held.exact and len(held.on) <= 1:
            same = [self._words.of(frame.fn, case) == held for case in cases]
            if any(same) is not truth and all(self._words.of(frame.fn, case) is not None for case in cases):
                return []
        return [state]

    @staticmethod
    def _typed(frame: Frame, subject: Expr, place: str | None, one: Choice, state: State) -> State:
        """The state in which the choice is made."""
        refined = state.refine(place, one) if place is not None else state
        return State(refined.env, Trail(frame.fn, subject, f"{one.what} is {', '.join(one.may)}", refined.trail))

    # conditions

    def _assume(self, frame: Frame, index: int, expr: Expr, truth: bool, state: State) -> list[State]:
        expr = strip(expr)
        match expr:
            case Unary(op="!"):
                return self._assume(frame, index, expr.parts[0], not truth, state)
            case Binary(op="&&" | "||" as op):
                first = self._assume(frame, index, expr.parts[0], op == "&&", state)
                through = [s for one in first for s in self._assume(frame, index, expr.parts[1], truth, one)]
                short = self._assume(frame, index, expr.parts[0], op != "&&", state) if truth is (op == "||") else []
                return through + short
            case Binary(op="==" | "!=" as op):
                return self._compared(frame, index, expr, truth is (op == "=="), state)
            case Binary(op="<" | ">=" | ">" | "<="):
                result = []
                for after, value in self._value(frame, index, expr.parts[0], state):
                    ordered = in_order(expr.op, worth(after, value), self._words.of(frame.fn, expr.parts[1]))
                    if ordered is not None or expr.op in (">", "<="):
                        result += [after] if ordered in (None, truth) else []
                        continue
                    negative = (
                        value.negative
                        if isinstance(value, Flags) and self._words.of(frame.fn, expr.parts[1]) == ZERO
                        else None
                    )
                    below_zero = truth is (expr.op == "<")
                    if negative is None and below_zero and self._words.of(frame.fn, expr.parts[1]) == ZERO:
                        place = tested(frame, strip(expr.parts[0]), value)
                        result.append(after.refine(place, NEGATIVE) if place is not None else after)
                    elif negative is None or negative is below_zero:
                        result.append(after)
                return result
            case Binary(op="&"):
                return self._masked(frame, index, expr, truth, state)
            case Call() if expr.name in _TRANSPARENT and expr.args:
                return self._assume(frame, index, expr.args[0], truth, state)
            case Call() if expr.name in ERROR_POINTERS and expr.args:
                return self._pointer(frame, index, (expr.name, strip(expr.args[0])), truth, state)
            case Call() if expr.name in self._client.splits:
                allowed = self._client.assumed(frame, expr, truth, state)
                return [allowed] if allowed is not None else []
        found = []
        for after, value in self._value(frame, index, expr, state):
            known = worth(after, value)
            if isinstance(known, Flags) and (held := known.truth(self._bits)) is not None and held is not truth:
                continue
            place = None if isinstance(known, Choice) else tested(frame, expr, value)
            word = known if isinstance(known, Flags) else UNKNOWN
            told = replace(word, nonzero=True) if truth else ZERO
            found.append(after.refine(place, told) if place is not None else after)
        return found

    def _pointer(self, frame: Frame, index: int, asked: tuple[str, Expr], truth: bool, state: State) -> list[State]:
        result = []
        for after, value in self._value(frame, index, asked[1], state):
            known, place = as_pointer(asked[0], worth(after, value), truth), tested(frame, asked[1], value)
            if known is not None:
                result.append(after.refine(place, known) if place is not None else after)
        return result

    def _compared(self, frame: Frame, index: int, expr: Expr, equal: bool, state: State) -> list[State]:
        left, right = strip(expr.parts[0]), strip(expr.parts[1])
        constant_side = self._words.of(frame.fn, right)
        if constant_side is None:
            left, right = right, left
            constant_side = self._words.of(frame.fn, right)
        if constant_side is None:
            return [s for s, _ in self._value(frame, index, expr.parts[0], state)]
        if isinstance(constant_side, Choice):
            result = []
            for after, value in self._value(frame, index, left, state):
                place = value.place if isinstance(value, Same) else frame.place(left)
                held = after.get(place) if place is not None else value
                kind = held if isinstance(held, Choice) else self._client.unasked(frame, left, constant_side)
                one = kind.only(constant_side.may if equal else kind.all - constant_side.may)
                if one is not None:
                    result.append(after.refine(place, one) if place is not None else after)
            return result
        if constant_side == ZERO:
            return self._assume(frame, index, left, not equal, state)
        if isinstance(left, Binary) and left.op == "&" and constant_side == self._words.of(frame.fn, left.parts[1]):
            return self._masked(frame, index, left, equal, state)
        result = []
        for after, value in self._value(frame, index, left, state):
            known = worth(after, value)
            if isinstance(known, Flags) and known.exact and len(known.on) <= 1:
                same = isinstance(constant_side, Flags) and constant_side.exact and known.on == constant_side.on
                if same is equal:
                    result.append(after)
                continue
            names = constant_side.on if isinstance(constant_side, Flags) else frozenset[str]()
            if equal and isinstance(known, Flags) and names and names <= known.never:
                continue
            place = tested(frame, left, value) if not isinstance(known, Choice) else None
            other = other_than(left, known, names) if isinstance(right, Name) else None
            now = constant_side if equal else other
            result.append(after.refine(place, now) if place is not None and now is not None else after)
        return result

    def _masked(self, frame: Frame, index: int, expr: Expr, truth: bool, state: State) -> list[State]:
        mask = self._words.of(frame.fn, expr.parts[1])
        place_expr = strip(expr.parts[0])
        if mask is None:
            mask, place_expr = self._words.of(frame.fn, expr.parts[0]), strip(expr.parts[1])
        result = []
        for after, value in self._value(frame, index, place_expr, state):
            known = worth(after, value)
            if not isinstance(known, Flags) or not isinstance(mask, Flags):
                result.append(after)
                continue
            got = known.within(mask.on)
            if mask.on and (decided := got.truth(self._bits)) is not None and decided is not truth:
                continue
            if (got.exact or got.on) and bool(got.on) is not truth:
                continue  # one of the flags is set, and a test of several asks for any
            place = tested(frame, place_expr, value)
            # one of several flags is set: which one is not told
            told = known if truth and len(mask.on) != 1 else known.told(mask.on, truth)
            typed = self._client.told(min(mask.on), truth, after) if len(mask.on) == 1 else after
            if typed is not None:
                result.append(typed.refine(place, told) if place is not None else typed)
        return result

    # values

    def _value(self, frame: Frame, index: int, expr: Expr, state: State) -> Outcomes:
        expr = strip(expr)
        known = self._words.of(frame.fn, expr)
        if known is not None:
            return [(state, known)]
        match expr:
            case Name(variable=variable) if variable < 0:
                return [(state, state.get(expr.text) or UNKNOWN)]
            case Name() | Member() | Index() | Unary(op="*"):
                return self._read(frame, index, expr, state)
            case Assign():
                return self._assigned(frame, index, expr, state)
            case Call():
                return self._called(frame, index, expr, state)
            case Conditional():
                return [
                    outcome
                    for truth, part in ((True, expr.parts[1]), (False, expr.parts[2]))
                    for after in self._assume(frame, index, expr.parts[0], truth, state)
                    for outcome in self._value(frame, index, part, noted(frame, expr.parts[0], truth, state, after))
                ]
            case Binary(op="==" | "!=" | "<" | ">=" | "&&" | "||") | Unary(op="!"):
                return self._decided(frame, index, expr, state)
            case Binary(op="|" | "&" | "+" | "^"):
                return [
                    (s2, combined(expr, worth(s2, a), worth(s2, b)))
                    for s1, a in self._value(frame, index, expr.parts[0], state)
                    for s2, b in self._value(frame, index, expr.parts[1], s1)
                ]
            case Binary(op=","):
                return [
                    o
                    for s, _ in self._value(frame, index, expr.parts[0], state)
                    for o in self._value(frame, index, expr.parts[1], s)
                ]
            case Unary(op="++" | "--"):
                place = frame.place(expr.parts[0])
                after = state.put(place, UNKNOWN) if place is not None else state
                store = Assign(expr.start, expr.end, (expr.parts[0], expr), "+=")
                return [(self._client.stored(frame, index, store, after), UNKNOWN)]
            case Unary(op="~"):
                return [(state, UNKNOWN)]
            case Initializer() | Statements() | Expr():
                for part in expr.parts:
                    outcomes = self._value(frame, index, part, state)
                    state = outcomes[0][0] if len(outcomes) == 1 else state
                return [(state, UNKNOWN)]
        return [(state, UNKNOWN)]

    def _decided(self, frame: Frame, index: int, expr: Expr, state: State) -> Outcomes:
        """A truth value: where it hangs on what is tracked, the two cases are two paths."""
        result: Outcomes = []
        for truth in (True, False):
            for after in self._assume(frame, index, expr, truth, state):
                result.append(
                    (noted(frame, expr, truth, state, after), if_true(expr, self._client.splits) if truth else ZERO)
                )
        if len(result) == 2 and result[0][0].env == result[1][0].env == state.env:
            return [(state, UNKNOWN)]
        return result

    def _read(self, frame: Frame, index: int, expr: Expr, state: State) -> Outcomes:
        place = frame.place(expr)
        if place is None:
            return self._parts(frame, index, expr, state)
        if place.startswith("&"):
            return [(state, NONZERO)]
        held = state.get(place)
        if isinstance(held, Choice):
            return [(state, Same(state.home(place)))]
        if held is not None:
            return [(state, held)]
        # a place of which nothing is known yet: a test of a copy tells of the original too
        return [(state, Same(place))] if frame.fn.variables or not frame.fn.macro else [(state, UNKNOWN)]

    def _parts(self, frame: Frame, index: int, expr: Expr, state: State) -> Outcomes:
        for part in expr.parts:
            outcomes = self._value(frame, index, part, state)
            state = outcomes[0][0] if outcomes else state
        return [(state, UNKNOWN)]

    def _assigned(self, frame: Frame, index: int, expr: Assign, state: State) -> Outcomes:
        target, source = strip(expr.parts[0]), strip(expr.parts[1])
        place = frame.place(target)
        result: Outcomes = []
        for before, given in self._value(frame, index, source, state):
            value = given if expr.op == "=" or place is None else self._updated(frame, expr, before, place, given)
            if isinstance(value, Same) and value.place == place:
                value = UNKNOWN
            after = self._put(frame, index, expr, (place, value), before) if place is not None else before
            # what is handed on, a = b = f(), is what b holds now: a test of one tells of the other
            handed = Same(place) if value == UNKNOWN and place is not None else value
            result.append((self._client.stored(frame, index, expr, after), handed))
        return result

    def _put(self, frame: Frame, index: int, expr: Assign, put: tuple[str, Value], state: State) -> State:
        """A place becomes a value, and what it holds or points to is what the source text says."""
        place, value = put
        state = unshared(self._engine, frame, strip(expr.parts[0]), state).put(place, value)
        source = strip(expr.parts[1])
        if isinstance(value, Choice):
            state = State(state.env, Trail(frame.fn, expr, f"{value.what} is set", state.trail))
        if isinstance(source, Call) and _ZEROING.fullmatch(source.name):
            state = state.refine(f"{place}->", ZERO)
        literal = source.parts[0] if isinstance(source, Cast) else source
        return self._literal(frame, index, literal, place, state) if isinstance(literal, Initializer) else state

    def _updated(self, frame: Frame, expr: Assign, state: State, place: str, value: Value) -> Value:
        inner = strip(expr.parts[1])
        inverted = isinstance(inner, Unary) and inner.op == "~"
        mask = self._words.of(frame.fn, inner.parts[0]) if inverted else None
        return updated(expr.op, state.get(place) or UNKNOWN, worth(state, value), mask)

    def _literal(self, frame: Frame, index: int, init: Initializer, place: str, state: State) -> State:
        state = state.refine(f"{place}.", ZERO)
        for name, part in zip(init.fields, init.parts, strict=True):
            if name and "[" not in name:
                inner = strip(part)
                if isinstance(inner, Initializer):
                    state = self._literal(frame, index, inner, f"{place}.{name}", state)
                    continue
                outcomes = self._value(frame, index, part, state)
                state = outcomes[0][0].refine(f"{place}.{name}", outcomes[0][1] if len(outcomes) == 1 else UNKNOWN)
        return state

    # calls

    def _called(self, frame: Frame, index: int, call: Call, state: State) -> Outcomes:
        name = call.name
        if name in _TRANSPARENT and call.args:
            given = self._value(frame, index, call.args[0], state)
            # an error that is made a pointer is one, whatever is known of its number
            return [(s, v if worth(s, v) == ZERO else NEGATIVE) for s, v in given] if name == "ERR_PTR" else given
        if name in self._client.splits or name in ERROR_POINTERS:
            return self._decided(frame, index, call, state)
        if name == "PTR_ERR_OR_ZERO" and call.args:
            asked = ("IS_ERR", strip(call.args[0]))
            both = ((True, NEGATIVE), (False, ZERO))
            return [(s, v) for truth, v in both for s in self._pointer(frame, index, asked, truth, state)]
        branches: list[tuple[State, tuple[Value, ...]]] = [(state, ())]
        for argument in call.args:
            branches = [
                (after, (*got, value)) for s, got in branches for after, value in self._value(frame, index, argument, s)
            ]
        result: Outcomes = []
        for after, values in branches:
            answers = self._client.answers(frame, call, after)
            if answers:
                result += answers
                continue
            result += self._into(frame, index, call, self._client.called(frame, index, call, after, values), values)
        return result

    def _into(self, frame: Frame, index: int, call: Call, state: State, values: tuple[Value, ...]) -> Outcomes:
        unit = self._tree.unit(frame.fn.source.path)
        untouched: Outcomes = [(self._handed_out(frame, call, state), UNKNOWN)]
        if not call.name or unit is None or call.name in self._known:
            return untouched
        found = self._tree.functions(call.name, unit, self._client.words)
        targets = [one for one in found if self.callees.matter(one) and not frame.enters(one)]
        if targets and frame.depth >= self._budget.inlined:
            self._cut = True
            return untouched
        if not targets:
            return untouched
        # an arm of an #if that names none of the words does nothing to them
        result: Outcomes = untouched if len(targets) < len(found) else []
        for target in targets:
            inner = enter(target, frame, index, call)
            start = state
            for number, variable in enumerate(target.variables):
                if 0 <= variable.position < len(values) and number not in inner.bound:
                    start = start.put(f"{inner.prefix}#{number}", values[variable.position])
            exits: dict[tuple[frozenset[tuple[str, Value]], Value], State] = {}
            for after, value in self._through(inner, [(0, start)]):
                kept = outside(after, inner.prefix)
                inside = isinstance(value, Same) and value.place.startswith(inner.prefix)
                answer = worth(after, value) if inside else value
                if isinstance(answer, Choice):  # it outlives the local that held it
                    home = f"{frame.prefix}@{call.start}"
                    kept, answer = kept.put(home, answer), Same(home)
                exits.setdefault((frozenset(kept.env.items()), answer), kept)
            self._cut = self._cut or len(exits) > self._budget.exits
            result = result + [(kept, value) for (_, value), kept in list(exits.items())[: self._budget.exits]]
        return result

    def _handed_out(self, frame: Frame, call: Call, state: State) -> State:
        """After a callee that is not followed: members that the text of a known one never sets are what they were."""
        after = handed_out(frame, call, state)
        unit = self._tree.unit(frame.fn.source.path)
        if after is state or not call.name or unit is None:
            return after
        found = self._tree.functions(call.name, unit, self._client.words)
        lost = {key: value for key, value in state.env.items() if key not in after.env and isinstance(value, Flags)}
        kept = {key: value for key, value in lost.items() if not self.callees.may_set(call.name, key, found)}
        return State({**after.env, **kept}, after.trail) if kept else after
