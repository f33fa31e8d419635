"""Clocking engines; the figures mean something only at full size on a quiet machine."""

import json

import pytest

import sim.env_bench
from sim.env_bench import benchmark_warp, main


def test_speeds_are_printed_for_each_batch_size(capsys):
    assert main(["--num-envs", "2", "8", "--steps", "8", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["engine"], row["num_envs"]) for row in rows] == [("cpu", 2), ("cpu", 8)]
    assert all(row["steps_per_s"] > 0 and row["with_balls_per_s"] > 0 for row in rows)


def test_warp_is_clocked_where_it_is_installed():
    pytest.importorskip("mujoco_warp", reason="MuJoCo Warp is not installed: pip install -e '.[gpu]'")
    result = benchmark_warp(2, 4)
    assert result is not None
    assert result["steps_per_s"] > 0
    assert result["num_envs"] == 2


def test_a_missing_engine_is_one_line(monkeypatch, capsys):
    def missing(*args):
        raise ImportError("sim.warp_engine needs MuJoCo Warp: pip install 'humanoid-rally[gpu]'")

    monkeypatch.setattr(sim.env_bench, "make_engine", missing)
    assert main(["--engine", "warp"]) == 1
    assert capsys.readouterr().err.strip().endswith("'humanoid-rally[gpu]'")


def test_sizes_must_make_sense():
    with pytest.raises(SystemExit):
        main(["--num-envs", "0"])
