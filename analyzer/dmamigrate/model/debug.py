# SPDX-License-Identifier: GPL-2.0-only
"""What CONFIG_DMA_API_DEBUG says of a life: kernel/dma/debug.c, as 7.0 and newer report it."""

from __future__ import annotations

from dmamigrate.model.calls import run_map, run_unmap
from dmamigrate.model.machine import ERROR, Attrs
from dmamigrate.model.states import CC_SHARED, MMIO, PRIVILEGED, REQUIRE_COHERENT, State

# kernel/dma/debug.c: DMA_ATTR_UNMAP_VALID, as far as streaming calls have these
_COMPARED = frozenset({MMIO, REQUIRE_COHERENT, PRIVILEGED, CC_SHARED})
RAM_AS_MMIO = "called for RAM address"
DIFFERENT_ATTRIBUTES = "different attributes"


def _given(call: str, attrs: Attrs) -> Attrs:
    return attrs | {MMIO} if call.endswith("_resource") else attrs


def reports(life: tuple[str, Attrs, str, Attrs], state: State, version: str) -> tuple[str, ...]:
    """What dma-debug reports of a map and an unmap with their attributes, in the order in which it does.

    kernel/dma/debug.c: debug_dma_map_phys() looks whether MMIO is RAM, after the map; check_unmap() compares
    attributes. Calls without dma-debug (dma_iova_*()) and lists report nothing of this. An unmap that returns early
    leaves its entry.
    """
    call, attrs, end, end_attrs = life
    mapped = run_map(call, state, version, attrs)
    if mapped.address in (ERROR, None) or not any(one.startswith("debug map_phys") for one in mapped.exact):
        return ()
    said: list[str] = []
    if MMIO in _given(call, attrs) and state.memory in ("ram", "ram-highmem"):
        said.append(RAM_AS_MMIO)
    undone = run_unmap(end, state, version, mapped.address or "", end_attrs)
    checked = any(one.startswith("debug unmap_phys") for one in undone.exact)
    if checked and _given(call, attrs) & _COMPARED != _given(end, end_attrs) & _COMPARED:
        said.append(DIFFERENT_ATTRIBUTES)
    return tuple(said)
