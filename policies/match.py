"""Matches between policies, walls and ball machines: players in, points and figures out (`rally-eval task=match`).

The near side is the policy, the far side its opponent. Either sees the court from its own side, so the same bundle
plays both. A robot that was put back at its start between points begins with an empty memory.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from humanoid.safety import SafetyMonitor, SelfCollisionMonitor, pd_torque
from policies.evaluation import (
    CONDITIONS,
    EvaluationError,
    Policy,
    robot_model,
    write_json,
    written,
)
from policies.match_report import SIDES, match_report, write_points
from sim.engine import CpuEngine
from sim.launcher import LEVELS
from sim.match import Match, MatchConfig
from sim.match_record import MatchRecord
from sim.observation_noise import NoisySenses
from sim.openings import Returner, Wall, stream
from sim.recording import Recorder, Recording
from sim.score import SCORINGS, Score
from sim.stringbed import Racket
from sim.world import world_named

WALL, MACHINE = "wall", "machine"
WALLS = 16
"""First of the streams of random numbers of walls, see `sim.openings.stream`."""
MAX_MATCHES = 100_000
HOLD = 75
"""Frames for which a recording stands still after a match."""


@dataclass(frozen=True)
class MatchesConfig:
    """What is played.

    Attributes:
        level: of feeds and of a wall's returns. condition: "nominal" or "real", see
            `policies.evaluation.EvaluationConfig`.
        opening: "feed" or "serve". scoring, points: see `sim.score.Score`.
        serve_spread: see `sim.openings.Server`, m/s.
        matches: how many. seed: of everything random.
        envs: most matches at once. Under condition=real a figure depends on it as on the seed.
        threads: of the physics, 0 for all cores. record: so many matches are recorded, from the first one.
    """

    level: str = "feed"
    condition: str = "nominal"
    opening: str = "feed"
    scoring: str = "points"
    points: int = 10
    serve_spread: float = 0.0
    matches: int = 20
    seed: int = 0
    envs: int = 64
    threads: int = 0
    record: int = 0

    @property
    def rules(self) -> MatchConfig:
        """What `sim.match` needs of it."""
        return MatchConfig(
            level=self.level,
            opening=self.opening,
            scoring=self.scoring,
            points=self.points,
            serve_spread=self.serve_spread,
        )

    def check(self) -> None:
        """Raise `EvaluationError` naming the key whose value is impossible."""
        for key, choices in (
            ("level", tuple(LEVELS)),
            ("condition", CONDITIONS),
            ("opening", ("feed", "serve")),
            ("scoring", SCORINGS),
        ):
            if getattr(self, key) not in choices:
                raise EvaluationError(f"{key}={getattr(self, key)}: choose {', '.join(choices)}")
        for key, low, high in (
            ("matches", 1, MAX_MATCHES),
            ("points", 1, 10_000),
            ("seed", 0, 2**32 - 1),
            ("envs", 1, 4096),
            ("threads", 0, 1024),
            ("record", 0, self.matches),
            ("serve_spread", 0.0, 10.0),
        ):
            if not low <= getattr(self, key) <= high:
                raise EvaluationError(f"{key}={getattr(self, key)}: give a number from {low} to {high}")


@dataclass
class MatchEvaluation:
    """The result of some matches.

    Attributes:
        report: the content of match.json; every field is described in docs/matches.md.
        record: every point. scores: final.
        recording: the first matches, if asked for.
    """

    report: dict[str, Any]
    record: MatchRecord
    scores: list[Score]
    recording: Recording | None = None


Contestant = Policy | str
"""A policy, or "wall" or "machine"."""


@torch.no_grad()
def play_matches(
    policy: Contestant,
    opponent: Contestant,
    config: MatchesConfig | None = None,
    progress: Callable[[int], object] | None = None,
) -> MatchEvaluation:
    """Play matches.

    Args:
        policy, opponent: on the near and the far side; at least one of them plays.
        config: what is played.
        progress: called with the number of points that ended since the last call.

    Raises:
        EvaluationError: impossible values, two machines, or a policy whose action is not finite.
    """
    config = config or MatchesConfig()
    config.check()
    players = (policy, opponent)
    for key, player in zip(SIDES, players, strict=True):
        if isinstance(player, str) and player not in (WALL, MACHINE):
            raise EvaluationError(f"{key}={player}: give a policy, {WALL} or {MACHINE}")
    if policy == MACHINE and opponent == MACHINE:
        raise EvaluationError(f"policy={MACHINE} opponent={MACHINE}: nobody would play; one of them must")
    begin = time.perf_counter()
    record, scores, films = MatchRecord(), [], []
    played_s = 0.0
    recovered: Counter[str] = Counter()
    robots = min(config.envs, config.matches)
    monitors = [None if isinstance(player, str) else Monitors(SafetyMonitor(robots)) for player in players]
    walls = [{"harder": 0, "stuck": 0} if player == WALL else None for player in players]
    for first in range(0, config.matches, config.envs):
        batch = _Batch(players, config, first)
        batch.play(monitors, progress)
        for point in batch.match.record.points:
            point.match += first
        record.points += batch.match.record.points
        record.falls = [a + b for a, b in zip(record.falls, batch.match.record.falls, strict=True)]
        scores += batch.match.scores
        films += batch.films
        recovered.update({kind: int(count.sum()) for kind, count in batch.match.recovered.items()})
        played_s += batch.played_s
        for wall, count in zip(batch.match.returners, walls, strict=True):
            if isinstance(wall, Wall) and count is not None:
                count["harder"] += wall.harder
                count["stuck"] += wall.stuck
    report: dict[str, Any] = {"task": "match"}
    for key, player in zip(SIDES, players, strict=True):
        report[key] = name(player)
        report[f"{key}_sha256"] = None if isinstance(player, str) else player.bundle_sha256
    for key in ("level", "condition", "opening", "scoring", "seed"):
        report[key] = getattr(config, key)
    report |= match_report(record, scores, played_s)
    report["safety"] = {
        key: None if monitor is None else monitor.report()
        for key, monitor in zip(SIDES, monitors, strict=True)
    }
    report["recovered"] = dict(recovered)
    report["wall"] = dict(zip(SIDES, walls, strict=True))
    report["wall_s"] = round(time.perf_counter() - begin, 3)
    return MatchEvaluation(report, record, scores, _recording(films, players, config))


def name(player: Contestant) -> str:
    """What a player is called in reports."""
    return player if isinstance(player, str) else player.name


@dataclass
class Monitors:
    """What watches one side's robots."""

    limits: SafetyMonitor
    self_collision: SelfCollisionMonitor = field(default_factory=SelfCollisionMonitor)

    def report(self) -> dict[str, Any]:
        """As `safety` of report.json."""
        return {**self.limits.report(), "self_collision": self.self_collision.report()}


class _Batch:
    """Matches that are played at once."""

    def __init__(self, players: Sequence[Contestant], config: MatchesConfig, first: int) -> None:
        self.players, self.config, self.first = players, config, first
        self.n = n = min(config.envs, config.matches - first)
        rules = config.rules
        self.dt = rules.task.control_dt
        world = world_named(config.condition)
        random = stream(config.seed, first, WALLS + 2)
        threads = config.threads or os.cpu_count() or 1
        engines: list[CpuEngine | None] = []
        returners: list[Returner | None] = []
        for side, player in enumerate(players):
            wall = player == WALL
            walls = [stream(config.seed, first + k, WALLS + side) for k in range(n)] if wall else []
            returners.append(Wall(config.level, walls, rules.task.start) if wall else None)
            engine = None
            if not isinstance(player, str):
                engine = CpuEngine(n, robot_model(player, rules.task), threads)
            engines.append(engine)
        self.senses: list[NoisySenses | None] = [None, None]
        rackets: list[Racket | None] = [None, None]
        for side, engine in enumerate(engines):
            if engine is not None:
                world.vary(engine, random)
                rackets[side] = world.rackets(engine, random)
                self.senses[side] = world.observers(n, self.dt, random)
        self.match = Match(
            engines,
            rules,
            returners,
            num=n,
            seed=config.seed,
            first=first,
            physics=world.physics,
            rackets=rackets,
        )
        self.films = [_Film(self.match, m) for m in range(n) if first + m < config.record]
        self.played_s = 0.0

    def play(self, monitors: Sequence[Monitors | None], progress: Callable[[int], object] | None) -> None:
        """All matches of the batch, to their ends."""
        match, counted = self.match, 0
        memory = [
            None if isinstance(player, str) else player.initial_memory(self.n) for player in self.players
        ]
        for senses in self.senses:
            if senses is not None:
                senses.reset(torch.arange(self.n))
        while not bool(match.finished.all()):
            targets: list[torch.Tensor | None] = [None, None]
            live = (~match.finished).numpy()
            self.played_s += self.dt * int(live.sum())
            for side, player in enumerate(self.players):
                robots, past = match.robots[side], memory[side]
                if isinstance(player, str) or robots is None or past is None:
                    continue
                placed = robots.placed.nonzero().squeeze(1)
                if len(placed):
                    past[placed.numpy()] = 0.0
                    if (senses := self.senses[side]) is not None:
                        senses.reset(placed)
                    robots.placed.fill_(False)
                action, memory[side] = self._act(player, side, past)
                targets[side] = torch.from_numpy(np.asarray(action, dtype=np.float64))
                self._watch(monitors[side], player, side, action, live & ~robots.fallen.numpy())
            match.step(targets)
            for film in self.films:
                film.add()
            if progress is not None and len(match.record.points) > counted:
                progress(len(match.record.points) - counted)
                counted = len(match.record.points)

    def _act(self, player: Policy, side: int, memory: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        match, senses = self.match, self.senses[side]
        terms = match.terms(side)
        observed = terms if senses is None else senses(terms)
        observation = player.assemble({key: value.numpy() for key, value in observed.items()})
        action, memory = player.act(observation, memory)
        bad = ~np.isfinite(action).all(axis=1) & ~match.finished.numpy()
        if bad.any():
            raise EvaluationError(
                f"{SIDES[side]} {player.name!r}: its action is not finite in match {self.first + int(bad.argmax())} "
                f"at {match.time:.2f} s; train or export it again"
            )
        return action, np.array(memory)

    def _watch(
        self,
        monitors: Monitors | None,
        player: Policy,
        side: int,
        action: np.ndarray,
        active: np.ndarray,
    ) -> None:
        robots = self.match.robots[side]
        if monitors is None or robots is None or not active.any():
            return
        monitor = monitors.limits
        monitors.self_collision.update(robots.engine.qpos[:, 7:].numpy()[active])
        # The last batch may be smaller than the others.
        padding = ((0, monitor.num_robots - self.n), (0, 0))
        pos, vel, action = (
            np.pad(value, padding)
            for value in (robots.engine.qpos[:, 7:].numpy(), robots.engine.qvel[:, 6:].numpy(), action)
        )
        torque = pd_torque(action, pos, vel, player.kp, player.kd)
        monitor.update(pos, vel, torque, np.pad(active, padding[0]))


class _Film:
    """One match's frames."""

    AD = -1
    """Stands for "Ad" among the points of a recording."""

    def __init__(self, match: Match, m: int) -> None:
        self.match, self.m = match, m
        self.frames: list[tuple] = []
        self.done = False

    def add(self) -> None:
        """The present state, and what was decided in the last step."""
        if self.done:
            return
        match, m = self.match, self.m
        self.done = bool(match.finished[m])
        qpos = np.array([robots.court_qpos(m) for robots in match.robots if robots is not None])
        ball = match.balls.state.pos[m].numpy().copy() if bool(match.balls.active[m]) else None
        rally, score = match.referee.rallies[m], match.scores[m]
        side = int(match.referee.receiver[m])
        target = None
        if side >= 0 and match.robots[side] is not None:
            target = match.target[side, m].numpy() * (-1.0 if side else 1.0)
        called = (self.AD if text == "Ad" else int(text) if text.isdigit() else 0 for text in score.called())
        tally: dict[str, int] = dict(zip(("near", "far"), called, strict=True))
        for key, pair in (("games", score.games), ("sets", score.sets)):
            if score.scoring in (("set", "match") if key == "games" else ("match",)):
                tally |= {f"near_{key}": pair[0], f"far_{key}": pair[1]}
        tally["rally"] = 0 if rally is None else rally.strokes
        texts = [text for number, text in match.news if number == m]
        ended = (point.winner for point in reversed(match.record.points) if point.match == m)
        winner = next(ended, None) if texts else None
        self.frames.append((qpos, ball, target, tally, texts, winner))


def _recording(
    films: Sequence[_Film], players: Sequence[Contestant], config: MatchesConfig
) -> Recording | None:
    """The recorded matches one after the other; None without robots or if none was asked for."""
    if not films or all(isinstance(player, str) for player in players):
        return None
    names = (name(players[0]), name(players[1]))
    if names[0] == names[1]:
        names = (f"{names[0]} (near)", f"{names[1]} (far)")
    title = f"{name(players[0])} against {name(players[1])}, {config.level}"
    recorder = Recorder(50.0, title, config.seed, players=names)
    for film in films:
        for qpos, ball, target, tally, texts, winner in film.frames:
            recorder.add(qpos if len(qpos) > 1 else qpos[0], ball, target, **tally)
            for text in texts:
                replay = text in ("Let", "Fault")
                who = "" if replay or winner is None else f": point to {names[winner]}"
                recorder.caption(f"{text.capitalize()}{who}")
        # Time to read how it ended.
        for _ in range(HOLD):
            recorder.add(qpos if len(qpos) > 1 else qpos[0], None, None, **tally)
    return recorder.finish()


def write_matches(folder: str | os.PathLike, evaluation: MatchEvaluation) -> None:
    """Write points.csv, recording.npz (if there is one) and, when these are complete, match.json.

    Raises:
        EvaluationError: a file cannot be written; the message names it. No file is left half written.
    """
    folder = Path(folder)
    if evaluation.recording is not None:
        written(folder / "recording.npz", evaluation.recording.save)
    written(folder / "points.csv", lambda path: write_points(path, evaluation.record.points))
    written(folder / "match.json", lambda path: write_json(path, evaluation.report))
