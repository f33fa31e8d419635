"""Footwork in a human motion: ready pose, split step, shuffle, crossover, run, walk, jump.

What each kind means here:

- `ready`: in place, feet apart, and legs bent or both hands in front at waist height or above. `stand`: in place, else.
- `walk`: one foot always on the ground, forward or backward. `run`: forward or backward with flight, or too fast to
  walk.
- `shuffle`: to the side, and the feet do not pass each other. `crossover`: to the side, and they do.
- `split_step`: a small hop off both feet that lands on both at once, wide, in place. `jump`: off the ground with both
  feet for longer or higher than a split step.

Everything comes from how the pelvis moves relative to where hips and shoulders face, and from the feet: how high they
are, how far apart, and whether they pass each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mocap.filters import close_gaps, low_pass, runs, velocity
from mocap.rotations import Array
from mocap.skeleton import SIDES, Body

# Speeds and lengths below are of a body with a leg of 0.8 m, and are scaled with the leg.
MOVING_M_S = 0.35
RUNNING_M_S = 2.1
# People change from walking to running at 2.0 to 2.2 m/s (Hreljac, Gait & Posture 1, 1993); with flight, slower.
JOGGING_M_S = 1.2
SIDEWAYS = 1.0
"""A move is sideways when the speed across is more than this times the speed along the facing."""
READY_WIDE_M, READY_CROUCH, READY_HANDS_M = 0.33, 0.05, 0.04
"""A ready pose: the feet at least so far apart, and the hips so much lower than upright (over the leg's length) or both
hands so far over the pelvis. People who stand or walk have their feet within 0.29 m, nine frames in ten; waiting tennis
players beyond 0.31 m."""
OFF_GROUND_M = 0.03
"""Toes higher than this above where they stand are off the ground."""
LOW_M, HIGH_M = 0.08, 0.2
"""A jump brings both toes over the lower one, unless they leave and land one by one at a run; over the higher one it is
a jump at any speed: runners never have both toes so high."""
SHORTEST_S = {"split_step": 0.06, "jump": 0.16}


@dataclass(frozen=True)
class HumanMove:
    """A piece of footwork, in frames of the motion.

    Attributes:
        kind: one of `humanoid.motion.MOVE_KINDS`.
        start, end: first frame, and the frame after the last.
        direction: "forward", "backward", "left", "right", or "" in place.
        speed_m_s: mean horizontal speed of the pelvis [m/s].
    """

    kind: str
    start: int
    end: int
    direction: str
    speed_m_s: float


@dataclass(frozen=True)
class Gait:
    """What footwork is told by, at every frame.

    Attributes:
        along, across: (T,) pelvis velocity forward and to the left of the facing, over a step [m/s].
        spread: (T,) how far the left foot is to the left of the right one [m]; negative: the feet have passed.
        wide: (T,) distance of the feet [m].
        lift: (T, 2) height of the left and right toe above where they stand [m].
        crouch: (T,) how much lower the hips are than in upright standing, over the leg's length.
        hands: (T,) height of the lower wrist over the pelvis [m]; negative when an arm hangs.
        size: leg length over 0.8 m.
    """

    along: Array
    across: Array
    spread: Array
    wide: Array
    lift: Array
    crouch: Array
    hands: Array
    size: float


def find_gait(body: Body) -> Gait:
    """Measure the gait of a body.

    Args:
        body: the human, clean and smooth; any rate.
    """
    fps = body.fps
    across = body["left_shoulder"] - body["right_shoulder"] + 2.0 * (body["left_hip"] - body["right_hip"])
    left = low_pass(across[:, :2], fps, 1.5)
    left /= np.maximum(np.linalg.norm(left, axis=1), 1e-6)[:, None]
    forward = np.stack([left[:, 1], -left[:, 0]], axis=1)
    v = velocity(low_pass(body["pelvis"][:, :2], fps, 1.5), fps)
    feet = {s: 0.5 * (body[f"{s}_ankle"] + body[f"{s}_toe"])[:, :2] for s in SIDES}
    gap = feet["left"] - feet["right"]
    lift = np.stack([_lift(body[f"{s}_toe"][:, 2], body[f"{s}_toe"], fps) for s in SIDES], axis=1)
    ankles = np.minimum(body["left_ankle"][:, 2], body["right_ankle"][:, 2])
    # Upright, the hips stand a leg's length above the ankles.
    hips = 0.5 * (body["left_hip"] + body["right_hip"])[:, 2] - np.minimum(ankles, np.percentile(ankles, 60))
    return Gait(
        along=np.sum(v * forward, axis=1),
        across=np.sum(v * left, axis=1),
        spread=np.sum(gap * left, axis=1),
        wide=np.linalg.norm(gap, axis=1),
        lift=lift,
        crouch=1.0 - hips / body.leg_m,
        hands=np.minimum(body["left_wrist"][:, 2], body["right_wrist"][:, 2]) - body["pelvis"][:, 2],
        size=body.leg_m / 0.8,
    )


def find_moves(body: Body) -> list[HumanMove]:
    """Footwork in time order, without overlaps; every frame belongs to some move.

    Args:
        body: the human, clean and smooth, any rate.
    """
    if body.frames < round(0.4 * body.fps):
        return []
    gait, fps = find_gait(body), body.fps
    labels = _steady(gait, fps)
    for start, end, kind in _hops(gait, fps):
        labels[start:end] = kind
    speed = np.hypot(gait.along, gait.across)
    moves = []
    for start, end in _pieces(labels):
        kind = str(labels[start])
        part = slice(start, end)
        mean = float(speed[part].mean())
        way = ""
        if kind in ("walk", "run", "shuffle", "crossover"):
            f, s = float(gait.along[part].mean()), float(gait.across[part].mean())
            if kind in ("shuffle", "crossover"):
                way = "left" if s > 0.0 else "right"
            else:
                way = "forward" if f >= 0.0 else "backward"
        moves.append(HumanMove(kind, start, end, way, mean))
    return moves


def _steady(g: Gait, fps: float) -> np.ndarray:
    """The kind (T,) of every frame, hops and jumps left out."""
    speed = np.hypot(g.along, g.across) / g.size
    flight = _share(np.asarray((g.lift > OFF_GROUND_M * g.size).all(axis=1)), fps, 0.35)
    # Whether the feet pass each other within half a step.
    passing = -_greatest(-g.spread, round(0.3 * fps)) < 0.0
    sideways = np.abs(g.across) > SIDEWAYS * np.abs(g.along)
    moving = close_gaps(speed > MOVING_M_S, round(0.2 * fps), round(0.3 * fps))
    run = (speed > RUNNING_M_S) | ((speed > JOGGING_M_S) & (flight > 0.08))
    low = (g.crouch > READY_CROUCH) | (g.hands > READY_HANDS_M * g.size)
    ready = low & (g.wide > READY_WIDE_M * g.size)
    labels = np.where(ready, "ready", "stand").astype("<U10")
    labels[moving] = "walk"
    labels[moving & run] = "run"
    labels[moving & sideways & ~passing] = "shuffle"
    labels[moving & sideways & passing] = "crossover"
    return _settle(labels, fps)


def _hops(g: Gait, fps: float) -> list[tuple[int, int, str]]:
    """Split steps and jumps: (start, end, kind) from take-off to a little after landing."""
    up = np.asarray((g.lift > 0.6 * OFF_GROUND_M * g.size).all(axis=1))
    speed = np.hypot(g.along, g.across) / g.size
    found = []
    for a, b in runs(up):
        air = (b - a) / fps
        high = float(g.lift[a:b].min(axis=1).max()) / g.size
        after = min(b, len(up) - 1)
        # Both feet leave and land together; a runner's do not.
        early, late = max(0, a - round(0.1 * fps)), min(len(up) - 1, b + round(0.1 * fps))
        together = (g.lift[early] < OFF_GROUND_M * g.size).all() and (
            g.lift[late] < OFF_GROUND_M * g.size
        ).all()
        slow = float(speed[a:b].mean())
        land = min(len(up), b + round(0.12 * fps))
        leap = high > HIGH_M or (high > LOW_M and (together or slow < RUNNING_M_S))
        if air >= SHORTEST_S["jump"] and leap:
            found.append((max(0, a - round(0.1 * fps)), land, "jump"))
        elif (
            air >= SHORTEST_S["split_step"]
            and together
            and slow < 1.0
            and g.wide[after] > 0.35 * g.size
            and g.spread[after] > 0.25 * g.size
        ):
            found.append((max(0, a - round(0.1 * fps)), land, "split_step"))
    return found


def _lift(z: Array, path: Array, fps: float) -> Array:
    """Height of a toe above where it stands (T,) [m]."""
    slow = np.linalg.norm(velocity(path, fps), axis=1) < 0.4
    level = np.median(z[slow]) if slow.sum() > 5 else np.percentile(z, 10)
    return z - float(level)


def _share(mask: np.ndarray, fps: float, seconds: float) -> Array:
    """Share of true frames within `seconds` around each frame (T,)."""
    n = 2 * round(0.5 * seconds * fps) + 1
    return np.convolve(mask.astype(float), np.full(n, 1.0 / n), mode="same")


def _greatest(x: Array, half: int) -> Array:
    """Running maximum over 2·half+1 frames (T,)."""
    padded = np.pad(x, half, mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1).max(axis=1)


def _settle(labels: np.ndarray, fps: float) -> np.ndarray:
    """Give pieces shorter than 0.3 s to their longer neighbour."""
    out = labels.copy()
    shortest = round(0.3 * fps)
    while True:
        pieces = _pieces(out)
        lengths = [b - a for a, b in pieces]
        k = int(np.argmin(lengths))
        if len(pieces) < 2 or lengths[k] >= shortest:
            return out
        a, b = pieces[k]
        before = lengths[k - 1] if k else -1
        after = lengths[k + 1] if k + 1 < len(pieces) else -1
        out[a:b] = out[a - 1] if before >= after else out[b]


def _pieces(labels: np.ndarray) -> list[tuple[int, int]]:
    """Half-open ranges of equal labels."""
    edges = np.flatnonzero(labels[1:] != labels[:-1]) + 1
    bounds = [0, *edges.tolist(), len(labels)]
    return [(a, b) for a, b in pairwise(bounds) if b > a]
