# SPDX-License-Identifier: GPL-2.0-only
"""What every call of the model stands on: a run with its effects, addresses, and the bounce pool.

An address is a word: `P` the physical address that was passed, `B` its bounce buffer, `IOVA`, `OPS` what a dma_map_ops
callback returned, `ERROR`. Suffixes say how it was changed: `+range` by dma-ranges, `+enc` by the host encryption bit,
`+shared` by the guest's shared bit. Effects are words too, in the order in which they happen.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dmamigrate.model.states import CC_SHARED, SKIP_CPU_SYNC, State

ERROR = "ERROR"
Attrs = frozenset[str]


@dataclass
class Machine:
    """One run: the state, the API version as (major, minor), and the effects so far."""

    state: State
    version: tuple[int, int]
    effects: list[str] = field(default_factory=list)

    def did(self, effect: str) -> None:
        """Record an effect."""
        self.effects.append(effect)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call did: the address it returned (None for an unmap) and its effects."""

    address: str | None
    effects: tuple[str, ...]

    def describe(self) -> str:
        """The outcome in words."""
        effects = ", ".join(self.effects) or "no effect"
        return effects if self.address is None else f"returns {self.address}; {effects}"


# ---- include/linux/dma-direct.h


def _form(m: Machine, base: str, encrypted: bool) -> str:
    """__phys_to_dma() (7.x) or phys_to_dma_unencrypted() (6.x), then the architecture's encryption helper."""
    address = base + ("+range" if m.state.range_map else "")
    if encrypted:
        return address + ("+enc" if m.state.cc == "host" else "")
    # the shared bit of a guest came with dma_addr_unencrypted(), after 6.12
    return address + ("+shared" if m.state.cc == "guest" and m.version >= (6, 18) else "")


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


def dma_capable(m: Machine, address: str, attrs: Attrs) -> bool:
    """include/linux/dma-direct.h: dma_capable(). Since 7.3 encrypted RAM is not capable for a device that needs it shared."""
    if m.version >= (7, 3) and CC_SHARED not in attrs and m.state.cc == "guest":
        return False
    if m.state.reachable:
        return True
    # the bounce pool lies below the mask; an encryption bit lies above it
    return address.startswith("B") and "+enc" not in address and "+shared" not in address


# ---- kernel/dma/swiotlb.c


def swiotlb_map(m: Machine, attrs: Attrs) -> str:
    """kernel/dma/swiotlb.c: swiotlb_map() with swiotlb_tbl_map_single(): copies whatever the direction."""
    m.did("bounce P")
    if m.version >= (7, 3):
        shared = m.state.cc != "none"  # the pool's cc_shared, forced into attrs
        attrs = attrs | {CC_SHARED} if shared else attrs - {CC_SHARED}
        address = phys_to_dma_unencrypted(m, "B") if shared else phys_to_dma(m, "B")
    else:
        address = phys_to_dma_unencrypted(m, "B")
    if not dma_capable(m, address, attrs):
        m.did("release bounce without copy")
        m.did("warn")
        return ERROR
    if not m.state.coherent and SKIP_CPU_SYNC not in attrs:
        m.did("cache for device B")
    return address


def swiotlb_tbl_unmap_single(m: Machine, phys: str, attrs: Attrs) -> None:
    """kernel/dma/swiotlb.c: swiotlb_tbl_unmap_single(); nothing for an address outside of the pool."""
    if phys == "B":
        m.did("release bounce without copy" if SKIP_CPU_SYNC in attrs else "release bounce with copy")


# ---- include/linux/dma-map-ops.h


def dma_kmalloc_needs_bounce(m: Machine) -> bool:
    """include/linux/dma-map-ops.h: dma_kmalloc_needs_bounce(); absent in 6.1."""
    state = m.state
    return m.version >= (6, 12) and state.kmalloc_bounce and not state.coherent and state.dir != "DMA_TO_DEVICE"
