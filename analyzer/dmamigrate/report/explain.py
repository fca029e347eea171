# SPDX-License-Identifier: GPL-2.0-only
"""The rules as text: the list, and one rule's page made from its own file."""

from __future__ import annotations

import textwrap

from dmamigrate.model import claims
from dmamigrate.rules import Rule


def listing(rules: tuple[Rule, ...]) -> str:
    """One line for each rule."""
    width = max(len(rule.id) for rule in rules)
    lines = [
        f"{rule.id:{width}}  {rule.level:7}  {rule.title}{'' if rule.default else ' (off by default)'}"
        for rule in rules
    ]
    return "\n".join(lines) + "\n"


def one(rule: Rule) -> str:
    """What a rule finds, why, what it proposes, and an example of each."""
    parts = [f"{rule.id} ({rule.level}): {rule.title}", textwrap.fill(rule.explain, 80)]
    if rule.templates:
        lines = [
            f"- {t.before}({', '.join(t.before_roles)})\n+ {t.after}({', '.join(t.after_arguments)})"
            for t in rule.templates
        ]
        parts.append("Rewrite:\n" + textwrap.indent("\n\n".join(lines), "  "))
    elif rule.withheld:
        parts.append(textwrap.fill(f"No rewrite: {rule.withheld}", 80))
    if shown := claims.said(rule.id):
        parts.append(textwrap.fill(f"In a running kernel (dmamigrate model boot): {'; '.join(shown)}.", 80))
    for label, examples in (("Found", rule.invalid), ("Not found", rule.valid)):
        parts += [f"{label}: {example.name}\n{textwrap.indent(example.code.strip(), '  ')}" for example in examples]
    return "\n\n".join(parts) + "\n"
