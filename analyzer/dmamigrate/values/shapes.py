# SPDX-License-Identifier: GPL-2.0-only
"""What the shape of an expression, a store or a macro says of the places in it."""

from __future__ import annotations

import re
from dataclasses import replace

from dmamigrate.program.records import Store
from dmamigrate.syntax.expr import (
    Assign,
    Call,
    Constant,
    Expr,
    Index,
    Initializer,
    Member,
    Name,
    Unary,
    path_of,
    strip,
    walk,
)
from dmamigrate.syntax.functions import Function
from dmamigrate.values.questions import Inflows


def hides(macro: Function, param: int) -> bool:
    """Whether a macro may store through a parameter in a way that is not seen: it hands it on, or keeps it
    elsewhere.
    """
    for node in macro.nodes:
        for part in walk(node.expr) if node.expr is not None else ():
            given = part.args if isinstance(part, Call) else part.parts[1:] if isinstance(part, Assign) else ()
            if any(isinstance(e, Name) and e.variable == param for argument in given for e in walk(argument)):
                return True
            if type(part) is Expr and (part.parts or part.end > part.start):
                return True
    return False


def both(one: Inflows, other: Inflows) -> Inflows:
    """What flows in by either."""
    return Inflows((*one.edges, *other.edges), (*one.open, *other.open))


def last_value(macro: Function) -> tuple[int, Expr] | None:
    """The node and the expression that a macro's value is, None if it has none."""
    return next(((i, n.expr) for i, n in reversed(list(enumerate(macro.nodes))) if n.expr is not None), None)


def others_set(fn: Function, root: Name, place: Member) -> set[str]:
    """The names of the members of a local, other than the one that is used or that it is a part of, that its function
    sets.
    """
    outer = f"#{root.variable}."
    own = _first((path_of(place) or "").removeprefix(outer))
    paths = (path for node in fn.effects for one in node if isinstance(one.expr, Assign) for path in one.paths)
    return {_first(path.removeprefix(outer)) for path in paths if path is not None and path.startswith(outer)} - {own}


def _first(path: str) -> str:
    """The first member of a path."""
    return re.split(r"\W", path, maxsplit=1)[0]


def through_pointer(place: Expr) -> bool:
    """Whether a place is reached through a pointer, which may point to what another one does."""
    while isinstance(place, Member | Index):
        if isinstance(place, Member) and place.arrow:
            return True
        place = strip(place.parts[0])
    return isinstance(place, Unary)


def base_of(expr: Expr) -> Expr:
    """What an element or a pointee is reached from."""
    base = strip(expr.parts[0])
    while isinstance(base, Index):
        base = strip(base.parts[0])
    return base


def seen_inside(store: Store) -> Store:
    """For a store of a whole array or pointer: the same store seen from one of its elements."""
    value = store.value
    if value is None or store.call is not None or isinstance(store.place, Index):
        return store
    if isinstance(strip(value), Initializer | Constant) or strip(store.place) is value:
        return store
    zero = Constant(value.start, value.start, (), "0")
    return replace(store, value=Index(value.start, value.end, (value, zero)))


def winds(place: Member) -> bool:
    """Whether a place goes through one member twice, as a list walked in a loop: longer places of the kind say no
    more.
    """
    fields = [part.field for part in walk(place) if isinstance(part, Member)]
    return len(fields) > len({*fields}) + (fields.count(place.field) > 1)
