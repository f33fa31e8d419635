"""Typed configuration: the schema of every run. YAML files under conf/ hold only values."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from policies.player import PlayerConfig
from policies.strike_task import StrikeTaskConfig

CONF = str(Path(__file__).resolve().parent / "conf")


class ConfigError(ValueError):
    """A configuration that cannot be run. The message names the key and what to do."""


@dataclass(frozen=True)
class PpoConfig:
    """Proximal policy optimisation by RSL-RL.

    Attributes:
        steps: control steps a robot between updates.
        epochs, minibatches: of each update.
        clip, gamma, lam, entropy, learning_rate, desired_kl, max_grad_norm: as in PPO; the learning rate adapts to
            the desired divergence.
        hidden: widths of the hidden layers of actor and critic.
        noise: standard deviation of the actions at the start.
    """

    steps: int = 24
    epochs: int = 5
    minibatches: int = 4
    clip: float = 0.2
    gamma: float = 0.98
    lam: float = 0.95
    entropy: float = 0.0005
    learning_rate: float = 5e-4
    desired_kl: float = 0.012
    max_grad_norm: float = 1.0
    hidden: tuple[int, ...] = (256, 256, 128)
    noise: float = 0.25


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    Attributes:
        name: of the run; its folder is output/name.
        output: folder of runs.
        seed: of everything random.
        level: launch level the strike goals are drawn from; "mixed": feed and rally.
        goals: balls launched to draw goals.
        iterations: stop after so many updates in all; 0: no limit.
        minutes: stop this call after so many minutes; 0: no limit.
        checkpoint_minutes: time between checkpoints.
        resume: go on from the run's checkpoint if it has one.
        start_from: checkpoint whose network a new run starts with.
        threads: CPU threads of physics and learning, 0 for all cores.
        engine: physics, "cpu" or "warp", see docs/engines.md. device: where physics and learning run, "cpu" or "cuda";
            the cpu engine has no other than "cpu".
        player, task, ppo: see their classes.
    """

    name: str = "strike"
    output: str = "runs"
    seed: int = 0
    level: str = "mixed"
    goals: int = 4096
    iterations: int = 0
    minutes: float = 0.0
    checkpoint_minutes: float = 3.0
    resume: bool = True
    start_from: str | None = None
    threads: int = 0
    engine: str = "cpu"
    device: str = "cpu"
    player: PlayerConfig = field(default_factory=PlayerConfig)
    task: StrikeTaskConfig = field(default_factory=StrikeTaskConfig)
    ppo: PpoConfig = field(default_factory=PpoConfig)


Config = TypeVar("Config")


def typed(kind: type[Config], values: DictConfig | dict) -> Config:
    """A frozen config from values, checked against its schema.

    Raises:
        ConfigError: naming a key that the schema does not have, or whose value has the wrong type.
    """
    plain = OmegaConf.to_container(values, resolve=True) if isinstance(values, DictConfig) else values
    return _build(kind, plain, "")


def plain(config: Any) -> Any:
    """A config as dicts, lists and numbers only: what is written to YAML."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: plain(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, (list, tuple)):
        return [plain(value) for value in config]
    return config


def _build(kind: type, values: Any, path: str) -> Any:
    import typing

    hints = typing.get_type_hints(kind)
    if not isinstance(values, dict):
        raise ConfigError(f"config key '{path.rstrip('.')}': expected a group of keys, got {values!r}")
    unknown = sorted(set(values) - set(hints))
    if unknown:
        known = ", ".join(sorted(hints))
        raise ConfigError(f"config key '{path}{unknown[0]}' does not exist; known keys here: {known}")
    out = {}
    for key, value in values.items():
        out[key] = _convert(hints[key], value, f"{path}{key}")
    return kind(**out)


def _convert(hint: Any, value: Any, path: str) -> Any:
    import types
    import typing

    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, path + ".")
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        options = typing.get_args(hint)
        if value is None and type(None) in options:
            return None
        return _convert(next(o for o in options if o is not type(None)), value, path)
    if origin is tuple:
        args = typing.get_args(hint)
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"config key '{path}': expected a list, got {value!r}")
        if args[-1] is Ellipsis:
            return tuple(_convert(args[0], v, f"{path}[{i}]") for i, v in enumerate(value))
        if len(value) != len(args):
            raise ConfigError(f"config key '{path}': expected {len(args)} values, got {len(value)}")
        return tuple(_convert(a, v, f"{path}[{i}]") for i, (a, v) in enumerate(zip(args, value, strict=True)))
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if hint is str or hint is bool or hint is int:
        if type(value) is hint:
            return value
    elif hint is not float:
        return value
    raise ConfigError(f"config key '{path}': expected {hint.__name__}, got {value!r}")
