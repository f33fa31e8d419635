"""Footing: where soles are in a step and what area their zero-moment point has."""

import numpy as np
import pinocchio as pin
import pytest

from humanoid.footing import FOOT, Footing, StepTiming, hull, step

SOLES = [
    pin.SE3(pin.utils.rotate("z", turn), np.array([0.06, y, 0.0])) for y, turn in ((0.19, 0.1), (-0.19, -0.1))
]
WAY = (0.05, 0.2, 0.15)
FPS = 50.0


@pytest.fixture(scope="module")
def stepped() -> Footing:
    return step(SOLES, WAY, 0, FPS, StepTiming())


def inside(planes: np.ndarray, point: np.ndarray) -> bool:
    return bool((planes[:, :2] @ point <= planes[:, 2] + 1e-9).all())


def test_a_planted_area_is_a_rectangle_about_the_middle():
    planes = Footing.planted(SOLES, 3, (0.04, 0.12)).support[1]
    for x, y, known in ((0.06, 0.0, True), (0.099, 0.119, True), (0.101, 0.0, False), (0.06, -0.121, False)):
        assert inside(planes, np.array([x, y])) == known


def test_the_hull_holds_every_standing_sole_and_what_lies_between():
    planes = hull(SOLES)
    for sole in SOLES:
        assert inside(planes, sole.translation[:2])
        assert inside(planes, sole.act(np.array([*FOOT, 0.0]))[:2])
        assert not inside(planes, sole.act(np.array([1.2 * FOOT[0], 3 * FOOT[1], 0.0]))[:2])
    assert inside(planes, np.array([0.06, 0.0]))


def test_a_step_moves_and_turns_both_soles_by_its_way(stepped):
    move = pin.SE3(pin.utils.rotate("z", WAY[2]), np.array([WAY[0], WAY[1], 0.0]))
    for side in (0, 1):
        first, last = stepped.soles[0][side], stepped.soles[-1][side]
        np.testing.assert_allclose(first.homogeneous, SOLES[side].homogeneous, atol=1e-12)
        np.testing.assert_allclose(last.homogeneous, (move * SOLES[side]).homogeneous, atol=1e-12)


def test_a_sole_that_carries_weight_rests_on_the_ground(stepped):
    places = np.array([[sole.translation for sole in pair] for pair in stepped.soles])
    speed = np.linalg.norm(np.diff(places, axis=0), axis=2) * FPS
    both = stepped.contact[1:] & stepped.contact[:-1]
    assert np.abs(speed[both]).max() < 1e-9
    assert np.abs(places[stepped.contact][:, 2]).max() < 1e-9
    assert (places[~stepped.contact][:, 2] > 0).all()


def test_one_sole_moves_after_the_other_the_leading_one_first(stepped):
    first = [int(np.argmin(stepped.contact[:, side])) for side in (0, 1)]
    assert first[0] < first[1]
    assert stepped.contact.any(axis=1).all()


def test_a_moving_sole_rises_as_high_as_asked(stepped):
    heights = np.array([[sole.translation[2] for sole in pair] for pair in stepped.soles])
    assert heights.max(axis=0) == pytest.approx([StepTiming().lift] * 2, abs=0.004)


def test_the_area_is_that_of_the_soles_that_stand(stepped):
    for pair, contact, planes in zip(stepped.soles, stepped.contact, stepped.support, strict=True):
        for sole, stands in zip(pair, contact, strict=True):
            assert inside(planes, sole.translation[:2]) == stands
