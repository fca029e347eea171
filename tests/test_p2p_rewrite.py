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
    pytest.param(PAGE, "takes no attributes", id="the page API"),
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
        "\tif (pci_p2pdma_state(&state, rq->dev, rq->page) != PCI_P2PDMA_MAP_THRU_HOST_BRIDGE)\n\t\treturn -EREMOTEIO;\n"
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
