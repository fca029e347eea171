# SPDX-License-Identifier: GPL-2.0-only
"""Colour for the text report, and the progress bar; the only module that knows rich."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from dmamigrate.findings import Progress as Told

_STYLES = (
    (re.compile(r"^(\S+:\d+:\d+: )(error)(: .*)$"), "red bold"),
    (re.compile(r"^(\S+:\d+:\d+: )(warning)(: .*)$"), "yellow bold"),
    (re.compile(r"^(\S+:\d+:\d+: )(note)(: .*)$"), "cyan bold"),
    (re.compile(r"^(\s*)(\^+)()$"), "green"),
    (re.compile(r"^(\s*\d* \| \s*)(\^+)()$"), "green bold"),
    (re.compile(r"^(    |)(\+.*)()$"), "green"),
    (re.compile(r"^(    |)(-.*)()$"), "red"),
)


def is_coloured(file: IO[str]) -> bool:
    """Whether `file` is a terminal, and NO_COLOR is not set."""
    console = Console(file=file)
    return console.is_terminal and not console.no_color


def print_text(text: str, file: IO[str]) -> None:
    """Write a text report in colour."""
    console = Console(file=file, highlight=False, soft_wrap=True, tab_size=8)
    for line in text.encode("utf-8", "replace").decode("utf-8").split("\n")[:-1]:
        console.print(_styled(line))


def _styled(line: str) -> Text:
    for pattern, style in _STYLES:
        match = pattern.match(line)
        if match is not None:
            return Text.assemble(match[1], (match[2], style), match[3])
    return Text(line)


@contextmanager
def progress(file: IO[str]) -> Iterator[Told | None]:
    """A progress bar on a terminal, nothing elsewhere."""
    console = Console(file=file)
    if not console.is_terminal:
        yield None
        return
    bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console, transient=True)
    with bar:
        task = bar.add_task("modules", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
