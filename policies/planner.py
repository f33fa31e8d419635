"""From a ball's state to a strike goal: where, when and how the racket shall meet the ball.

The planner weighs every moment at which the ball passes, every family of strokes and some ways to return the ball: the
racket that each asks for comes from a network that has learned the inverse of string bed and flight
(`policies.train_aim`), and what it is worth from one that has seen what becomes of such strokes in simulation
(`policies.train_worth`).
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from humanoid.racket import RACKET
from policies.perceptron import load
from policies.steps import StepSet
from policies.strokes import GOAL_SIZE, StrokeSet
from sim.ball import GRAVITY, BallParams, BallState
from sim.predict import predict
from sim.stringbed import Racket

AIM_INPUTS, AIM_OUTPUTS = 15, 6
"""Ball at the meeting point: position, velocity, spin / 100; target x, y; clearance; 30 · drag per metre; topspin / 60;
face. To: velocity and normal of the racket. All in the court frame, m, m/s, rad/s, 1/m."""
WORTH_INPUTS, WORTH_OUTPUTS = GOAL_SIZE + 3 + 4, 3
"""Scaled goal, the ball's velocity in the stance frame, aim x, y and clearance, face. To: log odds that the ball comes
back into the court, that it lands near where it was aimed, and that the robot falls."""
COARSE = 0.4
"""Integration step of the ball's flight, s."""
NOWHERE = -1e4
"""Worth of what cannot be."""


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
        margin: a ball that passes every family's range farther than this is let go, m.
        lead: shortest time in which a stroke can still be begun, s.
        patience: cost of moving the time of a stroke that has begun, 1/s².
        freeze: in the last moments the goal stays as it is, s.
        clearances: heights of the return's centre over the net cord to choose from, m. topspin: of the return, rad/s.
        shortest, deepest, widest: the ball is aimed between these distances behind the net, and no nearer to the
            side lines, x and |y|, m.
        safe: or, where a target asks for too much, as deep as this at most and half as wide, m.
        roll: spin of a ball after its bounce, as a share of that of one that rolls.
        near, fall: what landing near the target and falling are worth beside a ball in the court.
        strain: largest distance of a goal from those a family was learned from (Mahalanobis); a goal beyond is
            drawn in: the ball is met all the same, and flies where it will. ease, strain_cost: what the square of the
            distance costs beyond `ease`: strokes far from the known ones pass their goals by.
        settle: a stroke begins no sooner than so long after a step, s; below zero the two overlap.
        least: a stroke that is worth no more than this is not played, and the ball let go.
        gain, least_turn: worth that a step must bring, and turn from the net, rad, that is worth a step.
        stride: longest way of a step ahead or back, and aside, m. stride_cost: of a step's way squared, 1/m².
        home: where the robot starts from, x, y, court frame, m. home_cost: what standing off it costs, 1/m².
    """

    horizon: float = 1.9
    margin: float = 0.06
    lead: float = 0.64
    patience: float = 1000.0
    freeze: float = 0.05
    clearances: tuple[float, ...] = (2.3, 3.3)
    topspin: float = -60.0
    shortest: float = 4.0
    deepest: float = 9.5
    widest: float = 2.6
    safe: float = 6.0
    roll: float = 1.0
    near: float = 1.5
    fall: float = 4.0
    strain: float = 3.4
    ease: float = 2.5
    strain_cost: float = 0.15
    settle: float = -0.1
    least: float = -1.0
    gain: float = 0.2
    least_turn: float = 0.2
    stride: tuple[float, float] = (0.06, 0.22)
    stride_cost: float = 5.0
    home: tuple[float, float] = (-11.9, 0.0)
    home_cost: tuple[float, float] = (3.0, 6.0)


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
    strike, position, velocity, spin (N, 3), court frame, the step to take first, x, y, turn, (N, 3), stance
    frame: zero where none would help or none is in time, the way of return, (N,) int, where it is aimed, (N, 2), and
    what the planner thinks it is worth, (N,)."""

    goal: StrikeGoal
    stroke: Tensor
    feasible: Tensor
    ball: BallState
    way: Tensor
    option: Tensor
    aim: Tensor
    worth: Tensor


class Planner:
    """Chooses meeting point, stroke and way of return: those that are worth most; see the module.

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
        self.horizon = config.horizon + 0.04
        if steps is not None:
            # Some moments beyond the last in which a step and a stroke are in time.
            self.horizon = max(config.horizon, config.lead + steps.duration + config.settle + 0.24)
        self.params = params or BallParams()
        self.racket = racket_body()
        self.aim = load("aim", (AIM_INPUTS, AIM_OUTPUTS))
        self.judge = load("worth", (WORTH_INPUTS, WORTH_OUTPUTS))
        self.clearance = torch.tensor(config.clearances).repeat(2)
        """Of the ways of return: with the given target, then with the safe one."""
        ways = torch.tensor(
            [[0.0, y] for y in (-1.0, -0.6, -0.3, 0.3, 0.6, 1.0)]
            + [[x, y] for x in (-1.0, 1.0) for y in (-0.5, 0.0, 0.5)]
        )
        self.ways = ways * torch.tensor(config.stride)

    def planted(self) -> Planner:
        """The same planner for a robot that takes no steps."""
        other = copy(self)
        other.steps = None
        return other

    def to(self, device: torch.device | str) -> Planner:
        """The same planner with its constants on a device."""
        moved = copy(self)
        moved.strokes = self.strokes.to(device)
        moved.steps = None if self.steps is None else self.steps.to(device)
        moved.racket = replace(
            self.racket, com=self.racket.com.to(device), inertia=self.racket.inertia.to(device)
        )
        moved.aim, moved.judge = self.aim.to(device), self.judge.to(device)
        moved.clearance, moved.ways = self.clearance.to(device), self.ways.to(device)
        return moved

    def aims(self, target: Tensor) -> Tensor:
        """Where the ball is aimed in each way of return, (N, C, 2), for targets (N, 2)."""
        config = self.config
        x = target[:, 0].clamp(config.shortest, config.deepest)
        y = target[:, 1].clamp(-config.widest, config.widest)
        given = torch.stack((x, y), dim=1)
        safe = torch.stack((x.clamp(max=config.safe), 0.5 * y), dim=1)
        count = len(config.clearances)
        return torch.stack([given] * count + [safe] * count, dim=1)

    def racket_for(
        self,
        pos: Tensor,
        vel: Tensor,
        spin: Tensor,
        aim: Tensor,
        clearance: Tensor,
        drag: Tensor,
        face: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Velocity and face normal (…, 3) of the racket that returns balls so; court frame.

        Args:
            pos, vel, spin: of the balls at the meeting point, (…, 3). aim: (…, 2). clearance, drag, face: (…, 1).
        """
        spare = torch.full_like(face, self.config.topspin / 60.0)
        given = torch.cat((pos, vel, spin / 100.0, aim, clearance, 30.0 * drag, spare, face), dim=-1)
        out = self.aim(given)
        return out[..., :3], torch.nn.functional.normalize(out[..., 3:], dim=-1)

    def chances(self, scaled: Tensor, flow: Tensor, aim: Tensor, clearance: Tensor, face: Tensor) -> Tensor:
        """Log odds (…, WORTH_OUTPUTS), see `WORTH_INPUTS`, of (…, GOAL_SIZE), (…, 3), (…, 2), (…, 1) and (…, 1)."""
        given = (scaled, 0.2 * flow, 0.2 * aim, clearance, face)
        return self.judge(torch.cat(given, dim=-1))

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
        busy: Tensor | None = None,
        standing: Tensor | None = None,
        option: Tensor | None = None,
        drag: Tensor | None = None,
        late: Tensor | None = None,
        spin: Tensor | None = None,
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
            busy: time until a stroke could begin, (N,), s; None: at once. standing: until a step could.
            option: way of return of the stroke in progress, (N,) int; None: the first.
            drag: of the ball as far as it is known, (N,), 1/m; None: nominal.
            late: how old the ball's state is, (N,), s; None: of now.
            spin: of a ball that has not bounced, as far as it is known, (N, 3), rad/s; None: none.
        """
        config, strokes = self.config, self.strokes
        n, kinds = ball_pos.shape[0], strokes.num_strokes
        once = torch.zeros_like(begun) if bounced is None else bounced
        busy = torch.zeros_like(time) if busy is None else busy
        standing = busy if standing is None else standing
        option = torch.zeros_like(stroke) if option is None else option
        nominal = self.params.drag_per_metre
        drag = torch.zeros_like(time) + nominal if drag is None else drag
        params = self.params.with_drag_per_metre(drag)
        # A ball that has bounced spins forward, and that bends its path: it rolled off the ground in part.
        rolled = torch.stack((-ball_vel[:, 1], ball_vel[:, 0], torch.zeros_like(time)), dim=1)
        rolled = config.roll / float(self.params.radius) * rolled
        spin = torch.where(once[:, None], rolled, torch.zeros_like(rolled) if spin is None else spin)
        path = predict(BallState(ball_pos, ball_vel, spin), params, self.horizon, 2 * strokes.dt, COARSE)
        step = 2 * strokes.dt
        when = path.time - (torch.zeros_like(time) if late is None else late)[:, None]
        first = torch.where(once, torch.full_like(time, -1.0), path.bounce_time)
        last = torch.where(once, path.bounce_time, path.second_bounce_time)
        soonest = torch.where(begun, torch.zeros_like(time), busy + config.lead)
        between = (path.time > first[:, None]) & (path.time < last[:, None])
        window = between & (when >= soonest[:, None])
        spin = torch.where(once[:, None], spin, path.spin_after)
        aims = self.aims(target)
        count = aims.shape[1]
        # Every moment, family and way of return: (N, T, K, C, …).
        shape = (n, when.shape[1], kinds, count)

        def spread(value: Tensor, axis: tuple[int, ...]) -> Tensor:
            """(…, size) with its leading axes at these of `shape`."""
            view = [1, 1, 1, 1]
            for place, length in zip(axis, value.shape[:-1], strict=True):
                view[place] = length
            return value.reshape(*view, value.shape[-1]).expand(*shape, value.shape[-1])

        pos, vel = spread(path.pos, (0, 1)), spread(path.vel, (0, 1))
        face = spread(strokes.face[:, None], (2,))
        aim, clearance = spread(aims, (0, 3)), spread(self.clearance[:, None], (3,))
        speed, normal = self.racket_for(
            pos, vel, spread(spin, (0,)), aim, clearance, spread(drag[:, None], (0,)), face
        )
        local = self._to_stance(path.pos, stance, move=True)
        flow = self._to_stance(path.vel, stance, move=False)
        at = self._to_stance((pos - self.params.radius * normal).flatten(1, 3), stance, move=True)
        goal = torch.cat(
            (
                at.unflatten(1, shape[1:]),
                self._to_stance(speed.flatten(1, 3), stance, move=False).unflatten(1, shape[1:]),
                self._to_stance(normal.flatten(1, 3), stance, move=False).unflatten(1, shape[1:])[..., 1:],
            ),
            dim=-1,
        )
        scaled = (goal - spread(strokes.centre, (2,))) / spread(strokes.scale, (2,))
        beyond = self._beyond(local[:, :, None], strokes.low, strokes.high)
        # Near the target, in as far as the ball is aimed there.
        close = torch.exp(-((aims - target[:, None]).square().sum(-1)) / 4.0)[:, None, None]
        seen = spread(flow, (0, 1))
        worth = self._worth(scaled, seen, aim, clearance, face, beyond[..., None], close)
        slip = config.patience * (when - time[:, None]) ** 2
        worth = worth - torch.where(begun[:, None], slip, torch.zeros_like(slip))[:, :, None, None]
        which = torch.arange(kinds * count, device=ball_pos.device).reshape(kinds, count)
        own = (which == (stroke * count + option)[:, None, None])[:, None]
        possible = window[:, :, None, None] & (own | ~begun[:, None, None, None])
        worth = torch.where(possible, worth, torch.full_like(worth, NOWHERE))
        best, place = worth.flatten(1).max(dim=1)
        index, kind, way_out = place // (kinds * count), place // count % kinds, place % count
        # Between the path's points, on the parabola through three of them.
        row = worth.flatten(2).gather(
            2, (place % (kinds * count))[:, None, None].expand(-1, when.shape[1], 1)
        )[..., 0]
        around = [row.gather(1, (index + k).clamp(0, when.shape[1] - 1)[:, None])[:, 0] for k in (-1, 0, 1)]
        bend = (2 * around[1] - around[0] - around[2]).clamp(min=1e-5)
        later = (0.5 * step * (around[2] - around[0]) / bend).clamp(-0.5 * step, 0.5 * step)
        inside = (around[0] > 0.5 * NOWHERE) & (around[2] > 0.5 * NOWHERE)
        later = torch.where(inside, later, torch.zeros_like(later))
        pick = index[:, None, None].expand(-1, 1, 3)
        pos, vel = path.pos.gather(1, pick)[:, 0], path.vel.gather(1, pick)[:, 0]
        fall = torch.zeros_like(pos)
        fall[:, 2] = GRAVITY
        pos = pos + vel * later[:, None] - 0.5 * fall * later[:, None] ** 2
        vel = vel - fall * later[:, None]
        chosen = torch.where(begun, stroke, kind)
        way_out = torch.where(begun, option, way_out)
        aim = aims.gather(1, way_out[:, None, None].expand(-1, 1, 2))[:, 0]
        speed, normal = self.racket_for(
            pos,
            vel,
            spin,
            aim,
            self.clearance[way_out][:, None],
            drag[:, None],
            strokes.face[chosen][:, None],
        )
        goal = StrikeGoal(
            pos - self.params.radius * normal, speed, normal, when.gather(1, index[:, None])[:, 0] + later
        )
        passes = beyond.flatten(1).gather(1, (index * kinds + chosen)[:, None])[:, 0]
        enough = torch.where(begun, 0.5 * NOWHERE, config.least)
        feasible = (best > enough) & (passes < config.margin)
        way = self._way(scaled, seen, aim_rows=(aims, self.clearance), local=local, when=when, window=window,
                        stance=stance, busy=standing, best=best, close=close)  # fmt: skip
        return Plan(goal, chosen, feasible, BallState(pos, vel, spin), way, way_out, aim, best)

    def _worth(
        self,
        scaled: Tensor,
        flow: Tensor,
        aim: Tensor,
        clearance: Tensor,
        face: Tensor,
        beyond: Tensor,
        close: Tensor,
    ) -> Tensor:
        """What strokes are worth, (N, T, K, C); `beyond` their families' range, m."""
        config, strokes = self.config, self.strokes
        chance = torch.sigmoid(self.chances(scaled, flow, aim, clearance, face))
        strain = torch.einsum("ntkci,kij,ntkcj->ntkc", scaled, strokes.spread, scaled)
        worth = chance[..., 0] + config.near * close * chance[..., 1] - config.fall * chance[..., 2]
        worth = worth - config.strain_cost * (strain - config.ease**2).clamp(min=0.0)
        return worth - (beyond / 0.05) ** 2

    def _way(self, scaled, flow, aim_rows, local, when, window, stance, busy, best, close) -> Tensor:
        """The step that makes the stroke after it worth most, (N, 3), or zero: none brings enough."""
        if self.steps is None:
            return torch.zeros_like(local[:, 0])
        config, strokes, ways = self.config, self.strokes, self.ways
        # A coarser look than for the stroke itself: every other moment, the higher flight to each aim.
        aims, clearance = aim_rows
        every = len(config.clearances)
        aims, clearance, close = (
            aims[:, every - 1 :: every],
            clearance[every - 1 :: every],
            close[..., every - 1 :: every],
        )
        scaled, flow = (value[:, ::2, :, every - 1 :: every] for value in (scaled, flow))
        local, when, window = local[:, ::2], when[:, ::2], window[:, ::2]
        after = window & (when >= (busy + config.lead + self.steps.duration + config.settle)[:, None])
        # All ways at once: (N, W, T, K, C, …), the first two axes as one for the networks.
        count, moments, kinds, every = len(ways), when.shape[1], strokes.num_strokes, aims.shape[1]
        moved = torch.cat((ways, ways.new_zeros(count, GOAL_SIZE - 2)), dim=1)
        shifted = scaled[:, None] - (moved[:, None] / strokes.scale)[None, :, None, :, None]
        place = local[:, None] - torch.cat((ways, ways.new_zeros(count, 1)), dim=1)[:, None]
        beyond = self._beyond(place[..., None, :], strokes.low, strokes.high)[..., None]

        none = torch.zeros_like(scaled[..., :1])

        def spread(value: Tensor) -> Tensor:
            """The same for all ways."""
            full = value[:, None].expand(-1, count, moments, kinds, every, value.shape[-1])
            return full.flatten(0, 1)

        worth = self._worth(
            shifted.flatten(0, 1),
            spread(flow),
            spread(aims[:, None, None]),
            spread(none + clearance[:, None]),
            spread(none + strokes.face[:, None, None]),
            beyond.flatten(0, 1),
            spread(close[..., None])[..., 0],
        ).reshape(-1, count, moments, kinds, every)
        worth = torch.where(after[:, None, :, None, None], worth, torch.full_like(worth, NOWHERE))
        heading = stance[:, 2]
        cos, sin = heading.cos()[:, None], heading.sin()[:, None]
        x, y = ways.unbind(1)
        there = stance[:, None, :2] + torch.stack((cos * x - sin * y, sin * x + cos * y), dim=-1)
        value = worth.flatten(2).amax(dim=2) - config.gain - config.stride_cost * ways.square().sum(1)
        most, index = (value - self._off_home(there)).max(dim=1)
        better = most > best - self._off_home(stance[:, :2])
        way = torch.where(better[:, None], ways[index], torch.zeros_like(local[:, 0, :2]))
        turn = (-heading).clamp(-self.steps.longest[2], self.steps.longest[2])
        better = (way != 0).any(dim=1) | ((heading.abs() > config.least_turn) & after.any(dim=1))
        way = torch.cat((way, turn[:, None]), dim=1)
        return torch.where(better[:, None], way, torch.zeros_like(way))

    def _off_home(self, place: Tensor) -> Tensor:
        """What standing at places (…, 2) costs, (…)."""
        off = place - place.new_tensor(self.config.home)
        return (off.square() * place.new_tensor(self.config.home_cost)).sum(-1)

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
