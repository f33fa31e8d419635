"""Where the soles are: forward kinematics of both legs at once, in a few tens of microseconds for one robot."""

from __future__ import annotations

from functools import cache

import numpy as np

from humanoid.bodies import FEET, FOOT_CORNERS, SOLE_HEIGHT
from humanoid.joints import JOINTS, PELVIS
from humanoid.rotations import quat_matrix

LEG_JOINTS = 6
SOLE_CORNERS = np.array([(x, y, -SOLE_HEIGHT) for x, y in FOOT_CORNERS])
"""Corners of a sole in the frame of the ankle roll link, (4, 3) [m]."""


@cache
def _chains() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Constant, cosine and sine parts of the legs' joint transforms, (6, 2, 4, 4) each: of the k-th joint from the
    pelvis of the left and the right leg."""
    parts = np.zeros((3, LEG_JOINTS, 2, 4, 4))
    by_link = {joint.link: joint for joint in JOINTS}
    for side, link in enumerate(FEET):
        for k in reversed(range(LEG_JOINTS)):
            joint = by_link[link]
            axis = "xyz".index(joint.axis)
            i, j = (axis + 1) % 3, (axis + 2) % 3
            turn = np.zeros((3, 3, 3))
            turn[0, axis, axis] = 1.0
            turn[1, i, i] = turn[1, j, j] = 1.0
            turn[2, j, i], turn[2, i, j] = 1.0, -1.0
            parts[:, k, side, :3, :3] = quat_matrix(joint.quat) @ turn
            parts[0, k, side, :3, 3] = joint.pos
            parts[0, k, side, 3, 3] = 1.0
            link = joint.parent
        if link != PELVIS.link:
            raise AssertionError("a leg has six joints")
    return parts[0], parts[1], parts[2]


def feet(joint_pos: np.ndarray) -> np.ndarray:
    """The ankle roll links' frames in the pelvis's frame, homogeneous, (N, 2, 4, 4): left and right.

    Args:
        joint_pos: [rad], shape (N, 29); the first twelve are the legs'.
    """
    constant, cosine, sine = _chains()
    angle = joint_pos[:, : 2 * LEG_JOINTS].reshape(-1, 2, LEG_JOINTS).transpose(2, 0, 1)[..., None, None]
    local = np.cos(angle) * cosine[:, None]
    local += np.sin(angle) * sine[:, None]
    local += constant[:, None]
    place = local[0]
    for k in range(1, LEG_JOINTS):
        place = place @ local[k]
    return place
