"""Turn the racket wrist so that a stroke meets the ball with a square face.

Motion capture of tennis seldom has the racket, and hand markers say little about it. What a stroke needs is
known: at the strike the string bed faces the way the racket moves, the racket lies across that way, and
away from the strike the wrist is relaxed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mocap.filters import low_pass, smoothstep, velocity
from mocap.rotations import Array, frame_from, normalize
from mocap.strokes import OVERHEAD, HumanStroke, shot_direction

if TYPE_CHECKING:
    from mocap.config import RetargetConfig
    from mocap.robot import RobotModel

# How much the racket's tip is pulled to the side of the body and how far it may point up or down from level
# at the strike.
SIDE_PULL = 0.5
TIP_RISE = (0.2, 0.5)
# A carried racket points no lower than this [rad], if the wrist needs no more than that for it [rad].
CARRY_RISE, CARRY_BEND = -0.35, 1.3


def wrist_angles(relative: Array, fix: Array) -> Array:
    """Wrist roll, pitch, yaw (T, 3) for racket rotations (T, 3, 3) relative to the forearm; `fix` is the
    racket in the hand.
    """
    w = relative @ fix.T
    pitch = np.arcsin(np.clip(w[:, 0, 2], -1.0, 1.0))
    yaw = np.arctan2(-w[:, 0, 1], w[:, 0, 0])
    roll = np.arctan2(-w[:, 1, 2], w[:, 2, 2])
    return np.stack([roll, pitch, yaw], axis=1)


def carry_angles(base: Array, torso: Array, fps: float, lower: Array, upper: Array) -> Array:
    """Wrist roll, pitch, yaw (T, 3) of a racket that is carried: along the forearm, but not far below level.

    An arm that hangs would let the racket, which is as long as the robot's arm, into legs and ground.

    Args:
        base: (T, 3, 3) the wrist at zero angles, x along the forearm. torso: (T, 3, 3), x forward.
        fps: frames a second.
        lower, upper: limits of the three angles.
    """
    along = base[:, :, 0]
    # Where the arm hangs straight down, forward is the torso's.
    ahead = normalize((along + 0.3 * torso[:, :, 0]) * [1.0, 1.0, 0.0])
    rise = np.maximum(np.arcsin(np.clip(along[:, 2], -1.0, 1.0)), CARRY_RISE)
    blend = smoothstep((CARRY_RISE + 0.3 - np.arcsin(np.clip(along[:, 2], -1.0, 1.0))) / 0.6)[:, None]
    wished = ahead * np.cos(rise)[:, None] + np.array([0.0, 0.0, 1.0]) * np.sin(rise)[:, None]
    tip = normalize((1.0 - blend) * along + blend * wished)
    local = (np.swapaxes(base, 1, 2) @ tip[..., None])[..., 0]
    yaw = np.arcsin(np.clip(local[:, 1], -1.0, 1.0))
    pitch = np.arctan2(-local[:, 2], local[:, 0])
    angles = np.stack([0.0 * yaw, pitch, yaw], axis=1)
    return np.clip(low_pass(np.clip(angles, -CARRY_BEND, CARRY_BEND), fps, 3.0), lower, upper)


def refine_strikes(
    robot: RobotModel, pos: Array, rot: Array, strokes: list[HumanStroke], fps: float, shot_yaw: float | None
) -> list[HumanStroke]:
    """Move each strike to where the racket moves fastest toward the other side of the court. Serves and smashes
    keep theirs: they are met where the hand is highest.

    Args:
        robot: the robot.
        pos, rot: world frames of all joints, of a motion whose racket is already aimed.
        strokes: strokes with the strike at the wrist's peak speed.
        fps: frames a second.
        shot_yaw: direction of the other side of the court [rad]; not given, it is estimated from all strokes.
    """
    centre, _ = robot.tree.place(robot.racket, pos, rot)
    v = low_pass(velocity(centre, fps), fps, 12.0)
    common = shot_direction(strokes) if shot_yaw is None else np.array([np.cos(shot_yaw), np.sin(shot_yaw)])
    out = []
    for s in strokes:
        if s.kind in OVERHEAD:
            out.append(s)
            continue
        way = s.direction if common is None else common
        a, b = max(0, s.strike - round(0.14 * fps)), min(len(v), s.strike + round(0.08 * fps) + 1)
        strike = a + int(np.argmax(v[a:b, :2] @ way))
        out.append(replace(s, strike=strike, start=min(s.start, strike), end=max(s.end, strike)))
    return out


def aim_racket(
    robot: RobotModel,
    config: RetargetConfig,
    q: Array,
    root_pos: Array,
    root_rot: Array,
    strokes: list[HumanStroke],
    iterations: int = 6,
) -> None:
    """Write the right wrist's angles into `q` (T, n), so that the racket face is square to its way around
    each strike.

    The racket's velocity depends on how the wrist turns, so the aim is repeated a few times. Strokes of the
    left hand are left alone: the robot's racket is in the right.
    """
    tree = robot.tree
    names = tuple(f"right_wrist_{a}_joint" for a in ("roll", "pitch", "yaw"))
    columns = np.array([tree.index(n) - 1 for n in names])
    lower, upper = tree.lower[columns] + 0.02, tree.upper[columns] - 0.02
    strokes = [s for s in strokes if s.hand == "right" and s.kind not in OVERHEAD]
    q[:, columns] = 0.0
    frames = len(q)
    elbow = tree.index("right_elbow_joint")
    pos, rot = tree.forward(root_pos, root_rot, q)
    fore_rot = rot[:, elbow]
    wrist_mount = tree.rotations[tree.index(names[0])]
    base = fore_rot @ wrist_mount
    neutral = carry_angles(base, rot[:, robot.waist[2] + 1], config.fps, lower, upper)
    q[:, columns] = neutral
    if not strokes:
        return
    roll_joint = tree.index(names[0])
    forearm = normalize(pos[:, roll_joint] - pos[:, elbow])
    fix = robot.racket.rotation
    weight = np.zeros(frames)
    time = np.arange(frames) / config.fps
    window = config.aim_window_s
    for s in strokes:
        # Full aim within the window, then relaxing over a third of a second.
        far = np.abs(time - time[s.strike])
        weight = np.maximum(weight, 1.0 - smoothstep((far - window) / 0.35))
    nearest = np.argmin(np.abs(time[:, None] - time[[s.strike for s in strokes]]), axis=1)
    side = np.array([1.0 if "backhand" in (s.kind, s.side) else -1.0 for s in strokes])[nearest]
    face: list[float] = [0.0] * len(strokes)
    angles = neutral
    for _ in range(iterations):
        q[:, columns] = angles
        centre = _racket_path(robot, q, base, pos[:, roll_joint])
        v = low_pass(velocity(centre, config.fps), config.fps, 10.0)
        way = normalize(v)
        level = normalize(way * [1.0, 1.0, 0.3])
        # The tip lies across the way, toward the forearm and the stroke's side, not far from level.
        lateral = np.cross([0.0, 0.0, 1.0], way) * side[:, None]
        tip = forearm + SIDE_PULL * lateral
        tip = tip - np.sum(tip * level, axis=1, keepdims=True) * level
        tip = normalize(tip)
        rise = np.clip(tip[:, 2:], *TIP_RISE)
        flat = normalize(tip * [1.0, 1.0, 0.0])
        tip = flat * np.sqrt(1.0 - rise**2) + np.array([0.0, 0.0, 1.0]) * rise
        aim = np.zeros((frames, 3))
        for k, s in enumerate(strokes):
            mine = nearest == k
            options = []
            for sign in (1.0, -1.0):
                wished = frame_from(tip[mine], sign * level[mine], "xz")
                a = wrist_angles(np.swapaxes(base[mine], 1, 2) @ wished, fix)
                options.append(a)
            if face[k] == 0.0:
                at = int(np.flatnonzero(mine).searchsorted(s.strike))
                cost = [np.abs(a[at]).max() + 0.2 * np.abs(a[at]).sum() for a in options]
                face[k] = 1.0 if cost[0] <= cost[1] else -1.0
            aim[mine] = options[0 if face[k] > 0 else 1]
        aim = np.clip(aim, lower, upper)
        wished_angles = neutral + weight[:, None] * (aim - neutral)
        angles = 0.5 * angles + 0.5 * np.clip(low_pass(wished_angles, config.fps, 6.0), lower, upper)
    q[:, columns] = angles


def _racket_path(robot: RobotModel, q: Array, base: Array, origin: Array) -> Array:
    """String-bed centre (T, 3) for the wrist angles in `q`, the forearm given."""
    tree = robot.tree
    r, p = None, origin
    for name in ("roll", "pitch", "yaw"):
        j = tree.index(f"right_wrist_{name}_joint")
        if r is None:
            from mocap.kinematics import turn

            r = turn(base, int(tree.axes[j]), q[:, j - 1])
        else:
            r, p = tree.step(j, r, p, q[:, j - 1])
    assert r is not None
    return p + r @ robot.racket.position


def face_normal(attitude: Array, speed: Array, frame: int) -> tuple[Array, float]:
    """The hitting face's outward normal (3,) at a frame, and its sign: +1 if it is the racket's own z, -1
    for the back.

    Args:
        attitude: (T, 3, 3) racket rotations.
        speed: (T, 3) racket centre velocity [m/s].
        frame: the strike.
    """
    z = attitude[frame, :, 2]
    sign = 1.0 if z @ speed[frame] >= 0.0 else -1.0
    return sign * z, sign
