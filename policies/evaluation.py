"""The protocol that judges every policy: balls in, one outcome a ball, a report out.

Robots play whole episodes in rounds: all environments begin an episode together, and the next round begins
when the last of them is done. So the n-th ball of a seed is the same launch with the same target for every
policy, whatever the policy does with it, and two policies can be compared ball by ball. The balls judged are
the first `balls` in the order of episode and ball; quick or slow environments make no difference.

A robot that falls is put back to its start for its next ball, with an empty memory.
"""

from __future__ import annotations

import csv
import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import mujoco
import numpy as np
import torch

from humanoid.files import atomic_write
from humanoid.model import build_model
from humanoid.safety import SafetyMonitor, SelfCollisionMonitor, Shield, pd_torque
from policies.style import StyleMeter
from sim.engine import CpuEngine
from sim.launcher import LEVELS
from sim.recording import Recorder, Recording
from sim.return_task import (
    FALL,
    MISS,
    NET,
    OUT,
    OUTCOMES,
    PENDING,
    RETURNED,
    BallRecord,
    ReturnConfig,
    ReturnTask,
)

CONDITIONS = ("nominal", "real")
SUCCESS_RADIUS = 2.5
"""A ball whose first bounce is so near its target is a success, m (LATENT, arXiv 2603.12686)."""
MAX_BALLS = 1_000_000
LINGER = 6.0
"""How long the last ball of an episode may take to its outcome once the next one would be due, s."""

JUDGED = (RETURNED, NET, OUT, MISS, FALL)


class EvaluationError(ValueError):
    """An evaluation that cannot be done or written. The message says what to do."""


WORST_SHARE = 0.01
"""So many of the episodes, and one at least, count as the worst."""


class Policy(Protocol):
    """What the evaluator needs of a player; :class:`humanoid.bundle.PolicyBundle` has it.

    Attributes:
        name: of the policy.
        bundle_sha256: identifies it.
        kp, kd: gains that its targets are tracked with, [N·m/rad] and [N·m·s/rad], shape (29,).
    """

    name: str
    bundle_sha256: str
    kp: np.ndarray
    kd: np.ndarray

    def initial_memory(self, count: int = 1) -> np.ndarray:
        """Memory at the start of an episode, zeros, (count, M)."""
        ...

    def assemble(self, terms: Mapping[str, np.ndarray]) -> np.ndarray:
        """Observation (N, D) from raw terms by name, each (N, size)."""
        ...

    def act(self, observation: np.ndarray, memory: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Joint position targets, [rad], (N, 29), and the next memory (N, M)."""
        ...


@dataclass(frozen=True)
class EvaluationConfig:
    """What is judged, and how.

    Attributes:
        level: of the launches, see `sim.launcher.LEVELS`.
        condition: the world that is played in, see `sim.world`. "nominal": true physics, clean observations. "real":
            physics of ball, racket and robot from ranges, noisy, late and incomplete observations.
        balls: judged balls.
        seed: of everything random.
        envs: most robots at once. A figure depends on it as on the seed.
        threads: of the physics, 0 for all cores; does not change the result.
        record: so many episodes are recorded, from the first one.
        shield: the robot's safety shield stands between policy and motors, as it does in rally-deploy.
        solid: the robot's parts and its racket do not pass through each other. False: cheap physics, as others have it.
        worst: the worst `WORST_SHARE` of the episodes are recorded too.
    """

    level: str = "feed"
    condition: str = "nominal"
    balls: int = 1000
    seed: int = 0
    envs: int = 64
    threads: int = 0
    record: int = 0
    shield: bool = False
    solid: bool = True
    worst: bool = False

    def check(self) -> None:
        """Raise `EvaluationError` naming the key whose value is impossible."""
        if self.level not in LEVELS:
            raise EvaluationError(f"level={self.level}: choose {', '.join(LEVELS)}")
        if self.condition not in CONDITIONS:
            raise EvaluationError(f"condition={self.condition}: choose {' or '.join(CONDITIONS)}")
        if not 1 <= self.balls <= MAX_BALLS:
            raise EvaluationError(f"balls={self.balls}: give a number from 1 to {MAX_BALLS}")
        if not 0 <= self.seed < 2**32:
            raise EvaluationError(f"seed={self.seed}: give a number from 0 to {2**32 - 1}")
        if not 1 <= self.envs <= 4096:
            raise EvaluationError(f"envs={self.envs}: give a number from 1 to 4096")
        if not 0 <= self.threads <= 1024:
            raise EvaluationError(f"threads={self.threads}: give a number from 1 on, or 0 for all cores")
        episodes = math.ceil(self.balls / ReturnConfig.balls_per_episode)
        if not 0 <= self.record <= episodes:
            raise EvaluationError(
                f"record={self.record}: {self.balls} balls are {episodes} episodes, record from 0 to so many"
            )


@dataclass
class Balls:
    """The judged balls in order, one row each.

    Attributes:
        episode, ball: number of the episode and of the ball in it, (B,).
        outcome: index into `sim.return_task.OUTCOMES`, (B,).
        contact, backhand, forecourt: (B,) bool.
        landing, target: (B, 2), m; landing NaN where there was none.
        speed_in, speed_out: before and after the strike, (B,), m/s; at release and NaN if never struck.
    """

    episode: np.ndarray
    ball: np.ndarray
    outcome: np.ndarray
    contact: np.ndarray
    backhand: np.ndarray
    forecourt: np.ndarray
    landing: np.ndarray
    target: np.ndarray
    speed_in: np.ndarray
    speed_out: np.ndarray

    def __len__(self) -> int:
        return len(self.episode)

    @property
    def error(self) -> np.ndarray:
        """Distance of the landing from the target, (B,), m, NaN without a landing."""
        return np.linalg.norm(self.landing - self.target, axis=1)

    @property
    def success(self) -> np.ndarray:
        """Struck and first bounce within `SUCCESS_RADIUS` of the target, (B,) bool."""
        with np.errstate(invalid="ignore"):
            return self.contact & (self.error <= SUCCESS_RADIUS)

    def at(self, rows: np.ndarray) -> Balls:
        """The given rows, indices or mask."""
        return Balls(**{name: value[rows] for name, value in vars(self).items()})


@dataclass
class Evaluation:
    """The result of one run.

    Attributes:
        report: the content of report.json; every field is described in docs/benchmark.md.
        balls: every judged ball.
        recording: the first episodes, if asked for. worst: the worst ones, worst first, if asked for.
    """

    report: dict[str, Any]
    balls: Balls
    recording: Recording | None = None
    worst: Recording | None = None


def wilson(count: int, total: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson score interval of a proportion.

    Args:
        count: successes. total: trials.
        z: normal quantile; the default gives 95 %.

    Returns:
        Low and high bound, fractions of 1; (0, 1) without trials.
    """
    if total == 0:
        return 0.0, 1.0
    p, zz = count / total, z * z / total
    centre = (p + 0.5 * zz) / (1 + zz)
    half = z * math.sqrt(p * (1 - p) / total + 0.25 * zz / total) / (1 + zz)
    return (0.0 if count == 0 else max(0.0, centre - half)), (
        1.0 if count == total else min(1.0, centre + half)
    )


@torch.no_grad()
def evaluate(
    policy: Policy, config: EvaluationConfig | None = None, progress: Callable[[int], object] | None = None
) -> Evaluation:
    """Judge a policy.

    Args:
        policy: a `humanoid.bundle.PolicyBundle`, or anything like one.
        config: what is judged.
        progress: called with the number of judged balls that were decided since the last call.

    Raises:
        EvaluationError: impossible values, or a policy whose action is not finite.
    """
    config = config or EvaluationConfig()
    config.check()
    begin = time.perf_counter()
    court = _Court(policy, config)
    for number in range(court.rounds):
        court.play(number, progress)
    balls = court.judged()
    report = {
        "policy": policy.name,
        "bundle_sha256": policy.bundle_sha256,
        "level": config.level,
        "condition": config.condition,
        "seed": config.seed,
        "balls": len(balls),
        **tallies(balls),
        "falls_per_100": 100.0 * court.falls / len(balls),
        "rally_length": rally_length(balls),
        "by_stroke": {
            "forehand": {"balls": int((~balls.backhand).sum()), **tallies(balls.at(~balls.backhand))},
            "backhand": {"balls": int(balls.backhand.sum()), **tallies(balls.at(balls.backhand))},
        },
        "by_zone": {
            "forecourt": {"balls": int(balls.forecourt.sum()), **tallies(balls.at(balls.forecourt))},
            "backcourt": {"balls": int((~balls.forecourt).sum()), **tallies(balls.at(~balls.forecourt))},
        },
        "smoothness_rad_s2": court.smoothness,
        "torque_nm": court.torque,
        "worst_episodes": court.worst_episodes(balls),
        "style": court.style.report(),
        "safety": {**court.monitor.report(), "self_collision": court.self_collision.report()},
        "solid": config.solid,
        "shield": None if court.shield is None else dict(court.interventions),
        "recovered": {kind: int(count.sum()) for kind, count in court.task.recovered.items()},
        "wall_s": round(time.perf_counter() - begin, 3),
    }
    worst = [row["episode"] for row in report["worst_episodes"]]
    return Evaluation(
        report, balls, court.recording(range(config.record)), court.recording(worst, config.worst)
    )


def tallies(balls: Balls) -> dict[str, Any]:
    """Outcomes and rates of some balls: `outcomes`, `in_court`, `success`, `contact_rate`, `landing_error_m`.

    Rates are fractions of 1 with Wilson 95 % intervals; a figure that no ball supports is None.
    """
    total = len(balls)
    returned = balls.outcome == RETURNED
    error = balls.error[returned]
    return {
        "outcomes": {OUTCOMES[outcome]: int((balls.outcome == outcome).sum()) for outcome in JUDGED},
        "in_court": rate(int(returned.sum()), total),
        "success": rate(int(balls.success.sum()), total),
        "contact_rate": float(balls.contact.mean()) if total else None,
        "landing_error_m": float(error.mean()) if len(error) else None,
    }


QUOTED = (
    "condition", "seed", "balls", "in_court", "success", "contact_rate", "landing_error_m", "falls_per_100",
    "rally_length",
)  # fmt: skip


def quoted(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of some reports that a bundle's manifest quotes under `metrics`, by level."""
    return {report["level"]: {key: report[key] for key in QUOTED} for report in reports}


def rally_length(balls: Balls) -> dict[str, float]:
    """Balls returned in a row: mean and maximum.

    A rally ends with a ball that is not returned (it may have length 0) or with the episode.
    """
    lengths: list[int] = []
    for episode in np.unique(balls.episode):
        run = 0
        for outcome in balls.outcome[balls.episode == episode]:
            if outcome == RETURNED:
                run += 1
            else:
                lengths.append(run)
                run = 0
        if run:
            lengths.append(run)
    return {"mean": float(np.mean(lengths)) if lengths else 0.0, "max": max(lengths, default=0)}


def rate(count: int, total: int) -> dict[str, float | None]:
    """A proportion with its Wilson 95 % interval, fractions of 1."""
    low, high = wilson(count, total)
    return {"rate": count / total if total else None, "low": low, "high": high}


class _Court:
    """The robots that are judged, and what is collected about them."""

    def __init__(self, policy: Policy, config: EvaluationConfig) -> None:
        self.policy, self.config = policy, config
        protocol = ReturnConfig(level=config.level, world=config.condition)
        self.protocol = protocol
        self.per_episode = protocol.balls_per_episode
        episodes = math.ceil(config.balls / self.per_episode)
        self.rounds = math.ceil(episodes / config.envs)
        self.n = n = math.ceil(episodes / self.rounds)
        threads = config.threads or os.cpu_count() or 1
        self.task = ReturnTask(
            n,
            protocol,
            config.seed,
            engine=CpuEngine(n, robot_model(policy, protocol, config.solid), threads),
            pool=min(2048, self.rounds * n * self.per_episode),
        )
        self.monitor = SafetyMonitor(n)
        self.self_collision = SelfCollisionMonitor()
        self.style = StyleMeter(n)
        self.shield = (
            Shield(policy.kp, policy.kd, num_robots=n, dt=protocol.control_dt) if config.shield else None
        )
        self.interventions: Counter[str] = Counter()
        self.falls = 0
        self._records: list[tuple[int, BallRecord]] = []
        self._films: dict[int, Film] = {}
        self._fell: Counter[int] = Counter()
        """Falls by episode."""
        self._jerks = self._torques = 0.0
        self._jerk_count = self._torque_count = 0

    @property
    def smoothness(self) -> float | None:
        """Mean |joint acceleration|, from the change of joint velocities over control steps, rad/s²."""
        return self._jerks / self._jerk_count if self._jerk_count else None

    @property
    def torque(self) -> float | None:
        """Mean |torque| of all joints at the end of control steps, N m."""
        return self._torques / self._torque_count if self._torque_count else None

    def play(self, number: int, progress: Callable[[int], object] | None) -> None:
        """One round: an episode in every environment."""
        task, policy, n, dt = self.task, self.policy, self.n, self.protocol.control_dt
        everyone = torch.arange(n)
        task.reset(everyone)
        task.record = BallRecord()
        if self.shield is not None:
            self.shield.reset()
        self.style.restart(np.ones(n, dtype=bool))
        memory = policy.initial_memory(n)
        first = number * n  # number of the first episode
        episode = first + np.arange(n)
        films = [
            Film(task, env) for env in range(n) if self.config.worst or episode[env] < self.config.record
        ]
        steps = round((self.per_episode * self.protocol.ball_interval + LINGER) / dt)
        wanted = min(self.config.balls - first * self.per_episode, n * self.per_episode)
        read = decided = 0
        for step in range(steps):
            terms = {name: value.numpy() for name, value in task.observed().items()}
            observation = policy.assemble(terms)
            targets, memory = policy.act(observation, memory)
            if not np.isfinite(targets).all():
                row = int(np.argwhere(~np.isfinite(targets))[0, 0])
                raise EvaluationError(
                    f"policy {policy.name!r}: its action is not finite in episode {episode[row]} at "
                    f"{step * dt:.2f} s; train or export it again"
                )
            pos = task.engine.qpos[:, 7:].numpy().copy()
            vel = task.engine.qvel[:, 6:].numpy().copy()
            latest = np.maximum(task.launched.numpy() - 1, 0)
            active = ~task.finished.numpy() & (episode * self.per_episode + latest < self.config.balls)
            self.monitor.update(pos, vel, pd_torque(targets, pos, vel, policy.kp, policy.kd), active)
            self.self_collision.update(pos[active])
            targets = self._safe(targets, terms, active)
            met = task.contact.clone()
            task.step(torch.from_numpy(np.asarray(targets, dtype=np.float64)))
            fallen = task.fallen.numpy()
            judged = episode * self.per_episode + np.maximum(task.launched.numpy() - 1, 0) < self.config.balls
            fell = fallen & judged & ~task.finished.numpy()
            self.falls += int(fell.sum())
            self._fell.update(episode[fell].tolist())
            # What a fall flings about counts until the fall; the monitor counts numbers that are not finite.
            torque = np.abs(task.engine.torque.numpy())[active & ~fallen]
            change = np.abs(task.engine.qvel[:, 6:].numpy() - vel)[active & ~fallen] / dt
            self._torques += float(torque.sum())
            self._torque_count += torque.size
            self._jerks += float(change.sum())
            self._jerk_count += change.size
            struck = (task.contact & ~met).any(dim=0).numpy() & active
            self.style.update(task.engine.qpos[:, 7:].numpy(), task.engine.qpos[:, 3:7].numpy(), struck)
            for film in films:
                film.add()
            if fallen.any():
                task.place(torch.from_numpy(np.flatnonzero(fallen)))
                self.style.restart(fallen)
                memory = np.where(fallen[:, None], np.float32(0.0), memory)
                if self.shield is not None:
                    self.shield.reset(robots=fallen)
            record = task.record
            new = sum(
                (first + record.env[i]) * self.per_episode + record.ball[i] < self.config.balls
                for i in range(read, len(record))
            )
            read, decided = len(record), decided + new
            if progress is not None and new:
                progress(new)
            if bool(task.finished.all()) or (decided == wanted and wanted < n * self.per_episode):
                break
        task.settle()
        self._records.append((number, task.record))
        self._films |= {int(episode[film.env]): film for film in films}
        if self.config.worst:
            # Only those that are among the worst so far.
            keep = {row["episode"] for row in self.worst_episodes(self.judged())}
            self._films = {e: film for e, film in self._films.items() if e in keep or e < self.config.record}

    def _safe(self, targets: np.ndarray, terms: Mapping[str, np.ndarray], active: np.ndarray) -> np.ndarray:
        """What the shield, if there is one, makes of targets (N, 29), rad, from what is measured."""
        if self.shield is None:
            return targets
        shielded = self.shield.filter(targets, terms["joint_pos"], terms["joint_vel"])
        for kind, changed in shielded.changed.items():
            self.interventions[kind] += int(changed[active].sum())
        return shielded.target

    def judged(self) -> Balls:
        """The first `balls` balls in the order of episode and ball."""
        columns: dict[str, list] = {}
        for number, record in self._records:
            columns.setdefault("episode", []).append(number * self.n + np.array(record.env, dtype=np.int64))
            for name in ("ball", "outcome", "contact", "backhand", "forecourt", "speed_in", "speed_out"):
                columns.setdefault(name, []).append(np.array(getattr(record, name)))
            for name in ("landing", "target"):
                columns.setdefault(name, []).append(np.array(getattr(record, name)).reshape(-1, 2))
        balls = Balls(**{name: np.concatenate(parts) for name, parts in columns.items()})
        balls = balls.at(np.lexsort((balls.ball, balls.episode)))
        return balls.at(balls.episode * self.per_episode + balls.ball < self.config.balls)

    def worst_episodes(self, balls: Balls) -> list[dict[str, Any]]:
        """The worst `WORST_SHARE` of all episodes, at least one, worst first, JSON-able: most falls, then fewest
        returns, then the first."""
        rows = []
        for episode in np.unique(balls.episode):
            own = balls.outcome[balls.episode == episode]
            kinds = {OUTCOMES[kind]: int((own == kind).sum()) for kind in JUDGED}
            rows.append({"episode": int(episode), "falls": self._fell[int(episode)], "outcomes": kinds})
        rows.sort(key=lambda row: (-row["falls"], row["outcomes"]["returned"], row["episode"]))
        return rows[: math.ceil(WORST_SHARE * math.ceil(self.config.balls / self.per_episode))]

    def recording(self, episodes: Iterable[int], wanted: bool = True) -> Recording | None:
        """Recorded episodes one after the other, or None."""
        numbers = [number for number in episodes if number in self._films] if wanted else []
        if not numbers:
            return None
        title = f"{self.policy.name}, {self.config.level}"
        if self.config.condition != "nominal":
            title += f", {self.config.condition}"
        films = [self._films[number] for number in numbers]
        return Film.one_after_the_other(films, title, self.config.seed)


class Film:
    """One environment's frames, kept until they are put in order."""

    @staticmethod
    def one_after_the_other(films: Sequence[Film], title: str, seed: int) -> Recording:
        """A recording of some films of the same task, one at least."""
        recorder = Recorder(1.0 / films[0].task.config.control_dt, title, seed)
        tally = {"balls": 0, "returned": 0, "success": 0}
        for film in films:
            film.replay(recorder, tally)
        return recorder.finish()

    HOLD = 15
    """Control steps for which a ball stays in the picture after its outcome."""

    def __init__(self, task: ReturnTask, env: int) -> None:
        self.task, self.env = task, env
        self._frames: list[tuple] = []
        self._read = 0
        self._shown: int | None = None
        self._left = 0

    def add(self) -> None:
        """The present state, and the outcomes decided since the last call."""
        task, env = self.task, self.env
        struck = (task.outcome[:, env] == PENDING) & task.contact[:, env]
        if bool(struck.any()):
            numbers = torch.where(struck, task.ball_number[:, env], -1)
            self._shown, self._left = int(numbers.argmax()), self.HOLD
        elif self._left > 0 and self._shown is not None and bool(task.contact[self._shown, env]):
            self._left -= 1
        else:
            self._shown = int(task.slot[env]) if bool(task.valid[env]) else None
        ball = target = None
        if self._shown is not None:
            ball = task.balls.state.pos[self._shown * task.num_envs + env].numpy().copy()
            target = task.target[self._shown, env].numpy().copy()
        record, outcomes = task.record, []
        for row in range(self._read, len(record)):
            if record.env[row] == env:
                outcomes.append((record.outcome[row], math.dist(record.landing[row], record.target[row])))
        self._read = len(record)
        qpos = task.engine.qpos[env].numpy().copy()
        if not np.isfinite(qpos).all():
            qpos = task.ready_qpos.numpy().copy()
        self._frames.append((qpos, ball, target, outcomes))

    def replay(self, recorder: Recorder, tally: dict[str, int]) -> None:
        """Append everything to a recorder and go on with its tally."""
        for qpos, ball, target, outcomes in self._frames:
            texts = []
            for outcome, error in outcomes:
                success = error <= SUCCESS_RADIUS
                tally["balls"] += 1
                tally["returned"] += outcome == RETURNED
                tally["success"] += success
                text = OUTCOMES[outcome]
                texts.append(f"{text}, {error:.1f} m off target" if outcome == RETURNED else text)
            recorder.add(qpos, ball, target, **tally)
            for text in texts:
                recorder.caption(text)


def robot_model(policy: Policy, protocol: ReturnConfig, solid: bool = True) -> mujoco.MjModel:
    """The robot that a policy plays with: its gains in the servos, the protocol's physics step and soles; its parts
    collide if `solid`."""
    model = build_model(timestep=protocol.timestep, friction=protocol.friction, self_collision=solid)
    model.actuator_gainprm[:, 0] = policy.kp
    model.actuator_biasprm[:, 1] = -policy.kp
    model.actuator_biasprm[:, 2] = -policy.kd
    return model


COLUMNS = (
    "episode", "ball", "outcome", "contact", "success", "stroke", "zone",
    "landing_x_m", "landing_y_m", "target_x_m", "target_y_m", "speed_in_m_s", "speed_out_m_s",
)  # fmt: skip


def write_balls(path: str | os.PathLike, balls: Balls) -> None:
    """Write every judged ball as a line of a CSV file, whole or not at all; empty where there is no value."""

    def number(value: float) -> str:
        return f"{value:.4f}" if math.isfinite(value) else ""

    with atomic_write(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for i in range(len(balls)):
            writer.writerow(
                [
                    balls.episode[i],
                    balls.ball[i],
                    OUTCOMES[balls.outcome[i]],
                    int(balls.contact[i]),
                    int(balls.success[i]),
                    "backhand" if balls.backhand[i] else "forehand",
                    "forecourt" if balls.forecourt[i] else "backcourt",
                    *(number(value) for value in (*balls.landing[i], *balls.target[i])),
                    number(balls.speed_in[i]),
                    number(balls.speed_out[i]),
                ]
            )


def read_evaluation(folder: str | os.PathLike) -> Evaluation:
    """Read report.json and balls.csv of a folder; without the recording.

    Raises:
        EvaluationError: one of them is missing or damaged; names it.
    """
    folder = Path(folder)
    report = read_json(
        folder / "report.json", "rally-eval task=return", lambda r: (r["balls"], r["outcomes"])
    )
    try:
        with open(folder / "balls.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if len(rows) != report["balls"]:
            raise ValueError(f"{len(rows)} balls for {report['balls']}")

        def numbers(*names: str) -> np.ndarray:
            return np.array([[float(row[name] or "nan") for name in names] for row in rows]).reshape(
                -1, len(names)
            )

        balls = Balls(
            episode=numbers("episode")[:, 0].astype(np.int64),
            ball=numbers("ball")[:, 0].astype(np.int64),
            outcome=np.array([OUTCOMES.index(row["outcome"]) for row in rows], dtype=np.int64),
            contact=numbers("contact")[:, 0] > 0.5,
            backhand=np.array([row["stroke"] == "backhand" for row in rows], dtype=bool),
            forecourt=np.array([row["zone"] == "forecourt" for row in rows], dtype=bool),
            landing=numbers("landing_x_m", "landing_y_m"),
            target=numbers("target_x_m", "target_y_m"),
            speed_in=numbers("speed_in_m_s")[:, 0],
            speed_out=numbers("speed_out_m_s")[:, 0],
        )
    except OSError as error:
        raise EvaluationError(f"{error.filename or folder}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f"{folder}: not what rally-eval task=return writes ({error})") from None
    return Evaluation(report, balls, None)


def write_evaluation(folder: str | os.PathLike, evaluation: Evaluation) -> None:
    """Write balls.csv, recording.npz and worst.npz (where there are any) and, when these are complete, report.json.

    Raises:
        EvaluationError: a file cannot be written, e.g. on a full disk; the message names it. No file is left
            half written.
    """
    folder = Path(folder)
    for name, recording in (("recording.npz", evaluation.recording), ("worst.npz", evaluation.worst)):
        if recording is not None:
            written(folder / name, recording.save)
    written(folder / "balls.csv", lambda path: write_balls(path, evaluation.balls))
    written(folder / "report.json", lambda path: write_json(path, evaluation.report))


def read_json(
    path: str | os.PathLike, command: str, check: Callable[[dict[str, Any]], object]
) -> dict[str, Any]:
    """Read a report that a command wrote.

    Args:
        path: of the file. command: that writes such files, for messages.
        check: raises ValueError, KeyError or TypeError if it is none.

    Raises:
        EvaluationError: missing, or not such a report; names the file.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        check(content)
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f"{path}: not a report of {command} ({error})") from None
    return content


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write plain finite JSON, whole or not at all."""
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    with atomic_write(path, "w") as file:
        file.write(text + "\n")


def written(path: Path, write: Callable[[Path], object]) -> Path:
    """Write a file; an error of the disk becomes an `EvaluationError` that names the file."""
    try:
        write(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise EvaluationError(
            f"{path}: not written ({reason}); free or choose another place and run again"
        ) from None
    return path
