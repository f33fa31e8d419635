"""Pinocchio and MuJoCo are built from one table: they must agree."""

import mujoco
import numpy as np
import pinocchio as pin
import pytest

from humanoid.joints import ARMATURE, JOINT_NAMES, JOINTS, LOWER, UPPER, VELOCITY_LIMIT
from humanoid.kinematics import build_pinocchio, default_pinocchio, from_pinocchio, to_pinocchio
from humanoid.model import build_model


@pytest.fixture(scope="module")
def models():
    return build_model(floor=False), default_pinocchio()


def configurations(count, seed=0):
    rng = np.random.default_rng(seed)
    quat = rng.standard_normal((count, 4))
    quat /= np.linalg.norm(quat, axis=1, keepdims=True)
    return rng.uniform(-1, 1, (count, 3)), quat, rng.uniform(LOWER, UPPER, (count, 29))


def test_joint_order_is_the_tables():
    model = default_pinocchio()
    assert tuple(model.names)[2:] == JOINT_NAMES
    assert [model.joints[i + 2].idx_q for i in range(29)] == list(range(7, 36))
    np.testing.assert_array_equal(model.upperPositionLimit[7:], UPPER)
    np.testing.assert_array_equal(model.velocityLimit[6:], VELOCITY_LIMIT)


def test_frames_are_where_mujoco_has_them(models):
    mj, model = models
    mj_data, data = mujoco.MjData(mj), model.createData()
    for pos, quat, q in zip(*configurations(20), strict=True):
        mj_data.qpos[:] = np.concatenate([pos, quat, q])
        mujoco.mj_kinematics(mj, mj_data)
        pin.framesForwardKinematics(model, data, to_pinocchio(pos, quat, q))
        for name in [joint.link for joint in JOINTS]:
            frame = data.oMf[model.getFrameId(name)]
            np.testing.assert_allclose(frame.translation, mj_data.body(name).xpos, atol=1e-9, err_msg=name)
            np.testing.assert_allclose(frame.rotation.ravel(), mj_data.body(name).xmat, atol=1e-9)
        for name in ("racket", "left_foot", "right_foot"):
            frame = data.oMf[model.getFrameId(name)]
            np.testing.assert_allclose(frame.translation, mj_data.site(name).xpos, atol=1e-9, err_msg=name)
            np.testing.assert_allclose(frame.rotation.ravel(), mj_data.site(name).xmat, atol=1e-9)


def test_mass_matrices_agree(models):
    mj, model = models
    mj_data, data = mujoco.MjData(mj), model.createData()
    for pos, quat, q in zip(*configurations(20, seed=1), strict=True):
        mj_data.qpos[:] = np.concatenate([pos, quat, q])
        mujoco.mj_forward(mj, mj_data)
        want = np.zeros((mj.nv, mj.nv))
        mujoco.mj_fullM(mj, mj_data, want)
        got = pin.crba(model, data, to_pinocchio(pos, quat, q))
        got = np.triu(got) + np.triu(got, 1).T
        # MuJoCo's root velocity is linear in the world frame, Pinocchio's in the root's.
        turn = np.eye(35)
        turn[:3, :3] = pin.Quaternion(*quat).toRotationMatrix()
        np.testing.assert_allclose(turn @ got @ turn.T, want, atol=1e-9)


def test_centres_of_mass_agree(models):
    mj, model = models
    mj_data, data = mujoco.MjData(mj), model.createData()
    pos, quat, q = (part[0] for part in configurations(1, seed=2))
    mj_data.qpos[:] = np.concatenate([pos, quat, q])
    mujoco.mj_forward(mj, mj_data)
    com = pin.centerOfMass(model, data, to_pinocchio(pos, quat, q))
    np.testing.assert_allclose(com, mj_data.subtree_com[1], atol=1e-9)


def test_conversion_goes_there_and_back():
    parts = configurations(3)
    for part, back in zip(parts, from_pinocchio(to_pinocchio(*parts)), strict=True):
        np.testing.assert_array_equal(part, back)


def test_armature_is_the_motors():
    np.testing.assert_array_equal(default_pinocchio().armature[6:], ARMATURE)


def test_empty_hands_have_no_racket():
    assert not build_pinocchio(racket=None).existFrame("racket")
