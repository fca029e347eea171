/* SPDX-License-Identifier: GPL-2.0-only */
/* Reads states, one a line, runs map and unmap of each, and prints "address|effects of map|effects of unmap". */

static dma_addr_t o_map_page(struct device *d, struct page *p, unsigned long o, size_t s, enum dma_data_direction r,
			     unsigned long a)
{
	return ops_did("map_page", 0);
}

static void o_unmap_page(struct device *d, dma_addr_t x, size_t s, enum dma_data_direction r, unsigned long a)
{
	ops_did("unmap_page", 0);
}

static dma_addr_t o_map_resource(struct device *d, phys_addr_t p, size_t s, enum dma_data_direction r, unsigned long a)
{
	return ops_did("map_resource", 0);
}

static void o_unmap_resource(struct device *d, dma_addr_t x, size_t s, enum dma_data_direction r, unsigned long a)
{
	ops_did("unmap_resource", 0);
}

static dma_addr_t o_map_phys(struct device *d, phys_addr_t p, size_t s, enum dma_data_direction r, unsigned long a)
{
	return ops_did("map_phys", a);
}

static void o_unmap_phys(struct device *d, dma_addr_t x, size_t s, enum dma_data_direction r, unsigned long a)
{
	ops_did("unmap_phys", a);
}

static const struct dma_map_ops full_ops = {
	.map_page = o_map_page, .unmap_page = o_unmap_page, .map_resource = o_map_resource,
	.unmap_resource = o_unmap_resource, .map_phys = o_map_phys, .unmap_phys = o_unmap_phys,
};
/* every table had the page callbacks while there were any */
static const struct dma_map_ops poor_ops = { .map_page = o_map_page, .unmap_page = o_unmap_page };
#ifdef IOMMU_IS_OPS
static const struct dma_map_ops iommu_ops = {
	.map_page = iommu_dma_map_page, .unmap_page = iommu_dma_unmap_page,
	.map_resource = iommu_dma_map_resource, .unmap_resource = iommu_dma_unmap_resource,
};
#endif

static const struct bus_dma_region ranges[] = {
	{ P_BASE, P_RANGE, WINDOW, P_BASE - P_RANGE }, { B_BASE, B_RANGE, WINDOW, B_BASE - B_RANGE }, { 0 },
};

static dma_addr_t map(int call, struct device *dev, phys_addr_t phys, size_t size, unsigned long attrs)
{
	switch (call) {
	case 0:
		return dma_map_resource(dev, phys, size, st.dir, attrs);
#ifdef HAS_MAP_PHYS
	case 1:
		return dma_map_phys(dev, phys, size, st.dir, attrs);
#endif
	default:
		return dma_map_page_attrs(dev, (struct page *)(uintptr_t)(phys >> 12), phys & 0xfff, size, st.dir, attrs);
	}
}

static void unmap(int call, struct device *dev, dma_addr_t addr, size_t size, unsigned long attrs)
{
	switch (call) {
	case 0:
		dma_unmap_resource(dev, addr, size, st.dir, attrs);
		break;
#ifdef HAS_MAP_PHYS
	case 1:
		dma_unmap_phys(dev, addr, size, st.dir, attrs);
		break;
#endif
	default:
		dma_unmap_page_attrs(dev, addr, size, st.dir, attrs);
	}
}

int main(void)
{
	int call, end, dir;
	unsigned long attrs, end_attrs;

	while (scanf("%d %d %lu %lu %d %d %d %d %d %d %d %d %d %d %d %d", &call, &end, &attrs, &end_attrs, &st.backend, &st.p2p,
		     &dir, &st.coherent, &st.swiotlb, &st.reachable, &st.cc, &st.range_map, &st.debug, &st.untrusted,
		     &st.kmalloc, &st.aligned) == 16) {
		u64 mask = st.reachable ? ~0ULL : 0xffffffffULL;
		struct device dev = { .dma_mask = &mask, .dma_range_map = st.range_map ? ranges : NULL };
		phys_addr_t phys = P_BASE + (st.aligned ? 0 : 0x40);
		size_t size = st.aligned ? 0x1000 : 0x80;
		dma_addr_t addr;

		st.dir = dir;
		st.zone_device = st.p2p;
		mapped_bounce = page_asked = false;
		if (st.backend == OPS || st.backend == OPS_HOOK)
			dev.dma_ops = &full_ops;
		else if (st.backend == OPS_NONE)
			dev.dma_ops = &poor_ops;
#ifdef IOMMU_IS_OPS
		else if (st.backend == IOMMU)
			dev.dma_ops = &iommu_ops;
#endif
		rec[0] = '\0';
		addr = map(call, &dev, phys, size, attrs);
		print_address(addr);
		printf("|%s|", rec);
		rec[0] = '\0';
		if (addr != DMA_MAPPING_ERROR)
			unmap(end, &dev, addr, size, end_attrs);
		printf("%s\n", rec);
	}
	return 0;
}
