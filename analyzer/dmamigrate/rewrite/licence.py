# SPDX-License-Identifier: GPL-2.0-only
"""Whether a module may link to dma_map_phys(), which is exported to GPL-compatible modules only."""

from __future__ import annotations

import re

from dmamigrate.program.tree import Tree

# include/linux/license.h: license_is_gpl_compatible()
_COMPATIBLE = frozenset({"GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"})
_STATED = re.compile(rb'^\s*MODULE_LICENSE\s*\(\s*"([^"\n]*)"\s*\)', re.MULTILINE)


def refusal(tree: Tree, path: str) -> str | None:
    """Why the module that `path` belongs to cannot use the symbol, None if it can or says nothing."""
    folder = tree.module(path)
    near = tree.search("MODULE_LICENSE", folder) if tree.is_driver_folder(folder) else ()
    own = _stated(tree, path)
    # where a folder builds many modules, one's licence says nothing of another's
    for licence in own or [licence for other in near for licence in _stated(tree, other)]:
        if licence not in _COMPATIBLE:
            return (
                f'the module\'s licence is "{licence}", and dma_map_phys() is exported to GPL-compatible modules only'
            )
    return None


def _stated(tree: Tree, path: str) -> list[str]:
    unit = tree.unit(path)
    return [found.decode("utf-8", "replace") for found in _STATED.findall(unit.source.data)] if unit is not None else []
