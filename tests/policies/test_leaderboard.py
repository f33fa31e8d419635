"""Ranking by distance from the optimal point."""

import json
import math

import pytest

from policies.evaluation import EvaluationError
from policies.leaderboard import BOUNDS, LeaderboardConfig, ranking, read, run, safety

STEPS = 10_000


def report(policy="a", in_court=0.8, falls=0.0, level="feed", beyond=0, overlap=0, **more):
    return {
        "policy": policy, "bundle_sha256": policy * 8, "level": level, "condition": "nominal", "balls": 1000, "seed": 0,
        "shield": None, "in_court": {"rate": in_court}, "falls_per_100": falls,
        "safety": {
            "steps": STEPS, "position_violations": beyond, "velocity_violations": 0, "braking_violations": 0,
            "self_collision": {"overlap_steps": overlap},
        },
        **more,
    }  # fmt: skip


def test_the_worst_quantity_is_the_score():
    assert safety(report()) == (1.0, next(iter(BOUNDS)))
    score, worst = safety(report(falls=0.5))
    assert (score, worst) == (0.5, "falls a ball")
    score, worst = safety(report(falls=0.5, overlap=300))
    assert worst == "parts of the body touch"
    assert score == pytest.approx(0.25)
    assert safety(report(falls=0.5, beyond=29))[0] == 0.5


def test_distance_is_from_the_optimal_point():
    (entry,) = ranking([report(in_court=0.8, falls=0.5)])
    assert entry.performance == 0.8
    assert entry.safety == 0.5
    assert entry.distance == pytest.approx(math.sqrt((0.2**2 + 0.5**2) / 2))
    (best,) = ranking([report(in_court=1.0)])
    assert best.distance == 0.0


def test_returns_do_not_buy_falls():
    """The mean would prefer the wild one."""
    wild, calm = report("wild", 1.0, falls=2.0), report("calm", 0.6, falls=0.5)
    assert 1.0 + safety(wild)[0] > 0.6 + safety(calm)[0]
    assert [e.policy for e in ranking([wild, calm])] == ["calm", "wild"]


def test_equals_share_a_rank():
    entries = ranking([report("a"), report("b"), report("c", in_court=0.1)])
    assert [(e.rank, e.policy) for e in entries] == [(1, "a"), (1, "b"), (3, "c")]


def test_only_what_was_judged_on_the_same_is_compared():
    with pytest.raises(EvaluationError, match="b: no report of rally"):
        ranking([report("a"), report("a", level="rally"), report("b")])
    with pytest.raises(EvaluationError, match="a: no report of feed, nominal, 1000 balls, seed 1"):
        ranking([report("a"), report("b", seed=1)])
    with pytest.raises(EvaluationError, match="a: two reports"):
        ranking([report("a"), report("a")])


def test_command_writes_table_and_plot(tmp_path, capsys):
    for name, rate in (("a", 0.2), ("b", 0.9)):
        for level in ("feed", "rally"):
            folder = tmp_path / name / level
            folder.mkdir(parents=True)
            (folder / "report.json").write_text(json.dumps(report(name, rate, level=level)))
    output = tmp_path / "out"
    app = LeaderboardConfig([str(tmp_path / "a"), str(tmp_path / "b")], str(output))
    assert run(app) == 0
    found = json.loads((output / "leaderboard.json").read_text())
    assert [p["policy"] for p in found["policies"]] == ["b", "a"]
    assert found["policies"][0]["performance"] == pytest.approx(0.9)
    assert (output / "leaderboard.png").read_bytes().startswith(b"\x89PNG")
    assert "| 1 | b (bbbbbbbb) |" in capsys.readouterr().out


def test_what_is_no_report_is_refused_by_name(tmp_path):
    with pytest.raises(EvaluationError, match=r"reports=\["):
        run(LeaderboardConfig([], str(tmp_path)))
    with pytest.raises(EvaluationError, match=r"holds no report\.json"):
        run(LeaderboardConfig([str(tmp_path)], str(tmp_path / "out")))
    file = tmp_path / "report.json"
    for content in ("", "[]", "{}", json.dumps(report() | {"in_court": {"rate": None}})):
        file.write_text(content)
        with pytest.raises(EvaluationError, match=r"report\.json: not a report"):
            read(file)
