import numpy as np

from humanoid.bodies import FEET, placements
from humanoid.joints import JOINTS, LOWER, UPPER
from humanoid.legs import feet


def test_soles_are_where_the_kinematics_of_the_whole_body_have_them():
    joint_pos = np.random.default_rng(0).uniform(LOWER, UPPER, (50, 29))
    pos, rot = placements(joint_pos)
    got = feet(joint_pos)
    number = {joint.link: index + 1 for index, joint in enumerate(JOINTS)}
    for side, link in enumerate(FEET):
        np.testing.assert_allclose(got[:, side, :3, 3], pos[:, number[link]], atol=1e-12)
        np.testing.assert_allclose(got[:, side, :3, :3], rot[:, number[link]], atol=1e-12)
    np.testing.assert_array_equal(got[:, :, 3], np.broadcast_to([0.0, 0, 0, 1], (50, 2, 4)))
