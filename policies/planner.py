"""From a ball's state to a strike goal: where, when and how the racket shall meet the ball."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from humanoid.racket import RACKET
from policies.strokes import StrokeSet
from sim.ball import BallParams, BallState, aero
from sim.predict import fly_arc, predict
from sim.stringbed import Racket, impact


@dataclass(frozen=True)
class PlannerConfig:
    """How meeting points are chosen.

    Attributes:
        horizon: how far the ball is predicted, s.
        reach: what counts as one unit of distance from where a stroke strikes, x forward, y sideways, z up, m.
        limit: a ball that passes every stroke farther than this many units is let go.
        height: lowest and highest meeting point, m.
        lead: shortest time in which a stroke can still be begun, s.
        patience: cost of moving the time of a stroke that has begun, 1/s².
        freeze: in the last moments the goal stays as it is, s.
        landing_weight: of the landing against the distance when a stroke is chosen.
        landing: what counts as one unit of landing error, along and across the court, m.
        clearance: safe height of the return over the net cord, m.
        deepest, widest: the ball is aimed no nearer to the opponent's lines than this allows, x and |y|, m.
        turning: price of meeting the ball before or after the strike, m of distance for a second.
        correction: distance by which the arm can move a stroke's contact point, m.
    """

    horizon: float = 1.3
    reach: tuple[float, float, float] = (0.12, 0.12, 0.12)
    limit: float = 2.5
    height: tuple[float, float] = (0.45, 1.35)
    lead: float = 0.45
    patience: float = 40.0
    freeze: float = 0.05
    landing_weight: float = 1.0
    landing: tuple[float, float] = (3.0, 2.5)
    clearance: float = 0.6
    deepest: float = 6.5
    widest: float = 2.5
    correction: float = 0.06
    turning: float = 8.0


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


@dataclass(frozen=True)
class _Placed:
    """Racket at the strike of each stroke: position, velocity, hitting face's normal (N, K, 3), rotation."""

    pos: Tensor
    vel: Tensor
    normal: Tensor
    rot: Tensor


@dataclass(frozen=True)
class _Meeting:
    """Where ball and racket come together: ball (N, K, 3) and its velocity, what stays open between racket and ball,
    (N, K, 3), m, and when the strike is and how long after it they meet, from the moment asked about, (N, K), s."""

    pos: Tensor
    vel: Tensor
    off: Tensor
    delay: Tensor
    early: Tensor


class Planner:
    """Chooses meeting point and stroke: for every stroke the moment at which the ball passes nearest to where the
    stroke strikes, the impact there, and where the ball would land; then the stroke that serves best.

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
        bounced: Tensor | None = None,
    ) -> Plan:
        """Plan a strike.

        Args:
            ball_pos, ball_vel: (N, 3), court frame.
            target: wanted landing point, (N, 2).
            stance: where the robot stands, x, y, heading, (N, 3).
            stroke: stroke in progress, (N,) int; only read where `begun`.
            time: planned time to its strike, (N,), s.
            begun: whether a stroke is in progress and has not struck, (N,) bool.
            bounced: whether the ball has bounced on this side already and must be met before it bounces again,
                (N,) bool; None: no ball has.
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
        once = torch.zeros_like(begun) if bounced is None else bounced
        first = torch.where(once, torch.full_like(time, -1.0), path.bounce_time)
        last = torch.where(once, path.bounce_time, path.second_bounce_time)
        open_window = (
            (when > first[:, None]) & (when < last[:, None]) & (z > config.height[0]) & (z < config.height[1])
        )
        soonest = torch.where(begun, torch.zeros_like(time), torch.full_like(time, config.lead))
        open_window = open_window & (when >= soonest[:, None])
        slip = torch.where(begun[:, None], config.patience * (when - time[:, None]) ** 2, torch.zeros_like(z))
        cost = distance + slip[:, None]
        cost = torch.where(open_window[:, None], cost, torch.full_like(cost, 1e4))
        # For each stroke the moment at which the ball passes nearest to where it strikes, (N, K).
        least, step = cost.min(dim=2)
        pick = step[..., None].expand(-1, -1, 3)
        placed = self._placed(stance)
        meet = self._meet(path.pos.gather(1, pick), path.vel.gather(1, pick), placed)
        miss = (meet.off * meet.off).sum(-1) / config.reach[0] ** 2 + (meet.early / 0.012) ** 2
        miss = torch.where(least < 1e3, miss, least)
        worth = miss + config.landing_weight * self._landing_cost(
            meet, path.spin_after[:, None].expand_as(meet.pos), target, placed
        )
        chosen = torch.where(begun, stroke, worth.argmin(dim=1))
        row = chosen[:, None]
        single = row[..., None].expand(-1, 1, 3)
        goal = StrikeGoal(
            pos=(placed.pos + meet.off).gather(1, single)[:, 0],
            vel=placed.vel.gather(1, single)[:, 0],
            normal=placed.normal.gather(1, single)[:, 0],
            time=when[step.gather(1, row)[:, 0]] + meet.delay.gather(1, row)[:, 0],
        )
        return Plan(goal, chosen, miss.gather(1, row)[:, 0] < config.limit**2)

    def _meet(self, pos: Tensor, vel: Tensor, placed: _Placed) -> _Meeting:
        """When to strike so that ball and string-bed centre come together, from a moment at which they are near.

        Both move in straight lines: with d the way from racket to ball at that moment, the ball is met h later by
        a racket that is w past its strike, and d + v_ball h - v_racket w is what stays open. Least squares in h and
        w, where being far from the strike has a price since the face turns.
        """
        open_way = pos - self.params.radius * placed.normal - placed.pos
        ball, racket = vel, placed.vel
        bb, rr, br = (
            (ball * ball).sum(-1),
            (racket * racket).sum(-1) + self.config.turning**2,
            (ball * racket).sum(-1),
        )
        bd, rd = (ball * open_way).sum(-1), (racket * open_way).sum(-1)
        scale = 1.0 / (bb * rr - br * br).clamp(min=1e-6)
        h = ((br * rd - rr * bd) * scale).clamp(-0.03, 0.03)
        w = ((bb * rd - br * bd) * scale).clamp(-0.02, 0.02)
        off = open_way + ball * h[..., None] - racket * w[..., None]
        return _Meeting(pos + ball * h[..., None], vel, off, h - w, w)

    def _placed(self, stance: Tensor) -> _Placed:
        """What the strokes deliver, in the court frame, (N, K, …)."""
        s = self.strokes
        cos, sin = stance[:, 2:].cos(), stance[:, 2:].sin()

        def turned(v: Tensor) -> Tensor:
            x, y, z = v.unbind(-1)
            return torch.stack((cos * x - sin * y, sin * x + cos * y, z.expand(stance.shape[0], -1)), dim=-1)

        pos = turned(s.contact_pos) + torch.cat((stance[:, :2], torch.zeros_like(cos)), dim=1)[:, None]
        normal = turned(s.contact_normal)
        z = s.face[:, None] * normal
        x = turned(s.contact_axis)
        x = torch.nn.functional.normalize(x - (x * z).sum(-1, keepdim=True) * z, dim=-1)
        rot = torch.stack((x, torch.linalg.cross(z, x), z), dim=-1)
        return _Placed(pos, turned(s.contact_vel), normal, rot)

    def _landing_cost(self, meet: _Meeting, ball_spin: Tensor, target: Tensor, placed: _Placed) -> Tensor:
        """How badly each stroke would return the ball, (N, K): distance of the landing from the wanted point in
        comfortable units, and how far the flight stays under a safe height over the net."""
        config = self.config
        # The ball meets the strings off their centre by what the arm cannot make up.
        ball_pos, ball_vel, off = meet.pos, meet.vel, meet.off
        off = off - (off * placed.normal).sum(-1, keepdim=True) * placed.normal
        far = torch.linalg.vector_norm(off, dim=-1, keepdim=True).clamp(min=1e-6)
        off = off * (far - config.correction).clamp(min=0.0, max=0.12) / far
        contact = ball_pos - self.params.radius * placed.normal
        hit = impact(
            ball_vel, ball_spin, placed.normal, contact, contact - off, placed.rot, placed.vel,
            torch.zeros_like(ball_vel), self.racket, self.params,
        )  # fmt: skip
        air = aero(self.params, ball_pos)
        duration = torch.full_like(ball_pos[..., 0], 2.6)
        arc = fly_arc(BallState(ball_pos, hit.vel, hit.spin), air, duration, 8)
        landing_time = arc.falls_to(torch.full_like(duration, float(self.params.radius))).clamp(max=2.6)
        landing = arc.at(landing_time[None])[0][0]
        grid = torch.linspace(0.1, 2.5, 13).view(-1, 1, 1).expand(-1, *duration.shape)
        path = arc.at(grid)[0]
        before, after = path[:-1, ..., 0], path[1:, ..., 0]
        crossing = (before < 0) & (after >= 0)
        share = (-before / (after - before).clamp(min=1e-3)).clamp(0.0, 1.0)
        height = path[:-1, ..., 2] + share * (path[1:, ..., 2] - path[:-1, ..., 2])
        over = torch.where(crossing, height, torch.zeros_like(height)).amax(0)
        low = (config.clearance - (over - 1.0)).clamp(min=0.0)
        aim_x = target[:, None, 0].clamp(max=config.deepest)
        aim_y = target[:, None, 1].clamp(-config.widest, config.widest)
        return (
            ((landing[..., 0] - aim_x) / config.landing[0]) ** 2
            + ((landing[..., 1] - aim_y) / config.landing[1]) ** 2
            + (low / 0.3) ** 2
        )
