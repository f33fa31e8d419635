"""Small multilayer perceptrons with their scales, as files of plain arrays: what the planner knows by heart."""

from __future__ import annotations

import json
import zipfile
import zlib
from copy import copy
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from humanoid.files import atomic_write

PLANNER_FOLDER = Path(__file__).resolve().parent.parent / "assets" / "planner"


class PerceptronError(ValueError):
    """A file that holds no such network. The message says what to do."""


class Perceptron:
    """y = scale_out · net((x - mean) / scale) + mean_out, SiLU between the layers.

    Args:
        layers: weights (out, in) and biases (out,) of the layers.
        scales: mean and scale of the inputs, mean and scale of the outputs.
    """

    def __init__(
        self, layers: list[tuple[Tensor, Tensor]], scales: tuple[Tensor, Tensor, Tensor, Tensor]
    ) -> None:
        mean, scale, mean_out, scale_out = scales
        # The scales are part of the first and the last layer.
        (weight, bias), (last, last_bias) = layers[0], layers[-1]
        first = (weight / scale, bias - weight @ (mean / scale))
        final = (last * scale_out[:, None], last_bias * scale_out + mean_out)
        self.layers = [first, *layers[1:-1], final]

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of inputs and outputs."""
        return self.layers[0][0].shape[1], self.layers[-1][0].shape[0]

    def __call__(self, x: Tensor) -> Tensor:
        """Outputs (…, O) of inputs (…, I)."""
        for number, (weight, bias) in enumerate(self.layers):
            x = torch.nn.functional.linear(x, weight, bias)
            if number < len(self.layers) - 1:
                x = torch.nn.functional.silu(x)
        return x

    def to(self, device: torch.device | str) -> Perceptron:
        """The same on a device."""
        moved = copy(self)
        moved.layers = [(weight.to(device), bias.to(device)) for weight, bias in self.layers]
        return moved


def fit(
    x: Tensor,
    y: Tensor,
    hidden: tuple[int, ...],
    steps: int,
    loss,
    scale_out: bool = True,
    rate: float = 4e-3,
    batch: int = 2048,
    decay: float = 0.0,
) -> tuple[nn.Sequential, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Fit a network by Adam with one learning-rate cycle.

    Args:
        x, y: inputs (N, I) and what belongs to them (N, O).
        hidden: widths of the hidden layers.
        steps: of the optimiser.
        loss: function of the network's outputs and the scaled y.
        scale_out: whether y is scaled to unit deviation for the network.
        rate: highest learning rate. batch: rows a step. decay: of the weights (AdamW).

    Returns:
        The network on scaled values, and its scales, see `Perceptron`.
    """
    mean, scale = x.mean(0), x.std(0).clamp(min=1e-6)
    mean_out, scale_out_ = y.mean(0), y.std(0).clamp(min=1e-6)
    if not scale_out:
        mean_out, scale_out_ = torch.zeros_like(mean_out), torch.ones_like(scale_out_)
    widths = (x.shape[1], *hidden, y.shape[1])
    parts: list[nn.Module] = []
    for wide, narrow in pairwise(widths):
        parts += [nn.Linear(wide, narrow), nn.SiLU()]
    net = nn.Sequential(*parts[:-1])
    x, y = (x - mean) / scale, (y - mean_out) / scale_out_
    optimiser = torch.optim.AdamW(net.parameters(), rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    with torch.enable_grad():
        for _ in range(steps):
            rows = torch.randint(0, len(x), (min(batch, len(x)),))
            error = loss(net(x[rows]), y[rows])
            optimiser.zero_grad()
            error.backward()
            optimiser.step()
            schedule.step()
    return net, (mean, scale, mean_out, scale_out_)


def save(file: Path, net: nn.Sequential, scales: tuple[Tensor, ...], provenance: dict) -> None:
    """Write a network of `fit`."""
    arrays: dict[str, np.ndarray] = {}
    linear = [part for part in net if isinstance(part, nn.Linear)]
    for number, layer in enumerate(linear):
        arrays[f"weight{number}"] = layer.weight.detach().numpy()
        arrays[f"bias{number}"] = layer.bias.detach().numpy()
    for name, value in zip(("mean", "scale", "mean_out", "scale_out"), scales, strict=True):
        arrays[name] = value.numpy()
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file, "wb") as out:
        np.savez_compressed(out, **arrays, provenance=np.array(json.dumps(provenance)))  # pyright: ignore[reportArgumentType]


def load(name: str, sizes: tuple[int, int], folder: Path = PLANNER_FOLDER) -> Perceptron:
    """Read a network.

    Args:
        name: of the file without ending. sizes: numbers of inputs and outputs it must have.

    Raises:
        PerceptronError: no such file, a damaged one, or a network of another shape.
    """
    file = folder / f"{name}.npz"
    try:
        with np.load(file, allow_pickle=False) as data:
            arrays = {key: data[key] for key in data.files if key != "provenance"}
        count = sum(key.startswith("weight") for key in arrays)
        tensors = {key: torch.as_tensor(value, dtype=torch.float32) for key, value in arrays.items()}
        layers = [(tensors[f"weight{k}"], tensors[f"bias{k}"]) for k in range(count)]
        scales = (tensors["mean"], tensors["scale"], tensors["mean_out"], tensors["scale_out"])
        if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
            raise ValueError("holds numbers that are not finite")
        network = Perceptron(layers, scales)
        network(torch.zeros(1, network.sizes[0]))
    except (
        OSError,
        ValueError,
        KeyError,
        IndexError,
        RuntimeError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise PerceptronError(f"{file}: cannot be read ({error}); rebuild it or fetch it anew") from None
    if network.sizes != sizes:
        raise PerceptronError(f"{file}: has {network.sizes} inputs and outputs, expected {sizes}; rebuild it")
    return network
