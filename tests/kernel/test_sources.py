# SPDX-License-Identifier: GPL-2.0-only
"""The tables speak of interfaces that exist."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from dmamigrate import rules
from dmamigrate.syntax.source import Source
from dmamigrate.syntax.unit import Unit

pytestmark = pytest.mark.kernel
_FOLDERS = ("include", "lib", "mm", "kernel", "arch/x86/include", "arch/arm64/include", "arch/powerpc", "net/core",
"sound/core",
            "drivers/base", "drivers/of", "drivers/pci", "drivers/acpi", "drivers/pnp", "drivers/mcb",
            "drivers/media/common")  # fmt: skip


def test_every_name_is_known_to_some_kernel(kernel: Callable[[str], Path]) -> None:
    words: set[bytes] = set()
    for version in ("6.1", "6.12", "7.3"):
        root = kernel(version)
        for folder in _FOLDERS:
            for file in (root / folder).rglob("*.[ch]"):
                words.update(re.findall(rb"\w+", file.read_bytes()))
    unknown: list[str] = []
    for table in sorted((rules.folder() / "sources").glob("*.toml")):
        entries = [
            entry for kind in tomllib.loads(table.read_text()).values() if isinstance(kind, list) for entry in kind
        ]
        for entry in entries:
            if "removed in" in entry["evidence"]:
                continue  # out-of-tree drivers still call it
            names = [
                *entry.get("call", ()),
                *entry.get("variable", ()),
                *(n for f in entry.get("field", ()) for n in f.split(".")),
            ]
            unknown += [f"{table.name}: {name}" for name in names if name.encode() not in words]
    assert unknown == []


def test_layouts_are_those_of_the_headers(kernel: Callable[[str], Path]) -> None:
    entries = tomllib.loads((rules.folder() / "sources" / "layouts.toml").read_text())["layout"]
    known = rules.tables().layouts
    wrong: list[str] = []
    for version in ("6.1", "6.12", "7.3"):
        for entry in entries:
            header = kernel(version) / entry["evidence"].partition(":")[0]
            fields = Unit(Source(header.name, header.read_bytes())).fields(entry["struct"]) or {}
            wrong += [
                f"{version}: {entry['struct']}.{name}: {fields.get(name)}"
                for name in entry["member"]
                if fields.get(name) != known[f"{entry['struct']}.{name}"]
            ]
    assert wrong == []
