"""The joint table: its tables agree, the ready pose is possible, the mirror image is one."""

import numpy as np
import pytest

from humanoid import joints
from humanoid.joints import JOINT_INDEX, JOINT_NAMES, JOINTS, LOWER, READY_JOINT_POS, UPPER, mirror_joints


def test_there_are_29_joints_in_unitrees_order():
    assert len(JOINTS) == joints.NUM_JOINTS == len(set(JOINT_NAMES)) == 29
    assert JOINT_NAMES[0] == "left_hip_pitch_joint"
    assert JOINT_NAMES[12] == "waist_yaw_joint"
    assert JOINT_NAMES[-1] == "right_wrist_yaw_joint"


def test_parents_come_before_their_children():
    known = {joints.PELVIS.link}
    for joint in JOINTS:
        assert joint.parent in known, joint.name
        known.add(joint.link)


def test_every_joint_has_a_sensible_row():
    for joint in JOINTS:
        assert joint.range[0] < 0 < joint.range[1], joint.name
        assert min(joint.mass, *joint.inertia, joint.effort, joint.velocity, joint.kp, joint.kd) > 0, (
            joint.name
        )
        a, b, c = sorted(joint.inertia)
        assert c <= a + b, f"{joint.name}: no rigid body has these moments"


def test_the_ready_pose_is_within_the_limits():
    assert (READY_JOINT_POS > LOWER).all()
    assert (READY_JOINT_POS < UPPER).all()


def test_tables_cannot_be_changed_by_accident():
    for table in (LOWER, UPPER, joints.KP, joints.KD, joints.EFFORT_LIMIT, READY_JOINT_POS):
        with pytest.raises(ValueError, match="read-only"):
            table[0] = 0.0


def test_the_mirror_image_of_the_mirror_image_is_the_pose():
    index, sign = mirror_joints()
    q = np.random.default_rng(0).uniform(LOWER, UPPER, size=(5, 29))
    once = q[..., index] * sign
    np.testing.assert_array_equal(once[..., index] * sign, q)


def test_limits_and_gains_are_mirror_images():
    index, sign = mirror_joints()
    low, high = LOWER[index] * sign, UPPER[index] * sign
    np.testing.assert_allclose(np.minimum(low, high), LOWER)
    np.testing.assert_allclose(np.maximum(low, high), UPPER)
    np.testing.assert_array_equal(joints.KP[index], joints.KP)


def test_left_mirrors_to_right():
    index, sign = mirror_joints()
    q = np.zeros(29)
    q[JOINT_INDEX["left_shoulder_roll_joint"]] = 0.7
    mirrored = q[index] * sign
    assert mirrored[JOINT_INDEX["right_shoulder_roll_joint"]] == -0.7
    assert np.count_nonzero(mirrored) == 1
