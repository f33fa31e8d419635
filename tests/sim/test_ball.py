"""Free flight against closed forms and an independent, finer integration."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.ball import GRAVITY, RPM, BallParams, BallState, acceleration, aero, fly, fly_midpoint, fly_vectors

F64 = torch.float64


def fly_for(rule, params, pos, vel, spin, duration, step):
    air = aero(params, pos)
    h = torch.full(pos.shape[:1], step, dtype=pos.dtype)
    for _ in range(round(duration / step)):
        pos, vel, spin = rule(pos, vel, spin, air, h)
    return pos, vel, spin


def random_shots(n, seed=0):
    rng = np.random.default_rng(seed)
    way = rng.normal(size=(n, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    axis = rng.normal(size=(n, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    vel = way * np.linspace(5, 50, n)[:, None]
    spin = axis * rng.uniform(-5000, 5000, size=(n, 1)) * RPM
    return rng.normal(size=(n, 3)), vel, spin


def reference_end(pos, vel, spin, params, duration, steps):
    """Runge–Kutta in numpy, forces written from the formulas, spin decaying continuously."""
    area = math.pi * params.radius**2
    per_mass = 0.5 * params.air_density * area / params.mass

    def force(v, t):
        w = spin * np.exp(-t / params.spin_decay)
        speed = np.linalg.norm(v, axis=1, keepdims=True)
        side = np.cross(w, v)
        length = np.linalg.norm(side, axis=1, keepdims=True)
        across = length / speed
        lift = 1 / (2 + speed / (params.radius * across))
        gravity = np.array([0.0, 0.0, -GRAVITY])
        drag = per_mass * params.drag_coefficient * speed * v
        return gravity - drag + per_mass * lift * speed**2 * side / length

    h = duration / steps
    for i in range(steps):
        t = i * h
        a1 = force(vel, t)
        v2 = vel + h / 2 * a1
        a2 = force(v2, t + h / 2)
        v3 = vel + h / 2 * a2
        a3 = force(v3, t + h / 2)
        v4 = vel + h * a3
        a4 = force(v4, t + h)
        pos = pos + h / 6 * (vel + 2 * v2 + 2 * v3 + v4)
        vel = vel + h / 6 * (a1 + 2 * a2 + 2 * a3 + a4)
    return pos


@pytest.fixture(scope="module")
def shots():
    pos, vel, spin = random_shots(200)
    end = reference_end(pos, vel, spin, BallParams(), 2.0, 2000)
    coarser = reference_end(pos, vel, spin, BallParams(), 2.0, 1000)
    assert np.abs(end - coarser).max() < 1e-8, "the reference itself has not converged"
    return pos, vel, spin, end


@pytest.mark.parametrize(
    ("rule", "step", "dtype", "bound"),
    [
        (fly_midpoint, 0.005, F64, 1e-4),
        (fly_midpoint, 0.005, torch.float32, 5e-4),
        (fly_midpoint, 0.02, F64, 2e-3),
        (fly, 0.02, F64, 1e-4),
        (fly, 0.1, F64, 1e-3),
        (fly, 0.2, F64, 1e-2),
    ],
)
def test_two_seconds_of_flight_end_where_the_fine_integration_does(shots, rule, step, dtype, bound):
    pos, vel, spin, end = shots
    args = [torch.as_tensor(value, dtype=dtype) for value in (pos, vel, spin)]
    found, _, _ = fly_for(rule, BallParams(), *args, 2.0, step)
    assert np.linalg.norm(found.numpy() - end, axis=1).max() < bound


@pytest.mark.parametrize(("rule", "order"), [(fly_midpoint, 2), (fly, 4)])
def test_error_shrinks_with_the_rules_order(shots, rule, order):
    pos, vel, spin, end = (torch.as_tensor(value) for value in shots)

    def error(step):
        found, _, _ = fly_for(rule, BallParams(spin_decay=30.0), pos, vel, spin, 2.0, step)
        return (found - end).norm(dim=-1).mean().item()

    assert math.log2(error(0.2) / error(0.1)) > order - 0.6


def flight_at_100_khz(vel, spin, params, duration):
    """End of a flight (3,) by the midpoint rule with steps of 1e-5 s, in plain numbers and straight from the
    formulas: gravity, drag, lift along ω × v with C_L = 1 / (2 + v / (r ω⊥)), spin decaying step by step."""
    area = math.pi * params.radius**2
    half = 0.5 * params.air_density * area / params.mass
    h, radius, drag = 1e-5, params.radius, params.drag_coefficient
    x, y, z = 0.0, 0.0, 0.0
    u, v, w = vel
    p, q, r = spin
    decay = math.exp(-0.5 * h / params.spin_decay)

    def force(u, v, w, p, q, r):
        speed = math.sqrt(u * u + v * v + w * w)
        cx, cy, cz = q * w - r * v, r * u - p * w, p * v - q * u
        length = math.sqrt(cx * cx + cy * cy + cz * cz)
        across = length / speed
        lift = half * speed * speed / (2 + speed / (radius * across)) / length if across > 0 else 0.0
        d = half * drag * speed
        return lift * cx - d * u, lift * cy - d * v, lift * cz - d * w - GRAVITY

    for _ in range(round(duration / h)):
        a, b, c = force(u, v, w, p, q, r)
        mu, mv, mw = u + 0.5 * h * a, v + 0.5 * h * b, w + 0.5 * h * c
        p, q, r = p * decay, q * decay, r * decay
        a, b, c = force(mu, mv, mw, p, q, r)
        p, q, r = p * decay, q * decay, r * decay
        x, y, z = x + h * mu, y + h * mv, z + h * mw
        u, v, w = u + h * a, v + h * b, w + h * c
    return x, y, z


@pytest.mark.parametrize(
    ("vel", "rpm"),
    [
        ((5.0, 0.0, 0.0), (0.0, -5000.0, 0.0)),
        ((40.0, 10.0, 28.0), (3000.0, -3500.0, 2000.0)),
        ((-30.0, 0.0, 40.0), (-3000.0, 0.0, 4000.0)),  # about the flight's first direction
    ],
)
def test_two_seconds_of_flight_are_those_of_a_100_khz_integration_to_a_tenth_of_a_millimetre(vel, rpm):
    spin = tuple(w * RPM for w in rpm)
    truth = torch.tensor([flight_at_100_khz(vel, spin, BallParams(), 2.0)], dtype=F64)
    start = torch.zeros(1, 3, dtype=F64)
    args = (torch.tensor([vel], dtype=F64), torch.tensor([spin], dtype=F64))
    end, _, _ = fly_for(fly_midpoint, BallParams(), start, *args, 2.0, 0.005)
    assert (end - truth).norm() < 1e-4
    single, _, _ = fly_for(
        fly_midpoint, BallParams(), start.float(), *(value.float() for value in args), 2.0, 0.005
    )
    assert (single - truth).norm() < 5e-4


def test_in_vacuum_the_flight_is_the_parabola():
    vacuum = BallParams(air_density=0.0)
    pos, vel, spin = (torch.as_tensor(value) for value in random_shots(20))
    end, end_vel, _ = fly_for(fly_midpoint, vacuum, pos, vel, spin, 1.0, 0.01)
    fall = torch.tensor([0.0, 0.0, -GRAVITY], dtype=F64)
    torch.testing.assert_close(end, pos + vel + 0.5 * fall, rtol=0, atol=1e-10)
    torch.testing.assert_close(end_vel, vel + fall, rtol=0, atol=1e-10)


def test_a_falling_ball_follows_the_closed_form_of_quadratic_drag():
    params = BallParams()
    k = aero(params, torch.zeros((), dtype=F64)).drag.item()
    terminal = math.sqrt(GRAVITY / k)
    start = torch.zeros(1, 3, dtype=F64)
    pos, vel, _ = fly_for(fly_midpoint, params, start, start, start, 3.0, 0.005)
    x = GRAVITY * 3.0 / terminal
    assert vel[0, 2].item() == pytest.approx(-terminal * math.tanh(x), abs=1e-4)
    assert pos[0, 2].item() == pytest.approx(-(terminal**2) / GRAVITY * math.log(math.cosh(x)), abs=2e-4)


def test_drag_is_that_of_a_tennis_ball():
    """k = ρ C_D A / 2m is 0.020 per metre for the nominal ball, inside LATENT's 0.01–0.04."""
    assert aero(BallParams(), torch.zeros(())).drag.item() == pytest.approx(0.0203, abs=2e-4)
    k = aero(BallParams().with_drag_per_metre(0.04), torch.zeros(())).drag.item()
    assert k == pytest.approx(0.04, rel=1e-6)


@pytest.mark.parametrize(
    ("spin", "direction"),
    [
        ((0.0, 300.0, 0.0), (0.0, 0.0, 1.0)),  # backspin of a ball toward −x lifts
        ((0.0, -300.0, 0.0), (0.0, 0.0, -1.0)),  # topspin dips
        ((0.0, 0.0, 300.0), (0.0, -1.0, 0.0)),  # seen from above anticlockwise: curves to its left
        ((300.0, 0.0, 0.0), (0.0, 0.0, 0.0)),  # spin along the flight does nothing
    ],
)
def test_lift_has_the_published_size_and_direction(spin, direction):
    speed, params = 25.0, BallParams()
    vel = torch.tensor([[-speed, 0.0, 0.0]], dtype=F64)
    air = aero(params, vel)
    with_spin = acceleration(vel, torch.tensor([spin], dtype=F64), air)
    lift = (with_spin - acceleration(vel, torch.zeros(1, 3, dtype=F64), air))[0]
    coefficient = 1 / (2 + speed / (params.radius * 300.0))
    area = math.pi * params.radius**2
    size = 0.5 * params.air_density * area * coefficient * speed**2 / params.mass
    torch.testing.assert_close(lift, size * torch.tensor(direction, dtype=F64), rtol=1e-9, atol=1e-9)


def test_spin_keeps_its_axis_and_decays_exponentially():
    start = torch.tensor([[100.0, -200.0, 50.0]], dtype=F64)
    vel = torch.tensor([[20.0, 0.0, 5.0]], dtype=F64)
    _, _, spin = fly_for(fly_midpoint, BallParams(spin_decay=10.0), vel, vel, start, 2.0, 0.005)
    torch.testing.assert_close(spin, start * math.exp(-0.2), rtol=1e-9, atol=0)


component = st.floats(-60, 60, allow_nan=False)
rate = st.floats(-600, 600, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(v=st.tuples(component, component, component), w=st.tuples(rate, rate, rate))
def test_the_air_only_takes_energy_and_lift_does_no_work(v, w):
    vel, spin = torch.tensor([v], dtype=F64), torch.tensor([w], dtype=F64)
    air = aero(BallParams(), vel)
    force = acceleration(vel, spin, air)
    force[:, 2] += GRAVITY
    power = (force * vel).sum().item()
    speed = vel.norm().item()
    assert power == pytest.approx(-air.drag.item() * speed**3, rel=1e-6, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(
    v=st.tuples(component, component, component), w=st.tuples(rate, rate, rate), turn=st.floats(-3.14, 3.14)
)
def test_flight_does_not_know_east_from_west(v, w, turn):
    c, s = math.cos(turn), math.sin(turn)
    yaw = torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]], dtype=F64)
    vel, spin = torch.tensor([v], dtype=F64), torch.tensor([w], dtype=F64)
    air = aero(BallParams(), vel)
    torch.testing.assert_close(
        acceleration(vel @ yaw.T, spin @ yaw.T, air),
        acceleration(vel, spin, air) @ yaw.T,
        rtol=1e-9,
        atol=1e-8,
    )


def test_a_ball_at_rest_in_the_air_has_a_finite_force():
    zero = torch.zeros(1, 3)
    force = acceleration(zero, torch.tensor([[0.0, 500.0, 0.0]]), aero(BallParams(), zero))
    torch.testing.assert_close(force, torch.tensor([[0.0, 0.0, -GRAVITY]]))


def test_parameters_are_per_environment():
    params = BallParams(drag_coefficient=torch.tensor([0.0, 0.55])).expand(2, dtype=F64)
    vel = torch.tensor([[30.0, 0.0, 0.0]] * 2, dtype=F64)
    zero = torch.zeros(2, 3, dtype=F64)
    _, end, _ = fly_for(fly_midpoint, params, zero, vel, zero, 1.0, 0.005)
    assert end[0, 0].item() == pytest.approx(30.0)
    assert end[1, 0].item() < 22.0


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (BallParams(mass=torch.tensor([0.058, -1.0])), "mass = -1 in environment 1"),
        (BallParams(restitution=torch.tensor([1.2, 0.7])), "restitution = 1.2 in environment 0"),
        (BallParams(friction=torch.tensor([0.5, math.nan])), "friction = nan in environment 1"),
        (BallParams(radius=torch.ones(3)), r"radius: shape \(3,\)"),
        (BallParams(mass=math.inf), "mass = inf in environment 0"),
        (BallParams(drag_coefficient=-0.1), "drag_coefficient = -0.1"),
        (BallParams(radius=torch.tensor([0.03, 0.0])), "radius = 0 in environment 1"),
        (BallParams(spin_decay=0.0), "spin_decay = 0"),
        (BallParams(air_density=math.nan), "air_density = nan"),
        (BallParams(inertia_factor=2.0), "inertia_factor = 2"),
        (BallParams(grip_restitution=1.5), "grip_restitution = 1.5"),
        (BallParams(lift_scale=-1.0), "lift_scale = -1"),
    ],
)
def test_absurd_parameters_are_named(params, message):
    with pytest.raises(ValueError, match=message):
        params.expand(2)


def test_a_named_environment_is_the_callers():
    with pytest.raises(ValueError, match="mass = -1 in environment 7"):
        BallParams(mass=torch.tensor([0.058, -1.0])).expand(2, envs=torch.tensor([3, 7]))


def test_a_spin_that_never_decays_is_allowed():
    start = torch.tensor([[0.0, 100.0, 0.0]], dtype=F64)
    _, _, spin = fly_for(fly_midpoint, BallParams(spin_decay=math.inf), start, start, start, 0.5, 0.005)
    assert torch.equal(spin, start)


def test_a_state_is_picked_by_index():
    state = BallState(torch.arange(6.0).view(2, 3), torch.ones(2, 3), torch.zeros(2, 3))
    assert state.at(torch.tensor([1])).pos.tolist() == [[3.0, 4.0, 5.0]]


@pytest.mark.parametrize("step", [0.02, 0.4])
def test_flight_by_vectors_is_the_flight_by_components(step):
    """The same rule in other operations; a resting ball and one without spin among them."""
    generator = torch.Generator().manual_seed(0)
    pos, vel, spin = (k * torch.randn(50, 3, generator=generator, dtype=torch.float64) for k in (1, 20, 300))
    vel[0], spin[1] = 0.0, 0.0
    drag = 0.01 + 0.03 * torch.rand(50, generator=generator, dtype=torch.float64)
    air = aero(BallParams().with_drag_per_metre(drag), pos)
    h = torch.full((50,), step, dtype=torch.float64)
    for ours, theirs in zip(fly_vectors(pos, vel, spin, air, h), fly(pos, vel, spin, air, h), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-11)
