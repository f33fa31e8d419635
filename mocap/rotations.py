"""Batched rotation algebra on numpy arrays. Quaternions are (..., 4) in the order w, x, y, z; matrices
(..., 3, 3).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

_AXES = {"X": 0, "Y": 1, "Z": 2}


def normalize(v: Array, fallback: tuple[float, ...] = (1.0, 0.0, 0.0)) -> Array:
    """Unit vectors along the last axis; vectors shorter than 1e-9 become `fallback`. Shape (..., 3) → (...,
    3).
    """
    n = np.linalg.norm(v, axis=-1, keepdims=True)
    return np.where(n > 1e-9, v / np.maximum(n, 1e-9), np.asarray(fallback, dtype=float))


def axis_matrix(axis: str, angle: Array) -> Array:
    """Rotation by `angle` (...,) [rad] about the coordinate axis "X", "Y" or "Z"; (..., 3, 3)."""
    i = _AXES[axis]
    j, k = (i + 1) % 3, (i + 2) % 3
    c, s = np.cos(angle), np.sin(angle)
    r = np.zeros((*np.shape(angle), 3, 3))
    r[..., i, i] = 1.0
    r[..., j, j] = c
    r[..., k, k] = c
    r[..., j, k] = -s
    r[..., k, j] = s
    return r


def matrix_from_euler(order: str, angles: Array) -> Array:
    """Product of rotations in the written order, as BVH means it: "ZXY" is R_z R_x R_y. `angles` (..., 3)
    [rad].
    """
    r = axis_matrix(order[0], angles[..., 0])
    for n in range(1, len(order)):
        r = r @ axis_matrix(order[n], angles[..., n])
    return r


def matrix_from_axis_angle(v: Array) -> Array:
    """Exponential map of rotation vectors (..., 3) [rad]; (..., 3, 3)."""
    angle = np.linalg.norm(v, axis=-1)
    a = angle[..., None, None]
    k = np.zeros((*v.shape[:-1], 3, 3))
    k[..., 0, 1], k[..., 0, 2] = -v[..., 2], v[..., 1]
    k[..., 1, 0], k[..., 1, 2] = v[..., 2], -v[..., 0]
    k[..., 2, 0], k[..., 2, 1] = -v[..., 1], v[..., 0]
    small = a < 1e-6
    safe = np.where(small, 1.0, a)
    s = np.where(small, 1.0 - a**2 / 6.0, np.sin(safe) / safe)
    c = np.where(small, 0.5 - a**2 / 24.0, (1.0 - np.cos(safe)) / safe**2)
    return np.eye(3) + s * k + c * (k @ k)


def axis_angle_from_matrix(r: Array) -> Array:
    """Logarithm map: rotation vectors (..., 3) [rad] with angle in [0, π]."""
    q = quat_from_matrix(r)
    q = np.where(q[..., :1] < 0.0, -q, q)
    n = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(n, q[..., :1])
    return q[..., 1:] * np.where(n > 1e-9, angle / np.maximum(n, 1e-9), 2.0)


def quat_from_matrix(r: Array) -> Array:
    """Unit quaternions (..., 4) w, x, y, z of rotation matrices (..., 3, 3), w not forced positive (see
    `continuous`).
    """
    m = r.reshape(-1, 3, 3)
    d = np.stack([m[:, 0, 0], m[:, 1, 1], m[:, 2, 2]], axis=1)
    trace = d.sum(axis=1)
    # Four ways to write the quaternion; the one with the largest pivot is well conditioned (Shepperd's
    # method).
    pivots = np.concatenate([trace[:, None], d], axis=1)
    best = pivots.argmax(axis=1)
    q = np.empty((len(m), 4))
    for case in range(4):
        sel = best == case
        if not sel.any():
            continue
        a = m[sel]
        if case == 0:
            s = np.sqrt(np.maximum(1.0 + trace[sel], 0.0)) * 2.0
            q[sel, 0] = 0.25 * s
            q[sel, 1] = (a[:, 2, 1] - a[:, 1, 2]) / s
            q[sel, 2] = (a[:, 0, 2] - a[:, 2, 0]) / s
            q[sel, 3] = (a[:, 1, 0] - a[:, 0, 1]) / s
        else:
            i = case - 1
            j, k = (i + 1) % 3, (i + 2) % 3
            s = np.sqrt(np.maximum(1.0 + a[:, i, i] - a[:, j, j] - a[:, k, k], 0.0)) * 2.0
            q[sel, 0] = (a[:, k, j] - a[:, j, k]) / s
            q[sel, 1 + i] = 0.25 * s
            q[sel, 1 + j] = (a[:, j, i] + a[:, i, j]) / s
            q[sel, 1 + k] = (a[:, k, i] + a[:, i, k]) / s
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    return q.reshape(*r.shape[:-2], 4)


def matrix_from_quat(q: Array) -> Array:
    """Rotation matrices (..., 3, 3) of quaternions (..., 4) w, x, y, z, normalised here."""
    w, x, y, z = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    r = np.empty((*np.shape(w), 3, 3))
    r[..., 0, 0] = 1 - 2 * (y * y + z * z)
    r[..., 0, 1] = 2 * (x * y - w * z)
    r[..., 0, 2] = 2 * (x * z + w * y)
    r[..., 1, 0] = 2 * (x * y + w * z)
    r[..., 1, 1] = 1 - 2 * (x * x + z * z)
    r[..., 1, 2] = 2 * (y * z - w * x)
    r[..., 2, 0] = 2 * (x * z - w * y)
    r[..., 2, 1] = 2 * (y * z + w * x)
    r[..., 2, 2] = 1 - 2 * (x * x + y * y)
    return r


def continuous(q: Array) -> Array:
    """Flip signs along the first axis so that neighbours lie on the same hemisphere; the first has w ≥ 0.
    (T, ..., 4).
    """
    if not len(q):
        return q.copy()
    dots = np.sum(q[1:] * q[:-1], axis=-1)
    signs = np.concatenate([np.where(q[:1, ..., 0] < 0.0, -1.0, 1.0), np.where(dots < 0.0, -1.0, 1.0)])
    return q * np.cumprod(signs, axis=0)[..., None]


def slerp(q: Array, index: Array) -> Array:
    """Spherical interpolation of (T, ..., 4) at fractional frame numbers `index` (N,); (N, ..., 4), unit
    length.
    """
    lo = np.clip(np.floor(index).astype(int), 0, max(len(q) - 2, 0))
    hi = np.minimum(lo + 1, len(q) - 1)
    t = (index - lo).reshape(-1, *([1] * (q.ndim - 1)))
    a, b = q[lo], q[hi]
    dot = np.sum(a * b, axis=-1, keepdims=True)
    b = np.where(dot < 0.0, -b, b)
    angle = np.arccos(np.clip(np.abs(dot), -1.0, 1.0))
    s = np.sin(angle)
    near = s < 1e-5
    safe = np.where(near, 1.0, s)
    wa = np.where(near, 1.0 - t, np.sin((1.0 - t) * angle) / safe)
    wb = np.where(near, t, np.sin(t * angle) / safe)
    out = wa * a + wb * b
    return out / np.linalg.norm(out, axis=-1, keepdims=True)


def frame_from(primary: Array, secondary: Array, order: str = "zy") -> Array:
    """Right-handed frames (..., 3, 3) whose axis `order[0]` is along `primary` and `order[1]` as near
    `secondary` as it can.
    """
    i, j = _AXES[order[0].upper()], _AXES[order[1].upper()]
    k = 3 - i - j
    sign = 1.0 if (j - i) % 3 == 1 else -1.0
    a = normalize(primary)
    c = normalize(sign * np.cross(a, secondary))
    b = sign * np.cross(c, a)
    r = np.empty((*np.broadcast_shapes(primary.shape, secondary.shape)[:-1], 3, 3))
    r[..., i] = a
    r[..., j] = b
    r[..., k] = c
    return r


def wrap(angle: Array) -> Array:
    """Angles into (-π, π]."""
    return np.arctan2(np.sin(angle), np.cos(angle))


def quat_product(a: Array, b: Array) -> Array:
    """Hamilton product of quaternions (..., 4) w, x, y, z: the rotation `b` first, then `a`."""
    aw, ax, ay, az = np.moveaxis(a, -1, 0)
    bw, bx, by, bz = np.moveaxis(b, -1, 0)
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


def quat_inverse(q: Array) -> Array:
    """Inverse of unit quaternions (..., 4)."""
    return q * np.array([1.0, -1.0, -1.0, -1.0])


def quat_log(q: Array) -> Array:
    """Rotation vectors (..., 3) [rad], angle in [0, π], of unit quaternions (..., 4)."""
    q = np.where(q[..., :1] < 0.0, -q, q)
    n = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(n, q[..., :1])
    return q[..., 1:] * np.where(n > 1e-12, angle / np.maximum(n, 1e-12), 2.0)


def quat_exp(v: Array) -> Array:
    """Unit quaternions (..., 4) w, x, y, z of rotation vectors (..., 3) [rad]."""
    half = 0.5 * np.linalg.norm(v, axis=-1, keepdims=True)
    return np.concatenate([np.cos(half), 0.5 * v * np.sinc(half / np.pi)], axis=-1)
