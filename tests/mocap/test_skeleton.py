from dataclasses import replace

import numpy as np
import pytest

from mocap.clip import Clip, SkeletonError
from mocap.skeleton import (
    REQUIRED,
    Body,
    Mapping,
    find_mapping,
    guess_unit,
    load_mapping,
    shipped_mappings,
    to_body,
    up_rotation,
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
