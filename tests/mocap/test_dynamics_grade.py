from dataclasses import replace

import numpy as np
import pytest

from humanoid.balance import ready_height
from humanoid.dynamics import feedforward_torque
from humanoid.joints import JOINT_NAMES, READY_JOINT_POS
from humanoid.model import build_model, touching_height
from humanoid.motion import RobotMotion
from mocap.dynamics_grade import FRICTION, GRAVITY, Demand, demand, grade_letter, grade_motion, summarise
from mocap.robot import RobotModel

FRAMES = 80


def standing(offset: np.ndarray | None = None) -> RobotMotion:
    """The ready pose, its root moved along `offset` (T, 3)."""
    root = np.tile([0.0, 0.0, touching_height()], (FRAMES, 1)) + (0.0 if offset is None else offset)
    quat = np.tile([1.0, 0.0, 0.0, 0.0], (FRAMES, 1))
    pose = np.tile(READY_JOINT_POS, (FRAMES, 1))
    return RobotMotion("still", 50.0, JOINT_NAMES, root, quat, pose, np.ones((FRAMES, 2), dtype=bool))


def needs(motion: RobotMotion, robot: RobotModel) -> Demand:
    rot = np.tile(np.eye(3), (FRAMES, 1, 1))
    return demand(motion.root_pos, rot, motion.joint_pos, motion.fps, robot)


def test_standing_still_asks_for_the_weight_under_the_centre_of_mass(robot: RobotModel):
    motion = standing()
    d = needs(motion, robot)
    weight = robot.tree.masses.sum() * GRAVITY
    np.testing.assert_allclose(d.force, np.tile([0.0, 0.0, weight], (FRAMES, 1)), atol=1e-6)
    pos, rot = robot.tree.forward(motion.root_pos, np.tile(np.eye(3), (FRAMES, 1, 1)), motion.joint_pos)
    np.testing.assert_allclose(d.zmp, robot.tree.com(pos, rot)[:, :2], atol=1e-6)
    assert d.contact.all()


def test_standing_still_is_an_a(robot: RobotModel):
    figures = grade_motion(standing(), robot)
    assert figures.grade == "A"
    assert figures.score > 0.99
    assert figures.overload_fraction == 0.0


def test_torques_above_the_legs_are_those_of_the_quadratic_programme(robot: RobotModel):
    motion = standing()
    torque, _ = feedforward_torque(
        motion.root_pos, motion.root_quat, motion.joint_pos, motion.contacts, motion.fps
    )
    np.testing.assert_allclose(needs(motion, robot).torque[:, 12:], torque[:, 12:], atol=1e-6)


def test_torques_of_the_legs_and_ground_forces_balance_the_weight(robot: RobotModel):
    # Symmetric pose: each leg's torque about the ankle is that of half the weight off the ankle's axis.
    d = needs(standing(), robot)
    left, right = d.torque[40, 4], d.torque[40, 10]
    assert left == pytest.approx(right, abs=2.0)


def test_in_free_fall_nothing_is_missing_in_the_air(robot: RobotModel):
    t = np.arange(FRAMES) / 50.0
    height = 5.0 + 8.0 * t - 0.5 * GRAVITY * t**2
    fall = np.stack([0.0 * t, 0.0 * t, height], axis=1)
    d = needs(standing(fall), robot)
    assert not d.contact.any()
    # Central differences lose the first and last two frames.
    assert d.force_out[3:-3].max() < 1e-6


def test_hanging_in_the_air_is_a_d(robot: RobotModel):
    figures = grade_motion(standing(np.tile([0.0, 0.0, 1.0], (FRAMES, 1))), robot)
    assert figures.force_out == pytest.approx(1.0)
    assert figures.grade == "D"


def test_a_push_beyond_the_friction_cone_slips(robot: RobotModel):
    t = np.arange(FRAMES) / 50.0
    shove = 0.5 * 1.5 * FRICTION * GRAVITY * t**2
    # The soles glide with the root, slowly at first: those frames count as stance.
    d = needs(standing(np.stack([shove, 0.0 * t, 0.0 * t], axis=1)), robot)
    gentle = needs(standing(np.stack([0.4 * shove, 0.0 * t, 0.0 * t], axis=1)), robot)
    assert d.slipping.any()
    assert not gentle.slipping.any()


def test_leaning_beyond_the_feet_puts_the_zero_moment_point_outside(robot: RobotModel):
    motion = standing()
    pose = motion.joint_pos.copy()
    pose[:, [4, 10]] += 0.25
    angle = 0.25
    quat = np.tile([np.cos(angle / 2), 0.0, np.sin(angle / 2), 0.0], (FRAMES, 1))
    leaning = replace(motion, joint_pos=pose, root_quat=quat)
    assert grade_motion(leaning, robot).score < grade_motion(motion, robot).score


def test_grades_follow_the_score():
    assert [grade_letter(s) for s in (1.0, 0.6, 0.3, 0.0)] == ["A", "B", "C", "D"]


def test_a_piece_of_a_motion_is_judged_by_itself(robot: RobotModel):
    hop = np.zeros((FRAMES, 3))
    hop[40:, 2] = 0.5
    d = needs(standing(hop), robot)
    assert summarise(d, slice(0, 30)).grade == "A"
    assert summarise(d, slice(50, FRAMES)).grade == "D"


def test_the_simulated_robots_height_is_that_of_the_grade(robot: RobotModel):
    # Contacts sink by less than what still counts as standing.
    assert abs(ready_height(build_model()) - touching_height()) < 0.015
