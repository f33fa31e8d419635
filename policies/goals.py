"""Strike goals to train on: what the planner asks for when it begins a stroke, ball by ball."""

from __future__ import annotations

import torch
from torch import Tensor

from policies.goal_pool import GoalPool
from policies.player import Player
from sim.ball_sim import BallSim
from sim.launcher import Launcher, LauncherConfig

CHUNK = 256
"""Balls that are planned for at a time."""


class GoalError(ValueError):
    """No goals to train on. The message says what to change."""


def draw_goals(
    player: Player,
    level: str,
    count: int,
    generator: torch.Generator,
    start: tuple[float, float] = (-11.9, 0.0),
    target_x: tuple[float, float] = (4.0, 10.5),
    target_y: tuple[float, float] = (-3.0, 3.0),
    shift: tuple[float, float] = (0.0, 0.0),
) -> GoalPool:
    """Launch `count` balls and record the goal of each ball's stroke when it begins.

    Args:
        player: its planner and strokes.
        level: launch level.
        count: balls; those the planner lets go give no goal.
        generator: source of randomness, on the CPU, as are the player and the goals: a seed means the same anywhere.
        start: stance, m. target_x, target_y: ranges of landing targets, m.
        shift: the robot stands up to so far from the stance that the balls are meant for, ahead or behind and to
            either side, m. Returns of goals drawn so are judged as if from the stance itself.

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
    stance = torch.tensor([*start, 0.0]).repeat(count, 1)
    if any(shift):
        stance[:, :2] += (2 * torch.rand(count, 2, generator=generator) - 1) * torch.tensor(shift)
    planner = player.planner.planted()
    nothing = torch.zeros(count)
    strike_s = player.strokes.strike.float() * player.dt
    begun = torch.zeros(count, dtype=torch.bool)
    out: dict[str, list[Tensor]] = {}
    origin = torch.cat((stance[:, :2], torch.zeros(count, 1)), dim=1)
    idle = torch.zeros(count, dtype=torch.bool)
    bounced, falling, passed = idle.clone(), idle.clone(), idle.clone()
    for _ in range(200):
        # As the player sees it: on the own side, falling before and rising now.
        near, rising = balls.state.pos[:, 0] < 0, balls.state.vel[:, 2] > 0.3
        bounced = near & (bounced | (falling & rising))
        falling = balls.state.vel[:, 2] < -0.3
        # A few at a time, so that what is weighed fits into the cache.
        for waiting in (~begun & ~passed).nonzero().squeeze(1).split(CHUNK):
            some = nothing[waiting]
            ball = balls.state.at(waiting)
            plan = planner.plan(
                ball.pos, ball.vel, target[waiting], stance[waiting], some.long(), some, idle[waiting],
                bounced[waiting],
            )  # fmt: skip
            fresh = plan.feasible & (plan.goal.time <= strike_s[plan.stroke])
            rows, ids = fresh.nonzero().squeeze(1), waiting[fresh]
            goal, ball = plan.goal, plan.ball
            found = {
                "stroke": plan.stroke[rows],
                # Looked at every 0.04 s; a player, which looks twice as often, would have begun in time.
                "time": torch.maximum(goal.time, strike_s[plan.stroke] - player.dt)[rows],
                "pos": goal.pos[rows] - origin[ids],
                "vel": goal.vel[rows],
                "normal": goal.normal[rows],
                "ball_pos": ball.pos[rows] - origin[ids],
                "ball_vel": ball.vel[rows],
                "ball_spin": ball.spin[rows],
                "clearance": planner.clearance[plan.option[rows]],
                "aim": plan.aim[rows] - torch.tensor([0.0, start[1]]),
            }
            for key, value in found.items():
                out.setdefault(key, []).append(value)
            begun[ids] = True
        passed = balls.state.pos[:, 0] < start[0] - 1.0
        if bool((begun | passed).all()):
            break
        for _ in range(8):
            balls.step(0.005)
    if not begun.any():
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
