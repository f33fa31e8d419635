"""Faults that are put into play, and what the watch makes of them."""

import json
from dataclasses import replace

import numpy as np
import pytest

from humanoid.bundle import PolicyBundle
from humanoid.joints import NUM_JOINTS
from humanoid.watch import FEATURES
from policies.faults import (
    FAULTS,
    FaultBench,
    FaultConfig,
    Outcome,
    Trial,
    clean_play,
    false_alarms,
    summarise,
)  # fmt: skip
from policies.faults_command import FaultsConfig, run

BY_NAME = {fault.name: fault for fault in FAULTS}
CONFIG = FaultConfig(trials=4, envs=8, threads=1, before=(0.3, 0.9), after=1.5)


@pytest.fixture(scope="module")
def stand():
    return PolicyBundle.load("stand")


def tried(policy, names, trials=4, **changes):
    bench = FaultBench(policy, replace(CONFIG, **changes))
    return bench.run(tuple(BY_NAME[name] for name in names), trials)


def test_a_robot_with_nothing_broken_is_not_stopped(stand):
    outcomes = FaultBench(stand, CONFIG).run((None,), 12)
    figures = false_alarms(outcomes, 0.02)
    assert figures["false_stops"] == figures["falls"] == 0
    assert figures["hours"] == pytest.approx(12 * 2.1 / 3600, rel=0.2)


@pytest.mark.parametrize(
    ("name", "check", "within_ms"),
    [
        ("encoder_biased", "encoder", 80),
        ("encoder_drifts", "encoder", 1000),
        ("imu_frozen", "imu_frozen", 120),
        ("imu_tilted", "gyro", 0),
        ("base_jumps", "base", 0),
        ("not_a_number", "non_finite", 0),
        ("states_dropped", "age", 80),
        ("clock_jumps", "clock", 0),
        ("policy_nan", "non_finite", 0),
        ("pushed", "capture", 800),
    ],
)
def test_a_fault_is_found_by_the_check_that_is_meant_for_it(stand, name, check, within_ms):
    outcomes = tried(stand, [name])
    assert [outcome.fault for outcome in outcomes] == [name] * 4
    for outcome in outcomes:
        assert outcome.stopped_after is not None
        assert 20 * outcome.stopped_after <= within_ms
        assert outcome.harm == ""
    assert any(check in outcome.checks for outcome in outcomes)


def test_the_same_seed_breaks_the_same_things(stand):
    names = ["encoder_noisy", "policy_wild"]
    first, again, other = (tried(stand, names, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_what_was_broken_is_mended_for_the_next_trial(stand):
    bench = FaultBench(stand, CONFIG)
    before = {
        name: bench.engine.params(name).clone()
        for name in ("kp", "kd", "effort", "body_mass", "geom_friction")
    }
    bench.run(
        tuple(BY_NAME[n] for n in ("wrong_gains", "motor_dead", "motors_weak", "racket_lost", "slippery")), 3
    )
    for name, value in before.items():
        assert bench.engine.params(name).equal(value), name


def test_harm_that_nobody_saw_coming_counts(stand):
    """A robot whose legs are told to fold, watched by nobody: it falls, and that is said."""

    def fold(trial: Trial) -> None:
        trial.senses["command"][:12] = np.tile([-1.5, 0, 0, 0.2, 0.8, 0], 2)

    bench = FaultBench(stand, CONFIG)
    bench.watch._thresholds["stop"] = np.inf
    outcomes = bench.run((replace(BY_NAME["commands_lost"], command=fold),), 4)
    assert {outcome.harm for outcome in outcomes} <= {"fall", "range", "speed"}
    figures = summarise(outcomes, 0.02)
    assert figures["harmed_first"]["count"] == 4
    assert figures["detected"]["count"] == 0
    assert figures["delay_ms"] is None


def test_every_fault_changes_something():
    rng = np.random.default_rng(0)
    sizes = {
        "joint_pos": 29, "joint_vel": 29, "torque": 29, "root_quat": 4, "base_ang_vel": 3, "root_pos": 3,
        "root_lin_vel": 3, "ball_pos": 3, "ball_vel": 3, "ball_valid": 1, "target": 2, "time": 1, "age": 1,
        "asked": 29, "command": 29,
    }  # fmt: skip

    def draw():
        values = {name: rng.normal(size=size) for name, size in sizes.items()}
        values["root_quat"] /= np.linalg.norm(values["root_quat"])
        return values

    for fault in FAULTS:
        assert fault.text
        memory, differs = {}, fault.plant is not None or fault.push > 0
        for since in range(12):
            true, past = draw(), draw()
            given = {name: value.copy() for name, value in true.items()}
            for change in (fault.senses, fault.asked, fault.command):
                if change is not None:
                    change(
                        Trial(
                            np.random.default_rng(1),
                            since,
                            0.02,
                            given,
                            true,
                            lambda steps, p=past: p,
                            memory,
                        )
                    )
            differs |= any(not np.array_equal(given[name], true[name]) for name in sizes)
        assert differs, fault.name
    assert len(FAULTS) >= 20
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


def test_figures_of_trials():
    outcomes = [
        Outcome("x", 5, "", ("servo",), 50), Outcome("x", 15, "", ("servo", "tilt"), 60),
        Outcome("x", None, "fall", (), 70), Outcome("x", None, "", (), 200),
    ]  # fmt: skip
    figures = summarise(outcomes, 0.02)
    assert figures["trials"] == 4
    assert (figures["detected"]["count"], figures["detected"]["rate"]) == (2, 0.5)
    assert figures["harmed_first"]["count"] == 1
    assert figures["harms"] == {"fall": 1}
    assert figures["delay_ms"] == {"p50": 200.0, "p90": pytest.approx(280.0), "max": 300.0}
    assert figures["checks"] == {"servo": 2, "tilt": 1}


def test_a_stop_before_a_fall_is_no_false_alarm():
    clean = [
        Outcome("", None, "", (), 900), Outcome("", 40, "", ("slip",), 900), Outcome("", 10, "fall", ("tilt",), 60),
        Outcome("", None, "fall", (), 60),
    ]  # fmt: skip
    figures = false_alarms(clean, 0.02)
    assert figures["hours"] == pytest.approx(1920 * 0.02 / 3600)
    assert figures["false_stops"] == 1
    assert figures["false_stops_per_hour"] == pytest.approx(1 / figures["hours"])
    assert figures["checks"] == {"slip": 1}
    assert (figures["falls"], figures["falls_stopped_before"]) == (2, 1)


def test_clean_play_of_a_policy(stand):
    statistics = clean_play(stand, 1.0, envs=8, threads=1)
    assert statistics.mean.shape == (FEATURES,)
    assert statistics.mean[:NUM_JOINTS] == pytest.approx(stand.act(stand.assemble(_terms()))[0][0], abs=0.2)


def _terms():
    from humanoid.observation import neutral_values

    return neutral_values(1)


def test_the_command_writes_its_report(stand, tmp_path, capsys):
    app = FaultsConfig(
        "stand", str(tmp_path / "out"), trials=2, clean_minutes=0.3, only=["imu_frozen", "policy_nan"], envs=8,
        threads=1, progress=False,
    )  # fmt: skip
    assert run(app) == 0
    report = json.loads((tmp_path / "out" / "faults.json").read_text())
    assert list(report["faults"]) == ["imu_frozen", "policy_nan"]
    assert report["faults"]["policy_nan"]["detected"]["count"] == 2
    assert report["all"]["trials"] == 4
    assert report["clean"]["false_stops"] == 0
    assert report["limits"]["tilt"]["reason"]
    assert report["clean_worst"]["tilt"] < 0.1
    table = (tmp_path / "out" / "faults.md").read_text()
    assert "| imu_frozen: attitude and gyro repeat their last reading | 100.0 (" in table
    assert table in capsys.readouterr().out + "\n"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"only": ["gremlins"]}, "gremlins"),
        ({"level": "moon"}, "level=moon"),
        ({"condition": "ideal"}, "condition=ideal"),
        ({"trials": 0}, "trials=0"),
    ],
)
def test_values_that_make_no_sense_are_refused(changes, text, tmp_path):
    from policies.evaluation import EvaluationError

    with pytest.raises(EvaluationError, match=text):
        run(FaultsConfig("stand", str(tmp_path), **changes))
