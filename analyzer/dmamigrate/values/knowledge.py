# SPDX-License-Identifier: GPL-2.0-only
"""What kernel interfaces mean for the origin of an address: the tables in rules/sources/*.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from dmamigrate.api import Api
from dmamigrate.errors import RuleError
from dmamigrate.findings import Kind
from dmamigrate.syntax.functions import CType

OBJECT = -1
RETURN = -1


class _Entry(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    evidence: Annotated[str, msgspec.Meta(min_length=10)]
    call: tuple[str, ...] = ()
    field: tuple[Annotated[str, msgspec.Meta(pattern=r"^\w+\.\w+$")], ...] = ()
    variable: tuple[str, ...] = ()
    out: int | None = None


class _Source(_Entry, forbid_unknown_fields=True, frozen=True, kw_only=True):
    # no origin at all: a number, a handle or a node, whose value is no address
    origin: tuple[Kind, ...]
    stop: str | None = None
    # only where this argument is one of these string literals
    argument: int | None = None
    literal: tuple[str, ...] = ()
    # a driver that calls one of these makes such objects itself, out of whatever it has
    doubt: tuple[str, ...] = ()
    # ... or where none of these says that firmware describes the device
    firmware: tuple[str, ...] = ()
    # fresh memory: the origin of an address in it, not of what an object in it stands for
    storage: bool = False
    # memory of the direct map, which virt_to_phys() takes
    direct: bool = False


class _Propagator(_Entry, forbid_unknown_fields=True, frozen=True, kw_only=True):
    source: int | Literal["object"] = msgspec.field(name="from")
    default: Kind | None = None
    # the only kinds that are passed on: whatever else is handed over, the result is the default for sure
    only: tuple[Kind, ...] = ()
    # a page number may be handed over, whose address the result is, or the other way round
    pages: bool = False


class _Stop(_Entry, forbid_unknown_fields=True, frozen=True, kw_only=True):
    reason: str


class _Inert(_Entry, forbid_unknown_fields=True, frozen=True, kw_only=True):
    pass


class _Alias(_Entry, forbid_unknown_fields=True, frozen=True, kw_only=True):
    pass


class _Copy(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Calls that overwrite what an argument points to, whatever its type, from another argument or from elsewhere."""

    call: tuple[str, ...]
    evidence: Annotated[str, msgspec.Meta(min_length=10)]
    to: int
    source: int | None = msgspec.field(name="from", default=None)


class _Filled(_Entry, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Calls that return memory whose contents come from elsewhere: from user space, a device, another object."""


class _Layout(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The types of a kernel struct's members, for drivers whose kernel's headers are not at hand."""

    struct: Annotated[str, msgspec.Meta(pattern=r"^\w+$")]
    member: dict[str, Annotated[str, msgspec.Meta(pattern=r"^\w+(?: \w+)?(?: \*+)?$")]]
    evidence: Annotated[str, msgspec.Meta(min_length=10)]


class _Table(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    source: tuple[_Source, ...] = ()
    propagator: tuple[_Propagator, ...] = ()
    stop: tuple[_Stop, ...] = ()
    inert: tuple[_Inert, ...] = ()
    alias: tuple[_Alias, ...] = ()
    copy: tuple[_Copy, ...] = ()
    filled: tuple[_Filled, ...] = ()
    layout: tuple[_Layout, ...] = ()


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a table says of one result of a call, of a field, or of a variable.

    Either `origins` (with `stop` if some paths cannot be told), or `source`: the argument, from 0, or OBJECT, whose
    origin it has, with `default` if that argument tells nothing, or nothing of `only`. With `argument` it holds only
    where that argument, from 0, is one of the literals. A driver that calls one of `doubt` may have made the object
    itself, and one with none of `firmware` may be handed objects that other code made. `storage` marks fresh memory,
    `pages` what takes or yields a page number, `direct` memory of the direct map.
    """

    origins: tuple[Kind, ...] = ()
    stop: str | None = None
    source: int | None = None
    default: Kind | None = None
    evidence: str = ""
    argument: int | None = None
    literal: tuple[str, ...] = ()
    doubt: tuple[str, ...] = ()
    firmware: tuple[str, ...] = ()
    storage: bool = False
    only: tuple[Kind, ...] = ()
    pages: bool = False
    direct: bool = False


@dataclass(frozen=True)
class Knowledge:
    """All tables: calls by (name, argument that is set or RETURN), fields by "struct.member", variables by name.

    `inert` are the calls that store nothing through what they are handed, `filled` those that return memory whose
    contents come from elsewhere; `aliases` are the macros that name a member, as sg_dma_address(sg) does. `copies` are
    the calls that overwrite what an argument points to (its number, from 0, and that of the source, None if it lies
    elsewhere); `layouts` are the types of "struct.member" where the header is not at hand; `api` are the mapping calls
    themselves.
    """

    calls: dict[tuple[str, int], tuple[Meaning, ...]]
    fields: dict[str, Meaning]
    variables: dict[str, Meaning]
    inert: set[str]
    filled: set[str]
    aliases: dict[str, str]
    copies: dict[str, tuple[int, int | None]]
    layouts: dict[str, CType]
    api: Api

    @property
    def io_calls(self) -> tuple[str, ...]:
        """The calls that give device memory, or map it for the CPU."""
        told = {name for kind in (Kind.PCI_BAR, Kind.MMIO) for name in self.words_for(kind) if not name.endswith("[")}
        maps = {
            name
            for (name, out), held in self.calls.items()
            if out == RETURN and any(m.default is Kind.MMIO for m in held)
        }
        return tuple(sorted(told | maps | {name for name, _ in self.calls if "remap" in name}))

    def words_for(self, kind: Kind) -> tuple[str, ...]:
        """The calls and the members without one of which no address of this kind can be told."""
        calls = {
            name for (name, _), meanings in self.calls.items() if any(kind in meaning.origins for meaning in meanings)
        }
        members = {f"{name.partition('.')[2]}[" for name, meaning in self.fields.items() if kind in meaning.origins}
        return tuple(sorted(calls | members))

    def call(self, name: str, out: int = RETURN) -> tuple[Meaning, ...]:
        """What the call's return value, or what it stores through argument `out`, may mean; conditional ones first."""
        return self.calls.get((name, out), ())


def _read(file: Path) -> _Table:
    try:
        table = msgspec.convert(tomllib.loads(file.read_text("utf-8")), _Table)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise RuleError(f"{file}: {error}; see the tables in rules/sources for the format") from error
    if table == _Table():
        raise RuleError(f"{file}: says nothing; see the tables in rules/sources for the format")
    return table


def load(files: Iterable[Path], api: Api) -> Knowledge:
    """Read the tables; a later file overrides an earlier one.

    Raises RuleError, naming file and key, for anything that is not in the format.
    """
    knowledge = Knowledge({}, {}, {}, set(), set(), {}, {}, {}, api)
    for file in files:
        table = _read(file)
        knowledge.inert.update(name for entry in table.inert for name in entry.call)
        knowledge.filled.update(name for entry in table.filled for name in entry.call)
        knowledge.aliases.update((name, entry.field[0]) for entry in table.alias for name in entry.call if entry.field)
        knowledge.copies.update((name, (entry.to, entry.source)) for entry in table.copy for name in entry.call)
        for layout in table.layout:
            for name, text in layout.member.items():
                knowledge.layouts[f"{layout.struct}.{name}"] = CType(text.rstrip(" *"), text.count("*"))
        for entry in (*table.source, *table.propagator, *table.stop):
            match entry:
                case _Source():
                    meaning = Meaning(
                        entry.origin,
                        entry.stop,
                        None,
                        None,
                        entry.evidence,
                        entry.argument,
                        entry.literal,
                        entry.doubt,
                        entry.firmware,
                        entry.storage,
                        direct=entry.direct,
                    )
                case _Propagator():
                    source = OBJECT if entry.source == "object" else int(entry.source)
                    meaning = Meaning(
                        source=source,
                        default=entry.default,
                        evidence=entry.evidence,
                        only=entry.only,
                        pages=entry.pages,
                    )
                case _Stop():
                    meaning = Meaning((Kind.UNKNOWN,), entry.reason, evidence=entry.evidence)
            if not (entry.call or entry.field or entry.variable):
                raise RuleError(f"{file}: an entry names no call, field or variable; add one")
            if entry.call and meaning.source == OBJECT:
                raise RuleError(
                    f"{file}: {entry.call[0]}(): a call passes an argument on, not an object; name its number"
                )
            if entry.field and meaning.source not in (None, OBJECT):
                raise RuleError(f'{file}: {entry.field[0]}: a member has no arguments; write from = "object"')
            for name in entry.call:
                key = (name, RETURN if entry.out is None else entry.out)
                others = tuple(
                    m
                    for m in knowledge.calls.get(key, ())
                    if (m.argument, m.literal) != (meaning.argument, meaning.literal)
                )
                knowledge.calls[key] = tuple(sorted((meaning, *others), key=lambda m: m.argument is None))
            for name in entry.field:
                knowledge.fields[name] = meaning
            for name in entry.variable:
                knowledge.variables[name] = meaning
    return knowledge
