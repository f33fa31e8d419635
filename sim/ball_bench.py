"""How fast the ball simulation is."""

from __future__ import annotations

import time

import torch

from sim.ball_sim import BallSim, RacketPose
from sim.launcher import Launcher


def benchmark_ball(batch: int = 16384, steps: int = 200, dt: float = 0.005, rackets: bool = True) -> float:
    """Ball steps per second of `BallSim` in play, on the threads torch is set to.

    The balls are rally launches released over one flight's time, so that at any step a fair share of them
    bounces, passes the net or comes near the racket that stands at the player's place.

    Args:
        batch: balls at once.
        steps: steps timed.
        dt: step, s.
        rackets: whether rackets are looked for.

    Returns:
        batch × steps / wall time.
    """
    table = Launcher("rally").draw(64, torch.Generator().manual_seed(0))
    ids = torch.arange(batch)
    sim = BallSim(batch)
    centre = torch.tensor([-11.5, 0.0, 0.95]).repeat(batch, 1)
    still = RacketPose(centre, torch.eye(3).repeat(batch, 1, 1))
    pose = still if rackets else None
    phases = 8
    spacing = round(2.0 / dt / phases)
    for phase in range(phases):
        group = ids[ids % phases == phase]
        launch = table.at(group % len(table))
        sim.reset(group, launch.pos, launch.vel, launch.spin)
        for _ in range(spacing if phase < phases - 1 else 5):
            sim.step(dt, pose, pose)
    began = time.perf_counter()
    for _ in range(steps):
        sim.step(dt, pose, pose)
    return batch * steps / (time.perf_counter() - began)
