# SPDX-License-Identifier: GPL-2.0-only
"""Prove every rule: each rewrite for each origin and version, and each wrong rewrite refuted for the reason it
names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from dmamigrate.api import Api
from dmamigrate.findings import Kind
from dmamigrate.model.calls import MAPS, UNMAPS
from dmamigrate.model.refine import UNPAIRED, Comparison, LifeCalls, after_template, compare, memory_of, unpaired
from dmamigrate.model.states import relevant
from dmamigrate.model.versions import KNOWN, release
from dmamigrate.rules import Rule, Template, templates

TARGETS = tuple(version for version in KNOWN if release(version) >= (6, 18))
_GIVEN = (frozenset[str](), frozenset({"DMA_ATTR_SKIP_CPU_SYNC"}))


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


def prove(rules: tuple[Rule, ...], api: Api, targets: tuple[str, ...] = TARGETS) -> Iterator[Proof]:
    """Every claim that the rules make, for each of these versions, of the calls that the model has."""
    for rule in rules:
        for callee in rule.callee if rule.templates else ():
            pairs = _lives(callee, _made(rule, callee, api), api)
            for origin in rule.origins if pairs else ():
                for version in targets:
                    yield _proved(rule, callee, pairs, (origin, version))
        for wrong in rule.refuted:
            yield _refuted(rule, wrong.name, (templates(wrong.rewrite), wrong.origin, wrong.because), api)


def _made(rule: Rule, callee: str, api: Api) -> tuple[Template, ...]:
    """What the rule makes of a call: its rewrite, and where that does not name it the attribute that is lacking."""
    if rule.lacks is None or any(template.before == callee for template in rule.templates):
        return rule.templates
    family = api.calls[callee].family
    calls = [callee, *(name for name in api.named("unmap") if api.calls[name].family == family)]
    return tuple(
        Template(name, roles, name, (*roles[:-1], f"attrs | {rule.lacks}"))
        for name, roles in ((name, api.calls[name].roles) for name in calls)
    )


def _lives(callee: str, made: tuple[Template, ...], api: Api) -> list[tuple[LifeCalls, LifeCalls]]:
    """The lives that begin with a call, before and after, with every unmap that the rewrite has and every usual set.

    Attributes that only one end gives are tried too: an unmap may skip the cache work that its map did.
    """
    mapped = api.calls[callee]
    unmaps = [t.before for t in made if t.before in api.calls and api.calls[t.before].role == "unmap"]
    ends = [name for name in unmaps if api.fits(mapped, api.calls[name])]
    if mapped.model not in MAPS:
        return []
    return [
        (_calls(callee, end, (held, taken), (api, ())), _calls(callee, end, (held, taken), (api, made)))
        for end in ends
        if api.calls[end].model in UNMAPS
        for held in (_GIVEN if "attrs" in mapped.roles else _GIVEN[:1])
        for taken in (_GIVEN if "attrs" in api.calls[end].roles else _GIVEN[:1])
    ]


def _calls(
    mapped: str,
    unmapped: str | None,
    given: tuple[frozenset[str], frozenset[str]],
    by: tuple[Api, tuple[Template, ...]],
) -> LifeCalls:
    """A life by the names of its calls, as the templates leave it."""
    api, made = by

    def modelled(name: str) -> str:
        return api.calls[name].model if name in api.calls else name

    name, attrs = after_template(made, mapped, given[0])
    if unmapped is None:
        return LifeCalls(modelled(name), attrs, None, frozenset())
    end, end_attrs = after_template(made, unmapped, given[1])
    return LifeCalls(modelled(name), attrs, modelled(end), end_attrs)


@lru_cache(maxsize=1 << 10)
def _compared(old: LifeCalls, new: LifeCalls, origin: Kind, version: str) -> Comparison:
    """Calls without attributes are others with none: their lives are compared once."""
    return compare(old, new, relevant(memory_of((origin,))), version)


def _proved(rule: Rule, callee: str, pairs: list[tuple[LifeCalls, LifeCalls]], at: tuple[Kind, str]) -> Proof:
    origin, version = at
    results = [_compared(old, new, origin, version) for old, new in pairs]
    claim = f"{callee}(): proved for {origin}"
    total, equal = sum(r.states for r in results), sum(r.equal for r in results)
    refined = sum(r.refined for r in results)
    bad = next((r for r in results if r.worse), None)
    if bad is None:
        return Proof(rule.id, claim, version, True, total, equal, refined, "")
    if origin is Kind.UNKNOWN and all(one.state.memory.startswith("ram") for one in bad.worse):
        return Proof(
            rule.id, f"{callee}(): not proved for {origin}, it may be RAM", version, True, total, equal, refined, ""
        )
    return Proof(
        rule.id, claim, version, False, total, equal, refined, f"{bad.worse[0].what}: {bad.worse[0].describe()}"
    )


def _refuted(rule: Rule, name: str, wrong: tuple[tuple[Template, ...], Kind, str], api: Api) -> Proof:
    made, origin, because = wrong
    before = made[0].before
    mapped = api.calls[before]
    ends = [t.before for t in rule.templates if t.before in api.calls and api.calls[t.before].role == "unmap"]
    # a rule that decides path by path has no templates: the unmap is then that of the call's own family
    ends = ends or [name for name in api.named("unmap") if api.calls[name].family == mapped.family]
    end = next((one for one in ends if api.fits(mapped, api.calls[one])), None)
    given = (frozenset[str](), frozenset[str]())
    version = TARGETS[-1]
    states = relevant(memory_of((origin,)))
    old, new = _calls(before, end, given, (api, ())), _calls(before, end, given, (api, made))
    result = compare(old, new, states, version)
    reasons = [one.what for one in result.worse] + ([UNPAIRED] if unpaired(new) and not unpaired(old) else [])
    holds = any(because in reason for reason in reasons)
    note = (
        "; ".join(one.describe() for one in result.worse[:1])
        if holds
        else f"expected '{because}', got {', '.join(reasons) or 'a proof'}"
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
