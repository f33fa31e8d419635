"""Leads taught in games."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from humanoid.joints import NUM_JOINTS
from policies.player import Player, PlayerConfig
from policies.strokes import GOAL_SIZE, near_knots, provenance
from policies.train_lead import Strikes, misses, teach, watch, write


class Still(nn.Module):
    """A network that adds nothing."""

    def forward(self, seen):
        return torch.zeros(len(seen), NUM_JOINTS)


@pytest.fixture(scope="module")
def bent():
    """Strikes that miss by what depends on the goal as no polynomial does."""
    generator = torch.Generator().manual_seed(0)
    goal = 1.2 * torch.randn(1200, GOAL_SIZE, generator=generator)
    off = torch.zeros_like(goal)
    off[:, 2] = torch.tanh(3 * goal[:, 0]) * 0.4
    return Strikes(
        torch.arange(1200) % 2, goal, goal + off + 0.05 * torch.randn(goal.shape, generator=generator)
    )


def test_what_is_missed_is_asked_for_the_less(bare, bent):
    taught = teach(bare, bent)
    assert torch.equal(taught.lead, bare.lead)
    before = bent.met - bent.goal
    after = before - (bare.wanted(bent.stroke, bent.goal) - taught.wanted(bent.stroke, bent.goal))
    assert after[:, 2].std() < 0.5 * before[:, 2].std()


def test_far_from_all_goals_nothing_is_added(bare, bent):
    taught = teach(bare, bent)
    far = torch.full((2, GOAL_SIZE), 9.0)
    stroke = torch.arange(2)
    assert near_knots(far, taught.knots).max() < 1e-6
    assert torch.allclose(taught.wanted(stroke, far), bare.wanted(stroke, far), atol=1e-4)


def test_a_second_round_keeps_the_knots_and_takes_its_share(bare, bent):
    once = teach(bare, bent)
    twice = teach(once, replace(bent, met=bent.goal + 0.5 * (bent.met - bent.goal)), share=0.5)
    assert torch.equal(once.knots, twice.knots)
    assert torch.allclose(twice.bells, 1.25 * once.bells, atol=0.05 * float(once.bells.abs().max()))


def test_strikes_that_go_far_astray_bend_nothing(bare, bent):
    met = bent.met.clone()
    met[::50] += 30.0
    clean, spoilt = teach(bare, bent), teach(bare, replace(bent, met=met))
    off = clean.wanted(bent.stroke, bent.goal) - spoilt.wanted(bent.stroke, bent.goal)
    assert off.abs().median() < 0.05


def test_games_are_watched_strike_by_strike(bare):
    player = Player(bare, PlayerConfig())
    found = watch(player, Still(), "feed", 4, 3, 1)
    assert 12 <= len(found.stroke) <= 32
    figures = misses(bare, found)
    assert set(figures) == set(bare.names)
    # Strokes that play in a game are not far from their goals.
    assert all(side["miss_m"] < 0.12 and side["face_error_rad"] < 0.2 for side in figures.values())


def test_bells_are_written_beside_what_was_there(bare, bent, tmp_path):
    from policies.strokes import FAMILY_FOLDER, load_strokes

    for name in bare.names:
        (tmp_path / f"{name}.npz").write_bytes((FAMILY_FOLDER / f"{name}.npz").read_bytes())
    taught = teach(bare, bent)
    write(taught, misses(bare, bent), tmp_path)
    again = load_strokes(folder=tmp_path)
    assert torch.equal(again.bells, taught.bells)
    assert torch.equal(again.weights, bare.weights)
    assert provenance("forehand", tmp_path)["design"]["in_play"]["strikes"] == 600
