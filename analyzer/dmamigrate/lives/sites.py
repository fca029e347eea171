# SPDX-License-Identifier: GPL-2.0-only
"""The calls of the mapping API in one file, each where it is written or, for a macro that wraps it, where that is
used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dmamigrate.api import Api, ApiCall
from dmamigrate.findings import Skipped, Span
from dmamigrate.syntax.expr import Call, Expr, Name, strip
from dmamigrate.syntax.functions import Function
from dmamigrate.syntax.source import Source
from dmamigrate.syntax.unit import Unit
from dmamigrate.values.engine import Engine
from dmamigrate.values.questions import Frame, Use

_NESTED_MACROS = 3


@dataclass(frozen=True)
class Site:
    """A call of the API in its function; with `frame`, inside a macro that is used there."""

    fn: Function
    node: int
    call: Call
    api: ApiCall
    frame: Frame | None = None

    @property
    def user(self) -> tuple[Function, int, Call]:
        """The function that runs the call, the node and the call there: that of the macro, if one wraps it."""
        fn, node, call, frame = self.fn, self.node, self.call, self.frame
        while fn.macro and frame is not None:
            fn, node, call, frame = frame.fn, frame.node, frame.call, frame.parent
        return fn, node, call

    @property
    def key(self) -> tuple[str, int]:
        """The file and the byte offset of the call, or of the use of the macro that wraps it."""
        fn, _, call = self.user
        return fn.source.path, call.start

    @property
    def written(self) -> tuple[str, int]:
        """The file and the byte offset at which the call itself is written."""
        return self.fn.source.path, self.call.start

    @property
    def where(self) -> str:
        """The place as path and line."""
        fn, _, call = self.user
        return f"{fn.source.path}:{fn.source.line(call.start)}"

    @property
    def span(self) -> Span:
        """The callee's name."""
        fn, _, call = self.user
        return span(fn.source, call.parts[0].start, call.parts[0].end)

    def argument(self, role: str) -> Expr | None:
        """The argument in this role, None if the call has no such argument."""
        position = self.api.position(role)
        return self.call.args[position] if 0 <= position < len(self.call.args) else None

    def use(self, expr: Expr) -> Use:
        """The value of an argument where the call runs."""
        return Use(self.fn, self.node, expr, self.frame)

    def text(self, role: str) -> str:
        """The source text of the argument in this role, as the user of a macro wrote it."""
        argument = self.argument(role)
        if argument is None:
            return ""
        fn, frame, expr = self.fn, self.frame, strip(argument)
        while fn.macro and frame is not None and isinstance(expr, Name) and expr.variable >= 0:
            position = fn.variables[expr.variable].position
            if not 0 <= position < len(frame.call.args):
                break
            argument = frame.call.args[position]
            fn, frame, expr = frame.fn, frame.parent, strip(argument)
        return fn.source.text(argument.start, argument.end)


def span(source: Source, start: int, end: int) -> Span:
    """The place from byte `start` to byte `end`, exclusive."""
    return Span(source.path, start, end, source.line(start), source.column(start), source.line(end), source.column(end))


def in_file(unit: Unit, api: Api, names: Iterable[str]) -> tuple[list[Site], list[Skipped]]:
    """The calls of `names` in real code of one file, and the places that look like one but could not be parsed."""
    wanted = frozenset(names)
    pattern = re.compile(rb"\b(" + b"|".join(re.escape(name.encode()) for name in sorted(wanted)) + rb")\s*\)?\s*\(")
    found: dict[int, Site] = {}
    calls: dict[Function, dict[tuple[str, int], tuple[int, Call]]] = {}
    skipped: list[Skipped] = []
    source = unit.source
    for match in pattern.finditer(source.blanked):
        name, at = match.group(1).decode(), match.start()
        item = unit.item_at(at)
        if item is not None and item.kind == "function" and at < item.body:
            continue  # the definition itself
        fn = unit.function_at(at)
        if fn is not None and fn.name in api.calls:
            continue  # the API's own functions, or a driver's stand-ins for kernels that lack one
        if fn is not None and fn not in calls:
            calls[fn] = {(c.name, c.parts[0].start): (node, c) for node, c in reversed(fn.calls) if c.name in wanted}
        call = calls[fn].get((name, at)) if fn is not None else None
        if fn is not None and call is not None:
            found[at] = Site(fn, *call, api.calls[name])
        elif not declares(source.blanked, at):
            place = f"{source.path}:{source.line(at)}"
            skipped.append(Skipped(place, f"{name}() stands where no call could be parsed"))
    return [found[at] for at in sorted(found)], skipped


def declares(text: bytes, at: int) -> bool:
    """Whether a type stands before the name at `at`, as in a prototype, or it is a macro that is defined there."""
    before = text[max(0, at - 200) : at]
    line = before.rpartition(b"\n")[2]
    if re.fullmatch(rb"[ \t]*#[ \t]*define[ \t]+", line) is not None:
        return True
    return re.search(rb"(?:\bextern\b|\bstatic\b|\b\w+_t\b|\bvoid\b|\bint\b)[\w\s*]*\Z", line) is not None or (
        not line.strip() and re.search(rb"(?:dma_addr_t|void)\s*\Z", before) is not None
    )


def used(engine: Engine, site: Site) -> Iterator[Site]:
    """The site, or for one inside a macro each use of that macro; a macro that nobody uses stands for itself."""
    if not site.fn.macro:
        yield site
        return
    frames = list(_uses(engine, site.fn, _NESTED_MACROS))
    yield from (Site(site.fn, site.node, site.call, site.api, frame) for frame in frames)
    if not frames:
        yield site


def _uses(engine: Engine, macro: Function, levels: int) -> Iterator[Frame]:
    for caller in engine.stores.callers(macro)[0] if levels else ():
        if not caller.fn.macro:
            yield Frame(caller.fn, caller.node, caller.call, None)
            continue
        for outer in _uses(engine, caller.fn, levels - 1):
            yield Frame(caller.fn, caller.node, caller.call, outer)
