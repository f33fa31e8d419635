"""Stretches in which nothing happens: the capture was paused, or the person stood."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mocap.filters import close_gaps, low_pass, runs, velocity
from mocap.skeleton import Body

# A frame that repeats the one before, point for point [m]; how many make a pause [s].
SAME_M, DEAD_S = 1e-6, 0.1
# Fastest point of somebody who stands still [m/s] for a leg of 0.8 m, without what is faster than 2 Hz;
# for how long at least [s], and movements so short that they do not end it.
STILL_M_S, STILL_S, TWITCH_S = 0.12, 1.0, 0.2


@dataclass(frozen=True)
class Rest:
    """Frames start … stop-1: "dead" when every frame is the same, "still" when somebody stands."""

    kind: str
    start: int
    stop: int


def find_rests(body: Body) -> list[Rest]:
    """Dead and still stretches in time order; a dead one inside a still one stands for itself."""
    if body.frames < 3:
        return []
    change = np.abs(np.diff(body.points, axis=0)).max(axis=(1, 2))
    dead = np.zeros(body.frames, dtype=bool)
    for a, b in runs(change < SAME_M):
        if b - a >= max(2.0, DEAD_S * body.fps):
            dead[a : b + 1] = True
    speed = np.linalg.norm(velocity(low_pass(body.points, body.fps, 2.0), body.fps), axis=2).max(axis=1)
    slow = close_gaps(speed < STILL_M_S * body.leg_m / 0.8, round(TWITCH_S * body.fps), 0) & ~dead
    rests = [Rest("dead", a, b) for a, b in runs(dead)]
    rests += [Rest("still", a, b) for a, b in runs(slow) if b - a >= STILL_S * body.fps]
    return sorted(rests, key=lambda r: r.start)


def rest_frames(rests: list[Rest], frames: int) -> np.ndarray:
    """Which frames (T,) bool are at rest, dead or still."""
    out = np.zeros(frames, dtype=bool)
    for r in rests:
        out[r.start : r.stop] = True
    return out
