# SPDX-License-Identifier: GPL-2.0-only
"""Every example in every rule, and what the reader of rules refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dmamigrate import rules
from dmamigrate.errors import RuleError
from dmamigrate.findings import Report
from tests.conftest import rewritten

ALL = rules.load()


def _examples(kind: str) -> list[object]:
    return [
        pytest.param(rule, example, id=f"{rule.id}/{example.name}".replace(" ", "-"))
        for rule in ALL
        for example in getattr(rule, kind)
    ]


@pytest.mark.parametrize(("rule", "example"), _examples("invalid"))
def test_must_find(
    rule: rules.Rule, example: rules.Example, scan_text: Callable[[str], Report], tmp_path: Path
) -> None:
    report = scan_text(example.code)
    assert rule.id in {finding.rule for finding in report.findings}
    if example.fixed is not None:
        assert rewritten(report, tmp_path)["driver.c"].decode() == example.fixed


@pytest.mark.parametrize(("rule", "example"), _examples("valid"))
def test_must_not_find(rule: rules.Rule, example: rules.Example, scan_text: Callable[[str], Report]) -> None:
    assert rule.id not in {finding.rule for finding in scan_text(example.code).findings}


# what only a review finds takes two versions of a driver to show: tests/test_review.py
@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule.id) for rule in ALL if not rule.review])
def test_says_both_what_it_finds_and_what_it_leaves(rule: rules.Rule) -> None:
    assert rule.invalid
    assert rule.valid


@pytest.mark.parametrize(
    "rule", [pytest.param(rule, id=rule.id) for rule in ALL if rule.templates and rule.level == "error"]
)
def test_a_rewrite_is_shown(rule: rules.Rule) -> None:
    assert any(example.fixed for example in rule.invalid)


GOOD = 'title = "one"\nlevel = "note"\ncategory = "defect"\ncallee = ["x"]\nmessage = "msg"\nexplain = "why"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(GOOD + "colour = 1\n", "colour", id="unknown key"),
        pytest.param(GOOD.replace("note", "fatal"), "level", id="level that does not exist"),
        pytest.param(GOOD.replace('title = "one"\n', ""), "title", id="missing title"),
        pytest.param(GOOD + 'origins = ["moon"]\n', "origins", id="origin that does not exist"),
        pytest.param(GOOD + 'rewrite = "- a(b)"\n', "'+' line", id="removal without replacement"),
        pytest.param(GOOD + 'rewrite = "+ a(b)"\n', "'-' line", id="replacement of nothing"),
        pytest.param(GOOD + 'rewrite = "a(b)"\n', "cannot read", id="rewrite line without a sign"),
        pytest.param("title = \n", "Invalid", id="no TOML"),
    ],
)
def test_a_broken_rule_is_refused_with_its_file_and_key(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "broken.toml"
    file.write_text(text)
    with pytest.raises(RuleError) as error:
        rules.read(file)
    assert str(file) in str(error.value)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_without_rules_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match="holds no rules"):
        rules.load(tmp_path)


def test_selecting_a_rule_that_does_not_exist_is_refused() -> None:
    with pytest.raises(RuleError, match="there is no rule 'nonsense'"):
        rules.select(ALL, ("nonsense",), ())
