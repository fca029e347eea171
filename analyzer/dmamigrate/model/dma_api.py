# SPDX-License-Identifier: GPL-2.0-only
"""The DMA mapping API as functions of a state: named as in the kernel, each citing the file and function it states.

6.1, 6.12, 7.2 and 7.3 state what was read in those trees. 6.18, 6.19 and 7.0 are inferred from 7.2 and from the merged
dma_map_phys() series; where they differ from 7.2 a comment says so.
"""

from __future__ import annotations

from collections.abc import Callable

from dmamigrate.errors import ModelError
from dmamigrate.model.direct import (
    dma_direct_map_page,
    dma_direct_map_phys,
    dma_direct_map_resource,
    dma_direct_sync_single_for_cpu,
    dma_direct_unmap,
)
from dmamigrate.model.iommu import (
    dev_use_swiotlb,
    dma_iova_destroy,
    dma_iova_link,
    dma_iova_unlink,
    iommu_dma_map,
    iommu_dma_map_resource,
    iommu_dma_unmap,
)
from dmamigrate.model.machine import ERROR, Attrs, Machine, Outcome
from dmamigrate.model.states import CC_SHARED, MMIO, REQUIRE_COHERENT, State
from dmamigrate.model.versions import behaviour, release


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
