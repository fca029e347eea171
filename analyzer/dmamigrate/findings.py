# SPDX-License-Identifier: GPL-2.0-only
"""The records that go down the line: parse, match, trace, pair, rewrite, verify, report."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol


class Kind(StrEnum):
    """What an address is the address of."""

    PCI_BAR = "pci-bar"
    P2P = "p2p"
    MMIO = "mmio"
    RAM = "ram"
    DMA_ADDR = "dma-addr"
    PFNMAP = "pfnmap"
    UNKNOWN = "unknown"


# What each kind of origin is, in words.
MEANING: Mapping[Kind, str] = {
    Kind.PCI_BAR: "a PCI BAR",
    Kind.P2P: "PCI peer-to-peer memory",
    Kind.MMIO: "device registers or memory that are no PCI BAR",
    Kind.RAM: "system memory",
    Kind.DMA_ADDR: "a DMA address already",
    Kind.PFNMAP: "pages of a user mapping without struct page",
    Kind.UNKNOWN: "not known",
}


class Category(StrEnum):
    """What a finding asks for: a migration of what works today, or the repair of a defect."""

    MIGRATION = "migration"
    DEFECT = "defect"


class Level(StrEnum):
    """How much a finding matters."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Span:
    """A place: bytes from `start` to `end` (exclusive) of `path`, and the same as lines and columns from 1."""

    path: str
    start: int
    end: int
    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a trace, from the call back towards the source of its address."""

    path: str
    line: int
    column: int
    text: str
    note: str


@dataclass(frozen=True, slots=True)
class Branch:
    """The shortest way from a call back to a source of this kind."""

    kind: Kind
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an address comes from, with one branch for each kind.

    `certain` holds only when every path was followed to one and the same kind; `gave_up` says where one was not.
    `shares` counts the paths that end in each kind; `outside` says that code which is not in sight has a part of the
    answer.
    """

    kinds: tuple[Kind, ...]
    certain: bool
    branches: tuple[Branch, ...]
    gave_up: str | None
    shares: tuple[tuple[Kind, int], ...] = ()
    outside: bool = False


@dataclass(frozen=True, slots=True)
class Partner:
    """A call that belongs to a mapping's life; `role` is unmap, check or sync."""

    role: str
    span: Span
    function: str
    callee: str


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the bytes from `start` to `end` of `path` by `text`."""

    path: str
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Unproved:
    """A second form of a rewrite, which nothing proves; `reason` says why."""

    edits: tuple[Edit, ...]
    diff: str
    reason: str


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What a life should become. `status` is proposed, withheld (see `reason`) or none."""

    status: str
    reason: str | None = None
    edits: tuple[Edit, ...] = ()
    diff: str = ""
    unproved: Unproved | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the model says of a rewrite: proved, refuted or unknown; `lives` are all that its edits touch."""

    status: str
    lives: int = 0
    states: int = 0
    equal: int = 0
    refined: int = 0
    counterexample: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to report; `function` encloses the call of `callee`.

    `origin` is that of the address that the finding is about, None for one that is about none; `trail` is the path
    through the code, for a finding about a path.
    """

    rule: str
    level: Level
    category: Category
    span: Span
    function: str
    callee: str
    message: str
    fingerprint: str
    origin: Origin | None
    trail: tuple[Step, ...] = ()
    partners: tuple[Partner, ...] = ()
    rewrite: Rewrite = Rewrite("none")
    verdict: Verdict = Verdict("unknown", reason="nothing to prove")


def unplaced(message: str) -> str:
    """A message without the files, folders and lines that it names: what stays of it when code moves."""
    return re.sub(r"[\w./+-]+:\d+(?::\d+)?\b|[\w.+-]+(?:/[\w.+-]+)+", "", message)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file, or a place in one, that could not be judged."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Judged:
    """A life that somebody changed: its map call, what it was and is now, and what the model says of that."""

    span: Span
    function: str
    before: str
    after: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Silenced:
    """A finding that is not shown; `reason` groups it: the baseline, or what an ignore of the configuration says."""

    finding: Finding
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """All that one scan says. `lines` has the source lines that findings stand on, by (path, line).

    `judged` are the changed lives, if it is a change that was judged, and `older` counts by file what else is wrong in
    the files that it touches. `unjudged` tells that something that names a mapping call, or may, is among what was
    skipped; `silenced` is what the user does not want to see.
    """

    version: str
    root: str
    tree_version: str | None
    target: str
    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...]
    files: int
    parsed: int
    seconds: float
    lines: dict[tuple[str, int], str]
    judged: tuple[Judged, ...] = ()
    unjudged: bool = False
    older: tuple[tuple[str, int], ...] = ()
    silenced: tuple[Silenced, ...] = ()


Json = dict[str, Any]


class Progress(Protocol):
    """Told how many of how many parts of the work are done, 0 of them if that is not known yet, and what is at hand."""

    def __call__(self, done: int, total: int, what: str = "", /) -> None:
        """Take it in."""
