"""The command `rally-eval`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING
from tqdm import tqdm

from humanoid.app import run_app
from humanoid.bundle import BundleError, PolicyBundle
from policies.evaluation import (
    Evaluation,
    EvaluationConfig,
    EvaluationError,
    evaluate,
    write_evaluation,
    write_json,
    written,
)
from policies.match import MACHINE, WALL, Contestant, MatchesConfig, play_matches, write_matches
from policies.match_report import SIDES, endings, table
from sim.launcher import LEVELS

CONF = Path(__file__).with_name("conf")


@dataclass
class EvaluateConfig:
    """Schema of policies/conf/evaluate.yaml.

    Attributes:
        task: "return": balls from a machine, one outcome a ball. "match": against an opponent.
        policy: a released policy, or a bundle's folder (with a slash). "stand" only stands. In a match also "wall" or
            "machine".
        level: feed, rally, match or all.
        condition: nominal or real, see `policies.evaluation.EvaluationConfig`.
        balls: judged at each level.
        seed: of everything random.
        output: folder of report.json, balls.csv and, if asked for, recording.npz; with level=all one folder a
            level, and summary.json and summary.md beside them. Of matches: match.json and points.csv.
        record: so many episodes or matches, from the first one, are recorded for rally-render.
        shield: with the robot's safety shield between policy and motors; of task=return.
        solid: false: limbs, trunk and racket pass through each other; of task=return.
        worst: record the worst hundredth of the episodes as well; of task=return.
        envs: robots at once. threads: of the physics, 0 for all cores. onnx_threads: of ONNX Runtime.
        progress: show a progress bar when standard error is a terminal.
        opponent, matches, points, scoring, opening, serve_spread: of matches, see `policies.match.MatchesConfig`;
            the opponent is given like the policy.
    """

    task: str = "return"
    policy: str = MISSING
    level: str = "all"
    condition: str = "nominal"
    balls: int = 1000
    seed: int = 0
    output: str = MISSING
    record: int = 0
    shield: bool = False
    solid: bool = True
    worst: bool = False
    envs: int = 64
    threads: int = 0
    onnx_threads: int = 1
    progress: bool = True
    opponent: str = "wall"
    matches: int = 20
    points: int = 10
    scoring: str = "points"
    opening: str = "feed"
    serve_spread: float = 0.0


TASKS = ("return", "match")


def main(arguments: Sequence[str] | None = None) -> None:
    """The console command; exits with 0 when everything was judged and written, else 2 or 130."""
    code = run_app(
        "rally-eval",
        run,
        conf=CONF,
        schema=EvaluateConfig,
        config_name="evaluate",
        expected=(BundleError, EvaluationError),
        arguments=arguments,
    )
    sys.exit(code)


def run(app: EvaluateConfig) -> int:
    """Judge one policy; returns the exit code.

    Raises:
        BundleError, EvaluationError: what is wrong with the policy, a value or a file.
    """
    if not app.output:
        raise EvaluationError("output=: give the folder to write to")
    if app.task not in TASKS:
        raise EvaluationError(f"task={app.task}: choose {' or '.join(TASKS)}")
    return run_matches(app) if app.task == "match" else run_returns(app)


def run_matches(app: EvaluateConfig) -> int:
    """Matches at one level or all, one after the other."""
    output = Path(app.output)
    levels = list(LEVELS) if app.level == "all" else [app.level]
    configs = [
        MatchesConfig(
            level,
            app.condition,
            app.opening,
            app.scoring,
            app.points,
            app.serve_spread,
            app.matches,
            app.seed,
            app.envs,
            app.threads,
            app.record,
        )
        for level in levels
    ]
    for config in configs:
        config.check()
    check_threads(app)
    if app.policy == app.opponent == MACHINE:
        raise EvaluationError("policy=machine opponent=machine: nobody would play; one of them must")
    players = [contestant(key, getattr(app, key), app.onnx_threads) for key in SIDES]
    prepare(output)
    reports = []
    for config in configs:
        # Only of plain points it is known beforehand how many there will be.
        total = config.matches * config.points if config.scoring == "points" else None
        with tqdm(
            total=total,
            unit="point",
            desc=config.level,
            disable=None if app.progress else True,
            file=sys.stderr,
        ) as bar:
            evaluation = play_matches(players[0], players[1], config, bar.update)
        folder = output / config.level if app.level == "all" else output
        write_matches(folder, evaluation)
        reports.append(evaluation.report)
        won = evaluation.report["matches_won"]
        print(
            f"\n{config.level} ({config.condition}, {config.opening}, seed {config.seed}): {config.matches} matches, "
            f"won {won['policy']['count']}–{won['opponent']['count']}, "
            f"drawn {evaluation.report['matches_drawn']}; {endings(evaluation.report)}\n"
            f"  {recovered(evaluation.report)}"
        )
    print(f"\n{table(reports)}\n")
    print(f"{output}/match.json" if app.level != "all" else f"one match.json a level in {output}/")
    return 0


def contestant(key: str, name: str, threads: int) -> Contestant:
    """A player by name: a bundle, "wall" or "machine"."""
    if name in (WALL, MACHINE):
        return name
    try:
        return PolicyBundle.load(name, threads=threads)
    except BundleError as error:
        raise BundleError(f"{key}={name}: {error} (or choose {WALL} or {MACHINE})") from None


def check_threads(app: EvaluateConfig) -> None:
    """Raise `EvaluationError` if ONNX Runtime cannot have so many threads."""
    if not 1 <= app.onnx_threads <= 1024:
        raise EvaluationError(f"onnx_threads={app.onnx_threads}: give a number from 1 on")


def run_returns(app: EvaluateConfig) -> int:
    """Balls from a machine at one level or all, one after the other."""
    output = Path(app.output)
    levels = list(LEVELS) if app.level == "all" else [app.level]
    configs = [
        EvaluationConfig(
            level,
            app.condition,
            app.balls,
            app.seed,
            app.envs,
            app.threads,
            app.record,
            app.shield,
            app.solid,
            app.worst,
        )
        for level in levels
    ]
    if app.level != "all" and app.level not in LEVELS:
        raise EvaluationError(f"level={app.level}: choose {', '.join(LEVELS)} or all")
    for config in configs:
        config.check()
    check_threads(app)
    policy = PolicyBundle.load(app.policy, threads=app.onnx_threads)
    prepare(output)
    folders = [output / level for level in levels] if app.level == "all" else [output]
    reports = []
    for config, folder in zip(configs, folders, strict=True):
        evaluation = judge(policy, config, app.progress)
        print_report(evaluation)
        write_evaluation(folder, evaluation)
        reports.append(evaluation.report)
    if app.level == "all":
        written(output / "summary.json", lambda path: write_json(path, reports))
        text = f"# {policy.name}, {app.condition}\n\n{markdown_table(reports)}\n"
        written(output / "summary.md", lambda path: write_text(path, text))
        print(text_table(reports))
        print(f"{output}/summary.md and one report.json a level in {output}/")
    else:
        print(f"{output}/report.json")
    return 0


def judge(policy: Any, config: EvaluationConfig, progress: bool = True, label: str = "") -> Evaluation:
    """`evaluate` with a progress bar of judged balls on standard error."""
    label = label or f"{policy.name} {config.level}"
    with tqdm(
        total=config.balls, unit="ball", desc=label, disable=None if progress else True, file=sys.stderr
    ) as bar:
        return evaluate(policy, config, bar.update)


def prepare(folder: Path) -> None:
    """Make an output folder and see that it can be written to, before minutes of work.

    Raises:
        EvaluationError: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EvaluationError(f"output={folder}: cannot be made ({error.strerror})") from None
    if not os.access(folder, os.W_OK):
        raise EvaluationError(f"output={folder}: not writable; choose another folder")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    from humanoid.files import atomic_write

    with atomic_write(path, "w") as file:
        file.write(text)


HEADER = (
    "level", "balls", "in court %", "success %", "contact %", "error m", "rally", "falls/100",
    "closest joint", "recovered",
)  # fmt: skip


def table_rows(reports: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """One row of text a report, columns as `HEADER`."""
    return [
        (
            report["level"],
            str(report["balls"]),
            percent(report["in_court"]),
            percent(report["success"]),
            "–" if report["contact_rate"] is None else f"{100 * report['contact_rate']:.1f}",
            "–" if report["landing_error_m"] is None else f"{report['landing_error_m']:.2f}",
            f"{report['rally_length']['mean']:.1f} (max {report['rally_length']['max']})",
            f"{report['falls_per_100']:.1f}",
            f"{report['safety']['closest_position_margin_rad']:+.3f} rad {joint(report)}",
            str(sum(report["recovered"].values())),
        )
        for report in reports
    ]


def joint(report: dict[str, Any]) -> str:
    """The joint that came closest to the end of its range, without its suffix."""
    return str(report["safety"].get("closest_position_joint") or "").removesuffix("_joint")


def recovered(report: dict[str, Any]) -> str:
    """In words, how many bad states were put right; kinds that did not happen are not listed."""
    counts = report["recovered"]
    kinds = ", ".join(f"{kind.replace('_', ' ')} {count}" for kind, count in counts.items() if count)
    return f"bad states put right: {sum(counts.values())}" + (f" ({kinds})" if kinds else "")


def percent(rate: dict[str, float | None]) -> str:
    """A rate with its interval, such as ``12.5 (8.6–17.8)``, in per cent."""
    if rate["rate"] is None:
        return "–"
    low, high = (100 * float(rate[key] or 0.0) for key in ("low", "high"))
    return f"{100 * rate['rate']:.1f} ({low:.1f}–{high:.1f})"


def text_table(reports: Sequence[dict[str, Any]]) -> str:
    """Aligned table for a terminal, levels as rows."""
    rows = [HEADER, *table_rows(reports)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def markdown_table(reports: Sequence[dict[str, Any]]) -> str:
    """The same as Markdown."""
    lines = [HEADER, ("---",) * len(HEADER), *table_rows(reports)]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def print_report(evaluation: Evaluation) -> None:
    """One evaluation in a few lines."""
    r = evaluation.report
    safety, outcomes = r["safety"], ", ".join(f"{k} {v}" for k, v in r["outcomes"].items())
    print(
        f"\n{r['policy']} at {r['level']} ({r['condition']}, seed {r['seed']}): {r['balls']} balls "
        f"in {r['wall_s']:.0f} s: {outcomes}"
    )
    print(f"  in court {percent(r['in_court'])} %, within 2.5 m of the target {percent(r['success'])} %")
    for group in ("by_stroke", "by_zone"):
        parts = [f"{k} {percent(v['in_court'])} % of {v['balls']}" for k, v in r[group].items()]
        print(f"  in court: {', '.join(parts)}")
    print(
        f"  safety: steps beyond limits: position {safety['position_violations']}, "
        f"velocity {safety['velocity_violations']}, torque {safety['torque_violations']}; "
        f"into itself: {safety['self_collision']['overlap_steps']} of {safety['steps']} steps; "
        f"closest to a joint's end {safety['closest_position_margin_rad']:+.3f} rad ({joint(r)})"
    )
    print(f"  {recovered(r)}")


if __name__ == "__main__":
    main()
