# SPDX-License-Identifier: GPL-2.0-only
"""The command line as users run it: exit status, one clear line for bad input, formats."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest

from dmamigrate import cli
from dmamigrate import scan as scans
from tests.conftest import ROOT

FIXTURES = ROOT / "fixtures"


@dataclass(frozen=True)
class Done:
    """What a command said, and how it ended."""

    returncode: int
    stdout: str
    stderr: str


class _Stream(io.TextIOWrapper):
    """Standard output or error that is kept, with bytes below the text as a real one has."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", errors="surrogateescape", write_through=True)

    def text(self) -> str:
        kept: bytes = self.buffer.getvalue()  # type: ignore[attr-defined]
        return kept.decode("utf-8", "replace")


def run_apart(*words: str | Path, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, for what only that can show."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    command = [sys.executable, "-m", "dmamigrate", *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def run(*words: str | Path, cwd: Path | None = None, stdin: bytes = b"", **env: str) -> Done:
    """The command line in this process, which is what makes these tests quick."""
    out, err = _Stream(), _Stream()
    environment = dict(os.environ)
    with pytest.MonkeyPatch.context() as patched:
        for name in [name for name in os.environ if name.startswith("DMAMIGRATE_")]:
            patched.delenv(name)
        for name, value in {"NO_COLOR": "1", **env}.items():
            patched.setenv(name, value)
        patched.chdir(cwd or Path.cwd())
        patched.setattr(sys, "argv", ["dmamigrate", *map(str, words)])
        patched.setattr(sys, "stdout", out)
        patched.setattr(sys, "stderr", err)
        patched.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as left:
            cli.main()
    os.environ.clear()  # --debug sets a variable for the processes that it starts
    os.environ.update(environment)
    return Done(int(left.value.code or 0), out.text(), err.text())


@pytest.mark.parametrize(
    ("words", "status"),
    [
        pytest.param(["scan", FIXTURES / "origin/alias/before"], 1, id="findings"),
        pytest.param(["scan", FIXTURES / "rewrite/already-migrated/before"], 0, id="nothing to report"),
        pytest.param(["scan", FIXTURES / "origin/alias/before", "--exit-zero"], 0, id="findings, but exit with zero"),
        pytest.param(["scan", FIXTURES / "origin/out-pointer/before", "--level", "error"], 0, id="only errors wanted"),
        pytest.param(
            ["scan", FIXTURES / "origin/alias/before", "--ignore", "map-resource-bar"], 0, id="the rule is ignored"
        ),
        pytest.param(["rules"], 0, id="list of rules"),
        pytest.param(["rules", "map-resource-bar"], 0, id="one rule"),
        pytest.param(["--version"], 0, id="version"),
        pytest.param(["trace", FIXTURES / "origin/alias/before/fx.c:25"], 0, id="trace"),
        pytest.param(["model", "show", "dma_map_phys", "--attrs", "MMIO"], 0, id="model show"),
    ],
)
def test_exit_status(words: list[str | Path], status: int) -> None:
    done = run(*words)
    assert (done.returncode, done.stderr) == (status, "")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(["scan", "no/such/path"], "no such file or folder", id="missing path"),
        pytest.param(["scan", ROOT / ".ci"], "holds no C files", id="folder without C files"),
        pytest.param(["scan", ROOT / "README.md"], "no C file", id="a file that is no C"),
        pytest.param(["scan", FIXTURES, "--select", "nonsense"], "there is no rule 'nonsense'", id="unknown rule"),
        pytest.param(["rules", "nonsense"], "there is no rule 'nonsense'", id="unknown rule to explain"),
        pytest.param(["scan", FIXTURES, "--tree", "no/tree"], "no such folder", id="missing tree"),
        pytest.param(["scan", FIXTURES, "--target", "6.12"], "new in 6.18", id="target without the API"),
        pytest.param(["scan", FIXTURES, "--target", "soon"], "not a kernel version", id="target that is no version"),
        pytest.param(
            ["scan", FIXTURES, "--sources", ROOT / "pyproject.toml"], "pyproject.toml", id="table that is none"
        ),
        pytest.param(
            ["scan", FIXTURES / "origin/alias/before", "--output", "no/folder/x"],
            "No such file",
            id="output that cannot be written",
        ),
        pytest.param(["trace", "nowhere"], "FILE:LINE", id="place that is none"),
        pytest.param(["review", "no-such-patch"], "name a patch", id="neither patch nor commit"),
        pytest.param(["review", ROOT / "LICENSE"], "changes no file", id="a text that is no patch"),
        pytest.param(["patch", "no/such/path", "--stdout"], "no such file or folder", id="nothing to patch"),
        pytest.param(["trace", FIXTURES / "origin/alias/before/fx.c:1"], "no function", id="line outside of functions"),
        pytest.param(
            ["trace", FIXTURES / "origin/alias/before/fx.c:25", "--arg", "9"],
            "5 arguments",
            id="argument that is not there",
        ),
        pytest.param(
            ["model", "show", "dma_nothing"], "the model has no dma_nothing()", id="call that the model has not"
        ),
        pytest.param(["model", "conform", "--tree", FIXTURES], "no kernel tree", id="tree that is none"),
    ],
)
def test_bad_input_gets_one_line_and_status_2(words: list[str | Path], says: str) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_the_module_is_the_command() -> None:
    done = run_apart("scan", FIXTURES / "origin/alias/before", "-q")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("1 error")


@pytest.mark.parametrize(
    "words", [["scan", str(FIXTURES), "--format", "nonsense"], ["nonsense"], ["scan", "--nonsense"]]
)
def test_bad_usage_is_status_2(words: list[str]) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert done.stdout == ""


def test_an_unreadable_file_is_listed_and_never_silently_clean(tmp_path: Path) -> None:
    (tmp_path / "good.c").write_text("int x;\n")
    (tmp_path / "bad.c").write_bytes(b"int x;\0 dma_map_resource(a, b, c, d, 0);")
    for fmt in ("text", "json"):
        done = run("scan", tmp_path, "--tree", tmp_path, "--format", fmt)
        assert "bad.c" in done.stdout
        assert "NUL" in done.stdout


def test_a_call_that_cannot_be_parsed_is_listed(tmp_path: Path) -> None:
    (tmp_path / "odd.c").write_text("WRAPPER(x, dma_map_resource(dev, bar, 4, dir, 0))\n")
    done = run("scan", tmp_path, "--tree", tmp_path, "--format", "json")
    assert [one["path"] for one in json.loads(done.stdout)["skipped"]] == ["odd.c:1"]


def test_calls_in_macros_are_found(tmp_path: Path) -> None:
    code = "#define map_it(d, p) \\\n\tdma_map_resource(d, p, 4, DMA_TO_DEVICE, 0)\n#define X 1\n"
    use = "void f(struct device *d, struct pci_dev *p)\n{\n\tdma_addr_t a = map_it(d, pci_resource_start(p, 0));\n}\n"
    (tmp_path / "m.c").write_text(code + use)
    document = json.loads(run("scan", tmp_path, "--tree", tmp_path, "--format", "json").stdout)
    assert [
        (one["callee"], one["function"], one["line"])
        for one in document["findings"]
        if one["rule"] == "map-resource-bar"
    ] == [("dma_map_resource", "f", 6)]


def test_the_same_input_gives_the_same_bytes_whatever_the_jobs() -> None:
    texts = set()
    some = sorted(FIXTURES.glob("[a-m]*"))
    for jobs in ("1", "2", "3"):
        document = json.loads(run("scan", *some, "--tree", FIXTURES, "--format", "json", "--jobs", jobs).stdout)
        document["summary"].pop("seconds")
        texts.add(json.dumps(document))
    assert len(texts) == 1


CONTRACT = json.loads((ROOT / "analyzer/dmamigrate/report/report.schema.json").read_text())


def test_json_keeps_its_contract() -> None:
    document = json.loads(
        run("scan", FIXTURES / "p2p", FIXTURES / "unmap", "--tree", FIXTURES, "--format", "json").stdout
    )
    jsonschema.validate(document, CONTRACT)
    places = [(f["path"], f["line"], f["column"], f["rule"]) for f in document["findings"]]
    assert places == sorted(places)
    assert len({f["fingerprint"] for f in document["findings"]}) == len(places)


def test_a_fingerprint_survives_edits_elsewhere(tmp_path: Path) -> None:
    code = (FIXTURES / "origin/alias/before/fx.c").read_text()
    prints = []
    for text in (code, code.replace("struct fx {", "/* more */\n\nstruct fx {")):
        (tmp_path / "fx.c").write_text(text)
        document = json.loads(run("scan", tmp_path, "--tree", tmp_path, "--format", "json").stdout)
        prints.append([f["fingerprint"] for f in document["findings"]])
    assert prints[0] == prints[1] != []


def test_diff_applies_with_git(tmp_path: Path) -> None:
    before = FIXTURES / "origin/field-in-another-file/before"
    for file in before.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    document = json.loads(run("scan", before, "--tree", before, "--format", "json").stdout)
    text = document["findings"][0]["rewrite"]["diff"]
    assert text in run("scan", before, "--tree", before, "--diff").stdout
    subprocess.run(["git", "apply", "--unsafe-paths", "-"], cwd=tmp_path, input=text, text=True, check=True)
    after = FIXTURES / "origin/field-in-another-file/after"
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == {f.name: f.read_bytes() for f in after.iterdir()}


ABOUT = [
    pytest.param({}, None, "", id="no kernel: nothing is known"),
    pytest.param({}, "7.3", "", id="no kernel, and a target that is given"),
    pytest.param({"Makefile": (6, 12), "header": ""}, None, "it has no DMA_ATTR_MMIO, dma_map_phys, dma_unmap_phys",
    id="older"),
    pytest.param({"Makefile": (6, 12), "header": "#define DMA_ATTR_MMIO 1"}, None,
    "it has no dma_map_phys, dma_unmap_phys",
                 id="the attribute alone was backported"),
    pytest.param({"Makefile": (6, 12), "header": "DMA_ATTR_MMIO dma_map_phys dma_unmap_phys"}, None,
                 "has dma_map_phys() as a backport: rewrites are proved with the model of 6.18",
                 id="all of it was backported"),
    pytest.param({"Makefile": (7, 3), "header": "DMA_ATTR_MMIO dma_map_phys dma_unmap_phys"}, None, "", id="has it"),
]  # fmt: skip


@pytest.mark.parametrize(("held", "target", "said"), ABOUT)
def test_what_the_tree_lacks_for_a_rewrite_is_said(
    tmp_path: Path, held: dict[str, object], target: str | None, said: str
) -> None:
    if "header" in held:
        (tmp_path / "include/linux").mkdir(parents=True)
        (tmp_path / "include/linux/dma-mapping.h").write_text(str(held["header"]))
        version = str(held["Makefile"]).strip("()").split(", ")
        (tmp_path / "Makefile").write_text(f"VERSION = {version[0]}\nPATCHLEVEL = {version[1]}\n")
    chosen = target or scans.default_target(tmp_path, scans.tree_version(tmp_path))
    assert chosen == (target or ("7.3" if held.get("Makefile") == (7, 3) else "6.18"))
    text = scans.about_target(tmp_path, chosen, target is not None)
    assert said in text if said else text == ""
