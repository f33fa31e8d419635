"""Inverse dynamics of a motion with its feet on the ground: the torques a reference needs."""

from __future__ import annotations

import numpy as np
import pinocchio as pin
from scipy.optimize import nnls

from humanoid.bodies import FEET, FOOT_CORNERS, SOLE_HEIGHT
from humanoid.joints import NUM_JOINTS
from humanoid.kinematics import default_pinocchio, to_pinocchio


def velocities(root_pos: np.ndarray, root_quat: np.ndarray, joint_pos: np.ndarray, fps: float) -> np.ndarray:
    """Generalised velocities of a motion by central differences on the configuration manifold.

    Args:
        root_pos: (T, 3), m. root_quat: (T, 4), w, x, y, z. joint_pos: (T, 29), rad.
        fps: frames a second.

    Returns:
        (T, 35) in Pinocchio's order: root linear and angular velocity in the root frame, joint velocities.
    """
    model = default_pinocchio()
    q = to_pinocchio(root_pos, root_quat, joint_pos)
    frames = len(q)
    v = np.empty((frames, model.nv))
    for t in range(frames):
        before, after = max(t - 1, 0), min(t + 1, frames - 1)
        v[t] = pin.difference(model, q[before], q[after]) * fps / (after - before)
        # A central difference is that of the frame between its ends, which is the one wanted; at the ends of
        # the motion it is half a frame off.
    return v


def feedforward_torque(
    root_pos: np.ndarray,
    root_quat: np.ndarray,
    joint_pos: np.ndarray,
    contacts: np.ndarray,
    fps: float,
    friction: float = 0.6,
    regularisation: float = 1e-3,
) -> tuple[np.ndarray, np.ndarray]:
    """Joint torques along a motion, ground forces chosen by non-negative least squares.

    Each foot in contact pushes at the four corners of its sole along the edges of a friction pyramid. The
    forces are those that best explain the motion of the floating base, the smallest ones where several do.

    Args:
        root_pos, root_quat, joint_pos: the motion, see :func:`velocities`.
        contacts: left and right foot on the ground, (T, 2) bool.
        fps: frames a second.
        friction: of the pyramid.
        regularisation: weight of force size against base wrench error.

    Returns:
        ``(torque, residual)``: joint torques (T, 29), N·m; wrench on the base that no ground force explains
        (T, 6), N and N·m: zero where the motion is dynamically possible.
    """
    model = default_pinocchio()
    data = model.createData()
    q = to_pinocchio(root_pos, root_quat, joint_pos)
    v = velocities(root_pos, root_quat, joint_pos, fps)
    a = np.gradient(v, 1.0 / fps, axis=0)
    joints = [model.frames[model.getFrameId(link)].parentJoint for link in FEET]
    corners = np.array([[x, y, -SOLE_HEIGHT] for x, y in FOOT_CORNERS])
    slope = friction / np.sqrt(2.0)
    edges = np.array([[sx * slope, sy * slope, 1.0] for sx in (-1, 1) for sy in (-1, 1)]).T
    torque = np.zeros((len(q), NUM_JOINTS))
    residual = np.zeros((len(q), 6))
    for t in range(len(q)):
        needed = pin.rnea(model, data, q[t], v[t], a[t])
        pin.computeJointJacobians(model, data, q[t])
        columns = []
        for foot, joint in enumerate(joints):
            if not contacts[t, foot]:
                continue
            jacobian = pin.getJointJacobian(model, data, joint, pin.LOCAL_WORLD_ALIGNED)
            rotation = data.oMi[joint].rotation
            for corner in corners:
                lever = pin.skew(rotation @ corner)
                columns.append((jacobian[:3] - lever @ jacobian[3:]).T @ edges)
        if columns:
            basis = np.hstack(columns)
            size = basis.shape[1]
            system = np.vstack([basis[:6], regularisation * np.eye(size)])
            force, _ = nnls(system, np.concatenate([needed[:6], np.zeros(size)]))
            needed = needed - basis @ force
        torque[t], residual[t] = needed[6:], needed[:6]
    return torque, residual
