# SPDX-License-Identifier: GPL-2.0-only
"""Who stores to a struct member or a global, and who calls a function, across the files that can see it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from dmamigrate.program.reach import root_of
from dmamigrate.program.tree import Tree
from dmamigrate.program.types import Types, struct_tag
from dmamigrate.syntax import parts
from dmamigrate.syntax.expr import Assign, Call, Cast, Expr, Index, Initializer, Member, Name, Unary, strip, walk
from dmamigrate.syntax.functions import CType, Function, Node
from dmamigrate.syntax.items import Item
from dmamigrate.syntax.unit import Unit

_HEAD_TYPE = re.compile(rb"\b(?:struct|union)\s+(\w+)[^=]*\Z")

_STORED = re.compile(rb"\s*(?:\[[^\]]*\]\s*)*(?:=(?!=)|[-+|&^*]=|<<=|>>=)")
_WRITTEN = re.compile(rb"\b(?:WRITE_ONCE|smp_store_release|rcu_assign_pointer|xchg|swap)\s*\([^;{}]*\Z")
_HANDED = re.compile(rb"&[\w\s>.\-\[\]]*\Z")
_SIMPLE_BASE = re.compile(rb"(?<![\w.>\])])\s*(\w+)\s*(?:->|\.)\Z")
_WORD = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


def _store_places(text: bytes, field: bytes) -> Iterator[tuple[int, bytes]]:
    """Where a member of this name is stored to, or handed on by address, and the variable before it if that is all."""
    at = text.find(field)
    while at >= 0:
        end = at + len(field)
        if text[end : end + 1] not in (b"", b" ") and text[end] in _WORD:
            at = text.find(field, end)
            continue
        before = text[max(0, at - 100) : at].rstrip()
        if before.endswith((b"->", b".")) and (
            _STORED.match(text, end) or _HANDED.search(before) or _WRITTEN.search(before)
        ):
            base = _SIMPLE_BASE.search(before)
            yield at, base.group(1) if base else b""
        at = text.find(field, end)


def _declared_otherwise(text: bytes, variable: bytes, tag: str) -> bool:
    """Whether the function `text` declares `variable` as a pointer to, or as, another struct: cheaper than parsing it."""
    kinds = set(re.findall(rb"\b(?:struct|union)\s+(\w+)[\s*]+(?:\w+\s*,[\s*]*)*" + re.escape(variable) + rb"\b", text))
    return bool(kinds) and tag.encode() not in kinds


@dataclass(frozen=True, slots=True)
class Store:
    """`place` becomes `value` at `node` of `fn`; with `call`, the callee stores through argument `argument`, from 0.

    `value` None means zero; with `call` it is the call's argument.
    """

    fn: Function
    node: int
    place: Expr
    value: Expr | None
    call: Call | None = None
    argument: int = -1


@dataclass(frozen=True, slots=True)
class CallSite:
    """A call, at `node` of `fn`."""

    fn: Function
    node: int
    call: Call


def file_scope(unit: Unit, name: str, start: int, end: int, value: Expr) -> Function:
    """A top-level initialiser as a function with one step."""
    nodes = (Node("entry", None), Node("exit", None), Node("eval", value))
    return Function(name, unit.source, start, end, CType(""), (), nodes, True, True)


class Stores:
    """Answers for one tree."""

    def __init__(self, tree: Tree, types: Types, aliases: dict[str, str]) -> None:
        self._tree = tree
        self._types = types
        self._aliases = aliases
        self.of_field = cache(self._of_field)
        self.in_file = cache(self._in_file)
        self.callers = cache(self._callers)
        self.only_struct_with = cache(self._only_struct_with)

    # members

    def _of_field(self, tag: str, field: str, unit: Unit) -> tuple[tuple[Store, ...], bool]:
        """The stores to member `field` of struct `tag`, and whether every place that can see the struct was read."""
        outer = tag.partition("::")[0]
        home = self._tree.struct(outer, unit)
        scope = self._tree.scope(home[1], unit.source.path) if home else None
        complete = scope is not None
        folder = scope if scope is not None else self._tree.module(unit.source.path)
        if not self._tree.is_driver_folder(folder):
            return (), False
        result: list[Store] = []
        # a struct of one file is nobody else's, whatever its name
        own = home is not None and home[1].endswith(".c")
        for path in (home[1],) if home is not None and own else self._tree.search(field, folder):
            other = self._tree.unit(path)
            if other is not None and (home is None or self._tree.struct_home(outer, other) in (home[1], "")):
                result += self._in_unit(other, tag, field)
        sharing = (home[1],) if home is not None and own else self._tree.search(outer, folder)
        positional = sharing if home is not None and field in home[0] else ()
        for path in positional:
            other = self._tree.unit(path)
            for item in other.items if other is not None else ():
                if other is not None and item.kind == "variable" and self._head_tag(other, item) == outer:
                    text = other.source.code[item.body : item.end]
                    if b"." + field.encode() not in text.replace(b" ", b""):
                        result += [s for s in self._initialised(other, item, tag, field) if s.value is not None]
        return tuple(result), complete

    def searched(self, tag: str, unit: Unit) -> str:
        """Where stores to the members of struct `tag` are looked for, in words."""
        home = self._tree.struct(tag.partition("::")[0], unit)
        scope = self._tree.scope(home[1], unit.source.path) if home else None
        return (scope if scope is not None else self._tree.module(unit.source.path)) or "the files at hand"

    def _in_file(self, tag: str, field: str, unit: Unit) -> tuple[Store, ...]:
        """The stores to member `field` of struct `tag` in the file itself."""
        return tuple(self._in_unit(unit, tag, field))

    def _in_unit(self, unit: Unit, tag: str, field: str) -> Iterator[Store]:
        text = unit.source.blanked
        places = list(_store_places(text, field.encode()))
        for alias, what in self._aliases.items():
            if what == f"{tag}.{field}":
                places += [(m.start(), b"") for m in re.finditer(rb"\b" + re.escape(alias.encode()) + rb"\s*\(", text)]
        seen: set[int] = set()
        for place, base in places:
            item = unit.item_at(place)
            if item is None or item.head in seen:
                continue
            if (
                item.kind == "function"
                and base
                and _declared_otherwise(text[item.head : place], base, tag.partition("::")[0])
            ):
                continue
            seen.add(item.head)
            if item.kind == "function":
                yield from self._in_function(unit.function(item), unit, tag, field)
            elif item.kind == "variable":
                yield from self._initialised(unit, item, tag, field)

    def _in_function(self, fn: Function, unit: Unit, tag: str, field: str) -> Iterator[Store]:
        for index, node in enumerate(fn.nodes):
            for expr in walk(node.expr) if node.expr is not None else ():
                if not isinstance(expr, Call):
                    for part in map(strip, expr.parts):
                        if (
                            isinstance(part, Unary)
                            and part.op == "&"
                            and self._is_member(strip(part.parts[0]), tag, field, fn, unit)
                        ):
                            # kept in a pointer: what is stored through that is not seen
                            yield Store(fn, index, part.parts[0], Expr(part.start, part.end, (part,)))
                match expr:
                    case Assign(op=op):
                        target = strip(expr.parts[0])
                        value = expr.parts[1]
                        if isinstance(strip(value), Initializer) and not isinstance(value, Cast):
                            kind = self._types.of(target, fn, unit)
                            if kind is not None:
                                yield from self._literal(
                                    fn, index, strip(value), struct_tag(kind), kind.pointers > 0, tag, field, unit
                                )
                        if self._is_member(target, tag, field, fn, unit):
                            yield Store(fn, index, target, value if op == "=" else expr)
                    case Cast(type=base, pointers=pointers) if isinstance(expr.parts[0], Initializer):
                        literal_tag = struct_tag(self._types.resolve(CType(base), unit))
                        yield from self._literal(fn, index, expr.parts[0], literal_tag, pointers > 0, tag, field, unit)
                    case Call():
                        for position, argument in enumerate(expr.args):
                            inner = strip(argument)
                            if isinstance(inner, Unary) and inner.op == "&":
                                place = strip(inner.parts[0])
                                if self._is_member(place, tag, field, fn, unit):
                                    yield Store(fn, index, place, argument, expr, position)

    def _is_member(self, place: Expr, tag: str, field: str, fn: Function, unit: Unit) -> bool:
        while isinstance(place, Index):
            place = strip(place.parts[0])
        if isinstance(place, Call):
            return self._aliases.get(place.name) == f"{tag}.{field}"
        if not isinstance(place, Member) or place.field != field:
            return False
        found = self._types.member(place, fn, unit)
        return found is not None and found[0] == tag

    def _literal(
        self, fn: Function, node: int, init: Expr, outer: str, array: bool, tag: str, field: str, unit: Unit
    ) -> Iterator[Store]:
        """The stores to `tag`.`field` inside an initialiser of a struct `outer`, or of an array of them."""
        if not isinstance(init, Initializer) or not outer:
            return
        names = [] if array else self._order(outer, unit)
        for position, (designator, part) in enumerate(zip(init.fields, init.parts, strict=True)):
            value = strip(part)
            if array or designator.startswith("["):
                if isinstance(value, Initializer):
                    yield from self._literal(fn, node, value, outer, False, tag, field, unit)
                continue
            name = designator or (names[position] if position < len(names) and not any(init.fields) else "")
            label, _, rest = name.partition(".")
            if rest:
                value = Initializer(part.start, part.end, (part,), (rest,))
            found = self._types.field(outer, label.replace("[]", ""), unit) if label else None
            if outer == tag and label.replace("[]", "") == field and not rest:
                yield Store(fn, node, part, part)
            elif found is not None and isinstance(value, Initializer):
                inner = found[1]
                yield from self._literal(
                    fn, node, value, struct_tag(inner), inner.pointers > 0 and not rest, tag, field, unit
                )

    def _order(self, tag: str, unit: Unit) -> list[str]:
        found = self._tree.struct(tag.partition("::")[0], unit)
        return [name for name in found[0] if "." not in name] if found and "::" not in tag else []

    @staticmethod
    def _head_tag(unit: Unit, item: Item) -> str:
        head = _HEAD_TYPE.search(unit.source.code[item.head : item.body].rpartition(b"=")[0])
        return head.group(1).decode() if head else ""

    def _initialised(self, unit: Unit, item: Item, tag: str, field: str) -> Iterator[Store]:
        outer = self._head_tag(unit, item)
        if not outer:
            return
        value = unit.initial_value(item)
        fn = file_scope(unit, item.name, item.head, item.end, value)
        array = b"[" in unit.source.code[item.head : item.body]
        yield from self._literal(fn, 2, value, outer, array, tag, field, unit)

    def _only_struct_with(self, field: str, unit: Unit) -> tuple[str, CType] | None:
        """The struct with a member `field`, if the driver around `unit` defines exactly one."""
        folder = self._tree.module(unit.source.path)
        if not self._tree.is_driver_folder(folder):
            return None
        found: dict[str, CType] = {}
        word = re.compile(rb"\b" + re.escape(field.encode()) + rb"\b\s*[;,\[:]")
        for path in self._tree.search(field, folder):
            other = self._tree.unit(path)
            for item in other.items if other is not None else ():
                if (
                    other is None
                    or item.kind != "type"
                    or not item.name
                    or not word.search(other.source.code, item.body, item.end)
                ):
                    continue
                kind = (other.fields(item.name) or {}).get(field)
                if kind is not None:
                    found[item.name] = self._types.resolve(kind, other)
        return next(iter(found.items())) if len(found) == 1 else None

    # globals

    def of_global(self, name: str, unit: Unit) -> tuple[tuple[Store, ...], bool]:
        """The stores to global `name`, and whether every file that sees it was read."""
        word = re.escape(name.encode())
        declared = re.search(rb"^[ \t]*static\b[^;{}()]*\b" + word + rb"\b", unit.source.code, re.MULTILINE)
        folder = self._tree.module(unit.source.path)
        paths = (
            (unit.source.path,)
            if declared
            else self._tree.search(name, folder)
            if self._tree.is_driver_folder(folder)
            else ()
        )
        result: list[Store] = []
        for path in paths:
            other = self._tree.unit(path)
            if other is not None:
                result += self._global_in(other, name, word)
        kept = re.compile(
            rb"(?:=|\breturn|\{)\s*&\s*" + word + rb"\b(?!\s*(?:->|\.|\[))|\bEXPORT_SYMBOL\w*\s*\(\s*" + word + rb"\b"
        )
        if any(kept.search(other.source.blanked) for path in paths if (other := self._tree.unit(path)) is not None):
            return tuple(result), False  # set through a pointer, or by another module
        return tuple(result), bool(declared) or (bool(result) and self._tree.is_driver_folder(folder))

    def _global_in(self, unit: Unit, name: str, word: bytes) -> Iterator[Store]:
        for item in unit.named("variable", name):
            value = unit.initial_value(item)
            yield Store(file_scope(unit, name, item.head, item.end, value), 2, value, value)
        seen: set[int] = set()
        pattern = re.compile(rb"\b" + word + rb"\b\s*(?:\[[^\]]*\]\s*)*(?:=(?!=)|[-+|&]=|[,)])")
        for holder, at in self._tree.items_with(unit, pattern):
            if holder is None:
                plain = re.compile(rb"\b" + word + rb"\s*=\s*([^;{]*);").match(unit.source.code, at)
                if plain:
                    value = parts.expression(plain.group(1), plain.start(1))
                    yield Store(file_scope(unit, name, at, plain.end(), value), 2, value, value)
                continue
            if holder.kind != "function" or holder.head in seen:
                continue
            seen.add(holder.head)
            fn = unit.function(holder)
            for index, node in enumerate(fn.nodes):
                for expr in walk(node.expr) if node.expr is not None else ():
                    if isinstance(expr, Assign) and self._is_global(expr.parts[0], name):
                        yield Store(fn, index, expr.parts[0], expr.parts[1] if expr.op == "=" else expr)
                    elif isinstance(expr, Call):
                        for position, argument in enumerate(expr.args):
                            inner = strip(argument)
                            if isinstance(inner, Unary) and inner.op == "&" and self._is_global(inner.parts[0], name):
                                yield Store(fn, index, inner.parts[0], argument, expr, position)

    @staticmethod
    def _is_global(place: Expr, name: str) -> bool:
        place = strip(place)
        while isinstance(place, Index):
            place = strip(place.parts[0])
        return isinstance(place, Name) and place.text == name and place.variable < 0

    def set_by_macro(self, unit: Unit, call: Call, position: int) -> bool:
        """Whether a macro of the driver's own assigns to its parameter at `position`."""
        own = (unit, *(header for header in self._tree.headers(unit) if not header.source.path.startswith("include/")))
        macros = [macro for one in own for macro in one.macros(call.name)] if call.name else []
        return any(
            isinstance(expr, Assign) and (root := root_of(expr.parts[0])) is not None and root.variable == position
            for macro in macros
            for node in macro.nodes
            if node.expr is not None
            for expr in walk(node.expr)
        )

    def may_store(self, call: Call, field: str, unit: Unit, inert: set[str], levels: int = 3) -> bool:
        """Whether the callee, or what it hands its own parameters to, has a store to a member of this name in its text."""
        if not call.name:
            return False
        pattern = re.compile(rb"(?:->|\.)\s*" + re.escape(field.encode()) + rb"\s*=[^=]")
        for one in self._tree.functions(call.name, unit):
            if pattern.search(one.source.blanked, one.start, one.end) is not None:
                return True
            inner = (
                [c for _, c in one.calls if any(isinstance(a, Name) and a.variable >= 0 for a in c.args)]
                if levels > 1
                else []
            )
            home = self._tree.unit(one.source.path) or unit
            if any(
                c.name not in inert and c.name != call.name and self.may_store(c, field, home, inert, levels - 1)
                for c in inner
            ):
                return True
        return False

    # callers

    def _callers(self, fn: Function) -> tuple[tuple[CallSite, ...], bool, str]:
        """The calls of `fn`, whether those are all, and if not, why."""
        word = fn.name.encode()
        header = fn.source.path.endswith(".h")
        complete, why = True, ""
        if fn.static and not header:
            paths: tuple[str, ...] = (fn.source.path,)
        else:
            paths, complete = self._users(fn)
            if not complete:
                why = f"{fn.name}() may be called from outside of this driver"
        sites: list[CallSite] = []
        mentions = re.compile(rb"\b" + re.escape(word) + rb"\b(\s*\()?")
        for path in paths:
            unit = self._tree.unit(path)
            if unit is None:
                continue
            seen: set[int] = set()
            for match in mentions.finditer(unit.source.blanked):
                item = unit.item_at(match.start())
                if match.group(1):
                    found = self._calls_in(unit, item, match.start(), fn.name, seen)
                    sites += found
                    continue
                through, whole, reason = self._through_pointer(unit, item, fn.name, match.start())
                sites += through
                if not whole:
                    complete, why = False, reason
        unique = {(s.fn.source.path, s.fn.start, s.call.start): s for s in sites}
        return tuple(unique.values()), complete, why

    def _users(self, fn: Function) -> tuple[tuple[str, ...], bool]:
        folder = self._tree.module(fn.source.path)
        exported = (
            re.search(rb"EXPORT_SYMBOL\w*\s*\(\s*" + re.escape(fn.name.encode()) + rb"\b", fn.source.data) is not None
        )
        paths = self._tree.search(fn.name, folder) if self._tree.is_driver_folder(folder) else (fn.source.path,)
        # a driver spread over sibling folders: look there while nobody near by calls it
        while len(paths) <= 2 and "/" in folder and self._tree.is_driver_folder(folder.rpartition("/")[0]):
            folder = folder.rpartition("/")[0]
            if folder.count("/") < 2:
                break
            paths = self._tree.search(fn.name, folder)
        return paths, not exported and self._tree.is_driver_folder(folder)

    def _calls_in(self, unit: Unit, item: Item | None, at: int, name: str, seen: set[int]) -> list[CallSite]:
        if item is not None and (item.kind != "function" or item.head in seen):
            return []
        if item is not None and item.params >= 0 and at < item.params:
            return []
        fn = unit.function(item) if item is not None else unit.function_at(at)
        if fn is None or (item is None and not fn.macro):
            return []
        if item is not None:
            seen.add(item.head)
        return [CallSite(fn, index, call) for index, call in fn.calls if call.name == name]

    def _through_pointer(self, unit: Unit, item: Item | None, name: str, at: int) -> tuple[list[CallSite], bool, str]:
        """The calls through the ops member that `name`, mentioned at `at`, is stored to."""
        before = unit.source.blanked[max(0, at - 120) : at]
        if re.search(rb"(?:EXPORT_SYMBOL\w*|ALLOW_ERROR_INJECTION|NOKPROBE_SYMBOL)\s*\(\s*\Z", before):
            return [], True, ""
        if item is None:
            return [], True, ""
        stored = re.search(rb"(?:\.|->)\s*(\w+)\s*=\s*&?\s*\Z", before)
        reason = f"{name}() is called through a pointer"
        if stored is None:
            return [], False, reason
        member = stored.group(1).decode()
        owner = self.only_struct_with(member, unit)
        if owner is None:
            return [], False, f"{reason}, {member}, by code outside of this driver"
        sites: list[CallSite] = []
        calls = re.compile(rb"(?:->|\.)\s*" + re.escape(member.encode()) + rb"\s*\)?\s*\(")
        for path in self._tree.search(member, self._tree.module(unit.source.path)):
            other = self._tree.unit(path)
            if other is None:
                continue
            for holder, where in self._tree.items_with(other, calls):
                if holder is None or holder.kind != "function":
                    continue
                fn = other.function(holder)
                for index, call in fn.calls:
                    callee = strip(call.parts[0])
                    if isinstance(callee, Member) and callee.field == member and call.start <= where < call.end:
                        sites.append(CallSite(fn, index, call))
        return sites, bool(sites), reason
