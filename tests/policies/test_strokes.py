"""The shipped strokes: they load, the feet stay, and they deliver what they say."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from humanoid.joints import LOWER, UPPER
from humanoid.motion import MotionError, RobotMotion
from policies.chain import foot_chain
from policies.design import RacketGoal, Simulator, miss
from policies.strokes import STROKE_FOLDER, load_strokes, stroke_names

NAMES = stroke_names()
SOME = tuple(
    name for kind in ("forehand", "backhand") for name in [n for n in NAMES if n.startswith(kind)][:2]
)


@pytest.fixture(scope="module")
def simulator():
    return Simulator()


def test_there_are_forehands_first_and_backhands():
    kinds = [name.split("_")[0] for name in NAMES]
    assert kinds == sorted(kinds, reverse=True)
    assert set(kinds) == {"forehand", "backhand"}


def test_the_manifest_lists_every_stroke():
    rows = json.loads((STROKE_FOLDER / "manifest.json").read_text())["strokes"]
    assert {row["name"] for row in rows} == set(NAMES)


def test_tensors_have_the_documented_shapes(strokes):
    frames = strokes.joint_pos.shape[1]
    assert strokes.joint_pos.shape == strokes.joint_vel.shape == strokes.torque.shape == (2, frames, 29)
    assert strokes.root_rot.shape == (2, frames, 3, 3)
    assert strokes.arm_inertia.shape == (2, frames, 10, 10)
    assert strokes.contact_pos.shape == strokes.lead_normal.shape == (2, 3)
    assert strokes.face.tolist() == [1.0, -1.0]
    assert ((strokes.strike > 0) & (strokes.strike < strokes.end)).all()


def test_velocities_are_those_of_the_positions(strokes):
    moved = (strokes.joint_pos[:, 2:] - strokes.joint_pos[:, :-2]) / (2 * strokes.dt)
    assert torch.allclose(strokes.joint_vel[:, 1:-1], moved, atol=1e-3)


def test_the_arms_inertia_is_symmetric_and_positive(strokes):
    inertia = strokes.arm_inertia
    assert torch.allclose(inertia, inertia.transpose(-1, -2), atol=1e-5)
    assert torch.linalg.eigvalsh(inertia.double()).min() > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_joints_stay_in_their_limits_and_feet_where_they_are(name):
    motion = RobotMotion.load(STROKE_FOLDER / f"{name}.npz")
    assert (motion.joint_pos >= LOWER - 1e-5).all()
    assert (motion.joint_pos <= UPPER + 1e-5).all()
    w, x, y, z = torch.as_tensor(motion.root_quat).unbind(1)
    assert torch.allclose(x.abs() + y.abs(), torch.zeros_like(x), atol=1e-4), "the pelvis stays upright"
    for side in ("left", "right"):
        foot = foot_chain(side)
        pos = foot.forward(torch.as_tensor(motion.joint_pos[:, foot.index])).pos
        turn = torch.stack((1 - 2 * z * z, -2 * w * z, 2 * w * z, 1 - 2 * z * z), dim=1).view(-1, 2, 2)
        level = (turn @ pos[:, :2, None])[..., 0] + torch.as_tensor(motion.root_pos[:, :2])
        height = pos[:, 2] + torch.as_tensor(motion.root_pos[:, 2])
        assert (level - level[0]).abs().max() < 1e-3
        assert height.abs().max() < 1e-3


@pytest.mark.parametrize("name", SOME)
def test_a_replay_delivers_what_the_stroke_says(name, simulator):
    motion = RobotMotion.load(STROKE_FOLDER / f"{name}.npz")
    said = motion.provenance["delivers"]
    goal = RacketGoal(np.array(said["pos_m"]), np.array(said["vel_m_s"]), np.array(said["normal"]))
    replay = simulator.replay(motion, 1.0 if motion.strokes[0].kind == "forehand" else -1.0)
    off, angle, slow = miss(replay, goal)
    assert not replay.fallen
    assert off < 0.01
    assert angle < np.deg2rad(2)
    assert slow < 0.3


def test_a_missing_stroke_is_named():
    with pytest.raises(MotionError, match=r"serve_99\.npz: no such motion file"):
        load_strokes(("serve_99",))


def test_an_empty_folder_says_how_to_fill_it(tmp_path):
    with pytest.raises(MotionError, match=r"holds no strokes; rebuild them"):
        load_strokes(folder=tmp_path)


def test_a_stroke_of_another_rate_is_refused(tmp_path):
    motion = RobotMotion.load(STROKE_FOLDER / f"{NAMES[0]}.npz")
    replace(motion, fps=60.0).save(tmp_path / "forehand_01.npz")
    with pytest.raises(MotionError, match=r"forehand_01\.npz: has 60\.0 Hz"):
        load_strokes(folder=tmp_path)
