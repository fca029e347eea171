# SPDX-License-Identifier: GPL-2.0-only
"""The options that several commands share, each said once."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """How a report is printed."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    GCC = "gcc"
    GITHUB = "github"
    HTML = "html"


class AnswerFormat(StrEnum):
    """How an answer is printed."""

    TEXT = "text"
    JSON = "json"


class LevelName(StrEnum):
    """The lowest level that is reported."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


class Effort(StrEnum):
    """How far a trace goes before it gives up and says so."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


class By(StrEnum):
    """What becomes one patch."""

    DRIVER = "driver"
    SUBSYSTEM = "subsystem"  # a series each, of a patch for each driver
    FILE = "file"


Paths = Annotated[
    list[Path] | None,
    typer.Argument(metavar="PATH", help="Files and folders; the working folder if none is given.", show_default=False),
]
Tree = Annotated[
    Path | None, typer.Option("--tree", metavar="DIR", help="Kernel root, for facts from other files and the version.")
]
Sources = Annotated[
    list[Path] | None, typer.Option("--sources", metavar="FILE", help="A table of your own, as in rules/sources.")
]
RuleFolder = Annotated[
    Path | None, typer.Option("--rules", metavar="DIR", help="Rules of your own, as in rules/migrate.")
]
Target = Annotated[
    str | None, typer.Option("--target", metavar="VERSION", help="API version that rewrites are for, such as 7.3.")
]
Select = Annotated[
    list[str] | None,
    typer.Option("--select", metavar="RULE[,RULE]", help="Run only these rules; map-resource means all that begin so."),
]
Ignore = Annotated[list[str] | None, typer.Option("--ignore", metavar="RULE[,RULE]", help="Leave out these rules.")]
Level = Annotated[LevelName | None, typer.Option("--level", help="Report only from this level on.")]
FormatOption = Annotated[Format | None, typer.Option("--format", help="How to print the report.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the report to this file.")]
ExitZero = Annotated[bool, typer.Option("--exit-zero", help="Exit with 0 even if there are findings.")]
Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", metavar="N", min=0, help="Processes to use; 0 for one per core.")
]
Pages = Annotated[
    bool | None, typer.Option("--pages/--no-pages", help="Judge dma_map_page() and dma_map_single() too.")
]
EffortOption = Annotated[
    Effort | None, typer.Option("--effort", help="How far an address is traced before it is given up.")
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Neither use nor keep answers of earlier runs.")]
VerifyCache = Annotated[
    bool, typer.Option("--verify-cache", help="Read every file that a kept answer rests on, whatever its times say.")
]
Staged = Annotated[bool, typer.Option("--staged", help="Judge what is staged: what that change touches.")]
Since = Annotated[
    str | None, typer.Option("--since", metavar="REV", help="Judge what changed since this commit or branch.")
]
Everything = Annotated[bool, typer.Option("--all", help="With --staged or --since: also what the change leaves alone.")]
Baseline = Annotated[
    Path | None, typer.Option("--baseline", metavar="FILE", help="Do not show the findings that this file knows.")
]


def _debug(value: bool) -> None:
    if value:
        from dmamigrate.scan import DEBUG

        os.environ[DEBUG] = "1"


Debug = Annotated[
    bool, typer.Option("--debug", callback=_debug, is_eager=True, help="Show the traceback of what goes wrong.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the evidence: where each address comes from.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show the summary only.")]
Diff = Annotated[bool, typer.Option("--diff", help="Show the rewrites.")]

# How help is asked for, everywhere.
NAMES = {"help_option_names": ["-h", "--help"]}


def names_of(values: list[str] | None) -> tuple[str, ...]:
    """The names in an option that may be given several times, each with several names between commas."""
    return tuple(name.strip() for value in values or () for name in value.split(",") if name.strip())
