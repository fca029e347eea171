# SPDX-License-Identifier: GPL-2.0-only
"""A small kernel of a tree, built out of tree and booted under QEMU without KVM, with a module that asks it questions.

Kernels and modules are kept below the user's cache, by architecture, version and configuration.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from dmamigrate.errors import ModelError, UsageError

_SOURCES = Path(__file__).parent / "harness" / "boot"
_BUILD_SECONDS, _BOOT_SECONDS = 3600, 400


@dataclass(frozen=True, slots=True)
class Configuration:
    """One boot: its name and kernel command line, and what the states of that machine have in common.

    `switch` puts both devices below one PCIe switch; `crash` is a question that ends in an Oops.
    """

    name: str
    cmdline: str
    swiotlb: str
    switch: bool = False
    crash: bool = False

    @property
    def min_align(self) -> str:
        """What the module gives dma_set_min_align_mask(), as states.State says it."""
        return "granule" if "align" in self.name else "none"


@dataclass(frozen=True, slots=True)
class Arch:
    """An architecture: what it needs, how its kernel is made and run, and which machines are booted."""

    name: str
    make: tuple[str, ...]
    image: str
    compiler: str
    qemu: tuple[str, ...]
    console: str
    needs: tuple[tuple[str, str], ...]
    configurations: tuple[Configuration, ...]


_MAKE = (("make", "make"), ("gcc", "gcc"), ("bc", "bc"), ("bison", "bison"), ("flex", "flex"))
X86 = Arch(
    "x86_64", (), "arch/x86/boot/bzImage", "gcc",
    ("qemu-system-x86_64", "-machine", "q35", "-cpu", "EPYC", "-device", "intel-iommu,intremap=off,aw-bits=48"),
    "ttyS0",
    (*_MAKE, ("qemu-system-x86_64", "qemu-system-x86")),
    (
        Configuration("direct", "intel_iommu=off", "active"),
        Configuration("force", "intel_iommu=off swiotlb=force", "forced"),
        Configuration("none", "intel_iommu=off swiotlb=noforce", "off"),
        Configuration("pt", "intel_iommu=on iommu=pt", "active"),
        Configuration("iommu", "intel_iommu=on", "active"),
        Configuration("iommunone", "intel_iommu=on swiotlb=noforce", "off"),
        Configuration("iommuforce", "intel_iommu=on swiotlb=force", "forced"),
        Configuration("iommualign", "intel_iommu=on", "active"),
        Configuration("switch", "intel_iommu=off", "active", switch=True),
        Configuration("switchiommu", "intel_iommu=on", "active", switch=True),
        Configuration("crash", "intel_iommu=off crash=1", "active", crash=True),
    ),
)  # fmt: skip
ARM64 = Arch(
    "arm64", ("ARCH=arm64", "CROSS_COMPILE=aarch64-linux-gnu-"), "arch/arm64/boot/Image", "aarch64-linux-gnu-gcc",
    ("qemu-system-aarch64", "-machine", "virt,gic-version=3,iommu=smmuv3,highmem=on", "-cpu", "cortex-a57"), "ttyAMA0",
    (*_MAKE, ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"),
     ("qemu-system-aarch64", "qemu-system-arm")),
    (
        Configuration("armdirect", "iommu.passthrough=1", "active"),
        Configuration("armforce", "iommu.passthrough=1 swiotlb=force", "forced"),
        Configuration("armnone", "iommu.passthrough=1 swiotlb=noforce", "off"),
        Configuration("armiommu", "iommu.passthrough=0", "active"),
        Configuration("armiommunone", "iommu.passthrough=0 swiotlb=noforce", "off"),
        Configuration("armiommualign", "iommu.passthrough=0", "active"),
        Configuration("armcrash", "iommu.passthrough=1 crash=1", "active", crash=True),
    ),
)  # fmt: skip
ARCHES = {arch.name: arch for arch in (X86, ARM64)}


def missing(arch: Arch) -> list[str]:
    """The packages (Debian's names) that a boot of this architecture needs and that are not installed."""
    wanted = [package for tool, package in arch.needs if shutil.which(tool) is None]
    if not Path("/usr/include/libelf.h").exists() and arch.name == "x86_64":
        wanted.append("libelf-dev")
    return wanted


def possible() -> list[Arch]:
    """The architectures that can be booted here. Raises ModelError naming what the first needs if there is none."""
    able = [arch for arch in ARCHES.values() if not missing(arch)]
    if not able:
        raise ModelError(_lacking(X86))
    return able


def _lacking(arch: Arch) -> str:
    packages = " ".join(missing(arch))
    install = f"apt-get install --no-install-recommends {packages}"
    return f"{arch.name}: a boot needs what is not installed; on Debian: {install}"


def machines(arches: Sequence[Arch], names: Sequence[str]) -> Sequence[str]:
    """The names if these architectures have such machines. Raises UsageError naming those there are."""
    known = [one.name for arch in arches for one in arch.configurations]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"no machine {', '.join(unknown)}; there are {', '.join(known)}")
    return names


def cache_folder() -> Path:
    """Where kernels are kept."""
    return platformdirs.user_cache_path("dmamigrate") / "boot"


def _run(command: Sequence[str], seconds: int, what: str, cwd: Path | None = None) -> None:
    """Run a build step. Raises ModelError with its last line if it fails or takes too long."""
    try:
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
            errors="replace",
            cwd=cwd, start_new_session=True,
        ) as running:  # fmt: skip
            try:
                out, err = running.communicate(timeout=seconds)
            finally:
                if running.poll() is None:  # interrupted, or too slow: make's children, too
                    os.killpg(running.pid, signal.SIGKILL)
    except subprocess.TimeoutExpired:
        raise ModelError(f"{what}: not done after {seconds} s") from None
    if running.returncode != 0:
        lines = [line for line in (err or out).splitlines() if "rror" in line] or err.splitlines()
        raise ModelError(f"{what}: {(lines or ['failed'])[0].strip()}")


def _key(*files: Path) -> str:
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:12]


def point_release(tree: Path) -> str:
    """The tree's version to the sublevel, 7.3.4, as its Makefile states it."""
    text = (tree / "Makefile").read_text("utf-8", "replace")
    found = dict(re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL) = (\d+)$", text, re.MULTILINE))
    return ".".join(found.get(name, "0") for name in ("VERSION", "PATCHLEVEL", "SUBLEVEL"))


def kernel(arch: Arch, tree: Path, say: Callable[[str], None]) -> Path:
    """The build folder of this tree's kernel, built if it is not kept. Raises ModelError if that fails."""
    version = point_release(tree)
    config = _SOURCES / f"{arch.name}.config"
    out = cache_folder() / f"{arch.name}-{version}-{_key(config)}"
    stamp = out / "dmamigrate.done"
    if stamp.exists():
        return out
    begun = time.monotonic()
    say(f"{arch.name}: building a kernel of {tree} in {out}")
    out.mkdir(parents=True, exist_ok=True)
    make = ["make", "-s", "-C", str(tree.resolve()), f"O={out}", *arch.make]
    _run([*make, f"KCONFIG_ALLCONFIG={config}", "allnoconfig"], 300, f"{tree}: configuring the kernel")
    jobs = f"-j{os.cpu_count() or 1}"
    _run(
        ["nice", "-n", "10", *make, jobs, Path(arch.image).name, "modules_prepare"],
        _BUILD_SECONDS,
        f"{tree}: building the kernel",
    )
    stamp.write_text(f"{time.monotonic() - begun:.0f}\n")
    say(f"{arch.name}: built in {time.monotonic() - begun:.0f} s")
    return out


def initramfs(arch: Arch, out: Path, folder: Path) -> Path:
    """The whole user space: the module, and one static program that loads it. Raises ModelError if one does not
    compile.
    """
    sources = [_SOURCES / name for name in ("dmaprobe.c", "Makefile", "init.c")]
    kept = out / f"initramfs-{_key(*sources)}.gz"
    if kept.exists():
        return kept
    for source in sources:
        shutil.copy(source, folder)
    _run(
        ["make", "-s", "-C", str(out), f"M={folder}", *arch.make, "KBUILD_MODPOST_WARN=1", "modules"],
        300,
        "building the module",
    )
    _run([arch.compiler, "-O1", "-w", "-static", "-o", "init", "init.c"], 120, "building its init", folder)
    entries = [("dev", 0o040755, b"", (0, 0)), ("dev/console", 0o020600, b"", (5, 1))]
    entries += [(name, 0o040755, b"", (0, 0)) for name in ("proc", "sys")]
    entries += [(name, 0o100755, (folder / name).read_bytes(), (0, 0)) for name in ("init", "dmaprobe.ko")]
    work = kept.with_suffix(f".{os.getpid()}")
    work.write_bytes(gzip.compress(_cpio(entries), 1))
    work.replace(kept)
    return kept


def _cpio(entries: Sequence[tuple[str, int, bytes, tuple[int, int]]]) -> bytes:
    """An archive in the "newc" format, which needs neither cpio nor a right to make device nodes."""
    parts: list[bytes] = []
    for number, (name, mode, data, device) in enumerate((*entries, ("TRAILER!!!", 0, b"", (0, 0))), 1):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        parts += [head + b"\0" * (-len(head) % 4), data + b"\0" * (-len(data) % 4)]
    return b"".join(parts)


_SWITCH = (
    "pcie-root-port,id=rp,chassis=1,slot=1", "x3130-upstream,id=up,bus=rp",
    "xio3130-downstream,id=d1,bus=up,chassis=2,slot=2", "xio3130-downstream,id=d2,bus=up,chassis=3,slot=3",
    "edu,dma_mask=0xffffffffffffffff,bus=d1", "ivshmem-plain,memdev=shm,bus=d2",
)  # fmt: skip
_PLAIN = ("edu,dma_mask=0xffffffffffffffff,addr=4", "ivshmem-plain,memdev=shm,addr=5")


@dataclass(frozen=True, slots=True)
class Log:
    """What a boot printed, and how long it took in seconds."""

    configuration: Configuration
    text: str
    seconds: float


def boot(arch: Arch, configuration: Configuration, image: Path, initrd: Path) -> Log:
    """Boot one machine; its console. Raises ModelError if it does not come to an end."""
    command = [
        "nice", "-n", "5", *arch.qemu, "-m", "4608M", "-nographic", "-no-reboot", "-nodefaults", "-serial", "mon:stdio",
        "-kernel", str(image), "-initrd", str(initrd), "-object", "memory-backend-ram,id=shm,size=2G,share=off",
    ]  # fmt: skip
    for device in _SWITCH if configuration.switch else _PLAIN:
        command += ["-device", device]
    words = f"console={arch.console} panic=-1 loglevel=1 boot={configuration.name} {configuration.cmdline}"
    begun = time.monotonic()
    try:
        done = subprocess.run(
            [*command, "-append", words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_BOOT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"{arch.name} {configuration.name}: still running after {_BOOT_SECONDS} s") from None
    text = done.stdout.decode("utf-8", "replace")
    ended = "END|" in text or (configuration.crash and "Oops" in text)
    if not ended:
        last = (text.strip() or done.stderr.decode("utf-8", "replace").strip() or "it said nothing").splitlines()[-1]
        raise ModelError(
            f"{arch.name} {configuration.name}: the machine stopped before its questions were done: {last}"
        )
    return Log(configuration, text, time.monotonic() - begun)


def boots(arch: Arch, tree: Path, say: Callable[[str], None], names: Sequence[str] = ()) -> list[Log]:
    """Boot the machines of an architecture, all or those named. Raises ModelError naming what is missing."""
    if missing(arch):
        raise ModelError(_lacking(arch))
    wanted = [one for one in arch.configurations if not names or one.name in names]
    out = kernel(arch, tree, say)
    with tempfile.TemporaryDirectory(prefix="dmamigrate-boot-") as folder:
        initrd = initramfs(arch, out, Path(folder))
    with ThreadPoolExecutor(max_workers=max(1, min(4, os.cpu_count() or 1))) as workers:
        return list(workers.map(lambda one: boot(arch, one, out / arch.image, initrd), wanted))


def keep(logs: Sequence[Log], folder: Path) -> None:
    """Write each machine's console to console.MACHINE in the folder. Raises UsageError if that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for log in logs:
            (folder / f"console.{log.configuration.name}").write_text(log.text, "utf-8")
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}; name a folder that can be written to") from error
