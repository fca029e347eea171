# SPDX-License-Identifier: GPL-2.0-only
"""All detectors, each with the rules that it may yield."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dmamigrate.findings import Skipped
from dmamigrate.lives.detect import differ, exits, handles, kept, maptype, p2p, page_calls, ranges, tables, twice
from dmamigrate.lives.module import Defect, Module

Find = Callable[[Module], Iterator[Defect | Skipped]]
# In the order of their reports: where two see the same, the first one's is kept.
DETECTORS: tuple[tuple[tuple[str, ...], Find], ...] = (
    (handles.RULES, handles.find),
    (kept.RULES, kept.find),
    (differ.RULES, differ.find),
    (exits.RULES, exits.find),
    (ranges.RULES, ranges.find),
    (twice.RULES, twice.find),
    (tables.RULES, tables.find),
    (p2p.RULES, p2p.find),
    (page_calls.RULES, page_calls.find),
)

# What a file must name for those to have anything to look at that judge no lives.
WORDS: dict[tuple[str, ...], set[str]] = {
    p2p.RULES: set(maptype.WORDS),
    page_calls.RULES: set(page_calls.WORDS),
    tables.RULES: set(tables.WORDS),
}
