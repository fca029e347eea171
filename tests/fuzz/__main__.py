# SPDX-License-Identifier: GPL-2.0-only
"""Tries damaged inputs until the time is up, each in a process of its own with limits, and names the seeds of those
that fail.

`python -m tests.fuzz` runs two minutes; `--count 5000 --only files --seed 7` and `--number 4711` are for work by hand.
With DMAMIGRATE_FUZZ_KERNEL=1 files of a kernel tree are damaged too.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from random import Random

from tests.fuzz.targets import TARGETS, Place

_CPU = (
    45  # seconds for one input: what the program allows itself, for a module as a whole and file by file, and its start
)
_MEMORY = 3 << 30
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGING = frozenset(
    {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod"}
)


def _watch(place: Place, seen: list[str]) -> None:
    """Note every path that Python writes to outside of the scratch folder; what git writes shows in the listing."""
    scratch = str(place.scratch)

    def hook(event: str, words: tuple[object, ...]) -> None:
        if event == "open":
            path, _, flags = words
            if not isinstance(flags, int) or not flags & _WRITES:
                return
        elif event in _CHANGING:
            path = words[0]
            if (
                isinstance(words[-1], int)
                and words[-1] >= 0
                and isinstance(path, str)
                and event in ("os.remove", "os.rmdir")
            ):
                path = os.path.join(os.readlink(f"/proc/self/fd/{words[-1]}"), path)
        else:
            return
        if isinstance(path, (str, bytes)) and not os.path.abspath(os.fsdecode(path)).startswith(
            (f"{scratch}/", os.devnull)
        ):
            seen.append(f"{event} {path!r}")

    sys.addaudithook(hook)


def _listing(folder: Path) -> str:
    """A hash of all that is in a folder: names, kinds, modes, contents."""
    held = hashlib.sha256()
    for where, folders, names in sorted(os.walk(os.fsencode(folder))):
        for name in sorted((*folders, *names)):
            path = os.path.join(where, name)
            status = os.lstat(path)
            held.update(repr((path, status.st_mode, status.st_mtime_ns if name in names else 0)).encode())
    return held.hexdigest()


def _child(target: str, chance: Random, place: Place, report: int) -> None:
    """Try one input; never returns. What is wrong goes to `report`."""
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU, _CPU + 5))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    os.chdir(place.tree)
    tempfile.tempdir = str(place.scratch)
    try:
        seen: list[str] = []
        trial = TARGETS[target](chance, place)
        before = _listing(place.tree.parent)
        _watch(place, seen)
        trial()
        assert not seen, seen
        assert _listing(place.tree.parent) == before, "something was written, or left behind"
    except BaseException:
        os.write(report, traceback.format_exc().encode("utf-8", "replace")[-1500:])
    os._exit(0)


def _tried(target: str, seed: str, folder: Path) -> str:
    """What is wrong with one input, "" if nothing. Its files stay if something is."""
    place = Place(folder / "tree", folder / "scratch")
    shutil.rmtree(folder, ignore_errors=True)
    place.tree.mkdir(parents=True)
    place.scratch.mkdir()
    (folder / "beside.c").write_text("secret\n")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        _child(target, Random(seed), place, write)
    os.close(write)
    with os.fdopen(read, "rb") as said:
        wrong = said.read().decode("utf-8", "replace")
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return (
            f"hangs: more than {_CPU} s of CPU time"
            if number in (signal.SIGXCPU, signal.SIGKILL)
            else f"dies of signal {number}"
        )
    return wrong


def main() -> int:
    """Run; 1 if any input fails."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--count", type=int, help="how many inputs, whatever the time")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--only", choices=sorted(TARGETS))
    parser.add_argument("--number", type=int, help="the one input to try; its files are kept")
    parser.add_argument("--begin", type=int, default=0)
    words = parser.parse_args()
    targets = [words.only] if words.only else list(TARGETS)
    end = time.monotonic() + words.seconds
    done: Counter[str] = Counter()
    failed: list[str] = []
    number = words.begin if words.number is None else words.number
    last = number + 1 if words.number is not None else None if words.count is None else number + words.count
    with tempfile.TemporaryDirectory(prefix="dmamigrate-fuzz-") as name:
        while number < last if last is not None else time.monotonic() < end:
            target = targets[number % len(targets)]
            began = time.monotonic()
            wrong = _tried(target, f"{words.seed}:{number}", Path(name) / "place")
            done[target] += 1
            if wrong:
                failed.append(f"--only {target} --seed {words.seed} --number {number}")
                print(f"{failed[-1]}: {wrong}", flush=True)
            if words.number is not None:
                kept = Path(tempfile.mkdtemp(prefix="dmamigrate-fuzz-kept-"))
                shutil.copytree(Path(name) / "place", kept / "place", symlinks=True)
                print(f"{time.monotonic() - began:.1f} s, kept in {kept}")
            number += 1
            if number % 500 == 0:
                print(f"{number} inputs tried", file=sys.stderr, flush=True)
    print(
        ", ".join(f"{count} {target}" for target, count in sorted(done.items())),
        f"with seed {words.seed}: {len(failed)} failed",
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
