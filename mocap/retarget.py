"""From a human body to the robot: inverse kinematics for whole clips at once.

The way of a clip, each step over all frames as array operations:

1. the human's points are resampled and smoothed; contacts are found; everything is scaled by the ratio of
leg lengths; 2. pelvis and torso orientation give root and waist; what the waist cannot do, the pelvis does;
3. feet are locked in stance (`mocap.contacts`), the root is lowered where a leg would not reach, stances
are moved where
   an ankle could not stay flat, and the legs are solved by damped Gauss-Newton with an active set for joint
   limits;
4. arms follow the directions of upper arm and forearm: closed form for a start, then Gauss-Newton;
5. the racket wrist is aimed (`mocap.racket`);
6. the root is shifted so that the zero-moment point of the moving robot stays near its feet, and the legs
are solved again;
7. arms and racket are kept off the body (`mocap.self_collision`), and accelerations within what the motors can
do (`mocap.smoothness`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from humanoid.bodies import Bodies
from humanoid.joints import JOINT_NAMES
from humanoid.motion import Move, RobotMotion, Stroke
from mocap.arms import solve_arm
from mocap.balance import rebalance
from mocap.config import RetargetConfig
from mocap.contacts import find_footing
from mocap.filters import close_gaps, low_pass, resample_cubic
from mocap.footwork import HumanMove, find_moves
from mocap.legs import Legs
from mocap.momentum import lift_flights
from mocap.racket import aim_racket, refine_strikes
from mocap.robot import RobotModel
from mocap.rotations import Array, axis_matrix, continuous, frame_from, quat_from_matrix
from mocap.self_collision import part_arms_apart
from mocap.skeleton import SIDES, Body
from mocap.smoothness import limit_acceleration
from mocap.strokes import HumanStroke, find_strokes


@dataclass
class Retargeted:
    """A robot motion with what is needed to judge it.

    Attributes:
        fps: frames a second.
        root_pos: (T, 3), root_rot: (T, 3, 3), q: (T, n) joint angles [rad].
        contact: (T, 2) bool, left and right foot.
        joint_pos, joint_rot: (T, n+1, 3), (T, n+1, 3, 3) world frames of all joints.
        strokes: strokes in output frames; the strike is the robot racket's.
        body: the human as it was retargeted (output rate, smoothed, floor at zero).
        clipped: (T,) number of joints that stopped at a limit.
        scale: robot metres per human metre.
        moves: the human's footwork, in output frames.
    """

    fps: float
    root_pos: Array
    root_rot: Array
    q: Array
    contact: np.ndarray
    joint_pos: Array
    joint_rot: Array
    strokes: list[HumanStroke]
    body: Body
    clipped: np.ndarray
    scale: float
    notes: dict[str, Any] = field(default_factory=dict)
    moves: list[HumanMove] = field(default_factory=list)

    @property
    def root_quat(self) -> Array:
        """(T, 4) root orientation, w x y z, continuous."""
        return continuous(quat_from_matrix(self.root_rot))

    def motion(self, name: str, provenance: dict[str, Any]) -> RobotMotion:
        """The motion as it is written to a file."""
        strokes = tuple(
            Stroke(s.kind, s.hand, s.start / self.fps, s.strike / self.fps, s.end / self.fps, s.side)
            for s in self.strokes
        )
        last = len(self.q) - 1
        moves = tuple(
            Move(m.kind, m.start / self.fps, min(m.end, last) / self.fps, m.direction) for m in self.moves
        )
        return RobotMotion(
            name,
            self.fps,
            JOINT_NAMES,
            self.root_pos,
            self.root_quat,
            self.q,
            self.contact,
            strokes,
            {**provenance, **self.notes},
            moves,
        )


def retarget(
    body: Body, robot: RobotModel, config: RetargetConfig | None = None, hand: str | None = None
) -> Retargeted:
    """Retarget a clean human body to the robot.

    Args:
        body: the human in metres, z up, any rate; glitches already repaired.
        robot: the robot.
        config: rates, bandwidths and switches.
        hand: the racket hand for stroke finding; found when not given.

    Returns:
        The motion at `config.fps`, floor at z = 0, in the human's horizontal frame scaled by the leg ratio.
    """
    config = config or RetargetConfig()
    body = prepare(body, config)
    footing = find_footing(body)
    body = replace(body, points=body.points - np.array([0.0, 0.0, footing.floor]))
    scale = robot.leg_m / body.leg_m
    tree = robot.tree
    frames = body.frames
    q = np.zeros((frames, len(tree.joint_names)))

    root_rot, q[:, robot.waist] = _trunk(body, robot, config)
    thrown = lift_flights(body, scale)
    if thrown is not body:
        # When the feet stand is seen in the human; how high they are is the robot's.
        footing = replace(find_footing(thrown), contact=footing.contact)
    root_pos = _root_path(thrown, robot, root_rot, scale)
    legs = Legs(robot, config, footing, thrown, scale)
    root_pos = legs.solve(root_pos, root_rot, q)

    torso = _torso_rotation(robot, root_rot, q)
    for n, side in enumerate(SIDES):
        q[:, robot.arms[n].columns] = solve_arm(body, side, robot.arms[n], torso, config.fps)

    strokes = find_strokes(body, hand)
    if config.aim_racket:
        aim_racket(robot, config, q, root_pos, root_rot, strokes)
        pos, rot = tree.forward(root_pos, root_rot, q)
        strokes = refine_strikes(robot, pos, rot, strokes, config.fps, config.shot_yaw)
        aim_racket(robot, config, q, root_pos, root_rot, strokes)
    if config.balance > 0.0:
        root_pos, q = rebalance(
            robot,
            root_pos,
            root_rot,
            q,
            legs.footing.contact,
            config.fps,
            most_m=0.06 * config.balance,
            iterations=3,
        )
    if config.self_collision:
        q = part_arms_apart(
            robot.tree, Bodies(), root_pos, root_rot, q, config.fps, margin_m=config.self_gap_m
        )
    q = np.clip(limit_acceleration(q, 0.9 * robot.acceleration, config.fps), tree.lower, tree.upper)
    pos, rot = tree.forward(root_pos, root_rot, q)
    contact = _held(robot, legs, pos, rot)
    at_limit = (q <= tree.lower + 1e-6) | (q >= tree.upper - 1e-6)
    return Retargeted(
        config.fps,
        root_pos,
        root_rot,
        q,
        contact,
        pos,
        rot,
        strokes,
        body,
        at_limit.sum(axis=1),
        scale,
        moves=find_moves(body),
    )


def _held(robot: RobotModel, legs: Legs, pos: Array, rot: Array) -> np.ndarray:
    """Contacts (T, 2) that a foot of the robot really keeps: in place within 5 mm, flat within 0.03 rad, at
    rest.

    Feet are held one frame longer than they are said to stand, so that a foot never moves while it is said
    to stand.
    """
    assert legs.sole is not None
    contact = legs.footing.contact.copy()
    for n in range(2):
        place, attitude = robot.tree.place(robot.soles[n], pos, rot)
        tilted = attitude[:, 2, 2] < np.cos(0.03)
        step = np.linalg.norm(np.diff(place, axis=0, prepend=place[:1]), axis=1)
        moving = np.maximum(step, np.append(step[1:], 0.0)) > 0.002
        off = (np.abs(place[:, 2]) > 0.005) | tilted | moving
        contact[:, n] &= ~off
        contact[:, n] = close_gaps(contact[:, n], gap=1, shortest=3)
    return contact


def prepare(body: Body, config: RetargetConfig) -> Body:
    """Smooth and resample to the output rate: arms at their own, wider bandwidth."""
    points = body.points
    arm = [i for i, n in enumerate(body.names) if n.split("_")[-1] in ("elbow", "wrist", "hand")]
    rest = [i for i in range(len(body.names)) if i not in arm]
    out = np.empty_like(points)
    out[:, arm] = low_pass(points[:, arm], body.fps, config.arm_cutoff_hz)
    out[:, rest] = low_pass(points[:, rest], body.fps, config.cutoff_hz)
    return replace(body, points=resample_cubic(out, body.fps, config.fps), fps=config.fps)


def _soft_clip(x: Array, limit: float) -> Array:
    """Identity up to 0.7 of the limit, then bending smoothly toward it."""
    knee = 0.7 * limit
    over = np.abs(x) - knee
    return np.where(over > 0.0, np.sign(x) * (knee + (limit - knee) * np.tanh(over / (limit - knee))), x)


def _trunk(body: Body, robot: RobotModel, config: RetargetConfig) -> tuple[Array, Array]:
    """Root rotation (T, 3, 3) and waist yaw, roll, pitch (T, 3)."""
    hips = 0.5 * (body["left_hip"] + body["right_hip"])
    pelvis = frame_from(body["spine"] - hips, body["left_hip"] - body["right_hip"], "zy")
    torso = frame_from(body["neck"] - body["chest"], body["left_shoulder"] - body["right_shoulder"], "zy")
    rel = np.swapaxes(pelvis, 1, 2) @ torso
    roll = np.arcsin(np.clip(rel[:, 2, 1], -1.0, 1.0))
    pitch = np.arctan2(-rel[:, 2, 0], rel[:, 2, 2])
    # Unwrapped: a trunk that turns past half a turn (it does in a few clips) must not spring to the other limit.
    yaw = np.unwrap(np.arctan2(-rel[:, 0, 1], rel[:, 1, 1]))
    tree = robot.tree
    limit = [min(-tree.lower[i], tree.upper[i]) * 0.97 for i in robot.waist]
    angles = np.stack([_soft_clip(a, m) for a, m in zip((yaw, roll, pitch), limit, strict=True)], axis=1)
    waist = axis_matrix("Z", angles[:, 0]) @ axis_matrix("X", angles[:, 1]) @ axis_matrix("Y", angles[:, 2])
    # The chest carries the arms: its orientation is kept, and the pelvis takes what the waist cannot.
    return torso @ np.swapaxes(waist, 1, 2), angles


def _root_path(body: Body, robot: RobotModel, root_rot: Array, scale: float) -> Array:
    """Root position (T, 3): the middle between the hips follows the human's, scaled."""
    hips = 0.5 * (body["left_hip"] + body["right_hip"])
    ankles = min(float(np.percentile(body[f"{s}_ankle"][:, 2], 10)) for s in SIDES)
    middle = hips * scale
    middle[:, 2] = (hips[:, 2] - ankles) * scale + robot.sole_to_ankle(0)
    return middle - root_rot @ np.array([0.0, 0.0, robot.hip_height_m])


def _torso_rotation(robot: RobotModel, root_rot: Array, q: Array) -> Array:
    r = root_rot
    for i in robot.waist:
        j = i + 1
        r, _ = robot.tree.step(j, r, np.zeros(3), q[:, i])
    return r
