"""Limb kinematics in torch against Pinocchio."""

import numpy as np
import pinocchio as pin
import pytest
import torch

from humanoid.joints import JOINT_NAMES, LOWER, UPPER
from humanoid.kinematics import default_pinocchio, to_pinocchio
from humanoid.racket import ARM_JOINTS
from policies.chain import foot_chain, racket_chain

CHAINS = {
    "racket": racket_chain(),
    "left_foot": foot_chain("left"),
    "right_foot": foot_chain("right"),
}


@pytest.fixture(scope="module")
def angles():
    """Random joint angles within the limits, (20, 29)."""
    return np.random.default_rng(0).uniform(LOWER, UPPER, (20, 29))


@pytest.mark.parametrize("frame", CHAINS)
def test_poses_are_pinocchios(frame, angles):
    chain = CHAINS[frame]
    pose = chain.forward(torch.as_tensor(angles[:, chain.index]))
    model = default_pinocchio()
    data = model.createData()
    for row, joint_pos in enumerate(angles):
        q = to_pinocchio(np.zeros(3), np.array([1.0, 0, 0, 0]), joint_pos)
        pin.forwardKinematics(model, data, q)
        placement = pin.updateFramePlacement(model, data, model.getFrameId(frame))
        np.testing.assert_allclose(pose.pos[row], placement.translation, atol=1e-5)
        np.testing.assert_allclose(pose.rot[row], placement.rotation, atol=1e-5)


def test_rotations_stay_rotations_in_single_precision(angles):
    chain = CHAINS["racket"]
    rot = chain.forward(torch.as_tensor(angles[:, chain.index], dtype=torch.float32)).rot
    assert torch.allclose(rot @ rot.transpose(1, 2), torch.eye(3).expand_as(rot), atol=1e-5)


def test_the_rackets_chain_is_waist_and_right_arm():
    assert CHAINS["racket"].index.tolist() == ARM_JOINTS.tolist()
    names = [JOINT_NAMES[i] for i in ARM_JOINTS]
    assert [name.split("_")[0] for name in names] == ["waist"] * 3 + ["right"] * 7
