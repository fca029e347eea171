# SPDX-License-Identifier: GPL-2.0-only
"""Whether changed files still compile: before and after, each by its own goal, in private copies.

A file of the kernel is built in a scratch tree that shares the kernel's files by links, any other one as an external
module in a copy of its checkout. Makefiles run commands: what is compiled here is what the user pointed at, as that
user.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dmamigrate import processes
from dmamigrate.errors import UsageError
from dmamigrate.patch.change import FileChange

# What a configured or built tree holds beside its sources; with it, a build elsewhere is refused as "not clean".
_MADE = frozenset({".config", ".git", ".tmp_versions", "Module.symvers", "vmlinux", "modules.order"})
_MADE_BELOW = frozenset({"include/config", "include/generated"})


_NOT_BUILT = "neither the configuration nor a Makefile builds it here"
_PATIENCE = 3600  # seconds that one make may take


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
        return self.make([f"-j{jobs}", "-k", *goals])

    def make(self, words: list[str]) -> subprocess.CompletedProcess[bytes]:
        """Run make in the scratch tree. Raises UsageError if there is none, or if it takes too long."""
        command = ["make", "-C", str(self._source), f"O={self._output}", "-s", *words]
        try:
            return processes.run(command, self._output, seconds=_PATIENCE)
        except FileNotFoundError as error:
            raise UsageError("make: not found; install it, or leave out --check-build") from error
        except subprocess.TimeoutExpired as error:
            raise UsageError(f"{self._tree}: make takes more than {_PATIENCE} s; leave out --check-build") from error

    def has(self, path: str) -> bool:
        """Whether the tree has a file at `path`, so that it is one of the kernel's."""
        return (self._tree / path).is_file()

    def put(self, path: str, data: bytes) -> None:
        """Use `data` for the file at `path` from now on."""
        self._open(path.rpartition("/")[0])
        file = self._source / path
        file.unlink(missing_ok=True)
        file.write_bytes(data)

    def compile(self, paths: Iterable[str], jobs: int) -> dict[str, str | None]:
        """For each C file, None if its object can be built, else the reason."""
        objects = {path: _object(path) for path in paths}
        if not objects:
            return {}  # make without a goal would build the kernel
        for name in objects.values():
            (self._output / name).unlink(missing_ok=True)
        said = self._make(list(objects.values()), jobs).stderr
        return {
            path: None if (self._output / name).exists() else _about(path, name, said) for path, name in objects.items()
        }


def _object(path: str) -> str:
    return f"{path.removesuffix('.c')}.o"


class External:
    """A private copy of a checkout, below `folder`, whose files are built as external modules of `kernel`."""

    def __init__(self, checkout: Path, folder: Path, kernel: Scratch) -> None:
        self._copy = folder / "checkout"
        self._kernel = kernel
        _copy_of(checkout.resolve(), self._copy)

    def put(self, path: str, data: bytes) -> None:
        """Use `data` for the file at `path` from now on."""
        file = self._copy / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_bytes(data)

    def compile(self, paths: Iterable[str], jobs: int) -> dict[str, str | None]:
        """For each C file, None if its object can be built, else the reason."""
        return {path: self._compiled(path, jobs) for path in paths}

    def _compiled(self, path: str, jobs: int) -> str | None:
        reason = "no Makefile or Kbuild above it builds a module"
        for module in self._modules(path):
            within = path[len(module) + 1 :] if module else path
            made = self._copy / _object(path)
            made.unlink(missing_ok=True)
            done = self._kernel.make([f"M={self._copy / module}", f"-j{jobs}", _object(within)])
            if made.exists():
                return None
            # as the checkout has it, not the copy
            reason = _about(within, _object(within), done.stderr).replace(f"{self._copy}/", "")
            if reason != _NOT_BUILT:
                break
        return reason

    def _modules(self, path: str) -> Iterator[str]:
        """The folders that may be the module's, the outermost first: those on the way to the file whose Makefile builds
        something.
        """
        parts = path.split("/")[:-1]
        for count in range(len(parts) + 1):
            folder = "/".join(parts[:count])
            for name in ("Kbuild", "Makefile"):
                file = self._copy / folder / name
                if file.is_file() and re.search(rb"^\s*obj-", file.read_bytes(), re.MULTILINE):
                    yield folder
                    break


def _copy_of(source: Path, target: Path) -> None:
    """Copy a checkout: its files, and its links to files; no link to a folder, through which a build could write
    elsewhere.
    """
    target.mkdir()
    for folder, folders, names in os.walk(source):
        folders[:] = [name for name in folders if name != ".git" and not os.path.islink(os.path.join(folder, name))]
        here = target / os.path.relpath(folder, source)
        for name in folders:
            (here / name).mkdir()
        for name in names:
            file = os.path.join(folder, name)
            try:
                if stat.S_ISREG(os.stat(file).st_mode):
                    shutil.copy(file, here / name)
            except OSError:
                continue  # what cannot be read cannot be built with either, and make will say so


def _about(path: str, name: str, said: bytes) -> str:
    lines = said.decode("utf-8", "replace").splitlines()
    mine = [line for line in lines if (path in line or name in line) and ("rror" in line or "No rule" in line)]
    if not mine or any("No rule" in line for line in mine):
        return _NOT_BUILT
    return mine[0].strip()


def _first_error(said: bytes) -> str:
    lines = said.decode("utf-8", "replace").splitlines()
    return next((line.strip() for line in lines if "rror" in line or "***" in line), lines[0] if lines else "")


class Builder(Protocol):
    """Where files are put and compiled: the kernel's own, or external modules."""

    def put(self, path: str, data: bytes) -> None:
        """Use `data` for the file at `path` from now on."""

    def compile(self, paths: Iterable[str], jobs: int) -> dict[str, str | None]:
        """For each C file, None if its object can be built, else the reason."""


def check(scratch: Builder, changes: Iterable[tuple[FileChange, ...]], jobs: int) -> Iterator[list[Built]]:
    """For each change, what becomes of its files; all are compiled as they were first, so that only a patch is blamed
    for what it does.
    """
    held = list(changes)
    for files in held:
        for file in files:
            if file.before:
                scratch.put(file.path, file.before)
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
