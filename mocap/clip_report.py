"""What is said about one clip: an entry of report.json, and a line for people."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from humanoid.files import atomic_write
from mocap.dynamics_grade import Feasibility
from mocap.quality import Quality


@dataclass
class ClipReport:
    """One entry of report.json; the fields are a contract with other people's scripts.

    Attributes:
        clip: the clip's path under the input, without its ending.
        ok: whether a motion was written; error: why not.
        frames: frames of the file; fps_in: its rate; unit_m: metres per unit as used.
        trimmed_start_s: T-pose cut off at the start [s].
        glitch_frames: frames in which a marker jumped, repaired.
        duplicate_of: an earlier clip with the same content.
        slide_m_s … velocity_violations_fraction: see `mocap.quality.Quality`.
        frames_per_s: frames of the motion over the time from opening the clip to its written motion; None where a
            motion of an earlier run was kept that has no entry in its report.json.
        strokes: {kind, hand, start_s, strike_s, end_s} each, in the motion's time.
        grade: A (a G1 can do it) to D, see `mocap.dynamics_grade`; feasibility: 0 to 1, the same as a number.
        figures: the rest of `mocap.quality.Quality`, flat, and of `mocap.dynamics_grade.Feasibility`.
        motion, motion_frames, up, skeleton, wrist_correlation: beyond the contract; the last is the mean over the
            strokes where there are any, see `Quality.stroke_correlations`, else of the right wrist's whole path.
        wrist_correlation_min: of the worst stroke.
        cleaning: what was found and mended, see `mocap.clean.Cleaned.summary`; "like": the earlier clip that shows
            the same, see `mocap.duplicates.Duplicate`.
        resumed: whether the motion was kept from an earlier run.
    """

    clip: str
    ok: bool = False
    error: str | None = None
    frames: int | None = None
    fps_in: float | None = None
    unit_m: float | None = None
    trimmed_start_s: float | None = None
    glitch_frames: int | None = None
    duplicate_of: str | None = None
    slide_m_s: float | None = None
    penetration_fraction: float | None = None
    float_fraction: float | None = None
    direction_error_deg: float | None = None
    limit_violations: int | None = None
    velocity_violations_fraction: float | None = None
    frames_per_s: float | None = None
    strokes: list[dict[str, Any]] = field(default_factory=list)
    grade: str | None = None
    feasibility: float | None = None
    motion: str | None = None
    motion_frames: int | None = None
    up: str | None = None
    skeleton: str | None = None
    wrist_correlation: float | None = None
    wrist_correlation_min: float | None = None
    figures: dict[str, float | None] = field(default_factory=dict)
    cleaning: dict[str, Any] = field(default_factory=dict)
    resumed: bool = False

    def judge(self, quality: Quality, feasibility: Feasibility) -> None:
        """Fill in the figures."""
        self.slide_m_s = round(quality.slide_m_s, 6)
        self.penetration_fraction = round(quality.penetration_fraction, 6)
        self.float_fraction = round(quality.float_fraction, 6)
        self.direction_error_deg = round(quality.direction_error_deg, 3)
        self.limit_violations = quality.limit_violations
        self.velocity_violations_fraction = round(quality.velocity_violations_fraction, 7)
        strokes = quality.stroke_correlations
        self.wrist_correlation = round(float(np.mean(strokes)) if strokes else quality.wrist_correlation, 4)
        self.wrist_correlation_min = round(min(strokes), 4) if strokes else None
        self.grade, self.feasibility = feasibility.grade, round(feasibility.score, 4)
        flat = asdict(quality)
        flat |= flat.pop("momentum") | asdict(feasibility)
        for name in ("stroke_correlations", "score", "grade", *asdict(self)):
            flat.pop(name, None)
        self.figures = {k: None if v is None else round(float(v), 6) for k, v in flat.items()}

    def line(self, read_as: str, quality: str, note: str | None) -> str:
        """One line for people.

        Args:
            read_as: how the file was taken. quality: `Quality.line`. note: what else there is to say.
        """
        if not self.ok:
            return f"FAILED {self.clip}: {self.error}"
        extras = [note] if note else []
        if self.trimmed_start_s:
            extras.append(f"T-pose {self.trimmed_start_s:.1f} s cut")
        if self.glitch_frames:
            extras.append(f"{self.glitch_frames} glitch frames")
        if self.cleaning.get("trimmed_end_s"):
            extras.append(f"{self.cleaning['trimmed_end_s']:.1f} s cut at the end")
        if self.cleaning.get("rest_s"):
            extras.append(f"at rest {self.cleaning['rest_s']:.1f} s")
        if self.cleaning.get("floor_tilt_deg"):
            extras.append(f"floor tilted {self.cleaning['floor_tilt_deg']:.1f}°")
        if self.cleaning.get("mirrored"):
            extras.append("mirrored")
        if self.duplicate_of:
            extras.append(f"same as {self.duplicate_of}")
        if self.strokes:
            extras.append(f"{len(self.strokes)} strokes")
        tail = f" ({', '.join(extras)})" if extras else ""
        return (
            f"{self.clip}: {self.frames} frames at {read_as}: {quality}, grade {self.grade}, "
            f"{self.frames_per_s or 0.0:.0f} frames/s{tail}"
        )


def write_report(path: Path, reports: Iterable[ClipReport]) -> None:
    """Write the reports as a JSON list, whole or not at all."""
    with atomic_write(path, "w") as file:
        json.dump([asdict(r) for r in reports], file, indent=1, allow_nan=False)
        file.write("\n")


def read_report(path: Path) -> dict[str, dict[str, Any]]:
    """Entries of a report.json by clip; empty when there is none or it is of no use."""
    try:
        entries = json.loads(path.read_text())
        return {str(e["clip"]): e for e in entries}
    except (OSError, ValueError, TypeError, KeyError):
        return {}
