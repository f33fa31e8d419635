"""Joints that stop while the body moves on: a marker was lost and its last value written again and again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mocap.clip import Clip
from mocap.filters import runs
from mocap.repair import LONGEST_S, bridge
from mocap.rotations import Array, quat_inverse, quat_log, quat_product

# A value that changes by less than this is the same value: rotation [rad] and share of the skeleton's size.
SAME = 1e-6
# Frozen steps in a row that count, and how far [rad] a joint must have been expected to turn meanwhile by
# its speed before and after.
LEAST_STEPS, EXPECTED_RAD = 3, 0.06
# Share of a clip over which a joint may stand and still count as one that moves.
MOST_FROZEN = 0.9


@dataclass(frozen=True)
class Dropout:
    """Frames start … stop-1 in which one joint repeats frame start-1."""

    joint: str
    start: int
    stop: int


def find_dropouts(clip: Clip) -> list[Dropout]:
    """Joints whose rotation (or, for a skeleton of free points, position) repeats while it should move.

    A joint that hardly ever moves is no dropout, nor is a whole body that stands (`mocap.still`).
    """
    if clip.frames < 8:
        return []
    turn = np.linalg.norm(
        quat_log(quat_product(quat_inverse(clip.rotations[:-1]), clip.rotations[1:])), axis=2
    )
    size = max(float(np.abs(clip.offsets).max()), float(np.ptp(clip.translations[:, 0], axis=0).max()), 1e-9)
    shift = np.linalg.norm(np.diff(clip.translations, axis=0), axis=2) / size
    change = turn + shift
    frozen = change < SAME
    live = frozen.mean(axis=0) < MOST_FROZEN
    if live.sum() < 3:
        return []
    # While the whole body stands no joint is lost.
    alone = frozen[:, live].mean(axis=1) < 0.9
    found = []
    half = max(3, round(0.15 * clip.fps))
    for j in np.flatnonzero(live):
        for a, b in runs(frozen[:, j] & alone):
            if b - a < LEAST_STEPS:
                continue
            near = np.concatenate([change[max(0, a - half) : a, j], change[b + 1 : b + 1 + half, j]])
            if not len(near) or float(np.median(near)) * (b - a) < EXPECTED_RAD:
                continue
            if _is_stop(clip.rotations[:, j], a, b):
                continue
            found.append(Dropout(clip.joint_names[j], a + 1, b + 1))
    return sorted(found, key=lambda d: (d.start, d.joint))


def _is_stop(q: Array, a: int, b: int) -> bool:
    """Whether a joint (T, 4) holds the value that it has in frames a … b at another time too: an end stop (a
    straight elbow), not a lost marker.
    """
    same = np.abs(q - q[a]).max(axis=1) < SAME
    same[a : b + 1] = False
    return bool((same[1:] & same[:-1]).any())


def fill_dropouts(clip: Clip, dropouts: list[Dropout]) -> tuple[Clip, list[bool]]:
    """Bridge each dropout from its frozen value to where the joint comes back; those longer than `LONGEST_S`
    or at the clip's ends are left and reported as false.
    """
    done = [
        d.start > 0 and d.stop < clip.frames and d.stop - d.start <= LONGEST_S * clip.fps for d in dropouts
    ]
    gaps = [
        (np.array([clip.joint_names.index(d.joint)]), d.start, d.stop)
        for d, possible in zip(dropouts, done, strict=True)
        if possible
    ]
    return bridge(clip, gaps), done


def dropout_frames(dropouts: list[Dropout], frames: int) -> np.ndarray:
    """Which frames (T,) bool have a lost joint."""
    bad = np.zeros(frames, dtype=bool)
    for d in dropouts:
        bad[d.start : d.stop] = True
    return bad
