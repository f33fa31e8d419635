"""The ball machine: draws incoming balls of a level and solves for how to launch them.

A draw is a release point, a speed, a spin and a meeting point near a natural contact point of the player.
The launch direction is then solved for, under the ball's own physics, so that the ball clears the net,
bounces once in the player's singles court and passes through the meeting point. A draw that no direction
satisfies is rejected and drawn again, as a whole; nothing about it is adjusted. A slow ball released from
behind the far service line cannot reach the player after one bounce, so the accepted speeds lean to the upper
end of a level's range: `LaunchTable.acceptance` tells how many draws were kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from sim.ball import RPM, BallParams
from sim.launch_solver import Draws, Flight, solve

CANDIDATES = 2048
"""Draws solved for at once."""


@dataclass(frozen=True)
class Level:
    """What is drawn: ranges of speed at release (m/s) and spin (rpm), and how far (m) from a natural contact
    point the ball may have to be met. `any_axis`: spin about any axis across the flight (top, back and
    side); else topspin or backspin."""

    speed: tuple[float, float]
    spin_rpm: tuple[float, float]
    reach: float
    any_axis: bool = False


LEVELS = {
    "feed": Level(speed=(8.0, 14.0), spin_rpm=(0.0, 500.0), reach=0.6),
    "rally": Level(speed=(14.0, 20.0), spin_rpm=(0.0, 1500.0), reach=1.5),
    "match": Level(speed=(15.0, 30.0), spin_rpm=(0.0, 3000.0), reach=3.0, any_axis=True),
}
"""The benchmark's three levels."""


@dataclass(frozen=True)
class LauncherConfig:
    """Where balls come from and where they can be met.

    Attributes:
        release_x, release_y, release_z: ranges of the release point, m (the benchmark's).
        start: the player's start position (x, y), m.
        forehand, backhand: natural contact points from the start (x forward, y left, z up from the ground),
            m: about where the racket is at the strike of the shipped strokes (assets/motions/strokes_planted).
            The same for every policy that is judged.
        meeting_height: meeting points outside this range are not drawn, m: a G1 is 1.3 m tall.
        clearance: least height of the ball's underside over the cord, m.
        forecourt_from: a ball met further in front of the start than this counts as forecourt, m.
    """

    release_x: tuple[float, float] = (8.5, 10.5)
    release_y: tuple[float, float] = (-2.8, 2.8)
    release_z: tuple[float, float] = (0.9, 2.4)
    start: tuple[float, float] = (-11.9, 0.0)
    forehand: tuple[float, float, float] = (0.10, -0.93, 0.88)
    backhand: tuple[float, float, float] = (0.15, 0.76, 0.88)
    meeting_height: tuple[float, float] = (0.5, 1.4)
    clearance: float = 0.05
    forecourt_from: float = 1.0


@dataclass(frozen=True)
class LaunchTable:
    """n launches and what the ball will do if nobody hits it. World frame.

    Attributes:
        pos, vel, spin: at release, (n, 3), m, m/s, rad/s.
        params: the physics each launch was solved under, fields (n,).
        clearance: of the ball's underside over the cord, (n,), m.
        bounce_pos: ball centre at the bounce, (n, 3), m. bounce_time: since release, (n,), s.
        meet_pos: drawn meeting point, (n, 3), m. meet_time: when the ball is there, (n,), s.
        meet_vel: its velocity there, (n, 3), m/s.
        backhand: (n,) bool: nearer to the natural backhand contact point, sideways, than to the forehand's.
        forecourt: (n,) bool: met in front of `LauncherConfig.forecourt_from`.
        acceptance: share of the draws that were kept.
    """

    pos: Tensor
    vel: Tensor
    spin: Tensor
    params: BallParams
    clearance: Tensor
    bounce_pos: Tensor
    bounce_time: Tensor
    meet_pos: Tensor
    meet_time: Tensor
    meet_vel: Tensor
    backhand: Tensor
    forecourt: Tensor
    acceptance: float

    def __len__(self) -> int:
        return self.pos.shape[0]

    def at(self, ids: Tensor) -> LaunchTable:
        """The launches `ids` (indices or mask)."""
        picked = {f.name: getattr(self, f.name) for f in fields(self)}
        params = self.params.at(ids)
        picked = {k: v[ids] for k, v in picked.items() if isinstance(v, Tensor)}
        return LaunchTable(**picked, params=params, acceptance=self.acceptance)


Physics = BallParams | Callable[[int, torch.Generator], BallParams]


class Launcher:
    """Draws launches of one level.

    Args:
        level: a name in `LEVELS` or a `Level`.
        config: see `LauncherConfig`.
        dtype: of the tables and of the solver.
    """

    def __init__(
        self, level: str | Level, config: LauncherConfig | None = None, dtype: torch.dtype = torch.float32
    ) -> None:
        if isinstance(level, str):
            if level not in LEVELS:
                raise ValueError(f"launch level {level!r} is unknown: choose one of {', '.join(LEVELS)}")
            level = LEVELS[level]
        self.level = level
        self.config = config or LauncherConfig()
        self.dtype = dtype

    def draw(
        self,
        n: int,
        generator: torch.Generator,
        physics: Physics | None = None,
        max_rounds: int = 200,
    ) -> LaunchTable:
        """Draw `n` launches.

        Args:
            n: how many.
            generator: source of all randomness; a CPU generator, so that a seed means the same anywhere.
            physics: true physics. `BallParams` with numbers or (n,) tensors are kept per launch while the
                rest is drawn again; a callable (count, generator) → BallParams is drawn anew with each
                candidate, so that a ball too slow for its air is rejected with its air. Default: nominal.
            max_rounds: give up after so many rounds of draws.

        Returns:
            See `LaunchTable`. On the CPU.

        Raises:
            RuntimeError: some launch had no feasible draw in `max_rounds` rounds.
        """
        drawn_physics = physics if callable(physics) else None
        fixed = None if callable(physics) else (physics or BallParams()).expand(n, dtype=self.dtype)
        open_slots = torch.arange(n)
        slots: list[Tensor] = []
        kept: list[tuple[Draws, Flight]] = []
        tried = accepted = 0
        for _ in range(max_rounds):
            if len(open_slots) == 0:
                break
            repeats = max(1, min(16, CANDIDATES // len(open_slots)))
            batch = open_slots[: CANDIDATES // repeats]
            slot = batch.repeat_interleave(repeats)
            if drawn_physics is not None:
                params = drawn_physics(len(slot), generator).expand(len(slot), dtype=self.dtype)
            else:
                assert fixed is not None
                params = fixed.at(slot)
            draws = self._draw(len(slot), generator, params)
            good, flight = solve(draws, self.config.clearance)
            tried += len(slot)
            accepted += len(good)
            # The first good candidate of each slot.
            owner = good // repeats
            first = torch.ones_like(owner, dtype=torch.bool)
            first[1:] = owner[1:] != owner[:-1]
            slots.append(batch[owner[first]])
            kept.append((draws.at(good[first]), flight.at(first)))
            filled = torch.zeros(len(batch), dtype=torch.bool)
            filled[owner] = True
            open_slots = torch.cat((open_slots[len(batch) :], batch[~filled]))
        if len(open_slots):
            raise RuntimeError(
                f"launcher: {len(open_slots)} of {n} launches have no feasible draw after {max_rounds} "
                f"rounds (number {int(open_slots[0])} first): the level's speeds cannot reach the meeting "
                f"points under these physics"
            )
        return self._table(torch.cat(slots), kept, accepted / max(tried, 1))

    def _draw(self, n: int, generator: torch.Generator, params: BallParams) -> Draws:
        config, level = self.config, self.level

        def uniform(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(n, generator=generator, dtype=self.dtype)

        pos = torch.stack(
            (uniform(*config.release_x), uniform(*config.release_y), uniform(*config.release_z)), dim=-1
        )
        speed, spin = uniform(*level.speed), uniform(*level.spin_rpm) * RPM
        turn = uniform(0.0, 1.0)
        axis = 2 * math.pi * turn if level.any_axis else math.pi * (turn < 0.5)
        forehand = uniform(0.0, 1.0) < 0.5
        natural = torch.where(
            forehand.unsqueeze(-1),
            torch.tensor(config.forehand, dtype=self.dtype),
            torch.tensor(config.backhand, dtype=self.dtype),
        )
        # Uniform in the ball of radius `reach`, cut to the meeting heights: redrawn by rejection below.
        low, high = config.meeting_height
        height = uniform(0.0, 1.0)
        bottom = (natural[:, 2] - level.reach).clamp(min=low)
        top = (natural[:, 2] + level.reach).clamp(max=high)
        z = bottom + (top - bottom) * height
        radius = (level.reach**2 - (z - natural[:, 2]) ** 2).clamp(min=0.0).sqrt()
        out, around = radius * uniform(0.0, 1.0).sqrt(), uniform(0.0, 2 * math.pi)
        meet = torch.stack(
            (
                config.start[0] + natural[:, 0] + out * around.cos(),
                config.start[1] + natural[:, 1] + out * around.sin(),
                z,
            ),
            dim=-1,
        )
        return Draws(pos, speed, spin, axis.to(self.dtype), meet, params)

    def _table(self, slots: Tensor, kept: list[tuple[Draws, Flight]], acceptance: float) -> LaunchTable:
        order = slots.argsort()

        def column(name: str, part: int) -> Tensor:
            return torch.cat([getattr(pair[part], name) for pair in kept])[order].contiguous()

        config = self.config
        meet = column("meet", 0)
        start = torch.tensor(config.start, dtype=self.dtype)
        from_start = meet[:, :2] - start
        params = {
            f.name: torch.cat([torch.as_tensor(getattr(d.params, f.name)) for d, _ in kept])[order]
            for f in fields(BallParams)
        }
        sideways = from_start[:, 1]
        backhand = (sideways - config.backhand[1]).abs() < (sideways - config.forehand[1]).abs()
        return LaunchTable(
            pos=column("pos", 0),
            vel=column("vel", 1),
            spin=column("spin", 1),
            params=BallParams(**params),
            clearance=column("clearance", 1),
            bounce_pos=column("bounce_pos", 1),
            bounce_time=column("bounce_time", 1),
            meet_pos=meet,
            meet_time=column("meet_time", 1),
            meet_vel=column("meet_vel", 1),
            backhand=backhand,
            forecourt=from_start[:, 0] > config.forecourt_from,
            acceptance=acceptance,
        )
