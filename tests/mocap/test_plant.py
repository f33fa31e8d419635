"""Planted strokes: soles that stay, a pose to come from and go to, and balance."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pinocchio as pin
import pytest

import assets
from humanoid.bodies import FOOT_CORNERS
from humanoid.joints import LOWER, READY_JOINT_POS, UPPER
from humanoid.kinematics import default_pinocchio, to_pinocchio
from humanoid.motion import RobotMotion
from mocap.plant import PlantConfig, PlantError, balance, plant, ready_stance, zero_moment_point

HUMAN = Path(next(iter(assets.__path__))) / "motions" / "strokes_caldas"


@pytest.fixture(scope="module", params=["forehand", "backhand"])
def pair(request):
    """A human stroke and the planted one."""
    motion = RobotMotion.load(sorted(HUMAN.glob(f"{request.param}_*.npz"))[-1])
    return motion, plant(motion, motion.strokes[0])


def soles(motion: RobotMotion) -> np.ndarray:
    """Positions and rotation vectors of left and right sole, (T, 2, 6)."""
    model = default_pinocchio()
    data = model.createData()
    out = []
    for q in to_pinocchio(motion.root_pos, motion.root_quat, motion.joint_pos):
        pin.framesForwardKinematics(model, data, q)
        placed = [data.oMf[model.getFrameId(f"{side}_foot")] for side in ("left", "right")]
        out.append([np.concatenate([p.translation, pin.log3(p.rotation)]) for p in placed])
    return np.array(out)


def test_the_soles_do_not_move(pair):
    placed = soles(pair[1])
    assert np.abs(placed[..., :3] - placed[0, :, :3]).max() < 1e-3
    assert np.abs(placed[..., 3:] - placed[0, :, 3:]).max() < np.radians(0.5)


def test_the_soles_are_flat_on_the_ground(pair):
    placed = soles(pair[1])
    assert np.abs(placed[..., 2]).max() < 1e-3
    assert np.abs(placed[..., 3:5]).max() < np.radians(0.5)
    assert pair[1].contacts.all()


def test_it_starts_and_ends_in_the_ready_pose(pair):
    motion = pair[1]
    for row in (0, -1):
        np.testing.assert_allclose(motion.joint_pos[row, 12:], READY_JOINT_POS[12:], atol=0.02)
        # Flat soles need a few degrees of the ankles.
        np.testing.assert_allclose(motion.joint_pos[row, :12], READY_JOINT_POS[:12], atol=0.1)
        np.testing.assert_allclose(motion.root_quat[row], [1, 0, 0, 0], atol=1e-3)
        np.testing.assert_allclose(motion.root_pos[row, :2], 0.0, atol=0.03)


def test_the_zero_moment_point_stays_between_the_soles(pair):
    motion = pair[1]
    zmp = zero_moment_point(motion.root_pos, motion.root_quat, motion.joint_pos, motion.fps)
    middle = np.array([sole.translation[:2] for sole in ready_stance()[1]])
    corners = np.array(FOOT_CORNERS) - [0.0375, 0.0]
    low, high = middle.min(axis=0) + corners.min(axis=0), middle.max(axis=0) + corners.max(axis=0)
    assert (zmp > low + 0.005).all()
    assert (zmp < high - 0.005).all()


def test_shifting_the_body_ends_with_the_zero_moment_point_in_the_support_area(pair):
    """A few rounds bring most strokes there, more rounds all."""
    motion, config = pair[1], PlantConfig()
    _, where = ready_stance()
    root_pos, joint_pos = balance(
        motion.root_pos, motion.root_quat, motion.joint_pos, where, motion.fps, config, rounds=8
    )
    zmp = zero_moment_point(root_pos, motion.root_quat, joint_pos, motion.fps)
    middle = np.mean([sole.translation[:2] for sole in where], axis=0)
    assert (np.abs(zmp - middle).max(axis=0) < np.array(config.support) + 0.006).all()


def test_the_arms_swing_as_the_human_did_at_the_strike(pair):
    human, motion = pair
    there = round(human.strokes[0].strike_s * human.fps)
    here = round(motion.strokes[0].strike_s * motion.fps)
    np.testing.assert_allclose(motion.joint_pos[here, 15:], human.joint_pos[there, 15:], atol=0.25)


def test_its_length_and_strike_are_the_configs(pair):
    motion, config = pair[1], PlantConfig()
    assert motion.duration == pytest.approx(config.before_s + config.after_s, abs=1 / motion.fps)
    assert motion.strokes[0].strike_s == config.before_s
    assert len(motion.strokes) == 1
    assert (motion.joint_pos >= LOWER - 1e-9).all()
    assert (motion.joint_pos <= UPPER + 1e-9).all()
    assert "planted" in motion.provenance


def test_a_motion_too_short_around_its_strike_is_refused(pair):
    human = pair[0]
    stroke = replace(human.strokes[0], strike_s=0.1)
    with pytest.raises(PlantError, match=f"{human.name}: less than 1.1 s before"):
        plant(human, stroke)


def test_a_robot_at_rest_has_its_zero_moment_point_under_its_centre_of_mass():
    root, _ = ready_stance()
    frames = 5
    pose = np.tile(READY_JOINT_POS, (frames, 1))
    quat = np.tile([1.0, 0, 0, 0], (frames, 1))
    zmp = zero_moment_point(np.tile(root, (frames, 1)), quat, pose, 50.0)
    model = default_pinocchio()
    com = pin.centerOfMass(model, model.createData(), to_pinocchio(root, quat[0], READY_JOINT_POS))
    np.testing.assert_allclose(zmp, np.tile(com[:2], (frames, 1)), atol=1e-9)
