# SPDX-License-Identifier: GPL-2.0-only
"""What `conform` asks: states, calls, attributes and buffers, as the harness reads them and as the model answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, product

from dmamigrate.model.calls import run_map, run_sync, run_unmap
from dmamigrate.model.machine import ERROR, Geometry, geometry_of
from dmamigrate.model.states import (
    BACKENDS,
    CC_SHARED,
    DIRECTIONS,
    ENCRYPTION,
    MAP_TYPES,
    MMIO,
    NO_WARN,
    PRIVILEGED,
    REQUIRE_COHERENT,
    SKIP_CPU_SYNC,
    SWIOTLB,
    State,
)
from dmamigrate.model.versions import release

Attrs = frozenset[str]
# The order is the harness' (run.c: the calls, stubs.h: the attributes).
CALLS = (
    ("dma_map_resource", "dma_unmap_resource", "core"),
    ("dma_map_phys", "dma_unmap_phys", "core"),
    ("dma_map_page_attrs", "dma_unmap_page_attrs", "core"),
    ("dma_map_sg_attrs", "dma_unmap_sg_attrs", "sg"),
    ("dma_map_sg_attrs of two", "dma_unmap_sg_attrs of two", "sg"),
    ("dma_iova_link", "dma_iova_destroy", "iova"),
    ("dma_iova_link", "dma_iova_unlink", "iova"),
    ("dma_iova_link twice", "dma_iova_destroy twice", "iova"),
    ("blk_dma_map_iter_start", "blk_rq_dma_unmap", "users"),
    ("hmm_dma_map_pfn", "hmm_dma_unmap_pfn", "users"),
)
_ORDER = (SKIP_CPU_SYNC, NO_WARN, PRIVILEGED, MMIO, REQUIRE_COHERENT, CC_SHARED)
_DIRS = {"DMA_BIDIRECTIONAL": 0, "DMA_TO_DEVICE": 1, "DMA_FROM_DEVICE": 2, "DMA_NONE": 3}
# How the harness makes an address reachable, or not: by the mask, exactly at its end, by the bus limit (run.c: one()).
_REACHED_EXACTLY, _BEYOND, _POOL_ONLY = (0, 1, 5), (2, 3, 4), (7, 8)
_NONE: Attrs = frozenset()


@dataclass(frozen=True, slots=True)
class Question:
    """One life to run: which call (an index of CALLS), in which state, with which attributes at both ends."""

    call: int
    state: State
    attrs: Attrs
    unmap_attrs: Attrs
    geometry: Geometry
    reach: int = 0
    syncs: bool = False

    def line(self) -> str:
        """The question as the harness reads it."""
        s, g = self.state, self.geometry
        fails = ("", "no iova", "map", "map 2").index(s.iommu_fails)
        kind = MAP_TYPES.index(s.map_type if s.map_type != "none" or s.memory != "p2p-page" else "host bridge")
        numbers = (
            self.call, self.call, _bits(self.attrs), _bits(self.unmap_attrs), BACKENDS.index(s.backend), kind,
            _DIRS[s.dir],
            s.coherent, SWIOTLB.index(s.swiotlb), self.reach, ENCRYPTION.index(s.cc), s.range_map, s.covered, s.debug,
            s.untrusted, s.kmalloc_bounce, ("none", "granule", "beyond").index(s.min_align), s.flush_queue, fails,
            s.has_mask, g.offset, g.size, g.granule, self.syncs,
        )  # fmt: skip
        return " ".join(str(int(number)) for number in numbers)

    def model(self, version: str) -> str:
        """What the model answers, in the harness's words: map|syncs|unmap."""
        name, end, group = CALLS[self.call]
        mapped = run_map(name, self.state, version, self.attrs, self.geometry)
        first, *rest = mapped.exact
        story = ";".join(("list" if group == "sg" else first, *rest))
        if group == "sg" and rest[-1:] == ["BUG"]:
            story = ";".join((ERROR, *rest))
        if mapped.address in (ERROR, None):
            return f"{story}||"
        given = (self.state, self.geometry)
        syncs: list[str] = []
        if self.syncs:
            for sync in ("dma_sync_single_for_cpu", "dma_sync_single_for_device"):
                syncs += run_sync(sync, given, version, mapped.address or "").exact
        undone = run_unmap(end, given, version, mapped.address or "", self.unmap_attrs).exact
        return f"{story}|{';'.join(syncs)}|{';'.join(undone)}"

    def describe(self) -> str:
        """The question in words."""
        attrs = ", ".join(sorted(self.attrs)) or "0"
        ends = "" if self.attrs == self.unmap_attrs else f", unmapped with {', '.join(sorted(self.unmap_attrs)) or '0'}"
        where = f"{self.geometry.size:#x} bytes at {self.geometry.offset:#x}, granule {self.geometry.granule:#x}"
        return f"{CALLS[self.call][0]}({attrs}){ends}: {self.state.describe()}, {where}, reach {self.reach}"


def _bits(attrs: Attrs) -> int:
    return sum(1 << place for place, name in enumerate(_ORDER) if name in attrs)


def _pairs(version: str) -> list[tuple[Attrs, Attrs]]:
    """Attributes of both ends: matching ones, and ends that differ in one."""
    same: list[tuple[str, ...]] = [(), (SKIP_CPU_SYNC,), (PRIVILEGED, NO_WARN)]
    differ: list[tuple[tuple[str, ...], tuple[str, ...]]] = [((), (SKIP_CPU_SYNC,)), ((SKIP_CPU_SYNC,), ())]
    if release(version) >= (6, 18):
        same += [(MMIO,), (MMIO, SKIP_CPU_SYNC), (REQUIRE_COHERENT,), (CC_SHARED,), (MMIO, CC_SHARED),
                 (MMIO, REQUIRE_COHERENT), (MMIO, PRIVILEGED)]  # fmt: skip
        differ += [((MMIO,), ()), ((), (MMIO,)), ((), (REQUIRE_COHERENT,)), ((), (CC_SHARED,))]
    return [(frozenset(a), frozenset(a)) for a in same] + [(frozenset(a), frozenset(b)) for a, b in differ]


def questions(version: str, groups: Sequence[str]) -> Iterator[Question]:
    """What to ask a tree of this version that has these groups of functions.

    The fields that decide between paths are crossed in full; direction, dma-debug, how an address is reached and where
    the buffer lies in its granule go round.
    """
    made = {"core": _core, "sg": _sg, "iova": _iova, "users": _users}
    for group in groups:
        yield from made[group](version)


def _directions() -> Iterator[str]:
    return cycle(DIRECTIONS)


def _direct_states(kinds: Sequence[str]) -> Iterator[tuple[State, int]]:
    """States in which nothing or a table maps, and how the address is reached."""
    turns, exactly, beyond = _directions(), cycle(_REACHED_EXACTLY), cycle(_BEYOND)
    debug, align = cycle((False, True, False)), cycle(("none", "granule", "none", "beyond"))
    wholes, pool = cycle((True, True, False)), cycle(_POOL_ONLY)
    ranges = ((False, True), (True, True), (True, False))
    for backend in (b for b in BACKENDS if b != "dma-iommu"):
        hooked = backend not in ("direct", "ops with arch direct hook", "ops bypassed")
        for kind, coherent, swiotlb, reachable in product(
            kinds, (True, False), SWIOTLB[:1] if hooked else SWIOTLB, (True, False)
        ):
            for cc, (mapped, covered), small in product(
                ENCRYPTION if backend == "direct" else ENCRYPTION[:1],
                ranges if backend == "direct" else ranges[:1],
                (False, True) if backend == "direct" else (False,),
            ):
                direction = next(turns)
                plain = cc == "none" and not mapped and backend != "ops bypassed"
                reach = next(beyond) if not reachable else next(exactly) if plain else 0
                if backend == "ops bypassed":
                    reach = (0, 6)[coherent] if reachable else (2, 4)[coherent]
                state = State(
                    backend, kind, direction, coherent, swiotlb, reachable, cc, mapped, next(debug),
                    kmalloc_bounce=small, aligned=next(wholes), covered=covered, min_align=next(align),
                )  # fmt: skip
                yield state, reach
                if not reachable and cc == "none" and backend == "direct":
                    only = next(pool)
                    yield replace(state, pool_reachable=only == 7), only


def _iommu_states(kinds: Sequence[str]) -> Iterator[State]:
    turns, debug = _directions(), cycle((False, True))
    queue = cycle((False, False, True))
    for kind, coherent, swiotlb, untrusted, small, align in product(
        kinds, (True, False), SWIOTLB, (False, True), (False, True), ("none", "granule", "beyond")
    ):
        direction = next(turns)
        for fails in ("", "", "no iova", "map"):
            yield State(
                "dma-iommu", kind, direction, coherent, swiotlb, debug=next(debug), untrusted=untrusted,
                kmalloc_bounce=small, min_align=align, flush_queue=next(queue), iommu_fails=fails,
            )  # fmt: skip


# offset and size: whole granules, a part of one, a part that ends one, head and middle, all three, head and tail, tail
_BUFFERS = (
    (0, 0x1000), (0x40, 0x80), (0, 0x80), (0, 0x180), (0x40, 0xFC0), (0x40, 0x1FC0), (0x40, 0x3000), (0x40, 0x1000), (0,
    0x2080),
)  # fmt: skip


def _geometries() -> Iterator[Geometry]:
    every = [Geometry(offset, size) for offset, size in _BUFFERS]
    return cycle([*every, Geometry(0x440, 0x80, 0x4000), Geometry(0, 0x4000, 0x4000), Geometry(0, 0x1000, 0x4000)])


def _core(version: str) -> Iterator[Question]:
    calls = [i for i, call in enumerate(CALLS) if call[2] == "core" and (i != 1 or release(version) >= (6, 18))]
    for state, reach in _direct_states(("ram", "p2p-page")):
        for call, (attrs, end) in product(calls, _pairs(version)):
            yield Question(call, state, attrs, end, geometry_of(state), reach, attrs == end)
        if state.kmalloc_bounce:  # one that is just too large to share a cache line, and one that is not
            for call, size in product(calls, (0x100, 0xFF)):
                yield Question(call, state, _NONE, _NONE, Geometry(0, size), reach)
    buffers = _geometries()
    for state in _iommu_states(("ram", "p2p-page")):
        for call, (attrs, end) in product(calls, _pairs(version)):
            yield Question(call, state, attrs, end, next(buffers), 0, attrs == end)
    for call, backend, direction, masked in product(calls, BACKENDS, ("DMA_NONE", "DMA_TO_DEVICE"), (True, False)):
        odd = State(backend, dir=direction, has_mask=masked)
        for attrs, _ in _pairs(version):
            yield Question(call, odd, attrs, attrs, geometry_of(odd))


def _types(states: Iterator[State]) -> Iterator[State]:
    """Each state with memory, then each of the P2P types."""
    for state in states:
        yield state
        for kind in MAP_TYPES[1:]:
            yield replace(state, memory="p2p-page", map_type=kind)


def _sg(version: str) -> Iterator[Question]:
    turns = cycle(_pairs(version))
    buffers = _geometries()
    for call in (3, 4):
        for state, reach in _direct_states(("ram",)):
            how = 0 if reach in (1, 5, 6) else 2 if reach in (3, 4, 7) and call == 4 else reach
            if reach == 8 and call == 4:
                continue  # the first entry of the list has a slot of its own
            for typed in _types(iter((state,))):
                for _ in range(2):
                    attrs, end = next(turns)
                    yield Question(call, typed, attrs, end, geometry_of(typed), how)
        for typed in _types(_iommu_states(("ram",))):
            for _ in range(2):
                attrs, end = next(turns)
                yield Question(call, typed, attrs, end, next(buffers))
        for backend, coherent, direction, masked in product(
            BACKENDS, (True, False), ("DMA_NONE", "DMA_TO_DEVICE"), (True, False)
        ):
            odd = State(backend, dir=direction, coherent=coherent, has_mask=masked)
            yield Question(call, odd, _NONE, _NONE, geometry_of(odd))
            if release(version) >= (6, 18):
                needs = frozenset({REQUIRE_COHERENT})
                yield Question(call, odd, needs, needs, geometry_of(odd))


def _iova(version: str) -> Iterator[Question]:
    pairs = [(a, b) for a, b in _pairs(version) if REQUIRE_COHERENT not in a or a == b]
    buffers = [Geometry(offset, size) for offset, size in _BUFFERS] + [Geometry(0x440, 0x8000, 0x4000)]
    turns = cycle(pairs)
    for state in _iommu_states(("ram", "p2p-page")):
        for call, geometry in product((5, 6, 7), buffers):
            attrs, end = next(turns)
            yield Question(call, state, attrs, end, geometry)
            if state.iommu_fails == "map":
                second = replace(state, iommu_fails="map 2")
                yield Question(call, second, attrs, end, geometry)
    for backend in BACKENDS:
        if backend != "dma-iommu":
            yield Question(5, State(backend), _NONE, _NONE, Geometry(0, 0x1000))
    for call, coherent, (attrs, end) in product((5, 6, 7), (True, False), pairs):  # nothing refuses to link this
        yield Question(call, State("dma-iommu", dir="DMA_NONE", coherent=coherent), attrs, end, Geometry(0, 0x1000))


def _users(version: str) -> Iterator[Question]:
    del version  # mm/hmm.c maps for both directions, whoever asks
    for state in _types(state for state, reach in _direct_states(("ram",)) if reach in (0, 2, 6)):
        reach = 0 if state.reachable else 2
        yield Question(8, state, _NONE, _NONE, geometry_of(state), reach)
        if not state.kmalloc_bounce and state.aligned:
            yield Question(9, replace(state, dir="DMA_BIDIRECTIONAL"), _NONE, _NONE, Geometry(0, 0x1000), reach)
    buffers = _geometries()
    for state in _types(_iommu_states(("ram",))):
        yield Question(8, state, _NONE, _NONE, next(buffers))
        if not state.kmalloc_bounce:
            yield Question(9, replace(state, dir="DMA_BIDIRECTIONAL"), _NONE, _NONE, Geometry(0, 0x1000))
