# SPDX-License-Identifier: GPL-2.0-only
"""The tables of struct dma_map_ops in one file, from pages to physical addresses.

include/linux/dma-map-ops.h: from 6.19 on .map_phys and .unmap_phys stand for .map_page, .unmap_page, .map_resource and
.unmap_resource; what is device memory is told by DMA_ATTR_MMIO. A callback that only ever mapped pages refuses it;
where the backend had a callback for resources, that is called for it. All tables of a file are converted together,
since they share callbacks, and nothing is where one of them cannot be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from dmamigrate.api import Api, Renamed
from dmamigrate.findings import Edit, Rewrite, Span, Verdict
from dmamigrate.model.versions import release
from dmamigrate.program.tree import Tree
from dmamigrate.rewrite import check
from dmamigrate.rewrite.diff import diff
from dmamigrate.rewrite.layout import NewCall, apply, rewrite
from dmamigrate.rewrite.physical import (
    Refused,
    Wanted,
    address_of,
    address_suffices,
    converted,
    declarations,
    documented,
    listed,
    pair,
    parameters,
)
from dmamigrate.rules import templates
from dmamigrate.syntax.expr import Call, Name
from dmamigrate.syntax.functions import Function
from dmamigrate.syntax.items import Item
from dmamigrate.syntax.source import Source
from dmamigrate.syntax.unit import Unit, occurrences

UNPROVED = Verdict("unknown", reason="nothing but the compiler checks what a backend does: the model runs none")
_NEW = {"map_page": "map_phys", "unmap_page": "unmap_phys"}
_WHOLE = {"map_resource": "map_page", "unmap_resource": "unmap_page"}
_NAME = re.compile(r"[A-Za-z_]\w*")
_PAGE_AND_OFFSET = "page_to_phys(page) + offset"
_PROTOTYPE = re.compile(rb"\s*\([^;{}]*\)[^;{}()]*;")
_ENTRY = re.compile(rb"[ \t]*[\w.>\[\]-]*\.?[ \t]*=?[ \t]*[\w.>-]*[ \t]*=?[ \t]*\w+[ \t]*[,;]?[ \t]*\r?\n?")


@dataclass(frozen=True, slots=True)
class Callback:
    """A member of struct dma_map_ops that is set: its name, what it is set to, the bytes of the name, and in what:
    the table's name, or the function's that sets it.
    """

    member: str
    value: str
    span: Span
    table: str


def rewritten(tree: Tree, unit: Unit, callbacks: Iterable[Callback], api: Api, target: str) -> Rewrite:
    """What becomes of all callbacks of a file."""
    try:
        edits = _Backend(tree, unit, tuple(callbacks), api, target).edits()
    except Refused as why:
        return Rewrite("withheld", str(why))
    return Rewrite("proposed", None, edits, diff(unit.source, edits))


@dataclass(frozen=True, slots=True)
class _Converts:
    """A function whose page and offset become one address: where they stand, and its new name."""

    item: Item
    position: int
    name: str


class _Backend:
    """One file: which functions are converted, how each mention of them changes, and the edits for it."""

    def __init__(self, tree: Tree, unit: Unit, callbacks: tuple[Callback, ...], api: Api, target: str) -> None:
        self._tree, self._unit, self._callbacks = tree, unit, callbacks
        self._source: Source = unit.source
        self._renamed = {name: one for name, one in api.renamed.items() if release(one.since) <= release(target)}
        self._converted: dict[str, _Converts] = {}

    def edits(self) -> tuple[Edit, ...]:
        """All edits, in order. Raises Refused with the reason."""
        resources = self._resources()
        maps = self._named("map_page")
        for name in maps:
            self._converted[name] = self._callback(name)
        for name in maps:
            self._add_helpers(self._converted[name])
        made = list(self._members())
        for name, one in self._converted.items():
            wanted = self._wanted(one, self._refusal(one, resources)) if name in maps else self._wanted(one)
            made += converted(wanted)
            made += documented(wanted)
        for name in self._named("unmap_page"):
            made += self._unmap(self._own(name), resources)
        made += self._announced(resources)
        made += self._prototypes()
        made += self._calls(made)
        made += self._new_names(made)
        return self._checked(made)

    # ---- the tables

    def _named(self, member: str) -> list[str]:
        found = dict.fromkeys(one.value for one in self._callbacks if one.member == member and one.value != "NULL")
        wrong = next((name for name in found if _NAME.fullmatch(name) is None), None)
        if wrong is not None:
            raise Refused(f".{member} is set to {wrong}, which is no function's name")
        return list(found)

    def _resources(self) -> dict[str, str]:
        """The callback for resources that stands beside each one for pages, "" for none."""
        found: dict[str, str] = {}
        tables: dict[str, dict[str, str]] = {}
        for one in self._callbacks:
            if one.member in tables.setdefault(one.table, {}):
                raise Refused(f"{one.table} sets .{one.member} twice, as #if chooses")
            tables[one.table][one.member] = "" if one.value == "NULL" else one.value
        for table, members in tables.items():
            for resource, page in _WHOLE.items():
                beside = members.get(resource, "")
                if beside and not members.get(page):
                    raise Refused(f"{table} has .{resource} and no .{page} that could do it as well")
                if page in members and found.setdefault(members[page], beside) != beside:
                    raise Refused(f"{members[page]}() stands beside different callbacks for resources")
        return found

    def _members(self) -> Iterator[Edit]:
        """The new names of the members; those for resources go with their lines."""
        data = self._source.data
        for one in self._callbacks:
            if data[one.span.start : one.span.end] != one.member.encode():
                raise Refused(f"{one.table} sets .{one.member} by its position: name its members first")
            if one.member in _NEW:
                yield Edit(one.span.path, one.span.start, one.span.end, _NEW[one.member])
                continue
            line = self._source.offset(self._source.line(one.span.start))
            end = self._source.offset(self._source.line(one.span.start) + 1)
            if _ENTRY.fullmatch(data, line, end) is None:
                raise Refused(f".{one.member} does not stand on a line of its own")
            blank = self._source.offset(self._source.line(line) - 1)
            last = data[end : self._source.offset(self._source.line(end) + 1)].lstrip().startswith((b"}", b".unmap_r"))
            yield Edit(one.span.path, blank if last and not data[blank:line].strip() else line, end, "")

    # ---- the functions

    def _own(self, name: str) -> Item:
        found = self._unit.named("function", name)
        if len(found) != 1:
            raise Refused(f"{name}() is not defined in this file, or more than once")
        fn = self._unit.function(found[0])
        if not fn.static:
            folder = self._tree.module(self._source.path)
            other = next((path for path in self._tree.search(name, folder) if path != self._source.path), None)
            if other is not None:
                raise Refused(f"{name}() is named in {other} too")
        return found[0]

    def _callback(self, name: str) -> _Converts:
        item = self._own(name)
        if len(parameters(self._unit, item)) != 6 or pair(self._unit, item) != 1:
            raise Refused(f"{name}() does not have the parameters of .map_page")
        return _Converts(item, 1, self._new_name(name))

    def _new_name(self, name: str) -> str:
        new = name.replace("unmap_page", "unmap_phys").replace("map_page", "map_phys")
        if new != name and next(occurrences(self._source.blanked, new.encode()), None) is not None:
            raise Refused(f"{new} is a name in this file already")
        return new

    def _add_helpers(self, one: _Converts) -> None:
        """The file's own functions that a converted one hands page and offset on to, where the address is enough for
        them.
        """
        for call, position in self._handed(one):
            items = self._unit.named("function", call.name)
            if call.name in self._converted or len(items) != 1 or not self._unit.function(items[0]).static:
                continue
            if pair(self._unit, items[0]) != position or not self._only_called(call.name, items[0]):
                continue
            before = dict(self._converted)
            self._converted[call.name] = _Converts(items[0], position, self._new_name(call.name))
            self._add_helpers(self._converted[call.name])
            if not address_suffices(self._wanted(self._converted[call.name])):
                self._converted = before

    def _wanted(self, one: _Converts, refusal: Callable[[str], str] = lambda address: "") -> Wanted:
        return Wanted(self._unit, one.item, one.position, self._handing(one), refusal)

    def _handed(self, one: _Converts) -> Iterator[tuple[Call, int]]:
        """The calls in a converted function that are handed its page and offset, with their position."""
        page, offset = (p.name for p in parameters(self._unit, one.item)[one.position : one.position + 2])
        for _, call in self._unit.function(one.item).calls:
            for position, (first, second) in enumerate(pairwise(call.args)):
                if isinstance(first, Name) and isinstance(second, Name) and (first.text, second.text) == (page, offset):
                    yield call, position

    def _only_called(self, name: str, item: Item) -> bool:
        """Whether each mention of a function is its definition or a call in another."""
        called = {call.parts[0].start for _, _, call in self._calling(name)}
        return all(at in called or item.head <= at < item.params for at in self._mentions(name))

    def _mentions(self, name: str) -> Iterator[int]:
        return occurrences(self._source.blanked, name.encode())

    def _calling(self, name: str) -> Iterator[tuple[Item, Function, Call]]:
        for item in self._unit.items:
            if item.kind == "function" and any(item.body < at < item.end for at in self._mentions(name)):
                fn = self._unit.function(item)
                yield from ((item, fn, call) for _, call in fn.calls if call.name == name)

    def _handing(self, one: _Converts) -> Callable[[str], tuple[Edit, ...]]:
        """The edits of the calls that are handed page and offset, for the address's name."""

        def edits(address: str) -> tuple[Edit, ...]:
            made: list[Edit] = []
            for call, position in self._handed(one):
                if call.name in self._converted and self._converted[call.name].position == position:
                    made += self._call(call, self._converted[call.name], address)
                elif (entry := self._renamed.get(call.name)) is not None and (new := _by_entry(entry, call, address)):
                    made += rewrite(self._source, call, new)
            return tuple(made)

        return edits

    def _refusal(self, one: _Converts, resources: dict[str, str]) -> Callable[[str], str]:
        """What a callback that maps begins with: device memory is refused, or given to the callback for it."""
        names = [p.name for p in parameters(self._unit, one.item)]
        if b"DMA_ATTR_MMIO" in self._source.code[one.item.body : one.item.end]:
            return lambda address: ""
        device, size, direction, attrs = names[0], *names[3:]
        resource = resources.get(one.item.name, "")
        if not resource:
            return lambda address: f"\tif (unlikely({attrs} & DMA_ATTR_MMIO))\n\t\treturn DMA_MAPPING_ERROR;\n"
        self._like(resource, 5)
        return lambda address: (
            f"\tif ({attrs} & DMA_ATTR_MMIO)\n"
            f"\t\treturn {resource}({device}, {address}, {size}, {direction}, {attrs});\n"
        )

    def _like(self, name: str, count: int) -> Item:
        item = self._own(name)
        if len(parameters(self._unit, item)) != count:
            raise Refused(f"{name}() does not have the parameters of its callback")
        return item

    def _unmap(self, item: Item, resources: dict[str, str]) -> Iterator[Edit]:
        """What a callback that unmaps begins with, where another one did it for device memory."""
        resource = resources.get(item.name, "")
        names = [p.name for p in parameters(self._unit, item)]
        if len(names) != 5:
            raise Refused(f"{item.name}() does not have the parameters of .unmap_page")
        if not resource or b"DMA_ATTR_MMIO" in self._source.code[item.body : item.end]:
            return
        self._like(resource, 5)
        text = f"\tif ({names[4]} & DMA_ATTR_MMIO) {{\n\t\t{resource}({', '.join(names)});\n\t\treturn;\n\t}}\n"
        last = max((end for _, end in declarations(self._unit, item)), default=0)
        at = self._source.offset(self._source.line(last - 1 if last else item.body) + 1)
        yield Edit(self._source.path, at, at, f"\n{text}" if last else f"{text}\n")

    def _announced(self, resources: dict[str, str]) -> Iterator[Edit]:
        """Declarations of the callbacks for resources in front of what calls them, where they are defined behind it."""
        for name, resource in resources.items():
            if not resource or not name:
                continue
            user, item = self._own(name), self._own(resource)
            if item.head < user.head:
                continue
            at = self._source.offset(self._source.line(user.head))
            while at and self._source.data[self._source.offset(self._source.line(at) - 1) : at].strip():
                at = self._source.offset(self._source.line(at) - 1)
            close = self._source.code.rfind(b")", item.params, item.body) + 1
            written = self._source.data[item.head : close].decode("utf-8", "surrogateescape")
            yield Edit(self._source.path, at, at, f"{written};\n\n")

    def _announcements(self, name: str) -> dict[int, Item]:
        """The declarations of a function in front of its definition, by where its name stands."""
        text, found = self._source.code, dict[int, Item]()
        for at in self._mentions(name):
            opening = text.find(b"(", at)
            end = text.find(b";", at)
            if self._unit.item_at(at) is None and end > 0 and _PROTOTYPE.fullmatch(text, at + len(name), end + 1):
                head = text.rfind(b"\n", 0, at) + 1
                found[at] = Item("function", name, head, opening, end, end + 1)
        return found

    def _prototypes(self) -> Iterator[Edit]:
        """The parameters of those that are converted."""
        for name, one in self._converted.items():
            for item in self._announcements(name).values():
                if pair(self._unit, item) != one.position:
                    raise Refused(f"{name}() is declared with other parameters than it has")
                yield listed(self._unit, item, one.position, "phys")

    # ---- what calls them

    def _calls(self, made: list[Edit]) -> Iterator[Edit]:
        """The other calls of what is converted, each with the address of its page's byte."""
        done = {(edit.start, edit.end) for edit in made}
        for name, one in self._converted.items():
            for _, _, call in self._calling(name):
                if any(start <= call.start < end for start, end in done):
                    continue
                if reason := check.broken(self._source, call):
                    raise Refused(f"a call of {name}() is not whole: {reason}")
                if len(call.args) != len(parameters(self._unit, one.item)):
                    raise Refused(f"{name}() is called with {len(call.args)} arguments")
                yield from self._call(call, one, address_of(self._source, *call.args[one.position : one.position + 2]))

    def _call(self, call: Call, one: _Converts, address: str) -> tuple[Edit, ...]:
        kept: list[int | str] = [*range(one.position), address, *range(one.position + 2, len(call.args))]
        return rewrite(self._source, call, NewCall(one.name, tuple(kept)))

    def _new_names(self, made: list[Edit]) -> Iterator[Edit]:
        """Each other mention of what has a new name, comments included; one that is neither is a reason to refuse."""
        names = {name: one.name for name, one in self._converted.items()}
        names |= {name: self._new_name(name) for name in self._named("unmap_page")}
        held = {self._unit.item_at(one.span.start) for one in self._callbacks}
        for name, new in names.items():
            item = self._own(name)
            called = {call.parts[0].start for _, _, call in self._calling(name)}
            for at in occurrences(self._source.data, name.encode()):
                edited = any(edit.start <= at < edit.end for edit in made)
                code = self._source.blanked[at : at + 1] == self._source.data[at : at + 1]
                head = item.head <= at < item.params or at in self._announcements(name)
                table = self._unit.item_at(at) in held and self._unit.item_at(at) is not None
                if code and not (edited or head or table or at in called):
                    raise Refused(f"{name} is also named in line {self._source.line(at)}, in another way than a call")
                if not edited and new != name and (code or self._in_comment(at)):
                    yield Edit(self._source.path, at, at + len(name), new)

    def _in_comment(self, at: int) -> bool:
        """Whether a byte that is no code stands in a comment; else it stands in a text."""
        line = self._source.data[self._source.offset(self._source.line(at)) : at]
        return line.count(b'"') % 2 == 0

    # ---- the result

    def _checked(self, made: list[Edit]) -> tuple[Edit, ...]:
        """The edits, if the file that they make is taken apart as it was, with new names."""
        edits = tuple(sorted(_joined(made), key=lambda edit: (edit.start, edit.end)))
        if any(other.start < one.end for one, other in pairwise(edits)):
            raise Refused("two edits change the same place")
        after = Unit(Source(self._source.path, apply(self._source.data, edits)))
        new = {name: one.name for name, one in self._converted.items()}
        new |= {name: self._new_name(name) for name in self._named("unmap_page")}
        was = [(one.kind, new.get(one.name, one.name)) for one in self._unit.items]
        if was != [(one.kind, one.name) for one in after.items]:
            raise Refused("the file is not taken apart as before when it is rewritten")
        for before, item in zip(self._unit.items, after.items, strict=True):
            if item.kind == "function" and self._unit.function(before).clean and not after.function(item).clean:
                raise Refused(f"{item.name}() is not parsed when it is rewritten")
        return edits


def _joined(edits: list[Edit]) -> Iterator[Edit]:
    """The edits, those that add at one place as one."""
    added: dict[int, Edit] = {}
    for edit in edits:
        if edit.start != edit.end:
            yield edit
        elif edit.start in added:
            added[edit.start] = Edit(edit.path, edit.start, edit.end, added[edit.start].text + edit.text)
        else:
            added[edit.start] = edit
    yield from added.values()


def _by_entry(entry: Renamed, call: Call, address: str) -> NewCall | None:
    """The new form of a renamed function's call that is handed page and offset."""
    forms = [templates(one.text)[0] for one in entry.rewrite]
    if not forms or _PAGE_AND_OFFSET not in forms[-1].after_arguments:
        return None
    form = forms[-1]
    if len(form.before_roles) != len(call.args) or any(
        wanted != _PAGE_AND_OFFSET and wanted not in form.before_roles for wanted in form.after_arguments
    ):
        return None
    return NewCall(
        form.after,
        tuple(
            address if wanted == _PAGE_AND_OFFSET else form.before_roles.index(wanted)
            for wanted in form.after_arguments
        ),
    )
