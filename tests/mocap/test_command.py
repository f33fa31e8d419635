import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

import mocap
from mocap.command import execute


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
