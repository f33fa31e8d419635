from dataclasses import replace

import numpy as np
import pytest

from humanoid.motion import RobotMotion
from mocap.config import RetargetConfig
from mocap.quality import assess, direction_errors
from mocap.retarget import Retargeted, retarget
from mocap.robot import RobotModel
from mocap.skeleton import Body


def sole(motion: Retargeted, robot: RobotModel, n: int):
    return robot.tree.place(robot.soles[n], motion.joint_pos, motion.joint_rot)


def test_joint_limits_are_never_exceeded(motion: Retargeted, robot: RobotModel):
    assert (motion.q >= robot.tree.lower).all()
    assert (motion.q <= robot.tree.upper).all()


def test_joints_are_no_faster_than_their_motors(motion: Retargeted, robot: RobotModel):
    speed = np.abs(np.diff(motion.q, axis=0)) * motion.fps
    assert (speed <= robot.tree.velocity).all()


@pytest.mark.parametrize("n", [0, 1])
def test_standing_feet_are_on_the_ground_flat_and_still(motion: Retargeted, robot: RobotModel, n: int):
    place, attitude = sole(motion, robot, n)
    stands = motion.contact[:, n]
    assert stands.mean() > 0.6
    assert np.abs(place[stands, 2]).max() < 0.005
    assert attitude[stands, 2, 2].min() > np.cos(0.03)
    both = stands[1:] & stands[:-1]
    speed = np.linalg.norm(np.diff(place, axis=0), axis=1)[both] * motion.fps
    assert speed.mean() < 0.005
    assert speed.max() < 0.11


@pytest.mark.parametrize("n", [0, 1])
def test_swinging_feet_leave_the_ground_and_never_sink(motion: Retargeted, robot: RobotModel, n: int):
    place, _ = sole(motion, robot, n)
    assert place[:, 2].min() > -0.005
    assert place[:, 2].max() > 0.02


def test_limbs_point_as_the_humans(motion: Retargeted, robot: RobotModel):
    assert np.degrees(direction_errors(motion, robot)).mean() < 3.0


def test_the_motion_turns_and_moves_with_the_human(body: Body, motion: Retargeted, robot: RobotModel):
    angle = 1.1
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    moved = retarget(replace(body, points=body.points @ turn.T + [2.0, -1.0, 0.4]), robot)
    np.testing.assert_allclose(moved.q, motion.q, atol=2e-3)
    expected = motion.root_pos @ turn.T + np.array([2.0, -1.0, 0.0]) * motion.scale
    np.testing.assert_allclose(moved.root_pos, expected, atol=2e-3)


def test_it_is_repeatable_to_the_bit(body: Body, motion: Retargeted, robot: RobotModel):
    again = retarget(body, robot)
    assert (again.q == motion.q).all()
    assert (again.root_pos == motion.root_pos).all()


def test_a_person_of_another_size_gives_the_same_motion(body: Body, motion: Retargeted, robot: RobotModel):
    tall = replace(body, points=body.points * 1.05, leg_m=body.leg_m * 1.05)
    np.testing.assert_allclose(retarget(tall, robot).q, motion.q, atol=0.05)


def test_output_has_the_wished_rate(body: Body, robot: RobotModel):
    out = retarget(replace(body, points=body.points[:300]), robot, RetargetConfig(fps=100.0))
    assert out.fps == 100.0
    assert len(out.q) == 300


def test_very_short_clips_do_not_fail(body: Body, robot: RobotModel):
    out = retarget(replace(body, points=body.points[:21]), robot)
    assert np.isfinite(out.q).all()
    assert assess(out, robot).limit_violations == 0


def test_absurd_bodies_still_give_finite_motions_within_limits(body: Body, robot: RobotModel):
    rng = np.random.default_rng(3)
    points = body.points[:200] + 0.3 * rng.normal(size=body.points[:200].shape)
    out = retarget(replace(body, points=points), robot)
    assert np.isfinite(out.root_pos).all()
    assert (out.q >= robot.tree.lower).all()
    assert (out.q <= robot.tree.upper).all()


def test_the_motion_file_round_trips(tmp_path, motion: Retargeted):
    path = tmp_path / "motion.npz"
    motion.motion("clip", {"licence": "none"}).save(path)
    back = RobotMotion.load(path)
    np.testing.assert_allclose(back.joint_pos, motion.q, atol=1e-6)
    assert (back.contacts == motion.contact).all()
    assert len(back.strokes) == len(motion.strokes)
