"""A report that people read: how a policy plays beside a baseline, and how far to trust it.

From evaluations to `report.md` (with pictures beside it) and `report.html` (one file, pictures inside).
"""

from __future__ import annotations

import base64
import html
import io
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from humanoid.files import atomic_write
from humanoid.joints import EFFORT_LIMIT, JOINT_NAMES, LOWER, UPPER, VELOCITY_LIMIT
from policies.evaluate import percent, write_text
from policies.evaluation import Evaluation, written
from sim.court import HALF_LENGTH, SERVICE_LINE, SINGLES_HALF_WIDTH
from sim.return_task import NET, OUT, RETURNED

Results = Mapping[str, Mapping[str, Evaluation]]
"""Evaluations by policy and level; the policy that the report is about comes first."""

COLOURS = {
    "returned": "#2b8a3e",
    "net": "#f08c00",
    "out": "#e8590c",
    "miss": "#868e96",
    "fall": "#c92a2a",
}
WORST = 8
"""Joints in the safety table."""


@dataclass
class Section:
    """A part of the report: heading, paragraphs, a table (header first), a picture (name, PNG bytes, what it shows)
    and, on the page only, a video (mp4 bytes, what it shows)."""

    title: str
    text: Sequence[str] = ()
    table: Sequence[Sequence[str]] = ()
    picture: tuple[str, bytes, str] | None = None
    video: tuple[bytes, str] | None = None


@dataclass
class Report:
    """A title and its sections."""

    title: str
    sections: list[Section] = field(default_factory=list)

    def markdown(self) -> str:
        """Markdown; pictures are files beside it."""
        lines = [f"# {self.title}", ""]
        for section in self.sections:
            lines += [f"## {section.title}", ""]
            for text in section.text:
                lines += [text, ""]
            if section.table:
                header, *rows = section.table
                lines += [_row(header), _row(["---"] * len(header)), *map(_row, rows), ""]
            if section.picture:
                lines += [f"![{section.picture[2]}]({section.picture[0]})", ""]
        return "\n".join(lines)

    def html(self) -> str:
        """One HTML page that needs nothing else."""
        parts = [f"<h1>{html.escape(self.title)}</h1>"]
        for section in self.sections:
            parts.append(f"<h2>{html.escape(section.title)}</h2>")
            parts += [f"<p>{html.escape(text)}</p>" for text in section.text]
            if section.table:
                header, *rows = section.table
                head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
                cells = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
                body = "".join(f"<tr>{row}</tr>" for row in cells)
                table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
                parts.append(f'<div class="wide">{table}</div>')
            if section.picture:
                data = base64.b64encode(section.picture[1]).decode()
                alt = html.escape(section.picture[2], quote=True)
                parts.append(f'<img src="data:image/png;base64,{data}" alt="{alt}">')
            if section.video:
                data = base64.b64encode(section.video[0]).decode()
                label = html.escape(section.video[1], quote=True)
                source = f'<source src="data:video/mp4;base64,{data}" type="video/mp4">'
                parts.append(f'<video controls muted preload="auto" aria-label="{label}">{source}</video>')
        return _PAGE.format(title=html.escape(self.title), body="\n".join(parts))


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #212529; background: #fff; max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.7rem; line-height: 1.25; }} h2 {{ font-size: 1.2rem; margin-top: 2.2rem; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: 0.92rem; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; padding: 0.3rem 0.9rem 0.3rem 0; border-bottom: 1px solid #dee2e6;
  white-space: nowrap; }}
td:nth-child(2) {{ white-space: normal; }} td:last-child {{ white-space: normal; min-width: 11rem; }}
img, video {{ max-width: 100%; height: auto; }}
p {{ max-width: 46rem; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def write_report(
    folder: str | os.PathLike, results: Results, notes: Mapping[str, str] | None = None
) -> tuple[Path, Path]:
    """Write `report.md` with its pictures, and `report.html`.

    Args:
        folder: where to.
        results: evaluations by policy and level, each policy at the same levels; see `Results`.
        notes: further lines of provenance, by name.

    Returns:
        Paths of report.md and report.html.

    Raises:
        EvaluationError: a file cannot be written; the message names it.
    """
    folder = Path(folder)
    report = make_report(results, notes)
    for section in report.sections:
        if section.picture:
            data = section.picture[1]
            written(folder / section.picture[0], lambda path, data=data: write_bytes(path, data))
    markdown = written(folder / "report.md", lambda path: write_text(path, report.markdown()))
    page = written(folder / "report.html", lambda path: write_text(path, report.html()))
    return markdown, page


def make_report(results: Results, notes: Mapping[str, str] | None = None) -> Report:
    """The report of some evaluations, see `write_report`."""
    name = next(iter(results))
    main = results[name]
    first = next(iter(main.values())).report
    others = [other for other in results if other != name]
    beside = f" Beside it {', '.join(others)}, with the same balls." if others else ""
    return Report(
        f"How {name} returns balls, and how near it comes to the robot's limits",
        [
            Section(
                "Results",
                [
                    f"{first['balls']} balls a level, {first['condition']} condition, seed {first['seed']}."
                    f"{beside} In court: the first bounce is in the opponent's singles court. Success: it is "
                    "within 2.5 m of the target. In brackets Wilson 95 % intervals."
                ],
                result_table(results),
            ),
            Section(
                "Outcomes", [], outcome_table(results), ("outcomes.png", plot_outcomes(results), "Outcomes")
            ),
            Section(
                f"Where {name}'s balls landed",
                ["The opponent's singles court from above, the net at the bottom."],
                (),
                ("landings.png", plot_landings(main), "Landing points on the court"),
            ),
            Section("By stroke and zone", [f"{name}, in court %."], split_table(main)),
            Section(
                "Safety",
                [
                    "Control steps beyond a limit, summed over joints. Torque: the position servo was asked "
                    "for more than the motor has, so the motion was not the one that was meant. Braking: the "
                    "joint could not have been stopped before the end of its range any more.",
                ],
                safety_table(results),
            ),
            Section(
                f"Joints of {name} that come closest to the ends of their ranges",
                ["Closest approach over all levels; a negative margin is beyond the limit."],
                joint_table(main),
                ("margins.png", plot_margins(main), "Margins of every joint"),
            ),
            Section(
                "Recovered states",
                [
                    "How often the simulation met a state that is none and put it right: a robot whose state was lost "
                    "(it fell), a ball whose state was not finite, a racket whose pose was none, a ball found inside "
                    "racket or ground, a ball with more contacts in one step than are resolved. Where these are 0, "
                    "every ball was simulated as it was meant to be."
                ],
                recovered_table(results),
            ),
            Section("Provenance", [], [("what", "value"), *provenance(results, notes).items()]),
        ],
    )


def result_table(results: Results) -> list[tuple[str, ...]]:
    """Levels as rows, policies side by side within a level; header first."""
    rows: list[tuple[str, ...]] = [
        (
            "level",
            "policy",
            "in court %",
            "success %",
            "contact %",
            "landing error m",
            "rally mean (max)",
            "falls/100",
        )
    ]
    for level in _levels(results):
        for name in results:
            r = results[name][level].report
            rows.append(
                (
                    level,
                    name,
                    percent(r["in_court"]),
                    percent(r["success"]),
                    _number(r["contact_rate"], "{:.1f}", 100),
                    _number(r["landing_error_m"], "{:.2f}"),
                    f"{r['rally_length']['mean']:.2f} ({r['rally_length']['max']})",
                    f"{r['falls_per_100']:.1f}",
                )
            )
    return rows


def outcome_table(results: Results) -> list[tuple[str, ...]]:
    """Counts of each outcome, mean speeds of struck balls before and after the strike; header first."""
    rows: list[tuple[str, ...]] = [("level", "policy", *COLOURS, "struck at m/s", "leaving at m/s")]
    for level in _levels(results):
        for name in results:
            evaluation = results[name][level]
            counts = evaluation.report["outcomes"]
            struck = evaluation.balls.at(evaluation.balls.contact)
            speeds = (struck.speed_in, struck.speed_out)
            rows.append(
                (
                    level,
                    name,
                    *(str(counts[key]) for key in COLOURS),
                    *(f"{np.nanmean(v):.1f}" if np.isfinite(v).any() else "–" for v in speeds),
                )
            )
    return rows


def split_table(main: Mapping[str, Evaluation]) -> list[tuple[str, ...]]:
    """In-court rates by stroke and zone; header first."""
    rows: list[tuple[str, ...]] = [("level", "forehand", "backhand", "forecourt", "backcourt")]
    for level, evaluation in main.items():
        groups = evaluation.report["by_stroke"] | evaluation.report["by_zone"]
        cells = (f"{percent(groups[key]['in_court'])} of {groups[key]['balls']}" for key in rows[0][1:])
        rows.append((level, *cells))
    return rows


def safety_table(results: Results) -> list[tuple[str, ...]]:
    """Totals of the safety monitor, with smoothness and torque; header first."""
    rows: list[tuple[str, ...]] = [
        (
            "level", "policy", "position", "velocity", "torque", "braking", "of joint steps",
            "self-collision", "of steps", "acceleration rad/s²", "torque N·m",
        )
    ]  # fmt: skip
    for level in _levels(results):
        for name in results:
            r = results[name][level].report
            s = r["safety"]
            rows.append(
                (
                    level,
                    name,
                    *(str(s[f"{key}_violations"]) for key in ("position", "velocity", "torque", "braking")),
                    str(s["steps"] * len(JOINT_NAMES)),
                    str(s["self_collision"]["overlap_steps"]),
                    str(s["steps"]),
                    _number(r["smoothness_rad_s2"], "{:.1f}"),
                    _number(r["torque_nm"], "{:.2f}"),
                )
            )
    return rows


def recovered_table(results: Results) -> list[tuple[str, ...]]:
    """Counts of bad states that were put right, by kind; header first."""
    kinds = list(next(iter(next(iter(results.values())).values())).report["recovered"])
    rows: list[tuple[str, ...]] = [("level", "policy", *(kind.replace("_", " ") for kind in kinds))]
    for level in _levels(results):
        for name in results:
            counts = results[name][level].report["recovered"]
            rows.append((level, name, *(str(counts[kind]) for kind in kinds)))
    return rows


def joint_table(main: Mapping[str, Evaluation]) -> list[tuple[str, ...]]:
    """The worst joints over all levels; header first."""
    margins, counts = _margins(main), _violations(main)
    order = np.argsort(margins["position"])[:WORST]
    rows: list[tuple[str, ...]] = [
        (
            "joint", "position margin rad", "velocity margin rad/s", "torque margin N·m",
            "steps beyond: position", "velocity", "torque", "braking",
        )
    ]  # fmt: skip
    for i in order:
        rows.append(
            (
                JOINT_NAMES[i],
                f"{margins['position'][i]:+.3f}",
                f"{margins['velocity'][i]:+.1f}",
                f"{margins['torque'][i]:+.1f}",
                *(str(counts[key][i]) for key in ("position", "velocity", "torque", "braking")),
            )
        )
    return rows


def provenance(results: Results, notes: Mapping[str, str] | None = None) -> dict[str, str]:
    """Where the figures come from, by name."""
    lines: dict[str, str] = {}
    for name, levels in results.items():
        first = next(iter(levels.values())).report
        lines[f"{name}, SHA-256"] = first["bundle_sha256"]
    lines["seed"] = str(first["seed"])
    lines["balls a level"] = str(first["balls"])
    lines["condition"] = first["condition"]
    seconds = sum(e.report["wall_s"] for levels in results.values() for e in levels.values())
    lines["time of judging"] = f"{seconds:.0f} s"
    lines |= dict(notes or {})
    lines["machine"] = machine()
    lines["software"] = software()
    lines["made"] = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return lines


def machine() -> str:
    """Processor, cores and system of this machine."""
    processor = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                processor = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return f"{processor}, {os.cpu_count()} cores, {platform.system()}"


def software() -> str:
    """Versions of what the figures depend on."""
    parts = [f"Python {platform.python_version()}"]
    for package in ("humanoid-rally", "mujoco", "torch", "onnxruntime", "numpy"):
        try:
            parts.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(parts)


# Pictures


def plot_outcomes(results: Results) -> bytes:
    """Shares of outcomes, a bar for each level and policy; PNG."""
    figure, axes = figure_axes(8.0, 0.45 * len(results) * len(_levels(results)) + 1.0)
    labels, left = [], None
    for level in _levels(results):
        labels += [f"{level}  {name}" for name in results]
    rows = np.arange(len(labels))[::-1]
    left = np.zeros(len(labels))
    for outcome, colour in COLOURS.items():
        share = np.array(
            [
                100.0
                * results[name][level].report["outcomes"][outcome]
                / results[name][level].report["balls"]
                for level in _levels(results)
                for name in results
            ]
        )
        axes.barh(rows, share, left=left, color=colour, label=outcome, height=0.7)
        for row, start, value in zip(rows, left, share, strict=True):
            if value >= 6.0:
                axes.text(start + value / 2, row, f"{value:.0f}", ha="center", va="center", color="white")
        left += share
    axes.set_yticks(rows, labels)
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of balls")
    axes.legend(ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    return png(figure)


def plot_landings(main: Mapping[str, Evaluation]) -> bytes:
    """First bounces after the strike on the opponent's half, a panel for each level; PNG."""
    figure, axes = figure_axes(3.4 * len(main), 4.9, len(main))
    for panel, (level, evaluation) in zip(np.atleast_1d(axes), main.items(), strict=True):
        wide, deep = SINGLES_HALF_WIDTH, HALF_LENGTH
        panel.add_patch(_rectangle((-wide, 0), 2 * wide, deep, "#4c7fb3"))
        for xs, ys in (
            ((-wide, wide), (SERVICE_LINE, SERVICE_LINE)),
            ((0, 0), (0, SERVICE_LINE)),
            ((-wide, wide, wide, -wide, -wide), (0, 0, deep, deep, 0)),
        ):
            panel.plot(xs, ys, color="white", linewidth=1.2, zorder=2)
        panel.plot((-wide - 0.9, wide + 0.9), (0, 0), color="#212529", linewidth=2.5, zorder=2)
        balls = evaluation.balls
        landed = np.isfinite(balls.landing[:, 0]) & (balls.landing[:, 0] > 0)
        for label, mask, colour in (
            ("in, on target", (balls.outcome == RETURNED) & balls.success, "#69db7c"),
            ("in", (balls.outcome == RETURNED) & ~balls.success, "#ffe066"),
            ("out", (balls.outcome == OUT) | (balls.outcome == NET), "#ff6b6b"),
        ):
            rows = mask & landed
            # y points to the striker's left, so it runs to the left in a picture with x up.
            panel.scatter(
                -balls.landing[rows, 1], balls.landing[rows, 0], s=13, color=colour, edgecolor="#212529",
                linewidth=0.3, label=f"{label} {int(rows.sum())}", zorder=3,
            )  # fmt: skip
        panel.set_title(level)
        panel.set_xlim(-7, 7)
        panel.set_ylim(-1, 18)
        panel.set_aspect("equal")
        panel.set_xticks([])
        panel.set_yticks([])
        panel.set_facecolor("#5a8f69")
        panel.legend(loc="upper right", fontsize=8)
    return png(figure)


def plot_margins(main: Mapping[str, Evaluation]) -> bytes:
    """Closest approach of each joint to its limits as a share of the limit; PNG."""
    margins = _margins(main)
    shares = {
        "position": margins["position"] / (0.5 * (UPPER - LOWER)),
        "velocity": margins["velocity"] / VELOCITY_LIMIT,
        "torque": margins["torque"] / EFFORT_LIMIT,
    }
    figure, axes = figure_axes(10.0, 7.0, 3)
    rows = np.arange(len(JOINT_NAMES))[::-1]
    for panel, (name, share) in zip(axes, shares.items(), strict=True):
        colours = np.where(
            share < 0, COLOURS["fall"], np.where(share < 0.1, COLOURS["net"], COLOURS["returned"])
        )
        panel.barh(rows, 100 * np.clip(share, -1.0, 1.0), color=colours)
        panel.axvline(0, color="#212529", linewidth=0.8)
        panel.set_title(f"{name} margin")
        panel.set_xlim(-105, 105)
        panel.set_xlabel("% of the limit")
        panel.set_yticks([])
        panel.set_ylim(-0.7, len(rows) - 0.3)
    axes[0].set_yticks(rows, [name.removesuffix("_joint") for name in JOINT_NAMES], fontsize=8)
    return png(figure)


def _margins(main: Mapping[str, Evaluation]) -> dict[str, np.ndarray]:
    """Closest margins of each joint over all levels by quantity, (29,)."""
    keys = {"position": "_rad", "velocity": "_rad_s", "torque": "_nm"}
    result = {}
    for key, unit in keys.items():
        values = [
            [e.report["safety"]["by_joint"][name][f"closest_{key}_margin{unit}"] for name in JOINT_NAMES]
            for e in main.values()
        ]
        result[key] = np.nanmin(np.array(values, dtype=float), axis=0)
    return result


def _violations(main: Mapping[str, Evaluation]) -> dict[str, np.ndarray]:
    """Steps beyond limits of each joint over all levels by quantity, (29,)."""
    return {
        key: np.sum(
            [
                [e.report["safety"]["by_joint"][name][f"{key}_violations"] for name in JOINT_NAMES]
                for e in main.values()
            ],
            axis=0,
        )
        for key in ("position", "velocity", "torque", "braking")
    }


def _levels(results: Results) -> list[str]:
    return list(next(iter(results.values())))


def _number(value: float | None, text: str, factor: float = 1.0) -> str:
    return "–" if value is None else text.format(factor * value)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def write_bytes(path: Path, data: bytes) -> None:
    with atomic_write(path) as file:
        file.write(data)


def figure_axes(width: float, height: float, panels: int = 1) -> tuple[Any, Any]:
    # Without pyplot: no display, no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, panels)


def _rectangle(corner: tuple[float, float], width: float, height: float, colour: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(corner, width, height, color=colour, zorder=1)


def png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()
