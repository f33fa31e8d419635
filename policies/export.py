"""From a training run to a policy bundle: planner, reference, network and control in one ONNX graph."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from humanoid.bundle import PolicyBundle, make_manifest, write_bundle
from policies.checkpoint import load_checkpoint
from policies.config import TrainConfig, plain, typed
from policies.faults import clean_play
from policies.player import MEMORY_SIZE, Player, split_terms
from policies.strokes import load_strokes, provenance
from sim.return_task import OBSERVATION_SIZE, TERMS


class PlayerModule(nn.Module):
    """A player with its network: observation (N, OBSERVATION_SIZE) and memory (N, MEMORY_SIZE) to joint targets
    (N, 29), rad, and the next memory.

    Args:
        player: planner, reference and control.
        network: maps the player's observation to 29 outputs; None plays without.
    """

    def __init__(self, player: Player, network: nn.Module | None) -> None:
        super().__init__()
        self.player, self.network = player, network

    def forward(self, observation: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        terms = split_terms(observation)
        memory, ref = self.player.advance(terms, memory)
        seen = self.player.observe(terms, memory, ref)
        action = self.network(seen) if self.network is not None else 0.0 * seen[:, :29]
        return self.player.act(terms, memory, action, ref)


def trained_network(state: dict, player: Player) -> nn.Module:
    """The network of a training run's checkpoint."""
    weights = state["learner"]["actor_state_dict"]
    return build_network(typed(TrainConfig, state["config"]), weights, player.observation_size)


def build_network(config: TrainConfig, weights: dict[str, Tensor] | None, size: int) -> nn.Module:
    """The actor's mean as a plain network.

    Args:
        config: gives the hidden layers.
        weights: the actor's state dict, or None for untrained weights.
        size: of the observation.
    """
    layers: list[nn.Module] = []
    width = size
    for hidden in config.ppo.hidden:
        layers += [nn.Linear(width, hidden), nn.ELU()]
        width = hidden
    layers.append(nn.Linear(width, 29))
    network = nn.Sequential(*layers)
    if weights is not None:
        network.load_state_dict(
            {k.removeprefix("mlp."): v for k, v in weights.items() if k.startswith("mlp.")}
        )
    return network.eval()


def to_onnx(module: PlayerModule) -> bytes:
    """ONNX bytes with a dynamic number of robots."""
    observation = torch.zeros(2, OBSERVATION_SIZE)
    observation[:, TERMS["joint_pos"] + TERMS["joint_vel"] + 3] = 1.0
    buffer = io.BytesIO()
    names = ("observation", "memory", "action", "memory_next")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (observation, torch.zeros(2, MEMORY_SIZE)),
            buffer,  # pyright: ignore[reportArgumentType] -- a file object will do
            input_names=list(names[:2]),
            output_names=list(names[2:]),
            dynamic_axes={name: {0: "n"} for name in names},
            opset_version=18,
            dynamo=False,
        )
    return buffer.getvalue()


def parity(module: PlayerModule, bundle: PolicyBundle, rows: np.ndarray) -> float:
    """Largest difference of joint targets, rad, between torch and the bundle.

    Args:
        module: what was exported.
        bundle: what came of it.
        rows: raw observations, (N, OBSERVATION_SIZE).
    """
    with torch.no_grad():
        expected, _ = module(torch.as_tensor(rows, dtype=torch.float32), torch.zeros(len(rows), MEMORY_SIZE))
    got, _ = bundle.act(rows.astype(np.float32), bundle.initial_memory(len(rows)))
    return float(np.abs(got - expected.numpy()).max())


def export(
    folder: Path,
    name: str,
    description: str,
    config: TrainConfig,
    weights: dict[str, Tensor] | None,
    training: dict[str, Any],
    clean_minutes: float = 0.0,
) -> PolicyBundle:
    """Write a bundle and check it against torch.

    Args:
        folder: of the bundle.
        name, description: for its manifest.
        config: of the run (player, network).
        weights: the actor's state dict, or None to play without a network.
        training: samples, wall time and seed for the manifest.
        clean_minutes: robot time that it plays, for the watch to know what its play looks like; 0: none.

    Raises:
        RuntimeError: torch and the bundle disagree by more than 1e-3 rad.
    """
    player = Player(load_strokes(config.player.strokes), config.player, config.task.control_dt)
    network = None if weights is None else build_network(config, weights, player.observation_size)
    module = PlayerModule(player, network)
    manifest = make_manifest(
        name=name,
        description=description,
        terms=list(TERMS),
        memory_size=MEMORY_SIZE,
        training={"config": plain(config), **training},
        data_sources=_sources(player.strokes.names),
        licence="CC BY-SA 3.0 (contains motion computed from share-alike clips)",
    )
    network_bytes = to_onnx(module)
    write_bundle(folder, network_bytes, manifest)
    bundle = PolicyBundle.load(str(folder))
    rng = np.random.default_rng(0)
    rows = np.zeros((4, OBSERVATION_SIZE), dtype=np.float32)
    at = 0
    for term, size in TERMS.items():
        if term == "joint_pos":
            rows[:, at : at + size] = player.ready.numpy() + 0.05 * rng.normal(size=(4, size))
        elif term == "root_quat":
            rows[:, at] = 1.0
        elif term == "root_pos":
            rows[:, at : at + 3] = [-11.9, 0.0, 0.73]
        elif term == "ball_pos":
            rows[:, at : at + 3] = [-5.0, -0.6, 0.8]
        elif term == "ball_vel":
            rows[:, at : at + 3] = [-7.0, 0.0, 3.0]
        elif term == "ball_valid":
            rows[:, at] = 1.0
        elif term == "target":
            rows[:, at : at + 2] = [5.0, 0.0]
        at += size
    error = parity(module, bundle, rows)
    if error > 1e-3:
        raise RuntimeError(f"{folder}: the exported policy differs from the trained one by {error:.2g} rad")
    if clean_minutes > 0:
        statistics = clean_play(bundle, clean_minutes, config.seed)
        write_bundle(folder, network_bytes, {**manifest, "clean_play": statistics.to_dict()})
        bundle = PolicyBundle.load(str(folder))
    return bundle


def export_run(
    checkpoint: Path,
    folder: Path,
    name: str,
    description: str,
    network: bool = True,
    clean_minutes: float = 0.0,
) -> PolicyBundle:
    """Export a training run's checkpoint, with its network or without any; see `export`."""
    state = load_checkpoint(checkpoint)
    config = typed(TrainConfig, state["config"])
    training = {"samples": state["samples"], "wall_s": round(state["wall_s"], 1), "seed": config.seed}
    weights = state["learner"]["actor_state_dict"] if network else None
    training = training if network else {}
    return export(folder, name, description, config, weights, training, clean_minutes)


def _sources(names: tuple[str, ...]) -> list[dict[str, str]]:
    sources = [provenance(name) for name in names]
    return [
        {key: str(source[key]) for key in ("name", "licence", "attribution")}
        for source in {source["name"]: source for source in sources}.values()
    ]
