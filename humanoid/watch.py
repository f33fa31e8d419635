"""The safety watch: is the robot, its sensors, its motors and the loop as they should be?

Every control step gives each check a value, larger is worse. `conf/watch/default.yaml` says from where on it is a
warning, from where on, held for how long, the robot is stopped, and why there. Together with the shield this makes
four levels:

- ok
- warn: something is unusual; noted
- limit: the shield changed the command; noted
- stop: the command is replaced by damping. Latched: only `reset` ends it

Batched over robots, plain numpy; one robot costs some tens of microseconds. What comes in may be anything: values that
are not finite stop the robot, and nothing raises but arrays of a wrong shape.

The checks:

=============== ================================================================================ ======
non_finite      values that are not finite                                                       count
age             time since the state was measured                                                s
clock           the robot's clock went another way than one control period                       s
position        joint beyond its range                                                           rad
speed           joint velocity, share of the motor's limit                                       1
torque          torque asked for before the motors clip it, share of their limit                 1
heat            root mean square of the torque over ten seconds, share of the limit              1
servo           measured torque off what the last two targets, gains and state make it, share    1
                of the limit
gains           how far the gains that the motors' torques of the last half second speak of are  1
                off, share of the right ones; near zero where a joint hardly moves
encoder         how far a joint's position has drifted from where its velocities can have led it  rad
                in half a second
joint_frozen    steps in which a joint repeats its reading to the bit while its target moves     steps
action          asked-for target jumps, share of what the motor can turn in a step               1
action_frozen   steps in which the asked-for targets repeat to the bit                           steps
tilt            pelvis from upright                                                              rad
gyro            the same of attitude and gyro                                                    rad
imu_frozen      steps in which attitude and gyro repeat to the bit                               steps
base            the same of the pelvis's position and velocity                                   m
base_frozen     steps in which position and velocity repeat to the bit                           steps
height          pelvis lower than in the ready pose                                              m
sole_tilt       the flatter sole's tilt from the ground                                          rad
sole_height     the lower sole's distance from the ground                                        m
slip            horizontal speed of the lower sole                                               m/s
capture         capture point outside the soles                                                  m
power           mechanical power of the motors, mean over half a second                          W
ball            how far the ball's position and velocity have drifted apart in half a second      m
ball_jumps      sudden changes of place of the ball in the last second                           count
ball_frozen     steps in which a ball in view repeats its place to the bit                       steps
novelty         how unlike clean play the robot's state, torques and accelerations are, mean     1
                standard deviations (Mahalanobis)
=============== ================================================================================ ======

`capture`: Pratt et al., Capture Point: A Step toward Humanoid Push Recovery, Humanoids 2006, with the pelvis for the
centre of mass.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from humanoid.joints import (
    EFFORT_LIMIT,
    JOINT_NAMES,
    KD,
    KP,
    LOWER,
    NUM_JOINTS,
    READY_JOINT_POS,
    UPPER,
    VELOCITY_LIMIT,
)
from humanoid.legs import SOLE_CORNERS, feet

CHECKS = (
    "position", "speed", "torque", "servo", "encoder", "action", "gains",
    "non_finite", "age", "clock", "heat", "joint_frozen", "action_frozen", "tilt", "gyro", "imu_frozen", "base",
    "base_frozen", "height", "sole_tilt", "sole_height", "slip", "capture", "power", "ball", "ball_jumps",
    "ball_frozen", "novelty",
)  # fmt: skip
"""Names of the checks; the first seven are the largest over the joints."""
_C = {name: index for index, name in enumerate(CHECKS)}
_BY_JOINT = 7
CONF = Path(__file__).with_name("conf") / "watch" / "default.yaml"
GRAVITY = 9.81
HEAT_S, POWER_S, DRIFT_S, JUMPS_S, GAINS_S = 10.0, 0.5, 0.5, 1.0, 0.5
"""Time constants of averages and of what is added up, s."""
DOUBT = 0.02
"""Gains are believed right as if a second of torques of this share of the limit, squared, had said so."""
JUMP = 1.0
"""A ball that is so far from where it should be is another one, m."""
FEATURES = 4 * NUM_JOINTS + 9
LARGEST = 1e6
"""Nothing that is measured is larger, in any unit."""
NOISE = (0.007, 0.4)
"""What is expected of an encoder's position and velocity, rad, rad/s; see `sim.observation_noise`."""
_DIRECTIONS = np.stack([np.cos(np.arange(12) * np.pi / 6), np.sin(np.arange(12) * np.pi / 6)], axis=1)
"""Twelve directions in which a hull is looked at."""
_SIZES = {
    "joint_pos": NUM_JOINTS, "joint_vel": NUM_JOINTS, "root_quat": 4, "base_ang_vel": 3, "root_pos": 3,
    "root_lin_vel": 3, "ball_pos": 3, "ball_vel": 3, "ball_valid": 1, "time": 1, "target": NUM_JOINTS,
    "asked": NUM_JOINTS, "soles": 4,
}  # fmt: skip
"""What is kept of a step to be compared with the next, with sizes."""
_ENDS = np.cumsum(list(_SIZES.values())).tolist()
_AT = {name: slice(end - size, end) for (name, size), end in zip(_SIZES.items(), _ENDS, strict=True)}
_BODY = slice(_AT["root_quat"].start, _AT["root_lin_vel"].stop)


class Level(IntEnum):
    """How the robot does, see the module."""

    OK = 0
    WARN = 1
    LIMIT = 2
    STOP = 3


_STOPPED = int(Level.STOP)


@dataclass
class CheckLimits:
    """Thresholds of one check.

    Attributes:
        warn: a value above it is a warning.
        stop: a value above it stops the robot when it has held so for `hold` control steps; None: never.
        hold: control steps. at_once: a value above it stops the robot in the same step; None: never.
        reason: why there.
    """

    warn: float = float("inf")
    stop: float | None = None
    hold: int = 1
    at_once: float | None = None
    reason: str = ""


class WatchError(ValueError):
    """A configuration of the watch that cannot be used. The message names the check."""


def load_limits(path: Path = CONF) -> dict[str, CheckLimits]:
    """Thresholds by check from a YAML file.

    Raises:
        WatchError: a check is missing or unknown, or has other keys than those of `CheckLimits`.
    """
    raw = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(raw, dict)
    return make_limits({str(key): value for key, value in raw.items()})


def make_limits(values: Mapping[str, Any]) -> dict[str, CheckLimits]:
    """Thresholds by check from plain values, checked; raises as `load_limits` does."""
    wrong = set(values) ^ set(CHECKS)
    if wrong:
        raise WatchError(f"watch: checks {', '.join(sorted(wrong))} are missing or unknown")
    out = {}
    for name in CHECKS:
        try:
            limits = values[name] if isinstance(values[name], CheckLimits) else CheckLimits(**values[name])
            stop = float("inf") if limits.stop is None else float(limits.stop)
            at_once = float("inf") if limits.at_once is None else float(limits.at_once)
            if not (
                0 <= float(limits.warn) <= stop and float(limits.warn) <= at_once and int(limits.hold) >= 1
            ):
                raise ValueError("0 <= warn <= stop, warn <= at_once and hold >= 1 must hold")
        except (TypeError, ValueError) as error:
            raise WatchError(f"watch: {name}: {error}") from None
        out[name] = limits
    return out


@dataclass
class Senses:
    """What is known of N robots at a control step, in the joint table's order and the court frame.

    Attributes:
        joint_pos, joint_vel, torque: measured, (N, 29), rad, rad/s, N·m.
        root_quat: w, x, y, z, (N, 4). base_ang_vel: pelvis frame, (N, 3), rad/s.
        root_pos, root_lin_vel: (N, 3), m, m/s.
        target: joint targets in force since the last step, (N, 29), rad.
        asked: joint targets the policy asks for now, before the shield, (N, 29), rad.
        time: robot's clock, (N,), s; None: not watched. age: of the measurement, (N,), s; None: fresh.
        ball_pos, ball_vel, ball_valid: (N, 3), (N, 3), (N, 1); None: not watched.
    """

    joint_pos: np.ndarray
    joint_vel: np.ndarray
    torque: np.ndarray
    root_quat: np.ndarray
    base_ang_vel: np.ndarray
    root_pos: np.ndarray
    root_lin_vel: np.ndarray
    target: np.ndarray
    asked: np.ndarray
    time: np.ndarray | None = None
    age: np.ndarray | None = None
    ball_pos: np.ndarray | None = None
    ball_vel: np.ndarray | None = None
    ball_valid: np.ndarray | None = None


@dataclass(frozen=True)
class Statistics:
    """Where the features of clean play lie: x is usual while |(x - mean) whiten|² / K is about one.

    Attributes:
        mean: (FEATURES,). whiten: (FEATURES, K).
    """

    mean: np.ndarray
    whiten: np.ndarray

    @staticmethod
    def of(features: np.ndarray, least: float = 0.02) -> Statistics:
        """Of features (M, FEATURES) of clean play, see `Watch.features`.

        Args:
            features: as seen.
            least: standard deviation added in every direction, as a share of each feature's own: what is known no
                better is no news.
        """
        mean, size = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-9)
        scaled = (features - mean) / size
        values, vectors = np.linalg.eigh(scaled.T @ scaled / len(scaled))
        return Statistics(mean, vectors / np.sqrt(np.maximum(values, 0.0) + least**2) / size[:, None])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, in single precision."""
        return {
            "features": FEATURES,
            "directions": self.whiten.shape[1],
            "mean": base64.b64encode(self.mean.astype("<f4").tobytes()).decode(),
            "whiten": base64.b64encode(self.whiten.astype("<f4").tobytes()).decode(),
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Statistics:
        """What `to_dict` gave.

        Raises:
            WatchError: it is damaged, or of another version's features.
        """
        try:
            if values["features"] != FEATURES:
                raise ValueError(f"it has {values['features']} features, this version {FEATURES}")
            mean, whiten = (
                np.frombuffer(base64.b64decode(values[key], validate=True), dtype="<f4").astype(np.float64)
                for key in ("mean", "whiten")
            )
            whiten = whiten.reshape(FEATURES, int(values["directions"]))
            if mean.shape != (FEATURES,) or not (np.isfinite(mean).all() and np.isfinite(whiten).all()):
                raise ValueError("numbers are missing or not finite")
        except (KeyError, TypeError, ValueError) as error:
            raise WatchError(f"statistics of clean play cannot be used ({error})") from None
        return Statistics(mean, whiten)


@dataclass(frozen=True)
class Cause:
    """Why a robot's level rose.

    Attributes:
        check: its name. level: reached. step: control step, from 0. value: of the check then.
        joint: name, of a check over the joints.
    """

    check: str
    level: Level
    step: int
    value: float
    joint: str | None = None


class Watch:
    """Watches N robots; see the module.

    Args:
        num_robots: N.
        limits: by check; default: `conf/watch/default.yaml`.
        kp, kd: gains the targets are tracked with, (29,).
        dt: control period, s.
        statistics: of clean play of the same policy; None: novelty is not watched.

    Attributes:
        level: (N,) present levels; STOP is latched.
        value: (N, CHECKS) of the last step.
        features: (N, FEATURES) of the last step: joint angles, velocities, torques, changes of velocity, and the
            pelvis's tilt, height, velocity and turn rate.
    """

    def __init__(
        self,
        num_robots: int = 1,
        limits: Mapping[str, CheckLimits] | None = None,
        kp: np.ndarray = KP,
        kd: np.ndarray = KD,
        dt: float = 0.02,
        statistics: Statistics | None = None,
    ) -> None:
        self.limits = limits = load_limits() if limits is None else make_limits(limits)
        self.num_robots, self.dt, self.statistics = num_robots, dt, statistics
        rows = [limits[name] for name in CHECKS]
        self._warn = np.array([row.warn for row in rows])
        self._stop = np.array([np.inf if row.stop is None else row.stop for row in rows])
        self._hold = np.array([row.hold for row in rows])
        self._at_once = np.array([np.inf if row.at_once is None else row.at_once for row in rows])
        self._kp, self._kd = np.asarray(kp, dtype=np.float64), np.asarray(kd, dtype=np.float64)
        self._middle = 0.5 * (LOWER + UPPER)
        self._scale, self._offset = np.ones((_BY_JOINT, NUM_JOINTS)), np.zeros((_BY_JOINT, NUM_JOINTS))
        self._offset[0] = 0.5 * (UPPER - LOWER)
        self._scale[1] = 1 / VELOCITY_LIMIT
        self._scale[2] = self._scale[3] = 1 / EFFORT_LIMIT
        self._scale[5] = 1 / (VELOCITY_LIMIT * dt)
        legs = feet(READY_JOINT_POS[None])
        self._ready_height = float(-legs[0, :, 2, 3].mean()) - float(SOLE_CORNERS[0, 2])
        self._corners = np.concatenate([SOLE_CORNERS.T, np.ones((1, len(SOLE_CORNERS)))])
        n = num_robots
        self.value = np.zeros((n, len(CHECKS)))
        self._joints = np.zeros((n, _BY_JOINT, NUM_JOINTS))
        self._given = np.zeros((n, 2, NUM_JOINTS))
        self.features = np.zeros((n, FEATURES))
        self._now, self._before = np.zeros((2, n, _AT["soles"].stop))
        self._fresh, self._begins = np.ones(n, dtype=bool), True
        self._holding = False
        self._count = np.zeros((n, len(CHECKS)), dtype=np.int64)
        self._same = np.zeros((n, NUM_JOINTS))
        self._square = np.zeros((n, NUM_JOINTS))
        self._power = np.zeros(n)
        self._drift = np.zeros((n, NUM_JOINTS + 9))
        self._sums = np.zeros((n, 5, NUM_JOINTS))
        self._spring = np.zeros((n, NUM_JOINTS))
        self._doubt = DOUBT * GAINS_S / dt
        self._noise = NOISE[0] * self._kp + NOISE[1] * self._kd
        self._jumps = np.zeros(n)
        self.level = np.zeros(n, dtype=np.int64)
        self.steps = np.zeros(n, dtype=np.int64)
        self._first = np.full((n, 2, len(CHECKS)), -1, dtype=np.int64)
        self._joint = np.full((n, 2, len(CHECKS)), -1, dtype=np.int64)
        self._at = np.zeros((n, 2, len(CHECKS)))
        self._worst = np.zeros((n, len(CHECKS)))

    def reset(self, robots: np.ndarray | None = None) -> None:
        """Start anew for some robots, bool (N,); None: all. This alone ends a stop."""
        some = np.ones(self.num_robots, dtype=bool) if robots is None else robots
        for table in (
            self._count, self._same, self._square, self._power, self._drift, self._sums, self._jumps, self.level,
            self.steps, self._worst, self.value,
        ):  # fmt: skip
            table[some] = 0
        self._first[some], self._joint[some] = -1, -1
        self._fresh |= some
        self._begins = True

    def update(self, senses: Senses) -> np.ndarray:
        """Take a control step into account.

        Args:
            senses: of all robots.

        Returns:
            Who is stopped, bool (N,).

        Raises:
            ValueError: an array has another shape; the message names it.
        """
        with np.errstate(all="ignore"):
            self._take(senses)
            change = self._now - self._before
            total = self._now + self._before
            fresh = self._fresh if self._begins else None
            if fresh is not None:
                # Of a first step no velocity has led anywhere yet.
                total[fresh] = 0.0
            self._drift *= 1.0 - self.dt / DRIFT_S
            self._judge_joints(senses, change, total)
            self._judge_body(change, total)
            self._judge_rest(senses, change, total)
            if fresh is not None:
                for check in _SINCE:
                    self.value[fresh, check] = 0.0
                fresh[:] = False
                self._begins = False
            clean = isfinite(self.value.sum())
        value = self.value
        if not clean:
            # What is no number is no answer.
            unknown = ~(value < np.inf)
            value[unknown] = np.inf
            value[:, _C["non_finite"]] += unknown.sum(axis=1)
            value[~(value < np.inf)] = LARGEST
        self._now, self._before = self._before, self._now
        warn = value > self._warn
        stopped = self.level == _STOPPED
        warned = np.zeros_like(stopped)
        if warn.any() or self._holding:
            over = value > self._stop
            self._count += 1
            self._count *= over
            self._holding = bool(over.any())
            stop = (self._count >= self._hold) | (value > self._at_once)
            stopped |= stop.any(axis=1)
            warned = warn.any(axis=1)
            self._note(0, warn)
            self._note(1, stop)
        np.maximum(self._worst, value, out=self._worst)
        np.maximum(warned, stopped * _STOPPED, out=self.level)
        self.steps += 1
        return stopped

    def limited(self, robots: np.ndarray) -> None:
        """The shield changed the command of these robots, bool (N,), in this step."""
        self.level = np.where(robots, np.maximum(self.level, int(Level.LIMIT)), self.level)

    def causes(self, robot: int = 0) -> list[Cause]:
        """What was noted of a robot since its reset: each check's first warning and first stop, in order of time."""
        out = []
        for row, level in enumerate((Level.WARN, Level.STOP)):
            for index in np.flatnonzero(self._first[robot, row] >= 0):
                joint = self._joint[robot, row, index]
                out.append(
                    Cause(
                        CHECKS[index],
                        level,
                        int(self._first[robot, row, index]),
                        float(self._at[robot, row, index]),
                        JOINT_NAMES[joint] if joint >= 0 else None,
                    )
                )
        return sorted(out, key=lambda cause: (cause.step, -cause.level))

    def explain(self, cause: Cause) -> str:
        """A cause for people."""
        limits = self.limits[cause.check]
        bound, held = limits.warn, ""
        if cause.level == Level.STOP and limits.at_once is not None and cause.value > limits.at_once:
            bound = limits.at_once
        elif cause.level == Level.STOP:
            bound = np.inf if limits.stop is None else limits.stop
            held = f" for {limits.hold} control steps" if limits.hold > 1 else ""
        where = f" ({cause.joint})" if cause.joint else ""
        return f"{cause.check} is {cause.value:.3g}{where}, above {bound:g}{held}: {limits.reason}"

    def report(self, robot: int = 0) -> dict[str, Any]:
        """What was seen of a robot since its reset, JSON-able: its ``level``, ``steps``, the ``causes`` (``check``,
        ``level``, ``step``, ``value``, ``joint``), and the ``worst`` value of each check."""
        return {
            "level": Level(int(self.level[robot])).name.lower(),
            "steps": int(self.steps[robot]),
            "causes": [{**asdict(cause), "level": cause.level.name.lower()} for cause in self.causes(robot)],
            "worst": dict(zip(CHECKS, self._worst[robot].tolist(), strict=True)),
        }

    def worst(self) -> dict[str, float]:
        """Largest value of each check over all robots since their reset."""
        return dict(zip(CHECKS, self._worst.max(axis=0).tolist(), strict=True))

    # Inside

    def _take(self, senses: Senses) -> None:
        n, now = self.num_robots, self._now
        for name, at in _AT.items():
            if name == "soles":
                continue
            given = getattr(senses, name)
            if given is None:
                continue
            if given.shape != (n, at.stop - at.start) and given.shape != (n,):
                raise ValueError(f"watch: {name} has shape {given.shape}, expected {(n, at.stop - at.start)}")
            now[:, at] = given if given.ndim == 2 else given[:, None]
        if senses.torque.shape != (n, NUM_JOINTS):
            raise ValueError(f"watch: torque has shape {senses.torque.shape}, expected {(n, NUM_JOINTS)}")
        if self._begins:
            fresh = self._fresh
            # What compares with the step before finds no change.
            self._before[fresh] = now[fresh]
            if senses.time is not None:
                self._before[fresh, _AT["time"]] -= self.dt

    def _note(self, row: int, happened: np.ndarray) -> None:
        new = happened & (self._first[:, row] < 0)
        for robot, check in np.argwhere(new):
            self._first[robot, row, check] = self.steps[robot]
            self._at[robot, row, check] = self.value[robot, check]
            if check < _BY_JOINT:
                size = self._joints[robot, check]
                self._joint[robot, row, check] = int(np.where(np.isfinite(size), size, np.inf).argmax())
            elif check in (_C["joint_frozen"], _C["heat"]):
                size = self._same if check == _C["joint_frozen"] else self._square
                self._joint[robot, row, check] = int(size[robot].argmax())

    def _judge_joints(self, s: Senses, change: np.ndarray, total: np.ndarray) -> None:
        now, rows = self._now, self._joints
        q, v = now[:, _AT["joint_pos"]], now[:, _AT["joint_vel"]]
        np.subtract(q, self._middle, out=rows[:, 0])
        rows[:, 1] = v
        # Torque asked for at the step's start, and what the motors should give now by the last target.
        np.subtract(now[:, _AT["asked"]], q, out=rows[:, 2])
        # Which of the last two targets that is, the command's way to the motors decides.
        given = self._given
        np.subtract(now[:, _AT["target"]], q, out=given[:, 0])
        np.subtract(self._before[:, _AT["target"]], q, out=given[:, 1])
        rows[:, 2] *= self._kp
        given *= self._kp
        damping = self._kd * v
        rows[:, 2] -= damping
        np.add(given[:, 0], given[:, 1], out=self._spring)
        given -= damping[:, None]
        np.minimum(given, EFFORT_LIMIT, out=given)
        np.maximum(given, -EFFORT_LIMIT, out=given)
        np.add(given[:, 0], given[:, 1], out=rows[:, 3])
        rows[:, 3] *= 0.5
        rows[:, 3] -= s.torque
        self._judge_gains(rows[:, 3], damping, s.torque, change[:, _AT["joint_vel"]])
        drift = self._drift[:, :NUM_JOINTS]
        off = total[:, _AT["joint_vel"]] * (-0.5 * self.dt)
        off += change[:, _AT["joint_pos"]]
        # Somewhere between the velocities before and after it went: a blow shows in both of them, not in between.
        leeway = np.abs(change[:, _AT["joint_vel"]])
        leeway *= 0.5 * self.dt
        off -= np.minimum(np.maximum(off, -leeway), leeway)
        drift += off
        rows[:, 4] = drift
        rows[:, 5] = change[:, _AT["asked"]]
        np.abs(rows, out=rows)
        rows[:, 3] -= 0.5 * np.abs(given[:, 0] - given[:, 1])
        rows *= self._scale
        rows -= self._offset
        value = self.value
        np.maximum.reduce(rows, axis=2, out=value[:, :_BY_JOINT])
        # Position and velocity lie side by side.
        still = change[:, : 2 * NUM_JOINTS] == 0.0
        still = still[:, :NUM_JOINTS] & still[:, NUM_JOINTS:]
        self._same *= still
        if still.any():
            self._same += still & (np.abs(change[:, _AT["target"]]) > 1e-3)
        np.maximum.reduce(self._same, axis=1, out=value[:, _C["joint_frozen"]])
        self._tally("action_frozen", value[:, _C["action"]] == 0.0)
        share = s.torque / EFFORT_LIMIT
        share *= share
        share -= self._square
        share *= self.dt / HEAT_S
        self._square += share
        np.sqrt(np.maximum.reduce(self._square, axis=1), out=value[:, _C["heat"]])
        power = np.add.reduce(np.abs(s.torque * v), axis=1)
        power -= self._power
        power *= self.dt / POWER_S
        self._power += power
        value[:, _C["power"]] = self._power

    def _judge_gains(
        self, missing: np.ndarray, damping: np.ndarray, torque: np.ndarray, change: np.ndarray
    ) -> None:
        """Least squares, joint by joint, of what torques are off by spring and damping, forgetting with `GAINS_S`."""
        # As shares of the motors' limits; a motor at its limit says nothing.
        spring = self._spring * (0.5 / EFFORT_LIMIT)
        brake = damping / -EFFORT_LIMIT
        # Which target and velocity the torque belongs to is known to half a step, and encoders are noisy.
        leeway = self._kd * np.abs(change)
        leeway += np.abs(self._given[:, 0] - self._given[:, 1])
        leeway *= 0.5
        leeway += self._noise
        off = missing - np.minimum(np.maximum(missing, -leeway), leeway)
        off /= -EFFORT_LIMIT
        free = np.abs(torque) < 0.9 * EFFORT_LIMIT
        spring *= free
        brake *= free
        a, b, c, d, e = sums = self._sums.transpose(1, 0, 2)
        sums *= 1.0 - self.dt / GAINS_S
        a += spring * spring
        b += brake * brake
        c += spring * brake
        d += off * spring
        e += off * brake
        left, right = a + self._doubt, b + self._doubt
        scale = 1.0 / (left * right - c * c)
        first, second = right * d - c * e, left * e - c * d
        np.maximum(np.abs(first), np.abs(second), out=self._joints[:, 6])
        self._joints[:, 6] *= scale

    def _judge_body(self, change: np.ndarray, total: np.ndarray) -> None:
        value, now, dt = self.value, self._now, self.dt
        quat, pos, vel = now[:, _AT["root_quat"]], now[:, _AT["root_pos"]], now[:, _AT["root_lin_vel"]]
        n = len(quat)
        # Turn since the last step, in the pelvis's frame.
        step = (self._before[:, _AT["root_quat"]][:, :, None] * quat[:, None]).reshape(n, 16) @ _RELATIVE
        turn = 2.0 * step[:, 1:] * np.sign(step[:, :1])
        turn -= (0.5 * dt) * total[:, _AT["base_ang_vel"]]
        drift = self._drift[:, NUM_JOINTS:-3]
        drift[:, :3] += turn
        drift[:, 3:] += change[:, _AT["root_pos"]]
        drift[:, 3:] -= (0.5 * dt) * total[:, _AT["root_lin_vel"]]
        value[:, _C["gyro"]] = _length(drift[:, :3])
        value[:, _C["base"]] = _length(drift[:, 3:])
        still = change[:, _BODY] == 0.0
        self._tally("imu_frozen", still[:, :7].all(axis=1))
        self._tally("base_frozen", still[:, 7:].all(axis=1))
        np.subtract(self._ready_height, pos[:, 2], out=value[:, _C["height"]])
        # Soles in the world.
        rotation = ((quat[:, :, None] * quat[:, None]).reshape(n, 16) @ _ROTATION).reshape(n, 3, 3)
        frame = feet(now[:, _AT["joint_pos"]])
        corners = rotation[:, None] @ (frame @ self._corners)[:, :, :3]
        corners += pos[:, None, :, None]
        self._up = rotation[:, 2]
        upright = np.empty((n, 3))
        upright[:, 0] = rotation[:, 2, 2]
        upright[:, 1:] = (rotation[:, None, 2:] @ frame[:, :, :3, 2:3])[:, :, 0, 0]
        angle = np.arccos(np.minimum(np.maximum(upright, -1.0), 1.0))
        value[:, _C["tilt"]] = angle[:, 0]
        np.minimum(angle[:, 1], angle[:, 2], out=value[:, _C["sole_tilt"]])
        centre = np.add.reduce(corners, axis=3)
        centre *= 1 / len(SOLE_CORNERS)
        soles = now[:, _AT["soles"]]
        soles.reshape(n, 2, 2)[:] = centre[:, :, :2]
        travel = (soles - self._before[:, _AT["soles"]]).reshape(n, 2, 2)
        low = np.minimum.reduce(corners[:, :, 2], axis=2)
        value[:, _C["sole_height"]] = np.abs(np.minimum(low[:, 0], low[:, 1]))
        speed = np.sqrt(np.add.reduce(travel * travel, axis=2)) * (1 / dt)
        value[:, _C["slip"]] = np.where(low[:, 0] < low[:, 1], speed[:, 0], speed[:, 1])
        # Beyond the soles: in some direction farther than every corner.
        point = vel[:, :2] * np.sqrt(np.maximum(pos[:, 2:], 0.1) / GRAVITY)
        point += pos[:, :2]
        reach = np.maximum.reduce(_DIRECTIONS @ corners[:, :, :2], axis=(1, 3))
        np.maximum.reduce(point @ _DIRECTIONS.T - reach, axis=1, out=value[:, _C["capture"]])

    def _judge_rest(self, s: Senses, change: np.ndarray, total: np.ndarray) -> None:
        value = self.value
        # Nothing that is not finite hides in what a check does not read.
        largest = np.maximum.reduce(np.abs(self._now), axis=1)
        value[:, _C["non_finite"]] = (largest > LARGEST) + 0.0 * largest
        if s.age is not None:
            np.abs(s.age, out=value[:, _C["age"]])
        if s.time is not None:
            value[:, _C["clock"]] = np.abs(change[:, _AT["time"].start] - self.dt)
        if s.ball_valid is not None:
            both = total[:, _AT["ball_valid"].start] > 1.5  # seen now and a step ago
            off = change[:, _AT["ball_pos"]] - (0.5 * self.dt) * total[:, _AT["ball_vel"]]
            size = _length(off)
            drift = self._drift[:, -3:]
            drift += off * (both & (size < JUMP))[:, None]
            value[:, _C["ball"]] = _length(drift)
            self._jumps *= 1.0 - self.dt / JUMPS_S
            self._jumps += both & (size >= JUMP)
            value[:, _C["ball_jumps"]] = self._jumps
            self._tally("ball_frozen", both & (change[:, _AT["ball_pos"]] == 0.0).all(axis=1))
        features, joints = self.features, 2 * NUM_JOINTS
        features[:, :joints] = self._now[:, :joints]
        features[:, joints : joints + NUM_JOINTS] = s.torque
        features[:, joints + NUM_JOINTS : 2 * joints] = change[:, _AT["joint_vel"]]
        features[:, -9:-6] = self._up
        features[:, -6] = self._now[:, _AT["root_pos"].stop - 1]
        features[:, -5:-3] = self._now[:, _AT["root_lin_vel"]][:, :2]
        features[:, -3:] = self._now[:, _AT["base_ang_vel"]]
        if self.statistics is not None:
            off = (features - self.statistics.mean) @ self.statistics.whiten
            off *= off
            value[:, _C["novelty"]] = np.sqrt(np.add.reduce(off, axis=1) / off.shape[1])

    def _tally(self, name: str, same: np.ndarray) -> None:
        column = self.value[:, _C[name]]
        column += 1
        column *= same


_SINCE = [_C[name] for name in ("action_frozen", "imu_frozen", "base_frozen", "ball_frozen", "slip")]
"""Checks that a first step says nothing of."""


def _length(vector: np.ndarray) -> np.ndarray:
    return np.sqrt(np.add.reduce(vector * vector, axis=1))


def _bilinear(columns: list[dict[tuple[int, int], float]]) -> np.ndarray:
    """Matrix (16, K) that makes sums of products a_i b_j of two quaternions from all of them."""
    out = np.zeros((16, len(columns)))
    for k, products in enumerate(columns):
        for (i, j), sign in products.items():
            out[4 * i + j, k] = sign
    return out


_RELATIVE = _bilinear(
    [
        {(0, 0): 1, (1, 1): 1, (2, 2): 1, (3, 3): 1},
        {(0, 1): 1, (1, 0): -1, (2, 3): -1, (3, 2): 1},
        {(0, 2): 1, (2, 0): -1, (1, 3): 1, (3, 1): -1},
        {(0, 3): 1, (3, 0): -1, (1, 2): -1, (2, 1): 1},
    ]
)
"""a⁻¹ b of unit quaternions."""
_ROTATION = _bilinear(
    [
        {(0, 0): 1, (1, 1): 1, (2, 2): -1, (3, 3): -1}, {(1, 2): 2, (0, 3): -2}, {(1, 3): 2, (0, 2): 2},
        {(1, 2): 2, (0, 3): 2}, {(0, 0): 1, (1, 1): -1, (2, 2): 1, (3, 3): -1}, {(2, 3): 2, (0, 1): -2},
        {(1, 3): 2, (0, 2): -2}, {(2, 3): 2, (0, 1): 2}, {(0, 0): 1, (1, 1): -1, (2, 2): -1, (3, 3): 1},
    ]
)  # fmt: skip
"""Rotation matrix of a unit quaternion, row by row."""
