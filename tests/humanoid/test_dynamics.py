"""Inverse dynamics with feet on the ground, against statics and MuJoCo."""

import mujoco
import numpy as np
import pinocchio as pin
import pytest

from humanoid.balance import balance_gain, ready_height
from humanoid.dynamics import feedforward_torque, velocities
from humanoid.joints import KP, NUM_JOINTS, READY_JOINT_POS
from humanoid.kinematics import default_pinocchio, to_pinocchio
from humanoid.model import build_model

FRAMES = 3
UPRIGHT = np.tile([1.0, 0, 0, 0], (FRAMES, 1))
BOTH = np.ones((FRAMES, 2), dtype=bool)


def standing(contacts=BOTH, **options):
    return feedforward_torque(
        np.tile([0, 0, 0.73], (FRAMES, 1)),
        UPRIGHT,
        np.tile(READY_JOINT_POS, (FRAMES, 1)),
        contacts,
        50.0,
        **options,
    )


def weight() -> float:
    return pin.computeTotalMass(default_pinocchio()) * 9.81


def test_ground_forces_carry_a_standing_robot():
    _, residual = standing()
    assert np.abs(residual).max() < 1e-3 * weight()


def test_without_ground_the_whole_weight_is_missing():
    _, residual = standing(np.zeros((FRAMES, 2), dtype=bool))
    assert residual[0, :3] == pytest.approx([0, 0, weight()], rel=1e-4)


def test_one_foot_on_the_ground_cannot_carry_a_body_between_two():
    _, residual = standing(np.array([[True, False]] * FRAMES))
    assert np.abs(residual[:, 3]).min() > 5.0, "it topples to the side"


def test_waist_and_arms_of_a_standing_robot_carry_what_mujoco_says():
    """They know nothing of the ground: gravity alone."""
    torque, _ = standing()
    model = build_model()
    data = mujoco.MjData(model)
    data.qpos[:7] = [0, 0, 5.0, 1, 0, 0, 0]
    data.qpos[7:] = READY_JOINT_POS
    mujoco.mj_forward(model, data)
    np.testing.assert_allclose(torque[1, 12:], data.qfrc_bias[18:], atol=1e-6 * weight() + 1e-3)


def test_a_robot_at_rest_in_simulation_uses_the_same_torques():
    """Let the regulator bring the robot to rest, then compare its motors with inverse dynamics there.

    Both legs stand, so that the ground leaves their share of inner tension open: a few N·m.
    """
    model = build_model()
    data, error = mujoco.MjData(model), np.zeros(35)
    start = np.concatenate([[0, 0, ready_height(model), 1, 0, 0, 0], READY_JOINT_POS])
    data.qpos[:] = start
    mujoco.mj_forward(model, data)
    torque, _ = standing()
    for _ in range(200):
        mujoco.mj_differentiatePos(model, error, 1.0, start, data.qpos)
        data.ctrl[:] = READY_JOINT_POS + torque[1] / KP - balance_gain() @ np.concatenate([error, data.qvel])
        mujoco.mj_step(model, data, round(0.02 / model.opt.timestep))
    assert np.abs(data.qvel).max() < 1e-3
    here, _ = feedforward_torque(
        np.tile(data.qpos[:3], (FRAMES, 1)), np.tile(data.qpos[3:7], (FRAMES, 1)),
        np.tile(data.qpos[7:], (FRAMES, 1)), BOTH, 50.0,
    )  # fmt: skip
    np.testing.assert_allclose(here[1, 12:], data.actuator_force[12:], atol=0.02)
    np.testing.assert_allclose(here[1, :12], data.actuator_force[:12], atol=4.0)


def test_a_body_that_shifts_slowly_over_its_feet_is_possible():
    t = np.arange(50) / 50.0
    root = np.tile([0, 0, 0.73], (50, 1)) + np.stack([0 * t, 0 * t, 0.01 * np.sin(2 * np.pi * t)], axis=1)
    _, residual = feedforward_torque(
        root,
        np.tile([1.0, 0, 0, 0], (50, 1)),
        np.tile(READY_JOINT_POS, (50, 1)),
        np.ones((50, 2), bool),
        50.0,
    )
    assert np.abs(residual).max() < 1e-3 * weight()


def test_a_body_that_falls_freely_needs_no_ground():
    t = np.arange(20) / 50.0
    root = np.stack([0 * t, 0 * t, 2.0 - 0.5 * 9.81 * t**2], axis=1)
    torque, residual = feedforward_torque(
        root,
        np.tile([1.0, 0, 0, 0], (20, 1)),
        np.tile(READY_JOINT_POS, (20, 1)),
        np.zeros((20, 2), bool),
        50.0,
    )
    # One-sided differences at the ends.
    assert np.abs(residual[2:-2]).max() < 1e-6 * weight()
    assert np.abs(torque[2:-2]).max() < 1e-6 * weight()


def spinning() -> tuple[np.ndarray, np.ndarray]:
    """Time, and velocities of a body that turns at 1 rad/s about its vertical while it moves along the
    world's x at 0.5 m/s and swings its joints."""
    t = np.arange(40) / 50.0
    root = np.stack([0.5 * t, 0 * t, 0 * t + 0.8], axis=1)
    quat = np.stack([np.cos(t / 2), 0 * t, 0 * t, np.sin(t / 2)], axis=1)
    joint_pos = READY_JOINT_POS + 0.2 * np.sin(t)[:, None] * np.ones(NUM_JOINTS)
    return t[1:-1], velocities(root, quat, joint_pos, 50.0)[1:-1]


def test_angular_and_joint_velocities_are_those_of_a_known_motion():
    t, v = spinning()
    np.testing.assert_allclose(v[:, 3:6], np.tile([0, 0, 1.0], (len(t), 1)), atol=1e-6)
    np.testing.assert_allclose(v[:, 6], 0.2 * np.cos(t), atol=1e-4)
    np.testing.assert_allclose(v[:, 2], 0.0, atol=1e-9)


def test_the_roots_velocity_is_that_of_a_known_motion():
    t, v = spinning()
    expected = 0.5 * np.stack([np.cos(t), -np.sin(t)], axis=1)
    np.testing.assert_allclose(v[:, :2], expected, atol=1e-3)


def test_velocities_lead_from_frame_to_frame():
    model = default_pinocchio()
    rng = np.random.default_rng(0)
    t = np.arange(30) / 50.0
    wave = rng.normal(size=(3, 1)) * np.sin(2 * t)
    quat = np.concatenate([np.ones((1, 30)), 0.3 * wave]).T
    quat /= np.linalg.norm(quat, axis=1, keepdims=True)
    joint_pos = READY_JOINT_POS + 0.3 * np.sin(3 * t)[:, None] * rng.normal(size=NUM_JOINTS)
    root = 0.2 * wave.T
    v = velocities(root, quat, joint_pos, 50.0)
    q = to_pinocchio(root, quat, joint_pos)
    for k in range(2, 28):
        after = pin.integrate(model, q[k], v[k] / 50.0)
        assert np.abs(pin.difference(model, after, q[k + 1])).max() < 2e-3
