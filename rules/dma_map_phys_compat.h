/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What --compat puts into a driver, between a guard and its #endif. In kernels
 * before 6.18 dma_map_resource() is the only way to map device memory, and
 * takes no attribute for it.
 */
#define DMA_ATTR_MMIO	0

static inline dma_addr_t dma_map_phys(struct device *dev, phys_addr_t phys,
				      size_t size, enum dma_data_direction dir,
				      unsigned long attrs)
{
	return dma_map_resource(dev, phys, size, dir, attrs);
}

static inline void dma_unmap_phys(struct device *dev, dma_addr_t addr,
				  size_t size, enum dma_data_direction dir,
				  unsigned long attrs)
{
	dma_unmap_resource(dev, addr, size, dir, attrs);
}
