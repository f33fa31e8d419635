"""Training: exact resume, interrupts, and messages for wrong input."""

import errno
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
import yaml

from policies import train
from policies.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from policies.config import ConfigError, PpoConfig, TrainConfig, typed
from policies.strike_task import StrikeTaskConfig
from policies.train import Trainer

KEYS = ("ppo.hidden=[16,16]", "task.num_envs=4", "ppo.steps=8", "goals=48", "threads=1")


@pytest.fixture
def config(tmp_path, monkeypatch, strokes, pool):
    """Four robots that know two goals."""
    monkeypatch.setattr(train, "draw_goals", lambda *_: pool)
    monkeypatch.setattr(train, "load_strokes", lambda *_: strokes)
    return TrainConfig(
        name="tiny",
        output=str(tmp_path),
        iterations=4,
        threads=1,
        task=StrikeTaskConfig(num_envs=4),
        ppo=PpoConfig(steps=8, hidden=(16, 16)),
    )


def trained(config: TrainConfig) -> Trainer:
    trainer = Trainer(config)
    trainer.run()
    return trainer


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return load_checkpoint(trainer.checkpoint)["learner"]["actor_state_dict"]


def test_two_and_two_updates_are_four(config):
    straight = weights(trained(replace(config, name="straight")))
    trained(replace(config, iterations=2))
    parted = weights(trained(config))
    assert straight.keys() == parted.keys()
    for name, value in straight.items():
        assert torch.equal(value, parted[name]), name


def test_two_and_two_updates_are_four_on_the_warp_engine_too(config):
    pytest.importorskip("mujoco_warp", reason="MuJoCo Warp is not installed: pip install -e '.[gpu]'")
    config = replace(config, engine="warp", iterations=2)
    straight = trained(replace(config, name="straight"))
    assert type(straight.env.engine).__name__ == "WarpEngine"
    trained(replace(config, iterations=1))
    parted = weights(trained(config))
    for name, value in weights(straight).items():
        assert value.isfinite().all()
        assert torch.equal(value, parted[name]), name


def test_a_run_from_before_a_key_goes_on_with_its_default(config):
    """Keys are added; what was trained without them had their defaults."""
    trained(replace(config, iterations=1))
    path = Trainer(config).checkpoint
    state = load_checkpoint(path)
    del state["config"]["engine"], state["config"]["device"]
    save_checkpoint(path, state)
    assert Trainer(config).samples == 32
    with pytest.raises(ConfigError, match="another 'engine'"):
        Trainer(replace(config, engine="warp"))


def test_the_gpu_experiment_asks_for_warp_on_a_gpu(tmp_path, monkeypatch, capsys):
    """Where there is none, one line says so."""
    if torch.cuda.is_available():
        pytest.skip("a GPU is here: its absence cannot be complained of")
    monkeypatch.setattr(sys, "argv", ["rally-train", f"output={tmp_path}", *KEYS, "experiment=strike_gpu"])
    with pytest.raises(SystemExit) as stopped:
        train.main()
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert "no CUDA device here" in message or "humanoid-rally[gpu]" in message


def test_another_seed_gives_another_policy(config):
    one = weights(trained(replace(config, name="one", iterations=1)))
    other = weights(trained(replace(config, name="other", iterations=1, seed=1)))
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_the_curve_has_a_row_an_update_after_a_resume_too(config):
    trainer = trained(replace(config, iterations=3))
    curve = trainer.folder / "curve.csv"
    # A run killed after its checkpoint leaves rows of updates that will be done again.
    with curve.open("a") as file:
        file.write("3,128,9.9,0.1\n4,160,9.9,0")
    trained(config)
    rows = [line.split(",") for line in curve.read_text().splitlines()]
    assert rows[0][:3] == ["iteration", "samples", "wall_s"]
    assert [int(row[0]) for row in rows[1:]] == [0, 1, 2, 3]
    assert [int(row[1]) for row in rows[1:]] == [32, 64, 96, 128]
    assert {len(row) for row in rows} == {len(rows[0])}


def test_the_score_is_the_share_of_returned_strikes_of_the_last_updates(config):
    trainer = trained(replace(config, iterations=1))
    head = (trainer.folder / "curve.csv").read_text().splitlines()[0]
    column = head.split(",").index("in_court")
    rows = [[""] * len(head.split(",")) for _ in range(5)]
    for row, share in zip(rows, ("0.9", "0.2", "", "0.4", "0.6"), strict=True):
        row[column] = share
    (trainer.folder / "curve.csv").write_text("\n".join([head, *(",".join(row) for row in rows)]) + "\n")
    assert trainer.score(4) == pytest.approx(0.4)
    assert trainer.score(5) == pytest.approx(0.525)
    (trainer.folder / "curve.csv").write_text(head + "\n")
    assert math.isnan(trainer.score())


def test_a_runs_folder_holds_config_checkpoint_curve_and_events(config):
    trainer = trained(replace(config, iterations=1))
    assert typed(TrainConfig, yaml.safe_load((trainer.folder / "config.yaml").read_text())) == trainer.config
    assert not list(trainer.folder.glob("model_*.pt"))
    assert list(trainer.folder.glob("events.*"))


def test_a_run_that_is_done_stays_as_it_is(config):
    before = weights(trained(config))
    after = weights(trained(config))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_another_configuration_does_not_go_on_with_a_run(config):
    trained(replace(config, iterations=1))
    with pytest.raises(ConfigError, match=r"another 'ppo\.gamma'.*name=.*resume=false"):
        Trainer(replace(config, ppo=replace(config.ppo, gamma=0.9)))


def test_a_damaged_checkpoint_is_not_overwritten(config):
    trainer = trained(replace(config, iterations=1))
    damaged = trainer.checkpoint.read_bytes()[:-10]
    trainer.checkpoint.write_bytes(damaged)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt: damaged"):
        Trainer(config)
    assert trainer.checkpoint.read_bytes() == damaged


def test_a_new_run_can_start_from_anothers_network(config):
    first = trained(replace(config, iterations=1))
    second = Trainer(replace(config, name="second", start_from=str(first.checkpoint)))
    old = weights(first)
    for name, value in second.runner.alg.save()["actor_state_dict"].items():
        assert torch.equal(value, old[name]), name


def test_a_network_of_another_size_is_refused(config):
    first = trained(replace(config, iterations=1))
    other = replace(config, name="second", start_from=str(first.checkpoint), ppo=PpoConfig(hidden=(8,)))
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt: its network does not fit"):
        Trainer(other)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_finishes_the_update_and_saves(config, number):
    trainer = Trainer(replace(config, iterations=0))
    step, calls = trainer.env.step, 0

    def interrupted(actions):
        nonlocal calls
        calls += 1
        if calls == 12:
            signal.raise_signal(number)
        return step(actions)

    trainer.env.step = interrupted
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert load_checkpoint(trainer.checkpoint)["iteration"] == 2
    assert trained(config).runner.current_learning_iteration == 4


def command(*arguments: str, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "policies.train", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **options,
    )


def test_two_processes_learn_one_policy_and_go_on_with_it(tmp_path):
    """By torchrun and gloo; the second process's robots are others than the first one's."""

    def run(*arguments: str) -> subprocess.CompletedProcess:
        torchrun = (
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node=2",
            "-m",
            "policies.train",
        )
        given = (*KEYS, "name=two", f"output={tmp_path}", *arguments)
        return subprocess.run(
            [sys.executable, *torchrun, *given], capture_output=True, text=True, timeout=300
        )

    for iterations in (1, 2):
        done = run(f"iterations={iterations}")
        assert done.returncode == 0, done.stderr
        first, second = (load_checkpoint(tmp_path / "two" / f"checkpoint{n}.pt") for n in ("", "_1"))
        assert first["samples"] == second["samples"] == 2 * 4 * 8 * iterations
        for name, value in first["learner"]["actor_state_dict"].items():
            assert torch.equal(value, second["learner"]["actor_state_dict"][name]), name
        assert not torch.equal(first["task"]["physics"], second["task"]["physics"])
    assert len((tmp_path / "two" / "curve.csv").read_text().splitlines()) == 3
    alone = command(*KEYS, "name=two", f"output={tmp_path}", "iterations=3")
    assert alone.wait(timeout=300) == 2
    assert "started with 2 processes" in alone.stderr.read()


def test_a_killed_run_leaves_a_checkpoint_and_says_how_to_go_on(tmp_path):
    process = command("name=run", f"output={tmp_path}", "checkpoint_minutes=0", *KEYS)
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "interrupted; the same command goes on" in error
    assert load_checkpoint(checkpoint)["iteration"] >= 1


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("task.reward.landd=3", "unknown setting 'task.reward.landd'; did you mean task.reward.land?"),
        ("+task.reward.landd=3", "config key 'task.reward.landd' does not exist; known keys here: alive"),
        ("ppo.gamma=high", "config key 'ppo.gamma': expected float, got 'high'"),
        ("experiment=strike_huge", "unknown choice 'experiment=strike_huge'; there are"),
        ("start_from=none.pt", "none.pt: no such checkpoint; train one with rally-train"),
        ("player.strokes=[serve_99]", "serve_99.npz: no such strokes; this folder has: forehand, backhand"),
        ("level=moon", "moon"),
        ("engine=warped", "config keys 'engine' and 'device': engine 'warped': choose one of cpu, warp"),
        ("device=cuda", 'the cpu engine has none but "cpu"; on a GPU runs the warp engine'),
        ("device=abacus", "config keys 'engine' and 'device': "),
    ],
)
def test_users_mistakes_are_named(tmp_path, monkeypatch, capsys, argument, message):
    monkeypatch.setattr(sys, "argv", ["rally-train", f"output={tmp_path}", *KEYS, argument])
    with pytest.raises(SystemExit) as stopped:
        train.main()
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_named(config, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(train, "save_checkpoint", full)
    monkeypatch.setattr(sys, "argv", ["rally-train", f"output={config.output}", "iterations=1", *KEYS])
    with pytest.raises(SystemExit) as stopped:
        train.main()
    assert stopped.value.code == 2
    assert "No space left on device" in capsys.readouterr().err


def test_help_reads_well():
    process = command("--help")
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert text.startswith("rally-train")
    for name in ("strike_small", "strike_cpu", "resume=false", "start_from=FILE"):
        assert name in text
    assert max(len(line) for line in text.splitlines()) <= 110
