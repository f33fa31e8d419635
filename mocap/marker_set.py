"""From markers on the skin to points of a body: joint centres as midpoints and offsets, by a marker-set file.

A marker set (`mocap/markers/*.yaml`) says for each body point, in order of preference, which markers it is in
the middle of and how far from there it lies, in the axes of a body part and in parts of a length of the same
person. So a new marker set needs a file, not code, and no unit is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mocap.clip import SkeletonError
from mocap.rotations import Array
from mocap.skeleton import POINTS, REQUIRED, plain_name
from mocap.yaml_file import read_yaml

_FOLDER = Path(__file__).parent / "markers"
_DIRECTIONS = ("forward", "left", "up")


@dataclass(frozen=True)
class MarkerSet:
    """A marker set as its file has it.

    Attributes:
        name: file stem.
        aliases: labels that may stand for a marker.
        lengths: two places each; the length is the median distance between them.
        frames: axes of body parts: alternatives of two directions, each from a place to a place; the first is
            exact, the second is made perpendicular to it.
        points: per body point the alternatives {of, frame, in, forward, left, up}.

    A place is a marker, a point named before, or a list of places: their middle.
    """

    name: str
    aliases: dict[str, list[str]]
    lengths: dict[str, list[Any]]
    frames: dict[str, list[dict[str, list[Any]]]]
    points: dict[str, list[dict[str, Any]]]


def load_marker_set(path: str | Path) -> MarkerSet:
    """Read a marker-set file.

    Raises:
        SkeletonError: unreadable file, unknown keys or points; the message names the file and the entry.
    """
    path = Path(path)
    data = read_yaml(path, SkeletonError, "a marker set")
    if not isinstance(data, dict) or not isinstance(data.get("points"), dict):
        raise SkeletonError(
            f'{path}: a marker set needs a "points:" table; see mocap/markers/plug_in_gait.yaml'
        )
    sections = {k: data.get(k) or {} for k in ("aliases", "lengths", "frames", "points")}
    for key, value in sections.items():
        if not isinstance(value, dict):
            raise SkeletonError(f"{path}: {key} must be a table")
    for point, ways in sections["points"].items():
        if point not in POINTS:
            raise SkeletonError(f"{path}: unknown point {point}; a body has {', '.join(POINTS)}")
        for way in ways if isinstance(ways, list) else [None]:
            if not isinstance(way, dict) or not isinstance(way.get("of"), list) or not way["of"]:
                raise SkeletonError(f"{path}: {point} needs a list of entries like {{of: [MARKER, MARKER]}}")
            strange = sorted(map(str, set(way) - {"of", "frame", "in", *_DIRECTIONS}))
            if strange:
                raise SkeletonError(f"{path}: {point} has the unknown key {strange[0]}")
            shifts = [way.get(d, 0.0) for d in _DIRECTIONS]
            if any(isinstance(v, bool) or not isinstance(v, int | float) for v in shifts):
                raise SkeletonError(f"{path}: {point}: forward, left and up need numbers")
            if any(shifts) and (
                str(way.get("frame")) not in sections["frames"]
                or str(way.get("in")) not in sections["lengths"]
            ):
                raise SkeletonError(
                    f"{path}: {point}: a shift needs a frame and a length (in) that the file defines"
                )
    for name, pair in sections["lengths"].items():
        if not isinstance(pair, list) or len(pair) != 2:
            raise SkeletonError(f"{path}: length {name} needs two places")
    for name, ways in sections["frames"].items():
        for way in ways if isinstance(ways, list) else [None]:
            axes = way.items() if isinstance(way, dict) else ()
            if len(axes) != 2 or any(
                k not in _DIRECTIONS or not isinstance(v, list) or len(v) != 2 for k, v in axes
            ):
                raise SkeletonError(f"{path}: frame {name} needs two of forward, left, up, each [from, to]")
    places = [w["of"] for ways in sections["points"].values() for w in ways]
    places += [
        *sections["lengths"].values(),
        *(v for ways in sections["frames"].values() for w in ways for v in w.values()),
    ]
    for place in places:
        _check_place(place, path)
    aliases = {k: v if isinstance(v, list) else [v] for k, v in sections["aliases"].items()}
    return MarkerSet(path.stem, aliases, sections["lengths"], sections["frames"], sections["points"])


def _check_place(what: Any, path: Path, depth: int = 0) -> None:
    if depth > 5 or not isinstance(what, str | list) or (isinstance(what, list) and not 0 < len(what) <= 50):
        raise SkeletonError(f"{path}: {str(what)[:60]} is not a marker's name, nor a list of them")
    for part in what if isinstance(what, list) else ():
        _check_place(part, path, depth + 1)


@lru_cache(maxsize=1)
def shipped_sets() -> tuple[MarkerSet, ...]:
    """The marker sets that come with the package, in name order."""
    return tuple(load_marker_set(p) for p in sorted(_FOLDER.glob("*.yaml")))


def choose_set(labels: Iterable[str], told: str | None, source: str) -> MarkerSet:
    """The marker set for a file: the named one, else the one that finds most points.

    Args:
        labels: the file's marker labels.
        told: a shipped set's name or a file, or None.
        source: the file, for messages.

    Raises:
        SkeletonError: none fits; the message says what is missing.
    """
    labels = tuple(labels)
    if told is not None:
        named = [s for s in shipped_sets() if s.name == told]
        if not named and not Path(told).is_file():
            known = ", ".join(s.name for s in shipped_sets())
            raise SkeletonError(
                f"{source}: markers={told}: neither a file nor one of the shipped sets {known}"
            )
        sets = tuple(named) or (load_marker_set(told),)
    else:
        sets = shipped_sets()
    dummy = {label: np.zeros((1, 3)) for label in labels}
    counted = [(s, body_points(s, dummy)) for s in sets]
    best, found = max(counted, key=lambda pair: len(pair[1]))
    missing = [p for p in REQUIRED if p not in found]
    if missing:
        shown = ", ".join(labels[:12]) + (" …" if len(labels) > 12 else "")
        raise SkeletonError(
            f"{source}: unknown marker set (labels {shown}). The nearest, {best.name}, finds no markers for "
            f"{', '.join(missing[:6])}{' …' if len(missing) > 6 else ''}. Write a file like "
            f"mocap/markers/{best.name}.yaml and name it in clips.yaml (markers: FILE)"
        )
    return best


def body_points(markers: MarkerSet, tracks: Mapping[str, Array]) -> dict[str, Array]:
    """Body points from markers.

    Args:
        markers: the set.
        tracks: trajectory (T, 3) of each label; NaN where a marker was not seen.

    Returns:
        Trajectories (T, 3) of the points that the markers give, NaN where one was not seen.
    """
    plain = {plain_name(k): v for k, v in tracks.items()}
    places: dict[str, Array] = {}
    for name, labels in markers.aliases.items():
        seen = next((plain[plain_name(str(x))] for x in labels if plain_name(str(x)) in plain), None)
        if seen is not None:
            places[name] = seen
    found: dict[str, Array] = {}
    for point, ways in markers.points.items():
        for way in ways:
            at = _shifted(markers, way, plain, places)
            if at is not None:
                found[point] = places[point] = at
                break
    return found


def _place(what: Any, plain: dict[str, Array], places: dict[str, Array]) -> Array | None:
    """The middle of places, or None if a marker is not there."""
    if isinstance(what, list):
        parts = [_place(w, plain, places) for w in what]
        good = [p for p in parts if p is not None]
        return sum(good[1:], good[0]) / len(good) if good and len(good) == len(parts) else None
    if what in places:
        return places[what]
    return plain.get(plain_name(str(what)))


def _shifted(
    markers: MarkerSet, way: dict[str, Any], plain: dict[str, Array], places: dict[str, Array]
) -> Array | None:
    """One way to a point, or None where its markers are not there."""
    at = _place(way["of"], plain, places)
    shift = np.array([float(way.get(d, 0.0)) for d in _DIRECTIONS])
    if at is None or not shift.any():
        return at
    a, b = (_place(w, plain, places) for w in markers.lengths[way["in"]])
    axes = next(
        (f for f in (_axes(w, plain, places) for w in markers.frames[way["frame"]]) if f is not None), None
    )
    if a is None or b is None or axes is None:
        return None
    distance = np.linalg.norm(a - b, axis=1)
    length = float(np.median(distance[np.isfinite(distance)])) if np.isfinite(distance).any() else np.nan
    return at + length * np.einsum("tij,i->tj", axes, shift)


def _axes(way: dict[str, list[Any]], plain: dict[str, Array], places: dict[str, Array]) -> Array | None:
    """Unit vectors forward, left, up as rows (T, 3, 3), or None where a marker is not there."""
    (first, pair), (second, other) = way.items()
    ends = [_place(w, plain, places) for w in (*pair, *other)]
    a, b, c, d = ends
    if a is None or b is None or c is None or d is None:
        return None
    i, j = _DIRECTIONS.index(first), _DIRECTIONS.index(second)
    u = _unit(b - a)
    v = d - c
    v = _unit(v - u * np.sum(u * v, axis=1, keepdims=True))
    # forward × left = up, cyclically.
    w = np.cross(u, v) if (j - i) % 3 == 1 else np.cross(v, u)
    out = np.empty((len(u), 3, 3))
    out[:, i], out[:, j], out[:, 3 - i - j] = u, v, w
    return out


def _unit(v: Array) -> Array:
    return v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12)
