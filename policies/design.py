"""Designs the stroke families a player plays: human strokes, made possible for the robot at every goal it may be given.

One human stroke a side gives the manner. Goals (racket position, velocity and face at the strike) come from launched
balls. For each goal the stroke is optimised (`humanoid.trajectory`: motor limits, zero-moment point, joint stops, parts
and racket clear of each other). A polynomial of the goal is fitted through all strokes, every stroke optimised again
near what the polynomial says, and the polynomial fitted anew: the two agree after a few rounds, as in guided policy
search. The first rounds take goals all over the reach, the others mostly those that the planner asks for with the
families on disk. Later rounds stay nearer to the fit, and keep wider gaps, so that the fit itself keeps clear.
`policies.family` then gives the polynomials the torques that belong to them and makes up for what simulated strokes
miss. The last rounds take mostly goals that the family made so far does not pass: nearly all of them are possible, the
polynomial only had too few strokes there.

    python -m policies.design        rebuilds assets/motions/stroke_family and strokes_planted, and
                                     assets/planner/worth.npz (two hours, two cores)
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import mujoco
import numpy as np
import pinocchio as pin
import torch
from scipy.interpolate import CubicSpline
from tqdm import tqdm

from humanoid.balance import balance_gain, ready_height
from humanoid.dynamics import feedforward_torque, velocities
from humanoid.files import atomic_write
from humanoid.footing import Footing
from humanoid.joints import EFFORT_LIMIT, KD, KP
from humanoid.kinematics import default_pinocchio
from humanoid.model import build_model
from humanoid.motion import RobotMotion
from humanoid.trajectory import FrameState, Solution, TrajectoryConfig, TrajectoryOptimizer
from mocap.plant import PlantConfig, plant, ready_stance
from policies import train_worth
from policies.chain import racket_chain
from policies.family import JOINT_POS, polynomial, ridge, teach_lead, with_torque
from policies.goal_pool import join
from policies.goals import GoalError, draw_goals
from policies.planner import Planner, PlannerConfig, racket_body
from policies.player import Player
from policies.strokes import (
    FAMILY_FOLDER,
    FEATURES,
    GOAL_SIZE,
    KINDS,
    KNOTS,
    QUADRATIC,
    StrokeSet,
    change_family,
    load_strokes,
    save_family,
)
from sim.aim import plan_return
from sim.ball import BallParams, BallState
from sim.ball_sim import BallSim
from sim.launcher import Launcher, LauncherConfig

HUMAN_FOLDER = FAMILY_FOLDER.parent / "strokes_caldas"
PLANTED_FOLDER = FAMILY_FOLDER.parent / "strokes_planted"
MANNER = {"forehand": "forehand_01", "backhand": "backhand_06"}
"""The human stroke of each side: the one whose motion the robot can follow at most goals."""
FACE = {"forehand": 1.0, "backhand": -1.0}
BOX = {
    "forehand": ((-0.3, 0.5), (-1.18, -0.15), (0.4, 1.45)),
    "backhand": ((-0.3, 0.5), (0.08, 1.12), (0.4, 1.45)),
}
"""Where a planted robot's racket may meet the ball: ranges of x, y, z in the stance frame, m."""
FASTEST = 12.5
"""Goals with faster rackets are left out, m/s."""
PLANT = PlantConfig(before_s=0.84, after_s=0.76)
BEFORE_S, AFTER_S = 0.70, 0.60
"""Time of a robot's stroke before and after the strike, s: a human's, quickened."""
GOAL_SCALE = np.array([0.15, 0.15, 0.15, 1.2, 1.2, 1.2, 0.1, 0.1])
"""What counts as one unit of each entry of a goal, see `policies.strokes.GOAL_SIZE`."""


@dataclass(frozen=True)
class Replay:
    """What a replayed stroke did: racket at the strike, fallen, largest deviation of the
    pelvis, m, and mean one of the joints, rad, share of control steps with a motor at its limit."""

    racket: FrameState
    fallen: bool
    root_error: float
    joint_error: float
    saturated: float


@dataclass(frozen=True)
class Round:
    """One round of optimisation.

    Attributes:
        count: goals. planned: most of them the planner's with the families on disk; else of any ball in reach.
        cubic: fit all the families' terms first, else the quadratic ones.
        joint, pelvis: how near to the fit the strokes are kept: one unit, rad, and factor on the pelvis's units.
        ridge: of the fit. iterations: of the optimiser.
        gap: wanted between parts of the robot, m.
    """

    count: int
    planned: bool
    cubic: bool
    joint: float
    pelvis: float
    ridge: float
    iterations: int
    gap: float = TrajectoryConfig.gap


FIRST = 240
"""Goals whose strokes are designed without a fit to start from."""
ROUNDS = (
    Round(180, False, False, 0.6, 1.0, 0.03, 12),
    Round(240, False, True, 0.3, 0.5, 0.02, 10),
    Round(260, True, True, 0.15, 0.3, 0.005, 10),
    Round(250, True, True, 0.08, 0.2, 0.003, 9),
    Round(280, True, True, 0.05, 0.15, 0.002, 8),
    Round(300, True, True, 0.05, 0.15, 0.002, 9, 0.06),
    Round(320, True, True, 0.04, 0.12, 0.002, 8, 0.06),
)
EXTRA = (
    Round(200, True, True, 0.06, 0.2, 0.002, 10, 0.05),
    Round(200, True, True, 0.05, 0.15, 0.002, 9, 0.05),
    Round(200, True, True, 0.04, 0.12, 0.002, 8, 0.05),
)
"""After those: rounds for goals that the family made so far misses."""
MISSED = 0.02
"""A goal counts as missed from so much on: distance, m, plus 0.3 times the face's error."""
LAST = 2
"""So many of the last rounds make a family, and all of `EXTRA`."""
AGING = 0.65
"""What a round's strokes count in a fit, as a share of the next one's."""
FREE_WEIGHT = 0.1
"""What a stroke for any ball in reach counts in a fit beside a new one for a goal of the planner."""
NEAR = {
    "forehand": ((-0.2, 0.5), (-0.42, -0.15), (0.4, 1.3)),
    "backhand": ((-0.2, 0.5), (0.08, 0.32), (0.4, 1.3)),
}
"""The part of `BOX` next to the body, where most goals are not possible and every one that is counts."""


@dataclass(frozen=True)
class Sample:
    """A stroke optimised for a goal (9,): position, velocity, normal; what it counts in a fit."""

    goal: np.ndarray
    solution: Solution
    weight: float = 1.0

    @property
    def sound(self) -> bool:
        """Whether the family may learn from it."""
        s = self.solution
        return s.cost < 50 and s.zmp_outside < 0.045 and s.torque_share < 1.12 and s.gap > 0.005


class Simulator:
    """Replays strokes with feed-forward and balance feedback, as a player does without a network."""

    def __init__(self) -> None:
        self.model = build_model(self_collision=True)
        self.height = ready_height(self.model)
        self.gain = balance_gain(0.02)

    def replay(self, motion: RobotMotion, face: float, hold: int = 40) -> Replay:
        """Replay a planted stroke from its first frame, then hold its last for `hold` control steps."""
        model, data = self.model, mujoco.MjData(self.model)
        torque, _ = feedforward_torque(
            motion.root_pos, motion.root_quat, motion.joint_pos, motion.contacts, motion.fps
        )
        v = velocities(motion.root_pos, motion.root_quat, motion.joint_pos, motion.fps)
        rotations = np.stack([pin.Quaternion(*row).toRotationMatrix() for row in motion.root_quat])
        v[:, :3] = np.einsum("tij,tj->ti", rotations, v[:, :3])
        v[-1] = 0.0
        qpos = np.concatenate([motion.root_pos, motion.root_quat, motion.joint_pos], axis=1)
        qpos[:, 2] += self.height - motion.root_pos[0, 2]
        data.qpos[:] = qpos[0]
        mujoco.mj_forward(model, data)
        strike = round(motion.strokes[0].strike_s * motion.fps)
        site = model.site("racket").id
        error = np.zeros(35)
        drive = motion.joint_pos + KD / KP * v[:, 6:] + torque / KP
        root, joints, saturated, racket = 0.0, [], 0, None
        previous = data.site_xpos[site].copy()
        for t in range(motion.num_frames + hold):
            i = min(t, motion.num_frames - 1)
            if t == strike:
                mujoco.mj_kinematics(model, data)
                racket = FrameState(
                    data.site_xpos[site].copy(),
                    (data.site_xpos[site] - previous) / model.opt.timestep,
                    face * data.site_xmat[site].reshape(3, 3)[:, 2],
                    face,
                )
            mujoco.mj_differentiatePos(model, error, 1.0, qpos[i], data.qpos)
            correction = self.gain @ np.concatenate([error, data.qvel - v[i]])
            # The command is held for a control period: what it asks for belongs to the period's middle.
            j = min(i + 1, motion.num_frames - 1)
            data.ctrl[:] = 0.5 * (drive[i] + drive[j]) - np.clip(correction, -0.6, 0.6)
            for _ in range(4):
                mujoco.mj_kinematics(model, data)
                previous = data.site_xpos[site].copy()
                mujoco.mj_step(model, data)
            mujoco.mj_kinematics(model, data)
            root = max(root, float(np.linalg.norm(error[:3])))
            joints.append(np.abs(error[6:]).mean())
            saturated += bool((np.abs(data.actuator_force) > 0.999 * EFFORT_LIMIT).any())
            if data.qpos[2] < 0.5:
                break
        fallen = bool(data.qpos[2] < 0.5)
        racket = racket or FrameState(np.full(3, np.inf), np.full(3, np.inf), np.array([0, 0, 1.0]), face)
        return Replay(racket, fallen, root, float(np.mean(joints)), saturated / motion.num_frames)


def miss(racket: FrameState, goal: np.ndarray) -> tuple[float, float, float]:
    """Distance, m, angle of the face, rad, and velocity error, m/s, of a racket from a goal (9,)."""
    angle = np.arccos(np.clip(racket.normal @ goal[6:], -1, 1))
    return (
        float(np.linalg.norm(racket.pos - goal[:3])),
        float(angle),
        float(np.linalg.norm(racket.vel - goal[3:6])),
    )


def retimed(motion: RobotMotion, strike_s: float, before_s: float, after_s: float) -> RobotMotion:
    """A planted motion run so that its strike, at `strike_s`, comes after `before_s` and its end `after_s` later, s."""
    fps, frames = motion.fps, motion.num_frames
    count = round((before_s + after_s) * fps) + 1
    t, end = np.arange(count) / fps, (frames - 1) / fps
    source = np.where(
        t < before_s, t / before_s * strike_s, strike_s + (t - before_s) / after_s * (end - strike_s)
    )

    def run(values: np.ndarray) -> np.ndarray:
        return CubicSpline(np.arange(frames) / fps, values, axis=0)(source)

    quat = run(motion.root_quat)
    return replace(
        motion,
        root_pos=run(motion.root_pos),
        root_quat=quat / np.linalg.norm(quat, axis=1, keepdims=True),
        joint_pos=run(motion.joint_pos),
        contacts=np.ones((count, 2), dtype=bool),
        strokes=(replace(motion.strokes[0], strike_s=before_s, end_s=(count - 1) / fps),),
    )


class Designer:
    """Makes strokes of one side.

    Args:
        kind: "forehand" or "backhand".
        human: motion whose manner they have; default: the shipped one.
    """

    def __init__(self, kind: str, human: RobotMotion | None = None) -> None:
        self.kind, self.face = kind, FACE[kind]
        human = human or RobotMotion.load(HUMAN_FOLDER / f"{MANNER[kind]}.npz")
        self.planted = retimed(plant(human, human.strokes[0], PLANT), PLANT.before_s, BEFORE_S, AFTER_S)
        _, soles = ready_stance()
        self._footing = Footing.planted(soles, self.planted.num_frames)
        self.keep_apart(TrajectoryConfig.gap)

    def keep_apart(self, gap: float) -> None:
        """Want so wide a gap between the robot's parts from now on, m."""
        self.optimizer = TrajectoryOptimizer(self.planted, BEFORE_S, self._footing, TrajectoryConfig(gap=gap))

    def first(self, goal: np.ndarray, known: list[Sample]) -> Sample:
        """A stroke for a goal, from the nearest of those known, or from the human one."""
        asked = _state(goal, self.face)
        sound = [s for s in known if s.sound]
        if not sound:
            return Sample(goal, self.optimizer.approach(asked, self.optimizer.style, 4, 20))
        near = min(sound, key=lambda s: _far(s.goal, goal))
        stages = 2 if _far(near.goal, goal) < 6 else 3
        return Sample(goal, self.optimizer.approach(asked, near.solution.coefficients, stages, 12))

    def near(self, goal: np.ndarray, guess: Guess, plan: Round, known: list[Sample]) -> Sample:
        """A stroke for a goal near what a fit says, found from there or else from the nearest of those known."""
        coefficients, asked = guess(goal), _state(goal, self.face)
        self.optimizer.set_style(coefficients, plan.joint, plan.pelvis)
        sample = Sample(goal, self.optimizer.solve(asked, coefficients, plan.iterations))
        if sample.sound:
            return sample
        start = min(known, key=lambda s: _far(s.goal, goal)).solution.coefficients
        return Sample(goal, self.optimizer.approach(asked, start, 2, plan.iterations))


class Guess:
    """Polynomial fit of spline coefficients through strokes.

    Args:
        samples: those to fit, all sound.
        plan: which terms, and the ridge.
    """

    def __init__(self, samples: list[Sample], plan: Round) -> None:
        goals = np.stack([_short(s.goal) for s in samples])
        weights = np.array([s.weight for s in samples])
        self.centre = np.average(goals, axis=0, weights=weights)
        self.size = FEATURES if plan.cubic else QUADRATIC
        self.shape = samples[0].solution.coefficients.shape
        wanted = np.stack([s.solution.coefficients.ravel() for s in samples])
        self.coefficients = ridge(self._features(goals), wanted, plan.ridge, weights)

    def _features(self, goals: np.ndarray) -> np.ndarray:
        return polynomial((goals - self.centre) / GOAL_SCALE)[:, : self.size]

    def __call__(self, goal: np.ndarray) -> np.ndarray:
        """Coefficients for a goal (9,)."""
        return (self._features(_short(goal)[None]) @ self.coefficients)[0].reshape(self.shape)


def tables(motion: RobotMotion) -> np.ndarray:
    """What a family gives of one motion, (T, NUM_COLUMNS), see `policies.strokes.COLUMNS`."""
    torque, _ = feedforward_torque(
        motion.root_pos, motion.root_quat, motion.joint_pos, motion.contacts, motion.fps
    )
    v = velocities(motion.root_pos, motion.root_quat, motion.joint_pos, motion.fps)
    v[[0, -1]] = 0.0
    rotations = np.stack([pin.Quaternion(*row).toRotationMatrix() for row in motion.root_quat])
    heading = np.unwrap(np.arctan2(rotations[:, 1, 0], rotations[:, 0, 0]))
    linear = np.einsum("tij,tj->ti", rotations, v[:, :3])
    return np.concatenate(
        [motion.root_pos, heading[:, None], linear, v[:, 5:6], motion.joint_pos, v[:, 6:], torque], axis=1
    )


def fit_family(samples: list[Sample], face: float, strength: float = 0.0007) -> dict[str, np.ndarray]:
    """The arrays of a family through sound strokes; its lead is zero."""
    goals = np.stack([_short(s.goal) for s in samples])
    weights = np.array([s.weight for s in samples])
    wanted = np.stack([tables(s.solution.motion) for s in samples])
    motion = samples[0].solution.motion
    centre = np.average(goals, axis=0, weights=weights)
    scaled = (goals - centre) / GOAL_SCALE
    table = ridge(polynomial(scaled), wanted.reshape(len(samples), -1), strength, weights)
    table = table.reshape(FEATURES, *wanted.shape[1:]).transpose(1, 0, 2).copy()
    # All strokes begin and end in the ready pose, exactly.
    for end in (0, -1):
        table[end, 1:] = 0.0
        table[end, 0] = wanted[0, end]
    strike = round(motion.strokes[0].strike_s * motion.fps)
    model = default_pinocchio()
    data = model.createData()
    row = table[strike, 0]
    q = np.concatenate([row[:3], [0, 0, np.sin(row[3] / 2), np.cos(row[3] / 2)], row[JOINT_POS]])
    pin.framesForwardKinematics(model, data, q)
    spread = np.cov(scaled.T, aweights=weights) + 0.02 * np.eye(GOAL_SIZE)
    return {
        "weights": table.astype(np.float32),
        "lead": np.zeros((FEATURES, GOAL_SIZE), dtype=np.float32),
        "knots": np.zeros((KNOTS, GOAL_SIZE), dtype=np.float32),
        "bells": np.zeros((KNOTS, GOAL_SIZE), dtype=np.float32),
        "centre": centre.astype(np.float32),
        "scale": GOAL_SCALE.astype(np.float32),
        "spread": np.linalg.inv(spread).astype(np.float32),
        "low": goals[:, :3].min(axis=0),
        "high": goals[:, :3].max(axis=0),
        "axis": data.oMf[model.getFrameId("racket")].rotation[:, 0].copy(),
        "strike": np.array(strike),
        "end": np.array(motion.num_frames - 1),
        "face": np.array(face),
        "fps": np.array(motion.fps),
    }


def reachable_goals(
    kind: str, count: int, seed: int, box: tuple[tuple[float, float], ...] | None = None
) -> np.ndarray:
    """Goals (count, 9) of balls that pass a box (default: the side's), by any target and height of flight, spread
    evenly. The robot stands up to 30 cm beside its place."""
    generator = torch.Generator().manual_seed(seed)
    racket = racket_body()
    found = []
    for level, number in (("feed", 1500), ("rally", 900), ("match", 500)):
        table = Launcher(level, LauncherConfig()).draw(number, generator)
        balls = BallSim(number)
        balls.set_params(table.params)
        balls.reset(torch.arange(number), table.pos, table.vel, table.spin)
        start = torch.tensor([*LauncherConfig().start, 0.0]).repeat(number, 1)
        start[:, 1] += 0.6 * (torch.rand(number, generator=generator) - 0.5)
        low, high = torch.tensor(box or BOX[kind]).T
        bounced = torch.zeros(number, dtype=torch.bool)
        falling = bounced.clone()
        seen: list[list[torch.Tensor]] = [[], [], [], []]
        for step in range(700):
            balls.step(0.005)
            state = balls.state
            bounced = (state.pos[:, 0] < 0) & (bounced | (falling & (state.vel[:, 2] > 0.3)))
            falling = state.vel[:, 2] < -0.3
            if step % 6 == 0:
                place = state.pos - start
                inside = bounced & ((place > low) & (place < high)).all(dim=1)
                for keep, value in zip(seen, (state.pos, state.vel, state.spin, start), strict=True):
                    keep.append(value[inside].clone())
        pos, vel, spin, origin = (torch.cat(values) for values in seen)
        pick = torch.randperm(len(pos), generator=generator)[:6000]
        ball, n = BallState(pos[pick], vel[pick], spin[pick]), len(pick)
        target = torch.rand(n, 2, generator=generator) * torch.tensor([6.5, 6.0]) + torch.tensor([4.0, -3.0])
        topspin = -60 + 20 * torch.randn(n, generator=generator)
        clearance = 1.4 + 1.8 * torch.rand(n, generator=generator)
        strike, aim = plan_return(ball, target, racket, BallParams(), topspin, clearance)
        goals = torch.cat((strike.pos - origin[pick], strike.vel, strike.normal), dim=1)
        fast = torch.linalg.vector_norm(strike.vel, dim=1)
        goals = goals[(fast < FASTEST) & aim.feasible & torch.isfinite(goals).all(dim=1)]
        found.append(goals[torch.randperm(len(goals), generator=generator)[:3000]])
    return _spread_out(torch.cat(found).double().numpy(), count, seed)


def planned_goals(kind: str, count: int, seed: int) -> np.ndarray:
    """Goals (count, 9) that the planner makes with the families on disk, for feed and rally balls, wherever a step may
    have led the robot."""
    strokes = load_strokes()
    player = Player(strokes)
    generator = torch.Generator().manual_seed(seed)
    found = []
    for level, balls, shift in (("feed", 1400, (0.15, 0.25)), ("rally", 900, (0.15, 0.6))):
        pool = draw_goals(player, level, balls, generator, shift=shift)
        own = (pool.stroke == strokes.names.index(kind)) & (pool.vel.norm(dim=1) < FASTEST)
        found.append(torch.cat((pool.pos, pool.vel, pool.normal), dim=1)[own])
    goals = torch.cat(found)
    goals = goals[torch.randperm(len(goals), generator=generator)[:count]]
    return goals.double().numpy()


def _spread_out(goals: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Every other goal at random, every other the farthest from those chosen, rare ones left out."""
    rng = np.random.default_rng(seed)
    scaled = goals / np.append(GOAL_SCALE, 0.1)
    distance = ((scaled - np.median(scaled, axis=0)) ** 2).sum(axis=1)
    chosen = [int(distance.argmin())]
    distance = ((scaled - scaled[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < min(count, len(goals)):
        if len(chosen) % 2:
            index = int(rng.choice(np.flatnonzero(distance > 0)))
        else:
            index = int(np.argmax(distance * (distance < np.quantile(distance, 0.97))))
        chosen.append(index)
        distance = np.minimum(distance, ((scaled - scaled[index]) ** 2).sum(axis=1))
    out = goals[chosen]
    return out[np.argsort((((out - np.median(out, axis=0)) / np.append(GOAL_SCALE, 0.1)) ** 2).sum(axis=1))]


def write_family(kind: str, samples: list[Sample], folder: Path = FAMILY_FOLDER) -> None:
    """Fit and write a family with its provenance."""
    sound = [s for s in samples if s.sound]
    if len(sound) < FEATURES:
        raise GoalError(
            f"{kind}: only {len(sound)} of {len(samples)} strokes are sound, a family needs {FEATURES}; "
            "design more or goals nearer to the body"
        )
    human = samples[0].solution.motion
    source = {
        "name": "tennis_caldas",
        "licence": "CC BY-SA 3.0",
        "attribution": human.provenance["attribution"],
        "human_stroke": MANNER[kind],
        "clip": human.provenance["source"],
        "design": {"strokes": len(sound), "of": len(samples)},
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_family(folder / f"{kind}.npz", fit_family(sound, FACE[kind]), source)
    shutil.copy(HUMAN_FOLDER / "LICENSE", folder / "LICENSE")


def finish_families(
    folder: Path = FAMILY_FOLDER, count: int = 1500, rounds: int = 2, threads: int = 0
) -> list[dict[str, float]]:
    """Give the families of a folder the torques that belong to them and their lead; what the rounds missed."""
    generator = torch.Generator().manual_seed(1)
    train_worth.neutral()
    strokes = load_strokes(folder=folder)
    # What games taught belongs to other strokes.
    strokes = replace(strokes, lead=torch.zeros_like(strokes.lead), bells=torch.zeros_like(strokes.bells))
    weights = []
    for kind in range(strokes.num_strokes):
        asked = _asked(strokes, kind, count, generator)
        weights.append(
            torch.as_tensor(with_torque(strokes.weights[kind].double().numpy(), asked, 1 / strokes.dt))
        )
    strokes = replace(strokes, weights=torch.stack(weights).float())
    player = Player(strokes)
    pools = [
        join(
            draw_goals(player, "feed", 900, generator, shift=(0.15, 0.25)),
            draw_goals(player, "rally", 500, generator, shift=(0.15, 0.6)),
        )
        for _ in range(rounds + 1)
    ]
    strokes, figures = teach_lead(strokes, pools[:-1], threads)
    figures += teach_lead(strokes, pools[-1:], threads)[1]
    for number, kind in enumerate(strokes.names):
        arrays = {
            "weights": strokes.weights[number].numpy(),
            "lead": strokes.lead[number].numpy(),
            "bells": strokes.bells[number].numpy(),
        }
        change_family(kind, folder, arrays, {**figures[-1], "in_play": {}})
    return figures


def _asked(strokes: StrokeSet, kind: int, count: int, generator: torch.Generator) -> np.ndarray:
    """Scaled goals (count, GOAL_SIZE) that a family is asked for, all over its range."""
    planner = Planner(strokes)
    player = Player(strokes)
    found: list[torch.Tensor] = []
    while sum(map(len, found)) < count:
        pool = train_worth.candidates(planner, 4 * count, generator)
        pool = pool.at((pool.stroke == kind).nonzero()[:, 0])
        scaled = strokes.scaled(pool.stroke, pool.pos, pool.vel, pool.normal)
        near = strokes.distance(pool.stroke, scaled) < 3.5
        own, scaled = pool.stroke[near], scaled[near]
        asked = strokes.asked(own, strokes.wanted(own, scaled), player.racket)
        met = (strokes.passes(own, asked, player.racket) - scaled).norm(dim=1) < 0.6
        found.append(asked[met])
    return torch.cat(found)[:count].double().numpy()


def write_motions(samples: dict[str, list[Sample]], folder: Path = PLANTED_FOLDER, count: int = 12) -> None:
    """Write some optimised strokes of each side as motions, with what they deliver: for tracking and for a look."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.npz"):
        file.unlink()
    simulator = Simulator()
    rows = []
    for kind, all_of_kind in samples.items():
        sound = [s for s in all_of_kind if s.sound]
        number = 0
        for goal in _spread_out(np.stack([s.goal for s in sound]), 2 * count, 0):
            sample = next(s for s in sound if np.array_equal(s.goal, goal))
            motion = sample.solution.motion
            replay = simulator.replay(motion, FACE[kind])
            if replay.fallen or replay.root_error > 0.05 or number == count:
                continue
            number += 1
            name = f"{kind}_{number:02d}"
            racket, off = replay.racket, miss(replay.racket, goal)
            delivers = {
                "pos_m": racket.pos.round(5).tolist(),
                "vel_m_s": racket.vel.round(4).tolist(),
                "normal": racket.normal.round(5).tolist(),
            }
            own = {
                "miss_m": round(off[0], 4),
                "face_error_rad": round(off[1], 4),
                "speed_error_m_s": round(off[2], 3),
                "root_error_m": round(replay.root_error, 4),
                "joint_error_rad": round(replay.joint_error, 4),
                "torque_share": round(sample.solution.torque_share, 3),
                "saturated_fraction": round(replay.saturated, 3),
            }
            source = {**motion.provenance, "designed_from": motion.name, "delivers": delivers, "design": own}
            replace(motion, name=name, provenance=source).save(folder / f"{name}.npz")
            rows.append({"name": name, "kind": kind, "delivers": delivers, "design": own})
    shutil.copy(HUMAN_FOLDER / "LICENSE", folder / "LICENSE")
    with atomic_write(folder / "manifest.json", "w") as out:
        json.dump({"licence": "CC BY-SA 3.0, see LICENSE", "strokes": rows}, out, indent=1)


def design_side(
    kind: str,
    goals: np.ndarray,
    rounds: tuple[Round, ...] = ROUNDS,
    first: int = FIRST,
    before: list[list[Sample]] | None = None,
) -> list[list[Sample]]:
    """Sound strokes of one side: those of the last `LAST` rounds, round by round.

    Args:
        kind: "forehand" or "backhand". goals: for the planned rounds, (G, 9), enough for all of them.
        rounds: one after the other. first: goals before them, designed from the human stroke.
        before: rounds to go on from; then there are no first goals, and all rounds count and come back.
    """
    designer = Designer(kind)
    made, free = [list(group) for group in before or ()], []
    if not before:
        known: list[Sample] = []
        for goal in tqdm(reachable_goals(kind, first, 0), desc=f"{kind}, first", disable=None):
            known.append(designer.first(goal, known))
        made = [[s for s in known if s.sound]]
    for number, plan in enumerate(rounds):
        if plan.planned and not free and not before:
            free, made = [replace(s, weight=FREE_WEIGHT) for group in made for s in group], []
        known = weighed(made if before else made[-LAST:]) + free
        guess = Guess(known, plan)
        designer.keep_apart(plan.gap)
        mine = goals[: plan.count] if plan.planned else reachable_goals(kind, plan.count, 10 + number)
        goals = goals[len(mine) :] if plan.planned else goals
        bar = tqdm(mine, desc=f"{kind}, {number}", disable=None)
        made.append([s for goal in bar if (s := designer.near(goal, guess, plan, known)).sound])
    return made if before else made[-LAST:]


def weighed(made: list[list[Sample]]) -> list[Sample]:
    """The strokes of some rounds, older ones weighing less."""
    return [replace(s, weight=AGING**age) for age, group in enumerate(reversed(made)) for s in group]


def mixed_goals(kind: str, count: int, seed: int = 21) -> np.ndarray:
    """Goals (count, 9) for the planned rounds, in random order: three quarters of them the planner's, the others all
    over the reach and next to the body."""
    wide, near = round(0.14 * count), round(0.1 * count)
    goals = np.concatenate(
        [
            planned_goals(kind, count - wide - near, seed),
            reachable_goals(kind, wide, seed + 10),
            reachable_goals(kind, near, seed + 11, NEAR[kind]),
        ]
    )
    return goals[np.random.default_rng(seed).permutation(len(goals))]


def missed_goals(kind: str, count: int, seed: int = 101, folder: Path = FAMILY_FOLDER) -> np.ndarray:
    """Goals (count, 9) of the planner, in random order: two thirds of them such as the families on disk do not pass,
    as far as there are so many."""
    strokes = load_strokes(folder=folder)
    goals = planned_goals(kind, 2 * count, seed)
    off = misses(strokes, strokes.names.index(kind), goals)
    rng = np.random.default_rng(seed)
    bad, good = (rng.permutation(np.flatnonzero(rows)) for rows in (off > MISSED, off <= MISSED))
    chosen = np.concatenate([bad[: 2 * count // 3], good])[:count]
    return goals[rng.permutation(chosen)]


def misses(strokes: StrokeSet, kind: int, goals: np.ndarray) -> np.ndarray:
    """By how much the strokes of a family for goals (G, 9) pass these by, (G,): m, plus 0.3 of the face's error."""
    wanted = torch.as_tensor(goals, dtype=torch.float32)
    own = torch.full((len(goals),), kind)
    scaled = strokes.scaled(own, wanted[:, :3], wanted[:, 3:6], wanted[:, 6:])
    within = strokes.within(own, scaled, PlannerConfig.strain)
    chain = racket_chain()
    aim = strokes.wanted(own, within)
    lead = within - aim
    passed = strokes.passes(own, strokes.asked(own, aim, chain), chain) + lead
    off = (passed - scaled) * strokes.scale[own]
    return (off[:, :3].norm(dim=1) + 0.3 * off[:, 6:].norm(dim=1)).numpy()


def main() -> None:
    """Rebuild what ships, both sides at once. The planner's first goals are those of the families that are on disk."""
    os.environ["OMP_NUM_THREADS"] = "1"
    count = sum(plan.count for plan in ROUNDS if plan.planned)
    more = sum(plan.count for plan in EXTRA)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        goals = pool.starmap(mixed_goals, [(kind, count) for kind in KINDS])
        made = pool.starmap(design_side, zip(KINDS, goals, strict=True))
        for kind, rounds in zip(KINDS, made, strict=True):
            write_family(kind, weighed(rounds))
        print(finish_families())
        goals = pool.starmap(missed_goals, [(kind, more) for kind in KINDS])
        rows = [(kind, own, EXTRA, 0, rounds) for kind, own, rounds in zip(KINDS, goals, made, strict=True)]
        made = pool.starmap(design_side, rows)
    samples = {kind: weighed(rounds) for kind, rounds in zip(KINDS, made, strict=True)}
    for kind in KINDS:
        write_family(kind, samples[kind])
    print(finish_families())
    train_worth.main(["--strokes", "12000"])
    write_motions(samples)


def _state(goal: np.ndarray, face: float) -> FrameState:
    return FrameState(goal[:3].copy(), goal[3:6].copy(), goal[6:] / np.linalg.norm(goal[6:]), face)


def _short(goal: np.ndarray) -> np.ndarray:
    return np.concatenate([goal[:6], goal[7:]])


def _far(a: np.ndarray, b: np.ndarray) -> float:
    return float((((_short(a) - _short(b)) / GOAL_SCALE) ** 2).sum())


if __name__ == "__main__":
    main()
