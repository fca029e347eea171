# SPDX-License-Identifier: GPL-2.0-only
"""The report for people: defects first, then what is to be moved, a block for a driver, a line or two for a finding.

The lines are made of styled pieces; `terminal` lays them out for a screen, anything else gets them as they are.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dmamigrate.findings import MEANING, Finding, Judged, Partner, Report, Step, Verdict
from dmamigrate.report.places import (
    LEVELS,
    Block,
    Place,
    Todo,
    View,
    advice,
    blocks,
    defects_first,
    effect,
    here,
    places,
    plural,
    todo,
)
from dmamigrate.report.visible import visible

Piece = tuple[str, str]  # a text, and the name of its style

_PARTNERS = {"unmap": "unmapped", "check": "checked", "sync": "synced", "map": "mapped"}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of pieces. `rows` is how many rows of a screen it may take, 0 for as many as it needs."""

    pieces: tuple[Piece, ...]
    indent: int = 0
    rows: int = 0

    @property
    def plain(self) -> str:
        """The line without styles."""
        return " " * self.indent + "".join(text for text, _ in self.pieces)


def _shown(text: str) -> str:
    """Text from a source or a path, safe to print; everything of that kind passes here."""
    return "\t".join(map(visible, text.split("\t")))


def _line(*pieces: Piece | str, indent: int = 0, rows: int = 0) -> Line:
    """A line of pieces, each made safe to print."""
    pairs = [(piece, "") if isinstance(piece, str) else piece for piece in pieces]
    return Line(tuple((_shown(text), style) for text, style in pairs if text), indent, rows)


def render(report: Report, view: View) -> str:
    """The whole report as plain text."""
    return "".join(f"{line.plain}\n" for line in lines(report, view))


def lines(report: Report, view: View) -> Iterator[Line]:
    """The report, line by line."""
    found = places(report.findings)
    wrong, moved = defects_first(found)
    if report.judged and not view.quiet:
        yield _line((f"{plural(len(report.judged), 'mapping')} that the change touches", "bold underline"))
        for one in report.judged:
            yield from _judged(one, report, view)
        yield _line()
    if not view.quiet:
        yield from _section(f"Defects, wrong today on some machine: {plural(len(wrong), 'place')}", wrong, report, view)
        if wrong and moved:
            yield _line()
        yield from _section(
            f"To be moved to the API of {report.target}, works today: {plural(len(moved), 'call')}", moved, report, view
        )
        if found:
            yield _line()
    yield from (
        _line((here(report, one.path, view.folder), "bold"), f": skipped: {one.reason}") for one in report.skipped
    )
    yield from _summary(report, found, view)


def _section(title: str, found: list[Place], report: Report, view: View) -> Iterator[Line]:
    if not found:
        return
    yield _line((title, "bold underline"))
    shown: dict[str, str] = {}
    for block in blocks(found, view.drivers):
        yield from _block(block, report, view, shown)


def _block(block: Block, report: Report, view: View, shown: dict[str, str]) -> Iterator[Line]:
    if len(block.places) > 1 and block.driver:
        yield _line((f"{block.driver}: {plural(len(block.places), 'place')}", "bold"))
    for place in block.places:
        yield from _place(place, report, view)
        if view.diff:
            yield from _diffs(place, report, view, shown)


def _diffs(place: Place, report: Report, view: View, shown: dict[str, str]) -> Iterator[Line]:
    """The rewrites of a place; one that several places share, and which was `shown`, is named by the first of them."""
    where = f"{here(report, place.lead.span.path, view.folder)}:{place.lead.span.line}"
    for diff in dict.fromkeys(f.rewrite.diff for f in place.findings if f.rewrite.status == "proposed"):
        if diff in shown:
            yield _line((f"the rewrite is the one of {shown[diff]}", "advice"), indent=4)
        else:
            shown[diff] = where
            yield from (_line((line, _diff_style(line))) for line in diff.splitlines())


def _place(place: Place, report: Report, view: View) -> Iterator[Line]:
    lead = place.lead
    names = ", ".join(finding.rule for finding in place.same)
    where = f"{here(report, lead.span.path, view.folder)}:{lead.span.line}:{lead.span.column}:"
    level, rule = (lead.level, f"level.{lead.level}"), (f"[{names}]", f"rule.{lead.rule}")
    yield _line((where, "bold"), " ", level, ": ", rule, f" {lead.message}", rows=0 if view.evidence else 2)
    said = [advice(lead, report, view.rules)]
    said += [f"also {other.rule}, {advice(other, report, view.rules)}" for other in place.others]
    if view.evidence:
        yield from (_line((one, "advice"), indent=4) for one in said)
        for finding in place.findings:
            yield from _evidence(finding, report, view, finding is lead)
    else:
        yield _line(("; ".join(said), "advice"), indent=4, rows=1)


def _diff_style(line: str) -> str:
    if line.startswith(("+++", "---")):
        return "bold"
    return {"+": "added", "-": "removed", "@": "hunk"}.get(line[:1], "")


def _evidence(finding: Finding, report: Report, view: View, first: bool) -> Iterator[Line]:
    span = finding.span
    source = report.lines.get((span.path, span.line))
    if source is not None and first:
        lead = "".join("\t" if one == "\t" else " " for one in source[: span.column - 1])
        mark = "^" * max(1, span.end_column - span.column)
        yield _line(f"{span.line} | {source}", indent=4)
        yield _line(f"{' ' * len(str(span.line))} | {lead}", (mark, "caret"), indent=4)
    origin = finding.origin
    if origin is not None and (first or finding.trail):
        kinds = " or ".join(MEANING[kind] for kind in origin.kinds)
        sure = "every way to set it was followed" if origin.certain else "not every way to set it is known to be this"
        yield _line(f"the address is {kinds} ({sure})", indent=4)
        for branch in origin.branches:
            if len(origin.branches) > 1:
                yield _line(f"where it is {MEANING[branch.kind]}:", indent=4)
            yield from steps(branch.steps[1:], report, view)
        if origin.gave_up:
            yield _line(f"not followed: {origin.gave_up}", indent=4)
    if finding.trail:
        yield _line("on this path:", indent=4)
        yield from steps(finding.trail, report, view)
    if first:
        yield from (_partner(partner, report, view) for partner in finding.partners)
        yield from (_line(text, indent=4) for text in _why(finding.verdict, report.target) if text)


def _partner(partner: Partner, report: Report, view: View) -> Line:
    place = f"{here(report, partner.span.path, view.folder)}:{partner.span.line}:{partner.span.column}"
    return _line(
        f"{_PARTNERS.get(partner.role, partner.role)} at {place}: {partner.callee}() in {partner.function}()", indent=4
    )


def steps(path: Iterable[Step], report: Report, view: View) -> Iterator[Line]:
    """The steps of a path, one line for each; what stands at one place is said once."""
    last = None
    for step in path:
        place = f"{here(report, step.path, view.folder)}:{step.line}:{step.column}"
        if (place, step.text) != last:
            yield _line((f"{place}: ", "step"), (step.text, "code"), f"  -- {step.note}", indent=6)
        else:
            yield _line(f"-- {step.note}", indent=8)
        last = place, step.text


def _why(verdict: Verdict, target: str) -> Iterator[str]:
    """What the model of the DMA API says, with the machine that shows it."""
    match verdict.status:
        case "proved":
            safer = f", safer in {verdict.refined:,}" if verdict.refined else ""
            yield (
                f"the model of {target} ran old and new calls in {verdict.states:,} machine setups (IOMMU or not, "
                f"coherent"
                f" or not, ...): the same in {verdict.equal:,}{safer}"
            )
        case "refuted":
            yield f"the model of {target} says no: {verdict.reason}"
            yield f"for instance {verdict.counterexample}" if verdict.counterexample else ""


def _judged(one: Judged, report: Report, view: View) -> Iterator[Line]:
    change = f"{one.after}()" if one.before == one.after else f"{one.before}() is now {one.after}()"
    place = f"{here(report, one.span.path, view.folder)}:{one.span.line}:{one.span.column}: "
    match one.verdict.status:
        case "proved":
            said, style = f"OK, {effect(one.verdict, report.target)}", "good"
        case "refuted":
            said, style = f"NOT OK, breaks: {one.verdict.reason}", "level.error"
        case _:
            said, style = f"to check by hand, {one.verdict.reason}", "level.warning"
    yield _line((place, "bold"), f"{change} in {one.function}(): ", (said, style))
    if one.verdict.counterexample:
        yield _line(f"for instance {one.verdict.counterexample}", indent=4)


def _summary(report: Report, found: list[Place], view: View) -> Iterator[Line]:
    levels = Counter(place.lead.level for place in found)
    counts = ", ".join(plural(levels[level], level) for level in LEVELS if levels[level])
    states = Counter(todo(place.lead) for place in found)
    ready = ", ".join(f"{states[what]} {what}" for what in Todo if states[what])
    where = f"{plural(report.files, 'file')} ({report.parsed:,} looked into), {report.seconds:.1f} s"
    if counts:
        yield _line((counts, "bold"), f" ({ready}) in {where}")
    elif report.skipped:
        yield _line(f"nothing was found in {where}, but {plural(len(report.skipped), 'place')} could not be judged")
    elif not report.judged:
        yield _line(f"nothing to report in {where}")
    if counts and report.skipped:
        yield _line(f"{plural(len(report.skipped), 'place')} could not be judged")
    if report.silenced:
        by = Counter(one.reason for one in report.silenced)
        yield _line("not shown: " + ", ".join(f"{count} {reason}" for reason, count in sorted(by.items())))
    for path, count in report.older:
        yield _line(
            f"{here(report, path, view.folder)}: {plural(count, 'finding')} that the change does not touch; --all "
            f"shows them"
        )
    if report.judged:
        yield _line((_verdict(report), "bold"))
    yield from _next(report, found, view)


def _verdict(report: Report) -> str:
    """A review's last word, which a maintainer can quote."""
    files = ", ".join(dict.fromkeys(one.span.path.rpartition("/")[2] for one in report.judged))
    bad = sum(one.verdict.status == "refuted" for one in report.judged)
    unsure = sum(one.verdict.status not in ("refuted", "proved") for one in report.judged)
    if bad or unsure:
        word = "NOT OK" if bad else "To check"
        what = (
            f"{bad} not what {'it was' if bad == 1 else 'they were'} on {report.target}"
            if bad
            else f"{unsure} not told"
        )
        return f"{word}: {files}: of {plural(len(report.judged), 'mapping')} that change, {what}"
    count = f"{plural(len(report.judged), 'mapping')} moved with all unmaps"
    effects = {effect(one.verdict, report.target) for one in report.judged}
    return (
        f"OK: {files}: {count}, {effects.pop() if len(effects) == 1 else f'same behaviour on {report.target} or safer'}"
    )


def _next(report: Report, found: list[Place], view: View) -> Iterator[Line]:
    """The commands that come next."""
    if not found or view.quiet or report.judged:
        return
    said = []
    if any(f.rewrite.status == "proposed" and f.verdict.status == "proved" for f in report.findings):
        said.append(f"{shlex.join(('dmamigrate', 'patch', *view.asked))} -o series/ writes what is ready")
    if not view.evidence:
        said.append("-v shows where each address comes from")
    unsure = next((place.lead.span for place in found if todo(place.lead) is Todo.CHECK), None)
    if unsure is not None:
        said.append(f"dmamigrate trace {here(report, unsure.path, view.folder)}:{unsure.line}")
    if said:
        yield _line("next: " + "; ".join(said))


def statistics(report: Report) -> str:
    """Counts instead of findings: each rule by what is to be done, most findings first."""
    held: dict[str, Counter[Todo]] = {}
    for finding in report.findings:
        held.setdefault(finding.rule, Counter())[todo(finding)] += 1
    rows = sorted(held.items(), key=lambda row: (-row[1].total(), row[0]))
    width = max([len("rule"), *map(len, held)])
    head = f"{'rule':{width}}  {'total':>6}" + "".join(f"  {what:>9}" for what in Todo)
    body = [f"{rule:{width}}  {row.total():>6}" + "".join(f"  {row[what]:>9}" for what in Todo) for rule, row in rows]
    tail = (
        f"{plural(len(report.findings), 'finding')} in {plural(report.files, 'file')}, {len(report.skipped)} not judged"
    )
    return "\n".join([head, *body, tail]) + "\n"
