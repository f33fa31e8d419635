import numpy as np
import pytest

from mocap.mirror import mirror, other_side, twin_joints
from mocap.skeleton import Body, shipped_mappings
from mocap.strokes import find_strokes


def test_twice_is_the_body_itself(body: Body):
    np.testing.assert_array_equal(mirror(mirror(body)).points, body.points)


def test_sides_change_places(body: Body):
    np.testing.assert_array_equal(mirror(body)["left_wrist"], body["right_wrist"] * [1.0, -1.0, 1.0])
    np.testing.assert_array_equal(mirror(body)["pelvis"], body["pelvis"] * [1.0, -1.0, 1.0])


def test_left_stays_left_of_right(body: Body):
    """A reflection alone would turn the body inside out: facing and sides must still agree."""

    def handed(b: Body) -> np.ndarray:
        across = b["left_hip"] - b["right_hip"]
        forward = b["left_toe"] - b["left_ankle"]
        return np.cross(forward, across)[:, 2]

    assert (handed(body) > 0).mean() == (handed(mirror(body)) > 0).mean()


def test_strokes_change_hands(body: Body):
    before, after = find_strokes(body), find_strokes(mirror(body))
    assert [(s.kind, other_side(s.hand)) for s in before] == [(s.kind, s.hand) for s in after]
    assert before


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("LeftArm", "RightArm"),
        ("LHipJoint", "RHipJoint"),
        ("L_Knee", "R_Knee"),
        ("thigh_l", "thigh_r"),
        ("left_wrist", "right_wrist"),
        ("mixamorig:LeftFoot", "mixamorig:RightFoot"),
        ("lfemur", "rfemur"),
        ("L Thigh", "R Thigh"),
    ],
)
def test_twins_are_found_by_name(left: str, right: str):
    assert twin_joints(("Hips", left, right)) == {0: 0, 1: 2, 2: 1}


def test_names_without_sides_have_no_twins():
    assert twin_joints(("Hips", "Lumbar", "Rib", "Leg")) is None


@pytest.mark.parametrize("mapping", shipped_mappings(), ids=lambda m: m.name)
def test_every_limb_of_the_shipped_skeletons_has_a_twin(mapping):
    names = tuple(dict.fromkeys(v[0] for v in mapping.points.values()))
    twins = twin_joints(names)
    assert twins is not None
    for point, joints in mapping.points.items():
        if point.startswith("left_") and joints[0] in names:
            i = names.index(joints[0])
            assert twins[i] == names.index(mapping.points[other_side(point)][0]), joints[0]
