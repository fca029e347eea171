# SPDX-License-Identifier: GPL-2.0-only
"""What a patch says of itself: subject, what and why, and the evidence that a maintainer can check."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from dmamigrate.findings import Finding, Kind
from dmamigrate.patch.change import Change

_WIDTH = 72
_NAMES = {
    Kind.PCI_BAR: "a PCI BAR",
    Kind.MMIO: "device memory",
    Kind.P2P: "P2P memory",
    Kind.PFNMAP: "memory without struct pages",
}


def migrates(finding: Finding) -> bool:
    """Whether the rewrite replaces dma_map_resource(); else it adds the attribute to dma_map_phys()."""
    return finding.callee == "dma_map_resource"


def subject(prefix: str, change: Change) -> str:
    """The subject without [PATCH], in the imperative."""
    if any(migrates(f) for f in change.findings):
        return f"{prefix}: Use dma_map_phys() instead of dma_map_resource()"
    return f"{prefix}: Map device memory with DMA_ATTR_MMIO"


def _ends(finding: Finding) -> bool:
    """Whether an unmap is rewritten with the map."""
    return any(partner.role == "unmap" for partner in finding.partners)


def _calls(findings: Iterable[Finding]) -> list[Finding]:
    """One finding for each map call."""
    return list({(f.span.path, f.span.start): f for f in findings}.values())


def body(change: Change, target: str) -> str:
    """The text between subject and `---`, wrapped for mail."""
    calls = _calls(change.findings)
    parts: list[str] = []
    if any(map(migrates, calls)):
        parts.append(
            "Since v6.18 physical addresses are what the DMA mapping API works on, and dma_map_resource() is a wrapper: it calls"
            " dma_map_phys() with DMA_ATTR_MMIO. Call that directly"
            + (
                ", and dma_unmap_phys() with the same attribute where the mapping ends."
                if any(map(_ends, calls))
                else "."
            )
        )
    if not all(map(migrates, calls)):
        parts.append(
            "dma_map_phys() takes an address for system memory unless it is told otherwise: an IOMMU then maps device memory as"
            " cacheable, and caches are maintained or buffers bounced over it. Pass DMA_ATTR_MMIO when mapping and unmapping."
        )
    wrapped = [textwrap.fill(part, _WIDTH) for part in parts]
    for finding in calls:
        wrapped.append("\n".join(_origin(finding)))
    wrapped.append(textwrap.fill(_proof(calls, target), _WIDTH))
    return "\n\n".join(wrapped)


def _origin(finding: Finding) -> Iterator[str]:
    """Where the address of one call comes from."""
    branches = finding.origin.branches if finding.origin is not None else ()
    steps = tuple(dict.fromkeys(step for branch in branches for step in branch.steps))
    names = [_NAMES[kind] for kind in (finding.origin.kinds if finding.origin is not None else ()) if kind in _NAMES]
    if not names:
        yield from textwrap.wrap(
            f"{finding.function}() maps {steps[0].text if steps else 'an address'}, whose origin could not be followed to the end;"
            " what is mapped is device memory by the call's own contract.",
            _WIDTH,
        )
        return
    doubt = "" if finding.origin is not None and finding.origin.certain else ", as far as it could be followed"
    yield from textwrap.wrap(f"{finding.function}() maps {' or '.join(names)}{doubt}:", _WIDTH)
    yield ""
    shown = steps if len(steps) <= 6 else (*steps[:3], *steps[-3:])
    for step in shown:
        yield f"  {step.path}:{step.line}: {step.note if step is not steps[0] else 'the address of ' + finding.callee + '()'}"


def _proof(findings: list[Finding], target: str) -> str:
    verdicts = [f.verdict for f in findings]
    if any(v.status != "proved" for v in verdicts):
        return f"Not verified: {next(v.reason for v in verdicts if v.status != 'proved')}."
    states, better = sum(v.states for v in verdicts), sum(v.refined for v in verdicts)
    where = f"in all {states} states (backend, coherence, bounce buffering, masks, memory encryption) that such an address allows"
    if not better:
        return f"No functional change: by a model of the DMA API of v{target}, the calls have the same outcome {where}."
    return (
        f"By a model of the DMA API of v{target}, {where}, the outcome is the same in {states - better} and better in {better}:"
        " there the old calls broke a rule for device memory."
    )
