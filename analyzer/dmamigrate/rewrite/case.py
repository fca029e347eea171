# SPDX-License-Identifier: GPL-2.0-only
"""A finding whose rule has a rewrite, and the lives that share the edits of that.

A life shares its edits with every life that shares an unmap with it, directly or through others, and with every use of
a macro that wraps one of its calls. What is the same for all of them is asked once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from dmamigrate.lives.module import Defect, Module
from dmamigrate.lives.pair import Key, Life
from dmamigrate.rules import Rule

Which = tuple[Key, Key]
T = TypeVar("T")


@dataclass(frozen=True)
class Case:
    """A finding whose rule has a rewrite, with the lives that this rewrite touches and what is wrong with them."""

    module: Module
    rule: Rule
    life: Life
    group: tuple[Life, ...]
    defects: tuple[Defect, ...]
    target: str


def groups(lives: Sequence[Life]) -> dict[Which, tuple[Life, ...]]:
    """For each life all that share an edit with it, directly or through another one, itself too."""
    at: dict[Key, list[Life]] = {}
    for life in lives:
        for site in life.sites:
            at.setdefault(site.written, []).append(life)
    found: dict[Which, tuple[Life, ...]] = {}
    for life in lives:
        if which(life) in found:
            continue
        group = {which(life): life}
        queue = [life]
        for one in queue:  # grows
            new = [other for site in one.sites for other in at.pop(site.written, ()) if which(other) not in group]
            group |= {which(other): other for other in new}
            queue += new
        found |= dict.fromkeys(group, tuple(group.values()))
    return found


def once(case: Case, question: str, answer: Callable[[], T]) -> T:
    """What is the same for all lives of a group, asked once."""
    key = (question, case.rule.id, case.target, which(case.group[0]))
    return case.module.engine.values.queries.fact(key, answer)


def which(life: Life) -> Which:
    """What tells a life from others of its module: the use of its map call, and where that is written."""
    return life.map.key, life.map.written
