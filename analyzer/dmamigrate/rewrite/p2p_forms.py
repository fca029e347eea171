# SPDX-License-Identifier: GPL-2.0-only
"""The forms in which a P2P path can be told DMA_ATTR_MMIO, the plainest first; which of them is right is for others to
say.

At a case label, by a test in front of the call, where the variable is set, in the argument, and, where the unmap could
not know the type, by attributes that are kept beside the handle.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dmamigrate.findings import Edit
from dmamigrate.lives.detect.maptype import THRU
from dmamigrate.lives.module import Defect, Module
from dmamigrate.lives.pair import Life, kept_in
from dmamigrate.lives.sites import Site
from dmamigrate.program.reach import reaching
from dmamigrate.rewrite import check
from dmamigrate.rewrite.layout import NewCall, rewrite
from dmamigrate.rewrite.propose import new_call
from dmamigrate.rules import templates
from dmamigrate.syntax.expr import Assign, Binary, Call, Constant, Expr, Member, Name, strip
from dmamigrate.syntax.functions import Function

_MMIO = "DMA_ATTR_MMIO"
_LABEL = re.compile(rb"\bcase\s+" + THRU.encode() + rb"\s*:")
_STACKED = re.compile(rb"\s*(?:case\b|default\s*:)")
_BEFORE_CALL = re.compile(rb"[ \t]*(?:if \(!?|return )?")
_PLACE = re.compile(r"#(\d+)")
_LAYOUT = re.compile(rb"\b(?:__packed|__aligned|__attribute__|__(?:le|be)(?:16|32|64))\b")
_BY_PAGE = {
    one.before: one
    for one in templates(
        "- dma_map_page(dev, page, offset, size, dir)\n+ dma_map_phys(dev, page_to_phys(page) + offset, size, dir, 0)\n"
        "- dma_unmap_page(dev, addr, size, dir)\n+ dma_unmap_phys(dev, addr, size, dir, 0)\n"
    )
}


def takes_none(found: Defect) -> bool:
    """Whether the call at fault takes no attributes."""
    return not 0 <= int(found.facts["attrs"]) < len(found.site.call.args)


def forms(module: Module, fn: Function, faults: list[Defect]) -> Iterator[tuple[Edit, ...]]:
    """Edits that set the flag, for all calls of one function that lack it, where they take attributes."""
    if any(takes_none(one) for one in faults):
        return
    others = _told_to_others(module, faults)
    if all("only" in one.facts for one in faults):
        calls, keys = [_given(one) for one in faults], {one.site.key for one in faults}
        yield _together([_always(one) for one in calls])
        if not others:
            yield _together([_where_set(one) for one in calls])
        ends = [end for life in module.pairs.lives if life.map.key in keys for end in life.ends]
        given = [_Given(end, at) for end in ends if 0 <= (at := end.api.position("attrs")) < len(end.call.args)]
        if ends and len(given) == len(ends) and all(end.fn.source is fn.source for end in ends):
            yield _together([_always(one) for one in (*calls, *given)])
    variables = {_given(one).variable for one in faults}
    if not others and len(variables) == 1 and (name := variables.pop()) is not None:
        label = _at_label(fn, name)
        if label is not None and all(_begins_anew(_given(one)) for one in faults):
            yield (label,)
    if all("type" in one.facts for one in faults):
        tested = [_by_test(fn, one) for one in faults]
        if all(tested) and not others:
            # one test may do for all that come after it
            yield min(tested, key=lambda edits: edits[0].start)
            yield _together(tested)
        local = [_by_local(fn, one) for one in faults]
        if all(local) and len(faults) == 1:
            yield _together(local)
        yield _together([_in_argument(fn, one) for one in faults])


def _told_to_others(module: Module, faults: list[Defect]) -> bool:
    """Whether the variable of the attributes is given to another map, too, which may be one of other memory."""
    fn, keys = faults[0].site.fn, {one.site.key for one in faults}
    mine = {_given(one).variable for one in faults}
    for call in (call for _, call in fn.calls if (fn.source.path, call.start) not in keys):
        api = module.engine.api.calls.get(call.name)
        position = api.position("attrs") if api is not None and api.role == "map" else -1
        if (
            0 <= position < len(call.args)
            and fn.source.text(call.args[position].start, call.args[position].end) in mine
        ):
            return True
    return False


def _together(several: list[tuple[Edit, ...]]) -> tuple[Edit, ...]:
    return tuple(dict.fromkeys(edit for edits in several for edit in edits))


@dataclass(frozen=True)
class _Given:
    """A call and the index, from 0, of its attributes."""

    site: Site
    position: int

    @property
    def attrs(self) -> Expr:
        return strip(self.site.call.args[self.position])

    @property
    def text(self) -> str:
        """The attributes as they are written."""
        attrs = self.site.call.args[self.position]
        return self.site.fn.source.text(attrs.start, attrs.end)

    @property
    def variable(self) -> str | None:
        """The variable or member that carries them, as it is written."""
        local = isinstance(self.attrs, Name) and self.attrs.variable >= 0
        return self.text if local or isinstance(self.attrs, Member) else None

    @property
    def nothing(self) -> bool:
        """Whether they are written as none."""
        return isinstance(self.attrs, Constant) and self.attrs.text == "0"


def _given(found: Defect) -> _Given:
    return _Given(found.site, int(found.facts["attrs"]))


def _at_label(fn: Function, name: str) -> Edit | None:
    """The flag set behind the one label of this map type, if that is for no other type as well."""
    source = fn.source
    labels = list(_LABEL.finditer(source.blanked, fn.start, fn.end))
    if len(labels) != 1:
        return None
    label = labels[0]
    before = source.blanked[fn.start : label.start()].rstrip()
    if before.endswith(b":"):
        return None  # what stands above falls into it
    line = source.data[source.offset(source.line(label.start())) : label.start()]
    if line.strip():
        return None
    text = f"\n{line.decode()}\t{name} |= {_MMIO};"
    if _STACKED.match(source.blanked, label.end()):
        text += f"\n{line.decode()}\tfallthrough;"
    return Edit(source.path, label.end(), label.end(), text)


def _line_before(site: Site) -> tuple[int, str] | None:
    """Where a statement in front of the call's may begin, and how that is indented; None inside of a larger
    statement.
    """
    source, fn = site.fn.source, site.fn
    expr = fn.nodes[site.node].expr
    if expr is None:
        return None
    start = source.offset(source.line(expr.start))
    if _BEFORE_CALL.fullmatch(source.blanked, start, expr.start) is None:
        return None
    before = source.blanked[fn.start : start].rstrip()
    if not before.endswith((b";", b"{", b"}", b":")):
        return None
    white = re.match(rb"[ \t]*", source.data[start:])
    return start, white.group().decode() if white is not None else ""


def _type(fn: Function, found: Defect) -> str:
    """The place that holds the map type, as the function writes it."""
    return _PLACE.sub(lambda match: fn.variables[int(match[1])].name, found.facts["type"])


def _test(fn: Function, found: Defect, white: str, name: str) -> str:
    return f"{white}if ({_type(fn, found)} == {THRU})\n{white}\t{name} |= {_MMIO};\n"


def _by_test(fn: Function, found: Defect) -> tuple[Edit, ...]:
    """A test in front of the call, for attributes that have a variable."""
    name, place = _given(found).variable, _line_before(found.site)
    if name is None or place is None:
        return ()
    text = _test(fn, found, place[1], name)
    if not _begins_anew(_given(found)):
        text += f"{place[1]}else\n{place[1]}\t{name} &= ~{_MMIO};\n"
    return (Edit(fn.source.path, place[0], place[0], text),)


def _begins_anew(call: _Given) -> bool:
    """Whether the function sets the attributes itself on every way to the call: else they may be the last
    transfer's.
    """
    return not isinstance(call.attrs, Member) or not reaching(call.site.fn, call.site.node, call.attrs).entry


def _where_set(call: _Given) -> tuple[Edit, ...]:
    """The flag in the values that the attributes' variable is set to, if all of those are numbers or names."""
    if call.variable is None:
        return ()
    found = reaching(call.site.fn, call.site.node, call.attrs)
    values = [one.value for one in found.definitions if isinstance(one.at, Assign) and one.at.op == "=" and one.value]
    if found.entry or not values or len(values) != len(found.definitions):
        return ()
    edits = []
    for value in (strip(one) for one in values):
        if not isinstance(value, Constant | Name | Binary):
            return ()
        nothing = isinstance(value, Constant) and value.text == "0"
        where = (value.start, value.end) if nothing else (value.end, value.end)
        edits.append(Edit(call.site.fn.source.path, *where, _MMIO if nothing else f" | {_MMIO}"))
    return tuple(edits)


def _by_local(fn: Function, found: Defect) -> tuple[Edit, ...]:
    """A local for attributes that were none, declared behind the others, and a test in front of the call."""
    call, place = _given(found), _line_before(found.site)
    declared = _behind_declarations(fn)
    if not call.nothing or place is None or declared is None or any(one.name == "attrs" for one in fn.variables):
        return ()
    path = fn.source.path
    return (
        Edit(path, declared, declared, "\tunsigned long attrs = 0;\n"),
        Edit(path, place[0], place[0], _test(fn, found, place[1], "attrs")),
        Edit(path, call.attrs.start, call.attrs.end, "attrs"),
    )


def _behind_declarations(fn: Function) -> int | None:
    """The beginning of the blank line that ends the declarations of a function, None if it has none."""
    source = fn.source
    body = source.blanked.find(b"{", fn.start)
    blank = re.compile(rb"^[ \t]*\n", re.MULTILINE).search(source.data, source.offset(source.line(body) + 1), fn.end)
    locals_ = [one.start for one in fn.variables if one.position < 0]
    if blank is None or not locals_ or min(locals_) > blank.start():
        return None
    statements = [node.expr.start for node in fn.nodes if node.kind == "branch" and node.expr is not None]
    return blank.start() if all(start > blank.start() for start in statements) else None


def _always(call: _Given) -> tuple[Edit, ...]:
    """The flag in the argument, for a call that is reached through the host bridge only."""
    return _with_attrs(call, _MMIO if call.nothing else f"{call.text} | {_MMIO}")


def _in_argument(fn: Function, found: Defect) -> tuple[Edit, ...]:
    """The test in the argument itself."""
    call = _given(found)
    chosen = f"{_type(fn, found)} == {THRU} ? {_MMIO} : 0"
    return _with_attrs(call, chosen if call.nothing else f"{call.text} | ({chosen})")


def _with_attrs(call: _Given, text: str) -> tuple[Edit, ...]:
    site = call.site
    if check.broken(site.fn.source, site.call) is not None:
        return ()
    arguments = tuple(text if index == call.position else index for index in range(len(site.call.args)))
    return rewrite(site.fn.source, site.call, NewCall(site.call.name, arguments))


# ---- forms that keep what the unmap has to know


@dataclass(frozen=True)
class _Keeper:
    """The struct member that a handle is kept in, and the member beside it that keeps the attributes until the
    unmap.
    """

    tag: str
    handle: str
    name: str

    def beside(self, fn: Function, handle: Expr) -> str:
        """The new member of the object whose handle this is, as the function writes it; "" for another kind of
        place.
        """
        member = strip(handle)
        if not isinstance(member, Member) or member.field != self.handle:
            return ""
        base = member.parts[0]
        return f"{fn.source.text(base.start, base.end)}{'->' if member.arrow else '.'}{self.name}"


def kept_forms(module: Module, fn: Function, faults: list[Defect]) -> Iterator[tuple[Edit, ...]]:
    """The attributes decided in front of the map and kept beside the handle, for the map and all of its unmaps."""
    lives = {life.map.key: life for life in module.pairs.lives}
    mine = [lives[one.site.key] for one in faults if one.site.key in lives and "type" in one.facts]
    if len(mine) != len(faults):
        return
    edits: list[tuple[Edit, ...]] = []
    keepers = [_keeper(module, life) for life in mine]
    if len({(one.tag, one.name) for one in keepers if one is not None}) != len({life.map.key for life in mine}):
        return  # one name for two handles
    for life, found, keeper in zip(mine, faults, keepers, strict=True):
        shared = any(other not in mine for end in life.ends for other in module.pairs.reaching(end))
        place = _line_before(found.site)
        if (
            shared
            or keeper is None
            or place is None
            or not life.ends
            or not _holds_what_is_mapped(module, keeper, mine)
        ):
            return
        target = kept_in(life.map)
        name = keeper.beside(fn, target) if target is not None else ""
        text = f"{place[1]}{name} = 0;\n" + _test(fn, found, place[1], name).replace(" |= ", " = ")
        edits += [_declared(module, keeper, fn), (Edit(fn.source.path, place[0], place[0], text),)]
        edits.append(_told(life.map, name))
        for end in life.ends:
            handle = end.argument("addr")
            taken = keeper.beside(end.fn, handle) if handle is not None else ""
            if not taken or end.fn.source.path != fn.source.path or end.fn.macro:
                return
            edits.append(_told(end, taken))
    if all(edits):
        yield _together(edits)


def _keeper(module: Module, life: Life) -> _Keeper | None:
    """The member beside the handle for the attributes; None if the handle is not kept in a struct of this file's
    own.
    """
    target, fn = kept_in(life.map), life.map.fn
    unit = module.engine.flow.unit(fn)
    member = strip(target) if target is not None else None
    owner = module.engine.types.member(member, fn, unit) if isinstance(member, Member) else None
    found = module.engine.tree.struct(owner[0], unit) if owner is not None else None
    if not isinstance(member, Member) or owner is None or found is None or found[1] != fn.source.path:
        return None
    stem = re.sub(r"(?:^|_)(?:dma_addr|dma|addr|iova|handle)$", "", member.field)
    names = [f"{stem}_attrs" if stem else "attrs", f"{member.field}_attrs"]
    name = next((one for one in names if one not in found[0]), None)
    return _Keeper(owner[0], member.field, name) if name is not None else None


def _holds_what_is_mapped(module: Module, keeper: _Keeper, lives: list[Life]) -> bool:
    """Whether nothing is ever put into the handle's member but what these maps return, or a number: a copy has no
    attributes.
    """
    unit = module.engine.flow.unit(lives[0].map.fn)
    stores, complete = module.engine.stores.of_field(keeper.tag, keeper.handle, unit)
    made = {life.map.written for life in lives}
    for store in stores:
        value = strip(store.value) if store.value is not None else None
        number = value is None or isinstance(value, Constant) or (isinstance(value, Name) and value.variable < 0)
        if store.call is not None or not (
            number or (isinstance(value, Call) and (store.fn.source.path, value.start) in made)
        ):
            return False
    return complete


def _declared(module: Module, keeper: _Keeper, fn: Function) -> tuple[Edit, ...]:
    """The new member, declared behind that of the handle; nothing where that is declared in a line with others.

    A struct whose layout others know, a descriptor or a message, is left as it is.
    """
    unit = module.engine.flow.unit(fn)
    checked = re.compile(rb"(?:static_assert|BUILD_BUG_ON)[^;]*\b" + keeper.tag.encode() + rb"\b")
    for item in unit.named("type", keeper.tag):
        if _LAYOUT.search(unit.source.data, item.head, unit.source.data.find(b";", item.end) + 1) or checked.search(
            unit.source.blanked
        ):
            return ()
        pattern = re.compile(rb"^([ \t]*)\w+[ \t]+" + keeper.handle.encode() + rb"[ \t]*;[^\n]*\n", re.MULTILINE)
        line = pattern.search(unit.source.blanked, item.body, item.end)
        if line is not None:
            text = f"{line.group(1).decode()}unsigned long {keeper.name};\n"
            return (Edit(fn.source.path, line.end(), line.end(), text),)
    return ()


def _told(site: Site, text: str) -> tuple[Edit, ...]:
    """A call that is given `text` as its attributes, or beside those it has; one of the page API becomes that of an
    address.
    """
    position = site.api.position("attrs")
    if check.broken(site.fn.source, site.call) is not None:
        return ()
    if 0 <= position < len(site.call.args):
        call = _Given(site, position)
        return _with_attrs(call, text if call.nothing else f"{call.text} | {text}")
    form = _BY_PAGE.get(site.call.name)
    if form is None or len(site.call.args) != len(form.before_roles):
        return ()
    made = new_call(site.fn.source, site.call, form)
    return rewrite(site.fn.source, site.call, NewCall(made.name, (*made.arguments[:-1], text)))
