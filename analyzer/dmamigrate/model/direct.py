# SPDX-License-Identifier: GPL-2.0-only
"""The direct backend: kernel/dma/direct.c and direct.h."""

from __future__ import annotations

from dmamigrate.model.machine import (
    ERROR,
    Attrs,
    Machine,
    dma_capable,
    dma_kmalloc_needs_bounce,
    dma_to_phys,
    phys_to_dma,
    phys_to_dma_unencrypted,
    swiotlb_map,
    swiotlb_tbl_unmap_single,
)
from dmamigrate.model.states import CC_SHARED, MMIO, REQUIRE_COHERENT, SKIP_CPU_SYNC


def dma_direct_map_resource(m: Machine) -> str:
    """kernel/dma/direct.c: dma_direct_map_resource(), up to 6.17: neither translation nor swiotlb=force is looked at."""
    if not dma_capable(m, "P", frozenset()):
        m.did("warn")
        return ERROR
    return "P"


def dma_direct_map_page(m: Machine, attrs: Attrs) -> str:
    """kernel/dma/direct.h: dma_direct_map_page(), up to 6.17."""
    p2p = m.state.memory == "p2p-page"
    address = phys_to_dma(m, "P")
    if m.state.swiotlb == "forced":
        return ERROR if p2p else swiotlb_map(m, attrs)
    if not dma_capable(m, address, attrs) or dma_kmalloc_needs_bounce(m):
        if p2p:
            return ERROR
        if m.state.swiotlb == "active":
            return swiotlb_map(m, attrs)
        m.did("warn")
        return ERROR
    if not m.state.coherent and SKIP_CPU_SYNC not in attrs:
        m.did("cache for device P")
    return address


def dma_direct_map_phys(m: Machine, attrs: Attrs) -> str:
    """kernel/dma/direct.h (to 7.2), direct.c (7.3): dma_direct_map_phys()."""
    if m.version >= (7, 3):
        return _dma_direct_map_phys_7_3(m, attrs)
    state = m.state
    if state.swiotlb == "forced":
        if CC_SHARED not in attrs:
            if MMIO in attrs or REQUIRE_COHERENT in attrs:
                if m.version < (7, 0):
                    m.did("warn")  # inferred: 6.18 went to the overflow message
                return ERROR
            return swiotlb_map(m, attrs)
    elif CC_SHARED in attrs:
        return ERROR
    if MMIO in attrs:
        address = "P"
        capable = dma_capable(m, address, attrs)
    elif CC_SHARED in attrs:
        address = phys_to_dma_unencrypted(m, "P")
        capable = dma_capable(m, address, attrs)
    else:
        address = phys_to_dma(m, "P")
        if not dma_capable(m, address, attrs) or dma_kmalloc_needs_bounce(m):
            if state.swiotlb == "active" and REQUIRE_COHERENT not in attrs:
                return swiotlb_map(m, attrs)
            capable = False
        else:
            capable = True
    return _mapped(m, address, capable, attrs)


def _dma_direct_map_phys_7_3(m: Machine, attrs: Attrs) -> str:
    """kernel/dma/direct.c: dma_direct_map_phys() of 7.3: MMIO is translated too, and shared on encrypting hosts."""
    state = m.state
    if MMIO in attrs and state.cc == "host":
        attrs = attrs | {CC_SHARED}
    if state.swiotlb == "forced":
        if MMIO in attrs or REQUIRE_COHERENT in attrs:
            return ERROR
        return swiotlb_map(m, attrs)
    address = phys_to_dma_unencrypted(m, "P") if CC_SHARED in attrs else phys_to_dma(m, "P")
    capable = dma_capable(m, address, attrs)
    if MMIO not in attrs and (not capable or dma_kmalloc_needs_bounce(m)):
        if state.swiotlb == "active" and REQUIRE_COHERENT not in attrs:
            return swiotlb_map(m, attrs)
        capable = False
    return _mapped(m, address, capable, attrs)


def _mapped(m: Machine, address: str, capable: bool, attrs: Attrs) -> str:
    if not capable:
        m.did("warn")
        return ERROR
    if not m.state.coherent and SKIP_CPU_SYNC not in attrs and MMIO not in attrs:
        m.did("cache for device P")
    return address


def dma_direct_sync_single_for_cpu(m: Machine, address: str) -> None:
    """kernel/dma/direct.h: dma_direct_sync_single_for_cpu()."""
    phys = dma_to_phys(m, address)
    if not m.state.coherent:
        m.did(f"cache for CPU {phys}")
    if phys == "B":
        m.did("copy bounce to memory")


def dma_direct_unmap(m: Machine, address: str, attrs: Attrs) -> None:
    """kernel/dma/direct.h: dma_direct_unmap_page() to 6.17, dma_direct_unmap_phys() after."""
    if m.version >= (6, 18) and MMIO in attrs:
        return
    if m.version >= (7, 0) and REQUIRE_COHERENT in attrs:
        return
    phys = dma_to_phys(m, address)
    if SKIP_CPU_SYNC not in attrs:
        dma_direct_sync_single_for_cpu(m, address)
    swiotlb_tbl_unmap_single(m, phys, attrs | {SKIP_CPU_SYNC})
