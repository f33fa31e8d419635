"""What the planner has learned: the racket that returns a ball, and what a stroke is worth."""

import torch

from policies.goal_pool import join
from policies.perceptron import load
from policies.planner import AIM_INPUTS, AIM_OUTPUTS, WORTH_INPUTS, WORTH_OUTPUTS, Planner
from policies.player import Player, PlayerConfig
from policies.strike_task import StrikeTask, StrikeTaskConfig
from policies.train_aim import examples, meetings
from policies.train_worth import FARTHEST, candidates, chances, inputs, play


def test_the_shipped_network_knows_the_racket():
    """Against the solver's own answers for other balls."""
    x, y = examples(torch.Generator().manual_seed(77), 1500)
    off = load("aim", (AIM_INPUTS, AIM_OUTPUTS))(x) - y
    assert off[:, :3].norm(dim=1).median() < 0.1
    assert off[:, :3].norm(dim=1).quantile(0.95) < 0.4
    assert off[:, 3:].norm(dim=1).median() < 0.005


def test_balls_to_meet_are_near_the_baseline_and_within_reach():
    pos, vel, _ = meetings(torch.Generator().manual_seed(1), 60)
    assert len(pos) > 200
    assert (pos[:, 0] + 11.9).abs().max() < 1.6
    assert pos[:, 2].min() > 0.3
    assert (vel[:, 0] < 0).float().mean() > 0.95


def test_candidates_are_within_the_families_range_and_known_about(strokes):
    planner = Planner(strokes)
    pool = candidates(planner, 100, torch.Generator().manual_seed(0))
    assert len(pool) == 100
    scaled = strokes.scaled(pool.stroke, pool.pos, pool.vel, pool.normal)
    assert strokes.distance(pool.stroke, scaled).max() < FARTHEST
    local = pool.ball_pos
    low, high = strokes.low[pool.stroke] - 0.1, strokes.high[pool.stroke] + 0.1
    assert ((local > low) & (local < high)).all()
    both = join(pool.at(torch.arange(3)), pool.at(torch.arange(5)))
    assert len(both) == 8
    torch.testing.assert_close(both.aim[3:6], both.aim[:3])


def test_strokes_are_judged_and_chances_learned_from_them(strokes, tmp_path):
    player = Player(strokes, PlayerConfig())
    pool = candidates(player.planner, 60, torch.Generator().manual_seed(0))
    config = StrikeTaskConfig(num_envs=12, push=0.0, step_share=0.0, pause=(0.0, 0.1))
    rows, ends = play(StrikeTask(player, pool, config, 0, 1), None, 24)
    assert len(rows) >= 24
    assert ((ends == 0) | (ends == 1)).all()
    assert 0.1 < ends[:, 0].mean() <= 1.0
    chances(player.planner, inputs(player.planner, pool.at(rows)), ends, 5, folder=tmp_path)
    said = load("worth", (WORTH_INPUTS, WORTH_OUTPUTS), tmp_path)(inputs(player.planner, pool))
    assert said.shape == (60, WORTH_OUTPUTS)
    assert said.isfinite().all()


def test_the_shipped_network_tells_good_strokes_from_bad(strokes):
    """Goals like those that a family was learned from are worth more than those far from them."""
    planner = Planner(strokes)
    pool = candidates(planner, 1500, torch.Generator().manual_seed(3))
    scaled = strokes.scaled(pool.stroke, pool.pos, pool.vel, pool.normal)
    distance = strokes.distance(pool.stroke, scaled)
    odds = torch.sigmoid(planner.judge(inputs(planner, pool)))
    near, far = distance < 2.2, distance > 3.5
    assert odds[near, 0].mean() > odds[far, 0].mean() + 0.2
    assert odds[near, 1].mean() > odds[far, 1].mean() + 0.2
    # Falls are rare at any distance: what lies beyond the families' own goals is not asked of them.
    assert odds[near, 2].mean() < 0.1
    assert odds[far, 2].mean() < 0.1
