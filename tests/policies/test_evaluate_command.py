"""The command rally-eval: files, tables, and what it says to mistakes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from policies.evaluate import main, markdown_table, percent, recovered, text_table

ROOT = Path(__file__).parents[2]


def run(*arguments):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return exit_.value.code


def test_one_level(tmp_path, capsys):
    code = run("policy=stand", "level=feed", "balls=1", "threads=1", "record=1", f"output={tmp_path / 'out'}")
    out = capsys.readouterr().out
    assert code == 0
    assert "stand at feed (nominal, seed 0): 1 balls" in out
    assert "bad states put right: 0\n" in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "balls.csv",
        "recording.npz",
        "report.json",
    ]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["policy"], report["level"], report["balls"]) == ("stand", "feed", 1)


def test_all_levels(tmp_path, capsys):
    assert run("policy=stand", "level=all", "balls=1", "threads=1", f"output={tmp_path}") == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [report["level"] for report in summary] == ["feed", "rally", "match"]
    for report in summary:
        assert json.loads((tmp_path / report["level"] / "report.json").read_text()) == report
    table = markdown_table(summary)
    assert table in (tmp_path / "summary.md").read_text()
    assert text_table(summary) in capsys.readouterr().out
    assert [line.split()[0] for line in text_table(summary).splitlines()] == [
        "level",
        "feed",
        "rally",
        "match",
    ]


def test_a_bundle_by_its_folder(tiny_bundle, tmp_path):
    output = tmp_path / "out"
    assert run(f"policy={tiny_bundle}", "level=feed", "balls=1", "threads=1", f"output={output}") == 0
    assert json.loads((output / "report.json").read_text())["policy"] == "tiny"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["policy=nobody"], "'nobody'"),
        (["policy=./nowhere"], "nowhere: no such folder"),
        (["policy=stand", "balls=0"], "balls=0"),
        (["policy=stand", "balls=many"], "balls=many"),
        (["policy=stand", "level=foo"], "level=foo: choose feed, rally, match or all"),
        (["policy=stand", "condition=dream"], "condition=dream"),
        (["policy=stand", "record=-1"], "record=-1"),
        (["policy=stand", "onnx_threads=0"], "onnx_threads=0"),
        (["policy=stand", "bals=3"], "'bals'; did you mean balls?"),
        ([], "policy=…"),
    ],
)
def test_mistakes_get_one_line(arguments, told, tmp_path, capsys):
    assert run(*arguments, f"output={tmp_path / 'out'}") == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_tampered_bundle_is_refused(tiny_bundle, tmp_path, capsys):
    file = tiny_bundle / "policy.onnx"
    data = bytearray(file.read_bytes())
    data[-20] ^= 1
    file.write_bytes(bytes(data))
    assert run(f"policy={tiny_bundle}", f"output={tmp_path / 'out'}") == 2
    error = capsys.readouterr().err
    assert "policy.onnx: its SHA-256 is" in error
    assert "copy or export the bundle again" in error


def test_an_output_that_is_a_file_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run("policy=stand", "balls=1", f"output={tmp_path / 'file'}") == 2
    assert "file" in capsys.readouterr().err


@pytest.mark.parametrize("task", ["return", "match"])
def test_no_output_does_not_mean_here(task, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(f"task={task}", "policy=stand", "level=feed", "output=''") == 2
    assert "output=: give the folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_interrupting_keeps_what_was_written(tmp_path, capsys, monkeypatch):
    import policies.evaluate as command

    judge = command.judge

    def stop_at_rally(policy, config, *rest):
        if config.level == "rally":
            raise KeyboardInterrupt
        return judge(policy, config, *rest)

    monkeypatch.setattr(command, "judge", stop_at_rally)
    assert run("policy=stand", "level=all", "balls=1", "threads=1", f"output={tmp_path}") == 130
    assert "interrupted" in capsys.readouterr().err
    assert (tmp_path / "feed" / "report.json").is_file()
    assert not (tmp_path / "rally").exists()


def test_help_reads_well_and_leaves_nothing_behind(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "policies.evaluate", "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert done.stdout.startswith("rally-eval: how well does a policy return balls")
    for key in ("policy", "level", "condition", "balls", "seed", "record"):
        assert f"\n  {key}" in done.stdout or f"\n{key}" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_recovered_states_are_named_where_there_are_any():
    report = {"recovered": {"robot_broken": 0, "ball_overlap": 2, "racket_pose": 1}}
    assert recovered(report) == "bad states put right: 3 (ball overlap 2, racket pose 1)"


def test_rates_read_in_per_cent():
    assert percent({"rate": 0.125, "low": 0.086, "high": 0.178}) == "12.5 (8.6–17.8)"
    assert percent({"rate": None, "low": 0.0, "high": 1.0}) == "–"
