"""Which returns are possible: the set of landing points that a racket can send a ball to.

`sim.aim` answers for one target. Where it says no (too far, too flat for the net, more racket speed than there is),
`reachable_returns` says what can be had instead: every point of a grid over the opponent's court, tried flat to high
and with several spins, each with the racket that does it. `nearest` picks the one next to the wish.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sim.aim import Strike, plan_return
from sim.ball import BallParams, BallState, dot
from sim.court import HALF_LENGTH, SINGLES_HALF_WIDTH
from sim.stringbed import Racket

CLEARANCES = (0.3, 0.8, 1.6, 3.0)
"""Heights over the cord that are tried, m: a drive to a lob."""
TOPSPINS = (-100.0, 0.0, 150.0)
"""Spins that are tried, rad/s: about 1000 rpm of slice to 1400 rpm of topspin."""


@dataclass(frozen=True)
class Returns:
    """Returns of N balls to G targets, the easiest (slowest racket) of the ways tried.

    Attributes:
        target: (G, 2), m.
        feasible: (N, G) bool: lands there over the net with a racket that can be had.
        racket_speed: (N, G), of the string bed's centre, m/s; inf where not feasible.
        strike: the racket for it, fields (N, G, ...); without meaning where not feasible.
        clearance: of the ball's centre over the cord, (N, G), m.
        flight_time: (N, G), s.
    """

    target: Tensor
    feasible: Tensor
    racket_speed: Tensor
    strike: Strike
    clearance: Tensor
    flight_time: Tensor

    @property
    def share(self) -> Tensor:
        """Share of the targets that can be reached, (N,)."""
        return self.feasible.to(self.target.dtype).mean(dim=1)

    def nearest(self, wish: Tensor) -> tuple[Tensor, Tensor]:
        """The feasible target nearest to `wish` (N, 2): its index (N,) int, and the distance (N,) m, inf if none."""
        gap = torch.linalg.vector_norm(self.target - wish.unsqueeze(1), dim=-1)
        gap = torch.where(self.feasible, gap, torch.inf)
        distance, index = gap.min(dim=1)
        return index, distance


def target_grid(
    along: int = 6, across: int = 5, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Tensor:
    """Targets (along × across, 2) over the opponent's singles court, half a metre inside its lines and 2 m from
    the net, m."""
    x = torch.linspace(2.0, HALF_LENGTH - 0.5, along, device=device, dtype=dtype)
    side = SINGLES_HALF_WIDTH - 0.5
    y = torch.linspace(-side, side, across, device=device, dtype=dtype)
    return torch.stack(torch.meshgrid(x, y, indexing="ij"), dim=-1).reshape(-1, 2)


def reachable_returns(
    ball: BallState,
    racket: Racket,
    params: BallParams,
    max_racket_speed: float,
    target: Tensor | None = None,
    facing: Tensor | None = None,
    face_cone: float = 3.15,
    max_speed: float = 60.0,
    long_axis: Tensor | None = None,
    face: float = 1.0,
) -> Returns:
    """All returns of `ball`, at the place where it is, that a racket of limited speed can play.

    Args:
        ball: state at the impact, (N, 3) each.
        racket, params: single ones (numbers, (3,), (3, 3)).
        max_racket_speed: of the string bed's centre, m/s.
        target: (G, 2), m; default `target_grid`.
        facing: direction of the hitting face's normal about which it can be turned, (3,); default toward +x.
        face_cone: by how much, rad; default any direction.
        max_speed: of the leaving ball, m/s.
        long_axis, face: see `sim.aim.solve_racket`.

    Returns:
        See `Returns`. Finite but for the speeds of what is not feasible.

    Raises:
        ValueError: max_racket_speed or face_cone is not positive.
    """
    if not max_racket_speed > 0:
        raise ValueError(f"max_racket_speed = {max_racket_speed} m/s: must be positive")
    if not face_cone > 0:
        raise ValueError(f"face_cone = {face_cone} rad: must be positive")
    n, device, dtype = len(ball.pos), ball.pos.device, ball.pos.dtype
    target = target_grid(device=device, dtype=dtype) if target is None else target
    ways = torch.cartesian_prod(
        torch.tensor(CLEARANCES, device=device, dtype=dtype),
        torch.tensor(TOPSPINS, device=device, dtype=dtype),
    )
    shape = (n, len(target), len(ways))

    def each(value: Tensor, axis: int) -> Tensor:
        """Rows of balls (0), targets (1) or ways (2), one for each combination."""
        view = [1, 1, 1]
        view[axis] = len(value)
        return value.view(*view, *value.shape[1:]).expand(*shape, *value.shape[1:]).flatten(0, 2)

    every = BallState(each(ball.pos, 0), each(ball.vel, 0), each(ball.spin, 0))
    strike, plan = plan_return(
        every,
        each(target, 1),
        racket,
        params,
        topspin=each(ways[:, 1], 2),
        clearance=each(ways[:, 0], 2),
        max_speed=max_speed,
        long_axis=long_axis,
        face=face,
        rounds=3,
    )
    speed = torch.linalg.vector_norm(strike.vel, dim=-1)
    if facing is None:
        facing = torch.tensor([1.0, 0.0, 0.0], device=device, dtype=dtype)
    turned = torch.acos(dot(strike.normal, facing / torch.linalg.vector_norm(facing)).clamp(-1.0, 1.0))
    # A racket that recedes faster than the ball comes is none: the ball must press on the strings.
    pressed = dot(every.vel - strike.vel, strike.normal) < 0
    good = plan.feasible & (speed <= max_racket_speed) & (turned <= face_cone) & pressed
    cost = torch.where(good, speed, torch.inf).view(shape)
    least, best = cost.min(dim=2)
    rows = torch.arange(n * len(target), device=device) * len(ways) + best.flatten()

    def pick(value: Tensor) -> Tensor:
        return value[rows].view(n, len(target), *value.shape[1:])

    chosen = Strike(
        pick(strike.pos),
        pick(strike.vel),
        pick(strike.normal),
        pick(strike.rot),
        pick(strike.ball_vel),
        pick(strike.ball_spin),
    )
    return Returns(
        target=target,
        feasible=torch.isfinite(least),
        racket_speed=least,
        strike=chosen,
        clearance=pick(plan.clearance),
        flight_time=pick(plan.flight_time),
    )
