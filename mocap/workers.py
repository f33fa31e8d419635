"""A function over a list by all cores, results in the list's order whatever the number of processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")
Context = TypeVar("Context")

# Jobs that are handed out ahead of the one that is waited for, a process.
AHEAD = 4
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_context: Any = None


class WorkerError(RuntimeError):
    """A process died; the message says what to do."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(
    function: Callable[[Context, Job], Result],
    jobs: Sequence[Job],
    workers: int | None,
    setup: Callable[..., Context],
    arguments: tuple[Any, ...] = (),
) -> Generator[Result, None, None]:
    """Results of `function` in the order of `jobs`.

    With one worker everything happens in this process. Leaving the iteration early (an exception, Ctrl-C, closing
    the generator) lets jobs that have begun finish and drops the others.

    Args:
        function: of a process's context and one job; a module's own function, since other processes call it.
        jobs: picklable.
        workers: processes; all cores when None. Never more than jobs.
        setup: called once in each process with `arguments`; makes the context.
        arguments: picklable.

    Raises:
        WorkerError: a process died, as when memory runs out.
    """
    count = max(1, min(cores() if workers is None else workers, len(jobs)))
    if count == 1:
        context = setup(*arguments)
        for job in jobs:
            yield function(context, job)
        return
    with _one_thread_each():
        pool = ProcessPoolExecutor(
            count,
            # A fresh interpreter: forking one with threads (a progress bar has one) may hang.
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(setup, arguments),
        )
        waiting: deque[Future[Any]] = deque()
        try:
            for job in jobs:
                with _interrupts_held():
                    # Submitting may start a process.
                    waiting.append(pool.submit(_call, function, job))
                if len(waiting) >= AHEAD * count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise WorkerError(
                "a worker process died (killed, or out of memory); try fewer, for example workers=1, with "
                "resume=true to go on"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin(setup: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """First thing in a process: Ctrl-C is the parent's business, and nobody outlives the parent."""
    global _context
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()
    _context = setup(*arguments)


def _call(function: Callable[[Any, Any], Any], job: Any) -> Any:
    return function(_context, job)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits until the block is over, and never reaches a process that is started in it: before `_begin` such a
    process would die of it with a traceback."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started in this block calculate with one thread each, unless the user says otherwise."""
    mine = [name for name in _THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(mine, "1"))
    try:
        yield
    finally:
        for name in mine:
            os.environ.pop(name, None)
