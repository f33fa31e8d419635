import numpy as np
import pytest

from mocap.legs import envelope, solve_legs, track_feet
from mocap.robot import RobotModel
from mocap.rotations import axis_matrix

RNG = np.random.default_rng(4)


@pytest.fixture(scope="module")
def wished():
    frames = 30
    root = np.array([0.0, 0.0, 0.68]) + RNG.uniform(-0.02, 0.02, size=(frames, 3))
    rot = axis_matrix("Z", RNG.uniform(-0.2, 0.2, frames)) @ axis_matrix("Y", RNG.uniform(-0.1, 0.2, frames))
    soles = np.tile(np.array([[0.0, 0.15, 0.0], [0.0, -0.15, 0.0]]), (frames, 1, 1))
    soles[..., 0] += RNG.uniform(-0.1, 0.1, size=(frames, 2))
    return root, rot, soles, RNG.uniform(-0.2, 0.2, size=(frames, 2))


def test_flat_soles_are_put_where_they_are_wished(wished, robot: RobotModel):
    root, rot, soles, heading = wished
    q = np.zeros((len(root), 29))
    assert solve_legs(robot, root, rot, soles, heading, q).max() < 1e-4
    pos, turned = robot.tree.forward(root, rot, q)
    for n in range(2):
        place, attitude = robot.tree.place(robot.soles[n], pos, turned)
        np.testing.assert_allclose(place, soles[:, n], atol=1e-4)
        np.testing.assert_allclose(attitude[:, 2, 2], 1.0, atol=1e-6)
        np.testing.assert_allclose(np.arctan2(attitude[:, 1, 0], attitude[:, 0, 0]), heading[:, n], atol=1e-3)


def test_only_legs_are_touched(wished, robot: RobotModel):
    root, rot, soles, heading = wished
    q = RNG.uniform(-0.1, 0.1, size=(len(root), 29))
    before = q.copy()
    solve_legs(robot, root, rot, soles, heading, q)
    assert (q[:, 12:] == before[:, 12:]).all()


def test_feet_stay_when_the_root_moves(wished, robot: RobotModel):
    root, rot, soles, heading = wished
    root, rot, soles, heading = (np.repeat(x[:1], 40, axis=0) for x in (root, rot, soles, heading))
    q = np.zeros((40, 29))
    solve_legs(robot, root, rot, soles, heading, q)
    pos, turned = robot.tree.forward(root, rot, q)
    places = [robot.tree.place(s, pos, turned) for s in robot.soles]
    moved = root + np.stack([0.04 * np.sin(np.arange(40) / 10.0)] * 3, axis=1) * [1.0, 1.0, 0.0]
    new_root, new_q = track_feet(robot, moved, rot, q, places, np.ones((40, 2), dtype=bool))
    pos, turned = robot.tree.forward(new_root, rot, new_q)
    for n in range(2):
        np.testing.assert_allclose(robot.tree.place(robot.soles[n], pos, turned)[0], soles[:, n], atol=1e-3)


def test_out_of_reach_stays_within_limits(robot: RobotModel):
    q = np.zeros((1, 29))
    far = np.array([[[1.5, 0.2, 0.0], [0.0, -0.15, 1.0]]])
    error = solve_legs(robot, np.array([[0.0, 0.0, 0.7]]), np.eye(3)[None], far, np.zeros((1, 2)), q)
    assert (error > 0.1).all()
    assert np.isfinite(q).all()
    assert (q >= robot.tree.lower).all()
    assert (q <= robot.tree.upper).all()


def test_envelope_is_above_and_smooth():
    x = np.zeros(200)
    x[100] = 0.1
    y = envelope(x, 50.0)
    assert (y >= x - 1e-12).all()
    assert np.abs(np.diff(y, 2)).max() < 0.01
