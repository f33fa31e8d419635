"""Acclaim skeletons and motion, against closed forms and the same movement as BVH."""

import numpy as np
import pytest

from mocap.asf import fixed_axes, parse_asf
from mocap.asf_amc import find_asf, parse_amc
from mocap.clip import Clip, ClipDataError, ClipError, ClipFormatError
from mocap.readers import read
from mocap.rotations import axis_matrix, matrix_from_quat
from mocap.samples import to_acclaim
from mocap.skeleton import to_body

ASF = """# made up
:version 1.10
:name test
:units
  mass 1.0
  length 0.45
  angle deg
:documentation
   anything goes here: begin end
:root
   order TX TY TZ RX RY RZ
   axis XYZ
   position 0 0 0
   orientation 0 0 0
:bonedata
  begin
     id 1
     name thigh
     direction 0 -1 0
     length 4
     axis 0 0 20 XYZ
    dof rx ry rz
    limits (-160.0 20.0)
           (-70.0 70.0)
           (-60.0 70.0)
  end
  begin
     id 2
     name shank
     direction 0.0 -2.0 0.0
     length 3
     axis 0 0 20 XYZ
    dof rx
    limits (-10.0 170.0)
  end
:hierarchy
  begin
    root thigh
    thigh shank
  end
"""
AMC = """#!OML:ASF F:\\\\data\\\\test.ASF
:FULLY-SPECIFIED
:DEGREES
1
root 1 2 3 0 90 0
thigh 0 0 0
shank 90
2
root 1 2 3 0 90 0
thigh 10 20 30
shank 171
"""


def parse(amc: str = AMC, asf: str = ASF, **options) -> Clip:
    return parse_amc(amc.encode(), asf.encode(), "a.amc", "a.asf", **options)


def test_fixed_axes_in_the_order_written():
    a = np.array([0.1, 0.2, 0.3])
    expected = axis_matrix("Z", a[2]) @ axis_matrix("Y", a[1]) @ axis_matrix("X", a[0])
    np.testing.assert_allclose(fixed_axes("XYZ", a), expected)


def test_a_bent_knee_is_where_trigonometry_puts_it():
    clip = parse()
    place = {n: clip.positions()[0, i] for i, n in enumerate(clip.joint_names)}
    np.testing.assert_allclose(place["root"], [1, 2, 3])
    np.testing.assert_allclose(place["shank"], [1, -2, 3], atol=1e-12)
    # The shank turns by 90° about an axis that lies 20° from x toward y, seen from a root turned 90° about y.
    axis = np.array([np.cos(np.deg2rad(20)), np.sin(np.deg2rad(20)), 0.0])
    down = np.array([0.0, -1.0, 0.0])
    bent = axis * (axis @ down) + np.cross(axis, down)
    bent = axis_matrix("Y", np.array(np.pi / 2)) @ bent
    np.testing.assert_allclose(place["shank_end"], place["shank"] + 3.0 * bent, atol=1e-12)


def test_a_bone_turns_in_its_own_axes():
    clip = parse()
    c = axis_matrix("Z", np.array(np.deg2rad(20.0)))
    m = fixed_axes("XYZ", np.deg2rad([10.0, 20.0, 30.0]))
    found = matrix_from_quat(clip.rotations[1, clip.joint_names.index("thigh")])
    np.testing.assert_allclose(found, c @ m @ c.T, atol=1e-9)


def test_samples_beyond_the_limits_are_counted():
    assert parse().provenance["limits_exceeded"] == 1


def test_the_rate_is_assumed_and_said_so():
    assert parse().fps == 120.0
    assert "120 Hz assumed" in parse().provenance["note"]
    assert parse(AMC.replace(":DEGREES", ":DEGREES\n:SAMPLES-PER-SECOND 60")).fps == 60.0
    assert parse(fps=100.0).fps == 100.0


def test_radians():
    asf = ASF.replace("angle deg", "angle rad").replace("0 0 20", f"0 0 {np.deg2rad(20)}")
    amc = (
        AMC.replace(":DEGREES", "")
        .replace("0 90 0", f"0 {np.pi / 2} 0")
        .replace("shank 90", f"shank {np.pi / 2}")
    )
    np.testing.assert_allclose(parse(amc, asf).positions()[0], parse().positions()[0], atol=1e-9)


def test_length_and_translation_degrees_of_freedom():
    asf = ASF.replace("dof rx\n    limits (-10.0 170.0)", "dof rx tx l")
    amc = AMC.replace("shank 90", "shank 0 2 1").replace("shank 171", "shank 0 0 0")
    clip = parse(amc, asf)
    x = clip.positions()
    end, start = clip.joint_names.index("shank_end"), clip.joint_names.index("shank")
    assert np.linalg.norm(x[0, end] - x[0, start]) == pytest.approx(4.0)
    assert np.linalg.norm(x[0, start] - [1, -2, 3]) == pytest.approx(2.0)


def test_the_same_movement_as_bvh(clip: Clip):
    asf, amc = to_acclaim(clip.sliced(0, 30))
    body = to_body(parse_amc(amc.encode(), asf.encode(), "a.amc", fps=clip.fps))
    other = to_body(clip.sliced(0, 30))
    assert body.mapping == "cmu_acclaim"
    for point in ("pelvis", "left_knee", "right_wrist", "neck", "left_toe", "right_hand"):
        np.testing.assert_allclose(body[point], other[point], atol=1e-4)


def test_the_unit_of_cmu_is_found(clip: Clip):
    asf, amc = to_acclaim(clip.sliced(0, 3), scale=0.45 / 2.54)
    body = to_body(parse_amc(amc.encode(), asf.encode(), "a.amc"))
    assert body.unit_m == pytest.approx(0.0254 / 0.45)
    assert body.up == "y"


@pytest.mark.parametrize(
    ("amc", "asfs", "found"),
    [
        ("07_01.amc", ["07.asf", "08.asf"], "07.asf"),
        ("walk.amc", ["walk.ASF", "07.asf"], "walk.ASF"),
        ("walk.amc", ["any.asf"], "any.asf"),
    ],
)
def test_the_skeleton_is_found_beside_it(tmp_path, amc: str, asfs: list[str], found: str):
    for name in [amc, *asfs]:
        (tmp_path / name).write_text("")
    assert find_asf(tmp_path / amc).name == found


def test_it_reads_by_the_registry(tmp_path):
    (tmp_path / "t.amc").write_text(AMC)
    with pytest.raises(ClipFormatError, match=r"t\.amc.*which \.asf"):
        read(tmp_path / "t.amc")
    (tmp_path / "test.asf").write_text(ASF)
    (tmp_path / "other.asf").write_text("")
    assert read(tmp_path / "t.amc").frames == 2


@pytest.mark.parametrize(
    ("old", "new", "error", "says"),
    [
        ("thigh 0 0 0", "thigh 0 0", ClipFormatError, r"a\.amc, line 6: bone thigh needs 3 numbers"),
        ("thigh 0 0 0", "thigh 0 x 0", ClipFormatError, r"a\.amc, line 6: bone thigh"),
        ("thigh 0 0 0", "foot 0 0 0", ClipFormatError, r"a\.amc, line 6: bone foot"),
        ("thigh 0 0 0", "thigh 0 nan 0", ClipDataError, r"a\.amc: frame 0, bone thigh holds nan"),
        ("shank 171\n", "", ClipFormatError, r"frame 1 lacks bone shank"),
        ("shank 171", "thigh 1 2 3", ClipFormatError, "thigh twice in frame 1"),
        ("1\nroot", "root", ClipFormatError, "before the first frame"),
    ],
)
def test_damage_of_the_motion_is_named(old: str, new: str, error: type, says: str):
    assert old in AMC
    with pytest.raises(error, match=says):
        parse(AMC.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("direction 0 -1 0", "direction 0 -1", "direction of bone thigh needs 3"),
        ("length 4", "length inf", "length of bone thigh"),
        ("dof rx ry rz", "dof rx ry ra", "degrees of freedom of bone thigh"),
        ("name shank", "name thigh", "second bone named thigh"),
        ("thigh shank", "thigh foot", "bone foot has no entry"),
        ("thigh shank", "thigh shank\n shank thigh", "thigh hangs on"),
        ("(-10.0 170.0)", "(-10.0 170.0 3)", "3 limit values"),
        ("0 0 20 XYZ", "0 0 20 XXZ", "axis order XXZ"),
        (":hierarchy", ":other", "no hierarchy"),
        ("0 0 20 XYZ\n    dof rx\n", "0 0 20 XYZ\n name foot\n    dof rx\n", "bone shank has no entry"),
    ],
)
def test_damage_of_the_skeleton_is_named(old: str, new: str, says: str):
    assert old in ASF
    with pytest.raises(ClipFormatError, match=rf"(?s)a\.asf.*{says}"):
        parse(asf=ASF.replace(old, new))


def test_truncated_files_are_named_errors():
    for cut in range(0, len(ASF) - 40, 11):
        with pytest.raises(ClipError):
            parse(asf=ASF[:cut])
    assert parse_asf(ASF.encode(), "a").length_factor == 0.45
