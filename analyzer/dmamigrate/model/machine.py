# SPDX-License-Identifier: GPL-2.0-only
"""What every call of the model stands on: a run with its effects, addresses, and the bounce pool.

An address is a word: `P` the physical address that was passed, `B` its bounce buffer, `IOVA`, `OPS` what a dma_map_ops
callback returned, `BUS` a PCI bus address, `ERROR`. Suffixes say how it was changed: `+range` by dma-ranges, `+enc` by
the encryption bit, `+shared` by a realm's shared bit.

Effects are words too, in the order in which they happen. Beside them a run keeps the same story exactly, with offsets,
sizes, directions and attributes (all numbers hexadecimal, offsets from the start of the memory or the IOVA): that is
what `conform` compares with the kernel's own functions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from dmamigrate.model.states import (
    CC_SHARED,
    MMIO,
    NO_WARN,
    PRIVILEGED,
    REQUIRE_COHERENT,
    SKIP_CPU_SYNC,
    WITHOUT_PAGE,
    State,
)

ERROR = "ERROR"
Attrs = frozenset[str]
_SHORT = (
    (SKIP_CPU_SYNC, "SKIP"), (NO_WARN, "NOWARN"), (PRIVILEGED, "PRIV"), (MMIO, "MMIO"), (REQUIRE_COHERENT, "RC"),
    (CC_SHARED, "CC"),
)  # fmt: skip
_DIR_NUMBER = {"DMA_BIDIRECTIONAL": 0, "DMA_TO_DEVICE": 1, "DMA_FROM_DEVICE": 2, "DMA_NONE": 3}


class Stopped(Exception):
    """The kernel got no further: an Oops, or a BUG()."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """What is mapped: a name (P, or Q for the first entry of a list), offset in its page, size in bytes, map type."""

    name: str
    offset: int
    size: int
    map_type: str = "none"

    @property
    def p2p(self) -> bool:
        """Whether its page is P2P memory."""
        return self.map_type != "none"


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where a buffer begins in its IOMMU granule, its size, and the granule; all in bytes."""

    offset: int
    size: int
    granule: int = 0x1000

    def align(self, size: int) -> int:
        """`size` rounded up to granules, as iova_align() of include/linux/iova.h does."""
        return (size + self.granule - 1) & ~(self.granule - 1)


@lru_cache(maxsize=256)
def _buffer(geometry: Geometry, p2p: str | None) -> Buffer:
    kind = "none" if p2p is None else "host bridge" if p2p == "none" else p2p
    return Buffer("P", geometry.offset, geometry.size, kind)


@dataclass(slots=True)
class Machine:
    """One run: the state, the API version as (major, minor), and the effects so far, in words and exactly.

    `slots`, `maps` and `iovas` count bounces, iommu_map() calls and allocations of IOVA space; `linked` is what each
    linked granule of an IOVA range leads to.
    """

    state: State
    version: tuple[int, int]
    geometry: Geometry
    effects: list[str] = field(default_factory=list)
    exact: list[str] = field(default_factory=list)
    slots: int = 0
    maps: int = 0
    iovas: int = 0
    linked: dict[int, tuple[str, int]] = field(default_factory=dict)

    def did(self, effect: str, exact: str | None = None) -> None:
        """Record an effect, and how exactly it was done."""
        self.effects.append(effect)
        self.exact.append(exact or effect)

    def noted(self, exact: str) -> None:
        """Record what matters to the exact story alone: locks, flushes, traces, releases of IOVA space."""
        self.exact.append(exact)

    @property
    def dir(self) -> int:
        """The direction as enum dma_data_direction counts."""
        return _DIR_NUMBER[self.state.dir]

    @property
    def buffer(self) -> Buffer:
        """The memory under judgement."""
        return _buffer(self.geometry, self.state.map_type if self.state.memory == "p2p-page" else None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call did: the address it returned (None for an unmap) and its effects; `exact` is the same to the byte."""

    address: str | None
    effects: tuple[str, ...]
    exact: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def describe(self) -> str:
        """The outcome in words."""
        effects = ", ".join(self.effects) or "no effect"
        return effects if self.address is None else f"returns {self.address}; {effects}"


_PART, _SMALL, _GRANULE = Geometry(0x40, 0x80), Geometry(0, 0x80), Geometry(0, 0x1000)


def geometry_of(state: State) -> Geometry:
    """The plainest buffer of a state: one granule, a part of one, or a small one from kmalloc()."""
    return _PART if not state.aligned else _SMALL if state.kmalloc_bounce else _GRANULE


@lru_cache(maxsize=256)
def words(attrs: Attrs) -> str:
    """Attributes in short, in the order of their bits."""
    return "|".join(short for name, short in _SHORT if name in attrs) or "0"


def at(word: str, offset: int) -> str:
    """An address word with its offset from the start of that memory."""
    if word in (ERROR, "-1"):
        return word
    return f"{word}@{'-' if offset < 0 else ''}{abs(offset):x}"


def in_pool(word: str) -> bool:
    """Whether an address word is a bounce slot: B, or B2 for the second of a run."""
    return word.startswith("B") and word != "BUS"


def place(m: Machine, word: str, buffer: Buffer | None = None) -> str:
    """An address word with the offset that a buffer has in it."""
    what = buffer or m.buffer
    iova, _, behind = word.partition(" of ")
    if (in_pool(word) or in_pool(behind)) and not in_pool(what.name):
        return at(iova, kept_bits(m, what.offset))
    return at(iova, what.offset)


def span(m: Machine, word: str, buffer: Buffer | None = None) -> str:
    """Address, size and direction, as most effects carry them."""
    what = buffer or m.buffer
    return f"{place(m, word, what)} {what.size:x} {m.dir}"


# ---- include/linux/dma-direct.h


def _form(m: Machine, base: str, encrypted: bool) -> str:
    """__phys_to_dma() (7.x) or phys_to_dma_unencrypted() (6.x), then the architecture's encryption helper."""
    if m.state.range_map and not m.state.covered and not in_pool(base):
        return ERROR  # translate_phys_to_dma() found no range; an encryption bit is lost in all ones
    address = base + ("+range" if m.state.range_map else "")
    if encrypted:
        return address + ("+enc" if m.state.cc.startswith("SME") or m.state.cc == "SEV" else "")
    # the shared bit of a realm came with dma_addr_unencrypted(), after 6.12
    return address + ("+shared" if m.state.cc == "CCA" and m.version >= (6, 18) else "")


def phys_to_dma(m: Machine, base: str) -> str:
    """include/linux/dma-direct.h: phys_to_dma(), phys_to_dma_encrypted() in 7.3."""
    return _form(m, base, True)


def phys_to_dma_unencrypted(m: Machine, base: str) -> str:
    """include/linux/dma-direct.h: phys_to_dma_unencrypted()."""
    return _form(m, base, False)


def dma_to_phys(m: Machine, address: str) -> str:
    """include/linux/dma-direct.h: dma_to_phys().

    6.x un-translates before it clears the encryption bit, so that a range map does not find an encrypted address; 7.x
    clears first. An address that no range covers is -1.
    """
    base = address.partition("+")[0]
    if not m.state.range_map:
        return base
    if m.version < (6, 18) and "+enc" in address:
        return "-1"
    return base if "+range" in address else "-1"


def force_dma_unencrypted(m: Machine) -> bool:
    """arch/x86/mm/mem_encrypt.c, arch/arm64/include/asm/mem_encrypt.h: force_dma_unencrypted()."""
    return m.state.cc not in ("none", "SME")


def dma_capable(m: Machine, address: str, attrs: Attrs) -> bool:
    """include/linux/dma-direct.h: dma_capable(). Since 7.3 encrypted RAM is not capable for a device that needs it
    shared.
    """
    if address == ERROR:
        return False
    if m.version >= (7, 3) and CC_SHARED not in attrs and force_dma_unencrypted(m):
        return False
    if m.state.reachable:
        return True
    # the bounce pool lies below the mask; an encryption bit lies above it
    return m.state.pool_reachable and in_pool(address) and "+enc" not in address and "+shared" not in address


# ---- kernel/dma/swiotlb.c


def kept_bits(m: Machine, offset: int) -> int:
    """kernel/dma/swiotlb.c: swiotlb_align_offset(): a slot keeps only the low bits that min_align_mask asks for."""
    granules = {"none": 0, "granule": 1, "beyond": 2}[m.state.min_align]
    return offset % (granules * m.geometry.granule) if granules else 0


def swiotlb_tbl_map_single(m: Machine, buffer: Buffer, align: int, attrs: Attrs) -> str | None:
    """kernel/dma/swiotlb.c: swiotlb_tbl_map_single(): copies whatever the direction; None if the pool has no room.

    `align` is the allocation's mask. The copy reads the memory through the kernel's own mapping of it: of what nothing
    maps (registers, a BAR without pages) that is an Oops. Raises Stopped for it.
    """
    size = ""
    if m.version < (6, 12):  # the size that is allocated: whole granules for the IOMMU
        size = f" of {m.geometry.align(buffer.size) if align else buffer.size:x}"
    asked = f"bounce {span(m, buffer.name, buffer)}{size} align {align:x} {words(attrs)}"
    if m.state.swiotlb == "full":
        m.noted(f"{asked} fails")
        if NO_WARN not in attrs:
            m.effects.append("warn of a full pool")
        return None
    m.did(f"bounce {buffer.name}", asked)
    if m.state.memory in WITHOUT_PAGE and buffer.name == "P":
        m.did("Oops")
        raise Stopped
    m.slots += 1
    return "B" if m.slots == 1 else f"B{m.slots}"


def swiotlb_map(m: Machine, attrs: Attrs, buffer: Buffer) -> str:
    """kernel/dma/swiotlb.c: swiotlb_map()."""
    m.noted(f"trace bounced {place(m, phys_to_dma(m, buffer.name), buffer)} {buffer.size:x}")
    slot = swiotlb_tbl_map_single(m, buffer, 0, attrs)
    if slot is None:
        return ERROR
    if m.version >= (7, 3):
        shared = m.state.cc != "none"  # the pool's cc_shared, forced into attrs
        attrs = attrs | {CC_SHARED} if shared else attrs - {CC_SHARED}
        address = phys_to_dma_unencrypted(m, slot) if shared else phys_to_dma(m, slot)
    else:
        address = phys_to_dma_unencrypted(m, slot)
    if not dma_capable(m, address, attrs):
        swiotlb_tbl_unmap_single(m, slot, attrs | {SKIP_CPU_SYNC}, buffer)
        m.did("warn")
        return ERROR
    if not m.state.coherent and SKIP_CPU_SYNC not in attrs:
        cache_for_device(m, slot, buffer)
        flush(m)
    return address


def swiotlb_tbl_unmap_single(m: Machine, phys: str, attrs: Attrs, buffer: Buffer | None = None) -> None:
    """kernel/dma/swiotlb.c: swiotlb_tbl_unmap_single(); nothing for an address outside of the pool."""
    if in_pool(phys):
        without = SKIP_CPU_SYNC in attrs
        m.did(
            f"release bounce {'without' if without else 'with'} copy", f"release {span(m, phys, buffer)} {words(attrs)}"
        )


def swiotlb_sync(m: Machine, phys: str, whom: str, buffer: Buffer | None = None) -> None:
    """include/linux/swiotlb.h: swiotlb_sync_single_for_cpu() and _for_device(); nothing outside of the pool."""
    if in_pool(phys):
        what = "copy bounce to memory" if whom == "CPU" else "copy memory to bounce"
        m.did(what, f"sync for {whom} {span(m, phys, buffer)}")


# ---- cache maintenance, each architecture's own


def cache_for_device(m: Machine, phys: str, buffer: Buffer | None = None) -> None:
    """arch_sync_dma_for_device()."""
    m.did(f"cache for device {phys}", f"cache for device {span(m, phys, buffer)}")


def cache_for_cpu(m: Machine, phys: str, buffer: Buffer | None = None) -> None:
    """arch_sync_dma_for_cpu()."""
    m.did(f"cache for CPU {phys}", f"cache for CPU {span(m, phys, buffer)}")


def flush(m: Machine) -> None:
    """arch_sync_dma_flush(), which waits for cache maintenance; new in 7.0, before that each call waited itself."""
    if m.version >= (7, 0):
        m.noted("flush")


# ---- include/linux/dma-map-ops.h


def dma_kmalloc_safe(m: Machine) -> bool:
    """include/linux/dma-map-ops.h: dma_kmalloc_safe(); there is nothing to be safe from before 6.5."""
    return m.version < (6, 5) or m.state.coherent or m.state.dir == "DMA_TO_DEVICE"


def dma_kmalloc_size_aligned(m: Machine, buffer: Buffer) -> bool:
    """include/linux/dma-map-ops.h: dma_kmalloc_size_aligned(): large, or rounded up to whole cache lines."""
    return not m.state.kmalloc_bounce or buffer.size >= 2 * 128


def dma_kmalloc_needs_bounce(m: Machine, buffer: Buffer) -> bool:
    """include/linux/dma-map-ops.h: dma_kmalloc_needs_bounce(); new in 6.5."""
    return not dma_kmalloc_safe(m) and not dma_kmalloc_size_aligned(m, buffer)
