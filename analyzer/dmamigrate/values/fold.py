# SPDX-License-Identifier: GPL-2.0-only
"""The fold over flow: what flows into a question, asked in turn, is made one answer by a domain."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from dmamigrate.program.queries import Budget, Queries, Stop
from dmamigrate.program.tree import Tree
from dmamigrate.syntax.expr import Assign, Binary, Constant, Expr, Unary, strip
from dmamigrate.values.flow import Flow
from dmamigrate.values.knowledge import Knowledge
from dmamigrate.values.questions import Inflow, Question, Use
from dmamigrate.values.tables import Tables

V = TypeVar("V")
Ask = Callable[[Question], V]


class Domain(Protocol[V]):
    """A kind of answer. `leaf` and `apply` are handed a function that asks the same of something else."""

    @property
    def name(self) -> str:
        """What tells this domain's answers from others in the memo."""

    @property
    def nothing(self) -> V:
        """The answer that adds nothing to others."""

    def leaf(self, question: Question, ask: Ask[V]) -> V | None:
        """The answer where this domain needs no flow to give it, else None."""

    def apply(self, use: Use, ask: Ask[V]) -> V:
        """The answer for a constant or an operator."""

    def join(self, question: Question, found: Iterable[tuple[Inflow, V]], stops: tuple[Stop, ...]) -> V:
        """One answer for all that flows in, by the way that each came; `stops` say why there may be more."""

    def unknown(self, stop: Stop) -> V:
        """The answer that was not found, and why."""

    def dead_end(self, answer: V) -> bool:
        """Whether the answer says nothing but that nothing was found."""


class Values:
    """The one engine: every question about a value in one tree is asked here."""

    def __init__(self, tree: Tree, knowledge: Knowledge, budget: Budget | None = None) -> None:
        self.tree = tree
        self.queries = Queries(budget or Budget(), lambda: tree.opened)
        self.tables = Tables(tree, knowledge)
        self.flow = Flow(tree, self.tables, self.queries)

    def of(self, domain: Domain[V], question: Question) -> V:
        """The answer to a question from outside; its budgets count from here."""
        return self.queries.begin(lambda: self._ask(domain, question, 0))

    def _ask(self, domain: Domain[V], question: Question, depth: int) -> V:
        return self.queries.ask(
            domain, (domain.name, *question.key), depth, lambda: self._answer(domain, question, depth + 1)
        )

    def _answer(self, domain: Domain[V], question: Question, depth: int) -> V:
        def ask(other: Question) -> V:
            return self._ask(domain, other, depth)

        known = domain.leaf(question, ask)
        if known is not None:
            return known
        if isinstance(question, Use) and _computed(question):
            return domain.apply(question, ask)
        flows = self.flow.inflows(question)
        found: list[tuple[Inflow, V]] = [
            (edge, ask(edge.source) if edge.source is not None else domain.apply(_zero(edge), ask))
            for edge in flows.edges
        ]
        answer = domain.join(question, found, flows.open)
        return domain.unknown(Stop(flows.nothing)) if flows.nothing and answer == domain.nothing else answer


def _computed(use: Use) -> bool:
    """Whether the value is computed here: a constant, or what an operator makes of others."""
    expr = strip(use.expr)
    if isinstance(expr, Constant) or (isinstance(expr, Assign) and expr.op != "="):
        return True
    if isinstance(expr, Unary):
        return expr.op != "*"
    if type(expr) is Expr:
        return not expr.parts and expr.start == expr.end
    return isinstance(expr, Binary) and expr.op != ","


def _zero(edge: Inflow) -> Use:
    return Use(edge.fn, 0, Constant(edge.at.start, edge.at.start, (), "0"))
