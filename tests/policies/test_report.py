"""The report that people read."""

import re

import numpy as np
import pytest

from humanoid.bundle import PolicyBundle
from policies.evaluation import Evaluation, EvaluationConfig, EvaluationError, evaluate, tallies
from policies.report import make_report, plot_landings, write_report
from sim.return_task import RETURNED


@pytest.fixture(scope="module")
def results():
    """A standing robot, and a made-up player that returns every ball to (9, 1)."""
    stand = {
        level: evaluate(PolicyBundle.load("stand"), EvaluationConfig(level=level, balls=2, threads=1))
        for level in ("feed", "match")
    }
    player = {}
    for level, evaluation in stand.items():
        balls = evaluation.balls.at(np.arange(2))
        balls.outcome[:] = RETURNED
        balls.contact[:] = True
        balls.landing[:] = (9.0, 1.0)
        balls.speed_out[:] = 14.0
        player[level] = Evaluation(evaluation.report | {"policy": "<player>"} | tallies(balls), balls)
    return {"<player>": player, "stand": stand}


def test_report_has_all_its_parts(results, tmp_path):
    markdown, page = write_report(tmp_path, results, {"stroke shown": "forehand_01"})
    text = markdown.read_text()
    assert "| feed | <player> | 100.0 (34.2–100.0) |" in text
    assert "| feed | stand | 0.0 (0.0–65.8) |" in text
    for heading in ("Results", "Outcomes", "By stroke and zone", "Safety", "Recovered states", "Provenance"):
        assert f"\n## {heading}\n" in text
    assert "| feed | stand | 0 | 0 | 0 | 0 | 0 |" in text
    assert PolicyBundle.load("stand").bundle_sha256 in text
    assert "| stroke shown | forehand_01 |" in text
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    assert page.is_file()


def test_page_needs_nothing_else(results, tmp_path):
    page = write_report(tmp_path, results)[1].read_text()
    assert page.count("data:image/png;base64,") == 3
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "http" not in page
    assert "&lt;player&gt;" in page
    assert "<player>" not in page


def test_a_report_of_one_policy_stands_alone(results):
    report = make_report({"stand": results["stand"]})
    assert "Beside it" not in report.markdown()
    assert plot_landings(results["stand"]).startswith(b"\x89PNG")


def test_a_full_disk_is_named(results, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(EvaluationError, match="No space left"):
        write_report(tmp_path, results)
    assert list(tmp_path.iterdir()) == []
