# SPDX-License-Identifier: GPL-2.0-only
"""What an initialiser puts into a struct member, designated or by its position, at any depth."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dmamigrate.program.records import Asked, Store, file_scope
from dmamigrate.program.tree import Tree
from dmamigrate.program.types import Types, struct_tag
from dmamigrate.syntax.expr import Expr, Initializer, strip
from dmamigrate.syntax.functions import Function
from dmamigrate.syntax.items import Item
from dmamigrate.syntax.unit import Unit

_HEAD_TYPE = re.compile(rb"\b(?:struct|union)\s+(\w+)[^=]*\Z")


def head_tag(unit: Unit, item: Item) -> str:
    """The struct that an initialised variable is one of, or an array of, "" if it is none."""
    head = _HEAD_TYPE.search(unit.source.code[item.head : item.body].rpartition(b"=")[0])
    return head.group(1).decode() if head else ""


class Literals:
    """Answers for one tree."""

    def __init__(self, tree: Tree, types: Types) -> None:
        self._tree = tree
        self._types = types

    def of_variable(self, item: Item, asked: Asked) -> Iterator[Store]:
        """What the initialiser of a variable of the file that asks puts into the member."""
        unit = asked.unit
        outer = head_tag(unit, item)
        if not outer:
            return
        value = unit.initial_value(item)
        fn = file_scope(unit, item.name, item.head, item.end, value)
        array = b"[" in unit.source.code[item.head : item.body]
        yield from self.stores((fn, 2), value, (outer, array), asked)

    def stores(self, at: tuple[Function, int], init: Expr, outer: tuple[str, bool], asked: Asked) -> Iterator[Store]:
        """What an initialiser at a node of a function puts into the member.

        `outer` is the struct that it is one of, and whether it is an array of those.
        """
        tag, array = outer
        if not isinstance(init, Initializer) or not tag:
            return
        names = [] if array else self._order(tag, asked.unit)
        following = 0
        for designator, part in zip(init.fields, init.parts, strict=True):
            value = strip(part)
            if array or designator.startswith("["):
                if isinstance(value, Initializer):
                    yield from self.stores(at, value, (tag, False), asked)
                continue
            name = designator or (names[following] if following < len(names) else "")
            first = name.partition(".")[0].replace("[]", "")
            following = names.index(first) + 1 if first in names else following + 1
            label, _, rest = name.partition(".")
            if rest:
                value = Initializer(part.start, part.end, (part,), (rest,))
            found = self._types.field(tag, label.replace("[]", ""), asked.unit) if label else None
            if tag == asked.tag and label.replace("[]", "") == asked.field and not rest:
                yield Store(*at, part, part)
            elif found is not None and isinstance(value, Initializer):
                inner = found[1]
                yield from self.stores(at, value, (struct_tag(inner), inner.pointers > 0 and not rest), asked)

    def _order(self, tag: str, unit: Unit) -> list[str]:
        found = self._tree.struct(tag.partition("::")[0], unit)
        return [name for name in found[0] if "." not in name] if found and "::" not in tag else []
