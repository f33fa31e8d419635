"""Compiled code computes what the same code says as plain Python."""

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from humanoid import bodies, checks, safety
from humanoid.bodies import Bodies, placements
from humanoid.compiled import rows
from humanoid.joints import EFFORT_LIMIT, LOWER, NUM_JOINTS, UPPER, VELOCITY_LIMIT
from humanoid.safety import SafetyMonitor, SelfCollisionMonitor, Shield, StateGuard, pose_inertia
from humanoid.watch import FEATURES, Senses, Statistics, Watch

N, STEPS = 4, 8


def states():
    """Wild robots; from the fourth step on some readings are no numbers, and some repeat."""
    rng = np.random.default_rng(0)
    sizes = {
        "root_quat": 4,
        "base_ang_vel": 3,
        "root_pos": 3,
        "root_lin_vel": 3,
        "ball_pos": 3,
        "ball_vel": 3,
    }
    before = None
    for step in range(STEPS):
        senses = {name: rng.normal(size=(N, size)) for name, size in sizes.items()}
        senses["root_quat"] /= np.linalg.norm(senses["root_quat"], axis=1, keepdims=True)
        for name in ("joint_pos", "target", "asked"):
            senses[name] = rng.uniform(1.2 * LOWER, 1.2 * UPPER, (N, NUM_JOINTS))
        senses["joint_vel"] = 0.5 * VELOCITY_LIMIT * rng.normal(size=(N, NUM_JOINTS))
        senses["torque"] = EFFORT_LIMIT * rng.normal(size=(N, NUM_JOINTS))
        senses |= {
            "time": 0.02 * step + np.zeros(N),
            "age": 0.05 * rng.random(N),
            "ball_valid": np.ones((N, 1)),
        }
        if step > 3:
            for table in senses.values():
                spoilt = rng.random(table.shape) < 0.01
                table[spoilt] = rng.choice([np.nan, np.inf, -np.inf, 1e30], spoilt.sum())
            for name, table in senses.items():
                table[2:] = np.where(rng.random() < 0.3, before[name][2:], table[2:])
        before = senses
        yield Senses(**senses)


def state(senses: Senses, robot: int):
    """What a guard sees of a robot."""
    return (getattr(senses, name)[robot] for name in ("joint_pos", "joint_vel", "root_quat", "base_ang_vel"))


def flat(report) -> np.ndarray:
    """The numbers of a report."""
    if isinstance(report, dict):
        return np.concatenate([flat(value) for value in report.values()] or [np.empty(0)])
    return np.array([report] if isinstance(report, int | float) else [], dtype=float)


def figures() -> dict[str, np.ndarray]:
    """Everything that compiled code has a part in."""
    rng = np.random.default_rng(1)
    statistics = Statistics(rng.normal(size=FEATURES), 0.1 * rng.normal(size=(FEATURES, 5)))
    watch, shield, monitor, collision = (
        Watch(N, statistics=statistics), Shield(num_robots=N), SafetyMonitor(N), SelfCollisionMonitor()
    )  # fmt: skip
    out, guard, faults = {}, StateGuard(), []
    for step, senses in enumerate(states()):
        stopped = watch.update(senses)
        shielded = shield.filter(senses.asked, senses.joint_pos, senses.joint_vel)
        watch.limited(shielded.robots)
        monitor.update(senses.joint_pos, senses.joint_vel, senses.torque, np.arange(N) != step % N)
        collision.update(senses.joint_pos)
        values = {"stopped": stopped, "level": watch.level, "value": watch.value, "safe": shielded.target}
        for robot in range(N):
            faults += [str(fault) for fault in guard.check_state(*state(senses, robot))]
        out |= {f"{name}{step}": np.array(value) for name, value in values.items()}
    out["faults"] = np.array(faults)
    for robot in range(N):
        out[f"causes{robot}"] = np.array(
            [f"{c.check} {c.level} {c.step} {c.joint}" for c in watch.causes(robot)]
        )
    out["monitor"], out["collision"] = flat(monitor.report()), flat(collision.report())
    poses = rng.uniform(LOWER, UPPER, (10, NUM_JOINTS))
    out["inertia"], near = pose_inertia(poses), Bodies().near(*placements(poses), 0.1)
    return out | {field.name: getattr(near, field.name) for field in fields(near)}


def test_compiled_or_not_the_figures_are_the_same(tmp_path):
    root, file = Path(__file__).parents[2], tmp_path / "plain.npz"
    subprocess.run(
        [sys.executable, __file__, file],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.pathsep.join([str(root), *sys.path])},
        check=True,
    )
    with np.load(file) as plain:
        ours = figures()
        assert set(plain) == set(ours)
        for name, value in ours.items():
            if value.dtype.kind == "f":
                np.testing.assert_allclose(value, plain[name], rtol=1e-9, atol=1e-9, err_msg=name)
            else:
                np.testing.assert_array_equal(value, plain[name], err_msg=name)


def compilations() -> int:
    """How often anything of the control step was compiled, or its like taken from the disk."""
    functions = [function for module in (bodies, checks, safety) for function in vars(module).values()]
    return sum(len(function.signatures) for function in functions if hasattr(function, "signatures"))


@pytest.mark.parametrize("count", [1, N])
def test_no_control_step_waits_for_the_compiler(count):
    """Whatever the tables' types and places in memory: read only, single precision, every other column."""

    def read_only(table):
        table = table.copy()
        table.flags.writeable = False
        return table

    def apart(table):
        return np.repeat(table, 2, axis=-1)[..., ::2]

    watch, shield, monitor = Watch(count), Shield(num_robots=count), SafetyMonitor(count)
    collision, guard = SelfCollisionMonitor(), StateGuard()
    before = compilations()
    assert before > 0
    for change in (np.copy, read_only, np.float32, np.asfortranarray, apart):
        for senses in states():
            tables = {field.name: change(getattr(senses, field.name)[:count]) for field in fields(senses)}
            s = Senses(**tables)
            watch.limited(~watch.update(s))
            shield.filter(s.asked, s.joint_pos, s.joint_vel)
            monitor.update(s.joint_pos, s.joint_vel, s.torque, np.ones(count, dtype=bool))
            collision.update(s.joint_pos)
            guard.check_state(*state(s, 0), signals={"ball_pos": s.ball_pos})
        watch.reset(np.arange(count) == 0)
        shield.reset(robots=np.arange(count) == 0)
    watch.update(Senses(**{**tables, "time": None, "age": None, "ball_valid": None}))
    assert compilations() == before


def test_misshapen_tables_are_named():
    with pytest.raises(ValueError, match=r"joint_pos has shape \(29,\), expected \(N, 29\)"):
        placements(np.zeros(29))
    with pytest.raises(ValueError, match=r"expected \(N, 29\)"):
        SelfCollisionMonitor().update(np.zeros((2, 28)))
    with pytest.raises(ValueError, match=r"expected \(N, 29\)"):
        pose_inertia(np.zeros((1, 30)))
    assert rows("it", np.zeros((2, 3), dtype=np.float32).T[:2].T, 2).flags.c_contiguous


if __name__ == "__main__":
    np.seterr(all="ignore")
    np.savez(sys.argv[1], **figures())
