import os
import signal

import pytest

from mocap.workers import WorkerError, ordered_map


def start(base: int) -> int:
    return base


def work(base: int, job: int) -> int:
    if job == 99:
        os._exit(3)
    return base + job


def held(base: int, job: int) -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, set())


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_jobs(workers: int):
    assert list(ordered_map(work, list(range(20)), workers, start, (100,))) == list(range(100, 120))


def test_a_process_that_dies_is_an_error_that_says_what_to_do():
    with pytest.raises(WorkerError, match="workers=1"):
        list(ordered_map(work, [1, 99, 2], 2, start, (0,)))


def test_leaving_early_drops_what_has_not_begun():
    results = ordered_map(work, list(range(1000)), 1, start, (0,))
    assert next(results) == 0
    results.close()
    with pytest.raises(StopIteration):
        next(results)


def test_ctrl_c_never_reaches_a_process_from_its_very_start_but_does_reach_this_one():
    assert list(ordered_map(held, [0, 1, 2], 2, start, (0,))) == [True] * 3
    assert not held(0, 0)
