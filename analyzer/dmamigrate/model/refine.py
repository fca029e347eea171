# SPDX-License-Identifier: GPL-2.0-only
"""Before against after, in every state that the origin allows: proved, refuted with the plainest counterexample, unknown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from dmamigrate.errors import ModelError
from dmamigrate.findings import Kind, Verdict
from dmamigrate.model.dma_api import MAPS, UNMAPS, run_map, run_unmap
from dmamigrate.model.machine import ERROR, Outcome
from dmamigrate.model.states import (
    DEVICE_MEMORY,
    DIRECTIONS,
    MEMORY_OF,
    MMIO,
    READ_ATTRS,
    SKIP_CPU_SYNC,
    WITHOUT_PAGE,
    State,
    relevant,
)
from dmamigrate.model.versions import release
from dmamigrate.rules import Template


@dataclass(frozen=True, slots=True)
class LifeCalls:
    """A life as calls: map and unmap by name (None without an unmap), and the attributes of each."""

    map: str
    map_attrs: frozenset[str]
    unmap: str | None
    unmap_attrs: frozenset[str]


@dataclass(frozen=True, slots=True)
class LifeOutcome:
    """What a life did in one state."""

    map: Outcome
    unmap: Outcome | None

    def describe(self) -> str:
        """The outcome in words."""
        unmap = f"; unmap: {self.unmap.describe()}" if self.unmap is not None else ""
        return f"{self.map.describe()}{unmap}"


def run(life: LifeCalls, state: State, version: str) -> LifeOutcome:
    """Map, check, and unmap what was mapped."""
    # no call can tell kinds of memory without a page apart
    return _run(life, replace(state, memory="mmio") if state.memory in WITHOUT_PAGE - {"mmio"} else state, version)


@lru_cache(maxsize=65536)
def _run(life: LifeCalls, state: State, version: str) -> LifeOutcome:
    mapped = run_map(life.map, state, version, life.map_attrs)
    if life.unmap is None or mapped.address in (ERROR, None):
        return LifeOutcome(mapped, None)
    return LifeOutcome(mapped, run_unmap(life.unmap, state, version, mapped.address, life.unmap_attrs))


# ---- properties: each answers whether a life breaks it; of the state they see only memory and coherence


def _device(state: State) -> bool:
    return state.memory in DEVICE_MEMORY


def _effects(life: LifeOutcome) -> tuple[str, ...]:
    return life.map.effects + (life.unmap.effects if life.unmap is not None else ())


def _cache_on_mmio(state: State, life: LifeOutcome) -> bool:
    return _device(state) and any(effect in ("cache for device P", "cache for CPU P") for effect in _effects(life))


def _bounce_of_mmio(state: State, life: LifeOutcome) -> bool:
    return _device(state) and "bounce P" in _effects(life)


def _cacheable_iommu(state: State, life: LifeOutcome) -> bool:
    maps = [effect for effect in life.map.effects if effect.startswith("iommu_map P")]
    return _device(state) and any("CACHE" in effect or "MMIO" not in effect for effect in maps)


def _touches_missing_page(state: State, life: LifeOutcome) -> bool:
    return state.memory in WITHOUT_PAGE | DEVICE_MEMORY and "kmsan" in life.map.effects


def _encrypted_mmio(state: State, life: LifeOutcome) -> bool:
    return _device(state) and "+enc" in (life.map.address or "")


def _refused_for_its_page(state: State, life: LifeOutcome) -> bool:
    return _device(state) and "warn of its page" in life.map.effects


def _cache_missing_on_memory(state: State, life: LifeOutcome) -> bool:
    if _device(state) or state.coherent or life.map.address == ERROR or life.map.address in ("OPS", "BUS"):
        return False
    return not any(effect.startswith("cache for device") for effect in life.map.effects)


def _unmap_incomplete(state: State, life: LifeOutcome) -> bool:
    """Whether the unmap leaves behind what the map did, or does cache maintenance that the map did not."""
    del state
    if life.unmap is None:
        return False
    done, undone = life.map.effects, life.unmap.effects
    if any(e.startswith("iommu_map") for e in done) != ("iommu_unmap" in undone):
        return True
    if ("bounce P" in done) != any(e.startswith("release bounce") for e in undone):
        return True
    if any(e.startswith("cache for device") for e in done) != any(e.startswith("cache for CPU") for e in undone):
        return True
    mapped = [e for e in done if e.startswith("ops map_")]
    ended = [e for e in undone if e.startswith("ops unmap_")]
    return [e.replace("ops map_", "") for e in mapped] != [e.replace("ops unmap_", "") for e in ended]


Property = Callable[[State, LifeOutcome], bool]

PROPERTIES: tuple[tuple[str, Property], ...] = (
    ("no CPU cache maintenance on MMIO", _cache_on_mmio),
    ("no bounce of MMIO", _bounce_of_mmio),
    ("IOMMU_MMIO and never IOMMU_CACHE for MMIO", _cacheable_iommu),
    ("no look at the contents of MMIO, or of a page that is not there", _touches_missing_page),
    ("no encryption bit in the address of MMIO", _encrypted_mmio),
    ("no refusal because a page exists", _refused_for_its_page),
    ("cache maintenance for memory that is not coherent", _cache_missing_on_memory),
    ("unmap undoes exactly what map did", _unmap_incomplete),
)

FAMILY = {name: name.removeprefix("dma_").removeprefix("un").removeprefix("map_") for name in (*MAPS, *UNMAPS)} | {
    "dma_iova_link": "iova", "dma_iova_unlink": "iova", "dma_iova_destroy": "iova",
}  # fmt: skip
UNPAIRED = "the unmap is not rewritten with its map"


def broken(state: State, life: LifeOutcome, skip: bool = False) -> frozenset[str]:
    """The names of the properties that a life breaks; with `skip`, its own DMA_ATTR_SKIP_CPU_SYNC asked for no cache work."""
    return _broken(state.memory, state.coherent, life, skip)


@lru_cache(maxsize=4096)
def _broken(memory: str, coherent: bool, life: LifeOutcome, skip: bool) -> frozenset[str]:
    state = State(memory=memory, coherent=coherent)
    names = {name for name, breaks in PROPERTIES if breaks(state, life)}
    return frozenset(names - {"cache maintenance for memory that is not coherent"} if skip else names)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two lives compare over many states.

    `reasons` are all the ways in which the new one is worse; `unsafe` the properties that it breaks on device memory,
    whether or not the old one did.
    """

    states: int
    equal: int
    refined: int
    reasons: tuple[str, ...]
    counterexample: str | None
    unsafe: frozenset[str] = frozenset()


def compare(old: LifeCalls, new: LifeCalls, states: Iterable[State], version: str) -> Comparison:
    """Run both lives in every state. Raises ModelError if there is no state: that proves nothing."""
    if old.unmap is not None and new.unmap is not None and FAMILY[new.map] != FAMILY[new.unmap]:
        return Comparison(1, 0, 0, (UNPAIRED,), f"{new.map}() is ended by {new.unmap}()")
    total = equal = refined = 0
    reasons: dict[str, str] = {}
    unsafe: set[str] = set()
    skip = SKIP_CPU_SYNC in old.map_attrs
    for state in states:
        total += 1
        before, after = run(old, state, version), run(new, state, version)
        now = broken(state, after, skip)
        if _device(state):
            unsafe |= now
        if before == after:
            equal += 1
            continue
        was = broken(state, before, skip)
        if now < was:
            refined += 1
            continue
        worse = sorted(now - was) or ["map fails" if after.map.address == ERROR else "the outcome differs"]
        for reason in worse:
            reasons.setdefault(
                reason, f"in {version}: {state.describe()}: before: {before.describe()}; after: {after.describe()}"
            )
    if total == 0:
        raise ModelError("no state was asked about, which proves nothing; name an origin that the model knows")
    return Comparison(total, equal, refined, tuple(reasons), next(iter(reasons.values()), None), frozenset(unsafe))


def life_after(templates: tuple[Template, ...], old: LifeCalls) -> LifeCalls:
    """The life that the templates make of `old`; a call without a template stays as it is."""
    by_name = {template.before: template for template in templates}

    def changed(name: str, attrs: frozenset[str]) -> tuple[str, frozenset[str]]:
        template = by_name.get(name)
        if template is None:
            return name, attrs
        wanted = template.after_arguments[-1]
        return template.after, attrs | {word.strip() for word in wanted.split("|")[1:]}

    new_map, map_attrs = changed(old.map, old.map_attrs)
    if old.unmap is None:
        return LifeCalls(new_map, map_attrs, None, frozenset())
    new_unmap, unmap_attrs = changed(old.unmap, old.unmap_attrs)
    return LifeCalls(new_map, map_attrs, new_unmap, unmap_attrs)


def memory_of(kinds: Iterable[Kind]) -> tuple[str, ...]:
    """The memory classes that an address of these origins may be."""
    found: list[str] = []
    for kind in kinds:
        found += [memory for memory in MEMORY_OF.get(kind, ()) if memory not in found]
    return tuple(found)


def attribute_sets(text: str) -> tuple[frozenset[str], ...]:
    """The attribute sets that an argument may hold: what is written, or every set that can matter where it is computed."""
    words = re.findall(r"\w+", text)
    if (
        re.fullmatch(r"[\w\s|()]*", text)
        and "||" not in text
        and all(word.startswith("DMA_ATTR_") or word == "0" for word in words)
    ):
        return (frozenset(word for word in words if word in READ_ATTRS),)
    return tuple(frozenset(extra) for extra in ((), (SKIP_CPU_SYNC,), (MMIO,), (SKIP_CPU_SYNC, MMIO)))


def directions(text: str) -> tuple[str, ...]:
    """The direction that is written, or all of them where it is a variable."""
    return (text,) if text in DIRECTIONS else DIRECTIONS


_UNMAP_OF = {"dma_map_resource": "dma_unmap_resource", "dma_map_phys": "dma_unmap_phys"}


@lru_cache(maxsize=512)
def verify(
    templates: tuple[Template, ...],
    kinds: tuple[Kind, ...],
    call: str,
    attrs: str,
    at_unmap: str | None,
    direction: str,
    target: str,
) -> Verdict:
    """The verdict on a rewrite: `call` with these attributes and direction, as text, on memory of these kinds.

    `at_unmap` are the unmap's attributes as text, None without an unmap. A variable may hold any set that the model reads;
    the same text means the same set.
    """
    memory = memory_of(kinds)
    if not memory:
        return Verdict("unknown", reason=f"the model has no memory for {', '.join(kinds)}")
    if release(target) < (6, 18):
        return Verdict("unknown", reason=f"{target} has no dma_map_phys()")
    states = relevant(memory, directions(direction))
    total = equal = refined = 0
    pairs = [
        (held, end)
        for held in attribute_sets(attrs)
        for end in ((held,) if at_unmap in (attrs, None) else attribute_sets(at_unmap or ""))
    ]
    for held, end in pairs:
        old = LifeCalls(call, held, _UNMAP_OF.get(call) if at_unmap is not None else None, end)
        result = compare(old, life_after(templates, old), states, target)
        total, equal, refined = total + result.states, equal + result.equal, refined + result.refined
        if result.reasons:
            return Verdict("refuted", 1, total, equal, refined, result.counterexample, result.reasons[0])
        if result.unsafe and MMIO not in held:
            return Verdict(
                "unknown",
                1,
                total,
                equal,
                refined,
                None,
                f"equal, but {', '.join(sorted(result.unsafe))} does not hold",
            )
    return Verdict("proved", 1, total, equal, refined)
