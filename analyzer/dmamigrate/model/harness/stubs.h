/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * User-space ground for the kernel's own DMA mapping functions: types, recording leaves, and one state at a time.
 * The functions themselves are taken from a kernel tree when the harness is built; none are kept here.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t u64;
typedef uint32_t u32;
typedef u64 dma_addr_t;
typedef u64 phys_addr_t;
typedef int gfp_t;

enum dma_data_direction { DMA_BIDIRECTIONAL, DMA_TO_DEVICE, DMA_FROM_DEVICE, DMA_NONE };

#define DMA_ATTR_PRIVILEGED		(1UL << 9)
#define DMA_ATTR_SKIP_CPU_SYNC		(1UL << 5)
#define DMA_ATTR_MMIO			(1UL << 10)
#define DMA_ATTR_REQUIRE_COHERENT	(1UL << 12)
#define DMA_ATTR_CC_SHARED		(1UL << 13)
#define DMA_MAPPING_ERROR		(~(dma_addr_t)0)

#define IOMMU_READ	1
#define IOMMU_WRITE	2
#define IOMMU_CACHE	4
#define IOMMU_MMIO	16
#define IOMMU_PRIV	32

enum { DIRECT, IOMMU, OPS, OPS_NONE, OPS_HOOK };

static struct {
	int backend, p2p, coherent, swiotlb, reachable, cc, range_map, debug, untrusted, kmalloc, aligned, zone_device;
	enum dma_data_direction dir;
} st;

/* Enumerators, so that #ifdef does not see them and IS_ENABLED() does. */
enum {
	CONFIG_DMA_OPS_BYPASS, CONFIG_IOMMU_DEBUG_PAGEALLOC,
	CONFIG_SWIOTLB = 1, CONFIG_DMA_BOUNCE_UNALIGNED_KMALLOC = 1, CONFIG_ARCH_DMA_ADDR_T_64BIT = 1,
};
#define CONFIG_DMA_API_DEBUG	(st.debug)
#define IS_ENABLED(x)		(x)

/* ---- the record */

static char rec[1024];
static bool page_asked;

static void did(const char *what)
{
	if (rec[0])
		strcat(rec, ";");
	strcat(rec, what);
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
#define BUG_ON(x)	do { } while (0)
#define WARN_ON(x)	warned(!!(x))
#define WARN_ON_ONCE(x)	warned(!!(x))
#define dev_WARN_ONCE(dev, cond, ...)	warned(!!(cond))
#define dev_warn_once(dev, ...)		warned(true)
#define dev_err_once(dev, ...)		do { } while (0)
#define min(a, b)	((a) < (b) ? (a) : (b))
#define min_not_zero(a, b) ((a) == 0 ? (b) : (b) == 0 ? (a) : min(a, b))
#define READ_ONCE(x)	(x)
#define ALIGN_DOWN(x, a)	((x) & ~((__typeof__(x))(a) - 1))
#define ALIGN(x, a)	ALIGN_DOWN((x) + (a) - 1, a)
#define GFP_ATOMIC	0
#define PFN_PHYS(x)	((phys_addr_t)(x) << 12)
#define min_low_pfn	0UL
#define static_branch_unlikely(x)	(0)
#define iommu_deferred_attach(dev, domain)	(0)
#define debug_dma_map_page(...)		do { } while (0)
#define debug_dma_unmap_page(...)	do { } while (0)
#define debug_dma_map_resource(...)	do { } while (0)
#define debug_dma_unmap_resource(...)	do { } while (0)
#define debug_dma_map_phys(...)		do { } while (0)
#define debug_dma_unmap_phys(...)	do { } while (0)
#define trace_dma_map_page(...)		do { } while (0)
#define trace_dma_unmap_page(...)	do { } while (0)
#define trace_dma_map_resource(...)	do { } while (0)
#define trace_dma_unmap_resource(...)	do { } while (0)
#define trace_dma_map_phys(...)		do { } while (0)
#define trace_dma_unmap_phys(...)	do { } while (0)
#define trace_swiotlb_bounced(...)	do { } while (0)
#define kmsan_handle_dma(...)		did("kmsan")

/* ---- addresses: each has a place of its own, so that it can be told what it is */

#define P_BASE		0x4000000000ULL
#define P_RANGE		0x7000000000ULL
#define B_BASE		0x01000000ULL
#define B_RANGE		0x20000000ULL
#define IOVA_BASE	0x10000000ULL
#define OPS_BASE	0x0e00000000ULL
#define WINDOW		0x100000ULL
#define ENC		(1ULL << 47)
#define SHARED		(1ULL << 46)

static char pool_memory[0x4000] __attribute__((aligned(4096)));
static bool mapped_bounce;

static bool within(u64 x, u64 base) { return x >= base && x < base + WINDOW; }

/* the un-translated address that no range covers is -1, also after the encryption bit was cleared from it */
static const char *phys_name(phys_addr_t phys)
{
	return within(phys, P_BASE) ? "P" : within(phys, B_BASE) ? "B" : within(phys, OPS_BASE) ? "OPS" :
	       (phys | ENC) == (phys_addr_t)-1 ? "-1" : "?";
}

static void print_address(dma_addr_t addr)
{
	if (addr == DMA_MAPPING_ERROR) {
		printf("ERROR");
		return;
	}
	u64 plain = addr & ~(ENC | SHARED);

	printf("%s", within(plain, P_BASE) ? "P" : within(plain, P_RANGE) ? "P+range" : within(plain, B_BASE) ? "B" :
	       within(plain, B_RANGE) ? "B+range" : within(plain, OPS_BASE) ? "OPS" :
	       within(plain, IOVA_BASE) ? (mapped_bounce ? "IOVA of B" : "IOVA") : "?");
	if (addr & ENC)
		printf("+enc");
	if (addr & SHARED)
		printf("+shared");
}

/* ---- types */

struct page;
struct scatterlist;
struct vm_area_struct;
struct sg_table;
struct io_tlb_pool { int unused; };
struct bus_dma_region { u64 cpu_start, dma_start, size, offset; };
struct iova_domain { unsigned long granule; };
struct iommu_dma_cookie { struct iova_domain iovad; void *fq_domain; };
struct iommu_domain { struct iommu_dma_cookie *iova_cookie; };
struct iommu_iotlb_gather { bool queued; };
struct dma_map_ops;
struct device {
	u64 *dma_mask, bus_dma_limit;
	const struct bus_dma_region *dma_range_map;
	const struct dma_map_ops *dma_ops;
	bool dma_ops_bypass;
};
struct dma_map_ops {
	dma_addr_t (*map_page)(struct device *, struct page *, unsigned long, size_t, enum dma_data_direction, unsigned long);
	void (*unmap_page)(struct device *, dma_addr_t, size_t, enum dma_data_direction, unsigned long);
	dma_addr_t (*map_resource)(struct device *, phys_addr_t, size_t, enum dma_data_direction, unsigned long);
	void (*unmap_resource)(struct device *, dma_addr_t, size_t, enum dma_data_direction, unsigned long);
	dma_addr_t (*map_phys)(struct device *, phys_addr_t, size_t, enum dma_data_direction, unsigned long);
	void (*unmap_phys)(struct device *, dma_addr_t, size_t, enum dma_data_direction, unsigned long);
};

static struct iommu_dma_cookie the_cookie = { { 4096 }, NULL };
static struct iommu_domain the_domain = { &the_cookie };

/* ---- leaves that answer from the state */

#define get_dma_ops(dev)		((dev)->dma_ops)
#define use_dma_iommu(dev)		(st.backend == IOMMU)
#define dev_dma_ops_bypass(dev)		(false)
#define dma_direct_get_required_mask(dev) (0)
#define dev_is_dma_coherent(dev)	((void)(dev), st.coherent)
#define dev_is_untrusted(dev)		((void)(dev), st.untrusted)
#define dma_get_min_align_mask(dev)	(0)
#define dma_get_mask(dev)		(*(dev)->dma_mask)
#define arch_dma_map_page_direct(dev, addr)	(st.backend == OPS_HOOK)
#define arch_dma_unmap_page_direct(dev, addr)	(st.backend == OPS_HOOK)
#define arch_dma_map_phys_direct(dev, addr)	(st.backend == OPS_HOOK)
#define arch_dma_unmap_phys_direct(dev, addr)	(st.backend == OPS_HOOK)
#define is_swiotlb_force_bounce(dev)	(st.swiotlb == 2)
#define is_swiotlb_active(dev)		(st.swiotlb != 0)
#define is_swiotlb_buffer(dev, phys)	within(phys, B_BASE)
#define swiotlb_find_pool(dev, phys)	(within(phys, B_BASE) ? &the_pool : NULL)
#define dma_kmalloc_size_aligned(size)	(!st.kmalloc)
#define page_to_phys(page)		((phys_addr_t)(uintptr_t)(page) << 12)
#define is_pci_p2pdma_page(page)	((void)(page), st.p2p)
#define iommu_get_dma_domain(dev)	((void)(dev), &the_domain)
#define iommu_iotlb_gather_init(g)	((g)->queued = false)
#define iommu_iotlb_sync(d, g)		do { } while (0)
#define iommu_dma_alloc_iova(d, size, mask, dev)	((void)(mask), IOVA_BASE)
#define iommu_dma_free_iova(c, iova, size, gather)	do { (void)(c); } while (0)
#define arch_sync_dma_flush()		do { } while (0)
#define arch_sync_dma_for_cpu_all()	do { } while (0)
#define arch_dma_mark_clean(p, s)	do { } while (0)
#define CC_ATTR_HOST_MEM_ENCRYPT	1
#define CC_ATTR_GUEST_MEM_ENCRYPT	2
#define CC_ATTR_MEM_ENCRYPT		3
#define cc_platform_has(attr)		(st.cc & (attr))
#define force_dma_unencrypted(dev)	((void)(dev), st.cc == 2)
#define __sme_set(x)			(st.cc == 1 ? (x) | ENC : (x))
#define __sme_clr(x)			(st.cc == 1 ? (x) & ~ENC : (x))
#define dma_addr_encrypted(x)		(st.cc == 1 ? (x) | ENC : (x))
#define dma_addr_unencrypted(x)		(st.cc == 2 ? (x) | SHARED : (x))
#define dma_addr_canonical(x)		((x) & ~(ENC | SHARED))

static struct io_tlb_pool the_pool;

static bool is_zone_device_page(const struct page *page)
{
	(void)page;
	page_asked = st.zone_device;
	return st.zone_device;
}

static void *phys_to_virt(phys_addr_t phys)
{
	return within(phys, B_BASE) ? pool_memory + (phys - B_BASE) : (void *)(uintptr_t)phys;
}

static void cache(const char *whom, phys_addr_t phys)
{
	char text[64];

	snprintf(text, sizeof(text), "cache for %s %s", whom, phys_name(phys));
	did(text);
}

#define arch_sync_dma_for_device(phys, size, dir)	cache("device", phys)
#define arch_sync_dma_for_cpu(phys, size, dir)		cache("CPU", phys)

static phys_addr_t bounced(phys_addr_t phys)
{
	char text[32];

	snprintf(text, sizeof(text), "bounce %s", phys_name(phys));
	did(text);
	return B_BASE + (phys & 0xfff);
}

static void released(phys_addr_t phys, unsigned long attrs)
{
	if (within(phys, B_BASE))
		did(attrs & DMA_ATTR_SKIP_CPU_SYNC ? "release bounce without copy" : "release bounce with copy");
}

#if SWIOTLB_MAP_SHAPE == 7
#define swiotlb_tbl_map_single(dev, phys, size, alloc, mask, dir, attrs) ((void)(mask), bounced(phys))
#elif SWIOTLB_MAP_SHAPE == 6
#define swiotlb_tbl_map_single(dev, phys, size, mask, dir, attrs) ((void)(mask), bounced(phys))
#else
static phys_addr_t swiotlb_tbl_map_single(struct device *dev, phys_addr_t phys, size_t size, unsigned int mask,
					  enum dma_data_direction dir, unsigned long *attrs)
{
	if (st.cc)
		*attrs |= DMA_ATTR_CC_SHARED;
	else
		*attrs &= ~DMA_ATTR_CC_SHARED;
	return bounced(phys);
}
#endif
#define swiotlb_tbl_unmap_single(dev, phys, size, dir, attrs)		released(phys, attrs)
#define __swiotlb_tbl_unmap_single(dev, phys, size, dir, attrs, pool)	released(phys, attrs)
#define swiotlb_sync_single_for_cpu(dev, phys, size, dir) \
	do { if (within(phys, B_BASE)) did("copy bounce to memory"); } while (0)

static int iommu_mapped(phys_addr_t phys, int prot)
{
	char text[96];

	mapped_bounce = within(phys, B_BASE);
	snprintf(text, sizeof(text), "iommu_map %s ", phys_name(phys));
	if (prot & IOMMU_MMIO)
		strcat(text, "MMIO|");
	if (prot & IOMMU_CACHE)
		strcat(text, "CACHE|");
	if (prot & IOMMU_PRIV)
		strcat(text, "PRIV|");
	if (prot & IOMMU_READ)
		strcat(text, "READ|");
	if (prot & IOMMU_WRITE)
		strcat(text, "WRITE|");
	text[strlen(text) - 1] = '\0';
	did(text);
	return 0;
}

#define iommu_map(d, iova, phys, size, prot, gfp)	((void)(d), iommu_mapped(phys, prot))
#define iommu_map_atomic(d, iova, phys, size, prot)	((void)(d), iommu_mapped(phys, prot))

static size_t iommu_unmapped(size_t size)
{
	did("iommu_unmap");
	return size;
}

#define iommu_unmap_fast(d, iova, size, gather)		((void)(d), iommu_unmapped(size))
#define iommu_iova_to_phys(d, iova) \
	((void)(d), (mapped_bounce ? B_BASE : P_BASE) + ((iova) & 0xfff))

/* ---- dma_map_ops callbacks */

static dma_addr_t ops_did(const char *what, unsigned long attrs)
{
	char text[64];

	snprintf(text, sizeof(text), "ops %s%s", what, attrs & DMA_ATTR_MMIO ? " MMIO" : "");
	did(text);
	return OPS_BASE;
}
