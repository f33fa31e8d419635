"""Find and repair what is wrong with recorded motion: T-pose lead-ins, marker glitches, copies."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mocap.filters import runs, velocity
from mocap.rotations import normalize
from mocap.skeleton import SIDES, Body

# Fastest believable speeds relative to the pelvis [m/s]: chosen, without a source, above the fastest of the
# clean clips tried (wrists of 9 m/s in groundstrokes, 11 m/s in serves) and below the 20 to 30 m/s of their
# marker glitches.
LIMB_M_S = {"hand": 18.0, "wrist": 14.0, "ankle": 13.0, "toe": 14.0}
OTHER_M_S = 10.0
PELVIS_M_S = 8.0


@dataclass(frozen=True)
class Cleaned:
    """A clean body and what was done: seconds cut off at the start, and which of the frames left (T,) were
    glitches.
    """

    body: Body
    trimmed_start_s: float
    glitches: np.ndarray


def clean(body: Body, *, trim_t_pose: bool = True, repair_glitches: bool = True) -> Cleaned:
    """Trim a T-pose at the start and repair marker glitches; what is not to be repaired is still counted."""
    skip = t_pose_frames(body) if trim_t_pose else 0
    if skip:
        body = replace(body, points=body.points[skip:])
    bad = glitch_frames(body)
    return Cleaned(repair(body, bad) if repair_glitches else body, skip / body.fps, bad)


def t_pose_frames(body: Body) -> int:
    """Number of frames at the start in which the body stands in a T-pose, plus the moment of leaving it; 0
    if none.

    A clip that is nothing but a T-pose is left alone.
    """
    both = np.ones(body.frames, dtype=bool)
    across = normalize(body["left_shoulder"] - body["right_shoulder"])
    for side, sign in zip(SIDES, (1.0, -1.0), strict=True):
        for a, b in (("shoulder", "elbow"), ("elbow", "wrist")):
            d = normalize(body[f"{side}_{b}"] - body[f"{side}_{a}"])
            both &= np.sum(d * across, axis=1) * sign > 0.9
    upright = normalize(body["neck"] - body["pelvis"])[:, 2] > 0.9
    pose = both & upright
    if not pose[0]:
        return 0
    # Small gaps at the start (a hand that sinks for a moment) still belong to it.
    end = 0
    for a, b in runs(pose):
        if a - end > 0.3 * body.fps:
            break
        end = b
    end += round(0.2 * body.fps)
    return end if end < body.frames - 2 else 0


def glitch_frames(body: Body) -> np.ndarray:
    """Frames (T,) bool in which a point moves faster than a person can, with one frame around for the
    marker's way back.
    """
    bad = np.zeros(body.frames, dtype=bool)
    if body.frames < 3:
        return bad
    pelvis = body["pelvis"]
    step = np.linalg.norm(np.diff(pelvis, axis=0), axis=1) * body.fps
    jumps = step > PELVIS_M_S
    for i, name in enumerate(body.names):
        if name == "pelvis":
            continue
        limit = LIMB_M_S.get(name.split("_")[-1], OTHER_M_S)
        relative = body.points[:, i] - pelvis
        jumps = jumps | (np.linalg.norm(np.diff(relative, axis=0), axis=1) * body.fps > limit)
    bad[:-1] |= jumps
    bad[1:] |= jumps
    # Between two jumps close together, and between a jump and an end, the marker is somewhere else.
    if bad.any():
        for a, b in runs(~bad):
            if b - a < 0.06 * body.fps:
                bad[a:b] = True
    return bad


def repair(body: Body, bad: np.ndarray) -> Body:
    """Replace bad frames by cubic interpolation between the good ones; held at the clip's ends."""
    if not bad.any() or bad.all():
        return body
    points = body.points.copy()
    speed = velocity(points, body.fps)
    for a, b in runs(bad):
        if a == 0:
            points[:b] = points[b]
        elif b == body.frames:
            points[a:] = points[a - 1]
        else:
            n = b - a + 1
            t = (np.arange(1, n) / n)[:, None, None]
            p, q = points[a - 1], points[b]
            # Slopes from outside the gap, halved toward the chord when the gap is long: no overshoot.
            chord = (q - p) * (body.fps / n)
            before = speed[max(a - 3, 0)] if not bad[max(a - 4, 0) : a - 1].any() else chord
            after = speed[min(b + 2, body.frames - 1)] if not bad[b : b + 4].any() else chord
            dt = n / body.fps
            points[a:b] = (
                p * (1 + 2 * t) * (1 - t) ** 2
                + before * dt * t * (1 - t) ** 2
                + q * t * t * (3 - 2 * t)
                + after * dt * t * t * (t - 1)
            )
    return replace(body, points=points)
