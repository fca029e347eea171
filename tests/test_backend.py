# SPDX-License-Identifier: GPL-2.0-only
"""Tables of struct dma_map_ops moved from pages to physical addresses, and what is left to a person."""

from __future__ import annotations

from pathlib import Path

import pytest

from dmamigrate import probes, rules, scan
from dmamigrate.errors import UsageError
from dmamigrate.findings import Report
from dmamigrate.rewrite import compat
from tests.conftest import rewritten

KNOWN = rules.tables()
RULES = rules.select(rules.load(known=KNOWN.api), ("renamed-dma-internal", "legacy-dma-ops"), ())
HEAD = """static dma_addr_t be_map_page(struct device *dev, struct page *page,
\t\tunsigned long offset, size_t size, enum dma_data_direction dir,
\t\tunsigned long attrs)
"""
NEW = """static dma_addr_t be_map_phys(struct device *dev, phys_addr_t phys, size_t size,
\t\tenum dma_data_direction dir, unsigned long attrs)
"""
UNMAP = """static void be_unmap_page(struct device *dev, dma_addr_t at, size_t size,
\t\tenum dma_data_direction dir, unsigned long attrs)
{
\tbe_clear(dev, at);
}
"""
TABLE = "static const struct dma_map_ops be_ops = {\n\t.map_page = be_map_page,\n\t.unmap_page = be_unmap_page,\n};\n"
REFUSED = "\tif (unlikely(attrs & DMA_ATTR_MMIO))\n\t\treturn DMA_MAPPING_ERROR;\n"
RESOURCES = """static dma_addr_t be_map_resource(struct device *dev, phys_addr_t phys, size_t size,
\t\tenum dma_data_direction dir, unsigned long attrs)
{
\treturn be_window(dev, phys);
}
static void be_unmap_resource(struct device *dev, dma_addr_t at, size_t size,
\t\tenum dma_data_direction dir, unsigned long attrs)
{
}
"""


def _scan(folder: Path, code: str, target: str = "7.3") -> Report:
    (folder / "backend.c").write_text(code)
    return scan.scan(scan.Options((folder,), RULES, KNOWN, tree=folder, target=target))


def _after(folder: Path, code: str) -> str:
    return rewritten(_scan(folder, code), folder)["backend.c"].decode()


BODIES = [
    pytest.param(
        "{\n\treturn be_set(dev, page_to_phys(page) + offset, size);\n}\n",
        f"{{\n{REFUSED}\n\treturn be_set(dev, phys, size);\n}}\n",
        id="a sum is the address",
    ),
    pytest.param(
        "{\n\treturn be_set(dev, offset + page_to_phys(page), size);\n}\n",
        f"{{\n{REFUSED}\n\treturn be_set(dev, phys, size);\n}}\n",
        id="a sum the other way round",
    ),
    pytest.param(
        "{\n\tvoid *at = page_address(page) + offset;\n\n\treturn be_set(dev, __pa(at), size);\n}\n",
        f"{{\n\tvoid *at = phys_to_virt(phys);\n\n{REFUSED}\n\treturn be_set(dev, __pa(at), size);\n}}\n",
        id="a virtual address is made of the physical one",
    ),
    pytest.param(
        "{\n\treturn be_set(dev, (char *)page_address(page) + offset, size);\n}\n",
        f"{{\n{REFUSED}\n\treturn be_set(dev, (char *)phys_to_virt(phys), size);\n}}\n",
        id="a cast stays",
    ),
    pytest.param(
        "{\n\tstruct be *be = to_be(dev);\n\tunsigned long n = offset >> 2;\n\n\treturn be_set(be, page, n);\n}\n",
        "{\n\tstruct page *page = phys_to_page(phys);\n\tunsigned long offset = offset_in_page(phys);\n"
        f"\tstruct be *be = to_be(dev);\n\tunsigned long n = offset >> 2;\n\n{REFUSED}\n"
        f"\treturn be_set(be, page, n);\n}}\n",
        id="page and offset are brought back",
    ),
    pytest.param(
        "{\n\tif (PageHighMem(page))\n\t\treturn be_high(page, offset);\n"
        "\treturn be_set(dev, page_to_phys(page) + offset, size);\n}\n",
        "{\n\tstruct page *page = phys_to_page(phys);\n\tunsigned long offset = offset_in_page(phys);\n\n"
        f"{REFUSED}\n\tif (PageHighMem(page))\n\t\treturn be_high(page, offset);\n"
        "\treturn be_set(dev, page_to_phys(page) + offset, size);\n}\n",
        id="the page is asked",
    ),
    pytest.param(
        "{\n\tpage += offset / PAGE_SIZE;\n\treturn be_set(dev, page_to_phys(page) + offset, size);\n}\n",
        "{\n\tstruct page *page = phys_to_page(phys);\n\tunsigned long offset = offset_in_page(phys);\n\n"
        f"{REFUSED}\n\tpage += offset / PAGE_SIZE;\n\treturn be_set(dev, page_to_phys(page) + offset, size);\n}}\n",
        id="the page is stepped",
    ),
    pytest.param("{\n\treturn DMA_MAPPING_ERROR;\n}\n", "{\n\treturn DMA_MAPPING_ERROR;\n}\n", id="nothing is mapped"),
    pytest.param(
        "{\n\tif (attrs & DMA_ATTR_MMIO)\n\t\treturn be_window(page, offset);\n\treturn 0;\n}\n",
        "{\n\tstruct page *page = phys_to_page(phys);\n\tunsigned long offset = offset_in_page(phys);\n\n"
        "\tif (attrs & DMA_ATTR_MMIO)\n\t\treturn be_window(page, offset);\n\treturn 0;\n}\n",
        id="device memory is known already",
    ),
]


@pytest.mark.parametrize(("body", "after"), BODIES)
def test_a_callback_takes_an_address(body: str, after: str, tmp_path: Path) -> None:
    changed = _after(tmp_path, HEAD + body + UNMAP + TABLE)
    assert changed == (NEW + after + UNMAP + TABLE).replace("map_page", "map_phys")


def test_a_local_that_is_the_address_becomes_the_parameter(tmp_path: Path) -> None:
    body = (
        "{\n\tunsigned long bus;\n\tphys_addr_t where = page_to_phys(page) + offset;\n\n"
        "\tbus = be_set(where);\n\treturn bus;\n}\n"
    )
    changed = _after(tmp_path, HEAD + body + UNMAP + TABLE)
    assert "phys_addr_t where,\n" in changed
    assert f"{{\n\tunsigned long bus;\n\n{REFUSED}\n\tbus = be_set(where);\n" in changed


def test_a_local_that_goes_on_changing_stays(tmp_path: Path) -> None:
    body = "{\n\tphys_addr_t at = page_to_phys(page) + offset;\n\n\tat += be_base(dev);\n\treturn at;\n}\n"
    assert "\tphys_addr_t at = phys;\n" in _after(tmp_path, HEAD + body + UNMAP + TABLE)


MAP = HEAD + "{\n\treturn be_set(dev, page_to_phys(page) + offset, size);\n}\n"
CALLS = [
    pytest.param("be_map_page(d, sg_page(s), s->offset, n, r, 0)", "be_map_phys(d, sg_phys(s), n, r, 0)", id="a list"),
    pytest.param(
        "be_map_page(d, virt_to_page(p), offset_in_page(p), n, r, 0)",
        "be_map_phys(d, virt_to_phys(p), n, r, 0)",
        id="a virtual address",
    ),
    pytest.param("be_map_page(d, pg, 0, n, r, 0)", "be_map_phys(d, page_to_phys(pg), n, r, 0)", id="no offset"),
    pytest.param(
        "be_map_page(d, pg, o & m, n, r, 0)",
        "be_map_phys(d, page_to_phys(pg) + (o & m), n, r, 0)",
        id="an offset of weaker operators",
    ),
    pytest.param(
        "be_map_page(d, sg_page(s), t->offset, n, r, 0)",
        "be_map_phys(d, page_to_phys(sg_page(s)) + t->offset, n, r, 0)",
        id="another entry's offset",
    ),
]


@pytest.mark.parametrize(("call", "after"), CALLS)
def test_who_calls_it_gives_the_address(call: str, after: str, tmp_path: Path) -> None:
    user = f"int f(struct device *d)\n{{\n\tat = {call};\n\treturn 0;\n}}\n"
    assert f"at = {after};" in _after(tmp_path, MAP + UNMAP + user + TABLE)


def test_a_helper_that_only_needs_the_address_takes_it_too(tmp_path: Path) -> None:
    helper = (
        "static dma_addr_t be_one(struct be *be, struct page *page, unsigned long offset, size_t size)\n"
        "{\n\treturn be_set(be, page_to_phys(page) + offset, size);\n}\n"
    )
    user = "int f(struct be *be)\n{\n\treturn be_one(be, sg_page(s), s->offset, 4);\n}\n"
    changed = _after(
        tmp_path, helper + HEAD + "{\n\treturn be_one(to_be(dev), page, offset, size);\n}\n" + user + UNMAP + TABLE
    )
    assert "be_one(struct be *be, phys_addr_t phys, size_t size)" in changed
    assert "return be_one(to_be(dev), phys, size);" in changed
    assert "return be_one(be, sg_phys(s), 4);" in changed


def test_a_helper_that_needs_the_page_is_left_alone(tmp_path: Path) -> None:
    helper = (
        "static dma_addr_t be_one(struct be *be, struct page *page, unsigned long offset)\n"
        "{\n\treturn be_set(be, kmap(page), offset);\n}\n"
    )
    changed = _after(tmp_path, helper + HEAD + "{\n\treturn be_one(to_be(dev), page, offset);\n}\n" + UNMAP + TABLE)
    assert helper in changed
    assert "\tstruct page *page = phys_to_page(phys);\n" in changed


def test_the_callback_for_resources_is_called_for_device_memory(tmp_path: Path) -> None:
    table = TABLE.replace("};", "\n\t.map_resource = be_map_resource,\n\t.unmap_resource = be_unmap_resource,\n};")
    changed = _after(tmp_path, MAP + UNMAP + RESOURCES + table)
    assert "\tif (attrs & DMA_ATTR_MMIO)\n\t\treturn be_map_resource(dev, phys, size, dir, attrs);\n" in changed
    assert (
        "\tif (attrs & DMA_ATTR_MMIO) {\n\t\tbe_unmap_resource(dev, at, size, dir, attrs);\n\t\treturn;\n\t}\n"
        in changed
    )
    # they are defined behind their users
    assert changed.index("be_map_resource(struct device") < changed.index("be_map_phys(struct device")
    assert changed.endswith("{\n\t.map_phys = be_map_phys,\n\t.unmap_phys = be_unmap_phys,\n};\n")


def test_two_tables_share_a_callback(tmp_path: Path) -> None:
    changed = _after(tmp_path, MAP + UNMAP + TABLE + TABLE.replace("be_ops", "be_more_ops"))
    assert changed.count(".map_phys = be_map_phys") == changed.count(".unmap_phys = be_unmap_phys") == 2


def test_the_description_of_the_parameters_follows(tmp_path: Path) -> None:
    doc = "/**\n * be_map_page - map\n * @dev: who\n * @page: what\n * @offset: where\n * @size: bytes\n */\n"
    told = "/**\n * be_map_phys - map\n * @dev: who\n * @phys: physical address of the buffer\n * @size: bytes\n */\n"
    assert told in _after(tmp_path, doc + MAP + UNMAP + TABLE)


def test_a_declaration_in_front_follows(tmp_path: Path) -> None:
    ahead = (
        HEAD.rstrip()
        + ";\nstatic void be_unmap_page(struct device *dev, dma_addr_t at, size_t size,\n\t\tint, long);\n"
    )
    changed = _after(tmp_path, ahead + TABLE + MAP + UNMAP)
    assert changed.startswith(NEW.rstrip() + ";\nstatic void be_unmap_phys(struct device *dev,")


def test_a_table_for_both_is_left_alone(tmp_path: Path) -> None:
    arms = "#ifdef BE_OLD\n\t.map_page = be_map_page,\n#else\n\t.map_phys = be_map_phys,\n#endif\n"
    code = MAP + UNMAP + f"static const struct dma_map_ops be_ops = {{\n{arms}}};\n"
    assert _scan(tmp_path, code).findings == ()
    by_version = "#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 19, 0)\n"
    assert _scan(tmp_path, MAP + UNMAP + f"{by_version}{TABLE}#endif\n").findings == ()
    # 6.18 has the new function, and the old callbacks
    earlier = by_version.replace("19", "20")
    assert len(_scan(tmp_path, MAP + UNMAP + f"{earlier}{TABLE}#endif\n").findings) == 2


def test_a_table_that_is_filled_at_run_time(tmp_path: Path) -> None:
    code = MAP + UNMAP + "void f(struct dma_map_ops *ops)\n{\n\tops->map_page = be_map_page;\n}\n"
    assert "\tops->map_phys = be_map_phys;\n" in _after(tmp_path, code)


WITHHELD = [
    pytest.param(
        HEAD + "{\n\tstruct be *be = be_alloc(dev);\n\n\treturn be_set(be, page_to_phys(page) + offset);\n}\n" + TABLE,
        "the test for DMA_ATTR_MMIO would come behind be_alloc(), with which be_map_page() begins",
        id="a declaration that does something",
    ),
    pytest.param(
        "static dma_addr_t be_map_page(struct device *dev, struct page *page, size_t size)\n{\n\treturn 0;\n}\n"
        + TABLE,
        "be_map_page() does not have the parameters of .map_page",
        id="other parameters",
    ),
    pytest.param(TABLE, "be_map_page() is not defined in this file, or more than once", id="defined elsewhere"),
    pytest.param(
        f"#if A\n{MAP}#else\n{MAP}#endif\n{UNMAP}{TABLE}",
        "be_map_page() is not defined in this file, or more than once",
        id="one for each configuration",
    ),
    pytest.param(
        MAP + UNMAP + "void f(void)\n{\n\tkeep(be_map_page);\n}\n" + TABLE,
        "be_map_page is also named in line 14, in another way than a call",
        id="kept elsewhere",
    ),
    pytest.param(
        MAP + UNMAP + "int be_map_phys;\n" + TABLE, "be_map_phys is a name in this file already", id="the name is taken"
    ),
    pytest.param(
        RESOURCES + "static const struct dma_map_ops be_ops = {\n\t.map_resource = be_map_resource,\n};\n",
        "be_ops has .map_resource and no .map_page that could do it as well",
        id="for resources only",
    ),
    pytest.param(
        MAP.replace("size_t size", "/* bytes */ size_t size") + UNMAP + TABLE,
        "a comment or an #if stands among the parameters of be_map_page()",
        id="a comment among the parameters",
    ),
    pytest.param(
        MAP.replace("{\n", "{\n\tint phys, paddr, phys_addr;\n\n", 1) + UNMAP + TABLE,
        "phys, paddr, phys_addr are names that it uses itself",
        id="no name is left",
    ),
    pytest.param(
        MAP + UNMAP + TABLE.replace("be_map_page,", "WITH(be_map_page),"),
        ".map_page is set to WITH(be_map_page), which is no function's name",
        id="a macro's value",
    ),
]


@pytest.mark.parametrize(("code", "reason"), WITHHELD)
def test_what_takes_judgement_is_withheld(code: str, reason: str, tmp_path: Path) -> None:
    found = [one for one in _scan(tmp_path, code).findings if one.rule == "legacy-dma-ops"]
    assert found
    assert {(one.rewrite.status, one.rewrite.reason) for one in found} == {("withheld", reason)}


def test_a_member_without_a_name_is_found_by_the_order_of_the_struct(tmp_path: Path) -> None:
    struct = "struct dma_map_ops {\n\tvoid *(*alloc)(int);\n\tdma_addr_t (*map_page)(int);\n\tint (*map_sg)(int);\n};\n"
    report = _scan(tmp_path, struct + MAP + "struct dma_map_ops be_ops = { be_alloc, be_map_page };\n")
    assert [(one.callee, one.rewrite.reason) for one in report.findings] == [
        ("map_page", "be_ops sets .map_page by its position: name its members first")
    ]


def test_a_callback_that_is_called_is_found(tmp_path: Path) -> None:
    code = "int f(const struct dma_map_ops *ops)\n{\n\treturn ops->map_page(d, p, 0, n, r, 0);\n}\n"
    assert [(one.callee, one.rewrite.status) for one in _scan(tmp_path, code).findings] == [("map_page", "none")]


def test_nothing_is_reported_twice_for_a_renamed_call_in_a_callback(tmp_path: Path) -> None:
    body = "{\n\treturn iommu_dma_map_page(dev, page, offset, size, dir, attrs);\n}\n"
    report = _scan(tmp_path, HEAD + body + UNMAP + TABLE)
    assert len({one.rewrite.diff for one in report.findings}) == 1
    assert (
        "return iommu_dma_map_phys(dev, phys, size, dir, attrs);" in rewritten(report, tmp_path)["backend.c"].decode()
    )


# ---- for older kernels as well


def test_a_table_for_both_sides(tmp_path: Path) -> None:
    before = "#include <linux/dma-map-ops.h>\n\n" + MAP + UNMAP + "\n" + TABLE
    after = compat.add_callbacks("backend.c", before.encode(), _after(tmp_path, before).encode()).decode()
    assert (
        "#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)\n\t.map_phys = be_map_phys,\n"
        "\t.unmap_phys = be_unmap_phys,\n"
        "#else\n\t.map_page = be_map_page,\n\t.unmap_page = be_unmap_phys,\n#endif\n"
    ) in after
    assert _scan(tmp_path, after).findings == ()
    shim = after[after.index("#if LINUX_VERSION_CODE < ") : after.index("static const struct dma_map_ops")]
    assert "static dma_addr_t be_map_page(struct device *dev, struct page *page," in shim
    assert "return be_map_phys(dev, page_to_phys(page) + offset, size, dir, attrs);" in shim


def test_resources_keep_their_callbacks_on_older_kernels(tmp_path: Path) -> None:
    table = TABLE.replace("};", "\t.map_resource = be_map_resource,\n\t.unmap_resource = be_unmap_resource,\n};")
    before = "#include <linux/dma-map-ops.h>\n\n" + RESOURCES + MAP + UNMAP + "\n" + table
    after = compat.add_callbacks("backend.c", before.encode(), _after(tmp_path, before).encode()).decode()
    assert (
        "be_unmap_phys,\n\t.map_resource = be_map_resource,\n\t.unmap_resource = be_unmap_resource,\n#endif\n" in after
    )


def test_resources_of_several_tables_are_for_a_person(tmp_path: Path) -> None:
    table = TABLE.replace("};", "\t.map_resource = be_map_resource,\n\t.unmap_resource = be_unmap_resource,\n};")
    before = "#include <linux/dma-map-ops.h>\n" + RESOURCES + MAP + UNMAP + table + table.replace("be_ops", "be_more")
    with pytest.raises(UsageError, match="write their older form by hand"):
        compat.add_callbacks("backend.c", before.encode(), _after(tmp_path, before).encode())


# ---- scripts

SCRIPTS = [
    pytest.param("perf record -e dma:dma_map_page -a\n", ["trace_dma_map_page"], id="an event"),
    pytest.param("echo 1 > $T/events/dma/dma_unmap_resource/enable\n", ["trace_dma_unmap_resource"], id="its folder"),
    pytest.param("kprobe:iommu_dma_map_page { @ = count(); }\n", ["iommu_dma_map_page"], id="a probe"),
    pytest.param("echo 'p dma_direct_map_page' > kprobe_events\n", ["dma_direct_map_page"], id="an old way to set one"),
    pytest.param("grep -c dma_map_page drivers/*.c\n", [], id="the API, which is not gone"),
    pytest.param("perf record -e dma:dma_map_phys\n", [], id="the new event"),
    pytest.param("nvme:dma_map_page\n", [], id="another system's event"),
    pytest.param("./my-iommu_dma_map_page.sh\n", [], id="part of another name"),
]


@pytest.mark.parametrize(("text", "names"), SCRIPTS)
def test_scripts_that_trace_what_is_gone(text: str, names: list[str], tmp_path: Path) -> None:
    (tmp_path / "driver.c").write_text("int x;\n")
    (tmp_path / "trace.sh").write_text(text)
    report = scan.scan(scan.Options((tmp_path,), RULES, KNOWN, tree=tmp_path, target="7.3"))
    assert [one.callee for one in report.findings] == names
    assert all(one.span.path == "trace.sh" and one.rewrite.status == "none" for one in report.findings)


def test_scripts_are_not_looked_at_for_other_rules(tmp_path: Path) -> None:
    (tmp_path / "driver.c").write_text("int x;\n")
    (tmp_path / "trace.sh").write_text("perf record -e dma:dma_map_page\n")
    others = tuple(rule for rule in rules.load(known=KNOWN.api) if rule.id != probes.RULE)
    assert scan.scan(scan.Options((tmp_path,), others, KNOWN, tree=tmp_path, target="7.3")).findings == ()
