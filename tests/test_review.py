# SPDX-License-Identifier: GPL-2.0-only
"""Somebody else's migration: the right one passes, each wrong one is named for what it is."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest

from dmamigrate import review as judge
from dmamigrate import rules
from dmamigrate import scan as scans
from dmamigrate.changes import change as change_of
from dmamigrate.errors import UsageError
from dmamigrate.findings import Report
from dmamigrate.values.knowledge import Knowledge
from tests.diffs import diff

BEFORE = """\
#include <linux/dma-mapping.h>
#include <linux/pci.h>

struct win {
	struct device *dev;
	struct pci_dev *pdev;
	dma_addr_t dma;
	dma_addr_t bell;
	dma_addr_t buf_dma;
	void *buf;
};

int win_start(struct win *w)
{
	phys_addr_t bar = pci_resource_start(w->pdev, 2);
	int ret;

	w->dma = dma_map_resource(w->dev, bar, SZ_64K, DMA_BIDIRECTIONAL, 0);
	if (dma_mapping_error(w->dev, w->dma))
		return -ENOMEM;
	ret = win_enable(w->pdev);
	if (ret) {
		dma_unmap_resource(w->dev, w->dma, SZ_64K, DMA_BIDIRECTIONAL, 0);
		return ret;
	}
	return 0;
}

void win_stop(struct win *w)
{
	dma_unmap_resource(w->dev, w->dma, SZ_64K, DMA_BIDIRECTIONAL, 0);
}

int win_ring(struct win *w)
{
	w->bell = dma_map_resource(w->dev, pci_resource_start(w->pdev, 0), SZ_4K, DMA_TO_DEVICE, 0);
	return dma_mapping_error(w->dev, w->bell);
}

void win_unring(struct win *w)
{
	dma_unmap_resource(w->dev, w->bell, SZ_4K, DMA_TO_DEVICE, 0);
}

int win_buffer(struct win *w)
{
	w->buf = kmalloc(SZ_4K, GFP_KERNEL);
	w->buf_dma = dma_map_phys(w->dev, virt_to_phys(w->buf), SZ_4K, DMA_TO_DEVICE, 0);
	return dma_mapping_error(w->dev, w->buf_dma);
}

void win_unbuffer(struct win *w)
{
	dma_unmap_phys(w->dev, w->buf_dma, SZ_4K, DMA_TO_DEVICE, 0);
}
"""
RIGHT = (
    BEFORE.replace("map_resource(", "map_phys(")
    .replace("DMA_BIDIRECTIONAL, 0", "DMA_BIDIRECTIONAL, DMA_ATTR_MMIO")
    .replace(
        "pci_resource_start(w->pdev, 0), SZ_4K, DMA_TO_DEVICE, 0",
        "pci_resource_start(w->pdev, 0), SZ_4K, DMA_TO_DEVICE, DMA_ATTR_MMIO",
    )
    .replace("w->bell, SZ_4K, DMA_TO_DEVICE, 0", "w->bell, SZ_4K, DMA_TO_DEVICE, DMA_ATTR_MMIO")
)
STOP = "\tdma_unmap_phys(w->dev, w->dma, SZ_64K, DMA_BIDIRECTIONAL, DMA_ATTR_MMIO);\n}"
ERROR = "\t\tdma_unmap_phys(w->dev, w->dma, SZ_64K, DMA_BIDIRECTIONAL, DMA_ATTR_MMIO);\n\t\treturn ret;"
MAP = "dma_map_phys(w->dev, bar, SZ_64K, DMA_BIDIRECTIONAL, DMA_ATTR_MMIO)"
BELL = "dma_unmap_phys(w->dev, w->bell, SZ_4K, DMA_TO_DEVICE, DMA_ATTR_MMIO)"


def _with(old: str, new: str) -> str:
    assert RIGHT.count(old) == 1
    return RIGHT.replace(old, new)


WRONG = [
    pytest.param(_with(STOP, STOP.replace("DMA_ATTR_MMIO", "0")), "unmap-attrs-mismatch", "win_stop",
    id="flag missing at the unmap"),
    pytest.param(_with(MAP, MAP.replace("DMA_ATTR_MMIO", "0")), "phys-missing-mmio", "win_start",
    id="flag missing at the map"),
    pytest.param(_with(STOP, STOP.replace("SZ_64K", "SZ_4K")), "unmap-size-mismatch", "win_stop",
    id="wrong size at the unmap"),
    pytest.param(
        _with(MAP, MAP.replace("SZ_64K", "SZ_4K")).replace("w->dma, SZ_64K", "w->dma, SZ_4K"), "rewrite-refuted",
        "win_start",
        id="another size at both ends",
    ),
    pytest.param(_with(STOP, STOP.replace("DMA_BIDIRECTIONAL", "DMA_TO_DEVICE")), "unmap-dir-mismatch", "win_stop",
    id="wrong direction"),
    pytest.param(_with(STOP, STOP.replace("phys", "resource").replace("DMA_ATTR_MMIO", "0")), "rewrite-incomplete",
    "win_stop",
                 id="remove path forgotten"),
    pytest.param(_with(ERROR, ERROR.replace("phys", "resource").replace("DMA_ATTR_MMIO", "0")), "rewrite-incomplete",
    "win_start",
                 id="error path forgotten"),
    pytest.param(
        RIGHT.replace("virt_to_phys(w->buf), SZ_4K, DMA_TO_DEVICE, 0",
        "virt_to_phys(w->buf), SZ_4K, DMA_TO_DEVICE, DMA_ATTR_MMIO")
        .replace("w->buf_dma, SZ_4K, DMA_TO_DEVICE, 0", "w->buf_dma, SZ_4K, DMA_TO_DEVICE, DMA_ATTR_MMIO"),
        "mmio-on-ram", "win_buffer", id="the flag on system memory too",
    ),
    pytest.param(
        _with(MAP, "dma_map_page(w->dev, pfn_to_page(PHYS_PFN(bar)), 0, SZ_64K, DMA_BIDIRECTIONAL)")
        .replace("dma_unmap_phys(w->dev, w->dma, SZ_64K, DMA_BIDIRECTIONAL, DMA_ATTR_MMIO)",
                 "dma_unmap_page(w->dev, w->dma, SZ_64K, DMA_BIDIRECTIONAL)"),
        "rewrite-refuted", "win_start", id="the page API instead",
    ),
    pytest.param(_with(STOP, "\tdma_unmap_page(w->dev, w->dma, SZ_64K, DMA_BIDIRECTIONAL);\n}"),
    "unmap-family-mismatch", "win_stop",
                 id="unmapped as a page"),
    pytest.param(_with(ERROR, ERROR.replace("w->dma, SZ", "bar, SZ")), "unmap-wrong-handle", "win_start",
                 id="the address instead of the handle"),
    pytest.param(_with("\treturn dma_mapping_error(w->dev, w->bell);", "\treturn 0;"), "mapping-not-checked",
    "win_ring",
                 id="the check lost"),
    pytest.param(_with(STOP, "}"), "rewrite-refuted", "win_start", id="the unmap lost"),
    pytest.param(_with("pci_resource_start(w->pdev, 2)", "pci_resource_start(w->pdev, 4)"), "rewrite-refuted",
    "win_start",
                 id="another BAR"),
    pytest.param(_with(MAP, MAP.replace("w->dev", "&w->pdev->dev")), "rewrite-refuted", "win_start",
    id="another device"),
    pytest.param(RIGHT.replace("DMA_BIDIRECTIONAL, DMA_ATTR_MMIO",
    "DMA_BIDIRECTIONAL, DMA_ATTR_MMIO & DMA_ATTR_NO_WARN"),
                 "phys-missing-mmio", "win_start", id="a flag that is masked away"),
]  # fmt: skip


HELPER = "static void win_end(struct win *w)\n{\n\t%s\n}\n\nvoid win_stop("
UNMAP = "dma_unmap_phys(w->dev, w->dma, SZ_64K, DMA_BIDIRECTIONAL, DMA_ATTR_MMIO);"
SAME = [
    pytest.param(RIGHT, id="nothing else"),
    pytest.param(RIGHT.replace("SZ_64K", "0x10000"), id="the size by its value"),
    pytest.param(_with(MAP, MAP.replace("bar,", "pci_resource_start(w->pdev, 2),")), id="a local written out"),
    pytest.param(RIGHT.replace("void win_stop(struct win *w)", "void win_stop(struct win *win)").replace(
        STOP, STOP.replace("w->", "win->")), id="a parameter renamed"),
    pytest.param(_with(STOP, "\twin_end(w);\n}").replace("void win_stop(", HELPER % UNMAP),
                 id="the unmap moved into a helper"),
    pytest.param(_with("\tint ret;\n",
    "\tdma_addr_t d = dma_map_single(w->dev, w->buf, 8, DMA_TO_DEVICE);\n\tint ret;\n"
                       "\n\tif (dma_mapping_error(w->dev, d))\n\t\treturn -EIO;\n"
                       "\tdma_unmap_single(w->dev, d, 8, DMA_TO_DEVICE);\n"),
                 id="another mapping put before it"),
]  # fmt: skip


@pytest.fixture
def reviewed(tmp_path: Path, known: Knowledge, all_rules: tuple[rules.Rule, ...]) -> Callable[..., Report]:
    (tmp_path / "win.c").write_text(BEFORE)

    def run(after: str, text: bytes | None = None) -> Report:
        patch = text if text is not None else diff("win.c", BEFORE.encode(), after.encode()).encode()
        options = scans.Options((tmp_path,), all_rules, known, tree=tmp_path)
        return judge.review(options, change_of("-", tmp_path, lambda: patch))

    return run


@pytest.mark.parametrize("after", SAME)
def test_the_right_migration_passes(reviewed: Callable[..., Report], after: str) -> None:
    report = reviewed(after)
    assert report.findings == ()
    assert [(one.function, one.verdict.status) for one in report.judged] == [
        ("win_start", "proved"),
        ("win_ring", "proved"),
    ]


@pytest.mark.parametrize(("after", "rule", "function"), WRONG)
def test_a_wrong_one_is_named_for_what_it_is(
    reviewed: Callable[..., Report], after: str, rule: str, function: str
) -> None:
    assert (rule, function) in {(found.rule, found.function) for found in reviewed(after).findings}


def test_a_touched_life_answers_for_what_was_wrong_before(reviewed: Callable[..., Report], tmp_path: Path) -> None:
    leaky = BEFORE.replace("\tdma_unmap_resource(w->dev, w->bell, SZ_4K, DMA_TO_DEVICE, 0);\n", "")
    (tmp_path / "win.c").write_text(leaky)
    patch = diff("win.c", leaky.encode(), RIGHT.replace(f"\t{BELL};\n", "").encode()).encode()
    assert [found.rule for found in reviewed("", patch).findings] == ["mapping-leaked"]


def test_what_a_change_does_not_touch_is_counted_and_not_reported(
    reviewed: Callable[..., Report], tmp_path: Path
) -> None:
    report = reviewed(BEFORE.replace("\tint ret;\n", "\tint ret; /* what win_enable() says */\n"))
    assert report.findings == ()
    assert report.older == (("win.c", 2),)
    assert report.judged == ()


def test_the_tree_is_not_touched(reviewed: Callable[..., Report], tmp_path: Path) -> None:
    reviewed(RIGHT)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("win.c", BEFORE)]


def test_a_mail_in_quoted_printable_is_read(reviewed: Callable[..., Report]) -> None:
    mail = EmailMessage()
    mail["From"], mail["Subject"] = "Jörg <joerg@example.com>", "[PATCH] win: Grüße"
    mail.set_content("Wörter\n---\n" + diff("win.c", BEFORE.encode(), RIGHT.encode()), cte="quoted-printable")
    assert [one.verdict.status for one in reviewed("", mail.as_bytes()).judged] == ["proved", "proved"]


@pytest.mark.parametrize(
    "text", [pytest.param(b"", id="nothing"), pytest.param(b"Subject: lunch\n\nat noon\n", id="a mail without a patch"),
             pytest.param(b"--- a/x.c\n+++ b/x.c\n@@ -1 +1 @@\n-a\n+b\n", id="a file that is not there")]
)  # fmt: skip
def test_what_is_no_patch_for_this_tree_is_refused(reviewed: Callable[..., Report], text: bytes) -> None:
    with pytest.raises(UsageError) as error:
        reviewed("", text)
    assert "\n" not in str(error.value)


def test_a_commit_is_judged_as_its_patch(tmp_path: Path, known: Knowledge, all_rules: tuple[rules.Rule, ...]) -> None:
    def git(*words: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=T", "-c", "user.email=t@example.com", *words],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )

    git("init", "-q")
    for text in (BEFORE, RIGHT, RIGHT.replace(BELL, BELL.replace("DMA_ATTR_MMIO", "0"))):
        (tmp_path / "win.c").write_text(text)
        git("add", ".")
        git("commit", "-qm", "change")
    (tmp_path / "win.c").write_text("int unsaved;\n")
    options = scans.Options((tmp_path,), all_rules, known, tree=tmp_path)

    def said(revision: str) -> list[str]:
        return [found.rule for found in judge.review(options, change_of(revision, tmp_path, bytes)).findings]

    assert said("HEAD~2..HEAD~1") == []
    assert "map-resource-bar" in said("HEAD~2")
    assert "unmap-attrs-mismatch" in said("HEAD")
