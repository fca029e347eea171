# SPDX-License-Identifier: GPL-2.0-only
"""What can be asked about values, and what an answer about flow consists of."""

from __future__ import annotations

from dataclasses import dataclass

from dmamigrate.program.queries import Stop
from dmamigrate.syntax.expr import Call, Expr, path_of
from dmamigrate.syntax.functions import Function
from dmamigrate.syntax.unit import Unit

EXIT = 1


@dataclass(frozen=True, slots=True)
class Frame:
    """The call through which a callee was entered on the way back."""

    fn: Function
    node: int
    call: Call
    parent: Frame | None

    @property
    def key(self) -> tuple[object, ...]:
        """The chain of calls, the same whenever it is entered again."""
        outer = self.parent.key if self.parent is not None else ()
        return (self.fn.source.path, self.call.start, self.call.end, *outer)


def _chain(frame: Frame | None) -> tuple[object, ...]:
    return frame.key if frame is not None else ()


@dataclass(frozen=True, slots=True)
class Use:
    """The value of `expr` at `node` of `fn`, entered through `frame` if that is known."""

    fn: Function
    node: int
    expr: Expr
    frame: Frame | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """What tells this question from others."""
        return ("use", self.fn.source.path, self.fn.start, self.node, self.expr, _chain(self.frame))

    def of(self, expr: Expr) -> Use:
        """Another expression at the same place."""
        return Use(self.fn, self.node, expr, self.frame)


@dataclass(frozen=True, slots=True)
class Held:
    """What the member `use.expr` holds that nothing near by set; with `element`, what it contains or points to."""

    use: Use
    element: bool = False

    @property
    def key(self) -> tuple[object, ...]:
        """What tells this question from others."""
        return ("held", self.element, *self.use.key)


@dataclass(frozen=True, slots=True)
class Behind:
    """What stands behind a pointer, or in an array, that nothing near by fills."""

    use: Use

    @property
    def key(self) -> tuple[object, ...]:
        """What tells this question from others."""
        return ("behind", *self.use.key)


@dataclass(frozen=True, slots=True)
class Param:
    """What callers pass as the argument at `position` (from 0) of `fn`; with `pointee`, what that points to."""

    fn: Function
    position: int
    pointee: bool = False

    @property
    def key(self) -> tuple[object, ...]:
        """What tells this question from others."""
        return ("param", self.fn.source.path, self.fn.start, self.position, self.pointee)


@dataclass(frozen=True, slots=True)
class Field:
    """What any store to member `field` of struct `tag`, as `unit` sees it, puts there; with `element`, what is in
    it.
    """

    tag: str
    field: str
    unit: Unit
    home: str
    element: bool = False

    @property
    def key(self) -> tuple[object, ...]:
        """What tells this question from others."""
        return ("field", self.tag, self.field, self.home or self.unit.source.path, self.element)


@dataclass(frozen=True, slots=True)
class Global:
    """What a variable outside of functions holds, as `unit` sees it."""

    name: str
    unit: Unit

    @property
    def key(self) -> tuple[object, ...]:
        """What tells this question from others."""
        return ("global", self.unit.source.path, self.name)


@dataclass(frozen=True, slots=True)
class Fill:
    """What `call`, at `use.node` of `use.fn`, leaves in the place `use.expr` through its argument at `position`."""

    use: Use
    call: Call
    position: int

    @property
    def key(self) -> tuple[object, ...]:
        """What tells this question from others."""
        return ("fill", self.call.start, self.call.end, self.position, *self.use.key)


@dataclass(frozen=True, slots=True)
class Exit:
    """What `callee` leaves in `place`, seen from inside of it."""

    callee: Function
    place: Expr
    frame: Frame

    @property
    def key(self) -> tuple[object, ...]:
        """What tells this question from others."""
        return ("exit", self.callee.source.path, self.callee.start, path_of(self.place), self.frame.key)


Question = Use | Held | Behind | Param | Field | Global | Fill | Exit


@dataclass(frozen=True, slots=True)
class Inflow:
    """One way in which a value flows in: from `source` (None for zero), by what `at` in `fn` does; no note, no step."""

    source: Question | None
    fn: Function
    at: Expr
    note: str = ""


@dataclass(frozen=True, slots=True)
class Inflows:
    """All ways, why there may be others, and what it means if none of them brings anything."""

    edges: tuple[Inflow, ...] = ()
    open: tuple[Stop, ...] = ()
    nothing: str = ""


def closed(reason: str, outside: bool = False) -> Inflows:
    """Nothing that was followed, and why."""
    return Inflows((), (Stop(reason, outside),))


def text_of(use: Use, expr: Expr) -> str:
    """The source text of `expr`, with white space folded."""
    return use.fn.source.text(max(expr.start, 0), max(expr.end, 0))
