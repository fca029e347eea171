# SPDX-License-Identifier: GPL-2.0-only
"""What the use of a renamed internal becomes: the new name where nothing else changed, else the call in its new
form.
"""

from __future__ import annotations

import re

from dmamigrate.api import Renamed
from dmamigrate.findings import Edit, Rewrite, Span, Verdict
from dmamigrate.model.versions import release
from dmamigrate.rewrite import check
from dmamigrate.rewrite.diff import diff
from dmamigrate.rewrite.layout import NewCall, moves, rewrite
from dmamigrate.rewrite.propose import new_call
from dmamigrate.rules import Template, templates
from dmamigrate.syntax.expr import Call
from dmamigrate.syntax.functions import Function
from dmamigrate.syntax.unit import Unit

UNPROVED = Verdict("unknown", reason="the compiler checks the new name and its arguments; the model has no such call")
# What a template may name beside the roles of the old call: functions, types and flags of the kernel.
_KERNEL = re.compile(r"true|false|page_to_phys|[A-Z][A-Z0-9_]*")


def renamed(unit: Unit, place: Span, entry: Renamed, target: str) -> Rewrite:
    """The rewrite of one use; what takes judgement is withheld, or has none."""
    fn = unit.function_at(place.start)
    call = _call(fn, place.start) if fn is not None else None
    text = unit.source.data[place.start : place.end].decode("utf-8", "surrogateescape")
    if entry.plain and text == entry.name:
        return _as_edits(unit, (Edit(place.path, place.start, place.end, entry.to.removesuffix("()")),))
    forms = [one for one in entry.rewrite if release(one.since) <= release(target)]
    if fn is None or call is None or not forms:
        return Rewrite("none")
    template = templates(forms[-1].text)[0]
    if len(call.args) != len(template.before_roles):
        return Rewrite("withheld", f"{entry.name}() has {len(call.args)} arguments here")
    if missing := _missing(fn, template):
        return Rewrite("withheld", f"{fn.name}() has no variable {missing}, which {template.after}() takes")
    if reason := check.broken(unit.source, call):
        return Rewrite("withheld", f"this call is not whole: {reason}")
    new = new_call(unit.source, call, template)
    written = unit.source.data[call.start : call.end]
    if moves(call, new) and (b"/*" in written or b"//" in written or b"#" in written):
        return Rewrite("withheld", "a comment or an #if stands between arguments that move")
    return _as_call(unit, fn, call, new)


def _call(fn: Function, at: int) -> Call | None:
    return next((call for _, call in fn.calls if call.parts[0].start == at), None)


def _missing(fn: Function, template: Template) -> str:
    """The name of a variable that the new call takes, and the function does not have."""
    known = {*template.before_roles, *(variable.name for variable in fn.variables)}
    words = [word for wanted in template.after_arguments for word in re.findall(r"[A-Za-z_]\w*", wanted)]
    return next((word for word in words if word not in known and _KERNEL.fullmatch(word) is None), "")


def _as_call(unit: Unit, fn: Function, call: Call, new: NewCall) -> Rewrite:
    edits = rewrite(unit.source, call, new)
    if reason := check.unlike(unit.source, edits, {(call.start, call.end): new}, {fn}):
        return Rewrite("withheld", f"{reason} when its call is rewritten")
    return _as_edits(unit, edits)


def _as_edits(unit: Unit, edits: tuple[Edit, ...]) -> Rewrite:
    return Rewrite("proposed", None, edits, diff(unit.source, edits))
