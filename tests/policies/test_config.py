"""Configurations: wrong keys and types are named, and a saved one builds the same again."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from policies import train
from policies.config import ConfigError, TrainConfig, plain, typed
from policies.player import PlayerConfig

EXPERIMENTS = sorted(
    path.stem for path in (Path(train.__file__).parent / "conf" / "experiment").glob("*.yaml")
)


def test_a_saved_config_builds_the_same_again():
    config = TrainConfig(name="x", start_from="a.pt", player=PlayerConfig(strokes=("forehand_01",)))
    text = yaml.safe_dump(plain(config))
    assert typed(TrainConfig, yaml.safe_load(text)) == config


def test_nothing_given_is_the_default():
    assert typed(TrainConfig, {}) == TrainConfig()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"naem": "x"}, r"key 'naem' does not exist; known keys here: .*name"),
        ({"task": {"reward": {"landd": 1.0}}}, r"key 'task\.reward\.landd' does not exist"),
        ({"player": {"planner": {"horizont": 1}}}, r"key 'player\.planner\.horizont' does not exist"),
        ({"task": {"num_envs": 1.5}}, r"key 'task\.num_envs': expected int, got 1\.5"),
        ({"task": {"num_envs": True}}, r"key 'task\.num_envs': expected int, got True"),
        ({"ppo": {"gamma": "high"}}, r"key 'ppo\.gamma': expected float, got 'high'"),
        ({"ppo": {"gamma": True}}, r"key 'ppo\.gamma': expected float, got True"),
        ({"ppo": {"hidden": [64, "x"]}}, r"key 'ppo\.hidden\[1\]': expected int, got 'x'"),
        ({"ppo": {"hidden": 64}}, r"key 'ppo\.hidden': expected a list, got 64"),
        ({"task": {"pause": [0.1]}}, r"key 'task\.pause': expected 2 values, got 1"),
        ({"task": 3}, r"key 'task': expected a group of keys, got 3"),
        ({"resume": "yes"}, r"key 'resume': expected bool, got 'yes'"),
        ({"start_from": 4}, r"key 'start_from': expected str, got 4"),
    ],
)
def test_wrong_keys_and_types_are_named_with_their_path(values, message):
    with pytest.raises(ConfigError, match=message):
        typed(TrainConfig, values)


def test_whole_numbers_serve_as_floats():
    config = typed(TrainConfig, {"minutes": 3, "task": {"pause": [0, 1]}})
    assert config == replace(TrainConfig(), minutes=3.0, task=replace(TrainConfig().task, pause=(0.0, 1.0)))
    assert isinstance(config.minutes, float)


def test_missing_keys_keep_their_class_default():
    @dataclass(frozen=True)
    class Small:
        a: int = 1
        b: float | None = None

    assert typed(Small, {"b": 2}) == Small(1, 2.0)
    assert typed(Small, {"b": None}) == Small()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_are_valid_and_described(name, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(train, "_run", lambda values: seen.append(typed(TrainConfig, values)) or 0)
    monkeypatch.setattr(sys, "argv", ["rally-train", f"experiment={name}", "seed=7"])
    with pytest.raises(SystemExit) as stopped:
        train.main()
    assert stopped.value.code == 0, capsys.readouterr().err
    assert seen[0].seed == 7
    assert seen[0] != replace(TrainConfig(), seed=7)
    assert f"  {name} " in (Path(train.__file__).parent / "conf" / "train.yaml").read_text()
