"""What a spectator sees of a player without a robot: a wall that balls come back from, or a ball machine.

Neither is recorded: where they stand follows from the ball. Frame as in :mod:`sim.court`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.playback import JUMP_SPEED
from sim.recording import Recording
from sim.scene import BACKSTOP, BALL_RADIUS

TURNED_BY = 6.0
"""A wall changed the ball's speed along the court by this much at least, [m/s]: it returns no ball slower than 8."""
HOME = {"wall": 12.5, "machine": 9.5}
"""Distance from the net of a player that no ball tells of, [m]."""
ROOM = 0.3
"""A wall stays so far behind a ball that it lets pass, [m]."""
TRAVEL = 0.8
"""A machine takes so long to its next place, [s]."""


@dataclass(frozen=True)
class StandIn:
    """A player without a robot, over time.

    Attributes:
        kind: "wall" or "machine".
        place: (T, 3), [m]. Of a wall the point at which its face stands on the ground, in the court's middle; of a
            machine the point that balls leave from.
        fps: frames a second.
    """

    kind: str
    place: np.ndarray
    fps: float

    def at(self, t: float) -> np.ndarray:
        """Place at a time [s] of the recording, (3,), [m]."""
        exact = min(max(t * self.fps, 0.0), len(self.place) - 1.0)
        low = int(exact + 1e-6)
        high = min(low + 1, len(self.place) - 1)
        return self.place[low] + max(exact - low, 0.0) * (self.place[high] - self.place[low])


def stand_in(recording: Recording) -> StandIn | None:
    """The player without a robot of a recorded match; None where there is none."""
    if len(recording.players) != 2 or recording.num_robots != 1:
        return None
    robot = recording.qpos.reshape(recording.num_frames, -1)[0, 0]
    side = 1 if robot <= 0.0 else 0
    kind = recording.players[side]
    if kind not in HOME:
        return None
    way = 1.0 if side else -1.0
    place = np.tile([way * HOME[kind], 0.0, 0.0], (recording.num_frames, 1))
    if kind == "wall":
        place[:, 0] = way * _wall(recording, way)
    else:
        place[:, 2] = 1.0
        _machine(recording, way, place)
    return StandIn(kind, place, recording.fps)


def _same_ball(recording: Recording) -> np.ndarray:
    """Whether the ball of a frame is that of the frame before, (T,) bool."""
    visible = recording.ball_visible
    step = np.linalg.norm(np.diff(recording.ball_pos, axis=0), axis=1) * recording.fps
    return np.concatenate([[False], visible[1:] & visible[:-1] & (step < JUMP_SPEED)])


def _wall(recording: Recording, way: float) -> np.ndarray:
    """Distance of the wall's face from the net, (T,), [m].

    While a ball is in its half, the wall is where it will meet it; in between it slides to the next place. A ball that
    it lets pass, since that is out, stays in front of it.
    """
    x, same = way * recording.ball_pos[:, 0], _same_ball(recording)
    speed = np.append(np.diff(x), 0.0) * recording.fps
    turned = np.zeros(len(x), dtype=bool)
    turned[1:-1] = same[1:-1] & same[2:] & (speed[:-2] > 0.0) & (speed[1:-1] < speed[:-2] - TURNED_BY)
    turned &= (x > 0.0) & (speed < 0.0)
    result = np.full(len(x), np.nan)
    i = 0
    while i < len(x):
        if not (recording.ball_visible[i] and x[i] > 0.0 and speed[i] > 0.0):
            i += 1
            continue
        end = i
        while end + 1 < len(x) and same[end + 1] and x[end + 1] > 0.0 and not turned[end]:
            end += 1
        deepest = x[i : end + 1].max()
        # The ball's centre was recorded; its skin met the wall.
        met = x[end] + BALL_RADIUS if turned[end] else min(deepest + ROOM, BACKSTOP - ROOM)
        last = _latest(result[:i])
        result[i : end + 1] = met if turned[end] else max(met, HOME["wall"] if last is None else last)
        i = end + 1
    return _glide(result, HOME["wall"])


def _machine(recording: Recording, way: float, place: np.ndarray) -> None:
    """Write the points that balls left from, (T, 3), [m], where there were any."""
    new = recording.ball_visible & ~_same_ball(recording) & (way * recording.ball_pos[:, 0] > 0.0)
    releases = np.flatnonzero(new)
    if len(releases) == 0:
        return
    for axis in range(3):
        known = np.full(len(place), np.nan)
        for release, until in zip(releases, [*releases[1:], len(place)], strict=True):
            stay = max(release + 1, until - round(TRAVEL * recording.fps))
            known[release:stay] = recording.ball_pos[release, axis]
        place[:, axis] = _glide(known, 0.0)


def _latest(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known[-1]) if len(known) else None


def _glide(known: np.ndarray, fallback: float) -> np.ndarray:
    """Fill the gaps of a path (T,), NaN where it is not known, by smooth moves from place to place."""
    where = np.flatnonzero(np.isfinite(known))
    if len(where) == 0:
        return np.full(len(known), fallback)
    frames = np.arange(len(known))
    nearest = np.clip(np.searchsorted(where, frames, side="right") - 1, 0, len(where) - 1)
    low, high = where[nearest], where[np.minimum(nearest + 1, len(where) - 1)]
    share = np.clip((frames - low) / np.maximum(high - low, 1), 0.0, 1.0)
    share = share**2 * (3.0 - 2.0 * share)
    return known[low] + share * (known[high] - known[low])
