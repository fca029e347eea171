# SPDX-License-Identifier: GPL-2.0-only
"""The report for people, as a compiler would print it; plain text that colour is added to in `terminal`."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator

from dmamigrate.findings import Finding, Judged, Report, Step, Verdict

_WIDTH = 80
_STEPS = 12


def render(report: Report, show_diff: bool = False, statistics: bool = False) -> str:
    """The whole report, at most 80 columns wide where it is not source text."""
    parts = ["\n".join(_finding(finding, report, show_diff)) for finding in report.findings]
    if report.judged:
        parts.append("\n".join(line for one in report.judged for line in _judged(one, report.target)))
    parts += [f"{one.path}: skipped: {one.reason}" for one in report.skipped]
    parts.append("\n".join(_summary(report, statistics)))
    return "\n\n".join(parts) + "\n"


def _wrapped(text: str, indent: str, first: str) -> Iterator[str]:
    yield from textwrap.wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _finding(finding: Finding, report: Report, show_diff: bool) -> Iterator[str]:
    span = finding.span
    yield f"{span.path}:{span.line}:{span.column}: {finding.level}: [{finding.rule}]"
    yield from _wrapped(finding.message, "  ", "  ")
    line = report.lines.get((span.path, span.line))
    if line is not None:
        number = str(span.line)
        lead = "".join("\t" if c == "\t" else " " for c in line[: span.column - 1])
        yield f"  {number} | {line}"
        yield f"  {' ' * len(number)} | {lead}{'^' * max(1, span.end_column - span.column)}"
    yield from _evidence(finding)
    for partner in finding.partners:
        yield from _wrapped(
            f"{partner.role}: {partner.span.path}:{partner.span.line} {partner.callee}() in {partner.function}()",
            "    ",
            "  ",
        )
    yield from _rewrite(finding, show_diff, report.target)
    if finding.verdict.status == "refuted" and finding.rewrite.status != "proposed" and finding.verdict.counterexample:
        yield from _wrapped(finding.verdict.counterexample, "    ", "  ")


def _evidence(finding: Finding) -> Iterator[str]:
    """Where the address comes from, a way for each kind, and the path that shows what is wrong."""
    origin = finding.origin
    if origin is not None and any(branch.steps[1:] for branch in origin.branches):
        certainty = "" if origin.certain else ", not certain"
        yield from _wrapped(f"origin: {', '.join(origin.kinds)}{certainty}", "    ", "  ")
        for branch in origin.branches:
            yield from _steps(branch.steps[1:])
    if finding.trail:
        yield "  path:"
        yield from _steps(finding.trail)
    if origin is not None and origin.gave_up:
        yield from _wrapped(f"not followed: {origin.gave_up}", "    ", "  ")


def _steps(steps: tuple[Step, ...]) -> Iterator[str]:
    shown = steps if len(steps) <= _STEPS else (*steps[: _STEPS - 2], None, *steps[-1:])
    for step in shown:
        yield from _step(step, len(steps) - _STEPS + 1)


def _step(step: Step | None, left_out: int) -> Iterator[str]:
    if step is None:
        yield f"    ... {left_out} more steps ..."
        return
    yield from _wrapped(f"{step.path}:{step.line}: {step.note}", "      ", "    ")
    text = step.text if len(step.text) <= _WIDTH - 8 else step.text[: _WIDTH - 11] + "..."
    yield f"        {text}"


def _rewrite(finding: Finding, show_diff: bool, target: str) -> Iterator[str]:
    rewrite = finding.rewrite
    if rewrite.status == "withheld":
        yield from _wrapped(f"no rewrite: {rewrite.reason}", "    ", "  ")
    if rewrite.status != "proposed":
        return
    yield from _wrapped(f"rewrite: {_verdict(finding.verdict, target)}", "    ", "  ")
    for line in rewrite.diff.split("\n"):
        if show_diff or (line[:1] in "+-" and line[:3] not in ("+++", "---")):
            yield line if show_diff else f"    {line}"


def _judged(one: Judged, target: str) -> Iterator[str]:
    change = one.after if one.before == one.after else f"{one.before}() is now {one.after}"
    yield from _wrapped(
        f"{one.span.path}:{one.span.line}: {change}() in {one.function}(): {_verdict(one.verdict, target)}", "  ", ""
    )


def _verdict(verdict: Verdict, target: str) -> str:
    match verdict.status:
        case "proved":
            return (
                f"proved for {target}, {verdict.states} states: equal in {verdict.equal}, better in {verdict.refined}"
            )
        case "refuted":
            return f"refuted: {verdict.reason}" + (f"; {verdict.counterexample}" if verdict.counterexample else "")
    return f"not proved: {verdict.reason}"


def _summary(report: Report, statistics: bool) -> Iterator[str]:
    levels = Counter(str(finding.level) for finding in report.findings)
    counts = ", ".join(
        f"{levels[name]} {name}{'s' if levels[name] != 1 else ''}"
        for name in ("error", "warning", "note")
        if levels[name]
    )
    files = f"{report.files} file{'s' if report.files != 1 else ''}"
    yield f"{counts or 'nothing to report'} in {files} ({report.parsed} with DMA mapping calls), {report.seconds:.1f} s"
    if report.skipped:
        yield f"{len(report.skipped)} skipped"
    if statistics:
        rules = Counter(finding.rule for finding in report.findings)
        yield from (f"{count:6} {name}" for name, count in sorted(rules.items()))
