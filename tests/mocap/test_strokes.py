from dataclasses import replace

import numpy as np
import pytest

from mocap.config import RetargetConfig
from mocap.retarget import prepare
from mocap.skeleton import Body
from mocap.strokes import find_strokes, shot_direction


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
    assert [s.kind for s in strokes] == ["forehand"] * 3
    assert [s.hand for s in strokes] == ["right"] * 3
    np.testing.assert_allclose([s.strike / 50.0 for s in strokes], [1.5, 4.5, 7.5], atol=0.06)
    for s in strokes:
        assert s.start < s.strike < s.end


def test_a_left_hander_is_a_mirror_image(smooth: Body):
    strokes = find_strokes(mirrored(smooth))
    assert [(s.kind, s.hand) for s in strokes] == [("forehand", "left")] * 3


def test_played_backwards_a_forehand_is_a_backhand(smooth: Body):
    strokes = find_strokes(replace(smooth, points=smooth.points[::-1]), "right")
    assert {s.kind for s in strokes} <= {"backhand", "forehand"}
    directions = [s.direction for s in strokes]
    assert all(d @ np.array([1.0, 0.0]) < 0.0 for d in directions)


def test_standing_still_is_no_stroke(smooth: Body):
    still = replace(smooth, points=np.repeat(smooth.points[:1], 300, axis=0))
    assert find_strokes(still) == []
    assert shot_direction([]) is None


def test_the_shot_direction_is_where_the_hand_goes(smooth: Body):
    way = shot_direction(find_strokes(smooth))
    assert way is not None
    assert way @ np.array([1.0, 0.0]) > 0.8


def test_short_clips_have_none(smooth: Body):
    assert find_strokes(replace(smooth, points=smooth.points[:10])) == []
