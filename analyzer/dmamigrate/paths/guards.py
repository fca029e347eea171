# SPDX-License-Identifier: GPL-2.0-only
"""Conditions of the form `if (c) end();`: one arm runs what ends a thing and then goes on where the other arm begins.

What such a condition asks is what the code goes by. Where a path does not tell its answer, neither arm says anything of
the thing: it may well be that the one is only taken when there is something to end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dmamigrate.paths.places import Frame
from dmamigrate.paths.state import State
from dmamigrate.syntax.expr import Binary, Call, Expr, strip
from dmamigrate.syntax.functions import Function

_EXIT = 1
_STRAIGHT = 6  # nodes in a row that the other arm may have before both go on
_LARGEST = 60  # nodes of an arm that is looked into


def bypasses(fn: Function, ends: frozenset[int]) -> Mapping[int, frozenset[int]]:
    """For each such condition, by its node, where the arms begin that pass the nodes `ends` by."""
    found: dict[int, frozenset[int]] = {}
    for index in sorted(_leading_to(fn, ends)):
        targets = {edge.to for edge in fn.nodes[index].edges}
        passing = frozenset(
            to
            for to in targets
            if any(_joins(_arm(fn, other, {index, to}), ends, _straight_on(fn, to, ends)) for other in targets - {to})
        )
        if passing:
            found[index] = passing
    return found


def _leading_to(fn: Function, ends: frozenset[int]) -> set[int]:
    """The branches from which one of some nodes is not far."""
    found: set[int] = set()
    for end in ends:
        seen, queue = {end}, [end]
        for at in queue:  # grows, breadth first
            found |= {at} if fn.nodes[at].kind == "branch" else set()
            new = [one for one in fn.predecessors[at] if one not in seen]
            queue += new[: max(0, _LARGEST - len(queue))]
            seen.update(new)
    return found


def _arm(fn: Function, start: int, without: set[int]) -> dict[int, list[int]]:
    """The nodes from `start` on, each with those that follow, up to some others or out of the function; none if too
    many.
    """
    found: dict[int, list[int]] = {}
    queue = [start]
    while queue:
        at = queue.pop()
        if at in found or at in without or at == _EXIT:
            continue
        if len(found) >= _LARGEST:
            return {}
        node = fn.nodes[at]
        # the end of the function joins the arms where it is not returned to
        found[at] = [edge.to for edge in node.edges if edge.to != _EXIT or node.kind != "return"]
        queue += found[at]
    return found


def _joins(arm: dict[int, list[int]], ends: frozenset[int], there: set[int]) -> bool:
    """Whether an arm runs one of some nodes and then goes on to what the other arm begins with."""
    seen: set[int] = set()
    queue = [node for node in arm if node in ends]
    while queue:
        at = queue.pop()
        if at in there:
            return True
        if at not in seen:
            seen.add(at)
            queue += arm.get(at, [])
    return False


def _straight_on(fn: Function, start: int, ends: frozenset[int]) -> set[int]:
    """A node and those that follow it at once, as long as nothing is decided, and up to one of `ends`."""
    found = {start}
    at = start
    for _ in range(_STRAIGHT):
        node = fn.nodes[at]
        if at in ends or node.kind != "eval" or len(node.edges) != 1:
            break
        at = node.edges[0].to
        found.add(at)
    return found


def is_known(frame: Frame, node: int, before: State, besides: str = "") -> bool:
    """Whether anything is known of what a branch asks, `besides` apart: then both answers are ways that may be
    taken.
    """
    asked = frame.fn.nodes[node].expr
    if isinstance(asked, Binary) and asked.op == "&":
        return False  # what is known of other flags says nothing of these
    places = {*_places(frame, asked)} if asked is not None else set()
    return any(place != besides and before.get(place) is not None for place in places)


def _places(frame: Frame, expr: Expr) -> Iterator[str]:
    """The places that an expression asks, each as a whole: of a->b that one, not a."""
    expr = strip(expr)
    place = frame.place(expr)
    if place is not None:
        yield place
        return
    for part in expr.args if isinstance(expr, Call) else expr.parts:
        yield from _places(frame, part)
