# SPDX-License-Identifier: GPL-2.0-only
"""Ways to set a value that are easily overlooked: each makes an answer doubtful, and its right twin does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dmamigrate.findings import Origin, Report

HEAD = """\
#include <linux/dma-mapping.h>
#include <linux/pci.h>
#include <linux/slab.h>
struct in { phys_addr_t bar; int k; };
struct fx {
	struct device *dev; struct pci_dev *pdev; phys_addr_t bar; dma_addr_t at; phys_addr_t bars[2]; struct in in;
	void *priv; phys_addr_t *ptr; struct mutex lock;
};
#define RAM virt_to_phys(kmalloc(64, GFP_KERNEL))
#define BAR pci_resource_start(f->pdev, 0)
static phys_addr_t fx_bar;
static phys_addr_t fx_bars[2];
void fx_init(struct fx *f)
{
	f->bar = BAR;
	f->bars[0] = BAR;
	f->in.bar = BAR;
	fx_bar = BAR;
	fx_bars[0] = BAR;
}
void fx_unmap(struct fx *f)
{
	dma_unmap_resource(f->dev, f->at, 64, DMA_TO_DEVICE, 0);
}
"""
MAP = """
int fx_map(struct fx *f)
{
	phys_addr_t local = BAR, locals[2] = { BAR, BAR };
	struct in own = { .bar = BAR };
	%s
	f->at = dma_map_resource(f->dev, %s, 64, DMA_TO_DEVICE, 0);
	return dma_mapping_error(f->dev, f->at);
}
"""


def _origin(report: Report) -> Origin:
    origins = (found.origin for found in report.findings if found.callee == "dma_map_resource")
    return next(origin for origin in origins if origin is not None)


def _set(body: str, before: str = "", value: str = "f->bar") -> str:
    return f"{HEAD}{before}\nvoid fx_set(struct fx *f)\n{{\n\t{body}\n}}\n{MAP % ('', value)}"


def _local(body: str, before: str = "", value: str = "local") -> str:
    return f"{HEAD}{before}{MAP % (body, value)}"


ELEMENT, OWN, GLOBAL, GLOBALS = "f->bars[0]", "own.bar", "fx_bar", "fx_bars[f->in.k]"
BY_INDEX = "static void put(phys_addr_t *p) { p[0] = RAM; }"
BY_ANY = "static void put(phys_addr_t *p, int i) { p[i] = RAM; }"
BY_STEP = "static void put(phys_addr_t *p) { *p++ = RAM; }"
BY_SUM = "static void put(phys_addr_t *p) { *(p + 1) = RAM; }"
BY_COPY = "static void put(phys_addr_t *p) { phys_addr_t *q = p; *q = RAM; }"
BY_MEMBER = "static void put(struct fx *f) { phys_addr_t *q = &f->bar; *q = RAM; }"
WHOLE = "static void put(struct in *p) { *p = (struct in){ .bar = RAM }; }"
TO = "#define SET(x) ((x) = RAM)"
NAMED = "#define SETM(f, m) ((f)->m = RAM)"

PASTED = "#define SETP(f, m) ((f)->ba##m = RAM)"
LISTED = "#define FIELDS F(bar) F(at)\nvoid fx_all(struct fx *f)\n{\n#define F(m) f->m = RAM;\n\tFIELDS\n#undef F\n}"
RETURNED = (
    "static phys_addr_t get(struct fx *f)\n{\n#define GIVE(x) return x\n\tif (f->priv)\n\t\tGIVE(RAM);\n"
    "\treturn BAR;\n}"
)
OTHER = "struct other { struct device *dev; struct pci_dev *pdev; phys_addr_t raw; };"

DOUBTFUL = [
    pytest.param(_set("SETP(f, r);", PASTED), id="a macro that makes the member's name"),
    pytest.param(_set("", LISTED), id="a macro that is handed the members of a list"),
    pytest.param(_local("", RETURNED, "get(f)"), id="a macro that returns"),
    pytest.param(
        _set("*get(f) = RAM;", "static phys_addr_t *get(struct fx *f) { return &f->bar; }"),
        id="a member whose address is returned",
    ),
    pytest.param(_set("((struct other *)f)->raw = RAM;", OTHER), id="the object seen as another struct"),
    pytest.param(_set("*((phys_addr_t *)f + 2) = RAM;"), id="the object seen as numbers"),
    pytest.param(
        _set("", "#define DEF(m) static void set_##m(struct fx *f, u64 v) { f->m = v; }\nDEF(bar)"),
        id="a macro that makes the function which sets the member",
    ),
    pytest.param(_local("FX_ADJUST(local);"), id="a statement that looks like a macro, and is nowhere defined"),
    pytest.param(_set("((f->bar)) = RAM;"), id="parentheses around a member"),
    pytest.param(_set("((*(f)).bar) = RAM;"), id="a member of a pointer that is followed"),
    pytest.param(_set("0[f].bar = RAM;"), id="an index before what it indexes"),
    pytest.param(_set("get_user(f->bar, (u64 __user *)f->priv);"), id="a macro of the kernel that sets its argument"),
    pytest.param(_set("this_cpu_write(f->bar, RAM);"), id="a variable of each CPU"),
    pytest.param(_set("SET(f->bar);", TO), id="a macro of the driver that sets its argument"),
    pytest.param(_set("SETM(f, bar);", NAMED), id="a macro that is handed the member's name"),
    pytest.param(_set("f->fx_bar_of = RAM;", "#define fx_bar_of bar"), id="a word that stands for the member"),
    pytest.param(
        _set("*(phys_addr_t *)((char *)f + offsetof(struct fx, bar)) = RAM;"), id="the member's offset"
    ),
    pytest.param(_set("typeof(f) g = f; g->bar = RAM;"), id="a variable of a type that is asked for"),
    pytest.param(_set("__auto_type g = f; g->bar = RAM;"), id="a variable without a type"),
    pytest.param(_set("", "void put(f) struct fx *f; { f->bar = RAM; }"), id="a function in the old style"),
    pytest.param(_set("", "DEFINE_FX(one, .bar = RAM);"), id="a macro that defines a variable"),
    pytest.param(_set("scoped_guard(mutex, &f->lock) f->bar = RAM;"), id="one statement under a lock"),
    pytest.param(_set("put(&f->bar);", BY_INDEX), id="a callee that stores by an index"),
    pytest.param(_set("put(&f->bar, f->in.k);", BY_ANY), id="a callee that stores by any index"),
    pytest.param(_set("put(&f->bar);", BY_STEP), id="a callee that steps on"),
    pytest.param(_set("put(&f->bar);", BY_COPY), id="a callee that copies the pointer"),
    pytest.param(_set("put(f);", BY_MEMBER), id="a callee that points to the member"),
    pytest.param(_set("put(f->bars);", BY_INDEX, ELEMENT), id="a callee that is handed the array"),
    pytest.param(_set("put(f->bars);", BY_SUM, ELEMENT), id="a callee that adds to it"),
    pytest.param(_set("someone(f->bars);", value=ELEMENT), id="a callee that nobody knows"),
    pytest.param(_set("phys_addr_t *p = f->bars; *p++ = RAM;", value=ELEMENT), id="a pointer into the array"),
    pytest.param(_set("phys_addr_t *p; p = f->bars; p[1] = RAM;", value=ELEMENT), id="one that is set later"),
    pytest.param(
        _set("*get(f) = RAM;", "static phys_addr_t *get(struct fx *f) { return f->bars; }", ELEMENT),
        id="an array that is returned",
    ),
    pytest.param(_set("(fx_bar) = RAM;", value=GLOBAL), id="parentheses around a global"),
    pytest.param(_set("WRITE_ONCE(fx_bar, RAM);", value=GLOBAL), id="a global that is written once"),
    pytest.param(_set("get_user(fx_bar, (u64 __user *)f->priv);", value=GLOBAL), id="a global from user space"),
    pytest.param(_set("SET(fx_bar);", TO, GLOBAL), id="a global that a macro sets"),
    pytest.param(_set("phys_addr_t r = RAM; swap(fx_bar, r);", value=GLOBAL), id="a global that is swapped"),
    pytest.param(_set("phys_addr_t *p = fx_bars; p[1] = RAM;", value=GLOBALS), id="a pointer into a global array"),
    pytest.param(_set("put(fx_bars);", BY_INDEX, GLOBALS), id="a global array that a callee is handed"),
    pytest.param(_local("put(&local);", BY_INDEX), id="a local by an index"),
    pytest.param(_local("put(&local, f->in.k);", BY_ANY), id="a local by any index"),
    pytest.param(_local("put(&local);", BY_STEP), id="a local by a step"),
    pytest.param(_local("put(locals);", BY_INDEX, "locals[f->in.k]"), id="a local array that a callee is handed"),
    pytest.param(_local("phys_addr_t *p = locals; p[1] = RAM;", value="locals[f->in.k]"),
    id="a pointer into a local array"),
    pytest.param(_local("put(&own);", WHOLE, OWN), id="a local struct that a callee sets whole"),
    # macros that hand on what they set, or name it themselves
    pytest.param(_set("OUT(f->bar);", TO + "\n#define OUT(x) SET(x)"), id="a macro behind a macro"),
    pytest.param(_set("OUT(f->bar);", "#define OUT(x) WRITE_ONCE(x, RAM)"), id="a macro around WRITE_ONCE()"),
    pytest.param(_set("OUT(f->bar);", "#define OUT(x) do { typeof(x) *p__ = &(x); *p__ = RAM; } while (0)"),
                 id="a macro that takes the address"),
    pytest.param(_set("OUT(f->bar);", BY_INDEX + "\n#define OUT(x) put(&(x))"), id="a macro that hands the address on"),
    pytest.param(_set("OUT(f, bar);", BY_INDEX + "\n#define OUT(f, m) put(&(f)->m)"),
    id="the address of a member it is told"),
    pytest.param(_set("RESET;", "#define RESET f->bar = RAM"), id="a macro without arguments that sets the member"),
    pytest.param(_set("smp_store_mb(f->bar, RAM);"), id="a store with a barrier"),
    pytest.param(_set("__get_user(f->bar, (u64 __user *)f->priv);"), id="an unchecked read from user space"),
    pytest.param(_set("readx_poll_timeout(readq, f->priv, f->bar, f->bar, 1, 9);"),
    id="what is polled until it is there"),
    pytest.param(_set("PUT(RAM);", "#define PUT(v) (fx_bar = (v))", GLOBAL), id="a global that a macro names"),
    pytest.param(_set("FX_ADDR = RAM;", "#define FX_ADDR fx_bar", GLOBAL), id="a word that stands for the global"),
    pytest.param(_set("", "DEVICE_ULONG_ATTR(fx, 0644, fx_bar);", GLOBAL), id="a global that sysfs shows"),
    pytest.param(_set("", 'static struct ctl_table t[] = { { "fx", &fx_bar, 8 } };', GLOBAL), id="a global in a table"),
    pytest.param(_local("RESET;", "#define RESET local = RAM"), id="a local that a macro names"),
    pytest.param(_local("OUT(local, RAM);", "#define PAIR(x, y) ((x) = (y))\n#define OUT(...) PAIR(__VA_ARGS__)"),
                 id="any number of arguments"),
    pytest.param(_local("for_each_gizmo(f, local)\n\t\tpr_info(\"x\");"), id="a loop macro that nobody knows"),
    pytest.param(_local("union { u64 whole; u64 half; } u = { .whole = BAR }; u.half = RAM;", value="u.whole"),
                 id="the other member of a local union"),
    # addresses of members that are reached through more than names
    pytest.param(_set("put(&to_fx(f)->bar);", BY_INDEX + "\nstruct fx *to_fx(void *p) { return p; }"),
    id="of what a call returns"),
    pytest.param(_set("put(&(f->bar));", BY_INDEX), id="in parentheses"),
    pytest.param(_set("put(&f->bars[f->in.k + 1]);", BY_INDEX, ELEMENT), id="of an element that is computed"),
    pytest.param(_set("{ struct in *f = NULL; f->bar = 1; } { struct fx *f = get(); f->bar = RAM; }"),
                 id="two pointers of one name"),
    pytest.param(_set("f-> /* the base */ bar = RAM;"), id="a comment behind the arrow"),
    # memory that is written as something else, or comes from elsewhere
    pytest.param(_set("struct fx *g = memdup_user(f->priv, sizeof(*g)); fx_map(g);"), id="an object from user space"),
    pytest.param(_set("char k[64]; struct fx *g = (struct fx *)&k[0]; u8 *b = f->priv; struct fx *h = (struct fx *)b;"),
                 id="bytes that are seen as an object"),
    pytest.param(_set("((struct other *)&f->in)->at = RAM;", "struct other { phys_addr_t at; };", "f->in.bar"),
                 id="a struct that is seen as another"),
    pytest.param(_set("kfifo_get(f->priv, &f->in);", value="f->in.bar"), id="an element of a fifo"),
]  # fmt: skip
CERTAIN = [
    pytest.param(_set("SETP(f, r);", PASTED.replace("ba#", "pri#")), id="a macro that makes another member's name"),
    pytest.param(_set("", LISTED.replace("F(bar)", "F(dev)")), id="a list of other members"),
    pytest.param(_local("", RETURNED.replace("GIVE(RAM)", "f->priv = NULL"), "get(f)"), id="a macro that is not used"),
    pytest.param(
        _set("*get(f) = 0;", "static dma_addr_t *get(struct fx *f) { return &f->at; }"),
        id="another member whose address is returned",
    ),
    pytest.param(_set("((struct other *)f->priv)->raw = RAM;", OTHER), id="another object seen as another struct"),
    pytest.param(
        _set("((struct inner *)f)->k = 1;", "struct inner { struct fx fx; int k; };"), id="what the object is a part of"
    ),
    pytest.param(
        _set("", "#define DEF(m) static void set_##m(struct fx *f, u64 v) { f->m = v; }\nDEF(at)"),
        id="a macro that makes the function which sets another member",
    ),
    pytest.param(_local("FX_ADJUST(f);"), id="a macro that is handed something else"),
    pytest.param(_set(""), id="nothing else sets the member"),
    pytest.param(_set("", value=ELEMENT), id="nothing else sets the array"),
    pytest.param(_set("pr_info(\"%llx\", f->bar); f->in.k = f->bar;"), id="the member is read"),
    pytest.param(_set("f->in.k = f->bars[1]; f->in.k = fx_bars[1];", value=ELEMENT), id="an element is read"),
    pytest.param(_set("f->in.k = sizeof(f->bar = RAM);"), id="what is not evaluated"),
    pytest.param(_set("SET(f->in.k);", "#define SET(x) ((x) = 1)"), id="a macro sets another member"),
    pytest.param(_set("SETM(f, ptr);", "#define SETM(f, m) ((f)->m = NULL)"), id="a macro is handed another name"),
    pytest.param(_set("put(f);", "static void put(struct fx *f) { int *q = &f->in.k; *q = 1; }"),
    id="another is pointed to"),
    pytest.param(_local("put(&local);", "static void put(phys_addr_t *p) { int k = *p; }"),
    id="a callee that only reads"),
    pytest.param(_local("int k; int *p = &k; *p = 1;"), id="a pointer to another local"),
    pytest.param(_set("fx_bars[1] = BAR;", value=GLOBAL), id="another global"),
    pytest.param(_set("OUT(f->in.k);", "#define OUT(x) WRITE_ONCE(x, 1)"),
    id="a macro that writes another member once"),
    pytest.param(_set("SHOW(f);", '#define SHOW(f) pr_info("%llx", (f)->bar)'), id="a macro that reads the member"),
    pytest.param(_set("LOCK(f);", "#define LOCK(f) mutex_lock(&(f)->lock)"),
    id="a macro that hands on another address"),
    pytest.param(_local("union { u64 whole; u64 half; } u = { .whole = BAR };", value="u.whole"),
    id="a union that is set once"),
    pytest.param(_local("struct { u64 one; u64 two; } u = { .one = BAR }; u.two = 1;", value="u.one"), id="no union"),
    pytest.param(_set("struct fx *g = kzalloc(sizeof(*g), GFP_KERNEL); fx_map(g);"), id="an object that is made here"),
]  # fmt: skip
FIX = "static void fix(%s) { %s }"
# what runs between the store to the member and its use; `fix` is defined before
BETWEEN = [
    pytest.param("fix(f);", FIX % ("struct fx *f", "f->bar = RAM;"), id="a callee"),
    pytest.param("fix(f);", FIX % ("struct fx *f", "f->bar ^= RAM;"), id="a callee that changes a part"),
    pytest.param("fix(f);", FIX % ("struct fx *f", "kstrtoull(f->priv, 0, &f->bar);"), id="a callee that hands it on"),
    pytest.param("fix(f);", FIX % ("struct fx *f", "u64 *p = &f->bar; *p = RAM;"), id="a callee, through a pointer"),
    pytest.param("fix(f->dev);", FIX % ("struct device *d", "struct fx *f = dev_get_drvdata(d); f->bar = RAM;"),
                 id="a callee that is handed the device"),
    pytest.param("fix(&f->lock);", FIX % ("struct mutex *m",
    "struct fx *f = container_of(m, struct fx, lock); f->bar = RAM;"),
                 id="a callee that is handed another member"),
    pytest.param("fix();", "static struct fx *fx_one;\n" + FIX % ("void", "fx_one->bar = RAM;"),
    id="a callee without arguments"),
    pytest.param("fix(f);", "static void f4(struct fx *f) { f->bar = RAM; }\nstatic void f3(struct fx *f) { f4(f); }\n"
                 "static void f2(struct fx *f) { f3(f); }\n" + FIX % ("struct fx *f", "f2(f);"), id="far down"),
    pytest.param("INIT_WORK(&f->lock, fix); flush_work(&f->lock);",
                 FIX % ("struct mutex *m", "struct fx *f = container_of(m, struct fx, lock); f->bar = RAM;"),
                 id="what is called back"),
    pytest.param("get(f)->bar = RAM;", "static struct fx *get(struct fx *f) { return f; }",
    id="a store through what a call returns"),
    pytest.param("ext(f);", "void ext(struct fx *f);", id="the driver's own function that is in no file at hand"),
    pytest.param("FIX;", "#define FIX f->bar = RAM", id="a macro without arguments"),
    pytest.param("if (f->in.k) fix(f); else f->bar = BAR;", FIX % ("struct fx *f", "f->bar = RAM;"),
    id="a callee on one arm"),
]  # fmt: skip
HARMLESS = [
    pytest.param("fix(f);", FIX % ("struct fx *f", "f->in.k = f->bar;"), id="a callee that reads it"),
    pytest.param("fix(f);", FIX % ("struct fx *f", "fx_unmap(f);"), id="a callee of callees that leave it alone"),
    pytest.param("dev_info(f->dev, \"x\"); mutex_lock(&f->lock);", "", id="calls of the kernel"),
    pytest.param("fix(f);", FIX % ("struct fx *f", "struct in *i = &f->in; i->bar = RAM;"),
    id="a member of that name elsewhere"),
]  # fmt: skip


def _between(body: str, before: str) -> str:
    return f"{HEAD}{before}{MAP % (f'f->bar = BAR; {body}', 'f->bar')}"


@pytest.mark.parametrize(("body", "before"), BETWEEN)
def test_what_may_run_between_a_store_and_its_use_makes_it_doubtful(
    body: str, before: str, scan_text: Callable[[str], Report]
) -> None:
    origin = _origin(scan_text(_between(body, before)))
    assert not origin.certain


def test_a_resource_that_a_callee_moves_is_doubtful(scan_text: Callable[[str], Report]) -> None:
    code = (
        f"{HEAD}%s\nint fx_map(struct fx *f, struct platform_device *p)\n{{\n"
        "\tstruct resource *r = platform_get_resource(p, IORESOURCE_MEM, 0);\n\n\tfix(r);\n"
        "\tf->at = dma_map_resource(f->dev, r->start, 64, DMA_TO_DEVICE, 0);\n"
        "\treturn dma_mapping_error(f->dev, f->at);\n}\nstatic const struct of_device_id ids[] = { { } };\n"
    )
    moved = _origin(scan_text(code % (FIX % ("struct resource *r", "r->start = RAM;"))))
    shown = _origin(scan_text(code % (FIX % ("struct resource *r", 'dev_info(NULL, "%%pr", r);'))))
    assert (moved.certain, shown.certain) == (False, True)


@pytest.mark.parametrize(("body", "before"), HARMLESS)
def test_what_runs_in_between_and_leaves_it_alone_does_not(
    body: str, before: str, scan_text: Callable[[str], Report]
) -> None:
    origin = _origin(scan_text(_between(body, before)))
    assert origin.certain


@pytest.mark.parametrize("code", DOUBTFUL)
def test_what_may_set_a_value_makes_it_doubtful(code: str, scan_text: Callable[[str], Report]) -> None:
    origin = _origin(scan_text(code))
    assert not origin.certain


@pytest.mark.parametrize("code", CERTAIN)
def test_what_does_not_set_it_leaves_it_certain(code: str, scan_text: Callable[[str], Report]) -> None:
    origin = _origin(scan_text(code))
    assert (origin.certain, [str(kind) for kind in origin.kinds]) == (True, ["pci-bar"])


def test_a_macro_that_stores_counts_where_another_file_of_the_driver_uses_it(
    tmp_path: Path, scan_folder: Callable[[Path], Report]
) -> None:
    other = '#include "fx.h"\nvoid fx_set(struct fx *f)\n{\n\tFX_PUT(f, virt_to_phys(f->priv));\n}\n'
    files = {
        "Makefile": "obj-m := fx.o\nfx-y := map.o set.o\n",
        "fx.h": f"{HEAD.partition('#define RAM')[0]}#define FX_PUT(x, v) ((x)->bar = (v))\n",
        "map.c": f'#include "fx.h"\n#define BAR{HEAD.partition("#define BAR")[2]}{MAP % ("", "f->bar")}',
        "set.c": other,
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert [str(kind) for kind in _origin(scan_folder(tmp_path)).kinds] == ["pci-bar", "ram"]
    (tmp_path / "set.c").write_text(other.replace("FX_PUT(f, virt_to_phys(f->priv))", "fx_log(f)"))
    assert [str(kind) for kind in _origin(scan_folder(tmp_path)).kinds] == ["pci-bar"]


def test_what_runs_in_between_may_stand_in_another_file(tmp_path: Path, scan_folder: Callable[[Path], Report]) -> None:
    step = "static void step(void) { deep(); }\n"
    files = {
        "Makefile": "obj-m := fx.o\nfx-y := map.o deep.o\n",
        "fx.h": f"{HEAD.partition('#define RAM')[0]}void deep(void);\n",
        "map.c": f'#include "fx.h"\n#define BAR{HEAD.partition("#define BAR")[2]}{step}'
        f"{MAP % ('f->bar = BAR; step();', 'f->bar')}",
        "deep.c": '#include "fx.h"\nstatic struct fx *g;\nvoid deep(void)\n{\n\tg->bar = virt_to_phys(g->priv);\n}\n',
    }
    folder = tmp_path / "a" / "fx"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    assert not _origin(scan_folder(tmp_path)).certain
    (folder / "deep.c").write_text('#include "fx.h"\nstatic struct fx *g;\nvoid deep(void)\n{\n\tg->at = 0;\n}\n')
    assert _origin(scan_folder(tmp_path)).certain


def test_a_call_without_its_argument_has_no_origin(scan_text: Callable[[str], Report]) -> None:
    origin = _origin(scan_text(_local("", value="page_to_phys()")))
    assert origin.gave_up == "page_to_phys() is called with too few arguments here"


def test_a_copy_from_what_is_no_such_struct_says_so(scan_text: Callable[[str], Report]) -> None:
    origin = _origin(scan_text(_set("memcpy(&f->in, f->priv, sizeof(f->in));", value="f->in.bar")))
    assert origin.gave_up == "memcpy() overwrites struct in whole in fx_set()"


def test_a_global_has_the_type_that_a_header_of_the_driver_gives_it(
    tmp_path: Path, scan_folder: Callable[[Path], Report]
) -> None:
    head = HEAD.partition("#define RAM")[0]
    (tmp_path / "fx.h").write_text(f"{head}extern struct fx *fx_one;\n")
    body = f"#define BAR{HEAD.partition('#define BAR')[2]}{MAP % ('', 'fx_one->in.bar')}"
    (tmp_path / "map.c").write_text(f'#include "fx.h"\n{body}')
    origin = _origin(scan_folder(tmp_path))
    assert (origin.certain, [str(kind) for kind in origin.kinds]) == (True, ["pci-bar"])
