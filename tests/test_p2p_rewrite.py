# SPDX-License-Identifier: GPL-2.0-only
"""The flag of a P2P path: where it is set, and the wrong places where it never is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dmamigrate import rules
from dmamigrate.findings import Finding, Report

HEAD = """
#include <linux/dma-mapping.h>
#include <linux/pci-p2pdma.h>

struct rq { struct device *dev; struct page *page; unsigned long attrs; dma_addr_t dma; size_t len; bool through; };
"""
UNMAP = "\nvoid fx_unmap(struct rq *rq)\n{\n\tdma_unmap_phys(rq->dev, rq->dma, rq->len, DMA_TO_DEVICE, %s);\n}\n"
BODY = """
int fx_map(struct rq *rq)
{
	struct pci_p2pdma_map_state state = {};
%s
	switch (pci_p2pdma_state(&state, rq->dev, rq->page)) {
	%s
	default:
		return -EREMOTEIO;
	}
	rq->dma = dma_map_phys(rq->dev, page_to_phys(rq->page), rq->len,
		DMA_TO_DEVICE, %s);
	if (dma_mapping_error(rq->dev, rq->dma))
		return -ENOMEM;
	return 0;
}
"""
APART = "case PCI_P2PDMA_MAP_THRU_HOST_BRIDGE:\n\t\tbreak;\n\tcase PCI_P2PDMA_MAP_NONE:\n\t\tbreak;"
TOGETHER = "case PCI_P2PDMA_MAP_NONE:\n\tcase PCI_P2PDMA_MAP_THRU_HOST_BRIDGE:\n\t\tbreak;"
ABOVE = "case PCI_P2PDMA_MAP_THRU_HOST_BRIDGE:\n\tcase PCI_P2PDMA_MAP_NONE:\n\t\tbreak;"
ALONE = "case PCI_P2PDMA_MAP_THRU_HOST_BRIDGE:\n\t\tbreak;"


def _one(report: Report) -> Finding:
    found = [f for f in report.findings if f.rule == "p2p-missing-mmio"]
    assert len(found) == 1
    return found[0]


def _added(finding: Finding) -> list[str]:
    lines = finding.rewrite.diff.splitlines()
    return [line[1:].strip() for line in lines if line.startswith("+") and not line.startswith("+++")]


TEST = "if (state.map == PCI_P2PDMA_MAP_THRU_HOST_BRIDGE)"
PLACES = [
    pytest.param("\trq->attrs = 0;", APART, "rq->attrs", ["rq->attrs |= DMA_ATTR_MMIO;"], id="behind the label"),
    pytest.param(
        "\trq->attrs = 0;",
        ABOVE,
        "rq->attrs",
        ["rq->attrs |= DMA_ATTR_MMIO;", "fallthrough;"],
        id="behind a label that falls into the next",
    ),
    pytest.param(
        "\trq->attrs = 0;",
        TOGETHER,
        "rq->attrs",
        [TEST, "rq->attrs |= DMA_ATTR_MMIO;"],
        id="by a test where another type falls into the label",
    ),
    pytest.param(
        "\tif (rq->through)\n\t\trq->attrs = 0;",
        APART,
        "rq->attrs",
        [TEST, "rq->attrs |= DMA_ATTR_MMIO;", "else", "rq->attrs &= ~DMA_ATTR_MMIO;"],
        id="and taken away where the last transfer's may be left",
    ),
]


@pytest.mark.parametrize(("before", "labels", "attrs", "added"), PLACES)
def test_the_flag_is_set_where_the_type_is_told(
    before: str, labels: str, attrs: str, added: list[str], scan_text: Callable[[str], Report]
) -> None:
    finding = _one(scan_text(HEAD + BODY % (before, labels, attrs) + UNMAP % "rq->attrs"))
    assert finding.rewrite.status == "proposed"
    assert _added(finding) == added
    assert finding.verdict.status == "proved"


def test_a_path_of_one_type_gets_the_flag_at_both_ends(scan_text: Callable[[str], Report]) -> None:
    finding = _one(scan_text(HEAD + BODY % ("", ALONE, "0") + UNMAP % "0"))
    assert finding.rewrite.status == "proposed"
    assert len([line for line in _added(finding) if "DMA_ATTR_MMIO);" in line]) == 2
    assert finding.verdict.status == "proved"


SWAPPED = (
    "case PCI_P2PDMA_MAP_NONE:\n\t\trq->attrs |= DMA_ATTR_MMIO;\n\t\tbreak;\n"
    "\tcase PCI_P2PDMA_MAP_THRU_HOST_BRIDGE:\n\t\tbreak;"
)
PAGE = (
    (BODY % ("", APART, "0"))
    .replace("dma_map_phys(rq->dev, page_to_phys(rq->page)", "dma_map_page(rq->dev, rq->page, 0")
    .replace("DMA_TO_DEVICE, 0)", "DMA_TO_DEVICE)")
)
WITHHELD = [
    pytest.param(
        BODY % ("", APART, "0") + UNMAP % "0", "does not know the map type", id="an unmap that cannot know the type"
    ),
    pytest.param(
        BODY % ("\trq->attrs = 0;", SWAPPED, "rq->attrs") + UNMAP % "rq->attrs",
        "wrong arm",
        id="a flag that stands on the wrong arm",
    ),
]


@pytest.mark.parametrize(("code", "why"), WITHHELD)
def test_it_is_withheld_with_the_fact_that_is_missing(code: str, why: str, scan_text: Callable[[str], Report]) -> None:
    finding = _one(scan_text(HEAD + code))
    assert finding.rewrite.status == "withheld"
    assert why in (finding.rewrite.reason or "")


def test_a_helper_that_others_call_without_asking_is_not_given_the_flag_for_all(
    scan_text: Callable[[str], Report],
) -> None:
    code = (
        "\nstatic int fx_do(struct rq *rq)\n{\n\trq->dma = dma_map_phys(rq->dev, page_to_phys(rq->page), rq->len, "
        "DMA_TO_DEVICE, 0);\n\treturn dma_mapping_error(rq->dev, rq->dma);\n}\n"
        "int fx_ram(struct rq *rq)\n{\n\treturn fx_do(rq);\n}\n"
        "int fx_map(struct rq *rq)\n{\n\tstruct pci_p2pdma_map_state state = {};\n\n"
        "\tif (pci_p2pdma_state(&state, rq->dev, rq->page) != PCI_P2PDMA_MAP_THRU_HOST_BRIDGE)\n"
        "\t\treturn -EREMOTEIO;\n"
        "\treturn fx_do(rq);\n}\n"
    )
    assert _one(scan_text(HEAD + code + UNMAP % "0")).rewrite.status == "withheld"


def test_what_is_proposed_does_not_depend_on_the_rules_that_are_chosen(
    scan_with: Callable[..., Report],
) -> None:
    chosen = next(rule for rule in rules.load() if rule.id == "p2p-missing-mmio")
    finding = _one(scan_with(HEAD + BODY % ("", APART, "0") + UNMAP % "0", chosen))
    assert finding.rewrite.status == "withheld"
    assert "does not know the map type" in (finding.rewrite.reason or "")


WIDE = HEAD.replace("dma_addr_t dma; ", "\n\tdma_addr_t dma;\n\t").replace("unsigned long attrs; ", "")
KEEPS = ["unsigned long attrs;", "rq->attrs = 0;", TEST, "rq->attrs = DMA_ATTR_MMIO;"]
KEPT = [
    pytest.param(BODY % ("", APART, "0") + UNMAP % "0", id="a constant at both ends"),
    pytest.param(
        BODY % ("", APART, "DMA_ATTR_NO_WARN") + UNMAP % "DMA_ATTR_NO_WARN", id="beside attributes that there are"
    ),
    pytest.param(PAGE + UNMAP.replace("phys", "page").replace(", %s)", ")"), id="the page API, which takes none"),
    pytest.param(
        BODY % ("", APART, "0") + (UNMAP % "0").replace("struct rq *rq", "struct rq **all").replace("rq->", "all[0]->"),
        id="the unmap has another name for the object",
    ),
]
NOT_KEPT = [
    pytest.param(HEAD, BODY % ("", APART, "0") + UNMAP % "0", id="a struct whose members stand in one line"),
    pytest.param(
        WIDE,
        BODY % ("", APART, "0") + UNMAP % "0"
        + "int fx_ram(struct rq *rq)\n{\n\trq->dma = dma_map_phys(rq->dev, virt_to_phys(rq), 64, DMA_TO_DEVICE, 0);\n"
        "\treturn dma_mapping_error(rq->dev, rq->dma);\n}\n",
        id="the unmap is for another map, too",
    ),
    pytest.param(
        WIDE, BODY % ("", APART, "0") + (UNMAP % "0").replace("rq->dma,", "dma,").replace("rq *rq)",
        "rq *rq, dma_addr_t dma)")
        + "void fx_end(struct rq *rq)\n{\n\tfx_unmap(rq, rq->dma);\n}\n", id="the unmap is handed the handle alone",
    ),
    pytest.param(
        WIDE, BODY % ("", APART,
        "0") + UNMAP % "0" + "void fx_copy(struct rq *to, struct rq *rq)\n{\n\tto->dma = rq->dma;\n}\n",
        id="the handle is copied to an object without attributes",
    ),
    pytest.param(
        WIDE.replace("bool through; };", "bool through; } __packed;"), BODY % ("", APART, "0") + UNMAP % "0",
        id="a struct whose layout is somebody's",
    ),
    pytest.param(
        WIDE.replace("size_t len;", "__le32 tag; size_t len;"), BODY % ("", APART, "0") + UNMAP % "0",
        id="a descriptor",
    ),
    pytest.param(
        '#include "rq.h"\n#include <linux/pci-p2pdma.h>\n', BODY % ("", APART, "0") + UNMAP % "0",
        id="a struct that is not in sight"
    ),
]  # fmt: skip


@pytest.mark.parametrize("code", KEPT)
def test_what_the_unmap_cannot_know_is_kept_beside_the_handle(code: str, scan_text: Callable[[str], Report]) -> None:
    finding = _one(scan_text(WIDE + code))
    assert (finding.rewrite.status, finding.verdict.status) == ("proposed", "proved")
    assert _added(finding)[: len(KEEPS)] == KEEPS
    assert sum("attrs);" in line for line in _added(finding)) == 2


@pytest.mark.parametrize(("head", "code"), NOT_KEPT)
def test_it_is_not_kept_where_that_is_not_all_of_it(head: str, code: str, scan_text: Callable[[str], Report]) -> None:
    assert _one(scan_text(head + code)).rewrite.status == "withheld"


CALLEE = (
    "\nstatic int fx_do(struct rq *rq)\n{\n\tunsigned long attrs = @;\n\n"
    "\trq->dma = dma_map_phys(rq->dev, page_to_phys(rq->page), rq->len, DMA_TO_DEVICE, attrs);\n"
    "\trq->attrs = attrs;\n\treturn dma_mapping_error(rq->dev, rq->dma);\n}\n"
    "int fx_map(struct rq *rq)\n{\n\tstruct pci_p2pdma_map_state state = {};\n\n"
    "\tif (pci_p2pdma_state(&state, rq->dev, rq->page) != PCI_P2PDMA_MAP_THRU_HOST_BRIDGE)\n\t\treturn -EREMOTEIO;\n"
    "\treturn fx_do(rq);\n}\n"
)
OTHERS = [
    pytest.param("int fx_ram(struct rq *rq)\n{\n\treturn fx_do(rq);\n}\n", id="a caller that does not ask"),
    pytest.param("struct ops o = { .go = fx_do };\n", id="a caller that is not in sight"),
    pytest.param(
        "int fx_both(struct rq *rq)\n{\n\tstruct pci_p2pdma_map_state state = {};\n\n"
        "\tif (pci_p2pdma_state(&state, rq->dev, rq->page) == PCI_P2PDMA_MAP_BUS_ADDR)\n\t\treturn -EREMOTEIO;\n"
        "\treturn fx_do(rq);\n}\n",
        id="a caller that lets other types through",
    ),
]


@pytest.mark.parametrize(
    ("old", "new"), [("0", "DMA_ATTR_MMIO"), ("DMA_ATTR_NO_WARN", "DMA_ATTR_NO_WARN | DMA_ATTR_MMIO")]
)
def test_a_callee_for_one_type_alone_sets_the_flag_itself(
    old: str, new: str, scan_text: Callable[[str], Report]
) -> None:
    finding = _one(scan_text(HEAD + CALLEE.replace("@", old) + UNMAP % "rq->attrs"))
    assert (finding.rewrite.status, finding.verdict.status) == ("proposed", "proved")
    assert _added(finding) == [f"unsigned long attrs = {new};"]


@pytest.mark.parametrize("more", OTHERS)
def test_a_callee_that_others_may_call_does_not(more: str, scan_text: Callable[[str], Report]) -> None:
    found = scan_text(HEAD + CALLEE.replace("@", "0") + UNMAP % "rq->attrs" + more).findings
    assert {one.rewrite.status for one in found if one.rule == "p2p-missing-mmio"} == {"withheld"}


def test_a_variable_that_another_map_is_given_is_left_as_it_is(scan_text: Callable[[str], Report]) -> None:
    meta = (
        "\trq->len = dma_map_phys(rq->dev, virt_to_phys(kmalloc(64, GFP_KERNEL)), 64, DMA_TO_DEVICE, rq->attrs);\n"
        "\tif (dma_mapping_error(rq->dev, rq->len))\n\t\treturn -ENOMEM;\n\treturn 0;\n}"
    )
    code = (BODY % ("\trq->attrs = 0;", APART, "rq->attrs")).replace("\treturn 0;\n}", meta)
    finding = _one(scan_text(HEAD + code + UNMAP % "rq->attrs"))
    assert not any(line == "rq->attrs |= DMA_ATTR_MMIO;" for line in _added(finding))


def test_an_unmap_with_an_argument_too_few_is_no_reason_to_stop(scan_text: Callable[[str], Report]) -> None:
    code = HEAD + BODY % ("", ALONE, "0")
    whole, cut = (scan_text(code + UNMAP.replace(", %s", attrs)) for attrs in (", 0", ""))
    assert not cut.skipped
    assert (_one(whole).rewrite.status, _one(cut).rewrite.status) == ("proposed", "withheld")
