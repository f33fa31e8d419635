"""Closed triangle meshes for drawing: lofts, rings and bars.

A mesh is a pair ``(vertices, faces)``: float64 (V, 3) in metres and int64 (F, 3), counter-clockwise seen
from outside.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Mesh = tuple[np.ndarray, np.ndarray]

_AXIS_ORDER = {"x": (0, 1, 2), "y": (1, 2, 0), "z": (2, 0, 1)}


def loft(
    axis: str,
    sections: Sequence[Sequence[float]],
    *,
    exponent: float = 2.5,
    cap: float = 0.5,
    rings: int = 10,
    points: int = 22,
) -> Mesh:
    """A smooth shell through superellipse cross-sections.

    Args:
        axis: "x", "y" or "z", the direction along which the sections are stacked.
        sections: rows (t, u, v, a, b): position t along the axis, centre (u, v) and half widths (a, b) in
            the two following axes in cyclic order (for "z": u along x, v along y), [m]. Rows have
            ascending t; between them widths and centres follow a cubic.
        exponent: of the superellipse: 2 an ellipse, 4 nearly a rectangle.
        cap: length of the rounded ends over the end section's smaller half width; 0 closes flat.
        rings: cross-sections between the first and the last row.
        points: vertices a cross-section.
    """
    rows = _interpolate(np.asarray(sections, dtype=float), rings)
    rows = np.concatenate([_cap(rows[0], -cap)[::-1], rows, _cap(rows[-1], cap)])
    angle = np.arange(points) * (2.0 * np.pi / points)
    cos, sin = np.cos(angle), np.sin(angle)
    unit = np.stack(
        [np.sign(cos) * np.abs(cos) ** (2.0 / exponent), np.sign(sin) * np.abs(sin) ** (2.0 / exponent)],
        axis=-1,
    )
    local = np.empty((len(rows), points, 3))
    local[..., 0] = rows[:, None, 0]
    local[..., 1:] = rows[:, None, 1:3] + rows[:, None, 3:5] * unit
    poles = np.array([[rows[0, 0], *rows[0, 1:3]], [rows[-1, 0], *rows[-1, 1:3]]])
    vertices = np.empty((len(rows) * points + 2, 3))
    vertices[:, _AXIS_ORDER[axis]] = np.concatenate([local.reshape(-1, 3), poles])
    return vertices, _tube_faces(len(rows), points)


def cylinder(
    axis: str, start: float, end: float, radius: float, centre=(0.0, 0.0), bevel: float = 0.12
) -> Mesh:
    """A motor housing: a cylinder from ``start`` to ``end`` along ``axis`` with bevelled edges, [m].

    ``centre`` is its axis in the two following axes; ``bevel`` is relative to the radius.
    """
    edge = min(bevel * radius, 0.45 * (end - start))
    radii = ((start, radius - edge), (start + edge, radius), (end - edge, radius), (end, radius - edge))
    rows = np.array([(t, *centre, r, r) for t, r in radii])
    points = 28
    angle = np.arange(points) * (2.0 * np.pi / points)
    local = np.empty((len(rows), points, 3))
    local[..., 0] = rows[:, None, 0]
    local[..., 1] = rows[:, None, 1] + rows[:, None, 3] * np.cos(angle)
    local[..., 2] = rows[:, None, 2] + rows[:, None, 4] * np.sin(angle)
    poles = np.array([[start, *centre], [end, *centre]])
    vertices = np.empty((len(rows) * points + 2, 3))
    vertices[:, _AXIS_ORDER[axis]] = np.concatenate([local.reshape(-1, 3), poles])
    return vertices, _tube_faces(len(rows), points)


def elliptic_ring(half_x: float, half_y: float, in_plane: float, normal: float, points: int = 60) -> Mesh:
    """A ring in the x-y plane around the origin: a racket's head, a headband.

    Args:
        half_x, half_y: semi-axes of the ring's centre line, [m].
        in_plane, normal: half widths of its elliptic cross-section, in the plane and along z, [m].
        points: cross-sections around.
    """
    around = np.arange(points) * (2.0 * np.pi / points)
    centre = np.stack([half_x * np.cos(around), half_y * np.sin(around), np.zeros(points)], axis=-1)
    outward = np.stack([half_y * np.cos(around), half_x * np.sin(around), np.zeros(points)], axis=-1)
    outward /= np.linalg.norm(outward, axis=-1, keepdims=True)
    section = 8
    angle = np.arange(section) * (2.0 * np.pi / section)
    vertices = centre[:, None] + in_plane * np.cos(angle)[:, None] * outward[:, None]
    vertices[..., 2] += normal * np.sin(angle)
    i = np.arange(points)[:, None] * section
    j = np.arange(section)[None]
    following = (i + section) % (points * section)
    a, b, c, d = i + j, following + j, following + (j + 1) % section, i + (j + 1) % section
    faces = np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], axis=2).reshape(-1, 3)
    return vertices.reshape(-1, 3), faces


def bars(starts: np.ndarray, ends: np.ndarray, radius: float) -> Mesh:
    """Thin straight bars of square section, one mesh: strings, net cords.

    Args:
        starts, ends: of shape (n, 3), [m].
        radius: half width, [m].
    """
    starts, ends = np.asarray(starts, dtype=float), np.asarray(ends, dtype=float)
    along = ends - starts
    along /= np.linalg.norm(along, axis=-1, keepdims=True)
    helper = np.where(np.abs(along[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    side = np.cross(along, helper)
    side /= np.linalg.norm(side, axis=-1, keepdims=True)
    up = np.cross(side, along)
    corners = [radius * (p * side + q * up) for p, q in ((1, 1), (-1, 1), (-1, -1), (1, -1))]
    ring = np.stack(corners, axis=1)
    vertices = np.concatenate([starts[:, None] + ring, ends[:, None] + ring], axis=1).reshape(-1, 3)
    box = [(i, (i + 1) % 4, 4 + (i + 1) % 4) for i in range(4)]
    box += [(i, 4 + (i + 1) % 4, 4 + i) for i in range(4)]
    box += [(0, 2, 1), (0, 3, 2), (4, 5, 6), (4, 6, 7)]
    faces = np.asarray(box)[:, ::-1]
    return vertices, (faces + 8 * np.arange(len(starts))[:, None, None]).reshape(-1, 3)


def mirrored(mesh: Mesh) -> Mesh:
    """The mesh reflected in the plane y = 0, faces turned so that they still look outward."""
    vertices, faces = mesh
    return vertices * np.array([1.0, -1.0, 1.0]), faces[:, ::-1]


def merged(*meshes: Mesh) -> Mesh:
    """Several meshes as one."""
    offsets = np.cumsum([0] + [len(vertices) for vertices, _ in meshes[:-1]])
    faces = [faces + offset for (_, faces), offset in zip(meshes, offsets, strict=True)]
    return np.concatenate([vertices for vertices, _ in meshes]), np.concatenate(faces)


def volume(mesh: Mesh) -> float:
    """Enclosed volume, [m³]; positive when the faces look outward."""
    vertices, faces = mesh
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6.0)


def _interpolate(rows: np.ndarray, rings: int) -> np.ndarray:
    """Rows at equal distances of t, by a cubic that does not overshoot (Fritsch and Carlson's slopes)."""
    t = rows[:, 0]
    if len(rows) == 1 or not (np.diff(t) > 0).all():
        raise ValueError(f"sections need two rows with ascending t, got t = {t.tolist()}")
    slope = np.diff(rows[:, 1:], axis=0) / np.diff(t)[:, None]
    tangent = np.zeros_like(rows[:, 1:])
    tangent[0], tangent[-1] = slope[0], slope[-1]
    same = slope[:-1] * slope[1:] > 0
    total = np.where(same, slope[:-1] + slope[1:], 1.0)
    tangent[1:-1] = np.where(same, 2.0 * slope[:-1] * slope[1:] / total, 0.0)
    at = np.linspace(t[0], t[-1], rings)
    i = np.clip(np.searchsorted(t, at, side="right") - 1, 0, len(t) - 2)
    h = (t[i + 1] - t[i])[:, None]
    s = ((at - t[i]) / h[:, 0])[:, None]
    values = (
        (1 + 2 * s) * (1 - s) ** 2 * rows[i, 1:]
        + s * (1 - s) ** 2 * h * tangent[i]
        + s**2 * (3 - 2 * s) * rows[i + 1, 1:]
        + s**2 * (s - 1) * h * tangent[i + 1]
    )
    return np.concatenate([at[:, None], values], axis=1)


def _cap(row: np.ndarray, cap: float) -> np.ndarray:
    """Rings that round off an end, from the end outward; ``cap`` is signed."""
    if cap == 0.0:
        return np.empty((0, 5))
    angle = np.array([0.35, 0.62, 0.82, 0.95]) * (np.pi / 2.0)
    result = np.tile(row, (len(angle), 1))
    result[:, 0] += cap * min(row[3], row[4]) * np.sin(angle)
    result[:, 3:] *= np.cos(angle)[:, None]
    return result


def _tube_faces(rings: int, points: int) -> np.ndarray:
    """Faces of stacked rings, closed by two poles that follow the rings in the vertex list."""
    i = np.arange(rings - 1)[:, None] * points
    j = np.arange(points)[None]
    following = (j + 1) % points
    a, b, c, d = i + j, i + following, i + points + following, i + points + j
    sides = np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], axis=2).reshape(-1, 3)
    j, following = j[0], following[0]
    bottom, top = rings * points, rings * points + 1
    last = (rings - 1) * points
    ends = np.concatenate(
        [
            np.stack([np.full(points, bottom), following, j], axis=-1),
            np.stack([np.full(points, top), last + j, last + following], axis=-1),
        ]
    )
    return np.concatenate([sides, ends])
