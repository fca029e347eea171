# SPDX-License-Identifier: GPL-2.0-only
"""How values flow through C: what flows into a place, a parameter, a member, a global, out of a call.

Nothing here says what a value is worth. A question is one of the records below; `Flow.inflows` answers it with the
questions whose answers flow in (`edges`), and with the reasons why those may not be all (`open`). Each kind of edge has
one small function. A domain (values/origins.py and its neighbours) folds the answers.

A use of a place is answered from the stores that control flow lets it see (program/reach.py). What no store of the
function reaches is asked further out: of a parameter the call that was followed inwards, or else all callers; of a
member every store to it in the files that can see its struct (`Held`, then `Field`); of what lies behind a pointer, the
pointer (`Behind`). A call that is handed a place may fill it in (`Fill`): what its callee leaves there is asked at its
exit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from dmamigrate.program.queries import Queries, Stop
from dmamigrate.program.reach import Definition, Effects, Reaching, reaching, root_of, substitute
from dmamigrate.program.records import Store
from dmamigrate.program.stores import Known, Stores
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
    pointee,
    strip,
    walk,
)
from dmamigrate.syntax.functions import Function
from dmamigrate.syntax.unit import Unit
from dmamigrate.values.between import Between
from dmamigrate.values.fills import Fills
from dmamigrate.values.knowledge import RETURN
from dmamigrate.values.questions import (
    Behind,
    Exit,
    Field,
    Fill,
    Frame,
    Global,
    Held,
    Inflow,
    Inflows,
    Param,
    Question,
    Use,
    closed,
    text_of,
)
from dmamigrate.values.shapes import base_of, both, last_value, seen_inside, through_pointer, winds
from dmamigrate.values.tables import Tables
from dmamigrate.values.targets import Targets
from dmamigrate.values.unseen import Unseen


class Flow:
    """Answers for one tree."""

    def __init__(self, tree: Tree, tables: Tables, queries: Queries) -> None:
        self.tree = tree
        self.types = Types(tree, tables.knowledge.layouts)
        known = tables.knowledge
        outs = frozenset((name, out) for name, out in known.calls if out != RETURN)
        self.stores = Stores(tree, self.types, Known(known.aliases, known.copies, frozenset(known.filled), outs))
        self._tables = tables
        self._queries = queries
        found = Targets(tree, self.types, self.stores)
        self.targets, self.elsewhere = found.of, found.elsewhere
        self._fills = Fills(self, tables)
        self.between = Between(self, tables)
        self._unseen = Unseen(self, tables, queries)

    def unit(self, fn: Function) -> Unit:
        """The file of a function."""
        unit = self.tree.unit(fn.source.path)
        assert unit is not None, "a function's own file was read to find it"
        return unit

    def inflows(self, question: Question) -> Inflows:
        """What flows into what is asked about."""
        match question:
            case Use():
                return self._into_use(question)
            case Held():
                return self._into_member(question)
            case Behind():
                return self._into_pointee(question)
            case Param():
                return self._into_parameter(question)
            case Field():
                return self._into_field(question)
            case Global():
                return self._into_global(question)
            case Fill():
                return self._fills.into(question)
            case Exit():
                return self._fills.out_of(question)

    # expressions

    def _into_use(self, use: Use) -> Inflows:
        expr = strip(use.expr)
        match expr:
            case Name(variable=variable) if variable < 0:
                return self._into_name(use, expr)
            case Name() | Member() | Index() | Unary(op="*"):
                return self.into_place(use.of(expr))
            case Conditional():
                return self._parts(use, expr.parts[1:])
            case Assign(op="="):
                return self._parts(use, expr.parts[1:])
            case Binary(op=","):
                return self._parts(use, expr.parts[1:])
            case Statements() | Cast():
                return self._parts(use, expr.parts[-1:])
            case Initializer():
                return self._parts(use, expr.parts)
            case Call():
                return self._out_of_call(use, expr)
        return closed(
            "an expression that is not understood: inline assembly, an address kept in a pointer, a parse error"
        )

    @staticmethod
    def _parts(use: Use, parts: Iterable[Expr]) -> Inflows:
        return Inflows(tuple(Inflow(use.of(part), use.fn, part) for part in parts))

    def _into_name(self, use: Use, name: Name) -> Inflows:
        unit = self.unit(use.fn)
        if macros := self.tree.macros(name.text, unit):
            return Inflows(tuple(edge for macro in macros if (edge := self._expanded(use, name, macro)) is not None))
        if name.text.isupper() and not re.search(
            rb"\bextern\b[^;]*\b" + name.text.encode() + rb"\b", use.fn.source.code
        ):
            return closed(f"{name.text} is not in the files that were read")
        return Inflows((Inflow(Global(name.text, unit), use.fn, name),))

    @staticmethod
    def _expanded(use: Use, name: Name, macro: Function) -> Inflow | None:
        """What an object-like macro stands for; a named constant is no step of a trace."""
        at = last_value(macro)
        if at is None:
            return None
        index, body = at
        note = "" if isinstance(strip(body), Constant) else "a macro"
        return Inflow(Use(macro, index, body), use.fn, name, note)

    # places

    def into_place(self, use: Use) -> Inflows:
        """What the place `use.expr` may hold when control is at `use.node`."""
        fn, place = use.fn, use.expr
        reached = self.reaching(use)
        root = root_of(place)
        edges: list[Inflow] = []
        reasons: list[Stop] = []
        further, passed = reached.entry, [*reached.passed]
        untyped = False
        if root is not None and root.variable in self._unseen.of(fn):
            reasons.append(
                Stop(
                    f"{root.text} may be set unseen: it is static, its address is kept in a pointer, or a macro sets it"
                )
            )
        reasons += [Stop(f"{other} is set, too, and shares its memory") for other in self._unseen.sharing(use, root)]
        for definition in reached.definitions:
            if definition.call is None:
                if self._loses_type(use, definition):
                    # the member is better known by the variable's type than by what was assigned to it
                    untyped = True
                elif definition.value is None:
                    edges.append(Inflow(None, fn, definition.at))
                else:
                    asked = Use(fn, definition.node, definition.value, use.frame)
                    winding = isinstance(asked.expr, Member) and winds(asked.expr)
                    source = Held(asked) if winding else asked
                    edges.append(Inflow(source, fn, definition.at, "set here"))
                continue
            filled = self._by_callee(use, root, definition)
            if filled is None:
                passed.append(definition.call)
            if isinstance(filled, str):
                reasons.append(Stop(filled))
            elif filled is not None:
                edges.append(filled)
        found = Inflows(tuple(edges), tuple(reasons))
        if not further and isinstance(place, Member):
            further = self.between.may_change(use, passed)
        if reached.definitions and (edges or reasons) and not further and not untyped:
            return found
        if untyped and not further:
            return both(found, self._beyond(use))
        return both(found, self._entering(use, root, found, reached.entry))

    def reaching(self, use: Use) -> Reaching:
        """The definitions of the place `use.expr` that control may see, by callees and through other pointers too."""

        def overwrites(call: Call, position: int) -> bool:
            return self._fills.overwrites(Fill(Use(use.fn, use.node, use.expr, use.frame), call, position))

        return reaching(use.fn, use.node, use.expr, Effects(overwrites, lambda place: self._may_be(place, use)))

    def _may_be(self, place: Expr, use: Use) -> bool:
        """Whether another place may be the one that is used: the same member, of an object that another pointer
        names.
        """
        place, mine = strip(place), strip(use.expr)
        if not isinstance(place, Member) or not isinstance(mine, Member) or place.field != mine.field:
            return False
        roots = root_of(place), root_of(mine)
        if not all(root is None or through_pointer(one) for root, one in zip(roots, (place, mine), strict=True)):
            return False
        unit = self.unit(use.fn)
        one, other = self.types.member(place, use.fn, unit), self.types.member(mine, use.fn, unit)
        return one is not None and other is not None and one[0] == other[0]

    def _by_callee(self, use: Use, root: Name | None, definition: Definition) -> Inflow | str | None:
        """What a call that is handed the place makes of it, or why that is not known; None if that is not its
        affair.
        """
        call, position = definition.call, definition.argument
        assert call is not None, "only a store by a callee is asked about here"
        if call.name in self._tables.knowledge.inert:
            return None
        handed = path_of(call.args[position])
        listed = bool(self._tables.knowledge.call(call.name, position))
        if handed == path_of(use.expr) and not listed:
            # handed by value, which only a macro can store to
            if self.stores.setters.of(use.fn.source.path).sets(call.name, position):
                return f"{call.name}() sets its argument in a way that was not followed"
            return self._unseen.by_macro(use, definition)
        fill = Fill(Use(use.fn, definition.node, use.expr, use.frame), call, position)
        edge = Inflow(fill, use.fn, call, "filled in here")
        if listed:
            return edge
        local = root is not None and root.variable >= 0
        if ((handed or "").startswith("&") or isinstance(use.expr, Index | Unary)) and local:
            return edge if self._fills.leaves_any(fill) else None
        return self._unseen.by_stranger(use, root, call) if isinstance(use.expr, Member) else None

    def _loses_type(self, use: Use, definition: Definition) -> bool:
        """Whether the definition turns a member whose struct is known into one whose struct is not."""
        value, place = definition.value, use.expr
        if not isinstance(place, Member) or not isinstance(value, Member) or value.field != place.field:
            return False
        if path_of(value) == path_of(place) or isinstance(strip(value.parts[0]), Constant):
            return False
        unit = self.unit(use.fn)
        return self.types.member(value, use.fn, unit) is None and self.types.member(place, use.fn, unit) is not None

    def _entering(self, use: Use, root: Name | None, found: Inflows, entry: bool) -> Inflows:
        """What the place held before anything in the function set it."""
        fn, frame, place = use.fn, use.frame, use.expr
        position = fn.variables[root.variable].position if root is not None and root.variable >= 0 else -1
        if root is not None and position >= 0 and entry and frame is not None:
            if position >= len(frame.call.args):
                return closed(f"{fn.name}() is called with too few arguments here")
            argument = frame.call.args[position]
            outer = substitute(place, root, argument)
            if not fn.macro and isinstance(place, Member | Unary | Index) and path_of(outer) is None:
                return self._beyond(use)
            source = Use(frame.fn, frame.node, outer, frame.parent)
            return Inflows((Inflow(source, frame.fn, argument, f"passed to {fn.name}()"),))
        if not isinstance(place, Name):
            return self._beyond(use)
        if position >= 0 and entry:
            return Inflows((Inflow(Param(fn, position), fn, place),))
        if root is None or root.variable < 0:
            return closed("a place that could not be named")
        return self._never_set(use, place, bool(found.edges or found.open), entry)

    def _never_set(self, use: Use, place: Name, some: bool, entry: bool) -> Inflows:
        """A local that nothing sets on some path: an array that its elements fill, or what a macro does."""
        fn = use.fn
        variable = fn.variables[place.variable]
        reached = self.reaching(use)
        if variable.type.pointers and not entry and not some and not reached.definitions:
            array = Index(place.start, place.end, (place, Constant(place.start, place.start, (), "0")))
            if reaching(fn, use.node, array).definitions:
                return self.into_place(use.of(array))
        if some:
            return Inflows()
        fillers = sorted({d.call.name for d in reached.definitions if d.call is not None})
        if fillers:
            return closed(f"{', '.join(fillers)}() fills in {variable.name} in a way that was not followed")
        return closed(f"{variable.name} is set by a macro, or not at all")

    def _beyond(self, use: Use) -> Inflows:
        """What a member or a pointee holds that nothing in this function set."""
        place = strip(use.expr)
        asked = use.of(place)
        if isinstance(place, Member):
            return Inflows((Inflow(Held(asked), use.fn, place),))
        if isinstance(place, Unary):
            inner = strip(place.parts[0])
            if isinstance(inner, Name) and inner.variable >= 0 and use.frame is None:
                position = use.fn.variables[inner.variable].position
                if position >= 0:
                    return Inflows((Inflow(Param(use.fn, position, True), use.fn, place),))
        if isinstance(place, Unary | Index):
            return Inflows((Inflow(Behind(asked), use.fn, place),))
        return closed("a place that could not be named")

    def _into_pointee(self, question: Behind) -> Inflows:
        use = question.use
        base = base_of(use.expr)
        if isinstance(base, Member):
            return Inflows((Inflow(Held(use.of(base), True), use.fn, base),))
        if isinstance(base, Name) and base.variable < 0:
            return Inflows((Inflow(use.of(base), use.fn, base),))
        return closed(f"{text_of(use, use.expr)} is read from memory that could not be followed")

    # members and globals

    def owner(self, use: Use) -> tuple[str, str] | None:
        """The struct that holds the member `use.expr`, as tag and the file that defines it; None if that is not
        told.
        """
        member, unit = use.expr, self.unit(use.fn)
        assert isinstance(member, Member), "only members have an owner"
        found = self.types.member(member, use.fn, unit) or self.stores.only_struct_with(member.field, unit)
        return (found[0], self.tree.struct_home(found[0], unit)) if found is not None else None

    def _into_member(self, question: Held) -> Inflows:
        use = question.use
        member = use.expr
        assert isinstance(member, Member), "only members are held"
        base = strip(member.parts[0])
        if isinstance(base, Constant):
            return Inflows()  # a member of NULL is never reached
        unit = self.unit(use.fn)
        found = self.owner(use)
        if found is None:
            return closed(f"the type of {text_of(use, member.parts[0])} could not be told")
        tag, home = found
        label = tag.replace("::", ".")
        edge = Inflow(
            Field(tag, member.field, unit, home, question.element), use.fn, member, f"field of struct {label}"
        )
        guessed = self.types.member(member, use.fn, unit) is None
        why = f"the type of {text_of(use, member.parts[0])} could not be told; it is taken for struct {label}"
        return Inflows((edge,), (Stop(why),) if guessed else ())

    def _into_field(self, question: Field) -> Inflows:
        tag, field = question.tag, question.field
        of = self.stores.of_elements if question.element else self.stores.of_field
        stores, complete = of(tag, field, question.unit)
        # what the tables answer at once comes first, so that a budget spent on the rest does not hide it
        ordered = sorted(stores, key=lambda store: not self._is_listed(store))
        label = tag.replace("::", ".")
        edges = self.of_stores((seen_inside(s) if question.element else s for s in ordered), f"{field} is set here")
        nothing = f"no store to {label}.{field} was found in {self.stores.searched(tag, question.unit)}"
        doubts = tuple(Stop(reason) for reason in dict.fromkeys(store.doubt for store in stores if store.doubt))
        if not edges:
            return Inflows((), doubts or (Stop(nothing),))
        reason = f"struct {label} is used beyond this driver; only the stores near by were read"
        return Inflows(edges, (*doubts, *(() if complete else (Stop(reason, True),))), nothing)

    def of_stores(self, stores: Iterable[Store], note: str) -> tuple[Inflow, ...]:
        """The edges that stores to a member or a global are."""
        return tuple(edge for store in stores if (edge := self._stored(store, note)) is not None)

    def _stored(self, store: Store, note: str) -> Inflow | None:
        if store.doubt:
            return None
        if store.value is None:
            return Inflow(None, store.fn, store.place)
        if store.call is None:
            user = store.user
            frame = Frame(user.fn, user.node, user.call, None) if user is not None else None
            return Inflow(Use(store.fn, store.node, store.value, frame), store.fn, store.value, note)
        if store.call.name in self._tables.knowledge.inert:
            return None
        fill = Fill(Use(store.fn, store.node, store.place), store.call, store.argument)
        listed = self._tables.knowledge.call(store.call.name, store.argument)
        return Inflow(fill, store.fn, store.call, note) if listed or self._fills.leaves_any(fill) else None

    def _is_listed(self, store: Store) -> bool:
        called = store.call if store.call is not None else store.value
        return called is not None and any(
            isinstance(part, Call) and self._tables.knowledge.call(part.name) for part in walk(called)
        )

    def _into_global(self, question: Global) -> Inflows:
        name, unit = question.name, question.unit
        stores, complete = self.stores.of_global(name, unit)
        edges = self.of_stores(stores, f"{name} is set here")
        doubts = tuple(Stop(reason) for reason in dict.fromkeys(store.doubt for store in stores if store.doubt))
        if re.search(rb"\b(?:module|core|early)_param\w*\s*\([^;]*\b" + name.encode() + rb"\b", unit.source.blanked):
            return Inflows(edges, (Stop(f"{name} is a module parameter"),))
        outside = f"{name} is set outside of the files that were read"
        return Inflows(edges, (*doubts, *(() if complete and edges else (Stop(outside, True),))))

    # calls

    def _out_of_call(self, use: Use, call: Call) -> Inflows:
        name = call.name
        if name in self._tables.knowledge.aliases and call.args:
            tag, _, field = self._tables.knowledge.aliases[name].partition(".")
            member, unit = Member(call.start, call.end, (call.args[0],), field, True), self.unit(use.fn)
            if self.types.member(member, use.fn, unit) is not None:
                return self._parts(use, (member,))
            held = Field(tag, field, unit, self.tree.struct_home(tag, unit))
            return Inflows((Inflow(held, use.fn, call, f"field of struct {tag}"),))
        targets = self.targets(use.fn, call)
        if not targets:
            if name:
                return closed(f"{name}() is not in the files that were read")
            return closed(f"indirect call of {text_of(use, call.parts[0])}")
        inner = Frame(use.fn, use.node, call, use.frame)
        edges: list[Inflow] = []
        reasons: list[Stop] = []
        for target in targets:
            returned = self._returned(target, inner)
            edges += returned.edges
            reasons += (*returned.open, *self.elsewhere(target), *self._unseen.leaving(target))
        return Inflows(tuple(edges), tuple(reasons))

    @staticmethod
    def _returned(callee: Function, frame: Frame) -> Inflows:
        if callee.macro:
            at = last_value(callee)
            body = Use(callee, at[0], at[1], frame) if at is not None else None
            return Inflows((Inflow(body, callee, at[1] if at is not None else frame.call),))
        edges = tuple(
            Inflow(Use(callee, index, node.expr, frame), callee, node.expr, f"{callee.name}() returns it")
            for index, node in enumerate(callee.nodes)
            if node.kind == "return" and node.expr is not None
        )
        return Inflows(edges) if edges else closed(f"{callee.name}() returns nothing that was found")

    def _into_parameter(self, question: Param) -> Inflows:
        fn, position = question.fn, question.position
        callers, complete, why = self.stores.callers(fn)
        stop = Stop(why, True)
        most = self._queries.budget.callers
        if len(callers) > most:
            callers, complete = callers[:most], False
            stop = Stop(f"{fn.name}() has too many callers; raise --effort")
        edges: list[Inflow] = []
        for caller in callers:
            if position >= len(caller.call.args):
                where = f"{caller.fn.source.path}:{caller.fn.source.line(caller.call.start)}"
                complete, stop = False, Stop(f"{fn.name}() is called with too few arguments at {where}")
                continue
            argument = caller.call.args[position]
            asked = pointee(argument) if question.pointee else argument
            note = f"passed to {fn.name}() by {caller.fn.name}()"
            edges.append(Inflow(Use(caller.fn, caller.node, asked), caller.fn, argument, note))
        if not callers and complete:
            return closed(f"no caller of {fn.name}() was found")
        return Inflows(tuple(edges), () if complete else (stop,))
