# SPDX-License-Identifier: GPL-2.0-only
"""Conditions of the form `if (c) end();`: one arm runs what ends a thing and then goes on where the other arm begins.

What such a condition asks is what the code goes by. Where a path does not tell its answer, neither arm says anything of
the thing: it may well be that the one is only taken when there is something to end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dmamigrate.paths.places import Frame
from dmamigrate.paths.state import State
from dmamigrate.syntax.expr import walk
from dmamigrate.syntax.functions import Function

_EXIT = 1
_EMPTY = 3  # nodes in a row that do nothing, as a break is one


def bypasses(fn: Function, ends: frozenset[int]) -> Mapping[int, frozenset[int]]:
    """For each such condition, by its node, where the arms begin that pass the nodes `ends` by."""
    found: dict[int, frozenset[int]] = {}
    for index, node in enumerate(fn.nodes):
        targets = {edge.to for edge in node.edges}
        if node.kind != "branch" or len(targets) < 2:
            continue
        held = {target: _reached(fn, target, {index, *targets} - {target}) & ends for target in targets}
        passing: set[int] = set()
        for to in targets:
            others = frozenset[int]().union(*(held[other] for other in targets if other != to)) - held[to]
            if others and _through_nothing(fn, to) & _reached_from_all(fn, others, index):
                passing.add(to)
        if passing:
            found[index] = frozenset(passing)
    return found


def _reached(fn: Function, start: int, without: set[int]) -> set[int]:
    """The nodes that control may reach from `start`, itself too, not going through some others or a return."""
    seen: set[int] = set()
    queue = [start]
    while queue:
        at = queue.pop()
        if at not in seen and at not in without:
            seen.add(at)
            node = fn.nodes[at]
            # the end of the function joins the arms where it is not returned to
            queue += [edge.to for edge in node.edges if edge.to != _EXIT or node.kind != "return"]
    return seen


def _reached_from_all(fn: Function, starts: Iterable[int], without: int) -> set[int]:
    return {node for start in starts for node in _reached(fn, start, {without})}


def _through_nothing(fn: Function, start: int) -> set[int]:
    """A node and those that follow it at once, as long as nothing is done."""
    found = {start}
    at = start
    for _ in range(_EMPTY):
        node = fn.nodes[at]
        if node.kind != "eval" or node.expr is not None or len(node.edges) != 1:
            break
        at = node.edges[0].to
        found.add(at)
    return found


def is_known(frame: Frame, node: int, before: State, besides: str = "") -> bool:
    """Whether anything is known of what a branch asks, `besides` apart: then both answers are ways that may be taken."""
    asked = frame.fn.nodes[node].expr
    places = {frame.place(part) for part in walk(asked)} if asked is not None else set()
    return any(place not in (None, besides) and before.get(place) is not None for place in places if place is not None)
