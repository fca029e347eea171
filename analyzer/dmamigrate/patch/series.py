# SPDX-License-Identifier: GPL-2.0-only
"""Changes as mails that git am, git send-email and b4 take, all of which git format-patch writes; only recipients are
put in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import formataddr, parseaddr
from pathlib import Path

from dmamigrate import git
from dmamigrate.patch.change import Change


@dataclass(frozen=True, slots=True)
class Patch:
    """One mail of a series, not yet numbered; `notes` come below its `---`, `to` and `cc` are addresses."""

    subject: str
    body: str
    change: Change
    notes: str = ""
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Base:
    """What a series is made upon: the folder in `repository` that paths are relative to, and its commit; or neither.

    `commit` is None too if files have changes that are not committed; `public` tells that others can have it.
    """

    repository: Path | None = None
    commit: str | None = None
    public: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """What all mails of a series share. `name` tells it from other series; `cover` is subject and text; `reroll` counts
    from 1.
    """

    patches: tuple[Patch, ...]
    author: tuple[str, str]
    version: str
    base: Base = Base()
    signed: bool = False
    cover: tuple[str, str] | None = None
    reroll: int = 1
    name: str = ""


def mails(series: Series) -> list[tuple[str, bytes]]:
    """The files of a series, by name, in order. Raises UsageError if git refuses."""
    with git.scratch(series.base.repository) as repository:
        before, start = _start(repository, series)
        made = [
            git.Commit(
                _message(series, patch),
                _contents(patch.change),
                series.author,
                _notes(series, number),
                _executable(patch.change),
            )
            for number, patch in enumerate(series.patches)
        ]
        repository.commit(made, start)
        numbered = series.cover is not None or len(series.patches) > 1
        options = [
            "--zero-commit", "--abbrev=12", "--thread=shallow", "--notes", f"--signature={series.version}",
            "--numbered" if numbered else "--no-numbered",
        ]  # fmt: skip
        options += [f"-v{series.reroll}"] if series.reroll > 1 else []
        options += [f"--base={before}"] if before is not None and series.base.public else []
        if series.cover is not None:
            repository.describe("\n\n".join(series.cover))
            options += ["--cover-letter", "--cover-from-description=subject"]
        listed = repository.format_patch(series.author, options, start)
    covers = 0 if series.cover is None else 1
    result = []
    for number, (name, data) in enumerate(listed):
        to, cc = _everybody(series.patches) if number < covers else _of(series.patches[number - covers])
        result.append((name, _addressed(data, to, cc)))
    return result


def _start(repository: git.Scratch, series: Series) -> tuple[str | None, str]:
    """The user's commit that the series is made upon, if it is one, and the commit of ours or theirs that it
    follows.
    """
    before: dict[str, bytes] = {}
    for patch in series.patches:
        before = {file.path: file.before for file in patch.change.files if file.before is not None} | before
    if series.base.commit is not None:
        return series.base.commit, series.base.commit
    modes = frozenset(path for patch in series.patches for path in _executable(patch.change))
    return None, repository.commit([git.Commit("before", before, executable=modes)])[0]


def _contents(change: Change) -> dict[str, bytes | None]:
    return {file.path: file.after for file in change.files}


def _executable(change: Change) -> frozenset[str]:
    return frozenset(file.path for file in change.files if file.executable)


def _message(series: Series, patch: Patch) -> str:
    name, address = series.author
    signed = f"\nSigned-off-by: {name} <{address}>\n" if series.signed else ""
    return f"{patch.subject}\n\n{patch.body}\n{signed}"


def _notes(series: Series, number: int) -> str:
    """What stands below the `---`; a second version has room there to say what changed, where no cover letter has."""
    notes = series.patches[number].notes
    if series.reroll > 1 and number == 0 and series.cover is None:
        return f"Changes in v{series.reroll}:\n- \n\n{notes}"
    return notes


def _of(patch: Patch) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return patch.to, patch.cc


def _everybody(patches: Iterable[Patch]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """To and Cc of all patches, each address once."""
    held = list(patches)
    to = dict.fromkeys(one for patch in held for one in patch.to)
    return tuple(to), tuple(one for one in dict.fromkeys(one for patch in held for one in patch.cc) if one not in to)


def _addressed(mail: bytes, to: tuple[str, ...], cc: tuple[str, ...]) -> bytes:
    """A mail with these recipients in its header."""
    lines = [
        "",
        *(f"{name}: " + ",\n    ".join(map(_address, people)) for name, people in (("To", to), ("Cc", cc)) if people),
    ]
    head, end, rest = mail.partition(b"\n\n")
    return head + "\n".join(lines).encode("ascii") + end + rest


def _address(text: str) -> str:
    """One address as a header may hold it."""
    name, address = parseaddr(re.sub(r"[\r\n]", " ", text))
    return formataddr((name, address)) if address.isascii() and address else "undisclosed-recipients:;"
