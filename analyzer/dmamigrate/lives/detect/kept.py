# SPDX-License-Identifier: GPL-2.0-only
"""What is missing in a life, or done to it that its memory does not bear: checks, unmaps, syncs of device memory."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dmamigrate.lives.detect.differ import other_device
from dmamigrate.lives.module import Defect, Module
from dmamigrate.lives.pair import Life, kept_in
from dmamigrate.lives.sites import Site
from dmamigrate.syntax.expr import Assign, Call, Expr, Member, Name, Unary, strip, walk

RULES = ("mapping-not-checked", "mapping-leaked", "sync-on-mmio")
_MMIO = "DMA_ATTR_MMIO"
# What takes a number for what it is: registers, byte order, messages.
_USES = re.compile(
    r"\w*write\w*|\w*(?:wr|out)(?:8|16|32|64|b|w|l|q)|(?:__)?cpu_to_\w+|(?:lower|upper)_32_bits|FIELD_PREP|regmap_\w+"
    r"|\w*_(?:dbg|err|info|warn)\w*|pr_\w+|WARN\w*"
)


def find(module: Module) -> Iterator[Defect]:
    """The maps that nobody checks, those that nobody unmaps, and the syncs of device memory."""
    for life in module.pairs.lives:
        # where its unmaps are known, the way of the address is understood
        checks = [one for one in life.checks if not other_device(module, life.map, one)]
        if not checks and life.unmaps and life.map.api.family != "iova":
            yield Defect("mapping-not-checked", life.map, {}, life)
    yield from _leaked(module)
    yield from _synced(module)


def _synced(module: Module) -> Iterator[Defect]:
    """The syncs of a mapping that is device memory: the sync knows no attributes and touches the caches."""
    mapped: dict[tuple[str, int], list[Life]] = {}
    for life in module.pairs.lives:
        for site in life.syncs:
            mapped.setdefault(site.key, []).append(life)
    for life in module.pairs.lives:
        for site in life.syncs:
            held = [module.given(one.map).attributes for one in mapped[site.key]]
            always = all(known and all(_MMIO in one for one in known.values) for known in held)
            if life is mapped[site.key][0] and site.key not in module.pairs.shared and always:
                yield Defect("sync-on-mmio", site, {"map": life.map.where}, life)


def _leaked(module: Module) -> Iterator[Defect]:
    """The maps that nothing unmaps, kept where only this driver can see them."""
    api = module.engine.api
    for life in module.pairs.lives:
        if any(api.fits(life.map.api, site.api) for site, _ in module.pairs.orphans):
            continue  # an unmap whose map is not known may be the one
        if not life.ends and life.map.api.family != "iova" and _kept_inside(module, life.map):
            target = kept_in(life.map)
            assert target is not None, "it is kept inside"
            handle = life.map.user[0].source.text(target.start, target.end)
            looked = module.engine.tree.module(life.map.key[0]) or "the files at hand"
            facts = {"what": f"nothing in {looked} unmaps {handle}"}
            yield Defect("mapping-leaked", life.map, facts, life)


def _kept_inside(module: Module, site: Site) -> bool:
    """Whether the address goes to a local or to a member of the driver's own struct, and not to code elsewhere."""
    target = kept_in(site)
    if isinstance(target, Name):
        return target.variable >= 0 and not _leaves(module, site, target)
    return isinstance(target, Member) and _is_own(module, site, target)


def _is_own(module: Module, site: Site, member: Member) -> bool:
    """Whether the struct of a member is one that no code beside this module sees."""
    tree, fn = module.engine.tree, site.user[0]
    unit = module.engine.flow.unit(fn)
    found = module.engine.types.member(member, fn, unit)
    scope = tree.scope(tree.struct_home(found[0], unit), fn.source.path) if found is not None else None
    return scope is not None and f"{scope}/".startswith(f"{tree.module(fn.source.path)}/")


def _is(expr: Expr, variable: Name) -> bool:
    return isinstance(expr, Name) and expr.variable == variable.variable


def _leaves(module: Module, site: Site, variable: Name) -> bool:
    """Whether the local is handed back to whoever called, or on to code that may keep it."""
    calls = module.engine.api.calls
    for node in site.user[0].nodes:
        for part in walk(node.expr) if node.expr is not None else ():
            if isinstance(part, Name) and part.variable == variable.variable and node.kind == "return":
                return True
            if isinstance(part, Assign) and _is(strip(part.parts[1]), variable):
                target = strip(part.parts[0])
                if isinstance(target, Unary) or (isinstance(target, Member) and not _is_own(module, site, target)):
                    return True
            keeps = isinstance(part, Call) and part.name not in calls and not _USES.fullmatch(part.name)
            handed = part.args if isinstance(part, Call) and keeps else ()
            if any(isinstance(e, Name) and e.variable == variable.variable for a in handed for e in walk(a)):
                return True
    return False
