# SPDX-License-Identifier: GPL-2.0-only
"""What of a kernel tree is run against the model, group by group, and how its text is found.

The functions are found by name with the project's own syntax layer, so that a point release does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dmamigrate.errors import ModelError
from dmamigrate.model.versions import release
from dmamigrate.syntax.source import read
from dmamigrate.syntax.unit import Unit

_IOVA_H, _DIR_H = "include/linux/iova.h", "include/linux/dma-direction.h"
_DMA_H, _OPS_H = "include/linux/dma-mapping.h", "include/linux/dma-map-ops.h"
_DIRECT_INLINE, _P2P_H = "include/linux/dma-direct.h", "include/linux/pci-p2pdma.h"
_MAPPING, _DIRECT_C, _DIRECT_H = "kernel/dma/mapping.c", "kernel/dma/direct.c", "kernel/dma/direct.h"
_SWIOTLB, _IOMMU = "kernel/dma/swiotlb.c", "drivers/iommu/dma-iommu.c"
_BLK, _BLK_H, _HMM = "block/blk-mq-dma.c", "include/linux/blk-mq-dma.h", "mm/hmm.c"
_DEFINES = ((_DMA_H, r"DMA_ATTR_\w+"), ("include/linux/iommu.h", r"IOMMU_(?:READ|WRITE|CACHE|MMIO|PRIV)"))

Part = tuple[str, str, str]  # group, file, names
# Groups build on those before them; the order is the order in which C needs the functions.
GROUPS = ("core", "sg", "iova", "users")
_TRANSLATE = "translate_phys_to_dma translate_dma_to_phys"
_PAGE: tuple[Part, ...] = (
    ("core", _DIRECT_INLINE, f"{_TRANSLATE} phys_to_dma_unencrypted phys_to_dma dma_to_phys dma_capable"),
    ("core", _OPS_H, "dma_kmalloc_safe dma_kmalloc_size_aligned dma_kmalloc_needs_bounce"),
    ("core", _SWIOTLB, "swiotlb_map"),
    ("core", _DIRECT_H, "dma_direct_sync_single_for_device dma_direct_sync_single_for_cpu dma_direct_map_page "
                        "dma_direct_unmap_page"),
    ("core", _DIRECT_C, "dma_direct_map_resource"),
    ("core", _IOMMU, "dma_info_to_prot dev_use_swiotlb __iommu_dma_map __iommu_dma_unmap iommu_dma_sync_single_for_cpu "
                     "iommu_dma_sync_single_for_device iommu_dma_map_page iommu_dma_unmap_page iommu_dma_map_resource "
                     "iommu_dma_unmap_resource"),
    ("sg", _DIRECT_C, "dma_direct_unmap_sg dma_direct_map_sg"),
    ("sg", _IOMMU, "dev_use_sg_swiotlb iommu_dma_sync_sg_for_cpu iommu_dma_sync_sg_for_device __finalise_sg "
                   "__invalidate_sg iommu_dma_unmap_sg_swiotlb iommu_dma_map_sg_swiotlb iommu_dma_map_sg "
                   "iommu_dma_unmap_sg"),
    ("core", _MAPPING, "dma_go_direct dma_map_direct dma_map_page_attrs dma_unmap_page_attrs dma_map_resource "
                       "dma_unmap_resource"),
)  # fmt: skip
_PHYS: tuple[Part, ...] = (
    ("core", _OPS_H, "dma_kmalloc_safe dma_kmalloc_size_aligned dma_kmalloc_needs_bounce"),
    ("core", _SWIOTLB, "swiotlb_map"),
    ("core", _DIRECT_H, "dma_direct_sync_single_for_device dma_direct_sync_single_for_cpu dma_direct_map_phys "
                        "dma_direct_unmap_phys"),
    ("core", _IOMMU, "dma_info_to_prot dev_use_swiotlb iova_unaligned iommu_dma_map_swiotlb __iommu_dma_map "
                     "__iommu_dma_unmap iommu_dma_sync_single_for_cpu iommu_dma_sync_single_for_device "
                     "iommu_dma_map_phys iommu_dma_unmap_phys"),
    ("sg", _P2P_H, "pci_p2pdma_state pci_p2pdma_bus_addr_map"),
    ("sg", _DIRECT_C, "dma_direct_unmap_sg dma_direct_map_sg"),
    ("sg", _IOMMU, "dev_use_sg_swiotlb iommu_dma_sync_sg_for_cpu iommu_dma_sync_sg_for_device __finalise_sg "
                   "__invalidate_sg iommu_dma_unmap_sg_swiotlb iommu_dma_map_sg_swiotlb iommu_dma_map_sg "
                   "iommu_dma_unmap_sg"),
    ("iova", _DMA_H, "dma_use_iova dma_iova_size"),
    ("iova", _IOMMU, "dma_iova_try_alloc dma_iova_free __dma_iova_link iommu_dma_iova_bounce_and_link "
                     "iommu_dma_iova_link_swiotlb dma_iova_link dma_iova_sync iommu_dma_iova_unlink_range_slow "
                     "__iommu_dma_iova_unlink dma_iova_unlink dma_iova_destroy"),
    ("core", _MAPPING, "dma_go_direct dma_map_direct dma_map_phys dma_map_page_attrs dma_unmap_phys "
                       "dma_unmap_page_attrs dma_map_resource dma_unmap_resource __dma_sync_single_for_cpu "
                       "__dma_sync_single_for_device"),
    ("sg", _MAPPING, "__dma_map_sg_attrs dma_map_sgtable dma_unmap_sg_attrs"),
    ("users", _MAPPING, "dma_need_unmap"),
    ("users", _BLK, "blk_can_dma_map_iova blk_dma_map_bus blk_dma_map_direct blk_rq_dma_map_iova "
                    "blk_dma_map_iter_start"),
    ("users", _BLK_H, "blk_rq_dma_unmap"),
    ("users", _HMM, "hmm_dma_map_pfn hmm_dma_unmap_pfn"),
)  # fmt: skip
_FIRST: tuple[Part, ...] = (
    ("core", _IOVA_H, "iova_mask iova_offset iova_align iova_align_down"),
    ("core", _DIR_H, "valid_dma_direction"),
    ("core", _DMA_H, "dma_get_mask"),
)
_ABSENT = {
    "6.1": "iova_align_down dma_kmalloc_safe dma_kmalloc_size_aligned dma_kmalloc_needs_bounce dev_use_sg_swiotlb",
    "7.3": "__iommu_dma_iova_unlink",
}
_SG_PAGE = ("sg", _MAPPING, "__dma_map_sg_attrs dma_map_sgtable dma_unmap_sg_attrs")
_PLANS: dict[str, tuple[Part, ...]] = {
    "6.1": (*_FIRST, *_PAGE, ("core", _MAPPING, "dma_sync_single_for_cpu dma_sync_single_for_device"), _SG_PAGE),
    "6.12": (*_FIRST, *_PAGE, ("core", _MAPPING, "__dma_sync_single_for_cpu __dma_sync_single_for_device"), _SG_PAGE),
    "7.2": (*_FIRST, ("core", _DIRECT_INLINE,
    f"{_TRANSLATE} __phys_to_dma phys_to_dma_unencrypted phys_to_dma dma_to_phys "
                                              "dma_capable"), *_PHYS),
    "7.3": (*_FIRST, ("core", _DIRECT_INLINE,
    f"{_TRANSLATE} __phys_to_dma phys_to_dma_unencrypted phys_to_dma_encrypted "
                                              "phys_to_dma dma_to_phys dma_capable"), *_PHYS),
}  # fmt: skip
# How the harness is to be built for each version.
FLAGS = {
    "6.1": ("-DSWIOTLB_SEVEN", "-DIOMMU_IS_OPS"), "6.12": ("-DSWIOTLB_BY_VALUE",),
    "7.2": ("-DSWIOTLB_BY_VALUE", "-DHAS_MAP_PHYS"), "7.3": ("-DHAS_MAP_PHYS",),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Function:
    """One function of a tree: its group, name, file, and text (empty if the tree has none of that name)."""

    group: str
    name: str
    path: str
    text: str


def plan_for(version: str, nearest: bool = False) -> str:
    """The version whose functions a tree of `version` should have; with `nearest`, also of versions that nobody read.

    A point release, and anything newer than the newest, counts as read. Raises ModelError with what to do otherwise.
    """
    wanted = release(version)
    known = {release(v): v for v in _PLANS}
    if wanted in known:
        return known[wanted]
    if wanted > max(known):
        return known[max(known)]
    # bouncing of small buffers came with 6.5, dma_map_phys() with 6.18
    near = (6, 1) if wanted < (6, 5) else (6, 12) if wanted < (6, 18) else (7, 2)
    if nearest:
        return known[near]
    raise ModelError(
        f"{version}: nobody read a tree of this version, only {', '.join(_PLANS)} and newer; "
        f"--nearest runs it against the model of {known[near]} and says what drifted"
    )


def groups_of(plan: str) -> tuple[str, ...]:
    """The groups that a version has."""
    return tuple(group for group in GROUPS if any(part[0] == group for part in _PLANS[plan]))


def extract(root: Path, plan: str, changed: Mapping[str, str] | None = None) -> tuple[Function, ...]:
    """The planned functions of the tree at `root`, or the text that `changed` gives for one by its name.

    A function is looked for in its own file first, then in the others: between releases they move. A file that is not
    there counts as one without functions.
    """
    parts = _PLANS[plan]
    units = {path: _unit(root, path) for path in dict.fromkeys(path for _, path, _ in parts)}
    absent = _ABSENT.get(plan, "").split()
    found: list[Function] = []
    for group, path, names in parts:
        for name in names.split():
            if name not in absent:
                homes = [units[path], *(unit for other, unit in units.items() if other != path)]
                text = next((text for unit in homes if unit is not None and (text := _text(unit, name))), "")
                found.append(Function(group, name, path, (changed or {}).get(name, text)))
    return tuple(found)


def _unit(root: Path, path: str) -> Unit | None:
    return Unit(read(root / path, path)) if (root / path).is_file() else None


def _text(unit: Unit, name: str) -> str:
    definitions = unit.named("function", name)
    if not definitions:
        return ""
    # an empty inline for a configuration without the feature stands beside the real one
    best = max(definitions, key=lambda item: item.end - item.body)
    return unit.source.data[best.head : best.end].decode("utf-8", "replace")


def defines(root: Path) -> str:
    """The tree's own `#define` lines of attribute and IOMMU bits."""
    lines: list[str] = []
    for path, names in _DEFINES:
        text = (root / path).read_text("utf-8", "replace") if (root / path).is_file() else ""
        lines += re.findall(rf"^[ \t]*#[ \t]*define[ \t]+{names}[ \t]+\(.*\)", text, re.MULTILINE)
    return "\n".join(lines) + "\n"
