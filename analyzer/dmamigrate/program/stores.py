# SPDX-License-Identifier: GPL-2.0-only
"""Who stores and who calls, in one place for those who ask."""

from __future__ import annotations

from dataclasses import dataclass

from dmamigrate.program.callers import Callers
from dmamigrate.program.macros import Setters
from dmamigrate.program.members import Members
from dmamigrate.program.objects import Overwrites
from dmamigrate.program.tree import Tree
from dmamigrate.program.types import Types
from dmamigrate.program.variables import Variables


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the kernel's calls.

    `aliases` are macros that name a member, `copies` calls that overwrite what an argument points to, `filled` those
    that return memory whose contents come from elsewhere, `outs` those, each with the number of an argument, that put
    something there.
    """

    aliases: dict[str, str]
    copies: dict[str, tuple[int, int | None]]
    filled: frozenset[str]
    outs: frozenset[tuple[str, int]]


class Stores:
    """Answers for one tree."""

    def __init__(self, tree: Tree, types: Types, known: Known) -> None:
        setters = Setters(tree, known.outs)
        overwrites = Overwrites(tree, types, known.copies, known.filled)
        members = Members(tree, types, known.aliases, overwrites, setters)
        callers = Callers(tree, members)
        self.of_field, self.of_elements, self.in_file = members.of_field, members.of_elements, members.in_file
        self.only_struct_with, self.searched = members.only_struct_with, members.searched
        self.of_global = Variables(tree, setters).of_global
        self.callers = callers.of
        self.setters = setters
