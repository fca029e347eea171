# SPDX-License-Identifier: GPL-2.0-only
"""What the attributes of a mapping call may be, over all paths to it: through variables, members, callers and callees."""

from __future__ import annotations

import re

from dmamigrate.lives.api import ATTRIBUTES, MMIO
from dmamigrate.lives.pair import Site
from dmamigrate.paths.explore import Explorer
from dmamigrate.paths.places import Frame
from dmamigrate.paths.state import Client, State
from dmamigrate.paths.values import UNKNOWN, ZERO, Flags, Same, Value
from dmamigrate.program.tree import Tree
from dmamigrate.program.types import Types
from dmamigrate.syntax.expr import Binary, Call, Constant, Expr, Member, Name, strip
from dmamigrate.syntax.functions import Function
from dmamigrate.values.engine import Engine

Held = frozenset[frozenset[str]]


class _At(Client):
    """Collects what one expression, the attributes of one call, is on each path to that call."""

    def __init__(self, call: Call, fn: Function, attrs: int, facts: Attributes) -> None:
        names = sorted({call.name, fn.name, MMIO})
        self.words = re.compile(rb"\b(?:" + b"|".join(re.escape(name.encode()) for name in names if name) + rb")\b")
        self.found: set[Flags] = set()
        self._call, self._fn, self._attrs, self._facts = call, fn, attrs, facts

    def called(self, frame: Frame, node: int, call: Call, state: State, values: tuple[Value, ...]) -> State:
        if (
            call.start == self._call.start
            and frame.fn.source.path == self._fn.source.path
            and self._attrs < len(values)
        ):
            value = values[self._attrs]
            if isinstance(value, Same):
                value = state.get(value.place) or UNKNOWN
            self.found.add(value if isinstance(value, Flags) else UNKNOWN)
        return state

    def field(self, frame: Frame, member: Member) -> tuple[Value, ...]:
        return self._facts.kept(frame, member)


class _Stored(Client):
    """Collects what one assignment stores."""

    words = re.compile(rb"\bDMA_ATTR_")

    def __init__(self, value: Expr) -> None:
        self.found: set[Value] = set()
        self._value = value

    def evaluated(self, frame: Frame, expr: Expr, state: State, value: Value) -> None:
        if expr is self._value:
            held = state.get(value.place) if isinstance(value, Same) else value
            self.found.add(held if isinstance(held, Flags) else UNKNOWN)


class Attributes:
    """Answers for one tree."""

    def __init__(self, tracer: Engine) -> None:
        self._tracer = tracer
        self._held: dict[tuple[str, int], Held | None] = {}
        self._kept: dict[tuple[str, str, str], tuple[Value, ...]] = {}

    @property
    def _tree(self) -> Tree:
        return self._tracer.tree

    @property
    def _types(self) -> Types:
        return self._tracer.types

    def at(self, site: Site) -> Held | None:
        """The sets of attributes that a call may be given, what its family implies included; None if not all are known."""
        if site.key not in self._held:
            self._held[site.key] = self._at(site)
        return self._held[site.key]

    def always(self, site: Site) -> frozenset[str] | None:
        """The attributes that a call is given on every path alike, None if paths differ or are not known."""
        held = self.at(site)
        return next(iter(held)) if held is not None and len(held) == 1 else None

    def _at(self, site: Site) -> Held | None:
        implied = {MMIO} if site.api.family == "resource" else set()
        argument = site.argument("attrs")
        if argument is None:
            return frozenset({frozenset(implied)})
        names = _written(argument)
        if names is not None:
            return frozenset({frozenset(names | implied)})
        found = self._collected(site.fn, site)
        if not _known(found):
            found = self._from_callers(site)
        if not _known(found):
            return None
        return frozenset(frozenset((one.on & ATTRIBUTES) | implied) for one in found)

    def _collected(self, root: Function, site: Site) -> set[Flags]:
        at = _At(site.call, site.fn, site.api.position("attrs"), self)
        explorer = Explorer(self._tree, at)
        explorer.explore(root)
        return at.found if explorer.complete else {UNKNOWN}

    def _from_callers(self, site: Site) -> set[Flags]:
        """What the callers, and theirs if need be, make the attributes of a call inside `site.fn`."""
        roots, found = [site.fn], {UNKNOWN}
        for _ in range(2):
            above: dict[int, Function] = {}
            for root in roots:
                callers, complete, _why = self._tracer.stores.callers(root)
                if not complete or not callers or len(callers) > self._tracer.budget.callers:
                    return {UNKNOWN}
                above |= {id(caller.fn): caller.fn for caller in callers}
            roots = list(above.values())
            found = {flags for root in roots for flags in self._collected(root, site)}
            if _known(found):
                break
        return found

    def kept(self, frame: Frame, member: Member) -> tuple[Value, ...]:
        """What a member that attributes are kept in may hold, empty for any other."""
        unit = self._tree.unit(frame.fn.source.path)
        owner = self._types.member(member, frame.fn, unit) if unit is not None else None
        if unit is None or owner is None or owner[1].pointers:
            return ()
        key = (owner[0], member.field, self._tree.module(frame.fn.source.path))
        if key not in self._kept:
            self._kept[key] = ()  # a member that is set from itself adds nothing
            stores, complete = self._tracer.stores.of_field(owner[0], member.field, unit)
            texts = [
                s.fn.source.text(s.value.start, s.value.end)
                for s in stores
                if s.value is not None and s.value.start >= 0
            ]
            near = any("DMA_ATTR_" in text or "attr" in text for text in texts)
            if near and complete:
                found: set[Value] = set()
                for store in stores:
                    found |= {ZERO} if store.value is None else self._stored(store.fn, store.value)
                self._kept[key] = tuple(sorted(found, key=repr))
        return self._kept[key]

    def _stored(self, fn: Function, value: Expr) -> set[Value]:
        client = _Stored(value)
        Explorer(self._tree, client).explore(fn)
        return client.found or {UNKNOWN}


def _written(expr: Expr) -> frozenset[str] | None:
    """The attributes that an expression spells out, None if it is anything but 0 and names with | between them."""
    expr = strip(expr)
    match expr:
        case Constant(text=text) if text.rstrip("uUlL") == "0":
            return frozenset()
        case Name(text=text, variable=-1) if text.startswith("DMA_ATTR_"):
            return frozenset({text})
        case Binary(op="|"):
            both = [_written(part) for part in expr.parts]
            return None if both[0] is None or both[1] is None else both[0] | both[1]
    return None


def _known(found: set[Flags]) -> bool:
    return bool(found) and all(one.exact for one in found)
