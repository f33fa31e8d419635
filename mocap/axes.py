"""Up and forward: which axes of a file they are, and the rotation to a world with z up."""

from __future__ import annotations

import numpy as np

from mocap.clip import SkeletonError
from mocap.rotations import Array

AXES = ("x", "y", "z", "-x", "-y", "-z")
"""Names of a file's axes."""


def guess_up(points: Array, names: tuple[str, ...], rest: Array | None = None) -> str:
    """The file's up axis ("x", "-x", "y" …): the one along which the neck is above the ankles most of the
    time; for a body that is mostly not upright, the one along which it is in the rest pose.

    Args:
        points: (T, P, 3) body points in the file's axes.
        names: their names.
        rest: (P, 3) the same points in the rest pose, if there is one.
    """
    mean = _axis_of_body(points, names)
    if np.abs(mean).max() < 0.7 and rest is not None:
        still = _axis_of_body(rest[None], names)
        if np.abs(still).max() > 0.9:
            mean = still
    return _axis_name(mean)


def _axis_of_body(points: Array, names: tuple[str, ...]) -> Array:
    """Mean unit vector from the ankles to the neck."""
    body = points[:, names.index("neck")] - 0.5 * (
        points[:, names.index("left_ankle")] + points[:, names.index("right_ankle")]
    )
    body = body / np.maximum(np.linalg.norm(body, axis=1, keepdims=True), 1e-9)
    return body.mean(axis=0)


def _axis_name(v: Array) -> str:
    axis = int(np.argmax(np.abs(v)))
    return ("-" if v[axis] < 0.0 else "") + "xyz"[axis]


def guess_forward(points: Array, names: tuple[str, ...], up: str) -> str:
    """The file's axis that the body faces most of the time: across the hips, then a quarter turn about up.

    Args:
        points: (T, P, 3) body points in the file's axes.
        names: their names.
        up: the file's up axis.
    """
    left = points[:, names.index("left_hip")] - points[:, names.index("right_hip")]
    facing = np.cross(left, up_rotation(up)[2])
    facing = facing / np.maximum(np.linalg.norm(facing, axis=1, keepdims=True), 1e-9)
    votes = {name: 0 for name in AXES if name.lstrip("-") != up.lstrip("+-").lower()}
    rows = np.abs(facing).argmax(axis=1)
    for axis, sign in zip(rows, facing[np.arange(len(facing)), rows] < 0.0, strict=True):
        name = ("-" if sign else "") + "xyz"[axis]
        if name in votes:
            votes[name] += 1
    return max(votes, key=lambda n: votes[n])


def _axis(text: str, what: str) -> tuple[int, float]:
    """Index and sign of an axis name."""
    axis = text[1:].lower() if text[:1] in ("+", "-") else text.lower()
    if axis not in ("x", "y", "z"):
        raise SkeletonError(f'{what} axis "{text}" is not one of x, y, z, -x, -y, -z')
    return "xyz".index(axis), -1.0 if text.startswith("-") else 1.0


def up_rotation(up: str, forward: str | None = None) -> Array:
    """Proper rotation (3, 3) that takes the file's axes to z up.

    Args:
        up: the file's up axis.
        forward: the file's axis that becomes x; the next one cyclically when not given.

    Raises:
        SkeletonError: an axis is not one of x, y, z with an optional minus, or both are the same.
    """
    i, sign = _axis(up, "up")
    if forward is not None:
        j, ahead = _axis(forward, "forward")
        if i == j:
            raise SkeletonError(f"up={up} and forward={forward} are the same axis; give two different ones")
        f = np.zeros((3, 3))
        f[0, j], f[2, i] = ahead, sign
        f[1] = np.cross(f[2], f[0])
        return f
    r = np.zeros((3, 3))
    # World z = sign · file axis i; the others follow cyclically so that the determinant stays +1.
    r[2, i] = sign
    r[0, (i + 1) % 3] = 1.0
    r[1, (i + 2) % 3] = sign
    return r
