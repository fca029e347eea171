# SPDX-License-Identifier: GPL-2.0-only
"""Scatterlists: kernel/dma/direct.c and drivers/iommu/dma-iommu.c below dma_map_sg_attrs().

An address of a list is the addresses of its entries, joined by commas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dmamigrate.model.direct import dma_direct_map_page, dma_direct_map_phys, dma_direct_unmap
from dmamigrate.model.iommu import (
    alloc_iova,
    dma_info_to_prot,
    free_iova,
    iommu_dma_map,
    iommu_dma_unmap,
    iommu_dma_unmap_range,
    iommu_map,
)
from dmamigrate.model.machine import (
    ERROR,
    Attrs,
    Buffer,
    Machine,
    at,
    cache_for_cpu,
    cache_for_device,
    dma_kmalloc_safe,
    dma_kmalloc_size_aligned,
    flush,
    place,
)
from dmamigrate.model.states import SKIP_CPU_SYNC

EIO, ENOMEM, EINVAL, EOPNOTSUPP, EREMOTEIO = 5, 12, 22, 95, 121


@dataclass(frozen=True, slots=True)
class Mapped:
    """What mapping a list gave: an address for each entry and the segments as the driver sees them, or the error."""

    addresses: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    error: int = 0


def _map_type(m: Machine, entry: Buffer) -> str:
    """include/linux/pci-p2pdma.h: pci_p2pdma_state(), to 6.15 pci_p2pdma_map_segment()."""
    del m
    return entry.map_type


def _bus(entry: Buffer) -> str:
    return f"{at('BUS', entry.offset)}/{entry.size:x} bus"


def dma_direct_map_sg(m: Machine, attrs: Attrs, entries: Sequence[Buffer]) -> Mapped:
    """kernel/dma/direct.c: dma_direct_map_sg(): through the host bridge like memory, DMA_ATTR_MMIO is not added."""
    addresses: list[str] = []
    segments: list[str] = []
    error = 0
    for entry in entries:
        kind = _map_type(m, entry)
        if kind == "bus address":
            addresses.append("BUS")
            segments.append(_bus(entry))
            continue
        if kind == "not supported":
            error = EREMOTEIO
            break
        phys = m.version >= (6, 18)
        address = dma_direct_map_phys(m, attrs, entry, False) if phys else dma_direct_map_page(m, attrs, entry)
        if address == ERROR:
            error = EIO
            break
        addresses.append(address)
        segments.append(f"{place(m, address, entry)}/{entry.size:x}")
    if error:
        dma_direct_unmap_sg(m, addresses, attrs | {SKIP_CPU_SYNC}, entries)
        return Mapped(error=error)
    if set(addresses) != {"BUS"} and not m.state.coherent:
        flush(m)
    return Mapped(tuple(addresses), tuple(segments))


def dma_direct_unmap_sg(m: Machine, addresses: Sequence[str], attrs: Attrs, entries: Sequence[Buffer]) -> None:
    """kernel/dma/direct.c: dma_direct_unmap_sg(): nothing for bus addresses, each other entry by itself."""
    mapped = [(a, e) for a, e in zip(addresses, entries, strict=False) if a != "BUS"]
    for address, entry in mapped:
        dma_direct_unmap(m, address, attrs, entry, False)
    if mapped and not m.state.coherent:
        flush(m)


def dev_use_sg_swiotlb(m: Machine, entries: Sequence[Buffer]) -> bool:
    """drivers/iommu/dma-iommu.c: dev_use_sg_swiotlb(): the P2P type is not asked."""
    small = any(not dma_kmalloc_size_aligned(m, entry) for entry in entries)
    return m.state.untrusted or (not dma_kmalloc_safe(m) and small)


def _iommu_dma_map_sg_swiotlb(m: Machine, attrs: Attrs, entries: Sequence[Buffer]) -> Mapped:
    """drivers/iommu/dma-iommu.c: iommu_dma_map_sg_swiotlb(): each entry by itself, whatever memory it is."""
    addresses: list[str] = []
    for entry in entries:
        address = iommu_dma_map(m, attrs, entry)
        if address == ERROR:
            for done, before in zip(addresses, entries, strict=False):
                iommu_dma_unmap(m, done, attrs | {SKIP_CPU_SYNC}, before)
            return Mapped(error=EIO)
        addresses.append(address)
    segments = [f"{place(m, a, e)}/{e.size:x}" for a, e in zip(addresses, entries, strict=True)]
    return Mapped(tuple(addresses), tuple(segments))


def iommu_dma_map_sg(m: Machine, attrs: Attrs, entries: Sequence[Buffer]) -> Mapped:
    """drivers/iommu/dma-iommu.c: iommu_dma_map_sg(): one IOVA range for the list.

    Cache maintenance comes first, over every entry, those included that get a bus address or make the list fail;
    DMA_ATTR_MMIO does not stop it.
    """
    if dev_use_sg_swiotlb(m, entries):
        return _iommu_dma_map_sg_swiotlb(m, attrs, entries)
    if SKIP_CPU_SYNC not in attrs and not m.state.coherent:
        for entry in entries:
            cache_for_device(m, entry.name, entry)
        flush(m)
    kinds = [_map_type(m, entry) for entry in entries]
    if "not supported" in kinds:
        return Mapped(error=EREMOTEIO)
    granule = m.geometry.granule
    pads = [entry.offset % granule for entry in entries]
    lengths = [
        0 if kind == "bus address" else m.geometry.align(entry.size + pad)
        for kind, entry, pad in zip(kinds, entries, pads, strict=True)
    ]
    if not sum(lengths):
        return Mapped(("BUS",) * len(entries), tuple(map(_bus, entries)))
    iova = alloc_iova(m, sum(lengths))
    if iova is None:
        return Mapped(error=ENOMEM)
    prot = dma_info_to_prot(m, m.state.coherent, attrs)
    start = 0
    for entry, pad, length in zip(entries, pads, lengths, strict=True):
        if length and not iommu_map(m, (iova, start), (entry.name, entry.offset - pad), length, prot):
            free_iova(m, (iova, 0), sum(lengths), "unused")
            return Mapped(error=EINVAL)
        start += length
    addresses = tuple("BUS" if kind == "bus address" else iova for kind in kinds)
    return Mapped(addresses, tuple(_finalise_sg(iova, entries, pads, lengths)))


def _finalise_sg(iova: str, entries: Sequence[Buffer], pads: list[int], lengths: list[int]) -> list[str]:
    """drivers/iommu/dma-iommu.c: __finalise_sg(): what follows on without a gap becomes one segment."""
    segments: list[str] = []
    start = where = open_size = 0
    for entry, pad, length in zip(entries, pads, lengths, strict=True):
        if not length:
            segments.append(_bus(entry))
            open_size = 0
            continue
        if open_size and not pad:
            open_size += entry.size
            segments.pop()
        else:
            open_size, where = entry.size, start + pad
        segments.append(f"{at(iova, where)}/{open_size:x}")
        start += length
        if entry.size + pad < length:
            open_size = 0
    return segments


def iommu_dma_unmap_sg(m: Machine, addresses: Sequence[str], attrs: Attrs, entries: Sequence[Buffer]) -> None:
    """drivers/iommu/dma-iommu.c: iommu_dma_unmap_sg(): cache maintenance over every entry, then the one range."""
    if dev_use_sg_swiotlb(m, entries):
        for address, entry in zip(addresses, entries, strict=True):
            iommu_dma_unmap(m, address, attrs, entry)
        return
    if SKIP_CPU_SYNC not in attrs and not m.state.coherent:
        for entry in entries:
            cache_for_cpu(m, entry.name, entry)
        flush(m)
    mapped = [(a, e) for a, e in zip(addresses, entries, strict=True) if a != "BUS"]
    if not mapped:
        return
    granule = m.geometry.granule
    first = mapped[0][1].offset % granule
    before = sum(m.geometry.align(e.size + e.offset % granule) for _, e in mapped[:-1])
    last = mapped[-1][1]
    iommu_dma_unmap_range(m, mapped[0][0], first, before + last.offset % granule + last.size - first)
