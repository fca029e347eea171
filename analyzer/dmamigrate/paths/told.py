# SPDX-License-Identifier: GPL-2.0-only
"""What a condition or an operator tells of a word."""

from __future__ import annotations

from dataclasses import replace

from dmamigrate.paths.values import NEGATIVE, UNKNOWN, Flags, Value, constant
from dmamigrate.syntax.expr import Binary, Call, Expr, Member, Name, Unary, strip


def other_than(place: Expr, known: Value, names: frozenset[str]) -> Flags | None:
    """What is known of a place that is not a named constant; None for what is negative, which takes other values soon."""
    (name,) = names if len(names) == 1 else ("",)
    if not isinstance(place, Member | Name) or not isinstance(known, Flags) or not name or name.startswith("-"):
        return None
    return replace(known, never=known.never | {name})


def if_true(expr: Expr, splits: frozenset[str]) -> Value:
    """What a condition that holds is worth; what a client tells apart answers with an error number."""
    return NEGATIVE if isinstance(expr, Call) and expr.name in splits else constant("1")


def combined(expr: Binary, a: Value, b: Value) -> Value:
    """What `expr` makes of two words."""
    if not isinstance(a, Flags) or not isinstance(b, Flags):
        return UNKNOWN
    if expr.op == "&":
        inner = strip(expr.parts[1])
        return UNKNOWN if isinstance(inner, Unary) and inner.op == "~" else a.both(b)
    return a.union(b) if expr.op == "|" or not (a.on & b.on) else UNKNOWN
