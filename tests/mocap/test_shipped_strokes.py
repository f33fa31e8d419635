"""The shipped strokes are what their manifest says, and a robot could stand on their feet."""

import json
from pathlib import Path

import numpy as np
import pytest

import assets
from humanoid.motion import RobotMotion
from mocap.filters import runs, velocity
from mocap.robot import RobotModel
from mocap.rotations import matrix_from_quat

FOLDER = Path(assets.__file__).parent / "motions" / "strokes_caldas"
MANIFEST = json.loads((FOLDER / "manifest.json").read_text())


def test_the_set_has_both_sides_a_licence_and_a_citation():
    kinds = [s["kind"] for s in MANIFEST["strokes"]]
    assert kinds.count("forehand") >= 4
    assert kinds.count("backhand") >= 4
    assert MANIFEST["licence"] == "CC-BY-SA-3.0"
    assert "10.1007/978-3-319-52277-7_38" in MANIFEST["attribution"]
    assert "10.1007/978-3-319-52277-7_38" in (FOLDER / "LICENSE").read_text()
    assert {s["file"] for s in MANIFEST["strokes"]} == {p.name for p in FOLDER.glob("*.npz")}


@pytest.mark.parametrize("entry", MANIFEST["strokes"], ids=[s["name"] for s in MANIFEST["strokes"]])
def test_a_stroke_is_as_described(entry: dict, robot: RobotModel):
    motion = RobotMotion.load(FOLDER / entry["file"])
    tree = robot.tree
    pos, rot = tree.forward(motion.root_pos, matrix_from_quat(motion.root_quat), motion.joint_pos)
    centre, attitude = tree.place(robot.racket, pos, rot)
    k = round(entry["strike_s"] * motion.fps)
    v = velocity(centre, motion.fps)
    np.testing.assert_allclose(centre[k], entry["strike"]["racket_pos_m"], atol=1e-3)
    np.testing.assert_allclose(v[k], entry["strike"]["racket_vel_m_s"], atol=0.02)
    normal = attitude[k, :, 2] * entry["strike"]["face_sign"]
    np.testing.assert_allclose(normal, entry["strike"]["face_normal"], atol=1e-3)
    # It hits toward +x, with a square face, at a height at which a robot is fed balls.
    assert v[k, 0] > 0.8 * np.linalg.norm(v[k])
    assert normal @ v[k] > 0.9 * np.linalg.norm(v[k])
    assert 0.6 < centre[k, 2] < 1.15
    # Joints within their limits, feet on the ground and still while they stand.
    assert (motion.joint_pos >= tree.lower - 1e-6).all()
    assert (motion.joint_pos <= tree.upper + 1e-6).all()
    assert (np.abs(velocity(motion.joint_pos, motion.fps)) <= tree.velocity).all()
    for n in range(2):
        place, level = tree.place(robot.soles[n], pos, rot)
        for a, b in runs(motion.contacts[:, n]):
            assert np.abs(place[a:b, 2]).max() < 0.005
            assert np.ptp(place[a:b, :2], axis=0).max() < 0.01
            assert level[a:b, 2, 2].min() > np.cos(0.03)
