"""Physics engines: N robots of one model behind one small contract.

An engine holds N copies of the robot, exposes live state tensors and advances them by one physics step at a
time, so that the ball can be resolved between steps. `CpuEngine` runs on `mujoco.batch`.
"""

from __future__ import annotations

from typing import Protocol

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch
from torch import Tensor

from humanoid.model import build_model
from humanoid.racket import RACKET, SITE


class Engine(Protocol):
    """What an environment needs of the physics. All tensors are live and float64 on `device`.

    Attributes:
        num_envs: N.
        device: where the tensors live.
        timestep: physics step, s.
        qpos: (N, 36): root position (3), root quaternion w, x, y, z (4), joint angles (29).
        qvel: (N, 35): root linear velocity in the world frame (3), root angular velocity in the pelvis
            frame (3), joint velocities (29).
        ctrl: (N, 29): joint position targets, rad.
        torque: (N, 29): actuator torques of the last step, N m.
        racket_pos: (N, 3), string-bed centre at the present state, m, world.
        racket_rot: (N, 3, 3), racket frame to world.
        foot_pos: (N, 2, 3), left and right sole centre, m, world.
    """

    num_envs: int
    device: torch.device
    timestep: float
    qpos: Tensor
    qvel: Tensor
    ctrl: Tensor
    torque: Tensor
    racket_pos: Tensor
    racket_rot: Tensor
    foot_pos: Tensor

    def step(self, ids: Tensor | None = None) -> None:
        """Advance robots `ids` (n,), or all, by one physics step; tensors then describe the new state."""
        ...

    def advance(self, steps: int, ids: Tensor | None = None) -> None:
        """Advance robots `ids` (n,), or all, by several physics steps at once; the same as `step` that often.

        Cheaper, because a robot's steps follow one another; for robots that no ball can come near. No push
        may be pending for them.
        """
        ...

    def reset(self, ids: Tensor, qpos: Tensor, qvel: Tensor) -> None:
        """Put robots `ids` (n,) into states (n, 36), (n, 35), with zero forces and targets at the pose."""
        ...

    def push_racket(self, ids: Tensor, impulse: Tensor, point: Tensor) -> None:
        """Act on the rackets of `ids` with `impulse` (n, 3) N s at `point` (n, 3), world, spread over the
        next physics step."""
        ...


class CpuEngine:
    """`Engine` on MuJoCo's own batch, float64, bit-identical at any thread count.

    Args:
        num_envs: number of robots.
        model: a model from `humanoid.model.build_model`; default: the standard robot.
        threads: worker threads, 0 for all cores.
    """

    def __init__(self, num_envs: int, model: mujoco.MjModel | None = None, threads: int = 0) -> None:
        self.model = model if model is not None else build_model()
        self.num_envs = num_envs
        self.device = torch.device("cpu")
        self.timestep = float(self.model.opt.timestep)
        # Persistent: computing positions and velocities after a step costs the next step nothing.
        self.batch = Batch(self.model, num_envs, threads, persistent=True)
        self.qpos = torch.from_numpy(self.batch.bind("qpos"))
        self.qvel = torch.from_numpy(self.batch.bind("qvel"))
        self.ctrl = torch.from_numpy(self.batch.bind("ctrl"))
        self._pushes = torch.from_numpy(self.batch.bind("xfrc_applied"))
        self.torque = _live(self.batch.bind("actuator_force"))
        sites, rotations = _live(self.batch.bind("site_xpos")), _live(self.batch.bind("site_xmat"))
        racket = self.model.site(SITE).id
        feet = [self.model.site(name).id for name in ("left_foot", "right_foot")]
        self._racket_body = int(self.model.site_bodyid[racket])
        self.racket_pos = sites[:, racket]
        self.racket_rot = rotations[:, racket].unflatten(-1, (3, 3))
        self.foot_pos = sites[:, feet[0] : feet[1] + 1 : feet[1] - feet[0]]
        self._com = torch.as_tensor(RACKET.com, dtype=torch.float64)
        self._pushed = False
        self.batch.reset()

    def step(self, ids: Tensor | None = None) -> None:
        """See `Engine.step`."""
        self.batch.step(_rows(ids), stage=mujoco.mjtStage.mjSTAGE_VEL.value)
        if self._pushed:
            self._pushes[:, self._racket_body] = 0.0
            self._pushed = False

    def advance(self, steps: int, ids: Tensor | None = None) -> None:
        """See `Engine.advance`."""
        self.batch.step(_rows(ids), nstep=steps, stage=mujoco.mjtStage.mjSTAGE_VEL.value)

    def reset(self, ids: Tensor, qpos: Tensor, qvel: Tensor) -> None:
        """See `Engine.reset`."""
        if len(ids) == 0:
            return
        index = ids.to(torch.int32).numpy()
        self.batch.reset(index, stage=mujoco.mjtStage.mjSTAGE_NONE.value)
        self.qpos[ids] = qpos.to(torch.float64)
        self.qvel[ids] = qvel.to(torch.float64)
        self.ctrl[ids] = qpos[:, 7:].to(torch.float64)
        self.batch.forward(index, stage=mujoco.mjtStage.mjSTAGE_VEL.value)

    def push_racket(self, ids: Tensor, impulse: Tensor, point: Tensor) -> None:
        """See `Engine.push_racket`."""
        force = impulse.to(torch.float64) / self.timestep
        com = self.racket_pos[ids] + (self.racket_rot[ids] @ self._com.unsqueeze(-1)).squeeze(-1)
        self._pushes[ids, self._racket_body, :3] = force
        self._pushes[ids, self._racket_body, 3:] = torch.linalg.cross(point.to(torch.float64) - com, force)
        self._pushed = True


def _rows(ids: Tensor | None) -> np.ndarray | None:
    return None if ids is None else ids.to(torch.int32).numpy()


def _live(array) -> Tensor:
    """A tensor over a read-only live array (torch has no read-only tensors: do not write to it)."""
    array.flags.writeable = True
    return torch.from_numpy(array)
