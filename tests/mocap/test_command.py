import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

import mocap
from humanoid.motion import RobotMotion
from mocap.benchmark import synthetic_clip, to_bvh
from mocap.command import execute
from mocap.config import AppConfig
from mocap.pipeline import run as run_clips


def config(*overrides: str):
    with initialize_config_dir(str(Path(mocap.__file__).parent / "conf"), version_base="1.3"):
        return compose("retarget", list(overrides))


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [sys.executable, "-m", "mocap.command", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_exit_codes_and_lines(tmp_path: Path, bvh_text: str, capsys):
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.bvh").write_text(bvh_text)
    assert (
        execute(config(f"input={source}", f"output={tmp_path / 'out'}", "progress=false", "workers=1")) == 0
    )
    assert "slide" in capsys.readouterr().out
    (source / "b.bvh").write_text("nonsense")
    assert (
        execute(config(f"input={source}", f"output={tmp_path / 'out'}", "progress=false", "workers=1")) == 1
    )
    assert "FAILED b" in capsys.readouterr().out
    assert (tmp_path / "out" / "a.npz").exists()


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ([], "input=PATH and output=PATH missing"),
        (["input=x"], "output=PATH missing"),
        (["input=/nowhere", "output=y"], "no such file or folder"),
        (["input=x", "output=y", "hand=both"], "right or left"),
        (["input=x", "output=y", "clean.nan_frames=ignore"], "clean.nan_frames=ignore"),
        (["input=x", "output=y", "unit_m=-1"], "unit_m=-1"),
        (["input=x", "output=y", "fps=0"], "fps=0"),
        (["input=x", "output=y", "retarget.leg_stretch=2"], "leg_stretch"),
    ],
)
def test_wrong_values_are_named(capsys, overrides: list[str], says: str):
    assert execute(config(*overrides)) == 2
    assert says in capsys.readouterr().err


def test_a_shipped_set_can_be_made_again():
    made = config("input=x", "output=y", "cut=caldas")
    assert made.cut.licence == "CC-BY-SA-3.0"
    assert made.cut.forehands == 8


def test_help_reads_well_and_leaves_nothing_behind(tmp_path: Path):
    done = command("--help", cwd=tmp_path)
    assert done.returncode == 0
    for word in ("input=", "output=", "report.json", "unit_m", "skeleton=FILE"):
        assert word in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_key_is_named(tmp_path: Path):
    done = command("inptu=x", cwd=tmp_path)
    assert done.returncode != 0
    assert "inptu" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_whole_files_and_a_run_that_can_go_on(tmp_path: Path):
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    text = to_bvh(synthetic_clip(8.0, 50.0))
    for number in range(12):
        (source / f"clip{number:02d}.bvh").write_text(text)
    root = Path(__file__).resolve().parents[2]
    keys = [f"input={source}", f"output={output}", "workers=2", "progress=false"]
    run = subprocess.Popen(
        [sys.executable, "-m", "mocap.command", *keys],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # As a terminal does it: the signal reaches the command and its workers.
        start_new_session=True,
    )
    while not list(output.glob("*.npz")) and run.poll() is None:
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 2
    assert "resume=true" in said
    assert "Traceback" not in said
    kept = sorted(output.glob("*.npz"))
    assert 0 < len(kept) < 12
    assert not list(output.glob(".*"))
    for file in kept:
        RobotMotion.load(file)
    reports = list(run_clips(AppConfig(input=str(source), output=str(output), workers=1, resume=True), str))
    assert [r.ok for r in reports] == [True] * 12
    assert sum(r.resumed for r in reports) == len(kept)
