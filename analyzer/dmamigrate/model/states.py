# SPDX-License-Identifier: GPL-2.0-only
"""The states in which a DMA mapping call may run, the plainest first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

from dmamigrate.findings import Kind

MMIO = "DMA_ATTR_MMIO"
SKIP_CPU_SYNC = "DMA_ATTR_SKIP_CPU_SYNC"
REQUIRE_COHERENT = "DMA_ATTR_REQUIRE_COHERENT"
CC_SHARED = "DMA_ATTR_CC_SHARED"
PRIVILEGED = "DMA_ATTR_PRIVILEGED"
# Every attribute that the streaming paths read; the others cannot change an outcome.
READ_ATTRS = (MMIO, SKIP_CPU_SYNC, PRIVILEGED, REQUIRE_COHERENT, CC_SHARED)

BACKENDS = ("direct", "dma-iommu", "ops", "ops without callback", "ops with arch direct hook")
DIRECTIONS = ("DMA_TO_DEVICE", "DMA_FROM_DEVICE", "DMA_BIDIRECTIONAL")

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

    `reachable` says that the device's mask covers the address, `aligned` that address and size are multiples of the
    IOMMU granule, `range_map` that dma-ranges translate, `kmalloc_bounce` that the buffer shares a cache line.
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

    def describe(self) -> str:
        """The state in words: what is given always, then only what is not plain."""
        words = [f"{self.backend} backend", self.memory, self.dir, "coherent" if self.coherent else "not coherent"]
        words += [f"swiotlb {self.swiotlb}"] if self.swiotlb != "off" else []
        words += ["address beyond the DMA mask"] if not self.reachable else []
        words += [f"{self.cc} memory encryption"] if self.cc != "none" else []
        words += ["dma-ranges translation"] if self.range_map else []
        words += ["CONFIG_DMA_API_DEBUG"] if self.debug else []
        words += ["untrusted device"] if self.untrusted else []
        words += ["kmalloc bounce"] if self.kmalloc_bounce else []
        words += ["unaligned"] if not self.aligned else []
        return ", ".join(words)


_BOTH = (True, False)
_REVERSED = (False, True)


def everything(memory: tuple[str, ...] = MEMORY, directions: tuple[str, ...] = DIRECTIONS) -> Iterator[State]:
    """Every state, also those in which two fields cannot matter together."""
    device = product(BACKENDS, memory, directions, _BOTH, ("off", "active", "forced"), _BOTH, ("none", "host", "guest"))
    flags = tuple(product(_REVERSED, _REVERSED, _REVERSED, _REVERSED, _BOTH))
    for (backend, kind, direction, coherent, swiotlb, reachable, cc), rest in product(device, flags):
        state = State(backend, kind, direction, coherent, swiotlb, reachable, cc, *rest)
        if state.kmalloc_bounce and (state.coherent or state.dir == "DMA_TO_DEVICE"):
            continue  # dma_kmalloc_safe()
        yield state


@cache
def relevant(memory: tuple[str, ...], directions: tuple[str, ...] = DIRECTIONS) -> tuple[State, ...]:
    """The states that can differ in outcome: a field that is never read there keeps its plain value.

    That nothing is lost is tested against `everything`.
    """
    return tuple(state for kind in memory for direction in directions for state in _relevant(kind, direction))


def _relevant(kind: str, direction: str) -> Iterator[State]:
    # CONFIG_DMA_API_DEBUG asks for the struct page, and what is not coherent may share a cache line
    for coherent, debug in product(_BOTH, (False,) if kind in WITHOUT_PAGE else _REVERSED):
        bounces = (False,) if coherent or direction == "DMA_TO_DEVICE" else _REVERSED
        for swiotlb, reachable, cc, mapped, kmalloc in product(
            ("off", "active", "forced"), _BOTH, ("none", "host", "guest"), _REVERSED, bounces
        ):
            for backend in ("direct", "ops with arch direct hook"):
                yield State(backend, kind, direction, coherent, swiotlb, reachable, cc, mapped, debug, False, kmalloc)
        for swiotlb, untrusted, kmalloc, aligned in product(("off", "active"), _REVERSED, bounces, _BOTH):
            yield State(
                "dma-iommu", kind, direction, coherent, swiotlb, debug=debug, untrusted=untrusted,
                kmalloc_bounce=kmalloc, aligned=aligned,
            )  # fmt: skip
        for backend in ("ops", "ops without callback"):
            yield State(backend, kind, direction, coherent, debug=debug)
