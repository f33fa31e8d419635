"""The robot's parts and its racket as capsules, and which of them come near each other.

The body is `BODY_CAPSULES` with two more for the feet; the racket is a handle and the hoop of its head as thin
capsules. Parts that are joined, or that the MuJoCo model lets overlap, are left out. No more than numpy and numba.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy import ndarray as Array

from humanoid.compiled import compiled, record, rows
from humanoid.joints import JOINTS, NUM_JOINTS, PELVIS
from humanoid.racket import LINK, QUAT, RACKET
from humanoid.rotations import quat_matrix

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


_LINK = record([("parent", "i8"), ("axis", "i8"), ("place", "f8", (3,)), ("turn", "f8", (3, 3))])
"""A joint's link: its parent's number, the joint's axis, and where it is in the parent [m]."""
_CAPSULE = record([("joint", "i8"), ("ends", "f8", (2, 3)), ("half", "f8"), ("radius", "f8")])
"""A capsule, see `Capsule`, and half the length of its axis [m]."""
_PAIR = record([("first", "i8"), ("second", "i8"), ("parts", "i8")])
"""Two capsules, and the pair of parts that they belong to."""
_NUMBER = {PELVIS.link: 0} | {joint.link: index + 1 for index, joint in enumerate(JOINTS)}
"""Number of each link's joint, see `Capsule`."""


@cache
def _links() -> Array:
    rows = [(_NUMBER[j.parent], "xyz".index(j.axis), j.pos, quat_matrix(j.quat)) for j in JOINTS]
    return np.array(rows, dtype=_LINK)


def placements(joint_pos: Array) -> tuple[Array, Array]:
    """Where the pelvis and the joints' links are, in the pelvis's frame: (N, 30, 3) [m] and (N, 30, 3, 3).

    Args:
        joint_pos: [rad], shape (N, 29).
    """
    angles = rows("joint_pos", joint_pos, NUM_JOINTS)
    pos = np.empty((len(angles), NUM_JOINTS + 1, 3))
    rot = np.empty((len(angles), NUM_JOINTS + 1, 3, 3))
    _place_all(angles, _links(), pos, rot)
    return pos, rot


@compiled
def _place_all(angles, links, pos, rot):
    for i in range(len(angles)):
        _place(angles[i], links, pos[i], rot[i])


@compiled
def _place(angles, links, pos, rot):
    """`placements` of one robot, into `pos` (30, 3) and `rot` (30, 3, 3)."""
    pos[0] = 0.0
    rot[0] = np.eye(3)
    for k in range(len(links)):
        link, cos, sin = links[k], np.cos(angles[k]), np.sin(angles[k])
        parent, axis = link.parent, link.axis
        second, third = (axis + 1) % 3, (axis + 2) % 3
        for row in range(3):
            at, x, y, z = pos[parent, row], 0.0, 0.0, 0.0
            for m in range(3):
                share = rot[parent, row, m]
                at += share * link.place[m]
                x += share * link.turn[m, axis]
                y += share * link.turn[m, second]
                z += share * link.turn[m, third]
            pos[k + 1, row] = at
            rot[k + 1, row, axis] = x
            rot[k + 1, row, second] = y * cos + z * sin
            rot[k + 1, row, third] = z * cos - y * sin


def robot_capsules() -> list[Capsule]:
    """Capsules of body, feet and racket."""
    out = [
        Capsule(name, _NUMBER[link], np.array(start, dtype=float), np.array(end, dtype=float), radius)
        for name, link, start, end, radius in BODY_CAPSULES
    ]
    x = [corner[0] for corner in FOOT_CORNERS]
    width = max(abs(corner[1]) for corner in FOOT_CORNERS)
    for side, foot in zip(SIDES, FEET, strict=True):
        # Sole to instep: as wide as the foot's contact spheres reach.
        heel, toe = (np.array([v, 0.0, FOOT_RADIUS - SOLE_HEIGHT + 0.01]) for v in (min(x), max(x)))
        out.append(Capsule(f"{side}_foot", _NUMBER[foot], heel, toe, width + 0.5 * FOOT_RADIUS))
    return out + racket_capsules()


def racket_capsules() -> list[Capsule]:
    """Capsules of the racket: handle, hoop, and the strings as one bar along the middle."""
    hand, out = _NUMBER[LINK], []
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
        parts: the L names that occur in `labels`, once each.
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
        parts, number = np.unique(labels, return_inverse=True)
        self.parts = tuple(parts.tolist())
        self._pairs = np.array([(*pair, k) for pair, k in zip(pairs, number, strict=True)], dtype=_PAIR)
        self._capsules = np.array(
            [
                (c.joint, (c.start, c.end), 0.5 * np.linalg.norm(c.end - c.start), c.radius)
                for c in self.capsules
            ],
            dtype=_CAPSULE,
        )

    def axes(self, pos: Array, rot: Array) -> Array:
        """Ends (T, C, 2, 3) of all capsules' axes in the world, given the placements of the joints, see `near`."""
        return pos[:, self.joint, None] + np.einsum(
            "tcij,cej->tcei", rot[:, self.joint], self._capsules["ends"]
        )

    def near(self, pos: Array, rot: Array, within_m: float = 0.0) -> Near:
        """All pairs nearer than `within_m`, in frame order.

        Args:
            pos, rot: placements of the root and the joints, (T, n+1, 3), (T, n+1, 3, 3).
            within_m: gap between the surfaces [m].
        """
        ends = np.array(self.axes(pos, rot), dtype=np.float64, order="C")
        found = np.empty(0, dtype=_FOUND)
        count = _find(ends, self._capsules, self._pairs, float(within_m), found)
        found = np.empty(count, dtype=_FOUND)
        _find(ends, self._capsules, self._pairs, float(within_m), found)
        return Near(*(np.ascontiguousarray(found[name]) for name in _FOUND.names or ()))

    def tally(self, joint_pos: Array, within_m: float, closest_m: Array, overlaps: Array) -> tuple[int, int]:
        """Count which parts of some robots overlap; poses that are not finite are left out.

        Args:
            joint_pos: [rad], shape (N, 29).
            within_m: gaps wider than this are not looked at [m].
            closest_m: smallest gap of each pair of `parts` [m], (L,), lowered in place.
            overlaps: robots in which they overlap, (L,) int64, added to in place.

        Returns:
            Poses that are finite, and those of them in which something overlaps.
        """
        angles = rows("joint_pos", joint_pos, NUM_JOINTS)
        finite, hit = _tally(
            angles, _links(), self._capsules, self._pairs, float(within_m), closest_m, overlaps
        )
        return int(finite), int(hit)


@dataclass(frozen=True)
class Near:
    """Pairs that are near each other.

    Attributes:
        frame, pair: (N,) frame number, row of `Bodies.pairs`.
        gap: (N,) between the surfaces, negative where they overlap [m].
        p, q: (N, 3) nearest points of the two axes in the world [m].
    """

    frame: Array
    pair: Array
    gap: Array
    p: Array
    q: Array


_FOUND = record([("frame", "i8"), ("pair", "i8"), ("gap", "f8"), ("p", "f8", (3,)), ("q", "f8", (3,))])
"""A row of `Near`."""


def closest(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, Array]:
    """Parameters (N,), (N,) in [0, 1] of the nearest points of segments a–b and c–d, each end (N, 3).

    The minimum of a quadratic over a square: the free minimum clamped along one side, then along the other,
    taken in both orders, the nearer of the two.
    """
    ends = np.stack([a, b, c, d], axis=1, dtype=np.float64)
    st = np.empty((len(ends), 2))
    _closest_all(ends, st)
    return st[:, 0], st[:, 1]


@compiled
def _closest_all(ends, st):
    for i in range(len(ends)):
        st[i, 0], st[i, 1] = _closest(ends[i, :2], ends[i, 2:])


@compiled
def _closest(first, second):
    """`closest` of one pair of segments, each (2, 3)."""
    uu = vv = uv = uw = vw = 0.0
    for k in range(3):
        u, v, w = first[1, k] - first[0, k], second[1, k] - second[0, k], first[0, k] - second[0, k]
        uu += u * u
        vv += v * v
        uv += u * v
        uw += u * w
        vw += v * w
    uu, vv = max(uu, 1e-12), max(vv, 1e-12)
    free = uu * vv - uv**2
    s = _share((uv * vw - vv * uw) / max(free, 1e-18)) if free > 1e-9 * uu * vv else 0.0
    t = _share((uv * s + vw) / vv)
    s = _share((uv * t - uw) / uu)
    return s, _share((uv * s + vw) / vv)


@compiled
def _share(value):
    return min(max(value, 0.0), 1.0)


@compiled
def _gap(ends, capsules, i, j, p, q):
    """Gap between the surfaces of two capsules [m]; the nearest points of their axes go to `p` and `q` (3,)."""
    s, t = _closest(ends[i], ends[j])
    square = 0.0
    for k in range(3):
        p[k] = ends[i, 0, k] + s * (ends[i, 1, k] - ends[i, 0, k])
        q[k] = ends[j, 0, k] + t * (ends[j, 1, k] - ends[j, 0, k])
        square += (p[k] - q[k]) ** 2
    return np.sqrt(square) - capsules[i].radius - capsules[j].radius


@compiled
def _gaps(ends, capsules, pairs, within, middle, gaps, points):
    """Gaps (P,) of one robot's pairs and their nearest points (P, 2, 3); infinite where spheres around the capsules are
    farther apart than `within`. `middle` (C, 3) is for them."""
    for c in range(len(capsules)):
        for k in range(3):
            middle[c, k] = 0.5 * (ends[c, 0, k] + ends[c, 1, k])
    for n in range(len(pairs)):
        i, j, away = pairs[n].first, pairs[n].second, 0.0
        for k in range(3):
            away += (middle[i, k] - middle[j, k]) ** 2
        reach = capsules[i].half + capsules[i].radius + capsules[j].half + capsules[j].radius + within
        gaps[n] = np.inf
        if away < reach**2:
            gaps[n] = _gap(ends, capsules, i, j, points[n, 0], points[n, 1])


@compiled
def _find(ends, capsules, pairs, within, found):
    """Write pairs nearer than `within` as far as `found` has room; how many there are."""
    middle, gaps, points = np.empty((len(capsules), 3)), np.empty(len(pairs)), np.empty((len(pairs), 2, 3))
    count = 0
    for frame in range(len(ends)):
        _gaps(ends[frame], capsules, pairs, within, middle, gaps, points)
        for n in range(len(pairs)):
            if not gaps[n] < within:
                continue
            if count < len(found):
                row = found[count]
                row.frame, row.pair, row.gap = frame, n, gaps[n]
                row.p[:], row.q[:] = points[n, 0], points[n, 1]
            count += 1
    return count


@compiled
def _tally(angles, links, capsules, pairs, within, closest, overlaps):
    pos, rot = np.empty((len(links) + 1, 3)), np.empty((len(links) + 1, 3, 3))
    ends, middle = np.empty((len(capsules), 2, 3)), np.empty((len(capsules), 3))
    gaps, points, least = np.empty(len(pairs)), np.empty((len(pairs), 2, 3)), np.empty(len(closest))
    finite = overlapping = 0
    for robot in range(len(angles)):
        if not np.isfinite(angles[robot]).all():
            continue
        finite += 1
        _place(angles[robot], links, pos, rot)
        _place_axes(capsules, pos, rot, ends)
        _gaps(ends, capsules, pairs, within, middle, gaps, points)
        least[:] = np.inf
        for n in range(len(pairs)):
            if gaps[n] < within:
                least[pairs[n].parts] = min(least[pairs[n].parts], gaps[n])
        # A racket has many pieces: parts count once a step and robot.
        hit = False
        for k in range(len(least)):
            closest[k] = min(closest[k], least[k])
            overlaps[k] += least[k] < 0.0
            hit |= least[k] < 0.0
        overlapping += hit
    return finite, overlapping


@compiled
def _place_axes(capsules, pos, rot, ends):
    """`Bodies.axes` of one robot, into `ends` (C, 2, 3)."""
    for c in range(len(capsules)):
        joint = capsules[c].joint
        for end in range(2):
            for row in range(3):
                at = pos[joint, row]
                for k in range(3):
                    at += rot[joint, row, k] * capsules[c].ends[end, k]
                ends[c, end, row] = at
