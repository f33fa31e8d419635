import numpy as np

from humanoid.joints import JOINT_NAMES, READY_JOINT_POS
from humanoid.model import touching_height
from humanoid.motion import RobotMotion
from mocap.dynamics_trial import trials
from mocap.robot import RobotModel


def motion(lift: float) -> RobotMotion:
    """Standing still for a second, then hanging `lift` metres in the air."""
    frames = 100
    root = np.tile([0.0, 0.0, touching_height()], (frames, 1))
    root[50:, 2] += lift
    return RobotMotion(
        "still",
        50.0,
        JOINT_NAMES,
        root,
        np.tile([1.0, 0.0, 0.0, 0.0], (frames, 1)),
        np.tile(READY_JOINT_POS, (frames, 1)),
        np.ones((frames, 2), dtype=bool),
    )


def test_a_robot_keeps_to_what_it_can_do_and_is_lost_where_it_cannot(robot: RobotModel):
    still, hanging = trials([motion(0.0), motion(1.0)], robot, per_motion=1, seconds=1.8)
    assert still.lasted_s == still.asked_s
    assert still.score > 0.9
    assert hanging.lasted_s < hanging.asked_s
    assert hanging.score < still.score
