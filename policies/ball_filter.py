"""What the player makes of the ball it is shown: where it is, how fast it flies, and how old the picture is.

A tracker that knows nothing of tennis balls gives velocities that are off by some 0.2 m/s, and half a second ahead that
is the width of the strings. The player therefore filters the positions again, along the flight of a ball with the drag
it has learned and through its bounce. Observations without noise are taken as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sim.ball import GRAVITY, BallParams, aero, fly_vectors
from sim.bounce import bounce

MEMORY = {
    "ball_filter": 9,
    "ball_before": 6,
    "ball_noise": 1,
    "seen": 1,
    "first_speed": 1,
    "flown": 1,
    "drag": 1,
    "free_vel": 3,
    "spin": 3,
}
"""Of the filter by name and size: position, velocity, and covariance (of position, both, velocity); the last
observation; how noisy observations are, m; what is known of the ball's drag; its
velocity had it no spin, and its spin as far as that is known."""


@dataclass(frozen=True)
class FilterConfig:
    """Constants of the filter. No source: tried on simulated flights.

    Attributes:
        noise: standard deviation of shown positions, m.
        acceleration: of what is not known of the flight, spin above all, m/s².
        first_speed: uncertainty of the velocity of a new ball, bounce_speed: of one that bounced, m/s.
        exact: observations whose second differences are below this, m, are taken as they are.
        spin_doubt: time of flight over which noisy observations tell half of what they can of the spin, s.
        low: nothing is learned of a ball below this, m.
        watch, doubt: a ball's drag is learned from so long after it is first seen, s, and its nominal drag weighs as
            much as so many metres of its path, m.
    """

    noise: float = 0.011
    acceleration: float = 2.0
    first_speed: float = 0.6
    bounce_speed: float = 0.6
    exact: float = 0.002
    spin_doubt: float = 0.8
    low: float = 0.4
    watch: float = 0.12
    doubt: float = 3.5


class BallFilter:
    """See the module; batches of N, without branches on values.

    Args:
        params: the ball as believed. dt: between observations, s. config: see `FilterConfig`.
    """

    def __init__(self, params: BallParams, dt: float, config: FilterConfig | None = None) -> None:
        self.params, self.dt, self.config = params, dt, config or FilterConfig()

    def update(
        self, shown_pos: Tensor, shown_vel: Tensor, valid: Tensor, bounced: Tensor, m: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One observation more.

        Args:
            shown_pos, shown_vel: of the ball, (N, 3). valid: whether there is one, (N, 1) bool.
            bounced: whether it has bounced on this side, (N, 1) bool.
            m: memory by name, see `MEMORY`; brought up to date.

        Returns:
            Position, velocity and spin (N, 3) of the ball, and whether what is shown is exact, (N,) bool: then it is no
            picture either, and of now.
        """
        c, dt = self.config, self.dt
        last_pos, last_vel = m["ball_before"].split(3, dim=1)
        # Balls come one after the other, the next one from afar.
        away = shown_pos - last_pos - dt * last_vel
        other = torch.linalg.vector_norm(away, dim=1, keepdim=True) > 1.0
        m["seen"] = torch.where(other, torch.zeros_like(m["seen"]), m["seen"])
        # Near the ground it may just have bounced, unnoticed, and that is neither drag nor spin.
        learning = valid & ~bounced & (shown_pos[:, 2:] > c.low)
        self._learn_drag(shown_vel, valid, learning, m)
        air = aero(self.params.with_drag_per_metre(m["drag"][:, 0]), shown_pos)
        step = torch.full_like(m["drag"][:, 0], dt)
        # How far the observations contradict each other, while the ball is in the air.
        still = torch.zeros_like(last_vel)
        flown, _, _ = fly_vectors(last_pos, last_vel, still, air, step)
        off = torch.linalg.vector_norm(shown_pos - flown, dim=1, keepdim=True)
        fresh = ~valid | (m["seen"] < 1.5 * dt)
        aloft = ~fresh & (last_pos[:, 2:] + 3 * dt * last_vel[:, 2:] > 0.15) & (last_pos[:, 2:] > 0.3)
        rough = m["ball_noise"] + 0.1 * (off.clamp(max=0.05) - m["ball_noise"])
        m["ball_noise"] = torch.where(aloft, rough, m["ball_noise"])
        m["ball_before"] = torch.cat((shown_pos, shown_vel), dim=1)
        # The filter's own ball flies on and bounces.
        pos, vel, (a, b, d) = (
            *m["ball_filter"][:, :6].split(3, dim=1),
            m["ball_filter"][:, 6:].split(1, dim=1),
        )
        zero = torch.zeros_like(vel[:, 2])
        rolls = torch.stack((-vel[:, 1], vel[:, 0], zero), dim=1) / self.params.radius
        spin = torch.where(bounced, rolls, m["spin"])
        pos, vel, _ = fly_vectors(pos, vel, spin, air, step)
        lands = (pos[:, 2:] < self.params.radius) & (vel[:, 2:] < 0.0)
        after, _ = bounce(vel, spin, self.params)
        vel = torch.where(lands, after, vel)
        up = 2 * self.params.radius - pos[:, 2:]
        pos = torch.cat((pos[:, :2], torch.where(lands, up, pos[:, 2:])), dim=1)
        q = (c.acceleration * dt) ** 2
        a, b, d = a + 2 * dt * b + dt * dt * d + 0.25 * q * dt * dt, b + dt * d + 0.5 * q * dt, d + q
        innovation = shown_pos - pos
        wrong = torch.linalg.vector_norm(innovation, dim=1, keepdim=True) > 5.0 * (a + c.noise**2).sqrt()
        shock = lands | wrong
        d = d + torch.where(shock, c.bounce_speed**2, 0.0)
        a = a + torch.where(wrong, (4 * c.noise) ** 2, 0.0)
        gain = 1.0 / (a + c.noise**2)
        pos, vel = pos + a * gain * innovation, vel + b * gain * innovation
        a, b, d = a - a * a * gain, b - a * b * gain, d - b * b * gain
        ones = torch.ones_like(a)
        start = (shown_pos, shown_vel, c.noise**2 * ones, 0.0 * ones, c.first_speed**2 * ones)
        state = torch.cat(
            [torch.where(fresh, new, old) for new, old in zip(start, (pos, vel, a, b, d), strict=True)], dim=1
        )
        m["ball_filter"] = torch.where(valid, state, torch.zeros_like(state))
        exact = m["ball_noise"] < c.exact
        pos = torch.where(exact, shown_pos, state[:, :3])
        vel = torch.where(exact, shown_vel, state[:, 3:6])
        self._learn_spin(vel, valid, learning, exact, m)
        rolls = torch.stack((-vel[:, 1], vel[:, 0], zero), dim=1) / self.params.radius
        spin = torch.where(bounced, rolls, m["spin"])
        return pos, vel, spin, exact[:, 0]

    def _learn_spin(
        self, vel: Tensor, valid: Tensor, learning: Tensor, exact: Tensor, m: dict[str, Tensor]
    ) -> None:
        """What the flight tells of the spin: how a ball is drawn off the path of one without, before it bounces."""
        c, p = self.config, self.params
        speed = torch.linalg.vector_norm(vel, dim=1, keepdim=True).clamp(min=0.1)
        since = m["seen"] - c.watch
        learning = learning & (since > 0.5 * self.dt)
        fall = torch.zeros_like(vel)
        fall[:, 2] = GRAVITY
        free = m["free_vel"] - self.dt * (fall + m["drag"] * speed * vel)
        m["free_vel"] = torch.where(since > 1.5 * self.dt, free, vel)
        lift = (vel - m["free_vel"]) / since.clamp(min=self.dt)
        # What is across the flight; along it, drag is to blame.
        lift = lift - (lift * vel).sum(1, keepdim=True) * vel / speed**2
        size = torch.linalg.vector_norm(lift, dim=1, keepdim=True).clamp(min=1e-6)
        # The coefficient of lift is 1 / (2 + v / (r w)); drag's tells how much air there is.
        share = size * p.drag_coefficient / (float(p.drag_per_metre) * speed**2)
        share = share.clamp(max=0.35)
        spin = speed / p.radius * share / (1 - 2 * share)
        axis = torch.linalg.cross(vel, lift) / (speed * size)
        doubt = torch.where(exact, 0.02, c.spin_doubt)
        trust = since.clamp(min=0.0) ** 2 / (since.clamp(min=0.0) ** 2 + doubt**2)
        found = torch.where(learning, trust * spin * axis, m["spin"])
        m["spin"] = torch.where(valid & (since > 0.5 * self.dt), found, torch.zeros_like(found))

    def _learn_drag(self, vel: Tensor, valid: Tensor, learning: Tensor, m: dict[str, Tensor]) -> None:
        """What the ball's flight tells of its drag: across the ground it slows by k a metre of its path."""
        config, nominal = self.config, float(self.params.drag_per_metre)
        flat = torch.linalg.vector_norm(vel[:, :2], dim=1, keepdim=True).clamp(min=0.1)
        speed = torch.linalg.vector_norm(vel, dim=1, keepdim=True)
        seen = torch.where(valid, m["seen"] + self.dt, torch.zeros_like(m["seen"]))
        late = seen > config.watch
        learning = learning & late
        flown = torch.where(learning, m["flown"] + speed * self.dt, m["flown"])
        flown = torch.where(late, flown, torch.zeros_like(flown))
        first = torch.where(seen > config.watch + 1.5 * self.dt, m["first_speed"], flat)
        known = torch.log(first.clamp(min=0.1) / flat) / flown.clamp(min=0.1)
        trust = flown**2 / (flown**2 + config.doubt**2)
        drag = nominal + trust * (known.clamp(0.0, 0.06) - nominal)
        drag = torch.where(learning, drag, m["drag"])
        m["drag"] = torch.where(late, drag, torch.full_like(drag, nominal))
        m["seen"], m["flown"], m["first_speed"] = seen, flown, first
