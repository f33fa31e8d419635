from dataclasses import replace

import numpy as np
import pytest

from mocap.momentum import GRAVITY, angular_momentum, compare, flights, human_masses
from mocap.retarget import Retargeted
from mocap.robot import RobotModel
from mocap.skeleton import Body


def test_a_turning_dumbbell_has_the_textbooks_momentum():
    t = np.arange(200) / 100.0
    arm = 0.5 * np.stack([np.cos(3.0 * t), np.sin(3.0 * t), 0.0 * t], axis=1)
    com, spin = angular_momentum(np.stack([1.0 + arm, 1.0 - arm], axis=1), np.array([0.5, 0.5]), 100.0)
    np.testing.assert_allclose(com, 1.0, atol=1e-12)
    # m r² ω, per unit of mass.
    np.testing.assert_allclose(spin[2:-2, 2], 0.25 * 3.0, rtol=1e-3)


def test_the_humans_centre_of_mass_is_in_the_trunk(body: Body):
    points, masses = human_masses(body)
    height = np.einsum("tnk,n->tk", points, masses)[:, 2] - body["left_toe"][:, 2].min()
    hip = body["left_hip"][:, 2] - body["left_toe"][:, 2].min()
    assert masses.sum() == pytest.approx(1.0)
    # Just over the hip joints in standing people.
    assert 0.9 < np.median(height / hip) < 1.3


def test_the_robots_momentum_follows_the_humans(motion: Retargeted, robot: RobotModel):
    found = compare(motion.body, robot.tree, motion.joint_pos, motion.joint_rot, motion.scale)
    assert found.correlation > 0.7
    assert found.flights == 0
    assert found.flight_gravity is None


@pytest.fixture(scope="module")
def jumper(motion: Retargeted) -> tuple[Body, np.ndarray]:
    """The player thrown up for 0.4 s, and the height of it."""
    t = (np.arange(len(motion.q)) - 250) / motion.fps
    height = np.maximum(0.5 * GRAVITY * (0.2**2 - t**2), 0.0)
    points = np.repeat(motion.body.points[60:61], len(t), axis=0)
    points[:, :, 2] += height[:, None]
    return replace(motion.body, points=points), height


def test_jumps_are_found_in_the_human(jumper: tuple[Body, np.ndarray]):
    body, height = jumper
    (a, b) = flights(body)[0]
    assert len(flights(body)) == 1
    assert (height[a:b] > 0.03).all()
    assert b - a > 12


def test_a_thrown_body_falls_with_g(jumper, motion: Retargeted, robot: RobotModel):
    body, height = jumper
    thrown = np.repeat(motion.joint_pos[60:61], len(height), axis=0)
    thrown[:, :, 2] += 0.5 * height[:, None]
    rot = np.repeat(motion.joint_rot[60:61], len(height), axis=0)
    found = compare(body, robot.tree, thrown, rot, motion.scale)
    assert found.human_flight_gravity == pytest.approx(1.0, abs=1e-6)
    assert found.flight_gravity == pytest.approx(0.5, abs=1e-6)
