# SPDX-License-Identifier: GPL-2.0-only
"""Kernel versions and which behaviour of the API each has."""

from __future__ import annotations

from functools import cache

from dmamigrate.errors import UsageError

# Where behaviour changed. 6.1, 6.12, 7.2 and 7.3 were read; 6.18, 6.19 and 7.0 are inferred from 7.2 and the merge of
# the dma_map_phys() series.
KNOWN = ("6.1", "6.12", "6.18", "6.19", "7.0", "7.2", "7.3")
_READ = frozenset({"6.1", "6.12", "7.2", "7.3"})


@cache
def release(version: str) -> tuple[int, int]:
    """(major, minor) of "7.3" or "7.3.4". Raises UsageError if it is no version."""
    parts = version.split(".")
    if len(parts) < 2 or not all(part.isdigit() for part in parts[:2]):
        raise UsageError(f"{version}: not a kernel version; write it as 6.18 or 7.3")
    return int(parts[0]), int(parts[1])


@cache
def behaviour(version: str) -> str:
    """The newest known version that is not newer than `version`.

    Raises UsageError for one between 6.1 and 6.12, in which bouncing of small buffers came and which nobody read, and
    for one before 6.1.
    """
    wanted = release(version)
    if wanted < (6, 1) or (6, 1) < wanted < (6, 12):
        nearest = "6.12" if wanted >= (6, 5) else "6.1"
        raise UsageError(
            f"{version}: nobody read this version of the API; the nearest that the model states is {nearest}"
        )
    return max((v for v in KNOWN if release(v) <= wanted), key=release)


def standing(version: str) -> str:
    """What a proof for `version` stands on if that is not the version's own source, "" if it is."""
    known = behaviour(version)
    if release(version) > release(KNOWN[-1]):
        return f"{version} is newer than any kernel that the model was held against; judged as {KNOWN[-1]}"
    if known not in _READ:
        return f"the model of {version} is inferred from later kernels, it was not held against that one's source"
    return ""
