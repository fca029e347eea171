# SPDX-License-Identifier: GPL-2.0-only
"""Where the paths of a trace end, and what follows from all of them together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from dmamigrate.findings import Branch, Kind, Origin, Step


@dataclass(frozen=True, slots=True)
class Leaf:
    """Where one path ends: a kind (None for a number that is no address), why it is unknown, and the way there."""

    kind: Kind | None
    reason: str | None = None
    steps: tuple[Step, ...] = ()
    # the places (file, line) where such paths end
    ends: frozenset[tuple[str, int]] = frozenset()
    # for a DMA address: the file and offset of the call that made it
    site: tuple[str, int] | None = None
    # where an object lies, which says nothing of the address that it stands for
    storage: bool = False
    # memory that surely lies in the direct map
    direct: bool = False
    # for an unknown one: code that is not in sight has the answer
    outside: bool = False


Leaves = tuple[Leaf, ...]
_CUT = "an address that is shifted or divided"
NUMBER: Leaves = (Leaf(None),)


def unknown(reason: str, outside: bool = False) -> Leaves:
    """One path that ends without an answer, and why; `outside` if code that is not in sight has it."""
    return (Leaf(Kind.UNKNOWN, reason, outside=outside),)


def cut(leaves: Leaves) -> Leaves:
    """What is left of an address whose low bits are gone: none itself, though a page number leads back to it."""
    return merge((leaves, unknown(_CUT))) if is_address(leaves) else leaves


def uncut(leaves: Leaves) -> Leaves:
    """The address that a page number is of."""
    return tuple(leaf for leaf in leaves if leaf.reason != _CUT)


def merge(groups: Iterable[Leaves]) -> Leaves:
    """All leaves, one for each kind and reason, with the shortest way there."""
    best: dict[tuple[object, ...], Leaf] = {}
    for leaf in (leaf for group in groups for leaf in group):
        key = (leaf.kind, leaf.reason, leaf.site, leaf.storage, leaf.direct)
        old = best.get(key)
        if old is None:
            best[key] = leaf
        else:
            shorter = leaf if len(leaf.steps) < len(old.steps) else old
            best[key] = replace(shorter, ends=old.ends | leaf.ends)
    return tuple(best.values())


def is_address(leaves: Leaves) -> bool:
    """Whether some path ends in a known kind of address."""
    return any(leaf.kind not in (None, Kind.UNKNOWN) for leaf in leaves)


def is_number(leaves: Leaves) -> bool:
    """Whether all paths end in numbers that are no addresses."""
    return bool(leaves) and all(leaf.kind is None for leaf in leaves)


def origin_of(first: tuple[Step, ...], leaves: Leaves) -> Origin:
    """The answer: kinds, whether it is certain, the way to each kind, and what was not followed."""
    addresses = [leaf for leaf in leaves if leaf.kind is not None]
    known = [leaf for leaf in addresses if leaf.kind is not Kind.UNKNOWN]
    stops = [leaf.reason for leaf in addresses if leaf.kind is Kind.UNKNOWN and leaf.reason]
    if not addresses:
        reason = "only numbers reach it" if leaves else "nothing that reaches it was found"
        deepest = max(leaves, key=lambda leaf: len(leaf.steps), default=Leaf(None))
        branch = Branch(Kind.UNKNOWN, first + deepest.steps)
        return Origin((Kind.UNKNOWN,), False, (branch,), reason, ((Kind.UNKNOWN, 1),))
    shares: dict[Kind, int] = {}
    for leaf in addresses:
        assert leaf.kind is not None
        shares[leaf.kind] = shares.get(leaf.kind, 0) + max(1, len(leaf.ends))
    shortest: dict[Kind, Leaf] = {}
    for leaf in sorted(addresses, key=lambda leaf: (str(leaf.kind), len(leaf.steps))):
        if leaf.kind is not None:
            shortest.setdefault(leaf.kind, leaf)
    branches = tuple(Branch(kind, first + leaf.steps) for kind, leaf in shortest.items())
    kinds = tuple(sorted(shares))
    certain = len(kinds) == 1 and bool(known)
    gave_up = stops[0] if stops else None
    outside = any(leaf.outside for leaf in leaves)
    return Origin(kinds, certain, branches, gave_up, tuple(sorted(shares.items())), outside)
