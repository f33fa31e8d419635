import numpy as np
import pytest

from mocap.arms import solve_arm
from mocap.robot import RobotModel
from mocap.rotations import normalize
from mocap.skeleton import SIDES, Body

FPS = 50.0
FRAMES = 100


def arm_body(body: Body, side: str, upper: np.ndarray, fore: np.ndarray) -> Body:
    """A body whose arm points along `upper` and `fore` (T, 3)."""
    from dataclasses import replace

    points = np.repeat(body.points[:1], len(upper), axis=0).copy()
    at = {p: body.names.index(f"{side}_{p}") for p in ("shoulder", "elbow", "wrist")}
    points[:, at["elbow"]] = points[:, at["shoulder"]] + 0.28 * upper
    points[:, at["wrist"]] = points[:, at["elbow"]] + 0.25 * fore
    return replace(body, points=points, fps=FPS)


def directions(robot: RobotModel, n: int, q: np.ndarray):
    chain = robot.arms[n]
    positions, _, wrist, _ = chain.forward(np.eye(3)[None], np.zeros((len(q), 3)), q)
    return normalize(positions[3] - positions[1]), normalize(wrist - positions[3])


@pytest.mark.parametrize("n", [0, 1])
def test_reachable_directions_are_met(body: Body, robot: RobotModel, n: int):
    s = 1.0 - 2.0 * n
    t = np.linspace(0.0, 1.0, FRAMES)
    upper = normalize(np.stack([0.6 * np.sin(3 * t), s * (0.3 + 0.3 * t), -1.0 + 0.4 * t], axis=1))
    fore = normalize(np.stack([1.0 + 0 * t, -s * 0.4 * t, -0.5 + t], axis=1))
    torso = np.tile(np.eye(3), (FRAMES, 1, 1))
    q = solve_arm(arm_body(body, SIDES[n], upper, fore), SIDES[n], robot.arms[n], torso, FPS)
    u, f = directions(robot, n, q)
    assert np.degrees(np.arccos(np.clip(np.sum(u * upper, axis=1), -1, 1))).max() < 3.0
    assert np.degrees(np.arccos(np.clip(np.sum(f * fore, axis=1), -1, 1))).max() < 3.0


@pytest.mark.parametrize("n", [0, 1])
def test_passing_sideways_is_smooth(body: Body, robot: RobotModel, n: int):
    # Straight through the pose in which shoulder pitch means nothing.
    s = 1.0 - 2.0 * n
    t = np.linspace(-0.6, 0.6, FRAMES)
    upper = normalize(np.stack([np.sin(t), s * np.cos(t), 0.02 * np.ones(FRAMES)], axis=1))
    torso = np.tile(np.eye(3), (FRAMES, 1, 1))
    q = solve_arm(arm_body(body, SIDES[n], upper, upper), SIDES[n], robot.arms[n], torso, FPS)
    assert (np.abs(np.diff(q, axis=0)) * FPS).max() < 25.0
    assert (q >= robot.arms[n].lower).all()
    assert (q <= robot.arms[n].upper).all()


def test_left_and_right_are_mirror_images(body: Body, robot: RobotModel):
    t = np.linspace(0.0, 1.0, FRAMES)
    upper = normalize(np.stack([np.sin(3 * t), 0.5 + 0 * t, -1.0 + 0 * t], axis=1))
    fore = normalize(np.stack([1.0 + 0 * t, -0.3 * t, 0.2 + 0 * t], axis=1))
    mirror = np.array([1.0, -1.0, 1.0])
    torso = np.tile(np.eye(3), (FRAMES, 1, 1))
    left = solve_arm(arm_body(body, "left", upper, fore), "left", robot.arms[0], torso, FPS)
    right = solve_arm(
        arm_body(body, "right", upper * mirror, fore * mirror), "right", robot.arms[1], torso, FPS
    )
    np.testing.assert_allclose(right, left * [1.0, -1.0, -1.0, 1.0], atol=0.01)
