# SPDX-License-Identifier: GPL-2.0-only
"""Mails that git am, git send-email and b4 take: one for each change, and a cover letter."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.header import Header
from email.utils import format_datetime, formataddr, make_msgid

from dmamigrate.patch.change import Change, FileChange

_BASE = 76


@dataclass(frozen=True, slots=True)
class Patch:
    """One mail of a series, not yet numbered; `to` and `cc` are addresses."""

    subject: str
    body: str
    change: Change
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Series:
    """What all mails of a series share. `signer` signs off, if given, as name and address."""

    patches: tuple[Patch, ...]
    author: tuple[str, str]
    date: datetime
    version: str
    base: str | None = None
    signer: tuple[str, str] | None = None
    cover: bool = False
    tree: str = ""


def file_name(number: int, subject: str) -> str:
    """The name of a patch's file, as git format-patch makes it."""
    words = re.sub(r"[^\w.]+", "-", subject).strip("-.")
    return f"{number:04}-{words[:52].rstrip('-.')}.patch"


def mails(series: Series) -> list[tuple[str, bytes]]:
    """The files of a series, by name, in order."""
    count = len(series.patches)
    identifier = (
        make_msgid("cover", domain=series.author[1].rpartition("@")[2] or "localhost")
        if count > 1 or series.cover
        else None
    )
    result = []
    if series.cover:
        to = tuple(dict.fromkeys(one for patch in series.patches for one in (*patch.to, *patch.cc)))
        subject = "Move drivers to dma_map_phys()"
        head = _head(series, f"[PATCH {'0'.zfill(len(str(count)))}/{count}] {subject}", (), to, identifier, None)
        result.append((file_name(0, "cover-letter"), _mail(head, f"{_cover(series)}\n\n{_signature(series)}")))
    for number, patch in enumerate(series.patches, 1):
        tag = f"[PATCH {str(number).zfill(len(str(count)))}/{count}]" if count > 1 or series.cover else "[PATCH]"
        head = _head(series, f"{tag} {patch.subject}", patch.to, patch.cc, None, identifier if series.cover else None)
        signed = f"\n\nSigned-off-by: {series.signer[0]} <{series.signer[1]}>" if series.signer else ""
        diff = "".join(file.diff for file in patch.change.files)
        text = f"{patch.body}{signed}\n---\n{diffstat(patch.change.files)}\n{diff}{_signature(series)}"
        result.append((file_name(number, patch.subject), _mail(head, text)))
    return result


def _head(
    series: Series, subject: str, to: Sequence[str], cc: Sequence[str], identifier: str | None, reply: str | None
) -> list[str]:
    head = [
        "From " + "0" * 40 + " Mon Sep 17 00:00:00 2001",
        f"From: {_address(*series.author)}",
        f"Date: {format_datetime(series.date)}",
        f"Subject: {_encoded(subject, 9)}",
    ]
    head += [f"{name}: " + ",\n    ".join(people) for name, people in (("To", to), ("Cc", cc)) if people]
    head += [f"Message-ID: {identifier}"] if identifier else []
    head += [f"In-Reply-To: {reply}", f"References: {reply}"] if reply else []
    return head


def _address(name: str, address: str) -> str:
    return formataddr((name, address))


def _encoded(text: str, used: int) -> str:
    return text if text.isascii() else Header(text, "utf-8", maxlinelen=_BASE, header_name="X" * used).encode()


def _mail(head: list[str], text: str) -> bytes:
    """A mail whose bytes arrive as they are: plain if they can, else in base64, which keeps carriage returns."""
    data = text.encode("utf-8", "surrogateescape")
    # a line that reads "From " would begin a new mail
    encode = b"\r" in data or re.search(rb"^>*From ", data, re.MULTILINE) is not None
    kind = ["MIME-Version: 1.0", "Content-Type: text/plain; charset=UTF-8"]
    kind.append(f"Content-Transfer-Encoding: {'base64' if encode else '8bit'}")
    return "\n".join([*head, *kind, "", ""]).encode() + (base64.encodebytes(data) if encode else data) + b"\n"


def _signature(series: Series) -> str:
    base = f"\nbase-commit: {series.base}\n" if series.base else ""
    return f"{base}-- \n{series.version}\n"


def _lines(file: FileChange) -> tuple[int, int]:
    lines = file.diff.split("\n")
    return (
        sum(line.startswith("+") and not line.startswith("+++") for line in lines),
        sum(line.startswith("-") and not line.startswith("---") for line in lines),
    )


def diffstat(files: Sequence[FileChange]) -> str:
    """The table of changed files that follows `---`."""
    width = max(len(file.path) for file in files)
    counts = [_lines(file) for file in files]
    digits = len(str(max(sum(count) for count in counts)))
    rows = [
        f" {file.path:{width}} | {sum(count):{digits}} {'+' * count[0]}{'-' * count[1]}"
        for file, count in zip(files, counts, strict=True)
    ]
    added, removed = sum(count[0] for count in counts), sum(count[1] for count in counts)
    total = [f" {len(files)} file{'s' if len(files) != 1 else ''} changed"]
    total += [f"{added} insertion{'s' if added != 1 else ''}(+)"] if added else []
    total += [f"{removed} deletion{'s' if removed != 1 else ''}(-)"] if removed else []
    return "\n".join([*rows, ", ".join(total)]) + "\n"


def _cover(series: Series) -> str:
    width = max(len(patch.subject) for patch in series.patches)
    rows = [
        f"  {patch.subject:{width}}  {len(patch.change.findings):3}  {sum(f.verdict.states for f in patch.change.findings):6}"
        for patch in series.patches
    ]
    files = [file for patch in series.patches for file in patch.change.files]
    text = (
        "Since v6.18 the DMA mapping API works on physical addresses. This series moves\n"
        f"the drivers of {series.tree or 'this tree'} whose mappings could be followed from map to unmap.\n"
        "Each patch stands on its own.\n\n"
        f"  {'patch':{width}}  calls  states\n"
    )
    return text + "\n".join(rows) + f"\n\n{diffstat(files)}"
