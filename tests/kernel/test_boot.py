# SPDX-License-Identifier: GPL-2.0-only
"""The model against a running kernel, where QEMU and what builds a kernel are there."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from dmamigrate import scan as scans
from dmamigrate.model import boot, booted, extract

pytestmark = pytest.mark.kernel


@cache
def _logs(root: Path, arch: str) -> tuple[boot.Log, ...]:
    lacking = boot.missing(boot.ARCHES[arch])
    if lacking:
        pytest.skip(f"NO BOOT: {arch} needs {', '.join(lacking)}")
    return tuple(boot.boots(boot.ARCHES[arch], root, print))


@pytest.mark.xdist_group("boot")
@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_the_running_kernel_agrees_and_shows_what_rules_claim(kernel: Callable[[str], Path], arch: str) -> None:
    root = kernel("newest")
    version = extract.plan_for(scans.tree_version(root) or "")
    logs = _logs(root, arch)
    results = [booted.compare(log, version) for log in logs]
    assert [one.log.configuration.name for one in results if not one.agrees] == []
    assert all(sum(one.compared.values()) >= 1_000 for one in results)
    assert [one.claim for one in booted.shown(logs) if not one.holds] == []


@pytest.mark.xdist_group("boot")
def test_the_comparison_can_tell(kernel: Callable[[str], Path]) -> None:
    direct = next(log for log in _logs(kernel("newest"), "x86_64") if log.configuration.name == "direct")
    assert booted.compare(direct, "7.2").differ, "7.3 translates MMIO by dma-ranges, 7.2 does not"
