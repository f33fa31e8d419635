"""The strokes a player chooses from, as tensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pinocchio as pin
import torch
from torch import Tensor

from humanoid.balance import ready_height
from humanoid.dynamics import feedforward_torque, velocities
from humanoid.kinematics import default_pinocchio, to_pinocchio
from humanoid.model import build_model
from humanoid.motion import MotionError, RobotMotion
from humanoid.racket import ARM_JOINTS

STROKE_FOLDER = Path(__file__).resolve().parent.parent / "assets" / "motions" / "strokes_planted"


@dataclass(frozen=True)
class StrokeSet:
    """K strokes of T frames at the control rate, padded at their end with their last frame.

    Positions are relative to the stance: origin on the ground under the pelvis of the ready pose, x forward.

    Attributes:
        names: of the strokes.
        dt: time between frames, s.
        root_pos (K, T, 3), root_rot (K, T, 3, 3): pelvis, m.
        root_lin_vel (K, T, 3): in the stance frame, m/s. root_ang_vel (K, T, 3): in the pelvis frame, rad/s.
        joint_pos, joint_vel, torque: (K, T, 29), rad, rad/s, N·m.
        arm_inertia (K, T, 10, 10): joint-space inertia of waist and right arm with racket and armature, kg m².
        strike: frame of the strike, (K,). end: last frame, (K,).
        face: +1 where the +z face meets the ball (forehand), -1 for the other, (K,).
        contact_pos, contact_vel, contact_normal, contact_axis: racket that the stroke delivers at the strike:
            string-bed centre, its velocity, the hitting face's normal, the long axis, (K, 3).
        lead_pos, lead_vel, lead_normal: what the reference itself does there less what it delivers when played:
            servo lag and motor limits, paid for in advance, (K, 3).
    """

    names: tuple[str, ...]
    dt: float
    root_pos: Tensor
    root_rot: Tensor
    root_lin_vel: Tensor
    root_ang_vel: Tensor
    joint_pos: Tensor
    joint_vel: Tensor
    torque: Tensor
    arm_inertia: Tensor
    strike: Tensor
    end: Tensor
    face: Tensor
    contact_pos: Tensor
    contact_vel: Tensor
    contact_normal: Tensor
    contact_axis: Tensor
    lead_pos: Tensor
    lead_vel: Tensor
    lead_normal: Tensor

    @property
    def num_strokes(self) -> int:
        return len(self.names)


def stroke_names(folder: Path = STROKE_FOLDER) -> tuple[str, ...]:
    """Names of all strokes of a set, forehands first."""
    names = sorted(file.stem for file in folder.glob("*.npz"))
    return tuple(sorted(names, key=lambda name: (not name.startswith("forehand"), name)))


def load_strokes(names: tuple[str, ...] = (), folder: Path = STROKE_FOLDER, dt: float = 0.02) -> StrokeSet:
    """Read planted strokes and compute what a player needs of them.

    Args:
        names: file names without ending; none: all of the folder.
        folder: where they are.
        dt: control period; the motions must have this rate.

    Raises:
        MotionError: a file is missing or damaged, has another rate or no stroke.
    """
    names = tuple(names) or stroke_names(folder)
    if not names:
        raise MotionError(f"{folder}: holds no strokes; rebuild them with python -m policies.design")
    model = default_pinocchio()
    data = model.createData()
    racket = model.getFrameId("racket")
    height = ready_height(build_model())
    columns: dict[str, list] = {}

    def add(key: str, value) -> None:
        columns.setdefault(key, []).append(value)

    motions = [RobotMotion.load(folder / f"{name}.npz") for name in names]
    longest = max(motion.num_frames for motion in motions)
    for name, motion in zip(names, motions, strict=True):
        if abs(motion.fps * dt - 1) > 1e-6 or not motion.strokes:
            raise MotionError(
                f"{folder / name}.npz: has {motion.fps} Hz and {len(motion.strokes)} strokes; "
                f"a player at {1 / dt:.0f} Hz needs its own rate and one stroke"
            )
        torque, _ = feedforward_torque(
            motion.root_pos, motion.root_quat, motion.joint_pos, motion.contacts, motion.fps
        )
        v = velocities(motion.root_pos, motion.root_quat, motion.joint_pos, motion.fps)
        q = to_pinocchio(motion.root_pos, motion.root_quat, motion.joint_pos)
        stroke = motion.strokes[0]
        strike = round(stroke.strike_s * motion.fps)
        rotations = np.stack([pin.Quaternion(*r).toRotationMatrix() for r in motion.root_quat])
        pin.forwardKinematics(model, data, q[strike], v[strike])
        placement = pin.updateFramePlacement(model, data, racket)
        velocity = pin.getFrameVelocity(model, data, racket, pin.LOCAL_WORLD_ALIGNED).linear
        face = 1.0 if stroke.kind == "forehand" else -1.0
        reached = (placement.translation.copy(), velocity.copy(), face * placement.rotation[:, 2])
        delivers = motion.provenance.get("delivers")
        delivered = reached
        if delivers is not None:
            delivered = tuple(np.array(delivers[key]) for key in ("pos_m", "vel_m_s", "normal"))
        stance = motion.root_pos[0] * [1.0, 1.0, 0.0]
        root_pos = motion.root_pos - stance
        # The robot's feet sink a little into the floor under its weight.
        root_pos[:, 2] += height - root_pos[0, 2]
        pad = [(0, longest - motion.num_frames)]

        def padded(value, pad=pad):
            return np.pad(value, pad + [(0, 0)] * (value.ndim - 1), mode="edge")

        add("root_pos", padded(root_pos))
        add("root_rot", padded(rotations))
        add("root_lin_vel", padded(np.einsum("tij,tj->ti", rotations, v[:, :3])))
        add("root_ang_vel", padded(v[:, 3:6]))
        add("joint_pos", padded(motion.joint_pos))
        add("joint_vel", padded(v[:, 6:]))
        add("torque", padded(torque))
        add("arm_inertia", padded(np.stack([_inertia(model, data, row) for row in q])))
        add("strike", strike)
        add("end", motion.num_frames - 1)
        add("face", face)
        for key, got, seen in zip(("pos", "vel", "normal"), delivered, reached, strict=True):
            add(f"contact_{key}", got - stance if key == "pos" else got)
            add(f"lead_{key}", seen - got)
        add("contact_axis", placement.rotation[:, 0].copy())
    tensors = {
        key: torch.as_tensor(
            np.array(value), dtype=torch.int64 if key in ("strike", "end") else torch.float32
        )
        for key, value in columns.items()
    }
    return StrokeSet(names=tuple(names), dt=dt, **tensors)


def _inertia(model: pin.Model, data: pin.Data, q: np.ndarray) -> np.ndarray:
    inertia = pin.crba(model, data, q)
    inertia = np.triu(inertia) + np.triu(inertia, 1).T
    rows = 6 + ARM_JOINTS
    return inertia[np.ix_(rows, rows)]
