"""rally-eval task=match: files, figures, seeds, and what it says to mistakes."""

import csv
import json

import numpy as np
import pytest
import torch

from humanoid.bundle import PolicyBundle
from humanoid.joints import NUM_JOINTS
from policies.evaluate import main
from policies.evaluation import EvaluationError, wilson
from policies.match import MatchesConfig, play_matches, write_matches
from policies.match_report import match_report, table
from sim.match_record import MatchRecord, Point, Shot
from sim.recording import Recording
from sim.score import Score

NEAR, FAR = 0, 1


def run(*arguments):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return exit_.value.code


@pytest.fixture(scope="module")
def stand():
    return PolicyBundle.load("stand")


@pytest.fixture(scope="module")
def played(stand):
    """Two standing robots, two points, recorded."""
    config = MatchesConfig(matches=1, points=2, threads=1, record=1)
    return play_matches(stand, stand, config)


# Playing


def test_files_of_a_match(tmp_path, capsys):
    output = tmp_path / "out"
    arguments = ("task=match", "policy=stand", "opponent=wall", "level=feed", "matches=1", "points=1")
    assert run(*arguments, "threads=1", "record=1", f"output={output}") == 0
    assert sorted(path.name for path in output.iterdir()) == ["match.json", "points.csv", "recording.npz"]
    report = json.loads((output / "match.json").read_text())
    assert (report["task"], report["policy"], report["opponent"]) == ("match", "stand", "wall")
    assert (report["matches"], report["points"]) == (1, 1)
    assert set(report["recovered"].values()) == {0}
    assert report["wall"] == {"policy": None, "opponent": {"harder": 0, "stuck": 0}}
    assert table([report]) in capsys.readouterr().out
    with open(output / "points.csv") as file:
        assert [row["winner"] for row in csv.DictReader(file)] == ["opponent"]


def test_two_standing_robots_miss_each_feed(played):
    report = played.report
    assert report["errors"] == {"missed feed": {"policy": 1, "opponent": 1}}
    assert report["rally_length"]["longest"] == 0
    for side in ("policy", "opponent"):
        own = report["by_side"][side]
        assert (own["balls"], own["contact"]["count"], own["returned"]["count"]) == (1, 0, 0)
        assert report["points_won"][side]["rate"] == 0.5
        assert report["safety"][side]["position_violations"] == 0
    assert report["matches_drawn"] == 1


def test_the_same_seed_is_the_same_match(stand, played):
    again = play_matches(stand, stand, MatchesConfig(matches=1, points=2, threads=1, record=1))
    for result in (played, again):
        result.report["wall_s"] = 0.0
    assert again.report == played.report
    np.testing.assert_array_equal(again.recording.qpos, played.recording.qpos)
    np.testing.assert_array_equal(again.recording.ball_pos, played.recording.ball_pos)


def test_a_recording_shows_both_robots_on_their_sides(played, tmp_path):
    played.recording.save(tmp_path / "match.npz")
    recording = Recording.load(tmp_path / "match.npz")
    assert recording.players == ("stand (near)", "stand (far)")
    assert recording.num_robots == 2
    np.testing.assert_allclose(recording.qpos[:, 0, 0], -11.9, atol=0.1)
    np.testing.assert_allclose(recording.qpos[:, 1, 0], 11.9, atol=0.1)
    assert recording.score["near"][-1] == recording.score["far"][-1] == 1
    assert [text for _, text in recording.captions] == [
        "Missed feed: point to stand (far)",
        "Missed feed: point to stand (near)",
    ]


def test_real_conditions_are_played_in_any_batch_size(stand):
    config = MatchesConfig(matches=3, points=1, envs=2, threads=1, condition="real")
    report = play_matches(stand, "machine", config).report
    assert (report["matches"], report["points"], report["condition"]) == (3, 3, "real")
    assert report["points_won"]["opponent"]["count"] == 3


def test_a_robot_that_falls_is_put_back_with_an_empty_memory(tiny_bundle):
    policy = PolicyBundle.load(str(tiny_bundle))
    remembered = []
    act = policy.act

    def watched(observation, memory=None):
        remembered.append(float(memory[0, 0]))
        return act(observation, memory)

    policy.act = watched
    report = play_matches(policy, "machine", MatchesConfig(matches=1, points=2, threads=1)).report
    assert report["errors"] == {"fall": {"policy": 2, "opponent": 0}}
    assert report["falls"] == {"policy": 2, "opponent": 0}
    assert remembered.count(0.0) == 2  # at the beginnings of the two points


def test_what_was_put_right_is_counted_over_all_batches(stand, monkeypatch):
    from policies import match as module

    monkeypatch.setattr(
        module.Match, "recovered", property(lambda self: {"robot_broken": torch.arange(1, self.num + 1)})
    )
    config = MatchesConfig(matches=3, points=1, envs=2, threads=1)
    assert play_matches(stand, "machine", config).report["recovered"] == {"robot_broken": 1 + 2 + 1}


def test_an_action_that_is_not_finite_is_named(stand):
    class Broken:
        name, bundle_sha256, kp, kd = "broken", "", stand.kp, stand.kd
        initial_memory, assemble = stand.initial_memory, stand.assemble

        def act(self, observation, memory=None):
            return np.full((len(observation), NUM_JOINTS), np.nan), memory

    with pytest.raises(
        EvaluationError, match=r"opponent 'broken': its action is not finite in match 0 at 0\.00 s"
    ):
        play_matches("wall", Broken(), MatchesConfig(matches=1, threads=1))


def test_a_full_disk_leaves_no_report(played, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("policies.match.write_points", full)
    with pytest.raises(EvaluationError, match=r"points\.csv: not written \(No space"):
        write_matches(tmp_path, played)
    assert not (tmp_path / "match.json").exists()


# Figures


def shots(*kinds_and_sides) -> list[Shot]:
    """A feed from the far side, then strokes; all good but the last."""
    made = [Shot(FAR, "feed", 12.0, net_speed=10.0, good=True)]
    made += [Shot(side, kind, 11.0, speed_in=8.0, net_speed=9.0, good=True) for kind, side in kinds_and_sides]
    return made


@pytest.fixture
def report():
    """Four points: a winner of 3 strokes, an error into the net after 2, a missed feed, and one that was stopped."""
    winner = Point(
        0, 0, FAR, shots(("forehand", NEAR), ("return", FAR), ("backhand", NEAR)), NEAR, "not returned"
    )
    net = Point(0, 1, FAR, shots(("forehand", NEAR), ("return", FAR), ("forehand", NEAR)), FAR, "net")
    net.shots[-1].good = False
    missed = Point(0, 2, FAR, shots(), FAR, "not returned", lets=2)
    cut = Point(0, 3, FAR, shots(("forehand", NEAR), ("return", FAR)), None, "cut")
    cut.shots[-1].good = False
    score = Score("points", 4)
    for point in (winner, net, missed, cut):
        score = score.award(point.winner)
    return match_report(MatchRecord([winner, net, missed, cut], [1, 0]), [score], 12.0)


def test_points_and_endings_are_counted(report):
    assert report["points_won"]["policy"] == {
        "count": 1, "rate": 1 / 3, "low": wilson(1, 3)[0], "high": wilson(1, 3)[1],
    }  # fmt: skip
    assert report["points_stopped"] == 1
    assert report["winners"] == {"policy": 1, "opponent": 0}
    assert report["errors"] == {
        "missed feed": {"policy": 1, "opponent": 0},
        "net": {"policy": 1, "opponent": 0},
    }
    assert report["matches_won"]["opponent"]["count"] == 1
    assert (report["lets"], report["falls"]) == (2, {"policy": 1, "opponent": 0})


def test_rally_lengths(report):
    lengths = report["rally_length"]
    assert lengths["distribution"] == {"0": 1, "1": 1, "2": 1, "3": 1}
    assert (lengths["mean"], lengths["median"], lengths["longest"]) == (1.5, 1.5, 3)
    assert lengths["low"] == pytest.approx(1.5 - 1.96 * np.std([0, 1, 2, 3], ddof=1) / 2, abs=1e-3)


def test_balls_that_came_and_were_returned(report):
    policy, opponent = report["by_side"]["policy"], report["by_side"]["opponent"]
    # To the policy: four feeds and the wall's two good returns; it struck five of these, four in court.
    assert (policy["balls"], policy["contact"]["count"], policy["returned"]["count"]) == (6, 5, 4)
    counts = {kind: value["count"] for kind, value in policy["strokes"].items()}
    assert counts == {"forehand": 4, "backhand": 1}
    # To the opponent: three returns and the winner; the stroke at which a rally was stopped has no outcome.
    assert (opponent["balls"], opponent["contact"]["count"], opponent["returned"]["count"]) == (4, 3, 2)
    assert opponent["net_speed_m_s"] == {"mean": 9.0, "max": 9.0}


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["task=game"], "task=game: choose return or match"),
        (["opponent=nobody"], "opponent=nobody: "),
        (["opponent=nobody"], "or choose wall or machine"),
        (["policy=machine", "opponent=machine"], "nobody would play"),
        (["matches=-3"], "matches=-3: give a number from 1"),
        (["points=0"], "points=0"),
        (["scoring=love"], "scoring=love: choose points, game"),
        (["opening=toss"], "opening=toss: choose feed, serve"),
        (["level=hard"], "level=hard: choose feed"),
        (["record=21"], "record=21: give a number from 0 to 20"),
        (["serve_spread=-1"], "serve_spread=-1"),
    ],
)
def test_mistakes_get_one_line(arguments, told, tmp_path, capsys):
    given = ("task=match", "policy=stand", "level=feed")
    keys = {argument.split("=")[0] for argument in arguments}
    kept = [argument for argument in given if argument.split("=")[0] not in keys]
    assert run(*kept, *arguments, f"output={tmp_path / 'out'}") == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
