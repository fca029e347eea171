# SPDX-License-Identifier: GPL-2.0-only
"""What damaged inputs are given to, and what must hold whatever they are.

A target writes its input and returns the trial of it, which raises whatever does not hold.
"""

from __future__ import annotations

import json as json_text
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from random import Random

from dmamigrate import changes, review, rules
from dmamigrate import scan as scans
from dmamigrate.errors import DmamigrateError, UsageError
from dmamigrate.findings import Finding, Report
from dmamigrate.patch import produce, series
from dmamigrate.report import json, text
from dmamigrate.report.places import View
from dmamigrate.report.visible import shown, visible
from dmamigrate.values import knowledge
from tests.conftest import ROOT
from tests.diffs import diff
from tests.fuzz.mutate import mutated

_ATTRIBUTE = ["DMA_ATTR_MMIO"]
_OTHER_NAMES = {"is_swiotlb_buffer": "swiotlb_find_pool", "sg_is_dma_bus_address": "sg_dma_is_bus_address"}
_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|\w+|\S')
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)


@dataclass(frozen=True)
class Place:
    """Where one input is tried: `tree` holds it, and nothing but `scratch` may be written to."""

    tree: Path
    scratch: Path


@cache
def _known() -> knowledge.Knowledge:
    return rules.tables()


@cache
def _rules() -> tuple[rules.Rule, ...]:
    return rules.load(known=_known().api)


@cache
def sources() -> tuple[bytes, ...]:
    """The fixtures' files, and, where a kernel tree is kept, its files that map device memory."""
    found = [file.read_bytes() for file in sorted((ROOT / "fixtures").rglob("*.[ch]"))]
    trees = Path(os.environ.get("DMAMIGRATE_TREES") or Path.home() / ".cache/dmamigrate/trees")
    kernel = trees / "linux-7.3"
    if kernel.is_dir() and os.environ.get("DMAMIGRATE_FUZZ_KERNEL"):
        listed = subprocess.run(
            ["grep", "-rlE", "dma_(un)?map_(resource|phys)\\(", "--include=*.c", "drivers", "sound"], cwd=kernel,
            capture_output=True,
            text=True, check=False,
        ).stdout.split()  # fmt: skip
        found += [(kernel / path).read_bytes() for path in sorted(listed) if (kernel / path).stat().st_size < 300_000]
    return tuple(found)


@cache
def cases() -> tuple[tuple[dict[str, bytes], dict[str, bytes]], ...]:
    """The fixtures with an after: their files on both sides."""
    found = []
    for after in sorted((ROOT / "fixtures").glob("*/*/after")):
        sides = [
            {file.name: file.read_bytes() for file in sorted(side.iterdir())}
            for side in (after.parent / "before", after)
        ]
        found.append((sides[0], sides[1]))
    return tuple(found)


def _options(tree: Path, **more: bool) -> scans.Options:
    return scans.Options((tree,), _rules(), _known(), tree=tree, **more)  # type: ignore[arg-type]


def _is_one_line(error: DmamigrateError) -> None:
    assert "\n" not in visible(str(error)), error


def _check(report: Report, tree: Path) -> None:
    """What must hold of every report."""
    wrong = [one for one in report.skipped if "please report it" in one.reason]
    assert not wrong, wrong
    rendered = text.render(shown(report), View(diff=True, evidence=True))
    hidden = re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", rendered)
    assert hidden is None, hidden
    json_text.dumps(json_text.loads(json.render(report)), ensure_ascii=False).encode("utf-8")
    for finding in report.findings:
        _check_edits(finding, tree)


def _check_edits(finding: Finding, tree: Path) -> None:
    """That edits stay within calls and do what they are for, told by the tokens alone and not by what made them."""
    if finding.rewrite.status != "proposed":
        return
    by_path: dict[str, list[tuple[int, int]]] = {}
    for edit in finding.rewrite.edits:
        data = (tree / edit.path).read_bytes()
        assert 0 <= edit.start <= edit.end <= len(data), "out of bounds"
        assert all(edit.end <= start or end <= edit.start for start, end in by_path.get(edit.path, [])), "overlapping"
        by_path.setdefault(edit.path, []).append((edit.start, edit.end))
        written = data[edit.start : edit.end].decode("utf-8", "surrogateescape")
        if by_address(written, edit.text):
            continue
        old, new = _tokens(written), _tokens(edit.text)
        if finding.rule == "p2p-missing-mmio":
            new = _without_choice(new)
        assert ";" not in old, f"{old} swallows a statement"
        for what, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            if what != "equal":
                by_type = finding.rule == "p2p-missing-mmio" and _by_type(old[a:b], new[c:d])
                assert by_type or _allowed(old[a:b], new[c:d]), (finding.rule, finding.callee, old[a:b], new[c:d])


def _tokens(code: str) -> list[str]:
    return [one for one in _TOKEN.findall(_COMMENT.sub(" ", code)) if one != "\\"]


def _call(tokens: list[str]) -> list[list[str]]:
    """A call's name and its arguments, a list of tokens each; empty for anything else."""
    if len(tokens) < 3 or tokens[1] != "(" or tokens[-1] != ")":
        return []
    found, depth = [tokens[:1], []], 0
    for one in tokens[2:-1]:
        depth += (one in ("(", "[", "{")) - (one in (")", "]", "}"))
        if depth < 0:
            return []
        if one == "," and depth == 0:
            found.append([])
        else:
            found[-1].append(one)
    return found


def by_address(before: str, after: str) -> bool:
    """Whether a call that took a page and an offset takes an address in their place, and what else it takes as
    before.
    """
    old, new = _call(_tokens(before)), _call(_tokens(after))
    if not old or not new or not _renamed(old[0][0], new[0][0]):
        return False
    left, turned = old[1:], False
    for one in new[1:]:
        if left and (
            one == left[0] or (_is_nothing(left[0]) and _is_place(one)) or one == [*left[0], "|", *_ATTRIBUTE]
        ):
            left = left[1:]
        elif len(left) > 1 and not turned and _is_address(one, *left[:2]):
            left, turned = left[2:], True
        elif left or one is not new[-1] or not (_is_place(one) or _is_nothing(one)):
            return False
    return not left and (turned or len(old) < len(new))


def _renamed(old: str, new: str) -> bool:
    return new in (re.sub(r"page(_attrs)?|resource", "phys", old), _OTHER_NAMES.get(old))


def _is_nothing(tokens: list[str]) -> bool:
    return re.fullmatch(r"0[uUlL]*", "".join(tokens)) is not None


def _is_place(tokens: list[str]) -> bool:
    return re.fullmatch(_PLACE, "".join(tokens)) is not None


def _is_address(tokens: list[str], page: list[str], offset: list[str]) -> bool:
    start = ["page_to_phys", "(", *page, ")"]
    wholes = [[*start, "+", *offset], [*start, "+", "(", *offset, ")"]]
    return tokens in wholes or (_is_nothing(offset) and tokens == start)


def _allowed(old: list[str], new: list[str]) -> bool:
    """A call renamed, no attributes made the attribute, the attribute added, parentheses put around what it is added
    to.
    """
    if len(old) == len(new) == 1 and re.search(r"map_|is_swiotlb_buffer|sg_is_dma_bus_address", old[0]):
        return _renamed(old[0], new[0])
    none = re.fullmatch(r"0[uUlL]*", "".join(old)) is not None
    return (none and new == _ATTRIBUTE) or (not old and new in (["|", *_ATTRIBUTE], [")", "|", *_ATTRIBUTE], ["("]))


_PLACE = r"[\w.>-]+"
_THROUGH = rf"{_PLACE}==PCI_P2PDMA_MAP_THRU_HOST_BRIDGE"
_SET = rf"(?:if\({_THROUGH}\))?{_PLACE}\|=DMA_ATTR_MMIO;(?:else{_PLACE}&=~DMA_ATTR_MMIO;)?(?:fallthrough;)?"
_KEPT = rf"unsignedlong\w+;|{_PLACE}=0;if\({_THROUGH}\){_PLACE}=DMA_ATTR_MMIO;|\|{_PLACE}"
_CHOSEN = rf"{_THROUGH}\?DMA_ATTR_MMIO:0"


def _without_choice(new: list[str]) -> list[str]:
    """The tokens without a choice that is added to attributes, whose parentheses a comparison of tokens cannot pair."""
    return re.sub(
        r"\| \( [\w.> -]+ = = PCI_P2PDMA_MAP_THRU_HOST_BRIDGE \? DMA_ATTR_MMIO : 0 \)", "", " ".join(new)
    ).split()


def _by_type(old: list[str], new: list[str]) -> bool:
    """The attribute set in a statement of its own, maybe by the map type, a local or member for it, or the choice in
    place of 0.
    """
    text = "".join(new)
    if not old:
        return re.fullmatch(rf"{_SET}|unsignedlongattrs=0;|{_KEPT}", text) is not None
    return (
        re.fullmatch(r"0[uUlL]*", "".join(old)) is not None and re.fullmatch(rf"{_PLACE}|{_CHOSEN}", text) is not None
    )


Trial = Callable[[], None]


def files(chance: Random, place: Place) -> Trial:
    """A damaged source file, scanned."""
    folder = place.tree / chance.choice(("a", "drivers/x", "."))
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(chance.choice((1, 1, 1, 2))):
        (folder / f"w{number}.c").write_bytes(mutated(chance, sources()))
    pages = chance.random() < 0.1
    return lambda: _check(scans.scan(_options(place.tree, pages=pages)), place.tree)


def _diff(before: dict[str, bytes], after: dict[str, bytes], folder: str) -> bytes:
    pieces = []
    for name in sorted(before.keys() | after.keys()):
        path = f"{folder}{name}"
        pieces.append(f"diff --git a/{path} b/{path}\n" + diff(path, before.get(name, b""), after.get(name, b"")))
    return "".join(pieces).encode("utf-8", "surrogateescape")


def _reviewed(place: Place, data: bytes) -> None:
    try:
        change = changes.change("-", place.tree, lambda: data)
        report = review.review(_options(place.tree), change)
    except UsageError as error:
        _is_one_line(error)
        return
    wrong = [one for one in report.skipped if "please report it" in one.reason]
    assert not wrong, wrong
    text.render(shown(report), View(diff=True)).encode("utf-8")
    json.render(report)


def _case(chance: Random, place: Place) -> bytes:
    """A tree with one fixture in it, and the patch that migrates it."""
    before, after = chance.choice(cases())
    folder = chance.choice(("", "drivers/x/"))
    (place.tree / folder).mkdir(parents=True, exist_ok=True)
    for name, data in before.items():
        (place.tree / folder / name).write_bytes(data)
    return _diff(before, after, folder)


def patches(chance: Random, place: Place) -> Trial:
    """A damaged patch, reviewed."""
    data = mutated(chance, (_case(chance, place),))
    return lambda: _reviewed(place, data)


def mails(chance: Random, place: Place) -> Trial:
    """A damaged mail, or a box of two, reviewed."""
    patch = _case(chance, place)
    head = (
        "From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\n"
        "From: A <a@example.com>\nSubject: [PATCH] x: y\n"
    )
    kind = chance.choice(
        ("", "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n")
    )
    mail = f"{head}{kind}\ntext\n---\n".encode() + patch + b"-- \n2.39\n\n"
    data = mutated(chance, (mail, mail + mail))
    return lambda: _reviewed(place, data)


def tables(chance: Random, place: Place) -> Trial:
    """A damaged table of sources, read."""
    file = place.tree / "own.toml"
    file.write_bytes(mutated(chance, [one.read_bytes() for one in sorted((rules.folder() / "sources").glob("*.toml"))]))

    def trial() -> None:
        try:
            knowledge.load([file], _known().api)
        except DmamigrateError as error:
            _is_one_line(error)

    return trial


_ALPHABET = (
    b"a", b"b.c", b" ", b"\t", b"\n", b"\r", b'"', b"'", b"\\", b"$(x)", b";", b"|", b"&", b"<b>", b"[red]", b"*", b"?",
    b"~", b"-",
    b"--help", b"#", b"%s", b"\x1b[2J", b"\x07", b"\xff", b"\xc3", "\u202e".encode(), "\U0001f600".encode(),
    b":1:2: error: x", b"=",
    b"\x7f", b"{", b"}", b"@", b".git", b"..", b"COM1", b",",
)  # fmt: skip


def names(chance: Random, place: Place) -> Trial:
    """Files and folders of any name, scanned and made patches of."""
    source = (ROOT / "fixtures/origin/alias/before/fx.c").read_bytes()
    for _ in range(chance.choice((1, 2))):
        parts = [
            b"".join(chance.choices(_ALPHABET, k=chance.randint(1, 6)))[:200] for _ in range(chance.choice((1, 1, 2)))
        ]
        kept = [part for part in parts if part not in (b".", b"..", b".git")] or [b"plain"]
        file = os.path.join(os.fsencode(place.tree), *kept) + b".c"
        os.makedirs(os.path.dirname(file), exist_ok=True)
        with open(file, "wb") as output:
            output.write(source)
    wishes = produce.Wishes(
        rules.folder(), by="file", cover=chance.random() < 0.5, reroll=chance.choice((1, 2)), recipients=False
    )
    return lambda: _named(place, wishes)


def _named(place: Place, wishes: produce.Wishes) -> None:
    report = scans.scan(_options(place.tree))
    _check(report, place.tree)
    made = produce.changes(report, wishes)
    several, _ = produce.series(report, made, wishes)
    mailed = [mail for one in several for name, mail in series.mails(one) if "cover-letter" not in name]
    assert len(mailed) == len(made.changes)
    if mailed:
        found = changes.change("-", place.tree, lambda: b"".join(mailed)).files
        assert found == {file.path: (file.before, file.after) for one in made.changes for file in one.files}


TARGETS: dict[str, Callable[[Random, Place], Trial]] = {
    "files": files, "patches": patches, "mails": mails, "tables": tables, "names": names,
}  # fmt: skip
