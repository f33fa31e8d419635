"""A clip at another rate: rotations are interpolated as rotations, so that bones keep their lengths.

Between two frames a joint turns along a cubic in the tangent space of the first, R(t) = R₀ exp(p(t)) with
p(0) = 0, p(1) = log(R₀ᵀ R₁) and end slopes from the angular velocities of a C² spline. A joint that turns at a
constant rate about one axis is reproduced exactly, whatever the rates. Going down in rate, a low-pass
acts first: the weighted mean of neighbouring quaternions, brought back to unit length. Weights are
symmetric, so a constant rate stays as it is: q(k) + q(-k) is along q(0).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.linalg import solve_banded

from mocap.clip import Clip, ClipDataError
from mocap.rotations import Array, continuous, quat_exp, quat_inverse, quat_log, quat_product

# Share of the new half rate that is kept when going down: 20 of 25 Hz at 50 frames a second, above all
# that people do and below what would fold back.
KEEP = 0.8
# A turn of one frame to the next that differs from its neighbours' mean by more than this [rad] is no
# sampled motion but a change of description (a straight limb's twist, moved from one joint to the next):
# there the shortest way is taken, without overshoot.
SUDDEN_RAD = 0.7


def resample(clip: Clip, fps: float) -> Clip:
    """The clip at `fps` frames a second, from its first frame on; the time of frame n is n / fps.

    Rotations are interpolated on SO(3), translations by a cubic spline; what would alias is filtered out
    before.

    Raises:
        ClipDataError: a rate that is not positive and finite.
    """
    if not np.isfinite(fps) or fps <= 0.0:
        raise ClipDataError(f"{clip.name}: cannot resample to {fps} frames a second; give a positive rate")
    if abs(fps - clip.fps) < 1e-9 or clip.frames < 2:
        return clip
    rotations, translations = clip.rotations, clip.translations
    if fps < clip.fps:
        weights = low_pass_kernel(0.5 * KEEP * fps / clip.fps)
        rotations = smooth_rotations(rotations, weights)
        translations = _per_moving_joint(translations, lambda x: smooth_vectors(x, weights))
    count = int(np.floor(clip.duration_s * fps + 1e-6)) + 1
    index = np.minimum(np.arange(count) * (clip.fps / fps), clip.frames - 1.0)
    return replace(
        clip,
        rotations=continuous(interpolate_rotations(rotations, index)),
        translations=_per_moving_joint(translations, lambda x: interpolate_vectors(x, index)),
        fps=fps,
        provenance={**clip.provenance, "resampled_from_fps": clip.fps},
    )


def low_pass_kernel(cutoff: float) -> Array:
    """Weights (2K+1,) of a symmetric low-pass, sum 1: a sinc under a Blackman window.

    Args:
        cutoff: where the response is one half, in cycles a frame (below 0.5).
    """
    half = int(np.ceil(1.6 / cutoff))
    k = np.arange(-half, half + 1)
    w = np.sinc(2.0 * cutoff * k) * np.blackman(2 * half + 3)[1:-1]
    return w / w.sum()


def smooth_rotations(q: Array, weights: Array) -> Array:
    """Low-pass of unit quaternions (T, ..., 4) along time; the ends go on as they would run backwards (point
    reflection in the group).
    """
    frames, half = len(q), min(len(weights) // 2, len(q) - 1)
    if half < 1:
        return q
    w = weights[len(weights) // 2 - half : len(weights) // 2 + half + 1]
    w = w / w.sum()
    # Reflection about the first rotation: Q(-k) = Q₀ Q(k)⁻¹ Q₀, the same turn in the other direction.
    head = quat_product(q[:1], quat_product(quat_inverse(q[half:0:-1]), q[:1]))
    tail = quat_product(q[-1:], quat_product(quat_inverse(q[-2 : -half - 2 : -1]), q[-1:]))
    padded = continuous(np.concatenate([head, q, tail]))
    out = np.zeros_like(q)
    for k, weight in enumerate(w):
        out += weight * padded[k : k + frames]
    return out / np.linalg.norm(out, axis=-1, keepdims=True)


def smooth_vectors(x: Array, weights: Array) -> Array:
    """Low-pass of (T, ...) along time, the ends continued by point reflection."""
    frames, half = len(x), min(len(weights) // 2, len(x) - 1)
    if half < 1:
        return x
    w = weights[len(weights) // 2 - half : len(weights) // 2 + half + 1]
    w = w / w.sum()
    padded = np.concatenate([2.0 * x[:1] - x[half:0:-1], x, 2.0 * x[-1:] - x[-2 : -half - 2 : -1]])
    out = np.zeros_like(x)
    for k, weight in enumerate(w):
        out += weight * padded[k : k + frames]
    return out


def interpolate_rotations(q: Array, index: Array) -> Array:
    """Unit quaternions (T, ..., 4) at fractional frame numbers `index` (N,); (N, ..., 4)."""
    turn = quat_log(quat_product(quat_inverse(q[:-1]), q[1:]))
    rate = _spline_slopes(turn)
    lo = np.minimum(np.floor(index).astype(int), len(q) - 2)
    t = (index - lo).reshape(-1, *([1] * (q.ndim - 1)))
    p, start, stop = turn[lo], rate[lo], rate[lo + 1]
    # The slope of the logarithm at the far end is not the angular velocity there: inverse right Jacobian.
    stop = _right_jacobian_inverse(p, stop)
    sudden = np.linalg.norm(start - p, axis=-1, keepdims=True) > SUDDEN_RAD
    sudden |= np.linalg.norm(stop - p, axis=-1, keepdims=True) > SUDDEN_RAD
    start, stop = np.where(sudden, p, start), np.where(sudden, p, stop)
    v = start * t * (1 - t) ** 2 + p * t * t * (3 - 2 * t) + stop * t * t * (t - 1)
    out = quat_product(q[lo], quat_exp(v))
    return out / np.linalg.norm(out, axis=-1, keepdims=True)


def interpolate_vectors(x: Array, index: Array) -> Array:
    """(T, ...) at fractional frame numbers `index` (N,), by a cubic spline; (N, ...)."""
    step = np.diff(x, axis=0)
    rate = _spline_slopes(step)
    lo = np.minimum(np.floor(index).astype(int), len(x) - 2)
    t = (index - lo).reshape(-1, *([1] * (x.ndim - 1)))
    v = rate[lo] * t * (1 - t) ** 2 + step[lo] * t * t * (3 - 2 * t) + rate[lo + 1] * t * t * (t - 1)
    return x[lo] + v


def _spline_slopes(step: Array) -> Array:
    """Slopes (T, ...) at the frames of the C² cubic spline whose increments are `step` (T-1, ...); at the
    ends, of the parabola through three frames.

    For rotations the increments stand in frames that turn a little from one to the next; the difference is
    of third order in the turn, and none at all about a constant axis.
    """
    count = len(step)
    if count < 2:
        return np.concatenate([step, step])
    flat = step.reshape(count, -1)
    bands = np.zeros((3, count + 1))
    bands[1] = 4.0
    bands[0, 2:] = bands[2, :-2] = 1.0
    right = np.empty((count + 1, flat.shape[1]))
    right[1:-1] = 3.0 * (flat[:-1] + flat[1:])
    bands[1, 0] = bands[1, -1] = 1.0
    right[0] = 1.5 * flat[0] - 0.5 * flat[1]
    right[-1] = 1.5 * flat[-1] - 0.5 * flat[-2]
    return solve_banded((1, 1), bands, right, check_finite=False).reshape(count + 1, *step.shape[1:])


def _right_jacobian_inverse(p: Array, w: Array) -> Array:
    """J_r⁻¹(p) w: how fast the rotation vector p (..., 3) changes when its rotation turns at w (..., 3) in
    its own frame.
    """
    angle = np.linalg.norm(p, axis=-1, keepdims=True)
    small = angle < 1e-3
    safe = np.where(small, 1.0, angle)
    c = np.where(small, 1.0 / 12.0, 1.0 / safe**2 - 0.5 / (safe * np.tan(0.5 * np.minimum(safe, 3.14))))
    cross = np.cross(p, w)
    return w + 0.5 * cross + c * np.cross(p, cross)


def _per_moving_joint(translations: Array, function: Callable[[Array], Array]) -> Array:
    """Apply `function` to the joints whose translation changes, hold the others."""
    moving = np.ptp(translations, axis=0).max(axis=1) > 0.0
    changed = function(translations[:, moving])
    out = np.empty((len(changed), *translations.shape[1:]))
    out[:, ~moving] = translations[:1, ~moving]
    out[:, moving] = changed
    return out
