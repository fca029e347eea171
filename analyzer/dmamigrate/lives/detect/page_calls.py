# SPDX-License-Identifier: GPL-2.0-only
"""The page API on what it cannot map: P2P memory, BARs, and anything with DMA_ATTR_MMIO."""

from __future__ import annotations

from collections.abc import Iterator

from dmamigrate.findings import Kind, Origin
from dmamigrate.lives.module import Defect, Module
from dmamigrate.lives.sites import Site, in_file, used

RULES = ("page-api-on-mmio",)
_MMIO = "DMA_ATTR_MMIO"
# Where P2P memory comes from; a file without these has none that could be told, and one without the flag cannot pass it.
_MAKES_P2P = ("pci_alloc_p2pmem", "pci_p2pmem_alloc_sgl", "is_pci_p2pdma_page")
WORDS = (*_MAKES_P2P, _MMIO)


def find(module: Module) -> Iterator[Defect]:
    """The calls of the page API that always fail, or that map device memory as if it were the kernel's."""
    engine = module.engine
    names = [name for name in engine.api.named("map", False) if engine.api.calls[name].family in ("page", "single")]
    for path in module.files:
        unit = engine.tree.unit(path)
        if unit is None:
            continue
        p2p = any(word.encode() in unit.source.data for word in _MAKES_P2P)
        if not p2p and _MMIO.encode() not in unit.source.data:
            continue
        for site in (one for found in in_file(unit, engine.api, names)[0] for one in used(engine, found)):
            given = module.given(site).attributes
            if given and any(_MMIO in one for one in given.values):
                yield Defect("page-api-on-mmio", site, {"what": f"{_MMIO} makes {site.call.name}() fail"})
            elif p2p and (origin := _device_memory(module, site)) is not None:
                what = f"this is {origin.kinds[0]} memory, and the call takes it for RAM"
                yield Defect("page-api-on-mmio", site, {"what": what}, origin=origin)


def _device_memory(module: Module, site: Site) -> Origin | None:
    origin = module.given(site).address
    return origin if origin is not None and origin.certain and origin.kinds[0] in (Kind.P2P, Kind.PCI_BAR) else None
