"""MuJoCo Warp behind the engine's contract, on the CPU, against `mujoco.batch`.

The first run on a machine compiles Warp's kernels, 25 s; they are kept on disk.
"""

import math

import mujoco
import pytest
import torch

pytest.importorskip("mujoco_warp", reason="MuJoCo Warp is not installed: pip install -e '.[gpu]'")

from humanoid.model import build_model
from sim.engine import CpuEngine
from sim.return_task import ReturnTask, ready_state
from sim.warp_engine import WarpEngine, capacity

START = (-11.9, 0.0)
MODEL = build_model()


@pytest.fixture
def engine(shared):
    stand(shared)
    return shared


@pytest.fixture(scope="module")
def shared():
    return WarpEngine(3, MODEL, device="cpu")


def stand(engine, height=-5e-4):
    """In the ready pose, soles half a millimetre deep, so that they touch whatever the rounding."""
    qpos, qvel = ready_state(START)
    qpos[2] += height
    n = engine.num_envs
    engine.reset(torch.arange(n), qpos.expand(n, -1), qvel.expand(n, -1))


def swing(engine, seconds=1.0, push=None):
    """Robots swing waist and arms by up to 0.3 rad, each in its own phase; what they do, (steps, N, …)."""
    stand(engine)
    draw = torch.Generator().manual_seed(0)
    rate, start = 6 + 12 * torch.rand(17, generator=draw), 6 * torch.rand(17, generator=draw)
    start = start + torch.arange(engine.num_envs)[:, None]
    ready = engine.ctrl[:, 12:].clone()
    trace = []
    for step in range(round(seconds / 0.02)):
        engine.ctrl[:, 12:] = ready + 0.3 * (torch.sin(start + rate * 0.02 * step) - torch.sin(start)).to(
            ready
        )
        if push is not None and step == 5:
            everyone = torch.arange(engine.num_envs)
            engine.push_racket(everyone, push.expand(engine.num_envs, 3), engine.racket_pos + 0.05)
        for _ in range(4):
            engine.step()
        trace.append(torch.cat((engine.qpos[:, 7:], engine.qpos[:, :7], engine.racket_pos), 1).double())
    return torch.stack(trace)


@pytest.mark.parametrize("push", [None, torch.tensor([-1.5, 0.4, 0.3])], ids=["swing", "push"])
def test_a_second_is_that_of_the_cpu_engine(engine, push):
    """Joints within 2e-3 rad, pelvis and racket within 1e-4 m: float32's rounding, grown by lifting feet."""
    ours, theirs = swing(engine, push=push), swing(CpuEngine(3, MODEL, threads=1), push=push)
    difference = (ours - theirs).abs().amax((0, 1))
    assert difference[:29].max() < 2e-3
    assert difference[29:].max() < 1e-4
    assert (theirs[-1] - theirs[0]).abs().max() > 0.1


def test_torque_is_that_of_the_cpu_engine(engine):
    cpu = CpuEngine(3, MODEL, threads=1)
    stand(cpu)
    for one in (engine, cpu):
        one.ctrl[:, 3] += torch.tensor([0.1, 0.2, 3.0]).to(one.ctrl)
        one.step()
    torch.testing.assert_close(engine.torque.double(), cpu.torque, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(engine.racket_rot.double(), cpu.racket_rot, atol=1e-5, rtol=0)
    torch.testing.assert_close(engine.foot_pos.double(), cpu.foot_pos, atol=1e-5, rtol=0)


def test_replayed_graphs_are_the_same_as_launches(engine):
    plain = WarpEngine(3, MODEL, device="cpu", graph=False)
    assert torch.equal(swing(engine, 0.2), swing(plain, 0.2))


def test_a_reset_moves_only_its_robots(engine):
    engine.advance(5)
    before = engine.qpos.clone()
    qpos, qvel = ready_state((1.0, 2.0))
    engine.reset(torch.tensor([1]), qpos[None], qvel[None])
    torch.testing.assert_close(engine.qpos[1].double(), qpos, atol=1e-6, rtol=0)
    torch.testing.assert_close(engine.ctrl[1].double(), qpos[7:], atol=1e-6, rtol=0)
    assert torch.equal(engine.qpos[[0, 2]], before[[0, 2]])


def test_racket_and_feet_follow_a_reset(engine):
    before = engine.racket_pos.clone()
    qpos, qvel = ready_state((START[0] + 1.0, START[1]))
    engine.reset(torch.tensor([1]), qpos[None], qvel[None])
    moved = engine.racket_pos - before
    torch.testing.assert_close(moved[1], torch.tensor([1.0, 0.0, 5e-4]), atol=1e-5, rtol=0)
    assert (moved[[0, 2]] == 0).all()


def test_a_robot_starts_again_after_nonsense(engine):
    """Non-finite numbers stay in their robot, and a reset leaves none behind."""
    engine.advance(5)
    fresh = engine.qpos.clone()
    stand(engine)
    engine.qvel[1] = math.nan
    engine.advance(5)
    assert torch.equal(engine.qpos[[0, 2]], fresh[[0, 2]])
    assert not torch.isfinite(engine.qpos[1]).all()
    stand(engine)
    engine.advance(5)
    assert torch.equal(engine.qpos, fresh)


def test_advance_of_some_is_that_many_steps_of_them(engine):
    """And the others stay, to the bit."""
    engine.ctrl[:, 12] += torch.tensor([0.1, 0.2, 0.3])
    begin = engine.state()
    ids = torch.tensor([0, 2])
    engine.advance(4, ids)
    together, still = engine.qpos.clone(), engine.racket_pos[1].clone()
    engine.restore(begin)
    assert torch.equal(together[1], engine.qpos[1])
    assert torch.equal(still, engine.racket_pos[1])
    for _ in range(4):
        engine.step(ids)
    assert torch.equal(together, engine.qpos)
    assert not torch.equal(together[0], begin[0, :36])


def test_a_push_waits_for_its_robot(engine):
    begin = engine.state()
    engine.push_racket(torch.tensor([1]), torch.tensor([[0.0, 0.0, 2.0]]), engine.racket_pos[1:2])
    engine.step()
    pushed = engine.qvel[1].clone()
    engine.restore(begin)
    engine.push_racket(torch.tensor([1]), torch.tensor([[0.0, 0.0, 2.0]]), engine.racket_pos[1:2])
    engine.step(torch.tensor([0]))
    engine.step(torch.tensor([1]))
    assert torch.equal(engine.qvel[1], pushed)
    engine.restore(begin)
    engine.step()
    assert not torch.equal(engine.qvel[1], pushed)


def test_a_written_velocity_counts_from_the_next_step(engine):
    """As if the robot had been put there."""
    engine.qvel[1, :2] += 0.4
    engine.step()
    written = engine.qpos[1].clone()
    qpos, qvel = ready_state(START)
    qpos[2] -= 5e-4
    qvel[:2] = 0.4
    engine.reset(torch.tensor([1]), qpos[None], qvel[None])
    engine.step()
    assert torch.equal(engine.qpos[1], written)


def test_tensors_of_inference_mode_count_writes_too():
    with torch.inference_mode():
        engine = WarpEngine(1, MODEL, device="cpu")
        engine.qvel[0, 0] += 0.5
        engine.step()
    assert engine.qpos[0, 0] > 0.002


def test_no_heap_of_robots_needs_more_contacts_than_there_is_room_for():
    """Robots in any attitude through the floor, with every self-collision that the model knows."""
    model = build_model(self_collision=True)
    contacts, rows, _ = capacity(model)
    data = mujoco.MjData(model)
    draw = torch.Generator().manual_seed(0)
    most = 0
    for _ in range(200):
        data.qpos[:] = torch.randn(36, generator=draw).double().numpy()
        data.qpos[:3] *= 0.1
        mujoco.mj_forward(model, data)
        assert data.ncon <= contacts
        assert data.nefc <= rows
        most = max(most, data.ncon)
    assert most > 8
    assert capacity(MODEL)[:2] == (8, 8 * 4 + 29)


@pytest.mark.parametrize(("field", "entry"), [("qpos", 4), ("qvel", 30)])
def test_a_state_that_is_not_finite_is_refused(engine, field, entry):
    qpos, qvel = (part.expand(2, -1).clone() for part in ready_state(START))
    {"qpos": qpos, "qvel": qvel}[field][1, entry] = math.nan
    with pytest.raises(ValueError, match=rf"{field}\[{entry}\] of environment 2 is nan"):
        engine.reset(torch.tensor([0, 2]), qpos, qvel)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_named():
    with pytest.raises(ValueError, match=r'no CUDA device here.*use "cpu"'):
        WarpEngine(1, MODEL, device="cuda")


def test_the_ball_pushes_the_robot_as_on_the_cpu_engine():
    """The ball-return task on either engine: a ball thrown at the racket leaves it, and moves it, alike."""
    speeds = []
    for engine in (WarpEngine(2, MODEL, device="cpu"), CpuEngine(2, MODEL, threads=1)):
        task = ReturnTask(2, engine=engine, threads=1, pool=16)
        task.step(task.engine.ctrl.clone())
        normal = engine.racket_rot[:1, :, 2].float()
        task.balls.reset(torch.tensor([0]), engine.racket_pos[:1].float() + 0.12 * normal, -10.0 * normal)
        task.step(task.engine.ctrl.clone())
        assert task.contact[0].tolist() == [True, False]
        speeds.append((task.balls.state.vel[0].double(), (engine.qvel[0] - engine.qvel[1]).double()))
    (ball, robot), (ball_cpu, robot_cpu) = speeds
    assert robot_cpu.abs().max() > 0.5
    # The task's robots begin with soles at height zero, where rounding decides on the first touch.
    torch.testing.assert_close(ball, ball_cpu, atol=0.05, rtol=0)
    torch.testing.assert_close(robot, robot_cpu, atol=0.1 * float(robot_cpu.abs().max()), rtol=0)


def test_what_a_player_sees_does_not_change_under_it():
    """Observations are of their moment, though the engine's own tensors are float32 too."""
    task = ReturnTask(1, engine=WarpEngine(1, MODEL, device="cpu"), threads=1, pool=16)
    terms = task.terms()
    seen = {name: term.clone() for name, term in terms.items()}
    task.step(task.engine.ctrl + 0.1)
    assert all(torch.equal(terms[name], seen[name]) for name in seen)
