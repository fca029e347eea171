/* SPDX-License-Identifier: GPL-2.0-only */
/* Reads states, one a line, runs map, syncs and unmap of each, and prints what was recorded: map|sync|unmap. */
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TABLE_DID(name, where, attrs) did("ops " name " %s %llx %d %s", where, (unsigned long long)s, r, words(attrs))

static dma_addr_t o_map_page(struct device *d, struct page *p, unsigned long o, size_t s, enum dma_data_direction r,
			     unsigned long a)
{
	TABLE_DID("map_page", phys_name(page_to_phys(p) + o), a);
	return OPS_BASE + o;
}

static void o_unmap_page(struct device *d, dma_addr_t x, size_t s, enum dma_data_direction r, unsigned long a)
{
	TABLE_DID("unmap_page", address_name(x), a);
}

static dma_addr_t o_map_resource(struct device *d, phys_addr_t p, size_t s, enum dma_data_direction r, unsigned long a)
{
	TABLE_DID("map_resource", phys_name(p), a);
	return OPS_BASE + p - P_BASE;
}

static void o_unmap_resource(struct device *d, dma_addr_t x, size_t s, enum dma_data_direction r, unsigned long a)
{
	TABLE_DID("unmap_resource", address_name(x), a);
}

static dma_addr_t o_map_phys(struct device *d, phys_addr_t p, size_t s, enum dma_data_direction r, unsigned long a)
{
	TABLE_DID("map_phys", phys_name(p), a);
	return st.backend == OPS_REFUSE && a & DMA_ATTR_MMIO ? DMA_MAPPING_ERROR : OPS_BASE + p - P_BASE;
}

static void o_unmap_phys(struct device *d, dma_addr_t x, size_t s, enum dma_data_direction r, unsigned long a)
{
	TABLE_DID("unmap_phys", address_name(x), a);
}

static int o_map_sg(struct device *d, struct scatterlist *sg, int n, enum dma_data_direction r, unsigned long a)
{
	did("ops map_sg %d %d %s", n, r, words(a));
	for (int i = 0; i < n; i++) {
		sg[i].dma_address = OPS_BASE + sg[i].offset;
		sg[i].dma_length = sg[i].length;
	}
	return n;
}

static void o_unmap_sg(struct device *d, struct scatterlist *sg, int n, enum dma_data_direction r, unsigned long a)
{
	did("ops unmap_sg %d %d %s", n, r, words(a));
}

static void o_sync_cpu(struct device *d, dma_addr_t x, size_t s, enum dma_data_direction r)
{
	did("ops sync for CPU %s %llx %d", address_name(x), (unsigned long long)s, r);
}

static void o_sync_device(struct device *d, dma_addr_t x, size_t s, enum dma_data_direction r)
{
	did("ops sync for device %s %llx %d", address_name(x), (unsigned long long)s, r);
}

static const struct dma_map_ops full_ops = {
	.map_page = o_map_page, .unmap_page = o_unmap_page, .map_resource = o_map_resource,
	.unmap_resource = o_unmap_resource, .map_phys = o_map_phys, .unmap_phys = o_unmap_phys,
	.map_sg = o_map_sg, .unmap_sg = o_unmap_sg, .sync_single_for_cpu = o_sync_cpu, .sync_single_for_device = o_sync_device,
};
/* no map_resource, but the page callbacks: every table had these while there were any */
static const struct dma_map_ops table_ops = {
	.map_page = o_map_page, .unmap_page = o_unmap_page, .map_phys = o_map_phys, .unmap_phys = o_unmap_phys,
	.map_sg = o_map_sg, .unmap_sg = o_unmap_sg,
};
static const struct dma_map_ops poor_ops = {
	.map_page = o_map_page, .unmap_page = o_unmap_page, .map_sg = o_map_sg, .unmap_sg = o_unmap_sg,
};
#ifdef IOMMU_IS_OPS
static const struct dma_map_ops iommu_ops = {
	.map_page = iommu_dma_map_page, .unmap_page = iommu_dma_unmap_page,
	.map_resource = iommu_dma_map_resource, .unmap_resource = iommu_dma_unmap_resource,
	.sync_single_for_cpu = iommu_dma_sync_single_for_cpu, .sync_single_for_device = iommu_dma_sync_single_for_device,
#ifdef GROUP_SG
	.map_sg = iommu_dma_map_sg, .unmap_sg = iommu_dma_unmap_sg,
#endif
};
#define __dma_sync_single_for_cpu dma_sync_single_for_cpu
#define __dma_sync_single_for_device dma_sync_single_for_device
#endif

/*
 * The memory begins where its range does, in the bus's view right behind another one. Where nothing covers it, it lies
 * right behind a range, also untranslated.
 */
#define ELSEWHERE	0x00400000ULL
#define BEHIND_IT	(P_BASE + TO_RANGE - WINDOW)
static const struct bus_dma_region ranges[] = {
	{ ELSEWHERE, BEHIND_IT, WINDOW, ELSEWHERE - BEHIND_IT },
	{ P_BASE, P_BASE + TO_RANGE, 2 * WINDOW, -TO_RANGE },
	{ Q_BASE - BEFORE, Q_BASE - BEFORE + TO_RANGE, 2 * WINDOW, -TO_RANGE },
	{ B_BASE, B_BASE + B_TO_RANGE, WINDOW * 2, -B_TO_RANGE }, { 0 },
};
static const struct bus_dma_region pool_only[] = {
	{ P_BASE - WINDOW, P_BASE - WINDOW, WINDOW, 0 }, { B_BASE, B_BASE + B_TO_RANGE, WINDOW * 2, -B_TO_RANGE }, { 0 },
};

enum { RESOURCE, PHYS, PAGE, SG, SG_TWO, IOVA_LINK, IOVA_UNLINK, IOVA_TWICE, BLK, HMM };

#ifdef GROUP_IOVA
static struct dma_iova_state iova;
#endif
#ifdef GROUP_USERS
static struct request rq;
static struct blk_dma_iter iter;
static unsigned long pfn;
static dma_addr_t hmm_list[1];
static struct hmm_dma_map hmm;
#endif
#ifdef GROUP_SG
static struct scatterlist list[4];
static struct sg_table table;

static void list_set(int at, phys_addr_t phys, size_t size)
{
	list[at] = (struct scatterlist){ .page = phys >> 12, .offset = phys & 0xfff, .length = size };
}

/* of two entries the first is a granule, or ends inside of one before memory that begins one and does not fill it */
static size_t first_size(void)
{
	return st.offset || !(st.size % st.granule) ? st.granule : 0x80;
}

static void list_kept(phys_addr_t phys, int n)
{
	const struct scatterlist *last = &list[n - 1];

	if (last->offset != (phys & 0xfff) || last->length != st.size || (n == 2 && (list[0].offset || list[0].length != first_size())))
		did("list changed");
}

static dma_addr_t map_list(struct device *dev, phys_addr_t phys, size_t size, int n, unsigned long attrs)
{
	int ret;

	memset(list, 0, sizeof(list));
	if (n == 2)
		list_set(0, Q_BASE, first_size());
	list[n].dma_address = IOVA_BASE;	/* what lies behind the list is nobody's */
	list[n].dma_length = 0x100000;
	list_set(n - 1, phys, size);
	table = (struct sg_table){ list, 0, n };
	ret = dma_map_sgtable(dev, &table, st.dir, attrs);
	list_kept(phys, n);
	if (ret < 0) {
		did("list: error %d", -ret);
		return DMA_MAPPING_ERROR;
	}
	if (!table.nents) {
		did("list: none");
		return DMA_MAPPING_ERROR;
	}
	did("list:");
	for (unsigned i = 0; i < table.nents; i++)
		rec_len += sprintf(rec + rec_len, " %s/%x%s", address_name(list[i].dma_address), list[i].dma_length,
				   sg_dma_is_bus_address(&list[i]) ? " bus" : "");
	return 0;
}
#endif

static dma_addr_t map(int call, struct device *dev, phys_addr_t phys, size_t size, unsigned long attrs)
{
	switch (call) {
	case RESOURCE:
		return dma_map_resource(dev, phys, size, st.dir, attrs);
#ifdef HAS_MAP_PHYS
	case PHYS:
		return dma_map_phys(dev, phys, size, st.dir, attrs);
#endif
	case PAGE:
		return dma_map_page_attrs(dev, (struct page *)(uintptr_t)(phys >> 12), phys & 0xfff, size, st.dir, attrs);
#ifdef GROUP_SG
	case SG:
	case SG_TWO:
		return map_list(dev, phys, size, call == SG ? 1 : 2, attrs);
#endif
#ifdef GROUP_IOVA
	case IOVA_LINK:
	case IOVA_UNLINK:
		if (!dma_iova_try_alloc(dev, &iova, phys, size))
			return DMA_MAPPING_ERROR;
		if (dma_iova_link(dev, &iova, phys, 0, size, st.dir, attrs) || dma_iova_sync(dev, &iova, 0, size)) {
			dma_iova_free(dev, &iova);
			return DMA_MAPPING_ERROR;
		}
		return iova.addr;
	case IOVA_TWICE: {
		size_t linked = 0;

		if (!dma_iova_try_alloc(dev, &iova, Q_BASE, st.granule + size))
			return DMA_MAPPING_ERROR;
		if (!dma_iova_link(dev, &iova, Q_BASE, 0, st.granule, st.dir, attrs)) {
			linked = st.granule;
			if (!dma_iova_link(dev, &iova, phys, linked, size, st.dir, attrs))
				linked += size;
		}
		if (linked < st.granule + size) {
			dma_iova_destroy(dev, &iova, linked, st.dir, attrs);
			return DMA_MAPPING_ERROR;
		}
		dma_iova_sync(dev, &iova, 0, linked);
		return iova.addr;
	}
#endif
#ifdef GROUP_USERS
	case BLK:
		rq.size = size;
		memset(&iter, 0x5a, sizeof(iter));
		iter.iter = (struct blk_map_iter){ 1, phys };
		memset(&iova, 0x5a, sizeof(iova));
		if (!blk_dma_map_iter_start(&rq, dev, &iova, &iter, size)) {
			did("status %s", iter.status == BLK_STS_INVAL ? "invalid" : iter.status == BLK_STS_RESOURCE ? "resource" :
					 iter.status == BLK_STS_OK ? "ok" : "of the error");
			return DMA_MAPPING_ERROR;
		}
		if (iter.len != size)
			did("length %x", iter.len);
		return iter.addr;
	case HMM: {
		struct pci_p2pdma_map_state state = { 0 };

		pfn = (phys & ~0xfffUL) | HMM_PFN_VALID;
		hmm = (struct hmm_dma_map){ { 0 }, &pfn, hmm_list, st.granule };
		dma_iova_try_alloc(dev, &hmm.state, phys, size);
		return hmm_dma_map_pfn(dev, &hmm, 0, &state);
	}
#endif
	}
	did("no such call");
	return DMA_MAPPING_ERROR;
}

static void unmap(int call, struct device *dev, dma_addr_t addr, size_t size, unsigned long attrs)
{
	switch (call) {
	case RESOURCE:
		dma_unmap_resource(dev, addr, size, st.dir, attrs);
		break;
#ifdef HAS_MAP_PHYS
	case PHYS:
		dma_unmap_phys(dev, addr, size, st.dir, attrs);
		break;
#endif
	case PAGE:
		dma_unmap_page_attrs(dev, addr, size, st.dir, attrs);
		break;
#ifdef GROUP_SG
	case SG:
	case SG_TWO:
		dma_unmap_sg_attrs(dev, list, call == SG ? 1 : 2, st.dir, attrs);
		list_kept(cur_phys, call == SG ? 1 : 2);
		if (list[call == SG ? 0 : 1].dma_flags & 1)
			did("still flagged");
		break;
#endif
#ifdef GROUP_IOVA
	case IOVA_LINK:
		dma_iova_destroy(dev, &iova, size, st.dir, attrs);
		break;
	case IOVA_UNLINK:
		dma_iova_unlink(dev, &iova, 0, size, st.dir, attrs);
		dma_iova_free(dev, &iova);
		break;
	case IOVA_TWICE:
		dma_iova_destroy(dev, &iova, st.granule + size, st.dir, attrs);
		break;
#endif
#ifdef GROUP_USERS
	case BLK:
		if (!blk_rq_dma_unmap(&rq, dev, &iova, size, iter.p2pdma.map))
			dma_unmap_phys(dev, addr, size, st.dir,
				       iter.p2pdma.map == PCI_P2PDMA_MAP_THRU_HOST_BRIDGE ? DMA_ATTR_MMIO : 0);
		break;
	case HMM:
		if (!hmm_dma_unmap_pfn(dev, &hmm, 0))
			did("nothing to unmap");
		if (hmm_dma_unmap_pfn(dev, &hmm, 0))
			did("unmapped twice");
		if (pfn & ~(unsigned long)(~0xfffUL | HMM_PFN_VALID))
			did("still flagged");
		break;
#endif
	}
}

/* ---- reading and writing without a system call but read() and write() */

static char input[1 << 16], output[1 << 16];
static size_t have, next, used;

static void emit(const char *text, size_t n)
{
	if (used + n > sizeof(output)) {
		for (size_t done = 0; done < used;) {
			ssize_t ret = write(1, output + done, used - done);

			if (ret <= 0)
				syscall(SYS_exit, 3);
			done += ret;
		}
		used = 0;
	}
	memcpy(output + used, text, n);
	used += n;
}

static int letter(void)
{
	if (next == have) {
		ssize_t ret = read(0, input, sizeof(input));

		if (ret <= 0)
			return -1;
		have = ret;
		next = 0;
	}
	return input[next++];
}

static bool ask(u64 *value)
{
	int c = letter();

	*value = 0;
	while (c == ' ' || c == '\n')
		c = letter();
	if (c < 0)
		return false;
	for (; c >= '0' && c <= '9'; c = letter())
		*value = *value * 10 + (c - '0');
	return true;
}

static void flush_record(char end)
{
	look_at_padding();
	emit(rec, rec_len);
	emit(&end, 1);
	rec_len = 0;
}

static unsigned long tree_attrs(u64 indices)
{
	unsigned long attrs = 0;

	for (unsigned i = 0; i < COUNT(attributes); i++)
		if (indices & (1 << i))
			attrs |= attributes[i].bit;
	return attrs;
}

static void one(const u64 *q)
{
	u64 mask, call = q[0], end = q[1];
	struct device dev = { 0 };
	phys_addr_t phys;
	dma_addr_t addr = DMA_MAPPING_ERROR;

	st.backend = q[4], st.map_type = q[5], st.dir = q[6], st.coherent = q[7], st.swiotlb = q[8], st.reach = q[9], st.cc = q[10];
	st.range_map = q[11], st.covered = q[12], st.debug = q[13], st.untrusted = q[14], st.kmalloc = q[15], st.min_align = q[16];
	st.queue = q[17], st.fails = q[18], st.has_mask = q[19], st.offset = q[20], st.size = q[21], st.granule = q[22];
	phys = P_BASE + st.offset;
	/*
	 * everything; exactly to the end; 32 bits; a byte short; the same two by the bus limit; exactly what
	 * bypassing needs; exactly to the end of the first bounce slot's data; a byte short of that */
	mask = st.reach == 1 || st.reach == 5 ? phys + st.size - 1 : st.reach == 2 || st.reach == 4 ? 0xffffffffULL :
	       st.reach == 3 ? phys + st.size - 2 : st.reach == 6 ? dma_direct_get_required_mask(NULL) :
	       st.reach >= 7 ? B_BASE + SLOT + (st.range_map ? B_TO_RANGE : 0) + (phys & dma_get_min_align_mask(&dev)) + st.size + 6 - st.reach :
	       ~0ULL;
	if (st.reach == 4 || st.reach == 5) {
		dev.bus_dma_limit = mask;
		mask = ~0ULL;
	}
	dev.coherent_dma_mask = ~0ULL;
	dev.dma_mask = st.has_mask ? &mask : NULL;
	dev.dma_range_map = !st.range_map ? NULL : st.covered ? ranges : pool_only;
	dev.dma_ops = st.backend == DIRECT || st.backend == IOMMU ? NULL : st.backend == OPS ? &full_ops :
		      st.backend == OPS_NONE ? &poor_ops : &table_ops;
#ifdef IOMMU_IS_OPS
	if (st.backend == IOMMU)
		dev.dma_ops = &iommu_ops;
#endif
	dev.dma_ops_bypass = st.backend == OPS_BYPASS;
	the_cookie.iovad.granule = st.granule;
	the_cookie.fq_domain = st.queue ? &the_domain : NULL;
	slots = iovas = maps = fresh = 0;
	page_asked = false;
	memset(mapped, 0, sizeof(mapped));
	cur_phys = phys;
	rec_len = 0;
	if (!setjmp(stopped)) {
		char text[64];

		addr = map(call, &dev, phys, st.size, tree_attrs(q[2]));
		look_at_padding();
		snprintf(text, sizeof(text), "%s%s", call == SG || call == SG_TWO ? "list" : address_name(addr), rec_len ? ";" : "");
		emit(text, strlen(text));
	} else {
		emit("ERROR;", 6);
		addr = DMA_MAPPING_ERROR;
	}
	flush_record('|');
	cur_addr = addr;
	if (addr != DMA_MAPPING_ERROR && q[23] && !setjmp(stopped)) {
		__dma_sync_single_for_cpu(&dev, addr, st.size, st.dir);
		__dma_sync_single_for_device(&dev, addr, st.size, st.dir);
	}
	flush_record('|');
	if (addr != DMA_MAPPING_ERROR && !setjmp(stopped))
		unmap(end, &dev, addr, st.size, tree_attrs(q[3]));
	flush_record('\n');
}

int main(void)
{
	struct rlimit seconds = { CPU_SECONDS, CPU_SECONDS }, none = { 0, 0 };
	u64 q[24];

	/* what was taken from the tree may do nothing but compute, and not for ever */
	setrlimit(RLIMIT_CPU, &seconds);
	setrlimit(RLIMIT_CORE, &none);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
		emit("unguarded\n", 10);
	for (unsigned i = 0; i < COUNT(attributes); i++) {
		char text[64];
		int bit = attributes[i].bit ? __builtin_ctzl(attributes[i].bit) : -1;

		emit(text, snprintf(text, sizeof(text), "%s=%d ", attributes[i].full, bit));
	}
	{
		char text[160];

		emit(text, snprintf(text, sizeof(text), "IOMMU_READ=%d IOMMU_WRITE=%d IOMMU_CACHE=%d IOMMU_MMIO=%d IOMMU_PRIV=%d\n",
				    IOMMU_READ, IOMMU_WRITE, IOMMU_CACHE, IOMMU_MMIO, IOMMU_PRIV));
	}
	while (ask(&q[0])) {
		for (int i = 1; i < 24; i++)
			if (!ask(&q[i]))
				syscall(SYS_exit, 2);
		one(q);
	}
	{
		size_t left = used;

		for (size_t done = 0; done < left;)
			done += write(1, output + done, left - done);
	}
	syscall(SYS_exit, 0);
	return 0;
}
