# SPDX-License-Identifier: GPL-2.0-only
"""Prove every rule: each rewrite for each origin and version, and each wrong rewrite refuted for the reason it names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dmamigrate.findings import Kind
from dmamigrate.model.refine import LifeCalls, compare, life_after, memory_of, verify
from dmamigrate.model.states import relevant
from dmamigrate.model.versions import KNOWN, release
from dmamigrate.rules import Rule, templates

TARGETS = tuple(version for version in KNOWN if release(version) >= (6, 18))
_UNMAP = {"dma_map_resource": "dma_unmap_resource", "dma_map_phys": "dma_unmap_phys"}


@dataclass(frozen=True, slots=True)
class Proof:
    """One line of the table; `holds` is what decides the exit status."""

    rule: str
    claim: str
    version: str
    holds: bool
    states: int
    equal: int
    refined: int
    note: str


def prove(rules: tuple[Rule, ...]) -> Iterator[Proof]:
    """Every claim that the rules make."""
    for rule in rules:
        for origin in rule.origins if rule.templates else ():
            for version in TARGETS:
                yield _proved(rule, origin, version)
        for number, wrong in enumerate(rule.refuted):
            yield _refuted(rule, number, wrong.origin, wrong.name, wrong.because)


def _proved(rule: Rule, origin: Kind, version: str) -> Proof:
    total = equal = refined = 0
    for attrs in ("0", "DMA_ATTR_SKIP_CPU_SYNC"):
        verdict = verify(rule.templates, (origin,), rule.callee[0], attrs, attrs, "", version)
        total, equal, refined = total + verdict.states, equal + verdict.equal, refined + verdict.refined
        if verdict.status != "proved":
            note = f"{verdict.reason}; {verdict.counterexample}"
            return Proof(rule.id, f"proved for {origin}", version, False, total, equal, refined, note)
    return Proof(rule.id, f"proved for {origin}", version, True, total, equal, refined, "")


def _refuted(rule: Rule, number: int, origin: Kind, name: str, because: str) -> Proof:
    wrong = templates(rule.refuted[number].rewrite)
    before = wrong[0].before
    old = LifeCalls(before, frozenset(), _UNMAP.get(before), frozenset())
    version = TARGETS[-1]
    result = compare(old, life_after(wrong, old), relevant(memory_of((origin,))), version)
    holds = any(because in reason for reason in result.reasons)
    note = (
        result.counterexample or "" if holds else f"expected '{because}', got {', '.join(result.reasons) or 'a proof'}"
    )
    return Proof(rule.id, f"refuted: {name}", version, holds, result.states, result.equal, result.refined, note)


def table(proofs: list[Proof]) -> str:
    """The proofs as a table, and below it what does not hold."""
    width = max(len(proof.rule) for proof in proofs)
    claims = max(len(proof.claim) for proof in proofs)
    lines = [
        f"{'ok  ' if p.holds else 'FAIL'}  {p.rule:{width}}  {p.claim:{claims}}  {p.version:5}"
        f" {p.states:7} states {p.equal:7} equal {p.refined:6} better"
        for p in proofs
    ]
    lines += [f"\n{p.rule}, {p.claim}, {p.version}: {p.note}" for p in proofs if not p.holds]
    held = sum(p.holds for p in proofs)
    return "\n".join([*lines, f"\n{held} of {len(proofs)} claims hold"]) + "\n"
