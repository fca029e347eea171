# SPDX-License-Identifier: GPL-2.0-only
"""What a patch says of itself: subject, what and why in sentences, and below the `---` the places that a maintainer can
check.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dmamigrate.findings import Finding, Kind
from dmamigrate.patch.change import Change

_WIDTH = 72
_P2P = "p2p-missing-mmio"
_HANDLE = "unmap-wrong-handle"
_RENAMED = "renamed-dma-internal"
_PAGES = "page-to-phys"
CALLBACKS = "legacy-dma-ops"
_TOLD = (_P2P, _HANDLE, _RENAMED, _PAGES, CALLBACKS)
_STEPS = 12
_NAMES = {
    Kind.PCI_BAR: "a PCI BAR",
    Kind.MMIO: "device memory",
    Kind.P2P: "P2P memory",
    Kind.PFNMAP: "memory without struct pages",
}


@dataclass(frozen=True, slots=True)
class About:
    """What a text has to know beside the change: the API version, who says so, and whether the driver is built on older
    kernels.
    """

    target: str
    tool: str
    older: bool = False


def migrates(finding: Finding) -> bool:
    """Whether the rewrite replaces dma_map_resource(); else it adds the attribute to dma_map_phys()."""
    return finding.callee == "dma_map_resource"


def subject(prefix: str, change: Change) -> str:
    """The subject without [PATCH], in the imperative."""
    if any(migrates(f) for f in change.findings):
        return f"{prefix}: Use dma_map_phys() instead of dma_map_resource()"
    if all(f.rule == _P2P for f in change.findings):
        return f"{prefix}: Pass DMA_ATTR_MMIO for P2P through the host bridge"
    if all(f.rule == _HANDLE for f in change.findings):
        return f"{prefix}: Unmap the DMA address, not the physical one"
    if any(f.rule == CALLBACKS for f in change.findings):
        return f"{prefix}: Map physical addresses in struct dma_map_ops"
    if all(f.rule == _PAGES for f in change.findings):
        return f"{prefix}: Map system memory by its physical address"
    if all(f.rule == _RENAMED for f in change.findings):
        return f"{prefix}: Follow renamed internals of the DMA layer"
    if not any(map(_adds_mmio, change.findings)):
        return f"{prefix}: Rewrite {change.findings[0].callee}() by {change.findings[0].rule}"
    return f"{prefix}: Map device memory with DMA_ATTR_MMIO"


def _adds_mmio(finding: Finding) -> bool:
    """Whether the rewrite is about device memory: a rule of somebody's own may be about anything."""
    return any("DMA_ATTR_MMIO" in edit.text for edit in finding.rewrite.edits)


def calls(findings: Iterable[Finding]) -> list[Finding]:
    """One finding for each map call, whatever number of rules is about it."""
    return list({(f.span.path, f.span.start): f for f in reversed(list(findings))}.values())[::-1]


def body(change: Change, about: About) -> str:
    """The text between subject and `---`, wrapped for mail."""
    mapped = calls(change.findings)
    parts = [*_what(mapped, about), " ".join(_maps(finding) for finding in mapped), _why(mapped, about)]
    return "\n\n".join(wrapped(part) for part in parts)


def wrapped(text: str) -> str:
    """A paragraph as mail has it."""
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _what(mapped: list[Finding], about: About) -> Iterator[str]:
    moved = [finding for finding in mapped if migrates(finding)]
    ends = ", and dma_unmap_phys() with the same attribute where the mapping ends" if any(map(_ends, moved)) else ""
    if moved and about.older:
        yield (
            "Since v6.18 dma_map_phys() with DMA_ATTR_MMIO is what maps device memory; dma_map_resource() is a"
            f" wrapper around it. Call it directly{ends}."
        )
        yield (
            "Older kernels have neither the function nor the attribute. For those, where the headers define no"
            " DMA_ATTR_MMIO, add dma_map_phys() and dma_unmap_phys() on top of dma_map_resource(), so that the driver"
            " is built on them as before."
        )
    elif moved:
        yield (
            "Since v6.18 the DMA mapping API works on physical addresses, and dma_map_resource() is a wrapper that"
            f" calls dma_map_phys() with DMA_ATTR_MMIO. Call that directly{ends}."
        )
    if any(finding.rule == _P2P for finding in mapped):
        yield (
            "A P2P transfer through the host bridge is mapped by its physical address, and that is device memory:"
            " without DMA_ATTR_MMIO an IOMMU maps it as cacheable, and caches are maintained or buffers bounced over"
            " it. Pass the attribute where the map type says so."
        )
    if any(finding.rule == _HANDLE for finding in mapped):
        yield "An unmap takes the DMA address that the map returned: the physical one ends another mapping, or none."
    if any(finding.rule == _RENAMED for finding in mapped):
        yield (
            "The series that made physical addresses the DMA layer's currency renamed functions below its API."
            " Follow it."
        )
    if any(finding.rule == CALLBACKS for finding in mapped):
        yield (
            "Since v6.19 struct dma_map_ops has .map_phys and .unmap_phys in place of .map_page, .unmap_page,"
            " .map_resource and .unmap_resource: a backend maps physical addresses, and DMA_ATTR_MMIO tells which of"
            " them are device memory. What only ever mapped pages refuses those, as the missing callback did."
        )
    if any(finding.rule == _PAGES for finding in mapped):
        yield (
            "Since v6.18 the DMA mapping API works on physical addresses: dma_map_page() and dma_map_single() compute"
            " one and call dma_map_phys(). Do that here. The memory is system memory on every way that was followed,"
            " so that the mapping needs no attribute."
        )
    if any(not migrates(f) and f.rule not in _TOLD and _adds_mmio(f) for f in mapped):
        yield (
            "dma_map_phys() takes an address for system memory unless it is told otherwise: an IOMMU then maps device"
            " memory as cacheable, and caches are maintained or buffers bounced over it. Pass DMA_ATTR_MMIO when"
            " mapping and unmapping."
        )


def _ends(finding: Finding) -> bool:
    """Whether an unmap is rewritten with the map."""
    return any(partner.role == "unmap" for partner in finding.partners)


def _maps(finding: Finding) -> str:
    """What one call maps, or does wrongly, in a sentence."""
    if finding.rule == _P2P:
        return f"{finding.function}() reaches {finding.callee}() without it."
    if finding.rule == CALLBACKS:
        return f"{finding.function} sets .{finding.callee}."
    if finding.rule == _RENAMED:
        return f"{finding.message}."
    if finding.rule == _PAGES:
        return f"{finding.function}() maps it with {finding.callee}()."
    if finding.rule not in _TOLD and not migrates(finding) and not _adds_mmio(finding):
        return f"{finding.function}() calls {finding.callee}(): {finding.message}."
    if finding.rule == _HANDLE:
        return f"{finding.function}() gives {finding.callee}() the physical address."
    kinds = finding.origin.kinds if finding.origin is not None else ()
    branches = finding.origin.branches if finding.origin is not None else ()
    names = [_NAMES[kind] for kind in kinds if kind in _NAMES]
    known = next((branch for branch in branches if branch.kind in _NAMES), branches[0] if branches else None)
    address = known.steps[0].text if known is not None and known.steps else "an address"
    source = known.steps[-1].text if known is not None and known.steps else address
    comes = "" if source == address else f", which comes from {source}"
    if names and finding.origin is not None and Kind.UNKNOWN not in kinds:
        return f"{finding.function}() maps {address}, {' or '.join(names)}{comes}."
    contract = (
        "dma_map_resource() is for device memory only"
        if migrates(finding)
        else "its callers say that it is device memory"
    )
    doubt = (
        f"{' or '.join(names)} where it could be followed" if names else "whose origin could not be followed to the end"
    )
    return f"{finding.function}() maps {address}, {doubt}{comes}; {contract}."


def _why(mapped: list[Finding], about: About) -> str:
    verdicts = [f.verdict for f in mapped]
    if any(v.status != "proved" for v in verdicts):
        return f"Not verified: {next(v.reason for v in verdicts if v.status != 'proved')}."
    compared = (
        f"{about.tool} ran the old and the new calls in its model of the v{about.target} DMA API, for direct mapping,"
        " IOMMUs, bounce buffers and memory encryption"
    )
    again = "`dmamigrate review` of this commit repeats that."
    if not any(v.refined for v in verdicts):
        return f"No functional change: {compared}, and they do the same. {again}"
    return f"{compared}. They do the same but where the old ones treated device memory as system memory. {again}"


def notes(change: Change) -> str:
    """The places that the text speaks of, for below the `---`: they are true of this tree only."""
    return "\n\n".join("\n".join(_places(finding)) for finding in calls(change.findings))


def _places(finding: Finding) -> Iterator[str]:
    yield f"{finding.span.path}:{finding.span.line}: {finding.callee}() in {finding.function}()"
    ways: dict[tuple[tuple[str, int, str], ...], list[str]] = {}
    for branch in finding.origin.branches if finding.origin is not None else ():
        steps = tuple(dict.fromkeys((step.path, step.line, step.text) for step in branch.steps))
        ways.setdefault(steps, []).append(_NAMES.get(branch.kind, str(branch.kind)))
    for steps, names in ways.items():
        yield f"  {' or '.join(names)}:"
        for step in _shown(steps):
            yield (
                f"    {step[0]}:{step[1]}: {step[2]}" if step is not None else f"    ... {len(steps) - _STEPS} more ..."
            )
    for partner in finding.partners:
        if partner.role == "unmap":
            yield f"  unmap: {partner.span.path}:{partner.span.line}: {partner.callee}() in {partner.function}()"


def _shown(steps: tuple[tuple[str, int, str], ...]) -> list[tuple[str, int, str] | None]:
    return [*steps] if len(steps) <= _STEPS else [*steps[: _STEPS - 1], None, steps[-1]]


def cover(subjects: list[str], counts: list[int], left: list[str], about: About) -> tuple[str, str]:
    """The subject and the text of a cover letter: how many calls each patch moves, and what is left out and why."""
    prefixes = {line.split(": ")[0] for line in subjects}
    prefix = prefixes.pop() if len(prefixes) == 1 else "treewide"
    paragraphs = [
        wrapped(
            "Since v6.18 the DMA mapping API works on physical addresses, and device memory is mapped by"
            " dma_map_phys() with DMA_ATTR_MMIO. This series moves the drivers whose mappings could be followed from"
            " map to unmap. Each patch stands on its own."
        ),
        "Calls that each patch moves:\n\n"
        + "\n".join(f"  {count:2} {line}" for line, count in zip(subjects, counts, strict=True)),
    ]
    if left:
        paragraphs.append(
            "Found and not in this series:\n\n"
            + "\n".join(
                textwrap.fill(line, _WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False)
                for line in left
            )
        )
    paragraphs.append(
        wrapped(
            f"Made by {about.tool} for the API of v{about.target}; `dmamigrate review` of a patch repeats its checks."
        )
    )
    return f"{prefix}: Use dma_map_phys() for device memory", "\n\n".join(paragraphs)
