"""The player's ball: what is exact stays so, what is noisy is filtered, and a flight tells drag and spin."""

import pytest
import torch

from policies.ball_filter import MEMORY, BallFilter
from sim.ball import BallParams
from sim.ball_sim import BallSim
from sim.observation_noise import BallTracker

DT = 0.02


def watch(pos, vel, spin=None, params=None, noise=0.0, steps=60):
    """Balls that fly, as a filter sees them.

    Returns:
        The filter's memory at the end, its positions, velocities, spins and whether it thought them exact, and the
        true and shown velocities, each (steps, N, …), and whether they had bounced.
    """
    n = len(pos)
    spin = torch.zeros(n, 3) if spin is None else spin
    balls = BallSim(n)
    balls.set_params((params or BallParams()).expand(n))
    balls.reset(torch.arange(n), pos, vel, spin)
    tracker = BallTracker(n, DT)
    generator = torch.Generator().manual_seed(0)
    filtered, m = BallFilter(BallParams(), DT), {key: torch.zeros(n, size) for key, size in MEMORY.items()}
    bounced, falling = torch.zeros(n, 1).bool(), torch.zeros(n, 1).bool()
    rows = []
    for _ in range(steps):
        state = balls.state
        shown, speed = state.pos.clone(), state.vel.clone()
        if noise:
            seen = state.pos + noise * torch.randn(n, 3, generator=generator)
            tracker.update(seen, torch.ones(n).bool())
            shown, speed = tracker.pos, tracker.vel
        found = filtered.update(shown, speed, torch.ones(n, 1).bool(), bounced, m)
        rows.append((*found, state.vel.clone(), speed.clone(), bounced.clone()))
        near = found[0][:, :1] < 0
        bounced = near & (bounced | (falling & (found[1][:, 2:] > 0.3)))
        falling = found[1][:, 2:] < -0.3
        for _ in range(4):
            balls.step(DT / 4)
    return m, *(torch.stack(column) for column in zip(*rows, strict=True))


def feeds(n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Balls that bounce some metres before the baseline after a second and a half."""
    pos = torch.tensor([9.5, 0.0, 1.5]).repeat(n, 1)
    vel = torch.stack((torch.linspace(-13.5, -12.5, n), torch.zeros(n), torch.linspace(4.5, 5.5, n)), dim=1)
    return pos, vel


def test_exact_observations_are_taken_as_they_are():
    _, _, vel, _, exact, true, _, _ = watch(*feeds(), steps=130)
    torch.testing.assert_close(vel, true)
    assert exact.all()


def test_noisy_observations_are_filtered_and_known_to_be_noisy():
    _, _, vel, _, exact, true, shown, bounced = watch(*feeds(), noise=0.01, steps=130)
    assert not exact[10:].any()
    # A third of a second after the bounce.
    late = bounced[..., 0].long().cumsum(0) == 17
    assert late.any(0).float().mean() > 0.9
    own, tracked = ((v - true).norm(dim=2)[late].median() for v in (vel, shown))
    assert own < 0.5 * tracked
    assert own < 0.13


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_a_flight_tells_the_drag(noise):
    drag = torch.linspace(0.01, 0.04, 40)
    m, *_ = watch(*feeds(), params=BallParams().with_drag_per_metre(drag), noise=noise, steps=55)
    assert (m["drag"][:, 0] - drag).abs().median() < 0.003


def test_a_flight_tells_the_spin():
    n = 40
    spin = torch.stack((torch.zeros(n), torch.linspace(-150, 150, n), torch.linspace(60, -60, n)), dim=1)
    m, *_ = watch(*feeds(n), spin=spin, steps=40)
    # Spin about the line of flight does nothing and stays unknown; what is left is found, with its side.
    assert (m["spin"] - spin).norm(dim=1).median() < 0.15 * spin.norm(dim=1).median()


def test_the_next_ball_is_another_ball():
    """It comes from afar at once, and nothing of what was learned is its own."""
    pos, vel = feeds(3)
    filtered, m = BallFilter(BallParams(), DT), {key: torch.zeros(3, size) for key, size in MEMORY.items()}
    yes, no = torch.ones(3, 1).bool(), torch.zeros(3, 1).bool()
    for step in range(30):
        filtered.update(pos + step * DT * vel, vel * (1 - 0.01 * step), yes, no, m)
    assert (m["drag"] > 0.025).all()
    filtered.update(pos, vel, yes, no, m)
    assert torch.allclose(m["drag"], torch.full((3, 1), float(BallParams().drag_per_metre)))
    assert (m["spin"] == 0).all()
    assert (m["flown"] == 0).all()


def test_without_a_ball_everything_stays_finite():
    filtered, m = BallFilter(BallParams(), DT), {key: torch.zeros(2, size) for key, size in MEMORY.items()}
    no = torch.zeros(2, 1).bool()
    for _ in range(5):
        found = filtered.update(torch.zeros(2, 3), torch.zeros(2, 3), no, no, m)
    for value in (*found, *m.values()):
        assert value.isfinite().all()
