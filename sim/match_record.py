"""What is kept of a match: strokes, points, and counts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass
class Shot:
    """One stroke, or the serve or feed that opens a rally.

    Attributes:
        side: who struck it, or whose machine fed it.
        kind: "feed", "serve", "forehand", "backhand", or "return" of a player without a robot.
        volley: struck before it bounced. frame: with the racket's frame.
        speed_in, speed_out: of the ball before and after, m/s; NaN for an opening's speed_in.
        net_speed: when it crossed the net's plane, m/s, NaN if it did not.
        landing: first bounce, (x, y) on the court, m, NaN without one.
        good: it landed in the right court, or the opponent struck it before that.
    """

    side: int
    kind: str
    speed_out: float
    speed_in: float = math.nan
    volley: bool = False
    frame: bool = False
    net_speed: float = math.nan
    landing: tuple[float, float] = (math.nan, math.nan)
    good: bool = False


@dataclass
class Point:
    """One point.

    Attributes:
        match, number: of the match in its batch, of the point in its match.
        opener: side that served, or from which the machine fed.
        shots: the opening, then every stroke.
        winner: side, or None when the rally was stopped undecided.
        reason: why the loser lost it, a key of `sim.rally_rules.REASONS`, or "cut".
        lets, faults: before this rally, in the same point.
        duration_s: of the rally.
    """

    match: int
    number: int
    opener: int
    shots: list[Shot]
    winner: int | None = None
    reason: str = ""
    lets: int = 0
    faults: int = 0
    duration_s: float = 0.0

    @property
    def length(self) -> int:
        """Strokes of the rally that were good: a feed is none, a serve is one."""
        return sum(shot.good for shot in self.shots if shot.kind != "feed")

    @property
    def ending(self) -> str:
        """How it ended: `reason`, but a ball that was not returned is a "winner" of who struck it, an "ace", or a
        "missed feed"."""
        if self.reason != "not returned":
            return self.reason
        return {"feed": "missed feed", "serve": "ace"}.get(self.shots[-1].kind, "winner")


@dataclass
class MatchRecord:
    """Finished points of all matches, in the order in which they ended; falls by side."""

    points: list[Point] = field(default_factory=list)
    falls: list[int] = field(default_factory=lambda: [0, 0])
