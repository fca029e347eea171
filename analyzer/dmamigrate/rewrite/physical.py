# SPDX-License-Identifier: GPL-2.0-only
"""A function that takes a page and an offset made to take the physical address of the same byte.

include/asm-generic/memory_model.h has page_to_phys() and phys_to_page(), include/linux/mm.h offset_in_page(). Where the
body adds up an address again, that sum becomes the new parameter; where it needs the page itself, two locals bring page
and offset back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dmamigrate.findings import Edit
from dmamigrate.rewrite.layout import indent, width
from dmamigrate.syntax.expr import Binary, Call, Constant, Expr, Index, Member, Name, strip, walk
from dmamigrate.syntax.functions import Function
from dmamigrate.syntax.items import Item
from dmamigrate.syntax.source import Source, spaces
from dmamigrate.syntax.unit import Unit, holds_word

_WIDE = 80
_NAMES = ("phys", "paddr", "phys_addr")
_PAGE = re.compile(rb"\s*struct\s+page\s*\*\s*(\w+)\s*")
_OFFSET = re.compile(rb"\s*(?:unsigned\s+(?:long|int)|size_t)\s+(\w+)\s*")
_LAST = re.compile(rb"(\w+)\s*\Z")
_ADDRESS = "@"  # in a form, where the address goes
_MADE_OF_A_PAGE = {"page_to_phys": _ADDRESS, "page_address": f"phys_to_virt({_ADDRESS})"}
# what takes page and offset for what they are, so that an address cannot stand in
_ASKS_THE_PAGE = re.compile(rb"\b(?:PageHighMem|kmap\w*|nth_page|is_\w*page)\s*\(")
_STEPPED = rb"(?:&\s*{0}\b|(?:\+\+|--)\s*{0}\b|\b{0}\s*(?:\+\+|--|(?:[-+*/%%&|^]|<<|>>)?=(?!=)))"
# callees in a declaration before which a refusal need not come: they ask, and take or change nothing
_ASKS = re.compile(
    r"(?:\w*_)?to_\w+|\w*get_\w*(?:base|data|mapping|table|domain|mask)\w*|\w*offset_in_page|[A-Z0-9_]+|container_of"
    r"|page_address|roundup|round_up|round_down|min|max|min_t|max_t|__pa|__va|sizeof|(?:un)?likely"
)
_NO_DECLARATION = re.compile(rb"\s*(?:if|for|while|do|switch|return|goto|case|default)\b|\s*[{}]")


class Refused(Exception):
    """Why a function is not converted; the text is the reason."""


# the address of the byte at an offset of a page, where the kernel has a shorter way to say it
_SHORTER = (
    (re.compile(r"sg_page\((.+)\)"), "{}->offset", "sg_phys({})"),
    (re.compile(r"virt_to_page\((.+)\)"), "offset_in_page({})", "virt_to_phys({})"),
    (re.compile(r"phys_to_page\((.+)\)"), "offset_in_page({})", "{}"),
    (re.compile(r"phys_to_page\((.+)\)"), "{} & ~PAGE_MASK", "{}"),
    (re.compile(r"phys_to_page\((.+)\)"), "{} & (PAGE_SIZE - 1)", "{}"),
    (re.compile(r"(\w+)->bv_page"), "{}->bv_offset", "bvec_phys({})"),
    (re.compile(r"(\w+)\.bv_page"), "{}.bv_offset", "bvec_phys(&{})"),
)


def address_of(source: Source, page: Expr, offset: Expr) -> str:
    """The physical address of the byte at an offset of a page, as kernel code writes it."""
    first, second = (source.text(one.start, one.end) for one in (page, offset))
    for form, beside, shorter in _SHORTER:
        found = form.fullmatch(first)
        if found is not None and second == beside.format(found.group(1)):
            return shorter.format(found.group(1))
    if re.fullmatch(r"0[uUlL]*", second):
        return f"page_to_phys({first})"
    plain = isinstance(offset, Name | Constant | Call | Member | Index)
    return f"page_to_phys({first}) + {second if plain else f'({second})'}"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter as written, between these bytes; `name` is "" where it has none."""

    start: int
    end: int
    name: str


def parameters(unit: Unit, item: Item) -> tuple[Parameter, ...]:
    """The parameters of a function, in order. Raises Refused where a comment or an #if stands among them."""
    text, data = unit.source.code, unit.source.data
    end = text.rfind(b")", item.params, item.body)
    inside = data[item.params + 1 : end]
    if b"#" in inside or b"/*" in inside or b"//" in inside:
        raise Refused(f"a comment or an #if stands among the parameters of {item.name}()")
    found, depth, start = [], 0, item.params + 1
    for at in range(item.params + 1, end + 1):
        character = text[at : at + 1]
        if (character == b"," and depth == 0) or at == end:
            name = _LAST.search(text, start, at)
            found.append(Parameter(start, at, name.group(1).decode() if name is not None else ""))
            start = at + 1
        depth += {b"(": 1, b"[": 1, b")": -1, b"]": -1}.get(character, 0)
    return tuple(found)


def pair(unit: Unit, item: Item) -> int | None:
    """The position, from 0, of a page that is followed by an offset into it; None if no parameter is one."""
    text = unit.source.code
    given = parameters(unit, item)
    for position in range(len(given) - 1):
        one, other = given[position], given[position + 1]
        if _PAGE.fullmatch(text, one.start, one.end) and _OFFSET.fullmatch(text, other.start, other.end):
            return position
    return None


def declarations(unit: Unit, item: Item) -> Iterator[tuple[int, int]]:
    """The declarations that the body begins with, each with its semicolon; bytes. Raises Refused at an #if."""
    text, fn = unit.source.code, unit.function_at(item.body + 1)
    declared = [one.start for one in fn.variables if one.position < 0] if fn is not None else []
    at = item.body + 1
    while at < item.end:
        depth, end = 0, at
        while end < item.end and (depth > 0 or text[end : end + 1] != b";"):
            depth += {b"(": 1, b"[": 1, b"{": 1, b")": -1, b"]": -1, b"}": -1}.get(text[end : end + 1], 0)
            end += 1
        one = next((start for start in declared if at <= start < end), None)
        if one is None or _NO_DECLARATION.match(text, at) or b"{" in text[at:one]:
            return
        if b"#" in text[at:end]:
            raise Refused(f"an #if stands among the declarations of {item.name}()")
        start = at + len(text[at:end]) - len(text[at:end].lstrip())
        yield start, end + 1
        at = end + 1


@dataclass(frozen=True)
class _Body:
    """What a body becomes: the address's name, edits, the declaration that goes, and those that bring page and offset
    back.
    """

    name: str
    edits: tuple[Edit, ...]
    gone: tuple[int, int] | None
    back: str


@dataclass(frozen=True)
class Wanted:
    """A function to convert: its page stands at `position`, from 0, among the parameters, the offset behind it.

    `calls` has the edits of the calls in it that are handed both, for the name of the address. `refusal` are the
    statements, if any, that its body has to begin with, for that name.
    """

    unit: Unit
    item: Item
    position: int
    calls: Callable[[str], tuple[Edit, ...]] = lambda name: ()
    refusal: Callable[[str], str] = lambda name: ""


def converted(wanted: Wanted) -> tuple[Edit, ...]:
    """The edits that have a function take a physical address in place of a page and an offset.

    Raises Refused with the reason.
    """
    unit, item = wanted.unit, wanted.item
    fn = unit.function_at(item.body + 1)
    if fn is None or not fn.clean:
        raise Refused(f"{item.name}() cannot be parsed")
    params = parameters(unit, item)
    declared = tuple(declarations(unit, item))
    body = _body(wanted, fn, params, declared)
    kept = tuple(one for one in declared if one != body.gone)
    # an address that is not used needs no refusal: such a callback fails anyway
    refusal = wanted.refusal(body.name) if body.edits or body.back or body.gone else ""
    if refusal and (why := _acts_first(fn, kept)):
        raise Refused(f"the test for DMA_ATTR_MMIO would come behind {why}(), with which {item.name}() begins")
    return (listed(unit, item, wanted.position, body.name), *body.edits, *_beginning(wanted, kept, body, refusal))


def address_suffices(wanted: Wanted) -> bool:
    """Whether the body needs nothing but the address."""
    unit, item = wanted.unit, wanted.item
    fn = unit.function(item)
    try:
        params = parameters(unit, item)
        return fn.clean and not _body(wanted, fn, params, tuple(declarations(unit, item))).back
    except Refused:
        return False


def documented(wanted: Wanted) -> Iterator[Edit]:
    """The lines of the function's kernel-doc that describe page and offset, as one that describes the address."""
    unit, item = wanted.unit, wanted.item
    data, head = unit.source.data, unit.source.offset(unit.source.line(item.head))
    start = data.rfind(b"/**", 0, head)
    if (
        start < 0
        or data.find(b"*/", start) != data.rfind(b"*/", 0, head)
        or data[data.find(b"*/", start) + 2 : head].strip()
    ):
        return
    fn, params = unit.function(item), parameters(unit, item)
    page, offset = (one.name for one in params[wanted.position : wanted.position + 2])
    address = _body(wanted, fn, params, tuple(declarations(unit, item))).name
    described = rb"^[ \t]*\*[ \t]*@%s:[^\n]*\n"
    for word, text in ((page, f"@{address}: physical address of the buffer\n"), (offset, "")):
        found = re.compile(described % re.escape(word.encode()), re.MULTILINE).search(data, start, head)
        if found is not None:
            at = data.index(b"@", found.start())
            yield Edit(unit.source.path, at if text else found.start(), found.end(), text)


def uses_as_address(fn: Function, page: str, offset: str) -> bool:
    """Whether page and offset stay what they are in the body, so that an address can take their place."""
    text = fn.source.code[fn.start : fn.end]
    stepped = (re.search(_STEPPED.replace(b"{0}", name.encode()), text) for name in (page, offset))
    return not any(stepped) and _ASKS_THE_PAGE.search(text) is None


def _body(wanted: Wanted, fn: Function, params: tuple[Parameter, ...], declared: tuple[tuple[int, int], ...]) -> _Body:
    source, item = wanted.unit.source, wanted.item
    page, offset = (one.name for one in params[wanted.position : wanted.position + 2])
    plain = uses_as_address(fn, page, offset)
    sums = dict(_sums(fn, page, offset)) if plain else {}
    alias = _alias(wanted.unit, item, declared, sums)
    name, gone = alias if alias is not None else (_free(source.code[item.params : item.end]), None)
    edits = [
        Edit(source.path, start, end, form.replace(_ADDRESS, name))
        for (start, end), form in sums.items()
        if gone is None or not gone[0] <= start < gone[1]
    ]
    edits += wanted.calls(name) if plain else ()
    left = bytearray(source.code)
    for start, end in ((edit.start, edit.end) for edit in edits):
        left[start:end] = spaces(bytes(left[start:end]))
    if gone is not None:
        left[gone[0] : gone[1]] = spaces(bytes(left[gone[0] : gone[1]]))
    rest = bytes(left[item.body : item.end])
    back = f"\tstruct page *{page} = phys_to_page({name});\n" if holds_word(rest, page.encode()) else ""
    back += f"\tunsigned long {offset} = offset_in_page({name});\n" if holds_word(rest, offset.encode()) else ""
    return _Body(name, tuple(edits), gone, back)


def _sums(fn: Function, page: str, offset: str) -> Iterator[tuple[tuple[int, int], str]]:
    """Where the address of the byte is added up, as a physical or a virtual one, each with what stands there then."""
    for node in fn.nodes:
        for one in walk(node.expr) if node.expr is not None else ():
            if not isinstance(one, Binary) or one.op != "+" or one.start < 0:
                continue
            for address, other in (one.parts, one.parts[::-1]):
                call, added = strip(address), strip(other)
                form = _MADE_OF_A_PAGE.get(call.name) if isinstance(call, Call) and len(call.args) == 1 else None
                of = strip(call.parts[1]) if form is not None else None
                if isinstance(of, Name) and of.text == page and isinstance(added, Name) and added.text == offset:
                    cast = fn.source.data[address.start : call.start].decode("utf-8", "surrogateescape")
                    yield (one.start, one.end), (cast if form != _ADDRESS else "") + str(form)


def _alias(
    unit: Unit, item: Item, declared: tuple[tuple[int, int], ...], sums: dict[tuple[int, int], str]
) -> tuple[str, tuple[int, int]] | None:
    """A local that is the physical address and nothing else, and its declaration: it is the parameter then."""
    text = unit.source.code
    for start, end in declared:
        found = re.compile(rb"phys_addr_t\s+(\w+)\s*=\s*").match(text, start, end)
        if found is None or (found.end(), end - 1) not in sums or sums[found.end(), end - 1] != _ADDRESS:
            continue
        name = found.group(1)
        elsewhere = text[item.body : start] + text[end : item.end]
        lines = unit.source.data[unit.source.offset(unit.source.line(start)) : start]
        if re.search(_STEPPED.replace(b"{0}", name), elsewhere) is None and not lines.strip():
            return name.decode(), (start, end)
    return None


def _free(text: bytes) -> str:
    for name in _NAMES:
        if not holds_word(text, name.encode()):
            return name
    raise Refused(f"{', '.join(_NAMES)} are names that it uses itself")


def listed(unit: Unit, item: Item, position: int, name: str) -> Edit:
    """The parameter list with the address in place of the page at `position` and its offset, broken as the author
    broke it.
    """
    source, params = unit.source, parameters(unit, item)
    end = params[-1].end
    written = [source.data[one.start : one.end].decode("utf-8", "surrogateescape") for one in params]
    texts = [" ".join(one.split()) for one in written]
    texts[position : position + 2] = [f"phys_addr_t {name}"]
    lines = source.data[item.params : end].split(b"\n")
    head = width(source.data[source.offset(source.line(item.params)) : item.params + 1].decode("utf-8", "replace"))
    white = re.match(rb"[ \t]*", lines[1]) if len(lines) > 1 else None
    margin = white.group().decode() if white is not None else indent(head)
    if len(lines) == len(params):
        return Edit(source.path, item.params + 1, end, f",\n{margin}".join(texts))
    return Edit(source.path, item.params + 1, end, _filled(texts, head, margin))


def _filled(texts: list[str], head: int, margin: str) -> str:
    lines, column = [""], head
    for number, text in enumerate(texts):
        piece = text + ("," if number < len(texts) - 1 else "")
        room = 1 if number == len(texts) - 1 else 0
        if lines[-1] and column + 1 + len(piece) + room > _WIDE:
            lines.append(margin)
            column = width(margin)
        elif lines[-1]:
            lines[-1] += " "
            column += 1
        lines[-1] += piece
        column += len(piece)
    return "\n".join(lines)


def _beginning(wanted: Wanted, kept: tuple[tuple[int, int], ...], body: _Body, refusal: str) -> Iterator[Edit]:
    """The declarations that go and come, and the refusal behind them."""
    source = wanted.unit.source

    def line_behind(at: int) -> int:
        return source.offset(source.line(at) + 1)

    def blank(at: int) -> bool:
        return not source.data[at : line_behind(at)].strip()

    first = line_behind(wanted.item.body)
    if body.gone is not None:
        start, end = source.offset(source.line(body.gone[0])), line_behind(body.gone[1] - 1)
        lonely = not kept and not body.back and blank(end)
        yield Edit(source.path, start, line_behind(end) if lonely else end, "")
    if kept:
        behind = line_behind(kept[-1][1] - 1)
        if body.back:
            yield Edit(source.path, first, first, body.back)
        if refusal:
            gone = body.gone is not None and source.line(body.gone[0]) == source.line(behind)
            follows = line_behind(behind) if gone else behind
            yield Edit(source.path, behind, behind, f"\n{refusal}" + ("" if blank(follows) else "\n"))
    elif body.back or refusal:
        pieces = [piece for piece in (body.back, refusal) if piece]
        yield Edit(source.path, first, first, "".join(f"{piece}\n" for piece in pieces))


def _acts_first(fn: Function, declared: tuple[tuple[int, int], ...]) -> str:
    """The callee of a declaration that may do more than ask, "" if there is none."""
    for _, call in fn.calls:
        if any(start <= call.start < end for start, end in declared) and _ASKS.fullmatch(call.name) is None:
            return call.name or "a callback"
    return ""
