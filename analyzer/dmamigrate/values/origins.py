# SPDX-License-Identifier: GPL-2.0-only
"""Origins, the first domain: what an address is the address of.

An answer is a set of leaves, one for each kind and for each reason why a way was not followed to its end, with the
shortest way there. Numbers that are no addresses (sizes, errors, masks) are leaves too, without a kind: beside an
address they are offsets. What an object such as a struct resource stands for is asked of the object (`Object`), by
whatever pointer it is reached.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from dmamigrate.findings import Kind, Origin, Step
from dmamigrate.program.queries import Stop
from dmamigrate.program.reach import reaching
from dmamigrate.syntax.expr import (
    Assign,
    Binary,
    Call,
    Constant,
    Expr,
    Index,
    Member,
    Name,
    Unary,
    path_of,
    strip,
)
from dmamigrate.syntax.functions import CType, Function
from dmamigrate.values.arithmetic import address_side
from dmamigrate.values.flow import Flow
from dmamigrate.values.fold import Values
from dmamigrate.values.knowledge import OBJECT, Meaning
from dmamigrate.values.leaves import NUMBER, Leaf, Leaves, merge, origin_of, unknown
from dmamigrate.values.questions import Behind, Field, Fill, Held, Inflow, Question, Use
from dmamigrate.values.shapes import base_of

# A function of such a type yields half an address at most, put together from what hardware or firmware says.
_NARROW = frozenset(
    {"u8", "u16", "u32", "uint8_t", "uint16_t", "uint32_t", "__u32", "__le32", "__be32", "int", "bool", "s32"}
)
# What a sum adds to an address if it is of such a type: a size or an offset.
_SIZES = _NARROW | {"unsigned int", "unsigned", "size_t", "ssize_t", "loff_t", "long", "short", "char"}
_SMALL = 1 << 16
Ask = Callable[[Question], Leaves]


@dataclass(frozen=True, slots=True)
class Object:
    """The origin of an object, given itself or a pointer to it."""

    use: Use

    @property
    def key(self) -> tuple[object, ...]:
        """What tells this question from others."""
        return ("object", *self.use.of(strip(self.use.expr)).key)


def _number(text: str) -> int | None:
    try:
        return int(re.sub(r"[uUlL]+\Z", "", text), 0)
    except ValueError:
        return None


def step_at(fn: Function, expr: Expr, note: str) -> Step:
    """A step of a report: the place and text of `expr`; a long text is cut."""
    source = fn.source
    start, end = max(expr.start, 0), max(expr.end, 0)
    text = source.text(start, end)
    text = text if len(text) < 160 else text[:157] + "..."
    return Step(source.path, source.line(start), source.column(start), text, note)


def _via(fn: Function, expr: Expr, note: str, leaves: Leaves) -> Leaves:
    step = step_at(fn, expr, note)
    end = frozenset({(step.path, step.line)})
    return tuple(replace(leaf, steps=(step, *leaf.steps), ends=leaf.ends or end) for leaf in leaves)


def _made_by(use: Use, call: Call, leaves: Leaves) -> Leaves:
    """`leaves` with `call` as the maker of the DMA addresses among them."""
    fn, frame = use.fn, use.frame
    while fn.macro and frame is not None:  # what a macro wraps is made where that is used
        fn, call, frame = frame.fn, frame.call, frame.parent
    made = (fn.source.path, call.start)
    return tuple(replace(leaf, site=made) if leaf.kind is Kind.DMA_ADDR and not leaf.site else leaf for leaf in leaves)


class Origins:
    """Answers for one tree."""

    name = "origin"
    nothing: Leaves = ()

    def __init__(self, values: Values) -> None:
        self._values = values
        self._tables = values.tables
        self._flow: Flow = values.flow

    def leaves(self, use: Use) -> Leaves:
        """Where the paths from a value end."""
        return self._values.of(self, use)

    def of(self, use: Use) -> Origin:
        """Where the address that a value is comes from."""
        return origin_of((step_at(use.fn, use.expr, "the address in question"),), self.leaves(use))

    def in_direct_map(self, use: Use) -> bool:
        """Whether a pointer is surely one to memory of the direct map, so that virt_to_phys() takes it."""
        leaves = [leaf for leaf in self.leaves(use) if leaf.kind is not None]
        return bool(leaves) and all(leaf.direct for leaf in leaves)

    def makers(self, use: Use) -> tuple[Origin, frozenset[tuple[str, int]]]:
        """Where a DMA address comes from, and the calls (file, byte offset) that made it."""
        leaves = self.leaves(use)
        step = step_at(use.fn, use.expr, "the handle in question")
        return origin_of((step,), leaves), frozenset(leaf.site for leaf in leaves if leaf.site)

    # the algebra

    @staticmethod
    def unknown(stop: Stop) -> Leaves:
        """One path that ends without an answer."""
        return unknown(stop.reason, stop.outside)

    @staticmethod
    def dead_end(answer: Leaves) -> bool:
        """Whether every path ends without an answer."""
        return bool(answer) and all(leaf.kind is Kind.UNKNOWN for leaf in answer)

    @staticmethod
    def join(question: Question, found: Iterable[tuple[Inflow, Leaves]], stops: tuple[Stop, ...]) -> Leaves:
        """All leaves, those of a noted way one step longer."""
        groups = [_via(edge.fn, edge.at, edge.note, leaves) if edge.note else leaves for edge, leaves in found]
        at = question if isinstance(question, Use) else getattr(question, "use", None)
        for stop in stops:
            leaves = unknown(stop.reason, stop.outside)
            groups.append(_via(at.fn, at.expr, "not followed", leaves) if isinstance(at, Use) else leaves)
        return merge(groups)

    def apply(self, use: Use, ask: Ask) -> Leaves:
        """A number, or the side of an operation that carries the address."""
        expr = strip(use.expr)
        match expr:
            case Constant(text=text):
                value = _number(text)
                if value is not None and _SMALL <= value < (1 << 64) - _SMALL and value != 0xFFFFFFFF:
                    return _via(use.fn, expr, "a number", unknown("a number written in the code"))
                return NUMBER
            case Unary(op="&"):
                return self._address_of(use, strip(expr.parts[0]), ask)
            case Unary(op=op):
                # -ENODEV is an error, ~mask a mask
                return NUMBER if op in ("!", "~", "-") else ask(use.of(expr.parts[0]))
            case Binary():
                apart = self._values.queries.apart
                narrow = self._narrow(use, expr.parts[1]) and not self._narrow(use, expr.parts[0])
                if expr.op == "+" and narrow:
                    return apart(lambda: ask(use.of(expr.parts[0])))  # too small for an address of its own
                return address_side(expr, lambda part: apart(lambda: ask(use.of(part))))
            case Assign(op=op):
                both = Binary(expr.start, expr.end, expr.parts, op[:-1])
                return address_side(both, lambda part: ask(use.of(part)))
        return NUMBER

    def _narrow(self, use: Use, expr: Expr) -> bool:
        kind = self._flow.types.of(strip(expr), use.fn, self._flow.unit(use.fn))
        return kind is not None and not kind.pointers and kind.base in _SIZES

    # what the tables say

    def leaf(self, question: Question | Object, ask: Ask) -> Leaves | None:
        """What the tables say of a call, a member or a variable, and what an object stands for."""
        match question:
            case Object():
                return self._object(question.use, ask)
            case Use():
                return self._of_use(question, ask)
            case Fill(use=use, call=call, position=position):
                if meanings := self._tables.knowledge.call(call.name, position):
                    leaves = self._tables.meant(use.fn, use.expr, meanings, call, self._objects(use, ask))
                    leaves = _made_by(use, call, leaves)
                    return _via(use.fn, call, self._told(use, call, meanings, leaves), leaves)
            case Held():
                return self._of_member(question, ask)
            case Behind():
                return self._of_pointee(question.use, ask)
        return None

    @staticmethod
    def _objects(use: Use, ask: Ask) -> Callable[[Expr], Leaves]:
        return lambda inner: ask(Object(use.of(inner)))  # type: ignore[arg-type]  # a question of this domain's own

    def _of_use(self, use: Use, ask: Ask) -> Leaves | None:
        expr = strip(use.expr)
        if isinstance(expr, Name) and expr.variable < 0:
            if meaning := self._tables.knowledge.variables.get(expr.text):
                return self._tables.meant(use.fn, expr, (meaning,), None, self._objects(use, ask))
            return NUMBER if expr.text[:1].isdigit() else None
        if not isinstance(expr, Call) or expr.name in self._tables.knowledge.aliases:
            return None
        if expr.name and (meanings := self._tables.knowledge.call(expr.name)):
            leaves = self._tables.meant(use.fn, expr, meanings, expr, self._objects(use, ask))
            leaves = _made_by(use, expr, leaves)
            return _via(use.fn, expr, self._told(use, expr, meanings, leaves), leaves)
        return self._returned(use, expr, ask)

    def _told(self, use: Use, call: Call, meanings: tuple[Meaning, ...], leaves: Leaves) -> str:
        """What the tables say that a call does, and where that can be read."""
        meaning = self._tables.fitting(use.fn, meanings, call)
        if meaning is not None and meaning.source is not None:
            return f"{call.name}() passes it on"
        kinds = ", ".join(sorted({leaf.kind for leaf in leaves if leaf.kind}))
        return f"{call.name}() yields {kinds}" + (f" ({meaning.evidence})" if meaning is not None else "")

    def _returned(self, use: Use, call: Call, ask: Ask) -> Leaves | None:
        targets = self._flow.targets(use.fn, call)
        if not targets:
            return None
        name = targets[0].name
        if all(one.returns.base in _NARROW and not one.returns.pointers and not one.macro for one in targets):
            why = unknown(f"{name}() returns a number too small for an address")
            return _via(use.fn, call, "a number", why)
        flows = self._flow.inflows(use)
        found = [(edge, ask(edge.source)) for edge in flows.edges if edge.source is not None]
        numbers = [NUMBER for edge in flows.edges if edge.source is None]
        joined = merge((self.join(use, found, flows.open), *numbers))
        return _via(use.fn, call, f"returned by {name}()", joined)

    def _of_member(self, held: Held, ask: Ask) -> Leaves | None:
        use = held.use
        member = use.expr
        assert isinstance(member, Member), "only members are held"
        base = strip(member.parts[0])
        if isinstance(base, Constant):
            return None
        if self._unknown_to_headers(use, base, member):
            return _via(use.fn, member, "part of what the call returned", self._objects(use, ask)(base))
        owner = self._flow.owner(use)
        if owner is None:
            return None
        tag, home = owner
        meaning = self._tables.knowledge.fields.get(f"{tag}.{member.field}")
        if meaning is None:
            return None
        leaves = self._tables.meant(use.fn, member, (meaning,), None, self._objects(use, ask))
        if meaning.source is None and meaning.origins:
            # a driver may put something else there by itself
            unit = self._flow.unit(use.fn)
            own = self._flow.stores.in_file(tag, member.field, unit)
            edges = self._flow.of_stores(own, f"{member.field} is set here")
            found = [(edge, ask(edge.source) if edge.source is not None else NUMBER) for edge in edges]
            leaves = merge((leaves, self.join(Field(tag, member.field, unit, home), found, ())))
        elif meaning.source == OBJECT and self._may_be_set(use):
            leaves = merge((leaves, unknown(f"{member.field} may be set by what is called before it is used")))
        held_there = f"struct {tag} holds it: {', '.join(meaning.origins)} ({meaning.evidence})"
        what = held_there if meaning.origins else f"part of struct {tag}"
        return _via(use.fn, member, what, leaves)

    def _may_be_set(self, use: Use) -> bool:
        """Whether a call before the use may set the member, whatever the object that it is a part of stands for."""
        reached = self._flow.reaching(use)
        filling = (one.call for one in reached.definitions if one.call is not None)
        return self._flow.between.may_change(use, (*reached.passed, *filling))

    def _unknown_to_headers(self, use: Use, base: Expr, member: Member) -> bool:
        """Whether only the tables know the call and the member: the kernel's headers are not at hand."""
        listed = isinstance(base, Call) and bool(self._tables.knowledge.call(base.name))
        if not listed or member.field not in self._tables.carried_members:
            return False
        return self._flow.types.member(member, use.fn, self._flow.unit(use.fn)) is None

    def _of_pointee(self, use: Use, ask: Ask) -> Leaves | None:
        base = base_of(use.expr)
        kind = self._flow.types.of(use.expr, use.fn, self._flow.unit(use.fn))
        if kind is not None and kind.pointers == 0 and self._tables.carries(kind):
            return ask(use.of(base))  # an object is known by the pointer to it
        if isinstance(base, Call) and (meanings := self._tables.knowledge.call(base.name)):
            if meanings[0].source is not None or Kind.RAM not in meanings[0].origins:
                return ask(use.of(base))
            return ()  # fresh memory holds nothing yet
        return None

    # objects

    def _address_of(self, use: Use, inner: Expr, ask: Ask) -> Leaves:
        """`&inner`: the object that it names, or, of memory without an address of its own, where that memory is."""
        kind = self._flow.types.of(inner, use.fn, self._flow.unit(use.fn))
        if kind is not None and kind.pointers == 0 and self._tables.carries(kind):
            return ask(use.of(inner))
        match inner:
            case Member(arrow=True) | Unary(op="*") | Index():
                return ask(use.of(inner.parts[0]))
            case Member():
                return self._address_of(use, strip(inner.parts[0]), ask)
            case Name(variable=variable):
                what = "a local variable" if variable >= 0 else "a global variable"
                return _via(use.fn, inner, what, (Leaf(Kind.RAM, storage=True),))
        return ask(use.of(inner))

    def _object(self, use: Use, ask: Ask) -> Leaves:
        expr = strip(use.expr)
        leaves = ask(use.of(self._pointed_to(use, expr)))
        kind = self._flow.types.of(expr, use.fn, self._flow.unit(use.fn))
        if kind is None or not self._tables.carries(CType(kind.base)):
            return leaves
        filled = tuple(leaf for leaf in leaves if not leaf.storage)
        if len(filled) < len(leaves) and not filled:
            return unknown("an object is made here, and what fills it in was not found")
        return filled

    def _pointed_to(self, use: Use, expr: Expr) -> Expr:
        if isinstance(expr, Unary) and expr.op == "&":
            return strip(expr.parts[0])
        kind = self._flow.types.of(expr, use.fn, self._flow.unit(use.fn))
        if kind is not None and kind.pointers == 1 and self._tables.carries(kind.pointee) and path_of(expr) is not None:
            behind = Unary(expr.start, expr.end, (expr,), "*")
            if any(
                d.call is not None and self._tables.knowledge.call(d.call.name, d.argument)
                for d in reaching(use.fn, use.node, behind).definitions
            ):
                return behind
        return expr
