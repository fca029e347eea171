# SPDX-License-Identifier: GPL-2.0-only
"""Work in other processes, and within limits: signals, lost children, CPU time and memory."""

from __future__ import annotations

import math
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
_INTERVAL = 0.01
_GRACE = 5  # seconds of CPU time that one call of a library may take beyond a limit
_MB = 1 << 20

Item = TypeVar("Item")
Done = TypeVar("Done")


class Interrupted(BaseException):
    """A signal asks the program to end; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class OverBudget(BaseException):
    """A limit was reached; the text says which. No `except Exception` on the way keeps it."""


def raise_on_signals() -> None:
    """Have the signals that end a program raise Interrupted, once: what cleans up is not interrupted again."""

    def interrupt(number: int, frame: object) -> None:
        del frame
        for other in _ENDING:
            signal.signal(other, signal.SIG_IGN)
        raise Interrupted(number)

    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup asks for that
            signal.signal(number, interrupt)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold signals that end a program back until the block is over: what it makes is known, or gone, when they
    arrive.
    """
    held = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


@contextmanager
def private_folder(purpose: str = "") -> Iterator[Path]:
    """A folder that only this user can look into, gone with all that is in it when the block ends, also by a signal."""
    folder = None
    try:
        with uninterrupted():
            folder = Path(tempfile.mkdtemp(prefix=f"dmamigrate-{purpose}")).resolve()
        yield folder
    finally:
        if folder is not None:
            with uninterrupted():
                shutil.rmtree(folder, ignore_errors=True)


def run(
    command: Sequence[str],
    folder: Path,
    data: bytes = b"",
    seconds: float = 3600,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run another program to its end. Whatever keeps it from that, nothing that it began is left running.

    Raises FileNotFoundError if there is no such program, TimeoutExpired if it takes longer.
    """
    with uninterrupted():
        process = subprocess.Popen(
            command, cwd=folder, env=environment, process_group=0,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    try:
        said, wrong = process.communicate(data, timeout=seconds)
    except BaseException:
        with uninterrupted():
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        raise
    return subprocess.CompletedProcess(command, process.returncode, said, wrong)


def _resident() -> int:
    """How many bytes of memory this process holds; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        return 0


@contextmanager
def limited(seconds: float, megabytes: int) -> Iterator[None]:
    """Raise OverBudget in what takes more than `seconds` of CPU time, or adds more than `megabytes` to the memory in
    use.

    Only the main thread can be stopped so; in any other there is no limit. What is not stopped, since it is one long
    call of a library in C, ends with its process a few seconds later: see `apart`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    end, most = time.process_time() + seconds, _resident() + megabytes * _MB

    def check(number: int, frame: object) -> None:
        del number, frame
        late, much = time.process_time() > end, _resident() > most
        if late or much:
            # once more, after a while: what is raised in a destructor is lost
            signal.setitimer(signal.ITIMER_PROF, 1, 1)
            raise OverBudget(
                f"takes more than {seconds:g} s of CPU time" if late else f"needs more than {megabytes} MB of memory"
            )

    before = signal.signal(signal.SIGPROF, check)
    signal.setitimer(signal.ITIMER_PROF, _INTERVAL, _INTERVAL)
    try:
        with _ended_at(end + _GRACE):
            yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        # a last tick may still be on its way to another thread, and by default it would end the process
        signal.signal(signal.SIGPROF, signal.SIG_IGN if before is signal.SIG_DFL else before)


@contextmanager
def _ended_at(seconds: float) -> Iterator[None]:
    """Have the kernel end this process once it has used so much CPU time in all, if the block is not over by then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    wanted = math.ceil(seconds)
    if any(limit != resource.RLIM_INFINITY and limit <= wanted for limit in (soft, hard)):
        yield
        return
    resource.setrlimit(resource.RLIMIT_CPU, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def sensible(jobs: int, work: int) -> int:
    """How many processes to use of `jobs` that are asked for: no more than there is work, nor than help."""
    return max(1, min(jobs, work, max(8, 4 * (os.cpu_count() or 1))))


def _begin(parent: int) -> None:
    """End with the parent, even if that is killed or was before this could be asked for, and leave no core file.

    `parent` is the process that was forked, 0 if this one was started in another way.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
        if parent and os.getppid() != parent:
            os._exit(1)


def apart(function: Callable[[Item], Done], item: Item, lost: Callable[[Item, str], Done]) -> Done:
    """What `function` makes of `item` in a process of its own; if that dies, what `lost` says, which is told why.

    Raises what `function` raises.
    """
    child = status = 0
    try:
        # signals are the parent's to handle, and stay blocked in the child
        with uninterrupted():
            read, write = os.pipe()
            parent = os.getpid()
            child = os.fork()
            if child == 0:
                _answer(function, item, write, parent)
            os.close(write)
        with os.fdopen(read, "rb") as file:
            said = file.read()
    except BaseException:
        if child:
            os.kill(child, signal.SIGKILL)
        raise
    finally:
        if child:
            with uninterrupted():
                status = os.waitpid(child, 0)[1]
    if status:
        return lost(item, _death(status))
    raised, done = pickle.loads(said)
    if raised is not None:
        raise raised
    return cast(Done, done)


def _answer(function: Callable[[Item], Done], item: Item, write: int, parent: int) -> None:
    """Say what `function` makes of `item`, and end this process."""
    try:
        _begin(parent)
        try:
            said = pickle.dumps((None, function(item)))
        except Exception as error:
            said = pickle.dumps((error, None))
        with os.fdopen(write, "wb") as file:
            file.write(said)
        sys.stderr.flush()
    except BaseException:
        os._exit(1)
    os._exit(0)


def _death(status: int) -> str:
    """What ended a process, from its status as waitpid() tells it."""
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if number == signal.SIGXCPU:
        return "could not be judged: one step of it takes more CPU time than is allowed in all"
    names = {one.value: one.name for one in signal.Signals}
    return f"the process that judged it died{f' of {names.get(number, number)}' if number else ''}"


def each(
    function: Callable[[Item], Done],
    items: Sequence[Item],
    jobs: int,
    lost: Callable[[Item, str], Done],
    outside: bool = False,
) -> Iterator[Done]:
    """What `function` makes of each of `items`, in order, in as many processes as are sensible; with `outside` never in
    this one.

    If a process dies, what it had at hand is tried again, in a process of its own; `lost` stands in for what kills that
    too.
    """
    jobs = sensible(jobs, len(items))
    if jobs == 1 and not outside:
        yield from map(function, items)
        return
    left = list(items)
    while len(left) > 1:
        done = 0
        for answer in _pooled(function, left, jobs):
            yield answer
            done += 1
        if done == len(left):
            return
        yield apart(function, left[done], lost)
        left = left[done + 1 :]
    for item in left:
        yield apart(function, item, lost)


def _pooled(function: Callable[[Item], Done], items: Sequence[Item], jobs: int) -> Iterator[Done]:
    """What `function` makes of `items`, in order, up to one that was at hand when a process died."""
    # a program that needs one process does not load what runs several
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_start_method

    parent = os.getpid() if get_start_method() == "fork" else 0
    with ProcessPoolExecutor(jobs, initializer=_begin, initargs=(parent,)) as pool:
        try:
            for future in _submitted(pool, function, items):
                try:
                    done = future.result()
                except BrokenProcessPool:
                    _stop(pool)
                    return
                yield done
        except BaseException:
            _stop(pool)
            raise


def _submitted(
    pool: ProcessPoolExecutor, function: Callable[[Item], Done], items: Sequence[Item]
) -> list[Future[Done]]:
    """Hand out all of `items`. The processes begin here: signals are the parent's to handle, and stay blocked in
    them.
    """
    from concurrent.futures import Future
    from concurrent.futures.process import BrokenProcessPool

    with uninterrupted():
        futures: list[Future[Done]] = []
        for item in items:
            try:
                futures.append(pool.submit(function, item))
            except BrokenProcessPool as error:
                futures.append(Future())
                futures[-1].set_exception(error)
        return futures


def _stop(pool: ProcessPoolExecutor) -> None:
    """End the pool's processes now, whatever they are at."""
    from multiprocessing import active_children

    # first: a pool that is broken holds its lock until they have ended, and asks them to by a signal that they block
    for child in active_children():
        child.kill()
    pool.shutdown(wait=False, cancel_futures=True)
