# SPDX-License-Identifier: GPL-2.0-only
"""Whether two sizes can be the same, as far as the source says what they are."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dmamigrate.lives.meaning import named_size
from dmamigrate.lives.pair import Site
from dmamigrate.program.reach import reaching
from dmamigrate.syntax.expr import Binary, Constant, Expr, Member, Name, strip
from dmamigrate.syntax.functions import Function
from dmamigrate.values.engine import Engine

# A size: so many times what is named; "" names a byte.
Size = tuple[int, str]


class Sizes:
    """Answers for one tree."""

    def __init__(self, tracer: Engine) -> None:
        self._tracer = tracer

    def differ(self, mapped: Site, unmapped: Site) -> str:
        """The map's size if the unmap's cannot be the same on any path, else "": what is not a constant may be equal."""
        first, second = mapped.argument("size"), unmapped.argument("size")
        if first is None or second is None or mapped.text("size") == unmapped.text("size"):
            return ""
        one = frozenset(self._of(mapped.fn, mapped.node, first, 5))
        other = frozenset(self._of(unmapped.fn, unmapped.node, second, 5))
        if not one or not other or None in one or None in other or one & other:
            return ""
        # of PAGE_SIZE and a number nobody knows which is larger
        same_kind = {size[1] for size in one if size is not None} == {size[1] for size in other if size is not None}
        return mapped.text("size") if same_kind else ""

    def _of(self, fn: Function, node: int, expr: Expr, levels: int) -> Iterator[Size | None]:
        expr = strip(expr)
        known = self._constant(fn, expr, 4)
        if known is not None:
            yield known
            return
        if isinstance(expr, Name) and expr.variable >= 0 and levels:
            seen = reaching(fn, node, expr)
            for definition in seen.definitions:
                if definition.value is None or definition.value is definition.at:
                    yield None
                else:
                    yield from self._of(fn, definition.node, definition.value, levels - 1)
            variable = fn.variables[expr.variable]
            if seen.entry:
                callers, complete, _why = self._tracer.stores.callers(fn) if variable.position >= 0 else ((), False, "")
                if not complete:
                    yield None
                for caller in callers:
                    if variable.position < len(caller.call.args):
                        yield from self._of(caller.fn, caller.node, caller.call.args[variable.position], levels - 1)
            return
        unit = self._tracer.tree.unit(fn.source.path)
        owner = self._tracer.types.member(expr, fn, unit) if isinstance(expr, Member) and unit is not None else None
        if isinstance(expr, Member) and owner is not None and unit is not None and levels:
            stores, complete = self._tracer.stores.of_field(owner[0], expr.field, unit)
            if not complete or not stores:
                yield None
            for store in stores:
                if store.value is None or store.call is not None or store.value.start < 0:
                    yield None
                else:
                    yield from self._of(store.fn, store.node, store.value, levels - 1)
            return
        yield None

    def _constant(self, fn: Function, expr: Expr, levels: int) -> Size | None:
        expr = strip(expr)
        match expr:
            case Constant(text=text) if re.fullmatch(r"(0[xX][0-9a-fA-F]+|[1-9]\d*|0)[uUlL]*", text):
                return int(text.rstrip("uUlL"), 0), ""
            case Name(text=text, variable=-1):
                size = named_size(text)
                if size is not None:
                    return size, ""
                if text in ("PAGE_SIZE", "PAGE_SHIFT"):
                    return 1, text
                home = self._tracer.tree.unit(fn.source.path)
                macros = self._tracer.tree.macros(text, home) if home is not None and levels else ()
                found = [
                    self._constant(m, n.expr, levels - 1)
                    for m in macros
                    if not m.params
                    for n in m.nodes
                    if n.expr is not None
                ]
                return found[0] if len(found) == 1 else None
            case Binary(op="*" | "<<" as op):
                one, other = self._constant(fn, expr.parts[0], levels), self._constant(fn, expr.parts[1], levels)
                if one is None or other is None:
                    return None
                if op == "<<":
                    return (one[0] << other[0], one[1]) if other[1] == "" and other[0] < 64 else None
                if one[1] and other[1]:
                    return None
                return one[0] * other[0], one[1] or other[1]
            case Binary(op="+"):
                one, other = self._constant(fn, expr.parts[0], levels), self._constant(fn, expr.parts[1], levels)
                return (
                    (one[0] + other[0], one[1])
                    if one is not None and other is not None and one[1] == other[1]
                    else None
                )
            case _ if fn.source.text(max(expr.start, 0), max(expr.start, 0) + 6) == "sizeof":
                return 1, "".join(fn.source.text(expr.start, expr.end).split())
        return None
