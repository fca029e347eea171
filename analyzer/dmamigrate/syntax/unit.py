# SPDX-License-Identifier: GPL-2.0-only
"""One file taken apart on demand: its functions, macros, types and variables, each parsed only when asked for."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property

from dmamigrate.syntax import parts
from dmamigrate.syntax.dialect import blank_annotations
from dmamigrate.syntax.expr import Expr
from dmamigrate.syntax.functions import CType, Function
from dmamigrate.syntax.items import Item, items
from dmamigrate.syntax.source import Source

_INCLUDE = re.compile(rb'#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]')

_STRUCT = re.compile(rb"\b(?:struct|union) (\w+)(?:\s+__\w+)*\s*\{")
_BEHIND = re.compile(rb"\}[\s*]*(\w+)")
_OPENS = re.compile(rb"(?:\s+__\w+)*\s*\{")


_UNINDENTED = re.compile(rb"^[^ \t\n#/*][^\n(]*\([^\n]*", re.MULTILINE)
# What stands between the brace that closes a type and the semicolon: names, with stars and brackets.
_NAME = rb"\b\w+(?:\s*\[[^\]]*\])*"
_TAIL = re.compile(rb"[*\s]*" + _NAME + rb"(?:[*\s,]*" + _NAME + rb")*\s*(?:=[^;]*)?;")
_DECLARATORS = re.compile(rb"(\**)\s*\b([A-Za-z_]\w*)\s*((?:\[[^\]]*\]\s*)*)")
_TYPEDEF = re.compile(
    rb"\btypedef\s+((?:const\s+)?(?:(?:struct|union|enum)\s+\w+|\w+(?:[ \t]+\w+)*?))\s*([*\s]*)\b(\w+)\s*;"
)
_BEFORE_PARENTHESIS = re.compile(rb"\b(\w+)\s*\(")
_TO_BODY = re.compile(rb"\s*\([^;{}]*[;{}]")
# names of parameters, and the declaration of one of them
_OLD_STYLE = re.compile(rb"\s*\(\s*\w+(?:\s*,\s*\w+)*\s*\)\s*[A-Za-z_][\w\s*,\[\]]*;")
_DEFINE = re.compile(rb"[ \t]*#[ \t]*define[ \t]+")
_DIRECTIVE = re.compile(rb"[ \t]*#(?:[ \t]*define[ \t]+(\w+))?")
_LONGEST = 400  # bytes of blanks that may stand behind the backslash of a line
_DECLARED = re.compile(rb"\s*(?:[;,\[=]|__|/)")
_KEYWORDS = (b"struct", b"union", b"enum")
_WORD = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


def may_define_struct(data: bytes, tag: bytes) -> bool:
    """Whether `struct tag {` or `union tag {` stands in `data`: what most files that mention a struct have not."""
    for word in (b"struct ", b"union "):
        at = data.find(word + tag)
        while at >= 0:
            if _OPENS.match(data, at + len(word) + len(tag)):
                return True
            at = data.find(word + tag, at + 1)
    return False


def may_define_structs(data: bytes) -> set[bytes]:
    """The tags before an opening brace, and with a typedef the names behind a closing one: what may be a struct's."""
    names = set(_STRUCT.findall(data))
    return names | set(_BEHIND.findall(data)) if b"typedef" in data else names


def may_define_functions(data: bytes) -> set[bytes]:
    """The names before an opening parenthesis on lines that are not indented, as in a definition and never in a
    call.
    """
    return {name for line in _UNINDENTED.findall(data) for name in _BEFORE_PARENTHESIS.findall(line)}


def occurrences(data: bytes, word: bytes) -> Iterator[int]:
    """Where `word` stands as a whole identifier."""
    at = data.find(word)
    while at >= 0:
        end = at + len(word)
        if (at == 0 or data[at - 1] not in _WORD) and (end == len(data) or data[end] not in _WORD):
            yield at
        at = data.find(word, end)


def holds_word(data: bytes, word: bytes) -> bool:
    """Whether `word` stands in `data` as a whole identifier; faster than a pattern, which looks at every byte."""
    return next(occurrences(data, word), None) is not None


def may_define_function(data: bytes, name: bytes) -> bool:
    """Whether a body may follow `name` and its parameters: what most files that name a function have not."""
    for at in occurrences(data, name):
        found = _TO_BODY.match(data, at + len(name))
        # in a comment there may be anything
        if found is not None and (found.group().endswith(b"{") or b"/" in found.group()):
            return True
        if found is not None and _OLD_STYLE.match(data, at + len(name)):
            return True
    return False


def _may_define_macro(data: bytes, name: bytes) -> bool:
    return any(
        _DEFINE.fullmatch(data, data.rfind(b"\n", 0, at) + 1, at) is not None or b"*/" in data[max(0, at - 80) : at]
        for at in occurrences(data, name)
    )


def _may_follow_type(data: bytes, name: bytes) -> bool:
    """Whether `name` may stand between the brace that closes a type and the semicolon."""
    for at in occurrences(data, name):
        if _DECLARED.match(data, at + len(name)) is None:
            continue
        before = data[data.rfind(b";", 0, at) + 1 : at]
        closed = before.rfind(b"}")
        line = before[before.rfind(b"\n") + 1 :]
        if b"*/" in line or (closed >= 0 and b"{" not in before[closed:] and not before.rstrip().endswith(_KEYWORDS)):
            return True
    return False


class Unit:
    """A source file and what has been parsed of it so far."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._functions: dict[int, Function] = {}
        self._macros: dict[str, tuple[Function, ...]] = {}
        self._fields: dict[str, dict[str, CType] | None] = {}
        self._variables: dict[str, CType | None] = {}
        self._unions: dict[str, tuple[tuple[frozenset[str], ...], ...]] = {}

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """The top-level items, in order."""
        return tuple(items(self.source))

    @cached_property
    def _heads(self) -> list[int]:
        return [item.head for item in self.items]

    @cached_property
    def _by_name(self) -> dict[tuple[str, str], list[Item]]:
        result: dict[tuple[str, str], list[Item]] = {}
        for item in self.items:
            result.setdefault((item.kind, item.name), []).append(item)
        return result

    @cached_property
    def includes(self) -> tuple[tuple[str, bool], ...]:
        """Each #include as (name, whether in quotes)."""
        data = self.source.data
        return tuple(
            (m.group(2).decode("latin-1"), m.group(1) == b'"')
            for m in _INCLUDE.finditer(data)
            if not data[data.rfind(b"\n", 0, m.start()) + 1 : m.start()].strip(b" \t\xef\xbb\xbf")
        )

    def named(self, kind: str, name: str) -> list[Item]:
        """The items of this kind and name; more than one where #if chooses."""
        return self._by_name.get((kind, name), [])

    def declares(self, name: str) -> bool:
        """Whether function `name` is declared here with a body elsewhere, as beside the empty one for what is
        configured out.
        """
        prototype = rb"[\w*]\s+\**" + re.escape(name.encode()) + rb"\s*\([^;{}]*;"
        for match in re.finditer(prototype, self.source.blanked):
            line = self.source.blanked.rfind(b"\n", 0, match.start()) + 1
            if self.item_at(match.start()) is None and b"static" not in self.source.blanked[line : match.end()].split():
                return True
        return False

    def item_at(self, offset: int) -> Item | None:
        """The item that holds the byte at `offset`."""
        index = bisect_right(self._heads, offset) - 1
        if index >= 0 and offset < self.items[index].end:
            return self.items[index]
        return None

    def function(self, item: Item) -> Function:
        """The function that `item` is, parsed once."""
        if item.head not in self._functions:
            self._functions[item.head] = parts.function(self.source, item)
        return self._functions[item.head]

    def functions(self, name: str) -> list[Function]:
        """The definitions of `name` here; more than one where #if chooses."""
        if not may_define_function(self.source.data, name.encode()):
            return []
        return [self.function(item) for item in self.named("function", name)]

    def functions_with(self, pattern: re.Pattern[bytes]) -> Iterator[Function]:
        """The functions in which a pattern matches, each once, in order."""
        seen: set[int] = set()
        for found in pattern.finditer(self.source.blanked):
            item = self.item_at(found.start())
            if item is not None and item.kind == "function" and item.head not in seen:
                seen.add(item.head)
                yield self.function(item)

    def function_at(self, offset: int) -> Function | None:
        """The function, or the macro, that holds the byte at `offset`."""
        item = self.item_at(offset)
        if item is not None and item.kind == "function":
            return self.function(item)
        name = self.defined_at(offset)
        return next((one for one in self.macros(name) if one.start <= offset < one.end), None) if name else None

    def defined_at(self, offset: int) -> str | None:
        """The macro whose #define holds the byte at `offset`, "" in another directive, None in none."""
        text = self.source.blanked
        line = text.rfind(b"\n", 0, offset) + 1
        while line and text[max(0, line - _LONGEST) : line - 1].rstrip(b" \t\r").endswith(b"\\"):
            line = text.rfind(b"\n", 0, line - 1) + 1
        found = _DIRECTIVE.match(text, line)
        return (found[1] or b"").decode() if found is not None else None

    def macros(self, name: str) -> tuple[Function, ...]:
        """The #defines of `name` here, as functions; more than one where #if chooses."""
        if name not in self._macros:
            self._macros[name] = tuple(self._find_macros(name))
        return self._macros[name]

    def _find_macros(self, name: str) -> Iterator[Function]:
        word = name.encode()
        if not _may_define_macro(self.source.data, word):
            return
        define = re.compile(
            rb"^[ \t]*#[ \t]*define[ \t]+" + re.escape(word) + rb"(\(([^()]*)\))?(?=\s)((?:[^\n\\]|\\.)*)",
            re.MULTILINE | re.DOTALL,
        )
        for found in define.finditer(self.source.blanked):
            if found.group(3).strip():
                params = tuple(p.strip().decode("latin-1") for p in (found.group(2) or b"").split(b",") if p.strip())
                yield parts.macro(self.source, name, params, found.start(3), found.end(3))

    def fields(self, tag: str) -> dict[str, CType] | None:
        """The members of struct or union `tag` if it is defined here."""
        if tag not in self._fields:
            item = self._type(tag)
            self._fields[tag] = parts.fields(self.source.code[item.body : item.end]) if item is not None else None
        return self._fields[tag]

    def _type(self, tag: str) -> Item | None:
        """Where struct or union `tag` is defined here; one without a tag goes by the name behind it."""
        data, word = self.source.data, tag.encode()
        if word not in data:
            return None
        found = self.named("type", tag) if may_define_struct(data, word) else []
        tail = self._tails.get(tag) if not found and _may_follow_type(data, word) else None
        return found[0] if found else tail[2] if tail is not None and not tail[2].name else None

    def sharing(self, tag: str, member: str) -> frozenset[str]:
        """The members of struct or union `tag`, defined here, that share memory with `member`."""
        if tag not in self._unions:
            item = self._type(tag)
            text = self.source.code[item.body : item.end] if item is not None else b""
            whole = item is not None and b"union" in self.source.code[item.head : item.body].split()
            self._unions[tag] = parts.unions(text, whole) if item is not None and (whole or b"union" in text) else ()
        return frozenset(
            name
            for group in self._unions[tag]
            if (mine := _alternative(group, member)) is not None
            for other in group
            if other is not mine
            for name in other
        )

    @cached_property
    def _tails(self) -> dict[str, tuple[bool, CType, Item]]:
        """What is declared behind the closing brace of a struct or union: by name, whether it is a typedef, its
        type.
        """
        result: dict[str, tuple[bool, CType, Item]] = {}
        for item in self.items:
            if item.kind != "type":
                continue
            words = self.source.code[item.head : item.body].split()
            kind = "union" if b"union" in words else "enum" if b"enum" in words else "struct"
            tail = self.source.code[item.end : self.source.code.find(b";", item.end) + 1]
            names = _DECLARATORS.findall(blank_annotations(tail)) if _TAIL.fullmatch(blank_annotations(tail)) else []
            for stars, name, brackets in names:
                tag = item.name or name.decode()
                pointers = stars.count(b"*") + (b"[" in brackets)
                result[name.decode()] = (b"typedef" in words, CType(f"{kind} {tag}", pointers), item)
        return result

    @cached_property
    def _typedefs(self) -> dict[str, CType]:
        """The typedefs that stand here, by name."""
        result = {name: kind for name, (typedef, kind, _) in self._tails.items() if typedef}
        if b"typedef" in self.source.data:
            for found in _TYPEDEF.finditer(self.source.code):
                base = " ".join(found.group(1).decode("latin-1").split())
                result.setdefault(found.group(3).decode("latin-1"), CType(base, found.group(2).count(b"*")))
        return result

    def typedef(self, name: str) -> CType | None:
        """What a typedef of this name here stands for; None if there is none."""
        return self._typedefs.get(name) if name.encode() in self.source.data else None

    def variable(self, name: str) -> CType | None:
        """The type of the variable of this name that is declared here outside of functions, None if there is none."""
        if name not in self._variables:
            self._variables[name] = self._declared(name) if name.encode() in self.source.data else None
        return self._variables[name]

    def _declared(self, name: str) -> CType | None:
        tail = self._tails.get(name)
        if tail is not None and not tail[0]:
            return tail[1]
        code = self.source.code
        for found in re.finditer(rb"\b" + re.escape(name.encode()) + rb"\b(?=\s*(?:\[[^\]]*\]\s*)*[=;,{])", code):
            item = self.item_at(found.start())
            if item is not None and not (item.kind == "variable" and found.start() < item.body):
                continue
            start = max(code.rfind(end, 0, found.start()) for end in (b";", b"}", b"\n\n")) + 1
            kind = parts.declared(code[start : found.end()], name)
            if kind is not None:
                return kind
        return None

    def initial_value(self, item: Item) -> Expr:
        """The initialiser of a top-level variable."""
        return parts.initial_value(self.source, item)


def _alternative(group: tuple[frozenset[str], ...], member: str) -> frozenset[str] | None:
    return next((one for one in group if member in one), None)
