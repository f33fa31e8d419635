"""No ball passes through a racket; the second geometry that says so can be trusted."""

import math

import pytest
import torch

from sim import ball_trials
from sim.ball_trials import distance_from_disc, judge, random_shots
from sim.stringbed import SEMI_LONG, SEMI_SHORT

F64 = torch.float64


@pytest.mark.parametrize("dtype", [F64, torch.float32])
def test_no_ball_passes_through_a_swung_racket(dtype):
    """Balls to 80 m/s, rackets to 40 m/s and 60 rad/s, half of the shots at the thin edge."""
    found = judge(30_000, seed=77, dtype=dtype)
    assert found.sure_hits > 15_000
    assert found.edge_on > 8000
    assert found.sure_misses > 1000
    assert found.tunnelled == 0
    assert found.phantom == 0
    assert found.not_finite == 0


def test_a_sweep_that_looks_too_seldom_is_found_out(monkeypatch):
    monkeypatch.setattr("sim.sweep.MIN_SAMPLES", 1)
    monkeypatch.setattr("sim.sweep.MAX_SAMPLES", 2)
    assert judge(1000, seed=0).tunnelled > 10


def test_shots_are_as_fast_as_they_claim():
    ball, first, last = random_shots(4000, torch.Generator().manual_seed(0))
    assert 75 < ball.vel.norm(dim=-1).max() <= 80 + 1e-9
    racket = (last.pos - first.pos).norm(dim=-1) / ball_trials.DT
    assert 38 < racket.max() <= 40 + 1e-9


def test_distance_from_the_disc_is_that_from_a_dense_one():
    g = torch.Generator().manual_seed(3)
    points = (torch.rand(300, 3, generator=g, dtype=F64) * 2 - 1) * torch.tensor([0.22, 0.18, 0.05])
    angle = torch.linspace(0, 2 * math.pi, 4000, dtype=F64)
    rim = torch.stack((SEMI_LONG * angle.cos(), SEMI_SHORT * angle.sin(), torch.zeros_like(angle)), dim=-1)
    inside = (points[:, 0] / SEMI_LONG) ** 2 + (points[:, 1] / SEMI_SHORT) ** 2 < 1
    expected = torch.where(inside, points[:, 2].abs(), torch.cdist(points, rim).min(dim=1).values)
    torch.testing.assert_close(distance_from_disc(points), expected, rtol=0, atol=1e-5)
