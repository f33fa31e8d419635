"""Strokes cut into libraries, and the shipped ones against a rebuild."""

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import assets
from humanoid.joints import LOWER, UPPER
from humanoid.motion import RobotMotion, Stroke
from humanoid.motion_library import MotionLibrary
from mocap.clip import ClipError
from mocap.config import AppConfig
from mocap.library import file_hash, load_sources
from mocap.pipeline import run
from mocap.retarget import Retargeted
from mocap.robot import RobotModel
from mocap.strike import find_strikes
from mocap.stroke_library import ARCHIVES, FILE, StrokeRules, build, cut_clip, strokes_of, unpack

SHIPPED = Path(assets.__file__).parent / "motions"
ALL = StrokeRules(
    grades=("A", "B", "C", "D"), per_minute=99.0, slide_m_s=1.0, velocity_share=9.0, speed_m_s=(0.0, 99.0)
)


@pytest.fixture(scope="module")
def played(motion: Retargeted) -> RobotMotion:
    """The made-up player's motion: three forehands."""
    return motion.motion("set/clip", {"licence": "CC0-1.0", "recipe": "x", "spoiled_s": []})


@pytest.fixture(scope="module")
def pieces(played: RobotMotion, robot: RobotModel) -> list[RobotMotion]:
    return cut_clip(played, robot, ALL)


def test_every_stroke_becomes_a_motion_of_its_own(played, pieces):
    assert [p.name for p in pieces] == [
        f"set/clip/{n:02d}_forehand" for n in range(1, len(played.strokes) + 1)
    ]
    for piece, stroke in zip(pieces, played.strokes, strict=True):
        piece.validate()
        (own,) = piece.strokes
        assert own.strike_s - own.start_s == pytest.approx(stroke.strike_s - stroke.start_s, abs=0.02)
        assert 0.0 < own.start_s < own.strike_s < own.end_s <= piece.duration


def test_the_racket_moves_toward_x_and_the_root_starts_at_the_origin(pieces, robot):
    from mocap.filters import velocity
    from mocap.rotations import matrix_from_quat

    for piece in pieces:
        np.testing.assert_allclose(piece.root_pos[0, :2], 0.0, atol=1e-9)
        pos, rot = robot.tree.forward(piece.root_pos, matrix_from_quat(piece.root_quat), piece.joint_pos)
        v = velocity(robot.tree.place(robot.racket, pos, rot)[0], piece.fps)
        way = v[round(piece.strokes[0].strike_s * piece.fps)]
        assert np.degrees(np.arctan2(abs(way[1]), way[0])) < 5.0


def test_turning_changes_neither_joints_nor_heights_nor_the_strike(played, pieces, robot):
    before = find_strikes(played, robot)
    for piece, strike in zip(pieces, before, strict=True):
        a = round(piece.provenance["cut"]["start_s"] * played.fps)
        rows = slice(a, a + piece.num_frames)
        np.testing.assert_array_equal(piece.joint_pos, played.joint_pos[rows])
        np.testing.assert_allclose(piece.root_pos[:, 2], played.root_pos[rows, 2], atol=1e-9)
        after = find_strikes(piece, robot)[0]
        assert after.height_m == pytest.approx(strike.height_m, abs=1e-6)
        assert after.speed_m_s == pytest.approx(strike.speed_m_s, rel=0.02)
        assert after.right_m == pytest.approx(strike.right_m, abs=0.02)


def test_where_it_comes_from_stays_and_what_the_run_noted_goes(pieces):
    about = pieces[0].provenance
    assert about["licence"] == "CC0-1.0"
    assert about["cut"]["clip"] == "set/clip"
    assert about["grade"] in "ABCD"
    assert "recipe" not in about


def test_mended_strokes_are_left_out(played, robot):
    strike = played.strokes[1].strike_s
    spoiled = replace(played, provenance={"spoiled_s": [[strike - 0.02, strike + 0.02]]})
    names = [p.name for p in cut_clip(spoiled, robot, ALL)]
    assert "set/clip/02_forehand" not in names
    assert "set/clip/01_forehand" in names


def test_left_handed_and_cut_short_strokes_are_left_out(played, robot):
    first, second, *_ = played.strokes
    left = replace(first, hand="left")
    assert cut_clip(replace(played, strokes=(left,)), robot, ALL) == []
    late = Stroke(second.kind, "right", played.duration - 0.3, played.duration - 0.1, played.duration)
    assert cut_clip(replace(played, strokes=(late,)), robot, ALL) == []


def test_bad_strokes_are_left_out(played, robot):
    assert cut_clip(played, robot, replace(ALL, grades=())) == []
    assert cut_clip(played, robot, replace(ALL, velocity_share=0.01)) == []
    assert cut_clip(played, robot, replace(ALL, speed_m_s=(50.0, 99.0))) == []
    sunk = replace(played, root_pos=played.root_pos - [0.0, 0.0, 0.05])
    assert cut_clip(sunk, robot, ALL) == []


def test_the_most_feasible_of_a_clip_are_taken(played, pieces, robot):
    best = max(pieces, key=lambda p: p.provenance["feasibility"])
    assert [p.name for p in cut_clip(played, robot, replace(ALL, per_minute=0.0))] == [best.name]


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(ClipError, match=r"none\.tar\.xz: cannot be unpacked"):
        unpack(tmp_path / "none.tar.xz", tmp_path)


@pytest.fixture(scope="module", params=ARCHIVES)
def shipped(request) -> MotionLibrary:
    return MotionLibrary.open(SHIPPED / request.param / FILE)


def test_shipped_strokes_are_small_and_possible(shipped: MotionLibrary):
    assert shipped.path.stat().st_size < 3.6e6
    assert len(shipped) >= 10
    for name in shipped:
        motion = shipped[name]
        assert motion.fps == 50.0
        assert ((motion.joint_pos >= LOWER - 1e-4) & (motion.joint_pos <= UPPER + 1e-4)).all()
        assert len(motion.strokes) == 1
        assert motion.provenance["grade"] in StrokeRules().grades


def test_shipped_strokes_carry_their_licence(shipped: MotionLibrary):
    licence = "CC-BY-SA-3.0" if "caldas" in str(shipped.path) else "Apache-2.0"
    assert shipped.select(licence=licence) == list(shipped)
    assert all(entry.provenance["attribution"] for entry in shipped.entries)
    text = shipped.path.with_name("LICENSE").read_text()
    assert ("ShareAlike" in text) == (licence == "CC-BY-SA-3.0")


def test_the_shipped_manifest_is_that_of_the_library(shipped: MotionLibrary):
    rows = {r["name"]: r for r in csv.DictReader(shipped.path.with_suffix(".csv").read_text().splitlines())}
    assert list(rows) == list(shipped)
    for name, row in rows.items():
        assert row["content_sha256"] == shipped.content_hash(name)


def test_strokes_of_one_clip_are_made_again_bit_for_bit(shipped: MotionLibrary, shared_mocap, tmp_path):
    """The archive's first clip with shipped strokes stands for the set; `make library` makes all of it again."""
    import tarfile

    archive = shipped.path.parent.name
    sources = {entry.provenance["cut"]["clip"] for entry in shipped.entries}
    with tarfile.open(shared_mocap / f"{archive}.tar.xz") as tar:
        found = next(m for m in tar if Path(m.name).with_suffix("").as_posix() in sources)
        tar.extract(found, tmp_path / "in", filter="data")
    config = AppConfig(input=str(tmp_path / "in" / archive), output=str(tmp_path / "out"), workers=1)
    list(run(config, lambda line: None))
    records = json.loads((tmp_path / "out" / "report.json").read_text())
    strokes = strokes_of(tmp_path / "out", records, archive, load_sources("recordings"))
    MotionLibrary.write(tmp_path / "m.safetensors", strokes, storage="int16")
    made = MotionLibrary.open(tmp_path / "m.safetensors")
    clip = Path(found.name).with_suffix("").as_posix()
    assert list(made) == [e.name for e in shipped.entries if e.provenance["cut"]["clip"] == clip]
    for name in made:
        assert made.content_hash(name) == shipped.content_hash(name)
        assert made.entry(name) == replace(shipped.entry(name), first=made.entry(name).first)


@pytest.mark.skipif(
    not os.environ.get("RALLY_SLOW"), reason="takes minutes; RALLY_SLOW=1 makes the whole libraries again"
)
@pytest.mark.parametrize("archive", ARCHIVES)
def test_whole_libraries_are_made_again_bit_for_bit(archive, shared_mocap, tmp_path):
    (made,) = build(shared_mocap, tmp_path, [archive])
    for ending in (".safetensors", ".csv"):
        shipped = (SHIPPED / archive / FILE).with_suffix(ending)
        assert file_hash(made.with_suffix(ending)) == file_hash(shipped)
