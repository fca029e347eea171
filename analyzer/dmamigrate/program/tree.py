# SPDX-License-Identifier: GPL-2.0-only
"""The files a question may need, opened on demand and nearest first."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from dmamigrate.errors import SourceError
from dmamigrate.program.includes import HEADER_ROOTS, Includes, common
from dmamigrate.program.modules import MANY_MODULES, Modules
from dmamigrate.program.reads import UNREADABLE, Group, Listing, Reads, Seen, digest_of, listed, stamp_of
from dmamigrate.syntax.functions import CType, Function
from dmamigrate.syntax.items import Item
from dmamigrate.syntax.prefilter import Words, stems
from dmamigrate.syntax.source import Source, of_bytes, opened
from dmamigrate.syntax.unit import Unit, holds_word, may_define_functions, may_define_structs

# Generated register headers; nothing that an address is traced through is defined there.
_LARGEST = 2_000_000
_LARGEST_HEADER = 200_000
# Modules below a driver's own folder that are read to see whether they share its headers.
_MOST_APART = 8


@dataclass(frozen=True, slots=True)
class Shared:
    """What is kept from tree to tree, since every module asks for it: the kernel's own headers, their folders, what
    they include, and which files of a folder may define a function, or a struct, by its name; each with what was read
    for it. `told` are the groups that were handed out, `seen` what files held.
    """

    units: dict[str, tuple[Unit | None, Seen]] = field(default_factory=dict)
    folders: dict[str, Listing] = field(default_factory=dict)
    includes: dict[str, tuple[tuple[str, ...], Group]] = field(default_factory=dict)
    definers: dict[tuple[str, bool], tuple[dict[bytes, tuple[str, ...]], Group]] = field(default_factory=dict)
    told: set[bytes] = field(default_factory=set)
    seen: dict[str, Seen] = field(default_factory=dict)


class Tree:
    """The files below `root`; paths are relative to it, with forward slashes."""

    def __init__(
        self,
        root: Path,
        overlay: dict[str, bytes] | None = None,
        shared: Shared | None = None,
        reads: Reads | None = None,
        facts: Path | None = None,
    ) -> None:
        """`overlay` has files to use instead of those on disk; `shared` is of this `root`, for trees without one.

        What is read of the disk is told to `reads`. `facts` is a kernel's root, whose headers a driver outside of it
        sees behind its own.
        """
        self.root = root
        self._facts = facts
        self._overlay = overlay or {}
        self._shared = shared if shared is not None else Shared()
        self._reads = reads if reads is not None else Reads()
        self._units: dict[str, Unit | None] = {}
        self._data: dict[str, tuple[bytes, Seen]] = {}
        self._folders: dict[str, Listing] = {}
        self._is_kernel = (root / "MAINTAINERS").exists()
        self._modules = Modules(self._folder, self._on_disk, self._reads, self._is_kernel)
        self.module, self.is_driver_folder = self._modules.of, self._modules.is_one
        self.below = self._modules.below
        self._includes = Includes(self._folder, None if self._is_kernel else lambda: self.below("", 4000), self._reads)
        self._headers: dict[str, tuple[Unit, ...]] = {}
        self._search = cache(self._search_uncached)
        self._texts: dict[str, tuple[tuple[tuple[str, bytes], ...], Group]] = {}
        self._direct: dict[str, tuple[str, ...]] = {}
        self._left_out: dict[str, frozenset[str]] = {}
        self.is_kernels = cache(self._is_kernels)
        self._struct = cache(self._struct_uncached)
        self._find_definitions = cache(self._find_definitions_uncached)
        self._tells = cache(self._tells_uncached)
        self.opened = 0

    def edited(self, overlay: dict[str, bytes]) -> Tree:
        """The same tree with other content for some files, whose answers are its own."""
        shared = Shared(self._shared.units, self._shared.folders, self._shared.includes, seen=self._shared.seen)
        return Tree(self.root, {**self._overlay, **overlay}, shared, self._reads, self._facts)

    # files

    def unit(self, path: str) -> Unit | None:
        """The file at `path` taken apart, None if it cannot be read."""
        if path not in self._units:
            self._units[path] = self._open(path)
        return self._units[path]

    def _open(self, path: str) -> Unit | None:
        self.opened += 1
        if path in self._overlay:
            return Unit(Source(path, self._overlay[path]))
        if not path.startswith("include/"):
            unit, seen = self._read(path)
        else:
            if path not in self._shared.units:
                self._shared.units[path] = self._read(path)
            unit, seen = self._shared.units[path]
        self._reads.file(path, seen)
        return unit

    def _read(self, path: str) -> tuple[Unit | None, Seen]:
        data, seen = self._on_disk(path)
        try:
            return Unit(of_bytes(path, data)) if data is not None else None, seen
        except SourceError:
            return None, seen

    def contents(self, path: str) -> bytes:
        """The bytes of the C file at `path` as searches see them: none where it is too large, or nothing but
        #defines.
        """
        if path in self._overlay:
            return self._overlay[path]
        if path not in self._data:
            self._data[path] = self._searched(path)
        data, seen = self._data[path]
        self._reads.file(path, seen)
        return data

    def _searched(self, path: str) -> tuple[bytes, Seen]:
        whole, seen = self._on_disk(path)
        data = (whole or b"")[:_LARGEST]
        # generated headers of nothing but #defines: large, many, and no code
        header = path.endswith(".h") and (len(data) > _LARGEST_HEADER or b";" not in data)
        return b"" if header else data, seen

    def _on_disk(self, path: str) -> tuple[bytes | None, Seen]:
        """A file's bytes, None if it cannot be read, and what was read, whose digest is made once for all trees."""
        try:
            data, status = opened(self._on(path))
        except OSError:
            return None, UNREADABLE
        stamp = stamp_of(status)
        held = self._shared.seen.get(path)
        if held is None or held.stamp != stamp:
            held = self._shared.seen[path] = Seen(digest_of(data), stamp)
        return data, held

    def _on(self, path: str) -> Path:
        """Where a file is: a header that the driver has not may be the kernel's."""
        own = self.root / path
        if self._facts is None or not path.startswith(HEADER_ROOTS) or own.is_file():
            return own
        return self._facts / path

    def _is_kernels(self, path: str) -> bool:
        """Whether a file is a header of the kernel's, and not one of the driver's own that lies in such a folder."""
        if not path.startswith(("include/", "arch/")):
            return False
        if self._is_kernel or not (self.root / path).is_file():
            return True
        return path.count("/") > 1 if self._facts is None else (self._facts / path).is_file()

    def _folder(self, folder: str) -> Listing:
        """What is in a folder."""
        known = self._shared.folders if folder.startswith(HEADER_ROOTS) and not self._overlay else self._folders
        if folder not in known:
            more = [path for path in self._overlay if path.rpartition("/")[0] == folder]
            if self._facts is not None and folder.startswith(HEADER_ROOTS):
                more += listed(self._facts, folder).files
            known[folder] = listed(self.root, folder, more)
        self._reads.folder(folder, known[folder].seen)
        return known[folder]

    def search(self, word: str, folder: str) -> tuple[str, ...]:
        """The C files below `folder` that hold `word` as a whole identifier."""
        return self._search(word, folder)

    def _search_uncached(self, word: str, folder: str) -> tuple[str, ...]:
        needle = word.encode()
        return tuple(path for path, data in self.texts(folder) if needle in data and holds_word(data, needle))

    def texts(self, folder: str) -> tuple[tuple[str, bytes], ...]:
        """The C files below `folder`, with what searches see of them."""
        if folder not in self._texts:
            with self._reads.together() as group:
                texts = tuple((path, self.contents(path)) for path in self.below(folder, 4000))
            self._texts[folder] = texts, group[0]
        texts, read = self._texts[folder]
        self._reads.group(read)
        return texts

    def search_from(self, word: str, folder: str, path: str) -> tuple[str, ...]:
        """The C files below `folder`, and those of the module that `path` is built into, that hold `word`."""
        own = self.module(path)
        if own == folder or not own.startswith(f"{folder}/" if folder else ""):
            return self.search(word, folder)
        return tuple(dict.fromkeys((*self.search(word, folder), *self.search(word, own))))

    def leaves_out(self, folder: str, path: str, defined: str, word: str) -> bool:
        """Whether modules built below `folder` are not looked into for what `path` asks of `word`, which `defined`
        defines.
        """
        apart = self.apart(folder, path)
        if folder != self.module(path):
            return bool(apart)
        above = folder.rpartition("/")[0]
        if len(apart) > _MOST_APART:
            apart = frozenset()  # a subsystem's folder, whose own headers are in include/
        if folder and self.is_driver_folder(above) and "-I" in self._modules.makefile(above):
            # which find its headers without a word of it in what they include
            beside = self.apart(above, path)
            apart |= beside if len(beside) <= _MOST_APART else frozenset()
        # below its own folder a driver's other modules count where they include what defines it, and name it
        needles = os.fsencode(defined.rpartition("/")[2]), word.encode()
        return any(all(any(needle in data for _, data in self.texts(one)) for needle in needles) for one in apart)

    def apart(self, folder: str, path: str) -> frozenset[str]:
        """The modules that are built below `folder`, beside the one of `path`, and not looked into for what that one
        asks.
        """
        if folder not in self._left_out:
            self._left_out[folder] = frozenset(self._modules.built_apart(folder))
        return self._left_out[folder] - {self.module(path)}

    def includers(self, path: str) -> tuple[str, ...]:
        """The files of the module of a C file that include it, as one that is built together with others is."""
        needle = b'"' + os.fsencode(path.rpartition("/")[2]) + b'"'
        folder = self.module(path)
        return tuple(one for one, data in self.texts(folder) if needle in data) if self.is_driver_folder(folder) else ()

    def search_any(self, words: Iterable[str], folder: str) -> tuple[str, ...]:
        """The C files below `folder` that hold one of `words` as a whole identifier."""
        held = Words(words)
        return tuple(path for path, data in self.texts(folder) if held.in_(data))

    def mentions(self, words: Iterable[str], folder: str) -> bool:
        """Whether any C file below `folder` holds one of `words`, as a whole identifier or as part of one."""
        needles = stems(words)
        return any(needle in data for _, data in self.texts(folder) for needle in needles)

    # headers

    def headers(self, unit: Unit) -> tuple[Unit, ...]:
        """The headers that `unit` includes, directly or through one of the driver's own headers, and those beside a
        kernel's.
        """
        path = unit.source.path
        if path not in self._headers:
            self._headers[path] = tuple(self._included(unit))
        return self._headers[path]

    def _included(self, unit: Unit) -> Iterator[Unit]:
        seen: set[str] = {unit.source.path}
        queue: list[tuple[Unit, int]] = [(unit, 0)]
        while queue:
            current, depth = queue.pop(0)
            for path in self._direct_includes(current):
                if path in seen:
                    continue
                seen.add(path)
                header = self.unit(path)
                if header is None:
                    continue
                yield header
                own = not self.is_kernels(path)
                # a subsystem's header that names another in quotes is a part of what both say together
                beside = any(quoted for _, quoted in header.includes)
                if depth < (4 if own or beside else 1):
                    queue.append((header, depth + 1))

    def _direct_includes(self, unit: Unit) -> tuple[str, ...]:
        path = unit.source.path
        if not path.startswith("include/") or self._overlay:
            if path not in self._direct:
                self._direct[path] = self._resolved(unit)
            return self._direct[path]
        if path not in self._shared.includes:
            with self._reads.together() as group:
                found = self._resolved(unit)
            self._shared.includes[path] = found, group[0]
        found, read = self._shared.includes[path]
        for folder, seen in read.folders.items():
            self._reads.folder(folder, seen)
        return found

    def _resolved(self, unit: Unit) -> tuple[str, ...]:
        found = (self._includes.resolve(unit.source.path, name, quoted) for name, quoted in unit.includes)
        return tuple(dict.fromkeys(one for one in found if one is not None))

    # definitions

    def functions(self, name: str, unit: Unit, words: re.Pattern[bytes] | None = None) -> tuple[Function, ...]:
        """The definitions of function `name` as seen from `unit`: its own, its headers', the driver's.

        With `words`, the kernel's headers that hold none of them are not looked into.
        """
        found = self._find_definitions(name, unit.source.path, words)
        return tuple(
            fn for one, item in found for fn in ((one.function(item),) if item is not None else one.macros(name))
        )

    def bodies(self, name: str, unit: Unit) -> tuple[tuple[Unit, Item], ...]:
        """Where the driver around `unit` defines a function: in the file, in a header of its own, or elsewhere in the
        module.
        """
        near = (unit, *(one for one in self.headers(unit) if not self.is_kernels(one.source.path)))
        for one in near:
            if items := one.named("function", name):
                return tuple((one, item) for item in items)
        folder = self.module(unit.source.path)
        paths = self._definers(folder).get(name.encode(), ()) if self.is_driver_folder(folder) else ()
        others = (other for path in paths if (other := self.unit(path)) is not None)
        return tuple((other, item) for other in others for item in other.named("function", name))

    def _find_definitions_uncached(
        self, name: str, path: str, words: re.Pattern[bytes] | None
    ) -> tuple[tuple[Unit, Item | None], ...]:
        """The files that define a function, each with where; None for macros."""
        unit = self.unit(path)
        if unit is None:
            return ()
        if own := self._defined_in(unit, name):
            return own
        needle = name.encode()
        for header in self.headers(unit):
            if needle not in header.source.data:
                continue
            if words is not None and self.is_kernels(header.source.path) and not self._tells(words, header.source.path):
                continue
            if found := self._defined_in(header, name):
                return found
        folder = self.module(path)
        while self.is_driver_folder(folder):
            # more than one where the Makefile chooses
            near = [other for path in self._definers(folder).get(needle, ()) if (other := self.unit(path)) is not None]
            items = tuple(
                (other, item)
                for other in near
                for item in other.named("function", name)
                if b"static" not in other.source.code[item.head : item.params].split()
            )
            if items:
                return items
            if "/" not in folder:
                break
            folder = folder.rpartition("/")[0]
            if folder in MANY_MODULES or folder.count("/") < 1 or sum(1 for _ in self.below(folder, 700)) >= 700:
                break
        return ()

    @staticmethod
    def _defined_in(unit: Unit, name: str) -> tuple[tuple[Unit, Item | None], ...]:
        """The functions of this name that one file has, or else the macros."""
        if items := unit.named("function", name):
            return tuple((unit, item) for item in items)
        return ((unit, None),) if unit.macros(name) else ()

    def _tells_uncached(self, words: re.Pattern[bytes], path: str) -> bool:
        unit = self.unit(path)
        return unit is not None and words.search(unit.source.data) is not None

    def _definers(self, folder: str, structs: bool = False) -> dict[bytes, tuple[str, ...]]:
        """The files below `folder` that may define a function, or a struct, by its name: most that are asked for are
        nobody's.
        """
        key = folder, structs
        if key not in self._shared.definers:
            texts = self.texts(folder)
            found = _by_name(texts, may_define_structs) if structs else _by_name(_code(texts), may_define_functions)
            self._shared.definers[key] = found, self._texts[folder][1]
        held, read = self._shared.definers[key]
        self._reads.group(read)
        return held

    def macros(self, name: str, unit: Unit) -> tuple[Function, ...]:
        """The object-like or function-like #defines of `name` that `unit` sees."""
        return tuple(found for found in self.functions(name, unit) if found.macro)

    def struct(self, tag: str, unit: Unit) -> tuple[dict[str, CType], str] | None:
        """The members of struct or union `tag` as `unit` sees it, and the path of the file that defines it."""
        return self._struct(tag, unit.source.path)

    def _struct_uncached(self, tag: str, path: str) -> tuple[dict[str, CType], str] | None:
        unit = self.unit(path)
        if unit is None:
            return None
        if (fields := unit.fields(tag)) is not None:
            return fields, path
        for header in self.headers(unit):
            if (fields := header.fields(tag)) is not None:
                return fields, header.source.path
        folder = self.module(path)
        for other in (
            self._definers(folder, structs=True).get(tag.encode(), ()) if self.is_driver_folder(folder) else ()
        ):
            candidate = self.unit(other)
            if candidate is not None and (fields := candidate.fields(tag)) is not None:
                return fields, other
        return None

    def sharing(self, tag: str, field: str, unit: Unit) -> frozenset[str]:
        """The other members of struct or union `tag` that share memory with `field`, as members of a union do."""
        outer, _, inner = tag.partition("::")
        found = self.struct(outer, unit)
        home = self.unit(found[1]) if found is not None else None
        if home is None:
            return frozenset()
        prefix = f"{inner}." if inner else ""
        shared = home.sharing(outer, prefix + field)
        return frozenset(
            name.removeprefix(prefix) for name in shared if name.startswith(prefix) and name != prefix + field
        )

    def struct_home(self, tag: str, unit: Unit) -> str:
        """The path of the file that defines struct `tag` as `unit` sees it, "" if none does."""
        found = self.struct(tag.partition("::")[0], unit)
        return found[1] if found else ""

    def scope(self, defined: str, used: str) -> str | None:
        """The folder in which everything that sees a definition lies, None if that is too wide to search."""
        folder = common(self.module(defined), self.module(used))
        if defined.startswith("include/") and self.is_kernels(defined):
            return None
        return folder if self.is_driver_folder(folder) else None

    def items_with(self, unit: Unit, pattern: re.Pattern[bytes]) -> Iterator[tuple[Item | None, int]]:
        """The places in `unit` that match, each with the top-level item that holds it."""
        for match in pattern.finditer(unit.source.blanked):
            yield unit.item_at(match.start()), match.start()


def _code(texts: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    return ((path, data) for path, data in texts if path.endswith(".c"))


def _by_name(
    texts: Iterable[tuple[str, bytes]], defined: Callable[[bytes], set[bytes]]
) -> dict[bytes, tuple[str, ...]]:
    found: dict[bytes, list[str]] = {}
    for path, data in texts:
        for name in defined(data):
            found.setdefault(name, []).append(path)
    return {name: tuple(paths) for name, paths in found.items()}
