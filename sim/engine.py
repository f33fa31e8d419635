"""Physics engines: N robots of one model behind one small contract.

An engine holds N copies of the robot, exposes live state tensors and advances them by one physics step at a
time, so that the ball can be resolved between steps. `CpuEngine` runs on `mujoco.batch`;
`sim.warp_engine.WarpEngine` on MuJoCo Warp. docs/engines.md compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch
from torch import Tensor

from humanoid.model import build_model
from humanoid.racket import RACKET, SITE
from sim.robot_parameters import read_parameter, write_parameters


class Engine(Protocol):
    """What an environment needs of the physics. All tensors are live, on `device`, of one floating type.

    Live tensors keep their place in memory. Of the state, `ctrl` is there to be written; states are put by
    `reset`. A write to `qpos` or `qvel` by a torch operation holds too, but what is derived from it (racket,
    feet) follows only with the next step. An engine may have an attribute `partial_steps`: False where
    stepping some robots costs as much as stepping all, so that it is not worth telling them apart.

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
        """Advance robots `ids` (n,), or all, by one physics step; tensors then describe the new state.

        The other robots stay as they are; a push that awaits one of them goes on waiting.
        """
        ...

    def advance(self, steps: int, ids: Tensor | None = None) -> None:
        """Advance robots `ids` (n,), or all, by several physics steps at once; the same as `step` that often.

        Cheaper, because a robot's steps follow one another; for robots that no ball can come near. No push
        may be pending for them.
        """
        ...

    def reset(self, ids: Tensor, qpos: Tensor, qvel: Tensor) -> None:
        """Put robots `ids` (n,) into states (n, 36), (n, 35), with zero forces and targets at the pose.

        Raises:
            ValueError: a state is not finite; names the environment and the field.
        """
        ...

    def push_racket(self, ids: Tensor, impulse: Tensor, point: Tensor) -> None:
        """Act on the rackets of `ids` with `impulse` (n, 3) N s at `point` (n, 3), world, spread over the
        next physics step."""
        ...


class BatchEngine(Engine, Protocol):
    """An engine whose robots may differ and whose whole state can be kept: what training needs beyond playing.

    Attributes:
        model: what the robots have in common; its own values are nominal.
    """

    model: mujoco.MjModel

    def set_params(self, ids: Tensor, values: Mapping[str, Any]) -> None:
        """Give robots `ids` (n,) their own physical parameters; they outlast resets.

        Other robots go on to the bit as they would have. Gains, friction and limits cost little; masses,
        inertias and armatures have derived constants worked out anew, so draw them seldom.

        Args:
            ids: robots.
            values: name in `sim.robot_parameters.PARAMETERS` → values that broadcast to (n, *shape).

        Raises:
            ValueError: unknown name, wrong shape or an absurd value; nothing has been written then.
        """
        ...

    def params(self, name: str) -> Tensor:
        """Present values of a parameter, (N, *shape), a copy."""
        ...

    def state(self) -> Tensor:
        """All that the future depends on but parameters, (N, k), a copy in the engine's own layout."""
        ...

    def restore(self, state: Tensor) -> None:
        """Go back to a `state` of this engine, or of one like it."""
        ...


class CpuEngine:
    """`BatchEngine` on MuJoCo's own batch, float64, bit-identical at any thread count.

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
        self._com = torch.as_tensor(RACKET.com, dtype=torch.float64).repeat(num_envs, 1)
        self._pushed = False
        self.batch.reset()

    def step(self, ids: Tensor | None = None) -> None:
        """See `Engine.step`."""
        self.batch.step(_rows(ids), stage=mujoco.mjtStage.mjSTAGE_VEL.value)
        if self._pushed:
            self._pushes[slice(None) if ids is None else ids, self._racket_body] = 0.0
            self._pushed = ids is not None and bool(self._pushes[:, self._racket_body].any())

    def advance(self, steps: int, ids: Tensor | None = None) -> None:
        """See `Engine.advance`."""
        self.batch.step(_rows(ids), nstep=steps, stage=mujoco.mjtStage.mjSTAGE_VEL.value)

    def reset(self, ids: Tensor, qpos: Tensor, qvel: Tensor) -> None:
        """See `Engine.reset`."""
        if len(ids) == 0:
            return
        check_states(ids, qpos, qvel)
        index = ids.to(torch.int32).numpy()
        self.batch.reset(index, stage=mujoco.mjtStage.mjSTAGE_NONE.value)
        self.qpos[ids] = qpos.to(torch.float64)
        self.qvel[ids] = qvel.to(torch.float64)
        self.ctrl[ids] = qpos[:, 7:].to(torch.float64)
        self.batch.forward(index, stage=mujoco.mjtStage.mjSTAGE_VEL.value)

    def push_racket(self, ids: Tensor, impulse: Tensor, point: Tensor) -> None:
        """See `Engine.push_racket`."""
        self._pushes[ids, self._racket_body] = racket_wrench(self, ids, impulse, point, self._com)
        self._pushed = True

    def set_params(self, ids: Tensor, values: Mapping[str, Any]) -> None:
        """See `BatchEngine.set_params`."""
        if len(ids) == 0:
            return
        index = ids.to(torch.int32).numpy()
        if write_parameters(self.model, lambda name: torch.from_numpy(self.batch.expand(name)), ids, values):
            self.batch.set_const(index)
        if "body_ipos" in values:
            self._com[ids] = self.params("body_ipos")[ids, self._racket_body]
        # The next step goes on from positions and velocities, which were worked out with the old values.
        self.batch.forward(index, stage=mujoco.mjtStage.mjSTAGE_VEL.value)

    def params(self, name: str) -> Tensor:
        """See `BatchEngine.params`."""
        return read_parameter(self._field, name)

    def state(self) -> Tensor:
        """See `BatchEngine.state`."""
        return torch.from_numpy(self.batch.state.copy())

    def restore(self, state: Tensor) -> None:
        """See `BatchEngine.restore`."""
        self.batch.state[:] = state.numpy()
        self._pushed = bool(self._pushes[:, self._racket_body].any())
        self.batch.forward(stage=mujoco.mjtStage.mjSTAGE_VEL.value)

    def _field(self, name: str) -> Tensor:
        """Values of a model field in all robots, (N, ...), a copy; does not part what they share."""
        own = self.batch.expanded(name)
        if own is None:
            own = np.broadcast_to(
                getattr(self.model, name), (self.num_envs, *getattr(self.model, name).shape)
            )
        return torch.from_numpy(own.copy())


ENGINES = ("cpu", "warp")


def make_engine(
    kind: str,
    num_envs: int,
    model: mujoco.MjModel | None = None,
    device: str | torch.device | None = None,
    threads: int = 0,
) -> BatchEngine:
    """An engine by name.

    Args:
        kind: one of `ENGINES`.
        num_envs: robots.
        model: see `CpuEngine`.
        device: of "warp": "cuda", "cpu", default a GPU if there is one. "cpu" has no other than that.
        threads: of "cpu", 0 for all cores.

    Raises:
        ImportError: the engine is not installed; names the extra.
        ValueError: no such engine, or it has no such device here.
    """
    if kind == "warp":
        from sim.warp_engine import WarpEngine

        return WarpEngine(num_envs, model, device)
    if kind != "cpu":
        raise ValueError(f"engine {kind!r}: choose one of {', '.join(ENGINES)}")
    if device is not None and torch.device(device).type != "cpu":
        raise ValueError(f'device {device}: the cpu engine has none but "cpu"; on a GPU runs the warp engine')
    return CpuEngine(num_envs, model, threads)


def check_states(ids: Tensor, qpos: Tensor, qvel: Tensor) -> None:
    """Refuse states (n, 36), (n, 35) of robots `ids` that are not finite.

    Raises:
        ValueError: names the environment, the field and the entry.
    """
    for name, values in (("qpos", qpos), ("qvel", qvel)):
        wrong = ~torch.isfinite(values)
        if bool(wrong.any()):
            row, entry = wrong.nonzero()[0].tolist()
            raise ValueError(
                f"{name}[{entry}] of environment {int(ids[row])} is {float(values[row, entry])}: "
                "a robot is put only into finite states"
            )


def racket_wrench(engine: Engine, ids: Tensor, impulse: Tensor, point: Tensor, com: Tensor) -> Tensor:
    """Force and torque about the racket's centre of mass, (n, 6), N and N m, world, that give `impulse` (n, 3)
    N s at `point` (n, 3) within a physics step; `com` (N, 3) is that centre in the racket's frame, m."""
    force = impulse.to(com) / engine.timestep
    centre = engine.racket_pos[ids] + (engine.racket_rot[ids] @ com[ids].unsqueeze(-1)).squeeze(-1)
    return torch.cat((force, torch.linalg.cross(point.to(com) - centre, force)), dim=1)


def _rows(ids: Tensor | None) -> np.ndarray | None:
    return None if ids is None else ids.to(torch.int32).numpy()


def _live(array) -> Tensor:
    """A tensor over a read-only live array (torch has no read-only tensors: do not write to it)."""
    array.flags.writeable = True
    return torch.from_numpy(array)
