"""Matches: two humanoids and one ball.

Each side's robots are a simulation of their own (`sim.court_side`), coupled with the other's only through the ball:
at each physics step the ball meets the racket that is nearer to it, and the recoil goes back into that robot. Robots
of the two sides are never in one MuJoCo model. A side may also be a player without a robot (`sim.openings.Returner`)
or a ball machine, which only feeds. What happens to the ball becomes events for `sim.rally_rules`, points for
`sim.score`.

The near side's frame is the court's: origin at the net's centre, x toward the far side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sim.ball import BallState
from sim.ball_sim import BallSim, RacketPose
from sim.court_side import Robots, turned_ball
from sim.engine import Engine
from sim.launcher import LEVELS, Launcher, LauncherConfig
from sim.match_record import MatchRecord, Point, Shot
from sim.openings import Feeder, Physics, Returner, Server, stream
from sim.rally_rules import Fall, Hit, feed, serve
from sim.referee import Referee
from sim.return_task import ReturnConfig
from sim.score import Score
from sim.stringbed import Racket

SERVES, TARGETS = 1, 2
"""Streams of random numbers of a match."""
MAX_LETS = 10
"""After so many replays in a row a point counts as played with no winner: e.g. a robot that stands in each feed's
way."""


@dataclass(frozen=True)
class MatchConfig:
    """How matches are played.

    Attributes:
        level: of feeds, and a limit of serves' speed, see `sim.launcher.LEVELS`.
        opening: "feed": a machine on the server's side feeds the receiver. "serve": a ball is served from over the
            server, who need not swing.
        scoring, points: see `sim.score.Score`.
        serve_spread: see `sim.openings.Server`, m/s.
        pause: between points, s.
        stray: see `sim.court_side.Robots`, m.
        max_strokes: a rally is stopped after so many.
        max_points: a match of games is stopped after so many; who leads has won.
        idle: a ball that nothing happens to for so long is dead, s.
        task: robots, physics steps and targets.
    """

    level: str = "feed"
    opening: str = "feed"
    scoring: str = "points"
    points: int = 10
    serve_spread: float = 0.0
    pause: float = 1.0
    stray: float = 0.4
    max_strokes: int = 200
    max_points: int = 400
    idle: float = 8.0
    task: ReturnConfig = field(default_factory=ReturnConfig)

    def check(self) -> None:
        """Raise ValueError naming the key whose value is impossible."""
        if self.level not in LEVELS:
            raise ValueError(f"level={self.level}: choose {', '.join(LEVELS)}")
        if self.opening not in ("feed", "serve"):
            raise ValueError(f"opening={self.opening}: choose feed or serve")
        if self.max_strokes < 1 or self.max_points < 1:
            raise ValueError("max_strokes and max_points must be 1 or more")
        if not (self.serve_spread >= 0.0 and self.pause >= 0.0 and self.idle > 0.0):
            raise ValueError("serve_spread and pause must not be negative, idle must be positive")
        Score(self.scoring, self.points)


class Match:
    """M matches at once, each between the same two kinds of player.

    Args:
        engines: of the near and the far side's robots, one robot a match; None: no robot there.
        config: see `MatchConfig`.
        returners: players without robots, by side; None where a robot plays, or for a ball machine.
        num: M, if neither side has robots.
        seed: of everything random. Match number `first + i` of a seed has the same feeds, serves and targets in any
            batch, whatever the players do.
        first: number of the first match.
        physics: true physics of balls, see `Launcher.draw`.
        rackets: that the robots of either side hold, as the ball meets them, fields for each match or for all, see
            `sim.world.World.rackets`; None: nominal.

    Attributes:
        robots: by side, or None.
        balls: one a match.
        referee: the rallies, and whose turn it is.
        scores: of each match. finished: (M,) bool.
        target: where each side shall send it, in that side's own frame, (2, M, 2), m.
        record: see `MatchRecord`.
        news: (match, text) of the last step: points and replays.

    Raises:
        ValueError: impossible values; both sides are machines; engines of different sizes; a racket for a side without
            robots.
    """

    def __init__(
        self,
        engines: Sequence[Engine | None],
        config: MatchConfig | None = None,
        returners: Sequence[Returner | None] = (None, None),
        num: int = 1,
        seed: int = 0,
        first: int = 0,
        physics: Physics | None = None,
        rackets: Sequence[Racket | None] = (None, None),
    ) -> None:
        self.config = config = config or MatchConfig()
        config.check()
        sizes = {engine.num_envs for engine in engines if engine is not None}
        if len(sizes) > 1:
            raise ValueError(f"the two sides' engines hold {sorted(sizes)} robots: give as many to each side")
        self.num = n = sizes.pop() if sizes else num
        if n < 1:
            raise ValueError(f"{n} matches: give 1 or more")
        machines = [engines[s] is None and returners[s] is None for s in (0, 1)]
        if all(machines):
            raise ValueError("both sides are ball machines: nobody would play")
        self._machine = machines.index(True) if any(machines) else None
        task = config.task
        self.substeps, self.dt = round(task.control_dt / task.timestep), task.timestep
        self.robots = tuple(
            None
            if engine is None
            else Robots(side, engine, task.start, task.fall_height, task.fall_tilt, config.stray)
            for side, engine in enumerate(engines)
        )
        self.returners = tuple(returners)
        self.balls = BallSim(n)
        for side, (engine, racket) in enumerate(zip(engines, rackets, strict=True)):
            if engine is None and racket is not None:
                raise ValueError(f"side {side} has a racket but no robots to hold it")
        self._rackets = tuple((racket or Racket.from_specs()).expand(n) for racket in rackets)
        # Whose racket `balls` takes each ball to meet: none yet.
        self._facing = torch.full((n,), -1, dtype=torch.int64)
        launcher = Launcher(config.level, LauncherConfig(start=task.start))
        numbers = range(first, first + n)
        self._first = first
        self._feeder = Feeder(launcher, physics, seed)
        fastest = LEVELS[config.level].speed[1]
        self._servers = [
            Server(task.start, fastest, physics, stream(seed, k, SERVES), config.serve_spread)
            for k in numbers
        ]
        self._targets = [stream(seed, k, TARGETS) for k in numbers]
        # Who opens the first point changes from match to match, so that neither side is favoured.
        self.scores = [Score(config.scoring, config.points, first=(1 + k) % 2) for k in numbers]
        self.referee = Referee(self.balls, self.robots, self._draw_target)
        self.finished = torch.zeros(n, dtype=torch.bool)
        self.target = torch.zeros(2, n, 2)
        self.record = MatchRecord()
        self.news: list[tuple[int, str]] = []
        self.clock = 0
        self._wait = torch.ones(n, dtype=torch.int64)
        self._began = [0.0] * n
        self._second = [False] * n
        self._replays = [(0, 0)] * n  # lets and faults of the point so far
        self._begin_points()

    # One control period

    def step(self, targets: Sequence[Tensor | None] = (None, None)) -> None:
        """Advance by one control period.

        Args:
            targets: joint position targets of either side's robots, (M, 29), rad; None where there are none. Those of
                finished matches are not looked at.

        Raises:
            ValueError: targets of another shape, or not finite; names side, match and joint.
        """
        for robots, target in zip(self.robots, targets, strict=True):
            if robots is not None:
                if target is None:
                    raise ValueError(f"side {robots.side} has robots: give their joint position targets")
                robots.command(target, ~self.finished)
        self.news.clear()
        self._advance()
        self.clock += 1
        self._check_robots()
        self._play_returners()
        idle = round(self.config.idle / self.config.task.control_dt)
        self.referee.check_balls(self.time, idle, self.config.max_strokes)
        for m in self.referee.decided():
            self._end_rally(m)
        self._begin_points()

    @property
    def recovered(self) -> dict[str, Tensor]:
        """What went wrong and was put right so far, (M,) int each: as `sim.return_task.ReturnTask.recovered`; the
        robots' of both sides together, see `sim.court_side.Robots.broken`."""
        broken = [robots.broken for robots in self.robots if robots is not None]
        kinds = self.balls.recovered
        return {
            "robot_broken": torch.stack(broken).sum(0)
            if broken
            else torch.zeros(self.num, dtype=torch.int64),
            "ball_not_finite": kinds.not_finite.clone(),
            "racket_pose": kinds.racket_pose.clone(),
            "ball_overlap": kinds.overlap.clone(),
            "ball_unresolved": self.balls.unresolved.clone(),
        }

    @property
    def time(self) -> float:
        """Since the matches began, s."""
        return self.clock * self.config.task.control_dt

    def terms(self, side: int) -> dict[str, Tensor]:
        """What the robots of a side know, see `sim.return_task.TERMS`."""
        robots = self.robots[side]
        if robots is None:
            raise ValueError(f"side {side} has no robots")
        return robots.terms(self.balls.state, self.referee.receiver == side, self.target[side])

    def _advance(self) -> None:
        """Robots and balls, one physics step after the other.

        Robots that the ball cannot reach within the period take it in one call, as in `ReturnTask`.
        """
        balls, period = self.balls, self.config.task.control_dt
        teams = [robots for robots in self.robots if robots is not None]
        near: dict[int, Tensor] = {}
        live = ~self.finished
        for robots in teams:
            reach = robots.reachable(balls.state, balls.active, period)
            near[robots.side] = (live & reach).nonzero().squeeze(1)
            far = (live & ~reach).nonzero().squeeze(1)
            if len(far):
                robots.engine.advance(self.substeps, far)
            robots.pushed.fill_(False)
        start = [None if robots is None else robots.racket() for robots in self.robots]
        for substep in range(self.substeps):
            for robots in teams:
                if len(near[robots.side]):
                    robots.engine.step(near[robots.side])
                    robots.pushed.fill_(False)
            end = [None if robots is None else robots.racket() for robots in self.robots]
            holder = self._nearer(start)
            self._face(holder)
            before = BallState(balls.state.pos.clone(), balls.state.vel.clone(), balls.state.spin)
            events = balls.step(self.dt, _pick(start, holder), _pick(end, holder))
            for robots in teams:
                struck = (events.hit & (holder == robots.side)).nonzero().squeeze(1)
                if len(struck):
                    robots.push(struck, events.impulse[struck], events.hit_pos[struck])
            self.referee.note_crossings(before.pos)
            self.referee.see(events, holder, before, self.time + substep * self.dt)
            start = end
        for robots in teams:
            robots.measure(period)

    def _nearer(self, rackets: Sequence[RacketPose | None]) -> Tensor:
        """Side (M,) whose racket the ball may meet in this step."""
        away = [
            torch.full((self.num,), math.inf)
            if racket is None
            else torch.linalg.vector_norm(self.balls.state.pos - racket.pos, dim=-1)
            for racket in rackets
        ]
        return (away[1] < away[0]).to(torch.int64)

    def _face(self, holder: Tensor) -> None:
        """Balls meet the racket that the side `holder` (M,) holds."""
        for side, racket in enumerate(self._rackets):
            ids = ((holder == side) & (self._facing != side)).nonzero().squeeze(1)
            if len(ids):
                self.balls.set_racket(racket.at(ids), ids)
        self._facing = holder

    def _draw_target(self, m: int, side: int) -> None:
        """A new target for the side that has to play the ball."""
        task = self.config.task
        low = torch.tensor([task.target_x[0], task.target_y[0]])
        high = torch.tensor([task.target_x[1], task.target_y[1]])
        self.target[side, m] = low + (high - low) * torch.rand(2, generator=self._targets[m])

    def _check_robots(self) -> None:
        down = [None if robots is None else robots.check_falls() & ~self.finished for robots in self.robots]
        some = {m for mask in down if mask is not None for m in mask.nonzero().squeeze(1).tolist()}
        for m in sorted(some):
            fell = [side for side in (0, 1) if (mask := down[side]) is not None and bool(mask[m])]
            # If both fall at once, who has to play the ball loses: neither side is favoured.
            for side in sorted(fell, key=lambda side: side != int(self.referee.receiver[m])):
                self.record.falls[side] += 1
                self.referee.apply(m, Fall(side, self.time))

    def _play_returners(self) -> None:
        for side, player in enumerate(self.returners):
            if player is None:
                continue
            for m in (self.referee.playing & (self.referee.receiver == side)).nonzero().squeeze(1).tolist():
                row = torch.tensor([m])
                rally = self.referee.rallies[m]
                ball = self.balls.state.at(row)
                seen = turned_ball(ball, side)
                answer = player.play(m, seen, rally is not None and rally.landed, self.balls.params.at(row))
                if answer is not None:
                    leaving = turned_ball(answer, side)
                    self.balls.reset(row, leaving.pos, leaving.vel, leaving.spin)
                    beyond = float(answer.pos[0, 0]) > 0.0
                    self.referee.apply(
                        m, Hit(side, beyond, self.time), ball.pos[0], ball.vel[0], kind="return"
                    )

    # Points

    def _begin_points(self) -> None:
        """Open the next rally where the pause is over; robots that fell or strayed are back at their start."""
        self._wait -= 1
        due = (self._wait == 0) & ~self.finished
        if not bool(due.any()):
            return
        for robots in self.robots:
            if robots is not None:
                robots.place((due & robots.astray()).nonzero().squeeze(1))
        for m in due.nonzero().squeeze(1).tolist():
            self._open(m)

    def _open(self, m: int) -> None:
        score, config = self.scores[m], self.config
        opener = score.server if self._machine is None else self._machine
        if config.opening == "serve":
            launch = self._servers[m].draw(score.box)
            # A serve is drawn in the server's frame, a feed in the receiver's.
            ball = turned_ball(launch.ball, opener)
            rally, kind = serve(opener, score.box, self._second[m], self.time), "serve"
        else:
            launch = self._feeder.draw(self._first + m)
            ball = turned_ball(launch.ball, 1 - opener)
            rally, kind = feed(opener), "feed"
        row = torch.tensor([m])
        self.balls.set_params(launch.params, row)
        self.balls.reset(row, ball.pos, ball.vel, ball.spin)
        speed = float(torch.linalg.vector_norm(ball.vel))
        lets, faults = self._replays[m]
        point = Point(m, score.played, opener, [Shot(opener, kind, speed)], lets=lets, faults=faults)
        self.referee.open(m, rally, point)
        self._began[m] = self.time

    def _end_rally(self, m: int) -> None:
        rally, point, config = self.referee.rallies[m], self.referee.points[m], self.config
        assert rally is not None
        assert rally.verdict is not None
        assert point is not None
        verdict = rally.verdict
        self.referee.close(m)
        self._wait[m] = max(1, round(config.pause / config.task.control_dt))
        lets, faults = self._replays[m]
        if verdict.reason == "let" and lets < MAX_LETS:
            self._replays[m] = (lets + 1, faults)
            self.news.append((m, "Let"))
            return
        if verdict.reason == "fault":
            self._replays[m], self._second[m] = (lets, faults + 1), True
            self.news.append((m, "Fault"))
            return
        self._replays[m], self._second[m] = (0, 0), False
        point.winner, point.reason = verdict.winner, verdict.reason if verdict.reason != "let" else "cut"
        point.duration_s = self.time - self._began[m]
        self.record.points.append(point)
        score = self.scores[m].award(verdict.winner)
        if not score.over and score.played >= config.max_points and config.scoring != "points":
            score = score.stopped()
        self.scores[m] = score
        self.finished[m] = score.over
        if score.over:
            self.balls.active[m] = False
        self.news.append((m, point.ending))


def _pick(rackets: Sequence[RacketPose | None], holder: Tensor) -> RacketPose | None:
    """The racket of the side `holder` (M,) of each match; None if no side has any."""
    near, far = rackets
    if near is None or far is None:
        return near or far
    far_side = holder == 1
    return RacketPose(
        torch.where(far_side[:, None], far.pos, near.pos),
        torch.where(far_side[:, None, None], far.rot, near.rot),
    )
