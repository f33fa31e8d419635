"""How evenly a launcher fills the space of feasible balls: ``python -m sim.coverage --level feed --balls 2000``.

What is feasible has no formula: a reference, many times as many even draws (`Launcher.draw_even`), stands for it. Draws
are compared with the reference in what a player meets (`SPACES`), and so are as many even draws, which are ideal:

- discrepancy: largest difference of the shares of draws and reference in boxes that reach from the smallest values to
  some corner (star discrepancy, over `CORNERS` corners whose coordinates are those of reference balls).
- cells: the range of each quantity is cut into equal parts, so that there are about `PER_CELL` draws for each cell;
  counted are the cells that should hold a draw or more, and the share of them that hold one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sim.ball import RPM
from sim.launch_distribution import SPACE, LaunchMixture
from sim.launcher import LEVELS, Launcher, LaunchTable, Physics
from sim.world import WORLDS

CORNERS = 2048
PER_CELL = 4
REFERENCE = 8
"""Reference balls for each draw."""


def _norm(value: Tensor) -> Tensor:
    return torch.linalg.vector_norm(value, dim=-1)


SPACES: dict[str, Callable[[LaunchTable], Sequence[Tensor]]] = {
    "release point": lambda t: t.pos.unbind(-1),
    "speed, spin": lambda t: (_norm(t.vel), _norm(t.spin)),
    "bounce point": lambda t: t.bounce_pos[:, :2].unbind(-1),
    "meeting point": lambda t: t.meet_pos.unbind(-1),
    "arrival: speed, time": lambda t: (_norm(t.meet_vel), t.meet_time),
    "launch space": lambda t: t.point.unbind(-1),
}
"""Quantities of launches, (n,) each, in which they are compared. The last has ten, the coordinates of
`sim.launch_distribution.SPACE`."""


@dataclass(frozen=True)
class Coverage:
    """How draws fill one space.

    Attributes:
        cells: that should hold a draw or more. occupied: share of these that hold one; None if there are no such cells,
            as with few draws in many dimensions.
        discrepancy: from the reference, 0–1.
    """

    cells: int
    occupied: float | None
    discrepancy: float


def quantities(name: str, table: LaunchTable) -> np.ndarray:
    """What `SPACES` has under a name, (n, d)."""
    return torch.stack(list(SPACES[name](table)), dim=1).double().numpy()


def coverage(draws: np.ndarray, reference: np.ndarray) -> Coverage:
    """Compare draws with a reference.

    Args:
        draws: (n, d). reference: (m, d), m many times n.

    Raises:
        ValueError: no draws, or shapes that do not fit.
    """
    if not len(draws) or draws.ndim != 2 or draws.shape[1:] != reference.shape[1:]:
        raise ValueError(
            f"draws {draws.shape} and reference {reference.shape}: give (n, d) and (m, d) of one d"
        )
    low, high = reference.min(axis=0), reference.max(axis=0)
    width = np.where(high > low, high - low, 1.0)
    n, dims = draws.shape
    parts = max(2, round((n / PER_CELL) ** (1 / dims)))

    def cell(values: np.ndarray) -> np.ndarray:
        index = np.clip(((values - low) / width * parts).astype(np.int64), 0, parts - 1)
        return np.asarray(np.ravel_multi_index(tuple(index.T), (parts,) * dims))

    count = np.bincount(cell(reference), minlength=parts**dims)
    wanted = count * n >= len(reference)
    held = np.bincount(cell(draws), minlength=parts**dims) > 0
    cells = int(wanted.sum())
    return Coverage(
        cells, float((held & wanted).sum() / cells) if cells else None, discrepancy(draws, reference)
    )


def discrepancy(draws: np.ndarray, reference: np.ndarray) -> float:
    """Star discrepancy of draws (n, d) from a reference (m, d); see the module."""
    random = np.random.default_rng(0)
    rows = random.integers(len(reference), size=(CORNERS, reference.shape[1]))
    corners = np.take_along_axis(reference, rows, axis=0)

    def share(values: np.ndarray) -> np.ndarray:
        inside = np.ones((CORNERS, len(values)), dtype=bool)
        for column in range(values.shape[1]):
            inside &= values[:, column] <= corners[:, column, None]
        return inside.mean(axis=1)

    return float(np.abs(share(draws) - share(reference)).max())


@dataclass(frozen=True)
class Survey:
    """Draws of a launcher, as many even ones, and the reference."""

    drawn: LaunchTable
    even: LaunchTable
    reference: LaunchTable

    def rows(self) -> dict[str, tuple[Coverage, Coverage]]:
        """For each of `SPACES`: the coverage of the draws and of the even ones."""
        out = {}
        for name in SPACES:
            reference = quantities(name, self.reference)
            out[name] = tuple(
                coverage(quantities(name, table), reference) for table in (self.drawn, self.even)
            )
        return out


def survey(launcher: Launcher, balls: int, seed: int = 0, physics: Physics | None = None) -> Survey:
    """Draw `balls` with a launcher, and what to compare them with."""
    drawn = launcher.draw(balls, torch.Generator().manual_seed(seed), physics)
    even = launcher.draw_even(balls, seed + 1, physics, max_rounds=100_000)
    return Survey(drawn, even, launcher.draw_even(REFERENCE * balls, seed + 2, physics, max_rounds=100_000))


def text(found: Survey) -> str:
    """The tables that the command prints."""
    lines = [
        f"{len(found.drawn)} balls drawn, {found.drawn.acceptance:.1%} of the draws were feasible; "
        f"reference of {len(found.reference)} even ones",
        "",
        f"{'':22}{'cells':>6}{'held':>8}{'ideal':>8}{'discrepancy':>14}{'ideal':>8}",
    ]
    for name, (drawn, even) in found.rows().items():
        lines.append(
            f"{name:22}{drawn.cells:6}{_percent(drawn.occupied)}{_percent(even.occupied)}"
            f"{drawn.discrepancy:14.4f}{even.discrepancy:8.4f}"
        )
    counts = found.reference.counts
    lines += ["", "feasible, % of the draws in each eighth of a coordinate's range:", ""]
    for name, tried, kept in zip(SPACE, counts.tried.tolist(), counts.kept.tolist(), strict=True):
        shares = (f"{100 * k / t:7.1f}" if t else f"{'–':>7}" for t, k in zip(tried, kept, strict=True))
        lines.append(f"{name:12}{''.join(shares)}")
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return f"{'–':>8}" if share is None else f"{share:8.1%}"


def draw(found: Survey, title: str, axes: Sequence[Any]) -> None:
    """Four panels: where balls bounce, where they are met, their speed and spin, and which draws are feasible."""
    table = found.drawn
    style: dict[str, Any] = {"s": 3, "alpha": 0.5, "linewidths": 0}
    colour = np.where(table.backhand.numpy(), "C0", "C3")
    bounce, meet, speed, flat = axes
    bounce.scatter(table.bounce_pos[:, 1], table.bounce_pos[:, 0], c=colour, **style)
    bounce.plot([-4.115, -4.115, 4.115, 4.115], [0, -11.885, -11.885, 0], color="0.4", lw=1)
    bounce.plot([-4.115, 4.115], [-6.40, -6.40], color="0.7", lw=1)
    bounce.axhline(0.0, color="k", lw=2)
    bounce.set(
        title=f"{title}: where they bounce", xlabel="y, m (left is right of the player)", ylabel="x, m"
    )
    bounce.set(xlim=(4.6, -4.6), ylim=(-12.5, 0.3), aspect="equal", xlabel="y, m")
    meet.scatter(table.meet_pos[:, 1], table.meet_pos[:, 2], c=colour, **style)
    meet.set(title="where they are met", xlabel="y, m", ylabel="height, m", ylim=(0, 1.5))
    meet.invert_xaxis()
    for label, col in (("forehand", "C3"), ("backhand", "C0")):
        meet.scatter([], [], color=col, s=12, label=label)
    meet.legend(frameon=False, fontsize=8, loc="lower center", ncols=2)
    speed.scatter(_norm(table.vel), _norm(table.spin) / RPM, color="0.3", **style)
    low, high = LEVELS[title].speed if title in LEVELS else (None, None)
    speed.set(title="speed and spin at release", xlabel="speed, m/s", ylabel="spin, rpm", xlim=(low, high))
    counts = found.reference.counts
    for name, what, marker in (
        ("speed", "speed", "o"),
        ("release_x", "distance of release", "s"),
        ("release_z", "height of release", "^"),
        ("height", "height where met", "D"),
    ):
        row = SPACE.index(name)
        share = 100 * counts.kept[row] / counts.tried[row].clamp(min=1)
        flat.plot((np.arange(len(share)) + 0.5) / len(share), share, marker=marker, ms=4, label=what)
    flat.set(title="feasible draws", xlabel="from the least (0) to the most (1)", ylabel="% of draws")
    flat.set(xlim=(0, 1), ylim=(0, None))
    flat.legend(frameon=False, fontsize=8)


def plot(found: Survey, title: str, path: Path) -> None:
    """Write `draw`'s panels as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 4, figsize=(13.0, 3.4), layout="constrained")
    draw(found, title, axes)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    # No date and version in the file: the same plot is the same bytes.
    figure.savefig(path, dpi=80, metadata={"Software": None})
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="How evenly launches fill the space of feasible balls.")
    parser.add_argument("--level", choices=sorted(LEVELS), default="feed")
    parser.add_argument("--balls", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--world", choices=sorted(WORLDS), default="nominal")
    parser.add_argument("--launches", type=Path, help="a launch mixture (npz) to draw from")
    parser.add_argument("--plot", type=Path, help="write a picture here, PNG")
    options = parser.parse_args(arguments)
    if not 1 <= options.balls <= 100_000:
        parser.error(f"--balls {options.balls}: give a number from 1 to 100000")
    try:
        mixture = None if options.launches is None else LaunchMixture.load(options.launches)
        launcher = Launcher(options.level, distribution=mixture)
        found = survey(launcher, options.balls, options.seed, WORLDS[options.world].physics)
    except (ValueError, RuntimeError) as error:
        parser.error(str(error))
    print(f"level {options.level}, world {options.world}, seed {options.seed}: {text(found)}")
    if options.plot is not None:
        try:
            plot(found, options.level, options.plot)
        except ImportError:
            parser.error("--plot needs matplotlib: pip install 'humanoid-rally[train]'")
        except OSError as error:
            parser.error(f"--plot {options.plot}: not written ({error.strerror or error})")
        print(f"\n{options.plot}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
