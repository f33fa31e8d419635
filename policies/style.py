"""How far from a person's strokes a policy's are: key bodies against the nearest human stroke.

Of every strike the last half second before it and the first 0.3 s after it are laid beside each retargeted human
stroke. The distance of two strokes is the mean one of their key bodies, seen from the pelvis, in an upright frame
that looks where the robot looked at the strike; that of the nearest human stroke counts.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from humanoid.bodies import placements
from humanoid.joints import JOINT_INDEX
from humanoid.motion import RobotMotion
from mocap.rotations import matrix_from_quat
from policies.strokes import FAMILY_FOLDER

HUMAN_FOLDER = FAMILY_FOLDER.parent / "strokes_caldas"
BEFORE, AFTER = 25, 15
"""Frames at 50 Hz that are compared before and after the strike."""
FPS = 50.0
KEY_BODIES = tuple(
    JOINT_INDEX[f"{side}_{joint}_joint"] + 1
    for side in ("left", "right")
    for joint in ("knee", "ankle_roll", "shoulder_roll", "elbow", "wrist_yaw")
)
"""Links whose joints' places are compared, numbered as in `humanoid.bodies.placements`."""


def key_bodies(joint_pos: np.ndarray, root_rot: np.ndarray, strike: int) -> np.ndarray:
    """Places of the key bodies from the pelvis along a stroke, (T, K, 3), m.

    Args:
        joint_pos: (T, 29), rad. root_rot: of the pelvis in the world, (T, 3, 3). strike: frame whose heading is ahead.
    """
    pos, _ = placements(joint_pos)
    ahead = np.arctan2(root_rot[strike, 1, 0], root_rot[strike, 0, 0])
    cos, sin = np.cos(ahead), np.sin(ahead)
    turn = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
    return np.einsum("tij,tkj->tki", turn @ root_rot, pos[:, KEY_BODIES])


@cache
def human_strokes(folder: Path = HUMAN_FOLDER) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and key bodies of the human strokes, (S, BEFORE + AFTER + 1, K, 3), m.

    Raises:
        MotionError: a motion is missing or damaged.
    """
    names, found = [], []
    for file in sorted(folder.glob("*.npz")):
        motion = RobotMotion.load(file)
        strike = round(motion.strokes[0].strike_s * motion.fps)
        frames = strike + np.round(np.arange(-BEFORE, AFTER + 1) * motion.fps / FPS).astype(int)
        frames = frames.clip(0, motion.num_frames - 1)
        names.append(file.stem)
        found.append(key_bodies(motion.joint_pos[frames], matrix_from_quat(motion.root_quat[frames]), BEFORE))
    return tuple(names), np.stack(found)


class StyleMeter:
    """Compares the strikes of N robots as they play, at 50 Hz.

    Args:
        num_robots: N.
    """

    def __init__(self, num_robots: int) -> None:
        self._human = human_strokes()[1]
        count = BEFORE + AFTER + 1
        self._joint_pos = np.zeros((count, num_robots, 29))
        self._quat = np.tile([1.0, 0, 0, 0], (count, num_robots, 1))
        self._since = np.full(num_robots, -1)
        self._seen = np.zeros(num_robots, dtype=int)
        self.distances: list[float] = []
        """Of each strike so far from the nearest human stroke, m."""

    def restart(self, robots: np.ndarray) -> None:
        """Robots (N,) bool that were put somewhere else: what they did before belongs to no stroke of now."""
        self._since[robots], self._seen[robots] = -1, 0

    def update(self, joint_pos: np.ndarray, root_quat: np.ndarray, struck: np.ndarray) -> None:
        """One control step: joints (N, 29), rad, the pelvis's quaternion (N, 4), and who met a ball, (N,) bool."""
        self._joint_pos = np.concatenate([self._joint_pos[1:], joint_pos[None]])
        self._quat = np.concatenate([self._quat[1:], root_quat[None]])
        self._seen += 1
        self._since = np.where(struck, 0, np.where(self._since >= 0, self._since + 1, -1))
        for robot in np.flatnonzero(self._since == AFTER):
            self._since[robot] = -1
            if self._seen[robot] < BEFORE + AFTER + 1:
                continue
            own = key_bodies(self._joint_pos[:, robot], matrix_from_quat(self._quat[:, robot]), BEFORE)
            if np.isfinite(own).all():
                apart = np.linalg.norm(self._human - own, axis=-1).mean(axis=(1, 2))
                self.distances.append(float(apart.min()))

    def report(self) -> dict[str, float | int | None]:
        """`mean_m` over the strikes, None without any, and how many `strikes` there were."""
        found = self.distances
        return {"mean_m": float(np.mean(found)) if found else None, "strikes": len(found)}
