# SPDX-License-Identifier: GPL-2.0-only
"""What is set for a project and what is not shown: configuration, environment, reasoned ignores, baseline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.test_cli import Done, run
from tests.test_touched import BAD, HEADER, OLD

TABLE = '[[source]]\ncall = ["vendor_base"]\norigin = ["pci-bar"]\nevidence = "vendor.c: BAR 4"\n'
TWO = OLD.replace("win_st", "other_st").replace("struct win ", "struct other ")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder that no configuration above it reaches into, with one finding in each of two files."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "drv").mkdir()
    (tmp_path / "drv/win.c").write_text(OLD)
    (tmp_path / "drv/two.c").write_text(BAD)
    (tmp_path / "drv/win.h").write_text(HEADER)
    return tmp_path


def _found(done: Done) -> list[tuple[str, str]]:
    assert done.returncode in (0, 1), done.stderr
    return [(one["path"], one["rule"]) for one in json.loads(done.stdout)["findings"]]


def _scan(folder: Path, *words: str, **env: str) -> list[tuple[str, str]]:
    return _found(run("scan", "--format", "json", *words, cwd=folder, **env))


BOTH = [("drv/two.c", "phys-missing-mmio"), ("drv/win.c", "map-resource-bar")]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("", BOTH, id="nothing is set"),
        pytest.param('select = ["map-resource"]', BOTH[1:], id="the first words of a rule"),
        pytest.param('ignore = ["phys-missing-mmio"]', BOTH[1:], id="a rule that is left out"),
        pytest.param('[[per-path-ignores]]\npath = "drv/two.c"\nreason = "vendor code"', BOTH[1:], id="a file"),
        pytest.param('[[per-path-ignores]]\npath = "drv/"\nreason = "vendor code"', [], id="a folder"),
        pytest.param('[[per-path-ignores]]\npath = "*/t*.c"\nreason = "vendor code"', BOTH[1:], id="a pattern"),
        pytest.param('[[per-path-ignores]]\npath = "drv"\nrule = "phys"\nreason = "why"', BOTH[1:],
        id="a rule in a folder"),
        pytest.param('[[per-path-ignores]]\npath = "dr"\nreason = "why"', BOTH, id="another folder that begins so"),
    ],
)  # fmt: skip
def test_what_is_set_in_a_file(project: Path, text: str, found: list[tuple[str, str]]) -> None:
    (project / ".dmamigrate.toml").write_text(text)
    assert _scan(project, "--tree", ".") == found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param('selct = ["x"]', "selct", id="a key that is none"),
        pytest.param("jobs = -1", "jobs", id="a value that is none"),
        pytest.param('[[per-path-ignores]]\npath = "drv"', "reason", id="an ignore without a reason"),
        pytest.param('[[per-path-ignores]]\npath = "drv"\nreason = ""', "reason", id="an ignore with an empty reason"),
        pytest.param('select = ["nonsense"]', "nonsense", id="a rule that is none"),
        pytest.param("target = ", "Invalid value", id="no TOML"),
        pytest.param('target = "6.1"', "6.18", id="a target without the API"),
        pytest.param('tree = "nowhere"', "nowhere", id="a tree that is not there"),
        pytest.param('baseline = "nowhere"', "--write-baseline", id="a baseline that is not there"),
        pytest.param('rules = "drv"', "holds no rules", id="a folder without rules"),
    ],
)
def test_what_is_set_wrongly(project: Path, text: str, says: str) -> None:
    (project / ".dmamigrate.toml").write_text(text)
    done = run("scan", cwd=project)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert says in done.stderr


def test_the_command_line_comes_before_the_environment_and_that_before_the_file(project: Path) -> None:
    (project / "pyproject.toml").write_text(
        '[tool.dmamigrate]\nselect = ["unmap"]\ntarget = "6.18"\nsources = ["t.toml"]\n'
    )
    env = {"DMAMIGRATE_SELECT": "map-resource,phys", "DMAMIGRATE_PAGES": "true"}
    shown = run("config", cwd=project, **env).stdout
    rows = {
        line.split()[0]: line.split(maxsplit=1)[1].rsplit(maxsplit=1) for line in shown.split("\n\n")[0].splitlines()
    }
    assert rows["select"][1] == "DMAMIGRATE_SELECT"
    assert [rows["target"][0].strip(), rows["target"][1]] == ["6.18", str(project / "pyproject.toml")]
    assert [rows["pages"][0].strip(), rows["effort"][1]] == ["true", "default"]
    assert str(project / "t.toml") in shown  # paths are taken from where the file stands
    (project / "t.toml").write_text(TABLE)
    assert _scan(project, "--tree", ".", **env) == BOTH
    assert _scan(project, "--tree", ".", "--select", "map-resource", **env) == BOTH[1:]


def test_an_environment_that_makes_no_sense(project: Path) -> None:
    done = run("scan", cwd=project, DMAMIGRATE_EFFORT="huge")
    assert done.returncode == 2
    assert "DMAMIGRATE_EFFORT" in done.stderr


def test_a_configuration_above_the_repository_is_not_read(tmp_path: Path) -> None:
    (tmp_path / ".dmamigrate.toml").write_text("broken")
    inner = tmp_path / "repo"
    (inner / ".git").mkdir(parents=True)
    assert run("config", cwd=inner).returncode == 0
    assert run("config", cwd=tmp_path).returncode == 2


def _baseline(project: Path) -> None:
    done = run("scan", "--tree", ".", "--write-baseline", "known.json", cwd=project)
    assert (done.returncode, done.stdout) == (0, "")


def _in_words(text: str) -> str:
    return text.replace("4096, DMA_TO_DEVICE", "4096,\n\t\t\t  DMA_TO_DEVICE")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("drv/win.c", OLD, id="nothing changed"),
        pytest.param("drv/win.c", "/* one\n * two\n */\n" + OLD, id="lines above"),
        pytest.param("drv/win.c", _in_words(OLD), id="indented again"),
        pytest.param("drv/window.c", OLD, id="the file moved"),
        pytest.param("other/win.c", OLD, id="the file moved to another folder"),
        pytest.param("drv/win.c", OLD.replace("\treturn dma", "\tw->pdev = 0;\n\treturn dma"), id="the function grew"),
    ],
)
def test_what_the_baseline_knows_stays_known(project: Path, name: str, text: str) -> None:
    _baseline(project)
    (project / "drv/win.c").unlink()
    (project / name).parent.mkdir(exist_ok=True)
    (project / name).write_text(text)
    (project / "other").mkdir(exist_ok=True)
    (project / "other/win.h").write_text(HEADER)
    assert _scan(project, "--tree", ".", "--baseline", "known.json") == []


def test_what_is_new_is_shown_and_what_is_mended_is_said(project: Path) -> None:
    _baseline(project)
    (project / "drv/win.c").write_text("int nothing;\n")
    (project / "drv/more.c").write_text(TWO)
    done = run("scan", "--tree", ".", "--baseline", "known.json", "--format", "json", cwd=project)
    assert _found(done) == [("drv/more.c", "map-resource-bar")]
    assert "1 of its findings are mended" in done.stderr
    assert "drv/win.c: win_start(): map-resource-bar" in done.stderr
    _baseline(project)
    assert run("scan", "--tree", ".", "--baseline", "known.json", cwd=project).stderr == ""


def test_what_was_not_looked_at_is_not_taken_for_mended(project: Path) -> None:
    _baseline(project)
    done = run("scan", "drv/two.c", "--tree", ".", "--baseline", "known.json", cwd=project)
    assert (done.returncode, done.stderr) == (0, "")
    assert "not shown: 1 in the baseline" in done.stdout


@pytest.mark.parametrize("text", ["", "{}", '{"version": 2, "findings": []}', '{"version": 1, "findings": [{}]}'])
def test_a_baseline_that_is_none(project: Path, text: str) -> None:
    (project / "known.json").write_text(text)
    done = run("scan", "--baseline", "known.json", cwd=project)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "known.json" in done.stderr


def test_a_reason_is_shown_and_goes_into_sarif(project: Path) -> None:
    (project / ".dmamigrate.toml").write_text('[[per-path-ignores]]\npath = "drv/two.c"\nreason = "vendor code"')
    assert "not shown: 1 ignored: vendor code" in run("scan", "--tree", ".", cwd=project).stdout
    log = json.loads(run("scan", "--tree", ".", "--format", "sarif", cwd=project).stdout)
    silenced = [one for one in log["runs"][0]["results"] if "suppressions" in one]
    assert [one["suppressions"][0]["justification"] for one in silenced] == ["ignored: vendor code"]
