"""Strokes with both feet planted: the upper body of a human stroke on a stance that does not step.

The torso keeps its orientation and the arms their angles; the pelvis turns part of the way, the waist the rest;
the legs follow by inverse kinematics from two soles fixed in the ready stance; and the pelvis shifts so that the
zero-moment point stays inside them. A robot can learn such a stroke in minutes, and every one of them starts and
ends in the same pose, so any may follow any. What is lost is footwork and part of the weight shift.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pinocchio as pin
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from humanoid.dynamics import velocities
from humanoid.joints import JOINT_INDEX, LOWER, READY_JOINT_POS, UPPER
from humanoid.kinematics import default_pinocchio, to_pinocchio
from humanoid.motion import RobotMotion, Stroke

GRAVITY = 9.81
_LEGS = (np.arange(0, 6), np.arange(6, 12))
_WAIST = [JOINT_INDEX[f"waist_{axis}_joint"] for axis in ("yaw", "roll", "pitch")]


@dataclass(frozen=True)
class PlantConfig:
    """How strokes are planted.

    Attributes:
        before_s, after_s: what is kept before and after the strike, s.
        blend_s: time from and to the ready pose, s.
        pelvis_share: share of the human pelvis's turn that the robot's pelvis makes.
        pelvis_limit: largest turn of the pelvis, rad.
        drop_limit: largest change of the pelvis's height, m.
        support: half length and half width of the area the zero-moment point is held in, m, around the
            middle of the two soles.
    """

    before_s: float = 1.1
    after_s: float = 0.9
    blend_s: float = 0.4
    pelvis_share: float = 0.5
    pelvis_limit: float = 0.45
    drop_limit: float = 0.04
    support: tuple[float, float] = (0.035, 0.12)


class PlantError(ValueError):
    """A stroke that cannot be planted."""


def plant(motion: RobotMotion, stroke: Stroke, config: PlantConfig | None = None) -> RobotMotion:
    """Plant one stroke of a motion.

    Args:
        motion: a motion that shoots toward +x.
        stroke: which of its strokes.
        config: lengths and limits.

    Returns:
        A motion of ``before_s + after_s`` whose root starts above the origin, facing +x.

    Raises:
        PlantError: the motion is too short around the strike.
    """
    config = config or PlantConfig()
    fps = motion.fps
    strike = round(stroke.strike_s * fps)
    first, last = strike - round(config.before_s * fps), strike + round(config.after_s * fps)
    index = np.arange(first, last + 1)
    if first < -round(0.5 * fps) or last > motion.num_frames - 1 + round(0.5 * fps):
        raise PlantError(
            f"{motion.name}: less than {config.before_s} s before or {config.after_s} s after the strike"
        )
    index = np.clip(index, 0, motion.num_frames - 1)
    frames = len(index)
    weight = _ramp(np.arange(frames) / fps, config.blend_s) * _ramp(
        (frames - 1 - np.arange(frames)) / fps, config.blend_s
    )

    pelvis = Rotation.from_quat(motion.root_quat[index][:, [1, 2, 3, 0]])
    human = motion.joint_pos[index]
    torso = pelvis * Rotation.from_euler("ZXY", human[:, _WAIST])
    turn = np.unwrap(pelvis.as_euler("ZYX")[:, 0])
    turn = weight * np.clip(config.pelvis_share * turn, -config.pelvis_limit, config.pelvis_limit)
    root = Rotation.from_euler("Z", turn[:, None])

    waist = (root.inv() * torso).as_euler("ZXY")
    waist[:, 0] = np.unwrap(waist[:, 0])
    joint_pos = human.copy()
    joint_pos[:, _WAIST] = waist
    joint_pos = READY_JOINT_POS + weight[:, None] * (joint_pos - READY_JOINT_POS)
    joint_pos[:, 12:] = np.clip(joint_pos[:, 12:], LOWER[12:], UPPER[12:])
    joint_pos[:, 12:] = gaussian_filter1d(joint_pos[:, 12:], 1.0, axis=0, mode="nearest")

    height = motion.root_pos[index, 2]
    drop = np.clip(height - np.median(height), -config.drop_limit, 0.0)
    root_quat = root.as_quat()[:, [3, 0, 1, 2]]
    ready_root, soles = ready_stance()
    root_pos = np.tile(ready_root, (frames, 1))
    root_pos[:, 2] += gaussian_filter1d(weight * drop, 3.0, mode="nearest")
    root_pos, joint_pos = balance(root_pos, root_quat, joint_pos, soles, fps, config)
    return replace(
        motion,
        name=motion.name,
        root_pos=root_pos,
        root_quat=root_quat,
        joint_pos=joint_pos,
        contacts=np.ones((frames, 2), dtype=bool),
        strokes=(replace(stroke, start_s=0.0, strike_s=config.before_s, end_s=(frames - 1) / fps),),
        provenance={**motion.provenance, "planted": config.__dict__.copy()},
    )


def ready_stance() -> tuple[np.ndarray, list[pin.SE3]]:
    """Pelvis position (3,) above the origin and the two sole frames of the ready pose standing at z = 0."""
    model = default_pinocchio()
    data = model.createData()
    q = to_pinocchio(np.zeros(3), np.array([1.0, 0, 0, 0]), READY_JOINT_POS)
    pin.framesForwardKinematics(model, data, q)
    soles = [data.oMf[model.getFrameId(f"{side}_foot")].copy() for side in ("left", "right")]
    height = -min(sole.translation[2] for sole in soles)
    lifted = []
    for sole in soles:
        yaw = np.arctan2(sole.rotation[1, 0], sole.rotation[0, 0])
        flat = pin.SE3(pin.utils.rotate("z", yaw), np.array([*sole.translation[:2], 0.0]))
        lifted.append(flat)
    return np.array([0.0, 0.0, height]), lifted


def balance(
    root_pos: np.ndarray,
    root_quat: np.ndarray,
    joint_pos: np.ndarray,
    soles: list[pin.SE3],
    fps: float,
    config: PlantConfig,
    rounds: int = 4,
) -> tuple[np.ndarray, np.ndarray]:
    """Legs by inverse kinematics, pelvis shifted until the zero-moment point stays in the support area.

    Moving the body by x(t) moves the zero-moment point by x - (h/g) x'' (h: height of the centre of mass). Solving
    that for the shift wanted gives a smooth motion that begins before the disturbance.
    """
    middle = np.mean([sole.translation[:2] for sole in soles], axis=0)
    frames = len(root_pos)
    second = (
        np.diag(np.full(frames, -2.0)) + np.diag(np.ones(frames - 1), 1) + np.diag(np.ones(frames - 1), -1)
    )
    pendulum = np.eye(frames) - (0.65 / GRAVITY) * fps**2 * second
    limit = np.array(config.support)
    for _ in range(rounds):
        joint_pos = _solve_legs(root_pos, root_quat, joint_pos, soles)
        off = zero_moment_point(root_pos, root_quat, joint_pos, fps) - middle
        excess = off - np.clip(off, -limit, limit)
        if np.abs(excess).max() < 5e-3:
            break
        root_pos = root_pos.copy()
        root_pos[:, :2] -= np.linalg.solve(pendulum, excess)
    return root_pos, _solve_legs(root_pos, root_quat, joint_pos, soles)


def zero_moment_point(
    root_pos: np.ndarray, root_quat: np.ndarray, joint_pos: np.ndarray, fps: float
) -> np.ndarray:
    """Zero-moment point on the ground, from the rate of change of the whole momentum, (T, 2), m."""
    model = default_pinocchio()
    data = model.createData()
    q = to_pinocchio(root_pos, root_quat, joint_pos)
    v = velocities(root_pos, root_quat, joint_pos, fps)
    a = np.gradient(v, 1.0 / fps, axis=0)
    mass = pin.computeTotalMass(model)
    zmp = np.empty((len(q), 2))
    for t in range(len(q)):
        rate = pin.computeCentroidalMomentumTimeVariation(model, data, q[t], v[t], a[t])
        force = rate.linear + np.array([0, 0, mass * GRAVITY])
        com, moment = data.com[0], rate.angular
        up = max(force[2], 0.3 * mass * GRAVITY)
        zmp[t, 0] = com[0] - (com[2] * force[0] + moment[1]) / up
        zmp[t, 1] = com[1] - (com[2] * force[1] - moment[0]) / up
    return zmp


def _solve_legs(root_pos, root_quat, joint_pos, soles) -> np.ndarray:
    """Leg angles that keep both soles where they are; damped Gauss–Newton, warm-started frame by frame."""
    model = default_pinocchio()
    data = model.createData()
    frames = [model.getFrameId(f"{side}_foot") for side in ("left", "right")]
    out = joint_pos.copy()
    q = to_pinocchio(root_pos, root_quat, out)
    legs = READY_JOINT_POS[:12].copy()
    for t in range(len(q)):
        q[t, 7:19] = legs
        for _ in range(20):
            error = 0.0
            pin.computeJointJacobians(model, data, q[t])
            for leg, frame, sole in zip(_LEGS, frames, soles, strict=True):
                placement = pin.updateFramePlacement(model, data, frame)
                delta = pin.log6(placement.actInv(sole)).vector
                error = max(error, float(np.abs(delta).max()))
                jacobian = pin.getFrameJacobian(model, data, frame, pin.LOCAL)[:, 6 + leg]
                step = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + 1e-6 * np.eye(6), delta)
                q[t, 7 + leg] = np.clip(q[t, 7 + leg] + step, LOWER[leg], UPPER[leg])
            if error < 1e-5:
                break
        legs = q[t, 7:19].copy()
        out[t, :12] = legs
    return out


def _ramp(time: np.ndarray, duration: float) -> np.ndarray:
    """Smooth step from 0 at time 0 to 1 at ``duration``, with two continuous derivatives."""
    x = np.clip(time / duration, 0.0, 1.0)
    return x**3 * (10 - 15 * x + 6 * x * x)
