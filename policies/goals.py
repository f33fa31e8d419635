"""Strike goals to train on: what the planner asks for when it begins a stroke, ball by ball."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from policies.player import Player
from sim.ball_sim import BallSim
from sim.launcher import Launcher, LauncherConfig


class GoalError(ValueError):
    """No goals to train on. The message says what to change."""


@dataclass(frozen=True)
class GoalPool:
    """G strike goals at the moment a stroke is begun, for a robot whose stance is the origin facing +x.

    Attributes:
        stroke: which stroke, (G,) int. time: to the strike, (G,), s.
        pos, vel, normal: the goal, (G, 3), stance frame; x counts from the stance.
        ball_pos, ball_vel, ball_spin: the ball at the strike, (G, 3).
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


def draw_goals(
    player: Player,
    level: str,
    count: int,
    generator: torch.Generator,
    start: tuple[float, float] = (-11.9, 0.0),
    target_x: tuple[float, float] = (4.0, 10.5),
    target_y: tuple[float, float] = (-3.0, 3.0),
) -> GoalPool:
    """Launch `count` balls and record the goal of each ball's stroke when it begins.

    Args:
        player: its planner and strokes.
        level: launch level.
        count: balls; those the planner lets go give no goal.
        generator: source of randomness, on the CPU, as are the player and the goals: a seed means the same anywhere.
        start: stance, m. target_x, target_y: ranges of landing targets, m.

    Raises:
        GoalError: no ball comes within reach of a stroke.
    """
    table = Launcher(level, LauncherConfig(start=start)).draw(count, generator)
    balls = BallSim(count)
    everyone = torch.arange(count)
    balls.set_params(table.params)
    balls.reset(everyone, table.pos, table.vel, table.spin)
    low = torch.tensor([target_x[0], target_y[0]])
    high = torch.tensor([target_x[1], target_y[1]])
    target = low + (high - low) * torch.rand(count, 2, generator=generator)
    stance = torch.tensor([*start, 0.0]).expand(count, 3)
    nothing = torch.zeros(count)
    strike_s = player.strokes.strike.float() * player.dt
    begun = torch.zeros(count, dtype=torch.bool)
    out: dict[str, list[Tensor]] = {}
    origin = torch.tensor([*start, 0.0])
    idle = torch.zeros(count, dtype=torch.bool)
    bounced, falling = idle.clone(), idle.clone()
    for _ in range(200):
        # As the player sees it: on the own side, falling before and rising now.
        near, rising = balls.state.pos[:, 0] < 0, balls.state.vel[:, 2] > 0.3
        bounced = near & (bounced | (falling & rising))
        falling = balls.state.vel[:, 2] < -0.3
        plan = player.planner.plan(
            balls.state.pos, balls.state.vel, target, stance, nothing.long(), nothing, idle, bounced
        )
        fresh = plan.feasible & ~begun & (plan.goal.time <= strike_s[plan.stroke])
        ids = fresh.nonzero().squeeze(1)
        if len(ids):
            goal, ball = plan.goal, plan.ball
            rows = {
                "stroke": plan.stroke[ids],
                "time": goal.time[ids],
                "pos": goal.pos[ids] - origin,
                "vel": goal.vel[ids],
                "normal": goal.normal[ids],
                "ball_pos": ball.pos[ids] - origin,
                "ball_vel": ball.vel[ids],
                "ball_spin": ball.spin[ids],
            }
            for key, value in rows.items():
                out.setdefault(key, []).append(value)
            begun[ids] = True
        passed = balls.state.pos[:, 0] < start[0] - 1.0
        if bool((begun | passed).all()):
            break
        for _ in range(8):
            balls.step(0.005)
    if not out:
        raise GoalError(
            f"none of {count} balls of level {level!r} comes within reach of the strokes "
            f"{', '.join(player.strokes.names)}; launch more balls (goals=) or play more strokes "
            "(player.strokes=)"
        )
    return GoalPool(
        **{key: torch.cat(value) for key, value in out.items()},
        start_x=start[0],
        met=float(begun.float().mean()),
    )
