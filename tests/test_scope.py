# SPDX-License-Identifier: GPL-2.0-only
"""Which folder holds all that is built into one module."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dmamigrate import scan as scans
from dmamigrate.findings import Report
from dmamigrate.program.tree import Tree
from dmamigrate.rules import Rule
from dmamigrate.values.knowledge import Knowledge


@pytest.mark.parametrize(
    ("files", "module"),
    [
        pytest.param({"a/fx/Makefile": "obj-m += fx.o"}, "a/fx", id="its Makefile builds it"),
        pytest.param({"a/fx/Kbuild": "obj-m += fx.o"}, "a/fx", id="its Kbuild does"),
        pytest.param({"a/Makefile": "obj-m += fx.o\nfx-y := fx/fx.o"}, "a", id="the one above does"),
        pytest.param({"a/Makefile": "include fx/fx.Kbuild", "a/fx/fx.Kbuild": "obj-m += fx.o"}, "a/fx",
        id="a part of that"),
        pytest.param(
            {"a/Makefile": "all:\n", "a/fx/fx-sources.Kbuild": "FX := fx.c", "a/fx/fx.Kbuild": "obj-m += fx.o"},
            "a/fx",
            id="the second part",
        ),
        pytest.param(
            {"a/Makefile": "all:\n", "a/fx/Makefile": "all:\n", "a/fx/fx.Kbuild": "obj-m += fx.o"}, "",
            id="a part beside a Makefile"
        ),
        pytest.param({"a/fx/Makefile": "obj-m += fx.o\nfx-y := ../by/by.o"}, "a", id="with what stands beside it"),
        pytest.param({"Makefile": "obj-m += fx.o", "a/Makefile": "all:\n"}, "", id="nothing on the way builds"),
    ],
)  # fmt: skip
def test_a_module_is_a_folder(tmp_path: Path, files: dict[str, str], module: str) -> None:
    for name, text in {"a/fx/fx.c": "", **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert Tree(tmp_path).module("a/fx/fx.c") == module


FX = """\
#include <linux/dma-mapping.h>
#include <linux/pci.h>
#include "fx.h"

void fx_probe(struct fx *f, struct pci_dev *pdev)
{
	f->bar = pci_resource_start(pdev, 0);
}

int fx_map(struct fx *f, struct device *dev)
{
	f->at = dma_map_resource(dev, f->bar, 64, DMA_TO_DEVICE, 0);
	return dma_mapping_error(dev, f->at);
}

void fx_unmap(struct fx *f, struct device *dev)
{
	dma_unmap_resource(dev, f->at, 64, DMA_TO_DEVICE, 0);
}
"""
STRUCT = "struct fx { phys_addr_t bar; dma_addr_t at; };\n"
OTHER = '#include "../fx.h"\nvoid by_probe(struct fx *f)\n{\n\tf->bar = virt_to_phys(kmalloc(64, GFP_KERNEL));\n}\n'


@pytest.mark.parametrize(
    ("files", "certain"),
    [
        pytest.param({"a/fx.h": STRUCT}, True, id="the struct of the folder above, which builds something itself"),
        pytest.param(
            {"a/fx.h": STRUCT, "a/by/Makefile": "obj-m += by.o", "a/by/by.c": OTHER}, False,
            id="another module below that may set it",
        ),
        pytest.param(
            {"a/fx/fx.h": STRUCT, "a/by/Makefile": "obj-m += by.o", "a/by/by.c": "int by;\n"}, True,
            id="a struct of its own"
        ),
        pytest.param({"inc/deep/fx.h": STRUCT}, True, id="a header that an -I leads to"),
        pytest.param({"inc/one/fx.h": STRUCT, "inc/two/fx.h": STRUCT}, False, id="two of that name, as far away"),
    ],
)  # fmt: skip
def test_stores_are_looked_for_where_the_struct_is_seen(
    tmp_path: Path, scan_folder: Callable[[Path], Report], files: dict[str, str], certain: bool
) -> None:
    built = {"a/Makefile": "obj-m += core.o", "a/fx/Makefile": "obj-m += fx.o", "a/fx/fx.c": FX}
    for name, text in {**built, **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (found,) = [found for found in scan_folder(tmp_path).findings if found.callee == "dma_map_resource"]
    assert found.origin is not None
    assert (found.origin.kinds[0], found.origin.certain) == ("pci-bar", certain)


def test_a_sibling_that_finds_the_header_by_a_flag_may_store_to_the_struct(
    tmp_path: Path, scan_folder: Callable[[Path], Report]
) -> None:
    for name in ("core", "hw"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Makefile").write_text(f"obj-m := {name}.o\n")
    (tmp_path / "Makefile").write_text("obj-y += core/ hw/\nsubdir-ccflags-y += -I$(src)/core\n")
    (tmp_path / "core/fx.h").write_text(
        "struct fx { struct device *dev; struct pci_dev *pdev; u64 base; dma_addr_t at; };\n"
    )
    (tmp_path / "core/core.c").write_text(
        '#include "fx.h"\nint fx_map(struct fx *f)\n{\n\tf->base = pci_resource_start(f->pdev, 0);\n\treturn 0;\n}\n'
        "int fx_go(struct fx *f)\n{\n\tf->at = dma_map_resource(f->dev, f->base, 64, DMA_TO_DEVICE, 0);\n"
        "\treturn dma_mapping_error(f->dev, f->at);\n}\n"
    )
    (tmp_path / "hw/hw.c").write_text('#include "fx.h"\nvoid hw(struct fx *f, u64 base)\n{\n\tf->base = base;\n}\n')
    (origin,) = [
        one.origin for one in scan_folder(tmp_path).findings if one.callee == "dma_map_resource" and one.origin
    ]
    assert not origin.certain
    # beside many modules, those below this one count all the same
    for number in range(12):
        (tmp_path / f"other{number}").mkdir()
        (tmp_path / f"other{number}/Makefile").write_text(f"obj-m := other{number}.o\n")
        (tmp_path / f"other{number}/other{number}.c").write_text("int other;\n")
    (tmp_path / "core/low").mkdir()
    (tmp_path / "core/low/Makefile").write_text("obj-m := low.o\n")
    (tmp_path / "core/low/low.c").write_text(
        '#include "../fx.h"\nvoid low(struct fx *f, u64 base)\n{\n\tf->base = base;\n}\n'
    )
    (tmp_path / "hw/hw.c").write_text("int hw;\n")
    (origin,) = [
        one.origin for one in scan_folder(tmp_path).findings if one.callee == "dma_map_resource" and one.origin
    ]
    assert not origin.certain
    shutil.rmtree(tmp_path / "core/low")
    for number in range(12):
        shutil.rmtree(tmp_path / f"other{number}")
    (tmp_path / "hw/hw.c").write_text('#include "fx.h"\nu64 hw(struct fx *f)\n{\n\treturn f->at;\n}\n')
    (origin,) = [
        one.origin for one in scan_folder(tmp_path).findings if one.callee == "dma_map_resource" and one.origin
    ]
    assert origin.certain


KERNEL = {
    "MAINTAINERS": "",
    "Kbuild": "",
    "Makefile": "VERSION = 7\nPATCHLEVEL = 3\n",
    "include/linux/dma-mapping.h": "void dma_map_phys(void);\nvoid dma_unmap_phys(void);\n#define DMA_ATTR_MMIO 1\n",
    "include/linux/fxlib.h": "static inline u64 fx_bar(struct pci_dev *p)\n{ return pci_resource_start(p, 0); }\n",
}
OUTSIDE = {
    "hw/Makefile": "obj-m := fx.o\nccflags-y += -I$(src)/../include\n",
    "include/fx.h": "struct fx { struct device *dev; struct pci_dev *pdev; u64 base; dma_addr_t at; };\n",
    "hw/fx.c": """\
#include <linux/fxlib.h>
#include "fx.h"
void fx_init(struct fx *f)
{
	f->base = fx_bar(f->pdev);
}
int fx_map(struct fx *f)
{
	f->at = dma_map_resource(f->dev, f->base, 64, DMA_TO_DEVICE, 0);
	return dma_mapping_error(f->dev, f->at);
}
void fx_unmap(struct fx *f)
{
	dma_unmap_resource(f->dev, f->at, 64, DMA_TO_DEVICE, 0);
}
""",
}


@pytest.mark.parametrize(
    ("more", "certain"),
    [
        pytest.param({}, True, id="the kernel's header, and the driver's own in a folder of that name"),
        pytest.param(
            {"include/linux/fxlib.h": "static inline u64 fx_bar(struct pci_dev *p)\n{ return fx_any(p); }\n"}, False,
            id="the driver's own header comes before the kernel's"
        ),
        pytest.param({"hw/set.c": '#include "fx.h"\nvoid s(struct fx *f, u64 x)\n{\n\tf->base = x;\n}\n'}, False,
            id="the driver's own struct is set in another file"),
    ],
)  # fmt: skip
def test_a_kernel_outside_of_the_checkout_is_asked_for_facts_only(
    tmp_path: Path, known: Knowledge, all_rules: tuple[Rule, ...], more: dict[str, str], certain: bool
) -> None:
    for folder, files in (("linux", KERNEL), ("driver", OUTSIDE | more)):
        for name, text in files.items():
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / name).write_text(text)
    report = scans.scan(scans.Options((tmp_path / "driver",), all_rules, known, tree=tmp_path / "linux"))
    (found,) = [one for one in report.findings if one.callee == "dma_map_resource"]
    assert (report.tree_version, report.target, found.span.path) == ("7.3", "7.3", "hw/fx.c")
    assert found.origin is not None
    assert found.origin.certain is certain
    assert [one.span.path for one in found.partners] == ["hw/fx.c", "hw/fx.c"]


WRAPPED = {
    "fx.h": "struct fx { struct device *dev; struct pci_dev *pdev; dma_addr_t at; };\n"
    "#define FX_MAP(f, p) dma_map_resource((f)->dev, (p), 64, DMA_TO_DEVICE, 0)\n"
    "#define FX_UNMAP(f) dma_unmap_resource((f)->dev, (f)->at, 64, DMA_TO_DEVICE, 0)\n",
    "fx.c": '#include "fx.h"\nint fx_map(struct fx *f)\n{\n\tf->at = FX_MAP(f, pci_resource_start(f->pdev, 0));\n'
    "\treturn dma_mapping_error(f->dev, f->at);\n}\nvoid fx_unmap(struct fx *f)\n{\n\tFX_UNMAP(f);\n}\n",
}


def test_a_macro_of_a_header_is_reported_where_it_is_used(
    tmp_path: Path, scan_folder: Callable[[Path], Report]
) -> None:
    for name, text in WRAPPED.items():
        (tmp_path / name).write_text(text)
    (found,) = scan_folder(tmp_path).findings
    assert (found.rule, found.span.path, found.span.line) == ("map-resource-bar", "fx.c", 4)
    assert {edit.path for edit in found.rewrite.edits} == {"fx.h"}
    assert found.verdict.status == "proved"
