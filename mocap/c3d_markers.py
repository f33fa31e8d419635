"""Read C3D files: markers, and from them the joint centres of a body.

The file's structure is read by the c3d package; a marker set (`mocap.marker_set`) makes body points of the
markers. A clip of markers has positions only: each body point is a joint that hangs on a root "world" which
stays where it is, moves by its translation and does not turn.
"""

from __future__ import annotations

import io
import warnings
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import c3d
import numpy as np
from scipy.interpolate import PchipInterpolator

from mocap.clip import (
    Clip,
    ClipDataError,
    ClipError,
    ClipFormatError,
    check_size,
    clip_name,
    make_clip,
    read_bytes,
)
from mocap.filters import runs
from mocap.marker_set import body_points, choose_set
from mocap.overrides import Overrides
from mocap.rate import check_fps
from mocap.rotations import Array
from mocap.skeleton import REQUIRED
from mocap.table import MAX_ABS

GAP_S = 0.25
"""Longest time without a marker that is filled unasked; chosen, without a source [s]."""

_UNITS = {"mm": 0.001, "cm": 0.01, "m": 1.0, "in": 0.0254, "inch": 0.0254, "inches": 0.0254}
# Hip to ankle of a person [m], children included: a file's unit that contradicts it is wrong.
_LEG_M = (0.35, 1.3)


@dataclass
class Markers:
    """The markers of a C3D file.

    Attributes:
        tracks: trajectory (T, 3) of each label in the file's unit; NaN where it was not seen.
        fps: frames a second. unit: what the file calls its unit, "" if it does not.
    """

    tracks: dict[str, Array]
    fps: float
    unit: str


class _Reader(c3d.Reader):
    """The package's reader, without its demand that header and parameters agree in everything: files of several
    vendors do not, and what matters here is checked in `parse_markers`.
    """

    def _check_metadata(self) -> None:
        pass


def read_c3d(path: str | Path, overrides: Overrides | None = None, *, nan: str = "error") -> Clip:
    """Read the markers of a C3D file as a clip of body points.

    Frames at both ends in which a needed marker is not seen are cut off, gaps up to `GAP_S` are filled by
    monotone cubics; both are counted in the provenance.

    Args:
        path: the file.
        overrides: marker set, rate.
        nan: what is done with longer gaps: "error" refuses them, "interpolate" fills them.

    Raises:
        ClipFormatError: not a C3D file, or damaged. ClipDataError: no markers or frames, gaps.
        SkeletonError: no marker set fits.
    """
    path = Path(path)
    return parse_c3d(read_bytes(path), str(path), overrides, name=clip_name(path), nan=nan)


def parse_c3d(
    data: bytes,
    source: str,
    overrides: Overrides | None = None,
    *,
    name: str | None = None,
    nan: str = "error",
) -> Clip:
    """Parse the bytes of a C3D file; `source` stands in messages. See `read_c3d`."""
    overrides = overrides or Overrides()
    markers = parse_markers(data, source)
    tracks, note = _one_subject(markers.tracks)
    notes = [note] if note else []
    chosen = choose_set(tracks, overrides.markers, source)
    fps = check_fps(overrides.fps if overrides.fps is not None else markers.fps, source)
    filled = {k: fill_gaps(v, GAP_S * fps) for k, v in tracks.items()}
    points = body_points(chosen, filled)
    seen = np.asarray(np.isfinite(np.stack([points[p] for p in REQUIRED])).all(axis=(0, 2)))
    if not seen.any():
        worst = max(tracks, key=lambda k: int(np.isnan(tracks[k]).any(axis=1).sum()))
        raise ClipDataError(
            f"{source}: no frame with all markers that are needed ({worst} is seen least); track it again"
        )
    start, stop = int(np.argmax(seen)), len(seen) - int(np.argmax(seen[::-1]))
    gaps = [(a + start, b + start) for a, b in runs(~seen[start:stop])]
    if gaps and nan != "interpolate":
        a, b = max(gaps, key=lambda g: g[1] - g[0])
        lost = [k for k, v in filled.items() if np.isnan(v[a:b]).any()]
        raise ClipDataError(
            f"{source}: {', '.join(lost[:4])} not seen from frame {a} to {b - 1} ({(b - a) / fps:.2f} s; "
            f"{len(gaps)} such gaps); fill them in the capture software, or set clean.nan_frames=interpolate"
        )
    holes = sum(int((np.isnan(tracks[k]) & ~np.isnan(v)).any(axis=1).sum()) for k, v in filled.items())
    points = {p: fill_gaps(x[start:stop], np.inf) for p, x in points.items()}
    points = {p: x for p, x in points.items() if np.isfinite(x).all()}
    names = ("world", *points)
    check_size(stop - start, len(names), source)
    translations = np.zeros((stop - start, len(names), 3))
    for n, x in enumerate(points.values(), 1):
        translations[:, n] = x
    rotations = np.zeros((stop - start, len(names), 4))
    rotations[..., 0] = 1.0
    parents = np.array([-1] + [0] * len(points))
    provenance: dict[str, Any] = {
        "file": Path(source).name,
        "format": "c3d",
        "fps_in": fps,
        "markers": chosen.name,
        "filled_marker_frames": holes,
        "cut_frames": [start, len(seen) - stop],
    }
    if gaps:
        provenance["nan_frames"] = int(sum(b - a for a, b in gaps))
    leg = float(np.median(np.linalg.norm(points["left_hip"] - points["left_ankle"], axis=1)))
    unit = _UNITS.get(markers.unit.lower())
    if unit is not None and not _LEG_M[0] <= leg * unit <= _LEG_M[1]:
        notes.append(f"the file's unit {markers.unit} makes legs of {leg * unit:.3g} m; not believed")
        unit = None
    notes.append(f"markers {chosen.name}")
    if start or stop < len(seen):
        notes.append(f"{start} and {len(seen) - stop} frames without all markers cut off the ends")
    if holes:
        notes.append(f"{holes} marker frames filled")
    provenance["note"] = ", ".join(notes)
    clip = make_clip(
        name or Path(source).stem, names, parents, translations[0], rotations, translations, fps, provenance
    )
    return replace(clip, skeleton="markers", unit_m=unit)


def parse_markers(data: bytes, source: str) -> Markers:
    """The labelled markers in the bytes of a C3D file.

    Raises:
        ClipFormatError: not a C3D file, or damaged. ClipDataError: no markers, no frames.
    """
    if len(data) < 1024 or data[1] != 0x50:
        raise ClipFormatError(f"{source}: not a C3D file, or cut off within its header; get it again")
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            # What it warns about (missing descriptions, blocks left over) does not matter or is checked below.
            warnings.simplefilter("ignore")
            return _markers(data, source)
    except ClipError:
        raise
    # The package names no errors of its own: a damaged file can raise anything that indexing and unpacking do.
    except Exception as e:
        raise ClipFormatError(
            f"{source}: damaged C3D file ({type(e).__name__}: {str(e)[:100]}); get it again"
        ) from None


def _markers(data: bytes, source: str) -> Markers:
    reader = _Reader(io.BytesIO(data))
    count, first, last = int(reader.point_used), int(reader.first_frame), int(reader.last_frame)
    if not 0 < count <= 2000:
        raise ClipDataError(f"{source}: {count} markers; a clip of a person is needed")
    frames = last - first + 1
    if frames < 1:
        raise ClipDataError(f"{source}: the clip has no frames (from {first} to {last}); nothing to retarget")
    # Each frame takes at least 8 bytes a marker.
    held = (len(data) - (reader.header.data_block - 1) * 512) // (8 * count)
    if frames > held:
        raise ClipFormatError(
            f"{source}: announces {frames} frames of {count} markers but has room for {max(held, 0)}; "
            f"it is truncated, get it again"
        )
    check_size(frames, count, source)
    labels: list[str] = []
    for key in ("POINT:LABELS", *(f"POINT:LABELS{n}" for n in range(2, 10))):
        param = reader.get(key)
        if param is not None:
            labels += [str(s).strip() for s in param.string_array]
    if not labels:
        raise ClipDataError(f"{source}: its markers have no labels; label them in the capture software")
    table = np.empty((frames, count, 4), dtype=np.float32)
    n = 0
    for _, points, _ in reader.read_frames(copy=False):
        table[n] = points[:, :4]
        n += 1
    if n < frames:
        raise ClipFormatError(
            f"{source}: announces {frames} frames but holds {n}; it is truncated, get it again"
        )
    x = table[:, :, :3].astype(float)
    # Residual -1 marks a marker that was not seen; some exporters write zeros, or NaN, instead.
    gone = (table[:, :, 3] < 0.0) | ~(np.abs(x) <= MAX_ABS).all(axis=2) | (x == 0.0).all(axis=2)
    x[gone] = np.nan
    tracks = {}
    for k, label in enumerate(labels[:count]):
        # Unlabelled trajectories are called *12 or U12; what is never seen is not there.
        if label and not label.startswith("*") and label not in tracks and not gone[:, k].all():
            tracks[label] = x[:, k]
    if not tracks:
        raise ClipDataError(f"{source}: no labelled marker is ever seen; label them in the capture software")
    units = reader.get("POINT:UNITS")
    unit = str(units.string_value).strip("\0 ") if units is not None else ""
    return Markers(tracks, float(reader.point_rate), unit[:20])


def _one_subject(tracks: dict[str, Array]) -> tuple[dict[str, Array], str]:
    """Markers of the subject that has most, without its name before them, and a note if there are others."""
    subjects = Counter(label.rpartition(":")[0] for label in tracks)
    if len(subjects) == 1:
        return {label.rpartition(":")[2]: x for label, x in tracks.items()}, ""
    best = max(subjects, key=lambda s: subjects[s])
    mine = {k.rpartition(":")[2]: x for k, x in tracks.items() if k.rpartition(":")[0] == best}
    others = ", ".join(sorted(s or "(no name)" for s in subjects if s != best)[:3])
    return mine, f"subject {best or '(no name)'} of {len(subjects)} read (also {others})"


def fill_gaps(track: Array, longest: float) -> Array:
    """A trajectory (T, 3) with gaps of NaN up to `longest` frames filled by monotone cubics; ends are left."""
    missing = np.asarray(np.isnan(track).any(axis=1))
    if not missing.any() or missing.all():
        return track
    good = np.flatnonzero(~missing)
    inside = [(a, b) for a, b in runs(missing) if a > good[0] and b <= good[-1] and b - a <= longest]
    if not inside:
        return track
    rows = np.concatenate([np.arange(a, b) for a, b in inside])
    out = track.copy()
    out[rows] = PchipInterpolator(good, track[good])(rows)
    return out
