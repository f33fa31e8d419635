"""What a policy relies on."""

import json

import numpy as np
import onnx
import pytest
import torch

from policies.evaluation import EvaluationError
from policies.influence import Confused, InfluenceConfig, Network, _Watching, names_of, run
from policies.player import OBSERVED, STEP_SIZE, Player
from policies.strokes import load_strokes


def test_a_quantity_comes_from_another_robot(strike, observations):
    terms = observations(strike, 3)
    seen = Confused(strike, "joint_pos").assemble(terms)
    true = strike.assemble(terms)
    other = strike.assemble({**terms, "joint_pos": terms["joint_pos"][[2, 0, 1]]})
    np.testing.assert_array_equal(seen, other)
    assert np.abs(seen - true).max() > 0.01
    np.testing.assert_array_equal(Confused(strike, None).assemble(terms), true)


def test_change_of_the_action_is_measured(strike, observations):
    confused = Confused(strike, "joint_pos")
    memory = strike.initial_memory(4)
    for step in range(20):
        _, memory = confused.act(confused.assemble(observations(strike, 4, step)), memory)
    assert len(confused.changes) == 2
    assert min(confused.changes) > 1e-3


def test_network_is_the_one_in_the_graph(strike, network, observations):
    watching = _Watching.of(strike, network)
    observation = strike.assemble(observations(strike, 5))
    memory = strike.initial_memory(5)
    action, after = watching.act(observation, memory)
    expected, expected_after = strike.act(observation, memory)
    np.testing.assert_array_equal(action, expected)
    np.testing.assert_array_equal(after, expected_after)
    seen = torch.from_numpy(watching.seen[0])
    with torch.no_grad():
        out = network.layers(seen).numpy()
    # The player's memory holds what the network said.
    place = Player.unpack(torch.from_numpy(after))["action"].numpy()
    np.testing.assert_allclose(place, np.clip(out, -3.0, 3.0), atol=1e-5)


def test_silencing_a_unit_is_leaving_it_out(strike, network, observations):
    seen = torch.randn(6, network.layers[0].in_features, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        hidden = network.layers[:-1](seen)
        hidden[:, 7] = 0.0
        expected = network.layers[-1](hidden)
    silenced = Network(onnx.load_model_from_string(network.silenced(7)))
    with torch.no_grad():
        torch.testing.assert_close(silenced.layers(seen), expected)
    # And the whole graph still runs.
    action, _ = strike.changed(network.silenced(7)).act(strike.assemble(observations(strike, 2)))
    assert np.isfinite(action).all()


def test_saliency_finds_what_the_output_depends_on(network):
    network = Network(network.graph)
    with torch.no_grad():
        network.layers[0].weight[:, 1:] = 0.0
    inputs, units = network.saliency(torch.randn(50, network.layers[0].in_features))
    assert inputs[0] == pytest.approx(1.0)
    assert float(units.sum()) == pytest.approx(1.0, abs=1e-5)


def test_names_cover_what_the_player_shows():
    strokes = load_strokes()
    player = Player(strokes)
    names = names_of(player.observation_size)
    assert sum(size for _, size in names) == player.observation_size
    assert names[-2] == ("which stroke", strokes.num_strokes)
    with pytest.raises(ValueError, match="another player's"):
        names_of(sum(size for _, size in OBSERVED) + STEP_SIZE)


def test_command_reports_inputs_of_a_policy_without_a_network(tmp_path, capsys):
    app = InfluenceConfig("stand", str(tmp_path), balls=16, threads=1, progress=False)
    assert run(app) == 0
    report = json.loads((tmp_path / "influence.json").read_text())
    assert report["network"] is None
    # It only stands: whatever it is shown, it asks for the same.
    for name, row in report["inputs"].items():
        assert name == "nothing" or row["action_rad"] == 0.0
        assert row["in_court"]["rate"] == 0.0
    assert "no network of rally-export in it; left out" in capsys.readouterr().err


@pytest.mark.parametrize(("key", "value"), [("balls", 8), ("units", -1)])
def test_impossible_values_are_refused(tmp_path, key, value):
    app = InfluenceConfig("stand", str(tmp_path), progress=False)
    setattr(app, key, value)
    with pytest.raises(EvaluationError, match=f"{key}={value}"):
        run(app)
