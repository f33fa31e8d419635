"""The world that a robot plays in: every range of ball, air, court, racket, robot and senses in one place.

`WORLDS` names three: `nominal`, where nothing differs; `real`, the benchmark's condition of that name; and `wide`, to
train in. The return task (`ReturnConfig.world`), the evaluator and the matches draw from these. Ball, air and court
are drawn for each ball, racket, robot and senses for each environment.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from sim.ball_ranges import BallRanges
from sim.engine import BatchEngine, Engine
from sim.observation_noise import NoiseConfig, NoisySenses
from sim.robot_ranges import RobotRanges, StringRanges, held_rackets, vary_robots
from sim.stringbed import Racket

STREAM = 0x5EED
"""Added to a seed for what differs between environments, so that launches stay as they are without it."""


@dataclass(frozen=True)
class World:
    """Ranges to draw worlds from; the default is nominal.

    Attributes:
        ball: ball, air and court. strings, robot: racket and robot.
        senses: noise, delay and loss of what a player observes; None: the truth.
    """

    ball: BallRanges = field(default_factory=BallRanges.nominal)
    strings: StringRanges = field(default_factory=StringRanges)
    robot: RobotRanges = field(default_factory=RobotRanges.nominal)
    senses: NoiseConfig | None = None

    def check(self) -> None:
        """Raise ValueError naming the first impossible range."""
        self.ball.check()
        self.strings.check()
        self.robot.check()
        if self.senses is not None:
            self.senses.check()

    def on(self, *surfaces: str) -> World:
        """The same world on courts by name, see `sim.bounce.SURFACES`; each ball meets one of them."""
        return replace(self, ball=replace(self.ball, surfaces=surfaces))

    @property
    def physics(self) -> BallRanges | None:
        """The `physics` argument of `Launcher.draw`; None where every ball is nominal."""
        return None if self.ball.fixed else self.ball

    def vary(self, engine: Engine, generator: torch.Generator) -> None:
        """Give the robots of an engine their own parameters; see `sim.robot_ranges.vary_robots`.

        Raises:
            ValueError: the engine's robots cannot differ, but these ranges want them to.
        """
        if self.robot == RobotRanges.nominal():
            return
        if not hasattr(engine, "set_params"):
            raise ValueError(
                f"{type(engine).__name__} cannot give robots their own parameters: use CpuEngine or WarpEngine, or a "
                "world with robot=RobotRanges.nominal()"
            )
        varied: BatchEngine = engine  # type: ignore[assignment]
        vary_robots(varied, self.robot, generator)

    def rackets(self, engine: Engine, generator: torch.Generator) -> Racket | None:
        """The rackets that robots hold, as the ball meets them; see `sim.robot_ranges.held_rackets`."""
        return held_rackets(engine, self.strings, generator)

    def observers(
        self, num_envs: int, dt: float, generator: torch.Generator, device: torch.device | str = "cpu"
    ) -> NoisySenses | None:
        """What players observe with, control period `dt` s, on `device`; None where they know the truth."""
        if self.senses is None:
            return None
        return NoisySenses(num_envs, dt, generator, self.senses, device=device)


_REAL = World(
    ball=BallRanges(
        drag_per_metre=(0.01, 0.04),
        restitution=(0.71, 0.79),
        friction=(0.5, 0.7),
        mass=(0.0560, 0.0594),
        radius=(0.0327, 0.0343),
    ),
    robot=RobotRanges(body_mass=(0.95, 1.05), racket_mass=(0.95, 1.05), foot_friction=(0.6, 1.0)),
    senses=NoiseConfig(),
)

WORLDS: dict[str, World] = {
    "nominal": World(),
    "real": _REAL,
    "wide": replace(
        _REAL,
        ball=replace(
            _REAL.ball,
            air_density=(0.95, 1.30),
            lift_scale=(0.7, 1.3),
            spin_decay=(15.0, 60.0),
            surfaces=("clay", "grass", "hard slow", "hard medium", "hard fast"),
        ),
        strings=StringRanges(restitution=(0.83, 0.88), friction=(0.4, 0.6)),
        robot=RobotRanges(
            body_mass=(0.9, 1.1),
            racket_mass=(0.94, 1.06),
            foot_friction=(0.5, 1.1),
            kp=(0.9, 1.1),
            kd=(0.8, 1.2),
            effort=(0.9, 1.0),
            joint_damping=(0.5, 1.5),
            armature=(0.8, 1.2),
        ),
    ),
}
"""Worlds by name. `real` is the benchmark's and is not changed without changing the benchmark. `wide` adds to it,
without a published source unless said: air from 2000 m above the sea to a cold day, courts from clay to grass (ITF
pace ratings), strings of 0.83–0.88 (published band), and motors that are off by a tenth."""


def world_named(name: str) -> World:
    """A world of `WORLDS`.

    Raises:
        ValueError: there is none of that name; the message lists them.
    """
    if name not in WORLDS:
        raise ValueError(f"world {name!r} is not known: choose {', '.join(WORLDS)}")
    return WORLDS[name]
