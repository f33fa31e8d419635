"""Teaches the planner which racket returns a ball: the inverse of string bed and flight, learned by heart.

Balls are launched at all levels, and at moments after their bounce the racket is solved for (`sim.aim.plan_return`, six
trial flights) that sends them to a random target, over the net by a random clearance, through air of random drag. A
network learns the answer: cheap enough to weigh hundreds of moments and ways of return in every control step.

    python -m policies.train_aim        rebuilds assets/planner/aim.npz (about four minutes on one core)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from policies.perceptron import PLANNER_FOLDER, fit, save
from policies.planner import racket_body
from policies.strokes import load_strokes
from sim.aim import plan_return
from sim.ball import BallParams, BallState
from sim.launcher import Launcher, LauncherConfig
from sim.predict import predict

HIDDEN = (128, 96)
START_X = -11.9
"""Where the robot stands, m: balls near there are learned."""
FASTEST = 18.0
"""Rackets that would have to be faster are left out, m/s."""


def meetings(generator: torch.Generator, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Positions, velocities and spins (M, 3) of launched balls between their two bounces, near the baseline."""
    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    for level in ("feed", "rally", "match"):
        table = Launcher(level, LauncherConfig()).draw(count, generator)
        path = predict(BallState(table.pos, table.vel, table.spin), BallParams(), 3.2, 0.04)
        between = (path.time > path.bounce_time[:, None] + 0.05) & (
            path.time < path.second_bounce_time[:, None] - 0.02
        )
        height = path.pos[..., 2]
        near = ((path.pos[..., 0] - START_X).abs() < 1.6) & (height > 0.3) & (height < 1.55)
        ball, moment = (between & near).nonzero(as_tuple=True)
        rows.append((path.pos[ball, moment], path.vel[ball, moment], path.spin_after[ball]))
    pos, vel, spin = (torch.cat(column) for column in zip(*rows, strict=True))
    return pos, vel, spin


def examples(generator: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
    """Inputs and outputs of the network, see `policies.planner.AIM_INPUTS`; those that have an answer."""
    strokes, racket = load_strokes(), racket_body()
    known = meetings(generator, 3000)
    pick = torch.randint(0, len(known[0]), (count,), generator=generator)
    pos, vel, spin = (
        value[pick] + blur * torch.randn(count, 3, generator=generator)
        for value, blur in zip(known, (0.1, 0.5, 10.0), strict=True)
    )
    chance = torch.rand(count, 4, generator=generator)
    target = chance[:, :2] * torch.tensor([7.5, 6.4]) + torch.tensor([3.5, -3.2])
    clearance, drag = 1.0 + 3.0 * chance[:, 2], 0.008 + 0.034 * chance[:, 3]
    topspin = -60 + 50 * torch.randn(count, generator=generator).clamp(-2, 2)
    kind = torch.randint(0, strokes.num_strokes, (count,), generator=generator)
    face = strokes.face[kind]
    strike, aim = plan_return(
        BallState(pos, vel, spin), target, racket, BallParams().with_drag_per_metre(drag), topspin, clearance,
        24.0, strokes.axis[kind], face,
    )  # fmt: skip
    sound = (
        torch.isfinite(strike.vel).all(1)
        & (aim.miss < 0.3)
        & (torch.linalg.vector_norm(strike.vel, dim=1) < FASTEST)
    )
    more = (clearance, 30 * drag, topspin / 60, face)
    x = torch.cat((pos, vel, spin / 100, target, *(value[:, None] for value in more)), dim=1)
    return x[sound], torch.cat((strike.vel, strike.normal), dim=1)[sound]


def main(count: int = 420_000, steps: int = 9000, hidden: tuple[int, ...] = HIDDEN, seed: int = 0) -> None:
    """Rebuild what ships."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    parts = [examples(generator, 60_000) for _ in range(math.ceil(count / 60_000))]
    x, y = (torch.cat(column) for column in zip(*parts, strict=True))
    held = min(5000, len(x) // 10)
    net, scales = fit(x[held:], y[held:], hidden, steps, torch.nn.functional.mse_loss)
    with torch.no_grad():
        off = net((x[:held] - scales[0]) / scales[1]) * scales[3] + scales[2] - y[:held]
    speed, turn = off[:, :3].norm(dim=1), off[:, 3:].norm(dim=1)
    figures = {
        "examples": len(x) - held,
        "velocity_error_m_s": [round(float(speed.quantile(q)), 3) for q in (0.5, 0.95)],
        "normal_error_rad": [round(float(turn.quantile(q)), 4) for q in (0.5, 0.95)],
    }
    print(figures)
    save(
        PLANNER_FOLDER / "aim.npz",
        net,
        scales,
        {"source": "policies.train_aim", "licence": "Apache-2.0", **figures},
    )


if __name__ == "__main__":
    main()
