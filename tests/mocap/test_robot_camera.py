"""Pictures of the robot, where there is OpenGL."""

import numpy as np
import pytest

from humanoid.joints import READY_JOINT_POS
from humanoid.model import touching_height
from mocap.robot_camera import NoPictures, RobotCamera


@pytest.fixture(scope="module")
def camera():
    try:
        with RobotCamera(96, 128) as camera:
            yield camera
    except NoPictures as error:
        pytest.skip(str(error))


def pose(x: float = 0.0, height: float | None = None) -> np.ndarray:
    z = touching_height() if height is None else height
    return np.concatenate([[x, 0.0, z, 1.0, 0.0, 0.0, 0.0], READY_JOINT_POS])


def test_the_robot_is_in_the_middle_wherever_it_is(camera):
    empty = camera.draw(pose(height=-50.0), np.pi).astype(int)
    for x in (0.0, 40.0):
        seen = np.abs(camera.draw(pose(x), np.pi).astype(int) - empty).max(axis=2) > 60
        columns = np.flatnonzero(seen.any(axis=0))
        assert 20 < columns.mean() < 76
        assert 0.01 < seen.mean() < 0.5


def test_a_strip_is_a_jpeg_of_all_poses(camera):
    cv2 = pytest.importorskip("cv2", reason="needs the render extra")
    data = camera.strip(np.stack([pose(), pose()]), np.array([0.0, 1.0]), crop=28)
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (100, 192, 3)


def test_switched_off_rendering_is_said(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "disable")
    with pytest.raises(NoPictures, match="MUJOCO_GL=disable"):
        RobotCamera(16, 16)
