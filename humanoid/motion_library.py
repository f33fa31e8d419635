"""Many robot motions in one file that opens at once: hours of motion, memory-mapped, safe from strangers.

The file is a safetensors file (docs/library.md specifies it): one table of all frames, one motion after the
other, and one JSON text with names, joints, strokes and provenance. Nothing in it is executed. Frames are
read from disk when they are asked for.

    library = MotionLibrary.open("library.safetensors")
    motion = library["tennis_snu/tennis_KangTennisF15"]
    for name in library.select(kind="forehand", licence="Apache-2.0"):
        ...
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from humanoid.files import atomic_write
from humanoid.joints import JOINT_NAMES, LOWER, UPPER
from humanoid.library_file import (
    FORMAT,
    KEY,
    QUAT_STEP,
    STORAGES,
    Entry,
    check_numbers,
    check_tables,
    name_problem,
    parse_entries,
    parse_header,
    part_problem,
    read_tables,
)
from humanoid.motion import MotionError, RobotMotion


class MotionLibrary:
    """Motions in one file; `open` one, or `write` one.

    Attributes:
        path: the file.
        storage: "float32", or "int16" for angles rounded to 1/32767 of each joint's range.
        entries: of each motion, in the file's order.
    """

    def __init__(
        self, path: Path, storage: str, entries: tuple[Entry, ...], tables: dict[str, np.ndarray]
    ) -> None:
        """For `open`, which checks what it passes."""
        self.path, self.storage, self.entries = path, storage, entries
        self._tables = tables
        self._by_name = {entry.name: entry for entry in entries}

    @staticmethod
    def open(path: str | os.PathLike, check: bool = True) -> MotionLibrary:
        """Open a library file.

        Args:
            path: the file.
            check: also look at every number once (50 ms an hour of motion); False leaves that to the reading
                of each motion.

        Raises:
            MotionError: missing, damaged, of another format or version, for another robot, or hostile. The
                message names file and field.
        """
        path = Path(path)
        text, tables = read_tables(path)
        header = parse_header(path, text)
        entries = parse_entries(path, header, tables)
        storage = check_tables(path, tables, entries[-1].first + entries[-1].frames)
        if check:
            check_numbers(path, tables)
        return MotionLibrary(path, storage, entries, tables)

    @staticmethod
    def write(path: str | os.PathLike, motions: Iterable[RobotMotion], storage: str = "float32") -> None:
        """Write a library, whole or not at all. The same motions give the same bytes.

        Args:
            path: the file, by convention ending in .safetensors.
            motions: in any order; they are written by name. `MotionLibrary.select` looks for these keys of
                their provenance: "licence", "grade", "archive".
            storage: "float32" (146 bytes a frame), or "int16" (80 bytes a frame): joint angles off by at
                most 1/65534 of the joint's largest angle (5e-5 rad), the pelvis' orientation by 1e-4 rad.

        Raises:
            MotionError: no motions, names that clash, or a motion that is not valid.
        """
        if storage not in STORAGES:
            raise MotionError(f"{path}: storage {storage!r} is none of {', '.join(STORAGES)}")
        ordered = sorted(motions, key=lambda motion: motion.name)
        if not ordered:
            raise MotionError(f"{path}: a library needs at least one motion")
        for motion, following in zip(ordered, [*ordered[1:], None], strict=True):
            motion.validate(motion.name)
            problem = name_problem(motion.name)
            if problem or (following is not None and following.name == motion.name):
                raise MotionError(f"{path}: name {motion.name!r} {problem or 'stands for two motions'}")
            for part in (*motion.strokes, *motion.moves):
                problem = part_problem(part, motion.duration)
                if problem:
                    raise MotionError(f"{path}: motion {motion.name}: {problem}")
        offsets = np.cumsum([0, *(motion.num_frames for motion in ordered)], dtype="<i8")
        joint_pos = np.concatenate([motion.joint_pos for motion in ordered])
        root_quat = np.concatenate([motion.root_quat for motion in ordered])
        tables = {
            "offsets": offsets,
            "root_pos": np.concatenate([motion.root_pos for motion in ordered]).astype("<f4"),
            "contacts": np.concatenate([motion.contacts for motion in ordered]).astype(np.bool_),
        }
        if storage == "float32":
            tables |= {"root_quat": root_quat.astype("<f4"), "joint_pos": joint_pos.astype("<f4")}
        else:
            # By the joints' ranges, so that a motion's numbers do not depend on what else is in the library.
            most = np.maximum(np.abs(LOWER), np.abs(UPPER))
            step = np.maximum(np.abs(joint_pos).max(axis=0), most) / 32767.0
            tables |= {
                "joint_step": step.astype("<f8"),
                "joint_pos": np.rint(joint_pos / step).astype("<i2"),
                "root_quat": np.rint(np.clip(root_quat, -1.0, 1.0) / QUAT_STEP).astype("<i2"),
            }
        common = _common([motion.provenance for motion in ordered])
        header = {
            "format": FORMAT,
            "joint_names": list(JOINT_NAMES),
            "common": common,
            "motions": [
                {
                    "name": motion.name,
                    "fps": motion.fps,
                    "strokes": [asdict(stroke) for stroke in motion.strokes],
                    "moves": [asdict(move) for move in motion.moves],
                    "provenance": {k: v for k, v in motion.provenance.items() if k not in common},
                }
                for motion in ordered
            ],
        }
        text = json.dumps(header, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        data = save({k: np.ascontiguousarray(v) for k, v in tables.items()}, {KEY: text})
        with atomic_write(path) as file:
            file.write(data)

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> RobotMotion:
        """A motion by name, read from disk now.

        Raises:
            KeyError: no such motion.
            MotionError: its frames are damaged.
        """
        entry = self.entry(name)
        rows = slice(entry.first, entry.first + entry.frames)
        motion = RobotMotion(
            name=entry.name,
            fps=entry.fps,
            joint_names=JOINT_NAMES,
            root_pos=self.root_pos(rows).astype(np.float64),
            root_quat=self.root_quat(rows).astype(np.float64),
            joint_pos=self.joint_pos(rows).astype(np.float64),
            contacts=np.array(self.contacts(rows)),
            strokes=entry.strokes,
            provenance=dict(entry.provenance),
            moves=entry.moves,
        )
        motion.validate(f"{self.path}: {name}")
        return motion

    def entry(self, name: str) -> Entry:
        """What is known of a motion without reading it.

        Raises:
            KeyError: no such motion; the message names near ones.
        """
        if name not in self._by_name:
            last = name.rsplit("/", 1)[-1]
            near = [known for known in self._by_name if last in known][:3]
            hint = f"; did you mean {', '.join(near)}?" if near and last else ""
            raise KeyError(f"{self.path}: no motion {name!r}{hint}")
        return self._by_name[name]

    @property
    def num_frames(self) -> int:
        """Frames of all motions."""
        return len(self._tables["root_pos"])

    @property
    def seconds(self) -> float:
        """Length of all motions, [s]."""
        return sum(entry.duration for entry in self.entries)

    def select(
        self,
        *,
        kind: str | Collection[str] | None = None,
        licence: str | Collection[str] | None = None,
        grade: str | Collection[str] | None = None,
        archive: str | Collection[str] | None = None,
    ) -> list[str]:
        """Names of the motions that meet all conditions; each is one value or several to choose from.

        Args:
            kind: of a stroke or move in the motion.
            licence, grade, archive: as in the motion's provenance.
        """
        wanted = {"licence": licence, "grade": grade, "archive": archive}
        sets = {key: _as_set(value) for key, value in wanted.items() if value is not None}
        kinds = None if kind is None else _as_set(kind)
        return [
            entry.name
            for entry in self.entries
            if (kinds is None or entry.kinds & kinds)
            and all(entry.provenance.get(key) in values for key, values in sets.items())
        ]

    def root_pos(self, rows: slice = slice(None)) -> np.ndarray:
        """Pelvis positions of rows of the table, (n, 3) float32, [m]; memory-mapped, read-only."""
        return self._tables["root_pos"][rows]

    def root_quat(self, rows: slice = slice(None)) -> np.ndarray:
        """Pelvis orientations of rows, (n, 4) float32, w, x, y, z; in int16 storage a copy of unit length."""
        quat = self._tables["root_quat"][rows]
        if self.storage == "float32":
            return quat
        quat = quat.astype(np.float32)
        return quat / np.linalg.norm(quat, axis=1, keepdims=True)

    def joint_pos(self, rows: slice = slice(None)) -> np.ndarray:
        """Joint angles of rows, (n, 29) float32, [rad]; in int16 storage a copy."""
        angle = self._tables["joint_pos"][rows]
        if self.storage == "float32":
            return angle
        return (angle * self._tables["joint_step"]).astype(np.float32)

    def contacts(self, rows: slice = slice(None)) -> np.ndarray:
        """Left and right foot on the ground, (n, 2) bool."""
        return self._tables["contacts"][rows]

    def content_hash(self, name: str) -> str:
        """SHA-256 of a motion's frames and rate, as they are stored."""
        entry = self.entry(name)
        rows = slice(entry.first, entry.first + entry.frames)
        digest = hashlib.sha256(f"{entry.fps!r}".encode())
        for key in ("root_pos", "root_quat", "joint_pos", "contacts"):
            digest.update(np.ascontiguousarray(self._tables[key][rows]).tobytes())
        return digest.hexdigest()


def read_folder(folder: str | os.PathLike) -> list[RobotMotion]:
    """All motion files (*.npz) under a folder, for `MotionLibrary.write`; named by their path in it.

    Raises:
        MotionError: none there, or one that cannot be used.
    """
    folder = Path(folder)
    files = sorted(folder.rglob("*.npz"))
    if not files:
        raise MotionError(f"{folder}: no motion files (*.npz) in it; write some with rally-retarget")
    motions = []
    for file in files:
        motion = RobotMotion.load(file)
        motion.name = file.relative_to(folder).with_suffix("").as_posix()
        motions.append(motion)
    return motions


def _as_set(value: str | Collection[str]) -> set[str]:
    return {value} if isinstance(value, str) else set(value)


def _common(records: list[dict[str, Any]]) -> dict[str, Any]:
    """What all records say alike; it is written once."""
    first, *others = records
    return {k: v for k, v in first.items() if others and all(k in o and o[k] == v for o in others)}
