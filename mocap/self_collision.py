"""How arms and legs whose parts come too near each other (`humanoid.bodies`) are kept apart, for whole clips at once.

Arms give way: for each pair nearer than the margin the distance d grows with the angles of the arms in it by
nᵀ (J_a - J_b), n the unit vector between the nearest points; a damped least-squares step closes the gap, and
steps are spread over the frames around (a Hann window), so that the arm goes round in a curve.
"""

from __future__ import annotations

import numpy as np

from humanoid.bodies import Bodies, Near, part
from mocap.kinematics import Tree
from mocap.rotations import Array
from mocap.skeleton import SIDES


def part_arms(name: str) -> tuple[int, ...]:
    """Which arm (0 left, 1 right) moves a part; none for legs and trunk."""
    if part(name) == "racket":
        return (1,)
    limb = name.removeprefix("left_").removeprefix("right_")
    return (SIDES.index(name.split("_")[0]),) if limb in ("upper_arm", "forearm", "hand") else ()


def overlap_fraction(near: Near, frames: int, deeper_m: float = 0.0) -> float:
    """Fraction of frames in which some pair overlaps by more than `deeper_m`."""
    hit = np.zeros(frames, dtype=bool)
    hit[near.frame[near.gap < -deeper_m]] = True
    return float(hit.mean()) if frames else 0.0


def part_arms_apart(
    tree: Tree,
    bodies: Bodies,
    root_pos: Array,
    root_rot: Array,
    q: Array,
    fps: float,
    *,
    margin_m: float = 0.015,
    rounds: int = 10,
    half_s: float = 0.16,
) -> Array:
    """Joint angles (T, n) in which arms and racket keep `margin_m` from the rest of the body, where they can.

    Args:
        tree: kinematics. bodies: capsules and pairs.
        root_pos, root_rot, q: (T, 3), (T, 3, 3), (T, n) the motion; a copy of `q` is changed, in the arms only.
        fps: frames a second.
        margin_m: wished gap.
        rounds: most steps.
        half_s: how far each step is spread in time.
    """
    q = q.copy()
    arms = [_arm_joints(tree, side) for side in range(2)]
    movers = [tuple(part_arms(bodies.capsules[i].name) for i in pair) for pair in bodies.pairs]
    movable = np.array([bool(a or b) for a, b in movers])
    half = max(1, round(half_s * fps))
    kernel = np.hanning(2 * half + 1)[1:-1]
    window = np.ones(4 * half + 1)
    look = np.arange(len(q))
    for _ in range(rounds):
        pos, rot = tree.forward(root_pos[look], root_rot[look], q[look])
        near = bodies.near(pos, rot, margin_m)
        keep = movable[near.pair]
        if not keep.any():
            break
        near = Near(*(getattr(near, k)[keep] for k in ("frame", "pair", "gap", "p", "q")))
        step = np.zeros_like(q)
        touched = np.zeros(len(q))
        rows, jacobian, short = _gradients(tree, bodies, arms, movers, near, pos, rot, margin_m)
        columns = np.concatenate(arms) - 1
        # All pairs of a frame together: (JᵀJ + λ) Δ = Jᵀ e, frames with few pairs padded with zeros.
        frames, first, count = np.unique(rows, return_index=True, return_counts=True)
        jt_j = np.add.reduceat(jacobian[:, :, None] * jacobian[:, None, :], first, axis=0)
        jt_e = np.add.reduceat(jacobian * short[:, None], first, axis=0)
        jt_j[:, np.arange(14), np.arange(14)] += 3e-3 * count[:, None]
        size = np.linalg.solve(jt_j, jt_e[..., None])[..., 0]
        step[np.ix_(look[frames], columns)] = np.clip(size, -0.15, 0.15)
        touched[look[frames]] = 1.0
        share = np.maximum(np.convolve(touched, kernel, mode="same"), 1.0)
        for c in columns:
            if step[:, c].any():
                step[:, c] = np.convolve(step[:, c], kernel, mode="same") / share
        q = np.clip(q + step, np.minimum(tree.lower, q), np.maximum(tree.upper, q))
        look = np.flatnonzero(np.convolve(touched, window, mode="same") > 0.0)
    return q


def push_feet(
    legs: Bodies, pos: Array, rot: Array, fps: float, margin_m: float = 0.01, half_s: float = 0.2
) -> Array:
    """How far the feet (T, 2, 3) should go apart horizontally so that the legs keep `margin_m` [m].

    Args:
        legs: `Bodies` of thighs, shins and feet alone.
        pos, rot: from `Tree.forward`.
        fps: frames a second.
        margin_m: wished gap.
        half_s: how far a push is spread in time.
    """
    push = np.zeros((len(pos), 2, 3))
    near = legs.near(pos, rot, margin_m)
    if not len(near.frame):
        return push
    first = np.array([legs.capsules[i].name.startswith("right") for i in legs.pairs[near.pair, 0]])
    away = (near.p - near.q) * np.where(first, -1.0, 1.0)[:, None] * [1.0, 1.0, 0.0]
    # Axes that cross point nowhere: there the feet go apart along the line between them.
    away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-3)
    # A knee moves less than its foot: thighs need more.
    thigh = np.array(["thigh" in legs.labels[k] for k in near.pair])
    size = np.minimum((margin_m - near.gap) * np.where(thigh, 1.0, 0.5), 0.04)
    np.add.at(push[:, 0], near.frame, size[:, None] * away)
    count = np.maximum(np.bincount(near.frame, minlength=len(pos)), 1)
    half = max(1, round(half_s * fps))
    kernel = np.hanning(2 * half + 1)[1:-1]
    share = np.maximum(np.convolve(count * (np.abs(push[:, 0]).max(axis=1) > 0.0), kernel, mode="same"), 1.0)
    for axis in range(2):
        push[:, 0, axis] = np.convolve(push[:, 0, axis], kernel, mode="same") / share
    push[:, 1] = -push[:, 0]
    return push


def _arm_joints(tree: Tree, side: int) -> np.ndarray:
    parts = (
        "shoulder_pitch",
        "shoulder_roll",
        "shoulder_yaw",
        "elbow",
        "wrist_roll",
        "wrist_pitch",
        "wrist_yaw",
    )
    return np.array([tree.index(f"{SIDES[side]}_{p}_joint") for p in parts])


def _gradients(
    tree: Tree,
    bodies: Bodies,
    arms: list[np.ndarray],
    movers: list[tuple[tuple[int, ...], ...]],
    near: Near,
    pos: Array,
    rot: Array,
    margin_m: float,
) -> tuple[np.ndarray, Array, Array]:
    """Frames (N,), gradients of the gaps (N, 14) over the joints of both arms, and what is missing (N,) [m]."""
    gradient = np.zeros((len(near.frame), 14))
    away = near.p - near.q
    length = np.linalg.norm(away, axis=1, keepdims=True)
    # Axes that cross have no direction apart: the one between the capsules' middles serves.
    normal = away / np.maximum(length, 1e-6)
    for which, point, sign in ((0, near.p, 1.0), (1, near.q, -1.0)):
        for side in range(2):
            rows = np.flatnonzero([side in movers[k][which] for k in near.pair])
            if not len(rows):
                continue
            last = bodies.joint[bodies.pairs[near.pair[rows], which]]
            for k, joint in enumerate(arms[side]):
                some = rows[last >= joint]
                frame = near.frame[some]
                axis = rot[frame, joint][:, :, tree.axes[joint]]
                moved = np.cross(axis, point[some] - pos[frame, joint])
                gradient[some, 7 * side + k] += sign * np.einsum("nk,nk->n", normal[some], moved)
    return near.frame, gradient, margin_m - near.gap
