"""Which returns there are, judged by playing them."""

import itertools

import pytest
import torch

from sim.ball import BallParams, BallState
from sim.ball_sim import BallSim
from sim.court import net_height
from sim.reach import reachable_returns, target_grid
from sim.stringbed import Racket, impact

F64 = torch.float64
RACKET = Racket.from_specs(dtype=F64)
PARAMS = BallParams()


@pytest.fixture(scope="module")
def balls():
    g = torch.Generator().manual_seed(0)

    def uniform(low, high):
        return low + (high - low) * torch.rand(6, generator=g, dtype=F64)

    pos = torch.stack((uniform(-12.5, -9.0), uniform(-2.0, 2.0), uniform(0.5, 1.3)), dim=-1)
    vel = torch.stack((uniform(-15.0, -8.0), uniform(-1.0, 1.0), uniform(-3.0, 2.0)), dim=-1)
    return BallState(pos, vel, torch.randn(6, 3, generator=g, dtype=F64) * 80)


def test_every_return_in_the_set_is_played_over_the_net_to_its_target(balls):
    returns = reachable_returns(balls, RACKET, PARAMS, max_racket_speed=9.0)
    env, goal = returns.feasible.nonzero().unbind(1)
    assert 20 < len(env) < returns.feasible.numel()
    strike = returns.strike
    chosen = [getattr(strike, name)[env, goal] for name in ("normal", "pos", "pos", "rot", "vel")]
    rates = torch.zeros_like(chosen[1])
    out = impact(balls.vel[env], balls.spin[env], *chosen, rates, RACKET, PARAMS)
    sim = BallSim(len(env), PARAMS, dtype=F64)
    sim.reset(torch.arange(len(env)), balls.pos[env], out.vel, out.spin)
    landing = torch.full((len(env), 3), torch.nan, dtype=F64)
    touched = torch.zeros(len(env), dtype=torch.bool)
    lowest = torch.full((len(env),), torch.inf, dtype=F64)
    for _ in range(800):
        before = sim.state.pos.clone()
        events = sim.step(0.005)
        landing = torch.where((events.bounced & landing[:, 0].isnan())[:, None], events.bounce_pos, landing)
        touched |= events.net & landing[:, 0].isnan()
        crosses = (before[:, 0] < 0) & (sim.state.pos[:, 0] >= 0)
        lowest = torch.where(crosses, sim.state.pos[:, 2] - net_height(sim.state.pos[:, 1]), lowest)
    assert not touched.any()
    assert lowest.min() > 0.05
    miss = (landing[:, :2] - returns.target[goal]).norm(dim=-1)
    assert miss.median() < 0.05
    assert miss.max() < 0.3
    assert (strike.vel[env, goal].norm(dim=-1) <= 9.0).all()


def test_a_quicker_racket_reaches_all_that_a_slower_one_does(balls):
    sets = [reachable_returns(balls, RACKET, PARAMS, speed).feasible for speed in (4.0, 7.0, 10.0, 15.0)]
    shares = [found.double().mean().item() for found in sets]
    for slow, quick in itertools.pairwise(sets):
        assert (quick | ~slow).all()
    assert shares[0] < 0.1
    assert shares[-1] > 0.95


def test_a_wish_out_of_reach_gets_the_nearest_that_is_not(balls):
    returns = reachable_returns(balls, RACKET, PARAMS, max_racket_speed=7.0)
    wish = torch.tensor([[11.3, 3.0]], dtype=F64).repeat(6, 1)
    index, distance = returns.nearest(wish)
    for env in range(6):
        gaps = (returns.target - wish[env]).norm(dim=-1)[returns.feasible[env]]
        assert distance[env] == gaps.min()
        assert returns.feasible[env, index[env]]
    none = reachable_returns(balls, RACKET, PARAMS, max_racket_speed=1.0)
    assert not none.feasible.any()
    assert torch.isinf(none.nearest(wish)[1]).all()
    assert torch.isfinite(none.strike.vel).all()


def test_a_face_that_turns_less_reaches_less(balls):
    free, held = (
        reachable_returns(balls, RACKET, PARAMS, 9.0, face_cone=cone).feasible for cone in (3.15, 0.15)
    )
    assert (free | ~held).all()
    assert held.sum() < 0.8 * free.sum()


def test_targets_are_the_opponents_and_limits_are_checked(balls):
    grid = target_grid(4, 3)
    assert grid.shape == (12, 2)
    assert grid[:, 0].min() > 0
    with pytest.raises(ValueError, match="max_racket_speed = -1"):
        reachable_returns(balls, RACKET, PARAMS, -1.0)
