# SPDX-License-Identifier: GPL-2.0-only
"""What the words of the model's tables mean."""

from __future__ import annotations

import re

_WORDS = {
    "direct": "no IOMMU and no dma_map_ops: kernel/dma/direct.c",
    "dma-iommu": "an IOMMU that the kernel's DMA API drives: drivers/iommu/dma-iommu.c",
    "ops": "a dma_map_ops of the platform's own",
    "arch direct hook": "dma_map_ops that let the architecture map some addresses directly (powerpc)",
    "P": "the physical address itself, given to the device as it is",
    "P+range": "the physical address moved by the bus's dma-ranges",
    "IOVA": "an address that the IOMMU translates",
    "OPS": "whatever the platform's dma_map_ops return",
    "SLOT": "the address of a bounce buffer",
    "ERROR": "DMA_MAPPING_ERROR: the map fails",
    "warn": "the kernel prints a warning",
    "kmsan": "the memory sanitizer is told of the buffer: its contents are looked at",
    "swiotlb": "bounce buffers: off, active for what the device cannot reach, forced for all",
    "reachable": "whether the device's DMA mask covers the address",
    "range_map": "whether the bus sees memory at other addresses (dma-ranges)",
    "cc": "memory encryption: none, that of a host, that of a confidential guest",
    "coherent": "whether the device sees the CPU's caches",
    "bar": "memory of a PCI BAR, not of a struct page",
}


def under(text: str) -> str:
    """A table with the meaning of those of its words that need one below it."""
    used = [
        (word, meaning)
        for word, meaning in _WORDS.items()
        if re.search(rf"(?<![\w+-]){re.escape(word)}(?![\w+-])", text)
    ]
    width = max((len(word) for word, _ in used), default=0)
    lines = [f"  {word:{width}}  {meaning}" for word, meaning in used]
    return "\n".join([text.rstrip("\n"), "\nwhere", *lines]) + "\n" if lines else text
