# SPDX-License-Identifier: GPL-2.0-only
"""What a change makes of the files it names, in whatever form it comes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dmamigrate import changes
from dmamigrate.changes import Change
from dmamigrate.errors import UsageError

OLD = "".join(f"line {number}\n" for number in range(1, 31))
NEW = OLD.replace("line 5\n", "line five\n").replace("line 20\n", "")


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "diff.renames=copies", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "drv").mkdir(parents=True)
    (folder / "drv/a.c").write_text(OLD)
    _git(folder, "init", "-q", "-b", "main")
    _git(folder, "add", ".")
    _git(folder, "commit", "-qm", "base")
    return folder


def _commit(tree: Path, change: Callable[[Path], None], message: str = "change") -> str:
    """A commit on top of what is there; the tree is left as it was."""
    change(tree)
    _git(tree, "add", "-A")
    _git(tree, "commit", "-qm", message)
    made = _git(tree, "rev-parse", "HEAD").strip()
    _git(tree, "reset", "-q", "--hard", "HEAD~1")
    return made


def _edit(tree: Path) -> None:
    (tree / "drv/a.c").write_text(NEW)


def _move(tree: Path) -> None:
    (tree / "drv/a.c").rename(tree / "drv/b.c")


def _move_and_edit(tree: Path) -> None:
    _move(tree)
    (tree / "drv/b.c").write_text(NEW)


def _copy(tree: Path) -> None:
    (tree / "drv/b.c").write_text(NEW)
    (tree / "drv/a.c").write_text(OLD + "more\n")


def _odd_name(tree: Path) -> None:
    (tree / "drv/a.c").rename(tree / 'drv/\t"ü".c')


def _remove(tree: Path) -> None:
    (tree / "drv/a.c").unlink()


def _create(tree: Path) -> None:
    (tree / "drv/b.c").write_text("new\n")


old, new = OLD.encode(), NEW.encode()
TOUCHED = ((5, 5), (19, 20))
FORMS = [
    pytest.param(_edit, {"drv/a.c": (old, new)}, {}, {"drv/a.c": TOUCHED}, id="edited"),
    pytest.param(_move, {"drv/a.c": (old, None), "drv/b.c": (None, old)}, {"drv/b.c": "drv/a.c"}, {"drv/b.c": ()},
    id="moved"),
    pytest.param(
        _move_and_edit, {"drv/a.c": (old, None), "drv/b.c": (None, new)}, {"drv/b.c": "drv/a.c"}, {"drv/b.c": TOUCHED},
        id="moved and edited",
    ),
    pytest.param(
        _copy, {"drv/a.c": (old, old + b"more\n"), "drv/b.c": (None, new)}, {"drv/b.c": "drv/a.c"},
        {"drv/a.c": ((31, 31),), "drv/b.c": TOUCHED}, id="copied",
    ),
    pytest.param(
        _odd_name, {"drv/a.c": (old, None), 'drv/\t"ü".c': (None, old)}, {'drv/\t"ü".c': "drv/a.c"},
        {'drv/\t"ü".c': ()},
        id="a name in quotes",
    ),
    pytest.param(_remove, {"drv/a.c": (old, None)}, {}, {}, id="removed"),
    pytest.param(_create, {"drv/b.c": (None, b"new\n")}, {}, {"drv/b.c": ((1, 1),)}, id="created"),
]  # fmt: skip


def _nothing() -> bytes:
    raise AssertionError("standard input is not asked for")


@pytest.mark.parametrize(("make", "files", "renames", "lines"), FORMS)
def test_a_commit_and_its_patch_say_the_same(
    tree: Path,
    tmp_path: Path,
    make: Callable[[Path], None],
    files: changes.Files,
    renames: dict[str, str],
    lines: dict[str, changes.Lines],
) -> None:
    made = _commit(tree, make)
    mail = _git(tree, "format-patch", "-1", "--stdout", made).encode()
    plain = _git(tree, "diff", f"{made}~1", made).encode()
    (tmp_path / "p.patch").write_bytes(mail)
    expected = Change(files, renames, lines)
    assert changes.change(made, tree, _nothing) == expected
    assert changes.change(f"{made}~1..{made}", tree, _nothing) == expected
    assert changes.change(f"main...{made}", tree, _nothing) == expected
    assert changes.change(str(tmp_path / "p.patch"), tree, _nothing) == expected
    assert changes.change("-", tree, lambda: plain) == expected


def _series(tree: Path) -> list[Path]:
    """Three patches upon each other, in a folder, with a cover letter; the tree is left as it was."""
    texts = [OLD.replace("line 5\n", "5\n"), OLD.replace("line 5\n", "5\n").replace("line 6\n", "6\n"), NEW]
    for number, text in enumerate(texts, 1):
        (tree / "drv/a.c").write_text(text)
        _git(tree, "commit", "-qam", f"step {number}")
    listed = _git(tree, "format-patch", "--cover-letter", "-o", str(tree.parent / "series"), "HEAD~3").split()
    _git(tree, "reset", "-q", "--hard", "HEAD~3")
    return [tree.parent / "series" / Path(name).name for name in listed]


def test_a_folder_and_a_mailbox_are_one_change(tree: Path, tmp_path: Path) -> None:
    mails = _series(tree)
    box = b"".join(mail.read_bytes() for mail in mails)
    expected = Change({"drv/a.c": (old, new)}, {}, {"drv/a.c": TOUCHED})
    assert changes.change(str(tmp_path / "series"), tree, _nothing) == expected
    assert changes.change("-", tree, lambda: box) == expected


def test_the_mail_that_does_not_apply_is_named(tree: Path) -> None:
    mails = _series(tree)
    box = b"".join(mails[number].read_bytes() for number in (1, 3))
    with pytest.raises(UsageError, match=r"standard input, mail 2 of 2 \(step 3\): git apply: .*; name the tree"):
        changes.change("-", tree, lambda: box)


def test_what_is_applied_already_says_so(tree: Path, tmp_path: Path) -> None:
    mails = _series(tree)
    (tree / "drv/a.c").write_text(NEW)
    made = changes.change(str(tmp_path / "series"), tree, _nothing)
    assert made == Change({"drv/a.c": (old, new)}, {}, {"drv/a.c": TOUCHED}, applied=True)
    # of what only half of is there, the other half is the change
    (tree / "drv/a.c").write_text(OLD.replace("line 5\n", "5\n"))
    half = changes.change(str(mails[0].parent), tree, _nothing)
    assert half.files == {"drv/a.c": (OLD.replace("line 5\n", "5\n").encode(), new)}
    assert not half.applied


def test_a_tree_that_went_on_is_merged_with(tree: Path) -> None:
    made = _commit(tree, lambda tree: (tree / "drv/a.c").write_text(OLD.replace("line 15\n", "fifteen\n")) and None)
    patch = _git(tree, "format-patch", "-1", "--full-index", "--stdout", made).encode()
    drifted = OLD.replace("line 17\n", "line 17, later\n")
    (tree / "drv/a.c").write_text(drifted)
    files = changes.change("-", tree, lambda: patch).files
    assert files == {"drv/a.c": (drifted.encode(), drifted.replace("line 15\n", "fifteen\n").encode())}


@pytest.mark.parametrize(
    ("what", "says"),
    [
        pytest.param("nothing-such", "no such file or commit", id="neither"),
        pytest.param("main..nothing-such", "no such file or commit", id="no such end"),
        pytest.param("--output=x..main", "no such file or commit", id="an option"),
        pytest.param("main...--all", "no such file or commit", id="an option at the end"),
        pytest.param("drv", "holds no patches", id="a folder without patches"),
        pytest.param("drv/a.c", "changes no file", id="a file that is no patch"),
    ],
)
def test_what_is_no_change_is_one_line(tree: Path, monkeypatch: pytest.MonkeyPatch, what: str, says: str) -> None:
    monkeypatch.chdir(tree)
    with pytest.raises(UsageError, match=says) as error:
        changes.change(what, tree, _nothing)
    assert "\n" not in str(error.value)
    assert not (tree / "x").exists()


def test_a_link_in_a_commit_is_no_file_to_follow(tree: Path) -> None:
    def link(tree: Path) -> None:
        (tree / "drv/a.c").unlink()
        (tree / "drv/a.c").symlink_to("/etc/passwd")

    files = changes.change(_commit(tree, link), tree, _nothing).files
    assert files == {"drv/a.c": (old, b"/etc/passwd")}
