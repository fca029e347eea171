# SPDX-License-Identifier: GPL-2.0-only
"""The direct backend: kernel/dma/direct.c and direct.h."""

from __future__ import annotations

from dmamigrate.model.machine import (
    ERROR,
    Attrs,
    Buffer,
    Machine,
    cache_for_cpu,
    cache_for_device,
    dma_capable,
    dma_kmalloc_needs_bounce,
    dma_to_phys,
    flush,
    phys_to_dma,
    phys_to_dma_unencrypted,
    span,
    swiotlb_map,
    swiotlb_sync,
    swiotlb_tbl_unmap_single,
)
from dmamigrate.model.states import CC_SHARED, MMIO, REQUIRE_COHERENT, SKIP_CPU_SYNC


def dma_direct_map_resource(m: Machine) -> str:
    """kernel/dma/direct.c: dma_direct_map_resource(), up to 6.17: neither translation nor swiotlb=force is looked
    at.
    """
    if not dma_capable(m, "P", frozenset()):
        m.did("warn")
        return ERROR
    return "P"


def dma_direct_map_page(m: Machine, attrs: Attrs, buffer: Buffer) -> str:
    """kernel/dma/direct.h: dma_direct_map_page(), up to 6.17."""
    address = phys_to_dma(m, buffer.name)
    if m.state.swiotlb == "forced":
        return ERROR if buffer.p2p else swiotlb_map(m, attrs, buffer)
    if not dma_capable(m, address, attrs) or dma_kmalloc_needs_bounce(m, buffer):
        if buffer.p2p:
            return ERROR
        if m.state.swiotlb != "off":
            return swiotlb_map(m, attrs, buffer)
        m.did("warn")
        return ERROR
    if not m.state.coherent and SKIP_CPU_SYNC not in attrs:
        cache_for_device(m, buffer.name, buffer)
    return address


def dma_direct_map_phys(m: Machine, attrs: Attrs, buffer: Buffer, flushes: bool = True) -> str:
    """kernel/dma/direct.h (6.18 to 7.2), direct.c (7.3): dma_direct_map_phys()."""
    if m.version >= (7, 3):
        return _dma_direct_map_phys_7_3(m, attrs, buffer, flushes)
    state = m.state
    if state.swiotlb == "forced":
        if CC_SHARED not in attrs:
            if MMIO in attrs or REQUIRE_COHERENT in attrs:
                if m.version < (7, 0):
                    m.did("warn")  # inferred: 6.18 went to the overflow message
                return ERROR
            return swiotlb_map(m, attrs, buffer)
    elif CC_SHARED in attrs:
        return ERROR
    if MMIO in attrs:
        address = buffer.name  # neither dma-ranges nor encryption: the raw physical address
        capable = dma_capable(m, address, attrs)
    elif CC_SHARED in attrs:
        address = phys_to_dma_unencrypted(m, buffer.name)
        capable = dma_capable(m, address, attrs)
    else:
        address = phys_to_dma(m, buffer.name)
        capable = dma_capable(m, address, attrs) and not dma_kmalloc_needs_bounce(m, buffer)
        if not capable and state.swiotlb != "off" and REQUIRE_COHERENT not in attrs:
            return swiotlb_map(m, attrs, buffer)
    return _mapped(m, address if capable else ERROR, attrs, buffer, flushes)


def _dma_direct_map_phys_7_3(m: Machine, attrs: Attrs, buffer: Buffer, flushes: bool) -> str:
    """kernel/dma/direct.c: dma_direct_map_phys() of 7.3: MMIO is translated too, and shared on encrypting hosts."""
    state = m.state
    if MMIO in attrs and state.cc.startswith("SME"):
        attrs = attrs | {CC_SHARED}
    if state.swiotlb == "forced":
        if MMIO in attrs or REQUIRE_COHERENT in attrs:
            return ERROR
        return swiotlb_map(m, attrs, buffer)
    form = phys_to_dma_unencrypted if CC_SHARED in attrs else phys_to_dma
    address = form(m, buffer.name)
    capable = dma_capable(m, address, attrs)
    if MMIO not in attrs:
        capable = capable and not dma_kmalloc_needs_bounce(m, buffer)
        if not capable and state.swiotlb != "off" and REQUIRE_COHERENT not in attrs:
            return swiotlb_map(m, attrs, buffer)
    return _mapped(m, address if capable else ERROR, attrs, buffer, flushes)


def _mapped(m: Machine, address: str, attrs: Attrs, buffer: Buffer, flushes: bool) -> str:
    """The end of dma_direct_map_phys(): the overflow message, or cache maintenance and the address."""
    if address == ERROR:
        m.did("warn")
        return ERROR
    if not m.state.coherent and SKIP_CPU_SYNC not in attrs and MMIO not in attrs:
        cache_for_device(m, buffer.name, buffer)
        if flushes:
            flush(m)
    return address


def dma_direct_sync_single_for_cpu(m: Machine, address: str, buffer: Buffer, flushes: bool = True) -> None:
    """kernel/dma/direct.h: dma_direct_sync_single_for_cpu()."""
    phys = dma_to_phys(m, address)
    if not m.state.coherent:
        cache_for_cpu(m, phys, buffer)
        if flushes:
            flush(m)
        m.noted("cache for CPU, all")
    swiotlb_sync(m, phys, "CPU", buffer)
    if m.version < (6, 19) and m.state.dir == "DMA_FROM_DEVICE":
        m.noted(f"mark clean {span(m, phys, buffer)}")  # inferred of 6.18


def dma_direct_sync_single_for_device(m: Machine, address: str, buffer: Buffer) -> None:
    """kernel/dma/direct.h: dma_direct_sync_single_for_device()."""
    phys = dma_to_phys(m, address)
    swiotlb_sync(m, phys, "device", buffer)
    if not m.state.coherent:
        cache_for_device(m, phys, buffer)
        flush(m)


def dma_direct_unmap(m: Machine, address: str, attrs: Attrs, buffer: Buffer, flushes: bool = True) -> None:
    """kernel/dma/direct.h: dma_direct_unmap_page() to 6.17, dma_direct_unmap_phys() after."""
    if m.version >= (6, 18) and MMIO in attrs:
        return
    if m.version >= (7, 0) and REQUIRE_COHERENT in attrs:
        return
    phys = dma_to_phys(m, address)
    if SKIP_CPU_SYNC not in attrs:
        dma_direct_sync_single_for_cpu(m, address, buffer, flushes)
    swiotlb_tbl_unmap_single(m, phys, attrs | {SKIP_CPU_SYNC}, buffer)
