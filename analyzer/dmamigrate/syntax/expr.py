# SPDX-License-Identifier: GPL-2.0-only
"""C expressions as frozen records. `start` and `end` are byte offsets in the file, end exclusive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Expr:
    """Any expression; as itself, one that could not be understood, with what it holds in `parts`."""

    start: int
    end: int
    parts: tuple[Expr, ...] = ()


@dataclass(frozen=True, slots=True)
class Name(Expr):
    """An identifier. `variable` is its index in the function's variables, -1 for anything not local."""

    text: str = ""
    variable: int = -1


@dataclass(frozen=True, slots=True)
class Constant(Expr):
    """A number, character, string or NULL, as written (strings without their contents)."""

    text: str = ""


@dataclass(frozen=True, slots=True)
class Member(Expr):
    """`base.field` or, with `arrow`, `base->field`; the base is `parts[0]`."""

    field: str = ""
    arrow: bool = False


@dataclass(frozen=True, slots=True)
class Index(Expr):
    """`parts[0][parts[1]]`."""


@dataclass(frozen=True, slots=True)
class Call(Expr):
    """A call: the callee is `parts[0]`, the arguments follow."""

    @property
    def name(self) -> str:
        """The callee's name if it is called by name, else the empty string."""
        callee = self.parts[0]
        return callee.text if isinstance(callee, Name) else ""

    @property
    def args(self) -> tuple[Expr, ...]:
        """The arguments."""
        return self.parts[1:]


@dataclass(frozen=True, slots=True)
class Unary(Expr):
    """A prefix or postfix operator on `parts[0]`: & * ! ~ - + ++ --."""

    op: str = ""


@dataclass(frozen=True, slots=True)
class Binary(Expr):
    """`parts[0] op parts[1]`; the comma too."""

    op: str = ""


@dataclass(frozen=True, slots=True)
class Conditional(Expr):
    """`parts[0] ? parts[1] : parts[2]`; for `a ?: b` parts 0 and 1 are the same."""


@dataclass(frozen=True, slots=True)
class Cast(Expr):
    """`(type)parts[0]`; also a compound literal, whose part is an Initializer."""

    type: str = ""
    pointers: int = 0


@dataclass(frozen=True, slots=True)
class Assign(Expr):
    """`parts[0] op parts[1]`, op as written ("=", "+=", ...); a declaration's initialiser is one too."""

    op: str = "="


@dataclass(frozen=True, slots=True)
class Initializer(Expr):
    """`{...}`: the values are `parts`; `fields` has for each its designator: a dotted path, "[]" for an index, or
    "".
    """

    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Statements(Expr):
    """A GNU statement expression; its value is the last of `parts`."""


def walk(expr: Expr) -> Iterator[Expr]:
    """Yield `expr` and everything inside it, outermost first."""
    waiting = [expr]
    while waiting:
        current = waiting.pop()
        yield current
        waiting += reversed(current.parts)


def evaluated(expr: Expr, sure: bool = True) -> Iterator[tuple[Expr, bool]]:
    """`expr` and everything inside it, outermost first, each with whether it is evaluated whenever `expr` is."""
    yield expr, sure
    # what stands inside a statement expression may be skipped by its own control flow
    inner = sure and not isinstance(expr, Statements)
    for number, part in enumerate(expr.parts):
        skipped = number > 0 and (
            isinstance(expr, Conditional) or (isinstance(expr, Binary) and expr.op in ("&&", "||"))
        )
        yield from evaluated(part, inner and not skipped)


def strip(expr: Expr) -> Expr:
    """`expr` without the casts around it."""
    while isinstance(expr, Cast) and not isinstance(expr.parts[0], Initializer):
        expr = expr.parts[0]
    return expr


def path_of(expr: Expr) -> str | None:
    """A key for the place that an lvalue names (`#3->mw.addr`), or None if it names none that is stable.

    Locals are named by index, so that a shadowing variable is another place; all elements of an array are one place.
    """
    expr = strip(expr)
    match expr:
        case Name(text=text, variable=variable):
            return f"#{variable}" if variable >= 0 else text
        case Member(field=field, arrow=arrow):
            base = path_of(expr.parts[0])
            if base is None:
                return None
            # (&x)->f and x.f are one place, and so are (*p).f and p->f
            if arrow and base.startswith("&"):
                base, arrow = base[1:], False
            elif not arrow and base.startswith("*"):
                base, arrow = base[1:], True
            return f"{base}{'->' if arrow else '.'}{field}"
        case Index():
            base = path_of(expr.parts[0])
            return None if base is None else f"{base}[]"
        case Unary(op="&"):
            base = path_of(expr.parts[0])
            if base is None:
                return None
            return base[1:] if base.startswith("*") else f"&{base}"
        case Unary(op="*"):
            base = path_of(expr.parts[0])
            if base is None:
                return None
            return base[1:] if base.startswith("&") else f"*{base}"
    return None


class OfEach(Generic[T]):
    """What is found of expressions, once for each; it is kept beside the expression, whose identity nothing else can
    take then.
    """

    def __init__(self, find: Callable[[Expr], T]) -> None:
        self._find = find
        self._found: dict[int, tuple[Expr, T]] = {}

    def of(self, expr: Expr) -> T:
        """What `find` says of an expression."""
        held = self._found.get(id(expr))
        if held is None:
            held = self._found[id(expr)] = expr, self._find(expr)
        return held[1]


def pointee(argument: Expr) -> Expr:
    """What a pointer that is handed over points to."""
    inner = strip(argument)
    if isinstance(inner, Unary) and inner.op == "&":
        return inner.parts[0]
    return Unary(argument.start, argument.end, (argument,), "*")
