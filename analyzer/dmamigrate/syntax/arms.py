# SPDX-License-Identifier: GPL-2.0-only
"""Arms of #if that only older kernels compile, those without dma_map_phys() say, as in drivers for many kernels."""

from __future__ import annotations

import re

from dmamigrate.syntax.source import Source

_DIRECTIVE = re.compile(rb"^[ \t]*#[ \t]*(if|ifdef|ifndef|elif|else|endif)\b((?:[^\n\\]|\\[\s\S])*)", re.MULTILINE)
_COMPARISON = re.compile(rb"LINUX_VERSION_CODE\s*(<=?|>=?)\s*KERNEL_VERSION\s*\(\s*(\d+)\s*,\s*(\d+)\s*,\s*\d+\s*\)")
_HAS = re.compile(rb"!?\s*defined\s*\(?\s*(?:DMA_ATTR_MMIO|HAVE_DMA_MAP_PHYS)\s*\)?")
_FIRST = (6, 18)
# A kernel's version, or that of a distribution's kernel.
_RELEASE = re.compile(rb"(?:_VERSION_CODE|RELEASE_CODE|_RELEASE_VERSION|KERNEL_VERSION)")


def only_for_older_kernels(source: Source, offset: int, first: tuple[int, ...] = _FIRST) -> bool:
    """Whether the byte at `offset` may stand in an #if arm that only kernels before `first` compile: those without
    dma_map_phys(), if that is not told.

    A condition on the kernel's version that is more than one comparison counts as such.
    """
    arms: list[bool] = []
    before: list[list[bytes]] = []
    for match in _DIRECTIVE.finditer(source.blanked, 0, offset):
        word, rest = match.group(1), match.group(2).strip()
        if word.startswith(b"if"):
            condition = {b"ifndef": b"!defined(" + rest + b")", b"ifdef": b"defined(" + rest + b")"}.get(word, rest)
            arms.append(_says_older(condition, True, first))
            before.append([condition])
        elif word in (b"else", b"elif") and arms:
            arms[-1] = any(_says_older(condition, False, first) for condition in before[-1])
            if word == b"elif":
                arms[-1] = arms[-1] or _says_older(rest, True, first)
                before[-1].append(rest)
        elif word == b"endif" and arms:
            arms.pop()
            before.pop()
    return any(arms)


def _says_older(condition: bytes, holds: bool, first: tuple[int, ...]) -> bool:
    if version := _COMPARISON.fullmatch(condition.strip(b"() \t") + b")"):
        older_if_true = version.group(1).startswith(b"<")
        return older_if_true == holds and (int(version.group(2)), int(version.group(3))) <= first
    if _RELEASE.search(condition):
        return True
    if _HAS.fullmatch(condition):
        return (b"!" in condition) == holds
    return b"DMA_ATTR_MMIO" in condition
