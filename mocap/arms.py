"""Inverse kinematics of the arms: upper arm and forearm point as the human's."""

from __future__ import annotations

import numpy as np

from mocap.filters import low_pass, spread, velocity
from mocap.kinematics import Chain, solve_damped
from mocap.rotations import Array, axis_matrix, normalize
from mocap.skeleton import Body


def solve_arm(body: Body, side: str, chain: Chain, torso: Array, fps: float) -> Array:
    """Shoulder pitch, roll, yaw and elbow (T, 4) that point upper arm and forearm as the human's."""
    upper = normalize(body[f"{side}_elbow"] - body[f"{side}_shoulder"], (0.0, 0.0, -1.0))
    fore = normalize(body[f"{side}_wrist"] - body[f"{side}_elbow"])
    u = (np.swapaxes(torso, 1, 2) @ upper[..., None])[..., 0]
    f = (np.swapaxes(torso, 1, 2) @ fore[..., None])[..., 0]
    start = _arm_start(u, f, chain, fps)
    # The start is the prior too: it holds the angles that the directions leave open (a straight or a
    # sideways arm).
    q = _point_arm(chain, u, f, start, start, np.full((len(u), 1), 0.05), 4)
    top = 0.5 * np.minimum(chain.tree.velocity[chain.columns], 30.0)
    for strength in (0.3, 0.6):
        # Near those poses shoulder pitch and yaw turn against each other fast; there the path through the
        # joints counts for more than the directions.
        speed = np.abs(velocity(q, fps) / top).max(axis=1)
        fast = np.clip(spread(speed, round(0.16 * fps)) - 0.8, 0.0, 1.0)
        if not fast.any():
            break
        weight = 0.05 + strength * low_pass(fast, fps, 5.0).clip(0.0, 1.0)[:, None]
        calm = np.clip(low_pass(q, fps, 2.5), chain.lower, chain.upper)
        q = _point_arm(chain, u, f, q, calm, weight, 3)
    # Limits leave corners in time; they are rounded, inside the limits.
    return np.clip(low_pass(q, fps, 8.0), chain.lower, chain.upper)


def _point_arm(
    chain: Chain, u: Array, f: Array, q: Array, prior: Array, weight: Array, iterations: int
) -> Array:
    """Gauss-Newton on the directions of upper arm `u` and forearm `f` (T, 3), held to `prior` (T, 4) by
    `weight` (T, 1).
    """
    base = np.eye(3)[None]
    for _ in range(iterations):
        positions, rotations, wrist, _ = chain.forward(base, np.zeros((len(q), 3)), q)
        shoulder, elbow = positions[1], positions[3]
        arm, forearm = elbow - shoulder, wrist - elbow
        la, lf = np.linalg.norm(arm[0]), np.linalg.norm(forearm[0])
        residual = np.concatenate([arm / la - u, forearm / lf - f, weight * (q - prior)], axis=1)
        jacobian = np.zeros((len(q), 10, 4))
        for k, (axis, p) in enumerate(zip(chain.axes(rotations), positions, strict=True)):
            if k < 3:
                jacobian[:, 0:3, k] = np.cross(axis, elbow - (p if k == 2 else shoulder)) / la
            jacobian[:, 3:6, k] = np.cross(axis, forearm) / lf
            jacobian[:, 6 + k, k] = weight[:, 0]
        gradient = (np.swapaxes(jacobian, 1, 2) @ residual[..., None])[..., 0]
        stuck = ((q <= chain.lower) & (gradient > 0.0)) | ((q >= chain.upper) & (gradient < 0.0))
        jacobian *= ~stuck[:, None, :]
        step = np.clip(solve_damped(jacobian, residual, 1e-6), -0.5, 0.5)
        q = np.clip(q + step, chain.lower, chain.upper)
    return q


def _arm_start(u: Array, f: Array, chain: Chain, fps: float) -> Array:
    """Closed form for an upper arm hanging along -z and a forearm along +x at zero angles, branches joined
    in time.
    """
    roll = np.arcsin(np.clip(u[:, 1], -1.0, 1.0))
    pitch = np.arctan2(-u[:, 0], -u[:, 2])
    # Pitch means nothing for an arm that points sideways: there it is carried over from its neighbours.
    sure = np.clip(np.cos(roll) ** 2 * 1.5, 1e-3, 1.0)
    pitch = _carry(_into(np.unwrap(pitch), chain.lower[0], chain.upper[0], sure), sure, fps)
    r = axis_matrix("Y", pitch) @ axis_matrix("X", roll)
    local = (np.swapaxes(r, 1, 2) @ f[..., None])[..., 0]
    elbow = np.arcsin(np.clip(-local[:, 2], -1.0, 1.0))
    yaw = np.unwrap(np.arctan2(local[:, 1], local[:, 0]))
    sure = np.clip(np.cos(elbow) ** 2 * 3.0, 1e-3, 1.0)
    yaw = _carry(_into(yaw, chain.lower[2], chain.upper[2], sure), sure, fps)
    return np.clip(np.stack([pitch, roll, yaw, elbow], axis=1), chain.lower + 1e-3, chain.upper - 1e-3)


def _into(angle: Array, lower: float, upper: float, weight: Array) -> Array:
    """An unwrapped angle, shifted by whole turns so that most of its weight is inside the limits."""
    best, cost = angle, np.inf
    for turns in range(-2, 3):
        moved = angle + 2.0 * np.pi * turns
        outside = np.maximum(lower - moved, 0.0) + np.maximum(moved - upper, 0.0)
        total = float((weight * outside).sum() + 1e-6 * np.abs(moved).sum())
        if total < cost:
            best, cost = moved, total
    # An arm that circles would leave the range for good: there, frame by frame.
    outside = (best < lower - 0.3) | (best > upper + 0.3)
    middle = 0.5 * (lower + upper)
    return np.where(outside, middle + np.arctan2(np.sin(best - middle), np.cos(best - middle)), best)


def _carry(angle: Array, weight: Array, fps: float) -> Array:
    """Weighted running mean where the weight is small, the angle itself where it is 1."""
    half = max(1, round(0.12 * fps))
    kernel = np.hanning(2 * half + 3)[1:-1]

    def smooth(x: Array) -> Array:
        return np.convolve(np.pad(x, half, mode="edge"), kernel, mode="valid")

    mean = smooth(angle * weight) / np.maximum(smooth(weight), 1e-9)
    return weight * angle + (1.0 - weight) * mean
