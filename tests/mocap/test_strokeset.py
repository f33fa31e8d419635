import json

import numpy as np
import pytest

from humanoid.motion import RobotMotion
from mocap.config import CutConfig
from mocap.filters import velocity
from mocap.ready import ready_pose
from mocap.retarget import Retargeted
from mocap.robot import RobotModel
from mocap.rotations import matrix_from_quat
from mocap.strokeset import Cut, choose, cut_strokes, write_set


@pytest.fixture(scope="module")
def cuts(motion: Retargeted, robot: RobotModel) -> list[Cut]:
    return cut_strokes(motion, robot, CutConfig(), "synthetic")


def test_every_whole_stroke_is_cut(cuts: list[Cut]):
    assert len(cuts) == 3


def test_strokes_hit_toward_plus_x(cuts: list[Cut]):
    for cut in cuts:
        v = np.array(cut.strike["racket_vel_m_s"])
        assert v[0] > 0.9 * np.linalg.norm(v[:2])
        assert np.array(cut.strike["face_normal"])[0] > 0.8


def test_strokes_start_over_the_origin_in_the_ready_pose(cuts: list[Cut], robot: RobotModel):
    ready = ready_pose(robot, np.zeros(2))
    for cut in cuts:
        np.testing.assert_allclose(cut.root_pos[0, :2], 0.0, atol=1e-9)
        for k in (0, -1):
            np.testing.assert_allclose(cut.q[k, 12:], ready.q[12:], atol=1e-9)
            assert cut.contact[k].all()
            forward = cut.root_rot[k, :, 0]
            assert forward[0] > 0.999


def test_strokes_are_continuous(cuts: list[Cut], robot: RobotModel):
    for cut in cuts:
        assert (np.abs(velocity(cut.q, cut.fps)) <= robot.tree.velocity).all()
        assert np.linalg.norm(velocity(cut.root_pos, cut.fps), axis=1).max() < 1.5


def test_spoiled_strokes_are_left_out(motion: Retargeted, robot: RobotModel):
    spoiled = np.zeros(len(motion.q), dtype=bool)
    spoiled[motion.strokes[1].strike] = True
    assert len(cut_strokes(motion, robot, CutConfig(), "synthetic", spoiled)) == 2


def test_the_manifest_is_true(tmp_path, cuts: list[Cut], robot: RobotModel):
    chosen = choose(cuts, CutConfig(forehands=2, backhands=2, speed_m_s=(0.0, 50.0), height_m=(0.0, 2.0)))
    assert [c.name for c in chosen] == ["forehand_01", "forehand_02"]
    (tmp_path / "old.npz").write_bytes(b"stale")
    manifest = json.loads(write_set(tmp_path, chosen, {"licence": "test"}).read_text())
    assert not (tmp_path / "old.npz").exists()
    for entry in manifest["strokes"]:
        motion = RobotMotion.load(tmp_path / entry["file"])
        assert motion.num_frames == entry["frames"]
        assert motion.strokes[0].strike_s == pytest.approx(entry["strike_s"], abs=1e-3)
        pos, rot = robot.tree.forward(motion.root_pos, matrix_from_quat(motion.root_quat), motion.joint_pos)
        centre, _ = robot.tree.place(robot.racket, pos, rot)
        k = round(entry["strike_s"] * motion.fps)
        np.testing.assert_allclose(centre[k], entry["strike"]["racket_pos_m"], atol=1e-3)
        np.testing.assert_allclose(
            velocity(centre, motion.fps)[k], entry["strike"]["racket_vel_m_s"], atol=0.01
        )
