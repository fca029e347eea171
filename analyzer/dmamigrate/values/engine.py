# SPDX-License-Identifier: GPL-2.0-only
"""The engine of one tree: the fold and its domains, in one place for those who ask."""

from __future__ import annotations

from dmamigrate.api import Api
from dmamigrate.findings import Origin
from dmamigrate.program.queries import Budget
from dmamigrate.program.stores import Stores
from dmamigrate.program.tree import Tree
from dmamigrate.program.types import Types
from dmamigrate.syntax.expr import Expr
from dmamigrate.syntax.functions import Function
from dmamigrate.values.calls import Calls
from dmamigrate.values.constants import ConstantValues
from dmamigrate.values.devices import Devices
from dmamigrate.values.flow import Flow
from dmamigrate.values.fold import Values
from dmamigrate.values.holders import Holders
from dmamigrate.values.knowledge import Knowledge
from dmamigrate.values.origins import Origins
from dmamigrate.values.questions import Use
from dmamigrate.values.terms import Terms


class Engine:
    """Answers every question about a value in one tree."""

    def __init__(self, tree: Tree, knowledge: Knowledge, budget: Budget | None = None) -> None:
        self.tree = tree
        self.values = Values(tree, knowledge, budget)
        self.origins = Origins(self.values)
        self.constants = ConstantValues(self.values)
        self.terms = Terms(self.values)
        self.holders = Holders(self.values)
        self.devices = Devices(self.values)
        self.calls = Calls(self.values)

    @property
    def budget(self) -> Budget:
        """Where the engine gives up."""
        return self.values.queries.budget

    @property
    def flow(self) -> Flow:
        """How values flow in this tree."""
        return self.values.flow

    @property
    def stores(self) -> Stores:
        """Who stores to members and globals, and who calls."""
        return self.values.flow.stores

    @property
    def types(self) -> Types:
        """The types of expressions."""
        return self.values.flow.types

    @property
    def api(self) -> Api:
        """The mapping calls that the tables know."""
        return self.values.tables.knowledge.api

    def origin(self, fn: Function, node: int, expr: Expr) -> Origin:
        """Where the value of `expr`, evaluated at `node` of `fn`, comes from."""
        return self.origins.of(Use(fn, node, expr))
