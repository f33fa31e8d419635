"""What goes into a step of the ball simulation and what comes out: racket poses and events."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor


class RacketPose(NamedTuple):
    """A racket at one moment: string bed centre (N, 3) m and rotation of the racket frame, as unit
    quaternions (N, 4), w first, or matrices (N, 3, 3). Frame: see `sim.stringbed`."""

    pos: Tensor
    rot: Tensor

    def at(self, ids: Tensor) -> RacketPose:
        """The poses of the rackets `ids` (indices or mask)."""
        return RacketPose(self.pos[ids], self.rot[ids])


@dataclass
class StepEvents:
    """What happened in the last step. Live tensors, overwritten by the next step; N environments.

    Where nothing happened, the masks are False and the vectors zero. Times count from the step's start.

    Attributes:
        bounced: the ball hit the ground, (N,) bool. The first bounce of the step is recorded.
        bounce_pos: ball centre at that moment, (N, 3), m. bounce_time: (N,), s.
        net: the ball touched net or cord, (N,) bool. net_pos: ball centre, (N, 3), m.
        hit: the racket touched the ball, (N,) bool. frame: with its frame, (N,) bool.
        hit_pos: contact point, (N, 3), m. hit_time: (N,), s.
        impulse: on the racket at `hit_pos`, (N, 3), N s, world frame.
    """

    bounced: Tensor
    bounce_pos: Tensor
    bounce_time: Tensor
    net: Tensor
    net_pos: Tensor
    hit: Tensor
    frame: Tensor
    hit_pos: Tensor
    hit_time: Tensor
    impulse: Tensor

    @classmethod
    def empty(cls, n: int, device: torch.device | str, dtype: torch.dtype) -> StepEvents:
        """No events for `n` environments."""

        def mask() -> Tensor:
            return torch.zeros(n, dtype=torch.bool, device=device)

        def zeros(*tail: int) -> Tensor:
            return torch.zeros(n, *tail, dtype=dtype, device=device)

        return cls(mask(), zeros(3), zeros(), mask(), zeros(3), mask(), mask(), zeros(3), zeros(), zeros(3))

    def clear(self) -> None:
        """Back to no events, in place."""
        for field in fields(self):
            getattr(self, field.name).zero_()
