# SPDX-License-Identifier: GPL-2.0-only
"""The command line. A command imports its modules when it runs, so that --version and the hook start fast."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from dmamigrate import __version__
from dmamigrate.errors import DmamigrateError, UsageError

if TYPE_CHECKING:
    from dmamigrate.findings import Report
    from dmamigrate.values.knowledge import Knowledge

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Move kernel drivers to dma_map_phys() and DMA_ATTR_MMIO: find the calls, trace each address to its origin, "
    "pair maps with unmaps, propose rewrites, prove them.",
    epilog="Exit status: 0 nothing to report, 1 findings, 2 the job could not be done.",
)  # fmt: skip
model_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The bundled model of the DMA API.")
app.add_typer(model_app, name="model")


class Format(StrEnum):
    """How a report is printed."""

    TEXT = "text"
    JSON = "json"


class LevelName(StrEnum):
    """The lowest level that is reported."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


def _version(value: bool) -> None:
    if value:
        typer.echo(f"dmamigrate {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _split(values: list[str] | None) -> tuple[str, ...]:
    return tuple(name.strip() for value in values or () for name in value.split(",") if name.strip())


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


Paths = Annotated[list[Path] | None, typer.Argument(help="Files and folders; the working folder if none is given.")]
Tree = Annotated[Path | None, typer.Option("--tree", help="Kernel root, for facts from other files and the version.")]
Sources = Annotated[list[Path] | None, typer.Option("--sources", help="A table of your own, as in rules/sources.")]
Target = Annotated[str | None, typer.Option("--target", help="API version that rewrites are for, such as 6.18 or 7.3.")]


@app.command()
def scan(
    paths: Paths = None,
    fmt: Annotated[Format, typer.Option("--format", help="How to print the report.")] = Format.TEXT,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the report to this file.")] = None,
    tree: Tree = None,
    target: Target = None,
    select: Annotated[list[str] | None, typer.Option("--select", help="Run only these rules (RULE[,RULE]).")] = None,
    ignore: Annotated[list[str] | None, typer.Option("--ignore", help="Leave out these rules (RULE[,RULE]).")] = None,
    level: Annotated[LevelName, typer.Option("--level", help="Report only from this level on.")] = LevelName.NOTE,
    diff: Annotated[bool, typer.Option("--diff", help="Show each rewrite as a whole diff.")] = False,
    statistics: Annotated[bool, typer.Option("--statistics", help="Count the findings of each rule.")] = False,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit with 0 even if there are findings.")] = False,
    pages: Annotated[
        bool, typer.Option("--pages", help="Judge the lives of dma_map_page() and dma_map_single() too.")
    ] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=0, help="Processes to use; 0 for one per core.")] = 0,
    sources: Sources = None,
    depth: Annotated[int, typer.Option("--depth", min=1, help="Budget of a trace: nested steps.")] = 60,
    questions: Annotated[int, typer.Option("--questions", min=1, help="Budget of a trace: questions in all.")] = 3000,
    files: Annotated[int, typer.Option("--files", min=1, help="Budget of a trace: files opened.")] = 2000,
    callers: Annotated[int, typer.Option("--callers", min=1, help="Budget of a trace: callers of one function.")] = 60,
    dead_ends: Annotated[
        int, typer.Option("--dead-ends", min=1, help="Budget of a trace: paths that end nowhere.")
    ] = 40,
) -> None:
    """Find the calls, trace their addresses, propose rewrites and prove them."""
    from dmamigrate import rules
    from dmamigrate import scan as scans
    from dmamigrate.findings import Level
    from dmamigrate.program.questions import Budget
    from dmamigrate.report import terminal

    options = scans.Options(
        paths=tuple(paths or [Path()]), rules=rules.select(rules.load(), _split(select), _split(ignore)),
        knowledge=_knowledge(sources), tree=_folder(tree), target=_target(target), level=Level(level),
        jobs=jobs or os.cpu_count() or 1, pages=pages,
        budget=Budget(depth, questions, callers, files, dead_ends), version=__version__,
    )  # fmt: skip
    with terminal.progress(sys.stderr) as progress:
        report = scans.scan(options, progress)
    _finish(report, fmt, output, exit_zero, diff, statistics)


@app.command()
def review(
    change: Annotated[
        str,
        typer.Argument(
            metavar="PATCH|REV|REV..REV|-", help="A patch, mail or mailbox (- for standard input); a commit."
        ),
    ],
    fmt: Annotated[Format, typer.Option("--format", help="How to print the report.")] = Format.TEXT,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the report to this file.")] = None,
    tree: Tree = None,
    target: Target = None,
    select: Annotated[list[str] | None, typer.Option("--select", help="Run only these rules (RULE[,RULE]).")] = None,
    ignore: Annotated[list[str] | None, typer.Option("--ignore", help="Leave out these rules (RULE[,RULE]).")] = None,
    level: Annotated[LevelName, typer.Option("--level", help="Report only from this level on.")] = LevelName.NOTE,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit with 0 even if there are findings.")] = False,
    sources: Sources = None,
) -> None:
    """Judge a patch or commit that somebody else wrote, without touching the tree."""
    from dmamigrate import git, rules
    from dmamigrate import review as judge
    from dmamigrate import scan as scans
    from dmamigrate.findings import Level

    # a patch names files from the top of its repository
    found = scans.find_tree((Path(),))
    root = (_folder(tree) or (found if (found / "MAINTAINERS").is_file() else git.root(found) or found)).resolve()
    options = scans.Options(
        paths=(root,), rules=rules.select(rules.load(), _split(select), _split(ignore)), knowledge=_knowledge(sources),
        tree=root, target=_target(target), level=Level(level), version=__version__,
    )  # fmt: skip
    report = judge.review(options, judge.changed_files(change, root, sys.stdin.buffer.read))
    _finish(report, fmt, output, exit_zero)


def _finish(
    report: Report, fmt: Format, output: Path | None, exit_zero: bool, diff: bool = False, statistics: bool = False
) -> NoReturn:
    """Print a report, and leave with the status that it means."""
    from dmamigrate.report import json, terminal, text

    if fmt is Format.JSON:
        write(json.render(report), output)
    elif output is None and terminal.is_coloured(sys.stdout):
        terminal.print_text(text.render(report, diff, statistics), sys.stdout)
    else:
        write(text.render(report, diff, statistics), output)
    raise typer.Exit(1 if report.findings and not exit_zero else 0)


class By(StrEnum):
    """What becomes one patch."""

    DRIVER = "driver"
    SUBSYSTEM = "subsystem"
    FILE = "file"


@app.command()
def patch(
    paths: Paths = None,
    folder: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the series into this folder, for git am.")
    ] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Change the files themselves.")] = False,
    stdout: Annotated[bool, typer.Option("--stdout", help="Print the series as one mailbox.")] = False,
    split: Annotated[By, typer.Option("--split", help="What becomes one patch.")] = By.DRIVER,
    tree: Tree = None,
    target: Target = None,
    select: Annotated[
        list[str] | None, typer.Option("--select", help="Take only what these rules propose (RULE[,RULE]).")
    ] = None,
    ignore: Annotated[list[str] | None, typer.Option("--ignore", help="Leave out these rules (RULE[,RULE]).")] = None,
    unproved: Annotated[
        bool, typer.Option("--unproved", help="Also what the model could not prove; the patch says so.")
    ] = False,
    compat: Annotated[bool, typer.Option("--compat", help="Keep the driver building on kernels before 6.18.")] = False,
    signoff: Annotated[bool, typer.Option("--signoff", help="Sign off with your git identity.")] = False,
    cover: Annotated[bool, typer.Option("--cover-letter", help="Begin the series with a cover letter.")] = False,
    recipients: Annotated[bool, typer.Option(help="To and Cc from the tree's scripts/get_maintainer.pl.")] = True,
    check_build: Annotated[
        Path | None, typer.Option("--check-build", help="Compile before and after, in a copy of this tree.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --in-place: also files with uncommitted changes.")
    ] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=0, help="Processes to use; 0 for one per core.")] = 0,
    sources: Sources = None,
) -> None:
    """Write what is proved as patches: a series for git am, or changed files."""
    from dmamigrate import rules
    from dmamigrate import scan as scans
    from dmamigrate.patch import files, produce, series
    from dmamigrate.report import terminal

    if (folder is not None) + in_place + stdout != 1:
        raise UsageError("where to? give one of -o FOLDER, --in-place and --stdout")
    options = scans.Options(
        paths=tuple(paths or [Path()]), rules=rules.select(rules.load(), _split(select), _split(ignore)),
        knowledge=_knowledge(sources), tree=_folder(tree), target=_target(target), jobs=jobs or os.cpu_count() or 1, version=__version__,
    )  # fmt: skip
    wishes = produce.Wishes(
        rules.folder(),
        split.value,
        unproved,
        compat,
        signoff,
        cover,
        recipients and not in_place,
        _folder(check_build),
        options.jobs,
    )
    with terminal.progress(sys.stderr) as progress:
        report = scans.scan(options, progress)
    made = produce.changes(report, wishes)
    for line in made.said:
        typer.echo(line, err=True)
    if in_place:
        for path in produce.in_place(report, made, force):
            typer.echo(path)
    elif made.changes:
        mails = series.mails(produce.series(report, made, wishes))
        if folder is None:
            sys.stdout.buffer.write(b"".join(data for _, data in mails))
        else:
            for path in files.into(folder, mails):
                typer.echo(path)
    broken = any(": broken" in line for line in made.said)
    typer.echo(f"{len(made.changes)} patch{'es' if len(made.changes) != 1 else ''}", err=True)
    raise typer.Exit(1 if broken else 0)


def _knowledge(sources: list[Path] | None) -> Knowledge:
    from dmamigrate import rules
    from dmamigrate.values import knowledge

    return knowledge.load([*sorted((rules.folder() / "sources").glob("*.toml")), *(sources or [])])


def _folder(tree: Path | None) -> Path | None:
    if tree is not None and not tree.is_dir():
        raise UsageError(f"{tree}: no such folder; --tree takes the root of a kernel tree")
    return tree


def _target(target: str | None) -> str | None:
    from dmamigrate.model.versions import release

    if target is not None and release(target) < (6, 18):
        raise UsageError(f"{target}: dma_map_phys() is new in 6.18; give --target 6.18 or newer")
    return target


@app.command()
def trace(
    place: Annotated[str, typer.Argument(help="FILE:LINE or FILE:LINE:COLUMN of a call or an expression.")],
    arg: Annotated[
        int | None, typer.Option("--arg", min=0, help="The argument, from 0; the address if it is a DMA call.")
    ] = None,
    fmt: Annotated[Format, typer.Option("--format", help="How to print the answer.")] = Format.TEXT,
    tree: Tree = None,
    sources: Sources = None,
    depth: Annotated[int, typer.Option("--depth", min=1, help="Budget: nested steps.")] = 60,
    questions: Annotated[int, typer.Option("--questions", min=1, help="Budget: questions in all.")] = 3000,
    files: Annotated[int, typer.Option("--files", min=1, help="Budget: files opened.")] = 2000,
    callers: Annotated[int, typer.Option("--callers", min=1, help="Budget: callers of one function.")] = 60,
    dead_ends: Annotated[int, typer.Option("--dead-ends", min=1, help="Budget: paths that end nowhere.")] = 40,
) -> None:
    """Show where the address in a call, or the value of an expression, comes from."""
    from dmamigrate import scan as scans
    from dmamigrate.program.questions import Budget
    from dmamigrate.report import path

    origin = scans.trace(
        place, arg, _folder(tree), _knowledge(sources), Budget(depth, questions, callers, files, dead_ends)
    )
    typer.echo(path.as_json(origin) if fmt is Format.JSON else path.as_text(origin), nl=False)


@app.command()
def rules(rule: Annotated[str | None, typer.Argument(help="The rule to explain.")] = None) -> None:
    """List the rules, or explain one."""
    from dmamigrate import rules as rule_files
    from dmamigrate.report import explain

    known = rule_files.load()
    typer.echo(explain.one(rule_files.select(known, (rule,), ())[0]) if rule else explain.listing(known), nl=False)


@model_app.command()
def prove() -> None:
    """Prove every rule's rewrite, and that every wrong one is refuted for its reason."""
    from dmamigrate import rules as rule_files
    from dmamigrate.model import prove as proofs

    done = list(proofs.prove(rule_files.load()))
    typer.echo(proofs.table(done), nl=False)
    raise typer.Exit(0 if done and all(proof.holds for proof in done) else 1)


@model_app.command()
def show(
    call: Annotated[str, typer.Argument(help="A mapping call, such as dma_map_resource.")],
    version: Annotated[str, typer.Option("--version", help="The API version.")] = "7.3",
    old: Annotated[str | None, typer.Option("--from", help="With --to: what changed since this version.")] = None,
    new: Annotated[str | None, typer.Option("--to", help="With --from: up to this version.")] = None,
    attrs: Annotated[str, typer.Option("--attrs", help="Attributes, as MMIO,SKIP_CPU_SYNC.")] = "",
) -> None:
    """Print what a call does in which states, or what changed between two versions."""
    from dmamigrate.model import show as tables

    held = tables.attributes(attrs.replace("|", ",").replace(" ", "").split(","))
    if (not (old or new) and (old is not None or new is not None)) or bool(old) != bool(new):
        raise UsageError("--from and --to go together; give both versions")
    text = tables.changes(call, old, new, held) if old and new else tables.decision_table(call, version, held)
    typer.echo(text, nl=False)


@model_app.command()
def conform(
    tree: Annotated[Path, typer.Option("--tree", help="The kernel tree whose functions are compiled and run.")],
    show: Annotated[int, typer.Option("--show", min=0, help="Disagreements to print in full.")] = 3,
    nearest: Annotated[
        bool, typer.Option("--nearest", help="Also a version that nobody read: say what drifted from the nearest.")
    ] = False,
) -> None:
    """Run the model and a tree's own functions through the same states, and compare."""
    from dmamigrate import scan as scans
    from dmamigrate.model import conform as harness
    from dmamigrate.model import extract

    version = scans.tree_version(_folder(tree) or tree)
    if version is None:
        raise UsageError(f"{tree}: no kernel tree, its Makefile states no version; name the root of one")
    extract.plan_for(version, nearest)
    typer.echo(harness.announcement(tree), err=True)
    result = harness.conform(tree, version, harness.Wish(show, nearest=nearest))
    typer.echo(harness.report(result, show), nl=False)
    raise typer.Exit(1 if result.disagreements or result.drifted else 0)


class ArchName(StrEnum):
    """Which kernels are booted."""

    X86_64 = "x86_64"
    ARM64 = "arm64"


@model_app.command()
def boot(
    tree: Annotated[Path, typer.Option("--tree", help="The kernel tree that is built, out of tree, and booted.")],
    arch: Annotated[
        list[ArchName] | None, typer.Option("--arch", help="x86_64 or arm64; both where their tools are there.")
    ] = None,
    machine: Annotated[list[str] | None, typer.Option("--machine", help="Boot only these (NAME[,NAME]).")] = None,
    show: Annotated[int, typer.Option("--show", min=0, help="Disagreements to print in full.")] = 3,
) -> None:
    """Boot a small kernel under QEMU and hold it against the model; show what rules say goes wrong."""
    from dmamigrate import scan as scans
    from dmamigrate.model import boot as boots
    from dmamigrate.model import booted, extract

    version = scans.tree_version(_folder(tree) or tree)
    if version is None:
        raise UsageError(f"{tree}: no kernel tree, its Makefile states no version; name the root of one")
    plan = extract.plan_for(version)
    chosen = [boots.ARCHES[name] for name in arch] if arch else boots.possible()
    names = boots.machines(chosen, _split(machine))
    status = 0
    for one in chosen:
        logs = boots.boots(one, tree, lambda line: typer.echo(line, err=True), names)
        results = [booted.compare(log, plan) for log in logs]
        found = booted.shown(logs)
        typer.echo(
            f"{one.name}, kernel {boots.point_release(tree)}:\n{booted.report(results, show)}{booted.claims_report(found)}",
            nl=False,
        )
        status |= any(result.differ for result in results) or not all(claim.holds for claim in found)
    raise typer.Exit(status)


def main() -> NoReturn:
    """Run the command line; errors of the user are one line on standard error and exit status 2."""
    try:
        app(standalone_mode=True)
    except DmamigrateError as error:
        sys.stderr.write(f"dmamigrate: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("dmamigrate: interrupted\n")
        sys.exit(130)
    except OSError as error:
        sys.stderr.write(f"dmamigrate: {error.filename or 'output'}: {error.strerror}\n")
        sys.exit(2)
    sys.exit(0)
