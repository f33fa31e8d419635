"""The inverse problem, judged by the forward one."""

import pytest
import torch

from sim.aim import aim, plan_return, solve_racket
from sim.ball import BallParams, BallState
from sim.ball_sim import BallSim, RacketPose
from sim.court import net_height
from sim.stringbed import Racket, apply, impact

F64 = torch.float64
N = 300


def cases(seed=0, dtype=F64):
    g = torch.Generator().manual_seed(seed)

    def uniform(low, high):
        return (low + (high - low) * torch.rand(N, generator=g, dtype=F64)).to(dtype)

    pos = torch.stack((uniform(-12.5, -9), uniform(-2.5, 2.5), uniform(0.5, 1.4)), dim=-1)
    vel = torch.stack((uniform(-15, -5), uniform(-2, 2), uniform(-3, 3)), dim=-1)
    spin = (torch.randn(N, 3, generator=g, dtype=F64) * 80).to(dtype)
    target = torch.stack((uniform(5, 10.5), uniform(-3.5, 3.5)), dim=-1)
    return BallState(pos, vel, spin), target


def landing(pos, vel, spin, params, dt=0.0025):
    """First bounce, whether the net was touched, and height of the centre over the cord at the net."""
    sim = BallSim(len(pos), params, dtype=pos.dtype)
    sim.reset(torch.arange(len(pos)), pos, vel, spin)
    place = torch.full_like(pos, torch.nan)
    net = torch.zeros(len(pos), dtype=torch.bool)
    over = torch.full_like(pos[:, 0], torch.nan)
    for _ in range(round(3.5 / dt)):
        before = sim.state.pos.clone()
        events = sim.step(dt)
        first = events.bounced & place[:, 0].isnan()
        place = torch.where(first[:, None], events.bounce_pos, place)
        net |= events.net
        crossing = (before[:, 0] < 0) & (sim.state.pos[:, 0] >= 0)
        over = torch.where(crossing, sim.state.pos[:, 2] - net_height(sim.state.pos[:, 1]), over)
    return place, net, over


@pytest.mark.parametrize("dtype", [F64, torch.float32])
def test_an_aimed_ball_lands_on_its_target_at_the_height_asked_for(dtype):
    state, target = cases(dtype=dtype)
    params = BallParams()
    shot = aim(state.pos, target, params, state.spin, clearance=0.8, iterations=8)
    assert shot.feasible.float().mean() > 0.9
    place, net, over = landing(state.pos, shot.vel, state.spin, params)
    good = shot.feasible
    assert not net[good].any()
    assert (place[:, :2] - target).norm(dim=-1)[good].max() < 0.15
    assert (place[:, :2] - target).norm(dim=-1)[good].median() < 0.03
    assert (over - shot.clearance)[good].abs().max() < 0.1
    assert (over - 0.8)[good].abs().median() < 0.05


def test_more_clearance_is_a_slower_higher_ball():
    state, target = cases()
    low, high = (aim(state.pos, target, BallParams(), clearance=c) for c in (0.4, 2.0))
    both = low.feasible & high.feasible
    assert both.float().mean() > 0.8
    assert (high.flight_time > low.flight_time)[both].all()
    assert (high.vel[:, 2] > low.vel[:, 2])[both].all()


def test_a_guess_saves_iterations():
    state, target = cases()
    first = aim(state.pos, target, BallParams(), state.spin, iterations=8)
    moved = state.pos + 0.03
    cold = aim(moved, target, BallParams(), state.spin, iterations=2)
    warm = aim(moved, target, BallParams(), state.spin, iterations=2, guess=first)
    assert warm.miss.median() < 0.1 * cold.miss.median()


def test_what_cannot_be_is_flagged_and_finite():
    state, target = cases()
    own_side = target * torch.tensor([-1.0, 1.0], dtype=F64)
    assert not aim(state.pos, own_side, BallParams()).feasible.any()
    too_slow = aim(state.pos, target, BallParams(), max_speed=9.0)
    assert too_slow.feasible.float().mean() < 0.1
    odd = aim(torch.zeros(1, 3), torch.zeros(1, 2), BallParams())
    for answer in (too_slow, odd):
        assert torch.isfinite(answer.vel).all()
    assert not odd.feasible.any()


@pytest.mark.parametrize("face", [1.0, -1.0])
@pytest.mark.parametrize("with_spin", [False, True])
def test_the_solved_racket_gives_exactly_the_ball_asked_for(face, with_spin):
    state, _ = cases(seed=1)
    g = torch.Generator().manual_seed(5)
    wanted = torch.randn(N, 3, generator=g, dtype=F64) * 4 + torch.tensor([20.0, 0.0, 5.0], dtype=F64)
    spin = torch.randn(N, 3, generator=g, dtype=F64) * 200 if with_spin else None
    racket = Racket.from_specs(dtype=F64)
    # A body that includes a wrist link: heavier, centre of mass out of the string plane.
    com = racket.com + torch.tensor([-0.05, 0.01, 0.02], dtype=F64)
    racket = Racket(0.7, com, racket.inertia * 2 + 1e-3).expand(N, dtype=F64)
    axis = torch.tensor([0.0, -1.0, 0.3], dtype=F64)
    strike = solve_racket(state.pos, state.vel, state.spin, wanted, racket, BallParams(), spin, axis, face)
    rate = torch.randn(N, 3, generator=g, dtype=F64) * 20
    rot = strike.rot
    torch.testing.assert_close(rot[..., 2] * face, strike.normal, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.linalg.det(rot), torch.ones(N, dtype=F64), rtol=1e-9, atol=0)
    # Whatever the racket's rotation, its centre must have the velocity: rotate about the centre of mass of
    # a still racket first, then with a rate, whose effect on the contact is in the centre's velocity.
    out = impact(
        state.vel,
        state.spin,
        strike.normal,
        strike.pos,
        strike.pos,
        rot,
        strike.vel,
        rate,
        racket,
        BallParams(),
    )
    torch.testing.assert_close(out.vel, wanted, rtol=0, atol=1e-9)
    torch.testing.assert_close(out.spin, strike.ball_spin, rtol=0, atol=1e-7)
    torch.testing.assert_close(state.pos - 0.0335 * strike.normal, strike.pos, rtol=0, atol=1e-12)


def test_spin_across_the_shot_is_had_as_far_as_the_strings_grip():
    state, _ = cases(seed=2)
    wanted = torch.tensor([[22.0, 0.0, 5.0]], dtype=F64).repeat(N, 1)
    racket = Racket.from_specs(dtype=F64).expand(N, dtype=F64)
    delta = wanted - state.vel
    along = delta / delta.norm(dim=-1, keepdim=True)
    change = torch.linalg.cross(
        along, torch.randn(N, 3, generator=torch.Generator().manual_seed(0), dtype=F64)
    )
    for size, exact in ((100.0, True), (3000.0, False)):
        goal = state.spin + size * change / change.norm(dim=-1, keepdim=True)
        strike = solve_racket(state.pos, state.vel, state.spin, wanted, racket, BallParams(), goal)
        miss = (strike.ball_spin - goal).norm(dim=-1)
        assert (miss.max() < 1e-6) if exact else (miss.min() > 500)
        gained = ((strike.ball_spin - state.spin) * change).sum(-1)
        assert (gained > 0).all()


def test_the_long_axis_is_followed_as_far_as_the_face_allows():
    state, _ = cases(seed=3)
    wanted = torch.tensor([[20.0, 0.0, 5.0]], dtype=F64).repeat(N, 1)
    racket = Racket.from_specs(dtype=F64).expand(N, dtype=F64)
    axis = torch.tensor([0.0, -1.0, 0.0], dtype=F64)
    strike = solve_racket(state.pos, state.vel, state.spin, wanted, racket, BallParams(), long_axis=axis)
    assert (strike.rot[..., 0] @ axis).min() > 0.8
    along_normal = solve_racket(
        state.pos, state.vel, state.spin, wanted, racket, BallParams(), long_axis=strike.normal
    )
    assert torch.isfinite(along_normal.rot).all()


def test_a_planned_return_played_in_the_simulation_lands_on_the_target():
    """The racket swings through the solved pose at the solved velocity in the middle of a step."""
    state, target = cases(seed=4)
    params, racket, dt = (
        BallParams().expand(N, dtype=F64),
        Racket.from_specs(dtype=F64).expand(N, dtype=F64),
        0.005,
    )
    strike, plan = plan_return(state, target, racket, params, topspin=100.0, clearance=0.8)
    good = plan.feasible
    assert good.float().mean() > 0.75
    sim = BallSim(N, params, racket, dtype=F64)
    back = state.vel * dt / 2
    sim.reset(torch.arange(N), state.pos - back, state.vel, state.spin)
    start = RacketPose(strike.pos - strike.vel * dt / 2, strike.rot)
    end = RacketPose(strike.pos + strike.vel * dt / 2, strike.rot)
    assert sim.step(dt, start, end).hit.all()
    torch.testing.assert_close(sim.state.vel, strike.ball_vel, rtol=0, atol=0.35)
    place = torch.full((N, 3), torch.nan, dtype=F64)
    for _ in range(700):
        events = sim.step(dt)
        place = torch.where((events.bounced & place[:, 0].isnan())[:, None], events.bounce_pos, place)
    assert (place[:, :2] - target).norm(dim=-1)[good].median() < 0.15
    assert (place[:, :2] - target).norm(dim=-1)[good].max() < 0.8


def test_topspin_asked_for_turns_the_ball_forward():
    state, target = cases(seed=6)
    racket = Racket.from_specs(dtype=F64).expand(N, dtype=F64)
    ahead = target - state.pos[:, :2]
    ahead = ahead / ahead.norm(dim=-1, keepdim=True)
    forward = torch.stack((-ahead[:, 1], ahead[:, 0], torch.zeros(N, dtype=F64)), dim=-1)
    flat, _ = plan_return(state, target, racket, BallParams(), topspin=0.0)
    top, _ = plan_return(state, target, racket, BallParams(), topspin=200.0)
    gain = ((top.ball_spin - flat.ball_spin) * forward).sum(-1)
    assert gain.median() > 100
    assert apply(top.rot.transpose(-1, -2), top.vel).isfinite().all()


def test_a_ball_that_is_not_a_number_is_not_feasible_and_spoils_no_other():
    state, target = cases(seed=7)
    racket = Racket.from_specs(dtype=F64).expand(N, dtype=F64)
    clean, plan = plan_return(state, target, racket, BallParams())
    state.vel[4] = torch.nan
    target = target.clone()
    target[9] = torch.nan
    found, spoilt = plan_return(state, target, racket, BallParams())
    others = torch.ones(N, dtype=torch.bool)
    others[[4, 9]] = False
    assert torch.equal(found.vel[others], clean.vel[others])
    assert torch.equal(spoilt.feasible[others], plan.feasible[others])
    assert not spoilt.feasible[9]
    assert not torch.isfinite(found.vel[4]).any()
