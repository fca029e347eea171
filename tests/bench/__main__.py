# SPDX-License-Identifier: GPL-2.0-only
"""Time the tool against others in one run: `python -m tests.bench TREE [ROUNDS]`. Figures are medians; trust the
ratios.

The prefilter against `rg -l`, a whole scan against `rg -l` and against Coccinelle's bare two-call rewrite, without and
with answers of an earlier run, and the start.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_WORDS = ("dma_map_resource", "dma_unmap_resource", "dma_map_phys", "dma_unmap_phys")
_PREFILTER = (
    "import sys; from pathlib import Path; from dmamigrate.syntax.prefilter import Wanted, c_files, holding;"
    "files = [one for one in c_files([Path('drivers')], Path())[0] if one.endswith('.c')];"
    "print(len(holding(files, Wanted(tuple(sys.argv[1:])), 2)[0]))"
)
_COCCI = """@@ expression d, p, s, r, a; @@
- dma_map_resource(d, p, s, r, a)
+ dma_map_phys(d, p, s, r, a | DMA_ATTR_MMIO)
@@ expression d, p, s, r, a; @@
- dma_unmap_resource(d, p, s, r, a)
+ dma_unmap_phys(d, p, s, r, a | DMA_ATTR_MMIO)
"""


def _seconds(command: list[str], cwd: Path) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=cwd, capture_output=True, check=False)
    return time.perf_counter() - started


def main() -> None:
    """Run every command in turn, round after round, and print medians and ratios."""
    tree, rounds = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 3
    tool = [sys.executable, "-m", "dmamigrate"]
    with tempfile.NamedTemporaryFile("w", suffix=".cocci") as rule, tempfile.TemporaryDirectory() as home:
        rule.write(_COCCI)
        rule.flush()
        os.environ["XDG_CACHE_HOME"] = home
        commands = {
            "rg -l": ["rg", "-l", "--no-ignore", "-g", "*.c", "|".join(_WORDS), "drivers"],
            "prefilter": [sys.executable, "-c", _PREFILTER, *_WORDS],
            "cold": [*tool, "scan", "drivers", "--exit-zero", "--no-cache"],
            "warm": [*tool, "scan", "drivers", "--exit-zero"],
            "one file": [*tool, "scan", "drivers/dma/pl330.c", "--exit-zero", "--no-cache"],
            "one file, warm": [*tool, "scan", "drivers/dma/pl330.c", "--exit-zero"],
            "spatch": ["spatch", "--very-quiet", "--sp-file", rule.name, "--dir", "drivers"],
            "spatch -j 2": ["spatch", "--very-quiet", "--sp-file", rule.name, "--dir", "drivers", "--jobs", "2"],
            "--version": [*tool, "--version"],
        }
        commands = {name: command for name, command in commands.items() if shutil.which(command[0])}
        times: dict[str, list[float]] = {name: [] for name in commands}
        for name in ("warm", "one file, warm"):
            _seconds(commands[name], tree)
        for _ in range(rounds):
            for name, command in commands.items():
                times[name].append(_seconds(command, tree))
    medians = {name: statistics.median(found) for name, found in times.items()}
    for name, found in times.items():
        print(f"{name:14} {medians[name]:7.2f} s  ({min(found):.2f} to {max(found):.2f})")
    for one, other in (
        ("prefilter", "rg -l"),
        ("cold", "rg -l"),
        ("cold", "spatch -j 2"),
        ("warm", "rg -l"),
        ("warm", "cold"),
    ):
        if one in medians and other in medians:
            print(f"{one} / {other}: {medians[one] / medians[other]:.2f}")
    print(
        f"peak memory of the largest process: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MiB"
    )


if __name__ == "__main__":
    main()
