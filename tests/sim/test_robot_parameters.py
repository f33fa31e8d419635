"""Robots of one engine with parameters of their own, on every engine."""

import mujoco
import numpy as np
import pytest
import torch

from humanoid.model import build_model
from sim.engine import CpuEngine
from sim.return_task import ready_state
from sim.robot_parameters import PARAMETERS, nominal

MODEL = build_model()
ONE = torch.tensor([1])


def cpu(num_envs=3, model=MODEL):
    return CpuEngine(num_envs, model, threads=1)


def warp(num_envs=3, model=MODEL):
    pytest.importorskip("mujoco_warp", reason="MuJoCo Warp is not installed: pip install -e '.[gpu]'")
    from sim.warp_engine import WarpEngine

    return WarpEngine(num_envs, model, device="cpu")


@pytest.fixture(params=[cpu, warp], ids=["cpu", "warp"])
def make(request):
    return request.param


def stand(engine, height=-5e-4):
    """In the ready pose, soles half a millimetre deep, so that they touch whatever the rounding."""
    qpos, qvel = ready_state((0.0, 0.0))
    qpos[2] += height
    n = engine.num_envs
    engine.reset(torch.arange(n), qpos.expand(n, -1), qvel.expand(n, -1))


def moved(engine, steps=60):
    """Where robots are after swinging their arms."""
    stand(engine)
    engine.ctrl[:, 15:] += 0.3
    engine.advance(steps)
    return engine.qpos.clone()


def heavier(factor=1.3):
    return {name: factor * nominal(MODEL, name) for name in ("body_mass", "body_inertia")}


def test_a_heavier_robot_moves_differently_and_the_others_do_not(make):
    """To the bit, though they share a model with it."""
    alone, mixed = make(), make()
    mixed.set_params(ONE, heavier())
    a, b = moved(alone), moved(mixed)
    assert torch.equal(a[[0, 2]], b[[0, 2]])
    assert (a[1] - b[1]).abs().max() > 1e-2


def test_derived_constants_follow_the_mass(make):
    """A robot changed by parameters moves as one compiled with them."""
    spec_like = build_model()
    for name, value in heavier().items():
        getattr(spec_like, name)[:] = value
    mujoco.mj_setConst(spec_like, mujoco.MjData(spec_like))
    engine = make()
    engine.set_params(ONE, heavier())
    difference = moved(engine)[1].double() - moved(cpu(1, spec_like))[0]
    assert difference.abs().max() < (1e-12 if make is cpu else 1e-4)


def test_gains_make_the_torque(make):
    """kp (target - angle) - kd velocity, for the robot's own gains, up to its own limit."""
    engine = make()
    engine.set_params(ONE, {"kp": 50.0, "kd": 2.0, "effort": 8.0})
    stand(engine, height=1.0)
    offset = torch.linspace(-0.1, 0.3, 29).to(engine.ctrl)
    engine.ctrl[1] += offset
    engine.qvel[1, 6:] = 0.5
    engine.step()
    wanted = (50.0 * offset - 2.0 * 0.5).clamp(-8.0, 8.0)
    torch.testing.assert_close(engine.torque[1], wanted, atol=1e-4, rtol=1e-4)


def test_armature_slows_a_joint(make):
    """With much more inertia than the arm's own, velocity gained is torque over armature times the step."""
    engine = make()
    armature = nominal(MODEL, "dof_armature")
    armature[34] = 5.0
    engine.set_params(ONE, {"dof_armature": armature})
    stand(engine, height=1.0)
    engine.ctrl[1, 28] += 0.1
    engine.step()
    gained = float(engine.torque[1, 28]) * engine.timestep / 5.0
    assert float(engine.qvel[1, 34]) == pytest.approx(gained, rel=0.03)


def test_feet_of_little_friction_slide(make):
    engine = make()
    engine.set_params(ONE, {"geom_friction": torch.tensor([0.05, 0.005, 0.0001])})
    stand(engine)
    engine.advance(10)
    start = engine.foot_pos.clone()
    engine.qvel[:, 1] += 0.5
    engine.advance(20)
    slid = (engine.foot_pos - start)[:, :, 1].mean(1)
    assert slid[1] > 0.02
    assert slid[0] < 0.5 * slid[1]


def test_damping_brakes_joints(make):
    """Viscous friction adds to the motors' own damping; the model has none."""
    engine = make()
    damping = np.zeros(MODEL.nv)
    damping[6:] = 3.0
    engine.set_params(ONE, {"dof_damping": damping})
    stand(engine, height=1.0)
    engine.qvel[:, 6:] = 1.0
    engine.advance(4)
    speed = engine.qvel[:, 6:].abs().mean(1)
    assert speed[1] < 0.8 * speed[0]


def test_parameters_outlast_a_reset(make):
    engine = make()
    engine.set_params(ONE, heavier())
    first = moved(engine)
    assert torch.equal(moved(engine), first)


def test_parameters_read_back(make):
    engine = make()
    for name in PARAMETERS:
        own = torch.as_tensor(nominal(MODEL, name)).to(engine.qpos)
        torch.testing.assert_close(engine.params(name), own.expand(3, *own.shape).to(engine.qpos))
        engine.set_params(ONE, {name: 1.5 * own})
        torch.testing.assert_close(engine.params(name)[1], 1.5 * own)
        torch.testing.assert_close(engine.params(name)[2], own)


def test_a_push_acts_about_the_robots_own_centre_of_mass(make):
    """An impulse through a shifted centre of mass turns nothing."""
    engine = make()
    racket = MODEL.body("racket").id
    ipos = nominal(MODEL, "body_ipos")
    ipos[racket] += (0.0, 0.05, 0.0)
    engine.set_params(ONE, {"body_ipos": ipos})
    stand(engine)
    centre = engine.racket_pos[1] + engine.racket_rot[1] @ torch.as_tensor(ipos[racket]).to(engine.qpos)
    engine.push_racket(ONE, torch.tensor([[0.0, 1.0, 0.0]]), centre[None])
    assert engine._pushes[1, racket, 3:].abs().max() < 1e-4


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mass": 1.0}, "body_mass, body_inertia"),
        ({"body_mass": -1.0}, "body_mass of environment 1, body world: -1 must be finite and positive"),
        ({"dof_armature": float("nan")}, "dof_armature of environment 1, joint root: nan"),
        ({"kp": torch.full((1, 29), 1.0).index_fill(1, torch.tensor([3]), -2.0)}, "actuator left_knee_joint"),
        ({"kp": torch.ones(2, 29)}, r"values of shape \(2, 29\) do not fit \(1, 29\)"),
    ],
)
def test_absurd_parameters_are_named_and_nothing_is_written(values, words):
    engine = cpu()
    with pytest.raises(ValueError, match=words):
        engine.set_params(ONE, {"kd": 1.0, **values})
    assert torch.equal(engine.params("kd")[1], torch.as_tensor(nominal(MODEL, "kd")))


def test_a_state_goes_on_as_it_would_have(make):
    engine = make()
    moved(engine)
    kept = engine.state()
    engine.advance(10)
    after = engine.qpos.clone()
    stand(engine)
    engine.restore(kept)
    engine.advance(10)
    assert torch.equal(engine.qpos, after)
