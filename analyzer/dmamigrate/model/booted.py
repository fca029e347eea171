# SPDX-License-Identifier: GPL-2.0-only
"""What a booted kernel answered, outcome by outcome against the model, and what went wrong in it where rules say so."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dmamigrate.model.boot import Configuration, Log
from dmamigrate.model.calls import run_map, run_sync, run_unmap
from dmamigrate.model.claims import CLAIMS, Claim
from dmamigrate.model.debug import DIFFERENT_ATTRIBUTES, RAM_AS_MMIO, reports
from dmamigrate.model.machine import ERROR, Attrs
from dmamigrate.model.states import ATTR_BITS, State, impossible

_UNMAP_OF = {
    "dma_map_resource": "dma_unmap_resource", "dma_map_phys": "dma_unmap_phys",
    "dma_map_page_attrs": "dma_unmap_page_attrs",
    "dma_iova_link": "dma_iova_destroy", "dma_map_sg_attrs": "dma_unmap_sg_attrs",
}  # fmt: skip
_MAP_TYPES = {"2": "not supported", "3": "bus address", "4": "host bridge"}
# what no probe sees: what KMSAN is told, and what a table makes of MMIO
_UNSEEN = frozenset({"kmsan", "table maps it as memory"})


@dataclass(frozen=True, slots=True)
class Answer:
    """One life in the running kernel, in the model's words; `left` says that it was still mapped after its unmap."""

    state: State
    life: tuple[str, Attrs, str, Attrs]
    address: str
    mapped: tuple[str, ...]
    undone: tuple[str, ...]
    said: tuple[str, ...]
    left: bool
    synced: tuple[str, ...] | None

    def describe(self) -> str:
        """The answer in words."""
        sync = "" if self.synced is None else f"; synced: {', '.join(self.synced) or 'nothing'}"
        left = "; still mapped" if self.left else ""
        said = f"; dma-debug: {', '.join(self.said)}" if self.said else ""
        return (
            f"returns {self.address}; {', '.join(self.mapped) or 'no effect'}{sync}; "
            f"unmap: {', '.join(self.undone) or 'no effect'}{left}{said}"
        )


def _attrs(text: str) -> Attrs:
    bits = int(text, 16)
    return frozenset(name for name, bit in ATTR_BITS.items() if bits >> bit & 1)


def _effects(text: str) -> tuple[str, ...]:
    return tuple(text.split(";")) if text else ()


def _answer(fields: list[str], configuration: Configuration, p2p: str) -> Answer:
    (_, _, backend, memory, direction, coherent, reachable, small, ranges, untrusted, aligned, call, end, attrs, at_end,
     address, mapped, undone, said, left, synced) = fields  # fmt: skip
    state = State(
        backend, memory, direction, coherent == "1", configuration.swiotlb, reachable == "1", range_map=ranges != "0",
        debug=True, untrusted=untrusted == "1", kmalloc_bounce=small == "1", aligned=aligned == "1",
        covered=ranges != "2",
        min_align=configuration.min_align, map_type=p2p if memory == "p2p-page" else "none",
    )  # fmt: skip
    life = (call, _attrs(attrs), _UNMAP_OF[end], _attrs(at_end))
    reported = tuple(
        next((known for known in (RAM_AS_MMIO, DIFFERENT_ATTRIBUTES) if known in text), text) for text in _effects(said)
    )
    syncs = _effects(synced.removeprefix("synced:")) if synced.startswith("synced:") else None
    return Answer(state, life, address, _effects(mapped), _effects(undone), reported, left != "", syncs)


def expected(answer: Answer, version: str) -> Answer:
    """What the model says of the same life."""
    call, attrs, end, end_attrs = answer.life
    mapped = run_map(call, answer.state, version, attrs)
    address = mapped.address or ""
    seen = tuple(one for one in mapped.effects if one not in _UNSEEN)
    if address == ERROR:
        return Answer(answer.state, answer.life, address, seen, (), (), False, None)
    syncs = None
    if answer.synced is not None:
        calls = ("dma_sync_single_for_cpu", "dma_sync_single_for_device")
        syncs = tuple(one for sync in calls for one in run_sync(sync, answer.state, version, address).effects)
    undone = run_unmap(end, answer.state, version, address, end_attrs).effects
    left = any(one.startswith("iommu_map ") for one in seen) and "iommu_unmap" not in undone
    said = reports(answer.life, answer.state, version)
    return Answer(answer.state, answer.life, address, seen, undone, said, left, syncs)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One boot against the model: outcomes by call, what differs (the kernel's and the model's), what was left out and
    why.

    `once` counts messages that a kernel prints once a boot, and that were not there again; `occurs` are reasons why a
    state cannot occur that this kernel contradicts.
    """

    log: Log
    compared: Counter[str]
    differ: tuple[tuple[Answer, Answer], ...]
    left_out: Counter[str]
    once: int
    occurs: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether nothing differs."""
        return not self.differ and not self.occurs


def _said_once(kernel: Answer, model: Answer) -> bool:
    """dev_warn_once() of inactive bounce buffers: what kernel/panic.c: clear_warn_once_set() does not bring back."""
    return (kernel.address, kernel.mapped, model.address, model.mapped) == (ERROR, (), ERROR, ("warn",)) and (
        kernel.state.backend == "dma-iommu"
    )


# The buffers of which a boot says whether they have to bounce, in its order.
_SMALL = tuple(
    State(dir=direction, coherent=coherent, kmalloc_bounce=True)
    for coherent, direction in ((True, "DMA_FROM_DEVICE"), (False, "DMA_TO_DEVICE"), (False, "DMA_FROM_DEVICE"))
)


def _occurs(log: Log) -> tuple[str, ...]:
    """The reasons against a bounce of a small buffer that this kernel contradicts: it says that such a one bounces."""
    said = re.search(r"K\t\S+\t([01]{3})", log.text)
    bounce = [state for state, bit in zip(_SMALL, said[1] if said else "", strict=False) if bit == "1"]
    reasons = (impossible(replace(state, swiotlb=log.configuration.swiotlb)) for state in bounce)
    return tuple(reason for reason in reasons if reason is not None)


def compare(log: Log, version: str) -> Comparison:
    """Every outcome of a boot against the model of `version`."""
    p2p = "none"
    compared: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    differ: list[tuple[Answer, Answer]] = []
    once = 0
    for line in log.text.splitlines():
        at = line.find("T\t")
        if at >= 0 and line.count("\t") == 2:
            p2p = _MAP_TYPES.get(line[at:].split("\t")[2].strip(), "none")
        at = line.find("R\t")
        fields = line[at:].rstrip("\r").split("\t") if at >= 0 else []
        if len(fields) != 21:
            continue
        kernel = _answer(fields, log.configuration, p2p)
        why = impossible(kernel.state)
        if why is not None:
            left_out[why] += 1
            continue
        model = expected(kernel, version)
        compared[kernel.life[0]] += 1
        if _said_once(kernel, model):
            once += 1
        elif kernel != model:
            differ.append((kernel, model))
    return Comparison(log, compared, tuple(differ), left_out, once, _occurs(log))


@dataclass(frozen=True, slots=True)
class Shown:
    """A claim of a rule and what a boot showed of it: the log lines of the wrong life and of its rewrite."""

    claim: Claim
    wrong: str
    right: str

    @property
    def holds(self) -> bool:
        """Whether the sign is in one of the two and not in the other."""
        in_wrong, in_right = self.claim.sign in self.wrong, self.claim.sign in self.right
        return bool(self.wrong and self.right) and in_right == self.claim.missing and in_wrong != self.claim.missing


def _life(log: Log, rule: str, which: str) -> str:
    """The log's line of a life, without who said it."""
    for line in log.text.splitlines():
        fields = line[max(line.find("L\t"), 0) :].rstrip("\r").split("\t")
        if len(fields) == 12 and fields[2:4] == [rule, which]:
            return "; ".join(field.strip() for field in fields[4:] if field.strip())
    return ""


def _crash(log: Log) -> str:
    """How a machine ended that was asked to bounce a BAR that nothing maps."""
    at = log.text.find("C|")
    oops = re.search(r"Oops[^\r\n]*", log.text[at:]) if at >= 0 else None
    return f"dma_map_phys(0) of a BAR beyond the mask; {oops[0]}" if oops else ""


def shown(logs: Sequence[Log]) -> list[Shown]:
    """What these boots show of the claims that their machines can show."""
    by_name = {log.configuration.name: log for log in logs}
    found: list[Shown] = []
    for claim in CLAIMS:
        log = by_name.get(claim.machine)
        if log is not None:
            wrong = _crash(log) if log.configuration.crash else _life(log, claim.rule, "wrong")
            found.append(Shown(claim, wrong, _life(log, claim.rule, "right")))
    return found


def claims_report(found: Sequence[Shown]) -> str:
    """The claims with the log of each wrong life and its rewrite, as text."""
    lines: list[str] = []
    for one in found:
        lines.append(f"{'ok  ' if one.holds else 'FAIL'}  {one.claim.rule} on {one.claim.machine}: {one.claim.means}")
        lines += [f"        wrong: {one.wrong or 'not there'}", f"        right: {one.right or 'not there'}"]
    lines.append(f"{sum(one.holds for one in found)} of {len(found)} claims shown")
    return "\n".join(lines) + "\n"


def report(results: Sequence[Comparison], show: int = 3) -> str:
    """What the boots found, as text."""
    lines: list[str] = []
    for one in results:
        calls = ", ".join(f"{call} {count}" for call, count in one.compared.items())
        lines.append(
            f"{one.log.configuration.name}: {sum(one.compared.values())} outcomes compared in {one.log.seconds:.0f} s, "
            f"{len(one.differ)} disagreements ({calls})"
        )
        lines += [f"  left out {count}: {why}" for why, count in one.left_out.items()]
        lines += [f"  and yet in this kernel a small buffer bounces: {why}" for why in one.occurs]
        lines += [f"  {one.once} messages that a kernel prints once a boot"] if one.once else []
        for kernel, model in one.differ[:show]:
            call, attrs, end, end_attrs = kernel.life
            names = (", ".join(sorted(attrs)) or "0", ", ".join(sorted(end_attrs)) or "0")
            lines.append(f"  {call}({names[0]}), {end}({names[1]}): {kernel.state.describe()}")
            lines += [f"    kernel: {kernel.describe()}", f"    model:  {model.describe()}"]
    total = sum(sum(one.compared.values()) for one in results)
    lines.append(f"{total} outcomes, {sum(len(one.differ) for one in results)} disagreements")
    return "\n".join(lines) + "\n"
