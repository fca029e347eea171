# SPDX-License-Identifier: GPL-2.0-only
"""Addresses of device memory that reach a device as they are, where a DMA address belongs.

The sinks are those of rules/api: members and calls that take a DMA address, and what writes a number into a descriptor
or a register. A driver may well tell the device that it is bound to where that device's own memory lies: of the latter
only those are looked at that name what another device's BAR was put into.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from dmamigrate.findings import Kind, Origin
from dmamigrate.lives.module import Module
from dmamigrate.paths.places import assigned
from dmamigrate.program.reach import reaching
from dmamigrate.syntax.expr import Assign, Binary, Call, Expr, Member, Name, strip, walk
from dmamigrate.syntax.functions import Function
from dmamigrate.syntax.unit import Unit
from dmamigrate.values.probed import Probed
from dmamigrate.values.questions import Use

RULES = ("bar-as-dma-addr", "mmio-as-dma-addr")
WORDS = ("sg_dma_address", "dma_address")
_RULE = {Kind.PCI_BAR: "bar-as-dma-addr", Kind.MMIO: "mmio-as-dma-addr", Kind.PFNMAP: "mmio-as-dma-addr"}
# include/linux/pci.h: what gives the physical address of a BAR
SOURCES = ("pci_resource_start", "pci_resource_n")
_QUESTIONS = 300
_TRANSLATING = frozenset({"|", "&", "^", ">>", "<<", "%"})
_CALLERS = 16  # of one function that hands an address on
_TARGET = re.compile(rb"(\w+)\s*(?:\[[^\]]*\]\s*)*=(?!=)")
_LONGEST = 800  # bytes from a name back to the beginning of its statement
_HELD = re.compile(rb"\bstruct\s+pci_dev\s*\*\s*(\w+)\s*;")
_STORE = re.compile(rb"dma_address(?:\s*\([^;{}]*\))?\s*=(?!=)")
# drivers/pci/search.c, drivers/pci/pci.c: what gives a device that is not the driver's own
_LOOKED_UP = ("pci_get_", "pci_find_", "pcie_find_", "pci_upstream_bridge(", "pci_physfn(")


@dataclass(frozen=True)
class Stored:
    """A value that a device is given as a DMA address, by what (`sink`), and where it comes from."""

    rule: str
    fn: Function
    value: Expr
    sink: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class _Candidate:
    fn: Function
    node: int
    value: Expr
    sink: str
    # whether the sink takes nothing but DMA addresses
    typed: bool


def find(module: Module) -> Iterator[Stored]:
    """What the files of one module give out as a DMA address and is none."""
    tree, knowledge = module.engine.tree, module.engine.values.tables.knowledge
    folder = tree.module(module.files[0])
    words = {word for kind in _RULE for word in knowledge.words_for(kind)}
    if tree.is_driver_folder(folder) and not tree.mentions(words, folder):
        return
    seen: set[tuple[str, int]] = set()
    for one in (*_to_members(module), *_to_calls(module), *_to_descriptors(module)):
        yield from _raw(module, one, seen)


def _raw(module: Module, one: _Candidate, seen: set[tuple[str, int]], depth: int = 4) -> Iterator[Stored]:
    """What is given out there if it surely is no DMA address; where that is not said of the whole, its parts are asked
    one by one.
    """
    value = strip(one.value)
    if (one.fn.source.path, value.start) in seen or (isinstance(value, Binary) and value.op in _TRANSLATING):
        return
    seen.add((one.fn.source.path, value.start))
    # only a certain answer is of use, and those are found soon
    with module.engine.values.queries.sparing(_QUESTIONS):
        origin = module.engine.origins.of(Use(one.fn, one.node, one.value))
    rule = _RULE.get(origin.kinds[0]) if origin.certain else None
    if rule is not None and (one.typed or rule == "bar-as-dma-addr"):
        yield Stored(rule, one.fn, one.value, one.sink, origin)
    elif one.typed and depth > 0 and not {*_RULE}.isdisjoint(origin.kinds):
        for part in _parts(module, one):
            yield from _raw(module, part, seen, depth - 1)


def _parts(module: Module, one: _Candidate) -> list[_Candidate]:
    """The values that a local may have been set to, or what each caller hands to a parameter that is only handed on.

    One of them may be a DMA address and another not: where one ran, the other did not.
    """
    fn, value = one.fn, strip(one.value)
    if fn.macro or not isinstance(value, Name) or value.variable < 0:
        return []
    position = fn.variables[value.variable].position
    if position >= 0 and value.variable not in assigned(fn):
        callers = module.engine.stores.callers(fn)[0][:_CALLERS]
        own = [site for site in callers if site.fn.source.path in module.files and position < len(site.call.args)]
        return [replace(one, fn=site.fn, node=site.node, value=site.call.args[position]) for site in own]
    found = reaching(fn, one.node, value)
    return [
        replace(one, node=at.node, value=at.value)
        for at in found.definitions
        if at.value is not None and at.call is None and not found.entry
    ]


def _to_members(module: Module) -> Iterator[_Candidate]:
    """The stores to the DMA address of a scatterlist entry."""
    for path in module.files:
        unit = module.engine.tree.unit(path)
        if unit is None or _STORE.search(unit.source.data) is None:
            continue
        for fn in unit.functions_with(_STORE):
            for index, node in enumerate(fn.nodes):
                for expr in walk(node.expr) if node.expr is not None else ():
                    if isinstance(expr, Assign) and expr.op == "=" and _is_dma_address(module, expr, fn, unit):
                        yield _Candidate(fn, index, expr.parts[1], "sg_dma_address", True)


def _to_calls(module: Module) -> Iterator[_Candidate]:
    """The arguments of calls that take DMA addresses."""
    typed = {name: sink.arguments for name, sink in module.engine.api.sinks.items() if sink.typed}
    pattern = _calls_of(typed)
    for path in module.files:
        unit = module.engine.tree.unit(path)
        for fn in unit.functions_with(pattern) if unit is not None else ():
            for index, call in fn.calls:
                name = _called(call)
                for position in typed.get(name, ()):
                    if position < len(call.args):
                        yield _Candidate(fn, index, call.args[position], name, True)


def _called(call: Call) -> str:
    """The name of a callee, or of the operation of a struct that is called."""
    callee = strip(call.parts[0])
    return callee.field if isinstance(callee, Member) else call.name


def _to_descriptors(module: Module) -> Iterator[_Candidate]:
    """The arguments of calls that make a number one for a device, where they name what another device's BAR was put
    into.
    """
    plain = {name: sink.arguments for name, sink in module.engine.api.sinks.items() if not sink.typed}
    for path in _with_others(module):
        unit = module.engine.tree.unit(path)
        if unit is None:
            continue
        names = _kept(module, unit) | {name.encode() for name in SOURCES}
        words = re.compile(rb"\b(?:" + b"|".join(re.escape(name) for name in sorted(names)) + rb")\b")
        for fn in unit.functions_with(words):
            for index, call in fn.calls:
                for position in plain.get(call.name, ()):
                    given = call.args[position] if position < len(call.args) else None
                    if given is None or not words.search(_text(fn, given)):
                        continue
                    asked = [part for part in walk(given) if isinstance(part, Call) and part.name in SOURCES]
                    if all(_is_anothers(module, fn, index, one) for one in asked):
                        yield _Candidate(fn, index, given, call.name, False)


def _with_others(module: Module) -> list[str]:
    """The files that ask for a BAR, if the driver knows of more than one PCI function."""
    tree = module.engine.tree
    units = {path: unit.source.data for path in module.files if (unit := tree.unit(path)) is not None}
    asking = [path for path, data in units.items() if any(word.encode() in data for word in SOURCES)]
    folder = tree.module(module.files[0])
    near = (
        [path for path in tree.search("pci_dev", folder) if path.endswith(".h")]
        if tree.is_driver_folder(folder)
        else []
    )
    texts = [*(units[path] for path in asking), *(tree.contents(path) for path in near)] if asking else []
    held = {name for text in texts for name in _HELD.findall(text)}
    looked_up = any(word.rstrip("(").encode() in units[path] for path in asking for word in _LOOKED_UP)
    return asking if len(held) > 1 or looked_up else []


def _calls_of(sinks: Iterable[str]) -> re.Pattern[bytes]:
    return re.compile(rb"\b(?:" + b"|".join(re.escape(name.encode()) for name in sorted(sinks)) + rb")\s*\(")


def _kept(module: Module, unit: Unit) -> set[bytes]:
    """The names of what another device's BAR is put into in one file, and of what that is put into."""
    calls = _calls_of(SOURCES)
    if calls.search(unit.source.data) is None:
        return set()
    found: set[bytes] = set()
    for fn in unit.functions_with(calls):
        for index, node in enumerate(fn.nodes):
            for store in walk(node.expr) if node.expr is not None else ():
                held = (
                    [part for part in walk(store.parts[1]) if isinstance(part, Call)]
                    if isinstance(store, Assign)
                    else []
                )
                if any(one.name in SOURCES and _is_anothers(module, fn, index, one) for one in held):
                    found |= _last_word(fn, store.parts[0])
    return found | _put_into(unit, found)


def _put_into(unit: Unit, words: Iterable[bytes]) -> set[bytes]:
    """The names of what is stored, in one file, from an expression that names one of `words`."""
    held = b"|".join(re.escape(word) for word in sorted(words))
    text = unit.source.blanked
    found: set[bytes] = set()
    for match in re.finditer(rb"\b(?:" + held + rb")\b", text) if held else ():
        nearest = max(0, match.start() - _LONGEST)
        start = max(nearest, *(text.rfind(end, nearest, match.start()) for end in (b";", b"{", b"}")))
        found |= {*_TARGET.findall(text, start, match.start())}
    return found


def _last_word(fn: Function, place: Expr) -> set[bytes]:
    return {*re.findall(rb"\w+", _text(fn, place))[-1:]}


def _is_anothers(module: Module, fn: Function, node: int, call: Call) -> bool:
    """Whether the struct pci_dev of a call is surely not the one that the driver is bound to.

    It was looked up, or is one of several that one struct of the driver's holds and no way leads to it from probe().
    """
    if not call.args:
        return False
    device = strip(call.args[0])
    engine, unit = module.engine, module.engine.flow.unit(fn)
    use = Use(fn, node, device)
    if isinstance(device, Member):
        owner = engine.types.member(device, fn, unit)
        fields = engine.tree.struct(owner[0], unit) if owner is not None else None
        several = (
            sum(kind.base == "struct pci_dev" and kind.pointers == 1 for kind in fields[0].values()) if fields else 0
        )
        return several > 1 and not Probed(engine.values).is_own(use)
    return engine.terms.of(use).startswith(_LOOKED_UP)


def _text(fn: Function, expr: Expr) -> bytes:
    return fn.source.blanked[max(expr.start, 0) : max(expr.end, 0)]


def _is_dma_address(module: Module, store: Assign, fn: Function, unit: Unit) -> bool:
    target = strip(store.parts[0])
    if isinstance(target, Call):
        return target.name == "sg_dma_address"
    if not isinstance(target, Member) or target.field != "dma_address":
        return False
    found = module.engine.types.member(target, fn, unit)
    return found is not None and found[0] == "scatterlist"
