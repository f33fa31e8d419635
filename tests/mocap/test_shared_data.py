"""The real recordings, where they are at hand: a few clips of each archive, against the targets for the
whole set.
"""

import tarfile
from pathlib import Path

import numpy as np
import pytest

from mocap.bvh import parse_bvh
from mocap.clean import clean
from mocap.quality import Quality, assess
from mocap.retarget import retarget
from mocap.robot import RobotModel

ARCHIVES = (
    "tennis_caldas",
    "tennis_snu",
    "moves_ys2010",
    "basketball_snu",
    "locomotion_cmu69",
    "locomotion_cmu16",
)


def first_clips(archive: Path, count: int):
    """The first clips of an archive, without unpacking it to disk."""
    with tarfile.open(archive) as tar:
        found = 0
        for member in tar:
            if member.name.lower().endswith(".bvh") and member.size < 3e6:
                file = tar.extractfile(member)
                assert file is not None
                yield Path(member.name).name, file.read()
                found += 1
                if found == count:
                    return


@pytest.fixture(scope="module")
def judged(shared_mocap: Path, robot: RobotModel) -> dict[str, list[tuple[Quality, int]]]:
    """Quality and frames of three clips of each archive that is there."""
    out: dict[str, list[tuple[Quality, int]]] = {}
    for archive in ARCHIVES:
        path = shared_mocap / f"{archive}.tar.xz"
        for name, data in first_clips(path, 3) if path.exists() else ():
            result = retarget(clean(parse_bvh(data, name), fps=50.0).body, robot)
            out.setdefault(archive, []).append((assess(result, robot), len(result.q)))
    return out


def mean(judged: list[tuple[Quality, int]], field: str) -> float:
    return float(np.average([getattr(q, field) for q, _ in judged], weights=[n for _, n in judged]))


def test_real_clips_meet_the_targets(judged: dict[str, list[tuple[Quality, int]]]):
    every = [one for archive in judged.values() for one in archive]
    if not every:
        pytest.skip("the recordings at hand hold none of the archives that have targets")
    assert mean(every, "slide_m_s") < 0.03
    assert mean(every, "penetration_fraction") < 0.005
    assert mean(every, "float_fraction") < 0.01
    assert mean(every, "direction_error_deg") < 8.0
    assert sum(q.limit_violations for q, _ in every) == 0
    assert mean(every, "velocity_violations_fraction") < 0.001
    assert mean(every, "overlap_fraction") < 0.02


@pytest.mark.parametrize("archive", ARCHIVES)
def test_feet_slide_no_more_than_the_persons(archive: str, judged: dict[str, list[tuple[Quality, int]]]):
    if archive not in judged:
        pytest.skip(f"{archive} is not among the recordings at hand")
    # Stance is the human's: what the recording itself slides is in it.
    assert mean(judged[archive], "slide_m_s") < max(0.03, mean(judged[archive], "human_slide_m_s"))
