"""The policy that only stands: a baseline, and the first thing to run on a robot."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from humanoid.joints import KD, KP, READY_JOINT_POS
from humanoid.observation import Layout
from humanoid.robot import CONTROL_DT


class StandPolicy:
    """Holds the ready pose whatever it sees. Has the attributes and methods of a
    :class:`humanoid.bundle.PolicyBundle` that a controller needs."""

    name = "stand"
    memory_size = 0
    control_dt = CONTROL_DT
    bundle_sha256 = hashlib.sha256(b"stand").hexdigest()

    def __init__(self) -> None:
        self.layout = Layout.of(["joint_pos"])
        self.kp = np.array(KP)
        self.kd = np.array(KD)

    def initial_memory(self, count: int = 1) -> np.ndarray:
        """Nothing to remember, shape (count, 0)."""
        return np.zeros((count, 0), dtype=np.float32)

    def assemble(self, terms: Mapping[str, np.ndarray]) -> np.ndarray:
        """Observation (N, D); see :meth:`humanoid.observation.Layout.assemble`."""
        return self.layout.assemble(terms)

    def act(self, observation: np.ndarray, memory: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The ready pose, [rad], shape (N, 29), and the memory."""
        targets = np.tile(READY_JOINT_POS.astype(np.float32), (len(observation), 1))
        return targets, self.initial_memory(len(observation)) if memory is None else memory
