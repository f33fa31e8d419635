"""The real recordings, where they are at hand: a few clips of each archive, against the targets for the
whole set.
"""

import tarfile
from pathlib import Path

import numpy as np
import pytest

from mocap.bvh import parse_bvh
from mocap.clean import clean
from mocap.quality import assess
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


@pytest.mark.parametrize("archive", ARCHIVES)
def test_real_clips_meet_the_targets(archive: str, shared_mocap: Path, robot: RobotModel):
    path = shared_mocap / f"{archive}.tar.xz"
    if not path.exists():
        pytest.skip(f"no {path}")
    qualities, frames = [], []
    for name, data in first_clips(path, 3):
        result = retarget(clean(parse_bvh(data, name), fps=50.0).body, robot)
        qualities.append(assess(result, robot))
        frames.append(len(result.q))

    def mean(field: str) -> float:
        return float(np.average([getattr(q, field) for q in qualities], weights=frames))

    assert mean("slide_m_s") < 0.03
    assert mean("penetration_fraction") < 0.02
    assert mean("float_fraction") < 0.01
    assert mean("direction_error_deg") < 8.0
    assert sum(q.limit_violations for q in qualities) == 0
    assert mean("velocity_violations_fraction") < 0.001
