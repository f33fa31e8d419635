"""Motion tracking: robots on a bare floor that follow reference motions.

Episodes begin at random frames with the robot in the reference's state, more often where it fails, and
end with the motion or when the robot is lost. An action corrects the joint position targets of the
reference, which are led by what its servo would lack otherwise: a servo with gains k_p, k_d that is asked
for position q_ref pulls back by k_d times the velocity and sags by torque / k_p.

Robots and reference live on the engine's device. What is random is drawn on the CPU and copied there, so that a seed
means the same anywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from humanoid.joints import EFFORT_LIMIT, KD, KP, LOWER, NUM_JOINTS, READY_JOINT_POS, UPPER
from humanoid.model import build_model
from humanoid.motion_library import MotionLibrary
from sim.engine import CpuEngine, Engine
from sim.frame_sampler import FrameSampler, grade_weights
from sim.reference import Reference, load_reference
from sim.terms import ObservationTerms, RewardTerms, TerminationTerms
from sim.tracking_terms import OBSERVATIONS, REWARDS, TERMINATIONS


def _default_rewards() -> dict[str, float]:
    return {
        "alive": 0.1,
        "track_joint_pos": 0.4,
        "track_joint_vel": 0.1,
        "track_root_pos": 0.2,
        "track_root_rot": 0.2,
        "track_racket": 0.4,
        "action_rate": -0.02,
        "joint_limits": -1.0,
        "saturation": -0.1,
        "failure": -5.0,
    }


@dataclass(frozen=True)
class TrackingConfig:
    """The task. All fields are plain values: as a dict this is what to save with a run.

    Attributes:
        motions: motion files, library files or folders; none: the shipped planted strokes.
        control_dt: control period, s. timestep: physics step, s. friction: of feet on the floor.
        action_scale: joint correction of an action of 1, rad.
        velocity_feedforward: lead targets by k_d / k_p × the reference's velocity.
        torque_feedforward: lead targets by the reference's inverse-dynamics torque / k_p.
        random_start: begin at a random frame, else at the motion's first.
        uniform: share of starts drawn evenly; the rest goes where robots fail. 1: no adaptation.
        bin_s: length of the bins in which failures are counted, s.
        grades: weight of starts in motions of each grade (`mocap.dynamics_grade`); 1 without a grade.
        joint_noise, velocity_noise: standard deviations at the start, rad, rad/s.
        episode_s: longest episode, s.
        fall_height, fall_tilt: of termination `fallen`, m, rad.
        root_distance, joint_distance: of terminations `root_lost`, m, and `pose_lost`, rad.
        rewards: term → weight. observations: terms in the order of their columns. terminations: terms.
            See `sim.tracking_terms`.
    """

    motions: tuple[str, ...] = ()
    control_dt: float = 0.02
    timestep: float = 0.005
    friction: float = 0.8
    action_scale: float = 0.3
    velocity_feedforward: bool = True
    torque_feedforward: bool = True
    random_start: bool = True
    uniform: float = 0.3
    bin_s: float = 0.5
    grades: dict[str, float] = field(default_factory=lambda: {"A": 1.0, "B": 0.6, "C": 0.2, "D": 0.0})
    joint_noise: float = 0.02
    velocity_noise: float = 0.1
    episode_s: float = 10.0
    fall_height: float = 0.42
    fall_tilt: float = 1.0
    root_distance: float = 0.5
    joint_distance: float = 0.6
    rewards: dict[str, float] = field(default_factory=_default_rewards)
    observations: tuple[str, ...] = (
        "joint_pos",
        "joint_vel",
        "base_ang_vel",
        "base_lin_vel",
        "gravity",
        "root_pos_error",
        "root_rot_error",
        "ref_joint_pos",
        "ref_joint_vel",
        "last_action",
        "phase",
    )
    terminations: tuple[str, ...] = ("fallen", "root_lost", "pose_lost")


class TrackingTask:
    """N robots that follow motions; see the module.

    Args:
        num_envs: N.
        config: the task.
        seed: of everything random.
        engine: physics, on any device; default `CpuEngine` with the config's model.
        reference: motions already in memory or an open library, instead of the config's files.
        threads: of the default engine.

    Attributes:
        device: the engine's, where all tensors live, and must live that methods are given.
        ready, lower, upper, effort: (29,), the ready pose and the joints' limits, rad, and the motors', N·m.
        qpos, qvel, torque: (N, 36), (N, 35), (N, 29) float32: the state after the last step, see `Engine`.
        racket_pos: (N, 3), string-bed centre, m.
        ref_qpos, ref_qvel, ref_racket_pos: the reference at the same moment.
        frame: (N,) row of the reference. motion: (N,) which one is played. age: (N,) steps of the episode.
        action, previous_action: (N, 29).
        terminated: (N,) bool: lost in the last step. truncated: (N,) bool: motion or time over.
        sampler: see `FrameSampler`.
    """

    def __init__(
        self,
        num_envs: int,
        config: TrackingConfig | None = None,
        seed: int = 0,
        engine: Engine | None = None,
        reference: Reference | MotionLibrary | None = None,
        threads: int = 0,
    ) -> None:
        self.config = config = config or TrackingConfig()
        self.num_envs = n = num_envs
        self.substeps = round(config.control_dt / config.timestep)
        if engine is None:
            model = build_model(timestep=config.timestep, friction=config.friction)
            engine = CpuEngine(n, model, threads)
        self.engine = engine
        self.device = device = engine.device
        if not isinstance(reference, Reference):
            motions = config.motions if reference is None else reference
            reference = load_reference(motions, config.control_dt, config.torque_feedforward)
        self.reference = reference = reference.to(device)
        self.rewards = RewardTerms(REWARDS, config.rewards)
        self.observations = ObservationTerms(OBSERVATIONS, config.observations)
        self.terminations = TerminationTerms(TERMINATIONS, config.terminations)
        self.sampler = FrameSampler(
            reference, config.bin_s, config.uniform, weight=grade_weights(reference.grades, config.grades)
        )
        self.generator = torch.Generator().manual_seed(seed)
        self.fall_cosine = math.cos(config.fall_tilt)
        kp, kd, self.ready, self.lower, self.upper, self.effort = (
            torch.as_tensor(table.copy(), dtype=torch.float32, device=device)
            for table in (KP, KD, READY_JOINT_POS, LOWER, UPPER, EFFORT_LIMIT)
        )
        # What the servos are asked for without a correction, one row a frame.
        self._targets = reference.qpos[:, 7:].clone()
        if config.velocity_feedforward:
            self._targets += kd / kp * reference.qvel[:, 6:]
        if config.torque_feedforward:
            self._targets += reference.torque / kp
        self._longest = round(config.episode_s / config.control_dt)

        self.frame = torch.zeros(n, dtype=torch.int64, device=device)
        self.motion = torch.zeros_like(self.frame)
        self.age = torch.zeros_like(self.frame)
        self.action = torch.zeros(n, NUM_JOINTS, device=device)
        self.previous_action = torch.zeros_like(self.action)
        self.terminated = torch.zeros(n, dtype=torch.bool, device=device)
        self.truncated = torch.zeros_like(self.terminated)
        self.reset()

    def seed(self, seed: int) -> None:
        """Start everything random, and the count of failures, again."""
        self.generator.manual_seed(seed)
        self.sampler.reset()

    def reset(self, ids: Tensor | None = None, frames: Tensor | None = None) -> None:
        """Begin new episodes.

        Args:
            ids: environments (n,); None: all.
            frames: rows of the reference to begin at, (n,); None: drawn as the config says.
        """
        ids = torch.arange(self.num_envs, device=self.device) if ids is None else ids
        n, config, reference = len(ids), self.config, self.reference
        if n == 0:
            return
        if frames is None and config.random_start:
            frames = self.sampler.sample(n, self.generator)
        elif frames is None:
            chosen = torch.randint(reference.num_motions, (n,), generator=self.generator).to(self.device)
            frames = reference.first[chosen]
        qpos, qvel = reference.qpos[frames].double(), reference.qvel[frames].double()
        noise = torch.randn(2, n, NUM_JOINTS, generator=self.generator).to(self.device)
        qpos[:, 7:] += config.joint_noise * noise[0]
        qvel[:, 6:] += config.velocity_noise * noise[1]
        self.engine.reset(ids, qpos, qvel)
        self.frame[ids] = frames
        self.motion[ids] = reference.motion[frames]
        self.age[ids] = 0
        self.action[ids] = 0.0
        self.previous_action[ids] = 0.0
        self._look()

    def targets(self, action: Tensor) -> Tensor:
        """Joint position targets of an action (N, 29), rad: led reference plus correction.

        A target may lie beyond a joint's limit by as much as the feed-forward asks for.
        """
        return self._targets[self.frame] + self.config.action_scale * action

    def step(self, action: Tensor) -> Tensor:
        """Advance by one control period. Robots whose episode is over are for the caller to `reset`.

        Args:
            action: (N, 29), no unit, see `TrackingConfig.action_scale`.

        Returns:
            Reward, (N,) float32; `terminated` and `truncated` say who is done.
        """
        engine = self.engine
        self.previous_action.copy_(self.action)
        self.action.copy_(action)
        engine.ctrl.copy_(self.targets(self.action))
        engine.advance(self.substeps)
        last = self.reference.last[self.motion]
        self.frame = torch.minimum(self.frame + 1, last)
        self.age += 1
        self._look()
        self.terminated = self.terminations(self)
        self.truncated = ((self.frame >= last) | (self.age >= self._longest)) & ~self.terminated
        self.sampler.observe(self.frame, self.terminated)
        return self.rewards(self)

    def observation(self) -> Tensor:
        """(N, size) float32, see `TrackingConfig.observations`."""
        return self.observations(self)

    def info(self) -> dict[str, Tensor]:
        """How well the robots follow, each (N,): joint_error (root mean square, rad), root_error and
        racket_error (m), frame."""
        return {
            "joint_error": ((self.qpos[:, 7:] - self.ref_qpos[:, 7:]) ** 2).mean(1).sqrt(),
            "root_error": torch.linalg.vector_norm(self.qpos[:, :3] - self.ref_qpos[:, :3], dim=1),
            "racket_error": torch.linalg.vector_norm(self.racket_pos - self.ref_racket_pos, dim=1),
            "frame": self.frame.clone(),
        }

    def plain(self) -> dict[str, Any]:
        """Names and weights of the terms in force, as plain values."""
        return {
            "rewards": dict(self.rewards.weights),
            "observations": list(self.observations.names),
            "terminations": list(self.terminations.names),
        }

    def _look(self) -> None:
        engine, reference = self.engine, self.reference
        # Of an engine in float32, `float()` would be the live tensors themselves.
        self.qpos, self.qvel, self.torque, self.racket_pos = (
            part.to(torch.float32, copy=True)
            for part in (engine.qpos, engine.qvel, engine.torque, engine.racket_pos)
        )
        self.ref_qpos, self.ref_qvel = reference.qpos[self.frame], reference.qvel[self.frame]
        self.ref_racket_pos = reference.racket_pos[self.frame]
