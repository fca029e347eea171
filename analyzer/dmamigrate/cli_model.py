# SPDX-License-Identifier: GPL-2.0-only
"""The commands of the bundled model. A command imports its modules when it runs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dmamigrate.cli_options import NAMES, names_of
from dmamigrate.errors import UsageError

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, context_settings=NAMES, help="The bundled model of the DMA API."
)


@app.command()
def prove() -> None:
    """Prove every rule's rewrite, and that every wrong one is refuted for its reason."""
    from dmamigrate import rules as rule_files
    from dmamigrate.model import prove as proofs

    done = list(proofs.prove(rule_files.load(), rule_files.tables().api))
    typer.echo(proofs.table(done), nl=False)
    raise typer.Exit(0 if done and all(proof.holds for proof in done) else 1)


@app.command()
def show(
    call: Annotated[str, typer.Argument(help="A mapping call, such as dma_map_resource.")],
    version: Annotated[str, typer.Option("--version", help="The API version.")] = "7.3",
    old: Annotated[str | None, typer.Option("--from", help="With --to: what changed since this version.")] = None,
    new: Annotated[str | None, typer.Option("--to", help="With --from: up to this version.")] = None,
    attrs: Annotated[str, typer.Option("--attrs", help="Attributes, as MMIO,SKIP_CPU_SYNC.")] = "",
) -> None:
    """Print what a call does in which states, or what changed between two versions."""
    from dmamigrate.model import show as tables
    from dmamigrate.report import legend

    held = tables.attributes(attrs.replace("|", ",").replace(" ", "").split(","))
    if (not (old or new) and (old is not None or new is not None)) or bool(old) != bool(new):
        raise UsageError("--from and --to go together; give both versions")
    text = tables.changes(call, old, new, held) if old and new else tables.decision_table(call, version, held)
    typer.echo(legend.under(text), nl=False)


@app.command()
def conform(
    tree: Annotated[Path, typer.Option("--tree", help="The kernel tree whose functions are compiled and run.")],
    show: Annotated[int, typer.Option("--show", min=0, help="Disagreements to print in full.")] = 3,
    nearest: Annotated[
        bool, typer.Option("--nearest", help="Also a version that nobody read: say what drifted from the nearest.")
    ] = False,
) -> None:
    """Run the model and a tree's own functions through the same states, and compare."""
    from dmamigrate import request
    from dmamigrate import scan as scans
    from dmamigrate.model import conform as harness
    from dmamigrate.model import extract

    version = scans.tree_version(request.folder_of(tree) or tree)
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


@app.command()
def boot(
    tree: Annotated[Path, typer.Option("--tree", help="The kernel tree that is built, out of tree, and booted.")],
    arch: Annotated[
        list[ArchName] | None, typer.Option("--arch", help="x86_64 or arm64; both where their tools are there.")
    ] = None,
    machine: Annotated[list[str] | None, typer.Option("--machine", help="Boot only these (NAME[,NAME]).")] = None,
    show: Annotated[int, typer.Option("--show", min=0, help="Disagreements to print in full.")] = 3,
    keep: Annotated[
        Path | None, typer.Option("--keep", help="A folder for the machines' consoles, one a file.")
    ] = None,
) -> None:
    """Boot a small kernel under QEMU and hold it against the model; show what rules say goes wrong."""
    from dmamigrate import scan as scans
    from dmamigrate.model import boot as boots
    from dmamigrate.model import booted, extract
    from dmamigrate.request import folder_of

    version = scans.tree_version(folder_of(tree) or tree)
    if version is None:
        raise UsageError(f"{tree}: no kernel tree, its Makefile states no version; name the root of one")
    plan = extract.plan_for(version)
    chosen = [boots.ARCHES[name] for name in arch] if arch else boots.possible()
    names = boots.machines(chosen, names_of(machine))
    status = 0
    for one in chosen:
        logs = boots.boots(one, tree, lambda line: typer.echo(line, err=True), names)
        if keep is not None:
            boots.keep(logs, keep)
        results = [booted.compare(log, plan) for log in logs]
        found = booted.shown(logs)
        typer.echo(
            f"{one.name}, kernel {boots.point_release(tree)}:\n"
            f"{booted.report(results, show)}{booted.claims_report(found)}",
            nl=False,
        )
        status |= not all(result.agrees for result in results) or not all(claim.holds for claim in found)
    raise typer.Exit(status)
