"""Read CSV files of the G1's motion: a root pose and 29 joints a line.

Without a header the layout is that of the retargeted LAFAN1 set: root x y z [m], quaternion x y z w, 29 joints
in the table's order [rad], 30 Hz. With a header the columns may stand in any order; also Euler angles, degrees,
centimetres and a column of times are understood (BONES-SEED's layout).
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np

from humanoid.joints import NUM_JOINTS
from mocap.clip import Clip, ClipDataError, ClipFormatError, clip_name, decode_text, read_bytes
from mocap.g1_files import RawMotion, to_clip, whole_rate
from mocap.g1_skeleton import joint_angles, table_order
from mocap.overrides import Overrides
from mocap.rotations import Array
from mocap.table import number, parse_table

FPS = 30.0
"""Rate of CSV files without times: that of the retargeted LAFAN1 set [Hz]."""

_SEPARATORS = re.compile(r"[,;\t]")


def read_g1_csv(path: str | Path, overrides: Overrides | None = None) -> Clip:
    """Read a CSV of the robot's root pose and joints; see `parse_g1_csv`."""
    path = Path(path)
    return parse_g1_csv(read_bytes(path), str(path), overrides or Overrides(), clip_name(path))


def looks_like_csv(head: str) -> bool:
    """Whether the beginning of a text is a table of the robot's joints: 36 numbers a line, or joint names."""
    lines = [line for line in head.splitlines()[:3] if line.strip()]
    if not lines:
        return False
    cells = _cells(lines[0])
    if sum(n is not None for n in table_order(cells)) >= NUM_JOINTS // 2:
        return True
    return len(cells) == 7 + NUM_JOINTS and all(number(c) is not None for c in cells)


def parse_g1_csv(
    data: bytes, source: str, overrides: Overrides | None = None, name: str | None = None
) -> Clip:
    """Parse the bytes of a CSV file of the robot's motion.

    Args:
        data: the file's bytes; cells are separated by commas, semicolons, tabs or blanks.
        source: stands in messages.
        overrides: rate, units and orders that are known better.
        name: the clip's name; the file's stem when not given.

    Raises:
        ClipFormatError: not such a table. ClipDataError: its numbers cannot be the robot's.
    """
    lines = decode_text(data, source).splitlines()
    start = next(
        (i for i, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), None
    )
    if start is None:
        raise ClipDataError(f"{source}: the clip has no frames; nothing to read")
    cells = _cells(lines[start])
    header = [] if all(number(c) is not None for c in cells) else cells
    width = len(cells)
    if not header and width != 7 + NUM_JOINTS:
        raise ClipFormatError(
            f"{source}, line {start + 1}: {width} columns without names, where root position, quaternion and "
            f"{NUM_JOINTS} joints make {7 + NUM_JOINTS}; give the file a header line with names"
        )
    if width > 1000:
        raise ClipFormatError(f"{source}, line {start + 1}: {width} columns; this is not the robot's motion")
    first = start + bool(header)
    separated = [_SEPARATORS.sub(" ", line) for line in lines[first:]]
    owner = (lambda c: header[c] if c < width else "none") if header else (lambda c: f"column {c + 1}")
    table, _ = parse_table(separated, first, width, None, owner, source)
    raw = (
        _from_header(table, header, source)
        if header
        else RawMotion(table[:, 7:], table[:, :3], (), table[:, 3:7])
    )
    raw.usual_fps, raw.usual_quat = FPS, "xyzw"
    if not header:
        raw.usual_joints = "table"
    return to_clip(raw, source, overrides or Overrides(), name, "g1-csv")


def _cells(line: str) -> list[str]:
    """The cells of a CSV line; blanks separate where nothing else does."""
    parts = _SEPARATORS.split(line) if _SEPARATORS.search(line) else line.split()
    cells = [c.strip().strip("\"'") for c in parts]
    return cells[:-1] if cells and not cells[-1] else cells


def _from_header(table: Array, header: list[str], source: str) -> RawMotion:
    """The parts of a table with named columns."""
    plain = [re.sub(r"[^a-z0-9]", "", c.split(".")[-1].lower()) for c in header]
    root = [re.sub(r"^(root|base|pelvis|freebase|floatingbase)(joint|link)?", "", p) for p in plain]

    def columns(*patterns: str) -> list[int] | None:
        found = [next((i for i, p in enumerate(root) if re.fullmatch(x, p)), None) for x in patterns]
        return None if None in found else [i for i in found if i is not None]

    place = columns(*(rf"(pos|position|translate|translation|trans|t|p)?(ition)?{a}" for a in "xyz"))
    place = place or columns(*(rf"(pos|position|trans|translation){n}" for n in range(3)))
    quat = columns(*(rf"(rot|rotation|quat|quaternion|orientation|ori|q|r)?q?{a}" for a in "wxyz"))
    if quat and place and set(quat) & set(place):
        quat = columns(*(rf"(rot|rotation|quat|quaternion|orientation|ori|q|r)q?{a}" for a in "wxyz"))
    turn = columns(*(rf"(rotate|rot|rotation|euler|r){a}" for a in "xyz")) or columns("roll", "pitch", "yaw")
    numbered = columns(*(rf"(rot|rotation|quat|quaternion|orientation){n}" for n in range(4)))
    if place is None or not (quat or turn or numbered):
        raise ClipFormatError(
            f"{source}: the header names no {'root position' if place is None else 'root orientation'} "
            f"(like root_x, root_y, root_z, root_qx, root_qy, root_qz, root_qw); name these columns"
        )
    raw = RawMotion(table, table[:, place], tuple(header))
    if quat:
        raw.root_quat, raw.quat_order = table[:, quat], "wxyz"
    elif numbered:
        raw.root_quat = table[:, numbered]
    else:
        raw.rpy = table[:, turn or []]
        raw.notes.append("root angles about fixed x, then y, then z")
    clock = next(
        (i for i, p in enumerate(plain) if p in ("time", "timestamp", "times", "t", "seconds")), None
    )
    if clock is not None and len(table) > 1:
        step = float(np.median(np.diff(table[:, clock])))
        if np.isfinite(step) and step > 0.0:
            raw.fps = whole_rate(1.0 / step)
    return raw


def write_g1_csv(clip: Clip) -> str:
    """A clip of the robot in the retargeted LAFAN1 set's layout.

    Raises:
        SkeletonError: the clip is a person's.
    """
    root_pos, root_quat, joints = joint_angles(clip)
    out = io.StringIO()
    np.savetxt(out, np.concatenate([root_pos, root_quat[:, [1, 2, 3, 0]], joints], axis=1), "%.9f", ",")
    return out.getvalue()
