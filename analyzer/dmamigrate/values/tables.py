# SPDX-License-Identifier: GPL-2.0-only
"""What the tables say of one call, field or variable of a driver."""

from __future__ import annotations

from collections.abc import Callable

from dmamigrate.findings import Kind
from dmamigrate.program.tree import Tree
from dmamigrate.program.types import struct_tag
from dmamigrate.syntax.expr import Call, Expr, strip
from dmamigrate.syntax.functions import CType, Function
from dmamigrate.values.knowledge import OBJECT, Knowledge, Meaning
from dmamigrate.values.leaves import NUMBER, Leaf, Leaves, is_address, uncut, unknown


class Tables:
    """The tables, asked from within one tree."""

    def __init__(self, tree: Tree, knowledge: Knowledge) -> None:
        self._tree = tree
        self.knowledge = knowledge
        carriers = [name.partition(".") for name, meaning in knowledge.fields.items() if meaning.source == OBJECT]
        self._names = {name for name, _ in knowledge.calls} | knowledge.inert
        self._carriers = {tag for tag, _, _ in carriers}
        self.carried_members = frozenset(member for _, _, member in carriers)

    def knows(self, name: str) -> bool:
        """Whether any entry speaks of this call: what it stores to is then listed."""
        return name in self._names

    def carries(self, kind: CType) -> bool:
        """Whether an object of this type stands for an address, as a struct resource does."""
        return struct_tag(kind) in self._carriers

    def meant(
        self, fn: Function, at: Expr, meanings: tuple[Meaning, ...], call: Call | None, ask: Callable[[Expr], Leaves]
    ) -> Leaves:
        """What the entries say of `at`; `ask` answers for the object that one passes on."""
        meaning = self.fitting(fn, meanings, call)
        if meaning is None:
            return unknown("no table entry fits")
        if meaning.source is None:
            return self._source(fn, meaning)
        if meaning.source == OBJECT:
            leaves = ask(strip(at).parts[0])
        elif call is not None and meaning.source < len(call.args):
            leaves = ask(call.args[meaning.source])
        else:
            return unknown(f"{call.name if call else 'it'}() is called with too few arguments here")
        if meaning.pages:
            leaves = uncut(leaves)
        if meaning.only and meaning.default is not None:
            kept = tuple(leaf for leaf in leaves if leaf.kind in meaning.only)
            others = [leaf for leaf in leaves if leaf.kind is not None and leaf.kind not in meaning.only]
            return kept if kept and not others else (*kept, Leaf(meaning.default))
        if meaning.default is None or is_address(leaves):
            return leaves
        unsure = tuple(leaf for leaf in leaves if leaf.kind is Kind.UNKNOWN)
        return (Leaf(meaning.default), *unsure)

    def fitting(self, fn: Function, meanings: tuple[Meaning, ...], call: Call | None) -> Meaning | None:
        """The entry that speaks of this call, by the literals that it is given; None if none does."""
        return next((one for one in meanings if one.argument is None or self._literal(fn, call, one)), None)

    def _source(self, fn: Function, meaning: Meaning) -> Leaves:
        leaves = tuple(
            Leaf(kind, storage=meaning.storage, direct=meaning.direct)
            for kind in meaning.origins
            if not (kind is Kind.UNKNOWN and meaning.stop)
        )
        if meaning.stop:
            leaves += unknown(meaning.stop)
        maker = next((word for word in meaning.doubt if self._used_nearby(word, fn)), None)
        if maker is not None:
            leaves += unknown(f"this driver makes such devices itself, with {maker}()")
        if meaning.firmware and not self._described_by_firmware(meaning.firmware, fn):
            leaves += unknown("the device may be made by code that was not read: nothing here matches firmware")
        return leaves or NUMBER

    def _used_nearby(self, word: str, fn: Function) -> bool:
        folder = self._tree.module(fn.source.path)
        return self._tree.is_driver_folder(folder) and bool(self._tree.search(word, folder))

    def _described_by_firmware(self, words: tuple[str, ...], fn: Function) -> bool:
        """Whether the driver around `fn` matches firmware: the file with its platform_driver says so, if this is the
        one.
        """
        if b"platform_driver" in fn.source.data:
            return any(word.encode() in fn.source.data for word in words)
        return any(self._used_nearby(word, fn) for word in words)

    @staticmethod
    def _literal(fn: Function, call: Call | None, meaning: Meaning) -> bool:
        if call is None or meaning.argument is None or meaning.argument >= len(call.args):
            return False
        argument = call.args[meaning.argument]
        return fn.source.text(argument.start, argument.end).strip('"') in meaning.literal
