# SPDX-License-Identifier: GPL-2.0-only
"""Which conditions decide whether a place in a function is reached."""

from __future__ import annotations

from collections.abc import Iterator

from dmamigrate.syntax.expr import Assign, Call, Expr, Member, Name, strip, walk
from dmamigrate.syntax.functions import Function


def deciding(fn: Function, node: int) -> dict[int, frozenset[int]]:
    """The branches on which it depends whether `node` is reached, each with those of its ways that lead there."""
    leading = _leading(fn, node)
    found: dict[int, frozenset[int]] = {}
    for index in leading:
        ways = frozenset(edge.to for edge in fn.nodes[index].edges)
        there = frozenset(to for to in ways if to == node or to in leading)
        if fn.nodes[index].kind == "branch" and there != ways:
            found[index] = there
    return found


def _leading(fn: Function, node: int) -> set[int]:
    before: dict[int, list[int]] = {}
    for index, one in enumerate(fn.nodes):
        for edge in one.edges:
            before.setdefault(edge.to, []).append(index)
    seen: set[int] = set()
    queue = list(before.get(node, ()))
    while queue:
        at = queue.pop()
        if at not in seen:
            seen.add(at)
            queue += before.get(at, ())
    return seen


def asked(fn: Function, expr: Expr | None) -> Iterator[str]:
    """The names of the members, globals and calls in a condition, in what its locals are set to and are kept in."""
    for part in walk(expr) if expr is not None else ():
        if isinstance(part, Member):
            yield part.field
        elif isinstance(part, Call) and part.name:
            yield part.name
        elif isinstance(part, Name):
            if part.variable >= 0:
                yield from (name for value in _set_to(fn, part.variable) for name in _named(value))
                yield from _kept_in(fn, part.variable)
            else:
                yield part.text


def _set_to(fn: Function, variable: int) -> Iterator[Expr]:
    for node in fn.nodes:
        for part in walk(node.expr) if node.expr is not None else ():
            if isinstance(part, Assign) and isinstance(to := strip(part.parts[0]), Name) and to.variable == variable:
                yield part.parts[1]


def _kept_in(fn: Function, variable: int) -> Iterator[str]:
    for node in fn.nodes:
        for part in walk(node.expr) if node.expr is not None else ():
            value = strip(part.parts[1]) if isinstance(part, Assign) else None
            if isinstance(value, Name) and value.variable == variable:
                target = strip(part.parts[0])
                if isinstance(target, Member):
                    yield target.field


def _named(expr: Expr) -> Iterator[str]:
    for part in walk(expr):
        if isinstance(part, Member):
            yield part.field
        elif isinstance(part, Call) and part.name:
            yield part.name
