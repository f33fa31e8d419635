"""Launch directions: from a drawn release, speed, spin and meeting point to the flight that joins them.

With the speed given, two launch angles remain, and the ball must pass through a point (two conditions): the
elevation is bracketed on a grid and halved, while the heading is turned by the miss sideways.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from sim.ball import GRAVITY, BallParams, BallState, aero, by_component
from sim.bounce import bounce
from sim.court import in_singles_court, net_height
from sim.predict import Arc, fly_arc

GRID = 28
"""Launch elevations tried in the coarse search."""
ELEVATIONS = (-14.0, 62.0)
"""Range of launch elevations, degrees: from a drive hit down from 2.4 m to a lob."""
BISECTIONS = 9
"""Halvings of the elevation's bracket: 2.8° come down to 0.006°, a few millimetres at the meeting point."""
MISS = 0.03
"""A solved launch passes the meeting point within this distance, m."""


@dataclass
class Draws:
    """n launches before their direction is known.

    Attributes:
        pos: release point, (n, 3), m. speed: (n,), m/s. spin: (n,), rad/s.
        axis: angle of the spin axis from topspin's about the launch heading, (n,), rad.
        meet: meeting point, (n, 3), m.
        params: physics, fields (n,).
        point: of the launch space, see `sim.launch_distribution.SPACE`, (n, DIMS).
    """

    pos: Tensor
    speed: Tensor
    spin: Tensor
    axis: Tensor
    meet: Tensor
    params: BallParams
    point: Tensor

    def at(self, ids: Tensor) -> Draws:
        """The draws `ids`."""
        picked = (self.pos, self.speed, self.spin, self.axis, self.meet)
        return Draws(*(value[ids] for value in picked), params=self.params.at(ids), point=self.point[ids])


@dataclass
class Flight:
    """What launches do, (n,) or (n, 3) each; fields as in `sim.launcher.LaunchTable`.

    `arrives`: after one bounce and before a second the ball crosses the meeting point's plane.
    """

    vel: Tensor
    spin: Tensor
    clearance: Tensor
    bounce_pos: Tensor
    bounce_time: Tensor
    meet_pos: Tensor
    meet_vel: Tensor
    meet_time: Tensor
    arrives: Tensor

    def at(self, ids: Tensor) -> Flight:
        """The flights `ids`."""
        return Flight(*(getattr(self, f.name)[ids] for f in fields(self)))


def solve(draws: Draws, clearance: float) -> tuple[Tensor, Flight]:
    """Launch directions for draws.

    Args:
        draws: n draws.
        clearance: least height of the ball's underside over the cord, m.

    Returns:
        Indices (k,) of the draws for which a launch clears the net, bounces once in the near singles court
        and passes within `MISS` of the meeting point: the flattest such launch; and these k flights.
    """
    n = len(draws.speed)
    heading = torch.atan2(draws.meet[:, 1] - draws.pos[:, 1], draws.meet[:, 0] - draws.pos[:, 0])
    grid = torch.deg2rad(torch.linspace(*ELEVATIONS, GRID, dtype=draws.speed.dtype))
    coarse = _fly(draws, grid[:, None].expand(GRID, n), heading.expand(GRID, n), steps=4)
    # Height error at the meeting plane; a ball that never gets there is short, that is, low.
    high = coarse.arrives & (coarse.meet_pos[..., 2] > draws.meet[:, 2])
    useful = torch.maximum(coarse.clearance[:-1], coarse.clearance[1:]) > 0
    useful &= torch.maximum(coarse.bounce_pos[:-1, :, 0], coarse.bounce_pos[1:, :, 0]) > draws.meet[:, 0]
    bracket = (high[:-1] != high[1:]) & useful
    hopeful = bracket.any(dim=0).nonzero().squeeze(1)
    index = bracket[:, hopeful].to(torch.int8).argmax(dim=0)
    low_end, high_end = grid[index], grid[index + 1]
    high_at_low = high[index, hopeful]
    draws, heading = draws.at(hopeful), heading[hopeful]
    distance = torch.linalg.vector_norm(draws.meet[:, :2] - draws.pos[:, :2], dim=-1)
    for _ in range(BISECTIONS):
        middle = 0.5 * (low_end + high_end)
        flight = _fly(draws, middle, heading, steps=12)
        above = flight.arrives & (flight.meet_pos[:, 2] > draws.meet[:, 2])
        same = above == high_at_low
        low_end = torch.where(same, middle, low_end)
        high_end = torch.where(same, high_end, middle)
        # The ball flies toward −x: turning left (+) moves its landing to −y.
        aside = (flight.meet_pos[:, 1] - draws.meet[:, 1]) / distance
        heading = heading + torch.where(flight.arrives, aside, torch.zeros_like(aside)).clamp(-0.3, 0.3)
    flight = _fly(draws, 0.5 * (low_end + high_end), heading, steps=12)
    miss = torch.linalg.vector_norm(flight.meet_pos - draws.meet, dim=-1)
    good = flight.arrives & (miss < MISS)
    good &= (flight.clearance >= clearance) & in_singles_court(flight.bounce_pos, "near")
    good &= flight.bounce_pos[:, 0] > draws.meet[:, 0]
    return hopeful[good], flight.at(good)


def _fly(draws: Draws, elevation: Tensor, heading: Tensor, steps: int) -> Flight:
    """Flights to the meeting plane for launch angles (..., n)."""
    shape = elevation.shape
    level = draws.speed * elevation.cos()
    ahead = torch.stack((heading.cos(), heading.sin()))
    vel = by_component(level * ahead[0], level * ahead[1], draws.speed * elevation.sin())
    # Topspin turns about up × heading; the axis is tilted from there about the heading.
    spin_level = draws.spin * draws.axis.cos()
    spin = by_component(
        -spin_level * ahead[1], spin_level * ahead[0], (draws.spin * draws.axis.sin()).expand(shape)
    )
    air = aero(draws.params, vel)
    radius = torch.as_tensor(draws.params.radius, dtype=vel.dtype)
    pos = draws.pos.expand(*shape, 3)
    vz = vel[..., 2]
    fall = (vz + (vz * vz + 2 * GRAVITY * pos[..., 2]).sqrt()) / GRAVITY
    first = fly_arc(BallState(pos, vel, spin), air, 1.4 * fall + 0.1, steps)
    bounce_time = first.falls_to(radius.expand(shape))
    landed = torch.isfinite(bounce_time)
    bounce_time = torch.where(landed, bounce_time, 1.4 * fall)
    bounce_pos, bounce_vel = _at(first, bounce_time)
    net_time = first.falls_to(torch.zeros_like(vz), axis=0)
    net_pos, _ = _at(first, torch.minimum(net_time, bounce_time))
    clearance = torch.where(
        net_time < bounce_time,
        net_pos[..., 2] - radius - net_height(net_pos[..., 1]),
        -torch.ones_like(vz),
    )
    spin_then = spin * torch.exp(-bounce_time * air.spin_rate).unsqueeze(-1)
    after_vel, after_spin = bounce(bounce_vel, spin_then, draws.params)
    hop = 2 * after_vel[..., 2].clamp(min=0.0) / GRAVITY
    ground = by_component(bounce_pos[..., 0], bounce_pos[..., 1], radius.expand(shape))
    second = fly_arc(BallState(ground, after_vel, after_spin), air, 1.4 * hop + 0.1, steps)
    again = second.falls_to(radius.expand(shape))
    meet_time = second.falls_to(draws.meet[:, 0].expand(shape), axis=0)
    arrives = landed & (meet_time < again) & (clearance > -1) & (bounce_pos[..., 0] > draws.meet[:, 0])
    meet_pos, meet_vel = _at(second, torch.where(arrives, meet_time, torch.zeros_like(meet_time)))
    return Flight(
        vel,
        spin,
        clearance,
        bounce_pos,
        bounce_time,
        meet_pos,
        meet_vel,
        bounce_time + meet_time,
        arrives,
    )


def _at(arc: Arc, time: Tensor) -> tuple[Tensor, Tensor]:
    pos, vel = arc.at(time.unsqueeze(0))
    return pos[0], vel[0]
