"""One side of a match: its robots, seen from the court and from themselves.

Each side's robots live in an engine of their own and in a frame of their own, with the origin at the net's centre
and x toward the opponent, as if they were the near players. The far side's frame is the near side's turned by 180°
about z, so x and y change their signs; that is exact, and a policy plays either side unchanged.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from humanoid.joints import JOINT_NAMES
from sim.ball import BallState
from sim.engine import Engine
from sim.events import RacketPose
from sim.return_task import (
    BALL_RADIUS,
    CONTACT_REACH,
    LARGEST_MOVE,
    LARGEST_TARGET,
    RACKET_ACCELERATION,
    ready_state,
    robot_terms,
)

TURN = torch.tensor([-1.0, -1.0, 1.0])
"""Factors that take a vector from one side's frame to the other's."""


def turned(vector: Tensor, side: int) -> Tensor:
    """Vectors (n, 3) of the near side's frame in that of `side`, or the way back."""
    return vector * TURN.to(vector) if side else vector


def turned_ball(ball: BallState, side: int) -> BallState:
    """A ball of the near side's frame in that of `side`, or the way back."""
    return BallState(turned(ball.pos, side), turned(ball.vel, side), turned(ball.spin, side))


class Robots:
    """The robots of one side, one a match.

    Args:
        side: 0 near, 1 far.
        engine: with one robot a match.
        start: where a robot stands, in its own frame, (x, y), m.
        fall_height, fall_tilt: see `sim.return_task.ReturnConfig`.
        stray: further from the start, or tilted by more than a third of `fall_tilt`, a robot is put back between
            points, m.

    Attributes:
        fallen: (M,) bool: fell, and has not been put back.
        placed: (M,) bool: put back since this was last cleared: what a player remembers is of no use then.
        pushed: (M,) bool: a ball's impulse awaits the next physics step.
        broken: (M,) int: how often a robot's state was lost: not finite, or out of MuJoCo's bounds so that it started
            the robot anew elsewhere. Such a robot fell, and is at its start at once.
    """

    def __init__(
        self,
        side: int,
        engine: Engine,
        start: tuple[float, float],
        fall_height: float,
        fall_tilt: float,
        stray: float,
    ) -> None:
        self.side, self.engine = side, engine
        self.fall_height, self.upright, self.stray = fall_height, math.cos(fall_tilt), stray
        self.leaning = math.cos(fall_tilt / 3)
        self.ready_qpos, self.ready_qvel = ready_state(start)
        n = engine.num_envs
        self.fallen = torch.zeros(n, dtype=torch.bool)
        self.placed = torch.zeros(n, dtype=torch.bool)
        self.pushed = torch.zeros(n, dtype=torch.bool)
        self.broken = torch.zeros(n, dtype=torch.int64)
        self._speed = torch.zeros(n)
        self._root = engine.qpos[:, :3].clone()
        self._last = engine.racket_pos.clone()
        self.place(torch.arange(n))

    def place(self, ids: Tensor) -> None:
        """Put robots at the ready pose at their start."""
        n = len(ids)
        if n == 0:
            return
        self.engine.reset(ids, self.ready_qpos.expand(n, -1), self.ready_qvel.expand(n, -1))
        self.fallen[ids] = False
        self.pushed[ids] = False
        self.placed[ids] = True
        self._speed[ids] = 0.0
        self._last[ids] = self.engine.racket_pos[ids]
        self._root[ids] = self.engine.qpos[ids, :3]

    def command(self, targets: Tensor, live: Tensor) -> None:
        """Track joint position targets from now on.

        Args:
            targets: (M, 29), rad.
            live: robots (M,) whose targets matter.

        Raises:
            ValueError: targets of another shape, or not finite; names side, match and joint.
        """
        ctrl = self.engine.ctrl
        if targets.shape != ctrl.shape:
            raise ValueError(
                f"side {self.side}: targets have shape {tuple(targets.shape)}, expected {tuple(ctrl.shape)}, "
                "one row a match"
            )
        bad = ~(targets.abs() < LARGEST_TARGET) & live.unsqueeze(1)
        if bool(bad.any()):
            m, joint = bad.nonzero()[0].tolist()
            raise ValueError(
                f"side {self.side}: target of {JOINT_NAMES[joint]} in match {m} is {float(targets[m, joint])}: "
                "give a finite number"
            )
        ctrl.copy_(targets)

    def racket(self) -> RacketPose:
        """Rackets on the court, (M, 3) and (M, 3, 3), float32."""
        pos, rot = self.engine.racket_pos.float(), self.engine.racket_rot.float()
        if self.side:
            return RacketPose(pos * TURN, rot * TURN.unsqueeze(-1))
        return RacketPose(pos, rot)

    def reachable(self, ball: BallState, active: Tensor, duration: float) -> Tensor:
        """Robots (M,) whose racket the ball may come near within `duration`: misses none."""
        distance = torch.linalg.vector_norm(ball.pos - self.racket().pos, dim=-1)
        # A bounce may turn spin into speed.
        speed = torch.linalg.vector_norm(ball.vel, dim=-1)
        speed = speed + BALL_RADIUS * torch.linalg.vector_norm(ball.spin, dim=-1)
        reach = (speed + self._speed) * duration + RACKET_ACCELERATION * duration**2 + CONTACT_REACH
        return (active & (distance < reach)) | self.pushed

    def measure(self, duration: float) -> None:
        """Note how fast the rackets moved since this was last called, `duration` ago."""
        moved = torch.linalg.vector_norm(self.engine.racket_pos - self._last, dim=-1).float()
        self._speed = moved / duration
        self._last = self.engine.racket_pos.clone()

    def push(self, ids: Tensor, impulse: Tensor, point: Tensor) -> None:
        """Act on rackets with `impulse` (n, 3) N s at `point` (n, 3), both of the court."""
        self.engine.push_racket(ids, turned(impulse, self.side), turned(point, self.side))
        self.pushed[ids] = True

    def check_falls(self) -> Tensor:
        """Robots (M,) that fell since the last look, a control period ago."""
        qpos = self.engine.qpos
        down = (qpos[:, 2] < self.fall_height) | (self._vertical() < self.upright)
        # MuJoCo restarts a robot whose state exceeds its bounds at the world's origin, without a word.
        moved = (qpos[:, :3] - self._root).abs().amax(dim=1)
        lost = ~(moved < LARGEST_MOVE) | ~torch.isfinite(qpos.sum(1) + self.engine.qvel.sum(1))
        self._root = qpos[:, :3].clone()
        new = (down | lost) & ~self.fallen
        fallen = self.fallen | new
        self.broken += lost
        # Numbers that are not finite must not reach the ball.
        self.place(lost.nonzero().squeeze(1))
        self.fallen = fallen
        return new

    def astray(self) -> Tensor:
        """Robots (M,) that fell, lean, or are not where they began."""
        away = torch.linalg.vector_norm(self.engine.qpos[:, :2] - self.ready_qpos[:2], dim=-1)
        return self.fallen | (away > self.stray) | (self._vertical() < self.leaning)

    def _vertical(self) -> Tensor:
        quat = self.engine.qpos[:, 3:7]
        return 1 - 2 * (quat[:, 1] ** 2 + quat[:, 2] ** 2)

    def terms(self, ball: BallState, valid: Tensor, target: Tensor) -> dict[str, Tensor]:
        """What the players of this side know, see `sim.return_task.TERMS`, each (M, size) float32.

        Args:
            ball: on the court, (M, 3) each.
            valid: a ball is coming to this side, (M,) bool.
            target: where it shall go, in this side's frame, (M, 2), m.
        """
        seen = valid.unsqueeze(1)
        zero = torch.zeros(())
        return {
            **robot_terms(self.engine),
            "ball_pos": torch.where(seen, turned(ball.pos, self.side), zero),
            "ball_vel": torch.where(seen, turned(ball.vel, self.side), zero),
            "ball_valid": seen.float(),
            "target": target,
        }

    def court_qpos(self, match: int) -> np.ndarray:
        """Position of one robot on the court, (36,): for pictures."""
        qpos = self.engine.qpos[match].numpy().copy()
        if self.side:
            w, x, y, z = qpos[3:7]
            qpos[:2] = -qpos[:2]
            qpos[3:7] = -z, -y, x, w
        return qpos
