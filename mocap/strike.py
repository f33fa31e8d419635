"""How the robot meets the ball in a stroke: where its racket is, how fast and which way it moves, how it faces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from humanoid.motion import RobotMotion, Stroke
from mocap.filters import low_pass, velocity
from mocap.racket import face_normal
from mocap.robot import RobotModel
from mocap.rotations import Array, matrix_from_quat

SPEED_HZ = 12.0
"""Bandwidth in which the racket's speed is measured [Hz], as where strikes are placed (`mocap.racket`)."""


@dataclass(frozen=True)
class Strike:
    """A stroke of the robot as something to search for. The frame is the hitter's: x where the racket sends the ball
    (its horizontal velocity at the strike), y to the left, z up; origin on the floor under the pelvis at the strike.

    Attributes:
        motion: name of the motion that it is in.
        kind, side, hand: as in `humanoid.motion.Stroke`.
        start_s, strike_s, end_s: times in the motion [s].
        height_m: of the string bed's centre over the floor.
        right_m: how far it is to the right of the pelvis, negative to the left.
        forward_m: how far it is in front of the pelvis.
        speed_m_s: of the string bed's centre.
        rise_deg: how steeply it moves upward.
        direction: (3,) unit vector of its velocity; y is 0 by the choice of the frame.
        normal: (3,) outward normal of the hitting face.
        turn_deg: how far the pelvis is turned from x, positive to the left; -90 is side on, left shoulder ahead.
        preparation_s, follow_through_s: from start to strike, from strike to end.
        step_m: (2,) horizontal displacement of the pelvis from start to strike, forward and to the right.
    """

    motion: str
    kind: str
    side: str
    hand: str
    start_s: float
    strike_s: float
    end_s: float
    height_m: float
    right_m: float
    forward_m: float
    speed_m_s: float
    rise_deg: float
    direction: tuple[float, float, float]
    normal: tuple[float, float, float]
    turn_deg: float
    preparation_s: float
    follow_through_s: float
    step_m: tuple[float, float]


def find_strikes(motion: RobotMotion, robot: RobotModel) -> list[Strike]:
    """The strikes of a motion's strokes, in their order.

    The robot's racket is in its right hand: strokes of the left are left out.

    Args:
        motion: the motion.
        robot: the robot that it is of.
    """
    return [_strike(motion, robot, s) for s in motion.strokes if s.hand == "right"]


def _strike(motion: RobotMotion, robot: RobotModel, stroke: Stroke) -> Strike:
    fps, last = motion.fps, motion.num_frames - 1
    at, first, end = (
        min(last, max(0, round(t * fps))) for t in (stroke.strike_s, stroke.start_s, stroke.end_s)
    )
    margin = round(0.4 * fps)
    a, b = max(0, at - margin), min(last, at + margin) + 1
    rot = matrix_from_quat(motion.root_quat[a:b])
    pos, rots = robot.tree.forward(motion.root_pos[a:b], rot, motion.joint_pos[a:b])
    centre, attitude = robot.tree.place(robot.racket, pos, rots)
    v = low_pass(velocity(centre, fps), fps, SPEED_HZ)
    k = at - a
    normal, _ = face_normal(attitude, v, k)
    facing = rot[k, :2, 0]
    flat = v[k, :2] if np.linalg.norm(v[k, :2]) > 0.5 else facing
    x = flat / max(float(np.linalg.norm(flat)), 1e-9)
    turn = np.array([[x[0], x[1], 0.0], [-x[1], x[0], 0.0], [0.0, 0.0, 1.0]])
    place = turn @ (centre[k] - motion.root_pos[at] * [1.0, 1.0, 0.0])
    speed = float(np.linalg.norm(v[k]))
    way = turn @ v[k] / max(speed, 1e-9)
    step = turn[:2, :2] @ (motion.root_pos[at, :2] - motion.root_pos[first, :2])
    seen = turn[:2, :2] @ facing
    return Strike(
        motion=motion.name,
        kind=stroke.kind,
        side=stroke.side or (stroke.kind if stroke.kind in ("forehand", "backhand") else ""),
        hand=stroke.hand,
        start_s=first / fps,
        strike_s=at / fps,
        end_s=end / fps,
        height_m=float(place[2]),
        right_m=float(-place[1]),
        forward_m=float(place[0]),
        speed_m_s=speed,
        rise_deg=float(np.degrees(np.arcsin(np.clip(way[2], -1.0, 1.0)))),
        direction=_three(way),
        normal=_three(turn @ normal),
        turn_deg=float(np.degrees(np.arctan2(seen[1], seen[0]))),
        preparation_s=(at - first) / fps,
        follow_through_s=(end - at) / fps,
        step_m=(float(step[0]), float(-step[1])),
    )


def _three(x: Array) -> tuple[float, float, float]:
    return float(x[0]), float(x[1]), float(x[2])
