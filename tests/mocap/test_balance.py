import numpy as np
import pytest

from mocap.balance import pendulum_response, rebalance, support_error
from mocap.ready import ready_pose
from mocap.retarget import Retargeted
from mocap.robot import RobotModel


def test_the_response_solves_its_equation():
    fps, height = 200.0, 0.65
    t = np.arange(1200) / fps
    offset = np.stack([np.exp(-((t - 3.0) ** 2)), np.sin(t) * np.exp(-((t - 3.0) ** 2))], axis=1)
    x = pendulum_response(offset, fps, height)
    acc = np.gradient(np.gradient(x, 1 / fps, axis=0), 1 / fps, axis=0)
    left = x - height / 9.81 * acc
    np.testing.assert_allclose(left[300:-300], offset[300:-300], atol=5e-3)


def test_standing_ready_is_balanced(robot: RobotModel):
    pose = ready_pose(robot, np.zeros(2))
    frames = 20
    root, rot, q = (np.repeat(x[None], frames, axis=0) for x in (pose.root_pos, pose.root_rot, pose.q))
    pos, turned = robot.tree.forward(root, rot, q)
    error = support_error(robot, pos, turned, np.ones((frames, 2), dtype=bool), 50.0, 0.0)
    assert np.abs(error).max() == 0.0


def test_leaning_is_brought_back_with_the_feet_in_place(robot: RobotModel):
    pose = ready_pose(robot, np.zeros(2))
    frames = 100
    root, rot, q = (np.repeat(x[None], frames, axis=0) for x in (pose.root_pos, pose.root_rot, pose.q))
    root = root + np.array([0.0, 0.0, -0.03])
    from mocap.legs import solve_legs

    lean = root + np.array([0.13, 0.0, 0.0])
    contact = np.ones((frames, 2), dtype=bool)
    soles, heading = (np.repeat(x[None], frames, axis=0) for x in (pose.soles, pose.heading))
    q = q.copy()
    solve_legs(robot, lean, rot, soles, heading, q)
    before = np.abs(support_error(robot, *robot.tree.forward(lean, rot, q), contact, 50.0, 0.0)).max()
    new_root, new_q = rebalance(robot, lean, rot, q, contact, 50.0)
    pos, turned = robot.tree.forward(new_root, rot, new_q)
    after = np.abs(support_error(robot, pos, turned, contact, 50.0, 0.0)).max()
    assert before > 0.02
    assert after < 0.25 * before
    for n in range(2):
        np.testing.assert_allclose(robot.tree.place(robot.soles[n], pos, turned)[0], soles[:, n], atol=2e-3)


def test_retargeted_motion_is_nearly_balanced(motion: Retargeted, robot: RobotModel):
    error = support_error(robot, motion.joint_pos, motion.joint_rot, motion.contact, motion.fps, 0.0)
    assert np.linalg.norm(error, axis=1).mean() < 0.05


def test_no_shift_beyond_the_limit(motion: Retargeted, robot: RobotModel):
    root, _ = rebalance(
        robot, motion.root_pos, motion.root_rot, motion.q, motion.contact, motion.fps, most_m=0.02
    )
    assert np.abs((root - motion.root_pos)[:, :2]).max() == pytest.approx(0.02, abs=0.005) or (
        np.abs((root - motion.root_pos)[:, :2]).max() <= 0.025
    )
