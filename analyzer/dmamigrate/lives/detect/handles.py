# SPDX-License-Identifier: GPL-2.0-only
"""Unmaps that are given something other than what a map returned, or whose map cannot be found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dmamigrate.findings import Kind, Origin
from dmamigrate.lives.detect.guards import asked, deciding
from dmamigrate.lives.module import Defect, Module
from dmamigrate.lives.pair import Life, kept_in
from dmamigrate.lives.sites import Site
from dmamigrate.syntax.expr import Assign, Binary, Member, path_of, strip, walk
from dmamigrate.syntax.functions import Function
from dmamigrate.values.engine import Engine
from dmamigrate.values.questions import Use

RULES = ("unmap-wrong-handle", "unmap-orphan")
_ADDRESSES = frozenset({Kind.PCI_BAR, Kind.P2P, Kind.MMIO, Kind.RAM, Kind.PFNMAP})


def find(module: Module) -> Iterator[Defect]:
    """The unmaps that are given an address that was never a handle, and those without a map.

    An unmap of a call that needs no migration any more counts only where its handle was followed to the end, or is a
    member of the driver's own that nothing sets: core code unmaps what other code mapped. Where code that is not in
    sight has a part of the answer, an exported function's caller say, the map is not followed, and nothing is said.
    """
    for life in module.pairs.lives:
        for site in life.mistaken:
            yield Defect("unmap-wrong-handle", site, {"what": "the address that was mapped"}, life)
    yield from _kept_raw(module)
    engine = module.engine
    for site, origin in module.pairs.orphans:
        if (coherent := _coherent(module, site)) and origin.certain:
            yield Defect("unmap-wrong-handle", site, {"what": f"the address of {coherent}() memory"}, origin=origin)
        elif origin.certain and origin.kinds[0] in _ADDRESSES:
            if any(
                compares(engine, life.map) for life in module.pairs.lives if engine.api.fits(life.map.api, site.api)
            ):
                continue  # the driver goes on only where the handle is the address
            yield Defect("unmap-wrong-handle", site, {"what": f"a {origin.kinds[0]} address"}, origin=origin)
        elif _never_set(site, engine) or (
            not origin.outside
            and Kind.DMA_ADDR not in origin.kinds  # somebody mapped it
            and (site.api.family == "resource" or origin.gave_up is None)
        ):
            yield Defect("unmap-orphan", site, {}, origin=origin)


def compares(engine: Engine, site: Site) -> bool:
    """Whether the function that maps asks if the handle is the address of some memory, as io-pgtable does of the
    physical one.
    """
    handle, fn = kept_in(site), site.fn
    path = path_of(handle) if handle is not None else None
    return path is not None and any(
        path_of(one) == path and not _ADDRESSES.isdisjoint(engine.origins.of(Use(fn, index, other)).kinds)
        for index, node in enumerate(fn.nodes)
        for part in (walk(node.expr) if node.expr is not None else ())
        if isinstance(part, Binary) and part.op in ("==", "!=")
        for one, other in (part.parts, part.parts[::-1])
    )


def _coherent(module: Module, site: Site) -> str:
    """The call that allocated what the handle stands for, if no mapping but only such calls made it; else ""."""
    handle, engine = site.argument("addr"), module.engine
    makers = engine.origins.makers(site.use(handle))[1] if handle is not None else frozenset()
    names = {_called_at(engine, path, at) for path, at in makers}
    return min(names) if names and names <= {*engine.api.named("coherent")} else ""


def _called_at(engine: Engine, path: str, at: int) -> str:
    unit = engine.tree.unit(path)
    fn = unit.function_at(at) if unit is not None else None
    return next((call.name for _, call in fn.calls if call.start == at), "") if fn is not None else ""


def _kept_raw(module: Module) -> Iterator[Defect]:
    """The unmaps of what is a handle on one arm and the plain address on the other, whichever of them ran."""
    raws: dict[tuple[Function, str], tuple[_Raw, ...]] = {}
    for life in module.pairs.lives:
        target, fn = kept_in(life.map), life.map.fn
        path = path_of(target) if isinstance(target, Member) and not fn.macro else None
        if path is None:
            continue
        if (fn, path) not in raws:
            raws[fn, path] = tuple(_raw_stores(module.engine, fn, path))
        raw = next((one for one in raws[fn, path] if _apart(fn, one.node, life.map.node)), None)
        for unmap in life.unmaps if raw is not None else ():
            assert raw is not None, "told by the condition"
            if unmap.fn is not fn and not _tells_apart(module, life, raw.node, unmap):
                what = f"a {raw.kind} address where nothing was mapped, {fn.source.path}:{raw.line}"
                yield Defect("unmap-wrong-handle", unmap, {"what": what}, life, raw.origin)


@dataclass(frozen=True)
class _Raw:
    """A store of an address that was never mapped: where, and what the address is."""

    node: int
    line: int
    kind: Kind
    origin: Origin


def _raw_stores(engine: Engine, fn: Function, path: str) -> Iterator[_Raw]:
    """The stores of an address itself to a place in which a handle is kept."""
    for index, node in enumerate(fn.nodes):
        store = node.expr
        if isinstance(store, Assign) and store.op == "=" and path_of(strip(store.parts[0])) == path:
            origin = engine.origins.of(Use(fn, index, store.parts[1]))
            kinds = _ADDRESSES & {*origin.kinds}
            if kinds and Kind.DMA_ADDR not in origin.kinds:
                yield _Raw(index, fn.source.line(store.start), min(kinds), origin)


def _apart(fn: Function, one: int, other: int) -> list[int]:
    """The branches that lead to the one place this way, to the other place that way."""
    first, second = deciding(fn, one), deciding(fn, other)
    return [index for index in first.keys() & second.keys() if not first[index] & second[index]]


def _tells_apart(module: Module, life: Life, raw: int, unmap: Site) -> bool:
    """Whether the unmap, or who calls it, asks what told the two ways apart, or what only one of them sets."""
    fn = life.map.fn
    branches = _apart(fn, raw, life.map.node)
    told = {name for branch in branches for name in asked(fn, fn.nodes[branch].expr)}
    handle = kept_in(life.map)
    for index, node in enumerate(fn.nodes):
        if {*branches} & deciding(fn, index).keys():
            stores = [part for part in (walk(node.expr) if node.expr is not None else ()) if isinstance(part, Assign)]
            told |= {to.field for store in stores if isinstance(to := strip(store.parts[0]), Member)}
    told -= {handle.field} if isinstance(handle, Member) else set()
    users = [(unmap.fn, unmap.node)]
    for _ in range(3):
        if any(told & {*asked(one, one.nodes[at].expr)} for one, node in users for at in deciding(one, node)):
            return True
        users = [(c.fn, c.node) for one, _ in users for c in module.engine.stores.callers(one)[0]]
    return False


def _never_set(site: Site, engine: Engine) -> bool:
    handle = site.argument("addr")
    member = strip(handle) if handle is not None else None
    if not isinstance(member, Member):
        return False
    unit = engine.flow.unit(site.fn)
    owner = engine.types.member(member, site.fn, unit)
    if owner is None:
        return False
    stores, complete = engine.stores.of_field(owner[0], member.field, unit)
    return complete and not stores
