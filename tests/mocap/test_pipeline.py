import json
from dataclasses import asdict
from pathlib import Path

import pytest

from humanoid.motion import RobotMotion
from mocap.clip import ClipError
from mocap.config import AppConfig
from mocap.pipeline import ClipReport, InputError, choose_mapping, find_clips, run

CONTRACT = [
    "clip",
    "ok",
    "error",
    "frames",
    "fps_in",
    "unit_m",
    "trimmed_start_s",
    "glitch_frames",
    "duplicate_of",
    "slide_m_s",
    "penetration_fraction",
    "float_fraction",
    "direction_error_deg",
    "limit_violations",
    "velocity_violations_fraction",
    "frames_per_s",
    "strokes",
]


@pytest.fixture
def folder(tmp_path: Path, bvh_text: str) -> Path:
    """Two clips of the same content, one with another skeleton, one truncated."""
    source = tmp_path / "in"
    (source / "deep").mkdir(parents=True)
    (source / "a.bvh").write_text(bvh_text)
    (source / "deep" / "copy.bvh").write_text(bvh_text.replace(" 0.00000", " 0.0000001"))
    (source / "strange.bvh").write_text(bvh_text.replace("LeftKnee", "Foo"))
    (source / "torn.bvh").write_text(bvh_text[: len(bvh_text) // 2])
    (source / "notes.txt").write_text("not a clip")
    return source


def retarget_all(source: Path, output: Path, **options) -> list[ClipReport]:
    options.setdefault("workers", 1)
    return list(run(AppConfig(input=str(source), output=str(output), **options), lambda text: None))


def test_one_report_entry_a_clip_with_all_fields(folder: Path, tmp_path: Path):
    retarget_all(folder, tmp_path / "out")
    entries = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [e["clip"] for e in entries] == ["a", "deep/copy", "strange", "torn"]
    for entry in entries:
        assert set(CONTRACT) <= set(entry)
    good = entries[0]
    assert good["ok"]
    assert good["error"] is None
    assert (good["frames"], good["fps_in"], good["unit_m"]) == (101, 50.0, 0.01)
    assert all(good[key] is not None for key in CONTRACT if key not in ("error", "duplicate_of"))
    assert good["strokes"][0]["kind"] == "forehand"


def test_motions_are_written_and_say_where_they_come_from(folder: Path, tmp_path: Path):
    reports = retarget_all(folder, tmp_path / "out")
    motion = RobotMotion.load(tmp_path / "out" / str(reports[0].motion))
    assert motion.fps == 50.0
    assert motion.provenance["file"] == "a.bvh"
    assert motion.provenance["unit_m"] == 0.01
    assert len(motion.provenance["content_sha256"]) == 64


def test_failures_are_entries_and_the_run_goes_on(folder: Path, tmp_path: Path):
    reports = {r.clip: r for r in retarget_all(folder, tmp_path / "out")}
    assert reports["a"].ok
    assert not reports["strange"].ok
    assert "unknown skeleton" in str(reports["strange"].error)
    assert not reports["torn"].ok
    assert "torn.bvh" in str(reports["torn"].error)
    assert not (tmp_path / "out" / "torn.npz").exists()


def test_copies_are_found_by_content(folder: Path, tmp_path: Path):
    reports = {r.clip: r for r in retarget_all(folder, tmp_path / "out")}
    assert reports["a"].duplicate_of is None
    assert reports["deep/copy"].duplicate_of == "a"


def test_a_second_run_gives_the_same_bytes(folder: Path, tmp_path: Path):
    for out in ("one", "two"):
        retarget_all(folder, tmp_path / out)
    assert (tmp_path / "one" / "a.npz").read_bytes() == (tmp_path / "two" / "a.npz").read_bytes()


def test_a_single_file(folder: Path, tmp_path: Path):
    reports = retarget_all(folder / "deep" / "copy.bvh", tmp_path / "out")
    assert [r.clip for r in reports] == ["copy"]
    assert (tmp_path / "out" / "copy.npz").exists()


def test_an_interrupted_run_reports_what_was_done(folder: Path, tmp_path: Path):
    run_ = run(AppConfig(input=str(folder), output=str(tmp_path / "out"), workers=1), lambda text: None)
    next(run_)
    run_.close()
    entries = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [e["clip"] for e in entries] == ["a"]


@pytest.mark.parametrize("path", ["none", "empty", "clip.xyz"])
def test_nothing_to_read_says_what_to_give(tmp_path: Path, path: str):
    (tmp_path / "empty").mkdir()
    (tmp_path / "clip.xyz").write_text("")
    if path == "clip.xyz":
        assert "unknown ending" in str(retarget_all(tmp_path / path, tmp_path / "out")[0].error)
    else:
        with pytest.raises(InputError, match=r"give input=|no clips"):
            find_clips(tmp_path / path)


def test_an_output_that_is_a_file_is_refused(folder: Path, tmp_path: Path):
    (tmp_path / "out").write_text("here already")
    with pytest.raises(InputError, match="output="):
        retarget_all(folder, tmp_path / "out")


def test_skeletons_can_be_named(folder: Path, tmp_path: Path):
    assert choose_mapping("caldas") is not None
    with pytest.raises(ClipError, match="shipped skeletons"):
        choose_mapping("centaur")
    reports = retarget_all(folder / "a.bvh", tmp_path / "out", skeleton="cmu")
    assert "finds no joint" in str(reports[0].error)


def test_strokes_are_cut_when_asked_for(tmp_path: Path, bvh_text: str):
    from mocap.benchmark import synthetic_clip, to_bvh

    (tmp_path / "long.bvh").write_text(to_bvh(synthetic_clip(4.0, 50.0)))
    config = AppConfig(input=str(tmp_path / "long.bvh"), output=str(tmp_path / "out"), workers=1)
    config.cut.output = str(tmp_path / "set")
    config.cut.speed_m_s, config.cut.height_m = (0.0, 50.0), (0.0, 2.0)
    list(run(config, lambda text: None))
    assert (tmp_path / "set" / "manifest.json").exists()


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*.npz"))}


def test_results_do_not_depend_on_the_number_of_workers(folder: Path, tmp_path: Path):
    alone = retarget_all(folder, tmp_path / "one")
    together = retarget_all(folder, tmp_path / "two", workers=2)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    for report in alone + together:
        report.frames_per_s = None
    assert [asdict(r) for r in alone] == [asdict(r) for r in together]


def test_a_resumed_run_keeps_what_is_there_and_makes_the_rest(folder: Path, tmp_path: Path):
    retarget_all(folder, tmp_path / "whole")
    retarget_all(folder, tmp_path / "out")
    (tmp_path / "out" / "a.npz").unlink()
    (tmp_path / "out" / "report.json").unlink()
    kept = tmp_path / "out" / "deep" / "copy.npz"
    time = kept.stat().st_mtime_ns
    reports = {r.clip: r for r in retarget_all(folder, tmp_path / "out", resume=True)}
    assert [c for c, r in reports.items() if r.resumed] == ["deep/copy"]
    assert kept.stat().st_mtime_ns == time
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert reports["deep/copy"].duplicate_of == "a"


def test_a_kept_motion_is_made_again_when_file_or_configuration_change(folder: Path, tmp_path: Path):
    (folder / "deep" / "copy.bvh").unlink()
    retarget_all(folder, tmp_path / "out")
    changed = AppConfig(input=str(folder), output=str(tmp_path / "out"), workers=1, resume=True)
    changed.retarget.clearance_m = 0.05
    assert not any(r.resumed for r in run(changed, lambda text: None))
    (folder / "a.bvh").write_text((folder / "a.bvh").read_text() + "\n")
    assert not any(r.resumed for r in run(changed, lambda text: None))


def test_leftovers_of_a_killed_run_are_cleared(folder: Path, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".a.npz.x7half").write_bytes(b"half")
    retarget_all(folder, tmp_path / "out", resume=True)
    assert not list((tmp_path / "out").rglob(".*.npz.*"))


def test_a_motion_says_what_it_asks_of_the_robot(folder: Path, tmp_path: Path):
    report = retarget_all(folder / "a.bvh", tmp_path / "out")[0]
    motion = RobotMotion.load(tmp_path / "out" / "a.npz")
    assert motion.provenance["grade"] == report.grade
    assert report.grade in "ABCD"
    assert report.figures["load_p99"] >= 0.0
