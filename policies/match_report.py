"""The figures of a set of matches: who won what and how, how long rallies were, as a report, tables and a CSV file."""

from __future__ import annotations

import csv
import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from humanoid.files import atomic_write
from policies.evaluation import wilson
from sim.match_record import MatchRecord, Point
from sim.score import Score

SIDES = ("policy", "opponent")
"""Names of the near and the far side in reports."""


def match_report(record: MatchRecord, scores: Sequence[Score], control_s: float) -> dict[str, Any]:
    """Figures of finished matches; docs/matches.md has every field.

    Args:
        record: of all matches.
        scores: final, one a match.
        control_s: time that was played, over all matches, s.

    Returns:
        Plain finite values. Shares are fractions of 1 with Wilson 95 % intervals; a figure that nothing supports is
        None.
    """
    points = record.points
    decided = [point for point in points if point.winner is not None]
    wins = Counter(score.winner for score in scores)
    return {
        "matches": len(scores),
        "matches_won": {name: share(wins[side], len(scores)) for side, name in enumerate(SIDES)},
        "matches_drawn": wins[None],
        "points": len(points),
        "points_won": {
            name: share(sum(p.winner == side for p in decided), len(decided))
            for side, name in enumerate(SIDES)
        },
        "points_stopped": len(points) - len(decided),
        "rally_length": rally_lengths(points),
        "winners": _by_side(decided, lambda p: p.ending in ("winner", "ace"), lambda p: p.winner),
        "errors": {
            kind: _by_side(decided, lambda p, kind=kind: p.ending == kind, lambda p: 1 - p.winner)
            for kind in sorted({p.ending for p in decided} - {"winner", "ace"})
        },
        "by_side": {name: side_figures(points, side) for side, name in enumerate(SIDES)},
        "lets": sum(point.lets for point in points),
        "faults": sum(point.faults for point in points),
        "falls": dict(zip(SIDES, record.falls, strict=True)),
        "played_s": round(control_s, 2),
    }


def side_figures(points: Sequence[Point], side: int) -> dict[str, Any]:
    """One side's strokes: how many balls came to it in play, how many it touched and returned, on which hand."""
    came = touched = 0
    shots = []
    for point in points:
        for number, shot in enumerate(point.shots):
            answer = point.shots[number + 1] if number + 1 < len(point.shots) else None
            if shot.side != side and shot.good and not (answer is None and point.reason == "cut"):
                came += 1
                touched += answer is not None
            # The stroke at which a rally is stopped has no outcome.
            if shot.side == side and number and not (answer is None and point.reason == "cut"):
                shots.append(shot)
    over = [shot.net_speed for shot in shots if math.isfinite(shot.net_speed)]
    kinds = ("forehand", "backhand", "return")
    return {
        "balls": came,
        "contact": share(touched, came),
        "returned": share(sum(shot.good for shot in shots), came),
        "strokes": {
            kind: {
                "count": sum(shot.kind == kind for shot in shots),
                "good": share(
                    sum(shot.good for shot in shots if shot.kind == kind),
                    sum(shot.kind == kind for shot in shots),
                ),
            }
            for kind in kinds
            if any(shot.kind == kind for shot in shots)
        },
        "volleys": sum(shot.volley for shot in shots),
        "net_speed_m_s": {
            "mean": float(np.mean(over)) if over else None,
            "max": float(np.max(over)) if over else None,
        },
    }


def rally_lengths(points: Sequence[Point]) -> dict[str, Any]:
    """Good strokes of a rally: mean with a 95 % interval (normal approximation), median, longest, and how many
    rallies there were of each length."""
    lengths = np.array([point.length for point in points], dtype=int)
    if len(lengths) == 0:
        return {"mean": None, "low": None, "high": None, "median": None, "longest": 0, "distribution": {}}
    mean = float(lengths.mean())
    half = (
        1.959963984540054 * float(lengths.std(ddof=1)) / math.sqrt(len(lengths)) if len(lengths) > 1 else None
    )
    count = Counter(lengths.tolist())
    return {
        "mean": mean,
        "low": None if half is None else max(0.0, mean - half),
        "high": None if half is None else mean + half,
        "median": float(np.median(lengths)),
        "longest": int(lengths.max()),
        "distribution": {str(length): count[length] for length in sorted(count)},
    }


def share(count: int, total: int) -> dict[str, float | int | None]:
    """A share as a fraction of 1 with its count and its Wilson 95 % interval."""
    low, high = wilson(count, total)
    return {"count": count, "rate": count / total if total else None, "low": low, "high": high}


def _by_side(
    points: Sequence[Point], chosen: Callable[[Point], bool], whose: Callable[[Any], int]
) -> dict[str, int]:
    count = Counter(whose(point) for point in points if chosen(point))
    return {name: count[side] for side, name in enumerate(SIDES)}


HEADER = (
    "level",
    "points",
    "points won %",
    "returned %",
    "rally",
    "longest",
    "winners",
    "errors",
    "over net",
    "falls",
)


def table(reports: Sequence[dict[str, Any]]) -> str:
    """Aligned table for a terminal, two rows a report: policy, opponent."""
    rows: list[tuple[str, ...]] = [("", *HEADER)]
    for report in reports:
        length = report["rally_length"]
        for side in SIDES:
            own, first = report["by_side"][side], side == SIDES[0]
            rally = "–" if length["mean"] is None else f"{length['mean']:.2f} (median {length['median']:g})"
            speed = own["net_speed_m_s"]["mean"]
            rows.append(
                (
                    report[side],
                    report["level"] if first else "",
                    str(report["points"]) if first else "",
                    _percent(report["points_won"][side]),
                    _percent(own["returned"]),
                    rally if first else "",
                    str(length["longest"]) if first else "",
                    str(report["winners"][side]),
                    str(sum(kind[side] for kind in report["errors"].values())),
                    "–" if speed is None else f"{speed:.1f} m/s",
                    str(report["falls"][side]),
                )
            )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _percent(rate: dict[str, Any]) -> str:
    if rate["rate"] is None:
        return "–"
    return f"{100 * rate['rate']:.1f} ({100 * rate['low']:.1f}–{100 * rate['high']:.1f})"


def endings(report: dict[str, Any]) -> str:
    """How points ended, in one line."""
    parts = [f"winners {report['winners']['policy']}–{report['winners']['opponent']}"]
    parts += [f"{kind} {sides['policy']}–{sides['opponent']}" for kind, sides in report["errors"].items()]
    if report["points_stopped"]:
        parts.append(f"stopped {report['points_stopped']}")
    return ", ".join(parts)


COLUMNS = (
    "match", "point", "opener", "winner", "ending", "length", "strokes", "lets", "faults", "duration_s",
    "last_striker", "last_stroke", "last_net_speed_m_s", "last_landing_x_m", "last_landing_y_m",
)  # fmt: skip


def write_points(path: str | os.PathLike, points: Sequence[Point]) -> None:
    """Write every point as a line of a CSV file, whole or not at all; empty where there is no value."""

    def number(value: float) -> str:
        return f"{value:.4f}" if math.isfinite(value) else ""

    with atomic_write(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for p in sorted(points, key=lambda p: (p.match, p.number)):
            last = p.shots[-1]
            writer.writerow(
                [
                    p.match,
                    p.number,
                    SIDES[p.opener],
                    "" if p.winner is None else SIDES[p.winner],
                    p.ending,
                    p.length,
                    sum(shot.kind != "feed" for shot in p.shots),
                    p.lets,
                    p.faults,
                    f"{p.duration_s:.2f}",
                    SIDES[last.side],
                    last.kind,
                    number(last.net_speed),
                    *(number(value) for value in last.landing),
                ]
            )
