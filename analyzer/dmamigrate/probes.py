# SPDX-License-Identifier: GPL-2.0-only
"""Names of what the DMA layer renamed in scripts that trace it: a probe on one of them attaches to nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from dmamigrate.api import Renamed
from dmamigrate.lives.sites import span
from dmamigrate.model.versions import release
from dmamigrate.renamed import Use
from dmamigrate.syntax.source import Source, contents

SUFFIXES = (".sh", ".bash", ".py", ".pl", ".awk", ".bt", ".stp")
RULE = "renamed-dma-internal"
_TRACEPOINT = "trace_"  # include/linux/tracepoint.h: what a tracepoint's call is named after
_MOST = 4 << 20  # bytes: a larger file is data


def find(root: Path, paths: Iterable[str], renamed: Iterable[Renamed], target: str) -> Iterator[Use]:
    """What these scripts, by their paths below `root`, name and the target version has no more.

    Of tracepoints the event (dma:dma_map_page, events/dma/dma_map_page), of functions the name. A script that cannot be
    read is passed over: it is no source that would have to be judged.
    """
    gone = [one for one in renamed if release(one.since) <= release(target) and not one.under]
    known = {_spelled(one): one for one in gone if one.name.islower()}
    pattern = re.compile(rb"(?<![\w.-])(?:dma[:/])?\b(" + b"|".join(sorted(map(re.escape, known))) + rb")\b")
    for path in paths:
        try:
            source = Source(path, contents(root / path, _MOST))
        except OSError:
            continue
        for found in pattern.finditer(source.data):
            entry = known[found.group(1)]
            event = found.group().startswith((b"dma:", b"dma/"))
            if event == entry.name.startswith(_TRACEPOINT):
                yield Use(RULE, span(source, *found.span(1)), "", entry)


def _spelled(entry: Renamed) -> bytes:
    return entry.name.removeprefix(_TRACEPOINT).encode()
