# SPDX-License-Identifier: GPL-2.0-only
"""The dma-iommu backend: drivers/iommu/dma-iommu.c; the dma_iova_*() calls are in iova.py."""

from __future__ import annotations

from dmamigrate.model.machine import (
    ERROR,
    Attrs,
    Buffer,
    Machine,
    at,
    cache_for_cpu,
    cache_for_device,
    dma_kmalloc_needs_bounce,
    flush,
    in_pool,
    kept_bits,
    place,
    swiotlb_sync,
    swiotlb_tbl_map_single,
    swiotlb_tbl_unmap_single,
)
from dmamigrate.model.states import MMIO, PRIVILEGED, REQUIRE_COHERENT, SKIP_CPU_SYNC

UNALIGNED = "iommu_map of an unaligned address"


def dma_info_to_prot(m: Machine, coherent: bool, attrs: Attrs) -> str:
    """drivers/iommu/dma-iommu.c: dma_info_to_prot(); since 6.18 MMIO takes the place of CACHE.

    No direction is no right, and nothing else either: dma_iova_link() alone comes here with it.
    """
    if m.state.dir == "DMA_NONE":
        return ""
    words: list[str] = []
    if m.version >= (6, 18) and MMIO in attrs:
        words.append("MMIO")
    elif coherent:
        words.append("CACHE")
    words += ["PRIV"] if PRIVILEGED in attrs else []
    words += ["READ"] if m.state.dir != "DMA_FROM_DEVICE" else []
    words += ["WRITE"] if m.state.dir != "DMA_TO_DEVICE" else []
    return "|".join(words)


def dev_use_swiotlb(m: Machine, buffer: Buffer) -> bool:
    """drivers/iommu/dma-iommu.c: dev_use_swiotlb(); 6.1 knows only untrusted devices."""
    return m.state.untrusted or dma_kmalloc_needs_bounce(m, buffer)


def iova_unaligned(m: Machine, buffer: Buffer) -> bool:
    """drivers/iommu/dma-iommu.c: iova_unaligned(): whether the buffer begins or ends inside of a granule."""
    return (buffer.offset | buffer.size) % m.geometry.granule != 0


Range = tuple[str, int]  # a name and an offset in what it names


def alloc_iova(m: Machine, size: int) -> str | None:
    """drivers/iommu/dma-iommu.c: iommu_dma_alloc_iova(), with the device's mask as the limit; None if there is no
    space.
    """
    fails = m.state.iommu_fails == "no iova"
    m.noted(f"alloc IOVA {size:x}{' fails' if fails else ''}")
    m.iovas += not fails
    return None if fails else "IOVA" if m.iovas == 1 else f"IOVA{m.iovas}"


def free_iova(m: Machine, iova: Range, size: int, how: str) -> None:
    """drivers/iommu/dma-iommu.c: iommu_dma_free_iova(): at once, queued until the IOTLB is flushed, or of what never
    mapped.
    """
    m.noted(f"free {at(*iova)} {size:x} {how}")


def iommu_map(m: Machine, iova: Range, phys: Range, size: int, prot: str) -> bool:
    """drivers/iommu/iommu.c: iommu_map(), iommu_map_nosync() for dma_iova_link(): whole granules, or an error."""
    name, offset = phys
    exact = f"iommu_map {at(*iova)} {at(name, offset)} {size:x} {prot}"
    if (iova[1] | offset | size) % m.geometry.granule:
        m.did(UNALIGNED, f"{exact} refused")
        return False
    m.maps += 1
    if m.state.iommu_fails in ("map", f"map {m.maps}"):
        m.noted(f"{exact} fails")
        return False
    m.did(f"iommu_map {name if not in_pool(name) else 'B'} {prot}", exact)
    return True


def iommu_unmap(m: Machine, iova: Range, size: int, queued: bool) -> None:
    """drivers/iommu/iommu.c: iommu_unmap_fast(), then iommu_iotlb_sync() unless the IOVA waits in the flush queue."""
    m.did("iommu_unmap", f"iommu_unmap {at(*iova)} {size:x}{' queued' if queued else ''}")
    if not queued:
        m.noted("sync IOTLB")


def _clean_padding(m: Machine, attrs: Attrs, buffer: Buffer) -> None:
    """What of the bounce slot's granules is zeroed: leftovers are not for an untrusted device to see.

    drivers/iommu/dma-iommu.c: iommu_dma_map_swiotlb(); to 6.17 iommu_dma_map_page(), where 6.1 does so for every
    device, and without copying it in, also zeroes the data.
    """
    start = kept_bits(m, buffer.offset)
    end = start + buffer.size
    if m.version < (6, 12):
        copied = SKIP_CPU_SYNC not in attrs and m.state.dir != "DMA_FROM_DEVICE"
        zeroed = [(end if copied else start, start + m.geometry.align(buffer.size))]
    elif m.state.untrusted:
        zeroed = [(start - start % m.geometry.granule, start), (end, m.geometry.align(end))]
    else:
        return
    ranges = ",".join(f"{low:x}-{high:x}" for low, high in zeroed if high > low)
    if ranges:
        m.noted(f"zeroed {ranges}")


def iommu_dma_map_swiotlb(m: Machine, attrs: Attrs, buffer: Buffer) -> str | None:
    """drivers/iommu/dma-iommu.c: iommu_dma_map_swiotlb(), to 6.17 a part of iommu_dma_map_page(); None if it fails."""
    if m.state.swiotlb == "off":
        m.did("warn")
        return None
    m.noted(f"trace bounced {at(buffer.name, buffer.offset)} {buffer.size:x}")
    slot = swiotlb_tbl_map_single(m, buffer, m.geometry.granule - 1, attrs)
    if slot is not None:
        _clean_padding(m, attrs, buffer)
    return slot


def _iommu_dma_map(m: Machine, phys: str, prot: str, buffer: Buffer) -> str | None:
    """drivers/iommu/dma-iommu.c: __iommu_dma_map(); the name of the IOVA range, None if it fails."""
    offset = kept_bits(m, buffer.offset) if in_pool(phys) else buffer.offset
    pad = offset % m.geometry.granule
    if m.version >= (6, 12) and m.state.min_align == "beyond":
        m.did("warn")
        return None
    size = m.geometry.align(buffer.size + pad)
    iova = alloc_iova(m, size)
    if iova is None:
        return None
    if not iommu_map(m, (iova, 0), (phys, offset - pad), size, prot):
        free_iova(m, (iova, 0), size, "unused")
        return None
    return f"{iova} of {phys}" if in_pool(phys) else iova


def iommu_dma_map(m: Machine, attrs: Attrs, buffer: Buffer) -> str:
    """drivers/iommu/dma-iommu.c: iommu_dma_map_page() to 6.17, iommu_dma_map_phys() after."""
    state = m.state
    mmio = MMIO in attrs and m.version >= (6, 18)
    coherent_only = REQUIRE_COHERENT in attrs and m.version >= (7, 0)
    prot = dma_info_to_prot(m, state.coherent, attrs)
    phys = buffer.name
    if dev_use_swiotlb(m, buffer) and iova_unaligned(m, buffer):
        if mmio and m.version < (7, 0):
            return ERROR  # inferred: 6.18 refused unaligned MMIO, 7.2 maps it
        if not mmio:
            if coherent_only:
                return ERROR
            slot = iommu_dma_map_swiotlb(m, attrs, buffer)
            if slot is None:
                return ERROR
            phys = slot
    if not state.coherent and SKIP_CPU_SYNC not in attrs and not mmio:
        cache_for_device(m, phys, buffer)
        flush(m)
    address = _iommu_dma_map(m, phys, prot, buffer)
    if address is None and not mmio and not coherent_only:
        swiotlb_tbl_unmap_single(m, phys, attrs, buffer)
    return address or ERROR


def iommu_dma_map_resource(m: Machine, attrs: Attrs) -> str:
    """drivers/iommu/dma-iommu.c: iommu_dma_map_resource(), up to 6.17: IOMMU_MMIO, as if the device were not
    coherent.
    """
    words = dma_info_to_prot(m, False, attrs)
    return _iommu_dma_map(m, "P", f"MMIO|{words}", m.buffer) or ERROR


def behind(address: str, buffer: Buffer) -> str:
    """The memory or the bounce slot that an IOVA leads to."""
    return address.partition(" of ")[2] or buffer.name


def iommu_iova_to_phys(m: Machine, address: str, buffer: Buffer) -> str:
    """drivers/iommu/iommu.c: iommu_iova_to_phys()."""
    m.noted(f"look up {place(m, address, buffer)}")
    return behind(address, buffer)


def iommu_dma_unmap_range(m: Machine, address: str, start: int, size: int) -> None:
    """drivers/iommu/dma-iommu.c: __iommu_dma_unmap(): whole granules, IOTLB, IOVA."""
    pad = start % m.geometry.granule
    size = m.geometry.align(size + pad)
    queued = m.state.flush_queue
    iova = (address.partition(" of ")[0], start - pad)
    iommu_unmap(m, iova, size, queued)
    free_iova(m, iova, size, "queued" if queued else "now")


def iommu_dma_unmap(m: Machine, address: str, attrs: Attrs, buffer: Buffer) -> None:
    """drivers/iommu/dma-iommu.c: iommu_dma_unmap_page() to 6.17, iommu_dma_unmap_phys() after."""
    phys = behind(address, buffer)
    start = (kept_bits(m, buffer.offset) if in_pool(phys) else buffer.offset) % m.geometry.granule
    if (m.version >= (6, 18) and MMIO in attrs) or (m.version >= (7, 0) and REQUIRE_COHERENT in attrs):
        iommu_dma_unmap_range(m, address, start, buffer.size)
        return
    iommu_iova_to_phys(m, address, buffer)
    if SKIP_CPU_SYNC not in attrs and not m.state.coherent:
        cache_for_cpu(m, phys, buffer)
        flush(m)
    iommu_dma_unmap_range(m, address, start, buffer.size)
    swiotlb_tbl_unmap_single(m, phys, attrs, buffer)


def iommu_dma_sync_single(m: Machine, address: str, whom: str, buffer: Buffer) -> None:
    """drivers/iommu/dma-iommu.c: iommu_dma_sync_single_for_cpu() and iommu_dma_sync_single_for_device()."""
    if m.state.coherent and not dev_use_swiotlb(m, buffer):
        return
    phys = iommu_iova_to_phys(m, address, buffer)
    if whom == "device":
        swiotlb_sync(m, phys, "device", buffer)
    if not m.state.coherent:
        (cache_for_cpu if whom == "CPU" else cache_for_device)(m, phys, buffer)
        flush(m)
    if whom == "CPU":
        swiotlb_sync(m, phys, "CPU", buffer)
