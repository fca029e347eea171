# SPDX-License-Identifier: GPL-2.0-only
"""Who stores to a struct member, across the files that can see the struct."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from dmamigrate.program.literals import Literals, head_tag
from dmamigrate.program.macros import Setters
from dmamigrate.program.objects import Overwrites
from dmamigrate.program.places import by_offset, store_places
from dmamigrate.program.reach import root_of, substitute
from dmamigrate.program.records import Asked, CallSite, Store, file_scope
from dmamigrate.program.tree import Tree
from dmamigrate.program.types import Types, struct_tag
from dmamigrate.syntax.expr import (
    Assign,
    Call,
    Cast,
    Expr,
    Index,
    Initializer,
    Member,
    Name,
    Unary,
    pointee,
    strip,
    walk,
)
from dmamigrate.syntax.functions import CType, Function
from dmamigrate.syntax.unit import Unit

# A variable's declaration, which is its only one or stands after others; what is no type is told by its name.
_AS_STRUCT = rb"\b(?:struct|union)\s+(\w+)[\s*]+(?:\w+\s*,[\s*]*)*%s\b"
_AS_TYPE = rb"[(,;{}]\s*(?:const\s+)?(\w+)\s*\*+\s*%s\s*[,)=;]"
# Files that name a struct, beyond which copies of it as a whole are not looked for.
_FILES = 120


class Members:
    """Answers for one tree."""

    def __init__(
        self,
        tree: Tree,
        types: Types,
        aliases: dict[str, str],
        overwrites: Overwrites,
        setters: Setters,
    ) -> None:
        """`aliases` are macros that name a member, `overwrites` what stores to objects as a whole.

        `setters` are what sets a member without an assignment.
        """
        self._tree = tree
        self._setters = setters
        self._types = types
        self._literals = Literals(tree, types)
        self._aliases = aliases
        self._overwrites = overwrites
        self.of_elements = cache(self._of_elements)
        self.of_field = cache(self._of_field)
        self.in_file = cache(self._in_file)
        self.only_struct_with = cache(self._only_struct_with)

    def _of_field(self, tag: str, field: str, unit: Unit) -> tuple[tuple[Store, ...], bool]:
        """The stores to a member itself, not to what it points to, as `of_elements` has them."""
        stores, complete = self.of_elements(tag, field, unit)
        return tuple(store for store in stores if not store.behind), complete

    def _of_elements(self, tag: str, field: str, unit: Unit) -> tuple[tuple[Store, ...], bool]:
        """The stores to a member, to what it points to and to those that share its memory.

        And whether every place that can see it was read.
        """
        stores, complete = self._of_one(tag, field, unit)
        for other in sorted(self._tree.sharing(tag, field, unit)):
            inner, _, name = other.rpartition(".")
            owner = f"{tag}{'.' if '::' in tag else '::'}{inner}" if inner else tag
            more, whole = self._of_one(owner, name, unit)
            stores, complete = (*stores, *more), complete and whole
        return stores, complete

    def _of_one(self, tag: str, field: str, unit: Unit) -> tuple[tuple[Store, ...], bool]:
        """The stores to member `field` of struct `tag`, and whether every place that can see the struct was read."""
        outer = tag.partition("::")[0]
        home = self._tree.struct(outer, unit)
        scope = self._tree.scope(home[1], unit.source.path) if home else None
        # a struct of one file is nobody else's, whatever its name
        own = home is not None and home[1].endswith(".c") and not self._tree.includers(home[1])
        apart = (
            home is not None and scope is not None and self._tree.leaves_out(scope, unit.source.path, home[1], field)
        )
        complete = scope is not None and (own or not apart)
        folder = scope if scope is not None else self._tree.module(unit.source.path)
        if not self._tree.is_driver_folder(folder):
            return (), False
        result: list[Store] = []
        behind = self._points(tag, field, unit)
        for path in (home[1],) if home is not None and own else self._tree.search_from(field, folder, unit.source.path):
            renamed = self._setters.standing_for(field, path)
            if doubt := next((name for name in sorted(renamed) if self._sets(name, folder, unit)), None):
                result.append(_doubtful(unit, field, f"{doubt}, which is set, stands for .{field}"))
            pasting = self._setters.of(path).pasted
            if doubt := next((name for name in sorted(pasting) if pasting[name].match(field.encode())), None):
                why = f"{doubt}, a macro, makes the names of members that it sets, maybe .{field}"
                result.append(_doubtful(unit, field, why))
            if not self._may_store(path, tag, field, behind):
                continue
            other = self._tree.unit(path)
            if other is not None and (home is None or self._tree.struct_home(outer, other) in (home[1], "")):
                result += self._in_unit(other, tag, field)
        sharing = (home[1],) if home is not None and own else self._tree.search_from(outer, folder, unit.source.path)
        for path in sharing if home is not None and field in self._members(tag, home[0]) else ():
            other = self._tree.unit(path)
            if other is not None:
                result += self._positional(other, tag, field)
                result += self._over(other, tag, field) if len(sharing) <= _FILES else ()
        if len(sharing) > _FILES:
            why = f"{len(sharing)} files name struct {outer}, too many to look for copies of it as a whole"
            result.append(_doubtful(unit, field, why))
        return tuple(result), complete

    def _may_store(self, path: str, tag: str, field: str, behind: bool) -> bool:
        """Whether a file may store to a member of this name: what tells needs no look at the file's structure."""
        text = self._tree.contents(path)
        aliases = (alias.encode() for alias, what in self._aliases.items() if what == f"{tag}.{field}")
        if any(alias in text for alias in aliases):
            return True
        if next(store_places(text, field.encode(), self._setters.of(path), behind), None) is not None:
            return True
        return next(by_offset(text, field), None) is not None

    def _points(self, tag: str, field: str, unit: Unit) -> bool:
        """Whether a member is an array or a pointer."""
        found = self._types.field(tag, field, unit)
        return found is not None and found[1].pointers > 0

    def _sets(self, name: str, folder: str, unit: Unit) -> bool:
        """Whether something below `folder` sets a member of this name."""
        paths = self._tree.search_from(name, folder, unit.source.path)
        return any(
            next(store_places(self._tree.contents(path), name.encode(), self._setters.of(path)), None) is not None
            for path in paths
        )

    @staticmethod
    def _members(tag: str, fields: dict[str, CType]) -> set[str]:
        """The names of the members of `tag`, which may be a struct inside of the one that has these fields."""
        inner = tag.partition("::")[2]
        return {name.removeprefix(f"{inner}.") for name in fields if not inner or name.startswith(f"{inner}.")}

    def _positional(self, unit: Unit, tag: str, field: str) -> Iterator[Store]:
        """What initialisers of variables put there without naming the member."""
        outer = tag.partition("::")[0]
        initialised = re.compile(rb"\b(?:struct|union)\s+" + re.escape(outer.encode()) + rb"\b[^;{}=]*=")
        for item in unit.items if initialised.search(unit.source.blanked) else ():
            if item.kind == "variable" and head_tag(unit, item) == outer:
                text = unit.source.code[item.body : item.end]
                if b"." + field.encode() not in text.replace(b" ", b""):
                    yield from (
                        s for s in self._literals.of_variable(item, Asked(tag, field, unit)) if s.value is not None
                    )

    # whole objects

    def _over(self, unit: Unit, tag: str, field: str) -> Iterator[Store]:
        """What stores to whole objects leave in the member, or why that is not known."""
        for one in self._overwrites.of(unit, tag):
            fn, node, place, value, by = one.fn, one.node, one.place, one.value, one.by
            kind = self._types.of(strip(place), fn, unit)
            outer = struct_tag(kind) if kind is not None and kind.pointers == 0 else ""
            way = self._way(outer, tag, field, unit) if outer else None
            if way is None:
                continue
            literal = strip(value) if value is not None else None
            if isinstance(literal, Cast):
                literal = strip(literal.parts[0])
            if isinstance(literal, Initializer):
                yield from self._literals.stores((fn, node), literal, (outer, False), Asked(tag, field, unit))
                continue
            source = self._types.of(strip(value), fn, unit) if value is not None else None
            if value is None or (by and (source is None or struct_tag(source) != outer or source.pointers)):
                label = outer.replace("::", ".")
                yield Store(fn, node, place, None, doubt=f"{by}() overwrites struct {label} whole in {fn.name}()")
            elif isinstance(value, Call):
                label = outer.replace("::", ".")
                yield Store(
                    fn, node, place, None, doubt=f"{value.name}() returns a whole struct {label} in {fn.name}()"
                )
            else:
                yield Store(fn, node, _member_of(place, way), _member_of(value, way))

    def _way(self, outer: str, tag: str, field: str, unit: Unit) -> tuple[str, ...] | None:
        """The members that lead from a struct to `tag`.`field`, which it is or holds by value; None if none do."""
        if outer == tag:
            return (field,)
        if tag.startswith(f"{outer}::"):
            return (*tag.partition("::")[2].split("."), field)
        found = self._tree.struct(outer.partition("::")[0], unit)
        for name, kind in (found[0] if found is not None and "::" not in outer else {}).items():
            if kind.pointers == 0 and struct_tag(self._types.resolve(kind, unit)) == tag:
                return (*name.split("."), field)
        return None

    def searched(self, tag: str, unit: Unit) -> str:
        """Where stores to the members of struct `tag` are looked for, in words."""
        home = self._tree.struct(tag.partition("::")[0], unit)
        scope = self._tree.scope(home[1], unit.source.path) if home else None
        return (scope if scope is not None else self._tree.module(unit.source.path)) or "the files at hand"

    def _in_file(self, tag: str, field: str, unit: Unit) -> tuple[Store, ...]:
        """The stores to member `field` of struct `tag` in the file itself."""
        return tuple(store for store in self._in_unit(unit, tag, field) if not store.behind)

    def _in_unit(self, unit: Unit, tag: str, field: str) -> Iterator[Store]:
        text = unit.source.blanked
        by, behind = self._setters.of(unit.source.path), self._points(tag, field, unit)
        places = list(store_places(text, field.encode(), by, behind))
        places += [(at, b"") for at in by_offset(text, field)]
        for alias, what in self._aliases.items():
            if what == f"{tag}.{field}":
                places += [(m.start(), b"") for m in re.finditer(rb"\b" + re.escape(alias.encode()) + rb"\s*\(", text)]
        seen: set[int] = set()
        for place, base in places:
            item = unit.item_at(place)
            # before the body: a macro without a semicolon that may make another function
            ahead = item is not None and item.kind == "function" and place < item.body
            if item is None or ahead:
                macro = unit.function_at(place) if item is None else None
                if macro is not None and macro.macro and macro.start not in seen:
                    seen.add(macro.start)
                    yield from self._in_macro(macro, unit, tag, field)
                elif macro is None:
                    named = unit.defined_at(place)
                    if named is None:
                        where = f"{unit.source.path}:{unit.source.line(place)}"
                        yield _doubtful(unit, field, f"{where} may set .{field}, and is not taken apart", place)
                    elif f".{field}" in by.words.get(named, ()):
                        yield _doubtful(unit, field, f"{named}, a macro, may set .{field}", place)
                continue
            if item.head in seen:
                continue
            if (
                item.kind == "function"
                and base
                and self._declared_otherwise(text[item.head : place], base, tag.partition("::")[0], field, unit)
            ):
                continue
            seen.add(item.head)
            if item.kind == "function":
                yield from self._in_function(unit.function(item), Asked(tag, field, unit))
            elif item.kind == "variable":
                yield from self._literals.of_variable(item, Asked(tag, field, unit))

    def _declared_otherwise(self, text: bytes, variable: bytes, tag: str, field: str, unit: Unit) -> bool:
        """Whether the function `text` declares `variable` only as another struct, which has that member: cheaper than
        parsing it.
        """
        name = re.escape(variable)
        types = {m.decode() for m in re.findall(_AS_TYPE % name, text)}
        kinds = {struct_tag(self._types.resolve(CType(kind), unit)) for kind in types}
        kinds |= {m.decode() for m in re.findall(_AS_STRUCT % name, text)}
        told = bool(kinds) and "" not in kinds and tag not in kinds
        return told and all(self._types.field(kind, field, unit) for kind in kinds)

    def _in_macro(self, macro: Function, unit: Unit, tag: str, field: str) -> Iterator[Store]:
        """What a macro stores to the member, seen from each place that uses it."""
        stores = [
            (index, expr)
            for index, node in enumerate(macro.nodes)
            for expr in (walk(node.expr) if node.expr is not None else ())
            if isinstance(expr, Assign) and isinstance(target := strip(expr.parts[0]), Member) and target.field == field
        ]
        if any((root := root_of(target)) is None or root.variable < 0 for target in map(_target, stores)):
            # set by a name of its own, so that it is no call where it is used
            yield Store(macro, stores[0][0], stores[0][1], None, doubt=f"{macro.name}, a macro, sets .{field}")
            return
        if not stores and f".{field}" in self._setters.of(unit.source.path).words.get(macro.name, ()):
            nowhere = Expr(macro.start, macro.start)
            yield Store(macro, 2, nowhere, None, doubt=f"{macro.name}, a macro, may set .{field}")
        for user in self._uses(macro, unit) if stores else ():
            home = self._tree.unit(user.fn.source.path) or unit
            for index, store in stores:
                target = strip(store.parts[0])
                root = root_of(target)
                position = macro.variables[root.variable].position if root is not None and root.variable >= 0 else -1
                if root is None or not 0 <= position < len(user.call.args):
                    yield Store(macro, index, target, None, doubt=f"{macro.name}, a macro, sets .{field}")
                    continue
                seen = substitute(target, root, user.call.args[position])
                found = self._types.member(seen, user.fn, home) if isinstance(seen, Member) else None
                if found is None:
                    yield Store(macro, index, target, None, doubt=f"{macro.name}() sets .{field} of what is not known")
                elif found[0] == tag:
                    value = store.parts[1] if store.op == "=" else store
                    yield Store(macro, index, target, value, user=user)

    def _uses(self, macro: Function, unit: Unit) -> Iterator[CallSite]:
        folder = self._tree.module(unit.source.path)
        pattern = re.compile(rb"\b" + re.escape(macro.name.encode()) + rb"\s*\(")
        paths = self._tree.search(macro.name, folder) if self._tree.is_driver_folder(folder) else (unit.source.path,)
        for path in paths:
            other = self._tree.unit(path)
            seen: set[int] = set()
            for holder, _ in self._tree.items_with(other, pattern) if other is not None else ():
                if other is None or holder is None or holder.kind != "function" or holder.head in seen:
                    continue
                seen.add(holder.head)
                fn = other.function(holder)
                yield from (CallSite(fn, index, call) for index, call in fn.calls if call.name == macro.name)

    def _in_function(self, fn: Function, asked: Asked) -> Iterator[Store]:
        tag, field, unit = asked.tag, asked.field, asked.unit
        if next(by_offset(fn.source.blanked[fn.start : fn.end], field), None) is not None:
            nowhere = Expr(fn.start, fn.start)
            yield Store(fn, 0, nowhere, None, doubt=f"{fn.name}() reaches .{field} by its offset")
        aliases = (alias for alias, what in self._aliases.items() if what == f"{tag}.{field}")
        for index in fn.naming("", field, *aliases):
            node = fn.nodes[index]
            if node.kind == "return" and node.expr is not None and self._is_member(strip(node.expr), fn, asked):
                why = f"{fn.name}() returns {field}, and what is stored through that is not seen"
                yield Store(fn, index, node.expr, None, doubt=why, behind=True)
            whole = [Expr(0, 0, (node.expr,))] if node.kind == "return" and node.expr is not None else []
            for expr in (*whole, *walk(node.expr)) if node.expr is not None else ():
                if not isinstance(expr, Call):
                    for part in map(strip, expr.parts):
                        if (
                            isinstance(part, Unary)
                            and part.op == "&"
                            and self._is_member(strip(part.parts[0]), fn, asked)
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
                                outer = struct_tag(kind), kind.pointers > 0
                                yield from self._literals.stores((fn, index), strip(value), outer, asked)
                        if self._is_member(target, fn, asked):
                            yield Store(fn, index, target, value if op == "=" else expr)
                        elif self._is_untold(target, fn, asked):
                            why = f"{fn.name}() sets .{field} of what is of no type that could be told"
                            yield Store(fn, index, target, None, doubt=why)
                        if self._is_member(strip(value), fn, asked) and not isinstance(strip(value), Index):
                            why = f"{fn.name}() keeps {field} in a pointer, and what is stored through that is not seen"
                            yield Store(fn, index, target, None, doubt=why, behind=True)
                    case Cast(type=base, pointers=pointers) if isinstance(expr.parts[0], Initializer):
                        literal_tag = struct_tag(self._types.resolve(CType(base), unit))
                        outer = literal_tag, pointers > 0
                        yield from self._literals.stores((fn, index), expr.parts[0], outer, asked)
                    case Call():
                        for position, argument in enumerate(expr.args):
                            inner = strip(argument)
                            yield from self._untold_handed(fn, index, (expr, position), asked)
                            if isinstance(inner, Unary) and inner.op == "&":
                                place = strip(inner.parts[0])
                                if self._is_member(place, fn, asked):
                                    yield Store(fn, index, place, argument, expr, position)
                            else:
                                yield from self._handed(fn, index, (expr, position), asked)

    def _handed(self, fn: Function, node: int, handed: tuple[Call, int], asked: Asked) -> Iterator[Store]:
        """What a call sets that is handed the member itself, or its name."""
        field, unit = asked.field, asked.unit
        call, position = handed
        inner = strip(call.args[position])
        macros = self._setters.of(unit.source.path)
        if isinstance(inner, Name) and inner.text == field and macros.sets_member(call.name, position):
            yield Store(fn, node, inner, None, doubt=f"{call.name}() sets the member that it is handed the name of")
        elif isinstance(inner, Member | Index) and self._is_member(inner, fn, asked):
            kind = self._types.of(inner, fn, unit)
            if kind is not None and kind.pointers:
                yield Store(fn, node, pointee(inner), call.args[position], call, position, behind=True)
            elif (call.name, position) in self._setters.outs:
                yield Store(fn, node, inner, call.args[position], call, position)
            elif macros.sets(call.name, position):
                yield Store(fn, node, inner, None, doubt=f"{call.name}() sets what it is handed in {fn.name}()")

    def _untold_handed(self, fn: Function, node: int, handed: tuple[Call, int], asked: Asked) -> Iterator[Store]:
        """What a call may set that is handed a member of this name, of something whose type could not be told."""
        field, unit = asked.field, asked.unit
        call, position = handed
        inner = strip(call.args[position])
        address = isinstance(inner, Unary) and inner.op == "&"
        place = strip(inner.parts[0]) if address else inner
        known = (call.name, position) in self._setters.outs
        if (known or address or self._setters.of(unit.source.path).sets(call.name, position)) and self._is_untold(
            place, fn, asked
        ):
            why = f"{call.name}() is handed .{field} of what is of no type that could be told"
            yield Store(fn, node, place, None, doubt=why)

    def _is_untold(self, place: Expr, fn: Function, asked: Asked) -> bool:
        """Whether a place is a member of this name of something whose type could not be told."""
        while isinstance(place, Index):
            place = strip(place.parts[0])
        if not isinstance(place, Member) or place.field != asked.field:
            return False
        return self._types.member(place, fn, asked.unit) is None

    def _is_member(self, place: Expr, fn: Function, asked: Asked) -> bool:
        while isinstance(place, Index):
            place = strip(place.parts[0])
        if isinstance(place, Call):
            return self._aliases.get(place.name) == f"{asked.tag}.{asked.field}"
        if not isinstance(place, Member) or place.field != asked.field:
            return False
        found = self._types.member(place, fn, asked.unit)
        return found is not None and found[0] == asked.tag

    def _only_struct_with(self, field: str, unit: Unit) -> tuple[str, CType] | None:
        """The struct with a member `field`, if the driver around `unit` defines exactly one."""
        folder = self._tree.module(unit.source.path)
        if not self._tree.is_driver_folder(folder):
            return None
        found: dict[str, CType] = {}
        word = re.compile(rb"\b" + re.escape(field.encode()) + rb"\b\s*[;,\[:)]")
        for path in self._tree.search(field, folder):
            other = self._tree.unit(path) if word.search(self._tree.contents(path)) else None
            for item in other.items if other is not None else ():
                if other is None or item.kind != "type" or not item.name:
                    continue
                if not word.search(other.source.code, item.body, item.end):
                    continue
                kind = (other.fields(item.name) or {}).get(field)
                if kind is not None:
                    found[item.name] = self._types.resolve(kind, other)
                if len(found) > 1:
                    return None
        return next(iter(found.items()), None)


def _target(store: tuple[int, Expr]) -> Expr:
    """What an assignment, with its node, sets."""
    return strip(store[1].parts[0])


def _doubtful(unit: Unit, field: str, why: str, place: int = 0) -> Store:
    """A store that may be there, outside of every function, and is not followed."""
    nowhere = Expr(place, place)
    return Store(file_scope(unit, field, place, place, nowhere), 2, nowhere, None, doubt=why)


def _member_of(value: Expr, way: tuple[str, ...]) -> Expr:
    """The member of an object that a way leads to."""
    for name in way:
        inner = strip(value)
        if isinstance(inner, Unary) and inner.op == "*":
            value = Member(value.start, value.end, (inner.parts[0],), name, True)
        else:
            value = Member(value.start, value.end, (value,), name, False)
    return value
