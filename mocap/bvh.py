"""Read Biovision hierarchy (BVH) files.

The dialects met in practice differ in channel order, in joints with six channels, in letter case, in `\\t`
and CR line ends, in end sites with or without a name, and in frame counts that do not fit. Everything that
is not understood is a `ClipFormatError` or a `ClipDataError` that names file, line and joint: a reader for
files from strangers never raises anything else, and its work is bounded by the file's size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mocap.clip import Clip, ClipDataError, ClipError, ClipFormatError, clip_name, make_clip
from mocap.rotations import Array, axis_matrix, quat_from_matrix

MAX_BYTES = 512 * 2**20
MAX_JOINTS = 1000
# Larger than any mocap value in any unit (10 km in millimetres), small enough that squares stay finite.
MAX_ABS = 1e7

_CHANNELS = {f"{axis}{kind}": (kind, axis.upper()) for axis in "xyz" for kind in ("position", "rotation")}


@dataclass
class _Joint:
    name: str
    parent: int
    line: int
    offset: list[float] | None = None
    channels: list[tuple[str, str]] = field(default_factory=list)
    is_end: bool = False


def read_bvh(path: str | Path, *, fps: float | None = None, nan: str = "error") -> Clip:
    """Read one BVH file.

    Args:
        path: the file.
        fps: frames a second, overriding the file's frame time.
        nan: "error" refuses frames with NaN or infinite values; "interpolate" fills them from their
            neighbours and counts them in `provenance["nan_frames"]`.

    Returns:
        The clip, in the file's own unit and axes. Euler angles in degrees, as BVH has them, become
        quaternions.

    Raises:
        ClipFormatError: unreadable, truncated or malformed file.
        ClipDataError: no frames, NaN or absurd values, unusable rate.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ClipFormatError(
                f"{path}: {size / 2**20:.0f} MiB is more than the {MAX_BYTES // 2**20} MiB accepted; split it"
            )
        data = path.read_bytes()
    except OSError as e:
        raise ClipFormatError(
            f"{path}: cannot be read ({e.strerror or e}); check the path and its permissions"
        ) from None
    return parse_bvh(data, str(path), name=clip_name(path), fps=fps, nan=nan)


def parse_bvh(
    data: bytes, source: str, *, name: str | None = None, fps: float | None = None, nan: str = "error"
) -> Clip:
    """Parse the bytes of a BVH file; `source` stands in messages. See `read_bvh`."""
    if b"\0" in data:
        raise ClipFormatError(
            f"{source}: binary data, not a BVH text file; check the file or unpack it first"
        )
    text = data.decode("utf-8", errors="replace").lstrip("\ufeff")
    lines = text.splitlines()
    try:
        joints, motion_line = _parse_hierarchy(lines, source)
        values, frame_time, skipped = _parse_motion(lines, motion_line, joints, source)
    except RecursionError:  # pragma: no cover - the parser does not recurse
        raise ClipFormatError(f"{source}: hierarchy nested too deeply") from None
    values, nan_frames = _check_values(values, joints, motion_line, source, nan)
    rate = fps if fps is not None else (1.0 / frame_time if frame_time > 0.0 else float("nan"))
    if not np.isfinite(rate) or not 1.0 <= rate <= 10000.0:
        raise ClipDataError(
            f"{source}: frame time {frame_time:g} s is not a usable rate; set fps=… to override the file"
        )
    # 0.033333 and 0.0333333 both mean 30 Hz.
    if abs(rate - round(rate)) < 0.01:
        rate = float(round(rate))
    provenance = {"file": Path(source).name, "format": "bvh", "fps_in": rate}
    if skipped:
        provenance["note"] = skipped
    if nan_frames:
        provenance["nan_frames"] = nan_frames
    rotations, translations = _to_arrays(values, joints)
    offsets = np.array([j.offset for j in joints], dtype=float)
    try:
        return make_clip(
            name or Path(source).stem,
            tuple(j.name for j in joints),
            np.array([j.parent for j in joints], dtype=int),
            offsets,
            rotations,
            translations,
            rate,
            provenance,
        )
    except ClipError:
        raise
    except (ValueError, FloatingPointError) as e:  # pragma: no cover - belt and braces for strangers' files
        raise ClipDataError(f"{source}: {e}") from None


def _parse_hierarchy(lines: list[str], source: str) -> tuple[list[_Joint], int]:
    """The joints and the index of the line with MOTION."""

    def fail(i: int, what: str) -> ClipFormatError:
        return ClipFormatError(f"{source}, line {i + 1}: {what}")

    joints: list[_Joint] = []
    names: dict[str, int] = {}
    stack: list[int] = []
    pending: int | None = None  # a joint whose "{" has not come yet
    seen_header = False
    for i, line in enumerate(lines):
        # An opening brace may stand on the joint's own line; some exporters close several joints on one line.
        tokens = line.replace("{", " { ").replace("}", " } ").split()
        k = 0
        while k < len(tokens):
            key = tokens[k].upper()
            if not seen_header:
                if key != "HIERARCHY":
                    raise fail(i, f'expected "HIERARCHY", found "{tokens[k][:40]}"; this is not a BVH file')
                seen_header = True
                k += 1
            elif key in ("ROOT", "JOINT", "END"):
                if pending is not None:
                    raise fail(i, f'joint {joints[pending].name} has no "{{" after its name')
                if key == "ROOT" and joints:
                    raise fail(
                        i, "a second ROOT; only files with one skeleton are read, so cut the others out"
                    )
                if key != "ROOT" and not stack:
                    raise fail(i, f"{tokens[k]} outside of a ROOT")
                rest = [t for t in tokens[k + 1 :] if t not in "{}"]
                if key == "END":
                    label = f"{joints[stack[-1]].name}_end"
                    used = len(rest)
                else:
                    if not rest:
                        raise fail(i, f"{tokens[k]} without a name")
                    label = "_".join(rest)
                    used = len(rest)
                if label in names:
                    if key != "END":
                        raise fail(i, f"a second joint named {label}; rename one")
                    label = f"{label}{len(joints)}"
                names[label] = len(joints)
                joints.append(_Joint(label, stack[-1] if stack else -1, i + 1, is_end=key == "END"))
                if len(joints) > MAX_JOINTS:
                    raise fail(i, f"more than {MAX_JOINTS} joints; this is not a body's skeleton")
                pending = len(joints) - 1
                k += 1 + used
            elif key == "{":
                if pending is None:
                    raise fail(i, '"{" without a joint before it')
                stack.append(pending)
                pending = None
                k += 1
            elif key == "}":
                if not stack:
                    raise fail(i, '"}" without its "{"')
                closed = joints[stack.pop()]
                if closed.offset is None:
                    raise fail(i, f"joint {closed.name} has no OFFSET")
                k += 1
            elif key == "OFFSET":
                if not stack:
                    raise fail(i, "OFFSET outside of a joint")
                joint = joints[stack[-1]]
                numbers = [_number(t) for t in tokens[k + 1 : k + 4]]
                if len(numbers) < 3 or any(
                    v is None or not np.isfinite(v) or abs(v) > MAX_ABS for v in numbers
                ):
                    raise fail(i, f"OFFSET of joint {joint.name} needs three finite numbers")
                joint.offset = [v for v in numbers if v is not None]
                k += 4
            elif key == "CHANNELS":
                if not stack:
                    raise fail(i, "CHANNELS outside of a joint")
                joint = joints[stack[-1]]
                count = _number(tokens[k + 1]) if k + 1 < len(tokens) else None
                if count is None or count not in (0, 1, 2, 3, 4, 5, 6):
                    raise fail(i, f"CHANNELS of joint {joint.name} needs a count from 0 to 6")
                listed = tokens[k + 2 : k + 2 + int(count)]
                channels = [_CHANNELS.get(t.lower()) for t in listed]
                if len(channels) < int(count) or None in channels:
                    raise fail(
                        i,
                        f"joint {joint.name} announces {int(count)} channels "
                        f"but lists {' '.join(listed)[:80] or 'none'}",
                    )
                if len(set(channels)) != len(channels):
                    raise fail(i, f"joint {joint.name} lists a channel twice: {' '.join(listed)}")
                if joint.channels:
                    raise fail(i, f"joint {joint.name} has CHANNELS twice")
                joint.channels = [c for c in channels if c is not None]
                k += 2 + int(count)
            elif key == "MOTION":
                if stack or pending is not None:
                    open_joint = joints[pending if pending is not None else stack[-1]].name
                    raise fail(i, f'MOTION while joint {open_joint} is still open; a "}}" is missing')
                if not joints:
                    raise fail(i, "MOTION before any joint")
                if len(joints) < 2 or not any(j.channels for j in joints):
                    raise fail(i, "the hierarchy has no joints that move")
                return joints, i
            else:
                raise fail(i, f'unknown word "{tokens[k][:40]}" in the hierarchy')
    if not seen_header:
        raise ClipFormatError(f"{source}: empty file, not a BVH file")
    raise ClipFormatError(
        f"{source}: the file ends inside the hierarchy (no MOTION line); it is truncated, get it again"
    )


def _number(token: str) -> float | None:
    try:
        return float(token)
    except ValueError:
        return None


def _parse_motion(
    lines: list[str], motion_line: int, joints: list[_Joint], source: str
) -> tuple[Array, float, str]:
    """The (frames, channels) table, the frame time [s], and a note when the announced frame count was
    wrong.
    """

    def fail(i: int, what: str) -> ClipFormatError:
        return ClipFormatError(f"{source}, line {i + 1}: {what}")

    width = sum(len(j.channels) for j in joints)
    announced: int | None = None
    frame_time: float | None = None
    i = motion_line + 1
    while i < len(lines) and (announced is None or frame_time is None):
        words = lines[i].replace(":", " ").split()
        if words:
            key = words[0].lower()
            value = _number(words[-1])
            if key == "frames":
                if value is None or not np.isfinite(value) or value != int(value) or value < 0:
                    raise fail(i, f'"{lines[i].strip()[:40]}" is not a frame count')
                announced = int(value)
            elif key == "frame" and len(words) == 3 and words[1].lower() == "time":
                if value is None:
                    raise fail(i, f'"{lines[i].strip()[:40]}" is not a frame time')
                frame_time = value
            else:
                raise fail(i, f'expected "Frames:" and "Frame Time:", found "{lines[i].strip()[:40]}"')
        i += 1
    if announced is None or frame_time is None:
        raise ClipFormatError(
            f'{source}: the file ends before "Frames:" and "Frame Time:"; it is truncated, get it again'
        )
    first = i
    body = lines[first:]
    tokens = " ".join(body).split()
    if not tokens:
        raise ClipDataError(f"{source}: the clip has no frames; nothing to retarget")
    try:
        flat = np.array(tokens, dtype=np.float64)
    except (ValueError, OverflowError):
        flat = None
    if flat is not None and flat.size == announced * width:
        return flat.reshape(announced, width), frame_time, ""
    # Something is wrong: find the line that says what.
    rows = 0
    for n, line in enumerate(body):
        words = line.split()
        if not words:
            continue
        column = next((c for c, w in enumerate(words) if _number(w) is None), None)
        if column is not None:
            raise fail(
                first + n,
                f'"{words[column][:40]}" is not a number '
                f"(channel of joint {_owner(joints, column)}, frame {rows})",
            )
        if len(words) != width:
            last = not any(later.strip() for later in body[n + 1 :])
            hint = "the file is truncated, get it again" if last else "the frame is damaged, cut it out"
            raise fail(
                first + n,
                f"frame {rows} has {len(words)} values where the skeleton has {width} channels; {hint}",
            )
        rows += 1
    if flat is None:
        raise ClipFormatError(f"{source}: the motion block cannot be read as numbers")
    if rows < announced:
        raise ClipFormatError(
            f"{source}: announces {announced} frames but holds {rows}; it is truncated, get it again "
            f"(or correct its Frames: line to keep what is there)"
        )
    return (
        flat.reshape(rows, width),
        frame_time,
        f"the file announces {announced} frames and holds {rows}; all were read",
    )


def _owner(joints: list[_Joint], column: int) -> str:
    """The joint that channel number `column` belongs to."""
    for joint in joints:
        if column < len(joint.channels):
            return joint.name
        column -= len(joint.channels)
    return "none"


def _check_values(
    values: Array, joints: list[_Joint], motion_line: int, source: str, nan: str
) -> tuple[Array, int]:
    """Refuse or fill NaN and absurd values; returns the table and the number of filled frames."""
    if not len(values):
        raise ClipDataError(f"{source}: the clip has no frames; nothing to retarget")
    with np.errstate(invalid="ignore"):
        bad = ~(np.abs(values) <= MAX_ABS)
    if not bad.any():
        return values, 0
    rows = bad.any(axis=1)
    frame, column = np.argwhere(bad)[0]
    if nan != "interpolate" or rows.all():
        raise ClipDataError(
            f"{source}: frame {frame}, joint {_owner(joints, int(column))} holds {values[frame, column]} "
            f"({int(rows.sum())} of {len(values)} frames are like it); "
            f"cut them out or set clean.nan_frames=interpolate"
        )
    good = np.flatnonzero(~rows)
    filled = values.copy()
    # Euler angles wrap at ±180°, so the nearest good frame is held instead of mixing angles.
    nearest = good[np.abs(np.searchsorted(good, np.arange(len(values))).clip(0, len(good) - 1))]
    filled[rows] = values[nearest[rows]]
    return filled, int(rows.sum())


def _to_arrays(values: Array, joints: list[_Joint]) -> tuple[Array, Array]:
    """Quaternions (T, J, 4) and translations (T, J, 3) of the channel table."""
    frames = len(values)
    rotations = np.zeros((frames, len(joints), 4))
    rotations[..., 0] = 1.0
    translations = np.empty((frames, len(joints), 3))
    column = 0
    for n, joint in enumerate(joints):
        translations[:, n] = joint.offset
        r: Array | None = None
        replaced = False
        for kind, axis in joint.channels:
            v = values[:, column]
            column += 1
            if kind == "position":
                # Position channels replace the offset: that is how every exporter met here writes the root.
                if not replaced and joint.parent < 0:
                    translations[:, n] = 0.0
                replaced = True
                translations[:, n, "XYZ".index(axis)] = v
            else:
                step = axis_matrix(axis, np.deg2rad(v))
                r = step if r is None else r @ step
        if r is not None:
            rotations[:, n] = quat_from_matrix(r)
    return rotations, translations
