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


@pytest.mark.parametrize("frame", CHAINS)
def test_the_jacobian_is_how_the_end_moves_and_turns(frame, angles):
    chain = CHAINS[frame]
    at = torch.as_tensor(angles[:, chain.index])
    pose, move, turn = chain.jacobian(at)
    # Rounding in parts of single precision is the end's, of double the angles'.
    assert torch.allclose(pose.pos, chain.forward(at).pos, atol=1e-12)
    step = 1e-6
    for joint in range(len(chain.index)):
        more, less = (
            chain.forward(at.index_add(1, torch.tensor([joint]), torch.full((20, 1), d, dtype=at.dtype)))
            for d in (step, -step)
        )
        assert torch.allclose(move[:, :, joint], (more.pos - less.pos) / (2 * step), atol=1e-6)
        axis = turn[:, :, joint, None].transpose(1, 2).expand(-1, 3, -1)
        change = torch.linalg.cross(axis, pose.rot.transpose(1, 2)).transpose(1, 2)
        assert torch.allclose(change, (more.rot - less.rot) / (2 * step), atol=1e-6)
