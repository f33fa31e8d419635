"""Where in the launch space balls are drawn from: evenly, or as somebody learned to draw them.

A launch is a point of the unit cube, one coordinate for each of `SPACE`; `sim.launcher.Launcher` turns it into a
release, a speed, a spin and a meeting point within the ranges of its level. A plain draw is uniform in the cube. A
curriculum or an adversarial search gives a `LaunchMixture` instead: points where the player fails, each with a
weight and a width. Infeasible points are rejected whole, whichever way they were drawn.
"""

from __future__ import annotations

import math
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from humanoid.files import atomic_write

SPACE = (
    "release_x",
    "release_y",
    "release_z",
    "speed",
    "spin",
    "axis",
    "stroke",
    "height",
    "distance",
    "direction",
)
"""Coordinates of the launch space, each 0–1 over its range, in this order:

| coordinate | what |
| --- | --- |
| release_x, release_y, release_z | of the release point, range of `LauncherConfig` |
| speed, spin | at release, range of the `Level` |
| axis | of the spin: below 0.5 backspin, else topspin; with `Level.any_axis` the angle from topspin's axis over 2π |
| stroke | below 0.5 met near the natural forehand point, else near the backhand's |
| height | of the meeting point, over what reach and `meeting_height` leave |
| distance | of the meeting point from the natural one, along the ground: its square over the largest one's |
| direction | of the meeting point from the natural one, along the ground, angle from +x over 2π |
"""
DIMS = len(SPACE)
MIN_WIDTH = 1e-4
"""Standard deviation of the narrowest component: sharper ones would be a single point to rounding."""
MAX_COMPONENTS = 65536
_FORMAT = "launch mixture 1"
_ROWS = 1 << 20
"""Numbers of a block when densities are added up, so that memory stays bounded."""


class LaunchDistribution(Protocol):
    """What the launcher needs of a distribution over the launch space."""

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """`n` points of the unit cube, (n, DIMS) float64, from a CPU generator."""
        ...


@dataclass(frozen=True)
class LaunchMixture:
    """A mixture of Gaussians, cut to the unit cube, and of the uniform distribution.

    With narrow components it is a weighted list of launches. Component k has the density
    Π_d N(u_d; mean_kd, std_kd) / (Φ((1 − mean_kd)/std_kd) − Φ(−mean_kd/std_kd)).

    Attributes:
        mean: (K, DIMS), each 0–1. std: (K, DIMS), `MIN_WIDTH` or more; a coordinate of a large one is uniform.
        weight: (K,), not negative, some positive; need not add up to 1.
        explore: share of plain, uniform draws, 0–1: keeps every launch possible.

    Raises:
        ValueError: naming the field, and the component and coordinate, of an impossible value.
    """

    mean: Tensor
    std: Tensor
    weight: Tensor
    explore: float = 0.1

    def __post_init__(self) -> None:
        for name in ("mean", "std", "weight"):
            value = torch.as_tensor(getattr(self, name), dtype=torch.float64, device="cpu")
            object.__setattr__(self, name, value)
        components = self.weight.shape[0] if self.weight.ndim == 1 else 0
        if not 1 <= components <= MAX_COMPONENTS:
            raise ValueError(
                f"launch mixture: weight has shape {tuple(self.weight.shape)}, expected (K,) with K from 1 to "
                f"{MAX_COMPONENTS} components"
            )
        for name, low, high in (("mean", 0.0, 1.0), ("std", MIN_WIDTH, 1e6)):
            value = getattr(self, name)
            if value.shape != (components, DIMS):
                raise ValueError(
                    f"launch mixture: {name} has shape {tuple(value.shape)}, expected {(components, DIMS)}: "
                    f"{', '.join(SPACE)} for each weight"
                )
            bad = ~((value >= low) & (value <= high))
            if bool(bad.any()):
                row, column = bad.nonzero()[0].tolist()
                raise ValueError(
                    f"launch mixture: {name} of component {row}, {SPACE[column]}, is {float(value[row, column]):g}: "
                    f"must lie in [{low:g}, {high:g}]"
                )
        bad = ~((self.weight >= 0) & (self.weight <= 1e12))
        if bool(bad.any()):
            row = int(bad.nonzero()[0, 0])
            raise ValueError(
                f"launch mixture: weight of component {row} is {float(self.weight[row]):g}: must lie in [0, 1e12]"
            )
        if not bool(self.weight.sum() > 0):
            raise ValueError("launch mixture: all weights are 0; give at least one component some")
        if not 0.0 <= self.explore <= 1.0:
            raise ValueError(f"launch mixture: explore = {self.explore:g}: must lie in [0, 1]")

    @classmethod
    def around(
        cls, points: Tensor, weight: Tensor | None = None, width: float = 0.08, explore: float = 0.1
    ) -> LaunchMixture:
        """Launches like the given ones, e.g. those that a player failed on.

        Args:
            points: (K, DIMS), see `SPACE`; `LaunchTable.point` and `BallRecord.point` have them.
            weight: (K,), how much each matters; by default all the same.
            width: standard deviation about each, the same in every coordinate.
            explore: share of plain draws.
        """
        points = torch.as_tensor(points, dtype=torch.float64)
        return cls(
            points,
            torch.full_like(points, width),
            torch.ones(len(points), dtype=torch.float64) if weight is None else weight,
            explore,
        )

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """See `LaunchDistribution.sample`."""
        plain = torch.rand(n, generator=generator, dtype=torch.float64) < self.explore
        u = torch.rand(n, DIMS, generator=generator, dtype=torch.float64)
        total = self.weight.cumsum(0)
        pick = torch.rand(n, generator=generator, dtype=torch.float64) * total[-1]
        row = torch.searchsorted(total, pick, right=True).clamp(max=len(total) - 1)
        mean, std = self.mean[row], self.std[row]
        low, high = torch.special.ndtr(-mean / std), torch.special.ndtr((1 - mean) / std)
        drawn = mean + std * torch.special.ndtri(low + u * (high - low))
        return torch.where(plain.unsqueeze(1), u, drawn).clamp(0.0, 1.0)

    def density(self, points: Tensor) -> Tensor:
        """Density (n,) at points (n, DIMS) before infeasible ones are rejected; 1 everywhere for a plain draw.

        Its inverse weighs balls drawn here so that their figures are those of plain draws.
        """
        points = torch.as_tensor(points, dtype=torch.float64)
        share = (1 - self.explore) * self.weight / self.weight.sum()
        mass = torch.special.ndtr((1 - self.mean) / self.std) - torch.special.ndtr(-self.mean / self.std)
        # Constant part of each component's log density.
        level = (share / ((2 * math.pi) ** (DIMS / 2) * (self.std * mass).prod(dim=1))).log()
        block = max(1, _ROWS // (len(self.weight) * DIMS))
        parts = []
        for some in points.split(block):
            off = ((some.unsqueeze(1) - self.mean) / self.std).square().sum(dim=2)
            parts.append((level - 0.5 * off).exp().sum(dim=1))
        inside = ((points >= 0) & (points <= 1)).all(dim=1)
        return torch.where(inside, self.explore + torch.cat(parts), 0.0)

    def save(self, path: str | os.PathLike) -> None:
        """Write as npz without pickles, whole or not at all."""
        with atomic_write(path) as file:
            np.savez(
                file,
                format=np.array(_FORMAT),
                space=np.array(SPACE),
                mean=self.mean.numpy(),
                std=self.std.numpy(),
                weight=self.weight.numpy(),
                explore=np.array(self.explore),
            )

    @classmethod
    def load(cls, path: str | os.PathLike) -> LaunchMixture:
        """Read what `save` wrote.

        Raises:
            ValueError: naming the file: missing, damaged, of another format, or with other coordinates.
        """
        path = Path(path)
        try:
            with np.load(path, allow_pickle=False) as data:
                if not isinstance(data, np.lib.npyio.NpzFile) or str(data["format"]) != _FORMAT:
                    raise ValueError(f"not of the format {_FORMAT!r}")
                space = tuple(str(name) for name in data["space"])
                if space != SPACE:
                    raise ValueError(f"its coordinates are {', '.join(space)}, expected {', '.join(SPACE)}")
                mean, std, weight = (
                    torch.from_numpy(np.asarray(data[key], np.float64)) for key in ("mean", "std", "weight")
                )
                return cls(mean, std, weight, float(data["explore"]))
        except FileNotFoundError:
            raise ValueError(f"{path}: no such file; LaunchMixture.save writes one") from None
        except (
            OSError,
            EOFError,
            KeyError,
            TypeError,
            ValueError,
            NotImplementedError,
            zipfile.BadZipFile,
        ) as error:
            raise ValueError(
                f"{path}: no launch mixture ({error}); write it anew with LaunchMixture.save"
            ) from None
