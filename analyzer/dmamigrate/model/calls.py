# SPDX-License-Identifier: GPL-2.0-only
"""The calls that the model has, by name, and what each does in a state."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from dmamigrate.errors import ModelError
from dmamigrate.model import iova
from dmamigrate.model.dma_api import (
    dma_map_page_attrs,
    dma_map_phys,
    dma_map_resource,
    dma_map_sg_attrs,
    dma_map_sg_of_two,
    dma_map_single_attrs,
    dma_sync_single_for_cpu,
    dma_sync_single_for_device,
    dma_unmap_page_attrs,
    dma_unmap_phys,
    dma_unmap_resource,
    dma_unmap_sg_attrs,
    dma_unmap_sg_of_two,
)
from dmamigrate.model.machine import ERROR, Attrs, Geometry, Machine, Outcome, Stopped, geometry_of, place
from dmamigrate.model.mappers import blk_dma_map_iter_start, blk_rq_dma_unmap, hmm_dma_map_pfn, hmm_dma_unmap_pfn
from dmamigrate.model.states import State
from dmamigrate.model.versions import behaviour, release

Map = Callable[[Machine, Attrs], str]
Unmap = Callable[[Machine, str, Attrs], None]

MAPS: dict[str, Map] = {
    "dma_map_resource": dma_map_resource,
    "dma_map_phys": dma_map_phys,
    "dma_map_page_attrs": dma_map_page_attrs,
    "dma_map_single_attrs": dma_map_single_attrs,
    "dma_iova_link": iova.dma_iova_link,
    "dma_map_sg_attrs": dma_map_sg_attrs,
    "blk_dma_map_iter_start": blk_dma_map_iter_start,
    "hmm_dma_map_pfn": hmm_dma_map_pfn,
}
UNMAPS: dict[str, Unmap] = {
    "dma_unmap_resource": dma_unmap_resource,
    "dma_unmap_phys": dma_unmap_phys,
    "dma_unmap_page_attrs": dma_unmap_page_attrs,
    "dma_unmap_single_attrs": dma_unmap_page_attrs,
    "dma_iova_unlink": iova.dma_iova_unlink,
    "dma_iova_destroy": iova.dma_iova_destroy,
    "dma_unmap_sg_attrs": dma_unmap_sg_attrs,
    "blk_rq_dma_unmap": blk_rq_dma_unmap,
    "hmm_dma_unmap_pfn": hmm_dma_unmap_pfn,
}
# The same calls with more than one buffer, for `conform`.
_MAPS_OF_TWO: dict[str, Map] = {
    "dma_map_sg_attrs of two": dma_map_sg_of_two,
    "dma_iova_link twice": iova.dma_iova_link_twice,
}
_UNMAPS_OF_TWO: dict[str, Unmap] = {
    "dma_unmap_sg_attrs of two": dma_unmap_sg_of_two,
    "dma_iova_destroy twice": iova.dma_iova_destroy_twice,
}
_SYNCS: dict[str, Callable[[Machine, str], None]] = {
    "dma_sync_single_for_cpu": dma_sync_single_for_cpu,
    "dma_sync_single_for_device": dma_sync_single_for_device,
}


def _machine(state: State, version: str, geometry: Geometry | None) -> Machine:
    return Machine(state, release(behaviour(version)), geometry or geometry_of(state))


def run_map(call: str, state: State, version: str, attrs: Attrs, geometry: Geometry | None = None) -> Outcome:
    """What `call` does, with the plainest buffer of the state unless another geometry is given.

    A kernel that stops (an Oops, a BUG()) returns nothing, which counts as ERROR. Raises ModelError for a call that the
    model, or the version, does not have.
    """
    function = MAPS.get(call) or _MAPS_OF_TWO.get(call)
    if function is None:
        raise ModelError(f"the model has no {call}(); it has {', '.join(sorted(MAPS))}")
    machine = _machine(state, version, geometry)
    try:
        address = function(machine, attrs)
    except Stopped:
        address = ERROR
    return Outcome(address, tuple(machine.effects), (place(machine, address), *machine.exact))


def run_unmap(
    call: str, mapped: tuple[State, Geometry | None] | State, version: str, address: str, attrs: Attrs
) -> Outcome:
    """What `call` does with `address`; the state with a geometry other than the plainest as a pair.

    Raises ModelError for a call that the model does not have.
    """
    function = UNMAPS.get(call) or _UNMAPS_OF_TWO.get(call)
    if function is None:
        raise ModelError(f"the model has no {call}(); it has {', '.join(sorted(UNMAPS))}")
    state, geometry = (mapped, None) if isinstance(mapped, State) else mapped
    machine = _machine(state, version, geometry)
    with suppress(Stopped):
        function(machine, address, attrs)
    return Outcome(None, tuple(machine.effects), tuple(machine.exact))


def run_sync(call: str, mapped: tuple[State, Geometry | None] | State, version: str, address: str) -> Outcome:
    """What a sync does with `address`. Raises ModelError for a call that the model does not have."""
    if call not in _SYNCS:
        raise ModelError(f"the model has no {call}(); it has {', '.join(sorted(_SYNCS))}")
    state, geometry = (mapped, None) if isinstance(mapped, State) else mapped
    machine = _machine(state, version, geometry)
    with suppress(Stopped):
        _SYNCS[call](machine, address)
    return Outcome(None, tuple(machine.effects), tuple(machine.exact))
