# SPDX-License-Identifier: GPL-2.0-only
"""Terms, the third domain: a value written so that two spellings of it look alike.

Locals are written as what was put into them, parameters by their position, constants by value, casts left out. A place
that several stores reach is written as all that they put there. Terms are told apart as text; that two are equal means
that the same is computed from the same places, not that those hold the same at both times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dmamigrate.program.queries import Stop
from dmamigrate.syntax.expr import Assign, Binary, Call, Constant, Index, Initializer, Member, Name, Unary, strip
from dmamigrate.values.constants import named_size, number_of
from dmamigrate.values.fold import Values
from dmamigrate.values.questions import Behind, Exit, Field, Fill, Global, Held, Inflow, Param, Question, Use, text_of

Ask = Callable[[Question], frozenset[str]]
_COMMUTE = frozenset({"+", "*", "|", "&", "^"})
_MOST = 8


def _one(text: str) -> frozenset[str]:
    return frozenset({text})


class Terms:
    """Answers for one tree: the terms that a value can be."""

    name = "term"
    nothing: frozenset[str] = frozenset()

    def __init__(self, values: Values) -> None:
        self._values = values

    def of(self, use: Use) -> str:
        """The normal form of a value."""
        return _text(self._values.of(self, use))

    @staticmethod
    def unknown(stop: Stop) -> frozenset[str]:
        """A place that was not followed, named by the reason."""
        return _one(f"<{stop.reason}>")

    @staticmethod
    def dead_end(answer: frozenset[str]) -> bool:
        """Terms end where they like."""
        del answer
        return False

    def join(
        self, question: Question, found: Iterable[tuple[Inflow, frozenset[str]]], stops: tuple[Stop, ...]
    ) -> frozenset[str]:
        """All terms, or one for a place with too many."""
        terms = frozenset(term for _, several in found for term in several)
        if stops and isinstance(question, Use):
            terms |= _one(text_of(question, question.expr))
        return terms if len(terms) <= _MOST else _one(f"any of {len(terms)}")

    def leaf(self, question: Question, ask: Ask) -> frozenset[str] | None:
        """What is written as it is: names, parameters, members, calls."""
        match question:
            case Param(fn=fn, position=position, pointee=pointee):
                return _one(f"{'*' if pointee else ''}parameter {position} of {fn.name}")
            case Held(use=use, element=element):
                member = use.expr
                assert isinstance(member, Member), "only members are held"
                return _one(f"{_text(ask(use.of(member.parts[0])))}->{member.field}{'[]' if element else ''}")
            case Behind(use=use):
                return self._behind(use, ask)
            case Global(name=name):
                return _one(name)
            case Field(tag=tag, field=field):
                return _one(f"{tag}.{field}")
            case Fill(call=call, position=position):
                return _one(f"what {call.name or 'a call'}() leaves in argument {position}")
            case Use():
                return self._use(question, ask)
            case Exit():
                return None

    @staticmethod
    def _behind(use: Use, ask: Ask) -> frozenset[str]:
        expr = strip(use.expr)
        base = _text(ask(use.of(expr.parts[0])))
        return _one(f"{base}[{_text(ask(use.of(expr.parts[1])))}]" if isinstance(expr, Index) else f"*{base}")

    @staticmethod
    def _use(use: Use, ask: Ask) -> frozenset[str] | None:
        expr = strip(use.expr)
        if isinstance(expr, Name) and expr.variable < 0:
            size = named_size(expr.text)
            return _one(str(size) if size is not None else expr.text)
        if isinstance(expr, Call):
            arguments = ", ".join(_text(ask(use.of(argument))) for argument in expr.args)
            return _one(f"{expr.name or _text(ask(use.of(expr.parts[0])))}({arguments})")
        if isinstance(expr, Initializer):
            return _one(text_of(use, expr))
        return None

    def apply(self, use: Use, ask: Ask) -> frozenset[str]:
        """A constant by its value, an operator over the terms of its operands."""
        expr = strip(use.expr)
        match expr:
            case Constant(text=text):
                value = number_of(text)
                return _one(str(value) if value is not None else "".join(text_of(use, expr).split()) or text)
            case Unary(op=op):
                return _one(f"{op}{_text(ask(use.of(expr.parts[0])))}")
            case Binary(op=op):
                return _one(_computed(op, [_text(ask(use.of(part))) for part in expr.parts]))
            case Assign(op=op):
                return _one(_computed(op[:-1], [_text(ask(use.of(part))) for part in expr.parts]))
        return _one("0")


def _text(terms: frozenset[str]) -> str:
    if len(terms) == 1:
        return next(iter(terms))
    return f"({' or '.join(sorted(terms))})" if terms else "itself"


def _computed(op: str, parts: list[str]) -> str:
    if all(part.isdigit() for part in parts):
        one, other = map(int, parts)
        known = {"+": one + other, "*": one * other, "<<": one << min(other, 64), "|": one | other, "&": one & other}
        if op in known:
            return str(known[op])
    if op in ("+", "|") and "0" in parts:
        return parts[1] if parts[0] == "0" else parts[0]
    if op == "-" and parts[1] == "0":
        return parts[0]
    return f"({f' {op} '.join(sorted(parts) if op in _COMMUTE else parts)})"
