# SPDX-License-Identifier: GPL-2.0-only
"""The calls that map and unmap: the tables in rules/api/*.toml, what each argument is, and which calls belong
together.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from dmamigrate.errors import RuleError

Role = Literal["map", "unmap", "sync", "check", "map_sg", "unmap_sg", "coherent", "alloc", "free"]
_Names = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
_Evidence = Annotated[str, msgspec.Meta(min_length=10)]
# What an argument of a call can be; `addr` is the handle, `state` the IOVA range.
ARGUMENTS = frozenset(
    {
        "dev",
        "phys",
        "page",
        "ptr",
        "offset",
        "size",
        "dir",
        "attrs",
        "addr",
        "state",
        "sg",
        "nents",
        "sgt",
        "value",
        "to",
    }
)


class _Family(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    name: str
    alike: tuple[str, ...] = ()
    migrates: bool = False


class _Call(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    name: _Names
    role: Role
    arguments: _Names
    evidence: _Evidence
    family: str = ""
    implies: tuple[str, ...] = ()
    model: str = ""


class _Attribute(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    name: _Names
    evidence: _Evidence
    unmap: bool = False


class _Direction(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    name: _Names
    evidence: _Evidence
    invalid: bool = False


class _Device(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    member: _Names
    of: str
    evidence: _Evidence


class _Sink(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    call: _Names
    arguments: Annotated[tuple[int, ...], msgspec.Meta(min_length=1)]
    evidence: _Evidence
    typed: bool = False


class Renaming(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a call becomes from a version on: a line `- call(roles)` and a line `+ call(arguments)`, as rules have
    them.
    """

    since: str
    text: str


class Renamed(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """An internal of the DMA layer that `since` a version is something else (`to`), and `how` its users change.

    `arguments` is how many the old one takes, where only that tells it from the new one; a `hook` is defined by who
    uses it; `under` is the folder in which the name is the kernel's. `rewrite` has the calls that are rewritten, the
    newest last; a `plain` one is the same function by another name, wherever it is named.
    """

    name: str
    to: str
    since: str
    how: str
    evidence: _Evidence
    arguments: int | None = None
    hook: bool = False
    under: str = ""
    plain: bool = False
    rewrite: tuple[Renaming, ...] = ()


class _Table(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    family: tuple[_Family, ...] = ()
    call: tuple[_Call, ...] = ()
    attribute: tuple[_Attribute, ...] = ()
    direction: tuple[_Direction, ...] = ()
    device: tuple[_Device, ...] = ()
    sink: tuple[_Sink, ...] = ()
    renamed: tuple[Renamed, ...] = ()
    callback: tuple[Renamed, ...] = ()
    core: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One mapping call.

    `roles` names its arguments in order; `family` is shared by a map and its unmaps; `implies` are the attributes that
    the call adds to those it is given; `model` is the function under which the model knows it.
    """

    name: str
    role: Role
    family: str
    roles: tuple[str, ...]
    implies: frozenset[str]
    model: str

    def position(self, role: str) -> int:
        """The index, from 0, of the argument in this role; -1 without one."""
        return self.roles.index(role) if role in self.roles else -1


@dataclass(frozen=True, slots=True)
class Sink:
    """The arguments (from 0) of a call that give a device an address; `typed` ones take nothing but DMA addresses."""

    arguments: tuple[int, ...]
    typed: bool


@dataclass(frozen=True)
class Api:
    """All tables together.

    `attributes` are all that the kernel knows, `kept` those on which a map and its unmap have to agree; `directions`
    are those that a mapping can have, `no_directions` the names that are none. `devices` says whose a struct device is
    by the member that holds it; `sinks` are the calls that give a device an address; `renamed` are internals that are
    gone, and `callbacks` those of struct dma_map_ops, by their old names; `core` is how the paths of the DMA layer
    itself begin.
    """

    calls: dict[str, ApiCall]
    alike: dict[str, frozenset[str]]
    migrating: frozenset[str]
    attributes: frozenset[str]
    kept: frozenset[str]
    directions: frozenset[str]
    no_directions: frozenset[str]
    devices: dict[str, str]
    sinks: dict[str, Sink]
    renamed: dict[str, Renamed]
    callbacks: dict[str, Renamed]
    core: tuple[str, ...]

    def fits(self, mapped: ApiCall, unmapped: ApiCall) -> bool:
        """Whether an unmap is of a family that ends this map."""
        return unmapped.family in self.alike.get(mapped.family, frozenset())

    def named(self, role: Role, migrating: bool | None = None) -> tuple[str, ...]:
        """The calls in a role; only those of families that the migration is about, or only the others."""
        return tuple(
            name
            for name, call in self.calls.items()
            if call.role == role and (migrating is None or (call.family in self.migrating) is migrating)
        )


def load(files: Iterable[Path]) -> Api:
    """Read the tables. Raises RuleError, naming file and key, for anything that is not in the format or means
    nothing.
    """
    families: dict[str, _Family] = {}
    calls: dict[str, ApiCall] = {}
    attributes: dict[str, bool] = {}
    directions: dict[str, bool] = {}
    devices: dict[str, str] = {}
    sinks: dict[str, Sink] = {}
    renamed: dict[str, Renamed] = {}
    callbacks: dict[str, Renamed] = {}
    held = [(file, _read(file)) for file in files]
    for _, table in held:
        families |= {family.name: family for family in table.family}
        attributes |= {name: entry.unmap for entry in table.attribute for name in entry.name}
        directions |= {name: entry.invalid for entry in table.direction for name in entry.name}
        devices |= {member: entry.of for entry in table.device for member in entry.member}
        sinks |= {name: Sink(entry.arguments, entry.typed) for entry in table.sink for name in entry.call}
        renamed |= {entry.name: entry for entry in table.renamed}
        callbacks |= {entry.name: entry for entry in table.callback}
    for file, table in held:
        for entry in table.call:
            _checked(file, entry, families, attributes)
            for name in entry.name:
                calls[name] = ApiCall(
                    name, entry.role, entry.family, entry.arguments, frozenset(entry.implies), entry.model or name
                )
    alike = {name: frozenset({name, *family.alike}) for name, family in families.items()}
    return Api(
        calls,
        alike,
        frozenset(name for name, family in families.items() if family.migrates),
        frozenset(attributes),
        frozenset(name for name, unmap in attributes.items() if unmap),
        frozenset(name for name, invalid in directions.items() if not invalid),
        frozenset(name for name, invalid in directions.items() if invalid),
        devices,
        sinks,
        renamed,
        callbacks,
        tuple(prefix for _, table in held for prefix in table.core),
    )


def _read(file: Path) -> _Table:
    try:
        return msgspec.convert(tomllib.loads(file.read_text("utf-8")), _Table)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise RuleError(f"{file}: {error}; see the tables in rules/api for the format") from error


def _checked(file: Path, entry: _Call, families: Iterable[str], attributes: Iterable[str]) -> None:
    name = entry.name[0]
    if entry.role not in ("sync", "check", "coherent") and entry.family not in families:
        raise RuleError(f"{file}: {name}(): there is no family '{entry.family}'; add a [[family]]")
    for role in entry.arguments:
        if role not in ARGUMENTS:
            raise RuleError(f"{file}: {name}(): '{role}' is no argument; write one of {', '.join(sorted(ARGUMENTS))}")
    for implied in entry.implies:
        if implied not in attributes:
            raise RuleError(f"{file}: {name}(): there is no attribute '{implied}'; add an [[attribute]]")
