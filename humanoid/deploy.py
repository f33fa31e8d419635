"""The command ``rally-deploy``: run an exported policy on a robot at 50 Hz, behind the safety shield."""

from __future__ import annotations

import gc
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from humanoid.app import run_app
from humanoid.approval import LOG, Approval, ApprovalError, approved
from humanoid.bundle import BundleError, PolicyBundle
from humanoid.controller import Controller, ControllerError, Schedule, check_supply, warm_up
from humanoid.files import atomic_write
from humanoid.observation import ObservationError
from humanoid.robot import Robot, RobotError
from humanoid.safety import GuardLimits, ShieldLimits
from humanoid.udp_robot import UdpRobot
from humanoid.watch import CheckLimits, WatchError

DAMPING_TIME = 1.0
"""How long damping commands are sent after a fault, [s]; afterwards the robot damps itself."""
SIMULATED = ("humanoid.simulated_robot", "sim.simulated_court")
"""Modules that simulate a robot: all others may drive a real one."""
REALTIME_PRIORITY = 20
"""Of the loop under Linux's SCHED_FIFO, 1 to 99: above ordinary processes, below the kernel's threads."""
START_TIMEOUT = 60.0
"""How long a simulated robot may take to start, [s]: it may import torch on a busy machine."""


@dataclass
class RobotConfig:
    """Which robot.

    Attributes:
        module: Python module that is started in a process of its own and prints its port; or null.
        host, port: where the robot listens, if no module is started.
        realtime: for a started module: by the clock, or as fast as both sides can.
        options: for a started module, passed as ``--key value``.
    """

    module: str | None = None
    host: str = "127.0.0.1"
    port: int = 0
    realtime: bool = True
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class ScheduleConfig:
    """Lengths of the phases around the play, [s]; see :class:`humanoid.controller.Schedule`."""

    ramp_in: float = 2.0
    ramp_out: float = 0.5
    settle: float = 1.5


@dataclass
class DeployConfig:
    """Settings of ``rally-deploy``.

    Attributes:
        policy: name of a released policy, or folder of a bundle.
        robot: see :class:`RobotConfig`.
        duration: of play, [s].
        log: JSON file to write.
        schedule: see :class:`ScheduleConfig`.
        guard: see :class:`humanoid.safety.GuardLimits`.
        shield: see :class:`humanoid.safety.ShieldLimits`.
        watch: see :mod:`humanoid.watch`.
        use: what a robot that already listens is used as, see :data:`humanoid.approval.USES`: the policy must be
            approved for it. Those of :data:`SIMULATED` need no approval.
        approvals: log of approvals.
    """

    policy: str
    robot: RobotConfig = field(default_factory=RobotConfig)
    duration: float = 20.0
    log: str = "runs/deploy.json"
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    guard: GuardLimits = field(default_factory=GuardLimits)
    shield: ShieldLimits = field(default_factory=ShieldLimits)
    watch: dict[str, CheckLimits] = field(default_factory=dict)
    use: str = "free"
    approvals: str = str(LOG)


class DeployError(RuntimeError):
    """The run could not start. The message says what to do."""


class Timing:
    """When each control cycle began and how long it took.

    Args:
        dt: control period, [s].
        capacity: cycles to keep; later ones are counted, not kept.
    """

    def __init__(self, dt: float, capacity: int) -> None:
        self.dt = dt
        self.cycles = 0
        self.missed = 0
        """Cycles left out because an earlier one overran."""
        self.scheduler = "normal"
        """See :func:`undisturbed`."""
        self._start = np.zeros(capacity)
        self._compute = np.zeros(capacity)
        self._age = np.zeros(capacity)

    def add(self, start: float, compute: float, age: float) -> None:
        """One cycle: when it began and how long it computed, [s], and the age of its state, [s]."""
        if self.cycles < len(self._start):
            self._start[self.cycles] = start
            self._compute[self.cycles] = compute
            self._age[self.cycles] = age
        self.cycles += 1

    def report(self) -> dict[str, Any]:
        """Rate, and p50, p99 and maximum of jitter, computation and state age, JSON-able.

        Jitter is the difference between the time from one cycle's begin to the next and the control period.
        """
        kept = min(self.cycles, len(self._start))
        periods = np.diff(self._start[:kept])
        span = float(periods.sum())
        return {
            "cycles": self.cycles,
            "missed_cycles": self.missed,
            "scheduler": self.scheduler,
            "rate_hz": len(periods) / span if span > 0 else None,
            "jitter_ms": _spread(1e3 * np.abs(periods - self.dt)),
            "compute_ms": _spread(1e3 * self._compute[:kept]),
            "state_age_ms": _spread(1e3 * self._age[:kept]),
        }

    def series(self) -> dict[str, list[float]]:
        """Every cycle: begin since the first, [s], computation and state age, [ms]."""
        kept = min(self.cycles, len(self._start))
        start = self._start[:kept] - (self._start[0] if kept else 0.0)
        columns = {
            "start_s": start,
            "compute_ms": 1e3 * self._compute[:kept],
            "state_age_ms": 1e3 * self._age[:kept],
        }
        return {name: [round(float(value), 5) for value in column] for name, column in columns.items()}


def drive(robot: Robot, controller: Controller, *, realtime: bool) -> Timing:
    """Run a controller on a connected robot until it is finished or damped.

    In real time a cycle begins every control period by the clock; a cycle that overruns makes the next ones
    be left out, never hurried. Ctrl-C damps the robot and is then raised again.

    Args:
        robot: connected.
        controller: fresh.
        realtime: by the clock; else as fast as the robot answers.

    Raises:
        RobotError: the robot never sent a state.
        KeyboardInterrupt: after the robot was damped.
    """
    dt = controller.policy.control_dt
    schedule = controller.schedule
    total = schedule.ramp_in + schedule.play + schedule.ramp_out + schedule.settle + DAMPING_TIME
    timing = Timing(dt, int(total / dt) + 200)
    robot.read(timeout=1.0)
    interrupted: KeyboardInterrupt | None = None
    damping_left = max(1, round(DAMPING_TIME / dt))
    with undisturbed(realtime) as timing.scheduler:
        deadline = time.monotonic()
        last = -1.0
        while True:
            try:
                start = time.monotonic()
                state = robot.read()
                measured = time.monotonic()
                # In lockstep the robot's time stands still while it waits: only a missing answer is old.
                answered = not realtime and state.time > last
                last = state.time
                age = 0.0 if answered else measured - state.received
                command = controller.step(state, age)
                robot.write(command)
                timing.add(start, time.monotonic() - measured, age)
                if controller.finished:
                    damping_left -= 1
                    if controller.phase == "done" or damping_left <= 0:
                        break
                deadline += dt
                if realtime:
                    left = deadline - time.monotonic()
                    if left > 0:
                        time.sleep(left)
                    elif left < -dt:
                        late = int(-left / dt)
                        timing.missed += late
                        deadline += late * dt
            except KeyboardInterrupt as caught:
                interrupted = caught
                controller.stop("interrupt", "stopped by Ctrl-C")
    if interrupted is not None:
        raise interrupted
    return timing


@contextmanager
def undisturbed(realtime: bool) -> Iterator[str]:
    """Keep the garbage collector and, where permitted, other processes from delaying the loop.

    Yields:
        "fifo" where this process got a real-time priority, "normal" otherwise.
    """
    scheduler = "normal"
    if realtime and hasattr(os, "sched_setscheduler"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(REALTIME_PRIORITY))
            scheduler = "fifo"
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield scheduler
    finally:
        if collecting:
            gc.enable()
        if scheduler == "fifo":
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@contextmanager
def started(config: RobotConfig) -> Iterator[tuple[str, int]]:
    """Start the configured module in a process of its own, if any, and yield the address to connect to.

    Raises:
        DeployError: it does not start; the message has its last words.
    """
    if config.module is None:
        if not 0 < config.port < 65536:
            raise DeployError(f"robot.port={config.port}: give the UDP port at which the robot listens")
        yield config.host, config.port
        return
    command = [sys.executable, "-m", config.module, "--once"]
    command += [] if config.realtime else ["--lockstep"]
    for key, value in config.options.items():
        command += [f"--{key}", str(value)]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        deadline = time.monotonic() + START_TIMEOUT
        line = ""
        while not line and time.monotonic() < deadline and process.poll() is None:
            if select.select([process.stdout], [], [], 0.2)[0]:
                line = process.stdout.readline()
        try:
            port = int(json.loads(line)["port"])
        except (ValueError, KeyError, TypeError):
            process.kill()
            words = [text for text in process.stderr.read().splitlines() if text.strip()]
            last = words[-1] if words else "it says nothing"
            if last.startswith("ModuleNotFoundError"):
                last += "; install what a simulation needs: pip install 'humanoid-rally[sim]'"
            raise DeployError(f"the simulated robot ({config.module}) does not start: {last}") from None
        yield "127.0.0.1", port
    finally:
        if process.poll() is None:
            try:
                process.wait(timeout=2.0)  # it ends by itself when the session is closed
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def deploy(config: DeployConfig) -> int:
    """Run ``rally-deploy``: returns 0 when the policy played to the end, 1 when a fault damped the robot.

    Raises:
        ApprovalError, BundleError, ControllerError, DeployError, RobotError: nothing was run.
    """
    if not config.duration > 0.0:
        raise DeployError(f"duration={config.duration}: give a positive number of seconds")
    policy = PolicyBundle.load(config.policy)
    schedule = Schedule(
        config.schedule.ramp_in, config.duration, config.schedule.ramp_out, config.schedule.settle
    )
    warm_up()
    with started(config.robot) as (host, port):
        approval = _gate(config, policy)
        robot = UdpRobot(host, port)
        info = robot.connect()
        summary: dict[str, Any] = {}
        code = 0
        timing: Timing | None = None
        try:
            check_supply(policy, info)
            controller = Controller(policy, info, schedule, config.guard, config.shield, config.watch)
            print(f"{policy.name} on {info.name}: {config.duration:g} s of play", flush=True)
            try:
                timing = drive(robot, controller, realtime=info.realtime)
                code = 1 if controller.phase == "damped" else 0
            except KeyboardInterrupt:
                code = 130
        finally:
            summary = robot.close()
    report = {
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "policy": policy.name,
        "bundle_sha256": policy.bundle_sha256,
        "robot": info.name,
        "approval_sha256": approval.sha256 if approval else None,
        "realtime": info.realtime,
        "duration_s": config.duration,
        "exit_code": code,
        **controller.report(),
        "dropped_datagrams": robot.dropped,
        "timing": timing.report() if timing else None,
        "robot_summary": summary,
        "cycles": timing.series() if timing else None,
    }
    print(summarise(report))
    path = Path(config.log)
    with atomic_write(path, "w") as file:
        json.dump(report, file, indent=1, allow_nan=False)
    print(f"log: {path}")
    return code


def _gate(config: DeployConfig, policy: PolicyBundle) -> Approval | None:
    """The approval that lets the policy drive the robot; None for one that is simulated here (:data:`SIMULATED`).

    Raises:
        ApprovalError: there is none.
    """
    if config.robot.module in SIMULATED:
        return None
    approval = approved(Path(config.approvals), policy.bundle_sha256, config.use)
    print(
        f"approved for {approval.use} by {approval.person} until {approval.expires} "
        f"(line {approval.number}, {approval.sha256})",
        flush=True,
    )
    return approval


def summarise(report: dict[str, Any]) -> str:
    """The report for people, a few lines."""
    lines = []
    for fault in report["faults"]:
        lines.append(f"damped: {fault['kind']}: {fault['detail']}")
    timing = report["timing"]
    if timing and timing["rate_hz"]:
        lines.append(
            f"loop: {timing['rate_hz']:.2f} Hz over {timing['cycles']} cycles, "
            f"{timing['missed_cycles']} missed, {timing['scheduler']} scheduling"
        )
        keys = {"jitter": "jitter_ms"} if report["realtime"] else {}
        for label, key in (keys | {"computation": "compute_ms"}).items():
            spread = timing[key]
            lines.append(
                f"{label}: p50 {spread['p50']:.2f}, p99 {spread['p99']:.2f}, max {spread['max']:.2f} ms"
            )
    changes = ", ".join(f"{kind} {count}" for kind, count in sorted(report["interventions"].items()))
    lines.append(f"shield: {changes or 'no intervention'}")
    safety = report["safety"]
    if safety["steps"]:
        lines.append(
            f"closest: position {safety['closest_position_margin_rad']:.3f} rad "
            f"({safety['closest_position_joint']}), "
            f"velocity {safety['closest_velocity_margin_rad_s']:.1f} rad/s, "
            f"torque {safety['closest_torque_margin_nm']:.1f} N·m"
        )
        lines.append(
            f"violations in {safety['steps']} control steps: position {safety['position_violations']}, "
            f"velocity {safety['velocity_violations']}, torque {safety['torque_violations']}, "
            f"braking {safety['braking_violations']}, into itself {safety['self_collision']['overlap_steps']}"
        )
    told = report["robot_summary"]
    if "outcomes" in told:
        outcomes = ", ".join(f"{name} {count}" for name, count in told["outcomes"].items())
        lines.append(f"balls: {told['balls']}, racket contacts {told['contacts']} ({outcomes})")
    if told.get("fell_while_playing"):
        lines.append("the robot fell while playing")
    return "\n".join(lines)


def main() -> None:
    """Entry point of ``rally-deploy``."""
    expected = (
        ApprovalError,
        BundleError,
        ControllerError,
        DeployError,
        ObservationError,
        RobotError,
        WatchError,
    )
    sys.exit(
        run_app(
            "rally-deploy",
            deploy,
            conf=Path(__file__).with_name("conf"),
            schema=DeployConfig,
            config_name="deploy",
            expected=expected,
        )
    )


def _spread(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {"p50": 0.0, "p99": 0.0, "max": 0.0}
    p50, p99 = np.percentile(values, [50, 99])
    return {"p50": round(float(p50), 4), "p99": round(float(p99), 4), "max": round(float(values.max()), 4)}


if __name__ == "__main__":
    main()
