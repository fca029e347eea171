# SPDX-License-Identifier: GPL-2.0-only
"""What a life should become: the templates of a rule applied to its map and to all of its unmaps, or to none."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from dmamigrate.findings import Edit, Rewrite
from dmamigrate.lives.pair import Life
from dmamigrate.lives.sites import Site
from dmamigrate.rewrite import check
from dmamigrate.rewrite.case import Case, groups, which
from dmamigrate.rewrite.diff import diff
from dmamigrate.rewrite.layout import NewCall, moves, rewrite
from dmamigrate.rewrite.physical import address_of
from dmamigrate.rules import Template
from dmamigrate.syntax.arms import only_for_older_kernels
from dmamigrate.syntax.expr import Binary, Call, Constant, Expr, Index, Member, Name
from dmamigrate.syntax.functions import Function
from dmamigrate.syntax.source import Source

_MOST_CALLS = (
    128  # that share one rewrite: each of their findings has all of its edits, and a reader has to follow them
)

_PAGE_AND_OFFSET = "page_to_phys(page) + offset"
_DIRECTIVE = re.compile(rb"^[ \t]*#[ \t]*(if|ifdef|ifndef|elif|else|endif)\b([^\n]*)", re.MULTILINE)


def _flags(expr: Expr) -> list[Expr]:
    """The operands of a chain of `|`."""
    if isinstance(expr, Binary) and expr.op == "|":
        return [flag for part in expr.parts for flag in _flags(part)]
    return [expr]


def attributes(source: Source, argument: Expr | None, wanted: str) -> str:
    """The attribute argument as the template wants it: `0 | X` is X, and a flag that is surely there is not added
    again.
    """
    flag = wanted.partition("|")[2].strip()
    if argument is None or not flag:
        return flag or "0"
    text = source.data[argument.start : argument.end].decode("utf-8", "surrogateescape")
    if isinstance(argument, Constant) and argument.text.rstrip("uUlL") == "0":
        return flag
    if any(isinstance(part, Name) and part.text == flag for part in _flags(argument)):
        return text
    plain = isinstance(argument, Name | Constant | Call | Member | Index) or len(_flags(argument)) > 1
    return f"{text} | {flag}" if plain else f"({text}) | {flag}"


def new_call(source: Source, call: Call, template: Template) -> NewCall:
    """A call as the template's right side."""
    arguments: list[int | str] = []
    for wanted in template.after_arguments:
        first = wanted.partition("|")[0].strip()
        old = template.before_roles.index(first) if first in template.before_roles else -1
        argument = call.args[old] if 0 <= old < len(call.args) else None
        if argument is not None and wanted == first:
            arguments.append(old)
        elif argument is not None and "|" in wanted and first == "attrs":
            text = attributes(source, argument, wanted)
            same = text.encode() == source.data[argument.start : argument.end]
            arguments.append(old if same else text)
        else:
            arguments.append(_computed(source, call, template, wanted))
    return NewCall(template.after, tuple(arguments))


def _computed(source: Source, call: Call, template: Template, wanted: str) -> str:
    """An argument that is computed from old ones: each role replaced by what stands there, `+ 0` left out."""

    if wanted == _PAGE_AND_OFFSET and {"page", "offset"} <= {*template.before_roles}:
        return address_of(source, *(call.args[template.before_roles.index(role)] for role in ("page", "offset")))

    def written(match: re.Match[str]) -> str:
        role = match[0]
        position = template.before_roles.index(role) if role in template.before_roles else -1
        if not 0 <= position < len(call.args):
            return role
        argument = call.args[position]
        text = source.data[argument.start : argument.end].decode("utf-8", "surrogateescape")
        alone = isinstance(argument, Name | Constant | Call | Member | Index) or wanted == role
        whole = re.search(rf"\(\s*{role}\s*\)", wanted) is not None  # parentheses stand around it already
        return text if alone or whole else f"({text})"

    text = re.sub(r"[A-Za-z_]\w*", written, wanted)
    return re.sub(r"\s*\+\s*0[uUlL]*\Z", "", text)


def source_text(site: Site) -> bytes:
    """A call as it is written."""
    return site.fn.source.data[site.call.start : site.call.end]


@dataclass(frozen=True)
class Written:
    """The edits of a group of lives, with the calls that they change, by file, and the functions that those stand
    in.
    """

    edits: tuple[Edit, ...]
    calls: dict[str, dict[tuple[int, int], NewCall]]
    fns: dict[str, set[Function]]
    sources: dict[str, Source]


def written(group: Iterable[Life], templates: tuple[Template, ...]) -> Written | Rewrite:
    """What the templates make of all calls of a group, which share their edits, or why they make nothing of one of
    them.
    """
    sites = {site.written: site for life in group for site in life.sites}
    if len(sites) > _MOST_CALLS:
        return Rewrite("withheld", f"{len(sites)} calls share their mappings, a rewrite changes {_MOST_CALLS} at most")
    by_name = {template.before: template for template in templates}
    edits: list[Edit] = []
    calls: dict[str, dict[tuple[int, int], NewCall]] = {}
    fns: dict[str, set[Function]] = {}
    for site in (sites[key] for key in sorted(sites)):
        template = by_name.get(site.call.name)
        where = f"{site.fn.source.path}:{site.fn.source.line(site.call.start)}"
        if template is None:
            return Rewrite("withheld", f"{where}: {site.call.name}() also ends this mapping and has no rewrite")
        if len(site.call.args) != len(template.before_roles):
            return Rewrite("withheld", f"{where}: {site.call.name}() has {len(site.call.args)} arguments")
        if any(local.name == template.after for local in site.fn.variables):
            return Rewrite("withheld", f"{where}: {template.after} is a variable of {site.fn.name}()")
        if only_for_older_kernels(site.fn.source, site.call.start):
            return Rewrite("withheld", f"{where}: only kernels without dma_map_phys() compile this call")
        if _DIRECTIVE.search(site.fn.source.blanked, site.call.start, site.call.end):
            return Rewrite("withheld", f"{where}: an #if stands inside this call")
        if reason := check.broken(site.fn.source, site.call):
            return Rewrite("withheld", f"{where}: this call is not whole: {reason}")
        new = new_call(site.fn.source, site.call, template)
        if moves(site.call, new) and (b"/*" in source_text(site) or b"//" in source_text(site)):
            return Rewrite("withheld", f"{where}: a comment stands between arguments that move")
        calls.setdefault(site.fn.source.path, {})[site.call.start, site.call.end] = new
        fns.setdefault(site.fn.source.path, set()).add(site.fn)
        edits += rewrite(site.fn.source, site.call, new)
    ordered = tuple(sorted(edits, key=lambda edit: (edit.path, edit.start)))
    return Written(ordered, calls, fns, {site.fn.source.path: site.fn.source for site in sites.values()})


def propose(case: Case) -> Rewrite:
    """The rewrite of all lives of a group."""
    made = _written(case, case.group)
    if isinstance(made, Rewrite):
        return made
    for path in sorted(made.sources):
        # each edit is one whole call for another: if all of the file together change nothing else, none does alone
        if _unlike(case, path, _all_in(case, path)) and (reason := _unlike(case, path, (made,))):
            return Rewrite("withheld", f"{path}: {reason} when its calls are rewritten")
    mine = {path: [edit for edit in made.edits if edit.path == path] for path in sorted(made.sources)}
    return Rewrite("proposed", None, made.edits, "".join(diff(made.sources[path], mine[path]) for path in mine))


def _written(case: Case, group: tuple[Life, ...]) -> Written | Rewrite:
    key = ("written", case.rule.id, case.target, which(group[0]))
    return case.module.engine.values.queries.fact(key, lambda: written(group, case.rule.templates))


def _all_in(case: Case, path: str) -> tuple[Written, ...]:
    """All that the rule's templates would change in one file."""
    module = case.module

    def every() -> tuple[Written, ...]:
        together = dict.fromkeys(groups(module.pairs.lives).values())
        made = (_written(case, group) for group in together)
        return tuple(one for one in made if isinstance(one, Written))

    key = ("every", case.rule.id, case.target, module.files, module.pages)
    return tuple(one for one in module.engine.values.queries.fact(key, every) if path in one.sources)


def _unlike(case: Case, path: str, made: tuple[Written, ...]) -> str | None:
    """What these edits would change beside their calls in one file, None if nothing."""

    def unlike() -> str | None:
        edits = tuple(edit for one in made for edit in one.edits if edit.path == path)
        calls = {span: new for one in made for span, new in one.calls[path].items()}
        return check.unlike(made[0].sources[path], edits, calls, {fn for one in made for fn in one.fns[path]})

    key = ("unlike", case.rule.id, case.target, path, made[0].edits, len(made))
    return case.module.engine.values.queries.fact(key, unlike)
