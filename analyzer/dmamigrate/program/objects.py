# SPDX-License-Identifier: GPL-2.0-only
"""Who stores to a struct as a whole: by assignment, through a pointer to it, or by a call that copies to it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dmamigrate.program.tree import Tree
from dmamigrate.program.types import Types, struct_tag
from dmamigrate.syntax.expr import Assign, Call, Cast, Expr, Index, Member, Name, Unary, pointee, strip, walk
from dmamigrate.syntax.functions import CType, Function
from dmamigrate.syntax.unit import Unit

_WORDS = re.compile(rb"\w+")
_THROUGH = rb"\*\s*((?:\w+\s*(?:->|\.)\s*)*\w+)\s*(?==(?!=))"
# An object seen as another one.
_CAST = (
    rb"\(\s*(?!void\b|char\b|u8\b|uint8_t\b)(?:struct\s+\w+|\w+)\s*\*+\s*\)\s*"
    rb"(&[^,;]{1,120}|\w+(?:->\w+)*(?![\w(>]))"
)
# Bytes that are seen as a struct.
_VIEW = rb"=\s*\(\s*(?:const\s+)?(?:struct\s+|union\s+)?(?:%s)\s*\*\s*\)\s*(?=[\w(*])"
_BYTES = frozenset({"char", "unsigned char", "u8", "__u8", "s8", "uint8_t"})
_NUMBERS = frozenset(
    {"phys_addr_t", "dma_addr_t", "u64", "u32", "uint64_t", "uint32_t", "unsigned long", "resource_size_t"}
)
_NOTHING = rb"(?!)"
_TYPE = re.compile(rb"(?<!\w)(?!(?:else|do|return)\b)\w+[\s*]*\Z")


@dataclass(frozen=True, slots=True)
class Overwrite:
    """A store to an object as a whole, at one node of a function, by assignment or by the call `by`.

    `value` is the object that it is copied from, None where that is not one.
    """

    fn: Function
    node: int
    place: Expr
    value: Expr | None
    by: str


@dataclass(frozen=True, slots=True)
class _Declared:
    """The names of what is declared as an object, as what holds one, or as a pointer to either, and by the file.

    `stored` is where a text may store to one as a whole by its name, in group 1, or by the type that it is seen as.
    """

    names: frozenset[bytes]
    by_file: dict[str, frozenset[bytes]]
    stored: re.Pattern[bytes]

    def may_be(self, match: re.Match[bytes], name: bytes, path: str) -> bool:
        """Whether a place, by its name and what stands before the match, may be such a member or, where it is a
        variable, one seen in the file.
        """
        words = _WORDS.findall(name)
        before = match.string[max(0, match.start() - 64) : match.start()]
        member = len(words) > 1 or before.rstrip().endswith((b"->", b"."))
        return words[-1] in (self.names if member else self.by_file.get(path, self.names))


@dataclass(frozen=True, slots=True)
class _Store:
    """A store to some object as a whole, wherever it is: through a pointer of this name, or told by one of `words`;
    with neither, by its type.
    """

    match: re.Match[bytes]
    through: bytes
    words: frozenset[bytes]


class Overwrites:
    """Answers for one tree."""

    def __init__(
        self, tree: Tree, types: Types, copies: dict[str, tuple[int, int | None]], filled: frozenset[str]
    ) -> None:
        """`copies` are calls that overwrite what an argument points to, by which, and from which other one.

        `filled` are calls that return memory whose contents come from elsewhere.
        """
        self._filled = filled
        self._made = rb"=\s*(?:\([^()]*\)\s*)?(?:" + (any_of(filled) or _NOTHING) + rb")\s*\("
        self._tree = tree
        self._types = types
        self._copies = copies
        first = any_of(name for name, (to, _) in copies.items() if not to) or _NOTHING
        later = any_of(name for name, (to, _) in copies.items() if to) or _NOTHING
        copied = rb"\b(?:" + first + rb")\s*\(([^,;]*),|\b(?:" + later + rb")\s*\(([^;]{1,200})"
        self._any = re.compile(b"|".join((_THROUGH, copied, _CAST, self._made)))
        self._stores: dict[str, tuple[_Store, ...]] = {}
        self._declared: dict[tuple[str, str], _Declared] = {}
        self._found: dict[tuple[str, str], tuple[Overwrite, ...]] = {}

    def of(self, unit: Unit, tag: str) -> tuple[Overwrite, ...]:
        """The stores of one file to whole objects that may be, or hold, a struct `tag`."""
        key = (unit.source.path, tag)
        if key not in self._found:
            self._found[key] = tuple(self._in_unit(unit, tag))
        return self._found[key]

    def _names(self, tag: str, folder: str) -> _Declared:
        if (tag, folder) not in self._declared:
            self._declared[tag, folder] = self._find_names(tag, folder)
        return self._declared[tag, folder]

    def _find_names(self, tag: str, folder: str) -> _Declared:
        types = {tag.partition("::")[0]}
        inner = {tag.rpartition(".")[2].rpartition("::")[2].encode()} if "::" in tag else set()
        units = [unit for path in self._tree.search(min(types), folder) if (unit := self._tree.unit(path)) is not None]
        by_file: dict[str, set[bytes]] = {unit.source.path: set(inner) for unit in units}
        objects = set(inner)
        for _ in range(2):  # the struct itself, then what holds it
            declared = re.compile(rb"\b(?:" + any_of(types) + rb")\b([\s*,\w]+)")
            plain = re.compile(rb"\b(?:" + any_of(types) + rb")\s+(\w+)\s*[;,\[=]")
            for unit in units:
                text = unit.source.blanked
                for found in declared.finditer(text):
                    by_file[unit.source.path].update(_declared(found.group(1)))
                for found in plain.finditer(text):
                    objects.add(found.group(1))
                    holder = unit.item_at(found.start())
                    if holder is not None and holder.kind == "type" and holder.name:
                        types.add(holder.name)
        shared = frozenset(word for path, words in by_file.items() if path.endswith(".h") for word in words)
        stored = (
            rb"\b(" + b"|".join(sorted(objects)) + rb")\s*(?:\[[^\]]*\]\s*)*(?==(?!=))"
            if objects
            else rb"(" + _NOTHING + rb")"
        )
        return _Declared(
            frozenset(word for words in by_file.values() for word in words),
            {path: shared | words for path, words in by_file.items()},
            re.compile(stored + b"|" + _VIEW % any_of(types)),
        )

    def _anywhere(self, unit: Unit) -> tuple[_Store, ...]:
        """The stores of a file to objects as wholes that are no variables or members by name, of whatever struct."""
        path = unit.source.path
        if path not in self._stores:
            found: list[_Store] = []
            for match in self._any.finditer(unit.source.blanked):
                through, told = match.group(1) or b"", match.group(2) or match.group(3) or match.group(4)
                before = match.string[max(0, match.start() - 64) : match.start()]
                if not through or not _TYPE.search(before):  # else a pointer that is declared with a value
                    found.append(_Store(match, through, frozenset(_WORDS.findall(told or b""))))
            self._stores[path] = tuple(found)
        return self._stores[path]

    def _in_unit(self, unit: Unit, tag: str) -> Iterator[Overwrite]:
        declared, path = self._names(tag, self._tree.module(unit.source.path)), unit.source.path
        places = [
            match.start()
            for match in declared.stored.finditer(unit.source.blanked)
            if match.group(1) is None or declared.may_be(match, match.group(1), path)
        ]
        for one in self._anywhere(unit):
            if (
                declared.may_be(one.match, one.through, path)
                if one.through
                else not one.words or one.words & declared.names
            ):
                places.append(one.match.start())
        seen: set[int] = set()
        for place in sorted(places):
            holder = unit.item_at(place)
            if holder is None or holder.kind != "function" or holder.head in seen:
                continue
            seen.add(holder.head)
            yield from self._in_function(unit.function(holder), unit, declared.names)

    def _in_function(self, fn: Function, unit: Unit, names: frozenset[bytes]) -> Iterator[Overwrite]:
        for index, node in enumerate(fn.nodes):
            for expr in walk(node.expr) if node.expr is not None else ():
                if isinstance(expr, Assign) and expr.op == "=" and (by := self._filled_by(expr.parts[1], fn, unit)):
                    yield Overwrite(fn, index, Unary(expr.start, expr.end, (expr.parts[0],), "*"), None, by)
                elif isinstance(expr, Assign) and expr.op == "=" and _last_name(expr.parts[0]).encode() in names:
                    if self._is_object(expr.parts[0], fn, unit):
                        yield Overwrite(fn, index, expr.parts[0], expr.parts[1], "")
                elif isinstance(expr, Call) and expr.name in self._copies:
                    to, source = self._copies[expr.name]
                    if to < len(expr.args):
                        taken = expr.args[source] if source is not None and source < len(expr.args) else None
                        value = pointee(taken) if taken is not None else None
                        yield Overwrite(fn, index, pointee(expr.args[to]), value, expr.name)
                elif isinstance(expr, Cast) and expr.pointers == 1:
                    yield from self._seen_as(expr, fn, index, unit)

    def _seen_as(self, cast: Cast, fn: Function, index: int, unit: Unit) -> Iterator[Overwrite]:
        """What is seen as an object of another type, which is no part of it and holds none: its members have other
        names there.
        """
        named = _object_at(cast.parts[0])
        place = named if named is not None else pointee(cast.parts[0])
        kind = self._types.of(place, fn, unit)
        if kind is None or kind.pointers or not struct_tag(kind):
            return
        seen = self._types.resolve(CType(cast.type), unit)
        tag, other = struct_tag(kind), struct_tag(seen)
        if other == tag or not (other or (named is None and cast.type in _NUMBERS)):
            return
        if named is None and (self._holds(tag, seen, unit) or self._holds(other, kind, unit)):
            return
        yield Overwrite(fn, index, place, None, f"struct {other}" if other else cast.type)

    def _holds(self, tag: str, kind: CType, unit: Unit) -> bool:
        """Whether a struct is not known, or has a struct of this kind as a member."""
        found = self._tree.struct(tag.partition("::")[0], unit) if tag else None
        inner = struct_tag(kind)
        if not inner or (tag and found is None):
            return bool(tag and inner)
        held = (self._types.resolve(one, unit) for one in found[0].values()) if found is not None else ()
        return any(one.pointers == 0 and struct_tag(one) == inner for one in held)

    def _filled_by(self, value: Expr, fn: Function, unit: Unit) -> str:
        """What filled the memory that a pointer is made to point to, if that is not known by the names of members."""
        inner = strip(value)
        if isinstance(inner, Call) and inner.name in self._filled:
            return inner.name
        if isinstance(value, Cast) and value.pointers == 1:
            kind = self._types.of(inner, fn, unit)
            if kind is not None and kind.pointers == 1 and kind.base in _BYTES:
                return fn.source.text(inner.start, inner.end)
        return ""

    def _is_object(self, place: Expr, fn: Function, unit: Unit) -> bool:
        kind = self._types.of(strip(place), fn, unit)
        return kind is not None and kind.pointers == 0 and bool(struct_tag(kind))


def _declared(text: bytes) -> Iterator[bytes]:
    """The words of the declarators behind a type: after a comma there is one, else it is the next parameter, of its own
    type.
    """
    for number, part in enumerate(text.split(b",")):
        words = _WORDS.findall(part)
        if number and len(words) > 1:
            return
        yield from words


def _object_at(argument: Expr) -> Expr | None:
    """What `&place` names, None for anything else."""
    inner = strip(argument)
    return strip(inner.parts[0]) if isinstance(inner, Unary) and inner.op == "&" else None


def _last_name(place: Expr) -> str:
    """The variable or member that a place is, is an element of, or is what it points to; "" for any other."""
    inner = strip(place)
    while isinstance(inner, Index) or (isinstance(inner, Unary) and inner.op == "*"):
        inner = strip(inner.parts[0])
    return inner.field if isinstance(inner, Member) else inner.text if isinstance(inner, Name) else ""


def any_of(words: Iterable[str]) -> bytes:
    """The words as alternatives of a pattern."""
    return b"|".join(re.escape(word.encode()) for word in sorted(words))
