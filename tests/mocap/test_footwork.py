"""Footwork on made-up bodies whose feet and pelvis go where the test says."""

import itertools

import numpy as np
import pytest

from humanoid.motion import MOVE_KINDS
from mocap.footwork import find_moves
from mocap.skeleton import REQUIRED, Body

FPS = 50.0
LEG = 0.8


def a_body(
    pelvis: np.ndarray, left: np.ndarray, right: np.ndarray, yaw: float = 0.0, hands: float = 0.2
) -> Body:
    """A body that faces `yaw`: pelvis and soles (T, 3) [m] as given, hips LEG - 0.02 m over an ankle 0.06 m high."""
    frames = len(pelvis)
    forward = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    side = {"left": np.array([-np.sin(yaw), np.cos(yaw), 0.0])}
    side["right"] = -side["left"]
    up = np.array([0.0, 0.0, 1.0])
    points = {
        "pelvis": pelvis,
        "spine": pelvis + 0.1 * up,
        "chest": pelvis + 0.3 * up,
        "neck": pelvis + 0.5 * up,
    }
    for name, sole in (("left", left), ("right", right)):
        points[f"{name}_hip"] = pelvis + 0.1 * side[name]
        points[f"{name}_shoulder"] = pelvis + 0.45 * up + 0.2 * side[name]
        points[f"{name}_elbow"] = pelvis + 0.25 * up + 0.25 * side[name]
        points[f"{name}_wrist"] = pelvis + hands * up + 0.2 * side[name] + 0.2 * forward
        points[f"{name}_ankle"] = sole + 0.06 * up
        points[f"{name}_toe"] = sole + 0.02 * up + 0.15 * forward
        points[f"{name}_knee"] = 0.5 * (points[f"{name}_hip"] + points[f"{name}_ankle"])
    stacked = np.stack([np.broadcast_to(points[n], (frames, 3)) for n in REQUIRED], axis=1)
    return Body(stacked, REQUIRED, FPS, LEG, 1.0, "z", "made up")


def steps(
    way: np.ndarray,
    speed: float,
    seconds: float = 4.0,
    wide: float = 0.2,
    flight: float = 0.0,
    cross: float = 0.0,
) -> Body:
    """Goes along `way` in the frame of a body that faces x. The feet swing in turn, 0.6 s a double step.

    Args:
        wide: distance of the feet across [m].
        flight: height by which both soles are lifted twice a double step [m].
        cross: how far the feet move across against each other [m]: over `wide`, they pass.
    """
    t = np.arange(round(seconds * FPS)) / FPS
    travel = speed * t[:, None] * way
    phase = 2.0 * np.pi * t / 0.6
    pelvis = travel + np.array([0.0, 0.0, LEG - 0.02 + 0.06])
    soles = []
    for sign in (1.0, -1.0):
        swing = sign * np.sin(phase)
        along = 0.6 * speed / 4.0 * swing if abs(way[0]) > abs(way[1]) else 0.0 * swing
        across = sign * (0.5 * wide + 0.5 * cross * np.sin(phase))
        lift = 0.08 * np.maximum(sign * np.cos(phase), 0.0) + flight * np.maximum(np.cos(2.0 * phase), 0.0)
        soles.append(travel + np.stack([along, across, lift], axis=1))
    return a_body(pelvis, soles[0], soles[1])


def hop(height: float, air_s: float, wide: float) -> Body:
    """Two seconds in place with one hop off both feet in the middle."""
    t = np.arange(100) / FPS
    rise = height * np.maximum(1.0 - ((t - 1.0) / (0.5 * air_s)) ** 2, 0.0)[:, None] * [0.0, 0.0, 1.0]
    pelvis = rise + np.array([0.0, 0.0, LEG + 0.02])
    return a_body(pelvis, rise + np.array([0.0, 0.5 * wide, 0.0]), rise + np.array([0.0, -0.5 * wide, 0.0]))


X, Y = np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])


@pytest.mark.parametrize(
    ("body", "kind", "direction"),
    [
        (steps(X, 1.2), "walk", "forward"),
        (steps(-X, 0.9), "walk", "backward"),
        (steps(X, 3.0, flight=0.06), "run", "forward"),
        (steps(X, 1.6, flight=0.1), "run", "forward"),
        (steps(Y, 1.2, wide=0.5, cross=0.3), "shuffle", "left"),
        (steps(-Y, 1.2, wide=0.5, cross=0.3), "shuffle", "right"),
        (steps(Y, 1.2, wide=0.2, cross=0.5), "crossover", "left"),
        (steps(X, 0.0, wide=0.5), "ready", ""),
    ],
)
def test_steady_footwork_is_what_it_is(body: Body, kind: str, direction: str):
    moves = find_moves(body)
    longest = max(moves, key=lambda m: m.end - m.start)
    assert (longest.kind, longest.direction) == (kind, direction)
    assert longest.end - longest.start > 0.7 * body.frames


def test_a_person_at_attention_stands():
    still = a_body(
        np.tile([0.0, 0.0, LEG + 0.05], (100, 1)),
        np.tile([0.0, 0.1, 0.0], (100, 1)),
        np.tile([0.0, -0.1, 0.0], (100, 1)),
        hands=-0.15,
    )
    assert [m.kind for m in find_moves(still)] == ["stand"]


def test_facing_decides_between_walking_and_shuffling():
    """The same path of pelvis and feet along x, seen by a body that faces x or y."""
    t = np.arange(200) / FPS
    travel = 1.0 * t[:, None] * X
    pelvis = travel + np.array([0.0, 0.0, LEG + 0.04])
    ahead, behind = travel + 0.25 * X, travel - 0.25 * X
    kinds = {yaw: find_moves(a_body(pelvis, ahead, behind, yaw=yaw))[0].kind for yaw in (0.0, -0.5 * np.pi)}
    assert kinds == {0.0: "walk", -0.5 * np.pi: "shuffle"}


def test_a_small_hop_that_lands_wide_is_a_split_step():
    moves = find_moves(hop(0.06, 0.2, wide=0.6))
    assert [m.kind for m in moves] == ["ready", "split_step", "ready"]
    split = moves[1]
    assert split.start < 50 < split.end
    assert (split.end - split.start) / FPS < 0.6


def test_a_hop_with_the_feet_together_is_no_split_step():
    assert "split_step" not in {m.kind for m in find_moves(hop(0.06, 0.2, wide=0.2))}


def test_a_high_hop_is_a_jump():
    assert "jump" in {m.kind for m in find_moves(hop(0.25, 0.45, wide=0.4))}


def test_moves_cover_the_clip_without_overlap():
    moves = find_moves(steps(X, 1.2))
    assert moves[0].start == 0
    assert all(a.end == b.start for a, b in itertools.pairwise(moves))
    assert moves[-1].end == 200
    assert {m.kind for m in moves} <= set(MOVE_KINDS)


def test_size_does_not_matter():
    small, body = steps(Y, 1.2, wide=0.5, cross=0.3), steps(Y, 1.2, wide=0.5, cross=0.3)
    tall = Body(body.points * 1.25, body.names, FPS, LEG * 1.25, 1.0, "z", "made up")
    assert [(m.kind, m.start) for m in find_moves(small)] == [(m.kind, m.start) for m in find_moves(tall)]


def test_short_clips_have_none():
    assert find_moves(steps(X, 1.2, seconds=0.2)) == []
