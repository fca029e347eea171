# SPDX-License-Identifier: GPL-2.0-only
"""Ways to set a value: followed, or the reason for a doubt, never overlooked; and the same value however it is
written.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dmamigrate.findings import Finding, Report
from dmamigrate.program.queries import Budget, Queries, Stop
from dmamigrate.values.constants import Constants, Word, combined, number_of

HEAD = """\
#include <linux/dma-mapping.h>
#include <linux/pci.h>

struct win { u64 phys; u64 len; };
struct other { u64 addr; u64 len; };
struct fx {
	struct device *dev; struct pci_dev *pdev; void *buf; u64 base; struct win win; union { u64 first; u64 second; };
	union { struct { u32 lo; u64 deep; } in; u64 whole; } u; struct win *behind; dma_addr_t at;
    int n; unsigned long flags;
};

static void fx_bar(struct fx *f) { %s = pci_resource_start(f->pdev, 0); }

"""
MAP = """
int fx_map(struct fx *f)
{
	f->at = dma_map_resource(f->dev, %s, 64, DMA_TO_DEVICE, 0);
	return dma_mapping_error(f->dev, f->at);
}

void fx_unmap(struct fx *f) { dma_unmap_resource(f->dev, f->at, 64, DMA_TO_DEVICE, 0); }
"""
RAM = "virt_to_phys(f->buf)"


def _maps(report: Report) -> list[Finding]:
    return [f for f in report.findings if f.callee == "dma_map_resource" and f.rule.startswith("map-resource")]


# what holds the address, and a second way in which it is set to system memory
SET = [
    pytest.param(
        "f->base",
        "#define fx_set(x, v) ((x)->base = (v))\nvoid s(struct fx *f) { fx_set(f, %s); }",
        id="a macro of the driver's own",
    ),
    pytest.param(
        "f->base",
        "#define fx_set(x, v) do { (x)->base = (v); } while (0)\nvoid s(struct fx *f) { fx_set(f, %s); }",
        id="a macro that is a statement",
    ),
    pytest.param("f->first", "void s(struct fx *f) { f->second = %s; }", id="the other member of an anonymous union"),
    pytest.param(
        "f->u.whole", "void s(struct fx *f) { f->u.in.deep = %s; }", id="a member of a struct in a named union"
    ),
    pytest.param(
        "f->win.phys", "void s(struct fx *f) { f->win = (struct win){ %s, 64 }; }", id="a compound literal by position"
    ),
    pytest.param(
        "f->win.phys",
        "void s(struct fx *f) { f->win = (struct win){ .len = 64, .phys = %s }; }",
        id="a compound literal by name",
    ),
    pytest.param(
        "f->win.phys", "void s(struct fx *f) { struct win w; w.phys = %s; f->win = w; }", id="a struct assigned whole"
    ),
    pytest.param(
        "f->win.phys",
        "void s(struct fx *f, struct win *w) { w->phys = %s; memcpy(&f->win, w, sizeof(*w)); }",
        id="memcpy() of the same type",
    ),
    pytest.param(
        "f->win.phys",
        "void s(struct fx *f) { struct other o; o.addr = %s; memcpy(&f->win, &o, sizeof(o)); }",
        id="memcpy() of another type",
    ),
    pytest.param(
        "f->win.phys",
        "void s(struct fx *f, void __user *p) { copy_from_user(&f->win, p, sizeof(f->win)); }",
        id="copy_from_user()",
    ),
    pytest.param(
        "f->behind->phys",
        "void s(struct fx *f) { struct other o; o.addr = %s; memcpy(f->behind, &o, sizeof(o)); }",
        id="memcpy() to what a member points to",
    ),
    pytest.param(
        "f->behind->phys",
        "void s(struct fx *f) { struct win w; w.phys = %s; *f->behind = w; }",
        id="a store through a member that points to the struct",
    ),
    pytest.param(
        "f->win.phys",
        "void s(struct fx *f) { struct win *a, *b = &f->win; struct win w; w.phys = %s; a = b; *b = w; }",
        id="a store through the second pointer of a declaration",
    ),
    pytest.param(
        "f->win.phys",
        "struct win fx_make(struct fx *f);\nvoid s(struct fx *f) { f->win = fx_make(f); }",
        id="a struct that a call returns",
    ),
    pytest.param(
        "f->win.phys", "void s(struct fx *f) { f->win . phys /* RAM */ = %s; }", id="a store behind a comment"
    ),
    pytest.param("f->base", "void s(struct fx *f) { xchg(&f->base, %s); }", id="xchg()"),
    pytest.param("f->base", "void s(struct fx *f) { cmpxchg(&f->base, 0, %s); }", id="cmpxchg()"),
    pytest.param("f->base", "void s(struct fx *f) { WRITE_ONCE(f->base, %s); }", id="WRITE_ONCE()"),
    pytest.param("f->base", "void s(struct fx *f) { f->n && (f->base = %s); }", id="a store behind &&"),
    pytest.param("f->base", "void s(struct fx *f) { f->n ? (f->base = %s) : 0; }", id="a store in an arm of ?:"),
    pytest.param("f->base", "void s(struct fx *f) { f->n = 1, f->base = %s; }", id="a store behind a comma"),
    pytest.param("f->base", "void s(struct fx *f) { u64 *p = &f->base; *p = %s; }", id="a pointer that escapes"),
    pytest.param(
        "f->base",
        "void t(u64 *p, struct fx *f) { *p = %s; }\nvoid s(struct fx *f) { t(&f->base, f); }",
        id="a callee through a pointer",
    ),
]


@pytest.mark.parametrize(("place", "way"), SET)
def test_a_second_way_is_never_overlooked(place: str, way: str, scan_text: Callable[[str], Report]) -> None:
    code = HEAD % place + (way % RAM if "%s" in way else way) + MAP % place
    findings = _maps(scan_text(code))
    assert findings
    assert not any(f.origin is not None and f.origin.certain for f in findings)


@pytest.mark.parametrize(("place", "way"), SET)
def test_where_the_second_way_sets_the_same_kind_the_bar_is_found(
    place: str, way: str, scan_text: Callable[[str], Report]
) -> None:
    code = HEAD % place + (way % "pci_resource_start(f->pdev, 1)" if "%s" in way else way) + MAP % place
    assert "map-resource-bar" in [f.rule for f in _maps(scan_text(code))]


IN_ONE = """
int fx_go(struct fx *f, struct fx *g)
{
	u64 where = pci_resource_start(f->pdev, 0);

	%s
	f->at = dma_map_resource(f->dev, %s, 64, DMA_TO_DEVICE, 0);
	if (dma_mapping_error(f->dev, f->at))
		return -EIO;
	dma_unmap_resource(f->dev, f->at, 64, DMA_TO_DEVICE, 0);
	return 0;
}
"""


@pytest.mark.parametrize(
    ("before", "used"),
    [
        pytest.param("f->n && (where = %s);", "where", id="a store behind && in the function"),
        pytest.param("if (f->n || (where = %s)) return 0;", "where", id="a store behind || in a condition"),
        pytest.param("f->base = where; g->base = %s;", "f->base", id="two parameters that may be one object"),
        pytest.param("where = where + (%s - where);", "where", id="a difference that turns one into the other"),
        pytest.param("where = where + %s;", "where", id="a sum of two addresses"),
        pytest.param('asm volatile("" : "=r" (where));', "where", id="inline assembly"),
    ],
)
def test_what_may_have_changed_is_no_certain_bar(before: str, used: str, scan_text: Callable[[str], Report]) -> None:
    code = HEAD % "f->u.whole" + IN_ONE % (before % RAM if "%s" in before else before, used)
    for found in _maps(scan_text(code)):
        assert found.origin is not None
        assert not (found.origin.certain and "pci-bar" in found.origin.kinds)


TWO = """
int fx_map(struct fx *f)
{{
	{setup}
	f->at = dma_map_phys(f->dev, pci_resource_start(f->pdev, 0), {size}, {dir}, {attrs});
	return dma_mapping_error(f->dev, f->at);
}}

void fx_unmap(struct fx *f) {{ {end} dma_unmap_phys(f->dev, f->at, {size2}, {dir2}, {attrs2}); }}
"""
SAME = {"setup": "", "end": "", "size": "64", "size2": "64", "dir": "DMA_TO_DEVICE", "dir2": "DMA_TO_DEVICE"}
MMIO = "DMA_ATTR_MMIO"


@pytest.mark.parametrize(
    ("rule", "spelled"),
    [
        pytest.param("unmap-attrs-mismatch", {"attrs": MMIO, "attrs2": "0"}, id="attributes: literals"),
        pytest.param(
            "unmap-attrs-mismatch",
            {"attrs": "f->flags", "attrs2": "0", "setup": f"f->flags = {MMIO};"},
            id="attributes: a member called flags",
        ),
        pytest.param(
            "unmap-attrs-mismatch",
            {"attrs": MMIO, "attrs2": f"a & ~{MMIO}", "end": f"unsigned long a = {MMIO};"},
            id="attributes: masked away in place",
        ),
        pytest.param(
            "unmap-attrs-mismatch",
            {"attrs": MMIO, "attrs2": "a", "end": f"unsigned long a = {MMIO}; a &= ~{MMIO};"},
            id="attributes: masked away before",
        ),
        pytest.param(
            "unmap-dir-mismatch", {"attrs": MMIO, "attrs2": MMIO, "dir2": "DMA_FROM_DEVICE"}, id="direction: literals"
        ),
        pytest.param(
            "unmap-dir-mismatch",
            {"attrs": MMIO, "attrs2": MMIO, "dir2": "d", "end": "int d = DMA_FROM_DEVICE;"},
            id="direction: a local",
        ),
        pytest.param(
            "unmap-dir-mismatch",
            {"attrs": MMIO, "attrs2": MMIO, "dir": "f->n", "dir2": "DMA_FROM_DEVICE", "setup": "f->n = DMA_TO_DEVICE;"},
            id="direction: a member",
        ),
        pytest.param("unmap-size-mismatch", {"attrs": MMIO, "attrs2": MMIO, "size2": "0101"}, id="size: octal"),
        pytest.param(
            "unmap-size-mismatch",
            {"attrs": MMIO, "attrs2": MMIO, "size2": "n", "end": "int n = SZ_4K;"},
            id="size: a named one in a local",
        ),
    ],
)
def test_a_disagreement_is_found_however_it_is_written(
    rule: str, spelled: dict[str, str], scan_text: Callable[[str], Report]
) -> None:
    report = scan_text(HEAD % "f->base" + TWO.format(**SAME | spelled))
    assert rule in [f.rule for f in report.findings]


@pytest.mark.parametrize(
    "spelled",
    [
        pytest.param({"attrs": MMIO, "attrs2": f"{MMIO} | 0"}, id="attributes with a zero"),
        pytest.param(
            {"attrs": MMIO, "attrs2": MMIO, "size": "SZ_4K", "size2": "0x1000"}, id="a size by name and by number"
        ),
        pytest.param({"attrs": MMIO, "attrs2": MMIO, "size2": "32 * 2"}, id="a size that is computed"),
        pytest.param(
            {"attrs": MMIO, "attrs2": MMIO, "dir2": "d", "end": "int d = DMA_TO_DEVICE;"}, id="a direction in a local"
        ),
        pytest.param(
            {"attrs": "a", "attrs2": MMIO, "setup": f"unsigned long a = 0; if (f->n) a = {MMIO}; else a = {MMIO};"},
            id="both arms the same",
        ),
    ],
)
def test_what_agrees_is_left_alone(spelled: dict[str, str], scan_text: Callable[[str], Report]) -> None:
    report = scan_text(HEAD % "f->base" + TWO.format(**SAME | spelled))
    assert [f.rule for f in report.findings if f.rule.startswith("unmap-")] == []


# ---- the memo


class _Sum:
    """Answers that are sets of names; a question inside itself adds nothing."""

    nothing: frozenset[str] = frozenset()

    @staticmethod
    def unknown(stop: Stop) -> frozenset[str]:
        return frozenset({stop.reason})

    @staticmethod
    def dead_end(answer: frozenset[str]) -> bool:
        return not answer


def _ask(
    queries: Queries, graph: dict[str, list[str]], name: str, counted: list[str], depth: int = 0
) -> frozenset[str]:
    def answer() -> frozenset[str]:
        counted.append(name)
        return frozenset({name}).union(*(_ask(queries, graph, to, counted, depth + 1) for to in graph[name]))

    return queries.ask(_Sum(), (name,), depth, answer)


def test_an_answer_that_lacks_a_question_is_not_used_outside_of_it() -> None:
    graph = {"a": ["b"], "b": ["a"]}
    queries, counted = Queries(Budget(), lambda: 0), list[str]()
    assert queries.begin(lambda: _ask(queries, graph, "a", counted)) == {"a", "b"}
    # b was answered inside of a, and without it
    assert queries.begin(lambda: _ask(queries, graph, "b", counted)) == {"a", "b"}


def test_an_answer_that_lacks_nothing_is_computed_once() -> None:
    graph = {"a": ["c"], "b": ["c"], "c": []}
    queries, counted = Queries(Budget(), lambda: 0), list[str]()
    for name in ("a", "b", "a"):
        queries.begin(lambda name=name: _ask(queries, graph, name, counted))  # type: ignore[misc]
    assert counted == ["a", "c", "b"]


def test_an_answer_that_was_cut_short_says_so_and_is_asked_again() -> None:
    graph = {"a": ["b"], "b": ["c"], "c": []}
    queries, counted = Queries(Budget(depth=1), lambda: 0), list[str]()
    said = queries.begin(lambda: _ask(queries, graph, "a", counted))
    assert any("gave up after 1 nested steps" in one for one in said)
    assert queries.begin(lambda: _ask(queries, graph, "b", counted)) == {"b", "c"}


# ---- words


@pytest.mark.parametrize(
    ("op", "one", "other", "made"),
    [
        pytest.param(
            "|", Word(names=frozenset("A")), Word(names=frozenset("B")), Word(names=frozenset("AB")), id="two flags"
        ),
        pytest.param(
            "&",
            Word(names=frozenset("AB")),
            Word(names=frozenset("B"), inverted=True),
            Word(names=frozenset("A")),
            id="one taken away",
        ),
        pytest.param("&", Word(3), Word(names=frozenset("B")), None, id="a number may share a bit with a flag"),
        pytest.param("+", Word(1, unit="PAGE_SIZE"), Word(2, unit="PAGE_SIZE"), Word(3, unit="PAGE_SIZE"), id="pages"),
        pytest.param("+", Word(1, unit="PAGE_SIZE"), Word(2), None, id="pages and bytes"),
        pytest.param("*", Word(2), Word(1, unit="PAGE_SIZE"), Word(2, unit="PAGE_SIZE"), id="so many pages"),
        pytest.param("<<", Word(1), Word(12), Word(4096), id="a shift"),
        pytest.param("<<", Word(1), Word(1, unit="PAGE_SHIFT"), None, id="a shift by what is not known"),
    ],
)
def test_what_an_operator_makes_of_two_words(op: str, one: Word, other: Word, made: Word | None) -> None:
    assert combined(op, one, other) == made


@pytest.mark.parametrize(("text", "value"), [("010", 8), ("0x10UL", 16), ("10ull", 10), ("NULL", 0), ('"x"', None)])
def test_a_literal_is_read_as_c_does(text: str, value: int | None) -> None:
    assert number_of(text) == value


def test_nothing_is_known_without_a_word_or_with_a_reason() -> None:
    assert not Constants().known
    assert not Constants(frozenset({Word()}), ("a loop changes it",)).known
    assert Constants(frozenset({Word()})).known


CONFIGURED = """\
#ifdef CONFIG_FX_%(name)s
%(declared)s
#else
static inline %(head)s { %(body)s }
#endif
"""


@pytest.mark.parametrize(
    ("declared", "certain"),
    [
        pytest.param("extern {};", False, id="declared, and defined where nobody looked"),
        pytest.param("{};", False, id="declared without extern"),
        pytest.param("static inline {};", True, id="a forward declaration of what stands here"),
        pytest.param("/* {}; */", True, id="named in a comment"),
    ],
)
@pytest.mark.parametrize(
    ("head", "body", "use"),
    [
        pytest.param("u64 fx_off(struct fx *f)", "return 0;", "where = f->n ? where : fx_off(f);", id="its answer"),
        pytest.param("int fx_get(struct fx *f, u64 *at)", "return -1;", "fx_get(f, &where);", id="what it fills"),
    ],
)
def test_what_a_header_has_for_a_function_that_is_configured_out_is_not_all_of_it(
    declared: str, certain: bool, head: str, body: str, use: str, tmp_path: Path, scan_folder: Callable[[Path], Report]
) -> None:
    text = CONFIGURED % {"name": "IT", "declared": declared.format(head), "head": head, "body": body}
    (tmp_path / "fx.h").write_text("struct fx;\n" + text)
    code = '#include "fx.h"\n' + HEAD % "f->base" + IN_ONE % (use, "where")
    (tmp_path / "fx.c").write_text(code)
    (found,) = _maps(scan_folder(tmp_path))
    assert found.origin is not None
    assert found.origin.certain is certain
