"""How good a retargeted motion is, in numbers that anyone's script can compare."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mocap.filters import low_pass, runs, velocity
from mocap.retarget import Retargeted
from mocap.robot import RobotModel
from mocap.rotations import Array, normalize
from mocap.skeleton import SIDES

PENETRATION_M = 0.01
FLOAT_M = 0.02


@dataclass(frozen=True)
class Quality:
    """Quality of one motion.

    Attributes:
        slide_m_s: mean horizontal speed of the soles in stance [m/s].
        penetration_fraction: fraction of frames with a sole more than 1 cm under the ground.
        float_fraction: fraction of stance frames (each foot counts) with the sole more than 2 cm over the
            ground.
        direction_error_deg: mean angle between the human's and the robot's limb bones and trunk [deg].
        limit_violations: number of joint samples outside the position limits.
        velocity_violations_fraction: fraction of joint samples faster than the joint's velocity limit.
        wrist_correlation: correlation of the wrists' paths relative to the root, robot against human.
        stance_fraction: fraction of time that a foot stands, mean of both feet.
    """

    slide_m_s: float
    penetration_fraction: float
    float_fraction: float
    direction_error_deg: float
    limit_violations: int
    velocity_violations_fraction: float
    wrist_correlation: float
    stance_fraction: float

    def line(self) -> str:
        """One line for people."""
        return (
            f"slide {100 * self.slide_m_s:.1f} cm/s, penetration {100 * self.penetration_fraction:.2f} %, "
            f"float {100 * self.float_fraction:.2f} %, direction {self.direction_error_deg:.1f}°, "
            f"limits {self.limit_violations}, too fast {100 * self.velocity_violations_fraction:.2f} %"
        )


def assess(motion: Retargeted, robot: RobotModel) -> Quality:
    """Measure a motion against the ground, the robot's limits and the human it came from."""
    tree = robot.tree
    contact = motion.contact
    lowest = np.empty((len(motion.q), 2))
    slide: list[Array] = []
    for n in range(2):
        place, attitude = tree.place(robot.soles[n], motion.joint_pos, motion.joint_rot)
        a, b = robot.foot_half_m
        corners = np.array([[x, y, 0.0] for x in (-a, a) for y in (-b, b)])
        lowest[:, n] = (place[:, None, :] + np.einsum("tij,cj->tci", attitude, corners))[..., 2].min(axis=1)
        step = np.linalg.norm(np.diff(place[:, :2], axis=0), axis=1) * motion.fps
        slide += [step[i : j - 1] for i, j in runs(contact[:, n]) if j - i > 1]
    moved = np.concatenate(slide) if slide else np.zeros(1)
    standing = lowest[contact]
    speed = np.abs(velocity(motion.q, motion.fps))
    outside = (motion.q < tree.lower - 1e-6) | (motion.q > tree.upper + 1e-6)
    return Quality(
        slide_m_s=float(moved.mean()) if moved.size else 0.0,
        penetration_fraction=float((lowest.min(axis=1) < -PENETRATION_M).mean()),
        float_fraction=float((standing > FLOAT_M).mean()) if standing.size else 0.0,
        direction_error_deg=float(np.degrees(direction_errors(motion, robot)).mean()),
        limit_violations=int(outside.sum()),
        velocity_violations_fraction=float((speed > tree.velocity).mean()),
        wrist_correlation=_wrist_correlation(motion, robot),
        stance_fraction=float(contact.mean()),
    )


def direction_errors(motion: Retargeted, robot: RobotModel) -> Array:
    """Angles (T, 9) [rad] between human and robot: thighs, shanks, upper arms, forearms (left, right),
    trunk.
    """
    tree, body, pos = robot.tree, motion.body, motion.joint_pos
    errors = []
    for n, side in enumerate(SIDES):
        at = {
            p: pos[:, tree.index(f"{side}_{p}_joint")]
            for p in ("knee", "ankle_pitch", "shoulder_roll", "elbow", "wrist_pitch")
        }
        pairs = (
            ("hip", "knee", pos[:, robot.hips[n]], at["knee"]),
            ("knee", "ankle", at["knee"], at["ankle_pitch"]),
            ("shoulder", "elbow", at["shoulder_roll"], at["elbow"]),
            ("elbow", "wrist", at["elbow"], at["wrist_pitch"]),
        )
        for a, b, start, end in pairs:
            human = normalize(body[f"{side}_{b}"] - body[f"{side}_{a}"])
            errors.append(_angle(human, normalize(end - start)))
    trunk = motion.joint_rot[:, robot.waist[2] + 1, :, 2]
    errors.append(_angle(normalize(body["neck"] - body["chest"]), trunk))
    return np.stack(errors, axis=1)


def _angle(a: Array, b: Array) -> Array:
    return np.arccos(np.clip(np.sum(a * b, axis=1), -1.0, 1.0))


def _wrist_correlation(motion: Retargeted, robot: RobotModel) -> float:
    """Correlation of the right wrist's path about its shoulder, all axes; 1 for a motionless arm."""
    tree, body = robot.tree, motion.body
    human = body["right_wrist"] - body["right_shoulder"]
    mine = (
        motion.joint_pos[:, tree.index("right_wrist_pitch_joint")]
        - motion.joint_pos[:, tree.index("right_shoulder_roll_joint")]
    )
    human, mine = low_pass(human, motion.fps, 8.0), low_pass(mine, motion.fps, 8.0)
    a, b = human - human.mean(axis=0), mine - mine.mean(axis=0)
    norm = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / norm) if norm > 1e-9 else 1.0
