# SPDX-License-Identifier: GPL-2.0-only
"""Changes Python sources in one place at a time, in a scratch copy, and prints which tests notice.

    python -m tests.mutants [--number N] [--seed TEXT] [--jobs J] [--conditions] [--test NAME=COMMAND]... PATH...

PATH are files and folders of this repository. Places are found in the syntax tree: a comparison swapped, `and` for
`or`, a constant changed, a `not` or a call for its effect dropped, a condition negated; with --conditions neither
constants nor effects. N of them are drawn by the seed (the commit's hash, without one). Each COMMAND runs in the copy,
with the copy on the import path; one that fails has noticed.
The commands run in the order given until one notices; the table says which did. Without one: the fast tests.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
_SECONDS = 900
_SWAPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mutant:
    """One changed place: the file (from the root), the line, what was done, and the file's new text."""

    path: str
    line: int
    what: str
    text: str


def _unchanging(tree: ast.Module) -> set[int]:
    """Nodes whose change is none: docstrings, annotations, whether a record is frozen, and the texts of exceptions."""
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found |= {id(node.value)}
        elif isinstance(node, ast.Raise):
            found |= {id(inner) for inner in ast.walk(node)}
        elif isinstance(node, ast.AnnAssign | ast.arg) and node.annotation is not None:
            found |= {id(inner) for inner in ast.walk(node.annotation)}
        elif isinstance(node, ast.FunctionDef) and node.returns is not None:
            found |= {id(inner) for inner in ast.walk(node.returns)}
        elif isinstance(node, ast.ClassDef):
            found |= {id(inner) for decorator in node.decorator_list for inner in ast.walk(decorator)}
        elif isinstance(node, ast.FunctionDef) and node.name == "describe":
            found |= {id(inner) for inner in ast.walk(node)}
    return found


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What can be done to one node, in words, and what stands there then."""
    new = copy.deepcopy(node)
    if isinstance(node, ast.Compare) and isinstance(new, ast.Compare):
        new.ops[0] = _SWAPPED[type(node.ops[0])]()
        yield "comparison swapped", new
    elif isinstance(node, ast.BoolOp) and isinstance(new, ast.BoolOp):
        new.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield "and/or swapped", new
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not dropped", copy.deepcopy(node.operand)
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield "constant", ast.Constant(not node.value)
        elif isinstance(node.value, int):
            yield "constant", ast.Constant(node.value + 1)
        elif isinstance(node.value, str):
            yield "constant", ast.Constant(f"{node.value}X" if node.value else "X")
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "effect dropped", ast.Pass()
    elif isinstance(node, ast.If | ast.IfExp) and isinstance(new, ast.If | ast.IfExp):
        new.test = ast.UnaryOp(ast.Not(), new.test)
        yield "condition negated", new


class _Replacing(ast.NodeTransformer):
    def __init__(self, place: int, new: ast.AST) -> None:
        self.place, self.new, self.at = place, new, -1

    def visit(self, node: ast.AST) -> ast.AST:
        self.at += 1
        return self.new if self.at == self.place else self.generic_visit(node)


def _in_order(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _in_order(child)


def mutants(path: str, source: str) -> Iterator[Mutant]:
    """Every single change of a file."""
    tree = ast.parse(source)
    left_alone = _unchanging(tree)
    for place, node in enumerate(_in_order(tree)):
        if id(node) in left_alone:
            continue
        for what, new in _changes(node):
            changed = _Replacing(place, new).visit(copy.deepcopy(tree))
            text = ast.unparse(ast.fix_missing_locations(changed))
            line = getattr(node, "lineno", 0)
            old = " ".join(ast.unparse(node).split())[:60]
            yield Mutant(path, line, f"{what}: {old}", text)


def _tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def _notices(command: str, folder: Path) -> bool:
    """Whether a command fails in the copy, or does not end."""
    env = os.environ | {"PYTHONPATH": f"{folder / 'analyzer'}:{folder}", "PYTHONDONTWRITEBYTECODE": "1"}
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    with subprocess.Popen(
        words, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as running:
        try:
            return running.wait(_SECONDS) != 0
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            return True


def judge(mutant: Mutant, tests: list[tuple[str, str]], folder: Path) -> str:
    """Who notices a mutant first: a test's name, or nobody. The copy is as it was afterwards."""
    file = folder / mutant.path
    kept = file.read_text()
    file.write_text(mutant.text)
    try:
        return next((name for name, command in tests if _notices(command, folder)), "nobody")
    finally:
        file.write_text(kept)


def main() -> None:
    """Draw, judge, and print the table."""
    options = argparse.ArgumentParser(description="Change sources in one place at a time; who notices?")
    options.add_argument("paths", nargs="+", type=Path)
    options.add_argument("--number", type=int, default=100)
    options.add_argument("--seed")
    options.add_argument("--jobs", type=int, default=1)
    options.add_argument("--conditions", action="store_true")
    options.add_argument("--test", action="append", default=[], metavar="NAME=COMMAND")
    given = options.parse_args()
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    tests = [(name, command) for name, _, command in (one.partition("=") for one in given.test)]
    tests = tests or [("tests", "python -m pytest -q -x")]
    files = [file for path in given.paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    every = [m for file in files for m in mutants(str(file.resolve().relative_to(ROOT)), file.read_text())]
    if given.conditions:
        every = [mutant for mutant in every if not mutant.what.startswith(("constant", "effect"))]
    drawn = random.Random(given.seed or head).sample(every, min(given.number, len(every)))
    print(f"{len(drawn)} of {len(every)} places in {len(files)} files, seed {given.seed or head}", flush=True)
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        copies = [Path(scratch) / str(number) for number in range(given.jobs)]
        for folder in copies:
            for name in _tracked():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        broken = [name for name, command in tests if _notices(command, copies[0])]
        if broken:
            sys.exit(f"{', '.join(broken)}: fails without a change")
        noticed: Counter[str] = Counter()
        shares = [drawn[number :: given.jobs] for number in range(given.jobs)]

        def work(number: int) -> None:
            for mutant in shares[number]:
                who = judge(mutant, tests, copies[number])
                noticed[who] += 1
                if who == "nobody":
                    print(f"nobody: {mutant.path}:{mutant.line}: {mutant.what}", flush=True)
                if noticed.total() % 20 == 0:
                    print(f"  {noticed.total()}: {dict(noticed)}", file=sys.stderr, flush=True)

        with ThreadPoolExecutor(given.jobs) as workers:
            list(workers.map(work, range(given.jobs)))
    for name, _ in (*tests, ("nobody", "")):
        print(f"  {name:20} {noticed[name]}")


if __name__ == "__main__":
    main()
