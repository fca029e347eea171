# SPDX-License-Identifier: GPL-2.0-only
"""The dma-iommu backend: drivers/iommu/dma-iommu.c, with the dma_iova_*() calls."""

from __future__ import annotations

from dmamigrate.errors import ModelError
from dmamigrate.model.machine import ERROR, Attrs, Machine, dma_kmalloc_needs_bounce, swiotlb_tbl_unmap_single
from dmamigrate.model.states import MMIO, PRIVILEGED, REQUIRE_COHERENT, SKIP_CPU_SYNC


def dma_info_to_prot(m: Machine, coherent: bool, attrs: Attrs) -> str:
    """drivers/iommu/dma-iommu.c: dma_info_to_prot(); since 6.18 MMIO takes the place of CACHE."""
    words: list[str] = []
    if m.version >= (6, 18) and MMIO in attrs:
        words.append("MMIO")
    elif coherent:
        words.append("CACHE")
    words += ["PRIV"] if PRIVILEGED in attrs else []
    words += ["READ"] if m.state.dir != "DMA_FROM_DEVICE" else []
    words += ["WRITE"] if m.state.dir != "DMA_TO_DEVICE" else []
    return "|".join(words)


def dev_use_swiotlb(m: Machine) -> bool:
    """drivers/iommu/dma-iommu.c: dev_use_swiotlb(); 6.1 knows only untrusted devices."""
    return m.state.untrusted or dma_kmalloc_needs_bounce(m)


def iommu_dma_map(m: Machine, attrs: Attrs) -> str:
    """drivers/iommu/dma-iommu.c: iommu_dma_map_page() to 6.17, iommu_dma_map_phys() after."""
    state = m.state
    mmio = MMIO in attrs and m.version >= (6, 18)
    prot = dma_info_to_prot(m, state.coherent, attrs)
    phys = "P"
    if dev_use_swiotlb(m) and not state.aligned:
        if mmio and m.version < (7, 0):
            return ERROR  # inferred: 6.18 refused unaligned MMIO, 7.2 maps it
        if not mmio:
            if m.version >= (7, 0) and REQUIRE_COHERENT in attrs:
                return ERROR
            if state.swiotlb == "off":
                m.did("warn")
                return ERROR
            m.did("bounce P")
            phys = "B"
    if not state.coherent and SKIP_CPU_SYNC not in attrs and not mmio:
        m.did(f"cache for device {phys}")
    m.did(f"iommu_map {phys} {prot}")
    return "IOVA" if phys == "P" else "IOVA of B"


def iommu_dma_map_resource(m: Machine, attrs: Attrs) -> str:
    """drivers/iommu/dma-iommu.c: iommu_dma_map_resource(), up to 6.17."""
    prot = dma_info_to_prot(m, False, attrs)
    m.did(f"iommu_map P {'|'.join(['MMIO', *prot.split('|')])}")
    return "IOVA"


def iommu_dma_unmap(m: Machine, address: str, attrs: Attrs) -> None:
    """drivers/iommu/dma-iommu.c: iommu_dma_unmap_page() to 6.17, iommu_dma_unmap_phys() after."""
    plain = (m.version >= (6, 18) and MMIO in attrs) or (m.version >= (7, 0) and REQUIRE_COHERENT in attrs)
    if plain:
        m.did("iommu_unmap")
        return
    phys = "B" if address == "IOVA of B" else "P"
    if SKIP_CPU_SYNC not in attrs and not m.state.coherent:
        m.did(f"cache for CPU {phys}")
    m.did("iommu_unmap")
    swiotlb_tbl_unmap_single(m, phys, attrs)


def dma_iova_link(m: Machine, attrs: Attrs) -> str:
    """drivers/iommu/dma-iommu.c: dma_iova_link() after a dma_iova_try_alloc() that succeeded; new in 6.16.

    Raises ModelError for a version without it.
    """
    if m.version < (6, 16):
        raise ModelError("dma_iova_link() is new in 6.16; ask for 6.18 or newer")
    if m.state.backend != "dma-iommu":
        return ERROR  # dma_iova_try_alloc() gave no state
    mmio = MMIO in attrs
    coherent_only = m.version >= (7, 0) and REQUIRE_COHERENT in attrs
    if coherent_only and not m.state.coherent:
        return ERROR
    phys = "P"
    if dev_use_swiotlb(m) and not m.state.aligned:
        if mmio or coherent_only:
            return ERROR
        if m.state.swiotlb == "off":
            m.did("warn")
            return ERROR
        m.did("bounce P")
        phys = "B"
    if not m.state.coherent and SKIP_CPU_SYNC not in attrs and not mmio:
        m.did(f"cache for device {phys}")
    m.did(f"iommu_map {phys} {dma_info_to_prot(m, m.state.coherent, attrs)}")
    return "IOVA" if phys == "P" else "IOVA of B"


def dma_iova_unlink(m: Machine, address: str, attrs: Attrs) -> None:
    """drivers/iommu/dma-iommu.c: dma_iova_unlink()."""
    bounced = address == "IOVA of B"
    if bounced or (not m.state.coherent and SKIP_CPU_SYNC not in attrs and MMIO not in attrs):
        phys = "B" if bounced else "P"
        if not m.state.coherent and SKIP_CPU_SYNC not in attrs and MMIO not in attrs:
            m.did(f"cache for CPU {phys}")
        swiotlb_tbl_unmap_single(m, phys, attrs)
    m.did("iommu_unmap")


def dma_iova_destroy(m: Machine, address: str, attrs: Attrs) -> None:
    """drivers/iommu/dma-iommu.c: dma_iova_destroy(): unlinks what was linked, then frees the range."""
    dma_iova_unlink(m, address, attrs)
