"""The safety watch: is the robot, its sensors, its motors and the loop as they should be?

Every control step gives each check a value, larger is worse. `conf/watch/default.yaml` says from where on it is a
warning, from where on, held for how long, the robot is stopped, and why there. Together with the shield this makes
four levels:

- ok
- warn: something is unusual; noted
- limit: the shield changed the command; noted
- stop: the command is replaced by damping. Latched: only `reset` ends it

Batched over robots; one robot costs some ten microseconds. What comes in may be anything: values that
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
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from humanoid.bodies import FEET, FOOT_CORNERS, SOLE_HEIGHT, placements
from humanoid.checks import CHECKS, FEATURES, FIRST, JOINT, LIMIT, OK, ROBOT, STOP, THRESHOLD, WARN, judge
from humanoid.joints import (
    EFFORT_LIMIT,
    JOINT_NAMES,
    JOINTS,
    KD,
    KP,
    LOWER,
    NUM_JOINTS,
    READY_JOINT_POS,
    UPPER,
    VELOCITY_LIMIT,
)

CONF = Path(__file__).with_name("conf") / "watch" / "default.yaml"
NOISE = (0.007, 0.4)
"""What is expected of an encoder's position and velocity, rad, rad/s; see `sim.observation_noise`."""
_SENSES = (
    "joint_pos", "joint_vel", "root_quat", "base_ang_vel", "root_pos", "root_lin_vel", "ball_pos", "ball_vel",
    "ball_valid", "time", "target", "asked", "torque",
)  # fmt: skip
"""What is read of the senses."""
_ANKLES = np.array([[joint.link for joint in JOINTS].index(link) + 1 for link in FEET])
"""Ankle roll links, as `placements` numbers them."""
_SOLE = np.array([(x, y, -SOLE_HEIGHT) for x, y in FOOT_CORNERS])
"""Corners of a sole in the frame of the ankle roll link, (4, 3) [m]."""


class Level(IntEnum):
    """How the robot does, see the module."""

    OK = OK
    WARN = WARN
    LIMIT = LIMIT
    STOP = STOP


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

    Raises:
        WatchError: limits or statistics that cannot be used.

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
        self.num_robots, self.dt, self.statistics = num_robots, float(dt), statistics
        self._thresholds = np.zeros(len(CHECKS), dtype=THRESHOLD)
        for row, name in zip(self._thresholds, CHECKS, strict=True):
            own = limits[name]
            never = [np.inf if bound is None else bound for bound in (own.stop, own.at_once)]
            row["warn"], row["hold"], row["stop"], row["at_once"] = own.warn, own.hold, *never
        self._joints = joints = np.zeros(NUM_JOINTS, dtype=JOINT)
        joints["kp"], joints["kd"] = kp, kd
        joints["velocity"], joints["effort"] = VELOCITY_LIMIT, EFFORT_LIMIT
        joints["middle"], joints["half"] = 0.5 * (LOWER + UPPER), 0.5 * (UPPER - LOWER)
        joints["noise"] = NOISE[0] * joints["kp"] + NOISE[1] * joints["kd"]
        ankles = placements(READY_JOINT_POS[None])[0][0, _ANKLES]
        self._ready_height = float(SOLE_HEIGHT - ankles[:, 2].mean())
        if statistics is None:
            statistics = Statistics(np.zeros(FEATURES), np.zeros((FEATURES, 0)))
        self._mean = np.array(statistics.mean, dtype=np.float64)
        self._whiten = np.array(statistics.whiten, dtype=np.float64, order="C")
        if self._mean.shape != (FEATURES,) or self._whiten.shape[:-1] != (FEATURES,):
            shapes = f"{self._mean.shape} and {self._whiten.shape}"
            raise WatchError(
                f"watch: statistics of shapes {shapes}, expected ({FEATURES},) and ({FEATURES}, K)"
            )
        self._robots = np.zeros(num_robots, dtype=ROBOT)
        self._now = (*(self._robots["now"][name] for name in _SENSES[:-1]), self._robots["torque"])
        self._shapes = tuple(now.shape for now in self._now)
        self._age = self._robots["value"]["age"]
        self._take = attrgetter(*_SENSES)
        self.value, self.features = self._robots["value"]["numbers"], self._robots["feature"]["numbers"]
        self.level, self.steps = self._robots["level"], self._robots["steps"]
        self.reset()
        self._judge(slice(0, 0), True, True)  # That only compiles.

    def reset(self, robots: np.ndarray | None = None) -> None:
        """Start anew for some robots, bool (N,); None: all. This alone ends a stop."""
        fresh = np.zeros((), dtype=ROBOT)
        fresh["fresh"], fresh["first"] = 1, np.array((-1, -1, 0.0), dtype=FIRST)
        self._robots[slice(None) if robots is None else robots] = fresh

    def update(self, senses: Senses) -> np.ndarray:
        """Take a control step into account.

        Args:
            senses: of all robots.

        Returns:
            Who is stopped, bool (N,).

        Raises:
            ValueError: an array has another shape; the message names it.
        """
        for name, shape, now, given in zip(_SENSES, self._shapes, self._now, self._take(senses), strict=True):
            if given is not None:
                now[:] = given if given.shape == shape else self._fit(name, now, given)
        if senses.age is not None:
            np.abs(senses.age, out=self._age)
        self._judge(slice(None), senses.time is not None, senses.ball_valid is not None)
        return self.level == STOP

    def limited(self, robots: np.ndarray) -> None:
        """The shield changed the command of these robots, bool (N,), in this step."""
        np.maximum(self.level, robots * LIMIT, out=self.level)

    def causes(self, robot: int = 0) -> list[Cause]:
        """What was noted of a robot since its reset: each check's first warning and first stop, in order of time."""
        out = []
        for row, level in enumerate((Level.WARN, Level.STOP)):
            for check, first in zip(CHECKS, self._robots["first"][robot, row].tolist(), strict=True):
                step, joint, value = first
                if step >= 0:
                    out.append(Cause(check, level, step, value, JOINT_NAMES[joint] if joint >= 0 else None))
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
            "worst": dict(zip(CHECKS, self._robots["worst"][robot].tolist(), strict=True)),
        }

    def worst(self) -> dict[str, float]:
        """Largest value of each check over all robots since their reset."""
        return dict(zip(CHECKS, self._robots["worst"].max(axis=0).tolist(), strict=True))

    def _fit(self, name: str, now: np.ndarray, given: np.ndarray) -> np.ndarray:
        if given.shape != now.shape[:1] or now.shape[1] != 1:
            raise ValueError(f"watch: {name} has shape {given.shape}, expected {now.shape}")
        return given[:, None]

    def _judge(self, some: slice, clock: bool, ball: bool) -> None:
        robots = self._robots[some]
        pos, rot = placements(robots["now"]["joint_pos"])
        judge(
            robots, self._joints, _ANKLES, _SOLE, self._ready_height, pos, rot, clock, ball, self._mean,
            self._whiten, self._thresholds, self.dt,
        )  # fmt: skip
