import numpy as np
import pinocchio as pin
import pytest

from mocap import rotations as rot

RNG = np.random.default_rng(0)


def random_rotations(count: int) -> np.ndarray:
    return rot.matrix_from_axis_angle(RNG.normal(size=(count, 3)) * 1.5)


def test_euler_order_is_the_written_order():
    angles = RNG.normal(size=(5, 3))
    expected = rot.axis_matrix("Z", angles[:, 0]) @ rot.axis_matrix("X", angles[:, 1])
    expected = expected @ rot.axis_matrix("Y", angles[:, 2])
    np.testing.assert_allclose(rot.matrix_from_euler("ZXY", angles), expected)


def test_exponential_map_is_pinocchios():
    for v in RNG.normal(size=(20, 3)):
        np.testing.assert_allclose(rot.matrix_from_axis_angle(v), pin.exp3(v), atol=1e-12)


def test_logarithm_inverts_the_exponential():
    v = RNG.normal(size=(200, 3))
    v *= (RNG.uniform(0.0, 3.1, size=200) / np.linalg.norm(v, axis=1))[:, None]
    np.testing.assert_allclose(rot.axis_angle_from_matrix(rot.matrix_from_axis_angle(v)), v, atol=1e-9)


def test_quaternions_and_matrices_agree():
    r = np.concatenate(
        [random_rotations(100), np.diag([1.0, -1.0, -1.0])[None], np.diag([-1.0, -1.0, 1.0])[None]]
    )
    np.testing.assert_allclose(rot.matrix_from_quat(rot.quat_from_matrix(r)), r, atol=1e-12)


def test_continuous_leaves_rotations_alone_and_has_no_flips():
    q = rot.quat_from_matrix(random_rotations(50)) * RNG.choice([-1.0, 1.0], size=(50, 1))
    smooth = rot.continuous(q)
    np.testing.assert_allclose(rot.matrix_from_quat(smooth), rot.matrix_from_quat(q), atol=1e-12)
    assert (np.sum(smooth[1:] * smooth[:-1], axis=1) >= 0.0).all()


def test_slerp_halves_the_angle():
    axis = np.array([0.0, 0.0, 1.0])
    q = rot.quat_from_matrix(rot.matrix_from_axis_angle(np.array([0.2, 1.4])[:, None] * axis))
    middle = rot.slerp(q, np.array([0.5]))
    np.testing.assert_allclose(
        rot.axis_angle_from_matrix(rot.matrix_from_quat(middle))[0], 0.8 * axis, atol=1e-12
    )


@pytest.mark.parametrize("order", ["xy", "xz", "yx", "yz", "zx", "zy"])
def test_frames_are_right_handed_with_the_primary_axis_exact(order: str):
    primary, secondary = RNG.normal(size=(2, 10, 3))
    r = rot.frame_from(primary, secondary, order)
    np.testing.assert_allclose(np.linalg.det(r), 1.0)
    i, j = ("xyz".index(c) for c in order)
    np.testing.assert_allclose(r[..., i], rot.normalize(primary), atol=1e-12)
    assert (np.sum(r[..., j] * secondary, axis=1) > 0.0).all()
