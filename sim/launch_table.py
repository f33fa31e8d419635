"""Solved launches, and how they were drawn."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import torch
from torch import Tensor

from sim.ball import BallParams
from sim.launch_distribution import DIMS

BINS = 8
"""Parts of each coordinate of the launch space in which draws are counted."""


def _zeros() -> Tensor:
    return torch.zeros(DIMS, BINS, dtype=torch.int64)


@dataclass
class Counts:
    """Draws in each of `BINS` equal parts of each coordinate of the launch space, (DIMS, BINS) int.

    Attributes:
        tried: all that were drawn. kept: the feasible ones.
    """

    tried: Tensor = field(default_factory=_zeros)
    kept: Tensor = field(default_factory=_zeros)

    @property
    def acceptance(self) -> float:
        """Share of all draws that were feasible."""
        return int(self.kept[0].sum()) / max(int(self.tried[0].sum()), 1)

    def add(self, points: Tensor, good: Tensor) -> None:
        """Count the points (n, DIMS), of which those with the indices `good` were kept."""
        part = (points * BINS).long().clamp(max=BINS - 1) + BINS * torch.arange(DIMS)
        size = DIMS * BINS
        self.tried += torch.bincount(part.flatten(), minlength=size).view(DIMS, BINS)
        self.kept += torch.bincount(part[good].flatten(), minlength=size).view(DIMS, BINS)


@dataclass(frozen=True)
class LaunchTable:
    """n launches and what the ball will do if nobody hits it. World frame.

    Attributes:
        pos, vel, spin: at release, (n, 3), m, m/s, rad/s.
        params: the physics each launch was solved under, fields (n,).
        clearance: of the ball's underside over the cord, (n,), m.
        bounce_pos: ball centre at the bounce, (n, 3), m. bounce_time: since release, (n,), s.
        meet_pos: drawn meeting point, (n, 3), m. meet_time: when the ball is there, (n,), s.
        meet_vel: its velocity there, (n, 3), m/s.
        backhand: (n,) bool: nearer to the natural backhand contact point, sideways, than to the forehand's.
        forecourt: (n,) bool: met in front of `LauncherConfig.forecourt_from`.
        point: where in the launch space each was drawn, (n, DIMS), see `sim.launch_distribution.SPACE`.
        counts: draws until there were so many, by their place in the launch space.
    """

    pos: Tensor
    vel: Tensor
    spin: Tensor
    params: BallParams
    clearance: Tensor
    bounce_pos: Tensor
    bounce_time: Tensor
    meet_pos: Tensor
    meet_time: Tensor
    meet_vel: Tensor
    backhand: Tensor
    forecourt: Tensor
    point: Tensor
    counts: Counts

    def __len__(self) -> int:
        return self.pos.shape[0]

    def at(self, ids: Tensor) -> LaunchTable:
        """The launches `ids` (indices or mask); how they were drawn stays said of all."""
        picked = {
            f.name: getattr(self, f.name)[ids] for f in fields(self) if f.name not in ("params", "counts")
        }
        return LaunchTable(**picked, params=self.params.at(ids), counts=self.counts)

    def to(self, device: torch.device | str) -> LaunchTable:
        """The same launches on a device; the counts of draws stay where they are."""
        moved = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("params", "counts")}
        params = {
            f.name: torch.as_tensor(getattr(self.params, f.name), device=device) for f in fields(BallParams)
        }
        return LaunchTable(
            **{name: value.to(device) for name, value in moved.items()},
            params=BallParams(**params),
            counts=self.counts,
        )

    @property
    def acceptance(self) -> float:
        """Share of the draws that were feasible."""
        return self.counts.acceptance
