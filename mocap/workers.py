"""A function over a list by all cores, results in the list's order whatever the number of processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

Job, Result = TypeVar("Job"), TypeVar("Result")
# Jobs that are handed out ahead of the one that is waited for, a process.
AHEAD = 4
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class WorkerError(RuntimeError):
    """A process died; the message says what to do."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    workers: int | None,
    setup: Callable[..., None],
    arguments: tuple[Any, ...] = (),
) -> Iterator[Result]:
    """Results of `function` in the order of `jobs`.

    With one worker everything happens in this process. Interrupting the iteration (an exception, Ctrl-C,
    closing the generator) lets jobs that have begun finish and drops the others.

    Args:
        function: of one job; a module's own function, since it is called in other processes.
        jobs: its arguments, picklable.
        workers: processes; all cores when None. Never more than jobs.
        setup: called once in each process, with `arguments`.
        arguments: picklable.

    Raises:
        WorkerError: a process died, as when memory runs out.
    """
    count = max(1, min(cores() if workers is None else workers, len(jobs)))
    if count == 1:
        setup(*arguments)
        for job in jobs:
            yield function(job)
        return
    with _one_thread_each():
        pool = ProcessPoolExecutor(
            count,
            # A fresh interpreter: forking one with threads (a progress bar has one) may hang.
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(setup, arguments),
        )
        waiting: deque[Future[Result]] = deque()
        rest = iter(jobs)
        try:
            for job in rest:
                waiting.append(pool.submit(function, job))
                if len(waiting) >= AHEAD * count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise WorkerError(
                "a worker process died (killed, or out of memory); try fewer with workers=1, and resume=true to "
                "go on"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin(setup: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """First thing in a process: Ctrl-C is the parent's business, and nobody outlives the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()
    setup(*arguments)


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
