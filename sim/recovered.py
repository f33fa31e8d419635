"""What went wrong in the ball simulation and was put right, counted."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Recovered:
    """How often each environment (N,) int needed help. Live tensors; zero them to count anew.

    Attributes:
        not_finite: the ball's state overflowed or was overwritten with what is not a number: it was put at rest
            where it last was, out of play.
        racket_pose: a racket's pose was not a number, or its rotation none, when a ball was near or hit something:
            in that step the ball met no racket.
        overlap: the ball was inside racket or ground (put there by a reset, or by a racket placed over it): it was
            moved to the surface.
    """

    not_finite: Tensor
    racket_pose: Tensor
    overlap: Tensor

    @classmethod
    def none(cls, n: int, device: torch.device | str) -> Recovered:
        """Nothing yet for `n` environments."""
        return cls(*(torch.zeros(n, dtype=torch.int32, device=device) for _ in fields(cls)))

    def total(self) -> int:
        """Of all kinds and environments."""
        return sum(int(getattr(self, field.name).sum()) for field in fields(self))
