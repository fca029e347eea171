# SPDX-License-Identifier: GPL-2.0-only
"""Which side of an operation carries the address."""

from __future__ import annotations

from collections.abc import Callable

from dmamigrate.syntax.expr import Binary, Constant, Expr, Name, Unary, strip
from dmamigrate.values.leaves import NUMBER, Leaves, cut, is_address, is_number, merge, uncut

_NO_ADDRESS = frozenset({"==", "!=", "<", ">", "<=", ">=", "&&", "||", "%"})


def address_side(expr: Binary, ask: Callable[[Expr], Leaves]) -> Leaves:
    """The side of an operation that carries the address."""
    left, right = expr.parts
    op = expr.op
    if op in _NO_ADDRESS:
        return NUMBER
    if op == ",":
        return ask(right)
    if op == "<<":
        return uncut(ask(left))
    if op == ">>":
        return cut(ask(left))
    if op in ("*", "/"):
        pages = [side for side in (left, right) if isinstance(side, Name) and side.text.endswith("PAGE_SIZE")]
        whole = ask(left if pages and pages[0] is right else right) if pages else NUMBER
        return cut(whole) if op == "/" else uncut(whole)
    if op == "^":
        return merge((ask(left), ask(right)))
    if op == "-":
        minuend = ask(left)
        if isinstance(strip(right), Constant) or not is_address(minuend):
            return minuend
        other = ask(right)
        if not is_address(other):
            return minuend
        # the distance between two addresses is a number; between two kinds, one that turns the one into the other
        return NUMBER if {leaf.kind for leaf in minuend} == {leaf.kind for leaf in other} else minuend
    if op == "&":
        if _is_offset(right):
            return NUMBER
        first = ask(left)
        return ask(right) if is_number(first) else first
    # a sum has one address in it; what is left of a difference is an offset, so look at the other side first
    if isinstance(strip(left), Binary) and strip(left).op == "-":  # type: ignore[attr-defined]
        left, right = right, left
    difference = strip(right)
    if op == "+" and isinstance(difference, Binary) and difference.op == "-":
        return _with_offset(ask(left), difference, ask)
    first = ask(left)
    if isinstance(strip(right), Constant):
        return first
    second = ask(right)
    if is_address(first) and is_address(second):
        return merge((first, second))
    if is_number(first) or (not second and not is_address(first)):
        # (an empty answer is the question itself again, as in base = base + offset: no new origin)
        return second
    if not first and not is_address(second):
        return first
    if is_number(second) or (is_address(first) and not is_address(second)):
        return first
    return second if is_address(second) and not is_address(first) else merge((first, second))


def _is_offset(mask: Expr) -> bool:
    """Whether a mask leaves the low bits: `PAGE_SIZE - 1`, `~PAGE_MASK`."""
    mask = strip(mask)
    if isinstance(mask, Unary):
        inner = strip(mask.parts[0])
        return mask.op == "~" and isinstance(inner, Name) and inner.text.endswith("_MASK")
    last = strip(mask.parts[1]) if isinstance(mask, Binary) and mask.op == "-" else None
    return isinstance(last, Constant) and last.text.rstrip("uUlL") == "1"


def _with_offset(base: Leaves, difference: Binary, ask: Callable[[Expr], Leaves]) -> Leaves:
    """`base + (minuend - other)`: the base at an offset, or the minuend where the other is what the base is."""
    if not is_address(base):
        found = ask(difference)
        return found if is_number(base) or (not base and is_address(found)) else merge((base, found))
    other = ask(difference.parts[1])
    if is_address(other) and {leaf.kind for leaf in other} == {leaf.kind for leaf in base}:
        minuend = ask(difference.parts[0])
        return minuend if is_address(minuend) else base
    return base
