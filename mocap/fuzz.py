"""Throw damaged files at every reader: none may hang, crash, eat memory, or raise anything but a named error.

    python -m mocap.fuzz --count 1000000
    python -m mocap.fuzz --format bvh --case 4711 --save broken.bvh

Case n of a format is the same file on every machine. Each format runs in a process of its own under a memory
limit and a time limit a file; what breaks a reader is listed with its case.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import numpy as np

from mocap.asf_amc import parse_amc
from mocap.benchmark import synthetic_clip, to_bvh
from mocap.bvh import parse_bvh
from mocap.c3d_markers import parse_c3d
from mocap.clip import Clip, ClipError
from mocap.g1_csv import looks_like_csv, parse_g1_csv, write_g1_csv
from mocap.g1_npz import parse_g1_npz
from mocap.g1_skeleton import NAMES, robot_clip, robot_motion
from mocap.marker_set import load_marker_set
from mocap.mutate import mutate, mutate_npz
from mocap.overrides import load_overrides
from mocap.samples import SMALL_AMC, SMALL_ASF, SMALL_BVH, to_acclaim, to_c3d, to_g1_npz, to_markers, to_smpl
from mocap.skeleton import load_mapping, to_body
from mocap.smpl import parse_smpl

LIMIT_S = 5.0
"""Longest time of the processor for one file [s]; seeds take milliseconds, so this is a hang."""
MEMORY_BYTES = 1 << 30
"""Address space that a reader may take beyond what is loaded; seeds are a few kilobytes."""


class _TimeUp(BaseException):
    """The time for a file is up. Not an Exception, so that no reader takes it for damage."""


@dataclass(frozen=True)
class Target:
    """A format under test.

    Attributes:
        name: of the format.
        share: of the cases.
        make: the damaged file of a case.
        read: reads it; gives a clip, or None if the format is no clip.
    """

    name: str
    share: float
    make: Callable[[Random], bytes]
    read: Callable[[bytes], Clip | None]


@dataclass
class Count:
    """What happened to a format's cases.

    Attributes:
        outcomes: cases by outcome: "clip", or the named error's class.
        failures: case and what went wrong.
        slowest_s: longest time for a file; memory_mib: peak memory beyond that of the start.
        seconds: in all.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)
    slowest_s: float = 0.0
    memory_mib: float = 0.0
    seconds: float = 0.0

    @property
    def cases(self) -> int:
        return sum(self.outcomes.values()) + len(self.failures)


def targets() -> dict[str, Target]:
    """All formats, each with small seed files."""
    player = synthetic_clip(0.02, 100.0)
    bvh = (SMALL_BVH.encode(), SMALL_BVH.replace("\n", " ").encode(), to_bvh(player).encode())
    pairs = [
        tuple(t.encode() for t in pair) for pair in ((SMALL_ASF, SMALL_AMC), to_acclaim(player.sliced(0, 1)))
    ]
    c3d = to_c3d(to_markers(to_body(player.sliced(0, 2))), 100.0)
    smpl = (to_smpl(player, width=66), to_smpl(player, width=156, rate_key="mocap_frame_rate"))
    still = np.tile([0.0, 0.0, 0.78], (3, 1)), np.tile([1.0, 0.0, 0.0, 0.0], (3, 1)), np.full((3, 29), 0.1)
    robot = robot_clip("g1", *still, 50.0, {"file": "g1"})
    plain = write_g1_csv(robot).encode()
    header = ",".join(
        ["root_x", "root_y", "root_z", "root_qx", "root_qy", "root_qz", "root_qw", *NAMES[1:30]]
    )
    csv = (plain, header.encode() + b"\n" + plain)
    g1 = (to_g1_npz(robot), to_g1_npz(robot, qpos=True), to_g1_npz(robot, motion=robot_motion(robot)))
    here = Path(__file__).parent
    yamls = {
        "mapping": (load_mapping, (here / "skeletons" / "snu_spine2.yaml").read_bytes()),
        "markers": (load_marker_set, _MARKERS),
        "overrides": (
            load_overrides,
            b'"*.bvh": {unit_m: 0.01, up: y}\n"a/*": {fps: 30, joint_order: [a, b]}\n',
        ),
    }

    def pick(seeds: tuple[bytes, ...], chance: Random, text: bool) -> bytes:
        # Short seeds first: they are quicker, and a hit in them is more often one that matters.
        return mutate(seeds[0] if chance.random() < 0.8 else chance.choice(seeds), chance, text)

    def acclaim(chance: Random) -> bytes:
        asf, amc = pairs[0] if chance.random() < 0.9 else pairs[1]
        a, m = (mutate(asf, chance, True), amc) if chance.random() < 0.5 else (asf, mutate(amc, chance, True))
        return a + _BOUND + m

    def read_acclaim(data: bytes) -> Clip:
        a, _, m = data.partition(_BOUND)
        return parse_amc(m, a, "file", "file")

    def read_csv(data: bytes) -> Clip:
        looks_like_csv(data[:4096].decode("utf-8", "replace"))
        return parse_g1_csv(data, "file")

    def of_yaml(key: str, share: float) -> Target:
        load, seed = yamls[key]

        def read(data: bytes) -> None:
            _scratch.write_bytes(data)
            load(_scratch)

        return Target(key, share, lambda chance: mutate(seed, chance, True), read)

    listed = (
        Target("bvh", 0.60, lambda c: pick(bvh, c, True), lambda d: parse_bvh(d, "file")),
        Target("amc", 0.08, acclaim, read_acclaim),
        Target("c3d", 0.04, lambda c: mutate(c3d, c, False), lambda d: parse_c3d(d, "file")),
        Target("smpl", 0.10, lambda c: mutate_npz(c.choice(smpl), c), lambda d: parse_smpl(d, "file")),
        Target("g1csv", 0.06, lambda c: pick(csv, c, True), read_csv),
        Target("g1npz", 0.10, lambda c: mutate_npz(c.choice(g1), c), lambda d: parse_g1_npz(d, "file")),
        of_yaml("mapping", 0.005),
        of_yaml("markers", 0.0075),
        of_yaml("overrides", 0.0075),
    )
    return {t.name: t for t in listed}


_MARKERS = b"""aliases: {A: [A, B]}
lengths: {hips: [L, R]}
frames:
  pelvis: [{left: [R, L], forward: [[P, Q], [L, R]]}]
points:
  pelvis: [{of: [L, R]}, {of: [[L, R], S], frame: pelvis, in: hips, up: -0.3}]
  left_hip: [{of: [pelvis, A]}]
"""
_BOUND = b"\n=====\n"
_scratch = Path("file")


def chance_of(target: str, case: int) -> Random:
    """Where the accidents of a case come from; the same on every machine."""
    return Random(f"{target}:{case}")


def try_case(target: Target, case: int) -> str:
    """Read the file of one case.

    Returns:
        "clip", or the name of the named error.

    Raises:
        AssertionError: the reader gave an unusable clip or an error that does not name the file. Whatever else
            the reader raised comes through.
    """
    data = target.make(chance_of(target.name, case))
    try:
        clip = target.read(data)
        if clip is None:
            return "read"
        assert np.isfinite(clip.rotations).all(), "rotations not finite"
        assert np.isfinite(clip.translations).all(), "translations not finite"
        assert 1.0 <= clip.fps <= 10000.0, f"rate {clip.fps}"
        if case % 16 == 0:
            assert np.isfinite(to_body(clip).points).all(), "points not finite"
        return "clip"
    except ClipError as error:
        if "file" not in str(error):
            raise AssertionError(f"error without the file's name: {error}") from None
        return type(error).__name__


def run_cases(
    target: Target, first: int, count: int, seen: Callable[[int], None] = lambda case: None
) -> Count:
    """Cases first … first + count - 1 of a format in this process, each under the time limit.

    Args:
        target: the format.
        first: first case; count: how many.
        seen: is told the case before it is read.
    """

    def time_up(*_: object) -> None:
        raise _TimeUp

    result = Count()
    old = signal.signal(signal.SIGPROF, time_up)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for case in range(first, first + count):
                seen(case)
                start = time.process_time()
                signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
                try:
                    result.outcomes[try_case(target, case)] += 1
                except _TimeUp:
                    result.failures.append((case, f"more than {LIMIT_S:g} s"))
                except Exception as error:  # whatever comes is a finding
                    result.failures.append((case, f"{type(error).__name__}: {str(error)[:200]}"))
                finally:
                    signal.setitimer(signal.ITIMER_PROF, 0.0)
                result.slowest_s = max(result.slowest_s, time.process_time() - start)
    finally:
        signal.signal(signal.SIGPROF, old)
    result.seconds = time.perf_counter() - began
    result.memory_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024.0
    return result


def _work(name: str, first: int, count: int, current, results, folder: str) -> None:
    """A format's process: limits its memory, reads its cases, sends back the count."""
    global _scratch
    _scratch = Path(folder) / f"file.{name}"
    target = targets()[name]
    run_cases(target, first, 20)  # caches and lazy imports are not the files' memory
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    if pages:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    def seen(case: int) -> None:
        current.value = case

    results.put(run_cases(target, first, count, seen))


def fuzz(name: str, first: int, count: int) -> Count:
    """Cases of a format in a process of its own; a crash or a hang of the process is a failure of its case."""
    import tempfile

    context = multiprocessing.get_context("spawn")
    total = Count()
    with tempfile.TemporaryDirectory() as folder:
        while total.cases < count:
            begin = first + total.cases
            current, results = context.Value("q", begin - 1), context.Queue()
            process = context.Process(
                target=_work, args=(name, begin, count - total.cases, current, results, folder)
            )
            process.start()
            part, last, since = None, -2, time.monotonic()
            while part is None and process.is_alive():
                try:
                    part = results.get(timeout=1.0)
                except Exception:  # nothing yet
                    if current.value != last:
                        last, since = current.value, time.monotonic()
                    elif time.monotonic() - since > 60.0 * LIMIT_S:  # waits, or a loop that no signal ends
                        process.kill()
            if part is None and not results.empty():
                part = results.get()
            process.join()
            if part is None:
                # The cases before it went well or the process would have said so; they are read again.
                case = max(current.value, begin)
                total.failures.append((case, f"the process died or hung (exit {process.exitcode})"))
                part = Count(Counter({"before a crash": case - begin}))
            total = replace(
                total,
                outcomes=total.outcomes + part.outcomes,
                failures=total.failures + part.failures,
                slowest_s=max(total.slowest_s, part.slowest_s),
                memory_mib=max(total.memory_mib, part.memory_mib),
                seconds=total.seconds + part.seconds,
            )
    return total


def main(arguments: list[str] | None = None) -> int:
    """The command; exits with 1 if anything broke."""
    parser = argparse.ArgumentParser(prog="python -m mocap.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=20000, help="cases of all formats together")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--format", help="only these formats (a,b), with their shares of the cases")
    parser.add_argument("--case", type=int, help="only this case of the format")
    parser.add_argument("--save", type=Path, help="write the file of the case")
    told = parser.parse_args(arguments)
    known = targets()
    chosen = list(known) if told.format is None else told.format.split(",")
    strange = [name for name in chosen if name not in known]
    if strange:
        parser.error(f"--format {strange[0]}: choose of {', '.join(known)}")
    if told.case is not None:
        if len(chosen) != 1:
            parser.error("--case needs one --format")
        if told.save is not None:
            told.save.write_bytes(known[chosen[0]].make(chance_of(chosen[0], told.case)))
        print(try_case(known[chosen[0]], told.case))
        return 0
    broken = cases = 0
    for name in chosen:
        count = round(told.count * known[name].share)
        result = fuzz(name, told.first, count)
        cases += result.cases
        broken += len(result.failures)
        outcomes = ", ".join(f"{v} {k}" for k, v in result.outcomes.most_common())
        print(
            f"{name}: {result.cases} files in {result.seconds:.0f} s ({outcomes}); slowest {result.slowest_s:.2f} s, "
            f"memory +{result.memory_mib:.0f} MiB, {len(result.failures)} broke the reader",
            flush=True,
        )
        for case, what in result.failures[:20]:
            print(f"  --format {name} --case {case}: {what}", flush=True)
    print(f"{cases} damaged files, {broken} broke a reader")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
