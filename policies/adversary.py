"""The adversarial ball machine: legal balls, each by itself, that a policy fails on.

A policy that returns most balls of even draws may still fail where nobody looks, as superhuman Go programs do (Wang et
al., "Adversarial policies beat superhuman Go AIs", 2023). So the return rate of even draws never stands alone. Within
the ranges of a level, on balls that the launcher can solve for (over the net, one bounce in the singles court, through
a meeting point that a player could reach):

    even       a Sobol sequence over all feasible balls: how many come back, and how many do so with all the balls like
               them (`LIKE` neighbours), which is the share of the space that is safe
    search     CMA-ES (pycma), from several places at once, toward the smallest margin: the worst balls
    opponent   a mixture of Gaussians over the launch space that learns, from all balls before and by rounds of its own,
               to launch what is missed (cross-entropy method): how many of its fresh balls come back

Every ball finds a robot that stands ready, and is to be sent to the middle of the court, the easiest there is to aim
at: a miss is the ball's doing, not the target's or the ball before's.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import cma
import numpy as np
import torch
from torch import Tensor

from policies.evaluation import EvaluationConfig, EvaluationError, Film, Policy, rate, robot_model
from sim.court import HALF_LENGTH, SINGLES_HALF_WIDTH
from sim.engine import CpuEngine
from sim.launch_distribution import DIMS, SPACE, LaunchMixture
from sim.launcher import Launcher, LauncherConfig, LaunchTable
from sim.recording import Recording
from sim.return_protocol import FALL, MISS, NET, OUTCOMES, RETURNED, BallRecord, ReturnConfig
from sim.return_task import ReturnTask

TARGET = (7.5, 0.0)
"""Where every ball is to be sent, m."""
LONGEST = 7.0
"""A ball is decided so long after its launch at the latest, s."""
LIKE, WIDTH = 4, 0.02
"""Balls like another: so many, so far off in the launch space (standard deviation of each coordinate)."""
APART = 0.35
"""The worst balls lie so far from each other in the launch space."""
WORST_CASE = {NET: -1.0, MISS: -1.5, FALL: -3.0}
"""Margins of outcomes that have no landing to measure, see `Played.margin`."""


@dataclass(frozen=True)
class AdversaryConfig:
    """How hard the machine tries.

    Attributes:
        level, condition, seed, envs, threads: see `policies.evaluation.EvaluationConfig`.
        even: balls drawn evenly; each is followed by `LIKE` like it.
        starts: places that CMA-ES starts from. generations: of each. population: balls a generation.
        rounds: of the learned opponent. draws: balls a round, and once more in the end to judge it.
        worst: balls to tell of.
    """

    level: str = "feed"
    condition: str = "nominal"
    seed: int = 0
    envs: int = 128
    threads: int = 0
    even: int = 256
    starts: int = 8
    generations: int = 12
    population: int = 16
    rounds: int = 3
    draws: int = 256
    worst: int = 10

    def check(self) -> None:
        """Raise `EvaluationError` naming the key whose value is impossible."""
        EvaluationConfig(
            self.level, self.condition, seed=self.seed, envs=self.envs, threads=self.threads
        ).check()
        for name, least in (
            ("even", 16), ("starts", 1), ("generations", 1), ("population", 4), ("rounds", 0), ("draws", 16),
            ("worst", 1),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise EvaluationError(f"{name}={getattr(self, name)}: give {least} or more")


@dataclass(frozen=True)
class Played:
    """Balls and what became of them.

    Attributes:
        point: in the launch space, (B, DIMS), see `sim.launch_distribution.SPACE`.
        outcome: index into `sim.return_protocol.OUTCOMES`, (B,).
        fell: whether the robot fell, before the strike or while the ball flew back, (B,) bool.
        margin: how clearly it came back or did not, (B,): for a return the landing's distance from the nearest line as
            a share of the largest one, 0–1; out: minus the distance beyond the line, m, 1 at most; net −1; a miss
            −1.5 less the distance by which the racket passed, m, 1 at most; a fall −3.
    """

    point: np.ndarray
    outcome: np.ndarray
    fell: np.ndarray
    margin: np.ndarray

    @property
    def returned(self) -> np.ndarray:
        """Came back, and the robot stood, (B,) bool."""
        return (self.outcome == RETURNED) & ~self.fell

    def __len__(self) -> int:
        return len(self.outcome)

    def at(self, rows: np.ndarray) -> Played:
        """The given rows, indices or mask."""
        return Played(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @staticmethod
    def join(parts: list[Played]) -> Played:
        """All balls of some parts, one after the other."""
        return Played(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Played)})


class BallMachine:
    """Plays single balls against a policy.

    Args:
        policy: a `humanoid.bundle.PolicyBundle`, or anything like one.
        config: see `AdversaryConfig`.
        progress: called with the number of balls that were played since the last call.
    """

    def __init__(
        self, policy: Policy, config: AdversaryConfig, progress: Callable[[int], object] | None = None
    ) -> None:
        config.check()
        self.policy, self.config, self.progress = policy, config, progress
        self.protocol = ReturnConfig(level=config.level, world=config.condition, balls_per_episode=1)
        self.launcher = Launcher(config.level, LauncherConfig(start=self.protocol.start))
        threads = config.threads or os.cpu_count() or 1
        model = robot_model(policy, self.protocol)
        self.task = ReturnTask(
            config.envs, self.protocol, config.seed, engine=CpuEngine(config.envs, model, threads),
            pool=config.envs,
        )  # fmt: skip
        self.played: list[Played] = []
        """Everything so far."""

    def feasible(self, points: np.ndarray) -> tuple[np.ndarray, LaunchTable]:
        """Indices of the points (n, DIMS) that are balls at all, and their launches."""
        good, table = self.launcher.launches(torch.as_tensor(points).clamp(0.0, 1.0))
        return good.numpy(), table

    def play(self, table: LaunchTable) -> Played:
        """Play launches, each against a robot that stands ready."""
        n, parts = self.config.envs, []
        for first in range(0, len(table), n):
            rows = torch.arange(first, min(first + n, len(table)))
            # The last batch is filled up; what fills it does not count.
            full = torch.cat((rows, rows[:1].expand(n - len(rows))))
            parts.append(self._batch(table.at(full)).at(np.arange(len(rows))))
            if self.progress is not None:
                self.progress(len(rows))
        played = Played.join(parts)
        self.played.append(played)
        return played

    def film(self, points: np.ndarray) -> Recording:
        """The balls of points (n, DIMS), n up to `envs`, one after the other, to be rendered.

        Raises:
            EvaluationError: more points than robots.
        """
        if len(points) > self.config.envs:
            raise EvaluationError(f"{len(points)} balls on {self.config.envs} robots: set envs= higher")
        _, table = self.feasible(points)
        rows = torch.arange(len(table))
        films = [Film(self.task, env) for env in range(len(rows))]
        self._batch(table.at(torch.cat((rows, rows[:1].expand(self.config.envs - len(rows))))), films)
        title = f"{self.policy.name}, {self.config.level}: worst balls"
        return Film.one_after_the_other(films, title, self.config.seed)

    @torch.no_grad()
    def _batch(self, table: LaunchTable, films: list[Film] | None = None) -> Played:
        task, policy, n, dt = self.task, self.policy, self.config.envs, self.protocol.control_dt
        everyone = torch.arange(n)
        task.seed(self.config.seed)
        task.serve(table)
        task.reset(everyone)
        task.record = BallRecord()
        memory = policy.initial_memory(n)
        nearest, fell = torch.full((n,), math.inf), torch.zeros(n, dtype=torch.bool)
        rest = {film: Film.HOLD for film in films or ()}
        for step in range(round(LONGEST / dt)):
            observation = policy.assemble({name: value.numpy() for name, value in task.observed().items()})
            targets, memory = policy.act(observation, memory)
            if not np.isfinite(targets).all():
                raise EvaluationError(
                    f"policy {policy.name!r}: its action is not finite; train or export it again"
                )
            task.step(torch.from_numpy(np.asarray(targets, dtype=np.float64)))
            if step == 0:
                task.target[task.slot, everyone] = torch.tensor(TARGET)
            ball = task.terms()["ball_pos"]
            gap = torch.linalg.vector_norm(ball - task.engine.racket_pos.float(), dim=1)
            nearest = torch.where(task.valid, torch.minimum(nearest, gap), nearest)
            done = task.finished
            fell |= task.fallen & ~done
            for film in films or ():
                rest[film] -= int(done[film.env])
                if rest[film] >= 0:
                    film.add()
            if bool(task.fallen.any()):
                task.place(task.fallen.nonzero().squeeze(1))
                memory = np.where(task.fallen.numpy()[:, None], np.float32(0.0), memory)
            if bool(done.all()) and max(rest.values(), default=0) <= 0:
                break
        task.settle()
        record = task.record
        order = np.argsort(record.env, kind="stable")
        outcome = np.array(record.outcome)[order]
        landing = np.array(record.landing).reshape(-1, 2)[order]
        margin = np.where(fell.numpy(), WORST_CASE[FALL], margins(outcome, landing, nearest.numpy()))
        return Played(table.point.double().numpy(), outcome, fell.numpy(), margin)


def margins(outcome: np.ndarray, landing: np.ndarray, nearest: np.ndarray) -> np.ndarray:
    """`Played.margin` of outcomes (B,), landings (B, 2), m, NaN where there was none, and distances by which the racket
    passed the ball, (B,), m."""
    x, y = landing.T
    # Positive inside the opponent's singles court.
    inside = np.minimum(np.minimum(x, HALF_LENGTH - x), SINGLES_HALF_WIDTH - np.abs(y))
    with np.errstate(invalid="ignore"):
        flown = np.where(
            outcome == RETURNED, np.clip(inside / SINGLES_HALF_WIDTH, 0.0, 1.0), np.clip(inside, -1.0, 0.0)
        )
    fixed = np.select([outcome == kind for kind in WORST_CASE], list(WORST_CASE.values()), default=np.nan)
    missed = np.clip(np.nan_to_num(nearest, posinf=1.0), 0.0, 1.0)
    fixed = np.where(outcome == MISS, fixed - missed, fixed)
    return np.where(np.isnan(fixed), np.nan_to_num(flown, nan=-1.0), fixed)


def even_balls(machine: BallMachine) -> tuple[Played, np.ndarray]:
    """Even draws, and whether each comes back with all the balls like it, (even,) bool."""
    config = machine.config
    even = machine.play(machine.launcher.draw_even(config.even, config.seed))
    safe = even.returned.copy()
    # Neighbours of those that came back; twice as many as are needed, for some are no balls.
    owners = np.repeat(np.flatnonzero(safe), 2 * LIKE)
    generator = torch.Generator().manual_seed(config.seed + 1)
    off = torch.randn(len(owners), DIMS, generator=generator).double().numpy()
    good, table = machine.feasible(even.point[owners] + WIDTH * off)
    taken: dict[int, int] = {}
    keep = []
    for row, owner in enumerate(owners[good]):
        if taken.setdefault(owner, 0) < LIKE:
            taken[owner] += 1
            keep.append(row)
    near = machine.play(table.at(torch.tensor(keep, dtype=torch.int64))) if keep else None
    if near is not None:
        safe[owners[good][keep][~near.returned]] = False
    return even, safe


def search(machine: BallMachine, even: Played) -> Played:
    """CMA-ES from the balls of the smallest margin that lie apart; all balls that it tried."""
    config = machine.config
    starts = apart(even, config.starts)
    options = {
        "bounds": [0.0, 1.0], "popsize": config.population, "verbose": -9, "maxiter": config.generations,
    }  # fmt: skip
    engines = [
        cma.CMAEvolutionStrategy(even.point[row], 0.12, options | {"seed": config.seed * 1000 + k + 1})
        for k, row in enumerate(starts)
    ]
    parts = []
    for _ in range(config.generations):
        asked = []
        for engine in engines:
            # Points that are no balls are drawn again, as a whole.
            points = np.array(engine.ask(6 * config.population))
            good, _ = machine.feasible(points)
            asked.append(points[good[: config.population]])
        _, table = machine.feasible(np.concatenate(asked))
        if not len(table):
            break
        played = machine.play(table)
        parts.append(played)
        first = 0
        for engine, points in zip(engines, asked, strict=True):
            margin = played.margin[first : first + len(points)]
            first += len(points)
            # An update takes a whole population.
            if len(points) == config.population:
                engine.tell(list(points), list(margin))
    return Played.join(parts)


def apart(played: Played, count: int, limit: float = APART) -> list[int]:
    """Rows of the smallest margins, at most `count`, each `limit` or more from those before it in the launch space."""
    chosen: list[int] = []
    for row in np.argsort(played.margin, kind="stable"):
        if len(chosen) == count:
            break
        off = np.linalg.norm(played.point[chosen] - played.point[row], axis=1)
        if not len(off) or off.min() >= limit:
            chosen.append(int(row))
    return chosen


def learn_opponent(machine: BallMachine) -> tuple[LaunchMixture, Played]:
    """A distribution of balls that are missed, and fresh balls drawn from it."""
    config = machine.config

    def draw(opponent: LaunchMixture, number: int) -> Played:
        launcher = Launcher(config.level, machine.launcher.config, distribution=opponent)
        generator = torch.Generator().manual_seed(config.seed + 100 + number)
        return machine.play(launcher.draw(config.draws, generator))

    opponent = opposed(Played.join(machine.played))
    for number in range(config.rounds):
        draw(opponent, number)
        opponent = opposed(Played.join(machine.played))
    return opponent, draw(opponent, config.rounds)


def opposed(played: Played, width: float = 0.06, most: int = 512) -> LaunchMixture:
    """Launches like those of the smallest margins that did not come back, each weighed by how few of the balls near it
    did; without any, like those that came nearest to it."""
    failed = np.flatnonzero(~played.returned)
    rows = failed if len(failed) else np.argsort(played.margin)[:16]
    rows = rows[np.argsort(played.margin[rows], kind="stable")][:most]
    points = torch.as_tensor(played.point)
    near = torch.cdist(points[torch.as_tensor(rows)], points)
    kernel = torch.exp(-0.5 * (near / 0.2).square())
    share = (kernel * torch.as_tensor(~played.returned).double()).sum(1) / kernel.sum(1)
    return LaunchMixture.around(points[torch.as_tensor(rows)], share.square() + 1e-6, width, explore=0.0)


def attack(
    policy: Policy, config: AdversaryConfig, progress: Callable[[int], object] | None = None
) -> tuple[dict[str, Any], LaunchMixture, BallMachine]:
    """Look for the balls that a policy fails on.

    Returns:
        The report, JSON-able (docs/safety.md describes every field), the learned opponent, and the machine.

    Raises:
        EvaluationError: impossible values, or a policy whose action is not finite.
    """
    machine = BallMachine(policy, config, progress)
    even, safe = even_balls(machine)
    tried = search(machine, even)
    opponent, fresh = learn_opponent(machine)
    everything = Played.join(machine.played)
    failed = everything.at(~everything.returned)
    worst = failed.at(np.array(apart(failed, config.worst), dtype=np.int64))
    _, table = machine.feasible(worst.point) if len(worst) else (None, None)
    rows = []
    for i in range(len(worst)):
        assert table is not None
        rows.append(
            {
                "outcome": "fall" if worst.fell[i] else OUTCOMES[worst.outcome[i]],
                "margin": round(float(worst.margin[i]), 4),
                "point": [float(v) for v in worst.point[i]],
                **describe(table, i),
            }
        )
    report = {
        "policy": policy.name,
        "bundle_sha256": policy.bundle_sha256,
        "level": config.level,
        "condition": config.condition,
        "seed": config.seed,
        "target": list(TARGET),
        "space": list(SPACE),
        "balls": len(everything),
        "even": _group(even),
        "safe": {"like": LIKE, "width": WIDTH, **rate(int(safe.sum()), len(safe))},
        "search": _group(tried),
        "opponent": _group(fresh),
        "worst": rows,
    }
    return report, opponent, machine


def describe(table: LaunchTable, row: int) -> dict[str, Any]:
    """One launch in physical terms, JSON-able: m, m/s, rpm, s."""
    speed = float(torch.linalg.vector_norm(table.vel[row]))

    def rounded(value: Tensor) -> list[float]:
        return [round(float(v), 3) for v in value]

    return {
        "release_m": rounded(table.pos[row]),
        "speed_m_s": round(speed, 2),
        "spin_rpm": round(float(torch.linalg.vector_norm(table.spin[row])) * 60 / (2 * math.pi)),
        "bounce_m": rounded(table.bounce_pos[row, :2]),
        "meets_m": rounded(table.meet_pos[row]),
        "meets_after_s": round(float(table.meet_time[row]), 3),
        "stroke": "backhand" if bool(table.backhand[row]) else "forehand",
    }


def replay_set(machine: BallMachine, points: np.ndarray) -> Played:
    """Play a regression set again: the balls of points (n, DIMS).

    Raises:
        EvaluationError: a point that is no ball of this level.
    """
    good, table = machine.feasible(points)
    if len(good) < len(points):
        lost = sorted(set(range(len(points))) - set(good.tolist()))
        raise EvaluationError(
            f"ball {lost[0]} of the set is none at level {machine.config.level}: give the level it was found at"
        )
    return machine.play(table)


def _group(played: Played) -> dict[str, Any]:
    """How many balls came back, and what became of all, JSON-able."""
    outcomes = {name: int((played.outcome == i).sum()) for i, name in enumerate(OUTCOMES) if i}
    return {
        "balls": len(played), "in_court": rate(int(played.returned.sum()), len(played)), "outcomes": outcomes,
        "falls": int(played.fell.sum()),
    }  # fmt: skip
