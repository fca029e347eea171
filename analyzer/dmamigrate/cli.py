# SPDX-License-Identifier: GPL-2.0-only
"""The command line. A command imports its modules when it runs, so that --version and the hook start fast."""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from dmamigrate import __version__
from dmamigrate.cli_model import app as model_app
from dmamigrate.cli_options import (
    NAMES,
    AnswerFormat,
    Baseline,
    By,
    Debug,
    Diff,
    EffortOption,
    Everything,
    ExitZero,
    FormatOption,
    Ignore,
    Jobs,
    Level,
    LevelName,
    NoCache,
    Output,
    Pages,
    Paths,
    Quiet,
    RuleFolder,
    Select,
    Since,
    Sources,
    Staged,
    Target,
    Tree,
    Verbose,
    VerifyCache,
    names_of,
)  # fmt: skip
from dmamigrate.errors import DmamigrateError, UsageError

if TYPE_CHECKING:
    from dmamigrate.config import Settings
    from dmamigrate.findings import Report
    from dmamigrate.request import Outcome, Request

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None, context_settings=NAMES,
    help="Move kernel drivers to dma_map_phys() and DMA_ATTR_MMIO: find the calls, trace each address to its origin, "
    "pair maps with unmaps, propose rewrites, prove them.",
    epilog="Exit status: 0 nothing to report, 1 findings, 2 the job could not be done. Options can also be set in "
    ".dmamigrate.toml, pyproject.toml and DMAMIGRATE_* variables: `dmamigrate config` shows what is in force.",
)  # fmt: skip
hook_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, context_settings=NAMES, help="A git hook that judges each commit."
)
app.add_typer(model_app, name="model")
app.add_typer(hook_app, name="hook")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"dmamigrate {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(short_help="Find, trace, propose and prove.")
def scan(
    paths: Paths = None,
    fmt: FormatOption = None,
    output: Output = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
    diff: Diff = False,
    statistics: Annotated[bool, typer.Option("--statistics", help="Counts instead of findings.")] = False,
    staged: Staged = False,
    since: Since = None,
    everything: Everything = False,
    baseline: Baseline = None,
    write_baseline: Annotated[
        Path | None, typer.Option("--write-baseline", metavar="FILE", help="Write down what is found, and end well.")
    ] = None,
    select: Select = None,
    ignore: Ignore = None,
    level: Level = None,
    pages: Pages = None,
    tree: Tree = None,
    target: Target = None,
    sources: Sources = None,
    rules: RuleFolder = None,
    effort: EffortOption = None,
    stdin_filename: Annotated[
        Path | None, typer.Option("--stdin-filename", metavar="NAME", help="With - as PATH: the file that it holds.")
    ] = None,
    exit_zero: ExitZero = False,
    jobs: Jobs = None,
    no_cache: NoCache = False,
    verify_cache: VerifyCache = False,
    debug: Debug = False,
) -> None:
    """Find the calls, trace their addresses, propose rewrites and prove them."""
    from dmamigrate import output as results
    from dmamigrate import request

    asked = request.Request(
        tuple(paths or ()), tree, target, names_of(select), names_of(ignore), level, pages, effort, jobs,
        tuple(sources or ()), rules, staged, since, everything, baseline if write_baseline is None else None,
        stdin_filename,
        False if no_cache else None, verify_cache,
    )  # fmt: skip
    held = request.settings((stdin_filename or Path(),) if stdin_filename else asked.paths)
    if write_baseline is not None:
        held = held.without("baseline")
    done = _run(asked, held)
    if write_baseline is not None:
        _write_baseline(write_baseline, done.report)
    how = results.view(done.report, rules or held.value("rules"), (verbose, diff, quiet), asked.words())
    wanted = str(held.value("format", fmt))
    results.show(done.report, how, "statistics" if statistics and wanted == "text" else wanted, output)
    _leave(done.report, exit_zero)


def _run(asked: Request, held: Settings) -> Outcome:
    from dmamigrate import output, request

    with output.progress() as progress:
        done = request.run(asked, held, __version__, sys.stdin.buffer.read, progress)
    for line in done.said:
        _say(line)
    return done


def _write_baseline(file: Path, report: Report) -> NoReturn:
    from dmamigrate import baseline, output

    output.write(baseline.text(report.findings), file)
    count = len(report.findings)
    typer.echo(f"{file}: {count} finding{'s' if count != 1 else ''}; --baseline {file} shows only new ones", err=True)
    raise typer.Exit(0)


def _leave(report: Report, exit_zero: bool = False) -> NoReturn:
    """End with the status that a report means."""
    if report.findings:
        raise typer.Exit(0 if exit_zero else 1)
    if report.unjudged:
        raise UsageError("something that names a mapping call could not be judged; see what was skipped")
    raise typer.Exit(0)


@app.command(short_help="Judge somebody else's patch or commit.")
def review(
    change: Annotated[
        str,
        typer.Argument(
            metavar="PATCH|FOLDER|REV|REV..REV|-",
            help="A patch, mail or mailbox (- for standard input), a folder of them; a commit.",
        ),
    ],
    fmt: FormatOption = None,
    output: Output = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
    diff: Diff = False,
    tree: Tree = None,
    target: Target = None,
    select: Select = None,
    ignore: Ignore = None,
    level: Level = None,
    exit_zero: ExitZero = False,
    sources: Sources = None,
    rules: RuleFolder = None,
    pages: Pages = None,
    everything: Annotated[bool, typer.Option("--all", help="Report also what the change does not touch.")] = False,
    debug: Debug = False,
) -> None:
    """Judge a patch or commit that somebody else wrote, without touching the tree."""
    from dmamigrate import changes, git, request
    from dmamigrate import output as results
    from dmamigrate import review as judge
    from dmamigrate import scan as scans

    # a patch names files from the top of its repository
    found = scans.find_tree((Path(),))
    held = request.settings(())
    given = request.folder_of(held.value("tree", tree))
    root = (given or (found if (found / "MAINTAINERS").is_file() else git.root(found) or found)).resolve()
    reading = cache(sys.stdin.buffer.read)
    try:
        made = changes.change(change, root, reading)
    except UsageError:
        # a driver outside of the kernel that is named for facts
        own = git.root(Path())
        if given is None or own is None or own.resolve() == root:
            raise
        root = own.resolve()
        made = changes.change(change, root, reading)
    asked = request.Request(
        (root,),
        given or root,
        target,
        names_of(select),
        names_of(ignore),
        level,
        pages,
        sources=tuple(sources or ()),
        rules=rules,
    )
    options = request.options(asked, held, __version__)
    if made.applied:
        _say(f"{change}: is applied already; judged against the tree without it")
    with results.progress() as progress:
        done = request.Outcome(judge.review(options, made, everything, progress))
    how = results.view(done.report, rules or held.value("rules"), (verbose, diff, quiet))
    results.show(done.report, how, str(held.value("format", fmt)), output)
    _leave(done.report, exit_zero)


@app.command(short_help="Write what is proved as a series for git am.")
def patch(
    paths: Paths = None,
    folder: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Write the series into this folder, for git am."),
    ] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Change the files themselves.")] = False,
    stdout: Annotated[bool, typer.Option("--stdout", help="Print the series as one mailbox.")] = False,
    split: Annotated[
        By, typer.Option("--split", help="What becomes one patch; subsystem: a series each, by driver.")
    ] = By.DRIVER,
    reroll: Annotated[
        int,
        typer.Option(
            "--reroll",
            metavar="N",
            min=1,
            help="Which version of the series this is; from 2 on with room for what changed.",
        ),
    ] = 1,
    staged: Staged = False,
    since: Since = None,
    everything: Everything = False,
    baseline: Baseline = None,
    select: Select = None,
    ignore: Ignore = None,
    level: Level = None,
    pages: Pages = None,
    tree: Tree = None,
    target: Target = None,
    sources: Sources = None,
    rules: RuleFolder = None,
    effort: EffortOption = None,
    unproved: Annotated[
        bool, typer.Option("--unproved", help="Also what the model could not prove; the patch says so.")
    ] = False,
    compat: Annotated[bool, typer.Option("--compat", help="Keep the driver building on kernels before 6.18.")] = False,
    signoff: Annotated[bool, typer.Option("--signoff", help="Sign off with your git identity.")] = False,
    cover: Annotated[bool, typer.Option("--cover-letter", help="Begin the series with a cover letter.")] = False,
    recipients: Annotated[bool, typer.Option(help="To and Cc from the tree's scripts/get_maintainer.pl.")] = True,
    check_build: Annotated[
        Path | None,
        typer.Option("--check-build", metavar="TREE", help="Compile before and after, in a copy of this tree."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --in-place: also files with uncommitted changes.")
    ] = False,
    jobs: Jobs = None,
    no_cache: NoCache = False,
    verify_cache: VerifyCache = False,
    debug: Debug = False,
) -> None:
    """Write what is proved as patches: a series for git am, or changed files."""
    from dmamigrate import request
    from dmamigrate import rules as rule_files
    from dmamigrate.patch import files, produce, series
    from dmamigrate.report.visible import visible

    if (folder is not None) + in_place + stdout != 1:
        raise UsageError("where to? give one of -o FOLDER, --in-place and --stdout")
    asked = request.Request(
        tuple(paths or ()), tree, target, names_of(select), names_of(ignore), level, pages, effort, jobs,
        tuple(sources or ()), rules, staged, since, everything, baseline, None, False if no_cache else None,
        verify_cache,
    )  # fmt: skip
    held = request.settings(asked.paths)
    wishes = produce.Wishes(
        rule_files.folder(),
        split.value,
        unproved,
        compat,
        signoff,
        cover,
        recipients and not in_place,
        request.folder_of(check_build),
        held.value("jobs", jobs) or os.cpu_count() or 1,
        reroll,
    )
    report = _run(asked, held).report
    made = produce.changes(report, wishes)
    for line in made.left:
        place, _, why = line.partition(": ")
        _say(f"{place}: left alone: {why}")
    for line in made.said:
        _say(line)
    if in_place:
        for path in produce.in_place(report, made, force):
            typer.echo(visible(path))
    elif made.changes:
        several, said = produce.series(report, made, wishes)
        for line in said:
            _say(line)
        written = [(files.place(one.name, name), data) for one in several for name, data in series.mails(one)]
        if folder is None:
            sys.stdout.buffer.write(b"".join(data for _, data in written))
        else:
            for path in files.into(folder, written):
                typer.echo(visible(path))
    if report.unjudged and not report.findings:
        raise UsageError(
            "no patch was written: something that names a mapping call could not be judged; see what was skipped"
        )
    _say(_summary(len(made.changes), len(made.left), in_place))
    raise typer.Exit(1 if made.broken else 0)


def _summary(count: int, left: int, in_place: bool) -> str:
    """What a run of `patch` came to, in a sentence."""
    what = "change" if in_place else "patch"
    made = f"{count} {what}{('s' if in_place else 'es') if count != 1 else ''}" if count else "no patch was written"
    if not left:
        return made if count else f"{made}: nothing was found"
    found = "places that were found are" if left != 1 else "place that was found is"
    return f"{made}; {left} {found} not in it, see above"


@app.command(short_help="Show where an address comes from.")
def trace(
    place: Annotated[
        str, typer.Argument(metavar="FILE:LINE[:COLUMN]", help="A call or an expression, as reports name it.")
    ],
    arg: Annotated[
        int | None,
        typer.Option("--arg", metavar="N", min=0, help="The argument, from 0; the address if it is a DMA call."),
    ] = None,
    fmt: Annotated[AnswerFormat, typer.Option("--format", help="How to print the answer.")] = AnswerFormat.TEXT,
    tree: Tree = None,
    sources: Sources = None,
    effort: EffortOption = None,
) -> None:
    """Show where the address in a call, or the value of an expression, comes from."""
    from dmamigrate import request
    from dmamigrate import scan as scans
    from dmamigrate.report import path

    # a pasted line of a report may go on behind its place
    found = re.match(r"(.+?:\d+(?::\d+)?)(?::.*)?\Z", place.strip())
    where = found[1] if found else place
    held = request.settings((Path(where.partition(":")[0]),))
    given = request.folder_of(held.value("tree", tree))
    root = scans.roots(given, (Path(where.partition(":")[0]),))[0]
    table = request.table(held.value("sources", tuple(sources or ())) or ())
    origin = scans.trace(where, arg, given, table, request.budget(held.value("effort", effort)))
    shown = path.as_json(origin) if fmt is AnswerFormat.JSON else path.as_text(origin, str(root), os.getcwd())
    typer.echo(shown, nl=False)


@app.command(short_help="List the rules, or explain one.")
def rules(
    rule: Annotated[
        str | None, typer.Argument(metavar="[RULE]", help="The rule to explain.", show_default=False)
    ] = None,
    folder: RuleFolder = None,
) -> None:
    """List the rules, or explain one: why, how it fails, before and after, where to read on."""
    from dmamigrate import request
    from dmamigrate import rules as rule_files
    from dmamigrate.report import explain

    known = request.known_rules(request.settings(()).value("rules", folder))
    if rule is None:
        typer.echo(explain.listing(known), nl=False)
        return
    meant = rule_files.named(known, rule)
    found = [one for one in known if one.id in meant]
    typer.echo(explain.listing(tuple(found)) if len(found) > 1 else explain.one(found[0]), nl=False)


@app.command(short_help="Show what is in force, and from where.")
def config(paths: Paths = None) -> None:
    """Show what is in force for a path, and where each value was set."""
    from dmamigrate import answers, request
    from dmamigrate import config as settings

    typer.echo(settings.text(request.settings(tuple(paths or ()))), nl=False)
    where = answers.folder()
    typer.echo(f"answers of earlier runs: {where}, {answers.size(where) / (1 << 20):.1f} MB; --no-cache does without")


@hook_app.command()
def install() -> None:
    """Put a pre-commit hook into this repository, which judges what is staged."""
    from dmamigrate import hook

    typer.echo(f"{hook.install(Path())}: judges each commit; `git commit -n` passes it by")


@hook_app.command()
def run(
    level: Annotated[LevelName, typer.Option("--level", help="Stop a commit from this level on.")] = LevelName.WARNING,
) -> None:
    """Judge what is staged; in CI, what pre-commit says is to be compared."""
    from dmamigrate import output as results
    from dmamigrate import request

    base = os.environ.get("PRE_COMMIT_FROM_REF")
    asked = request.Request(level=level, staged=base is None, since=base)
    held = request.settings(())
    done = _run(asked, held)
    if not done.report.files:
        typer.echo("no C file is staged: nothing was judged", err=True)
    if done.report.findings or done.report.skipped:
        results.show(done.report, results.view(done.report, held.value("rules"), asked=asked.words()), "text", None)
    _leave(done.report)


def main() -> NoReturn:
    """Run the command line; errors of the user, and our own, are one line on standard error and exit status 2."""
    try:
        app(standalone_mode=True)
    except DmamigrateError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'output'}: {error.strerror}")
    except Exception as error:
        _fail(f"internal error: {type(error).__name__}: {error}; --debug shows where; please report it")
    sys.exit(0)


def _say(line: str) -> None:
    """A line on standard error, whatever the names in it hold."""
    from dmamigrate.report.visible import visible

    typer.echo(visible(line), err=True)


def _fail(said: str) -> NoReturn:
    if os.environ.get("DMAMIGRATE_DEBUG"):
        import traceback

        traceback.print_exc()
    _say(f"dmamigrate: {said}")
    sys.exit(2)
