# SPDX-License-Identifier: GPL-2.0-only
"""Inputs that grow where programs grow badly: `python -m tests.fuzz.pathological` prints CPU time, memory and result of
each.

None may take more than 10 CPU seconds or 300 MB, or what is over is skipped with that as its reason.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

_HEAD = """\
#include <linux/dma-mapping.h>
#include <linux/pci.h>
struct w { struct device *d; struct pci_dev *p; dma_addr_t h; phys_addr_t b; };
"""
_MAP = "dma_map_resource(w->d, {}, 4096, DMA_TO_DEVICE, 0)"
_UNMAP = "void stop(struct w *w)\n{\n\tdma_unmap_resource(w->d, w->h, 4096, DMA_TO_DEVICE, 0);\n}\n"
_BAR = "pci_resource_start(w->p, 0)"


def _function(body: str, name: str = "start") -> str:
    return f"int {name}(struct w *w)\n{{\n{body}\treturn 0;\n}}\n"


def _mapping(address: str = _BAR) -> str:
    return f"\tw->h = {_MAP.format(address)};\n"


def _many_maps(count: int) -> str:
    return _HEAD + "".join(_function(_mapping(), f"start{n}") for n in range(count)) + _UNMAP


def _maps_in_one(count: int) -> str:
    return _HEAD + _function(_mapping() * count) + _UNMAP


def _unwinding(count: int) -> str:
    """Maps into members of their own, each with its check and the label that unmaps all before it."""
    members = "".join(f"\tdma_addr_t h{n};\n" for n in range(count))
    maps = "".join(
        f"\tw->h{n} = {_MAP.format(_BAR)};\n\tif (dma_mapping_error(w->d, w->h{n}))\n\t\tgoto err{n};\n"
        for n in range(count)
    )
    unmap = "\tdma_unmap_resource(w->d, w->h{n}, 4096, DMA_TO_DEVICE, 0);\n"
    undo = "".join(f"{unmap.replace('{n}', str(n))}err{n}:\n" for n in reversed(range(count)))
    stop = "".join(unmap.replace("{n}", str(n)) for n in range(count))
    head = _HEAD.replace("dma_addr_t h;", f"\n{members}")
    return (
        head
        + f"int start(struct w *w)\n{{\n{maps}\treturn 0;\n\n{undo}\treturn -1;\n}}\n"
        + f"void stop(struct w *w)\n{{\n{stop}}}\n"
    )


def _on_one_line(count: int) -> str:
    return _HEAD + "".join(_function(_mapping(), f"start{n}") for n in range(count)).replace("\n", " ") + "\n" + _UNMAP


def _chain(count: int) -> str:
    steps = "".join(f"\tphys_addr_t a{n} = a{n - 1};\n" for n in range(1, count))
    return _HEAD + _function(f"\tphys_addr_t a0 = {_BAR};\n{steps}{_mapping(f'a{count - 1}')}") + _UNMAP


def _sum(count: int) -> str:
    return _HEAD + _function(_mapping(" + ".join([_BAR, *["1"] * count]))) + _UNMAP


def _ifs(count: int) -> str:
    return _HEAD + _function(_mapping() + "\tif (w->b)\n\t\treturn 1;\n" * count) + _UNMAP


def _pairs_of_ifs(count: int) -> str:
    unmap = "\tif (w->b == {n})\n\t\tdma_unmap_resource(w->d, w->h, 4096, DMA_TO_DEVICE, 0);\n"
    pairs = "".join(f"\tif (w->b == {n})\n\t{_mapping()}" + unmap.replace("{n}", str(n)) for n in range(count))
    return _HEAD + _function(pairs)


def _parentheses(count: int) -> str:
    return _HEAD + _function(_mapping("(" * count + _BAR + ")" * count)) + _UNMAP


def _else_ifs(count: int) -> str:
    chain = "\tif (w->b == 0)\n\t\t;\n" + "".join(f"\telse if (w->b == {n})\n\t\t;\n" for n in range(count))
    return _HEAD + _function(_mapping() + chain) + _UNMAP


def _blocks(count: int) -> str:
    return _HEAD + _function("{" * count + _mapping() + "}" * count) + _UNMAP


def _long_word(count: int) -> str:
    return _HEAD + "x" * count + " (\n" + _function(_mapping()) + _UNMAP


def _long_line(count: int) -> str:
    return _HEAD + "/* " + "x " * (count // 2) + "*/\n" + _function(_mapping()) + _UNMAP


def _functions(count: int) -> str:
    return (
        _HEAD
        + "".join(f"int f{n}(int a)\n{{\n\treturn a + {n};\n}}\n" for n in range(count))
        + _function(_mapping())
        + _UNMAP
    )


def _recursive(count: int) -> str:
    calls = "".join(
        f"phys_addr_t f{n}(struct w *w)\n{{\n\treturn w->b ? f{(n + 1) % count}(w) : w->b;\n}}\n" for n in range(count)
    )
    return _HEAD + calls + _function(_mapping("f0(w)")) + _UNMAP


def _callers(count: int) -> str:
    wrapper = f"void map(struct w *w, phys_addr_t a)\n{{\n{_mapping('a')}}}\n"
    return _HEAD + wrapper + "".join(_function(f"\tmap(w, {_BAR});\n", f"c{n}") for n in range(count)) + _UNMAP


def _macros(count: int) -> str:
    defines = "#define M0 w->b\n" + "".join(f"#define M{n} M{n - 1} + M{n - 1}\n" for n in range(1, count))
    return _HEAD + defines + "#define SELF SELF + 1\n" + _function(_mapping(f"M{count - 1} + SELF")) + _UNMAP


def _doubling(count: int) -> str:
    calls = "phys_addr_t f0(struct w *w)\n{\n\treturn w->b;\n}\n" + "".join(
        f"phys_addr_t f{n}(struct w *w)\n{{\n\treturn f{n - 1}(w) + f{n - 1}(w);\n}}\n" for n in range(1, count)
    )
    return _HEAD + calls + _function(_mapping(f"f{count - 1}(w)")) + _UNMAP


def _gotos(count: int) -> str:
    return (
        _HEAD
        + _function(_mapping() + "".join(f"l{n}:\n\tif (w->b)\n\t\tgoto l{(n * 7) % count};\n" for n in range(count)))
        + _UNMAP
    )


def _lines(count: int) -> str:
    return _HEAD + _function(_mapping() + "\tw->b++;\n" * count) + _UNMAP


def _large(count: int) -> str:
    return _functions(count)


CASES: tuple[tuple[str, Callable[[int], str], tuple[int, ...]], ...] = (
    ("functions that map into one field", _many_maps, (100, 400, 2000)),
    ("maps in one function, one unmap", _maps_in_one, (100, 400, 1000)),
    ("maps in one function, each unwound", _unwinding, (25, 100, 400)),
    ("mapping functions on one line", _on_one_line, (1000,)),
    ("chain of locals", _chain, (1500, 3000, 6000)),
    ("terms of a sum", _sum, (2000, 8000, 10_000, 19_000)),
    ("ifs behind the map", _ifs, (40, 25_000)),
    ("pairs of ifs around map and unmap", _pairs_of_ifs, (10, 40)),
    ("parentheses", _parentheses, (3000, 10_000)),
    ("else-ifs", _else_ifs, (20_000,)),
    ("blocks", _blocks, (100_000,)),
    ("letters of a word before a parenthesis", _long_word, (20_000, 80_000, 300_000)),
    ("bytes in one line", _long_line, (1_000_000,)),
    ("functions in a file", _functions, (100_000,)),
    ("functions, 25 MB", _large, (600_000,)),
    ("mutually recursive functions", _recursive, (2000,)),
    ("callers of a wrapper", _callers, (5000,)),
    ("macros that double, and one of itself", _macros, (40,)),
    ("functions that double", _doubling, (60,)),
    ("labels and gotos", _gotos, (400,)),
    ("lines of a function", _lines, (50_000,)),
)


# A process begins with the largest resident set of the one that started it: this one, small, starts what is measured.
_MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stderr=subprocess.PIPE, text=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss // 1024, done.returncode, done.stderr.strip()[-80:])
"""


def _measured(text: str) -> tuple[float, int, str]:
    """CPU seconds, the largest resident set in MB, and what a scan of the text says."""
    with tempfile.TemporaryDirectory(prefix="dmamigrate-pathological-") as name:
        Path(name, "w.c").write_text(text)
        scan = (sys.executable, "-m", "dmamigrate", "scan", ".", "-j1", "--format", "json", "-o", "report")
        measured = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _MEASURE, *scan], cwd=name, stdout=subprocess.PIPE, text=True, check=True
        )
        seconds, megabytes, code, *wrong = measured.stdout.split(maxsplit=3)
        report = Path(name, "report").read_text() if Path(name, "report").is_file() else ""
    reason = (
        report.partition('"reason": "could not be judged: ')[2].partition('"')[0]
        or report.partition('"reason": "nested')[2][:20]
    )
    text_of = f"skipped: {reason}" if reason else "found" if '"rule"' in report else "".join(wrong).strip()
    return float(seconds), int(megabytes), f"exit {code}, {text_of}"


def _rows() -> Iterator[tuple[str, float, int, str]]:
    for label, make, counts in CASES:
        for count in counts:
            yield (f"{count} {label}", *_measured(make(count)))


def main() -> int:
    """Run; 1 if anything is over the limits and not skipped for that."""
    resource.setrlimit(resource.RLIMIT_CPU, (3600, 3600))
    over = 0
    for label, seconds, megabytes, said in _rows():
        bad = seconds > 10 or megabytes > 300 or not said.startswith(("exit 0", "exit 1", "exit 2"))
        over += bad
        print(f"{label:55} {seconds:6.1f} s {megabytes:5} MB  {said}{'  OVER' if bad else ''}", flush=True)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
