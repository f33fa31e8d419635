"""From a ball's state to a strike goal: where, when and how the racket shall meet the ball."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from humanoid.racket import RACKET
from policies.strokes import StrokeSet
from sim.aim import aim, solve_racket
from sim.ball import BallParams, BallState
from sim.predict import predict
from sim.stringbed import Racket


@dataclass(frozen=True)
class PlannerConfig:
    """How meeting points are chosen.

    Attributes:
        horizon: how far the ball is predicted, s.
        reach: standard deviations of comfortable distance from a stroke's own contact point, x forward,
            y sideways, z up, m.
        limit: a ball that passes no stroke's contact point nearer than this many of them is let go.
        match: what counts as equally far from a goal when the stroke for it is chosen: position, m, velocity, m/s,
            face normal, rad.
        height: lowest and highest meeting point, m.
        lead: shortest time in which a stroke can still be begun, s.
        patience: cost of moving the time of a stroke that has begun, 1/s (squared).
        freeze: in the last moments the goal stays as it is, s.
        clearance: of the return over the net cord, m. High returns need the least racket speed: 2 m costs 8.5 m/s
            where 1 m costs 11.
        deepest, widest: the ball is aimed no nearer to the opponent's lines than this allows, x and |y|, m.
        max_speed: of the return, m/s.
        topspin: wanted of the return, rad/s.
        iterations: trial flights of the return.
    """

    horizon: float = 1.3
    reach: tuple[float, float, float] = (0.15, 0.12, 0.12)
    limit: float = 2.5
    match: tuple[float, float, float] = (0.05, 1.0, 0.08)
    height: tuple[float, float] = (0.45, 1.35)
    lead: float = 0.45
    patience: float = 4.0
    freeze: float = 0.05
    clearance: float = 2.0
    deepest: float = 5.0
    widest: float = 2.5
    max_speed: float = 22.0
    topspin: float = -30.0
    iterations: int = 3


@dataclass(frozen=True)
class StrikeGoal:
    """How the racket shall meet the ball. Court frame.

    Attributes:
        pos: string-bed centre, (N, 3), m.
        vel: its velocity, (N, 3), m/s.
        normal: of the hitting face, toward the ball, (N, 3).
        time: from now, (N,), s.
    """

    pos: Tensor
    vel: Tensor
    normal: Tensor
    time: Tensor


@dataclass(frozen=True)
class Plan:
    """A strike goal, the stroke for it, (N,) int, and whether the ball can be met at all, (N,) bool."""

    goal: StrikeGoal
    stroke: Tensor
    feasible: Tensor


class Planner:
    """Chooses meeting point and stroke, and solves the string bed for the racket.

    Args:
        strokes: to choose from.
        config: see `PlannerConfig`.
        params: the ball as believed.
    """

    def __init__(
        self, strokes: StrokeSet, config: PlannerConfig | None = None, params: BallParams | None = None
    ) -> None:
        self.strokes = strokes
        self.config = config or PlannerConfig()
        self.params = params or BallParams()
        self.racket = Racket.from_specs(
            mass=RACKET.mass,
            balance=RACKET.balance,
            swingweight=RACKET.swingweight,
            twistweight=RACKET.twistweight,
            centre=RACKET.center,
        )

    def plan(
        self,
        ball_pos: Tensor,
        ball_vel: Tensor,
        target: Tensor,
        stance: Tensor,
        stroke: Tensor,
        time: Tensor,
        begun: Tensor,
    ) -> Plan:
        """Plan a strike.

        Args:
            ball_pos, ball_vel: (N, 3), court frame.
            target: wanted landing point, (N, 2).
            stance: where the robot stands, x, y, heading, (N, 3).
            stroke: stroke in progress, (N,) int; only read where `begun`.
            time: planned time to its strike, (N,), s.
            begun: whether a stroke is in progress and has not struck, (N,) bool.
        """
        config, strokes = self.config, self.strokes
        ball = BallState(ball_pos, ball_vel, torch.zeros_like(ball_pos))
        path = predict(ball, self.params, config.horizon, strokes.dt)
        cos, sin = stance[:, 2].cos(), stance[:, 2].sin()
        # Path in the stance frame, (N, T, 3).
        dx, dy = path.pos[..., 0] - stance[:, None, 0], path.pos[..., 1] - stance[:, None, 1]
        x = cos[:, None] * dx + sin[:, None] * dy
        y = cos[:, None] * dy - sin[:, None] * dx
        z = path.pos[..., 2]
        own = strokes.contact_pos
        sx, sy, sz = config.reach
        distance = (
            ((x[:, None] - own[:, 0, None]) / sx) ** 2
            + ((y[:, None] - own[:, 1, None]) / sy) ** 2
            + ((z[:, None] - own[:, 2, None]) / sz) ** 2
        )  # (N, K, T)
        when = path.time
        open_window = (
            (when > path.bounce_time[:, None])
            & (when < path.second_bounce_time[:, None])
            & (z > config.height[0])
            & (z < config.height[1])
        )
        soonest = torch.where(begun, torch.zeros_like(time), torch.full_like(time, config.lead))
        open_window = open_window & (when >= soonest[:, None])
        slip = torch.where(begun[:, None], config.patience * (when - time[:, None]) ** 2, torch.zeros_like(z))
        number = torch.arange(strokes.num_strokes)
        other = begun[:, None] & (number != stroke[:, None])
        cost = distance + slip[:, None]
        cost = torch.where(open_window[:, None], cost, torch.full_like(cost, 1e4))
        cost = cost + torch.where(other, 1e5, 0.0)[..., None]
        flat = cost.flatten(1)
        best = flat.argmin(dim=1)
        least = flat.gather(1, best[:, None])[:, 0]
        chosen = best // len(when)
        step = best % len(when)
        pick = step[:, None, None].expand(-1, 1, 3)
        meet = BallState(
            path.pos.gather(1, pick)[:, 0], path.vel.gather(1, pick)[:, 0], path.spin_after
        )
        aimed = torch.stack(
            (target[:, 0].clamp(max=config.deepest), target[:, 1].clamp(-config.widest, config.widest)), dim=-1
        )
        axis = strokes.contact_axis[chosen]
        axis = torch.stack((cos * axis[:, 0] - sin * axis[:, 1], sin * axis[:, 0] + cos * axis[:, 1], axis[:, 2]), -1)
        ahead = torch.nn.functional.normalize(aimed - meet.pos[:, :2], dim=1) * config.topspin
        spin = torch.stack((-ahead[:, 1], ahead[:, 0], torch.zeros_like(cos)), dim=-1)
        flight = aim(
            meet.pos,
            aimed,
            self.params,
            spin,
            clearance=config.clearance,
            max_speed=config.max_speed,
            iterations=config.iterations,
        )
        strike = solve_racket(
            meet.pos,
            meet.vel,
            meet.spin,
            flight.vel,
            self.racket,
            self.params,
            wanted_spin=spin,
            long_axis=axis,
            face=strokes.face[chosen],
        )
        goal = StrikeGoal(strike.pos, strike.vel, strike.normal, when[step])
        return Plan(goal, self._nearest(goal, cos, sin, stance, chosen, begun), least < config.limit**2)

    def _nearest(
        self, goal: StrikeGoal, cos: Tensor, sin: Tensor, stance: Tensor, chosen: Tensor, begun: Tensor
    ) -> Tensor:
        """Of the strokes with the chosen one's face, the one that delivers the goal most nearly."""
        strokes, config = self.strokes, self.config

        def turned(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
            return torch.stack((cos * x + sin * y, cos * y - sin * x, z), dim=-1)[:, None]

        x, y, z = goal.pos.unbind(-1)
        pos = turned(x - stance[:, 0], y - stance[:, 1], z)
        vel, normal = turned(*goal.vel.unbind(-1)), turned(*goal.normal.unbind(-1))
        near, fast, square = config.match
        cost = (
            ((pos - strokes.contact_pos) ** 2).sum(-1) / near**2
            + ((vel - strokes.contact_vel) ** 2).sum(-1) / fast**2
            + ((normal - strokes.contact_normal) ** 2).sum(-1) / square**2
        )
        other = strokes.face != strokes.face[chosen][:, None]
        return torch.where(begun, chosen, (cost + 1e6 * other).argmin(dim=1))
