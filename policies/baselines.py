"""Built-in players to compare with: they need no bundle and have a bundle's interface."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Protocol

import numpy as np

from humanoid.bundle import CONTROL_DT
from humanoid.joints import KD, KP, READY_JOINT_POS
from humanoid.observation import Layout


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


class StandBaseline:
    """The robot that only stands in its ready pose, whatever flies by, and does not fall by itself.

    Targets are the ready pose, plus what carries the robot's weight (inverse dynamics over kp), minus the
    linear regulator of :mod:`humanoid.balance` on the deviation of the whole state from the stance it started
    in. Memory (N, 4): started, x, y [m] and heading [rad] of that stance.
    """

    name = "stand"
    memory_size = 4
    control_dt = CONTROL_DT

    def __init__(self) -> None:
        self.layout = Layout.of(
            ["root_pos", "root_quat", "joint_pos", "root_lin_vel", "base_ang_vel", "joint_vel"]
        )
        self.kp = np.array(KP)
        self.kd = np.array(KD)
        self._gain, self._target, self._height = _stance()
        digest = hashlib.sha256(b"stand")
        for array in (self._gain, self._target):
            digest.update(np.round(array, 6).astype("<f8").tobytes())
        self.bundle_sha256 = digest.hexdigest()

    def initial_memory(self, count: int = 1) -> np.ndarray:
        """Zeros, float32, shape (count, 4)."""
        return np.zeros((count, self.memory_size), dtype=np.float32)

    def assemble(self, terms: Mapping[str, np.ndarray]) -> np.ndarray:
        """Observation (N, D); see :meth:`humanoid.observation.Layout.assemble`."""
        return self.layout.assemble(terms)

    def act(self, observation: np.ndarray, memory: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Policy`."""
        o = np.asarray(observation, dtype=np.float64)
        pos, quat, joints, lin, ang, rates = np.split(o, [3, 7, 36, 39, 42], axis=1)
        memory = self.initial_memory(len(o)) if memory is None else memory
        w, x, y, z = quat.T
        heading = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
        now = np.column_stack((np.ones(len(o)), pos[:, :2], heading))
        anchor = np.where(memory[:, :1] > 0.5, memory, now)
        cos, sin = np.cos(anchor[:, 3]), np.sin(anchor[:, 3])

        def turned(vector: np.ndarray) -> np.ndarray:
            a, b, c = vector.T
            return np.column_stack((cos * a + sin * b, cos * b - sin * a, c))

        stance = np.column_stack((anchor[:, 1:3], np.full(len(o), self._height)))
        # Rotation from the stance's heading to the pelvis: half-angle of the heading taken off the left.
        c, s = np.cos(0.5 * anchor[:, 3]), np.sin(0.5 * anchor[:, 3])
        rest = np.column_stack((c * w + s * z, c * x + s * y, c * y - s * x, c * z - s * w))
        rotation = 2 * rest[:, 1:] * np.sign(rest[:, :1] + 1e-12)
        deviation = np.concatenate(
            (turned(pos - stance), rotation, joints - READY_JOINT_POS, turned(lin), ang, rates), axis=1
        )
        correction = np.clip(deviation @ self._gain.T, -0.6, 0.6)
        return (self._target - correction).astype(np.float32), anchor.astype(np.float32)


@cache
def _stance() -> tuple[np.ndarray, np.ndarray, float]:
    """Regulator (29, 70), targets that hold the ready pose (29,), [rad], and the pelvis's height, [m]."""
    from humanoid.balance import balance_gain, ready_height
    from humanoid.dynamics import feedforward_torque
    from humanoid.model import build_model

    height = ready_height(build_model(timestep=0.005))
    torque, _ = feedforward_torque(
        np.tile([0.0, 0.0, height], (3, 1)),
        np.tile([1.0, 0.0, 0.0, 0.0], (3, 1)),
        np.tile(READY_JOINT_POS, (3, 1)),
        np.ones((3, 2), dtype=bool),
        1.0 / CONTROL_DT,
    )
    return balance_gain(CONTROL_DT), READY_JOINT_POS + torque[1] / KP, height


BASELINES = {"stand": StandBaseline}
"""Built-in players by the name that commands know them by."""
