"""The robot's parts and its racket as capsules, and which of them come near each other.

The body is `BODY_CAPSULES` with two more for the feet; the racket is a handle and the hoop of its head as thin
capsules. Parts that are joined, or that the MuJoCo model lets overlap, are left out. Plain numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy import ndarray as Array

from humanoid.joints import JOINTS, NUM_JOINTS, PELVIS
from humanoid.racket import LINK, QUAT, RACKET
from humanoid.rotations import axis_turn, quat_matrix

SIDES = ("left", "right")
FOOT_RADIUS = 0.01
FOOT_CORNERS = ((0.12, 0.028), (0.12, -0.028), (-0.045, 0.024), (-0.045, -0.024))
"""Centres of the foot's contact spheres in the ankle roll link, x and y, [m]; z is -0.025, so the sole
lies 0.035 m under the ankle roll axis."""

SOLE_HEIGHT = 0.035
"""Ankle roll axis above the sole, [m]."""

FEET = ("left_ankle_roll_link", "right_ankle_roll_link")
BODY_CAPSULES: tuple[tuple[str, str, tuple[float, ...], tuple[float, ...], float], ...] = (
    ("pelvis", "pelvis", (0, -0.05, -0.08), (0, 0.05, -0.08), 0.07),
    ("torso", "torso_link", (0.01, 0, 0.06), (0.01, 0, 0.22), 0.09),
    ("head", "torso_link", (0.0, 0, 0.41), (0.0, 0, 0.45), 0.06),
    ("left_thigh", "left_hip_yaw_link", (0, 0, -0.03), (-0.06, 0, -0.17), 0.055),
    ("right_thigh", "right_hip_yaw_link", (0, 0, -0.03), (-0.06, 0, -0.17), 0.055),
    ("left_shin", "left_knee_link", (0.01, 0, 0), (0.005, 0, -0.26), 0.04),
    ("right_shin", "right_knee_link", (0.01, 0, 0), (0.005, 0, -0.26), 0.04),
    ("left_upper_arm", "left_shoulder_yaw_link", (0, 0, -0.08), (0, 0, 0.05), 0.035),
    ("right_upper_arm", "right_shoulder_yaw_link", (0, 0, -0.08), (0, 0, 0.05), 0.035),
    ("left_forearm", "left_elbow_link", (0, 0, -0.01), (0.18, 0, -0.01), 0.032),
    ("right_forearm", "right_elbow_link", (0, 0, -0.01), (0.18, 0, -0.01), 0.032),
    ("left_hand", "left_wrist_yaw_link", (0.03, 0, 0), (0.12, -0.01, 0), 0.03),
    ("right_hand", "right_wrist_yaw_link", (0.03, 0, 0), (0.12, 0.01, 0), 0.03),
)
"""Capsules of the body: name, link, from, to, radius [m]."""
GRIP = 0.018
"""Radius of the grip, m: one of size 3 is 0.111 m around."""
HOOP_PIECES = 8


@dataclass(frozen=True)
class Capsule:
    """A capsule fixed to a link.

    Attributes:
        name: part of the body it stands for.
        joint: the joint that moves it: 0 the root, then the joint table's order from 1 on.
        start, end: (3,) ends of its axis in the joint's frame [m].
        radius: [m].
    """

    name: str
    joint: int
    start: Array
    end: Array
    radius: float


@cache
def _frames() -> tuple[dict[str, int], tuple[int, ...], tuple[tuple[np.ndarray, np.ndarray], ...]]:
    """Number of each link's joint, see `Capsule`; of the joints from 1 on, their parents and places in them."""
    number = {PELVIS.link: 0} | {joint.link: index + 1 for index, joint in enumerate(JOINTS)}
    parents = tuple(number[joint.parent] for joint in JOINTS)
    return number, parents, tuple((np.asarray(j.pos, dtype=float), quat_matrix(j.quat)) for j in JOINTS)


def placements(joint_pos: Array) -> tuple[Array, Array]:
    """Where the pelvis and the joints' links are, in the pelvis's frame: (N, 30, 3) [m] and (N, 30, 3, 3).

    Args:
        joint_pos: [rad], shape (N, 29).
    """
    _, parents, places = _frames()
    pos = np.zeros((len(joint_pos), NUM_JOINTS + 1, 3))
    rot = np.zeros((len(joint_pos), NUM_JOINTS + 1, 3, 3))
    rot[:, 0] = np.eye(3)
    for index, (parent, (place, turn)) in enumerate(zip(parents, places, strict=True)):
        pos[:, index + 1] = pos[:, parent] + rot[:, parent] @ place
        rot[:, index + 1] = rot[:, parent] @ turn @ axis_turn(JOINTS[index].axis, joint_pos[:, index])
    return pos, rot


def robot_capsules() -> list[Capsule]:
    """Capsules of body, feet and racket."""
    number = _frames()[0]
    out = [
        Capsule(name, number[link], np.array(start, dtype=float), np.array(end, dtype=float), radius)
        for name, link, start, end, radius in BODY_CAPSULES
    ]
    x = [corner[0] for corner in FOOT_CORNERS]
    width = max(abs(corner[1]) for corner in FOOT_CORNERS)
    for side, foot in zip(SIDES, FEET, strict=True):
        # Sole to instep: as wide as the foot's contact spheres reach.
        heel, toe = (np.array([v, 0.0, FOOT_RADIUS - SOLE_HEIGHT + 0.01]) for v in (min(x), max(x)))
        out.append(Capsule(f"{side}_foot", number[foot], heel, toe, width + 0.5 * FOOT_RADIUS))
    return out + racket_capsules()


def racket_capsules() -> list[Capsule]:
    """Capsules of the racket: handle, hoop, and the strings as one bar along the middle."""
    hand, out = _frames()[0][LINK], []
    place, turn = RACKET.position, quat_matrix(QUAT)

    def at(x: float, y: float = 0.0) -> Array:
        return place + turn @ np.array([x, y, 0.0])

    long, wide = RACKET.half_length, RACKET.half_width
    out.append(Capsule("racket_handle", hand, at(-RACKET.center), at(-long), GRIP))
    angle = np.arange(HOOP_PIECES + 1) * (2.0 * np.pi / HOOP_PIECES)
    hoop = [at(long * np.cos(v), wide * np.sin(v)) for v in angle]
    for k in range(HOOP_PIECES):
        out.append(Capsule(f"racket_hoop{k}", hand, hoop[k], hoop[k + 1], RACKET.frame))
    # What passes through the hoop meets the strings.
    out.append(Capsule("racket_strings", hand, at(-long), at(long), RACKET.frame))
    return out


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
        joint: (C,) joint of each capsule, see `Capsule`. radius: (C,) [m].
    """

    def __init__(self, only: tuple[str, ...] | None = None) -> None:
        """Args:
        only: name endings of the parts that count; all when not given.
        """
        self.capsules = [c for c in robot_capsules() if only is None or c.name.endswith(only)]
        pairs, labels = [], []
        for i, a in enumerate(self.capsules):
            for j in range(i + 1, len(self.capsules)):
                names = part(a.name), part(self.capsules[j].name)
                if names[0] != names[1] and frozenset(names) not in _JOINED:
                    pairs.append((i, j))
                    labels.append("–".join(names))
        self.pairs, self.labels = np.array(pairs), labels
        self.joint = np.array([c.joint for c in self.capsules])
        self.radius = np.array([c.radius for c in self.capsules])
        self._ends = np.stack([[c.start, c.end] for c in self.capsules])
        self._half = 0.5 * np.linalg.norm(self._ends[:, 1] - self._ends[:, 0], axis=1)

    def axes(self, pos: Array, rot: Array) -> Array:
        """Ends (T, C, 2, 3) of all capsules' axes in the world, given the placements of the joints, see `near`."""
        return pos[:, self.joint, None] + np.einsum("tcij,cej->tcei", rot[:, self.joint], self._ends)

    def near(self, pos: Array, rot: Array, within_m: float = 0.0) -> Near:
        """All pairs nearer than `within_m`, in frame order.

        Args:
            pos, rot: placements of the root and the joints, (T, n+1, 3), (T, n+1, 3, 3).
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
