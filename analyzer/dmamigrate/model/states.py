# SPDX-License-Identifier: GPL-2.0-only
"""The states in which a DMA mapping call may run, the plainest first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

from dmamigrate.findings import Kind

MMIO = "DMA_ATTR_MMIO"
SKIP_CPU_SYNC = "DMA_ATTR_SKIP_CPU_SYNC"
REQUIRE_COHERENT = "DMA_ATTR_REQUIRE_COHERENT"
CC_SHARED = "DMA_ATTR_CC_SHARED"
PRIVILEGED = "DMA_ATTR_PRIVILEGED"
NO_WARN = "DMA_ATTR_NO_WARN"
# Every attribute that decides what a streaming call does. NO_WARN silences the message of a full pool, WEAK_ORDERING is
# read by sparc's sun4v alone, DEBUGGING_IGNORE_CACHELINES by dma-debug: none of them changes a mapping.
READ_ATTRS = (MMIO, SKIP_CPU_SYNC, PRIVILEGED, REQUIRE_COHERENT, CC_SHARED)
# include/linux/dma-mapping.h: the bit of each; MMIO came with 6.18, the last two with 7.0.
ATTR_BITS = {
    SKIP_CPU_SYNC: 5, NO_WARN: 8, PRIVILEGED: 9, MMIO: 10, REQUIRE_COHERENT: 12, CC_SHARED: 13,
}  # fmt: skip

# What maps. Tables of dma_map_ops differ in what they make of DMA_ATTR_MMIO (up to 6.18: of dma_map_resource()):
#   "ops"                       maps it: arm's, xen-swiotlb's (arch/arm/mm/dma-mapping.c, drivers/xen/swiotlb-xen.c)
#   "ops refusing MMIO"         returns an error: vio, ibmebus, sparc, alpha, jazz, amd_gart, ccio, sba, xen grant-dma;
#                               up to 6.18 a table without map_resource()
#   "ops ignoring MMIO"         maps it as memory: powerpc's TCE, sparc's io-unit
#   "ops without callback"      has no map_phys() at all, of which no tree from 6.19 on has one, and no map_resource()
#   "ops with arch direct hook" powerpc on pseries: TCE, but the architecture may say direct
# (arch/powerpc/kernel/dma-iommu.c)
#   "ops bypassed"              dev->dma_ops_bypass: direct where the mask covers what direct mapping needs, else TCE
BACKENDS = (
    "direct", "dma-iommu", "ops", "ops refusing MMIO", "ops ignoring MMIO", "ops without callback",
    "ops with arch direct hook", "ops bypassed",
)  # fmt: skip
DIRECTIONS = ("DMA_TO_DEVICE", "DMA_FROM_DEVICE", "DMA_BIDIRECTIONAL")
SWIOTLB = ("off", "active", "forced", "full")
# Memory encryption. A host (SME) and an SEV guest set the C-bit in the encrypted form of an address, TDX has no bit in
# either form, an arm64 realm (CCA) sets the top bit of the shared form. "SME (short mask)" is a host whose device
# cannot address the C-bit, for which force_dma_unencrypted() holds. A guest's device that is trusted (TDISP) is no
# state of its own: no force_dma_unencrypted() up to 7.3 asks for the device in a guest.
ENCRYPTION = ("none", "SME", "SME (short mask)", "SEV", "TDX", "CCA")
MAP_TYPES = ("none", "bus address", "host bridge", "not supported")

# What the address is, as far as the API can see: has it a struct page, is that ZONE_DEVICE, is it device memory.
MEMORY = ("ram", "ram-highmem", "ram-no-page", "p2p-page", "mmio", "bar")
DEVICE_MEMORY = frozenset({"p2p-page", "mmio", "bar"})
WITHOUT_PAGE = frozenset({"ram-no-page", "mmio", "bar"})

MEMORY_OF: dict[Kind, tuple[str, ...]] = {
    Kind.RAM: ("ram", "ram-highmem"),
    Kind.MMIO: ("mmio",),
    Kind.PCI_BAR: ("bar", "p2p-page"),
    Kind.P2P: ("p2p-page",),
    # no struct page to go by, and nobody knows which memory it is
    Kind.PFNMAP: ("mmio", "bar", "ram-no-page"),
    # anything but system memory with a page: that is what the call under judgement says of it
    Kind.UNKNOWN: ("mmio", "bar", "p2p-page", "ram-no-page"),
}


@dataclass(frozen=True, slots=True)
class State:
    """One state of the device, the kernel and the memory.

    `reachable` says that the device's mask and bus limit cover the address, `aligned` that address and size are
    multiples of the IOMMU granule, `range_map` that dma-ranges translate and `covered` that one of them covers the
    address, `kmalloc_bounce` that the buffer shares a cache line. `min_align` is what dma_set_min_align_mask() was
    given: "none", "granule" (the IOMMU granule less one) or "beyond" it. `iommu_fails` is "", "no iova", "map" or "map
    2" (the second); `map_type` what pci_p2pdma_state() says of a page of the P2P memory. `has_mask` is false for a
    device without dev->dma_mask, `pool_reachable` where the mask does not even cover the bounce pool.
    """

    backend: str = "direct"
    memory: str = "ram"
    dir: str = "DMA_TO_DEVICE"
    coherent: bool = True
    swiotlb: str = "off"
    reachable: bool = True
    cc: str = "none"
    range_map: bool = False
    debug: bool = False
    untrusted: bool = False
    kmalloc_bounce: bool = False
    aligned: bool = True
    covered: bool = True
    min_align: str = "none"
    flush_queue: bool = False
    iommu_fails: str = ""
    map_type: str = "none"
    has_mask: bool = True
    pool_reachable: bool = True

    def describe(self) -> str:
        """The state in words: what is given always, then only what is not plain."""
        words = [f"{self.backend} backend", self.memory, self.dir, "coherent" if self.coherent else "not coherent"]
        words += [f"swiotlb {self.swiotlb}"] if self.swiotlb != "off" else []
        words += ["address beyond the DMA mask"] if not self.reachable else []
        words += [f"{self.cc} memory encryption"] if self.cc != "none" else []
        words += ["dma-ranges translation"] if self.range_map and self.covered else []
        words += ["dma-ranges that do not cover the address"] if self.range_map and not self.covered else []
        words += ["CONFIG_DMA_API_DEBUG"] if self.debug else []
        words += ["untrusted device"] if self.untrusted else []
        words += ["kmalloc bounce"] if self.kmalloc_bounce else []
        words += ["unaligned"] if not self.aligned else []
        words += [f"min_align_mask {self.min_align}"] if self.min_align != "none" else []
        words += ["flush queue"] if self.flush_queue else []
        words += (
            ["no IOVA space left" if self.iommu_fails == "no iova" else f"iommu_{self.iommu_fails} fails"]
            if self.iommu_fails
            else []
        )
        words += [f"P2P type {self.map_type}"] if self.map_type != "none" else []
        words += ["no dma_mask"] if not self.has_mask else []
        words += ["bounce pool beyond the DMA mask"] if not self.pool_reachable else []
        return ", ".join(words)


# What cannot occur, and why; `model boot` confirms what a boot can show. `relevant` leaves these out.
IMPOSSIBLE: tuple[tuple[str, Callable[[State], bool]], ...] = (
    (
        "mm/slab_common.c: without a pool kmalloc() rounds up to what DMA needs, so that nothing has to bounce for it",
        lambda s: s.kmalloc_bounce and s.swiotlb == "off",
    ),
    (
        "include/linux/dma-map-ops.h: dma_kmalloc_safe(): coherent, or towards the device",
        lambda s: s.kmalloc_bounce and (s.coherent or s.dir == "DMA_TO_DEVICE"),
    ),
    (
        # arch/powerpc/platforms/pseries/iommu.c: enable_ddw() opens the direct window over system memory
        "the direct window of pseries covers system memory only; device memory goes through the table",
        lambda s: s.backend == "ops with arch direct hook" and s.memory in DEVICE_MEMORY,
    ),
)


def impossible(state: State) -> str | None:
    """Why the state cannot occur, None if it can."""
    return next((reason for reason, holds in IMPOSSIBLE if holds(state)), None)


_BOTH = (True, False)
_REVERSED = (False, True)
# memory encryption with translation: powerpc has neither C-bit nor dma-ranges
_CC_RANGE = (
    *product(("none", "SME", "SEV", "CCA"), _REVERSED),
    ("SME (short mask)", False), ("TDX", False),
)  # fmt: skip


def everything(memory: tuple[str, ...] = MEMORY, directions: tuple[str, ...] = DIRECTIONS) -> Iterator[State]:
    """Every state of the fields that decide between the paths, also those in which two fields cannot matter
    together.
    """
    device = product(BACKENDS, memory, directions, _BOTH, SWIOTLB, _BOTH, ENCRYPTION)
    flags = tuple(product(_REVERSED, _REVERSED, _REVERSED, _REVERSED, _BOTH, _BOTH))
    for (backend, kind, direction, coherent, swiotlb, reachable, cc), rest in product(device, flags):
        state = State(backend, kind, direction, coherent, swiotlb, reachable, cc, *rest)
        if (state.covered or state.range_map) and impossible(state) is None:
            yield state


@cache
def relevant(memory: tuple[str, ...], directions: tuple[str, ...] = DIRECTIONS) -> tuple[State, ...]:
    """The states that can differ in outcome: a field that is never read there keeps its plain value.

    What is `impossible` is left out. That nothing else is lost is tested against `everything`.
    """
    states = (state for kind in memory for direction in directions for state in _relevant(kind, direction))
    return tuple(state for state in states if impossible(state) is None)


def left_out(memory: tuple[str, ...], directions: tuple[str, ...] = DIRECTIONS) -> int:
    """How many states `relevant` leaves out because they are impossible."""
    states = (state for kind in memory for direction in directions for state in _relevant(kind, direction))
    return sum(impossible(state) is not None for state in states)


def _relevant(kind: str, direction: str) -> Iterator[State]:
    # CONFIG_DMA_API_DEBUG asks for the struct page
    for coherent, debug in product(_BOTH, (False,) if kind in WITHOUT_PAGE else _REVERSED):
        for swiotlb, reachable, kmalloc in product(SWIOTLB, _BOTH, _REVERSED):
            for cc, mapped in _CC_RANGE if swiotlb != "full" else (("none", False),):
                yield State("direct", kind, direction, coherent, swiotlb, reachable, cc, mapped, debug, False, kmalloc)
            yield State(
                "direct", kind, direction, coherent, swiotlb, reachable, range_map=True, debug=debug,
                kmalloc_bounce=kmalloc, covered=False,
            )  # fmt: skip
            for backend in ("ops with arch direct hook", "ops bypassed"):
                yield State(backend, kind, direction, coherent, swiotlb, reachable, debug=debug, kmalloc_bounce=kmalloc)
        for swiotlb, untrusted, kmalloc, aligned in product(("off", "active", "full"), _REVERSED, _REVERSED, _BOTH):
            for align in ("none", "granule") if not aligned else ("none",):
                yield State(
                    "dma-iommu", kind, direction, coherent, swiotlb, debug=debug, untrusted=untrusted,
                    kmalloc_bounce=kmalloc, aligned=aligned, min_align=align,
                )  # fmt: skip
        for backend in ("ops", "ops refusing MMIO", "ops ignoring MMIO", "ops without callback"):
            yield State(backend, kind, direction, coherent, debug=debug)
