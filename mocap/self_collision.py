"""Where the robot's parts and its racket come too near each other, for whole clips at once, and how they are
kept apart.

The body is the capsules of `humanoid.model.BODY_CAPSULES` with two more for the feet; the racket is a handle and
the hoop of its head as thin capsules. Parts that are joined, or that the model lets overlap, are left out.

Arms give way: for each pair nearer than the margin the distance d grows with the angles of the arms in it by
nᵀ (J_a - J_b), n the unit vector between the nearest points; a damped least-squares step closes the gap, and
steps are spread over the frames around (a Hann window), so that the arm goes round in a curve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from humanoid.model import BODY_CAPSULES, FOOT_CORNERS, FOOT_RADIUS, SOLE_HEIGHT
from humanoid.racket import RACKET
from mocap.robot import RobotModel
from mocap.rotations import Array
from mocap.skeleton import SIDES

# Radius of the grip [m] (a grip of size 3 is 0.111 m around), and how many pieces the hoop has.
GRIP_M = 0.018
HOOP_PIECES = 8


@dataclass(frozen=True)
class Capsule:
    """A capsule fixed to a link.

    Attributes:
        name: part of the body it stands for.
        joint: the link's joint in `Tree`.
        start, end: (3,) ends of its axis in the joint's frame [m].
        radius: [m].
    """

    name: str
    joint: int
    start: Array
    end: Array
    radius: float


def robot_capsules(robot: RobotModel) -> list[Capsule]:
    """Capsules of body, feet and racket."""
    tree = robot.tree

    def joint(link: str) -> int:
        return 0 if link == "pelvis" else tree.index(_joint_of(link))

    out = [
        Capsule(name, joint(link), np.array(start, dtype=float), np.array(end, dtype=float), radius)
        for name, link, start, end, radius in BODY_CAPSULES
    ]
    x = [corner[0] for corner in FOOT_CORNERS]
    width = max(abs(corner[1]) for corner in FOOT_CORNERS)
    for side in SIDES:
        # Sole to instep: as wide as the foot's contact spheres reach.
        heel, toe = (np.array([v, 0.0, FOOT_RADIUS - SOLE_HEIGHT + 0.01]) for v in (min(x), max(x)))
        foot = joint(f"{side}_ankle_roll_link")
        out.append(Capsule(f"{side}_foot", foot, heel, toe, width + 0.5 * FOOT_RADIUS))
    hand, place, turn = robot.racket.joint, robot.racket.position, robot.racket.rotation

    def at(x: float, y: float = 0.0) -> Array:
        return place + turn @ np.array([x, y, 0.0])

    long, wide = RACKET.half_length, RACKET.half_width
    out.append(Capsule("racket_handle", hand, at(-RACKET.center), at(-long), GRIP_M))
    angle = np.arange(HOOP_PIECES + 1) * (2.0 * np.pi / HOOP_PIECES)
    hoop = [at(long * np.cos(v), wide * np.sin(v)) for v in angle]
    for k in range(HOOP_PIECES):
        out.append(Capsule(f"racket_hoop{k}", hand, hoop[k], hoop[k + 1], RACKET.frame))
    # The strings, as one bar along the middle: what passes through the hoop meets it.
    out.append(Capsule("racket_strings", hand, at(-long), at(long), RACKET.frame))
    return out


def _joint_of(link: str) -> str:
    return link.removesuffix("_link").replace("torso", "waist_pitch") + "_joint"


# Parts that are joined or overlap by design, as in humanoid.model.build_spec, and those of one leg.
_JOINED = {
    frozenset(pair)
    for side in SIDES
    for pair in (
        ("pelvis", "torso"),
        ("pelvis", f"{side}_thigh"),
        ("torso", f"{side}_upper_arm"),
        ("torso", "head"),
        (f"{side}_thigh", f"{side}_shin"),
        (f"{side}_shin", f"{side}_foot"),
        (f"{side}_thigh", f"{side}_foot"),
        (f"{side}_upper_arm", f"{side}_forearm"),
        (f"{side}_upper_arm", f"{side}_hand"),
        (f"{side}_forearm", f"{side}_hand"),
        ("right_hand", "racket"),
        ("right_forearm", "racket"),
        ("right_upper_arm", "racket"),
    )
}


def part(name: str) -> str:
    """What a capsule belongs to: the racket's pieces are one part."""
    return "racket" if name.startswith("racket") else name


class Bodies:
    """The capsules of a robot and the pairs that may meet.

    Attributes:
        capsules: all of them.
        pairs: (P, 2) indices into `capsules`.
        labels: P names like "left_hand–torso".
    """

    def __init__(self, robot: RobotModel, only: tuple[str, ...] | None = None) -> None:
        """Args:
        robot: the robot.
        only: name endings of the parts that count; all when not given.
        """
        self.robot = robot
        self.capsules = [c for c in robot_capsules(robot) if only is None or c.name.endswith(only)]
        pairs, labels = [], []
        for i, a in enumerate(self.capsules):
            for j in range(i + 1, len(self.capsules)):
                names = part(a.name), part(self.capsules[j].name)
                if names[0] != names[1] and frozenset(names) not in _JOINED:
                    pairs.append((i, j))
                    labels.append("–".join(names))
        self.pairs, self.labels = np.array(pairs), labels
        self._joint = np.array([c.joint for c in self.capsules])
        self._ends = np.stack([[c.start, c.end] for c in self.capsules])
        self.radius = np.array([c.radius for c in self.capsules])
        self._half = 0.5 * np.linalg.norm(self._ends[:, 1] - self._ends[:, 0], axis=1)

    def axes(self, pos: Array, rot: Array) -> Array:
        """Ends (T, C, 2, 3) of all capsules' axes in the world, given the results of `Tree.forward`."""
        return pos[:, self._joint, None] + np.einsum("tcij,cej->tcei", rot[:, self._joint], self._ends)

    def near(self, pos: Array, rot: Array, within_m: float = 0.0) -> Near:
        """All pairs nearer than `within_m`, in frame order.

        Args:
            pos, rot: (T, n+1, 3), (T, n+1, 3, 3) from `Tree.forward`.
            within_m: gap between the surfaces [m].
        """
        ends = self.axes(pos, rot)
        middle = ends.mean(axis=2)
        i, j = self.pairs.T
        reach = (self._half + self.radius)[i] + (self._half + self.radius)[j] + within_m
        away = middle[:, i] - middle[:, j]
        frame, pair = np.nonzero(np.einsum("tpk,tpk->tp", away, away) < reach**2)
        a, b = ends[frame, i[pair]], ends[frame, j[pair]]
        s, t = closest(a[:, 0], a[:, 1], b[:, 0], b[:, 1])
        p = a[:, 0] + s[:, None] * (a[:, 1] - a[:, 0])
        q = b[:, 0] + t[:, None] * (b[:, 1] - b[:, 0])
        gap = np.linalg.norm(p - q, axis=1) - self.radius[i[pair]] - self.radius[j[pair]]
        some = gap < within_m
        return Near(frame[some], pair[some], gap[some], p[some], q[some])


@dataclass(frozen=True)
class Near:
    """Pairs that are near each other.

    Attributes:
        frame, pair: (N,) frame number, row of `Bodies.pairs`.
        gap: (N,) between the surfaces, negative where they overlap [m].
        p, q: (N, 3) nearest points of the two axes in the world [m].
    """

    frame: np.ndarray
    pair: np.ndarray
    gap: Array
    p: Array
    q: Array


def closest(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, Array]:
    """Parameters (N,), (N,) in [0, 1] of the nearest points of segments a–b and c–d, each end (N, 3).

    The minimum of a quadratic over a square: the free minimum clamped along one side, then along the other,
    taken in both orders, the nearer of the two.
    """
    u, v, w = b - a, d - c, a - c
    uu, vv, uv = (np.einsum("nk,nk->n", x, y) for x, y in ((u, u), (v, v), (u, v)))
    uw, vw = np.einsum("nk,nk->n", u, w), np.einsum("nk,nk->n", v, w)
    uu, vv = np.maximum(uu, 1e-12), np.maximum(vv, 1e-12)
    free = uu * vv - uv**2
    s0 = np.clip(
        np.where(free > 1e-9 * uu * vv, (uv * vw - vv * uw) / np.maximum(free, 1e-18), 0.0), 0.0, 1.0
    )
    t1 = np.clip((uv * s0 + vw) / vv, 0.0, 1.0)
    s1 = np.clip((uv * t1 - uw) / uu, 0.0, 1.0)
    t1 = np.clip((uv * s1 + vw) / vv, 0.0, 1.0)
    return s1, t1


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
        bodies: capsules and pairs.
        root_pos, root_rot, q: (T, 3), (T, 3, 3), (T, n) the motion; a copy of `q` is changed, in the arms only.
        fps: frames a second.
        margin_m: wished gap.
        rounds: most steps.
        half_s: how far each step is spread in time.
    """
    tree = bodies.robot.tree
    q = q.copy()
    arms = [_arm_joints(bodies, side) for side in range(2)]
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
        rows, jacobian, short = _gradients(bodies, arms, movers, near, pos, rot, margin_m)
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


def _arm_joints(bodies: Bodies, side: int) -> np.ndarray:
    tree = bodies.robot.tree
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
    bodies: Bodies,
    arms: list[np.ndarray],
    movers: list[tuple[tuple[int, ...], ...]],
    near: Near,
    pos: Array,
    rot: Array,
    margin_m: float,
) -> tuple[np.ndarray, Array, Array]:
    """Frames (N,), gradients of the gaps (N, 14) over the joints of both arms, and what is missing (N,) [m]."""
    tree = bodies.robot.tree
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
            last = bodies._joint[bodies.pairs[near.pair[rows], which]]
            for k, joint in enumerate(arms[side]):
                some = rows[last >= joint]
                frame = near.frame[some]
                axis = rot[frame, joint][:, :, tree.axes[joint]]
                moved = np.cross(axis, point[some] - pos[frame, joint])
                gradient[some, 7 * side + k] += sign * np.einsum("nk,nk->n", normal[some], moved)
    return near.frame, gradient, margin_m - near.gap
