# SPDX-License-Identifier: GPL-2.0-only
"""What rules claim goes wrong, and the sign of it in a running kernel: in the wrong life and not in its rewrite."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim: the rule, the machine that shows it, the sign, and what the sign means.

    `missing` says that the sign is one of health: the rewrite shows it, the wrong life does not.
    """

    rule: str
    machine: str
    sign: str
    means: str
    missing: bool = False


CLAIMS = (
    Claim("mmio-on-ram", "armdirect", "cache for device P", "no cache maintenance for memory that is not coherent",
          missing=True),
    Claim("mmio-on-ram", "armdirect", "called for RAM address", "dma-debug reports that RAM was mapped as MMIO"),
    Claim("map-resource-ram", "armiommu", "cache for device P", "no cache maintenance for memory that is not coherent",
          missing=True),
    Claim("map-resource-ram", "direct", "called for RAM address", "dma-debug reports that RAM was mapped as MMIO"),
    Claim("phys-missing-mmio", "crash", "Oops", "an Oops: the bounce copies from a BAR that nothing maps"),
    Claim("p2p-missing-mmio", "iommu", "CACHE", "the IOMMU maps the peer's BAR as cacheable memory"),
    Claim("p2p-missing-mmio", "armdirect", "cache for device P", "cache maintenance by address on a peer's BAR"),
    Claim("p2p-bus-address-mapped", "switch", "has not allocated", "dma-debug reports memory that was not allocated"),
    Claim("page-api-on-mmio", "direct", "warn of its page", "the map warns of the page and fails"),
    Claim("sync-on-mmio", "armdirect", "cache for CPU P", "cache maintenance by address on device registers"),
    Claim("sync-dir-mismatch", "direct", "syncs DMA memory with different direction",
          "dma-debug reports a different direction"),
    Claim("bar-as-dma-addr", "iommu", "data never arrived", "the device's DMA never arrives"),
    Claim("mmio-as-dma-addr", "iommu", "data never arrived", "the device's DMA never arrives"),
    Claim("dma-addr-as-phys", "iommu", "data never arrived", "the device's DMA never arrives"),
    Claim("unmap-attrs-mismatch", "direct", "data never arrived", "what the device wrote stays in the bounce buffer"),
    Claim("unmap-attrs-mismatch", "iommu", "different attributes", "dma-debug reports different attributes"),
    Claim("unmap-family-mismatch", "iommu", "still mapped", "the IOMMU mapping stays"),
    Claim("unmap-device-mismatch", "iommu", "still mapped", "the IOMMU mapping stays"),
    Claim("unmap-wrong-handle", "iommu", "has not allocated", "dma-debug reports memory that was not allocated"),
    Claim("unmap-size-mismatch", "direct", "different size", "dma-debug reports a different size"),
    Claim("unmap-dir-mismatch", "direct", "frees DMA memory with different direction",
          "dma-debug reports a different direction"),
    Claim("unmap-nents-mismatch", "iommu", "different entry count", "dma-debug reports another number of entries"),
    Claim("mapping-not-checked", "direct", "failed to check map error", "dma-debug reports the missing check"),
    Claim("mapping-leaked", "iommu", "still mapped", "the IOMMU mapping stays"),
)  # fmt: skip


def said(rule: str) -> tuple[str, ...]:
    """What a running kernel did with the wrong life of a rule, in words."""
    return tuple(dict.fromkeys(claim.means for claim in CLAIMS if claim.rule == rule))
