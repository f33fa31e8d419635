"""The inverse problem: which racket, moving how, sends this ball there.

Two steps. `aim` finds the velocity with which a ball must leave to land on a target and pass the net at a
chosen height. `solve_racket` finds the racket velocity and face that give the ball that velocity: the
impulse is known from the change of velocity, so the string-bed model is inverted in closed form.
`plan_return` does both, since the spin the racket leaves bends the flight. Iteration counts are fixed and
nothing branches on values, so all of it exports.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sim.ball import GRAVITY, Aero, BallParams, BallState, aero, by_component, cross, dot, fly
from sim.court import net_height
from sim.stringbed import Racket, apply, compliance

LEG_STEPS = (3, 2)
"""Runge–Kutta steps of a trial flight to the net and from there: a centimetre for flights up to 2 s. (2, 1) costs two
centimetres and 0.01 m/s of the velocity."""
LANDING_TOLERANCE = 0.10
"""A solution counts as feasible if it lands within this distance of the target, m."""
GRIP_SHARE = 0.9
"""Share of the friction cone that `solve_racket` uses, so that errors do not make the ball slide."""


@dataclass(frozen=True)
class Aim:
    """How a ball must leave to land on its target.

    Attributes:
        vel: (N, 3), m/s. flight_time: to the landing, (N,), s.
        clearance: of the ball's centre over the cord, (N,), m.
        miss: distance from the target at landing that is left, (N,), m.
        feasible: (N,) bool: lands on target, clears the net, within 1 % of the speed limit.
    """

    vel: Tensor
    flight_time: Tensor
    clearance: Tensor
    miss: Tensor
    feasible: Tensor


def aim(
    ball_pos: Tensor,
    target: Tensor,
    params: BallParams,
    spin: Tensor | None = None,
    clearance: Tensor | float = 0.6,
    max_speed: Tensor | float = 30.0,
    min_clearance: float = 0.05,
    guess: Aim | None = None,
    iterations: int = 6,
    leg_steps: tuple[int, int] = LEG_STEPS,
) -> Aim:
    """Velocity with which a ball leaves `ball_pos` to land on `target` over the net.

    The flight time T and the velocity are found together: for a given T, velocity follows from the landing
    point, and T from the height over the net. Both corrections use the drag-corrected derivative of a
    parabola, which converges in a few iterations over the whole court.

    Args:
        ball_pos: (N, 3), m, at the moment it leaves.
        target: (N, 2), m, on the other side of the net.
        params: physics, as believed.
        spin: with which it leaves, (N, 3), rad/s.
        clearance: wanted height of the ball's centre over the cord, m. Where the speed limit forbids so flat
            a shot it passes higher.
        max_speed: of the leaving ball, m/s.
        min_clearance: height of the ball's underside over the cord below which it is not feasible, m.
        guess: an earlier answer for nearly the same case: start from it, with fewer iterations.
        iterations: trial flights; after two, the velocity is right to 0.1–0.2 m/s.
        leg_steps: of a trial flight, see `LEG_STEPS`.

    Returns:
        See `Aim`; where it is not feasible, the velocity is the best that was found, always finite.
    """
    air = aero(params, ball_pos)
    zeros = torch.zeros_like(ball_pos[..., 0])
    spin = torch.zeros_like(ball_pos) if spin is None else spin
    radius = zeros + params.radius
    goal = by_component(target[..., 0], target[..., 1], radius)
    way = goal - ball_pos
    distance = torch.linalg.vector_norm(way[..., :2], dim=-1).clamp(min=1e-3)
    ahead = by_component(way[..., 0] / distance, way[..., 1] / distance, zeros)
    # Where along the way the net stands, and how high the ball shall be there.
    share = (ball_pos[..., 0] / (ball_pos[..., 0] - goal[..., 0] - 1e-9)).clamp(0.02, 0.98)
    sag = GRAVITY * share * (1 - share)
    cord = net_height(ball_pos[..., 1] + share * way[..., 1])
    straight = ball_pos[..., 2] + share * way[..., 2]
    # Shortest flight under the speed limit: drag makes the mean speed less than the first.
    fastest = distance / max_speed * (1 + 0.5 * air.drag * distance)
    if guess is None:
        time = (2 * (cord + clearance - straight) / sag).clamp(min=0.01).sqrt()
        time = torch.maximum(time, fastest).clamp(max=4.0)
        vel = way / time.unsqueeze(-1)
        # Mean speed of a ball slowed by drag over the distance.
        vel = vel * (1 + 0.5 * air.drag * distance).unsqueeze(-1)
        vel = by_component(vel[..., 0], vel[..., 1], vel[..., 2] + 0.5 * GRAVITY * time)
    else:
        time, vel = guess.flight_time, guess.vel
    to_net = share * time
    end, over, to_net = _fly_over_net(ball_pos, vel, spin, air, time, to_net, leg_steps)
    for _ in range(iterations):
        error = goal - end
        # How far the end moves with the first velocity under quadratic drag: along it and across it.
        speed = torch.linalg.vector_norm(vel, dim=-1)
        slowed = (air.drag * speed * time).clamp(min=1e-6)
        across = slowed / (time * torch.log1p(slowed))
        more_along = dot(error, ahead) * ((1 + slowed) / time - across)
        vel = vel + error * across.unsqueeze(-1) + more_along.unsqueeze(-1) * ahead
        # A longer flight passes the net higher and is slower. Keep the landing while the time changes.
        later = ((clearance - over) / (sag * time)).maximum(-0.3 * time).minimum(0.3 * time)
        new_time = torch.maximum(time + later, time * speed / max_speed).clamp(min=0.05, max=4.0)
        later = new_time - time
        vel = vel - (later / new_time).unsqueeze(-1) * vel + by_component(zeros, zeros, GRAVITY * later)
        to_net = to_net * (new_time / time)
        time = new_time
        end, over, to_net = _fly_over_net(ball_pos, vel, spin, air, time, to_net, leg_steps)
    miss = torch.linalg.vector_norm(goal - end, dim=-1)
    feasible = (miss < LANDING_TOLERANCE) & (over > radius + min_clearance)
    feasible = feasible & (torch.linalg.vector_norm(vel, dim=-1) <= 1.01 * max_speed)
    feasible = feasible & (ball_pos[..., 0] * goal[..., 0] < 0)
    return Aim(vel, time, over, miss, feasible)


def _fly_over_net(
    pos: Tensor,
    vel: Tensor,
    spin: Tensor,
    air: Aero,
    time: Tensor,
    to_net: Tensor,
    leg_steps: tuple[int, int],
) -> tuple[Tensor, Tensor, Tensor]:
    """End of a flight of `time`, flown in two legs that meet near the net, `to_net` after the start.

    Returns the end (N, 3), the height of the centre over the cord at the net, and a better `to_net`.
    """
    for _ in range(leg_steps[0]):
        pos, vel, spin = fly(pos, vel, spin, air, to_net / leg_steps[0])
    rate = vel[..., 0]
    rate = torch.where(rate < 0, rate.clamp(max=-0.1), rate.clamp(min=0.1))
    late = (-pos[..., 0] / rate).maximum(-0.5 * time).minimum(0.5 * time)
    height = pos[..., 2] + late * (vel[..., 2] - 0.5 * GRAVITY * late)
    over = height - net_height(pos[..., 1] + late * vel[..., 1])
    better = (to_net + late).maximum(0.02 * time).minimum(0.98 * time)
    for _ in range(leg_steps[1]):
        pos, vel, spin = fly(pos, vel, spin, air, (time - to_net) / leg_steps[1])
    return pos, over, better


@dataclass(frozen=True)
class Strike:
    """How the racket must meet the ball. World frame.

    Attributes:
        pos: string bed centre at the impact, (N, 3), m.
        vel: its velocity before the impact, (N, 3), m/s.
        normal: of the face that hits, toward the ball, (N, 3).
        rot: racket frame to world, (N, 3, 3), with its x along the given long axis as far as the face allows.
        ball_vel, ball_spin: of the ball after, (N, 3), m/s, rad/s.
    """

    pos: Tensor
    vel: Tensor
    normal: Tensor
    rot: Tensor
    ball_vel: Tensor
    ball_spin: Tensor


def solve_racket(
    ball_pos: Tensor,
    ball_vel: Tensor,
    ball_spin: Tensor,
    wanted_vel: Tensor,
    racket: Racket,
    params: BallParams,
    wanted_spin: Tensor | None = None,
    long_axis: Tensor | None = None,
    face: float | Tensor = 1.0,
) -> Strike:
    """Racket velocity and face that turn `ball_vel` into `wanted_vel`, hitting at the string bed's centre.

    The impulse on the ball is m Δv. Its lever on the ball is the radius, so the face normal decides the spin
    the ball gains: along Δv none, tilted from it by θ a gain of |Δv| sin θ / (0.55 r) across Δv. The tilt is
    chosen for `wanted_spin` and kept inside the friction cone. Normal and impulse then give the contact
    velocity before the impact through the string-bed model with grip: the answer is exact for `impact`.

    Args:
        ball_pos, ball_vel, ball_spin: before, (N, 3).
        wanted_vel: after, (N, 3), m/s.
        racket: the body that hits, expanded to N or a single one.
        params: ball.
        wanted_spin: after, (N, 3), rad/s. Only the change across Δv can be had, and only up to the grip.
            None: spin as it comes, the face along Δv.
        long_axis: wished direction of the racket's x, handle to tip, (N, 3) or (3,). Default: horizontal.
        face: +1 hits with the side of +z (forehand), −1 with the other, number or (N,).

    Returns:
        See `Strike`. Finite for any input.
    """
    delta = wanted_vel - ball_vel
    size = torch.linalg.vector_norm(delta, dim=-1).clamp(min=1e-6)
    along = delta / size.unsqueeze(-1)
    scale = torch.zeros_like(size) + params.inertia_factor * params.radius
    if wanted_spin is None:
        sine = torch.zeros_like(delta)
    else:
        gain = (ball_spin - wanted_spin) * (scale / size).unsqueeze(-1)
        sine = cross(along, gain - dot(gain, along).unsqueeze(-1) * along)
    friction = torch.zeros_like(size) + racket.friction * GRIP_SHARE
    most = friction / torch.sqrt(1 + friction * friction)
    length = torch.linalg.vector_norm(sine, dim=-1).clamp(min=1e-9)
    sine = sine * torch.minimum(torch.ones_like(most), most / length).unsqueeze(-1)
    normal = along * (1 - dot(sine, sine)).clamp(min=0.0).sqrt().unsqueeze(-1) + sine

    rot = _face_rotation(normal, long_axis, face)
    arm = -apply(rot, racket.com.expand_as(normal))
    k, _ = compliance(normal, arm, rot, racket, params)
    mass = torch.zeros_like(size) + params.mass
    impulse = mass.unsqueeze(-1) * delta
    # u' − u = K J with no tangential part and −e times the normal part of u left in u'.
    change = apply(k, impulse)
    change_normal = dot(change, normal)
    e = torch.zeros_like(size) + racket.restitution
    slip = ((1 - 1 / (1 + e)) * change_normal).unsqueeze(-1) * normal - change
    to_contact = -(torch.zeros_like(size) + params.radius).unsqueeze(-1) * normal
    vel = ball_vel + cross(ball_spin, to_contact) - slip
    spin = ball_spin + cross(-normal, delta) / scale.unsqueeze(-1)
    return Strike(ball_pos + to_contact, vel, normal, rot, wanted_vel, spin)


def _face_rotation(normal: Tensor, long_axis: Tensor | None, face: float | Tensor) -> Tensor:
    """Rotation (N, 3, 3) with z = face · normal and x as near to `long_axis` as that allows."""
    side = torch.zeros_like(normal[..., 0]) + face
    z = normal * side.unsqueeze(-1)
    if long_axis is None:
        up = torch.zeros_like(normal)
        up[..., 2] = 1.0
        long_axis = cross(up, normal)
    x = long_axis - dot(long_axis, z).unsqueeze(-1) * z
    # A long axis along the normal says nothing: fall back to any direction in the face.
    spare = torch.zeros_like(normal)
    spare[..., 0] = 1.0
    spare = spare - dot(spare, z).unsqueeze(-1) * z
    poor = dot(x, x) < 1e-6
    x = torch.where(poor.unsqueeze(-1), spare, x)
    x = x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp(min=1e-9)
    return torch.stack((x, cross(z, x), z), dim=-1)


def plan_return(
    ball: BallState,
    target: Tensor,
    racket: Racket,
    params: BallParams,
    topspin: Tensor | float = 0.0,
    clearance: Tensor | float = 0.6,
    max_speed: Tensor | float = 30.0,
    long_axis: Tensor | None = None,
    face: float | Tensor = 1.0,
    rounds: int = 2,
) -> tuple[Strike, Aim]:
    """The racket that returns `ball`, at the place where it is, to `target`.

    Args:
        ball: state at the impact, (N, 3) each.
        target: (N, 2), m.
        topspin: wanted after the hit, rad/s, negative for backspin; what the grip allows is what one gets.
        clearance, max_speed: see `aim`. racket, params, long_axis, face: see `solve_racket`.
        rounds: how often aim and racket are solved in turn: the spin left bends the flight.

    Returns:
        Strike and aim that belong together: with the strike's spin, the ball flies the aim's flight.
    """
    ahead = target - ball.pos[..., :2]
    ahead = ahead / torch.linalg.vector_norm(ahead, dim=-1, keepdim=True).clamp(min=1e-6)
    amount = torch.zeros_like(ahead[..., 0]) + topspin
    wanted = by_component(-amount * ahead[..., 1], amount * ahead[..., 0], torch.zeros_like(amount))
    plan = aim(ball.pos, target, params, wanted, clearance, max_speed)
    strike = solve_racket(ball.pos, ball.vel, ball.spin, plan.vel, racket, params, wanted, long_axis, face)
    for _ in range(rounds - 1):
        spin = strike.ball_spin
        plan = aim(ball.pos, target, params, spin, clearance, max_speed, guess=plan, iterations=4)
        strike = solve_racket(
            ball.pos, ball.vel, ball.spin, plan.vel, racket, params, wanted, long_axis, face
        )
    return strike, plan
