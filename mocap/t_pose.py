"""T-poses and A-poses that a recording starts or ends with: calibration, not motion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mocap.filters import runs, velocity
from mocap.glitches import Glitch
from mocap.rotations import Array, normalize
from mocap.skeleton import SIDES, Body

# Arms of a T-pose point outward within 26° of the line through the shoulders.
T_COSINE = 0.9
# Arms of an A-pose hang at 25 to 65° below it, straight, alike, in the plane of the chest.
A_DROP_RAD = (0.44, 1.13)
A_ALIKE_RAD, A_FORWARD = 0.2, 0.3
# An A-pose is told from somebody who stands with his arms a little out by being held still [m/s], this long
# [s].
A_STILL_M_S, A_HELD_S = 0.12, 0.5
# Pauses of the pose that still belong to it; the moment of leaving it lasts from the second to the third
# figure [s], until neither arm is within the angle of the line through the shoulders.
PAUSE_S, LEAVE_S, LONGEST_LEAVE_S = 0.3, 0.2, 0.8
LEFT_COSINE = 0.7


@dataclass(frozen=True)
class Lead:
    """What a clip starts and ends with: "T", "A" or "" and the number of frames to cut at each end."""

    start_pose: str
    start: int
    end_pose: str
    end: int


def find_lead(body: Body, jumps: list[Glitch] | None = None) -> Lead:
    """Calibration poses at the two ends of a clip.

    Args:
        body: the human.
        jumps: its glitches; a sudden step ends the lead exactly, where otherwise a moment of leaving the
            pose is cut too.

    A clip that is nothing but a pose is left alone.
    """
    jumps = jumps or []
    steps = [g.start + 1 for g in jumps if g.kind == "cut"]
    into = steps + [g.stop for g in jumps if g.start == 0]
    out_of = steps + [g.start for g in jumps if g.stop == body.frames]
    poses = {"T": t_pose(body), "A": a_pose(body)}
    left = _left(body)
    start_pose, start = _first(poses, left, into, body.fps)
    backward = {k: v[::-1] for k, v in poses.items()}
    end_pose, end = _first(backward, left[::-1], [body.frames - c for c in out_of], body.fps)
    if start + end > body.frames - max(3, round(0.2 * body.fps)):
        return Lead("", 0, "", 0)
    return Lead(start_pose, start, end_pose, end)


def t_pose(body: Body) -> np.ndarray:
    """Frames (T,) bool with both arms stretched out sideways and the trunk upright."""
    across, out = _across(body), np.ones(body.frames, dtype=bool)
    for upper, fore, sign in _arms(body):
        out &= np.sum(upper * across, axis=1) * sign > T_COSINE
        out &= np.sum(fore * across, axis=1) * sign > T_COSINE
    return out & _upright(body)


def a_pose(body: Body) -> np.ndarray:
    """Frames (T,) bool of a held A-pose."""
    across, out = _across(body), np.ones(body.frames, dtype=bool)
    drops = []
    for upper, fore, sign in _arms(body):
        arm = normalize(upper + fore)
        drops.append(np.arcsin(np.clip(-arm[:, 2], -1.0, 1.0)))
        out &= np.sum(upper * fore, axis=1) > T_COSINE
        out &= np.sum(arm * across, axis=1) * sign > 0.35
        out &= np.abs(np.sum(arm * np.cross(across, [0.0, 0.0, 1.0]), axis=1)) < A_FORWARD
        out &= (drops[-1] > A_DROP_RAD[0]) & (drops[-1] < A_DROP_RAD[1])
    out &= np.abs(drops[0] - drops[1]) < A_ALIKE_RAD
    for side in SIDES:
        for point in ("wrist", "ankle"):
            speed = np.linalg.norm(velocity(body[f"{side}_{point}"], body.fps), axis=1)
            out &= speed < A_STILL_M_S * max(1.0, body.leg_m / 0.8)
    held = np.zeros_like(out)
    for a, b in runs(out & _upright(body)):
        if b - a >= A_HELD_S * body.fps:
            held[a:b] = True
    return held


def _first(poses: dict[str, np.ndarray], left: np.ndarray, steps: list[int], fps: float) -> tuple[str, int]:
    """The pose at the beginning and the frames that it takes, with the moment of leaving it.

    Args:
        poses: frames (T,) of each pose.
        left: frames (T,) in which neither arm is near the pose.
        steps: frames that follow on a sudden step.
        fps: frames a second.
    """
    for name, pose in poses.items():
        # An A-pose is still only once it has been taken.
        first = int(np.argmax(pose)) if name == "A" and pose.any() else 0
        if not pose[first] or first > PAUSE_S * fps:
            continue
        end = first
        for a, b in runs(pose):
            if a - end > PAUSE_S * fps:
                break
            end = b
        soon, late = end + round(LEAVE_S * fps), end + round(LONGEST_LEAVE_S * fps)
        gone = next((i for i in range(end, min(late, len(pose))) if left[i]), late)
        cut = next((c for c in sorted(steps) if end <= c <= soon), None)
        return name, min(cut or max(gone, soon), len(pose))
    return "", 0


def _left(body: Body) -> np.ndarray:
    """Frames (T,) in which neither arm points outward any more."""
    across, out = _across(body), np.ones(body.frames, dtype=bool)
    for upper, fore, sign in _arms(body):
        out &= np.sum(normalize(upper + fore) * across, axis=1) * sign < LEFT_COSINE
    return out


def _arms(body: Body) -> list[tuple[Array, Array, float]]:
    """Unit vectors (T, 3) along upper arm and forearm, and the side's sign along the shoulders' line."""
    return [
        (
            normalize(body[f"{side}_elbow"] - body[f"{side}_shoulder"]),
            normalize(body[f"{side}_wrist"] - body[f"{side}_elbow"]),
            sign,
        )
        for side, sign in zip(SIDES, (1.0, -1.0), strict=True)
    ]


def _across(body: Body) -> Array:
    """Unit vector (T, 3) from the right to the left shoulder."""
    return normalize(body["left_shoulder"] - body["right_shoulder"])


def _upright(body: Body) -> np.ndarray:
    return normalize(body["neck"] - body["pelvis"])[:, 2] > 0.9
