"""The policy that only stands: it does, and the shipped bundle is the one that the source builds."""

import numpy as np
import pytest

from humanoid.bundle import PolicyBundle
from humanoid.joints import READY_JOINT_POS
from humanoid.observation import neutral_values
from humanoid.robot import RobotCommand
from humanoid.safety import SafetyMonitor, Shield, pd_torque
from humanoid.simulated_robot import SimulatedRobot
from humanoid.standing import write_standing


@pytest.fixture(scope="module")
def stand():
    return PolicyBundle.load("stand")


def play(policy, robot, seconds, push=None):
    """Run a policy on a plant; returns the monitor and the number of the shield's interventions."""
    memory = policy.initial_memory()
    monitor, shield, changes = SafetyMonitor(), Shield(), 0
    for cycle in range(round(seconds / 0.02)):
        values = robot.values()
        terms = {name: values[name][None].astype(np.float32) for name in policy.layout.names}
        target, memory = policy.act(policy.assemble(terms), memory)
        q, v = values["joint_pos"][None], values["joint_vel"][None]
        monitor.update(q, v, pd_torque(target, q, v))
        shielded = shield.filter(target, q, v)
        changes += len(shielded.interventions)
        robot.command(RobotCommand(shielded.target[0]))
        if push and cycle == 50:
            robot.data.qvel[:3] += push
        for _ in range(4):
            robot.advance()
    return monitor, changes


def test_it_stands_with_room_to_every_limit_and_the_shield_at_rest(stand):
    robot = SimulatedRobot(x=-11.9)
    robot.data.qpos[7:] = READY_JOINT_POS
    monitor, changes = play(stand, robot, 10.0)
    report = monitor.report()
    assert not robot.fallen
    assert np.abs(robot.values()["root_pos"][:2] - [-11.9, 0.0]).max() < 0.02
    assert changes == 0
    for key in ("position", "velocity", "torque", "braking"):
        assert report[f"{key}_violations"] == 0
    assert report["closest_position_margin_rad"] > 0.05


@pytest.mark.parametrize("push", [(0.25, 0, 0), (-0.15, 0, 0), (0, 0.2, 0)])
def test_it_stands_up_to_a_push(stand, push):
    robot = SimulatedRobot()
    robot.data.qpos[7:] = READY_JOINT_POS
    play(stand, robot, 6.0, push)
    assert not robot.fallen
    assert np.abs(robot.values()["root_lin_vel"]).max() < 0.05


def test_it_does_not_matter_where_and_in_which_direction_it_stands(stand):
    terms = neutral_values(2)
    terms["root_pos"][1, :2] = [-11.9, 3.0]
    half = 0.6
    terms["root_quat"][1] = [np.cos(half), 0, 0, np.sin(half)]
    targets, memory = stand.act(stand.assemble(terms))
    np.testing.assert_allclose(targets[0], targets[1], atol=1e-5)
    moved = {name: value.copy() for name, value in terms.items()}
    ahead = np.array([[1.0, 0.0], [np.cos(2 * half), np.sin(2 * half)]], dtype=np.float32)
    moved["root_pos"][:, :2] += 0.02 * ahead
    targets, _ = stand.act(stand.assemble(moved), memory)
    np.testing.assert_allclose(targets[0], targets[1], atol=1e-4)


def test_the_shipped_bundle_is_what_the_source_builds(stand, tmp_path):
    fresh = PolicyBundle.load(write_standing(tmp_path / "stand"))
    rng = np.random.default_rng(0)
    observation = stand.assemble(neutral_values(50)) + 0.02 * rng.standard_normal((50, stand.layout.size))
    again = "write it again: python -m humanoid.standing assets/policies/stand"
    np.testing.assert_allclose(fresh.act(observation)[0], stand.act(observation)[0], atol=1e-3, err_msg=again)
    np.testing.assert_array_equal(fresh.kp, stand.kp, err_msg=again)
