# SPDX-License-Identifier: GPL-2.0-only
"""One module as detectors see it, and what they yield."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dmamigrate.findings import Origin, Step
from dmamigrate.lives.given import Given, Givens
from dmamigrate.lives.pair import Life, Lives
from dmamigrate.lives.sites import Site
from dmamigrate.syntax.functions import Function
from dmamigrate.values.engine import Engine


@dataclass(frozen=True)
class Defect:
    """Something wrong at `site`.

    `facts` are what the message names, `life` is the life that it belongs to, if known; `origin` is that of the address
    that it is about, `trail` the path that shows it.
    """

    rule: str
    site: Site
    facts: dict[str, str]
    life: Life | None = None
    origin: Origin | None = None
    trail: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Module:
    """The files of one module that are asked about, their lives, and what each call is given; `pages` asks for all
    memory.
    """

    engine: Engine
    files: tuple[str, ...]
    pairs: Lives
    givens: Givens
    pages: bool = False

    def functions(self, path: str) -> list[Function]:
        """The functions of one file, parsed."""
        unit = self.engine.tree.unit(path)
        return [unit.function(item) for item in unit.items if item.kind == "function"] if unit is not None else []

    def given(self, site: Site) -> Given:
        """What a call is given."""
        return self.givens.of(site)


Detector = Callable[[Module], Iterator[Defect]]
