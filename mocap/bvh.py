"""Read Biovision hierarchy (BVH) files.

The dialects met in practice differ in channel order, in joints with six channels or three positions, in
letter case, encoding, `\\t` and CR line ends, in line breaks anywhere or nowhere, in decimal commas, in end
sites with or without a name, in frame counts that do not fit and in frame times rounded or in milliseconds.
Everything that is not understood is a `ClipFormatError` or a `ClipDataError` that names file, line and joint: a
reader for files from strangers never raises anything else, and its work is bounded by the file's size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mocap.clip import (
    Clip,
    ClipFormatError,
    check_size,
    clip_name,
    decode_text,
    make_clip,
    read_bytes,
)
from mocap.rate import check_fps, rate_from_frame_time
from mocap.rotations import Array, axis_matrix, quat_from_matrix
from mocap.table import MAX_ABS, hold_bad_rows, number, parse_table

MAX_JOINTS = 1000

_CHANNELS = {f"{axis}{kind}": (kind, axis.upper()) for axis in "xyz" for kind in ("position", "rotation")}


@dataclass
class _Joint:
    name: str
    parent: int
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
    return parse_bvh(read_bytes(path), str(path), name=clip_name(path), fps=fps, nan=nan)


def parse_bvh(
    data: bytes, source: str, *, name: str | None = None, fps: float | None = None, nan: str = "error"
) -> Clip:
    """Parse the bytes of a BVH file; `source` stands in messages. See `read_bvh`."""
    text = decode_text(data, source)
    if "\0" in text:
        raise ClipFormatError(
            f"{source}: binary data, not a BVH text file; check the file or unpack it first"
        )
    lines = text.splitlines()
    joints, motion_line = _parse_hierarchy(lines, source)
    values, frame_time, note = _parse_motion(lines, motion_line, joints, source)
    values, nan_frames = hold_bad_rows(values, lambda c: f"joint {_owner(joints, c)}", source, nan)
    notes = [note] if note else []
    if fps is not None:
        rate = check_fps(fps, source)
    else:
        rate, note = rate_from_frame_time(frame_time, source)
        notes += [note] if note else []
    provenance: dict[str, Any] = {"file": Path(source).name, "format": "bvh", "fps_in": rate}
    if notes:
        provenance["note"] = "; ".join(notes)
    if nan_frames:
        provenance["nan_frames"] = nan_frames
    check_size(len(values), len(joints), source)
    rotations, translations = _to_arrays(values, joints)
    return make_clip(
        name or Path(source).stem,
        tuple(j.name for j in joints),
        np.array([j.parent for j in joints], dtype=int),
        np.array([j.offset for j in joints], dtype=float),
        rotations,
        translations,
        rate,
        provenance,
    )


class _Tokens:
    """The words of the hierarchy with their lines; braces are words of their own wherever they stand."""

    def __init__(self, lines: list[str], source: str) -> None:
        self.source = source
        self.line = 0
        self._lines = lines
        self._words: list[str] = []
        self._next = 0

    def fail(self, what: str) -> ClipFormatError:
        """An error at the line of the last word taken."""
        return ClipFormatError(f"{self.source}, line {self.line}: {what}")

    def peek(self) -> str | None:
        """The next word, not taken; None at the end of the file."""
        while not self._words:
            if self._next >= len(self._lines):
                return None
            text = self._lines[self._next].replace("{", " { ").replace("}", " } ")
            self._words = text.split()[::-1]
            self._next += 1
        return self._words[-1]

    def take(self) -> str | None:
        """The next word."""
        word = self.peek()
        if word is not None:
            self._words.pop()
            self.line = self._next
        return word

    def name(self) -> str:
        """The words up to the line's end or a brace, joined: names may hold spaces."""
        found = []
        while self._words and self._words[-1] not in ("{", "}"):
            found.append(self._words.pop())
        return "_".join(found)


def _parse_hierarchy(lines: list[str], source: str) -> tuple[list[_Joint], int]:
    """The joints and the index of the line with MOTION."""
    tokens = _Tokens(lines, source)
    joints: list[_Joint] = []
    names: set[str] = set()
    stack: list[int] = []
    pending: int | None = None  # a joint whose "{" has not come yet
    word = tokens.take()
    if word is None:
        raise ClipFormatError(f"{source}: empty file, not a BVH file")
    if word.upper() != "HIERARCHY":
        raise tokens.fail(f'expected "HIERARCHY", found "{word[:40]}"; this is not a BVH file')
    while (word := tokens.take()) is not None:
        key = word.upper()
        if key in ("ROOT", "JOINT", "END"):
            if pending is not None:
                raise tokens.fail(f'joint {joints[pending].name} has no "{{" after its name')
            joints.append(_new_joint(tokens, key, joints, names, stack))
            pending = len(joints) - 1
        elif key == "{":
            if pending is None:
                raise tokens.fail('"{" without a joint before it')
            stack.append(pending)
            pending = None
        elif key == "}":
            if not stack:
                raise tokens.fail('"}" without its "{"')
            closed = joints[stack.pop()]
            if closed.offset is None:
                raise tokens.fail(f"joint {closed.name} has no OFFSET")
        elif key in ("OFFSET", "CHANNELS"):
            if not stack:
                raise tokens.fail(f"{key} outside of a joint")
            joint = joints[stack[-1]]
            if key == "OFFSET":
                joint.offset = _offset(tokens, joint)
            else:
                joint.channels = _channels(tokens, joint)
        elif key == "MOTION":
            if stack or pending is not None:
                open_joint = joints[pending if pending is not None else stack[-1]].name
                raise tokens.fail(f'MOTION while joint {open_joint} is still open; a "}}" is missing')
            if len(joints) < 2 or not any(j.channels for j in joints):
                raise tokens.fail("the hierarchy has no joints that move")
            return joints, tokens.line - 1
        else:
            raise tokens.fail(f'unknown word "{word[:40]}" in the hierarchy')
    raise ClipFormatError(
        f"{source}: the file ends inside the hierarchy (no MOTION line); it is truncated, get it again"
    )


def _new_joint(tokens: _Tokens, key: str, joints: list[_Joint], names: set[str], stack: list[int]) -> _Joint:
    """The joint that ROOT, JOINT or END begins."""
    if key == "ROOT" and joints:
        raise tokens.fail("a second ROOT; only files with one skeleton are read, so cut the others out")
    if key != "ROOT" and not stack:
        raise tokens.fail(f"{key} outside of a ROOT")
    if len(joints) >= MAX_JOINTS:
        raise tokens.fail(f"more than {MAX_JOINTS} joints; this is not a body's skeleton")
    label = tokens.name()[:200]
    if key == "END":
        label = f"{joints[stack[-1]].name}_end"
        if label in names:
            label = f"{label}{len(joints)}"
    elif not label:
        raise tokens.fail(f"{key} without a name")
    elif label in names:
        raise tokens.fail(f"a second joint named {label}; rename one")
    names.add(label)
    return _Joint(label, stack[-1] if stack else -1, is_end=key == "END")


def _offset(tokens: _Tokens, joint: _Joint) -> list[float]:
    found: list[float] = []
    while len(found) < 3:
        value = number(tokens.peek() or "")
        if value is None or not abs(value) <= MAX_ABS:
            raise tokens.fail(f"OFFSET of joint {joint.name} needs three finite numbers")
        found.append(value)
        tokens.take()
    return found


def _channels(tokens: _Tokens, joint: _Joint) -> list[tuple[str, str]]:
    count = number(tokens.take() or "")
    if count is None or count not in (0, 1, 2, 3, 4, 5, 6):
        raise tokens.fail(f"CHANNELS of joint {joint.name} needs a count from 0 to 6")
    listed = []
    while len(listed) < count and (tokens.peek() or "").lower() in _CHANNELS:
        listed.append(tokens.take() or "")
    if len(listed) < count:
        found = " ".join([*listed, tokens.peek() or ""])
        raise tokens.fail(f"joint {joint.name} announces {int(count)} channels but lists {found[:80]}")
    channels = [_CHANNELS[t.lower()] for t in listed]
    if len(set(channels)) != len(channels):
        raise tokens.fail(f"joint {joint.name} lists a channel twice: {' '.join(listed)}")
    if joint.channels:
        raise tokens.fail(f"joint {joint.name} has CHANNELS twice")
    return channels


def _parse_motion(
    lines: list[str], motion_line: int, joints: list[_Joint], source: str
) -> tuple[Array, str, str]:
    """The (frames, channels) table, the frame time as written, and a note when the announced frame count was
    wrong.
    """

    def fail(i: int, what: str) -> ClipFormatError:
        return ClipFormatError(f"{source}, line {i + 1}: {what}")

    width = sum(len(j.channels) for j in joints)
    announced: int | None = None
    frame_time: str | None = None
    i = motion_line + 1
    while i < len(lines) and (announced is None or frame_time is None):
        words = lines[i][:200].replace(":", " ").replace("=", " ").split()
        if words:
            key = words[0].lower()
            value = number(words[-1])
            if key == "frames":
                if value is None or not np.isfinite(value) or value != int(value) or value < 0:
                    raise fail(i, f'"{lines[i].strip()[:40]}" is not a frame count')
                announced = int(value)
            elif (key == "frame" and len(words) == 3 and words[1].lower() == "time") or key == "frametime":
                if value is None:
                    raise fail(i, f'"{lines[i].strip()[:40]}" is not a frame time')
                frame_time = words[-1].replace(",", ".")
            else:
                raise fail(i, f'expected "Frames:" and "Frame Time:", found "{lines[i].strip()[:40]}"')
        i += 1
    if announced is None or frame_time is None:
        raise ClipFormatError(
            f'{source}: the file ends before "Frames:" and "Frame Time:"; it is truncated, get it again'
        )
    values, note = parse_table(lines[i:], i, width, announced, lambda c: _owner(joints, c), source)
    return values, frame_time, note


def _owner(joints: list[_Joint], column: int) -> str:
    """The joint that channel number `column` belongs to."""
    for joint in joints:
        if column < len(joint.channels):
            return joint.name
        column -= len(joint.channels)
    return "none"


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
