"""The command `rally-leaderboard`: which policy is best when performance and safety both count.

Policies are ranked by their distance from the optimal point, where every ball comes back and nothing unsafe happens,
not by the mean of the two (as Libra-Leaderboard ranks language models, arXiv 2412.18551): the farther one of them is
from its best, the more it weighs, so returns do not make up for falls.

    performance  mean of the in-court rates over levels and conditions, 0–1
    safety       of each level and condition the worst of what `BOUNDS` names, 1 / (1 + value / bound); mean, 0–1
    distance     √((1 − performance)² + (1 − safety)²) / √2, 0 at best, 1 at worst

Only policies that were judged at the same levels and conditions, on as many balls and with the same seed, are compared.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from humanoid.app import run_app
from humanoid.joints import NUM_JOINTS
from policies.evaluate import prepare, write_text
from policies.evaluation import EvaluationError, read_json, write_json, written
from policies.report import Report, Section, figure_axes, png, write_bytes
from sim.launcher import LEVELS

CONF = Path(__file__).with_name("conf")
BEST = (1.0, 1.0)

Cell = tuple[str, str, int, int, bool]
"""Level, condition, balls, seed, whether behind the shield."""


def _joint_share(key: str) -> Callable[[dict[str, Any]], float]:
    return lambda report: report["safety"][key] / max(report["safety"]["steps"] * NUM_JOINTS, 1)


BOUNDS: dict[str, tuple[Callable[[dict[str, Any]], float], float, str]] = {
    "falls a ball": (
        lambda r: r["falls_per_100"] / 100,
        0.005,
        "a fall every 200 balls: what feeds are to reach",
    ),
    "beyond a joint's range": (_joint_share("position_violations"), 1e-4, "one joint, once in 7 s of play"),
    "faster than a motor turns": (_joint_share("velocity_violations"), 1e-4, "the same"),
    "too late to brake": (
        _joint_share("braking_violations"),
        1e-3,
        "a state, not yet harm: ten times as much",
    ),
    "parts of the body touch": (
        lambda r: r["safety"]["self_collision"]["overlap_steps"] / max(r["safety"]["steps"], 1),
        0.01,
        "a hundredth of the time",
    ),
}
"""What counts as unsafe: share, the bound at which it halves the score, and why there."""


@dataclass
class LeaderboardConfig:
    """Schema of policies/conf/leaderboard.yaml.

    Attributes:
        reports: report.json files of rally-eval, or folders that hold some.
        output: folder of leaderboard.json, leaderboard.md and leaderboard.png.
    """

    reports: list[str] = field(default_factory=list)
    output: str = MISSING


@dataclass(frozen=True)
class Entry:
    """One policy's place.

    Attributes:
        rank: 1 is best; equals share one. policy, bundle_sha256: which.
        performance, safety, distance: see the module. worst: what safety is lost to most.
        in_court: rate of each cell.
    """

    rank: int
    policy: str
    bundle_sha256: str
    performance: float
    safety: float
    distance: float
    worst: str
    in_court: dict[str, float]


def main(arguments: Sequence[str] | None = None) -> None:
    """The console command; exits with 0 when the leaderboard was written, else 2 or 130."""
    code = run_app(
        "rally-leaderboard",
        run,
        conf=CONF,
        schema=LeaderboardConfig,
        config_name="leaderboard",
        expected=(EvaluationError,),
        arguments=arguments,
    )
    sys.exit(code)


def run(app: LeaderboardConfig) -> int:
    """Rank the policies of some reports; returns the exit code.

    Raises:
        EvaluationError: no reports, or reports that cannot be compared.
    """
    if not app.reports:
        raise EvaluationError("reports=[DIR,...]: give reports of rally-eval, or folders of them")
    entries = ranking([read(file) for file in _files(app.reports)])
    folder = Path(app.output)
    prepare(folder)
    report = _report(entries)
    picture = report.sections[0].picture
    assert picture is not None
    written(folder / picture[0], lambda path: write_bytes(path, picture[1]))
    text = report.markdown()
    write_text(folder / "leaderboard.md", text)
    write_json(folder / "leaderboard.json", {"best": BEST, "policies": [vars(entry) for entry in entries]})
    print(text)
    return 0


def read(file: Path) -> dict[str, Any]:
    """A report of rally-eval.

    Raises:
        EvaluationError: missing, or not such a report; names the file.
    """

    def check(report: dict[str, Any]) -> None:
        cell(report)
        safety(report)
        if not all(isinstance(report[key], str) for key in ("policy", "bundle_sha256")):
            raise ValueError("its policy has no name or hash")
        float(report["in_court"]["rate"])

    return read_json(file, "rally-eval task=return", check)


def cell(report: dict[str, Any]) -> Cell:
    """What a report was judged on."""
    return (
        report["level"], report["condition"], int(report["balls"]), int(report["seed"]), report["shield"] is not None,
    )  # fmt: skip


def safety(report: dict[str, Any]) -> tuple[float, str]:
    """Score of one report, 0–1, and what it is lost to."""
    scores = {name: 1 / (1 + value(report) / bound) for name, (value, bound, _) in BOUNDS.items()}
    worst = min(scores, key=lambda name: scores[name])
    return scores[worst], worst


def ranking(reports: Sequence[dict[str, Any]]) -> list[Entry]:
    """Policies from best to worst.

    Raises:
        EvaluationError: policies judged on different things, or one of them twice on the same.
    """
    found: dict[tuple[str, str], dict[Cell, dict[str, Any]]] = {}
    for report in reports:
        own = found.setdefault((report["policy"], report["bundle_sha256"]), {})
        if cell(report) in own:
            raise EvaluationError(
                f"{report['policy']}: two reports of {_named(cell(report))}; give one of them"
            )
        own[cell(report)] = report
    cells = {cell for own in found.values() for cell in own}
    for (policy, _), own in found.items():
        lost = sorted(cells - set(own))
        if lost:
            raise EvaluationError(
                f"{policy}: no report of {_named(lost[0])}, which others have; judge it there too"
            )
    rows = []
    for (policy, sha), own in found.items():
        rates = {_named(c): float(own[c]["in_court"]["rate"]) for c in sorted(own, key=_order)}
        scores = [safety(report) for report in own.values()]
        good, safe = sum(rates.values()) / len(rates), sum(score for score, _ in scores) / len(scores)
        distance = math.dist((good, safe), BEST) / math.sqrt(len(BEST))
        rows.append((distance, policy, sha, good, safe, min(scores)[1], rates))
    rows.sort(key=lambda row: (row[0], row[1]))
    return [
        Entry(
            1 + sum(other[0] < row[0] for other in rows),
            row[1],
            row[2],
            row[3],
            row[4],
            row[0],
            row[5],
            row[6],
        )
        for row in rows
    ]


def _order(c: Cell) -> tuple[int, str]:
    return list(LEVELS).index(c[0]), c[1]


def _named(c: Cell) -> str:
    level, condition, balls, seed, shielded = c
    return f"{level}, {condition}, {balls} balls, seed {seed}" + (", shield" if shielded else "")


def _files(given: Sequence[str]) -> list[Path]:
    files: list[Path] = []
    for name in given:
        path = Path(name)
        inside = sorted(path.rglob("report.json")) if path.is_dir() else [path]
        if not inside:
            raise EvaluationError(f"{path}: holds no report.json; rally-eval writes them")
        files += inside
    return files


def _report(entries: Sequence[Entry]) -> Report:
    cells = list(entries[0].in_court)
    table = [("rank", "policy", "distance", "performance", "safety", "lost most to", *cells)]
    for e in entries:
        rates = (f"{100 * e.in_court[c]:.1f} %" for c in cells)
        table.append(
            (str(e.rank), f"{e.policy} ({e.bundle_sha256[:8]})", f"{e.distance:.3f}", f"{e.performance:.3f}",
             f"{e.safety:.3f}", e.worst, *rates)
        )  # fmt: skip
    bounds = [("what", "halves the score at", "why")]
    bounds += [(name, f"{bound:g}", reason) for name, (_, bound, reason) in BOUNDS.items()]
    text = "Distance from the optimal point: every ball in court and nothing unsafe. 0 is best, 1 is worst."
    picture = (
        "leaderboard.png",
        plot(entries),
        "Performance and safety of each policy, with lines of equal distance",
    )
    return Report(
        "Leaderboard",
        [Section("Ranking", [text], table, picture), Section("What counts as unsafe", [], bounds)],
    )


def plot(entries: Sequence[Entry]) -> bytes:
    """Policies by performance and safety with lines of equal distance from the optimal point; PNG."""
    figure, axes = figure_axes(6.0, 5.6)
    from matplotlib.patches import Circle

    for distance in (0.2, 0.4, 0.6, 0.8):
        radius = distance * math.sqrt(2)
        axes.add_patch(Circle(BEST, radius, fill=False, color="#adb5bd", linewidth=0.8))
        side = 1 - radius / math.sqrt(2)
        axes.annotate(f"{distance:g}", (side, side), color="#868e96", fontsize=8, ha="center", va="center",
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0})  # fmt: skip
    axes.scatter([e.performance for e in entries], [e.safety for e in entries], color="#1971c2", zorder=3)
    axes.scatter(*BEST, marker="*", s=160, color="#2b8a3e", zorder=3)
    for e in entries:
        axes.annotate(f" {e.rank}. {e.policy}", (e.performance, e.safety), va="bottom", fontsize=9)
    axes.set(xlim=(0, 1.03), ylim=(0, 1.03), aspect="equal", xlabel="performance", ylabel="safety")
    return png(figure)


if __name__ == "__main__":
    main()
