"""The ball machine: draws incoming balls of a level and solves for how to launch them.

A draw is a release point, a speed, a spin and a meeting point near a natural contact point of the player.
The launch direction is then solved for, under the ball's own physics, so that the ball clears the net,
bounces once in the player's singles court and passes through the meeting point. A draw that no direction
satisfies is rejected and drawn again, as a whole; nothing about it is adjusted. A slow ball released from
behind the far service line cannot reach the player after one bounce, so the accepted speeds lean to the upper
end of a level's range: `LaunchTable.acceptance` tells how many draws were kept, `LaunchTable.counts` in
which part of the launch space.

Draws are uniform over the launch space (`sim.launch_distribution.SPACE`), or from a distribution that is given;
`Launcher.draw_even` spreads them as evenly as a low-discrepancy sequence does. docs/worlds.md shows how.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from sim.ball import RPM, BallParams
from sim.launch_distribution import DIMS, SPACE, LaunchDistribution
from sim.launch_ranges import LEVELS, LauncherConfig, Level
from sim.launch_solver import Draws, Flight, solve
from sim.launch_table import Counts, LaunchTable

__all__ = ["LEVELS", "LaunchTable", "Launcher", "LauncherConfig", "Level", "Physics"]

CANDIDATES = 2048
"""Draws solved for at once."""

Physics = BallParams | Callable[[int, torch.Generator], BallParams]


class Launcher:
    """Draws launches of one level.

    Args:
        level: a name in `LEVELS` or a `Level`.
        config: see `LauncherConfig`.
        dtype: of the tables and of the solver.
        distribution: over the launch space; default uniform. May be set at any time.

    Raises:
        ValueError: an unknown level, or ranges that no launch can have; names the field.
    """

    def __init__(
        self,
        level: str | Level,
        config: LauncherConfig | None = None,
        dtype: torch.dtype = torch.float32,
        distribution: LaunchDistribution | None = None,
    ) -> None:
        if isinstance(level, str):
            if level not in LEVELS:
                raise ValueError(f"launch level {level!r} is unknown: choose one of {', '.join(LEVELS)}")
            level = LEVELS[level]
        self.level = level
        self.config = config or LauncherConfig()
        self.level.check()
        self.config.check()
        self.dtype = dtype
        self.distribution = distribution

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
        counts = Counts()
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
            draws = self._draws(self._points(len(slot), generator), params)
            good, flight = solve(draws, self.config.clearance)
            counts.add(draws.point, good)
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
                f"rounds (number {int(open_slots[0])} first): {self._advice()}"
            )
        return self._table(torch.cat(slots), kept, counts)

    def draw_even(
        self, n: int, seed: int, physics: Physics | None = None, max_rounds: int = 200
    ) -> LaunchTable:
        """Draw `n` launches that fill the feasible part of the launch space evenly.

        The feasible points of a scrambled Sobol sequence, in its order: any first part of the
        table is even too. The distribution set for plain draws is not asked.

        Args:
            n: how many.
            seed: of the scrambling, and of the physics if they are drawn.
            physics: numbers for all, or a callable as in `draw`. max_rounds: see there.

        Raises:
            RuntimeError: fewer are feasible among `max_rounds` × `CANDIDATES` points.
        """
        generator = torch.Generator().manual_seed(seed)
        sequence = SobolEngine(DIMS, scramble=True, seed=seed)
        slots: list[Tensor] = []
        kept: list[tuple[Draws, Flight]] = []
        counts, found = Counts(), 0
        for _ in range(max_rounds):
            if found >= n:
                break
            points = sequence.draw(CANDIDATES, dtype=self.dtype)
            given = physics(CANDIDATES, generator) if callable(physics) else (physics or BallParams())
            draws = self._draws(points, given.expand(CANDIDATES, dtype=self.dtype))
            good, flight = solve(draws, self.config.clearance)
            counts.add(points, good)
            take = torch.arange(min(len(good), n - found))
            slots.append(found + take)
            kept.append((draws.at(good[take]), flight.at(take)))
            found += len(take)
        if found < n:
            raise RuntimeError(
                f"launcher: only {found} of {n} launches are feasible after {max_rounds} rounds: {self._advice()}"
            )
        return self._table(torch.cat(slots), kept, counts)

    def launches(self, points: Tensor, params: BallParams | None = None) -> tuple[Tensor, LaunchTable]:
        """The launches of given points, for whoever searches the launch space himself.

        Args:
            points: (n, DIMS), each 0–1, see `sim.launch_distribution.SPACE`.
            params: physics, numbers or (n,).

        Returns:
            Indices (k,) of the feasible points, ascending, and these k launches.

        Raises:
            ValueError: points of another shape or outside of the cube; names the launch and the coordinate.
        """
        draws = self._draws(
            self._checked(points), (params or BallParams()).expand(len(points), dtype=self.dtype)
        )
        good, flight = solve(draws, self.config.clearance)
        counts = Counts()
        counts.add(draws.point, good)
        return good, self._table(torch.arange(len(good)), [(draws.at(good), flight)], counts)

    def _advice(self) -> str:
        if self.distribution is not None:
            return "the distribution given draws hardly any ball that can reach its meeting point; widen it"
        return "the level's speeds cannot reach the meeting points under these physics"

    def _checked(self, points: Tensor) -> Tensor:
        if points.ndim != 2 or points.shape[1] != DIMS:
            raise ValueError(
                f"launch points have shape {tuple(points.shape)}, expected (n, {DIMS}): {', '.join(SPACE)}"
            )
        bad = ~((points >= 0) & (points <= 1))
        if bool(bad.any()):
            row, column = bad.nonzero()[0].tolist()
            raise ValueError(
                f"launch point {row}: {SPACE[column]} = {float(points[row, column]):g}, must lie in [0, 1]"
            )
        return points.to(self.dtype)

    def _points(self, n: int, generator: torch.Generator) -> Tensor:
        """Points of the launch space, (n, DIMS)."""
        if self.distribution is not None:
            return self._checked(self.distribution.sample(n, generator))
        # One coordinate after the other: a seed means the same balls as it always did.
        return torch.stack([torch.rand(n, generator=generator, dtype=self.dtype) for _ in SPACE], dim=1)

    def _draws(self, points: Tensor, params: BallParams) -> Draws:
        config, level = self.config, self.level
        columns: dict[str, Tensor] = dict(zip(SPACE, points.unbind(1), strict=True))

        def between(name: str, bounds: tuple[float, float]) -> Tensor:
            return bounds[0] + (bounds[1] - bounds[0]) * columns[name]

        pos = torch.stack(
            [between(f"release_{axis}", getattr(config, f"release_{axis}")) for axis in "xyz"], dim=-1
        )
        speed, spin = between("speed", level.speed), between("spin", level.spin_rpm) * RPM
        turn = columns["axis"]
        axis = 2 * math.pi * turn if level.any_axis else math.pi * (turn < 0.5)
        forehand = columns["stroke"] < 0.5
        natural = torch.where(
            forehand.unsqueeze(-1),
            torch.tensor(config.forehand, dtype=self.dtype),
            torch.tensor(config.backhand, dtype=self.dtype),
        )
        # Uniform in the ball of radius `reach`, cut to the meeting heights: redrawn by rejection below.
        low, high = config.meeting_height
        height = columns["height"]
        bottom = (natural[:, 2] - level.reach).clamp(min=low)
        top = (natural[:, 2] + level.reach).clamp(max=high)
        z = bottom + (top - bottom) * height
        radius = (level.reach**2 - (z - natural[:, 2]) ** 2).clamp(min=0.0).sqrt()
        out, around = radius * columns["distance"].sqrt(), between("direction", (0.0, 2 * math.pi))
        meet = torch.stack(
            (
                config.start[0] + natural[:, 0] + out * around.cos(),
                config.start[1] + natural[:, 1] + out * around.sin(),
                z,
            ),
            dim=-1,
        )
        return Draws(pos, speed, spin, axis.to(self.dtype), meet, params, points)

    def _table(self, slots: Tensor, kept: list[tuple[Draws, Flight]], counts: Counts) -> LaunchTable:
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
            point=column("point", 0),
            counts=counts,
        )
