"""Strike goals as training and design use them: many, with the balls that belong to them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class GoalPool:
    """G strike goals at the moment a stroke is begun, for a robot whose stance is the origin facing +x.

    Attributes:
        stroke: which stroke, (G,) int. time: to the strike, (G,), s.
        pos, vel, normal: the goal, (G, 3), stance frame; x counts from the stance.
        ball_pos, ball_vel, ball_spin: the ball at the strike, (G, 3).
        aim: where the ball is aimed, court frame as if the stance were at (start_x, 0), (G, 2), m.
        clearance: height over the net at which it is to pass, (G,), m.
        start_x: x of the stance in the court frame, for judging returns, m.
        met: share of the balls that the planner would play.
    """

    stroke: Tensor
    time: Tensor
    pos: Tensor
    vel: Tensor
    normal: Tensor
    ball_pos: Tensor
    ball_vel: Tensor
    ball_spin: Tensor
    aim: Tensor
    clearance: Tensor
    start_x: float
    met: float

    def __len__(self) -> int:
        return len(self.stroke)

    def at(self, ids: Tensor) -> GoalPool:
        """The goals `ids`."""
        rows = {f.name: v[ids] for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        return replace(self, **rows)

    def to(self, device: torch.device | str) -> GoalPool:
        """The same goals on a device."""
        rows = {f.name: v.to(device) for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        return replace(self, **rows)


def join(*pools: GoalPool) -> GoalPool:
    """The goals of several pools with the same `start_x`, one after the other; `met` is the first one's."""
    first = pools[0]
    rows = {
        f.name: torch.cat([getattr(pool, f.name) for pool in pools])
        for f in fields(first)
        if isinstance(getattr(first, f.name), Tensor)
    }
    return replace(first, **rows)
