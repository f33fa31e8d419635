"""Fault injection: does the watch find out in time when something breaks, and does it cry wolf?

Robots play in simulation with a policy, the shield and the watch in the loop, as on the robot. In each trial one thing
breaks at a random time. The watch should stop the robot before it comes to harm: a joint far beyond its range, a motor
faster than it can turn, a fall. A stopped robot is damped. Beside that, robots play with nothing broken, and every
stop of theirs is a false alarm.

Faults act where they would on the robot: what a broken encoder reads goes to the policy, the shield, the watch and the
motor's own loop; a dead motor gives no torque and says so; a broken camera moves the ball for the policy and the watch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np
import torch

from humanoid.joints import LOWER, NUM_JOINTS, UPPER, VELOCITY_LIMIT
from humanoid.safety import Shield
from humanoid.watch import Level, Senses, Statistics, Watch
from policies.evaluation import Policy, rate, robot_model
from sim.engine import CpuEngine
from sim.observation_noise import turn as turned
from sim.return_task import ReturnConfig, ReturnTask

BEYOND = 0.25
"""A joint so far beyond its range is harm, rad: the simulated stops are soft and give way by half as much when a ball
hits the frame of the racket."""


@dataclass
class Trial:
    """What a fault may draw on and change at one control step of one robot.

    Attributes:
        rng: random numbers of its own. since: control steps since the onset, from 0. dt: control period, s.
        senses: what is measured, by name, each (size,): changed in place. `age` and `time` are among them.
        true: the same as it is in truth; not to be changed.
        ago: what was measured so many steps before, by name.
        memory: of the fault, from one step to the next.
    """

    rng: np.random.Generator
    since: int
    dt: float
    senses: dict[str, np.ndarray]
    true: dict[str, np.ndarray]
    ago: Callable[[int], dict[str, np.ndarray]]
    memory: dict[str, Any] = field(default_factory=dict)


Change = Callable[[Trial], None]


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: of it. text: one line for people.
        senses: changes what is measured; None: nothing. motor: the motors' own loops measure the same.
        asked: changes what the policy asks for, (29,) in `senses["asked"]`; None: nothing.
        command: changes what the motors get, (29,) in `senses["command"]`; None: nothing.
        plant: model parameters by name from the nominal ones, at the onset; None: nothing.
        push: velocity that the pelvis gains at the onset, m/s.
    """

    name: str
    text: str
    senses: Change | None = None
    motor: bool = False
    asked: Change | None = None
    command: Change | None = None
    plant: Callable[[np.random.Generator, Callable[[str], np.ndarray]], dict[str, np.ndarray]] | None = None
    push: float = 0.0


def _once(trial: Trial, key: str, draw: Callable[[], Any]) -> Any:
    if key not in trial.memory:
        trial.memory[key] = draw()
    return trial.memory[key]


def _joint(trial: Trial) -> int:
    return _once(trial, "joint", lambda: int(trial.rng.integers(NUM_JOINTS)))


def _sign(rng: np.random.Generator) -> float:
    return float(rng.choice((-1.0, 1.0)))


def _stuck(trial: Trial) -> None:
    joint = _joint(trial)
    for name in ("joint_pos", "joint_vel"):
        trial.senses[name][joint] = _once(trial, name, lambda name=name: trial.senses[name][joint])


def _biased(trial: Trial) -> None:
    bias = _once(trial, "bias", lambda: _sign(trial.rng) * trial.rng.uniform(0.2, 0.6))
    trial.senses["joint_pos"][_joint(trial)] += bias


def _drifting(trial: Trial) -> None:
    rate = _once(trial, "rate", lambda: _sign(trial.rng) * trial.rng.uniform(0.3, 1.0))
    trial.senses["joint_pos"][_joint(trial)] += rate * trial.dt * trial.since


def _swapped(trial: Trial) -> None:
    pair = _once(trial, "pair", lambda: trial.rng.choice(NUM_JOINTS, 2, replace=False))
    for name in ("joint_pos", "joint_vel"):
        trial.senses[name][pair] = trial.senses[name][pair[::-1]]


def _noisy(trial: Trial) -> None:
    trial.senses["joint_pos"][_joint(trial)] += 0.15 * trial.rng.normal()


def _slow_tacho(trial: Trial) -> None:
    trial.senses["joint_vel"][:] = 0.0


def _imu_drift(trial: Trial) -> None:
    axis = _once(trial, "axis", lambda: trial.rng.normal(size=3))
    rate = _once(trial, "rate", lambda: trial.rng.uniform(0.1, 0.4))
    _turn(trial, axis / np.linalg.norm(axis) * rate * trial.dt * trial.since)


def _imu_tilted(trial: Trial) -> None:
    axis = _once(trial, "axis", lambda: trial.rng.normal(size=2))
    _turn(trial, np.append(axis / np.linalg.norm(axis) * 0.35, 0.0))


def _turn(trial: Trial, turn: np.ndarray) -> None:
    quat, by = (torch.from_numpy(value)[None] for value in (trial.senses["root_quat"], turn))
    trial.senses["root_quat"][:] = turned(quat, by)[0].numpy()


def _frozen(*names: str) -> Change:
    def change(trial: Trial) -> None:
        for name in names:
            trial.senses[name][:] = _once(trial, name, lambda name=name: trial.senses[name].copy())

    return change


def _gyro_dead(trial: Trial) -> None:
    trial.senses["base_ang_vel"][:] = 0.0


def _base_drift(trial: Trial) -> None:
    way = _once(trial, "way", lambda: trial.rng.normal(size=2))
    trial.senses["root_pos"][:2] += 0.4 * trial.dt * trial.since * way / np.linalg.norm(way)


def _base_jump(trial: Trial) -> None:
    way = _once(trial, "way", lambda: trial.rng.normal(size=3))
    trial.senses["root_pos"] += 0.5 * way / np.linalg.norm(way)


def _not_a_number(*names: str) -> Change:
    def change(trial: Trial) -> None:
        name = _once(trial, "name", lambda: str(trial.rng.choice(names)))
        row = _once(trial, "row", lambda: int(trial.rng.integers(len(trial.senses[name]))))
        bad = _once(trial, "bad", lambda: float(trial.rng.choice((np.nan, np.inf, -np.inf, 1e30))))
        trial.senses[name][row] = bad

    return change


def _late(trial: Trial) -> None:
    steps = _once(trial, "steps", lambda: int(trial.rng.integers(4, 10)))
    for name, value in trial.ago(steps).items():
        trial.senses[name][:] = value
    trial.senses["age"] += steps * trial.dt


def _dropped(trial: Trial) -> None:
    for name in trial.senses:
        if name != "age":
            trial.senses[name][:] = _once(trial, name, lambda name=name: trial.senses[name].copy())
    trial.senses["age"] += trial.since * trial.dt


def _repeated(trial: Trial) -> None:
    """As `_dropped`, but whoever repeats the packets dates them anew."""
    for name in trial.senses:
        if name not in ("age", "time"):
            trial.senses[name][:] = _once(trial, name, lambda name=name: trial.senses[name].copy())


def _clock(trial: Trial) -> None:
    trial.senses["time"] += _once(trial, "jump", lambda: _sign(trial.rng) * trial.rng.uniform(0.05, 5.0))


def _lost_commands(trial: Trial) -> None:
    trial.senses["command"][:] = _once(trial, "command", lambda: trial.senses["command"].copy())


def _wild(trial: Trial) -> None:
    trial.senses["asked"][:] = trial.rng.uniform(LOWER, UPPER)


def _asks_nothing(trial: Trial) -> None:
    trial.senses["asked"][:] = np.nan


def _same_action(trial: Trial) -> None:
    trial.senses["asked"][:] = _once(trial, "asked", lambda: trial.senses["asked"].copy())


def _shuffled(trial: Trial) -> None:
    order = _once(trial, "order", lambda: trial.rng.permutation(NUM_JOINTS))
    trial.senses["asked"][:] = trial.senses["asked"][order]


def _ball_jumps(trial: Trial) -> None:
    if trial.since % 10 == 0:
        trial.memory["off"] = 2.0 * trial.rng.normal(size=3)
    trial.senses["ball_pos"] += trial.memory["off"]


def _ball_shifted(trial: Trial) -> None:
    trial.senses["ball_pos"] += _once(trial, "off", lambda: trial.rng.normal(size=3))


def _ball_slow(trial: Trial) -> None:
    trial.senses["ball_vel"] *= 0.3


def _gains(rng: np.random.Generator, of: Callable[[str], np.ndarray]) -> dict[str, np.ndarray]:
    factor = float(rng.choice((0.25, 0.4, 2.0, 3.0)))
    return {"kp": of("kp") * factor}


def _dead_motor(rng: np.random.Generator, of: Callable[[str], np.ndarray]) -> dict[str, np.ndarray]:
    kp, kd = of("kp"), of("kd")
    joint = int(rng.integers(NUM_JOINTS))
    kp[joint] = kd[joint] = 0.0
    return {"kp": kp, "kd": kd}


def _undamped(rng: np.random.Generator, of: Callable[[str], np.ndarray]) -> dict[str, np.ndarray]:
    return {"kd": 0.1 * of("kd")}


def _weak(rng: np.random.Generator, of: Callable[[str], np.ndarray]) -> dict[str, np.ndarray]:
    return {"effort": 0.25 * of("effort")}


def _ice(rng: np.random.Generator, of: Callable[[str], np.ndarray]) -> dict[str, np.ndarray]:
    friction = of("geom_friction")
    friction[:, 0] = 0.08
    return {"geom_friction": friction}


def _no_racket(rng: np.random.Generator, of: Callable[[str], np.ndarray]) -> dict[str, np.ndarray]:
    mass, inertia = of("body_mass"), of("body_inertia")
    # The racket is the last body.
    mass[-1] *= 0.02
    inertia[-1] *= 0.02
    return {"body_mass": mass, "body_inertia": inertia}


FAULTS: tuple[Fault, ...] = (
    Fault("encoder_stuck", "one encoder repeats its last reading", senses=_stuck, motor=True),
    Fault("encoder_biased", "one encoder reads 0.2–0.6 rad too much or too little", senses=_biased, motor=True),
    Fault("encoder_drifts", "one encoder drifts by 0.3–1 rad/s", senses=_drifting, motor=True),
    Fault("encoders_swapped", "two encoders are swapped", senses=_swapped, motor=True),
    Fault("encoder_noisy", "one encoder is noisy, σ = 0.15 rad", senses=_noisy, motor=True),
    Fault("velocities_zero", "all joint velocities read zero", senses=_slow_tacho, motor=True),
    Fault("imu_drifts", "attitude drifts by 0.1–0.4 rad/s", senses=_imu_drift),
    Fault("imu_frozen", "attitude and gyro repeat their last reading", senses=_frozen("root_quat", "base_ang_vel")),
    Fault("imu_tilted", "attitude is off by 20°", senses=_imu_tilted),
    Fault("gyro_dead", "the gyro reads zero", senses=_gyro_dead),
    Fault("base_drifts", "measured pelvis drifts by 0.4 m/s", senses=_base_drift),
    Fault("base_frozen", "measured pelvis repeats", senses=_frozen("root_pos", "root_lin_vel")),
    Fault("base_jumps", "measured pelvis jumps by 0.5 m", senses=_base_jump),
    Fault("not_a_number", "a joint, gyro or pelvis value is NaN, infinite or 1e30",
          senses=_not_a_number("joint_pos", "joint_vel", "base_ang_vel", "root_quat", "root_pos", "root_lin_vel")),
    Fault("ball_not_a_number", "a ball value is NaN, infinite or 1e30", senses=_not_a_number("ball_pos", "ball_vel")),
    Fault("states_late", "states are 80–180 ms old", senses=_late),
    Fault("states_dropped", "no states any more", senses=_dropped),
    Fault("states_repeated", "the same state again and again, dated anew", senses=_repeated),
    Fault("clock_jumps", "the robot's clock jumps", senses=_clock),
    Fault("commands_lost", "motors keep their last target", command=_lost_commands),
    Fault("wrong_gains", "position gains are a quarter to three times what they should be", plant=_gains),
    Fault("wrong_damping", "velocity gains are a tenth of what they should be", plant=_undamped),
    Fault("motor_dead", "one motor gives no torque", plant=_dead_motor),
    Fault("motors_weak", "all motors have a quarter of their torque", plant=_weak),
    Fault("racket_lost", "the racket is gone", plant=_no_racket),
    Fault("slippery", "friction of the floor is 0.08", plant=_ice),
    Fault("pushed", "the pelvis is pushed by 1.2 m/s", push=1.2),
    Fault("policy_nan", "the policy asks for NaN", asked=_asks_nothing),
    Fault("policy_wild", "the policy asks for random targets", asked=_wild),
    Fault("policy_repeats", "the policy asks for the same again and again", asked=_same_action),
    Fault("joints_shuffled", "the policy's targets go to the wrong joints", asked=_shuffled),
    Fault("ball_frozen", "the ball stands still", senses=_frozen("ball_pos", "ball_vel")),
    Fault("ball_jumps", "the ball jumps by metres every 0.2 s", senses=_ball_jumps),
    Fault("ball_shifted", "the ball is a metre off", senses=_ball_shifted),
    Fault("ball_slow", "the ball's velocity is a third of the true one", senses=_ball_slow),
)  # fmt: skip
"""All kinds, in the order of the report; a tampered bundle is no fault in play: it is refused when loaded."""


OLDEST = 12
"""Steps for which measurements are kept."""


@dataclass(frozen=True)
class FaultConfig:
    """How faults are tried.

    Attributes:
        level, condition: of play, see `policies.evaluation.EvaluationConfig`.
        trials: of each kind. clean_minutes: robot time without a fault.
        seed: of everything random. envs: robots at once. threads: of the physics, 0 for all cores.
        before: range of the time before a fault, s. after: time that the watch has for it, s.
    """

    level: str = "feed"
    condition: str = "nominal"
    trials: int = 500
    clean_minutes: float = 60.0
    seed: int = 0
    envs: int = 128
    threads: int = 0
    before: tuple[float, float] = (0.6, 4.6)
    after: float = 3.0


@dataclass
class _Slot:
    """What one robot is busy with."""

    fault: Fault | None
    number: int
    onset: int
    rng: np.random.Generator
    memory: dict[str, Any]
    step: int = 0
    stopped: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        fault: name, "" where nothing was broken.
        stopped_after: control steps from the onset (of clean play: from the start) to the stop; None: not stopped.
        harm: what came first, "" if nothing did: "fall", "range", "speed".
        checks: those that stopped it.
        steps: control steps from the start to the end.
    """

    fault: str
    stopped_after: int | None
    harm: str
    checks: tuple[str, ...]
    steps: int


class FaultBench:
    """Tries faults on a policy.

    Args:
        policy: the player.
        config: see `FaultConfig`.
        statistics: of its clean play; None: novelty is not watched.
    """

    def __init__(self, policy: Policy, config: FaultConfig, statistics: Statistics | None = None) -> None:
        self.policy, self.config = policy, config
        protocol = ReturnConfig(level=config.level, world=config.condition, balls_per_episode=1 << 20)
        n, self.dt = config.envs, protocol.control_dt
        self.engine = CpuEngine(n, robot_model(policy, protocol), config.threads)
        self.task = ReturnTask(n, protocol, config.seed, engine=self.engine, pool=max(512, n), recycle=16)
        self.watch = Watch(n, kp=policy.kp, kd=policy.kd, dt=self.dt, statistics=statistics)
        self.shield = Shield(policy.kp, policy.kd, num_robots=n, dt=self.dt)
        self.memory = policy.initial_memory(n)
        self.command = np.zeros((n, NUM_JOINTS))
        self.clock = np.zeros((n, 1))
        self._names = ("kp", "kd", "effort", "body_mass", "body_inertia", "geom_friction")
        self._own = {name: self.engine.params(name).clone() for name in self._names}
        self._past: list[dict[str, np.ndarray]] = []
        self.seen: list[np.ndarray] | None = None
        """Features of every step, if they shall be kept."""

    @torch.no_grad()
    def run(
        self, faults: tuple[Fault | None, ...], trials: int, progress: Callable[[int], object] | None = None
    ) -> list[Outcome]:
        """So many trials of each fault; None is clean play of `before` and `after` together."""
        config, n = self.config, self.config.envs
        queue = [(fault, number) for number in range(trials) for fault in faults]
        queue.reverse()
        slots: list[_Slot | None] = [self._next(queue) for _ in range(n)]
        self._begin(np.ones(n, dtype=bool))
        done: list[Outcome] = []
        last = round(config.after / self.dt)
        while any(slot is not None for slot in slots):
            true, senses = self._measure()
            for i, slot in enumerate(slots):
                if slot is not None and slot.fault is not None and slot.step == slot.onset:
                    self._break(i, slot)
            self._disturb(slots, true, senses, "senses")
            observation = self.policy.assemble({k: v for k, v in senses.items() if k in self._observed})
            asked, self.memory = self.policy.act(observation, self.memory)
            senses["asked"] = np.array(asked, dtype=np.float64)
            self._disturb(slots, true, senses, "asked")
            stopped = self.watch.update(self._as_senses(senses))
            if self.seen is not None:
                self.seen.append(self.watch.features[~stopped].copy())
            shielded = self.shield.filter(senses["asked"], senses["joint_pos"], senses["joint_vel"])
            self.watch.limited(shielded.robots)
            self.command = shielded.target
            senses["command"] = self.command.copy()
            self._disturb(slots, true, senses, "command")
            self.task.step(torch.from_numpy(self._motors(slots, true, senses)))
            harm = self._harm()
            again = np.zeros(n, dtype=bool)
            for i, slot in enumerate(slots):
                if slot is None:
                    continue
                outcome = self._judge(i, slot, bool(stopped[i]), harm[i], last)
                slot.step += 1
                if outcome is None:
                    continue
                again[i] = True
                self._mend(i, slot)
                if (outcome.stopped_after is not None and outcome.stopped_after < 0) or (
                    slot.fault is not None and outcome.stopped_after is None and slot.step <= slot.onset
                ):
                    # It ended before anything was broken: not a trial. Clean play is where that is counted.
                    slots[i] = self._slot(slot.fault, slot.number, slot.rng)
                    continue
                done.append(outcome)
                if progress is not None:
                    progress(1)
                slots[i] = self._next(queue)
            if again.any():
                self._begin(again)
        return done

    def _judge(self, i: int, slot: _Slot, stopped: bool, harm: str, last: int) -> Outcome | None:
        since = slot.step - slot.onset
        if slot.fault is None:
            # A stop is rightful if a fall follows; so clean play goes on.
            if stopped and slot.stopped is None:
                slot.stopped = slot.step
            if harm == "fall" or since >= last:
                checks = self._stopping(i)
                return Outcome("", slot.stopped, harm, checks, slot.step + 1)
            return None
        if stopped:
            return Outcome(slot.fault.name, since, "", self._stopping(i), slot.step + 1)
        if harm or since >= last:
            return Outcome(slot.fault.name, None, harm, (), slot.step + 1)
        return None

    def _stopping(self, i: int) -> tuple[str, ...]:
        causes = [cause for cause in self.watch.causes(i) if cause.level == Level.STOP]
        return tuple(cause.check for cause in causes if cause.step == causes[0].step)

    def _next(self, queue: list[tuple[Fault | None, int]]) -> _Slot | None:
        if not queue:
            return None
        fault, number = queue.pop()
        kind = 0 if fault is None else crc32(fault.name.encode())
        return self._slot(fault, number, np.random.default_rng((self.config.seed, kind, number)))

    def _slot(self, fault: Fault | None, number: int, rng: np.random.Generator) -> _Slot:
        return _Slot(fault, number, round(rng.uniform(*self.config.before) / self.dt), rng, {})

    def _begin(self, some: np.ndarray) -> None:
        self.task.reset(torch.from_numpy(np.flatnonzero(some)))
        self.watch.reset(some)
        self.shield.reset(robots=some)
        self.memory = np.where(some[:, None], np.float32(0.0), self.memory)
        self.command[some] = self.task.ready_qpos[7:].numpy()
        self.clock[some] = 0.0

    def _measure(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """What is true of the robots' joints, and what is measured."""
        engine = self.engine
        terms = {name: value.numpy().astype(np.float64) for name, value in self.task.observed().items()}
        self._observed = set(terms)
        senses = {**terms, "torque": engine.torque.numpy().copy(), "time": self.clock.copy()}
        senses["age"] = np.zeros((self.config.envs, 1))
        self.clock = self.clock + self.dt
        self._past = [*self._past[-OLDEST:], {name: value.copy() for name, value in senses.items()}]
        return {name: senses[name].copy() for name in ("joint_pos", "joint_vel")}, senses

    def _disturb(
        self, slots: list[_Slot | None], true: dict[str, np.ndarray], senses: dict[str, np.ndarray], what: str
    ) -> None:
        for i, slot in enumerate(slots):
            if slot is None or slot.fault is None or slot.step < slot.onset:
                continue
            change = getattr(slot.fault, what)
            if change is None:
                continue

            def ago(steps: int, i: int = i) -> dict[str, np.ndarray]:
                past = self._past[max(0, len(self._past) - 1 - steps)]
                return {name: value[i] for name, value in past.items()}

            row = {name: value[i] for name, value in senses.items()}
            own = {name: value[i] for name, value in true.items()}
            change(Trial(slot.rng, slot.step - slot.onset, self.dt, row, own, ago, slot.memory))

    def _as_senses(self, senses: dict[str, np.ndarray]) -> Senses:
        names = (
            "joint_pos", "joint_vel", "torque", "root_quat", "base_ang_vel", "root_pos", "root_lin_vel",
            "asked", "ball_pos", "ball_vel", "ball_valid",
        )  # fmt: skip
        return Senses(
            **{name: senses[name] for name in names},
            target=self.command,
            time=senses["time"][:, 0],
            age=senses["age"][:, 0],
        )

    def _motors(
        self, slots: list[_Slot | None], true: dict[str, np.ndarray], senses: dict[str, np.ndarray]
    ) -> np.ndarray:
        """Targets that make the simulated motors do what real ones would, whose encoders read something else."""
        out = senses["command"].copy()
        for i, slot in enumerate(slots):
            if slot is not None and slot.fault is not None and slot.fault.motor and slot.step >= slot.onset:
                out[i] += true["joint_pos"][i] - senses["joint_pos"][i]
                out[i] += self.policy.kd / self.policy.kp * (true["joint_vel"][i] - senses["joint_vel"][i])
        return out

    def _break(self, i: int, slot: _Slot) -> None:
        fault, ids = slot.fault, torch.tensor([i])
        assert fault is not None
        if fault.plant is not None:
            values = fault.plant(slot.rng, lambda name: self._own[name][i].numpy().copy())
            self.engine.set_params(ids, {k: torch.from_numpy(v)[None] for k, v in values.items()})
        if fault.push:
            angle = slot.rng.uniform(0, 2 * np.pi)
            self.engine.qvel[i, :2] += fault.push * torch.tensor([np.cos(angle), np.sin(angle)])

    def _mend(self, i: int, slot: _Slot) -> None:
        if slot.fault is not None and slot.fault.plant is not None and slot.step > slot.onset:
            values = {name: self._own[name][i][None] for name in self._names}
            self.engine.set_params(torch.tensor([i]), values)

    def _harm(self) -> list[str]:
        qpos, qvel = self.engine.qpos[:, 7:].numpy(), self.engine.qvel[:, 6:].numpy()
        far = np.maximum(LOWER - qpos, qpos - UPPER).max(axis=1) > BEYOND
        fast = (np.abs(qvel) / VELOCITY_LIMIT).max(axis=1) > 1.0
        fallen = self.task.fallen.numpy()
        return [
            "fall" if fell else "range" if beyond else "speed" if racing else ""
            for fell, beyond, racing in zip(fallen, far, fast, strict=True)
        ]


def clean_play(policy: Policy, minutes: float, seed: int = 0, envs: int = 64, threads: int = 0) -> Statistics:
    """Where a policy's clean play lies: so many robot minutes at feed, half of them `nominal`, half `real`, as far as
    the watch found nothing to stop."""
    seen: list[np.ndarray] = []
    for condition in ("nominal", "real"):
        config = FaultConfig(condition=condition, seed=seed, envs=envs, threads=threads)
        bench = FaultBench(policy, config)
        bench.seen = seen
        length = sum(config.before) / 2 + config.after
        bench.run((None,), max(1, round(30 * minutes / length)))
    return Statistics.of(np.concatenate(seen))


def summarise(outcomes: list[Outcome], dt: float) -> dict[str, Any]:
    """Figures of trials of one kind, JSON-able: see docs/safety.md."""
    total = len(outcomes)
    found = [o.stopped_after * dt * 1e3 for o in outcomes if o.stopped_after is not None]
    harmed = [o for o in outcomes if o.harm]
    checks = Counter(check for outcome in outcomes for check in outcome.checks)
    return {
        "trials": total,
        "detected": _share(len(found), total),
        "harmed_first": _share(len(harmed), total),
        "harms": dict(Counter(outcome.harm for outcome in harmed)),
        "delay_ms": {
            key: float(np.percentile(found, q)) for key, q in (("p50", 50), ("p90", 90), ("max", 100))
        } if found else None,
        "checks": dict(checks.most_common()),
    }  # fmt: skip


def _share(count: int, total: int) -> dict[str, float | int | None]:
    return {"count": count, **rate(count, total)}


def false_alarms(outcomes: list[Outcome], dt: float) -> dict[str, Any]:
    """Figures of clean play, JSON-able: hours watched, stops before a fall that followed (rightful), falls, falls
    without a stop before, and stops that no fall followed, as such and an hour, with the checks that made them."""
    hours = sum(o.steps for o in outcomes) * dt / 3600
    false = [o for o in outcomes if o.stopped_after is not None and o.harm != "fall"]
    fell = [o for o in outcomes if o.harm == "fall"]
    return {
        "hours": hours,
        "false_stops": len(false),
        "false_stops_per_hour": len(false) / hours if hours else None,
        "checks": dict(Counter(check for outcome in false for check in outcome.checks).most_common()),
        "falls": len(fell),
        "falls_stopped_before": sum(o.stopped_after is not None for o in fell),
    }
