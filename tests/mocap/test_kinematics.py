import numpy as np
import pinocchio as pin
import pytest

from humanoid.joints import LOWER, UPPER, VELOCITY_LIMIT
from humanoid.kinematics import default_pinocchio, to_pinocchio
from mocap.kinematics import Tree, solve_damped
from mocap.robot import RobotModel
from mocap.rotations import matrix_from_axis_angle, quat_from_matrix

RNG = np.random.default_rng(2)
COUNT = 20


@pytest.fixture(scope="module")
def poses():
    q = RNG.uniform(LOWER, UPPER, size=(COUNT, len(LOWER)))
    return RNG.normal(size=(COUNT, 3)), matrix_from_axis_angle(RNG.normal(size=(COUNT, 3))), q


def configuration(poses, k: int) -> np.ndarray:
    pos, rot, q = poses
    return to_pinocchio(pos[k], quat_from_matrix(rot[k]), q[k])


def test_all_joints_and_frames_are_where_pinocchio_has_them(poses, robot: RobotModel):
    model = default_pinocchio()
    data = model.createData()
    pos, rot = robot.tree.forward(*poses)
    racket, attitude = robot.tree.place(robot.racket, pos, rot)
    for k in range(COUNT):
        pin.framesForwardKinematics(model, data, configuration(poses, k))
        for j in range(model.njoints - 1):
            np.testing.assert_allclose(pos[k, j], data.oMi[j + 1].translation, atol=1e-10)
            np.testing.assert_allclose(rot[k, j], data.oMi[j + 1].rotation, atol=1e-10)
        placement = data.oMf[model.getFrameId("racket")]
        np.testing.assert_allclose(racket[k], placement.translation, atol=1e-10)
        np.testing.assert_allclose(attitude[k], placement.rotation, atol=1e-10)


def test_centre_of_mass_is_pinocchios(poses, robot: RobotModel):
    model = default_pinocchio()
    data = model.createData()
    com = robot.tree.com(*robot.tree.forward(*poses))
    for k in range(COUNT):
        np.testing.assert_allclose(com[k], pin.centerOfMass(model, data, configuration(poses, k)), atol=1e-10)


def test_chains_end_where_the_tree_has_them(poses, robot: RobotModel):
    pos, rot = robot.tree.forward(*poses)
    for chain, sole in zip(robot.legs, robot.soles, strict=True):
        _, _, tip, attitude = chain.forward(poses[1], poses[0], poses[2][:, chain.columns])
        expected, turned = robot.tree.place(sole, pos, rot)
        np.testing.assert_allclose(tip, expected, atol=1e-12)
        np.testing.assert_allclose(attitude, turned, atol=1e-12)


def test_limits_are_the_joint_tables(robot: RobotModel):
    np.testing.assert_allclose(robot.tree.lower, LOWER)
    np.testing.assert_allclose(robot.tree.upper, UPPER)
    np.testing.assert_allclose(robot.tree.velocity, VELOCITY_LIMIT)


def test_unknown_names_list_what_there_is(robot: RobotModel):
    with pytest.raises(KeyError, match="left_knee_joint"):
        robot.tree.index("tail_joint")
    with pytest.raises(KeyError, match="no frame tail"):
        robot.tree.frame("tail")


def test_a_model_without_a_floating_base_is_refused():
    with pytest.raises(ValueError, match="free flyer"):
        Tree(pin.buildSampleModelManipulator())


def test_damped_steps_minimise():
    jacobian, residual = RNG.normal(size=(5, 6, 4)), RNG.normal(size=(5, 6))
    step = solve_damped(jacobian, residual, 1e-12)
    for k in range(5):
        np.testing.assert_allclose(
            step[k], -np.linalg.lstsq(jacobian[k], residual[k], rcond=None)[0], atol=1e-6
        )
