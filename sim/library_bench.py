"""How quickly a motion library opens and gives samples: `python -m sim.library_bench LIBRARY [--device cuda]`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from humanoid.motion import MotionError
from humanoid.motion_library import MotionLibrary
from sim.motion_sampler import MotionSampler


@dataclass(frozen=True)
class LibrarySpeed:
    """Times on one core, in processor time, which other work on the machine does not change much.

    Attributes:
        hours, megabytes: of the library.
        open_s, open_unchecked_s: to open it, the file in the system's cache, s.
        sampler_s: to make a sampler of it, s.
        samples_per_s: moments drawn and their states interpolated, by batch size; on a GPU by the wall clock.
    """

    hours: float
    megabytes: float
    open_s: float
    open_unchecked_s: float
    sampler_s: float
    samples_per_s: dict[int, float]


def clock(
    path: Path, device: str = "cpu", batches: Sequence[int] = (1024, 4096, 16384), samples: int = 400_000
) -> LibrarySpeed:
    """Clock a library.

    Args:
        path: the file.
        device: of the sampler.
        batches: how many samples at once.
        samples: drawn for each figure.

    Raises:
        MotionError: not a library.
    """
    gpu = torch.device(device).type != "cpu"
    MotionLibrary.open(path)
    library, open_s = _timed(lambda: MotionLibrary.open(path))
    _, unchecked = _timed(lambda: MotionLibrary.open(path, check=False))
    sampler, sampler_s = _timed(lambda: MotionSampler(library, device=device))
    generator = torch.Generator(device).manual_seed(0)
    rates = {}
    for size in batches:
        sampler.sample(size, generator)
        repeats = max(samples // size, 1)

        def draw(size: int = size, repeats: int = repeats) -> None:
            for _ in range(repeats):
                sampler.sample(size, generator)
            if gpu:
                torch.cuda.synchronize()

        if gpu:
            torch.cuda.synchronize()
        rates[size] = size * repeats / _timed(draw, time.perf_counter if gpu else time.process_time)[1]
    megabytes = path.stat().st_size / 1e6
    return LibrarySpeed(library.seconds / 3600.0, megabytes, open_s, unchecked, sampler_s, rates)


def _timed(work: Callable, clock: Callable[[], float] = time.process_time) -> tuple:
    begin = clock()
    result = work()
    return result, clock() - begin


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sim.library_bench", description=__doc__)
    parser.add_argument("library", type=Path)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        speed = clock(options.library, options.device)
    except MotionError as error:
        print(f"library_bench: {error}", file=sys.stderr)
        return 2
    print(f"{speed.hours:.2f} h, {speed.megabytes:.1f} MB")
    print(f"open {1e3 * speed.open_s:.0f} ms, unchecked {1e3 * speed.open_unchecked_s:.0f} ms")
    print(f"sampler {speed.sampler_s:.1f} s")
    for size, rate in speed.samples_per_s.items():
        print(f"batches of {size}: {rate / 1e6:.2f} million samples a second")
    return 0


if __name__ == "__main__":
    sys.exit(main())
