"""What makes optimised strokes a family that a robot delivers."""

from dataclasses import replace

import numpy as np
import torch

from humanoid.dynamics import feedforward_torque
from policies.family import JOINT_POS, TORQUE, delivered, polynomial, strike, teach_lead, with_torque
from policies.player import MEMORY, Player, PlayerConfig


def test_goals_near_the_centres_are_delivered(bare, pool):
    """From rest; what games teach is for robots in a game."""
    strokes = bare
    met, fallen = delivered(Player(strokes, PlayerConfig(steps=False)), pool, 1)
    assert not fallen.any()
    off = (met - strokes.scaled(pool.stroke, pool.pos, pool.vel, pool.normal)) * strokes.scale[pool.stroke]
    assert off[:, :3].norm(dim=1).max() < 0.05
    assert off[:, 3:6].norm(dim=1).max() < 1.0
    assert torch.rad2deg(off[:, 6:].norm(dim=1)).max() < 6.0


def test_the_reference_passes_its_goal_exactly_but_for_the_lead(bare, goals_of, player):
    stroke, *goal = goals_of(1.5, 10)
    bare = replace(bare, lead=torch.zeros_like(bare.lead))
    scaled = bare.scaled(stroke, *goal)
    off = (
        bare.passes(stroke, bare.asked(stroke, bare.wanted(stroke, scaled), player.racket), player.racket)
        - scaled
    )
    naive = bare.passes(stroke, scaled, player.racket) - scaled
    assert off.norm(dim=1).median() < 0.1
    assert off.norm(dim=1).median() < 0.3 * naive.norm(dim=1).median()


def test_a_robot_on_its_reference_meets_what_the_stroke_passes(player, pool):
    strokes, n = player.strokes, len(pool)
    m = {name: torch.zeros(n, size) for name, size in MEMORY.items()}
    player.begin(m, torch.arange(n), pool)
    late = 0.01
    m.update(
        phase=strokes.strike[pool.stroke].float()[:, None] * player.dt - late,
        time=torch.full((n, 1), late), since=torch.full((n, 1), 9.0),
    )  # fmt: skip
    ref = player.reference(m)
    half = 0.5 * torch.atan2(ref.root_rot[:, 1, 0], ref.root_rot[:, 0, 0])
    zero = torch.zeros_like(half)
    terms = {
        "joint_pos": ref.joint_pos, "joint_vel": ref.joint_vel,
        "root_pos": ref.root_pos, "root_lin_vel": ref.root_lin_vel,
        "root_quat": torch.stack((half.cos(), zero, zero, half.sin()), dim=1), "base_ang_vel": ref.root_ang_vel,
    }  # fmt: skip
    wanted = strokes.wanted(pool.stroke, strokes.scaled(pool.stroke, pool.pos, pool.vel, pool.normal))
    off = (strike(player, terms, player.pack(m)) - wanted) * strokes.scale[pool.stroke]
    assert off[:, :3].norm(dim=1).max() < 0.01
    assert off[:, 6:].norm(dim=1).max() < 0.03


def test_torques_are_those_of_the_polynomials_own_motion(strokes):
    weights = strokes.weights[0].double().numpy()
    asked = 0.5 * np.random.default_rng(0).standard_normal((120, 8))
    spoilt = weights.copy()
    spoilt[1:-1, 0, TORQUE] += 3.0
    mended = with_torque(spoilt, asked, 1 / strokes.dt)
    row = np.einsum("f,tfc->tc", polynomial(asked[:1])[0], mended)
    half = 0.5 * row[:, 3]
    quat = np.stack([np.cos(half), 0 * half, 0 * half, np.sin(half)], axis=1)
    contacts = np.ones((len(row), 2), dtype=bool)
    own, _ = feedforward_torque(row[:, :3], quat, row[:, JOINT_POS], contacts, 1 / strokes.dt)
    assert np.sqrt(((row[1:-1, TORQUE] - own[1:-1])[:, 12:] ** 2).mean()) < 1.0
    # Nothing else is touched.
    np.testing.assert_array_equal(
        np.delete(mended, np.arange(66, 95), axis=2), np.delete(spoilt, np.arange(66, 95), axis=2)
    )
    np.testing.assert_array_equal(mended[[0, -1]], spoilt[[0, -1]])


def test_a_lead_takes_back_what_is_always_missed(strokes, pool):
    """Families that ask for 9 cm too much learn to ask for less."""
    lead = strokes.lead.clone()
    lead[:, 0, 2] -= 0.6
    wrong = replace(strokes, lead=lead)
    goals = pool.at(torch.arange(2).repeat(4))
    taught, figures = teach_lead(wrong, [goals, goals], 1)
    assert figures[1]["miss_m"] < 0.6 * figures[0]["miss_m"]
    moved = taught.lead[:, 0, 2] - wrong.lead[:, 0, 2]
    assert (moved > 0.2).all()
