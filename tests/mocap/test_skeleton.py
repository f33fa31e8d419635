from dataclasses import replace

import numpy as np
import pytest

from mocap.axes import up_rotation
from mocap.clip import Clip, SkeletonError
from mocap.skeleton import (
    REQUIRED,
    Body,
    Mapping,
    describe,
    find_mapping,
    guess_unit,
    load_mapping,
    shipped_mappings,
    to_body,
)


def scaled(clip: Clip, factor: float) -> Clip:
    return replace(clip, offsets=clip.offsets * factor, translations=clip.translations * factor)


@pytest.mark.parametrize(("factor", "unit"), [(1.0, 0.01), (10.0, 0.001), (0.01, 1.0), (1 / 2.54, 0.0254)])
def test_the_unit_is_found_and_the_body_is_the_same(clip: Clip, body: Body, factor: float, unit: float):
    other = to_body(scaled(clip, factor))
    assert other.unit_m == unit
    np.testing.assert_allclose(other.points, body.points, atol=1e-9)


@pytest.mark.parametrize("up", ["x", "y", "z", "-x", "-y", "-z"])
def test_the_up_axis_is_found(clip: Clip, up: str):
    # The clip is turned so that what was up (y) is along `up`.
    turn = up_rotation(up).T @ up_rotation("y")
    rotations = clip.rotations.copy()
    from mocap.rotations import matrix_from_quat, quat_from_matrix

    rotations[:, 0] = quat_from_matrix(turn @ matrix_from_quat(clip.rotations[:, 0]))
    translations = clip.translations.copy()
    translations[:, 0] = translations[:, 0] @ turn.T
    body = to_body(replace(clip, rotations=rotations, translations=translations))
    assert body.up == up
    assert (body["neck"][:, 2] > body["left_ankle"][:, 2] + 0.5).all()


@pytest.mark.parametrize("up", ["x", "y", "z", "-x", "-y", "-z"])
def test_axes_change_by_a_proper_rotation(up: str):
    r = up_rotation(up)
    np.testing.assert_allclose(r @ r.T, np.eye(3))
    assert np.linalg.det(r) == pytest.approx(1.0)


def test_unit_and_axis_can_be_given(clip: Clip):
    body = to_body(clip, unit_m=0.02, up="y")
    assert body.leg_m == pytest.approx(1.6)


@pytest.mark.parametrize("leg", [0.0, np.nan, 5e6])
def test_no_plausible_unit_says_what_to_set(leg: float):
    with pytest.raises(SkeletonError, match=r"unit_m|mapping"):
        guess_unit(leg)


def test_an_unknown_skeleton_names_what_is_missing(clip: Clip):
    names = tuple("Foo" if n == "LeftKnee" else n for n in clip.joint_names)
    with pytest.raises(SkeletonError, match=r"(?s)unknown skeleton.*caldas.*left_knee.*skeleton=FILE"):
        find_mapping(replace(clip, joint_names=names))


def test_shipped_mappings_are_complete():
    assert {m.name for m in shipped_mappings()} >= {"caldas", "cmu", "snu_spine2", "snu_spine3"}
    for mapping in shipped_mappings():
        assert set(REQUIRED) <= set(mapping.points)


def test_names_match_blind_to_case(clip: Clip):
    upper = tuple(n.upper() for n in clip.joint_names)
    assert find_mapping(replace(clip, joint_names=upper)).name == "caldas"


def test_a_new_skeleton_needs_a_file_only(tmp_path, clip: Clip, body: Body):
    renamed = replace(clip, joint_names=tuple(f"bip_{n}" for n in clip.joint_names))
    caldas = next(m for m in shipped_mappings() if m.name == "caldas")
    lines = ["points:"] + [f"  {p}: [none, bip_{names[0]}]" for p, names in caldas.points.items()]
    path = tmp_path / "mine.yaml"
    path.write_text("\n".join(lines))
    found = to_body(renamed, mapping=load_mapping(path))
    np.testing.assert_allclose(found.points, body.points)


def named(clip: Clip, names: dict[str, str], prefix: str = "", second: str = "") -> Clip:
    """The body of a clip as a flat skeleton whose joints are named as given."""
    body = to_body(clip)
    order = sorted(names, key=lambda p: (p != "pelvis", names[p] != second))
    x = np.stack([body[p] for p in order], axis=1)
    x[:, 1:] -= x[:, :1]
    rotations = np.zeros((*x.shape[:2], 4))
    rotations[..., 0] = 1.0
    parents = np.array([-1] + [0] * (len(order) - 1))
    labels = tuple(prefix + names[p] for p in order)
    return Clip("a", labels, parents, x[0], rotations, x, clip.fps, {"file": "a"})


@pytest.mark.parametrize("prefix", ["", "mixamorig:", "Player 1|", "Take_001_"])
@pytest.mark.parametrize("mapping", shipped_mappings(), ids=lambda m: m.name)
def test_every_shipped_skeleton_is_found_by_its_names(clip: Clip, mapping: Mapping, prefix: str):
    short = clip.sliced(0, 3)
    names = {p: n[0] for p, n in mapping.points.items() if p in to_body(short).names}
    if len(set(names.values())) < len(names):
        names.pop("spine")  # one joint for spine and chest
    other = named(short, names, prefix, mapping.second)
    found = find_mapping(other)
    assert found.name == mapping.name
    body, person = to_body(replace(other, unit_m=1.0)), to_body(short)
    np.testing.assert_allclose(body["left_toe"], person["left_toe"], atol=1e-9)
    np.testing.assert_allclose(body["right_elbow"], person["right_elbow"], atol=1e-9)


def test_a_body_on_its_back_is_upright_in_its_rest_pose(clip: Clip):
    from mocap.rotations import axis_matrix, matrix_from_quat, quat_from_matrix

    lie = axis_matrix("X", np.array(np.pi / 2))
    spin = axis_matrix("Y", np.linspace(0.0, 2.0 * np.pi, clip.frames))
    rotations = clip.rotations.copy()
    rotations[:, 0] = quat_from_matrix(spin @ lie @ matrix_from_quat(clip.rotations[:, 0]))
    assert to_body(replace(clip, rotations=rotations)).up == "y"


@pytest.mark.parametrize(("turn", "faces"), [(0, "z"), (90, "x"), (180, "-z"), (270, "-x")])
def test_the_axis_that_the_body_faces_is_found(clip: Clip, turn: float, faces: str):
    from mocap.rotations import axis_matrix, matrix_from_quat, quat_from_matrix

    r = axis_matrix("Y", np.deg2rad(turn))
    rotations = clip.rotations.copy()
    rotations[:, 0] = quat_from_matrix(r @ matrix_from_quat(clip.rotations[:, 0]))
    body = to_body(replace(clip, rotations=rotations))
    assert body.forward == faces
    turned = to_body(replace(clip, rotations=rotations), forward=faces)
    left = turned["left_hip"] - turned["right_hip"]
    assert (left[:, 1] > 0.1).all()


def test_what_is_said_is_not_marked_as_a_guess(clip: Clip):
    assert describe(clip, to_body(clip)).count("?") == 4
    told = replace(clip, unit_m=0.01, up="y", forward="z", skeleton="caldas")
    assert "?" not in describe(told, to_body(told))
    with pytest.raises(SkeletonError, match="same axis"):
        to_body(replace(clip, up="y", forward="-y"))


@pytest.mark.parametrize(
    "text", ["", "points: 3", "points: {pelvis: a, tail: b}", "points: {pelvis: a}", "{{{"]
)
def test_bad_mapping_files_are_named(tmp_path, text: str):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(SkeletonError, match=r"bad.yaml"):
        load_mapping(path)


def test_missing_points_of_a_given_mapping_are_named(clip: Clip):
    with pytest.raises(SkeletonError, match="finds no joint for"):
        to_body(clip, mapping=Mapping("odd", {"pelvis": ("Hips",)}))


def test_cleaning_keeps_what_was_said_apart_from_what_was_guessed(clip: Clip):
    from mocap.clean import clean

    assert clean(clip).body.said == ()
    told = replace(clip, unit_m=0.01, skeleton="caldas")
    assert clean(told).body.said == ("unit", "skeleton")
    with pytest.raises(SkeletonError, match="skeleton=none"):
        clean(replace(clip, skeleton="none"))
