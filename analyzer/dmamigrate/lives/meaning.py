# SPDX-License-Identifier: GPL-2.0-only
"""What an expression means in its function, written so that two spellings of one value look alike."""

from __future__ import annotations

import re

from dmamigrate.program.reach import reaching
from dmamigrate.syntax.expr import Binary, Call, Constant, Expr, Index, Member, Name, Unary, strip
from dmamigrate.syntax.functions import Function

_NUMBER = re.compile(r"(0[xX][0-9a-fA-F]+|\d+)[uUlL]*")
_SIZE = re.compile(r"SZ_(\d+)([KMGT]?)")
_UNIT = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def named_size(name: str) -> int | None:
    """The bytes that a constant of include/linux/sizes.h names, such as SZ_4K; None for any other name."""
    found = _SIZE.fullmatch(name)
    return int(found[1]) * _UNIT[found[2]] if found is not None else None


def meaning(fn: Function, node: int, expr: Expr, levels: int = 6) -> str:
    """`expr` at `node` of `fn`: locals by what was put into them, parameters by position, constants by value, casts left out."""
    expr = strip(expr)
    match expr:
        case Constant(text=text):
            found = _NUMBER.fullmatch(text)
            octal = found is not None and found[1].isdigit() and found[1].startswith("0")
            return str(int(found[1], 8 if octal else 0)) if found is not None else text
        case Name(text=text, variable=-1):
            size = named_size(text)
            return str(size) if size is not None else text
        case Name() | Member():
            return _place(fn, node, expr, levels)
        case Call():
            return f"{expr.name}({', '.join(meaning(fn, node, argument, levels) for argument in expr.args)})"
        case Binary(op=op):
            both = [meaning(fn, node, part, levels) for part in expr.parts]
            return _computed(op, both)
        case Unary(op=op):
            return f"{op}{meaning(fn, node, expr.parts[0], levels)}"
        case Index():
            return f"{meaning(fn, node, expr.parts[0], levels)}[{meaning(fn, node, expr.parts[1], levels)}]"
    return fn.source.text(expr.start, expr.end)


def _computed(op: str, parts: list[str]) -> str:
    if all(part.isdigit() for part in parts) and op in ("+", "*", "<<"):
        one, other = map(int, parts)
        return str(one + other if op == "+" else one * other if op == "*" else one << min(other, 64))
    if op == "+" and "0" in parts:
        return parts[1] if parts[0] == "0" else parts[0]
    return f"({f' {op} '.join(sorted(parts) if op in ('+', '*', '|') else parts)})"


def _place(fn: Function, node: int, expr: Name | Member, levels: int) -> str:
    """A variable or a member: the one value that reaches it, else what it is called."""
    # what a callee does through a pointer is the same before and after, as far as one function tells
    seen = reaching(fn, node, expr)
    stores = [one for one in seen.definitions if one.call is None]
    if len(stores) == 1 and stores[0].value is not None and not seen.entry and levels:
        return meaning(fn, stores[0].node, stores[0].value, levels - 1)
    if isinstance(expr, Member):
        name = f"{meaning(fn, node, expr.parts[0], levels)}->{expr.field}"
    else:
        position = fn.variables[expr.variable].position
        name = f"parameter {position}" if position >= 0 and not stores else f"local {expr.text}"
    return name if not stores else f"{name} as set by {len(stores)}"
