"""How a point begins, and a wall: balls that no robot strikes.

A feed is given in the frame of the player that it comes to, a serve and a return in that of who strikes it: origin
at the net, that player at x < 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from sim.aim import aim
from sim.ball import BallParams, BallState
from sim.court import SERVICE_LINE, SINGLES_HALF_WIDTH
from sim.court_side import turned
from sim.launcher import LEVELS, Launcher, LauncherConfig, LaunchTable
from sim.rally_rules import Box

BLOCK, PAGE = 16, 8
"""Matches, and feeds of each, that are solved for at once: alone a feed costs a hundred times as much."""
SERVE_HEIGHT = 2.0
"""Height at which a serve is struck, m: a G1 of 1.3 m with its racket up."""
SERVE_ASIDE = 0.6
"""Distance of the server from the centre mark, m."""
SERVE_MARGIN = 0.5
"""Serves are aimed no nearer than this to the service box's lines, m."""
SERVE_DEPTH = 2.8
"""... and land in so deep a part of the box, m."""
SERVE_CLEARANCE = (0.25, 0.7)
"""Height of a serve over the cord, m."""
TRIES = 100


def stream(seed: int, *number: int) -> torch.Generator:
    """A source of randomness of its own for each combination of numbers."""
    state = np.random.SeedSequence([seed, *number]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


Physics = BallParams | Callable[[int, torch.Generator], BallParams]


@dataclass(frozen=True)
class Launch:
    """One ball, fields (1, 3), and its physics, fields (1,)."""

    ball: BallState
    params: BallParams


class Feeder:
    """The ball machine of all matches: the n-th feed of a match depends on the seed and the match's number alone.

    Args:
        launcher: of the level.
        physics: true physics, see `Launcher.draw`.
        seed: of all feeds.
    """

    def __init__(self, launcher: Launcher, physics: Physics | None, seed: int) -> None:
        self.launcher, self.physics, self.seed = launcher, physics, seed
        self._pages: dict[tuple[int, int], LaunchTable] = {}
        self._count: dict[int, int] = {}

    def draw(self, match: int) -> Launch:
        """The next feed of the match of that number."""
        count = self._count.get(match, 0)
        self._count[match] = count + 1
        key = match // BLOCK, count // PAGE
        if key not in self._pages:
            self._pages[key] = self.launcher.draw(BLOCK * PAGE, stream(self.seed, *key), self.physics)
        row = self._pages[key].at(torch.tensor([match % BLOCK * PAGE + count % PAGE]))
        return Launch(BallState(row.pos, row.vel, row.spin), row.params)


class Server:
    """Places serves: a ball that leaves over the server's place and lands in the service box.

    Args:
        start: where the server stands, in its own frame, (x, y), m.
        max_speed: of a serve, m/s.
        physics: true physics.
        generator: its own.
        spread: standard deviation of each component of the velocity about the aimed one, m/s; some serves are
            faults then.
    """

    def __init__(
        self,
        start: tuple[float, float],
        max_speed: float,
        physics: Physics | None,
        generator: torch.Generator,
        spread: float = 0.0,
    ) -> None:
        self.start, self.max_speed, self.physics = start, max_speed, physics
        self.generator, self.spread = generator, spread

    def draw(self, box: Box) -> Launch:
        """A serve to a service box.

        Raises:
            RuntimeError: none of many draws can be served at this speed.
        """
        aside = -1.0 if box == "deuce" else 1.0  # the deuce box is served to from the right
        low = torch.tensor([SERVICE_LINE - SERVE_DEPTH, SERVE_MARGIN])
        high = torch.tensor([SERVICE_LINE - SERVE_MARGIN, SINGLES_HALF_WIDTH - SERVE_MARGIN])
        pos = torch.tensor([[self.start[0], self.start[1] + aside * SERVE_ASIDE, SERVE_HEIGHT]])
        for _ in range(TRIES):
            physics = self.physics
            params = physics(1, self.generator) if callable(physics) else (physics or BallParams()).expand(1)
            u = torch.rand(3, generator=self.generator)
            target = low + (high - low) * u[:2]
            target[1] *= -aside
            clearance = SERVE_CLEARANCE[0] + (SERVE_CLEARANCE[1] - SERVE_CLEARANCE[0]) * u[2:]
            plan = aim(pos, target[None], params, clearance=clearance, max_speed=self.max_speed)
            error = self.spread * torch.randn(1, 3, generator=self.generator)
            if bool(plan.feasible):
                return Launch(BallState(pos, plan.vel + error, torch.zeros(1, 3)), params)
        raise RuntimeError(f"no serve of {TRIES} lands in the {box} box at {self.max_speed:g} m/s or less")


class Returner(Protocol):
    """A player without a robot: a wall, or a script."""

    def play(self, match: int, ball: BallState, landed: bool, params: BallParams) -> BallState | None:
        """Whether and how the ball is returned now, asked each control step while it is coming.

        Args:
            match: number of the match in this batch.
            ball: in this player's frame, (1, 3) each.
            landed: it bounced in this player's court.
            params: its physics, fields (1,).

        Returns:
            The ball as it leaves, in this player's frame, (1, 3) each; None: not struck now.
        """
        ...


class Wall:
    """Returns every ball that bounced in its court, at the top of its bounce, as the launcher of a level would from
    there: speed, spin and meeting point are drawn until a flight joins them. A ball so deep that the level's speeds
    do not reach from there is returned at the next level's.

    Args:
        level: of the launches, see `sim.launcher.LEVELS`.
        generators: one a match.
        start: where the other player stands, in its own frame, (x, y), m.

    Attributes:
        harder: balls that were returned at a higher level.
        stuck: balls that no level returns from where they were.
    """

    ROUNDS = 2
    HIGHEST = 3.0
    """A wall is so high, m."""
    DEPTH = -16.0
    """It returns a ball here at the latest, even if that still rises, x, m."""

    def __init__(
        self, level: str, generators: list[torch.Generator], start: tuple[float, float] = (-11.9, 0.0)
    ) -> None:
        names = list(LEVELS)
        self.levels = names[names.index(level) :]
        self.generators, self.start = generators, start
        self.harder = self.stuck = 0

    def play(self, match: int, ball: BallState, landed: bool, params: BallParams) -> BallState | None:
        """See `Returner.play`."""
        x, y, z = ball.pos[0].tolist()
        if not landed or z > self.HIGHEST or (float(ball.vel[0, 2]) > 0.0 and x > self.DEPTH):
            return None
        here = LauncherConfig(release_x=(-x, -x), release_y=(-y, -y), release_z=(z, z), start=self.start)
        for number, level in enumerate(self.levels):
            try:
                launcher = Launcher(level, here)
                table = launcher.draw(1, self.generators[match], params, max_rounds=self.ROUNDS)
            except RuntimeError:
                continue
            self.harder += number > 0
            return BallState(ball.pos, turned(table.vel, 1), turned(table.spin, 1))
        self.stuck += 1
        return None
