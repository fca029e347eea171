# SPDX-License-Identifier: GPL-2.0-only
"""Constants, the second domain: numbers, sizes, directions and sets of attributes that a value can be.

A word is a number of units (bytes, pages, sizes of a type) with named constants or-ed in. An answer is a set of words
and the reasons why there may be others: without a reason all are known. What a loop changes is never known, since
arithmetic on the question itself would have to be repeated; `|` and `&` of flags are the exception, for which once is
enough.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from dmamigrate.program.queries import Stop
from dmamigrate.syntax.expr import Assign, Binary, Call, Constant, Expr, Name, Unary, strip
from dmamigrate.values.fold import Values
from dmamigrate.values.questions import Fill, Inflow, Question, Use

_NUMBER = re.compile(r"(0[xX][0-9a-fA-F]+|\d+)[uUlL]*")
_SIZE = re.compile(r"SZ_(\d+)([KMGT]?)")
_UNIT = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_MOST = 64
_LITERALS = {"NULL": 0, "nullptr": 0, "false": 0, "true": 1}
Ask = Callable[[Question], "Constants"]


@dataclass(frozen=True, slots=True)
class Word:
    """`number` of `unit` (ones if empty) with the named constants `names` or-ed in; the complement of that if
    inverted.
    """

    number: int = 0
    names: frozenset[str] = frozenset()
    unit: str = ""
    inverted: bool = False

    @property
    def plain(self) -> bool:
        """Whether this is a number of ones and nothing else."""
        return not (self.names or self.unit or self.inverted)

    def describe(self) -> str:
        """The word as a reader would write it."""
        parts = sorted(self.names)
        if self.number or not parts:
            parts.insert(
                0, f"{self.number} * {self.unit}" if self.unit and self.number != 1 else self.unit or str(self.number)
            )
        text = " | ".join(parts)
        return f"~({text})" if self.inverted else text


@dataclass(frozen=True, slots=True)
class Constants:
    """The words that a value can be; `why` others are possible, empty if these are all."""

    words: frozenset[Word] = frozenset()
    why: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """Whether all words are known, and there is one."""
        return bool(self.words) and not self.why


def named_size(name: str) -> int | None:
    """The bytes that a constant of include/linux/sizes.h names, such as SZ_4K; None for any other name."""
    found = _SIZE.fullmatch(name)
    return int(found[1]) * _UNIT[found[2]] if found is not None else None


def number_of(text: str) -> int | None:
    """The number that a C literal is, None for anything else."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return _LITERALS.get(text)
    octal = found[1].isdigit() and found[1].startswith("0")
    try:
        return int(found[1], 8 if octal else 0)
    except ValueError:
        return None


class ConstantValues:
    """Answers for one tree."""

    name = "constant"
    nothing = Constants()

    def __init__(self, values: Values) -> None:
        self._values = values
        api = values.tables.knowledge.api
        self._named = api.attributes | api.directions | api.no_directions

    def of(self, use: Use) -> Constants:
        """What a value can be."""
        return self._values.of(self, use)

    @staticmethod
    def unknown(stop: Stop) -> Constants:
        """A value that was not found, and why."""
        return _unknown(stop.reason)

    @staticmethod
    def dead_end(answer: Constants) -> bool:
        """Whether nothing at all is known."""
        return not answer.words and bool(answer.why)

    @staticmethod
    def join(question: Question, found: Iterable[tuple[Inflow, Constants]], stops: tuple[Stop, ...]) -> Constants:
        """All words of all ways."""
        del question
        held = [answer for _, answer in found]
        words = frozenset(word for answer in held for word in answer.words)
        why = tuple(
            dict.fromkeys([*(reason for answer in held for reason in answer.why), *(stop.reason for stop in stops)])
        )
        return _bounded(words, why)

    def leaf(self, question: Question, ask: Ask) -> Constants | None:
        """Named constants of the API and of the kernel's sizes, and what no constant can come from."""
        del ask
        if isinstance(question, Fill):
            listed = self._values.tables.knowledge.call(question.call.name, question.position)
            return _unknown(f"{question.call.name}() fills it in") if listed else None
        if not isinstance(question, Use):
            return None
        expr = strip(question.expr)
        if isinstance(expr, Name) and expr.variable < 0:
            if expr.text in self._named:
                return _one(Word(names=frozenset({expr.text})))
            if expr.text in _LITERALS:
                return _one(Word(_LITERALS[expr.text]))
            if expr.text in ("PAGE_SIZE", "PAGE_SHIFT", "PAGE_MASK"):
                return _one(Word(1, unit=expr.text))
            size = named_size(expr.text)
            return _one(Word(size)) if size is not None else None
        if isinstance(expr, Call) and expr.name and self._values.tables.knowledge.call(expr.name):
            return _unknown(f"{expr.name}() says it")
        return None

    def apply(self, use: Use, ask: Ask) -> Constants:
        """A literal, or what an operator makes of two words."""
        expr = strip(use.expr)
        match expr:
            case Constant():
                return self._literal(use, expr)
            case Unary(op=op):
                return self._unary(op, ask(use.of(expr.parts[0]))) if op != "&" else _unknown("an address")
            case Binary(op=op):
                return self._binary(op, ask(use.of(expr.parts[0])), ask(use.of(expr.parts[1])))
            case Assign(op=op):
                return self._binary(op[:-1], ask(use.of(expr.parts[0])), ask(use.of(expr.parts[1])))
        return _one(Word())

    def _literal(self, use: Use, expr: Constant) -> Constants:
        value = number_of(expr.text)
        if value is not None:
            return _one(Word(value))
        if expr.text.startswith("sizeof") or use.fn.source.text(*_span(expr)).startswith("sizeof"):
            return _one(Word(1, unit="".join(use.fn.source.text(*_span(expr)).split())))
        return _unknown(f"{expr.text} is no number")

    def _unary(self, op: str, inner: Constants) -> Constants:
        if op == "+":
            return inner
        made = [_negated(op, word) for word in inner.words]
        if None in made or op not in ("-", "~"):
            return _unknown(f"{op} of what is no constant")
        return Constants(frozenset(word for word in made if word is not None), inner.why)

    def _binary(self, op: str, left: Constants, right: Constants) -> Constants:
        if op not in ("|", "&") and self.nothing in (left, right):
            return _unknown("a loop changes it")
        words: set[Word] = set()
        why = dict.fromkeys((*left.why, *right.why))
        for one in left.words:
            for other in right.words:
                word = combined(op, one, other)
                if word is None:
                    why[f"{op} of what is no constant"] = None
                else:
                    words.add(word)
        return _bounded(frozenset(words), tuple(why))


def _unknown(reason: str) -> Constants:
    return Constants(frozenset(), (reason,))


def _span(expr: Expr) -> tuple[int, int]:
    return max(expr.start, 0), max(expr.end, 0)


def _one(word: Word) -> Constants:
    return Constants(frozenset({word}))


def _bounded(words: frozenset[Word], why: tuple[str, ...]) -> Constants:
    if len(words) <= _MOST:
        return Constants(words, why)
    return Constants(frozenset(), (*why, f"more than {_MOST} values are possible"))


def _negated(op: str, word: Word) -> Word | None:
    if op == "~":
        return replace(word, inverted=not word.inverted) if not word.unit else None
    return Word(-word.number) if word.plain else None


def combined(op: str, one: Word, other: Word) -> Word | None:
    """What an operator makes of two words, None if that is no constant."""
    if op == "&":
        return _masked(one, other)
    if one.inverted or other.inverted:
        return None
    if op == "|":
        if one.unit or other.unit:
            return one if other == Word() else other if one == Word() else None
        return Word(one.number | other.number, one.names | other.names)
    if one.names or other.names:
        return one if op in ("+", "-") and other == Word() else other if op == "+" and one == Word() else None
    return _arithmetic(op, one, other)


def _masked(one: Word, other: Word) -> Word | None:
    if one.unit or other.unit or (one.inverted and other.inverted):
        return None
    if one.inverted:
        one, other = other, one
    if other.inverted:
        return Word(one.number & ~other.number, one.names - other.names) if _apart(one, other) else None
    return Word(one.number & other.number, one.names & other.names) if _apart(one, other) else None


def _apart(one: Word, other: Word) -> bool:
    """Whether no number among these can share a bit with a name of the other."""
    return not (one.number and other.names) and not (other.number and one.names)


def _arithmetic(op: str, one: Word, other: Word) -> Word | None:
    same = one.unit == other.unit
    match op:
        case "+" if same or Word() in (one, other):
            return Word(one.number + other.number, unit=one.unit or other.unit)
        case "-" if same or other == Word():
            left = one.number - other.number
            return Word(left, unit=one.unit if left else "") if left >= 0 else None
        case "*" if not (one.unit and other.unit):
            return Word(one.number * other.number, unit=one.unit or other.unit)
        case "/" if not other.unit and other.number and one.number % other.number == 0:
            return Word(one.number // other.number, unit=one.unit)
        case "<<" if other.plain and 0 <= other.number < 64:
            return Word(one.number << other.number, unit=one.unit)
        case ">>" if other.plain and one.plain and 0 <= other.number < 64:
            return Word(one.number >> other.number)
    return None
