# SPDX-License-Identifier: GPL-2.0-only
"""Uses of what the DMA layer renamed or removed, and what only looks like one."""

from __future__ import annotations

from pathlib import Path

import pytest

from dmamigrate import rules, scan
from dmamigrate.findings import Report
from tests.conftest import rewritten

KNOWN = rules.tables()
RULES = rules.select(rules.load(known=KNOWN.api), ("renamed-dma-internal", "legacy-dma-ops"), ())


def _found(folder: Path, target: str = "7.3") -> list[tuple[str, str]]:
    report: Report = scan.scan(scan.Options((folder,), RULES, KNOWN, tree=folder, target=target))
    return [(finding.rule.partition("-")[0], finding.callee) for finding in report.findings]


USES = [
    pytest.param("void f(void) { iommu_dma_unmap_page(d, a, s, r, 0); }", "iommu_dma_unmap_page", id="a call"),
    pytest.param("void f(void) { hook = dma_direct_map_page; }", "dma_direct_map_page", id="a pointer that is set"),
    pytest.param("struct t t = { .map = iommu_dma_map_page };", "iommu_dma_map_page", id="a pointer in a table"),
    pytest.param(
        'struct kprobe p = { .symbol_name = "debug_dma_map_page" };', "debug_dma_map_page", id="a probe's name"
    ),
    pytest.param(
        "bool arch_dma_map_page_direct(struct device *d, phys_addr_t a)\n{\n\treturn true;\n}",
        "arch_dma_map_page_direct",
        id="a hook that is defined",
    ),
    pytest.param(
        "void f(void) { kmsan_handle_dma(page, off, size, dir); }", "kmsan_handle_dma", id="the old number of arguments"
    ),
    pytest.param("void f(void) { flags |= SWIOTLB_FORCE; }", "SWIOTLB_FORCE", id="a flag"),
]
LOOK_ALIKES = [
    pytest.param("void f(void) { kmsan_handle_dma(phys, size, dir); }", id="the new number of arguments"),
    pytest.param("bool f(void) { bool dma_capable = g(); return dma_capable; }", id="a variable"),
    pytest.param("struct s { bool dma_capable; };\nbool f(struct s *s) { return s->dma_capable; }", id="a member"),
    pytest.param("#define dma_capable() 1\nbool f(void) { return dma_capable(); }", id="a macro of the driver's own"),
    pytest.param(
        "static int iommu_dma_map_page(int a)\n{\n\treturn a;\n}\nint f(void) { return iommu_dma_map_page(1); }",
        id="a function of the driver's own",
    ),
    pytest.param(
        "#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 18, 0)\nvoid f(void) { iommu_dma_unmap_page(d, a, s, r, 0); }\n"
        "#endif",
        id="what only older kernels compile",
    ),
    pytest.param("/* iommu_dma_map_page() was here */\nint x;", id="a comment"),
    pytest.param("void f(void) { iommu_map_page(d); }", id="an architecture's name elsewhere"),
    pytest.param("struct virtio_map_ops o = { .map_page = m };", id="another table with such a member"),
    pytest.param("void f(struct niu_ops *ops) { ops->map_page = m; }", id="another table that is set later"),
    pytest.param("struct dma_map_ops o = { .map_phys = m, .unmap_phys = u };", id="a table of the new form"),
]
TABLES = [
    pytest.param("static const struct dma_map_ops o = {\n\t.map_page = m,\n};", ["map_page"], id="one callback"),
    pytest.param(
        "struct dma_map_ops o = { .alloc = a, .map_resource = m, .unmap_resource = u };",
        ["map_resource", "unmap_resource"],
        id="the resource callbacks",
    ),
    pytest.param("void f(struct dma_map_ops *ops) { ops->unmap_page = u; }", ["unmap_page"], id="set at run time"),
]


@pytest.mark.parametrize(("code", "name"), USES)
def test_a_use_is_found(code: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "driver.c").write_text(code)
    assert _found(tmp_path) == [("renamed", name)]


@pytest.mark.parametrize("code", LOOK_ALIKES)
def test_a_look_alike_is_left_alone(code: str, tmp_path: Path) -> None:
    (tmp_path / "driver.c").write_text(code)
    assert _found(tmp_path) == []


@pytest.mark.parametrize(("code", "names"), TABLES)
def test_a_callback_that_is_gone_is_found(code: str, names: list[str], tmp_path: Path) -> None:
    (tmp_path / "driver.c").write_text(code)
    assert _found(tmp_path) == [("legacy", name) for name in names]


@pytest.mark.parametrize(
    ("target", "count"),
    [
        pytest.param("6.18", 1, id="before the callbacks went"),
        pytest.param("6.19", 2, id="when they went"),
        pytest.param("6.12", 0, id="before any of it"),
    ],
)
def test_what_is_gone_depends_on_the_target(target: str, count: int, tmp_path: Path) -> None:
    text = "struct dma_map_ops o = { .map_page = m };\nvoid f(void) { iommu_dma_unmap_page(d, a, s, r, 0); }"
    (tmp_path / "driver.c").write_text(text)
    assert len(_found(tmp_path, target)) == count


def test_the_core_is_no_user_of_itself(tmp_path: Path) -> None:
    (tmp_path / "kernel" / "dma").mkdir(parents=True)
    (tmp_path / "kernel" / "dma" / "mapping.c").write_text("void f(void) { debug_dma_map_page(a); }")
    assert _found(tmp_path) == []


REWRITES = [
    pytest.param(
        "void f(void) { iommu_dma_map_page(d, sg_page(s), s->offset, n, r, attrs); }", "7.3",
        "iommu_dma_map_phys(d, sg_phys(s), n,", id="page and offset become an address",
    ),
    pytest.param(
        "void f(void) { kmsan_handle_dma(page, 0, n, r); }", "7.3",
        "kmsan_handle_dma(page_to_phys(page), n, r)", id="no offset is added",
    ),
    pytest.param(
        "void f(void) { iommu_dma_unmap_resource(d, a, n, r, 0); }", "7.3",
        "iommu_dma_unmap_phys(d, a, n, r, DMA_ATTR_MMIO)", id="a resource's memory is said to be MMIO",
    ),
    pytest.param(
        "void f(void) { dma_direct_unmap_page(d, a, n, r, 0); }", "6.18",
        "dma_direct_unmap_phys(d, a, n, r, 0)", id="before the flush was an argument",
    ),
    pytest.param(
        "void f(void) { dma_direct_unmap_page(d, a, n, r, 0); }", "7.2",
        "dma_direct_unmap_phys(d, a, n, r, 0, true)", id="since the flush is an argument",
    ),
    pytest.param(
        "bool f(struct device *d, unsigned long attrs) { return dma_capable(d, a, n, true); }", "7.3",
        "dma_capable(d, a, n, true, attrs)", id="the attributes that the function has",
    ),
    pytest.param("struct t t = { .unmap = iommu_dma_unmap_page };", "7.3", "= iommu_dma_unmap_phys }",
    id="a plain name"),
    pytest.param("void f(void) { trace_dma_map_resource(d, p, a, n, r, 0); }", "7.3",
    "trace_dma_map_phys(d, p, a, n, r, 0)",
                 id="a tracepoint"),
]  # fmt: skip
LEFT = [
    pytest.param(
        "bool f(struct device *d) { return dma_capable(d, a, n, true); }", "withheld", id="attributes that nobody has"
    ),
    pytest.param("struct t t = { .map = iommu_dma_map_page };", "none", id="a pointer whose type changes"),
    pytest.param("void f(void) { flags |= SWIOTLB_FORCE; }", "none", id="what is gone"),
    pytest.param('struct kprobe p = { .symbol_name = "debug_dma_map_page" };', "none", id="a probe's arguments"),
    pytest.param(
        "void f(void) { iommu_dma_map_page(d, p, /* none */ 0, n, r, 0); }", "withheld", id="a comment among arguments"
    ),
]
BY_NAME = [
    pytest.param("void f(void) { register_trace_dma_map_page(p, 0); }", ["trace_dma_map_page"],
    id="a tracepoint's probe"),
    pytest.param("bool f(void) { return trace_dma_unmap_page_enabled(); }", ["trace_dma_unmap_page"],
    id="whether it is on"),
    pytest.param("void f(void) { my_register_trace_dma_map_page(p); }", [], id="a function of the driver's own"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "target", "after"), REWRITES)
def test_what_changes_by_a_template_is_rewritten(code: str, target: str, after: str, tmp_path: Path) -> None:
    (tmp_path / "driver.c").write_text(code)
    report = scan.scan(scan.Options((tmp_path,), RULES, KNOWN, tree=tmp_path, target=target))
    assert [finding.verdict.status for finding in report.findings] == ["unknown"]
    assert after in rewritten(report, tmp_path)["driver.c"].decode()


@pytest.mark.parametrize(("code", "status"), LEFT)
def test_what_takes_judgement_is_left_to_a_person(code: str, status: str, tmp_path: Path) -> None:
    (tmp_path / "driver.c").write_text(code)
    report = scan.scan(scan.Options((tmp_path,), RULES, KNOWN, tree=tmp_path, target="7.3"))
    assert [finding.rewrite.status for finding in report.findings] == [status]


@pytest.mark.parametrize(("code", "names"), BY_NAME)
def test_what_is_named_in_other_words_is_found(code: str, names: list[str], tmp_path: Path) -> None:
    (tmp_path / "driver.c").write_text(code)
    assert _found(tmp_path) == [("renamed", name) for name in names]
