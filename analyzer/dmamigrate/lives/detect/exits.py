# SPDX-License-Identifier: GPL-2.0-only
"""One mapping along the paths of the function that makes it: exits that skip its unmap, and unmaps that come twice
there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from dmamigrate.findings import Skipped, Step
from dmamigrate.lives.detect.along import ACTIONS, TOLD_ONLY, Along, Before, Exit, Walk, called_back, names
from dmamigrate.lives.detect.handles import compares
from dmamigrate.lives.module import Defect, Module
from dmamigrate.lives.pair import Life
from dmamigrate.lives.sites import Site
from dmamigrate.paths.explore import Explorer
from dmamigrate.paths.guards import bypasses
from dmamigrate.paths.places import Frame
from dmamigrate.paths.state import State, Trail
from dmamigrate.paths.steps import step
from dmamigrate.syntax.expr import Assign, Call, Expr, Member, Name, Unary, strip, walk
from dmamigrate.syntax.functions import Function
from dmamigrate.values.probed import is_probe

RULES = ("mapping-leaked", "unmap-wrong-handle")
# How many explorations' worth of nodes are walked for all mappings of one function.
_EXPLORATIONS = 4
_CALLERS = 8  # of one function that leaves them a handle
_IF = re.compile(rb"^[ \t]*#[ \t]*if", re.MULTILINE)


def find(module: Module) -> Iterator[Defect | Skipped]:
    """The exits that skip an unmap, the probes and callers that leave a mapping behind, and what is unmapped twice."""
    ways = _Ways(module)
    for life in module.pairs.lives:
        yield from _along(module, life, ways)
    for life in module.pairs.lives:
        yield from _probes(module, life)
        yield from _lent(module, life)


class _Ways:
    """What leads to the maps of a function, walked once for all of them."""

    def __init__(self, module: Module) -> None:
        self._engine = module.engine
        self._lives: dict[Function, list[Life]] = {}
        for life in module.pairs.lives:
            self._lives.setdefault(life.map.fn, []).append(life)
        self._known: dict[Function, dict[int, list[State]] | None] = {}
        self._left: dict[Function, int] = {}
        self._places: dict[Function, frozenset[str]] = {}

    def to(self, site: Site) -> list[State] | None:
        """What may be known where `site` maps; None if the ways there are too many."""
        fn = site.fn
        if fn not in self._known:
            before = Before(self._engine, (life.map.node for life in self._lives[fn]))
            explorer = Explorer(self._engine, before)
            explorer.explore(fn)
            self._known[fn] = before.known if explorer.complete else None
        known = self._known[fn]
        return None if known is None else known[site.node]

    def places(self, fn: Function) -> frozenset[str]:
        """Where the handles are kept that a function makes."""
        if fn not in self._places:
            kept = (_kept_in(life.map) for life in self._lives[fn])
            found = (Frame(fn).place(one) for one in kept if one is not None)
            self._places[fn] = frozenset(place for place in found if place is not None)
        return self._places[fn]

    def walk(self, client: Along, site: Site) -> Skipped | None:
        """Follow the mapping that `site` makes on all paths behind it; what is said if there are too many."""
        fn, known = site.fn, self.to(site)
        left = self._left.setdefault(fn, self._engine.budget.steps * _EXPLORATIONS)
        many = "are too many to look for leaks on all; raise --effort"
        if left <= 0:
            where = f"{fn.source.path}:{fn.source.line(fn.start)}"
            return Skipped(where, f"the paths behind the {len(self._lives[fn])} mappings of {fn.name}() {many}")
        explorer = Explorer(self._engine, client, min(left, self._engine.budget.steps))
        if known is not None:
            explorer.explore(fn, site.node, known)
            self._left[fn] -= explorer.walked
        if known is not None and explorer.complete:
            return None
        return Skipped(site.where, f"the paths behind {site.call.name}() {many}")


def _along(module: Module, life: Life, ways: _Ways) -> Iterator[Defect | Skipped]:
    """The exits after a successful map that skip its unmap, and the unmaps of what is unmapped already."""
    fn = life.map.fn
    target = _kept_in(life.map)
    place = Frame(fn).place(target) if target is not None else None
    if target is None or place is None or "[" in place or not life.unmaps or fn.macro:
        return
    if _IF.search(fn.source.blanked, fn.start, fn.end):
        return  # which arms of two #if go together is not known
    cleaning = _cleaning(module, life)
    if _action_before(life, cleaning):
        return  # an error exit has it unmapped, whatever comes first
    kept = _keeping(module, life.map, target) if isinstance(target, Name) else frozenset()
    ends = _ending(fn, life, cleaning) | kept
    client = Along(
        module.engine, Walk(life, place, cleaning, is_probe(fn), (), bypasses(fn, ends), ways.places(fn) - {place})
    )
    if (many := ways.walk(client, life.map)) is not None:
        yield many
        return
    for site, trail in client.never:
        facts = {"what": f"DMA_MAPPING_ERROR: it is also reached where the mapping at {life.map.where} failed"}
        yield Defect(
            "unmap-wrong-handle", site, facts, life, trail=steps_of(trail, Trail(site.fn, site.call, "unmapped", None))
        )
    for site, trail in client.twice:
        facts = {"what": f"the address that was unmapped before; mapped at {life.map.where}"}
        steps = steps_of(trail, Trail(site.fn, site.call, "unmapped again", None))
        yield Defect("unmap-wrong-handle", site, facts, life, trail=steps)
    leak = None if compares(module.engine, life.map) else _leak(module, client, target, life)
    looped = _unmaps_in_loop(life, client.cleaning) or any(_in_loop(fn, node) for node in kept)
    if leak is not None and not looped:
        facts = {"what": "an exit after this map skips its unmap"}
        yield Defect("mapping-leaked", life.map, facts, life, trail=steps_of(leak.trail, None))


def _ending(fn: Function, life: Life, cleaning: frozenset[str]) -> frozenset[int]:
    """The nodes of a function that unmap, or call what does."""
    ended = {end.key for end in life.ends}
    return frozenset(node for node, call in fn.calls if call.name in cleaning or (fn.source.path, call.start) in ended)


def _keeping(module: Module, site: Site, local: Name) -> frozenset[int]:
    """The nodes at which a handle in a local is stored elsewhere, or handed to somebody who may keep it."""
    found: set[int] = set()
    for node in site.fn.naming(local.text):
        for effect in site.fn.effects[node] if node != site.node else ():
            one = effect.expr
            if isinstance(one, Assign):
                given: tuple[Expr, ...] = one.parts[1:]
            else:
                known = isinstance(one, Call) and (
                    one.name in module.engine.api.calls or TOLD_ONLY.fullmatch(one.name) is not None
                )
                given = () if known else one.parts[1:]
            if any(isinstance(part, Name) and part.variable == local.variable for arg in given for part in walk(arg)):
                found.add(node)
    return frozenset(found)


def _action_before(life: Life, cleaning: frozenset[str]) -> bool:
    """Whether an action that unmaps was added before there was a mapping."""
    fn = life.map.fn
    added = [node for node, call in fn.calls if call.name in ACTIONS and names(call, cleaning)]
    return any(life.map.node in _after(fn, node) for node in added)


def _after(fn: Function, node: int) -> set[int]:
    """The nodes that control may reach from one."""
    seen: set[int] = set()
    queue = [edge.to for edge in fn.nodes[node].edges]
    while queue:
        at = queue.pop()
        if at not in seen:
            seen.add(at)
            queue += [edge.to for edge in fn.nodes[at].edges]
    return seen


def _unmaps_in_loop(life: Life, cleaning: frozenset[str]) -> bool:
    """Whether the function that maps unmaps in a loop: that the loop runs at all, no path tells."""
    fn, ended = life.map.fn, {end.key for end in life.ends}
    return any(
        (call.name in cleaning or (fn.source.path, call.start) in ended) and _in_loop(fn, node)
        for node, call in fn.calls
    )


def _probes(module: Module, life: Life) -> Iterator[Defect]:
    """The mappings that a probe() leaves behind when it fails later on: then nothing calls what unmaps them."""
    target = _kept_in(life.map)
    place = Frame(life.map.fn).place(target) if target is not None else None
    if place is None or "[" in place or not life.unmaps or not life.checks or life.map.fn.macro:
        return
    for chain in _chains(module, life.map.fn):
        cleaning = _cleaning(module, life) - {fn.name for fn in (*chain, life.map.fn)}
        if called_back(cleaning, life):
            continue
        if any(call.name in cleaning and _in_loop(fn, at) for fn in (*chain, life.map.fn) for at, call in fn.calls):
            continue  # that the loop runs at all, no path tells
        client = _behind(module, Walk(life, place, cleaning, True), chain)
        if client is not None and (leak := _shortest(one for one in client.leaks if one.error)) is not None:
            yield _failing(chain[0], life, leak)
            return


def _behind(module: Module, walk: Walk, chain: tuple[Function, ...]) -> Along | None:
    """What becomes of a mapping on the paths of the first of some functions, each of which calls the next one and the
    last what maps; None where which arms of two #if go together is not known.
    """
    fns = (*chain, walk.life.map.fn)
    if any(_IF.search(fn.source.blanked, fn.start, fn.end) for fn in fns):
        return None
    past = bypasses(chain[0], _ending(chain[0], walk.life, walk.cleaning))
    client = Along(module.engine, replace(walk, through=tuple(fn.name for fn in fns), past=past))
    Explorer(module.engine, client).explore(chain[0])
    return client


def _shortest(leaks: Iterable[Exit]) -> Exit | None:
    return min(leaks, key=lambda one: len(list(one.trail or ())), default=None)


def _failing(fn: Function, life: Life, leak: Exit) -> Defect:
    what = f"where {fn.name}() fails after this map, nothing unmaps it"
    return Defect("mapping-leaked", life.map, {"what": what}, life, trail=steps_of(leak.trail, None))


def _lent(module: Module, life: Life) -> Iterator[Defect]:
    """The mappings whose handle a caller is left through a pointer, and which an exit of that caller forgets."""
    target, fn = _kept_in(life.map), life.map.fn
    place = Frame(fn).place(target) if isinstance(target, Unary) else None
    if place is None or not life.checks or fn.macro:
        return
    callers = {(one.fn.source.path, one.fn.start): one.fn for one in module.engine.stores.callers(fn)[0][:_CALLERS]}
    for above in callers.values():
        ended = [end for end in life.ends if end.fn is above]
        if not ended or above.macro or any(_in_loop(above, end.node) for end in ended):
            continue
        cleaning = _cleaning(module, life) - {above.name, fn.name}
        client = _behind(module, Walk(life, place, cleaning, False), (above,))
        if client is None:
            continue
        alone = all(end.fn is above for end in life.ends) and not client.cleaning
        leak = _shortest(one for one in client.leaks if one.error and (alone or client.unmapped_on_error))
        if leak is not None:
            yield _failing(above, life, leak)
            return


def _in_loop(fn: Function, node: int) -> bool:
    """Whether what stands at `node` may be run again."""
    return node in _after(fn, node)


def _chains(module: Module, fn: Function, levels: int = 3) -> Iterator[tuple[Function, ...]]:
    """The ways from a probe() down to `fn`, which is not part of them, where each function on the way has one
    caller.
    """
    callers = {(one.fn.source.path, one.fn.start): one.fn for one in module.engine.stores.callers(fn)[0]}
    if len(callers) != 1 or not levels:
        return
    above = next(iter(callers.values()))
    if above is fn or above.macro:
        return
    if is_probe(above):
        yield (above,)
    else:
        yield from ((*chain, above) for chain in _chains(module, above, levels - 1))


def _leak(module: Module, client: Along, target: Expr, life: Life) -> Exit | None:
    """The shortest exit that leaks; for what outlives the function, one with an error beside another that does
    unmap.
    """
    if client.answers_otherwise:
        return None
    if isinstance(target, Name):
        if target.variable < 0 or _is_returned(life.map.fn, target):
            return None
        exits = client.leaks
    elif client.answers_for_errors or (isinstance(target, Unary) and not _caller_ends(module, life)):
        exits = [one for one in client.leaks if one.error]
    elif all(end.fn is life.map.fn for end in life.ends) and not client.cleaning:
        exits = [one for one in client.leaks if one.error]  # nobody else unmaps it
    else:
        exits = [one for one in client.leaks if one.error and one.unwound and life.checks]
    return _shortest(exits)


def _caller_ends(module: Module, life: Life) -> bool:
    """Whether some caller of the function that maps, which is left the handle, unmaps it or calls what does."""
    ending = {end.fn.name for end in life.ends} | _cleaning(module, life)
    return any(caller.fn.name in ending for caller in module.engine.stores.callers(life.map.fn)[0])


def _cleaning(module: Module, life: Life) -> frozenset[str]:
    """The functions that unmap this mapping, and who calls those: how they decide is their own affair."""
    enders = [end.fn for end in life.ends if end.fn is not life.map.fn]
    names = {fn.name for fn in enders}
    for _ in range(2):
        enders = [
            caller.fn for fn in enders for caller in module.engine.stores.callers(fn)[0] if caller.fn.name not in names
        ]
        names |= {fn.name for fn in enders}
    return frozenset(names - {life.map.fn.name})


def _is_returned(fn: Function, variable: Name) -> bool:
    """Whether a function returns what stands in a local."""
    return any(
        isinstance(part, Name) and part.variable == variable.variable
        for node in fn.nodes
        if node.kind == "return" and node.expr is not None
        for part in walk(node.expr)
    )


def _kept_in(site: Site) -> Expr | None:
    """The one place that the handle is put into; None where it is put into two at once, of which either may be
    unmapped.
    """
    expr = site.fn.nodes[site.node].expr
    if isinstance(expr, Assign) and isinstance(strip(expr.parts[1]), Assign):
        return None
    for part in walk(expr) if expr is not None else ():
        if isinstance(part, Assign) and part.op == "=" and strip(part.parts[1]) == site.call:
            target = strip(part.parts[0])
            lent = isinstance(target, Unary) and target.op == "*" and isinstance(strip(target.parts[0]), Name)
            return target if isinstance(target, Name | Member) or lent else None
    return None


def steps_of(trail: Trail | None, last: Trail | None) -> tuple[Step, ...]:
    """The decisions on a way, and the call that ends it, as steps of a report."""
    return tuple(step(one) for one in (*(trail or ()), *((last,) if last else ())))
