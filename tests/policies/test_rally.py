"""The main job, small."""

import json

import pytest

from policies.rally import STROKES, main, quality_line


def run(*arguments):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return exit_.value.code


def test_main_job_without_pictures(tiny_bundle, tmp_path, capsys):
    output = tmp_path / "out"
    code = run(f"policy={tiny_bundle}", "balls=1", "threads=1", "video=false", f"output={output}")
    out = capsys.readouterr().out
    assert code == 0
    assert "forehand_08, forehand, from" in out
    for file in ("report.md", "report.html", "summary.json"):
        assert (output / file).is_file()
        assert str(output / file) in out
    summary = json.loads((output / "summary.json").read_text())
    assert list(summary) == ["tiny", "stand"]
    for name, reports in summary.items():
        assert [report["level"] for report in reports] == ["feed", "rally", "match"]
        assert (output / name / "match" / "report.json").is_file()
    assert (output / "tiny" / "feed" / "recording.npz").is_file()


def test_without_gl_everything_but_pictures_works(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "off")
    assert run("policy=stand", "balls=1", "threads=1", f"output={tmp_path}") == 0
    out = capsys.readouterr().out
    assert "no filmstrip: rendering is switched off" in out
    assert "no video: rendering is switched off" in out
    assert (tmp_path / "report.html").is_file()
    assert not (tmp_path / "rally.mp4").exists()


@pytest.mark.parametrize(
    "mistake", ["policy=nobody", "balls=0", "condition=x", "video_level=x", "stroke=x", "foo=1"]
)
def test_mistakes_get_one_line(mistake, tmp_path, capsys):
    arguments = {"policy": "stand", "balls": "1", "video": "false", "output": str(tmp_path / "out")}
    key, value = mistake.split("=")
    arguments[key] = value
    assert run(*(f"{key}={value}" for key, value in arguments.items())) == 2
    error = capsys.readouterr().err
    assert key in error
    assert len(error.strip().splitlines()) == 1


def test_every_shipped_stroke_has_a_quality_line():
    for stroke in json.loads((STROKES / "manifest.json").read_text())["strokes"]:
        line = quality_line(stroke)
        assert line.startswith(stroke["name"])
        assert len(line.splitlines()) == 2
