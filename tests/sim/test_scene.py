"""The rendered scene stands where the court is, and robots are posed as told."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from humanoid.joints import READY_JOINT_POS
from humanoid.model import build_model
from sim import court
from sim.scene import AWAY, LINE_WIDTH, build_scene


@pytest.fixture(scope="module")
def scene():
    return build_scene(2)


def standing(x: float, facing: float) -> np.ndarray:
    return np.array([x, 0.3, 0.75, np.cos(facing / 2), 0, 0, np.sin(facing / 2), *READY_JOINT_POS])


def corners(model, name):
    """Lowest and highest corner of a box or mesh fixed in the world, (3,), [m]."""
    geom = model.geom(name)
    low, high = model.geom_aabb[geom.id][:3], model.geom_aabb[geom.id][3:]
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, geom.quat)
    centre = geom.pos + rotation.reshape(3, 3) @ low
    half = np.abs(rotation.reshape(3, 3)) @ high
    return centre - half, centre + half


def test_outer_edges_of_lines_are_the_courts(scene):
    low, high = corners(scene.model, "line left singles sideline")
    assert high[1] == pytest.approx(court.SINGLES_HALF_WIDTH)
    assert high[1] - low[1] == pytest.approx(LINE_WIDTH)
    low, high = corners(scene.model, "line far baseline")
    assert high[0] == pytest.approx(court.HALF_LENGTH)
    low, high = corners(scene.model, "line near service line")
    assert low[0] == pytest.approx(-court.SERVICE_LINE)
    low, high = corners(scene.model, "line centre service line")
    assert low[1] == pytest.approx(-high[1])


def test_every_line_is_painted(scene):
    for name in court.line_segments():
        assert scene.model.geom(f"line {name}").id >= 0


def test_net_band_follows_the_net(scene):
    low, high = corners(scene.model, "net_band")
    assert high[2] == pytest.approx(court.NET_POST_HEIGHT, abs=1e-6)
    assert high[1] == pytest.approx(court.NET_END, abs=1e-6)
    assert low[2] == pytest.approx(float(court.net_height(torch.tensor(0.0))) - 0.065, abs=1e-6)


def test_robots_are_posed_as_in_their_own_model(scene):
    qpos = np.stack([standing(-12.0, 0.0), standing(11.0, np.pi)])
    scene.pose(qpos)
    alone = build_model()
    for robot in range(2):
        data = mujoco.MjData(alone)
        data.qpos[:] = qpos[robot]
        mujoco.mj_kinematics(alone, data)
        expected = data.body("racket").xpos
        np.testing.assert_allclose(scene.data.body(f"robot{robot}_racket").xpos, expected, atol=1e-9)
        np.testing.assert_allclose(scene.robot_center(robot), qpos[robot, :3])


def test_players_have_different_colours(scene):
    first, second = (scene.model.material(f"robot{i}_accent").rgba for i in range(2))
    assert not np.allclose(first, second)


def test_ball_and_target_come_and_go(scene):
    qpos = np.stack([standing(-12.0, 0.0), standing(11.0, np.pi)])
    scene.pose(qpos, ball=np.array([1.0, 2.0, 3.0]), target=np.array([8.0, -1.0]))
    np.testing.assert_allclose(scene.data.geom("ball").xpos, [1, 2, 3])
    np.testing.assert_allclose(scene.data.body("target").xpos[:2], [8, -1])
    scene.pose(qpos)
    np.testing.assert_allclose(scene.data.geom("ball").xpos, AWAY)


def test_nothing_in_the_court_collides(scene):
    world = scene.model.geom_bodyid == 0
    assert not scene.model.geom_contype[world].any()
    assert not scene.model.geom_conaffinity[world].any()
