import numpy as np
import pytest

from humanoid.bodies import Bodies, closest
from humanoid.joints import READY_JOINT_POS
from mocap.robot import RobotModel
from mocap.self_collision import overlap_fraction, part_arms_apart, push_feet


@pytest.fixture(scope="module")
def bodies(robot: RobotModel) -> Bodies:
    return Bodies()


def poses(robot: RobotModel, count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    q = READY_JOINT_POS + rng.normal(0.0, 0.8, (count, len(READY_JOINT_POS)))
    return np.clip(q, robot.tree.lower, robot.tree.upper)


def placed(robot: RobotModel, q: np.ndarray):
    root = np.zeros((len(q), 3)), np.tile(np.eye(3), (len(q), 1, 1))
    return (*root, *robot.tree.forward(*root, q))


def test_parallel_and_pointlike_capsules_have_a_distance():
    a, b = np.zeros((2, 3)), np.array([[1.0, 0, 0], [0.0, 0, 0]])
    c, d = np.array([[0.5, 1.0, 0], [0, 0, 2.0]]), np.array([[2.0, 1.0, 0], [0, 0, 2.0]])
    s, t = closest(a, b, c, d)
    gap = np.linalg.norm(a + s[:, None] * (b - a) - c - t[:, None] * (d - c), axis=1)
    np.testing.assert_allclose(gap, [1.0, 2.0])


def test_the_ready_pose_touches_nothing(robot: RobotModel, bodies: Bodies):
    near = bodies.near(*placed(robot, READY_JOINT_POS[None])[2:])
    assert [bodies.labels[k] for k in near.pair] == []


@pytest.fixture(scope="module")
def through_the_body(robot: RobotModel) -> np.ndarray:
    """Half a second in which the left forearm swings into the torso and back."""
    q = np.tile(READY_JOINT_POS, (50, 1))
    swing = np.sin(np.linspace(0.0, np.pi, 50)) ** 2
    yaw, elbow = (robot.tree.index(f"left_{p}_joint") - 1 for p in ("shoulder_yaw", "elbow"))
    q[:, yaw] -= 1.2 * swing
    q[:, elbow] += 0.5 * swing
    return q


def test_arms_are_pushed_out_of_the_body_smoothly(
    robot: RobotModel, bodies: Bodies, through_the_body: np.ndarray
):
    root_pos, root_rot, pos, rot = placed(robot, through_the_body)
    assert overlap_fraction(bodies.near(pos, rot), 50, 0.005) > 0.2
    out = part_arms_apart(robot.tree, bodies, root_pos, root_rot, through_the_body, 50.0)
    pos, rot = robot.tree.forward(root_pos, root_rot, out)
    assert overlap_fraction(bodies.near(pos, rot), 50, 0.001) == 0.0
    assert (out[:, :15] == through_the_body[:, :15]).all()
    assert np.abs(np.diff(out, 2, axis=0)).max() * 2500.0 < 200.0


def test_arms_that_are_clear_are_left_alone(robot: RobotModel, bodies: Bodies):
    q = np.tile(READY_JOINT_POS, (10, 1))
    root_pos, root_rot, _, _ = placed(robot, q)
    assert (part_arms_apart(robot.tree, bodies, root_pos, root_rot, q, 50.0) == q).all()


def test_legs_that_touch_push_the_feet_apart(robot: RobotModel):
    legs = Bodies(("thigh", "shin", "foot"))
    q = np.tile(READY_JOINT_POS, (20, 1))
    assert not push_feet(legs, *placed(robot, q)[2:], 50.0).any()
    for side, sign in (("left", -1.0), ("right", 1.0)):
        q[:, robot.tree.index(f"{side}_hip_roll_joint") - 1] = 0.25 * sign
    push = push_feet(legs, *placed(robot, q)[2:], 50.0)
    # Left is +y.
    assert (push[:, 0, 1] > 0.0).all()
    np.testing.assert_allclose(push[:, 0], -push[:, 1])


def test_retargeted_strokes_do_not_touch_the_body(motion, robot: RobotModel, bodies: Bodies):
    near = bodies.near(motion.joint_pos, motion.joint_rot)
    assert overlap_fraction(near, len(motion.q), 0.005) < 0.01
