"""The ready pose, and the steps from it into a motion and out of a motion back to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from humanoid.joints import READY_JOINT_POS
from mocap.filters import smoothstep
from mocap.legs import solve_legs
from mocap.robot import RobotModel
from mocap.rotations import Array, axis_angle_from_matrix, axis_matrix, matrix_from_axis_angle, wrap


@dataclass(frozen=True)
class Pose:
    """One instant: root position (3,), rotation (3, 3), joint angles (n,), sole centres (2, 3) and headings
    (2,).
    """

    root_pos: Array
    root_rot: Array
    q: Array
    soles: Array
    heading: Array


def ready_pose(robot: RobotModel, xy: Array, yaw: float = 0.0) -> Pose:
    """The robot's ready pose (`humanoid.joints.READY_JOINT_POS`), upright, facing `yaw` [rad], soles flat
    on the ground.

    Args:
        robot: the robot.
        xy: (2,) middle between the feet [m].
        yaw: heading [rad].
    """
    tree = robot.tree
    q = np.array(READY_JOINT_POS, dtype=float)[None]
    rot = axis_matrix("Z", np.array(yaw))
    pos, r = tree.forward(np.zeros((1, 3)), rot[None], q)
    soles, heading = np.empty((2, 3)), np.empty(2)
    for n in range(2):
        p, attitude = tree.place(robot.soles[n], pos, r)
        soles[n], heading[n] = p[0], np.arctan2(attitude[0, 1, 0], attitude[0, 0, 0])
    shift = np.array([*(xy - soles[:, :2].mean(axis=0)), -soles[:, 2].mean()])
    soles = soles + shift
    # The joint angles leave the soles a degree off level: the legs are solved again for flat feet.
    soles[:, 2] = 0.0
    solve_legs(robot, shift[None], rot[None], soles[None], heading[None], q)
    return Pose(shift, rot, q[0], soles, heading)


def pose_at(robot: RobotModel, root_pos: Array, root_rot: Array, q: Array, frame: int) -> Pose:
    """The pose of a motion at one frame."""
    k = slice(frame, frame + 1) if frame >= 0 else slice(len(q) + frame, len(q) + frame + 1)
    pos, rot = robot.tree.forward(root_pos[k], root_rot[k], q[k])
    soles, heading = np.empty((2, 3)), np.empty(2)
    for n in range(2):
        p, r = robot.tree.place(robot.soles[n], pos, rot)
        soles[n], heading[n] = p[0], np.arctan2(r[0, 1, 0], r[0, 0, 0])
    return Pose(root_pos[k][0], root_rot[k][0], q[k][0], soles, heading)


def step_between(
    robot: RobotModel,
    a: Pose,
    b: Pose,
    frames: int,
    fps: float,
    *,
    velocity_b: tuple[Array, Array, Array] | None = None,
    clearance_m: float = 0.03,
) -> tuple[Array, Array, Array, np.ndarray]:
    """Frames of a motion that goes from pose `a`, at rest, to just before pose `b`, with one step of each
    foot.

    The foot with the longer way steps first, the other follows; a foot that is in place already stays. Root
    and upper body follow cubic curves that arrive with the velocity of `b`.

    Args:
        robot: the robot.
        a, b: poses with both feet flat on the ground.
        frames: number of frames N, the first is `a`.
        fps: frames a second.
        velocity_b: root velocity (3,) [m/s], root angular velocity in the root's frame (3,) and joint
            velocities (n,) [rad/s] at `b`; at rest when not given.
        clearance_m: height of the steps.

    Returns:
        root_pos (N, 3), root_rot (N, 3, 3), q (N, n), contact (N, 2).
    """
    duration = frames / fps
    t = np.arange(frames) / frames
    h00, h01 = 1.0 - t * t * (3.0 - 2.0 * t), t * t * (3.0 - 2.0 * t)
    h11 = (t**3 - t**2) * duration
    zero = np.zeros(3)
    v, w, dq = velocity_b if velocity_b is not None else (zero, zero, np.zeros(len(a.q)))
    root_pos = h00[:, None] * a.root_pos + h01[:, None] * b.root_pos + h11[:, None] * v
    # In the coordinates of b's own frame the curve ends at zero with the angular velocity of b.
    start = axis_angle_from_matrix(b.root_rot.T @ a.root_rot)
    root_rot = b.root_rot @ matrix_from_axis_angle(h00[:, None] * start + h11[:, None] * w)
    q = h00[:, None] * a.q + h01[:, None] * b.q + h11[:, None] * dq
    q = np.clip(q, robot.tree.lower, robot.tree.upper)
    way = np.linalg.norm(b.soles[:, :2] - a.soles[:, :2], axis=1) + 0.2 * np.abs(wrap(b.heading - a.heading))
    first = int(np.argmax(way))
    soles = np.empty((frames, 2, 3))
    heading = np.empty((frames, 2))
    contact = np.ones((frames, 2), dtype=bool)
    for n in range(2):
        begin, end = (0.05, 0.5) if n == first else (0.5, 0.95)
        s = smoothstep(np.clip((t - begin) / (end - begin), 0.0, 1.0))
        soles[:, n] = a.soles[n] + s[:, None] * (b.soles[n] - a.soles[n])
        heading[:, n] = a.heading[n] + s * wrap(b.heading[n] - a.heading[n])
        if way[n] < 1e-3:
            continue
        up = np.clip((t - begin) / (end - begin), 0.0, 1.0)
        soles[:, n, 2] += clearance_m * 16.0 * (up * (1.0 - up)) ** 2
        contact[:, n] = (up <= 0.0) | (up >= 1.0)
    solve_legs(robot, root_pos, root_rot, soles, heading, q)
    return root_pos, root_rot, q, contact
