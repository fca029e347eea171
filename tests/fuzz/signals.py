# SPDX-License-Identifier: GPL-2.0-only
"""Ends runs at any moment: `python -m tests.fuzz.signals --count 200` says what was half written or left behind."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

from tests.test_patch import DRIVER

_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_FILES = 12
_RUNS = (("patch", ".", "--in-place", "--force", "-j2"), ("patch", ".", "-o", "series", "--cover-letter", "-j2"),
         ("scan", ".", "-o", "report.txt", "-j2"))  # fmt: skip


def _source(number: int) -> str:
    return DRIVER.replace("win", f"win{number}")


def _tree(folder: Path) -> None:
    for number in range(_FILES):
        (folder / f"d{number}").mkdir(parents=True, exist_ok=True)
        (folder / f"d{number}/win.c").write_text(_source(number))
        (folder / f"d{number}/Makefile").write_text("obj-m += win.o\n")


def _start(words: tuple[str, ...], folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dmamigrate", *words]
    environment = {**os.environ, "TMPDIR": str(folder.parent / "scratch")}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def _session(number: int) -> list[int]:
    """The processes of a session that are still there."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "stat").read_text().rpartition(")")[2].split() if entry.name.isdigit() else []
        except OSError:
            continue
        if words and int(words[3]) == number and words[0] != "Z":
            found.append(int(entry.name))
    return found


def _left(number: int) -> list[int]:
    """What of a session is left a while after its first process ended; a killed one's children need that to be told."""
    for _ in range(100):
        if not (left := _session(number)):
            return []
        time.sleep(0.02)
    return left


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.rglob(".dmamigrate-*.part"))


def _half_written(folder: Path, whole: dict[str, set[bytes]]) -> list[str]:
    """The files that are neither what they were nor what a run makes of them."""
    found = []
    for file in sorted(folder.rglob("*")):
        path = file.relative_to(folder).as_posix()
        data = file.read_bytes() if file.is_file() else b""
        known = whole.get(path, set()) | (
            {_source(int(path[1:].split("/")[0])).encode()} if path.endswith("win.c") else set()
        )
        # a report and a mail hold the time: what is whole ends as it should
        ends = path.endswith((".patch", ".txt")) and data.endswith(b"\n")
        if file.is_file() and not ends and data not in known:
            found.append(path)
    return found


def main() -> int:
    """Run; 1 if anything was half written or left behind."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.signals", description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    words = parser.parse_args()
    chance = Random(words.seed)
    wrong: list[str] = []
    met: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="dmamigrate-signals-") as name:
        folder = Path(name).resolve() / "tree"
        (folder.parent / "scratch").mkdir()
        whole: dict[str, set[bytes]] = {}
        seconds = {}
        for run in _RUNS:
            _tree(folder)
            began = time.monotonic()
            _start(run, folder).communicate()
            seconds[run] = time.monotonic() - began
            for file in sorted(folder.rglob("*")):
                if file.is_file():
                    whole.setdefault(file.relative_to(folder).as_posix(), set()).add(file.read_bytes())
            shutil.rmtree(folder)
        for number in range(words.count):
            run, sent = chance.choice(_RUNS), chance.choice(_SIGNALS)
            _tree(folder)
            process = _start(run, folder)
            time.sleep(chance.uniform(0, seconds[run]))
            process.send_signal(sent)
            said = process.communicate()[1].decode()
            what = f"{number}: {sent.name} to {' '.join(run)}"
            ended = process.returncode
            met["it was over already" if ended in (0, 1) else sent.name] += 1
            if left := _left(process.pid):
                wrong.append(f"{what}: processes {left} are left")
            parts = _parts(folder)
            met["part files left by SIGKILL"] += len(parts)
            if parts and sent != signal.SIGKILL:
                wrong.append(f"{what}: {parts} is left")
            if "Traceback" in said or (ended not in (0, 1, -sent) and "interrupted" not in said):
                wrong.append(f"{what}: ended with {ended} and said {said[-300:]!r}")
            wrong += [
                f"{what}: {path} is half written" for path in _half_written(folder, whole) if folder / path not in parts
            ]
            if parts:
                _start(run, folder).communicate()
                if _parts(folder):
                    wrong.append(f"{what}: the next run does not clean {_parts(folder)}")
            if sent != signal.SIGKILL and list((folder.parent / "scratch").iterdir()):
                wrong.append(f"{what}: scratch files are left")
            shutil.rmtree(folder.parent / "scratch")
            (folder.parent / "scratch").mkdir()
            shutil.rmtree(folder)
    print("\n".join(wrong))
    print(f"{words.count} runs with seed {words.seed}: {dict(sorted(met.items()))}; {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
