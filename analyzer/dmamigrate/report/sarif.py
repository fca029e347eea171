# SPDX-License-Identifier: GPL-2.0-only
"""The report as SARIF 2.1.0, for code scanning services and the viewers of editors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from dmamigrate.findings import Finding, Json, Report, Silenced, Skipped, Span, Step
from dmamigrate.report.visible import visible
from dmamigrate.rules import Rule

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_ROOT = "TREE"


def _shown(text: str) -> str:
    """Text from a source or a path, safe to print; everything of that kind passes here."""
    return visible(text)


def render(report: Report, rules: Mapping[str, Rule]) -> str:
    """The whole report as one SARIF log; `rules` are the known ones by name, for their help."""
    held = [*report.findings, *(one.finding for one in report.silenced)]
    used = sorted({finding.rule for finding in held})
    index = {rule: number for number, rule in enumerate(used)}
    results = [_result(finding, report, index) for finding in report.findings]
    uri = Path(report.root).as_uri().rstrip("/")
    results += [_silenced(one, report, index) for one in report.silenced]
    run: Json = {
        "tool": {
            "driver": {
                "name": "dmamigrate",
                "version": report.version,
                "semanticVersion": report.version,
                "rules": [_rule(name, rules.get(name), held) for name in used],
            }
        },
        "originalUriBaseIds": {_ROOT: {"uri": f"{uri}/"}},
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {"executionSuccessful": True, "toolExecutionNotifications": [_notification(one) for one in report.skipped]}
        ],
        "results": results,
        "properties": {"target": report.target, "treeVersion": report.tree_version, "files": report.files},
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _rule(name: str, rule: Rule | None, findings: list[Finding]) -> Json:
    one = next(finding for finding in findings if finding.rule == name)
    described: Json = {
        "id": name,
        "defaultConfiguration": {"level": str(one.level)},
        "properties": {"category": str(one.category), "tags": [str(one.category), "dma", "linux-kernel"]},
    }
    if rule is not None:
        more = [f"What to do: {rule.advice}." if rule.advice else "", *(f"See {where}" for where in rule.see)]
        text = "\n\n".join([rule.explain, *filter(None, more), f"More: dmamigrate rules {name}"])
        described |= {
            "shortDescription": {"text": rule.title},
            "fullDescription": {"text": rule.explain},
            "help": {"text": text, "markdown": text},
        }
    return described


def _result(finding: Finding, report: Report, index: Mapping[str, int]) -> Json:
    result: Json = {
        "ruleId": finding.rule,
        "ruleIndex": index[finding.rule],
        "level": str(finding.level),
        "message": {"text": _shown(finding.message)},
        "locations": [
            {
                **_location(finding.span, report),
                "logicalLocations": [{"name": _shown(finding.function), "kind": "function"}],
            }
        ],
        "partialFingerprints": {"dmamigrate/v1": finding.fingerprint},
        "properties": {
            "category": str(finding.category),
            "origin": [str(kind) for kind in finding.origin.kinds] if finding.origin is not None else [],
            "certain": finding.origin.certain if finding.origin is not None else None,
            "rewrite": finding.rewrite.status,
            "verdict": finding.verdict.status,
        },
    }
    if finding.partners:
        result["relatedLocations"] = [
            {
                "id": number,
                **_location(partner.span, report),
                "message": {"text": _shown(f"{partner.role}: {partner.callee}() in {partner.function}()")},
            }
            for number, partner in enumerate(finding.partners, 1)
        ]
    flows = [branch.steps for branch in finding.origin.branches] if finding.origin is not None else []
    # a trace goes from the call back to the source of its address; a flow is read the way the value goes
    paths = [tuple(reversed(steps)) for steps in flows] + [finding.trail]
    if any(paths):
        result["codeFlows"] = [{"threadFlows": [{"locations": [_step(s) for s in steps]}]} for steps in paths if steps]
    if finding.rewrite.status == "proposed" and finding.verdict.status == "proved" and finding.rewrite.edits:
        result["fixes"] = [_fix(finding, report)]
    return result


def _silenced(one: Silenced, report: Report, index: Mapping[str, int]) -> Json:
    return {
        **_result(one.finding, report, index),
        "suppressions": [{"kind": "external", "justification": _shown(one.reason)}],
    }


def _fix(finding: Finding, report: Report) -> Json:
    changes: dict[str, list[Json]] = {}
    for edit in finding.rewrite.edits:
        region = {"byteOffset": edit.start, "byteLength": edit.end - edit.start}
        replacement = {"deletedRegion": region, "insertedContent": {"text": edit.text}}
        changes.setdefault(edit.path, []).append(replacement)
    return {
        "description": {"text": f"the same behaviour, or a safer one, on {report.target}; all calls change together"},
        "artifactChanges": [
            {"artifactLocation": _artifact(path), "replacements": edits} for path, edits in changes.items()
        ],
    }


def _step(step: Step) -> Json:
    region: Json = {"startLine": step.line, "snippet": {"text": _shown(step.text)}}
    where = {"artifactLocation": _artifact(step.path), "region": region}
    return {"location": {"physicalLocation": where, "message": {"text": _shown(step.note)}}}


def _location(span: Span, report: Report) -> Json:
    text = report.lines.get((span.path, span.line))
    region: Json = {"startLine": span.line, "endLine": span.end_line}
    if text is not None and span.end_line == span.line:
        region |= {"startColumn": _character(text, span.column), "endColumn": _character(text, span.end_column)}
    return {"physicalLocation": {"artifactLocation": _artifact(span.path), "region": region}}


def _character(text: str, column: int) -> int:
    """The column in characters, from 1, of a column in bytes."""
    return len(text.encode("utf-8", "surrogateescape")[: column - 1].decode("utf-8", "replace")) + 1


def _artifact(path: str) -> Json:
    name = quote(path, safe="/", encoding="utf-8", errors="surrogateescape")
    return {"uri": f"file://{name}"} if path.startswith("/") else {"uri": name, "uriBaseId": _ROOT}


def _notification(one: Skipped) -> Json:
    path, _, line = one.path.rpartition(":")
    where: Json = {"artifactLocation": _artifact(path if line.isdecimal() and path else one.path)}
    if line.isdecimal() and path:
        where["region"] = {"startLine": max(1, int(line))}
    return {
        "level": "warning",
        "message": {"text": _shown(f"{one.path}: skipped: {one.reason}")},
        "locations": [{"physicalLocation": where}],
    }
