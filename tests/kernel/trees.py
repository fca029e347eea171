# SPDX-License-Identifier: GPL-2.0-only
"""Real kernel trees for the kernel lane: Debian's source packages, from the mirror that this machine's apt uses.

`python -m tests.kernel.trees VERSION...` unpacks each (6.12, 7.3, ... or "newest") and prints its folder. Trees are
kept in $DMAMIGRATE_TREES, by default below the user's cache, and unpacked once. Nothing is installed and apt's own
state is not touched.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

_SUITES = ("bookworm", "trixie", "trixie-backports", "sid")
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class NoTreeError(Exception):
    """A tree cannot be had here; the text says why."""


def folder() -> Path:
    """Where trees are kept."""
    cache_home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("DMAMIGRATE_TREES") or f"{cache_home}/dmamigrate/trees")


def _run(*command: str, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    except OSError as error:
        raise NoTreeError(f"{command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        raise NoTreeError(
            f"{' '.join(command[:2])}: {(done.stderr or done.stdout).strip().splitlines()[-1:] or 'failed'}"
        )
    return done.stdout


@cache
def _apt() -> tuple[str, ...]:
    """apt's options for a state of our own, its package lists fetched."""
    state = folder() / ".apt"
    for name in ("lists/partial", "cache/archives/partial"):
        (state / name).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    mirrors = _run("apt-get", "indextargets", "--format", "$(REPO_URI)").split()
    main = next((m for m in mirrors if re.search(r"/debian/?$", m)), None)
    security = next((m for m in mirrors if re.search(r"/debian-security/?$", m)), None)
    if main is None:
        raise NoTreeError("this machine's apt names no Debian mirror; run `apt-get update` once")
    lines = [f"deb [signed-by={_KEYRING}] {main} {suite} main" for suite in _SUITES]
    lines += [f"deb [signed-by={_KEYRING}] {security} bookworm-security main"] if security else []
    (state / "sources.list").write_text("\n".join(lines) + "\n")
    options = (
        f"Dir::Etc::sourcelist={state}/sources.list", "Dir::Etc::sourceparts=/dev/null",
        f"Dir::State::Lists={state}/lists",
        f"Dir::State::status={state}/status", f"Dir::Cache={state}/cache", "APT::Sandbox::User=root",
    )  # fmt: skip
    words = tuple(word for option in options for word in ("-o", option))
    _run("apt-get", *words, "-qq", "update")
    return words


def newest() -> str:
    """The highest version that the mirror offers."""
    listed = _run("apt-cache", *_apt(), "search", "--names-only", "^linux-source-[0-9]")
    versions = re.findall(r"^linux-source-(\d+\.\d+) ", listed, re.MULTILINE)
    if not versions:
        raise NoTreeError("the mirror offers no kernel source package")
    return str(max(versions, key=lambda version: tuple(map(int, version.split(".")))))


def tree(version: str) -> Path:
    """The folder of one tree, unpacked if it is not there. Raises NoTreeError with the reason if it cannot be had."""
    if version == "newest":
        version = newest()
    target = folder() / f"linux-{version}"
    if (target / "MAINTAINERS").exists():
        return target
    options = _apt()
    work = Path(tempfile.mkdtemp(prefix=".unpack.", dir=folder()))
    try:
        _run("apt-get", *options, "-qq", "download", f"linux-source-{version}", cwd=work)
        (package,) = work.glob("*.deb")
        _run("dpkg", "-x", str(package), str(work / "deb"))
        (archive,) = (work / "deb/usr/src").glob("linux-source-*.tar.*")
        (work / "tree").mkdir()
        _run("tar", "-xf", str(archive), "-C", str(work / "tree"), "--strip-components=1")
        shutil.rmtree(target, ignore_errors=True)
        (work / "tree").rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def main() -> None:
    """Print the folders; say on standard error which cannot be had."""
    status = 0
    for version in sys.argv[1:] or ["--help"]:
        try:
            print(tree(version) if version != "--help" else __doc__)
        except NoTreeError as error:
            sys.stderr.write(f"linux-source-{version}: {error}\n")
            status = 1
    sys.exit(status)


if __name__ == "__main__":
    main()
