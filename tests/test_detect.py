# SPDX-License-Identifier: GPL-2.0-only
"""What is wrong with the life of a mapping, each with a right twin that differs in what makes it right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dmamigrate import scan as scans
from dmamigrate.findings import Report
from dmamigrate.rules import Rule
from dmamigrate.values.knowledge import Knowledge

HEAD = """
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/pci-p2pdma.h>
#include <linux/platform_device.h>

struct sg_fx { struct sg_table table; struct scatterlist *sgl; int given; int count; unsigned long attrs; };
struct many { int n; DEFINE_DMA_UNMAP_ADDR(dma[4]); DEFINE_DMA_UNMAP_ADDR(one); };
union slot { u64 whole; struct { dma_addr_t at; u32 len; } in; };
struct one { dma_addr_t at; u32 len; };
#define FX_NONE 2
#define FX_OTHER 3
struct fx {
	struct device *dev; struct pci_dev *pdev; struct pci_dev *peer; struct dma_pool *pool; struct list_head link;
	dma_addr_t at; dma_addr_t other; phys_addr_t raw; bool mapped; size_t len; struct sg_fx sg;
    struct fx *next; void *ring; __le64 *slot;
	unsigned long flags; int count; struct dma_chan *chan;
	struct dma_iova_state range; DEFINE_DMA_UNMAP_ADDR(kept); void (*ready)(struct fx *f); struct { int kind; } given;
};
"""
MAP = "dma_map_phys(f->dev, pci_resource_start(f->peer, 0), 64, DMA_TO_DEVICE, DMA_ATTR_MMIO)"
UNMAP = "dma_unmap_phys(f->dev, %s, 64, DMA_TO_DEVICE, DMA_ATTR_MMIO);"
CHECK = "if (dma_mapping_error(f->dev, %s)) return -EIO;"

# a rule, the code with @ in the place of what is wrong or right, the wrong and the right of it
RAW = "pci_resource_start(f->peer, 0)"
RES = "struct resource *r = platform_get_resource(p, IORESOURCE_MEM, 0);"
BOUND = "static struct platform_driver fx = { .driver = { .of_match_table = fx_ids } };\n"
CASES = [
    pytest.param(
        "mapping-leaked",
        f"int a(struct fx *f) {{ dma_addr_t h = {MAP}; {CHECK % 'h'}\n"
        f"if (@) {{ {UNMAP % 'h'} return -EIO; }} return 0; }}",
        "f->count",
        f"h != {RAW}",
        id="a handle that is kept as the address that it has to be",
    ),
    pytest.param(
        "unmap-wrong-handle",
        f"static void end(struct fx *f) {{ @ {UNMAP % 'f->at'} }}\n"
        f"int a(struct fx *f) {{ f->at = {MAP}; {CHECK % 'f->at'} return 0; }}\n"
        "void b(struct fx *f) { end(f); end(f); }",
        "f->mapped = false;",
        "if (--f->count > 0) return;",
        id="a helper that counts its users",
    ),
    pytest.param(
        "unmap-dir-mismatch",
        "struct both { struct device *dev; struct pci_dev *peer; struct one tx, rx; };\n"
        f"int a(struct both *f) {{ f->tx.at = {MAP}; {CHECK % 'f->tx.at'} return 0; }}\n"
        f"int b(struct both *f) {{ f->rx.at = {MAP.replace('TO_', 'FROM_')}; {CHECK % 'f->rx.at'} return 0; }}\n"
        f"void c(struct both *f) {{ {UNMAP.replace('TO_', 'FROM_') % '@'} }}",
        "f->tx.at",
        "f->rx.at",
        id="two parts of one object that are of one struct",
    ),
    pytest.param(
        "mapping-leaked",
        f"int a(struct fx *f) {{ if (!f) return -EINVAL; f->at = {MAP}; {CHECK % 'f->at'} f->mapped = true;\n"
        "fx_log(f); if (f->len) goto out;\nreturn 0;\n"
        f"out: @ if (f->mapped) {{ {UNMAP % 'f->at'} f->at = 0; }} else {{ f->len = 0; }}\n"
        "return -EIO; }",
        "if (f->count) return -EIO;",
        "f->count = 0;",
        id="what was mapped is asked for, and something else is done if it was not",
    ),
    pytest.param(
        "mapping-leaked",
        f"static int m(struct fx *f, dma_addr_t *o) {{ *o = {MAP}; return dma_mapping_error(f->dev, *o); }}\n"
        "int a(struct fx *f) { dma_addr_t h; int rc = m(f, &h); if (rc) return rc;\n"
        f"if (f->count) @ {UNMAP % 'h'} return 0; }}",
        "return -EIO;",
        f"{{ {UNMAP % 'h'} return -EIO; }}",
        id="a handle that is left behind a pointer",
    ),
    pytest.param(
        "unmap-wrong-handle",
        f"static void end(struct fx *f) {{ {UNMAP % 'f->at'} }}\n"
        f"int a(struct fx *f) {{ f->at = {MAP}; {CHECK % 'f->at'} if (f->count) {{ end(f); @ }}\n"
        f"if (f->len) goto out;\nreturn 0;\nout: {UNMAP % 'f->at'} return -EIO; }}",
        "goto out;",
        "return -EIO;",
        id="a helper unmaps, and the unwind once more",
    ),
    pytest.param(
        "unmap-size-mismatch",
        f"int a(struct fx *f) {{ f->at = {MAP.replace('64', 'ALIGN(f->len, 64)')}; {CHECK % 'f->at'} return 0; }}\n"
        f"void b(struct fx *f) {{ {UNMAP.replace('64', '@') % 'f->at'} }}",
        "f->len",
        "ALIGN(f->len, 64)",
        id="what was mapped is rounded up",
    ),
    pytest.param(
        "bar-as-dma-addr",
        "void a(struct fx *f) { *f->slot = cpu_to_le64(pci_resource_start(@, 0)); }\n"
        "void b(struct fx *f) { f->peer = pci_get_device(1, 2, NULL); }\n"
        "static int fx_probe(struct pci_dev *pdev, const struct pci_device_id *id) {\n"
        "struct fx *f = kzalloc(sizeof(*f), GFP_KERNEL); f->pdev = pdev; return 0; }\n"
        "static struct pci_driver fx = { .probe = fx_probe };",
        "f->peer",
        "f->pdev",
        id="the BAR of another function goes into a descriptor at once",
    ),
    pytest.param(
        "unmap-wrong-handle",
        f"int a(struct fx *f) {{ f->raw = pci_resource_start(f->peer, 0);\nf->at = {MAP.replace(RAW, 'f->raw')};\n"
        f"{CHECK % 'f->at'} return 0; }}\nvoid b(struct fx *f) {{ {UNMAP % '@'} }}",
        "f->raw",
        "f->at",
        id="a member that holds the address, in another function",
    ),
    pytest.param(
        "mmio-as-dma-addr",
        BOUND + "static bool go(struct fx *f, dma_addr_t to) {\n"
        "return f->chan->device->device_prep_dma_memcpy(f->chan, to, f->other, 64, 0); }\n"
        f"bool a(struct fx *f, struct platform_device *p) {{ {RES} return go(f, @); }}\n"
        f"bool b(struct fx *f) {{ f->at = {MAP}; return !dma_mapping_error(f->dev, f->at) && go(f, f->at); }}",
        "r->start",
        "f->at",
        id="what one caller of two hands on, to the operation itself",
    ),
    pytest.param(
        "mmio-as-dma-addr",
        f"{BOUND}bool a(struct fx *f, struct platform_device *p) {{ {RES} dma_addr_t to;\n"
        "if (f->count) to = f->at; else to = @;\n"
        "return dmaengine_prep_dma_memcpy(f->chan, to, f->at, 64, 0); }\n"
        f"bool b(struct fx *f) {{ f->at = {MAP}; return !dma_mapping_error(f->dev, f->at); }}",
        "r->start",
        "f->at",
        id="a local that is a handle on the other arm",
    ),
    pytest.param(
        "mmio-as-dma-addr",
        f"{BOUND}bool a(struct fx *f, struct platform_device *p) {{ {RES}\n"
        "return dmaengine_prep_dma_memcpy(f->chan, r->start @ FX_OTHER, f->at, 64, 0); }",
        "+",
        "|",
        id="an address that is made one of the device's own space",
    ),
    pytest.param(
        "unmap-wrong-handle",
        f"int a(struct fx *f) {{ f->at = {MAP}; {CHECK % 'f->at'} f->other = {MAP}; {CHECK % 'f->other'} return 0; }}\n"
        f"void b(struct fx *f, dma_addr_t *p) {{ {UNMAP % '*p'} @ {UNMAP % '*p'} }}\n"
        "void c(struct fx *f) { b(f, &f->at); }",
        "f->count++;",
        "p++;",
        id="what a pointer points to that goes on to the next",
    ),
    pytest.param(
        "mapping-leaked",
        "int a(struct fx *f) { dma_addr_t h; int rc, ret; ret = rc = fx_ask(f); if (rc == FX_NONE) rc = 0;\n"
        f"h = {MAP}; {CHECK % 'h'} if (rc) {{ {UNMAP % 'h'} return rc; }}\n"
        f"if (ret != 0 && ret != @) return -EIO; {UNMAP % 'h'} return 0; }}",
        "FX_OTHER",
        "FX_NONE",
        id="a value that is kept in two variables",
    ),
    pytest.param(
        "unmap-dir-mismatch",
        f"int a(struct fx *f) {{ f->at = {MAP}; {CHECK % 'f->at'} return 0; }}\nvoid c(struct fx *f) {{ @ }}\n"
        f"void d(struct fx *f) {{ {UNMAP % 'f->at'} }}\n"
        "void b(struct fx *f) { dma_unmap_phys(f->dev, f->at, 64, DMA_FROM_DEVICE, DMA_ATTR_MMIO); }",
        "f->other = fx_elsewhere(f);",
        "f->at = fx_elsewhere(f);",
        id="a handle that other code may have made",
    ),
    pytest.param(
        "mapping-leaked",
        f"int a(struct fx *f, dma_addr_t *out) {{ dma_addr_t h = {MAP}; {CHECK % 'h'} @ = h; return 0; }}",
        "f->at",
        "*out",
        id="a local that is put where a caller sees it",
    ),
    pytest.param(
        "mapping-leaked",
        "static void note(struct fx *f) { @ }\n"
        f"int a(struct fx *f) {{ dma_addr_t h; if (f->count) return -EBUSY; h = {MAP}; {CHECK % 'h'}\n"
        f"note(f); if (f->count) {{ {UNMAP % 'h'} }} return -EIO; }}",
        "f->len = 4;",
        "f->count = 4;",
        id="a callee between two tests of a member that it does not set",
    ),
    pytest.param(
        "unmap-wrong-handle",
        f"int a(struct fx *f) {{ f->at = {MAP}; {CHECK % 'f->at'} f->other = {MAP};\n"
        "if (dma_mapping_error(f->dev, f->other)) goto @;\nreturn 0;\n"
        f"both: {UNMAP % 'f->other'}\none: {UNMAP % 'f->at'}\nreturn -EIO; }}",
        "both",
        "one",
        id="the unwind of a map that failed",
    ),
    pytest.param(
        "unmap-wrong-handle",
        f"int a(struct fx *f) {{ int err; f->at = {MAP}; err = dma_mapping_error(f->dev, f->at);\n"
        f"if (err) goto out;\nf->ready(f);\nout: @ {UNMAP % 'f->at'}\nreturn err; }}",
        "",
        "if (!err)",
        id="one way out for what failed and what did not",
    ),
    pytest.param(
        "unmap-wrong-handle",
        "int a(struct fx *f) { phys_addr_t raw = pci_resource_start(f->peer, 0);\n"
        "if (device_iommu_mapped(f->dev)) { f->mapped = true; f->at = dma_map_phys(f->dev, raw, 64, DMA_TO_DEVICE, "
        "DMA_ATTR_MMIO); " + CHECK % "f->at" + " } else { f->at = raw; }\nreturn 0; }\n"
        f"void b(struct fx *f) {{ @ {UNMAP % 'f->at'} }}",
        "if (f->len)",
        "if (f->mapped)",
        id="the plain address of the other arm, told by a flag",
    ),
    pytest.param(
        "unmap-wrong-handle",
        "int a(struct fx *f) { f->ring = dma_pool_alloc(f->pool, GFP_KERNEL, &f->other);\n"
        f"f->at = {MAP}; {CHECK % 'f->at'} return 0; }}\n"
        f"void b(struct fx *f) {{ while (f) {{ struct fx *next = f->next; {UNMAP % 'f->@'} f = next; }} }}",
        "other",
        "at",
        id="memory of a pool, in a list",
    ),
    pytest.param(
        "mapping-leaked",
        f"int a(struct fx *f, dma_addr_t *out) {{ *out = {MAP}; {CHECK % '*out'}\n"
        f"if (f->len) {{ f->at = *out; return 0; }}\n@ return -ENOSPC; }}\n"
        f"void b(struct fx *f) {{ {UNMAP % 'f->at'} }}",
        "",
        UNMAP % "*out",
        id="behind an out-pointer, on an exit that fails",
    ),
    pytest.param(
        "mapping-leaked",
        "int a(struct fx *f, phys_addr_t p) { int err;\n"
        "if (!dma_iova_try_alloc(f->dev, &f->range, p, 64)) return -EINVAL;\n"
        "err = dma_iova_link(f->dev, &f->range, p, 0, 64, DMA_TO_DEVICE, DMA_ATTR_MMIO); if (err) { @ return err; }\n"
        "err = dma_iova_sync(f->dev, &f->range, 0, 64);\n"
        "if (err) { dma_iova_destroy(f->dev, &f->range, 64, DMA_TO_DEVICE, DMA_ATTR_MMIO); return err; }\nreturn 0; }",
        "",
        "dma_iova_free(f->dev, &f->range);",
        id="an IOVA range in which nothing was linked",
    ),
    pytest.param(
        "mapping-not-checked",
        f"void a(struct fx *f) {{ dma_addr_t at = {MAP}; @ dma_unmap_addr_set(f, kept, at); }}\n"
        f"void b(struct fx *f) {{ {UNMAP % 'dma_unmap_addr(f, kept)'} }}",
        "",
        "if (dma_mapping_error(f->dev, at)) return;",
        id="kept by dma_unmap_addr_set()",
    ),
    pytest.param(
        "mapping-not-checked",
        f"int a(struct fx *f, u64 *out) {{ *out = (u64){MAP}; if (dma_mapping_error(f->dev, @)) return -EIO;\n"
        f"f->at = *out; return 0; }}\nvoid b(struct fx *f) {{ {UNMAP % 'f->at'} }}",
        "f->other",
        "(dma_addr_t)*out",
        id="checked through a cast of what a pointer points to",
    ),
    pytest.param(
        "unmap-wrong-handle",
        f"int a(struct fx *f, struct many *m) {{ int i; dma_addr_t at = {MAP}; {CHECK % 'at'}\n"
        f"dma_unmap_addr_set(m, dma[m->n], at); m->n++; at = {MAP}; {CHECK % 'at'}\n"
        "dma_unmap_addr_set(m, one, at); return 0; }\n"
        "void b(struct fx *f, struct many *m) { int i;\n"
        f"for (i = 0; i < m->n; i++) {{ {UNMAP % 'dma_unmap_addr(m, dma[i])'} }}\n"
        f"@ if (m->n) {UNMAP % 'dma_unmap_addr(m, one)'} }}",
        f"if (m->n) {UNMAP % 'dma_unmap_addr(m, one)'}",
        "",
        id="an element that is kept for the unmap, each another one",
    ),
    pytest.param(
        "unmap-wrong-handle",
        f"int a(struct fx *f, union slot *s) {{ dma_addr_t at = {MAP}; {CHECK % 'at'} s->in.at = at; return 0; }}\n"
        f"void b(struct fx *f) {{ union slot s; while (f->len--) {{ @ {UNMAP % 's.in.at'} }} }}",
        "s.in.len = 0;",
        "s.whole = f->slot[f->len];",
        id="the other member of a union, set before each unmap",
    ),
    pytest.param(
        "unmap-wrong-handle",
        "int a(struct fx *f, struct one *s, int n) { int i = 0;\n"
        f"for (; i < n; i++, s++) {{ s->at = {MAP}; if (dma_mapping_error(f->dev, s->at)) goto out; s->len = 64; }}\n"
        f"return 0;\nout: for (; i >= 0; i--, s--) {{ @ {UNMAP % 's->at'} }}\nreturn -EIO; }}",
        "",
        "if (s->len)",
        id="a member beside the handle tells what was mapped",
    ),
    pytest.param(
        "mapping-leaked",
        f"int a(struct fx *f, int kind) {{ f->given.kind = kind; if (f->given.kind != FX_NONE) {{ f->at = {MAP};\n"
        f"{CHECK % 'f->at'} }}\nif (f->len) goto out;\nreturn 0;\n"
        f"out: if (f->given.kind != @) {{ {UNMAP % 'f->at'} }}\nreturn -EIO; }}\n"
        f"void b(struct fx *f) {{ {UNMAP % 'f->at'} }}",
        "FX_OTHER",
        "FX_NONE",
        id="one condition asked twice, of a member that is a copy",
    ),
    pytest.param(
        "mapping-leaked",
        f"int a(struct fx *f, int len) {{ f->at = {MAP}; {CHECK % 'f->at'} f->flags |= FX_MAPPED;\n"
        "if (len && (f->flags & (@ | FX_LENT))) { b(f); return -EINVAL; }\nreturn len ? -EINVAL : 0; }\n"
        f"void b(struct fx *f) {{ if (f->flags & FX_MAPPED) {UNMAP % 'f->at'} }}",
        "FX_OWN",
        "FX_MAPPED",
        id="one of two flags, and that is set",
    ),
    pytest.param(
        "mapping-leaked",
        f"int a(struct fx *f) {{ struct dma_chan *chan = dma_request_chan(f->dev, NULL); if (IS_ERR(chan)) return "
        f"-ENODEV;\n"
        f"f->chan = chan; f->at = {MAP}; {CHECK % 'f->at'} if (f->mapped) {{ b(f); return -EIO; }}\n"
        "if (f->len) { if (@f->chan) b(f); return -EINVAL; }\nreturn 0; }\n"
        f"void b(struct fx *f) {{ {UNMAP % 'f->at'} }}",
        "!",
        "",
        id="what IS_ERR() was asked of is no NULL",
    ),
    pytest.param(
        "mapping-leaked",
        f"int a(struct fx *f) {{ struct fx *o = fx_get(f); f->at = {MAP}; {CHECK % 'f->at'}\n"
        f"if (IS_ERR(o)) {{ {UNMAP % 'f->at'} return -EINVAL; }}\nf->next = o; return @; }}\n"
        f"void b(struct fx *f) {{ {UNMAP % 'f->at'} }}",
        "f->count ? -EINVAL : 0",
        "PTR_ERR_OR_ZERO(o)",
        id="the error of a pointer that is none",
    ),
    pytest.param(
        "mapping-leaked",
        f"int a(struct fx *f, struct one *s, dma_addr_t *kept) {{ @{MAP}; {CHECK % 's->at'}\n"
        f"if (f->len) {{ {UNMAP % 's->at'} return -EINVAL; }}\nif (f->count) return -EINVAL;\nreturn 0; }}\n"
        f"void b(struct fx *f, dma_addr_t *kept) {{ {UNMAP % '*kept'} }}",
        "s->at = ",
        "s->at = *kept = ",
        id="kept in two places at once",
    ),
    pytest.param(
        "unmap-wrong-handle",
        f"int a(struct fx *f) {{ phys_addr_t p = pci_resource_start(f->peer, 0); f->at = dma_map_phys(f->dev, p, 64,\n"
        f"DMA_TO_DEVICE, DMA_ATTR_MMIO); {CHECK % 'f->at'} @ return 0;\nout: {UNMAP % 'f->at'} return -EIO; }}\n"
        f"void b(struct fx *f) {{ {UNMAP % 'pci_resource_start(f->peer, 1)'} }}",
        "",
        "if (f->at != p) goto out;",
        id="a driver that takes no handle but the address itself",
    ),
    pytest.param(
        "mapping-not-checked",
        "int a(struct fx *f, struct dma_buf_attachment *at) {\n"
        "f->at = dma_map_phys(at->dev, pci_resource_start(f->pdev, 0), 64, DMA_TO_DEVICE, DMA_ATTR_MMIO);\n"
        "return dma_mapping_error(@, f->at); }\nvoid b(struct fx *f, struct dma_buf_attachment *at)\n"
        "{ dma_unmap_phys(at->dev, f->at, 64, DMA_TO_DEVICE, DMA_ATTR_MMIO); }",
        "&f->pdev->dev",
        "at->dev",
        id="checked for the exporter, mapped for the importer",
    ),
    pytest.param(
        "unmap-device-mismatch",
        "int a(struct platform_device *pdev, struct fx *f, struct dma_chan *chan) { f->dev = &pdev->dev;\n"
        "f->at = dma_map_phys(chan->device->dev, pci_resource_start(f->pdev, 0), 64, DMA_TO_DEVICE, DMA_ATTR_MMIO);\n"
        "return dma_mapping_error(chan->device->dev, f->at); }\nvoid b(struct fx *f, struct dma_chan *chan)\n"
        "{ dma_unmap_phys(@, f->at, 64, DMA_TO_DEVICE, DMA_ATTR_MMIO); }",
        "f->dev",
        "chan->device->dev",
        id="mapped for the controller of a channel",
    ),
    pytest.param(
        "unmap-nents-mismatch",
        "int a(struct fx *f) { int n = dma_map_sg(f->dev, f->sg.sgl, f->sg.given, DMA_TO_DEVICE);\n"
        "f->sg.count = n; return n ? 0 : -EIO; }\n"
        "void b(struct fx *f) { dma_unmap_sg(f->dev, f->sg.sgl, f->sg.@, DMA_TO_DEVICE); }",
        "count",
        "given",
        id="the entries that a map returned, through a local",
    ),
    pytest.param(
        "unmap-attrs-mismatch",
        "int a(struct fx *f, bool k) { f->sg.attrs = k ? DMA_ATTR_PRIVILEGED : 0;\n"
        "return dma_map_sgtable(f->dev, &f->sg.table, DMA_TO_DEVICE, f->sg.attrs); }\n"
        "void b(struct fx *f) { dma_unmap_sgtable(f->dev, &f->sg.table, DMA_TO_DEVICE, @); }",
        "0",
        "f->sg.attrs",
        id="the attributes of a table",
    ),
    pytest.param(
        "sync-dir-mismatch",
        "int a(struct fx *f, phys_addr_t p) { f->at = dma_map_phys(f->dev, p, 64, DMA_FROM_DEVICE, 0);\n"
        "return dma_mapping_error(f->dev, f->at); }\n"
        "void s(struct fx *f) { dma_sync_single_for_cpu(f->dev, f->at, 64, @); }\n"
        "void b(struct fx *f) { dma_unmap_phys(f->dev, f->at, 64, DMA_FROM_DEVICE, 0); }",
        "DMA_TO_DEVICE",
        "DMA_FROM_DEVICE",
        id="synced the other way",
    ),
    pytest.param(
        "sync-dir-mismatch",
        "int a(struct fx *f, phys_addr_t p) { f->at = dma_map_phys(f->dev, p, 64, @, 0);\n"
        "return dma_mapping_error(f->dev, f->at); }\n"
        "void s(struct fx *f) { dma_sync_single_for_cpu(f->dev, f->at, 64, DMA_FROM_DEVICE); }\n"
        "void b(struct fx *f) { dma_unmap_phys(f->dev, f->at, 64, @, 0); }",
        "DMA_TO_DEVICE",
        "DMA_BIDIRECTIONAL",
        id="what is mapped both ways may be synced either way",
    ),
    pytest.param(
        "bar-as-dma-addr",
        "void a(struct fx *f, u32 off) { u64 win = pci_resource_start(f->peer, 2);\n"
        f"{CHECK.replace('return -EIO', 'return') % 'f->at'} *f->slot = cpu_to_le64(@); }}",
        "win + off",
        "f->len + off",
        id="another function's BAR in a descriptor",
    ),
    pytest.param(
        "bar-as-dma-addr",
        "int fx_probe(struct pci_dev *pdev, const struct pci_device_id *id) { struct fx *f = pci_get_drvdata(pdev);\n"
        "f->pdev = pdev; return 0; }\nstruct pci_driver d = { .probe = fx_probe };\n"
        "void a(struct fx *f) { u64 win = pci_resource_start(f->@, 2); writel(lower_32_bits(win), f->ring); }",
        "peer",
        "pdev",
        id="the device that the driver is bound to knows its own memory",
    ),
    pytest.param(
        "bar-as-dma-addr",
        "void *a(struct fx *f, struct dma_chan *chan, dma_addr_t from) {\n"
        f"f->at = {MAP}; if (dma_mapping_error(f->dev, f->at)) return NULL;\n"
        "return dmaengine_prep_dma_memcpy(chan, @, from, 64, 0); }",
        "pci_resource_start(f->peer, 0)",
        "f->at",
        id="the target of a DMA engine's copy",
    ),
    pytest.param(
        "unmap-wrong-handle",
        "int a(struct fx *f, phys_addr_t raw) { dma_addr_t at = dma_map_phys(f->dev, raw, 64, DMA_TO_DEVICE, "
        "DMA_ATTR_MMIO);\n"
        f"{CHECK % 'at'} if (f->len) {{ {UNMAP % '@'} return -EINVAL; }}\n{UNMAP % 'at'} return 0; }}",
        "raw",
        "at",
        id="the parameter that was mapped",
    ),
    pytest.param(
        "mapping-leaked",
        f"static void done(struct fx *f) {{ {UNMAP % 'f->at'} }}\n"
        f"int a(struct fx *f, struct crypto_async_request *r) {{ int ret; f->at = {MAP}; {CHECK % 'f->at'} ret = "
        f"queue(f);\n"
        "if (ret == -EINPROGRESS || (ret == -EBUSY && r->flags & @)) return ret;\ndone(f); return ret; }",
        "FX_AGAIN",
        "CRYPTO_TFM_REQ_MAY_BACKLOG",
        id="a request that is queued, and not failed",
    ),
    pytest.param(
        "mapping-leaked",
        "static int put(struct fx *f) { return f->len > 3; }\n"
        f"int a(struct fx *f) {{ int ret; if (f->given.kind != FX_LATE) {{ f->at = {MAP}; {CHECK % 'f->at'} }}\n"
        f"ret = put(f); @ if (ret) goto out;\nif (queue() < 0) {{ {UNMAP % 'f->at'} return -EIO; }}\nreturn 0;\n"
        f"out: if (f->given.kind != FX_LATE) {UNMAP % 'f->at'}\nreturn ret; }}",
        "f->given.kind = FX_LATE;",
        "",
        id="what is asked twice, and not changed in between",
    ),
    pytest.param(
        "page-api-on-mmio",
        "int a(struct fx *f) { void *buf = @; f->at = dma_map_single(f->dev, buf + 64, 64, DMA_TO_DEVICE);\n"
        f"{CHECK % 'f->at'} return 0; }}",
        "(__force void *)pci_iomap(f->peer, 0, 0)",
        "kmalloc(pci_resource_len(f->peer, 0), GFP_KERNEL)",
        id="a BAR through the CPU's mapping",
    ),
    pytest.param(
        "page-api-on-mmio",
        "void a(struct fx *f) { void __iomem *regs = ioremap(pci_resource_start(f->peer, 0), 64); f->ring = (void "
        "*)regs;\n"
        "memcpy_toio(regs, f->slot, 64); }\n"
        "int b(struct fx *f) { f->at = dma_map_single_attrs(f->dev, @, 64, DMA_TO_DEVICE, 0);\n"
        f"{CHECK % 'f->at'} return 0; }}",
        "f->ring",
        "f->slot",
        id="a member that keeps the CPU's mapping",
    ),
    pytest.param(
        "page-api-on-mmio",
        "int a(struct fx *f) { struct page *page = @;\n"
        "f->at = dma_map_page(f->dev, page, 0, PAGE_SIZE, DMA_TO_DEVICE);\n"
        f"{CHECK % 'f->at'} return 0; }}",
        "pfn_to_page(pci_resource_start(f->peer, 0) >> PAGE_SHIFT)",
        "alloc_pages(GFP_KERNEL, get_order(pci_resource_len(f->peer, 0)))",
        id="the page that a BAR has not",
    ),
    pytest.param(
        "page-api-on-mmio",
        "int a(struct fx *f) { struct scatterlist sg; void *regs = pcim_iomap(f->peer, 0, 0);\n"
        "sg_init_one(&sg, @, 64); return dma_map_sg(f->dev, &sg, 1, DMA_TO_DEVICE) ? 0 : -EIO; }",
        "regs",
        "f->slot",
        id="an entry of a list",
    ),
    pytest.param(
        "mapping-leaked",
        f"int a(struct fx *f) {{ int n = 1; if (f->mapped) {{ f->at = {MAP}; {CHECK % 'f->at'} }}\n"
        f"if (request_irq(1, NULL, 0, NULL, f)) goto out;\nif (queue() < 0) {{ {UNMAP % 'f->at'} return -EIO; }}\n"
        f"return 0;\n"
        f"out: if (@) {UNMAP % 'f->at'}\nreturn -EIO; }}",
        "!n",
        "f->mapped",
        id="a member that decides about the map and the unmap alike",
    ),
    pytest.param(
        "mapping-leaked",
        f"int a(struct fx *f, int len) {{ int n = 1; if (len > 64) {{ f->at = {MAP}; {CHECK % 'f->at'} }}\n"
        f"if (queue() < 0) goto out;\nif (queue() < 1) {{ {UNMAP % 'f->at'} return -EIO; }}\nreturn 0;\n"
        f"out: if (@) {UNMAP % 'f->at'}\nreturn -EIO; }}",
        "n > 1",
        "len > 64",
        id="a length that decides about the map and the unmap alike",
    ),
    pytest.param(
        "unmap-wrong-handle",
        f"int a(struct fx *f) {{ dma_addr_t h = DMA_MAPPING_ERROR; int ret = -EIO; f->at = {MAP};\n"
        f"if (dma_mapping_error(f->dev, f->at)) return ret;\nh = {MAP}; if (dma_mapping_error(f->dev, h)) goto out;\n"
        f"ret = queue();\nout: @ {UNMAP % 'h'}\n{UNMAP % 'f->at'} return ret; }}",
        "",
        "if (h != DMA_MAPPING_ERROR)",
        id="a mark for what is not mapped",
    ),
    pytest.param(
        "unmap-wrong-handle",
        f"int a(struct fx *f) {{ dma_addr_t h = 0; int ret = -EIO; if (f->len) {{ h = {MAP};\n"
        f"if (dma_mapping_error(f->dev, h)) @ goto out; }}\nret = queue();\nout: if (h) {UNMAP % 'h'}\nreturn ret; }}",
        "",
        "{ h = 0; goto out; }",
        id="an error that is no zero",
    ),
    pytest.param(
        "mapping-leaked",
        f"int a(struct fx *f, struct list_head *l) {{ f->at = {MAP}; {CHECK % 'f->at'}\n"
        f"if (queue() < 0) {{ {UNMAP % 'f->at'} return -EIO; }}\n@\nif (queue() < 1) return -EIO;\nreturn 0; }}\n"
        f"void b(struct fx *f) {{ {UNMAP % 'f->at'} }}",
        "list_empty(l);",
        "list_add_tail(&f->list, l);",
        id="an object that is on a list by then",
    ),
    pytest.param(
        "mapping-leaked",
        f"int a(struct fx *f) {{ dma_addr_t h = {MAP}; {CHECK % 'h'} @ if (queue() < 0) return -EIO;\n"
        f"f->at = h; return 0; }}\nvoid b(struct fx *f) {{ {UNMAP % 'f->at'} }}",
        "writel(h, f->slot);",
        "f->at = h;",
        id="an exit before the handle is kept",
    ),
    pytest.param(
        "mapping-leaked",
        f"blk_status_t a(struct fx *f) {{ f->at = {MAP}; if (dma_mapping_error(f->dev, f->at)) return BLK_STS_IOERR;\n"
        f"if (queue() < 0) {{ {UNMAP % 'f->at'} return BLK_STS_IOERR; }}\n"
        "if (queue() < 1) { @ return BLK_STS_RESOURCE; }\nreturn BLK_STS_OK; }\n"
        f"void b(struct fx *f) {{ {UNMAP % 'f->at'} }}",
        "",
        UNMAP % "f->at",
        id="an error of the block layer",
    ),
    pytest.param(
        "mapping-leaked",
        f"void *a(struct fx *f) {{ int ret; f->at = {MAP}; if (dma_mapping_error(f->dev, f->at)) return "
        f"ERR_PTR(-EIO);\n"
        f"if (queue() < 0) {{ {UNMAP % 'f->at'} return ERR_PTR(-EIO); }}\n"
        "ret = queue(); if (ret) { @ return ERR_PTR(ret); }\nreturn f; }\n"
        f"void b(struct fx *f) {{ {UNMAP % 'f->at'} }}",
        "",
        UNMAP % "f->at",
        id="an error that is made a pointer",
    ),
    pytest.param(
        "unmap-wrong-handle",
        f"int a(struct fx *f) {{ f->at = {MAP}; {CHECK % 'f->at'} return 0; }}\n"
        f"void b(struct fx *f, int len) {{ if (len > 64) {UNMAP % 'f->at'}\nqueue();\n@ {UNMAP % 'f->at'} }}",
        "",
        "if (len <= 64)",
        id="two conditions that exclude each other",
    ),
    pytest.param(
        "page-api-on-mmio",
        "int a(struct fx *f) { f->ring = @; f->at = dma_map_single(f->dev, f->ring, 64, DMA_TO_DEVICE);\n"
        f"{CHECK % 'f->at'} return 0; }}",
        "(void *)ioremap(queue(), 64)",
        "kmemdup(ioremap(queue(), 64), 64, GFP_KERNEL)",
        id="the CPU's mapping of an address that nobody knows",
    ),
    pytest.param(
        "p2p-missing-mmio",
        "#define ALSO(a) ((a) |= @)\n"
        "int a(struct fx *f, struct page *page, struct pci_p2pdma_map_state *st) { unsigned long attrs = 0;\n"
        "switch (pci_p2pdma_state(st, f->dev, page)) { case PCI_P2PDMA_MAP_BUS_ADDR: return 1;\n"
        "case PCI_P2PDMA_MAP_THRU_HOST_BRIDGE: ALSO(attrs); break; case PCI_P2PDMA_MAP_NONE: break; default: return "
        "-EIO; }\n"
        f"f->at = dma_map_phys(f->dev, page_to_phys(page), 64, DMA_TO_DEVICE, attrs); {CHECK % 'f->at'} return 0; }}",
        "DMA_ATTR_PRIVILEGED",
        "DMA_ATTR_MMIO",
        id="a macro that sets what it is handed",
    ),
    pytest.param(
        "p2p-missing-mmio",
        "int a(struct fx *f, struct page *page, struct pci_p2pdma_map_state *st) { unsigned long attrs = 0;\n"
        "switch (pci_p2pdma_state(st, f->dev, page)) { case PCI_P2PDMA_MAP_BUS_ADDR: return 1;\n"
        "case PCI_P2PDMA_MAP_THRU_HOST_BRIDGE: case PCI_P2PDMA_MAP_NONE: break; default: return -EIO; }\n"
        "if (@) attrs |= DMA_ATTR_MMIO;\n"
        f"f->at = dma_map_phys(f->dev, page_to_phys(page), 64, DMA_TO_DEVICE, attrs); {CHECK % 'f->at'} return 0; }}",
        "f->mapped",
        "is_pci_p2pdma_page(page)",
        id="a page of which the map type was asked before",
    ),
    pytest.param(
        "unmap-dir-mismatch",
        f"int a(struct fx *f) {{ f->at = {MAP}; {CHECK % 'f->at'} return 0; }}\n"
        f"int c(struct fx *f) {{ f->at = {MAP.replace('DMA_TO_DEVICE', 'DMA_FROM_DEVICE')}; {CHECK % 'f->at'} return "
        f"0; }}\n"
        f"void b(struct fx *f) {{ {UNMAP % 'f->at'} }}\n@",
        "",
        f"void d(struct fx *f, dma_addr_t *p) {{ {UNMAP.replace('DMA_TO_DEVICE', 'DMA_FROM_DEVICE') % 'p[queue()]'} }}",
        id="one of two mappings may be ended by what could not be followed",
    ),
    pytest.param(
        "mapping-leaked",
        f"int a(struct fx *f) {{ f->at = {MAP}; {CHECK % 'f->at'} f->other = {MAP};\n"
        "if (dma_mapping_error(f->dev, f->other)) goto unmap;\nif (queue() < 0) goto @;\nreturn 0;\n"
        f"undo: {UNMAP % 'f->other'}\nunmap: {UNMAP % 'f->at'}\nreturn -EIO; }}\n"
        f"void b(struct fx *f) {{ {UNMAP % 'f->at'} {UNMAP % 'f->other'} }}",
        "unmap",
        "undo",
        id="a label too far down",
    ),
    pytest.param(
        "mapping-leaked",
        f"int a(struct fx *f) {{ f->at = {MAP}; {CHECK % 'f->at'}\nif (queue() < 0) {{ @ return -EIO; }}\n"
        f"{UNMAP % 'f->at'} return 0; }}",
        "",
        UNMAP % "f->at",
        id="an unmap that nobody else makes",
    ),
    pytest.param(
        "mapping-leaked",
        f"int a(struct fx *f, struct fx *g) {{ g->at = {MAP}; if (dma_mapping_error(f->dev, g->at)) return -EIO;\n"
        "if (queue() < 0) { @ kfree(g); return -EIO; }\nf->next = g; return 0; }\n"
        f"void b(struct fx *f) {{ {UNMAP % 'f->next->at'} }}",
        "",
        UNMAP % "g->at",
        id="what holds the handle is freed",
    ),
    pytest.param(
        "mapping-leaked",
        f"void *a(struct fx *f, void *p) {{ f->at = {MAP}; if (dma_mapping_error(f->dev, f->at)) return @;\n"
        f"if (queue() < 0) {{ {UNMAP % 'f->at'} return NULL; }}\nqueue(); return NULL; }}\n"
        f"void b(struct fx *f) {{ {UNMAP % 'f->at'} }}",
        "NULL",
        "p",
        id="NULL is what says that it went well",
    ),
    pytest.param(
        "mapping-leaked",
        "int a(struct fx *f, phys_addr_t p) { int ret; if (!dma_iova_try_alloc(f->dev, &f->range, p, 64)) return "
        "-EIO;\n"
        "ret = dma_iova_link(f->dev, &f->range, p, 0, 64, DMA_TO_DEVICE, 0); if (ret) goto free;\n"
        "ret = dma_iova_sync(f->dev, &f->range, 0, 64); if (ret) goto @;\nreturn 0;\n"
        "destroy: dma_iova_destroy(f->dev, &f->range, 64, DMA_TO_DEVICE, 0); return ret;\n"
        "free: dma_iova_free(f->dev, &f->range); return ret; }",
        "free",
        "destroy",
        id="a range that is freed while something is linked in it",
    ),
]


@pytest.mark.parametrize(("rule", "code", "wrong", "right"), CASES)
def test_the_wrong_one_is_found(
    rule: str, code: str, wrong: str, right: str, scan_text: Callable[[str], Report]
) -> None:
    del right
    assert rule in [finding.rule for finding in scan_text(HEAD + code.replace("@", wrong)).findings]


def test_a_loop_that_keeps_the_handle_may_be_known_to_run(scan_text: Callable[[str], Report]) -> None:
    code = (
        f"int a(struct fx *f) {{ dma_addr_t h = {MAP}; {CHECK % 'h'}\n"
        "for (f->count = 0; f->count < 4; f->count++) { f->next->at = h; } return 0; }\n"
        f"void b(struct fx *f) {{ {UNMAP % 'f->next->at'} }}"
    )
    assert "mapping-leaked" not in [finding.rule for finding in scan_text(HEAD + code).findings]


@pytest.mark.parametrize(("rule", "code", "wrong", "right"), CASES)
def test_the_right_one_is_left_alone(
    rule: str, code: str, wrong: str, right: str, scan_text: Callable[[str], Report]
) -> None:
    del wrong
    assert rule not in [finding.rule for finding in scan_text(HEAD + code.replace("@", right)).findings]


def test_a_sync_of_what_was_mapped_as_memory_is_found_where_its_life_is_asked_for(
    tmp_path: Path, known: Knowledge, all_rules: tuple[Rule, ...]
) -> None:
    code = (
        "int a(struct fx *f) { void *buf = pci_iomap(f->peer, 0, 0);\n"
        f"f->at = dma_map_single(f->dev, buf, 64, DMA_FROM_DEVICE); {CHECK % 'f->at'}\n"
        "dma_sync_single_for_cpu(f->dev, f->at, 64, DMA_FROM_DEVICE);\n"
        "dma_unmap_single(f->dev, f->at, 64, DMA_FROM_DEVICE); return 0; }"
    )
    assert _with_pages(tmp_path, code, known, all_rules) == ["page-api-on-mmio", "sync-on-mmio"]


def _with_pages(folder: Path, code: str, known: Knowledge, rules: tuple[Rule, ...]) -> list[str]:
    (folder / "driver.c").write_text(HEAD + code)
    options = scans.Options((folder,), rules, known, tree=folder, target="7.3", pages=True)
    return [finding.rule for finding in scans.scan(options).findings]


@pytest.mark.parametrize(
    ("exit", "leaked"),
    [
        pytest.param("return -EIO;", True, id="an exit leaks"),
        pytest.param("{ dma_unmap_page(f->dev, h, 64, DMA_TO_DEVICE); return -EIO; }", False, id="it is unmapped"),
    ],
)
def test_a_fragment_of_a_packet_is_mapped_as_a_page_is(
    exit: str, leaked: bool, tmp_path: Path, known: Knowledge, all_rules: tuple[Rule, ...]
) -> None:
    code = (
        "int a(struct fx *f, skb_frag_t *frag) { dma_addr_t h = skb_frag_dma_map(f->dev, frag, 0, 64, DMA_TO_DEVICE);\n"
        f"{CHECK % 'h'} if (f->count) {exit}\ndma_unmap_page(f->dev, h, 64, DMA_TO_DEVICE); return 0; }}"
    )
    assert ("mapping-leaked" in _with_pages(tmp_path, code, known, all_rules)) is leaked


@pytest.mark.parametrize(
    ("unmap", "leaked"),
    [
        pytest.param("dma_unmap_single(f->dev, h, 64, DMA_TO_DEVICE);", True, id="another family ends something"),
        pytest.param(UNMAP % "h", False, id="what is ended may be this mapping"),
    ],
)
def test_an_unmap_whose_map_is_not_known_may_be_that_of_its_family(
    unmap: str, leaked: bool, tmp_path: Path, known: Knowledge, all_rules: tuple[Rule, ...]
) -> None:
    code = f"int a(struct fx *f) {{ f->at = {MAP}; {CHECK % 'f->at'} return 0; }}\n"
    code += f"void fx_end(struct fx *f, dma_addr_t h) {{ {unmap} }}"
    assert ("mapping-leaked" in _with_pages(tmp_path, code, known, all_rules)) is leaked


@pytest.mark.parametrize(
    ("list_of", "head"),
    [
        pytest.param("struct sg_table *", "sgl", id="a struct whose layout is known"),
        pytest.param("struct fx_list *", "head", id="a struct that nobody knows"),
    ],
)
def test_a_handle_in_a_list_is_not_taken_for_a_member_of_that_name(
    scan_text: Callable[[str], Report], list_of: str, head: str
) -> None:
    """No kernel headers are at hand, and one struct of the driver has a member that is named like the list's."""
    code = f"""
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>

struct fx {{ phys_addr_t bar; struct device *own; struct out {{ dma_addr_t dma_address; }} out; }};

int fx_own(struct fx *f)
{{
	f->out.dma_address = dma_map_resource(f->own, f->bar, 64, DMA_BIDIRECTIONAL, 0);
	return dma_mapping_error(f->own, f->out.dma_address);
}}

void fx_disown(struct fx *f)
{{
	dma_unmap_resource(f->own, f->out.dma_address, 64, DMA_BIDIRECTIONAL, 0);
}}

{list_of}fx_map(struct dma_buf_attachment *at, enum dma_data_direction dir)
{{
	struct fx *f = at->dmabuf->priv;
	{list_of}l = fx_new();
	dma_addr_t addr = dma_map_resource(at->dev, f->bar, 64, dir, 0);

	if (dma_mapping_error(at->dev, addr))
		return NULL;
	sg_dma_address(l->{head}) = addr;
	return l;
}}

void fx_unmap(struct dma_buf_attachment *at, {list_of}l, enum dma_data_direction dir)
{{
	dma_unmap_resource(at->dev, sg_dma_address(l->{head}), 64, dir, 0);
}}
"""
    report = scan_text(code)
    assert {found.rule for found in report.findings} == {"map-resource-unknown"}
    ends = {
        found.function: {life.function for life in found.partners if life.role == "unmap"} for found in report.findings
    }
    assert ends == {"fx_own": {"fx_disown"}, "fx_map": {"fx_unmap"}}


def test_a_path_shows_the_decisions_that_lead_to_the_call(scan_text: Callable[[str], Report]) -> None:
    code = (
        "int a(struct fx *f, struct page *page, struct pci_p2pdma_map_state *st)\n{\n"
        "\tswitch (pci_p2pdma_state(st, f->dev, page)) {\n\tcase PCI_P2PDMA_MAP_BUS_ADDR:\n\t\treturn 1;\n"
        "\tcase PCI_P2PDMA_MAP_THRU_HOST_BRIDGE:\n\tcase PCI_P2PDMA_MAP_NONE:\n\t\tbreak;\n"
        "\tdefault:\n\t\treturn -EIO;\n\t}\n"
        "\tf->at = dma_map_phys(f->dev, page_to_phys(page), 64, DMA_TO_DEVICE, 0);\n"
        f"\t{CHECK % 'f->at'}\n\treturn 0;\n}}\n"
    )
    (found,) = [one for one in scan_text(HEAD + code).findings if one.rule == "p2p-missing-mmio"]
    assert "map type is PCI_P2PDMA_MAP_THRU_HOST_BRIDGE" in found.trail[-2].note
    assert found.trail[-1].note == "dma_map_phys() is reached"
    # the only function of its file
    assert found.rewrite.status == "proposed"


def test_a_message_names_what_the_user_of_a_macro_wrote(scan_text: Callable[[str], Report]) -> None:
    code = (
        "#define FX_MAP(f, where) dma_map_resource((f)->dev, where, 64, DMA_TO_DEVICE, 0)\n"
        "int a(struct fx *f) { phys_addr_t window = pci_resource_start(f->peer, 0); f->at = FX_MAP(f, window);\n"
        "return dma_mapping_error(f->dev, f->at); }\n"
        "void b(struct fx *f) { dma_unmap_resource(f->dev, f->at, 64, DMA_TO_DEVICE, 0); }"
    )
    (found,) = [one for one in scan_text(HEAD + code).findings if one.rule == "map-resource-bar"]
    assert found.message.startswith("window is a PCI BAR address")


def test_a_member_that_was_mapped_names_its_map_from_another_function(scan_text: Callable[[str], Report]) -> None:
    code = (
        f"int a(struct fx *f) {{ f->raw = {RAW};\nf->at = {MAP.replace(RAW, 'f->raw')};\n"
        f"{CHECK % 'f->at'} return 0; }}\nvoid b(struct fx *f) {{ {UNMAP % 'f->raw'} }}"
    )
    (found,) = [one for one in scan_text(HEAD + code).findings if one.rule == "unmap-wrong-handle"]
    assert found.message == "f->raw is the address that was mapped, not the DMA address that the map returned"
