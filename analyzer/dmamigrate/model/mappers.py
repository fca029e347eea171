# SPDX-License-Identifier: GPL-2.0-only
"""Who maps for others, and asks for the P2P map type: the block layer and HMM."""

from __future__ import annotations

from dmamigrate.model import iova
from dmamigrate.model.dma_api import dma_map_phys, dma_unmap_phys
from dmamigrate.model.machine import ERROR, Attrs, Machine
from dmamigrate.model.states import MMIO, REQUIRE_COHERENT


def _p2p_attrs(m: Machine) -> Attrs | None:
    """What the P2P type asks for: nothing for memory, MMIO through the host bridge; None where no mapping can be."""
    return {"none": frozenset(), "host bridge": frozenset({MMIO})}.get(m.buffer.map_type)


def blk_dma_map_iter_start(m: Machine, attrs: Attrs) -> str:
    """block/blk-mq-dma.c: blk_dma_map_iter_start() of a request of one segment; the attributes are its own."""
    del attrs
    if m.buffer.map_type == "bus address":
        return "BUS"
    own = _p2p_attrs(m)
    if own is None:
        m.noted("status invalid")
        return ERROR
    if not iova.dma_iova_try_alloc(m, m.buffer):
        address = dma_map_phys(m, own)
        if address == ERROR:
            m.noted("status resource")
        return address
    if not iova.dma_iova_link_at(m, 0, m.buffer, own):
        iova.dma_iova_free(m, m.buffer)
        m.noted("status of the error")
        return ERROR
    iova.dma_iova_sync(m, m.buffer)
    return iova.linked_address(m)


def blk_rq_dma_unmap(m: Machine, address: str, attrs: Attrs) -> None:
    """include/linux/blk-mq-dma.h: blk_rq_dma_unmap(), and the driver's dma_unmap_phys() where that leaves it to it."""
    del attrs
    if address == "BUS":
        return
    own = _p2p_attrs(m) or frozenset()
    if m.state.backend == "dma-iommu":
        iova.dma_iova_destroy(m, address, own)
    else:
        dma_unmap_phys(m, address, own)


def hmm_dma_map_pfn(m: Machine, attrs: Attrs) -> str:
    """mm/hmm.c: hmm_dma_map_pfn() of one page: DMA_ATTR_REQUIRE_COHERENT, and MMIO through the host bridge."""
    del attrs
    allocated = iova.dma_iova_try_alloc(m, m.buffer)
    address = ERROR
    own = _p2p_attrs(m)
    if m.buffer.map_type == "bus address":
        address = "BUS"
    elif own is not None and not allocated:
        address = dma_map_phys(m, own | {REQUIRE_COHERENT})
    elif own is not None and iova.dma_iova_link_at(m, 0, m.buffer, own | {REQUIRE_COHERENT}):
        iova.dma_iova_sync(m, m.buffer)
        address = iova.linked_address(m)
    return address


def hmm_dma_unmap_pfn(m: Machine, address: str, attrs: Attrs) -> None:
    """mm/hmm.c: hmm_dma_unmap_pfn(): unlinked, the IOVA range is kept for the next page."""
    del attrs
    own = (_p2p_attrs(m) or frozenset()) | {REQUIRE_COHERENT}
    if address == "BUS":
        return
    if m.state.backend == "dma-iommu":
        iova.dma_iova_unlink_all(m, address, own)
    else:
        dma_unmap_phys(m, address, own)
