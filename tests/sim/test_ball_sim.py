"""Balls in play: contacts in time and in order, nothing tunnels, nothing becomes NaN."""

import itertools
import math

import mujoco
import numpy as np
import pytest
import torch

from sim.aim import plan_return
from sim.ball import GRAVITY, BallParams, BallState
from sim.ball_sim import BallSim, RacketPose
from sim.bounce import bounce
from sim.court import NET_CENTRE_HEIGHT
from sim.launcher import Launcher
from sim.predict import predict
from sim.reach import reachable_returns
from sim.stringbed import SEMI_LONG, SEMI_SHORT, Racket, apply, rotation_matrix
from sim.sweep import path, pose_at, racket_fraction, rotation_vector, string_bed_contact, turned

F64 = torch.float64
VACUUM = BallParams(air_density=0.0)


def one_ball(pos, vel, spin=(0.0, 0.0, 0.0), params=VACUUM, racket=None):
    sim = BallSim(1, params, racket, dtype=F64)
    sim.reset(torch.tensor([0]), *(torch.tensor([v], dtype=F64) for v in (pos, vel, spin)))
    return sim


def still(pos, normal_x=True):
    """A racket at rest at `pos` whose +z face looks toward +x (or up)."""
    rot = [[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]] if normal_x else torch.eye(3).tolist()
    return RacketPose(torch.tensor([pos], dtype=F64), torch.tensor([rot], dtype=F64))


def random_shots(n, seed):
    """Rackets up to 40 m/s and 60 rad/s; balls up to 80 m/s whose straight path meets the string plane inside
    the ellipse in the middle of a 5 ms step."""
    g = torch.Generator().manual_seed(seed)
    dt = 0.005

    def unit(k):
        v = torch.randn(n, k, generator=g, dtype=F64)
        return v / v.norm(dim=-1, keepdim=True)

    def upto(limit):
        return limit * torch.rand(n, 1, generator=g, dtype=F64)

    rot0 = rotation_matrix(unit(4))
    half = upto(60 * dt) / 2
    rot1 = rotation_matrix(torch.cat((half.cos(), half.sin() * unit(3)), dim=-1)) @ rot0
    pos0 = torch.tensor([-11.0, 0.0, 1.5], dtype=F64).repeat(n, 1)
    pos1 = pos0 + unit(3) * upto(40) * dt
    angle, out = upto(2 * math.pi), upto(1.0).sqrt() * 0.99
    flat = torch.zeros(n, 1, dtype=F64)
    spot = torch.cat((SEMI_LONG * out * angle.cos(), SEMI_SHORT * out * angle.sin(), flat), dim=-1)
    middle = torch.full((n,), 0.5, dtype=F64)
    centre, rot = pose_at((pos0, rot0, pos1 - pos0, rotation_vector(rot0, rot1)), middle)
    vel = unit(3) * upto(80)
    start = centre + apply(rot, spot) - vel * dt / 2
    return dt, start, vel, RacketPose(pos0, rot0), RacketPose(pos1, rot1)


def local(pose, point):
    return apply(pose.rot.transpose(-1, -2), point - pose.pos)


def test_no_ball_passes_through_a_racket():
    n = 40_000
    dt, start, vel, racket0, racket1 = random_shots(n, seed=0)
    sim = BallSim(n, VACUUM, dtype=F64)
    sim.reset(torch.arange(n), start, vel)
    events = sim.step(dt, racket0, racket1)
    straight = start + vel * dt
    before, after = local(racket0, start), local(racket1, straight)
    side = before[:, 2].sign()
    clear = (before[:, 2].abs() > 0.05) & (after[:, 2].abs() > 0.05)
    through = clear & (before[:, 2] * after[:, 2] < 0)
    assert through.sum() > 15_000
    assert events.hit[through].all()
    # Struck well inside the strings, a ball leaves on the side it came from. (Near the rim the racket's
    # effective mass is less than the ball's and it gives way; a racket that turns fast on its given path can
    # overtake a ball it has just hit. Its recoil, which the caller applies, is not in the pose yet.)
    strings = through & events.hit & ~events.frame
    there = local(racket1, events.hit_pos)
    central = strings & ((there[:, 0] / SEMI_LONG) ** 2 + (there[:, 1] / SEMI_SHORT) ** 2 < 0.3)
    assert central.sum() > 4000
    kept = local(racket1, sim.state.pos)[central, 2] * side[central] > 0
    assert kept.double().mean() > 0.999
    assert torch.isfinite(sim.state.pos).all()
    assert torch.isfinite(sim.state.spin).all()


@pytest.mark.parametrize("speed", [1.0, 20.0, 80.0])
@pytest.mark.parametrize("offset", [0.0, 0.02])
def test_the_thin_edge_is_hit_too(speed, offset):
    """A ball in the string plane, from beyond the tip toward the handle, meets the frame."""
    tip_up = torch.tensor([[[0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]], dtype=F64)
    pose = RacketPose(torch.tensor([[-11.0, 0.0, 1.0]], dtype=F64), tip_up)
    # Local x is world z: come from above, `offset` in front of the strings.
    sim = one_ball((-11.0 + offset, 0.0, 1.3), (0.0, 0.0, -speed))
    hit = frame = False
    for _ in range(round(0.4 / speed / 0.005) + 2):
        events = sim.step(0.005, pose, pose)
        hit |= events.hit.item()
        frame |= events.frame.item()
        if hit:
            break
    assert hit
    assert frame
    assert events.hit_pos[0, 2].item() == pytest.approx(1.0 + SEMI_LONG, abs=2e-3)


def test_distance_from_the_string_bed_is_that_from_a_densely_sampled_ellipse():
    g = torch.Generator().manual_seed(0)
    scale = torch.tensor([0.2, 0.16, 0.03], dtype=F64)
    points = (torch.rand(400, 3, generator=g, dtype=F64) * 2 - 1) * scale
    angle = torch.linspace(0, 2 * math.pi, 2000, dtype=F64)
    out = torch.linspace(0, 1, 60, dtype=F64).sqrt()
    disc = torch.stack(
        (
            (out[:, None] * SEMI_LONG * angle.cos()).flatten(),
            (out[:, None] * SEMI_SHORT * angle.sin()).flatten(),
            torch.zeros(out.numel() * angle.numel(), dtype=F64),
        ),
        dim=-1,
    )
    distance, normal, strings = string_bed_contact(points)
    found = torch.cdist(points, disc).min(dim=1).values
    near = (found < 0.035) & ~strings
    assert near.sum() > 20
    assert (distance - found)[near].abs().max() < 1.5e-3
    torch.testing.assert_close(distance[strings], points[strings, 2].abs(), rtol=0, atol=0)
    torch.testing.assert_close(normal.norm(dim=-1), torch.ones(400, dtype=F64), rtol=1e-9, atol=0)


def test_a_bounce_is_found_at_its_time():
    sim = one_ball((-5.0, 0.0, 1.0), (3.0, 0.0, -2.0))
    fall = (-2.0 + math.sqrt(4.0 + 2 * GRAVITY * (1.0 - 0.0335))) / GRAVITY
    steps = 0
    while not (events := sim.step(0.005)).bounced.item():
        steps += 1
        assert steps < 100
    assert steps * 0.005 + events.bounce_time.item() == pytest.approx(fall, abs=1e-6)
    assert events.bounce_pos[0].tolist() == pytest.approx([-5.0 + 3.0 * fall, 0.0, 0.0335], abs=1e-6)
    assert sim.state.pos[0, 2].item() > 0.0335, "the rest of the step is flown after the bounce"


@pytest.mark.parametrize("dt", [0.01, 0.005, 0.002])
def test_play_does_not_depend_on_the_step(dt):
    """Flight, bounce, racket hit, flight: 5 mm between steps of 10 ms and of 0.5 ms after 1.2 s."""

    def play(step):
        sim = one_ball((-2.0, 0.3, 1.5), (-18.0, 0.5, -2.0), (0.0, -200.0, 60.0), BallParams())
        pose = still((-11.0, 0.47, 0.7))
        kinds = []
        for _ in range(round(1.2 / step)):
            events = sim.step(step, pose, pose)
            kinds += ["bounce"] * events.bounced.item() + ["hit"] * events.hit.item()
        return sim.state.pos[0], kinds

    fine, kinds = play(0.0005)
    coarse, same = play(dt)
    assert kinds[:2] == ["bounce", "hit"]
    assert same == kinds
    assert (fine - coarse).norm() < 5e-3


def test_a_half_volley_bounces_before_it_is_hit_in_one_step():
    sim = one_ball((-11.0 + 0.10, 0.0, 0.0335 + 0.02), (-30.0, 0.0, -15.0))
    pose = still((-11.0 - 0.01, 0.0, 0.05))
    events = sim.step(0.005, pose, pose)
    assert events.bounced.item()
    assert events.hit.item()
    assert events.bounce_time.item() < events.hit_time.item()
    assert sim.state.vel[0, 0] > 0
    assert sim.unresolved.item() == 0


def test_impulse_on_the_racket_is_what_the_ball_lost():
    params, racket = BallParams(air_density=0.0), Racket.from_specs(dtype=F64)
    sim = one_ball((-10.9, 0.02, 1.0), (-30.0, 2.0, 0.0), (0.0, 100.0, 0.0), params, racket)
    pose = still((-11.0, 0.0, 1.0))
    before = sim.state.vel.clone()
    events = sim.step(0.005, pose, pose)
    assert events.hit.item()
    gravity = torch.tensor([[0.0, 0.0, -GRAVITY * 0.005]], dtype=F64)
    change = params.mass * (sim.state.vel - before - gravity)
    torch.testing.assert_close(events.impulse, -change, rtol=0, atol=1e-9)
    assert events.hit_pos[0].tolist() == pytest.approx([-11.0, 0.027, 1.0], abs=3e-3)


def test_a_moving_racket_gives_the_speed_of_the_closed_form():
    """A ball at rest met squarely at the centre by a racket at V leaves with (1 + e_A) V."""
    sim = one_ball((-10.9, 0.0, 1.0), (0.0, 0.0, 0.0))
    speed, step = 20.0, 0.005
    start = still((-11.0, 0.0, 1.0))
    end = RacketPose(start.pos + torch.tensor([[speed * step, 0.0, 0.0]], dtype=F64), start.rot)
    across = 0.032 - 0.32 * 0.225**2
    effective = 1 / (1 / 0.32 + 0.185**2 / across)
    e = (0.85 * effective - sim.params.mass.item()) / (effective + sim.params.mass.item())
    assert sim.step(step, start, end).hit.item()
    assert sim.state.vel[0, 0].item() == pytest.approx((1 + e) * speed, rel=1e-4)


@pytest.mark.parametrize("angle", [0.0, 1e-6, 1e-3, 0.3, 2.0])
def test_a_racket_turns_at_a_constant_rate_between_two_poses(angle):
    axis = torch.tensor([[0.36, 0.48, 0.8]], dtype=F64)

    def about_axis(by):
        half = torch.tensor([[by / 2]], dtype=F64)
        return rotation_matrix(torch.cat((half.cos(), half.sin() * axis), dim=-1))

    rot0 = rotation_matrix(torch.tensor([[0.5, -0.5, 0.5, 0.5]], dtype=F64))
    turn = rotation_vector(rot0, about_axis(angle) @ rot0)
    torch.testing.assert_close(turn, axis * angle, rtol=1e-6, atol=1e-12)
    zero = torch.zeros(1, 3, dtype=F64)
    _, part = pose_at((zero, rot0, zero, turn), torch.tensor([0.3], dtype=F64))
    torch.testing.assert_close(part, about_axis(0.3 * angle) @ rot0, rtol=0, atol=1e-9)
    way = torch.tensor([[1.0, 2.0, -3.0]], dtype=F64)
    torch.testing.assert_close(turned(way, turn), apply(about_axis(angle), way), rtol=0, atol=1e-8)


def test_a_hit_counts_once_though_the_racket_pose_has_not_recoiled():
    sim = one_ball((-10.95, 0.11, 1.0), (-10.0, 0.0, 0.0))
    pose = still((-11.0, 0.0, 1.0))
    hits = sum(sim.step(0.001, pose, pose).hit.item() for _ in range(15))
    assert hits == 1


def test_the_net_stops_a_ball_and_it_falls_on_its_own_side():
    sim = one_ball((-1.0, 0.0, 0.6), (25.0, 0.0, 0.0), params=BallParams())
    touched = 0
    for _ in range(600):
        touched += sim.step(0.005).net.item()
        assert sim.state.pos[0, 0] < 0
    assert touched >= 1
    assert abs(sim.state.pos[0, 0].item()) < 3.5
    assert sim.state.pos[0, 2].item() == pytest.approx(0.0335, abs=2e-3)


@pytest.mark.parametrize("speed", [5.0, 30.0, 80.0])
def test_the_net_is_never_tunnelled(speed):
    n = 2000
    g = torch.Generator().manual_seed(0)
    pos = torch.rand(n, 3, generator=g, dtype=F64) * torch.tensor([0.4, 8.0, 0.75]) + torch.tensor(
        [-0.5, -4.0, 0.1]
    )
    vel = torch.tensor([[speed, 0.0, 0.0]], dtype=F64).repeat(n, 1)
    sim = BallSim(n, VACUUM, dtype=F64)
    sim.reset(torch.arange(n), pos, vel)
    seen = torch.zeros(n, dtype=torch.bool)
    for _ in range(round(0.6 / speed / 0.005) + 2):
        seen |= sim.step(0.005).net
    assert seen.all()
    assert sim.state.pos[:, 0].max() < 0


def test_a_ball_over_the_cord_or_beside_the_post_passes():
    for pos in ((-0.5, 0.0, 1.0), (-0.5, 6.6, 0.5)):
        sim = one_ball(pos, (20.0, 0.0, 0.0))
        assert not any(sim.step(0.005).net.item() for _ in range(10))
        assert sim.state.pos[0, 0] > 0


def test_a_let_cord_clips_the_band_and_goes_over():
    sim = one_ball((-0.3, 0.0, 0.914 + 0.029), (15.0, 0.0, 0.0))
    touched = any([sim.step(0.005).net.item() for _ in range(10)])
    assert touched
    assert sim.state.vel[0, 0] > 5
    assert sim.state.pos[0, 0] > 0


def test_a_ball_comes_to_rest_on_the_ground():
    sim = one_ball((-6.0, 0.0, 1.0), (2.0, 0.3, 0.0), params=BallParams())
    energies = []
    for _ in range(4000):
        sim.step(0.005)
        vel, spin, height = sim.state.vel[0], sim.state.spin[0], sim.state.pos[0, 2].item()
        turning = 0.55 * 0.0335**2 * (spin @ spin).item()
        energies.append(0.5 * (vel @ vel).item() + 0.5 * turning + GRAVITY * height)
    assert sim.rolling.item()
    assert sim.state.vel.norm() < 1e-6
    assert sim.state.pos[0, 2].item() == pytest.approx(0.0335)
    rises = [b - a for a, b in itertools.pairwise(energies)]
    assert max(rises) < 1e-4
    assert sim.unresolved.item() == 0


def test_a_rolling_ball_can_be_hit():
    sim = one_ball((-6.0, 0.0, 0.0335), (-2.0, 0.0, 0.0), params=BallParams())
    for _ in range(60):
        sim.step(0.005)
    assert sim.rolling.item()
    x = sim.state.pos[0, 0].item()
    start = still((x - 0.1, 0.0, 0.05))
    end = RacketPose(start.pos + torch.tensor([[0.1, 0.0, 0.0]], dtype=F64), start.rot)
    assert sim.step(0.005, start, end).hit.item()
    assert sim.state.vel[0, 0] > 10


def test_inactive_balls_stay_where_they_are():
    sim = BallSim(2)
    pos = torch.tensor([[-5.0, 0.0, 0.02], [-5.0, 0.0, 0.1]])
    sim.reset(torch.arange(2), pos, torch.tensor([[0.0, 0.0, -20.0]] * 2), active=torch.tensor([False, True]))
    frozen = sim.state.pos[0].clone()
    bounced = torch.zeros(2, dtype=torch.bool)
    for _ in range(10):
        bounced |= sim.step(0.005).bounced
    assert torch.equal(sim.state.pos[0], frozen)
    assert bounced.tolist() == [False, True]


def test_events_last_one_step():
    sim = one_ball((-5.0, 0.0, 0.05), (0.0, 0.0, -10.0))
    assert sim.step(0.005).bounced.item()
    events = sim.step(0.005)
    assert not events.bounced.item()
    assert events.bounce_pos.abs().max() == 0


def test_environments_do_not_touch_each_other():
    """A ball gives the same flight alone and among others with other physics and other events."""
    g = torch.Generator().manual_seed(1)
    n = 64
    pos = torch.rand(n, 3, generator=g, dtype=F64) * torch.tensor([20.0, 6.0, 2.0]) - torch.tensor(
        [11.0, 3.0, -0.1]
    )
    vel = torch.randn(n, 3, generator=g, dtype=F64) * torch.tensor([15.0, 4.0, 5.0])
    spin = torch.randn(n, 3, generator=g, dtype=F64) * 200
    params = BallParams(restitution=torch.rand(n, generator=g, dtype=F64) * 0.2 + 0.6)
    together = BallSim(n, params, dtype=F64)
    together.reset(torch.arange(n), pos, vel, spin)
    pose = still((-8.0, 0.0, 0.8))
    everyone = RacketPose(pose.pos.repeat(n, 1), pose.rot.repeat(n, 1, 1))
    for _ in range(120):
        together.step(0.005, everyone, everyone)
    for env in (0, 17, 40):
        alone = BallSim(1, params.at(torch.tensor([env])), dtype=F64)
        alone.reset(torch.tensor([0]), pos[env : env + 1], vel[env : env + 1], spin[env : env + 1])
        for _ in range(120):
            alone.step(0.005, pose, pose)
        torch.testing.assert_close(alone.state.pos[0], together.state.pos[env], rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_nothing_becomes_nan_or_leaves_through_the_floor(dtype):
    """Balls thrown at random about a racket that swings wildly, near net and ground, for 2 s."""
    g = torch.Generator().manual_seed(2)
    n = 300
    pos = torch.rand(n, 3, generator=g) * torch.tensor([2.0, 2.0, 1.5]) + torch.tensor([-1.0, -1.0, 0.0])
    vel = torch.randn(n, 3, generator=g) * 25
    vel[:50] = 0
    sim = BallSim(n, dtype=dtype)
    sim.reset(torch.arange(n), pos, vel, torch.randn(n, 3, generator=g) * 400)
    quat = torch.randn(n, 4, generator=g)
    last = RacketPose(pos.to(dtype), (quat / quat.norm(dim=-1, keepdim=True)).to(dtype))
    for _ in range(250):
        quat = last.rot + 0.15 * torch.randn(n, 4, generator=g)
        shift = 0.1 * torch.randn(n, 3, generator=g)
        near = torch.where(torch.rand(n, 1, generator=g) < 0.02, sim.state.pos - last.pos, shift)
        nxt = RacketPose((last.pos + near).to(dtype), (quat / quat.norm(dim=-1, keepdim=True)).to(dtype))
        sim.step(0.005, last, nxt)
        last = nxt
    for value in (sim.state.pos, sim.state.vel, sim.state.spin):
        assert torch.isfinite(value).all()
    assert sim.state.pos[:, 2].min() > 0.0335 - 0.05


def test_a_ball_smashed_into_the_ground_is_hit_before_it_bounces_in_one_step():
    sim = one_ball((-5.0, 0.0, 0.05), (0.0, 0.0, 5.0))
    start = RacketPose(torch.tensor([[-5.0, 0.0, 0.09]], dtype=F64), torch.eye(3, dtype=F64)[None])
    end = RacketPose(start.pos - torch.tensor([[0.0, 0.0, 0.05]], dtype=F64), start.rot)
    events = sim.step(0.005, start, end)
    assert events.hit.item()
    assert events.bounced.item()
    assert 0 < events.hit_time.item() < events.bounce_time.item() < 0.005
    assert sim.unresolved.item() == 0


def test_a_bounce_and_the_net_in_one_step_happen_in_order():
    """Down onto the court 5 cm before the net at 40 m/s, up and on into the mesh."""
    sim = one_ball((-0.13, 0.0, 0.0335 + 0.03), (30.0, 0.0, -25.0))
    events = sim.step(0.005)
    assert events.bounced.item()
    assert events.net.item()
    assert events.bounce_pos[0, 0] < events.net_pos[0, 0] < 0
    assert events.net_pos[0, 2] > events.bounce_pos[0, 2]
    assert sim.state.pos[0, 0] < 0


def test_the_net_and_then_the_racket_in_one_step_happen_in_order():
    """A let cord into a racket held close behind the net."""
    sim = one_ball((0.1, 0.0, NET_CENTRE_HEIGHT + 0.03), (-40.0, 0.0, 0.0))
    pose = still((-0.08, 0.0, NET_CENTRE_HEIGHT + 0.1))
    events = sim.step(0.005, pose, pose)
    assert events.net.item()
    assert events.hit.item()
    assert events.net_pos[0, 0] > events.hit_pos[0, 0]
    assert sim.unresolved.item() == 0


@pytest.mark.parametrize("face", [1.0, -1.0])
def test_a_ball_beside_the_strings_hits_the_frame_and_beyond_it_nothing(face):
    """Straight at the plane of the face, centre 1 cm outside the strings, then a ball's radius and 3 mm."""
    for axis, semi in ((1, SEMI_LONG), (2, SEMI_SHORT)):
        for beyond, frame in ((-0.01, False), (0.01, True), (0.0335 + 0.003, None)):
            pose = RacketPose(torch.tensor([[-11.0, 0.0, 1.5]], dtype=F64), still((0.0, 0.0, 0.0)).rot)
            along = pose.rot[0, :, axis - 1]
            spot = (
                pose.pos[0] + (semi + beyond) * along + face * 0.1 * torch.tensor([1.0, 0.0, 0.0], dtype=F64)
            )
            sim = one_ball(spot.tolist(), (-face * 30.0, 0.0, 0.0))
            events = sim.step(0.005, pose, pose)
            assert events.hit.item() == (frame is not None)
            assert events.frame.item() == bool(frame)
            if frame:
                # The frame throws it outward.
                assert (sim.state.vel[0] @ along).item() > 1


def test_what_a_racket_receives_is_what_the_ball_lost_to_1e_9():
    """Ball and free racket in space: linear momentum and angular momentum about the origin, through `BallSim`'s
    events alone, as an engine gets them."""
    params = BallParams(air_density=0.0, spin_decay=math.inf)
    pose = still((-11.0, 0.0, 1.0))
    pos, vel, spin = (-10.9, 0.04, 1.07), (-25.0, 3.0, -4.0), (50.0, 200.0, -100.0)
    sim = one_ball(pos, vel, spin, params)
    events = sim.step(0.005, pose, pose)
    assert events.hit.item()
    pos, vel, spin = (torch.tensor([value], dtype=F64) for value in (pos, vel, spin))
    fall = torch.tensor([[0.0, 0.0, -GRAVITY]], dtype=F64)
    t = events.hit_time[:, None]
    before, after = vel + fall * t, sim.state.vel - fall * (0.005 - t)
    centre = pos + vel * t + 0.5 * fall * t * t
    mass, inertia = sim.params.mass[:, None], sim.params.inertia()[:, None]
    torch.testing.assert_close(events.impulse, mass * (before - after), rtol=0, atol=1e-9)
    lost = mass * torch.linalg.cross(centre, before - after) + inertia * (spin - sim.state.spin)
    given = torch.linalg.cross(events.hit_pos, events.impulse)
    torch.testing.assert_close(given, lost, rtol=0, atol=1e-9)
    assert given.norm() > 1


@pytest.mark.parametrize("beside", [0.0, 0.1])
def test_a_free_racket_in_mujoco_takes_up_the_momentum_to_1e_9(beside):
    """The engine's way: the impulse as a force at the contact point over one step, on a free body in space."""
    racket = Racket.from_specs(dtype=F64)
    inertia = racket.inertia.diagonal().tolist()
    model = mujoco.MjModel.from_xml_string(f"""
    <mujoco><option gravity="0 0 0" timestep="0.005"/><worldbody><body><freejoint/>
      <inertial pos="{racket.com[0].item()} 0 0" mass="0.32" diaginertia="{inertia[0]} {inertia[1]} {inertia[2]}"/>
    </body></worldbody></mujoco>""")
    data = mujoco.MjData(model)
    data.qpos[:3] = (-11.0, 0.0, 1.0)
    mujoco.mj_forward(model, data)
    pose = RacketPose(torch.tensor([[-11.0, 0.0, 1.0]], dtype=F64), torch.eye(3, dtype=F64)[None])
    params = BallParams(air_density=0.0, spin_decay=math.inf)
    sim = one_ball((-11.0 + beside, 0.05, 1.1), (4.0, 3.0, -25.0), (50.0, 200.0, -100.0), params, racket)
    events = sim.step(0.005, pose, pose)
    assert events.hit.item()
    force = events.impulse[0].numpy() / 0.005
    com = data.xipos[1].copy()
    data.xfrc_applied[1, :3] = force
    data.xfrc_applied[1, 3:] = np.cross(events.hit_pos[0].numpy() - com, force)
    mujoco.mj_step(model, data)
    # Velocities after the step, at the pose at which the force acted: frame and world are parallel there.
    ang = data.qvel[3:6]
    com_vel = data.qvel[:3] + np.cross(ang, np.array([racket.com[0].item(), 0.0, 0.0]))
    impulse, point = events.impulse[0].numpy(), events.hit_pos[0].numpy()
    assert np.abs(0.32 * com_vel - impulse).max() < 1e-9
    about_origin = 0.32 * np.cross(com, com_vel) + np.array(inertia) * ang
    assert np.abs(about_origin - np.cross(point, impulse)).max() < 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_no_tensor_depends_on_torchs_default_device_or_dtype(dtype):
    """Defaults set to a device without data and to the other dtype: any tensor made without saying where fails."""
    n, here = 5, {"device": "cpu", "dtype": dtype}
    state = [
        torch.tensor([v], **here).repeat(n, 1)
        for v in ([-10.95, 0.0, 0.6], [-20.0, 0.0, -30.0], [0.0, 50.0, 0.0])
    ]
    target = torch.tensor([[8.0, 0.0]], **here).repeat(n, 1)
    rot = still((0.0, 0.0, 0.0)).rot.to(dtype).repeat(n, 1, 1)
    centre = torch.tensor([[-11.0, 0.0, 0.5]], **here).repeat(n, 1)
    ids = torch.arange(n)
    other = F64 if dtype == torch.float32 else torch.float32
    default = torch.get_default_dtype()
    torch.set_default_dtype(other)
    try:
        with torch.device("meta"):
            sim = BallSim(n, **here)
            sim.reset(ids, *state)
            poses = RacketPose(centre, rot), RacketPose(centre + 0.02, rot)
            hits = sum(int(sim.step(0.005, *poses).hit.sum()) for _ in range(30))
            racket, params = Racket.from_specs(**here), BallParams()
            ball = BallState(*state)
            results = [
                sim.state.pos,
                sim.events.hit_pos,
                predict(ball, params).pos,
                bounce(ball.vel, ball.spin, params)[0],
                plan_return(ball, target, racket, params)[0].vel,
                reachable_returns(ball, racket, params, 12.0).racket_speed,
            ]
    finally:
        torch.set_default_dtype(default)
    assert hits > 0
    assert {(str(value.device), value.dtype) for value in results} == {("cpu", dtype)}


def test_a_state_that_is_not_a_number_is_put_to_rest_and_counted():
    """A foreign hand writes NaN into one ball; another flies so fast that its state overflows."""
    sim = BallSim(4)
    pos = torch.tensor([[-5.0, 0.0, 1.0]]).repeat(4, 1)
    vel = torch.tensor([[3.0, 0.0, 0.0]]).repeat(4, 1)
    vel[2, 0] = 1e30
    sim.reset(torch.arange(4), pos, vel)
    alone = BallSim(1)
    alone.reset(torch.tensor([0]), pos[:1], vel[:1])
    sim.step(0.005)
    alone.step(0.005)
    sim.state.vel[1, 2] = math.nan
    for _ in range(20):
        sim.step(0.005)
        alone.step(0.005)
        for value in (sim.state.pos, sim.state.vel, sim.state.spin):
            assert torch.isfinite(value).all()
    assert sim.recovered.not_finite.tolist() == [0, 1, 1, 0]
    assert sim.active.tolist() == [True, False, False, True]
    assert torch.equal(sim.state.vel[1], torch.zeros(3))
    assert sim.state.pos[1].tolist() == pytest.approx([-5.0 + 3 * 0.005, 0.0, 1.0], abs=1e-3)
    torch.testing.assert_close(sim.state.pos[0], alone.state.pos[0], rtol=0, atol=0)
    sim.reset(torch.tensor([1]), pos[:1], vel[:1])
    sim.step(0.005)
    assert sim.active[1]
    assert sim.recovered.total() == 2


def test_a_robot_that_exploded_neither_meets_a_ball_nor_stops_the_others():
    """Environment 1's racket is not a number, while its ball bounces and environment 0's is struck."""
    sim = BallSim(3, VACUUM, dtype=F64)
    pos = torch.tensor([[-10.95, 0.0, 1.0], [-5.0, 0.0, 0.05], [-5.0, 0.0, 1.0]], dtype=F64)
    vel = torch.tensor([[-10.0, 0.0, 0.0], [0.0, 0.0, -10.0], [0.0, 0.0, 0.0]], dtype=F64)
    sim.reset(torch.arange(3), pos, vel)
    pose = still((-11.0, 0.0, 1.0))
    for broken in ("pos", "rot"):
        poses = RacketPose(pose.pos.repeat(3, 1), pose.rot.repeat(3, 1, 1))
        getattr(poses, broken)[1] = math.nan
        events = sim.step(0.005, poses, poses)
        if broken == "pos":
            assert events.hit.tolist() == [True, False, False]
            assert events.bounced.tolist() == [False, True, False]
    assert torch.isfinite(sim.state.pos).all()
    assert torch.isfinite(sim.state.vel).all()
    assert sim.recovered.racket_pose[1] >= 1
    assert sim.recovered.racket_pose[[0, 2]].sum() == 0
    assert sim.recovered.not_finite.sum() == 0


def test_a_rotation_that_is_none_is_no_racket():
    """A quaternion of length 2 would be a racket of four times the size."""
    sim = one_ball((-10.95, 0.0, 1.0), (-10.0, 0.0, 0.0))
    pose = RacketPose(still((-11.0, 0.0, 1.0)).pos, torch.tensor([[2.0, 0.0, 0.0, 0.0]], dtype=F64))
    assert not sim.step(0.005, pose, pose).hit.item()
    assert sim.recovered.racket_pose.item() == 1


def test_a_path_that_overflowed_does_not_hide_the_others_contact():
    start = torch.tensor([[0.0, 0.0, 0.1]], dtype=F64).repeat(2, 1)
    end = torch.tensor([[0.0, 0.0, -0.1], [math.nan, 0.0, 0.0]], dtype=F64)
    arc = path(
        start,
        torch.tensor([[0.0, 0.0, -40.0]], dtype=F64).repeat(2, 1),
        end,
        torch.full((2,), 0.005, dtype=F64),
    )
    level = torch.eye(3, dtype=F64).repeat(2, 1, 1)
    zero = torch.zeros(2, 3, dtype=F64)
    radius = torch.full((2,), 0.0335, dtype=F64)
    found = racket_fraction(arc, (zero, level, zero, zero), torch.zeros(2, dtype=F64), radius)
    assert found[0].item() == pytest.approx((0.1 - 0.0335) / 0.2, abs=1e-9)
    assert torch.isinf(found[1])


def test_a_ball_put_inside_racket_or_ground_is_moved_to_the_surface_and_counted():
    sim = BallSim(3, VACUUM, dtype=F64)
    # On the strings' front side but 2 cm too deep, falling in; buried in the court; and well placed.
    pos = torch.tensor([[-11.0 + 0.0135, 0.0, 1.0], [-5.0, 0.0, -0.2], [-8.0, 0.0, 1.0]], dtype=F64)
    vel = torch.tensor([[-5.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 0.0, 0.0]], dtype=F64)
    sim.reset(torch.arange(3), pos, vel)
    assert sim.state.pos[1, 2].item() == pytest.approx(0.0335)
    one = still((-11.0, 0.0, 1.0))
    poses = RacketPose(one.pos.repeat(3, 1), one.rot.repeat(3, 1, 1))
    events = sim.step(0.005, poses, poses)
    assert events.hit.tolist() == [True, False, False]
    assert sim.state.pos[0, 0] > -11.0 + 0.0335 - 1e-9
    assert sim.state.vel[0, 0] > 0
    assert sim.recovered.overlap.tolist() == [1, 1, 0]
    for _ in range(50):
        sim.step(0.005, poses, poses)
    assert sim.recovered.overlap.tolist() == [1, 1, 0]


def test_play_needs_no_help():
    """Rally launches that bounce and meet the middle of a swung racket: nothing to recover from."""
    table = Launcher("rally").draw(128, torch.Generator().manual_seed(0))
    sim = BallSim(128)
    sim.reset(torch.arange(128), table.pos, table.vel, table.spin)
    rot = still((0.0, 0.0, 0.0)).rot.float().repeat(128, 1, 1)
    hits = 0
    for i in range(500):
        # A racket that follows the ball up and sideways and swings to and fro.
        swing = [-11.2 + 0.3 * math.sin(12 * 0.005 * (i + k)) for k in (0, 1)]
        y, z = sim.state.pos[:, 1], sim.state.pos[:, 2]
        spots = [torch.stack((torch.full_like(y, x), y, z), dim=-1) for x in swing]
        hits += int(sim.step(0.005, *(RacketPose(spot, rot) for spot in spots)).hit.sum())
    assert hits > 100
    assert sim.recovered.total() == 0
    assert sim.unresolved.sum() == 0


def test_bad_steps_and_shapes_are_refused_by_name():
    sim = BallSim(2)
    for dt in (0.0, -0.005, math.nan, math.inf):
        with pytest.raises(ValueError, match="ball step dt"):
            sim.step(dt)
    pose = still((0.0, 0.0, 1.0))
    with pytest.raises(ValueError, match=r"racket pose at the start: shapes \(1, 3\)"):
        sim.step(0.005, pose, pose)
    with pytest.raises(ValueError, match=r"ball vel: shape \(3,\)"):
        sim.reset(torch.tensor([0]), torch.zeros(1, 3), torch.zeros(3))
    with pytest.raises(ValueError, match="mass = -1 in environment 1"):
        sim.set_params(BallParams(mass=-1.0), torch.tensor([1]))
    with pytest.raises(ValueError, match=r"racket restitution = 1\.5 in environment 1"):
        sim.set_racket(Racket.from_specs(restitution=1.5), torch.tensor([1]))


def test_bad_resets_are_refused_by_name():
    sim = BallSim(4)
    pos = torch.zeros(2, 3)
    vel = torch.tensor([[0.0, 0.0, 0.0], [0.0, math.nan, 0.0]])
    with pytest.raises(ValueError, match="ball vel in environment 3 is not finite"):
        sim.reset(torch.tensor([1, 3]), pos, vel)
    with pytest.raises(ValueError, match="start and the end"):
        sim.step(0.005, still((0.0, 0.0, 1.0)))


def test_physics_of_one_environment_can_be_changed():
    sim = BallSim(3, dtype=F64)
    ids = torch.arange(3)
    sim.set_params(BallParams(restitution=0.5, drag_coefficient=0.0), torch.tensor([1]))
    sim.set_racket(Racket.from_specs(restitution=0.2, dtype=F64), torch.tensor([2]))
    sim.reset(ids, torch.tensor([[-5.0, 0.0, 0.05]] * 3), torch.tensor([[0.0, 0.0, -10.0]] * 3))
    sim.step(0.005)
    assert sim.state.vel[1, 2] < 5.1
    assert sim.state.vel[0, 2] > 7
    assert sim.racket.restitution.tolist() == pytest.approx([0.85, 0.85, 0.2])
