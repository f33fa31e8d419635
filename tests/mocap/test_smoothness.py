import numpy as np
import pytest

from mocap.smoothness import KEEP, acceleration, limit_acceleration, smooth, stiffness


def test_a_straight_line_is_left_alone():
    y = np.outer(np.arange(50.0), [1.0, -2.0]) + 3.0
    np.testing.assert_allclose(smooth(y, np.ones(50), np.full(50, 10.0)), y, atol=1e-9)


@pytest.mark.parametrize("cutoff", [2.0, 6.0])
def test_a_wave_of_the_cutoff_is_halved(cutoff: float):
    t = np.arange(500) / 50.0
    wave = np.sin(2.0 * np.pi * cutoff * t)[:, None]
    out = smooth(wave, np.ones(500), np.full(500, stiffness(cutoff, 50.0)))
    np.testing.assert_allclose(out[100:400], 0.5 * wave[100:400], atol=2e-3)


def test_frames_that_stay_do_and_the_others_meet_them_without_a_kink():
    rng = np.random.default_rng(0)
    t = np.arange(60) / 50.0
    y = (t**2 + np.where((t > 0.4) & (t < 0.8), 0.2 * rng.normal(size=60), 0.0))[:, None]
    keep = (t <= 0.4) | (t >= 0.8)
    out = smooth(y, np.where(keep, KEEP, 1.0), np.full(60, stiffness(3.0, 50.0)))
    np.testing.assert_allclose(out[keep], y[keep], atol=1e-4)
    assert np.abs(acceleration(out, 50.0)).max() < 0.2 * np.abs(acceleration(y, 50.0)).max()


def test_accelerations_come_within_the_limit_and_the_rest_of_the_path_stays():
    t = np.arange(200) / 50.0
    y = np.stack([np.sin(t), (t > 2.0) * 0.4], axis=1)
    out = limit_acceleration(y, np.array([100.0, 100.0]), 50.0)
    assert np.abs(acceleration(out, 50.0)).max() <= 100.0 * 1.01
    assert (out[:, 0] == y[:, 0]).all()
    np.testing.assert_allclose(out[:80], y[:80], atol=1e-3)


def test_short_paths_are_returned_as_they_are():
    y = np.array([[1.0], [5.0]])
    assert (smooth(y, np.ones(2), np.ones(2)) == y).all()
    assert (limit_acceleration(y, np.array([1.0]), 50.0) == y).all()
