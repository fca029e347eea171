# SPDX-License-Identifier: GPL-2.0-only
"""One module judged: its lives paired, its addresses traced, what is wrong found, rewrites proposed and verified."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, replace
from pathlib import Path

from dmamigrate import match
from dmamigrate.findings import Finding, Kind, Origin, Rewrite, Skipped, Verdict
from dmamigrate.lives import exported
from dmamigrate.lives import pair as lifecycle
from dmamigrate.lives.attributes import Attributes
from dmamigrate.lives.detect import defects, exits, p2p, page_api
from dmamigrate.lives.pair import Life
from dmamigrate.lives.sizes import Sizes
from dmamigrate.model.refine import verify
from dmamigrate.model.versions import release
from dmamigrate.program.queries import Budget
from dmamigrate.program.tree import Tree
from dmamigrate.rewrite import licence
from dmamigrate.rewrite.propose import propose
from dmamigrate.rules import Rule
from dmamigrate.values.engine import Engine
from dmamigrate.values.knowledge import Knowledge


@dataclass(frozen=True)
class Result:
    """What is found in one module, and what in it could not be judged."""

    findings: list[Finding]
    skipped: list[Skipped]


@dataclass(frozen=True)
class Work:
    """Judges one module after the other; a process of its own may do so."""

    root: Path
    rules: tuple[Rule, ...]
    knowledge: Knowledge
    budget: Budget
    target: str
    pages: bool = False

    def module(self, tracer: Engine, files: tuple[str, ...]) -> Result:
        """All findings of the module that holds `files`."""
        tree = tracer.tree
        skipped = [Skipped(path, "could not be read") for path in files if tree.unit(path) is None]
        pairs = lifecycle.lives(tree, tracer, self.with_mappings(tree, files), self.pages)
        skipped += [s for s in pairs.skipped if s.path.rpartition(":")[0] in files]
        here = set(files)
        attributes = Attributes(tracer)
        findings = self._lives(tracer, pairs, attributes, here)
        rules = {rule.id: rule for rule in self.rules}
        asked = {rule.analysis for rule in self.rules}
        said: set[tuple[str, tuple[str, int]]] = set()
        for found in self._defects(tracer, pairs, attributes, asked, files):
            rule = rules.get(found.rule)
            if rule is not None and (
                found.site.key[0] in here or tree.module(found.site.key[0]) == tree.module(files[0])
            ):
                if (found.rule, found.site.key) in said:
                    continue  # seen from two sides
                said.add((found.rule, found.site.key))
                withheld = Rewrite("withheld", rule.withheld) if rule.withheld else Rewrite("none")
                findings.append(replace(match.defect(rule, found), rewrite=withheld))
        if "dma-address-stores" in asked:
            findings += self._stores(tracer, rules["bar-as-dma-addr"], files)
        return Result(findings, skipped)

    @staticmethod
    def _defects(
        tracer: Engine, pairs: lifecycle.Lives, attributes: Attributes, asked: Set[str | None], files: tuple[str, ...]
    ) -> Iterator[defects.Defect]:
        if "lives" in asked:
            yield from defects.wrong_handles(pairs)
            yield from defects.orphans(pairs, tracer)
            yield from defects.unchecked(pairs)
            yield from defects.leaked(pairs, tracer.tree, tracer.types)
            yield from defects.mismatches(pairs, attributes, Sizes(tracer))
            yield from defects.synced(pairs, attributes)
            yield from exits.along(tracer, pairs)
            yield from exits.probes(tracer, pairs)
            yield from exits.twice(tracer, pairs)
        if "p2p" in asked:
            yield from p2p.faults(tracer.tree, files)
        if "page-api" in asked:
            yield from page_api.misused(tracer, attributes, files)

    def with_mappings(self, tree: Tree, files: tuple[str, ...]) -> list[str]:
        """The files of the module that map or unmap, if one of `files` does: the other half of a life may be elsewhere."""
        names = (
            *lifecycle.MAPS,
            *lifecycle.UNMAPS,
            *((*lifecycle.PAGE_MAPS, *lifecycle.PAGE_UNMAPS) if self.pages else ()),
        )
        if not any(name.encode() in unit.source.data for path in files if (unit := tree.unit(path)) for name in names):
            return []
        folder = tree.module(files[0])
        near = (
            {path for name in names for path in tree.search(name, folder)} if tree.is_driver_folder(folder) else set()
        )
        return sorted({*files, *near})

    def _lives(self, tracer: Engine, pairs: lifecycle.Lives, attributes: Attributes, files: set[str]) -> list[Finding]:
        findings: list[Finding] = []
        for life in pairs.lives:
            if life.map.key[0] not in files:
                continue
            origins: dict[str, Origin] = {}
            argument = life.map.argument("phys")
            if argument is not None:
                origins["phys"] = tracer.origin(life.map.fn, life.map.node, argument)
            for rule, finding in match.by_origin(self.rules, life, origins, attributes):
                near = sorted((site for site, _ in pairs.orphans), key=lambda site: site.key[0] != life.map.key[0])
                told = self._with_peer(tracer, rule, finding, life)
                findings.append(
                    self._with_rewrite(tracer.tree, rule, told, life, pairs.lives, near[0] if near else None)
                )
        return findings

    def _with_peer(self, tracer: Engine, rule: Rule, finding: Finding, life: Life) -> Finding:
        said = next((peer.message for peer in rule.peer if release(peer.since) <= release(self.target)), None)
        if said is None or not exported.to_importer(tracer, life.map):
            return finding
        return replace(finding, message=f"{finding.message}; {said}")

    def _with_rewrite(
        self,
        tree: Tree,
        rule: Rule,
        finding: Finding,
        life: Life,
        lives: tuple[Life, ...],
        orphan: lifecycle.Site | None,
    ) -> Finding:
        if rule.withheld is not None:
            return replace(finding, rewrite=Rewrite("withheld", rule.withheld))
        if not rule.templates:
            return finding
        kinds = finding.origin.kinds if finding.origin is not None else ()
        if Kind.RAM in kinds or Kind.DMA_ADDR in kinds:
            reason = "on some paths the address is no device memory"
            return replace(finding, rewrite=Rewrite("withheld", reason))
        refusal = licence.refusal(tree, finding.span.path)
        if refusal is not None:
            return replace(finding, rewrite=Rewrite("withheld", refusal))
        unit = tree.unit(finding.span.path)
        if unit is not None and any(
            macro.source.path != "include/linux/dma-mapping.h" for macro in tree.macros(finding.callee, unit)
        ):
            return replace(finding, rewrite=Rewrite("withheld", f"the driver has a {finding.callee}() of its own"))
        rewrite = propose(life, _sharing(life, lives), rule.templates, orphan)
        if rewrite.status != "proposed":
            return replace(finding, rewrite=rewrite, verdict=Verdict("unknown", reason="no rewrite is proposed"))
        attrs, direction = life.map.text("attrs"), life.map.text("dir")
        # each unmap as it is written: one that differs from its map is another life
        ends: list[tuple[str | None, str]] = [*sorted({(site.text("attrs"), site.text("dir")) for site in life.ends})]
        ends = ends or [(None, direction)]
        verdicts = [
            verify(rule.templates, kinds, life.map.call.name, attrs, at_end, direction, self.target)
            if at_dir == direction or not at_dir.startswith("DMA_")
            else Verdict("unknown", reason=f"map and unmap disagree on the direction: {direction} and {at_dir}")
            for at_end, at_dir in ends
        ]
        verdict = next((one for one in verdicts if one.status != "proved"), verdicts[0])
        return replace(finding, rewrite=rewrite, verdict=verdict)

    def _stores(self, tracer: Engine, rule: Rule, files: tuple[str, ...]) -> list[Finding]:
        findings: list[Finding] = []
        folder = tracer.tree.module(files[0])
        bars = self.knowledge.words_for(Kind.PCI_BAR)
        if tracer.tree.is_driver_folder(folder) and not tracer.tree.mentions(bars, folder):
            return findings
        for path in files:
            unit = tracer.tree.unit(path)
            for fn, node, store in match.dma_address_stores(unit, tracer.types) if unit is not None else ():
                origin = tracer.origin(fn, node, store.parts[1])
                # where some path gives a DMA address, the others may be another device's
                if match.applies(rule, origin) and Kind.DMA_ADDR not in origin.kinds:
                    withheld = Rewrite("withheld", rule.withheld) if rule.withheld else Rewrite("none")
                    findings.append(replace(match.stored(rule, fn, store, origin), rewrite=withheld))
        return findings


def _sharing(life: Life, lives: tuple[Life, ...]) -> list[Life]:
    """The lives that share an unmap with `life`, directly or through another one: they change together."""
    group = [life]
    ends = {site.key for site in life.ends}
    grown = True
    while grown:
        grown = False
        for other in lives:
            if other not in group and ends & {site.key for site in other.ends}:
                group.append(other)
                ends |= {site.key for site in other.ends}
                grown = True
    return group
