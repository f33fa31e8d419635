"""The engine's contract."""

import importlib
import sys

import mujoco
import numpy as np
import pytest
import torch

from humanoid.racket import RACKET
from sim.engine import CpuEngine
from sim.return_task import ready_state

START = (-11.9, 0.0)


@pytest.fixture
def engine():
    engine = CpuEngine(3, threads=1)
    stand(engine)
    return engine


def stand(engine, ids=None):
    ids = torch.arange(engine.num_envs) if ids is None else ids
    qpos, qvel = ready_state(START)
    engine.reset(ids, qpos.expand(len(ids), -1), qvel.expand(len(ids), -1))


def test_reset_puts_robots_into_states(engine):
    qpos, qvel = ready_state((1.0, 2.0))
    engine.reset(torch.tensor([1]), qpos[None], qvel[None])
    torch.testing.assert_close(engine.qpos[1], qpos)
    torch.testing.assert_close(engine.ctrl[1], qpos[7:])
    assert engine.qpos[0, 0] == START[0]


def test_derived_tensors_follow_a_reset(engine):
    """Racket and feet are where the new state has them, before any step."""
    before = engine.racket_pos[1].clone()
    qpos, qvel = ready_state((START[0] + 1.0, START[1]))
    engine.reset(torch.tensor([1]), qpos[None], qvel[None])
    torch.testing.assert_close(engine.racket_pos[1] - before, torch.tensor([1.0, 0, 0]).double())
    assert engine.foot_pos[:, :, 2].abs().max() < 0.03


def test_advance_is_that_many_steps():
    """To the bit, also for some of the robots only."""
    together, single = CpuEngine(3, threads=1), CpuEngine(3, threads=1)
    for engine in (together, single):
        stand(engine)
        engine.ctrl[:, 12] += torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    ids = torch.tensor([0, 2])
    together.advance(4, ids)
    for _ in range(4):
        single.step(ids)
    assert torch.equal(together.qpos, single.qpos)
    assert torch.equal(together.racket_pos, single.racket_pos)
    assert together.qpos[1, 0] == START[0]


def test_threads_do_not_change_the_result():
    results = []
    for threads in (1, 2):
        engine = CpuEngine(3, threads=threads)
        stand(engine)
        engine.advance(8)
        results.append(engine.qpos.clone())
    assert torch.equal(*results)


def test_a_push_gives_the_robot_its_momentum(engine):
    """Beside a robot without push, feet in the air, the linear momentum differs by the impulse."""
    qpos, qvel = ready_state(START)
    qpos[2] += 1.0
    engine.reset(torch.arange(3), qpos.expand(3, -1), qvel.expand(3, -1))
    data = mujoco.MjData(engine.model)
    data.qpos[:] = qpos.numpy()
    mujoco.mj_forward(engine.model, data)
    mass = np.zeros((engine.model.nv, engine.model.nv))
    mujoco.mj_fullM(engine.model, data, mass)
    impulse = torch.tensor([[-1.5, 0.4, 0.3]])
    engine.push_racket(torch.tensor([1]), impulse, engine.racket_pos[1:2].float())
    engine.step()
    change = (engine.qvel[1] - engine.qvel[0]).numpy()
    np.testing.assert_allclose((mass @ change)[:3], impulse[0].numpy(), atol=1e-6)


def test_a_push_acts_for_one_step(engine):
    engine.push_racket(torch.tensor([1]), torch.tensor([[0.0, 0.0, 2.0]]), engine.racket_pos[1:2].float())
    engine.step()
    assert (engine.batch.bind("xfrc_applied") == 0).all()


def test_push_turns_about_the_rackets_centre_of_mass(engine):
    """An impulse through the centre of mass is a force without torque."""
    com = engine.racket_pos[1] + engine.racket_rot[1] @ torch.as_tensor(RACKET.com)
    engine.push_racket(torch.tensor([1]), torch.tensor([[0.0, 1.0, 0.0]]), com[None])
    pushes = torch.from_numpy(engine.batch.bind("xfrc_applied"))[1].abs().amax(0)
    assert pushes[1] == pytest.approx(1.0 / engine.timestep)
    assert pushes[3:].max() < 1e-6


def test_a_push_waits_for_its_robot():
    """Also when others are stepped first."""
    results = []
    for first in (None, torch.tensor([0])):
        engine = CpuEngine(3, threads=1)
        stand(engine)
        engine.push_racket(torch.tensor([1]), torch.tensor([[0.0, 0.0, 2.0]]), engine.racket_pos[1:2])
        if first is not None:
            engine.step(first)
        engine.step(torch.tensor([1]))
        engine.step(torch.tensor([1]))
        results.append(engine.qvel[1].clone())
    assert torch.equal(*results)


def test_a_state_that_is_not_finite_is_refused(engine):
    qpos, qvel = (part.expand(2, -1).clone() for part in ready_state(START))
    qvel[1, 30] = float("inf")
    with pytest.raises(ValueError, match=r"qvel\[30\] of environment 2 is inf"):
        engine.reset(torch.tensor([0, 2]), qpos, qvel)


def test_an_engine_that_is_not_installed_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco_warp", None)
    monkeypatch.delitem(sys.modules, "sim.warp_engine", raising=False)
    with pytest.raises(ImportError, match=r"humanoid-rally\[gpu\]"):
        importlib.import_module("sim.warp_engine")
