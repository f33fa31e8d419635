from dataclasses import replace

import numpy as np
import pytest

from mocap.benchmark import synthetic_clip
from mocap.clip import Clip, ClipDataError
from mocap.resample import interpolate_vectors, low_pass_kernel, resample, smooth_vectors
from mocap.rotations import continuous, quat_exp, quat_inverse, quat_log, quat_product
from mocap.skeleton import to_body

RATES = [(30.0, 50.0), (100.0, 50.0), (120.0, 50.0), (60.0, 50.0), (50.0, 60.0), (100.0, 33.3)]


def spinning(rate_rad_s: float, fps: float) -> Clip:
    """One joint that turns at a constant rate about an oblique axis."""
    axis = np.array([0.3, -0.5, 0.8]) / np.sqrt(0.98)
    t = np.arange(round(3 * fps)) / fps
    q = continuous(quat_exp(t[:, None] * axis * rate_rad_s))[:, None]
    return Clip("spin", ("Hips",), np.array([-1]), np.zeros((1, 3)), q, np.zeros((len(q), 1, 3)), fps)


@pytest.mark.parametrize(("fps_in", "fps_out"), RATES)
def test_a_constant_turn_is_reproduced(fps_in: float, fps_out: float):
    out = resample(spinning(9.0, fps_in), fps_out)
    axis = np.array([0.3, -0.5, 0.8]) / np.sqrt(0.98)
    true = quat_exp((np.arange(out.frames) / fps_out)[:, None] * axis * 9.0)
    off = quat_log(quat_product(quat_inverse(true), out.rotations[:, 0]))
    assert np.linalg.norm(off, axis=1).max() < 1e-6


@pytest.mark.parametrize(("fps_in", "fps_out"), RATES)
def test_bones_keep_their_lengths(fps_in: float, fps_out: float):
    body = to_body(resample(synthetic_clip(4.0, fps_in), fps_out))
    for a, b in (
        ("right_shoulder", "right_elbow"),
        ("right_elbow", "right_wrist"),
        ("left_hip", "left_knee"),
    ):
        assert np.ptp(np.linalg.norm(body[b] - body[a], axis=1)) < 1e-9


def test_a_wobbling_axis_converges_with_the_fourth_power():
    """Interpolated to twice the rate, a smooth turn about a moving axis is off by h⁴."""

    def error(fps: float) -> float:
        def q(f: float):
            t = np.arange(round(2 * f) + 1) / f
            swing = quat_exp(np.stack([np.sin(5 * t), 0 * t, 0 * t], axis=1))
            return continuous(quat_product(swing, quat_exp(np.stack([0 * t, 0 * t, np.cos(4 * t)], axis=1))))

        coarse = q(fps)[:, None]
        clip = Clip(
            "w", ("Hips",), np.array([-1]), np.zeros((1, 3)), coarse, np.zeros((len(coarse), 1, 3)), fps
        )
        out, true = resample(clip, 2 * fps).rotations[:, 0], q(2 * fps)
        off = np.linalg.norm(quat_log(quat_product(quat_inverse(true), out)), axis=1)
        return float(off[len(off) // 4 : -len(off) // 4].max())

    assert error(50.0) < 1e-4
    assert error(50.0) / error(100.0) > 10.0


def test_what_would_alias_is_taken_out_and_the_rest_kept():
    fps = 100.0
    t = np.arange(400) / fps
    clip = spinning(0.0, fps)
    for hz, low, high in ((5.0, 0.97, 1.03), (38.0, 0.0, 0.05)):
        q = quat_exp(np.stack([0.2 * np.sin(2 * np.pi * hz * t), 0 * t, 0 * t], axis=1))[:, None]
        out = resample(replace(clip, rotations=q, translations=np.zeros((400, 1, 3))), 50.0)
        size = np.sqrt(2.0) * quat_log(out.rotations[20:-20, 0])[:, 0].std() / 0.2
        assert low <= size <= high


def test_parabolas_survive_the_interpolation():
    t = np.arange(20.0)
    index = np.linspace(0.0, 19.0, 77)
    np.testing.assert_allclose(interpolate_vectors((t**2)[:, None], index)[:, 0], index**2, atol=1e-10)


def test_lines_survive_the_low_pass():
    x = np.linspace(0.0, 7.0, 50)[:, None]
    np.testing.assert_allclose(smooth_vectors(x, low_pass_kernel(0.1)), x, atol=1e-12)


def test_a_sudden_change_of_description_does_not_overshoot(clip: Clip):
    """A half turn of the thigh's twist, taken back by the knee: a straight leg stays straight in between."""
    q = clip.rotations.copy()
    hip, knee = (clip.joint_names.index(n) for n in ("LeftHip", "LeftKnee"))
    q[:, hip], q[:, knee] = [1, 0, 0, 0], [1, 0, 0, 0]
    twist = quat_exp(np.array([[0.0, 3.0, 0.0]]))
    q[500:, hip], q[500:, knee] = twist, quat_inverse(twist)
    body = to_body(resample(replace(clip, rotations=q), 130.0))
    leg = np.linalg.norm(body["left_ankle"] - body["left_hip"], axis=1)
    assert np.ptp(leg) < 1e-9
    side = body["left_ankle"] - body["left_hip"]
    assert np.abs(side[:, :2]).max() < 1e-6


@pytest.mark.parametrize("fps", [0.0, -5.0, np.nan, np.inf])
def test_a_bad_rate_is_named(clip: Clip, fps: float):
    with pytest.raises(ClipDataError, match="positive rate"):
        resample(clip, fps)
