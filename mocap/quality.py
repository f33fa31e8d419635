"""How good a retargeted motion is, in numbers that anyone's script can compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from humanoid.bodies import Bodies
from mocap.filters import close_gaps, low_pass, velocity
from mocap.momentum import Momentum, compare
from mocap.retarget import Retargeted
from mocap.robot import RobotModel
from mocap.rotations import Array, normalize
from mocap.self_collision import overlap_fraction
from mocap.skeleton import SIDES, Body

PENETRATION_M = 0.01
FLOAT_M = 0.02
# A human's foot stands where its toe is slower than this [m/s] and lower than this over its standing height [m],
# for at least so long [s]. Judged on the human alone, not on what the retargeter made of it.
STAND_M_S = 0.2
STAND_M = 0.05
STAND_S = 0.1
# Wrists nearer than this fraction of a leg hold one racket, as in `mocap.strokes`.
TOGETHER = 0.34
# Parts that overlap by more than this touch [m]; the capsules are no truer than that.
OVERLAP_M = 0.005


@dataclass(frozen=True)
class Quality:
    """Quality of one motion.

    Attributes:
        slide_m_s: mean horizontal speed of the soles while the human's foot stands, wherever the robot's is
            [m/s]: a stance that the retargeter gave up counts in full.
        slide_kept_m_s: the same over the contacts that the motion claims.
        human_slide_m_s: mean horizontal speed of the human's own toes in the first [m/s, robot's size]: what
            the recording itself slides.
        unkept_fraction: fraction of the human's stance in which the motion claims no contact.
        penetration_fraction: fraction of frames with a sole more than 1 cm under the ground.
        float_fraction: fraction of the human's stance frames (each foot counts) with the sole more than 2 cm
            over the ground.
        direction_error_deg: mean angle between the human's and the robot's limb bones and trunk [deg].
        direction_legs_deg, direction_arms_deg: the same of legs and of arms alone. The trunk's is zero by
            construction. direction_p95_deg: 95th percentile over frames and bones.
        reach_error: mean distance between human's and robot's wrist from the shoulder, each over its own arm's
            length, both arms.
        limit_violations: number of joint samples outside the position limits.
        velocity_violations_fraction: fraction of joint samples faster than the joint's velocity limit, by the
            difference of neighbouring frames.
        acceleration_violations_fraction: fraction of joint samples beyond `RobotModel.acceleration`.
        jerk_rad_s3: mean magnitude of the third difference of the joint angles.
        overlap_fraction: fraction of frames in which robot or racket overlaps itself by more than 5 mm.
        wrist_correlation: correlation of the right wrist's path about its shoulder, robot against human.
        stroke_correlations: the same for the racket arm of each stroke, and for both arms where both hands
            hold the racket.
        stance_fraction: fraction of time that a foot stands by the motion's claim, mean of both feet.
        momentum: see `mocap.momentum.Momentum`.
    """

    slide_m_s: float
    slide_kept_m_s: float
    human_slide_m_s: float
    unkept_fraction: float
    penetration_fraction: float
    float_fraction: float
    direction_error_deg: float
    direction_legs_deg: float
    direction_arms_deg: float
    direction_p95_deg: float
    reach_error: float
    limit_violations: int
    velocity_violations_fraction: float
    acceleration_violations_fraction: float
    jerk_rad_s3: float
    overlap_fraction: float
    wrist_correlation: float
    stroke_correlations: tuple[float, ...]
    stance_fraction: float
    momentum: Momentum

    def line(self) -> str:
        """One line for people."""
        return (
            f"slide {100 * self.slide_m_s:.1f} cm/s, penetration {100 * self.penetration_fraction:.2f} %, "
            f"float {100 * self.float_fraction:.2f} %, direction {self.direction_error_deg:.1f}°, "
            f"limits {self.limit_violations}, too fast {100 * self.velocity_violations_fraction:.2f} %, "
            f"overlap {100 * self.overlap_fraction:.1f} %"
        )


def human_stance(body: Body) -> np.ndarray:
    """When a human's feet stand (T, 2) bool, from the toes' speed and height alone; floor at zero."""
    out = np.zeros((body.frames, 2), dtype=bool)
    for n, side in enumerate(SIDES):
        toe = body[f"{side}_toe"]
        speed = np.linalg.norm(velocity(toe, body.fps), axis=1)
        still = (speed < 0.3) & (toe[:, 2] < 0.08)
        level = float(np.median(toe[still, 2])) if still.sum() > 5 else 0.0
        down = (speed < STAND_M_S) & (toe[:, 2] - level < STAND_M)
        out[:, n] = close_gaps(down, 1, round(STAND_S * body.fps))
    return out


def assess(motion: Retargeted, robot: RobotModel, bodies: Bodies | None = None) -> Quality:
    """Measure a motion against the ground, the robot's limits and the human it came from.

    Args:
        motion: the motion.
        robot: the robot.
        bodies: its capsules; made when not given.
    """
    tree, fps, frames = robot.tree, motion.fps, len(motion.q)
    stance, claimed = human_stance(motion.body), motion.contact
    lowest, speed, toes = (np.zeros((frames, 2)) for _ in range(3))
    for n, side in enumerate(SIDES):
        place, attitude = tree.place(robot.soles[n], motion.joint_pos, motion.joint_rot)
        a, b = robot.foot_half_m
        corners = np.array([[x, y, 0.0] for x in (-a, a) for y in (-b, b)])
        lowest[:, n] = place[:, 2] + (attitude[:, 2] @ corners.T).min(axis=1)
        step = np.linalg.norm(np.diff(place[:, :2], axis=0), axis=1) * fps
        # The mean of the steps to and from a frame: a lift-off counts half in the last frame of a stance.
        speed[:, n] = 0.5 * (np.append(step, step[-1:]) + np.append(step[:1], step)) if frames > 1 else 0.0
        toes[:, n] = motion.scale * np.linalg.norm(velocity(motion.body[f"{side}_toe"][:, :2], fps), axis=1)
    kept = _mean([_steps(robot, motion, n) for n in range(2)])
    steps = np.abs(np.diff(motion.q, axis=0)) * fps
    bends = np.abs(np.diff(motion.q, 2, axis=0)) * fps**2
    jerks = np.abs(np.diff(motion.q, 3, axis=0)) * fps**3
    outside = (motion.q < tree.lower - 1e-6) | (motion.q > tree.upper + 1e-6)
    directions = np.degrees(direction_errors(motion, robot))
    legs, arms = [0, 1, 4, 5], [2, 3, 6, 7]
    near = (bodies or Bodies()).near(motion.joint_pos, motion.joint_rot)
    return Quality(
        slide_m_s=_mean([speed[stance]]),
        slide_kept_m_s=kept,
        human_slide_m_s=_mean([toes[stance]]),
        unkept_fraction=_mean([~claimed[stance]]),
        penetration_fraction=float((lowest.min(axis=1) < -PENETRATION_M).mean()),
        float_fraction=_mean([lowest[stance] > FLOAT_M]),
        direction_error_deg=float(directions.mean()),
        direction_legs_deg=float(directions[:, legs].mean()),
        direction_arms_deg=float(directions[:, arms].mean()),
        direction_p95_deg=float(np.percentile(directions, 95)),
        reach_error=_reach_error(motion, robot),
        limit_violations=int(outside.sum()),
        velocity_violations_fraction=_mean([(steps > tree.velocity).ravel()]),
        acceleration_violations_fraction=_mean([(bends > robot.acceleration).ravel()]),
        jerk_rad_s3=_mean([jerks.ravel()]),
        overlap_fraction=overlap_fraction(near, frames, OVERLAP_M),
        wrist_correlation=_wrist_correlation(motion, robot, "right", 0, frames),
        stroke_correlations=stroke_correlations(motion, robot),
        stance_fraction=float(claimed.mean()),
        momentum=compare(motion.body, tree, motion.joint_pos, motion.joint_rot, motion.scale),
    )


def _mean(parts: Sequence[np.ndarray]) -> float:
    """Mean of all values; zero when there are none."""
    values = np.concatenate(parts)
    return float(values.mean()) if values.size else 0.0


def _steps(robot: RobotModel, motion: Retargeted, n: int) -> Array:
    """Horizontal speeds of a sole between neighbouring frames of its claimed contacts [m/s]."""
    place, _ = robot.tree.place(robot.soles[n], motion.joint_pos, motion.joint_rot)
    step = np.linalg.norm(np.diff(place[:, :2], axis=0), axis=1) * motion.fps
    both = motion.contact[1:, n] & motion.contact[:-1, n]
    return step[both]


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


def _arm(motion: Retargeted, robot: RobotModel, side: str) -> tuple[Array, Array]:
    """Wrist from shoulder (T, 3) of human and robot [m]."""
    tree, body = robot.tree, motion.body
    mine = (
        motion.joint_pos[:, tree.index(f"{side}_wrist_pitch_joint")]
        - motion.joint_pos[:, tree.index(f"{side}_shoulder_roll_joint")]
    )
    return body[f"{side}_wrist"] - body[f"{side}_shoulder"], mine


def _reach_error(motion: Retargeted, robot: RobotModel) -> float:
    tree, body = robot.tree, motion.body
    errors = []
    for side in SIDES:
        human, mine = _arm(motion, robot, side)
        elbow = body[f"{side}_elbow"]
        arm = np.linalg.norm(elbow - body[f"{side}_shoulder"], axis=1) + np.linalg.norm(
            body[f"{side}_wrist"] - elbow, axis=1
        )
        joints = [
            motion.joint_pos[0, tree.index(f"{side}_{p}_joint")]
            for p in ("shoulder_roll", "elbow", "wrist_pitch")
        ]
        length = sum(float(np.linalg.norm(b - a)) for a, b in pairwise(joints))
        errors.append(np.linalg.norm(human / np.median(arm) - mine / length, axis=1))
    return _mean(errors)


def stroke_correlations(motion: Retargeted, robot: RobotModel) -> tuple[float, ...]:
    """Correlation of the wrist's path about its shoulder in each stroke, from preparation to follow-through."""
    body, out = motion.body, []
    for s in motion.strokes:
        span = max(s.start, 0), min(s.end + 1, len(motion.q))
        out.append(_wrist_correlation(motion, robot, s.hand, *span))
        gap = np.linalg.norm(body["left_wrist"] - body["right_wrist"], axis=1)[s.strike]
        if gap < TOGETHER * body.leg_m:
            out.append(_wrist_correlation(motion, robot, "left" if s.hand == "right" else "right", *span))
    return tuple(out)


def _wrist_correlation(motion: Retargeted, robot: RobotModel, side: str, a: int, b: int) -> float:
    """Correlation of a wrist's path about its shoulder in frames [a, b), all axes; 1 for a motionless arm."""
    human, mine = (low_pass(x, motion.fps, 8.0)[a:b] for x in _arm(motion, robot, side))
    human, mine = human - human.mean(axis=0), mine - mine.mean(axis=0)
    norm = np.sqrt((human**2).sum() * (mine**2).sum())
    return float((human * mine).sum() / norm) if norm > 1e-9 else 1.0
