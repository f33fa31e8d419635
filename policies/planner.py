"""From a ball's state to a strike goal: where, when and how the racket shall meet the ball."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from humanoid.racket import RACKET
from policies.steps import StepSet
from policies.strokes import StrokeSet
from sim.aim import aim, solve_racket
from sim.ball import GRAVITY, BallParams, BallState
from sim.predict import predict
from sim.stringbed import Racket


def racket_body() -> Racket:
    """The robot's racket as a body that hits balls."""
    return Racket.from_specs(
        mass=RACKET.mass,
        balance=RACKET.balance,
        swingweight=RACKET.swingweight,
        twistweight=RACKET.twistweight,
        centre=RACKET.center,
    )


@dataclass(frozen=True)
class PlannerConfig:
    """How meeting points are chosen.

    Attributes:
        horizon: how far the ball is predicted, s; farther where there are steps to take.
        reach: what counts as one unit of distance from where a family of strokes is at ease, x forward, y sideways,
            z up, m.
        margin: a ball that passes every family's range farther than this is let go, m.
        lead: shortest time in which a stroke can still be begun, s.
        patience: cost of moving the time of a stroke that has begun, 1/s².
        freeze: in the last moments the goal stays as it is, s.
        clearance: height of the return's centre over the net cord, m. topspin: of the return, rad/s.
        shortest, deepest, widest: the ball is aimed between these distances behind the net, and no nearer to the
            side lines, x and |y|, m.
        roll: spin of a ball after its bounce, as a share of that of one that rolls.
        comfort: how far inside a family's range a ball shall pass, x, y, m: what a step is taken for.
        least_step, least_turn: distance from there, m, and turn from the net, rad, that are worth a step.
        strain: largest distance of a goal from those a family was learned from (Mahalanobis); a goal beyond is
            drawn in: the ball is met all the same, and flies where it will.
    """

    horizon: float = 1.3
    reach: tuple[float, float, float] = (0.25, 0.3, 0.25)
    margin: float = 0.06
    lead: float = 0.82
    patience: float = 40.0
    freeze: float = 0.05
    clearance: float = 2.0
    topspin: float = -60.0
    shortest: float = 4.0
    deepest: float = 5.2
    widest: float = 2.2
    roll: float = 1.0
    comfort: tuple[float, float] = (0.05, 0.2)
    least_step: float = 0.05
    least_turn: float = 0.12
    strain: float = 2.5


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
    """A strike goal, the stroke for it, (N,) int, whether the ball can be met at all, (N,) bool, the ball before the
    strike, position, velocity, spin (N, 3), court frame, and the step to take first, x, y, turn, (N, 3), stance
    frame: zero where none would help or none is in time."""

    goal: StrikeGoal
    stroke: Tensor
    feasible: Tensor
    ball: BallState
    way: Tensor


class Planner:
    """Chooses meeting point and stroke: for each family the moment at which the ball passes nearest to where its
    strokes are at ease, and the racket that sends the ball from there to its target; then the family whose strokes
    are nearer to that.

    Args:
        strokes: to choose from.
        steps: to choose from; None: the robot stays where it is.
        config: see `PlannerConfig`.
        params: the ball as believed.
    """

    def __init__(
        self,
        strokes: StrokeSet,
        config: PlannerConfig | None = None,
        params: BallParams | None = None,
        steps: StepSet | None = None,
    ) -> None:
        self.strokes, self.steps = strokes, steps
        self.config = config = config or PlannerConfig()
        self.horizon = config.horizon
        if steps is not None:
            # Some moments beyond the last in which a step and a stroke are in time.
            self.horizon = max(config.horizon, config.lead + steps.duration + 0.18)
        self.params = params or BallParams()
        self.racket = racket_body()

    def to(self, device: torch.device | str) -> Planner:
        """The same planner with its constants on a device."""
        moved = copy(self)
        moved.strokes = self.strokes.to(device)
        moved.steps = None if self.steps is None else self.steps.to(device)
        moved.racket = replace(
            self.racket, com=self.racket.com.to(device), inertia=self.racket.inertia.to(device)
        )
        return moved

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
        n, kinds = ball_pos.shape[0], strokes.num_strokes
        once = torch.zeros_like(begun) if bounced is None else bounced
        # A ball that has bounced spins forward, and that bends its path: it rolled off the ground in part.
        rolled = torch.stack((-ball_vel[:, 1], ball_vel[:, 0], torch.zeros_like(time)), dim=1)
        rolled = config.roll / float(self.params.radius) * rolled
        spin = torch.where(once[:, None], rolled, torch.zeros_like(rolled))
        ball = BallState(ball_pos, ball_vel, spin)
        path = predict(ball, self.params, self.horizon, strokes.dt)
        local = self._to_stance(path.pos, stance, move=True)
        flow = self._to_stance(path.vel, stance, move=False)
        ease = strokes.centre[:, :3]
        reach = torch.tensor(config.reach, device=ball_pos.device)
        # Distance from ease, and from the range of each family, (N, K, T).
        away = ((local[:, None] - ease[:, None]) / reach).square().sum(-1)
        beyond = self._beyond(local[:, None], strokes.low[:, None], strokes.high[:, None])
        when = path.time
        first = torch.where(once, torch.full_like(time, -1.0), path.bounce_time)
        last = torch.where(once, path.bounce_time, path.second_bounce_time)
        soonest = torch.where(begun, torch.zeros_like(time), torch.full_like(time, config.lead))
        window = (when > first[:, None]) & (when < last[:, None]) & (when >= soonest[:, None])
        slip = torch.where(
            begun[:, None], config.patience * (when - time[:, None]) ** 2, torch.zeros_like(when)
        )
        cost = away + (beyond / 0.05) ** 2 + slip[:, None]
        cost = torch.where(window[:, None], cost, torch.full_like(cost, 1e4))
        least, step = cost.min(dim=2)
        # Between the path's points, where the ball passes nearest to ease, (N, K).
        pick = step[..., None].expand(-1, -1, 3)
        near, moving = local.gather(1, pick), flow.gather(1, pick)
        rate = (moving / reach).square().sum(-1).clamp(min=1e-3)
        later = (-((near - ease) * moving / reach**2).sum(-1) / rate).clamp(
            -0.5 * strokes.dt, 0.5 * strokes.dt
        )
        meet_time = when[step] + later
        pos, vel = path.pos.gather(1, pick), path.vel.gather(1, pick)
        pos = pos + vel * later[..., None]
        fall = torch.zeros_like(pos)
        fall[..., 2] = 0.5 * GRAVITY * later**2
        pos = pos - fall
        fall[..., 2] = GRAVITY * later
        vel = vel - fall
        spin = torch.where(once[:, None], spin, path.spin_after)[:, None].expand_as(pos)
        axis = self._from_stance(strokes.axis.expand(n, -1, -1), stance)
        aim_at = torch.stack(
            (
                target[:, 0].clamp(config.shortest, config.deepest),
                target[:, 1].clamp(-config.widest, config.widest),
            ),
            dim=1,
        )
        toward = torch.nn.functional.normalize(aim_at[:, None] - pos[..., :2], dim=-1)
        wanted = config.topspin * torch.stack(
            (-toward[..., 1], toward[..., 0], torch.zeros_like(later)), dim=-1
        )
        leaves = aim(
            pos, aim_at[:, None].expand_as(pos[..., :2]), self.params, wanted, config.clearance, 16.0,
            iterations=2, leg_steps=(2, 1),
        )  # fmt: skip
        strike = solve_racket(
            pos, vel, spin, leaves.vel, self.racket, self.params, wanted, axis, strokes.face.expand(n, -1)
        )
        which = torch.arange(kinds, device=ball_pos.device).expand(n, -1)
        scaled = strokes.scaled(
            which,
            self._to_stance(strike.pos, stance, move=True),
            self._to_stance(strike.vel, stance, move=False),
            self._to_stance(strike.normal, stance, move=False),
        )
        strain = strokes.distance(which, scaled)
        worth = least + strain**2
        chosen = torch.where(begun, stroke, worth.argmin(dim=1))
        row = chosen[:, None]
        single = row[..., None].expand(-1, 1, 3)
        passes = beyond.gather(2, step[..., None])[..., 0]
        goal = StrikeGoal(
            pos=strike.pos.gather(1, single)[:, 0],
            vel=strike.vel.gather(1, single)[:, 0],
            normal=strike.normal.gather(1, single)[:, 0],
            time=meet_time.gather(1, row)[:, 0],
        )
        met = BallState(*(value.gather(1, single)[:, 0] for value in (pos, vel, spin)))
        feasible = (least < 1e3) & (passes < config.margin)
        way = self._way(local, when, window, stance[:, 2])
        return Plan(goal, chosen, feasible.gather(1, row)[:, 0], met, way)

    def _way(self, local: Tensor, when: Tensor, window: Tensor, heading: Tensor) -> Tensor:
        """The step that brings a ball into comfortable range and turns the robot to the net, (N, 3), or zero.

        Args:
            local: the ball's path in the stance frame, (N, T, 3). when: its times, (T,), s.
            window: when a stroke could meet it, (N, T) bool. heading: of the stance, (N,), rad.
        """
        if self.steps is None:
            return torch.zeros_like(local[:, 0])
        config, strokes = self.config, self.strokes
        inset = torch.tensor([*config.comfort, 0.0], device=local.device)
        low, high = (strokes.low + inset)[:, None], (strokes.high - inset)[:, None]
        # What is missing to the comfortable range of each family, (N, K, T, 3).
        off = (local[:, None] - high).clamp(min=0) - (low - local[:, None]).clamp(min=0)
        reach = self.steps.longest[:2]
        way = torch.maximum(torch.minimum(off[..., :2], reach), -reach)
        rest = torch.cat((off[..., :2] - way, off[..., 2:]), dim=-1)
        after = window & (when >= config.lead + self.steps.duration)
        far = torch.full_like(off[..., 0], 1e4)
        stay = torch.where(window[:, None], off.square().sum(-1), far).flatten(1).amin(dim=1)
        cost = torch.where(after[:, None], rest.square().sum(-1) + 0.05 * way.square().sum(-1), far)
        least, place = cost.flatten(1).min(dim=1)
        way = way.flatten(1, 2).gather(1, place[:, None, None].expand(-1, 1, 2))[:, 0]
        turn = (-heading).clamp(-self.steps.longest[2], self.steps.longest[2])
        nearer = (least < 0.6 * stay) & (stay > config.least_step**2)
        straighter = heading.abs() > config.least_turn
        better = (nearer | straighter) & (least < 1.0)
        way = torch.cat((way, turn[:, None]), dim=1)
        return torch.where(better[:, None], way, torch.zeros_like(way))

    @staticmethod
    def _beyond(pos: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """How far positions (…, 3) lie outside a box, (…), m."""
        return torch.linalg.vector_norm((low - pos).clamp(min=0) + (pos - high).clamp(min=0), dim=-1)

    @staticmethod
    def _to_stance(value: Tensor, stance: Tensor, move: bool) -> Tensor:
        """Vectors (N, K, 3) of the court frame in the stance frame; positions if `move`."""
        cos, sin = stance[:, None, 2].cos(), stance[:, None, 2].sin()
        x, y, z = value.unbind(-1)
        if move:
            x, y = x - stance[:, None, 0], y - stance[:, None, 1]
        return torch.stack((cos * x + sin * y, cos * y - sin * x, z), dim=-1)

    @staticmethod
    def _from_stance(value: Tensor, stance: Tensor) -> Tensor:
        """Directions (N, K, 3) of the stance frame in the court frame."""
        cos, sin = stance[:, None, 2].cos(), stance[:, None, 2].sin()
        x, y, z = value.unbind(-1)
        return torch.stack((cos * x - sin * y, sin * x + cos * y, z), dim=-1)
