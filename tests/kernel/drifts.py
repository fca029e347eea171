# SPDX-License-Identifier: GPL-2.0-only
"""Single changes of a tree's own functions, made in memory: does `model conform` notice each?

`python -m tests.kernel.drifts [VERSION [COUNT [SEED]]]` makes COUNT of them (all, without one) and prints who noticed.
"""

from __future__ import annotations

import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dmamigrate.errors import ModelError
from dmamigrate.model import conform, extract
from tests.kernel.trees import tree

_SWAPS = {
    "&&": ("branch", "||"), "||": ("branch", "&&"), "==": ("branch", "!="), "!=": ("branch", "=="), ">=": ("branch",
    ">"),
    "<=": ("branch", "<"), " < ": ("branch", " <= "), " > ": ("branch", " >= "),
}  # fmt: skip
_OPERATOR = re.compile(r"&&|\|\||==|!=|>=|<=| < | > ")
_FLAG = re.compile(r"\s*\|\s*[A-Z][A-Z_]+\b|\b[A-Z][A-Z_]+\s*\|\s*")
_TERM = re.compile(r"(?<=[\w)]) [-+] [a-z_]+(?:\(\w+, \w+\))?\b")
_CALL = re.compile(r"\n\t+(?:[a-z_0-9]+|__[a-z_]+)\((?:[^;{}]|\n)*?\);")
_ASSIGN = re.compile(r"\n\t+[\w>.\-]+ (?:\+|-|\||&)?= [^;{}]*;")
_SIZE = re.compile(r"(?<=, )(?:size|len|bounce_len|mapped)(?=[,)])")
_TRUTH = re.compile(r"\b(?:true|false)\b")
_ATTRIBUTE = re.compile(r"\bDMA_ATTR_[A-Z_]+\b")


@dataclass(frozen=True, slots=True)
class Drift:
    """One changed function: what kind of change, where, and the whole new text."""

    function: str
    kind: str
    what: str
    text: str


def _replaced(text: str, start: int, end: int, new: str) -> str:
    return text[:start] + new + text[end:]


def _condition(text: str, at: int) -> int:
    """The end of the parenthesis that opens at `at`."""
    depth = 0
    for place in range(at, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place + 1
    raise AssertionError("an open parenthesis")


def drifts(function: extract.Function) -> Iterator[Drift]:
    """Every single change of the kinds that are made here."""
    comments = re.compile(r"/\*.*?\*/", re.DOTALL)
    text = comments.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), function.text)
    body = text.index("{")

    def made(kind: str, start: int, end: int, new: str) -> Drift:
        line = text.count("\n", 0, start) + 1
        old = " ".join(text[start:end].split())
        return Drift(
            function.name, kind, f"line {line}: {old} -> {new.strip() or 'nothing'}", _replaced(text, start, end, new)
        )

    for found in re.finditer(r"\bif \(", text):
        opened = found.end() - 1
        end = _condition(text, opened)
        yield made("branch", opened, end, f"(!{text[opened:end]})")
    for found in _OPERATOR.finditer(text, body):
        kind, new = _SWAPS[found[0]]
        yield made(kind, found.start(), found.end(), new)
    for kind, pattern in (("bit", _FLAG), ("address", _TERM)):
        for found in pattern.finditer(text, body):
            yield made(kind, found.start(), found.end(), " " if kind == "bit" else "")
    for found in _ATTRIBUTE.finditer(text, body):
        other = "DMA_ATTR_SKIP_CPU_SYNC" if found[0] != "DMA_ATTR_SKIP_CPU_SYNC" else "DMA_ATTR_PRIVILEGED"
        yield made("attribute", found.start(), found.end(), other)
    for found in _CALL.finditer(text, body):
        yield made("release or order", found.start(), found.end(), "\n\t;")
    for found in _ASSIGN.finditer(text, body):
        yield made("address", found.start(), found.end(), "\n\t;")
    for found in _SIZE.finditer(text, body):
        yield made("size", found.start(), found.end(), f"{found[0]} / 2")
    for found in _TRUTH.finditer(text, body):
        yield made("flag", found.start(), found.end(), "false" if found[0] == "true" else "true")


# What no state of the harness can show, and why.
EXPLAINED: dict[tuple[str, str], str] = {
    (
        "iommu_dma_sync_single_for_device",
        "size -> size / 2",
    ): "equal: the size matters to a device that is not coherent alone",
    (
        "iommu_dma_sync_single_for_cpu",
        "size -> size / 2",
    ): "equal: the size matters to a device that is not coherent alone",
    ("__finalise_sg", "- cur_len -> nothing"): "no list comes near the longest segment that a device takes",
    ("iommu_dma_map_sg", "iova_len += pad_len; -> ;"): "no list crosses a segment boundary of 4 GB",
    ("iommu_dma_map_sg", "< -> <="): "equal: no mapping of a list has length 0",
    ("dma_map_sgtable", "< -> <="): "equal: without entries there is nothing to count",
    ("dma_iova_try_alloc", "false -> true"): "an attach that was deferred and then fails is no state",
    ("translate_phys_to_dma", "< -> <="): "no buffer begins right behind a range",
    ("hmm_dma_map_pfn", "+ offset -> nothing"): "only the first entry is asked about, at offset 0",
    ("iommu_dma_map_phys", "DMA_ATTR_MMIO | -> nothing"): "equal: what is not in the pool is not released",
    (
        "blk_dma_map_iter_start",
        "memset(&iter->p2pdma, 0, sizeof(iter->p2pdma)); -> ;",
    ): "equal: a type is written before it is read",
    ("blk_dma_map_iter_start", "false -> true"): "a request without a segment is not asked about",
    ("blk_dma_map_iter_start", "iter->p2pdma.map = PCI_P2PDMA_MAP_NONE; -> ;"): "equal: an unknown type is none",
    ("blk_rq_dma_map_iova", "mapped -> mapped / 2"): "of one segment nothing is linked where a link fails",
    ("dma_get_mask", "&& -> ||"): "a device whose mask is 0 is no state",
    ("dma_capable", "< -> <="): "equal: asked of bus addresses of 32 bits alone",
    ("dma_capable", "false -> true"): "equal: asked of bus addresses of 32 bits alone",
    ("dma_direct_map_phys", "false -> true"): "equal: what is RAM is asked of bus addresses of 32 bits alone",
    ("dma_direct_map_phys", "true -> false"): "equal: what is RAM is asked of bus addresses of 32 bits alone",
    ("swiotlb_map", "true -> false"): "equal: what is RAM is asked of bus addresses of 32 bits alone",
    ("dma_kmalloc_safe", "true -> false"): "equal: asked of a configuration that bounces no small buffers",
    ("swiotlb_map", "size -> size / 2"): "equal: the size in the text of a message",
    (
        "__dma_map_sg_attrs",
        "trace_dma_map_sg_err(dev, sg, nents, ents, dir, attrs); -> ;",
    ): "told of errors that no table returns",
    ("dma_iova_unlink", "iommu_iotlb_gather_init(&iotlb_gather); -> ;"): "memory that nobody wrote may hold the same",
    ("__iommu_dma_unmap", "iommu_iotlb_gather_init(&iotlb_gather); -> ;"): "memory that nobody wrote may hold the same",
    (
        "hmm_dma_map_pfn",
        "dma_iova_unlink(dev, state, offset, map->dma_entry_size, DMA_BIDIRECTIONAL, attrs); -> ;",
    ): "a sync that fails after its link is no state",
    (
        "dma_need_unmap",
        "(!dma_map_direct(dev, get_dma_ops(dev))) -> (!(!dma_map_direct(dev, get_dma_ops(dev))))",
    ): "a device that skips every sync is no state, and any other needs its unmaps",
    ("iommu_dma_iova_bounce_and_link", "bounce_len -> bounce_len / 2"): "equal: half a piece is rounded up to the same",
    ("__finalise_sg", "+ s_iova_off -> nothing"): "no first entry begins inside of a granule",
    ("iommu_dma_map_sg", "ret = -EOVERFLOW; -> ;"): "no list crosses a segment boundary of 4 GB",
    (
        "iommu_dma_sync_sg_for_device",
        "for_each_sg(sgl, sg, nelems, i) iommu_dma_sync_single_for_device(dev, sg_dma_address(sg), sg->length, dir); "
        "-> ;",
    ): "the list calls of dma_sync_sg_*() are not asked about",
}


def _change(drift: Drift) -> str:
    """What was done, without the line, which another point release has elsewhere."""
    return drift.what.partition(": ")[2]


class Judge:
    """The model's answers for a tree, worked out once, against which changed functions are held."""

    def __init__(self, version: str, every: int = 1) -> None:
        self.root = tree(version)
        self.plan = extract.plan_for(version)
        self.functions = extract.extract(self.root, self.plan)
        with tempfile.TemporaryDirectory() as folder:
            harness = conform.build(self.root, self.plan, conform.Wish(), Path(folder))
            self.asked = harness.asks(every)
            self.expected = [question.model(self.plan) for question in self.asked]
            assert conform.answers(harness, self.asked)[1:] == self.expected, "the unchanged tree agrees"

    def fate(self, drift: Drift) -> str:
        """Noticed, missed, explained, or no C any more."""
        wish = conform.Wish(changed={drift.function: drift.text}, seconds=8)
        with tempfile.TemporaryDirectory() as folder:
            try:
                harness = conform.build(self.root, self.plan, wish, Path(folder))
            except ModelError:
                return "does not compile"
            try:
                given = conform.answers(harness, self.asked)[1:]
            except ModelError:
                return "noticed"
        if given != self.expected:
            return "noticed"
        return "explained" if (drift.function, _change(drift)) in EXPLAINED else "missed"

    def some(self, count: int, seed: int) -> list[Drift]:
        """`count` drifts, all if that is 0; the same seed gives the same."""
        every = [drift for function in self.functions for drift in drifts(function)]
        return every if not count else random.Random(seed).sample(every, min(count, len(every)))


def main() -> None:
    """Print each drift's fate, and how many there are of each."""
    version, count, seed = (*sys.argv[1:], "7.3", "0", "1")[:3] if len(sys.argv) < 2 else (*sys.argv[1:], "0", "1")[:3]
    judge = Judge(version)
    fates: Counter[str] = Counter()
    kinds: Counter[tuple[str, str]] = Counter()
    for drift in judge.some(int(count), int(seed)):
        fate = judge.fate(drift)
        fates[fate] += 1
        kinds[drift.kind, fate] += 1
        if fate in ("missed", "explained"):
            print(
                f"{fate}: {drift.function}() {drift.kind}, {drift.what} "
                f"{EXPLAINED.get((drift.function, _change(drift)), '')}",
                flush=True,
            )
    print(dict(fates))
    for (kind, fate), number in sorted(kinds.items()):
        print(f"  {kind:18} {fate:18} {number}")


if __name__ == "__main__":
    main()
