# SPDX-License-Identifier: GPL-2.0-only
"""Uses of what the DMA layer renamed or removed: functions, hooks, tracepoints, and callbacks of struct dma_map_ops."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from dmamigrate.api import Renamed
from dmamigrate.findings import Finding, Span
from dmamigrate.lives.sites import span
from dmamigrate.model.versions import release
from dmamigrate.rules import Rule
from dmamigrate.syntax.arms import only_for_older_kernels
from dmamigrate.syntax.expr import Assign, Call, Expr, Initializer, Member, Name, strip, walk
from dmamigrate.syntax.functions import Function
from dmamigrate.syntax.items import Item
from dmamigrate.syntax.unit import Unit, holds_word
from dmamigrate.values.engine import Engine

RULES = ("renamed-dma-internal", "legacy-dma-ops")
OPS = "dma_map_ops"
# include/linux/tracepoint.h: what __DECLARE_TRACE() makes of a tracepoint's name, beside the call itself
_OF_A_TRACEPOINT = ("register_{}", "unregister_{}", "{}_enabled")
_TABLE = re.compile(rb"\b(?:struct\s+dma_map_ops)\b[^;{}=]*=\s*\{")


@dataclass(frozen=True)
class Use:
    """A use of an old name; `value` is what a callback is set to, `sets` whether it is one that is set."""

    rule: str
    span: Span
    function: str
    entry: Renamed
    value: str = ""
    sets: bool = False


def find(engine: Engine, files: tuple[str, ...], rules: frozenset[str], target: str) -> Iterator[Use]:
    """What these files use that the target version has no more."""
    api = engine.api
    names = {name: one for name, one in api.renamed.items() if release(one.since) <= release(target)}
    callbacks = {name: one for name, one in api.callbacks.items() if release(one.since) <= release(target)}
    for path in files:
        unit = engine.tree.unit(path)
        if unit is None or path.startswith(api.core):
            continue
        if "renamed-dma-internal" in rules:
            mine = {name: one for name, one in names.items() if name.encode() in unit.source.data}
            uses = _names(engine, unit, mine) if mine else ()
            yield from (use for use in uses if not _only_for_older(unit, use))
        if "legacy-dma-ops" in rules and callbacks and OPS.encode() in unit.source.data:
            members = (*_tables(engine, unit, callbacks), *_in_functions(engine, unit, callbacks))
            yield from (use for use in members if not _only_for_older(unit, use))


def _only_for_older(unit: Unit, use: Use) -> bool:
    return only_for_older_kernels(unit.source, use.span.start, release(use.entry.since))


def _names(engine: Engine, unit: Unit, names: dict[str, Renamed]) -> Iterator[Use]:
    source = unit.source
    for name, entry in sorted(names.items()):
        if not source.path.startswith(entry.under) or (not entry.hook and _is_ones_own(engine, unit, name)):
            continue
        for found in re.finditer(rb"\b" + re.escape(name.encode()) + rb"\b", source.blanked):
            place = found.start(), found.end()
            item = unit.item_at(found.start())
            fn = unit.function_at(found.start())
            head = item is not None and item.kind == "function" and found.start() < item.body
            if (fn is None and item is None and not entry.hook) or (item is not None and item.kind == "type"):
                continue  # a declaration, a member, or a macro that nobody expands here
            if head:
                if entry.hook:
                    yield Use("renamed-dma-internal", source_span(unit, *place), name, entry)
                continue
            initialised = item is not None and item.kind == "variable"
            if (fn is not None and not _is_meant(fn, name, found.start(), entry)) or (
                initialised and entry.arguments is not None
            ):
                continue
            yield Use("renamed-dma-internal", source_span(unit, *place), fn.name if fn is not None else "", entry)
        # a probe is set by name, include/linux/kprobes.h
        for found in re.finditer(rb"\bsymbol_name\s*=\s*\"(" + re.escape(name.encode()) + rb")\"", source.data):
            yield Use("renamed-dma-internal", source_span(unit, *found.span(1)), "", entry)
        for other in spellings(name)[1:]:
            for found in re.finditer(rb"\b" + re.escape(other.encode()) + rb"\b", source.blanked):
                yield Use("renamed-dma-internal", source_span(unit, *found.span()), "", entry)


def spellings(name: str) -> tuple[str, ...]:
    """The identifiers that are made of a name, itself the first."""
    return (name, *(form.format(name) for form in _OF_A_TRACEPOINT if name.startswith("trace_")))


def _is_ones_own(engine: Engine, unit: Unit, name: str) -> bool:
    """Whether the driver defines, or declares, something of its own by this name."""
    if unit.named("function", name) or unit.variable(name) is not None or unit.macros(name):
        return True
    return any(not one.source.path.startswith("include/") for one in engine.tree.functions(name, unit))


def _is_meant(fn: Function, name: str, at: int, entry: Renamed) -> bool:
    """Whether the word at `at` is the name of the kernel's, and not a local's or a member's; with as many arguments."""
    for node in fn.nodes:
        for part in walk(node.expr) if node.expr is not None else ():
            if isinstance(part, Call) and part.parts[0].start == at:
                return part.name == name and entry.arguments in (None, len(part.args))
            if isinstance(part, Name) and part.start == at:
                return part.variable < 0 and entry.arguments is None
    return False


def _tables(engine: Engine, unit: Unit, callbacks: dict[str, Renamed]) -> Iterator[Use]:
    if _TABLE.search(unit.source.blanked) is None:
        return
    for item in unit.items:
        if item.kind == "variable" and _TABLE.search(unit.source.code, item.head, item.body + 1) is not None:
            value = strip(unit.initial_value(item))
            text = unit.source.code[item.body : item.end]
            for field, part in _set(engine, unit, value) if isinstance(value, Initializer) else ():
                # beside its successor it stands for kernels that have no such member, whatever #if tells them apart
                if field in callbacks and not holds_word(text, callbacks[field].to.encode()):
                    yield _callback(unit, item, part, callbacks[field])


def _set(engine: Engine, unit: Unit, value: Initializer) -> Iterator[tuple[str, Expr]]:
    """The members that an initialiser sets, with their values: where one has no name, by the struct's order."""
    known = engine.tree.struct(OPS, unit) if "" in value.fields else None
    order = list(known[0]) if known is not None else []
    at = 0
    for field, part in zip(value.fields, value.parts, strict=True):
        name = field or (order[at] if at < len(order) else "")
        at = order.index(name) + 1 if name in order else at + 1
        yield name, part


def _callback(unit: Unit, item: Item, part: Expr, entry: Renamed) -> Use:
    text = unit.source.blanked
    start, end = max(part.start, item.body), max(part.end, item.body)
    named = re.compile(rb"\.\s*(" + entry.name.encode() + rb")\s*=\s*\Z").search(text, item.body, start)
    place = named.span(1) if named is not None else (start, end)
    return Use("legacy-dma-ops", source_span(unit, *place), item.name, entry, _text(unit, part), sets=True)


def _in_functions(engine: Engine, unit: Unit, callbacks: dict[str, Renamed]) -> Iterator[Use]:
    """Callbacks that are set at run time, and those that are called."""
    member = rb"(?:->|\.)\s*(?:" + b"|".join(name.encode() for name in callbacks) + rb")\s*(?:=(?!=)|\()"
    for fn in unit.functions_with(re.compile(member)):
        for node in fn.nodes:
            for one in walk(node.expr) if node.expr is not None else ():
                target = strip(one.parts[0]) if isinstance(one, Assign | Call) else None
                if not isinstance(target, Member) or target.field not in callbacks:
                    continue
                owner = engine.types.member(target, fn, unit)
                if owner is not None and owner[0] == OPS:
                    sets = isinstance(one, Assign)
                    place = source_span(unit, target.end - len(target.field), target.end)
                    value = _text(unit, one.parts[1]) if sets else fn.name
                    yield Use("legacy-dma-ops", place, fn.name, callbacks[target.field], value, sets)


def _text(unit: Unit, expr: Expr) -> str:
    return unit.source.text(max(expr.start, 0), max(expr.end, 0))


def source_span(unit: Unit, start: int, end: int) -> Span:
    """The place from byte `start` to byte `end`, exclusive."""
    return span(unit.source, start, end)


def finding(rule: Rule, found: Use) -> Finding:
    """A use of what the DMA layer has no more."""
    entry, where = found.entry, found.span
    words = (rule.id, where.path, found.function, entry.name, found.value)
    facts = {"what": entry.name, "to": entry.to, "since": entry.since, "how": entry.how, "value": found.value}
    message = rule.message.format(**facts)
    name = hashlib.sha256("\0".join(words).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return Finding(rule.id, rule.level, rule.category, where, found.function, entry.name, message, name, None)
