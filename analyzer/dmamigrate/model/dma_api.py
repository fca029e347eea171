# SPDX-License-Identifier: GPL-2.0-only
"""The DMA mapping API as functions of a state: named as in the kernel, each citing the file and function it states.

6.1, 6.12, 7.2 and 7.3 state what was read in those trees. 6.18, 6.19 and 7.0 are inferred from 7.2 and from the merged
dma_map_phys() series; where they differ from 7.2 a comment says so.
"""

from __future__ import annotations

from collections.abc import Sequence

from dmamigrate.errors import ModelError
from dmamigrate.model.direct import (
    dma_direct_map_page,
    dma_direct_map_phys,
    dma_direct_map_resource,
    dma_direct_sync_single_for_cpu,
    dma_direct_sync_single_for_device,
    dma_direct_unmap,
)
from dmamigrate.model.iommu import (
    iommu_dma_map,
    iommu_dma_map_resource,
    iommu_dma_sync_single,
    iommu_dma_unmap,
    iommu_dma_unmap_range,
)
from dmamigrate.model.machine import (
    ERROR,
    Attrs,
    Buffer,
    Machine,
    Stopped,
    place,
    span,
    words,
)
from dmamigrate.model.sg import (
    EIO,
    EOPNOTSUPP,
    Mapped,
    dma_direct_map_sg,
    dma_direct_unmap_sg,
    iommu_dma_map_sg,
    iommu_dma_unmap_sg,
)
from dmamigrate.model.states import CC_SHARED, DEVICE_MEMORY, MMIO, REQUIRE_COHERENT


def dma_go_direct(m: Machine) -> bool:
    """kernel/dma/mapping.c: dma_go_direct() with dma_map_direct()."""
    return m.state.backend == "direct" or (m.state.backend == "ops bypassed" and m.state.reachable)


def arch_dma_map_phys_direct(m: Machine) -> bool:
    """arch/powerpc/kernel/dma-iommu.c: arch_dma_map_phys_direct(), arch_dma_map_page_direct() to 6.17."""
    return m.state.backend == "ops with arch direct hook"


def _begin(m: Machine) -> None:
    """BUG_ON(!valid_dma_direction(dir)), the first statement of every call of kernel/dma/mapping.c."""
    if m.state.dir == "DMA_NONE":
        m.did("BUG")
        raise Stopped


def _no_mask(m: Machine) -> bool:
    """kernel/dma/mapping.c: WARN_ON_ONCE(!dev->dma_mask)."""
    if m.state.has_mask:
        return False
    m.did("warn")
    return True


def _kmsan(m: Machine) -> None:
    """mm/kmsan/hooks.c: kmsan_handle_dma(): looks at the contents."""
    m.did("kmsan", f"kmsan {span(m, 'P')}")


def _callback(m: Machine, name: str, attrs: Attrs) -> str:
    """A callback of struct dma_map_ops that maps, and what its table makes of MMIO (see states.BACKENDS)."""
    mmio = MMIO in attrs and name == "map_phys"
    m.did(f"ops {name}{' MMIO' if mmio else ''}", f"ops {name} {span(m, 'P')} {words(attrs)}")
    if mmio and m.state.backend == "ops refusing MMIO":
        return ERROR
    if m.state.memory in DEVICE_MEMORY and (MMIO not in attrs or m.state.backend != "ops") and name != "map_resource":
        m.effects.append("table maps it as memory")
    return "OPS"


def _callback_unmap(m: Machine, name: str, address: str, attrs: Attrs) -> None:
    mmio = MMIO in attrs and name == "unmap_phys"
    m.did(f"ops {name}{' MMIO' if mmio else ''}", f"ops {name} {span(m, address)} {words(attrs)}")


def _told_of_map(m: Machine, name: str, address: str, attrs: Attrs) -> None:
    """The trace event (since 6.12) and dma-debug's entry; the entry of a map_phys() is dropped if the map failed."""
    line = f"{name} {span(m, 'P')} -> {place(m, address)} {words(attrs)}"
    if m.version >= (6, 12):
        m.noted(f"trace {line}")
    m.noted(f"debug {line}")


def _told_of_unmap(m: Machine, name: str, address: str, attrs: Attrs) -> None:
    """The trace event (since 6.12) and dma-debug's check, which compares attributes since 7.0."""
    if m.version >= (6, 12):
        m.noted(f"trace {name} {span(m, address)} {words(attrs)}")
    m.noted(f"debug {name} {span(m, address)}{f' {words(attrs)}' if m.version >= (7, 0) else ''}")


def _phys_by_table(m: Machine, attrs: Attrs) -> str | None:
    """kernel/dma/mapping.c: dma_map_phys() behind struct dma_map_ops; None where 6.18 returns without a trace.

    Inferred of 6.18: MMIO goes to ops->map_resource() if there is one, everything else to ops->map_page().
    """
    if m.version >= (6, 19):
        return ERROR if m.state.backend == "ops without callback" else _callback(m, "map_phys", attrs)
    if MMIO not in attrs:
        return _callback(m, "map_page", attrs)
    return _callback(m, "map_resource", attrs) if m.state.backend == "ops" else None


def dma_map_phys(m: Machine, attrs: Attrs) -> str:
    """kernel/dma/mapping.c: dma_map_phys(), new in 6.18.

    Raises ModelError for a version without it.
    """
    if m.version < (6, 18):
        raise ModelError("dma_map_phys() is new in 6.18; ask for 6.18 or newer")
    _begin(m)
    if _no_mask(m):
        return ERROR
    mmio, shared = MMIO in attrs, CC_SHARED in attrs
    if m.version >= (7, 0) and not m.state.coherent and REQUIRE_COHERENT in attrs:
        return ERROR
    if dma_go_direct(m) or (not mmio and not shared and arch_dma_map_phys_direct(m)):
        address = dma_direct_map_phys(m, attrs, m.buffer)
    elif shared:
        return ERROR
    elif m.state.backend == "dma-iommu":
        address = iommu_dma_map(m, attrs, m.buffer)
    else:
        given = _phys_by_table(m, attrs)
        if given is None:
            return ERROR
        address = given
    if not mmio:
        _kmsan(m)
    _told_of_map(m, "map_phys", address, attrs)
    return address


def dma_unmap_phys(m: Machine, address: str, attrs: Attrs) -> None:
    """kernel/dma/mapping.c: dma_unmap_phys(), new in 6.18."""
    _begin(m)
    mmio, shared = MMIO in attrs, CC_SHARED in attrs
    if dma_go_direct(m) or (not mmio and not shared and arch_dma_map_phys_direct(m)):
        dma_direct_unmap(m, address, attrs, m.buffer)
    elif shared:
        return
    elif m.state.backend == "dma-iommu":
        iommu_dma_unmap(m, address, attrs, m.buffer)
    elif m.version >= (6, 19):
        if m.state.backend != "ops without callback":
            _callback_unmap(m, "unmap_phys", address, attrs)
    elif not mmio:
        _callback_unmap(m, "unmap_page", address, attrs)
    elif m.state.backend == "ops":
        _callback_unmap(m, "unmap_resource", address, attrs)
    _told_of_unmap(m, "unmap_phys", address, attrs)


def dma_map_resource(m: Machine, attrs: Attrs) -> str:
    """kernel/dma/mapping.c: dma_map_resource(); a wrapper that adds DMA_ATTR_MMIO since 6.18.

    Inferred for 6.18, 6.19 and 7.0 as released: with CONFIG_DMA_API_DEBUG an address that has a page is refused. The
    check left with a fix that stable releases have, too; 7.2 has none.
    """
    if m.version >= (6, 18):
        if m.version < (7, 1) and m.state.debug and m.state.memory in ("ram", "ram-highmem", "p2p-page"):
            m.did("warn of its page")
            return ERROR
        return dma_map_phys(m, attrs | {MMIO})
    _begin(m)
    if _no_mask(m):
        return ERROR
    if dma_go_direct(m):
        address = dma_direct_map_resource(m)
    elif m.state.backend == "dma-iommu":
        address = iommu_dma_map_resource(m, attrs)
    else:
        address = _callback(m, "map_resource", attrs) if m.state.backend == "ops" else ERROR
    _told_of_map(m, "map_resource", address, attrs)
    return address


def dma_unmap_resource(m: Machine, address: str, attrs: Attrs) -> None:
    """kernel/dma/mapping.c: dma_unmap_resource()."""
    if m.version >= (6, 18):
        dma_unmap_phys(m, address, attrs | {MMIO})
        return
    _begin(m)
    if m.state.backend == "dma-iommu":
        iommu_dma_unmap_range(m, address, m.buffer.offset % m.geometry.granule, m.buffer.size)
    elif m.state.backend == "ops":
        _callback_unmap(m, "unmap_resource", address, attrs)
    _told_of_unmap(m, "unmap_resource", address, attrs)


def dma_map_page_attrs(m: Machine, attrs: Attrs) -> str:
    """kernel/dma/mapping.c: dma_map_page_attrs(); a wrapper that refuses DMA_ATTR_MMIO since 6.18."""
    if m.version >= (6, 18):
        if MMIO in attrs:
            return ERROR
        if m.state.debug and m.state.memory == "p2p-page":
            m.did("warn of its page")
            return ERROR
        return dma_map_phys(m, attrs)
    _begin(m)
    if _no_mask(m):
        return ERROR
    if dma_go_direct(m) or arch_dma_map_phys_direct(m):
        address = dma_direct_map_page(m, attrs, m.buffer)
    elif m.state.backend == "dma-iommu":
        address = iommu_dma_map(m, attrs, m.buffer)
    else:
        address = _callback(m, "map_page", attrs)  # without a test: every table of these versions has it
    _kmsan(m)
    _told_of_map(m, "map_page", address, attrs)
    return address


def dma_unmap_page_attrs(m: Machine, address: str, attrs: Attrs) -> None:
    """kernel/dma/mapping.c: dma_unmap_page_attrs(); does nothing with DMA_ATTR_MMIO since 6.18."""
    if m.version >= (6, 18):
        if MMIO not in attrs:
            dma_unmap_phys(m, address, attrs)
        return
    _begin(m)
    if dma_go_direct(m) or arch_dma_map_phys_direct(m):
        dma_direct_unmap(m, address, attrs, m.buffer)
    elif m.state.backend == "dma-iommu":
        iommu_dma_unmap(m, address, attrs, m.buffer)
    else:
        _callback_unmap(m, "unmap_page", address, attrs)
    _told_of_unmap(m, "unmap_page", address, attrs)


def dma_map_single_attrs(m: Machine, attrs: Attrs) -> str:
    """include/linux/dma-mapping.h: dma_map_single_attrs(), for an address in the linear map."""
    return dma_map_page_attrs(m, attrs)


# ---- synchronisation


def _sync(m: Machine, address: str, whom: str) -> None:
    """kernel/dma/mapping.c: __dma_sync_single_for_cpu() and _for_device(), without the underscores in 6.1.

    They take no attributes, so that MMIO is not exempt; behind a table they are its own affair.
    """
    _begin(m)
    if dma_go_direct(m):
        if whom == "CPU":
            dma_direct_sync_single_for_cpu(m, address, m.buffer)
        else:
            dma_direct_sync_single_for_device(m, address, m.buffer)
    elif m.state.backend == "dma-iommu":
        iommu_dma_sync_single(m, address, whom, m.buffer)
    elif m.state.backend == "ops":
        m.did(f"ops sync_single_for_{whom.lower()}", f"ops sync for {whom} {span(m, address)}")
    for told in ("trace", "debug") if m.version >= (6, 12) else ("debug",):
        m.noted(f"{told} sync for {whom} {span(m, address)}")


def dma_sync_single_for_cpu(m: Machine, address: str) -> None:
    """kernel/dma/mapping.c: __dma_sync_single_for_cpu()."""
    _sync(m, address, "CPU")


def dma_sync_single_for_device(m: Machine, address: str) -> None:
    """kernel/dma/mapping.c: __dma_sync_single_for_device()."""
    _sync(m, address, "device")


# ---- scatterlists


def _map_sg(m: Machine, attrs: Attrs, entries: Sequence[Buffer]) -> Mapped | None:
    """kernel/dma/mapping.c: __dma_map_sg_attrs(); None without a mask."""
    _begin(m)
    if m.version >= (7, 0) and not m.state.coherent and REQUIRE_COHERENT in attrs:
        return Mapped(error=EOPNOTSUPP)
    if _no_mask(m):
        return None
    if dma_go_direct(m) or arch_dma_map_phys_direct(m):
        mapped = dma_direct_map_sg(m, attrs, entries)
    elif m.state.backend == "dma-iommu":
        mapped = iommu_dma_map_sg(m, attrs, entries)
    else:
        m.did("ops map_sg", f"ops map_sg {len(entries)} {m.dir} {words(attrs)}")
        mapped = Mapped(("OPS",) * len(entries), tuple(f"{place(m, 'OPS', e)}/{e.size:x}" for e in entries))
    if mapped.error:
        return mapped
    m.did("kmsan", f"kmsan list {len(entries)} {m.dir}")
    for told in ("trace", "debug") if m.version >= (6, 12) else ("debug",):
        m.noted(f"{told} map_sg {len(entries)} -> {len(mapped.segments)} {m.dir} {words(attrs)}")
    return mapped


def _sg(m: Machine, attrs: Attrs, entries: Sequence[Buffer]) -> str:
    mapped = _map_sg(m, attrs, entries)
    if mapped is None or mapped.error:
        m.noted("list: none" if mapped is None else f"list: error {mapped.error or EIO}")
        return ERROR
    m.noted(f"list: {' '.join(mapped.segments)}")
    return ",".join(mapped.addresses)


def _unsg(m: Machine, address: str, attrs: Attrs, entries: Sequence[Buffer]) -> None:
    """kernel/dma/mapping.c: dma_unmap_sg_attrs(): traced first; the architecture is asked whatever the attributes."""
    _begin(m)
    if m.version >= (6, 12):
        m.noted(f"trace unmap_sg {len(entries)} {m.dir} {words(attrs)}")
    m.noted(f"debug unmap_sg {len(entries)} {m.dir}{f' {words(attrs)}' if m.version >= (7, 0) else ''}")
    addresses = address.split(",")
    if dma_go_direct(m) or arch_dma_map_phys_direct(m):
        dma_direct_unmap_sg(m, addresses, attrs, entries)
    elif m.state.backend == "dma-iommu":
        iommu_dma_unmap_sg(m, addresses, attrs, entries)
    else:
        m.did("ops unmap_sg", f"ops unmap_sg {len(entries)} {m.dir} {words(attrs)}")


def dma_map_sg_attrs(m: Machine, attrs: Attrs) -> str:
    """kernel/dma/mapping.c: dma_map_sg_attrs() of one entry."""
    return _sg(m, attrs, (m.buffer,))


def dma_unmap_sg_attrs(m: Machine, address: str, attrs: Attrs) -> None:
    """kernel/dma/mapping.c: dma_unmap_sg_attrs() of one entry."""
    _unsg(m, address, attrs, (m.buffer,))


def _two(m: Machine) -> tuple[Buffer, Buffer]:
    """What comes first is a granule, or ends inside of one before memory that begins one and does not fill it."""
    whole = m.buffer.offset or m.buffer.size % m.geometry.granule == 0
    return Buffer("Q", 0, m.geometry.granule if whole else 0x80), m.buffer


def dma_map_sg_of_two(m: Machine, attrs: Attrs) -> str:
    """kernel/dma/mapping.c: dma_map_sg_attrs() of a granule of memory and what is under judgement."""
    return _sg(m, attrs, _two(m))


def dma_unmap_sg_of_two(m: Machine, address: str, attrs: Attrs) -> None:
    """kernel/dma/mapping.c: dma_unmap_sg_attrs() of a granule of memory and what is under judgement."""
    _unsg(m, address, attrs, _two(m))
