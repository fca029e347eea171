# SPDX-License-Identifier: GPL-2.0-only
"""The parts of a file, each parsed by itself: functions, macros, initialisers, expressions, struct members."""

from __future__ import annotations

import re

import tree_sitter

from dmamigrate.syntax import dialect
from dmamigrate.syntax.expr import Expr
from dmamigrate.syntax.functions import CType, Edge, Function, Guard, Node
from dmamigrate.syntax.grammar import declarator, descend, parse, text_of, type_text
from dmamigrate.syntax.items import Item
from dmamigrate.syntax.lower import ENTRY, EXIT, Lowering
from dmamigrate.syntax.source import Source

_FUNCTION = b"void f()"


_OLD_STYLE = b"void f() {"


def _old_style(lowering: Lowering, text: bytes, end: int, start: int) -> None:
    """The parameters of a function in the old style: their names, up to `end` of `text`, then their declarations."""
    shift = start + end + 1 - len(_OLD_STYLE)
    kinds: dict[str, tuple[CType, int]] = {}
    for one in descend(parse(_OLD_STYLE + text[end + 1 :] + b"}"), "declaration"):
        base = type_text(one.child_by_field_name("type"))
        for inner in one.children_by_field_name("declarator"):
            name, pointers, function = declarator(inner)
            if name is not None:
                kinds[text_of(name)] = CType("fn" if function else base, pointers), name.start_byte + shift
    for position, label in enumerate(re.findall(rb"\w+", text[:end])):
        kind, at = kinds.get(label.decode(), (CType("int"), start))
        lowering.declare(label.decode(), kind, at, position)


def _parameters(lowering: Lowering, source: Source, item: Item) -> None:
    text = dialect.blank_annotations(source.code[item.params : item.body]).replace(b"#", b" ")
    end = dialect.closing(text, 0)
    if text.rstrip().endswith(b";"):
        _old_style(lowering, text, end, item.params)
        return
    root = parse(b"void f" + text[: end + 1] + b";")
    shift = item.params - len(b"void f")
    lists = descend(root, "parameter_list")
    position = 0
    for child in lists[0].named_children if lists else ():
        if child.type != "parameter_declaration":
            continue
        inner = child.child_by_field_name("declarator")
        name, pointers, function = declarator(inner) if inner is not None else (None, 0, False)
        base = type_text(child.child_by_field_name("type"))
        if base == "void" and inner is None:
            continue
        label = text_of(name) if name is not None else ""
        start = (name or child).start_byte + shift
        lowering.declare(label, CType("fn" if function else base, pointers), start, position)
        position += 1


def _return_type(source: Source, item: Item) -> CType:
    words = dialect.blank_annotations(source.code[item.head : item.params]).decode("latin-1")
    words = " ".join(line for line in words.splitlines() if not line.lstrip().startswith("#"))
    parts = words.replace("*", " * ").split()[:-1]
    pointers = parts.count("*")
    kept = [
        p for p in parts if p not in ("*", "static", "inline", "const", "extern", "volatile", "__inline__", "__inline")
    ]
    return CType(
        " ".join(kept[-2:])
        if len(kept) > 1 and kept[-2] in ("struct", "union", "enum")
        else (kept[-1] if kept else "int"),
        pointers,
    )


def _finish(lowering: Lowering) -> tuple[Node, ...]:
    for index, label in lowering.gotos:
        lowering.edges[index].append(Edge(lowering.labels.get(label, EXIT)))
    return tuple(
        Node(node.kind, node.expr, tuple(edges), node.variable)
        for node, edges in zip(lowering.nodes, lowering.edges, strict=True)
    )


def _body(lowering: Lowering, text: bytes, start: int) -> bool:
    """Lower a body's variants; whether all parsed without an error."""
    clean = True
    entry_scope = lowering.scopes
    loose: list[tuple[int, Guard | None]] = []
    for variant in dialect.variants(text):
        root = parse(_FUNCTION + dialect.plain_body(variant))
        clean = clean and not root.has_error
        lowering.shift = start - len(_FUNCTION)
        lowering.raw = _FUNCTION + variant
        lowering.open = [(ENTRY, None)]
        lowering.scopes = [dict(scope) for scope in entry_scope]
        lowering.labels, gotos, lowering.gotos = {}, lowering.gotos, []
        for child in root.named_children:
            body = child.child_by_field_name("body") if child.type == "function_definition" else None
            lowering.statement(body if body is not None else child)
        for index, label in lowering.gotos:
            lowering.edges[index].append(Edge(lowering.labels.get(label, EXIT)))
        lowering.gotos = gotos
        loose += lowering.open
    for index, guard in loose:
        lowering.edges[index].append(Edge(EXIT, guard))
    lowering.open = []
    return clean


def function(source: Source, item: Item) -> Function:
    """Parse and lower the function that `item` found in `source`."""
    lowering = Lowering(0)
    lowering.node("entry")
    lowering.open = []
    lowering.node("exit")
    _parameters(lowering, source, item)
    clean = _body(lowering, source.code[item.body : item.end], item.body)
    head = source.code[item.head : item.params]
    return Function(
        item.name, source, item.head, item.end, _return_type(source, item), tuple(lowering.variables),
        _finish(lowering),
        b"static" in head.split() or b"inline" in head.split(), clean,
    )  # fmt: skip


def macro(source: Source, name: str, params: tuple[str, ...], start: int, end: int) -> Function:
    """A #define's body, from `start` to `end`, as a function whose parameters are the macro's."""
    lowering = Lowering(0)
    lowering.node("entry")
    lowering.open = []
    lowering.node("exit")
    for position, param in enumerate(params):
        lowering.declare(param, CType(""), start, position)
    body = (
        source.blanked[start:end]
        .replace(b"\\\n", b"  ")
        .replace(b"##", b"  ")
        .replace(b"\\ \n", b"   ")
        .replace(b"\n", b" ")
    )
    stripped = body.strip()
    # an expression needs an end that the macro's user writes; the braces must keep the length
    text = b"{" + body + (b";}" if stripped[-1:] not in (b";", b"}") or stripped.endswith(b"})") else b"}")
    clean = _body(lowering, text, start - 1)
    return Function(
        name, source, start, end, CType(""), tuple(lowering.variables), _finish(lowering), True, clean, macro=True
    )


def initial_value(source: Source, item: Item) -> Expr:
    """The initialiser of a top-level variable."""
    lowering = Lowering(item.body - len(b"int x[]="))
    root = parse(
        b"int x[]=" + dialect.plain_body(b";".join(dialect.variants(source.code[item.body : item.end])[:1])) + b";"
    )
    lists = descend(root, "initializer_list")
    lowering.node("entry")
    return lowering.expr(lists[0]) if lists else Expr(item.body, item.end)


def declared(text: bytes, name: str) -> CType | None:
    """The type of the variable `name` that the declaration `text`, without its end, declares; None if it declares
    none.
    """
    root = parse(dialect.blank_annotations(text).replace(b"#", b" ") + b";")
    for child in descend(root, "declaration"):
        for one in child.children_by_field_name("declarator"):
            found, pointers, function = declarator(one)
            if found is not None and text_of(found) == name and not (function and pointers == 0):
                return CType("fn" if function else type_text(child.child_by_field_name("type")), pointers)
    return None


def expression(text: bytes, start: int) -> Expr:
    """The expression that `text`, found at offset `start`, is."""
    lowering = Lowering(start - len(b"void f(){"))
    lowering.node("entry")
    root = parse(b"void f(){" + dialect.plain_body(text) + b";}")
    statements = descend(root, "expression_statement")
    inner = [c for c in statements[0].named_children if c.type != "comment"] if statements else []
    return lowering.expr(inner[0]) if inner else Expr(start, start + len(text))


def arguments_of_call(text: bytes) -> int | None:
    """How many arguments the call has that `text`, without comments, is; None if it is anything else, or has an error
    in it.
    """
    plain = text.replace(b"\\\n", b"  ")
    root = parse(b"void f(){" + dialect.plain_body(plain) + b";}")
    statements = descend(root, "expression_statement")
    call = statements[0].named_child(0) if len(statements) == 1 else None
    if root.has_error or call is None or call.type != "call_expression":
        return None
    arguments = call.child_by_field_name("arguments")
    return sum(child.type != "comment" for child in arguments.named_children) if arguments is not None else 0


def fields(text: bytes) -> dict[str, CType]:
    """The members of the struct or union whose braces and contents are `text`, anonymous inner structs included.

    A named inner struct without a tag has the base "struct" and its members are listed as `name.member`.
    """
    root = parse(b"struct x" + dialect.plain_members(b"".join(dialect.variants(text)[:1])) + b";")
    lists = descend(root, "field_declaration_list")
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
            label = prefix + text_of(name)
            result[label] = CType("fn" if function else type_text(kind), pointers)
            if inner is not None:
                result |= _members(inner, label + ".")
        if inner is not None and not declarators:
            result |= _members(inner, prefix)
    return result


def unions(text: bytes, whole: bool) -> tuple[tuple[frozenset[str], ...], ...]:
    """The unions among the members whose braces and contents are `text`: for each the names that share its memory.

    An alternative is a set of names, more than one where it is a struct. `whole` says that the text itself is a
    union's.
    """
    root = parse(b"struct x" + dialect.blank_annotations(b"".join(dialect.variants(text)[:1])) + b";")
    lists = descend(root, "field_declaration_list")
    found: list[tuple[frozenset[str], ...]] = []
    if lists:
        _union_groups(lists[0], "", whole, found)
    return tuple(found)


def _union_groups(node: tree_sitter.Node, prefix: str, union: bool, found: list[tuple[frozenset[str], ...]]) -> None:
    alternatives: list[frozenset[str]] = []
    for child in node.named_children:
        if child.type != "field_declaration":
            continue
        alternatives.append(frozenset(_named_members(child, prefix)))
        kind = child.child_by_field_name("type")
        inner = kind.child_by_field_name("body") if kind is not None else None
        if kind is None or inner is None:
            continue
        names = [text_of(n) for d in child.children_by_field_name("declarator") if (n := declarator(d)[0]) is not None]
        for name in names or [""]:
            _union_groups(inner, f"{prefix}{name}." if name else prefix, kind.type == "union_specifier", found)
    if union:
        found.append(tuple(one for one in alternatives if one))


def _named_members(declaration: tree_sitter.Node, prefix: str) -> set[str]:
    """All names that one declaration of members makes, those of structs inside it too."""
    kind = declaration.child_by_field_name("type")
    inner = kind.child_by_field_name("body") if kind is not None else None
    names = [
        text_of(n) for d in declaration.children_by_field_name("declarator") if (n := declarator(d)[0]) is not None
    ]
    result = {prefix + name for name in names}
    for name in names or [""]:
        for child in inner.named_children if inner is not None else ():
            if child.type == "field_declaration":
                result |= _named_members(child, f"{prefix}{name}." if name else prefix)
    return result
