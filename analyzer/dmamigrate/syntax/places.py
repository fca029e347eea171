# SPDX-License-Identifier: GPL-2.0-only
"""Places that may be one under several names: through a pointer, by an index, and what is added to either."""

from __future__ import annotations

from dmamigrate.syntax.expr import Binary, Expr, Index, Member, Unary, path_of, strip


def normal(path: str) -> str:
    """A place with each way of going through a pointer written alike: `*p` and `p[i]` are `p[]`, and `p->f` is
    `p[].f`.
    """
    stars = len(path) - len(path.lstrip("*"))
    return path[stars:].replace("->", "[].") + "[]" * stars


def loose(place: Expr) -> str | None:
    """The path of a place whatever is added to the pointers on the way: `*(p + 1)` and `*p++` are what `*p` is."""
    place = strip(place)
    match place:
        case Unary(op="++" | "--"):
            return loose(place.parts[0])
        case Binary(op="+" | "-"):
            return loose(place.parts[0])
        case Unary(op="*"):
            base = loose(place.parts[0])
            return None if base is None else f"{base}[]"
        case Unary(op="&"):
            base = loose(place.parts[0])
            return base[:-2] if base is not None and base.endswith("[]") else None
        case Index():
            base = loose(place.parts[0])
            return None if base is None else f"{base}[]"
        case Member(field=field, arrow=arrow):
            base = loose(place.parts[0])
            return None if base is None else f"{base}{'[].' if arrow else '.'}{field}"
    path = path_of(place)
    return None if path is None else normal(path)


def pointed_to(value: Expr) -> str | None:
    """What a pointer of this value points to."""
    value = strip(value)
    if isinstance(value, Unary) and value.op == "&":
        return loose(value.parts[0])
    base = loose(value)
    return None if base is None else f"{base}[]"
