# SPDX-License-Identifier: GPL-2.0-only
"""One module judged: its lives paired, what is wrong with them found, addresses traced, rewrites proposed and
verified.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from dmamigrate import match, renamed
from dmamigrate.findings import Edit, Finding, Rewrite, Skipped, Span, Verdict
from dmamigrate.lives import pair
from dmamigrate.lives.detect import stored
from dmamigrate.lives.detect.registry import DETECTORS
from dmamigrate.lives.given import Givens
from dmamigrate.lives.module import Defect, Module
from dmamigrate.lives.pair import Life
from dmamigrate.model.versions import release
from dmamigrate.program.queries import Budget
from dmamigrate.rewrite import backend, p2p, rename
from dmamigrate.rewrite.case import Case, groups, which
from dmamigrate.rewrite.decide import decide
from dmamigrate.rewrite.mend import mend
from dmamigrate.rules import Rule
from dmamigrate.syntax.functions import Function
from dmamigrate.values.engine import Engine
from dmamigrate.values.knowledge import Knowledge

# include/linux/dma-buf.h: the importer, and its device
_ATTACHMENT = "dma_buf_attachment"


@dataclass(frozen=True)
class Result:
    """What is found in one module, and what in it could not be judged."""

    findings: list[Finding]
    skipped: list[Skipped]


@dataclass(frozen=True)
class Judged:
    """One module, kept whole: its lives and what each call is given, what is found, and what could not be judged."""

    module: Module
    defects: tuple[Defect, ...]
    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...]

    @property
    def result(self) -> Result:
        """What is reported of it, without what it was told by."""
        return Result(list(self.findings), list(self.skipped))


@dataclass(frozen=True)
class Work:
    """Judges one module after the other; a process of its own may do so."""

    root: Path
    rules: tuple[Rule, ...]
    knowledge: Knowledge
    budget: Budget
    target: str
    pages: bool = False
    facts: Path | None = None  # a kernel's root, for a driver outside of it

    def module(self, engine: Engine, files: tuple[str, ...]) -> Judged:
        """All that is found in the module that holds `files`."""
        if not files:
            return Judged(Module(engine, files, pair.Lives((), (), ()), Givens(engine)), (), (), ())
        tree = engine.tree
        skipped = [Skipped(path, "could not be read") for path in files if tree.unit(path) is None]
        pairs = pair.lives(engine, self.with_mappings(engine, files), self._paged(engine))
        skipped += [one for one in pairs.skipped if one.path.rpartition(":")[0] in files]
        module = Module(engine, files, pairs, Givens(engine), self.pages)
        found = list(self._detected(module))
        skipped += [one for one in found if isinstance(one, Skipped) and one.path.rpartition(":")[0] in files]
        defects = tuple(one for one in found if isinstance(one, Defect))
        findings = [*self._by_origin(module, defects), *self._of(module, defects), *self._stored(module)]
        findings += self._renamed(engine, files)
        return Judged(module, defects, tuple(findings), tuple(dict.fromkeys(skipped)))

    def _paged(self, engine: Engine) -> bool:
        """Whether lives of ordinary memory are paired, too: they are asked for, or a rule is about one of their
        calls.
        """
        api = engine.api
        return self.pages or any(
            api.calls[name].family not in api.migrating
            for rule in self.rules
            for name in rule.callee
            if name in api.calls
        )

    def with_mappings(self, engine: Engine, files: tuple[str, ...], pages: bool = False) -> list[str]:
        """The files that map or unmap, if one of `files` does: the other half of a life may be elsewhere in the
        module.
        """
        tree, api = engine.tree, engine.api
        ours = None if pages or self._paged(engine) else True
        names = (*api.named("map", ours), *api.named("unmap", ours))
        if not any(name.encode() in unit.source.data for path in files if (unit := tree.unit(path)) for name in names):
            return []
        folder = tree.module(files[0])
        near = tree.search_any(names, folder) if tree.is_driver_folder(folder) else ()
        return sorted({*files, *near})

    def _detected(self, module: Module, everything: bool = False) -> Iterator[Defect | Skipped]:
        """What the detectors say that some chosen rule reports, or that holds back a rewrite; each once for a call."""
        asked = {rule.id for rule in self.rules}
        said: set[tuple[str, pair.Key]] = set()
        for rules, find in DETECTORS:
            if not everything and not asked & {*rules} and not any(rule.templates for rule in self.rules):
                continue
            for found in find(module):
                if isinstance(found, Skipped):
                    yield found
                elif (found.rule, found.site.key) not in said:  # else seen from two sides
                    said.add((found.rule, found.site.key))
                    yield found

    def _of(self, module: Module, defects: tuple[Defect, ...]) -> Iterator[Finding]:
        """The findings that defects are."""
        rules = {rule.id: rule for rule in self.rules}
        tree, here = module.engine.tree, set(module.files)
        folder = tree.module(module.files[0])
        again = self._edited(module)
        by_type: dict[Function, tuple[Rewrite, Verdict]] = {}  # one rewrite for all calls of a function
        for found in defects:
            rule, path = rules.get(found.rule), found.site.key[0]
            ordinary = found.life is not None and found.life.map.api.family not in module.engine.api.migrating
            if rule is None or (ordinary and not self.pages) or (path not in here and tree.module(path) != folder):
                continue
            fixed = mend(module, found, self.target)
            if found.rule == p2p.RULE and rule.withheld is None:
                fn = found.site.fn
                if fn not in by_type:
                    by_type[fn] = p2p.mend(module, found, defects, again, self.target)
                fixed = by_type[fn]
            if fixed is not None:
                yield replace(match.defect(rule, found), rewrite=fixed[0], verdict=fixed[1])
                continue
            withheld = Rewrite("withheld", rule.withheld) if rule.withheld else Rewrite("none")
            yield replace(match.defect(rule, found), rewrite=withheld)

    def _edited(self, module: Module) -> p2p.Again:
        """What judges the module again once some of its files are edited."""
        engine = module.engine

        def again(overlay: dict[str, bytes], pages: bool) -> p2p.After:
            other = Engine(engine.tree.edited(overlay), self.knowledge, self.budget)
            pairs = pair.lives(other, self.with_mappings(other, module.files, pages), pages or self._paged(other))
            edited = Module(other, module.files, pairs, Givens(other), pages or self.pages)
            found = self._detected(edited, everything=True)
            return p2p.After(edited, tuple(one for one in found if isinstance(one, Defect)))

        return again

    def _by_origin(self, module: Module, defects: tuple[Defect, ...]) -> Iterator[Finding]:
        """The findings about the address that is mapped, with their rewrites."""
        together = groups(module.pairs.lives)
        for life in module.pairs.lives:
            # a macro that wraps the call may stand in a header, and be used where no such word is to be read
            if {life.map.key[0], life.map.fn.source.path}.isdisjoint(module.files):
                continue
            for rule, finding in match.by_origin(self.rules, life, module.given(life.map)):
                told = self._with_peer(module, rule, finding, life)
                if rule.withheld is None and not rule.templates:
                    yield told
                    continue
                yield decide(Case(module, rule, life, together[which(life)], defects, self.target), told)

    def _with_peer(self, module: Module, rule: Rule, finding: Finding, life: Life) -> Finding:
        said = next((peer.message for peer in rule.peer if release(peer.since) <= release(self.target)), None)
        device = life.map.argument("dev")
        if said is None or device is None:
            return finding
        holders = module.engine.holders.of(life.map.use(device))
        importer = any(tag == _ATTACHMENT for tag, _ in holders)
        return replace(finding, message=f"{finding.message}; {said}") if importer else finding

    def _renamed(self, engine: Engine, files: tuple[str, ...]) -> Iterator[Finding]:
        rules = {rule.id: rule for rule in self.rules}
        asked = rules.keys() & {*renamed.RULES}
        uses = list(renamed.find(engine, files, frozenset(asked), self.target)) if asked else []
        backends = self._backends(engine, uses)
        for found in uses:
            told = renamed.finding(rules[found.rule], found)
            unit, whole = engine.tree.unit(found.span.path), backends.get(found.span.path)
            made = rename.renamed(unit, found.span, found.entry, self.target) if unit is not None else told.rewrite
            unproved = rename.UNPROVED
            if whole is not None and (found.sets or any(_within(found.span, edit) for edit in whole.edits)):
                made, unproved = whole, backend.UNPROVED
            verdict = unproved if made.status == "proposed" else told.verdict
            yield replace(told, rewrite=made, verdict=verdict)

    def _backends(self, engine: Engine, uses: list[renamed.Use]) -> dict[str, Rewrite]:
        """For each file with tables of callbacks what becomes of those."""
        found: dict[str, list[backend.Callback]] = {}
        for use in uses:
            if use.sets:
                one = backend.Callback(use.entry.name, use.value, use.span, use.function)
                found.setdefault(use.span.path, []).append(one)
        units = {path: engine.tree.unit(path) for path in found}
        return {
            path: backend.rewritten(engine.tree, unit, found[path], engine.api, self.target)
            for path, unit in units.items()
            if unit is not None
        }

    def _stored(self, module: Module) -> Iterator[Finding]:
        rules = {rule.id: rule for rule in self.rules}
        if not rules.keys() & {*stored.RULES}:
            return
        for found in stored.find(module):
            rule = rules.get(found.rule)
            if rule is not None and match.applies(rule, found.origin):
                withheld = Rewrite("withheld", rule.withheld) if rule.withheld else Rewrite("none")
                yield replace(match.stored(rule, found), rewrite=withheld)


def _within(place: Span, edit: Edit) -> bool:
    return place.path == edit.path and edit.start <= place.start < edit.end
