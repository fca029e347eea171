# SPDX-License-Identifier: GPL-2.0-only
"""Answers that are kept: the same as without, whatever is changed between two runs and whatever happens to the
folder.
"""

from __future__ import annotations

import ast
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from dmamigrate import answers, processes, rules
from dmamigrate import scan as scans
from dmamigrate.findings import Report
from dmamigrate.judge import Work
from dmamigrate.values.knowledge import Knowledge
from tests.conftest import ROOT

FIRST = """#include <linux/pci.h>
#include "win.h"
static int map(struct win *w, struct device *dev)
{
	w->dma = dma_map_resource(dev, w->base, w->len, DMA_BIDIRECTIONAL, 0);
	return dma_mapping_error(dev, w->dma);
}
static void unmap(struct win *w, struct device *dev)
{
	dma_unmap_resource(dev, w->dma, w->len, DMA_BIDIRECTIONAL, 0);
}
"""
SECOND = """#include "win.h"
void probe(struct win *w, struct pci_dev *pdev)
{
	w->base = pci_resource_start(pdev, 0);
	w->len = pci_resource_len(pdev, 0);
}
"""
HEADER = "struct win { phys_addr_t base; dma_addr_t dma; size_t len; };\n"
FILES = {
    "MAINTAINERS": "", "Kbuild": "", "drivers/Makefile": "obj-y += a/ b/\n",
    "drivers/a/Makefile": "obj-m += one.o two.o\n", "drivers/a/one.c": FIRST, "drivers/a/two.c": SECOND,
    "drivers/a/win.h": HEADER, "drivers/b/Makefile": "obj-m += three.o\n", "drivers/b/three.c": FIRST,
    "drivers/b/win.h": HEADER, "include/linux/pci.h": "#include <linux/types.h>\n", "include/linux/types.h": ";\n",
}  # fmt: skip
# what a driver's address may become, what is included, and what is built
PIECES = (
    ("pci_resource_start(pdev, 0)", "virt_to_phys(w)"), ("pci_resource_start(pdev, 0)", "ours(pdev)"),
    ("virt_to_phys(w)", "pci_resource_start(pdev, 0)"), ("DMA_BIDIRECTIONAL", "DMA_TO_DEVICE"), ("size_t", "u32"),
    ("obj-m", "obj-$(X)"), ("obj-m += one.o two.o", "twins-y := one.o"), ("w->len", "w->dma"), ("base;",
    "base; int x;"),
    ('"win.h"', "<linux/win.h>"), ("+= a/ b/", "+= ../drivers/a/"), (", 0);", ", DMA_ATTR_NO_WARN);"),
    ("phys_addr_t base", "union { phys_addr_t base; u64 raw; }"),
)  # fmt: skip
MORE = {
    "drivers/a/zero.c": "phys_addr_t ours(struct pci_dev *p)\n{\n\treturn pci_resource_start(p, 1);\n}\n",
    "drivers/a/more.c": '#include "win.h"\nvoid again(struct win *w)\n{\n\tw->base = virt_to_phys(w);\n}\n',
    "include/linux/win.h": HEADER.replace("base", "base, old"),
    "include/linux/types.h": "#define dma_map_resource(d, p, s, x, a) mapped(d, p)\n;\n",
    "drivers/a/sub/four.c": SECOND.replace("probe", "other").replace("0)", "2)"),
    "drivers/a/sub/Makefile": "obj-m += four.o\n",
    "drivers/a/Kbuild": "obj-m += one.o\n",
}


def lay(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def change(chance: Random, root: Path) -> str:
    """Edit, add, remove or rename one file."""
    held = sorted(path for path in root.rglob("*") if path.is_file() and path.name not in ("MAINTAINERS", "Kbuild"))
    file = chance.choice(held)
    what = chance.choice(("edit", "edit", "edit", "add", "add", "remove", "rename", "touch", "link"))
    if what == "edit":
        old, new = chance.choice(PIECES)
        text = file.read_text()
        file.write_text(text.replace(old, new) if old in text else FILES.get(str(file.relative_to(root)), text))
    elif what == "add":
        name = chance.choice(sorted(MORE))
        lay(root, {name: MORE[name]})
    elif what == "remove":
        file.unlink()
    elif what == "rename":
        file.rename(file.with_name(chance.choice(("renamed.c", "win.h", "three.c", "Makefile"))))
    elif what == "touch":
        os.utime(file)
    else:
        (root / "drivers/a/link.c").unlink(missing_ok=True)
        (root / "drivers/a/link.c").symlink_to(os.path.relpath(file, root / "drivers/a"))
    return f"{what} {file.relative_to(root)}"


def told(report: Report) -> Report:
    """A report without what differs from run to run."""
    return replace(report, seconds=0.0)


@pytest.fixture
def options(tmp_path: Path, known: Knowledge, all_rules: tuple[rules.Rule, ...]) -> scans.Options:
    root = tmp_path / "tree"
    lay(root, FILES)
    return scans.Options((root,), all_rules, known, tree=root, keeping=answers.Keeping(tmp_path / "kept"))


class Log:
    """The modules that are judged, not looked up, in whichever process."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.clear()

    def add(self, files: tuple[str, ...]) -> None:
        with self._file.open("a") as file:
            file.write(f"{' '.join(files)}\n")

    def clear(self) -> None:
        self._file.write_text("")

    def __iter__(self) -> Iterator[list[str]]:
        return map(str.split, self._file.read_text().splitlines())

    def __len__(self) -> int:
        return len(list(iter(self)))


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Log:
    log = Log(tmp_path / "judged")
    real = Work.module

    def module(self: Work, engine: object, files: tuple[str, ...]) -> object:
        log.add(files)
        return real(self, engine, files)  # type: ignore[arg-type]

    monkeypatch.setattr(Work, "module", module)
    return log


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust stat at once, as it is after a while."""
    monkeypatch.setattr(answers, "_STEP", 0)


def check(options: scans.Options, chance: Random, count: int) -> None:
    done: list[str] = []
    for _ in range(count):
        done.append(change(chance, options.paths[0]))
        if not any(options.paths[0].rglob("*.[ch]")):
            lay(options.paths[0], FILES)
        if chance.random() < 0.4:
            continue  # several changes between two runs
        plain = told(scans.scan(replace(options, keeping=None)))
        assert told(scans.scan(options)) == plain, done[-8:]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.usefixtures("quick")
def test_a_kept_answer_is_the_answer(options: scans.Options, seed: int) -> None:
    check(options, Random(seed), 40)


@pytest.mark.kernel
@pytest.mark.parametrize("seed", range(100, 110))
@pytest.mark.usefixtures("quick")
def test_a_kept_answer_is_the_answer_after_a_thousand_changes(options: scans.Options, seed: int) -> None:
    check(options, Random(seed), 100)


@pytest.mark.usefixtures("quick")
def test_what_did_not_change_is_not_judged_again(options: scans.Options, judged: Log) -> None:
    first = told(scans.scan(options))
    assert len(first.findings) == 2
    assert len(judged) == 2
    assert told(scans.scan(options)) == first
    assert len(judged) == 2


AGAIN = [
    pytest.param({"drivers/a/two.c": SECOND + "\n"}, True, id="a file that stores the address"),
    pytest.param({"drivers/a/win.h": HEADER + "\n"}, True, id="a header"),
    pytest.param({"drivers/a/new.c": SECOND}, True, id="a file that was not there"),
    pytest.param({"drivers/a/Makefile": "obj-m += one.o\n"}, True, id="a Makefile"),
    pytest.param({"drivers/c/win.h": HEADER}, False, id="a folder that nothing looks into"),
    pytest.param({"drivers/b/three.c": FIRST + "\n"}, False, id="another module"),
    pytest.param({"drivers/a/notes.txt": "w->base = 0;\n"}, False, id="what is no source"),
    pytest.param({"include/linux/pci.h": "#include <linux/win.h>\n"}, True, id="a header of the kernel"),
]


@pytest.mark.parametrize(("changed", "again"), AGAIN)
@pytest.mark.usefixtures("quick")
def test_what_an_answer_rests_on_is_asked_for(
    options: scans.Options, judged: Log, changed: dict[str, str], again: bool
) -> None:
    scans.scan(options)
    judged.clear()
    lay(options.paths[0], changed)
    scans.scan(options)
    assert any("drivers/a/one.c" in files for files in judged) is again


ASKED = [
    pytest.param(lambda o: replace(o, pages=True), id="other memory, too"),
    pytest.param(lambda o: replace(o, target="7.2"), id="another target"),
    pytest.param(lambda o: replace(o, budget=replace(o.budget, depth=7)), id="another budget"),
    pytest.param(lambda o: replace(o, rules=o.rules[1:]), id="fewer rules"),
    pytest.param(lambda o: replace(o, version="9"), id="another version of the tool"),
    pytest.param(lambda o: replace(o, knowledge=replace(o.knowledge, inert=set())), id="other tables"),
]


@pytest.mark.parametrize("other", ASKED)
@pytest.mark.usefixtures("quick")
def test_another_question_is_not_answered_by_what_is_kept(
    options: scans.Options, judged: Log, other: Callable[[scans.Options], scans.Options]
) -> None:
    scans.scan(options)
    judged.clear()
    scans.scan(other(options))
    assert judged


def test_what_was_changed_just_now_is_read_whatever_its_times_say(options: scans.Options) -> None:
    file = options.paths[0] / "drivers/a/two.c"
    before = told(scans.scan(options))
    times = file.stat()
    file.write_text(SECOND.replace("pci_resource_start(pdev, 0)", "virt_to_phys((void *)w + 1)"[:27]))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file.stat().st_size == times.st_size
    assert told(scans.scan(options)) != before
    assert told(scans.scan(options)) == told(scans.scan(replace(options, keeping=None)))


@pytest.mark.usefixtures("quick")
def test_verifying_reads_what_stat_vouches_for(options: scans.Options, monkeypatch: pytest.MonkeyPatch) -> None:
    scans.scan(options)
    file = options.paths[0] / "drivers/a/two.c"
    forged = {file: answers.stamp_of(os.stat(file))}
    file.write_text(SECOND.replace("pci_resource_start(pdev, 0)", "virt_to_phys(w)"))
    real = answers.stamp_of

    def stamp(status: os.stat_result) -> answers.Stamp:
        return next((old for old in forged.values() if old[1] == status.st_ino), real(status))

    monkeypatch.setattr(answers, "stamp_of", stamp)
    plain = told(scans.scan(replace(options, keeping=None)))
    assert options.keeping is not None
    assert told(scans.scan(options)) != plain, "the forgery is not noticed without"
    assert told(scans.scan(replace(options, keeping=replace(options.keeping, verify=True)))) == plain


def _garbage(file: Path) -> None:
    file.write_bytes(b"no database" * 999)


def _truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5000])


def _values_lost(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE kept SET value = x'00'")


def _values_swapped(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE kept SET value = (SELECT value FROM kept ORDER BY name LIMIT 1)")


def _a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _groups_lost(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("DELETE FROM kept WHERE name LIKE 'group:%'")


@pytest.mark.parametrize("damage", [_garbage, _truncated, _values_lost, _values_swapped, _a_folder, _groups_lost])
@pytest.mark.usefixtures("quick")
def test_a_damaged_store_costs_time_and_no_answer(options: scans.Options, damage: Callable[[Path], None]) -> None:
    first = told(scans.scan(options))
    assert options.keeping is not None
    (file,) = options.keeping.folder.glob("*.sqlite")
    damage(file)
    assert told(scans.scan(options)) == first
    assert told(scans.scan(options)) == first


@pytest.mark.usefixtures("quick")
def test_a_store_that_is_locked_or_full_costs_no_answer(
    options: scans.Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = told(scans.scan(options))
    assert options.keeping is not None
    (file,) = options.keeping.folder.glob("*.sqlite")
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda name, timeout: real(name, timeout=0.01))
    with real(file) as held:
        held.execute("BEGIN EXCLUSIVE")
        assert told(scans.scan(options)) == first
    lay(options.paths[0], {"drivers/a/two.c": SECOND + "\n"})
    monkeypatch.setattr(sqlite3, "connect", lambda name, timeout: _limited(real(name, timeout=timeout)))
    assert told(scans.scan(options)).findings == first.findings


def _limited(connection: sqlite3.Connection) -> sqlite3.Connection:
    """A database that is as full as it may be."""
    connection.execute("PRAGMA max_page_count = 1")
    return connection


@pytest.mark.usefixtures("quick")
def test_what_is_kept_does_not_grow_for_ever(options: scans.Options, monkeypatch: pytest.MonkeyPatch) -> None:
    assert options.keeping is not None
    other = options.keeping.folder / "other.sqlite"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"\0" * 100_000)
    os.utime(other, (1, 1))
    monkeypatch.setattr(answers, "_LARGEST", 10_000)
    monkeypatch.setattr(answers, "_LARGEST_ALL", 50_000)
    first = told(scans.scan(options))
    assert not other.exists()
    assert answers.size(options.keeping.folder) < 50_000
    assert told(scans.scan(options)) == first


@contextmanager
def _used_up(seconds: float, megabytes: int) -> Iterator[None]:
    raise processes.OverBudget(f"takes more than {seconds:g} s of CPU time, or {megabytes} MB")
    yield


def test_what_a_limit_cut_short_is_not_kept(
    options: scans.Options, judged: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(processes, "limited", _used_up)
        assert scans.scan(options).skipped
    judged.clear()
    assert not scans.scan(options).skipped
    assert judged


def run(*words: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    held = {key: value for key, value in os.environ.items() if key != "DMAMIGRATE_CACHE"} | env
    command = [sys.executable, "-m", "dmamigrate", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=held)


def test_the_command_line_keeps_answers_unless_told_not_to(options: scans.Options, tmp_path: Path) -> None:
    root, home = options.paths[0], tmp_path / "home"
    kept = home / "dmamigrate/answers"
    first = run("scan", ".", "--no-cache", cwd=root, XDG_CACHE_HOME=str(home))
    assert first.returncode == 1
    assert not kept.exists()
    assert run("scan", ".", cwd=root, XDG_CACHE_HOME=str(home)).returncode == 1
    assert answers.size(kept) > 0
    shown = run("config", cwd=root, XDG_CACHE_HOME=str(home)).stdout
    assert str(kept) in shown
    assert run("scan", ".", "--verify-cache", cwd=root, XDG_CACHE_HOME=str(home)).returncode == 1


def test_runs_at_the_same_time_do_not_disturb_each_other(options: scans.Options, tmp_path: Path) -> None:
    root = options.paths[0]
    env = {key: value for key, value in os.environ.items() if key != "DMAMIGRATE_CACHE"}
    env |= {"XDG_CACHE_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "dmamigrate", "scan", ".", "--format", "gcc"]
    several = [subprocess.Popen(command, cwd=root, env=env, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    time.sleep(0.3)
    several[2].kill()
    said = [one.communicate()[0] for one in several[:2]]
    several[2].communicate()
    assert said[0] == said[1] != ""
    assert run("scan", ".", "--format", "gcc", cwd=root, XDG_CACHE_HOME=str(tmp_path / "home")).stdout == said[0]


# Everything that an answer rests on goes through program/tree.py, so that it is known what was read; the tables are
# part of the question.
DOOR = ("program/tree.py", "program/reads.py", "values/knowledge.py")
JUDGING = ("program", "values", "paths", "lives", "rewrite", "judge.py", "match.py", "renamed.py")
READING = {"read_text", "read_bytes", "is_file", "exists", "iterdir", "rglob", "stat", "scandir", "listdir"}


def _judging() -> Iterator[Path]:
    for name in JUDGING:
        place = ROOT / "analyzer/dmamigrate" / name
        yield from sorted(place.rglob("*.py")) if place.is_dir() else [place]


@pytest.mark.parametrize("file", [pytest.param(f, id=f.name) for f in _judging() if not str(f).endswith(DOOR)])
def test_nothing_that_judges_reads_by_another_way(file: Path) -> None:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    imported = {
        alias.name for node in nodes if isinstance(node, ast.ImportFrom) and node.module for alias in node.names
        if node.module == "dmamigrate.syntax.source"
    }  # fmt: skip
    assert imported <= {"Source", "spaces", "blank"}
    assert "open" not in {
        node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not READING & {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def test_the_door_tells_all_that_is_opened(options: scans.Options) -> None:
    """What Python itself says was opened and listed, against what is said to have been read."""
    code = (
        "import sys\nfrom pathlib import Path\n"
        "seen = set()\n"
        "def hook(event, words):\n"
        "    if event in ('open', 'os.scandir', 'os.listdir') and isinstance(words[0], (str, Path)):\n"
        "        seen.add(str(words[0]))\n"
        "from dmamigrate import rules, scan\nfrom dmamigrate.judge import Work\n"
        "from dmamigrate.program.queries import Budget\nfrom dmamigrate.program.reads import Reads\n"
        "root = Path(sys.argv[1])\nknown = rules.tables()\n"
        "work = Work(root, rules.select(rules.load(known=known.api), (), ()), known, Budget(), '7.3')\n"
        "judge = scan.Judge(work, scan.Limits(), {}, True)\nsys.addaudithook(hook)\n"
        "taken = judge(('drivers/a/one.c',)).taken\n"
        "groups = taken.new\n"
        "said = {str(root / p) for one in (taken, *groups) for p in (*one.files, *one.folders)}\n"
        "print(sorted(p for p in seen if p.startswith(str(root)) and p not in said), len(seen & said) > 5)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(options.paths[0])], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[] True\n"
