"""Ball return, what is asked: protocol, outcomes and the record of balls."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from sim.launch_ranges import LEVELS
from sim.ranges import Range, check_range
from sim.world import World, world_named

OUTCOMES = ("pending", "returned", "net", "out", "miss", "fall")
PENDING, RETURNED, NET, OUT, MISS, FALL = range(6)


@dataclass(frozen=True)
class ReturnConfig:
    """The protocol.

    Attributes:
        level: launch level, see `sim.launcher.LEVELS`.
        control_dt: control period, s.
        timestep: physics step, s.
        ball_interval: time between launches, s.
        longest_interval: if given, times between launches are drawn evenly from `ball_interval` to this, s.
        balls_per_episode: after so many balls (and the last one's outcome) an episode ends.
        start: where the robot stands, facing +x, (x, y), m.
        target_x, target_y: ranges of the landing target in the opponent's court, m.
        fall_height: a pelvis lower than this has fallen, m.
        fall_tilt: a pelvis tilted more than this has fallen, rad.
        friction: of feet on the court.
        world: name in `sim.world.WORLDS`: how balls, courts, rackets, robots and senses differ.
        surface: name in `sim.bounce.SURFACES` of the court that balls bounce on; default a nominal hard court.
        launches: file of a `sim.launch_distribution.LaunchMixture` to draw launches from; default plain draws.
    """

    level: str = "feed"
    control_dt: float = 0.02
    timestep: float = 0.005
    ball_interval: float = 2.0
    longest_interval: float | None = None
    balls_per_episode: int = 8
    start: tuple[float, float] = (-11.9, 0.0)
    target_x: tuple[float, float] = (4.0, 10.5)
    target_y: tuple[float, float] = (-3.0, 3.0)
    fall_height: float = 0.42
    fall_tilt: float = 1.0
    friction: float = 0.8
    world: str = "nominal"
    surface: str | None = None
    launches: str | None = None

    @property
    def intervals(self) -> Range:
        """Shortest and longest time between launches, s."""
        return (
            self.ball_interval,
            self.ball_interval if self.longest_interval is None else self.longest_interval,
        )

    def make_world(self) -> World:
        """The world of that name, on that surface."""
        world = world_named(self.world)
        return world if self.surface is None else world.on(self.surface)

    def check(self) -> None:
        """Raise ValueError naming the field whose value is impossible."""
        if self.level not in LEVELS:
            raise ValueError(f"level = {self.level!r} is not known: choose {', '.join(LEVELS)}")
        for name, low, high in (
            ("timestep", 1e-5, 0.05),
            ("control_dt", self.timestep, 1.0),
            ("fall_height", -10.0, 10.0),
            ("fall_tilt", 0.0, math.pi),
            ("friction", 0.01, 100.0),
        ):
            value = getattr(self, name)
            check_range(name, (value, value), low, high)
        if abs(self.control_dt / self.timestep - round(self.control_dt / self.timestep)) > 1e-6:
            raise ValueError(
                f"control_dt = {self.control_dt} s is no multiple of timestep = {self.timestep} s"
            )
        check_range("ball_interval to longest_interval, s", self.intervals, self.control_dt, 1e4)
        if self.balls_per_episode < 1:
            raise ValueError(f"balls_per_episode = {self.balls_per_episode}: give 1 or more")
        check_range("target_x, m", self.target_x, -40.0, 40.0)
        check_range("target_y, m", self.target_y, -20.0, 20.0)
        for value in self.start:
            check_range("start, m", (value, value), -40.0, 40.0)
        self.make_world().check()


@dataclass
class BallRecord:
    """Outcomes of finished balls, one row each, columns of equal length.

    Attributes:
        env, ball: environment and number of the ball in its episode.
        outcome: index into `OUTCOMES`.
        contact: whether the racket touched it.
        landing: first bounce after the strike, (x, y), NaN where there is none, m.
        target: wanted landing point, m.
        speed_in, speed_out: before and after the strike (at release if never struck), m/s.
        backhand, forecourt: where it was to be met.
        point: of the launch space, see `sim.launch_distribution.SPACE`: what a curriculum or a search learns from.
    """

    env: list[int] = field(default_factory=list)
    ball: list[int] = field(default_factory=list)
    outcome: list[int] = field(default_factory=list)
    contact: list[bool] = field(default_factory=list)
    landing: list[tuple[float, float]] = field(default_factory=list)
    target: list[tuple[float, float]] = field(default_factory=list)
    speed_in: list[float] = field(default_factory=list)
    speed_out: list[float] = field(default_factory=list)
    backhand: list[bool] = field(default_factory=list)
    forecourt: list[bool] = field(default_factory=list)
    point: list[list[float]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.env)
