"""Joint paths made smooth in time without touching the frames that must stay.

The path x nearest to y in the sense of Σ wₜ (xₜ - yₜ)² + Σ λₜ (xₜ₋₁ - 2 xₜ + xₜ₊₁)² (Whittaker 1923, Henderson
1924) solves a linear system with five diagonals. Frames with a large weight stay; what lies between bends no
more than need be and meets them with their own speed. Where the acceleration is still above a limit, λ is
raised there and only there.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solveh_banded

from mocap.rotations import Array

# Weight of a frame that stays: a million times that of one that is free.
KEEP = 1e6


def stiffness(cutoff_hz: float, fps: float) -> float:
    """λ at which the smoother halves a wave of `cutoff_hz`: 1 + λ (2 sin(π f / fps))⁴ = 2."""
    return float((2.0 * np.sin(np.pi * min(cutoff_hz / fps, 0.5))) ** -4)


def smooth(y: Array, weight: Array, stiff: Array) -> Array:
    """The smooth path (T, n) nearest to `y` (T, n).

    Args:
        y: path.
        weight: (T,) how much each frame counts.
        stiff: (T,) λ at each frame; those of the first and last frame do not matter.
    """
    frames = len(y)
    if frames < 3:
        return np.array(y, dtype=float)
    k = stiff[1:-1]
    bands = np.zeros((3, frames))
    # Upper form: bands[2] is the diagonal, bands[1] and bands[0] the first and second above it.
    bands[2] = weight
    bands[2, :-2] += k
    bands[2, 1:-1] += 4.0 * k
    bands[2, 2:] += k
    bands[1, 1:-1] -= 2.0 * k
    bands[1, 2:] -= 2.0 * k
    bands[0, 2:] += k
    return solveh_banded(bands, weight[:, None] * y, check_finite=False)


def acceleration(x: Array, fps: float) -> Array:
    """Second differences (T, n) of a path (T, n), zero at both ends [unit/s²]."""
    out = np.zeros_like(x)
    out[1:-1] = (x[:-2] - 2.0 * x[1:-1] + x[2:]) * fps**2
    return out


def limit_acceleration(
    y: Array, limit: Array, fps: float, keep: np.ndarray | None = None, rounds: int = 8
) -> Array:
    """A path (T, n) near `y` whose acceleration is within `limit` (n,) [unit/s²], where that can be had.

    Args:
        y: path.
        limit: greatest acceleration of each column.
        fps: frames a second.
        keep: (T,) bool, frames that stay where they are.
        rounds: how often the stiffness is raised where the limit is passed.
    """
    out = np.array(y, dtype=float)
    weight = np.ones(len(y)) if keep is None else np.where(keep, KEEP, 1.0)
    for c in np.flatnonzero((np.abs(acceleration(out, fps)) > limit).any(axis=0)):
        stiff = np.full(len(y), 1e-3)
        for _ in range(rounds):
            over = np.abs(acceleration(out[:, c : c + 1], fps)[:, 0]) / limit[c]
            if over.max() <= 1.0:
                break
            # Neighbours are stiffened too, so that the bend is spread and not pushed aside.
            wide = np.maximum.reduce([over, *(np.roll(over, s) for s in (-2, -1, 1, 2))])
            stiff = np.where(wide > 1.0, np.maximum(stiff, 0.02) * np.clip(wide, 1.5, 4.0) ** 2, stiff)
            out[:, c] = smooth(y[:, c : c + 1], weight, stiff)[:, 0]
    return out
