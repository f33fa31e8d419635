"""The racket as the ball meets it: an elliptic string bed on a free rigid body.

Racket frame (the robot model's site "racket"): origin at the string bed's centre, x along the racket's long
axis from handle to tip, z normal to the strings (the face that hits a forehand; both faces play),
y = z × x. Contact lasts about 5 ms, too short for the hand to matter, so the racket is a free body while
it lasts (or whatever body the caller passes, such as racket and wrist link in one).

Impact law. With u the relative velocity of the ball's contact point, n the unit vector from racket to ball
and K the 3 × 3 matrix that turns an impulse on the ball into a change of u (both bodies' translation and
rotation), the impulse J on the ball meets n·u' = −e n·u and, if the strings grip, leaves no tangential
velocity. If that would need more friction than μ times the normal part, J is the mix of this and the
frictionless impulse that lies on the friction cone: the restitution still holds exactly and J is
continuous in everything. Momentum is conserved whatever J is.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from sim.ball import BallParams, cross, dot, refuse_outside

SEMI_LONG = 0.165
"""Semi-axis of the string bed along x, m (a string bed is about 0.33 × 0.26 m)."""
SEMI_SHORT = 0.13
"""Semi-axis of the string bed along y, m."""


@dataclass(frozen=True)
class Racket:
    """The rigid body that meets the ball, in the racket frame, and its strings.

    Attributes:
        mass: kg, number or (N,).
        com: centre of mass from the string bed's centre, (3,) or (N, 3), m.
        inertia: about the centre of mass, (3, 3) or (N, 3, 3), kg m².
        restitution: normal restitution of ball on strings with the head clamped (0.83–0.88 for strings in
            play); the hand-held rebound follows from it and from the two bodies' masses.
        frame_restitution: the same on the frame. No published source; a dead rim.
        friction: ball on strings, number or (N,). No sharp source: balls usually grip; 0.5.
    """

    mass: Tensor | float
    com: Tensor
    inertia: Tensor
    restitution: Tensor | float = 0.85
    frame_restitution: Tensor | float = 0.4
    friction: Tensor | float = 0.5

    @classmethod
    def from_specs(
        cls,
        mass: float = 0.32,
        balance: float = 0.325,
        swingweight: float = 0.032,
        twistweight: float = 0.0014,
        centre: float = 0.51,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        **strings: Tensor | float,
    ) -> Racket:
        """A free racket from the figures printed on it.

        Args:
            mass: strung, kg.
            balance: centre of mass from the butt, m.
            swingweight: about an axis across the racket in the string plane, 10 cm from the butt, kg m².
            twistweight: about the long axis, kg m².
            centre: string bed's centre from the butt, m: 0.685 m length less half the 0.33 m string bed
                less 1 cm of frame at the tip.
            strings: `restitution`, `frame_restitution`, `friction`.

        Raises:
            ValueError: the swingweight is less than the mass and balance alone give.
        """
        across = swingweight - mass * (balance - 0.10) ** 2
        if min(mass, across, twistweight) <= 0:
            raise ValueError(
                f"no rigid racket has mass {mass} kg, balance {balance} m, swingweight {swingweight} kg m², "
                f"twistweight {twistweight} kg m²: the inertia about its centre of mass would not be positive"
            )
        # A racket is nearly flat, so the third moment is the sum of the other two.
        moments = [twistweight, across, twistweight + across]
        inertia = torch.diag(torch.tensor(moments, dtype=dtype, device=device))
        com = torch.tensor([balance - centre, 0.0, 0.0], dtype=dtype, device=device)
        return cls(mass=mass, com=com, inertia=inertia, **strings)

    def expand(
        self,
        n: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        envs: Tensor | None = None,
    ) -> Racket:
        """The same with every field of its own per environment: (n,), (n, 3), (n, 3, 3).

        Args:
            envs: (n,) environments they are for, to be named in errors; default 0 to n - 1.

        Raises:
            ValueError: a field has another shape or is not physical; the message names it and the environment.
        """
        tails = {"com": (3,), "inertia": (3, 3)}
        out: dict[str, Tensor] = {}
        for field in fields(self):
            value = torch.as_tensor(getattr(self, field.name), device=device, dtype=dtype)
            tail = tails.get(field.name, ())
            if value.shape not in (tail, (1, *tail), (n, *tail)):
                raise ValueError(
                    f"racket {field.name}: shape {tuple(value.shape)}, expected {tail} or {(n, *tail)}"
                )
            out[field.name] = value.expand(n, *tail).clone()
        racket = Racket(**out)
        racket.check(envs)
        return racket

    def check(self, envs: Tensor | None = None) -> None:
        """Raise ValueError naming the first field, and environment, that no rigid body and no strings have.

        The largest mass and inertia allow for a clamped racket, as a body too heavy to move.

        Args:
            envs: environments of the values, to be named; default their indices.
        """
        for name, low, high in (
            ("mass", 1e-3, 1e12),
            ("restitution", 0.0, 1.0),
            ("frame_restitution", 0.0, 1.0),
            ("friction", 0.0, 100.0),
        ):
            refuse_outside(f"racket {name}", getattr(self, name), low, high, envs)
        refuse_outside(
            "racket com: distance from the string bed's centre", self.com.norm(dim=-1), 0.0, 10.0, envs
        )
        # All three leading minors of a positive definite matrix are positive (Sylvester). No solver call.
        m = self.inertia
        square = m[..., 0, 0] * m[..., 1, 1] - m[..., 0, 1] * m[..., 1, 0]
        minors = torch.stack((m[..., 0, 0], square, dot(m[..., 0], cross(m[..., 1], m[..., 2]))), dim=-1)
        lopsided = (m - m.transpose(-1, -2)).abs().amax(dim=(-1, -2)) > 1e-3 * m.abs().amax(dim=(-1, -2))
        bad = (~((minors > 0) & torch.isfinite(minors)).all(dim=-1) | lopsided).reshape(-1)
        if bool(bad.any()):
            index = int(bad.nonzero()[0, 0])
            env = index if envs is None else int(envs[index])
            raise ValueError(
                f"racket inertia in environment {env} is not symmetric and positive definite: "
                f"{m.reshape(-1, 3, 3)[index].tolist()} kg m²"
            )

    def at(self, ids: Tensor) -> Racket:
        """The rackets `ids` (indices or mask) of an expanded racket."""
        return replace(self, **{field.name: getattr(self, field.name)[ids] for field in fields(self)})


@dataclass(frozen=True)
class Impact:
    """What an impact leaves. All in the world frame.

    vel, spin: of the ball after, (..., 3) m/s, rad/s. impulse: on the racket at the contact point,
    (..., 3) N s. racket_vel (of its centre of mass), racket_ang: of the free racket after, (..., 3).
    """

    vel: Tensor
    spin: Tensor
    impulse: Tensor
    racket_vel: Tensor
    racket_ang: Tensor


def skew(a: Tensor) -> Tensor:
    """Matrix (..., 3, 3) with skew(a) b = a × b."""
    zero = torch.zeros_like(a[..., 0])
    x, y, z = a.unbind(-1)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=-1).unflatten(-1, (3, 3))


def inverse3(m: Tensor) -> Tensor:
    """Inverse of (..., 3, 3) by cofactors: no solver call, so it exports and runs the same everywhere."""
    a, b, c = m.unbind(-2)
    rows = torch.stack((cross(b, c), cross(c, a), cross(a, b)), dim=-1)
    return rows / dot(a, cross(b, c))[..., None, None]


def apply(m: Tensor, v: Tensor) -> Tensor:
    """Matrix (..., 3, 3) times vector (..., 3)."""
    return (m * v.unsqueeze(-2)).sum(-1)


def rotation_matrix(rot: Tensor) -> Tensor:
    """Rotation as a matrix (..., 3, 3), given as one or as a unit quaternion (..., 4), w first."""
    if rot.shape[-2:] == (3, 3):
        return rot
    if rot.shape[-1] != 4:
        raise ValueError(f"rotation: shape {tuple(rot.shape)}, expected (..., 4) or (..., 3, 3)")
    w, x, y, z = rot.unbind(-1)
    return torch.stack(
        (
            1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
        ),
        dim=-1,
    ).unflatten(-1, (3, 3))  # fmt: skip


def compliance(
    normal: Tensor, arm: Tensor, racket_rot: Tensor, racket: Racket, params: BallParams
) -> tuple[Tensor, Tensor]:
    """How an impulse changes the contact's relative velocity.

    Args:
        normal: unit vector from racket to ball, (..., 3), world.
        arm: contact point from the racket's centre of mass, (..., 3), world, m.
        racket_rot: racket frame to world, (..., 3, 3).
        racket: body, broadcasts against (...,).
        params: ball.

    Returns:
        K (..., 3, 3), 1/kg: relative velocity change = K × impulse on the ball; and the racket's inverse
        inertia in the world frame (..., 3, 3).
    """
    eye = torch.eye(3, dtype=normal.dtype, device=normal.device)
    inverse_inertia = racket_rot @ inverse3(racket.inertia) @ racket_rot.transpose(-1, -2)
    lever = skew(arm)
    normal_part = normal.unsqueeze(-1) * normal.unsqueeze(-2)
    ball_mass = _column(params.mass, normal)
    ball = (eye + (eye - normal_part) / _column(params.inertia_factor, normal)) / ball_mass
    return ball + eye / _column(racket.mass, normal) - lever @ inverse_inertia @ lever, inverse_inertia


def impact(
    ball_vel: Tensor,
    ball_spin: Tensor,
    normal: Tensor,
    contact: Tensor,
    racket_pos: Tensor,
    racket_rot: Tensor,
    racket_vel: Tensor,
    racket_ang: Tensor,
    racket: Racket,
    params: BallParams,
    restitution: Tensor | None = None,
) -> Impact:
    """The ball hits the racket.

    Args:
        ball_vel, ball_spin: before, (..., 3), m/s, rad/s.
        normal: unit vector from the racket's surface to the ball's centre, (..., 3).
        contact: contact point, (..., 3), m.
        racket_pos: string bed centre, (..., 3), m.
        racket_rot: racket frame to world, (..., 3, 3) or quaternion (..., 4).
        racket_vel: velocity of the string bed's centre, (..., 3), m/s.
        racket_ang: angular velocity, (..., 3), rad/s.
        racket, params: bodies, broadcast against (...,).
        restitution: overrides the racket's (frame hits), (...,).

    Returns:
        See `Impact`. A ball that is not approaching gets no impulse.
    """
    rot = rotation_matrix(racket_rot)
    com_offset = apply(rot, racket.com.expand_as(normal))
    com = racket_pos + com_offset
    com_vel = racket_vel + cross(racket_ang, com_offset)
    arm = contact - com
    radius = torch.as_tensor(params.radius, dtype=normal.dtype, device=normal.device)
    to_contact = -radius.unsqueeze(-1) * normal if radius.ndim else -radius * normal
    slip = ball_vel + cross(ball_spin, to_contact) - com_vel - cross(racket_ang, arm)
    k, inverse_inertia = compliance(normal, arm, rot, racket, params)
    e = racket.restitution if restitution is None else restitution
    impulse = _contact_impulse(slip, normal, k, racket, e)
    mass = _column(params.mass, normal).squeeze(-1)
    racket_mass = _column(racket.mass, normal).squeeze(-1)
    inertia = _column(params.inertia(), normal).squeeze(-1)
    return Impact(
        vel=ball_vel + impulse / mass,
        spin=ball_spin + cross(to_contact, impulse) / inertia,
        impulse=-impulse,
        racket_vel=com_vel - impulse / racket_mass,
        racket_ang=racket_ang - apply(inverse_inertia, cross(arm, impulse)),
    )


def _column(value: Tensor | float, like: Tensor) -> Tensor:
    """A parameter, number or (N,), shaped (…, 1, 1) to scale matrices over (N, 3, 3)."""
    tensor = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    return tensor[..., None, None]


def _contact_impulse(
    slip: Tensor, normal: Tensor, k: Tensor, racket: Racket, restitution: Tensor | float
) -> Tensor:
    """Impulse on the ball, (..., 3), from the relative contact velocity and the compliance."""
    approach = -dot(slip, normal)
    e = torch.as_tensor(restitution, dtype=slip.dtype, device=slip.device)
    normal_change = (1 + e) * approach
    smooth = normal_change / dot(normal, apply(k, normal))
    tangential_slip = slip + approach.unsqueeze(-1) * normal
    grip = apply(inverse3(k), normal_change.unsqueeze(-1) * normal - tangential_slip)
    grip_normal = dot(grip, normal)
    grip_tangential = torch.linalg.vector_norm(grip - grip_normal.unsqueeze(-1) * normal, dim=-1)
    # Largest share of grip for which |tangential| ≤ μ · normal.
    excess = grip_tangential - racket.friction * (grip_normal - smooth)
    limit = racket.friction * smooth
    share = torch.where(excess > limit, limit / excess.clamp(min=1e-12), torch.ones_like(limit))
    frictionless = smooth.unsqueeze(-1) * normal
    impulse = frictionless + share.unsqueeze(-1) * (grip - frictionless)
    return torch.where((approach > 0).unsqueeze(-1), impulse, torch.zeros_like(impulse))
