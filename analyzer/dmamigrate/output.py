# SPDX-License-Identifier: GPL-2.0-only
"""Where results go: whole files, standard output, a terminal; and the bar on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from dmamigrate.findings import Progress, Report
from dmamigrate.report.places import View


def write(text: str, output: Path | None) -> None:
    """Write a result to a file, whole or not at all, or to standard output. Raises UsageError if that fails.

    Bytes of a source that are no UTF-8 come out as they went in.
    """
    data = text.encode("utf-8", "surrogateescape")
    if output is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    from dmamigrate.patch import files

    files.replace(output, data)


@contextmanager
def progress() -> Iterator[Progress | None]:
    """A progress bar where somebody may look at it; rich is not even imported elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from dmamigrate.report import terminal

    with terminal.progress(sys.stderr) as told:
        yield told


def view(
    report: Report,
    rules: Path | None,
    wishes: tuple[bool, bool, bool] = (False, False, False),
    asked: Iterable[str] = (),
) -> View:
    """How to show a report: the rules that it speaks of, and the drivers of its files; `wishes` are evidence, diff,
    quiet, and `asked` the words that say what was looked at.
    """
    from dmamigrate import request
    from dmamigrate.patch import drivers

    evidence, diff, quiet = wishes
    names = {}
    for path in sorted({finding.span.path for finding in report.findings}) if not quiet else ():
        module = drivers.built_into(Path(report.root), path)
        folder = path.rpartition("/")[0]
        names[path] = f"{folder}/{module}" if module else folder
    known = {rule.id: rule for rule in request.known_rules(rules)} if report.findings or report.silenced else {}
    return View(os.getcwd(), known, names, {}, evidence, diff, quiet, tuple(asked))


def _with_areas(report: Report, how: View) -> View:
    """The same with the subsystem of each file as MAINTAINERS has it, which takes a while to read."""
    from dmamigrate.patch import drivers

    root = Path(report.root)
    areas = {path: drivers.subsystem(root, path) for path in sorted({finding.span.path for finding in report.findings})}
    return replace(how, areas=areas)


def show(report: Report, how: View, fmt: str, output: Path | None) -> None:
    """Print a report in a format, or write it to a file. Raises UsageError if it cannot be written."""
    if fmt == "text" and output is None and (sys.stdout.isatty() or os.environ.get("FORCE_COLOR")):
        from dmamigrate.report import terminal, text

        sys.stdout.flush()
        terminal.show(text.lines(report, how), sys.stdout, _rule_page)
    else:
        write(_rendered(report, how, fmt), output)


def _rendered(report: Report, how: View, fmt: str) -> str:
    from dmamigrate.report import gcc, github, json, text

    match fmt:
        case "json":
            return json.render(report)
        case "gcc":
            return gcc.render(report, how.folder)
        case "github":
            return github.render(report, how.folder)
        case "sarif":
            from dmamigrate.report import sarif

            return sarif.render(report, how.rules)
        case "html":
            from dmamigrate.report import html

            return html.render(report, _with_areas(report, how))
        case "statistics":
            return text.statistics(report)
    return text.render(report, how)


def _rule_page(rule: str) -> str | None:
    """Where a rule stands, for a terminal that can follow links."""
    from dmamigrate import rules

    file = rules.folder() / "migrate" / f"{rule}.toml"
    return file.resolve().as_uri() if file.is_file() else None
