# SPDX-License-Identifier: GPL-2.0-only
"""Help for drivers that also build on kernels before 6.18: the two functions and the attribute, where the kernel has
none.
"""

from __future__ import annotations

import re

from dmamigrate.errors import UsageError
from dmamigrate.syntax.source import blank

_HEADER = "dma_map_phys_compat.h"
_INCLUDE = re.compile(rb'[ \t]*#[ \t]*include[ \t]*[<"]')
_CALL = re.compile(rb"\bdma_(?:un)?map_phys\s*\(")
_OPENS = re.compile(rb"[ \t]*#[ \t]*if")
_CLOSES = re.compile(rb"[ \t]*#[ \t]*endif")


def _guarded(template: str) -> str:
    """The helpers' code, for headers that have no such attribute: kernels of any version may have it backported."""
    return f"#ifndef DMA_ATTR_MMIO\n{template.rpartition('*/')[2].lstrip()}#endif\n"


def add(files: dict[str, bytes], template: str) -> dict[str, bytes]:
    """The files of one driver with the helpers: in the only file, else in a header of their own that each includes.

    `template` is the helpers' code below a comment. What is there already is not added again. Raises UsageError if a
    file has no #include to put it behind.
    """
    calling = {path: data for path, data in files.items() if b"dma_map_phys(" in data or b"dma_unmap_phys(" in data}
    if not calling or any(re.search(rb"#\s*define\s+DMA_ATTR_MMIO\b", data) for data in files.values()):
        return files
    if len(calling) == 1:
        path, data = next(iter(calling.items()))
        return files | {path: _behind_includes(path, data, f"\n{_guarded(template)}")}
    folder = min((path.rpartition("/")[0] for path in calling), key=len)
    header = f"{folder}/{_HEADER}" if folder else _HEADER
    result = dict(files)
    for path, data in calling.items():
        up = "../" * (path.count("/") - header.count("/"))
        if _HEADER.encode() not in data:
            result[path] = _behind_includes(path, data, f'#include "{up}{_HEADER}"\n')
    name = "DMA_MAP_PHYS_COMPAT_H"
    result[header] = (
        f"/* SPDX-License-Identifier: GPL-2.0-only */\n#ifndef {name}\n#define {name}\n\n"
        f"#include <linux/dma-mapping.h>\n\n{_guarded(template)}\n#endif\n"
    ).encode()
    return result


def _behind_includes(path: str, data: bytes, text: str) -> bytes:
    """`data` with `text` behind the last #include above the first call that no more conditions guard than the first."""
    plain = blank(data)  # neither comments nor strings hold directives
    call = _CALL.search(plain)
    depth = at = 0
    found: list[tuple[int, int]] = []
    for line in plain[: call.start() if call is not None else None].splitlines(keepends=True):
        at += len(line)
        if _OPENS.match(line):
            depth += 1
        elif _CLOSES.match(line):
            depth -= 1
        elif _INCLUDE.match(line):
            found.append((depth, at))
    if not found:
        raise UsageError(
            f"{path}: has no #include to put the helpers for older kernels behind; include <linux/dma-mapping.h>"
        )
    least = min(depth for depth, _ in found)
    end = max(at for depth, at in found if depth == least)
    line_end = b"\r\n" if data[:end].endswith(b"\r\n") else b"\n"
    return data[:end] + text.encode().replace(b"\n", line_end) + data[end:]
