# SPDX-License-Identifier: GPL-2.0-only
"""Asking each question once: cycles, budgets, and answers that are remembered.

A question has a key that names its domain (what kind of answer is wanted) and all that the answer depends on. While it
is being answered it may be asked again from within, as for `p = p->next` in a loop: there it adds nothing, and the
answer that was made without it *lacks* it. Such an answer is good again only while the question that it lacks is still
being asked, since only then will that one's own answer be added; once nothing is lacking, it is good for ever. An
answer that a budget cut short lacks the budget, which is never a question being asked, so it is never used again.

Facts (`fact`) have no cycles and no budget: they are computed once and kept.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

Key = tuple[object, ...]
_BUDGET: Key = ("budget",)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a way was not followed; `outside` if what is not in sight has the answer: callers or stores of other
    modules.
    """

    reason: str
    outside: bool = False


class Answers(Protocol[V]):
    """What the queries need to know of one kind of answer."""

    @property
    def nothing(self) -> V:
        """The answer that adds nothing to others."""

    def unknown(self, stop: Stop) -> V:
        """The answer that was not found, and why."""

    def dead_end(self, answer: V) -> bool:
        """Whether the answer says nothing but that nothing was found."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Where a trace gives up: nested questions, questions in all, callers of one function, files opened, dead ends.

    `steps`, `exits` and `inlined` bound what is walked forwards: nodes of one exploration, ways out of one callee that
    are told apart, callees deep.
    """

    depth: int = 60
    questions: int = 3000
    callers: int = 60
    files: int = 2000
    dead_ends: int = 40
    steps: int = 6000
    exits: int = 24
    inlined: int = 8


@dataclass(slots=True)
class _Trace:
    """What one question from outside has used up, and what is being asked on the way."""

    opened: int
    active: set[Key]
    # for each question being asked, the enclosing ones that its answer lacks
    lacking: list[set[Key]]
    asked: int = 0
    dead_ends: int = 0


class Queries:
    """The questions of one tree: those being asked, and the answers so far."""

    def __init__(self, budget: Budget, opened: Callable[[], int]) -> None:
        """`opened` counts the files that were opened so far."""
        self.budget = budget
        self._opened = opened
        self._answers: dict[Key, tuple[object, frozenset[Key]]] = {}
        self._facts: dict[Hashable, object] = {}
        self._trace = _Trace(opened(), set(), [set()])

    def fact(self, key: Hashable, compute: Callable[[], V]) -> V:
        """What `compute` says, computed once for the key."""
        if key not in self._facts:
            self._facts[key] = compute()
        return self._facts[key]  # type: ignore[return-value]  # the key names what is computed, so its type too

    @contextmanager
    def sparing(self, questions: int) -> Iterator[None]:
        """Ask no more than so many questions for each question from outside, where only an easy answer is of use."""
        usual, self.budget = self.budget, replace(self.budget, questions=min(questions, self.budget.questions))
        try:
            yield
        finally:
            self.budget = usual

    def begin(self, answer: Callable[[], V]) -> V:
        """Answer a question from outside: budgets count from here, answers are kept."""
        outer, self._trace = self._trace, _Trace(self._opened(), set(), [set()])
        try:
            return answer()
        finally:
            self._trace = outer

    def ask(self, kind: Answers[V], key: Key, depth: int, answer: Callable[[], V]) -> V:
        """Ask once: a question inside itself adds nothing, one beyond the budget is a stop that is named."""
        trace = self._trace
        if key in self._answers:
            held, lacks = self._answers[key]
            if lacks <= trace.active:
                trace.lacking[-1] |= lacks
                return held  # type: ignore[return-value]  # the key names the domain, so the type too
        if key in trace.active:
            trace.lacking[-1].add(key)
            return kind.nothing
        trace.asked += 1
        if why := self._spent(depth):
            trace.lacking[-1].add(_BUDGET)
            return kind.unknown(Stop(why))
        trace.active.add(key)
        trace.lacking.append(set())
        found = answer()
        mine = trace.lacking.pop()
        trace.active.discard(key)
        trace.dead_ends += kind.dead_end(found)
        mine.discard(key)
        trace.lacking[-1] |= mine
        self._answers[key] = (found, frozenset(mine))
        return found

    def apart(self, answer: Callable[[], V]) -> V:
        """Answer with an allowance of dead ends of its own: one operand's must not hide what the other one is."""
        before, self._trace.dead_ends = self._trace.dead_ends, 0
        found = answer()
        self._trace.dead_ends = before
        return found

    def _spent(self, depth: int) -> str:
        budget, trace = self.budget, self._trace
        if depth > budget.depth:
            return f"gave up after {budget.depth} nested steps; raise --effort"
        if trace.asked > budget.questions:
            return f"gave up after {budget.questions} questions; raise --effort"
        if self._opened() - trace.opened > budget.files:
            return f"gave up after {budget.files} files; raise --effort"
        if trace.dead_ends > budget.dead_ends:
            return f"gave up after {budget.dead_ends} dead ends; raise --effort"
        return ""
