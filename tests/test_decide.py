# SPDX-License-Identifier: GPL-2.0-only
"""What is proposed and called proved: memory at each map, who shares the unmap, where attributes stand, which end is
missing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dmamigrate import rules
from dmamigrate import scan as scans
from dmamigrate.findings import Finding, Report
from dmamigrate.judge import Work
from dmamigrate.lives.module import Defect
from dmamigrate.program.tree import Tree
from dmamigrate.rewrite.case import Case
from dmamigrate.rewrite.decide import REFUSALS
from dmamigrate.values.engine import Engine
from dmamigrate.values.knowledge import Knowledge

HEAD = """\
#include <linux/dma-mapping.h>
#include <linux/pci.h>
#include <linux/slab.h>

#define FX_PLAIN 0
#define FX_SHARED DMA_ATTR_CC_SHARED
#define DMA_ATTR_FX (DMA_ATTR_SKIP_CPU_SYNC | DMA_ATTR_PRIVILEGED)

struct fx { struct device *dev; struct pci_dev *pdev; dma_addr_t a; phys_addr_t p; void *buf; unsigned long attrs; };

"""
BAR, RAM, UNKNOWN = "pci_resource_start(f->pdev, 0)", "virt_to_phys(kmalloc(64, GFP_KERNEL))", "readq(f->buf)"


def _map(call: str, address: str, attrs: str = "0", name: str = "fx_map", setup: str = "") -> str:
    return (
        f"int {name}(struct fx *f)\n{{\n{setup}\tf->a = {call}(f->dev, {address}, 64, DMA_TO_DEVICE, {attrs});\n"
        "\treturn dma_mapping_error(f->dev, f->a);\n}\n\n"
    )


def _unmap(call: str, attrs: str = "0", setup: str = "") -> str:
    return f"void fx_unmap(struct fx *f)\n{{\n{setup}\t{call}(f->dev, f->a, 64, DMA_TO_DEVICE, {attrs});\n}}\n"


def _phys(address: str, attrs: str = "0", **more: str) -> str:
    return _map("dma_map_phys", address, attrs, **more)


def _resource(address: str, attrs: str = "0", **more: str) -> str:
    return _map("dma_map_resource", address, attrs, **more)


PHYS, RESOURCE = _unmap("dma_unmap_phys"), _unmap("dma_unmap_resource")
HALF = "no unmap of this mapping was found in the files at hand: map and unmap have to change together"
OTHER = (
    "static void fx_other(dma_addr_t *h, struct device *d)\n{\n\tdma_unmap_resource(d, *h, 64, DMA_TO_DEVICE, 0);\n}\n"
    "void fx_go(struct fx *f, struct list_head *l)\n{\n\tfx_other(l->next, f->dev);\n}\n"
)
LOCAL = "\tunsigned long attrs = {};\n\n"


def _found(report: Report, function: str = "fx_map") -> Finding:
    (found,) = [f for f in report.findings if f.function == function and f.rewrite.status != "none"]
    return found


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(_resource(BAR) + RESOURCE, id="a BAR and its unmap"),
        pytest.param(_resource(UNKNOWN) + RESOURCE, id="memory of unknown origin: the two are one function"),
        pytest.param(_phys(BAR) + PHYS, id="the flag added at both ends"),
        pytest.param(_resource(BAR) + _resource(BAR, name="fx_again") + RESOURCE, id="two maps of a BAR, one unmap"),
        pytest.param(
            _resource(BAR) + _resource(UNKNOWN, name="fx_again") + RESOURCE, id="a BAR and the unknown, one function"
        ),
        pytest.param(
            _resource(BAR, "FX_PLAIN") + _unmap("dma_unmap_resource", "FX_PLAIN"), id="attributes behind macros"
        ),
        pytest.param(
            _resource(BAR, "DMA_ATTR_FX") + _unmap("dma_unmap_resource", "DMA_ATTR_FX"),
            id="a macro of the driver's own that is named like an attribute",
        ),
        pytest.param(
            _resource(BAR, "attrs", setup=LOCAL.format("0")) + _unmap("dma_unmap_resource", "attrs", LOCAL.format("0")),
            id="attributes in two locals",
        ),
        pytest.param(
            _resource(BAR, "f->attrs") + _unmap("dma_unmap_resource", "f->attrs"), id="attributes in a member"
        ),
    ],
)
def test_what_is_right_is_proved(code: str, scan_text: Callable[[str], Report]) -> None:
    found = _found(scan_text(HEAD + code))
    assert (found.rewrite.status, found.rewrite.reason, found.verdict.status) == ("proposed", None, "proved")


@pytest.mark.parametrize(
    ("code", "why"),
    [
        pytest.param(_phys(BAR), HALF, id="the map alone"),
        pytest.param(_resource(BAR), HALF, id="the map of the old call alone"),
        pytest.param(
            _phys(BAR) + _phys(RAM, name="fx_ram") + PHYS,
            "dma_map_phys() at driver.c:19 shares an unmap with this map, and maps ram",
            id="RAM shares the unmap",
        ),
        pytest.param(
            _phys(f"f->buf ? {RAM} : {BAR}") + PHYS,
            "on some paths the address is no device memory",
            id="RAM or a BAR",
        ),
        pytest.param(
            _resource(BAR).replace("64, DMA_TO_DEVICE, 0", "64, DMA_TO_DEVICE") + RESOURCE,
            "driver.c:13: dma_map_resource() has 4 arguments",
            id="an argument is missing",
        ),
        pytest.param(
            "#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 18, 0)\n" + _resource(BAR) + RESOURCE + "#endif\n",
            "driver.c:14: only kernels without dma_map_phys() compile this call",
            id="what only older kernels compile",
        ),
        pytest.param(
            _resource(BAR).replace(", 64,", ", ({ 64; }),") + RESOURCE,
            "driver.c:13: this call is not whole: a semicolon stands in it",
            id="a statement in the call",
        ),
        pytest.param(
            _phys(BAR) + _phys(f"f->buf ? {RAM} : {BAR}", name="fx_both") + PHYS,
            "dma_map_phys() at driver.c:19 shares an unmap with this map, and maps pci-bar, ram",
            id="RAM or a BAR shares the unmap",
        ),
        pytest.param(
            _resource(BAR) + _resource(RAM, name="fx_ram") + RESOURCE,
            "dma_map_resource() at driver.c:19 shares an unmap with this map, and maps ram",
            id="RAM shares the old unmap",
        ),
        pytest.param(
            _phys(BAR, "attrs", setup=LOCAL.format("0")) + _unmap("dma_unmap_phys", "attrs", LOCAL.format("FX_SHARED")),
            "driver.c:23: dma_unmap_phys() is wrong as it stands (unmap-attrs-mismatch); mend that first",
            id="one word at both ends, another value in each function",
        ),
        pytest.param(
            _resource(BAR) + _unmap("dma_unmap_page_attrs"),
            "driver.c:19: dma_unmap_page_attrs() is wrong as it stands (unmap-family-mismatch); mend that first",
            id="an unmap of another family",
        ),
        pytest.param(
            _resource(BAR)
            + "#ifdef FX\n"
            + RESOURCE
            + "#endif\n#define dma_unmap_resource(d, a, s, r, t) fx_un(d, a)\n",
            "the driver has a dma_unmap_resource() of its own",
            id="the driver's own unmap of that name",
        ),
        pytest.param(
            _resource(BAR) + _unmap("dma_unmap_resource").replace("DMA_TO_DEVICE", "DMA_FROM_DEVICE"),
            "driver.c:19: dma_unmap_resource() is wrong as it stands (unmap-dir-mismatch); mend that first",
            id="a life with a defect",
        ),
        pytest.param(
            _resource(BAR) + RESOURCE + 'MODULE_LICENSE("Proprietary");\n',
            'the module\'s licence is "Proprietary", and dma_map_phys() is exported to GPL-compatible modules only',
            id="a module that cannot link to it",
        ),
        pytest.param(
            _resource(BAR) + RESOURCE + OTHER,
            "dma_unmap_resource() at driver.c:23 may end this mapping too, and its own map was not found",
            id="an unmap whose map is not known",
        ),
        pytest.param(
            _resource(BAR) + RESOURCE + "static int dma_unmap_phys(struct device *d) { return 0; }\n",
            "the driver has a dma_unmap_phys() of its own",
            id="the driver's own function of the new name",
        ),
        pytest.param(
            "static inline dma_addr_t dma_map_resource(struct device *d, phys_addr_t p) { return p; }\n"
            + _resource(BAR)
            + RESOURCE,
            "the driver has a dma_map_resource() of its own",
            id="the driver's own function of the old name",
        ),
        pytest.param(
            '#define FX_LICENCE "Proprietary"\n' + _resource(BAR) + RESOURCE + "MODULE_LICENSE(FX_LICENCE);\n",
            'the module\'s licence is "Proprietary", and dma_map_phys() is exported to GPL-compatible modules only',
            id="a licence that is a macro",
        ),
        pytest.param(
            _resource(BAR) + RESOURCE + 'MODULE_INFO(license, "Proprietary");\n',
            'the module\'s licence is "Proprietary", and dma_map_phys() is exported to GPL-compatible modules only',
            id="a licence as the macro has it",
        ),
    ],
)
def test_what_is_half_or_wrong_is_withheld_with_the_reason(
    code: str, why: str, scan_text: Callable[[str], Report]
) -> None:
    found = _found(scan_text(HEAD + code))
    assert found.rewrite.status == "withheld"
    assert found.rewrite.reason == why


@pytest.mark.parametrize(
    "more",
    [
        pytest.param("#define FX_UN dma_unmap_phys\n", id="an alias"),
        pytest.param("void *un(void) { return dma_unmap_phys; }\n", id="a pointer that is returned"),
        pytest.param("static const struct fo o = { .un = dma_unmap_phys };\n", id="a table of functions"),
        pytest.param("void u(struct fx *f) { FX_CALL(dma_unmap_phys, f); }\n", id="a macro's argument"),
        pytest.param("#define UN(k, f) dma_unmap_##k((f)->dev, (f)->a, 64, DMA_TO_DEVICE, 0)\n", id="a pasted name"),
        pytest.param("#define ARGS(f) (f)->dev\nvoid u(struct fx *f) { dma_unmap_phys(ARGS(f)); }\n",
        id="arguments in one"),
        pytest.param("DEFINE_FREE(fxu, struct fx *, if (_T) dma_unmap_phys(_T->dev, _T->a, 64, 0, 0))\n",
        id="a cleanup"),
        pytest.param("void m(struct fx *f) { f->buf = dma_map_phys; }\n", id="a map through a pointer"),
    ],
)  # fmt: skip
def test_a_call_that_is_named_and_not_seen_withholds(more: str, scan_text: Callable[[str], Report]) -> None:
    code = HEAD + _phys(BAR) + PHYS + more
    where = next(number for number, line in enumerate(code.split("\n"), 1) if line in more and "map_" in line)
    name = "dma_map_phys" if "f->buf" in more else "dma_unmap_phys"
    found = _found(scan_text(code))
    assert found.rewrite.reason == (
        f"{name}() is named at driver.c:{where} where no call of it is seen: that may be an end of this mapping, too"
    )


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(
            "void dma_unmap_phys(struct device *d, dma_addr_t a, size_t s, int r, unsigned long t);\n", id="declared"
        ),
        pytest.param("#if defined(dma_unmap_phys)\n#endif\n", id="asked for"),
        pytest.param("void u(struct fx *f) { f->ops->dma_unmap_phys(f); }\n", id="a member of that name"),
        pytest.param("/* dma_unmap_phys */\n", id="in a comment"),
        pytest.param('void u(void) { pr_info("dma_unmap_phys"); }\n', id="in a string"),
    ],
)
def test_a_call_that_is_named_for_nothing_does_not(more: str, scan_text: Callable[[str], Report]) -> None:
    assert _found(scan_text(HEAD + _phys(BAR) + PHYS + more)).rewrite.status == "proposed"


def test_a_call_in_parentheses_is_one(scan_text: Callable[[str], Report]) -> None:
    found = _found(scan_text(HEAD + _resource(BAR).replace("dma_map_resource(", "(dma_map_resource)(") + RESOURCE))
    assert "+\tf->a = dma_map_phys(f->dev," in found.rewrite.diff
    assert found.verdict.status == "proved"


def test_a_member_that_another_module_unmaps_withholds(tmp_path: Path, scan_folder: Callable[[Path], Report]) -> None:
    for name, body in (("a", _resource(BAR) + RESOURCE), ("b", RESOURCE)):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.c").write_text('#include "../fx.h"\n' + body)
        (tmp_path / name / "Makefile").write_text(f"obj-m := {name}.o\n")
    (tmp_path / "fx.h").write_text(HEAD)
    (tmp_path / "Makefile").write_text("obj-y += a/ b/\n")
    found = next(one for one in scan_folder(tmp_path).findings if one.span.path.endswith("a/a.c"))
    assert found.rewrite.reason == "b/b.c, which is another module's, may unmap what is kept in a"


def test_a_broken_line_of_a_macro_goes_on(scan_text: Callable[[str], Report]) -> None:
    macro = "#define FX_UNMAP(f) dma_unmap_resource((f)->dev, (f)->a, 64, DMA_TO_DEVICE, 0)\n"
    found = _found(scan_text(HEAD + macro + _resource(BAR) + "void fx_unmap(struct fx *f)\n{\n\tFX_UNMAP(f);\n}\n"))
    assert "DMA_TO_DEVICE, \\\n" in found.rewrite.diff
    assert found.verdict.status == "proved"


def test_calls_that_are_too_many_to_be_followed_are_left_to_a_person(scan_text: Callable[[str], Report]) -> None:
    maps = "".join(_resource(BAR, name=f"fx_map{number}") for number in range(128))
    found = _found(scan_text(HEAD + maps + RESOURCE), "fx_map0")
    assert found.rewrite.reason == "129 calls share their mappings, a rewrite changes 128 at most"


def test_an_unmap_whose_callers_are_not_in_sight_holds_nothing_back(scan_text: Callable[[str], Report]) -> None:
    exported = OTHER.partition("void fx_go")[0].replace("static ", "") + "EXPORT_SYMBOL(fx_other);\n"
    assert _found(scan_text(HEAD + _resource(BAR) + RESOURCE + exported)).verdict.status == "proved"


def test_a_refusal_names_the_driver_s_folder_in_a_kernel(tmp_path: Path, scan_folder: Callable[[Path], Report]) -> None:
    (tmp_path / "drivers/fx").mkdir(parents=True)
    (tmp_path / "MAINTAINERS").write_text("")
    (tmp_path / "drivers/fx/Makefile").write_text("obj-m += fx.o\n")
    (tmp_path / "drivers/fx/fx.c").write_text(HEAD + _resource(BAR))
    assert "found in drivers/fx:" in (_found(scan_folder(tmp_path)).rewrite.reason or "")


SAID = [
    pytest.param(_resource(BAR) + RESOURCE, "old and new calls are the same function in 7.3", id="known memory"),
    pytest.param(
        _resource(UNKNOWN) + RESOURCE, "old and new calls are the same function in 7.3, for any memory", id="any memory"
    ),
    pytest.param(
        _phys(BAR) + PHYS,
        "in 150 states the map fails where it copied device memory through a bounce buffer or maintained caches",
        id="another function",
    ),
]


@pytest.mark.parametrize(("code", "said"), SAID)
def test_a_proof_says_what_it_stands_on(code: str, said: str, scan_text: Callable[[str], Report]) -> None:
    assert _found(scan_text(HEAD + code)).verdict.reason == said


def test_a_call_that_stands_for_another_is_proved_by_that_one(scan_with: Callable[..., Report]) -> None:
    (moved,) = [rule for rule in rules.load() if rule.id == "page-to-phys"]
    code = (
        "int fx_map(struct fx *f)\n{\n\tstruct page *page = alloc_page(GFP_KERNEL);\n\n"
        "\tf->a = dma_map_page(f->dev, page, 0, 64, DMA_TO_DEVICE);\n\treturn dma_mapping_error(f->dev, f->a);\n}\n"
        "void fx_unmap(struct fx *f)\n{\n\tdma_unmap_page(f->dev, f->a, 64, DMA_TO_DEVICE);\n}\n"
    )
    assert _found(scan_with(HEAD + code, moved)).verdict.status == "proved"


TRAP = "{} at driver.c:14 may be vmalloc memory or on a stack, not in the direct map"
POINTERS = [
    pytest.param("kzalloc(64, GFP_KERNEL)", None, id="the slab allocator's"),
    pytest.param("(void *)__get_free_page(GFP_KERNEL) + 8", None, id="inside of a page"),
    pytest.param("vmalloc(64)", TRAP, id="vmalloc memory, which dma_map_single() rejects"),
    pytest.param("kvmalloc(64, GFP_KERNEL)", TRAP, id="either, as it comes"),
    pytest.param("f->attrs ? kmalloc(64, GFP_KERNEL) : vmalloc(64)", TRAP, id="one of two"),
    pytest.param("&table", TRAP, id="a module's data"),
]


@pytest.mark.parametrize(("pointer", "why"), POINTERS)
def test_a_pointer_is_moved_only_if_it_lies_in_the_direct_map(
    pointer: str, why: str | None, scan_with: Callable[..., Report]
) -> None:
    (moved,) = [rule for rule in rules.load() if rule.id == "page-to-phys"]
    code = (
        f"static int table;\nint fx_map(struct fx *f)\n{{\tvoid *p = {pointer};\n"
        "\tf->a = dma_map_single(f->dev, p, 64, DMA_TO_DEVICE);\n\treturn dma_mapping_error(f->dev, f->a);\n}\n"
        "void fx_unmap(struct fx *f)\n{\n\tdma_unmap_single(f->dev, f->a, 64, DMA_TO_DEVICE);\n}\n"
    )
    found = next(one for one in scan_with(HEAD + code, moved).findings if one.rule == moved.id)
    if why is None:
        assert (found.verdict.status, found.rewrite.reason) == ("proved", None)
        assert "dma_map_phys(f->dev, virt_to_phys(p), 64, DMA_TO_DEVICE, 0)" in found.rewrite.diff
    else:
        assert (found.rewrite.status, found.rewrite.reason) == ("withheld", why.format("p"))


SHORTER = [
    pytest.param("virt_to_page(p), offset_in_page(p)", "virt_to_phys(p)", id="a pointer's page"),
    pytest.param("alloc_page(GFP_KERNEL), 0", "page_to_phys(alloc_page(GFP_KERNEL))", id="no offset"),
    pytest.param("virt_to_page(p), 1 << 4", "page_to_phys(virt_to_page(p)) + (1 << 4)", id="an offset of its own"),
]


@pytest.mark.parametrize(("page", "address"), SHORTER)
def test_an_address_is_written_as_the_kernel_writes_it(
    page: str, address: str, scan_with: Callable[..., Report]
) -> None:
    (moved,) = [rule for rule in rules.load() if rule.id == "page-to-phys"]
    code = (
        "int fx_map(struct fx *f)\n{\n\tvoid *p = kmalloc(64, GFP_KERNEL);\n\n"
        f"\tf->a = dma_map_page(f->dev, {page}, 64, DMA_TO_DEVICE);\n\treturn dma_mapping_error(f->dev, f->a);\n}}\n"
        "void fx_unmap(struct fx *f)\n{\n\tdma_unmap_page(f->dev, f->a, 64, DMA_TO_DEVICE);\n}\n"
    )
    found = next(one for one in scan_with(HEAD + code, moved).findings if one.rule == moved.id)
    assert f"dma_map_phys(f->dev, {address}, 64," in " ".join(found.rewrite.diff.replace("+", " ").split()).replace(
        "page_to_phys(virt_to_page(p)) (1", "page_to_phys(virt_to_page(p)) + (1"
    )


WEAK = """
title = "calls in any order"
level = "note"
category = "migration"
callee = ["dma_map_phys"]
argument = "phys"
origins = ["pci-bar"]
message = "{phys}"
rewrite = '''
- dma_map_phys(dev, phys, size, dir, attrs)
+ dma_map_phys(dev, phys, size, dir, attrs | DMA_ATTR_WEAK_ORDERING)

- dma_unmap_phys(dev, addr, size, dir, attrs)
+ dma_unmap_phys(dev, addr, size, dir, attrs | DMA_ATTR_WEAK_ORDERING)
'''
explain = "A rule of somebody's own, which leaves what is wrong as it was."
[[invalid]]
name = "a BAR"
code = "int f(void) { return dma_map_phys(d, pci_resource_start(p, 0), 4, r, 0); }"
[[valid]]
name = "nothing at all"
code = "int f(void) { return 0; }"
"""


def test_what_stays_unsafe_is_not_called_proved(scan_with: Callable[..., Report], tmp_path: Path) -> None:
    file = tmp_path / "fx-weak.toml"
    file.write_text(WEAK)
    report = scan_with(HEAD + _phys(BAR) + PHYS, rules.read(file))
    (found,) = [f for f in report.findings if f.rule == "fx-weak"]
    assert found.rewrite.status == "proposed"
    assert found.verdict.status == "unknown"
    assert (found.verdict.reason or "").startswith(
        "the same as before, but the kernel dies: memory that nothing maps is copied, "
    )


HALVES = """
- dma_map_resource(dev, phys, size, dir, attrs)
+ dma_map_phys(dev, phys, size, dir, attrs | DMA_ATTR_MMIO)

- dma_unmap_resource(dev, addr, size, dir, attrs)
+ {}(dev, addr, size, dir, attrs | DMA_ATTR_MMIO)
"""


@pytest.mark.parametrize(
    ("unmap", "status", "reason", "example"),
    [
        pytest.param(
            "dma_unmap_page_attrs", "refuted", "the unmap is not rewritten with its map",
            "dma_map_phys() at driver.c:13 would be ended by dma_unmap_page_attrs() at driver.c:19",
            id="an unmap of another family",
        ),
        pytest.param(
            "dma_unmap_phys", "proved", "old and new calls are the same function in 7.3", None, id="that of the map"
        ),
    ],
)  # fmt: skip
def test_a_life_that_falls_in_two_is_refuted(
    scan_with: Callable[..., Report], tmp_path: Path, unmap: str, status: str, reason: str, example: str | None
) -> None:
    file = tmp_path / "fx-halves.toml"
    before, _, rest = WEAK.partition("rewrite = '''\n")
    after = rest.partition("'''")[2].replace("dma_map_phys", "dma_map_resource")
    text = before.replace("dma_map_phys", "dma_map_resource") + "rewrite = '''" + HALVES.format(unmap) + "'''" + after
    file.write_text(text)
    report = scan_with(HEAD + _resource(BAR) + RESOURCE, rules.read(file))
    (found,) = [f for f in report.findings if f.rule == "fx-halves"]
    assert (found.verdict.status, found.verdict.reason, found.verdict.counterexample) == (status, reason, example)


def test_an_end_without_a_template_keeps_the_map_as_it_is(scan_with: Callable[..., Report], tmp_path: Path) -> None:
    before, _, rest = WEAK.partition("\n- dma_unmap_phys")
    (tmp_path / "fx-half.toml").write_text(before + "\n'''" + rest.partition("'''")[2])
    report = scan_with(HEAD + _phys(BAR) + PHYS, rules.read(tmp_path / "fx-half.toml"))
    (found,) = [found for found in report.findings if found.rule == "fx-half"]
    why = "driver.c:19: dma_unmap_phys() also ends this mapping and has no rewrite"
    assert (found.rewrite.status, found.rewrite.reason) == ("withheld", why)


@pytest.mark.parametrize(
    ("flag", "status"),
    [pytest.param(" | DMA_ATTR_MMIO", "proved", id="with the flag"), pytest.param("", "refuted", id="without it")],
)
def test_unknown_attributes_matter_unless_the_old_call_is_the_new_one_with_the_flag(
    scan_with: Callable[..., Report], tmp_path: Path, flag: str, status: str
) -> None:
    before, _, rest = WEAK.partition("rewrite = '''\n")
    after = rest.partition("'''")[2].replace("dma_map_phys", "dma_map_resource")
    rewrite = HALVES.format("dma_unmap_phys").replace(" | DMA_ATTR_MMIO", flag)
    text = before.replace("dma_map_phys", "dma_map_resource") + "rewrite = '''" + rewrite + "'''" + after
    (tmp_path / "fx-any.toml").write_text(text)
    code = HEAD + _resource(BAR, "readq(f->buf)") + _unmap("dma_unmap_resource", "readl(f->buf)")
    report = scan_with(code, rules.read(tmp_path / "fx-any.toml"))
    (found,) = [f for f in report.findings if f.rule == "fx-any"]
    assert found.verdict.status == status


@pytest.mark.parametrize(
    ("address", "said"),
    [
        pytest.param("f->a", "the model has no memory for dma-addr", id="a DMA address"),
        pytest.param(BAR, "old and new calls are the same function in 7.3", id="a BAR"),
    ],
)
def test_memory_that_the_model_does_not_have_is_named(
    scan_with: Callable[..., Report], tmp_path: Path, address: str, said: str
) -> None:
    file = tmp_path / "fx-again.toml"
    text = WEAK.replace("DMA_ATTR_WEAK_ORDERING", "DMA_ATTR_MMIO").replace("dma_map_phys", "dma_map_resource")
    text = text.replace("dma_unmap_phys", "dma_unmap_resource").replace("+ dma_map_resource", "+ dma_map_phys")
    text = text.replace("+ dma_unmap_resource", "+ dma_unmap_phys").replace('["pci-bar"]', '["dma-addr", "pci-bar"]')
    file.write_text(text.replace('message = "{phys}"', 'message = "{phys}"\nmoves_memory = true'))
    code = (
        "struct in { dma_addr_t at; };\n"
        + _resource(address.replace("f->a", "in->at")).replace("struct fx *f)", "struct fx *f, struct in *in)")
        + "void fx_in(struct fx *f, struct in *in)\n{\n\tin->at = dma_map_single(f->dev, f->buf, 64, DMA_TO_DEVICE);"
        "\n}\n" + RESOURCE
    )
    report = scan_with(HEAD + code, rules.read(file))
    (found,) = [f for f in report.findings if f.rule == "fx-again"]
    assert found.verdict.reason == said


def test_what_loses_data_of_memory_that_is_known_is_refuted(scan_with: Callable[..., Report], tmp_path: Path) -> None:
    text = WEAK.replace("DMA_ATTR_WEAK_ORDERING", "DMA_ATTR_MMIO").replace('["pci-bar"]', '["ram"]')
    text = text.replace('message = "{phys}"', 'message = "{phys}"\nmoves_memory = true').replace(
        "pci_resource_start(p, 0)", "virt_to_phys(kmalloc(4, GFP_KERNEL))"
    )
    (tmp_path / "fx-ram.toml").write_text(text)
    report = scan_with(HEAD + _phys(RAM) + PHYS, rules.read(tmp_path / "fx-ram.toml"))
    (found,) = [found for found in report.findings if found.rule == "fx-ram"]
    lost = "data is lost: memory that is not coherent is mapped without cache maintenance"
    assert (found.verdict.status, found.verdict.reason) == ("refuted", lost)


def test_an_unknown_map_beside_a_bar_is_not_proved_where_the_calls_differ(scan_text: Callable[[str], Report]) -> None:
    found = _found(scan_text(HEAD + _phys(BAR) + _phys(UNKNOWN, name="fx_again") + PHYS))
    assert found.verdict.status == "unknown"
    lost = "data is lost: memory that is not coherent is mapped without cache maintenance"
    assert found.verdict.reason == f"where the address is system memory, which could not be excluded, {lost}"
    assert (found.verdict.counterexample or "").startswith(f"{lost}: dma_map_phys() at driver.c:")


@pytest.mark.parametrize(
    ("mapped", "ended", "pairs"),
    [
        pytest.param("f->attrs", "f->attrs", 2, id="one member at both ends"),
        pytest.param("fx_attrs", "fx_attrs", 2, id="one global at both ends"),
        pytest.param("f->attrs & DMA_ATTR_CC_SHARED", "f->attrs & DMA_ATTR_CC_SHARED", 2, id="a part of one member"),
        pytest.param("f->attrs", "fx_attrs", 4, id="two places, each of which may hold either"),
    ],
)
def test_one_value_at_both_ends_is_no_pair_of_values(
    mapped: str, ended: str, pairs: int, scan_text: Callable[[str], Report]
) -> None:
    one = _found(scan_text(HEAD + _resource(BAR) + RESOURCE)).verdict
    setup = (
        "static unsigned long fx_attrs;\nstatic void fx_init(struct fx *f)\n{\n"
        "\tf->attrs = f->buf ? FX_SHARED : 0;\n\tfx_attrs = f->buf ? FX_SHARED : 0;\n}\n"
    )
    both = _found(scan_text(HEAD + setup + _resource(BAR, mapped) + _unmap("dma_unmap_resource", ended))).verdict
    assert both.states == pairs * one.states
    assert both.status == "proved"


def test_a_verdict_counts_every_life_that_the_edit_touches(scan_text: Callable[[str], Report]) -> None:
    one = _found(scan_text(HEAD + _resource(BAR) + RESOURCE)).verdict
    two = _found(scan_text(HEAD + _resource(BAR) + _resource(BAR, name="fx_again") + RESOURCE)).verdict
    assert (one.lives, two.lives) == (1, 2)
    assert two.states == 2 * one.states


def test_an_unmap_of_the_physical_address_is_mended(scan_text: Callable[[str], Report]) -> None:
    wrong = (
        "int fx_try(struct fx *f)\n{\n\tphys_addr_t base = pci_resource_start(f->pdev, 0);\n\n"
        "\tf->a = dma_map_resource(f->dev, base, 64, DMA_TO_DEVICE, 0);\n"
        "\tif (dma_mapping_error(f->dev, f->a))\n\t\treturn -EIO;\n"
        "\tdma_unmap_resource(f->dev, base, 64, DMA_TO_DEVICE, 0);\n\treturn 0;\n}\n"
    )
    report = scan_text(HEAD + wrong)
    (mended,) = [f for f in report.findings if f.rule == "unmap-wrong-handle"]
    (moved,) = [f for f in report.findings if f.rule == "map-resource-bar"]
    assert [edit.text for edit in mended.rewrite.edits] == ["f->a"]
    assert mended.verdict.status == "proved"
    assert moved.rewrite.status == "withheld"


IMPORTER = (
    HEAD
    + "#include <linux/dma-buf.h>\n"
    + "int fx_attach(struct fx *f, struct dma_buf_attachment *at)\n{\n"
    + "\tf->a = dma_map_resource(@, pci_resource_start(f->pdev, 0), 64, DMA_TO_DEVICE, 0);\n"
    + "\treturn dma_mapping_error(f->dev, f->a);\n}\n\n"
    + "void fx_detach(struct fx *f, struct dma_buf_attachment *at)\n{\n"
    + "\tdma_unmap_resource(@, f->a, 64, DMA_TO_DEVICE, 0);\n}\n"
)


@pytest.mark.parametrize(
    ("device", "target", "said"),
    [
        pytest.param("at->dev", "7.3", "export a provider, pcim_p2pdma_provider()", id="an importer"),
        pytest.param("at->dev", "6.19", "export a provider, pcim_p2pdma_provider()", id="from that version on"),
        pytest.param("at->dev", "6.18", "give the BAR struct pages, pci_p2pdma_add_resource()", id="before it"),
        pytest.param("f->dev", "7.3", None, id="the driver's own device"),
    ],
)
def test_what_a_peer_needs_is_said_where_an_importer_is_mapped_for(
    tmp_path: Path, known: Knowledge, all_rules: tuple[rules.Rule, ...], device: str, target: str, said: str | None
) -> None:
    (tmp_path / "driver.c").write_text(IMPORTER.replace("@", device))
    report = scans.scan(scans.Options((tmp_path,), all_rules, known, tree=tmp_path, target=target))
    message = _found(report, "fx_attach").message
    assert ("; it is mapped for the importer of a dma-buf: " in message, (said or "") in message) == (
        said is not None,
        True,
    )


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        pytest.param("include/linux/dma-mapping.h", None, id="the kernel's own macro of that name"),
        pytest.param("include/linux/fx.h", "the driver has a dma_map_resource() of its own", id="another header's"),
    ],
)
def test_a_macro_is_the_driver_s_own_but_for_the_kernel_s(
    tmp_path: Path, known: Knowledge, all_rules: tuple[rules.Rule, ...], header: str, reason: str | None
) -> None:
    (tmp_path / header).parent.mkdir(parents=True)
    (tmp_path / header).write_text(
        "#define dma_map_resource(d, p, s, r, a) dma_map_phys(d, p, s, r, (a) | DMA_ATTR_MMIO)\n"
    )
    (tmp_path / "driver.c").write_text("#include <linux/fx.h>\n" + HEAD + _resource(BAR) + RESOURCE)
    report = scans.scan(scans.Options((tmp_path / "driver.c",), all_rules, known, tree=tmp_path, target="7.3"))
    assert _found(report).rewrite.reason == reason


@pytest.mark.parametrize(
    ("target", "status", "reason"),
    [
        pytest.param("6.17", "unknown", "6.17 has no dma_map_phys()", id="before it came"),
        pytest.param("6.18", "proved", None, id="from then on"),
    ],
)
def test_what_a_version_does_not_have_is_not_proved_for_it(
    tmp_path: Path, known: Knowledge, all_rules: tuple[rules.Rule, ...], target: str, status: str, reason: str | None
) -> None:
    (tmp_path / "driver.c").write_text(HEAD + _resource(BAR) + RESOURCE)
    report = scans.scan(scans.Options((tmp_path,), all_rules, known, tree=tmp_path, target=target))
    verdict = _found(report).verdict
    assert verdict.status == status
    assert reason is None or verdict.reason == reason


@pytest.mark.parametrize(
    ("defect", "held"),
    [
        pytest.param("unmap-wrong-handle", True, id="another handle"),
        pytest.param("unmap-attrs-mismatch", True, id="other attributes"),
        pytest.param("unmap-dir-mismatch", True, id="another direction"),
        pytest.param("unmap-family-mismatch", True, id="another family"),
        pytest.param("unmap-device-mismatch", True, id="another device"),
        pytest.param("p2p-missing-mmio", True, id="a P2P path without the flag"),
        pytest.param("p2p-bus-address-mapped", True, id="a bus address that is mapped"),
        pytest.param("mmio-on-ram", True, id="the flag on RAM"),
        pytest.param("mapping-leaked", False, id="a leak, which the rewrite leaves as it is"),
    ],
)
def test_a_life_that_is_wrong_is_not_moved_as_it_is(
    tmp_path: Path, known: Knowledge, all_rules: tuple[rules.Rule, ...], defect: str, held: bool
) -> None:
    (tmp_path / "driver.c").write_text(HEAD + _resource(BAR) + RESOURCE)
    engine = Engine(Tree(tmp_path), known)
    module = Work(tmp_path, (), known, engine.budget, "7.3").module(engine, ("driver.c",)).module
    (life,) = module.pairs.lives
    (rule,) = [rule for rule in all_rules if rule.id == "map-resource-bar"]
    case = Case(module, rule, life, (life,), (Defect(defect, life.unmaps[0], {}, life),), "7.3")
    wrong = next((why for refusal in REFUSALS if (why := refusal(case)) is not None), "")
    assert (wrong == f"driver.c:19: dma_unmap_resource() is wrong as it stands ({defect}); mend that first") is held


@pytest.mark.parametrize(
    ("folder", "told"), [pytest.param("a", True, id="its own"), pytest.param("b", False, id="another one's")]
)
def test_a_module_reports_what_is_wrong_in_its_own_files(
    tmp_path: Path, known: Knowledge, all_rules: tuple[rules.Rule, ...], folder: str, told: bool
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Makefile").write_text("obj-m += driver.o\n")
        (tmp_path / name / "driver.c").write_text(HEAD + _resource(BAR) + RESOURCE)
    engine = Engine(Tree(tmp_path), known)
    work = Work(tmp_path, all_rules, known, engine.budget, "7.3")
    own, other = (work.module(engine, (f"{name}/driver.c",)).module for name in ("a", folder))
    (life,) = other.pairs.lives
    assert bool(list(work._of(own, (Defect("mapping-leaked", life.map, {"what": "x"}, life),)))) is told


def test_a_proof_says_all_that_its_reader_has_to_know(
    tmp_path: Path, known: Knowledge, all_rules: tuple[rules.Rule, ...]
) -> None:
    (tmp_path / "driver.c").write_text(HEAD + _phys(BAR) + PHYS)
    report = scans.scan(scans.Options((tmp_path,), all_rules, known, tree=tmp_path, target="6.19"))
    standing, fails = (_found(report).verdict.reason or "").split("; ")
    assert standing == "the model of 6.19 is inferred from later kernels, it was not held against that one's source"
    assert fails.endswith(
        "states the map fails where it copied device memory through a bounce buffer or maintained caches"
    )


def test_a_defect_says_why_nothing_is_proposed(
    scan_text: Callable[[str], Report], all_rules: tuple[rules.Rule, ...]
) -> None:
    report = scan_text(HEAD + _resource(BAR) + _unmap("dma_unmap_page_attrs"))
    (found,) = [found for found in report.findings if found.rule == "unmap-family-mismatch"]
    (rule,) = [rule for rule in all_rules if rule.id == "unmap-family-mismatch"]
    assert (found.rewrite.status, found.rewrite.reason) == ("withheld", rule.withheld)


def test_what_cannot_be_written_is_not_judged(scan_text: Callable[[str], Report]) -> None:
    inside = RESOURCE.replace("DMA_TO_DEVICE,", "\n#ifdef FX_OLD\n\t\tDMA_TO_DEVICE,\n#endif\n")
    found = _found(scan_text(HEAD + _resource(BAR) + inside))
    assert (found.rewrite.status, found.verdict.status) == ("withheld", "unknown")
    assert found.rewrite.reason == "driver.c:19: an #if stands inside this call"
    assert found.verdict.reason == "no rewrite is proposed"
