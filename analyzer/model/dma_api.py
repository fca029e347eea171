# SPDX-License-Identifier: GPL-2.0-only
"""The DMA mapping API as functions of a state: named as in the kernel, each citing the file and function it states.

6.1, 6.12, 7.2 and 7.3 state what was read in those trees. 6.18 and 6.19 are inferred from 7.2 and from the merged
dma_map_phys() series; where they differ from 7.2 a comment says so.

An address is a word: `P` the physical address that was passed, `B` its bounce buffer, `IOVA`, `OPS` what a dma_map_ops
callback returned, `ERROR`. Suffixes say how it was changed: `+range` by dma-ranges, `+enc` by the host encryption bit,
`+shared` by the guest's shared bit. Effects are words too, in the order in which they happen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from analyzer.errors import ModelError
from analyzer.model.states import CC_SHARED, MMIO, PRIVILEGED, REQUIRE_COHERENT, SKIP_CPU_SYNC, State
from analyzer.model.versions import behaviour, release

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


# ---- kernel/dma/direct.c, direct.h


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


# ---- drivers/iommu/dma-iommu.c


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


# ---- kernel/dma/mapping.c


def dma_go_direct(m: Machine) -> bool:
    """kernel/dma/mapping.c: dma_go_direct() with dma_map_direct()."""
    return m.state.backend == "direct"


def arch_dma_map_phys_direct(m: Machine) -> bool:
    """arch/powerpc/kernel/dma-iommu.c: arch_dma_map_phys_direct(), arch_dma_map_page_direct() to 6.17."""
    return m.state.backend == "ops with arch direct hook"


def _kmsan(m: Machine) -> None:
    m.did("kmsan")


def dma_map_phys(m: Machine, attrs: Attrs) -> str:
    """kernel/dma/mapping.c: dma_map_phys(), new in 6.18.

    Raises ModelError for a version without it.
    """
    if m.version < (6, 18):
        raise ModelError("dma_map_phys() is new in 6.18; ask for 6.18 or newer")
    state = m.state
    mmio, shared = MMIO in attrs, CC_SHARED in attrs
    if m.version >= (7, 0) and not state.coherent and REQUIRE_COHERENT in attrs:
        return ERROR
    if dma_go_direct(m) or (not mmio and not shared and arch_dma_map_phys_direct(m)):
        address = dma_direct_map_phys(m, attrs)
    elif shared:
        return ERROR
    elif state.backend == "dma-iommu":
        address = iommu_dma_map(m, attrs)
    elif state.backend == "ops without callback":
        if m.version < (6, 19) and mmio:
            return ERROR  # inferred: 6.18 returned before kmsan and trace
        address = ERROR
    else:
        m.did(f"ops map_phys{' MMIO' if mmio else ''}")
        address = "OPS"
    if not mmio:
        _kmsan(m)
    return address


def dma_unmap_phys(m: Machine, address: str, attrs: Attrs) -> None:
    """kernel/dma/mapping.c: dma_unmap_phys(), new in 6.18."""
    mmio, shared = MMIO in attrs, CC_SHARED in attrs
    if dma_go_direct(m) or (not mmio and not shared and arch_dma_map_phys_direct(m)):
        dma_direct_unmap(m, address, attrs)
    elif shared:
        return
    elif m.state.backend == "dma-iommu":
        iommu_dma_unmap(m, address, attrs)
    elif m.state.backend != "ops without callback":
        m.did(f"ops unmap_phys{' MMIO' if mmio else ''}")


def dma_map_resource(m: Machine, attrs: Attrs) -> str:
    """kernel/dma/mapping.c: dma_map_resource(); a wrapper that adds DMA_ATTR_MMIO since 6.18.

    Inferred for 6.18, 6.19 and 7.0: with CONFIG_DMA_API_DEBUG an address that has a page is refused. 7.2 has no check.
    """
    if m.version >= (6, 18):
        if m.version < (7, 1) and m.state.debug and m.state.memory in ("ram", "ram-highmem", "p2p-page"):
            m.did("warn of its page")
            return ERROR
        return dma_map_phys(m, attrs | {MMIO})
    if dma_go_direct(m):
        return dma_direct_map_resource(m)
    if m.state.backend == "dma-iommu":
        return iommu_dma_map_resource(m, attrs)
    if m.state.backend == "ops without callback":
        return ERROR
    m.did("ops map_resource")
    return "OPS"


def dma_unmap_resource(m: Machine, address: str, attrs: Attrs) -> None:
    """kernel/dma/mapping.c: dma_unmap_resource()."""
    if m.version >= (6, 18):
        dma_unmap_phys(m, address, attrs | {MMIO})
    elif m.state.backend == "dma-iommu":
        m.did("iommu_unmap")
    elif m.state.backend in ("ops", "ops with arch direct hook"):
        m.did("ops unmap_resource")


def dma_map_page_attrs(m: Machine, attrs: Attrs) -> str:
    """kernel/dma/mapping.c: dma_map_page_attrs(); a wrapper that refuses DMA_ATTR_MMIO since 6.18."""
    if m.version >= (6, 18):
        if MMIO in attrs:
            return ERROR
        if m.state.debug and m.state.memory == "p2p-page":
            m.did("warn of its page")
            return ERROR
        return dma_map_phys(m, attrs)
    if dma_go_direct(m) or arch_dma_map_phys_direct(m):
        address = dma_direct_map_page(m, attrs)
    elif m.state.backend == "dma-iommu":
        address = iommu_dma_map(m, attrs)
    else:
        m.did("ops map_page")  # without a test: every table of these versions has it
        address = "OPS"
    _kmsan(m)
    return address


def dma_unmap_page_attrs(m: Machine, address: str, attrs: Attrs) -> None:
    """kernel/dma/mapping.c: dma_unmap_page_attrs(); does nothing with DMA_ATTR_MMIO since 6.18."""
    if m.version >= (6, 18):
        if MMIO not in attrs:
            dma_unmap_phys(m, address, attrs)
    elif dma_go_direct(m) or arch_dma_map_phys_direct(m):
        dma_direct_unmap(m, address, attrs)
    elif m.state.backend == "dma-iommu":
        iommu_dma_unmap(m, address, attrs)
    else:
        m.did("ops unmap_page")


def dma_map_single_attrs(m: Machine, attrs: Attrs) -> str:
    """include/linux/dma-mapping.h: dma_map_single_attrs(), for an address in the linear map."""
    return dma_map_page_attrs(m, attrs)


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


def dma_sync_single_for_cpu(m: Machine, address: str) -> None:
    """kernel/dma/mapping.c: dma_sync_single_for_cpu(); takes no attributes, so MMIO is not exempt."""
    state = m.state
    if state.backend == "direct":
        dma_direct_sync_single_for_cpu(m, address)
    elif state.backend == "dma-iommu" and (not state.coherent or dev_use_swiotlb(m)):
        phys = "B" if address == "IOVA of B" else "P"
        if not state.coherent:
            m.did(f"cache for CPU {phys}")
        if phys == "B":
            m.did("copy bounce to memory")


def dma_map_sg(m: Machine, attrs: Attrs, map_type: str) -> str:
    """kernel/dma/direct.c: dma_direct_map_sg(), drivers/iommu/dma-iommu.c: iommu_dma_map_sg(), for one P2P entry.

    `map_type` is a pci_p2pdma_map_type: NONE, BUS_ADDR, THRU_HOST_BRIDGE or NOT_SUPPORTED. Through the host bridge the
    entry is mapped like memory: DMA_ATTR_MMIO is not added.
    """
    if m.state.backend not in ("direct", "dma-iommu"):
        m.did("ops map_sg")
        return "OPS"
    if map_type == "NOT_SUPPORTED":
        return ERROR
    if map_type == "BUS_ADDR":
        return "BUS"
    if m.state.backend == "direct":
        return dma_direct_map_phys(m, attrs) if m.version >= (6, 18) else dma_direct_map_page(m, attrs)
    return iommu_dma_map(m, attrs)


Map = Callable[[Machine, Attrs], str]
Unmap = Callable[[Machine, str, Attrs], None]

MAPS: dict[str, Map] = {
    "dma_map_resource": dma_map_resource,
    "dma_map_phys": dma_map_phys,
    "dma_map_page_attrs": dma_map_page_attrs,
    "dma_map_single_attrs": dma_map_single_attrs,
    "dma_iova_link": dma_iova_link,
}
UNMAPS: dict[str, Unmap] = {
    "dma_unmap_resource": dma_unmap_resource,
    "dma_unmap_phys": dma_unmap_phys,
    "dma_unmap_page_attrs": dma_unmap_page_attrs,
    "dma_unmap_single_attrs": dma_unmap_page_attrs,
    "dma_iova_unlink": dma_iova_unlink,
    "dma_iova_destroy": dma_iova_destroy,
}


def run_map(call: str, state: State, version: str, attrs: Attrs) -> Outcome:
    """What `call` does. Raises ModelError for a call that the model, or the version, does not have."""
    if call not in MAPS:
        raise ModelError(f"the model has no {call}(); it has {', '.join(sorted(MAPS))}")
    machine = Machine(state, release(behaviour(version)))
    address = MAPS[call](machine, attrs)
    return Outcome(address, tuple(machine.effects))


def run_unmap(call: str, state: State, version: str, address: str, attrs: Attrs) -> Outcome:
    """What `call` does with `address`. Raises ModelError for a call that the model does not have."""
    if call not in UNMAPS:
        raise ModelError(f"the model has no {call}(); it has {', '.join(sorted(UNMAPS))}")
    machine = Machine(state, release(behaviour(version)))
    UNMAPS[call](machine, address, attrs)
    return Outcome(None, tuple(machine.effects))
