"""Worlds: what differs differs within its range, what does not is nominal to the bit."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from humanoid.model import build_model
from sim.ball import BallParams
from sim.ball_ranges import BallRanges
from sim.bounce import SURFACES
from sim.engine import CpuEngine
from sim.observation_noise import NoiseConfig
from sim.robot_parameters import nominal
from sim.robot_ranges import RobotRanges, StringRanges, held_rackets, racket_body, vary_robots
from sim.stringbed import Racket
from sim.world import WORLDS, World, world_named

MODEL = build_model(timestep=0.005)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def engine(n=3):
    return CpuEngine(n, MODEL, 1)


def drag(params):
    return params.drag_coefficient * params.air_density * math.pi * params.radius**2 / (2 * params.mass)


def test_the_nominal_world_draws_nothing():
    world, generator, robots = WORLDS["nominal"], rng(), engine()
    before = generator.get_state()
    world.vary(robots, generator)
    assert world.physics is None
    assert world.rackets(robots, generator) is None
    assert world.observers(3, 0.02, generator) is None
    assert torch.equal(before, generator.get_state())
    assert all(robots.batch.expanded(name) is None for name in ("body_mass", "geom_friction"))


@pytest.mark.parametrize("name", list(WORLDS))
def test_every_world_is_possible(name):
    WORLDS[name].check()


@pytest.mark.parametrize("name", ["real", "wide"])
def test_balls_lie_in_their_ranges(name):
    ranges = replace(WORLDS[name].ball, surfaces=())
    params = ranges(500, rng())
    for field in fields(ranges):
        bounds = getattr(ranges, field.name)
        if field.name == "surfaces" or bounds is None:
            continue
        value = (
            drag(params) if field.name == "drag_per_metre" else torch.as_tensor(getattr(params, field.name))
        )
        width = bounds[1] - bounds[0]
        assert value.min() >= bounds[0] - 1e-5, field.name
        assert value.max() <= bounds[1] + 1e-5, field.name
        assert value.max() - value.min() > 0.95 * width, field.name


def test_the_real_world_is_the_benchmarks():
    """Facts: restitution 0.71–0.79, drag k 0.01–0.04 per metre, masses, friction, latency 0–50 ms."""
    real = WORLDS["real"]
    assert real.ball.restitution == (0.71, 0.79)
    assert real.ball.drag_per_metre == (0.01, 0.04)
    assert real.ball.mass == (0.0560, 0.0594)
    assert real.senses is not None
    assert real.senses.latency == (0.0, 0.05)
    assert real.strings == StringRanges()
    assert real.ball.surfaces == ()


def test_what_is_not_drawn_takes_no_random_number():
    """The benchmark's physics of a seed stay what they were when other ranges were added."""
    more = replace(BallRanges(), lift_scale=(0.7, 1.3))
    plain, varied = BallRanges()(50, rng()), more(50, rng())
    for name in ("mass", "radius", "restitution", "friction"):
        assert torch.equal(torch.as_tensor(getattr(plain, name)), torch.as_tensor(getattr(varied, name)))
    assert plain.lift_scale == 1.0


@pytest.mark.parametrize("surface", list(SURFACES))
def test_a_nominal_ball_on_a_court(surface):
    params = BallRanges.nominal(surface)(4, rng()).expand(4)
    assert torch.as_tensor(params.friction).tolist() == pytest.approx([SURFACES[surface].friction] * 4)
    assert torch.as_tensor(params.restitution).tolist() == pytest.approx([SURFACES[surface].restitution] * 4)
    assert torch.as_tensor(params.mass).tolist() == pytest.approx([BallParams().mass] * 4)


def test_courts_are_drawn_for_each_ball():
    params = BallRanges.nominal("clay")
    params = replace(params, surfaces=("clay", "grass"))(400, rng())
    clay = (torch.as_tensor(params.restitution) - SURFACES["clay"].restitution).abs() < 1e-6
    assert 0.4 < clay.float().mean() < 0.6
    assert torch.as_tensor(params.friction)[clay].std() < 1e-6


def test_on_a_court_balls_differ_as_much_as_without():
    free, clay = WORLDS["real"].ball(300, rng()), WORLDS["real"].on("clay").ball(300, rng())
    off = torch.as_tensor(clay.restitution) - torch.as_tensor(free.restitution)
    torch.testing.assert_close(off, torch.full((300,), SURFACES["clay"].restitution - 0.75))


def test_robots_differ_by_mass_and_friction():
    robots = engine()
    vary_robots(robots, RobotRanges(body_mass=(0.9, 1.1)), rng())
    ratio = robots.params("body_mass")[:, 1:] / torch.as_tensor(nominal(MODEL, "body_mass"))[1:]
    assert ((ratio > 0.9) & (ratio < 1.1)).all()
    assert (ratio.max(0).values > ratio.min(0).values).all()
    inertia = robots.params("body_inertia")[:, 1:, 0] / torch.as_tensor(nominal(MODEL, "body_inertia"))[1:, 0]
    torch.testing.assert_close(inertia, ratio)
    mass = np.stack([robots.batch.get_model(i).body_mass for i in range(3)])
    total = np.array([robots.batch.get_model(i).body_subtreemass[0] for i in range(3)])
    np.testing.assert_allclose(total, mass.sum(axis=1))
    foot = MODEL.geom("left_foot0").id
    friction = robots.params("geom_friction")[:, foot, 0]
    assert ((friction >= 0.6) & (friction <= 1.0)).all()
    assert len(friction.unique()) == 3


def test_motors_differ_within_their_ranges():
    robots, ranges = engine(), replace(RobotRanges.nominal(), kp=(0.9, 1.1), effort=(0.5, 0.6))
    vary_robots(robots, ranges, rng())
    for name, (low, high) in (("kp", (0.9, 1.1)), ("effort", (0.5, 0.6))):
        ratio = robots.params(name) / torch.as_tensor(nominal(MODEL, name))
        assert ratio.min() >= low
        assert ratio.max() <= high
    assert torch.equal(robots.params("body_mass")[0], torch.as_tensor(nominal(MODEL, "body_mass")))


def test_the_ball_meets_the_racket_that_the_robot_holds():
    robots = engine()
    vary_robots(robots, replace(RobotRanges.nominal(), racket_mass=(0.8, 1.2)), rng())
    rackets = held_rackets(robots, StringRanges(), rng())
    body = racket_body(MODEL)
    assert rackets is not None
    ratio = (robots.params("body_mass")[:, body] / MODEL.body_mass[body]).float()
    torch.testing.assert_close(rackets.mass, ratio * Racket.from_specs().mass)
    torch.testing.assert_close(rackets.inertia, ratio[:, None, None] * Racket.from_specs().inertia)
    assert len(ratio.unique()) == 3


def test_strings_are_drawn_for_each_racket():
    rackets = held_rackets(engine(200), StringRanges(restitution=(0.83, 0.88)), rng())
    assert rackets is not None
    e = torch.as_tensor(rackets.restitution)
    assert 0.83 <= e.min() < 0.832
    assert 0.878 < e.max() <= 0.88
    assert torch.as_tensor(rackets.friction).unique().tolist() == [pytest.approx(0.5)]


class Plain:
    """An engine whose robots cannot differ."""

    num_envs = 2


def test_an_engine_that_cannot_differ_is_named():
    with pytest.raises(ValueError, match="Plain cannot give robots their own parameters"):
        WORLDS["real"].vary(Plain(), rng())


@pytest.mark.parametrize(
    ("world", "message"),
    [
        (World(ball=replace(BallRanges(), restitution=(0.7, 1.2))), "ball ranges: restitution"),
        (World(ball=replace(BallRanges(), mass=(-0.05, 0.06))), "ball ranges: mass"),
        (World(ball=replace(BallRanges(), drag_per_metre=(0.04, 0.01))), "ball ranges: drag_per_metre"),
        (World(ball=replace(BallRanges(), friction=(0.5, math.nan))), "ball ranges: friction"),
        (World(ball=BallRanges(surfaces=("ice",))), "surface 'ice' is not known: one of clay"),
        (World(strings=StringRanges(restitution=(0.8, 1.1))), "string ranges: restitution"),
        (World(robot=RobotRanges(body_mass=(-1.0, 1.0))), "robot ranges: body_mass"),
        (World(robot=RobotRanges(foot_friction=(0.0, 1.0))), "robot ranges: foot_friction"),
        (World(senses=NoiseConfig(joint_pos=-1.0)), "noise of joint_pos"),
        (World(senses=NoiseConfig(min_frames=0)), "min_frames"),
    ],
)
def test_impossible_ranges_are_named(world, message):
    with pytest.raises(ValueError, match=message):
        world.check()


def test_an_unknown_world_lists_the_known_ones():
    with pytest.raises(ValueError, match="nominal, real, wide"):
        world_named("mars")
