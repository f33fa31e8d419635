"""What waist and arm do at the strike beside the stroke of the family, so that the racket is where it is wanted.

A polynomial over eight goal variables passes most goals exactly and some by a few centimetres. Those are made up for by
damped least squares on the joints of the racket's chain: first its place and face, then its velocity. What is added
comes and goes around the strike.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from policies.chain import Chain
from sim.stringbed import inverse3

ROUNDS = 2
"""Gauss–Newton steps for place and face."""
OFF_M, OFF_RAD, OFF_SPEED = 0.01, 0.02, 0.5
"""What of the racket's place, m, face, rad, and velocity, m/s, weighs as much as `EASE`."""
EASE = (0.03, 0.03, 0.03) + 7 * (0.1,)
"""How far a joint of the chain, waist first, bends as lightly as that, rad; its speed likewise, a tenth of a second."""
FARTHEST_M, FARTHEST_RAD = 0.15, 0.4
"""No more of what a stroke misses is made up for."""
MOST_RAD, MOST_SPEED = 0.3, 4.0
"""No joint bends farther or faster, rad, rad/s."""
SPAN_S = 0.3
"""What is added comes and goes within so long of the strike."""


def bend(racket: Chain, angle: Tensor, speed: Tensor, pos: Tensor, vel: Tensor, face: Tensor) -> Tensor:
    """Joint angles, rad, and speeds, rad/s, to be added at the strike, (N, 2 J).

    Args:
        racket: the chain, J joints. angle, speed: of its joints in the stroke, (N, J).
        pos, vel, face: what is wanted of the racket: its centre, velocity, and z axis, all as seen from the pelvis,
            (N, 3).
    """
    ease = angle.new_tensor(EASE) ** 2
    more = torch.zeros_like(angle)
    for _ in range(ROUNDS):
        end, move, turn = racket.jacobian(angle + more)
        off = (pos - end.pos).clamp(-FARTHEST_M, FARTHEST_M) / OFF_M
        # The turn that brings the face about; one about the face itself does not matter.
        plane = end.rot[..., :2].transpose(1, 2)
        about = torch.linalg.cross(end.rot[..., 2], face, dim=1).unsqueeze(-1)
        about = (plane @ about)[..., 0].clamp(-FARTHEST_RAD, FARTHEST_RAD) / OFF_RAD
        rows = torch.cat((move / OFF_M, plane @ turn / OFF_RAD), dim=1)
        # From where the stroke itself is: what has been added already is not forgotten.
        wrong = torch.cat((off, about), dim=1) + (rows @ more.unsqueeze(-1))[..., 0]
        more = _least(rows, wrong, ease).clamp(-MOST_RAD, MOST_RAD)
    _, move, _ = racket.jacobian(angle + more)
    wrong = (vel - (move @ speed.unsqueeze(-1))[..., 0]) / OFF_SPEED
    quick = _least(move / OFF_SPEED, wrong, 100 * ease).clamp(-MOST_SPEED, MOST_SPEED)
    return torch.cat((more, quick), dim=1)


def bump(time: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """How much of the angles, and of the speeds (s), is added at times (N,) after the strike, s; and the derivatives of
    both by time."""
    x = math.pi * (time / SPAN_S).clamp(-1.0, 1.0)
    share, change = 0.5 * (1 + x.cos()), -0.5 * math.pi / SPAN_S * x.sin()
    return share, time * share, change, share + time * change


def _least(rows: Tensor, wrong: Tensor, ease: Tensor) -> Tensor:
    """The x (N, J) that makes |rows x - wrong|² + Σ x²/ease least, for (N, M, J), (N, M) and (J,); M = 3 or 5."""
    eased = rows * ease
    inner = eased @ rows.transpose(1, 2) + torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
    return (eased.transpose(1, 2) @ _solved(inner, wrong).unsqueeze(-1))[..., 0]


def _solved(a: Tensor, b: Tensor) -> Tensor:
    """Solution (N, M) of a x = b for positive definite (N, M, M), M = 3 or 5; no solver call, so that it exports."""
    inverse = inverse3(a[:, :3, :3])
    first = inverse @ b[:, :3, None]
    if a.shape[1] == 3:
        return first[..., 0]
    across = inverse @ a[:, :3, 3:]
    rest = a[:, 3:, 3:] - a[:, 3:, :3] @ across
    wanted = b[:, 3:, None] - a[:, 3:, :3] @ first
    (p, q), (r, s) = rest[:, 0].unbind(1), rest[:, 1].unbind(1)
    swapped = torch.stack((torch.stack((s, -q), dim=1), torch.stack((-r, p), dim=1)), dim=1)
    second = swapped @ wanted / (p * s - q * r)[:, None, None]
    return torch.cat((first - across @ second, second), dim=1)[..., 0]
