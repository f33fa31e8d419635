"""How long safety takes in a control step of one robot: ``python -m policies.safety_bench`` prints what docs/safety.md
quotes. `make bench` holds the total (see `policies.bench`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from time import perf_counter_ns

import numpy as np
from numpy import ndarray as Array

from humanoid.bundle import PolicyBundle
from humanoid.safety import SafetyMonitor, SelfCollisionMonitor, Shield, StateGuard, pd_torque
from humanoid.watch import Senses, Watch
from policies.faults import FaultBench, FaultConfig

PARTS = ("guard", "monitor", "self_collision", "watch", "shield")


class _Recorder(Watch):
    """Keeps what it is shown."""

    seen: list[Senses]

    def update(self, senses: Senses) -> Array:
        copied = {field.name: np.copy(getattr(senses, field.name)) for field in fields(senses)}
        self.seen.append(Senses(**copied))
        return super().update(senses)


def play(policy: PolicyBundle, trials: int = 6) -> list[Senses]:
    """What a robot's watch sees in so many trials of clean play at feed, up to 7.6 s each."""
    bench = FaultBench(policy, FaultConfig(envs=1, threads=1))
    bench.watch = recorder = _Recorder(1, kp=policy.kp, kd=policy.kd, dt=policy.control_dt)
    recorder.seen = []
    bench.run((None,), trials)
    return recorder.seen


def benchmark_safety(policy: PolicyBundle, seen: list[Senses], repeats: int = 9) -> dict[str, Array]:
    """Time of each of `PARTS` and of `all` in each control step, median over the repeats, (T,), µs."""
    taken = np.array([_clock(policy, seen) for _ in range(repeats)])
    steps = np.median(taken, axis=0)
    return {**dict(zip(PARTS, steps.T, strict=True)), "all": np.median(taken.sum(axis=2), axis=0)}


def _clock(policy: PolicyBundle, seen: list[Senses]) -> Array:
    """The same of one repeat, (T, PARTS), as `humanoid.controller` does it."""
    kp, kd, dt = policy.kp, policy.kd, policy.control_dt
    guard, monitor, collision = StateGuard(), SafetyMonitor(), SelfCollisionMonitor()
    watch, shield = Watch(1, kp=kp, kd=kd, dt=dt, statistics=policy.clean_play), Shield(kp, kd, dt=dt)
    out = np.empty((len(seen), len(PARTS)))
    for row, s in zip(out, seen, strict=True):
        q, v = s.joint_pos, s.joint_vel
        others = ("root_pos", "root_lin_vel", "ball_pos", "ball_vel")
        signals = {name: getattr(s, name)[0] for name in others}
        times = [perf_counter_ns()]
        guard.check_state(q[0], v[0], s.root_quat[0], s.base_ang_vel[0], 0.0, signals)
        times.append(perf_counter_ns())
        monitor.update(q, v, pd_torque(s.asked, q, v, kp, kd))
        times.append(perf_counter_ns())
        collision.update(q)
        times.append(perf_counter_ns())
        watch.update(s)
        times.append(perf_counter_ns())
        watch.limited(shield.filter(s.asked, q, v).robots)
        times.append(perf_counter_ns())
        row[:] = np.diff(times) / 1e3
    return out


def table(taken: Mapping[str, Array]) -> str:
    """Median and 99th percentile over the steps, µs."""
    lines = [f"{'µs a control step':<16}{'median':>8}{'p99':>8}"]
    for name, steps in taken.items():
        lines.append(f"{name:<16}{np.median(steps):>8.1f}{np.percentile(steps, 99):>8.1f}")
    return "\n".join(lines)


def main() -> None:
    """Measure and print, with the released policy `strike`."""
    policy = PolicyBundle.load("strike")
    print(table(benchmark_safety(policy, play(policy))))


if __name__ == "__main__":
    main()
