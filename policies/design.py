"""Designs the stroke families a player plays: human strokes, made possible for the robot at every goal it may be given.

One human stroke a side gives the manner. Goals (racket position, velocity and face at the strike) come from launched
balls. For each goal the stroke is optimised (`humanoid.trajectory`: motor limits, zero-moment point, joint stops),
replayed in simulation with feed-forward torques and the balance regulator, and what the racket misses is added to what
is asked for (iterative learning). A polynomial of the goal is then fitted through all strokes, every stroke optimised
again near what the polynomial says, and the polynomial fitted anew: the two agree after a few rounds, as in guided
policy search, and the polynomial is the family.

    python -m policies.design        rebuilds assets/motions/stroke_family and strokes_planted (half an hour, two cores)
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
from tqdm import tqdm

from humanoid.balance import balance_gain, ready_height
from humanoid.dynamics import feedforward_torque, velocities
from humanoid.files import atomic_write
from humanoid.footing import Footing
from humanoid.joints import EFFORT_LIMIT, KD, KP
from humanoid.kinematics import default_pinocchio
from humanoid.model import build_model
from humanoid.motion import RobotMotion
from humanoid.trajectory import FrameState, Solution, TrajectoryOptimizer
from mocap.plant import PlantConfig, plant, ready_stance
from policies.goals import GoalError, draw_goals
from policies.planner import racket_body
from policies.player import Player
from policies.strokes import (
    FAMILY_FOLDER,
    FEATURES,
    GOAL_SIZE,
    KINDS,
    features,
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
    "forehand": ((-0.1, 0.4), (-1.15, -0.5), (0.55, 1.2)),
    "backhand": ((-0.1, 0.4), (0.35, 1.05), (0.55, 1.2)),
}
"""Where a planted robot's racket may meet the ball: ranges of x, y, z in the stance frame, m."""
PLANT = PlantConfig(before_s=0.84, after_s=0.76)
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
        quadratic: fit a quadratic polynomial first, else a linear one.
        joint, pelvis: how near to the fit the strokes are kept: one unit, rad, and factor on the pelvis's units.
        ridge: of the fit.
        iterations: of the optimiser. replays: replays with correction.
        planned: goals of the planner with the families so far; else of any ball in reach.
    """

    quadratic: bool
    joint: float
    pelvis: float
    ridge: float
    iterations: int
    replays: int
    planned: bool


ROUNDS = (
    Round(False, 0.25, 0.4, 0.05, 10, 1, False),
    Round(True, 0.12, 0.25, 0.03, 8, 2, False),
    Round(True, 0.20, 0.4, 0.02, 10, 2, True),
    Round(True, 0.10, 0.25, 0.01, 8, 2, True),
    Round(True, 0.06, 0.20, 0.01, 8, 2, True),
)


@dataclass
class Stroke:
    """A stroke for one goal (9,): position, velocity, normal. `asked` is what the optimiser was given so that the
    replay delivers the goal, `miss` distance (m), angle (rad) and velocity (m/s) of the last replay."""

    goal: np.ndarray
    asked: FrameState
    solution: Solution
    replay: Replay
    miss: tuple[float, float, float]

    @property
    def sound(self) -> bool:
        """Whether the family may learn from it."""
        return (
            not self.replay.fallen
            and self.miss[0] < 0.06
            and self.solution.zmp_outside < 0.04
            and self.solution.torque_share < 1.1
        )


class Simulator:
    """Replays strokes with feed-forward and balance feedback, as a player does without a network."""

    def __init__(self) -> None:
        self.model = build_model()
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


class Designer:
    """Makes strokes of one side.

    Args:
        kind: "forehand" or "backhand".
        human: motion whose manner they have; default: the shipped one.
    """

    def __init__(self, kind: str, human: RobotMotion | None = None) -> None:
        self.kind, self.face = kind, FACE[kind]
        human = human or RobotMotion.load(HUMAN_FOLDER / f"{MANNER[kind]}.npz")
        self.planted = plant(human, human.strokes[0], PLANT)
        _, soles = ready_stance()
        self.optimizer = TrajectoryOptimizer(
            self.planted, PLANT.before_s, Footing.planted(soles, self.planted.num_frames)
        )
        self.simulator = Simulator()

    def first(self, goal: np.ndarray, known: list[Stroke]) -> Stroke:
        """A stroke for a goal, from the nearest of those known, or from the human one."""
        near = sorted((s for s in known if s.sound), key=lambda s: _far(s.goal, goal))[:2]
        if not near:
            asked = _state(goal, self.face)
            return self._correct(goal, asked, self.optimizer.solve(asked, None, 20), 3, 6)
        best = None
        for start in near:
            asked = _moved(_state(goal, self.face), start.asked, start.goal)
            solution = self.optimizer.approach(asked, start.solution.coefficients, 3, 20)
            if best is None or solution.cost < best[1].cost:
                best = (asked, solution)
            if solution.cost < 8:
                break
        assert best is not None
        return self._correct(goal, *best, replays=3, iterations=6)

    def near(self, goal: np.ndarray, guess: Guess, plan: Round) -> Stroke:
        """A stroke for a goal near what a fit says."""
        coefficients, lead = guess(goal)
        asked = _state(goal + lead, self.face)
        self.optimizer.set_style(coefficients, plan.joint, plan.pelvis)
        return self._correct(
            goal, asked, self.optimizer.solve(asked, coefficients, plan.iterations), plan.replays, 4
        )

    def _correct(
        self, goal: np.ndarray, asked: FrameState, solution: Solution, replays: int, iterations: int
    ) -> Stroke:
        """Replay, ask for what was missed, optimise again; the last round."""
        number = 0
        while True:
            replay = self.simulator.replay(solution.motion, self.face)
            off = miss(replay.racket, goal)
            number += 1
            if replay.fallen or number == replays:
                return Stroke(goal, asked, solution, replay, off)
            got = replay.racket
            normal = asked.normal + 0.8 * (goal[6:] - got.normal)
            asked = FrameState(
                asked.pos + np.clip(0.8 * (goal[:3] - got.pos), -0.08, 0.08),
                asked.vel + np.clip(0.8 * (goal[3:6] - got.vel), -1.0, 1.0),
                normal / np.linalg.norm(normal),
                self.face,
            )
            solution = self.optimizer.solve(asked, solution.coefficients, iterations)


class Guess:
    """Polynomial fit through strokes: spline coefficients, and what must be asked for beyond the goal.

    Args:
        strokes: those to fit, all sound.
        plan: linear or quadratic, ridge.
    """

    def __init__(self, strokes: list[Stroke], plan: Round) -> None:
        goals = np.stack([_short(s.goal) for s in strokes])
        self.centre, self.size = np.median(goals, axis=0), FEATURES if plan.quadratic else 1 + GOAL_SIZE
        known = self._features(goals)
        self.shape = strokes[0].solution.coefficients.shape
        self.coefficients = ridge(
            known, np.stack([s.solution.coefficients.ravel() for s in strokes]), plan.ridge
        )
        self.lead = ridge(
            known[:, : 1 + GOAL_SIZE], np.stack([_vector(s.asked) - s.goal for s in strokes]), 0.1
        )

    def _features(self, goals: np.ndarray) -> np.ndarray:
        return features(torch.as_tensor((goals - self.centre) / GOAL_SCALE)).numpy()[:, : self.size]

    def __call__(self, goal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients and lead (9,) for a goal (9,)."""
        known = self._features(_short(goal)[None])[0]
        return (known @ self.coefficients).reshape(self.shape), known[: 1 + GOAL_SIZE] @ self.lead


def ridge(known: np.ndarray, wanted: np.ndarray, strength: float) -> np.ndarray:
    """Ridge regression (F, M) of wanted (N, M) on features (N, F), the first of which is one; quadratic ones are
    held four times as much."""
    mean = wanted.mean(axis=0)
    hold = np.full(known.shape[1], strength)
    hold[0] = 1e-6
    hold[1 + GOAL_SIZE :] *= 4.0
    weights = np.linalg.solve(known.T @ known + len(known) * np.diag(hold), known.T @ (wanted - mean))
    weights[0] += mean
    return weights


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


def fit_family(strokes: list[Stroke], face: float, strength: float = 0.01) -> dict[str, np.ndarray]:
    """The arrays of a family through sound strokes; the racket that each delivered is its goal."""
    goals = np.stack([_short(_vector(s.replay.racket)) for s in strokes])
    wanted = np.stack([tables(s.solution.motion) for s in strokes])
    motion = strokes[0].solution.motion
    centre = goals.mean(axis=0)
    scaled = (goals - centre) / GOAL_SCALE
    known = features(torch.as_tensor(scaled)).numpy()
    weights = ridge(known, wanted.reshape(len(strokes), -1), strength)
    weights = weights.reshape(FEATURES, *wanted.shape[1:]).transpose(1, 0, 2).copy()
    # All strokes begin and end in the ready pose, exactly.
    for end in (0, -1):
        weights[end, 1:] = 0.0
        weights[end, 0] = wanted[0, end]
    strike = round(motion.strokes[0].strike_s * motion.fps)
    model = default_pinocchio()
    data = model.createData()
    row = weights[strike, 0]
    q = np.concatenate([row[:3], [0, 0, np.sin(row[3] / 2), np.cos(row[3] / 2)], row[8 : 8 + 29]])
    pin.framesForwardKinematics(model, data, q)
    spread = np.cov(scaled.T) + 0.02 * np.eye(GOAL_SIZE)
    return {
        "weights": weights.astype(np.float32),
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


def reachable_goals(kind: str, count: int, seed: int) -> np.ndarray:
    """Goals (count, 9) of balls that pass a side's box, by any target and height of flight, spread evenly."""
    generator = torch.Generator().manual_seed(seed)
    racket = racket_body()
    found = []
    for level in ("feed", "rally"):
        table = Launcher(level, LauncherConfig()).draw(900, generator)
        balls = BallSim(900)
        balls.set_params(table.params)
        balls.reset(torch.arange(900), table.pos, table.vel, table.spin)
        start = torch.tensor([*LauncherConfig().start, 0.0])
        low, high = torch.tensor(BOX[kind]).T
        bounced = torch.zeros(900, dtype=torch.bool)
        falling = bounced.clone()
        seen: list[list[torch.Tensor]] = [[], [], []]
        for step in range(700):
            balls.step(0.005)
            state = balls.state
            bounced = (state.pos[:, 0] < 0) & (bounced | (falling & (state.vel[:, 2] > 0.3)))
            falling = state.vel[:, 2] < -0.3
            if step % 6 == 0:
                place = state.pos - start
                inside = bounced & ((place > low) & (place < high)).all(dim=1)
                for keep, value in zip(seen, (state.pos, state.vel, state.spin), strict=True):
                    keep.append(value[inside].clone())
        ball = BallState(*(torch.cat(values) for values in seen))
        n = len(ball.pos)
        target = torch.rand(n, 2, generator=generator) * torch.tensor([3.5, 5.0]) + torch.tensor([3.5, -2.5])
        topspin = -60 + 15 * torch.randn(n, generator=generator)
        clearance = 1.2 + 1.2 * torch.rand(n, generator=generator)
        strike, aim = plan_return(ball, target, racket, BallParams(), topspin, clearance)
        goals = torch.cat((strike.pos - start, strike.vel, strike.normal), dim=1)
        goals = goals[(torch.linalg.vector_norm(strike.vel, dim=1) < 10.5) & aim.feasible]
        found.append(goals[torch.randperm(len(goals), generator=generator)[:3000]])
    return _spread_out(torch.cat(found).double().numpy(), count, seed)


def planned_goals(kind: str, count: int, seed: int) -> np.ndarray:
    """Goals (count, 9) that the planner makes with the families on disk, for feed and rally balls."""
    strokes = load_strokes()
    player = Player(strokes)
    generator = torch.Generator().manual_seed(seed)
    found = []
    for level, balls in (("feed", 1500), ("rally", 900)):
        pool = draw_goals(player, level, balls, generator)
        own = pool.stroke == strokes.names.index(kind)
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


def write_family(kind: str, strokes: list[Stroke], folder: Path = FAMILY_FOLDER) -> None:
    """Fit and write a family with its provenance."""
    sound = [s for s in strokes if s.sound]
    if len(sound) < FEATURES:
        raise GoalError(
            f"{kind}: only {len(sound)} of {len(strokes)} strokes are sound, a family needs {FEATURES}; "
            "design more (count=) or goals nearer to the body"
        )
    human = strokes[0].solution.motion
    figures = {
        "strokes": len(sound),
        "of": len(strokes),
        "miss_m": round(float(np.median([s.miss[0] for s in sound])), 4),
        "face_error_rad": round(float(np.median([s.miss[1] for s in sound])), 4),
        "speed_error_m_s": round(float(np.median([s.miss[2] for s in sound])), 3),
    }
    source = {
        "name": "tennis_caldas",
        "licence": "CC BY-SA 3.0",
        "attribution": human.provenance["attribution"],
        "human_stroke": MANNER[kind],
        "clip": human.provenance["source"],
        "design": figures,
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_family(folder / f"{kind}.npz", fit_family(sound, FACE[kind]), source)
    shutil.copy(HUMAN_FOLDER / "LICENSE", folder / "LICENSE")


def write_motions(strokes: dict[str, list[Stroke]], folder: Path = PLANTED_FOLDER, count: int = 12) -> None:
    """Write some optimised strokes of each side as motions, with what they deliver: for tracking and for a look."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.npz"):
        file.unlink()
    rows = []
    for kind, all_of_kind in strokes.items():
        sound = [s for s in all_of_kind if s.sound and s.replay.root_error < 0.05]
        order = _spread_out(np.stack([s.goal for s in sound]), count, 0)
        for number, goal in enumerate(order, 1):
            stroke = next(s for s in sound if np.array_equal(s.goal, goal))
            name = f"{kind}_{number:02d}"
            racket = stroke.replay.racket
            delivers = {
                "pos_m": racket.pos.round(5).tolist(),
                "vel_m_s": racket.vel.round(4).tolist(),
                "normal": racket.normal.round(5).tolist(),
            }
            own = {
                "miss_m": round(stroke.miss[0], 4),
                "face_error_rad": round(stroke.miss[1], 4),
                "speed_error_m_s": round(stroke.miss[2], 3),
                "root_error_m": round(stroke.replay.root_error, 4),
                "joint_error_rad": round(stroke.replay.joint_error, 4),
                "torque_share": round(stroke.solution.torque_share, 3),
                "saturated_fraction": round(stroke.replay.saturated, 3),
            }
            motion = stroke.solution.motion
            source = {**motion.provenance, "designed_from": motion.name, "delivers": delivers, "design": own}
            replace(motion, name=name, provenance=source).save(folder / f"{name}.npz")
            rows.append({"name": name, "kind": kind, "delivers": delivers, "design": own})
    shutil.copy(HUMAN_FOLDER / "LICENSE", folder / "LICENSE")
    with atomic_write(folder / "manifest.json", "w") as out:
        json.dump({"licence": "CC BY-SA 3.0, see LICENSE", "strokes": rows}, out, indent=1)


def design_side(kind: str, count: int, rounds: tuple[Round, ...], strokes: list[Stroke]) -> list[Stroke]:
    """Strokes of one side after some rounds, from those of the rounds before (none: from the human stroke)."""
    designer = Designer(kind)
    if not strokes:
        for goal in tqdm(reachable_goals(kind, count, 0), desc=f"{kind}, first", disable=None):
            strokes.append(designer.first(goal, strokes))
    for number, plan in enumerate(rounds):
        guess = Guess([s for s in strokes if s.sound], plan)
        goals = planned_goals(kind, count, 77) if plan.planned else reachable_goals(kind, count, 1)
        strokes = [
            designer.near(goal, guess, plan) for goal in tqdm(goals, desc=f"{kind}, {number}", disable=None)
        ]
    return strokes


def main(count: int = 150) -> None:
    """Rebuild what ships, both sides at once; the planner's goals need both, so the rounds meet in between."""
    os.environ["OMP_NUM_THREADS"] = "1"
    strokes: dict[str, list[Stroke]] = {kind: [] for kind in KINDS}
    free = tuple(plan for plan in ROUNDS if not plan.planned)
    planned = tuple(plan for plan in ROUNDS if plan.planned)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for rounds in (free, planned):
            done = pool.starmap(design_side, [(kind, count, rounds, strokes[kind]) for kind in KINDS])
            strokes = dict(zip(KINDS, done, strict=True))
            for kind in KINDS:
                write_family(kind, strokes[kind])
    write_motions(strokes)


def _state(goal: np.ndarray, face: float) -> FrameState:
    return FrameState(goal[:3].copy(), goal[3:6].copy(), goal[6:] / np.linalg.norm(goal[6:]), face)


def _vector(state: FrameState) -> np.ndarray:
    return np.concatenate([state.pos, state.vel, state.normal])


def _short(goal: np.ndarray) -> np.ndarray:
    return np.concatenate([goal[:6], goal[7:]])


def _far(a: np.ndarray, b: np.ndarray) -> float:
    return float((((_short(a) - _short(b)) / GOAL_SCALE) ** 2).sum())


def _moved(goal: FrameState, asked: FrameState, got: np.ndarray) -> FrameState:
    """A goal with the lead that a stroke needed which asked for `asked` to deliver `got` (9,)."""
    return _state(_vector(goal) + _vector(asked) - got, goal.sign)


if __name__ == "__main__":
    main()
