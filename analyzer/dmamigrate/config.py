# SPDX-License-Identifier: GPL-2.0-only
"""What is set for a project: `.dmamigrate.toml` or pyproject.toml, and the environment; the command line comes before
both.
"""

from __future__ import annotations

import fnmatch
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from dmamigrate.errors import UsageError

NAME = ".dmamigrate.toml"
PREFIX = "DMAMIGRATE_"
_LISTS = frozenset({"select", "ignore", "sources"})
_PATHS = frozenset({"tree", "sources", "rules", "baseline"})


class _Ignore(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    path: Annotated[str, msgspec.Meta(min_length=1)]
    reason: Annotated[str, msgspec.Meta(min_length=3)]
    rule: str | tuple[str, ...] = ()


class _Keys(msgspec.Struct, forbid_unknown_fields=True, frozen=True, rename="kebab"):
    target: str | None = None
    tree: str | None = None
    select: tuple[str, ...] | None = None
    ignore: tuple[str, ...] | None = None
    level: Literal["note", "warning", "error"] | None = None
    pages: bool | None = None
    effort: Literal["low", "normal", "high"] | None = None
    jobs: Annotated[int, msgspec.Meta(ge=0)] | None = None
    format: Literal["text", "json", "sarif", "gcc", "github", "html"] | None = None
    sources: tuple[str, ...] | None = None
    rules: str | None = None
    baseline: str | None = None
    cache: bool | None = None
    per_path_ignores: tuple[_Ignore, ...] = ()


KEYS = tuple(name for name in _Keys.__struct_fields__ if name != "per_path_ignores")
DEFAULTS: Mapping[str, Any] = {
    "level": "note", "pages": False, "effort": "normal", "jobs": 0, "format": "text",
    "cache": True,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Setting:
    """A value, and where it was set."""

    value: Any
    source: str


@dataclass(frozen=True, slots=True)
class Ignore:
    """What is not to be shown of a file or folder, and why; no rules means all of them."""

    path: Path
    rules: tuple[str, ...]
    reason: str

    def covers(self, file: Path) -> bool:
        """Whether this is about `file`: the path itself, what is below it, or what its pattern fits."""
        return file == self.path or file.is_relative_to(self.path) or fnmatch.fnmatchcase(str(file), str(self.path))


@dataclass(frozen=True, slots=True)
class Settings:
    """All that is set outside of the command line; `file` is where it was read from, None without one."""

    file: Path | None
    values: Mapping[str, Setting]
    ignores: tuple[Ignore, ...]

    def value(self, name: str, given: Any = None) -> Any:
        """What is in force: what the command line gave, else what is set, else the default; None without one."""
        if given is not None and given != ():
            return given
        return self.values[name].value if name in self.values else DEFAULTS.get(name)

    def without(self, name: str) -> Settings:
        """The same, as if `name` were not set."""
        return Settings(self.file, {key: one for key, one in self.values.items() if key != name}, self.ignores)


def load(start: Path, environment: Mapping[str, str]) -> Settings:
    """What is set for `start`, a file or folder: the nearest configuration at or above it, and the environment.

    Raises UsageError, naming file and key, for what is not in the format.
    """
    file = find(start)
    keys = _read(file) if file is not None else _Keys()
    values: dict[str, Setting] = {}
    for name in KEYS:
        value = getattr(keys, name)
        if value is not None and file is not None:
            values[name] = Setting(_placed(name, value, file.parent), str(file))
    for name in KEYS:
        variable = f"{PREFIX}{name.upper()}"
        if environment.get(variable):
            values[name] = Setting(_placed(name, _converted(variable, name, environment[variable]), Path()), variable)
    ignores = tuple(_ignore(one, file.parent) for one in keys.per_path_ignores) if file is not None else ()
    return Settings(file, values, ignores)


def find(start: Path) -> Path | None:
    """The nearest `.dmamigrate.toml`, or pyproject.toml with a table for this tool, not above the repository's top."""
    folder = start.resolve()
    for one in (folder, *folder.parents):
        if (one / NAME).is_file():
            return one / NAME
        project = one / "pyproject.toml"
        if project.is_file() and b"[tool.dmamigrate" in project.read_bytes():
            return project
        if (one / ".git").exists():
            return None
    return None


def _read(file: Path) -> _Keys:
    try:
        table = tomllib.loads(file.read_text("utf-8"))
        if file.name == "pyproject.toml":
            table = table.get("tool", {}).get("dmamigrate", {})
        return msgspec.convert(table, _Keys)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"{file}: {error}; the keys are {', '.join(KEYS)} and per-path-ignores") from error


def _converted(variable: str, name: str, text: str) -> Any:
    """The value of an environment variable, of the type that its key has."""
    value: Any = [part.strip() for part in text.split(",") if part.strip()] if name in _LISTS else text
    try:
        return getattr(msgspec.convert({name: value}, _Keys, strict=False), name)
    except msgspec.ValidationError as error:
        raise UsageError(f"{variable}: {error}; unset it, or give it a value that --{name} takes") from error


def _placed(name: str, value: Any, folder: Path) -> Any:
    """A value whose paths are taken from `folder`."""
    if name not in _PATHS:
        return value
    return tuple(folder / one for one in value) if isinstance(value, tuple) else folder / value


def _ignore(one: _Ignore, folder: Path) -> Ignore:
    rules = (one.rule,) if isinstance(one.rule, str) else one.rule
    return Ignore(folder.resolve() / one.path.rstrip("/"), rules, one.reason)


def text(settings: Settings) -> str:
    """What is in force, and where each value comes from, as a table."""
    rows = []
    for name in KEYS:
        held = settings.values.get(name)
        value = settings.value(name)
        shown = (
            ", ".join(map(str, value))
            if isinstance(value, tuple)
            else ""
            if value is None
            else str(value).lower()
            if isinstance(value, bool)
            else str(value)
        )
        rows.append((name, shown or "-", held.source if held else "default"))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{name:{widths[0]}}  {value:{widths[1]}}  {source}" for name, value, source in rows]
    lines += [
        f"\nnot shown in {one.path}: {', '.join(one.rules) or 'all rules'}, because {one.reason}"
        for one in settings.ignores
    ]
    where = settings.file or f"no {NAME} and no [tool.dmamigrate] in a pyproject.toml here or above"
    return (
        "\n".join([*lines, f"\nconfiguration: {where}", f"environment: {PREFIX}TARGET and so on, one for each key"])
        + "\n"
    )
