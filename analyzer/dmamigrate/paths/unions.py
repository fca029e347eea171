# SPDX-License-Identifier: GPL-2.0-only
"""What a store to one member of a union does to what is known of the others."""

from __future__ import annotations

from dmamigrate.paths.places import Frame, below
from dmamigrate.paths.state import State
from dmamigrate.syntax.expr import Expr, Member, strip
from dmamigrate.values.engine import Engine


def unshared(engine: Engine, frame: Frame, target: Expr, state: State) -> State:
    """Without what is known of places that share memory with the one that is stored to."""
    while isinstance(target, Member):
        base = frame.place(target.parts[0])
        inside = f"{base}{'->' if target.arrow else '.'}"
        beside = [key for key in state.env if base is not None and key.startswith(inside)]
        if not all(below(key, inside + target.field) for key in beside):
            unit = engine.flow.unit(frame.fn)
            owner = engine.types.member(target, frame.fn, unit)
            shared = engine.tree.sharing(owner[0], target.field, unit) if owner is not None else ()
            gone = {key for key in beside if any(below(key, inside + name) for name in shared)}
            state = state.forget(lambda key, _, gone=gone: key in gone) if gone else state  # type: ignore[misc]
        target = strip(target.parts[0])
    return state
