"""Clocking of libraries: it runs, and says what is wrong."""

import numpy as np
import pytest

from humanoid.joints import JOINT_NAMES, READY_JOINT_POS
from humanoid.motion import RobotMotion
from humanoid.motion_library import MotionLibrary
from sim.library_bench import clock, main


@pytest.fixture
def path(tmp_path):
    motion = RobotMotion(
        "sway", 50.0, JOINT_NAMES, np.full((51, 3), 0.7), np.tile([1.0, 0, 0, 0], (51, 1)),
        READY_JOINT_POS + 0.1 * np.sin(np.arange(51) / 5.0)[:, None], np.ones((51, 2), bool),
    )  # fmt: skip
    MotionLibrary.write(tmp_path / "m.safetensors", [motion])
    return tmp_path / "m.safetensors"


def test_sizes_are_those_of_the_library(path):
    speed = clock(path, batches=(16, 64), samples=128)
    assert speed.hours == pytest.approx(1.0 / 3600.0)
    assert speed.megabytes == path.stat().st_size / 1e6
    assert set(speed.samples_per_s) == {16, 64}
    assert min(speed.samples_per_s.values()) > 0.0


def test_a_file_that_is_no_library_is_named(tmp_path, capsys):
    assert main([str(tmp_path / "none")]) == 2
    assert "no such library" in capsys.readouterr().err
