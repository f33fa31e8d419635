"""How old the ball's pictures are, learned from the player's own strikes.

Cameras, tracking and network take a time that is not known beforehand, but stays what it is through an episode, and at
5 m/s each 10 ms of it are a fifth of a racket's width. A struck ball is no longer the ball to be struck: the player
sees it vanish, later than it was met by the pictures' age in whole control periods. When it was met follows from where
the racket went and from where the ball would have been for each age. So every strike tells which ages are likely; a
discrete Bayes filter over ages collects it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sim.ball import GRAVITY

BINS = 10
MEMORY = {"age_odds": BINS, "watch": 1, "gap": 1, "closing": 2}
"""Of the estimator by name and size: log odds of each age; time since the planned strike that is watched, s, plus
`LatencyConfig.patience`, 0: none is; ball's distance before the strings at that time, were the pictures new, m;
velocities of ball and racket along the racket's normal, m/s."""


@dataclass(frozen=True)
class LatencyConfig:
    """Constants of the estimator.

    Attributes:
        longest: ages from 0 to this are thought possible, all alike, s (the benchmark's range).
        lookout: a strike is watched from so long before its planned time, s.
        patience: and at most for so long after it, s.
        doubt: of the time at which the ball was met, standard deviation, s.
        floor: probability that a strike says nothing.
    """

    longest: float = 0.05
    lookout: float = 0.05
    patience: float = 0.2
    doubt: float = 0.004
    floor: float = 0.02


class LatencyEstimator:
    """See the module; batches of N, without branches on values.

    Args:
        dt: control period, s. radius: of the ball, m. config: see `LatencyConfig`.
    """

    def __init__(self, dt: float, radius: float, config: LatencyConfig | None = None) -> None:
        self.dt, self.radius, self.config = dt, radius, config or LatencyConfig()

    def ages(self, like: Tensor) -> Tensor:
        """Middles of the bins, (BINS,), s."""
        bins = torch.arange(BINS, dtype=like.dtype, device=like.device)
        return self.config.longest * (bins + 0.5) / BINS

    def mean(self, m: dict[str, Tensor]) -> Tensor:
        """Expected age, (N,), s; `m`: memory by name."""
        odds = torch.softmax(m["age_odds"], dim=1)
        return (odds * self.ages(odds)).sum(1)

    def update(
        self,
        ball_pos: Tensor,
        ball_vel: Tensor,
        valid: Tensor,
        other: Tensor,
        begun: Tensor,
        left: Tensor,
        goal: tuple[Tensor, Tensor, Tensor],
        m: dict[str, Tensor],
    ) -> None:
        """One observation more; brings `m` up to date.

        Args:
            ball_pos, ball_vel: filtered, of the pictures, (N, 3). valid: whether there is a ball, (N, 1) bool.
            other: whether it is another one than before, (N, 1) bool.
            begun: whether a stroke is under way, (N, 1) bool. left: time to its planned strike, (N, 1), s.
            goal: planned position, velocity and normal of the racket at the strike, (N, 3) each.
            m: memory by name, see `MEMORY`.
        """
        c, dt = self.config, self.dt
        watching = m["watch"] > 0.0
        since = m["watch"] + dt - c.patience
        gone = watching & (~valid | other)
        # When the ball was met, from the planned strike on, for each age.
        ages = self.ages(since)
        ball, racket = m["closing"].split(1, dim=1)
        met = (m["gap"] + ball * ages) / (racket - ball).clamp(min=1.0)
        # It vanishes at the first control step after that, as the pictures show it.
        latest = since - dt * torch.floor(ages / dt)
        chance = _normal((latest - met) / c.doubt) - _normal((latest - dt - met) / c.doubt)
        told = torch.log(chance * (1 - c.floor) + c.floor / BINS)
        odds = m["age_odds"] + told
        odds = odds - odds.amax(dim=1, keepdim=True)
        m["age_odds"] = torch.where(gone, odds, m["age_odds"])
        over = gone | (since > c.patience)
        going = torch.where(watching & ~over, m["watch"] + dt, torch.zeros_like(since))
        # A strike comes near: what is known of it before the ball can have vanished.
        start = valid & begun & ~watching & (left <= c.lookout) & (left > c.lookout - 1.5 * dt)
        pos, vel, normal = goal
        fall = torch.zeros_like(ball_pos)
        fall[:, 2] = GRAVITY
        then_vel = ball_vel - fall * left
        then = ball_pos + 0.5 * (ball_vel + then_vel) * left
        gap = ((then - pos) * normal).sum(1, keepdim=True) - self.radius
        m["gap"] = torch.where(start, gap, m["gap"])
        along = torch.cat([(part * normal).sum(1, keepdim=True) for part in (then_vel, vel)], dim=1)
        m["closing"] = torch.where(start, along, m["closing"])
        m["watch"] = torch.where(start, c.patience - left, going)


def _normal(x: Tensor) -> Tensor:
    """Cumulative standard normal distribution."""
    return 0.5 * (1.0 + torch.erf(x * 0.5**0.5))
