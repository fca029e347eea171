# SPDX-License-Identifier: GPL-2.0-only
"""Who stores and who calls, in one place for those who ask."""

from __future__ import annotations

from dmamigrate.program.callers import Callers
from dmamigrate.program.members import Members
from dmamigrate.program.tree import Tree
from dmamigrate.program.types import Types
from dmamigrate.program.variables import Variables


class Stores:
    """Answers for one tree."""

    def __init__(
        self, tree: Tree, types: Types, aliases: dict[str, str], copies: dict[str, tuple[int, int | None]]
    ) -> None:
        """`aliases` are macros that name a member, `copies` calls that overwrite what an argument points to."""
        members = Members(tree, types, aliases, copies)
        callers = Callers(tree, members)
        self.of_field, self.in_file = members.of_field, members.in_file
        self.only_struct_with, self.searched = members.only_struct_with, members.searched
        self.of_global = Variables(tree).of_global
        self.callers, self.set_by_macro, self.may_store = callers.of, callers.set_by_macro, callers.may_store
