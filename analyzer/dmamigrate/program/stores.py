# SPDX-License-Identifier: GPL-2.0-only
"""Who stores and who calls, in one place for those who ask."""

from __future__ import annotations

from dmamigrate.program.callers import Callers
from dmamigrate.program.macros import Setters
from dmamigrate.program.members import Members
from dmamigrate.program.objects import Overwrites
from dmamigrate.program.tree import Tree
from dmamigrate.program.types import Types
from dmamigrate.program.variables import Variables


class Stores:
    """Answers for one tree."""

    def __init__(
        self,
        tree: Tree,
        types: Types,
        aliases: dict[str, str],
        copies: dict[str, tuple[int, int | None]],
        filled: frozenset[str],
        outs: frozenset[tuple[str, int]],
    ) -> None:
        """`aliases` are macros that name a member, `copies` calls that overwrite what an argument points to,
        `filled` those that return memory whose contents come from elsewhere.

        `outs` are the calls, each with the number of an argument, that put something there.
        """
        setters = Setters(tree, outs)
        members = Members(tree, types, aliases, Overwrites(tree, types, copies, filled), setters)
        callers = Callers(tree, members)
        self.of_field, self.of_elements, self.in_file = members.of_field, members.of_elements, members.in_file
        self.only_struct_with, self.searched = members.only_struct_with, members.searched
        self.of_global = Variables(tree, setters).of_global
        self.callers = callers.of
        self.setters = setters
