"""What happened on court, frame by frame: written by evaluation, read by rendering."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from humanoid.files import atomic_write
from humanoid.joints import JOINT_NAMES, NUM_JOINTS

FORMAT = "court-recording/1"
QPOS_SIZE = 7 + NUM_JOINTS


class RecordingError(ValueError):
    """A recording that cannot be used. The message names the file, the field and what to do."""


@dataclass
class Recording:
    """Robots, ball and score over time. Frame as in :mod:`sim.court`.

    Attributes:
        fps: frames a second.
        qpos: robots' positions, (T, 36) for one robot or (T, R, 36): pelvis position [m], quaternion
            w, x, y, z, joint angles [rad] in the joint table's order.
        ball_pos: (T, 3), [m].
        ball_visible: whether there is a ball, (T,), bool.
        target: where the ball should land, (T, 2), [m], NaN where there is none.
        captions: (time [s], text) in order of time, such as the outcome of each ball. A text that begins with
            returned, net, out, miss or fall (any case) gets that outcome's colour.
        score: running tallies by name, each (T,), integers. "balls" (decided so far), "returned" and
            "success" are shown; others are kept. Of a match "near" and "far", the points as they are called (−1
            for "Ad"), "near_games", "far_games", "near_sets", "far_sets" and "rally", strokes so far.
        title: what is shown, e.g. policy and level.
        seed: of the episode.
        players: names of the near and the far player of a match; empty otherwise.
    """

    fps: float
    qpos: np.ndarray
    ball_pos: np.ndarray
    ball_visible: np.ndarray
    target: np.ndarray
    captions: list[tuple[float, str]] = field(default_factory=list)
    score: dict[str, np.ndarray] = field(default_factory=dict)
    title: str = ""
    seed: int = 0
    players: tuple[str, ...] = ()

    @property
    def num_frames(self) -> int:
        return len(self.qpos)

    @property
    def num_robots(self) -> int:
        return 1 if self.qpos.ndim == 2 else self.qpos.shape[1]

    @property
    def duration(self) -> float:
        """Time from the first to the last frame, [s]."""
        return (self.num_frames - 1) / self.fps

    def validate(self, source: str = "recording") -> None:
        """Check shapes and numbers.

        Args:
            source: what messages call the recording, e.g. its file.

        Raises:
            RecordingError: naming the field.
        """
        frames = len(self.qpos)
        if self.qpos.ndim not in (2, 3) or self.qpos.shape[-1] != QPOS_SIZE or self.num_robots < 1:
            raise RecordingError(
                f"{source}: qpos has shape {self.qpos.shape}, expected "
                f"(T, {QPOS_SIZE}) or (T, R, {QPOS_SIZE})"
            )
        if frames < 1 or not 0 < self.fps < 1e4:
            raise RecordingError(f"{source}: needs a frame and a rate, has {frames} frames at {self.fps} Hz")
        shapes = {"ball_pos": (frames, 3), "ball_visible": (frames,), "target": (frames, 2)}
        for key, shape in shapes.items():
            if getattr(self, key).shape != shape:
                raise RecordingError(
                    f"{source}: {key} has shape {getattr(self, key).shape}, expected {shape}"
                )
        if len(self.players) not in (0, 2):
            raise RecordingError(f"{source}: players are {self.players}, expected two names or none")
        for key, tally in self.score.items():
            if tally.shape != (frames,):
                raise RecordingError(f"{source}: score {key!r} has shape {tally.shape}, expected {(frames,)}")
        for key, value in (("qpos", self.qpos), ("ball_pos", self.ball_pos[self.ball_visible])):
            if not np.isfinite(value).all():
                frame = int(np.argwhere(~np.isfinite(value))[0, 0])
                raise RecordingError(f"{source}: {key} is not finite at row {frame}")

    def save(self, path: str | os.PathLike) -> None:
        """Write an npz file without pickled objects, whole or not at all."""
        self.validate(str(path))
        header = {
            "format": FORMAT,
            "fps": float(self.fps),
            "joint_names": list(JOINT_NAMES),
            "captions": [[float(time), str(text)] for time, text in self.captions],
            "score": sorted(self.score),
            "title": self.title,
            "seed": int(self.seed),
            "players": list(self.players),
        }
        arrays = {
            "header": np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
            "qpos": self.qpos.astype(np.float32),
            "ball_pos": self.ball_pos.astype(np.float32),
            "ball_visible": self.ball_visible.astype(bool),
            "target": self.target.astype(np.float32),
        }
        for key, tally in self.score.items():
            arrays[f"score/{key}"] = tally.astype(np.int64)
        with atomic_write(path) as file:
            np.savez_compressed(file, **arrays)

    @staticmethod
    def load(path: str | os.PathLike) -> Recording:
        """Read a recording. Safe on files from strangers: nothing in it is executed.

        Raises:
            RecordingError: when the file is missing, damaged, of another format or for another robot.
        """
        path = Path(path)
        try:
            with np.load(path, allow_pickle=False) as data:
                if "header" not in data:
                    raise RecordingError(f"{path}: not a recording (no header); record one with rally-eval")
                header = json.loads(bytes(data["header"]).decode())
                if header["format"] != FORMAT:
                    raise RecordingError(
                        f"{path}: format {header['format']!r}, this version reads {FORMAT!r}"
                    )
                if tuple(header["joint_names"]) != JOINT_NAMES:
                    raise RecordingError(f"{path}: joint_names do not match the robot; record it again")
                recording = Recording(
                    fps=float(header["fps"]),
                    qpos=data["qpos"].astype(np.float64),
                    ball_pos=data["ball_pos"].astype(np.float64),
                    ball_visible=data["ball_visible"].astype(bool),
                    target=data["target"].astype(np.float64),
                    captions=[(float(time), str(text)) for time, text in header["captions"]],
                    score={key: data[f"score/{key}"].astype(np.int64) for key in header["score"]},
                    title=str(header["title"]),
                    seed=int(header["seed"]),
                    # Recordings of single players were written without.
                    players=tuple(str(player) for player in header.get("players", ())),
                )
        except FileNotFoundError:
            raise RecordingError(f"{path}: no such recording; record one with rally-eval") from None
        except RecordingError:
            raise
        except Exception as error:  # numpy, zipfile and zlib each raise their own kinds on damaged bytes
            raise RecordingError(f"{path}: not a readable recording ({error}); record it again") from None
        recording.validate(str(path))
        return recording


class Recorder:
    """Collects a :class:`Recording` while a game goes on.

    Args:
        fps: frames a second at which :meth:`add` is called.
        title, seed, players: see :class:`Recording`.
    """

    def __init__(self, fps: float, title: str = "", seed: int = 0, players: tuple[str, ...] = ()) -> None:
        self.fps, self.title, self.seed, self.players = fps, title, seed, players
        self._qpos: list[np.ndarray] = []
        self._ball: list[np.ndarray] = []
        self._visible: list[bool] = []
        self._target: list[np.ndarray] = []
        self._score: dict[str, list[int]] = {}
        self._captions: list[tuple[float, str]] = []

    def add(self, qpos, ball=None, target=None, **score: int) -> None:
        """One frame.

        Args:
            qpos: (36,) or (R, 36), see :class:`Recording`.
            ball: position (3,), [m], or None when there is no ball.
            target: (2,), [m], or None.
            score: tallies by name; a name not given keeps its last value.
        """
        self._qpos.append(np.array(qpos, dtype=float))
        self._ball.append(np.zeros(3) if ball is None else np.array(ball, dtype=float))
        self._visible.append(ball is not None)
        self._target.append(np.full(2, np.nan) if target is None else np.array(target, dtype=float))
        frames = len(self._qpos)
        for name in score:
            self._score.setdefault(name, [0] * (frames - 1))
        for name, values in self._score.items():
            values.append(int(score.get(name, values[-1] if values else 0)))

    def caption(self, text: str) -> None:
        """A text that appears at the time of the latest frame."""
        self._captions.append((max(len(self._qpos) - 1, 0) / self.fps, text))

    def finish(self) -> Recording:
        """Everything added so far."""
        return Recording(
            fps=self.fps,
            qpos=np.array(self._qpos),
            ball_pos=np.array(self._ball).reshape(-1, 3),
            ball_visible=np.array(self._visible, dtype=bool),
            target=np.array(self._target).reshape(-1, 2),
            captions=list(self._captions),
            score={name: np.array(values) for name, values in self._score.items()},
            title=self.title,
            seed=self.seed,
            players=self.players,
        )
