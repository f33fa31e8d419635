"""Rotation matrices."""

from __future__ import annotations

import numpy as np


def quat_matrix(quat) -> np.ndarray:
    """Rotation matrix (3, 3) of a quaternion w, x, y, z."""
    w, x, y, z = np.asarray(quat, dtype=float) / np.linalg.norm(quat)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def axis_turn(axis: str, angle: np.ndarray) -> np.ndarray:
    """Rotation matrices (K, 3, 3) about "x", "y" or "z" by angles (K,)."""
    index = "xyz".index(axis)
    j, k = (index + 1) % 3, (index + 2) % 3
    out = np.zeros((len(angle), 3, 3))
    out[:, index, index] = 1.0
    out[:, j, j] = out[:, k, k] = np.cos(angle)
    out[:, k, j] = np.sin(angle)
    out[:, j, k] = -np.sin(angle)
    return out
