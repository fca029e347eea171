# SPDX-License-Identifier: GPL-2.0-only
"""Given: what one call is really given, each argument as a set of values and whether those are all.

It is built once for a call and read by matching, detectors, verdicts and review alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from dmamigrate.findings import Origin
from dmamigrate.lives.sites import Site
from dmamigrate.syntax.expr import Binary, Call, Constant, Expr, Member, Name, path_of, strip
from dmamigrate.values.constants import Constants, Word
from dmamigrate.values.engine import Engine

T = TypeVar("T")
Attributes = frozenset[str]
# include/linux/align.h, include/linux/math.h, include/linux/mm.h: what rounds up
_ROUNDING = frozenset({"ALIGN", "PAGE_ALIGN", "round_up", "roundup", "L1_CACHE_ALIGN", "SKB_DATA_ALIGN"})
_ADDRESSES = ("phys", "page", "ptr", "sg")


@dataclass(frozen=True)
class Known(Generic[T]):
    """The values that an argument can have; `why` others are possible, "" if these are all."""

    values: frozenset[T]
    why: str = ""

    def __bool__(self) -> bool:
        return bool(self.values) and not self.why


def of_all(several: Iterable[Known[T]]) -> Known[T]:
    """What any of several calls can be given; nothing is known if one of them is not."""
    held = list(several)
    unknown = next((one.why or "nothing is known of a call" for one in held if not one), "")
    return Known(frozenset(value for one in held for value in one.values), unknown if held else "there is no call")


class Given:
    """What one call is given."""

    def __init__(self, engine: Engine, site: Site) -> None:
        self.site = site
        self._engine = engine
        self._api = engine.values.tables.knowledge.api

    @cached_property
    def address(self) -> Origin | None:
        """Where the address that is mapped comes from, None for a call that maps none."""
        argument = next((a for role in _ADDRESSES if (a := self.site.argument(role)) is not None), None)
        return self._engine.origins.of(self.site.use(argument)) if argument is not None else None

    @cached_property
    def attributes(self) -> Known[Attributes]:
        """The sets of attributes, those that the call implies included."""
        implied = self.site.api.implies
        argument = self.site.argument("attrs")
        if argument is None:
            return Known(frozenset({implied}))
        found = self._engine.constants.of(self.site.use(argument))
        sets = [self._as_attributes(word) for word in found.words]
        values = frozenset(one | implied for one in sets if one is not None)
        odd = next((w.describe() for w, one in zip(found.words, sets, strict=True) if one is None), None)
        return Known(values, _why(found, f"{odd} is no set of attributes" if odd is not None else ""))

    def _as_attributes(self, word: Word) -> Attributes | None:
        plain = not (word.number or word.unit or word.inverted)
        return word.names if plain and word.names <= self._api.attributes else None

    @cached_property
    def kept(self) -> Known[Attributes]:
        """The attributes on which a map and its unmap have to agree."""
        return Known(frozenset(one & self._api.kept for one in self.attributes.values), self.attributes.why)

    @cached_property
    def directions(self) -> Known[str]:
        """The directions, by name."""
        argument = self.site.argument("dir")
        if argument is None:
            return Known(frozenset(), "the call has no direction")
        found = self._engine.constants.of(self.site.use(argument))
        names = [self._as_direction(word) for word in found.words]
        odd = next((w.describe() for w, name in zip(found.words, names, strict=True) if name is None), None)
        values = frozenset(name for name in names if name is not None)
        return Known(values, _why(found, f"{odd} is no direction" if odd is not None else ""))

    def _as_direction(self, word: Word) -> str | None:
        name = next(iter(word.names), "")
        return name if word == Word(names=frozenset({name})) and name in self._api.directions else None

    @cached_property
    def sizes(self) -> Known[Word]:
        """The sizes, in bytes or in what a word counts."""
        argument = self.site.argument("size")
        if argument is None:
            return Known(frozenset(), "the call has no size")
        found = self._engine.constants.of(self.site.use(argument))
        return Known(found.words, _why(found, ""))

    def term(self, role: str) -> str:
        """The argument in this role in normal form, "" if the call has none."""
        argument = self.site.argument(role)
        return self._engine.terms.of(self.site.use(argument)) if argument is not None else ""


def same_place(engine: Engine, one: Site, other: Site, role: str) -> bool:
    """Whether an argument of two calls is written alike: one place of one function, a member of one struct, or made of
    such.

    What is asked of both then has one answer, if any: there is no need to look for it.
    """
    first, second = one.argument(role), other.argument(role)
    return first is not None and second is not None and _alike(engine, (one, first), (other, second))


def rounded_apart(engine: Engine, one: Site, other: Site, role: str) -> bool:
    """Whether one of two calls is given what the other one is given rounded up."""
    first, second = one.argument(role), other.argument(role)
    if first is None or second is None:
        return False
    ways = (((one, first), (other, second)), ((other, second), (one, first)))
    return any(
        isinstance(call := strip(here[1]), Call)
        and call.name in _ROUNDING
        and bool(call.args)
        and _alike(engine, (here[0], call.args[0]), there)
        for here, there in ways
    )


def _alike(engine: Engine, here: tuple[Site, Expr], there: tuple[Site, Expr]) -> bool:
    (one, first), (other, second) = (here[0], strip(here[1])), (there[0], strip(there[1]))
    if isinstance(first, Binary) and isinstance(second, Binary):
        pairs = zip(first.parts, second.parts, strict=True)
        return first.op == second.op and all(_alike(engine, (one, a), (other, b)) for a, b in pairs)
    if isinstance(first, Constant) and isinstance(second, Constant):
        return first.text == second.text
    if one.fn is other.fn and one.frame is other.frame:
        return path_of(first) is not None and path_of(first) == path_of(second)
    if isinstance(first, Name) and isinstance(second, Name) and first.variable < 0 and first.text.isupper():
        return first.text == second.text and second.variable < 0
    if not isinstance(first, Member) or not isinstance(second, Member) or first.field != second.field:
        return False
    owner = engine.types.member(first, one.fn, engine.flow.unit(one.fn))
    return owner is not None and owner == engine.types.member(second, other.fn, engine.flow.unit(other.fn))


def _why(found: Constants, odd: str) -> str:
    if found.why:
        return found.why[0]
    return odd or ("" if found.words else "no value was found")


class Givens:
    """What the calls of one tree are given, each asked once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def of(self, site: Site) -> Given:
        """What a call is given."""
        return self._engine.values.queries.fact(("given", site.key, site.written), lambda: Given(self._engine, site))
