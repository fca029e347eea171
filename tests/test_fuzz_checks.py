# SPDX-License-Identifier: GPL-2.0-only
"""What the check of damaged inputs takes for a page call that became one of an address, and what it does not."""

from __future__ import annotations

import pytest

from tests.fuzz.targets import by_address

MAP = "dma_map_page(dev, page, off, len, dir)"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(MAP, "dma_map_phys(dev, page_to_phys(page) + off, len, dir, 0)", id="page and offset"),
        pytest.param(
            "dma_map_page(dev, f(a, b), 0, len, dir)", "dma_map_phys(dev, page_to_phys(f(a, b)), len, dir, 0)",
            id="no offset"
        ),
        pytest.param(
            "dma_map_page(dev, p, a ? b : c, len, dir)",
            "dma_map_phys(dev, page_to_phys(p) + (a ? b : c), len, dir, 0)",
            id="parentheses around what is added",
        ),
        pytest.param(MAP, "dma_map_phys(dev, page_to_phys(page) + off, len, dir, s->attrs)",
        id="attributes that are kept"),
        pytest.param(
            "dma_map_page_attrs(dev, page, off, len, dir, attrs)",
            "dma_map_phys(dev, page_to_phys(page) + off, len, dir, attrs | DMA_ATTR_MMIO)",
            id="the flag beside others",
        ),
        pytest.param("dma_unmap_page(dev, dma, len, dir)", "dma_unmap_phys(dev, dma, len, dir, 0)", id="an unmap"),
    ],
)  # fmt: skip
def test_a_page_becomes_an_address(old: str, new: str) -> None:
    assert by_address(old, new)


@pytest.mark.parametrize(
    "new",
    [
        pytest.param("dma_map_phys(dev, page_to_phys(off) + page, len, dir, 0)", id="page and offset change places"),
        pytest.param("dma_map_phys(dev, page_to_phys(page), len, dir, 0)", id="offset lost"),
        pytest.param("dma_map_phys(dev, page_to_phys(page) + off, dir, len, 0)", id="size and direction change places"),
        pytest.param("dma_map_phys(page_to_phys(page) + off, len, dir, 0)", id="device lost"),
        pytest.param("dma_map_phys(dev, page_to_phys(page) + off, len, dir, 0, 0)", id="two more"),
        pytest.param("dma_map_phys(dev, page_to_phys(page) + off, len, dir, f(x))", id="a call as attributes"),
        pytest.param("dma_unmap_phys(dev, page_to_phys(page) + off, len, dir, 0)", id="the other end's name"),
        pytest.param("dma_map_phys(dev, page_to_phys(page) + off, len, dir, 0); x()", id="a statement behind it"),
        pytest.param(MAP, id="nothing changed"),
    ],
)
def test_what_else_changes_is_noticed(new: str) -> None:
    assert not by_address(MAP, new)
