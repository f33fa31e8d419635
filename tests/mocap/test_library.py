"""From retargeted folders to libraries: what is taken, under which licence, and the manifest."""

import csv

import pytest

from humanoid.motion_library import MotionLibrary
from mocap.library import SourcesError, load_sources, source_of, write_library, write_manifest
from mocap.retarget import Retargeted


@pytest.fixture
def folder(tmp_path, motion: Retargeted):
    """Two motions and their records, one of a copy, one that failed."""
    about = {"recipe": "x" * 64, "spoiled_s": [[0.1, 0.2]]}
    motion.motion("walks/a", about).save(tmp_path / "walks" / "a.npz")
    motion.motion("b", about).save(tmp_path / "b.npz")
    records = [
        {"clip": "walks/a", "ok": True, "motion": "walks/a.npz", "slide_m_s": 0.01, "grade": "B"},
        {"clip": "b", "ok": True, "motion": "b.npz", "duplicate_of": "walks/a"},
        {"clip": "c", "ok": False, "error": "no"},
    ]
    return tmp_path, records


def test_failed_clips_and_copies_stay_out(folder):
    path, records = folder
    library, _ = write_library(path / "m.safetensors", path, records)
    assert list(library) == ["walks/a"]


def test_licence_grade_and_quality_go_with_the_motion(folder):
    path, records = folder
    sources = [("walks/*", {"licence": "CC0-1.0", "attribution": "Somebody"})]
    library, _ = write_library(path / "m.safetensors", path, records, sources)
    about = library["walks/a"].provenance
    assert about["licence"] == "CC0-1.0"
    assert about["archive"] == "walks"
    assert about["quality"] == {"slide_m_s": 0.01}
    assert "recipe" not in about
    assert library.select(grade="B", licence="CC0-1.0") == ["walks/a"]


def test_the_manifest_lists_every_motion(folder, motion: Retargeted):
    path, records = folder
    records[1]["duplicate_of"] = None
    library, manifest = write_library(path / "m.safetensors", path, records)
    rows = list(csv.DictReader(manifest.read_text().splitlines()))
    assert [row["name"] for row in rows] == ["b", "walks/a"]
    assert rows[1]["frames"] == str(len(motion.q))
    assert rows[1]["grade"] == "B"
    assert rows[1]["slide_m_s"] == "0.01"
    assert rows[1]["strokes"] == f"{len(motion.strokes)} forehand"
    assert rows[1]["content_sha256"] == library.content_hash("walks/a")


def test_a_manifest_is_made_of_any_library(tmp_path, motion: Retargeted):
    MotionLibrary.write(tmp_path / "m.safetensors", [motion.motion("x", {})])
    rows = write_manifest(MotionLibrary.open(tmp_path / "m.safetensors")).read_text().splitlines()
    assert len(rows) == 2


def test_the_last_match_of_a_table_counts():
    table = [("*", {"licence": "A"}), ("walks/*", {"licence": "B", "archive": "w"})]
    assert source_of("walks/x", table) == {"archive": "w", "licence": "B", "attribution": ""}
    assert source_of("runs/x", table)["licence"] == "A"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", "clip patterns"),
        ('"*": yes', "archive, licence, attribution"),
        ('"*": {license: x}', "archive, licence, attribution"),
        ('"*": [', "a table of sources"),
    ],
)
def test_an_unusable_table_is_named(tmp_path, text, message):
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(SourcesError, match=rf"s\.yaml: .*{message}"):
        load_sources(str(tmp_path / "s.yaml"))


def test_the_shipped_table_agrees_with_the_recordings(shared_mocap):
    sources = load_sources("recordings")
    with (shared_mocap / "manifest.csv").open() as file:
        for row in csv.DictReader(file):
            found = source_of(row["path"], sources)
            assert found["attribution"]
            assert row["licence"].startswith("CC-BY-SA-3.0") == (found["licence"] == "CC-BY-SA-3.0")
            assert ("CMU" in row["licence"]) == ("CMU" in found["licence"])
