"""Swings of a hand: the moments at which a wrist is fastest, and what the body does around them.

A swing is not yet a stroke: players also reach, balance and point. `mocap.strokes` tells which are strokes, from the
figures that are measured here. All figures are in the frame of a right-hander who faces x (the way the trunk faces on
average in the 1.2 s around the swing; y to the left), in units of the body's size, so that left-handers, small and
tall players look alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mocap.filters import low_pass, velocity
from mocap.rotations import Array
from mocap.skeleton import SIDES, Body

RATE_HZ = 50.0
"""Rate at which swings are looked at [Hz]: times below are rounded to its frames."""

LEAST_M_S = 1.5
"""Slower peaks of a wrist (of a body with a leg of 0.8 m) are no swings. The slowest volleys tried reach 2."""

APART_S = 0.3
"""Of two peaks nearer than this the faster one is the swing [s]: a serve has two, 0.2 s apart."""

TOGETHER_M = 0.27
"""Wrists nearer than this (for a leg of 0.8 m) hold one racket: 0.1 to 0.2 m in two-handed backhands, over 0.35 m
otherwise."""

NEAR_S = np.array([-0.8, -0.6, -0.45, -0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.45, 0.6])
"""Times around the swing at which the pose is looked at [s]."""

LONG_S = np.array([-1.6, -1.3, -1.05])
"""Times at which a server's toss or a smasher's way to the ball shows [s]."""


@dataclass(frozen=True)
class Swings:
    """The swings of one hand.

    Attributes:
        hand: "right" or "left".
        frames: (N,) frame numbers of the peaks, in time order.
        speed: (N,) speed of the faster wrist that holds the racket [m/s].
        figures: (N, F) what the classifier sees, see `measure`.
        together: (T,) bool, frames in which both hands hold the racket.
    """

    hand: str
    frames: np.ndarray
    speed: Array
    figures: Array
    together: np.ndarray


def find_swings(body: Body, hand: str) -> Swings:
    """Swings of one hand, in time order.

    Args:
        body: the human, clean and smooth, at `RATE_HZ`.
        hand: "right" or "left".
    """
    fps, size = body.fps, body.leg_m / 0.8
    paths = {side: low_pass(body[f"{side}_wrist"], fps, 8.0) for side in SIDES}
    speeds = {side: np.linalg.norm(velocity(paths[side], fps), axis=1) / size for side in SIDES}
    together = np.linalg.norm(paths["left"] - paths["right"], axis=1) < TOGETHER_M * size
    # In a two-handed stroke either wrist may be the faster one.
    speed = np.where(together, np.maximum(speeds["left"], speeds["right"]), speeds[hand])
    frames = np.array(_peaks(speed, LEAST_M_S, round(APART_S * fps)), dtype=int)
    figures = measure(body, hand, frames, speeds, speed)
    return Swings(hand, frames, speed[frames] * size, figures, together)


def measure(body: Body, hand: str, at: np.ndarray, speeds: dict[str, Array], speed: Array) -> Array:
    """Figures (N, F) of swings.

    Args:
        body: the human.
        hand: the swinging hand; the figures of a left hand are mirrored.
        at: (N,) frames.
        speeds: per side, (T,) wrist speed over the body's size [m/s].
        speed: (T,) of the hand or hands that hold the racket.

    Returns:
        Per swing: where both wrists and the elbow are, how the wrists' speeds and the trunk's turn develop and how the
        pelvis moves at the times `NEAR_S`; how far the wrists are apart; speed against the clip's fastest; hand
        heights and pelvis at the times `LONG_S`; how far the feet travel before, during and after; how high each hand
        has been; how wide the feet stand and how high they are.
    """
    fps, size, frames = body.fps, body.leg_m / 0.8, body.frames
    sign = 1.0 if hand == "right" else -1.0
    other = "left" if hand == "right" else "right"
    if not len(at):
        return np.zeros((0, figure_count()))

    def when(times: Array) -> np.ndarray:
        return np.clip(at[:, None] + np.round(times * fps).astype(int), 0, frames - 1)

    def highest(z: Array, start_s: float, end_s: float, sign: float = 1.0) -> Array:
        ends = [(max(0, i + round(start_s * fps)), max(0, i + round(end_s * fps)) + 1) for i in at]
        return np.array([[sign * (sign * z[a:b]).max() / size] for a, b in ends])

    left, forward = _facing(body, at)
    near, far = when(NEAR_S), when(LONG_S)
    pelvis = body["pelvis"]

    def seen(x: Array) -> list[Array]:
        """Forward, left (right for a left hand) and up, (N, K) each."""
        flat = x[..., :2]
        return [
            np.einsum("nkc,nc->nk", flat, forward) / size,
            sign * np.einsum("nkc,nc->nk", flat, left) / size,
            x[..., 2] / size,
        ]

    out: list[Array] = []
    for point in (f"{hand}_wrist", f"{other}_wrist", f"{hand}_elbow"):
        out += seen(body[point][near] - pelvis[near])
    peak = speed[at][:, None]
    for side in (hand, other):
        out.append(np.log((speeds[side][near] + 0.3) / peak))
    line = (body["left_shoulder"] - body["right_shoulder"])[near][..., :2]
    out.append(
        sign * np.arctan2(-np.einsum("nkc,nc->nk", line, forward), np.einsum("nkc,nc->nk", line, left))
    )
    out += seen(pelvis[near] - pelvis[at][:, None])
    walk = np.linalg.norm(velocity(low_pass(pelvis[:, :2], fps, 3.0), fps), axis=1) / size
    out.append(walk[near][:, ::3])
    apart = np.linalg.norm(body["left_wrist"] - body["right_wrist"], axis=1)
    out.append(np.minimum(apart / size, 0.5)[near][:, 3:9])
    out.append(np.log(peak / np.percentile(speed, 97)))
    out.append(np.log(peak))
    ground = 0.5 * np.median(body["right_ankle"][:, 2] + body["left_ankle"][:, 2])
    out.append((pelvis[at, 2:] - ground) / size)
    for side in (other, hand):
        out.append((body[f"{side}_wrist"][far, 2] - pelvis[far, 2]) / size)
    out.append(np.linalg.norm(pelvis[far, :2] - pelvis[at][:, None, :2], axis=2) / size)
    way = sum(
        np.append(0.0, np.cumsum(np.linalg.norm(np.diff(body[f"{s}_ankle"][:, :2], axis=0), axis=1)))
        for s in SIDES
    )
    marks = np.asarray(way)[when(np.array([-1.8, -1.0, -0.5, 0.0, 0.5, 1.2]))]
    out.append(np.diff(marks, axis=1) / size)
    high = {s: body[f"{s}_wrist"][:, 2] - body[f"{s}_shoulder"][:, 2] for s in SIDES}
    out.append(highest(high[other], -1.5, 0.0))
    out.append(highest(high[hand], -0.3, 0.3))
    out.append(highest(high[hand], -1.0, 0.0, -1.0))
    out.append(highest(high[other], -1.5, -0.6, -1.0))
    out.append(highest(apart, -2.0, -0.8, -1.0))
    wide = np.linalg.norm(body["left_ankle"][at, :2] - body["right_ankle"][at, :2], axis=1)
    out.append(wide[:, None] / size)
    for side in (other, hand):
        z = body[f"{side}_toe"][:, 2]
        out.append((z - np.percentile(z, 10))[when(np.array([-0.1, 0.0, 0.1, 0.24]))] / size)
    return np.hstack(out)


def figure_count() -> int:
    """Number of figures of a swing."""
    k, j = len(NEAR_S), len(LONG_S)
    return 9 * k + 2 * k + k + 3 * k + len(range(0, k, 3)) + 6 + 3 + 3 * j + 5 + 5 + 1 + 8


def _facing(body: Body, at: np.ndarray) -> tuple[Array, Array]:
    """Horizontal unit vectors (N, 2) to the left and forward, mean over 0.6 s before and after each frame."""
    across = body["left_shoulder"] - body["right_shoulder"] + body["left_hip"] - body["right_hip"]
    across = across[:, :2] / np.maximum(np.linalg.norm(across[:, :2], axis=1), 1e-6)[:, None]
    total = np.vstack([np.zeros((1, 2)), np.cumsum(across, axis=0)])
    half = round(0.6 * body.fps)
    left = total[np.minimum(at + half + 1, body.frames)] - total[np.maximum(at - half, 0)]
    left /= np.maximum(np.linalg.norm(left, axis=1), 1e-6)[:, None]
    return left, np.stack([left[:, 1], -left[:, 0]], axis=1)


def _peaks(speed: Array, least: float, apart: int) -> list[int]:
    """Local maxima above `least`, none within `apart` frames of a higher one; in time order."""
    inner = np.flatnonzero((speed[1:-1] >= speed[:-2]) & (speed[1:-1] > speed[2:])) + 1
    chosen: list[int] = []
    for i in inner[np.argsort(-speed[inner], kind="stable")]:
        if speed[i] < least:
            break
        if all(abs(i - j) >= apart for j in chosen):
            chosen.append(int(i))
    return sorted(chosen)
