# SPDX-License-Identifier: GPL-2.0-only
"""Reaching definitions: which stores to a place may a use see, walking control flow backwards on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dmamigrate.syntax.expr import (
    Assign,
    Call,
    Cast,
    Expr,
    Index,
    Initializer,
    Member,
    Name,
    Statements,
    Unary,
    path_of,
    strip,
    walk,
)
from dmamigrate.syntax.functions import Function
from dmamigrate.syntax.places import loose, normal


@dataclass(frozen=True, slots=True)
class Definition:
    """A store that a use may see, at node `node`.

    `value` is what the place becomes, in terms of that node, None for zero; for a store by a callee `call` and
    `argument` (from 0) say whose.
    """

    node: int
    value: Expr | None
    at: Expr
    call: Call | None = None
    argument: int = -1


@dataclass(frozen=True, slots=True)
class Reaching:
    """The definitions that reach a use; `entry` tells that some path from the function's start has none.

    `passed` are the calls that may have run since.
    """

    definitions: tuple[Definition, ...]
    entry: bool
    passed: tuple[Call, ...] = ()


@dataclass(frozen=True, slots=True)
class Effects:
    """What only types and other functions tell of one use.

    `overwrites` says whether a call surely sets what it is handed by the argument at a position (from 0), so that
    nothing earlier is seen past it; `aliases` whether another place may be the same one.
    """

    overwrites: Callable[[Call, int], bool]
    aliases: Callable[[Expr], bool]


_NO_EFFECTS = Effects(lambda call, position: False, lambda place: False)


def _project(value: Expr, use: Expr, target: Expr) -> Expr | None:
    """What `use` becomes when `target`, which it is or is part of, becomes `value`; None for zero.

    What is made has the place of `value`, which may stand in another file than `use`.
    """
    if path_of(use) == path_of(target):
        return value
    use = strip(use)
    if not use.parts:
        return value
    base = _project(value, use.parts[0], target)
    if base is None:
        return None
    start, end = value.start, value.end
    match use:
        case Member(field=field, arrow=arrow):
            inner = strip(base)
            while isinstance(inner, Cast):
                inner = inner.parts[0]
            if isinstance(inner, Initializer):
                return _designated(inner, field)
            if arrow and isinstance(inner, Unary) and inner.op == "&":
                return Member(start, end, (inner.parts[0],), field, False)
            return Member(start, end, (base,), field, arrow)
        case Index():
            if isinstance(strip(base), Initializer):
                return base
            return Index(start, end, (base, use.parts[1]))
        case Unary(op=op):
            inner = strip(base)
            if op == "*" and isinstance(inner, Unary) and inner.op == "&":
                return inner.parts[0]
            return Unary(start, end, (base,), op)
    return value


def _designated(init: Initializer, field: str) -> Expr | None:
    for name, part in zip(init.fields, init.parts, strict=True):
        if name == field:
            return part
        if name.startswith(field + "."):
            return Initializer(part.start, part.end, (part,), (name[len(field) + 1 :],))
    return None if all(init.fields) else init


def substitute(use: Expr, root: Expr, value: Expr) -> Expr:
    """`use` with the variable `root` replaced by `value`."""
    return _project(value, use, root) or Expr(use.start, use.end)


def _extends(path: str, base: str) -> bool:
    return path.startswith(base) and path[len(base) : len(base) + 1] in (".", "-", "[") and path != base


def _behind(path: str, pointer: str) -> bool:
    """Whether `path` is what `pointer` points to, or part of it."""
    return path == f"*{pointer}" or path.startswith((f"{pointer}->", f"*{pointer}.", f"{pointer}["))


def _names(target: str, through: dict[str, frozenset[str]], levels: int = 3) -> Iterator[str]:
    """The names of a place: its own, and those that it has by what the local that it begins with points to."""
    yield target
    root, inside, rest = target.partition("[]")
    for there in through.get(root, ()) if inside and levels else ():
        yield from _names(there + rest, through, levels - 1)


def _part(value: Expr, rest: str) -> Expr | None:
    """The part of a whole value that a path goes on with; None for zero."""
    part: Expr | None = value
    for field in rest.strip(".").split("."):
        inner = strip(part) if part is not None else None
        while isinstance(inner, Cast):
            inner = inner.parts[0]
        if inner is None or "[" in field:
            return Expr(value.start, value.end) if inner is not None else None
        if isinstance(inner, Initializer):
            part = _designated(inner, field)
        elif isinstance(inner, Unary) and inner.op == "*":
            part = Member(value.start, value.end, (inner.parts[0],), field, True)
        else:
            part = Member(value.start, value.end, (inner,), field, False)
    return part


def _otherwise(fn: Function, index: int, expr: Assign, path: str) -> Iterator[Definition]:
    """A store that may be one to `path` by another name: through a pointer that was copied, or by an index."""
    target, wanted = loose(expr.parts[0]), normal(path)
    if target is None or "[]" not in target:
        return
    for name in _names(target, fn.pointers):
        if name == wanted:
            yield Definition(index, expr.parts[1] if expr.op == "=" else expr, expr)
        elif expr.op == "=" and wanted.startswith(f"{name}."):
            yield Definition(index, _part(expr.parts[1], wanted[len(name) :]), expr)


def _stores(fn: Function, index: int, path: str, use: Expr, effects: Effects) -> Iterator[tuple[Definition, bool]]:
    """The stores to `path` in one node, each with whether nothing earlier can be seen past it."""
    for expr, sure, paths in fn.effects[index]:
        if isinstance(expr, Assign):
            (target,), value = paths, expr.parts[1] if expr.op == "=" else expr
            if target == path:
                yield Definition(index, value, expr), sure and expr.op == "=" and "[]" not in path
            elif target is not None and expr.op == "=" and _extends(path, target):
                projected = _project(expr.parts[1], use, expr.parts[0])
                yield Definition(index, projected, expr), sure and "[]" not in path[: len(target)]
            elif effects.aliases(expr.parts[0]):
                yield Definition(index, value, expr), False
            else:
                yield from ((one, False) for one in _otherwise(fn, index, expr, path))
            continue
        assert isinstance(expr, Call), "nothing else has effects"
        for position, handed in enumerate(paths):
            if handed is None:
                continue
            if handed.startswith("&"):
                if handed[1:] == path or _extends(path, handed[1:]):
                    yield Definition(index, None, expr, expr, position), _kills(effects, expr, position, sure)
            elif handed == path or _behind(path, handed):
                kills = handed != path and _kills(effects, expr, position, sure)
                yield Definition(index, None, expr, expr, position), kills


def _kills(effects: Effects, call: Call, position: int, sure: bool) -> bool:
    return sure and effects.overwrites(call, position)


def reaching(fn: Function, node: int, use: Expr, effects: Effects = _NO_EFFECTS) -> Reaching:
    """The definitions of the place `use` that may be seen when control is at `node`.

    Stores in the node itself count only where it is a statement expression.
    """
    path = path_of(use)
    if path is None:
        return Reaching((), True)
    found: list[Definition] = []
    passed: list[Call] = []
    entry = False
    inside = fn.nodes[node].expr
    start_inside = inside is not None and any(isinstance(e, Statements) for e in walk(inside))
    queue = [(node, start_inside)]
    seen: set[tuple[int, bool]] = set()
    while queue:
        index, look = queue.pop()
        if (index, look) in seen:
            continue
        seen.add((index, look))
        killed = False
        if look:
            if index == 0:
                entry = True
                continue
            current = fn.nodes[index]
            for definition, kills in _stores(fn, index, path, use, effects):
                found.append(definition)
                if kills:
                    killed = True
                    break
            if not killed:
                passed += [effect.expr for effect in fn.effects[index] if isinstance(effect.expr, Call)]
            if not killed and current.kind == "declare" and path.startswith(f"#{current.variable}"):
                tail = path[len(f"#{current.variable}") :]
                killed = not tail or not tail[0].isdigit()
        elif index == 0:
            entry = True
        if not killed:
            queue += [(before, True) for before in fn.predecessors[index]]
    return Reaching(tuple(sorted(found, key=lambda d: (d.node, d.at.start))), entry, tuple(passed))


def root_of(expr: Expr) -> Name | None:
    """The variable that an lvalue starts from."""
    expr = strip(expr)
    while not isinstance(expr, Name):
        if not expr.parts or not isinstance(expr, Member | Index | Unary):
            return None
        expr = strip(expr.parts[0])
    return expr


def set_unseen(fn: Function) -> frozenset[int]:
    """The locals that may be set where control flow does not show it.

    Those whose address is kept somewhere, so that a store through a pointer changes them (handing it to a call is no
    such thing: what the callee does is followed), and statics that are set again, which keep what an earlier call left.
    """
    unseen: set[int] = set()
    for node in fn.nodes:
        for expr in walk(node.expr) if node.expr is not None else ():
            if isinstance(expr, Call):
                continue
            if isinstance(expr, Assign) and (root := root_of(expr.parts[0])) is not None and root.variable >= 0:
                variable = fn.variables[root.variable]
                if variable.static and expr.start != variable.start:
                    unseen.add(root.variable)
            for part in expr.parts:
                inner = strip(part)
                if isinstance(inner, Unary) and inner.op == "&" and (root := root_of(inner.parts[0])) is not None:
                    direct = not any(isinstance(e, Member) and e.arrow for e in walk(inner.parts[0]))
                    if root.variable >= 0 and direct and not isinstance(strip(inner.parts[0]), Index):
                        unseen.add(root.variable)
    return frozenset(unseen)
