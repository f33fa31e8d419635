"""A ball on the court: oblique bounce with spin.

Impulse model after Brody and Cross: the normal speed is reversed with the restitution e; the ball slides
with friction μ while its contact point moves, and the sliding stops when the contact point stops.
What then happens is one of three regimes:

- slide: friction does not suffice to stop the contact point; the tangential impulse is μ times the normal one.
- roll: the contact point stops and the ball leaves rolling (the default, after Brody).
- grip: the stopped contact point holds on, the cover stretches and gives some of it back: the contact point
  leaves backward with `grip_restitution` times the speed it came with, as far as friction allows (after Cross).

Spin about the vertical is not changed: the friction couple of the small contact patch is neglected.

Courts are told apart by the ITF's court pace rating: `SURFACES` gives rating and restitution of some, the
friction follows from the formula.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sim.ball import GRAVITY, BallParams, by_component

ROLLING_RESISTANCE = 0.03
"""Deceleration of a rolling ball over g. No published source; a ball rolls to rest within tens of metres."""
DROP_TEST_SPEED = 7.1
"""Normal speed at which `BallParams.restitution` holds, m/s: a fall from 254 cm (ITF rebound test)."""


def restitution_at(speed: Tensor, params: BallParams) -> Tensor:
    """Normal restitution on the court at normal speed `speed` (N,) m/s, kept within 0–1."""
    return (params.restitution + params.restitution_slope * (speed - DROP_TEST_SPEED)).clamp(0.0, 1.0)


def bounce(
    vel: Tensor, spin: Tensor, params: BallParams, restitution: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Velocity and spin after a bounce on the ground.

    Args:
        vel: (..., 3) before, m/s; a ball that is not coming down (vz ≥ 0) is returned unchanged.
        spin: (..., 3) before, rad/s.
        params: ball and court, broadcast against (...,).
        restitution: overrides the parameters' normal restitution, broadcasts against (...,).

    Returns:
        vel, spin after, (..., 3).
    """
    vx, vy, vz = vel.unbind(-1)
    wx, wy, wz = spin.unbind(-1)
    radius = torch.as_tensor(params.radius, dtype=vel.dtype, device=vel.device)
    down = (-vz).clamp(min=0.0)
    e = restitution_at(down, params) if restitution is None else restitution
    # Impulses per unit mass. Velocity of the contact point: v + ω × (−r z).
    normal = (1 + e) * down
    slip_x = vx - radius * wy
    slip_y = vy + radius * wx
    grip = params.inertia_factor / (1 + params.inertia_factor)
    wanted = grip * torch.sqrt(slip_x * slip_x + slip_y * slip_y)
    share = (params.friction * normal / wanted.clamp(min=1e-9)).minimum(_most(params, wanted))
    jx = -grip * share * slip_x
    jy = -grip * share * slip_y
    turn = 1 / (params.inertia_factor * radius)
    return (
        by_component(vx + jx, vy + jy, torch.where(vz < 0, e * down, vz)),
        by_component(wx + turn * jy, wy - turn * jx, wz),
    )


def _most(params: BallParams, like: Tensor) -> Tensor:
    """Largest tangential impulse over the one that just stops the contact point."""
    return torch.as_tensor(1 + params.grip_restitution, dtype=like.dtype, device=like.device)


SLIDE, ROLL, GRIP = 0, 1, 2
"""Regimes of a bounce, see the module's text."""


def regime(vel: Tensor, spin: Tensor, params: BallParams) -> Tensor:
    """Which regime (...,) a bounce is in: `SLIDE`, `ROLL` or `GRIP`. Arguments as in `bounce`."""
    after, turned = bounce(vel, spin, params)
    radius = torch.as_tensor(params.radius, dtype=vel.dtype, device=vel.device)

    def slip(v: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        return v[..., 0] - radius * w[..., 1], v[..., 1] + radius * w[..., 0]

    (x0, y0), (x1, y1) = slip(vel, spin), slip(after, turned)
    kept = x0 * x1 + y0 * y1
    nothing = 1e-5 * (x0 * x0 + y0 * y0)
    return torch.where(kept > nothing, SLIDE, torch.where(kept < -nothing, GRIP, ROLL))


def roll(vel: Tensor, spin: Tensor, params: BallParams, dt: float) -> tuple[Tensor, Tensor]:
    """Velocity and spin of a ball that lay on the ground for `dt` and that gravity pulled into it.

    The ground's normal impulse is what stops the fall; friction within it turns sliding into rolling, and
    rolling resistance slows what rolls.

    Args:
        vel, spin: (..., 3) after the free fall of `dt`.
        params: ball and court.
        dt: s.

    Returns:
        vel, spin, (..., 3), without vertical speed.
    """
    held, held_spin = bounce(vel, spin, params, torch.zeros_like(vel[..., 2]))
    speed = torch.hypot(held[..., 0], held[..., 1])
    kept = 1 - (ROLLING_RESISTANCE * GRAVITY * dt / speed.clamp(min=1e-9)).clamp(max=1.0)
    return held * kept.unsqueeze(-1), held_spin * kept.unsqueeze(-1)


def pace_rating(friction: Tensor | float, restitution: Tensor | float) -> Tensor | float:
    """ITF court pace rating, 100 (1 − μ) + 150 (0.81 − e).

    Slow courts rate 29 or less, medium 35–39, fast 45 or more (ITF CS 01/02).
    """
    return 100 * (1 - friction) + 150 * (0.81 - restitution)


def friction_of_pace(pace: float, restitution: float) -> float:
    """The friction with which a court of that restitution has that pace rating: `pace_rating` turned round."""
    return 1 - (pace - 150 * (0.81 - restitution)) / 100


PACE_TEST = (30.0, math.radians(16.0))
"""The ITF's test shot: speed, m/s, and angle to the court, rad, without spin (ITF CS 01/02: 30 ± 2 m/s, 16 ± 2°)."""


def measured_pace(params: BallParams) -> Tensor:
    """The rating (N,), or (), that the ITF's test finds on a court: its shot played, its formula applied.

    The test reads the friction from the speed lost, which holds while the ball slides. On the slowest courts it
    stops sliding, and the test finds less friction, and so a higher rating, than `pace_rating` of the surface.
    """
    speed, angle = PACE_TEST
    given = params.friction
    like = (
        given.double()
        if isinstance(given, Tensor)
        else torch.tensor(given, dtype=torch.float64, device="cpu")
    )
    vx = torch.full_like(like, speed * math.cos(angle))
    vz = torch.full_like(like, -speed * math.sin(angle))
    zero = torch.zeros_like(like)
    after, _ = bounce(by_component(vx, zero, vz), by_component(zero, zero, zero), params)
    friction = (vx - after[..., 0]) / (after[..., 2] - vz)
    return 100 * (1 - friction) + 150 * (0.81 + after[..., 2] / vz)


@dataclass(frozen=True)
class Surface:
    """A court: its ITF pace rating and its normal restitution; `friction` follows.

    Attributes:
        pace: court pace rating. ITF categories: slow up to 29, medium-slow 30–34, medium 35–39, medium-fast
            40–44, fast from 45.
        restitution: normal restitution.
    """

    pace: float
    restitution: float

    @property
    def friction(self) -> float:
        """Sliding friction of ball on court."""
        return friction_of_pace(self.pace, self.restitution)


SURFACES: dict[str, Surface] = {
    "clay": Surface(pace=24.0, restitution=0.84),
    "grass": Surface(pace=48.0, restitution=0.75),
    "hard slow": Surface(pace=29.0, restitution=0.81),
    "hard medium": Surface(pace=37.0, restitution=0.81),
    "hard fast": Surface(pace=45.0, restitution=0.81),
}
"""Courts by name. The ratings lie in the ITF's categories (clay slow, grass fast, hard as named). 0.81 is the
restitution the ITF's formula takes as the norm; that clay bounces higher and grass lower is common knowledge,
how much has no sharp source."""


def on_surface(params: BallParams, name: str) -> BallParams:
    """The same ball on the court `name` of `SURFACES`.

    Raises:
        ValueError: there is no such court; the message lists them.
    """
    if name not in SURFACES:
        raise ValueError(f"court surface {name!r} is not known: one of {', '.join(SURFACES)}")
    surface = SURFACES[name]
    return replace(params, friction=surface.friction, restitution=surface.restitution, restitution_slope=0.0)
