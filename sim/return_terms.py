"""Reward terms of ball return: functions of a `sim.return_episodes.ReturnEpisodes` after its step.

A ball's events are worth their weight once, in the step they happen in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sim.return_task import FALL, MISS, NET, OUT, RETURNED
from sim.terms import TermTable

if TYPE_CHECKING:
    from sim.return_episodes import ReturnEpisodes

REWARDS = TermTable("return reward")
TERMINATIONS = TermTable("return termination")


def _event(state: ReturnEpisodes, outcome: int) -> Tensor:
    return (state.task.resolved == outcome).float()


@REWARDS
def alive(state: ReturnEpisodes) -> Tensor:
    """1 every step."""
    return torch.ones(state.num_envs, device=state.device)


@REWARDS
def approach(state: ReturnEpisodes) -> Tensor:
    """exp(-(distance of the string-bed centre from the coming ball / 0.3 m)²), 0 without a ball."""
    distance = torch.linalg.vector_norm(state.task.engine.racket_pos - state.ball_pos, dim=1).float()
    return torch.exp(-((distance / 0.3) ** 2)) * state.task.valid


@REWARDS
def hit(state: ReturnEpisodes) -> Tensor:
    """1 when the racket meets the ball."""
    return state.task.struck.float()


@REWARDS
def over_net(state: ReturnEpisodes) -> Tensor:
    """1 when a struck ball first bounces beyond the net, in or out."""
    resolved = state.task.resolved
    beyond = (resolved == RETURNED) | (resolved == OUT)
    return (beyond & torch.isfinite(state.task.resolved_miss)).float()


@REWARDS
def returned(state: ReturnEpisodes) -> Tensor:
    """1 when a struck ball first bounces in the opponent's singles court."""
    return _event(state, RETURNED)


@REWARDS
def on_target(state: ReturnEpisodes) -> Tensor:
    """exp(-(landing error / 2.5 m)²) when a struck ball lands in court."""
    error = state.task.resolved_miss.nan_to_num(nan=1e3)
    return torch.exp(-((error / 2.5) ** 2)) * _event(state, RETURNED)


@REWARDS
def net(state: ReturnEpisodes) -> Tensor:
    """1 for a ball in the net or on the own side (a cost)."""
    return _event(state, NET)


@REWARDS
def out(state: ReturnEpisodes) -> Tensor:
    """1 for a ball that lands out (a cost)."""
    return _event(state, OUT)


@REWARDS
def miss(state: ReturnEpisodes) -> Tensor:
    """1 for a ball that was not met before its second bounce (a cost)."""
    return _event(state, MISS)


@REWARDS
def fall(state: ReturnEpisodes) -> Tensor:
    """1 when the robot falls, with or without a ball coming (a cost)."""
    return (state.task.fallen | (state.task.resolved == FALL)).float()


@REWARDS
def action_rate(state: ReturnEpisodes) -> Tensor:
    """Mean squared change of the action (a cost)."""
    return ((state.action - state.previous_action) ** 2).mean(1)


@REWARDS
def joint_limits(state: ReturnEpisodes) -> Tensor:
    """Joint angles beyond their limits, summed, rad (a cost)."""
    q = state.task.engine.qpos[:, 7:]
    return ((q - state.upper).clamp(min=0.0) + (state.lower - q).clamp(min=0.0)).sum(1).float()


@REWARDS
def saturation(state: ReturnEpisodes) -> Tensor:
    """Share of motors at their torque limit (a cost)."""
    return (state.task.engine.torque.abs() >= 0.999 * state.effort).float().mean(1)


@TERMINATIONS
def fallen(state: ReturnEpisodes) -> Tensor:
    """See `sim.return_task.ReturnConfig`: fall_height, fall_tilt."""
    return state.task.fallen
