"""Robot motions as tensors to track: every frame of every motion in one table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import mujoco
import numpy as np
import torch
from torch import Tensor

from humanoid.dynamics import feedforward_torque, velocities
from humanoid.library_file import SUFFIX
from humanoid.model import build_model
from humanoid.motion import MotionError, RobotMotion
from humanoid.motion_library import MotionLibrary
from humanoid.racket import SITE

MOTION_FOLDER = Path(__file__).resolve().parent.parent / "assets" / "motions" / "strokes_planted"
"""Strokes whose soles stay where they are: the shipped motions that a standing player can track."""


@dataclass(frozen=True)
class Reference:
    """F frames of M motions, one motion after the other, at the control rate.

    World frame as in the motions: they begin near the origin, facing +x.

    Attributes:
        names: of the motions.
        dt: time between frames, s.
        qpos: (F, 36): pelvis position, m, and quaternion w, x, y, z, joint angles, rad.
        qvel: (F, 35): pelvis velocity in the world frame, m/s, its angular velocity in the pelvis frame,
            rad/s, joint velocities, rad/s: MuJoCo's convention.
        torque: (F, 29), joint torques by inverse dynamics, N·m; zeros if they were not asked for.
        racket_pos: (F, 3), string-bed centre, m.
        first, last: (M,), rows of each motion's first and last frame.
        motion: (F,), which motion a row belongs to.
        grades: M, how well the robot can do each, "A" to "D" (`mocap.dynamics_grade`), "" where nothing says so.
    """

    names: tuple[str, ...]
    dt: float
    qpos: Tensor
    qvel: Tensor
    torque: Tensor
    racket_pos: Tensor
    first: Tensor
    last: Tensor
    motion: Tensor
    grades: tuple[str, ...] = ()

    def to(self, device: torch.device | str) -> Reference:
        """The same frames on a device."""
        tables = {f.name: v for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        return replace(self, **{name: table.to(device) for name, table in tables.items()})

    @property
    def num_frames(self) -> int:
        return len(self.qpos)

    @property
    def num_motions(self) -> int:
        return len(self.names)


def load_reference(
    motions: Iterable[str | Path] | MotionLibrary = (), dt: float = 0.02, torque: bool = True
) -> Reference:
    """Read motions and compute what a tracker needs of them.

    Args:
        motions: an open library, or paths: motion files, library files, or folders of which every motion file
            is taken; by default the shipped planted strokes.
        dt: control period, s; motions must have its rate.
        torque: whether to compute feed-forward torques (a millisecond a frame).

    Raises:
        MotionError: naming the file: missing or damaged, of another rate, or a folder without motions.
    """
    if isinstance(motions, MotionLibrary):
        return build_reference(_from_library(motions, dt), dt, torque)
    files: list[Path] = []
    for path in [Path(motion) for motion in motions] or [MOTION_FOLDER]:
        found = sorted(path.glob("*.npz")) if path.is_dir() else [path]
        if not found:
            raise MotionError(f"{path}: no motion files (*.npz) in it; write some with rally-retarget")
        files += found
    loaded = []
    for file in files:
        if file.suffix == SUFFIX:
            loaded += _from_library(MotionLibrary.open(file), dt)
        else:
            loaded.append(_at_rate(RobotMotion.load(file), dt, str(file)))
    return build_reference(loaded, dt, torque)


def _from_library(library: MotionLibrary, dt: float) -> list[RobotMotion]:
    return [_at_rate(library[name], dt, f"{library.path}: {name}") for name in library]


def _at_rate(motion: RobotMotion, dt: float, source: str) -> RobotMotion:
    if abs(motion.fps * dt - 1.0) > 1e-6:
        raise MotionError(
            f"{source}: has {motion.fps:g} frames a second, the control period of {dt:g} s needs "
            f"{1.0 / dt:g}; retarget it at that rate"
        )
    return motion


def build_reference(motions: Iterable[RobotMotion], dt: float = 0.02, torque: bool = True) -> Reference:
    """The table of motions in memory; see `load_reference`."""
    motions = list(motions)
    model = build_model(floor=False)
    data = mujoco.MjData(model)
    qpos, qvel, torques, racket = [], [], [], []
    for motion in motions:
        root_pos, root_quat, joint_pos = motion.root_pos, motion.root_quat, motion.joint_pos
        q = np.concatenate([root_pos, root_quat, joint_pos], axis=1)
        v = velocities(root_pos, root_quat, joint_pos, motion.fps)
        for row_q, row_v in zip(q, v, strict=True):
            data.qpos[:] = row_q
            mujoco.mj_kinematics(model, data)
            row_v[:3] = data.body("pelvis").xmat.reshape(3, 3) @ row_v[:3]
            racket.append(data.site(SITE).xpos.copy())
        qpos.append(q)
        qvel.append(v)
        if torque:
            torques.append(feedforward_torque(root_pos, root_quat, joint_pos, motion.contacts, motion.fps)[0])
        else:
            torques.append(np.zeros_like(joint_pos))
    lengths = torch.tensor([len(q) for q in qpos])
    last = lengths.cumsum(0) - 1

    def table(rows: list[np.ndarray]) -> Tensor:
        return torch.as_tensor(np.concatenate(rows), dtype=torch.float32)

    return Reference(
        names=tuple(motion.name for motion in motions),
        dt=dt,
        qpos=table(qpos),
        qvel=table(qvel),
        torque=table(torques),
        racket_pos=torch.as_tensor(np.array(racket), dtype=torch.float32),
        first=last - lengths + 1,
        last=last,
        motion=torch.repeat_interleave(torch.arange(len(motions)), lengths),
        grades=tuple(str(motion.provenance.get("grade", "")) for motion in motions),
    )
