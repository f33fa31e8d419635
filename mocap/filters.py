"""Zero-phase smoothing and resampling along time (the first axis)."""

from __future__ import annotations

import numpy as np

from mocap.rotations import Array


def low_pass(x: Array, fps: float, cutoff_hz: float) -> Array:
    """Zero-phase low-pass of (T, ...): a fourth-order Butterworth's magnitude, applied in the frequency
    domain.

    The ends are continued by point reflection, so that position and velocity there are kept. At half the
    frame rate or above the signal is returned as it is.
    """
    frames = len(x)
    if frames < 4 or cutoff_hz >= 0.5 * fps:
        return np.array(x, dtype=float)
    pad = min(frames - 1, int(np.ceil(2.0 * fps / cutoff_hz)))
    flat = np.asarray(x, dtype=float).reshape(frames, -1)
    head = 2.0 * flat[:1] - flat[pad:0:-1]
    tail = 2.0 * flat[-1:] - flat[-2 : -pad - 2 : -1]
    y = np.concatenate([head, flat, tail])
    # A line through the ends is taken out first: what is left is periodic, and the transform rings less.
    ramp = np.linspace(0.0, 1.0, len(y))[:, None]
    line = y[:1] + (y[-1:] - y[:1]) * ramp
    spectrum = np.fft.rfft(y - line, axis=0)
    f = np.fft.rfftfreq(len(y), 1.0 / fps)
    spectrum /= (1.0 + (f / cutoff_hz) ** 8)[:, None]
    y = np.fft.irfft(spectrum, n=len(y), axis=0) + line
    return y[pad : pad + frames].reshape(np.shape(x))


def resample_cubic(x: Array, fps_in: float, fps_out: float) -> Array:
    """(T, ...) at `fps_in` to (N, ...) at `fps_out`, by cubic Hermite interpolation with central-difference
    slopes.
    """
    frames = len(x)
    if frames < 2 or abs(fps_in - fps_out) < 1e-9:
        return np.array(x, dtype=float)
    count = int(np.floor((frames - 1) * fps_out / fps_in + 1e-6)) + 1
    index = np.minimum(np.arange(count) * (fps_in / fps_out), frames - 1.0)
    lo = np.minimum(index.astype(int), frames - 2)
    t = (index - lo).reshape(-1, *([1] * (np.ndim(x) - 1)))
    slope = np.gradient(np.asarray(x, dtype=float), axis=0)
    a, b, da, db = x[lo], x[lo + 1], slope[lo], slope[lo + 1]
    return (
        a * (1 + 2 * t) * (1 - t) ** 2
        + da * t * (1 - t) ** 2
        + b * t * t * (3 - 2 * t)
        + db * t * t * (t - 1)
    )


def velocity(x: Array, fps: float) -> Array:
    """Central differences of (T, ...), one-sided at the ends; zero for a single frame."""
    return np.gradient(x, 1.0 / fps, axis=0) if len(x) > 1 else np.zeros_like(x)


def smoothstep(t: Array) -> Array:
    """3t² - 2t³ for t clipped to [0, 1]."""
    t = np.clip(t, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Half-open ranges [start, stop) in which a boolean (T,) is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def close_gaps(mask: np.ndarray, gap: int, shortest: int) -> np.ndarray:
    """Fill false runs shorter than `gap` between true ones, then drop true runs shorter than `shortest` (T,).

    Runs that touch the ends of the clip are kept however short: what goes on outside is not known.
    """
    out = mask.copy()
    for a, b in runs(~out):
        if a > 0 and b < len(out) and b - a < gap:
            out[a:b] = True
    for a, b in runs(out):
        if a > 0 and b < len(out) and b - a < shortest:
            out[a:b] = False
    return out


def spread(x: Array, half: int) -> Array:
    """Running maximum over 2·half+1 frames (T,)."""
    return np.lib.stride_tricks.sliding_window_view(np.pad(x, half, mode="edge"), 2 * half + 1).max(axis=1)
