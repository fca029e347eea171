# SPDX-License-Identifier: GPL-2.0-only
"""What an expression of constants is worth: attributes by name, map types, error numbers."""

from __future__ import annotations

import re

from dmamigrate.paths.places import Frame
from dmamigrate.paths.values import MAP_TYPES, NONZERO, ZERO, Flags, MapType, Value, constant
from dmamigrate.program.tree import Tree
from dmamigrate.syntax.expr import Binary, Constant, Expr, Name, Unary, strip, walk

_CONSTANT = re.compile(r"[A-Z_][A-Z0-9_]*")


class Constants:
    """Answers for one tree."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def of(self, frame: Frame, expr: Expr) -> Value | None:
        """The value of an expression of constants, None for any other."""
        expr = strip(expr)
        match expr:
            case Constant(text=text):
                if text in ("NULL", "false") or re.fullmatch(r"0[xX]?0*[uUlL]*", text):
                    return ZERO
                return constant(text) if text[:1].isdigit() else NONZERO
            case Name(text=text, variable=variable) if variable < 0:
                if text in ("NULL", "false"):
                    return ZERO
                if text == "true":
                    return constant("1")
                if text in MAP_TYPES:
                    return MapType(frozenset({text}))
                if not _CONSTANT.fullmatch(text):
                    return None
                return constant(text) if text.startswith("DMA_ATTR_") else self._named(frame, text)
            case Unary(op="-"):
                inner = self.of(frame, expr.parts[0])
                return (
                    constant("-" + next(iter(inner.on))) if isinstance(inner, Flags) and len(inner.on) == 1 else inner
                )
            case Binary(op="|"):
                both = self.of(frame, expr.parts[0]), self.of(frame, expr.parts[1])
                return both[0].union(both[1]) if isinstance(both[0], Flags) and isinstance(both[1], Flags) else None
        return None

    def _named(self, frame: Frame, name: str) -> Value:
        """The value of a named constant: what its #define is made of, if that is attributes, else its name."""
        unit = self._tree.unit(frame.fn.source.path)
        for macro in self._tree.macros(name, unit) if unit is not None else ():
            body = next((node.expr for node in reversed(macro.nodes) if node.expr is not None), None)
            if (
                body is not None
                and not macro.params
                and any(isinstance(e, Name) and e.text.startswith("DMA_ATTR_") for e in walk(body))
            ):
                return self.of(Frame(macro), body) or constant(name)
        return constant(name)
