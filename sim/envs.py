"""Gymnasium environments: motion tracking and ball return, single and vectorised.

Four classes over two tasks; a vector environment steps all robots in one physics batch. Ids are registered
by `sim.registry`. Observations and actions are float32 and numpy at this boundary; `step_torch` of the
vector environments hands out the tensors without a detour.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, NamedTuple, Protocol, TypeVar

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from humanoid.joints import NUM_JOINTS
from sim.return_episodes import EpisodeConfig, ReturnEpisodes
from sim.return_task import ReturnConfig
from sim.tracking_task import TrackingConfig, TrackingTask

OBSERVATION_BOUND = 100.0
"""Observations are clipped to ± this, in their units: no sound state comes near it."""
RENDER_SIZE = (640, 360)
"""Width and height of rendered pictures, pixels."""


class EpisodicTask(Protocol):
    """What the environments here need of a task. Tensors have N rows."""

    num_envs: int
    device: torch.device
    terminated: Tensor
    truncated: Tensor

    def seed(self, seed: int) -> None: ...
    def reset(self, ids: Tensor | None = None) -> None: ...
    def step(self, action: Tensor) -> Tensor: ...
    def observation(self) -> Tensor: ...
    def info(self) -> dict[str, Tensor]: ...


class Step(NamedTuple):
    """What `step_torch` returns.

    Attributes:
        observation: (N, D) float32; of the new episode where one ended.
        reward: (N,) float32. terminated, truncated: (N,) bool.
        final_observation: (N, D) float32 at the end of the step; differs where an episode ended.
        info: name → (N,), of the step itself.
    """

    observation: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    final_observation: Tensor
    info: dict[str, Tensor]


ConfigT = TypeVar("ConfigT")


def make_config(kind: type[ConfigT], values: ConfigT | Mapping[str, Any] | None) -> ConfigT:
    """A config from plain values, as read from YAML.

    Args:
        kind: the config's dataclass.
        values: field → value, where lists stand for tuples; or a config; or None for the defaults.

    Raises:
        ValueError: naming a key that the config does not have.
    """
    if values is None:
        return kind()
    if isinstance(values, kind):
        return values
    if not isinstance(values, Mapping):
        raise ValueError(f"{kind.__name__}: expected a mapping of its fields, got {type(values).__name__}")
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{kind.__name__} has no key {unknown[0]!r}; known are {', '.join(sorted(known))}")
    return kind(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})


def _spaces(task: EpisodicTask) -> tuple[Box, Box]:
    size = task.observation().shape[1]
    return (
        Box(-OBSERVATION_BOUND, OBSERVATION_BOUND, (size,), np.float32),
        Box(-1.0, 1.0, (NUM_JOINTS,), np.float32),
    )


def _observe(task: EpisodicTask) -> Tensor:
    return task.observation().clamp_(-OBSERVATION_BOUND, OBSERVATION_BOUND)


def _action(action: Any, shape: tuple[int, ...], task: EpisodicTask) -> Tensor:
    """Checked, clipped to -1…1 and where the task's tensors live; (N, 29)."""
    tensor = torch.as_tensor(action, dtype=torch.float32, device=task.device)
    if tuple(tensor.shape) != shape:
        raise ValueError(f"action has shape {tuple(tensor.shape)}, expected {shape}")
    if not bool(torch.isfinite(tensor.sum())):
        row = int((~torch.isfinite(tensor.reshape(-1, NUM_JOINTS))).any(dim=1).nonzero()[0, 0])
        raise ValueError(f"action of environment {row} is not finite")
    return tensor.clamp(-1.0, 1.0).reshape(-1, NUM_JOINTS)


class TaskEnv(gymnasium.Env[np.ndarray, np.ndarray], ABC):
    """One robot of a task of one. See `TrackEnv` and `ReturnEnv`."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012

    def __init__(self, task: EpisodicTask, render_mode: str | None = None) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(
                f"render_mode {render_mode!r} is none of {self.metadata['render_modes']} or None"
            )
        self.task = task
        self.render_mode = render_mode
        self.observation_space, self.action_space = _spaces(task)
        self._seeded = False
        self._view: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin a new episode; see `gymnasium.Env.reset`."""
        super().reset(seed=seed)
        if seed is not None or not self._seeded:
            self.task.seed(int(self.np_random.integers(2**31)))
            self._seeded = True
        with torch.no_grad():
            self.task.reset()
            return _observe(self.task)[0].cpu().numpy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One control period; see `gymnasium.Env.step`. Info holds the task's figures that are numbers.

        Raises:
            ValueError: the action has another shape or is not finite.
        """
        task = self.task
        with torch.no_grad():
            reward = task.step(_action(action, (NUM_JOINTS,), task))
            info = {key: value[0].item() for key, value in task.info().items()}
            info = {key: value for key, value in info.items() if value == value}
            observation = _observe(task)[0].cpu().numpy()
        return observation, float(reward[0]), bool(task.terminated[0]), bool(task.truncated[0]), info

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """A picture, (height, width, 3) uint8, with `render_mode="rgb_array"`.

        Raises:
            sim.gl.RenderUnavailable: where there is no OpenGL.
        """
        if self.render_mode is None:
            return None
        if self._view is None:
            self._view = self._make_view()
        return np.ascontiguousarray(self._draw(self._view))

    def close(self) -> None:
        """Free the renderer. May be called again."""
        if self._view is not None:
            self._view.close()
            self._view = None

    def _make_view(self, stadium: bool = False) -> Any:
        from sim.renderer import Renderer
        from sim.scene import build_scene

        scene = build_scene(stadium=stadium, shadow_size=1024, max_size=RENDER_SIZE)
        return Renderer(scene, *RENDER_SIZE)

    @abstractmethod
    def _draw(self, view: Any) -> np.ndarray:
        """The picture of the present state, (height, width, 3) uint8."""


class TaskVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """N robots of a task in one batch. See `TrackVectorEnv` and `ReturnVectorEnv`.

    An environment whose episode ends begins the next within the same step (`AutoresetMode.SAME_STEP`): its
    row of the observation belongs to the new episode, `info["final_obs"][i]` is the last of the old one, and
    `info["final_info"]` is what the step said about it.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": [], "render_fps": 50}  # noqa: RUF012

    def __init__(self, task: EpisodicTask, render_mode: str | None = None) -> None:
        if render_mode is not None:
            raise ValueError(
                f"render_mode {render_mode!r}: a vector environment does not render; make one robot"
            )
        self.task = task
        self.num_envs = task.num_envs
        self.single_observation_space, self.single_action_space = _spaces(task)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._seeded = False

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin new episodes everywhere; see `gymnasium.vector.VectorEnv.reset`.

        All robots share one stream of random numbers: a list of seeds seeds that stream as a whole.
        """
        if isinstance(seed, list):
            known = [int(value) for value in seed if value is not None]
            seed = int(np.random.SeedSequence(known).generate_state(1)[0]) if known else None
        super().reset(seed=seed)
        if seed is not None or not self._seeded:
            self.task.seed(int(self.np_random.integers(2**31)))
            self._seeded = True
        with torch.no_grad():
            self.task.reset()
            return _observe(self.task).cpu().numpy(), {}

    @torch.no_grad()
    def step_torch(self, action: Tensor) -> Step:
        """One control period, tensors in and out: what `step` does without numpy and info masks.

        Args:
            action: (N, 29), clipped to -1…1; copied to the task's device if it is elsewhere.

        Raises:
            ValueError: the action has another shape or is not finite.
        """
        task = self.task
        reward = task.step(_action(action, (self.num_envs, NUM_JOINTS), task))
        terminated, truncated = task.terminated.clone(), task.truncated.clone()
        info = task.info()
        final = observation = _observe(task)
        done = terminated | truncated
        if bool(done.any()):
            task.reset(done.nonzero().squeeze(1))
            observation = _observe(task)
        return Step(observation, reward, terminated, truncated, final, info)

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One control period; see `gymnasium.vector.VectorEnv.step` and the class."""
        step = self.step_torch(torch.as_tensor(actions))
        info = _masked({key: value.cpu().numpy() for key, value in step.info.items()})
        done = (step.terminated | step.truncated).cpu().numpy()
        if done.any():
            final = step.final_observation.cpu().numpy()
            rows = np.full(self.num_envs, None, dtype=object)
            for env in np.flatnonzero(done):
                rows[env] = final[env].copy()
            final_info = {
                key: value & done if key.startswith("_") else value.copy() for key, value in info.items()
            }
            info.update(final_obs=rows, _final_obs=done, final_info=final_info, _final_info=done.copy())
        return (
            step.observation.cpu().numpy(),
            step.reward.cpu().numpy(),
            step.terminated.cpu().numpy(),
            step.truncated.cpu().numpy(),
            info,
        )


def _masked(values: dict[str, np.ndarray]) -> dict[str, Any]:
    """Info in Gymnasium's form: each array with a mask of the environments where it is a number."""
    info: dict[str, Any] = {}
    for key, value in values.items():
        info[key] = value
        info[f"_{key}"] = ~np.isnan(value) if value.dtype.kind == "f" else np.ones(len(value), dtype=bool)
    return info


class TrackEnv(TaskEnv):
    """Motion tracking, `HumanoidRally/Track-v0`: a G1 with a racket follows tennis strokes.

    Control at 50 Hz, physics at 200 Hz (MuJoCo). The default motions are the shipped planted strokes; see
    `sim.tracking_task.TrackingConfig` for everything that can be changed.

    **Action**: Box(-1, 1, (29,)). For each joint, in the order of `humanoid.joints.JOINT_NAMES`, a correction
    of its position target, unit 0.3 rad (`action_scale`):

    | columns | joints | limits of the joints |
    | --- | --- | --- |
    | 0–5 | left hip pitch, roll, yaw; knee; ankle pitch, roll | `humanoid.joints.LOWER`, `UPPER`, rad |
    | 6–11 | right leg, likewise | |
    | 12–14 | waist yaw, roll, pitch | |
    | 15–21 | left shoulder pitch, roll, yaw; elbow; wrist roll, pitch, yaw | |
    | 22–28 | right arm (racket), likewise | |

    Target = reference angle + k_d/k_p × reference velocity + reference torque/k_p + 0.3 rad × action.

    **Observation**: Box(-100, 100, (161,)), terms of `sim.tracking_terms` side by side:

    | columns | term | content |
    | --- | --- | --- |
    | 0–28 | joint_pos | angles from the ready pose, rad |
    | 29–57 | joint_vel | velocities, 10 rad/s |
    | 58–60 | base_ang_vel | of the pelvis, its frame, rad/s |
    | 61–63 | base_lin_vel | of the pelvis, its frame, m/s |
    | 64–66 | gravity | direction, pelvis frame |
    | 67–69 | root_pos_error | to the reference, pelvis frame, m |
    | 70–72 | root_rot_error | rotation vector to the reference, rad |
    | 73–101 | ref_joint_pos | angles from the ready pose, rad |
    | 102–130 | ref_joint_vel | 10 rad/s |
    | 131–159 | last_action | |
    | 160 | phase | share of the motion that is over |

    **Reward**: weighted sum of named terms, by default alive 0.1, track_joint_pos 0.4, track_joint_vel 0.1,
    track_root_pos 0.2, track_root_rot 0.2, track_racket 0.4, action_rate -0.02, joint_limits -1, saturation
    -0.1, failure -5.

    **Start**: the reference's state at a random frame, more often where the robot fails, with a little noise.
    **Terminated**: fallen, pelvis 0.5 m from its reference, or joints 0.6 rad (rms) from theirs.
    **Truncated**: at the end of the motion or after 10 s.
    **Version** v0: first.

    Args:
        config: `TrackingConfig` or its fields as a mapping.
        render_mode: "rgb_array" or None.
        threads: of the physics.
    """

    def __init__(
        self,
        config: TrackingConfig | Mapping[str, Any] | None = None,
        render_mode: str | None = None,
        threads: int = 1,
    ) -> None:
        super().__init__(TrackingTask(1, make_config(TrackingConfig, config), threads=threads), render_mode)

    def _draw(self, view: Any) -> np.ndarray:
        from sim.camera import portrait

        qpos = self.task.engine.qpos[0].numpy()  # type: ignore[attr-defined]
        view.scene.pose(qpos)
        return view.draw(portrait(qpos[:3]), shadow_reach=2.4)


class TrackVectorEnv(TaskVectorEnv):
    """`TrackEnv` for N robots; see there. `HumanoidRally/Track-v0` by `gymnasium.make_vec`.

    Args:
        num_envs: N.
        config: `TrackingConfig` or its fields as a mapping.
        threads: of the physics, 0 for all cores.
    """

    def __init__(
        self,
        num_envs: int = 1,
        config: TrackingConfig | Mapping[str, Any] | None = None,
        render_mode: str | None = None,
        threads: int = 0,
    ) -> None:
        super().__init__(
            TrackingTask(num_envs, make_config(TrackingConfig, config), threads=threads), render_mode
        )


class ReturnEnv(TaskEnv):
    """Ball return, `HumanoidRally/Return-v0`: a G1 with a racket returns balls from a machine.

    Eight balls, one every 2 s, by the protocol of `sim.return_task.ReturnConfig` (level `feed` by default).
    Control at 50 Hz, physics of the robot at 200 Hz (MuJoCo), ball by event.

    **Action**: Box(-1, 1, (29,)). For each joint, in the order of `humanoid.joints.JOINT_NAMES` (left leg
    0–5, right leg 6–11, waist 12–14, left arm 15–21, right arm with the racket 22–28), its position target: 0
    is the ready pose, -1 and 1 are the joint's limits (`humanoid.joints.LOWER`, `UPPER`, rad), linear on
    either side.

    **Observation**: Box(-100, 100, (80,)), terms of `sim.return_task.TERMS` side by side, court frame:

    | columns | term | content |
    | --- | --- | --- |
    | 0–28 | joint_pos | rad |
    | 29–57 | joint_vel | rad/s |
    | 58–60 | base_ang_vel | of the pelvis, its frame, rad/s |
    | 61–64 | root_quat | w, x, y, z |
    | 65–67 | root_pos | m |
    | 68–70 | root_lin_vel | m/s |
    | 71–73 | ball_pos | of the ball to be struck next, m; zeros without one |
    | 74–76 | ball_vel | m/s; zeros without one |
    | 77 | ball_valid | 1 with a ball to be struck, else 0 |
    | 78–79 | target | wanted landing point, m |

    **Reward**: weighted sum of terms of `sim.return_terms`, by default alive 0.02, approach 0.1, hit 2,
    over_net 1, returned 3, on_target 2, miss -1, fall -5, action_rate -0.02, joint_limits -0.5, saturation
    -0.05.

    **Start**: the ready pose near the baseline's centre.
    **Terminated**: fallen (pelvis below 0.42 m or tilted by 1 rad).
    **Truncated**: when the last ball has its outcome, at the latest 4 s after the time of a ninth.
    **Info**: struck, outcome (index into `sim.return_task.OUTCOMES`), landing_error (m), launched.
    **Version** v0: first.

    Args:
        config: `EpisodeConfig` (rewards, terminations) or its fields as a mapping.
        protocol: `ReturnConfig` (level, balls, target …) or its fields as a mapping.
        render_mode: "rgb_array" or None.
        threads: of the physics.
        pool: launches drawn at once; drawing them takes about a second for any number up to a thousand.
    """

    def __init__(
        self,
        config: EpisodeConfig | Mapping[str, Any] | None = None,
        protocol: ReturnConfig | Mapping[str, Any] | None = None,
        render_mode: str | None = None,
        threads: int = 1,
        pool: int = 64,
    ) -> None:
        task = ReturnEpisodes(
            1,
            make_config(ReturnConfig, protocol),
            make_config(EpisodeConfig, config),
            threads=threads,
            pool=pool,
        )
        super().__init__(task, render_mode)

    def _make_view(self, stadium: bool = True) -> Any:
        return super()._make_view(stadium)

    def _draw(self, view: Any) -> np.ndarray:
        from sim.camera import broadcast

        episodes: ReturnEpisodes = self.task  # type: ignore[assignment]
        task = episodes.task
        qpos = task.engine.qpos[0].numpy()
        ball = episodes.ball_pos[0].numpy() if bool(task.valid[0]) else None
        view.scene.pose(qpos, ball, task.target[int(task.slot[0]), 0].numpy())
        return view.draw(broadcast(qpos[:3]))


class ReturnVectorEnv(TaskVectorEnv):
    """`ReturnEnv` for N robots; see there. `HumanoidRally/Return-v0` by `gymnasium.make_vec`.

    Args:
        num_envs: N.
        config, protocol: as of `ReturnEnv`.
        threads: of the physics, 0 for all cores.
        pool: launches drawn at once and shared out.
    """

    def __init__(
        self,
        num_envs: int = 1,
        config: EpisodeConfig | Mapping[str, Any] | None = None,
        protocol: ReturnConfig | Mapping[str, Any] | None = None,
        render_mode: str | None = None,
        threads: int = 0,
        pool: int = 2048,
    ) -> None:
        task = ReturnEpisodes(
            num_envs,
            make_config(ReturnConfig, protocol),
            make_config(EpisodeConfig, config),
            threads=threads,
            pool=pool,
        )
        super().__init__(task, render_mode)


def _playing(config: TrackingConfig | Mapping[str, Any] | None) -> TrackingConfig:
    """From a motion's first frame, without noise, to its end unless the robot falls."""
    return replace(
        make_config(TrackingConfig, config),
        random_start=False,
        uniform=1.0,
        joint_noise=0.0,
        velocity_noise=0.0,
        terminations=("fallen",),
    )


class TrackPlayEnv(TrackEnv):
    """`HumanoidRally/Track-Play-v0`: as `TrackEnv`, whole motions from their first frame, without noise;
    terminated only by a fall."""

    def __init__(
        self,
        config: TrackingConfig | Mapping[str, Any] | None = None,
        render_mode: str | None = None,
        threads: int = 1,
    ) -> None:
        super().__init__(_playing(config), render_mode, threads)


class TrackPlayVectorEnv(TrackVectorEnv):
    """`TrackPlayEnv` for N robots."""

    def __init__(
        self,
        num_envs: int = 1,
        config: TrackingConfig | Mapping[str, Any] | None = None,
        render_mode: str | None = None,
        threads: int = 0,
    ) -> None:
        super().__init__(num_envs, _playing(config), render_mode, threads)
