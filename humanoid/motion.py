"""A robot motion and its file: what retargeting writes and environments play."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from humanoid.files import atomic_write
from humanoid.joints import JOINT_NAMES

FORMAT = "robot-motion/2"
READABLE = ("robot-motion/1", FORMAT)
"""Formats that are read. Version 2 adds the side of strokes and the moves; files of version 1 have neither."""

STROKE_KINDS = ("forehand", "backhand", "volley", "serve", "smash")
MOVE_KINDS = ("ready", "split_step", "shuffle", "crossover", "run", "walk", "jump", "stand")

DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    EOFError,
    MemoryError,  # an array header that claims a huge shape
    OverflowError,
    RuntimeError,  # zipfile: an entry that says it is encrypted, or compressed in an unknown way
    zlib.error,
    zipfile.BadZipFile,
)
"""What numpy and zipfile raise for damaged files."""


class MotionError(ValueError):
    """A motion file that cannot be used. The message names the file, the field and what to do."""


@dataclass(frozen=True)
class Stroke:
    """One stroke within a motion.

    Attributes:
        kind: one of `STROKE_KINDS`; "forehand" and "backhand" are groundstrokes.
        hand: "right" or "left".
        start_s: start of the preparation, [s] from the motion's first frame.
        strike_s: when the racket meets the ball, [s].
        end_s: end of the follow-through, [s].
        side: "forehand" or "backhand" of a groundstroke or volley; "" overhead, and where it is not known.
    """

    kind: str
    hand: str
    start_s: float
    strike_s: float
    end_s: float
    side: str = ""


@dataclass(frozen=True)
class Move:
    """A piece of footwork within a motion. Moves follow each other and do not overlap; between them the player
    does something else. What each kind means stands in `mocap.footwork`.

    Attributes:
        kind: one of `MOVE_KINDS`.
        start_s, end_s: [s] from the motion's first frame.
        direction: "forward", "backward", "left" or "right", from where the trunk faces; "" in place.
    """

    kind: str
    start_s: float
    end_s: float
    direction: str = ""


@dataclass
class RobotMotion:
    """A motion of the robot, world frame z up.

    Attributes:
        name: name of the motion.
        fps: frames a second.
        joint_names: names of the columns of ``joint_pos``.
        root_pos: pelvis position, [m], shape (T, 3).
        root_quat: pelvis orientation, w, x, y, z, shape (T, 4).
        joint_pos: joint angles, [rad], shape (T, 29).
        contacts: left and right foot on the ground, bool, shape (T, 2).
        strokes: strokes in order of time.
        provenance: JSON-able record of source, licence and everything done to the data.
        moves: footwork in order of time.
    """

    name: str
    fps: float
    joint_names: tuple[str, ...]
    root_pos: np.ndarray
    root_quat: np.ndarray
    joint_pos: np.ndarray
    contacts: np.ndarray
    strokes: tuple[Stroke, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    moves: tuple[Move, ...] = ()

    @property
    def num_frames(self) -> int:
        return len(self.root_pos)

    @property
    def duration(self) -> float:
        """Time from the first to the last frame, [s]."""
        return (self.num_frames - 1) / self.fps

    def validate(self, source: str = "motion") -> None:
        """Check shapes, names and numbers.

        Args:
            source: what messages call the motion, e.g. its file.

        Raises:
            MotionError: naming the field and what to do.
        """
        if self.joint_names != JOINT_NAMES:
            strange = sorted(set(self.joint_names) ^ set(JOINT_NAMES))
            detail = f"unmatched joints {strange[:4]}" if strange else "the same joints in another order"
            raise MotionError(
                f"{source}: joint_names do not match the robot ({detail}); retarget it for this robot"
            )
        frames = len(self.root_pos)
        shapes = {
            "root_pos": (self.root_pos, (frames, 3)),
            "root_quat": (self.root_quat, (frames, 4)),
            "joint_pos": (self.joint_pos, (frames, len(JOINT_NAMES))),
            "contacts": (self.contacts, (frames, 2)),
        }
        for key, (value, shape) in shapes.items():
            if value.shape != shape:
                raise MotionError(f"{source}: {key} has shape {value.shape}, expected {shape}")
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                frame = int(np.argwhere(~np.isfinite(value))[0, 0])
                raise MotionError(f"{source}: {key} is not finite at frame {frame}; retarget the clip again")
        if frames < 2 or not self.fps > 0:
            raise MotionError(
                f"{source}: needs two frames and a positive rate, has {frames} at {self.fps} Hz"
            )
        if np.abs(np.linalg.norm(self.root_quat, axis=1) - 1.0).max() > 1e-3:
            raise MotionError(f"{source}: root_quat is not of unit length")
        for stroke in self.strokes:
            if not stroke.start_s <= stroke.strike_s <= stroke.end_s:
                raise MotionError(f"{source}: {stroke} does not strike between its start and its end")
        for move in self.moves:
            if not move.start_s <= move.end_s:
                raise MotionError(f"{source}: {move} ends before it starts")

    def save(self, path: str | os.PathLike) -> None:
        """Write the motion as an npz file without pickled objects, whole or not at all."""
        self.validate(str(path))
        header = {
            "format": FORMAT,
            "name": self.name,
            "fps": self.fps,
            "joint_names": list(self.joint_names),
            "strokes": [asdict(stroke) for stroke in self.strokes],
            "moves": [asdict(move) for move in self.moves],
            "provenance": self.provenance,
        }
        arrays = {
            "header": np.frombuffer(json.dumps(header, sort_keys=True).encode(), dtype=np.uint8),
            "root_pos": self.root_pos.astype(np.float32),
            "root_quat": self.root_quat.astype(np.float32),
            "joint_pos": self.joint_pos.astype(np.float32),
            "contacts": self.contacts.astype(np.bool_),
        }
        with atomic_write(path) as file:
            _write_npz(file, arrays)

    @staticmethod
    def load(path: str | os.PathLike) -> RobotMotion:
        """Read a motion file. Safe on files from strangers: nothing in it is executed.

        Raises:
            MotionError: when the file is missing, damaged, of another format or for another robot.
        """
        path = Path(path)
        try:
            with np.load(path, allow_pickle=False) as data:
                header = json.loads(bytes(data["header"]).decode())
                arrays = {key: data[key] for key in ("root_pos", "root_quat", "joint_pos", "contacts")}
            if header["format"] not in READABLE:
                raise MotionError(
                    f"{path}: format {header['format']!r}, this version reads {' and '.join(READABLE)}"
                )
            motion = RobotMotion(
                name=str(header["name"]),
                fps=float(header["fps"]),
                joint_names=tuple(header["joint_names"]),
                root_pos=arrays["root_pos"].astype(np.float64),
                root_quat=arrays["root_quat"].astype(np.float64),
                joint_pos=arrays["joint_pos"].astype(np.float64),
                contacts=arrays["contacts"].astype(bool),
                strokes=tuple(Stroke(**stroke) for stroke in header["strokes"]),
                provenance=header["provenance"],
                moves=tuple(Move(**move) for move in header.get("moves", ())),
            )
        except FileNotFoundError:
            raise MotionError(f"{path}: no such motion file; write one with rally-retarget") from None
        except MotionError:
            raise
        except DAMAGE as error:
            raise MotionError(
                f"{path}: not a readable motion file ({error}); retarget the clip again"
            ) from None
        motion.validate(str(path))
        return motion


def _write_npz(file, arrays: dict[str, np.ndarray]) -> None:
    """npz with fixed time stamps, so that the same motion gives the same bytes."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, value in arrays.items():
            entry = zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w") as stream:
                np.lib.format.write_array(stream, np.ascontiguousarray(value), allow_pickle=False)
