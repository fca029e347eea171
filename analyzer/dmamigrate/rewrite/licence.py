# SPDX-License-Identifier: GPL-2.0-only
"""Whether a module may link to dma_map_phys(), which is exported to GPL-compatible modules only."""

from __future__ import annotations

import re

from dmamigrate.program.tree import Tree

# include/linux/license.h: license_is_gpl_compatible()
_COMPATIBLE = frozenset({"GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"})
_STATED = re.compile(
    rb'^\s*(?:MODULE_LICENSE\s*\(|MODULE_INFO\s*\(\s*license\s*,)\s*(?:"([^"\n]*)"|(\w+))\s*\)', re.MULTILINE
)
_DEFINED = rb'^[ \t]*#[ \t]*define[ \t]+%s[ \t]+"([^"\n]*)"'


def refusal(tree: Tree, path: str) -> str | None:
    """Why the module that `path` belongs to cannot use the symbol, None if it can or says nothing."""
    folder = tree.module(path)
    near = tree.search_any(("MODULE_LICENSE", "MODULE_INFO"), folder) if tree.is_driver_folder(folder) else ()
    own = _stated(tree, path)
    # where a folder builds many modules, one's licence says nothing of another's
    for licence in own or [licence for other in near for licence in _stated(tree, other)]:
        if licence not in _COMPATIBLE:
            return (
                f'the module\'s licence is "{licence}", and dma_map_phys() is exported to GPL-compatible modules only'
            )
    return None


def _stated(tree: Tree, path: str) -> list[str]:
    """The licences that a file states; one that is a macro is what this or a header of the driver defines, else its
    name.
    """
    unit = tree.unit(path)
    found: list[str] = []
    for text, macro in _STATED.findall(unit.source.data) if unit is not None else ():
        defined = re.compile(_DEFINED % re.escape(macro), re.MULTILINE) if macro else None
        texts = (
            [one.source.data for one in (unit, *tree.headers(unit))] if defined is not None and unit is not None else []
        )
        held = [match[1] for data in texts if defined is not None and (match := defined.search(data))]
        found += [one.decode("utf-8", "replace") for one in (held or [text or macro])]
    return found
