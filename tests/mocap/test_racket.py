import numpy as np
import pytest

from mocap.config import RetargetConfig
from mocap.filters import velocity
from mocap.racket import carry_angles, face_normal, wrist_angles
from mocap.retarget import Retargeted, retarget
from mocap.robot import RobotModel
from mocap.rotations import axis_matrix
from mocap.skeleton import Body


def strikes(motion: Retargeted, robot: RobotModel):
    centre, attitude = robot.tree.place(robot.racket, motion.joint_pos, motion.joint_rot)
    return centre, attitude, velocity(centre, motion.fps)


def test_wrist_angles_invert_the_wrist():
    rng = np.random.default_rng(5)
    angles = rng.uniform(-1.2, 1.2, size=(20, 3))
    fix = axis_matrix("X", np.array(-np.pi / 2))
    r = axis_matrix("X", angles[:, 0]) @ axis_matrix("Y", angles[:, 1]) @ axis_matrix("Z", angles[:, 2]) @ fix
    np.testing.assert_allclose(wrist_angles(r, fix), angles, atol=1e-12)


def test_the_face_is_square_at_the_strike(motion: Retargeted, robot: RobotModel):
    _, attitude, v = strikes(motion, robot)
    for stroke in motion.strokes:
        normal, sign = face_normal(attitude, v, stroke.strike)
        way = v[stroke.strike] / np.linalg.norm(v[stroke.strike])
        assert np.degrees(np.arccos(normal @ way)) < 15.0
        # A forehand is met with the palm's side.
        assert sign == 1.0


def test_the_racket_is_faster_than_the_wrist_and_off_the_ground(motion: Retargeted, robot: RobotModel):
    centre, _, v = strikes(motion, robot)
    wrist = velocity(motion.joint_pos[:, robot.tree.index("right_wrist_pitch_joint")], motion.fps)
    for stroke in motion.strokes:
        k = stroke.strike
        assert np.linalg.norm(v[k]) > 1.2 * np.linalg.norm(wrist[k])
        assert 0.5 < centre[k, 2] < 1.3


def test_without_aiming_the_wrist_is_straight(body: Body, robot: RobotModel):
    out = retarget(body, robot, RetargetConfig(aim_racket=False))
    wrist = [robot.tree.index(f"right_wrist_{a}_joint") - 1 for a in ("roll", "pitch", "yaw")]
    assert (out.q[:, wrist] == 0.0).all()


def test_the_racket_of_a_left_hander_is_carried_not_aimed(body: Body, robot: RobotModel):
    out = retarget(body, robot, hand="left")
    roll = robot.tree.index("right_wrist_roll_joint") - 1
    assert (out.q[:, roll] == 0.0).all()


@pytest.mark.parametrize("turn", [0.0, 1.0])
def test_a_carried_racket_does_not_hang(robot: RobotModel, turn: float):
    # Forearms from straight down to level, the hand turned about them.
    fall = np.linspace(-1.5, 0.0, 30)
    base = axis_matrix("Y", -fall) @ axis_matrix("X", np.full(30, turn))
    names = [robot.tree.index(f"right_wrist_{a}_joint") - 1 for a in ("roll", "pitch", "yaw")]
    lower, upper = robot.tree.lower[names], robot.tree.upper[names]
    angles = carry_angles(base, np.tile(np.eye(3), (30, 1, 1)), 50.0, lower, upper)
    tip = (base @ axis_matrix("Y", angles[:, 1]) @ axis_matrix("Z", angles[:, 2]))[:, :, 0]
    assert tip[:, 2].min() > -0.6
    assert (angles[:, 0] == 0.0).all()
    # Level forearms need no bend.
    assert np.abs(angles[-1]).max() < 0.1
