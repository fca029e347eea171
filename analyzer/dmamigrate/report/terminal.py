# SPDX-License-Identifier: GPL-2.0-only
"""Lines laid out for a screen, pictures of them, and the progress bar; the only module that knows rich."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.style import Style
from rich.text import Text
from rich.theme import Theme

from dmamigrate.findings import Progress as Told
from dmamigrate.report.text import Line

_THEME = Theme(
    {
        "level.error": "bold red", "level.warning": "bold yellow", "level.note": "bold cyan", "good": "bold green",
        "added": "green", "removed": "red", "hunk": "cyan", "caret": "bold green",
        "advice": "green", "step": "cyan", "code": "default", "rule": "magenta",
    }
)  # fmt: skip


def show(lines: Iterable[Line], file: IO[str], links: Callable[[str], str | None]) -> None:
    """Write lines to a terminal, as wide as it is; `links` gives the page of a rule."""
    console = Console(file=file, theme=_THEME, highlight=False, tab_size=8)
    _print(lines, console, links)


def picture(lines: Iterable[Line], command: str, width: int = 100) -> str:
    """What `command` printed, as an SVG picture of a terminal that needs no other file."""
    console = Console(file=io.StringIO(), theme=_THEME, highlight=False, record=True, width=width, force_terminal=True)
    console.print(Text(f"$ {command}", style="bold"))
    _print(lines, console, lambda rule: None)
    drawn = console.export_svg(title="dmamigrate", unique_id="dmamigrate")
    # the fonts of rich's own template would be fetched from elsewhere
    drawn = re.sub(r"\s*@font-face \{.*?\}", "", drawn, flags=re.DOTALL)
    return drawn.replace("Fira Code, monospace", "ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace")


def _print(lines: Iterable[Line], console: Console, links: Callable[[str], str | None]) -> None:
    for line in lines:
        for row in _rows(line, console, links):
            console.print(row, soft_wrap=True)


def _rows(line: Line, console: Console, links: Callable[[str], str | None]) -> Iterator[Text]:
    """A line in rows that fit, what follows the first one indented; the last row that it may take ends in a mark."""
    text = Text(tab_size=8, end="")
    for piece, name in line.pieces:
        kind, dot, rule = name.partition(".")
        link = links(rule) if kind == "rule" and dot else None
        style = Style.combine([console.get_style("rule"), Style(link=link)]) if kind == "rule" and dot else name
        text.append(piece, style)
    text.expand_tabs()
    width = max(20, console.width - line.indent - (0 if line.indent else 4))
    rows = list(text.wrap(console, console.width if text.cell_len <= console.width - line.indent else width)) or [
        Text()
    ]
    if line.rows and len(rows) > line.rows:
        rows = rows[: line.rows]
        rows[-1].truncate(width - 1)
        rows[-1].append("…")
    for number, row in enumerate(rows):
        row.rstrip()
        yield Text(" " * (line.indent or (4 if number else 0))) + row


@contextmanager
def progress(file: IO[str]) -> Iterator[Told | None]:
    """A progress bar with what is at hand on a terminal, nothing elsewhere."""
    console = Console(file=file)
    if not console.is_terminal:
        yield None
        return
    columns = (BarColumn(20), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def told(done: int, total: int, what: str = "") -> None:
            bar.update(task, completed=done, total=total or None, description=what[: max(10, console.width - 40)])

        yield told
