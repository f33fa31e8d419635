"""The adversarial ball machine: what it plays, what it learns from, and what it writes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from humanoid.bundle import PolicyBundle
from policies.adversary import (
    APART,
    WORST_CASE,
    AdversaryConfig,
    BallMachine,
    Played,
    apart,
    attack,
    margins,
    opposed,
    replay_set,
)
from policies.adversary_command import AdversaryCommandConfig, read_report, run
from policies.evaluation import EvaluationError
from sim.launch_distribution import DIMS, SPACE, LaunchMixture
from sim.recording import Recording
from sim.return_protocol import FALL, MISS, NET, OUT, RETURNED

TINY = AdversaryConfig(
    envs=16, threads=1, even=16, starts=1, generations=1, population=4, rounds=1, draws=16, worst=3
)


@pytest.fixture(scope="module")
def stand():
    return PolicyBundle.load("stand")


@pytest.fixture(scope="module")
def attacked(stand):
    return attack(stand, TINY)


def made_up(points, margin):
    margin = np.asarray(margin, dtype=float)
    outcome = np.where(margin > 0, RETURNED, MISS)
    return Played(np.asarray(points, dtype=float), outcome, np.zeros(len(margin), bool), margin)


def test_margins_order_outcomes():
    outcome = np.array([RETURNED, RETURNED, OUT, OUT, NET, MISS, MISS, FALL])
    landing = np.full((8, 2), np.nan)
    landing[:4] = [(6.0, 0.0), (6.0, 4.0), (12.0, 0.0), (20.0, 0.0)]
    nearest = np.array([0, 0, 0, 0, 0, 0.2, np.inf, 0.1])
    found = margins(outcome, landing, nearest)
    assert (np.diff(found) <= 0).all()
    assert found[0] == pytest.approx(1.0)
    assert found[1] == pytest.approx((4.115 - 4.0) / 4.115, abs=1e-3)
    assert found[2] == pytest.approx(-(12.0 - 11.885), abs=1e-3)
    assert list(found[3:5]) == [-1.0, -1.0]
    assert found[5] == pytest.approx(-1.7)
    assert found[6] == -2.5
    assert found[7] == WORST_CASE[FALL]


def test_worst_balls_lie_apart():
    rng = np.random.default_rng(0)
    played = made_up(rng.random((200, DIMS)), rng.normal(size=200))
    rows = apart(played, 5)
    assert rows[0] == int(np.argmin(played.margin))
    assert np.all(np.diff(played.margin[rows]) >= 0)
    off = np.linalg.norm(played.point[rows][:, None] - played.point[rows][None], axis=2)
    assert off[~np.eye(len(rows), dtype=bool)].min() >= APART


def test_opponent_launches_what_is_missed():
    rng = np.random.default_rng(1)
    points = rng.random((2000, DIMS))
    # Fast balls are missed, all others come back.
    opponent = opposed(made_up(points, np.where(points[:, SPACE.index("speed")] > 0.8, -2.0, 1.0)))
    drawn = opponent.sample(2000, torch.Generator().manual_seed(0))
    assert (drawn[:, SPACE.index("speed")] > 0.75).double().mean() > 0.85


def test_opponent_of_a_player_who_misses_nothing_goes_where_it_is_nearest():
    rng = np.random.default_rng(2)
    points = rng.random((300, DIMS))
    opponent = opposed(made_up(points, 0.1 + points[:, 0]))
    assert opponent.mean[:, 0].max() < 0.2


def test_a_robot_that_stands_misses_everything(attacked):
    report, opponent, machine = attacked
    for part in ("even", "search", "opponent"):
        assert report[part]["in_court"]["rate"] == 0.0
        assert report[part]["outcomes"]["returned"] == 0
    assert report["safe"]["rate"] == 0.0
    assert report["balls"] == sum(map(len, machine.played)) >= 16 + 16 + 16
    assert isinstance(opponent, LaunchMixture)
    assert len(report["worst"]) == 3
    json.dumps(report, allow_nan=False)


def test_every_ball_is_legal(attacked):
    report, _, machine = attacked
    everything = Played.join(machine.played)
    good, table = machine.feasible(everything.point)
    assert len(good) == len(everything)
    low, high = machine.launcher.level.speed
    speed = torch.linalg.vector_norm(table.vel, dim=1)
    assert speed.min() >= low - 1e-3
    assert speed.max() <= high + 1e-3
    assert (table.bounce_pos[:, 0] < 0).all()
    for row in report["worst"]:
        assert low - 0.01 <= row["speed_m_s"] <= high + 0.01


def test_same_balls_end_the_same_way(stand):
    machine = BallMachine(stand, TINY)
    table = machine.launcher.draw_even(20, 3)
    first, second = machine.play(table), machine.play(table)
    assert len(first) == 20
    np.testing.assert_array_equal(first.outcome, second.outcome)
    np.testing.assert_array_equal(first.margin, second.margin)
    np.testing.assert_allclose(first.point, table.point.double().numpy())


def test_outcomes_belong_to_their_balls(stand):
    """Each ball is met by its own robot: played alone it ends as it does among others."""
    machine = BallMachine(stand, TINY)
    table = machine.launcher.draw_even(16, 5)
    together = machine.play(table)
    alone = machine.play(table.at(torch.tensor([11])))
    assert alone.margin[0] == pytest.approx(together.margin[11], abs=1e-6)


def test_set_is_played_again(stand, attacked):
    report, _, _ = attacked
    points = np.array([row["point"] for row in report["worst"]])
    played = replay_set(BallMachine(stand, TINY), points)
    assert not played.returned.any()
    assert played.margin == pytest.approx([row["margin"] for row in report["worst"]], abs=2e-3)
    machine = BallMachine(stand, TINY)
    anything = np.random.default_rng(0).random((200, DIMS))
    impossible = np.setdiff1d(np.arange(200), machine.feasible(anything)[0])[0]
    with pytest.raises(EvaluationError, match="ball 1 of the set is none at level feed"):
        replay_set(machine, np.stack([points[0], anything[impossible]]))


@pytest.mark.parametrize(
    ("key", "value"), [("even", 1), ("population", 2), ("level", "wimbledon"), ("envs", 0)]
)
def test_impossible_values_are_refused(stand, key, value):
    with pytest.raises(EvaluationError, match=key):
        BallMachine(stand, replace(TINY, **{key: value}))


def test_command_writes_report_opponent_and_film(tmp_path, capsys):
    small = {name: getattr(TINY, name) for name in vars(TINY)}
    app = AdversaryCommandConfig(policy="stand", output=str(tmp_path), progress=False, **small)
    assert run(app) == 0
    report = read_report(tmp_path / "adversary.json")
    assert len(LaunchMixture.load(tmp_path / "opponent.npz").weight) >= 1
    recording = Recording.load(tmp_path / "recording.npz")
    assert recording.duration > 2.0
    assert "| drawn evenly | 16 | 0.0" in (tmp_path / "adversary.md").read_text()
    again = replace(app, set=str(tmp_path / "adversary.json"), output=str(tmp_path / "again"))
    assert run(again) == 0
    found = json.loads((tmp_path / "again" / "set.json").read_text())
    assert found["returned"] == 0
    assert [row["before"] for row in found["balls"]] == [row["outcome"] for row in report["worst"]]
    assert "0 of 3 balls of the set came back" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"space": []}'])
def test_set_that_is_none_is_refused_by_name(tmp_path, text):
    path = tmp_path / "adversary.json"
    path.write_text(text)
    with pytest.raises(EvaluationError, match=r"adversary\.json: not a report"):
        read_report(path)
    with pytest.raises(EvaluationError, match="cannot be read"):
        read_report(tmp_path / "none.json")
