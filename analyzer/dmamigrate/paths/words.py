# SPDX-License-Identifier: GPL-2.0-only
"""What an expression of constants is worth on a path: flags by name, numbers by their digits, error numbers."""

from __future__ import annotations

import re
from functools import partial

from dmamigrate.paths.state import Client
from dmamigrate.paths.values import NONZERO, ZERO, Flags, Value, constant
from dmamigrate.syntax.expr import Binary, Call, Cast, Constant, Expr, Name, OfEach, Unary, strip
from dmamigrate.syntax.functions import Function
from dmamigrate.values.constants import Word
from dmamigrate.values.engine import Engine
from dmamigrate.values.questions import Use

_CONSTANT = re.compile(r"[A-Z_][A-Z0-9_]*")


class Words:
    """Answers for one tree and one client."""

    def __init__(self, engine: Engine, client: Client) -> None:
        self._engine = engine
        self._client = client
        self._bits = engine.api.attributes
        self._known: dict[Function, OfEach[Value | None]] = {}

    def of(self, fn: Function, expr: Expr) -> Value | None:
        """The value of an expression of constants, None for any other."""
        if fn not in self._known:
            self._known[fn] = OfEach(partial(self._find, fn))
        return self._known[fn].of(expr)

    def _find(self, fn: Function, expr: Expr) -> Value | None:
        expr = strip(expr)
        if not _constant(expr):
            return None
        if isinstance(expr, Name) and (choice := self._client.choice(expr.text)) is not None:
            return choice
        if isinstance(expr, Unary) and expr.op == "-":
            inner = self.of(fn, expr.parts[0])
            negative = isinstance(inner, Flags) and len(inner.on) == 1
            return constant(f"-{next(iter(inner.on))}") if isinstance(inner, Flags) and negative else inner
        key = ("word", fn.source.path, expr)
        found = self._engine.values.queries.fact(key, lambda: self._engine.constants.of(Use(fn, 0, expr)))
        words = list(found.words)
        if len(words) == 1 and found.known and not (words[0].unit or words[0].inverted):
            return self._flags(words[0])
        if isinstance(expr, Constant):
            return NONZERO  # a string
        if isinstance(expr, Name):
            return constant(expr.text)
        return self._joined(fn, expr)

    def _joined(self, fn: Function, expr: Expr) -> Value | None:
        """Constants of which not all are known by value, or-ed together."""
        if not isinstance(expr, Binary) or expr.op != "|":
            return None
        one, other = self.of(fn, expr.parts[0]), self.of(fn, expr.parts[1])
        return one.union(other) if isinstance(one, Flags) and isinstance(other, Flags) else None

    def _flags(self, word: Word) -> Flags:
        if word == Word():
            return ZERO
        on = word.names | (frozenset({str(word.number)}) if word.number else frozenset())
        return Flags(on, exact=True, nonzero=word.number != 0 or bool(on & self._bits))


def _constant(expr: Expr) -> bool:
    """Whether nothing but constants is in an expression."""
    expr = strip(expr)
    match expr:
        case Constant():
            return True
        case Name(text=text, variable=variable):
            return variable < 0 and (bool(_CONSTANT.fullmatch(text)) or text in ("NULL", "true", "false"))
        case Unary(op="-") | Binary(op="|" | "<<"):
            return all(_constant(part) for part in expr.parts)
        case Call(name="BIT" | "BIT_ULL"):
            return False
        case Cast():
            return _constant(expr.parts[0])
    return False
