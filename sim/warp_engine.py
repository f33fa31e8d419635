"""Robots on MuJoCo Warp: thousands at once on an NVIDIA GPU; on a CPU too, to test what will run there.

State lives on the device in float32 and never leaves it: the engine's tensors are torch's views of Warp's
arrays, and a physics step is a recorded graph of kernels. The first engine on a machine compiles the kernels
(20 s for the CPU; they are kept on disk).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from humanoid.model import build_model
from humanoid.racket import RACKET, SITE
from sim.engine import check_states, racket_wrench
from sim.robot_parameters import read_parameter, write_parameters

try:
    import mujoco_warp as mjw
    import warp as wp
except ImportError as error:
    raise ImportError("sim.warp_engine needs MuJoCo Warp: pip install 'humanoid-rally[gpu]'") from error

if wp.config.log_level == wp.LOG_INFO:
    wp.config.log_level = wp.LOG_WARNING  # else a line for each of some fifty kernels loaded

DERIVED = (
    "body_subtreemass",
    "body_invweight0",
    "dof_invweight0",
    "actuator_acc0",
    "geom_rbound",
    "geom_aabb",
)
"""Model fields that `mujoco_warp.set_const` works out anew, among those our robot has."""


class WarpEngine:
    """`sim.engine.BatchEngine` on MuJoCo Warp, float32.

    Against `CpuEngine` a second of swinging arms by 0.3 rad, feet lifting, differs by at most 2e-3 rad and
    1e-4 m, a standing robot by 1e-5. An exact touch is the exception: where a foot is at height zero,
    rounding decides whether it touches in this step or the next. On a CPU results are bit-identical from run
    to run. On a GPU they need not be, as atomic sums come in any order.

    Warp always steps all robots. `step` and `advance` of some put the others back: right, but as dear as all,
    which `partial_steps` tells. Work of torch on these tensors belongs on the default stream, which CUDA keeps
    in order with Warp's. Room for contacts and constraint rows is what the model's geoms can need at most, so
    none is ever dropped.

    Args:
        num_envs: number of robots.
        model: a model from `humanoid.model.build_model`; default: the standard robot.
        device: "cuda", "cuda:1", "cpu"; default: a GPU if there is one.
        graph: record steps and replay them; False launches kernel by kernel, to debug.

    Raises:
        ValueError: Warp has no such device.
    """

    partial_steps = False

    def __init__(
        self,
        num_envs: int,
        model: mujoco.MjModel | None = None,
        device: str | torch.device | None = None,
        graph: bool = True,
    ) -> None:
        self.model = build_model() if model is None else model
        self.num_envs = num_envs
        self.timestep = float(self.model.opt.timestep)
        self.device, self._warp = _device(device)
        self._graph = graph and (self._warp.is_cpu or wp.is_mempool_enabled(self._warp))
        contacts, rows, nonzeros = capacity(self.model)
        with wp.ScopedDevice(self._warp):
            self._m = mjw.put_model(self.model)
            self._d = mjw.make_data(
                self.model, nworld=num_envs, nconmax=contacts, njmax=rows, njmax_nnz=nonzeros
            )
            if self._warp.is_cuda and not wp.is_conditional_graph_supported():
                self._m.opt.graph_conditional = False  # CUDA before 12.4
        # Stopping at the model's iteration limits is meant; MuJoCo says nothing about it either.
        self._m.opt.warn_overflow &= ~(mjw.OverflowType.ITERATIONS | mjw.OverflowType.LS_ITERATIONS)
        data = self._d
        # Tensors made in torch's inference mode would not count writes to them.
        with torch.inference_mode(False):
            self.qpos, self.qvel, self.ctrl = (_view(a) for a in (data.qpos, data.qvel, data.ctrl))
            self.torque = _view(data.actuator_force)
            self._warmstart, self._time = _view(data.qacc_warmstart), _view(data.time)
            self._pushes = _view(data.xfrc_applied)
            sites, rotations = _view(data.site_xpos), _view(data.site_xmat)
        racket = self.model.site(SITE).id
        feet = [self.model.site(name).id for name in ("left_foot", "right_foot")]
        self._racket_body = int(self.model.site_bodyid[racket])
        self.racket_pos = sites[:, racket]
        self.racket_rot = rotations[:, racket]
        self.foot_pos = sites[:, feet[0] : feet[1] + 1 : feet[1] - feet[0]]
        self._com = torch.tensor(RACKET.com, dtype=torch.float32, device=self.device).repeat(num_envs, 1)
        self._graphs: dict[str, Any] = {}
        self._integrated = (self.qpos, self.qvel, self._warmstart, self._time, self.torque)
        self._all = (self.qpos, self.qvel, self.ctrl, self._warmstart, self._time, self._pushes)
        self._pushed = False
        everyone = torch.arange(num_envs, device=self.device)
        start = torch.as_tensor(self.model.qpos0.copy(), device=self.device).expand(num_envs, -1)
        self.reset(everyone, start, torch.zeros(num_envs, self.model.nv, device=self.device))

    def step(self, ids: Tensor | None = None) -> None:
        """See `Engine.step`."""
        self.advance(1, ids)

    def advance(self, steps: int, ids: Tensor | None = None) -> None:
        """See `Engine.advance`."""
        if ids is not None and len(ids) == 0:
            return
        if self._versions() != self._seen:
            self._run("step1")
        stay, kept = None, []
        if ids is not None:
            stay = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
            stay[ids] = False
            kept = [tensor.clone() for tensor in self._integrated]
        for _ in range(steps):
            # MuJoCo's step begins with what depends on positions and velocities only. Turned round, so that
            # this ends it, racket and feet are those of the new state.
            self._run("step2")
            if self._pushed:
                self._pushes[slice(None) if ids is None else ids, self._racket_body] = 0.0
                self._pushed = ids is not None and bool(self._pushes[:, self._racket_body].any())
            if stay is not None:
                for tensor, before in zip(self._integrated, kept, strict=True):
                    mask = stay.view(-1, *[1] * (tensor.dim() - 1))
                    tensor.copy_(torch.where(mask, before, tensor))
            self._run("step1")

    def reset(self, ids: Tensor, qpos: Tensor, qvel: Tensor) -> None:
        """See `Engine.reset`."""
        if len(ids) == 0:
            return
        check_states(ids, qpos, qvel)
        ids = ids.to(self.device)
        self.qpos[ids] = qpos.to(self.qpos)
        self.qvel[ids] = qvel.to(self.qvel)
        self.ctrl[ids] = qpos[:, 7:].to(self.ctrl)
        for tensor in (self._warmstart, self._time, self._pushes, self.torque):
            tensor[ids] = 0.0
        self._run("step1")

    def push_racket(self, ids: Tensor, impulse: Tensor, point: Tensor) -> None:
        """See `Engine.push_racket`."""
        self._pushes[ids, self._racket_body] = racket_wrench(self, ids, impulse, point, self._com)
        self._pushed = True

    def set_params(self, ids: Tensor, values: Mapping[str, Any]) -> None:
        """See `BatchEngine.set_params`."""
        if len(ids) == 0:
            return
        ids = ids.to(self.device)
        if write_parameters(self.model, self._expand, ids, values):
            # Worked out for all robots in float32; those that did not change keep what they had.
            derived = [self._expand(name) for name in DERIVED]
            before = [tensor.clone() for tensor in derived]
            with wp.ScopedDevice(self._warp):
                mjw.set_const(self._m, self._d)
            for tensor, old in zip(derived, before, strict=True):
                old[ids] = tensor[ids]
                tensor.copy_(old)
        if "body_ipos" in values:
            self._com[ids] = self.params("body_ipos")[ids, self._racket_body]
        self._run("step1")

    def params(self, name: str) -> Tensor:
        """See `BatchEngine.params`."""
        return read_parameter(self._field, name)

    def state(self) -> Tensor:
        """See `BatchEngine.state`."""
        return torch.cat([tensor.reshape(self.num_envs, -1) for tensor in self._all], dim=1)

    def restore(self, state: Tensor) -> None:
        """See `BatchEngine.restore`."""
        sizes = [tensor[0].numel() for tensor in self._all]
        for tensor, part in zip(self._all, state.split(sizes, dim=1), strict=True):
            tensor.copy_(part.view_as(tensor))
        self._pushed = bool(self._pushes[:, self._racket_body].any())
        self._run("step1")

    def _versions(self) -> tuple[int, int]:
        """Torch counts writes to a tensor; Warp's own go by unseen."""
        return self.qpos._version, self.qvel._version

    def _run(self, name: str) -> None:
        """One half of a step of all robots: "step1" derives from the state, "step2" moves it on."""
        with wp.ScopedDevice(self._warp):
            if not self._graph:
                getattr(mjw, name)(self._m, self._d)
            else:
                if name not in self._graphs:
                    self._record(name)
                wp.capture_launch(self._graphs[name])
        self._seen = self._versions()

    def _record(self, name: str) -> None:
        """Record a half step. Kernels must be loaded before, so it runs; then the state is put back."""
        half = getattr(mjw, name)
        tensors = (*self._all, self.torque)
        kept = [tensor.clone() for tensor in tensors]
        half(self._m, self._d)
        with wp.ScopedCapture() as capture:
            half(self._m, self._d)
        for tensor, before in zip(tensors, kept, strict=True):
            tensor.copy_(before)
        if name != "step1":
            mjw.step1(self._m, self._d)
        self._graphs[name] = capture.graph

    def _field(self, name: str) -> Tensor:
        own = _view(getattr(self._m, name))
        return own.expand(self.num_envs, *own.shape[1:])

    def _expand(self, name: str) -> Tensor:
        """Live values of a model field, one row a robot. Graphs know arrays by address: they are made anew."""
        array = getattr(self._m, name)
        if array.shape[0] != self.num_envs:
            rows = (self.num_envs, *array.shape[1:])
            own = wp.empty(rows, dtype=array.dtype, device=self._warp)
            _view(own).copy_(_view(array))
            setattr(self._m, name, own)
            self._graphs.clear()
        return _view(getattr(self._m, name))


def capacity(model: mujoco.MjModel) -> tuple[int, int, int]:
    """Contacts, constraint rows and non-zeros of their Jacobian that one robot can need at most.

    Counts the geom pairs that may touch, two contacts a pair (parallel capsules; eight for boxes and meshes).
    """
    plane, sphere, capsule = (
        int(kind)
        for kind in (mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtGeom.mjGEOM_CAPSULE)
    )
    excluded = {int(pair) for pair in model.exclude_signature}
    contacts = rows = 0
    for a in range(model.ngeom):
        for b in range(a + 1, model.ngeom):
            first, second = sorted((int(model.geom_bodyid[a]), int(model.geom_bodyid[b])))
            if (
                first == second
                or (first << 16) + second in excluded
                or not (
                    model.geom_contype[a] & model.geom_conaffinity[b]
                    or model.geom_contype[b] & model.geom_conaffinity[a]
                )
            ):
                continue
            kinds = {int(model.geom_type[a]), int(model.geom_type[b])}
            points = 1 if sphere in kinds else 2 if kinds <= {plane, capsule} else 8
            size = int(max(model.geom_condim[a], model.geom_condim[b]))
            contacts += points
            rows += points * max(1, 2 * (size - 1))
    rows += int(model.jnt_limited.sum()) + int((model.dof_frictionloss > 0).sum()) + 6 * model.neq
    # At least one: Warp has no arrays of nothing.
    return max(1, contacts), rows, int(np.int64(rows) * model.nv)


def _view(array: Any) -> Tensor:
    return wp.to_torch(array, requires_grad=False)


def _device(device: str | torch.device | None) -> tuple[torch.device, Any]:
    wp.init()
    if device is None:
        device = "cuda" if wp.is_cuda_available() and torch.cuda.is_available() else "cpu"
    device = torch.device(device)
    if device.type == "cuda" and not (wp.is_cuda_available() and torch.cuda.is_available()):
        raise ValueError(f'device {device}: no CUDA device here that torch and Warp both reach; use "cpu"')
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    found = wp.device_from_torch(device)
    return torch.device(wp.device_to_torch(found)), found
