# SPDX-License-Identifier: GPL-2.0-only
"""Macros of the kernel that are assignments and members, read as such."""

from __future__ import annotations

from dataclasses import replace

from dmamigrate.syntax.expr import Assign, Binary, Expr, Index, Member, Name, Unary

# the first argument becomes the second
ASSIGNING = frozenset({"WRITE_ONCE", "smp_store_release", "rcu_assign_pointer", "RCU_INIT_POINTER", "smp_store_mb"})
# what a driver keeps for its unmap, under names that are gone where no unmap needs them
_UNMAP_STATE = frozenset({"dma_unmap_addr", "dma_unmap_addr_set", "dma_unmap_len", "dma_unmap_len_set"})


def plain(name: str, args: list[Expr], start: int, end: int) -> Expr | None:
    """What a call of macro `name`, from byte `start` to `end`, stands for in plain C; None for any other call."""
    if name in ASSIGNING and len(args) == 2:
        target = args[0]
        if isinstance(target, Unary) and target.op == "&":
            target = target.parts[0]
        return Assign(start, end, (target, args[1]))
    if name in _UNMAP_STATE and len(args) >= 2:
        # include/linux/dma-mapping.h: dma_unmap_addr() is a member, dma_unmap_addr_set() a store to it
        member = _member(args[0], args[1])
        return Assign(start, end, (member, args[2])) if len(args) == 3 and member is not None else member
    if name == "swap" and len(args) == 2:
        # what a store reads is what was there before its statement: both at once
        stores = (Assign(start, end, (args[0], args[1])), Assign(start, end, (args[1], args[0])))
        return Binary(start, end, stores, ",")
    return None


def _member(base: Expr, place: Expr) -> Expr | None:
    """`base->place`, where that may be a member of a member or an element: `dma[i]`, `in.addr`."""
    match place:
        case Name():
            return Member(base.start, place.end, (base,), place.text, True)
        case Index() | Member():
            inner = _member(base, place.parts[0])
            return replace(place, start=base.start, parts=(inner, *place.parts[1:])) if inner is not None else None
    return None
