"""Read Acclaim motion (AMC) with its skeleton (ASF), as CMU and HDM05 publish them.

A bone of the ASF becomes a joint at the bone's beginning, named after it; the end of a bone on which nothing
hangs is a joint "<bone>_end". With C the bone's axis and M its motion, the joint turns by C M C⁻¹ against the
rest pose; M and C are rotations about fixed axes in the order written.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from mocap.asf import Bone, Skeleton, fixed_axes, parse_asf
from mocap.clip import (
    Clip,
    ClipDataError,
    ClipFormatError,
    check_size,
    clip_name,
    decode_text,
    make_clip,
    read_bytes,
)
from mocap.overrides import Overrides
from mocap.rate import check_fps
from mocap.rotations import Array, quat_from_matrix
from mocap.table import hold_bad_rows, number

ASSUMED_HZ = 120.0
"""Rate of AMC files, which do not say it: CMU's and HDM05's cameras ran at 120 Hz [Hz]."""

_LIMIT_SLACK = 0.01


def read_amc(path: str | Path, overrides: Overrides | None = None, *, nan: str = "error") -> Clip:
    """Read an AMC file with the ASF that belongs to it.

    The ASF is the one that clips.yaml names, else the one that a comment of the AMC names, else the one with
    the same name, or with the name up to a "_" (07_01.amc: 07.asf), else the only one in the folder or the
    one above.

    Args:
        path: the AMC file.
        overrides: rate and skeleton file.
        nan: "error" refuses frames with NaN, "interpolate" holds the frame before.

    Raises:
        ClipFormatError: no ASF, or a damaged file. ClipDataError: no frames, NaN, no usable rate.
    """
    path = Path(path)
    overrides = overrides or Overrides()
    data = read_bytes(path)
    asf = find_asf(path, overrides.asf, data[:4096])
    return parse_amc(
        data, read_bytes(asf), str(path), str(asf), name=clip_name(path), fps=overrides.fps, nan=nan
    )


def find_asf(path: Path, told: str | None = None, head: bytes = b"") -> Path:
    """The skeleton file of an AMC file; see `read_amc`.

    Raises:
        ClipFormatError: none, or several; the message names them and says how to choose.
    """
    if told is not None:
        if not Path(told).is_file():
            raise ClipFormatError(f"{path}: its clips.yaml names the skeleton {told}, which is not there")
        return Path(told)
    beside: dict[str, Path] = {}
    for folder in (path.parent, path.parent.parent):
        if beside:
            break
        try:
            beside = {p.name.lower(): p for p in sorted(folder.iterdir()) if p.suffix.lower() == ".asf"}
        except OSError:
            continue
    named = re.search(rb"([^\\/:\s]+\.asf)", head, re.IGNORECASE)
    wanted = [named[1].decode("utf-8", "replace").lower()] if named else []
    stem = path.stem.lower()
    while stem:
        wanted.append(f"{stem}.asf")
        stem = stem.rpartition("_")[0]
    for name in wanted:
        if name in beside:
            return beside[name]
    if len(beside) == 1:
        return next(iter(beside.values()))
    there = ", ".join(list(beside)[:5]) or "none"
    raise ClipFormatError(
        f"{path}: which .asf file is its skeleton? There: {there}. "
        f"Put it beside the clip, or name it in clips.yaml (asf: FILE)"
    )


def parse_amc(
    data: bytes,
    asf: bytes,
    source: str,
    asf_source: str = "skeleton.asf",
    *,
    name: str | None = None,
    fps: float | None = None,
    nan: str = "error",
) -> Clip:
    """Parse the bytes of an AMC file and its ASF; the sources stand in messages. See `read_amc`."""
    skeleton = parse_asf(asf, asf_source)
    values, degrees, rate, notes = _parse_frames(data, skeleton, source)
    provenance: dict[str, Any] = {
        "file": Path(source).name,
        "format": "amc",
        "skeleton_file": Path(asf_source).name,
    }
    values, held = hold_bad_rows(values, lambda c: f"bone {_owner(skeleton, c)}", source, nan)
    if held:
        provenance["nan_frames"] = held
    if fps is None:
        fps = rate
    if fps is None:
        fps = ASSUMED_HZ
        notes.append(f"{fps:g} Hz assumed")
    outside = _outside(values, skeleton)
    if outside:
        provenance["limits_exceeded"] = outside
    provenance["fps_in"] = check_fps(fps, source)
    if notes:
        provenance["note"] = ", ".join(notes)
    names, parents, offsets, rotations, translations = _joints(values, skeleton, degrees)
    return make_clip(
        name or Path(source).stem, names, parents, offsets, rotations, translations, fps, provenance
    )


def _parse_frames(
    data: bytes, skeleton: Skeleton, source: str
) -> tuple[Array, bool, float | None, list[str]]:
    """The (frames, degrees of freedom) table, whether angles are degrees, the rate if it is said, notes."""
    text = decode_text(data, source)
    if "\0" in text:
        raise ClipFormatError(f"{source}: binary data, not an AMC text file; check the file")
    columns: dict[str, slice] = {}
    start = 0
    for bone in skeleton.bones:
        if bone.dof:
            columns[bone.name] = slice(start, start + len(bone.dof))
            start += len(bone.dof)
    if not start:
        raise ClipFormatError(f"{source}: its skeleton has no degrees of freedom; is it the right .asf?")
    degrees, rate, notes = skeleton.degrees, None, []
    rows: list[list[float]] = []
    seen: set[str] = set()
    absent: set[str] | None = None
    row: list[float] = []

    def finish(line: int) -> None:
        nonlocal absent
        missing = columns.keys() - seen
        if absent is None:
            absent = missing
        if missing != absent:
            first = sorted(missing ^ absent)[0]
            raise ClipFormatError(
                f"{source}, line {line}: frame {len(rows)} {'lacks' if first in missing else 'has also'} "
                f"bone {first}, unlike the first; the file is truncated or damaged there, cut it off"
            )
        rows.append(row)
        check_size(len(rows), max(start // 3, 2 * len(skeleton.bones)), source)

    number_of_line = 0
    for number_of_line, line in enumerate(text.splitlines(), 1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        where = f"{source}, line {number_of_line}"
        if words[0].startswith(":"):
            key = words[0].lower()
            if key in (":degrees", ":radians"):
                degrees = key == ":degrees"
            elif key == ":samples-per-second" and len(words) > 1:
                rate = number(words[1])
        elif len(words) == 1 and words[0].isdecimal():
            if row:
                finish(number_of_line)
            row, seen = [0.0] * start, set()
        elif not row:
            raise ClipFormatError(
                f'{where}: "{words[0][:40]}" before the first frame number; not an AMC file'
            )
        else:
            place = columns.get(words[0])
            if place is None:
                raise ClipFormatError(
                    f"{where}: bone {words[0][:40]} has no degrees of freedom in the skeleton; is it the right .asf?"
                )
            if words[0] in seen:
                raise ClipFormatError(
                    f"{where}: bone {words[0]} twice in frame {len(rows)}; cut the frame out"
                )
            values = [number(w) for w in words[1:]]
            good = [v for v in values if v is not None]
            if len(good) != len(values) or len(values) != place.stop - place.start:
                raise ClipFormatError(
                    f"{where}: bone {words[0]} needs {place.stop - place.start} numbers, "
                    f"has {' '.join(words[1:])[:60] or 'none'}; the file is damaged there, cut it off"
                )
            row[place] = good
            seen.add(words[0])
    if row:
        finish(number_of_line)
    if not rows:
        raise ClipDataError(f"{source}: the clip has no frames; nothing to retarget")
    if absent:
        if "root" in absent:
            raise ClipFormatError(f"{source}: its frames have no root; not an AMC file, or damaged")
        notes.append(f"{len(absent)} bones without motion ({', '.join(sorted(absent)[:3])}), kept straight")
    if rate is not None and not 1.0 <= rate <= 10000.0:
        rate = None
    return np.array(rows), degrees, rate, notes


def _owner(skeleton: Skeleton, column: int) -> str:
    for bone in skeleton.bones:
        if column < len(bone.dof):
            return bone.name
        column -= len(bone.dof)
    return "none"


def _outside(values: Array, skeleton: Skeleton) -> int:
    """Number of samples outside of the skeleton's own limits."""
    limits = [
        b.limits if len(b.limits) else np.full((len(b.dof), 2), [-np.inf, np.inf]) for b in skeleton.bones
    ]
    low, high = np.concatenate(limits).T
    return int(np.sum((values < low - _LIMIT_SLACK) | (values > high + _LIMIT_SLACK)))


def _joints(
    values: Array, skeleton: Skeleton, degrees: bool
) -> tuple[tuple[str, ...], np.ndarray, Array, Array, Array]:
    """Names, parents, offsets, rotations and translations of the clip's joints."""
    frames = len(values)
    bones = skeleton.bones
    leaves = [n for n in range(len(bones)) if n not in {b.parent for b in bones}]
    names = (*(b.name for b in bones), *(f"{bones[n].name}_end" for n in leaves))
    parents = np.array([*(b.parent for b in bones), *leaves])
    # A joint is at the end of its parent.
    ends = np.array([b.direction * b.length for b in bones])
    offsets = np.array([ends[p] if p >= 0 else bones[0].position for p in parents])
    rotations = np.zeros((frames, len(names), 4))
    rotations[..., 0] = 1.0
    translations = np.tile(offsets, (frames, 1, 1))
    column = 0
    for n, bone in enumerate(bones):
        part = {d: values[:, column + i] for i, d in enumerate(bone.dof)}
        column += len(bone.dof)
        _move(bone, n, part, degrees, parents, rotations, translations)
    return names, parents, offsets, rotations, translations


def _move(
    bone: Bone,
    n: int,
    part: dict[str, Array],
    degrees: bool,
    parents: np.ndarray,
    rotations: Array,
    translations: Array,
) -> None:
    """Apply a bone's motion to its joint, and its length's change to those that hang on it."""
    turns = [d for d in bone.dof if d[0] == "r"]
    if turns:
        angles = np.stack([part[d] for d in turns], axis=1)
        motion = fixed_axes("".join(d[1] for d in turns), np.deg2rad(angles) if degrees else angles)
        turn = bone.axis @ motion @ bone.axis.T @ bone.orientation
        rotations[:, n] = quat_from_matrix(turn)
    elif bone.parent < 0:
        rotations[:, n] = quat_from_matrix(bone.orientation[None])
    shift = np.stack([part.get(d, np.zeros(len(rotations))) for d in ("tx", "ty", "tz")], axis=1)
    translations[:, n] += shift @ bone.axis.T
    if "l" in part:
        translations[:, parents == n] += (part["l"][:, None] * bone.direction)[:, None]
