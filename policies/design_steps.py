"""Designs the steps a player takes between strokes.

For a grid of ways, each step is optimised (`humanoid.trajectory` along `humanoid.footing.step`: zero-moment point in
the standing soles, motor limits, joint stops), growing from short to long, and a quadratic polynomial of the way is
fitted through all of a side. The steps come from the robot's dynamics alone, no motion capture enters.

    python -m policies.design_steps        rebuilds assets/motions/step_family (some minutes, two cores)
"""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from humanoid.footing import StepTiming, step
from humanoid.joints import JOINT_NAMES, READY_JOINT_POS
from humanoid.motion import RobotMotion
from humanoid.trajectory import Solution, TrajectoryConfig, TrajectoryOptimizer
from mocap.plant import ready_stance
from policies.design import tables
from policies.steps import FEATURES, SIDES, STEP_FOLDER, UNIT, save_steps, way_features

FPS = 50.0
CONFIG = TrajectoryConfig(
    knots_s=0.06, style_pelvis=(0.3, 0.3, 0.06, 0.3), style_joint=0.4, smooth_joint=80.0, leg_margin=0.06
)
AHEAD = (-0.1, 0.0, 0.1)
ASIDE = (0.0, 0.08, 0.16, 0.24)
TURN = (-0.2, 0.0, 0.2)
"""Ways of the grid, m, m, rad; aside is to the side of the leading foot."""
DIP = 0.2
"""How far the pelvis sinks in the manner of a step, share of its way: spread legs are short."""


@dataclass(frozen=True)
class Step:
    """An optimised step and its way: x, y, turn, m, m, rad."""

    way: tuple[float, float, float]
    solution: Solution


def optimizer(way: tuple[float, float, float], lead: int, timing: StepTiming) -> TrajectoryOptimizer:
    """The problem of one step: its manner is the ready pose carried along the way."""
    root, soles = ready_stance()
    footing = step(soles, way, lead, FPS, timing)
    frames = len(footing.soles)
    time = np.linspace(0, 1, frames)
    share = time**3 * (10 - 15 * time + 6 * time**2)
    half = 0.5 * way[2] * share
    quat = np.stack([np.cos(half), 0 * half, 0 * half, np.sin(half)], axis=1)
    path = np.tile(root, (frames, 1))
    path[:, :2] += np.outer(share, way[:2])
    path[:, 2] -= DIP * np.hypot(*way[:2]) * np.sin(np.pi * time) ** 2
    motion = RobotMotion(
        f"step_{SIDES[lead]}", FPS, JOINT_NAMES, path, quat,
        np.tile(READY_JOINT_POS, (frames, 1)), footing.contact,
        provenance={"source": "policies.design_steps", "licence": "Apache-2.0"},
    )  # fmt: skip
    return TrajectoryOptimizer(motion, timing.duration / 2, footing, CONFIG)


def grow(lead: int, ahead: float, turn: float, timing: StepTiming) -> list[Step]:
    """Steps of one side with the same way ahead and turn, each from the shorter one before."""
    steps: list[Step] = []
    before: TrajectoryOptimizer | None = None
    for aside in ASIDE:
        way = (ahead, aside if lead == 0 else -aside, turn)
        now = optimizer(way, lead, timing)
        start = now.style
        if before is not None:
            start = steps[-1].solution.coefficients + now.style - before.style
            now.start_legs(steps[-1].solution.motion.joint_pos)
        steps.append(Step(way, now.solve(None, start, 30)))
        before = now
    return steps


def fit(steps: list[Step]) -> tuple[np.ndarray, float]:
    """Weights (T, FEATURES, NUM_COLUMNS) of a family through steps, and the rms of what joints miss of it, rad."""
    wanted = np.stack([tables(s.solution.motion) for s in steps])
    known = way_features(torch.tensor([s.way for s in steps], dtype=torch.float64)).numpy()
    weights, *_ = np.linalg.lstsq(known, wanted.reshape(len(steps), -1), rcond=None)
    missed = (wanted.reshape(len(steps), -1) - known @ weights).reshape(wanted.shape)
    weights = weights.reshape(FEATURES, *wanted.shape[1:]).transpose(1, 0, 2).copy()
    # Every step begins and ends in the ready pose, exactly; at its end the pelvis has made the way.
    weights[0, 1:], weights[-1, 1:] = 0.0, 0.0
    still = standing(steps[0].solution.motion)
    weights[0, 0], weights[-1, 0] = still, still
    weights[-1, 1, 0], weights[-1, 2, 1], weights[-1, 3, 3] = UNIT, UNIT, UNIT
    return weights, float(np.sqrt((missed[:, :, 8:37] ** 2).mean()))


def standing(motion: RobotMotion) -> np.ndarray:
    """The first pose of a motion, at rest, as a row of a family's table, (NUM_COLUMNS,)."""
    rest = replace(
        motion,
        root_pos=np.tile(motion.root_pos[0], (5, 1)),
        root_quat=np.tile(motion.root_quat[0], (5, 1)),
        joint_pos=np.tile(motion.joint_pos[0], (5, 1)),
        contacts=np.ones((5, 2), dtype=bool),
    )
    return tables(rest)[2]


def main(folder: Path = STEP_FOLDER) -> None:
    """Rebuild what ships."""
    os.environ["OMP_NUM_THREADS"] = "1"
    timing = StepTiming()
    jobs = [(lead, ahead, turn, timing) for lead in (0, 1) for ahead in AHEAD for turn in TURN]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        rows = list(tqdm(pool.starmap(grow, jobs, chunksize=1), desc="steps", disable=None))
    for lead, side in enumerate(SIDES):
        steps = [s for job, row in zip(jobs, rows, strict=True) if job[0] == lead for s in row]
        weights, missed = fit(steps)
        figures = {
            "steps": len(steps),
            "zmp_outside_m": round(max(s.solution.zmp_outside for s in steps), 3),
            "torque_share": round(max(s.solution.torque_share for s in steps), 2),
            "fit_rad": round(missed, 4),
        }
        save_steps(
            folder / f"{side}.npz", weights, np.array([max(AHEAD), max(ASIDE), max(TURN)]), timing.swing, FPS,
            {"source": "policies.design_steps", "licence": "Apache-2.0", "design": figures},
        )  # fmt: skip
        print(side, figures)


if __name__ == "__main__":
    main()
