# SPDX-License-Identifier: GPL-2.0-only
"""What is known at one point of a path: what a store, a test and a callee leave of it."""

from __future__ import annotations

import pytest

from dmamigrate.paths.places import Frame, assigned
from dmamigrate.paths.state import State, handed_out, outside, pruned, worth
from dmamigrate.paths.values import NONZERO, UNKNOWN, ZERO, Choice, Same, Value, constant
from dmamigrate.syntax.expr import Call, Expr, walk
from dmamigrate.syntax.source import Source
from dmamigrate.syntax.unit import Unit

ONE = constant("1")
KIND = Choice(frozenset({"A"}), frozenset({"A", "B"}), "the kind")


def _put(*stores: tuple[str, Value]) -> State:
    state = State({})
    for place, value in stores:
        state = state.put(place, value)
    return state


@pytest.mark.parametrize(
    ("state", "known"),
    [
        pytest.param(_put(("p->a", ONE), ("p", UNKNOWN)), {"p->a": None}, id="another pointer points elsewhere"),
        pytest.param(_put(("s.a", ONE), ("s", UNKNOWN)), {"s.a": None}, id="a struct set as a whole"),
        pytest.param(_put(("a", ONE), ("ab", UNKNOWN)), {"a": ONE}, id="a name that begins like another"),
        pytest.param(_put(("*p", ONE), ("p", UNKNOWN)), {"*p": None}, id="what a pointer pointed to"),
        pytest.param(_put(("b", Same("a")), ("a", ONE)), {"b": None}, id="a copy of what was not known then"),
        pytest.param(_put(("a", ONE), ("b", Same("a")), ("a", ZERO)), {"a": ZERO, "b": ONE}, id="a copy stays a copy"),
        pytest.param(
            _put(("p->a", ONE), ("b", Same("p->a")), ("p", UNKNOWN)), {"b": ONE}, id="a copy of a member of another"
        ),
        pytest.param(_put(("b", Same("p->a")), ("p", UNKNOWN), ("p->a", ONE)), {"b": None}, id="and not of its like"),
        pytest.param(_put(("p", Same("p->next")), ("p->next", ONE)), {"p": None}, id="the next of a list"),
        pytest.param(
            _put(("p->next", ONE), ("p", Same("p->next"))), {"p": ONE, "p->next": None}, id="whose next is another"
        ),
        pytest.param(_put(("b", Same("a")), ("a", Same("b"))).refine("a", ONE), {"a": ONE, "b": ONE}, id="a = b = a"),
        pytest.param(_put(("b", Same("a"))).refine("b", ONE), {"a": ONE, "b": ONE}, id="a test tells of both"),
        pytest.param(
            _put(("a", ONE), ("b", Same("a"))).forget(lambda key, _: key == "a"),
            {"a": None, "b": ONE},
            id="what is known of a copy outlives the original",
        ),
        pytest.param(_put(("b", Same("a"))).forget(lambda key, _: key == "a"), {"b": None}, id="if anything was"),
        pytest.param(State({"p->": ZERO}), {"p->a": ZERO, "p->a.b": ZERO, "p": None, "q->a": None}, id="zeroed memory"),
        pytest.param(
            State({"p->": ZERO}).put("p->a", UNKNOWN), {"p->a": UNKNOWN, "p->b": ZERO}, id="and a store to it"
        ),
        pytest.param(
            _put(("p->a", Same("x")), ("x", ONE)).refine("p->", ZERO).put("p->a", Same("y")).put("y", ONE),
            {"p->a": UNKNOWN, "y": ONE},
            id="a copy in zeroed memory of what is another now",
        ),
    ],
)
def test_what_a_store_leaves(state: State, known: dict[str, Value | None]) -> None:
    assert {place: state.get(place) for place in known} == known


CODE = b"void f(struct s *p, struct s q, int a) { g(p, &q.a, &p->b, a, q.c); }"


def _call() -> tuple[Frame, Call]:
    unit = Unit(Source("f.c", CODE))
    fn = unit.functions("f")[0]
    (call,) = (part for node in fn.nodes for part in _parts(node.expr) if isinstance(part, Call))
    return Frame(fn), call


def _parts(expr: Expr | None) -> list[Expr]:
    return list(walk(expr)) if expr is not None else []


@pytest.mark.parametrize(
    ("before", "known"),
    [
        pytest.param({"#0->x": ONE}, {"#0->x": None}, id="behind a pointer"),
        pytest.param({"#0->x": KIND}, {"#0->x": KIND}, id="a choice behind it"),
        pytest.param({"#0": NONZERO}, {"#0": NONZERO}, id="the pointer itself"),
        pytest.param({"#1.a": ONE, "#1.x": ONE}, {"#1.a": None, "#1.x": ONE}, id="whose address it is handed"),
        pytest.param({"#1.c": ONE, "#2": ONE}, {"#1.c": ONE, "#2": ONE}, id="what it is handed by value"),
        pytest.param({"#1.": ZERO}, {"#1.a": UNKNOWN, "#1.x": ZERO}, id="the address of a member of zeroed memory"),
        pytest.param({"#0->": ZERO}, {"#0->x": None}, id="zeroed memory behind a pointer"),
        pytest.param({"b": Same("#1.a"), "#1.a": ONE}, {"b": ONE, "#1.a": None}, id="a copy of what it may set"),
    ],
)
def test_what_a_callee_leaves_that_is_not_followed(before: dict[str, Value], known: dict[str, Value | None]) -> None:
    frame, call = _call()
    after = handed_out(frame, call, State(before))
    assert {place: after.get(place) for place in known} == known


def test_a_local_of_a_callee_is_nothing_outside_of_it() -> None:
    state = _put(("1:#0", ONE), ("#0", Same("1:#0")), ("#1", Same("#2")))
    assert outside(state, "1:").env == {"#0": ONE, "#1": Same("#2")}


def test_dead_locals_are_dropped_and_their_copies_are_not() -> None:
    state = _put(("#0", ONE), ("#1", Same("#0")), ("#2", ONE), ("#3", ONE), ("p->a", ONE))
    kept = pruned(state, "", 0b0110, "#3")
    assert kept.env == {"#1": ONE, "#2": ONE, "#3": ONE, "p->a": ONE}
    assert worth(kept, Same("#1")) == ONE


@pytest.mark.parametrize(
    ("body", "names"),
    [
        pytest.param("a = 1;", {"a"}, id="assigned"),
        pytest.param("b |= a;", {"b"}, id="or-ed into"),
        pytest.param("a++; --b;", {"a", "b"}, id="stepped"),
        pytest.param("g(&a);", {"a"}, id="handed on by address"),
        pytest.param("g(a, *p, -b, !a, ~b);", set(), id="read"),
        pytest.param("*p = a; p->m = b;", set(), id="what a pointer points to"),
        pytest.param("int c = a;", {"c"}, id="a local that begins so"),
    ],
)
def test_which_variables_a_function_sets(body: str, names: set[str]) -> None:
    unit = Unit(Source("f.c", f"void f(int a, int b, struct s *p) {{ {body} }}".encode()))
    fn = unit.function(unit.items[0])
    assert {fn.variables[index].name for index in assigned(fn)} == names
