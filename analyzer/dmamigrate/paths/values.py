# SPDX-License-Identifier: GPL-2.0-only
"""What is known of a value on one path: the flags in a word, or the named constants of which it is one."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Flags:
    """A word: the flags known to be set and those known to be clear, by name.

    `exact` says that no flag but those of `on` is set; a number is a flag named by its digits. `nonzero` says that the
    word is not zero, whatever is in it; `never` are the named constants that it is known not to be.
    """

    on: frozenset[str] = frozenset()
    off: frozenset[str] = frozenset()
    exact: bool = False
    nonzero: bool = False
    never: frozenset[str] = frozenset()

    def has(self, flag: str) -> bool | None:
        """Whether `flag` is set, None if that is not known."""
        if flag in self.on:
            return True
        return False if self.exact or flag in self.off else None

    def truth(self, bits: frozenset[str]) -> bool | None:
        """Whether the word is true in a condition; a named constant that is none of `bits` may well be 0."""
        if self.nonzero or self.on & bits:
            return True
        return False if self.exact and not self.on else None

    @property
    def negative(self) -> bool | None:
        """Whether the word is an error number."""
        if any(name.startswith("-") for name in self.on):
            return True
        return False if self.exact and (not self.on or any(name.isdigit() for name in self.on)) else None

    def union(self, other: Flags) -> Flags:
        """`self | other`."""
        on = self.on | other.on
        off = frozenset(f for f in self.off | other.off if self.has(f) is False and other.has(f) is False)
        return Flags(on, off, self.exact and other.exact, self.nonzero or other.nonzero)

    def without(self, names: frozenset[str]) -> Flags:
        """`self & ~names`."""
        return Flags(self.on - names, self.off | names, self.exact)

    def within(self, names: frozenset[str]) -> Flags:
        """`self & names`."""
        if all(self.has(name) is not None for name in names):
            return Flags(self.on & names, frozenset(), True)
        return Flags(self.on & names, self.off & names, False)

    def told(self, names: frozenset[str], truth: bool) -> Flags:
        """This word, given that all of `names` are set, or none of them."""
        if truth:
            return Flags(self.on | names, self.off - names, self.exact, True)
        return Flags(self.on, self.off | names, self.exact, self.nonzero)

    def both(self, other: Flags) -> Flags:
        """`self & other`."""
        return self.within(other.on) if other.exact else other.within(self.on) if self.exact else UNKNOWN


ZERO = Flags(exact=True)
UNKNOWN = Flags()
NONZERO = Flags(nonzero=True)
NEGATIVE = Flags(frozenset({"-1"}), nonzero=True)


def constant(name: str, nonzero: bool = False) -> Flags:
    """The value of a named constant, or of a number by its digits; `nonzero` if a name is known to be none."""
    return Flags(frozenset({name}), exact=True, nonzero=nonzero or name.startswith("-") or name.isdigit())


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the named constants `all`: those that it `may` be.

    `asked` says that the code asked for it here (else it came from elsewhere), `kept` that an earlier call left it in
    what is passed on. `subject` are the places that what was asked about is computed from, empty if that is not known;
    `what` names it in a report.
    """

    may: frozenset[str]
    all: frozenset[str]
    what: str
    asked: bool = True
    kept: bool = False
    subject: frozenset[str] = frozenset()

    def only(self, names: frozenset[str]) -> Choice | None:
        """This choice given that it is one of `names`, None if it cannot be."""
        left = self.may & names
        return replace(self, may=left) if left else None


@dataclass(frozen=True, slots=True)
class Same:
    """A copy of what is at another place, so that a test of one tells of the other."""

    place: str


Value = Flags | Choice | Same
Env = dict[str, Value]
