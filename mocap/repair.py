"""Glitches mended where they are: in the joints' rotations, so that bones keep their lengths.

A glitch of a limb is a wrong marker seen through a solved skeleton: the joints before and after it all turn.
So all joints of the limb are bridged over its frames by a cubic on SO(3), the rest of the body is left as it
was. Only where the trunk itself jumps is the whole body bridged.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mocap.clip import Clip
from mocap.filters import runs
from mocap.glitches import LIMBS, Glitch
from mocap.rotations import Array, continuous, quat_exp, quat_inverse, quat_log, quat_product
from mocap.skeleton import Mapping

# A joint that is turned by this much more [rad] after a gap than its speed explains has been described anew.
FLIP_RAD = 0.8
# Bridges up to this long follow the speeds at both sides; longer ones lean to the straight way [s]. Over
# more than the second figure nothing is invented: the frames are only marked.
BRIDGE_S, LONGEST_S = 0.15, 0.5


def repair(clip: Clip, glitches: list[Glitch], mapping: Mapping) -> tuple[Clip, list[bool]]:
    """Mend glitches.

    Args:
        clip: the clip.
        glitches: as `mocap.glitches.find_glitches` reports them for the clip's body.
        mapping: which joints are which points.

    Returns:
        The mended clip, and for each glitch whether it was mended: false when it is longer than `LONGEST_S`
        and no turned foot or hand that can be turned back, or covers the whole clip.
    """
    joints = limb_joints(clip, mapping)
    rotations, translations = clip.rotations.copy(), clip.translations.copy()
    moving = np.flatnonzero(np.ptp(translations, axis=0).max(axis=1) > 0.0)
    bad = {part: np.zeros(clip.frames, dtype=bool) for part in joints}
    mended = []
    for g in glitches:
        a, b = max(g.start, 0), min(g.stop, clip.frames)
        ends = a == 0 or b == clip.frames
        long = (b - a) > (0.1 if ends else LONGEST_S) * clip.fps + 2
        if g.kind == "flip" and b - a > BRIDGE_S * clip.fps and not ends:
            mended.append(_turn_back(rotations, joints[g.part], a, b))
        elif long or (a == 0 and b == clip.frames):
            mended.append(False)
        else:
            bad[g.part][a:b] = True
            mended.append(True)
    for part, frames in bad.items():
        for a, b in runs(frames):
            _bridge_rotations(rotations, joints[part], a, b, clip.fps, frames)
            _bridge_vectors(translations, np.intersect1d(joints[part], moving), a, b, clip.fps, frames)
    return replace(clip, rotations=continuous(rotations), translations=translations), mended


def bridge(clip: Clip, gaps: list[tuple[np.ndarray, int, int]]) -> Clip:
    """The clip with frames start … stop-1 of some joints bridged: (joint indices, start, stop) each."""
    if not gaps:
        return clip
    rotations, translations = clip.rotations.copy(), clip.translations.copy()
    moving = np.flatnonzero(np.ptp(translations, axis=0).max(axis=1) > 0.0)
    bad = np.zeros(clip.frames, dtype=bool)
    for joints, a, b in gaps:
        _bridge_rotations(rotations, joints, a, b, clip.fps, bad)
        _bridge_vectors(translations, np.intersect1d(joints, moving), a, b, clip.fps, bad)
    return replace(clip, rotations=continuous(rotations), translations=translations)


def limb_joints(clip: Clip, mapping: Mapping) -> dict[str, np.ndarray]:
    """Joint indices of each limb (`LIMBS`) and of the "body" (all): everything from the joint that moves only
    this limb outward.
    """
    found, _ = mapping.resolve(clip.joint_names)
    inverse: dict[int, list[str]] = {}
    for point, j in found.items():
        inverse.setdefault(j, []).append(point)
    count = len(clip.joint_names)
    below = [set(inverse.get(j, ())) for j in range(count)]
    for j in range(count - 1, 0, -1):
        if clip.parents[j] >= 0:
            below[clip.parents[j]] |= below[j]
    out = {"body": np.arange(count)}
    for part, points in LIMBS.items():
        own = set(points)
        if part.endswith("_leg"):
            # The hip's joint turns the thigh; its place belongs to the pelvis.
            own = own | {f"{part.split('_')[0]}_hip"}
        inside = [bool(below[j]) and below[j] <= own for j in range(count)]
        for j in range(1, count):
            p = clip.parents[j]
            inside[j] = inside[j] or (p >= 0 and inside[p])
        out[part] = np.flatnonzero(inside)
    if not len(out["head"]):
        # The head's joint has an end site that is the point: what turns it is the neck.
        out["head"] = np.array([found["neck"]])
    return out


def _bridge_rotations(q: Array, joints: np.ndarray, a: int, b: int, fps: float, bad: np.ndarray) -> None:
    """Replace frames a … b-1 of some joints; held at the clip's ends."""
    if a == 0 or b == len(q):
        q[a:b, joints] = q[b, joints] if a == 0 else q[a - 1, joints]
        return
    n = b - a + 1
    p, r = q[a - 1][joints], q[b][joints]
    chord = quat_log(quat_product(quat_inverse(p), r))

    def rate(i: int, j: int) -> Array | None:
        """Mean turn per frame between two good frames."""
        if i < 0 or j >= len(q) or bad[i : j + 1].any():
            return None
        return quat_log(quat_product(quat_inverse(q[i][joints]), q[j][joints])) / (j - i)

    lean = min(1.0, BRIDGE_S * fps / n)
    before, after = rate(a - 3, a - 1), rate(b, b + 2)
    usual = sum(0.0 if v is None else np.linalg.norm(v, axis=-1) for v in (before, after))
    if np.any(np.linalg.norm(chord, axis=-1) > FLIP_RAD + n * usual):
        # A twist moved from one joint to the next meanwhile: half-way between, the limb would point anywhere.
        middle = (a + b) // 2
        q[a:middle, joints], q[middle:b, joints] = p, r
        return
    start, stop = (
        chord if v is None else _bounded(v * n, chord) * lean + chord * (1.0 - lean) for v in (before, after)
    )
    t = (np.arange(1, n) / n)[:, None, None]
    v = start * t * (1 - t) ** 2 + chord * t * t * (3 - 2 * t) + stop * t * t * (t - 1)
    q[a:b, joints] = quat_product(np.broadcast_to(p, (b - a, *p.shape)), quat_exp(v))


def _bridge_vectors(x: Array, joints: np.ndarray, a: int, b: int, fps: float, bad: np.ndarray) -> None:
    """The same for translations (T, J, 3)."""
    if not len(joints):
        return
    if a == 0 or b == len(x):
        x[a:b, joints] = x[b, joints] if a == 0 else x[a - 1, joints]
        return
    n = b - a + 1
    p, chord = x[a - 1][joints], x[b][joints] - x[a - 1][joints]
    lean = min(1.0, BRIDGE_S * fps / n)

    def slope(i: int, j: int) -> Array:
        if i < 0 or j >= len(x) or bad[i : j + 1].any():
            return chord
        return (x[j][joints] - x[i][joints]) / (j - i) * n * lean + chord * (1.0 - lean)

    start, stop = slope(a - 3, a - 1), slope(b, b + 2)
    t = (np.arange(1, n) / n)[:, None, None]
    x[a:b, joints] = p + start * t * (1 - t) ** 2 + chord * t * t * (3 - 2 * t) + stop * t * t * (t - 1)


def _bounded(slope: Array, chord: Array) -> Array:
    """Slopes no longer than the chord and half a radian: what spins at the gap's edge is not carried over."""
    most = np.linalg.norm(chord, axis=-1, keepdims=True) + 0.5
    size = np.linalg.norm(slope, axis=-1, keepdims=True)
    return slope * np.minimum(1.0, most / np.maximum(size, 1e-9))


def _turn_back(q: Array, joints: np.ndarray, a: int, b: int) -> bool:
    """Undo a constant wrong turn of one joint of a limb between frames a and b, if there is one."""
    steps = quat_log(quat_product(quat_inverse(q[a - 1][joints]), q[a][joints]))
    j = int(joints[np.argmax(np.linalg.norm(steps, axis=-1))])
    before, first, final, after = q[a - 1, j], q[a, j], q[b - 1, j], q[b, j]
    # The turn may stand on either side of the true rotation.
    right = quat_product(quat_inverse(before), first)
    left = quat_product(first, quat_inverse(before))
    candidates = [
        (quat_product(q[a:b, j], quat_inverse(right)), quat_product(final, quat_inverse(right))),
        (quat_product(quat_inverse(left), q[a:b, j]), quat_product(quat_inverse(left), final)),
    ]
    errors = [
        float(np.linalg.norm(quat_log(quat_product(quat_inverse(end), after)))) for _, end in candidates
    ]
    best = int(np.argmin(errors))
    turn = float(np.linalg.norm(quat_log(right)))
    if errors[best] > 0.35 * turn:
        return False
    # What is left at the far end is spread over the stretch.
    left_over = quat_log(quat_product(quat_inverse(candidates[best][1]), after))
    t = (np.arange(1, b - a + 1) / (b - a + 1))[:, None]
    q[a:b, j] = quat_product(candidates[best][0], quat_exp(left_over * t))
    return True
