"""The protocol: outcomes, figures, and that the same seed means the same."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from humanoid.bundle import PolicyBundle
from humanoid.joints import JOINT_INDEX, JOINT_NAMES
from policies.evaluation import (
    Balls,
    EvaluationConfig,
    EvaluationError,
    evaluate,
    quoted,
    rally_length,
    tallies,
    wilson,
    write_evaluation,
)
from sim.ball_sim import BallSim
from sim.return_task import FALL, MISS, OUT, OUTCOMES, RETURNED, ReturnTask

FIELDS = [
    "policy", "bundle_sha256", "level", "condition", "seed", "balls", "outcomes", "in_court", "success",
    "contact_rate", "landing_error_m", "falls_per_100", "rally_length", "by_stroke", "by_zone",
    "smoothness_rad_s2", "torque_nm", "worst_episodes", "style", "safety", "solid", "shield", "recovered", "wall_s",
]  # fmt: skip
SHORT = EvaluationConfig(level="feed", balls=2, threads=1)


@pytest.fixture(scope="module")
def stand():
    """A standing robot and ten balls, the first episode recorded."""
    return evaluate(
        PolicyBundle.load("stand"), EvaluationConfig(level="rally", balls=10, threads=1, record=1)
    )


def some_balls(outcomes, landing=None, target=None, per_episode=8):
    n = len(outcomes)
    outcome = np.array(outcomes)
    return Balls(
        episode=np.arange(n) // per_episode,
        ball=np.arange(n) % per_episode,
        outcome=outcome,
        contact=~np.isin(outcome, (MISS, FALL)),
        backhand=np.zeros(n, dtype=bool),
        forecourt=np.zeros(n, dtype=bool),
        landing=np.full((n, 2), np.nan) if landing is None else np.array(landing, dtype=float),
        target=np.tile([8.0, 0.0], (n, 1)) if target is None else np.array(target, dtype=float),
        speed_in=np.full(n, 12.0),
        speed_out=np.full(n, 14.0),
    )


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_has_published_values(count, total, low, high):
    assert wilson(count, total) == pytest.approx((low, high), abs=5e-5)


def test_wilson_interval_of_nothing_is_everything():
    assert wilson(0, 0) == (0.0, 1.0)


def test_wilson_interval_is_symmetric():
    low, high = wilson(7, 50)
    assert wilson(43, 50) == pytest.approx((1 - high, 1 - low))


def test_report_has_the_documented_fields(stand):
    assert list(stand.report) == FIELDS
    assert set(stand.report["outcomes"]) == set(OUTCOMES) - {"pending"}
    assert set(stand.report["in_court"]) == {"rate", "low", "high"}
    assert set(stand.report["rally_length"]) == {"mean", "max"}
    assert list(stand.report["by_stroke"]) == ["forehand", "backhand"]
    assert list(stand.report["by_zone"]) == ["forecourt", "backcourt"]
    safety = stand.report["safety"]
    for key in ("position_violations", "velocity_violations", "torque_violations", "by_joint"):
        assert key in safety
    assert list(safety["by_joint"]) == list(JOINT_NAMES)


def test_a_solid_robot_cannot_reach_through_itself(stand):
    """An arm that is sent into the trunk stops there; otherwise it passes."""

    class Crossed:  # a policy, but for what it makes of one joint
        def __getattr__(self, name):
            return getattr(player, name)

        def act(self, observation, memory=None):
            targets, memory = player.act(observation, memory)
            targets = targets.copy()
            targets[:, JOINT_INDEX["right_shoulder_roll_joint"]] = 0.8
            return targets, memory

    player = PolicyBundle.load("stand")
    assert stand.report["solid"] is True
    ghost, solid = (evaluate(Crossed(), replace(SHORT, solid=value)).report for value in (False, True))  # pyright: ignore[reportArgumentType]
    assert solid["solid"] is True
    deepest = [report["safety"]["self_collision"]["closest_gap_m"] for report in (ghost, solid)]
    assert deepest[0] < -0.05
    assert deepest[1] > 0.5 * deepest[0]


def test_the_shield_stands_between_a_wild_policy_and_the_motors(monkeypatch, stand):
    assert stand.report["shield"] is None
    wild = PolicyBundle.load("stand")
    rng = np.random.default_rng(0)
    given: list[np.ndarray] = []

    def act(observation, memory=None):
        return rng.normal(0.0, 3.0, (len(observation), 29)), memory

    step = ReturnTask.step

    def watched(self, targets):
        given.append(np.abs(targets.numpy()).max())
        return step(self, targets)

    monkeypatch.setattr(wild, "act", act)
    monkeypatch.setattr(ReturnTask, "step", watched)
    bare = evaluate(wild, SHORT)
    wildest, count = max(given), len(given)
    shielded = evaluate(wild, replace(SHORT, shield=True))
    assert bare.report["shield"] is None
    assert shielded.report["shield"]["position"] > 10
    assert shielded.report["shield"]["torque"] > 10
    assert max(given[count:]) < 0.8 * wildest


def test_what_was_put_right_is_counted(monkeypatch):
    """A ball that is lost in its flight never lands, and the report tells why."""
    step, calls = BallSim.step, []

    def step_with_a_lost_ball(self, dt, *rackets):
        calls.append(dt)
        if len(calls) == 20:
            self.state.vel[0] = float("inf")
        return step(self, dt, *rackets)

    monkeypatch.setattr(BallSim, "step", step_with_a_lost_ball)
    counts = evaluate(PolicyBundle.load("stand"), SHORT).report["recovered"]
    assert counts == {
        "robot_broken": 0, "ball_not_finite": 1, "racket_pose": 0, "ball_overlap": 0, "ball_unresolved": 0,
    }  # fmt: skip


def test_exactly_the_first_balls_are_judged(stand):
    assert len(stand.balls) == stand.report["balls"] == sum(stand.report["outcomes"].values()) == 10
    order = stand.balls.episode * 8 + stand.balls.ball
    assert order.tolist() == list(range(10))


def test_a_standing_robot_stands(stand):
    assert stand.report["falls_per_100"] == 0.0
    assert stand.report["in_court"]["rate"] == 0.0
    assert stand.report["safety"]["position_violations"] == 0
    assert stand.report["torque_nm"] < 10.0
    assert stand.report["smoothness_rad_s2"] < 1.0


def test_recording_shows_an_episode(stand):
    recording = stand.recording
    assert recording.fps == 50.0
    assert recording.score["balls"][-1] == 8
    assert len(recording.captions) == 8
    assert recording.ball_visible.mean() > 0.5
    assert recording.qpos[:, 2].min() > 0.6


def test_a_manifest_quotes_the_report(stand):
    metrics = quoted([stand.report])
    assert metrics["rally"]["in_court"] == stand.report["in_court"]
    assert metrics["rally"]["balls"] == 10
    json.dumps(metrics, allow_nan=False)


def test_groups_add_up(stand):
    for group in ("by_stroke", "by_zone"):
        for outcome, count in stand.report["outcomes"].items():
            assert sum(part["outcomes"][outcome] for part in stand.report[group].values()) == count


def test_same_seed_same_result_at_any_thread_count(tiny_bundle):
    policy = PolicyBundle.load(tiny_bundle)
    first = evaluate(policy, SHORT)
    again = evaluate(policy, replace(SHORT, threads=2))
    assert first.report | {"wall_s": 0} == again.report | {"wall_s": 0}
    np.testing.assert_array_equal(first.balls.landing, again.balls.landing)


def test_every_policy_gets_the_same_balls(tiny_bundle):
    ours = evaluate(PolicyBundle.load(tiny_bundle), SHORT)
    stand = evaluate(PolicyBundle.load("stand"), SHORT)
    np.testing.assert_array_equal(ours.balls.target, stand.balls.target)
    np.testing.assert_array_equal(ours.balls.backhand, stand.balls.backhand)
    other = evaluate(PolicyBundle.load("stand"), replace(SHORT, seed=1))
    assert not np.array_equal(other.balls.target, stand.balls.target)


def test_a_fallen_robot_starts_again(tiny_bundle):
    config = replace(SHORT, balls=3, record=1)
    result = evaluate(PolicyBundle.load(tiny_bundle), config)
    assert result.report["falls_per_100"] > 0.0
    assert result.recording.qpos[-1, 2] > 0.3
    assert result.report["safety"]["non_finite"] == 0


def test_real_condition_is_repeatable_and_different():
    real = replace(SHORT, condition="real")
    first, again = evaluate(PolicyBundle.load("stand"), real), evaluate(PolicyBundle.load("stand"), real)
    assert first.report | {"wall_s": 0} == again.report | {"wall_s": 0}
    nominal = evaluate(PolicyBundle.load("stand"), SHORT)
    assert first.report["smoothness_rad_s2"] > nominal.report["smoothness_rad_s2"]


def test_success_is_near_the_target_and_in_court_is_inside():
    balls = some_balls(
        [RETURNED, RETURNED, OUT, MISS],
        landing=[[9.0, 0.0], [4.0, 3.0], [12.0, 0.5], [np.nan, np.nan]],
        target=[[8.0, 0.0], [10.0, 0.0], [10.0, 0.0], [8.0, 0.0]],
    )
    figures = tallies(balls)
    assert figures["in_court"]["rate"] == 0.5
    assert figures["success"]["rate"] == 0.5  # the first, and the one that is out but near its target
    assert figures["contact_rate"] == 0.75
    assert figures["landing_error_m"] == pytest.approx((1.0 + np.hypot(6.0, 3.0)) / 2)


def test_rates_of_no_balls_are_none():
    figures = tallies(some_balls([]))
    assert figures["in_court"] == {"rate": None, "low": 0.0, "high": 1.0}
    assert figures["contact_rate"] is None


@pytest.mark.parametrize(
    ("outcomes", "mean", "longest"),
    [
        ([MISS] * 8, 0.0, 0),
        ([RETURNED] * 8, 8.0, 8),
        ([RETURNED, RETURNED, MISS, RETURNED, OUT, MISS, MISS, MISS], 3 / 5, 2),
        ([RETURNED] * 9, 4.5, 8),
    ],
)
def test_rally_ends_with_a_failure_or_the_episode(outcomes, mean, longest):
    assert rally_length(some_balls(outcomes)) == {"mean": pytest.approx(mean), "max": longest}


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"level": "foo"}, "level=foo"),
        ({"condition": "odd"}, "condition=odd"),
        ({"balls": 0}, "balls=0"),
        ({"seed": -1}, "seed=-1"),
        ({"envs": 0}, "envs=0"),
        ({"record": 9}, "record=9"),
    ],
)
def test_impossible_values_are_named(change, key):
    with pytest.raises(EvaluationError, match=key):
        replace(SHORT, **change).check()


def test_a_policy_that_breaks_is_named(monkeypatch):
    broken = PolicyBundle.load("stand")
    act = broken.act

    def fail(observation, memory=None):
        targets, memory = act(observation, memory)
        return np.where(np.arange(29) == 3, np.nan, targets), memory

    monkeypatch.setattr(broken, "act", fail)
    with pytest.raises(EvaluationError, match=r"'stand'.*not finite"):
        evaluate(broken, SHORT)


def test_gains_of_the_bundle_drive_the_motors():
    soft = PolicyBundle.load("stand")
    soft.kp = soft.kp * 0.2
    assert evaluate(soft, SHORT).report["falls_per_100"] > 0.0


def test_files_hold_what_was_judged(stand, tmp_path):
    write_evaluation(tmp_path, stand)
    assert json.loads((tmp_path / "report.json").read_text()) == stand.report
    with open(tmp_path / "balls.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["outcome"] for row in rows] == [OUTCOMES[i] for i in stand.balls.outcome]
    assert (tmp_path / "recording.npz").is_file()


def test_a_full_disk_is_named_and_nothing_is_half_written(stand, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(EvaluationError, match=r"balls\.csv.*No space left"):
        write_evaluation(tmp_path, replace(stand, recording=None))
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_every_judged_ball():
    seen = []
    evaluate(PolicyBundle.load("stand"), SHORT, seen.append)
    assert sum(seen) == 2


def test_judging_leaves_gradients_on(stand):
    """A program may train after it has judged."""
    assert stand.balls
    assert torch.is_grad_enabled()


class Faller:
    """Stands, but lies down in one episode's robot: asks for bent knees there."""

    def __init__(self, policy, env):
        self.policy, self.env = policy, env
        self.name, self.bundle_sha256, self.kp, self.kd = "faller", "", policy.kp, policy.kd
        self.initial_memory, self.assemble = policy.initial_memory, policy.assemble

    def act(self, observation, memory=None):
        targets, memory = self.policy.act(observation, memory)
        targets = targets.copy()
        if len(targets) > self.env:
            targets[self.env, JOINT_INDEX["left_knee_joint"]] += 1.5
        return targets, memory


def test_worst_episodes_are_named_and_recorded():
    config = EvaluationConfig(balls=40, threads=1, envs=3, worst=True)
    found = evaluate(Faller(PolicyBundle.load("stand"), 1), config)
    # Two rounds of three robots; the second one falls in both.
    (row,) = found.report["worst_episodes"]
    assert row["episode"] in (1, 4)
    assert row["falls"] > 0
    assert sum(row["outcomes"].values()) == 8
    assert found.recording is None
    lying = found.worst.qpos[:, 2].min()
    assert lying < 0.6
    plain = evaluate(Faller(PolicyBundle.load("stand"), 1), replace(config, worst=False))
    assert plain.worst is None
    assert plain.report["worst_episodes"] == found.report["worst_episodes"]
