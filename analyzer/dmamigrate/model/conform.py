# SPDX-License-Identifier: GPL-2.0-only
"""The model against the kernel: a tree's own functions, compiled with recording stubs, run in the same states."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from dmamigrate.errors import ModelError
from dmamigrate.model import extract
from dmamigrate.model.extract import Function
from dmamigrate.model.questions import CALLS, Question, questions
from dmamigrate.model.states import ATTR_BITS
from dmamigrate.model.versions import KNOWN, release

_HARNESS = Path(__file__).parent / "harness"
_COMPILE_SECONDS = 120
_IOMMU_BITS = {"IOMMU_READ": 1, "IOMMU_WRITE": 2, "IOMMU_CACHE": 4, "IOMMU_MMIO": 16, "IOMMU_PRIV": 32}


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One state in which the kernel and the model differ."""

    question: str
    kernel: str
    model: str


@dataclass(frozen=True, slots=True)
class Conformance:
    """What a run found.

    `functions` counts the tree's functions that ran, `by_call` the states and disagreements of each call, `drifted`
    what could not be run, as text with the reason. `plan` is the version whose model was asked.
    """

    version: str
    plan: str
    functions: int
    states: int
    disagreements: int
    first: tuple[Disagreement, ...]
    by_call: dict[str, tuple[int, int]] = field(default_factory=dict)
    drifted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wish:
    """How to run: disagreements to keep, one question in `every`, versions that nobody read, functions to put in place.

    `seconds` is how long the tree's functions may run; a second is what they take.
    """

    show: int = 3
    every: int = 1
    nearest: bool = False
    changed: Mapping[str, str] = field(default_factory=dict)
    seconds: int = 60


class UnfitError(Exception):
    """Functions that do not fit the harness, by name, with the reason in words."""

    def __init__(self, reasons: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}() {why}" for name, why in reasons.items()))
        self.reasons = reasons


# What a compiler's complaint means for a function that was taken out of its tree.
_REASONS = (
    (r"implicit declaration of function '(\w+)'", "calls {}(), for which the harness has no stand-in"),
    (r"'(\w+)' undeclared", "uses {}, which the harness does not have"),
    (r"has no member named '(\w+)'", "uses a member {} that the harness' structures do not have"),
    (r"arguments? to function '(\w+)'", "calls {}() with other arguments than the harness expects"),
    (r"macro \"(\w+)\" (?:passed|requires)", "calls {}() with other arguments than the harness expects"),
    (r"conflicting types for '(\w+)'", "has another signature than the harness expects"),
    (r"unknown type name '(\w+)'", "uses a type {} that the harness does not have"),
)


def _program(functions: Sequence[Function], header: str) -> str:
    """The harness' source, every line of the tree named by the function that it is from."""
    parts = [header, '#line 1 "harness/stubs.h"', (_HARNESS / "stubs.h").read_text("utf-8")]
    for function in functions:
        parts += [f'#line 1 "{function.name} of {function.path}"', function.text]
    parts += ['#line 1 "harness/run.c"', (_HARNESS / "run.c").read_text("utf-8")]
    return "\n".join(parts)


def _complaints(text: str, functions: Sequence[Function]) -> dict[str, str]:
    """What does not compile, function by function."""
    names = {function.name for function in functions}
    reasons: dict[str, str] = {}
    inside = ""
    for line in text.splitlines():
        if within := re.search(r"In function '(\w+)'", line):
            inside = within[1]
        found = re.match(r"(?:(\w+) of )?[^:]+:\d+:\d+: (?:fatal )?error: (.*)", line)
        if found is None:
            continue
        matches = ((re.search(pattern, found[2]), words) for pattern, words in _REASONS)
        why = next((words.format(match[1]) for match, words in matches if match), "does not fit the harness")
        named = re.findall(r"'(\w+)'", found[2])
        blamed = next((name for name in (found[1], inside, *named) if name in names), None)
        if blamed is not None:
            reasons.setdefault(blamed, why if blamed not in named else "has another signature than the harness expects")
    return reasons


def _compile(functions: Sequence[Function], plan: str, header: str, folder: Path, seconds: int) -> Path:
    """The program. Raises UnfitError naming what does not fit, and ModelError if nothing is to blame for it."""
    compiler = shutil.which("gcc")
    if compiler is None:
        raise ModelError("gcc is needed to compile the kernel's functions; install it")
    source, program = folder / "harness.c", folder / "harness"
    source.write_text(_program(functions, header), "utf-8")
    groups = [f"-DGROUP_{group.upper()}" for group in {function.group for function in functions}]
    command = [
        compiler, "-std=gnu11", "-O1", "-Werror=implicit-function-declaration", f"-DCPU_SECONDS={seconds}",
        *extract.FLAGS[plan], *groups, "-o", str(program), str(source),
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, cwd=folder,
            timeout=_COMPILE_SECONDS, env=os.environ | {"LC_ALL": "C"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ModelError(f"gcc was not done with the tree's functions after {_COMPILE_SECONDS} s") from None
    if done.returncode != 0:
        reasons = _complaints(done.stderr, functions)
        if reasons:
            raise UnfitError(reasons)
        raise ModelError("the tree's functions do not fit the harness together; try --nearest or another tree")
    return program


def answers(harness: Harness, asked: Sequence[Question]) -> list[str]:
    """The bits that the tree defines, then an answer for each question. Raises ModelError if the program does not end
    well.

    The program can only compute, read and write (seccomp), and neither runs nor hangs for ever.
    """
    lines = "\n".join(question.line() for question in asked) + "\n"
    with subprocess.Popen(
        [str(harness.program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=harness.program.parent,
        start_new_session=True,
    ) as running:
        try:
            out, _ = running.communicate(lines.encode(), timeout=harness.seconds + 5)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            raise ModelError(
                f"the tree's functions were still running after {harness.seconds} s, and were stopped"
            ) from None
    given = out.decode("ascii", "replace").splitlines()
    if running.returncode != 0 or len(given) != len(asked) + 1:
        last = asked[max(0, min(len(given) - 1, len(asked) - 1))].describe()
        raise ModelError(
            f"the tree's functions stopped after {max(0, len(given) - 1)} of {len(asked)} states, near {last}"
        )
    return given


def bits(line: str, plan: str) -> list[Disagreement]:
    """Attribute and IOMMU bits that the tree defines otherwise than the model says."""
    first = dict.fromkeys(("DMA_ATTR_MMIO", "DMA_ATTR_REQUIRE_COHERENT", "DMA_ATTR_CC_SHARED"), (6, 18))
    expected = {
        name: -1 if release(plan) < first.get(name, (0, 0)) else bit for name, bit in ATTR_BITS.items()
    } | _IOMMU_BITS
    found = {name: int(value) for name, _, value in (word.partition("=") for word in line.split())}
    return [
        Disagreement(f"#define {name}", f"{found.get(name)}", f"{bit}")
        for name, bit in expected.items()
        if found.get(name) != bit
    ]


@dataclass(frozen=True, slots=True)
class Harness:
    """The program made of a tree, and the functions in it; `drifted` is what could not be taken, with the reason."""

    program: Path
    plan: str
    functions: tuple[Function, ...]
    drifted: tuple[str, ...]
    seconds: int

    def asks(self, every: int = 1) -> list[Question]:
        """What this program can be asked, all or one in `every`."""
        groups = [group for group in extract.GROUPS if any(function.group == group for function in self.functions)]
        return list(islice(questions(self.plan, groups), 0, None, every))


def build(root: Path, plan: str, wish: Wish, folder: Path) -> Harness:
    """The program of all groups of functions that fit, in `folder`.

    Without `nearest` everything has to fit. Raises ModelError naming each function that does not, and why.
    """
    functions = extract.extract(root, plan, wish.changed)
    header = extract.defines(root)
    drifted = {f.name: f"is in neither {f.path} nor a file beside it" for f in functions if not f.text}
    while True:
        lost = {function.group for function in functions if function.name in drifted}
        lost |= {"users"} if lost & {"sg", "iova"} else set()  # the others build on "core" alone
        if drifted and ("core" in lost or not wish.nearest):
            said = [f"{name}() {why}" for name, why in drifted.items()]
            more = [f"and {len(said) - 5} more"] if len(said) > 5 else []
            reasons = "; ".join([*said[:5], *more])
            raise ModelError(f"{root}: the model does not state this tree: {reasons}")
        alive = tuple(function for function in functions if function.group not in lost)
        try:
            program = _compile(alive, plan, header, folder, wish.seconds)
        except UnfitError as unfit:
            drifted |= unfit.reasons
        else:
            return Harness(
                program, plan, alive, tuple(f"{name}() {why}" for name, why in drifted.items()), wish.seconds
            )


def conform(root: Path, version: str, wish: Wish | None = None) -> Conformance:
    """Run the questions through the kernel's functions and through the model.

    Functions of the tree at `root` are compiled and run, in a private folder and with a time limit. Raises ModelError
    if the tree cannot be asked.
    """
    wish = wish or Wish()
    plan = extract.plan_for(version, wish.nearest)
    with tempfile.TemporaryDirectory(prefix="dmamigrate-conform-") as folder:
        harness = build(root, plan, wish, Path(folder))
        asked = harness.asks(wish.every)
        defined, *given = answers(harness, asked)
    wrong = bits(defined, plan)
    differ = Counter({"#define": len(wrong)}) if wrong else Counter[str]()
    states: Counter[str] = Counter()
    for question, kernel in zip(asked, given, strict=True):
        call = CALLS[question.call][0]
        states[call] += 1
        model = question.model(plan)
        if model != kernel:
            if not differ[call] or len(wrong) < wish.show:
                wrong.append(Disagreement(question.describe(), kernel, model))
            differ[call] += 1
    return Conformance(
        version, plan, len(harness.functions), len(asked), sum(differ.values()), tuple(wrong),
        {call: (count, differ[call]) for call, count in states.items()}, harness.drifted,
    )  # fmt: skip


def announcement(root: Path) -> str:
    """What is said before a run: that code of the tree will be compiled and run."""
    return f"compiling functions of {root} and running them in a private folder, without access to anything"


def report(result: Conformance, show: int = 3) -> str:
    """What a run found, as text."""
    lines = [
        f"{result.version}: {result.functions} functions, {result.states} states, {result.disagreements} disagreements"
    ]
    lines += [f"  {call}: {states} states, {differ} disagreements" for call, (states, differ) in result.by_call.items()]
    lines += [f"  drifted: {one}" for one in result.drifted]
    for one in result.first[:show]:
        lines += [f"  {one.question}", f"    kernel: {one.kernel}", f"    model:  {one.model}"]
    if result.plan != ".".join(map(str, release(result.version))):
        newer = release(result.version) > max(map(release, KNOWN))
        lines.append(f"  {'newer than' if newer else 'nobody read'} {result.plan if newer else result.version}: "
                     f"judged by the model of {result.plan}")  # fmt: skip
    return "\n".join(lines) + "\n"
