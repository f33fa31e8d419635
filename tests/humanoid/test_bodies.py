"""Capsules are where the robot's links are, and distances are those of MuJoCo."""

import mujoco
import numpy as np
import pinocchio as pin
import pytest

from humanoid.bodies import BODY_CAPSULES, Bodies, closest, placements
from humanoid.joints import LOWER, READY_JOINT_POS, UPPER
from humanoid.kinematics import default_pinocchio, to_pinocchio
from humanoid.model import build_model


@pytest.fixture(scope="module")
def bodies() -> Bodies:
    return Bodies()


def poses(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.clip(READY_JOINT_POS + rng.normal(0.0, 0.8, (count, 29)), LOWER, UPPER)


def test_placements_are_pinocchios():
    model = default_pinocchio()
    data = model.createData()
    q = poses(20, 1)
    pos, rot = placements(q)
    for row in range(len(q)):
        pin.forwardKinematics(model, data, to_pinocchio(np.zeros(3), np.array([1.0, 0, 0, 0]), q[row]))
        for joint in range(30):
            np.testing.assert_allclose(pos[row, joint], data.oMi[joint + 1].translation, atol=1e-12)
            np.testing.assert_allclose(rot[row, joint], data.oMi[joint + 1].rotation, atol=1e-12)


def test_the_racket_is_where_pinocchio_has_it(bodies):
    model = default_pinocchio()
    data = model.createData()
    q = poses(5, 2)
    axes = bodies.axes(*placements(q))
    hoop = [i for i, c in enumerate(bodies.capsules) if c.name.startswith("racket_hoop")]
    for row in range(len(q)):
        pin.framesForwardKinematics(model, data, to_pinocchio(np.zeros(3), np.array([1.0, 0, 0, 0]), q[row]))
        place = data.oMf[model.getFrameId("racket")]
        middle = axes[row, hoop].reshape(-1, 3).mean(axis=0)
        np.testing.assert_allclose(middle, place.translation, atol=1e-9)
        assert (
            np.abs((axes[row, hoop].reshape(-1, 3) - place.translation) @ place.rotation[:, 2]).max() < 1e-9
        )


def test_distances_are_mujocos(bodies: Bodies):
    model = build_model(floor=False)
    data = mujoco.MjData(model)
    names = {name for name, *_ in BODY_CAPSULES}
    of_body = [all(bodies.capsules[i].name in names for i in pair) for pair in bodies.pairs]
    q = poses(40)
    near = bodies.near(*placements(q), 0.1)
    assert len(near.frame) > 100
    for frame, pair, gap in zip(near.frame, near.pair, near.gap, strict=True):
        # Overlap of capsules whose axes cross has no one depth.
        if not of_body[pair] or gap < -0.02:
            continue
        data.qpos[:] = [0, 0, 0, 1, 0, 0, 0, *q[frame]]
        mujoco.mj_kinematics(model, data)
        a, b = (model.geom(f"{bodies.capsules[i].name}_capsule").id for i in bodies.pairs[pair])
        assert gap == pytest.approx(mujoco.mj_geomDistance(model, data, a, b, 1.0, None), abs=1e-6)


def test_what_is_not_reported_is_farther_away(bodies: Bodies):
    pos, rot = placements(poses(20))
    close, wide = bodies.near(pos, rot, 0.02), bodies.near(pos, rot, 0.5)
    assert (np.sort(wide.gap[wide.gap < 0.02]) == np.sort(close.gap)).all()


def test_nearest_points_are_no_farther_than_any_tried():
    rng = np.random.default_rng(1)
    a, b, c, d = rng.normal(size=(4, 300, 3))
    s, t = closest(a, b, c, d)
    found = np.linalg.norm(a + s[:, None] * (b - a) - c - t[:, None] * (d - c), axis=1)
    grid = np.linspace(0.0, 1.0, 41)
    tried = np.stack(
        [np.linalg.norm(a + u * (b - a) - c - v * (d - c), axis=1) for u in grid for v in grid]
    ).min(axis=0)
    assert (found <= tried + 1e-12).all()
    assert (found >= tried - 0.1).all()
