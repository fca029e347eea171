# SPDX-License-Identifier: GPL-2.0-only
"""The expression that a place FILE:LINE or FILE:LINE:COLUMN means, for `trace`."""

from __future__ import annotations

from dmamigrate.api import Api
from dmamigrate.errors import UsageError
from dmamigrate.syntax.expr import Assign, Call, Expr, Initializer, walk
from dmamigrate.syntax.functions import Function
from dmamigrate.syntax.unit import Unit
from dmamigrate.values.questions import Use

_ADDRESSES = ("phys", "addr", "page", "ptr", "sg", "state")


def at(api: Api, unit: Unit, place: tuple[int, int | None], argument: int | None) -> Use:
    """The value that a place (line and column, both from 1) means.

    That is the argument (from 0) of the call that stands there, the address if it is a mapping call's; else the widest
    expression that begins at the column, or the value that the line assigns. Raises UsageError if nothing to trace
    stands there, or if the call has no such argument.
    """
    line, column = place
    source = unit.source
    where = f"{source.path}:{line}"
    start, end = source.offset(line), source.offset(line + 1)
    offset = start + column - 1 if column is not None else start
    fn = unit.function_at(offset) or unit.function_at(max(start, end - 2))
    if fn is None:
        raise UsageError(f"{where}: no function holds this line; name a line inside one")
    found = _call(api, fn, (offset, start, end), column is not None)
    if found is not None and _means_argument(api, found[1], offset, (column is not None, argument is not None)):
        index, call = found
        wanted = argument if argument is not None else _address_position(api, call)
        if wanted >= len(call.args):
            raise UsageError(
                f"{where}: {call.name or 'the call'}() has {len(call.args)} arguments; --arg counts from 0"
            )
        return Use(fn, index, call.args[wanted])
    value = _beginning_at(fn, offset) if column is not None else _assigned_on(fn, start, end)
    if value is not None:
        return value
    if found is not None and column is None:
        return Use(fn, found[0], found[1].args[0] if found[1].args else found[1])
    raise UsageError(f"{where}: no call or assignment to trace; give LINE:COLUMN of an expression")


def _call(api: Api, fn: Function, span: tuple[int, int, int], exact: bool) -> tuple[int, Call] | None:
    """The call that a place means: the innermost around it, or the first of its line; a mapping call before others."""
    offset, start, end = span
    calls = [(i, c) for i, c in fn.calls if (c.start <= offset < c.end if exact else start <= c.parts[0].start < end)]
    return min(
        calls, key=lambda one: (one[1].name not in api.calls, -one[1].start if exact else one[1].start), default=None
    )


def _means_argument(api: Api, call: Call, offset: int, given: tuple[bool, bool]) -> bool:
    column, argument = given
    if argument:
        return True
    if column:
        callee = call.parts[0]
        return callee.start <= offset < callee.end
    return call.name in api.calls


def _address_position(api: Api, call: Call) -> int:
    known = api.calls.get(call.name)
    if known is None:
        return 0
    return next((p for p in (known.position(role) for role in _ADDRESSES) if p >= 0), 0)


def _beginning_at(fn: Function, offset: int) -> Use | None:
    """The widest expression that begins at an offset, else the smallest that holds it."""
    for index, node in enumerate(fn.nodes):
        inside = [e for e in walk(node.expr) if 0 <= e.start <= offset < e.end] if node.expr is not None else []
        beginning = [e for e in inside if e.start == offset and not isinstance(e, Assign)]
        if inside:
            chosen: Expr = max(beginning, key=_width) if beginning else min(inside, key=_width)
            return Use(fn, index, chosen)
    return None


def _width(expr: Expr) -> int:
    return expr.end - expr.start


def _assigned_on(fn: Function, start: int, end: int) -> Use | None:
    """What the first assignment or designated initialiser between two offsets sets."""
    for index, node in enumerate(fn.nodes):
        inside = [e for e in walk(node.expr) if e.start >= 0] if node.expr is not None else []
        values = [e.parts[1] for e in inside if isinstance(e, Assign) and start <= e.start < end]
        values += [p for e in inside if isinstance(e, Initializer) for p in e.parts if start <= p.start < end]
        if values:
            return Use(fn, index, values[0])
    return None
