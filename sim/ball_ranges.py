"""How balls, air and courts differ: ranges to draw physics from, for training and for evaluation."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch

from sim.ball import LIMITS, BallParams
from sim.bounce import SURFACES
from sim.ranges import Range, check_range, uniform


@dataclass(frozen=True)
class BallRanges:
    """Uniform ranges of the physics of a ball in play; None: the figure of `BallParams`, and nothing is drawn.

    Attributes:
        drag_per_metre: k in the drag deceleration k |v| v, 1/m (LATENT, arXiv 2603.12686: 0.01–0.04).
        restitution: of ball on court (LATENT: 0.71–0.79).
        friction: of ball on court (hard courts 0.5–0.7).
        mass: kg (ITF type 2). radius: m (ITF diameter 6.54–6.86 cm).
        air_density: kg/m³. Where `drag_per_metre` is drawn too, it alters the Magnus lift only.
        lift_scale: factor on the Magnus lift. spin_decay: time constant, s.
        surfaces: names in `sim.bounce.SURFACES`, of which each ball gets one: friction and restitution are then that
            court's, plus how far their draws are from the middles of the ranges above.
    """

    drag_per_metre: Range | None = (0.01, 0.04)
    restitution: Range | None = (0.71, 0.79)
    friction: Range | None = (0.5, 0.7)
    mass: Range | None = (0.0560, 0.0594)
    radius: Range | None = (0.0327, 0.0343)
    air_density: Range | None = None
    lift_scale: Range | None = None
    spin_decay: Range | None = None
    surfaces: tuple[str, ...] = ()

    @classmethod
    def nominal(cls, surface: str | None = None) -> BallRanges:
        """No differences; on the court `surface` if one is named."""
        nothing = {field.name: None for field in fields(cls) if field.name != "surfaces"}
        return cls(**nothing, surfaces=(surface,) if surface else ())  # type: ignore[arg-type]

    @property
    def fixed(self) -> bool:
        """Nothing is drawn and every ball is as `BallParams` has it."""
        return self == BallRanges.nominal()

    def check(self) -> None:
        """Raise ValueError naming the range that no ball has."""
        for field in fields(self):
            bounds = getattr(self, field.name)
            if field.name == "surfaces":
                unknown = [name for name in bounds if name not in SURFACES]
                if unknown:
                    raise ValueError(
                        f"ball ranges: surface {unknown[0]!r} is not known: one of {', '.join(SURFACES)}"
                    )
            elif bounds is not None:
                low, high = (0.0, 1.0) if field.name == "drag_per_metre" else LIMITS[field.name]
                check_range(f"ball ranges: {field.name}", bounds, low, high)

    def __call__(self, n: int, generator: torch.Generator) -> BallParams:
        """Draw the physics of `n` balls; the `physics` argument of `Launcher.draw`."""

        # A seed means the same balls as ever: what is not drawn takes no random number.
        def drawn(name: str) -> torch.Tensor | float:
            bounds: Range | None = getattr(self, name)
            return getattr(BallParams(), name) if bounds is None else uniform(bounds, n, generator=generator)

        params = BallParams(**{name: drawn(name) for name in ("mass", "radius", "restitution", "friction")})
        drag = uniform(self.drag_per_metre, n, generator=generator) if self.drag_per_metre else None
        params = replace(
            params, **{name: drawn(name) for name in ("air_density", "lift_scale", "spin_decay")}
        )
        if drag is not None:
            params = params.with_drag_per_metre(drag)
        return self._on_court(params, n, generator) if self.surfaces else params

    def _on_court(self, params: BallParams, n: int, generator: torch.Generator) -> BallParams:
        """Ball and air of `params` on courts drawn from `surfaces`."""
        courts = [SURFACES[name] for name in self.surfaces]
        which = torch.zeros(n, dtype=torch.int64)
        if len(courts) > 1:
            which = torch.randint(len(courts), (n,), generator=generator)

        def moved(name: str) -> torch.Tensor:
            own = torch.tensor([getattr(court, name) for court in courts])[which]
            bounds: Range | None = getattr(self, name)
            return own if bounds is None else own + (getattr(params, name) - 0.5 * (bounds[0] + bounds[1]))

        return replace(params, friction=moved("friction"), restitution=moved("restitution"))
