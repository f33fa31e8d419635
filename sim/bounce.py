"""A ball on the court: oblique bounce with spin.

Impulse model after Brody and Cross: the normal speed is reversed with the restitution e; the ball slides
with friction μ while its contact point moves, and the sliding stops when the contact point stops (grip).
A grip reached inside the contact ends in rolling, so the tangential impulse is the one that stops the
contact point, or μ times the normal impulse if that is smaller. Spin about the vertical is not changed:
the friction couple of the small contact patch is neglected.
"""

from __future__ import annotations

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
    share = (params.friction * normal / wanted.clamp(min=1e-9)).clamp(max=1.0)
    jx = -grip * share * slip_x
    jy = -grip * share * slip_y
    turn = 1 / (params.inertia_factor * radius)
    return (
        by_component(vx + jx, vy + jy, torch.where(vz < 0, e * down, vz)),
        by_component(wx + turn * jy, wy - turn * jx, wz),
    )


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
