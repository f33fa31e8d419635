"""Launches against the simulation they are meant for."""

import pytest
import torch

from sim.ball import RPM, BallParams
from sim.ball_ranges import BallRanges
from sim.ball_sim import BallSim
from sim.court import in_singles_court
from sim.launch_solver import MISS
from sim.launcher import LEVELS, Launcher, LauncherConfig, Level

N = 150


@pytest.fixture(scope="module", params=list(LEVELS))
def drawn(request):
    physics = BallRanges() if request.param == "rally" else None
    return request.param, Launcher(request.param).draw(N, torch.Generator().manual_seed(3), physics)


def test_draws_lie_in_the_levels_ranges(drawn):
    name, table = drawn
    level, config = LEVELS[name], LauncherConfig()
    assert len(table) == N
    speed = table.vel.norm(dim=-1)
    assert speed.min() >= level.speed[0] - 1e-3
    assert speed.max() <= level.speed[1] + 1e-3
    assert table.spin.norm(dim=-1).max() <= level.spin_rpm[1] * RPM * 1.0001
    for axis, bounds in enumerate((config.release_x, config.release_y, config.release_z)):
        assert table.pos[:, axis].min() >= bounds[0]
        assert table.pos[:, axis].max() <= bounds[1]
    start = torch.tensor([*config.start, 0.0])
    natural = start + torch.tensor([config.forehand, config.backhand])
    assert torch.cdist(table.meet_pos, natural).min(dim=1).values.max() <= level.reach + 1e-4


def test_balls_do_what_the_table_says(drawn):
    """Flown in the simulation under its own physics, each ball clears the net, bounces once in the singles
    court, and is at the meeting point at the meeting time."""
    _, table = drawn
    sim, dt = BallSim(N, table.params), 0.004
    sim.reset(torch.arange(N), table.pos, table.vel, table.spin)
    bounces = torch.zeros(N)
    place = torch.zeros(N, 3)
    nearest = torch.full((N,), torch.inf)
    when, bounces_then = torch.zeros(N), torch.zeros(N)
    for i in range(1100):
        before = sim.state.pos.clone()
        events = sim.step(dt)
        assert not (events.net & (bounces == 0)).any()
        place = torch.where((events.bounced & (bounces == 0))[:, None], events.bounce_pos, place)
        bounces += events.bounced
        # Nearest point of this step's path.
        way = sim.state.pos - before
        u = (((table.meet_pos - before) * way).sum(-1) / (way * way).sum(-1).clamp(min=1e-9)).clamp(0, 1)
        gap = (before + u[:, None] * way - table.meet_pos).norm(dim=-1)
        closer = gap < nearest
        nearest = torch.where(closer, gap, nearest)
        when = torch.where(closer, (i + u) * dt, when)
        bounces_then = torch.where(closer, bounces, bounces_then)
    assert nearest.max() < MISS + 0.005
    assert (when - table.meet_time).abs().max() < 0.01
    assert (bounces_then == 1).all()
    assert in_singles_court(place, "near", margin=0.005).all()
    assert (place - table.bounce_pos).norm(dim=-1).max() < 0.02


def test_launches_clear_the_net_by_the_margin(drawn):
    assert drawn[1].clearance.min() >= LauncherConfig().clearance


def test_strokes_and_zones_are_labelled(drawn):
    name, table = drawn
    middle = 0.5 * (LauncherConfig().forehand[1] + LauncherConfig().backhand[1])
    assert 0.3 < table.backhand.float().mean() < 0.7
    assert (table.meet_pos[table.backhand, 1] > middle - 0.01).all()
    assert (table.meet_pos[~table.backhand, 1] < middle + 0.01).all()
    ahead = table.meet_pos[:, 0] > LauncherConfig().start[0] + 1.0
    assert torch.equal(table.forecourt, ahead)
    assert table.forecourt.any().item() == (name != "feed")


def test_a_seed_means_the_same_balls():
    draw = [Launcher("rally").draw(20, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draw[0].vel, draw[1].vel)
    assert torch.equal(draw[0].meet_pos, draw[1].meet_pos)
    assert not torch.equal(draw[0].vel, draw[2].vel)


def test_physics_given_per_launch_stay_with_their_launch():
    k = torch.linspace(0.01, 0.03, 40)
    params = BallParams(restitution=torch.linspace(0.71, 0.79, 40)).with_drag_per_metre(k)
    table = Launcher("rally").draw(40, torch.Generator().manual_seed(0), params)
    torch.testing.assert_close(torch.as_tensor(table.params.restitution), torch.linspace(0.71, 0.79, 40))
    torch.testing.assert_close(
        torch.as_tensor(table.params.drag_coefficient), torch.as_tensor(params.drag_coefficient)
    )


def test_the_player_may_start_elsewhere():
    config = LauncherConfig(start=(-11.0, 1.0), forehand=(0.3, -0.5, 0.9), backhand=(0.3, 0.5, 0.9))
    table = Launcher(Level((14.0, 18.0), (0.0, 500.0), reach=0.2), config).draw(
        20, torch.Generator().manual_seed(0)
    )
    assert (table.meet_pos[:, 0] + 10.7).abs().max() <= 0.2
    assert (table.meet_pos[:, 1] - 1.0).abs().max() <= 0.7


def test_balls_that_cannot_arrive_are_reported_not_bent():
    slow = Launcher(Level(speed=(5.0, 6.0), spin_rpm=(0.0, 0.0), reach=0.3))
    with pytest.raises(RuntimeError, match="3 of 3 launches have no feasible draw after 2 rounds"):
        slow.draw(3, torch.Generator().manual_seed(0), max_rounds=2)


def test_an_unknown_level_lists_the_known_ones():
    with pytest.raises(ValueError, match="feed, rally, match"):
        Launcher("serve")


def test_a_table_is_picked_by_index():
    table = Launcher("rally").draw(10, torch.Generator().manual_seed(0))
    some = table.at(torch.tensor([7, 2]))
    assert torch.equal(some.pos, table.pos[[7, 2]])
    assert torch.equal(torch.as_tensor(some.params.mass), torch.as_tensor(table.params.mass)[[7, 2]])
    assert some.acceptance == table.acceptance


# Recorded before launches became points of a launch space: plain draws of a seed stay what they were.
PINNED = {
    "feed": [[-11.4856, 0.132, 7.2858], [-10.5322, -0.169, 8.3442], [-11.4709, -0.0289, 7.5837]],
    "rally": [[-14.156, 0.6774, 4.7403], [-19.041, 0.2722, 3.8994], [-13.6827, 1.5682, 6.4263]],
    "match": [[-20.7144, 1.5617, 4.2433], [-15.3815, -0.4517, 6.4335], [-16.4804, -1.2008, 1.2454]],
}


@pytest.mark.parametrize("level", list(PINNED))
def test_plain_draws_of_a_seed_stay_what_they_were(level):
    physics = BallRanges() if level == "match" else None
    table = Launcher(level).draw(3, torch.Generator().manual_seed(11), physics)
    torch.testing.assert_close(table.vel, torch.tensor(PINNED[level]), atol=2e-3, rtol=0)


def test_points_tell_how_a_launch_was_drawn():
    """The launch of a point that was drawn is the launch that was drawn."""
    table = Launcher("match").draw(40, torch.Generator().manual_seed(0))
    ids, again = Launcher("match").launches(table.point)
    assert ids.tolist() == list(range(40))
    assert torch.equal(again.vel, table.vel)
    assert torch.equal(again.meet_pos, table.meet_pos)


def test_infeasible_points_are_left_out_whole():
    points = torch.rand(500, 10, generator=torch.Generator().manual_seed(0))
    ids, table = Launcher("feed").launches(points)
    assert 0 < len(ids) < 100
    assert torch.equal(table.point, points[ids])
    speed = 8.0 + 6.0 * points[ids, 3]
    torch.testing.assert_close(table.vel.norm(dim=-1), speed)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (torch.full((2, 10), 1.2), "launch point 0: release_x = 1.2"),
        (torch.full((2, 10), float("nan")), "launch point 0: release_x = nan"),
        (torch.zeros(2, 9), r"shape \(2, 9\)"),
    ],
)
def test_impossible_points_are_named(points, message):
    with pytest.raises(ValueError, match=message):
        Launcher("rally").launches(points)


def test_counts_tell_which_draws_are_feasible():
    table = Launcher("feed").draw(200, torch.Generator().manual_seed(0))
    counts = table.counts
    assert (counts.tried.sum(dim=1) == counts.tried[0].sum()).all()
    assert (counts.kept.sum(dim=1) == counts.kept[0].sum()).all()
    assert (counts.kept <= counts.tried).all()
    assert counts.acceptance == table.acceptance < 0.15
    speed = counts.kept[3] / counts.tried[3]
    assert speed[:4].max() == 0.0  # a slow ball from there does not arrive
    assert speed[7] > 0.3


def test_even_draws_are_feasible_and_repeatable():
    first, again, other = (Launcher("rally").draw_even(64, seed) for seed in (1, 1, 2))
    assert torch.equal(first.vel, again.vel)
    assert not torch.equal(first.vel, other.vel)
    assert first.clearance.min() >= LauncherConfig().clearance
    more = Launcher("rally").draw_even(200, 1)
    assert torch.equal(more.vel[:64], first.vel)


def test_even_draws_know_no_bent_balls_either():
    slow = Launcher(Level(speed=(5.0, 6.0), spin_rpm=(0.0, 0.0), reach=0.3))
    with pytest.raises(RuntimeError, match="only 0 of 3 launches are feasible"):
        slow.draw_even(3, 0, max_rounds=2)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"release_x": (10.0, 8.0)}, "release_x"),
        ({"release_z": (-1.0, 1.0)}, "release_z"),
        ({"release_y": (0.0, float("nan"))}, "release_y"),
        ({"start": (float("inf"), 0.0)}, "start"),
    ],
)
def test_impossible_places_are_named(change, field):
    with pytest.raises(ValueError, match=f"launcher: {field}"):
        Launcher("feed", LauncherConfig(**change))


@pytest.mark.parametrize(
    ("level", "field"),
    [
        (Level((-1.0, 5.0), (0.0, 100.0), 1.0), "speed"),
        (Level((5.0, 9.0), (100.0, 0.0), 1.0), "spin_rpm"),
        (Level((5.0, 9.0), (0.0, 100.0), -1.0), "reach"),
    ],
)
def test_impossible_levels_are_named(level, field):
    with pytest.raises(ValueError, match=f"launch level: {field}"):
        Launcher(level)
