"""Predictions against the stepped simulation."""

import pytest
import torch

from sim.ball import BallParams, BallState
from sim.ball_sim import BallSim
from sim.predict import predict

F64 = torch.float64


def incoming(n, seed=0, dtype=F64):
    """Balls over the near court (past the net) on their way to the player."""
    g = torch.Generator().manual_seed(seed)

    def uniform(*bounds):
        low, high = torch.tensor(bounds, dtype=F64).T
        return low + (high - low) * torch.rand(n, 3, generator=g, dtype=F64)

    pos = uniform((-3, -0.2), (-3, 3), (0.5, 2.5))
    vel = uniform((-30, -8), (-3, 3), (-3, 6))
    spin = torch.randn(n, 3, generator=g, dtype=F64) * 150
    return BallState(pos.to(dtype), vel.to(dtype), spin.to(dtype))


def stepped(state, params, duration, dt=0.0025):
    n = len(state.pos)
    sim = BallSim(n, params, dtype=state.pos.dtype)
    sim.reset(torch.arange(n), state.pos, state.vel, state.spin)
    count = torch.zeros(n)
    first = torch.full((n,), torch.inf, dtype=state.pos.dtype)
    second = first.clone()
    positions = [sim.state.pos.clone()]
    for i in range(round(duration / dt)):
        events = sim.step(dt)
        when = i * dt + events.bounce_time
        first = torch.where(events.bounced & (count == 0), when, first)
        second = torch.where(events.bounced & (count == 1), when, second)
        count += events.bounced
        positions.append(sim.state.pos.clone())
    return torch.stack(positions, dim=1), first, second


@pytest.mark.parametrize(("dtype", "bound"), [(F64, 2e-3), (torch.float32, 3e-3)])
def test_prediction_agrees_with_the_simulation_through_the_bounce(dtype, bound):
    params = BallParams(restitution=torch.linspace(0.71, 0.79, 300)).expand(300, dtype=dtype)
    state = incoming(300, dtype=dtype)
    found = predict(state, params, horizon=1.6, dt=0.02)
    truth, first, second = stepped(state, params, 1.6)
    assert found.pos.shape == (300, 81, 3)
    on_grid = truth[:, ::8]
    until = torch.minimum(second, found.second_bounce_time) - 1e-3
    valid = found.time[None, :] < until[:, None]
    assert valid.float().mean() > 0.5
    assert ((found.pos - on_grid).norm(dim=-1) * valid).max() < bound
    bounces = torch.isfinite(first)
    assert bounces.float().mean() > 0.9
    assert torch.equal(bounces, torch.isfinite(found.bounce_time))
    assert (found.bounce_time - first)[bounces].abs().max() < 1e-3
    both = torch.isfinite(second) & torch.isfinite(found.second_bounce_time)
    assert both.sum() > 100
    assert (found.second_bounce_time - second)[both].abs().max() < 2e-3


def test_velocity_is_the_slope_of_position():
    state = incoming(50)
    found = predict(state, BallParams(), horizon=1.0, dt=0.001)
    slope = (found.pos[:, 2:] - found.pos[:, :-2]) / 0.002
    steps = (found.time[1:-1, None] - found.bounce_time).abs().T > 0.003
    steps &= (found.time[1:-1, None] < found.second_bounce_time - 0.003).T
    assert ((slope - found.vel[:, 1:-1]).norm(dim=-1) * steps).max() < 0.02


def test_the_grid_does_not_change_the_prediction():
    state = incoming(50)
    fine, coarse = (predict(state, BallParams(), 1.6, dt) for dt in (0.01, 0.02))
    torch.testing.assert_close(fine.pos[:, ::2], coarse.pos, rtol=0, atol=1e-9)


def test_a_ball_that_does_not_come_down_has_no_bounce():
    state = BallState(
        *(torch.tensor([v], dtype=F64) for v in ([-5.0, 0.0, 1.0], [-5.0, 0.0, 12.0], [0.0] * 3))
    )
    found = predict(state, BallParams(), horizon=1.0)
    assert torch.isinf(found.bounce_time).all()
    assert torch.isinf(found.second_bounce_time).all()
    assert torch.isfinite(found.pos).all()
    assert found.pos[0, -1, 2] > 5


def test_a_ball_on_or_under_the_ground_gives_numbers():
    """A noisy estimate may put the ball under the court: it bounces at once."""
    state = BallState(
        torch.tensor([[-5.0, 0.0, 0.01], [-5.0, 0.0, 0.0335]]),
        torch.tensor([[-5.0, 0.0, -3.0], [-5.0, 0.0, 4.0]]),
        torch.zeros(2, 3),
    )
    found = predict(state, BallParams(), horizon=1.6)
    assert torch.isfinite(found.pos).all()
    assert found.bounce_time[0].item() == 0.0
    assert found.pos[0, 2, 2] > 0.03
    assert found.bounce_time[1].item() == pytest.approx(2 * 4.0 / 9.81, abs=0.02)


def test_a_ball_that_is_not_a_number_spoils_no_other():
    state = incoming(5)
    clean = predict(state, BallParams())
    spoilt = BallState(state.pos.clone(), state.vel.clone(), state.spin.clone())
    spoilt.vel[2, 0] = torch.nan
    found = predict(spoilt, BallParams())
    others = torch.tensor([0, 1, 3, 4])
    for name in ("pos", "vel", "bounce_time", "second_bounce_time"):
        assert torch.equal(getattr(found, name)[others], getattr(clean, name)[others])
