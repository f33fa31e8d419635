"""Learned distributions over launches: they draw what they say, keep it in a file, and refuse nonsense."""

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim.launch_distribution import DIMS, SPACE, LaunchMixture
from sim.launcher import Launcher


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def two(explore=0.0):
    """Fast balls twice as often as slow ones, everything else plain."""
    mean = torch.full((2, DIMS), 0.5)
    std = torch.full((2, DIMS), 1e3)
    mean[:, 3] = torch.tensor([0.2, 0.9])
    std[:, 3] = 0.05
    return LaunchMixture(mean, std, torch.tensor([1.0, 2.0]), explore)


def test_components_are_drawn_by_weight():
    speed = two().sample(20_000, rng())[:, 3]
    assert (speed > 0.5).double().mean() == pytest.approx(2 / 3, abs=0.01)
    assert speed[speed < 0.5].mean() == pytest.approx(0.2, abs=0.005)


def test_wide_coordinates_are_uniform():
    drawn = two().sample(20_000, rng())[:, 0]
    share = torch.histc(drawn, 10, 0.0, 1.0) / len(drawn)
    assert (share - 0.1).abs().max() < 0.01


def test_draws_stay_in_the_cube():
    corner = LaunchMixture(torch.zeros(1, DIMS), torch.full((1, DIMS), 0.3), torch.ones(1), 0.0)
    drawn = corner.sample(5000, rng())
    assert drawn.min() >= 0.0
    assert drawn.max() <= 1.0
    assert drawn.mean() == pytest.approx(0.3 * math.sqrt(2 / math.pi), abs=0.01)


def test_density_integrates_to_one():
    mixture = two(explore=0.25)
    points = torch.rand(200_000, DIMS, generator=rng(), dtype=torch.float64)
    assert mixture.density(points).mean() == pytest.approx(1.0, abs=0.02)


def test_density_is_that_of_the_draws():
    """Weighted by its inverse, draws are plain again."""
    mixture = two(explore=0.3)
    drawn = mixture.sample(50_000, rng())
    weight = 1 / mixture.density(drawn)
    mean = (weight.unsqueeze(1) * drawn).sum(0) / weight.sum()
    assert (mean - 0.5).abs().max() < 0.02


def test_outside_of_the_cube_there_is_no_density():
    assert two(explore=1.0).density(torch.full((1, DIMS), 1.1)).item() == 0.0


def test_narrow_components_are_a_list_of_launches():
    points = torch.rand(5, DIMS, generator=rng(1), dtype=torch.float64)
    mixture = LaunchMixture.around(points, torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0]), width=1e-4, explore=0.0)
    nearest = torch.cdist(mixture.sample(200, rng()), points).argmin(dim=1)
    assert set(nearest.tolist()) == {1, 3}


def test_a_file_gives_the_same_draws(tmp_path):
    two(0.3).save(tmp_path / "fast.npz")
    again = LaunchMixture.load(tmp_path / "fast.npz")
    assert torch.equal(again.sample(50, rng()), two(0.3).sample(50, rng()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": torch.full((2, DIMS), 1.5)}, "mean of component 0, release_x"),
        ({"mean": torch.full((2, 3), 0.5)}, r"mean has shape \(2, 3\)"),
        ({"std": torch.zeros(2, DIMS)}, "std of component 0"),
        ({"std": torch.full((2, DIMS), math.nan)}, "std of component 0"),
        ({"weight": torch.tensor([1.0, -1.0])}, "weight of component 1"),
        ({"weight": torch.zeros(2)}, "all weights are 0"),
        ({"weight": torch.ones(0)}, "expected"),
        ({"explore": math.nan}, "explore"),
    ],
)
def test_impossible_mixtures_are_named(change, message):
    mixture = two()
    values = {"mean": mixture.mean, "std": mixture.std, "weight": mixture.weight, "explore": 0.1} | change
    with pytest.raises(ValueError, match=message):
        LaunchMixture(**values)


def test_other_coordinates_are_refused(tmp_path):
    path = tmp_path / "old.npz"
    two().save(path)
    with np.load(path) as data:
        content = dict(data)
    content["space"] = np.array((*SPACE[1:], SPACE[0]))
    np.savez(path, **content)
    with pytest.raises(ValueError, match=r"old\.npz.*coordinates are release_y"):
        LaunchMixture.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.npz: no such file"):
        LaunchMixture.load(tmp_path / "none.npz")


def test_a_pickle_is_not_opened(tmp_path):
    path = tmp_path / "evil.npz"
    np.savez(path, format=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match=r"evil\.npz"):
        LaunchMixture.load(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 3000), at=st.integers(0, 3000), junk=st.binary(max_size=6))
def test_damaged_files_are_named(tmp_path, cut, at, junk):
    path = tmp_path / "damaged.npz"
    two().save(path)
    raw = path.read_bytes()
    at, cut = at % len(raw), cut % len(raw)
    path.write_bytes((raw[:at] + junk + raw[at + len(junk) :])[: len(raw) - cut])
    if path.read_bytes() == raw:
        return
    try:
        LaunchMixture.load(path)
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
    else:
        message = "ValueError: damaged.npz: still read"  # e.g. a date in the archive's table
    assert message.startswith("ValueError")
    assert "damaged.npz" in message


def test_the_launcher_draws_from_it():
    table = Launcher("rally", distribution=two()).draw(300, rng())
    speed = table.vel.norm(dim=-1)
    plain = Launcher("rally").draw(300, rng()).vel.norm(dim=-1)
    assert (speed > 18.0).float().mean() > 0.55
    assert (plain > 18.0).float().mean() < 0.4


def test_a_search_finds_what_a_player_fails_on():
    """A player who misses high, slow balls: after a round of play most draws are such balls."""
    points = Launcher("rally").draw(400, rng()).point
    missed = (points[:, 3] < 0.5) & (points[:, 7] > 0.6)
    mixture = LaunchMixture.around(points, missed.double(), width=0.08, explore=0.1)
    drawn = Launcher("rally", distribution=mixture).draw(400, rng(1)).point
    again = (drawn[:, 3] < 0.5) & (drawn[:, 7] > 0.6)
    assert missed.float().mean() < 0.25
    assert again.float().mean() > 0.6


def test_a_distribution_of_infeasible_balls_is_reported():
    slow = LaunchMixture.around(torch.full((1, DIMS), 0.05), width=0.001, explore=0.0)
    with pytest.raises(RuntimeError, match="distribution given draws hardly any ball"):
        Launcher("feed", distribution=slow).draw(2, rng(), max_rounds=2)
