"""What a ball machine draws from: the benchmark's levels, where balls come from and where they can be met."""

from __future__ import annotations

from dataclasses import dataclass

from sim.ranges import check_range


@dataclass(frozen=True)
class Level:
    """What is drawn: ranges of speed at release (m/s) and spin (rpm), and how far (m) from a natural contact
    point the ball may have to be met. `any_axis`: spin about any axis across the flight (top, back and
    side); else topspin or backspin."""

    speed: tuple[float, float]
    spin_rpm: tuple[float, float]
    reach: float
    any_axis: bool = False

    def check(self) -> None:
        """Raise ValueError naming the field whose value is impossible."""
        check_range("launch level: speed, m/s", self.speed, 0.1, 100.0)
        check_range("launch level: spin_rpm", self.spin_rpm, 0.0, 20_000.0)
        check_range("launch level: reach, m", (0.0, self.reach), 0.0, 20.0)


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

    def check(self) -> None:
        """Raise ValueError naming the field whose value is impossible."""
        for name, low, high in (
            ("release_x", 0.1, 40.0),
            ("release_y", -20.0, 20.0),
            ("release_z", 0.04, 20.0),
            ("meeting_height", 0.04, 10.0),
            ("clearance", -1.0, 10.0),
            ("forecourt_from", -40.0, 40.0),
        ):
            value = getattr(self, name)
            check_range(
                f"launcher: {name}, m", value if isinstance(value, tuple) else (value, value), low, high
            )
        for name in ("start", "forehand", "backhand"):
            for value in getattr(self, name):
                check_range(f"launcher: {name}, m", (value, value), -40.0, 40.0)
