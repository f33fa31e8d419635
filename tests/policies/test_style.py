"""Style: distance from human strokes."""

import numpy as np
import pytest

from humanoid.joints import READY_JOINT_POS
from humanoid.motion import RobotMotion
from policies.style import AFTER, BEFORE, HUMAN_FOLDER, StyleMeter, human_strokes


def played(meter: StyleMeter, joint_pos, quat, strike: int) -> None:
    """One robot's motion, struck at a frame; robot 1 stands."""
    ready = np.stack([READY_JOINT_POS])
    for frame in range(len(joint_pos)):
        meter.update(
            np.concatenate([joint_pos[frame : frame + 1], ready]),
            np.stack([quat[frame], [1.0, 0, 0, 0]]),
            np.array([frame == strike, False]),
        )


@pytest.fixture(scope="module")
def human() -> RobotMotion:
    return RobotMotion.load(HUMAN_FOLDER / "backhand_03.npz")


def strike_of(motion: RobotMotion) -> int:
    return round(motion.strokes[0].strike_s * motion.fps)


@pytest.mark.parametrize("turn", [0.0, 2.0])
def test_a_human_stroke_is_its_own_nearest_wherever_it_faces(human, turn):
    meter = StyleMeter(2)
    w, x, y, z = human.root_quat.T
    cos, sin = np.cos(turn / 2), np.sin(turn / 2)
    turned = np.stack([cos * w - sin * z, cos * x - sin * y, cos * y + sin * x, cos * z + sin * w], axis=1)
    played(meter, human.joint_pos, turned, strike_of(human))
    assert meter.report()["strikes"] == 1
    assert meter.report()["mean_m"] == pytest.approx(0.0, abs=1e-6)


def test_a_moved_joint_is_a_known_distance(human):
    """A turned forearm moves one of ten key bodies by a chord of known length."""
    meter = StyleMeter(2)
    other = human.joint_pos + np.where(np.arange(29) == 24, 0.02, 0.0)
    played(meter, other, human.root_quat, strike_of(human))
    mean = meter.report()["mean_m"]
    assert mean is not None
    assert 0.0 < mean < 0.02 * 0.5


def test_standing_still_is_far_from_any_stroke():
    meter = StyleMeter(2)
    still = np.tile(READY_JOINT_POS, (60, 1))
    played(meter, still, np.tile([1.0, 0, 0, 0], (60, 1)), 30)
    mean = meter.report()["mean_m"]
    assert mean is not None
    assert mean > 0.05
    assert len(human_strokes()[0]) == 15


def test_strikes_without_a_whole_stroke_around_them_do_not_count(human):
    meter = StyleMeter(2)
    strike = strike_of(human)
    played(meter, human.joint_pos[strike - BEFORE + 1 :], human.root_quat[strike - BEFORE + 1 :], BEFORE - 1)
    assert meter.report() == {"mean_m": None, "strikes": 0}
    meter.restart(np.array([True, True]))
    played(meter, human.joint_pos[: strike + AFTER], human.root_quat[: strike + AFTER], strike)
    assert meter.report()["strikes"] == 0
