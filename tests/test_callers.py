# SPDX-License-Identifier: GPL-2.0-only
"""Who calls a function, and what a call may run: what is not seen to do so makes an answer doubtful."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dmamigrate.findings import Finding, Report

HEAD = """\
#include <linux/dma-mapping.h>
#include <linux/pci.h>
#include <linux/slab.h>
struct fx { struct device *dev; struct pci_dev *pdev; dma_addr_t at; };
struct ops { int (*map)(struct fx *f, u64 a); u64 (*get)(struct fx *f); };
struct dd { const struct ops *ops; struct ops own; int (*late)(struct fx *f, u64 a); };
#define RAM virt_to_phys(kmalloc(64, GFP_KERNEL))
#define BAR pci_resource_start(f->pdev, 0)
static int fx_map(struct fx *f, u64 a)
{
	f->at = dma_map_resource(f->dev, a, 64, DMA_TO_DEVICE, 0);
	return dma_mapping_error(f->dev, f->at);
}
void fx_unmap(struct fx *f)
{
	dma_unmap_resource(f->dev, f->at, 64, DMA_TO_DEVICE, 0);
}
"""
DIRECT = "int direct(struct fx *f) { return fx_map(f, BAR); }\n"
STORED = (
    "static const struct ops fx_ops = { .map = fx_map };\n"
    "int direct(struct dd *d, struct fx *f) { return d->ops->map(f, BAR); }\n"
)
GETTERS = "static u64 ga(struct fx *f) { return BAR; }\n"
ASKED = "int go(struct dd *d, struct fx *f) { d->own.get = ga; return fx_map(f, d->own.get(f)); }\n"

DOUBTFUL = [
    pytest.param(DIRECT + "#define ARGS f, RAM\nint p(struct fx *f) { return fx_map(ARGS); }",
    id="arguments that a macro is"),
    pytest.param(DIRECT + "#define MAPV(...) fx_map(__VA_ARGS__)\nint p(struct fx *f) { return MAPV(f, RAM); }",
    id="any arguments"),
    pytest.param(DIRECT + "#define the_map fx_map\nint p(struct fx *f) { return the_map(f, RAM); }", id="another name"),
    pytest.param(DIRECT + "#define CALL(n) int n(struct fx *f) { return fx_##n(f, RAM); }\nCALL(map)",
    id="a name that is pasted"),
    pytest.param(DIRECT + "#define CALL(n) int n(struct fx *f) { return n##_map(f, RAM); }\nCALL(fx)",
    id="the end of one"),
    pytest.param(DIRECT + 'int p(struct fx *f, u64 a) __attribute__((alias("fx_map")));', id="an alias of the linker"),
    pytest.param(DIRECT + "DEFINE_STATIC_CALL(fxm, fx_map);\nint p(struct fx *f) { return static_call(fxm)(f, RAM); }",
                 id="a static call"),
    pytest.param(DIRECT + "static int (*const fns[])(struct fx *, u64) = { fx_map };\n"
                          "int p(struct fx *f) { return fns[0](f, RAM); }",
                 id="an array of functions"),
    pytest.param(STORED + "#define call_op(d, op, args...) ((d)->ops->op(args))\n"
                 "int p(struct dd *d, struct fx *f) { return call_op(d, map, f, RAM); }",
                 id="a macro that is handed the member's name"),
    pytest.param(STORED + "int p(struct dd *d, struct fx *f) { int (*m)(struct fx *, u64) = d->ops->map; return m(f, "
                          "RAM); }",
                 id="a member that is kept in a local"),
    pytest.param(STORED + "void i(struct dd *d) { d->late = d->ops->map; }\nint p(struct dd *d, struct fx *f) { "
                          "return d->late(f, RAM); }",
                 id="a member that is copied"),
    pytest.param(STORED + "int p(struct dd *d, struct fx *f) { return (d->own.map ? d->ops->map : NULL)(f, RAM); }",
                 id="a member that is chosen"),
    pytest.param(STORED + "int p(struct dd *d, struct fx *f) { return (*d->ops->map)(f, RAM); }",
    id="a member that is followed"),
    pytest.param(GETTERS + ASKED + "void i(struct dd *d) { d->own.get = gb; }",
    id="a target that is in no file at hand"),
    pytest.param("u64 __weak gw(struct fx *f) { return BAR; }\nint p(struct fx *f) { return fx_map(f, gw(f)); }",
    id="a weak function"),
]  # fmt: skip
CERTAIN = [
    pytest.param(DIRECT, id="one caller"),
    pytest.param(DIRECT + "EXPORT_SYMBOL_GPL(fx_unmap);", id="another one that is exported"),
    pytest.param(DIRECT + "#define CALL(n) int n(struct fx *f) { return fx_##n(f); }\nCALL(unmap)",
    id="another name is pasted"),
    pytest.param(STORED, id="through an ops member"),
    pytest.param(STORED + "int p(struct dd *d) { return !d->ops->map && d->own.map == NULL; }",
    id="a member that is asked for"),
    pytest.param(GETTERS + ASKED, id="a target that is known"),
]  # fmt: skip


def _found(report: Report) -> Finding:
    return next(found for found in report.findings if found.callee == "dma_map_resource" and found.origin is not None)


@pytest.mark.parametrize("code", DOUBTFUL)
def test_who_may_call_it_otherwise_makes_it_doubtful(code: str, scan_text: Callable[[str], Report]) -> None:
    origin = _found(scan_text(HEAD + code)).origin
    assert origin is not None
    assert not origin.certain


@pytest.mark.parametrize("code", CERTAIN)
def test_what_is_no_other_call_leaves_it_certain(code: str, scan_text: Callable[[str], Report]) -> None:
    origin = _found(scan_text(HEAD + code)).origin
    assert origin is not None
    assert (origin.certain, [str(kind) for kind in origin.kinds]) == (True, ["pci-bar"])


def test_a_function_that_the_makefile_chooses_is_each_of_them(
    tmp_path: Path, scan_folder: Callable[[Path], Report]
) -> None:
    (tmp_path / "fx.h").write_text(HEAD.partition("static int fx_map")[0] + "u64 gw(struct fx *f);\n")
    rest = HEAD.partition("static int fx_map")
    (tmp_path / "a.c").write_text(
        f'#include "fx.h"\n{rest[1]}{rest[2]}int p(struct fx *f) {{ return fx_map(f, gw(f)); }}\n'
    )
    for name, value in (("b", "BAR"), ("c", "RAM")):
        (tmp_path / f"{name}.c").write_text(f'#include "fx.h"\nu64 gw(struct fx *f) {{ return {value}; }}\n')
    (tmp_path / "Makefile").write_text("obj-m := fx.o\nfx-y := a.o\nfx-$(CONFIG_B) += b.o\nfx-$(CONFIG_C) += c.o\n")
    origin = _found(scan_folder(tmp_path)).origin
    assert origin is not None
    assert sorted(map(str, origin.kinds)) == ["pci-bar", "ram"]
