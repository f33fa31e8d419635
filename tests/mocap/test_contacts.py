from dataclasses import replace

import numpy as np
import pytest

from mocap.config import RetargetConfig
from mocap.contacts import find_footing, floor_height, lock_feet, split_drifting, support_offset
from mocap.filters import runs
from mocap.retarget import prepare
from mocap.skeleton import Body


@pytest.fixture(scope="module")
def smooth(body: Body) -> Body:
    return prepare(body, RetargetConfig())


def test_the_floor_is_under_the_toes(smooth: Body):
    assert floor_height(smooth) == pytest.approx(np.median(smooth["left_toe"][:, 2]), abs=0.005)


@pytest.mark.parametrize("height", [-0.3, 0.5])
def test_the_floor_moves_with_the_body(smooth: Body, height: float):
    moved = replace(smooth, points=smooth.points + np.array([0.0, 0.0, height]))
    assert floor_height(moved) == pytest.approx(floor_height(smooth) + height, abs=1e-9)
    assert (find_footing(moved).contact == find_footing(smooth).contact).all()


def test_a_marching_foot_is_seen_leaving_the_ground(smooth: Body):
    contact = find_footing(smooth).contact
    swings = [len(runs(~contact[:, n])) for n in range(2)]
    assert all(3 <= count <= 4 for count in swings)
    # Left lifts at 0.85 of each period of 3 s.
    assert not contact[round(0.85 * 3.0 * 50.0), 0]
    assert contact[round(1.5 * 50.0)].all()


def test_locked_feet_are_still_in_stance_and_lifted_between():
    rng = np.random.default_rng(1)
    frames = 200
    contact = np.ones((frames, 2), dtype=bool)
    contact[80:100, 0] = False
    position = np.zeros((frames, 2, 3))
    position[:, 0, 0] = 0.3 * np.clip((np.arange(frames) - 80) / 20.0, 0.0, 1.0)
    position[..., :2] += 0.003 * rng.normal(size=(frames, 2, 2))
    out, yaw = lock_feet(position, np.zeros((frames, 2)), contact, 50.0)
    for n in range(2):
        for a, b in runs(contact[:, n]):
            assert np.ptp(out[a:b, n], axis=0).max() < 1e-12
            assert out[a:b, n, 2].max() == 0.0
            assert np.ptp(yaw[a:b, n]) < 1e-12
    assert out[80:100, 0, 2].max() > 0.02
    assert (out[..., 2] >= 0.0).all()
    assert np.abs(np.diff(out[:, 0, 0])).max() < 0.04


def test_creeping_stances_are_cut_into_steps():
    contact = np.ones((200, 2), dtype=bool)
    position = np.zeros((200, 2, 3))
    position[:, 0, 0] = 0.3 * np.clip((np.arange(200) - 80) / 40.0, 0.0, 1.0)
    out = split_drifting(contact, position, np.zeros((200, 2)), 50.0)
    assert out[:, 1].all()
    assert not out[80:120, 0].all()


def test_support_is_between_the_feet():
    feet = np.tile(np.array([[[0.0, 0.2], [0.0, -0.2]]]), (4, 1, 1))
    points = np.array([[0.0, 0.0], [0.2, 0.0], [0.0, 0.2], [0.2, 0.0]])
    contact = np.array([[1, 1], [1, 1], [0, 1], [0, 0]], dtype=bool)
    shift = support_offset(points, feet, np.zeros((4, 2)), contact, (0.08, 0.03))
    np.testing.assert_allclose(shift, [[0, 0], [-0.12, 0], [0, -0.37], [0, 0]], atol=1e-12)
