"""Goals drawn from launched balls."""

import pytest
import torch

from policies.goals import GoalError, draw_goals
from policies.planner import PlannerConfig
from policies.player import Player, PlayerConfig


@pytest.fixture(scope="module")
def drawn(player):
    return draw_goals(player, "feed", 100, torch.Generator().manual_seed(1))


def test_goals_are_of_the_stance_and_within_its_reach(player, drawn):
    assert len(drawn) > 0
    assert drawn.met == pytest.approx(len(drawn) / 100)
    off = (drawn.pos - player.strokes.contact_pos[drawn.stroke]) / torch.tensor(player.planner.config.reach)
    assert off.norm(dim=1).max() < player.planner.config.limit + 0.5


def test_the_stroke_begins_in_time(player, drawn):
    strike_s = player.strokes.strike[drawn.stroke].float() * player.dt
    assert (drawn.time <= strike_s + 1e-6).all()
    assert (drawn.time >= player.planner.config.lead - 1e-6).all()


def test_the_goals_ball_and_strings_come_together(drawn):
    """Within a hundredth or two of the strike, as both move on."""
    gap, closing = drawn.ball_pos - 0.0335 * drawn.normal - drawn.pos, drawn.ball_vel - drawn.vel
    after = -(gap * closing).sum(1) / (closing * closing).sum(1)
    assert after.abs().max() < 0.025
    assert (gap + closing * after[:, None]).norm(dim=1).max() < 0.02
    assert ((closing * drawn.normal).sum(1) < 0).all(), "they approach each other"


def test_goals_can_be_chosen_by_number(drawn):
    some = drawn.at(torch.tensor([0, 0]))
    assert len(some) == 2
    assert torch.equal(some.pos[1], drawn.pos[0])
    assert some.start_x == drawn.start_x


def test_no_ball_within_reach_is_an_error_that_says_what_to_do(strokes):
    picky = Player(strokes, PlayerConfig(planner=PlannerConfig(limit=0.0)))
    with pytest.raises(GoalError, match=r"none of 4 balls of level 'feed'.*goals=.*player\.strokes="):
        draw_goals(picky, "feed", 4, torch.Generator().manual_seed(1))
