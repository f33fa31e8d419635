"""When, within a step, a moving ball first touches the ground, the net or a moving racket.

Within one step a ball's path is a parabola p(u) = p0 + u·a + u²·b, u from 0 to 1, which matches the
integrator's end points and first velocity. The net and the racket are thin, so the gap between the ball's
surface and theirs is sampled along the path at spacings below half a radius, whatever the speeds; the
first sample inside brackets the contact and one secant places it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sim.net import net_gap
from sim.stringbed import SEMI_LONG, SEMI_SHORT

MIN_SAMPLES = 4
MAX_SAMPLES = 256

Path = tuple[Tensor, Tensor, Tensor]
"""p0, a, b, each (n, 3): see the module's text."""


def path(pos: Tensor, vel: Tensor, end: Tensor, h: Tensor) -> Path:
    """The parabola from `pos` with velocity `vel` to `end` in time `h` (n,)."""
    first = vel * h.unsqueeze(-1)
    return pos, first, end - pos - first


def _at(ball: Path, u: Tensor) -> Tensor:
    """Positions (n, K, 3) at fractions u (K,) or (n, K)."""
    p0, a, b = (part.unsqueeze(-2) for part in ball)
    u = u.unsqueeze(-1)
    return p0 + u * (a + u * b)


def ground_fraction(ball: Path, radius: Tensor) -> Tensor:
    """Fraction of the step, (n,) in 0–1, at which a ball that ends below the ground touches it.

    A ball that starts below the ground and falls touches at 0. Balls that end above the ground give a
    number without meaning.
    """
    height = (ball[0][:, 2] - radius).clamp(min=0.0)
    first, second = ball[1][:, 2], ball[2][:, 2]
    root = (first * first - 4 * second * height).clamp(min=0.0).sqrt()
    falling = 2 * height / (root - first).clamp(min=1e-12)
    rising = (first + root) / (-2 * second).clamp(min=1e-12)
    return torch.where(first < 0, falling, rising).clamp(0.0, 1.0)


def _first_contact(gap: Tensor) -> Tensor:
    """Fraction of the step at which a gap sampled at K + 1 even fractions (n, K + 1) closes; inf if never.

    A ball that starts inside is in contact at once if the gap is closing, else it is leaving.
    """
    before, after = gap[:, :-1], gap[:, 1:]
    closes = (before > 0) & (after <= 0)
    first = closes.to(torch.int8).argmax(dim=1, keepdim=True)
    g0, g1 = before.gather(1, first).squeeze(1), after.gather(1, first).squeeze(1)
    u = (first.squeeze(1) + g0 / (g0 - g1).clamp(min=1e-12)) / after.shape[1]
    u = torch.where(closes.any(dim=1), u, torch.full_like(u, torch.inf))
    inside = (gap[:, 0] <= 0) & (gap[:, 1] < gap[:, 0])
    return torch.where(inside, torch.zeros_like(u), u)


def _fractions(travel: Tensor, radius: Tensor) -> Tensor:
    """Even fractions 0–1 so that `travel` (n,) m is sampled at half a radius or less."""
    wanted = int((2 * travel / radius).max().clamp(max=MAX_SAMPLES).item()) + 1
    count = max(MIN_SAMPLES, wanted)
    return torch.linspace(0.0, 1.0, count + 1, dtype=travel.dtype, device=travel.device)


def net_fraction(ball: Path, radius: Tensor) -> Tensor:
    """Fraction of the step (n,) at which the ball touches the net; inf if it does not."""
    travel = torch.linalg.vector_norm(ball[1], dim=-1) + torch.linalg.vector_norm(ball[2], dim=-1)
    distance, _ = net_gap(_at(ball, _fractions(travel, radius)))
    return _first_contact(distance.clamp(max=1e3) - radius.unsqueeze(-1))


def string_bed_contact(local: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The point of the string bed nearest to the ball's centre.

    Args:
        local: the ball's centre in the racket frame, (..., 3), m.

    Returns:
        Distance (...,) m; unit normal (..., 3) from that point to the centre, racket frame; and whether the
        point lies on the strings (else on the frame, where the distance in the string plane is first order
        in the distance from the ellipse, good to a millimetre within a ball's radius).
    """
    x, y, z = local.unbind(-1)
    gx, gy = x / SEMI_LONG**2, y / SEMI_SHORT**2
    rho = torch.sqrt(gx * x + gy * y)
    steep = torch.hypot(gx, gy).clamp(min=1e-9)
    outside = ((rho - 1) * rho / steep).clamp(min=0.0)
    distance = torch.hypot(outside, z)
    # A ball centred on the string plane itself has no side: take the normal of the front face.
    scale = 1 / distance.clamp(min=1e-9)
    centred = (distance < 1e-9).to(z.dtype)
    normal = torch.stack(
        (outside * gx / steep * scale, outside * gy / steep * scale, z * scale + centred), dim=-1
    )
    return distance, normal, outside <= 0


def pose_between(pos0: Tensor, rot0: Tensor, pos1: Tensor, rot1: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Racket pose at the fraction `s` (n,) between two poses: position (n, 3), rotation matrix (n, 3, 3).

    Position is linear; the axes are the two poses' axes, mixed and made orthonormal, which for the few
    tenths of a radian of a step is a rotation at nearly constant rate.
    """
    pos = torch.lerp(pos0, pos1, s.unsqueeze(-1))
    mixed = torch.lerp(rot0, rot1, s[:, None, None])
    z = mixed[..., 2]
    z = z / torch.linalg.vector_norm(z, dim=-1, keepdim=True).clamp(min=1e-9)
    x = mixed[..., 0]
    x = x - (x * z).sum(-1, keepdim=True) * z
    x = x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp(min=1e-9)
    return pos, torch.stack((x, torch.linalg.cross(z, x), z), dim=-1)


def racket_fraction(
    ball: Path, pos0: Tensor, rot0: Tensor, pos1: Tensor, rot1: Tensor, since: Tensor, radius: Tensor
) -> Tensor:
    """Fraction of the ball's path (n,) at which it touches the racket; inf if it does not.

    Args:
        ball: path that ends with the step.
        pos0, rot0, pos1, rot1: racket at the step's start and end, (n, 3) and (n, 3, 3).
        since: fraction of the step at which the path starts, (n,).
        radius: of the ball, (n,).
    """
    turn = torch.linalg.vector_norm(rot1 - rot0, dim=(-2, -1)) * SEMI_LONG
    relative = ball[1] - (1 - since).unsqueeze(-1) * (pos1 - pos0)
    travel = torch.linalg.vector_norm(relative, dim=-1) + torch.linalg.vector_norm(ball[2], dim=-1) + turn
    u = _fractions(travel, radius)
    s = since.unsqueeze(-1) + (1 - since).unsqueeze(-1) * u
    centre = torch.lerp(pos0.unsqueeze(1), pos1.unsqueeze(1), s.unsqueeze(-1))
    axes = torch.lerp(rot0.unsqueeze(1), rot1.unsqueeze(1), s[..., None, None])
    offset = (_at(ball, u) - centre).unsqueeze(-1)
    local = (offset * axes).sum(-2) / torch.linalg.vector_norm(axes, dim=-2)
    distance, _, _ = string_bed_contact(local)
    return _first_contact(distance - radius.unsqueeze(-1))


def angular_velocity(rot0: Tensor, rot1: Tensor, dt: float) -> Tensor:
    """Constant angular velocity (n, 3) rad/s, world frame, that turns `rot0` into `rot1` in `dt`."""
    d = rot1 @ rot0.transpose(-1, -2)
    axis = 0.5 * torch.stack(
        (d[:, 2, 1] - d[:, 1, 2], d[:, 0, 2] - d[:, 2, 0], d[:, 1, 0] - d[:, 0, 1]), dim=-1
    )
    sine = torch.linalg.vector_norm(axis, dim=-1)
    angle = torch.atan2(sine, 0.5 * (d.diagonal(dim1=-2, dim2=-1).sum(-1) - 1))
    factor = torch.where(sine > 1e-4, angle / sine.clamp(min=1e-4), torch.ones_like(sine))
    return axis * (factor / dt).unsqueeze(-1)
