"""The small interface behind which every robot stands, simulated or real."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from humanoid.joints import KD, KP, NUM_JOINTS

CONTROL_DT = 0.02
"""Control period, [s]: every policy and every robot of this project runs at it."""

MODES = ("ramp", "play", "damp")
"""What a command is part of: moving to or from the ready pose, the policy's play, or standing down."""

BODY_TERMS: dict[str, int] = {
    "joint_pos": NUM_JOINTS,
    "joint_vel": NUM_JOINTS,
    "base_ang_vel": 3,
    "root_quat": 4,
    "root_pos": 3,
    "root_lin_vel": 3,
}
"""Observation terms that every state carries, and their sizes; signals come on top."""


class RobotError(RuntimeError):
    """A robot that cannot be reached or does not fit. The message says what to do."""


@dataclass(frozen=True)
class RobotState:
    """One measurement of the robot. Frames as in :mod:`humanoid.observation`.

    Attributes:
        time: the robot's own clock, [s].
        received: this computer's monotonic clock when the state was taken from the socket, at most a control
            period after it arrived, [s].
        joint_pos: [rad], shape (29,).
        joint_vel: [rad/s], shape (29,).
        torque: applied by the motors, [N·m], shape (29,).
        root_quat: pelvis orientation in the court frame, w, x, y, z, shape (4,).
        base_ang_vel: pelvis gyro, pelvis frame, [rad/s], shape (3,).
        root_pos: pelvis position in the court frame, [m], shape (3,).
        root_lin_vel: pelvis velocity in the court frame, [m/s], shape (3,).
        signals: further observations by term name, e.g. ``ball_pos``, each 1-D.
    """

    time: float
    received: float
    joint_pos: np.ndarray
    joint_vel: np.ndarray
    torque: np.ndarray
    root_quat: np.ndarray
    base_ang_vel: np.ndarray
    root_pos: np.ndarray
    root_lin_vel: np.ndarray
    signals: Mapping[str, np.ndarray] = field(default_factory=dict)

    def terms(self) -> dict[str, np.ndarray]:
        """Observation terms by name, each of shape (1, size)."""
        named = {name: getattr(self, name) for name in BODY_TERMS} | dict(self.signals)
        return {name: value[None] for name, value in named.items()}


@dataclass(frozen=True)
class RobotCommand:
    """What the motors shall do until the next command: torque = kp (target − q) − kd q̇, clipped.

    Attributes:
        target: joint positions, [rad], shape (29,).
        kp: [N·m/rad], shape (29,).
        kd: [N·m·s/rad], shape (29,).
        mode: one of :data:`MODES`; tells a robot (or a ball machine) what is going on.
    """

    target: np.ndarray
    kp: np.ndarray = field(default_factory=lambda: KP)
    kd: np.ndarray = field(default_factory=lambda: KD)
    mode: str = "play"

    @staticmethod
    def damping(joint_pos: np.ndarray, kd: np.ndarray = KD) -> RobotCommand:
        """No stiffness, only damping: the robot sinks down softly."""
        return RobotCommand(np.array(joint_pos, dtype=np.float64), np.zeros(NUM_JOINTS), kd, "damp")


@dataclass(frozen=True)
class RobotInfo:
    """What a robot says of itself when connected.

    Attributes:
        name: for people.
        realtime: whether its time runs by itself; if not, each command advances it by one control period.
        supplies: observation terms in its states: name to size.
    """

    name: str
    realtime: bool
    supplies: Mapping[str, int]


class Robot(Protocol):
    """A robot that can be driven."""

    def connect(self) -> RobotInfo:
        """Open the connection.

        Raises:
            RobotError: nobody answers, or the answer does not fit this version.
        """
        ...

    def read(self, timeout: float = 0.0) -> RobotState:
        """The newest state.

        Waits up to ``timeout`` [s] for one newer than the last one returned; otherwise returns that one
        again, whose ``received`` tells its age.

        Raises:
            RobotError: no state has ever arrived.
        """
        ...

    def write(self, command: RobotCommand) -> None:
        """Send a command; does not wait."""
        ...

    def close(self) -> dict[str, Any]:
        """Hand the robot back. Returns its own summary of the session, {} if it has none. Never raises."""
        ...
