from dataclasses import replace

import numpy as np
import pytest

from mocap.config import RetargetConfig
from mocap.retarget import prepare
from mocap.skeleton import Body
from mocap.swings import APART_S, figure_count, find_swings


@pytest.fixture(scope="module")
def smooth(body: Body) -> Body:
    return prepare(body, RetargetConfig())


def test_strikes_are_among_the_swings(smooth: Body):
    swings = find_swings(smooth, "right")
    for strike in (1.5, 4.5, 7.5):
        assert np.abs(swings.frames / 50.0 - strike).min() < 0.06


def test_swings_keep_apart_and_in_order(smooth: Body):
    frames = find_swings(smooth, "right").frames
    assert (np.diff(frames) >= APART_S * 50.0).all()


def test_every_swing_has_all_figures(smooth: Body):
    swings = find_swings(smooth, "right")
    assert swings.figures.shape == (len(swings.frames), figure_count())
    assert np.isfinite(swings.figures).all()


def test_where_the_player_stands_does_not_matter(smooth: Body):
    moved = replace(smooth, points=smooth.points + np.array([3.0, -2.0, 0.4]))
    np.testing.assert_allclose(
        find_swings(moved, "right").figures, find_swings(smooth, "right").figures, atol=1e-6
    )


def test_a_hand_at_rest_does_not_swing(smooth: Body):
    still = replace(smooth, points=np.repeat(smooth.points[:1], 200, axis=0))
    swings = find_swings(still, "left")
    assert len(swings.frames) == 0
    assert swings.figures.shape == (0, figure_count())
