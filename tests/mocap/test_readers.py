"""The registry of readers, and what clips.yaml says about clips."""

from pathlib import Path

import numpy as np
import pytest

from mocap.benchmark import synthetic_clip, to_bvh
from mocap.clip import Clip, ClipError, ClipFormatError
from mocap.g1_csv import write_g1_csv
from mocap.g1_skeleton import robot_clip, robot_motion
from mocap.overrides import OverrideError, load_overrides, overrides_for
from mocap.readers import ENDINGS, find, read
from mocap.samples import SMALL_BVH, to_acclaim, to_c3d, to_g1_npz, to_markers, to_smpl
from mocap.skeleton import describe, to_body


@pytest.fixture(scope="module")
def player() -> Clip:
    return synthetic_clip(0.3, 100.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, player: Clip) -> Path:
    """One clip of every format, and files that are none."""
    root = tmp_path_factory.mktemp("clips")
    (root / "deep").mkdir()
    asf, amc = to_acclaim(player)
    still = np.tile([0.0, 0.0, 0.78], (9, 1)), np.tile([1.0, 0.0, 0.0, 0.0], (9, 1)), np.full((9, 29), 0.1)
    robot = robot_clip("g1", *still, 50.0, {"file": "g1"})
    (root / "a.bvh").write_text(to_bvh(player))
    (root / "deep" / "b.BVH").write_text(to_bvh(player))
    (root / "c.amc").write_text(amc)
    (root / "c.asf").write_text(asf)
    (root / "d.c3d").write_bytes(to_c3d(to_markers(to_body(player)), 100.0))
    (root / "e.npz").write_bytes(to_smpl(player))
    (root / "f.npz").write_bytes(to_g1_npz(robot))
    (root / "g.csv").write_text(write_g1_csv(robot))
    robot_motion(robot).save(root / "motion.npz")
    np.savez(root / "shape.npz", betas=np.zeros(16), gender="neutral")
    (root / "labels.csv").write_text("file,stroke\na,forehand\n")
    (root / "notes.txt").write_text("nothing")
    return root


def test_every_format_gives_a_body(folder: Path):
    for name in ("a.bvh", "c.amc", "d.c3d", "e.npz", "f.npz", "g.csv", "motion.npz"):
        clip = read(folder / name)
        body = to_body(clip)
        assert np.isfinite(body.points).all(), name
        assert 0.2 < np.median(body["neck"][:, 2] - body["left_ankle"][:, 2]) < 1.6, name
        assert f"{clip.fps:g} Hz" in describe(clip, body)


def test_a_search_finds_clips_and_nothing_else(folder: Path):
    found = [p.relative_to(folder).as_posix() for p in find(folder)]
    assert found == ["a.bvh", "c.amc", "d.c3d", "deep/b.BVH", "e.npz", "f.npz", "g.csv"]


def test_content_counts_where_the_ending_lies(folder: Path, tmp_path: Path):
    (tmp_path / "a.txt").write_bytes((folder / "a.bvh").read_bytes())
    assert read(tmp_path / "a.txt").provenance["format"] == "bvh"
    (tmp_path / "b.csv").write_bytes((folder / "d.c3d").read_bytes())
    assert read(tmp_path / "b.csv").provenance["format"] == "c3d"


@pytest.mark.parametrize(
    ("name", "says"),
    [("a.xyz", "unknown ending.*BVH"), ("a", "unknown ending.*BVH"), ("a.pkl", "can run code"), ("a.fbx", "as BVH"),
     ("a.asf", r"\.amc")],
)  # fmt: skip
def test_unknown_files_say_what_to_do(tmp_path: Path, name: str, says: str):
    (tmp_path / name).write_bytes(b"\x80\x04junk")
    with pytest.raises(ClipFormatError, match=rf"{name}.*{says}"):
        read(tmp_path / name)


def test_a_damaged_file_is_named_by_its_formats_reader(tmp_path: Path):
    for ending in ENDINGS:
        path = tmp_path / f"bad{ending}"
        path.write_bytes(b"\x00\x01junk" * 300)
        with pytest.raises(ClipError, match="bad"):
            read(path)
    with pytest.raises(ClipFormatError, match="cannot be read"):
        read(tmp_path / "none.bvh")


def test_what_clips_yaml_says_is_taken(tmp_path: Path, player: Clip):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.bvh").write_text(to_bvh(player))
    (tmp_path / "clips.yaml").write_text('"*.bvh": {unit_m: 0.02, up: y, fps: 50}\n"in/*": {forward: -z}\n')
    alone = read(tmp_path / "in" / "a.bvh")
    assert (alone.unit_m, alone.up, alone.fps) == (None, None, 100.0)
    clip = read(tmp_path / "in" / "a.bvh", root=tmp_path)
    assert (clip.unit_m, clip.up, clip.forward, clip.fps) == (0.02, "y", "-z", 50.0)
    (tmp_path / "in" / "clips.yaml").write_text('"a.*": {unit_m: 0.01, skeleton: caldas}')
    clip = read(tmp_path / "in" / "a.bvh", root=tmp_path)
    assert (clip.unit_m, clip.up, clip.skeleton) == (0.01, "y", "caldas")
    assert read(tmp_path / "in" / "a.bvh", fps=60.0, root=tmp_path).fps == 60.0
    body = to_body(clip)
    assert body.said == ("unit", "up", "forward", "skeleton")
    assert "?" not in describe(clip, body)


def test_the_forward_axis_becomes_x(tmp_path: Path, player: Clip):
    (tmp_path / "a.bvh").write_text(to_bvh(player))
    plain = to_body(read(tmp_path / "a.bvh"))
    assert plain.forward == "z"
    (tmp_path / "clips.yaml").write_text('"*": {forward: x}')
    turned = to_body(read(tmp_path / "a.bvh"))
    # y up: z was forward and became x; with x forward the person faces the other way round, to its left.
    np.testing.assert_allclose(turned.points[..., 0], plain.points[..., 1], atol=1e-9)
    np.testing.assert_allclose(turned.points[..., 1], -plain.points[..., 0], atol=1e-9)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1, 2]", "table of file patterns"),
        ('"*": 3', "table of keys"),
        ('"*": {unit: 0.01}', "unknown key unit; known are fps"),
        ('"*": {unit_m: -1}', "unit_m needs a number"),
        ('"*": {fps: fast}', "fps needs a number"),
        ('"*": {fps: true}', "fps needs a number"),
        ('"*": {up: north}', "choose one of x, y"),
        ('"*": {quat_order: wzyx}', "choose one of wxyz"),
        ('"*": {skeleton: 3}', "skeleton needs a word"),
        ('"*: {', "not a table of file patterns"),
        ('"*": !!python/object/apply:os.getcwd []', "not a table of file patterns"),
        ("a: &a [*a]", "table of keys"),
    ],
)
def test_bad_overrides_are_named(tmp_path: Path, text: str, says: str):
    (tmp_path / "clips.yaml").write_text(text)
    with pytest.raises(OverrideError, match=rf"(?s)clips\.yaml.*{says}"):
        load_overrides(tmp_path / "clips.yaml")


def test_a_file_in_clips_yaml_counts_from_there(tmp_path: Path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "mine.yaml").write_text("points: {}")
    (tmp_path / "clips.yaml").write_text('"*": {skeleton: mine.yaml}')
    found = overrides_for(tmp_path / "deep" / "a.bvh", tmp_path)
    assert found.skeleton == str(tmp_path / "mine.yaml")


def test_an_empty_clips_yaml_says_nothing(tmp_path: Path):
    (tmp_path / "clips.yaml").write_text("# nothing yet\n")
    (tmp_path / "a.bvh").write_text(SMALL_BVH)
    assert read(tmp_path / "a.bvh").fps == 50.0
