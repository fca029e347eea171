# SPDX-License-Identifier: GPL-2.0-only
"""dma_map_page() and dma_map_single() on what they cannot map: P2P memory, and anything with DMA_ATTR_MMIO."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dmamigrate.findings import Kind, Origin
from dmamigrate.lives.api import MMIO
from dmamigrate.lives.attributes import Attributes
from dmamigrate.lives.detect.defects import Defect
from dmamigrate.lives.pair import PAGE_MAPS, Site, sites_in
from dmamigrate.values.engine import Engine

# Where P2P memory comes from; a file without these has none that could be told, and one without the flag cannot pass it.
_MAKES_P2P = ("pci_alloc_p2pmem", "pci_p2pmem_alloc_sgl", "is_pci_p2pdma_page")
WORDS = (*_MAKES_P2P, MMIO)


def misused(tracer: Engine, attributes: Attributes, paths: Iterable[str]) -> Iterator[Defect]:
    """The calls of the page API that always fail, or that map device memory as if it were the kernel's."""
    for path in paths:
        unit = tracer.tree.unit(path)
        if unit is None:
            continue
        p2p = any(word.encode() in unit.source.data for word in _MAKES_P2P)
        if not p2p and MMIO.encode() not in unit.source.data:
            continue
        for site in sites_in(unit, PAGE_MAPS)[0]:
            held = attributes.at(site)
            if held is not None and any(MMIO in one for one in held):
                yield Defect("page-api-on-mmio", site, {"what": f"{MMIO} makes {site.call.name}() fail"})
            elif p2p and (origin := _device_memory(tracer, site)) is not None:
                yield Defect(
                    "page-api-on-mmio",
                    site,
                    {"what": f"this is {origin.kinds[0]} memory, and the call takes it for RAM"},
                    origin=origin,
                )


def _device_memory(tracer: Engine, site: Site) -> Origin | None:
    address = site.argument("page") or site.argument("ptr")
    origin = tracer.origin(site.fn, site.node, address) if address is not None else None
    return origin if origin is not None and origin.certain and origin.kinds[0] in (Kind.P2P, Kind.PCI_BAR) else None
