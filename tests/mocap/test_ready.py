import numpy as np
import pytest

from humanoid.joints import READY_JOINT_POS
from mocap.ready import pose_at, ready_pose, step_between
from mocap.robot import RobotModel


@pytest.fixture(scope="module")
def poses(robot: RobotModel):
    return ready_pose(robot, np.zeros(2)), ready_pose(robot, np.array([0.15, -0.1]), 0.5)


def test_the_ready_pose_is_the_robots_with_flat_feet(poses):
    pose, turned = poses
    np.testing.assert_allclose(pose.q[12:], READY_JOINT_POS[12:])
    np.testing.assert_allclose(pose.q, READY_JOINT_POS, atol=0.06)
    np.testing.assert_allclose(pose.soles[:, 2], 0.0)
    np.testing.assert_allclose(pose.soles[:, :2].mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(turned.q, pose.q, atol=1e-4)


def test_pose_at_reads_back(poses, robot: RobotModel):
    pose = poses[1]
    back = pose_at(robot, pose.root_pos[None], pose.root_rot[None], pose.q[None], 0)
    np.testing.assert_allclose(back.soles, pose.soles, atol=1e-4)
    np.testing.assert_allclose(back.heading, pose.heading, atol=1e-3)


def test_steps_lead_from_one_pose_to_the_other(poses, robot: RobotModel):
    a, b = poses
    root, rot, q, contact = step_between(robot, a, b, 30, 50.0)
    np.testing.assert_allclose(root[0], a.root_pos, atol=1e-9)
    np.testing.assert_allclose(q[0], a.q, atol=1e-4)
    np.testing.assert_allclose(root[-1], b.root_pos, atol=0.01)
    np.testing.assert_allclose(q[-1], b.q, atol=0.06)
    assert contact.any(axis=1).all()
    assert not contact.all()
    pos, turned = robot.tree.forward(root, rot, q)
    for n in range(2):
        place = robot.tree.place(robot.soles[n], pos, turned)[0]
        stands = contact[:, n]
        assert np.abs(place[stands, 2]).max() < 1e-3
        both = stands[1:] & stands[:-1]
        assert np.linalg.norm(np.diff(place, axis=0), axis=1)[both].max() < 1e-3
        assert place[~stands, 2].max() > 0.01


def test_arrives_with_the_wished_velocity(poses, robot: RobotModel):
    a, b = poses
    v = np.array([0.3, -0.1, 0.0])
    rate = np.zeros(29)
    rate[20] = 1.0
    root, _, q, _ = step_between(robot, a, b, 60, 100.0, velocity_b=(v, np.zeros(3), rate))
    np.testing.assert_allclose((b.root_pos - root[-1]) * 100.0, v, atol=0.03)
    assert (b.q[20] - q[-1, 20]) * 100.0 == pytest.approx(1.0, abs=0.1)
