"""Learning curves: ``python -m policies.curve runs/NAME/curve.csv curve.png``."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

PANELS = (
    ("reward", "reward a control step, without the strike's"),
    ("fall_per_100", "falls per 100 control steps"),
    ("root_error", "pelvis from its reference, m"),
    ("in_court", "returns in court, share of strikes"),
    ("racket_error", "racket from its goal at the strike, m (median)"),
    ("face_error_deg", "face from its goal, degrees (median)"),
)


def read_curve(path: Path) -> dict[str, np.ndarray]:
    """Columns of a run's curve.csv; empty cells are NaN."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return {key: np.array([float(row[key]) if row[key] else np.nan for row in rows]) for key in rows[0]}


def plot_curve(path: Path, output: Path, window: int = 40) -> None:
    """Plot a run: thin lines as measured, thick ones the running mean over `window` updates.

    Args:
        path: curve.csv.
        output: PNG.
        window: updates.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    curve = read_curve(path)
    samples = curve["samples"] / 1e6
    figure, axes = plt.subplots(2, 3, figsize=(13, 6), sharex=True, constrained_layout=True)
    for axis, (key, label) in zip(axes.flat, PANELS, strict=True):
        values = curve[key]
        axis.plot(samples, values, color="#9bb8d3", linewidth=0.6)
        known = np.concatenate([[0.0], np.cumsum(~np.isnan(values))])
        total = np.concatenate([[0.0], np.nancumsum(values)])
        first = np.maximum(np.arange(len(values)) - window + 1, 0)
        last = np.arange(len(values)) + 1
        smooth = (total[last] - total[first]) / np.where(
            known[last] > known[first], known[last] - known[first], np.nan
        )
        axis.plot(samples, smooth, color="#1f5a93", linewidth=2)
        axis.set_title(label, fontsize=10)
        axis.grid(alpha=0.3)
    for axis in axes[1]:
        axis.set_xlabel("million control steps")
    wall = curve["wall_s"][-1] / 60
    figure.suptitle(f"{path.parent.name}: {samples[-1]:.2f} million steps, {wall:.0f} min")
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    plot_curve(Path(sys.argv[1]), Path(sys.argv[2]))
