"""The referee: watches balls and robots, tells the rules what happened, and keeps the strokes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sim.ball import BallState
from sim.ball_sim import BallSim, StepEvents
from sim.court import in_service_box, in_singles_court
from sim.court_side import Robots, turned
from sim.match_record import Point, Shot
from sim.rally_rules import Bounce, Box, Dead, Event, Hit, Net, Rally, Stop
from sim.return_task import BALL_RADIUS


class Referee:
    """M rallies in play.

    Args:
        balls: one a match, on the court.
        robots: by side; None where no robots play.
        passed: called with match and side when the ball becomes the side's to play.

    Attributes:
        rallies: state of each. points: being played, None before the first.
        playing: (M,) bool: no verdict has been taken yet.
        receiver: side that has to play the ball, (M,) int, −1 for none.
    """

    def __init__(
        self, balls: BallSim, robots: Sequence[Robots | None], passed: Callable[[int, int], object]
    ) -> None:
        n = balls.num_envs
        self.balls, self.robots, self._passed = balls, robots, passed
        self.rallies: list[Rally | None] = [None] * n
        self.points: list[Point | None] = [None] * n
        self.playing = torch.zeros(n, dtype=torch.bool)
        self.receiver = torch.full((n,), -1, dtype=torch.int64)
        self._quiet = torch.zeros(n, dtype=torch.int64)

    def open(self, m: int, rally: Rally, point: Point) -> None:
        """A rally begins, its first ball is in the air."""
        self.rallies[m], self.points[m] = rally, point
        self.playing[m] = True
        self.receiver[m] = rally.receiver
        self._quiet[m] = 0
        self._passed(m, rally.receiver)

    def close(self, m: int) -> None:
        """A rally's verdict is taken."""
        self.playing[m] = False
        self.receiver[m] = -1

    def decided(self) -> list[int]:
        """Matches whose rally has a verdict that was not taken."""
        rallies = ((m, self.rallies[m]) for m in self.playing.nonzero().squeeze(1).tolist())
        return [m for m, rally in rallies if rally is not None and rally.over]

    def note_crossings(self, before: Tensor) -> None:
        """Speeds over the net in the last physics step; `before` (M, 3): where the balls were before it."""
        state = self.balls.state
        crossed = (before[:, 0] * state.pos[:, 0] <= 0.0) & self.playing & (before[:, 0] != 0.0)
        if not bool(crossed.any()):
            return
        for m in crossed.nonzero().squeeze(1).tolist():
            point = self.points[m]
            if point is not None and math.isnan(point.shots[-1].net_speed):
                point.shots[-1].net_speed = float(torch.linalg.vector_norm(state.vel[m]))

    def see(self, events: StepEvents, holder: Tensor, before: BallState, time: float) -> None:
        """A physics step's events, in their order. A touch of the net has no time and is taken for the first.

        Args:
            events: of the balls.
            holder: side whose racket each ball could meet, (M,).
            before: balls before the step.
            time: at its beginning, s.
        """
        some = (events.bounced | events.net | events.hit).nonzero().squeeze(1)
        if len(some) == 0:
            return
        for m in some.tolist():
            found: list[tuple[float, Event]] = []
            if bool(events.net[m]):
                found.append((-1.0, Net(time)))
            if bool(events.bounced[m]):
                at = float(events.bounce_time[m])
                found.append((at, self._bounce(m, events.bounce_pos[m], time + at)))
            if bool(events.hit[m]):
                at, side = float(events.hit_time[m]), int(holder[m])
                beyond = (float(events.hit_pos[m, 0]) > 0.0) != (side == 1)
                found.append((at, Hit(side, beyond, time + at)))
            for _, event in sorted(found, key=lambda pair: pair[0]):
                where = events.bounce_pos[m] if isinstance(event, Bounce) else events.hit_pos[m]
                self.apply(m, event, where, before.vel[m], bool(events.frame[m]))

    def _bounce(self, m: int, pos: Tensor, time: float) -> Bounce:
        side = int(pos[0] > 0.0)
        half = "far" if side else "near"
        inside = bool(in_singles_court(pos, half, margin=BALL_RADIUS))
        rally = self.rallies[m]
        boxes: list[Box] = ["deuce", "ad"]
        if rally is not None and rally.box == "ad":
            boxes.reverse()
        box: Box | None = None
        for candidate in reversed(boxes):
            if bool(in_service_box(pos, half, candidate, margin=BALL_RADIUS)):
                box = candidate
        return Bounce(side, inside, box, time)

    def apply(
        self,
        m: int,
        event: Event,
        where: Tensor | None = None,
        came: Tensor | None = None,
        frame: bool = False,
        kind: str = "",
    ) -> None:
        """Take an event to the rules, and note what came of it.

        Args:
            m: match. event: what happened.
            where: at which point of the court, (3,), m; of bounces and hits.
            came: velocity of the ball before, (3,), m/s. frame: see `Shot`.
            kind: of the stroke; by default forehand or backhand.
        """
        rally, point = self.rallies[m], self.points[m]
        if rally is None or point is None or rally.over:
            return
        new = self.rallies[m] = rally.after(event)
        self._quiet[m] = 0
        last = point.shots[-1]
        if isinstance(event, Bounce) and where is not None and math.isnan(last.landing[0]):
            last.landing = (float(where[0]), float(where[1]))
            last.good = new.landed
        if new.strokes > rally.strokes and isinstance(event, Hit):
            last.good = True
            vel = self.balls.state.vel[m]
            point.shots.append(
                Shot(
                    side=event.side,
                    kind=kind or self._stroke(m, event.side, where),
                    speed_out=float(torch.linalg.vector_norm(vel)),
                    speed_in=math.nan if came is None else float(torch.linalg.vector_norm(came)),
                    volley=not rally.landed,
                    frame=frame,
                )
            )
            self.receiver[m] = new.receiver
            self._passed(m, new.receiver)
        if new.over:
            self.receiver[m] = -1

    def _stroke(self, m: int, side: int, where: Tensor | None) -> str:
        """Forehand if the ball is struck on the right of the pelvis."""
        robots = self.robots[side]
        if robots is None or where is None:
            return "return"
        left = float(turned(where[None], side)[0, 1]) - float(robots.engine.qpos[m, 1])
        return "backhand" if left > 0.0 else "forehand"

    def check_balls(self, time: float, idle_steps: int, max_strokes: int) -> None:
        """Balls that roll, or that nothing happened to in so many control steps, and rallies without end."""
        self._quiet += 1
        idle = self._quiet > idle_steps
        for m in (self.playing & (self.balls.rolling | idle)).nonzero().squeeze(1).tolist():
            self.apply(m, Dead(time))
        for m in self.playing.nonzero().squeeze(1).tolist():
            rally = self.rallies[m]
            if rally is not None and rally.strokes >= max_strokes:
                self.apply(m, Stop(time))
