/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * User-space ground for the kernel's own DMA mapping functions: types, recording leaves, and one state at a time.
 * The functions themselves, and the bits of the attributes, are taken from a kernel tree when the harness is built; none
 * are kept here. What is recorded is what model/machine.py calls the exact story: the same words, the same numbers.
 */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

typedef uint64_t u64;
typedef uint32_t u32;
typedef u64 dma_addr_t;
typedef u64 phys_addr_t;
typedef int gfp_t;

enum dma_data_direction { DMA_BIDIRECTIONAL, DMA_TO_DEVICE, DMA_FROM_DEVICE, DMA_NONE };

/* a version without an attribute has no bit for it */
#ifndef DMA_ATTR_MMIO
#define DMA_ATTR_MMIO 0
#endif
#ifndef DMA_ATTR_REQUIRE_COHERENT
#define DMA_ATTR_REQUIRE_COHERENT 0
#endif
#ifndef DMA_ATTR_CC_SHARED
#define DMA_ATTR_CC_SHARED 0
#endif
#define DMA_MAPPING_ERROR		(~(dma_addr_t)0)
#define DMA_BIT_MASK(n)			((n) == 64 ? ~0ULL : (1ULL << (n)) - 1)

enum { DIRECT, IOMMU, OPS, OPS_REFUSE, OPS_IGNORE, OPS_NONE, OPS_HOOK, OPS_BYPASS };
enum { SWIOTLB_OFF, SWIOTLB_ACTIVE, SWIOTLB_FORCED, SWIOTLB_FULL };
enum { CC_NONE, CC_SME, CC_SME_SHORT, CC_SEV, CC_TDX, CC_REALM };
enum { NOT_P2P, P2P_BUS, P2P_BRIDGE, P2P_NOT_SUPPORTED };

static struct {
	int backend, map_type, coherent, swiotlb, reach, cc, range_map, covered, debug, untrusted, kmalloc, min_align, queue,
	    fails, has_mask;
	enum dma_data_direction dir;
	u64 offset, size, granule;
} st;

/* Values, so that both #ifdef and IS_ENABLED() see them. */
#define CONFIG_DMA_OPS_BYPASS 1
#define CONFIG_SWIOTLB 1
#define CONFIG_DMA_BOUNCE_UNALIGNED_KMALLOC 1
#define CONFIG_ARCH_DMA_ADDR_T_64BIT 1
#define CONFIG_PCI_P2PDMA 1
enum { CONFIG_IOMMU_DEBUG_PAGEALLOC };
#define CONFIG_DMA_API_DEBUG	(st.debug)
#define IS_ENABLED(x)		(x)

/* ---- addresses: each has a place of its own, so that it can be told what it is */

#define P_BASE		0x4000000000ULL
#define Q_BASE		0x4010000000ULL
#define TO_RANGE	0x3000000000ULL
#define B_BASE		0x01000000ULL
#define B_TO_RANGE	0x20000000ULL
#define IOVA_BASE	0x10000000ULL
#define IOVA_STEP	0x100000ULL
#define OPS_BASE	0x0e00000000ULL
#define BUS_OFFSET	0x80000000000ULL
#define WINDOW		0x100000ULL
#define BEFORE		0x8000ULL
#define SLOT		0x10000ULL
#define SLOTS		8
#define ENC		(1ULL << 47)
#define SHARED		(1ULL << 46)

static char pool_memory[SLOT * (SLOTS + 2)] __attribute__((aligned(65536)));
static int slots, iovas, maps;
static phys_addr_t mapped[SLOTS][64];
static u64 cur_phys, cur_addr;

static bool near(u64 x, u64 base) { return x + BEFORE >= base && x < base + WINDOW; }
static bool in_pool(u64 x) { return x >= B_BASE && x < B_BASE + sizeof(pool_memory); }

static char *number(char *to, const char *name, int nr, int64_t off)
{
	return to + sprintf(to, nr > 1 ? "%s%d@%s%llx" : "%s%.0d@%s%llx", name, nr > 1 ? nr : 0, off < 0 ? "-" : "",
			    (unsigned long long)(off < 0 ? -off : off));
}

/* a slot's name and where in it an address lies; what is just before a slot belongs to it */
static char *slot_name(char *to, u64 x, u64 base, const char *suffix)
{
	u64 nr = (x - base + BEFORE) / SLOT;
	char name[16];

	snprintf(name, sizeof(name), nr > 1 ? "B%llu%s" : "B%.0llu%s", nr > 1 ? (unsigned long long)nr : 0ULL, suffix);
	return number(to, name, 0, (int64_t)(x - base - nr * SLOT));
}

/* the un-translated address that no range covers is -1, also after the encryption bit was cleared from it */
static const char *phys_name(phys_addr_t phys)
{
	static char text[4][48];
	static int at;
	char *to = text[at++ & 3];

	if ((phys | ENC | SHARED) == (phys_addr_t)-1)
		strcpy(to, "-1");
	else if (near(phys, P_BASE))
		number(to, "P", 0, (int64_t)(phys - P_BASE));
	else if (near(phys, Q_BASE))
		number(to, "Q", 0, (int64_t)(phys - Q_BASE));
	else if (in_pool(phys))
		slot_name(to, phys, B_BASE, "");
	else if (near(phys, OPS_BASE))
		number(to, "OPS", 0, (int64_t)(phys - OPS_BASE));
	else
		sprintf(to, "?%llx", (unsigned long long)phys);
	return to;
}

static const char *address_name(dma_addr_t addr)
{
	static char text[4][64];
	static int at;
	char *to = text[at++ & 3], form[24];
	u64 plain = addr & ~(ENC | SHARED);

	if (addr == DMA_MAPPING_ERROR)
		return "ERROR";
	snprintf(form, sizeof(form), "%s%s", addr & ENC ? "+enc" : "", addr & SHARED ? "+shared" : "");
	if (near(plain, P_BASE + TO_RANGE) || near(plain, Q_BASE + TO_RANGE)) {
		bool q = near(plain, Q_BASE + TO_RANGE);
		char name[40];

		snprintf(name, sizeof(name), "%s+range%s", q ? "Q" : "P", form);
		number(to, name, 0, (int64_t)(plain - (q ? Q_BASE : P_BASE) - TO_RANGE));
	} else if (near(plain, P_BASE) || near(plain, Q_BASE)) {
		bool q = near(plain, Q_BASE);
		char name[40];

		snprintf(name, sizeof(name), "%s%s", q ? "Q" : "P", form);
		number(to, name, 0, (int64_t)(plain - (q ? Q_BASE : P_BASE)));
	} else if (in_pool(plain - B_TO_RANGE)) {
		char suffix[40];

		snprintf(suffix, sizeof(suffix), "+range%s", form);
		slot_name(to, plain, B_BASE + B_TO_RANGE, suffix);
	} else if (in_pool(plain))
		slot_name(to, plain, B_BASE, form);
	else if (near(addr, OPS_BASE))
		number(to, "OPS", 0, (int64_t)(addr - OPS_BASE));
	else if (near(addr, P_BASE + BUS_OFFSET))
		number(to, "BUS", 0, (int64_t)(addr - P_BASE - BUS_OFFSET));
	else if (addr >= IOVA_BASE && addr < IOVA_BASE + IOVA_STEP * SLOTS)
		number(to, "IOVA", 1 + (int)((addr - IOVA_BASE) / IOVA_STEP), (int64_t)((addr - IOVA_BASE) % IOVA_STEP));
	else
		sprintf(to, "?%llx", (unsigned long long)addr);
	return to;
}

static const struct { unsigned long bit; const char *name, *full; } attributes[] = {
	{ DMA_ATTR_SKIP_CPU_SYNC, "SKIP", "DMA_ATTR_SKIP_CPU_SYNC" }, { DMA_ATTR_NO_WARN, "NOWARN", "DMA_ATTR_NO_WARN" },
	{ DMA_ATTR_PRIVILEGED, "PRIV", "DMA_ATTR_PRIVILEGED" }, { DMA_ATTR_MMIO, "MMIO", "DMA_ATTR_MMIO" },
	{ DMA_ATTR_REQUIRE_COHERENT, "RC", "DMA_ATTR_REQUIRE_COHERENT" }, { DMA_ATTR_CC_SHARED, "CC", "DMA_ATTR_CC_SHARED" },
};
#define COUNT(x) (sizeof(x) / sizeof((x)[0]))

static const char *words(unsigned long attrs)
{
	static char text[2][96];
	static int at;
	char *start = text[at++ & 1], *to = start;

	*to = '\0';
	for (unsigned i = 0; i < COUNT(attributes); i++)
		if (attrs & attributes[i].bit)
			to += sprintf(to, "%s%s", to > start ? "|" : "", attributes[i].name);
	for (unsigned i = 0; i < COUNT(attributes); i++)
		attrs &= ~attributes[i].bit;
	if (attrs)
		to += sprintf(to, "%s%lx", to > start ? "|" : "", attrs);
	return to > start ? start : "0";
}

/* ---- the record */

static char rec[8192];
static size_t rec_len;
static bool page_asked;
static int fresh; /* the slot that was filled last, until its padding was looked at */

static void put(const char *format, va_list args)
{
	if (rec_len > sizeof(rec) - 256)
		return;
	if (rec_len)
		rec[rec_len++] = ';';
	rec_len += vsnprintf(rec + rec_len, 250, format, args);
}

static void event(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	put(format, args);
	va_end(args);
}

/* which bytes around the data of the newest slot were zeroed since it was filled */
static void look_at_padding(void)
{
	const char *slot = pool_memory + fresh * SLOT;
	char ranges[128] = "", *to = ranges;

	if (!fresh)
		return;
	fresh = 0;
	for (unsigned i = 0; i < SLOT / 2; i++) {
		unsigned start = i;

		while (i < SLOT / 2 && !slot[i])
			i++;
		if (i > start && to < ranges + 100)
			to += sprintf(to, "%s%x-%x", to > ranges ? "," : "", start, i);
	}
	if (*ranges)
		event("zeroed %s", ranges);
}

static void did(const char *format, ...)
{
	va_list args;

	look_at_padding();
	va_start(args, format);
	put(format, args);
	va_end(args);
}

static jmp_buf stopped;

static void bug(void)
{
	did("BUG");
	longjmp(stopped, 1);
}

static bool warned(bool cond)
{
	if (cond)
		did(page_asked ? "warn of its page" : "warn");
	page_asked = false;
	return cond;
}

#define likely(x)	(x)
#define unlikely(x)	(x)
#define BUG_ON(x)	do { if (x) bug(); } while (0)
#define WARN_ON(x)	warned(!!(x))
#define WARN_ON_ONCE(x)	warned(!!(x))
#define dev_WARN_ONCE(dev, cond, ...)	warned(!!(cond))
#define dev_warn_once(dev, ...)		warned(true)
#define dev_err_once(dev, ...)		do { } while (0)
#define fallthrough	__attribute__((fallthrough))
#define min(a, b)	((a) < (b) ? (a) : (b))
#define min_t(t, a, b)	((t)(a) < (t)(b) ? (t)(a) : (t)(b))
#define min_not_zero(a, b) ((a) == 0 ? (b) : (b) == 0 ? (a) : min(a, b))
#define READ_ONCE(x)	(x)
#define BIT(n)		(1UL << (n))
#define ALIGN_DOWN(x, a)	((x) & ~((__typeof__(x))(a) - 1))
#define ALIGN(x, a)	ALIGN_DOWN((x) + (a) - 1, a)
#define IS_ALIGNED(x, a)	(((x) & ((__typeof__(x))(a) - 1)) == 0)
#define overflows_type(a, b)	0
#define check_add_overflow(a, b, d)	__builtin_add_overflow(a, b, d)
#define GFP_ATOMIC	0
#define PFN_PHYS(x)	((phys_addr_t)(x) << 12)
#define min_low_pfn	0UL
#define static_branch_unlikely(x)	(0)
#define iommu_deferred_attach_enabled	0
#define iommu_deferred_attach(dev, domain)	(0)
#define iommu_get_domain_for_dev(dev)	((void)(dev), &the_domain)

/* ---- types */

struct page;
struct vm_area_struct;
struct io_tlb_pool { int unused; };
struct bus_dma_region { u64 cpu_start, dma_start, size, offset; };
struct iova_domain { unsigned long granule; };
struct iommu_dma_cookie { struct iova_domain iovad; void *fq_domain; };
struct iommu_domain { struct iommu_dma_cookie *iova_cookie; };
struct iommu_iotlb_gather { bool queued; };
struct dma_map_ops;
struct device {
	u64 *dma_mask, coherent_dma_mask, bus_dma_limit;
	const struct bus_dma_region *dma_range_map;
	const struct dma_map_ops *dma_ops;
	bool dma_ops_bypass;
};
struct scatterlist { unsigned long page; unsigned int offset, length; dma_addr_t dma_address; unsigned int dma_length, dma_flags; };
struct sg_table { struct scatterlist *sgl; unsigned int nents, orig_nents; };
struct dma_map_ops {
	dma_addr_t (*map_page)(struct device *, struct page *, unsigned long, size_t, enum dma_data_direction, unsigned long);
	void (*unmap_page)(struct device *, dma_addr_t, size_t, enum dma_data_direction, unsigned long);
	dma_addr_t (*map_resource)(struct device *, phys_addr_t, size_t, enum dma_data_direction, unsigned long);
	void (*unmap_resource)(struct device *, dma_addr_t, size_t, enum dma_data_direction, unsigned long);
	dma_addr_t (*map_phys)(struct device *, phys_addr_t, size_t, enum dma_data_direction, unsigned long);
	void (*unmap_phys)(struct device *, dma_addr_t, size_t, enum dma_data_direction, unsigned long);
	int (*map_sg)(struct device *, struct scatterlist *, int, enum dma_data_direction, unsigned long);
	void (*unmap_sg)(struct device *, struct scatterlist *, int, enum dma_data_direction, unsigned long);
	void (*sync_single_for_cpu)(struct device *, dma_addr_t, size_t, enum dma_data_direction);
	void (*sync_single_for_device)(struct device *, dma_addr_t, size_t, enum dma_data_direction);
};

static struct iommu_dma_cookie the_cookie;
static struct iommu_domain the_domain = { &the_cookie };
static struct io_tlb_pool the_pool;

/* ---- who is told: traces, dma-debug, KMSAN */

#define TOLD(what, phys, addr, size, dir, attrs) \
	did(what " %s %llx %d -> %s %s", phys_name(phys), (unsigned long long)(size), dir, address_name(addr), words(attrs))
#define UNTOLD(what, addr, size, dir)	did(what " %s %llx %d", address_name(addr), (unsigned long long)(size), dir)
#define UNTOLD_ATTRS(what, addr, size, dir, attrs) \
	did(what " %s %llx %d %s", address_name(addr), (unsigned long long)(size), dir, words(attrs))
#define page_to_phys(page)		((phys_addr_t)(uintptr_t)(page) << 12)
#define phys_to_page(phys)		((struct page *)(uintptr_t)((phys) >> 12))
#define trace_dma_map_page(dev, phys, addr, size, dir, attrs)	TOLD("trace map_page", phys, addr, size, dir, attrs)
#define trace_dma_map_resource(dev, phys, addr, size, dir, attrs) TOLD("trace map_resource", phys, addr, size, dir, attrs)
#define trace_dma_map_phys(dev, phys, addr, size, dir, attrs)	TOLD("trace map_phys", phys, addr, size, dir, attrs)
#define trace_dma_unmap_page(dev, addr, size, dir, attrs)	UNTOLD_ATTRS("trace unmap_page", addr, size, dir, attrs)
#define trace_dma_unmap_resource(dev, addr, size, dir, attrs)	UNTOLD_ATTRS("trace unmap_resource", addr, size, dir, attrs)
#define trace_dma_unmap_phys(dev, addr, size, dir, attrs)	UNTOLD_ATTRS("trace unmap_phys", addr, size, dir, attrs)
#define debug_dma_map_page(dev, page, off, size, dir, addr, attrs) \
	TOLD("debug map_page", page_to_phys(page) + (off), addr, size, dir, attrs)
#define debug_dma_map_resource(dev, phys, size, dir, addr, attrs)	TOLD("debug map_resource", phys, addr, size, dir, attrs)
#define debug_dma_map_phys(dev, phys, size, dir, addr, attrs)	TOLD("debug map_phys", phys, addr, size, dir, attrs)
#define debug_dma_unmap_page(dev, addr, size, dir)		UNTOLD("debug unmap_page", addr, size, dir)
#define debug_dma_unmap_resource(dev, addr, size, dir)		UNTOLD("debug unmap_resource", addr, size, dir)
#define debug_dma_unmap_phys(dev, addr, size, dir, attrs)	UNTOLD_ATTRS("debug unmap_phys", addr, size, dir, attrs)
#define trace_dma_sync_single_for_cpu(dev, addr, size, dir)	UNTOLD("trace sync for CPU", addr, size, dir)
#define debug_dma_sync_single_for_cpu(dev, addr, size, dir)	UNTOLD("debug sync for CPU", addr, size, dir)
#define trace_dma_sync_single_for_device(dev, addr, size, dir)	UNTOLD("trace sync for device", addr, size, dir)
#define debug_dma_sync_single_for_device(dev, addr, size, dir)	UNTOLD("debug sync for device", addr, size, dir)
#define trace_dma_map_sg(dev, sg, n, ents, dir, attrs)	did("trace map_sg %d -> %d %d %s", n, ents, dir, words(attrs))
#define trace_dma_map_sg_err(dev, sg, n, err, dir, attrs)	did("trace map_sg_err %d %d %d %s", n, err, dir, words(attrs))
#define debug_dma_map_sg(dev, sg, n, ents, dir, attrs)	did("debug map_sg %d -> %d %d %s", n, ents, dir, words(attrs))
#define trace_dma_unmap_sg(dev, sg, n, dir, attrs)	did("trace unmap_sg %d %d %s", n, dir, words(attrs))
#define kmsan_handle_dma_sg(sg, n, dir)			did("kmsan list %d %d", n, dir)
#define trace_swiotlb_bounced(dev, addr, size)		did("trace bounced %s %llx", address_name(addr), (unsigned long long)(size))
#ifdef HAS_MAP_PHYS
#define kmsan_handle_dma(phys, size, dir) did("kmsan %s %llx %d", phys_name(phys), (unsigned long long)(size), dir)
#define debug_dma_unmap_sg(dev, sg, n, dir, attrs)	did("debug unmap_sg %d %d %s", n, dir, words(attrs))
#else
#define kmsan_handle_dma(page, off, size, dir) \
	did("kmsan %s %llx %d", phys_name(page_to_phys(page) + (off)), (unsigned long long)(size), dir)
#define debug_dma_unmap_sg(dev, sg, n, dir)		did("debug unmap_sg %d %d", n, dir)
#endif

/* ---- leaves that answer from the state */

#define get_dma_ops(dev)		((dev)->dma_ops)
#define use_dma_iommu(dev)		(st.backend == IOMMU)
#define dev_dma_ops_bypass(dev)		((dev)->dma_ops_bypass)
#define dev_dma_skip_sync(dev)		(false)
#define dma_direct_get_required_mask(dev) (P_BASE + WINDOW)
#define dev_is_dma_coherent(dev)	((void)(dev), st.coherent)
#define dev_is_untrusted(dev)		((void)(dev), st.untrusted)
#define dma_get_min_align_mask(dev)	((void)(dev), st.min_align * st.granule - (st.min_align ? 1 : 0))
#define is_swiotlb_force_bounce(dev)	(st.swiotlb == SWIOTLB_FORCED)
#define is_swiotlb_active(dev)		(st.swiotlb != SWIOTLB_OFF)
#define is_swiotlb_buffer(dev, phys)	in_pool(phys)
#define swiotlb_find_pool(dev, phys)	(in_pool(phys) ? &the_pool : NULL)
#define ARCH_DMA_MINALIGN		128
#define kmalloc_size_roundup(size)	(st.kmalloc ? 8UL : 128UL)
#define dma_get_cache_alignment()	128
#define is_pci_p2pdma_page(page)	(st.map_type != NOT_P2P && near(page_to_phys(page), P_BASE))
#define iommu_get_dma_domain(dev)	((void)(dev), &the_domain)
#define iommu_iotlb_gather_init(g)	((g)->queued = false)
#define iommu_iotlb_sync(d, g)		did("sync IOTLB")
#define arch_sync_dma_flush()		did("flush")
#define arch_sync_dma_for_cpu_all()	did("cache for CPU, all")
#define arch_dma_mark_clean(p, s)	did("mark clean %s %llx %d", phys_name(p), (unsigned long long)(s), st.dir)
#define CC_ATTR_HOST_MEM_ENCRYPT	1
#define CC_ATTR_GUEST_MEM_ENCRYPT	2
#define CC_ATTR_MEM_ENCRYPT		3
#define CC_KIND				(st.cc == CC_NONE ? 0 : st.cc <= CC_SME_SHORT ? CC_ATTR_HOST_MEM_ENCRYPT : CC_ATTR_GUEST_MEM_ENCRYPT)
#define C_BIT				(st.cc == CC_SME || st.cc == CC_SME_SHORT || st.cc == CC_SEV ? ENC : 0)
#define SHARED_BIT			(st.cc == CC_REALM ? SHARED : 0)
#define cc_platform_has(attr)		(CC_KIND & (attr))
#define force_dma_unencrypted(dev)	((void)(dev), st.cc > CC_SME)
#define __sme_set(x)			((x) | C_BIT)
#define __sme_clr(x)			((x) & ~C_BIT)
#define dma_addr_encrypted(x)		((x) | C_BIT)
#define dma_addr_unencrypted(x)		((x) | SHARED_BIT)
#define dma_addr_canonical(x)		((x) & ~(C_BIT | SHARED_BIT))

/* powerpc's question, of the end of what is mapped */
static bool hook(u64 end, u64 start)
{
	if (end != start + st.size)
		did("hook asked of %llx", (unsigned long long)(end - start));
	return st.backend == OPS_HOOK;
}

#define arch_dma_map_page_direct(dev, end)	hook(end, cur_phys)
#define arch_dma_unmap_page_direct(dev, end)	hook(end, cur_addr)
#define arch_dma_map_phys_direct(dev, end)	hook(end, cur_phys)
#define arch_dma_unmap_phys_direct(dev, end)	hook(end, cur_addr)
#define arch_dma_map_sg_direct(dev, sg, n)	(st.backend == OPS_HOOK)
#define arch_dma_unmap_sg_direct(dev, sg, n)	(st.backend == OPS_HOOK)

static bool is_zone_device_page(const struct page *page)
{
	page_asked = is_pci_p2pdma_page(page);
	return page_asked;
}

static void *phys_to_virt(phys_addr_t phys)
{
	return in_pool(phys) ? pool_memory + (phys - B_BASE) : (void *)(uintptr_t)phys;
}

#define arch_sync_dma_for_device(phys, size, dir) \
	did("cache for device %s %llx %d", phys_name(phys), (unsigned long long)(size), dir)
#define arch_sync_dma_for_cpu(phys, size, dir) \
	did("cache for CPU %s %llx %d", phys_name(phys), (unsigned long long)(size), dir)

/* ---- the bounce pool: a slot keeps the low bits that min_align_mask asks for */

static size_t alloc_size;

static phys_addr_t bounced(struct device *dev, phys_addr_t phys, size_t size, unsigned int mask, int dir, unsigned long attrs)
{
	char of[24] = "";

#ifdef SWIOTLB_SEVEN
	sprintf(of, " of %llx", (unsigned long long)alloc_size);
#endif
	did("bounce %s %llx %d%s align %x %s%s", phys_name(phys), (unsigned long long)size, dir, of, mask, words(attrs),
	    st.swiotlb == SWIOTLB_FULL ? " fails" : "");
	if (st.swiotlb == SWIOTLB_FULL || slots >= SLOTS)
		return DMA_MAPPING_ERROR;
	fresh = ++slots;
	memset(pool_memory + slots * SLOT, 0x5a, SLOT);
	return B_BASE + slots * SLOT + (phys & dma_get_min_align_mask(dev));
}

static void released(phys_addr_t phys, size_t size, int dir, unsigned long attrs)
{
	if (in_pool(phys))
		did("release %s %llx %d %s", phys_name(phys), (unsigned long long)size, dir, words(attrs));
}

#ifdef SWIOTLB_SEVEN
#define swiotlb_tbl_map_single(dev, phys, size, alloc, mask, dir, attrs) (alloc_size = (alloc), bounced(dev, phys, size, mask, dir, attrs))
#elif defined(SWIOTLB_BY_VALUE)
#define swiotlb_tbl_map_single(dev, phys, size, mask, dir, attrs) bounced(dev, phys, size, mask, dir, attrs)
#else
static phys_addr_t swiotlb_tbl_map_single(struct device *dev, phys_addr_t phys, size_t size, unsigned int mask,
					  enum dma_data_direction dir, unsigned long *attrs)
{
	phys_addr_t slot = bounced(dev, phys, size, mask, dir, *attrs);

	/* the kind of memory that the pool is */
	*attrs = st.cc ? *attrs | DMA_ATTR_CC_SHARED : *attrs & ~(unsigned long)DMA_ATTR_CC_SHARED;
	return slot;
}
#endif
#define swiotlb_tbl_unmap_single(dev, phys, size, dir, attrs)		released(phys, size, dir, attrs)
#define __swiotlb_tbl_unmap_single(dev, phys, size, dir, attrs, pool)	released((pool) ? (phys) : 0, size, dir, attrs)
#define swiotlb_sync(whom, phys, size, dir) \
	do { if (in_pool(phys)) did("sync for " whom " %s %llx %d", phys_name(phys), (unsigned long long)(size), dir); } while (0)
#define swiotlb_sync_single_for_cpu(dev, phys, size, dir)	swiotlb_sync("CPU", phys, size, dir)
#define swiotlb_sync_single_for_device(dev, phys, size, dir)	swiotlb_sync("device", phys, size, dir)

/* ---- the IOMMU: what each granule of each IOVA range leads to */

static dma_addr_t recorded_alloc(struct device *dev, size_t size, u64 limit)
{
	did("alloc IOVA %llx%s%s", (unsigned long long)size, st.fails == 1 ? " fails" : "",
	    dev->dma_mask && limit != *dev->dma_mask ? " below another limit" : "");
	return st.fails == 1 || iovas >= SLOTS ? 0 : IOVA_BASE + IOVA_STEP * iovas++;
}

static void recorded_free(dma_addr_t iova, size_t size, const struct iommu_iotlb_gather *gather)
{
	did("free %s %llx %s", address_name(iova), (unsigned long long)size, !gather ? "unused" : gather->queued ? "queued" : "now");
}

static phys_addr_t *granule(dma_addr_t iova)
{
	static phys_addr_t nowhere;
	u64 nr = (iova - IOVA_BASE) / IOVA_STEP, index = (iova - IOVA_BASE) % IOVA_STEP / st.granule;

	return iova < IOVA_BASE || nr >= SLOTS || index >= 64 ? (nowhere = 0, &nowhere) : &mapped[nr][index];
}

static const char *prot_words(int prot)
{
	static char text[64];

	snprintf(text, sizeof(text), "%s%s%s%s%s", prot & IOMMU_MMIO ? "MMIO|" : "", prot & IOMMU_CACHE ? "CACHE|" : "",
		 prot & IOMMU_PRIV ? "PRIV|" : "", prot & IOMMU_READ ? "READ|" : "", prot & IOMMU_WRITE ? "WRITE|" : "");
	prot &= ~(IOMMU_MMIO | IOMMU_CACHE | IOMMU_PRIV | IOMMU_READ | IOMMU_WRITE);
	if (prot)
		sprintf(text + strlen(text), "%x|", prot);
	if (*text)
		text[strlen(text) - 1] = '\0';
	return text;
}

static int iommu_mapped(dma_addr_t iova, phys_addr_t phys, size_t size, int prot)
{
	bool refused = ((iova | phys | size) & (st.granule - 1)) != 0, fails;

	maps += !refused;
	fails = !refused && (st.fails == 2 || (st.fails == 3 && maps == 2));
	did("iommu_map %s %s %llx %s%s", address_name(iova), phys_name(phys), (unsigned long long)size, prot_words(prot),
	    refused ? " refused" : fails ? " fails" : "");
	if (refused || fails)
		return -EINVAL;
	for (size_t step = 0; step < size; step += st.granule)
		*granule(iova + step) = phys + step;
	return 0;
}

static size_t iommu_unmapped(dma_addr_t iova, size_t size, const struct iommu_iotlb_gather *gather)
{
	did("iommu_unmap %s %llx%s", address_name(iova), (unsigned long long)size, gather->queued ? " queued" : "");
	for (size_t step = 0; step < size; step += st.granule)
		*granule(iova + step) = 0;
	return size;
}

static phys_addr_t iova_leads_to(dma_addr_t iova)
{
	phys_addr_t start = *granule(iova);

	did("look up %s", address_name(iova));
	return start ? start + (iova & (st.granule - 1)) : 0;
}

static ssize_t iommu_mapped_sg(dma_addr_t iova, struct scatterlist *sg, int n, int prot)
{
	ssize_t total = 0;

	for (int i = 0; i < n; i++) {
		int ret;

		if (sg[i].dma_flags & 1)
			continue;
		ret = iommu_mapped(iova + total, page_to_phys(sg[i].page) + sg[i].offset, sg[i].length, prot);
		if (ret)
			return ret;
		total += sg[i].length;
	}
	return total;
}

#define iommu_dma_alloc_iova(d, size, limit, dev)	recorded_alloc(dev, size, limit)
#define iommu_dma_free_iova(c, iova, size, gather)	do { (void)(c); recorded_free(iova, size, gather); } while (0)
#define iommu_map(d, iova, phys, size, prot, gfp)	((void)(d), iommu_mapped(iova, phys, size, prot))
#define iommu_map_atomic(d, iova, phys, size, prot)	((void)(d), iommu_mapped(iova, phys, size, prot))
#define iommu_map_nosync(d, iova, phys, size, prot, gfp) ((void)(d), iommu_mapped(iova, phys, size, prot))
#define iommu_map_sg(d, iova, sg, n, prot, gfp)		((void)(d), iommu_mapped_sg(iova, sg, n, prot))
#define iommu_map_sg_atomic(d, iova, sg, n, prot)	((void)(d), iommu_mapped_sg(iova, sg, n, prot))
#define iommu_unmap_fast(d, iova, size, gather)		((void)(d), iommu_unmapped(iova, size, gather))
#define iommu_iova_to_phys(d, iova)			((void)(d), iova_leads_to(iova))
#define iommu_sync_map(d, iova, size)	(did("sync map %s %llx", address_name(iova), (unsigned long long)(size)), 0)

/* ---- scatterlists and P2P */

#define sg_dma_address(s)	((s)->dma_address)
#define sg_dma_len(s)		((s)->dma_length)
#define sg_next(s)		((s) + 1)
#define for_each_sg(l, s, n, i)	for (i = 0, s = (l); i < (n); i++, s = sg_next(s))
#define sg_page(s)		((struct page *)(s)->page)
#define sg_phys(s)		(page_to_phys(sg_page(s)) + (s)->offset)
#define sg_is_dma_bus_address(s)	((s)->dma_flags & 1)
#define sg_dma_is_bus_address(s)	((s)->dma_flags & 1)
#define sg_dma_mark_bus_address(s)	((s)->dma_flags |= 1)
#define sg_dma_unmark_bus_address(s)	((s)->dma_flags &= ~1)
#define sg_dma_is_swiotlb(s)		((s)->dma_flags & 2)
#define sg_dma_mark_swiotlb(s)		((s)->dma_flags |= 2)
#define dma_get_seg_boundary(d)		0xffffffffUL
#define dma_get_max_seg_size(d)		UINT_MAX

#ifdef HAS_MAP_PHYS
enum pci_p2pdma_map_type {
	PCI_P2PDMA_MAP_UNKNOWN, PCI_P2PDMA_MAP_NONE, PCI_P2PDMA_MAP_NOT_SUPPORTED, PCI_P2PDMA_MAP_BUS_ADDR,
	PCI_P2PDMA_MAP_THRU_HOST_BRIDGE,
};
struct p2pdma_provider { u64 bus_offset; };
struct pci_p2pdma_map_state { struct p2pdma_provider *mem; enum pci_p2pdma_map_type map; };
static struct p2pdma_provider the_provider = { BUS_OFFSET };
#else
enum pci_p2pdma_map_type {
	PCI_P2PDMA_MAP_UNKNOWN, PCI_P2PDMA_MAP_NOT_SUPPORTED, PCI_P2PDMA_MAP_BUS_ADDR, PCI_P2PDMA_MAP_THRU_HOST_BRIDGE,
};
struct pci_p2pdma_map_state { int map; };
#endif

static enum pci_p2pdma_map_type map_type_now(void)
{
	return st.map_type == P2P_BUS ? PCI_P2PDMA_MAP_BUS_ADDR :
	       st.map_type == P2P_BRIDGE ? PCI_P2PDMA_MAP_THRU_HOST_BRIDGE : PCI_P2PDMA_MAP_NOT_SUPPORTED;
}

#ifdef HAS_MAP_PHYS
static void __pci_p2pdma_update_state(struct pci_p2pdma_map_state *state, struct device *dev, struct page *page)
{
	(void)dev, (void)page;
	state->mem = &the_provider;
	state->map = map_type_now();
}
#else
static enum pci_p2pdma_map_type pci_p2pdma_map_segment(struct pci_p2pdma_map_state *state, struct device *dev,
							struct scatterlist *sg)
{
	(void)dev;
	state->map = map_type_now();
	if (state->map == PCI_P2PDMA_MAP_BUS_ADDR) {
		sg->dma_address = sg_phys(sg) + BUS_OFFSET;
		sg_dma_len(sg) = sg->length;
		sg_dma_mark_bus_address(sg);
	}
	return state->map;
}
#endif

/* ---- dma_iova_*(), the block layer and HMM */

#define DMA_IOVA_USE_SWIOTLB (1ULL << 63)
struct dma_iova_state { dma_addr_t addr; u64 __size; };
#define dma_mapping_error(dev, addr)	((addr) == DMA_MAPPING_ERROR)
#ifdef GROUP_IOVA
void dma_iova_unlink(struct device *, struct dma_iova_state *, size_t, size_t, enum dma_data_direction, unsigned long);
#endif
typedef int blk_status_t;
#define BLK_STS_OK	0
#define BLK_STS_RESOURCE 1
#define BLK_STS_INVAL	2
#define errno_to_blk_status(e)	3
struct phys_vec { phys_addr_t paddr; u64 len; };
struct blk_map_iter { int left; phys_addr_t next; };
struct request { size_t size; };
struct blk_dma_iter { dma_addr_t addr; u32 len; struct pci_p2pdma_map_state p2pdma; blk_status_t status; struct blk_map_iter iter; };
static bool blk_map_iter_next(struct request *rq, struct blk_map_iter *it, struct phys_vec *vec)
{
	if (!it->left)
		return false;
	it->left--;
	*vec = (struct phys_vec){ it->next, rq->size };
	return true;
}
#define rq_dma_dir(rq)		(st.dir)
#define req_phys_gap_mask(rq)	0UL
#define dma_get_merge_boundary(d)	(st.granule - 1)
enum { HMM_PFN_VALID = 1, HMM_PFN_DMA_MAPPED = 2, HMM_PFN_P2PDMA = 4, HMM_PFN_P2PDMA_BUS = 8 };
#define hmm_pfn_to_page(x)	phys_to_page((x) & ~0xfffUL)
#define hmm_pfn_to_phys(x)	((phys_addr_t)((x) & ~0xfffUL))
struct hmm_dma_map { struct dma_iova_state state; unsigned long *pfn_list; dma_addr_t *dma_list; size_t dma_entry_size; };
