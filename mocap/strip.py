"""Moments of a clip, human beside robot: what the report draws. A small JSON file beside each motion."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from humanoid.files import atomic_write
from humanoid.motion import RobotMotion
from mocap.glitches import BONES as RIGID_BONES
from mocap.quality import direction_errors
from mocap.retarget import Retargeted
from mocap.robot import RobotModel
from mocap.rotations import Array, matrix_from_quat
from mocap.skeleton import SIDES

FORMAT = "motion-strip/1"
ENDING = ".strip.json"
MOMENTS = 7
"""Pictures spread over a clip; one more shows its worst moment."""
WORST = "worst"
"""Label of the moment at which the limbs point least like the human's."""

BONES: tuple[tuple[str, str], ...] = (
    ("pelvis", "spine"),
    ("spine", "chest"),
    ("chest", "neck"),
    ("left_shoulder", "right_shoulder"),
    ("left_hip", "right_hip"),
    *RIGID_BONES,
    ("right_wrist", "racket"),
)
"""Lines of a stick figure, of those whose ends are known."""


@dataclass(frozen=True)
class Strip:
    """Moments of a clip.

    Attributes:
        times: (n,) [s] from the motion's first frame.
        labels: "", a stroke's kind at its strike, or `WORST`.
        names: of the human's points.
        points: (n, P, 3) the human's points in the robot's size and world frame, floor at zero [m].
    """

    times: Array
    labels: tuple[str, ...]
    names: tuple[str, ...]
    points: Array

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        record = {
            "format": FORMAT,
            "times": self.times.round(3).tolist(),
            "labels": list(self.labels),
            "names": list(self.names),
            "points": self.points.round(3).tolist(),
        }
        with atomic_write(path, "w") as file:
            json.dump(record, file, separators=(",", ":"))
            file.write("\n")

    @staticmethod
    def load(path: Path) -> Strip | None:
        """Read one; None where there is none that can be used: a report can do without."""
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["format"] != FORMAT:
                return None
            strip = Strip(
                np.array(record["times"], dtype=float),
                tuple(map(str, record["labels"])),
                tuple(map(str, record["names"])),
                np.array(record["points"], dtype=float),
            )
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        count = len(strip.labels)
        fits = strip.times.shape == (count,) and strip.points.shape == (count, len(strip.names), 3)
        return strip if fits and count and np.isfinite(strip.points).all() else None


def make_strip(motion: Retargeted, robot: RobotModel) -> Strip:
    """The moments worth seeing of a retargeted clip: strikes where there are some, and where the robot's limbs
    point least like the human's.
    """
    error = direction_errors(motion, robot).mean(axis=1)
    strikes = [(s.strike / motion.fps, s.kind) for s in motion.strokes]
    times, labels = choose_moments(
        (len(motion.q) - 1) / motion.fps, strikes, float(error.argmax()) / motion.fps
    )
    rows = np.clip(np.rint(times * motion.fps).astype(int), 0, len(motion.q) - 1)
    return Strip(times, labels, tuple(motion.body.names), motion.body.points[rows] * motion.scale)


def choose_moments(
    duration: float, strikes: list[tuple[float, str]], worst: float | None = None, count: int = MOMENTS
) -> tuple[Array, tuple[str, ...]]:
    """Times [s] and labels of pictures, in order of time.

    The clip is cut into `count` equal parts; each shows its first strike, or else its middle.
    """
    edges = np.linspace(0.0, duration, count + 1)
    chosen: list[tuple[float, str]] = []
    for a, b in pairwise(edges):
        inside = [(t, kind) for t, kind in strikes if a <= t < b]
        chosen.append(inside[0] if inside else (0.5 * (a + b), ""))
    if worst is not None:
        chosen.append((worst, WORST))
    chosen.sort()
    return np.array([t for t, _ in chosen]), tuple(label for _, label in chosen)


def robot_points(robot: RobotModel, motion: RobotMotion, rows: np.ndarray) -> tuple[tuple[str, ...], Array]:
    """Points of the robot's stick figure at frames (n,): names and (n, P, 3) [m]."""
    tree = robot.tree
    rot = matrix_from_quat(motion.root_quat[rows])
    pos, att = tree.forward(motion.root_pos[rows], rot, motion.joint_pos[rows])
    torso = robot.waist[2] + 1
    up = att[:, torso, :, 2]
    points: dict[str, Array] = {"pelvis": motion.root_pos[rows], "spine": pos[:, torso]}
    points["chest"] = pos[:, torso] + 0.15 * up
    points["neck"] = pos[:, torso] + 0.30 * up
    points["head"] = pos[:, torso] + 0.45 * up
    parts = {
        "shoulder": "shoulder_roll",
        "elbow": "elbow",
        "wrist": "wrist_pitch",
        "hip": "hip_roll",
        "knee": "knee",
        "ankle": "ankle_pitch",
    }
    for n, side in enumerate(SIDES):
        for part, joint in parts.items():
            points[f"{side}_{part}"] = pos[:, tree.index(f"{side}_{joint}_joint")]
        sole, attitude = tree.place(robot.soles[n], pos, att)
        points[f"{side}_toe"] = sole + robot.foot_half_m[0] * attitude[:, :, 0]
    points["racket"] = tree.place(robot.racket, pos, att)[0]
    return tuple(points), np.stack(list(points.values()), axis=1)
