import os

import pytest

from mocap.workers import WorkerError, ordered_map


def start(base: int) -> int:
    return base


def work(base: int, job: int) -> int:
    if job == 99:
        os._exit(3)
    return base + job


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
