# SPDX-License-Identifier: GPL-2.0-only
"""What others make of the same tree: `python -m tests.bench.others TREE`. Programs that are not there are left out."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.__main__ import _COCCI

_SEMGREP = """rules:
- id: map-resource
  languages: [c]
  severity: WARNING
  message: a mapping of device memory
  pattern-either:
  - pattern: dma_map_resource(...)
  - pattern: dma_unmap_resource(...)
"""


def _run(command: list[str], tree: Path) -> tuple[str, float]:
    """What a command prints, and the CPU seconds that it and its children took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = subprocess.run(command, cwd=tree, capture_output=True, text=True, errors="replace", check=False).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return said, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _calls(diff: str) -> int:
    return sum(line.startswith("-") and "map_resource" in line for line in diff.splitlines())


def main() -> None:
    """Print a line for each program."""
    tree = Path(sys.argv[1])
    found = subprocess.run(
        ["grep", "-rlE", "--include=*.c", "dma_(un)?map_resource", "drivers"],
        cwd=tree,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "rule.cocci").write_text(_COCCI)
        (Path(name) / "rule.yaml").write_text(_SEMGREP)
        if shutil.which("spatch"):
            said, seconds = _run(
                ["spatch", "--very-quiet", "--sp-file", f"{name}/rule.cocci", "--dir", "drivers"], tree
            )
            print(f"Coccinelle: {_calls(said)} calls rewritten, {seconds:.1f} s of CPU time")
        if shutil.which("semgrep"):
            words = ["semgrep", "scan", "--metrics", "off", "--disable-version-check", "--no-git-ignore", "--json"]
            said, seconds = _run([*words, "--config", f"{name}/rule.yaml", *found], tree)
            print(
                f"Semgrep: {len(json.loads(said)['results'])} calls found in {len(found)} files, {seconds:.1f} s of "
                f"CPU time"
            )
    said, seconds = _run(
        [sys.executable, "-m", "dmamigrate", "scan", "drivers", "--format", "json", "--exit-zero"], tree
    )
    findings = json.loads(said)["findings"]
    diffs = {one["rewrite"]["diff"] for one in findings if one["verdict"]["status"] == "proved"}
    withheld = {(one["path"], one["line"]) for one in findings if one["rewrite"]["status"] == "withheld"}
    defects = {(one["path"], one["line"]) for one in findings if one["category"] == "defect"}
    print(
        f"dmamigrate: {sum(map(_calls, diffs))} calls rewritten and proved, {len(withheld)} places held back with a "
        f"reason,"
        f" {len(defects)} places with a defect, {seconds:.1f} s of CPU time"
    )


if __name__ == "__main__":
    main()
