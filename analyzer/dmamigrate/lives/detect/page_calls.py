# SPDX-License-Identifier: GPL-2.0-only
"""The calls for system memory on what they cannot map: P2P memory, BARs, registers, and anything with DMA_ATTR_MMIO.

A pointer that ioremap() returned has no struct page that virt_to_page() could find, and nothing of it may be bounced or
cleaned from caches. Only what the text says may lead from such a call to the argument is traced.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from dmamigrate.api import Api
from dmamigrate.findings import Kind, Origin
from dmamigrate.lives.module import Defect, Module
from dmamigrate.lives.sites import Site, in_file, used
from dmamigrate.syntax.expr import Call, Expr, path_of
from dmamigrate.syntax.unit import Unit
from dmamigrate.values.questions import Use

RULES = ("page-api-on-mmio", "sync-on-mmio")
_MMIO = "DMA_ATTR_MMIO"
# Where P2P memory comes from; a file without these has none that could be told, and one without the flag cannot pass
# it.
_MAKES_P2P = ("pci_alloc_p2pmem", "pci_p2pmem_alloc_sgl", "is_pci_p2pdma_page")
WORDS = (*_MAKES_P2P, _MMIO)
# include/linux/scatterlist.h, lib/scatterlist.c: what puts a kernel buffer, or a page, into an entry
_FILLS = ("sg_init_one", "sg_set_buf", "sg_set_page")
_WORD = re.compile(rb"[A-Za-z_]\w*")
_STORED = re.compile(rb"\b([A-Za-z_]\w*)\s*(?:\[[^\]]*\]\s*)*=(?!=)(?=([^;{}]{1,400}))")
_HOPS = 3
_DEVICE_MEMORY = frozenset({Kind.P2P, Kind.PCI_BAR, Kind.MMIO})


def callees(api: Api) -> tuple[str, ...]:
    """The calls that take what they map for system memory."""
    return (*_single(api), *api.named("map_sg"))


def _single(api: Api) -> tuple[str, ...]:
    return tuple(name for name in api.named("map", False) if api.calls[name].family in ("page", "single"))


def find(module: Module) -> Iterator[Defect]:
    """The calls of the page API that always fail, or that map device memory as if it were the kernel's."""
    engine = module.engine
    io = frozenset(name.encode() for name in engine.values.tables.knowledge.io_calls)
    given = re.compile(
        rb"\b(?:"
        + b"|".join(re.escape(name.encode()) for name in (*callees(engine.api), *_FILLS))
        + rb")\s*\(([^;{}]*)"
    )
    for path in module.files:
        unit = engine.tree.unit(path)
        data = unit.source.data if unit is not None else b""
        p2p = any(word.encode() in data for word in _MAKES_P2P)
        if unit is not None and (
            p2p or _MMIO.encode() in data or _leads(_stored(data), map(_second, given.findall(data)), io)
        ):
            yield from _in_file(module, unit, p2p, io)


def _in_file(module: Module, unit: Unit, p2p: bool, io: frozenset[bytes]) -> Iterator[Defect]:
    engine = module.engine
    stored = _stored(unit.source.blanked)
    for site in (one for found in in_file(unit, engine.api, _single(engine.api))[0] for one in used(engine, found)):
        given = module.given(site).attributes
        if given and any(_MMIO in one for one in given.values):
            yield Defect("page-api-on-mmio", site, {"what": f"{_MMIO} makes {site.call.name}() fail"})
        elif p2p or _leads(stored, [_text(site)], io):
            found = list(_on_device_memory(site, module.given(site).address))
            yield from found
            yield from _synced(module, site) if found else ()
    for site in in_file(unit, engine.api, engine.api.named("map_sg"))[0]:
        for node, value in _entries(site):
            if _leads(stored, [site.fn.source.blanked[value.start : value.end]], io):
                yield from _on_device_memory(site, engine.origins.of(Use(site.fn, node, value)))


def _second(arguments: bytes) -> bytes:
    """The second of the arguments that a text begins with."""
    depth, start = 0, -1
    for at, byte in enumerate(arguments):
        depth += (byte in b"([") - (byte in b")]")
        if depth < 0 or (byte == 0x2C and depth == 0):
            if start >= 0 or depth < 0:
                return arguments[max(start, 0) : at]
            start = at + 1
    return arguments[max(start, 0) :]


def _stored(text: bytes) -> dict[bytes, list[bytes]]:
    """For each name of a text what is stored to it."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in _STORED.findall(text):
        found.setdefault(name, []).append(value)
    return found


def _leads(stored: dict[bytes, list[bytes]], values: Iterable[bytes], io: frozenset[bytes]) -> bool:
    """Whether one of some values may come from one of `io`: what it names, what is stored to that, and so on."""
    known, new = set[bytes](), {word for value in values for word in _WORD.findall(value)}
    for _ in range(_HOPS):
        if not new.isdisjoint(io):
            return True
        known |= new
        new = {word for name in new for value in stored.get(name, ()) for word in _WORD.findall(value)} - known
    return not new.isdisjoint(io)


def _on_device_memory(site: Site, origin: Origin | None) -> Iterator[Defect]:
    if origin is not None and {*origin.kinds} <= _DEVICE_MEMORY:
        what = f"this is {' or '.join(origin.kinds)} memory, and the call takes it for RAM"
        yield Defect("page-api-on-mmio", site, {"what": what}, origin=origin)


def _synced(module: Module, site: Site) -> Iterator[Defect]:
    """The syncs of what a call mapped as system memory and is not; lives of the page API are paired with --pages
    only.
    """
    for life in module.pairs.lives:
        if life.map.key == site.key:
            yield from (Defect("sync-on-mmio", one, {"map": life.map.where}, life) for one in life.syncs)


def _entries(site: Site) -> Iterator[tuple[int, Expr]]:
    """What the function of a call that maps a list puts into entries of that list, and where."""
    sg = site.argument("sg")
    place = path_of(sg) if sg is not None else None
    for node, call in site.fn.calls if place is not None else ():
        if call.name in _FILLS and len(call.args) > 1 and _same_list(call, place or ""):
            yield node, call.args[1]


def _same_list(call: Call, place: str) -> bool:
    filled = path_of(call.args[0])
    return filled is not None and filled.lstrip("&").partition("[")[0] == place.lstrip("&").partition("[")[0]


def _text(site: Site) -> bytes:
    argument = next((a for role in ("ptr", "page", "phys") if (a := site.argument(role)) is not None), None)
    return site.fn.source.blanked[argument.start : argument.end] if argument is not None else b""
