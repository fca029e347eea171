# SPDX-License-Identifier: GPL-2.0-only
"""Help for drivers that also build on older kernels: before 6.18 the two functions and the attribute, before 6.19 the
callbacks of pages that tables of struct dma_map_ops have there.
"""

from __future__ import annotations

import re

from dmamigrate.errors import UsageError
from dmamigrate.syntax.source import Source, blank
from dmamigrate.syntax.unit import Unit

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


# ---- tables of struct dma_map_ops

_MEMBERS = re.compile(
    rb"(?:^[^\n]*(?:\.|->)[ \t]*(?:un)?map_phys[ \t]*=[ \t]*\w+[ \t]*[,;]?[ \t]*\r?\n)+", re.MULTILINE
)
_MEMBER = re.compile(rb"(?P<before>[^\n]*(?:\.|->)[ \t]*)(?P<un>un)?map_phys(?P<is>[ \t]*=[ \t]*)(?P<name>\w+)")
_RESOURCE = re.compile(
    rb"^[^\n]*(?:\.|->)[ \t]*(?:un)?map_resource[ \t]*=[ \t]*\w+[ \t]*[,;]?[ \t]*\r?\n", re.MULTILINE
)
_NEWER = b"LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)"
_OLDER = "LINUX_VERSION_CODE < KERNEL_VERSION(6, 19, 0)"
_SHIM = """static dma_addr_t {old}(struct device *dev, struct page *page,
\t\tunsigned long offset, size_t size, enum dma_data_direction dir,
\t\tunsigned long attrs)
{{
\treturn {new}(dev, page_to_phys(page) + offset, size, dir, attrs);
}}
"""
_HEAD = """
#include <linux/version.h>

#ifndef DMA_ATTR_MMIO
#define DMA_ATTR_MMIO\t0
#endif
"""
_PAGE = """#ifndef phys_to_page
#define phys_to_page(phys)\tpfn_to_page(PHYS_PFN(phys))
#endif
"""


def add_callbacks(path: str, before: bytes, after: bytes) -> bytes:
    """`after`, in which tables have .map_phys in place of the .map_page of `before`, with both, as the kernel's version
    chooses. Raises UsageError where that cannot be told, or there is no #include to put the rest behind.
    """
    groups = list(_MEMBERS.finditer(after))
    resources = b"".join(_RESOURCE.findall(before))
    if resources and len(groups) > 1:
        raise UsageError(f"{path}: several tables had callbacks for resources; write their older form by hand")
    if not groups:
        return after
    pieces: list[bytes] = []
    shims: dict[str, str] = {}
    at = 0
    for group in groups:
        older = b"".join(_older(line, shims) for line in group.group().splitlines(keepends=True))
        pieces += [after[at : group.start()], b"#if ", _NEWER, b"\n", group.group(), b"#else\n", older, resources]
        pieces.append(b"#endif\n")
        at = group.end()
    text = b"".join([*pieces, after[at:]])
    text = _behind_includes(path, text, _HEAD + (_PAGE if b"phys_to_page(" in after else ""))
    if not shims:
        return text
    unit = Unit(Source(path, text))
    item = unit.item_at(text.index(_NEWER))
    top = _top(text, item.head if item is not None else text.index(_NEWER))
    told = "\n".join(_SHIM.format(old=old, new=new) for new, old in shims.items())
    return text[:top] + f"#if {_OLDER}\n{told}#endif\n\n".encode() + text[top:]


def _older(line: bytes, shims: dict[str, str]) -> bytes:
    """The line of a table as kernels before 6.19 have it; what maps pages there is added to `shims`."""
    found = _MEMBER.match(line)
    if found is None:
        return line
    name = found["name"].decode()
    if not found["un"] and name != "NULL":
        old = name.replace("map_phys", "map_page")
        name = shims.setdefault(name, old if old != name else f"{name}_page")
    member = b"%smap_page" % (found["un"] or b"")
    return found["before"] + member + found["is"] + name.encode() + line[found.end() :]


def _top(text: bytes, at: int) -> int:
    """Where the item at top level that holds a byte begins, its comment included."""
    while at and text[at - 2 : at] not in (b"\n\n", b"\n"):
        at = text.rfind(b"\n", 0, at - 1) + 1
    return at
