"""Markers of C3D files, and the joint centres from them."""

import numpy as np
import pytest

from mocap.benchmark import synthetic_clip
from mocap.c3d_markers import fill_gaps, parse_c3d, parse_markers
from mocap.clip import ClipDataError, ClipError, ClipFormatError, SkeletonError
from mocap.marker_set import body_points, load_marker_set, shipped_sets
from mocap.readers import read
from mocap.samples import to_c3d, to_markers
from mocap.skeleton import REQUIRED, Body, to_body

CENTRES = [f"{side}_{part}" for side in ("left", "right")
           for part in ("hip", "knee", "ankle", "toe", "elbow", "wrist")]  # fmt: skip


@pytest.fixture(scope="module")
def player() -> Body:
    return to_body(synthetic_clip(1.0, 100.0))


@pytest.fixture(scope="module")
def tracks(player: Body) -> dict[str, np.ndarray]:
    return to_markers(player)


@pytest.mark.parametrize(
    ("unit", "scale", "integers"),
    [("mm", 1000.0, False), ("cm", 100.0, False), ("m", 1.0, False), ("mm", 1000.0, True)],
)
def test_joint_centres_come_back(player: Body, tracks, unit: str, scale: float, integers: bool):
    clip = parse_c3d(to_c3d(tracks, 100.0, unit=unit, scale=scale, integers=integers), "a.c3d")
    body = to_body(clip)
    assert (clip.fps, body.unit_m, body.up, body.mapping) == (100.0, 1.0 / scale, "z", "markers")
    for point in CENTRES:
        np.testing.assert_allclose(body[point], player[point], atol=2e-4)


def test_hips_are_bells(tracks):
    # A pelvis 0.25 m wide whose front markers' middle is the origin, facing x.
    still = {"LASI": (0, 0.125, 0), "RASI": (0, -0.125, 0), "LPSI": (-0.2, 0.04, 0), "RPSI": (-0.2, -0.04, 0)}
    pig = next(s for s in shipped_sets() if s.name == "plug_in_gait")
    found = body_points(pig, {k: np.array([v], dtype=float) for k, v in still.items()})
    np.testing.assert_allclose(found["left_hip"], 0.25 * np.array([[-0.19, 0.36, -0.30]]), atol=1e-12)
    np.testing.assert_allclose(found["right_hip"], 0.25 * np.array([[-0.19, -0.36, -0.30]]), atol=1e-12)


def test_a_wrong_unit_in_the_file_is_not_believed(tracks):
    clip = parse_c3d(to_c3d(tracks, 100.0, unit="m"), "a.c3d")
    assert clip.unit_m is None
    assert "not believed" in clip.provenance["note"]
    assert to_body(clip).unit_m == 0.001


def test_medial_markers_may_be_missing(player: Body, tracks):
    lateral = {k: v for k, v in tracks.items() if k[1:] not in ("KNM", "MED", "ELM")}
    body = to_body(parse_c3d(to_c3d(lateral, 100.0), "a.c3d"))
    assert np.linalg.norm(body["left_knee"] - player["left_knee"], axis=1).max() < 0.03


def test_cmus_markers(player: Body, tracks):
    names = {"LASI": "LFWT", "RASI": "RFWT", "LPSI": "LBWT", "RPSI": "RBWT"}
    cmu = {f"liu:{names.get(k, k)}": v for k, v in tracks.items() if k[1:] not in ("KNM", "MED", "ELM")}
    clip = parse_c3d(to_c3d(cmu, 120.0), "a.c3d")
    assert clip.provenance["markers"] == "cmu41"
    np.testing.assert_allclose(to_body(clip)["left_hip"], player["left_hip"], atol=1e-4)


def test_of_two_people_the_one_with_more_markers(tracks):
    both = {f"A:{k}": v for k, v in tracks.items()} | {"B:LASI": tracks["LASI"]}
    clip = parse_c3d(to_c3d(both, 100.0), "a.c3d")
    assert "subject A of 2" in clip.provenance["note"]


def test_short_gaps_are_filled_and_ends_cut(player: Body, tracks):
    holes = {k: v.copy() for k, v in tracks.items()}
    holes["LKNE"][40:55] = np.nan
    holes["RASI"][:10] = np.nan
    clip = parse_c3d(to_c3d(holes, 100.0), "a.c3d")
    assert clip.provenance["filled_marker_frames"] == 15
    assert clip.provenance["cut_frames"] == [10, 0]
    error = np.linalg.norm(to_body(clip)["left_knee"] - player["left_knee"][10:], axis=1)
    assert error.max() < 0.01


def test_long_gaps_are_refused_or_filled(tracks):
    holes = {k: v.copy() for k, v in tracks.items()}
    holes["LKNE"][20:80] = np.nan
    data = to_c3d(holes, 100.0)
    with pytest.raises(ClipDataError, match=r"a\.c3d: LKNE not seen from frame 20 to 79.*nan_frames"):
        parse_c3d(data, "a.c3d")
    assert parse_c3d(data, "a.c3d", nan="interpolate").provenance["nan_frames"] == 60


def test_filled_gaps_do_not_overshoot():
    track = np.array([0.0, 0.0, np.nan, np.nan, 1.0, 1.0])[:, None] * np.ones(3)
    filled = fill_gaps(track, 5)
    assert ((filled >= 0.0) & (filled <= 1.0)).all()
    np.testing.assert_array_equal(fill_gaps(track, 1), track)


def test_two_clips_of_markers_are_not_the_same(tracks):
    a = parse_c3d(to_c3d(tracks, 100.0), "a.c3d")
    b = parse_c3d(to_c3d({k: v[::-1] for k, v in tracks.items()}, 100.0), "b.c3d")
    assert a.content_hash() != b.content_hash()


def test_it_reads_by_the_registry_with_a_set_of_ones_own(tmp_path, player: Body, tracks):
    (tmp_path / "a.c3d").write_bytes(to_c3d({f"m{k}x": v for k, v in tracks.items()}, 100.0))
    with pytest.raises(SkeletonError, match=r"unknown marker set.*markers: FILE"):
        read(tmp_path / "a.c3d")
    points = "\n".join(f"  {p}: [{{of: [mLASIx]}}]" for p in REQUIRED)
    (tmp_path / "mine.yaml").write_text(f"points:\n{points}")
    (tmp_path / "clips.yaml").write_text('"*.c3d": {markers: mine.yaml, unit_m: 0.001}')
    clip = read(tmp_path / "a.c3d")
    assert clip.provenance["markers"] == "mine"
    assert clip.unit_m == 0.001


def test_shipped_sets_give_all_required_points():
    for markers in shipped_sets():
        assert set(REQUIRED) <= set(markers.points), markers.name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "points: 3",
        "points: {tail: [{of: [A]}]}",
        "points: {pelvis: [{of: A}]}",
        "points: {pelvis: [{of: [A], in: b}]",
        "points: {pelvis: [{of: [A], up: 0.1}]}",
        "points: {pelvis: [{of: &a [*a]}]}",
        "points: {pelvis: [{of: [A], x: 1}]}",
        "points: {pelvis: [{of: [A], x: 1, 2: 3}]}",
        "points: {pelvis: [{of: [A], up: 1, frame: [a], in: {}}]}",
        "points: {pelvis: [{of: [A]}]}\nframes: {f: [{up: [A, B]}]}",
        "points: {pelvis: [{of: [A]}]}\nlengths: {w: [A]}",
    ],
)
def test_bad_marker_sets_are_named(tmp_path, text: str):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(SkeletonError, match=r"bad\.yaml"):
        load_marker_set(tmp_path / "bad.yaml")


def test_damage_is_named(tracks):
    data = to_c3d(tracks, 100.0)
    with pytest.raises(ClipFormatError, match=r"a\.c3d.*truncated"):
        parse_c3d(data[: len(data) // 2], "a.c3d")
    with pytest.raises(ClipFormatError, match=r"a\.c3d: not a C3D"):
        parse_c3d(b"HIERARCHY" * 200, "a.c3d")
    for cut in range(0, len(data) - 512, 997):
        with pytest.raises(ClipError, match=r"a\.c3d"):
            parse_c3d(data[:cut], "a.c3d")
    assert parse_markers(data, "a.c3d").unit == "mm"
