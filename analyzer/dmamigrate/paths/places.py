# SPDX-License-Identifier: GPL-2.0-only
"""Names for places that hold across calls: a callee's `iter->map` is its caller's `it.map` if it was handed `&it`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property

from dmamigrate.syntax.expr import Assign, Call, Expr, Index, Member, Name, OfEach, Unary, path_of, strip, walk
from dmamigrate.syntax.functions import Function

_ROOT = re.compile(r"([&*]?)([#\w]+)(.*)", re.DOTALL)


@dataclass(frozen=True, eq=False)
class Frame:
    """A function on a path: how it was entered (`call` at `node` of `parent`), and what its parameters are there."""

    fn: Function
    parent: Frame | None = None
    node: int = 0
    call: Call | None = None
    bound: dict[int, str] = field(default_factory=dict)

    @cached_property
    def prefix(self) -> str:
        """What tells this function's locals from those of its callers."""
        return "" if self.parent is None else f"{self.depth}:"

    @cached_property
    def _places(self) -> OfEach[str | None]:
        return OfEach(self._find_place)

    @property
    def depth(self) -> int:
        """How many calls lead here."""
        return 0 if self.parent is None else self.parent.depth + 1

    def enters(self, fn: Function) -> bool:
        """Whether `fn` is already on the way here."""
        return self.fn is fn or (self.parent is not None and self.parent.enters(fn))

    def place(self, expr: Expr) -> str | None:
        """The name of the place that an lvalue is, None if it is none that is stable."""
        return self._places.of(expr)

    def _find_place(self, expr: Expr) -> str | None:
        path = path_of(expr)
        return None if path is None else self.named(path)

    def named(self, path: str) -> str:
        """The place that `path`, in this function, means to the outermost function."""
        match = _ROOT.fullmatch(path)
        if match is None:
            return path
        sign, root, rest = match.groups()
        if not root.startswith("#"):
            return path
        outer = self.bound.get(int(root[1:]))
        if outer is None:
            return f"{sign}{self.prefix}{root}{rest}"
        if rest.startswith("->"):
            base = f"{outer[1:]}.{rest[2:]}" if outer.startswith("&") else f"{outer}{rest}"
            return sign + base
        if not rest and sign == "*":
            return outer[1:] if outer.startswith("&") else f"*{outer}"
        return f"{sign}{outer}{rest}"


def enter(fn: Function, frame: Frame, node: int, call: Call) -> Frame:
    """The frame of a call of `fn`; a parameter that the callee keeps as it is is what the caller handed it, a macro's
    always is.
    """
    changed = frozenset[int]() if fn.macro else assigned(fn)
    bound: dict[int, str] = {}
    for index, variable in enumerate(fn.variables):
        if 0 <= variable.position < len(call.args) and index not in changed:
            place = frame.place(call.args[variable.position])
            if place is not None:
                bound[index] = place
    return Frame(fn, frame, node, call, bound)


def assigned(fn: Function) -> frozenset[int]:
    """The variables that a function sets, or whose address it takes."""
    found: set[int] = set()
    for node in fn.nodes:
        for expr in walk(node.expr) if node.expr is not None else ():
            target: Expr | None = None
            if isinstance(expr, Assign) or (isinstance(expr, Unary) and expr.op in ("&", "++", "--")):
                target = strip(expr.parts[0])
            if isinstance(target, Name) and target.variable >= 0:
                found.add(target.variable)
    return frozenset(found)


def below(place: str, root: str) -> bool:
    """Whether `place` is `root` or a part of it."""
    return place == root or (place.startswith(root) and place[len(root) : len(root) + 1] in (".", "[", "-", "@"))


def behind(place: str, pointer: str) -> bool:
    """Whether `place` is what `pointer` points to, or a part of it."""
    return place == f"*{pointer}" or place.startswith((f"{pointer}->", f"{pointer}[", f"*{pointer}.", f"*{pointer}@"))


def sources(frame: Frame, expr: Expr) -> frozenset[str]:
    """The places that a value is computed from, through the function's assignments and out to its callers; flow is not
    regarded.
    """
    found: set[str] = set()
    queue = [(frame, expr)]
    while queue:
        here, one = queue.pop()
        for place, inner, part in _read(here, one):
            if place in found:
                continue
            found.add(place)
            queue += [(inner, store.parts[1]) for store in _stores(inner.fn) if inner.place(store.parts[0]) == place]
            variable = part.variable if isinstance(part, Name) else -1
            if variable >= 0 and variable not in inner.bound and inner.parent is not None and inner.call is not None:
                position = inner.fn.variables[variable].position
                if 0 <= position < len(inner.call.args):
                    queue.append((inner.parent, inner.call.args[position]))
    return frozenset(found)


def _read(frame: Frame, expr: Expr) -> list[tuple[str, Frame, Expr]]:
    """The places that an expression reads, each as a whole: of a->b that one, not a; device pointers say nothing."""
    expr = strip(expr)
    if isinstance(expr, Name | Member) or (isinstance(expr, Index) and frame.place(expr) is not None):
        if isinstance(expr, Name) and (
            expr.variable < 0 or frame.fn.variables[expr.variable].type.base == "struct device"
        ):
            return []
        place = frame.place(expr)
        return [(place.lstrip("&*"), frame, expr)] if place is not None else []
    return [one for part in (expr.args if isinstance(expr, Call) else expr.parts) for one in _read(frame, part)]


def _stores(fn: Function) -> list[Assign]:
    return [
        part
        for node in fn.nodes
        for part in (walk(node.expr) if node.expr is not None else ())
        if isinstance(part, Assign)
    ]
