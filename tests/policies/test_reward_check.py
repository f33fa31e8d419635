"""Whether behaviour comes back when a reward trains another network."""

import json
from copy import copy
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from humanoid.bundle import BundleError
from policies.evaluation import EvaluationError
from policies.influence import EVERY, Network
from policies.reward_check import Compared, RewardCheckConfig, agreement, check, run, sections, shares


def player(rate: float, falls: float) -> dict:
    return {"in_court": {"rate": rate}, "success": {"rate": rate / 2}, "falls_per_100": falls}


def test_another_network_takes_the_place_of_the_graphs(network):
    generator = torch.Generator().manual_seed(0)
    other = Network(network.graph).layers
    for value in other.parameters():
        value.data = torch.randn(value.shape, generator=generator)
    placed = Network(onnx.load_model_from_string(network.replaced(other)))
    seen = torch.randn(4, network.layers[0].in_features, generator=generator)
    with torch.no_grad():
        torch.testing.assert_close(placed.layers(seen), other(seen))


def test_a_network_of_other_layers_does_not_fit(network):
    with pytest.raises(ValueError, match="does not fit"):
        network.replaced(torch.nn.Sequential(torch.nn.Linear(4, 29)))


def test_a_dumb_network_adds_nothing(strike, network, observations):
    placed = Network(onnx.load_model_from_string(network.dumb()))
    with torch.no_grad():
        assert placed.layers(torch.randn(3, network.layers[0].in_features)).abs().max() == 0
    rows = strike.assemble(observations(strike, 3))
    said = strike.changed(network.dumb()).act(rows, strike.initial_memory(3))[0]
    assert np.abs(said - strike.act(rows, strike.initial_memory(3))[0]).max() > 1e-4


def test_what_networks_add_is_noted_in_the_same_states(strike, network, observations):
    without = strike.changed(network.dumb())
    compared = Compared(strike, strike, without)
    memory = own = strike.initial_memory(2)
    for step in range(2 * EVERY):
        rows = strike.assemble(observations(strike, 2, step))
        said, memory = compared.act(rows, memory)
        expected, own = strike.act(rows, own)
        np.testing.assert_array_equal(said, expected)
    assert len(compared.added) == 2
    own_added, again = compared.added[-1]
    np.testing.assert_array_equal(own_added, again)
    assert np.abs(own_added).max() > 1e-4


def test_agreement_is_of_corrections_joint_by_joint():
    rng = np.random.default_rng(0)
    own, other = rng.normal(size=(2, 200, 29))
    anew = 0.5 * own
    anew[:, 12:15] = other[:, 12:15]
    found = agreement(np.stack([own, anew]))
    assert found["legs"] == {"correlation": pytest.approx(1.0), "size": pytest.approx(0.5)}
    assert abs(found["waist"]["correlation"]) < 0.15
    assert found["waist"]["size"] == pytest.approx(1.0, abs=0.1)
    assert agreement(np.zeros((2, 3, 29)))["all"] == {"correlation": 0.0, "size": 0.0}


def test_shares_are_of_what_the_own_network_brings():
    players = {"own": player(0.9, 1.0), "again": player(0.8, 2.0), "without": player(0.5, 5.0)}
    assert shares(players) == {
        "in_court": pytest.approx(0.75),
        "success": pytest.approx(0.75),
        "falls": pytest.approx(0.75),
    }
    worse = shares({**players, "again": player(0.4, 6.0)})
    assert worse["in_court"] < 0
    assert worse["falls"] < 0
    nothing = shares({**players, "own": player(0.5, 5.0)})
    assert nothing == {"in_court": None, "success": None, "falls": None}


def test_the_policys_own_seed_is_refused(strike, tmp_path):
    with pytest.raises(EvaluationError, match="train_seed=0"):
        check(strike, RewardCheckConfig(policy="strike", output=str(tmp_path), train_seed=0))


def test_a_bundle_without_a_configuration_is_refused(strike, tmp_path):
    bare = copy(strike)
    bare.manifest = {**strike.manifest, "training": {}}
    with pytest.raises(BundleError, match="cannot be trained again"):
        check(bare, RewardCheckConfig(policy="strike", output=str(tmp_path)))


@pytest.mark.parametrize(("change", "message"), [({"minutes": 0.0}, "minutes=0"), ({"balls": 0}, "balls=0")])
def test_nonsense_is_refused(tmp_path, change, message):
    with pytest.raises(EvaluationError, match=message):
        run(replace(RewardCheckConfig(policy="strike", output=str(tmp_path)), **change))


def test_a_check_from_end_to_end(strike, tmp_path, capsys):
    """A moment's training of few robots: the report is whole and its text readable."""
    config = json.loads(json.dumps(strike.manifest["training"]["config"]))
    config["goals"], config["level"] = 64, "feed"
    config["task"]["num_envs"], config["ppo"]["steps"] = 8, 8
    small = copy(strike)
    small.manifest = {**strike.manifest, "training": {**strike.manifest["training"], "config": config}}
    app = RewardCheckConfig(
        policy="strike", output=str(tmp_path), minutes=0.01, balls=16, threads=1, progress=False
    )
    report = check(small, app)
    assert report["trained"]["seed"] == 1
    assert report["trained"]["samples"] >= 64
    assert set(report["players"]) == {"own", "again", "without"}
    # A network that has learned nothing yet says next to nothing.
    assert report["corrections"]["all"]["size"] < 0.3
    text = "\n".join(s.title for s in sections(report))
    assert "Trained again with the same reward" in text
    assert (tmp_path / "again" / "checkpoint.pt").exists()
