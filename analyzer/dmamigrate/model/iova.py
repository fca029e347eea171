# SPDX-License-Identifier: GPL-2.0-only
"""The dma_iova_*() calls: drivers/iommu/dma-iommu.c, new in 6.16."""

from __future__ import annotations

from dmamigrate.errors import ModelError
from dmamigrate.model.iommu import (
    alloc_iova,
    dev_use_swiotlb,
    dma_info_to_prot,
    free_iova,
    iommu_dma_map_swiotlb,
    iommu_map,
    iommu_unmap,
    iova_unaligned,
)
from dmamigrate.model.machine import (
    ERROR,
    Attrs,
    Buffer,
    Machine,
    at,
    flush,
    in_pool,
    kept_bits,
    swiotlb_tbl_unmap_single,
)
from dmamigrate.model.states import MMIO, REQUIRE_COHERENT, SKIP_CPU_SYNC


def _maintains(m: Machine, attrs: Attrs) -> bool:
    return not m.state.coherent and SKIP_CPU_SYNC not in attrs and MMIO not in attrs


IOVA = "IOVA"


def dma_iova_try_alloc(m: Machine, buffer: Buffer) -> bool:
    """drivers/iommu/dma-iommu.c: dma_iova_try_alloc(): only behind dma-iommu, and while there is IOVA space."""
    if m.version < (6, 16):
        raise ModelError("dma_iova_link() is new in 6.16; ask for 6.18 or newer")
    if m.state.backend != "dma-iommu":
        return False
    return alloc_iova(m, m.geometry.align(buffer.size + buffer.offset % m.geometry.granule)) is not None


def dma_iova_free(m: Machine, buffer: Buffer) -> None:
    """drivers/iommu/dma-iommu.c: dma_iova_free()."""
    free_iova(m, (IOVA, 0), m.geometry.align(buffer.size + buffer.offset % m.geometry.granule), "unused")


def _dma_iova_link(m: Machine, iova: int, phys: tuple[str, int], size: int, attrs: Attrs) -> bool:
    """drivers/iommu/dma-iommu.c: __dma_iova_link(): cache maintenance over what is mapped, then the mapping."""
    name, offset = phys
    if _maintains(m, attrs):
        m.did(
            f"cache for device {'B' if in_pool(name) else name}",
            f"cache for device {at(name, offset)} {size:x} {m.dir}",
        )
    prot = dma_info_to_prot(m, m.state.coherent, attrs)
    if not iommu_map(m, (IOVA, iova), phys, size, prot):
        return False
    granule = m.geometry.granule
    m.linked.update({iova + step: (name, offset + step) for step in range(0, size, granule)})
    return True


def _bounce_and_link(m: Machine, iova: int, piece: Buffer, attrs: Attrs, pad: int) -> bool:
    """drivers/iommu/dma-iommu.c: iommu_dma_iova_bounce_and_link().

    The pad is taken off the bounce address too: unless min_align_mask kept the low bits there, iommu_map() refuses it.
    """
    slot = iommu_dma_map_swiotlb(m, attrs, piece)
    if slot is None:
        return False
    offset = kept_bits(m, piece.offset)
    if _dma_iova_link(m, iova - pad, (slot, offset - pad), m.geometry.align(piece.size), attrs):
        return True
    swiotlb_tbl_unmap_single(m, slot, attrs, Buffer(slot, offset, piece.size))
    return False


def _link_swiotlb(m: Machine, start: int, buffer: Buffer, attrs: Attrs) -> bool:
    """drivers/iommu/dma-iommu.c: iommu_dma_iova_link_swiotlb(): a bounced head, the middle as it is, a bounced tail."""
    granule = m.geometry.granule
    pad = buffer.offset % granule
    end_pad = (buffer.offset + buffer.size) % granule
    mapped, left = 0, buffer.size
    if pad:
        head = min(left, granule - pad)
        if not _bounce_and_link(m, start, Buffer(buffer.name, buffer.offset, head), attrs, pad):
            return False
        mapped, left = head, left - head
        if not left:
            return True
    left -= end_pad
    linked = not left or _dma_iova_link(m, start + mapped, (buffer.name, buffer.offset + mapped), left, attrs)
    if linked:
        mapped += left
        tail = Buffer(buffer.name, buffer.offset + mapped, end_pad)
        linked = not end_pad or _bounce_and_link(m, start + mapped, tail, attrs, 0)
    if not linked and mapped:
        _unlink(m, (start, mapped), attrs, bounced=pad != 0)
    return linked


def dma_iova_link_at(m: Machine, offset: int, buffer: Buffer, attrs: Attrs) -> bool:
    """drivers/iommu/dma-iommu.c: dma_iova_link() at an offset of the state, which begins where its first buffer
    does.
    """
    coherent_only = m.version >= (7, 0) and REQUIRE_COHERENT in attrs
    pad = buffer.offset % m.geometry.granule
    if pad and offset:
        m.did("warn")
        return False
    if coherent_only and not m.state.coherent:
        return False
    if dev_use_swiotlb(m, buffer) and iova_unaligned(m, buffer):
        if MMIO in attrs or coherent_only:
            return False
        return _link_swiotlb(m, offset + pad, buffer, attrs)
    size = m.geometry.align(buffer.size + pad)
    return _dma_iova_link(m, offset, (buffer.name, buffer.offset - pad), size, attrs)


def dma_iova_sync(m: Machine, buffer: Buffer) -> None:
    """drivers/iommu/dma-iommu.c: dma_iova_sync()."""
    if not m.state.coherent:
        flush(m)
    pad = buffer.offset % m.geometry.granule
    m.noted(f"sync map {at(IOVA, 0)} {m.geometry.align(buffer.size + pad):x}")


def dma_iova_link(m: Machine, attrs: Attrs) -> str:
    """drivers/iommu/dma-iommu.c: dma_iova_try_alloc(), dma_iova_link(), dma_iova_sync(), and dma_iova_free() if that
    fails.

    Raises ModelError for a version without them.
    """
    buffer = m.buffer
    if not dma_iova_try_alloc(m, buffer):
        return ERROR
    if not dma_iova_link_at(m, 0, buffer, attrs):
        dma_iova_free(m, buffer)
        return ERROR
    dma_iova_sync(m, buffer)
    return linked_address(m)


def linked_address(m: Machine) -> str:
    """The address of a linked state, with whether a part of it is bounced."""
    return "IOVA of B" if any(in_pool(name) for name, _ in m.linked.values()) else IOVA


def _slowly(m: Machine, start: int, size: int, attrs: Attrs) -> None:
    """drivers/iommu/dma-iommu.c: iommu_dma_iova_unlink_range_slow(): granule by granule, asking the IOMMU what is
    there.
    """
    granule = m.geometry.granule
    here, end = start, start + size
    while here < end:
        length = min(end - here, granule - here % granule)
        m.noted(f"look up {at(IOVA, here)}")
        name, offset = m.linked[here - here % granule]
        piece = Buffer(name, offset + here % granule, length)
        if _maintains(m, attrs):
            word = "B" if in_pool(name) else name
            m.did(f"cache for CPU {word}", f"cache for CPU {at(name, piece.offset)} {length:x} {m.dir}")
        swiotlb_tbl_unmap_single(m, name, attrs, piece)
        here += length
    if _maintains(m, attrs):
        flush(m)


def _unlink(m: Machine, piece: tuple[int, int], attrs: Attrs, bounced: bool, queued: bool = False) -> None:
    """drivers/iommu/dma-iommu.c: dma_iova_unlink(), to 7.2 __iommu_dma_iova_unlink(), of a piece: start and size."""
    start, size = piece
    if bounced or _maintains(m, attrs):
        _slowly(m, start, size, attrs)
    pad = start % m.geometry.granule
    iommu_unmap(m, (IOVA, start - pad), m.geometry.align(size + pad), queued)


def _as_linked(m: Machine, attrs: Attrs) -> None:
    """Remember what the link of this state led to."""
    then = Machine(m.state, m.version, m.geometry)
    dma_iova_link_at(then, 0, m.buffer, attrs - {MMIO, REQUIRE_COHERENT})
    m.linked = then.linked


def dma_iova_unlink_all(m: Machine, address: str, attrs: Attrs) -> None:
    """drivers/iommu/dma-iommu.c: dma_iova_unlink() of everything; the range stays allocated."""
    _as_linked(m, attrs)
    pad = m.buffer.offset % m.geometry.granule
    _unlink(m, (pad, m.buffer.size), attrs, address == "IOVA of B")


def dma_iova_unlink(m: Machine, address: str, attrs: Attrs) -> None:
    """drivers/iommu/dma-iommu.c: dma_iova_unlink(), then dma_iova_free()."""
    dma_iova_unlink_all(m, address, attrs)
    dma_iova_free(m, m.buffer)


def _destroy(m: Machine, buffer: Buffer, linked: int, attrs: Attrs, bounced: bool = False) -> None:
    pad = buffer.offset % m.geometry.granule
    early = m.version < (7, 3) and linked
    queued = bool(early) and m.state.flush_queue
    if linked:
        _unlink(m, (pad, linked), attrs, bounced, queued)
    if early:
        free_iova(m, (IOVA, 0), m.geometry.align(linked + pad), "queued" if queued else "now")
    else:
        dma_iova_free(m, buffer)


def dma_iova_destroy(m: Machine, address: str, attrs: Attrs) -> None:
    """drivers/iommu/dma-iommu.c: dma_iova_destroy(): unlinks what was linked, then frees the range.

    Up to 7.2 the range may wait in the flush queue, and only what was linked is freed.
    """
    _as_linked(m, attrs)
    _destroy(m, m.buffer, m.buffer.size, attrs, address == "IOVA of B")


def dma_iova_link_twice(m: Machine, attrs: Attrs) -> str:
    """As dma_iova_link(), of two buffers: one granule of memory Q at offset 0, the buffer under judgement behind it."""
    granule = m.geometry.granule
    first, second = Buffer("Q", 0, granule), m.buffer
    both = Buffer("Q", 0, granule + second.size)
    if not dma_iova_try_alloc(m, both):
        return ERROR
    linked = 0
    for buffer in (first, second):
        if not dma_iova_link_at(m, linked, buffer, attrs):
            break
        linked += buffer.size
    if linked < both.size:
        _destroy(m, both, linked, attrs)
        return ERROR
    dma_iova_sync(m, both)
    return linked_address(m)


def dma_iova_destroy_twice(m: Machine, address: str, attrs: Attrs) -> None:
    """The end of what dma_iova_link_twice() linked."""
    then = Machine(m.state, m.version, m.geometry)
    dma_iova_link_twice(then, attrs - {MMIO, REQUIRE_COHERENT})
    m.linked = then.linked
    both = Buffer("Q", 0, m.geometry.granule + m.buffer.size)
    _destroy(m, both, both.size, attrs, address == "IOVA of B")
