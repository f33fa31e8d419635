import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mocap import filters

T = np.arange(500) / 100.0


def test_low_pass_keeps_slow_and_removes_fast():
    slow, fast = np.sin(2 * np.pi * 1.0 * T), np.sin(2 * np.pi * 30.0 * T)
    out = filters.low_pass((slow + fast)[:, None], 100.0, 8.0)[:, 0]
    assert np.abs(out - slow)[20:-20].max() < 0.02


def test_low_pass_has_no_delay_and_keeps_lines():
    line = 3.0 + 2.0 * T
    np.testing.assert_allclose(filters.low_pass(line, 100.0, 5.0), line, atol=1e-9)


def test_resampling_a_smooth_curve_is_accurate():
    x = np.sin(2 * np.pi * 0.8 * np.arange(91) / 30.0)
    y = filters.resample_cubic(x, 30.0, 50.0)
    np.testing.assert_allclose(y, np.sin(2 * np.pi * 0.8 * np.arange(len(y)) / 50.0), atol=2e-3)
    assert len(y) == 151


@given(st.lists(st.booleans(), min_size=1, max_size=40))
@settings(max_examples=50, deadline=None)
def test_runs_tell_the_mask_back(bits: list[bool]):
    mask = np.array(bits)
    back = np.zeros_like(mask)
    for a, b in filters.runs(mask):
        back[a:b] = True
    assert (back == mask).all()


def test_close_gaps_keeps_runs_at_the_ends():
    mask = np.array([1, 0, 0, 0, 0, 1, 1, 1, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1], dtype=bool)
    out = filters.close_gaps(mask, gap=2, shortest=3)
    expected = mask.copy()
    expected[8] = True
    expected[15] = False
    assert (out == expected).all()


def test_spread_is_a_running_maximum():
    x = np.zeros(11)
    x[5] = 1.0
    assert filters.spread(x, 2).tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0]
