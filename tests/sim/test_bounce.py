"""Bounces against closed forms, conservation laws and the ITF's figures."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.ball import RPM, BallParams
from sim.ball_sim import BallSim
from sim.bounce import (
    GRIP,
    ROLL,
    SLIDE,
    SURFACES,
    bounce,
    friction_of_pace,
    measured_pace,
    on_surface,
    pace_rating,
    regime,
    restitution_at,
    roll,
)

F64 = torch.float64
BALL = BallParams()


def oblique(speed, angle_deg, spin=(0.0, 0.0, 0.0)):
    angle = math.radians(angle_deg)
    vel = torch.tensor([[-speed * math.cos(angle), 0.0, -speed * math.sin(angle)]], dtype=F64)
    return vel, torch.tensor([spin], dtype=F64)


def test_drop_test_rebounds_within_the_itf_band():
    """ITF rules, appendix I: dropped from 254 cm on concrete, a ball rebounds 135–147 cm (to its bottom)."""
    sim = BallSim(1, dtype=F64)
    radius = 0.0335
    sim.reset(torch.tensor([0]), torch.tensor([[5.0, 0.0, 2.54 + radius]]), torch.zeros(1, 3))
    bounced, top = False, 0.0
    for _ in range(700):
        bounced |= sim.step(0.0025).bounced.item()
        rising = sim.state.vel[0, 2].item() > 0
        if bounced and not rising:
            top = sim.state.pos[0, 2].item() - radius
            break
    assert 1.35 < top < 1.47


def test_a_ball_without_spin_that_grips_keeps_the_closed_form_share_of_its_speed():
    """Rolling from 1/(1 + α) of the speed, α = 0.55: v' = v / 1.55, ω = v'/r (steep, so that it grips)."""
    vel, spin = oblique(15.0, 70.0)
    after, turned = bounce(vel, spin, BALL)
    assert after[0, 0].item() == pytest.approx(vel[0, 0].item() / 1.55, rel=1e-12)
    assert turned[0, 1].item() == pytest.approx(after[0, 0].item() / 0.0335, rel=1e-12)
    assert after[0, 2].item() == pytest.approx(-0.77 * vel[0, 2].item(), rel=1e-12)


def test_a_shallow_ball_slides_and_loses_friction_times_its_normal_change():
    vel, spin = oblique(30.0, 10.0)
    after, turned = bounce(vel, spin, BALL)
    lost = 0.6 * 1.77 * -vel[0, 2].item()
    assert after[0, 0].item() == pytest.approx(vel[0, 0].item() + lost, rel=1e-12)
    assert abs(turned[0, 1].item()) < abs(after[0, 0].item()) / 0.0335, "it must still slide"


def test_topspin_kicks_forward_and_backspin_bites():
    vel, spin = oblique(15.0, 30.0)
    flat, _ = bounce(vel, spin, BALL)
    top, _ = bounce(*oblique(15.0, 30.0, (0.0, -3000 * RPM, 0.0)), BALL)
    back, _ = bounce(*oblique(15.0, 30.0, (0.0, 3000 * RPM, 0.0)), BALL)
    assert abs(top[0, 0]) > abs(flat[0, 0]) >= abs(back[0, 0])


spins = st.tuples(*[st.floats(-5000, 5000)] * 3)


@settings(max_examples=200, deadline=None)
@given(
    speed=st.floats(5, 40),
    angle=st.floats(5, 80),
    spin_rpm=spins,
    friction=st.floats(0.0, 1.2),
    e=st.floats(0.0, 1.0),
    grip=st.floats(0.0, 1.0),
)
def test_every_bounce_obeys_mechanics(speed, angle, spin_rpm, friction, e, grip):
    params = BallParams(friction=friction, restitution=e, grip_restitution=grip)
    vel, spin = oblique(speed, angle, tuple(w * RPM for w in spin_rpm))
    after, turned = bounce(vel, spin, params)
    m, r = params.mass, params.radius
    inertia = params.inertia()
    impulse = m * (after - vel)[0]
    # Friction cone.
    assert impulse[2].item() >= 0
    assert torch.hypot(impulse[0], impulse[1]).item() <= friction * impulse[2].item() + 1e-9
    # Angular momentum about the contact point: r ẑ × m v + I ω.
    lever = torch.tensor([[0.0, 0.0, r]], dtype=F64)

    def moment(v, w):
        return m * torch.linalg.cross(lever, v) + inertia * w

    torch.testing.assert_close(moment(after, turned), moment(vel, spin), rtol=0, atol=1e-12)

    # Energy.
    def energy(v, w):
        return 0.5 * (m * (v * v).sum() + inertia * (w * w).sum()).item()

    assert energy(after, turned) <= energy(vel, spin) + 1e-9

    # The contact point either still slides the way it did, has stopped, or springs back as far as it may.
    def slip(v, w):
        return v[0, :2] + torch.stack((-r * w[0, 1], r * w[0, 0]))

    before, left = slip(vel, spin), slip(after, turned)
    assert (before * left).sum().item() >= -grip * (before * before).sum().item() - 1e-9
    assert left.norm() <= before.norm() + 1e-9


def test_shots_over_the_whole_range_slide_roll_and_grip():
    """5–40 m/s, 5–80°, ±5000 rpm about any axis: every regime occurs, and each is what its name says."""
    n = 4000
    g = torch.Generator().manual_seed(0)
    speed = 5 + 35 * torch.rand(n, generator=g, dtype=F64)
    angle = torch.deg2rad(5 + 75 * torch.rand(n, generator=g, dtype=F64))
    vel = torch.stack((-speed * angle.cos(), torch.zeros(n, dtype=F64), -speed * angle.sin()), dim=-1)
    spin = (torch.rand(n, 3, generator=g, dtype=F64) * 2 - 1) * 5000 * RPM
    for params, stopped in ((BALL, ROLL), (BallParams(grip_restitution=0.2), GRIP)):
        kind = regime(vel, spin, params)
        assert set(kind.unique().tolist()) == {SLIDE, stopped}
        assert 0.2 < (kind == SLIDE).double().mean() < 0.8
        after, turned = bounce(vel, spin, params)
        slip = after[:, :2] + 0.0335 * torch.stack((-turned[:, 1], turned[:, 0]), dim=-1)
        before = vel[:, :2] + 0.0335 * torch.stack((-spin[:, 1], spin[:, 0]), dim=-1)
        push = (after - vel)[:, :2].norm(dim=-1) / (after - vel)[:, 2]
        sliding = kind == SLIDE
        torch.testing.assert_close(push[sliding], torch.full_like(push[sliding], 0.6), rtol=1e-9, atol=0)
        assert (push[~sliding] <= 0.6 + 1e-9).all()
        if stopped == ROLL:
            assert slip[~sliding].norm(dim=-1).max() < 1e-9
        else:
            free = ~sliding & (push < 0.6 - 1e-6)
            torch.testing.assert_close(slip[free], -0.2 * before[free], rtol=0, atol=1e-9)


def test_a_grip_that_springs_back_gives_the_closed_form_spin():
    """Steep, without spin: v' = v (1 − e_x α') with α' = α / (1 + α) for the share that friction takes."""
    vel, spin = oblique(15.0, 70.0)
    after, turned = bounce(vel, spin, BallParams(grip_restitution=0.25))
    assert after[0, 0].item() == pytest.approx(vel[0, 0].item() * (1 - 1.25 * 0.55 / 1.55), rel=1e-12)
    slip = after[0, 0].item() - 0.0335 * turned[0, 1].item()
    assert slip == pytest.approx(-0.25 * vel[0, 0].item(), rel=1e-12)


def test_a_rising_ball_is_left_alone():
    vel = torch.tensor([[3.0, 1.0, 2.0]], dtype=F64)
    spin = torch.tensor([[100.0, 50.0, -30.0]], dtype=F64)
    after, turned = bounce(vel, spin, BALL)
    assert torch.equal(after, vel)
    assert torch.equal(turned, spin)


def test_restitution_can_fall_with_speed():
    params = BallParams(restitution=0.75, restitution_slope=-0.01)
    e = restitution_at(torch.tensor([7.1, 12.1, 200.0]), params)
    assert e.tolist() == pytest.approx([0.75, 0.70, 0.0])


@pytest.mark.parametrize(
    ("friction", "e", "rating"), [(0.5, 0.81, 50.0), (0.6, 0.81, 40.0), (0.7, 0.85, 24.0), (0.65, 0.80, 36.5)]
)
def test_pace_rating_is_the_itfs(friction, e, rating):
    assert pace_rating(friction, e) == pytest.approx(rating)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("clay", 0.0, 29.0),
        ("grass", 45.0, 100.0),
        ("hard slow", 0.0, 29.0),
        ("hard medium", 35.0, 39.0),
        ("hard fast", 45.0, 100.0),
    ],
)
def test_courts_rate_in_their_itf_category(name, low, high):
    """ITF court pace: slow up to 29, medium 35–39, fast from 45, by the formula from the ball's parameters."""
    params = on_surface(BALL, name)
    rating = pace_rating(params.friction, params.restitution)
    assert low - 1e-9 <= rating <= high + 1e-9
    assert rating == pytest.approx(SURFACES[name].pace)
    assert params.mass == BALL.mass


def test_friction_from_the_pace_is_the_formula_turned_round():
    for pace, e in ((20.0, 0.85), (37.0, 0.81), (50.0, 0.72)):
        assert pace_rating(friction_of_pace(pace, e), e) == pytest.approx(pace)


def test_the_itf_test_played_on_a_court_finds_its_rating_while_the_ball_slides():
    for name in ("grass", "hard medium", "hard fast"):
        assert measured_pace(on_surface(BALL, name)).item() == pytest.approx(SURFACES[name].pace, rel=1e-9)
    # On the slowest courts the test's ball stops sliding, and friction beyond that goes unseen.
    for name in ("clay", "hard slow"):
        assert 0 < measured_pace(on_surface(BALL, name)).item() - SURFACES[name].pace < 5
    several = BallParams(friction=torch.tensor([0.5, 0.6])).expand(2, dtype=F64)
    assert measured_pace(several).tolist() == pytest.approx([56.0, 46.0])


def test_clay_bounces_higher_and_slower_than_grass():
    vel, spin = oblique(30.0, 14.0)  # flat enough to slide on both
    clay, grass = (bounce(vel, spin, on_surface(BALL, name))[0][0] for name in ("clay", "grass"))
    assert clay[2] > grass[2]
    assert clay[0].abs() < grass[0].abs()


def test_a_court_nobody_knows_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match="'ice' is not known: one of clay, grass, hard slow"):
        on_surface(BALL, "ice")


def test_a_fast_court_takes_less_speed_than_a_slow_one():
    fast, slow = BallParams(friction=0.5, restitution=0.75), BallParams(friction=0.7, restitution=0.85)
    assert pace_rating(0.5, 0.75) > 45
    assert pace_rating(0.7, 0.85) < 29
    vel, spin = oblique(30.0, 16.0)  # the ITF's test shot: 30 m/s at 16°
    assert abs(bounce(vel, spin, fast)[0][0, 0]) > abs(bounce(vel, spin, slow)[0][0, 0])


def test_a_sliding_ball_on_the_ground_ends_rolling_and_then_stops():
    vel = torch.tensor([[2.0, -1.0, 0.0]], dtype=F64)
    spin = torch.zeros(1, 3, dtype=F64)
    rolled_at = None
    for i in range(2000):
        vel, spin = roll(vel + torch.tensor([0.0, 0.0, -9.81 * 0.005]), spin, BALL, 0.005)
        slip = (vel[0, 0] - 0.0335 * spin[0, 1]).abs() + (vel[0, 1] + 0.0335 * spin[0, 0]).abs()
        if rolled_at is None and slip < 1e-9:
            rolled_at = i
            torch.testing.assert_close(
                vel[0, :2], torch.tensor([2.0, -1.0], dtype=F64) / 1.55, rtol=0.06, atol=0
            )
    assert rolled_at is not None
    assert rolled_at < 60
    assert vel.norm() < 1e-9
