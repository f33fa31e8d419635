"""How balls, air and courts differ: ranges to draw physics from, for training and for evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sim.ball import BallParams

Range = tuple[float, float]


@dataclass(frozen=True)
class BallRanges:
    """Uniform ranges of the physics of a ball in play.

    Attributes:
        drag_per_metre: k in the drag deceleration k |v| v, 1/m (LATENT, arXiv 2603.12686: 0.01–0.04).
        restitution: of ball on court (LATENT: 0.71–0.79).
        friction: of ball on court (hard courts 0.5–0.7).
        mass: kg (ITF type 2). radius: m (ITF diameter 6.54–6.86 cm).
    """

    drag_per_metre: Range = (0.01, 0.04)
    restitution: Range = (0.71, 0.79)
    friction: Range = (0.5, 0.7)
    mass: Range = (0.0560, 0.0594)
    radius: Range = (0.0327, 0.0343)

    def __call__(self, n: int, generator: torch.Generator) -> BallParams:
        """Draw the physics of `n` balls; the `physics` argument of `Launcher.draw`."""

        def uniform(bounds: Range) -> torch.Tensor:
            return bounds[0] + (bounds[1] - bounds[0]) * torch.rand(n, generator=generator)

        params = BallParams(
            mass=uniform(self.mass),
            radius=uniform(self.radius),
            restitution=uniform(self.restitution),
            friction=uniform(self.friction),
        )
        return params.with_drag_per_metre(uniform(self.drag_per_metre))
