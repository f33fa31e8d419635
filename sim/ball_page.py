"""Plots of docs/ball.md, the ball against measurement and oracle: ``python -m sim.ball_page`` draws them anew."""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sim.ball import RPM, BallParams, BallState, aero, fly, fly_midpoint
from sim.ball_sim import BallSim
from sim.bounce import SURFACES, bounce, on_surface
from sim.contact_oracle import court_impact, error_of_step, racket_impact, without_duration
from sim.court import HALF_LENGTH, SINGLES_HALF_WIDTH
from sim.reach import reachable_returns, target_grid
from sim.stringbed import SEMI_LONG, SEMI_SHORT, Racket, impact

F64 = torch.float64
PARAMS = BallParams()
RACKET = Racket.from_specs(dtype=F64)
DPI = 80
COLOURS = {"clay": "#b5532a", "grass": "#3d8b37", "hard medium": "#2b5fa8"}


def row(*values: float) -> Tensor:
    """One row (1, n), float64."""
    return torch.tensor([values], dtype=F64)


def random_flights(n: int, seed: int = 0) -> BallState:
    """Balls of 5–50 m/s in any direction with up to 5000 rpm about any axis, (n, 3)."""
    g = torch.Generator().manual_seed(seed)

    def unit() -> Tensor:
        v = torch.randn(n, 3, generator=g, dtype=F64)
        return v / v.norm(dim=-1, keepdim=True)

    speed = torch.linspace(5, 50, n, dtype=F64)[:, None]
    spin = unit() * 5000 * RPM * (2 * torch.rand(n, 1, generator=g, dtype=F64) - 1)
    return BallState(torch.zeros(n, 3, dtype=F64), unit() * speed, spin)


def flown(rule, ball: BallState, step: float, duration: float = 2.0) -> Tensor:
    """Positions (n, 3) after `duration` s."""
    state = (ball.pos, ball.vel, ball.spin)
    air, h = aero(PARAMS, ball.pos), torch.full((len(ball.pos),), step, dtype=F64)
    for _ in range(round(duration / step)):
        state = rule(*state, air, h)
    return state[0]


def draw_flight(axes) -> None:
    """Trajectories of a drive with different spins; error against the step."""
    left, right = axes
    for rpm, name, colour in ((3000, "topspin", "C3"), (0, "flat", "0.3"), (-2000, "slice", "C0")):
        ball = BallState(row(-11.5, 0, 1.0), row(27.0, 0, 4.5), row(0, rpm * RPM, 0))
        sim = BallSim(1, PARAMS, dtype=F64)
        sim.reset(torch.tensor([0]), ball.pos, ball.vel, ball.spin)
        path = [sim.state.pos[0].tolist()]
        for _ in range(300):
            sim.step(0.005)
            path.append(sim.state.pos[0].tolist())
        points = np.array(path)
        label = f"{name}, {abs(rpm)} rpm" if rpm else "flat, no spin"
        left.plot(points[:, 0], points[:, 2], color=colour, label=label)
    left.plot([0, 0], [0, 0.914], color="k", lw=2)
    left.axvline(HALF_LENGTH, color="0.8", lw=1)
    left.text(HALF_LENGTH + 0.2, 2.8, "baseline", fontsize=8, color="0.4")
    left.set(xlabel="along the court, m", ylabel="height, m", title="27 m/s drive over the net")
    left.set(xlim=(-12.5, 15), ylim=(0, 3))
    left.legend(frameon=False, fontsize=8)
    balls = random_flights(64)
    truth = flown(fly, balls, 0.0005)
    steps = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2]
    for rule, name in ((fly_midpoint, "midpoint (simulation)"), (fly, "Runge–Kutta (prediction)")):
        errors = [1e3 * (flown(rule, balls, step) - truth).norm(dim=-1).max().item() for step in steps]
        right.loglog(np.array(steps) * 1e3, errors, "o-", ms=4, label=name)
    right.axhline(1, color="k", ls="--", lw=1)
    right.text(1, 1.3, "1 mm", fontsize=8)
    right.axvline(5, color="0.8", lw=1)
    right.text(5.3, 2e-8, "step in use", fontsize=8, color="0.4")
    right.set(xlabel="step, ms", ylabel="mm", title="largest error after 2 s, 5–50 m/s, ±5000 rpm")
    right.legend(frameon=False, fontsize=8)


def draw_bounce(axes) -> None:
    """Speed and spin after bounces at 25 m/s on three courts; the ITF's drop test."""
    left, middle, right = axes
    angles = np.arange(5, 81, 1.0)
    for name, colour in COLOURS.items():
        params = on_surface(PARAMS, name)

        def shot(degrees: float) -> np.ndarray:
            angle = math.radians(degrees)
            return np.array([-25 * math.cos(angle), 0.0, -25 * math.sin(angle)])

        after = [bounce(row(*shot(a)), row(0, 0, 0), params) for a in angles]
        kept = [v[0, 0].item() / shot(a)[0] for a, (v, _) in zip(angles, after, strict=True)]
        left.plot(angles, kept, color=colour, label=f"{name} (pace {SURFACES[name].pace:.0f})")
        middle.plot(angles, [abs(w[0, 1].item()) / RPM for _, w in after], color=colour)
        for a in range(10, 81, 10):
            found = without_duration(lambda d, a=a, p=params: court_impact(shot(a), np.zeros(3), p, d))
            left.plot(a, found.vel[0] / shot(a)[0], "o", ms=4, color=colour, mfc="none")
            middle.plot(a, abs(found.spin[1]) / RPM, "o", ms=4, color=colour, mfc="none")
    left.plot([], [], "o", ms=4, color="0.4", mfc="none", label="oracle")
    left.text(6, 0.66, "slide", fontsize=8, color="0.4")
    left.text(42, 0.66, "roll", fontsize=8, color="0.4")
    left.set(xlabel="angle to the court, °", title="share of horizontal speed kept")
    middle.set(xlabel="angle to the court, °", title="spin after, rpm (none before)")
    left.legend(frameon=False, fontsize=8)
    restitutions = np.linspace(0.70, 0.82, 13)
    heights = [100 * drop_rebound(float(e)) for e in restitutions]
    right.plot(restitutions, heights, color="0.3")
    right.axhspan(135, 147, color="#e8d44d", alpha=0.5, lw=0)
    right.plot(PARAMS.restitution, 100 * drop_rebound(float(PARAMS.restitution)), "o", color="C3")
    right.text(0.702, 148, "ITF: 135–147 cm", fontsize=8)
    right.annotate("default", (0.77, 138.5), (0.785, 130), fontsize=8, arrowprops={"arrowstyle": "-"})
    right.set(xlabel="restitution at 7.1 m/s", title="rebound from 254 cm, cm")


def drop_rebound(restitution: float) -> float:
    """Height of the ball's underside at the top of its rebound from 254 cm, m."""
    sim = BallSim(1, dataclasses.replace(PARAMS, restitution=restitution), dtype=F64)
    radius = float(PARAMS.radius)
    sim.reset(torch.tensor([0]), row(5, 0, 2.54 + radius), row(0, 0, 0))
    bounced = False
    for _ in range(1000):
        bounced |= bool(sim.step(0.0025).bounced)
        if bounced and sim.state.vel[0, 2] <= 0:
            break
    return sim.state.pos[0, 2].item() - radius


def rebound(x: float, y: float, speed: float = 15.0) -> float:
    """Apparent restitution of a free racket at the point (x, y) of its string bed."""
    eye, zero = torch.eye(3, dtype=F64)[None], row(0, 0, 0)
    shot = row(0, 0, -speed)
    out = impact(shot, zero, eye[..., 2], row(x, y, 0), zero, eye, zero, zero, RACKET, PARAMS)
    return out.vel[0, 2].item() / speed


def oracle_rebound(x: float, y: float, speed: float = 15.0) -> float:
    """The same by MuJoCo's contact."""
    centre, shot, zero = np.array([x, y, float(PARAMS.radius)]), np.array([0, 0, -speed]), np.zeros(3)
    found = without_duration(lambda d: racket_impact(centre, shot, zero, zero, zero, RACKET, PARAMS, d))
    return float(found.vel[2]) / speed


def draw_strings(axes) -> None:
    """Apparent restitution along and across the face."""
    left, right = axes
    for axes_of, semi, name in ((left, SEMI_LONG, "x"), (right, SEMI_SHORT, "y")):
        spots = np.linspace(-semi, semi, 61)
        place = (lambda s: (s, 0.0)) if name == "x" else (lambda s: (0.0, s))
        axes_of.plot(100 * spots, [rebound(*place(s)) for s in spots], color="C0", label="model")
        sparse = np.linspace(-0.9 * semi, 0.9 * semi, 9)
        axes_of.plot(100 * sparse, [oracle_rebound(*place(s)) for s in sparse], "o", ms=5, mfc="none", color="C0",
                     label="oracle")  # fmt: skip
        axes_of.set(ylim=(-0.1, 0.65))
    left.plot([-15, 0, 15], [0.5, 0.45, 0.1], "s", color="C3", label="published: throat, centre, tip")
    for axes_of in (left, right):
        axes_of.errorbar(
            [0], [0.405], yerr=[0.025], color="k", capsize=4, label="published, hand-held centre"
        )
    left.set(xlabel="along the racket (tip to the right), cm", title="apparent restitution, long axis")
    right.set(xlabel="across the racket, cm", title="apparent restitution, short axis")
    left.legend(frameon=False, fontsize=8, loc="lower left")


BOUNCES = ((30.0, 16.0, 0.0), (25.0, 30.0, -2000.0), (20.0, 40.0, 3000.0), (15.0, 70.0, 0.0))
"""Speed, m/s; angle to the court, °; spin, rpm."""
SPINS = {0.0: "no spin", -2000.0: "2000 rpm topspin", 3000.0: "3000 rpm backspin"}


def draw_oracle(axes) -> None:
    """How far impulse and lasting contact differ, against the contact's duration; MuJoCo's error of step."""
    left, right = axes
    dwells = np.array([1.5, 2, 3, 4, 5, 6]) * 1e-3
    for speed, degrees, rpm in BOUNCES:
        angle = math.radians(degrees)
        vel = np.array([-speed * math.cos(angle), 0.0, -speed * math.sin(angle)])
        spin = np.array([0.0, rpm * RPM, 0.0])
        after = bounce(row(*vel), row(*spin), PARAMS)[0][0].numpy()
        gaps = [100 * np.linalg.norm(court_impact(vel, spin, PARAMS, d).vel - after) / speed for d in dwells]
        left.plot(1e3 * dwells, gaps, "o-", ms=4, label=f"{speed:.0f} m/s, {degrees:.0f}°, {SPINS[rpm]}")
    left.axvspan(3, 7, color="0.92", lw=0)
    left.set(xlim=(0, 6.2), ylim=(0, None), xlabel="duration of the contact, ms (grey: real ones)")
    left.set(title="velocity after a bounce, oracle − impulse, %")
    left.legend(frameon=False, fontsize=8)
    steps = np.array([2.0, 1.0, 0.5, 0.25, 0.125, 0.0625])
    right.loglog(steps, [100 * error_of_step(PARAMS, s * 1e-3) for s in steps], "o-", ms=4, color="C1")
    right.set(xlabel="MuJoCo's step, ms", title="error of its restitution, %, at worst (5 ms contact)")
    right.invert_xaxis()
    right.set_xticks(steps, [f"{s:g}" for s in steps], minor=False)
    right.set_yticks([0.3, 1, 3, 10], ["0.3", "1", "3", "10"])
    right.minorticks_off()


def draw_reach(axes) -> None:
    """Where one ball can be returned to with rackets of limited speed."""
    ball = BallState(row(-11.5, 0.8, 0.9), row(-14, 0.5, -1), row(0, -150, 0))
    grid = target_grid(16, 9, dtype=F64)
    for axes_of, speed in zip(axes, (6.0, 8.0, 10.0), strict=True):
        returns = reachable_returns(ball, RACKET, PARAMS, speed, target=grid)
        good = returns.feasible[0]
        colours = returns.racket_speed[0][good].numpy()
        dots = axes_of.scatter(*grid[good].T.numpy(), c=colours, s=18, vmin=4, vmax=10, cmap="viridis")
        axes_of.scatter(*grid[~good].T.numpy(), s=3, color="0.75")
        axes_of.plot(
            [0, HALF_LENGTH, HALF_LENGTH, 0, 0],
            [-SINGLES_HALF_WIDTH] * 2 + [SINGLES_HALF_WIDTH] * 2 + [-SINGLES_HALF_WIDTH],
            color="0.4",
            lw=1,
        )
        axes_of.set(aspect="equal", xlabel="along the court, m", title=f"racket to {speed:.0f} m/s")
        axes_of.title.set_fontsize(10)
    axes[0].figure.colorbar(dots, ax=list(axes), label="racket speed, m/s", shrink=0.7)


PAGES = {
    "flight": (draw_flight, 2, (9.0, 3.4)),
    "bounce": (draw_bounce, 3, (11.0, 3.4)),
    "strings": (draw_strings, 2, (9.0, 3.4)),
    "oracle": (draw_oracle, 2, (9.0, 3.4)),
    "returns": (draw_reach, 3, (11.0, 3.0)),
}
"""File → what draws it, panels, size in inches."""


def main(arguments: list[str] | None = None) -> int:
    """Draw all plots into a folder."""
    parser = argparse.ArgumentParser(description="Draws the plots of docs/ball.md.")
    parser.add_argument("--output", type=Path, default=Path("docs/ball"), help="folder (docs/ball)")
    parser.add_argument("--only", choices=sorted(PAGES), help="one plot alone")
    options = parser.parse_args(arguments)
    try:
        import matplotlib
    except ImportError:
        print("The plots need matplotlib: pip install 'humanoid-rally[train]'")
        return 1
    matplotlib.use("Agg")
    from matplotlib import pyplot

    options.output.mkdir(parents=True, exist_ok=True)
    for name, (draw, panels, size) in PAGES.items():
        if options.only in (None, name):
            figure, axes = pyplot.subplots(1, panels, figsize=size, layout="constrained")
            draw(axes)
            for axis in axes:
                axis.spines[["top", "right"]].set_visible(False)
            # No date and version in the file: the same plot is the same bytes.
            figure.savefig(options.output / f"{name}.png", dpi=DPI, metadata={"Software": None})
            pyplot.close(figure)
            print(options.output / f"{name}.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
