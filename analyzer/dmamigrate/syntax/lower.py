# SPDX-License-Identifier: GPL-2.0-only
"""tree-sitter's trees made into expressions and control flow."""

from __future__ import annotations

from dataclasses import dataclass, field

import tree_sitter

from dmamigrate.syntax import casts, macros
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
)
from dmamigrate.syntax.functions import CType, Edge, Guard, Node, Variable
from dmamigrate.syntax.grammar import declarator, text_of, type_text

ENTRY, EXIT = 0, 1


@dataclass
class Lowering:
    """The function under construction."""

    shift: int
    # the text being lowered, before the dialect was made plain
    raw: bytes = b""
    nodes: list[Node] = field(default_factory=list)
    variables: list[Variable] = field(default_factory=list)
    scopes: list[dict[str, int]] = field(default_factory=lambda: [{}])
    edges: list[list[Edge]] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    gotos: list[tuple[int, str]] = field(default_factory=list)
    # (continue target or -1, list that collects the nodes which break)
    breaks: list[list[tuple[int, Guard | None]]] = field(default_factory=list)
    continues: list[int] = field(default_factory=list)
    # loose ends that the next node follows
    open: list[tuple[int, Guard | None]] = field(default_factory=list)

    def node(self, kind: str, expr: Expr | None = None, variable: int = -1) -> int:
        """Add a step that the loose ends lead to; its index."""
        self.nodes.append(Node(kind, expr, (), variable))
        self.edges.append([])
        index = len(self.nodes) - 1
        for source, guard in self.open:
            self.edges[source].append(Edge(index, guard))
        self.open = [(index, None)]
        return index

    def declare(self, name: str, kind: CType, start: int, position: int = -1, static: bool = False) -> int:
        """Add a variable to the innermost scope; its index."""
        self.variables.append(Variable(name, kind, start, position, static))
        self.scopes[-1][name] = len(self.variables) - 1
        return len(self.variables) - 1

    def lookup(self, name: str) -> int:
        """The variable of this name that is in scope, -1 if none is."""
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return -1

    # expressions

    def expr(self, node: tree_sitter.Node) -> Expr:
        """The expression that a tree node is."""
        start, end = node.start_byte + self.shift, node.end_byte + self.shift

        def at(name: str) -> Expr:
            child = node.child_by_field_name(name)
            return self.expr(child) if child is not None else Expr(start, start)

        match node.type:
            case "identifier" | "field_identifier" | "type_identifier" | "primitive_type":
                name = text_of(node)
                return Name(start, end, (), name, self.lookup(name))
            case (
                "number_literal" | "char_literal" | "string_literal" | "null" | "true" | "false" | "concatenated_string"
            ):
                return Constant(start, end, (), text_of(node))
            case "parenthesized_expression":
                inner = [child for child in node.named_children if child.type != "comment"]
                if len(inner) == 1 and inner[0].type == "compound_statement":
                    return self._statement_expression(inner[0], start, end)
                return self.expr(inner[0]) if len(inner) == 1 else self._opaque(node, start, end)
            case "call_expression":
                arguments = node.child_by_field_name("arguments")
                if (cast := casts.of_call(self, node, arguments)) is not None:
                    return cast
                callee = at("function")
                args = [self.expr(a) for a in arguments.named_children if a.type != "comment"] if arguments else []
                meant = macros.plain(callee.text, args, start, end) if isinstance(callee, Name) else None
                return meant if meant is not None else Call(start, end, (callee, *args))
            case "field_expression":
                member = node.child_by_field_name("field")
                arrow = any(child.type == "->" for child in node.children)
                return Member(start, end, (at("argument"),), text_of(member) if member else "", arrow)
            case "subscript_expression":
                return Index(start, end, (at("argument"), at("index")))
            case "pointer_expression" | "unary_expression" | "update_expression":
                operator = node.child_by_field_name("operator")
                return Unary(start, end, (at("argument"),), operator.type if operator else "")
            case "binary_expression":
                operator, right = node.child_by_field_name("operator"), node.child_by_field_name("right")
                if operator is not None and right is not None:
                    behind = casts.behind(self, node.child_by_field_name("left"), operator, right)
                    if behind is not None:
                        return behind
                return Binary(start, end, (at("left"), at("right")), operator.type if operator else "")
            case "comma_expression":
                return Binary(start, end, (at("left"), at("right")), ",")
            case "assignment_expression":
                operator = node.child_by_field_name("operator")
                return Assign(start, end, (at("left"), at("right")), operator.type if operator else "=")
            case "conditional_expression":
                condition = at("condition")
                middle = node.child_by_field_name("consequence")
                return Conditional(
                    start, end, (condition, self.expr(middle) if middle else condition, at("alternative"))
                )
            case "cast_expression" | "compound_literal_expression":
                kind = node.child_by_field_name("type")
                base, pointers = self._type_descriptor(kind)
                return Cast(start, end, (at("value"),), base, pointers)
            case "gnu_asm_expression":
                return self._assembly(node, start, end)
            case "initializer_list":
                return self._initializer(node, start, end)
            case "sizeof_expression" | "alignof_expression" | "offsetof_expression":
                return Constant(start, end, (), text_of(node))
        return self._opaque(node, start, end)

    def _assembly(self, node: tree_sitter.Node, start: int, end: int) -> Expr:
        """Inline assembly: its outputs become something that is not understood."""
        outputs = node.child_by_field_name("output_operands")
        stores: list[Expr] = []
        for operand in outputs.named_children if outputs is not None else ():
            value = operand.child_by_field_name("value")
            if value is not None:
                stores.append(Assign(start, end, (self.expr(value), Expr(start, end))))
        return Expr(start, end, tuple(stores))

    def _opaque(self, node: tree_sitter.Node, start: int, end: int) -> Expr:
        if node.type in ("preproc_call", "preproc_def", "preproc_function_def", "comment"):
            return Expr(start, end)
        return Expr(start, end, tuple(self.expr(c) for c in node.named_children if c.type != "comment"))

    def _type_descriptor(self, node: tree_sitter.Node | None) -> tuple[str, int]:
        if node is None:
            return "", 0
        inner = node.child_by_field_name("declarator")
        return type_text(node.child_by_field_name("type")), declarator(inner)[1] if inner is not None else 0

    def _initializer(self, node: tree_sitter.Node, start: int, end: int) -> Expr:
        parts: list[Expr] = []
        fields: list[str] = []
        for child in node.named_children:
            if child.type == "comment":
                continue
            value: tree_sitter.Node | None = child
            path = ""
            if child.type == "initializer_pair":
                for designator in child.children_by_field_name("designator"):
                    if designator.type in ("field_designator", "field_identifier"):
                        path += ("." if path else "") + text_of(designator).lstrip(".").strip()
                    else:
                        path += "[]"
                value = child.child_by_field_name("value")
            if value is not None:
                parts.append(self.expr(value))
                fields.append(path)
        return Initializer(start, end, tuple(parts), tuple(fields))

    def _statement_expression(self, node: tree_sitter.Node, start: int, end: int) -> Expr:
        self.scopes.append({})
        parts: list[Expr] = []
        for child in node.named_children:
            if child.type == "declaration":
                parts += [value for _, value in self._declared(child) if value is not None]
            elif child.type == "expression_statement":
                parts += [self.expr(c) for c in child.named_children if c.type != "comment"]
            elif child.type != "comment":
                parts.append(self._opaque(child, child.start_byte + self.shift, child.end_byte + self.shift))
        self.scopes.pop()
        return Statements(start, end, tuple(parts))

    # declarations

    def _declared(self, node: tree_sitter.Node) -> list[tuple[int, Expr | None]]:
        """Declare what a declaration declares; each variable's index and its initialisation, if any."""
        base = type_text(node.child_by_field_name("type"))
        static = any(c.type == "storage_class_specifier" and c.text == b"static" for c in node.children)
        result: list[tuple[int, Expr | None]] = []
        for child in node.children_by_field_name("declarator"):
            value = child.child_by_field_name("value") if child.type == "init_declarator" else None
            inner = child.child_by_field_name("declarator") if child.type == "init_declarator" else child
            name, pointers, function = declarator(inner) if inner is not None else (None, 0, False)
            if name is None or (function and pointers == 0):
                continue
            start = name.start_byte + self.shift
            # a C initialiser is already in the scope of its variable
            index = self.declare(text_of(name), CType("fn" if function else base, pointers), start, static=static)
            init: Expr | None = None
            if value is not None:
                target = Name(start, name.end_byte + self.shift, (), text_of(name), index)
                init = Assign(start, value.end_byte + self.shift, (target, self.expr(value)))
            result.append((index, init))
        return result

    # statements

    def statement(self, node: tree_sitter.Node) -> None:
        """Add the steps of a statement."""
        match node.type:
            case "compound_statement":
                self.scopes.append({})
                self._statements(node.named_children)
                self.scopes.pop()
            case "expression_statement":
                for child in node.named_children:
                    if child.type != "comment":
                        self.node("eval", self.expr(child))
            case "declaration":
                for index, init in self._declared(node):
                    self.node("declare" if init is None else "eval", init, index)
            case "return_statement":
                value = next((c for c in node.named_children if c.type != "comment"), None)
                index = self.node("return", self.expr(value) if value is not None else None)
                self.edges[index].append(Edge(EXIT))
                self.open = []
            case "if_statement":
                self._if_statement(node)
            case "while_statement":
                self._while_statement(node)
            case "do_statement":
                self._do_statement(node)
            case "for_statement":
                self._for_statement(node)
            case "switch_statement":
                self._switch_statement(node)
            case "break_statement":
                if self.breaks:
                    self.breaks[-1] += self.open
                self.open = []
            case "continue_statement":
                if self.continues:
                    for index, guard in self.open:
                        self.edges[index].append(Edge(self.continues[-1], guard))
                self.open = []
            case "goto_statement":
                label = node.child_by_field_name("label")
                index = self.node("eval")
                if label is not None:
                    self.gotos.append((index, text_of(label)))
                self.open = []
            case "labeled_statement":
                label = node.child_by_field_name("label")
                if label is not None:
                    self.labels[text_of(label)] = self.node("eval")
                self._statements([c for c in node.named_children if c != label])
            case "preproc_if" | "preproc_ifdef":
                self._conditional_code(node)
            case "comment" | "preproc_def" | "preproc_function_def" | "preproc_call" | "preproc_include":
                pass
            case "case_statement":
                # a case inside an #if side: entered from its switch, whose body cannot tell which
                self._statements([c for c in node.named_children if c != node.child_by_field_name("value")])
            case "else_clause" | "attributed_statement" | "ERROR" | "type_definition" | "linkage_specification":
                self._statements(node.named_children)
            case _:
                self.node("eval", self.expr(node))

    def _statements(self, nodes: list[tree_sitter.Node]) -> None:
        for child in nodes:
            self.statement(child)

    def _branch(self, condition: Expr) -> tuple[list[tuple[int, Guard | None]], list[tuple[int, Guard | None]]]:
        """Evaluate a condition; the loose ends where it is true and where it is false, && || and ! taken apart."""
        if isinstance(condition, Binary) and condition.op in ("&&", "||"):
            true, false = self._branch(condition.parts[0])
            self.open = true if condition.op == "&&" else false
            true2, false2 = self._branch(condition.parts[1])
            return (true2, false + false2) if condition.op == "&&" else (true + true2, false2)
        if isinstance(condition, Unary) and condition.op == "!":
            true, false = self._branch(condition.parts[0])
            return false, true
        index = self.node("branch", condition)
        return [(index, Guard(condition, True))], [(index, Guard(condition, False))]

    def _condition(self, node: tree_sitter.Node) -> Expr:
        condition = node.child_by_field_name("condition")
        start = node.start_byte + self.shift
        return self.expr(condition) if condition is not None else Expr(start, start)

    def _if_statement(self, node: tree_sitter.Node) -> None:
        true, false = self._branch(self._condition(node))
        then, otherwise = node.child_by_field_name("consequence"), node.child_by_field_name("alternative")
        self.open = true
        if then is not None:
            self.statement(then)
        after = self.open
        self.open = false
        if otherwise is not None:
            self.statement(otherwise)
        self.open = after + self.open

    def _loop_body(self, body: tree_sitter.Node | None, again: int) -> list[tuple[int, Guard | None]]:
        self.breaks.append([])
        self.continues.append(again)
        if body is not None:
            self.statement(body)
        self.continues.pop()
        return self.breaks.pop()

    def _while_statement(self, node: tree_sitter.Node) -> None:
        head = self.node("eval")
        condition = self._condition(node)
        if not self.raw[node.start_byte :].startswith(b"while"):
            self._loop_macro(condition)
        true, false = self._branch(condition)
        self.open = true
        broken = self._loop_body(node.child_by_field_name("body"), head)
        for index, guard in self.open:
            self.edges[index].append(Edge(head, guard))
        endless = isinstance(condition, Constant) and condition.text in ("1", "true")
        self.open = broken if endless else false + broken

    def _loop_macro(self, arguments: Expr) -> None:
        """A loop macro may set each number that it is handed; what it sets pointers to is known by their types."""
        while isinstance(arguments, Binary) and arguments.op == ",":
            self._loop_macro(arguments.parts[1])
            arguments = arguments.parts[0]
        if (
            isinstance(arguments, Name)
            and arguments.variable >= 0
            and not self.variables[arguments.variable].type.pointers
        ):
            unknown = Expr(arguments.start, arguments.end)
            may = Conditional(arguments.start, arguments.end, (unknown, arguments, unknown))
            self.node("eval", Assign(arguments.start, arguments.end, (arguments, may)))

    def _do_statement(self, node: tree_sitter.Node) -> None:
        head = self.node("eval")
        # continue goes to the condition, which has no node yet: a joint before it
        entry = self.open
        self.open = []
        joint = self.node("eval")
        self.open = entry
        broken = self._loop_body(node.child_by_field_name("body"), joint)
        for index, guard in self.open:
            self.edges[index].append(Edge(joint, guard))
        self.open = [(joint, None)]
        condition = self._condition(node)
        true, false = self._branch(condition)
        for index, guard in true:
            if not (isinstance(condition, Constant) and condition.text in ("0", "false")):
                self.edges[index].append(Edge(head, guard))
        self.open = false + broken

    def _for_statement(self, node: tree_sitter.Node) -> None:
        self.scopes.append({})
        start = node.child_by_field_name("initializer")
        if start is not None:
            if start.type == "declaration":
                self.statement(start)
            else:
                self.node("eval", self.expr(start))
        head = self.node("eval")
        condition = node.child_by_field_name("condition")
        true: list[tuple[int, Guard | None]]
        true, false = self._branch(self.expr(condition)) if condition is not None else (self.open, [])
        update = node.child_by_field_name("update")
        self.open = []
        again = self.node("eval", self.expr(update) if update is not None else None)
        self.edges[again].append(Edge(head))
        self.open = true
        broken = self._loop_body(node.child_by_field_name("body"), again)
        for index, guard in self.open:
            self.edges[index].append(Edge(again, guard))
        self.open = false + broken
        self.scopes.pop()

    def _switch_statement(self, node: tree_sitter.Node) -> None:
        subject = self._condition(node)
        index = self.node("branch", subject)
        body = node.child_by_field_name("body")
        self.open = []
        self.breaks.append([])
        self.scopes.append({})
        pending: list[Expr] = []
        default_pending = False
        seen: list[Expr] = []
        default_at: list[int] = []
        for child in self._flat_cases(body):
            if child.type != "case_statement":
                self.statement(child)
                continue
            value = child.child_by_field_name("value")
            if value is None:
                default_pending = True
            else:
                pending.append(self.expr(value))
            inside = [c for c in child.named_children if c != value and c.type != "comment"]
            if not inside:
                continue
            entry = self.node("eval")
            if pending:
                self.edges[index].append(Edge(entry, Guard(subject, True, tuple(pending))))
                seen += pending
            if default_pending:
                default_at.append(entry)
            pending, default_pending = [], False
            self._statements(inside)
        others = Guard(subject, False, tuple(seen))
        after = self.open + self.breaks.pop()
        for entry in default_at:
            self.edges[index].append(Edge(entry, others))
        if not default_at:
            after.append((index, others))
        if pending:
            after.append((index, Guard(subject, True, tuple(pending))))
        self.scopes.pop()
        self.open = after

    def _flat_cases(self, body: tree_sitter.Node | None) -> list[tree_sitter.Node]:
        """The statements of a switch body, those inside #if sides too."""
        result: list[tree_sitter.Node] = []
        for child in body.named_children if body is not None else ():
            if child.type in ("preproc_if", "preproc_ifdef", "preproc_else", "preproc_elif"):
                inner = self._flat_cases(child)
                result += [
                    c
                    for c in inner
                    if c.type == "case_statement" or c.type.endswith("_statement") or c.type == "declaration"
                ]
            else:
                result.append(child)
        return result

    def _conditional_code(self, node: tree_sitter.Node) -> None:
        """Both sides of an #if are code: control may take either."""
        before = self.open
        after: list[tuple[int, Guard | None]] = []
        current: tree_sitter.Node | None = node
        complete = False
        while current is not None:
            skip = {current.child_by_field_name(n) for n in ("name", "condition", "alternative")}
            self.open = before
            self._statements([c for c in current.named_children if c not in skip])
            after += self.open
            complete = current.type == "preproc_else"
            current = current.child_by_field_name("alternative")
        self.open = after if complete else after + before
