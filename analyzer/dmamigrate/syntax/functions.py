# SPDX-License-Identifier: GPL-2.0-only
"""Functions, their variables and their control flow as frozen records."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from dmamigrate.syntax.expr import Assign, Call, Expr, Initializer, Member, Name, evaluated, path_of, walk
from dmamigrate.syntax.places import pointed_to
from dmamigrate.syntax.source import Source


@dataclass(frozen=True, slots=True)
class CType:
    """A type far enough for tracing: `base` is "struct foo", "u32", "foo_t" ...; `pointers` counts stars and
    brackets.
    """

    base: str
    pointers: int = 0

    @property
    def pointee(self) -> CType:
        """The type behind one pointer."""
        return CType(self.base, max(0, self.pointers - 1))


@dataclass(frozen=True, slots=True)
class Variable:
    """A parameter or local; `position` is a parameter's index from 0, -1 for a local."""

    name: str
    type: CType
    start: int
    position: int = -1
    static: bool = False


@dataclass(frozen=True, slots=True)
class Guard:
    """When an edge is taken: `expr` is true or false, or equals one (`truth`) or none of `cases`."""

    expr: Expr
    truth: bool
    cases: tuple[Expr, ...] = ()


@dataclass(frozen=True, slots=True)
class Edge:
    """Control may go on to the node with this index."""

    to: int
    guard: Guard | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """One step of control flow. `kind` is entry, exit, eval, branch, declare or return."""

    kind: str
    expr: Expr | None
    edges: tuple[Edge, ...] = ()
    variable: int = -1


class Effect(NamedTuple):
    """What may store: whether it is evaluated whenever its node is, and the place that it sets, or those that it is
    handed.
    """

    expr: Expr
    sure: bool
    paths: tuple[str | None, ...]


@dataclass(frozen=True, eq=False)
class Function:
    """A function definition, or a macro seen as one.

    `nodes[0]` is the entry and `nodes[1]` the exit. `clean` tells that no part of it failed to parse. Offsets in bytes.
    """

    name: str
    source: Source
    start: int
    end: int
    returns: CType
    variables: tuple[Variable, ...]
    nodes: tuple[Node, ...]
    static: bool
    clean: bool
    macro: bool = False

    @cached_property
    def params(self) -> tuple[Variable, ...]:
        """The parameters, in order."""
        return tuple(v for v in self.variables if v.position >= 0)

    @cached_property
    def predecessors(self) -> tuple[tuple[int, ...], ...]:
        """For each node the nodes that may come before it."""
        before: list[list[int]] = [[] for _ in self.nodes]
        for index, node in enumerate(self.nodes):
            for edge in node.edges:
                before[edge.to].append(index)
        return tuple(map(tuple, before))

    @cached_property
    def live(self) -> tuple[int, ...]:
        """For each node the variables that it, or what may come after it, names: a bit for each, so that long functions
        stay small.
        """
        used = [0] * len(self.nodes)
        for index, node in enumerate(self.nodes):
            for one in walk(node.expr) if node.expr is not None else ():
                if isinstance(one, Name) and one.variable >= 0:
                    used[index] |= 1 << one.variable
        queue = list(range(len(self.nodes)))
        while queue:
            index = queue.pop()
            for before in self.predecessors[index]:
                if used[index] & ~used[before]:
                    used[before] |= used[index]
                    queue.append(before)
        return tuple(used)

    @cached_property
    def effects(self) -> tuple[tuple[Effect, ...], ...]:
        """For each node the assignments and calls in it, the last first: it is seen first by what comes behind."""
        return tuple(
            tuple(
                Effect(
                    one, sure, (path_of(one.parts[0]),) if isinstance(one, Assign) else tuple(map(path_of, one.args))
                )
                for one, sure in reversed(list(evaluated(node.expr)))
                if isinstance(one, Assign | Call)
            )
            if node.expr is not None
            else ()
            for node in self.nodes
        )

    @cached_property
    def _naming(self) -> dict[str, list[int]]:
        """The nodes in which a word is a name, a member or a call; those that initialise, which may leave names out,
        under "".
        """
        found: dict[str, list[int]] = {}
        for index, node in enumerate(self.nodes):
            for one in walk(node.expr) if node.expr is not None else ():
                match one:
                    case Name(text=word) | Member(field=word) | Call(name=word):
                        pass
                    case Initializer():
                        word = ""
                    case _:
                        continue
                nodes = found.setdefault(word, [])
                if not nodes or nodes[-1] != index:
                    nodes.append(index)
        return found

    def naming(self, *words: str) -> list[int]:
        """The nodes that name one of the words as a variable, member or call; with "", those that initialise
        something.
        """
        return sorted({index for word in words for index in self._naming.get(word, ())})

    @cached_property
    def pointers(self) -> dict[str, frozenset[str]]:
        """For each local what it is made to point to, as far as that has a name."""
        found: dict[str, frozenset[str]] = {}
        for node in self.effects:
            for one in node:
                local = one.paths[0] if isinstance(one.expr, Assign) and one.expr.op == "=" else None
                if local is None or not local[1:].isdigit():
                    continue
                there = pointed_to(one.expr.parts[1])
                if there is not None and not there.startswith(f"{local}["):
                    found[local] = found.get(local, frozenset()) | {there}
        return found

    @cached_property
    def calls(self) -> tuple[tuple[int, Call], ...]:
        """Every call as (node index, call), in source order; one per place even if #if makes variants of it."""
        found: dict[int, tuple[int, Call]] = {}
        for index, node in enumerate(self.nodes):
            for expr in walk(node.expr) if node.expr else ():
                if isinstance(expr, Call) and expr.start >= 0:
                    found.setdefault((expr.start << 20) + (expr.end - expr.start), (index, expr))
        return tuple(found[key] for key in sorted(found))
