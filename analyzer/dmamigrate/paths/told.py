# SPDX-License-Identifier: GPL-2.0-only
"""What a condition or an operator tells of a word."""

from __future__ import annotations

from dataclasses import replace

from dmamigrate.paths.values import NEGATIVE, UNKNOWN, ZERO, Flags, Value, constant
from dmamigrate.syntax.expr import Binary, Call, Expr, Member, Name, Unary, strip


def other_than(place: Expr, known: Value, names: frozenset[str]) -> Flags | None:
    """What is known of a place that is not a named constant; None for what is negative, which takes other values
    soon.
    """
    (name,) = names if len(names) == 1 else ("",)
    if not isinstance(place, Member | Name) or not isinstance(known, Flags) or not name or name.startswith("-"):
        return None
    return replace(known, never=known.never | {name})


ERROR_POINTERS = frozenset({"IS_ERR", "IS_ERR_OR_NULL"})
# By convention what is asked IS_ERR() is never NULL.
_NO_ERROR = Flags(nonzero=True, never=frozenset({"-1"}))


def as_pointer(asked: str, known: Value, truth: bool) -> Flags | None:
    """What a pointer is where a call of ERROR_POINTERS says that it is an error, or is not; None if that cannot be."""
    word = known if isinstance(known, Flags) else UNKNOWN
    either = asked == "IS_ERR_OR_NULL"
    if word == ZERO or word.negative or word.never & _NO_ERROR.never:
        failed = bool(word.negative) or (either and word == ZERO)
        return word if failed is truth else None
    return _NO_ERROR if not truth else word if either else NEGATIVE


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


def updated(op: str, held: Value, value: Value, without: Value | None) -> Value:
    """What `held op value` leaves; for `&= ~mask`, `without` is the mask."""
    if not isinstance(held, Flags):
        return UNKNOWN
    if op == "|=" and isinstance(value, Flags):
        return held.union(value)
    if op == "&=" and isinstance(without, Flags):
        return held.without(without.on)
    if op == "&=" and isinstance(value, Flags) and value.exact:
        return held.within(value.on)
    return UNKNOWN


def in_order(op: str, left: Value, right: Value | None) -> bool | None:
    """Whether a comparison of two numbers holds, None if one of them is not known."""
    one, other = _number(left), _number(right)
    if one is None or other is None:
        return None
    return {"<": one < other, ">=": one >= other, ">": one > other, "<=": one <= other}[op]


def _number(value: Value | None) -> int | None:
    """The number that a word is, None for any other."""
    if value == ZERO:
        return 0
    if isinstance(value, Flags) and value.exact and len(value.on) == 1 and (digits := next(iter(value.on))).isdigit():
        return int(digits)
    return None
