"""When, within a step, a moving ball first touches the ground, the net or a moving racket.

Within one step a ball's path is a parabola p(u) = p0 + u·a + u²·b, u from 0 to 1, which matches the
integrator's end points and first velocity. The net and the racket are thin, so the gap between the ball's
surface and theirs is sampled along the path at spacings below half a radius, whatever the speeds; the
first sample inside brackets the contact and one secant places it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sim.ball import BallState
from sim.court import NET_POST_HEIGHT
from sim.events import RacketPose
from sim.net import net_gap
from sim.stringbed import SEMI_LONG, SEMI_SHORT, rotation_matrix

MIN_SAMPLES = 16
"""Enough for 25 cm a step (50 m/s at 5 ms). If the number followed the quickest ball of a batch, a contact
would depend, within the accuracy of the search, on the other balls."""
MAX_SAMPLES = 256
GROUND, NET, RACKET = 0.0, 1.0, 2.0
"""What a ball touches, see `first_contact`."""

Path = tuple[Tensor, Tensor, Tensor]
"""p0, a, b, each (n, 3): see the module's text."""


def near_contacts(
    pos: Tensor,
    end: Tensor,
    radius: Tensor,
    rolling: Tensor,
    refractory: Tensor,
    rackets: tuple[Tensor, Tensor] | None,
) -> tuple[Tensor, ...]:
    """Balls that may touch ground, net and (if given) racket between `pos` and `end` (n, 3): misses none.

    Args:
        pos, end: of the balls, m. radius: (n,), m.
        rolling: (n,) bool, on the ground anyway. refractory: (n,), s, positive where no racket may touch.
        rackets: string bed centres at the start and at the end, (n, 3) each, m. One that is not a number is near,
            so that somebody looks at it.
    """
    z0, z1 = pos[:, 2], end[:, 2]
    x1 = end[:, 0]
    ground = (z1 < radius) & ~rolling
    net = (x1 - pos[:, 0]).abs() + radius > x1.abs()
    net &= torch.minimum(z0, z1) < NET_POST_HEIGHT + radius
    if rackets is None:
        return ground, net
    from_centre = end - rackets[1]
    moved = from_centre - (pos - rackets[0])
    # 2 cm more than the geometry needs: the paths bend by less within a step.
    reach = radius + (SEMI_LONG + 0.02) + (moved * moved).sum(-1).sqrt()
    far = (from_centre * from_centre).sum(-1) >= reach * reach
    return ground, net, ~far & (refractory <= 0)


def may_touch_racket(
    pos: Tensor, end: Tensor, other: Tensor, radius: Tensor, start_pose: RacketPose, end_pose: RacketPose
) -> bool:
    """Whether any of the balls that fly from `pos` to `end` (n, 3) may meet its racket: never wrongly no.

    A ball that stays on one side of the string plane does not, unless something `other` than the racket (n,) may
    turn it round on its way; then it has to be far.
    """
    before, after = pos - start_pose.pos, end - end_pose.pos
    moved = torch.linalg.vector_norm(after - before, dim=-1)
    distance = torch.linalg.vector_norm(after, dim=-1)
    # Turned round, a ball ends within twice its way from where it would have been; spin may speed it up.
    close = distance < radius + (SEMI_LONG + 0.25) + 3 * moved
    normal0, normal1 = (rotation_matrix(pose.rot)[..., 2] for pose in (start_pose, end_pose))
    d0, d1 = (before * normal0).sum(-1), (after * normal1).sum(-1)
    # On its way the distance is that of the ends in proportion, but for the product of both changes and the bend
    # of the normal's path; 2 cm more than the geometry needs.
    turn = torch.linalg.vector_norm(normal1 - normal0, dim=-1)
    margin = radius + 0.02 + 0.25 * turn * (moved + turn * (distance + moved))
    aside = (d0 * d1 > 0) & (torch.minimum(d0.abs(), d1.abs()) > margin) & (turn < 0.5)
    return bool((close & ~(aside & ~other)).any())


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


def _closes_at(gap: Tensor) -> Tensor:
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
    # A path that overflowed has no length; it finds no contact, and must not keep the others from theirs.
    halves = torch.nan_to_num(2 * travel / radius, nan=0.0, posinf=0.0)
    wanted = int(halves.max().clamp(max=MAX_SAMPLES).item()) + 1
    count = max(MIN_SAMPLES, wanted)
    return torch.linspace(0.0, 1.0, count + 1, dtype=travel.dtype, device=travel.device)


def net_fraction(ball: Path, radius: Tensor) -> Tensor:
    """Fraction of the step (n,) at which the ball touches the net; inf if it does not."""
    travel = torch.linalg.vector_norm(ball[1], dim=-1) + torch.linalg.vector_norm(ball[2], dim=-1)
    distance, _ = net_gap(_at(ball, _fractions(travel, radius)))
    return _closes_at(distance.clamp(max=1e3) - radius.unsqueeze(-1))


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


def rotation_vector(rot0: Tensor, rot1: Tensor) -> Tensor:
    """The rotation from `rot0` to `rot1` (n, 3, 3) as axis times angle (n, 3), rad, world frame.

    For angles below π, that is, any racket within one step.
    """
    d = rot1 @ rot0.transpose(-1, -2)
    axis = torch.stack((d[:, 2, 1] - d[:, 1, 2], d[:, 0, 2] - d[:, 2, 0], d[:, 1, 0] - d[:, 0, 1]), dim=-1)
    sine = 0.5 * torch.linalg.vector_norm(axis, dim=-1)
    angle = torch.atan2(sine, 0.5 * (d.diagonal(dim1=-2, dim2=-1).sum(-1) - 1))
    factor = torch.where(sine > 1e-4, angle / sine.clamp(min=1e-4), torch.ones_like(sine))
    return 0.5 * axis * factor.unsqueeze(-1)


def turned(v: Tensor, by: Tensor) -> Tensor:
    """Vectors (..., 3) turned by rotation vectors (..., 3): Rodrigues' formula."""
    angle2 = (by * by).sum(-1, keepdim=True)
    angle = angle2.sqrt()
    small = angle < 1e-3
    sine = torch.where(small, 1 - angle2 / 6, angle.sin() / angle.clamp(min=1e-3))
    versine = torch.where(small, 0.5 - angle2 / 24, (1 - angle.cos()) / angle2.clamp(min=1e-6))
    once = torch.linalg.cross(by.expand_as(v), v)
    return v + sine * once + versine * torch.linalg.cross(by.expand_as(v), once)


Motion = tuple[Tensor, Tensor, Tensor, Tensor]
"""A racket's motion in one step: position (n, 3) and rotation (n, 3, 3) at the start, displacement (n, 3) m
and rotation vector (n, 3) rad over the step. Velocity and angular velocity are constant within it."""


def pose_at(racket: Motion, s: Tensor) -> tuple[Tensor, Tensor]:
    """Racket position (n, 3) and rotation matrix (n, 3, 3) at the fraction `s` (n,) of the step."""
    pos, rot, shift, turn = racket
    s = s.unsqueeze(-1)
    columns = turned(rot.transpose(-1, -2), (s * turn).unsqueeze(-2))
    return pos + s * shift, columns.transpose(-1, -2)


def racket_fraction(ball: Path, racket: Motion, since: Tensor, radius: Tensor) -> Tensor:
    """Fraction of the ball's path (n,) at which it touches the racket; inf if it does not.

    Args:
        ball: path that ends with the step.
        racket: motion in the whole step.
        since: fraction of the step at which the path starts, (n,).
        radius: of the ball, (n,).
    """
    pos, rot, shift, turn = racket
    left = (1 - since).unsqueeze(-1)
    travel = (
        torch.linalg.vector_norm(ball[1] - left * shift, dim=-1)
        + torch.linalg.vector_norm(ball[2], dim=-1)
        + torch.linalg.vector_norm(turn, dim=-1) * SEMI_LONG
    )
    u = _fractions(travel, radius)
    s = (since.unsqueeze(-1) + left * u).unsqueeze(-1)
    offset = _at(ball, u) - pos.unsqueeze(1) - s * shift.unsqueeze(1)
    distance, _, _ = string_bed_contact(turned(offset, -s * turn.unsqueeze(1)) @ rot)
    return _closes_at(distance - radius.unsqueeze(-1))


def first_contact(
    ball: BallState,
    end: BallState,
    near: tuple[Tensor, ...],
    left: Tensor,
    radius: Tensor,
    since: Tensor,
    racket: Motion | None,
) -> tuple[Tensor, Tensor | None]:
    """When each ball first touches something, and what.

    Args:
        ball, end: states (n, 3) now and, flown on freely, at the step's end.
        near: what each may touch at all, see `near_contacts`.
        left: time to the step's end, (n,), s. since: the share of the step that is over, (n,).
        radius: (n,), m.
        racket: motions in the whole step, or None.

    Returns:
        Fraction (n,) of the time left, inf where nothing is touched; and `GROUND`, `NET` or `RACKET` (n,), None if
        no ball touches anything.
    """
    arc = path(ball.pos, ball.vel, end.pos, left)
    never = torch.full_like(left, torch.inf)
    first, kind = never, torch.zeros_like(left)
    if bool(near[0].any()):
        # Rising out of the ground (an overlap at reset) is no bounce.
        rising = (ball.pos[:, 2] < radius) & (ball.vel[:, 2] >= 0)
        first = torch.where(near[0] & ~rising, ground_fraction(arc, radius), never)
    if bool(near[1].any()):
        net = torch.where(near[1], net_fraction(arc, radius), never)
        kind = torch.where(net < first, NET, kind)
        first = torch.minimum(first, net)
    if racket is not None and bool(near[2].any()):
        strike = torch.where(near[2], racket_fraction(arc, racket, since, radius), never)
        kind = torch.where(strike < first, RACKET, kind)
        first = torch.minimum(first, strike)
    return first, (kind if bool((first <= 1).any()) else None)
