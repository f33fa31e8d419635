"""The page that says how far to trust a policy."""

import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from humanoid.approval import USES
from humanoid.bundle import PolicyBundle
from policies.adversary import AdversaryConfig, attack
from policies.evaluation import (
    EvaluationConfig,
    EvaluationError,
    evaluate,
    read_evaluation,
    write_evaluation,
    write_json,
)
from policies.trust import REQUIREMENTS, TrustConfig, gather, judge, line, make_page, run
from sim.gl import RenderUnavailable
from sim.render import check_available

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def share(value):
    return {"count": 0, "rate": value, "low": value, "high": value}


def fault_report(policy, found=1.0, harmed=0.0, false_stops=0.0):
    row = {
        "detected": share(found), "harmed_first": share(harmed), "harms": {}, "trials": 500,
        "delay_ms": {"p50": 120.0, "p90": 300.0, "max": 400.0}, "checks": {"gyro": 500},
    }  # fmt: skip
    return {
        "policy": policy.name, "bundle_sha256": policy.bundle_sha256, "level": "feed", "condition": "nominal",
        "seed": 0, "trials": 500, "faults": {"gyro_dead": {"text": "the gyro <reads> zero", **row}}, "all": row,
        "clean": {"hours": 2.0, "false_stops": 0, "false_stops_per_hour": false_stops, "checks": {}, "falls": 1,
                  "falls_stopped_before": 1},
    }  # fmt: skip


@pytest.fixture(scope="module")
def stand():
    return PolicyBundle.load("stand")


@pytest.fixture(scope="module")
def folder(stand, tmp_path_factory):
    """What the other commands write about the robot that stands, and something about another bundle."""
    root = tmp_path_factory.mktemp("evidence")
    plain = EvaluationConfig(balls=10, threads=1)
    for name, config in {
        "feed": plain, "real": replace(plain, condition="real"), "shield": replace(plain, shield=True)
    }.items():  # fmt: skip
        write_evaluation(root / name, evaluate(stand, config))
    tiny = AdversaryConfig(
        envs=16, threads=1, even=16, starts=1, generations=1, population=4, rounds=0, draws=16
    )
    report, _, machine = attack(stand, tiny)
    (root / "adversary").mkdir()
    write_json(root / "adversary" / "adversary.json", report)
    points = np.array([row["point"] for row in report["worst"]])[:2]
    machine.film(points).save(root / "adversary" / "recording.npz")
    (root / "faults").mkdir()
    write_json(root / "faults" / "faults.json", fault_report(stand))
    (root / "other").mkdir()
    write_json(root / "other" / "faults.json", fault_report(stand) | {"bundle_sha256": "0" * 64})
    return root


@pytest.fixture(scope="module")
def evidence(stand, folder):
    return gather(stand.bundle_sha256, [folder])


def test_evaluation_is_read_as_it_was_written(stand, tmp_path):
    written = evaluate(stand, EvaluationConfig(level="rally", balls=4, threads=1))
    write_evaluation(tmp_path, written)
    read = read_evaluation(tmp_path)
    assert read.report == json.loads(json.dumps(written.report))
    for name, value in vars(written.balls).items():
        np.testing.assert_allclose(getattr(read.balls, name).astype(float), value.astype(float), atol=1e-4)


def test_evaluation_that_is_damaged_is_refused_by_name(folder, tmp_path):
    shutil.copytree(folder / "feed", tmp_path / "feed")
    balls = tmp_path / "feed" / "balls.csv"
    balls.write_text("\n".join(balls.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(EvaluationError, match="9 balls for 10"):
        read_evaluation(tmp_path / "feed")
    balls.unlink()
    with pytest.raises(EvaluationError, match=r"balls\.csv: cannot be read"):
        read_evaluation(tmp_path / "feed")


def test_only_evidence_about_this_bundle_counts(evidence, folder):
    assert set(evidence.evaluations) == {
        ("feed", "nominal", False), ("feed", "real", False), ("feed", "nominal", True)
    }  # fmt: skip
    assert evidence.faults["faults"]["gyro_dead"]["detected"]["rate"] == 1.0
    assert set(evidence.adversary) == {("feed", "nominal")}
    assert evidence.others == (folder / "other" / "faults.json",)


def test_physics_that_let_the_robot_reach_through_itself_do_not_count(stand, tmp_path):
    config = EvaluationConfig(balls=2, threads=1, solid=False)
    write_evaluation(tmp_path / "ghost", evaluate(stand, config))
    found = gather(stand.bundle_sha256, [tmp_path])
    assert not found.evaluations
    assert found.others == (tmp_path / "ghost" / "report.json",)


def test_two_reports_of_the_same_are_refused(stand, folder, tmp_path):
    shutil.copytree(folder / "feed", tmp_path / "feed")
    with pytest.raises(EvaluationError, match=r"report\.json: a second one about the same"):
        gather(stand.bundle_sha256, [folder, tmp_path])
    with pytest.raises(EvaluationError, match="no such folder"):
        gather(stand.bundle_sha256, [tmp_path / "none"])


def test_a_robot_that_stands_may_be_tethered_and_no_more(evidence):
    """It never falls and all faults are found, but it returns nothing."""
    verdict, lacking = judge(evidence)
    assert verdict == "tethered"
    assert {requirement.use for requirement in lacking} == {"free"}
    assert any("in court, feed, real" in line(requirement, evidence) for requirement in lacking)


def test_what_was_not_tested_is_not_met(evidence):
    verdict, lacking = judge(replace(evidence, faults=None))
    assert verdict == "simulation"
    assert "found not tested" in line(lacking[0], replace(evidence, faults=None))


@pytest.mark.parametrize("change", [{"found": 0.98}, {"harmed": 0.02}, {"false_stops": 1.5}])
def test_each_fault_figure_can_fail_alone(stand, evidence, change):
    verdict, lacking = judge(replace(evidence, faults=fault_report(stand, **change)))
    assert verdict == "simulation"
    assert len([r for r in lacking if r.use == "tethered"]) == 1


def test_nothing_is_free_before_it_was_on_a_robot(evidence):
    assert [r.text for r in REQUIREMENTS if r.measure(evidence) == 0.0 and r.unit == "h"] == [
        "hours on a real robot"
    ]
    assert {r.use for r in REQUIREMENTS} == set(USES[1:])


def test_page_has_all_its_parts(stand, evidence):
    page = make_page(stand, evidence, {}).html()
    for heading in (
        "Verdict", "Returns, nominal", "Returns, real", "Joint margins", "Behind the shield", "Faults",
        "Against an adversary, feed, nominal", "Its worst balls, feed, nominal", "What was tried, and what not",
        "What the policy relies on", "Trained again with the same reward", "Limits of validity", "Data and licences",
        "Provenance",
    ):  # fmt: skip
        assert f"<h2>{heading}</h2>" in page, heading
    assert stand.bundle_sha256 in page
    assert "the gyro &lt;reads&gt; zero" in page
    assert "Not tested: rally-influence was not run" in page
    assert "Not tested: rally-reward-check was not run" in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_page_of_a_policy_without_any_evidence(stand):
    empty = gather(stand.bundle_sha256, [])
    page = make_page(stand, empty, {}).html()
    assert "trust it in simulation, and on no robot" in page
    assert page.count("Not tested") == 4


def test_command_says_what_is_lacking(folder, tmp_path, capsys):
    output = tmp_path / "page" / "trust.html"
    app = TrustConfig("stand", [str(folder)], str(output), videos=False, coverage=False)
    assert run(app) == 0
    text = capsys.readouterr().out
    assert "stand: it may be tried on a tethered robot" in text
    assert "lacking for free: in court, feed, real: wanted ≥ 90 %, found 0.0 %" in text
    assert "not used, of other bundles" in text
    assert output.read_text().startswith("<!doctype html>")
    with pytest.raises(EvaluationError, match=r"ends in \.html"):
        run(replace(app, output=str(tmp_path / "page")))


PROBE = """<script>addEventListener("load", () => setTimeout(() => {
  const pictures = [...document.images].filter(i => i.complete && i.naturalWidth > 100).length;
  const videos = [...document.querySelectorAll("video")].filter(v => v.readyState > 1 && v.videoWidth > 100).length;
  const wide = document.documentElement.scrollWidth - innerWidth;
  document.title = `pictures ${pictures}/${document.images.length} videos ${videos} too wide ${Math.max(wide, 0)}`;
}, 1500))</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt install chromium)")
def test_browser_shows_page_pictures_and_videos(folder, tmp_path):
    try:
        check_available()
        videos = 1
    except RenderUnavailable:
        videos = 0
    output = tmp_path / "trust.html"
    run(TrustConfig("stand", [str(folder)], str(output), coverage=False))
    page = output.read_text()
    output.write_text(page.replace("</body>", f"{PROBE}</body>"))
    assert CHROMIUM is not None
    seen = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path / 'chromium'}", "--window-size=1200,900", "--virtual-time-budget=8000",
            "--dump-dom",
            output.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    pictures = page.count("<img ")
    assert f"<title>pictures {pictures}/{pictures} videos {videos} too wide 0</title>" in seen
