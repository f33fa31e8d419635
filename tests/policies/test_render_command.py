"""The command rally-render: help, errors and a video."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from humanoid.joints import READY_JOINT_POS
from policies.render import execute
from sim.recording import Recorder

pytest.importorskip("cv2", reason="needs the render extra")

ROOT = Path(__file__).parents[2]


def run(folder, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "policies.render", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def game(tmp_path):
    recorder = Recorder(25.0, title="stand")
    for _ in range(3):
        recorder.add(np.array([-12.0, 0.0, 0.75, 1, 0, 0, 0, *READY_JOINT_POS]), [0.0, 0.0, 1.0])
    path = tmp_path / "game.npz"
    recorder.finish().save(path)
    return path


def test_help_shows_usage_and_keys(tmp_path):
    result = run(tmp_path, "--help")
    assert result.returncode == 0
    assert "rally-render recording=GAME.npz output=GAME.mp4" in result.stdout
    assert "quality: standard" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recording=nowhere.npz", "output=a.mp4"], "nowhere.npz: no such recording"),
        (["motion=nowhere.npz", "output=a.mp4"], "nowhere.npz: no such motion file"),
        (["recording=a.npz"], "output=FILE.mp4 is missing"),
        (["output=a.mp4"], "give either recording=FILE.npz or motion=FILE.npz"),
        (["recording=a.npz", "output=a.avi"], "output=a.avi: give a name that ends in .mp4"),
        (["recording=a.npz", "output=a.mp4", "quality=best"], "quality=best: choose draft, standard, high"),
        (["recording=a.npz", "output=a.mp4", "width=63"], "width=63: give an even number"),
    ],
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    with initialize_config_dir(str(ROOT / "policies" / "conf"), version_base="1.3"):
        code = execute(compose("render", overrides=arguments))
    assert code == 2
    printed = capsys.readouterr().err
    assert printed.startswith("rally-render: ")
    assert message in printed
    assert len(printed.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_missing_file_exits_with_2_without_a_traceback(tmp_path):
    result = run(tmp_path, "recording=nowhere.npz", "output=a.mp4")
    assert result.returncode == 2
    assert result.stderr == "rally-render: nowhere.npz: no such recording; record one with rally-eval\n"
    assert list(tmp_path.iterdir()) == []


def test_wrong_key_is_named(tmp_path):
    result = run(tmp_path, "recordin=a.npz", "output=a.mp4")
    assert result.returncode != 0
    assert "recordin" in result.stderr
    assert "Traceback" not in result.stderr


def test_no_opengl_is_one_line_and_exit_code_2(tmp_path, game):
    result = run(tmp_path, f"recording={game}", "output=a.mp4", MUJOCO_GL="disable")
    assert result.returncode == 2
    assert "MUJOCO_GL=disable" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_video_is_written_and_nothing_else(tmp_path, game):
    from sim.gl import RenderUnavailable
    from sim.render import check_available

    try:
        check_available()
    except RenderUnavailable as error:
        pytest.skip(str(error))
    result = run(tmp_path, f"recording={game}", "output=out/a.mp4", "width=64", "height=64", "quality=draft")
    assert result.returncode == 0, result.stderr
    assert "3 frames" in result.stdout
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.mp4", "game.npz", "out"]
