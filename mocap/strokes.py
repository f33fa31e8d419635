"""Find tennis strokes in a human motion: what kind, with which hand, when they begin, strike and end.

Swings (`mocap.swings`) are told from everything else that hands do, and from each other, by a logistic classifier
(`mocap.stroke_classifier`) on how the body moves around them. How well that works, and on whom it was fitted:
docs/strokes.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mocap.filters import low_pass, resample_cubic, velocity
from mocap.rotations import Array, normalize
from mocap.skeleton import SIDES, Body
from mocap.stroke_classifier import CLASSES, StrokeClassifier, shipped_classifier
from mocap.swings import RATE_HZ, Swings, find_swings

APART_S = 0.9
"""Two strikes of one player are at least this far apart [s]; 1.2 s in the fastest volleys tried."""

CERTAIN = 0.6
LENIENT = 0.1
STRICT = 0.8
"""Probabilities of being a stroke. Strokes come in series: a clip with two swings that are strokes with `CERTAIN` is
one of tennis, and there `LENIENT` is enough; elsewhere only `STRICT` counts."""

OVERHEAD = ("serve", "smash")

FIRST_PEAK = 0.75
"""An overhead stroke's first peak of speed is at least this large against its greatest."""


@dataclass(frozen=True)
class HumanStroke:
    """A stroke in a human motion, in frames of that motion.

    Attributes:
        kind: "forehand", "backhand" (groundstrokes), "volley", "serve" or "smash".
        hand: "right" or "left".
        start, strike, end: frame numbers: the calm moment before the preparation, the racket meeting the ball, the
            calm moment after the follow-through. The strike is where the wrist is fastest, overhead where it is
            highest and longest just after: recordings have neither ball nor racket.
        speed_m_s: wrist speed at the strike [m/s].
        direction: (2,) horizontal unit vector in which the wrist moves at the strike.
        side: "forehand" or "backhand" of groundstrokes and volleys, "" overhead.
        probability: of being a stroke at all, by the classifier.
    """

    kind: str
    hand: str
    start: int
    strike: int
    end: int
    speed_m_s: float
    direction: Array
    side: str = ""
    probability: float = 1.0


def shot_direction(strokes: list[HumanStroke]) -> Array | None:
    """Unit vector (2,) toward the other side of the court, from all groundstrokes of a clip, or volleys where
    it has none; None without either.

    The wrist moves that way at the strike of a forehand; in a backhand it is already turning outward when
    it is fastest, by about 0.3 rad (players of the Caldas series, who all hit one way).
    """
    used = [s for s in strokes if s.kind in ("forehand", "backhand")]
    used = used or [s for s in strokes if s.kind == "volley"]
    ways = []
    for s in used:
        turned = (0.3 if "backhand" in (s.kind, s.side) else 0.0) * (1.0 if s.hand == "right" else -1.0)
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


def find_strokes(
    body: Body, hand: str | None = None, classifier: StrokeClassifier | None = None
) -> list[HumanStroke]:
    """Strokes in time order.

    The wrist's speed peaks slightly before a ball is met; the retargeter moves the strike to the peak of
    the racket's speed.

    None are looked for in a body whose arms are exchanged against its legs.

    Args:
        body: the human, cleaned and smoothed, any rate.
        hand: "right" or "left"; not given, the hand whose swings are more like strokes.
        classifier: the shipped one when not given.
    """
    if body.frames < round(0.6 * body.fps) or _arms_exchanged(body):
        return []
    ratio = body.fps / RATE_HZ
    at_rate = body
    if abs(ratio - 1.0) > 1e-6:
        at_rate = replace(body, points=resample_cubic(body.points, body.fps, RATE_HZ), fps=RATE_HZ)
    model = classifier or shipped_classifier()
    swings = {s: find_swings(at_rate, s) for s in ((hand,) if hand else ("right", "left"))}
    chances = {s: model.probabilities(swings[s].figures) for s in swings}
    chosen = racket_hand({s: 1.0 - p[:, 0] for s, p in chances.items()})
    found = choose(swings[chosen].frames / RATE_HZ, 1.0 - chances[chosen][:, 0])
    return [_stroke(at_rate, body, swings[chosen], chances[chosen], i) for i in found]


def _arms_exchanged(body: Body) -> bool:
    """Whether left and right arm are exchanged against the legs, as in one clip of basketball: nothing can be said of
    strokes then. A trunk twists by up to 90 degrees, for moments.
    """
    shoulders = (body["left_shoulder"] - body["right_shoulder"])[:, :2]
    hips = (body["left_hip"] - body["right_hip"])[:, :2]
    return bool((np.sum(shoulders * hips, axis=1) < 0.0).mean() > 0.5)


def racket_hand(chances: dict[str, Array]) -> str:
    """The hand whose swings are more like strokes; the right one if neither's are.

    Args:
        chances: per hand, (N,) probability of each swing of being a stroke.
    """
    return max(
        ("right", "left"), key=lambda s: np.maximum(chances[s] - 0.3, 0.0).sum() if s in chances else -1.0
    )


def choose(times: Array, chances: Array) -> list[int]:
    """Which swings of a hand are strokes, in time order.

    Args:
        times: (N,) [s].
        chances: (N,) probability of being a stroke.
    """
    least = LENIENT if (chances > CERTAIN).sum() >= 2 else STRICT
    found: list[int] = []
    for i in np.argsort(-chances, kind="stable"):
        if chances[i] < least:
            break
        if all(abs(times[i] - times[j]) >= APART_S for j in found):
            found.append(int(i))
    return sorted(found)


def _stroke(at_rate: Body, body: Body, swings: Swings, chances: Array, i: int) -> HumanStroke:
    """The stroke that a swing is; `body` is at the rate in which frames are wanted."""
    name = CLASSES[1 + int(np.argmax(chances[i, 1:]))]
    kind = "volley" if name.endswith("volley") else name
    side = name.split()[0] if kind not in OVERHEAD else ""
    fps, hand = at_rate.fps, swings.hand
    path = low_pass(at_rate[f"{hand}_wrist"], fps, 8.0)
    v = velocity(path, fps)
    speed = np.linalg.norm(v, axis=1)
    peak = int(swings.frames[i])
    strike = peak
    if kind in OVERHEAD:
        strike = overhead_strike(at_rate, hand, speed, peak, fps)
    elif swings.together[peak]:
        strike = _both_hands(at_rate, peak, fps)
    start, end = _extent(speed, strike, kind, fps)
    way = v[strike, :2] / max(float(np.linalg.norm(v[strike, :2])), 1e-9)
    ratio, last = body.fps / fps, body.frames - 1
    first, at, final = (min(last, round(k * ratio)) for k in (start, strike, end))
    sure = float(1.0 - chances[i, 0])
    return HumanStroke(kind, hand, first, at, final, float(swings.speed[i]), way, side, sure)


def overhead_strike(body: Body, hand: str, speed: Array, peak: int, fps: float) -> int:
    """Where a serve or smash is met: the arm highest and longest (wrist height plus its distance from the shoulder) in
    the 0.12 s from the wrist's first peak of speed above the shoulder. The wrist has two peaks: as the arm is thrown
    up, and as it comes down after the ball.
    """
    wrist, shoulder = body[f"{hand}_wrist"], body[f"{hand}_shoulder"]
    early = np.arange(max(1, peak - round(0.3 * fps)), peak + 1)
    top = (speed[early] >= speed[early - 1]) & (speed[early] > speed[np.minimum(early + 1, len(speed) - 1)])
    top &= (wrist[early, 2] > shoulder[early, 2]) & (speed[early] > FIRST_PEAK * speed[peak])
    first = int(early[top][0]) if top.any() else peak
    part = slice(first, first + round(0.12 * fps) + 1)
    reach = wrist[part, 2] + np.linalg.norm(wrist[part] - shoulder[part], axis=1)
    return first + int(np.argmax(reach))


def _both_hands(body: Body, peak: int, fps: float) -> int:
    """Where a two-handed stroke is met: the peak of both wrists' mean speed within 0.1 s."""
    total = sum(np.linalg.norm(velocity(low_pass(body[f"{s}_wrist"], fps, 8.0), fps), axis=1) for s in SIDES)
    a = max(0, peak - round(0.1 * fps))
    return a + int(np.argmax(np.asarray(total)[a : peak + round(0.1 * fps) + 1]))


def _extent(speed: Array, strike: int, kind: str, fps: float) -> tuple[int, int]:
    """The slowest moments of the wrist in the time before and after the strike in which a stroke of this kind begins
    and ends: a serve with the toss, 0.9 to 2 s before, others 0.4 to 1.3 s before; all end 0.4 to 1.1 s after.
    """
    early, late = (2.0, 0.9) if kind == "serve" else (0.9, 0.4) if kind == "volley" else (1.3, 0.5)
    a, b = max(0, strike - round(early * fps)), max(1, strike - round(late * fps))
    start = min(a + int(np.argmin(speed[a:b])), strike)
    c, d = min(len(speed) - 1, strike + round(0.4 * fps)), min(len(speed), strike + round(1.1 * fps))
    end = c + int(np.argmin(speed[c:d])) if d > c else len(speed) - 1
    return start, max(end, strike)
