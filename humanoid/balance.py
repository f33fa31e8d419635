"""A linear balance controller for the ready stance: the feedback that a position-controlled robot lacks.

The servos alone do not hold a standing G1: the ankles' stiffness is less than the weight's toppling moment.
The remedy is classical: linearise the simulated robot in its stance and solve the discrete linear-quadratic
regulator at the control period. The gain maps the deviation of the whole state to corrections of the
joint position targets. It holds the stance, and it tracks motions whose soles stay where they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import mujoco
import numpy as np
from scipy.linalg import solve_discrete_are

from humanoid.dynamics import feedforward_torque
from humanoid.joints import JOINT_NAMES, KP, NUM_JOINTS, READY_JOINT_POS
from humanoid.model import build_model


@dataclass(frozen=True)
class BalanceWeights:
    """Weights of the regulator: one over the square of an acceptable deviation. No source: tried on replays.

    Attributes:
        root_pos: of the pelvis, 1/m². root_rot: 1/rad².
        joint_legs, joint_arms: of joint angles, 1/rad².
        velocity: factor from a position's weight to its velocity's, s².
        control: of target corrections, 1/rad².
        control_arms: the same of waist and arms, which are better left to the stroke.
    """

    root_pos: float = 100.0
    root_rot: float = 100.0
    joint_legs: float = 1.0
    joint_arms: float = 0.1
    velocity: float = 0.02
    control: float = 20.0
    control_arms: float = 400.0


def ready_height(model: mujoco.MjModel) -> float:
    """Height of the pelvis at which the ready pose's contact forces carry its weight, m."""
    data = mujoco.MjData(model)
    weight = float(model.body_subtreemass[0]) * 9.81
    low, high = 0.70, 0.76
    for _ in range(50):
        middle = 0.5 * (low + high)
        mujoco.mj_resetData(model, data)
        data.qpos[:7] = [0, 0, middle, 1, 0, 0, 0]
        data.qpos[7:] = READY_JOINT_POS
        data.ctrl[:] = READY_JOINT_POS
        mujoco.mj_forward(model, data)
        if data.qfrc_constraint[2] > weight:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


@cache
def balance_gain(control_dt: float = 0.02, weights: BalanceWeights | None = None) -> np.ndarray:
    """Gain K of the ready stance.

    Args:
        control_dt: control period, s.
        weights: of the regulator.

    Returns:
        (29, 70): target correction = -K [root position error (3, world), root rotation error (3, pelvis
        frame), joint errors (29), root linear velocity error (3, world), root angular velocity error (3,
        pelvis frame), joint velocity errors (29)]. Rotate world vectors by minus the stance's heading first.
    """
    weights = weights or BalanceWeights()
    model = build_model(timestep=0.005)
    steps = round(control_dt / model.opt.timestep)
    height = ready_height(model)
    pose = np.tile(READY_JOINT_POS, (3, 1))
    torque, _ = feedforward_torque(
        np.tile([0, 0, height], (3, 1)),
        np.tile([1.0, 0, 0, 0], (3, 1)),
        pose,
        np.ones((3, 2), dtype=bool),
        50.0,
    )
    data = mujoco.MjData(model)
    data.qpos[:7] = [0, 0, height, 1, 0, 0, 0]
    data.qpos[7:] = READY_JOINT_POS
    data.ctrl[:] = READY_JOINT_POS + torque[1] / KP
    mujoco.mj_forward(model, data)
    nv, nu = model.nv, model.nu
    a = np.zeros((2 * nv, 2 * nv))
    b = np.zeros((2 * nv, nu))
    mujoco.mjd_transitionFD(model, data, 1e-6, True, a, b, None, None)
    a_control, b_control = np.eye(2 * nv), np.zeros((2 * nv, nu))
    for _ in range(steps):
        b_control = a @ b_control + b
        a_control = a @ a_control
    legs = np.arange(NUM_JOINTS) < 12
    joints = np.where(legs, weights.joint_legs, weights.joint_arms)
    position = np.concatenate([np.full(3, weights.root_pos), np.full(3, weights.root_rot), joints])
    q = np.diag(np.concatenate([position, weights.velocity * position]))
    r = np.diag(np.where(legs, weights.control, weights.control_arms))
    p = solve_discrete_are(a_control, b_control, q, r)
    return np.linalg.solve(r + b_control.T @ p @ b_control, b_control.T @ p @ a_control)


assert len(JOINT_NAMES) == NUM_JOINTS
