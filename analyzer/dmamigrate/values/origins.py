# SPDX-License-Identifier: GPL-2.0-only
"""The backward walk from a value to the sources of the address in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache

from dmamigrate.findings import Kind, Origin, Step
from dmamigrate.program.questions import Budget, Questions
from dmamigrate.program.reach import Definition, reaching, root_of, set_unseen, substitute
from dmamigrate.program.stores import Store, Stores
from dmamigrate.program.tree import Tree
from dmamigrate.program.types import Types
from dmamigrate.syntax.expr import (
    Assign,
    Binary,
    Call,
    Cast,
    Conditional,
    Constant,
    Expr,
    Index,
    Initializer,
    Member,
    Name,
    Statements,
    Unary,
    path_of,
    strip,
    walk,
)
from dmamigrate.syntax.functions import CType, Function
from dmamigrate.syntax.unit import Unit
from dmamigrate.values.arithmetic import address_side
from dmamigrate.values.knowledge import Knowledge
from dmamigrate.values.leaves import NUMBER, Leaf, Leaves, merge, origin_of, unknown
from dmamigrate.values.tables import Tables

_EXIT = 1
# A function of such a type yields half an address at most, put together from what hardware or firmware says.
_NARROW = frozenset(
    {"u8", "u16", "u32", "uint8_t", "uint16_t", "uint32_t", "__u32", "__le32", "__be32", "int", "bool", "s32"}
)
_SMALL = 1 << 16


@dataclass(frozen=True, slots=True)
class Frame:
    """The call through which a callee was entered on the way back."""

    fn: Function
    node: int
    call: Call
    parent: Frame | None

    @property
    def key(self) -> tuple[object, ...]:
        """The chain of calls, the same whenever it is entered again."""
        outer = self.parent.key if self.parent is not None else ()
        return (self.fn.source.path, self.call.start, self.call.end, *outer)


def _number(text: str) -> int | None:
    try:
        return int(re.sub(r"[uUlL]+\Z", "", text), 0)
    except ValueError:
        return None


def _made_by(fn: Function, call: Call, leaves: Leaves) -> Leaves:
    """`leaves` with `call` as the maker of the DMA addresses among them."""
    made = (fn.source.path, call.start)
    return tuple(replace(leaf, site=made) if leaf.kind is Kind.DMA_ADDR and not leaf.site else leaf for leaf in leaves)


class Tracer:
    """Answers where values come from, for one tree and one set of tables."""

    def __init__(self, tree: Tree, knowledge: Knowledge, budget: Budget | None = None) -> None:
        self.tree = tree
        self.types = Types(tree)
        self._knowledge = knowledge
        self.stores = Stores(tree, self.types, knowledge.aliases)
        self._tables = Tables(tree, knowledge)
        self._unseen = cache(set_unseen)
        self.budget = budget or Budget()
        self._questions = Questions(tree, self.budget)

    def leaves(self, fn: Function, node: int, expr: Expr) -> Leaves:
        """Where the paths from the value of `expr`, evaluated at `node` of `fn`, end."""
        self._questions.start()
        return self._value(fn, node, expr, None, 0)

    def origin(self, fn: Function, node: int, expr: Expr) -> Origin:
        """Where the value of `expr`, evaluated at `node` of `fn`, comes from."""
        leaves = self.leaves(fn, node, expr)
        return origin_of((self._step(fn, expr, "the address in question"),), leaves)

    def sites(self, fn: Function, node: int, expr: Expr) -> tuple[Origin, frozenset[tuple[str, int]]]:
        """Where a DMA address comes from, and the calls (file, byte offset) that made it."""
        leaves = self.leaves(fn, node, expr)
        step = self._step(fn, expr, "the handle in question")
        return origin_of((step,), leaves), frozenset(leaf.site for leaf in leaves if leaf.site)

    # helpers

    def _unit(self, fn: Function) -> Unit:
        unit = self.tree.unit(fn.source.path)
        assert unit is not None, "a function's own file was read to find it"
        return unit

    @staticmethod
    def _step(fn: Function, expr: Expr, note: str) -> Step:
        source = fn.source
        start, end = max(expr.start, 0), max(expr.end, 0)
        text = source.text(start, end)
        return Step(
            source.path, source.line(start), source.column(start), text if len(text) < 160 else text[:157] + "...", note
        )

    def _via(self, fn: Function, expr: Expr, note: str, leaves: Leaves) -> Leaves:
        step = self._step(fn, expr, note)
        end = frozenset({(step.path, step.line)})
        return tuple(replace(leaf, steps=(step, *leaf.steps), ends=leaf.ends or end) for leaf in leaves)

    # values

    def _value(self, fn: Function, node: int, expr: Expr, frame: Frame | None, depth: int) -> Leaves:
        key = (fn.source.path, fn.start, node, expr, frame.key if frame is not None else ())
        return self._questions.ask(key, depth, lambda: self._value_of(fn, node, expr, frame, depth + 1))

    def _value_of(self, fn: Function, node: int, expr: Expr, frame: Frame | None, depth: int) -> Leaves:
        expr = strip(expr)

        def ask(part: Expr) -> Leaves:
            return self._value(fn, node, part, frame, depth)

        match expr:
            case Constant(text=text):
                value = _number(text)
                if value is not None and _SMALL <= value < (1 << 64) - _SMALL and value != 0xFFFFFFFF:
                    return self._via(fn, expr, "a number", unknown("a number written in the code"))
                return NUMBER
            case Name():
                return self._name(fn, node, expr, frame, depth)
            case Member():
                return self._place(fn, node, expr, frame, depth)
            case Index():
                return self._place(fn, node, expr, frame, depth)
            case Unary(op="&"):
                return self._address_of(fn, node, expr.parts[0], frame, depth)
            case Unary(op="*"):
                return self._place(fn, node, expr, frame, depth)
            case Unary(op=op):
                # -ENODEV is an error, ~mask a mask
                return NUMBER if op in ("!", "~", "-") else ask(expr.parts[0])
            case Binary():
                return address_side(expr, lambda part: self._questions.apart(lambda: ask(part)))
            case Conditional():
                return merge((ask(expr.parts[1]), ask(expr.parts[2])))
            case Assign(op=op):
                if op == "=":
                    return ask(expr.parts[1])
                both = Binary(expr.start, expr.end, expr.parts, op[:-1])
                return address_side(both, ask)
            case Statements():
                return ask(expr.parts[-1]) if expr.parts else NUMBER
            case Cast():
                return ask(expr.parts[0])
            case Initializer():
                return merge(ask(part) for part in expr.parts) if expr.parts else NUMBER
            case Call():
                return self._call(fn, node, expr, frame, depth)
        if not expr.parts and expr.start == expr.end:
            return NUMBER
        return self._via(
            fn,
            expr,
            "not understood",
            unknown(
                "an expression that is not understood: inline assembly, an address kept in a pointer, a parse error"
            ),
        )

    def _name(self, fn: Function, node: int, name: Name, frame: Frame | None, depth: int) -> Leaves:
        if name.variable >= 0:
            return self._place(fn, node, name, frame, depth)
        if meaning := self._knowledge.variables.get(name.text):
            return self._tables.meant(
                fn, name, (meaning,), None, lambda inner: self._object(fn, node, inner, frame, depth)
            )
        if macros := self.tree.macros(name.text, self._unit(fn)):
            return merge(self._expanded(fn, name, macro, depth) for macro in macros)
        if name.text[:1].isdigit():
            return NUMBER
        if name.text.isupper() and not re.search(rb"\bextern\b[^;]*\b" + name.text.encode() + rb"\b", fn.source.code):
            return unknown(f"{name.text} is not in the tree")
        key = ("global", fn.source.path, name.text)
        return self._questions.ask(key, depth, lambda: self._global(fn, name, depth + 1))

    def _expanded(self, fn: Function, name: Name, macro: Function, depth: int) -> Leaves:
        """What an object-like macro stands for."""
        index, body = next(
            ((i, n.expr) for i, n in reversed(list(enumerate(macro.nodes))) if n.expr is not None), (0, None)
        )
        if body is None:
            return NUMBER
        leaves = self._value(macro, index, body, None, depth)
        # a named constant is an offset beside an address, and an address of its own where it is large
        return leaves if isinstance(strip(body), Constant) else self._via(fn, name, "a macro", leaves)

    def _global(self, fn: Function, name: Name, depth: int) -> Leaves:
        stores, complete = self.stores.of_global(name.text, self._unit(fn))
        groups = [self._stored(store, f"{name.text} is set here", depth) for store in stores]
        if re.search(rb"\b(?:module|core|early)_param\w*\s*\([^;]*\b" + name.text.encode() + rb"\b", fn.source.blanked):
            groups.append(unknown(f"{name.text} is a module parameter"))
        elif not complete or not groups:
            groups.append(unknown(f"{name.text} is set outside of the files that were read"))
        return merge(groups)

    def _stored(self, store: Store, note: str, depth: int) -> Leaves:
        if store.value is None:
            return NUMBER
        if store.call is not None:
            if store.call.name in self._knowledge.inert:
                return ()
            definition = Definition(store.node, None, store.value, store.call, store.argument)
            leaves = self._out(store.fn, definition, store.place, None, depth)
            return self._via(store.fn, store.call, note, leaves)
        return self._via(store.fn, store.value, note, self._value(store.fn, store.node, store.value, None, depth))

    def _address_of(self, fn: Function, node: int, inner: Expr, frame: Frame | None, depth: int) -> Leaves:
        """`&inner`: the object that it names, or, of memory that carries no address of its own, where that memory is."""
        inner = strip(inner)
        kind = self.types.of(inner, fn, self._unit(fn))
        if kind is not None and kind.pointers == 0 and self._tables.carries(kind):
            return self._place(fn, node, inner, frame, depth)
        match inner:
            case Member(arrow=True) | Unary(op="*"):
                return self._value(fn, node, inner.parts[0], frame, depth)
            case Member():
                return self._address_of(fn, node, inner.parts[0], frame, depth)
            case Index():
                return self._value(fn, node, inner.parts[0], frame, depth)
            case Name(variable=variable) if variable >= 0:
                return self._via(fn, inner, "a local variable", (Leaf(Kind.RAM, storage=True),))
            case Name():
                return self._via(fn, inner, "a global variable", (Leaf(Kind.RAM, storage=True),))
        return self._value(fn, node, inner, frame, depth)

    # places

    def _place(self, fn: Function, node: int, use: Expr, frame: Frame | None, depth: int) -> Leaves:
        """What the place `use` may hold when control is at `node`."""
        reached = reaching(fn, node, use)
        groups: list[Leaves] = []
        open_end = reached.entry
        root = root_of(use)
        plain = isinstance(use, Name)
        untyped = False
        if root is not None and root.variable in self._unseen(fn):
            groups.append(unknown(f"{root.text} may be set unseen: it is static, or its address is kept in a pointer"))
        for definition in reached.definitions:
            if definition.call is None:
                if self._loses_type(fn, use, definition):
                    # the member is better known by the variable's type than by what was assigned to it
                    untyped = True
                    continue
                leaves = NUMBER
                if definition.value is not None:
                    leaves = self._via(
                        fn, definition.at, "set here", self._value(fn, definition.node, definition.value, frame, depth)
                    )
                groups.append(leaves)
                continue
            if definition.call.name in self._knowledge.inert:
                continue
            handed = path_of(definition.call.args[definition.argument])
            if handed == path_of(use) and not self._knowledge.call(definition.call.name, definition.argument):
                # handed by value, which only a macro can store to
                if self.stores.set_by_macro(self._unit(fn), definition.call, definition.argument):
                    groups.append(unknown(f"{definition.call.name}() sets its argument in a way that was not followed"))
                continue
            by_address = (path_of(definition.call.args[definition.argument]) or "").startswith("&")
            if self._knowledge.call(definition.call.name, definition.argument):
                groups.append(
                    self._via(fn, definition.call, "filled in here", self._out(fn, definition, use, frame, depth))
                )
            elif (by_address or isinstance(use, Index | Unary)) and root is not None and root.variable >= 0:
                leaves = self._out(fn, definition, use, frame, depth)
                if leaves:
                    groups.append(self._via(fn, definition.call, "filled in here", leaves))
            elif isinstance(use, Member) and self.stores.may_store(
                definition.call, use.field, self._unit(fn), self._knowledge.inert
            ):
                open_end = True
        if reached.definitions and groups and not open_end and not untyped:
            return merge(groups)
        if untyped and not open_end:
            groups.append(self._field_or_stop(fn, node, use, frame, depth))
            return merge(groups)
        groups.append(self._entering(fn, node, use, root, frame, depth, bool(groups), plain, reached.entry))
        return merge(groups)

    def _loses_type(self, fn: Function, use: Expr, definition: Definition) -> bool:
        """Whether the definition turns a member whose struct is known into one whose struct is not."""
        value = definition.value
        if not isinstance(use, Member) or not isinstance(value, Member) or value.field != use.field:
            return False
        if path_of(value) == path_of(use) or isinstance(strip(value.parts[0]), Constant):
            return False
        unit = self._unit(fn)
        return self.types.member(value, fn, unit) is None and self.types.member(use, fn, unit) is not None

    def _entering(
        self, fn: Function, node: int, use: Expr, root: Name | None, frame: Frame | None, depth: int, some: bool, plain: bool, entry: bool
    ) -> Leaves:  # fmt: skip
        """What `use` held before anything in `fn` set it."""
        param = root is not None and root.variable >= 0 and fn.variables[root.variable].position >= 0
        if root is not None and param and entry and frame is not None:
            position = fn.variables[root.variable].position
            if position >= len(frame.call.args):
                return unknown(f"{fn.name}() is called with too few arguments here")
            argument = frame.call.args[position]
            outer = substitute(use, root, argument)
            if not fn.macro and isinstance(use, Member | Unary | Index) and path_of(outer) is None:
                return self._field_or_stop(fn, node, use, frame, depth)
            return self._via(
                frame.fn,
                argument,
                f"passed to {fn.name}()",
                self._value(frame.fn, frame.node, outer, frame.parent, depth),
            )
        if plain and root is not None and param and entry:
            position = fn.variables[root.variable].position
            key = ("param", fn.source.path, fn.start, position)
            return self._questions.ask(key, depth, lambda: self._callers(fn, position, depth + 1))
        if not plain:
            return self._field_or_stop(fn, node, use, frame, depth)
        if root is not None and root.variable >= 0:
            variable = fn.variables[root.variable]
            if variable.type.pointers and entry is False and not some and not reaching(fn, node, use).definitions:
                array = Index(use.start, use.end, (use, Constant(use.start, use.start, (), "0")))
                inside = reaching(fn, node, array)
                if inside.definitions:
                    return self._place(fn, node, array, frame, depth)
            if some:
                return ()
            fillers = sorted({d.call.name for d in reaching(fn, node, use).definitions if d.call is not None})
            why = (
                f"{', '.join(fillers)}() fills in {variable.name} in a way that was not followed"
                if fillers
                else f"{variable.name} is set by a macro, or not at all"
            )
            return self._via(fn, use, "not set in this function", unknown(why))
        return unknown("a place that could not be named")

    def _field_or_stop(self, fn: Function, node: int, use: Expr, frame: Frame | None, depth: int) -> Leaves:
        use = strip(use)
        if isinstance(use, Index):
            return self._element(fn, node, use, frame, depth)
        if isinstance(use, Unary):
            inner = strip(use.parts[0])
            if (
                isinstance(inner, Name)
                and inner.variable >= 0
                and fn.variables[inner.variable].position >= 0
                and frame is None
            ):
                position = fn.variables[inner.variable].position
                key = ("pointee", fn.source.path, fn.start, position)
                return self._questions.ask(key, depth, lambda: self._callers(fn, position, depth + 1, True))
            return self._element(fn, node, use, frame, depth)
        if not isinstance(use, Member):
            return unknown("a place that could not be named")
        return self._member(fn, node, use, frame, depth)

    def _element(self, fn: Function, node: int, use: Expr, frame: Frame | None, depth: int) -> Leaves:
        """What stands behind a pointer or in an array that nothing near by fills."""
        base = strip(use.parts[0])
        while isinstance(base, Index):
            base = strip(base.parts[0])
        kind = self.types.of(use, fn, self._unit(fn))
        if kind is not None and kind.pointers == 0 and self._tables.carries(kind):
            return self._value(fn, node, base, frame, depth)  # an object is known by the pointer to it
        if isinstance(base, Member):
            return self._member(fn, node, base, frame, depth, element=True)
        if isinstance(base, Name) and base.variable < 0:
            return self._name(fn, node, base, frame, depth)
        if isinstance(base, Call) and (meanings := self._knowledge.call(base.name)):
            if meanings[0].source is not None or Kind.RAM not in meanings[0].origins:
                return self._value(fn, node, base, frame, depth)
            return ()  # fresh memory holds nothing yet
        what = self.tree_text(fn, use)
        return self._via(fn, use, "read from memory", unknown(f"{what} is read from memory that could not be followed"))

    @staticmethod
    def tree_text(fn: Function, expr: Expr) -> str:
        """The source text of `expr`."""
        return fn.source.text(max(expr.start, 0), max(expr.end, 0))

    def _member(
        self, fn: Function, node: int, use: Member, frame: Frame | None, depth: int, element: bool = False
    ) -> Leaves:
        """What any store to this member of this struct puts there; with `element`, into what it holds or points to."""
        unit = self._unit(fn)
        if isinstance(strip(use.parts[0]), Constant):
            return ()  # a member of NULL is never reached
        found = self.types.member(use, fn, unit)
        base = strip(use.parts[0])
        if (
            found is None
            and isinstance(base, Call)
            and self._knowledge.call(base.name)
            and use.field in self._tables.carried_members
        ):
            # without the kernel's headers: the tables know both the call and the member
            return self._via(fn, use, "part of what the call returned", self._object(fn, node, base, frame, depth))
        if found is None:
            found = self.stores.only_struct_with(use.field, unit)
        if found is None:
            return self._via(
                fn,
                use,
                "a field",
                unknown(f"the type of {fn.source.text(use.parts[0].start, use.parts[0].end)} could not be told"),
            )
        tag, _ = found
        if meaning := self._knowledge.fields.get(f"{tag}.{use.field}"):
            note = (
                f"struct {tag} holds it: {', '.join(meaning.origins)}" if meaning.origins else f"part of struct {tag}"
            )
            leaves = self._tables.meant(
                fn, use, (meaning,), None, lambda inner: self._object(fn, node, inner, frame, depth)
            )
            if meaning.source is None and meaning.origins:
                # a driver may put something else there by itself
                own = self.stores.in_file(tag, use.field, unit)
                leaves = merge((leaves, *(self._stored(store, f"{use.field} is set here", depth) for store in own)))
            return self._via(fn, use, note, leaves)
        key = ("field", tag, use.field, self.tree.struct_home(tag, unit) or unit.source.path, element)
        leaves = self._questions.ask(key, depth, lambda: self._field(tag, use.field, unit, element, depth + 1))
        return self._via(fn, use, f"field of struct {tag.replace('::', '.')}", leaves)

    def _field(self, tag: str, field: str, unit: Unit, element: bool, depth: int) -> Leaves:
        stores, complete = self.stores.of_field(tag, field, unit)
        # what the tables answer at once comes first, so that a budget spent on the rest does not hide it
        stores = tuple(sorted(stores, key=lambda store: not self._is_listed(store)))
        groups = [
            self._stored(self._inside(store) if element else store, f"{field} is set here", depth) for store in stores
        ]
        groups = [group for group in groups if group]
        if not groups:
            return unknown(f"no store to {tag.replace('::', '.')}.{field} was found")
        if not complete:
            groups.append(unknown(f"struct {tag} is used beyond this driver; only the stores near by were read"))
        return merge(groups)

    def _is_listed(self, store: Store) -> bool:
        called = store.call if store.call is not None else store.value
        return called is not None and any(
            isinstance(part, Call) and self._knowledge.call(part.name) for part in walk(called)
        )

    @staticmethod
    def _inside(store: Store) -> Store:
        """For a store of a whole array or pointer: the same store seen from one of its elements."""
        value = store.value
        if (
            value is None
            or store.call is not None
            or isinstance(store.place, Index)
            or isinstance(strip(value), Initializer)
        ):
            return store
        if strip(store.place) is value or isinstance(strip(value), Constant):
            return store
        zero = Constant(value.start, value.start, (), "0")
        return replace(store, value=Index(value.start, value.end, (value, zero)))

    # calls

    def _object(self, fn: Function, node: int, expr: Expr, frame: Frame | None, depth: int) -> Leaves:
        """The origin of an object, given itself or a pointer to it."""
        key = ("object", fn.source.path, fn.start, node, strip(expr), frame.key if frame is not None else ())
        leaves = self._questions.ask(key, depth, lambda: self._pointed_to(fn, node, strip(expr), frame, depth + 1))
        kind = self.types.of(strip(expr), fn, self._unit(fn))
        if kind is None or not self._tables.carries(CType(kind.base)):
            return leaves
        filled = tuple(leaf for leaf in leaves if not leaf.storage)
        if len(filled) < len(leaves) and not filled:
            return unknown("an object is made here, and what fills it in was not found")
        return filled

    def _pointed_to(self, fn: Function, node: int, expr: Expr, frame: Frame | None, depth: int) -> Leaves:
        if isinstance(expr, Unary) and expr.op == "&":
            return self._place(fn, node, strip(expr.parts[0]), frame, depth)
        kind = self.types.of(expr, fn, self._unit(fn))
        if kind is not None and kind.pointers == 1 and self._tables.carries(kind.pointee) and path_of(expr) is not None:
            behind = Unary(expr.start, expr.end, (expr,), "*")
            if any(
                d.call is not None and self._knowledge.call(d.call.name, d.argument)
                for d in reaching(fn, node, behind).definitions
            ):
                return self._place(fn, node, behind, frame, depth)
        return self._value(fn, node, expr, frame, depth)

    def _call(self, fn: Function, node: int, call: Call, frame: Frame | None, depth: int) -> Leaves:
        name = call.name
        if name in self._knowledge.aliases and call.args:
            field = self._knowledge.aliases[name].partition(".")[2]
            return self._value(fn, node, Member(call.start, call.end, (call.args[0],), field, True), frame, depth)
        if name and (meanings := self._knowledge.call(name)):
            leaves = self._tables.meant(
                fn, call, meanings, call, lambda inner: self._object(fn, node, inner, frame, depth)
            )
            leaves = _made_by(fn, call, leaves)
            kinds = ", ".join(sorted({leaf.kind for leaf in leaves if leaf.kind}))
            return self._via(
                fn, call, f"{name}() {'yields ' + kinds if meanings[0].source is None else 'passes it on'}", leaves
            )
        targets = self._targets(fn, node, call)
        if not targets:
            what = (
                f"{name}() is not in the tree"
                if name
                else f"indirect call of {fn.source.text(call.parts[0].start, call.parts[0].end)}"
            )
            return self._via(fn, call, "a call that could not be followed", unknown(what))
        if all(one.returns.base in _NARROW and not one.returns.pointers and not one.macro for one in targets):
            return self._via(
                fn, call, "a number", unknown(f"{targets[0].name}() returns a number too small for an address")
            )
        inner = Frame(fn, node, call, frame)
        groups = [self._returned(target, inner, depth) for target in targets]
        return self._via(fn, call, f"returned by {targets[0].name}()", merge(groups))

    def _targets(self, fn: Function, node: int, call: Call) -> tuple[Function, ...]:
        """The functions that a call may run: by name, or those stored to the ops member it goes through."""
        unit = self._unit(fn)
        callee = strip(call.parts[0])
        if isinstance(callee, Name) and callee.variable < 0:
            return self.tree.functions(callee.text, unit)
        if isinstance(callee, Unary) and callee.op == "*":
            callee = strip(callee.parts[0])
        if not isinstance(callee, Member):
            return ()
        found = self.types.member(callee, fn, unit) or self.stores.only_struct_with(callee.field, unit)
        if found is None:
            return ()
        stores, complete = self.stores.of_field(found[0], callee.field, unit)
        result: dict[tuple[str, int], Function] = {}
        for store in stores:
            value = strip(store.value) if store.value is not None else None
            if isinstance(value, Unary) and value.op == "&":
                value = strip(value.parts[0])
            if isinstance(value, Name) and value.variable < 0 and store.call is None:
                if value.text == "NULL":
                    continue
                for one in self.tree.functions(value.text, self._unit(store.fn)):
                    result[one.source.path, one.start] = one
            else:
                return ()
        return tuple(result.values()) if complete else ()

    def _returned(self, callee: Function, frame: Frame, depth: int) -> Leaves:
        if callee.macro:
            body = next(((i, n.expr) for i, n in reversed(list(enumerate(callee.nodes))) if n.expr is not None), None)
            return (
                self._value(callee, body[0], body[1], frame, depth)
                if body is not None and body[1] is not None
                else NUMBER
            )
        groups = [
            self._via(
                callee, node.expr, f"{callee.name}() returns it", self._value(callee, index, node.expr, frame, depth)
            )
            for index, node in enumerate(callee.nodes)
            if node.kind == "return" and node.expr is not None
        ]
        return merge(groups) if groups else unknown(f"{callee.name}() returns nothing that was found")

    def _out(self, fn: Function, definition: Definition, use: Expr, frame: Frame | None, depth: int) -> Leaves:
        """What a callee stores to `use` through the pointer that it was handed; empty if it stores nothing there."""
        call, position = definition.call, definition.argument
        assert call is not None, "only a store by a callee is asked about here"
        if meanings := self._knowledge.call(call.name, position):
            leaves = self._tables.meant(
                fn, use, meanings, call, lambda inner: self._object(fn, definition.node, inner, frame, depth)
            )
            return _made_by(fn, call, leaves)
        argument = strip(call.args[position])
        inner = Frame(fn, definition.node, call, frame)
        groups: list[Leaves] = []
        targets = self._targets(fn, definition.node, call)
        for target in targets:
            param = next((i for i, v in enumerate(target.variables) if v.position == position), None)
            if param is None:
                continue
            pointer = Name(argument.start, argument.end, (), target.variables[param].name, param)
            if isinstance(argument, Unary) and argument.op == "&":
                place = substitute(use, argument.parts[0], Unary(argument.start, argument.end, (pointer,), "*"))
            else:
                place = substitute(use, argument, pointer)
            left = self._at_exit(target, place, inner, depth)
            if not left and target.variables[param].type.base == "void":
                left = unknown(f"{target.name}() takes a void pointer, and what it stores there was not followed")
            groups.append(left)
        whole = isinstance(argument, Unary) and path_of(argument.parts[0]) == path_of(use)
        behind = isinstance(use, Index | Unary) and path_of(use.parts[0]) == path_of(argument)
        part = isinstance(argument, Unary) and argument.op == "&"
        if not targets and (whole or behind or part) and not self._tables.knows(call.name):
            what = f"{call.name}() is not in the tree" if call.name else "an indirect call fills it in"
            return unknown(what)
        return merge(groups)

    def _at_exit(self, callee: Function, place: Expr, frame: Frame, depth: int) -> Leaves:
        """What `callee` leaves in `place`; empty if nothing."""
        if callee.macro:
            return ()
        key = ("exit", callee.source.path, callee.start, path_of(place), frame.key)

        def ask() -> Leaves:
            groups = []
            for definition in reaching(callee, _EXIT, place).definitions:
                if definition.call is not None:
                    groups.append(self._out(callee, definition, place, frame, depth + 1))
                elif definition.value is not None:
                    value = self._value(callee, definition.node, definition.value, frame, depth + 1)
                    groups.append(self._via(callee, definition.at, f"{callee.name}() stores it", value))
                else:
                    groups.append(NUMBER)
            return merge(groups)

        return self._questions.ask(key, depth, ask)

    def _callers(self, fn: Function, position: int, depth: int, pointee: bool = False) -> Leaves:
        """The values that callers pass as the argument at `position`, or what those point to."""
        callers, complete, why = self.stores.callers(fn)
        if len(callers) > self._questions.budget.callers:
            callers, complete, why = (
                callers[: self._questions.budget.callers],
                False,
                f"{fn.name}() has too many callers; give --effort high",
            )
        groups: list[Leaves] = []
        for caller in callers:
            if position >= len(caller.call.args):
                continue
            argument = caller.call.args[position]
            asked = Unary(argument.start, argument.end, (argument,), "*") if pointee else argument
            if pointee and isinstance(strip(argument), Unary) and strip(argument).op == "&":  # type: ignore[attr-defined]
                asked = strip(argument).parts[0]
            leaves = self._value(caller.fn, caller.node, asked, None, depth)
            groups.append(self._via(caller.fn, argument, f"passed to {fn.name}() by {caller.fn.name}()", leaves))
        if not complete:
            groups.append(unknown(why))
        if not callers and complete:
            return unknown(f"no caller of {fn.name}() was found")
        return merge(groups)
