"""A file of the robot's own motion as a result like a retargeted one: nothing is solved, the joint angles and the
root are the file's.
"""

from __future__ import annotations

from mocap.clip import Clip
from mocap.config import RetargetConfig
from mocap.contacts import find_footing
from mocap.footwork import find_moves
from mocap.g1_skeleton import joint_angles
from mocap.retarget import Retargeted
from mocap.robot import RobotModel
from mocap.rotations import matrix_from_quat
from mocap.skeleton import to_body
from mocap.strokes import find_strokes


def take_over(
    clip: Clip, robot: RobotModel, config: RetargetConfig | None = None, hand: str | None = None
) -> Retargeted:
    """A motion of the robot with contacts, strokes and all that is needed to judge it.

    At the file's own rate the joint angles are the file's to the last digit; at another they are interpolated.
    They are neither limited nor smoothed: what breaks a limit is counted by `mocap.quality`.

    Args:
        clip: a clip on the G1's own skeleton, see `mocap.g1_skeleton`.
        robot: the robot.
        config: of it, only the rate is used.
        hand: the racket hand for stroke finding; found when not given.

    Raises:
        SkeletonError: the clip is a person's.
    """
    fps = (config or RetargetConfig()).fps
    clip = clip.resampled(fps)
    root_pos, root_quat, q = joint_angles(clip)
    body = to_body(clip)
    root_rot = matrix_from_quat(root_quat)
    pos, rot = robot.tree.forward(root_pos, root_rot, q)
    at_limit = (q <= robot.tree.lower + 1e-6) | (q >= robot.tree.upper - 1e-6)
    return Retargeted(
        clip.fps,
        root_pos,
        root_rot,
        q,
        find_footing(body).contact,
        pos,
        rot,
        find_strokes(body, hand),
        body,
        at_limit.sum(axis=1),
        1.0,
        {"retargeted": "no: the joint angles are the file's"},
        find_moves(body),
    )
