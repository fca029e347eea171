# SPDX-License-Identifier: GPL-2.0-only
"""Asking each question of a trace once: cycles, budgets, and answers that are remembered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dmamigrate.findings import Kind
from dmamigrate.program.tree import Tree
from dmamigrate.values.leaves import Leaves, unknown

Key = tuple[object, ...]
_BUDGET: Key = ("budget",)  # never an enclosing question: an answer cut short is not used again


@dataclass(frozen=True, slots=True)
class Budget:
    """Where a trace gives up: nested questions, questions in all, callers of one function, files opened, dead ends."""

    depth: int = 60
    questions: int = 3000
    callers: int = 60
    files: int = 2000
    dead_ends: int = 40


class Questions:
    """The questions of one tracer: those being asked, and the answers so far."""

    def __init__(self, tree: Tree, budget: Budget) -> None:
        self.budget = budget
        self._tree = tree
        self._active: set[Key] = set()
        # for each question being asked, the enclosing ones that its answer lacks
        self._lacking: list[set[Key]] = [set()]
        self._answers: dict[Key, tuple[Leaves, frozenset[Key]]] = {}
        self._asked = 0
        self._dead_ends = 0
        self._opened = 0

    def start(self) -> None:
        """Begin a trace: budgets count from here, answers are kept."""
        self._asked = 0
        self._dead_ends = 0
        self._opened = self._tree.opened
        self._active.clear()
        self._lacking = [set()]

    def ask(self, key: Key, depth: int, answer: Callable[[], Leaves]) -> Leaves:
        """Ask once: a question inside itself adds nothing, one beyond the budget is a stop that is named.

        An answer that lacks what an enclosing question adds is good again only inside that question.
        """
        if key in self._answers:
            leaves, lacks = self._answers[key]
            if lacks <= self._active:
                self._lacking[-1] |= lacks
                return leaves
        if key in self._active:
            self._lacking[-1].add(key)
            return ()
        self._asked += 1
        if why := self._spent(depth):
            self._lacking[-1].add(_BUDGET)
            return unknown(why)
        self._active.add(key)
        self._lacking.append(set())
        leaves = answer()
        mine = self._lacking.pop()
        self._active.discard(key)
        self._dead_ends += bool(leaves) and all(leaf.kind is Kind.UNKNOWN for leaf in leaves)
        mine.discard(key)
        self._lacking[-1] |= mine
        self._answers[key] = (leaves, frozenset(mine))
        return leaves

    def apart(self, answer: Callable[[], Leaves]) -> Leaves:
        """Answer with an allowance of dead ends of its own: one operand's must not hide what the other one is."""
        before, self._dead_ends = self._dead_ends, 0
        leaves = answer()
        self._dead_ends = before
        return leaves

    def _spent(self, depth: int) -> str:
        budget = self.budget
        if depth > budget.depth:
            return f"gave up after {budget.depth} nested steps; give --effort high"
        if self._asked > budget.questions:
            return f"gave up after {budget.questions} questions; give --effort high"
        if self._tree.opened - self._opened > budget.files:
            return f"gave up after {budget.files} files; give --effort high"
        if self._dead_ends > budget.dead_ends:
            return f"gave up after {budget.dead_ends} dead ends; give --effort high"
        return ""
