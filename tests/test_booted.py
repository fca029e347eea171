# SPDX-License-Identifier: GPL-2.0-only
"""What is made of a booted kernel's console, and that each claim of a rule has a life in the module that shows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dmamigrate import rules
from dmamigrate.errors import UsageError
from dmamigrate.model import boot
from dmamigrate.model.boot import ARCHES, X86, Log
from dmamigrate.model.booted import compare, report, shown
from dmamigrate.model.claims import CLAIMS

_BOOTED = (
    "R\tdirect\tdirect\tram\tDMA_FROM_DEVICE\t1\t0\t0\t0\t0\t1\tdma_map_phys\tdma_map_phys\t0\t{end}\tB\tbounce P\t"
    "{undone}\t{said}\t\t"
)
_FREES_OTHERWISE = "device driver frees DMA memory with different attributes "  # kernel/dma/debug.c: check_unmap()


@pytest.mark.parametrize(
    ("end", "undone", "said", "differ"),
    [
        pytest.param("0", "copy bounce to memory;release bounce without copy", "", 0, id="as the model says"),
        pytest.param("400", "", _FREES_OTHERWISE, 0, id="the flag at the unmap: nothing is copied, dma-debug reports"),
        pytest.param(
            "400", "", "device driver frees DMA memory with wrong function ", 1, id="dma-debug says another thing"
        ),
        pytest.param("400", "", "", 1, id="dma-debug says nothing"),
        pytest.param("0", "release bounce without copy", "", 1, id="nothing is copied"),
    ],
)
def test_a_console_is_compared_line_by_line(end: str, undone: str, said: str, differ: int) -> None:
    (machine,) = [one for one in X86.configurations if one.name == "direct"]
    line = "[    1.0] " + _BOOTED.format(end=end, undone=undone, said=said) + "\r\nEND|direct\r\n"
    result = compare(Log(machine, line, 1.0), "7.3")
    assert (sum(result.compared.values()), len(result.differ)) == (1, differ)


@pytest.mark.parametrize(
    ("machine", "said", "agrees"),
    [
        pytest.param("armnone", "000", True, id="without a pool kmalloc() rounds up"),
        pytest.param("armnone", "001", False, id="without a pool a small buffer would have nowhere to bounce to"),
        pytest.param("armdirect", "001", True, id="with one it may bounce"),
        pytest.param("armdirect", "101", False, id="but not of a coherent device"),
        pytest.param("armdirect", "011", False, id="nor towards the device"),
    ],
)
def test_a_boot_contradicts_what_is_said_to_be_impossible(machine: str, said: str, agrees: bool) -> None:
    (configuration,) = [one for arch in ARCHES.values() for one in arch.configurations if one.name == machine]
    result = compare(Log(configuration, f"[ 1.0] K\t{machine}\t{said}\r\n", 1.0), "7.3")
    assert result.agrees is agrees
    assert ("and yet in this kernel" in report([result])) is not agrees


# Rules that say "this goes wrong", and no boot shows it.
UNSHOWN = {
    "unmap-orphan": "says what could not be followed, not what goes wrong",
    "rewrite-refuted": "is about a change, and names what its life does wrong by another rule",
}


def test_every_defect_is_shown_by_a_boot_or_it_is_said_why_not() -> None:
    defects = {rule.id for rule in rules.load() if rule.category == "defect"}
    claimed = {claim.rule for claim in CLAIMS}
    assert claimed <= defects
    assert defects - claimed == {*UNSHOWN}


def test_each_claim_has_a_machine_and_its_lives_are_in_the_module() -> None:
    machines = {one.name: one for arch in ARCHES.values() for one in arch.configurations}
    module = (Path(boot.__file__).parent / "harness/boot/dmaprobe.c").read_text()
    lives = set(re.findall(r'(?:LIFE\(|\{ )"([\w-]+)", "(wrong|right)"', module))
    for claim in CLAIMS:
        needed = {"right"} if machines[claim.machine].crash else {"wrong", "right"}
        assert {(claim.rule, which) for which in needed} <= lives


_LIFE = "L\tdirect\tunmap-size-mismatch\t{which}\tram\tdma_map_phys(0)\tmapped\t\t\t{said}\t\t"
_SIZE = "device driver frees DMA memory with different size "


@pytest.mark.parametrize(
    ("wrong", "right", "holds"),
    [
        pytest.param(_SIZE, "", True, id="in the wrong life alone"),
        pytest.param("", "", False, id="in neither"),
        pytest.param(_SIZE, _SIZE, False, id="in both"),
        pytest.param("device driver frees DMA memory with wrong function ", "", False, id="another report"),
    ],
)
def test_a_claim_is_shown_by_its_own_sign(wrong: str, right: str, holds: bool) -> None:
    (machine,) = [one for one in X86.configurations if one.name == "direct"]
    lines = [_LIFE.format(which="wrong", said=wrong), _LIFE.format(which="right", said=right)]
    (found,) = [
        one for one in shown([Log(machine, "\r\n".join(lines), 1.0)]) if one.claim.rule == "unmap-size-mismatch"
    ]
    assert found.holds is holds


def test_consoles_are_kept_one_a_file(tmp_path: Path) -> None:
    boot.keep([Log(one, one.name, 1.0) for one in X86.configurations], tmp_path / "consoles")
    kept = {file.name: file.read_text() for file in (tmp_path / "consoles").iterdir()}
    assert kept == {f"console.{one.name}": one.name for one in X86.configurations}
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="name a folder that can be written to"):
        boot.keep([], tmp_path / "file")
