# SPDX-License-Identifier: GPL-2.0-only
"""The syntax layer: the kernel's dialect, what stands at the top level, control flow, and that no byte moves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmamigrate.errors import SourceError
from dmamigrate.syntax import dialect
from dmamigrate.syntax.expr import Assign, Binary, Call, Expr, Name, walk
from dmamigrate.syntax.functions import Function
from dmamigrate.syntax.items import items
from dmamigrate.syntax.parts import expression
from dmamigrate.syntax.prefilter import Words
from dmamigrate.syntax.source import Source, blank, read
from dmamigrate.syntax.unit import Unit


def unit(code: str | bytes) -> Unit:
    return Unit(Source("driver.c", code if isinstance(code, bytes) else code.encode()))


def only_function(code: str) -> Function:
    made = unit(code)
    (item,) = [i for i in made.items if i.kind == "function"]
    return made.function(item)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("void __iomem *p = x; struct foo __rcu **q;", id="annotated pointers"),
        pytest.param("u32 __maybe_unused x = 3;", id="annotation before a name"),
        pytest.param("struct foo *p __free(kfree) = NULL;", id="cleanup attribute"),
        pytest.param("int x __attribute__((aligned(8), unused)) = 3;", id="attribute"),
        pytest.param("list_for_each_entry(pos, &head, member) { use(pos); }", id="loop macro with a block"),
        pytest.param("for_each_set_bit(i, &mask, 32)\n\t\tuse(i);", id="loop macro with a statement"),
        pytest.param("for_each_sg(sgl, sg, n, i)\n\t\tfor_each_x(y) {\n use(sg); }", id="nested loop macros"),
        pytest.param("scoped_guard(mutex, &lock) { use(); }", id="scope guard"),
        pytest.param("p = container_of(q, struct foo, member);", id="type as a macro argument"),
        pytest.param("x = min_t(unsigned int, a, b);", id="two-word type as an argument"),
        pytest.param("x = va_arg(args, struct foo *);", id="pointer type as an argument"),
        pytest.param("x = offsetof(struct foo, a.b[3]) + offsetofend(struct foo, c);", id="offsetof a path"),
        pytest.param("size_t x = ALIGN(n, __alignof__(*p->q));", id="alignof an expression"),
        pytest.param("typeof(*p) *q = r; __typeof__(x) y;", id="typeof an expression"),
        pytest.param("auto x = f(); __auto_type y = g();", id="auto"),
        pytest.param("switch (x) { case 1 ... 3: a(); fallthrough; default: b(); }", id="case range"),
        pytest.param('printk(KERN_ERR MODULE_NAME "text %d\\n", x);', id="two macros before a string"),
        pytest.param("if (flag(tp, 5705_PLUS)) x = 1;", id="half of a pasted name"),
        pytest.param("DECLARE_THING(x)\n\tuse(x);", id="macro call without a semicolon"),
        pytest.param("x = ({ int t = f(); t + 1; });", id="statement expression"),
        pytest.param("foo(a,\n#ifdef X\n b);\n#else\n c);\n#endif\n", id="#if inside a call"),
        pytest.param("if (a)\n x();\n#ifdef Y\n else\n y();\n#endif\n z();", id="#if around an else"),
        pytest.param("#ifdef X\n if (a) {\n#else\n if (b) {\n#endif\n x(); }", id="#if that opens a block twice"),
        pytest.param("struct foo f = { .a = 1,\n#ifdef X\n .b = 2,\n#endif\n };", id="#if inside an initialiser"),
        pytest.param("out:\n\treturn;", id="label at the end"),
        pytest.param("u64 x = (u64)(a) + (u64)(u32)(b);", id="casts that look like calls"),
    ],
)
def test_the_kernels_dialect_parses_without_an_error(body: str) -> None:
    assert only_function(f"static int __init f(struct foo __user *p) __must_hold(&l)\n{{\n\t{body}\n}}\n").clean


def test_a_cast_is_not_taken_for_a_call() -> None:
    fn = only_function("void f(void) { x = (u64)(u32)(b); }")
    assert fn.calls == ()


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("(u64)*p", "(unsigned long)(*p)"),
        ("(u64)(u32)*p", "(unsigned long)((unsigned int)(*p))"),
        ("a + (dma_addr_t)*p", "a + ((unsigned long)(*p))"),
        ("(u64)&x + y", "((unsigned long)(&x)) + y"),
        ("a == (u64)&x + y", "a == (((unsigned long)(&x)) + y)"),
        ("(size_t)-n", "(unsigned long)(-n)"),
        ("a + (PAGE_SIZE) * n", "a + PAGE_SIZE * n"),
        ("(n_t) * n", "(unsigned long)(*n)"),
    ],
)
def test_a_cast_of_what_begins_like_an_operator_is_one(written: str, plain: str) -> None:
    def shape(expr: Expr) -> object:
        word = getattr(expr, "op", "") or getattr(expr, "text", "")
        return type(expr).__name__, word, tuple(map(shape, expr.parts))

    one, other = (expression(text.encode(), 0) for text in (written, plain))
    assert shape(one) == shape(other)


def test_a_variable_in_parentheses_is_no_type() -> None:
    fn = only_function("void f(int n_t, int x) { x = (n_t) * x; }")
    assert [
        part.op for node in fn.nodes for part in (walk(node.expr) if node.expr else ()) if isinstance(part, Binary)
    ] == ["*"]


def test_what_does_not_parse_is_said_of_that_function_alone() -> None:
    made = unit("void good(void) { a(); }\nvoid bad(void) { @@ b( }\nvoid also(void) { c(); }\n")
    assert [(i.name, made.function(i).clean) for i in made.items] == [("good", True), ("bad", False), ("also", True)]


def test_a_call_beside_an_error_is_still_found() -> None:
    fn = only_function("void bad(void) { int = ; dma_map_resource(d, p, s, r, 0); }")
    assert not fn.clean
    assert [call.name for _, call in fn.calls] == ["dma_map_resource"]


@given(st.binary(max_size=300))
def test_blanking_moves_no_byte(data: bytes) -> None:
    source = Source("x.c", data)
    assert len(blank(data)) == len(source.blanked) == len(source.code) == len(data)


_PIECES = st.sampled_from(
    ["{", "}", "(", ")", ";", "\n", "#if A\n", "#else\n", "#endif\n", "for_each_x(a, b)", " __iomem ", "struct foo *",
    ",", "x", "=",
     "container_of(p, struct t, m)", '"text"', "/* c */", "case 1 ... 3:", "typeof(x)", "scoped_guard(m) {", "\\\n",
     "__free(x)"]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=40))
def test_the_dialect_moves_no_byte_and_survives_any_nonsense(pieces: list[str]) -> None:
    text = "".join(pieces).encode()
    assert all(len(dialect.plain_body(one)) == len(text) for one in dialect.variants(text))
    made = unit(b"void f(void)\n{\n" + text + b"\n}\n")
    for item in made.items:
        if item.kind == "function":
            assert made.function(item).nodes


@pytest.mark.parametrize(
    ("code", "names"),
    [
        pytest.param("int f(void)\r\n{\r\n\treturn 0;\r\n}\r\n", ["f"], id="CRLF"),
        pytest.param("\ufeffint f(void) { return 0; }", ["f"], id="byte order mark"),
        pytest.param("int f(void) { return 0;\n\nint g(void)\n{\n}\n", ["f", "g"], id="unterminated function"),
        pytest.param(
            "#ifdef A\nint f(int a)\n#else\nint f(int b)\n#endif\n{\n}\nint g(void) { }", ["f", "g"], id="two heads"
        ),
        pytest.param(
            "#ifdef A\nint f(void) {\n#else\nint f(int x) {\n#endif\n}\nint g(void)\n{\n}\n",
            ["f", "g"],
            id="two openings",
        ),
        pytest.param(
            "static DEFINE_MUTEX(m);\nint (*fp)(int);\nint f(void) { }", ["f"], id="declarations are no functions"
        ),
        pytest.param("#if 0\nint f(void) { }\n#endif\nint g(void) { }", ["g"], id="dead code"),
        pytest.param("#define M() { int x; }\nint f(void) { }", ["f"], id="a macro's braces"),
    ],
)
def test_functions_are_found(code: str, names: list[str]) -> None:
    assert [item.name for item in items(Source("x.c", code.encode())) if item.kind == "function"] == names


def test_latin_1_is_read() -> None:
    made = unit("int f(void) { /* caf\xe9 */ return g(); }".encode("latin-1"))
    assert [i.name for i in made.items] == ["f"]


def test_nul_bytes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.c").write_bytes(b"int x;\0")
    with pytest.raises(SourceError, match="NUL"):
        read(tmp_path / "x.c", "x.c")


def test_lines_and_columns_count_from_one() -> None:
    source = Source("x.c", b"ab\n\tcd\n")
    assert (source.line(0), source.column(0)) == (1, 1)
    assert (source.line(4), source.column(4)) == (2, 2)
    assert source.line_text(2) == "\tcd"


def test_a_shadowing_local_is_another_variable() -> None:
    fn = only_function("void f(void) { int x = 1; { int x = 2; use(x); } use(x); }")
    used = [part.variable for _, call in fn.calls if call.name == "use" for part in call.args if isinstance(part, Name)]
    assert len(used) == len(set(used)) == 2


def _paths(fn: Function) -> set[tuple[str, ...]]:
    """The calls on each way from entry to exit, loops taken once at most."""
    found: set[tuple[str, ...]] = set()

    def go(index: int, calls: tuple[str, ...], seen: tuple[int, ...]) -> None:
        node = fn.nodes[index]
        names = tuple(e.name for e in walk(node.expr) if isinstance(e, Call)) if node.expr else ()
        if index == 1:
            found.add(calls)
            return
        for edge in node.edges:
            if seen.count(edge.to) < 2:
                go(edge.to, calls + names, (*seen, edge.to))

    go(0, (), (0,))
    return found


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        pytest.param("a(); b();", {("a", "b")}, id="straight"),
        pytest.param("if (x) a(); else b(); c();", {("a", "c"), ("b", "c")}, id="if and else"),
        pytest.param("if (x) return; a();", {(), ("a",)}, id="early return"),
        pytest.param("if (x) goto out; a(); out: b();", {("b",), ("a", "b")}, id="goto"),
        pytest.param("do { a(); } while (0); b();", {("a", "b")}, id="do once"),
        pytest.param(
            "switch (x) { case 1: a(); case 2: b(); break; default: c(); }",
            {("a", "b"), ("b",), ("c",)},
            id="fallthrough",
        ),
        pytest.param("switch (x) { case 1: a(); }", {("a",), ()}, id="switch without a default"),
        pytest.param("for (;;) { if (x) break; a(); }", {(), ("a",)}, id="endless loop with a break"),
        pytest.param("while (x) { if (y) continue; a(); }", {(), ("a",)}, id="continue"),
        pytest.param("#ifdef X\n a();\n#else\n b();\n#endif\n", {("a",), ("b",)}, id="both sides of #if"),
        pytest.param("#ifdef X\n a();\n#endif\n b();", {("a", "b"), ("b",)}, id="#if without #else"),
        pytest.param("if (x && y) a();", {("a",), ()}, id="and"),
    ],
)
def test_control_flow(body: str, paths: set[tuple[str, ...]]) -> None:
    found = {p for p in _paths(only_function(f"void f(void)\n{{\n{body}\n}}\n")) if not any(p.count(c) > 1 for c in p)}
    assert found == paths


def test_a_macro_is_read_as_a_function() -> None:
    (macro,) = unit("#define window(x, n) \\\n\t(base((x)->pdev) + (n))\n").macros("window")
    assert [v.name for v in macro.params] == ["x", "n"]
    assert [call.name for _, call in macro.calls] == ["base"]


def test_members_of_a_struct_with_anonymous_and_inner_parts() -> None:
    fields = unit("struct s { int a; union { u8 b; struct { u16 c; } d; }; struct t *e[4]; } __packed;").fields("s")
    assert fields is not None
    assert set(fields) == {"a", "b", "d", "d.c", "e"}
    assert (fields["e"].base, fields["e"].pointers) == ("struct t", 2)


def test_assignments_keep_their_places() -> None:
    code = "void f(void)\n{\n\tfoo = __bar(struct x, y);\n}\n"
    fn = only_function(code)
    (assign,) = [e for n in fn.nodes if n.expr for e in walk(n.expr) if isinstance(e, Assign)]
    assert code[assign.start : assign.end] == "foo = __bar(struct x, y)"


@pytest.mark.parametrize(
    "behind",
    [
        pytest.param("x" * 64 + "(void) { return; }", id="a long name"),
        pytest.param("  a   ,  b [ 3 ]  " * 64 + "{ return; }", id="many names"),
        pytest.param("__x" * 64 + "(1) fx = { 0 }", id="an annotation that nobody knows"),
    ],
)
def test_a_type_without_its_semicolon_is_read_in_time(behind: str) -> None:
    """A pattern that tries every way to cut a word in pieces never ends here."""
    unit = Unit(Source("f.c", f"struct fx {{ int a; }}\n{behind}\nint g(void);\n".encode()))
    assert list(unit.fields("fx") or ()) == ["a"]
    assert unit.typedef("fx") is None


WORD = st.text("abp_", min_size=1, max_size=8).map(lambda word: f"x{word}")


@given(
    st.lists(WORD, min_size=1, max_size=12), st.lists(st.one_of(WORD, st.sampled_from([" ", "(", "x"])), max_size=12)
)
def test_words_are_found_by_their_pieces_where_a_pattern_finds_them(words: list[str], text: list[str]) -> None:
    data = "".join(text).encode()
    pattern = re.compile(rb"\b(?:" + b"|".join(re.escape(word.encode()) for word in words) + rb")\b")
    assert Words(words).in_(data) is (pattern.search(data) is not None)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(
            "int n;\ndma_addr_t map(d, x, n)\n\tstruct d *d;\n\tphys_addr_t x;\n{\n\treturn x;\n}\n",
            [("d", "struct d", 1), ("x", "phys_addr_t", 0), ("n", "int", 0)],
            id="in the old style, one without a type",
        ),
        pytest.param(
            "struct d;\nstatic map(x, d) phys_addr_t x, y[2]; struct d *d; { return x; }\n",
            [("x", "phys_addr_t", 0), ("d", "struct d", 1)],
            id="in the old style on one line, declared in another order",
        ),
        pytest.param(
            "int map(struct d *d, phys_addr_t x)\n{\n\treturn x;\n}\n",
            [("d", "struct d", 1), ("x", "phys_addr_t", 0)],
            id="a prototype",
        ),
    ],
)
def test_parameters(text: str, told: list[tuple[str, str, int]]) -> None:
    (fn,) = Unit(Source("a.c", text.encode())).functions("map")
    placed = sorted((one for one in fn.variables if one.position >= 0), key=lambda one: one.position)
    assert [(one.name, one.type.base, one.type.pointers) for one in placed] == told
    returned = next(node.expr for node in fn.nodes if node.kind == "return")
    assert returned is not None
    assert text[returned.start : returned.end] == "x"
