"""Move the root so that a motion could be balanced: zero-moment point over the feet.

For a mass at the centre of mass c, height z, the zero-moment point is p = c - c̈ z / (g + z̈). Where p
leaves the support area by Δp, the shift Δc of the centre of mass that brings it back solves Δc - τ² Δc̈ =
Δp with τ² = z / g: the bounded solution is Δp smoothed by the kernel exp(-|t| / τ) / 2τ. The root is
shifted by Δc, the legs are solved again with the feet where they were, and the whole is repeated, since the
legs have mass too.
"""

from __future__ import annotations

import numpy as np

from mocap.contacts import support_offset
from mocap.filters import low_pass, velocity
from mocap.kinematics import Tree
from mocap.legs import track_feet
from mocap.robot import RobotModel
from mocap.rotations import Array

GRAVITY = 9.81


def zero_moment_point(
    tree: Tree, pos: Array, rot: Array, fps: float, cutoff_hz: float = 6.0
) -> tuple[Array, Array]:
    """Zero-moment point (T, 2) on the ground and centre of mass (T, 3) [m], from world frames of all joints.

    The angular momentum about the centre of mass is left out.
    """
    com = low_pass(tree.com(pos, rot), fps, cutoff_hz)
    acc = velocity(velocity(com, fps), fps)
    return com[:, :2] - acc[:, :2] * (com[:, 2] / np.maximum(GRAVITY + acc[:, 2], 0.3 * GRAVITY))[
        :, None
    ], com


def support_error(
    robot: RobotModel, pos: Array, rot: Array, contact: np.ndarray, fps: float, margin_m: float
) -> Array:
    """Shift (T, 2) [m] that would bring the zero-moment point `margin_m` inside the support area; zero in
    flight.
    """
    zmp, _ = zero_moment_point(robot.tree, pos, rot, fps)
    feet, heading = [], []
    for sole in robot.soles:
        p, r = robot.tree.place(sole, pos, rot)
        feet.append(p[:, :2])
        heading.append(np.arctan2(r[:, 1, 0], r[:, 0, 0]))
    half = (max(robot.foot_half_m[0] - margin_m, 0.005), max(robot.foot_half_m[1] - margin_m, 0.005))
    return support_offset(zmp, np.stack(feet, axis=1), np.stack(heading, axis=1), contact, half)


def pendulum_response(offset: Array, fps: float, height_m: float) -> Array:
    """The bounded solution x (T, 2) of x - τ² ẍ = `offset`, τ² = height / g; rest beyond the ends."""
    tau = np.sqrt(height_m / GRAVITY)
    half = int(np.ceil(8.0 * tau * fps))
    t = np.arange(-half, half + 1) / fps
    kernel = np.exp(-np.abs(t) / tau)
    kernel /= kernel.sum()
    return np.stack(
        [
            np.convolve(offset[:, i], kernel, mode="same")
            if len(offset) > len(kernel)
            else np.convolve(np.pad(offset[:, i], half), kernel, mode="valid")
            for i in range(2)
        ],
        axis=1,
    )


def rebalance(
    robot: RobotModel,
    root_pos: Array,
    root_rot: Array,
    q: Array,
    contact: np.ndarray,
    fps: float,
    *,
    margin_m: float = 0.01,
    most_m: float = 0.1,
    iterations: int = 4,
) -> tuple[Array, Array]:
    """Root positions (T, 3) and joint angles (T, n) of a motion whose feet stay and whose zero-moment point
    is over them.

    Args:
        robot: the robot.
        root_pos, root_rot, q: (T, 3), (T, 3, 3), (T, n) the motion.
        contact: (T, 2) bool, which feet stand.
        fps: frames a second.
        margin_m: how far inside the edge of the support area the point is wished.
        most_m: greatest shift of the root in x and in y.
        iterations: how often the shift is corrected.
    """
    tree = robot.tree
    pos, rot = tree.forward(root_pos, root_rot, q)
    soles = [tree.place(s, pos, rot) for s in robot.soles]
    shift = np.zeros((len(q), 2))
    out_pos, out_q = root_pos, q
    height = float(np.median(tree.com(pos, rot)[:, 2]))
    for _ in range(iterations):
        error = support_error(robot, pos, rot, contact, fps, margin_m)
        if np.abs(error).max() < 2e-3:
            break
        shift = np.clip(shift + pendulum_response(error, fps, height), -most_m, most_m)
        shift = low_pass(shift, fps, 4.0)
        wished = root_pos.copy()
        wished[:, :2] += shift
        out_pos, out_q = track_feet(robot, wished, root_rot, q, soles, contact)
        pos, rot = tree.forward(out_pos, root_rot, out_q)
    return out_pos, out_q
