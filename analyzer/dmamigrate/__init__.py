# SPDX-License-Identifier: GPL-2.0-only
"""dmamigrate: moves kernel drivers to dma_map_phys() and DMA_ATTR_MMIO, with evidence and proof."""

__version__ = "0.1.0"
