# SPDX-License-Identifier: GPL-2.0-only
"""The rewritten call, as text: kernel style, the author's lines, comments kept."""

from __future__ import annotations

import pytest

from dmamigrate.rewrite.layout import NewCall, apply, indent, rewrite, width
from dmamigrate.syntax.source import Source
from dmamigrate.syntax.unit import Unit


def changed(body: str, attrs: str = "DMA_ATTR_MMIO", name: str = "dma_map_phys") -> str:
    code = f"void f(void)\n{{\n{body}\n}}\n"
    unit = Unit(Source("f.c", code.encode()))
    (call,) = [c for _, c in unit.function(unit.items[0]).calls if c.name.startswith("dma_")]
    edits = rewrite(unit.source, call, NewCall(name, (0, 1, 2, 3, attrs)))
    text = apply(unit.source.data, edits).decode()
    return text.removeprefix("void f(void)\n{\n").removesuffix("\n}\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            "\tx = dma_map_resource(d, p, s, r, 0);",
            "\tx = dma_map_phys(d, p, s, r, DMA_ATTR_MMIO);",
            id="one line stays one line",
        ),
        pytest.param(
            "\tx = dma_map_resource(d, p,\n\t\t\t     s, r, 0);",
            "\tx = dma_map_phys(d, p,\n\t\t\t s, r, DMA_ATTR_MMIO);",
            id="aligned lines move with the parenthesis",
        ),
        pytest.param(
            "\tx = dma_map_resource(d, p,\n\t\ts, r, 0);",
            "\tx = dma_map_phys(d, p,\n\t\ts, r, DMA_ATTR_MMIO);",
            id="lines that were not aligned stay where they are",
        ),
        pytest.param(
            "\tx = dma_map_resource(d, /* window */ p,\n\t\t\t     s, r, /* none */ 0);",
            "\tx = dma_map_phys(d, /* window */ p,\n\t\t\t s, r, /* none */ DMA_ATTR_MMIO);",
            id="comments survive",
        ),
        pytest.param(
            "\taddress = dma_map_resource(device->dev, base + off, size, direction, 0);",
            "\taddress = dma_map_phys(device->dev, base + off, size, direction,\n\t\t\t       DMA_ATTR_MMIO);",
            id="broken at 80 where the original kept to 80",
        ),
        pytest.param(
            "\taddress = dma_map_resource(device->device, base_address + offset, the_size, direction, 0);",
            "\taddress = dma_map_phys(device->device, base_address + offset, the_size, direction,\n"
            "\t\t\t       DMA_ATTR_MMIO);",
            id="at most 100 where the original was wider",
        ),
        pytest.param(
            "\taddress = dma_map_resource(device->dev, base + offset, // the window\n"
            "\t\t\t\t   size, direction, direction, 0);".replace("direction, direction", "direction"),
            "\taddress = dma_map_phys(device->dev, base + offset, // the window\n"
            "\t\t\t       size, direction, DMA_ATTR_MMIO);",
            id="a line comment stays at its line",
        ),
        pytest.param(
            "\tx = dma_map_resource (d, p, s, r, 0);",
            "\tx = dma_map_phys (d, p, s, r, DMA_ATTR_MMIO);",
            id="space before the parenthesis",
        ),
        pytest.param(
            "\tx = dma_map_resource(d, f(a, b), s, r, 0);",
            "\tx = dma_map_phys(d, f(a, b), s, r, DMA_ATTR_MMIO);",
            id="commas inside an argument",
        ),
    ],
)
def test_kernel_style(before: str, after: str) -> None:
    assert changed(before) == after


def test_a_file_with_crlf_keeps_it() -> None:
    body = "\taddress = dma_map_resource(device->dev, base + off, size, direction, 0);"
    unit = Unit(Source("f.c", f"void f(void)\r\n{{\r\n{body}\r\n}}\r\n".encode()))
    (call,) = [c for _, c in unit.function(unit.items[0]).calls if c.name.startswith("dma_")]
    text = apply(unit.source.data, rewrite(unit.source, call, NewCall("dma_map_phys", (0, 1, 2, 3, "DMA_ATTR_MMIO"))))
    assert text.count(b"\r\n") == text.count(b"\n") == 5


@pytest.mark.parametrize("column", range(0, 40, 3))
def test_indentation_is_tabs_then_spaces(column: int) -> None:
    assert width(indent(column)) == column
    assert " \t" not in indent(column)


def test_edits_apply_from_last_to_first_whatever_their_order() -> None:
    unit = Unit(Source("f.c", b"void f(void) { dma_a(1, 2, 3, 4, 5); }"))
    (call,) = [c for _, c in unit.function(unit.items[0]).calls]
    edits = rewrite(unit.source, call, NewCall("dma_longer", (0, 1, 2, 3, "x | y")))
    assert apply(unit.source.data, edits) == apply(unit.source.data, tuple(reversed(edits)))
