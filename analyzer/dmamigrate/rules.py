# SPDX-License-Identifier: GPL-2.0-only
"""The rules: one TOML file each below rules/migrate, read strictly."""

from __future__ import annotations

import re
import string
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from dmamigrate import api
from dmamigrate.api import ARGUMENTS, Api, ApiCall
from dmamigrate.errors import RuleError
from dmamigrate.findings import Category, Kind, Level
from dmamigrate.values import knowledge
from dmamigrate.values.knowledge import Knowledge

_Text = Annotated[str, msgspec.Meta(min_length=3)]


class Example(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """C that a rule must find (`fixed`: what it must become) or must leave alone."""

    name: _Text
    code: str
    fixed: str | None = None


class Refuted(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A wrong rewrite, and the property that the model must name when it rejects it."""

    name: _Text
    because: _Text
    rewrite: str
    origin: Kind = Kind.PCI_BAR


class Peer(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What to say, from this API version on, of a mapping that is made for another driver's device."""

    since: str
    message: _Text


class _File(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    title: _Text
    level: Level
    category: Category
    message: _Text
    explain: _Text
    # the calls that the rule looks at, and the role, or the roles, of the argument whose origin it asks for
    callee: tuple[str, ...] = ()
    argument: str | tuple[str, ...] = "phys"
    origins: tuple[Kind, ...] = ()
    # an attribute that the call must, or must not, be given, written as a constant
    has: str | None = None
    lacks: str | None = None
    # of a rule whose id no detector yields and no call decides: only a review finds it
    review: bool = False
    # the rewrite is about memory of any kind, system memory too: it adds no attribute that says otherwise
    moves_memory: bool = False
    default: bool = True
    # report only where every path was followed to such an origin
    certain: bool = False
    # what to do about a finding that no rewrite mends, as a command; and where to read on
    advice: str | None = None
    see: tuple[str, ...] = ()
    rewrite: str | None = None
    withheld: str | None = None
    # newest version first
    peer: tuple[Peer, ...] = ()
    invalid: tuple[Example, ...] = ()
    valid: tuple[Example, ...] = ()
    refuted: tuple[Refuted, ...] = ()


@dataclass(frozen=True, slots=True)
class Template:
    """One pair of a rewrite: the call that stands there, the call that should, and their arguments by role."""

    before: str
    before_roles: tuple[str, ...]
    after: str
    after_arguments: tuple[str, ...]


class Rule(_File, frozen=True, kw_only=True):
    """A rule: what it finds, what it says, what it proposes. `id` is the file's name, `templates` its rewrite, read."""

    id: str
    templates: tuple[Template, ...]


_LINE = re.compile(r"([-+])\s*(\w+)\((.*)\)\s*;?\s*\Z")


def _arguments(text: str) -> tuple[str, ...]:
    """The arguments of a call, which may hold calls themselves."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return tuple(part.strip() for part in parts)


def templates(text: str) -> tuple[Template, ...]:
    """The pairs of a rewrite text: lines `- call(roles)` each followed by `+ call(arguments)`.

    Raises ValueError for any other line.
    """
    pairs: list[Template] = []
    before: tuple[str, tuple[str, ...]] | None = None
    for line in filter(None, map(str.strip, text.splitlines())):
        match = _LINE.match(line)
        if match is None:
            raise ValueError(f"cannot read the rewrite line '{line}'")
        arguments = _arguments(match[3])
        if match[1] == "-":
            before = (match[2], arguments)
        elif before is None:
            raise ValueError(f"'{line}' replaces nothing; put a '-' line before it")
        else:
            pairs.append(Template(*before, match[2], arguments))
            before = None
    if before is not None:
        raise ValueError(f"'{before[0]}' is removed without a '+' line")
    return tuple(pairs)


def read(file: Path) -> Rule:
    """Read one rule. Raises RuleError, naming file and key, for anything that is not in the format."""
    try:
        data = msgspec.convert(tomllib.loads(file.read_text("utf-8")), _File)
        pairs = templates(data.rewrite or "")
        for wrong in data.refuted:
            templates(wrong.rewrite)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError, ValueError) as error:
        raise RuleError(f"{file}: {error}; `dmamigrate rules` shows rules that are right") from error
    given = msgspec.structs.asdict(data) | {"explain": " ".join(data.explain.split())}
    return Rule(**given, id=file.stem, templates=pairs)


def folder() -> Path:
    """The rules that come with the tool: package data of a wheel, the checkout's folder in an editable install."""
    inside = Path(__file__).parent / "rules"
    return inside if inside.is_dir() else Path(__file__).parent.parent.parent / "rules"


def tables(folders: tuple[Path, ...] = (), sources: tuple[Path, ...] = ()) -> Knowledge:
    """What comes with the tool of calls and sources, with that of more folders and of tables on top.

    Raises RuleError for a table that is not in the format.
    """
    roots = (folder(), *folders)
    calls = api.load(file for root in roots for file in sorted((root / "api").glob("*.toml")))
    origins = [file for root in roots for file in sorted((root / "sources").glob("*.toml"))]
    return knowledge.load([*origins, *sources], calls)


def load(where: Path | None = None, more: tuple[Path, ...] = (), known: Api | None = None) -> tuple[Rule, ...]:
    """All rules of a folder, by name, and those of the folders `more`; with `known`, held against the calls that it
    has.

    Raises RuleError for a broken one, for one that means nothing, or if there is none.
    """
    found: dict[str, Rule] = {}
    for root in (where or folder(), *more):
        files = sorted((root / "migrate").glob("*.toml"))
        if not files:
            raise RuleError(f"{root / 'migrate'}: holds no rules; a folder of rules has one TOML file each in migrate/")
        found |= {rule.id: rule for rule in map(read, files)}
    rules = tuple(found[name] for name in sorted(found))
    return checked(rules, known) if known is not None else rules


# What a message may name beside the arguments of its call: what `match` and the detectors say.
_FACTS = frozenset(
    {
        "call",
        "gave_up",
        "phys",
        "addr",
        "value",
        "what",
        "map",
        "mapped",
        "taken",
        "differ",
        "callee",
        "why",
        "sink",
        "to",
        "since",
        "how",
    }
)


def checked(rules: tuple[Rule, ...], api: Api) -> tuple[Rule, ...]:
    """The rules, once what they name is known to mean something: calls, arguments, attributes, placeholders.

    Raises RuleError, naming rule and word, for anything that no table knows.
    """
    for rule in rules:
        for callee in rule.callee:
            call = _known(rule, callee, api)
            asked = (rule.argument,) if isinstance(rule.argument, str) else rule.argument
            if rule.origins and not {*asked} & {*call.roles}:
                raise RuleError(
                    f"rule {rule.id}: {callee}() has no argument '{' or '.join(asked)}'; it has {_all(call.roles)}"
                )
        for attribute in (rule.has, rule.lacks):
            if attribute is not None and attribute not in api.attributes:
                raise RuleError(
                    f"rule {rule.id}: there is no attribute '{attribute}'; the tables in rules/api list them"
                )
        roles = {role for callee in rule.callee for role in api.calls[callee].roles}
        for _, name, _, _ in string.Formatter().parse(rule.message):
            if name is not None and name not in _FACTS | roles | ARGUMENTS:
                raise RuleError(f"rule {rule.id}: its message names {{{name}}}; it can name {_all(_FACTS | roles)}")
        for template in (*rule.templates, *(t for wrong in rule.refuted for t in templates(wrong.rewrite))):
            _means_something(rule, template, api)
    return rules


def _all(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))


def _known(rule: Rule, name: str, api: Api) -> ApiCall:
    if name not in api.calls:
        raise RuleError(f"rule {rule.id}: no table in rules/api knows {name}(); add a [[call]] for it")
    return api.calls[name]


def _means_something(rule: Rule, template: Template, api: Api) -> None:
    before, after = _known(rule, template.before, api), _known(rule, template.after, api)
    if template.before_roles != before.roles:
        raise RuleError(
            f"rule {rule.id}: {before.name}() is written with {_list(template.before_roles)}; it has "
            f"{_list(before.roles)}"
        )
    if len(template.after_arguments) != len(after.roles):
        raise RuleError(f"rule {rule.id}: {after.name}() takes {len(after.roles)} arguments, {_list(after.roles)}")
    for argument in template.after_arguments:
        for word in re.finditer(r"[A-Za-z_]\w*(\s*\()?", argument):
            known = word[0] in before.roles or word[0] in api.attributes or word[1] is not None
            if not known and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", word[0]):
                raise RuleError(
                    f"rule {rule.id}: '{word[0]}' is no argument of {before.name}(); it has {_list(before.roles)}"
                )


def _list(words: Iterable[str]) -> str:
    return ", ".join(words)


def named(rules: tuple[Rule, ...], name: str) -> frozenset[str]:
    """The rules that `name` means: its own, or those whose name goes on behind it, such as map-resource or unmap.

    Raises RuleError for a name that means none.
    """
    found = frozenset(rule.id for rule in rules if rule.id == name)
    found = found or frozenset(rule.id for rule in rules if rule.id.startswith(f"{name.rstrip('-*')}-"))
    if not found or not name:
        raise RuleError(f"there is no rule '{name}'; `dmamigrate rules` lists them, and the first words of a name do")
    return found


def select(rules: tuple[Rule, ...], chosen: tuple[str, ...], ignored: tuple[str, ...]) -> tuple[Rule, ...]:
    """The rules to run. Raises RuleError for a name that no rule has."""
    wanted = {name for one in chosen for name in named(rules, one)}
    unwanted = {name for one in ignored for name in named(rules, one)}
    return tuple(r for r in rules if (r.id in wanted if chosen else r.default) and r.id not in unwanted)
