"""Players as bundles: the exported graph is the player."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from humanoid.bundle import BundleError, PolicyBundle, make_manifest, write_bundle
from humanoid.joints import READY_JOINT_POS
from policies.checkpoint import save_checkpoint
from policies.config import PpoConfig, TrainConfig, plain
from policies.export import PlayerModule, build_network, export_run, parity
from policies.export_command import main
from policies.player import MEMORY_SIZE, Player, PlayerConfig, split_terms
from sim.ball import BallState
from sim.predict import predict
from sim.return_task import TERMS


@pytest.fixture(scope="module")
def config(strokes):
    return TrainConfig(ppo=PpoConfig(hidden=(16,)), player=PlayerConfig(strokes=strokes.names))


@pytest.fixture(scope="module")
def weights(player):
    torch.manual_seed(3)
    layers = nn.Sequential(nn.Linear(player.observation_size, 16), nn.ELU(), nn.Linear(16, 29))
    return {
        **{f"mlp.{key}": value for key, value in layers.state_dict().items()},
        "distribution.log_std_param": torch.zeros(29),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory, config, weights):
    """Of a run with a checkpoint."""
    folder = tmp_path_factory.mktemp("export")
    state = {
        "config": plain(config),
        "learner": {"actor_state_dict": weights},
        "samples": 7,
        "wall_s": 1.23,
    }
    save_checkpoint(folder / "checkpoint.pt", state)
    return folder


@pytest.fixture(scope="module")
def bundle(folder):
    return export_run(folder / "checkpoint.pt", folder / "tiny", "tiny", "A test.")


def rows(n: int, seed: int) -> torch.Tensor:
    """Robots that lean this way and that, and balls on their way, as raw observations."""
    generator = torch.Generator().manual_seed(seed)

    def normal(size: int, scale: float) -> torch.Tensor:
        return scale * torch.randn(n, size, generator=generator)

    terms = {
        "joint_pos": torch.as_tensor(READY_JOINT_POS.copy(), dtype=torch.float32) + normal(29, 0.1),
        "joint_vel": normal(29, 1.0),
        "base_ang_vel": normal(3, 0.3),
        "root_quat": nn.functional.normalize(torch.tensor([1.0, 0, 0, 0]) + normal(4, 0.1), dim=1),
        "root_pos": torch.tensor([-11.9, 0.0, 0.73]) + normal(3, 0.05),
        "root_lin_vel": normal(3, 0.2),
        "ball_pos": torch.tensor([-3.0, -0.6, 1.2]) + normal(3, 0.5),
        "ball_vel": torch.tensor([-9.0, 0.0, 1.5]) + normal(3, 0.5),
        "ball_valid": (torch.rand(n, 1, generator=generator) < 0.8).float(),
        "target": torch.tensor([5.0, 0.0]) + normal(2, 1.0),
    }
    return torch.cat([terms[name] for name in TERMS], dim=1)


def test_the_bundle_acts_as_the_trained_player(bundle, player, config, weights):
    network = build_network(config, weights, player.observation_size)
    module = PlayerModule(player, network)
    assert parity(module, bundle, rows(64, 0).numpy()) < 1e-4


def test_they_agree_from_the_balls_launch_to_after_the_strike(bundle, player, config, weights):
    """Each on its own memory: balls come, bounce, and are struck at; robots stand and lean."""
    module = PlayerModule(player, build_network(config, weights, player.observation_size))
    n, steps = 32, 80
    first = split_terms(rows(n, 1))
    ball = BallState(first["ball_pos"], first["ball_vel"], torch.zeros(n, 3))
    path = predict(ball, player.planner.params, steps * player.dt, player.dt)
    own, theirs = torch.zeros(n, MEMORY_SIZE), torch.zeros(n, MEMORY_SIZE).numpy()
    begun, over = torch.zeros(n).bool(), torch.zeros(n).bool()
    for t in range(steps):
        terms = {**first, "ball_pos": path.pos[:, t], "ball_vel": path.vel[:, t]}
        observation = torch.cat([terms[name] for name in TERMS], dim=1)
        with torch.no_grad():
            targets, own = module(observation, own)
        got, theirs = bundle.act(observation.numpy(), theirs)
        off = np.sort(abs(got - targets.numpy()).max(axis=1))
        # One ball asks for a stroke far out, where what is asked of the family magnifies rounding.
        assert off[-2] < 1e-4
        assert off[-1] < 2e-3
        active = Player.unpack(own)["begun"][:, 0] > 0.5
        begun, over = begun | active, over | (begun & ~active)
    assert begun.sum() > 3, "some strokes begin"
    assert over.sum() > 3, "and strike"
    assert Player.unpack(own)["bounced"].sum() > 3, "balls bounce"


def test_the_networks_mean_is_the_actors(player, config, weights):
    network = build_network(config, weights, player.observation_size)
    x = torch.randn(5, player.observation_size)
    hidden = nn.functional.elu(x @ weights["mlp.0.weight"].T + weights["mlp.0.bias"])
    expected = hidden @ weights["mlp.2.weight"].T + weights["mlp.2.bias"]
    assert torch.allclose(network(x), expected, atol=1e-5)


def test_the_manifest_tells_where_it_comes_from(bundle, config):
    manifest = bundle.manifest
    assert manifest["training"]["samples"] == 7
    assert manifest["training"]["config"] == json.loads(json.dumps(plain(config)))
    assert manifest["data_sources"][0]["licence"] == "CC BY-SA 3.0"
    assert "SHARE" in manifest["licence"].upper() or "BY-SA" in manifest["licence"]
    assert bundle.memory_size == MEMORY_SIZE


def test_a_bundle_of_another_layout_is_refused(tmp_path, bundle):
    data = (bundle.folder / "policy.onnx").read_bytes()
    manifest = make_manifest(
        name="short", description="Lacks the target.", terms=list(TERMS)[:-1], memory_size=MEMORY_SIZE
    )
    with pytest.raises(BundleError, match=r"the manifest's layout has"):
        write_bundle(tmp_path / "short", data, manifest)


def test_a_layout_changed_after_export_is_refused(tmp_path, bundle):
    folder = tmp_path / "changed"
    folder.mkdir()
    (folder / "policy.onnx").write_bytes((bundle.folder / "policy.onnx").read_bytes())
    text = (bundle.folder / "manifest.json").read_text()
    manifest = json.loads(text)
    manifest["observation"]["terms"] = manifest["observation"]["terms"][::-1]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"manifest\.json"):
        PolicyBundle.load(str(folder))


# The command


def test_a_run_becomes_a_bundle(folder, tmp_path, bundle, capsys):
    with pytest.raises(SystemExit) as end:
        main([f"run={folder}", f"output={tmp_path}/mine", "clean_minutes=0.5"])
    assert end.value.code == 0
    mine = PolicyBundle.load(f"{tmp_path}/mine")
    assert mine.name == "mine"
    assert mine.bundle_sha256 in capsys.readouterr().out
    manifest = json.loads((tmp_path / "mine" / "manifest.json").read_text())
    assert manifest["training"]["samples"] == 7
    assert mine.clean_play is not None
    seen = rows(3, 5).numpy()
    np.testing.assert_array_equal(
        mine.act(seen, mine.initial_memory(3))[0], bundle.act(seen, bundle.initial_memory(3))[0]
    )


def test_the_baseline_has_no_network(folder, tmp_path, bundle):
    with pytest.raises(SystemExit) as end:
        main([f"run={folder}/checkpoint.pt", f"output={tmp_path}/replay", "network=false", "clean_minutes=0"])
    assert end.value.code == 0
    replay = PolicyBundle.load(f"{tmp_path}/replay")
    manifest = json.loads((tmp_path / "replay" / "manifest.json").read_text())
    assert "samples" not in manifest["training"]
    seen = rows(3, 5).numpy()
    off = replay.act(seen, replay.initial_memory(3))[0] - bundle.act(seen, bundle.initial_memory(3))[0]
    # The network may move targets by its scales at most, and this one does.
    assert 0.001 < np.abs(off).max() < 0.5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run=nowhere", "output=x"], "no such checkpoint"),
        (["output=x"], "run=… must be given"),
        (["run=x", "output="], "output=: give a folder"),
        (["run=x", "output=y", "nett=1"], "unknown setting 'nett'"),
    ],
)
def test_mistakes_are_told_in_a_line(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())
