# SPDX-License-Identifier: GPL-2.0-only
"""What counts as better: every rewrite of a BAR that was mapped as memory, one attribute at one end apart."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import msgspec
import pytest

from dmamigrate import rules
from dmamigrate.errors import ModelError
from dmamigrate.findings import Kind
from dmamigrate.model.machine import ERROR, Outcome
from dmamigrate.model.prove import Proof, prove, table
from dmamigrate.model.refine import (
    DIFFERS,
    DISAGREE,
    FAILS,
    PROPERTIES,
    UNPAIRED,
    LifeCalls,
    LifeOutcome,
    Worse,
    after_template,
    broken,
    compare,
    every_set,
    memory_of,
    run,
    same_function,
    severity,
    unpaired,
)
from dmamigrate.model.states import MMIO, PRIVILEGED, READ_ATTRS, SKIP_CPU_SYNC, State, relevant
from dmamigrate.rules import Refuted, Rule, templates

PAIRS = (
    ("dma_map_phys", "dma_unmap_phys"),
    ("dma_map_resource", "dma_unmap_resource"),
    ("dma_map_page_attrs", "dma_unmap_page_attrs"),
)
OLD = LifeCalls("dma_map_phys", frozenset(), "dma_unmap_phys", frozenset())
# the direction decides nothing but whether a small buffer may bounce, which it may from the device
STATES = relevant(memory_of((Kind.PCI_BAR,)), ("DMA_FROM_DEVICE",))


def enumerated() -> Iterator[LifeCalls]:
    """Each pair with each set of attributes at both ends, and with one attribute more or less at the unmap."""
    for mapped, unmapped in PAIRS:
        for held in every_set():
            for changed in (frozenset[str](), *(frozenset({one}) for one in READ_ATTRS)):
                yield LifeCalls(mapped, held, unmapped, held ^ changed)


@cache
def proved_lives() -> tuple[LifeCalls, ...]:
    """Those that are proved."""
    return tuple(life for life in enumerated() if not compare(OLD, life, STATES, "7.3").worse)


@pytest.mark.kernel
def test_the_direction_decides_nothing() -> None:
    others = relevant(memory_of((Kind.PCI_BAR,)), ("DMA_TO_DEVICE", "DMA_BIDIRECTIONAL"))
    assert proved_lives() == tuple(life for life in enumerated() if not compare(OLD, life, others, "7.3").worse)


def test_what_is_better_than_a_bar_mapped_as_memory() -> None:
    assert len(list(enumerated())) == 576
    proved = proved_lives()
    # device memory has to be said at both ends, whatever call says it, or nothing may change; cache work is each end's
    # own
    for life in proved:
        held, ended = (
            attrs | ({MMIO} if "resource" in life.map else set()) for attrs in (life.map_attrs, life.unmap_attrs)
        )
        assert "page" not in life.map, life
        assert held ^ ended <= {SKIP_CPU_SYNC}, life
        assert (MMIO in held and MMIO in ended) or life == OLD, life
    # unchanged; MMIO with any of three hints, cache work at either end; the same of resource, MMIO written or not
    assert len(proved) == 1 + 16 + 48
    assert LifeCalls("dma_map_phys", frozenset({MMIO}), "dma_unmap_phys", frozenset({MMIO})) in proved
    assert LifeCalls("dma_map_resource", frozenset(), "dma_unmap_resource", frozenset()) in proved


def test_no_proof_lets_a_map_fail_that_worked_and_did_no_harm() -> None:
    for life in proved_lives():
        for state in STATES:
            before, after = run(OLD, state, "7.3"), run(life, state, "7.3")
            if after.map.address == ERROR and before.map.address != ERROR:
                effects = (*before.map.effects, *(before.unmap.effects if before.unmap is not None else ()))
                harm = {"bounce P", "Oops", "table maps it as memory"} & {*effects}
                assert harm or any(effect.startswith("cache for") for effect in effects), state


@pytest.mark.parametrize(
    ("attrs", "why"),
    [
        pytest.param(frozenset({MMIO, "DMA_ATTR_CC_SHARED"}), FAILS, id="an attribute that most devices refuse"),
        pytest.param(frozenset({SKIP_CPU_SYNC}), None, id="no cache work, and still no word of device memory"),
    ],
)
def test_a_wrong_attribute_is_named_for_what_it_does(attrs: frozenset[str], why: str | None) -> None:
    result = compare(OLD, LifeCalls("dma_map_phys", attrs, "dma_unmap_phys", attrs), STATES, "7.3")
    whats = [one.what for one in result.worse]
    assert whats == sorted(whats, key=severity)
    assert why is None or why in whats


def test_half_a_life_is_of_two_families() -> None:
    assert unpaired(LifeCalls("dma_map_phys", frozenset({MMIO}), "dma_unmap_resource", frozenset()))
    assert not unpaired(OLD)


WORST_FIRST = (
    "data is lost: memory that is not coherent is mapped without cache maintenance",
    "the kernel dies: memory that nothing maps is copied",
    "another address than the mapped one is unmapped, and the mapping stays",
    "device memory is copied through a bounce buffer, which the CPU cannot",
    "the CPU's caches are maintained over device memory",
    "an IOMMU maps device memory as cacheable",
    "a dma_map_ops table maps device memory as system memory",
    "the address of device memory gets an encryption bit",
    "the unmap does not undo what the map did",
    "map and unmap disagree on an attribute, which dma-debug reports",
    "the unmap is not rewritten with its map",
    "a mapping that worked fails",
    "the mapping is refused because a page exists",
    "the outcome differs",
    "KMSAN looks at the contents of device memory, or of a page that is not there",
)


def test_what_is_worst_comes_first() -> None:
    assert [severity(what) for what in WORST_FIRST] == list(range(len(WORST_FIRST)))
    assert {what for what, _ in PROPERTIES} <= set(WORST_FIRST)


def _life(address: str, done: str, undone: str | None = "", astray: bool = False) -> LifeOutcome:
    effects = [tuple(filter(None, text.split("; "))) for text in (done, undone or "")]
    return LifeOutcome(Outcome(address, effects[0]), Outcome(None, effects[1]) if undone is not None else None, astray)


BAR, RAM, COHERENT = State(memory="bar"), State(memory="ram", coherent=False), State(memory="ram", coherent=True)
CACHED, MAPPED = "cache for device P", "iommu_map P MMIO|READ"


@pytest.mark.parametrize(
    ("state", "life", "broken_are"),
    [
        pytest.param(RAM, _life("P", ""), {0}, id="no cache maintenance"),
        pytest.param(RAM, _life("P", CACHED, "cache for CPU P"), set(), id="cache maintenance at both ends"),
        pytest.param(RAM, _life(ERROR, "", None), set(), id="no mapping, no maintenance"),
        pytest.param(RAM, _life("BUS", ""), set(), id="a bus address needs none"),
        pytest.param(RAM, _life("OPS", ""), set(), id="a table's is the table's affair"),
        pytest.param(COHERENT, _life("P", ""), set(), id="coherent memory needs none"),
        pytest.param(COHERENT, _life("P", "", "Oops"), {1}, id="an Oops at the unmap"),
        pytest.param(COHERENT, _life("P", "BUG"), {1}, id="a BUG at the map"),
        pytest.param(COHERENT, _life("P", "", astray=True), {2}, id="another address"),
        pytest.param(BAR, _life("B", "bounce P", "release bounce without copy"), {3}, id="a bounce of device memory"),
        pytest.param(COHERENT, _life("B", "bounce P", "release bounce without copy"), set(), id="a bounce of RAM"),
        pytest.param(BAR, _life("P", CACHED, "cache for CPU P"), {4}, id="caches over device memory"),
        pytest.param(BAR, _life("IOVA", "iommu_map P CACHE|READ", "iommu_unmap"), {5}, id="cacheable"),
        pytest.param(BAR, _life("IOVA", "iommu_map P READ", "iommu_unmap"), {5}, id="not said to be MMIO"),
        pytest.param(BAR, _life("IOVA", MAPPED, "iommu_unmap"), set(), id="said to be MMIO"),
        pytest.param(COHERENT, _life("IOVA", "iommu_map P CACHE|READ", "iommu_unmap"), set(), id="RAM is cacheable"),
        pytest.param(
            BAR, _life("OPS", "ops map_phys; table maps it as memory", "ops unmap_phys"), {6}, id="a table not told"
        ),
        pytest.param(
            BAR, _life("OPS", "ops map_phys MMIO; table maps it as memory", "ops unmap_phys MMIO"), set(),
            id="a table told"
        ),
        pytest.param(BAR, _life("P+enc", ""), {7}, id="an encryption bit"),
        pytest.param(COHERENT, _life("P+enc", ""), set(), id="that of encrypted RAM"),
        pytest.param(BAR, _life("IOVA", MAPPED), {8}, id="still mapped"),
        pytest.param(COHERENT, _life("P", "", "iommu_unmap"), {8}, id="unmapped, and never mapped"),
        pytest.param(COHERENT, _life("B", "bounce P"), {8}, id="a bounce that stays"),
        pytest.param(COHERENT, _life("P", CACHED), {8}, id="maintained for the device only"),
        pytest.param(COHERENT, _life("P", "ops map_page", "ops unmap_sg"), {8}, id="another callback of the table"),
        pytest.param(COHERENT, _life("P", "ops map_page", "ops unmap_page"), set(), id="its own callback"),
        pytest.param(COHERENT, _life("P", MAPPED, None), set(), id="a life without an end"),
        pytest.param(BAR, _life(ERROR, "warn of its page", None), {12}, id="refused for its page"),
        pytest.param(BAR, _life("P", "kmsan"), {14}, id="looked at by KMSAN"),
        pytest.param(COHERENT, _life("P", "kmsan"), set(), id="RAM that KMSAN may look at"),
    ],
)  # fmt: skip
def test_what_a_life_breaks(state: State, life: LifeOutcome, broken_are: set[int]) -> None:
    assert broken(state, life) == {WORST_FIRST[number] for number in broken_are}


def test_a_life_s_own_wish_for_no_cache_work_loses_no_data() -> None:
    assert broken(RAM, _life("P", ""), skip=True) == frozenset()


def test_outcomes_in_words() -> None:
    life = _life("IOVA", MAPPED, "iommu_unmap", astray=True)
    words = "returns IOVA; iommu_map P MMIO|READ; unmap: iommu_unmap of another address"
    assert (life.describe(), _life(ERROR, "warn", None).describe()) == (words, "returns ERROR; warn")
    shown = Worse("x", BAR, life, _life("P", ""))
    assert shown.describe() == f"{BAR.describe()}: before: {words}; after: returns P; no effect; unmap: no effect"


def test_no_state_proves_nothing() -> None:
    with pytest.raises(
        ModelError, match=r"no state was asked about, which proves nothing; name an origin that the model knows\Z"
    ):
        compare(OLD, OLD, (), "7.3")


def _with(*attrs: str, end: tuple[str, ...] | None = None) -> LifeCalls:
    return LifeCalls("dma_map_phys", frozenset(attrs), "dma_unmap_phys", frozenset(attrs if end is None else end))


def test_a_comparison_counts_what_is_better_and_what_fails_now() -> None:
    states = (
        State(memory="bar", coherent=False),  # cache maintenance of registers, and then none
        State(memory="p2p-page", swiotlb="forced"),  # bounced, and then refused
        State(memory="bar", swiotlb="forced"),  # an Oops, and then refused: it worked neither before nor after
    )
    result = compare(OLD, _with(MMIO), states, "7.3")
    assert (result.states, result.equal, result.refined, result.fails, result.worse) == (3, 0, 3, 1, ())
    assert compare(OLD, OLD, states, "7.3").equal == 3


IOMMU = State("dma-iommu")


@pytest.mark.parametrize(
    ("new", "state", "why"),
    [
        pytest.param(_with(PRIVILEGED), IOMMU, [DIFFERS], id="another right of the device, and no harm undone"),
        pytest.param(_with(MMIO, end=()), State(memory="bar"), [DISAGREE], id="the ends disagree, which they did not"),
        pytest.param(_with("DMA_ATTR_CC_SHARED"), IOMMU, [FAILS], id="what worked fails"),
    ],
)
def test_what_is_not_better_is_named(new: LifeCalls, state: State, why: list[str]) -> None:
    assert [one.what for one in compare(OLD, new, (state,), "7.3").worse] == why


def test_where_neither_maps_anything_a_message_less_is_no_difference() -> None:
    # drivers/iommu/dma-iommu.c: dma_iova_link() refuses to bounce MMIO before it looks whether there is a pool
    state = State("dma-iommu", "bar", untrusted=True, aligned=False)
    old, new = (LifeCalls("dma_iova_link", frozenset(a), "dma_iova_destroy", frozenset(a)) for a in ((), (MMIO,)))
    assert [run(life, state, "7.3").describe() for life in (old, new)] == [
        "returns ERROR; warn", "returns ERROR; no effect"
    ]  # fmt: skip
    assert compare(old, new, (state,), "7.3").worse == ()


@pytest.mark.parametrize(
    ("state", "astray"),
    [pytest.param(IOMMU, True, id="an IOVA"), pytest.param(State(), False, id="without an IOMMU they are the same")],
)
def test_an_unmap_may_be_given_another_address(state: State, astray: bool) -> None:
    life = LifeCalls("dma_map_phys", frozenset(), "dma_unmap_phys", frozenset(), astray=True)
    assert run(life, state, "7.3").astray is astray
    assert run(OLD, state, "7.3").astray is False


@pytest.mark.parametrize(
    ("new", "version"),
    [
        pytest.param(("dma_map_phys", "dma_unmap_page_attrs"), "7.3", id="an unmap that does nothing for MMIO"),
        pytest.param(("dma_map_page_attrs", "dma_unmap_phys"), "7.3", id="a map that refuses MMIO"),
        pytest.param(("dma_map_phys", "dma_unmap_phys"), "7.0", id="7.0 refuses a resource that has a page"),
    ],
)
def test_other_calls_are_not_the_same_function(new: tuple[str, str], version: str) -> None:
    assert not same_function(("dma_map_resource", "dma_unmap_resource"), new, version)


_FLAG = "attrs | DMA_ATTR_MMIO"


@pytest.mark.parametrize(
    ("before", "after", "made"),
    [
        pytest.param("attrs", _FLAG, {SKIP_CPU_SYNC, MMIO}, id="what was given is kept"),
        pytest.param("attrs", "DMA_ATTR_MMIO", {MMIO}, id="or not"),
        pytest.param("attrs", "attrs", {SKIP_CPU_SYNC}, id="nothing is added"),
        pytest.param("attrs", "0", set(), id="nothing is left"),
    ],
)
def test_what_a_template_makes_of_attributes(before: str, after: str, made: set[str]) -> None:
    text = f"- dma_map_phys(dev, {before})\n+ dma_map_phys(dev, {after})"
    given = after_template(templates(text), "dma_map_phys", frozenset({SKIP_CPU_SYNC}))
    assert given == ("dma_map_phys", frozenset(made))


def _rewrite(unmap: str = _FLAG) -> str:
    return (
        f"- dma_map_phys(dev, phys, size, dir, attrs)\n+ dma_map_phys(dev, phys, size, dir, {_FLAG})\n"
        f"- dma_unmap_phys(dev, addr, size, dir, attrs)\n+ dma_unmap_phys(dev, addr, size, dir, {unmap})"
    )


def _first(**given: object) -> Proof:
    """The first claim of a rule that is like one that holds, but for what is given."""
    (like,) = [rule for rule in rules.load() if rule.id == "phys-missing-mmio"]
    rule: Rule = msgspec.structs.replace(like, **{"refuted": ()} | given)
    return next(prove((rule,), rules.tables().api))


def test_a_wrong_rewrite_is_no_proof_and_the_worst_is_named() -> None:
    proof = _first(origins=(Kind.RAM,))
    assert (proof.claim, proof.holds) == ("dma_map_phys(): proved for ram", False)
    assert proof.note.startswith(f"{WORST_FIRST[0]}: direct backend, ram, DMA_TO_DEVICE, not coherent: before: ")
    assert "; unmap: cache for CPU P; after: returns P; no effect; unmap: no effect" in proof.note
    text = table([proof, _first()])
    assert "FAIL  phys-missing-mmio" in text
    assert f"dma_map_phys(): proved for ram, 6.18: {proof.note}\n\n1 of 2 claims hold\n" in text
    assert f"{proof.equal} equal" in text
    assert f"{proof.refined} better\n" in text


def test_of_an_unknown_origin_nothing_is_proved_where_it_may_be_ram() -> None:
    proof = _first(origins=(Kind.UNKNOWN,))
    assert (proof.claim, proof.holds) == ("dma_map_phys(): not proved for unknown, it may be RAM", True)
    wrong = _first(origins=(Kind.UNKNOWN,), templates=templates(_rewrite("attrs")))
    assert not wrong.holds, "that is no matter of RAM"


@pytest.mark.parametrize(
    ("unmap", "because", "holds"),
    [
        pytest.param("attrs", WORST_FIRST[8], True, id="for its reason"),
        pytest.param("attrs", UNPAIRED, False, id="for another reason"),
        pytest.param(_FLAG, WORST_FIRST[8], False, id="not at all"),
    ],
)
def test_a_wrong_rewrite_is_refuted_for_the_reason_that_is_named(unmap: str, because: str, holds: bool) -> None:
    proof = _first(callee=(), refuted=(Refuted(name="a wrong one", because=because, rewrite=_rewrite(unmap)),))
    assert (proof.claim, proof.holds) == ("refuted: a wrong one", holds)
    assert holds or proof.note.startswith(f"expected '{because}', got ")


def test_a_call_that_the_rewrite_does_not_name_is_proved_with_what_it_lacks() -> None:
    proof = _first(callee=("dma_iova_link",))
    assert (proof.claim, proof.holds) == ("dma_iova_link(): proved for pci-bar", True)
    wrong = _first(callee=("dma_iova_link",), lacks=PRIVILEGED)
    assert wrong.note.startswith(DIFFERS)


@pytest.mark.parametrize(
    ("mapped", "given"),
    [
        pytest.param("dma_iova_link", "dma_iova_unlink", id="a range and what unlinks it"),
        pytest.param("dma_iova_link", "dma_iova_destroy", id="a range and what destroys it"),
        pytest.param("dma_map_phys", "dma_unmap_phys", id="one name"),
    ],
)
def test_what_ends_a_map_is_of_its_family(mapped: str, given: str) -> None:
    assert not unpaired(LifeCalls(mapped, frozenset(), given, frozenset()))
    assert unpaired(LifeCalls(mapped, frozenset(), "dma_unmap_sg_attrs", frozenset()))
