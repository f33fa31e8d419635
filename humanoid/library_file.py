"""The file of a motion library: reading it without trusting it. docs/library.md specifies the format."""

from __future__ import annotations

import json
import math
import mmap
import re
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from humanoid.joints import JOINT_NAMES, NUM_JOINTS
from humanoid.motion import MotionError, Move, Stroke

FORMAT = "robot-motion-library/1"
KEY = "robot-motion-library"
"""The only entry of the file's metadata: several would be written in an order that changes from run to run."""
SUFFIX = ".safetensors"
STORAGES = ("float32", "int16")
QUAT_STEP = 1.0 / 32767.0
"""Quaternion component of one count in int16 storage."""
FARTHEST_M = 1e4
"""A pelvis farther from the origin is damage: float32 would resolve no millimetre there."""
LARGEST_RAD = 2.0 * math.pi
"""No joint of the robot turns so far."""

DAMAGE = (
    SafetensorError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
    MemoryError,
    OverflowError,
)
"""What damaged and hostile files make safetensors, json and numpy raise."""

_DTYPES = {"float32": np.dtype("<f4"), "int16": np.dtype("<i2")}
_CODES = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I16": "<i2", "BOOL": "?"}
"""Types that a library may hold, by their safetensors names."""
_NAME = re.compile(r"[^\x00-\x1f\\\ud800-\udfff]{1,400}")


@dataclass(frozen=True)
class Entry:
    """What a library knows of one motion without reading its frames.

    Attributes:
        name: unique in the library; may contain "/".
        first, frames: its rows in the tables.
        fps: frames a second.
        strokes, moves: in order of time.
        provenance: source, licence and everything done, see `MotionLibrary.write`.
    """

    name: str
    first: int
    frames: int
    fps: float
    strokes: tuple[Stroke, ...]
    provenance: dict[str, Any] = field(default_factory=dict)
    moves: tuple[Move, ...] = ()

    @property
    def duration(self) -> float:
        """Time from the first to the last frame, [s]."""
        return (self.frames - 1) / self.fps

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds of the strokes and moves in it."""
        return frozenset(part.kind for part in (*self.strokes, *self.moves))


def name_problem(name: Any) -> str | None:
    """What is wrong with a name that may one day be a file's, or None."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return "is not a text of 1 to 400 characters without backslashes and control characters"
    if name.startswith("/") or any(part in ("", ".", "..") for part in name.split("/")):
        return "is not a relative path without . and .."
    return None


def read_tables(path: Path) -> tuple[str, dict[str, np.ndarray]]:
    """The metadata text and read-only views of the tensors.

    The safetensors library checks the layout (lengths, types, offsets without gaps and overlaps); the views
    are our own, since it would copy each tensor.
    """
    try:
        if path.exists() and not path.is_file():
            raise OSError("not a file")
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
        with path.open("rb") as file:
            mapped = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=np.uint8)
        start = 8 + int.from_bytes(mapped[:8].tobytes(), "little")
        tables = {}
        for key, about in json.loads(mapped[8:start].tobytes()).items():
            if key != "__metadata__" and about["dtype"] in _CODES:
                begin, end = (start + place for place in about["data_offsets"])
                tables[key] = mapped[begin:end].view(_CODES[about["dtype"]]).reshape(about["shape"])
    except FileNotFoundError:
        raise MotionError(f"{path}: no such library; write one with rally-retarget library=FILE") from None
    except DAMAGE as error:
        detail = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise MotionError(f"{path}: not a readable motion library ({detail}); write it again") from None
    if KEY not in metadata:
        raise MotionError(f"{path}: a safetensors file, but not a motion library: no {KEY!r} in its metadata")
    return metadata[KEY], tables


def parse_header(path: Path, text: str) -> dict[str, Any]:
    """The JSON text, its format and joints checked."""
    try:
        header = json.loads(text)
        found = header["format"]
    except DAMAGE as error:
        raise MotionError(f"{path}: its description is damaged ({type(error).__name__}: {error})") from None
    if found != FORMAT:
        raise MotionError(f"{path}: format {str(found)[:60]!r}, this version reads {FORMAT!r}")
    names = header.get("joint_names")
    if not isinstance(names, list) or tuple(names) != JOINT_NAMES:
        same = isinstance(names, list) and sorted(map(str, names)) == sorted(JOINT_NAMES)
        detail = "the same joints in another order" if same else "other joints"
        raise MotionError(f"{path}: joint_names do not match the robot ({detail}); retarget for this robot")
    if not isinstance(header.get("motions"), list) or not isinstance(header.get("common", {}), dict):
        raise MotionError(f"{path}: its description is damaged (motions is not a list, or common no object)")
    return header


def parse_entries(path: Path, header: dict[str, Any], tables: dict[str, np.ndarray]) -> tuple[Entry, ...]:
    """One entry a motion, every field checked."""
    listed, offsets = header["motions"], tables.get("offsets")
    if offsets is None or offsets.dtype != np.dtype("<i8") or offsets.shape != (len(listed) + 1,):
        raise MotionError(
            f"{path}: offsets must be {len(listed) + 1} whole numbers for {len(listed)} motions"
        )
    ends = offsets.tolist()
    if not listed or ends[0] != 0 or any(b - a < 2 for a, b in pairwise(ends)):
        raise MotionError(f"{path}: offsets must begin at 0 and leave every motion at least two frames")
    entries, seen = [], set()
    for number, (about, first, end) in enumerate(zip(listed, ends, ends[1:], strict=False)):
        try:
            name, fps = about["name"], about["fps"]
            problem = name_problem(name)
            if problem or name in seen:
                raise ValueError(f"its name {problem or 'stands for two motions'}")
            if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0.0 < fps <= 1e5:
                raise ValueError(f"fps {fps!r} is not a rate")
            duration = (end - first - 1) / fps
            strokes = tuple(_part(Stroke, part, duration) for part in about["strokes"])
            moves = tuple(_part(Move, part, duration) for part in about["moves"])
            provenance = {**header.get("common", {}), **about["provenance"]}
        except DAMAGE as error:
            label = about.get("name") if isinstance(about, dict) else None
            what = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise MotionError(f"{path}: motion {number} ({str(label)[:80]}): {what}") from None
        seen.add(name)
        entries.append(Entry(name, first, end - first, float(fps), strokes, provenance, moves))
    return tuple(entries)


def _part(what: type[Any], about: dict[str, Any], duration: float) -> Any:
    part = what(**about)
    problem = part_problem(part, duration)
    if problem:
        raise ValueError(problem)
    return part


def part_problem(part: Stroke | Move, duration: float) -> str | None:
    """What is wrong with a stroke or move of a motion that long [s], or None: its texts are texts, its times
    numbers in order within the motion.
    """
    what = type(part).__name__.lower()
    for key, value in asdict(part).items():
        if not key.endswith("_s"):
            if not isinstance(value, str):
                return f"{key} {value!r} of a {what} is not a text"
        elif isinstance(value, bool) or not isinstance(value, int | float):
            return f"{key} {value!r} of a {what} is not a number"
    inner = (part.strike_s,) if isinstance(part, Stroke) else ()
    times = (0.0, part.start_s, *inner, part.end_s, duration + 1e-3)
    if not all(a <= b for a, b in pairwise(times)):
        return f"a {what}'s times {times[1:-1]} are not in order within {duration:.3f} s"
    return None


def check_tables(path: Path, tables: dict[str, np.ndarray], frames: int) -> str:
    """Types and shapes; returns the storage."""
    joint_pos = tables.get("joint_pos")
    storage = "int16" if joint_pos is not None and joint_pos.dtype == _DTYPES["int16"] else "float32"
    expected: dict[str, tuple[np.dtype, tuple[int, ...]]] = {
        "root_pos": (np.dtype("<f4"), (frames, 3)),
        "root_quat": (_DTYPES[storage], (frames, 4)),
        "joint_pos": (_DTYPES[storage], (frames, NUM_JOINTS)),
        "contacts": (np.dtype(np.bool_), (frames, 2)),
    }
    if storage == "int16":
        expected["joint_step"] = (np.dtype("<f8"), (NUM_JOINTS,))
    for key, (dtype, shape) in expected.items():
        found = tables.get(key)
        if found is None:
            raise MotionError(f"{path}: no table {key} of type {dtype.name}")
        if found.dtype != dtype or found.shape != shape:
            raise MotionError(
                f"{path}: {key} is {found.dtype.name} {found.shape}, expected {dtype.name} {shape}"
            )
    step = tables.get("joint_step")
    if storage == "int16" and step is not None and not ((step > 0.0) & (step < 1e-3)).all():
        raise MotionError(f"{path}: joint_step must be positive and below 1e-3 rad")
    return storage


def check_numbers(path: Path, tables: dict[str, np.ndarray]) -> None:
    """Every number finite and possible."""
    for key, most in (("root_pos", FARTHEST_M), ("joint_pos", LARGEST_RAD), ("root_quat", 1.01)):
        table = tables[key]
        if table.dtype.kind != "f":
            continue
        # A NaN makes minimum and maximum NaN, which is no number within the bounds.
        if not (-most <= float(table.min()) and float(table.max()) <= most):
            frame = int(np.argwhere(~(np.abs(table) <= most))[0, 0])
            raise MotionError(f"{path}: {key} is not finite or beyond ±{most:g} at row {frame}")
    if tables["contacts"].view(np.uint8).max() > 1:
        raise MotionError(f"{path}: contacts holds bytes that are neither 0 nor 1")
    quat = tables["root_quat"]
    unit = 1.0 if quat.dtype.kind == "f" else QUAT_STEP
    square = np.einsum("ij,ij->i", quat.astype(np.float32, copy=False), quat.astype(np.float32, copy=False))
    length = np.sqrt(square) * unit
    if not (length.min() > 1.0 - 1e-3 and length.max() < 1.0 + 1e-3):
        row = int(np.argmax(np.abs(length - 1.0)))
        raise MotionError(f"{path}: root_quat is not of unit length at row {row}")
