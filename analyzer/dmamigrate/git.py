# SPDX-License-Identifier: GPL-2.0-only
"""What only git can say; the one module that runs it.

A repository's own configuration can name programs to run. None is run for our sake: what the user's repository is asked
is plumbing that needs none, with fsmonitor, hooks and signature checks switched off, and whatever is made is made in a
repository of our own, which has no configuration and reads the other one's objects at most.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dmamigrate import processes
from dmamigrate.errors import UsageError

_FENCE = ("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}", "-c", "log.showSignature=false",
          "-c", f"core.attributesFile={os.devnull}", "--no-pager", "--no-replace-objects")  # fmt: skip
# Ours to set: where the caller's git works is none of the business of a repository of our own.
_PLACES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_PREFIX")
_ALONE = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_COUNT": "0"}
_PATIENCE = 120  # seconds that one git may take
_FROM = re.compile(rb"^(?:rename|copy) from (.+)$", re.MULTILINE)
_HUNK = re.compile(rb"^@@ -\d+(?:,\d+)? \+(\d+)(?:,(\d+))? @@", re.MULTILINE)


class GitError(UsageError):
    """git refused; the text names its command, and what it said first."""


def _git(folder: Path, words: Iterable[str], data: bytes | None, environment: Mapping[str, str]) -> bytes:
    held = list(words)
    try:
        done = processes.run(["git", *_FENCE, *held], folder, data or b"", _PATIENCE, environment)
    except subprocess.TimeoutExpired as error:
        raise GitError(f"git {held[0]}: takes more than {_PATIENCE} s") from error
    except FileNotFoundError as error:
        raise UsageError("git: not found; install it, or leave out what needs it") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise GitError(f"git {held[0]}: {said[0].removeprefix('error: ').removeprefix('fatal: ')}")
    return done.stdout


def run(folder: Path, *words: str, data: bytes | None = None) -> bytes:
    """What `git WORDS` prints in `folder`. Raises GitError with git's own first line if it fails, UsageError without a
    git.
    """
    return _git(
        folder, words, data, os.environ | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    )


def _asked(folder: Path, *words: str) -> str | None:
    """The same as text, None if git has no answer."""
    try:
        return run(folder, *words).decode("utf-8", "surrogateescape").strip()
    except UsageError:
        return None


def root(folder: Path) -> Path | None:
    """The top of the work tree that holds `folder`, None outside of one."""
    found = _asked(folder, "rev-parse", "--show-toplevel")
    return Path(found) if found else None


def head(folder: Path) -> str | None:
    """The commit that is checked out, None without one."""
    return _asked(folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")


def public(folder: Path, commit: str) -> bool:
    """Whether others can have `commit`: a remote-tracking branch or a tag holds it."""
    return bool(_asked(folder, "for-each-ref", "--count=1", f"--contains={commit}", "refs/remotes", "refs/tags"))


def identity(folder: Path) -> tuple[str, str]:
    """The user's name and address. Raises UsageError if git knows none."""
    name, address = _asked(folder, "config", "user.name"), _asked(folder, "config", "user.email")
    if not name or not address:
        raise UsageError("git knows no user.name and user.email; set them with `git config --global`")
    return name, address


def dirty(folder: Path, paths: Iterable[str]) -> list[str]:
    """Which of `paths`, relative to `folder`, are known to git and differ from what is committed; none outside of a
    work tree.
    """
    if root(folder) is None:
        return []
    listed = run(folder, "ls-files", "-z", "--", *(f":(literal){path}" for path in paths))
    names = [name.decode("utf-8", "surrogateescape") for name in listed.split(b"\0") if name]
    return [name for name in names if not _committed(folder, name)]


def _committed(folder: Path, path: str) -> bool:
    """Whether the file at `path` is what HEAD has there, but for its line ends, which git may change on the way."""
    held = content(folder, "HEAD", path)
    try:
        here = (folder / path).read_bytes()
    except OSError:
        return False
    return held is not None and (held == here or held == here.replace(b"\r\n", b"\n"))


def subjects(folder: Path, paths: Iterable[str]) -> list[str]:
    """The subjects of the latest commits to `paths`, newest first, merges and reverts left out."""
    said = _asked(
        folder, "log", "-n", "40", "--no-merges", "--format=%s", "--", *(f":(literal){path}" for path in paths)
    )
    return [line for line in (said or "").splitlines() if not line.startswith("Revert")]


def content(folder: Path, commit: str, path: str) -> bytes | None:
    """The file at `path`, relative to `folder`, as of `commit`, None if it has none."""
    try:
        return run(folder, "cat-file", "blob", f"{commit}:./{path}")
    except GitError:
        return None


def commits(folder: Path, revision: str) -> tuple[str, str]:
    """What `REV`, `REV..REV` or `REV...REV` compares: the commit before and the one after. Raises UsageError for an
    unknown one.
    """
    parts = re.fullmatch(r"(.*?)(?:(\.{2,3})(.*))?", revision, re.DOTALL)
    first, dots, last = parts.groups("") if parts is not None else (revision, "", "")
    before, after = (first or "HEAD", last or "HEAD") if dots else (f"{revision}^", revision)
    resolved = [
        _asked(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{one}^{{commit}}")
        for one in (before, after)
    ]
    if not dots and resolved[1] and not resolved[0]:
        resolved[0] = _asked(folder, "hash-object", "-t", "tree", os.devnull)  # the first commit has nothing before it
    if dots == "..." and resolved[0] and resolved[1]:
        resolved[0] = _asked(folder, "merge-base", resolved[0], resolved[1])
        if not resolved[0]:
            raise UsageError(f"{revision}: the two have no commit in common; name a range with ..")
    if not resolved[0] or not resolved[1]:
        raise UsageError(f"{revision}: no such file or commit; name a patch, a commit, or REV..REV")
    return resolved[0], resolved[1]


# ---- what changed


@dataclass(frozen=True, slots=True)
class Pair:
    """One file on both sides of a change: contents (None where there is none), and the lines touched.

    `old_path` is another path that it had, or was copied from; `moved` tells that nothing is left there.
    `lines` are ranges of the new side, first and last, from 1; where lines only went away, the lines around that place.
    """

    path: str
    before: bytes | None
    after: bytes | None
    old_path: str | None = None
    moved: bool = False
    lines: tuple[tuple[int, int], ...] = ()


class _Store:
    """Runs git where two trees can be compared: the user's repository, or one of our own."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder, self._environment = folder, environment

    def run(self, *words: str, data: bytes | None = None) -> bytes:
        """What `git WORDS` prints. Raises GitError if it fails."""
        return _git(self._folder, words, data, self._environment)

    def pairs(self, before: str, after: str, only: Iterable[str] = ()) -> list[Pair]:
        """The files that two trees or commits do not share, renames and copies found; `only` are patterns of paths."""
        options = ("-r", "-M", "-C", "-l1000", "--relative", "--no-ext-diff", "--no-textconv")
        where = (before, after, "--", *only)
        raw = self.run("diff-tree", *options, "-z", "--raw", "--no-abbrev", *where).split(b"\0")
        shown = self.run("diff-tree", *options, "-p", "-U0", *where)
        hunks = iter(re.split(rb"^diff --git ", shown, flags=re.MULTILINE)[1:])
        records: list[tuple[str, str, list[str], str, bytes]] = []
        at = 0
        while at < len(raw) - 1:
            _, _, old, new, status = raw[at].decode("ascii").split(" ")
            names = [
                name.decode("utf-8", "surrogateescape") for name in raw[at + 1 : at + (3 if status[0] in "RC" else 2)]
            ]
            at += 1 + len(names)
            # a file that becomes a link is shown as one that goes and one that comes
            text = b"".join(next(hunks, b"") for _ in range(2 if status == "T" else 1))
            records.append((old, new, names, status[0], text))
        blobs = self._blobs({one for record in records for one in record[:2]})
        return [
            Pair(
                names[-1],
                blobs.get(old),
                blobs.get(new),
                names[0] if len(names) > 1 else None,
                status == "R",
                _ranges(text),
            )
            for old, new, names, status, text in records
        ]

    def _blobs(self, names: set[str]) -> dict[str, bytes]:
        """The contents of blobs by name; what is none, such as a submodule's commit, has none."""
        wanted = sorted(name for name in names if name.strip("0"))
        said = self.run("cat-file", "--batch", data="".join(f"{name}\n" for name in wanted).encode())
        result: dict[str, bytes] = {}
        at = 0
        for name in wanted:
            end = said.index(b"\n", at)
            words = said[at:end].split(b" ")
            at = end + 1
            if len(words) == 3 and words[2].isdigit():
                size = int(words[2])
                if words[1] == b"blob":
                    result[name] = said[at : at + size]
                at += size + 1
        return result


def _ranges(hunks: bytes) -> tuple[tuple[int, int], ...]:
    result = []
    for found in _HUNK.finditer(hunks):
        start, count = int(found[1]), int(found[2]) if found[2] is not None else 1
        result.append((start, start + count - 1) if count else (max(1, start), start + 1))
    return tuple(result)


def changed(folder: Path, before: str, after: str, only: Iterable[str] = ()) -> list[Pair]:
    """The files below `folder` that two commits do not share, by their paths in it."""
    return _Store(folder, os.environ | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}).pairs(before, after, only)


# ---- a repository of our own


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit to make: contents by path, None for a file that goes; `notes` come below the `---` of its mail."""

    message: str
    files: Mapping[str, bytes | None]
    author: tuple[str, str] = ("dmamigrate", "dmamigrate@localhost")
    notes: str = ""
    executable: frozenset[str] = field(default=frozenset())


class Scratch(_Store):
    """A bare repository in a private folder."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        super().__init__(folder, environment)
        self.folder = folder

    def commit(self, made: Iterable[Commit], parent: str | None = None) -> list[str]:
        """Make commits, one upon the other, the first one upon `parent`; their names."""
        held = list(made)
        stream = [b"feature done\nfeature notes\n"]
        for number, one in enumerate(held, 1):
            name, address = (_plain(part) for part in one.author)
            stream.append(
                f"commit refs/heads/made\nmark :{number}\nauthor {name} <{address}> now\n"
                f"committer {name} <{address}> now\n".encode("utf-8", "surrogateescape")
            )
            stream.append(_counted(one.message.encode("utf-8", "surrogateescape")))
            if number > 1:
                stream.append(f"from :{number - 1}\n".encode())
            elif parent is not None:
                stream.append(f"from {parent}\n".encode())
            for path, data in sorted(one.files.items()):
                mode = "100755" if path in one.executable else "100644"
                place = _quoted(path.encode("utf-8", "surrogateescape"))
                stream.append(
                    b"D " + place + b"\n"
                    if data is None
                    else f"M {mode} inline ".encode() + place + b"\n" + _counted(data)
                )
        noted = [(number, one.notes) for number, one in enumerate(held, 1) if one.notes]
        if noted:
            stream.append(b"commit refs/notes/commits\ncommitter d <d@localhost> now\n" + _counted(b"notes"))
            for number, notes in noted:
                stream.append(f"N inline :{number}\n".encode() + _counted(notes.encode("utf-8", "surrogateescape")))
        stream.append(b"done\n")
        self.run(
            "fast-import", "--quiet", "--date-format=now", "--force", "--export-marks=marks", data=b"".join(stream)
        )
        marks = dict(line.split(" ") for line in (self.folder / "marks").read_text("ascii").splitlines())
        return [marks[f":{number}"] for number in range(1, len(held) + 1)]

    def describe(self, text: str) -> None:
        """Give the commits made a description, as a cover letter has it."""
        self.run("config", "branch.made.description", text)

    def format_patch(self, sender: tuple[str, str], options: Iterable[str], since: str) -> list[tuple[str, bytes]]:
        """The commits made since one as mails from `sender`, name and address: files by name, in order."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        for key, value in zip(("user.name", "user.email"), sender, strict=True):
            self.run("config", key, value)
        self.run("format-patch", "--quiet", f"-o{folder}", *options, f"{since}..made")
        return [(file.name, file.read_bytes()) for file in sorted(folder.iterdir())]

    # patches

    def mails(self, text: bytes) -> list[tuple[str, bytes]]:
        """The mails of a mailbox that hold a patch, decoded: subject, and the patch."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        self.run("mailsplit", "-b", "--keep-cr", f"-o{folder}", data=text)
        result = []
        for mail in sorted(folder.iterdir()):
            said = self.run("mailinfo", "--quoted-cr=nowarn", "message", "patch", data=mail.read_bytes())
            subject = re.search(r"^Subject: (.*)$", said.decode("utf-8", "replace"), re.MULTILINE)
            result.append((subject[1] if subject else "", (self.folder / "patch").read_bytes()))
        return [
            (subject, patch) for subject, patch in result if re.search(rb"^(?:@@ |diff --git )", patch, re.MULTILINE)
        ]

    def named(self, patch: bytes) -> list[str]:
        """The files that a patch names, of a renamed or copied one both names. Raises GitError for what is no patch."""
        listed = self.run("apply", "--numstat", "-z", data=patch)
        # a rename has no name behind its counts, but two entries of their own
        names = [entry.split(b"\t", 2)[2] if entry.count(b"\t") >= 2 else entry for entry in listed.split(b"\0")]
        names += [_unquoted(found.rstrip(b"\r")) for found in _FROM.findall(patch)]
        return list(dict.fromkeys(name.decode("utf-8", "surrogateescape") for name in names if name))

    def take(self, tree: str) -> None:
        """Make `tree`, or that of a commit, what patches are applied to."""
        self.run("read-tree", tree)

    def tree(self) -> str:
        """What the patches that were applied have made, as a tree."""
        return self.run("write-tree", "--missing-ok").decode().strip()

    def apply(self, patch: bytes, *options: str) -> None:
        """Apply a patch to what is there. Raises GitError, and leaves that as it was, if it does not apply."""
        before = self.tree()
        try:
            self.run("apply", "--cached", "--whitespace=nowarn", *options, data=patch)
        except GitError:
            self.take(before)
            raise


def _unquoted(name: bytes) -> bytes:
    """A file name as git means it that puts unusual ones in quotes, with the escapes of C."""
    if not (len(name) > 1 and name.startswith(b'"') and name.endswith(b'"')):
        return name
    known = {b"a": b"\a", b"b": b"\b", b"t": b"\t", b"n": b"\n", b"v": b"\v", b"f": b"\f", b"r": b"\r"}

    def meant(found: re.Match[bytes]) -> bytes:
        code = found.group(1)
        return bytes([int(code, 8) & 0xFF]) if code.isdigit() else known.get(code, code)

    return re.sub(rb"\\([0-7]{1,3}|.)", meant, name[1:-1])


def _plain(text: str) -> str:
    """A name or address without what would end it in a commit's header."""
    return re.sub(r"[<>\n\0]", "", text)


def _counted(data: bytes) -> bytes:
    return f"data {len(data)}\n".encode() + data + b"\n"


def _quoted(path: bytes) -> bytes:
    escaped = path.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
    return b'"' + escaped + b'"'


@contextmanager
def scratch(lender: Path | None = None) -> Iterator[Scratch]:
    """A repository of our own that also has the commits and files of the one around `lender`; it goes when the block
    ends.
    """
    with processes.private_folder() as folder:
        environment = {key: value for key, value in os.environ.items() if key not in _PLACES}
        environment |= _ALONE | {"LC_ALL": "C", "GIT_DIR": str(folder), "GIT_CEILING_DIRECTORIES": str(folder.parent)}
        objects = _asked(lender, "rev-parse", "--git-path", "objects") if lender is not None else None
        if lender is not None and objects is not None:
            environment["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = f'"{os.path.join(lender.resolve(), objects)}"'
            kind = _asked(lender, "rev-parse", "--show-object-format") or "sha1"
        else:
            kind = "sha1"
        _git(
            folder,
            ("init", "--quiet", "--bare", "--template=", f"--object-format={kind}", str(folder)),
            None,
            environment,
        )
        with open(folder / "config", "a") as config:
            # nothing is ever checked out here, and nothing has to outlive a crash
            config.write("[core]\n\tprotectNTFS = false\n\tfsync = none\n")
        (folder / "info").mkdir(exist_ok=True)
        (folder / "info/attributes").write_text("*.[ch] diff=cpp\n")  # a hunk's header names the function, not a label
        shallow = (
            _asked(lender, "rev-parse", "--git-path", "shallow") if objects is not None and lender is not None else None
        )
        if shallow is not None and lender is not None and (lender / shallow).is_file():
            (folder / "shallow").write_bytes((lender / shallow).read_bytes())
        yield Scratch(folder, environment)
