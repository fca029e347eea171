# SPDX-License-Identifier: GPL-2.0-only
"""DMA_ATTR_MMIO where the map type says so: at a case label, by a test in front of the call, or in its argument.

What is written is then read again: the edited module must have this fault no more and no other one instead, so that a flag
for the wrong type, for one end only, or one that sticks from one segment to the next is never proposed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from dmamigrate.findings import Edit, Kind, Rewrite, Verdict
from dmamigrate.lives.detect.maptype import THRU
from dmamigrate.lives.module import Defect, Module
from dmamigrate.lives.pair import Life
from dmamigrate.lives.sites import Site
from dmamigrate.model.dma_api import MAPS, UNMAPS
from dmamigrate.model.refine import DIFFERS, LifeCalls, compare, memory_of
from dmamigrate.model.states import READ_ATTRS, relevant
from dmamigrate.model.versions import release, standing
from dmamigrate.program.reach import reaching
from dmamigrate.rewrite import check, licence
from dmamigrate.rewrite.layout import NewCall, apply, rewrite
from dmamigrate.rewrite.propose import diff
from dmamigrate.syntax.expr import Constant, Expr, Member, Name, strip
from dmamigrate.syntax.functions import Function

RULE = "p2p-missing-mmio"
_MMIO = "DMA_ATTR_MMIO"
_LABEL = re.compile(rb"\bcase\s+" + THRU.encode() + rb"\s*:")
_STACKED = re.compile(rb"\s*(?:case\b|default\s*:)")
_BEFORE_CALL = re.compile(rb"[ \t]*(?:if \(!?|return )?")
_PLACE = re.compile(r"#(\d+)")


@dataclass(frozen=True)
class After:
    """A module with edits applied, and what is wrong with it."""

    module: Module
    defects: tuple[Defect, ...]


Again = Callable[[dict[str, bytes]], After]


def mend(
    module: Module, found: Defect, defects: tuple[Defect, ...], again: Again, target: str
) -> tuple[Rewrite, Verdict]:
    """The flag at all calls of the function that lack it, or why it is withheld; `again` judges the module once edited."""
    fn = found.site.fn
    mine = [one for one in defects if one.rule == RULE and one.site.fn is fn]
    for why in (_refused(module, one) for one in mine):
        if why is not None:
            return Rewrite("withheld", why), Verdict("unknown", reason="no rewrite is proposed")
    wrong_arm = next((one for one in defects if one.rule == "mmio-on-ram" and one.site.fn is fn), None)
    if wrong_arm is not None:
        why = f"the flag stands on the wrong arm, {wrong_arm.site.where}: take it from there first"
        return Rewrite("withheld", why), Verdict("unknown", reason="no rewrite is proposed")
    reason = "the map type is not at hand where the call is made: which variable carries it is the driver's to say"
    # held against what all detectors say, whatever rules were chosen
    before = again({}).defects
    for edits in _forms(module, fn, mine):
        data = apply(fn.source.data, edits)
        after = again({fn.source.path: data})
        wrong = _wrong(before, after, fn)
        if wrong is None:
            near = frozenset({fn.name, *(one.site.call.name for one in mine)})
            verdict = _verdict(after.module, _flagged(module), near, target)
            named = _MMIO.encode() in fn.source.blanked[fn.start : fn.end]
            if verdict.status == "proved" or (verdict.status == "unknown" and not named):
                return Rewrite("proposed", None, edits, diff(fn.source.path, fn.source.data, data)), verdict
            wrong = f"the model refutes it: {verdict.reason}"
            if verdict.status == "unknown":
                wrong = f"the function sets {_MMIO} already, and not on the path that is shown: mend that place"
        reason = wrong
    return Rewrite("withheld", reason), Verdict("unknown", reason="no rewrite is proposed")


def _refused(module: Module, found: Defect) -> str | None:
    site = found.site
    if site.fn.macro:
        return "the call stands in a macro"
    if not 0 <= int(found.facts["attrs"]) < len(site.call.args):
        if site.call.name != site.api.name:
            return f"{site.call.name}() decides the attributes of {site.api.name}() itself: it would have to be told the map type"
        return f"{site.call.name}() takes no attributes: dma_map_phys() and its unmap would have to take its place"
    return check.broken(site.fn.source, site.call) or licence.refusal(module.engine.tree, site.key[0])


def _wrong(defects: Iterable[Defect], after: After, fn: Function) -> str | None:
    """What speaks against an edit: the fault that is left, or one that is new."""
    now = next((one for one in after.module.functions(fn.source.path) if one.name == fn.name), None)
    if now is None or not now.clean:
        return "the edited function could not be read again"
    before = Counter(_named(one) for one in defects)
    for one in after.defects:
        before[_named(one)] -= 1
        if one.rule == RULE and one.site.fn.name == fn.name:
            return "the flag would still be missing on some path"
        if before[_named(one)] < 0:
            if one.rule.startswith("unmap-"):
                return f"{one.site.call.name}() at {one.site.where} does not know the map type: keep it, or the attributes, until then"
            return f"the flag would reach {one.site.call.name}() at {one.site.where} on other paths, too ({one.rule})"
    return None


def _named(found: Defect) -> tuple[str, str, str]:
    return found.rule, found.site.fn.name, found.site.call.name


# ---- the forms, the plainest first


def _forms(module: Module, fn: Function, faults: list[Defect]) -> Iterator[tuple[Edit, ...]]:
    """Edits that set the flag, for all calls of one function that lack it."""
    if all("only" in one.facts for one in faults):
        calls, keys = [_given(one) for one in faults], {one.site.key for one in faults}
        yield _together([_always(one) for one in calls])
        ends = [end for life in module.pairs.lives if life.map.key in keys for end in life.ends]
        given = [_Given(end, end.api.position("attrs")) for end in ends if "attrs" in end.api.roles]
        if ends and len(given) == len(ends) and all(end.fn.source is fn.source for end in ends):
            yield _together([_always(one) for one in (*calls, *given)])
    variables = {_given(one).variable for one in faults}
    if len(variables) == 1 and (name := variables.pop()) is not None:
        label = _at_label(fn, name)
        if label is not None and all(_begins_anew(_given(one)) for one in faults):
            yield (label,)
    if all("type" in one.facts for one in faults):
        tested = [_by_test(fn, one) for one in faults]
        if all(tested):
            # one test may do for all that come after it
            yield min(tested, key=lambda edits: edits[0].start)
            yield _together(tested)
        local = [_by_local(fn, one) for one in faults]
        if all(local) and len(faults) == 1:
            yield _together(local)
        yield _together([_in_argument(fn, one) for one in faults])


def _together(several: list[tuple[Edit, ...]]) -> tuple[Edit, ...]:
    return tuple(dict.fromkeys(edit for edits in several for edit in edits))


@dataclass(frozen=True)
class _Given:
    """A call and the index, from 0, of its attributes."""

    site: Site
    position: int

    @property
    def attrs(self) -> Expr:
        return strip(self.site.call.args[self.position])

    @property
    def text(self) -> str:
        """The attributes as they are written."""
        attrs = self.site.call.args[self.position]
        return self.site.fn.source.text(attrs.start, attrs.end)

    @property
    def variable(self) -> str | None:
        """The variable or member that carries them, as it is written."""
        local = isinstance(self.attrs, Name) and self.attrs.variable >= 0
        return self.text if local or isinstance(self.attrs, Member) else None

    @property
    def nothing(self) -> bool:
        """Whether they are written as none."""
        return isinstance(self.attrs, Constant) and self.attrs.text == "0"


def _given(found: Defect) -> _Given:
    return _Given(found.site, int(found.facts["attrs"]))


def _at_label(fn: Function, name: str) -> Edit | None:
    """The flag set behind the one label of this map type, if that is for no other type as well."""
    source = fn.source
    labels = list(_LABEL.finditer(source.blanked, fn.start, fn.end))
    if len(labels) != 1:
        return None
    label = labels[0]
    before = source.blanked[fn.start : label.start()].rstrip()
    if before.endswith(b":"):
        return None  # what stands above falls into it
    line = source.data[source.offset(source.line(label.start())) : label.start()]
    if line.strip():
        return None
    text = f"\n{line.decode()}\t{name} |= {_MMIO};"
    if _STACKED.match(source.blanked, label.end()):
        text += f"\n{line.decode()}\tfallthrough;"
    return Edit(source.path, label.end(), label.end(), text)


def _line_before(site: Site) -> tuple[int, str] | None:
    """Where a statement in front of the call's may begin, and how that is indented; None inside of a larger statement."""
    source, fn = site.fn.source, site.fn
    expr = fn.nodes[site.node].expr
    if expr is None:
        return None
    start = source.offset(source.line(expr.start))
    if _BEFORE_CALL.fullmatch(source.blanked, start, expr.start) is None:
        return None
    before = source.blanked[fn.start : start].rstrip()
    if not before.endswith((b";", b"{", b"}", b":")):
        return None
    white = re.match(rb"[ \t]*", source.data[start:])
    return start, white.group().decode() if white is not None else ""


def _type(fn: Function, found: Defect) -> str:
    """The place that holds the map type, as the function writes it."""
    return _PLACE.sub(lambda match: fn.variables[int(match[1])].name, found.facts["type"])


def _test(fn: Function, found: Defect, white: str, name: str) -> str:
    return f"{white}if ({_type(fn, found)} == {THRU})\n{white}\t{name} |= {_MMIO};\n"


def _by_test(fn: Function, found: Defect) -> tuple[Edit, ...]:
    """A test in front of the call, for attributes that have a variable."""
    name, place = _given(found).variable, _line_before(found.site)
    if name is None or place is None:
        return ()
    text = _test(fn, found, place[1], name)
    if not _begins_anew(_given(found)):
        text += f"{place[1]}else\n{place[1]}\t{name} &= ~{_MMIO};\n"
    return (Edit(fn.source.path, place[0], place[0], text),)


def _begins_anew(call: _Given) -> bool:
    """Whether the function sets the attributes itself on every way to the call: else they may be the last transfer's."""
    return not isinstance(call.attrs, Member) or not reaching(call.site.fn, call.site.node, call.attrs).entry


def _by_local(fn: Function, found: Defect) -> tuple[Edit, ...]:
    """A local for attributes that were none, declared behind the others, and a test in front of the call."""
    call, place = _given(found), _line_before(found.site)
    declared = _behind_declarations(fn)
    if not call.nothing or place is None or declared is None or any(one.name == "attrs" for one in fn.variables):
        return ()
    path = fn.source.path
    return (
        Edit(path, declared, declared, "\tunsigned long attrs = 0;\n"),
        Edit(path, place[0], place[0], _test(fn, found, place[1], "attrs")),
        Edit(path, call.attrs.start, call.attrs.end, "attrs"),
    )


def _behind_declarations(fn: Function) -> int | None:
    """The beginning of the blank line that ends the declarations of a function, None if it has none."""
    source = fn.source
    body = source.blanked.find(b"{", fn.start)
    blank = re.compile(rb"^[ \t]*\n", re.MULTILINE).search(source.data, source.offset(source.line(body) + 1), fn.end)
    locals_ = [one.start for one in fn.variables if one.position < 0]
    if blank is None or not locals_ or min(locals_) > blank.start():
        return None
    statements = [node.expr.start for node in fn.nodes if node.kind == "branch" and node.expr is not None]
    return blank.start() if all(start > blank.start() for start in statements) else None


def _always(call: _Given) -> tuple[Edit, ...]:
    """The flag in the argument, for a call that is reached through the host bridge only."""
    return _with_attrs(call, _MMIO if call.nothing else f"{call.text} | {_MMIO}")


def _in_argument(fn: Function, found: Defect) -> tuple[Edit, ...]:
    """The test in the argument itself."""
    call = _given(found)
    chosen = f"{_type(fn, found)} == {THRU} ? {_MMIO} : 0"
    return _with_attrs(call, chosen if call.nothing else f"{call.text} | ({chosen})")


def _with_attrs(call: _Given, text: str) -> tuple[Edit, ...]:
    site = call.site
    arguments = tuple(text if index == call.position else index for index in range(len(site.call.args)))
    return rewrite(site.fn.source, site.call, NewCall(site.call.name, arguments))


# ---- the verdict


def _flagged(module: Module) -> frozenset[tuple[str, str]]:
    """The calls, by their function and name, that are given the flag on some path."""
    sites = [site for life in module.pairs.lives for site in (life.map, *life.ends)]
    return frozenset(
        (site.fn.name, site.call.name)
        for site in sites
        if any(_MMIO in one for one in module.given(site).attributes.values)
    )


def _verdict(module: Module, flagged: frozenset[tuple[str, str]], near: frozenset[str], target: str) -> Verdict:
    """The lives that have the flag now, through the host bridge before and after: for other types nothing changed.

    `flagged` are the calls that had it on some path before, `near` the edited function and what it calls.
    """
    if release(target) < (6, 18):
        return Verdict("unknown", reason=f"{target} has no dma_map_phys()")
    new = _flagged(module) - flagged
    lives = [
        life
        for life in module.pairs.lives
        if new & {(site.fn.name, site.call.name) for site in life.sites} or near & {site.fn.name for site in life.sites}
    ]
    states = relevant(memory_of((Kind.P2P,)))
    total = equal = refined = 0
    for life in lives:
        for one, other in _pairs(module, life, flagged):
            if one is None or other is None:
                return Verdict(
                    "unknown",
                    len(lives),
                    reason="the attributes at both ends could not be followed, or are no calls of the model",
                )
            result = compare(one, other, states, target)
            total, equal, refined = total + result.states, equal + result.equal, refined + result.refined
            if result.worse:
                worst = result.worse[0]
                if worst.what == DIFFERS and life.map.api.family == "iova":
                    why = "of IOVA ranges the model does not tell whether another kind of memory is better"
                    return Verdict("unknown", len(lives), reason=why)
                return Verdict("refuted", len(lives), total, equal, refined, worst.describe(), worst.what)
    if not total:
        return Verdict("unknown", len(lives), reason="no unmap of what is mapped here was found")
    return Verdict("proved", len(lives), total, equal, refined, None, standing(target) or None)


def _pairs(
    module: Module, life: Life, flagged: frozenset[tuple[str, str]]
) -> Iterator[tuple[LifeCalls | None, LifeCalls | None]]:
    """A life through the host bridge before and after, for each set of attributes that its ends agree on."""
    mapped = module.given(life.map).attributes
    for end in life.ends:
        taken = module.given(end).attributes
        names = life.map.api.model, end.api.model
        if not mapped or not taken or names[0] not in MAPS or names[1] not in UNMAPS:
            yield None, None
            continue
        for held in sorted(mapped.values, key=sorted):
            if _MMIO in held:
                kept = held & frozenset(READ_ATTRS)
                ends = kept if any(_MMIO in one for one in taken.values) else kept - {_MMIO}
                lacked = [(site.fn.name, site.call.name) not in flagged for site in (life.map, end)]
                was = [attrs - {_MMIO} if lack else attrs for attrs, lack in zip((kept, ends), lacked, strict=True)]
                before = LifeCalls(names[0], was[0], names[1], was[1])
                yield before, LifeCalls(names[0], kept, names[1], ends)
