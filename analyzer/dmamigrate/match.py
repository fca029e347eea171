# SPDX-License-Identifier: GPL-2.0-only
"""Rules against calls, origins and lives: findings without a rewrite yet."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace

from dmamigrate.findings import MEANING, Finding, Kind, Origin, Partner
from dmamigrate.lives.detect.stored import Stored
from dmamigrate.lives.given import Given
from dmamigrate.lives.module import Defect
from dmamigrate.lives.pair import Life
from dmamigrate.lives.sites import Site, span
from dmamigrate.rules import Rule
from dmamigrate.syntax.functions import Function

_MEMORY = {Kind.PCI_BAR: "a PCI BAR", Kind.MMIO: "MMIO", Kind.PFNMAP: "memory without struct pages"}


def fingerprint(rule: str, fn: Function, callee: str, text: str) -> str:
    """A name for a finding that survives edits elsewhere in the file: no line, no offset."""
    words = "\0".join((rule, fn.source.path, fn.name, callee, text))
    return hashlib.sha256(words.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def applies(rule: Rule, origin: Origin) -> bool:
    """Whether an origin is one that the rule is about; an unknown part counts only where nothing else is known."""
    if rule.certain and not origin.certain:
        return False
    known = [kind for kind in origin.kinds if kind is not Kind.UNKNOWN]
    if {Kind.P2P, Kind.RAM} <= set(known):
        known.remove(Kind.P2P)  # a page that may be either: the map type decides, path by path
    return any(kind in rule.origins for kind in (known or origin.kinds))


def partners(life: Life) -> tuple[Partner, ...]:
    """The calls that belong to a life, in the order of the source."""
    sites = sorted((*life.ends, *life.checks, *life.syncs), key=lambda site: site.key)
    return tuple(Partner(site.api.role, site.span, site.user[0].name, site.call.name) for site in sites)


def by_origin(rules: Iterable[Rule], life: Life, given: Given) -> Iterator[tuple[Rule, Finding]]:
    """The findings of the rules that ask where the address that a call maps comes from."""
    asking = [rule for rule in rules if life.map.call.name in rule.callee and _attributes_fit(rule, given)]
    for rule in asking:
        if not rule.origins:  # about the call itself, wherever its address comes from
            yield rule, _finding(rule, life.map, None, partners(life))
    asking = [rule for rule in asking if rule.origins]
    origin = given.address if asking else None
    if origin is None:
        return
    fitting = [rule for rule in asking if applies(rule, origin)]
    # what no rule may claim on this evidence is unknown to all of them
    unsure = [rule for rule in asking if Kind.UNKNOWN in rule.origins and not origin.certain]
    for rule in fitting or unsure:
        yield rule, _finding(rule, life.map, origin, partners(life))


def _attributes_fit(rule: Rule, given: Given) -> bool:
    """Whether the call has, or lacks, on every path the attribute that the rule asks for."""
    if rule.has is None and rule.lacks is None:
        return True
    held = given.attributes
    if not held:
        return False
    every = all(rule.has is None or rule.has in one for one in held.values)
    return every and all(rule.lacks is None or rule.lacks not in one for one in held.values)


def defect(rule: Rule, found: Defect) -> Finding:
    """Something wrong with a life."""
    who = partners(found.life) if found.life is not None else ()
    return replace(_finding(rule, found.site, found.origin, who, found.facts), trail=found.trail)


def _finding(
    rule: Rule, site: Site, origin: Origin | None, who: tuple[Partner, ...], facts: dict[str, str] | None = None
) -> Finding:
    roles = site.api.roles
    address = next((site.text(role) for role in ("phys", "page", "ptr", "addr", "state", "sg") if role in roles), "")
    texts = {"phys": address, "addr": address} | {role: site.text(role) for role in roles} | (facts or {})
    known = ""
    if origin is not None:
        known = origin.gave_up or f"it is {' or '.join(MEANING[kind] for kind in origin.kinds)}"
    message = rule.message.format(call=site.call.name, gave_up=known, **texts)
    if origin is not None and not origin.certain and len(origin.kinds) > 1:
        first, *others = ((MEANING[kind], count) for kind, count in origin.shares)
        shares = [f"{first[0]} on {first[1]} path{'' if first[1] == 1 else 's'}"]
        shares += [f"{what} on {count}" for what, count in others]
        message += f" (not certain: it is {', '.join(shares)})"
    fn, _, call = site.user
    text = fn.source.text(call.start, call.end)
    return Finding(
        rule.id,
        rule.level,
        rule.category,
        site.span,
        fn.name,
        site.call.name,
        message,
        fingerprint(rule.id, fn, site.call.name, text),
        origin,
        partners=who,
    )


def stored(rule: Rule, found: Stored) -> Finding:
    """A value that a device is given as a DMA address."""
    fn, value = found.fn, found.value
    text = fn.source.text(value.start, value.end)
    what = _MEMORY[found.origin.kinds[0]]
    return Finding(
        rule.id,
        rule.level,
        rule.category,
        span(fn.source, value.start, value.end),
        fn.name,
        found.sink,
        rule.message.format(value=text, sink=found.sink, what=what),
        fingerprint(rule.id, fn, found.sink, text),
        found.origin,
    )
