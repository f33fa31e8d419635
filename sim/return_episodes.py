"""Ball return as episodes with rewards: what learning adds to the protocol of `sim.return_task`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from humanoid.joints import EFFORT_LIMIT, LOWER, NUM_JOINTS, READY_JOINT_POS, UPPER
from sim.ball import BallParams
from sim.engine import Engine
from sim.launch_distribution import LaunchDistribution
from sim.return_task import BallRecord, ReturnConfig, ReturnTask
from sim.return_terms import REWARDS, TERMINATIONS
from sim.terms import RewardTerms, TerminationTerms
from sim.world import World

RECYCLE = 32
"""Times that a learner meets a pool of launches, in other states, with other targets, before a new one."""


def _default_rewards() -> dict[str, float]:
    return {
        "alive": 0.02,
        "approach": 0.1,
        "hit": 2.0,
        "over_net": 1.0,
        "returned": 3.0,
        "on_target": 2.0,
        "miss": -1.0,
        "fall": -5.0,
        "action_rate": -0.02,
        "joint_limits": -0.5,
        "saturation": -0.05,
    }


@dataclass(frozen=True)
class EpisodeConfig:
    """What episodes reward, besides the protocol. Plain values: as a dict this is what to save with a run.

    Attributes:
        linger_s: an episode ends at the latest so long after its last ball would be followed by another, s.
        rewards: term → weight. terminations: terms. See `sim.return_terms`.
    """

    linger_s: float = 4.0
    rewards: dict[str, float] = field(default_factory=_default_rewards)
    terminations: tuple[str, ...] = ("fallen",)


class ReturnEpisodes:
    """N robots that return balls for rewards.

    An action of 0 asks for the ready pose, of -1 and +1 for a joint's limits, linear on either side.

    Args:
        num_envs: N.
        protocol: see `ReturnConfig`.
        config: rewards.
        seed: of everything random.
        engine, physics, pool, threads, recycle, world, launches: see `ReturnTask`.

    Attributes:
        task: the protocol.
        device: the engine's, where all tensors live.
        lower, upper, effort: (29,) float64, the joints' limits, rad, and the motors', N·m.
        action, previous_action: (N, 29).
        terminated, truncated: (N,) bool: fell; all balls done or time over.
    """

    def __init__(
        self,
        num_envs: int,
        protocol: ReturnConfig | None = None,
        config: EpisodeConfig | None = None,
        seed: int = 0,
        engine: Engine | None = None,
        physics: BallParams | Callable | None = None,
        pool: int = 2048,
        threads: int = 0,
        recycle: int = RECYCLE,
        world: World | None = None,
        launches: LaunchDistribution | None = None,
    ) -> None:
        self.num_envs = n = num_envs
        self.config = config = config or EpisodeConfig()
        self.task = ReturnTask(
            n,
            protocol,
            seed,
            engine=engine,
            physics=physics,
            pool=pool,
            threads=threads,
            recycle=recycle,
            world=world,
            launches=launches,
        )
        protocol = self.task.config
        self.rewards = RewardTerms(REWARDS, config.rewards)
        self.terminations = TerminationTerms(TERMINATIONS, config.terminations)
        balls_s = protocol.balls_per_episode * protocol.intervals[1]
        self._longest = round((balls_s + config.linger_s) / protocol.control_dt)
        self.device = device = self.task.device
        ready, self.lower, self.upper, self.effort = (
            torch.as_tensor(table.copy(), device=device)
            for table in (READY_JOINT_POS, LOWER, UPPER, EFFORT_LIMIT)
        )
        self._ready = ready.float()
        self._below, self._above = self._ready - self.lower.float(), self.upper.float() - self._ready
        self._env = torch.arange(n, device=device)
        self.action = torch.zeros(n, NUM_JOINTS, device=device)
        self.previous_action = torch.zeros_like(self.action)
        self.terminated = torch.zeros(n, dtype=torch.bool, device=device)
        self.truncated = torch.zeros_like(self.terminated)

    @property
    def ball_pos(self) -> Tensor:
        """Ball to be struck next, (N, 3), m; of no meaning where `task.valid` is False."""
        task = self.task
        return task.balls.state.pos[task.slot * self.num_envs + self._env]

    def seed(self, seed: int) -> None:
        """Start everything random again."""
        self.task.seed(seed)

    def reset(self, ids: Tensor | None = None) -> None:
        """Begin new episodes of environments `ids` (n,), or of all."""
        ids = self._env if ids is None else ids
        if len(ids) == 0:
            return
        self.task.reset(ids)
        self.action[ids] = 0.0
        self.previous_action[ids] = 0.0

    def targets(self, action: Tensor) -> Tensor:
        """Joint position targets of an action (N, 29), rad."""
        return self._ready + torch.where(action < 0, self._below, self._above) * action

    def step(self, action: Tensor) -> Tensor:
        """Advance by one control period. Robots whose episode is over are for the caller to `reset`.

        Args:
            action: (N, 29), in -1…1.

        Returns:
            Reward, (N,) float32; `terminated` and `truncated` say who is done.

        Raises:
            ValueError: actions of another shape, or not finite; names the environment and the joint.
        """
        task = self.task
        task.check_targets(action, "action")
        self.previous_action.copy_(self.action)
        self.action.copy_(action)
        if len(task.record):
            task.record = BallRecord()
        task.step(self.targets(self.action))
        self.terminated = self.terminations(self)
        self.truncated = (task.finished | (task.clock >= self._longest)) & ~self.terminated
        return self.rewards(self)

    def observation(self) -> Tensor:
        """(N, OBSERVATION_SIZE) float32, see `sim.return_task.TERMS`."""
        return self.task.observation()

    def info(self) -> dict[str, Tensor]:
        """Of the last step, each (N,): struck (bool), outcome (index into `sim.return_task.OUTCOMES`, 0 for
        none), landing_error (m, NaN without a landing), launched (balls so far)."""
        task = self.task
        return {
            "struck": task.struck.clone(),
            "outcome": task.resolved.clone(),
            "landing_error": task.resolved_miss.clone(),
            "launched": task.launched.clone(),
        }

    def plain(self) -> dict[str, Any]:
        """Names and weights of the terms in force, as plain values."""
        return {"rewards": dict(self.rewards.weights), "terminations": list(self.terminations.names)}
