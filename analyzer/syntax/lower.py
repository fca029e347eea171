# SPDX-License-Identifier: GPL-2.0-only
"""tree-sitter's trees made into expressions and control flow; the only module that knows tree-sitter."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import tree_sitter
import tree_sitter_c

from analyzer.syntax import dialect
from analyzer.syntax.expr import (
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
from analyzer.syntax.functions import CType, Edge, Function, Guard, Node, Variable
from analyzer.syntax.items import Item
from analyzer.syntax.source import Source

_FUNCTION = b"void f()"
_ENTRY, _EXIT = 0, 1


@cache
def _parser() -> tree_sitter.Parser:
    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_c.language()))


def parse(text: bytes) -> tree_sitter.Node:
    """The root of the tree of `text`."""
    return _parser().parse(text).root_node


def error_places(node: tree_sitter.Node) -> list[int]:
    """Where, in bytes, the outermost errors and missing tokens below `node` begin."""
    if not node.has_error:
        return []
    if node.type == "ERROR" or node.is_missing:
        return [node.start_byte]
    return [place for child in node.children for place in error_places(child)]


def type_text(node: tree_sitter.Node | None) -> str:
    """`struct foo`, `unsigned int`, `u32`: a type specifier's name, for an inline struct the word alone."""
    if node is None:
        return "int"
    if node.type in ("struct_specifier", "union_specifier", "enum_specifier"):
        name = node.child_by_field_name("name")
        return f"{node.type[:-10]} {_text(name) if name is not None else ''}".strip()
    return " ".join(_text(node).split())


def _text(node: tree_sitter.Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


def declarator(node: tree_sitter.Node) -> tuple[tree_sitter.Node | None, int, bool]:
    """The identifier inside a declarator, its stars and brackets, and whether it declares a function or pointer to one."""
    pointers = 0
    function = False
    current: tree_sitter.Node | None = node
    while current is not None:
        match current.type:
            case "identifier" | "field_identifier" | "type_identifier":
                return current, pointers, function
            case "pointer_declarator" | "array_declarator" | "abstract_pointer_declarator" | "abstract_array_declarator":
                pointers += 1
            case "function_declarator" | "abstract_function_declarator":
                function = True
        inner = current.child_by_field_name("declarator")
        if inner is None and current.type in ("parenthesized_declarator", "attributed_declarator", "bitfield_clause"):
            inner = next((c for c in current.named_children if c.type != "comment"), None)
        current = inner
    return None, pointers, function


@dataclass
class _Lowering:
    """The function under construction."""

    shift: int
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
        self.nodes.append(Node(kind, expr, (), variable))
        self.edges.append([])
        index = len(self.nodes) - 1
        for source, guard in self.open:
            self.edges[source].append(Edge(index, guard))
        self.open = [(index, None)]
        return index

    def declare(self, name: str, kind: CType, start: int, position: int = -1, static: bool = False) -> int:
        self.variables.append(Variable(name, kind, start, position, static))
        self.scopes[-1][name] = len(self.variables) - 1
        return len(self.variables) - 1

    def lookup(self, name: str) -> int:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return -1

    # expressions

    def expr(self, node: tree_sitter.Node) -> Expr:
        start, end = node.start_byte + self.shift, node.end_byte + self.shift

        def at(name: str) -> Expr:
            child = node.child_by_field_name(name)
            return self.expr(child) if child is not None else Expr(start, start)

        match node.type:
            case "identifier" | "field_identifier" | "type_identifier" | "primitive_type":
                name = _text(node)
                return Name(start, end, (), name, self.lookup(name))
            case "number_literal" | "char_literal" | "string_literal" | "null" | "true" | "false" | "concatenated_string":
                return Constant(start, end, (), _text(node))
            case "parenthesized_expression":
                inner = [child for child in node.named_children if child.type != "comment"]
                if len(inner) == 1 and inner[0].type == "compound_statement":
                    return self.statement_expression(inner[0], start, end)
                return self.expr(inner[0]) if len(inner) == 1 else self.opaque(node, start, end)
            case "call_expression":
                arguments = node.child_by_field_name("arguments")
                if (cast := self.cast_of(node, arguments)) is not None:
                    return cast
                callee = at("function")
                args = [self.expr(a) for a in arguments.named_children if a.type != "comment"] if arguments else []
                return Call(start, end, (callee, *args))
            case "field_expression":
                member = node.child_by_field_name("field")
                arrow = any(child.type == "->" for child in node.children)
                return Member(start, end, (at("argument"),), _text(member) if member else "", arrow)
            case "subscript_expression":
                return Index(start, end, (at("argument"), at("index")))
            case "pointer_expression" | "unary_expression" | "update_expression":
                operator = node.child_by_field_name("operator")
                return Unary(start, end, (at("argument"),), operator.type if operator else "")
            case "binary_expression":
                operator = node.child_by_field_name("operator")
                return Binary(start, end, (at("left"), at("right")), operator.type if operator else "")
            case "comma_expression":
                return Binary(start, end, (at("left"), at("right")), ",")
            case "assignment_expression":
                operator = node.child_by_field_name("operator")
                return Assign(start, end, (at("left"), at("right")), operator.type if operator else "=")
            case "conditional_expression":
                condition = at("condition")
                middle = node.child_by_field_name("consequence")
                return Conditional(start, end, (condition, self.expr(middle) if middle else condition, at("alternative")))
            case "cast_expression" | "compound_literal_expression":
                kind = node.child_by_field_name("type")
                base, pointers = self.type_descriptor(kind)
                return Cast(start, end, (at("value"),), base, pointers)
            case "initializer_list":
                return self.initializer(node, start, end)
            case "sizeof_expression" | "alignof_expression" | "offsetof_expression":
                return Constant(start, end, (), _text(node))
        return self.opaque(node, start, end)

    def cast_of(self, node: tree_sitter.Node, arguments: tree_sitter.Node | None) -> Expr | None:
        """`(u64)(a + b)`, which the grammar takes for a call."""
        callee = node.child_by_field_name("function")
        if callee is None or arguments is None or len(arguments.named_children) != 1:
            return None
        if callee.type == "call_expression":  # (u64)(u32)(a + b)
            inner_cast = self.cast_of(callee, callee.child_by_field_name("arguments"))
            if not isinstance(inner_cast, Cast) or not isinstance(inner_cast.parts[0], Name) or inner_cast.parts[0].variable >= 0:
                return None
            return Cast(inner_cast.start, node.end_byte + self.shift, (self.expr(arguments.named_children[0]),), inner_cast.type, 0)
        if callee.type != "parenthesized_expression":
            return None
        inner = callee.named_children[0] if callee.named_children else None
        if inner is None or inner.type != "identifier" or self.lookup(_text(inner)) >= 0:
            return None
        value = self.expr(arguments.named_children[0])
        return Cast(node.start_byte + self.shift, node.end_byte + self.shift, (value,), _text(inner), 0)

    def opaque(self, node: tree_sitter.Node, start: int, end: int) -> Expr:
        if node.type in ("preproc_call", "preproc_def", "preproc_function_def", "comment"):
            return Expr(start, end)
        return Expr(start, end, tuple(self.expr(c) for c in node.named_children if c.type != "comment"))

    def type_descriptor(self, node: tree_sitter.Node | None) -> tuple[str, int]:
        if node is None:
            return "", 0
        inner = node.child_by_field_name("declarator")
        return type_text(node.child_by_field_name("type")), declarator(inner)[1] if inner is not None else 0

    def initializer(self, node: tree_sitter.Node, start: int, end: int) -> Expr:
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
                        path += ("." if path else "") + _text(designator).lstrip(".").strip()
                    else:
                        path += "[]"
                value = child.child_by_field_name("value")
            if value is not None:
                parts.append(self.expr(value))
                fields.append(path)
        return Initializer(start, end, tuple(parts), tuple(fields))

    def statement_expression(self, node: tree_sitter.Node, start: int, end: int) -> Expr:
        self.scopes.append({})
        parts: list[Expr] = []
        for child in node.named_children:
            if child.type == "declaration":
                parts += [value for _, value in self.declared(child) if value is not None]
            elif child.type == "expression_statement":
                parts += [self.expr(c) for c in child.named_children if c.type != "comment"]
            elif child.type != "comment":
                parts.append(self.opaque(child, child.start_byte + self.shift, child.end_byte + self.shift))
        self.scopes.pop()
        return Statements(start, end, tuple(parts))

    # declarations

    def declared(self, node: tree_sitter.Node) -> list[tuple[int, Expr | None]]:
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
            index = self.declare(_text(name), CType("fn" if function else base, pointers), start, static=static)
            init: Expr | None = None
            if value is not None:
                target = Name(start, name.end_byte + self.shift, (), _text(name), index)
                init = Assign(start, value.end_byte + self.shift, (target, self.expr(value)))
            result.append((index, init))
        return result

    # statements

    def statement(self, node: tree_sitter.Node) -> None:
        match node.type:
            case "compound_statement":
                self.scopes.append({})
                self.statements(node.named_children)
                self.scopes.pop()
            case "expression_statement":
                for child in node.named_children:
                    if child.type != "comment":
                        self.node("eval", self.expr(child))
            case "declaration":
                for index, init in self.declared(node):
                    self.node("declare" if init is None else "eval", init, index)
            case "return_statement":
                value = next((c for c in node.named_children if c.type != "comment"), None)
                index = self.node("return", self.expr(value) if value is not None else None)
                self.edges[index].append(Edge(_EXIT))
                self.open = []
            case "if_statement":
                self.if_statement(node)
            case "while_statement":
                self.while_statement(node)
            case "do_statement":
                self.do_statement(node)
            case "for_statement":
                self.for_statement(node)
            case "switch_statement":
                self.switch_statement(node)
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
                    self.gotos.append((index, _text(label)))
                self.open = []
            case "labeled_statement":
                label = node.child_by_field_name("label")
                if label is not None:
                    self.labels[_text(label)] = self.node("eval")
                self.statements([c for c in node.named_children if c != label])
            case "preproc_if" | "preproc_ifdef":
                self.conditional_code(node)
            case "comment" | "preproc_def" | "preproc_function_def" | "preproc_call" | "preproc_include":
                pass
            case "case_statement":
                # a case inside an #if side: entered from its switch, whose body cannot tell which
                self.statements([c for c in node.named_children if c != node.child_by_field_name("value")])
            case "else_clause" | "attributed_statement" | "ERROR" | "type_definition" | "linkage_specification":
                self.statements(node.named_children)
            case _:
                self.node("eval", self.expr(node))

    def statements(self, nodes: list[tree_sitter.Node]) -> None:
        for child in nodes:
            self.statement(child)

    def branch(self, condition: Expr) -> tuple[list[tuple[int, Guard | None]], list[tuple[int, Guard | None]]]:
        """Evaluate a condition; the loose ends where it is true and where it is false, && || and ! taken apart."""
        if isinstance(condition, Binary) and condition.op in ("&&", "||"):
            true, false = self.branch(condition.parts[0])
            self.open = true if condition.op == "&&" else false
            true2, false2 = self.branch(condition.parts[1])
            return (true2, false + false2) if condition.op == "&&" else (true + true2, false2)
        if isinstance(condition, Unary) and condition.op == "!":
            true, false = self.branch(condition.parts[0])
            return false, true
        index = self.node("branch", condition)
        return [(index, Guard(condition, True))], [(index, Guard(condition, False))]

    def condition(self, node: tree_sitter.Node) -> Expr:
        condition = node.child_by_field_name("condition")
        start = node.start_byte + self.shift
        return self.expr(condition) if condition is not None else Expr(start, start)

    def if_statement(self, node: tree_sitter.Node) -> None:
        true, false = self.branch(self.condition(node))
        then, otherwise = node.child_by_field_name("consequence"), node.child_by_field_name("alternative")
        self.open = true
        if then is not None:
            self.statement(then)
        after = self.open
        self.open = false
        if otherwise is not None:
            self.statement(otherwise)
        self.open = after + self.open

    def loop_body(self, body: tree_sitter.Node | None, again: int) -> list[tuple[int, Guard | None]]:
        self.breaks.append([])
        self.continues.append(again)
        if body is not None:
            self.statement(body)
        self.continues.pop()
        return self.breaks.pop()

    def while_statement(self, node: tree_sitter.Node) -> None:
        head = self.node("eval")
        condition = self.condition(node)
        true, false = self.branch(condition)
        self.open = true
        broken = self.loop_body(node.child_by_field_name("body"), head)
        for index, guard in self.open:
            self.edges[index].append(Edge(head, guard))
        endless = isinstance(condition, Constant) and condition.text in ("1", "true")
        self.open = broken if endless else false + broken

    def do_statement(self, node: tree_sitter.Node) -> None:
        head = self.node("eval")
        # continue goes to the condition, which has no node yet: a joint before it
        entry = self.open
        self.open = []
        joint = self.node("eval")
        self.open = entry
        broken = self.loop_body(node.child_by_field_name("body"), joint)
        for index, guard in self.open:
            self.edges[index].append(Edge(joint, guard))
        self.open = [(joint, None)]
        condition = self.condition(node)
        true, false = self.branch(condition)
        for index, guard in true:
            if not (isinstance(condition, Constant) and condition.text in ("0", "false")):
                self.edges[index].append(Edge(head, guard))
        self.open = false + broken

    def for_statement(self, node: tree_sitter.Node) -> None:
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
        true, false = self.branch(self.expr(condition)) if condition is not None else (self.open, [])
        update = node.child_by_field_name("update")
        self.open = []
        again = self.node("eval", self.expr(update) if update is not None else None)
        self.edges[again].append(Edge(head))
        self.open = true
        broken = self.loop_body(node.child_by_field_name("body"), again)
        for index, guard in self.open:
            self.edges[index].append(Edge(again, guard))
        self.open = false + broken
        self.scopes.pop()

    def switch_statement(self, node: tree_sitter.Node) -> None:
        subject = self.condition(node)
        index = self.node("branch", subject)
        body = node.child_by_field_name("body")
        self.open = []
        self.breaks.append([])
        self.scopes.append({})
        pending: list[Expr] = []
        default_pending = False
        seen: list[Expr] = []
        default_at: list[int] = []
        for child in self.flat_cases(body):
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
            self.statements(inside)
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

    def flat_cases(self, body: tree_sitter.Node | None) -> list[tree_sitter.Node]:
        """The statements of a switch body, those inside #if sides too."""
        result: list[tree_sitter.Node] = []
        for child in body.named_children if body is not None else ():
            if child.type in ("preproc_if", "preproc_ifdef", "preproc_else", "preproc_elif"):
                inner = self.flat_cases(child)
                result += [c for c in inner if c.type == "case_statement" or c.type.endswith("_statement") or c.type == "declaration"]
            else:
                result.append(child)
        return result

    def conditional_code(self, node: tree_sitter.Node) -> None:
        """Both sides of an #if are code: control may take either."""
        before = self.open
        after: list[tuple[int, Guard | None]] = []
        current: tree_sitter.Node | None = node
        complete = False
        while current is not None:
            skip = {current.child_by_field_name(n) for n in ("name", "condition", "alternative")}
            self.open = before
            self.statements([c for c in current.named_children if c not in skip])
            after += self.open
            complete = current.type == "preproc_else"
            current = current.child_by_field_name("alternative")
        self.open = after if complete else after + before


def _parameters(lowering: _Lowering, source: Source, item: Item) -> None:
    text = dialect.blank_annotations(source.code[item.params : item.body]).replace(b"#", b" ")
    end = dialect.closing(text, 0)
    root = parse(b"void f" + text[: end + 1] + b";")
    shift = item.params - len(b"void f")
    lists = [n for n in _descend(root, "parameter_list")]
    position = 0
    for child in lists[0].named_children if lists else ():
        if child.type != "parameter_declaration":
            continue
        inner = child.child_by_field_name("declarator")
        name, pointers, function = declarator(inner) if inner is not None else (None, 0, False)
        base = type_text(child.child_by_field_name("type"))
        if base == "void" and inner is None:
            continue
        label = _text(name) if name is not None else ""
        start = (name or child).start_byte + shift
        lowering.declare(label, CType("fn" if function else base, pointers), start, position)
        position += 1


def _descend(node: tree_sitter.Node, kind: str) -> list[tree_sitter.Node]:
    if node.type == kind:
        return [node]
    return [found for child in node.named_children for found in _descend(child, kind)]


def _return_type(source: Source, item: Item) -> CType:
    words = dialect.blank_annotations(source.code[item.head : item.params]).decode("latin-1")
    words = " ".join(line for line in words.splitlines() if not line.lstrip().startswith("#"))
    parts = words.replace("*", " * ").split()[:-1]
    pointers = parts.count("*")
    kept = [p for p in parts if p not in ("*", "static", "inline", "const", "extern", "volatile", "__inline__", "__inline")]
    return CType(" ".join(kept[-2:]) if len(kept) > 1 and kept[-2] in ("struct", "union", "enum") else (kept[-1] if kept else "int"), pointers)


def _finish(lowering: _Lowering) -> tuple[Node, ...]:
    for index, label in lowering.gotos:
        lowering.edges[index].append(Edge(lowering.labels.get(label, _EXIT)))
    return tuple(
        Node(node.kind, node.expr, tuple(edges), node.variable)
        for node, edges in zip(lowering.nodes, lowering.edges, strict=True)
    )


def _body(lowering: _Lowering, text: bytes, start: int) -> bool:
    """Lower a body's variants; whether all parsed without an error."""
    clean = True
    entry_scope = lowering.scopes
    loose: list[tuple[int, Guard | None]] = []
    for variant in dialect.variants(text):
        root = parse(_FUNCTION + dialect.plain_body(variant))
        clean = clean and not root.has_error
        lowering.shift = start - len(_FUNCTION)
        lowering.open = [(_ENTRY, None)]
        lowering.scopes = [dict(scope) for scope in entry_scope]
        lowering.labels, gotos, lowering.gotos = {}, lowering.gotos, []
        for child in root.named_children:
            body = child.child_by_field_name("body") if child.type == "function_definition" else None
            lowering.statement(body if body is not None else child)
        for index, label in lowering.gotos:
            lowering.edges[index].append(Edge(lowering.labels.get(label, _EXIT)))
        lowering.gotos = gotos
        loose += lowering.open
    for index, guard in loose:
        lowering.edges[index].append(Edge(_EXIT, guard))
    lowering.open = []
    return clean


def function(source: Source, item: Item) -> Function:
    """Parse and lower the function that `item` found in `source`."""
    lowering = _Lowering(0)
    lowering.node("entry")
    lowering.open = []
    lowering.node("exit")
    _parameters(lowering, source, item)
    clean = _body(lowering, source.code[item.body : item.end], item.body)
    head = source.code[item.head : item.params]
    return Function(
        item.name, source, item.head, item.end, _return_type(source, item), tuple(lowering.variables), _finish(lowering),
        b"static" in head.split() or b"inline" in head.split(), clean,
    )  # fmt: skip


def macro(source: Source, name: str, params: tuple[str, ...], start: int, end: int) -> Function:
    """A #define's body, from `start` to `end`, as a function whose parameters are the macro's."""
    lowering = _Lowering(0)
    lowering.node("entry")
    lowering.open = []
    lowering.node("exit")
    for position, param in enumerate(params):
        lowering.declare(param, CType(""), start, position)
    body = source.blanked[start:end].replace(b"\\\n", b"  ").replace(b"##", b"  ").replace(b"\\ \n", b"   ").replace(b"\n", b" ")
    stripped = body.strip()
    # an expression needs an end that the macro's user writes; the braces must keep the length
    text = b"{" + body + (b";}" if stripped[-1:] not in (b";", b"}") or stripped.endswith(b"})") else b"}")
    clean = _body(lowering, text, start - 1)
    return Function(
        name, source, start, end, CType(""), tuple(lowering.variables), _finish(lowering), True, clean, macro=True
    )


def initial_value(source: Source, item: Item) -> Expr:
    """The initialiser of a top-level variable."""
    lowering = _Lowering(item.body - len(b"int x[]="))
    root = parse(b"int x[]=" + dialect.plain_body(b";".join(dialect.variants(source.code[item.body : item.end])[:1])) + b";")
    lists = _descend(root, "initializer_list")
    lowering.node("entry")
    return lowering.expr(lists[0]) if lists else Expr(item.body, item.end)


def expression(text: bytes, start: int) -> Expr:
    """The expression that `text`, found at offset `start`, is."""
    lowering = _Lowering(start - len(b"void f(){"))
    lowering.node("entry")
    root = parse(b"void f(){" + dialect.plain_body(text) + b";}")
    statements = _descend(root, "expression_statement")
    inner = [c for c in statements[0].named_children if c.type != "comment"] if statements else []
    return lowering.expr(inner[0]) if inner else Expr(start, start + len(text))


def fields(text: bytes) -> dict[str, CType]:
    """The members of the struct or union whose braces and contents are `text`, anonymous inner structs included.

    A named inner struct without a tag has the base "struct" and its members are listed as `name.member`.
    """
    root = parse(b"struct x" + dialect.blank_annotations(b"".join(dialect.variants(text)[:1])) + b";")
    lists = [n for n in _descend(root, "field_declaration_list")]
    return _members(lists[0], "") if lists else {}


def _members(node: tree_sitter.Node, prefix: str) -> dict[str, CType]:
    result: dict[str, CType] = {}
    for child in node.named_children:
        if child.type.startswith("preproc_"):
            result |= _members(child, prefix)
        if child.type != "field_declaration":
            continue
        kind = child.child_by_field_name("type")
        inner = kind.child_by_field_name("body") if kind is not None else None
        declarators = child.children_by_field_name("declarator")
        for one in declarators:
            name, pointers, function = declarator(one)
            if name is None:
                continue
            label = prefix + _text(name)
            result[label] = CType("fn" if function else type_text(kind), pointers)
            if inner is not None:
                result |= _members(inner, label + ".")
        if inner is not None and not declarators:
            result |= _members(inner, prefix)
    return result
