"""The net: a sheet in x = 0 up to the cord, which stops a ball that flies into it.

Three parts, by the height of the ball's centre when it touches: above the cord, the round edge, over which a ball
may go (a let cord); a band's depth below it, the white band, doubled cloth over the cord, from which it falls back;
below that, the mesh, in which it dies.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sim.court import NET_END, net_height

MESH_REBOUND = 0.06
"""Share of the speed into the mesh that the net gives back. No published source: a dead ball."""
MESH_SLIDE = 0.3
"""Share of the speed along the mesh, and of the spin, that the net leaves. No published source."""
BAND_DEPTH = 0.0635
"""Depth of the white band below the cord, m (ITF Rules of Tennis, rule 1: 5–6.35 cm on each side)."""
BAND_REBOUND = 0.2
"""Share of the speed into the band that it gives back. No published source: between mesh and cord."""
BAND_SLIDE = 0.6
"""Share of the speed along the band, and of the spin, that it leaves. No published source: between mesh and cord."""
CORD_RESTITUTION = 0.4
"""Normal restitution of a ball on the cord's band. No published source."""
CORD_SLIDE = 0.85
"""Share of the speed across the cord's normal, and of the spin, that the cord leaves. No published source."""


def net_gap(pos: Tensor) -> tuple[Tensor, Tensor]:
    """Distance from the net, and how far the ball's centre is above the cord.

    Args:
        pos: (..., 3), m.

    Returns:
        Distance (...,) of the centre from the net, a sheet in x = 0 up to the cord (infinite beside the
        posts), and the height (...,) of the centre above the cord, negative below it, m.
    """
    x, y, z = pos.unbind(-1)
    above = z - net_height(y)
    distance = torch.hypot(x, above.clamp(min=0.0))
    return torch.where(y.abs() < NET_END, distance, torch.full_like(distance, torch.inf)), above


def net_contact(pos: Tensor, vel: Tensor, spin: Tensor) -> tuple[Tensor, Tensor]:
    """Velocity and spin of a ball that touches the net.

    Below the cord it meets band or mesh, which take most or nearly all of its speed: it drops on its own side.
    With its centre above the cord it meets a round edge and may go over (a let cord) or fall back.

    Args:
        pos, vel, spin: at the contact, (..., 3), m, m/s, rad/s.

    Returns:
        vel, spin after, (..., 3). A ball that is leaving keeps its speed away from the net.
    """
    distance, above = net_gap(pos)
    cord, band = (above > 0).unsqueeze(-1), (above > -BAND_DEPTH).unsqueeze(-1)
    normal = torch.stack((pos[..., 0], torch.zeros_like(above), above.clamp(min=0.0)), dim=-1)
    normal = normal / distance.clamp(1e-9, 1e3).unsqueeze(-1)
    speed = (vel * normal).sum(-1, keepdim=True)
    e = _by_part(cord, band, CORD_RESTITUTION, BAND_REBOUND, MESH_REBOUND).to(vel)
    keep = _by_part(cord, band, CORD_SLIDE, BAND_SLIDE, MESH_SLIDE).to(vel)
    out = torch.where(speed < 0, -e * speed, speed)
    return keep * (vel - speed * normal) + out * normal, keep * spin


def _by_part(cord: Tensor, band: Tensor, of_cord: float, of_band: float, of_mesh: float) -> Tensor:
    return torch.where(cord, of_cord, torch.where(band, of_band, of_mesh))
