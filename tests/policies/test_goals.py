"""Goals drawn from launched balls."""

from dataclasses import replace

import pytest
import torch

from policies.goals import GoalError, draw_goals
from policies.player import Player, PlayerConfig
from sim.ball_sim import BallSim
from sim.launcher import Launcher, LauncherConfig

COUNT, START = 100, (-11.9, 0.0)


@pytest.fixture(scope="module")
def drawn(player):
    return draw_goals(player, "feed", COUNT, torch.Generator().manual_seed(1), START)


@pytest.fixture(scope="module")
def flights():
    """The same balls, flown: positions relative to the stance (T, N, 3) and how often they have bounced (T, N)."""
    table = Launcher("feed", LauncherConfig(start=START)).draw(COUNT, torch.Generator().manual_seed(1))
    balls = BallSim(COUNT)
    balls.set_params(table.params)
    balls.reset(torch.arange(COUNT), table.pos, table.vel, table.spin)
    pos, bounces = [], [torch.zeros(COUNT)]
    for _ in range(600):
        pos.append(balls.state.pos - torch.tensor([*START, 0.0]))
        bounces.append(bounces[-1] + balls.step(0.005).bounced)
    return torch.stack(pos), torch.stack(bounces[:-1])


def test_goals_are_of_the_stance_and_within_their_familys_range(player, drawn):
    assert len(drawn) > 0.5 * COUNT
    assert drawn.met == pytest.approx(len(drawn) / COUNT)
    low, high = player.strokes.low[drawn.stroke], player.strokes.high[drawn.stroke]
    slack = player.planner.config.margin + 0.5 * player.dt * drawn.ball_vel.norm(dim=1, keepdim=True)
    assert ((drawn.ball_pos > low - slack) & (drawn.ball_pos < high + slack)).all()
    assert set(drawn.stroke.tolist()) == {0, 1}
    assert torch.equal(drawn.ball_pos[:, 1] < 0, drawn.stroke == 0)


def test_the_stroke_begins_in_time(player, drawn):
    strike_s = player.strokes.strike[drawn.stroke].float() * player.dt
    assert (drawn.time <= strike_s + 1e-6).all()
    # The ball may be met up to half a step before the moment that was judged.
    assert (drawn.time >= player.planner.config.lead - 0.5 * player.dt - 1e-6).all()


def test_the_goals_ball_and_strings_come_together(drawn):
    """Within a hundredth or two of the strike, as both move on."""
    gap, closing = drawn.ball_pos - 0.0335 * drawn.normal - drawn.pos, drawn.ball_vel - drawn.vel
    after = -(gap * closing).sum(1) / (closing * closing).sum(1)
    assert after.abs().max() < 0.025
    assert (gap + closing * after[:, None]).norm(dim=1).max() < 0.02
    assert ((closing * drawn.normal).sum(1) < 0).all(), "they approach each other"


def off_path(drawn, flights) -> torch.Tensor:
    """Distance of the goals' balls from the nearest place where a launched ball was between its two bounces."""
    pos, bounces = flights
    once = torch.where((bounces == 1)[..., None], pos, torch.full_like(pos, 99.0)).flatten(0, 1)
    return torch.cdist(drawn.ball_pos, once).min(dim=1).values


def test_the_goals_balls_are_the_launched_ones_between_their_two_bounces(drawn, flights):
    """As foreseen with usual physics and without their spin."""
    away = off_path(drawn, flights)
    assert away.median() < 0.05
    assert away.max() < 0.4


def test_a_ball_that_has_bounced_is_met_before_it_bounces_again(player, flights):
    """By a player so quick that nearly all balls have bounced when it begins; one that forgets the bounce would
    wait for another."""
    quick = replace(player.strokes, strike=torch.tensor([12, 12]))
    config = replace(player.config, planner=replace(player.planner.config, lead=0.2))
    drawn = draw_goals(Player(quick, config), "feed", COUNT, torch.Generator().manual_seed(1), START)
    assert len(drawn) > 0.5 * COUNT
    assert off_path(drawn, flights).max() < 0.1


def test_the_same_seed_gives_the_same_goals(player, drawn):
    again = draw_goals(player, "feed", COUNT, torch.Generator().manual_seed(1), START)
    for name in ("stroke", "time", "pos", "vel", "normal", "ball_pos", "ball_vel", "ball_spin"):
        assert torch.equal(getattr(again, name), getattr(drawn, name)), name


def test_goals_can_be_chosen_by_number(drawn):
    some = drawn.at(torch.tensor([0, 0]))
    assert len(some) == 2
    assert torch.equal(some.pos[1], drawn.pos[0])
    assert some.start_x == drawn.start_x


def test_no_ball_within_reach_is_an_error_that_says_what_to_do(strokes):
    nowhere = replace(strokes, low=strokes.low + 50.0, high=strokes.high + 50.0)
    with pytest.raises(GoalError, match=r"none of 4 balls of level 'feed'.*goals=.*player\.strokes="):
        draw_goals(Player(nowhere, PlayerConfig()), "feed", 4, torch.Generator().manual_seed(1))
