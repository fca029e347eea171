# SPDX-License-Identifier: GPL-2.0-only
"""Which folders are built into one module: Makefiles tell."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache

from dmamigrate.program.reads import Listing, Reads, Seen

# Folders that hold many unrelated modules, too many to be searched for the sake of one.
MANY_MODULES = frozenset({"", "drivers", "sound", "include", "arch", "net", "fs", "tools", "samples", "Documentation"})
_UP = re.compile(r"\.\./\w|/\.\.\s*$", re.MULTILINE)
_BUILDS = re.compile(r"^\s*obj-", re.MULTILINE)


class Modules:
    """Answers for one tree."""

    def __init__(
        self,
        folder: Callable[[str], Listing],
        read: Callable[[str], tuple[bytes | None, Seen]],
        reads: Reads,
        is_kernel: bool,
    ) -> None:
        """`folder` lists a folder and `read` reads a file, None if it cannot be; what is read is told to `reads`."""
        self._folder = folder
        self._read = read
        self._reads = reads
        self._is_kernel = is_kernel
        self._makefiles: dict[str, tuple[str, tuple[tuple[str, Seen], ...]]] = {}
        self._of_folder = cache(self._find)

    def below(self, folder: str, limit: int = 1500) -> Iterator[str]:
        """The C files of `folder` and, breadth first, of the folders below it, `limit` at most.

        Folders that build modules of their own are left out, unless `folder` is nothing but a family of such.
        """
        queue = [folder]
        family = not self._has_makefile(folder)
        while queue:
            current = queue.pop(0)
            here = self._folder(current)
            for file in here.files:
                if limit <= 0:
                    return
                limit -= 1
                yield file
            queue += [one for one in here.folders if family or not self._builds(one) or self._reaches_up(one)]

    def built_apart(self, folder: str) -> Iterator[str]:
        """The folders below one that build modules of their own, which are left out of it."""
        queue = [folder]
        while queue and self._has_makefile(folder):
            for one in self._folder(queue.pop(0)).folders:
                if self._builds(one) and not self._reaches_up(one):
                    yield one
                else:
                    queue.append(one)

    def of(self, path: str) -> str:
        """The folder whose files are built into one module, or a family of them, with `path`.

        Makefiles tell: a folder that builds nothing itself belongs to its parent, and so do siblings that are
        reached with "../".
        """
        return self._of_folder(path.rpartition("/")[0])

    def _find(self, folder: str) -> str:
        while True:
            parent = folder.rpartition("/")[0]
            makefile = self.makefile(folder)
            builds = self._builds(folder)
            siblings = builds and self._reaches_up(folder)
            if not folder or not self.is_one(parent) or (builds and not siblings):
                return folder
            if not makefile and not self._has_makefile(parent):
                return folder
            folder = parent
            if siblings:
                return folder

    def _reaches_up(self, folder: str) -> bool:
        """Whether a folder's Makefile names something beside the folder: its files are then built, or built with,
        elsewhere.
        """
        return _UP.search(self.makefile(folder)) is not None

    def makefile(self, folder: str) -> str:
        """The text of a folder's Makefile, "" without one."""
        if folder not in self._makefiles:
            self._makefiles[folder] = self._find_makefile(folder)
        text, tried = self._makefiles[folder]
        for path, seen in tried:
            self._reads.file(path, seen)
        return text

    def _find_makefile(self, folder: str) -> tuple[str, tuple[tuple[str, Seen], ...]]:
        """The text of a folder's Makefile, or of the parts that another one includes, and the files that were looked
        at.
        """
        tried: list[tuple[str, Seen]] = []
        parts = self._folder(folder).parts
        texts: list[str] = []
        for path in (*(f"{folder}/{name}" if folder else name for name in ("Makefile", "Kbuild")), *parts):
            data, seen = self._read(path)
            tried.append((path, seen))
            if data is None:
                continue
            texts.append(data.decode("utf-8", "replace"))
            if path not in parts:
                break
        return "\n".join(texts), tuple(tried)

    def _has_makefile(self, folder: str) -> bool:
        return bool(self.makefile(folder))

    def _builds(self, folder: str) -> bool:
        return _BUILDS.search(self.makefile(folder)) is not None

    def is_one(self, folder: str) -> bool:
        """Whether `folder` may be searched whole for what one driver does: not drivers/ or include/ itself."""
        if not self._is_kernel:
            return True
        return folder not in MANY_MODULES and not folder.startswith("include/")
