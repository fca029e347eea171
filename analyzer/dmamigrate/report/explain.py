# SPDX-License-Identifier: GPL-2.0-only
"""The rules as text: the list, and a page that teaches one, made from its own file and from the model."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterator

from dmamigrate.model import claims, prove
from dmamigrate.report.visible import visible
from dmamigrate.rules import Example, Rule, tables

_WIDTH = 88


def listing(rules: tuple[Rule, ...]) -> str:
    """One line for each rule, defects first."""
    width = max(len(rule.id) for rule in rules)
    lines: list[str] = []
    for category, title in (
        ("defect", "Defects: wrong today on some machine"),
        ("migration", "Migration: works today, is to be moved"),
    ):
        held = [rule for rule in rules if rule.category == category]
        lines += [f"\n{title}"] if held else []
        lines += [
            f"  {rule.id:{width}}  {rule.level:7}  {rule.title}{'' if rule.default else ' (off by default)'}"
            for rule in held
        ]
    return "\n".join([*lines, "\n`dmamigrate rules RULE` explains one with an example."]).lstrip("\n") + "\n"


def one(rule: Rule) -> str:
    """What a rule finds, why, how it goes wrong, what to write instead, where to read on, and how to silence it."""
    parts = [f"{rule.id}: {rule.title}\n{rule.level}, {rule.category}", _text("Why", rule.explain)]
    if rule.origins:
        parts.append(_text("Looks at", f"{', '.join(rule.callee)} where the address is {' or '.join(rule.origins)}"))
    fails = list(_fails(rule))
    if fails:
        parts.append(
            "How it goes wrong (found by the model of the DMA API; `dmamigrate model prove` runs it again)\n"
            + "\n".join(fails)
        )
    if shown := claims.said(rule.id):
        parts.append(_text("In a running kernel (dmamigrate model boot)", f"{'; '.join(shown)}."))
    if rule.advice or rule.withheld:
        parts.append(_text("What to do", f"{rule.advice or rule.withheld}"))
    parts += [_example(example) for example in rule.invalid[:2]]
    if rule.valid:
        parts.append(f"Not found: {rule.valid[0].name}\n{_indented(rule.valid[0].code)}")
    if rule.see:
        parts.append("Read on, in the kernel tree\n" + "\n".join(f"  {where}" for where in rule.see))
    ignore = f'[[per-path-ignores]]\npath = "drivers/foo/"\nrule = "{rule.id}"\nreason = "why this is right here"'
    parts.append("Silence it, in .dmamigrate.toml\n" + _indented(ignore))
    return "\n\n".join(parts) + "\n"


def _text(title: str, text: str) -> str:
    return f"{title}\n" + textwrap.fill(
        text, _WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
    )


def _indented(text: str) -> str:
    return "\n".join(
        f"  {chr(9).join(map(visible, line.split(chr(9))))}".rstrip() for line in text.strip("\n").split("\n")
    )


def _fails(rule: Rule) -> Iterator[str]:
    """Each wrong rewrite that the rule knows, with the property that it breaks and a machine that shows it."""
    known = {wrong.name: wrong.because for wrong in rule.refuted}
    for proof in prove.prove((rule,), tables().api) if known else ():
        name = proof.claim.removeprefix("refuted: ")
        if name in known and name != proof.claim:
            yield f'  {name}: breaks "{known[name]}"'
            yield textwrap.fill(
                proof.note, _WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False
            )


def _example(example: Example) -> str:
    if example.fixed is None:
        return f"Found: {example.name}\n{_indented(example.code)}"
    before, after = (text.strip("\n").splitlines() for text in (example.code, example.fixed))
    lines = list(difflib.unified_diff(before, after, n=100, lineterm=""))[3:]
    return f"Before and after: {example.name}\n" + _indented("\n".join(lines))
