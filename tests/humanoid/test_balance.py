"""The balance regulator in simulation."""

import mujoco
import numpy as np
import pytest

from humanoid.balance import balance_gain, ready_height
from humanoid.dynamics import feedforward_torque
from humanoid.joints import KP, READY_JOINT_POS
from humanoid.model import build_model, touching_height


@pytest.fixture(scope="module")
def model():
    return build_model()


@pytest.fixture(scope="module")
def start(model):
    return np.concatenate([[0, 0, ready_height(model), 1, 0, 0, 0], READY_JOINT_POS])


@pytest.fixture(scope="module")
def targets():
    """Ready pose plus what carries the weight."""
    torque, _ = feedforward_torque(
        np.tile([0, 0, 0.73], (3, 1)),
        np.tile([1.0, 0, 0, 0], (3, 1)),
        np.tile(READY_JOINT_POS, (3, 1)),
        np.ones((3, 2), dtype=bool),
        50.0,
    )
    return READY_JOINT_POS + torque[1] / KP


def hold(model, start, targets, seconds, gain=None, push=(0.0, 0.0)):
    """Largest distance of the pelvis from its place, m, and the state at the end."""
    data, error, farthest = mujoco.MjData(model), np.zeros(35), 0.0
    data.qpos[:] = start
    data.qvel[:2] = push
    for _ in range(round(seconds / 0.02)):
        mujoco.mj_differentiatePos(model, error, 1.0, start, data.qpos)
        data.ctrl[:] = targets
        if gain is not None:
            data.ctrl[:] -= np.clip(gain @ np.concatenate([error, data.qvel]), -0.6, 0.6)
        mujoco.mj_step(model, data, round(0.02 / model.opt.timestep))
        farthest = max(farthest, float(np.linalg.norm(data.qpos[:3] - start[:3])))
    return farthest, data


def test_at_the_ready_height_the_ground_carries_the_weight(model, start):
    data = mujoco.MjData(model)
    data.qpos[:] = start
    data.ctrl[:] = READY_JOINT_POS
    mujoco.mj_forward(model, data)
    assert data.qfrc_constraint[2] == pytest.approx(float(model.body_subtreemass[0]) * 9.81, rel=1e-3)


def test_closed_loop_holds_the_ready_stance(model, start, targets):
    farthest, data = hold(model, start, targets, 5.0, balance_gain())
    assert farthest < 0.02
    assert np.abs(data.qvel).max() < 0.01


@pytest.mark.parametrize("push", [(0.2, 0.0), (-0.15, 0.0), (0.0, 0.2), (0.0, -0.2)])
def test_closed_loop_recovers_from_a_push(model, start, targets, push):
    farthest, data = hold(model, start, targets, 5.0, balance_gain(), push)
    assert farthest < 0.15
    assert np.linalg.norm(data.qpos[:2]) < 0.03
    assert np.abs(data.qvel).max() < 0.05


def test_open_loop_falls(model, start, targets):
    _, data = hold(model, start, targets, 5.0)
    assert data.qpos[2] < 0.5


def test_the_gain_maps_the_whole_state_to_every_joint():
    assert balance_gain().shape == (29, 70)
    assert np.isfinite(balance_gain()).all()


def test_the_gain_does_not_prefer_a_side():
    """A push to the left is answered as one to the right, mirrored: the pelvis moved sideways turns both
    ankles' roll the same way."""
    gain = balance_gain()
    left, right = gain[5, 1], gain[11, 1]
    assert left == pytest.approx(right, rel=0.1)


def test_under_its_weight_the_robot_stands_a_little_lower_than_its_soles_touch(model):
    assert 0.0 < touching_height() - ready_height(model) < 0.01
