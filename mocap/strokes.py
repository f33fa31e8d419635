"""Find tennis strokes in a human motion: when the hand strikes, with which hand, forehand or backhand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mocap.filters import low_pass, velocity
from mocap.rotations import Array, normalize
from mocap.skeleton import SIDES, Body

# Hand speeds that count as a strike, relative to the player's own size: a wrist passes 3.2 m/s in hardly
# any other motion of a match than a stroke. Chosen on the players of the Caldas series, whose groundstrokes
# peak between 4 and 9 m/s.
STRIKE_M_S = 3.2
# Two strikes of one player are at least this far apart [s].
APART_S = 0.9
# Wrists nearer than this (for a leg of 0.8 m) hold one racket: 0.1 to 0.2 m in two-handed backhands, over
# 0.35 m otherwise.
TOGETHER_M = 0.27


@dataclass(frozen=True)
class HumanStroke:
    """A stroke in a human motion, in frames of that motion.

    Attributes:
        kind: "forehand", "backhand", "serve" or "smash" (volleys are not told from groundstrokes).
        hand: "right" or "left".
        start, strike, end: frame numbers.
        speed_m_s: wrist speed at the strike [m/s].
        direction: (2,) horizontal unit vector in which the wrist moves at the strike.
    """

    kind: str
    hand: str
    start: int
    strike: int
    end: int
    speed_m_s: float
    direction: Array


def shot_direction(strokes: list[HumanStroke]) -> Array | None:
    """Unit vector (2,) toward the other side of the court, from all strokes of a clip; None without
    groundstrokes.

    The wrist moves that way at the strike of a forehand; in a backhand it is already turning outward when
    it is fastest, by about 0.3 rad (players of the Caldas series, who all hit one way).
    """
    ways = []
    for s in strokes:
        if s.kind in ("forehand", "backhand"):
            turned = (0.0 if s.kind == "forehand" else 0.3) * (1.0 if s.hand == "right" else -1.0)
            c, n = np.cos(turned), np.sin(turned)
            ways.append([c * s.direction[0] - n * s.direction[1], n * s.direction[0] + c * s.direction[1]])
    if not ways:
        return None
    all_ways = np.array(ways)
    # The stroke that agrees best with the others: a median that one stray stroke does not move.
    best = all_ways[int(np.argmax(np.minimum(all_ways @ all_ways.T, 0.95).sum(axis=1)))]
    near = all_ways[all_ways @ best > 0.7]
    mean = near.mean(axis=0)
    return mean / np.linalg.norm(mean)


def torso_axes(body: Body) -> tuple[Array, Array]:
    """Horizontal unit vectors (T, 3) forward and to the left of the chest, from the line through the
    shoulders.
    """
    left = body["left_shoulder"] - body["right_shoulder"]
    left = normalize(left * [1.0, 1.0, 0.0])
    forward = np.cross(left, [0.0, 0.0, 1.0])
    return forward, left


def find_strokes(body: Body, hand: str | None = None) -> list[HumanStroke]:
    """Strokes in time order, from the peaks of the wrist's speed.

    The wrist's speed peaks slightly before a ball is met; the retargeter moves the strike to the peak of
    the racket's speed.

    Args:
        body: the human, cleaned and smoothed.
        hand: "right" or "left"; not given, the hand with the faster peaks.
    """
    fps = body.fps
    if body.frames < round(0.6 * fps):
        return []
    speeds, paths = {}, {}
    for side in ("right", "left"):
        path = low_pass(body[f"{side}_wrist"], fps, 8.0)
        paths[side] = path
        speeds[side] = np.linalg.norm(velocity(path, fps), axis=1)
    together = np.linalg.norm(paths["left"] - paths["right"], axis=1) < TOGETHER_M * body.leg_m / 0.8
    _, left = torso_axes(body)
    if hand is None:
        hand = _racket_hand(speeds, paths, together, left, fps)
    speed, path = speeds[hand], paths[hand]
    # In a two-handed stroke either wrist may be the faster one.
    speed = np.where(together, np.maximum(speeds["left"], speeds["right"]), speed)
    v = velocity(path, fps)
    peaks = _peaks(speed, STRIKE_M_S, round(APART_S * fps))
    sign = 1.0 if hand == "right" else -1.0
    found = []
    for i in peaks:
        rel = path[i] - body["pelvis"][i]
        across = sign * float(v[i] @ left[i]) / max(speed[i], 1e-6)
        side_m = sign * float(rel @ left[i]) / body.leg_m
        shoulder = body[f"{hand}_shoulder"][i, 2]
        if path[i, 2] > shoulder + 0.1 * body.leg_m:
            kind = _overhead_kind(body, hand, int(i))
        else:
            # A forehand starts on the hand's own side and sweeps across to the other; a backhand the other
            # way round. A right hand on its own side has side_m < 0; around -0.2 the two kinds meet.
            kind = "forehand" if across - 3.0 * (side_m + 0.2) > 0.0 else "backhand"
        start, end = _extent(speed, i, fps)
        horizontal = v[i, :2] / max(float(np.linalg.norm(v[i, :2])), 1e-9)
        found.append(HumanStroke(kind, hand, start, int(i), end, float(speed[i]), horizontal))
    return found


def _overhead_kind(body: Body, hand: str, strike: int) -> str:
    """ "serve" or "smash": a server stands and throws the ball up with the other hand; a smasher steps.

    The two figures and their weights are those that part the serve and smash series of Caldas best; they
    get about four of five right.
    """
    size = body.leg_m / 0.8
    other = "left" if hand == "right" else "right"
    before = slice(max(0, strike - round(1.5 * body.fps)), strike)
    raised = (body[f"{other}_wrist"][before, 2] - body[f"{other}_shoulder"][before, 2]).max(initial=-1.0)
    early = slice(max(0, strike - round(1.2 * body.fps)), max(1, strike - round(0.2 * body.fps)))
    steps = sum(float(np.ptp(body[f"{s}_ankle"][early, :2], axis=0).max()) for s in SIDES)
    return "serve" if (raised / size - 0.30) / 0.08 + (0.33 - steps / size) / 0.2 > 0.0 else "smash"


def _racket_hand(
    speeds: dict[str, Array], paths: dict[str, Array], together: np.ndarray, left: Array, fps: float
) -> str:
    """The racket hand, by vote of the fastest moments: a lone hand votes for itself.

    Hands that swing together are a two-handed backhand, which sweeps toward the racket hand's side.
    """
    top = np.maximum(speeds["left"], speeds["right"])
    votes = {"right": 0.1, "left": 0.0}
    for i in _peaks(top, STRIKE_M_S, round(APART_S * fps)):
        if together[i]:
            way = velocity(paths["left"] + paths["right"], fps)[i]
            votes["right" if way @ left[i] < 0.0 else "left"] += float(top[i])
        else:
            side = "right" if speeds["right"][i] >= speeds["left"][i] else "left"
            votes[side] += float(top[i])
    return max(votes, key=lambda k: votes[k])


def _peaks(speed: Array, least: float, apart: int) -> list[int]:
    """Local maxima above `least`, the higher first, none within `apart` frames of a higher one; in time
    order.
    """
    inner = np.flatnonzero((speed[1:-1] >= speed[:-2]) & (speed[1:-1] > speed[2:])) + 1
    if not len(inner):
        return []
    # A slow player's strokes stand out from what he does between them.
    usual = float(np.percentile(speed[inner], 90))
    least = max(least, 0.45 * usual)
    chosen: list[int] = []
    for i in inner[np.argsort(-speed[inner], kind="stable")]:
        if speed[i] < least:
            break
        if all(abs(i - j) >= apart for j in chosen):
            chosen.append(int(i))
    return sorted(chosen)


def _extent(speed: Array, strike: int, fps: float) -> tuple[int, int]:
    """From the slowest moment in the 0.5 to 1.3 s before the strike to that in the 0.4 to 1.1 s after it."""
    a, b = max(0, strike - round(1.3 * fps)), max(1, strike - round(0.5 * fps))
    start = a + int(np.argmin(speed[a:b]))
    c, d = min(len(speed) - 1, strike + round(0.4 * fps)), min(len(speed), strike + round(1.1 * fps))
    end = c + int(np.argmin(speed[c:d])) if d > c else len(speed) - 1
    return start, end
