# SPDX-License-Identifier: GPL-2.0-only
"""A store and a call, as questions about a whole module find them."""

from __future__ import annotations

from dataclasses import dataclass

from dmamigrate.syntax.expr import Call, Expr
from dmamigrate.syntax.functions import CType, Function, Node
from dmamigrate.syntax.unit import Unit


@dataclass(frozen=True, slots=True)
class CallSite:
    """A call, at `node` of `fn`."""

    fn: Function
    node: int
    call: Call


@dataclass(frozen=True, slots=True)
class Asked:
    """A member that is asked about: its struct, its name, and the file that sees them."""

    tag: str
    field: str
    unit: Unit


@dataclass(frozen=True, slots=True)
class Store:
    """`place` becomes `value` at `node` of `fn`; with `call`, the callee stores through argument `argument`, from 0.

    `value` None means zero; with `call` it is the call's argument. In a macro, `user` is where it is used. A `doubt` is
    why what is stored is not followed; with `behind` it is about what a pointer or an array holds, not about the
    pointer.
    """

    fn: Function
    node: int
    place: Expr
    value: Expr | None
    call: Call | None = None
    argument: int = -1
    user: CallSite | None = None
    doubt: str = ""
    behind: bool = False


def file_scope(unit: Unit, name: str, start: int, end: int, value: Expr) -> Function:
    """A top-level initialiser as a function with one step."""
    nodes = (Node("entry", None), Node("exit", None), Node("eval", value))
    return Function(name, unit.source, start, end, CType(""), (), nodes, True, True)
