# SPDX-License-Identifier: GPL-2.0-only
"""Whether changed files still compile: before and after, in a scratch copy that shares the tree's files by links."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dmamigrate.errors import UsageError
from dmamigrate.patch.change import FileChange

# What a configured or built tree holds beside its sources; with it, a build elsewhere is refused as "not clean".
_MADE = frozenset({".config", ".git", ".tmp_versions", "Module.symvers", "vmlinux", "modules.order"})
_MADE_BELOW = frozenset({"include/config", "include/generated"})


@dataclass(frozen=True, slots=True)
class Built:
    """What became of one file: `status` is compiled, not buildable or broken; `reason` says why."""

    path: str
    status: str
    reason: str = ""


class Scratch:
    """A tree of links to `tree`, and an output folder, both below `folder`; `tree` itself is only read."""

    def __init__(self, tree: Path, folder: Path) -> None:
        self._tree = tree.resolve()
        self._source = folder / "source"
        self._output = folder / "output"
        self._source.mkdir()
        self._output.mkdir()
        self._own: set[str] = set()
        self._open("")

    def _open(self, folder: str) -> None:
        """Make `folder` one of our own, whose entries are links."""
        if folder in self._own:
            return
        if folder:
            self._open(folder.rpartition("/")[0])
        here = self._source / folder
        if here.is_symlink():
            here.unlink()
            here.mkdir()
        self._own.add(folder)
        if not (self._tree / folder).is_dir():
            here.mkdir()
            return
        with os.scandir(self._tree / folder) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if not folder and entry.name in _MADE:
                    continue
                if path not in _MADE_BELOW and not re.fullmatch(r"arch/\w+/include/generated", path):
                    (here / entry.name).symlink_to(entry.path)
        # what make left below these is not the source's
        if not folder:
            self._open("include")
            for arch in sorted((self._tree / "arch").glob("*/include/generated")):
                self._open(arch.parent.relative_to(self._tree).as_posix())

    def prepare(self, jobs: int) -> None:
        """Configure: as the tree is, else with all modules. Raises UsageError if that fails."""
        configured = self._tree / ".config"
        if configured.is_file():
            (self._output / ".config").write_bytes(configured.read_bytes())
        self._made("olddefconfig" if configured.is_file() else "allmodconfig", jobs)
        self._made("modules_prepare", jobs)

    def _made(self, goal: str, jobs: int) -> None:
        done = self._make([goal], jobs)
        if done.returncode:
            raise UsageError(f"{self._tree}: make {goal} fails: {_first_error(done.stderr) or 'see its output'}")

    def _make(self, goals: list[str], jobs: int) -> subprocess.CompletedProcess[bytes]:
        command = ["make", "-C", str(self._source), f"O={self._output}", f"-j{jobs}", "-k", "-s", *goals]
        try:
            return subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
        except FileNotFoundError as error:
            raise UsageError("make: not found; install it, or leave out --check-build") from error

    def put(self, path: str, data: bytes) -> None:
        """Use `data` for the file at `path` from now on."""
        self._open(path.rpartition("/")[0])
        file = self._source / path
        file.unlink(missing_ok=True)
        file.write_bytes(data)

    def compile(self, paths: Iterable[str], jobs: int) -> dict[str, str | None]:
        """For each C file, None if its object can be built, else the reason."""
        objects = {path: f"{path.removesuffix('.c')}.o" for path in paths}
        for name in objects.values():
            (self._output / name).unlink(missing_ok=True)
        said = self._make(list(objects.values()), jobs).stderr
        return {
            path: None if (self._output / name).exists() else _about(path, name, said) for path, name in objects.items()
        }


def _about(path: str, name: str, said: bytes) -> str:
    lines = said.decode("utf-8", "replace").splitlines()
    mine = [line for line in lines if (path in line or name in line) and ("rror" in line or "No rule" in line)]
    if not mine or any("No rule" in line for line in mine):
        return "this configuration does not build it"
    return mine[0].strip()


def _first_error(said: bytes) -> str:
    lines = said.decode("utf-8", "replace").splitlines()
    return next((line.strip() for line in lines if "rror" in line or "***" in line), lines[0] if lines else "")


def check(scratch: Scratch, changes: Iterable[tuple[FileChange, ...]], jobs: int) -> Iterator[list[Built]]:
    """For each change, what becomes of its files; all are compiled as they were first, so that only a patch is blamed for what it does."""
    held = list(changes)
    before = scratch.compile(
        sorted({f.path for files in held for f in files if f.before and f.path.endswith(".c")}), jobs
    )
    for files in held:
        for file in files:
            scratch.put(file.path, file.after)
    after = scratch.compile(sorted(path for path, reason in before.items() if reason is None), jobs)
    for files in held:
        yield [_judged(file, before, after) for file in files]


def _judged(file: FileChange, before: dict[str, str | None], after: dict[str, str | None]) -> Built:
    if file.path not in before:
        return Built(file.path, "not buildable", "a header is built with what includes it")
    if (reason := before[file.path]) is not None:
        return Built(file.path, "not buildable", reason)
    reason = after[file.path]
    return Built(file.path, "compiled") if reason is None else Built(file.path, "broken", reason)
