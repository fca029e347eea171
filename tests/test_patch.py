# SPDX-License-Identifier: GPL-2.0-only
"""Patches as a maintainer takes them: they apply, they undo, they say whose driver it is, and no file is ever half
written.
"""

from __future__ import annotations

import email
import email.policy
import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from email.message import Message
from pathlib import Path

import pytest

from dmamigrate import rules
from dmamigrate.errors import UsageError
from dmamigrate.findings import Edit, Report, Rewrite
from dmamigrate.patch import build, drivers, files, message, series
from dmamigrate.patch.change import Change, FileChange
from dmamigrate.rewrite import compat
from tests.conftest import ROOT
from tests.test_cli import run
from tests.test_formats import finding

DRIVER = """\
// SPDX-License-Identifier: GPL-2.0-only
#include <linux/dma-mapping.h>
#include <linux/pci.h>

struct win {
	struct device *dev;
	struct pci_dev *pdev;
	dma_addr_t dma;
};

int win_start(struct win *w)
{
	w->dma = dma_map_resource(w->dev, pci_resource_start(w->pdev, 2), SZ_4K, DMA_TO_DEVICE, 0);
	return dma_mapping_error(w->dev, w->dma);
}

void win_stop(struct win *w)
{
	dma_unmap_resource(w->dev, w->dma, SZ_4K, DMA_TO_DEVICE, 0);
}
"""
MAPS = b"dma_map_phys(w->dev, pci_resource_start(w->pdev, 2), SZ_4K,"
VARIANTS = [
    pytest.param(DRIVER.encode(), id="plain"),
    pytest.param(DRIVER.replace("\n", "\r\n").encode(), id="CRLF"),
    pytest.param(DRIVER.replace("int win_start", "/* gro\u00df */\nint win_start").encode("latin-1"), id="Latin-1"),
    pytest.param(DRIVER.rstrip("\n").encode(), id="no newline at the end"),
    pytest.param(
        DRIVER.replace("int win_start", "/*\nFrom here on\n*/\nint win_start").encode(),
        id="a line that begins like a mail",
    ),
    pytest.param(b"\xef\xbb\xbf" + DRIVER.encode(), id="byte order mark"),
]


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=A. Uthor", "-c", "user.email=author@example.com", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Callable[..., Path]:
    def make(contents: dict[str, bytes], subject: str = "win: Add driver") -> Path:
        folder = tmp_path / "tree"
        folder.mkdir(exist_ok=True)
        git(folder, "init", "-q")
        git(folder, "config", "user.name", "A. Uthor")
        git(folder, "config", "user.email", "author@example.com")
        git(folder, "config", "core.autocrlf", "false")
        for path, data in contents.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        git(folder, "add", ".")
        git(folder, "commit", "-qm", subject)
        return folder

    return make


@pytest.mark.parametrize("data", VARIANTS)
def test_a_series_applies_and_undoes_without_a_trace(
    repository: Callable[..., Path], data: bytes, tmp_path: Path
) -> None:
    folder = repository({"win.c": data})
    done = run("patch", ".", "-o", tmp_path / "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    patch = tmp_path / "out" / "0001-win-Use-dma_map_phys-instead-of-dma_map_resource.patch"
    git(folder, "am", "-q", "--keep-cr", str(patch)) if b"\r" in data else git(folder, "am", "-q", str(patch))
    assert MAPS in (folder / "win.c").read_bytes()
    assert run("scan", ".", "--level", "error", cwd=folder).returncode == 0
    git(folder, "revert", "--no-edit", "HEAD")
    assert (folder / "win.c").read_bytes() == data


def test_in_place_makes_what_the_series_makes(repository: Callable[..., Path], tmp_path: Path) -> None:
    folder = repository({"win.c": DRIVER.encode()})
    run("patch", ".", "-o", tmp_path / "out", cwd=folder)
    os.chmod(folder / "win.c", 0o755)
    done = run("patch", ".", "--in-place", "--force", cwd=folder)
    assert done.stdout == "win.c\n"
    changed = (folder / "win.c").read_bytes()
    assert (folder / "win.c").stat().st_mode & 0o777 == 0o755
    git(folder, "checkout", "-f", ".")
    git(folder, "am", "-q", *map(str, (tmp_path / "out").iterdir()))
    assert (folder / "win.c").read_bytes() == changed


def test_a_dirty_file_is_refused(repository: Callable[..., Path]) -> None:
    folder = repository({"win.c": DRIVER.encode()})
    (folder / "win.c").write_text(DRIVER + "/* not committed */\n")
    done = run("patch", ".", "--in-place", cwd=folder)
    assert done.returncode == 2
    assert "not committed; commit them" in done.stderr
    assert "dma_map_resource" in (folder / "win.c").read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param([], "where to?", id="no destination"),
        pytest.param(["-o", "x", "--stdout"], "where to?", id="two destinations"),
        pytest.param(["--stdout", "--check-build", "no/tree"], "no such folder", id="no tree to build in"),
    ],
)
def test_what_cannot_be_done_is_one_line(words: list[str], says: str) -> None:
    done = run("patch", ROOT / "fixtures/origin/alias/before", *words)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_nobody_signs_off_unasked(repository: Callable[..., Path]) -> None:
    folder = repository({"win.c": DRIVER.encode()})
    assert "Signed-off-by" not in run("patch", ".", "--stdout", cwd=folder).stdout
    assert (
        "\nSigned-off-by: A. Uthor <author@example.com>\n---\n"
        in run("patch", ".", "--stdout", "--signoff", cwd=folder).stdout
    )


def test_signing_off_needs_an_identity(tmp_path: Path) -> None:
    (tmp_path / "win.c").write_text(DRIVER)
    done = run(
        "patch",
        ".",
        "--stdout",
        "--signoff",
        cwd=tmp_path,
        HOME=str(tmp_path),
        GIT_CONFIG_NOSYSTEM="1",
        XDG_CONFIG_HOME="",
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "user.name" in done.stderr


# ---- writing


def test_a_full_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.c", "b.c"):
        (tmp_path / name).write_text("old")
    calls: list[int] = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left on device; nothing was changed"):
        files.stage_all([(tmp_path / "a.c", b"new"), (tmp_path / "b.c", b"new")])
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"a.c": "old", "b.c": "old"}


def test_a_failure_between_two_files_leaves_each_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.c", "b.c"):
        (tmp_path / name).write_text("old")
    staged = files.stage_all([(tmp_path / "a.c", b"new"), (tmp_path / "b.c", b"new")])
    move = os.replace

    def once(source: Path, target: Path) -> None:
        if target.name == "b.c":
            raise OSError(errno.EROFS, "Read-only file system")
        move(source, target)

    monkeypatch.setattr(os, "replace", once)
    with pytest.raises(UsageError, match=r"b\.c: Read-only file system"):
        files.commit(staged)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"a.c": "new", "b.c": "old"}


# ---- whose driver, and how its subsystem writes

MAINTAINERS = """\
List of maintainers

ACME WINDOW DRIVERS
M:	A. Uthor <author@example.com>
F:	drivers/misc/acme-*.c
F:	sound/acme/

DMA GENERIC OFFLOAD ENGINE SUBSYSTEM
F:	drivers/dma/

THE REST
F:	*
F:	*/
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    def put(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    put("MAINTAINERS", MAINTAINERS)
    put(
        "drivers/dma/Makefile",
        "".join(f"obj-$(CONFIG_{n}) += {n}.o\n" for n in "abcdefghij") + "k-y := k-core.o \\\n\tk-hw.o\nobj-m += k.o\n",
    )
    put("drivers/misc/Makefile", "obj-m += acme-a.o acme-b.o other.o\n")
    return tmp_path


@pytest.mark.parametrize(
    ("by", "paths", "together"),
    [
        pytest.param("driver", ["drivers/misc/acme-a.c", "drivers/misc/acme-b.c"], 1, id="one section of MAINTAINERS"),
        pytest.param("driver", ["drivers/misc/acme-a.c", "sound/acme/x.c"], 2, id="one section, two subsystems"),
        pytest.param("driver", ["drivers/dma/a.c", "drivers/dma/b.c"], 2, id="a subsystem's section is no driver"),
        pytest.param("driver", ["drivers/dma/k-core.c", "drivers/dma/k-hw.c"], 1, id="one object of two files"),
        pytest.param("subsystem", ["drivers/dma/a.c", "drivers/dma/b.c"], 1, id="by subsystem"),
        pytest.param("file", ["drivers/dma/k-core.c", "drivers/dma/k-hw.c"], 2, id="by file"),
    ],
)
def test_files_of_one_driver_are_one_patch(tree: Path, by: str, paths: list[str], together: int) -> None:
    assert len(drivers.groups(tree, by, [frozenset({path}) for path in paths])) == together


def test_what_one_rewrite_changes_is_never_split(tree: Path) -> None:
    both = frozenset({"drivers/dma/a.c", "drivers/dma/b.c"})
    assert drivers.groups(tree, "file", [both]) == [both]


@pytest.mark.parametrize(
    ("history", "path", "prefix"),
    [
        pytest.param(
            ["dmaengine: a: Fix it", "dmaengine: a: Add it", "treewide: Rename"],
            "drivers/dma/a.c",
            "dmaengine: a",
            id="history",
        ),
        pytest.param(["Linux 7.3"], "drivers/dma/a.c", "dmaengine: a", id="path, for want of history"),
        pytest.param([], "drivers/dma/k-hw.c", "dmaengine: k", id="the object that the file is part of"),
        pytest.param([], "drivers/misc/acme-a.c", "misc: acme-a", id="subsystem by path"),
        pytest.param([], "drivers/foo/bar.c", "foo: bar", id="a subsystem that no table has"),
        pytest.param([], "bar.c", "bar", id="an out-of-tree driver"),
    ],
)
def test_subjects_begin_as_the_subsystem_writes_them(tree: Path, history: list[str], path: str, prefix: str) -> None:
    assert drivers.prefix(tree, rules.folder(), [path], lambda _: history) == prefix


TWO = {"a/win.c": DRIVER.encode(), "b/win.c": DRIVER.replace("win", "pane").encode()}


def _heads(out: Path) -> list[Message]:
    """Each mail of a series."""
    return [email.message_from_bytes(file.read_bytes()) for file in sorted(out.glob("*.patch"))]


def test_a_series_has_cover_numbers_threads_and_one_base(repository: Callable[..., Path], tmp_path: Path) -> None:
    folder = repository(TWO, "Linux 7.3")
    git(folder, "tag", "v7.3")
    out = tmp_path / "out"
    done = run("patch", ".", "-o", out, "--cover-letter", "--split", "file", cwd=folder)
    assert done.returncode == 0, done.stderr
    heads = _heads(out)
    assert [head["Subject"].split("]")[0] for head in heads] == ["[PATCH 0/2", "[PATCH 1/2", "[PATCH 2/2"]
    assert len({head["Message-ID"] for head in heads}) == 3
    assert [head.get("In-Reply-To") for head in heads] == [None, heads[0]["Message-ID"], heads[0]["Message-ID"]]
    bases = [
        file.read_text().count(f"base-commit: {git(folder, 'rev-parse', 'HEAD').strip()}")
        for file in sorted(out.iterdir())
    ]
    assert bases == [1, 0, 0]
    assert "\n   1 a: win: Use dma_map_phys()" in (out / "0000-cover-letter.patch").read_text()


def test_a_base_that_nobody_else_has_is_left_out_and_told(repository: Callable[..., Path], tmp_path: Path) -> None:
    folder = repository(TWO)
    done = run("patch", ".", "-o", tmp_path / "out", cwd=folder)
    assert "base-commit: left out" in done.stderr
    assert not any(b"base-commit" in file.read_bytes() for file in (tmp_path / "out").iterdir())


def test_a_later_version_has_room_for_what_changed(repository: Callable[..., Path], tmp_path: Path) -> None:
    folder = repository(TWO)
    for words, room in ((["--cover-letter"], "v2-0000-cover-letter.patch"), ([], "v2-0001-")):
        out = tmp_path / ("out" + "".join(words))
        run("patch", ".", "-o", out, "--reroll", "2", "--split", "file", *words, cwd=folder)
        assert all(head["Subject"].startswith("[PATCH v2 ") for head in _heads(out))
        told = [file.name for file in sorted(out.iterdir()) if "Changes in v2:" in file.read_text()]
        assert len(told) == 1
        assert told[0].startswith(room)


def test_a_series_each_for_subsystems(repository: Callable[..., Path], tmp_path: Path) -> None:
    folder = repository({f"drivers/{path}": data for path, data in TWO.items()})
    done = run("patch", ".", "-o", tmp_path / "out", "--split", "subsystem", "--cover-letter", cwd=folder)
    assert done.returncode == 0, done.stderr
    listed = sorted(file.relative_to(tmp_path / "out").as_posix() for file in (tmp_path / "out").rglob("*.patch"))
    assert [name.split("/")[0] for name in listed] == ["drivers-a", "drivers-a", "drivers-b", "drivers-b"]
    git(folder, "am", "-q", *(str(tmp_path / "out" / name) for name in listed if "cover" not in name))
    assert MAPS in (folder / "drivers/a/win.c").read_bytes()


def test_it_is_merged_where_the_context_moved_on(repository: Callable[..., Path], tmp_path: Path) -> None:
    folder = repository({"win.c": DRIVER.encode()})
    run("patch", ".", "-o", tmp_path / "out", cwd=folder)
    (folder / "win.c").write_text(DRIVER.replace("int win_start(", "static int win_start("))
    git(folder, "commit", "-qam", "drift")
    (mail,) = (tmp_path / "out").iterdir()
    assert subprocess.run(
        ["git", "apply", "--check", str(mail)], cwd=folder, check=False, capture_output=True
    ).returncode
    git(folder, "am", "-q", "-3", str(mail))
    assert MAPS in (folder / "win.c").read_bytes()
    assert b"static int win_start" in (folder / "win.c").read_bytes()


def test_hunks_name_the_function(repository: Callable[..., Path], tmp_path: Path) -> None:
    folder = repository(
        {
            "win.c": DRIVER.replace(
                "\tdma_unmap", "\tint one;\n\tint two;\n\tint three;\nout:\n\tone = two;\n\tdma_unmap"
            ).encode()
        }
    )
    run("patch", ".", "-o", tmp_path / "out", cwd=folder)
    (mail,) = (tmp_path / "out").iterdir()
    assert " @@ void win_stop(struct win *w)" in mail.read_text()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("tab\there.c", id="tab"),
        pytest.param("line\nfeed.c", id="line feed"),
        pytest.param("carriage\rreturn.c", id="carriage return"),
        pytest.param('quote".c', id="quotation mark"),
        pytest.param("back\\slash.c", id="backslash"),
        pytest.param("gr\u00fc\u00df.c", id="not ASCII"),
        pytest.param("spa ce.c", id="blank"),
        pytest.param("-o.c", id="looks like an option"),
        pytest.param(os.fsdecode(b"w\xfcn.c"), id="no UTF-8"),
        pytest.param("x" * 250 + ".c", id="very long"),
    ],
)
def test_names_of_any_kind_are_quoted_as_git_does(repository: Callable[..., Path], tmp_path: Path, name: str) -> None:
    folder = repository({name: DRIVER.encode()})
    done = run("patch", ".", "-o", tmp_path / "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    (mail,) = (tmp_path / "out").iterdir()
    git(folder, "am", "-q", str(mail))
    assert MAPS in (folder / name).read_bytes()
    listed = subprocess.run(
        ["git", "diff", "--name-only", "-z", "HEAD~1", "HEAD"], cwd=folder, check=True, capture_output=True
    )
    assert listed.stdout == os.fsencode(name) + b"\0"


def test_everything_that_is_not_in_the_series_is_told(repository: Callable[..., Path], tmp_path: Path) -> None:
    leaky = DRIVER.replace("win", "leak").replace(
        "\tdma_unmap_resource(w->dev, w->dma, SZ_4K, DMA_TO_DEVICE, 0);\n", ""
    )
    wrong = DRIVER.replace("win", "odd").replace("pci_resource_start(w->pdev, 2)", "virt_to_phys(w->buf)")
    folder = repository({"a/win.c": DRIVER.encode(), "b/leak.c": leaky.encode(), "c/odd.c": wrong.encode()})
    done = run("patch", ".", "-o", tmp_path / "out", "--cover-letter", cwd=folder)
    report = json.loads(run("scan", ".", "--format", "json", cwd=folder).stdout)
    places = {f"{found['path']}:{found['line']}" for found in report["findings"] if found["path"] == "c/odd.c"}
    told = [line for line in done.stderr.splitlines() if ": left alone: " in line]
    assert places <= {line.split(": ")[0] for line in told}
    assert any(line.startswith("b/leak.c:13: left alone: ") and "mapping-leaked: " in line for line in told)
    assert f"{len(told)} places that were found are not in it" in done.stderr
    cover = (tmp_path / "out/0000-cover-letter.patch").read_text()
    assert "Found and not in this series:" in cover
    assert all(line.split(": ")[0] in cover for line in told)


def test_the_mail_of_a_p2p_path_says_what_it_is_about(repository: Callable[..., Path], tmp_path: Path) -> None:
    code = (ROOT / "fixtures/p2p/p2p-switch-fallthrough/before/fx.c").read_bytes()
    folder = repository({"fx.c": code}, "fx: Add driver")
    done = run("patch", ".", "-o", tmp_path / "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    (mail,) = (tmp_path / "out").iterdir()
    git(folder, "am", "-q", str(mail))
    text = " ".join(git(folder, "log", "-1", "--format=%B").split())
    assert text.startswith(
        "fx: Pass DMA_ATTR_MMIO for P2P through the host bridge A P2P transfer through the host bridge"
    )
    assert "fx_map() reaches dma_map_phys() without it." in text
    assert "origin could not be followed" not in text
    assert (folder / "fx.c").read_bytes() == (ROOT / "fixtures/p2p/p2p-switch-fallthrough/after/fx.c").read_bytes()


def test_a_run_that_wrote_no_patch_says_so(repository: Callable[..., Path], tmp_path: Path) -> None:
    folder = repository({"win.c": b"int x;\n"})
    done = run("patch", ".", "-o", tmp_path / "out", cwd=folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "no patch was written: nothing was found\n")
    assert not (tmp_path / "out").exists()


def test_what_could_not_be_judged_is_no_reason_to_be_content(repository: Callable[..., Path], tmp_path: Path) -> None:
    folder = repository({"odd.c": b"WRAPPER(x, dma_map_resource(dev, bar, 4, dir, 0))\n"})
    done = run("patch", ".", "-o", tmp_path / "out", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert "odd.c:1: skipped: " in done.stderr
    assert "no patch was written: something that names a mapping call" in done.stderr


def test_nothing_of_the_repository_s_configuration_runs(repository: Callable[..., Path], tmp_path: Path) -> None:
    folder = repository({"win.c": DRIVER.encode(), ".gitattributes": b"*.c filter=evil diff=evil\n"})
    evil = tmp_path / "evil"
    evil.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\ncat\n")
    evil.chmod(0o755)
    for key in ("core.fsmonitor", "filter.evil.clean", "filter.evil.smudge", "diff.evil.textconv", "diff.evil.command",
                "diff.external", "gpg.program", "core.pager", "core.sshCommand"):  # fmt: skip
        git(folder, "config", key, str(evil))
    git(folder, "config", "log.showSignature", "true")
    git(folder, "config", "core.hooksPath", str(tmp_path / "hooks"))
    (tmp_path / "hooks").mkdir()
    for hook in ("post-index-change", "reference-transaction", "pre-commit", "applypatch-msg"):
        (tmp_path / "hooks" / hook).write_bytes(evil.read_bytes())
        (tmp_path / "hooks" / hook).chmod(0o755)
    signature = "\ngpgsig -----BEGIN PGP SIGNATURE-----\n x\n -----END PGP SIGNATURE-----\n\n"
    signed = git(folder, "cat-file", "commit", "HEAD").replace("\n\n", signature, 1)
    commit = subprocess.run(["git", "hash-object", "-t", "commit", "-w", "--stdin"], cwd=folder, input=signed,
    text=True, check=True,
                            capture_output=True).stdout.strip()  # fmt: skip
    (folder / ".git/refs/heads" / git(folder, "symbolic-ref", "--short", "HEAD").strip()).write_text(commit + "\n")
    (folder / "win.c").touch()
    (tmp_path / "ran").unlink(missing_ok=True)
    for words in (["scan", "."], ["patch", ".", "-o", tmp_path / "out"], ["review", tmp_path / "out"], ["review",
    "HEAD"],
                  ["patch", ".", "--in-place"]):  # fmt: skip
        assert run(*words, cwd=folder).returncode in (0, 1), words
    assert not (tmp_path / "ran").exists()


SCRIPT = "scripts/get_maintainer.pl"


def _script(exit_status: int, says: str) -> bytes:
    return (
        f'#!/usr/bin/perl\nprint "{says}\\n" if "@ARGV" !~ /--no-l/;\nwarn \'no tree\';\nexit {exit_status};\n'.encode()
    )


@pytest.mark.parametrize(
    ("files", "says"),
    [
        pytest.param({}, "recipients: none, the tree has no scripts/get_maintainer.pl", id="no script"),
        pytest.param({SCRIPT: _script(2, "")}, "recipients: none for win.c: scripts/get_maintainer.pl: no tree",
        id="it fails"),
        pytest.param({SCRIPT: _script(0, "")}, "scripts/get_maintainer.pl names nobody", id="it names nobody"),
        pytest.param({SCRIPT: _script(0, "l\\@example.com")}, "--no-recipients runs nothing of the tree", id="it runs"),
    ],
)  # fmt: skip
def test_recipients_that_could_not_be_found_are_told(
    repository: Callable[..., Path], files: dict[str, bytes], says: str
) -> None:
    folder = repository({"win.c": DRIVER.encode(), **files})
    done = run("patch", ".", "--stdout", cwd=folder)
    assert says in done.stderr
    assert ("Cc: l@example.com" in done.stdout) == (says.startswith("--no-recipients"))


def test_recipients_are_encoded_as_mail_has_them() -> None:
    people = ("J\u00f6rg <j@example.com>", '"A, B" <ab@example.com>')
    mail = series._addressed(b"From: x\nSubject: y\n\nbody\n\nmore\n", people, ("l@example.com",))
    assert mail.isascii()
    head = email.message_from_bytes(mail, policy=email.policy.default)
    assert [(one.display_name, one.addr_spec) for one in head["To"].addresses] == [
        ("J\u00f6rg", "j@example.com"),
        ("A, B", "ab@example.com"),
    ]
    assert head["Cc"] == "l@example.com"
    assert head.get_payload() == "body\n\nmore\n"


# ---- out of tree


def _helped(contents: dict[str, bytes]) -> dict[str, bytes]:
    return compat.add(contents, (rules.folder() / "dma_map_phys_compat.h").read_text())


MIGRATED = DRIVER.replace("map_resource", "map_phys").encode()


def test_one_file_gets_the_helpers_behind_its_includes() -> None:
    text = _helped({"win.c": MIGRATED})["win.c"].decode()
    assert text.index("#include <linux/pci.h>") < text.index("#ifndef DMA_ATTR_MMIO\n") < text.index("struct win {")
    assert text.count("#endif") == 1


def test_several_files_share_a_header() -> None:
    made = _helped({"src/a.c": MIGRATED, "src/hw/b.c": MIGRATED, "src/c.c": b"#include <linux/pci.h>\n"})
    assert sorted(made) == ["src/a.c", "src/c.c", "src/dma_map_phys_compat.h", "src/hw/b.c"]
    assert b'#include "dma_map_phys_compat.h"\n' in made["src/a.c"]
    assert b'#include "../dma_map_phys_compat.h"\n' in made["src/hw/b.c"]
    assert made["src/c.c"] == b"#include <linux/pci.h>\n"


def test_kernels_with_the_attribute_backported_do_without_helpers() -> None:
    asking = b"#include <linux/version.h>\n#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 1, 0)\n#endif\n" + MIGRATED
    assert b"#ifndef DMA_ATTR_MMIO\n#define DMA_ATTR_MMIO" in _helped({"win.c": asking})["win.c"]


def test_the_mail_of_a_driver_for_older_kernels_says_so(repository: Callable[..., Path]) -> None:
    folder = repository({"win.c": DRIVER.encode()})
    plain, older = (
        " ".join(run("patch", ".", "--stdout", *words, cwd=folder).stdout.split()) for words in ([], ["--compat"])
    )
    assert "where the headers define no DMA_ATTR_MMIO, add dma_map_phys()" in older
    assert "Older kernels" not in plain


def test_helpers_do_not_come_twice() -> None:
    once = _helped({"win.c": MIGRATED})
    assert _helped(once) == once


@pytest.mark.parametrize(
    ("licence", "status"),
    [
        pytest.param("GPL", "proposed", id="GPL"),
        pytest.param("Dual MIT/GPL", "proposed", id="a dual licence"),
        pytest.param("Proprietary", "withheld", id="proprietary"),
        pytest.param("MIT", "withheld", id="compatible with the GPL by law, not by the module loader"),
    ],
)
def test_the_symbol_is_for_modules_that_may_use_it(
    scan_text: Callable[[str], Report], licence: str, status: str
) -> None:
    report = scan_text(f'{DRIVER}MODULE_LICENSE("{licence}");\n')
    assert [finding.rewrite.status for finding in report.findings] == [status]


def test_what_compat_leaves_is_not_found_again(repository: Callable[..., Path]) -> None:
    folder = repository({"win.c": DRIVER.encode()})
    run("patch", ".", "--in-place", "--compat", cwd=folder)
    assert b"#ifndef DMA_ATTR_MMIO" in (folder / "win.c").read_bytes()
    assert run("scan", ".", cwd=folder).returncode == 0


def test_a_header_that_is_there_is_not_overwritten(repository: Callable[..., Path]) -> None:
    other = DRIVER.replace("win", "pane")
    makefile = b"obj-m += win.o\nwin-y := a.o b.o\n"
    folder = repository(
        {"a.c": DRIVER.encode(), "b.c": other.encode(), "Makefile": makefile, "dma_map_phys_compat.h": b"int ours;\n"}
    )
    done = run("patch", ".", "--in-place", "--compat", "--split", "subsystem", cwd=folder)
    assert done.returncode == 2
    assert "is there already" in done.stderr
    assert (folder / "dma_map_phys_compat.h").read_text() == "int ours;\n"
    assert (folder / "a.c").read_text() == DRIVER


@pytest.mark.parametrize(
    "more",
    [
        pytest.param("/*\n#include <linux/late.h>\n*/\n", id="an include in a comment"),
        pytest.param("#include <trace/late.h>\n", id="an include behind the calls"),
    ],
)
def test_helpers_stand_before_the_calls(more: str) -> None:
    text = _helped({"win.c": MIGRATED + more.encode()})["win.c"].decode()
    assert text.index("#include <linux/pci.h>") < text.index("#ifndef DMA_ATTR_MMIO\n") < text.index("struct win {")


def test_a_driver_below_the_top_of_its_repository_gets_paths_from_there(
    repository: Callable[..., Path], tmp_path: Path
) -> None:
    folder = repository({"drivers/win/win.c": DRIVER.encode()})
    done = run("patch", ".", "-o", tmp_path / "out", cwd=folder / "drivers/win")
    assert done.returncode == 0
    git(folder, "am", "-q", *map(str, (tmp_path / "out").iterdir()))
    assert MAPS in (folder / "drivers/win/win.c").read_bytes()


def test_what_is_not_committed_is_told(repository: Callable[..., Path], tmp_path: Path) -> None:
    folder = repository({"win.c": DRIVER.encode()})
    (folder / "win.c").write_text(DRIVER + "/* later */\n")
    assert "win.c: has changes that are not committed" in run("patch", ".", "-o", tmp_path / "out", cwd=folder).stderr


def test_a_stand_in_of_the_driver_s_own_is_left_alone(scan_text: Callable[[str], Report]) -> None:
    own = "#define dma_map_resource(d, p, s, r, a) win_map(d, p, s, r, a)\n"
    report = scan_text(DRIVER.replace("struct win {", f"{own}struct win {{"))
    assert {finding.rewrite.status for finding in report.findings} <= {"withheld", "none"}


def test_a_scratch_copy_leaves_out_what_make_made_and_never_writes_to_the_tree(tmp_path: Path) -> None:
    tree, scratch = tmp_path / "tree", tmp_path / "scratch"
    made = [".config", "include/config/auto.conf", "include/generated/autoconf.h", "arch/x86/include/generated/asm/g.h"]
    kept = ["include/linux/a.h", "arch/x86/include/asm/b.h", "drivers/a/c.c", "drivers/a/d.c"]
    for path in (*made, *kept):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(path)
    scratch.mkdir()
    copy = build.Scratch(tree, scratch)
    copy.put("drivers/a/c.c", b"changed")
    copy.put("drivers/new/e.c", b"new")
    assert [path for path in made if (scratch / "source" / path).exists()] == []
    said = {path: (scratch / "source" / path).read_text() for path in kept}
    assert said == {path: "changed" if path == "drivers/a/c.c" else path for path in kept}
    assert sorted(str(file.relative_to(tree)) for file in tree.rglob("*") if file.is_file()) == sorted(made + kept)
    assert (tree / "drivers/a/c.c").read_text() == "drivers/a/c.c"


# A kernel whose Makefile says what it was asked for: it "compiles" what does not say BROKEN, and notes a build of
# everything.
KERNEL = """\
all:
	touch $(O)/everything
olddefconfig allmodconfig modules_prepare:
	@true
%.o: FORCE
	@if grep -q BROKEN $(or $(M),.)/$*.c; then echo "$*.c:1: error: BROKEN" >&2; exit 1; fi
	@mkdir -p $(dir $(or $(M),$(O))/$@) && touch $(or $(M),$(O))/$@
FORCE Makefile: ;
"""


@pytest.mark.skipif(shutil.which("make") is None, reason="NO MAKE")
@pytest.mark.parametrize(
    ("makefile", "after", "says"),
    [
        pytest.param("obj-m += win.o\n", "good", ("compiled", ""), id="compiles"),
        pytest.param(
            "obj-m += win.o\n", "BROKEN", ("broken", "src/win.c:1: error: BROKEN"), id="does not compile any more"
        ),
        pytest.param(
            "all:\n", "good", ("not buildable", "no Makefile or Kbuild above it builds a module"), id="no module"
        ),
    ],
)
def test_a_file_that_is_none_of_the_kernel_s_is_an_external_module(
    tmp_path: Path, makefile: str, after: str, says: tuple[str, str]
) -> None:
    kernel, checkout, scratch = (tmp_path / name for name in ("kernel", "checkout", "scratch"))
    for folder in (kernel, checkout / "src", scratch):
        folder.mkdir(parents=True)
    (kernel / "Makefile").write_text(KERNEL)
    (kernel / "own.c").write_text("old")
    (checkout / "Makefile").write_text(makefile)
    (checkout / "src/win.c").write_text("old")
    (checkout / "out").symlink_to(tmp_path)
    built = build.Scratch(kernel, scratch)
    built.prepare(1)
    external = build.External(checkout, scratch, built)
    ((one,),) = build.check(external, [(FileChange("src/win.c", b"old", after.encode()),)], 1)
    assert (one.status, one.reason) == says
    assert (checkout / "src/win.c").read_text() == "old"
    assert not list(tmp_path.rglob("everything"))
    assert sorted(file.name for file in checkout.rglob("*") if file.is_file()) == ["Makefile", "win.c"]


@pytest.mark.skipif(shutil.which("make") is None, reason="NO MAKE")
def test_a_header_alone_builds_nothing(tmp_path: Path) -> None:
    (tmp_path / "kernel").mkdir()
    (tmp_path / "scratch").mkdir()
    (tmp_path / "kernel/Makefile").write_text(KERNEL)
    (tmp_path / "kernel/own.h").write_text("old")
    ((one,),) = build.check(
        build.Scratch(tmp_path / "kernel", tmp_path / "scratch"), [(FileChange("own.h", b"old", b"new"),)], 1
    )
    assert one.status == "not buildable"
    assert not list(tmp_path.rglob("everything"))


SAID = [
    pytest.param(
        "page-to-phys", "dma_map_page", "", "fx: Map system memory by its physical address",
        "probe() maps it with dma_map_page().", id="ordinary memory",
    ),
    pytest.param(
        "legacy-dma-ops", "map_page", "map_phys", "fx: Map physical addresses in struct dma_map_ops",
        "probe sets .map_page.", id="a backend",
    ),
    pytest.param(
        "acme-window", "acme_map", "acme_map_phys", "fx: Rewrite acme_map() by acme-window",
        "probe() calls acme_map(): bar is a PCI BAR address.", id="a rule of somebody's own",
    ),
    pytest.param(
        "phys-missing-mmio", "dma_map_phys", "DMA_ATTR_MMIO", "fx: Map device memory with DMA_ATTR_MMIO",
        "Pass DMA_ATTR_MMIO when mapping and unmapping.", id="the attribute",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "callee", "new", "subject", "said"), SAID)
def test_a_mail_says_what_its_rule_is_about(rule: str, callee: str, new: str, subject: str, said: str) -> None:
    rewrite = Rewrite("proposed", None, (Edit("fx.c", 0, 0, new),))
    found = replace(finding("fx.c", rule=rule, rewrite=rewrite), callee=callee, function="probe")
    change = Change((found,), ())
    text = " ".join(message.body(change, message.About("7.3", "dmamigrate")).split())
    assert message.subject("fx", change) == subject
    assert said in text
    assert ("DMA_ATTR_MMIO when mapping" in text) is (rule == "phys-missing-mmio")
