"""Small networks in files: what is fitted is saved, and what is damaged is refused."""

import numpy as np
import pytest
import torch

from policies.perceptron import PerceptronError, fit, load, save
from policies.planner import AIM_INPUTS, AIM_OUTPUTS, WORTH_INPUTS, WORTH_OUTPUTS


@pytest.fixture(scope="module")
def line():
    """A fit of y = 3 x0 - x1 + 100 on inputs far from zero, with its data."""
    torch.manual_seed(0)
    x = torch.randn(2000, 2) * torch.tensor([5.0, 0.1]) + torch.tensor([50.0, -3.0])
    y = x @ torch.tensor([[3.0], [-1.0]]) + 100.0
    return *fit(x, y, (16,), 600, torch.nn.functional.mse_loss), x, y


def test_a_fit_finds_the_rule_whatever_the_units(line, tmp_path):
    net, scales, x, y = line
    save(tmp_path / "rule.npz", net, scales, {})
    network = load("rule", (2, 1), tmp_path)
    assert (network(x) - y).abs().median() < 0.02 * y.std()
    torch.testing.assert_close(
        network(x), net((x - scales[0]) / scales[1]) * scales[3] + scales[2], rtol=1e-4, atol=1e-2
    )


def test_odds_are_not_scaled():
    x = torch.randn(1000, 1)
    _, scales = fit(
        x, (x > 0).float(), (4,), 5, torch.nn.functional.binary_cross_entropy_with_logits, scale_out=False
    )
    assert scales[2].tolist() == [0.0]
    assert scales[3].tolist() == [1.0]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda f: f.unlink(), "cannot be read"),
        (lambda f: f.write_bytes(f.read_bytes()[:100]), "cannot be read"),
        (lambda f: np.savez(f, weight0=np.ones((1, 2))), "cannot be read"),
    ],
)
def test_a_damaged_file_is_refused_by_name(line, tmp_path, damage, says):
    save(tmp_path / "rule.npz", line[0], line[1], {})
    damage(tmp_path / "rule.npz")
    with pytest.raises(PerceptronError, match=f"rule.npz: {says}"):
        load("rule", (2, 1), tmp_path)


def test_numbers_that_are_none_are_refused(line, tmp_path):
    mean, *rest = line[1]
    save(tmp_path / "rule.npz", line[0], (mean * torch.nan, *rest), {})
    with pytest.raises(PerceptronError, match="not finite"):
        load("rule", (2, 1), tmp_path)


def test_another_shape_is_refused(line, tmp_path):
    save(tmp_path / "rule.npz", line[0], line[1], {})
    with pytest.raises(PerceptronError, match=r"has \(2, 1\) inputs and outputs, expected \(3, 1\)"):
        load("rule", (3, 1), tmp_path)


def test_what_ships_fits_the_planner():
    load("aim", (AIM_INPUTS, AIM_OUTPUTS))
    load("worth", (WORTH_INPUTS, WORTH_OUTPUTS))
