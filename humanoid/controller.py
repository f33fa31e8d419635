"""From measured states to safe commands: ramp in, play, ramp out, and damping when anything is wrong.

The controller has no clock and no socket: each call of :meth:`Controller.step` is one control period. So it
is the same against a robot, a simulation and a recording.

Phases, in this order: ``ramp_in`` (from the measured pose to the ready pose), ``play`` (the policy),
``ramp_out`` (back to the ready pose), ``settle`` (stiffness fades, damping stays), ``done``. From any of them
a fault leads to ``damped``, which is latched: a stopped robot does not restart by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from humanoid.joints import READY_JOINT_POS
from humanoid.observation import Layout
from humanoid.robot import RobotCommand, RobotInfo, RobotState
from humanoid.safety import (
    Fault,
    GuardLimits,
    SafetyMonitor,
    SelfCollisionMonitor,
    Shield,
    ShieldLimits,
    StateGuard,
    pd_torque,
)
from humanoid.watch import CheckLimits, Level, Senses, Watch

PHASES = ("ramp_in", "play", "ramp_out", "settle", "done", "damped")


class ControllerError(ValueError):
    """A policy that does not fit the robot. The message names the observation terms."""


class Policy(Protocol):
    """What a controller needs of a policy; :class:`humanoid.bundle.PolicyBundle` is one."""

    name: str
    layout: Layout
    control_dt: float
    kp: np.ndarray
    kd: np.ndarray

    def initial_memory(self, count: int = 1) -> np.ndarray: ...
    def assemble(self, terms: Mapping[str, np.ndarray]) -> np.ndarray: ...
    def act(
        self, observation: np.ndarray, memory: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass(frozen=True)
class Schedule:
    """How long each phase lasts, [s]. A pose half a turn away is reached at 1.6 rad/s in 2 s."""

    ramp_in: float = 2.0
    play: float = 20.0
    ramp_out: float = 0.5
    settle: float = 1.5


class Controller:
    """Runs one policy on one robot, with the safety monitor and the shield always in the loop.

    Args:
        policy: what plays.
        robot: what the robot said of itself.
        schedule: see :class:`Schedule`.
        guard: see :class:`humanoid.safety.GuardLimits`.
        shield: see :class:`humanoid.safety.ShieldLimits`.
        watch: limits of the checks, see :mod:`humanoid.watch`; default: those of its file.

    Attributes:
        phase: one of :data:`PHASES`.
        monitor: what the policy's play came close to: measured positions and velocities, and the torques that
            the policy asked for before the shield.
        self_collision: how near parts of the robot came to each other meanwhile.
        watch: what was unusual meanwhile, and what stopped the play.
        interventions: changes by the shield while playing, by kind; one a joint and control step.
        faults: why the robot was damped, at most one entry a kind.

    Raises:
        ControllerError: the policy observes what the robot does not supply, or supplies in another size.
    """

    def __init__(
        self,
        policy: Policy,
        robot: RobotInfo,
        schedule: Schedule | None = None,
        guard: GuardLimits | None = None,
        shield: ShieldLimits | None = None,
        watch: Mapping[str, CheckLimits] | None = None,
    ) -> None:
        check_supply(policy, robot)
        self.policy = policy
        self.schedule = schedule or Schedule()
        self.phase = "ramp_in"
        self.monitor = SafetyMonitor(1)
        self.self_collision = SelfCollisionMonitor()
        self.watch = Watch(
            1, watch, policy.kp, policy.kd, policy.control_dt, getattr(policy, "clean_play", None)
        )
        self.interventions: Counter[str] = Counter()
        self.faults: list[Fault] = []
        self._guard = StateGuard(guard)
        self._shield = Shield(policy.kp, policy.kd, dt=policy.control_dt, limits=shield)
        self._memory = policy.initial_memory(1)
        self._durations = {
            name: max(0, round(getattr(self.schedule, name) / policy.control_dt))
            for name in ("ramp_in", "play", "ramp_out", "settle")
        }
        self._count = 0
        self._from: np.ndarray | None = None
        self._pose = READY_JOINT_POS
        self._reported: set[str] = set()

    @property
    def finished(self) -> bool:
        """Whether nothing but damping is left to do."""
        return self.phase in ("done", "damped")

    def stop(self, kind: str, detail: str) -> None:
        """Damp the robot for good; the reason is kept in :attr:`faults`."""
        self.phase = "damped"
        if kind not in self._reported:
            self._reported.add(kind)
            self.faults.append(Fault(kind, detail))

    def step(self, state: RobotState, age: float = 0.0) -> RobotCommand:
        """One control period.

        Args:
            state: newest measurement.
            age: how old it is, [s].

        Returns:
            The command for the robot. Always finite; damping from the first fault on.
        """
        for fault in self._guard.check_state(
            state.joint_pos, state.joint_vel, state.root_quat, state.base_ang_vel, age, self._watched(state)
        ):
            self.stop(fault.kind, fault.detail)
        if self.finished:
            return self._damping(state)
        q = np.asarray(state.joint_pos, dtype=np.float64)[None]
        v = np.asarray(state.joint_vel, dtype=np.float64)[None]
        self._advance_phase(q)
        if self.finished:
            return self._damping(state)
        kp, mode = self.policy.kp, "ramp"
        if self.phase == "play":
            try:
                target, self._memory = self.policy.act(self.policy.assemble(state.terms()), self._memory)
                target = np.asarray(target, dtype=np.float64).reshape(q.shape)
            except Exception as error:  # whatever a policy does, the robot must end damped
                self.stop("policy", f"the policy failed ({error})".splitlines()[0])
                return self._damping(state)
            mode = "play"
            self.monitor.update(q, v, pd_torque(target, q, v, self.policy.kp, self.policy.kd))
            self.self_collision.update(q)
            if self.watch.update(self._senses(state, target, age))[0]:
                for cause in self.watch.causes():
                    if cause.level == Level.STOP:
                        self.stop(cause.check, self.watch.explain(cause))
                return self._damping(state)
        else:
            assert self._from is not None
            done = self._count / max(self._durations[self.phase], 1)
            blend = 1.0 if self.phase == "settle" else _smooth(done)
            target = self._from + (READY_JOINT_POS - self._from) * blend
            if self.phase == "settle":
                kp = self.policy.kp * (1.0 - _smooth(done))
        shielded = self._shield.filter(target, q, v)
        if self.phase == "play":
            for kind, mask in shielded.changed.items():
                self.interventions[kind] += int(mask.sum())
            self.watch.limited(shielded.robots)
        self._count += 1
        self._pose = shielded.target[0]
        return RobotCommand(self._pose, kp, self.policy.kd, mode)

    def report(self) -> dict[str, Any]:
        """Phase, faults, interventions and the safety monitor's figures, JSON-able."""
        return {
            "phase": self.phase,
            "faults": [{"kind": fault.kind, "detail": fault.detail} for fault in self.faults],
            "interventions": dict(self.interventions),
            "watch": self.watch.report(),
            "safety": {**self.monitor.report(), "self_collision": self.self_collision.report()},
        }

    def _advance_phase(self, q: np.ndarray) -> None:
        if self._from is None:
            self._from = q.copy()
        while self.phase in self._durations and self._count >= self._durations[self.phase]:
            self.phase = PHASES[PHASES.index(self.phase) + 1]
            self._count = 0
            self._from = self._pose[None].copy()

    def _watched(self, state: RobotState) -> dict[str, np.ndarray]:
        """Everything the policy observes besides what the guard checks anyway."""
        names = self.policy.layout.names
        body = {name: getattr(state, name) for name in ("root_pos", "root_lin_vel") if name in names}
        return body | {name: value for name, value in state.signals.items() if name in names}

    def _senses(self, state: RobotState, asked: np.ndarray, age: float) -> Senses:
        names = ("ball_pos", "ball_vel", "ball_valid")
        seen = all(name in state.signals for name in names)
        ball = {name: state.signals[name][None] for name in names} if seen else {}
        return Senses(
            joint_pos=state.joint_pos[None],
            joint_vel=state.joint_vel[None],
            torque=state.torque[None],
            root_quat=state.root_quat[None],
            base_ang_vel=state.base_ang_vel[None],
            root_pos=state.root_pos[None],
            root_lin_vel=state.root_lin_vel[None],
            target=self._pose[None],
            asked=asked,
            time=np.array([state.time]),
            age=np.array([age]),
            **ball,
        )

    def _damping(self, state: RobotState) -> RobotCommand:
        known = np.isfinite(state.joint_pos)
        return RobotCommand.damping(np.where(known, state.joint_pos, READY_JOINT_POS), self.policy.kd)


def warm_up() -> None:
    """Compile what runs in every step of a controller (:mod:`humanoid.compiled`): to be done before a robot waits for
    commands. Some ten seconds after an installation, a quarter of one later."""
    for part in (StateGuard, SafetyMonitor, SelfCollisionMonitor, Watch, Shield):
        part()


def check_supply(policy: Policy, robot: RobotInfo) -> None:
    """Raise :class:`ControllerError` unless the robot supplies what the policy observes, size by size."""
    missing = policy.layout.missing(robot.supplies)
    if missing:
        raise ControllerError(
            f"policy {policy.name!r} observes {', '.join(missing)}, which the robot ({robot.name}) does not "
            f"supply; it supplies {', '.join(robot.supplies)}"
        )
    for term in policy.layout.terms:
        if robot.supplies[term.name] != term.size:
            raise ControllerError(
                f"policy {policy.name!r} observes {term.name} with {term.size} values, the robot "
                f"({robot.name}) supplies {robot.supplies[term.name]}"
            )


def _smooth(x: float) -> float:
    """Smooth step from 0 to 1, with rest at both ends."""
    x = min(max(x, 0.0), 1.0)
    return x * x * (3.0 - 2.0 * x)
