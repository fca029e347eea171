# SPDX-License-Identifier: GPL-2.0-only
"""The calls of the DMA mapping API: what each argument is, and which calls belong together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DmaCall:
    """One function of include/linux/dma-mapping.h.

    `role` is map, unmap, sync or check; `roles` names its arguments in order; `family` is shared by a map and its
    unmaps.
    """

    name: str
    role: str
    family: str
    roles: tuple[str, ...]

    def position(self, role: str) -> int:
        """The index, from 0, of the argument in this role; -1 without one."""
        return self.roles.index(role) if role in self.roles else -1


def _call(name: str, role: str, family: str, roles: str) -> DmaCall:
    return DmaCall(name, role, family, tuple(roles.split()))


_ALL = (
    _call("dma_map_resource", "map", "resource", "dev phys size dir attrs"),
    _call("dma_unmap_resource", "unmap", "resource", "dev addr size dir attrs"),
    _call("dma_map_phys", "map", "phys", "dev phys size dir attrs"),
    _call("dma_unmap_phys", "unmap", "phys", "dev addr size dir attrs"),
    _call("dma_map_page", "map", "page", "dev page offset size dir"),
    _call("dma_map_page_attrs", "map", "page", "dev page offset size dir attrs"),
    _call("dma_unmap_page", "unmap", "page", "dev addr size dir"),
    _call("dma_unmap_page_attrs", "unmap", "page", "dev addr size dir attrs"),
    _call("dma_map_single", "map", "single", "dev ptr size dir"),
    _call("dma_map_single_attrs", "map", "single", "dev ptr size dir attrs"),
    _call("dma_unmap_single", "unmap", "single", "dev addr size dir"),
    _call("dma_unmap_single_attrs", "unmap", "single", "dev addr size dir attrs"),
    _call("dma_iova_link", "map", "iova", "dev state phys offset size dir attrs"),
    _call("dma_iova_unlink", "unmap", "iova", "dev state offset size dir attrs"),
    _call("dma_iova_destroy", "unmap", "iova", "dev state size dir attrs"),
    _call("dma_mapping_error", "check", "", "dev addr"),
    _call("dma_sync_single_for_cpu", "sync", "", "dev addr size dir"),
    _call("dma_sync_single_for_device", "sync", "", "dev addr size dir"),
    _call("dma_sync_single_range_for_cpu", "sync", "", "dev addr offset size dir"),
    _call("dma_sync_single_range_for_device", "sync", "", "dev addr offset size dir"),
)

# Device memory: not to be touched by the CPU's caches, include/linux/dma-mapping.h.
MMIO = "DMA_ATTR_MMIO"

DMA_CALLS: dict[str, DmaCall] = {call.name: call for call in _ALL}

# The attributes that dma-debug wants equal at map and unmap, kernel/dma/debug.c: check_unmap().
ATTRIBUTES = frozenset(
    {
        "DMA_ATTR_NO_KERNEL_MAPPING",
        "DMA_ATTR_FORCE_CONTIGUOUS",
        MMIO,
        "DMA_ATTR_REQUIRE_COHERENT",
        "DMA_ATTR_PRIVILEGED",
        "DMA_ATTR_CC_SHARED",
    }
)
