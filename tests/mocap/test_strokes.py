from dataclasses import replace

import numpy as np
import pytest

from mocap.config import RetargetConfig
from mocap.retarget import prepare
from mocap.skeleton import Body
from mocap.strokes import (
    LENIENT,
    STRICT,
    choose,
    find_strokes,
    overhead_strike,
    racket_hand,
    shot_direction,
)


@pytest.fixture(scope="module")
def smooth(body: Body) -> Body:
    return prepare(body, RetargetConfig())


def mirrored(body: Body) -> Body:
    """The same motion by a left-hander: y reflected, left and right exchanged."""
    swap = {"left": "right", "right": "left"}
    other = [n if "_" not in n else f"{swap[n.split('_')[0]]}_{n.split('_')[1]}" for n in body.names]
    return replace(body, points=body.points[:, [body.names.index(n) for n in other]] * [1.0, -1.0, 1.0])


def test_every_stroke_is_found_where_it_is(smooth: Body):
    strokes = find_strokes(smooth)
    assert [(s.kind, s.side, s.hand) for s in strokes] == [("forehand", "forehand", "right")] * 3
    np.testing.assert_allclose([s.strike / 50.0 for s in strokes], [1.5, 4.5, 7.5], atol=0.06)
    for s in strokes:
        assert s.start < s.strike < s.end
        assert s.probability > LENIENT


def test_a_left_hander_is_a_mirror_image(smooth: Body):
    right, left = find_strokes(smooth), find_strokes(mirrored(smooth))
    assert [(s.kind, s.hand) for s in left] == [("forehand", "left")] * 3
    assert [s.strike for s in left] == [s.strike for s in right]


def test_turned_about_the_vertical_strokes_stay_what_they_are(smooth: Body):
    c, s = np.cos(2.0), np.sin(2.0)
    turned = replace(smooth, points=smooth.points @ np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]))
    there, here = find_strokes(turned), find_strokes(smooth)
    assert [(x.kind, x.strike) for x in there] == [(x.kind, x.strike) for x in here]
    np.testing.assert_allclose([x.probability for x in there], [x.probability for x in here], rtol=1e-6)


def test_a_taller_player_at_the_same_tempo_is_found_too(smooth: Body):
    tall = replace(smooth, points=smooth.points * 1.2, leg_m=smooth.leg_m * 1.2)
    assert [(s.kind, s.strike) for s in find_strokes(tall)] == [
        (s.kind, s.strike) for s in find_strokes(smooth)
    ]


def test_the_frame_rate_does_not_matter(body: Body):
    at = [
        [s.strike / r for s in find_strokes(prepare(body, RetargetConfig(fps=r)))]
        for r in (50.0, 100.0, 30.0)
    ]
    assert len(at[0]) == 3
    np.testing.assert_allclose(at[1], at[0], atol=0.021)
    np.testing.assert_allclose(at[2], at[0], atol=0.04)


def test_played_backwards_nothing_is_a_forehand(smooth: Body):
    strokes = find_strokes(replace(smooth, points=smooth.points[::-1]), "right")
    assert "forehand" not in {s.kind for s in strokes}


def test_standing_still_is_no_stroke(smooth: Body):
    still = replace(smooth, points=np.repeat(smooth.points[:1], 300, axis=0))
    assert find_strokes(still) == []
    assert shot_direction([]) is None


def test_the_shot_direction_is_where_the_hand_goes(smooth: Body):
    way = shot_direction(find_strokes(smooth))
    assert way is not None
    assert way @ np.array([1.0, 0.0]) > 0.8


@pytest.mark.parametrize("peak", [50, 62])
def test_a_serve_is_met_where_the_arm_is_highest_between_its_two_peaks_of_speed(smooth: Body, peak: int):
    """The wrist goes over an arch whose top is at frame 56, fast at 50 and 62; whichever peak is the greater."""
    t = np.arange(120) / 50.0
    points = np.repeat(smooth.points[:1], 120, axis=0)
    shoulder, wrist = (smooth.names.index(f"right_{p}") for p in ("shoulder", "wrist"))
    arch = np.clip((t - 56 / 50.0) / 0.3, -1.0, 1.0)
    points[:, wrist] = points[:, shoulder] + np.stack([0.5 * arch, 0.0 * t, 0.6 * (1.0 - arch**2)], axis=1)
    speed = sum(np.exp(-(((np.arange(120) - k) / 3.0) ** 2)) * (6.0 if k == peak else 5.0) for k in (50, 62))
    assert overhead_strike(replace(smooth, points=points), "right", np.asarray(speed), peak, 50.0) == 56


def test_exchanged_arms_have_no_strokes(smooth: Body):
    order = list(smooth.names)
    for part in ("shoulder", "elbow", "wrist"):
        i, j = order.index(f"left_{part}"), order.index(f"right_{part}")
        order[i], order[j] = order[j], order[i]
    assert (
        find_strokes(replace(smooth, points=smooth.points[:, [smooth.names.index(n) for n in order]])) == []
    )


def test_short_clips_have_none(smooth: Body):
    assert find_strokes(replace(smooth, points=smooth.points[:10])) == []


def test_a_lone_swing_must_be_surer_than_one_of_a_series():
    between = 0.5 * (LENIENT + STRICT)
    assert choose(np.array([2.0]), np.array([between])) == []
    assert choose(np.array([2.0]), np.array([0.9])) == [0]
    assert choose(np.array([2.0, 5.0, 8.0]), np.array([0.9, between, 0.9])) == [0, 1, 2]


def test_of_two_swings_at_once_the_likelier_is_the_stroke():
    assert choose(np.array([2.0, 2.4, 6.0]), np.array([0.7, 0.95, 0.9])) == [1, 2]


def test_the_racket_is_in_the_hand_whose_swings_are_strokes():
    assert racket_hand({"right": np.array([0.2, 0.1]), "left": np.array([0.9])}) == "left"
    assert racket_hand({"right": np.zeros(0), "left": np.zeros(0)}) == "right"
