"""The simulated court: balls come while the robot plays, and it sees them as the protocol says."""

import numpy as np
import pytest
import torch

from humanoid.joints import READY_JOINT_POS
from humanoid.observation import TERMS
from humanoid.robot import RobotCommand
from sim.engine import CpuEngine
from sim.simulated_court import PlantEngine, SimulatedCourt


@pytest.fixture
def court():
    with torch.no_grad():
        return SimulatedCourt(level="feed", seed=1)


def play(court, seconds, mode="play"):
    court.command(RobotCommand(READY_JOINT_POS, mode=mode))
    for _ in range(round(seconds / 0.005)):
        court.advance()


def test_signals_are_known_terms_of_their_sizes(court):
    for name, value in court.signals().items():
        assert value.shape == (TERMS[name].size,)
        assert np.isfinite(value).all()


def test_no_ball_comes_before_play(court):
    play(court, 0.2, mode="ramp")
    assert court.signals()["ball_valid"] == 0.0
    np.testing.assert_array_equal(court.signals()["ball_pos"], 0.0)


def test_a_ball_flies_toward_the_robot_in_play(court):
    play(court, 0.1)
    first = court.signals()
    play(court, 0.1)
    later = court.signals()
    assert first["ball_valid"] == 1.0
    assert first["ball_vel"][0] < -5.0
    moved = (later["ball_pos"] - first["ball_pos"]) / 0.1
    np.testing.assert_allclose(moved, (first["ball_vel"] + later["ball_vel"]) / 2, atol=0.2)
    assert later["target"][0] > 0.0


def test_missed_balls_are_counted(court):
    play(court, 6.0)
    summary = court.summary()
    assert summary["balls"] >= 1
    assert sum(summary["outcomes"].values()) == summary["balls"]


def test_the_plant_moves_as_the_engine_of_training_does(court):
    """The same physics to the bit: a policy meets on the simulated robot what it was trained on."""
    engine = CpuEngine(1, threads=1)
    engine.reset(torch.arange(1), court.task.ready_qpos[None], court.task.ready_qvel[None])
    plant = PlantEngine(court)
    court.command(RobotCommand(READY_JOINT_POS, mode="play"))
    court.data.qpos[:] = court.task.ready_qpos.numpy()
    court.data.qvel[:] = 0.0
    court.data.qacc_warmstart[:] = 0.0
    for _ in range(50):
        engine.ctrl[:] = torch.as_tensor(READY_JOINT_POS + 0.05)
        court.data.ctrl[:] = READY_JOINT_POS + 0.05
        engine.step()
        plant.step()
    np.testing.assert_allclose(plant.qpos, engine.qpos, atol=1e-9)
    np.testing.assert_allclose(plant.racket_pos, engine.racket_pos, atol=1e-9)
    np.testing.assert_allclose(plant.racket_rot, engine.racket_rot, atol=1e-9)


def test_a_hit_pushes_the_racket_for_one_step(court):
    plant = PlantEngine(court)
    impulse, point = torch.tensor([[1.0, 0.0, 0.0]]), plant.racket_pos.clone()
    plant.push_racket(torch.arange(1), impulse, point)
    body = court.model.body("racket").id
    np.testing.assert_allclose(court.data.xfrc_applied[body][:3], [200.0, 0, 0])
    plant.step()
    np.testing.assert_array_equal(court.data.xfrc_applied[body], 0.0)
