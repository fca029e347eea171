# SPDX-License-Identifier: GPL-2.0-only
"""Refinement: is a life after a change what it was before, or better, in every state that its memory allows.

A life is a map and the unmap of what it returned. It is *better* where the old one broke a safety property and the new
one breaks fewer, and else does the same. That a mapping fails which worked before is better only if the old one would
have bounced device memory or done cache maintenance on it; what KMSAN is told never counts for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations

from dmamigrate.errors import ModelError
from dmamigrate.findings import Kind
from dmamigrate.model.calls import MAPS, UNMAPS, run_map, run_unmap
from dmamigrate.model.machine import ERROR, Outcome
from dmamigrate.model.states import (
    DEVICE_MEMORY,
    MEMORY,
    MEMORY_OF,
    MMIO,
    READ_ATTRS,
    SKIP_CPU_SYNC,
    WITHOUT_PAGE,
    State,
    relevant,
)
from dmamigrate.rules import Template


@dataclass(frozen=True, slots=True)
class LifeCalls:
    """A life as calls: map and unmap by the model's names (None without an unmap), and the attributes of each.

    `astray` says that the unmap is given the physical address instead of the one that the map returned.
    """

    map: str
    map_attrs: frozenset[str]
    unmap: str | None
    unmap_attrs: frozenset[str]
    astray: bool = False


@dataclass(frozen=True, slots=True)
class LifeOutcome:
    """What a life did in one state."""

    map: Outcome
    unmap: Outcome | None
    # the address that the unmap was given is not the one that was mapped
    astray: bool = False

    def describe(self) -> str:
        """The outcome in words."""
        unmap = f"; unmap: {self.unmap.describe()}" if self.unmap is not None else ""
        return f"{self.map.describe()}{unmap}{' of another address' if self.astray else ''}"


def run(life: LifeCalls, state: State, version: str) -> LifeOutcome:
    """Map, check, and unmap what was mapped. Raises ModelError for a call that the model does not have."""
    return _run(life, _without_page(state) if state.memory in WITHOUT_PAGE else state, version)


@lru_cache(maxsize=16384)
def _without_page(state: State) -> State:
    """The state that stands for all memory without a page, which no call can tell apart."""
    return replace(state, memory="mmio")


@lru_cache(maxsize=65536)
def _run(life: LifeCalls, state: State, version: str) -> LifeOutcome:
    mapped = run_map(life.map, state, version, life.map_attrs)
    if life.unmap is None or mapped.address in (ERROR, None):
        return LifeOutcome(mapped, None)
    address = "P" if life.astray else mapped.address
    unmapped = run_unmap(life.unmap, state, version, address, life.unmap_attrs)
    return LifeOutcome(mapped, unmapped, address != mapped.address)


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


def _oops(state: State, life: LifeOutcome) -> bool:
    """Whether the kernel dies of it: a bounce of memory that nothing maps, an impossible direction."""
    del state
    return any(effect in ("Oops", "BUG") for effect in _effects(life))


def _table_takes_it_for_memory(state: State, life: LifeOutcome) -> bool:
    """Whether a table maps device memory as memory because the call did not say what it is."""
    told = any(effect.startswith("ops map") and effect.endswith(" MMIO") for effect in life.map.effects)
    return _device(state) and "table maps it as memory" in life.map.effects and not told


def _foreign_address(state: State, life: LifeOutcome) -> bool:
    del state
    return life.astray


def _unmap_incomplete(state: State, life: LifeOutcome) -> bool:
    """Whether the unmap leaves behind what the map did, or does cache maintenance that the map did not."""
    del state
    if life.unmap is None or life.astray:
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

# What a life can do wrong, in the words of a report, the worst first.
MISSING_CACHE = "data is lost: memory that is not coherent is mapped without cache maintenance"
FOREIGN = "another address than the mapped one is unmapped, and the mapping stays"
OOPS = "the kernel dies: memory that nothing maps is copied"
TAKEN_FOR_MEMORY = "a dma_map_ops table maps device memory as system memory"
BOUNCED = "device memory is copied through a bounce buffer, which the CPU cannot"
CACHED = "the CPU's caches are maintained over device memory"
CACHEABLE = "an IOMMU maps device memory as cacheable"
ENCRYPTED = "the address of device memory gets an encryption bit"
INCOMPLETE = "the unmap does not undo what the map did"
DISAGREE = "map and unmap disagree on an attribute, which dma-debug reports"
UNPAIRED = "the unmap is not rewritten with its map"
FAILS = "a mapping that worked fails"
REFUSED = "the mapping is refused because a page exists"
DIFFERS = "the outcome differs"
LOOKED_AT = "KMSAN looks at the contents of device memory, or of a page that is not there"

PROPERTIES: tuple[tuple[str, Property], ...] = (
    (MISSING_CACHE, _cache_missing_on_memory),
    (FOREIGN, _foreign_address),
    (OOPS, _oops),
    (BOUNCED, _bounce_of_mmio),
    (CACHED, _cache_on_mmio),
    (CACHEABLE, _cacheable_iommu),
    (TAKEN_FOR_MEMORY, _table_takes_it_for_memory),
    (ENCRYPTED, _encrypted_mmio),
    (INCOMPLETE, _unmap_incomplete),
    (REFUSED, _refused_for_its_page),
    (LOOKED_AT, _touches_missing_page),
)
_SEVERITY = (
    MISSING_CACHE,
    OOPS,
    FOREIGN,
    BOUNCED,
    CACHED,
    CACHEABLE,
    TAKEN_FOR_MEMORY,
    ENCRYPTED,
    INCOMPLETE,
    DISAGREE,
    UNPAIRED,
    FAILS,
    REFUSED,
    DIFFERS,
)
# A mapping that did this to device memory was no use, so that failing is better.
_WORSE_THAN_FAILING = frozenset({OOPS, BOUNCED, CACHED, TAKEN_FOR_MEMORY})

FAMILY = {name: name.removeprefix("dma_").removeprefix("un").removeprefix("map_") for name in (*MAPS, *UNMAPS)} | {
    "dma_iova_link": "iova", "dma_iova_unlink": "iova", "dma_iova_destroy": "iova",
}  # fmt: skip


def severity(what: str) -> int:
    """How bad a broken property is, 0 the worst; KMSAN's reports come last."""
    return _SEVERITY.index(what) if what in _SEVERITY else len(_SEVERITY)


def broken(state: State, life: LifeOutcome, skip: bool = False) -> frozenset[str]:
    """The properties that a life breaks; with `skip`, its own DMA_ATTR_SKIP_CPU_SYNC asked for no cache work."""
    return _broken(state.memory, state.coherent, life, skip)


@lru_cache(maxsize=4096)
def _broken(memory: str, coherent: bool, life: LifeOutcome, skip: bool) -> frozenset[str]:
    state = State(memory=memory, coherent=coherent)
    names = {name for name, breaks in PROPERTIES if breaks(state, life)}
    return frozenset(names - {MISSING_CACHE} if skip else names)


@dataclass(frozen=True, slots=True)
class Worse:
    """One way in which a new life is worse, and the plainest state that shows it."""

    what: str
    state: State
    before: LifeOutcome
    after: LifeOutcome

    def describe(self) -> str:
        """State and outcomes in words."""
        return f"{self.state.describe()}: before: {self.before.describe()}; after: {self.after.describe()}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two lives compare over many states.

    `refined` are those in which the new one is better, `fails` those among them in which a mapping fails that worked
    before; `worse` are all the ways in which it is worse, the worst first; `unsafe` the properties that it breaks on
    device memory, whether or not the old one did.
    """

    states: int
    equal: int
    refined: int
    fails: int
    worse: tuple[Worse, ...]
    unsafe: frozenset[str] = frozenset()


@lru_cache(maxsize=64)
def same_function(old: tuple[str, str], new: tuple[str, str], version: str) -> bool:
    """Whether a map and its unmap with DMA_ATTR_MMIO do what the old two do, for any memory and any attributes."""
    states = tuple(relevant(MEMORY))
    for held in every_set():
        added = held | {MMIO}
        for state in states:
            mapped = run_map(old[0], state, version, held)
            if mapped != run_map(new[0], state, version, added):
                return False
            address = mapped.address or ""
            if run_unmap(old[1], state, version, address, held) != run_unmap(new[1], state, version, address, added):
                return False
    return True


def unpaired(life: LifeCalls) -> bool:
    """Whether a map is ended by an unmap of another family."""
    return life.unmap is not None and FAMILY.get(life.map) != FAMILY.get(life.unmap)


def disagrees(life: LifeCalls) -> bool:
    """Whether map and unmap differ in an attribute that has to be the same, kernel/dma/debug.c: check_unmap()."""
    if life.unmap is None:
        return False
    held, ended = (
        attrs | ({MMIO} if "resource" in name else frozenset())
        for name, attrs in ((life.map, life.map_attrs), (life.unmap, life.unmap_attrs))
    )
    return bool((held ^ ended) & (frozenset(READ_ATTRS) - {SKIP_CPU_SYNC}))


def compare(old: LifeCalls, new: LifeCalls, states: Iterable[State], version: str) -> Comparison:
    """Run both lives in every state. Raises ModelError if there is no state: that proves nothing."""
    total = equal = refined = fails = 0
    worse: dict[str, Worse] = {}
    unsafe: set[str] = set()
    skip = SKIP_CPU_SYNC in old.map_attrs
    parted = disagrees(new) and not disagrees(old)
    for state in states:
        total += 1
        before, after = run(old, state, version), run(new, state, version)
        now = broken(state, after, skip)
        if _device(state):
            unsafe |= now
        if parted:
            worse.setdefault(DISAGREE, Worse(DISAGREE, state, before, after))
        if before == after:
            equal += 1
            continue
        was = broken(state, before, skip)
        failed, failing = before.map.address == ERROR, after.map.address == ERROR
        reasons = _worse(was, now, failed, failing)
        if not reasons:
            refined += 1
            fails += failing and not failed
        for reason in reasons:
            worse.setdefault(reason, Worse(reason, state, before, after))
    if total == 0:
        raise ModelError("no state was asked about, which proves nothing; name an origin that the model knows")
    ordered = tuple(sorted(worse.values(), key=lambda one: severity(one.what)))
    return Comparison(total, equal, refined, fails, ordered, frozenset(unsafe))


def _worse(was: frozenset[str], now: frozenset[str], failed: bool, failing: bool) -> list[str]:
    """Why a life that differs is not better; empty if it is. Where neither maps anything only new harm counts."""
    gained = sorted(now - was, key=severity)
    if gained or (failed and failing):
        return gained
    if failing:
        return [] if was & _WORSE_THAN_FAILING else [FAILS]
    return [] if now < was else [DIFFERS]


def after_template(templates: tuple[Template, ...], name: str, attrs: frozenset[str]) -> tuple[str, frozenset[str]]:
    """The call and the attributes that the templates make of a call; one without a template stays as it is."""
    template = next((one for one in templates if one.before == name), None)
    if template is None:
        return name, attrs
    words = [word.strip() for word in template.after_arguments[-1].split("|")]
    kept = attrs if words[0] == "attrs" else frozenset()
    return template.after, kept | {word for word in words if word not in ("attrs", "0")}


def memory_of(kinds: Iterable[Kind]) -> tuple[str, ...]:
    """The memory classes that an address of these origins may be; of an unknown origin all."""
    held = tuple(kinds)
    if Kind.UNKNOWN in held:
        return MEMORY
    found: list[str] = []
    for kind in held:
        found += [memory for memory in MEMORY_OF.get(kind, ()) if memory not in found]
    return tuple(found)


def every_set() -> tuple[frozenset[str], ...]:
    """Every set of the attributes that the streaming paths read, the empty one first."""
    return tuple(
        frozenset(chosen) for count in range(len(READ_ATTRS) + 1) for chosen in combinations(READ_ATTRS, count)
    )
