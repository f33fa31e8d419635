"""Does a ball ever pass through a racket? Random shots at a swung racket, judged by a second, slower geometry.

``python -m sim.ball_trials`` plays a million and prints the counts; docs/ball.md quotes them.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sim.ball import RPM, BallParams, BallState
from sim.ball_sim import BallSim, RacketPose
from sim.stringbed import SEMI_LONG, SEMI_SHORT, apply, rotation_matrix
from sim.sweep import pose_at, rotation_vector, turned

BALL_SPEED, RACKET_SPEED, RACKET_RATE = 80.0, 40.0, 60.0
"""Largest speeds of ball and string bed's centre, m/s, and of the racket's rotation, rad/s."""
TOLERANCE = 0.003
"""Between a sure hit and a sure miss lie 3 mm on each side: the simulation's distance from the rim is good to a
millimetre, and the second geometry samples the way every few millimetres."""
SAMPLES = 240
DT = 0.005


@dataclass(frozen=True)
class Verdict:
    """Counts of shots.

    Attributes:
        shots: all. sure_hits, sure_misses: those that the second geometry is sure of.
        edge_on: of the sure hits, those that came in the string plane within 10 degrees, at the thin edge.
        tunnelled: sure hits that the simulation did not see. phantom: sure misses that it hit.
        not_finite: states after the step that are not finite.
    """

    shots: int
    sure_hits: int
    sure_misses: int
    edge_on: int
    tunnelled: int
    phantom: int
    not_finite: int

    def __add__(self, other: Verdict) -> Verdict:
        mine, theirs = vars(self), vars(other)
        return Verdict(**{name: mine[name] + theirs[name] for name in mine})


def random_shots(n: int, generator: torch.Generator) -> tuple[BallState, RacketPose, RacketPose]:
    """Balls (n,) and the racket's poses at the start and the end of a step `DT`, float64.

    Half of the balls come from any direction at a point of the face or up to 6 cm outside it, half in the string
    plane at a point of the rim. They get there at any time of the step.
    """
    f64 = torch.float64

    def unit(k: int) -> Tensor:
        v = torch.randn(n, k, generator=generator, dtype=f64)
        return v / v.norm(dim=-1, keepdim=True)

    def upto(limit: float) -> Tensor:
        return limit * torch.rand(n, 1, generator=generator, dtype=f64)

    rot0 = rotation_matrix(unit(4))
    half = upto(RACKET_RATE * DT) / 2
    rot1 = rotation_matrix(torch.cat((half.cos(), half.sin() * unit(3)), dim=-1)) @ rot0
    pos0 = torch.tensor([-11.0, 0.0, 1.5], dtype=f64).repeat(n, 1)
    shift, turn = unit(3) * upto(RACKET_SPEED) * DT, rotation_vector(rot0, rot1)
    angle, out = upto(2 * math.pi), upto(1.0).sqrt()
    edge = torch.rand(n, 1, generator=generator) < 0.5
    out = torch.where(edge, 1.0, 1.4 * out)
    flat = torch.zeros(n, 1, dtype=f64)
    rim = torch.cat((SEMI_LONG * angle.cos(), SEMI_SHORT * angle.sin(), flat), dim=-1)
    inward = -rim / rim.norm(dim=-1, keepdim=True)
    when = torch.rand(n, generator=generator, dtype=f64)
    centre, rot = pose_at((pos0, rot0, shift, turn), when)
    point = centre + apply(rot, out * rim)
    # The racket's own velocity there, then the ball's beside it.
    there = shift / DT + torch.linalg.cross(turn / DT, apply(rot, out * rim))
    inward = inward + 0.1 * unit(3)
    along = apply(rot, inward / inward.norm(dim=-1, keepdim=True)) * (5 + upto(BALL_SPEED))
    vel = torch.where(edge, there + along, unit(3) * upto(BALL_SPEED))
    vel = vel * (BALL_SPEED / vel.norm(dim=-1, keepdim=True)).clamp(max=1.0)
    spin = unit(3) * upto(5000 * RPM)
    start = point - vel * (when * DT).unsqueeze(-1)
    return BallState(start, vel, spin), RacketPose(pos0, rot0), RacketPose(pos0 + shift, rot1)


def distance_from_disc(local: Tensor) -> Tensor:
    """Distance (...,) of points (..., 3) in the racket frame from the elliptic disc, m.

    The foot on the rim is found by Newton's method in the ellipse's angle, from the best of eight starts: good to
    micrometres, and nothing in common with how `sim.sweep` measures.
    """
    x, y, z = local[..., 0].abs(), local[..., 1].abs(), local[..., 2]
    angles = torch.linspace(0, math.pi / 2, 8, dtype=local.dtype)
    best = torch.zeros_like(x)
    least = torch.full_like(x, math.inf)
    for angle in angles.tolist():
        gap = (x - SEMI_LONG * math.cos(angle)) ** 2 + (y - SEMI_SHORT * math.sin(angle)) ** 2
        best = torch.where(gap < least, angle, best)
        least = torch.minimum(gap, least)
    squares = SEMI_LONG**2 - SEMI_SHORT**2
    for _ in range(4):
        c, s = best.cos(), best.sin()
        slope = squares * c * s - SEMI_LONG * x * s + SEMI_SHORT * y * c
        bend = squares * (c * c - s * s) - SEMI_LONG * x * c - SEMI_SHORT * y * s
        best = (best - slope / bend.clamp(max=-1e-6)).clamp(0.0, math.pi / 2)
    rim = torch.hypot(x - SEMI_LONG * best.cos(), y - SEMI_SHORT * best.sin())
    inside = (x / SEMI_LONG) ** 2 + (y / SEMI_SHORT) ** 2 < 1
    return torch.where(inside, z.abs(), torch.hypot(rim, z))


def judge(n: int, seed: int, dtype: torch.dtype = torch.float64) -> Verdict:
    """Play `n` random shots for one step and compare with the second geometry."""
    ball, first, last = random_shots(n, torch.Generator().manual_seed(seed))
    params = BallParams()
    sim = BallSim(n, params, dtype=dtype)
    sim.reset(torch.arange(n), ball.pos, ball.vel, ball.spin)
    poses = (RacketPose(pose.pos.to(dtype), pose.rot.to(dtype)) for pose in (first, last))
    hit = sim.step(DT, *poses).hit
    least = torch.full((n,), math.inf, dtype=torch.float64)
    begin = least
    turn = rotation_vector(first.rot, last.rot)
    for k in range(SAMPLES + 1):
        s = k / SAMPLES
        way = ball.pos + s * DT * ball.vel - first.pos - s * (last.pos - first.pos)
        near = ((way * way).sum(-1) < (SEMI_LONG + 0.05) ** 2).nonzero().squeeze(1)
        local = apply(first.rot[near].transpose(-1, -2), turned(way[near], -s * turn[near]))
        distance = torch.full_like(least, math.inf)
        distance[near] = distance_from_disc(local)
        least = torch.minimum(least, distance)
        begin = distance if k == 0 else begin
    radius = float(params.radius)
    outside = begin > radius + 1e-3
    sure, never = outside & (least < radius - TOLERANCE), outside & (least > radius + TOLERANCE)
    middle = (last.rot[..., 2] + first.rot[..., 2]) / 2
    relative = ball.vel - (last.pos - first.pos) / DT
    sine = (relative * middle).sum(-1).abs() / relative.norm(dim=-1)
    finite = torch.isfinite(torch.cat((sim.state.pos, sim.state.vel, sim.state.spin), dim=-1)).all(dim=-1)
    return Verdict(
        shots=n,
        sure_hits=int(sure.sum()),
        sure_misses=int(never.sum()),
        edge_on=int((sure & (sine < math.sin(math.radians(10)))).sum()),
        tunnelled=int((sure & ~hit).sum()),
        phantom=int((never & hit).sum()),
        not_finite=int((~finite).sum()) + int(sim.recovered.not_finite.sum()),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Random shots at a swung racket: does any ball pass through?"
    )
    parser.add_argument("--shots", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--float32", action="store_true", help="as training runs; default float64")
    options = parser.parse_args()
    chunk = 10_000
    total = Verdict(0, 0, 0, 0, 0, 0, 0)
    dtype = torch.float32 if options.float32 else torch.float64
    for k in range(math.ceil(options.shots / chunk)):
        total += judge(min(chunk, options.shots - k * chunk), options.seed + k, dtype)
    for name, count in vars(total).items():
        print(f"{name:<14}{count:>12,}")


if __name__ == "__main__":
    main()
