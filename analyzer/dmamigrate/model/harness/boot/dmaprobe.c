// SPDX-License-Identifier: GPL-2.0-only
/*
 * Asks the running kernel what the executable model of the DMA API answers: every call in every state that this boot has,
 * one result a line on the console. Effects are recorded by kprobes on the functions below the API.
 *
 * The device that maps is QEMU's "edu"; the BAR and the P2P memory are "ivshmem-plain" BAR 2.
 */
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/pci-p2pdma.h>
#include <linux/dma-mapping.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-direct.h>
#include <linux/iommu.h>
#include <linux/kprobes.h>
#include <linux/kallsyms.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/delay.h>
#include <linux/io.h>

static char *boot = "?";
module_param(boot, charp, 0);
static int crash;
module_param(crash, int, 0);

static struct pci_dev *edu, *shm;
static bool recording;
static char rec[512], reported[512];
static phys_addr_t the_p; /* the memory under judgement */
static size_t the_size;
static bool bounced;
static phys_addr_t the_b;

#define arg(r, n)	regs_get_kernel_argument(r, n)

static void did(const char *what)
{
	if (rec[0])
		strlcat(rec, ";", sizeof(rec));
	strlcat(rec, what, sizeof(rec));
}

static const char *name_of(phys_addr_t phys)
{
	/* the IOMMU is given whole granules, and dma_iova_link() takes the pad off a bounce that did not keep it */
	if (phys >= (the_p & PAGE_MASK) && phys < PAGE_ALIGN(the_p + the_size))
		return "P";
	return bounced && phys + PAGE_SIZE > the_b && phys < PAGE_ALIGN(the_b + the_size) ? "B" : "?";
}

static int p_map(struct kprobe *p, struct pt_regs *r)
{
	char t[96];
	int prot = arg(r, 4);

	if (!recording)
		return 0;
	if ((arg(r, 1) | arg(r, 2) | arg(r, 3)) & ~PAGE_MASK) {
		did("iommu_map of an unaligned address");
		return 0;
	}
	snprintf(t, sizeof(t), "iommu_map %s %s%s%s%s%s", name_of(arg(r, 2)), prot & IOMMU_MMIO ? "MMIO|" : "",
		 prot & IOMMU_CACHE ? "CACHE|" : "", prot & IOMMU_PRIV ? "PRIV|" : "", prot & IOMMU_READ ? "READ|" : "",
		 prot & IOMMU_WRITE ? "WRITE|" : "");
	t[strlen(t) - 1] = 0;
	did(t);
	return 0;
}

static int p_unmap(struct kprobe *p, struct pt_regs *r)
{
	if (recording)
		did("iommu_unmap");
	return 0;
}

static int p_bounce(struct kprobe *p, struct pt_regs *r)
{
	if (recording) {
		bounced = true;
		did(arg(r, 1) == the_p ? "bounce P" : "bounce ?");
	}
	return 0;
}

static int p_release(struct kprobe *p, struct pt_regs *r)
{
	if (recording)
		did(arg(r, 4) & DMA_ATTR_SKIP_CPU_SYNC ? "release bounce without copy" : "release bounce with copy");
	return 0;
}

static int p_sync(struct kprobe *p, struct pt_regs *r)
{
	if (recording)
		did("copy bounce to memory");
	return 0;
}

static int p_sync_device(struct kprobe *p, struct pt_regs *r)
{
	if (recording)
		did("copy memory to bounce");
	return 0;
}

static int p_devwarn(struct kprobe *p, struct pt_regs *r)
{
	if (recording)
		did("warn");
	return 0;
}

static int p_warn(struct kprobe *p, struct pt_regs *r)
{
	char where[KSYM_SYMBOL_LEN], *plus;

	if (!recording)
		return 0;
	sprint_symbol(where, arg(r, 2));
	plus = strchr(where, '+');
	if (plus)
		*plus = 0;
	/* what dma-debug says has its own probe */
	if (strncmp(where, "debug_dma", 9) && strncmp(where, "check_", 6) && strncmp(where, "add_dma_entry", 13))
		did(!strcmp(where, "dma_map_page_attrs") ? "warn of its page" : "warn");
	return 0;
}

/* what dma-debug says: the format after the names of driver and device, up to the numbers */
static int p_said(struct kprobe *p, struct pt_regs *r)
{
	static const char begin[] = "DMA-API: %s %s: ";
	const char *text = recording ? strstr((const char *)arg(r, 0), begin) : NULL;
	char t[128];

	if (!text)
		return 0;
	text += sizeof(begin) - 1;
	snprintf(t, sizeof(t), "%s%.*s", reported[0] ? ";" : "", (int)strcspn(text, "[%\n"), text);
	strlcat(reported, t, sizeof(reported));
	return 0;
}

static int r_bounce(struct kretprobe_instance *i, struct pt_regs *r)
{
	if (recording)
		the_b = regs_return_value(r);
	return 0;
}

static struct kretprobe ret_bounce = { .kp.symbol_name = "swiotlb_tbl_map_single", .handler = r_bounce, .maxactive = 4 };

static void cache(const char *whom, phys_addr_t phys)
{
	char t[64];

	if (!recording)
		return;
	snprintf(t, sizeof(t), "cache for %s %s", whom, name_of(phys));
	did(t);
}

static int p_device(struct kprobe *p, struct pt_regs *r)
{
	cache("device", arg(r, 0));
	return 0;
}

static int p_cpu(struct kprobe *p, struct pt_regs *r)
{
	cache("CPU", arg(r, 0));
	return 0;
}

static struct kprobe probes[] = {
	{ .symbol_name = "iommu_map_nosync", .pre_handler = p_map },
	{ .symbol_name = "iommu_unmap_fast", .pre_handler = p_unmap },
	{ .symbol_name = "swiotlb_tbl_map_single", .pre_handler = p_bounce },
	{ .symbol_name = "__swiotlb_tbl_unmap_single", .pre_handler = p_release },
	{ .symbol_name = "__swiotlb_sync_single_for_cpu", .pre_handler = p_sync },
	{ .symbol_name = "__swiotlb_sync_single_for_device", .pre_handler = p_sync_device },
	{ .symbol_name = "arch_sync_dma_for_device", .pre_handler = p_device },
	{ .symbol_name = "arch_sync_dma_for_cpu", .pre_handler = p_cpu },
	{ .symbol_name = "_dev_warn", .pre_handler = p_devwarn },
	{ .symbol_name = "__warn", .pre_handler = p_warn },
	{ .symbol_name = "vprintk", .pre_handler = p_said },
};

static int (*clear_once)(void *, u64);

/* ---- dma_map_ops backends */

static dma_addr_t o_map(struct device *d, phys_addr_t p, size_t s, enum dma_data_direction r, unsigned long a)
{
	static u64 next;

	did(a & DMA_ATTR_MMIO ? "ops map_phys MMIO" : "ops map_phys");
	/* dma-debug tells mappings apart by their addresses */
	return 0xe00000000ULL + (next++ << PAGE_SHIFT);
}

static void o_unmap(struct device *d, dma_addr_t x, size_t s, enum dma_data_direction r, unsigned long a)
{
	did(a & DMA_ATTR_MMIO ? "ops unmap_phys MMIO" : "ops unmap_phys");
}

static dma_addr_t o_map_refuse(struct device *d, phys_addr_t p, size_t s, enum dma_data_direction r, unsigned long a)
{
	dma_addr_t x = o_map(d, p, s, r, a);

	return a & DMA_ATTR_MMIO ? DMA_MAPPING_ERROR : x;
}

static void o_sync_cpu(struct device *d, dma_addr_t x, size_t s, enum dma_data_direction r)
{
	did("ops sync_single_for_cpu");
}

static void o_sync_device(struct device *d, dma_addr_t x, size_t s, enum dma_data_direction r)
{
	did("ops sync_single_for_device");
}

static const struct dma_map_ops full = {
	.map_phys = o_map, .unmap_phys = o_unmap, .sync_single_for_cpu = o_sync_cpu, .sync_single_for_device = o_sync_device,
};
static const struct dma_map_ops refusing = { .map_phys = o_map_refuse, .unmap_phys = o_unmap };
static const struct dma_map_ops poor = { };

/* ---- one question */

enum { RESOURCE, PHYS, PAGE, IOVA, SG };
static const char *const calls[] = { "dma_map_resource", "dma_map_phys", "dma_map_page_attrs", "dma_iova_link", "dma_map_sg_attrs" };
static const char *const dirs[] = { "DMA_BIDIRECTIONAL", "DMA_TO_DEVICE", "DMA_FROM_DEVICE" };

struct state {
	const char *backend, *memory;
	int dir, coherent, reachable, range, untrusted, kmalloc, aligned;
};

static struct dma_iova_state iova;
/* a list of one page, or of two that follow each other, and how many entries its map returned */
static struct scatterlist list[2];
static int entries = 1, returned;
static bool by_returned;

static dma_addr_t map(int call, struct device *dev, phys_addr_t p, size_t s, int dir, unsigned long a)
{
	switch (call) {
	case RESOURCE:
		return dma_map_resource(dev, p, s, dir, a);
	case PHYS:
		return dma_map_phys(dev, p, s, dir, a);
	case SG:
		sg_init_table(list, entries);
		sg_set_page(&list[0], pfn_to_page(p >> PAGE_SHIFT), s, p & ~PAGE_MASK);
		if (entries > 1)
			sg_set_page(&list[1], pfn_to_page((p >> PAGE_SHIFT) + 1), s, 0);
		returned = dma_map_sg_attrs(dev, list, entries, dir, a);
		return returned ? sg_dma_address(list) : DMA_MAPPING_ERROR;
	case PAGE:
		return dma_map_page_attrs(dev, pfn_to_page(p >> PAGE_SHIFT), p & ~PAGE_MASK, s, dir, a);
	}
	if (!dma_iova_try_alloc(dev, &iova, p, s))
		return DMA_MAPPING_ERROR;
	if (dma_iova_link(dev, &iova, p, 0, s, dir, a) || dma_iova_sync(dev, &iova, 0, s)) {
		dma_iova_free(dev, &iova);
		return DMA_MAPPING_ERROR;
	}
	return iova.addr;
}

static void unmap(int call, struct device *dev, dma_addr_t x, size_t s, int dir, unsigned long a)
{
	switch (call) {
	case RESOURCE:
		dma_unmap_resource(dev, x, s, dir, a);
		break;
	case PHYS:
		dma_unmap_phys(dev, x, s, dir, a);
		break;
	case PAGE:
		dma_unmap_page_attrs(dev, x, s, dir, a);
		break;
	case SG:
		dma_unmap_sg_attrs(dev, list, by_returned ? returned : entries, dir, a);
		break;
	default:
		dma_iova_destroy(dev, &iova, s, dir, a);
	}
}

#define LOW	0x80000000ULL
#define RANGE	0x700000000000ULL

/* where memory and the bounce pool lie, and what no device with a small mask reaches */
#ifdef CONFIG_X86
#define SMALL	DMA_BIT_MASK(32)
static const struct bus_dma_region ranges[] = { { 0, LOW, LOW }, { LOW, 0, LOW }, { 1ULL << 32, RANGE + (1ULL << 32), 1ULL << 43 }, { 0 } };
#else
#define SMALL	DMA_BIT_MASK(39)
static const struct bus_dma_region ranges[] = { { 0, 1ULL << 36, 1ULL << 33 }, { 1ULL << 33, RANGE + (1ULL << 33), 1ULL << 43 }, { 0 } };
#endif

/* what covers the pool, but no BAR */
#ifdef CONFIG_X86
static const struct bus_dma_region away[] = { { 0, LOW, LOW }, { LOW, 0, LOW }, { 0 } };
#else
static const struct bus_dma_region away[] = { { 0, 1ULL << 36, 1ULL << 33 }, { 0 } };
#endif

static u64 translated(phys_addr_t p, const struct bus_dma_region *r)
{
	for (; r && r->size; r++)
		if (p >= r->cpu_start && p - r->cpu_start < r->size)
			return r->dma_start + (p - r->cpu_start);
	return ~0ULL;
}

static void ask(const struct state *s, phys_addr_t base, int call, int end, unsigned long a, unsigned long ua)
{
	struct device *dev = &edu->dev;
	phys_addr_t p = base + (s->aligned ? 0 : 0x40);
	size_t size = s->kmalloc ? 8 : s->aligned ? PAGE_SIZE : 0x80;
	bool __maybe_unused was = dev_is_dma_coherent(dev);
	u64 mask = s->reachable ? DMA_BIT_MASK(64) : SMALL, *old = dev->dma_mask;
	struct iommu_domain *domain = iommu_get_domain_for_dev(dev);
	const char *what = "?", *left = "";
	dma_addr_t x;
	char mapped[256], undone[256] = "", synced[128] = "";
	phys_addr_t to = 0;

	clear_once(NULL, 1);
	the_p = p;
	the_size = size;
	bounced = false;
	rec[0] = reported[0] = 0;
	dev->dma_mask = &mask;
	dev->dma_range_map = s->range == 1 ? ranges : s->range == 2 ? away : NULL;
	edu->untrusted = s->untrusted;
#ifdef CONFIG_ARCH_HAS_SYNC_DMA_FOR_DEVICE
	dev_assign_dma_coherent(dev, s->coherent);
#endif
	set_dma_ops(dev, !strcmp(s->backend, "ops") ? &full : !strcmp(s->backend, "ops refusing MMIO") ? &refusing : !strcmp(s->backend, "ops without callback") ? &poor : NULL);
	recording = true;
	x = map(call, dev, p, size, s->dir, a);
	recording = false;
	if (x == DMA_MAPPING_ERROR)
		what = "ERROR";
	else if (call == SG && sg_dma_is_bus_address(list))
		what = "BUS";
	else if (!strncmp(s->backend, "ops", 3))
		what = "OPS";
	else if (!strcmp(s->backend, "dma-iommu")) {
		to = iommu_iova_to_phys(domain, x);
		what = bounced && to != p ? "IOVA of B" : to == p ? "IOVA" : "IOVA of ?";
	} else if (bounced)
		what = x == the_b ? "B" : x == translated(the_b, dev->dma_range_map) ? "B+range" : "B?";
	else
		what = x == p ? "P" : x == translated(p, dev->dma_range_map) ? "P+range" : "?";
	strscpy(mapped, rec, sizeof(mapped));
	rec[0] = 0;
	if (x != DMA_MAPPING_ERROR) {
		if (call == RESOURCE || call == PHYS || call == PAGE) {
			dma_mapping_error(dev, x);
			if (a == ua) {
				/* what the inline gate lets through if the device needs it, or dma-debug is there */
				recording = true;
				__dma_sync_single_for_cpu(dev, x, size, s->dir);
				__dma_sync_single_for_device(dev, x, size, s->dir);
				recording = false;
				snprintf(synced, sizeof(synced), "synced:%s", rec);
				rec[0] = 0;
			}
		}
		recording = true;
		unmap(end, dev, x, size, s->dir, ua);
		recording = false;
		strscpy(undone, rec, sizeof(undone));
		if (!strcmp(s->backend, "dma-iommu") && iommu_iova_to_phys(domain, x))
			left = "still mapped";
		/* an unmap that did nothing leaves its mapping, and dma-debug's entry: put it right, so that the next case starts clean */
		if ((end == PAGE && (ua & DMA_ATTR_MMIO)) || ((ua & DMA_ATTR_CC_SHARED) && strcmp(s->backend, "direct")))
			dma_unmap_phys(dev, x, size, s->dir, call == RESOURCE ? a | DMA_ATTR_MMIO : a);
	}
	set_dma_ops(dev, NULL);
	edu->untrusted = false;
#ifdef CONFIG_ARCH_HAS_SYNC_DMA_FOR_DEVICE
	dev_assign_dma_coherent(dev, was);
#endif
	dev->dma_range_map = NULL;
	dev->dma_mask = old;
	pr_emerg("R\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%lx\t%lx\t%s\t%s\t%s\t%s\t%s\t%s\n", boot, s->backend, s->memory, dirs[s->dir],
		 s->coherent, s->reachable, s->kmalloc, s->range, s->untrusted, s->aligned, calls[call], calls[end], a, ua, what, mapped, undone, reported, left, synced);
}

#define M	DMA_ATTR_MMIO
#define S	DMA_ATTR_SKIP_CPU_SYNC
#define PR	DMA_ATTR_PRIVILEGED
#define RC	DMA_ATTR_REQUIRE_COHERENT
#define CC	DMA_ATTR_CC_SHARED

static const unsigned long pairs[][2] = {
	{ 0, 0 }, { S, S }, { PR, PR }, { S | PR, S | PR }, { 0, S }, { S, 0 }, { M, M }, { M | S, M | S }, { RC, RC }, { CC, CC },
	{ M | CC, M | CC }, { M | RC, M | RC }, { M, 0 }, { 0, M }, { M | S, M }, { M, RC }, { 0, RC }, { PR, 0 }, { M, CC }, { 0, CC },
};

static void all(phys_addr_t ram, phys_addr_t p2p, phys_addr_t bar)
{
	static const char *const plain[] = { "direct", "ops", "ops refusing MMIO", "ops without callback" }, *const iommu[] = { "dma-iommu" };
	bool iommu_used = dev_dma_iommu(&edu->dev);
	const char *const *backends = iommu_used ? iommu : plain;
	int nb = iommu_used || !IS_ENABLED(CONFIG_ARCH_HAS_DMA_OPS) ? 1 : 4;
	int b, m, d, co, km, reach, range, un, al, call, i;

	for (b = 0; b < nb; b++)
	for (m = 0; m < 3; m++)
	for (d = 0; d < 3; d++)
	for (co = 0; co < (IS_ENABLED(CONFIG_ARCH_HAS_SYNC_DMA_FOR_DEVICE) ? 2 : 1); co++)
	for (km = 0; km < (co && d != DMA_TO_DEVICE ? 2 : 1); km++)
	for (reach = 0; reach < (b || iommu_used ? 1 : 2); reach++)
	for (range = 0; range < (b || iommu_used ? 1 : 3); range++)
	for (un = 0; un < (iommu_used ? 2 : 1); un++)
	for (al = 0; al < (iommu_used ? 2 : 1); al++)
	for (call = 0; call <= SG; call++)
	for (i = 0; i < ARRAY_SIZE(pairs); i++) {
		struct state s = { backends[b], m == 0 ? "ram" : m == 1 ? "p2p-page" : "bar", d, !co, !reach, range, un, km, !al };
		unsigned long a = pairs[i][0], ua = pairs[i][1];

		/* a bounce of a BAR without pages reads an address that nothing maps: see crash= */
		if (m == 2 && (call == PAGE || call == SG || (!(a & M) && call != RESOURCE)))
			continue;
		if (call == IOVA && (!iommu_used || a != ua))
			continue;
		/* lists need pages, and have their own size */
		if (call == SG && (m == 2 || b || km || a != ua))
			continue;
		if (range == 2 && translated(m == 0 ? ram : m == 1 ? p2p : bar, away) != ~0ULL)
			continue;
		if (reach && !m && ram <= SMALL)
			continue;	/* this memory is reached with the small mask too */
		if (km && (iommu_used ? !al : al))
			continue;	/* a small buffer is never whole granules */
		if ((km || co) && i > 12 && i != 13 && i != 14)
			continue;
		ask(&s, m == 0 ? ram : m == 1 ? p2p : bar, call, call, a, ua);
	}
	/* what one family maps and another ends */
	for (m = 0; m < 2; m++)
	for (i = 0; i < 3; i++) {
		struct state s = { backends[0], m == 0 ? "ram" : "p2p-page", 0, 1, 1, 0, 0, 0, 1 };

		ask(&s, m ? p2p : ram, RESOURCE, PHYS, 0, i == 0 ? M : 0);
		ask(&s, m ? p2p : ram, PHYS, RESOURCE, i == 0 ? M : 0, 0);
		ask(&s, m ? p2p : ram, RESOURCE, PAGE, 0, i == 0 ? M : 0);
	}
}

/* ---- the data: does the device reach the memory that it was given? */

static bool edu_write(void __iomem *regs, dma_addr_t to, u32 n)
{
	int i;

	writeq(0x40000, regs + 0x80);
	writeq(to, regs + 0x88);
	writeq(n, regs + 0x90);
	writeq(1 | 2, regs + 0x98);
	for (i = 0; i < 400 && (readq(regs + 0x98) & 1); i++)
		msleep(5);
	return i < 400;
}

static void data(void __iomem *regs, const char *memory, phys_addr_t p, void *seen, int call, unsigned long a, bool far, int again)
{
	struct device *dev = &edu->dev;
	u64 mask = far ? SMALL : DMA_BIT_MASK(64), *old = dev->dma_mask;
	bool before, after, ran;
	dma_addr_t x;

	memset(seen, 0xaa, 64);
	dev->dma_mask = &mask;
	x = map(call, dev, p, PAGE_SIZE, DMA_FROM_DEVICE, a);
	if (x == DMA_MAPPING_ERROR) {
		pr_emerg("D|%s|%s|%s|%lx|far %d|ERROR\n", boot, memory, calls[call], a, far);
		goto out;
	}
	dma_mapping_error(dev, x);
	ran = edu_write(regs, x, 64);
	before = *(u8 *)seen != 0xaa;
	unmap(call, dev, x, PAGE_SIZE, DMA_FROM_DEVICE, again ? (a ^ M) : a);
	after = *(u8 *)seen != 0xaa;
	pr_emerg("D|%s|%s|%s|%lx|far %d|unmap %lx|dma %s|reached before unmap: %d, after: %d\n", boot, memory, calls[call], a, far,
		 again ? (a ^ M) : a, ran ? "done" : "stuck", before, after);
out:
	dev->dma_mask = old;
}

/* ---- lives that rules call wrong, each with its right twin: what does the kernel do, and where does the data go? */

struct life {
	const char *rule, *which;
	int call, end;
	unsigned long a, ua;
	size_t size, usize;
	int dir, udir, sdir, pages;
	bool unchecked, far, twice, sync, dma, bus, leak, other, mapped_again, returned, peer;
};

static void live(void __iomem *regs, const char *memory, phys_addr_t p, void *seen, const struct life *l)
{
	struct device *dev = &edu->dev;
	u64 mask = l->far ? SMALL : DMA_BIT_MASK(64), *old = dev->dma_mask;
	struct iommu_domain *domain = iommu_get_domain_for_dev(dev);
	char mapped[256], undone[256] = "";
	const char *left = "", *data = "";
	dma_addr_t x, again = DMA_MAPPING_ERROR;

	clear_once(NULL, 1);
	the_p = p;
	the_size = l->size;
	bounced = false;
	rec[0] = reported[0] = 0;
	entries = l->pages ? l->pages : 1;
	by_returned = l->returned;
	dev->dma_mask = &mask;
	if (l->dma)
		memset(seen, 0xaa, 64);
	recording = true;
	x = l->peer ? pci_p2pdma_bus_addr_map(pcim_p2pdma_provider(shm, 2), p) : map(l->call, dev, p, l->size, l->dir, l->a);
	recording = false;
	strscpy(mapped, rec, sizeof(mapped));
	rec[0] = 0;
	if (x == DMA_MAPPING_ERROR)
		goto out;
	if (!l->unchecked && l->call != SG && l->call != IOVA)
		dma_mapping_error(dev, x);
	recording = true;
	if (l->sync)
		__dma_sync_single_for_cpu(dev, x, l->size, l->sdir ? l->sdir : l->dir);
	if (l->mapped_again)
		again = map(l->call, dev, x, l->size, l->dir, l->a);
	recording = false;
	if (l->dma)
		edu_write(regs, l->bus ? p : l->mapped_again ? again : x, 64);
	recording = true;
	if (l->mapped_again && again != DMA_MAPPING_ERROR)
		unmap(l->end, dev, again, l->usize, l->udir, l->ua);
	if (!l->leak)
		unmap(l->end, l->other ? &shm->dev : dev, x, l->usize, l->udir, l->ua);
	if (l->twice)
		unmap(l->end, dev, x, l->usize, l->udir, l->ua);
	recording = false;
	strscpy(undone, rec, sizeof(undone));
	if (dev_dma_iommu(dev) && iommu_iova_to_phys(domain, x))
		left = "still mapped";
	if (left[0] || (l->leak && !l->peer) || l->other || (l->end == PAGE && (l->ua & DMA_ATTR_MMIO)))
		dma_unmap_phys(dev, x, l->size, l->dir, l->call == RESOURCE ? l->a | DMA_ATTR_MMIO : l->a);
	if (l->dma)
		data = *(u8 *)seen != 0xaa ? "data arrived" : "data never arrived";
out:
	dev->dma_mask = old;
	entries = 1;
	by_returned = false;
	pr_emerg("L\t%s\t%s\t%s\t%s\t%s(%lx)\t%s\t%s\t%s\t%s\t%s\t%s\n", boot, l->rule, l->which, memory, calls[l->call], l->a,
		 x == DMA_MAPPING_ERROR ? "ERROR" : "mapped", mapped, undone, reported, left, data);
}

#define PS PAGE_SIZE
#define FROM DMA_FROM_DEVICE
#define LIFE(rule, which, call, end, a, ua, ...) { rule, which, call, end, a, ua, PS, PS, FROM, FROM, __VA_ARGS__ }

static const struct life on_ram[] = {
	LIFE("mmio-on-ram", "wrong", PHYS, PHYS, M, M),
	LIFE("mmio-on-ram", "right", PHYS, PHYS, 0, 0),
	LIFE("map-resource-ram", "wrong", RESOURCE, RESOURCE, 0, 0),
	LIFE("map-resource-ram", "right", PHYS, PHYS, 0, 0),
	LIFE("unmap-attrs-mismatch", "wrong", PHYS, PHYS, 0, M, .far = true, .dma = true),
	LIFE("unmap-attrs-mismatch", "right", PHYS, PHYS, 0, 0, .far = true, .dma = true),
	LIFE("unmap-family-mismatch", "wrong", PHYS, PAGE, M, M),
	LIFE("unmap-family-mismatch", "right", PHYS, PHYS, M, M),
	LIFE("unmap-wrong-handle", "wrong", PHYS, PHYS, 0, 0, .twice = true),
	LIFE("unmap-wrong-handle", "right", PHYS, PHYS, 0, 0),
	LIFE("mapping-not-checked", "wrong", PHYS, PHYS, 0, 0, .unchecked = true),
	LIFE("mapping-not-checked", "right", PHYS, PHYS, 0, 0),
	LIFE("mapping-leaked", "wrong", PHYS, PHYS, 0, 0, .leak = true),
	LIFE("mapping-leaked", "right", PHYS, PHYS, 0, 0),
	LIFE("unmap-device-mismatch", "wrong", PHYS, PHYS, 0, 0, .other = true),
	LIFE("unmap-device-mismatch", "right", PHYS, PHYS, 0, 0),
	LIFE("dma-addr-as-phys", "wrong", PHYS, PHYS, 0, 0, .dma = true, .mapped_again = true),
	LIFE("dma-addr-as-phys", "right", PHYS, PHYS, 0, 0, .dma = true),
	LIFE("sync-dir-mismatch", "wrong", PHYS, PHYS, 0, 0, .sync = true, .sdir = DMA_TO_DEVICE),
	LIFE("sync-dir-mismatch", "right", PHYS, PHYS, 0, 0, .sync = true),
	LIFE("unmap-nents-mismatch", "wrong", SG, SG, 0, 0, .pages = 2, .returned = true),
	LIFE("unmap-nents-mismatch", "right", SG, SG, 0, 0, .pages = 2),
	{ "unmap-size-mismatch", "wrong", PHYS, PHYS, 0, 0, 2 * PS, PS, FROM, FROM },
	{ "unmap-size-mismatch", "right", PHYS, PHYS, 0, 0, 2 * PS, 2 * PS, FROM, FROM },
	{ "unmap-dir-mismatch", "wrong", PHYS, PHYS, 0, 0, PS, PS, FROM, DMA_TO_DEVICE, .far = true },
	{ "unmap-dir-mismatch", "right", PHYS, PHYS, 0, 0, PS, PS, FROM, FROM, .far = true },
}, on_p2p[] = {
	LIFE("page-api-on-mmio", "wrong", PAGE, PAGE, 0, 0),
	LIFE("page-api-on-mmio", "right", PHYS, PHYS, M, M),
	LIFE("p2p-missing-mmio", "wrong", PHYS, PHYS, 0, 0),
	LIFE("p2p-missing-mmio", "right", PHYS, PHYS, M, M),
}, on_peer[] = {
	LIFE("p2p-bus-address-mapped", "wrong", PHYS, PHYS, 0, 0, .peer = true),
	LIFE("p2p-bus-address-mapped", "right", PHYS, PHYS, 0, 0, .peer = true, .leak = true),
}, on_bar[] = {
	LIFE("sync-on-mmio", "wrong", PHYS, PHYS, M, M, .sync = true),
	LIFE("sync-on-mmio", "right", PHYS, PHYS, M, M),
	LIFE("bar-as-dma-addr", "wrong", PHYS, PHYS, M, M, .dma = true, .bus = true),
	LIFE("bar-as-dma-addr", "right", PHYS, PHYS, M, M, .dma = true),
	LIFE("mmio-as-dma-addr", "wrong", PHYS, PHYS, M, M, .dma = true, .bus = true),
	LIFE("mmio-as-dma-addr", "right", PHYS, PHYS, M, M, .dma = true),
	LIFE("phys-missing-mmio", "right", PHYS, PHYS, M, M, .far = true),
};

static void lives(void __iomem *regs, struct page *page, void *p2p, phys_addr_t bar, void *seen)
{
	bool __maybe_unused was = dev_is_dma_coherent(&edu->dev);
	int i;

#ifdef CONFIG_ARCH_HAS_SYNC_DMA_FOR_DEVICE
	dev_assign_dma_coherent(&edu->dev, false);
#endif
	for (i = 0; i < ARRAY_SIZE(on_ram); i++)
		live(regs, "ram", page_to_phys(page), page_address(page), &on_ram[i]);
	for (i = 0; i < ARRAY_SIZE(on_p2p); i++)
		live(regs, "p2p-page", virt_to_phys(p2p), p2p, &on_p2p[i]);
	/* an IOMMU would free an IOVA that it never gave, and give it to the next who asks */
	for (i = 0; i < ARRAY_SIZE(on_peer) && !dev_dma_iommu(&edu->dev); i++)
		live(regs, "p2p-page", virt_to_phys(p2p), p2p, &on_peer[i]);
	for (i = 0; i < ARRAY_SIZE(on_bar); i++)
		live(regs, "bar", bar, seen, &on_bar[i]);
#ifdef CONFIG_ARCH_HAS_SYNC_DMA_FOR_DEVICE
	dev_assign_dma_coherent(&edu->dev, was);
#endif
}

/* whether eight bytes of kmalloc() have to bounce */
static bool small_bounces(bool coherent, int dir)
{
	bool __maybe_unused was = dev_is_dma_coherent(&edu->dev);
	bool bounces;

#ifdef CONFIG_ARCH_HAS_SYNC_DMA_FOR_DEVICE
	dev_assign_dma_coherent(&edu->dev, coherent);
#endif
	bounces = dma_kmalloc_needs_bounce(&edu->dev, 8, dir);
#ifdef CONFIG_ARCH_HAS_SYNC_DMA_FOR_DEVICE
	dev_assign_dma_coherent(&edu->dev, was);
#endif
	return bounces;
}

static int go(void)
{
	struct kprobe once = { .symbol_name = "clear_warn_once_set" }, type = { .symbol_name = "pci_p2pdma_map_type" };
	int (*map_type)(struct p2pdma_provider *, struct device *);
	void *p2p, __iomem *regs = pcim_iomap(edu, 0, 0);
	struct page *page = alloc_pages(GFP_KERNEL, 1);
	phys_addr_t bar = pci_resource_start(shm, 2) + (32 << 20);
	void *seen = memremap(bar, PAGE_SIZE, MEMREMAP_WB);
	int i, ret;

	ret = pci_p2pdma_add_resource(shm, 2, 16 << 20, 0);
	p2p = ret ? NULL : pci_alloc_p2pmem(shm, 2 * PAGE_SIZE);
	if (!p2p || !regs || !page || !seen)
		return -ENOMEM;
	register_kprobe(&once);
	clear_once = (void *)once.addr;
	unregister_kprobe(&once);
	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		ret = register_kprobe(&probes[i]);
		pr_emerg("probe %s: %d\n", probes[i].symbol_name, ret);
		if (ret)
			probes[i].addr = NULL;
	}
	if (strstr(boot, "align"))
		dma_set_min_align_mask(&edu->dev, PAGE_SIZE - 1);
	pr_emerg("probe return of swiotlb_tbl_map_single: %d\n", register_kretprobe(&ret_bounce));
	register_kprobe(&type);
	map_type = (void *)type.addr;
	unregister_kprobe(&type);
	pr_emerg("T\t%s\t%d\n", boot, map_type ? map_type(pcim_p2pdma_provider(shm, 2), &edu->dev) : 0);
	pr_emerg("I|%s|ram %llx|p2p %llx|bar %llx|dma_iommu %d|domain type %x|map type of p2p %d\n", boot, page_to_phys(page),
		 (u64)virt_to_phys(p2p), bar, dev_dma_iommu(&edu->dev),
		 iommu_get_domain_for_dev(&edu->dev) ? iommu_get_domain_for_dev(&edu->dev)->type : 0,
		 pci_p2pdma_distance(shm, &edu->dev, false));
	pr_emerg("K\t%s\t%d%d%d\n", boot, small_bounces(true, FROM), small_bounces(false, DMA_TO_DEVICE), small_bounces(false, FROM));
	all(page_to_phys(page), virt_to_phys(p2p), bar);
	lives(regs, page, p2p, bar, seen);
	for (i = 0; i < 2; i++) {
		data(regs, "ram", page_to_phys(page), page_address(page), PHYS, 0, i, 0);
		data(regs, "ram", page_to_phys(page), page_address(page), PHYS, M, i, 0);
		data(regs, "ram", page_to_phys(page), page_address(page), PHYS, 0, i, 1);
		data(regs, "p2p-page", virt_to_phys(p2p), p2p, PHYS, 0, i, 0);
		data(regs, "p2p-page", virt_to_phys(p2p), p2p, PHYS, M, i, 0);
		data(regs, "bar", bar, seen, RESOURCE, 0, i, 0);
		data(regs, "bar", bar, seen, PHYS, M, i, 0);
		if (!i && !strstr(boot, "force"))	/* a forced bounce of it is what crash= shows */
			data(regs, "bar", bar, seen, PHYS, 0, i, 0);
	}
#ifdef CONFIG_ARCH_HAS_SYNC_DMA_FOR_DEVICE
	if (crash == 2) {
		pr_emerg("C|%s|dma_map_phys(BAR, 0) for a device that is not coherent:\n", boot);
		dev_assign_dma_coherent(&edu->dev, false);
		data(regs, "bar", bar, seen, PHYS, 0, false, 0);
	}
#endif
	if (crash) {
		pr_emerg("C|%s|dma_map_phys(BAR beyond the mask, 0) with an active bounce pool:\n", boot);
		data(regs, "bar", bar, seen, PHYS, 0, true, 0);
	}
	for (i = 0; i < ARRAY_SIZE(probes); i++)
		if (probes[i].addr)
			unregister_kprobe(&probes[i]);
	unregister_kretprobe(&ret_bounce);
	pr_emerg("END|%s\n", boot);
	return 0;
}

static int probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	int ret = pcim_enable_device(pdev);

	if (ret)
		return ret;
	pci_set_master(pdev);
	dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (id->vendor == 0x1234)
		edu = pdev;
	else
		shm = pdev;
	if (edu && shm)
		pr_emerg("go: %d\n", go());
	return 0;
}

static const struct pci_device_id ids[] = { { PCI_DEVICE(0x1234, 0x11e8) }, { PCI_DEVICE(0x1af4, 0x1110) }, { } };
static struct pci_driver driver = { .name = "dmaprobe", .id_table = ids, .probe = probe };

static int __init dmaprobe_init(void)
{
	return pci_register_driver(&driver);
}
module_init(dmaprobe_init);
MODULE_DESCRIPTION("Asks the running kernel what the model of the DMA API answers");
MODULE_LICENSE("GPL");
