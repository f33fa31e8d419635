"""What the retarget report says in figures: targets, the order of badness, and small drawings as SVG."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mocap.robot_camera import ELEVATION_DEG, LOOK_Z_M, REACH_M
from mocap.rotations import Array
from mocap.strip import BONES

Record = dict[str, Any]
"""One clip's entry of report.json."""


@dataclass(frozen=True)
class Metric:
    """A figure of report.json as people read it.

    Attributes:
        key: field. label: column heading. unit: after the number. scale: from the field to the unit.
        target: in the field's unit; None without one. higher: whether more is better.
        digits: after the point. strokes: counts only for clips with strokes.
        about: in one sentence.
    """

    key: str
    label: str
    unit: str
    scale: float
    target: float | None
    digits: int
    about: str
    higher: bool = False
    strokes: bool = False

    def value(self, record: Record) -> float | None:
        """The clip's figure in the field's unit; None where it has none that counts."""
        value = record.get(self.key, (record.get("figures") or {}).get(self.key))
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            return None
        return None if self.strokes and not record.get("strokes") else float(value)

    def text(self, value: float | None) -> str:
        """Number and unit."""
        return "–" if value is None else f"{value * self.scale:.{self.digits}f}{self.unit}"

    def excess(self, value: float | None) -> float:
        """How far beyond the target, 1 at the target; 0 without a target or a value."""
        if value is None or self.target is None:
            return 0.0
        if self.higher:
            return (1.0 - value) / max(1.0 - self.target, 1e-9)
        return value / self.target if self.target > 0.0 else (2.0 if value > 0.0 else 0.0)


METRICS: tuple[Metric, ...] = (
    Metric(
        "slide_m_s", "sliding", " cm/s", 100.0, 0.03, 2, "mean horizontal speed of the soles in stance"
    ),
    Metric(
        "penetration_fraction", "penetration", " %", 100.0, 0.005, 2,
        "frames with a sole more than 1 cm under the floor",
    ),
    Metric("float_fraction", "floating", " %", 100.0, 0.01, 2, "stance with the sole more than 2 cm up"),
    Metric("limit_violations", "limits", "", 1.0, 0.0, 0, "joint angles outside their range, samples"),
    Metric(
        "velocity_violations_fraction", "too fast", " %", 100.0, 0.001, 3,
        "joint speeds beyond the motor's, samples",
    ),
    Metric(
        "direction_error_deg", "direction", "°", 1.0, 8.0, 1,
        "mean angle between the human's and the robot's limbs and trunk",
    ),
    Metric(
        "wrist_correlation", "wrist path", "", 1.0, 0.98, 3,
        "correlation of the racket hand's path with the human's, clips with strokes", True, True,
    ),
    Metric("overlap_fraction", "overlap", " %", 100.0, None, 1, "frames in which robot or racket overlaps itself"),
    Metric(
        "acceleration_violations_fraction", "too abrupt", " %", 100.0, None, 2,
        "joint accelerations beyond what the motors can give, samples",
    ),
    Metric(
        "feasibility", "feasible", "", 1.0, None, 2,
        "whether a G1 can do it: ground forces, balance and torques within limits, 0 to 1", True,
    ),
)  # fmt: skip
"""Targets are those that the pipeline is built for; a whole set is held to their means over frames."""

GRADE_COLOURS = {"A": "#2b8a3e", "B": "#74b816", "C": "#f08c00", "D": "#c92a2a"}
PART_COLOURS = {
    "forehand": "#1971c2", "backhand": "#9c36b5", "volley": "#0c8599", "serve": "#e8590c", "smash": "#c2255c",
    "ready": "#ced4da", "stand": "#e9ecef", "split_step": "#ffd43b", "shuffle": "#8ce99a", "crossover": "#38d9a9",
    "run": "#ffa94d", "walk": "#d8f5a2", "jump": "#ff8787",
}  # fmt: skip
"""Colours of strokes and moves in timelines."""


def present(records: Iterable[Record]) -> list[Metric]:
    """The metrics of which some clip has a value."""
    records = list(records)
    return [m for m in METRICS if any(m.value(r) is not None for r in records)]


def weighted_mean(metric: Metric, records: Iterable[Record]) -> float | None:
    """Mean over frames of all clips."""
    pairs = [(metric.value(r), r.get("motion_frames") or 1) for r in records]
    known = [(v, n) for v, n in pairs if v is not None]
    if not known:
        return None
    if metric.target == 0.0:
        return float(sum(v for v, _ in known))
    return float(np.average([v for v, _ in known], weights=[n for _, n in known]))


GRADE_STEPS = {"B": 0.25, "C": 0.5, "D": 1.0}


def badness(record: Record) -> float:
    """How bad a clip is: the largest excess over a target (1: at the target), a tenth of the others, and for what
    a G1 cannot do a step by grade.
    """
    excess = sorted((m.excess(m.value(record)) for m in METRICS), reverse=True)
    return excess[0] + 0.1 * sum(excess[1:]) + GRADE_STEPS.get(str(record.get("grade")), 0.0)


def reasons(record: Record) -> list[str]:
    """The figures beyond their target, worst first; else the one that is nearest."""
    ranked = sorted(METRICS, key=lambda m: -m.excess(m.value(record)))
    beyond = [m for m in ranked if m.excess(m.value(record)) > 1.0]
    return [
        f"{m.label} {m.text(m.value(record))} (target {'>' if m.higher else '<'} {m.text(m.target)})"
        if m.target
        else f"{m.label} {m.text(m.value(record))} (target 0)"
        for m in beyond
    ]


def histogram(metric: Metric, records: Sequence[Record], width: int = 250, height: int = 120) -> str:
    """How many clips have which value, the target as a line, bars beyond it in red."""
    values = np.array([v for r in records if (v := metric.value(r)) is not None]) * metric.scale
    if not len(values):
        return ""
    target = None if metric.target is None else metric.target * metric.scale
    ends = [0.0, *values] if not metric.higher else [1.0, *values]
    if target is not None:
        ends.append(1.25 * target or 1.0 if not metric.higher else target - 0.25 * (1.0 - target))
    low, high = min(ends), max(ends)
    bins = 25
    edges = np.linspace(low, max(high, low + 1e-9), bins + 1)
    counts = np.histogram(values, edges)[0]
    # Roots, so that a single bad clip is seen beside hundreds of good ones.
    tall = np.sqrt(counts / counts.max()) * (height - 34)
    left, wide, floor = 4.0, (width - 8.0) / bins, height - 18.0
    parts = [f'<svg viewBox="0 0 {width} {height}" class="histogram" role="img">']
    for i, (count, size) in enumerate(zip(counts, tall, strict=True)):
        if count:
            middle = 0.5 * (edges[i] + edges[i + 1])
            bad = target is not None and (
                middle < target if metric.higher else middle > max(target, edges[1])
            )
            parts.append(
                f'<rect x="{left + i * wide:.1f}" y="{floor - max(size, 2):.1f}" width="{wide - 1:.1f}" '
                f'height="{max(size, 2):.1f}" fill="{"#e03131" if bad else "#4c7fb3"}">'
                f"<title>{count} clips, {edges[i]:.3g} to {edges[i + 1]:.3g}{metric.unit}</title></rect>"
            )
    parts.append(f'<path d="M2 {floor}H{width - 2}" stroke="#868e96"/>')
    if target:
        x = left + (target - low) / (edges[-1] - low) * (width - 8)
        parts.append(f'<path d="M{x:.1f} 14V{floor}" stroke="#212529" stroke-dasharray="3 2"/>')
        anchor = "end" if x > width / 2 else "start"
        parts.append(f'<text x="{x:.1f}" y="11" text-anchor="{anchor}">target {target:g}{metric.unit}</text>')
    parts.append(f'<text x="2" y="{height - 5}">{edges[0]:.3g}</text>')
    parts.append(
        f'<text x="{width - 2}" y="{height - 5}" text-anchor="end">{edges[-1]:.3g}{metric.unit}</text>'
    )
    return "".join(parts) + "</svg>"


def timeline(record: Record, duration: float, width: int = 1056) -> str:
    """Strokes (upper lane, strikes as lines) and moves (lower lane) over a clip's time."""
    strokes, moves = record.get("strokes") or [], record.get("moves") or []
    if not (strokes or moves) or duration <= 0.0:
        return ""
    scale = width / duration
    parts = [f'<svg viewBox="0 0 {width} 34" class="timeline" role="img">']
    for lane, items in ((0, strokes), (18, moves)):
        parts.append(f'<rect x="0" y="{lane}" width="{width}" height="15" fill="#f1f3f5"/>')
        for item in items:
            x, end = item["start_s"] * scale, item["end_s"] * scale
            kind = str(item["kind"])
            title = f"{item.get('side') or ''} {kind} {item.get('direction') or ''}".strip().replace("_", " ")
            colour = PART_COLOURS.get(kind, "#adb5bd")
            parts.append(
                f'<rect x="{x:.1f}" y="{lane}" width="{max(end - x, 1):.1f}" height="15" fill="{colour}" '
                f'fill-opacity="0.75"><title>{html.escape(title)} {item["start_s"]:.2f} to '
                f"{item['end_s']:.2f} s</title></rect>"
            )
            if "strike_s" in item:
                parts.append(f'<path d="M{item["strike_s"] * scale:.1f} {lane}v15" stroke="#212529"/>')
    return "".join(parts) + "</svg>"


def view_azimuth(heading: Array) -> Array:
    """Directions in which the camera looks [rad] at robots that face `heading`: from the front, a little from
    the racket's side.
    """
    return heading + np.pi + 0.5


def empty_rows(points: Array, height: int) -> int:
    """Rows [pixels] at the top of a strip of that height that no figure reaches; 0.25 m are left for a racket."""
    top = float(points[..., 2].max()) + 0.25
    return int(np.clip(0.5 * height - height / REACH_M * (top - LOOK_Z_M), 0.0, 0.45 * height))


def stick_strip(
    names: Sequence[str], points: Array, centre: Array, azimuth: Array, width: int, height: int, crop: int = 0
) -> str:
    """Stick figures side by side: the left limbs blue, the right ones orange.

    Args:
        names: of the P points.
        points: (n, P, 3) [m], floor at zero.
        centre: (n, 2) what the camera looks at [m]. azimuth: (n,) where it looks [rad].
        width, height: of one figure [pixels]. crop: rows left out at the top.
    """
    column = {name: i for i, name in enumerate(names)}
    bones = [(column[a], column[b], a) for a, b in BONES if a in column and b in column]
    ratio, tilt = height / REACH_M, np.radians(ELEVATION_DEG)
    parts = [f'<svg viewBox="0 {crop} {len(points) * width} {height - crop}" class="sticks" role="img">']
    for n in range(len(points)):
        p = points[n] - [centre[n, 0], centre[n, 1], LOOK_Z_M]
        c, s = np.cos(azimuth[n]), np.sin(azimuth[n])
        x = width * (n + 0.5) + ratio * (s * p[:, 0] - c * p[:, 1])
        depth = c * p[:, 0] + s * p[:, 1]
        y = 0.5 * height - ratio * (np.cos(tilt) * p[:, 2] - np.sin(tilt) * depth)
        # A clip keeps a figure that strays out of its tile.
        x = np.clip(x, width * n + 1, width * (n + 1) - 1)
        ground = 0.5 * height + ratio * np.cos(tilt) * LOOK_Z_M
        parts.append(f'<path d="M{width * n + 6} {ground:.0f}h{width - 12}" stroke="#ced4da"/>')
        for side, colour in (("", "#495057"), ("left", "#1971c2"), ("right", "#e8590c")):
            lines = "".join(
                f"M{x[a]:.0f} {y[a]:.0f}L{x[b]:.0f} {y[b]:.0f}"
                for a, b, name in bones
                if (name.split("_")[0] if "_" in name else "") == side
            )
            parts.append(f'<path d="{lines}" stroke="{colour}"/>')
        if "head" in column:
            i = column["head"]
            parts.append(f'<circle cx="{x[i]:.0f}" cy="{y[i]:.0f}" r="{0.09 * ratio:.0f}"/>')
    return "".join(parts) + "</svg>"


def graph(
    series: Sequence[tuple[str, Array, str]], duration: float, unit: str, limit: float | None = None,
    width: int = 1056, height: int = 110,
) -> str:  # fmt: skip
    """Curves over a clip's time: (label, values, colour) each; a dashed line at the limit."""
    top = max([float(np.max(v)) for _, v, _ in series] + ([limit] if limit is not None else []))
    low = min(0.0, *(float(np.min(v)) for _, v, _ in series))
    span = max(top - low, 1e-9) * 1.05
    parts = [f'<svg viewBox="0 0 {width} {height}" class="graph" role="img">']

    def y(value: Any) -> Any:
        return height - 16 - (value - low) / span * (height - 30)

    parts.append(f'<path d="M0 {y(0.0):.1f}H{width}" stroke="#ced4da"/>')
    if limit is not None:
        parts.append(f'<path d="M0 {y(limit):.1f}H{width}" stroke="#212529" stroke-dasharray="4 3"/>')
    for number, (label, values, colour) in enumerate(series):
        # No more points than pixels; of each pixel the extreme, so that no peak is lost.
        groups = np.array_split(values, min(len(values), width))
        peaks = np.array([g[np.argmax(np.abs(g))] for g in groups])
        places = np.linspace(0, width, len(peaks))
        line = "L".join(f"{a:.0f} {b:.1f}" for a, b in zip(places, y(peaks), strict=True))
        parts.append(f'<path d="M{line}" stroke="{colour}" fill="none"/>')
        parts.append(f'<text x="{4 + 190 * number}" y="11" style="fill:{colour}">{html.escape(label)}</text>')
    parts.append(f'<text x="{width - 4}" y="11" text-anchor="end">up to {top:.3g} {unit}</text>')
    parts.append(f'<text x="{width - 4}" y="{height - 3}" text-anchor="end">{duration:.1f} s</text>')
    return "".join(parts) + "</svg>"
