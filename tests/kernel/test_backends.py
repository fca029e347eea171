# SPDX-License-Identifier: GPL-2.0-only
"""The tables of struct dma_map_ops in real trees: all found, no look-alike, and what they become compiles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dmamigrate import rules, scan
from dmamigrate.findings import Report
from dmamigrate.patch import build
from tests.conftest import rewritten

pytestmark = pytest.mark.kernel
KNOWN = rules.tables()
RULES = rules.select(rules.load(known=KNOWN.api), ("legacy-dma-ops",), ())
FOLDERS = ("arch", "drivers", "sound", "block", "mm")
# by reading 6.12: each file with tables that have one of the four callbacks, and how many members of theirs it sets
TABLES = {
    "arch/alpha/kernel/pci_iommu.c": 2,
    "arch/arm/mm/dma-mapping.c": 4,
    "arch/mips/jazz/jazzdma.c": 2,
    "arch/powerpc/kernel/dma-iommu.c": 2,
    "arch/powerpc/platforms/ps3/system-bus.c": 4,
    "arch/powerpc/platforms/pseries/ibmebus.c": 2,
    "arch/powerpc/platforms/pseries/vio.c": 2,
    "arch/sparc/kernel/iommu.c": 2,
    "arch/sparc/kernel/pci_sun4v.c": 2,
    "arch/sparc/mm/io-unit.c": 2,
    "arch/sparc/mm/iommu.c": 4,
    "arch/x86/kernel/amd_gart_64.c": 2,
    "drivers/parisc/ccio-dma.c": 2,
    "drivers/parisc/sba_iommu.c": 2,
    "drivers/vdpa/vdpa_user/vduse_dev.c": 2,
    "drivers/xen/grant-dma-ops.c": 2,
    "drivers/xen/swiotlb-xen.c": 2,
}
# those that an x86 kernel with all modules builds
X86 = (
    "arch/x86/kernel/amd_gart_64.c",
    "drivers/vdpa/vdpa_user/vduse_dev.c",
    "drivers/xen/grant-dma-ops.c",
    "drivers/xen/swiotlb-xen.c",
)


def _scan(tree: Path, folders: tuple[str, ...]) -> Report:
    paths = tuple(tree / folder for folder in folders)
    return scan.scan(scan.Options(paths, RULES, KNOWN, tree=tree, target="7.3", jobs=2))


@pytest.fixture(scope="module")
def older(kernel: Callable[[str], Path]) -> Report:
    return _scan(kernel("6.12"), FOLDERS)


def test_every_table_is_found_and_moved(older: Report) -> None:
    found: dict[str, int] = {}
    for one in older.findings:
        found[one.span.path] = found.get(one.span.path, 0) + 1
    assert found == TABLES
    assert {(one.span.path, one.rewrite.reason) for one in older.findings if one.rewrite.status != "proposed"} == set()


def test_nothing_is_left_to_move_in_a_tree_that_did(kernel: Callable[[str], Path]) -> None:
    assert _scan(kernel("7.3"), FOLDERS).findings == ()


def test_what_the_tables_become_compiles(older: Report, kernel: Callable[[str], Path], tmp_path: Path) -> None:
    """Against the older tree with the members, the attribute and the macro of the newer one in its headers."""
    tree = kernel("6.12")
    scratch = build.Scratch(tree, tmp_path)
    header = (tree / "include/linux/dma-map-ops.h").read_text()
    start, end = header.index("\tdma_addr_t (*map_page)"), header.index("\tint (*map_sg)")
    members = (
        "\tdma_addr_t (*map_phys)(struct device *dev, phys_addr_t phys, size_t size,\n"
        "\t\t\tenum dma_data_direction dir, unsigned long attrs);\n"
        "\tvoid (*unmap_phys)(struct device *dev, dma_addr_t dma_handle, size_t size,\n"
        "\t\t\tenum dma_data_direction dir, unsigned long attrs);\n"
    )
    gone = header.index("\tdma_addr_t (*map_resource)")
    behind = header.index("\tvoid (*sync_single_for_cpu)")
    text = header[:start] + members + header[end:gone] + header[behind:]
    scratch.put("include/linux/dma-map-ops.h", text.encode())
    known = (tree / "include/linux/dma-mapping.h").read_text()
    at = known.index("#define DMA_ATTR_PRIVILEGED")
    scratch.put("include/linux/dma-mapping.h", f"{known[:at]}#define DMA_ATTR_MMIO (1UL << 10)\n{known[at:]}".encode())
    model = (tree / "include/asm-generic/memory_model.h").read_text()
    at = model.rindex("#endif /* __ASSEMBLY__ */")
    macro = "#ifndef phys_to_page\n#define phys_to_page(phys) pfn_to_page(PHYS_PFN(phys))\n#endif\n"
    scratch.put("include/asm-generic/memory_model.h", f"{model[:at]}{macro}{model[at:]}".encode())
    scratch.prepare(2)
    # they do not as they are: the headers have the new members
    assert all(reason is not None for reason in scratch.compile(X86, 2).values())
    made = rewritten(older, tree)
    for path in X86:
        scratch.put(path, made[path])
    assert scratch.compile(X86, 2) == dict.fromkeys(X86)
