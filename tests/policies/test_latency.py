"""What strikes tell of the age of the ball's pictures."""

import torch

from policies.latency import MEMORY, LatencyConfig, LatencyEstimator
from sim.ball import GRAVITY, BallParams

DT = 0.02
BALL_RADIUS = float(BallParams().radius)


def strikes(age: torch.Tensor, count: int, miss: bool = False, seed: int = 0) -> torch.Tensor:
    """Expected ages after each of `count` strikes at balls whose pictures are `age` (N,) old, (count, N), s.

    Ball and racket are simulated on their own: a ball on a parabola, a racket that swings past the planned place at 8
    m/s.
    """
    generator = torch.Generator().manual_seed(seed)
    n = len(age)
    estimator = LatencyEstimator(DT, BALL_RADIUS)
    m = {name: torch.zeros(n, size) for name, size in MEMORY.items()}
    normal = torch.tensor([0.8, 0.0, 0.6]).expand(n, 3)
    place, swing = torch.zeros(n, 3), 8.0 * normal
    gravity = torch.tensor([0.0, 0.0, -GRAVITY])
    means = []

    def ball(t: torch.Tensor, late: torch.Tensor, vel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """True ball at a time from the planned strike on."""
        own = (t + late)[:, None]
        return place + BALL_RADIUS * normal + own * vel + 0.5 * own**2 * gravity, vel + own * gravity

    for _ in range(count):
        # The plan is off by as much as the pictures' age is not known, and strikes fall between control steps.
        early = DT * (torch.rand(n, generator=generator) - 0.5)
        vel = torch.tensor([-5.0, 0.5, 1.0]) + torch.randn(n, 3, generator=generator) * 0.5
        late = estimator.mean(m) - age
        # First contact on a fine grid of times.
        grid = torch.linspace(-0.06, 0.06, 1201)
        gaps = torch.stack(
            [((ball(t.expand(n), late, vel)[0] - t * swing - place) * normal).sum(1) for t in grid]
        )
        met = grid[(gaps < BALL_RADIUS).float().argmax(0)]
        for k in range(-8, 9):
            left = -(k * DT + early)[:, None]
            now = k * DT + early
            pos, velocity = ball(now - age, late, vel)
            struck = torch.zeros(n, dtype=torch.bool) if miss else now - DT * torch.floor(age / DT) >= met
            estimator.update(
                pos, velocity, ~struck[:, None], torch.zeros(n, 1, dtype=torch.bool), left > -0.5 * DT, left,
                (place, swing, normal), m,
            )  # fmt: skip
        means.append(estimator.mean(m))
    return torch.stack(means)


def test_without_strikes_the_middle_of_the_range_is_expected():
    estimator = LatencyEstimator(DT, BALL_RADIUS)
    mean = estimator.mean({name: torch.zeros(3, size) for name, size in MEMORY.items()})
    torch.testing.assert_close(mean, torch.full((3,), LatencyConfig().longest / 2))


def test_strikes_tell_the_age():
    age = torch.linspace(0.001, 0.049, 97)
    means = strikes(age, 8)
    error = (means - age).square().mean(1).sqrt()
    assert error[0] < 0.012
    assert error[-1] < 0.005
    assert (means[-1] - age).mean().abs() < 0.002


def test_a_ball_that_is_missed_tells_nothing():
    age = torch.linspace(0.001, 0.049, 10)
    torch.testing.assert_close(strikes(age, 2, miss=True), torch.full((2, 10), LatencyConfig().longest / 2))


def test_odds_stay_finite():
    """Whatever the ball does: a robot may not lose its player for a tracker's nonsense."""
    estimator = LatencyEstimator(DT, BALL_RADIUS)
    m = {name: torch.zeros(1, size) for name, size in MEMORY.items()}
    yes, no = torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 1, dtype=torch.bool)
    goal = (torch.zeros(1, 3), torch.ones(1, 3), torch.tensor([[1.0, 0.0, 0.0]]))
    ball = torch.full((1, 3), 1e6)
    for k in range(6):
        left = torch.tensor([[0.05 - DT * k]])
        estimator.update(ball, ball, yes if k < 3 else no, no, yes, left, goal, m)
    assert torch.isfinite(m["age_odds"]).all()
