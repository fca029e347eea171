# SPDX-License-Identifier: GPL-2.0-only
"""Rules against calls, origins and lives: findings without a rewrite yet."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from dmamigrate.errors import UsageError
from dmamigrate.findings import Finding, Kind, Origin, Partner
from dmamigrate.lives.api import DMA_CALLS
from dmamigrate.lives.attributes import Attributes
from dmamigrate.lives.detect.defects import Defect
from dmamigrate.lives.pair import Life, Site, span
from dmamigrate.program.types import Types
from dmamigrate.rules import Rule
from dmamigrate.syntax.expr import Assign, Call, Expr, Initializer, Member, strip, walk
from dmamigrate.syntax.functions import Function
from dmamigrate.syntax.unit import Unit

_DMA_ADDRESS_STORE = re.compile(rb"dma_address(?:\s*\([^;{}]*\))?\s*=(?!=)")


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
    return tuple(_partner(site) for site in sites)


def _partner(site: Site) -> Partner:
    callee = site.call.parts[0]
    return Partner(site.api.role, span(site.fn.source, callee.start, callee.end), site.fn.name, site.call.name)


def by_origin(
    rules: Iterable[Rule], life: Life, origins: dict[str, Origin], attributes: Attributes
) -> Iterator[tuple[Rule, Finding]]:
    """The findings of the rules that ask where an argument of the map call comes from."""
    site = life.map
    asking = [
        rule
        for rule in rules
        if site.call.name in rule.callee and rule.argument in origins and _attributes_fit(rule, site, attributes)
    ]
    fitting = [rule for rule in asking if applies(rule, origins[rule.argument])]
    # what no rule may claim on this evidence is unknown to all of them
    for rule in fitting or [
        rule for rule in asking if Kind.UNKNOWN in rule.origins and not origins[rule.argument].certain
    ]:
        yield rule, _finding(rule, site, origins[rule.argument], partners(life))


def _attributes_fit(rule: Rule, site: Site, attributes: Attributes) -> bool:
    """Whether the call has, or lacks, on every path the attribute that the rule asks for."""
    if rule.has is None and rule.lacks is None:
        return True
    given = attributes.always(site)
    if given is None:
        return False
    return (rule.has is None or rule.has in given) and (rule.lacks is None or rule.lacks not in given)


def defect(rule: Rule, found: Defect) -> Finding:
    """Something wrong with a life."""
    who = partners(found.life) if found.life is not None else ()
    return replace(_finding(rule, found.site, found.origin, who, found.facts), trail=found.trail)


def _finding(
    rule: Rule, site: Site, origin: Origin | None, who: tuple[Partner, ...], facts: dict[str, str] | None = None
) -> Finding:
    callee = site.call.parts[0]
    address = next((site.text(role) for role in ("phys", "page", "ptr", "addr", "state") if role in site.api.roles), "")
    texts = {"phys": address, "addr": address} | {role: site.text(role) for role in site.api.roles} | (facts or {})
    known = (origin.gave_up or f"it is {', '.join(origin.kinds)}") if origin is not None else ""
    message = rule.message.format(call=site.call.name, gave_up=known, **texts)
    if origin is not None and not origin.certain and len(origin.kinds) > 1:
        shares = ", ".join(f"{kind} on {count}" for kind, count in origin.shares)
        message += f" (not certain: of the paths to it, {shares})"
    call = site.fn.source.text(site.call.start, site.call.end)
    return Finding(
        rule.id, rule.level, rule.category, span(site.fn.source, callee.start, callee.end), site.fn.name, site.call.name, message,
        fingerprint(rule.id, site.fn, site.call.name, call), origin, partners=who,
    )  # fmt: skip


def at(unit: Unit, line: int, column: int | None, argument: int | None) -> tuple[Function, int, Expr]:
    """The expression that a place means: an argument of the call that stands there, else what stands there itself.

    Raises UsageError if nothing to trace stands there, or if the call has no such argument.
    """
    source = unit.source
    where = f"{source.path}:{line}"
    start, end = source.offset(line), source.offset(line + 1)
    offset = start + column - 1 if column is not None else start
    fn = unit.function_at(offset) or unit.function_at(max(start, end - 2))
    if fn is None:
        raise UsageError(f"{where}: no function holds this line; name a line inside one")
    calls = [
        (i, c)
        for i, c in fn.calls
        if (c.start <= offset < c.end if column is not None else start <= c.parts[0].start < end)
    ]
    named = sorted(
        calls,
        key=lambda found: (found[1].name not in DMA_CALLS, -found[1].start if column is not None else found[1].start),
    )
    exact = argument is not None or column is not None or (named and named[0][1].name in DMA_CALLS)
    if (
        named
        and exact
        and (argument is not None or column is None or named[0][1].parts[0].start <= offset < named[0][1].parts[0].end)
    ):
        index, call = named[0]
        wanted = argument if argument is not None else _address_position(call)
        if wanted >= len(call.args):
            raise UsageError(
                f"{where}: {call.name or 'the call'}() has {len(call.args)} arguments; --arg counts from 0"
            )
        return fn, index, call.args[wanted]
    for index, node in enumerate(fn.nodes):
        inside = [e for e in walk(node.expr) if e.start >= 0] if node.expr is not None else []
        if column is not None:
            inside = [e for e in inside if e.start <= offset < e.end]
            if inside:
                return fn, index, min(inside, key=lambda e: e.end - e.start)
            continue
        values = [e.parts[1] for e in inside if isinstance(e, Assign) and start <= e.start < end]
        # a designated initialiser
        values += [part for e in inside if isinstance(e, Initializer) for part in e.parts if start <= part.start < end]
        if values:
            return fn, index, values[0]
    if named and column is None:
        return fn, named[0][0], named[0][1].args[0] if named[0][1].args else named[0][1]
    raise UsageError(f"{where}: no call or assignment to trace; give LINE:COLUMN of an expression")


def _address_position(call: Call) -> int:
    api = DMA_CALLS.get(call.name)
    if api is None:
        return 0
    return next(p for p in (api.position(role) for role in ("phys", "addr", "page", "ptr")) if p >= 0)


def dma_address_stores(unit: Unit, types: Types) -> Iterator[tuple[Function, int, Assign]]:
    """The assignments of one file to the DMA address of a scatterlist entry."""
    if _DMA_ADDRESS_STORE.search(unit.source.data) is None:
        return
    seen: set[int] = set()
    for found in _DMA_ADDRESS_STORE.finditer(unit.source.blanked):
        item = unit.item_at(found.start())
        if item is None or item.kind != "function" or item.head in seen:
            continue
        seen.add(item.head)
        fn = unit.function(item)
        for index, node in enumerate(fn.nodes):
            for expr in walk(node.expr) if node.expr is not None else ():
                if isinstance(expr, Assign) and expr.op == "=" and _is_dma_address(expr, fn, unit, types):
                    yield fn, index, expr


def _is_dma_address(store: Assign, fn: Function, unit: Unit, types: Types) -> bool:
    target = strip(store.parts[0])
    if isinstance(target, Call):
        return target.name == "sg_dma_address"
    if not isinstance(target, Member) or target.field != "dma_address":
        return False
    found = types.member(target, fn, unit)
    return found is not None and found[0] == "scatterlist"


def stored(rule: Rule, fn: Function, store: Assign, origin: Origin) -> Finding:
    """A value stored where a DMA address belongs."""
    value = store.parts[1]
    text = fn.source.text(value.start, value.end)
    return Finding(
        rule.id, rule.level, rule.category, span(fn.source, value.start, value.end), fn.name, "sg_dma_address",
        rule.message.format(value=text), fingerprint(rule.id, fn, "sg_dma_address", text), origin,
    )  # fmt: skip
