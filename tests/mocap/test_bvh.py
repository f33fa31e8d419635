import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mocap.benchmark import synthetic_clip
from mocap.bvh import parse_bvh, read_bvh
from mocap.clip import Clip, ClipDataError, ClipError, ClipFormatError
from mocap.rotations import matrix_from_euler, matrix_from_quat
from mocap.samples import SMALL_BVH


def parse(text: str, **options) -> Clip:
    return parse_bvh(text.encode(), "file.bvh", **options)


def test_round_trip(bvh_text: str):
    clip, original = parse(bvh_text), synthetic_clip(2.0, 50.0)
    columns = [original.joint_names.index(n) for n in clip.joint_names]
    np.testing.assert_allclose(clip.positions(), original.positions()[:, columns], atol=1e-3)
    assert clip.fps == 50.0


def test_channels_are_applied_in_the_order_they_are_written():
    clip = parse(SMALL_BVH)
    r = matrix_from_quat(clip.rotations)
    np.testing.assert_allclose(r[0, 0], matrix_from_euler("ZXY", np.deg2rad([10.0, 20.0, 30.0])), atol=1e-9)
    np.testing.assert_allclose(r[0, 1], matrix_from_euler("YXZ", np.deg2rad([40.0, 50.0, 60.0])), atol=1e-9)
    np.testing.assert_allclose(clip.translations[0], [[1, 2, 3], [0, -1, 0], [0, -2, 0]])


def test_joints_with_six_channels_take_their_position_from_them():
    text = SMALL_BVH.replace("CHANNELS 3 Yrotation", "CHANNELS 6 Xposition Yposition Zposition Yrotation")
    text = text.replace("40 50 60", "7 8 9 40 50 60")
    np.testing.assert_allclose(parse(text).translations[0, 1], [7, 8, 9])


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.replace("\n", "\r\n"),
        lambda s: s.replace("  ", "\t"),
        lambda s: "\ufeff" + s,
        lambda s: s.replace("ROOT", "root").replace("End Site", "end site").replace("rotation", "ROTATION"),
        lambda s: s.replace("ROOT Hips\n{", "ROOT Hips {"),
        lambda s: s.replace("Frames: 2", "Frames:\t2\n\n"),
        lambda s: s + "\n\n",
        lambda s: s.replace("End Site", "End Site Toe"),
        lambda s: s.replace("\n", "\r"),
        lambda s: " ".join(s.split("MOTION")[0].split()) + "\nMOTION" + s.split("MOTION")[1],
        lambda s: s.replace("CHANNELS 3 Yrotation", "CHANNELS\n3\nYrotation\n"),
        lambda s: s.replace("10 20 30 40", "10\n20 30\n\n40"),
        lambda s: s.replace("OFFSET 0 -1 0", "OFFSET 0,0 -1,0 0,0").replace("10 20 30", "10,0 2,0e1 30,00"),
        lambda s: s.replace("Frame Time: 0.02", "FrameTime: 0,02"),
        lambda s: s.replace("Frame Time: 0.02", "Frame Time = 2e-2"),
        lambda s: s.replace("Frames: 2", "Frames: 2.0"),
        lambda s: s + "\x1a",
    ],
)
def test_dialects(change):
    clip = parse(change(SMALL_BVH))
    np.testing.assert_allclose(clip.rotations, parse(SMALL_BVH).rotations, atol=1e-12)
    assert clip.joint_names[2].endswith("_end")


@pytest.mark.parametrize(
    ("old", "new", "error", "says"),
    [
        ("HIERARCHY", "HELLO", ClipFormatError, "line 1.*not a BVH"),
        ("OFFSET 0 -1 0", "OFFSET 0 -1", ClipFormatError, "line 8.*Knee"),
        ("OFFSET 0 -1 0", "OFFSET 0 nan 0", ClipFormatError, "line 8.*Knee"),
        ("CHANNELS 3 Y", "CHANNELS 4 Y", ClipFormatError, "line 9.*Knee.*channels"),
        (
            "Yrotation Xrotation Zrotation",
            "Yrotation Wrotation Zrotation",
            ClipFormatError,
            "line 9.*Wrotation",
        ),
        ("    }\n", "", ClipFormatError, "still open"),
        ("JOINT Knee", "JOINT Hips", ClipFormatError, "line 6.*second joint named Hips"),
        ("MOTION", "", ClipFormatError, "line 17.*Frames"),
        ("Frames: 2", "Frames: two", ClipFormatError, "line 17.*frame count"),
        ("Frames: 2", "Frames: 3", ClipFormatError, "announces 3 frames but holds 2"),
        ("0.02", "0", ClipDataError, "fps="),
        ("0.02", "-1", ClipDataError, "fps="),
        ("40 50 60\n1", "40 50\n1", ClipFormatError, "line 19.*frame 0 has 8 values"),
        ("40 50 60\n1", "40 x 60\n1", ClipFormatError, 'line 19.*"x".*Knee'),
        ("40 50 60\n1", "40 nan 60\n1", ClipDataError, "frame 0, joint Knee.*nan_frames"),
        ("40 50 60\n1", "40 1e300 60\n1", ClipDataError, "frame 0, joint Knee"),
        ("1 2 3 10 20 30 40 50 60\n", "", ClipDataError, "no frames"),
    ],
)
def test_damage_is_named(old: str, new: str, error: type, says: str):
    assert old in SMALL_BVH
    with pytest.raises(error, match=f"(?s)file.bvh.*{says}"):
        parse(SMALL_BVH.replace(old, new))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings(encoding: str):
    clip = parse_bvh(SMALL_BVH.replace("Knee", "Knié").encode(encoding), "file.bvh")
    assert clip.joint_names[1] == "Knié"
    np.testing.assert_allclose(clip.rotations, parse(SMALL_BVH).rotations)


def test_names_may_hold_blanks():
    assert parse(SMALL_BVH.replace("JOINT Knee", "JOINT Bip01 L Calf")).joint_names[1] == "Bip01_L_Calf"


@pytest.mark.parametrize("word", ["nan", "-nan(ind)", "1.#QNAN", "-1.#IND00", "NaN"])
def test_nan_as_exporters_write_it(word: str):
    with pytest.raises(ClipDataError, match="frame 0, joint Knee"):
        parse(SMALL_BVH.replace("40 50 60\n1", f"40 {word} 60\n1"))


def test_frames_are_filled_from_the_nearest():
    rows = [f"0 0 0 0 0 0 {a} 0 0" for a in ("10", "nan", "nan", "nan", "50")]
    text = SMALL_BVH[: SMALL_BVH.index("1 2 3")].replace("Frames: 2", "Frames: 5") + "\n".join(rows)
    clip = parse(text, nan="interpolate")
    angle = 2.0 * np.rad2deg(np.arctan2(clip.rotations[:, 1, 2], clip.rotations[:, 1, 0]))
    np.testing.assert_allclose(angle[[1, 3]], [10.0, 50.0], atol=1e-9)


def test_a_frame_time_in_milliseconds_is_noted():
    clip = parse(SMALL_BVH.replace("0.02", "16.6667"))
    assert clip.fps == 60.0
    assert "milliseconds" in clip.provenance["note"]


def test_a_huge_clip_in_a_small_file_is_refused():
    joints = "".join(f"JOINT b{i} {{ OFFSET 0 0 0 }}\n" for i in range(900))
    text = f"HIERARCHY ROOT a {{ OFFSET 0 0 0 CHANNELS 1 Xrotation {joints} }}\nMOTION\nFrames: 40000\n"
    text += "Frame Time: 0.01\n" + "0\n" * 40000
    with pytest.raises(ClipDataError, match="40000 frames of 901 joints"):
        parse(text)


def test_a_truncated_file_says_so():
    for cut in range(0, len(SMALL_BVH) - 3, 7):
        with pytest.raises(ClipError):
            parse(SMALL_BVH[:cut])


def test_nan_frames_can_be_filled():
    text = SMALL_BVH.replace("Frames: 2", "Frames: 3") + "1 2 3 nan 20 30 40 50 60\n"
    clip = parse(text, nan="interpolate")
    assert clip.provenance["nan_frames"] == 1
    np.testing.assert_allclose(clip.rotations[2], clip.rotations[1])


def test_rate_can_be_overridden():
    assert parse(SMALL_BVH.replace("0.02", "0"), fps=120.0).fps == 120.0


def test_missing_file(tmp_path):
    with pytest.raises(ClipFormatError, match="cannot be read"):
        read_bvh(tmp_path / "none.bvh")


def test_deep_nesting_is_refused_quickly():
    text = "HIERARCHY\nROOT a {\nOFFSET 0 0 0\n" + "".join(
        f"JOINT b{i} {{\nOFFSET 0 0 0\n" for i in range(5000)
    )
    with pytest.raises(ClipFormatError, match="joints"):
        parse(text)


PIECES = st.sampled_from(
    [b"{", b"}", b"JOINT", b"End Site", b"CHANNELS 3 Xrotation", b"OFFSET", b"nan", b"1e400", b"-",
     b"\xff\xfe", b"MOTION", b"Frames: 99999999999", b"Frame Time: inf", b"\n", b" ", b"\0", b"0"]
)  # fmt: skip


@given(st.data())
@settings(max_examples=300, deadline=2000, suppress_health_check=[HealthCheck.too_slow])
def test_mutated_files_give_a_clip_or_a_named_error(data):
    raw = bytearray(SMALL_BVH.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw)))
        length = data.draw(st.integers(0, 30))
        raw[at : at + length] = data.draw(st.one_of(PIECES, st.binary(max_size=8)))
    try:
        clip = parse_bvh(bytes(raw), "file.bvh")
    except ClipError as error:
        if "file.bvh" not in str(error):
            raise
        return
    assert np.isfinite(clip.positions()).all()
